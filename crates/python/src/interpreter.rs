//! Which Python runs a model.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tidemill_core::{Error, ErrorKind, Result};

/// A Python, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program.
    pub program: PathBuf,
    /// Where its name comes from, for messages.
    pub chosen_by: &'static str,
}

impl Interpreter {
    /// The first of: what the model's configuration names (a path is relative to the project),
    /// `TIDEMILL_PYTHON`, the active environment (`VIRTUAL_ENV`, `CONDA_PREFIX`), a `.venv` in the
    /// project's folder, and `python3` of the path. Nothing is started to find it.
    pub fn find(configured: Option<&str>, project: &Path) -> Interpreter {
        Self::choose(configured, project, |name| std::env::var(name).ok())
    }

    /// Whether it starts and has a library that reads Arrow.
    ///
    /// # Errors
    /// `Config` with what is missing and the command that installs it.
    pub fn check(&self) -> Result<()> {
        const LOOK: &str = "import importlib.util as u, sys; print(sys.executable); \
            sys.exit(0 if u.find_spec('pyarrow') or u.find_spec('polars') else 3)";
        let program = self.program.display();
        let output =
            Command::new(&self.program).args(["-c", LOOK]).stdin(Stdio::null()).output().map_err(
                |error| {
                    Error::new(
                        ErrorKind::Config,
                        format!("`{program}`, which {} names, cannot be started", self.chosen_by),
                    )
                    .with("hint", "install Python 3.9 or later, or set TIDEMILL_PYTHON to one")
                    .because(error)
                },
            )?;
        match output.status.code() {
            Some(0) => Ok(()),
            Some(3) => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`{program}`, which {} names, has no pyarrow and no polars",
                    self.chosen_by
                ),
            )
            .with("hint", format!("install it with `{program} -m pip install pyarrow`"))),
            _ => Err(Error::new(
                ErrorKind::Config,
                format!("`{program}`, which {} names, is not a Python that works", self.chosen_by),
            )
            .with("hint", "set TIDEMILL_PYTHON to one that does")),
        }
    }

    fn choose(
        configured: Option<&str>,
        project: &Path,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Interpreter {
        let of = |program: PathBuf, chosen_by| Interpreter { program, chosen_by };
        if let Some(text) = configured {
            let named = Path::new(text);
            // A bare name is looked up in the path by the system.
            let program =
                if named.components().count() > 1 { project.join(named) } else { named.to_owned() };
            return of(program, "the setting `python`");
        }
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        if let Some(program) = set("TIDEMILL_PYTHON") {
            return of(PathBuf::from(program), "TIDEMILL_PYTHON");
        }
        for (name, chosen_by) in [("VIRTUAL_ENV", "VIRTUAL_ENV"), ("CONDA_PREFIX", "CONDA_PREFIX")]
        {
            if let Some(found) = set(name).and_then(|folder| in_environment(Path::new(&folder))) {
                return of(found, chosen_by);
            }
        }
        if let Some(found) = in_environment(&project.join(".venv")) {
            return of(found, "the project's .venv");
        }
        of(PathBuf::from(if cfg!(windows) { "python" } else { "python3" }), "the path")
    }
}

/// The Python of a virtual environment.
fn in_environment(folder: &Path) -> Option<PathBuf> {
    ["bin/python3", "bin/python", "Scripts/python.exe", "python.exe"]
        .into_iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_choice_wins() {
        let project = Path::new("/nowhere/shop");
        let none = |_: &str| None;
        let set = |name: &str| (name == "TIDEMILL_PYTHON").then(|| "/opt/py/bin/python".to_owned());
        let choose = |configured, variable: &dyn Fn(&str) -> Option<String>| {
            Interpreter::choose(configured, project, variable).program
        };
        assert_eq!(choose(Some("env/bin/python"), &set), project.join("env/bin/python"));
        assert_eq!(choose(Some("python3.12"), &set), Path::new("python3.12"));
        assert_eq!(choose(None, &set), Path::new("/opt/py/bin/python"));
        let found = Interpreter::choose(None, project, none);
        assert_eq!(found.chosen_by, "the path");
    }
}

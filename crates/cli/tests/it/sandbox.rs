//! A project in a temporary folder, and the binary on it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A project that goes with the test.
pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Everything that was written.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.all());
        self
    }

    #[track_caller]
    pub(crate) fn fails_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.all());
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.all().contains(text), "`{text}` is not in:\n{}", self.all());
        self
    }

    #[track_caller]
    pub(crate) fn does_not_say(self, text: &str) -> Self {
        assert!(!self.all().contains(text), "`{text}` is in:\n{}", self.all());
        self
    }
}

impl Sandbox {
    /// A project `shop` with these files besides its `dbt_project.yml`.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox { folder: tempfile::tempdir().unwrap() };
        sandbox.write("dbt_project.yml", "name: shop\nversion: '1.0'\n");
        for (path, text) in files {
            sandbox.write(path, text);
        }
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// The command, with an environment that no user's settings reach.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command
            .args(arguments)
            .arg("--project-dir")
            .arg(self.folder.path())
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        for (name, _) in std::env::vars() {
            const FOREIGN: [&str; 5] = ["DBT_", "TIDEMILL_", "AWS_", "AZURE_", "GOOGLE_"];
            if FOREIGN.iter().any(|start| name.starts_with(start)) {
                command.env_remove(name);
            }
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    /// The same with environment variables.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
        outcome(self.command(arguments).envs(variables.iter().copied()))
    }

    /// Runs a command that dies at a failpoint, or when it passes it for the n-th time (`step@n`); whether it
    /// came there.
    pub(crate) fn dies_at(&self, step: &str, arguments: &[&str]) -> bool {
        let (step, nth) = step.split_once('@').unwrap_or((step, "1"));
        let status = self
            .command(arguments)
            .env("TIDEMILL_FAILPOINT", format!("{step}=abort@{nth}"))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        status.signal().is_some()
    }

    pub(crate) fn build(&self) -> Outcome {
        self.run(&["build"])
    }

    /// The rows of a query, comma-separated, in its order.
    #[track_caller]
    pub(crate) fn rows(&self, query: &str) -> Vec<String> {
        let outcome = self.run(&["sql", query, "--format", "csv", "--quiet"]).ok();
        outcome.stdout.lines().skip(1).map(str::to_owned).collect()
    }

    /// The one value of a query.
    #[track_caller]
    pub(crate) fn value(&self, query: &str) -> String {
        let rows = self.rows(query);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].clone()
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A source `raw.orders` over `data/orders*.csv`, loaded file by file.
pub(crate) const ORDERS_SOURCE: &str = "
sources:
  - name: raw
    tables:
      - name: orders
        ingest: {location: 'data/orders*.csv', mode: append}
";

/// All files below a folder, with what is in them.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let content = std::fs::read(&path).unwrap();
            all.push((path, content));
        }
    }
    all
}

//! Where a driver is: its library, or a manifest that says where that is.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result};

/// What is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The libraries to try, in their order.
    pub(super) libraries: Vec<PathBuf>,
    /// The function that the manifest names.
    pub(super) entrypoint: Option<String>,
    /// Where a manifest was looked for in vain.
    pub(super) looked: Vec<PathBuf>,
}

/// A manifest of a driver.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(rename = "Driver")]
    driver: DriverOf,
}

#[derive(Debug, Deserialize)]
struct DriverOf {
    entrypoint: Option<String>,
    shared: Option<Shared>,
}

/// One library for all, or one for each kind of machine.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Shared {
    One(PathBuf),
    Each(std::collections::BTreeMap<String, PathBuf>),
}

/// `linux_amd64`, as manifests call it.
fn machine() -> String {
    let system = std::env::consts::OS;
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let musl = if cfg!(target_env = "musl") { "_musl" } else { "" };
    format!("{system}_{processor}{musl}")
}

/// The folders of manifests, in the order of the driver manager of ADBC.
fn folders() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let mut folders = Vec::new();
    if let Some(path) = variable("ADBC_DRIVER_PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    for name in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        folders.extend(variable(name).map(|root| PathBuf::from(root).join("etc/adbc/drivers")));
    }
    let home = variable("HOME").map(PathBuf::from);
    if cfg!(target_os = "macos") {
        let own = home.map(|home| home.join("Library/Application Support/ADBC/Drivers"));
        folders.extend(own);
        folders.push("/Library/Application Support/ADBC/Drivers".into());
    } else {
        let own = variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let own = own.or_else(|| home.map(|home| home.join(".config")));
        folders.extend(own.map(|own| own.join("adbc/drivers")));
        folders.push("/etc/adbc/drivers".into());
    }
    folders
}

/// Finds the driver of this name or path; a path is relative to `root`.
pub(super) fn find(name: &str, root: &Path) -> Result<Found> {
    find_in(name, root, &folders())
}

fn find_in(name: &str, root: &Path, folders: &[PathBuf]) -> Result<Found> {
    let path = Path::new(name);
    let is_path = name.contains(['/', '\\']) || path.is_absolute();
    if path.extension().is_some_and(|end| end == "toml") && (is_path || root.join(path).is_file()) {
        return manifest(&root.join(path));
    }
    let is_library =
        path.extension().is_some_and(|end| end == "so" || end == "dylib" || end == "dll");
    if is_path || is_library && root.join(path).is_file() {
        let libraries = vec![root.join(path)];
        return Ok(Found { libraries, entrypoint: None, looked: Vec::new() });
    }
    let mut looked = Vec::new();
    for folder in folders {
        let file = folder.join(format!("{name}.toml"));
        if file.is_file() {
            return manifest(&file);
        }
        looked.push(file);
    }
    let (before, behind) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let mut libraries = vec![
        PathBuf::from(format!("{before}adbc_driver_{name}{behind}")),
        PathBuf::from(format!("{before}{name}{behind}")),
    ];
    if is_library {
        libraries.insert(0, path.to_owned());
    }
    Ok(Found { libraries, entrypoint: None, looked })
}

fn manifest(file: &Path) -> Result<Found> {
    let wrong = |why: String| {
        Error::new(ErrorKind::Config, format!("the manifest of a driver {why}"))
            .with("file", file.display())
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong("cannot be read".to_owned()).because(error))?;
    let manifest: Manifest = toml::from_str(&text)
        .map_err(|error| wrong("is not what it must be".to_owned()).because(error))?;
    let machine = machine();
    let library = match manifest.driver.shared {
        Some(Shared::One(path)) => Some(path),
        Some(Shared::Each(paths)) => paths.get(&machine).cloned(),
        None => None,
    };
    let library = library
        .ok_or_else(|| wrong(format!("names no library for `{machine}` in [Driver.shared]")))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let libraries = vec![folder.join(library)];
    Ok(Found { libraries, entrypoint: manifest.driver.entrypoint, looked: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_found_by_path_name_and_manifest() {
        let folder = std::env::temp_dir().join(format!("tidemill-adbc-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
        write("one.toml", "manifest_version = 1\n[Driver]\nshared = '/lib/one.so'\n".to_owned());
        write(
            "each.toml",
            format!("[Driver]\nentrypoint = 'Start'\n[Driver.shared]\n{} = 'each.so'\n", machine()),
        );
        write("other.toml", "[Driver.shared]\nplan9_mips = 'x.so'\n".to_owned());
        let find = |name: &str| find_in(name, Path::new("/project"), std::slice::from_ref(&folder));
        assert_eq!(find("one").unwrap().libraries, [Path::new("/lib/one.so")]);
        let each = find("each").unwrap();
        assert_eq!(each.libraries, [folder.join("each.so")]);
        assert_eq!(each.entrypoint.as_deref(), Some("Start"));
        let error = find("other").unwrap_err().report();
        assert!(error.contains("names no library") && error.contains("other.toml"), "{error}");
        assert_eq!(find("lib/x.so").unwrap().libraries, [Path::new("/project/lib/x.so")]);
        let none = find("none").unwrap();
        assert_eq!(none.looked, [folder.join("none.toml")]);
        assert!(none.libraries[0].display().to_string().contains("adbc_driver_none"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

//! Drivers of databases that are on this machine.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// What is missing is said loudly; in CI it is a failure.
pub(crate) fn skipped<T>(missing: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
    None
}

/// The ODBC driver of this name, if the machine knows it; the package is the one that has it.
pub fn odbc_driver(name: &'static str, package: &str) -> Option<&'static str> {
    let known = Command::new("odbcinst").args(["-q", "-d"]).output();
    let line = format!("[{name}]");
    let is_known = known.is_ok_and(|known| {
        String::from_utf8_lossy(&known.stdout).lines().any(|known| known.trim() == line)
    });
    match is_known {
        true => Some(name),
        false => {
            skipped(&format!("no ODBC driver `{name}` was found: install unixodbc and {package}"))
        }
    }
}

/// The folder of Python packages that `TIDEMILL_ADBC` names.
pub(crate) fn adbc_folder() -> Option<PathBuf> {
    std::env::var_os("TIDEMILL_ADBC").map(PathBuf::from)
}

/// The library of the ADBC driver of this name, below the folder of Python packages that `TIDEMILL_ADBC` names.
pub fn adbc_driver(name: &str) -> Option<String> {
    // Wheels have the end of Linux on every system.
    let file = adbc_folder().map(|folder| {
        folder.join(format!("adbc_driver_{name}")).join(format!("libadbc_driver_{name}.so"))
    });
    match file.filter(|file| file.is_file()) {
        Some(file) => Some(file.display().to_string()),
        None => skipped(&format!(
            "no ADBC driver for {name}: set TIDEMILL_ADBC to the folder of packages that has \
             adbc_driver_{name} (scripts/test does)"
        )),
    }
}

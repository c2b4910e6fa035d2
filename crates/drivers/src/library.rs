//! Libraries that are loaded at run time.
#![allow(unsafe_code, reason = "libraries in C are loaded here")]

use std::path::{Path, PathBuf};

use libloading::Library;

/// The first of these that there is, and its name.
///
/// # Errors
/// What the system says of each of them.
pub(crate) fn load(names: &[PathBuf]) -> Result<(Library, PathBuf), String> {
    let mut tried = Vec::new();
    for name in names {
        // SAFETY: a library that is loaded may run code of its own at once. These are the manager of ODBC
        // or a driver that the user names, which is trusted as the program itself is.
        match unsafe { Library::new(name) } {
            Ok(library) => return Ok((library, name.clone())),
            Err(error) => tried.push(format!("{}: {}", name.display(), reason(&error, name))),
        }
    }
    Err(tried.join("; "))
}

/// The reason without the name, which the system repeats.
fn reason(error: &libloading::Error, name: &Path) -> String {
    let text = std::error::Error::source(error).map_or(error.to_string(), ToString::to_string);
    let prefix = format!("{}: ", name.display());
    text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
}

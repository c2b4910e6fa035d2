//! The manager: which library it is, and which drivers it knows.
#![allow(unsafe_code, reason = "functions in C are called here")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_core::{Error, ErrorKind, Result};

use super::connection::Connection;
use super::functions::{
    ATTR_ODBC_VERSION, FETCH_NEXT, Functions, ODBC_3, ODBC_3_80, SUCCESS, SUCCESS_WITH_INFO, Wide,
};
use super::handle::Handle;
use crate::library;

/// Where the manager is looked for when nothing is said: what the loader of the system finds, and where
/// package managers put it beside that.
#[cfg(target_os = "macos")]
const NAMES: &[&str] = &[
    "libodbc.2.dylib",
    "/opt/homebrew/lib/libodbc.2.dylib",
    "/usr/local/lib/libodbc.2.dylib",
    "/opt/local/lib/libodbc.2.dylib",
];
#[cfg(windows)]
const NAMES: &[&str] = &["odbc32.dll"];
#[cfg(not(any(target_os = "macos", windows)))]
const NAMES: &[&str] = &["libodbc.so.2", "libodbc.so.1", "libodbc.so"];

/// Managers that are loaded, by what they were asked for as. They stay, as drivers run threads of their own.
static LOADED: Mutex<Vec<(Option<PathBuf>, Manager)>> = Mutex::new(Vec::new());

/// The manager of ODBC.
#[derive(Clone)]
pub struct Manager {
    functions: Arc<Functions>,
}

impl Manager {
    /// Loads the manager: this library, or the one of the system.
    ///
    /// # Errors
    /// Kind `Config`, with all places where it was looked for and what to install.
    pub fn load(path: Option<&Path>) -> Result<Manager> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, manager)) = loaded.iter().find(|(known, _)| known.as_deref() == path) {
            return Ok(manager.clone());
        }
        let names: Vec<PathBuf> = match path {
            Some(path) => vec![path.to_owned()],
            None => NAMES.iter().map(PathBuf::from).collect(),
        };
        let help = "install unixODBC (Debian and Ubuntu: apt-get install unixodbc, Fedora: dnf install \
                    unixODBC, macOS: brew install unixodbc), or name the library in `manager`";
        let (library, found) = library::load(&names).map_err(|tried| {
            Error::new(ErrorKind::Config, "there is no manager of ODBC on this machine")
                .with("looked for", tried)
                .with("help", help)
        })?;
        // SAFETY: that is the library of the manager by its name, or the user says that it is.
        let functions = unsafe { Functions::of(library) }.map_err(|error| {
            Error::new(ErrorKind::Config, "this library is not a manager of ODBC")
                .with("library", found.display())
                .with("help", help)
                .because(error)
        })?;
        let manager = Manager { functions: Arc::new(functions) };
        loaded.push((path.map(Path::to_owned), manager.clone()));
        Ok(manager)
    }

    fn environment(&self) -> Result<Arc<Handle>> {
        let environment = Handle::environment(self.functions.clone())?;
        let set = |version: usize| {
            // SAFETY: the attribute's value is the number itself.
            unsafe {
                (self.functions.SQLSetEnvAttr)(environment.raw, ATTR_ODBC_VERSION, version as _, 0)
            }
        };
        let code = match set(ODBC_3_80) {
            SUCCESS | SUCCESS_WITH_INFO => SUCCESS,
            _ => set(ODBC_3),
        };
        environment.check(code, "")?;
        Ok(Arc::new(environment))
    }

    /// The drivers that are known on this machine (`odbcinst.ini`), by their names.
    ///
    /// # Errors
    /// Of the manager.
    pub fn drivers(&self) -> Result<Vec<String>> {
        let environment = self.environment()?;
        let mut drivers = Vec::new();
        loop {
            let mut name = [0 as Wide; 256];
            let mut attributes = [0 as Wide; 1024];
            let (mut length, mut other) = (0, 0);
            // SAFETY: both have the room that is said.
            let code = unsafe {
                (self.functions.SQLDriversW)(
                    environment.raw,
                    FETCH_NEXT,
                    name.as_mut_ptr(),
                    256,
                    &mut length,
                    attributes.as_mut_ptr(),
                    1024,
                    &mut other,
                )
            };
            if !matches!(code, SUCCESS | SUCCESS_WITH_INFO) {
                return Ok(drivers);
            }
            let length = usize::try_from(length).unwrap_or(0).min(255);
            drivers.push(String::from_utf16_lossy(&name[..length]));
        }
    }

    /// Connects; `timeout` are seconds, as far as the driver counts them.
    ///
    /// # Errors
    /// Of the driver; kind `Config` when there is none of that name, with those that there are.
    pub fn connect(&self, string: &str, timeout: usize) -> Result<Connection> {
        Connection::open(&self.environment()?, string, timeout).map_err(|error| {
            if error.kind() != ErrorKind::Config {
                return error;
            }
            let known = self.drivers().unwrap_or_default();
            let known = match known.is_empty() {
                true => "none: install the driver of the database".to_owned(),
                false => known.join(", "),
            };
            error
                .with("drivers", known)
                .with("help", "`odbcinst -q -d` lists drivers, `odbcinst -j` says where they are written down; a driver may be named by the path of its library, too")
        })
    }
}

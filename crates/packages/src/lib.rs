//! Packages of a project: from what `packages.yml` names to folders in `dbt_packages`.
//!
//! **Takes** the packages that a project names ([`Declared`]), where it lies, and somebody who
//! reads the project files of packages ([`ReadProject`]). **Gives** the exact packages
//! ([`Locked`]) for `package-lock.yml`, as dbt chooses and writes them, and puts them into the
//! install folder. **Promises** that the install folder is replaced whole or not at all, that
//! nothing of an archive is written outside of its own folder, and that an error names the package
//! and what to do. HTTP is spoken in one file (`http`), git through the `git` program.
//!
//! ```
//! use tidemill_packages::{Declared, Range};
//!
//! let declared = Declared::parse(&serde_json::json!({
//!     "package": "dbt-labs/dbt_utils", "version": [">=1.0.0", "<2.0.0"],
//! }))?;
//! assert_eq!(declared.to_string(), "dbt-labs/dbt_utils");
//! let range = Range::parse([">=1.0.0", "<2.0.0"])?;
//! let best = range.best(["0.9.0", "1.3.3", "1.4.0-rc1", "2.0.0"], false);
//! assert_eq!(best.as_deref(), Some("1.3.3"));
//! # Ok::<(), tidemill_core::Error>(())
//! ```

mod archive;
mod declared;
mod git;
mod http;
mod hub;
mod install;
mod lock;
mod resolve;
mod version;

use std::path::{Path, PathBuf};

use tidemill_core::Result;

pub use declared::{Declared, Source};
pub use http::install_tls;
pub use lock::{Lock, hash};
pub use resolve::Locked;
pub use version::Range;

/// The hub that dbt asks.
pub const DEFAULT_HUB: &str = "https://hub.getdbt.com";

/// What a package's own project file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// Its name: that of the folder in `dbt_packages`.
    pub name: String,
    /// The packages that it needs in turn.
    pub packages: Vec<Declared>,
}

/// Reads the project file of a package's folder, and the packages that it names.
pub trait ReadProject {
    /// Fails with the file's mistake.
    fn read(&self, folder: &Path) -> Result<ProjectFile>;
}

/// One installation.
#[derive(Debug, Clone)]
pub struct Request {
    /// The root project's folder: `local:` is relative to it.
    pub project: PathBuf,
    /// The root project's name.
    pub name: String,
    /// What it names.
    pub packages: Vec<Declared>,
    /// The folder of installed packages.
    pub install: PathBuf,
    /// The hub's address.
    pub hub: String,
    /// The version of dbt that packages of the hub have to run with.
    pub dbt_version: String,
}

/// What was decided and done with a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The name of its project.
    pub name: String,
    /// Which it is, in words: `version 1.3.3`, `revision 4c5f…`.
    pub which: String,
    /// A newer version of the hub, if there is one.
    pub newer: Option<String>,
}

/// One run: what is fetched to choose packages is there when they are installed.
pub struct Installer<'a> {
    request: &'a Request,
    projects: &'a dyn ReadProject,
    fetcher: resolve::Fetcher<'a>,
}

impl<'a> Installer<'a> {
    /// Fails when there is no place beside the install folder.
    pub fn new(request: &'a Request, projects: &'a dyn ReadProject) -> Result<Self> {
        Ok(Installer { request, projects, fetcher: resolve::Fetcher::new(request)? })
    }

    /// Chooses the exact packages: everything that is named, and what those need in turn.
    pub fn resolve(&self) -> Result<Vec<Locked>> {
        resolve::resolve(&self.fetcher, self.projects)
    }

    /// Puts exact packages into the install folder, in the place of all that is there. On an error
    /// the folder is as it was.
    pub fn install(&self, packages: &[Locked]) -> Result<Vec<Installed>> {
        install::install(self.request, &self.fetcher, packages, self.projects)
    }
}

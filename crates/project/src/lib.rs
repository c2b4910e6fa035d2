//! A folder on disk, read as a dbt project.

mod config;
mod file;
mod manifest;
mod settings;
mod suggest;
mod target;
pub mod yaml;

pub use config::{Materialization, NodeConfig, OnSchemaChange, canonical};
pub use file::SourceFile;
pub use manifest::*;
pub use settings::{Hook, ProjectSettings};
pub use suggest::nearest;
pub use target::Target;

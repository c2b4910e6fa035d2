//! A folder on disk, read as a dbt project: a resolved graph, selections of it, and its SQL.
//!
//! **Takes** a project's folder (`dbt_project.yml`, models, seeds, tests, macros, property YAML,
//! packages, an optional `profiles.yml`, `connections.yml`) and what the command line says about
//! it ([`LoadOptions`]). **Gives** a [`Project`]: its [`Manifest`] (plain data, names and ids as
//! dbt makes them), the nodes that a [`Selection`] means ([`select()`]), and the SQL of each node
//! with everything that rendering it read ([`Project::render_node`], [`Reads`]), which is what
//! reuse has to compare. **Promises** to report mistakes together, each as a diagnostic at its
//! file, line and column; to write nothing; and to ask a lake only through the [`Warehouse`] that
//! a render is given.
//!
//! ```
//! use tidemill_project::{LoadOptions, Project, RenderState, Selection, select};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # std::fs::create_dir(folder.path().join("models")).unwrap();
//! # std::fs::write(folder.path().join("dbt_project.yml"), "name: shop\n").unwrap();
//! # std::fs::write(folder.path().join("models/a.sql"), "select 1 as x").unwrap();
//! # std::fs::write(folder.path().join("models/b.sql"), "select * from {{ ref('a') }}").unwrap();
//! let (project, warnings) = Project::load(folder.path(), &LoadOptions::default())?;
//! assert!(warnings.is_empty());
//! let (nodes, _) = select(project.manifest(), &Selection::of(["+b"]))?;
//! assert_eq!(nodes.len(), 2);
//! let sql = project.render_node(&"model.shop.b".into(), &RenderState::offline("compile"))?.sql;
//! assert_eq!(sql, "select * from \"main\".\"a\"");
//! # Ok::<(), tidemill_core::Diagnostics>(())
//! ```

mod artifact;
mod base;
mod config;
mod contract;
mod data_test;
mod environment;
mod file;
mod late;
mod load;
mod macros;
mod manifest;
mod microbatch;
mod naming;
mod normalize;
mod operation;
mod parallel;
mod pointer;
mod primary_key;
mod project;
mod read;
mod render;
mod resolve;
mod select;
mod semantic;
mod settings;
mod snapshot_config;
mod suggest;
mod target;
mod unit_test;
mod world;
pub mod yaml;

pub use artifact::{
    ManifestMeta, node_json, python_json, python_text, resource_json, write_manifest,
};
pub use base::DBT_VERSION;
pub use config::{Materialization, NodeConfig, OnSchemaChange, canonical, unknown_materialization};
pub use contract::{Constraint, ConstraintKind, ContractColumn, ContractSpec};
pub use environment::{Environment, parse_vars};
pub use file::SourceFile;
pub use load::{NamedPackage, NamedPackages, named_packages};
pub use manifest::*;
pub use microbatch::{Batch, BatchSize, MicrobatchConfig, parse_time};
pub use normalize::normalize_sql;
pub use operation::operation_json;
pub use project::{LoadOptions, Project};
pub use read::project_shape::VersionCheck;
pub use render::{
    CatalogColumn, Executed, Materialized, Message, NoWarehouse, QueryRead, QueryTable, Reads,
    RelationType, RenderState, Rendered, SampleWindow, Sink, TestArguments, UnitTestState, Unsaid,
    Warehouse, with_expressions,
};
pub use select::{
    IndirectSelection, LAKE_OF_MANIFEST, NamedSelector, OtherRelation, PreviousState, Selection,
    select,
};
pub use semantic::semantic_manifest;
pub use settings::{Hook, ProjectSettings};
pub use snapshot_config::{
    HardDeletes, SnapshotColumns, SnapshotConfig, SnapshotExpressions, SnapshotStrategy,
};
pub use suggest::nearest;
pub use target::{StorageOptions, Target, TargetDatabase};
pub use unit_test::{FixtureRows, UnitTestInput, UnitTestOverrides, UnitTestSpec};

//! `--no-introspect`: templates that ask the lake or database for something fail.

use std::sync::Arc;

use tidemill_core::{Error, ErrorKind, RelationName, Result, SqlDialect};
use tidemill_project::{CatalogColumn, QueryTable, RelationType, Warehouse};

/// A warehouse that is not asked.
pub(crate) struct NotAsked(pub(crate) Arc<dyn Warehouse>);

fn refused<T>(what: &str) -> Result<T> {
    Err(Error::new(
        ErrorKind::Config,
        format!("the template asks for {what}, and --no-introspect forbids it"),
    )
    .with("hint", "leave --no-introspect out"))
}

impl Warehouse for NotAsked {
    fn relation(&self, name: &RelationName) -> Result<Option<RelationType>> {
        refused(&format!("the relation {name}"))
    }

    fn columns(&self, name: &RelationName) -> Result<Option<Vec<CatalogColumn>>> {
        refused(&format!("the columns of {name}"))
    }

    fn relations(&self, schema: &str) -> Result<Vec<(RelationName, RelationType)>> {
        refused(&format!("the relations of the schema `{schema}`"))
    }

    fn schemas(&self) -> Result<Vec<String>> {
        refused("the schemas that are there")
    }

    fn query(&self, _: &str) -> Result<QueryTable> {
        refused("the rows of a query")
    }

    fn translate(&self, sql: &str, dialect: SqlDialect) -> Result<String> {
        self.0.translate(sql, dialect)
    }
}

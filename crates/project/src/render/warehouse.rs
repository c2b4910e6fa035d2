//! What a render may ask of the lake.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, RelationName, Result, SqlDialect};

/// What a relation is, as far as templates care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelationType {
    /// Stored rows.
    Table,
    /// A stored query.
    View,
    /// Stored rows that are made anew when what they are made from changes.
    #[serde(rename = "materialized_view")]
    MaterializedView,
}

impl RelationType {
    /// dbt's word.
    pub fn as_str(self) -> &'static str {
        match self {
            RelationType::Table => "table",
            RelationType::View => "view",
            RelationType::MaterializedView => "materialized_view",
        }
    }

    /// Reads dbt's word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "table" => Some(RelationType::Table),
            "view" => Some(RelationType::View),
            "materialized_view" => Some(RelationType::MaterializedView),
            _ => None,
        }
    }
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogColumn {
    /// Its name.
    pub name: String,
    /// Its SQL type, in PostgreSQL's words: `text`, `bigint`, `double precision`,
    /// `numeric(10,2)`, `timestamp without time zone`, …
    pub data_type: String,
}

/// The result of a query that a template ran.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QueryTable {
    /// Its columns.
    pub columns: Vec<CatalogColumn>,
    /// Its rows: JSON scalars; decimals, dates and times as text.
    pub rows: Vec<Vec<Value>>,
}

/// What a statement of a template came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Executed {
    /// Its rows, if it gives some.
    pub table: QueryTable,
    /// What it was: `SELECT`, `INSERT`, `CREATE TABLE`, …
    pub code: String,
    /// Rows concerned, where that means something.
    pub rows_affected: Option<u64>,
}

impl Executed {
    /// A query that gave these rows.
    pub fn of_rows(table: QueryTable) -> Self {
        Executed { code: "SELECT".to_owned(), rows_affected: Some(table.rows.len() as u64), table }
    }

    /// Whether it is anything but a query.
    pub fn is_write(&self) -> bool {
        self.code != "SELECT"
    }
}

/// What a render may ask of the lake. Called from the thread that renders; it may block.
pub trait Warehouse: Send + Sync {
    /// Whether a relation exists, and what it is.
    fn relation(&self, name: &RelationName) -> Result<Option<RelationType>>;

    /// The columns of a relation; `None` when it does not exist.
    fn columns(&self, name: &RelationName) -> Result<Option<Vec<CatalogColumn>>>;

    /// The relations of a schema, by name.
    fn relations(&self, schema: &str) -> Result<Vec<(RelationName, RelationType)>>;

    /// The schemas in which something is, in order.
    fn schemas(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Runs a query. Statements that write are refused.
    fn query(&self, sql: &str) -> Result<QueryTable>;

    /// The query in the SQL that runs here. An error has the `line` and `column` of the text.
    fn translate(&self, sql: &str, dialect: SqlDialect) -> Result<String> {
        let _ = sql;
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("SQL of {dialect} is translated only where models run on the lake"),
        ))
    }

    /// The statements of a project that was made for another system, in the SQL that runs here: what
    /// is known to mean something else there gets that meaning, and the rest stays. An error has the
    /// `line` and `column` of its statement.
    fn adapt(&self, sql: &str, dialect: SqlDialect) -> Result<String> {
        let _ = dialect;
        Ok(sql.to_owned())
    }

    /// Runs statements that may write, where templates may do so; gives what the last one came to.
    fn execute(&self, sql: &str) -> Result<Executed> {
        Ok(Executed::of_rows(self.query(sql)?))
    }

    /// Where a materialization works, when models run in a database.
    fn sink(&self) -> Option<&dyn Sink> {
        None
    }
}

/// What a materialization does in a database besides running statements.
pub trait Sink {
    /// Begins a transaction, if none is open.
    fn begin(&self) -> Result<()>;

    /// Commits, when the node's checks let it.
    fn commit(&self) -> Result<()>;

    /// Tells that a candidate is finished and about to take the node's place.
    fn candidate(&self, name: &RelationName) -> Result<()>;

    /// The columns of the seed that is loaded, with their types.
    fn seed_columns(&self) -> Result<Vec<CatalogColumn>>;

    /// Adds the rows of the seed to a table; how many there are.
    fn load_seed(&self, name: &RelationName) -> Result<u64>;
}

/// A lake in which nothing exists and which answers no query: for compiling without one.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWarehouse;

impl Warehouse for NoWarehouse {
    fn relation(&self, _name: &RelationName) -> Result<Option<RelationType>> {
        Ok(None)
    }

    fn columns(&self, _name: &RelationName) -> Result<Option<Vec<CatalogColumn>>> {
        Ok(None)
    }

    fn relations(&self, _schema: &str) -> Result<Vec<(RelationName, RelationType)>> {
        Ok(Vec::new())
    }

    fn query(&self, _sql: &str) -> Result<QueryTable> {
        Err(tidemill_core::Error::new(
            tidemill_core::ErrorKind::Unsupported,
            "a query of a template cannot run without a lake",
        ))
    }
}

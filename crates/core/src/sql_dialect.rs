//! The SQL that a model is written in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The SQL of a system. Anything but [`SqlDialect::Postgres`] is translated before it is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SqlDialect {
    /// PostgreSQL, which is what the engine speaks itself.
    Postgres,
    /// Amazon Redshift.
    Redshift,
    /// Snowflake.
    Snowflake,
    /// Google BigQuery.
    BigQuery,
    /// DuckDB.
    DuckDb,
    /// Databricks, and Spark in its ANSI mode.
    Databricks,
}

impl SqlDialect {
    /// The words that a project may write, for messages.
    pub const NAMES: &str =
        "`postgres`, `redshift`, `snowflake`, `bigquery`, `duckdb`, `databricks` (or `spark`)";

    /// The dialect of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.trim().to_lowercase().as_str() {
            "postgres" | "postgresql" | "tidemill" => SqlDialect::Postgres,
            "redshift" => SqlDialect::Redshift,
            "snowflake" => SqlDialect::Snowflake,
            "bigquery" => SqlDialect::BigQuery,
            "duckdb" => SqlDialect::DuckDb,
            "databricks" | "spark" => SqlDialect::Databricks,
            _ => return None,
        })
    }

    /// Its name in a project.
    pub fn as_str(self) -> &'static str {
        match self {
            SqlDialect::Postgres => "postgres",
            SqlDialect::Redshift => "redshift",
            SqlDialect::Snowflake => "snowflake",
            SqlDialect::BigQuery => "bigquery",
            SqlDialect::DuckDb => "duckdb",
            SqlDialect::Databricks => "databricks",
        }
    }

    /// The mark around a name that is not to be folded. Where it is a backtick, text between double
    /// quotes is a string.
    pub fn quote(self) -> char {
        match self {
            SqlDialect::BigQuery | SqlDialect::Databricks => '`',
            _ => '"',
        }
    }
}

impl fmt::Display for SqlDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

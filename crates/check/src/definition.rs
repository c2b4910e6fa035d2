//! What a test is, as plain data.

use serde_json::{Map, Value};
use tidemill_core::{CheckId, RelationName, Severity};

/// One test of a project, its Jinja rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct TestDefinition {
    /// The test node.
    pub id: CheckId,
    /// The package before the dot: `dbt_utils`. `None` for dbt's own and the project's.
    pub namespace: Option<String>,
    /// The test's name: `not_null`, `accepted_range`.
    pub name: String,
    /// Its arguments, without `model` and `column_name`. Text that named relations holds them
    /// rendered: `"main"."customers"`.
    pub arguments: Map<String, Value>,
    /// The column that it stands under, as SQL.
    pub column: Option<String>,
    /// The relation that it tests.
    pub relation: RelationName,
    /// Only rows for which this holds (dbt's `where`).
    pub filter: Option<String>,
    /// Whether a failure stops the publication.
    pub severity: Severity,
    /// The comparison that makes a warning.
    pub warn_if: String,
    /// The comparison that makes an error.
    pub error_if: String,
    /// The SQL aggregate over the failing rows.
    pub fail_calc: String,
    /// At most this many failing rows count.
    pub limit: Option<u64>,
    /// The query for the failing rows, for a test that is not native (a singular test, a generic
    /// test of the project or of a package). When it is given, it alone decides.
    pub sql: Option<String>,
}

/// dbt's default `fail_calc`.
const COUNT: &str = "count(*)";

impl TestDefinition {
    /// A test with dbt's defaults: severity error, `!= 0`, `count(*)`, no filter and no limit.
    pub fn new(id: impl Into<CheckId>, name: impl Into<String>) -> Self {
        TestDefinition {
            id: id.into(),
            namespace: None,
            name: name.into(),
            arguments: Map::new(),
            column: None,
            relation: RelationName::new("", ""),
            filter: None,
            severity: Severity::Error,
            warn_if: "!= 0".to_owned(),
            error_if: "!= 0".to_owned(),
            fail_calc: COUNT.to_owned(),
            limit: None,
            sql: None,
        }
    }

    /// `dbt_utils.accepted_range`, `not_null`.
    pub fn full_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether failing rows are simply counted.
    pub(crate) fn counts_rows(&self) -> bool {
        let calc: String = self.fail_calc.split_whitespace().collect::<String>().to_lowercase();
        calc == COUNT || calc == "count(1)"
    }

    /// The relation as a test's SQL reads it: filtered as dbt filters it.
    pub(crate) fn tested(&self) -> String {
        match &self.filter {
            Some(filter) => {
                format!("(select * from {} where {filter}) as dbt_subquery", self.relation.quoted())
            }
            None => self.relation.quoted(),
        }
    }
}

//! What the pages show, as plain data. It is serialised as it stands for the script of the site.

use serde::Serialize;

/// A whole site. Pages refer to each other by their place in [`Site::pages`].
#[derive(Debug, Clone, Default, Serialize)]
pub struct Site {
    /// The project.
    pub project: ProjectFacts,
    /// The first page's text, HTML; empty without one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub overview: String,
    /// One for each node, source, exposure, metric, macro and test.
    pub pages: Vec<Page>,
    /// The references between tables that tests or constraints state.
    pub relationships: Vec<Relationship>,
    /// The last run, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunFacts>,
}

/// The project as a whole.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ProjectFacts {
    /// Its name.
    pub name: String,
    /// When the manifest was written, ISO 8601.
    pub generated_at: String,
    /// dbt's name of what runs it.
    pub adapter: String,
    /// The version of dbt's language.
    pub dbt_version: String,
    /// The version of Tidemill that made the site.
    pub tidemill_version: String,
    /// Whether there was a catalog.
    pub has_catalog: bool,
}

/// The last run as a whole.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RunFacts {
    /// When it ended, ISO 8601.
    pub generated_at: String,
    /// How long it took, in seconds.
    pub elapsed: f64,
    /// Which command it was, where that is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
}

/// The outcome of one node or test in the last run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Run {
    /// dbt's word: `success`, `reused`, `pass`, `warn`, `fail`, `error`, `skipped`.
    pub status: String,
    /// Seconds.
    pub time: f64,
    /// What was said about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Failing rows of a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<f64>,
    /// Rows that were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// One page.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Page {
    /// dbt's `unique_id`, which is also the page's address.
    pub id: String,
    /// dbt's resource type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name; `source.table` for a source.
    pub name: String,
    /// A shorter name for people, where there is one (tests).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The package.
    pub package: String,
    /// The file, relative to the package.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The folders in which it stands, below `models/` and its like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub folder: Vec<String>,
    /// The schema of its relation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// The whole name of its relation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub relation: String,
    /// `table`, `view`, `incremental`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub materialized: String,
    /// HTML.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Who is responsible.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// The group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// `private` or `public`; dbt's default, `protected`, is left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access: String,
    /// The version of a versioned model.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// A colour that the project gave it, `#` and hexadecimal digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub color: String,
    /// Facts of its configuration and meta, and of exposures and the like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// `sql` or `python`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub language: String,
    /// The source as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub raw: String,
    /// The SQL that it becomes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compiled: String,
    /// What it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<usize>,
    /// The macros that it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macros: Vec<usize>,
    /// Its columns (of a macro: its arguments).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// Its tests, those of its columns included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<usize>,
    /// The columns of its primary key, declared or tested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Rows, bytes and what else the catalog knows.
    #[serde(skip_serializing_if = "Statistics::is_empty")]
    pub statistics: Statistics,
    /// The last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// What it tests, if it is a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<TestFacts>,
}

/// A named fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Field {
    /// What it is.
    pub name: String,
    /// Its value as text.
    pub value: String,
    /// Where it leads: an address with a scheme that may be followed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub link: String,
}

/// What the catalog knows about a relation.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<f64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<f64>,
    /// The rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Field>,
}

impl Statistics {
    fn is_empty(&self) -> bool {
        self.rows.is_none() && self.bytes.is_none() && self.more.is_empty()
    }
}

/// A column of a relation, or an argument of a macro.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub data_type: String,
    /// HTML.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Meta of the column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// Constraints as text: `not null`, `check (x > 0)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Its tests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<usize>,
    /// Whether the catalog has the relation without this column.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
}

/// What a test tests.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TestFacts {
    /// Its generic name (`not_null`), empty for a singular one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The page on which it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<usize>,
    /// The column on which it stands.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub column: String,
    /// `warn` or `error`.
    pub severity: String,
}

/// A reference from columns of one table to the key of another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Relationship {
    /// The page that refers.
    pub from: usize,
    /// Its columns.
    pub columns: Vec<String>,
    /// The page that is referred to.
    pub to: usize,
    /// Its columns.
    pub to_columns: Vec<String>,
    /// The test that states it; none for a constraint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<usize>,
    /// Whether a referred row has at most one that refers to it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub one: bool,
    /// Whether the referring columns may be NULL.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

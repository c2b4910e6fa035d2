//! Checks of data: what to measure, and what the measurement means.

use serde::{Deserialize, Serialize};

use crate::{RelationName, UniqueId};

/// The id of a check: the unique id of the test node.
pub type CheckId = UniqueId;

/// One number to take of a relation. Plain values; expressions are SQL text over the relation's
/// columns. `filter` is the test's `where`: only rows for which it is true count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Measure {
    /// How many rows.
    Rows {
        /// Only rows for which this holds.
        filter: Option<String>,
    },
    /// In how many rows this column or expression is NULL.
    Nulls {
        /// SQL expression.
        expression: String,
        /// Only rows for which this holds.
        filter: Option<String>,
    },
    /// In how many rows this predicate is true. (A predicate that is NULL does not count.)
    CountIf {
        /// SQL predicate of a bad row.
        predicate: String,
        /// Only rows for which this holds.
        filter: Option<String>,
    },
    /// How many different values (or combinations of values) occur more than once. With
    /// `ignore_nulls`, rows with a NULL among them are left out; otherwise NULL equals NULL.
    Duplicates {
        /// SQL expressions, usually columns.
        expressions: Vec<String>,
        /// Whether rows with a NULL among the expressions are left out.
        ignore_nulls: bool,
        /// Only rows for which this holds.
        filter: Option<String>,
    },
    /// How many different values, NULL included, are not among the accepted ones. A NULL never
    /// counts as unaccepted (SQL `not in`).
    Unaccepted {
        /// SQL expression.
        expression: String,
        /// Accepted values as SQL literals.
        accepted: Vec<String>,
        /// Only rows for which this holds.
        filter: Option<String>,
    },
    /// In how many rows a non-NULL value does not occur in a column of another relation.
    Orphans {
        /// SQL expression on this relation.
        expression: String,
        /// Where it must occur.
        reference: Reference,
        /// Only rows for which this holds.
        filter: Option<String>,
    },
    /// In how many rows a non-NULL text does not match the regular expression.
    Mismatches {
        /// SQL expression of type text.
        expression: String,
        /// The regular expression (unanchored, Rust syntax).
        pattern: String,
        /// `i` ignores case.
        ignore_case: bool,
        /// Only rows for which this holds.
        filter: Option<String>,
    },
    /// The number that a query of its own gives: its first column of its first row.
    Query {
        /// A whole query.
        sql: String,
    },
}

/// The column that another relation's values must occur in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The relation.
    pub relation: RelationName,
    /// SQL expression on it.
    pub expression: String,
    /// Only its rows for which this holds.
    pub filter: Option<String>,
}

/// The value of one measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Measurement {
    /// A number.
    Count(u64),
    /// Another number (a `fail_calc` of a user may be negative or fractional).
    Number(f64),
    /// The query gave no row, or NULL.
    Nothing,
}

impl Measurement {
    /// The value as a number; nothing counts as 0.
    pub fn as_f64(&self) -> f64 {
        match self {
            Measurement::Count(count) => *count as f64,
            Measurement::Number(number) => *number,
            Measurement::Nothing => 0.0,
        }
    }
}

/// Whether a failing check stops the publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    #[default]
    Error,
    /// It does not.
    Warn,
}

/// A comparison of the failure count: dbt's `error_if` and `warn_if`, for example `> 10`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The comparison.
    pub bound: Bound,
    /// What the count is compared with.
    pub value: f64,
}

impl Threshold {
    /// dbt's default: `!= 0`.
    pub const NOT_ZERO: Threshold = Threshold { bound: Bound::NotEqual, value: 0.0 };

    /// Whether the count is on the bad side.
    pub fn is_crossed_by(self, count: f64) -> bool {
        match self.bound {
            Bound::Equal => count == self.value,
            Bound::NotEqual => count != self.value,
            Bound::Less => count < self.value,
            Bound::LessOrEqual => count <= self.value,
            Bound::Greater => count > self.value,
            Bound::GreaterOrEqual => count >= self.value,
        }
    }

    /// Reads `> 10`, `>=10`, `!= 0`, `between` is not known to us; `None` when it is not such a
    /// comparison.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        const BOUNDS: [(&str, Bound); 8] = [
            ("!=", Bound::NotEqual),
            ("<>", Bound::NotEqual),
            (">=", Bound::GreaterOrEqual),
            ("<=", Bound::LessOrEqual),
            ("==", Bound::Equal),
            ("=", Bound::Equal),
            (">", Bound::Greater),
            ("<", Bound::Less),
        ];
        let (bound, rest) =
            BOUNDS.iter().find_map(|(sign, bound)| Some((*bound, text.strip_prefix(sign)?)))?;
        Some(Threshold { bound, value: rest.trim().parse().ok()? })
    }
}

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.bound {
            Bound::Equal => "=",
            Bound::NotEqual => "!=",
            Bound::Less => "<",
            Bound::LessOrEqual => "<=",
            Bound::Greater => ">",
            Bound::GreaterOrEqual => ">=",
        };
        write!(f, "{sign} {}", self.value)
    }
}

/// The comparison of a [`Threshold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The check.
    pub check: CheckId,
    /// The outcome.
    pub status: VerdictStatus,
    /// The failure count (dbt's `failures`).
    pub failures: f64,
    /// A sentence for the reader: `3 rows, configured to fail if != 0`.
    pub message: Option<String>,
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictStatus {
    /// Nothing bad.
    Pass,
    /// Bad, but not so that it stops anything.
    Warn,
    /// Bad: the data is not published.
    Fail,
    /// The check itself could not be run: treated as [`VerdictStatus::Fail`].
    Error,
}

impl VerdictStatus {
    /// Whether the declaring node must not be published.
    pub fn gates(self) -> bool {
        matches!(self, VerdictStatus::Fail | VerdictStatus::Error)
    }
}

/// A check of one relation.
pub trait Check: Send + Sync {
    /// The test node.
    fn id(&self) -> &CheckId;

    /// What has to be measured; their measurements come to [`Check::judge`] in the same order.
    fn measures(&self) -> Vec<Measure>;

    /// What the measurements mean.
    fn judge(&self, measurements: &[Measurement]) -> Verdict;

    /// A query for the failing rows, as dbt's test of that name would select them; for the rows
    /// that are shown and stored.
    fn failing_rows(&self) -> String;
}

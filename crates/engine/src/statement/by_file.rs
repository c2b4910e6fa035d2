//! A change of rows file by file: what stands in a query for the table that is changed.

use tidemill_core::{FILE, RelationName, RewriteByFile};

use super::target::{Target, quoted_relation};

/// Names of a table that queries are shown by its files.
pub(crate) struct Files {
    pub(crate) all: RelationName,
    pub(crate) part: RelationName,
    /// The whole table, and the part that is written again, as they stand in a `from` clause in
    /// place of the target.
    pub(crate) from_all: String,
    pub(crate) from_part: String,
    file: String,
}

impl Files {
    pub(crate) fn of(target: &Target) -> Self {
        // They go by the name that the text calls its target by.
        let named = |relation: &RelationName| {
            format!("{} as {}", quoted_relation(relation), target.qualifier)
        };
        let (all, part) = RewriteByFile::names(&target.relation);
        Files { from_all: named(&all), from_part: named(&part), file: target.own(FILE), all, part }
    }

    /// A query that counts the rows of `rest` (`from …`) by the file of the target's row.
    pub(crate) fn count(&self, rest: &str) -> String {
        format!("select {} as \"file\", count(*) as \"rows\" {rest} group by 1", self.file)
    }
}

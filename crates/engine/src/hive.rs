//! Columns that files have by the folders that they lie in (DuckDB's `hive_partitioning`).
//!
//! ```sql
//! read_parquet('data/*/*.parquet')
//! (select * exclude (file), tidemill_hive(file, 'year')::bigint as year from …)
//! ```
//!
//! Which there are is seen by the names of the files, which the reader keeps in a column. A key counts
//! where all files have it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{Date32Type, Schema};
use datafusion::sql::sqlparser::ast::{
    DataType, ExcludeSelectItem, Expr, Ident, ObjectName, SelectItem, Statement, TableAlias,
    TableFactor, TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use crate::functions::{HIVE, values_of};
use crate::syntax::{call, cast, select_from, text};

/// The column of the files' names where the query wants none.
const HIDDEN: &str = "tidemill file name";

/// Where the names of the files are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FileNames {
    pub(crate) column: String,
    /// The query does not ask for it.
    pub(crate) hidden: bool,
    /// Whether a column takes the type of all its values.
    pub(crate) typed: bool,
}

impl FileNames {
    /// With the column that the query wants, or one of our own.
    pub(crate) fn new(wanted: Option<&str>, typed: bool) -> Self {
        FileNames { column: wanted.unwrap_or(HIDDEN).to_owned(), hidden: wanted.is_none(), typed }
    }

    /// Whether files of this path may have such columns.
    pub(crate) fn may_count(path: &str) -> bool {
        path.rsplit_once('/').is_some_and(|(folders, _)| folders.contains(['*', '?', '[', '=']))
    }

    /// Puts the columns beside those that the files hold; `key` is the name of their table.
    pub(crate) fn put(
        &self,
        statement: &mut Statement,
        key: &str,
        paths: &[String],
        schema: &Schema,
    ) {
        let columns = columns_of(paths, self.typed);
        let mut excluded: Vec<String> =
            self.hidden.then(|| self.column.clone()).into_iter().collect();
        // A folder's value goes before a column of the files.
        excluded.extend(columns.iter().filter_map(|(name, _)| {
            let held = schema.fields().iter().map(|field| field.name());
            held.into_iter().find(|held| held.eq_ignore_ascii_case(name)).cloned()
        }));
        let name = |name: &str| ObjectName::from(vec![Ident::with_quote('"', name)]);
        let all = WildcardAdditionalOptions {
            opt_exclude: (!excluded.is_empty()).then(|| {
                ExcludeSelectItem::Multiple(excluded.iter().map(|column| name(column)).collect())
            }),
            ..WildcardAdditionalOptions::default()
        };
        let mut items = vec![SelectItem::Wildcard(all)];
        let file = Expr::Identifier(Ident::with_quote('"', &self.column));
        items.extend(columns.into_iter().map(|(column, data_type)| {
            let value = call(HIVE, vec![file.clone(), text(&column)]);
            SelectItem::ExprWithAlias {
                expr: data_type.map_or_else(|| value.clone(), |to| cast(value.clone(), to)),
                alias: Ident::with_quote('"', &column),
            }
        }));
        // Nothing is refused here.
        let _ = VisitMut::visit(statement, &mut Put { key, items: Some(items) });
    }
}

/// The keys that all paths have, in order, and the types of their values.
fn columns_of(paths: &[String], typed: bool) -> Vec<(String, Option<DataType>)> {
    let found: Vec<Vec<(String, Option<String>)>> =
        paths.iter().map(|path| values_of(path)).collect();
    let Some(first) = found.first() else { return Vec::new() };
    let keys: BTreeSet<&String> = first.iter().map(|(key, _)| key).collect();
    let same = |other: &Vec<(String, Option<String>)>| {
        other.iter().map(|(key, _)| key).collect::<BTreeSet<_>>() == keys
    };
    if !found.iter().all(same) {
        return Vec::new();
    }
    let type_of = |key: &str| {
        let values: Vec<&str> = found
            .iter()
            .flatten()
            .filter(|(known, _)| known == key)
            .filter_map(|(_, value)| value.as_deref())
            .collect();
        let all = |is: fn(&str) -> bool| !values.is_empty() && values.iter().all(|value| is(value));
        match typed {
            true if all(is_date) => Some(DataType::Date),
            true if all(|value| value.parse::<i64>().is_ok()) => Some(DataType::BigInt(None)),
            _ => None,
        }
    };
    keys.iter().map(|key| ((*key).clone(), type_of(key))).collect()
}

fn is_date(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let dashes = text.bytes().filter(|byte| *byte == b'-').count();
    text.len() == 10 && (digits, dashes) == (8, 2) && Date32Type::parse(text).is_some()
}

struct Put<'a> {
    key: &'a str,
    items: Option<Vec<SelectItem>>,
}

impl VisitorMut for Put<'_> {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let is_it = matches!(name.0.as_slice(), [part]
            if part.as_ident().is_some_and(|ident| ident.value == self.key));
        let Some(items) = self.items.take_if(|_| is_it) else { return ControlFlow::Continue(()) };
        let outer: Option<TableAlias> = alias.take();
        let relation = factor.clone();
        *factor = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(select_from(
                items,
                vec![TableWithJoins { relation, joins: Vec::new() }],
                None,
            )),
            alias: outer,
            sample: None,
        };
        ControlFlow::Break(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_all_folders() {
        let columns = |paths: &[&str]| -> Vec<String> {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            let columns = columns_of(&paths, true).into_iter();
            let shown =
                |found: Option<DataType>| found.map_or("text".to_owned(), |t| t.to_string());
            columns.map(|(name, found)| format!("{name} {}", shown(found))).collect()
        };
        assert_eq!(
            columns(&["d/y=1/k=a%20b/x.csv", "d/y=02/k=__HIVE_DEFAULT_PARTITION__/x.csv"]),
            ["k text", "y BIGINT"]
        );
        assert_eq!(columns(&["day=2024-01-31/x.csv"]), ["day DATE"]);
        assert_eq!(columns(&["day=2024-13-31/x.csv"]), ["day text"]);
        assert!(columns(&["y=1/x.csv", "z=1/x.csv"]).is_empty());
        assert!(columns(&["x=1.csv"]).is_empty());
    }
}

//! The same column twice in the list of a subquery or of a `with` query. PostgreSQL takes it as long
//! as nobody asks for such a column by its name; the planner refuses it in any case. So they get
//! names that nobody writes (`id:1`, `id:2`), and errors speak of the name that was written.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, Query, Select, SelectItem, SetExpr, Statement, VisitMut, VisitorMut,
};
use tidemill_core::arrow_schema::{DataType, Field, Schema};
use tidemill_core::{Error, ErrorKind, Result};

use crate::names::given_name;

/// Gives columns that occur twice in an inner list names of their own. The list of the statement's
/// own query stays as it is: its columns are called by their names.
pub(crate) fn name_repeated(statement: &mut Statement) {
    // The visitor never breaks off.
    let _ = VisitMut::visit(statement, &mut Repeated { depth: 0 });
}

struct Repeated {
    depth: usize,
}

impl VisitorMut for Repeated {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        if self.depth > 1 {
            lists(&mut query.body);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// The lists of a query, of each part of a `union` its own.
fn lists(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => rename(select),
        SetExpr::SetOperation { left, right, .. } => {
            lists(left);
            lists(right);
        }
        _ => {}
    }
}

fn rename(select: &mut Select) {
    let names: Vec<Option<String>> = select.projection.iter().map(given_name).collect();
    let mut counts: HashMap<&String, usize> = HashMap::new();
    for name in names.iter().flatten() {
        *counts.entry(name).or_default() += 1;
    }
    if counts.values().all(|count| *count < 2) {
        return;
    }
    let mut made: HashMap<&String, usize> = HashMap::new();
    for (item, name) in select.projection.iter_mut().zip(&names) {
        let Some(name) = name.as_ref().filter(|name| counts[name] > 1) else { continue };
        let number = made.entry(name).or_default();
        *number += 1;
        let alias = Ident::with_quote('"', format!("{name}:{number}"));
        if let SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) = item {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The name that was written for a column that is one of several, by the names beside it. The
/// planner's own names for the second of two columns of a join have the same form: `id`, `id:1`.
fn written<'a>(name: &'a str, all: &[&str]) -> Option<&'a str> {
    let (base, number) = name.rsplit_once(':')?;
    number.parse::<u16>().ok()?;
    let of_base = |other: &&str| {
        **other != *name
            && (**other == *base
                || other
                    .rsplit_once(':')
                    .is_some_and(|(other, number)| other == base && number.parse::<u16>().is_ok()))
    };
    all.iter().any(of_base).then_some(base)
}

/// Whether a name that is not there stands for several columns.
pub(crate) fn is_repeated(name: &str, all: &[&str]) -> bool {
    all.iter().any(|other| written(other, all) == Some(name))
}

/// What leaves a query has names that can be told apart.
///
/// # Errors
/// When a column is one of several of its name.
pub(crate) fn refuse_repeated(schema: &Schema) -> Result<()> {
    let all: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    match all.iter().find_map(|name| written(name, &all)) {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorKind::Query,
            format!(
                "column \"{name}\" specified more than once; name the columns in place of `*`, or \
                 give one of them another alias"
            ),
        )),
    }
}

/// The columns as DuckDB names and types them: of two columns `a` the second is `a_1`, and a column
/// of nothing but NULL is an integer.
pub(crate) fn numbered(schema: &Schema) -> Schema {
    let names = numbered_names(schema);
    let fields = schema.fields().iter().zip(names).map(|(field, name)| {
        let data_type = match field.data_type() {
            DataType::Null => DataType::Int32,
            other => other.clone(),
        };
        Field::new(name, data_type, field.is_nullable())
    });
    Schema::new(fields.collect::<Vec<Field>>())
}

/// The names of the columns, each once.
pub(crate) fn numbered_names(schema: &Schema) -> Vec<String> {
    let all: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut taken: HashSet<String> = HashSet::new();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::with_capacity(all.len());
    for name in &all {
        let name = written(name, &all).unwrap_or(name);
        let count = counts.entry(name.to_lowercase()).or_default();
        let mut unique = name.to_owned();
        while !taken.insert(unique.to_lowercase()) {
            *count += 1;
            unique = format!("{name}_{count}");
        }
        names.push(unique);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_numbered_as_in_duckdb() {
        let names = ["a", "b", "a", "A", "c:1", "c:2", "d:1"];
        let fields = names.map(|name| Field::new(name, DataType::Null, true));
        let numbered = numbered(&Schema::new(fields.to_vec()));
        let names: Vec<&str> =
            numbered.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["a", "b", "a_1", "A_2", "c", "c_1", "d:1"]);
        assert_eq!(*numbered.field(0).data_type(), DataType::Int32);
    }
}

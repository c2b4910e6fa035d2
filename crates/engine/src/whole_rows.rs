//! A relation's name as a value: `to_json(t)`, `json_agg(t)`, `count(t)` mean its whole rows.
//!
//! A column of that name goes before it, as in PostgreSQL. So the planner decides: a name that it does
//! not find, and that relations it reads have, becomes a structure of their columns.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Statement, visit_expressions_mut};

use crate::names::folded;
use crate::spelling::{Missing, stands_at};
use crate::syntax::{call, text};

/// Puts the row of a relation where the error says that a column is missing. `false` where no relation
/// has that name.
pub(crate) fn use_row(statement: &mut Statement, error: &DataFusionError) -> bool {
    let Some(missing) = Missing::of(error).filter(|missing| missing.field.relation.is_none())
    else {
        return false;
    };
    let Some(place) = missing.place else { return false };
    let name = &missing.field.name;
    let mut columns: Vec<&str> = Vec::new();
    for column in missing.valid {
        let of_it = column.relation.as_ref().is_some_and(|relation| relation.table() == name);
        if of_it && !columns.contains(&column.name.as_str()) {
            columns.push(&column.name);
        }
    }
    if columns.is_empty() {
        return false;
    }
    let mut changed = false;
    let _ = visit_expressions_mut(statement, |expr| {
        if let Expr::Identifier(relation) = expr
            && folded(relation) == *name
            && stands_at(expr, place)
        {
            *expr = row(name, &columns);
            changed = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    changed
}

fn row(relation: &str, columns: &[&str]) -> Expr {
    let quoted = |name: &str| Ident::with_quote('"', name);
    let fields = columns.iter().flat_map(|column| {
        [text(column), Expr::CompoundIdentifier(vec![quoted(relation), quoted(column)])]
    });
    call("named_struct", fields.collect())
}

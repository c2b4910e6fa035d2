//! A relation's name as a value: `to_json(t)`, `json_agg(t)`, `count(t)` mean its whole rows.
//!
//! A column of that name goes before it, as in PostgreSQL. So the planner decides: a name that it does
//! not find, and that relations it reads have, becomes a structure of their columns.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
    visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::names::folded;
use crate::rows_from::{ITEM, is_items};
use crate::spelling::{Missing, stands_at};
use crate::syntax::{call, text};

/// Puts the row of a relation where the error says that a column is missing. `false` where no relation
/// has that name.
pub(crate) fn use_row(statement: &mut Statement, error: &DataFusionError) -> bool {
    let Some(missing) = Missing::of(error).filter(|missing| missing.field.relation.is_none())
    else {
        return false;
    };
    let name = &missing.field.name;
    let Some(place) = missing.place.or_else(|| only_place(statement, name)) else { return false };
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
    let item = columns == [ITEM] && Visit::visit(&*statement, &mut Items(name)).is_break();
    if item {
        // The column of a result is called as the relation is.
        keep_name(statement, name, place);
    }
    let mut changed = false;
    let _ = visit_expressions_mut(statement, |expr| {
        if let Expr::Identifier(relation) = expr
            && folded(relation) == *name
            && stands_at(expr, place)
        {
            *expr = match item {
                true => column(name, ITEM),
                false => row(name, &columns),
            };
            changed = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    changed
}

/// Where a name stands that a statement has once: some errors of the planner say no place.
fn only_place(statement: &Statement, name: &str) -> Option<Location> {
    let mut places = Vec::new();
    let _ = visit_expressions(statement, |expr| {
        if let Expr::Identifier(ident) = expr
            && folded(ident) == *name
        {
            places.push(ident.span.start);
        }
        ControlFlow::<()>::Continue(())
    });
    match places.as_slice() {
        [place] => Some(*place),
        _ => None,
    }
}

fn column(relation: &str, column: &str) -> Expr {
    let quoted = |name: &str| Ident::with_quote('"', name);
    Expr::CompoundIdentifier(vec![quoted(relation), quoted(column)])
}

fn row(relation: &str, columns: &[&str]) -> Expr {
    let fields = columns.iter().flat_map(|name| [text(name), column(relation, name)]);
    call("named_struct", fields.collect())
}

/// Breaks off where a relation of this name is the items of an array.
struct Items<'a>(&'a str);

impl Visitor for Items<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match is_items(factor, self.0) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Gives the column of a result that is nothing but the name at this place that name: what is put there has
/// another.
pub(crate) fn keep_name(statement: &mut Statement, name: &str, place: Location) {
    // It breaks off where it is done.
    let _ = VisitMut::visit(statement, &mut Named { name, place });
}

struct Named<'a> {
    name: &'a str,
    place: Location,
}

impl VisitorMut for Named<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Expr::Identifier(relation) = &*expr
                && folded(relation) == self.name
                && stands_at(expr, self.place)
            {
                let (expr, alias) = (expr.clone(), relation.clone());
                *item = SelectItem::ExprWithAlias { expr, alias };
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

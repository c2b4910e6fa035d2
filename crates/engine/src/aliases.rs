//! Columns of a result that the same `select` uses again: `a + b as c, c * 2 as d`.
//!
//! A name means a column that is read where there is one, as in the systems that know this. So the
//! planner decides: a name that it does not find, and that the select gives to a column of its
//! result, is replaced by that column's expression.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Select, SelectItem, Statement, VisitMut, VisitorMut,
};

use crate::names::folded;
use crate::scopes::mentions;
use crate::syntax::{change_outside_queries, nested};

/// A name without a relation that the planner did not find, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    name: String,
    line: u64,
    column: u64,
}

impl Missing {
    /// What an error of the planner says is missing.
    pub(crate) fn of(error: &DataFusionError) -> Option<Self> {
        let mut error = error;
        let mut place = None;
        loop {
            match error {
                DataFusionError::Context(_, inner) => error = inner,
                DataFusionError::Diagnostic(diagnostic, inner) => {
                    place = diagnostic.span.map(|span| span.start).or(place);
                    error = inner;
                }
                DataFusionError::Collection(all) => error = all.first()?,
                DataFusionError::SchemaError(found, _) => {
                    let SchemaError::FieldNotFound { field, .. } = found.as_ref() else {
                        return None;
                    };
                    if field.relation.is_some() {
                        return None;
                    }
                    let start = field.spans().first().map(|span| span.start).or(place)?;
                    let name = field.name.clone();
                    return Some(Missing { name, line: start.line, column: start.column });
                }
                _ => return None,
            }
        }
    }
}

/// Replaces the name in the select in which it stands. `false` when that select gives no column of
/// its result this name.
pub(crate) fn use_result(statement: &mut Statement, missing: &Missing) -> bool {
    VisitMut::visit(statement, &mut Uses(missing)).is_break()
}

struct Uses<'a>(&'a Missing);

impl VisitorMut for Uses<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        match replace(select, self.0) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn replace(select: &mut Select, missing: &Missing) -> bool {
    let named = |is: &dyn Fn(&str) -> bool| {
        select.projection.iter().enumerate().find_map(|(index, item)| match item {
            SelectItem::ExprWithAlias { expr, alias } if is(&folded(alias)) => {
                Some((index, expr.clone()))
            }
            _ => None,
        })
    };
    // As it is written, or else in another case, in which columns are found, too.
    let given = named(&|name| name == missing.name)
        .or_else(|| named(&|name| name.to_lowercase() == missing.name.to_lowercase()));
    let Some((index, expr)) = given.filter(|(_, expr)| !mentions(expr, &missing.name)) else {
        return false;
    };
    let is_here = |ident: &Ident| {
        let start = ident.span.start;
        folded(ident) == missing.name
            && (start.line, start.column) == (missing.line, missing.column)
    };
    let mut here = false;
    each(select, index, &mut |part| {
        here |= matches!(part, Expr::Identifier(ident) if is_here(ident));
    });
    if here {
        each(select, index, &mut |part| {
            if matches!(part, Expr::Identifier(ident) if folded(ident) == missing.name) {
                *part = nested(expr.clone());
            }
        });
    }
    here
}

/// All parts of the expressions that may use the column `index` of the result.
fn each(select: &mut Select, index: usize, change: &mut dyn FnMut(&mut Expr)) {
    for (at, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && at != index
        {
            change_outside_queries(expr, &mut *change);
        }
    }
    let conditions = [&mut select.selection, &mut select.having, &mut select.qualify];
    for condition in conditions.into_iter().flatten() {
        change_outside_queries(condition, &mut *change);
    }
    if let GroupByExpr::Expressions(columns, _) = &mut select.group_by {
        for column in columns {
            change_outside_queries(column, &mut *change);
        }
    }
}

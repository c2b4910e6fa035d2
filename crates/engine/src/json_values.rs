//! `values` of which one row says that a column is JSON: the others are, too.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Query, SetExpr, Statement, Value, ValueWithSpan, Values, VisitMut, VisitorMut,
};

use crate::functions::{JSONB, KNOWN_JSON, PLAIN};
use crate::syntax::{call, cast, simple_name};

/// Literals beside JSON are JSON as well, as in PostgreSQL.
pub(crate) fn settle(query: &mut Query) {
    in_body(&mut query.body);
}

fn in_body(body: &mut SetExpr) {
    match body {
        SetExpr::Values(values) => in_values(values),
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left);
            in_body(right);
        }
        _ => {}
    }
}

fn in_values(values: &mut Values) {
    let width = values.rows.first().map_or(0, |row| row.len());
    for place in 0..width {
        let said =
            values.rows.iter().filter_map(|row| row.get(place)).find_map(|cell| match cell {
                Expr::Function(function) => {
                    let name = simple_name(function)?;
                    [JSONB, KNOWN_JSON].into_iter().find(|known| *known == name)
                }
                _ => None,
            });
        let Some(said) = said else { continue };
        for cell in values.rows.iter_mut().filter_map(|row| row.content.get_mut(place)) {
            let literal = matches!(
                cell,
                Expr::Value(ValueWithSpan {
                    value: Value::SingleQuotedString(_) | Value::Null,
                    ..
                })
            );
            if literal {
                *cell = call(said, vec![cast(cell.clone(), DataType::Varchar(None))]);
            }
        }
    }
}

/// Where the planner finds JSON beside what it does not know to be that, all of it is text. `false` where
/// that is not what the error says.
pub(crate) fn unmark(statement: &mut Statement, error: &DataFusionError) -> bool {
    if !error.to_string().contains("inconsistent metadata across values list") {
        return false;
    }
    struct Unmark(bool);
    impl VisitorMut for Unmark {
        type Break = Infallible;

        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Infallible> {
            self.body(&mut query.body);
            ControlFlow::Continue(())
        }
    }
    impl Unmark {
        fn body(&mut self, body: &mut SetExpr) {
            match body {
                SetExpr::Values(values) => {
                    for cell in values.rows.iter_mut().flat_map(|row| row.content.iter_mut()) {
                        let done = matches!(cell, Expr::Function(function)
                            if simple_name(function).as_deref() == Some(PLAIN));
                        if !done && !matches!(cell, Expr::Value(_)) {
                            *cell = call(PLAIN, vec![cell.clone()]);
                            self.0 = true;
                        }
                    }
                }
                SetExpr::SetOperation { left, right, .. } => {
                    self.body(left);
                    self.body(right);
                }
                _ => {}
            }
        }
    }
    let mut unmark = Unmark(false);
    // It never breaks off.
    let _ = VisitMut::visit(statement, &mut unmark);
    unmark.0
}

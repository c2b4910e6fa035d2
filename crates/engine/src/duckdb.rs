//! DuckDB's spellings of what PostgreSQL writes in other words, in the syntax tree (see `rewrite`).

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    JoinConstraint, JoinOperator, Select, Statement, UnaryOperator, Value, VisitMut, VisitorMut,
};

use crate::syntax::{
    binary, call, cast, divide, interval_of, nested, number, object_name, simple_name, text,
};

/// A call that is written in other words; nothing where it is none of these.
pub(crate) fn written(name: &str, arguments: &[Expr]) -> Option<Expr> {
    let part = |part: &str, value: &Expr| {
        cast(call("date_part", vec![text(part), value.clone()]), DataType::BigInt(None))
    };
    let times = |count: &Expr, unit: &str| {
        nested(binary(count.clone(), BinaryOperator::Multiply, interval_of(text(unit))))
    };
    Some(match (name, arguments) {
        // BigQuery's `week(monday)` is no call but a part of a date.
        ("week", [Expr::Identifier(day)]) if is_weekday(&day.value) => return None,
        ("week", [value]) => part("week", value),
        ("dayofweek" | "weekday", [value]) => part("dow", value),
        ("isodow", [value]) => part("isodow", value),
        ("second", [value]) => cast(
            call("floor", vec![call("date_part", vec![text("second"), value.clone()])]),
            DataType::BigInt(None),
        ),
        ("century" | "decade" | "millennium" | "isoyear", [value]) => part(name, value),
        ("yearweek", [value]) => nested(binary(
            nested(binary(part("isoyear", value), BinaryOperator::Multiply, number(100))),
            BinaryOperator::Plus,
            part("week", value),
        )),
        ("epoch", [value]) => call("date_part", vec![text("epoch"), value.clone()]),
        ("to_years", [count]) => times(count, "1 year"),
        ("to_months", [count]) => times(count, "1 month"),
        ("to_weeks", [count]) => times(count, "7 days"),
        ("to_days", [count]) => times(count, "1 day"),
        ("to_hours", [count]) => times(count, "1 hour"),
        ("to_minutes", [count]) => times(count, "1 minute"),
        ("to_seconds", [count]) => times(count, "1 second"),
        ("fdiv", [a, b]) => divide(cast(a.clone(), DataType::DoublePrecision), b.clone()),
        ("fmod", [a, b]) => nested(binary(a.clone(), BinaryOperator::Modulo, b.clone())),
        _ => return None,
    })
}

fn is_weekday(word: &str) -> bool {
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
        .contains(&word.to_lowercase().as_str())
}

/// `struct_pack(a := 1)` is `named_struct('a', 1)`.
pub(crate) fn packed(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let mut fields = Vec::with_capacity(list.args.len() * 2);
    for argument in &list.args {
        let FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } = argument else {
            return None;
        };
        fields.extend([text(&name.value), value.clone()]);
    }
    Some(call("named_struct", fields))
}

/// `regexp_matches(x, p)` is a condition in DuckDB and rows of arrays in PostgreSQL: where a
/// condition stands, DuckDB's is meant.
pub(crate) fn settle_matches(statement: &mut Statement) {
    // It never breaks off.
    let _ = VisitMut::visit(statement, &mut Matches);
}

struct Matches;

impl VisitorMut for Matches {
    type Break = Infallible;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Infallible> {
        select.selection.iter_mut().chain(&mut select.having).for_each(condition);
        for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
            if let JoinOperator::Join(JoinConstraint::On(on))
            | JoinOperator::Inner(JoinConstraint::On(on))
            | JoinOperator::Left(JoinConstraint::On(on))
            | JoinOperator::LeftOuter(JoinConstraint::On(on)) = &mut join.join_operator
            {
                condition(on);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        match expr {
            Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
                condition(left);
                condition(right);
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => condition(expr),
            Expr::IsTrue(expr)
            | Expr::IsFalse(expr)
            | Expr::IsNotTrue(expr)
            | Expr::IsNotFalse(expr) => condition(expr),
            Expr::Case { operand: None, conditions, .. } => {
                conditions.iter_mut().for_each(|when| condition(&mut when.condition));
            }
            Expr::Function(function) => {
                if let Some(filter) = &mut function.filter {
                    condition(filter);
                }
            }
            // `regexp_matches(x, p) > 0`: a condition is a number there.
            Expr::BinaryOp { left, right, .. } if is_matches(left) => {
                let Expr::Value(value) = &**right else { return ControlFlow::Continue(()) };
                match &value.value {
                    Value::Number(..) => {
                        condition(left);
                        let whole = std::mem::replace(&mut **left, number(0));
                        **left = cast(whole, DataType::Integer(None));
                    }
                    Value::Boolean(_) => condition(left),
                    _ => {}
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn is_matches(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_matches(inner),
        Expr::Function(function) => {
            matches!(simple_name(function).as_deref(), Some("regexp_matches" | "regexp_like"))
        }
        _ => false,
    }
}

fn condition(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => condition(inner),
        Expr::Function(function) if simple_name(function).as_deref() == Some("regexp_matches") => {
            function.name = object_name("regexp_like");
        }
        _ => {}
    }
}

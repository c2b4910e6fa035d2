//! `(a, b) overlaps (c, d)`: whether two spans of time have a moment in common.
//!
//! An end may be written as an interval from its start, the two may stand in either order, and a span
//! lasts up to but without its end, unless it is one moment (PostgreSQL).

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use tidemill_core::{Result, SqlDialect};

use crate::dialect::template;
use crate::syntax::binary;

/// The condition, where both sides are pairs.
pub(crate) fn overlap(left: &Expr, right: &Expr) -> Result<Option<Expr>> {
    let (Some((a, b)), Some((c, d))) = (span(left), span(right)) else { return Ok(None) };
    let one = ("least(a, b)", "case when a is not null and b is not null then greatest(a, b) end");
    let other =
        ("least(c, d)", "case when c is not null and d is not null then greatest(c, d) end");
    // Of the span that begins later and of the other one.
    let later = |late: (&str, &str), early: (&str, &str)| {
        let (start, late_end, end) = (late.0, late.1, early.1);
        format!(
            "when {start} > {} then case when {start} < ({end}) then true \
             when ({late_end}) is null or ({end}) is null then null else false end",
            early.0
        )
    };
    let written = format!(
        "(case {} {} when {} = {} then case when ({}) is null or ({}) is null then null \
         else true end end)",
        later(one, other),
        later(other, one),
        one.0,
        other.0,
        one.1,
        other.1
    );
    template(&written, &[("a", a), ("b", b), ("c", c), ("d", d)], SqlDialect::Postgres).map(Some)
}

/// The start and the end of a span.
fn span(expr: &Expr) -> Option<(Expr, Expr)> {
    let Expr::Tuple(pair) = expr else { return None };
    let [start, end] = pair.as_slice() else { return None };
    let end = match is_interval(end) {
        true => binary(start.clone(), BinaryOperator::Plus, end.clone()),
        false => end.clone(),
    };
    Some((start.clone(), end))
}

fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_interval(inner),
        Expr::BinaryOp { left, op: BinaryOperator::Multiply, right } => {
            is_interval(left) || is_interval(right)
        }
        Expr::Interval(_) => true,
        expr => crate::syntax::is_interval_text(expr),
    }
}

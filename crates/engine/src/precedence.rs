//! `is distinct from` binds tighter than `not`, `and` and `or`.
//!
//! The parser takes all that follows it for its right side: `a is distinct from b and c` becomes
//! `a is distinct from (b and c)`. Parentheses of the text are nodes of the tree, so what binds
//! loosely and has none got there by that mistake and is turned around.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Statement, UnaryOperator, Value, VisitMut, VisitorMut,
};

/// Puts every `is [not] distinct from` of a statement where it belongs.
pub(crate) fn settle_precedence(statement: &mut Statement) {
    // It never breaks off.
    let _ = VisitMut::visit(statement, &mut Precedence);
}

struct Precedence;

impl VisitorMut for Precedence {
    type Break = Infallible;

    /// Inner expressions come first: what they were turned into is turned on by those around them.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        let (side, within): (&mut Box<Expr>, fn(&BinaryOperator) -> bool) = match expr {
            Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => (right, is_loose),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => (expr, is_loose),
            Expr::BinaryOp { op: BinaryOperator::And, right, .. } => {
                (right, |op| matches!(op, BinaryOperator::Or | BinaryOperator::Xor))
            }
            _ => return ControlFlow::Continue(()),
        };
        if matches!(&**side, Expr::BinaryOp { op, .. } if within(op)) {
            // `outer(x or y)` becomes `outer(x) or y`.
            let mut turned = std::mem::replace(&mut **side, nothing());
            let first = first_operand(&mut turned, within);
            std::mem::swap(&mut **side, first);
            // The outer expression has its operand now, and takes the place that this had.
            std::mem::swap(expr, first);
            *expr = turned;
        }
        ControlFlow::Continue(())
    }
}

/// The operand that stands first in the text of a row of these operators.
fn first_operand(row: &mut Expr, within: fn(&BinaryOperator) -> bool) -> &mut Expr {
    let mut depth = 0;
    let mut node = &*row;
    while let Expr::BinaryOp { left, op, .. } = node
        && within(op)
    {
        depth += 1;
        node = left;
    }
    (0..depth).fold(row, |node, _| match node {
        Expr::BinaryOp { left, .. } => left,
        other => other,
    })
}

fn is_loose(operator: &BinaryOperator) -> bool {
    matches!(operator, BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor)
}

fn nothing() -> Expr {
    Expr::Value(Value::Null.into())
}

//! `lag` and `lead` with a default that is computed for each row.

use datafusion::sql::sqlparser::ast::{Expr, Function, FunctionArguments, NullTreatment, Value};

use crate::syntax::{argument, call, case, nested, plain_arguments, simple_name};

/// `lag(a, n, b) over w` where `b` is no constant, which the planner asks for: the value of the row before
/// where there is such a row, else `b`.
pub(crate) fn with_default(function: &Function) -> Option<Expr> {
    let name = simple_name(function)?;
    if !matches!(name.as_str(), "lag" | "lead") || function.over.is_none() {
        return None;
    }
    let [value, offset, default] = plain_arguments(function)?.try_into().ok()?;
    if is_constant(&default) {
        return None;
    }
    let of = |value: Expr| {
        let mut other = function.clone();
        if let FunctionArguments::List(list) = &mut other.args {
            list.args = vec![argument(value), argument(offset.clone())];
        }
        Expr::Function(other)
    };
    // Where NULLs are skipped, a row that is found has a value.
    if function.null_treatment == Some(NullTreatment::IgnoreNulls) {
        return Some(call("coalesce", vec![of(value), default]));
    }
    let there = of(Expr::Value(Value::Boolean(true).with_empty_span()));
    let found = vec![(Expr::IsNotNull(Box::new(there)), of(value))];
    Some(nested(case(found, Some(default))))
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::UnaryOp { expr, .. } | Expr::Cast { expr, .. } | Expr::Nested(expr) => {
            is_constant(expr)
        }
        _ => false,
    }
}

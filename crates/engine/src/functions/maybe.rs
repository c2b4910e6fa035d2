//! A value of which the optimizer must not know that it cannot be NULL.

use std::sync::Arc;

use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::simple::{Simple, arity};

/// The value itself.
pub(crate) fn nullable(value: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function()), vec![value]))
}

/// The function of this file.
pub(super) fn function() -> ScalarUDF {
    Simple::function(
        "tidemill_maybe",
        |types| {
            arity("this function", types, 1, 1)?;
            Ok(types.to_vec())
        },
        |types, _| Ok(types[0].clone()),
        |args, _| Ok(args[0].clone()),
    )
}

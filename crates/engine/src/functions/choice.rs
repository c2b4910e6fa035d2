//! `coalesce` of a date, a time or a boolean and a text: the text is one, as a literal is in PostgreSQL.
//!
//! DataFusion writes `coalesce(a, b)` as `case when a is not null then a else b end`, so that `b` is computed only where
//! it is needed. `a` stands there twice: of ten within one another, as views over views come to, a thousand are made, and
//! planning takes minutes. So a large `a` stays where it is. Where `b` can fail, the planner sees to it that it is
//! computed for the rows that need it alone (see [`crate::choices`]).

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{is_null, kernels::zip::zip};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::functions::core;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use crate::choices::is_closable;
use crate::meaning::compares;

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::new_from_impl(Coalesce(core::coalesce()))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Coalesce(Arc<ScalarUDF>);

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let text = |data_type: &DataType| {
            matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
        };
        let moment =
            |data_type: &DataType| matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
        let fits = |data_type: &DataType| {
            *data_type == DataType::Boolean || text(data_type) || data_type.is_null()
        };
        if types.contains(&DataType::Boolean) && types.iter().all(fits) {
            return Ok(vec![DataType::Boolean; types.len()]);
        }
        // DuckDB's: a boolean beside a number is one.
        let numbers: Vec<DataType> =
            types.iter().filter(|data_type| data_type.is_numeric()).cloned().collect();
        let others = |data_type: &DataType| {
            *data_type == DataType::Boolean || data_type.is_numeric() || data_type.is_null()
        };
        if types.contains(&DataType::Boolean) && !numbers.is_empty() && types.iter().all(others) {
            let wanted = self.0.coerce_types(&numbers)?;
            return Ok(vec![wanted.first().cloned().unwrap_or(DataType::Int64); types.len()]);
        }
        let moments: Vec<DataType> =
            types.iter().filter(|data_type| moment(data_type)).cloned().collect();
        let others = types
            .iter()
            .all(|data_type| moment(data_type) || text(data_type) || data_type.is_null());
        if moments.is_empty() || !others || moments.len() == types.len() {
            return self.0.coerce_types(types);
        }
        let wanted = self.0.coerce_types(&moments)?;
        let wanted = wanted.first().cloned().unwrap_or(DataType::Utf8);
        Ok(vec![wanted; types.len()])
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let first = args.len().saturating_sub(1);
        match args[..first].iter().any(is_large) && args.iter().all(is_closable) {
            true => Ok(ExprSimplifyResult::Original(args)),
            false => self.0.simplify(args, info),
        }
    }

    fn short_circuits(&self) -> bool {
        self.0.short_circuits()
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.0.conditional_arguments(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ScalarFunctionArgs { args, number_rows, .. } = args;
        let mut arrays = args.iter().map(|value| value.to_array(number_rows));
        let Some(first) = arrays.next() else { return internal_err!("coalesce of nothing") };
        let mut found: ArrayRef = first?;
        for next in arrays {
            if found.null_count() == 0 {
                break;
            }
            found = zip(&is_null(&found)?, &next?, &found)?;
        }
        Ok(ColumnarValue::Array(found))
    }
}

/// Whether an expression is a `coalesce` of which a value can fail that is computed in the place of another.
pub(crate) fn is_spared(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call)
        if call.func.name() == "coalesce" && !call.args.iter().skip(1).all(cannot_fail))
}

/// From so many parts on an expression is not written twice.
const LARGE: usize = 16;

fn is_large(expr: &Expr) -> bool {
    let mut parts = 0;
    let counted = expr.apply(|_| {
        parts += 1;
        Ok(if parts < LARGE { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    counted.is_ok() && parts >= LARGE
}

/// Whether the expression has a value for every row: it may be computed where it is not needed.
fn cannot_fail(expr: &Expr) -> bool {
    let mut safe = true;
    let looked = expr.apply(|part| {
        safe = match part {
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::Case(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::Not(_)
            | Expr::TryCast(_) => true,
            // A pattern that is a value may be none.
            Expr::BinaryExpr(binary) => {
                compares(binary.op) || matches!(binary.op, Operator::And | Operator::Or)
            }
            // Everything has a text.
            Expr::Cast(cast) => {
                matches!(
                    cast.field.data_type(),
                    DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8
                )
            }
            Expr::ScalarFunction(call) => {
                matches!(
                    call.name(),
                    "coalesce"
                        | "nullif"
                        | "lower"
                        | "upper"
                        | "btrim"
                        | "ltrim"
                        | "rtrim"
                        | "concat"
                )
            }
            _ => false,
        };
        Ok(if safe { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    looked.is_ok() && safe
}

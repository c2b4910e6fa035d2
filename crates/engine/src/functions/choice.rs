//! `coalesce` of a date, a time or a boolean and a text: the text is one, as a literal is in PostgreSQL.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions::core;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

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
        self.0.simplify(args, info)
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
        self.0.invoke_with_args(args)
    }
}

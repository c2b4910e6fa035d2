//! `date_trunc` in microseconds: DataFusion turns a date into nanoseconds, which end in 2262.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::simple::{arity, as_timestamp};

/// The function of this file.
pub(super) fn function() -> ScalarUDF {
    let inner = date_trunc();
    let aliases = inner.aliases().to_vec();
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::new_from_impl(DateTrunc { inner, aliases, signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc {
    inner: Arc<ScalarUDF>,
    aliases: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        "date_trunc"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        arity("date_trunc", types, 2, 2)?;
        let part = match &types[0] {
            DataType::Utf8View => DataType::Utf8View,
            _ => DataType::Utf8,
        };
        let value = match &types[1] {
            time @ (DataType::Time32(_) | DataType::Time64(_)) => time.clone(),
            other => as_timestamp(other),
        };
        Ok(vec![part, value])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[1].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.inner().output_ordering(inputs)
    }
}

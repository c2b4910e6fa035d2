//! Mathematical functions outside of the numbers for which they are defined. DataFusion gives NaN or
//! an infinity; PostgreSQL, and so these, an error. Also `round` of a double, which goes to the even
//! neighbour.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::math;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::simple::{bad_value, usage};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let logarithm = "cannot take logarithm of zero or of a negative number";
    let input = "input is out of range";
    let overflow = "double precision out of range";
    [
        (math::ln(), logarithm),
        (math::log(), logarithm),
        (math::log2(), logarithm),
        (math::log10(), logarithm),
        (math::sqrt(), "cannot take square root of a negative number"),
        (math::acos(), input),
        (math::asin(), input),
        (math::acosh(), input),
        (math::atanh(), input),
        (math::exp(), overflow),
        (math::power(), "the power is not a real number, or out of range"),
        (math::round(), ""),
        (math::abs(), ""),
    ]
    .into_iter()
    .map(|(inner, outside)| {
        let aliases = inner.aliases().to_vec();
        // The type of a rounded decimal depends on the literal that says how many digits stay: it
        // must not be hidden by a cast.
        let signature = match inner.name() {
            "round" => Signature::user_defined(Volatility::Immutable),
            _ => inner.signature().clone(),
        };
        ScalarUDF::new_from_impl(Domain { inner, aliases, outside, signature })
    })
    .collect()
}

/// DataFusion's function, and what to say when it has no value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Domain {
    inner: Arc<ScalarUDF>,
    aliases: Vec<String>,
    outside: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Domain {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if self.name() != "round" {
            return self.inner.coerce_types(types);
        }
        let (value, digits) = match types {
            [value] => (value, None),
            [value, digits] => (value, Some(digits)),
            _ => return usage("round takes a number, and how many digits stay behind the point"),
        };
        let value = match value {
            value if value.is_integer() || value.is_decimal() => value.clone(),
            DataType::Float32 => DataType::Float32,
            value if value.is_numeric() || value.is_null() => DataType::Float64,
            other => return usage(format!("round takes a number, not {other}")),
        };
        let digits = match digits {
            Some(digits) if digits.is_integer() => Some(digits.clone()),
            Some(_) => Some(DataType::Int64),
            None => None,
        };
        Ok(std::iter::once(value).chain(digits).collect())
    }

    /// Only what keeps the function (or drops it): a constant is computed here.
    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Original(args))
    }

    /// The inner function fails where it cannot compare its argument's range with zero, and a plan
    /// that is sorted by it would be refused.
    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(self.inner.inner().output_ordering(inputs).unwrap_or_default())
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.name() == "round" {
            if let Some(digits) = args.args.get_mut(1) {
                *digits = digits.cast_to(&DataType::Int32, None)?;
            }
            if let [value] = args.args.as_slice()
                && let Some(rounded) = round(value)?
            {
                return Ok(rounded);
            }
            return self.inner.invoke_with_args(args);
        }
        if self.outside.is_empty() {
            return self.inner.invoke_with_args(args);
        }
        let inputs = args.args.clone();
        let result = self.inner.invoke_with_args(args)?;
        if has_no_number(&result)? && !outside_already(&inputs)? {
            return Err(bad_value(format!("{}: `{}`", self.outside, self.name())));
        }
        Ok(result)
    }
}

/// Whether a value is NaN or infinite.
fn has_no_number(value: &ColumnarValue) -> Result<bool> {
    Ok(match value {
        ColumnarValue::Array(array) => strange(array),
        ColumnarValue::Scalar(scalar) => strange(&scalar.to_array()?),
    })
}

/// NaN in, NaN out: not an error. (A batch with one such value is not looked at any closer.)
fn outside_already(inputs: &[ColumnarValue]) -> Result<bool> {
    for input in inputs {
        if has_no_number(input)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn strange(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            array.values().iter().any(|value| !value.is_finite())
                && array.iter().flatten().any(|value| !value.is_finite())
        }
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            array.values().iter().any(|value| !value.is_finite())
                && array.iter().flatten().any(|value| !value.is_finite())
        }
        _ => false,
    }
}

/// A double without its fraction, halves to the even number; `None` for other types.
fn round(value: &ColumnarValue) -> Result<Option<ColumnarValue>> {
    let of = |array: &ArrayRef| -> Option<ArrayRef> {
        match array.data_type() {
            DataType::Float64 => {
                let rounded: Float64Array =
                    array.as_primitive::<Float64Type>().unary(f64::round_ties_even);
                Some(Arc::new(rounded))
            }
            DataType::Float32 => {
                let rounded: Float32Array =
                    array.as_primitive::<Float32Type>().unary(f32::round_ties_even);
                Some(Arc::new(rounded))
            }
            _ => None,
        }
    };
    Ok(match value {
        ColumnarValue::Array(array) => of(array).map(ColumnarValue::Array),
        ColumnarValue::Scalar(scalar) => match of(&scalar.to_array()?) {
            Some(array) => Some(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)),
            None => None,
        },
    })
}

//! Numbers as PostgreSQL has them: casts to integers round, and a division of decimals keeps sixteen
//! digits behind the point where they fit (DataFusion keeps four more than the dividend has).

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, i256};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::WHOLE;
use super::simple::{Call, Simple, arity};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::new_from_impl(Whole::default()), division()]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Whole {
    signature: Signature,
}

impl Default for Whole {
    fn default() -> Self {
        Whole { signature: Signature::any(1, Volatility::Immutable) }
    }
}

fn has_fraction(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::Decimal128(_, scale) => *scale > 0,
        _ => false,
    }
}

impl ScalarUDFImpl for Whole {
    fn name(&self) -> &str {
        WHOLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    /// Where nothing has to be rounded, nothing is left of it.
    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match args.pop() {
            Some(value) if !has_fraction(&info.get_data_type(&value)?) => {
                Ok(ExprSimplifyResult::Simplified(value))
            }
            Some(value) => Ok(ExprSimplifyResult::Original(vec![value])),
            None => exec_err!("{WHOLE} takes one argument"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match &args.args[0] {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(whole(array))),
            ColumnarValue::Scalar(scalar) => {
                let array = whole(&scalar.to_array()?);
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }
}

/// Halves go to the even number in a double and away from zero in a decimal (PostgreSQL).
fn whole(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            let rounded: Float64Array = array.unary(f64::round_ties_even);
            Arc::new(rounded)
        }
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            let rounded: Float32Array = array.unary(f32::round_ties_even);
            Arc::new(rounded)
        }
        DataType::Decimal128(precision, scale) if *scale > 0 => {
            let unit = 10_i128.pow(u32::from(scale.unsigned_abs()));
            let array = array.as_primitive::<Decimal128Type>();
            let rounded: Decimal128Array = array.unary(|value| {
                let rest = value % unit;
                let down = value - rest;
                if rest.abs() * 2 >= unit { down + unit * value.signum() } else { down }
            });
            Arc::new(rounded.with_data_type(DataType::Decimal128(*precision, *scale)))
        }
        _ => array.clone(),
    }
}

static DIVISION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(division()));

/// The quotient of two decimals.
pub(crate) fn divide(left: Expr, right: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(DIVISION.clone(), vec![left, right]))
}

fn division() -> ScalarUDF {
    Simple::function("tidemill_divide", divide_takes, |types, _| quotient_type(types), divide_all)
}

/// Integers are decimals without a scale.
fn as_decimal(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Decimal128(..) => data_type.clone(),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Int8 | DataType::UInt8 => DataType::Decimal128(3, 0),
        DataType::Int16 | DataType::UInt16 => DataType::Decimal128(5, 0),
        DataType::Int32 | DataType::UInt32 => DataType::Decimal128(10, 0),
        _ => DataType::Decimal128(20, 0),
    }
}

fn divide_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("/", types, 2, 2)?;
    Ok(types.iter().map(as_decimal).collect())
}

/// Digits behind the point that a quotient has at least, where they fit.
const DIGITS: i32 = 16;
/// Digits of a decimal.
const MOST: i32 = 38;

fn quotient_type(types: &[DataType]) -> Result<DataType> {
    let (DataType::Decimal128(left, left_scale), DataType::Decimal128(_, right_scale)) =
        (as_decimal(&types[0]), as_decimal(&types[1]))
    else {
        return exec_err!("decimals are wanted");
    };
    let least = i32::from(left_scale).max(6);
    // Digits before the point: those of the dividend, and as many as the divisor has behind it.
    let whole = i32::from(left) - i32::from(left_scale) + i32::from(right_scale);
    let scale =
        (MOST - whole).clamp(least, DIGITS.max(least)).max(i32::from(right_scale)).min(MOST);
    Ok(DataType::Decimal128(MOST as u8, scale as i8))
}

fn divide_all(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let scale_of = |data_type: &DataType| match data_type {
        DataType::Decimal128(_, scale) => i32::from(*scale),
        _ => 0,
    };
    let (left, right) =
        (args[0].as_primitive::<Decimal128Type>(), args[1].as_primitive::<Decimal128Type>());
    let shift = scale_of(call.returns) + scale_of(right.data_type()) - scale_of(left.data_type());
    let factor = i256::from_i128(10).wrapping_pow(shift.unsigned_abs());
    let narrow = factor.to_i128().filter(|_| shift >= 0);
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    let mut values = Vec::with_capacity(left.len());
    for row in 0..left.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            values.push(0);
            continue;
        }
        let (dividend, divisor) = (left.value(row), right.value(row));
        if divisor == 0 {
            return Err(arrow::error::ArrowError::DivideByZero.into());
        }
        let scaled = narrow.and_then(|factor| dividend.checked_mul(factor));
        let quotient = match scaled {
            Some(scaled) => Some(rounded(scaled, divisor)),
            None => {
                let wide = i256::from_i128(dividend);
                let (dividend, divisor) = match shift >= 0 {
                    true => (wide.wrapping_mul(factor), i256::from_i128(divisor)),
                    false => (wide, i256::from_i128(divisor).wrapping_mul(factor)),
                };
                let quotient = dividend.wrapping_div(divisor);
                let rest = dividend.wrapping_sub(quotient.wrapping_mul(divisor));
                let up =
                    rest.wrapping_abs().wrapping_mul(i256::from_i128(2)) >= divisor.wrapping_abs();
                let step = match (up, dividend.is_negative() == divisor.is_negative()) {
                    (false, _) => 0,
                    (true, true) => 1,
                    (true, false) => -1,
                };
                quotient.wrapping_add(i256::from_i128(step)).to_i128()
            }
        };
        const LIMIT: u128 = 10_u128.pow(38);
        match quotient.filter(|quotient| quotient.unsigned_abs() < LIMIT) {
            Some(quotient) => values.push(quotient),
            None => return exec_err!("a quotient has more digits than a decimal can hold"),
        }
    }
    let quotients = Decimal128Array::new(ScalarBuffer::from(values), nulls);
    Ok(Arc::new(quotients.with_data_type(call.returns.clone())))
}

/// Halves away from zero.
fn rounded(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    // `rest` is smaller than `divisor`, so the difference does not overflow.
    if rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs() {
        quotient + if (dividend < 0) == (divisor < 0) { 1 } else { -1 }
    } else {
        quotient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_keep_sixteen_digits_where_they_fit() {
        let scale = |left: (u8, i8), right: (u8, i8)| {
            let types =
                [DataType::Decimal128(left.0, left.1), DataType::Decimal128(right.0, right.1)];
            match quotient_type(&types).unwrap() {
                DataType::Decimal128(38, scale) => scale,
                other => panic!("{other}"),
            }
        };
        assert_eq!(scale((2, 1), (2, 1)), 16);
        assert_eq!(scale((25, 2), (25, 2)), 13);
        assert_eq!(scale((20, 0), (20, 0)), 16);
        assert_eq!(scale((38, 10), (38, 10)), 10);
        assert_eq!(scale((38, 0), (38, 20)), 20);
    }

    #[test]
    fn halves_go_away_from_zero() {
        assert_eq!(rounded(5, 2), 3);
        assert_eq!(rounded(-5, 2), -3);
        assert_eq!(rounded(5, -2), -3);
        assert_eq!(rounded(4, 3), 1);
        assert_eq!(rounded(i128::MAX, 1), i128::MAX);
    }
}

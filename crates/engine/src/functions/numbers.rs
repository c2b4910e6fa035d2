//! Numbers as PostgreSQL has them: casts to integers round, a division of decimals keeps sixteen
//! digits behind the point (DataFusion keeps four more than the dividend has), and a product of
//! decimals keeps all of its digits as long as 38 can hold them, else twenty behind the point.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, StringViewArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, i256};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::pattern::NumberPattern;
use super::simple::{Call, Simple, arity, bad_value, text};
use super::{TYPED, WHOLE};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::new_from_impl(Whole::default()),
        ScalarUDF::new_from_impl(Typed { signature: Signature::any(2, Volatility::Immutable) }),
        Simple::function("to_number", to_number_takes, to_number_gives, to_number),
        division(),
        multiplication(),
    ]
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

#[derive(Debug, PartialEq, Eq, Hash)]
struct Typed {
    signature: Signature,
}

impl ScalarUDFImpl for Typed {
    fn name(&self) -> &str {
        TYPED
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match args.into_iter().next() {
            Some(value) => Ok(ExprSimplifyResult::Simplified(value)),
            None => exec_err!("{TYPED} takes two arguments"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => exec_err!("{TYPED} takes two arguments"),
        }
    }
}

fn to_number_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("to_number", types, 1, 2)?;
    Ok(vec![DataType::Utf8View; types.len()])
}

/// As many digits behind the point as the pattern has.
fn to_number_gives(_: &[DataType], scalars: &[Option<&ScalarValue>]) -> Result<DataType> {
    let pattern = scalars.get(1).and_then(|scalar| scalar.and_then(|s| s.try_as_str().flatten()));
    let places = match pattern {
        Some(pattern) => NumberPattern::parse(pattern).map_err(bad_value)?.decimals(),
        None => 10,
    };
    Ok(DataType::Decimal128(MOST, i8::try_from(places.min(30)).unwrap_or(10)))
}

/// The digits, sign and point of a text; what else its pattern has (separators, a currency) is
/// skipped.
fn to_number(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let texts = text(&args[0]);
    let plain: StringViewArray = (0..texts.len())
        .map(|row| {
            if args.iter().any(|arg| arg.is_null(row)) {
                return Ok(None);
            }
            let whole = texts.value(row);
            let negative = whole.contains('-') || whole.contains('<');
            let digits: String =
                whole.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
            match digits.bytes().any(|byte| byte.is_ascii_digit()) {
                true => Ok(Some(format!("{}{digits}", if negative { "-" } else { "" }))),
                false => {
                    Err(bad_value(format!("invalid input syntax for type numeric: \"{whole}\"")))
                }
            }
        })
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .collect();
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    Ok(arrow::compute::cast_with_options(&plain, call.returns, &options)?)
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

/// Two columns of doubles, worked on row by row.
fn doubles(
    args: &[ArrayRef],
    work: impl Fn(f64, f64) -> std::result::Result<f64, arrow::error::ArrowError>,
) -> Result<ArrayRef> {
    let (left, right) =
        (args[0].as_primitive::<Float64Type>(), args[1].as_primitive::<Float64Type>());
    let worked: Float64Array = arrow::compute::try_binary(left, right, work)?;
    Ok(Arc::new(worked))
}

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
    Ok(factors(types))
}

/// What two factors become: a side that turned out to be a double makes both doubles.
fn factors(types: &[DataType]) -> Vec<DataType> {
    match types.iter().any(DataType::is_floating) {
        true => vec![DataType::Float64; types.len()],
        false => types.iter().map(as_decimal).collect(),
    }
}

/// Digits behind the point that a quotient has at least.
const DIGITS: i8 = 16;
/// Digits of a decimal.
const MOST: u8 = 38;
/// Larger than any decimal.
const LIMIT: u128 = 10_u128.pow(MOST as u32);

fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

/// A quotient that has more than 22 digits before the point is an error when it comes, and not a
/// reason to give all others fewer digits behind it.
fn quotient_type(types: &[DataType]) -> Result<DataType> {
    if types.iter().any(DataType::is_floating) {
        return Ok(DataType::Float64);
    }
    let scales = types.iter().map(|data_type| scale_of(&as_decimal(data_type)));
    Ok(DataType::Decimal128(MOST, scales.max().unwrap_or(0).max(DIGITS)))
}

fn divide_all(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    if call.returns.is_floating() {
        return doubles(args, |dividend, divisor| match divisor == 0.0 {
            true => Err(arrow::error::ArrowError::DivideByZero),
            false => Ok(dividend / divisor),
        });
    }
    let (left, right) =
        (args[0].as_primitive::<Decimal128Type>(), args[1].as_primitive::<Decimal128Type>());
    let shift = i32::from(scale_of(call.returns)) + i32::from(scale_of(right.data_type()))
        - i32::from(scale_of(left.data_type()));
    let Ok(shift) = u32::try_from(shift) else {
        return exec_err!("a quotient has fewer digits than its dividend");
    };
    pairs(left, right, call.returns, |dividend, divisor| {
        if divisor == 0 {
            return Err(arrow::error::ArrowError::DivideByZero.into());
        }
        match quotient(dividend, shift, divisor) {
            Some(quotient) => Ok(quotient),
            None => exec_err!(
                "numeric out of range: a quotient has more than 38 digits, {} of them behind the \
                 point; cast one side to double precision",
                scale_of(call.returns)
            ),
        }
    })
}

/// One function over the rows in which both are not NULL.
fn pairs(
    left: &Decimal128Array,
    right: &Decimal128Array,
    returns: &DataType,
    of: impl Fn(i128, i128) -> Result<i128>,
) -> Result<ArrayRef> {
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    let mut values = Vec::with_capacity(left.len());
    for row in 0..left.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            values.push(0);
        } else {
            values.push(of(left.value(row), right.value(row))?);
        }
    }
    let made = Decimal128Array::new(ScalarBuffer::from(values), nulls);
    Ok(Arc::new(made.with_data_type(returns.clone())))
}

/// `dividend * 10^shift / divisor`, halves away from zero; `None` when it has too many digits.
pub(super) fn quotient(dividend: i128, shift: u32, divisor: i128) -> Option<i128> {
    let narrow = 10_i128.checked_pow(shift).and_then(|factor| dividend.checked_mul(factor));
    let quotient = match narrow {
        Some(scaled) => Some(rounded(scaled, divisor)),
        None => {
            let factor = i256::from_i128(10).checked_pow(shift)?;
            rounded_wide(i256::from_i128(dividend).checked_mul(factor)?, i256::from_i128(divisor))
        }
    };
    quotient.filter(|quotient| quotient.unsigned_abs() < LIMIT)
}

fn rounded_wide(dividend: i256, divisor: i256) -> Option<i128> {
    let quotient = dividend.checked_div(divisor)?;
    let rest = dividend.wrapping_sub(quotient.wrapping_mul(divisor));
    let up = rest.wrapping_abs().wrapping_mul(i256::from_i128(2)) >= divisor.wrapping_abs();
    let step = match (up, dividend.is_negative() == divisor.is_negative()) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => -1,
    };
    quotient.wrapping_add(i256::from_i128(step)).to_i128()
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

static MULTIPLICATION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(multiplication()));

fn multiplication() -> ScalarUDF {
    Simple::function(
        "tidemill_multiply",
        |types| {
            arity("*", types, 2, 2)?;
            Ok(factors(types))
        },
        |types, _| Ok(product_type(&types[0], &types[1])),
        multiply_all,
    )
}

/// The product of two decimals (or a decimal and an integer) that DataFusion would refuse or that
/// could soon be too large for it; `None` when DataFusion's own product is exact.
pub(crate) fn multiply(left: Expr, right: Expr, types: (&DataType, &DataType)) -> Option<Expr> {
    let (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) =
        (as_decimal(types.0), as_decimal(types.1))
    else {
        return None;
    };
    let exact = u32::from(p) + u32::from(q) < u32::from(MOST);
    if exact || s + t <= BEHIND {
        return None;
    }
    let args = vec![left, right];
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(MULTIPLICATION.clone(), args)))
}

/// Digits behind the point that a product keeps when it has too many.
const BEHIND: i8 = 20;

fn product_type(left: &DataType, right: &DataType) -> DataType {
    if left.is_floating() || right.is_floating() {
        return DataType::Float64;
    }
    let (s, t) = (scale_of(&as_decimal(left)), scale_of(&as_decimal(right)));
    DataType::Decimal128(MOST, (s + t).min(BEHIND.max(s).max(t)))
}

fn multiply_all(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    if call.returns.is_floating() {
        return doubles(args, |x, y| Ok(x * y));
    }
    let (left, right) =
        (args[0].as_primitive::<Decimal128Type>(), args[1].as_primitive::<Decimal128Type>());
    let all = scale_of(left.data_type()) + scale_of(right.data_type());
    let cut = u32::try_from(all - scale_of(call.returns)).unwrap_or(0);
    let unit = 10_i128.pow(cut);
    pairs(left, right, call.returns, |x, y| {
        let product = match x.checked_mul(y) {
            Some(product) => Some(rounded(product, unit)),
            None => i256::from_i128(x)
                .checked_mul(i256::from_i128(y))
                .and_then(|product| rounded_wide(product, i256::from_i128(unit))),
        };
        match product.filter(|product| product.unsigned_abs() < LIMIT) {
            Some(product) => Ok(product),
            None => exec_err!(
                "numeric out of range: a product has more than 38 digits, {} of them behind the \
                 point; cast one side to double precision",
                scale_of(call.returns)
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_keep_sixteen_digits() {
        let scale = |left: (u8, i8), right: (u8, i8)| {
            let types =
                [DataType::Decimal128(left.0, left.1), DataType::Decimal128(right.0, right.1)];
            match quotient_type(&types).unwrap() {
                DataType::Decimal128(38, scale) => scale,
                other => panic!("{other}"),
            }
        };
        assert_eq!(scale((2, 1), (2, 1)), 16);
        assert_eq!(scale((38, 10), (38, 10)), 16);
        assert_eq!(scale((38, 0), (38, 20)), 20);
    }

    #[test]
    fn a_product_keeps_its_digits_or_twenty() {
        let scale =
            |s, t| match product_type(&DataType::Decimal128(38, s), &DataType::Decimal128(38, t)) {
                DataType::Decimal128(38, scale) => scale,
                other => panic!("{other}"),
            };
        assert_eq!((scale(2, 2), scale(10, 10), scale(16, 16), scale(30, 4)), (4, 20, 20, 30));
    }

    #[test]
    fn halves_go_away_from_zero() {
        assert_eq!(rounded(5, 2), 3);
        assert_eq!(rounded(-5, 2), -3);
        assert_eq!(rounded(5, -2), -3);
        assert_eq!(rounded(4, 3), 1);
        assert_eq!(rounded(i128::MAX, 1), i128::MAX);
        let wide = i256::from_i128(i128::MAX).wrapping_mul(i256::from_i128(3));
        assert_eq!(rounded_wide(wide, i256::from_i128(2)), None);
        assert_eq!(rounded_wide(wide, i256::from_i128(-3)), Some(-i128::MAX));
        assert_eq!(quotient(1, 38, 3), Some("3".repeat(38).parse().unwrap()));
        assert_eq!(quotient(4, 38, 3), None);
    }
}

//! Arithmetic that ends with an error where its result does not fit: DataFusion's own wraps around
//! for integers and gives infinity for a double divided by zero.
//!
//! The analyzer puts these functions in the place of operators (see `meaning`), where an overflow
//! is possible at all. Sums, differences and products of columns without NULLs are computed in one
//! pass that the compiler can vectorise; only a batch in which something overflowed is looked at
//! again, value by value.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Field, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use super::simple::bad_value;

/// An operator of two numbers of one type, checked.
#[derive(Debug)]
pub(crate) struct Checked {
    operator: Operator,
    data_type: DataType,
    /// The expression as the user's error shall show it.
    text: String,
    signature: Signature,
}

/// The checked form of `left operator right`, both of `data_type`; `None` where there is none.
pub(crate) fn checked(
    left: Expr,
    operator: Operator,
    right: Expr,
    data_type: &DataType,
) -> Option<Expr> {
    let has_one = match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            matches!(operator, Operator::Plus | Operator::Minus | Operator::Multiply)
        }
        DataType::Float32 | DataType::Float64 => {
            matches!(operator, Operator::Divide | Operator::Modulo)
        }
        _ => false,
    };
    if !has_one {
        return None;
    }
    let function = Checked {
        operator,
        data_type: data_type.clone(),
        text: shortened(&format!("{} {operator} {}", left.human_display(), right.human_display())),
        signature: Signature::exact(
            vec![data_type.clone(), data_type.clone()],
            Volatility::Immutable,
        ),
    };
    let function = Arc::new(ScalarUDF::new_from_impl(function));
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![left, right])))
}

/// The type of an expression that is one of ours, without walking down into it.
pub(crate) fn type_of_checked(expr: &Expr) -> Option<&DataType> {
    let Expr::ScalarFunction(call) = expr else { return None };
    call.func.inner().downcast_ref::<Checked>().map(|checked| &checked.data_type)
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

// The text only shows; the arguments say what is computed.
impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.operator == other.operator && self.data_type == other.data_type
    }
}

impl Eq for Checked {}

impl Hash for Checked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.operator.hash(state);
        self.data_type.hash(state);
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "tidemill_add",
            Operator::Minus => "tidemill_subtract",
            Operator::Multiply => "tidemill_multiply_whole",
            Operator::Divide => "tidemill_divide_double",
            _ => "tidemill_modulo_double",
        }
    }

    /// As the operator shows itself.
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!("{left} {} {right}", self.operator)),
            _ => exec_err!("`{}` takes two arguments", self.name()),
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => {
                Ok(format!("{} {} {}", left.schema_name(), self.operator, right.schema_name()))
            }
            _ => exec_err!("`{}` takes two arguments", self.name()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    /// NULL where a side is, as the operator.
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.data_type.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return exec_err!("`{}` takes two arguments", self.name());
        };
        let constant =
            matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let (left, right) = (Operand::new(left, rows)?, Operand::new(right, rows)?);
        let result = match self.data_type {
            DataType::Int8 => self.whole::<Int8Type>(&left, &right, rows),
            DataType::Int16 => self.whole::<Int16Type>(&left, &right, rows),
            DataType::Int32 => self.whole::<Int32Type>(&left, &right, rows),
            DataType::Int64 => self.whole::<Int64Type>(&left, &right, rows),
            DataType::Float32 => self.double::<Float32Type>(&left, &right, rows),
            DataType::Float64 => self.double::<Float64Type>(&left, &right, rows),
            _ => exec_err!("`{}` does not take {}", self.name(), self.data_type),
        }?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// A result, and whether it overflowed.
type Step<N> = fn(N, N) -> (N, bool);

/// One side: a column, or one value for all rows.
struct Operand {
    array: ArrayRef,
    constant: bool,
}

impl Operand {
    fn new(value: &ColumnarValue, rows: usize) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(array) => Operand { array: array.clone(), constant: false },
            ColumnarValue::Scalar(scalar) => {
                Operand { array: scalar.to_array()?, constant: rows != 1 }
            }
        })
    }

    fn is_null(&self) -> bool {
        self.constant && self.array.is_null(0)
    }

    fn nulls(&self) -> Option<&NullBuffer> {
        if self.constant { None } else { self.array.nulls() }
    }
}

impl Checked {
    fn whole<T>(&self, left: &Operand, right: &Operand, rows: usize) -> Result<ArrayRef>
    where
        T: ArrowPrimitiveType,
        T::Native: Whole,
    {
        if left.is_null() || right.is_null() {
            return Ok(Arc::new(PrimitiveArray::<T>::new_null(rows)));
        }
        let step: Step<T::Native> = match self.operator {
            Operator::Plus => T::Native::add_checking,
            Operator::Minus => T::Native::subtract_checking,
            _ => T::Native::multiply_checking,
        };
        // One closure for each operator, so that the loop can be vectorised.
        let (values, overflowed) = match self.operator {
            Operator::Plus => apply::<T, _>(left, right, T::Native::add_checking),
            Operator::Minus => apply::<T, _>(left, right, T::Native::subtract_checking),
            _ => apply::<T, _>(left, right, T::Native::multiply_checking),
        };
        let nulls = NullBuffer::union(left.nulls(), right.nulls());
        if overflowed {
            let (a, b) = (left.array.as_primitive::<T>(), right.array.as_primitive::<T>());
            let at = |operand: &Operand, array: &PrimitiveArray<T>, row: usize| {
                array.value(if operand.constant { 0 } else { row })
            };
            for row in 0..rows {
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    continue;
                }
                let (x, y) = (at(left, a, row), at(right, b, row));
                if step(x, y).1 {
                    let name = crate::types::sql_name(&self.data_type);
                    return Err(bad_value(format!(
                        "{name} out of range: `{}` with {x:?} and {y:?}; cast one side to a wider \
                         type, such as `::numeric`",
                        self.text
                    )));
                }
            }
        }
        Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls)))
    }

    fn double<T>(&self, left: &Operand, right: &Operand, rows: usize) -> Result<ArrayRef>
    where
        T: ArrowPrimitiveType,
        T::Native: ArrowNativeTypeOp,
    {
        if left.is_null() || right.is_null() {
            return Ok(Arc::new(PrimitiveArray::<T>::new_null(rows)));
        }
        let divisors = right.array.as_primitive::<T>();
        let zero = |value: &T::Native| *value == T::Native::ZERO;
        if divisors.values().iter().any(zero) {
            let dividends = left.array.as_primitive::<T>();
            let place = |operand: &Operand, row| if operand.constant { 0 } else { row };
            for row in 0..rows {
                let (x, y) = (place(left, row), place(right, row));
                if dividends.is_valid(x) && divisors.is_valid(y) && zero(&divisors.value(y)) {
                    // NaN, the one value that differs from itself, stays what it is.
                    let dividend = dividends.value(x);
                    if dividend.partial_cmp(&dividend).is_some() {
                        return Err(ArrowError::DivideByZero.into());
                    }
                }
            }
        }
        let left: Box<dyn arrow::array::Datum> = datum(left);
        let right: Box<dyn arrow::array::Datum> = datum(right);
        Ok(match self.operator {
            Operator::Divide => numeric::div(left.as_ref(), right.as_ref())?,
            _ => numeric::rem(left.as_ref(), right.as_ref())?,
        })
    }
}

fn datum(operand: &Operand) -> Box<dyn arrow::array::Datum> {
    match operand.constant {
        true => Box::new(arrow::array::Scalar::new(operand.array.clone())),
        false => Box::new(operand.array.clone()),
    }
}

/// All values, and whether one of them (perhaps one that is NULL) overflowed.
fn apply<T, F>(left: &Operand, right: &Operand, step: F) -> (Vec<T::Native>, bool)
where
    T: ArrowPrimitiveType,
    F: Fn(T::Native, T::Native) -> (T::Native, bool),
{
    let (a, b) = (left.array.as_primitive::<T>(), right.array.as_primitive::<T>());
    let mut overflowed = false;
    let mut one = |x: T::Native, y: T::Native| {
        let (value, over) = step(x, y);
        overflowed |= over;
        value
    };
    let values = match (left.constant, right.constant) {
        (false, false) => {
            a.values().iter().zip(b.values().iter()).map(|(x, y)| one(*x, *y)).collect()
        }
        (false, true) => {
            let y = b.value(0);
            a.values().iter().map(|x| one(*x, y)).collect()
        }
        (true, false) => {
            let x = a.value(0);
            b.values().iter().map(|y| one(x, *y)).collect()
        }
        (true, true) => vec![one(a.value(0), b.value(0))],
    };
    (values, overflowed)
}

/// Integers with the three operators that can overflow.
trait Whole: Copy + std::fmt::Debug {
    fn add_checking(self, other: Self) -> (Self, bool);
    fn subtract_checking(self, other: Self) -> (Self, bool);
    fn multiply_checking(self, other: Self) -> (Self, bool);
}

macro_rules! whole {
    ($($type:ty),*) => {$(
        impl Whole for $type {
            #[inline]
            fn add_checking(self, other: Self) -> (Self, bool) {
                let sum = self.wrapping_add(other);
                // Both have a sign that the sum has not.
                (sum, ((self ^ sum) & (other ^ sum)) < 0)
            }

            #[inline]
            fn subtract_checking(self, other: Self) -> (Self, bool) {
                let difference = self.wrapping_sub(other);
                (difference, ((self ^ other) & (self ^ difference)) < 0)
            }

            #[inline]
            fn multiply_checking(self, other: Self) -> (Self, bool) {
                self.overflowing_mul(other)
            }
        }
    )*};
}

whole!(i8, i16, i32, i64);

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};

    fn run(operator: Operator, left: ColumnarValue, right: ColumnarValue) -> Result<ArrayRef> {
        let data_type = left.data_type();
        let literal = |value: i64| datafusion::logical_expr::lit(value);
        let Some(Expr::ScalarFunction(call)) =
            checked(literal(1), operator, literal(2), &data_type)
        else {
            panic!("{operator} has no checked form for {data_type}");
        };
        let field = Arc::new(arrow::datatypes::Field::new("x", data_type, true));
        let rows = match (&left, &right) {
            (ColumnarValue::Array(array), _) | (_, ColumnarValue::Array(array)) => array.len(),
            _ => 1,
        };
        let result = call.func.invoke_with_args(ScalarFunctionArgs {
            args: vec![left, right],
            arg_fields: vec![field.clone(), field.clone()],
            number_rows: rows,
            return_field: field,
            config_options: Default::default(),
        })?;
        result.to_array(rows)
    }

    fn column(values: Vec<Option<i64>>) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(Int64Array::from(values)))
    }

    #[test]
    fn an_overflow_is_an_error_that_names_the_expression() {
        for (operator, left, right) in [
            (Operator::Plus, i64::MAX, 1),
            (Operator::Minus, i64::MIN, 1),
            (Operator::Multiply, i64::MAX, 2),
            (Operator::Multiply, i64::MIN, -1),
        ] {
            let constant = |value| ColumnarValue::Scalar(ScalarValue::Int64(Some(value)));
            let rows = vec![Some(1), Some(left)];
            let error = run(operator, column(rows), constant(right)).unwrap_err().to_string();
            assert!(error.contains("bigint out of range"), "{error}");
            assert!(run(operator, constant(left), constant(right)).is_err());
            let both = run(operator, column(vec![Some(left)]), column(vec![Some(right)]));
            assert!(both.is_err());
        }
    }

    #[test]
    fn null_hides_what_lies_beneath_it() {
        let nulls = NullBuffer::from(vec![true, false]);
        let hidden = Int64Array::new(vec![1, i64::MAX].into(), Some(nulls));
        let left = ColumnarValue::Array(Arc::new(hidden));
        let sum = run(Operator::Plus, left, column(vec![Some(1), Some(1)])).unwrap();
        assert_eq!(sum.as_primitive::<Int64Type>(), &Int64Array::from(vec![Some(2), None]));
        let none = ColumnarValue::Scalar(ScalarValue::Int64(None));
        let sum = run(Operator::Plus, column(vec![Some(1), Some(2)]), none).unwrap();
        assert_eq!(sum.null_count(), 2);
    }

    #[test]
    fn a_double_divided_by_zero_is_an_error() {
        let column = |values: Vec<Option<f64>>| {
            ColumnarValue::Array(Arc::new(Float64Array::from(values)) as ArrayRef)
        };
        let ones = || column(vec![Some(1.0), Some(1.0)]);
        assert!(run(Operator::Divide, ones(), column(vec![Some(2.0), Some(0.0)])).is_err());
        assert!(run(Operator::Divide, ones(), column(vec![Some(2.0), Some(-0.0)])).is_err());
        assert!(run(Operator::Modulo, ones(), column(vec![Some(0.0), Some(1.0)])).is_err());
        let fine = run(Operator::Divide, ones(), column(vec![Some(2.0), None])).unwrap();
        assert_eq!(fine.as_primitive::<Float64Type>().value(0), 0.5);
        let nothing = column(vec![None, Some(f64::NAN)]);
        assert!(run(Operator::Divide, nothing, column(vec![Some(0.0), Some(0.0)])).is_ok());
    }
}

//! `list_reduce([1, 2, 3], lambda a, b: a + b, start)` of DuckDB: a function of what was made so far and of
//! the next item, from the first to the last.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, new_null_array};
use arrow::compute::{cast, interleave, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature,
    HigherOrderUDF, HigherOrderUDFImpl, LambdaParametersProgress, ValueOrLambda, Volatility,
};

use super::simple::{bad_value, usage};

/// How often the type of what is made is asked for: a fraction of a decimal grows up to twenty digits.
const STEPS: usize = 40;

/// The function of this file.
pub(crate) fn function() -> HigherOrderUDF {
    HigherOrderUDF::new_from_impl(Reduce {
        signature: HigherOrderSignature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Reduce {
    signature: HigherOrderSignature,
}

fn item_type(list: &DataType) -> Result<DataType> {
    match list {
        DataType::List(item) => Ok(item.data_type().clone()),
        _ => usage("`list_reduce` takes a list, a function of two values, and a first value"),
    }
}

/// Decimals of all digits, so that a sum of them has the same type.
fn longest(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Decimal128(_, scale) => Some(DataType::Decimal128(38, *scale)),
        _ => None,
    }
}

/// The list and the first value, where there is one.
fn values<V, L>(args: &[ValueOrLambda<V, L>]) -> Result<(&V, Option<&V>, &L)> {
    match args {
        [ValueOrLambda::Value(list), ValueOrLambda::Lambda(step)] => Ok((list, None, step)),
        [ValueOrLambda::Value(list), ValueOrLambda::Lambda(step), ValueOrLambda::Value(first)] => {
            Ok((list, Some(first), step))
        }
        _ => usage("`list_reduce` takes a list, a function of two values, and a first value"),
    }
}

impl Reduce {
    /// What is made has the type that the function gives, or that of the items until that is known.
    fn made(
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> Result<(DataType, DataType, bool)> {
        let (list, first, step) = values(fields)?;
        let item = item_type(list.data_type())?;
        let start = first.map_or_else(|| item.clone(), |first| first.data_type().clone());
        let known = step.as_ref().map(|step| step.data_type().clone());
        let known = known.filter(|known| !known.is_null());
        Ok((item, known.clone().unwrap_or(start), known.is_some()))
    }
}

impl HigherOrderUDFImpl for Reduce {
    fn name(&self) -> &str {
        "list_reduce"
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn lambda_parameters(
        &self,
        step: usize,
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> Result<LambdaParametersProgress> {
        let (item, made, known) = Self::made(fields)?;
        let parameters = vec![
            Arc::new(Field::new("made", made, true)),
            Arc::new(Field::new("item", item, true)),
        ];
        // Asked again until the function gives the type of what it takes: decimals grow.
        Ok(match known && step == 0 || step > STEPS {
            true => LambdaParametersProgress::Complete(vec![parameters]),
            false => LambdaParametersProgress::Partial(vec![Some(parameters)]),
        })
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let mut types = types.to_vec();
        if let Some(list) = types.first_mut() {
            *list = match &*list {
                DataType::LargeList(item)
                | DataType::FixedSizeList(item, _)
                | DataType::ListView(item) => DataType::List(item.clone()),
                DataType::Null => DataType::new_list(DataType::Null, true),
                other => other.clone(),
            };
            if let DataType::List(item) = &*list
                && let Some(longest) = longest(item.data_type())
            {
                *list = DataType::new_list(longest, true);
            }
        }
        if let Some(first) = types.get_mut(1)
            && let Some(longest) = longest(first)
        {
            *first = longest;
        }
        Ok(types)
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs) -> Result<FieldRef> {
        let (_, _, step) = values(args.arg_fields)?;
        Ok(Arc::new(Field::new("", step.data_type().clone(), true)))
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let (list, first, step) = values(&args.args)?;
        let returns = args.return_type();
        let list = list.to_array(args.number_rows)?;
        let lists = list.as_list::<i32>();
        let rows = lists.len();
        let length = |row: usize| match lists.is_valid(row) {
            true => usize::try_from(lists.value_length(row)).unwrap_or_default(),
            false => 0,
        };
        let places = |rows: &[usize], place: usize| -> UInt32Array {
            rows.iter().map(|row| (lists.value_offsets()[*row] as usize + place) as u32).collect()
        };
        // The first values, and the items that come next.
        let (mut made, mut place): (ArrayRef, usize) = match first {
            Some(first) => (cast(&first.to_array(args.number_rows)?, returns)?, 0),
            None => {
                if (0..rows).any(|row| lists.is_valid(row) && length(row) == 0) {
                    return Err(bad_value("`list_reduce` of an empty list needs a first value"));
                }
                let firsts: UInt32Array = (0..rows)
                    .map(|row| (length(row) > 0).then(|| lists.value_offsets()[row] as u32))
                    .collect();
                (cast(&take(lists.values(), &firsts, None)?, returns)?, 1)
            }
        };
        loop {
            let longer: Vec<usize> = (0..rows).filter(|row| length(*row) > place).collect();
            if longer.is_empty() {
                break;
            }
            let among: UInt32Array = longer.iter().map(|row| *row as u32).collect();
            let before = take(&made, &among, None)?;
            let items = take(lists.values(), &places(&longer, place), None)?;
            let next = step
                .evaluate(&[&|| Ok(before.clone()), &|| Ok(items.clone())], |captures| {
                    captures.iter().map(|column| Ok(take(column, &among, None)?)).collect()
                })?;
            let next = cast(&next.into_array(longer.len())?, returns)?;
            // The others stay.
            let mut order: Vec<(usize, usize)> = (0..rows).map(|row| (0, row)).collect();
            for (at, row) in longer.iter().enumerate() {
                order[*row] = (1, at);
            }
            made = interleave(&[made.as_ref(), next.as_ref()], &order)?;
            place += 1;
        }
        // Of no list there is nothing.
        if lists.null_count() > 0 {
            let nothing = new_null_array(returns, 1);
            let order: Vec<(usize, usize)> =
                (0..rows).map(|row| if lists.is_valid(row) { (0, row) } else { (1, 0) }).collect();
            made = interleave(&[made.as_ref(), nothing.as_ref()], &order)?;
        }
        Ok(ColumnarValue::Array(made))
    }
}

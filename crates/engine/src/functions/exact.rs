//! `sum` and `avg` that are exact. DataFusion's `sum` of integers and decimals wraps around where
//! the result does not fit, and its `avg` of decimals cuts after four more digits.
//!
//! Both add up in 128 bits, so that a result that fits is right whatever the order of the rows, and
//! one that does not fit is an error. Sums of bigints stay bigints (PostgreSQL makes them
//! `numeric`): who reads the table expects an integer, and says `sum(x::numeric)` where it may grow
//! beyond. The mean of decimals has sixteen digits behind the point, or as many as the column.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, Int64Builder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err, not_impl_err};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

use super::means::{self, Mean, mean_type};
use super::numbers::quotient;
use super::simple::bad_value;

/// The functions of this file.
pub(super) fn functions() -> Vec<AggregateUDF> {
    vec![exact(sum_udaf(), false), exact(avg_udaf(), true)]
}

/// `sum` or `avg`: our way where the type wants it, else DataFusion's. The sum of conditions is the
/// number of those that are true (DuckDB).
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    inner: Arc<AggregateUDF>,
    mean: bool,
    signature: Signature,
}

fn exact(inner: Arc<AggregateUDF>, mean: bool) -> AggregateUDF {
    let signature = Signature::user_defined(inner.signature().volatility);
    AggregateUDF::new_from_impl(Exact { inner, mean, signature })
}

/// What is made of a total.
#[derive(Debug, Clone, PartialEq)]
enum Made {
    /// The sum of integers.
    Whole,
    /// The sum of decimals, which have this type.
    Decimal(DataType),
    /// The mean of decimals: its type, and how many digits it has more than they.
    Mean(DataType, u32),
}

/// Digits behind the point that a mean has at least.
const DIGITS: i8 = 16;

impl Exact {
    fn result(&self, inputs: &[FieldRef], returns: &DataType) -> Option<Made> {
        match (self.mean, inputs.first()?.data_type(), returns) {
            (false, DataType::Int64, DataType::Int64) => Some(Made::Whole),
            (false, DataType::Decimal128(..), DataType::Decimal128(..)) => {
                Some(Made::Decimal(returns.clone()))
            }
            (true, DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => {
                Some(Made::Mean(returns.clone(), u32::try_from(*to - *from).ok()?))
            }
            _ => None,
        }
    }

    /// The type of the mean of moments, times or spans.
    fn moments(&self, inputs: &[FieldRef]) -> Option<DataType> {
        let input = inputs.first().filter(|_| self.mean)?;
        mean_type(input.data_type())
    }

    fn of(&self, args: &AccumulatorArgs) -> Option<Made> {
        self.result(args.expr_fields, args.return_field.data_type())
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let ([DataType::Boolean], false) = (types, self.mean) {
            return Ok(vec![DataType::Int64]);
        }
        if let ([data_type], true) = (types, self.mean)
            && mean_type(data_type).is_some()
        {
            return Ok(types.to_vec());
        }
        let named = |(place, data_type): (usize, &DataType)| {
            Arc::new(Field::new(format!("argument {place}"), data_type.clone(), true))
        };
        let fields: Vec<FieldRef> = types.iter().enumerate().map(named).collect();
        let fields = fields_with_udf(&fields, self.inner.as_ref()).map_err(|_| {
            let types: Vec<String> =
                types.iter().map(|found| crate::wording::sql_type(&found.to_string())).collect();
            let types = types.join(", ");
            DataFusionError::Plan(format!("`{}` does not take {types}", self.name()))
        })?;
        Ok(fields.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if let ([data_type], true) = (types, self.mean)
            && let Some(mean) = mean_type(data_type)
        {
            return Ok(mean);
        }
        match types {
            [DataType::Decimal128(_, scale)] if self.mean => {
                Ok(DataType::Decimal128(38, DIGITS.max(*scale)))
            }
            _ => self.inner.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if let Some(mean) = self.moments(args.expr_fields) {
            return match args.is_distinct {
                true => not_impl_err!("`avg(distinct …)` of moments and spans"),
                false => Ok(Box::new(Mean::new(&mean))),
            };
        }
        match self.of(&args) {
            Some(result) if args.is_distinct => {
                Ok(Box::new(Distinct { result, seen: Default::default() }))
            }
            Some(result) => Ok(Box::new(Total { result, sum: 0, count: 0 })),
            None => self.inner.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if self.moments(args.expr_fields).is_some() {
            return self.accumulator(args);
        }
        match self.of(&args) {
            Some(result) if !args.is_distinct => Ok(Box::new(Total { result, sum: 0, count: 0 })),
            _ => self.inner.create_sliding_accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if self.moments(args.input_fields).is_some() {
            return Ok(means::state_fields(args.name));
        }
        let result = self.result(args.input_fields, args.return_field.data_type());
        let Some(result) = result else { return self.inner.state_fields(args) };
        if args.is_distinct {
            let item = Field::new_list_field(DataType::Decimal128(38, 0), true);
            let field = Field::new_list(format_state_name(args.name, "values"), item, false);
            return Ok(vec![Arc::new(field)]);
        }
        let sum = DataType::Decimal128(38, 0);
        let mut fields = vec![Field::new(format_state_name(args.name, "sum"), sum, true)];
        if matches!(result, Made::Mean(..)) {
            fields.push(Field::new(format_state_name(args.name, "count"), DataType::Int64, true));
        }
        Ok(fields.into_iter().map(Arc::new).collect())
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        if self.moments(args.expr_fields).is_some() {
            return false;
        }
        match self.of(&args) {
            Some(_) => !args.is_distinct,
            None => self.inner.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match self.of(&args) {
            Some(result) => Ok(Box::new(Totals { result, sums: Vec::new(), counts: Vec::new() })),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        datafusion::logical_expr::utils::AggregateOrderSensitivity::Insensitive
    }
}

fn too_large(result: &Made) -> datafusion::common::DataFusionError {
    bad_value(match result {
        Made::Whole => "bigint out of range: a sum is too large; write `sum(x::numeric)`",
        _ => "numeric out of range: a sum has more than 38 digits",
    })
}

/// Decimals of at most 38 digits.
const LIMIT: u128 = 10_u128.pow(38);

impl Made {
    /// The value of a group that has rows.
    fn of(&self, sum: i128, count: i64) -> Result<i128> {
        let value = match self {
            Made::Whole => i64::try_from(sum).ok().map(i128::from),
            Made::Decimal(_) => Some(sum),
            Made::Mean(_, digits) => quotient(sum, *digits, i128::from(count)),
        };
        value.filter(|value| value.unsigned_abs() < LIMIT).ok_or_else(|| too_large(self))
    }

    fn array(&self, values: Vec<i128>, nulls: Option<NullBuffer>) -> ArrayRef {
        match self {
            Made::Whole => {
                // Every value was checked to fit.
                let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
                Arc::new(Int64Array::new(values.into(), nulls))
            }
            Made::Decimal(data_type) | Made::Mean(data_type, _) => {
                let array = Decimal128Array::new(values.into(), nulls);
                Arc::new(array.with_data_type(data_type.clone()))
            }
        }
    }
}

fn state_array(values: Vec<i128>, nulls: Option<NullBuffer>) -> ArrayRef {
    let array = Decimal128Array::new(values.into(), nulls);
    Arc::new(array.with_data_type(DataType::Decimal128(38, 0)))
}

/// All rows of one group, or of a window's frame.
#[derive(Debug)]
struct Total {
    result: Made,
    sum: i128,
    count: i64,
}

/// The sum of the values that are not NULL, and how many they are.
fn sum_of(array: &ArrayRef, result: &Made) -> Result<(i128, i64)> {
    let count = (array.len() - array.null_count()) as i64;
    let sum = match array.data_type() {
        DataType::Int64 => {
            let array = array.as_primitive::<Int64Type>();
            // In two halves, each of which fits: such loops are vectorised.
            let (mut high, mut low) = (0_i64, 0_i64);
            let mut add = |value: i64| {
                high += value >> 32;
                low += value & 0xffff_ffff;
            };
            match array.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => array.values().iter().for_each(|value| add(*value)),
                Some(nulls) => array
                    .values()
                    .iter()
                    .zip(nulls.iter())
                    .for_each(|(value, valid)| add(if valid { *value } else { 0 })),
            }
            (i128::from(high) << 32) + i128::from(low)
        }
        _ => {
            let array = array.as_primitive::<Decimal128Type>();
            let mut sum = 0_i128;
            for value in array.iter().flatten() {
                sum = sum.checked_add(value).ok_or_else(|| too_large(result))?;
            }
            sum
        }
    };
    Ok((sum, count))
}

impl Total {
    fn add(&mut self, sum: i128, count: i64) -> Result<()> {
        self.sum = self.sum.checked_add(sum).ok_or_else(|| too_large(&self.result))?;
        self.count += count;
        Ok(())
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = sum_of(&values[0], &self.result)?;
        self.add(sum, count)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = sum_of(&values[0], &self.result)?;
        self.add(-sum, -count)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let array = match self.count {
            0 => self.result.array(vec![0], Some(NullBuffer::new_null(1))),
            count => self.result.array(vec![self.result.of(self.sum, count)?], None),
        };
        ScalarValue::try_from_array(&array, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = (self.count != 0).then_some(self.sum);
        if sum.is_some_and(|sum| sum.unsigned_abs() >= LIMIT) {
            return Err(too_large(&self.result));
        }
        let mut state = vec![ScalarValue::Decimal128(sum, 38, 0)];
        if matches!(self.result, Made::Mean(..)) {
            state.push(ScalarValue::Int64(Some(self.count)));
        }
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (sum, groups) = sum_of(&states[0], &self.result)?;
        let count = match states.get(1) {
            Some(counts) => counts.as_primitive::<Int64Type>().iter().flatten().sum(),
            None => groups,
        };
        self.add(sum, count)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum or mean of different values.
#[derive(Debug)]
struct Distinct {
    result: Made,
    seen: std::collections::HashSet<i128>,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values[0].data_type() {
            DataType::Int64 => {
                let values = values[0].as_primitive::<Int64Type>().iter().flatten();
                self.seen.extend(values.map(i128::from));
            }
            _ => self.seen.extend(values[0].as_primitive::<Decimal128Type>().iter().flatten()),
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut total = Total { result: self.result.clone(), sum: 0, count: 0 };
        for value in &self.seen {
            total.add(*value, 1)?;
        }
        total.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> =
            self.seen.iter().map(|value| ScalarValue::Decimal128(Some(*value), 38, 0)).collect();
        let list = ScalarValue::new_list_nullable(&values, &DataType::Decimal128(38, 0));
        Ok(vec![ScalarValue::List(list)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        for list in lists.iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.seen.capacity() * size_of::<i128>()
    }
}

/// Many groups.
#[derive(Debug)]
struct Totals {
    result: Made,
    sums: Vec<i128>,
    counts: Vec<i64>,
}

impl Totals {
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, 0);
        self.counts.resize(groups, 0);
    }

    /// Adds each value to its group.
    fn add(
        &mut self,
        array: &ArrayRef,
        counts: Option<&Int64Array>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let wanted = rows_wanted(array, filter);
        let wanted = |row: usize| wanted.as_ref().is_none_or(|wanted| wanted.is_valid(row));
        let count = |row: usize| counts.map_or(1, |counts| counts.value(row));
        match array.data_type() {
            DataType::Int64 => {
                let values = array.as_primitive::<Int64Type>().values();
                for (row, (group, value)) in groups.iter().zip(values.iter()).enumerate() {
                    if wanted(row) {
                        // 2^64 values of 64 bits fit into 128.
                        self.sums[*group] += i128::from(*value);
                        self.counts[*group] += count(row);
                    }
                }
            }
            DataType::Decimal128(..) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                for (row, (group, value)) in groups.iter().zip(values.iter()).enumerate() {
                    if wanted(row) {
                        let sum = self.sums[*group].checked_add(*value);
                        self.sums[*group] = sum.ok_or_else(|| too_large(&self.result))?;
                        self.counts[*group] += count(row);
                    }
                }
            }
            other => return internal_err!("a sum of {other} is not exact"),
        }
        Ok(())
    }

    fn nulls(counts: &[i64]) -> Option<NullBuffer> {
        counts.contains(&0).then(|| counts.iter().map(|count| *count != 0).collect())
    }
}

/// Rows that count: not NULL and not filtered out. `None` is all of them.
fn rows_wanted(array: &ArrayRef, filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let kept = filter.map(|filter| {
        let values = filter.values();
        NullBuffer::new(match filter.nulls() {
            Some(nulls) => values & nulls.inner(),
            None => values.clone(),
        })
    });
    NullBuffer::union(array.nulls(), kept.as_ref()).filter(|nulls| nulls.null_count() > 0)
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        self.add(&values[0], None, groups, filter)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let counts = states.get(1).map(|counts| counts.as_primitive::<Int64Type>());
        self.add(&states[0], counts, groups, None)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let mut sums = emit.take_needed(&mut self.sums);
        let counts = emit.take_needed(&mut self.counts);
        for (sum, count) in sums.iter_mut().zip(&counts) {
            if *count != 0 {
                *sum = self.result.of(*sum, *count)?;
            }
        }
        Ok(self.result.array(sums, Self::nulls(&counts)))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit.take_needed(&mut self.sums);
        let counts = emit.take_needed(&mut self.counts);
        if sums.iter().any(|sum| sum.unsigned_abs() >= LIMIT) {
            return Err(too_large(&self.result));
        }
        let mut state = vec![state_array(sums, Self::nulls(&counts))];
        if matches!(self.result, Made::Mean(..)) {
            state.push(Arc::new(Int64Array::from(counts)));
        }
        Ok(state)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let nulls = rows_wanted(&values[0], filter);
        let sums: Vec<i128> = match values[0].data_type() {
            DataType::Int64 => {
                let values = values[0].as_primitive::<Int64Type>().values();
                values.iter().map(|value| i128::from(*value)).collect()
            }
            _ => values[0].as_primitive::<Decimal128Type>().values().to_vec(),
        };
        let mut state = vec![state_array(sums, nulls.clone())];
        if matches!(self.result, Made::Mean(..)) {
            let mut counts = Int64Builder::with_capacity(values[0].len());
            for row in 0..values[0].len() {
                let wanted = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                counts.append_value(i64::from(wanted));
            }
            state.push(Arc::new(counts.finish()));
        }
        Ok(state)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.counts.capacity() * size_of::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_fits_is_right_whatever_came_between() {
        let mut total = Total { result: Made::Whole, sum: 0, count: 0 };
        let values: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX, i64::MIN, -7]));
        total.update_batch(&[values]).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(Some(i64::MAX - 8)));
        let more: ArrayRef = Arc::new(Int64Array::from(vec![Some(9), None]));
        total.update_batch(&[more]).unwrap();
        assert!(total.evaluate().unwrap_err().to_string().contains("sum(x::numeric)"));
    }

    #[test]
    fn halves_of_negative_numbers_add_up() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![-1, -(1 << 40), 5, i64::MIN]));
        let wanted = -1_i128 - (1 << 40) + 5 + i128::from(i64::MIN);
        assert_eq!(sum_of(&values, &Made::Whole).unwrap(), (wanted, 4));
    }

    #[test]
    fn groups_and_their_states_agree() {
        let result = Made::Mean(DataType::Decimal128(38, 16), 14);
        let new = || Totals { result: result.clone(), sums: Vec::new(), counts: Vec::new() };
        let values = Decimal128Array::from(vec![Some(150), Some(225), None, Some(-1)]);
        let values: ArrayRef = Arc::new(values.with_precision_and_scale(10, 2).unwrap());
        let mut direct = new();
        direct.update_batch(std::slice::from_ref(&values), &[0, 0, 1, 2], None, 3).unwrap();
        let mut merged = new();
        let state = direct.convert_to_state(&[values], None).unwrap();
        merged.merge_batch(&state, &[0, 0, 1, 2], 3).unwrap();
        let (direct, merged) =
            (direct.evaluate(EmitTo::All).unwrap(), merged.evaluate(EmitTo::All).unwrap());
        assert_eq!(&direct, &merged);
        let means = direct.as_primitive::<Decimal128Type>();
        assert_eq!(means.value_as_string(0), "1.8750000000000000");
        assert!(means.is_null(1));
    }
}

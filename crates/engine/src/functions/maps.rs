//! Maps: made of entries or of the values of a group, joined, and looked into (DuckDB).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, StructArray, UInt32Array,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;

use super::simple::{Call, Simple, arity, bad_value, usage};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function(
            "map_from_entries",
            |types| {
                arity("map_from_entries", types, 1, 1)?;
                Ok(vec![as_list(&types[0])])
            },
            |types, _| entries_type(&types[0]),
            from_entries,
        ),
        Simple::function(
            "tidemill_histogram",
            |types| {
                arity("histogram", types, 1, 1)?;
                Ok(vec![as_list(&types[0])])
            },
            |types, _| Ok(map_type(&item_of(&types[0])?, &DataType::UInt64)),
            histogram,
        ),
        Simple::aliased(
            "map_extract",
            &["element_at"],
            looked_into,
            |types, _| match &types[0] {
                DataType::Map(entry, _) => match entry.data_type() {
                    DataType::Struct(fields) => {
                        Ok(DataType::new_list(fields[1].data_type().clone(), true))
                    }
                    _ => usage("a map is wanted"),
                },
                _ => usage("a map is wanted"),
            },
            extracted,
        ),
        Simple::function("map_concat", |types| Ok(types.to_vec()), joined_type, joined),
        Simple::function("map_contains", looked_into, gives_boolean, |args, _| {
            found(args, |entries, row| same(entries.column(0), row, &args[1]))
        }),
        Simple::function("map_contains_value", looked_into, gives_boolean, |args, _| {
            found(args, |entries, row| same(entries.column(1), row, &args[1]))
        }),
        Simple::function("map_contains_entry", looked_into, gives_boolean, |args, _| {
            found(args, |entries, row| {
                let keys = same(entries.column(0), row, &args[1])?;
                let values = same(entries.column(1), row, &args[2])?;
                Ok(keys.into_iter().zip(values).map(|(key, value)| key && value).collect())
            })
        }),
    ]
}

fn gives_boolean(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::Boolean)
}

fn as_list(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(item.clone())
        }
        other => other.clone(),
    }
}

fn item_of(list: &DataType) -> Result<DataType> {
    match list {
        DataType::List(item) => Ok(item.data_type().clone()),
        DataType::Null => Ok(DataType::Null),
        _ => usage("a list is wanted"),
    }
}

fn map_type(key: &DataType, value: &DataType) -> DataType {
    DataType::Map(
        Arc::new(Field::new(
            "entries",
            DataType::Struct(
                vec![
                    Field::new("key", key.clone(), false),
                    Field::new("value", value.clone(), true),
                ]
                .into(),
            ),
            false,
        )),
        false,
    )
}

fn entries_type(list: &DataType) -> Result<DataType> {
    match item_of(list)? {
        DataType::Struct(fields) => match fields.as_ref() {
            [key, value] => Ok(map_type(key.data_type(), value.data_type())),
            _ => usage("`map_from_entries` takes a list of keys with their values"),
        },
        _ => usage("`map_from_entries` takes a list of keys with their values"),
    }
}

/// A map of keys, values and how many of them each row has.
fn made(
    returns: &DataType,
    keys: ArrayRef,
    values: ArrayRef,
    lengths: Vec<usize>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    if keys.null_count() > 0 {
        return Err(bad_value("a key of a map must not be NULL"));
    }
    let DataType::Map(entry, _) = returns else { return usage("a map is wanted") };
    let DataType::Struct(fields) = entry.data_type() else { return usage("a map is wanted") };
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(MapArray::try_new(entry.clone(), offsets, entries, nulls, false)?))
}

/// The places of the items of each list that is not NULL, and their counts.
fn places(lists: &ListArray) -> (UInt32Array, Vec<usize>) {
    let mut all = Vec::new();
    let mut lengths = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let range = match lists.is_valid(row) {
            true => lists.value_offsets()[row]..lists.value_offsets()[row + 1],
            false => 0..0,
        };
        lengths.push(range.len());
        all.extend(range.map(|place| place as u32));
    }
    (UInt32Array::from(all), lengths)
}

fn from_entries(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let (places, lengths) = places(lists);
    let entries = take(lists.values(), &places, None)?;
    let entries = entries.as_struct();
    let (keys, values) = (entries.column(0).clone(), entries.column(1).clone());
    let mut start = 0;
    for length in &lengths {
        refuse_twice(&keys.slice(start, *length))?;
        start += length;
    }
    made(call.returns, keys, values, lengths, lists.nulls().cloned())
}

fn refuse_twice(keys: &ArrayRef) -> Result<()> {
    let mut seen = std::collections::HashSet::with_capacity(keys.len());
    for place in 0..keys.len() {
        let key = ScalarValue::try_from_array(keys, place)?;
        if seen.contains(&key) {
            return Err(bad_value(format!("the key `{key}` of a map is there twice")));
        }
        seen.insert(key);
    }
    Ok(())
}

/// How often each value of a list is there, in their order; of no value there is no map.
fn histogram(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let (mut keys, mut counts) = (Vec::new(), Vec::new());
    let (mut lengths, mut valid) = (Vec::new(), Vec::new());
    for row in 0..lists.len() {
        let before = keys.len();
        if lists.is_valid(row) {
            let items = lists.value(row);
            let order = arrow::compute::sort_to_indices(&items, None, None)?;
            for place in order.values() {
                let place = *place as usize;
                if items.is_null(place) {
                    continue;
                }
                let value = ScalarValue::try_from_array(&items, place)?;
                match keys.last() == Some(&value) && keys.len() > before {
                    true => {
                        if let Some(count) = counts.last_mut() {
                            *count += 1_u64;
                        }
                    }
                    false => {
                        keys.push(value);
                        counts.push(1_u64);
                    }
                }
            }
        }
        lengths.push(keys.len() - before);
        valid.push(keys.len() > before);
    }
    let item = item_of(args[0].data_type())?;
    let keys = match keys.is_empty() {
        true => arrow::array::new_empty_array(&item),
        false => ScalarValue::iter_to_array(keys)?,
    };
    let counts: ArrayRef = Arc::new(UInt64Array::from(counts));
    made(call.returns, keys, counts, lengths, Some(NullBuffer::from(valid)))
}

fn joined_type(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    let is_map = |data_type: &DataType| matches!(data_type, DataType::Map(..));
    match types.iter().find(|data_type| is_map(data_type)) {
        Some(map) if types.iter().all(|other| other == map || other.is_null()) => Ok(map.clone()),
        _ => usage("`map_concat` takes maps of one type"),
    }
}

/// Of a key that several have the last value stays, where the first stood.
fn joined(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let rows = args.first().map_or(0, |map| map.len());
    let (mut keys, mut values, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..rows {
        let before = keys.len();
        for map in args.iter().filter_map(|map| map.as_map_opt()).filter(|map| map.is_valid(row)) {
            let entries = map.value(row);
            for place in 0..entries.len() {
                let key = ScalarValue::try_from_array(entries.column(0), place)?;
                let value = ScalarValue::try_from_array(entries.column(1), place)?;
                match keys[before..].iter().position(|known| *known == key) {
                    Some(known) => values[before + known] = value,
                    None => {
                        keys.push(key);
                        values.push(value);
                    }
                }
            }
        }
        lengths.push(keys.len() - before);
    }
    let DataType::Map(entry, _) = call.returns else { return usage("a map is wanted") };
    let DataType::Struct(fields) = entry.data_type() else { return usage("a map is wanted") };
    let array = |field: &FieldRef, all: Vec<ScalarValue>| match all.is_empty() {
        true => Ok(arrow::array::new_empty_array(field.data_type())),
        false => ScalarValue::iter_to_array(all),
    };
    let (keys, values) = (array(&fields[0], keys)?, array(&fields[1], values)?);
    made(call.returns, keys, values, lengths, None)
}

/// A map, and a key or a value, or both.
fn looked_into(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this function of maps", types, 2, 3)?;
    match &types[0] {
        DataType::Map(..) => Ok(types.to_vec()),
        other => usage(format!("a map is wanted, not {other}")),
    }
}

/// The value under a key as a list of one, which is empty where there is none.
fn extracted(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let maps = args[0].as_map();
    let DataType::List(item) = call.returns else { return usage("a map is wanted") };
    let mut places = Vec::new();
    let mut lengths = Vec::with_capacity(maps.len());
    for row in 0..maps.len() {
        let mut count = 0;
        if maps.is_valid(row) && args[1].is_valid(row) {
            let keys = maps.value(row).column(0).clone();
            if let Some(place) = same(&keys, row, &args[1])?.into_iter().position(|is| is) {
                places.push((maps.value_offsets()[row] as usize + place) as u32);
                count = 1;
            }
        }
        lengths.push(count);
    }
    let values = take(maps.values(), &UInt32Array::from(places), None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, None)?))
}

/// The value under a key, and NULL where there is none.
pub(super) fn value_under(maps: &ArrayRef, keys: &ArrayRef) -> Result<ArrayRef> {
    let maps = maps.as_map();
    let mut places: Vec<Option<u32>> = Vec::with_capacity(maps.len());
    for row in 0..maps.len() {
        let mut place = None;
        if maps.is_valid(row) && keys.is_valid(row) {
            let own = maps.value(row).column(0).clone();
            place = same(&own, row, keys)?
                .into_iter()
                .position(|is| is)
                .map(|place| (maps.value_offsets()[row] as usize + place) as u32);
        }
        places.push(place);
    }
    Ok(take(maps.values(), &UInt32Array::from(places), None)?)
}

fn found(
    args: &[ArrayRef],
    of: impl Fn(&StructArray, usize) -> Result<Vec<bool>>,
) -> Result<ArrayRef> {
    let maps = args[0].as_map();
    let answers: BooleanArray = (0..maps.len())
        .map(|row| {
            if maps.is_null(row) || args[1..].iter().any(|wanted| wanted.is_null(row)) {
                return Ok(None);
            }
            Ok(Some(of(&maps.value(row), row)?.contains(&true)))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(answers))
}

/// Which of these are the value of a row.
fn same(among: &ArrayRef, row: usize, wanted: &ArrayRef) -> Result<Vec<bool>> {
    let wanted = ScalarValue::try_from_array(wanted, row)?.cast_to(among.data_type())?;
    (0..among.len()).map(|place| Ok(ScalarValue::try_from_array(among, place)? == wanted)).collect()
}

//! Files that bring their types (Parquet, Avro): from the columns of a file to those of the table.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, LargeListArray, ListArray, MapArray, RecordBatch,
    StringArray, StructArray, UnionArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, interleave};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit, UnionFields};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::header::names_in;
use super::read::{Parsed, Reject};
use super::settings::NameStyle;
use super::target::Target;
use super::types::{Types, widest};

/// How many rows a batch has,
const BATCH: u64 = 32 << 10;

/// unless it would have more than about so many bytes.
const BATCH_BYTES: u64 = 8 << 20;

/// How many rows of so many bytes make a batch.
pub(crate) fn rows_of_batch(row: u64) -> usize {
    (BATCH_BYTES / row.max(1)).clamp(1, BATCH) as usize
}

/// The names of a file's columns, in their order.
pub(crate) fn names_of(schema: &Schema, style: NameStyle) -> Vec<String> {
    let headers: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names_in(style, &headers)
}

/// The columns of a file by their names, with these types.
pub(crate) fn types_of(schema: &Schema, names: &[String], types: Vec<DataType>) -> Types {
    let mut found = Types::default();
    for ((name, field), data_type) in names.iter().zip(schema.fields()).zip(types) {
        let shape = found.entry(name);
        shape.original = (field.name() != name).then(|| field.name().clone());
        shape.arrow = Some(data_type);
    }
    found
}

/// Puts the columns of a batch in the target's order and types. `simple` gives a column as the type
/// that was said of it.
pub(crate) fn convert(
    batch: &RecordBatch,
    names: &[String],
    target: &Target,
    simple: impl Fn(usize, &ArrayRef) -> Result<ArrayRef>,
) -> Result<Parsed> {
    let rows = batch.num_rows();
    let mut parsed = Parsed { rows, lines_read: rows as u32, ..Parsed::default() };
    parsed.lines.push_run(0, rows);
    for (index, name) in target.names.iter().enumerate() {
        let data_type = target.schema.field(index).data_type();
        let column = match names.iter().position(|own| own == name) {
            None => new_null_array(data_type, rows),
            Some(at) => cast(&simple(at, batch.column(at))?, data_type, name, &mut parsed)?,
        };
        parsed.columns.push(column);
    }
    Ok(parsed)
}

/// Casts; a value that does not fit makes its row a rejected one.
fn cast(
    column: &ArrayRef,
    data_type: &DataType,
    name: &str,
    parsed: &mut Parsed,
) -> Result<ArrayRef> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    if data_type.is_string() && column.data_type().is_nested() {
        return json_texts(column);
    }
    if data_type.is_nested() && column.data_type().is_nested() {
        return grown(column, data_type).map_err(|error| error.with("column", name));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = cast_with_options(column, data_type, &options).map_err(|error| {
        Error::new(
            ErrorKind::Data,
            format!("column `{name}` cannot be read as {data_type}; it is {}", column.data_type()),
        )
        .because(error)
    })?;
    if cast.null_count() > column.null_count() {
        for row in (0..column.len()).filter(|row| cast.is_null(*row) && column.is_valid(*row)) {
            if parsed.bad_rows.insert(row as u32) {
                let reason = format!("column `{name}`: the value is not a {data_type}");
                parsed.rejects.push(Reject { line: row as u32, reason, raw: String::new() });
            }
        }
    }
    Ok(cast)
}

/// `8-4-4-4-12` hex digits.
pub(crate) fn uuid_texts(column: &ArrayRef) -> Result<ArrayRef> {
    let Some(uuids) = column.as_fixed_size_binary_opt().filter(|uuids| uuids.value_length() == 16)
    else {
        return Err(Error::new(ErrorKind::Data, "a column of UUIDs does not have 16 bytes each"));
    };
    let texts = uuids.iter().map(|uuid| {
        uuid.map(|bytes| {
            let mut text = String::with_capacity(36);
            for (at, byte) in bytes.iter().enumerate() {
                if matches!(at, 4 | 6 | 8 | 10) {
                    text.push('-');
                }
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                }
            }
            text
        })
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// Microseconds for times, and no views or large offsets, so that files merge.
pub(crate) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Dictionary(_, values) => plain(values),
        other => other.clone(),
    }
}

/// The same for nested types, without UUIDs and unions: a UUID is text, and a union the type that
/// holds the values of all its branches, or text.
pub(crate) fn simple(field: &Field) -> DataType {
    if is_uuid(field) {
        return DataType::Utf8;
    }
    let inner = |field: &FieldRef| Field::new(field.name(), simple(field), true);
    match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            DataType::List(Arc::new(Field::new("item", simple(item), true)))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                DataType::Map(map_entries(&simple(&pair[0]), &simple(&pair[1])), false)
            }
            other => other.clone(),
        },
        DataType::Union(branches, _) => union_type(branches),
        DataType::Null
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::Decimal256(..) => DataType::Utf8,
        DataType::FixedSizeBinary(_) => DataType::Binary,
        other => plain(other),
    }
}

fn is_uuid(field: &Field) -> bool {
    matches!(field.data_type(), DataType::FixedSizeBinary(16))
        && field.metadata().get("logicalType").is_some_and(|name| name == "uuid")
}

pub(super) fn map_entries(key: &DataType, value: &DataType) -> FieldRef {
    let key = Field::new("key", key.clone(), false);
    let value = Field::new("value", value.clone(), true);
    Arc::new(Field::new("entries", DataType::Struct(Fields::from(vec![key, value])), false))
}

fn union_type(branches: &UnionFields) -> DataType {
    let branches = branches.iter().filter(|(_, field)| *field.data_type() != DataType::Null);
    let types: Vec<DataType> = branches.map(|(_, field)| simple(field)).collect();
    match types.split_first() {
        None => DataType::Utf8,
        Some((first, others)) if others.iter().all(|other| other == first) => first.clone(),
        // What is nested in several ways is text in JSON.
        Some(_) if types.iter().any(DataType::is_nested) => DataType::Utf8,
        Some((first, others)) => {
            others.iter().fold(first.clone(), |known, other| widest(&known, other))
        }
    }
}

/// An array of this field as its [`simple`] type. A value that does not fit (a time beyond the
/// years that microseconds reach, say) is an error.
pub(crate) fn simplified(field: &Field, array: &ArrayRef) -> Result<ArrayRef> {
    let data_type = simple(field);
    if *array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    if is_uuid(field) {
        return uuid_texts(array);
    }
    let malformed =
        |error| Error::new(ErrorKind::Data, "a nested column is malformed").because(error);
    match (field.data_type(), &data_type) {
        (DataType::Struct(fields), DataType::Struct(simple)) => {
            let array = array.as_struct();
            let columns = fields.iter().zip(array.columns());
            let columns: Vec<ArrayRef> =
                columns.map(|(field, column)| simplified(field, column)).collect::<Result<_>>()?;
            if simple.is_empty() {
                return Ok(Arc::clone(&(Arc::new(array.clone()) as ArrayRef)));
            }
            StructArray::try_new(simple.clone(), columns, array.nulls().cloned())
                .map(|array| Arc::new(array) as ArrayRef)
                .map_err(malformed)
        }
        (DataType::List(item), DataType::List(simple)) => {
            let array: &ListArray = array.as_list();
            let values = simplified(item, array.values())?;
            let offsets = array.offsets().clone();
            ListArray::try_new(Arc::clone(simple), offsets, values, array.nulls().cloned())
                .map(|array| Arc::new(array) as ArrayRef)
                .map_err(malformed)
        }
        (DataType::LargeList(item), DataType::List(_)) => {
            let array: &LargeListArray = array.as_list();
            let list = DataType::List(Arc::clone(item));
            simplified(&Field::new("", list.clone(), true), &whole(array, &list)?)
        }
        (DataType::FixedSizeList(item, _), DataType::List(_)) => {
            let array: &FixedSizeListArray = array.as_fixed_size_list();
            let list = DataType::List(Arc::clone(item));
            simplified(&Field::new("", list.clone(), true), &whole(array, &list)?)
        }
        (DataType::Map(entries, _), DataType::Map(simple, _)) => {
            let DataType::Struct(pair) = entries.data_type() else { return Ok(Arc::clone(array)) };
            let DataType::Struct(fields) = simple.data_type() else { return Ok(Arc::clone(array)) };
            let array = array.as_map();
            let columns =
                vec![simplified(&pair[0], array.keys())?, simplified(&pair[1], array.values())?];
            let pairs = StructArray::try_new(fields.clone(), columns, None).map_err(malformed)?;
            let offsets = array.offsets().clone();
            let nulls = array.nulls().cloned();
            MapArray::try_new(Arc::clone(simple), offsets, pairs, nulls, false)
                .map(|array| Arc::new(array) as ArrayRef)
                .map_err(malformed)
        }
        (DataType::Union(branches, _), _) => united(branches, array, &data_type),
        _ => whole(array, &data_type),
    }
}

/// A nested column as a type that has all of it and may have more: fields that are missing are NULL.
fn grown(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    let malformed =
        |error| Error::new(ErrorKind::Data, "a nested column is malformed").because(error);
    match (column.data_type(), data_type) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let own = column.as_struct();
            let columns = fields.iter().map(|field| match own.column_by_name(field.name()) {
                Some(column) => grown(column, field.data_type()),
                None => Ok(new_null_array(field.data_type(), own.len())),
            });
            let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
            StructArray::try_new(fields.clone(), columns, own.nulls().cloned())
                .map(|array| Arc::new(array) as ArrayRef)
                .map_err(malformed)
        }
        (DataType::List(_), DataType::List(item)) => {
            let own: &ListArray = column.as_list();
            let values = grown(own.values(), item.data_type())?;
            ListArray::try_new(
                Arc::clone(item),
                own.offsets().clone(),
                values,
                own.nulls().cloned(),
            )
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(malformed)
        }
        (_, wanted) if wanted.is_string() && column.data_type().is_nested() => json_texts(column),
        _ => whole(column, data_type),
    }
}

/// A cast in which every value has to fit.
fn whole(array: &dyn Array, data_type: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, data_type, &options)
        .or_error(ErrorKind::Data, "a value does not fit the type of its column")
}

/// The values of a union as one type.
fn united(branches: &UnionFields, array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let Some(union) = array.as_any().downcast_ref::<UnionArray>() else {
        return Err(Error::new(ErrorKind::Internal, "a union is no union"));
    };
    let mut children = vec![new_null_array(data_type, 1)];
    // Where the values of a branch are among the children.
    let mut of_branch = [0; 128];
    for (id, field) in branches.iter() {
        if *field.data_type() == DataType::Null {
            continue;
        }
        let child = simplified(field, union.child(id))?;
        let child = match data_type.is_string() && child.data_type().is_nested() {
            true => json_texts(&child)?,
            false => whole(&child, data_type)?,
        };
        of_branch[id.unsigned_abs() as usize] = children.len();
        children.push(child);
    }
    let places: Vec<(usize, usize)> = (0..union.len())
        .map(|row| match of_branch[union.type_id(row).unsigned_abs() as usize] {
            0 => (0, 0),
            child => (child, union.value_offset(row)),
        })
        .collect();
    let children: Vec<&dyn Array> = children.iter().map(AsRef::as_ref).collect();
    interleave(&children, &places).or_error(ErrorKind::Internal, "a union cannot be put together")
}

/// Nested values as text in JSON.
fn json_texts(array: &ArrayRef) -> Result<ArrayRef> {
    let texts = crate::json_text::json_texts(array)?.into_iter().enumerate();
    let texts = texts.map(|(row, text)| array.is_valid(row).then_some(text));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array, Int64Array};
    use arrow::buffer::ScalarBuffer;

    use super::*;

    fn union(
        branches: Vec<(Field, ArrayRef)>,
        ids: Vec<i8>,
        offsets: Vec<i32>,
    ) -> (Field, ArrayRef) {
        let (fields, children): (Vec<Field>, Vec<ArrayRef>) = branches.into_iter().unzip();
        let fields: UnionFields =
            fields.into_iter().enumerate().map(|(id, field)| (id as i8, Arc::new(field))).collect();
        let array = UnionArray::try_new(
            fields,
            ScalarBuffer::from(ids),
            Some(ScalarBuffer::from(offsets)),
            children,
        )
        .unwrap();
        (Field::new("u", array.data_type().clone(), true), Arc::new(array))
    }

    #[test]
    fn a_nested_column_grows() {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let number = Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef;
        let small = StructArray::new(
            Fields::from(vec![field("a", DataType::Int32)]),
            vec![number],
            Some(vec![true, false].into()),
        );
        let large = DataType::Struct(Fields::from(vec![
            field("b", DataType::Utf8),
            field("a", DataType::Int64),
        ]));
        let grown = grown(&(Arc::new(small) as ArrayRef), &large).unwrap();
        assert_eq!(grown.data_type(), &large);
        let grown = grown.as_struct();
        assert_eq!((grown.null_count(), grown.column(0).null_count()), (1, 2));
        assert_eq!(grown.column(1).as_primitive::<arrow::datatypes::Int64Type>().value(0), 1);
    }

    #[test]
    fn a_union_is_the_type_that_holds_all_its_branches() {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let (numbers, array) = union(
            vec![
                (field("int", DataType::Int32), Arc::new(Int32Array::from(vec![1])) as ArrayRef),
                (field("null", DataType::Null), new_null_array(&DataType::Null, 1)),
                (field("double", DataType::Float64), Arc::new(Float64Array::from(vec![0.5]))),
            ],
            vec![2, 1, 0],
            vec![0, 0, 0],
        );
        assert_eq!(simple(&numbers), DataType::Float64);
        let values = simplified(&numbers, &array).unwrap();
        let values = values.as_primitive::<arrow::datatypes::Float64Type>();
        assert_eq!(values.iter().collect::<Vec<_>>(), [Some(0.5), None, Some(1.0)]);
        let x = Arc::new(Field::new("x", DataType::Int64, true));
        let record = StructArray::new(
            vec![x].into(),
            vec![Arc::new(Int64Array::from(vec![7])) as ArrayRef],
            None,
        );
        let (mixed, array) = union(
            vec![
                (field("r", record.data_type().clone()), Arc::new(record) as ArrayRef),
                (field("string", DataType::Utf8), Arc::new(StringArray::from(vec!["a"]))),
            ],
            vec![1, 0],
            vec![0, 0],
        );
        let texts = simplified(&mixed, &array).unwrap();
        let texts: Vec<_> = texts.as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some("a"), Some(r#"{"x":7}"#)]);
    }
}

//! From the columns of a file to those of the table, by the numbers of fields: whatever a column was
//! called and whichever type it had when the file was written.
//!
//! Source: "Iceberg Table Spec", sections "Column Projection" and "Name Mapping Serialization".

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StringArray, StructArray, UInt32Array,
    make_array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Field as ArrowField, FieldRef, Fields, TimeUnit, TimestampMicrosecondType,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::metadata::Mapped;
use super::schema::{Field, Type};
use crate::files::typed;

/// The values that stand in a partition and not in the file, one row each, by the number of the field.
pub(super) type Constants = HashMap<i32, ArrayRef>;

/// The number that a field of a file has.
fn id_of(field: &ArrowField) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// The columns of a file with their numbers, which are in the file, or come from the table's mapping of
/// names. `None` where neither is.
pub(super) fn numbered(fields: &Fields, mapping: Option<&[Mapped]>) -> Option<Fields> {
    fn has_ids(field: &ArrowField) -> bool {
        id_of(field).is_some() || inner(field.data_type()).iter().any(|field| has_ids(field))
    }
    if fields.is_empty() || fields.iter().any(|field| has_ids(field)) {
        return Some(fields.clone());
    }
    Some(mapped(fields, mapping?))
}

/// The fields within a type.
fn inner(data_type: &DataType) -> Vec<&FieldRef> {
    match data_type {
        DataType::Struct(fields) => fields.iter().collect(),
        DataType::List(item) => vec![item],
        DataType::Map(entries, _) => inner(entries.data_type()),
        _ => Vec::new(),
    }
}

fn mapped(fields: &Fields, mapping: &[Mapped]) -> Fields {
    fields.iter().map(|field| with_id(field, field.name(), mapping)).collect()
}

fn with_id(field: &ArrowField, name: &str, mapping: &[Mapped]) -> ArrowField {
    let found = mapping.iter().find(|it| it.names.iter().any(|known| known == name));
    let within = found.map_or(&[][..], |it| it.fields.as_slice());
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(mapped(fields, within)),
        DataType::List(item) => DataType::List(Arc::new(with_id(item, "element", within))),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let pair =
                    vec![with_id(&pair[0], "key", within), with_id(&pair[1], "value", within)];
                let pair = entries.as_ref().clone().with_data_type(DataType::Struct(pair.into()));
                DataType::Map(Arc::new(pair), *sorted)
            }
            _ => field.data_type().clone(),
        },
        other => other.clone(),
    };
    let field = field.clone().with_data_type(data_type);
    match found.and_then(|it| it.field_id) {
        Some(id) => {
            let metadata = [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())];
            field.with_metadata(metadata.into())
        }
        None => field,
    }
}

/// Where the field with this number is: the column, and the places within structs.
pub(super) fn path_of(fields: &Fields, id: i32) -> Option<Vec<usize>> {
    fields.iter().enumerate().find_map(|(at, field)| {
        if id_of(field) == Some(id) {
            return Some(vec![at]);
        }
        let DataType::Struct(within) = field.data_type() else { return None };
        let mut path = path_of(within, id)?;
        path.insert(0, at);
        Some(path)
    })
}

/// The field at such a place, of columns that were read; NULL where a struct around it is.
pub(super) fn at_path(
    fields: &Fields,
    columns: &[ArrayRef],
    path: &[usize],
) -> Option<(FieldRef, ArrayRef)> {
    let (first, rest) = path.split_first()?;
    let (mut field, mut column) = (fields.get(*first)?, Arc::clone(columns.get(*first)?));
    for at in rest {
        let DataType::Struct(within) = field.data_type() else { return None };
        field = within.get(*at)?;
        let outer = column.as_struct_opt()?;
        let nulls = NullBuffer::union(outer.nulls(), outer.column(*at).nulls());
        let data = outer.column(*at).to_data().into_builder().nulls(nulls).build().ok()?;
        column = make_array(data);
    }
    Some((Arc::clone(field), column))
}

/// A column as the table has it; `found` is what the file has of it.
///
/// # Errors
/// Kind `Data` for a value that does not fit the type of the table.
pub(super) fn shaped(
    want: &Field,
    found: Option<(&ArrowField, &ArrayRef)>,
    rows: usize,
    constants: &Constants,
) -> Result<ArrayRef> {
    let shape = || match found {
        None => absent(want, rows, constants),
        Some((field, array)) => present(want, field, array, constants),
    };
    shape().map_err(|error| error.with("column", &want.name))
}

/// What rows have in a column that their file does not have.
fn absent(want: &Field, rows: usize, constants: &Constants) -> Result<ArrayRef> {
    let one = match constants.get(&want.id) {
        Some(constant) => Arc::clone(constant),
        None => match &want.default {
            None => return Ok(new_null_array(&want.kind.arrow(), rows)),
            Some(default) => super::literal::of_json(default, &want.kind)?,
        },
    };
    arrow::compute::take(&one, &UInt32Array::from(vec![0; rows]), None)
        .or_error(ErrorKind::Internal, "a value cannot be repeated")
}

fn present(
    want: &Field,
    field: &ArrowField,
    array: &ArrayRef,
    constants: &Constants,
) -> Result<ArrayRef> {
    let malformed =
        |error| Error::new(ErrorKind::Data, "a nested column is malformed").because(error);
    let other = || {
        Error::new(
            ErrorKind::Data,
            format!("a file of the table has the column as {}", field.data_type()),
        )
    };
    match (&want.kind, field.data_type()) {
        (Type::Struct(wanted), DataType::Struct(fields)) => {
            let array = array.as_struct();
            let find = |id: i32| {
                let at = fields.iter().position(|field| id_of(field) == Some(id))?;
                Some((fields[at].as_ref(), array.column(at)))
            };
            let columns =
                wanted.iter().map(|want| shaped(want, find(want.id), array.len(), constants));
            let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
            let DataType::Struct(target) = want.kind.arrow() else { return Err(other()) };
            let nulls = array.nulls().cloned();
            StructArray::try_new_with_length(target, columns, nulls, array.len())
                .map(|array| Arc::new(array) as ArrayRef)
                .map_err(malformed)
        }
        (Type::List(item), DataType::List(found)) => {
            let array: &ListArray = array.as_list();
            let values = present(item, found, array.values(), constants)?;
            let DataType::List(target) = want.kind.arrow() else { return Err(other()) };
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            ListArray::try_new(target, offsets, values, nulls)
                .map(|array| Arc::new(array) as ArrayRef)
                .map_err(malformed)
        }
        (Type::Map(key, value), DataType::Map(entries, _)) => {
            let DataType::Struct(pair) = entries.data_type() else { return Err(other()) };
            let [found_key, found_value] = pair.as_ref() else { return Err(other()) };
            let array: &MapArray = array.as_map();
            let columns = vec![
                present(key, found_key, array.keys(), constants)?,
                present(value, found_value, array.values(), constants)?,
            ];
            let DataType::Map(target, sorted) = want.kind.arrow() else { return Err(other()) };
            let DataType::Struct(fields) = target.data_type() else { return Err(other()) };
            let pairs = StructArray::try_new(fields.clone(), columns, None).map_err(malformed)?;
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            MapArray::try_new(Arc::clone(&target), offsets, pairs, nulls, sorted)
                .map(|array| Arc::new(array) as ArrayRef)
                .map_err(malformed)
        }
        (Type::Struct(_) | Type::List(_) | Type::Map(..), _) => Err(other()),
        (_, found) if found.is_nested() => Err(other()),
        (kind, _) => simple(kind, array),
    }
}

/// A value that is not nested, as the table has it.
pub(super) fn simple(kind: &Type, array: &ArrayRef) -> Result<ArrayRef> {
    let target = kind.arrow();
    match (kind, array.data_type()) {
        (_, found) if *found == target => Ok(Arc::clone(array)),
        (Type::Unknown, _) => Ok(new_null_array(&target, array.len())),
        (Type::Uuid, DataType::FixedSizeBinary(_)) => typed::uuid_texts(array),
        (Type::Time, DataType::Time32(_) | DataType::Time64(_)) => {
            let micros = whole(array, &DataType::Time64(TimeUnit::Microsecond))?;
            whole(&micros, &target)
        }
        (Type::Timestamp { zone, .. }, DataType::Timestamp(_, own)) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, own.clone());
            let micros = whole(array, &micros)?;
            // Whether there is a zone is said by the table: all of them are in UTC.
            let zone = zone.then(|| "UTC".into());
            let micros = micros.as_primitive::<TimestampMicrosecondType>().clone();
            Ok(Arc::new(micros.with_timezone_opt::<Arc<str>>(zone)))
        }
        _ => whole(array, &target),
    }
}

/// A cast in which every value has to fit.
fn whole(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, data_type, &options)
        .or_error(ErrorKind::Data, "a value does not fit the type of its column")
}

/// One text as an array.
pub(super) fn one_text(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}

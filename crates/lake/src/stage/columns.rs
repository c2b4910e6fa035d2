//! Which columns a table gets, and how rows are brought to them: the written rule of names and
//! types.
//!
//! | comes in | is stored as |
//! | --- | --- |
//! | seconds, milli- and nanoseconds | microseconds; with a zone: UTC |
//! | unsigned 8, 16, 32, 64 bits | signed 16, 32, 64 bits, `decimal(20,0)` |
//! | half floats | `float` |
//! | large, view, dictionary and run-end encodings | the plain type |
//! | fixed size binary and lists | `binary`, `array` |
//! | a column of NULLs alone | `string`, until a type is seen |
//! | time of day, interval, duration | `string` |
//! | unions, decimals beyond 38 digits | refused, with the fix |
//!
//! Names are kept as they are written, blanks and commas included: the readers that Tidemill is tested
//! with take them. Empty names, names with control characters, and names that differ only by case
//! are refused with the fix.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use tidemill_core::{ColumnChange, Error, ErrorKind, Result, STORED_TYPE};

/// The columns that these rows are stored with.
pub(crate) fn stored_schema(input: &Schema, comments: &[(String, String)]) -> Result<SchemaRef> {
    check_names(input)?;
    let comments: HashMap<String, &str> =
        comments.iter().map(|(name, text)| (name.to_lowercase(), text.as_str())).collect();
    let fields: Vec<Field> = input
        .fields()
        .iter()
        .map(|field| {
            let data_type = stored_type(field.data_type()).map_err(|(what, fix)| {
                Error::new(ErrorKind::Unsupported, what)
                    .with("column", field.name())
                    .with("type", field.data_type())
                    .with("hint", fix)
            })?;
            let mut metadata: HashMap<String, String> = field
                .metadata()
                .iter()
                .filter(|(key, _)| !key.starts_with("PARQUET:") && !key.starts_with("ARROW:"))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if let Some(comment) = comments.get(&field.name().to_lowercase()) {
                metadata.insert("comment".to_owned(), (*comment).to_owned());
            }
            Ok(Field::new(field.name(), data_type, true).with_metadata(metadata))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

fn check_names(schema: &Schema) -> Result<()> {
    if schema.fields().is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "a table needs at least one column"));
    }
    let mut seen: HashMap<String, &str> = HashMap::new();
    for field in schema.fields() {
        check_name(field)?;
        if let Some(other) = seen.insert(field.name().to_lowercase(), field.name()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                if other == field.name() {
                    "two columns have the same name"
                } else {
                    "two columns differ only by upper and lower case"
                },
            )
            .with("columns", format!("`{other}`, `{}`", field.name()))
            .with("hint", "give one of them another name with `as`"));
        }
    }
    Ok(())
}

fn check_name(field: &Field) -> Result<()> {
    let name = field.name();
    let refused = |what: &str| {
        Err(Error::new(ErrorKind::Unsupported, what.to_owned())
            .with("column", format!("`{name}`"))
            .with("hint", "give the column a plain name with `as`, such as `… as total`"))
    };
    if name.is_empty() {
        return refused("a column of a table needs a name");
    }
    if name.chars().any(char::is_control) {
        return refused("a Delta table cannot have a column of this name");
    }
    let inner: &[Arc<Field>] = match field.data_type() {
        DataType::Struct(fields) => fields,
        _ => &[],
    };
    inner.iter().try_for_each(|field| check_name(field))
}

/// The type that is stored for a type, or what is wrong and how to fix it.
fn stored_type(
    data_type: &DataType,
) -> std::result::Result<DataType, (&'static str, &'static str)> {
    let nested = |field: &Field, name: &str, nullable: bool| {
        stored_type(field.data_type()).map(|inner| Field::new(name, inner, nullable))
    };
    Ok(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Binary
        | DataType::Utf8 => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Null
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_) => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Dictionary(_, values) => stored_type(values)?,
        DataType::RunEndEncoded(_, values) => stored_type(values.data_type())?,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            let (precision, scale) = if *scale < 0 {
                (precision.saturating_add(scale.unsigned_abs()), 0)
            } else {
                (*precision, *scale)
            };
            if precision > 38 {
                return Err((
                    "a decimal of a Delta table has at most 38 digits",
                    "cast it, such as `cast(x as decimal(38, 10))`, or to `double`",
                ));
            }
            DataType::Decimal128(precision, scale)
        }
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => {
            DataType::List(Arc::new(nested(element, "element", true)?))
        }
        DataType::Struct(fields) => {
            if fields.is_empty() {
                return Err(("a struct of a Delta table needs a field", "leave the column out"));
            }
            let fields: Fields = fields
                .iter()
                .map(|field| nested(field, field.name(), true))
                .collect::<std::result::Result<_, _>>()?;
            DataType::Struct(fields)
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let pair = Fields::from(vec![
                    nested(&pair[0], "key", false)?,
                    nested(&pair[1], "value", true)?,
                ]);
                let entries = Field::new("key_value", DataType::Struct(pair), false);
                DataType::Map(Arc::new(entries), false)
            }
            _ => return Err(("a Delta table cannot hold this map", "cast it to text")),
        },
        DataType::Union(_, _) => {
            return Err(("a Delta table cannot hold a union", "cast it to one type"));
        }
    })
}

/// What rows of `input` make of a table of `base`.
#[derive(Debug, Clone)]
pub(crate) struct Evolution {
    /// The table's columns afterwards.
    pub schema: SchemaRef,
    pub changes: Vec<ColumnChange>,
    /// Whether existing files must be rewritten.
    pub rewrite: bool,
}

/// Adds columns that are new and widens those whose new values do not fit. `only_nulls`: text
/// columns that have no value yet, whose type is still open.
pub(crate) fn evolve(
    base: &Schema,
    input: &Schema,
    only_nulls: &HashSet<String>,
    comments: &[(String, String)],
) -> Result<Evolution> {
    let stored = stored_schema(input, comments)?;
    let mut changes = Vec::new();
    let mut rewrite = false;
    let mut fields: Vec<Arc<Field>> = Vec::new();
    for field in base.fields() {
        let Some((index, _)) = input.column_with_name(field.name()) else {
            fields.push(field.clone());
            continue;
        };
        let mut field = (**field).clone();
        let new = stored.field(index);
        for key in ["comment", STORED_TYPE] {
            if let Some(said) = new.metadata().get(key) {
                let mut metadata = field.metadata().clone();
                metadata.insert(key.to_owned(), said.clone());
                field.set_metadata(metadata);
            }
        }
        let typeless = *input.field(index).data_type() == DataType::Null;
        let from = field.data_type().clone();
        let to = if typeless {
            from.clone()
        } else if only_nulls.contains(field.name()) {
            new.data_type().clone()
        } else {
            common_type(&from, new.data_type()).ok_or_else(|| {
                Error::new(ErrorKind::Data, "a column's type does not fit the table's")
                    .with("column", field.name())
                    .with("table has", &from)
                    .with("new rows have", new.data_type())
                    .with("hint", "cast it, or build the table again from the start")
            })?
        };
        if !same_type(&to, &from) {
            changes.push(ColumnChange::Widened {
                column: field.name().clone(),
                from,
                to: to.clone(),
            });
            rewrite = true;
        }
        fields.push(Arc::new(field.with_data_type(to)));
    }
    for field in stored.fields() {
        if base.column_with_name(field.name()).is_none() {
            changes.push(ColumnChange::Added(field.name().clone()));
            fields.push(field.clone());
        }
    }
    let schema = Arc::new(Schema::new(fields));
    check_names(&schema)?;
    Ok(Evolution { schema, changes, rewrite })
}

/// What differs between a table and the one that replaces it.
pub(crate) fn differences(base: &Schema, new: &Schema) -> Vec<ColumnChange> {
    let mut changes = Vec::new();
    for field in new.fields() {
        match base.field_with_name(field.name()) {
            Err(_) => changes.push(ColumnChange::Added(field.name().clone())),
            Ok(old) if !same_type(old.data_type(), field.data_type()) => {
                changes.push(ColumnChange::Widened {
                    column: field.name().clone(),
                    from: old.data_type().clone(),
                    to: field.data_type().clone(),
                });
            }
            Ok(_) => {}
        }
    }
    for field in base.fields() {
        if new.field_with_name(field.name()).is_err() {
            changes.push(ColumnChange::Removed(field.name().clone()));
        }
    }
    changes
}

fn same_type(a: &DataType, b: &DataType) -> bool {
    a.equals_datatype(b)
}

/// The narrowest type that holds the values of both without loss; text holds everything flat.
pub(crate) fn common_type(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::*;
    if same_type(a, b) {
        return Some(a.clone());
    }
    let integer = |data_type: &DataType| match data_type {
        Int8 => Some(3u8),
        Int16 => Some(5),
        Int32 => Some(10),
        Int64 => Some(19),
        _ => None,
    };
    Some(match (a, b) {
        (Utf8, other) | (other, Utf8) if !other.is_nested() && *other != Binary => Utf8,
        (x, y) if integer(x).is_some() && integer(y).is_some() => {
            if integer(x) >= integer(y) {
                x.clone()
            } else {
                y.clone()
            }
        }
        (Float32, Float64) | (Float64, Float32) => Float64,
        (Float32 | Float64, x) | (x, Float32 | Float64) if integer(x).is_some() => Float64,
        (Float32 | Float64, Decimal128(..)) | (Decimal128(..), Float32 | Float64) => Float64,
        (Decimal128(p1, s1), Decimal128(p2, s2)) => {
            let scale = (*s1).max(*s2);
            let whole = (i16::from(*p1) - i16::from(*s1)).max(i16::from(*p2) - i16::from(*s2));
            let precision = whole + i16::from(scale);
            if precision > 38 {
                return None;
            }
            Decimal128(precision as u8, scale)
        }
        (Decimal128(p, s), x) | (x, Decimal128(p, s)) if integer(x).is_some() => {
            let whole = (i16::from(*p) - i16::from(*s)).max(i16::from(integer(x)?));
            let precision = whole + i16::from(*s);
            if precision > 38 {
                return None;
            }
            Decimal128(precision as u8, *s)
        }
        (Date32, Timestamp(unit, zone)) | (Timestamp(unit, zone), Date32) => {
            Timestamp(*unit, zone.clone())
        }
        (Boolean, x) | (x, Boolean) if !x.is_nested() && *x != Binary => Utf8,
        (List(x), List(y)) => {
            let inner = common_type(x.data_type(), y.data_type())?;
            List(Arc::new(Field::new("element", inner, true)))
        }
        (Struct(x), Struct(y)) => {
            let mut fields: Vec<Field> = Vec::new();
            for field in x {
                let data_type = match y.find(field.name()) {
                    Some((_, other)) => common_type(field.data_type(), other.data_type())?,
                    None => field.data_type().clone(),
                };
                fields.push(Field::new(field.name(), data_type, true));
            }
            for field in y {
                if x.find(field.name()).is_none() {
                    fields.push(Field::new(field.name(), field.data_type().clone(), true));
                }
            }
            Struct(fields.into())
        }
        (Date32 | Timestamp(..), x) | (x, Date32 | Timestamp(..)) if !x.is_nested() => {
            // A time with a zone and one without do not mean the same; neither do times and numbers.
            if matches!(x, Timestamp(..)) || *x == Binary {
                return None;
            }
            Utf8
        }
        _ => return None,
    })
}

/// Brings rows to the table's columns: casts by the rule, fills missing columns with NULL.
pub(crate) fn conform(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch> {
    let input = batch.schema();
    if input.fields().len() == target.fields().len()
        && input
            .fields()
            .iter()
            .zip(target.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type() && b.is_nullable())
    {
        return RecordBatch::try_new_with_options(
            target.clone(),
            batch.columns().to_vec(),
            &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        )
        .map_err(internal);
    }
    let columns = target
        .fields()
        .iter()
        .map(|field| {
            let column = match batch.column_by_name(field.name()) {
                Some(column) => conform_array(column, field.data_type())
                    .map_err(|error| error.with("column", field.name()))?,
                None => new_null_array(field.data_type(), batch.num_rows()),
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::new(
                    ErrorKind::Data,
                    "a column must not have NULLs and has some",
                )
                .with("column", field.name())
                .with("NULLs", column.null_count()));
            }
            Ok(column)
        })
        .collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new_with_options(
        target.clone(),
        columns,
        &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
    .map_err(internal)
}

/// Casts without loss: a value that does not fit is an error, never a NULL.
pub(crate) fn conform_array(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    if array.data_type() == target {
        return Ok(array.clone());
    }
    if let (DataType::Struct(_), DataType::Struct(wanted)) = (array.data_type(), target) {
        return conform_struct(array, wanted);
    }
    if let (DataType::Dictionary(_, values), false) =
        (array.data_type(), matches!(target, DataType::Dictionary(..)))
        && **values != *target
    {
        let plain = cast(array, values)?;
        return conform_array(&plain, target);
    }
    cast(array, target)
}

fn conform_struct(array: &ArrayRef, wanted: &Fields) -> Result<ArrayRef> {
    let array = array
        .as_any()
        .downcast_ref::<arrow::array::StructArray>()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a struct column is none"))?;
    let columns = wanted
        .iter()
        .map(|field| match array.column_by_name(field.name()) {
            Some(column) => conform_array(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), array.len())),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(
        arrow::array::StructArray::try_new(wanted.clone(), columns, array.nulls().cloned())
            .map_err(internal)?,
    ))
}

fn cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..Default::default() };
    arrow::compute::cast_with_options(array, target, &options).map_err(|error| {
        Error::new(ErrorKind::Data, "a value does not fit the column's type")
            .with("from", array.data_type())
            .with("to", target)
            .because(error)
    })
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "rows cannot be brought to the table's columns").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(
            fields.iter().map(|(name, ty)| Field::new(*name, ty.clone(), true)).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn types_are_stored_by_the_rule() {
        let nano =
            |zone: Option<&str>| DataType::Timestamp(TimeUnit::Nanosecond, zone.map(Into::into));
        let micro =
            |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        for (from, to) in [
            (nano(None), micro(None)),
            (nano(Some("+02:00")), micro(Some("UTC"))),
            (DataType::UInt64, DataType::Decimal128(20, 0)),
            (DataType::UInt8, DataType::Int16),
            (DataType::Null, DataType::Utf8),
            (DataType::Time64(TimeUnit::Microsecond), DataType::Utf8),
            (DataType::Utf8View, DataType::Utf8),
            (
                DataType::Dictionary(DataType::Int32.into(), DataType::LargeUtf8.into()),
                DataType::Utf8,
            ),
            (DataType::Decimal128(5, -2), DataType::Decimal128(7, 0)),
        ] {
            let stored = stored_schema(&schema(&[("a", from.clone())]), &[]).unwrap();
            assert_eq!(stored.field(0).data_type(), &to, "{from}");
        }
        assert!(stored_schema(&schema(&[("a", DataType::Decimal256(50, 2))]), &[]).is_err());
    }

    #[test]
    fn names_that_delta_cannot_hold_are_refused_with_the_fix() {
        for name in ["count(*)", "a b", "a=b", "Größe, in cm"] {
            assert!(stored_schema(&schema(&[(name, DataType::Int64)]), &[]).is_ok(), "{name}");
        }
        for name in ["", "a\nb", "a\tb"] {
            let error = stored_schema(&schema(&[(name, DataType::Int64)]), &[]).unwrap_err();
            assert!(error.to_string().contains("hint"), "{error}");
        }
        let twice = schema(&[("Id", DataType::Int64), ("id", DataType::Int64)]);
        let error = stored_schema(&twice, &[]).unwrap_err();
        assert!(error.message().contains("case"), "{error}");
    }

    #[test]
    fn tables_evolve_without_loss() {
        use DataType::*;
        for (base, new, expected) in [
            (Int32, Int64, Some(Int64)),
            (Int64, Int32, Some(Int64)),
            (Int64, Float64, Some(Float64)),
            (
                Date32,
                Timestamp(TimeUnit::Microsecond, None),
                Some(Timestamp(TimeUnit::Microsecond, None)),
            ),
            (Boolean, Int64, Some(Utf8)),
            (Utf8, Int64, Some(Utf8)),
            (Decimal128(10, 2), Decimal128(12, 4), Some(Decimal128(12, 4))),
            (Decimal128(38, 0), Decimal128(10, 5), None),
            (Binary, Utf8, None),
        ] {
            assert_eq!(common_type(&base, &new), expected, "{base} {new}");
        }
        let evolution = evolve(
            &schema(&[("a", Int32), ("b", Utf8), ("n", Utf8)]),
            &schema(&[("c", Int64), ("a", Int64), ("n", Date32)]),
            &HashSet::from(["n".to_owned()]),
            &[],
        )
        .unwrap();
        assert!(evolution.rewrite);
        assert_eq!(
            *evolution.schema,
            schema(&[("a", Int64), ("b", Utf8), ("n", Date32), ("c", Int64)])
        );
    }
}

//! Which columns take which values.

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use tidemill_core::{Error, ErrorKind, Result};

use crate::postgres::catalog::quoted;

/// A column of a table that is there.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// In SQL, for messages: `numeric(9,2)`.
    pub(crate) sql: String,
    /// The name of its type, or of the one below a domain: `int4`, `timestamptz`.
    pub(crate) base: String,
    /// The name of the type of its items, for an array.
    pub(crate) item: Option<String>,
    /// The type modifier: -1 for none.
    pub(crate) modifier: i32,
    /// Its values are made by the database alone.
    pub(crate) generated: bool,
    /// A row without a value for it is refused.
    pub(crate) required: bool,
}

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the text of the value.
    Text,
    /// `\x…`
    Bytes,
    /// `{…}`
    Array,
    /// As JSON.
    Json,
}

impl Form {
    /// Of values that go to a column of this type; without one, to the type that is made for them.
    pub(crate) fn of(from: &DataType, to: Option<&Column>) -> Form {
        let array = match to {
            Some(column) => column.item.is_some(),
            None => item_of(from).is_some_and(|item| !is_nested(item)),
        };
        match from {
            DataType::Dictionary(_, values) => Form::of(values, to),
            _ if is_nested(from) && !array => Form::Json,
            _ if is_nested(from) => Form::Array,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Form::Bytes,
            _ => Form::Text,
        }
    }
}

/// The type of the items of a list.
fn item_of(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
        }
        _ => None,
    }
}

fn is_nested(kind: &DataType) -> bool {
    item_of(kind).is_some() || matches!(kind, DataType::Struct(_) | DataType::Map(..))
}

/// PostgreSQL's type for one of Arrow's.
pub(crate) fn sql_type(kind: &DataType) -> Option<String> {
    if let Some(item) = item_of(kind).filter(|item| !is_nested(item)) {
        return Some(format!("{}[]", sql_type(item)?));
    }
    Some(match kind {
        _ if is_nested(kind) => "jsonb".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 => "bigint".to_owned(),
        DataType::UInt64 => "numeric(20,0)".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("numeric({precision},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            "text".to_owned()
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        DataType::Dictionary(_, values) => sql_type(values)?,
        _ => return None,
    })
}

/// The type of a column that is made.
///
/// # Errors
/// Kind `Unsupported`.
fn type_of(field: &Field) -> Result<String> {
    sql_type(field.data_type()).ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "`{}` is a {}, which is not written to PostgreSQL",
                field.name(),
                field.data_type()
            ),
        )
        .with("help", "cast it to text in the model")
    })
}

/// `"name" type` of all columns.
pub(crate) fn definitions(schema: &Schema) -> Result<String> {
    let columns = schema.fields().iter();
    let columns = columns.map(|field| Ok(format!("{} {}", quoted(field.name()), type_of(field)?)));
    Ok(columns.collect::<Result<Vec<_>>>()?.join(", "))
}

/// No value, as one of a column that is made.
pub(crate) fn no_value(field: &Field) -> Result<String> {
    Ok(format!("null::{} as {}", type_of(field)?, quoted(field.name())))
}

/// The statement that adds columns to a table.
pub(crate) fn add(table: &str, fields: &[FieldRef]) -> Result<String> {
    let columns = fields
        .iter()
        .map(|field| Ok(format!("add column {} {}", quoted(field.name()), type_of(field)?)));
    Ok(format!("alter table {table} {}", columns.collect::<Result<Vec<_>>>()?.join(", ")))
}

/// Whether the column takes these values as they are: what PostgreSQL would round, cut or understand as
/// something else without a word is no fit; what it would refuse value by value (a number that is too
/// large, a text that is too long) is one.
pub(crate) fn fits(from: &DataType, to: &Column) -> bool {
    match &to.item {
        Some(item) => item_of(from).is_some_and(|from| takes(from, item, to.modifier)),
        None => takes(from, &to.base, to.modifier),
    }
}

fn takes(from: &DataType, base: &str, modifier: i32) -> bool {
    use DataType as T;
    let scale = (modifier >= 4).then(|| (((modifier - 4) & 0x7ff) ^ 0x400) - 0x400);
    let is = |names: &[&str]| names.contains(&base);
    let is_text = is(&["text", "varchar", "bpchar", "citext"]);
    match from {
        T::Dictionary(_, values) => takes(values, base, modifier),
        T::Null => true,
        _ if is_nested(from) => is_text || is(&["json", "jsonb"]),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => is(&["bytea"]),
        // What it stands for is a text in a lake: its type over there reads it.
        T::Utf8 | T::LargeUtf8 | T::Utf8View => !is(&[
            "bool",
            "int2",
            "int4",
            "int8",
            "float4",
            "float8",
            "date",
            "timestamp",
            "timestamptz",
            "bytea",
        ]),
        _ if is_text => true,
        T::Boolean => is(&["bool"]),
        T::Int8 | T::Int16 | T::UInt8 => {
            is(&["int2", "int4", "int8", "float4", "float8"])
                || (is(&["numeric"]) && scale.unwrap_or(0) >= 0)
        }
        T::Int32 | T::UInt16 | T::UInt32 if is(&["float8"]) => true,
        T::Int32 | T::UInt16 | T::UInt32 | T::Int64 | T::UInt64 => {
            is(&["int2", "int4", "int8", "oid"]) || (is(&["numeric"]) && scale.unwrap_or(0) >= 0)
        }
        T::Decimal32(_, from)
        | T::Decimal64(_, from)
        | T::Decimal128(_, from)
        | T::Decimal256(_, from) => {
            (is(&["numeric"]) && scale.is_none_or(|to| to >= i32::from(*from)))
                || (*from <= 0 && is(&["int2", "int4", "int8"]))
        }
        T::Float16 | T::Float32 => {
            is(&["float4", "float8"]) || (is(&["numeric"]) && scale.is_none())
        }
        T::Float64 => is(&["float8"]) || (is(&["numeric"]) && scale.is_none()),
        T::Date32 | T::Date64 => is(&["date", "timestamp"]),
        T::Time32(_) | T::Time64(_) => is(&["time"]),
        T::Timestamp(_, None) => is(&["timestamp"]),
        T::Timestamp(_, Some(_)) => is(&["timestamptz"]),
        T::Interval(_) | T::Duration(_) => is(&["interval"]),
        _ => false,
    }
}

/// What the words of an error call the type of a column of a model.
pub(crate) fn word(field: &Field) -> String {
    sql_type(field.data_type()).unwrap_or_else(|| field.data_type().to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn a_column_takes_what_it_keeps() {
        let numeric = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let local = DataType::Timestamp(TimeUnit::Microsecond, None);
        for (from, base, modifier, fit) in [
            (DataType::Int64, "int4", -1, true),
            (DataType::Int64, "float8", -1, false),
            (DataType::Int64, "numeric", numeric(5, 0), true),
            (DataType::Int64, "bool", -1, false),
            (DataType::Float64, "float4", -1, false),
            (DataType::Float64, "numeric", -1, true),
            (DataType::Float64, "numeric", numeric(9, 2), false),
            (DataType::Decimal128(9, 2), "numeric", numeric(9, 2), true),
            (DataType::Decimal128(9, 2), "numeric", numeric(9, 1), false),
            (DataType::Decimal128(9, 2), "float8", -1, false),
            (utc.clone(), "timestamp", -1, false),
            (utc, "timestamptz", 3, true),
            (local.clone(), "timestamptz", -1, false),
            (local, "date", -1, false),
            (DataType::Date32, "timestamp", -1, true),
            (DataType::Utf8, "uuid", -1, true),
            (DataType::Utf8, "numeric", -1, true),
            (DataType::Utf8, "int4", -1, false),
            (DataType::Binary, "text", -1, false),
            (DataType::Struct(Vec::<Arc<Field>>::new().into()), "jsonb", -1, true),
        ] {
            assert_eq!(takes(&from, base, modifier), fit, "{from} to {base} {modifier}");
        }
    }
}

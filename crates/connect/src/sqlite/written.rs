//! Values of Arrow as SQLite keeps them.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use rusqlite::types::Value;
use tidemill_core::{Error, ErrorKind, Result, ResultExt, display_value};

use crate::json_text::json_texts;

/// How SQLite takes values of a column, by its declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    Integer,
    Text,
    /// As they come.
    Blob,
    Real,
    Numeric,
}

/// By SQLite's rules, in their order.
pub(crate) fn affinity(declared: &str) -> Affinity {
    let name = declared.to_ascii_uppercase();
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if has(&["INT"]) {
        Affinity::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if name.is_empty() || has(&["BLOB", "ANY"]) {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// What a column of a new table is declared as, so that a read finds the type again.
pub(crate) fn declared_type(kind: &DataType) -> String {
    match kind {
        DataType::Dictionary(_, values) => declared_type(values),
        DataType::Boolean => "boolean".to_owned(),
        DataType::UInt64 => "text".to_owned(),
        _ if kind.is_integer() => "integer".to_owned(),
        _ if kind.is_floating() => "real".to_owned(),
        // A decimal with more digits than a double has is kept as its text.
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale)
            if *precision <= 15 && *scale >= 0 =>
        {
            format!("decimal({precision},{scale})")
        }
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_owned(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "blob".to_owned(),
        _ => "text".to_owned(),
    }
}

/// Whether a column of this affinity keeps these values as they are.
pub(crate) fn takes(kind: &DataType, affinity: Affinity) -> bool {
    use Affinity::{Blob, Integer, Numeric, Real, Text};
    if affinity == Blob {
        return true;
    }
    let declared = declared_type(kind);
    match declared.split('(').next().unwrap_or_default() {
        "blob" => false,
        "boolean" | "integer" => {
            affinity != Real || matches!(kind, DataType::Int8 | DataType::Int16 | DataType::Int32)
        }
        "real" | "decimal" => affinity != Integer || declared == "real",
        "date" | "timestamp" | "timestamptz" => matches!(affinity, Text | Numeric),
        // Digits would become a number.
        _ => affinity == Text,
    }
}

/// The values of a batch, made ready.
pub(super) struct Rows {
    columns: Vec<Column>,
}

enum Column {
    Integer(ArrayRef),
    Real(ArrayRef),
    Blob(ArrayRef),
    Text(ArrayRef),
    Json(ArrayRef, Vec<String>),
    Shown(ArrayRef),
}

impl Rows {
    pub(super) fn new(batch: &RecordBatch) -> Result<Rows> {
        let columns = batch.columns().iter().map(Column::new).collect::<Result<_>>()?;
        Ok(Rows { columns })
    }

    /// One value.
    ///
    /// # Errors
    /// Kind `Data` for `NaN`, which SQLite would make NULL.
    pub(super) fn value(&self, column: usize, row: usize) -> Result<Value> {
        let Some(column) = self.columns.get(column) else { return Ok(Value::Null) };
        let array = match column {
            Column::Integer(array)
            | Column::Real(array)
            | Column::Blob(array)
            | Column::Text(array)
            | Column::Json(array, _)
            | Column::Shown(array) => array,
        };
        if array.is_null(row) {
            return Ok(Value::Null);
        }
        Ok(match column {
            Column::Integer(array) => Value::Integer(array.as_primitive::<Int64Type>().value(row)),
            Column::Real(array) => {
                let value = array.as_primitive::<Float64Type>().value(row);
                if value.is_nan() {
                    return Err(Error::new(
                        ErrorKind::Data,
                        "a number is NaN, which SQLite has no room for",
                    )
                    .with("help", "make it NULL in the model: nullif(x, 'NaN')"));
                }
                Value::Real(value)
            }
            Column::Blob(array) => Value::Blob(array.as_binary::<i32>().value(row).to_vec()),
            Column::Text(array) => Value::Text(array.as_string::<i32>().value(row).to_owned()),
            Column::Json(_, texts) => Value::Text(texts[row].clone()),
            Column::Shown(array) => Value::Text(display_value(array, row)),
        })
    }
}

impl Column {
    fn new(column: &ArrayRef) -> Result<Column> {
        let to = |kind: DataType| {
            cast(column, &kind).or_error(ErrorKind::Internal, "a column cannot be written")
        };
        Ok(match column.data_type() {
            DataType::Dictionary(_, values) => Column::new(&to((**values).clone())?)?,
            DataType::Boolean => Column::Integer(to(DataType::Int64)?),
            DataType::UInt64 => Column::Shown(column.clone()),
            kind if kind.is_integer() => Column::Integer(to(DataType::Int64)?),
            kind if kind.is_floating() => Column::Real(to(DataType::Float64)?),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Column::Blob(to(DataType::Binary)?),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                Column::Text(to(DataType::Utf8)?)
            }
            kind if kind.is_nested() => Column::Json(column.clone(), json_texts(column)?),
            _ => Column::Shown(column.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_what_they_take() {
        for (kind, declared, fit) in [
            (DataType::Int64, "bigint", true),
            (DataType::Int64, "real", false),
            (DataType::Int32, "double precision", true),
            (DataType::Utf8, "varchar(20)", true),
            (DataType::Utf8, "integer", false),
            (DataType::Utf8, "date", false),
            (DataType::Date32, "date", true),
            (DataType::Date32, "integer", false),
            (DataType::Decimal128(9, 2), "numeric", true),
            (DataType::Decimal128(9, 2), "int", false),
            (DataType::Decimal128(20, 2), "numeric", false),
            (DataType::Binary, "blob", true),
            (DataType::Binary, "text", false),
            (DataType::Binary, "", true),
        ] {
            assert_eq!(takes(&kind, affinity(declared)), fit, "{kind} to {declared}");
        }
    }
}

//! SQL types as projects write them, and Arrow types.

use arrow::datatypes::DataType;

pub(crate) use tidemill_core::sql_type as parse;

/// The type in PostgreSQL's words, as `information_schema` and dbt's columns give it.
pub(crate) fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("numeric({precision},{scale})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            "text".to_owned()
        }
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(_, None) => "timestamp without time zone".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea".to_owned(),
        DataType::List(field) | DataType::LargeList(field) => {
            format!("{}[]", name(field.data_type()))
        }
        other => other.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_and_written() {
        for (text, expected) in [
            ("INT", "integer"),
            ("varchar(20)", "text"),
            ("Numeric(12, 2)", "numeric(12,2)"),
            ("timestamp(6) with time zone", "timestamp with time zone"),
            ("double precision", "double precision"),
        ] {
            assert_eq!(parse(text).map(|found| name(&found)).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(parse("geometry"), None);
        assert_eq!(parse("decimal(99,2)"), None);
    }
}

//! SQL types as projects write them, and Arrow types.

use arrow::datatypes::{DataType, TimeUnit};

/// The Arrow type of a declared SQL type, PostgreSQL's and the other warehouses' words alike.
/// `None` for one that is not known.
pub(crate) fn parse(text: &str) -> Option<DataType> {
    let text = text.trim().to_ascii_lowercase();
    let (name, arguments) = match text.split_once('(') {
        Some((name, rest)) => {
            let (inside, after) = rest.split_once(')')?;
            let arguments: Vec<&str> = inside.split(',').map(str::trim).collect();
            (format!("{}{}", name.trim(), after), arguments)
        }
        None => (text.clone(), Vec::new()),
    };
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse::<u8>().ok());
    Some(match name.split_whitespace().collect::<Vec<_>>().join(" ").as_str() {
        "tinyint" | "int8_t" => DataType::Int8,
        "smallint" | "int2" | "int16" => DataType::Int16,
        "int" | "integer" | "int4" | "int32" => DataType::Int32,
        "bigint" | "int8" | "int64" | "long" => DataType::Int64,
        "real" | "float4" | "float32" => DataType::Float32,
        "double" | "double precision" | "float" | "float8" | "float64" => DataType::Float64,
        "numeric" | "decimal" | "number" | "dec" => match (number(0), number(1)) {
            (Some(precision), scale) if (1..=38).contains(&precision) => {
                DataType::Decimal128(precision, i8::try_from(scale.unwrap_or(0)).ok()?)
            }
            (None, _) if arguments.is_empty() => DataType::Decimal128(38, 10),
            _ => return None,
        },
        "text"
        | "varchar"
        | "character varying"
        | "char"
        | "character"
        | "string"
        | "bpchar"
        | "nvarchar"
        | "json"
        | "jsonb"
        | "uuid"
        | "time"
        | "time without time zone" => DataType::Utf8,
        "boolean" | "bool" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" | "timestamp without time zone" | "datetime" | "timestamp_ntz" => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        "timestamptz" | "timestamp with time zone" | "timestamp_tz" | "timestamp_ltz" => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        "bytea" | "bytes" | "binary" | "varbinary" | "blob" => DataType::Binary,
        _ => return None,
    })
}

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

//! SQL types as projects write them.

use arrow::datatypes::{DataType, TimeUnit};

/// Where a table keeps the name of a type that is stored as another: [`JSON`] or [`JSONB`] of a text. A
/// source says it in the metadata of its columns.
pub const STORED_TYPE: &str = "tidemill.type";
/// A text that is PostgreSQL's `json`, or what another system calls so.
pub const JSON: &str = "tidemill.json";
/// A text that is PostgreSQL's `jsonb`, as PostgreSQL writes it.
pub const JSONB: &str = "tidemill.jsonb";

/// The Arrow type of a declared SQL type, PostgreSQL's and the other warehouses' words alike.
/// `None` for one that is not known.
pub fn sql_type(text: &str) -> Option<DataType> {
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
        // DuckDB's integers without a sign, and its largest: what holds their values.
        "utinyint" => DataType::Int16,
        "usmallint" => DataType::Int32,
        "uinteger" => DataType::Int64,
        "ubigint" => DataType::Decimal128(20, 0),
        "hugeint" | "int128" => DataType::Decimal128(38, 0),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_duckdb_have_a_type_that_holds_them() {
        for (text, data_type) in [
            ("HUGEINT", DataType::Decimal128(38, 0)),
            ("ubigint", DataType::Decimal128(20, 0)),
            ("uinteger", DataType::Int64),
            ("utinyint", DataType::Int16),
        ] {
            assert_eq!(sql_type(text), Some(data_type), "{text}");
        }
    }
}

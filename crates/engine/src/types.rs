//! The names of types in casts. PostgreSQL's meaning, and the names that other systems have for
//! the same types, so that a model written for them runs.
//!
//! | SQL | Arrow |
//! | --- | --- |
//! | `text string varchar char nvarchar clob json jsonb uuid variant` | text |
//! | `int64 long number(p,0)…` | as their names say; `number` alone is `decimal(38,0)` (Snowflake) |
//! | `float float8 double float64` | double (PostgreSQL: `float` is `double precision`) |
//! | `timestamp datetime timestamp_ntz` | microseconds without a zone |
//! | `timestamptz timestamp_tz timestamp_ltz` | microseconds in the session's zone |
//! | `money` | `decimal(19,2)`: its text has no sign of a currency |
//! | `numeric decimal` | `decimal(38,10)` (PostgreSQL's has no fixed scale) |

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    DataType as SqlType, ExactNumberInfo, ObjectName, TimezoneInfo,
};

/// Gives types that DataFusion does not know, or knows with another meaning.
#[derive(Debug)]
pub(crate) struct Types {
    /// The session's time zone.
    pub(crate) timezone: Arc<str>,
}

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        Ok(self.arrow_type(sql_type).map(|data_type| Arc::new(Field::new("", data_type, true))))
    }
}

impl Types {
    fn arrow_type(&self, sql_type: &SqlType) -> Option<DataType> {
        Some(match sql_type {
            SqlType::Float(_) | SqlType::Float64 | SqlType::Double(_) => DataType::Float64,
            SqlType::Float32 => DataType::Float32,
            SqlType::Int16 => DataType::Int16,
            SqlType::Int32 | SqlType::MediumInt(_) | SqlType::Signed | SqlType::SignedInteger => {
                DataType::Int32
            }
            SqlType::Int64 => DataType::Int64,
            SqlType::HugeInt | SqlType::Int128 => DataType::Decimal128(38, 0),
            SqlType::Nvarchar(_)
            | SqlType::JSON
            | SqlType::JSONB
            | SqlType::Uuid
            | SqlType::Character(_)
            | SqlType::CharacterVarying(_)
            | SqlType::CharVarying(_)
            | SqlType::CharacterLargeObject(_)
            | SqlType::CharLargeObject(_)
            | SqlType::Clob(_)
            | SqlType::TinyText
            | SqlType::MediumText
            | SqlType::LongText
            | SqlType::FixedString(_) => DataType::Utf8View,
            SqlType::Binary(_)
            | SqlType::Varbinary(_)
            | SqlType::Blob(_)
            | SqlType::Bytes(_)
            | SqlType::TinyBlob
            | SqlType::MediumBlob
            | SqlType::LongBlob => DataType::Binary,
            SqlType::Dec(info) | SqlType::BigNumeric(info) | SqlType::BigDecimal(info) => {
                decimal(info, 10)?
            }
            SqlType::Date32 => DataType::Date32,
            SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            SqlType::Timestamp(_, zone) => {
                self.timestamp(matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone))
            }
            SqlType::Datetime(_) | SqlType::Datetime64(..) | SqlType::TimestampNtz(_) => {
                self.timestamp(false)
            }
            SqlType::Custom(name, arguments) => self.named(name, arguments)?,
            _ => return None,
        })
    }

    fn timestamp(&self, with_zone: bool) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, with_zone.then(|| self.timezone.clone()))
    }

    fn named(&self, name: &ObjectName, arguments: &[String]) -> Option<DataType> {
        let number = |index: usize| arguments.get(index).and_then(|text| text.parse().ok());
        Some(match name.to_string().to_lowercase().as_str() {
            "string" | "variant" | "object" | "super" | "bpchar" | "name" | "citext" => {
                DataType::Utf8View
            }
            "int64" | "long" | "byteint" | "serial8" | "bigserial" => DataType::Int64,
            "int32" | "serial" => DataType::Int32,
            "int16" => DataType::Int16,
            "float64" => DataType::Float64,
            "float32" => DataType::Float32,
            "number" => DataType::Decimal128(number(0).unwrap_or(38), number(1).unwrap_or(0) as i8),
            "money" => DataType::Decimal128(19, 2),
            "bignumeric" => DataType::Decimal128(38, 10),
            "timestamp_ntz" | "timestampntz" | "datetime" | "datetime2" | "smalldatetime" => {
                self.timestamp(false)
            }
            "timestamp_tz" | "timestamp_ltz" | "timestamptz" | "timestampltz" => {
                self.timestamp(true)
            }
            _ => return None,
        })
    }
}

fn decimal(info: &ExactNumberInfo, default_scale: i8) -> Option<DataType> {
    Some(match info {
        ExactNumberInfo::None => DataType::Decimal128(38, default_scale),
        ExactNumberInfo::Precision(precision) => {
            DataType::Decimal128(u8::try_from(*precision).ok()?.min(38), 0)
        }
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            DataType::Decimal128(u8::try_from(*precision).ok()?.min(38), i8::try_from(*scale).ok()?)
        }
    })
}

/// The SQL name of an Arrow type, as `information_schema` and messages show it.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
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
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("numeric({precision},{scale})"),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("{}[]", sql_name(item.data_type()))
        }
        DataType::Struct(fields) => {
            let parts: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", field.name(), sql_name(field.data_type())))
                .collect();
            format!("struct({})", parts.join(", "))
        }
        DataType::Dictionary(_, values) => sql_name(values),
        other => other.to_string().to_lowercase(),
    }
}

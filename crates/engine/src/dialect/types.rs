//! Types of other systems by the engine's names for them.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, ExactNumberInfo, Ident, ObjectName, TimezoneInfo,
};
use tidemill_core::{Result, SqlDialect};

use super::refused;

fn with_zone() -> DataType {
    DataType::Timestamp(None, TimezoneInfo::WithTimeZone)
}

fn without_zone() -> DataType {
    DataType::Timestamp(None, TimezoneInfo::None)
}

fn number(precision: u64, scale: i64) -> DataType {
    DataType::Numeric(ExactNumberInfo::PrecisionAndScale(precision, scale))
}

/// Puts the engine's type in the place of a system's.
pub(super) fn settle(data_type: &mut DataType, dialect: SqlDialect) -> Result<()> {
    let settled = match (dialect, &*data_type) {
        (_, DataType::Array(ArrayElemTypeDef::AngleBracket(inner))) => {
            let mut inner = inner.clone();
            settle(&mut inner, dialect)?;
            DataType::Array(ArrayElemTypeDef::SquareBracket(inner, None))
        }
        (SqlDialect::BigQuery, DataType::Timestamp(..)) => with_zone(),
        (SqlDialect::Databricks, DataType::Timestamp(_, TimezoneInfo::None)) => with_zone(),
        (_, DataType::TimestampNtz(_)) => without_zone(),
        (SqlDialect::BigQuery | SqlDialect::Snowflake, DataType::Datetime(_)) => without_zone(),
        (SqlDialect::BigQuery, DataType::Numeric(ExactNumberInfo::None)) => number(38, 9),
        // These systems have no fraction where none is asked for.
        (
            SqlDialect::Snowflake,
            DataType::Numeric(ExactNumberInfo::None)
            | DataType::Decimal(ExactNumberInfo::None)
            | DataType::Dec(ExactNumberInfo::None),
        ) => number(38, 0),
        (
            SqlDialect::Redshift,
            DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None),
        ) => number(18, 0),
        (
            SqlDialect::Databricks,
            DataType::Numeric(ExactNumberInfo::None)
            | DataType::Decimal(ExactNumberInfo::None)
            | DataType::Dec(ExactNumberInfo::None),
        ) => number(10, 0),
        // Texts of any length.
        (SqlDialect::DuckDb, DataType::Char(None) | DataType::Character(None)) => {
            DataType::Varchar(None)
        }
        (
            SqlDialect::DuckDb,
            DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None),
        ) => number(18, 3),
        // Integers of Snowflake have 38 digits, `integer` too.
        (
            SqlDialect::Snowflake,
            DataType::Int(_)
            | DataType::Integer(_)
            | DataType::SmallInt(_)
            | DataType::TinyInt(_)
            | DataType::BigInt(_),
        ) => DataType::BigInt(None),
        // Both are doubles there.
        (SqlDialect::Snowflake, DataType::Real | DataType::Float(_) | DataType::Float4) => {
            DataType::DoublePrecision
        }
        (SqlDialect::Databricks | SqlDialect::DuckDb, DataType::Float(_)) => DataType::Real,
        // A length says nothing there.
        (
            SqlDialect::DuckDb,
            DataType::Varchar(Some(_))
            | DataType::CharacterVarying(Some(_))
            | DataType::CharVarying(Some(_))
            | DataType::Nvarchar(Some(_))
            | DataType::Char(_)
            | DataType::Character(_),
        ) => DataType::Varchar(None),
        (_, DataType::HugeInt) => number(38, 0),
        (SqlDialect::DuckDb, DataType::UTinyInt) => DataType::SmallInt(None),
        (SqlDialect::DuckDb, DataType::USmallInt) => DataType::Integer(None),
        (SqlDialect::DuckDb, DataType::UBigInt) => number(20, 0),
        (SqlDialect::DuckDb, DataType::UHugeInt) => {
            return Err(refused(
                &format!("the type `{data_type}` of {dialect}"),
                "use `bigint`: integers have a sign here",
            ));
        }
        (_, DataType::Custom(name, arguments)) => match custom(name, arguments, dialect)? {
            Some(settled) => settled,
            None => return Ok(()),
        },
        (_, DataType::Struct(..) | DataType::Map(..) | DataType::Union(_)) => {
            return Err(refused(
                &format!("a cast to `{data_type}`"),
                "name the fields where they are used",
            ));
        }
        _ => return Ok(()),
    };
    *data_type = settled;
    Ok(())
}

fn custom(
    name: &ObjectName,
    arguments: &[String],
    dialect: SqlDialect,
) -> Result<Option<DataType>> {
    let word = name.to_string().to_lowercase();
    let digit = |index: usize| arguments.get(index).and_then(|digits| digits.parse().ok());
    Ok(Some(match (dialect, word.as_str()) {
        (_, "timestamp_ntz" | "timestampntz") => without_zone(),
        (_, "timestamp_ltz" | "timestamp_tz" | "timestampltz" | "timestamptz") => with_zone(),
        (SqlDialect::Snowflake, "number") => number(
            digit(0).unwrap_or(38),
            digit(1).and_then(|scale: u64| i64::try_from(scale).ok()).unwrap_or(0),
        ),
        (SqlDialect::Snowflake, "byteint") => DataType::BigInt(None),
        (SqlDialect::DuckDb, "hugeint") => number(38, 0),
        (SqlDialect::DuckDb, "utinyint") => DataType::SmallInt(None),
        (SqlDialect::DuckDb, "usmallint") => DataType::Integer(None),
        (SqlDialect::DuckDb, "uinteger") => DataType::BigInt(None),
        (SqlDialect::DuckDb, "ubigint") => number(20, 0),
        (_, "variant" | "object" | "super" | "geography" | "geometry" | "hllsketch")
            if matches!(word.as_str(), "geography" | "geometry" | "hllsketch") =>
        {
            return Err(refused(&format!("the type `{word}` of {dialect}"), ""));
        }
        (_, "variant" | "object" | "super" | "array") => {
            DataType::Custom(ObjectName::from(vec![Ident::new("variant")]), Vec::new())
        }
        _ => return Ok(None),
    }))
}

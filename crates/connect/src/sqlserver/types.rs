//! Types of SQL Server as columns, and the values of its protocol as those of columns.

use arrow::datatypes::{DataType, TimeUnit};
use tiberius::ColumnData;
use tiberius::time::{Date, Time};

use crate::tables::{Builder, Put};

/// How a column is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    pub(super) data_type: DataType,
    /// What the server makes of it first, with `{}` for the column; none for the column itself.
    pub(super) expression: Option<&'static str>,
}

/// The column of a type as the server writes it: `decimal(12,2)`, `nvarchar(max)`, `dbo.Phone` of what is
/// made by users is told as the type below it.
pub(super) fn reading(written: &str) -> Reading {
    let (name, size) = match written.split_once('(') {
        Some((name, size)) => (name, size.trim_end_matches(')')),
        None => (written, ""),
    };
    let instant = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let local = || DataType::Timestamp(TimeUnit::Microsecond, None);
    let (data_type, expression) = match name {
        "bit" => (DataType::Boolean, None),
        // Without a sign.
        "tinyint" | "smallint" => (DataType::Int16, None),
        "int" => (DataType::Int32, None),
        "bigint" => (DataType::Int64, None),
        "real" => (DataType::Float32, None),
        "float" => (DataType::Float64, None),
        "decimal" | "numeric" => {
            let (precision, scale) = size.split_once(',').unwrap_or((size, "0"));
            let number = |text: &str| text.trim().parse::<u8>().ok();
            let scale = number(scale).and_then(|scale| i8::try_from(scale).ok()).unwrap_or(0);
            (DataType::Decimal128(number(precision).unwrap_or(18), scale), None)
        }
        // The protocol's client has doubles for them.
        "money" => (DataType::Decimal128(19, 4), Some("cast({} as decimal(19,4))")),
        "smallmoney" => (DataType::Decimal128(10, 4), Some("cast({} as decimal(10,4))")),
        "date" => (DataType::Date32, None),
        "datetime2" => (local(), None),
        // Its parts of a second are thirds of hundredths; the server knows how they are rounded.
        "datetime" => (local(), Some("cast({} as datetime2(3))")),
        "smalldatetime" => (local(), Some("cast({} as datetime2(0))")),
        "datetimeoffset" => (instant(), None),
        "time" => (DataType::Utf8, Some("cast({} as varchar(16))")),
        "binary" | "varbinary" => (DataType::Binary, None),
        "image" => (DataType::Binary, Some("cast({} as varbinary(max))")),
        "timestamp" | "rowversion" => (DataType::Binary, Some("cast({} as binary(8))")),
        "uniqueidentifier" => (DataType::Utf8, Some("lower(cast({} as char(36)))")),
        "char" | "varchar" | "nchar" | "nvarchar" | "sysname" => (DataType::Utf8, None),
        "geography" | "geometry" => (DataType::Utf8, Some("{}.ToString()")),
        "hierarchyid" | "sql_variant" => (DataType::Utf8, Some("cast({} as nvarchar(4000))")),
        // `xml`, `text`, `ntext`, `json`, and what comes after them.
        _ => (DataType::Utf8, Some("cast({} as nvarchar(max))")),
    };
    Reading { data_type, expression }
}

/// How a column becomes text, whatever its type.
pub(super) fn as_text(data_type: &DataType) -> &'static str {
    match data_type {
        // Style 126 is ISO 8601; 3 and 2 have all digits.
        DataType::Date32 | DataType::Timestamp(..) => "convert(nvarchar(40), {}, 126)",
        DataType::Float32 | DataType::Float64 => "convert(nvarchar(40), {}, 3)",
        DataType::Binary => "convert(nvarchar(max), {}, 1)",
        _ => "cast({} as nvarchar(max))",
    }
}

/// Days from the first of January of the year 1 to that of 1970.
const EPOCH: i64 = 719_162;

fn days(date: Date) -> i64 {
    i64::from(date.days()) - EPOCH
}

/// Microseconds of a day; smaller parts go.
fn micros(time: Time) -> Option<i64> {
    let increments = i128::from(time.increments());
    let unit = 10i128.checked_pow(u32::from(time.scale()))?;
    i64::try_from(increments * 1_000_000 / unit).ok()
}

impl Put<&ColumnData<'static>> for Builder {
    fn put(&mut self, value: &ColumnData<'static>) -> Result<usize, String> {
        if is_null(value) {
            self.null();
            return Ok(1);
        }
        let unfit = || format!("the server sent {}", kind(value));
        match self {
            Builder::Boolean(builder) => match value {
                ColumnData::Bit(Some(value)) => builder.append_value(*value),
                _ => return Err(unfit()),
            },
            Builder::Int16(builder) => {
                let value = integer(value).and_then(|value| i16::try_from(value).ok());
                builder.append_value(value.ok_or_else(unfit)?);
            }
            Builder::Int32(builder) => {
                let value = integer(value).and_then(|value| i32::try_from(value).ok());
                builder.append_value(value.ok_or_else(unfit)?);
            }
            Builder::Int64(builder) => builder.append_value(integer(value).ok_or_else(unfit)?),
            Builder::Float32(builder) => match value {
                ColumnData::F32(Some(value)) => builder.append_value(*value),
                _ => return Err(unfit()),
            },
            Builder::Float64(builder) => match value {
                ColumnData::F64(Some(value)) => builder.append_value(*value),
                ColumnData::F32(Some(value)) => builder.append_value(f64::from(*value)),
                _ => return Err(unfit()),
            },
            Builder::Decimal(builder, precision, scale) => {
                let ColumnData::Numeric(Some(number)) = value else { return Err(unfit()) };
                let value = rescaled(number.value(), number.scale(), *scale)
                    .filter(|value| value.unsigned_abs() < 10u128.pow(u32::from(*precision)));
                builder.append_value(value.ok_or("it has more digits")?);
            }
            Builder::Date(builder) => {
                let ColumnData::Date(Some(date)) = value else { return Err(unfit()) };
                builder.append_value(i32::try_from(days(*date)).map_err(|_| unfit())?);
            }
            Builder::Timestamp(builder) => {
                let moment = match value {
                    ColumnData::DateTime2(Some(moment)) => moment,
                    // The protocol has it in UTC, and the offset beside it.
                    ColumnData::DateTimeOffset(Some(moment)) => &moment.datetime2(),
                    _ => return Err(unfit()),
                };
                let micros = micros(moment.time()).ok_or_else(unfit)?;
                builder.append_value(days(moment.date()) * 86_400_000_000 + micros);
            }
            Builder::Text(builder) => {
                let text: std::borrow::Cow<'_, str> = match value {
                    ColumnData::String(Some(text)) => text.as_ref().into(),
                    ColumnData::Guid(Some(id)) => id.to_string().into(),
                    ColumnData::Xml(Some(xml)) => xml.as_ref().as_ref().to_owned().into(),
                    _ => return Err(unfit()),
                };
                builder.append_value(&text);
                return Ok(text.len() + 4);
            }
            Builder::Binary(builder) => {
                let ColumnData::Binary(Some(bytes)) = value else { return Err(unfit()) };
                builder.append_value(bytes);
                return Ok(bytes.len() + 4);
            }
        }
        Ok(8)
    }
}

/// The number with another count of decimals; none when digits would go.
fn rescaled(value: i128, from: u8, to: i8) -> Option<i128> {
    let by = i32::from(to) - i32::from(from);
    let unit = 10i128.checked_pow(by.unsigned_abs())?;
    match by >= 0 {
        true => value.checked_mul(unit),
        false => (value % unit == 0).then_some(value / unit),
    }
}

fn integer(value: &ColumnData<'_>) -> Option<i64> {
    Some(match value {
        ColumnData::U8(Some(value)) => i64::from(*value),
        ColumnData::I16(Some(value)) => i64::from(*value),
        ColumnData::I32(Some(value)) => i64::from(*value),
        ColumnData::I64(Some(value)) => *value,
        _ => return None,
    })
}

fn is_null(value: &ColumnData<'_>) -> bool {
    matches!(
        value,
        ColumnData::U8(None)
            | ColumnData::I16(None)
            | ColumnData::I32(None)
            | ColumnData::I64(None)
            | ColumnData::F32(None)
            | ColumnData::F64(None)
            | ColumnData::Bit(None)
            | ColumnData::String(None)
            | ColumnData::Guid(None)
            | ColumnData::Binary(None)
            | ColumnData::Numeric(None)
            | ColumnData::Xml(None)
            | ColumnData::DateTime(None)
            | ColumnData::SmallDateTime(None)
            | ColumnData::Time(None)
            | ColumnData::Date(None)
            | ColumnData::DateTime2(None)
            | ColumnData::DateTimeOffset(None)
    )
}

/// What a value is, for messages: never the value itself.
fn kind(value: &ColumnData<'_>) -> &'static str {
    match value {
        ColumnData::U8(_) | ColumnData::I16(_) | ColumnData::I32(_) | ColumnData::I64(_) => {
            "a whole number that does not fit"
        }
        ColumnData::F32(_) | ColumnData::F64(_) => "a double",
        ColumnData::Bit(_) => "a bit",
        ColumnData::String(_) | ColumnData::Xml(_) => "a text",
        ColumnData::Guid(_) => "a uniqueidentifier",
        ColumnData::Binary(_) => "bytes",
        ColumnData::Numeric(_) => "a decimal",
        _ => "a date or a time",
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use tiberius::numeric::Numeric;
    use tiberius::time::{DateTime2, DateTimeOffset};

    use super::*;

    #[test]
    fn types_are_those_of_the_server() {
        for (written, data_type, expression) in [
            ("bit", "Boolean", ""),
            ("tinyint", "Int16", ""),
            ("bigint", "Int64", ""),
            ("decimal(38,10)", "Decimal128(38, 10)", ""),
            ("numeric(5,0)", "Decimal128(5, 0)", ""),
            ("money", "Decimal128(19, 4)", "cast({} as decimal(19,4))"),
            ("float", "Float64", ""),
            ("datetime2(7)", "Timestamp(µs)", ""),
            ("datetime", "Timestamp(µs)", "cast({} as datetime2(3))"),
            ("datetimeoffset(7)", "Timestamp(µs, \"UTC\")", ""),
            ("nvarchar(max)", "Utf8", ""),
            ("varbinary(16)", "Binary", ""),
            ("uniqueidentifier", "Utf8", "lower(cast({} as char(36)))"),
            ("xml", "Utf8", "cast({} as nvarchar(max))"),
            ("json", "Utf8", "cast({} as nvarchar(max))"),
            ("geography", "Utf8", "{}.ToString()"),
        ] {
            let found = reading(written);
            assert_eq!(found.data_type.to_string(), data_type, "{written}");
            assert_eq!(found.expression.unwrap_or_default(), expression, "{written}");
        }
    }

    #[test]
    fn values_are_those_of_the_protocol() {
        let date = |days: u32| Date::new(days);
        let noon = Time::new(432_000_000_019, 7);
        let moment = DateTime2::new(date(719_163), noon);
        let shown = |written: &str, value: ColumnData<'static>| {
            let mut builder = Builder::new(&reading(written).data_type).unwrap();
            builder.put(&value).unwrap();
            let array = builder.finish();
            let plain = match array.data_type() {
                DataType::Timestamp(unit, Some(_)) => {
                    arrow::compute::cast(&array, &DataType::Timestamp(*unit, None)).unwrap()
                }
                _ => array,
            };
            let options = FormatOptions::default().with_null("∅");
            ArrayFormatter::try_new(&plain, &options).unwrap().value(0).to_string()
        };
        let text = |text: &str| ColumnData::String(Some(text.to_owned().into()));
        for (written, value, expected) in [
            ("int", ColumnData::I32(None), "∅"),
            ("tinyint", ColumnData::U8(Some(255)), "255"),
            ("bit", ColumnData::Bit(Some(true)), "true"),
            (
                "decimal(9,3)",
                ColumnData::Numeric(Some(Numeric::new_with_scale(-1250, 2))),
                "-12.500",
            ),
            ("real", ColumnData::F32(Some(0.5)), "0.5"),
            ("date", ColumnData::Date(Some(date(719_161))), "1969-12-31"),
            // A tenth of a microsecond goes.
            ("datetime2(7)", ColumnData::DateTime2(Some(moment)), "1970-01-02T12:00:00.000001"),
            (
                "datetimeoffset(7)",
                ColumnData::DateTimeOffset(Some(DateTimeOffset::new(moment, 120))),
                "1970-01-02T12:00:00.000001",
            ),
            ("nvarchar(10)", text("ö"), "ö"),
            ("varbinary(3)", ColumnData::Binary(Some(vec![255, 1].into())), "ff01"),
        ] {
            assert_eq!(shown(written, value), expected, "{written}");
        }
        let mut narrow = Builder::new(&reading("decimal(3,1)").data_type).unwrap();
        let value = |value, scale| ColumnData::Numeric(Some(Numeric::new_with_scale(value, scale)));
        assert!(narrow.put(&value(12345, 1)).is_err());
        assert!(narrow.put(&value(125, 2)).is_err());
        let mut number = Builder::new(&DataType::Int16).unwrap();
        assert_eq!(number.put(&text("x")).unwrap_err(), "the server sent a text");
    }
}

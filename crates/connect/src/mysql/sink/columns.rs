//! Which columns take which values.

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use tidemill_core::{Error, ErrorKind, Result};

use crate::mysql::quoted;

/// A column of a table that is there.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its type: `decimal(9,2) unsigned`.
    pub(crate) kind: String,
    /// The word of it: `decimal`.
    pub(crate) word: String,
    /// The digits behind the point, of a number that has a fixed number of them.
    pub(crate) scale: Option<u8>,
    /// The digits of a second.
    pub(crate) fraction: u8,
    /// The collation of a text.
    pub(crate) collation: Option<String>,
    /// Its values are made by the database alone.
    pub(crate) generated: bool,
    /// A row without a value for it is refused.
    pub(crate) required: bool,
}

impl Column {
    /// As a column of another table that takes the same values, and NULL.
    pub(crate) fn definition(&self) -> String {
        let collation = self.collation.as_ref();
        let collation = collation.map(|name| format!(" collate {}", quoted(name)));
        format!("{} {}{} null", quoted(&self.name), self.kind, collation.unwrap_or_default())
    }

    /// Whether it is a text, which may equal one that has other letters.
    pub(crate) fn is_text(&self) -> bool {
        self.collation.is_some()
    }
}

/// The query that gives the columns of a table, in the order of [`Column`].
pub(crate) fn described(of: &str) -> String {
    format!(
        "select column_name, column_type, lower(data_type), numeric_scale, datetime_precision, collation_name, \
         coalesce(generation_expression, '') <> '' or extra like '%INVISIBLE%' and extra like '%GENERATED%', \
         is_nullable = 'NO' and column_default is null and extra not like '%auto_increment%' \
         from information_schema.columns where {of} order by ordinal_position"
    )
}

/// The query that gives the columns of each unique index, one a line.
pub(crate) fn unique(of: &str) -> String {
    format!(
        "select group_concat(column_name order by column_name separator '\n') from information_schema.statistics \
         where {of} and non_unique = 0 group by index_name having count(sub_part) = 0 and count(column_name) = count(*)"
    )
}

/// What the texts of a table that is made are compared by: each character, and blanks as well.
pub(crate) fn exact(maria: bool) -> &'static str {
    match maria {
        true => "utf8mb4_nopad_bin",
        false => "utf8mb4_0900_bin",
    }
}

/// Whether the values are lists, structs or maps.
pub(crate) fn is_nested(kind: &DataType) -> bool {
    kind.is_nested()
}

/// MySQL's type for one of Arrow's; that of a key has a length.
pub(crate) fn sql_type(kind: &DataType, keys: usize) -> Option<String> {
    use DataType as T;
    // The largest key has 3072 bytes.
    let length = 255.min(768 / keys.max(1));
    Some(match kind {
        T::Dictionary(_, values) => return sql_type(values, keys),
        T::Boolean => "boolean".to_owned(),
        T::Int8 => "tinyint".to_owned(),
        T::UInt8 => "tinyint unsigned".to_owned(),
        T::Int16 => "smallint".to_owned(),
        T::UInt16 => "smallint unsigned".to_owned(),
        T::Int32 => "int".to_owned(),
        T::UInt32 => "int unsigned".to_owned(),
        T::Int64 => "bigint".to_owned(),
        T::UInt64 => "bigint unsigned".to_owned(),
        T::Float16 | T::Float32 => "float".to_owned(),
        T::Float64 => "double".to_owned(),
        T::Decimal32(digits, scale)
        | T::Decimal64(digits, scale)
        | T::Decimal128(digits, scale)
        | T::Decimal256(digits, scale)
            if *digits <= 65 && (0..=30).contains(scale) =>
        {
            format!("decimal({digits},{scale})")
        }
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) if keys > 0 => {
            format!("varbinary({length})")
        }
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "longblob".to_owned(),
        T::Date32 | T::Date64 => "date".to_owned(),
        T::Time32(_) | T::Time64(_) => "time(6)".to_owned(),
        T::Timestamp(..) => "datetime(6)".to_owned(),
        kind if is_nested(kind) && keys == 0 => "json".to_owned(),
        kind if is_nested(kind) => return None,
        _ if keys > 0 => format!("varchar({length})"),
        _ => "longtext".to_owned(),
    })
}

/// `name type` of a column.
pub(crate) fn definition(field: &Field, key: &[String]) -> Result<String> {
    let in_key = key.contains(field.name());
    let keys = if in_key { key.len() } else { 0 };
    let Some(kind) = sql_type(field.data_type(), keys) else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "`{}` is a {}, which cannot be a key in MySQL",
                field.name(),
                field.data_type()
            ),
        )
        .with("help", "cast it to text in the model"));
    };
    // A key becomes `not null` when the rows are there and looked at.
    Ok(format!("{} {kind} null", quoted(field.name())))
}

/// The statement that adds columns to a table. Texts are compared by `collation`, or as the character set is.
pub(crate) fn add(table: &str, fields: &[FieldRef], collation: Option<&str>) -> Result<String> {
    let column = |field: &FieldRef| {
        let made = definition(field, &[])?;
        let of_text = collation.map_or(String::new(), |name| format!(" collate {name}"));
        // The table's own character set may not have room for all of them.
        let text = format!("longtext character set utf8mb4{of_text} null");
        Ok(format!(
            "add column {}",
            match made.strip_suffix("longtext null") {
                Some(name) => format!("{name}{text}"),
                None => made.clone(),
            }
        ))
    };
    let columns = fields.iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(format!("alter table {table} {}", columns.join(", ")))
}

/// The type of the model in words.
pub(crate) fn word(field: &Field) -> String {
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        kind => sql_type(kind, 0).unwrap_or_else(|| kind.to_string()),
    }
}

/// Whether the column takes these values as they are: what MySQL would round, cut or understand as something
/// else without a word is no fit; what it refuses value by value is one.
pub(crate) fn fits(from: &DataType, to: &Column) -> bool {
    use DataType as T;
    let is = |words: &[&str]| words.contains(&to.word.as_str());
    let integer = is(&["tinyint", "smallint", "mediumint", "int", "integer", "bigint"]);
    let text = is(&["char", "varchar", "tinytext", "text", "mediumtext", "longtext"]);
    let decimal = |scale: i8| {
        is(&["decimal", "numeric"]) && i16::from(to.scale.unwrap_or(0)) >= i16::from(scale)
    };
    let clock = |unit: &TimeUnit| {
        let digits = match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond | TimeUnit::Nanosecond => 6,
        };
        to.fraction >= digits
    };
    match from {
        T::Dictionary(_, values) => fits(values, to),
        T::Null => true,
        T::Boolean => integer || is(&["bit"]),
        kind if kind.is_integer() => {
            let exact =
                matches!(kind, T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32);
            integer || text || decimal(0) || exact && is(&["double", "real"])
        }
        T::Float16 | T::Float32 => is(&["float", "double", "real"]) && to.scale.is_none(),
        T::Float64 => is(&["double", "real"]) && to.scale.is_none(),
        T::Decimal32(_, scale)
        | T::Decimal64(_, scale)
        | T::Decimal128(_, scale)
        | T::Decimal256(_, scale) => text || decimal(*scale) || *scale <= 0 && integer,
        T::Utf8 | T::LargeUtf8 | T::Utf8View => {
            text || is(&["enum", "set", "json", "uuid", "inet4", "inet6"])
        }
        T::FixedSizeBinary(bytes) => {
            is(&["varbinary", "tinyblob", "blob", "mediumblob", "longblob"])
                || to.kind == format!("binary({bytes})")
        }
        T::Binary | T::LargeBinary | T::BinaryView => {
            is(&["varbinary", "tinyblob", "blob", "mediumblob", "longblob"])
        }
        T::Date32 | T::Date64 => text || is(&["date", "datetime"]),
        T::Timestamp(unit, None) => text || is(&["datetime"]) && clock(unit),
        T::Timestamp(unit, Some(_)) => text || is(&["datetime", "timestamp"]) && clock(unit),
        T::Time32(unit) | T::Time64(unit) => text || is(&["time"]) && clock(unit),
        kind if is_nested(kind) => text || is(&["json"]),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: &str, scale: Option<u8>, fraction: u8) -> Column {
        Column {
            name: "a".to_owned(),
            kind: kind.to_owned(),
            word: kind.split(['(', ' ']).next().unwrap().to_owned(),
            scale,
            fraction,
            collation: None,
            generated: false,
            required: false,
        }
    }

    #[test]
    fn what_would_be_changed_without_a_word_does_not_fit() {
        let micros =
            |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        for (from, to, fit) in [
            (DataType::Int64, column("int", Some(0), 0), true),
            (DataType::Int64, column("double", None, 0), false),
            (DataType::Int32, column("double", None, 0), true),
            (DataType::Decimal128(9, 2), column("decimal(9,1)", Some(1), 0), false),
            (DataType::Decimal128(9, 2), column("decimal(5,2)", Some(2), 0), true),
            (DataType::Float64, column("float", None, 0), false),
            (DataType::Float64, column("double(9,2)", Some(2), 0), false),
            (DataType::Utf8, column("int", Some(0), 0), false),
            (DataType::Utf8, column("varchar(5)", None, 0), true),
            (DataType::Utf8, column("varbinary(5)", None, 0), false),
            (micros(None), column("datetime", None, 0), false),
            (micros(None), column("datetime(6)", None, 6), true),
            (micros(None), column("timestamp(6)", None, 6), false),
            (micros(Some("UTC")), column("timestamp(6)", None, 6), true),
            (DataType::Binary, column("binary(4)", None, 0), false),
            (DataType::FixedSizeBinary(4), column("binary(4)", None, 0), true),
        ] {
            assert_eq!(fits(&from, &to), fit, "{from} to {}", to.kind);
        }
    }
}

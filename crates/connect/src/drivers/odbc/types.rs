//! What the columns of a result are in Arrow, and how their values are asked for.

use arrow::datatypes::{DataType, TimeUnit};
use tidemill_drivers::odbc::{Description, Kind, types as sql};

use crate::drivers::{Dbms, Dialect};
use crate::tables::Order;

/// Texts of more characters, and more bytes, are taken piece by piece.
const LONG: usize = 4000;

/// How the values of a column are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) kind: Kind,
    pub(super) form: Form,
}

/// What stands behind a value of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Itself.
    Value,
    /// The digits of a decimal.
    Decimal,
    /// The text of a date, or of a time (of a day).
    Moment,
    /// A text that the driver writes in capitals, and the database in small letters.
    Small,
}

/// The type of a column and how its values are taken.
pub(super) fn of_column(column: &Description, dialect: &Dialect) -> (DataType, Taken) {
    let take = |data_type, kind| (data_type, Taken { kind, form: Form::Value });
    let name = column.type_name.as_str();
    let is_named = |names: &[&str]| names.contains(&name);
    let integer = |data_type| take(data_type, Kind::Integer);
    // Types that drivers give as texts, or with another meaning.
    if is_named(&["bool", "boolean"]) {
        return take(DataType::Boolean, Kind::Bit);
    }
    if is_zoned(name) || dialect.dbms == Dbms::MySql && name == "timestamp" {
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        // The session's zone is UTC.
        return match dialect.dbms {
            Dbms::Postgres | Dbms::Redshift | Dbms::MySql => take(zoned, Kind::Timestamp),
            _ => (zoned, Taken { kind: Kind::Text(64), form: Form::Moment }),
        };
    }
    match column.sql_type {
        // As a number, as the driver of MariaDB gives nothing as a bit.
        sql::BIT => take(DataType::Boolean, Kind::Integer),
        sql::TINYINT => integer(DataType::Int16),
        sql::SMALLINT if column.unsigned => integer(DataType::Int32),
        sql::SMALLINT => integer(DataType::Int16),
        sql::INTEGER if column.unsigned || dialect.dbms == Dbms::Sqlite => integer(DataType::Int64),
        sql::INTEGER => integer(DataType::Int32),
        sql::BIGINT if column.unsigned => decimal(20, 0),
        sql::BIGINT => integer(DataType::Int64),
        sql::REAL => take(DataType::Float32, Kind::Float),
        sql::FLOAT | sql::DOUBLE => take(DataType::Float64, Kind::Double),
        // What the driver for PostgreSQL says of a number without a size.
        sql::NUMERIC | sql::DECIMAL
            if dialect.dbms == Dbms::Postgres && (column.size, column.digits) == (28, 6) =>
        {
            text(160)
        }
        sql::NUMERIC | sql::DECIMAL => {
            match (u8::try_from(column.size), i8::try_from(column.digits)) {
                (Ok(size @ 1..=38), Ok(digits)) if digits >= 0 && digits <= size as i8 => {
                    decimal(size, digits)
                }
                _ => text(160),
            }
        }
        // SQLite keeps them as texts.
        sql::DATE if dialect.dbms == Dbms::Sqlite => {
            (DataType::Date32, Taken { kind: Kind::Text(64), form: Form::Moment })
        }
        sql::TIMESTAMP if dialect.dbms == Dbms::Sqlite => (
            DataType::Timestamp(TimeUnit::Microsecond, None),
            Taken { kind: Kind::Text(64), form: Form::Moment },
        ),
        sql::DATE => take(DataType::Date32, Kind::Date),
        sql::TIMESTAMP => take(DataType::Timestamp(TimeUnit::Microsecond, None), Kind::Timestamp),
        sql::BINARY | sql::VARBINARY if (1..=LONG).contains(&column.size) => {
            take(DataType::Binary, Kind::Bytes(column.size))
        }
        sql::BINARY | sql::VARBINARY | sql::LONGVARBINARY => {
            take(DataType::Binary, Kind::LongBytes)
        }
        sql::CHAR | sql::VARCHAR | sql::WCHAR | sql::WVARCHAR => match column.size {
            1..=LONG => text(column.size),
            _ => long_text(),
        },
        sql::LONGVARCHAR | sql::WLONGVARCHAR => long_text(),
        sql::GUID if dialect.dbms == Dbms::Postgres => {
            (DataType::Utf8, Taken { kind: Kind::Text(64), form: Form::Small })
        }
        sql::GUID => text(64),
        sql::TIME => text(64),
        // Intervals, and types of this database alone.
        _ => long_text(),
    }
}

/// A text of so many characters; each may take two units.
pub(super) fn text(characters: usize) -> (DataType, Taken) {
    (DataType::Utf8, Taken { kind: Kind::Text(characters * 2), form: Form::Value })
}

fn long_text() -> (DataType, Taken) {
    (DataType::Utf8, Taken { kind: Kind::LongText, form: Form::Value })
}

fn decimal(size: u8, digits: i8) -> (DataType, Taken) {
    // A sign, a point, a zero before it.
    let taken = Taken { kind: Kind::Ascii(usize::from(size) + 3), form: Form::Decimal };
    (DataType::Decimal128(size, digits), taken)
}

fn is_zoned(name: &str) -> bool {
    name.contains("with time zone") && name.starts_with("timestamp")
        || name.contains("with local time zone")
        || matches!(name, "timestamptz" | "datetimeoffset" | "timestamp_tz" | "timestamp_ltz")
}

/// Who can compare the values of a column of this type.
pub(super) fn order(data_type: &DataType, dialect: &Dialect) -> Order {
    match data_type {
        DataType::Utf8 => Order::Database,
        DataType::Date32 | DataType::Timestamp(..) if dialect.dbms == Dbms::Sqlite => {
            Order::Database
        }
        _ => Order::Value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_type_that_holds_their_values() {
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
        for (dbms, sql_type, name, size, digits, unsigned, expected, kind) in [
            ("PostgreSQL", 12, "bool", 5, 0, false, DataType::Boolean, Kind::Bit),
            ("PostgreSQL", 93, "timestamptz", 26, 6, false, zoned.clone(), Kind::Timestamp),
            ("PostgreSQL", 2, "numeric", 28, 6, false, DataType::Utf8, Kind::Text(320)),
            ("MariaDB", 93, "timestamp", 19, 0, false, zoned.clone(), Kind::Timestamp),
            ("MariaDB", 93, "datetime", 19, 0, false, plain.clone(), Kind::Timestamp),
            ("MariaDB", -5, "bigint", 20, 0, true, DataType::Decimal128(20, 0), Kind::Ascii(23)),
            ("MariaDB", 4, "int", 10, 0, true, DataType::Int64, Kind::Integer),
            ("SQL Server", -155, "datetimeoffset", 34, 7, false, zoned, Kind::Text(64)),
            ("SQL Server", -9, "nvarchar", 0, 0, false, DataType::Utf8, Kind::LongText),
            ("SQL Server", -11, "uniqueidentifier", 36, 0, false, DataType::Utf8, Kind::Text(128)),
            ("SQL Server", -3, "varbinary", 0, 0, false, DataType::Binary, Kind::LongBytes),
            ("Oracle", 3, "number", 38, 10, false, DataType::Decimal128(38, 10), Kind::Ascii(41)),
            ("Oracle", 3, "number", 40, 10, false, DataType::Utf8, Kind::Text(320)),
            ("SQLite", 93, "timestamp", 32, 3, false, plain, Kind::Text(64)),
        ] {
            let column = Description {
                name: "c".to_owned(),
                sql_type,
                type_name: name.to_owned(),
                size,
                digits,
                unsigned,
            };
            let (found, taken) = of_column(&column, &Dialect::of(dbms, ""));
            assert_eq!((found, taken.kind), (expected, kind), "{name} of {dbms}");
        }
    }
}

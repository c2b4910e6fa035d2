//! PostgreSQL's types and what they are in Arrow.

use arrow::datatypes::{DataType, Field, TimeUnit};
use tokio_postgres::types::{Kind, Type};

/// How values are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As values to work with: lists and decimals; what no table of a lake has a type for (times of
    /// day, intervals, ranges, …) as text.
    Values,
    /// Exactly as PostgreSQL would show them where a value has no place in Arrow: `numeric` (with
    /// its `NaN`), arrays and intervals are texts.
    Exact,
}

/// How the values of a type are decoded from the binary format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoding {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `oid` and its like
    Oid,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric` with a size that a decimal of 128 bits has room for.
    Decimal {
        /// Digits.
        precision: u8,
        /// Of them behind the point.
        scale: i8,
    },
    /// Any other `numeric`, as its exact text.
    NumericText,
    /// Texts, and enums by their labels.
    Text,
    /// `jsonb`, which has a byte before its text.
    Jsonb,
    /// `uuid`, as text.
    Uuid,
    /// `bytea`
    Bytea,
    /// `date`; `infinity` is the last day of the year 9999, `-infinity` the first of the year 1.
    Date,
    /// `time`
    Time,
    /// `timestamp`; without bound as in dates.
    Timestamp,
    /// `timestamp with time zone`
    TimestampTz,
    /// A list of one dimension.
    Array(Box<Encoding>),
    /// Not decoded: the query has to cast it to `text`.
    AsText,
}

/// What `money` is without a look at the server's settings: cents.
const MONEY: Encoding = Encoding::Decimal { precision: 19, scale: 2 };

/// A type of a column: its words and how it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    /// In SQL: `character varying(20)`, `numeric(10,2)`, `integer[]`.
    pub name: String,
    /// How it is decoded.
    pub encoding: Encoding,
}

impl ColumnType {
    /// What a column of a result is, by its type and its type modifier (-1 for none).
    pub fn of(kind: &Type, modifier: i32, reading: Reading) -> Self {
        ColumnType { name: name(kind, modifier), encoding: Encoding::of(kind, modifier, reading) }
    }

    /// The column in Arrow.
    pub fn field(&self, name: &str) -> Field {
        Field::new(name, self.encoding.arrow(), true)
    }
}

impl Encoding {
    fn of(kind: &Type, modifier: i32, reading: Reading) -> Self {
        let exact = reading == Reading::Exact;
        match *kind {
            Type::BOOL => Encoding::Bool,
            Type::INT2 => Encoding::Int2,
            Type::INT4 => Encoding::Int4,
            Type::INT8 => Encoding::Int8,
            Type::OID | Type::XID | Type::CID => Encoding::Oid,
            Type::FLOAT4 => Encoding::Float4,
            Type::FLOAT8 => Encoding::Float8,
            Type::NUMERIC if exact => Encoding::NumericText,
            Type::NUMERIC => match size(modifier) {
                Some((precision, scale)) if precision <= 38 && (0..=precision).contains(&scale) => {
                    Encoding::Decimal { precision: precision as u8, scale: scale as i8 }
                }
                _ => Encoding::NumericText,
            },
            Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::NAME
            | Type::CHAR
            | Type::UNKNOWN
            | Type::XML
            | Type::JSON => Encoding::Text,
            Type::JSONB => Encoding::Jsonb,
            Type::UUID => Encoding::Uuid,
            Type::BYTEA => Encoding::Bytea,
            Type::DATE => Encoding::Date,
            Type::TIME if exact => Encoding::Time,
            Type::TIMESTAMP => Encoding::Timestamp,
            Type::TIMESTAMPTZ => Encoding::TimestampTz,
            Type::MONEY if !exact => MONEY,
            _ => match kind.kind() {
                Kind::Enum(_) => Encoding::Text,
                Kind::Domain(inner) => Encoding::of(inner, modifier, reading),
                Kind::Array(inner) if !exact => {
                    let item = match *inner {
                        // Its items would each need the cast of money.
                        Type::MONEY => Encoding::AsText,
                        _ => Encoding::of(inner, modifier, reading),
                    };
                    Encoding::Array(Box::new(item))
                }
                _ if kind.name() == "citext" => Encoding::Text,
                _ => Encoding::AsText,
            },
        }
    }

    /// The type that a query has to cast the column to, so that it has this encoding.
    pub(super) fn cast(&self, kind: &Type) -> Option<&'static str> {
        match self {
            Encoding::AsText => Some("text"),
            Encoding::Array(item) if **item == Encoding::AsText => Some("text[]"),
            Encoding::Decimal { .. } if *kind == Type::MONEY => Some("numeric"),
            Encoding::Float8 if *kind == Type::NUMERIC => Some("double precision"),
            _ => None,
        }
    }

    /// The Arrow type of its values.
    pub fn arrow(&self) -> DataType {
        match self {
            Encoding::Bool => DataType::Boolean,
            Encoding::Int2 => DataType::Int16,
            Encoding::Int4 => DataType::Int32,
            Encoding::Int8 | Encoding::Oid => DataType::Int64,
            Encoding::Float4 => DataType::Float32,
            Encoding::Float8 => DataType::Float64,
            Encoding::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Encoding::NumericText
            | Encoding::Text
            | Encoding::Jsonb
            | Encoding::Uuid
            | Encoding::AsText => DataType::Utf8,
            Encoding::Bytea => DataType::Binary,
            Encoding::Date => DataType::Date32,
            Encoding::Time => DataType::Time64(TimeUnit::Microsecond),
            Encoding::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Encoding::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Encoding::Array(item) => {
                DataType::List(std::sync::Arc::new(Field::new_list_field(item.arrow(), true)))
            }
        }
    }
}

/// Digits and scale of a `numeric`.
fn size(modifier: i32) -> Option<(i32, i32)> {
    if modifier < 4 {
        return None;
    }
    let packed = modifier - 4;
    // The scale has eleven bits and may be negative.
    let scale = ((packed & 0x7ff) ^ 0x400) - 0x400;
    Some(((packed >> 16) & 0xffff, scale))
}

/// A type in SQL, as `format_type` writes it.
fn name(kind: &Type, modifier: i32) -> String {
    let sized = |word: &str| match modifier > 4 {
        true => format!("{word}({})", modifier - 4),
        false => word.to_owned(),
    };
    let precise = |word: &str, rest: &str| match modifier >= 0 {
        true => format!("{word}({modifier}){rest}"),
        false => format!("{word}{rest}"),
    };
    match *kind {
        Type::BOOL => "boolean".to_owned(),
        Type::INT2 => "smallint".to_owned(),
        Type::INT4 => "integer".to_owned(),
        Type::INT8 => "bigint".to_owned(),
        Type::FLOAT4 => "real".to_owned(),
        Type::FLOAT8 => "double precision".to_owned(),
        Type::NUMERIC => match size(modifier) {
            Some((precision, scale)) => format!("numeric({precision},{scale})"),
            None => "numeric".to_owned(),
        },
        Type::VARCHAR => sized("character varying"),
        Type::BPCHAR => sized("character"),
        Type::TIME => precise("time", " without time zone"),
        Type::TIMETZ => precise("time", " with time zone"),
        Type::TIMESTAMP => precise("timestamp", " without time zone"),
        Type::TIMESTAMPTZ => precise("timestamp", " with time zone"),
        // A literal without a type becomes text in a table.
        Type::UNKNOWN => "text".to_owned(),
        _ => match kind.kind() {
            Kind::Array(inner) => format!("{}[]", name(inner, modifier)),
            _ => kind.name().to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_sql_words_and_an_encoding() {
        let numeric = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        for (kind, modifier, name, encoding) in [
            (Type::INT4, -1, "integer", Encoding::Int4),
            (Type::VARCHAR, 24, "character varying(20)", Encoding::Text),
            (
                Type::NUMERIC,
                numeric(10, 2),
                "numeric(10,2)",
                Encoding::Decimal { precision: 10, scale: 2 },
            ),
            (Type::NUMERIC, -1, "numeric", Encoding::NumericText),
            (Type::NUMERIC, numeric(3, -2), "numeric(3,-2)", Encoding::NumericText),
            (Type::NUMERIC, numeric(100, 2), "numeric(100,2)", Encoding::NumericText),
            (Type::INT4_ARRAY, -1, "integer[]", Encoding::Array(Box::new(Encoding::Int4))),
            (Type::INET_ARRAY, -1, "inet[]", Encoding::Array(Box::new(Encoding::AsText))),
            (Type::INT4_RANGE, -1, "int4range", Encoding::AsText),
            (Type::TIME, -1, "time without time zone", Encoding::AsText),
            (Type::MONEY, -1, "money", MONEY),
            (Type::TIMESTAMPTZ, -1, "timestamp with time zone", Encoding::TimestampTz),
            (Type::TIMESTAMP, 3, "timestamp(3) without time zone", Encoding::Timestamp),
        ] {
            let found = ColumnType::of(&kind, modifier, Reading::Values);
            assert_eq!((found.name.as_str(), found.encoding), (name, encoding));
        }
        let exact = ColumnType::of(&Type::NUMERIC, -1, Reading::Exact);
        assert_eq!(exact.encoding, Encoding::NumericText);
        assert_eq!(
            ColumnType::of(&Type::INT4_ARRAY, -1, Reading::Exact).encoding,
            Encoding::AsText
        );
    }
}

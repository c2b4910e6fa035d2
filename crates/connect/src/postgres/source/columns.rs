//! How the columns of a query are read: which type, by which cast, in which order of values.

use arrow::datatypes::DataType;
use tidemill_core::{JSON, JSONB};
use tokio_postgres::types::Type;

use crate::postgres::{ColumnType, Encoding, Reading};
use crate::tables::Order;

/// A column as PostgreSQL describes it.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) name: String,
    kind: Type,
    encoding: Encoding,
}

impl Described {
    /// `money` is a number of cents, unless the server's settings say otherwise.
    pub(super) fn new(column: &tokio_postgres::Column, money_scale: Option<i8>) -> Self {
        let kind = column.type_().clone();
        let read = ColumnType::of(&kind, column.type_modifier(), Reading::Values);
        let encoding = match (money_scale, read.encoding) {
            (Some(scale), Encoding::Decimal { precision, .. }) if kind == Type::MONEY => {
                Encoding::Decimal { precision, scale }
            }
            (_, encoding) => encoding,
        };
        Described { name: column.name().to_owned(), kind, encoding }
    }

    pub(super) fn kind(&self) -> &Type {
        &self.kind
    }

    pub(super) fn data_type(&self) -> DataType {
        self.encoding.arrow()
    }

    /// That a text is JSON.
    pub(super) fn stored_type(&self) -> Option<&'static str> {
        match self.kind {
            Type::JSON => Some(JSON),
            Type::JSONB => Some(JSONB),
            _ => None,
        }
    }

    /// Who compares its values.
    pub(super) fn order(&self) -> Order {
        match self.encoding.arrow() {
            // Texts have collations, and what is read as text has an order of its own.
            DataType::Utf8 => Order::Database,
            _ => Order::Value,
        }
    }

    /// How it is decoded when it is wanted as this type: by what it is itself, by the type that is
    /// declared for it, or not at all.
    pub(super) fn encoding(&self, wanted: &DataType) -> Option<Encoding> {
        if *wanted == self.encoding.arrow() {
            return Some(self.encoding.clone());
        }
        let numeric = self.kind == Type::NUMERIC;
        match wanted {
            DataType::Utf8 => Some(Encoding::AsText),
            DataType::Decimal128(precision, scale) if numeric && *scale >= 0 => {
                Some(Encoding::Decimal { precision: *precision, scale: *scale })
            }
            DataType::Float64 if numeric => Some(Encoding::Float8),
            _ => None,
        }
    }

    /// The column (in quotes) so that it has this encoding.
    pub(super) fn expression(&self, quoted: &str, encoding: &Encoding) -> String {
        match encoding.cast(&self.kind) {
            Some(cast) => format!("{quoted}::{cast}"),
            None => quoted.to_owned(),
        }
    }
}

/// The parts of a name as people write it: `public.orders`, `"odd.schema"."Table"`.
pub(in crate::postgres) fn name_parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        let last = parts.len() - 1;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                parts[last].push('"');
            }
            '"' if quoted || parts[last].is_empty() => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other => parts[last].push(other),
        }
    }
    parts
}

/// A name of several parts as people write it, in quotes where it needs them to be read again.
pub(super) fn written(parts: &[&str]) -> String {
    let part = |part: &&str| match part.contains(['.', '"']) {
        true => format!("\"{}\"", part.replace('"', "\"\"")),
        false => (*part).to_owned(),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (name, parts) in [
            ("orders", vec!["orders"]),
            ("public.Orders", vec!["public", "Orders"]),
            ("\"a.b\".\"c\"\"d\"", vec!["a.b", "c\"d"]),
            ("public.odd name", vec!["public", "odd name"]),
        ] {
            assert_eq!(name_parts(name), parts);
            assert_eq!(name_parts(&written(&parts)), parts);
        }
    }
}

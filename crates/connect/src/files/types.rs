//! What was seen in each column, by name, and the columns that follow from it.

use arrow::datatypes::{DataType, Field, Fields};
use std::sync::Arc;

use super::header::ORIGINAL_NAME;
use super::infer::Seen;

/// What was seen in one column, or in one part of a nested one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shape {
    pub(crate) seen: Seen,
    /// The header or key as written, where the name differs.
    pub(crate) original: Option<String>,
    /// Of objects.
    pub(crate) fields: Types,
    /// Of the elements of arrays.
    pub(crate) item: Option<Box<Shape>>,
    /// The type that a file with types (or a table) has.
    pub(crate) arrow: Option<DataType>,
}

impl Shape {
    fn merge(&mut self, other: &Shape) {
        self.seen.add(other.seen);
        if self.original.is_none() {
            self.original.clone_from(&other.original);
        }
        self.fields.merge(&other.fields);
        if let Some(item) = &other.item {
            self.item.get_or_insert_default().merge(item);
        }
        self.arrow = match (self.arrow.take(), &other.arrow) {
            (Some(left), Some(right)) => Some(widest(&left, right)),
            (one, None) => one,
            (None, other) => other.clone(),
        };
    }

    /// The type; `Null` while nothing but NULLs was seen.
    pub(crate) fn data_type(&self) -> DataType {
        match &self.arrow {
            Some(arrow) => widest(arrow, &self.inferred()),
            None => self.inferred(),
        }
    }

    fn inferred(&self) -> DataType {
        if self.seen == Seen::STRUCT {
            // A struct without fields cannot be stored; its text can.
            return match self.fields.is_empty() {
                true => DataType::Utf8,
                false => DataType::Struct(self.fields.arrow_fields()),
            };
        }
        if self.seen == Seen::LIST {
            let item = self.item.as_deref().map_or(DataType::Null, Shape::data_type);
            return DataType::List(Arc::new(Field::new("item", stored(item), true)));
        }
        self.seen.scalar_type().unwrap_or(DataType::Null)
    }
}

/// The type that a column of unknown type is stored with.
fn stored(data_type: DataType) -> DataType {
    match data_type {
        DataType::Null => DataType::Utf8,
        known => known,
    }
}

/// Shapes by name, in the order in which the names were first met.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Types {
    entries: Vec<(String, Shape)>,
    index: std::collections::HashMap<String, usize>,
}

impl Types {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.entries.iter().map(|(name, shape)| (name.as_str(), shape))
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub(crate) fn at(&mut self, position: usize) -> &mut Shape {
        &mut self.entries[position].1
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Shape> {
        self.position(name).map(|position| &self.entries[position].1)
    }

    /// The shape of this name, made if there is none.
    pub(crate) fn entry(&mut self, name: &str) -> &mut Shape {
        let position = match self.position(name) {
            Some(position) => position,
            None => {
                self.index.insert(name.to_owned(), self.entries.len());
                self.entries.push((name.to_owned(), Shape::default()));
                self.entries.len() - 1
            }
        };
        &mut self.entries[position].1
    }

    /// Everything that was seen here or there.
    pub(crate) fn merge(&mut self, other: &Types) {
        for (name, shape) in other.iter() {
            self.entry(name).merge(shape);
        }
    }

    fn arrow_fields(&self) -> Fields {
        self.iter().map(|(name, shape)| field(name, stored(shape.data_type()), shape)).collect()
    }
}

/// A nullable field that remembers the header as written.
pub(crate) fn field(name: &str, data_type: DataType, shape: &Shape) -> Field {
    let field = Field::new(name, data_type, true);
    match &shape.original {
        Some(original) if original != name => {
            field.with_metadata([(ORIGINAL_NAME.to_owned(), original.clone())].into())
        }
        _ => field,
    }
}

/// Whether values of the old type do not tell which text they were read from, and the new type would
/// keep that text.
pub(crate) fn forgets_text(old: &DataType, new: &DataType) -> bool {
    match (old, new) {
        (DataType::Struct(old), DataType::Struct(new)) => old.iter().any(|field| {
            let new = new.find(field.name());
            new.is_some_and(|(_, new)| forgets_text(field.data_type(), new.data_type()))
        }),
        (DataType::List(old), DataType::List(new)) => {
            forgets_text(old.data_type(), new.data_type())
        }
        (old, new) => new.is_string() && !old.is_string() && !old.is_nested(),
    }
}

/// The type that holds the values of both: the wider number, the struct with all fields, else text.
pub(crate) fn widest(left: &DataType, right: &DataType) -> DataType {
    use DataType::{
        Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, List, Null, Struct,
        Timestamp, UInt8, UInt16, UInt32, Utf8,
    };
    // How many bits of an integer a type of whole numbers can have, with its sign.
    let bits = |data_type: &DataType| match data_type {
        Int8 => Some(8),
        UInt8 => Some(9),
        Int16 => Some(16),
        UInt16 => Some(17),
        Int32 => Some(32),
        UInt32 => Some(33),
        Int64 => Some(64),
        _ => None,
    };
    match (left, right) {
        (left, right) if left == right => left.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Float32, Float64) | (Float64, Float32) => Float64,
        (Date32, Timestamp(unit, None)) | (Timestamp(unit, None), Date32) => Timestamp(*unit, None),
        (Timestamp(_, left), Timestamp(_, right)) if left.is_some() == right.is_some() => {
            Timestamp(arrow::datatypes::TimeUnit::Microsecond, left.as_ref().map(|_| "UTC".into()))
        }
        (Decimal128(p1, s1), Decimal128(p2, s2)) => {
            let scale = *s1.max(s2);
            let whole = (i16::from(*p1) - i16::from(*s1)).max(i16::from(*p2) - i16::from(*s2));
            match u8::try_from(whole + i16::from(scale)) {
                Ok(precision) if precision <= 38 => Decimal128(precision, scale),
                _ => Utf8,
            }
        }
        (Struct(left), Struct(right)) => {
            let mut fields: Vec<Field> = left.iter().map(|field| field.as_ref().clone()).collect();
            for field in right {
                match fields.iter_mut().find(|known| known.name() == field.name()) {
                    Some(known) => {
                        let data_type = widest(known.data_type(), field.data_type());
                        *known = known.clone().with_data_type(data_type).with_nullable(true);
                    }
                    None => fields.push(field.as_ref().clone().with_nullable(true)),
                }
            }
            Struct(fields.into())
        }
        (List(left), List(right)) => {
            let item = widest(left.data_type(), right.data_type());
            List(Arc::new(left.as_ref().clone().with_data_type(item).with_nullable(true)))
        }
        (left, right) => match (bits(left), bits(right)) {
            (Some(left), Some(right)) => match left.max(right) {
                0..=16 => Int16,
                17..=32 => Int32,
                _ => Int64,
            },
            // A double holds every integer of up to 53 bits.
            (Some(0..=33), None) if matches!(right, Float32 | Float64) => Float64,
            (None, Some(0..=33)) if matches!(left, Float32 | Float64) => Float64,
            _ => Utf8,
        },
    }
}

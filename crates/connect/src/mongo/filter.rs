//! What is new, in MongoDB's query language.
//!
//! MongoDB compares values of one kind with each other: a document whose cursor is a text is never "not
//! smaller" than a time. So everything that is of another kind is asked for as well, and refused when it
//! comes: nothing is missed silently.

use arrow::datatypes::{DataType, Field};
use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use tidemill_core::{Error, ErrorKind, ReadRequest, Result};

use crate::tables::CursorValue;

/// What the values of a cursor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole numbers.
    Number,
    /// Times.
    Time,
    /// Texts, in the order of their bytes.
    Text,
    /// Ids of MongoDB, which begin with a time.
    ObjectId,
}

impl Kind {
    /// The kind of a value; none of NULL.
    ///
    /// # Errors
    /// What the value is, when it can be no cursor.
    pub(super) fn of(value: &Bson) -> Result<Option<Kind>, &'static str> {
        Ok(Some(match value {
            Bson::Null | Bson::Undefined => return Ok(None),
            Bson::Int32(_) | Bson::Int64(_) => Kind::Number,
            Bson::DateTime(_) => Kind::Time,
            Bson::String(_) => Kind::Text,
            Bson::ObjectId(_) => Kind::ObjectId,
            Bson::Double(_) => return Err("doubles"),
            Bson::Decimal128(_) => return Err("decimals"),
            Bson::Timestamp(_) => return Err("timestamps of the server's own"),
            _ => return Err("values that have no order in time"),
        }))
    }

    /// As the position has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Number => "number",
            Kind::Time => "time",
            Kind::Text => "text",
            Kind::ObjectId => "object_id",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Kind> {
        [Kind::Number, Kind::Time, Kind::Text, Kind::ObjectId]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Data,
                    "the position of the last load is not one of a collection",
                )
            })
    }

    /// What MongoDB calls the types that compare with it.
    fn types(self) -> &'static [&'static str] {
        match self {
            // Of all numbers: one with a fraction is refused, not missed.
            Kind::Number => &["int", "long"],
            Kind::Time => &["date"],
            Kind::Text => &["string"],
            Kind::ObjectId => &["objectId"],
        }
    }

    /// Whether the server says which value is the largest: text has no order here.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Kind::Text | Kind::ObjectId)
    }

    /// Makes the column one that compares as MongoDB does: a text that looks like a date stays text.
    ///
    /// # Errors
    /// Kind `Config` when the project declares another type.
    pub(super) fn declare(self, cursor: &str, request: &mut ReadRequest) -> Result<()> {
        if !self.is_text() {
            return Ok(());
        }
        let ours = crate::files::column_names(&[cursor]);
        let is = |field: &&Field| field.name() == cursor || ours.first() == Some(field.name());
        match request.declared.iter().find(is) {
            Some(field) if !field.data_type().is_string() => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`cursor: {cursor}` is text in the collection and compared as such; it cannot be declared \
                     as {}",
                    field.data_type()
                ),
            )),
            Some(_) => Ok(()),
            None => {
                let name = ours.into_iter().next().unwrap_or_else(|| cursor.to_owned());
                request.declared.push(Field::new(name, DataType::Utf8, true));
                Ok(())
            }
        }
    }
}

/// The value that is read from on.
///
/// # Errors
/// Kind `Data` for a position that is none of a collection.
pub(super) fn since(value: &CursorValue, kind: Option<Kind>) -> Result<Bson> {
    let wrong =
        || Error::new(ErrorKind::Data, "the position of the last load is not one of a collection");
    Ok(match (value, kind) {
        (CursorValue::Integer(number), Some(Kind::Number)) => Bson::Int64(*number),
        // Down to the millisecond: a step back takes no document away.
        (CursorValue::Instant(micros), Some(Kind::Time)) => {
            Bson::DateTime(DateTime::from_millis(micros.div_euclid(1000)))
        }
        (CursorValue::Text(text), Some(Kind::Text)) => Bson::String(text.clone()),
        (CursorValue::Text(text), Some(Kind::ObjectId)) => {
            Bson::ObjectId(ObjectId::parse_str(text).map_err(|error| wrong().because(error))?)
        }
        _ => return Err(wrong()),
    })
}

/// The documents that are asked for: those of the filter that are not before the value, and those whose
/// cursor is something else.
pub(super) fn newer(filter: Document, cursor: &str, since: &Bson, kind: Kind) -> Document {
    let types: Vec<Bson> = kind.types().iter().map(|name| Bson::from(*name)).collect();
    let new = doc! {"$or": [
        {cursor: {"$gte": since.clone()}},
        {cursor: {"$not": {"$type": types}}},
        // A list is of the types of its elements, too.
        {cursor: {"$type": "array"}},
    ]};
    match filter.is_empty() {
        true => new,
        false => doc! {"$and": [filter, new]},
    }
}

/// The value at a path of keys joined by dots.
pub(super) fn at<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    if let Some(value) = document.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    at(document.get_document(first).ok()?, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_has_the_value_or_is_of_another_kind() {
        let since = Bson::Int64(5);
        let filter = newer(doc! {"a": 1}, "n", &since, Kind::Number);
        assert_eq!(
            filter,
            doc! {"$and": [{"a": 1}, {"$or": [
                {"n": {"$gte": 5i64}},
                {"n": {"$not": {"$type": ["int", "long"]}}},
                {"n": {"$type": "array"}},
            ]}]}
        );
        assert!(newer(doc! {}, "n", &since, Kind::Number).contains_key("$or"));
    }

    #[test]
    fn positions_become_values_of_their_kind() {
        let text = CursorValue::Text("6566fa1d2f1e4b0001a1b2c3".to_owned());
        assert!(matches!(since(&text, Some(Kind::ObjectId)).unwrap(), Bson::ObjectId(_)));
        assert!(matches!(since(&text, Some(Kind::Text)).unwrap(), Bson::String(_)));
        let time = CursorValue::Instant(-1);
        assert_eq!(
            since(&time, Some(Kind::Time)).unwrap(),
            Bson::DateTime(DateTime::from_millis(-1))
        );
        assert!(since(&time, Some(Kind::Number)).is_err());
        assert!(since(&time, None).is_err());
        for kind in [Kind::Number, Kind::Time, Kind::Text, Kind::ObjectId] {
            assert_eq!(Kind::parse(kind.name()).unwrap(), kind);
        }
    }

    #[test]
    fn nested_values_are_found() {
        let document = doc! {"a": {"b": {"c": 1}}, "x.y": 2};
        assert_eq!(at(&document, "a.b.c"), Some(&Bson::Int32(1)));
        assert_eq!(at(&document, "x.y"), Some(&Bson::Int32(2)));
        assert_eq!(at(&document, "a.c"), None);
    }
}

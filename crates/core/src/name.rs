//! Names and ids. Each is its own type, so that a swapped argument does not compile.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                $name(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                $name(text)
            }
        }
    };
}

text_id! {
    /// dbt's id of a node: `model.flights.fct_flights`, `source.flights.nyc.weather`.
    UniqueId
}
text_id! {
    /// One invocation of Tidemill. A UUID (version 7, so ids sort by time).
    RunId
}
text_id! {
    /// One publish, before it has a number. A UUID; written into every Delta commit of the publish.
    CommitId
}
text_id! {
    /// A column, in the case that the table stores.
    ColumnName
}

/// The number of an entry in the catalog log: 1, 2, 3, … An entry is a published snapshot of the
/// whole lake.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct EntryNumber(pub u64);

impl fmt::Display for EntryNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The version of one Delta table: 0, 1, 2, …
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct TableVersion(pub u64);

impl fmt::Display for TableVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// A table or view in the lake: schema and name, as stored (unquoted SQL identifiers are lower
/// case).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationName {
    schema: String,
    name: String,
}

impl RelationName {
    /// A relation of a schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        RelationName { schema: schema.into(), name: name.into() }
    }

    /// The schema.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The name within the schema.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The relation as SQL text with both parts quoted: `"shop"."orders"`.
    pub fn quoted(&self) -> String {
        format!("\"{}\".\"{}\"", self.schema.replace('"', "\"\""), self.name.replace('"', "\"\""))
    }

    /// The relation of another lake, as it is named where this lake is read beside it: its schema is
    /// `lake.schema`, which no schema of a lake itself can be called.
    #[must_use]
    pub fn of_lake(&self, lake: &str) -> Self {
        RelationName::new(format!("{lake}.{}", self.schema), &*self.name)
    }

    /// The other lake that it is of, as [`RelationName::of_lake`] named it, and its name in that.
    pub fn elsewhere(&self) -> Option<(&str, RelationName)> {
        let (lake, schema) = self.schema.rsplit_once('.')?;
        Some((lake, RelationName::new(schema, &*self.name)))
    }

    /// Reads `schema.name`.
    pub fn parse(text: &str) -> Option<Self> {
        let (schema, name) = text.split_once('.')?;
        (!schema.is_empty() && !name.is_empty() && !name.contains('.'))
            .then(|| RelationName::new(schema, name))
    }
}

impl fmt::Display for RelationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl Serialize for RelationName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RelationName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let of_lake = || {
            let (lake, rest) = text.split_once('.')?;
            Some(RelationName::parse(rest)?.of_lake(lake))
        };
        RelationName::parse(&text)
            .or_else(of_lake)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not `schema.name`")))
    }
}

//! What a statement writes to: names, columns and the expressions that are assigned to them.

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, ObjectNamePart, TableFactor};
use tidemill_core::{Error, ErrorKind, OverlayEntry, QueryContext, RelationName, Result};

use crate::catalog::INFORMATION_SCHEMA;
use crate::error::nearest;
use crate::names::folded;
use crate::types::sql_name;

/// Resolves the names of one statement against the state that it meets.
pub(crate) struct Names<'a> {
    pub(crate) context: &'a QueryContext,
    pub(crate) databases: &'a [String],
    /// The statement as it was written.
    pub(crate) text: &'a str,
}

/// What has a name.
pub(crate) enum Existing {
    /// A table of these columns.
    Table(SchemaRef),
    /// A view.
    View,
}

impl Names<'_> {
    /// The relation of a name; without a schema it is the session's.
    pub(crate) fn relation(&self, name: &ObjectName) -> Result<RelationName> {
        let parts = parts(name)?;
        let relation = match parts.as_slice() {
            [table] => RelationName::new(&self.context.default_schema, table),
            [schema, table] => RelationName::new(schema, table),
            [database, schema, table] => {
                self.check_database(database)?;
                RelationName::new(schema, table)
            }
            _ => return Err(too_long(name)),
        };
        if relation.schema() == INFORMATION_SCHEMA {
            return Err(Error::new(ErrorKind::Denied, "`information_schema` can only be read"));
        }
        Ok(relation)
    }

    /// A schema, with or without its database.
    pub(crate) fn schema(&self, name: &ObjectName) -> Result<String> {
        match parts(name)?.as_slice() {
            [schema] => Ok(schema.clone()),
            [database, schema] => {
                self.check_database(database)?;
                Ok(schema.clone())
            }
            _ => Err(too_long(name)),
        }
    }

    fn check_database(&self, database: &str) -> Result<()> {
        if self.databases.iter().any(|known| known.eq_ignore_ascii_case(database)) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "database `{database}` does not exist; this lake is `{}`",
                self.databases.first().map_or("lake", String::as_str)
            ),
        ))
    }

    /// What has this name now.
    pub(crate) fn existing(&self, relation: &RelationName) -> Option<Existing> {
        match self.context.overlay.0.get(relation) {
            Some(OverlayEntry::Staged(staged)) => Some(Existing::Table(staged.schema.clone())),
            Some(OverlayEntry::View(_)) => Some(Existing::View),
            Some(OverlayEntry::Absent) => None,
            None => {
                let published = self.context.snapshot.get(relation)?;
                Some(if super::is_view(&published.kind) {
                    Existing::View
                } else {
                    Existing::Table(published.schema.clone())
                })
            }
        }
    }

    /// The columns of a table that must be there.
    pub(crate) fn table(&self, relation: &RelationName) -> Result<SchemaRef> {
        match self.existing(relation) {
            Some(Existing::Table(schema)) => Ok(schema),
            Some(Existing::View) => Err(Error::new(
                ErrorKind::Query,
                format!("`{relation}` is a view: it has no rows of its own to be changed"),
            )),
            None => Err(self.missing(relation)),
        }
    }

    /// The error for a relation that is not there.
    pub(crate) fn missing(&self, relation: &RelationName) -> Error {
        let known: Vec<String> =
            self.context.snapshot.relations.keys().map(ToString::to_string).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let near = nearest(&relation.to_string(), &known)
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        Error::new(ErrorKind::NotFound, format!("relation `{relation}` does not exist{near}"))
    }

    /// The target of `update` and `merge`: its name, columns, how the text names it in `from`, and
    /// what stands before its columns.
    pub(crate) fn target(&self, factor: &TableFactor) -> Result<Target> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return Err(super::unsupported("a target that is not a table", ""));
        };
        let relation = self.relation(name)?;
        let schema = self.table(&relation)?;
        let qualifier = match alias {
            Some(alias) => quoted(&folded(&alias.name)),
            None => quoted(relation.name()),
        };
        Ok(Target { relation, schema, from: factor.to_string(), qualifier })
    }
}

/// A table that rows of are changed.
pub(crate) struct Target {
    pub(crate) relation: RelationName,
    pub(crate) schema: SchemaRef,
    /// As it stands in a `from` clause.
    pub(crate) from: String,
    /// What its columns are called by.
    pub(crate) qualifier: String,
}

impl Target {
    /// A column as it is.
    pub(crate) fn own(&self, column: &str) -> String {
        format!("{}.{}", self.qualifier, quoted(column))
    }

    /// All columns as they are.
    pub(crate) fn all(&self) -> String {
        self.select(|_| None)
    }

    /// The list of all columns, some of them with another value.
    pub(crate) fn select(&self, value: impl Fn(&str) -> Option<String>) -> String {
        let columns = self.schema.fields().iter().map(|field| {
            let name = field.name();
            match value(name) {
                Some(value) => {
                    format!("{} as {}", assigned(&value, field.data_type()), quoted(name))
                }
                None => format!("{} as {}", self.own(name), quoted(name)),
            }
        });
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The column that is meant, or an error that lists what there is.
    pub(crate) fn column(&self, name: &ObjectName) -> Result<String> {
        let Some(ObjectNamePart::Identifier(ident)) = name.0.last() else {
            return Err(too_long(name));
        };
        column_of(&self.schema, ident, &self.relation)
    }
}

/// The column of a table that a name means.
pub(crate) fn column_of(schema: &Schema, ident: &Ident, of: &RelationName) -> Result<String> {
    let wanted = folded(ident);
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let found = names.iter().find(|name| **name == wanted).or_else(|| {
        // A table that others wrote may have capital letters.
        let free = ident.quote_style.is_none();
        names.iter().find(|name| free && name.eq_ignore_ascii_case(&wanted))
    });
    match found {
        Some(name) => Ok((*name).to_owned()),
        None => Err(Error::new(
            ErrorKind::Query,
            format!("`{of}` has no column `{wanted}`; it has {}", names.join(", ")),
        )),
    }
}

/// An expression made the type of the column that it is assigned to, by PostgreSQL's rules.
pub(crate) fn assigned(expression: &str, data_type: &DataType) -> String {
    let plain = matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Utf8
            | DataType::Date32
            | DataType::Binary
            | DataType::Decimal128(..)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    );
    if plain {
        format!("cast({expression} as {})", sql_name(data_type))
    } else {
        // Lists and structs must have the right type already; the store says when they have not.
        format!("({expression})")
    }
}

/// A name in double quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A relation in double quotes.
pub(crate) fn quoted_relation(relation: &RelationName) -> String {
    format!("{}.{}", quoted(relation.schema()), quoted(relation.name()))
}

fn parts(name: &ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(folded(ident)),
            ObjectNamePart::Function(_) => Err(too_long(name)),
        })
        .collect()
}

fn too_long(name: &ObjectName) -> Error {
    Error::new(ErrorKind::Query, format!("`{name}` is not the name of a relation"))
}

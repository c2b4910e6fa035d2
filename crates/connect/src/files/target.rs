//! The columns that a read delivers.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_core::{Error, ErrorKind, Result};

use super::column::{Kind, Reading};
use super::infer::Seen;
use super::read::Load;
use super::settings::{Decimals, NullColumns};
use super::types::{Types, field};

/// The columns that a read delivers, and how each is read.
pub(crate) struct Target {
    /// Names of the columns, without the two of ours at the end.
    pub(crate) names: Vec<String>,
    /// What the types were made from, in the same order.
    pub(crate) types: Types,
    pub(crate) readings: Vec<Reading>,
    /// The columns, with ours.
    pub(crate) schema: SchemaRef,
}

impl Target {
    pub(crate) fn build(types: &Types, load: &Load) -> Result<Target> {
        let mut fields = Vec::with_capacity(types.len() + 2);
        let mut readings = Vec::with_capacity(types.len());
        let mut names = Vec::with_capacity(types.len());
        for (name, shape) in types.iter() {
            let fixed = fixed_type(name, shape.seen, load)?;
            let declared = fixed.is_some();
            let nothing = shape.arrow.is_none()
                && matches!(shape.seen, Seen::NOTHING | Seen::QUOTED_NULL)
                && load.settings.written.null_columns == NullColumns::Integer;
            let inferred = fixed.unwrap_or_else(|| match nothing {
                true => DataType::Int64,
                false => shape.data_type(),
            });
            let kind = match Kind::of(&inferred) {
                Some(kind) => kind,
                // Nested: read by the JSON reader alone, which looks at the type. Files with types
                // are not read by kinds at all.
                None if inferred.is_nested() || shape.arrow.is_some() => Kind::Text,
                None => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!(
                            "column `{name}` is declared as {inferred}, which files cannot be \
                             read as; declare it as text and cast it in a model"
                        ),
                    ));
                }
            };
            let kind = match kind {
                Kind::Text if !declared && shape.seen == Seen::QUOTED_NULL => Kind::QuotedNulls,
                kind => kind,
            };
            // Files with types bring what no text is read as, too: bytes, say.
            let unread = Kind::of(&inferred).is_none();
            let as_it_is = inferred.is_nested() || (shape.arrow.is_some() && (!declared || unread));
            let data_type = if as_it_is { inferred } else { kind.data_type() };
            fields.push(field(name, data_type, shape));
            let rounds = declared && load.settings.written.decimals == Decimals::Rounded;
            readings.push(Reading { kind, declared, rounds, formats: Arc::clone(&load.formats) });
            names.push(name.to_owned());
        }
        let ours = [
            (&load.settings.file_column, DataType::Utf8),
            (&load.settings.row_column, DataType::Int64),
        ];
        for (column, data_type) in ours {
            let Some(column) = column else { continue };
            if types.position(column).is_some() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "the files have a column `{column}`; give ours another name with \
                         `source_file_column` or `source_row_column`"
                    ),
                ));
            }
            fields.push(Field::new(column, data_type, true));
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(Target { names, types: types.clone(), readings, schema })
    }
}

/// A type that inference must not touch: a declared one, or one that a table has and inference
/// never gives.
fn fixed_type(name: &str, seen: Seen, load: &Load) -> Result<Option<DataType>> {
    let same = |field: &&Field| field.name() == name;
    let alike = |field: &&Field| field.name().eq_ignore_ascii_case(name);
    let declared = &load.declared;
    if let Some(declared) = declared.iter().find(same).or_else(|| declared.iter().find(alike)) {
        return Ok(Some(declared.data_type().clone()));
    }
    let known = load.known.as_ref().and_then(|known| known.field_with_name(name).ok());
    Ok(match known.map(Field::data_type) {
        Some(known)
            if Seen::of_type(known).is_none() && !known.is_nested() && seen != Seen::TEXT =>
        {
            Some(known.clone())
        }
        _ => None,
    })
}

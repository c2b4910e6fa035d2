//! The columns of lines that have places.

use arrow::datatypes::DataType;
use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result, sql_type};

use crate::files::settings::{FileFormat, TableSettings};

/// A column as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedField {
    /// Its name.
    pub name: String,
    /// Its first character, counted from 1.
    pub start: usize,
    /// How many characters it has.
    pub length: usize,
    /// Its SQL type. Default: by what stands there.
    #[serde(rename = "type")]
    pub data_type: Option<String>,
}

/// A column with its place: the first character and the one behind the last, counted from 0.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) data_type: Option<DataType>,
}

impl Column {
    /// The columns that the settings say.
    pub(crate) fn resolve(settings: &TableSettings) -> Result<Vec<Column>> {
        let wrong = |message: String| Error::new(ErrorKind::Config, message);
        let is_fixed = settings.format == Some(FileFormat::Fixed);
        match (is_fixed, settings.fields.is_empty()) {
            (true, true) => {
                return Err(wrong(
                    "`format: fixed` needs `fields`: the columns and their places".into(),
                )
                .with("help", "fields: [{name: id, start: 1, length: 8}, …]"));
            }
            (false, false) => return Err(wrong("`fields` is for `format: fixed`".into())),
            _ => {}
        }
        let mut columns: Vec<Column> = Vec::with_capacity(settings.fields.len());
        for field in &settings.fields {
            let name = field.name.trim();
            if name.is_empty() {
                return Err(wrong("a column of `fields` has no name".into()));
            }
            if columns.iter().any(|known| known.name == name) {
                return Err(wrong(format!("`fields` has two columns `{name}`")));
            }
            let from = field.start.checked_sub(1);
            let place = from.zip(from.and_then(|from| from.checked_add(field.length)));
            let (from, to) = place.filter(|(from, to)| to > from).ok_or_else(|| {
                wrong(format!("column `{name}` of `fields`: `start` and `length` begin with 1"))
            })?;
            let data_type = match &field.data_type {
                None => None,
                Some(text) => Some(sql_type(text).ok_or_else(|| {
                    wrong(format!("column `{name}` of `fields`: the type `{text}` is not known"))
                })?),
            };
            columns.push(Column { name: name.to_owned(), from, to, data_type });
        }
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        for (settings, says) in [
            (json!({"format": "fixed"}), "needs `fields`"),
            (json!({"fields": [{"name": "a", "start": 1, "length": 1}]}), "is for `format: fixed`"),
            (
                json!({"format": "fixed", "fields": [{"name": "a", "start": 0, "length": 1}]}),
                "begin with 1",
            ),
            (
                json!({"format": "fixed", "fields": [{"name": "a", "start": 1, "length": 1, "type": "x"}]}),
                "`x` is not known",
            ),
        ] {
            let mut settings = settings;
            settings["location"] = "a".into();
            let error = TableSettings::parse(&settings).unwrap().resolve().unwrap_err().report();
            assert!(error.contains(says), "{error}");
        }
        let settings = json!({"fields": [{"name": "a", "start": 1, "lenght": 1}]});
        let error = TableSettings::parse(&settings).unwrap_err().report();
        assert!(error.contains("`fields`") && error.contains("lenght"), "{error}");
    }
}

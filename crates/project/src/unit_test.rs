//! Unit tests: what a model's query gives for rows that the test makes up.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tidemill_core::UniqueId;

/// A test of a model's logic.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitTestSpec {
    /// The model that is tested.
    pub model: UniqueId,
    /// What stands in for what the model reads.
    pub given: Vec<UnitTestInput>,
    /// The rows that its query has to give.
    pub expect: FixtureRows,
    /// What macros, vars and environment variables are in this test.
    pub overrides: UnitTestOverrides,
    /// `given`, `expect`, `overrides` and `versions` as written.
    pub written: Value,
}

impl UnitTestSpec {
    /// The nodes and sources that have rows of their own in this test.
    pub fn inputs(&self) -> BTreeSet<UniqueId> {
        self.given.iter().map(|input| input.node.clone()).collect()
    }
}

/// One input.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitTestInput {
    /// As written: `ref('orders')`.
    pub input: String,
    /// The node or source; the model itself for `this`.
    pub node: UniqueId,
    /// Its rows.
    pub rows: FixtureRows,
}

/// Rows that a test makes up.
#[derive(Debug, Clone, PartialEq)]
pub enum FixtureRows {
    /// By column. A column that a row leaves out is NULL.
    Rows(Vec<Map<String, Value>>),
    /// A query (a template).
    Sql(String),
}

/// What is different in a test from a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UnitTestOverrides {
    /// What macros give, by their names (`is_incremental`, `dbt_utils.star`).
    pub macros: Map<String, Value>,
    /// Vars.
    pub vars: Map<String, Value>,
    /// Environment variables.
    pub env_vars: Map<String, Value>,
}

/// The rows of a CSV text: an empty field is NULL.
///
/// # Errors
/// The line of a row that has more fields than the header, or of a quote that is not closed.
pub(crate) fn rows_of_csv(text: &str) -> Result<Vec<Map<String, Value>>, String> {
    let records = records_of_csv(text)?;
    let mut records = records.into_iter();
    let Some((_, header)) = records.next() else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    for (line, fields) in records {
        if fields.len() > header.len() {
            return Err(format!("line {line} has more fields than the header"));
        }
        let values = fields.into_iter().map(|field| match field {
            text if text.is_empty() => Value::Null,
            text => Value::String(text),
        });
        let all = values.chain(std::iter::repeat(Value::Null));
        rows.push(header.iter().cloned().zip(all).collect());
    }
    Ok(rows)
}

fn records_of_csv(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut records = Vec::new();
    let mut fields: Vec<String> = Vec::new();
    let (mut field, mut quoted, mut started) = (String::new(), false, false);
    let (mut line, mut first) = (1, 1);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\n' {
            line += 1;
        }
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => (quoted, started) = (true, true),
            ',' if !quoted => {
                fields.push(std::mem::take(&mut field));
                started = true;
            }
            '\r' if !quoted && letters.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                if started || !field.is_empty() {
                    fields.push(std::mem::take(&mut field));
                    records.push((first, std::mem::take(&mut fields)));
                }
                (started, first) = (false, line);
            }
            other => field.push(other),
        }
    }
    if quoted {
        return Err(format!("a quote in line {first} is not closed"));
    }
    if started || !field.is_empty() {
        fields.push(field);
        records.push((first, fields));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn csv_is_read_as_text_and_nulls() {
        let rows = rows_of_csv("a,b\r\n1,\"x, \"\"y\"\"\"\n\n,\"two\nlines\"\n3").unwrap();
        assert_eq!(
            Value::from_iter(rows.into_iter().map(Value::Object)),
            json!([
                {"a": "1", "b": "x, \"y\""},
                {"a": null, "b": "two\nlines"},
                {"a": "3", "b": null},
            ])
        );
        assert_eq!(rows_of_csv("").unwrap(), vec![]);
        assert!(rows_of_csv("a\n1,2").unwrap_err().contains("line 2"));
        assert!(rows_of_csv("a\n\"1").unwrap_err().contains("line 2"));
    }
}

//! dbt-duckdb's `external` models: a file and a view of it there, a table and a file here.

use serde_json::{Map, Value, json};
use tidemill_core::Diagnostic;

use super::draft::Draft;
use super::nodes::Builder;
use crate::config::Layer;

impl Builder<'_> {
    /// Where the rows of such a model are written, in the settings of an export to files. Nothing
    /// where that cannot be done, which is told.
    pub(super) fn external(
        &mut self,
        what: &str,
        merged: &Layer,
        draft: &Draft,
    ) -> Option<Map<String, Value>> {
        let text = |key: &str| merged.values.get(key).and_then(Value::as_str);
        let options = merged.values.get("options").and_then(Value::as_object);
        let option = |keys: &[&str]| {
            let options = options?;
            options
                .iter()
                .find(|(name, _)| keys.iter().any(|key| name.eq_ignore_ascii_case(key)))
                .map(|(_, value)| value)
        };
        let location = text("location").map(str::to_owned);
        let of_name = location.as_deref().and_then(|location| {
            let name = location.rsplit('/').next()?;
            let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
            Some(name.rsplit_once('.')?.1.to_lowercase())
        });
        let format = text("format").map(str::to_lowercase).or(of_name);
        let format = format.unwrap_or_else(|| "parquet".to_owned());
        let partition_by: Vec<String> = match option(&["partition_by"]) {
            Some(Value::String(names)) => names
                .trim_matches(['(', ')'])
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect(),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let alias = text("alias").unwrap_or(&draft.name);
        let mut location = location.unwrap_or_else(|| {
            let root = self.manifest.target.extra.get("external_root").and_then(Value::as_str);
            let root = root.unwrap_or(".").trim_end_matches('/');
            match partition_by.is_empty() {
                true => format!("{root}/{alias}.{format}"),
                false => format!("{root}/{alias}"),
            }
        });
        let unwritten = match format.as_str() {
            _ if location.contains("://") => Some("files of the network are not written"),
            "parquet" | "csv" | "json" => None,
            _ => Some("it is written as parquet, csv or json only"),
        };
        if let Some(why) = unwritten {
            self.unwritten(what, why, merged, draft);
            return None;
        }
        if !partition_by.is_empty() && !location.ends_with('/') {
            location.push('/');
        }
        let location = location.strip_prefix("./").unwrap_or(&location).to_owned();
        let mut to = Map::new();
        to.insert("path".to_owned(), json!(location));
        // DuckDB writes a record a line.
        let written = if format == "json" { "ndjson" } else { format.as_str() };
        to.insert("format".to_owned(), json!(written));
        if !partition_by.is_empty() {
            to.insert("partition_by".to_owned(), json!(partition_by));
        }
        if format == "csv" {
            let delimiter = text("delimiter").map(Value::from);
            let delimiter = delimiter.or_else(|| option(&["delimiter", "delim", "sep"]).cloned());
            if let Some(delimiter) = delimiter {
                to.insert("delimiter".to_owned(), delimiter);
            }
            if let Some(header) = option(&["header"]).and_then(Value::as_bool) {
                to.insert("header".to_owned(), json!(header));
            }
            if let Some(written) = option(&["null", "nullstr"]).and_then(Value::as_str) {
                to.insert("null".to_owned(), json!(written));
            }
        }
        if let Some(codec) = option(&["codec", "compression"]).and_then(Value::as_str) {
            let codec = match codec.to_lowercase().as_str() {
                "uncompressed" | "none" => "none".to_owned(),
                other => other.to_owned(),
            };
            to.insert("compression".to_owned(), json!(codec));
        }
        Some(to)
    }

    fn unwritten(&mut self, what: &str, why: &str, merged: &Layer, draft: &Draft) {
        let place = merged.positions.get("materialized").unwrap_or(&draft.position);
        let diagnostic = Diagnostic::warning(
            "external-model",
            format!(
                "{what} is `external`: it is built as a table of the lake, without its file; {why}"
            ),
        )
        .at(place.clone())
        .hint("write the file with an export (exports.yml), or set `location` to a local file");
        let known = self
            .diagnostics
            .iter()
            .any(|other| other.position == diagnostic.position && other.code == diagnostic.code);
        if !known {
            self.diagnostics.push(diagnostic);
        }
    }
}

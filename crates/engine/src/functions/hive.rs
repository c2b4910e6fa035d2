//! Parts of a path that are values: `data/year=2024/kind=a/rows.parquet`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::simple::{Simple, arity, gives_text, text, text_at};

/// Gives the value that a path has under a key.
pub(crate) const HIVE: &str = "tidemill_hive";

pub(super) fn function() -> ScalarUDF {
    fn two(types: &[DataType]) -> Result<Vec<DataType>> {
        arity(HIVE, types, 2, 2)?;
        Ok(vec![DataType::Utf8View; 2])
    }
    Simple::function(HIVE, two, gives_text, |args, _| {
        let (paths, keys) = (text(&args[0]), text(&args[1]));
        let mut out = StringViewBuilder::with_capacity(paths.len());
        for row in 0..paths.len() {
            let value = text_at(paths, row).zip(text_at(keys, row)).and_then(|(path, key)| {
                let found = values_of(path).into_iter().find(|(known, _)| known == key);
                found.and_then(|(_, value)| value)
            });
            out.append_option(value);
        }
        Ok(Arc::new(out.finish()) as ArrayRef)
    })
}

/// The keys of a path's folders and their values.
pub(crate) fn values_of(path: &str) -> Vec<(String, Option<String>)> {
    let Some((folders, _)) = path.rsplit_once(['/', '\\']) else { return Vec::new() };
    folders
        .split(['/', '\\'])
        .filter_map(|folder| folder.split_once('='))
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| {
            let value = (value != "__HIVE_DEFAULT_PARTITION__").then(|| decoded(value));
            (decoded(key), value)
        })
        .collect()
}

fn decoded(text: &str) -> String {
    super::duckdb::decoded(text).unwrap_or_else(|_| text.to_owned())
}

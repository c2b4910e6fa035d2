//! Runs the files under `tests/slt`: SQL and what it must give.

use std::path::Path;

use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};
use tidemill_core::{Engine, Error};

use crate::support::Setup;

struct Database(Setup);

#[async_trait::async_trait]
impl sqllogictest::AsyncDB for Database {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let stream = self.0.engine.query(sql, &self.0.context()).await?;
        let types = vec![DefaultColumnType::Text; stream.schema.fields().len()];
        let batches: Vec<_> = stream.batches.try_collect().await?;
        let options = FormatOptions::default().with_null("NULL");
        let mut rows = Vec::new();
        for batch in &batches {
            let columns: Vec<ArrayFormatter> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                rows.push(
                    columns
                        .iter()
                        .zip(batch.columns())
                        .map(|(format, column)| {
                            let text = format.value(row).to_string();
                            match text.is_empty() && !column.is_null(row) {
                                true => "(empty)".to_owned(),
                                false => text,
                            }
                        })
                        .collect(),
                );
            }
        }
        Ok(DBOutput::Rows { types, rows })
    }

    fn engine_name(&self) -> &str {
        "tidemill"
    }

    async fn shutdown(&mut self) {}
}

#[tokio::test]
async fn every_file_gives_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    let mut wrong = Vec::new();
    for file in &files {
        let mut runner = Runner::new(|| async { Ok(Database(Setup::new())) });
        let records = sqllogictest::parse_file(file).unwrap();
        for record in records {
            if let Err(error) = runner.run_async(record).await {
                wrong.push(format!("{}: {error}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} failures\n{}", wrong.len(), wrong.join("\n\n"));
}

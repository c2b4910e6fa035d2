//! A history: rows of the stream end rows that are there, and add others
//! ([`WriteMode::History`](tidemill_core::WriteMode::History)).
//!
//! What ends is held in memory as a key of 16 bytes and the value of one column; what is added goes
//! to files of its own as it comes. Then the files that may hold a row that ends are looked through
//! by their key columns, and only those with such a row are written again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;
use object_store::path::Path;
use serde_json::json;
use tidemill_core::{
    BatchStream, Error, ErrorKind, NullKeys, Observer, Result, ResultExt, Staged, history,
};

use super::columns::conform_array;
use super::keys::{KeyCollector, Repeated};
use super::patch::Patch;
use super::rewrite::{Matches, Replacement, Rewrite};
use super::sink::{Done, feed};
use super::{Plan, Went, columns_of_table, hash};
use crate::delta::LiveFile;
use crate::lake::{Inner, lock};

/// What of the mode the stage needs.
#[derive(Debug, Clone)]
pub(crate) struct History {
    /// Columns by which rows that end are found.
    pub key: Vec<String>,
    /// The column that such a row gets another value in.
    pub until: String,
}

/// The rows that end: their keys, numbered, and the new value of each.
struct Ends {
    collector: KeyCollector,
    schema: SchemaRef,
    until: DataType,
    values: Vec<ArrayRef>,
    rows: u64,
}

impl Ends {
    fn new(schema: &Schema, history: &History) -> Result<Self> {
        let of = |name: &String| {
            schema.field_with_name(name).cloned().map_err(|_| {
                Error::new(ErrorKind::Config, "a column of the history is not in its table")
                    .with("column", name)
            })
        };
        let fields = history.key.iter().map(of).collect::<Result<Vec<_>>>()?;
        let until = of(&history.until)?.data_type().clone();
        let collector = KeyCollector::new(
            schema,
            &history.key,
            true,
            Repeated::Keep,
            NullKeys::Insert,
            usize::MAX,
        )?;
        Ok(Ends {
            collector,
            schema: Arc::new(Schema::new(fields)),
            until,
            values: Vec::new(),
            rows: 0,
        })
    }

    /// Notes rows that end, all of them of this batch.
    fn note(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(number, field)| {
                conform_array(control(batch, &history::key(number))?, field.data_type())
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let keys = RecordBatch::try_new(self.schema.clone(), keys)
            .or_error(ErrorKind::Internal, "the keys of a history cannot be read")?;
        self.collector.collect(&keys)?;
        self.values.push(conform_array(control(batch, history::UNTIL)?, &self.until)?);
        self.rows += batch.num_rows() as u64;
        Ok(())
    }
}

fn control<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "the rows of a history lack a column").with("column", name)
    })
}

/// Takes the rows that end out of a batch, and gives those that are added.
fn split(batch: &RecordBatch, table: &SchemaRef, ends: &Mutex<Ends>) -> Result<RecordBatch> {
    let flags = |name: &str| -> Result<BooleanArray> {
        control(batch, name)?.as_boolean_opt().cloned().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a flag of a history is not boolean")
                .with("column", name)
        })
    };
    let filter = |rows: &RecordBatch, flags: &BooleanArray| -> Result<RecordBatch> {
        if flags.true_count() == rows.num_rows() {
            return Ok(rows.clone());
        }
        arrow::compute::filter_record_batch(rows, flags)
            .or_error(ErrorKind::Internal, "rows cannot be filtered")
    };
    let ending = flags(history::ENDS)?;
    if ending.true_count() > 0 {
        lock(ends).note(&filter(batch, &ending)?)?;
    }
    let columns = table
        .fields()
        .iter()
        .map(|field| control(batch, field.name()).cloned())
        .collect::<Result<Vec<_>>>()?;
    let rows = RecordBatch::try_new(table.clone(), columns)
        .or_error(ErrorKind::Internal, "the rows of a history cannot be read")?;
    filter(&rows, &flags(history::ADDS)?)
}

impl Plan {
    /// Ends rows of the table and adds others.
    pub(super) async fn end_and_add(
        self,
        inner: &Arc<Inner>,
        history: History,
        rows: BatchStream,
        observers: Vec<Box<dyn Observer>>,
    ) -> Result<Staged> {
        if self.base.table.is_none() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the table of the history is not there any more",
            ));
        }
        if self.partition_by.contains(&history.until) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a history cannot be partitioned by the column that says until when a row held",
            )
            .with("column", &history.until));
        }
        let ends = Arc::new(Mutex::new(Ends::new(&self.evolution.schema, &history)?));
        let columns = columns_of_table(&rows.schema);
        let added = {
            let (ends, columns) = (ends.clone(), columns.clone());
            rows.batches.map(move |batch| split(&batch?, &columns, &ends))
        };
        let base_hash = self.base.hash.as_deref().and_then(hash::from_text);
        let mut sink = self.sink(inner, base_hash.is_some())?;
        sink.observers = observers;
        let mut done = feed(BatchStream::new(columns, added), sink).await?;
        let ends = Arc::try_unwrap(ends)
            .map(|ends| ends.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        let Ok(ends) = ends else {
            return Err(Error::new(ErrorKind::Internal, "the rows of a history are still read"));
        };
        let mut files = done.files.clone();
        match self.end(inner, &history, ends, &mut done, &mut files).await {
            Ok((removed, rows_changed, hash)) => {
                let went = Went { files: removed, rows: rows_changed, hash };
                self.staged_change(
                    "upsert",
                    json!({"key": history.key.join(", "), "until": history.until}),
                    done,
                    went,
                    files,
                )
            }
            Err(error) => {
                let _ = inner.storage.delete_all(files).await;
                Err(error)
            }
        }
    }

    /// Writes the files again that hold rows that end. Gives the paths of files that go, how many
    /// rows ended, and by how much the hash changes.
    async fn end(
        &self,
        inner: &Arc<Inner>,
        history: &History,
        ends: Ends,
        done: &mut Done,
        files: &mut Vec<Path>,
    ) -> Result<(Vec<String>, u64, Option<u128>)> {
        let Some(table) = &self.base.table else { return Ok((Vec::new(), 0, Some(0))) };
        let Ends { mut collector, values, .. } = ends;
        let mut matches = Matches::default();
        if !values.is_empty() {
            collector.finish()?;
            self.find(inner, table, &mut collector, &mut matches).await?;
        }
        drop(collector);
        let touched: Vec<_> = table
            .files
            .values()
            .filter(|file| self.evolution.rewrite || matches.rows.contains_key(&file.add.path))
            .cloned()
            .collect();
        if touched.is_empty() {
            return Ok((Vec::new(), 0, Some(0)));
        }
        let ended = matches.rows.values().map(|rows| rows.len() as u64).sum();
        let field = self
            .evolution
            .schema
            .field_with_name(&history.until)
            .or_error(ErrorKind::Internal, "a column of the history is not in its table")?;
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        let parts: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        let values = if parts.is_empty() {
            arrow::array::new_empty_array(field.data_type())
        } else {
            arrow::compute::concat(&parts)
                .or_error(ErrorKind::Internal, "values cannot be joined")?
        };
        let values = RecordBatch::try_new(schema, vec![values])
            .or_error(ErrorKind::Internal, "values cannot be joined")?;
        let removed = touched.iter().map(|file| file.add.path.clone()).collect();
        let hashed = done.hash.is_some() && self.base.hash.is_some();
        // Where no hash of rows has to be kept, and no column gets another type, the other columns of
        // a file stay the bytes that they are.
        let touched = if hashed || self.evolution.rewrite {
            touched
        } else {
            let column = values.column(0).clone();
            self.patch(inner, touched, &matches.rows, field, &column, done, files).await?
        };
        if touched.is_empty() {
            return Ok((removed, ended, None));
        }
        let mut rewrite = Rewrite::new(table.clone(), self.evolution.schema.clone());
        rewrite.matches = Arc::new(matches.rows);
        rewrite.replacement = Some(Arc::new(Replacement { rows: values, positions: None }));
        rewrite.hashed = hashed;
        let stream = rewrite.stream(inner, touched);
        let rewritten = feed(stream, self.sink(inner, false)?).await?;
        files.extend(rewritten.files);
        done.written.extend(rewritten.written);
        let change = (*lock(&rewrite.hash_change)).filter(|_| hashed);
        Ok((removed, ended, change))
    }

    /// Patches the files that can be, side by side; gives back those that cannot.
    #[expect(clippy::too_many_arguments, reason = "everything that the files are made of")]
    async fn patch(
        &self,
        inner: &Arc<Inner>,
        touched: Vec<Arc<LiveFile>>,
        matches: &HashMap<String, Vec<(u32, u32)>>,
        column: &Field,
        values: &ArrayRef,
        done: &mut Done,
        files: &mut Vec<Path>,
    ) -> Result<Vec<Arc<LiveFile>>> {
        let mut rest = Vec::new();
        let plan = Arc::new(self.clone());
        let tasks: Vec<_> = touched
            .into_iter()
            .map(|file| {
                let rows = matches.get(&file.add.path).cloned().unwrap_or_default();
                let patch = Patch { column: column.clone(), values: values.clone(), rows };
                let (plan, inner) = (plan.clone(), inner.clone());
                let runtime = tokio::runtime::Handle::current();
                async move {
                    tokio::task::spawn_blocking(move || {
                        let mut started = Vec::new();
                        let written = plan.patched(&inner, &runtime, &file, &patch, &mut started);
                        (file, started, written)
                    })
                    .await
                    .or_error(ErrorKind::Internal, "a background task failed")
                }
            })
            .collect();
        let mut running =
            futures::stream::iter(tasks).buffer_unordered(inner.options.parallelism.max(1));
        let mut failed = None;
        while let Some(ended) = running.next().await {
            let (file, started, written) = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
            };
            files.extend(started);
            match written {
                Ok(Some(written)) => done.written.push(written),
                Ok(None) => rest.push(file),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(rest), Err)
    }
}

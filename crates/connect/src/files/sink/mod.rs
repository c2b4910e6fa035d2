//! Files as a sink: a state of a relation becomes one file, or the files of a folder.
//!
//! A file gets its name when it is whole. The record of a delivery is a small file beside, put after
//! the files that it names: with `mode: full` there is one for each export, with `mode: append` one
//! for each state. A delivery that is made again writes files of the same names, so that its rows are
//! there once; what an unfinished one has left is taken away after the next.

mod encode;
mod place;
mod settings;
mod workbook;

use std::collections::BTreeSet;

use arrow::array::{Array, RecordBatch};
use arrow::compute::partition;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidemill_core::{
    BatchStream, Delivered, Delivery, DeliveryMode, Error, ErrorKind, Result, ResultExt, Sink,
    display_value,
};
use tokio::runtime::Handle;
use xxhash_rust::xxh3::xxh3_64;

use super::Root;
use crate::failpoint::failpoint;
use crate::stream::blocking;
use encode::Encoder;
use place::{Output, Place};
use settings::Layout;

/// The folder of the records.
const RECORDS: &str = "_tidemill_deliveries";

/// The value of a partition that is NULL, as Hive writes it.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Files below a folder, or in a store.
#[derive(Debug)]
pub(super) struct FilesSink {
    place: Place,
}

impl FilesSink {
    pub(super) fn new(root: Root) -> Result<Self> {
        match root {
            Root::Folder(folder) => Ok(FilesSink { place: Place::Folder(folder) }),
            Root::Store(store) => Ok(FilesSink { place: Place::Store(store) }),
            Root::Tree(tree) => Ok(FilesSink { place: Place::Store(tree.opened()) }),
            Root::Web { .. } => Err(Error::new(
                ErrorKind::Unsupported,
                "files of an HTTP server are read, and not written",
            )),
        }
    }
}

/// What was delivered.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    export: String,
    relation: String,
    state: String,
    mode: String,
    to: serde_json::Map<String, serde_json::Value>,
    run: String,
    rows: u64,
    files: Vec<Written>,
}

/// A file of a delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Written {
    path: String,
    rows: u64,
    bytes: u64,
}

const FORMAT: u32 = 1;

#[async_trait]
impl Sink for FilesSink {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let work = Work::new(&self.place, delivery)?;
        blocking(move || work.is_delivered()).await
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let work = Work::new(&self.place, delivery)?;
        blocking(move || work.deliver(rows)).await
    }
}

/// One delivery.
struct Work {
    place: Place,
    delivery: Delivery,
    layout: Layout,
    handle: Handle,
    /// The export, as a part of names.
    tag: String,
    /// The delivery, as a part of names: the same for the same state.
    id: String,
}

/// A name as a part of a file's name.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '_' };
    name.chars().map(plain).collect()
}

impl Work {
    fn new(place: &Place, delivery: &Delivery) -> Result<Work> {
        let layout = Layout::parse(&delivery.to, &delivery.mode)?;
        let Delivery { export, relation, state, mode, to, .. } = delivery;
        let mut id = format!("{export}\0{relation}\0{state}\0{}", mode.record());
        if *mode == DeliveryMode::Full {
            // Files of another look do not take the place of those that are there one by one.
            id.push_str(&serde_json::Value::Object(to.clone()).to_string());
        }
        if delivery.again {
            id.push_str(delivery.run.as_str());
        }
        Ok(Work {
            place: place.clone(),
            layout,
            handle: Handle::current(),
            tag: format!("{:08x}", xxh3_64(export.as_bytes()) >> 32),
            id: format!("{:016x}", xxh3_64(id.as_bytes())),
            delivery: delivery.clone(),
        })
    }

    fn record_name(&self) -> String {
        let (folder, export) = (&self.layout.folder, plain(&self.delivery.export));
        match self.delivery.mode {
            DeliveryMode::Full => format!("{folder}{RECORDS}/{export}.json"),
            _ => format!("{folder}{RECORDS}/{export}/{}.json", self.id),
        }
    }

    fn record(&self) -> Result<Option<Record>> {
        let Some(content) = self.place.get(&self.record_name(), &self.handle)? else {
            return Ok(None);
        };
        // What cannot be read is no record of ours.
        Ok(serde_json::from_slice(&content).ok().filter(|record: &Record| record.format == FORMAT))
    }

    fn is_delivered(&self) -> Result<bool> {
        let Some(record) = self.record()?.filter(|_| !self.delivery.again) else {
            return Ok(false);
        };
        let Delivery { relation, state, mode, to, .. } = &self.delivery;
        let same = record.relation == relation.to_string()
            && record.state == *state
            && record.mode == mode.record()
            && (record.to == *to || *mode != DeliveryMode::Full);
        if !same {
            return Ok(false);
        }
        // What somebody took away is delivered again; of files that are added, they do with them
        // what they like.
        let watched = if *mode == DeliveryMode::Full { record.files.as_slice() } else { &[] };
        for file in watched {
            if !self.place.has(&file.path, &self.handle)? {
                return Ok(false);
            }
        }
        Ok(self.strays(&record)?.is_empty())
    }

    fn deliver(&self, mut rows: BatchStream) -> Result<Delivered> {
        failpoint!("export.begun");
        let mut files = Files::new(self, &rows.schema)?;
        if let Err(error) = self.fill(&mut files, &mut rows) {
            files.abandon();
            return Err(error);
        }
        let written = files.written;
        failpoint!("export.changed");
        let Delivery { export, relation, state, mode, to, run, .. } = &self.delivery;
        let rows = written.iter().map(|file| file.rows).sum();
        let record = Record {
            format: FORMAT,
            export: export.clone(),
            relation: relation.to_string(),
            state: state.clone(),
            mode: mode.record(),
            to: to.clone(),
            run: run.to_string(),
            rows,
            files: written,
        };
        let content = serde_json::to_vec_pretty(&record)
            .or_error(ErrorKind::Internal, "the record of a delivery cannot be written")?;
        failpoint!("export.before-commit");
        self.place.put(&self.record_name(), &run.to_string(), content, &self.handle)?;
        failpoint!("export.after-commit");
        for name in self.strays(&record)? {
            self.place.remove(&name, &self.handle)?;
        }
        Ok(Delivered { rows, inserted: rows, ..Delivered::default() })
    }

    /// Writes all files.
    fn fill(&self, files: &mut Files<'_>, rows: &mut BatchStream) -> Result<()> {
        loop {
            self.delivery.cancel.check()?;
            match self.handle.block_on(rows.batches.next()) {
                Some(batch) => files.write(&batch?)?,
                None => return files.end(),
            }
        }
    }

    /// The files of this export that no record names: of a delivery that was killed, or of the one
    /// before.
    fn strays(&self, record: &Record) -> Result<Vec<String>> {
        if self.layout.file.is_some() {
            return Ok(Vec::new());
        }
        let own: BTreeSet<&str> = record.files.iter().map(|file| file.path.as_str()).collect();
        let there = self.place.list(&self.layout.folder, &self.handle)?;
        let start = format!("{}-", self.tag);
        let export = plain(&self.delivery.export);
        let is_stray = |name: &&String| {
            let file = name.rsplit('/').next().unwrap_or_default();
            let id = file.strip_prefix(&start).and_then(|rest| rest.split('-').next());
            id.is_some_and(|id| {
                let recorded = format!("{}{RECORDS}/{export}/{id}.json", self.layout.folder);
                let kept = self.delivery.mode != DeliveryMode::Full
                    && id != self.id
                    && there.contains(&recorded);
                !kept && !own.contains(name.as_str())
            })
        };
        Ok(there.iter().filter(is_stray).cloned().collect())
    }
}

/// The files of a delivery, one of them open.
struct Files<'a> {
    work: &'a Work,
    /// Without the columns of partitions.
    schema: SchemaRef,
    columns: Vec<usize>,
    partitions: Vec<usize>,
    open: Option<Open>,
    written: Vec<Written>,
}

struct Open {
    folder: String,
    encoder: Encoder,
    output: Output,
    file: Written,
}

impl<'a> Files<'a> {
    fn new(work: &'a Work, schema: &SchemaRef) -> Result<Self> {
        let partitions: Vec<usize> = work
            .layout
            .partition_by
            .iter()
            .map(|name| {
                schema.index_of(name).map_err(|_| {
                    Error::new(
                        ErrorKind::Config,
                        format!(
                            "`partition_by` names `{name}`, which `{}` does not have",
                            work.delivery.relation
                        ),
                    )
                })
            })
            .collect::<Result<_>>()?;
        let columns: Vec<usize> =
            (0..schema.fields().len()).filter(|index| !partitions.contains(index)).collect();
        if columns.is_empty() {
            let why = "`partition_by` names all columns: nothing is left for the files";
            return Err(Error::new(ErrorKind::Config, why));
        }
        // A NULL that comes against the schema is one in the file, too.
        let field = |index: &usize| schema.field(*index).clone().with_nullable(true);
        let fields: Vec<_> = columns.iter().map(field).collect();
        let mut files = Files {
            work,
            schema: Arc::new(Schema::new(fields)),
            columns,
            partitions,
            open: None,
            written: Vec::new(),
        };
        if files.partitions.is_empty() {
            // No rows are a file, too.
            files.begin(String::new())?;
        }
        Ok(files)
    }

    fn begin(&mut self, folder: String) -> Result<()> {
        let Work { layout, id, tag, place, delivery, .. } = self.work;
        let name = match &layout.file {
            Some(name) => name.clone(),
            None => format!("{folder}{tag}-{id}-{:05}.{}", self.written.len(), layout.extension()),
        };
        let path = format!("{}{name}", layout.folder);
        let output = place.create(&path, &delivery.run.to_string())?;
        let encoder = Encoder::new(layout, &self.schema)?;
        let file = Written { path, rows: 0, bytes: 0 };
        self.open = Some(Open { folder, encoder, output, file });
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let Some(Open { encoder, mut output, mut file, .. }) = self.open.take() else {
            return Ok(());
        };
        let bytes = encoder.finish()?;
        file.bytes += bytes.len() as u64;
        output.write(bytes, &self.work.handle)?;
        failpoint!("export.copied");
        output.finish(&self.work.handle)?;
        self.written.push(file);
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let kept = |batch: &RecordBatch| {
            batch.project(&self.columns).or_error(ErrorKind::Internal, "columns cannot be chosen")
        };
        if self.partitions.is_empty() {
            let batch = kept(batch)?;
            return self.add(&batch, String::new());
        }
        let by: Vec<_> = self.partitions.iter().map(|index| batch.column(*index).clone()).collect();
        let ranges = partition(&by)
            .or_error(ErrorKind::Unsupported, "the columns of `partition_by` cannot be compared")?
            .ranges();
        let rows = kept(batch)?;
        for range in ranges {
            let folder = folder_of(&self.work.layout.partition_by, &by, range.start);
            self.add(&rows.slice(range.start, range.len()), folder)?;
        }
        Ok(())
    }

    /// Adds rows of one partition.
    fn add(&mut self, batch: &RecordBatch, folder: String) -> Result<()> {
        let mut rest = batch.clone();
        while rest.num_rows() > 0 {
            let limit = self.work.layout.max_rows;
            let full = self
                .open
                .as_ref()
                .is_none_or(|open| open.folder != folder || open.file.rows >= limit);
            if full {
                self.end()?;
                self.begin(folder.clone())?;
            }
            let Some(open) = &mut self.open else { return Ok(()) };
            let room = usize::try_from(limit - open.file.rows).unwrap_or(usize::MAX);
            let now = rest.slice(0, rest.num_rows().min(room));
            rest = rest.slice(now.num_rows(), rest.num_rows() - now.num_rows());
            let bytes = open.encoder.write(&now)?;
            open.file.rows += now.num_rows() as u64;
            open.file.bytes += bytes.len() as u64;
            open.output.write(bytes, &self.work.handle)?;
        }
        Ok(())
    }

    /// Leaves nothing of a delivery that broke off.
    fn abandon(mut self) {
        if let Some(open) = self.open.take() {
            open.output.abandon(&self.work.handle);
        }
        // The one file is there only when all was written.
        for file in &self.written {
            if let Err(error) = self.work.place.remove(&file.path, &self.work.handle) {
                tracing::warn!(file = %file.path, error = %error, "what is left goes with the next delivery");
            }
        }
    }
}

/// `day=2024-01-31/`, with what has a meaning in paths written as `%2F`.
fn folder_of(names: &[String], columns: &[arrow::array::ArrayRef], row: usize) -> String {
    let mut folder = String::new();
    for (name, column) in names.iter().zip(columns) {
        let value = match column.is_null(row) {
            true => NO_VALUE.to_owned(),
            false => display_value(column, row),
        };
        folder.push_str(name);
        folder.push('=');
        for c in value.chars() {
            match c {
                '/'
                | '\\'
                | ':'
                | '*'
                | '?'
                | '"'
                | '<'
                | '>'
                | '|'
                | '%'
                | '#'
                | '='
                | '\0'..=' ' => {
                    folder.push_str(&format!("%{:02X}", u32::from(c)));
                }
                _ => folder.push(c),
            }
        }
        folder.push('/');
    }
    folder
}

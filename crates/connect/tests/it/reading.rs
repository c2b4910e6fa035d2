//! A project folder to put files in, and reads of it.

use std::path::Path;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemill_connect::files::{FilesConfig, FilesConnector};
use tidemill_core::{
    Cancellation, Change, ConnectContext, Connector, Notice, Position, ReadRequest, ReadScope,
    Result, Source, Until,
};

/// A rejected row: file, line, reason, raw text.
pub(crate) type Rejected = (String, i64, String, String);

/// What a read came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) rows: Option<RecordBatch>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) position: Option<Position>,
    pub(crate) replaces: Option<(String, Vec<String>)>,
    pub(crate) restarts: usize,
    pub(crate) truncated: bool,
}

impl Outcome {
    /// `name type` of each column, without the two of ours.
    pub(crate) fn types(&self) -> Vec<String> {
        let Some(schema) = &self.schema else { return Vec::new() };
        schema
            .fields()
            .iter()
            .filter(|field| !field.name().starts_with("_source_"))
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect()
    }

    /// All rows as text, without the two columns of ours; NULL is `∅`.
    pub(crate) fn table(&self) -> Vec<Vec<String>> {
        let Some(batch) = &self.rows else { return Vec::new() };
        let names: Vec<String> = batch
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| !name.starts_with("_source_"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.columns(&names)
    }

    /// These columns of all rows as text; NULL is `∅`.
    pub(crate) fn columns(&self, names: &[&str]) -> Vec<Vec<String>> {
        let Some(batch) = &self.rows else { return Vec::new() };
        let options = FormatOptions::default().with_null("∅");
        let columns: Vec<(ArrayRef, bool)> =
            names.iter().map(|name| local(batch.column_by_name(name).unwrap())).collect();
        let formatters: Vec<(ArrayFormatter<'_>, bool)> = columns
            .iter()
            .map(|(column, utc)| (ArrayFormatter::try_new(column, &options).unwrap(), *utc))
            .collect();
        let cell = |(column, utc): &(ArrayFormatter<'_>, bool), row| {
            let text = column.value(row).to_string();
            if *utc && text != "∅" { format!("{text}Z") } else { text }
        };
        (0..batch.num_rows())
            .map(|row| formatters.iter().map(|column| cell(column, row)).collect())
            .collect()
    }

    pub(crate) fn codes(&self) -> Vec<&str> {
        self.notices.iter().map(|notice| notice.code.as_str()).collect()
    }

    pub(crate) fn row_count(&self) -> usize {
        self.rows.as_ref().map_or(0, RecordBatch::num_rows)
    }
}

/// Times in UTC as times without a zone, which can be shown without a database of zones.
fn local(column: &ArrayRef) -> (ArrayRef, bool) {
    match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            (arrow::compute::cast(column, &DataType::Timestamp(*unit, None)).unwrap(), true)
        }
        _ => (column.clone(), false),
    }
}

/// A folder with files.
pub(crate) struct Project {
    folder: TempDir,
}

/// How to read.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) declared: Vec<Field>,
    pub(crate) known: Option<SchemaRef>,
    pub(crate) position: Option<Position>,
    pub(crate) scope: ReadScope,
    pub(crate) parallelism: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            declared: Vec::new(),
            known: None,
            position: None,
            scope: ReadScope::New,
            parallelism: 1,
        }
    }
}

impl Options {
    /// To go on where another read ended.
    pub(crate) fn after(outcome: &Outcome) -> Self {
        Options {
            known: outcome.schema.clone(),
            position: outcome.position.clone(),
            ..Options::default()
        }
    }
}

impl Project {
    pub(crate) fn new() -> Self {
        Project { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn with(files: &[(&str, &[u8])]) -> Self {
        let project = Project::new();
        for (name, content) in files {
            project.write(name, content);
        }
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Gives a file a time of last change, in seconds since 1970.
    pub(crate) fn touch(&self, name: &str, seconds: u64) {
        let file = std::fs::File::options().write(true).open(self.path().join(name)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    }

    pub(crate) fn read(&self, settings: Value) -> Outcome {
        self.try_read(settings, Options::default()).unwrap()
    }

    pub(crate) fn try_read(&self, settings: Value, options: Options) -> Result<Outcome> {
        self.read_and(settings, options, |_| {})
    }

    /// Reads; `watch` sees each change before it is taken.
    pub(crate) fn read_and(
        &self,
        settings: Value,
        options: Options,
        mut watch: impl FnMut(&Change),
    ) -> Result<Outcome> {
        let settings = match settings {
            Value::String(location) => json!({ "location": location }),
            settings => settings,
        };
        let context = ConnectContext { project: self.path().into(), name: String::new() };
        let source = FilesConnector::connect(FilesConfig::default(), context).unwrap();
        let request = Request {
            declared: options.declared,
            known: options.known,
            position: options.position,
            parallelism: options.parallelism,
            ..Request::of(settings, options.scope)
        };
        drain_and(source.as_ref(), request, &mut watch)
    }
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What is asked of a source.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) settings: Value,
    pub(crate) cursor: Option<String>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) declared: Vec<Field>,
    pub(crate) known: Option<SchemaRef>,
    pub(crate) position: Option<Position>,
    pub(crate) scope: ReadScope,
    pub(crate) parallelism: usize,
}

impl Request {
    /// As a source is asked.
    pub(crate) fn request(self) -> ReadRequest {
        ReadRequest {
            settings: self.settings,
            name: String::new(),
            cursor: self.cursor,
            primary_key: self.primary_key,
            declared: self.declared,
            known: self.known,
            position: self.position,
            superseded: None,
            siblings: Vec::new(),
            every_change: false,
            scope: self.scope,
            until: Until::CaughtUp,
            parallelism: self.parallelism,
            cancel: Cancellation::new(),
        }
    }

    pub(crate) fn of(settings: Value, scope: ReadScope) -> Self {
        Request {
            settings,
            cursor: None,
            primary_key: Vec::new(),
            declared: Vec::new(),
            known: None,
            position: None,
            scope,
            parallelism: 1,
        }
    }
}

/// Reads everything.
pub(crate) fn drain(source: &dyn Source, request: Request) -> Result<Outcome> {
    drain_and(source, request, |_| {})
}

/// Reads everything; `watch` sees each change before it is taken.
pub(crate) fn drain_and(
    source: &dyn Source,
    request: Request,
    watch: impl FnMut(&Change),
) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(drained(source, request, watch))
}

/// The same, within a runtime.
pub(crate) async fn drained(
    source: &dyn Source,
    request: Request,
    mut watch: impl FnMut(&Change),
) -> Result<Outcome> {
    let mut changes = source.read(request.request()).await?;
    let mut outcome = Outcome::default();
    let mut batches = Vec::new();
    while let Some(change) = changes.next().await {
        let change = change?;
        watch(&change);
        match change {
            Change::Schema(schema) => outcome.schema = Some(schema),
            Change::Restart(schema) => {
                outcome.schema = Some(schema);
                outcome.restarts += 1;
                outcome.rejected.clear();
                outcome.replaces = None;
                batches.clear();
            }
            Change::Rows(batch) => batches.push(batch),
            Change::Rejected(batch) => {
                let text =
                    |at: usize, row| batch.column(at).as_string::<i32>().value(row).to_owned();
                let lines = batch.column(1).as_primitive::<Int64Type>();
                for row in 0..batch.num_rows() {
                    let line = lines.value(row);
                    outcome.rejected.push((text(0, row), line, text(2, row), text(3, row)));
                }
            }
            Change::Truncated => {
                outcome.truncated = true;
                batches.clear();
            }
            Change::Replaces { column, values } => outcome.replaces = Some((column, values)),
            Change::Position(position) => outcome.position = Some(position),
            Change::Notice(notice) => outcome.notices.push(notice),
        }
    }
    if let Some(schema) = &outcome.schema {
        // What a log says of its rows is not among them.
        let own: Vec<usize> = (0..schema.fields().len()).collect();
        let batches: Vec<RecordBatch> =
            batches.iter().map(|batch| batch.project(&own).unwrap()).collect();
        outcome.rows = Some(concat_batches(schema, &batches).unwrap());
    }
    Ok(outcome)
}

/// One CSV file's rows.
pub(crate) fn csv(content: impl AsRef<[u8]>) -> Outcome {
    csv_with(content, json!({}))
}

/// One CSV file's rows, read with more settings.
pub(crate) fn csv_with(content: impl AsRef<[u8]>, mut settings: Value) -> Outcome {
    settings["location"] = json!("a.csv");
    Project::with(&[("a.csv", content.as_ref())]).read(settings)
}

/// A file of `tests/data`, which was made by a tool that is not ours.
pub(crate) fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

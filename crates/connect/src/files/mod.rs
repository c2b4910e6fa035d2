//! Files, local or in an object store, plain or compressed, in archives or not, by path or pattern:
//! CSV, fixed width, NDJSON, JSON, XML, Parquet, ORC, Avro, workbooks, and files as rows; and Delta and
//! Iceberg tables.
//!
//! Each file is loaded exactly once, known by its path and its content. What was loaded stands in
//! the position; the rows of a file are delivered together with the position that contains it. A
//! file that changes while it is read is left out of that read.
//!
//! Columns are typed by what the project declares, else by what all values are (`settings.rs` says
//! which texts are NULL; the rules of inference stand in `infer.rs`).

mod archive;
pub(crate) mod avro;
mod blob;
mod column;
mod csv;
mod delta;
mod detect;
mod excel;
mod fixed;
mod format;
mod guard;
mod header;
mod iceberg;
mod infer;
mod input;
pub(crate) mod json;
mod json_line;
mod listing;
mod opened;
mod orc;
mod parquet;
mod place;
mod position;
mod read;
mod seek;
mod servers;
mod settings;
mod sink;
mod stores;
pub(crate) mod target;
pub(crate) mod typed;
pub(crate) mod types;
pub(crate) mod value;
mod web;
mod xml;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::Field;
use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::ObjectStore;
use serde::Deserialize;
use tidemill_core::{
    Change, ChangeStream, ConnectContext, Connector, Error, ErrorKind, Position, ReadRequest,
    ReadScope, Result, Sink, Source, TableDescription,
};
use tidemill_objects::{Opened, StoreOptions};
use tokio::runtime::Handle;
use url::Url;

pub use blob::ContentSetting;
pub use excel::{CellErrors, MergedCells, SheetSetting};
pub use fixed::FixedField;
pub use header::ORIGINAL_NAME;
pub use header::{column_names, unquoted as unquoted_header};
pub use iceberg::{IcebergConfig, IcebergConnector};
pub(crate) use read::raw_text;
pub use read::rejected_schema;
pub use servers::ftp::{FtpConfig, FtpConnector, FtpTls};
pub use servers::sftp::{OneOrMany, SftpConfig, SftpConnector};
pub use servers::webhdfs::{WebHdfsConfig, WebHdfsConnector};
pub use settings::{
    CompressionSetting, Deduplicate, FileFormat, Locations, NameOrOff, OnChange, SizeText,
    TableSettings,
};
pub use stores::{AzureConnector, GcsConnector, HttpConnector, S3Connector};
pub use xml::Namespaces;

use column::NullTokens;
use format::Format;
use infer::{Formats, Seen};
use listing::FileEntry;
use position::{Decision, FilesPosition, Rules, decide, notice};
use read::{FileTask, Load};
use servers::Tree;
pub(crate) use settings::{NameStyle, duration, size_of};
use settings::{NullTexts, Resolved};
use sink::FilesSink;
use types::{Shape, Types};

use crate::stream::{blocking, of_blocking};

/// The connector for local files; its kind is `files`.
#[derive(Debug)]
pub struct FilesConnector;

/// The settings of a connection to files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesConfig {
    /// The folder that locations are relative to. Default: the project's. The address of a store
    /// (`s3://bucket/prefix`) is read with the credentials of the environment.
    pub root: Option<PathBuf>,
}

impl FilesConfig {
    fn root(self, context: ConnectContext) -> Result<Root> {
        let address = self.root.as_deref().and_then(Path::to_str);
        Ok(match (address.filter(|text| tidemill_objects::is_address(text)), &self.root) {
            (Some(address), _) => {
                Root::Store(tidemill_objects::open(address, &StoreOptions::new())?)
            }
            (None, Some(root)) => Root::Folder(context.project.join(root)),
            (None, None) => Root::Folder(context.project),
        })
    }
}

#[async_trait]
impl Connector for FilesConnector {
    const KIND: &'static str = "files";
    type Config = FilesConfig;

    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "location";

    fn connect(config: FilesConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FilesSource { root: config.root(context)? }))
    }

    fn sink(config: FilesConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FilesSink::new(config.root(context)?)?))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        TableSettings::check(settings)
    }
}

/// The files of a folder as a source, for rows that were put there to be typed and read.
pub(crate) fn of_folder(folder: PathBuf) -> impl Source {
    FilesSource { root: Root::Folder(folder) }
}

/// The files below a folder, or in a store.
#[derive(Debug, Clone)]
struct FilesSource {
    root: Root,
}

#[derive(Clone)]
enum Root {
    Folder(PathBuf),
    Store(Opened),
    Tree(Tree),
    Web { base: Url, headers: web::Headers },
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Root::Folder(folder) => write!(f, "{}", folder.display()),
            Root::Store(store) => f.write_str(&store.name),
            Root::Tree(tree) => write!(f, "{tree}"),
            Root::Web { base, .. } => write!(f, "{base}"),
        }
    }
}

impl Root {
    fn list(&self, locations: &[String], handle: &Handle) -> Result<listing::Listing> {
        match self {
            Root::Folder(folder) => listing::list(folder, locations, handle),
            Root::Store(store) => listing::list_store(store, None, locations, handle),
            Root::Tree(tree) => listing::list_store(&tree.opened(), Some(tree), locations, handle),
            Root::Web { base, headers } => listing::list_web(base, headers, locations, handle),
        }
    }
}

/// What looking at a sample needs.
pub(crate) struct SampleContext {
    formats: Formats,
    nulls: NullTokens,
}

/// Looks at the start of a file.
type Sample<'a> =
    dyn FnMut(&FileEntry, &Resolved, &[Field], &SampleContext) -> Result<(Format, Types)> + 'a;

#[async_trait]
impl Source for FilesSource {
    async fn ping(&self) -> Result<()> {
        match &self.root {
            Root::Folder(folder) if folder.is_dir() => Ok(()),
            Root::Folder(folder) => {
                Err(Error::new(ErrorKind::NotFound, "the folder does not exist")
                    .with("folder", folder.display()))
            }
            Root::Web { base, headers } => {
                let (base, headers, handle) = (base.clone(), headers.clone(), Handle::current());
                // That the server answers and accepts the login; what it answers may be "not found".
                blocking(move || web::look(base.as_str(), base.as_str(), &headers, &handle))
                    .await
                    .map(drop)
            }
            Root::Tree(tree) => tree.reach().await,
            Root::Store(store) => match store.store.list(None).try_next().await {
                Ok(_) => Ok(()),
                Err(error) => Err(tidemill_objects::explain(error, "the store cannot be read", "")
                    .with("store", &store.name)),
            },
        }
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let root = self.root.clone();
        let handle = Handle::current();
        let listing = blocking(move || {
            let patterns: &[&str] = match root {
                Root::Folder(_) => &["*", "data/*"],
                // Each folder is asked for by itself.
                Root::Tree(_) => &["*", "*/*"],
                Root::Store(_) => &["**/*"],
                // It cannot be listed.
                Root::Web { .. } => &[],
            };
            let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
            root.list(&patterns, &handle)
        })
        .await?;
        Ok(listing
            .files
            .into_iter()
            .filter(|file| {
                FileFormat::of_name(&file.name).is_some() || archive::is_archive(&file.name)
            })
            .map(|file| TableDescription {
                name: file.name,
                schema: None,
                rows: None,
                estimated: false,
                primary_key: Vec::new(),
            })
            .collect())
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let settings = TableSettings::parse(&request.settings)?.resolve()?;
        let source = self.clone();
        let handle = Handle::current();
        Ok(of_blocking(move |emit| source.run(settings, request, &handle, emit)))
    }

    async fn acknowledge(&self, _position: &Position) -> Result<()> {
        Ok(())
    }
}

impl FilesSource {
    /// Decides, samples, reads.
    fn run(
        &self,
        mut settings: Resolved,
        request: ReadRequest,
        handle: &Handle,
        emit: &mut read::Emit<'_>,
    ) -> Result<()> {
        if settings.written.format.is_none() && !settings.is_iceberg() {
            let locations = settings.written.location.all();
            settings.written.format = detect::table_format(&self.root, locations, handle);
        }
        if settings.written.format == Some(FileFormat::Delta) {
            return delta::run(self, settings, request, handle, emit);
        }
        if settings.is_iceberg() {
            return iceberg::run(self, settings, request, handle, emit);
        }
        let listing = self.root.list(settings.written.location.all(), handle)?;
        let mut position = FilesPosition::parse(request.position.as_ref())?;
        let listing = archive::expand(listing, &settings, &mut position)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        let rules = Rules {
            scope: request.scope,
            on_change: settings.on_change(),
            deduplicate: settings.written.deduplicate,
            settle: settings.settle,
            now,
        };
        let mut hashes = std::collections::HashMap::new();
        let decision = decide(&listing, &position, rules, &mut |file| {
            if let Some(hash) = hashes.get(&file.name) {
                return Ok(String::clone(hash));
            }
            request.cancel.check()?;
            let hash = input::hash_file(&file.place, &file.name)?;
            hashes.insert(file.name.clone(), hash.clone());
            Ok(hash)
        })?;
        if decision.read.is_empty() {
            return unchanged(position, decision, emit);
        }
        self.load(settings, request, position, decision, &mut Format::sample)?.run(emit)
    }

    /// Samples the files.
    fn load(
        &self,
        settings: Resolved,
        mut request: ReadRequest,
        mut position: FilesPosition,
        decision: Decision,
        sample: &mut Sample<'_>,
    ) -> Result<Load> {
        let whole = request.scope == ReadScope::Whole;
        let context = SampleContext {
            formats: Formats {
                date: settings.written.date_format.clone(),
                timestamp: settings.written.timestamp_format.clone(),
            },
            nulls: NullTokens::new(&settings.null_values)
                .in_texts(settings.written.null_texts == NullTexts::All),
        };
        let mut base = if whole { Types::default() } else { position.types() };
        let known = request.known.filter(|_| !whole);
        let ours = [&settings.file_column, &settings.row_column];
        for field in known.iter().flat_map(|known| known.fields()) {
            if ours.iter().any(|name| name.as_deref() == Some(field.name().as_str())) {
                continue;
            }
            // The column has no value yet: its type is open.
            if field.data_type().is_string() && base.get(field.name()) == Some(&Shape::default()) {
                continue;
            }
            let shape = base.entry(field.name());
            if field.data_type().is_string() && shape.seen == Seen::QUOTED_NULL {
                // What was text in the table stays text.
                shape.seen.add(Seen::TEXT);
            }
            if shape.data_type() == *field.data_type() {
                continue;
            }
            match Seen::of_type(field.data_type()) {
                Some(seen) => shape.seen.add(seen),
                None => shape.arrow = Some(field.data_type().clone()),
            }
        }
        // What the project declares goes before what the settings say.
        for field in fixed::FixedFile::declared(&settings.fields) {
            if !request.declared.iter().any(|known| known.name() == field.name()) {
                request.declared.push(field);
            }
        }
        let mut notices = decision.notices;
        let mut files = Vec::with_capacity(decision.read.len());
        let mut met = Types::default();
        for entry in decision.read {
            request.cancel.check()?;
            let (format, types) = sample(&entry, &settings, &request.declared, &context)?;
            met.merge(&types);
            files.push(FileTask { entry, format, types });
        }
        let typed = files.iter().filter(|file| file.format.is_typed()).count();
        if typed > 0 && files.iter().any(|file| file.format.is_text()) {
            return Err(Error::new(
                ErrorKind::Config,
                "`location` names files that bring their types (Parquet, ORC, Avro) and others; make them \
                 two tables",
            ));
        }
        for (name, _) in base.iter().filter(|(name, _)| met.get(name).is_none()) {
            notices.push(notice(
                "missing-column",
                name,
                "is a column that no file of this load has",
            ));
        }
        if whole {
            position.files.clear();
        }
        for file in decision.touched {
            touch(&mut position, &file);
        }
        Ok(Load {
            formats: Arc::new(context.formats.clone()),
            nulls: context.nulls.clone(),
            context,
            files,
            again: if request.scope == ReadScope::New { decision.same } else { Vec::new() },
            declared: request.declared,
            known,
            base,
            replaced: decision.replaced,
            position,
            notices,
            whole,
            parallelism: request.parallelism.max(1),
            cancel: request.cancel,
            settings,
        })
    }
}

/// Nothing to read: what is left are notices, and the new times of files that were touched.
fn unchanged(
    mut position: FilesPosition,
    decision: Decision,
    emit: &mut read::Emit<'_>,
) -> Result<()> {
    for notice in decision.notices {
        emit(Change::Notice(notice))?;
    }
    let touched = !decision.touched.is_empty();
    for file in decision.touched {
        touch(&mut position, &file);
    }
    if touched {
        emit(Change::Position(position.to_position()?))?;
    }
    Ok(())
}

fn touch(position: &mut FilesPosition, file: &FileEntry) {
    if let Some(loaded) = position.files.get_mut(&file.name) {
        loaded.modified = file.stamp.modified;
        loaded.version = file.place.version().map(str::to_owned);
    }
}

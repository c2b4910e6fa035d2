//! One read of a Delta table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use tidemill_core::{Change, Error, ErrorKind, ReadRequest, ReadScope, Result, ResultExt};
use tidemill_objects::StoreOptions;
use tokio::runtime::Handle;

use super::DeltaPosition;
use super::log::{Add, Place, Table};
use super::schema::{columns, types_of};
use crate::files::format::{Cut, Format};
use crate::files::listing::{FileEntry, Stamp};
use crate::files::parquet::ParquetFile;
use crate::files::position::{Decision, FilesPosition};
use crate::files::read::Emit;
use crate::files::settings::{NameStyle, Resolved};
use crate::files::target::Target;
use crate::files::types::Types;
use crate::files::{FilesSource, Root, place};

/// How many files are looked at, at a time.
const AT_ONCE: usize = 16;

/// A data file with the values that stand in its path and not in it.
#[derive(Debug)]
pub(crate) struct DeltaFile {
    parquet: ParquetFile,
    /// By the columns' names.
    constants: Vec<(String, ArrayRef)>,
}

impl DeltaFile {
    pub(crate) fn read(
        &self,
        entry: &FileEntry,
        target: &Target,
        max_record: usize,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<Option<String>> {
        let mut failed = None;
        let hash = self.parquet.read(entry, target, max_record, &mut |cut| {
            let Cut::Parsed(mut parsed) = cut else { return send(cut) };
            for (name, value) in &self.constants {
                let Some(at) = target.types.position(name) else { continue };
                let data_type = target.schema.field(at).data_type();
                match repeated(value, data_type, parsed.rows) {
                    Ok(column) => parsed.columns[at] = column,
                    Err(error) => {
                        failed = Some(error.with("column", name));
                        return false;
                    }
                }
            }
            send(Cut::Parsed(parsed))
        })?;
        match failed {
            Some(error) => Err(error.with("file", &entry.name)),
            None => Ok(hash),
        }
    }
}

/// One value as often as there are rows.
fn repeated(value: &ArrayRef, data_type: &DataType, rows: usize) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let value = cast_with_options(value, data_type, &options)
        .or_error(ErrorKind::Data, "the value of a partition does not fit its column")?;
    let zeros = arrow::array::UInt32Array::from(vec![0; rows]);
    arrow::compute::take(&value, &zeros, None)
        .or_error(ErrorKind::Internal, "a value cannot be repeated")
}

/// The value of a partition as its column's type.
fn constant(value: Option<&str>, data_type: &DataType) -> Result<ArrayRef> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(new_null_array(data_type, 1));
    };
    let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&text, data_type, &options)
        .or_error(ErrorKind::Data, "the value of a partition does not fit its column")
}

/// Reads the table that the settings name.
pub(crate) fn run(
    source: &FilesSource,
    settings: Resolved,
    request: ReadRequest,
    handle: &Handle,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let place = located(&source.root, &settings, handle)?;
    let mut position = FilesPosition::parse(request.position.as_ref())?;
    let table = place.table()?;
    let now = DeltaPosition { id: table.metadata.id.clone(), version: table.version };
    if position.delta.as_ref() == Some(&now) {
        return Ok(());
    }
    let files = chosen(&place, &table, position.delta.as_ref(), request.scope)?;
    position.delta = Some(now);
    position.files.clear();
    let first = request.known.is_none() || request.scope == ReadScope::Whole;
    if files.is_empty() && !first {
        return emit(Change::Position(position.to_position()?));
    }
    let columns = columns(&table.metadata.schema_string)?;
    let style = settings.written.names;
    let types = types_of(&columns, style);
    let constants = Constants { table: &table, columns: &columns, types: &types };
    let entries = entries(&place, &files)?;
    let mut partitions = HashMap::new();
    let mut decision = Decision::default();
    for (entry, file) in entries.into_iter().zip(&files) {
        partitions.insert(entry.name.clone(), constants.of(file)?);
        decision.read.push(entry);
    }
    let mut sample = |entry: &FileEntry, settings: &Resolved| {
        let style: NameStyle = settings.written.names;
        let (parquet, _) = ParquetFile::open(entry, style)?;
        let constants = partitions.remove(&entry.name).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a file of the table is read twice")
                .with("file", &entry.name)
        })?;
        Ok((Format::Delta(DeltaFile { parquet, constants }), types.clone()))
    };
    let mut load =
        source.load(settings, request, position, decision, &mut |entry, settings, _, _| {
            sample(entry, settings)
        })?;
    // A table without rows has columns, too.
    load.base.merge(&types);
    load.run(emit)
}

/// Where the table is.
fn located(root: &Root, settings: &Resolved, handle: &Handle) -> Result<Place> {
    let config = |message: &str| Error::new(ErrorKind::Config, message.to_owned());
    let [location] = settings.written.location.all() else {
        return Err(config("`format: delta` takes one `location`: the folder of the table"));
    };
    let name = location.trim_end_matches('/').to_owned();
    let path = |text: &str| {
        Path::parse(text.trim_start_matches("./").trim_matches('/'))
            .map_err(|error| config("`location` is not a folder of the store").because(error))
    };
    let handle = handle.clone();
    if tidemill_objects::is_address(location) {
        let store = tidemill_objects::open(&name, &StoreOptions::new())?.store;
        return Ok(Place { store, folder: Path::default(), name, handle });
    }
    match root {
        Root::Folder(folder) => {
            let folder = folder.join(location);
            if !folder.is_dir() {
                return Err(Error::new(ErrorKind::NotFound, "there is no Delta table")
                    .with("location", location));
            }
            let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| {
                Error::new(ErrorKind::Io, "the folder of the table cannot be opened")
                    .with("location", location)
                    .because(error)
            })?;
            Ok(Place { store: Arc::new(store), folder: Path::default(), name, handle })
        }
        Root::Store(store) => {
            Ok(Place { store: store.store.clone(), folder: path(location)?, name, handle })
        }
        Root::Tree(tree) => {
            Ok(Place { store: tree.opened().store, folder: path(location)?, name, handle })
        }
        Root::Web { .. } => {
            Err(config("a Delta table cannot be read from a web server, which lists no files"))
        }
    }
}

/// The files whose rows are asked for.
fn chosen(
    place: &Place,
    table: &Table,
    known: Option<&DeltaPosition>,
    scope: ReadScope,
) -> Result<Vec<Add>> {
    let all = || Ok(table.files.values().cloned().collect());
    let Some(known) = known.filter(|_| scope != ReadScope::Whole) else { return all() };
    let other = known.id != table.metadata.id || known.version > table.version;
    if other {
        return Err(Error::new(
            ErrorKind::Data,
            "there is another table than at the last load; load it again with --full-refresh",
        )
        .with("table", &place.name));
    }
    let added = place.added_since(known.version, table.version)?;
    match added.changed {
        Some((version, operation)) if scope == ReadScope::New => Err(Error::new(
            ErrorKind::Data,
            format!(
                "rows of the table were changed or deleted ({operation}, version {version}), which \
                 `mode: append` cannot follow"
            ),
        )
        .with("table", &place.name)
        .with(
            "help",
            "use `mode: full`, or `merge` with a `primary_key` (rows deleted in the source stay); or \
             --full-refresh once",
        )),
        _ => Ok(added.files),
    }
}

/// The files as they are in the store.
fn entries(place: &Place, files: &[Add]) -> Result<Vec<FileEntry>> {
    let look = futures::stream::iter(files)
        .map(|file| async move {
            let object = place.object(&file.path).await?;
            Ok(FileEntry {
                name: format!("{}/{}", place.name, file.path),
                stamp: Stamp::of_object(&object.meta),
                place: place::Place::Object(Arc::new(object)),
            })
        })
        .buffered(AT_ONCE)
        .try_collect();
    place.handle.block_on(look)
}

/// What makes the values of partitions.
struct Constants<'a> {
    table: &'a Table,
    columns: &'a [(String, DataType)],
    types: &'a Types,
}

impl Constants<'_> {
    fn of(&self, file: &Add) -> Result<Vec<(String, ArrayRef)>> {
        let mut constants = Vec::new();
        for column in &self.table.metadata.partition_columns {
            let Some(at) = self.columns.iter().position(|(name, _)| name == column) else {
                continue;
            };
            let Some((name, _)) = self.types.iter().nth(at) else { continue };
            let value = file.partition_values.get(column).and_then(Option::as_deref);
            let value = constant(value, &self.columns[at].1)
                .map_err(|error| error.with("column", column).with("file", &file.path))?;
            constants.push((name.to_owned(), value));
        }
        Ok(constants)
    }
}

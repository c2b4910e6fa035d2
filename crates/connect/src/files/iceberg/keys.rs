//! Rows that were deleted by their values: the keys of files of deletes, in memory within a limit.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Fields};
use arrow::row::{RowConverter, Rows, SortField};
use futures::StreamExt;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::deletes::DeleteFile;
use super::manifest::Content;
use super::metadata::Table;
use super::place::Files;
use super::project::{Constants, at_path, numbered, path_of, shaped};
use super::schema::Field;
use crate::files::place::ObjectReader;

/// What a key takes beside its bytes.
const BESIDE: usize = 48;

/// The keys of a file of deletes.
#[derive(Debug)]
pub(super) struct KeySet {
    /// The fields that the keys are made of.
    pub(super) ids: Vec<i32>,
    keys: HashSet<Box<[u8]>>,
    bytes: usize,
}

impl KeySet {
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.keys.contains(key)
    }
}

/// The keys that are in memory, of all files of a load.
pub(super) struct Keys {
    limit: usize,
    kept: Mutex<HashMap<String, Arc<KeySet>>>,
}

impl Keys {
    pub(super) fn new(limit: usize) -> Keys {
        Keys { limit, kept: Mutex::default() }
    }

    /// The keys of these files. Those of others go when there is no room for all.
    ///
    /// # Errors
    /// Kind `Resources` when these alone need more than the limit.
    pub(super) fn of(
        &self,
        deletes: &[Arc<DeleteFile>],
        table: &Table,
        files: &Files,
    ) -> Result<Vec<Arc<KeySet>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sets: Vec<Arc<KeySet>> = Vec::with_capacity(deletes.len());
        for delete in deletes {
            let path = &delete.file.path;
            let set = match kept.get(path) {
                Some(set) => Arc::clone(set),
                None => {
                    let needed: usize = sets.iter().map(|set| set.bytes).sum();
                    let set = loop {
                        let all: usize = kept.values().map(|set| set.bytes).sum();
                        let read = read(delete, table, files, self.limit.saturating_sub(all));
                        match files.handle.block_on(read)? {
                            Some(set) => break set,
                            None if all > needed => {
                                // What this file does not need.
                                let wanted = |path: &String| {
                                    deletes.iter().any(|delete| delete.file.path == *path)
                                };
                                let before = kept.len();
                                kept.retain(|path, _| wanted(path));
                                if kept.len() < before {
                                    continue;
                                }
                                return Err(self.too_many(files));
                            }
                            None => return Err(self.too_many(files)),
                        }
                    };
                    let set = Arc::new(set);
                    kept.insert(path.clone(), Arc::clone(&set));
                    set
                }
            };
            sets.push(set);
        }
        Ok(sets)
    }

    fn too_many(&self, files: &Files) -> Error {
        Error::new(
            ErrorKind::Resources,
            format!(
                "the keys of deleted rows of one file of the table need more than `max_delete_bytes` ({} MiB)",
                self.limit >> 20
            ),
        )
        .with("table", &files.name)
        .with(
            "help",
            "raise it (`max_delete_bytes: 2GiB`), or let the table's writer rewrite its files (`rewrite_data_files`)",
        )
    }
}

/// Makes keys of rows: equal keys are equal rows, and NULL is equal to NULL.
pub(super) struct KeyMaker<'a> {
    fields: Vec<&'a Field>,
    converter: RowConverter,
}

impl<'a> KeyMaker<'a> {
    pub(super) fn new(ids: &[i32], table: &'a Table) -> Result<KeyMaker<'a>> {
        let find = |id: &i32| {
            table.field(*id).ok_or_else(|| {
                Error::new(
                    ErrorKind::Data,
                    format!("rows of the table are deleted by the field {id}, which it never had"),
                )
            })
        };
        let fields: Vec<&Field> = ids.iter().map(find).collect::<Result<_>>()?;
        let types: Vec<DataType> = fields.iter().map(|field| field.kind.arrow()).collect();
        if let Some(field) = fields.iter().find(|field| field.kind.arrow().is_nested()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("rows of the table are deleted by `{}`, which is nested", field.name),
            ));
        }
        let converter = RowConverter::new(types.into_iter().map(SortField::new).collect())
            .or_error(ErrorKind::Internal, "keys cannot be made")?;
        Ok(KeyMaker { fields, converter })
    }

    /// The keys of rows with these columns.
    pub(super) fn rows(
        &self,
        fields: &Fields,
        columns: &[ArrayRef],
        rows: usize,
        constants: &Constants,
    ) -> Result<Rows> {
        let keys = self.fields.iter().map(|field| {
            let found = path_of(fields, field.id).and_then(|path| at_path(fields, columns, &path));
            let found = found.as_ref().map(|(field, column)| (field.as_ref(), column));
            shaped(field, found, rows, constants)
        });
        let keys: Vec<ArrayRef> = keys.collect::<Result<_>>()?;
        self.converter.convert_columns(&keys).or_error(ErrorKind::Internal, "keys cannot be made")
    }
}

const DAMAGED: &str = "a file of deleted rows is damaged";

/// The keys of a file; `None` when they take more than `room`.
async fn read(
    delete: &DeleteFile,
    table: &Table,
    files: &Files,
    room: usize,
) -> Result<Option<KeySet>> {
    let file = &delete.file;
    let Content::Equality(ids) = &file.content else {
        return Err(Error::new(ErrorKind::Internal, "places are no keys"));
    };
    let maker = KeyMaker::new(ids, table).map_err(|error| error.with("file", &file.path))?;
    let object = files.object(&file.path).await?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ObjectReader(Arc::new(object));
    let named = |error: Error| error.with("file", &file.path);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options)
        .await
        .or_error(ErrorKind::Data, DAMAGED)
        .map_err(named)?;
    let fields = numbered(builder.schema().fields(), table.mapping.as_deref());
    let fields = fields.filter(|fields| ids.iter().all(|id| path_of(fields, *id).is_some()));
    let fields = fields.ok_or_else(|| {
        named(Error::new(ErrorKind::Data, "a file of deleted rows does not have its key"))
    })?;
    let mut stream =
        builder.with_batch_size(8192).build().or_error(ErrorKind::Data, DAMAGED).map_err(named)?;
    let mut set = KeySet { ids: ids.clone(), keys: HashSet::new(), bytes: 0 };
    while let Some(batch) = stream.next().await {
        let batch = batch.or_error(ErrorKind::Data, DAMAGED).map_err(named)?;
        let rows = maker
            .rows(&fields, batch.columns(), batch.num_rows(), &Constants::new())
            .map_err(named)?;
        for row in &rows {
            let key: Box<[u8]> = row.as_ref().into();
            let bytes = key.len() + BESIDE;
            if set.keys.insert(key) {
                set.bytes += bytes;
            }
        }
        if set.bytes > room {
            return Ok(None);
        }
    }
    Ok(Some(set))
}

//! One read of a table.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use tidemill_core::{Change, Error, ErrorKind, ReadRequest, ReadScope, Result};
use tokio::runtime::Handle;

use super::IcebergPosition;
use super::deletes::Deletes;
use super::file::{IcebergFile, Shared, check_defaults};
use super::keys::Keys;
use super::manifest::{Entry, Manifest, each_entry, manifests};
use super::metadata::{Snapshot, State, Table};
use super::place::Files;
use crate::files::delta::types_of;
use crate::files::format::Format;
use crate::files::header::names_in;
use crate::files::listing::{FileEntry, Stamp};
use crate::files::position::{Decision, FilesPosition};
use crate::files::read::Emit;
use crate::files::settings::Resolved;
use crate::files::{FilesSource, place};

/// How many files are looked at, at a time.
const AT_ONCE: usize = 16;

/// Reads the table that the settings of a connection to files name.
pub(crate) fn run(
    source: &FilesSource,
    settings: Resolved,
    request: ReadRequest,
    handle: &Handle,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let (mut files, file) = Files::located(&source.root, &settings, handle)?;
    let table = files.table(file)?;
    read(source, files, table, settings, request, emit)
}

/// Reads a table.
pub(super) fn read(
    source: &FilesSource,
    files: Files,
    table: Table,
    settings: Resolved,
    request: ReadRequest,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let named = |error: Error| error.with("table", &files.name);
    let mut position = FilesPosition::parse(request.position.as_ref())?;
    let state = table.state(&settings.which).map_err(named)?;
    let now = IcebergPosition {
        table: table.uuid.clone(),
        snapshot: state.snapshot.map(|snapshot| snapshot.snapshot_id),
    };
    if position.iceberg.as_ref() == Some(&now) {
        return Ok(());
    }
    check_defaults(state.schema).map_err(named)?;
    let plan = Plan { files: &files, table: &table, cancel: &request.cancel };
    let (entries, deletes) = plan.chosen(&state, position.iceberg.as_ref(), request.scope)?;
    position.iceberg = Some(now);
    position.files.clear();
    let first = request.known.is_none() || request.scope == ReadScope::Whole;
    if entries.is_empty() && !first {
        return emit(Change::Position(position.to_position()?));
    }
    let schema = state.schema.clone();
    let columns = schema.columns();
    let types = types_of(&columns, settings.written.names);
    let headers: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let names = names_in(settings.written.names, &headers);
    let decision = Decision { read: listed(&files, &entries)?, ..Decision::default() };
    let keys = Keys::new(settings.max_delete_bytes);
    let shared = Arc::new(Shared { table, schema, names, files, keys });
    let mut waiting = HashMap::new();
    for (listed, entry) in decision.read.iter().zip(entries) {
        let applied = deletes.of(&entry.file, entry.sequence);
        let shared = Arc::clone(&shared);
        let file = IcebergFile { shared, file: entry.file, deletes: applied };
        waiting.insert(listed.name.clone(), file);
    }
    // The columns are those of the table, whatever its files have.
    let mut shown = Some(types.clone());
    let mut load = source.load(settings, request, position, decision, &mut |entry, _, _, _| {
        let file = waiting.remove(&entry.name).ok_or_else(|| {
            Error::new(ErrorKind::Data, "a file is in the table twice").with("file", &entry.name)
        })?;
        Ok((Format::Iceberg(Box::new(file)), shown.take().unwrap_or_default()))
    })?;
    // A table without rows has columns, too.
    load.base.merge(&types);
    load.run(emit)
}

/// The files as they are in the store.
fn listed(files: &Files, entries: &[Entry]) -> Result<Vec<FileEntry>> {
    let look = futures::stream::iter(entries)
        .map(|entry| async move {
            let object = files.object(&entry.file.path).await?;
            Ok(FileEntry {
                name: entry.file.path.clone(),
                stamp: Stamp::of_object(&object.meta),
                place: place::Place::Object(Arc::new(object)),
            })
        })
        .buffered(AT_ONCE)
        .try_collect();
    files.handle.block_on(look)
}

/// Finds out what is to be read.
struct Plan<'a> {
    files: &'a Files,
    table: &'a Table,
    cancel: &'a tidemill_core::Cancellation,
}

impl Plan<'_> {
    /// The files whose rows are asked for, and the deletes of the state.
    fn chosen(
        &self,
        state: &State<'_>,
        known: Option<&IcebergPosition>,
        scope: ReadScope,
    ) -> Result<(Vec<Entry>, Deletes)> {
        let known = known.filter(|_| scope != ReadScope::Whole);
        if known.is_some_and(|known| known.table != self.table.uuid) {
            return Err(Error::new(
                ErrorKind::Data,
                "there is another table than at the last load; load it again with --full-refresh",
            )
            .with("table", &self.files.name));
        }
        let before = known.and_then(|known| known.snapshot);
        let Some(latest) = state.snapshot else {
            return match before {
                None => Ok((Vec::new(), Deletes::default())),
                Some(before) => Err(self.rolled_back(before)),
            };
        };
        let all = manifests(self.files, latest)?;
        let deletes = self.deletes(&all)?;
        let Some(before) = before else {
            return Ok((self.rows(&all, &mut |_| true)?, deletes));
        };
        let since = self.table.since(latest, before).ok_or_else(|| self.rolled_back(before))?;
        let mut added = Vec::new();
        let mut changed = None;
        // The oldest first.
        for snapshot in since.iter().rev() {
            let manifests = match snapshot.operation() {
                "append" => manifests(self.files, snapshot)?,
                "replace" => continue,
                _ => {
                    changed = Some(*snapshot);
                    break;
                }
            };
            let own = |manifest: &&Manifest| {
                manifest.snapshot.is_none_or(|id| id == snapshot.snapshot_id)
            };
            if manifests.iter().filter(own).any(|manifest| manifest.deletes) {
                changed = Some(*snapshot);
                break;
            }
            added.extend(self.rows(manifests.iter().filter(own), &mut |entry| {
                entry.added && entry.snapshot == Some(snapshot.snapshot_id)
            })?);
        }
        match changed {
            None => Ok((added, deletes)),
            Some(snapshot) if scope == ReadScope::New => Err(self.changed(snapshot)),
            // The rows that are new or were written anew are in files that came since; so are some that
            // were only rewritten, which a merge may take again.
            Some(_) => {
                let since: HashSet<i64> = since.iter().map(|it| it.snapshot_id).collect();
                let new = self
                    .rows(&all, &mut |entry| entry.snapshot.is_none_or(|id| since.contains(&id)))?;
                Ok((new, deletes))
            }
        }
    }

    fn changed(&self, snapshot: &Snapshot) -> Error {
        Error::new(
            ErrorKind::Data,
            format!(
                "rows of the table were changed or deleted ({}, snapshot {} of {}), which \
                 `mode: append` cannot follow",
                snapshot.operation(),
                snapshot.snapshot_id,
                Table::made(snapshot)
            ),
        )
        .with("table", &self.files.name)
        .with(
            "help",
            "use `mode: full`, or `merge` with a `primary_key` (rows deleted in the source stay); or \
             --full-refresh once",
        )
    }

    fn rolled_back(&self, before: i64) -> Error {
        Error::new(
            ErrorKind::Data,
            format!(
                "snapshot {before}, up to which the table was loaded, is not one that the table comes \
                 from any more (it expired, or the table was rolled back), so what came since is not known"
            ),
        )
        .with("table", &self.files.name)
        .with("help", "--full-refresh reads the table as it is")
    }

    fn deletes(&self, manifests: &[Manifest]) -> Result<Deletes> {
        let mut deletes = Deletes::default();
        for manifest in manifests.iter().filter(|manifest| manifest.deletes) {
            self.cancel.check()?;
            each_entry(self.files, self.table, manifest, &mut |entry| {
                deletes.take(entry, self.table, self.files)
            })?;
        }
        Ok(deletes)
    }

    /// The files of rows that are wanted.
    fn rows<'m>(
        &self,
        manifests: impl IntoIterator<Item = &'m Manifest>,
        wanted: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<Vec<Entry>> {
        let mut rows = Vec::new();
        for manifest in manifests.into_iter().filter(|manifest| !manifest.deletes) {
            self.cancel.check()?;
            each_entry(self.files, self.table, manifest, &mut |entry| {
                if !wanted(&entry) {
                    return Ok(());
                }
                if entry.file.format != "PARQUET" {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!(
                            "the table has files of the format {}, which are not read in Iceberg tables",
                            entry.file.format
                        ),
                    )
                    .with("table", &self.files.name)
                    .with("data_file", &entry.file.path)
                    .with(
                        "help",
                        "set the table's property `write.format.default` to `parquet` and let its writer \
                         rewrite its files (`rewrite_data_files`)",
                    ));
                }
                rows.push(entry);
                Ok(())
            })?;
        }
        Ok(rows)
    }
}

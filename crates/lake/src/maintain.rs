//! Maintenance: joining small files, deleting what nothing names any more, cleaning the logs up.
//!
//! Retention counts catalog entries. Kept is every version of a table that an entry within
//! retention names, that is among the newest of its relation, or that is published now; with it
//! every data file that one of them or a later commit has, and the log from the newest checkpoint
//! at or below the oldest of them. Staged files are spared while their writer lives; a writer that
//! counts as dead is fenced by an entry of its own before its files go, so that it cannot publish
//! them any more when it turns out to have been paused.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde_json::json;
use tidemill_core::{
    ErrorKind, Maintenance, MaintenanceReport, PublishChange, PublishMeta, RelationKind,
    RelationName, Result, RunId,
};

use crate::catalog::{self, CatalogState, Entry, FileKind};
use crate::delta::{
    Action, LiveFile, TableState, all_checkpoints, commit_info, load, log_folder, newest_version,
    parse_version, read_commit,
};
use crate::failpoint::failpoint;
use crate::lake::{Inner, Writer};
use crate::publish::{publish, publish_fence, recover};
use crate::stage::{Base, Change, Evolution, Kind, Plan, Rewrite, feed};
use crate::travel::Orphan;

/// Files of a table are joined when at least this many of a partition are small.
const SMALL_FILES: usize = 8;

/// Other engines' files that no log names stay at least this long: they may be about to commit.
const FOREIGN_GRACE_SECONDS: i64 = 7 * 24 * 3600;

/// The run that maintenance publishes as.
fn run() -> RunId {
    RunId::new("maintenance")
}

pub(crate) async fn maintain(inner: &Arc<Inner>, rule: &Maintenance) -> Result<MaintenanceReport> {
    let started = Instant::now();
    let mut report = MaintenanceReport::default();
    let state = if rule.dry_run { inner.latest().await? } else { recover(inner).await? };
    if rule.compact {
        let wanted = |relation: &&RelationName| {
            (rule.only.is_empty() || rule.only.contains(relation))
                && !rule.except.contains(relation)
        };
        for relation in state.snapshot.relations.keys().filter(wanted) {
            if started.elapsed() >= rule.budget {
                report
                    .warnings
                    .push("the budget is used up before all tables were looked at".into());
                break;
            }
            match compact(inner, &state, relation, rule.dry_run).await {
                Ok(Some((before, after))) => {
                    report.compacted.push((relation.clone(), before, after));
                }
                Ok(None) => {}
                Err(error) => report.warnings.push(error.report()),
            }
        }
    }
    if rule.vacuum {
        let mut vacuum = Vacuum::new(inner, rule, started).await?;
        vacuum.run(&mut report).await?;
    }
    Ok(report)
}

/// Joins the small files of a table. Gives the number of files before and after.
async fn compact(
    inner: &Arc<Inner>,
    state: &CatalogState,
    relation: &RelationName,
    dry_run: bool,
) -> Result<Option<(u64, u64)>> {
    let Some(published) = state.snapshot.get(relation) else { return Ok(None) };
    if !matches!(published.kind, RelationKind::Table { .. }) {
        return Ok(None);
    }
    let table = inner.published_table(published).await?;
    let small = small_files(&table, inner.options.smallest_file, inner.options.largest_file);
    if small.is_empty() || table.protocol.check_writable(&table.metadata).is_err() {
        return Ok(None);
    }
    let before = table.files.len() as u64;
    if dry_run {
        return Ok(Some((before, before - small.len() as u64 + 1)));
    }
    let base = Base::of(inner, relation, &state.snapshot).await?;
    let evolution = Evolution { schema: table.schema.clone(), changes: Vec::new(), rewrite: false };
    let partition_by = table.metadata.partition_columns.clone();
    let plan = Plan::new(inner, relation, base, evolution, partition_by).await?;
    let removed: Vec<String> = small.iter().map(|file| file.add.path.clone()).collect();
    let rewrite = Rewrite::new(table.clone(), table.schema.clone());
    let done = feed(rewrite.stream(inner, small), plan.sink(inner, false)?).await?;
    let added: Vec<_> = done.written.into_iter().map(|written| written.add).collect();
    let after = before - removed.len() as u64 + added.len() as u64;
    let staged = plan.staged(Change {
        kind: Kind::Compact,
        operation: "compact",
        parameters: json!({}),
        added,
        removed,
        files: done.files,
        rows_written: 0,
        rows_changed: 0,
        null_keys: 0,
        hash: None,
        observed: Vec::new(),
    })?;
    let staged = Arc::new(staged);
    failpoint!("compact.before-publish");
    let changes = vec![PublishChange::Table(staged.clone(), PublishMeta::default())];
    let published = publish(inner, changes, &run()).await;
    failpoint!("compact.after-publish");
    match published {
        Ok(_) => Ok(Some((before, after))),
        Err(error) => {
            if error.kind() != ErrorKind::Unknown {
                crate::stage::discard(inner, &staged).await?;
            }
            // Somebody wrote to the table meanwhile: another time.
            if error.kind() == ErrorKind::Conflict { Ok(None) } else { Err(error) }
        }
    }
}

/// How many files below a size a writer makes on its way, whose files have the smallest size or an
/// eighth of what was written before.
fn files_of_one_write(below: u64, smallest: u64) -> usize {
    if below <= smallest {
        return 0;
    }
    let growing = (below as f64 / smallest.max(1) as f64).ln() / (9.0f64 / 8.0).ln();
    8 + growing.ceil() as usize
}

/// The files that are worth joining.
fn small_files(table: &TableState, smallest: u64, largest: u64) -> Vec<Arc<LiveFile>> {
    let wanted = (table.bytes() / 8).clamp(smallest, largest.max(smallest));
    let mut partitions: HashMap<&BTreeMap<String, Option<String>>, Vec<&Arc<LiveFile>>> =
        HashMap::new();
    for file in table.files.values() {
        if file.add.size.unsigned_abs() < wanted / 2 {
            partitions.entry(&file.add.partition_values).or_default().push(file);
        }
    }
    // One write of such a table makes some small files by itself: these alone are not worth it.
    let usual = match table.metadata.partition_columns.is_empty() {
        true => files_of_one_write(wanted / 2, smallest),
        false => 0,
    };
    let mut small: Vec<Arc<LiveFile>> = partitions
        .into_values()
        .filter(|files| files.len() >= SMALL_FILES + usual)
        .flatten()
        .cloned()
        .collect();
    // In the order in which they were written, so that ranges stay together.
    small.sort_by(|a, b| {
        (a.add.modification_time, &a.add.path).cmp(&(b.add.modification_time, &b.add.path))
    });
    small
}

/// Files that can go.
#[derive(Default)]
struct Doomed {
    /// Data files that were published once.
    published: Vec<ObjectMeta>,
    /// Data files that were staged and never published.
    left_over: Vec<ObjectMeta>,
    /// Files of Delta logs.
    logs: Vec<ObjectMeta>,
}

impl Doomed {
    fn len(&self) -> usize {
        self.published.len() + self.left_over.len() + self.logs.len()
    }

    fn bytes(&self) -> u64 {
        let all = self.published.iter().chain(&self.left_over).chain(&self.logs);
        all.map(|object| object.size).sum()
    }

    fn extend(&mut self, other: Doomed) {
        self.published.extend(other.published);
        self.left_over.extend(other.left_over);
        self.logs.extend(other.logs);
    }
}

/// What is kept, and what is there.
struct Vacuum<'a> {
    inner: &'a Arc<Inner>,
    rule: &'a Maintenance,
    started: Instant,
    state: Arc<CatalogState>,
    entries: Vec<Entry>,
    /// The oldest entry that the whole lake can be read at.
    oldest: u64,
    /// Versions that stay readable, by table folder.
    versions: BTreeMap<Path, BTreeSet<u64>>,
    /// Entries that name one of the newest versions of a relation.
    named: HashSet<u64>,
    /// The store's clock.
    now: DateTime<Utc>,
}

impl<'a> Vacuum<'a> {
    async fn new(inner: &'a Arc<Inner>, rule: &'a Maintenance, started: Instant) -> Result<Self> {
        let state = inner.latest().await?;
        let mut entries = Vec::new();
        for number in inner.catalog.numbers().await? {
            if let Some(entry) = inner.catalog.entry(number).await? {
                entries.push(entry);
            }
        }
        let keep_for = i64::try_from(rule.keep_for.as_micros()).unwrap_or(i64::MAX);
        let horizon = crate::now_micros().saturating_sub(keep_for);
        // What a reader sees at the horizon is what the last entry before it left.
        let oldest = entries
            .iter()
            .rfind(|entry| entry.time <= horizon)
            .or(entries.first())
            .map_or(0, |entry| entry.number.0);

        let mut versions: BTreeMap<Path, BTreeSet<u64>> = BTreeMap::new();
        let mut keep = |record: &crate::catalog::RelationRecord| {
            if let Some((location, version)) = record.table() {
                versions.entry(Path::from(location)).or_default().insert(version);
            }
        };
        state.records.values().for_each(|record| keep(record));
        if let Ok(then) =
            inner.catalog.at(&tidemill_core::At::Entry(tidemill_core::EntryNumber(oldest))).await
        {
            then.records.values().for_each(|record| keep(record));
        }
        let mut counts: HashMap<&RelationName, u64> = HashMap::new();
        let mut named = HashSet::new();
        for entry in entries.iter().rev() {
            for record in &entry.relations {
                let count = counts.entry(&record.name).or_default();
                let newest =
                    *count < rule.keep_versions && state.records.contains_key(&record.name);
                if newest {
                    named.insert(entry.number.0);
                }
                if newest || entry.number.0 >= oldest {
                    keep(record);
                }
                *count += 1;
            }
        }
        let now = store_clock(inner).await?;
        Ok(Vacuum { inner, rule, started, state, entries, oldest, versions, named, now })
    }

    async fn run(&mut self, report: &mut MaintenanceReport) -> Result<()> {
        let (live, dead) = self.writers().await?;
        let mut doomed = Doomed::default();
        let mut emptied = Vec::new();
        for (folder, objects) in &self.folders().await? {
            if self.started.elapsed() >= self.rule.budget {
                report
                    .warnings
                    .push("the budget is used up before all folders were looked at".into());
                break;
            }
            let looked = match self.versions.get(folder) {
                Some(versions) => self.table(folder, objects, versions, &live).await,
                None => self.abandoned(folder, objects, &live).await,
            };
            match looked {
                Ok(found) => {
                    if found.len() == objects.len() {
                        emptied.push(folder.clone());
                    }
                    doomed.extend(found);
                }
                // What cannot be read is not cleaned.
                Err(error) => report.warnings.push(error.report()),
            }
        }
        let catalog = self.expired_catalog().await?;
        if self.rule.dry_run {
            report.expired_entries += catalog.0;
            report.deleted_files += doomed.len() as u64;
            report.deleted_bytes += doomed.bytes();
            return Ok(());
        }
        self.fence(&dead, &mut doomed, report).await?;
        report.expired_entries += catalog.0;
        report.deleted_files += doomed.len() as u64;
        report.deleted_bytes += doomed.bytes();
        failpoint!("vacuum.before-delete");
        // Data before logs before entries: what is left after a kill is found again.
        self.delete(doomed.published).await?;
        self.delete(doomed.left_over).await?;
        failpoint!("vacuum.after-delete");
        self.delete(doomed.logs).await?;
        failpoint!("cleanup.before-delete");
        self.inner.storage.delete_all(catalog.1).await?;
        for folder in emptied {
            self.inner.storage.remove_empty_folders(&folder).await;
        }
        Ok(())
    }

    /// Everything in the lake that is not its own, by table folder.
    async fn folders(&self) -> Result<BTreeMap<Path, Vec<ObjectMeta>>> {
        let mut folders: BTreeMap<Path, Vec<ObjectMeta>> = BTreeMap::new();
        for object in self.inner.storage.list(&Path::default()).await? {
            if let Some(folder) = table_folder(&object.location) {
                folders.entry(folder).or_default().push(object);
            }
        }
        Ok(folders)
    }

    async fn delete(&self, objects: Vec<ObjectMeta>) -> Result<()> {
        self.inner
            .storage
            .delete_all(objects.into_iter().map(|object| object.location).collect())
            .await
    }

    /// The ids of writers that live, and of those that did not refresh their record.
    async fn writers(&self) -> Result<(HashSet<String>, Vec<String>)> {
        let lifetime = chrono::TimeDelta::from_std(self.inner.options.writer_lifetime)
            .unwrap_or(chrono::TimeDelta::MAX);
        let mut live = HashSet::new();
        let mut dead = Vec::new();
        for record in self.inner.storage.list(&Writer::folder()).await? {
            let Some(id) = record.location.filename().and_then(|name| name.strip_suffix(".json"))
            else {
                continue;
            };
            if self.now - record.last_modified <= lifetime {
                live.insert(id.to_owned());
            } else {
                dead.push(id.to_owned());
            }
        }
        Ok((live, dead))
    }

    /// Declares writers dead whose files are about to go, so that they cannot publish them any
    /// more, and removes the records of all that are dead.
    async fn fence(
        &self,
        dead: &[String],
        doomed: &mut Doomed,
        report: &mut MaintenanceReport,
    ) -> Result<()> {
        let concerned: HashSet<&str> =
            doomed.left_over.iter().filter_map(|object| writer_of(&object.location)).collect();
        let (fenced, idle): (Vec<String>, Vec<String>) =
            dead.iter().cloned().partition(|id| concerned.contains(id.as_str()));
        let mut gone = idle;
        if !fenced.is_empty() {
            failpoint!("vacuum.before-fence");
            if publish_fence(self.inner, fenced.clone()).await? {
                gone.extend(fenced);
            } else {
                report.warnings.push("another publish came first; left-over files wait".into());
                doomed.left_over.retain(|object| {
                    writer_of(&object.location)
                        .is_none_or(|writer| !fenced.iter().any(|id| id == writer))
                });
            }
        }
        let records = gone.iter().map(|id| Writer::path(id)).collect();
        self.inner.storage.delete_all(records).await
    }

    /// What can go of a table that is there: data files, and files of its log.
    async fn table(
        &self,
        folder: &Path,
        objects: &[ObjectMeta],
        versions: &BTreeSet<u64>,
        live: &HashSet<String>,
    ) -> Result<Doomed> {
        let storage = &self.inner.storage;
        let Some(newest) = versions.last() else { return Ok(Doomed::default()) };
        let head = newest_version(storage, folder, *newest).await?;
        // An earlier maintenance may have had a stricter rule: what it let go cannot be kept.
        let mut base = None;
        for version in versions {
            match load(storage, folder, *version, None).await {
                Ok(state) => {
                    base = Some(state);
                    break;
                }
                Err(error) if error.kind() == ErrorKind::NotFound && version != newest => {}
                Err(error) => return Err(error),
            }
        }
        let Some(base) = base else { return Ok(Doomed::default()) };
        let oldest = &base.version;
        let mut kept: HashSet<Path> =
            base.files.values().map(|file| file.location.clone()).collect();
        let mut removed: HashSet<Path> = HashSet::new();
        let there: BTreeSet<u64> = objects
            .iter()
            .filter_map(|object| parse_version(&object.location))
            .filter(|(_, kind)| *kind == "json")
            .map(|(version, _)| version)
            .collect();
        for version in there.into_iter().filter(|version| *version <= head) {
            for action in read_commit(storage, folder, version).await?.into_iter().flatten() {
                match action {
                    Action::Add(add) if version > *oldest => {
                        kept.insert(add.location(folder)?);
                    }
                    Action::Remove(remove) => {
                        if let Ok(relative) = Path::from_url_path(&remove.path)
                            && let Ok(path) = Path::parse(format!("{folder}/{relative}"))
                        {
                            removed.insert(path);
                        }
                    }
                    _ => {}
                }
            }
        }
        let log = log_folder(folder);
        let mut doomed = Doomed::default();
        for object in objects {
            let path = &object.location;
            if path.prefix_matches(&log) || kept.contains(path) {
                continue;
            }
            if removed.contains(path) {
                doomed.published.push(object.clone());
            } else if self.is_left_over(object, live) {
                doomed.left_over.push(object.clone());
            }
        }
        let base = all_checkpoints(storage, folder).await?.into_keys().rfind(|at| at <= oldest);
        if let Some(base) = base {
            doomed.logs.extend(
                objects
                    .iter()
                    .filter(|object| object.location.prefix_matches(&log))
                    .filter(|object| {
                        parse_version(&object.location).is_some_and(|(version, _)| version < base)
                    })
                    .filter(|object| self.is_old(object))
                    .cloned(),
            );
        }
        Ok(doomed)
    }

    /// What can go of a folder that no entry within retention names.
    async fn abandoned(
        &self,
        folder: &Path,
        objects: &[ObjectMeta],
        live: &HashSet<String>,
    ) -> Result<Doomed> {
        let log = log_folder(folder);
        let commits: Vec<u64> = objects
            .iter()
            .filter(|object| object.location.prefix_matches(&log))
            .filter_map(|object| parse_version(&object.location))
            .filter(|(_, kind)| *kind == "json")
            .map(|(version, _)| version)
            .collect();
        let mut doomed = Doomed::default();
        if commits.is_empty() {
            // Never published: what dead writers staged.
            doomed.left_over =
                objects.iter().filter(|object| self.is_left_over(object, live)).cloned().collect();
            return Ok(doomed);
        }
        let mut ours = false;
        for version in &commits {
            let actions =
                read_commit(&self.inner.storage, folder, *version).await?.unwrap_or_default();
            if commit_info(&actions).tidemill_commit.is_some() {
                ours = true;
                break;
            }
        }
        // A table that was dropped: it goes as a whole, when nothing of it is young.
        if ours && objects.iter().all(|object| self.is_old(object)) {
            let (logs, data) =
                objects.iter().cloned().partition(|object| object.location.prefix_matches(&log));
            doomed.logs = logs;
            doomed.published = data;
        }
        Ok(doomed)
    }

    /// Whether a file that no log names was left behind.
    fn is_left_over(&self, object: &ObjectMeta, live: &HashSet<String>) -> bool {
        match writer_of(&object.location) {
            Some(writer) => !live.contains(writer),
            None => {
                object.location.as_ref().ends_with(".parquet")
                    && (self.now - object.last_modified).num_seconds() > FOREIGN_GRACE_SECONDS
            }
        }
    }

    /// Whether a file of a log is old enough to go.
    fn is_old(&self, object: &ObjectMeta) -> bool {
        let keep = chrono::TimeDelta::from_std(self.inner.options.keep_logs)
            .unwrap_or(chrono::TimeDelta::MAX);
        self.now - object.last_modified >= keep
    }

    /// Files of the catalog log that can go, and how many entries are among them.
    async fn expired_catalog(&self) -> Result<(u64, Vec<Path>)> {
        let storage = &self.inner.storage;
        let files = storage.list(&catalog::folder()).await?;
        let base = files
            .iter()
            .filter_map(|object| catalog::parse_name(&object.location))
            .filter(|(number, kind)| *kind == FileKind::Checkpoint && *number <= self.oldest)
            .map(|(number, _)| number)
            .max();
        let mut entries = 0;
        let mut doomed = Vec::new();
        let mut gone = HashSet::new();
        for object in files.iter().filter(|object| self.is_old(object)) {
            let (Some(base), Some((number, kind))) = (base, catalog::parse_name(&object.location))
            else {
                continue;
            };
            let expired = match kind {
                FileKind::Checkpoint => number < base,
                FileKind::Intent => number <= base,
                FileKind::Entry => number <= base && !self.named.contains(&number),
            };
            if expired {
                if kind == FileKind::Entry {
                    entries += 1;
                    gone.insert(number);
                }
                doomed.push(object.location.clone());
            }
        }
        // Positions that no entry names any more, and what kills left in the folder for files
        // without a name.
        let named: HashSet<&str> = self
            .entries
            .iter()
            .filter(|entry| !gone.contains(&entry.number.0))
            .flat_map(|entry| entry.relations.iter())
            .chain(self.state.records.values().map(|record| &**record))
            .filter_map(|record| record.position_file.as_deref())
            .collect();
        for folder in ["_tidemill/positions", crate::local::TEMPORARY] {
            for object in storage.list(&Path::from(folder)).await? {
                if self.is_old(&object) && !named.contains(object.location.as_ref()) {
                    doomed.push(object.location);
                }
            }
        }
        Ok((entries, doomed))
    }
}

/// The store's own clock: what it says of a file that was just written.
async fn store_clock(inner: &Inner) -> Result<DateTime<Utc>> {
    let path = Path::from("_tidemill").join(format!("clock-{}", uuid::Uuid::new_v4().simple()));
    inner.storage.put(&path, bytes::Bytes::from_static(b"0")).await?;
    let now = inner.storage.head(&path).await?.map(|meta| meta.last_modified);
    inner.storage.delete_all(vec![path]).await?;
    Ok(now.unwrap_or_else(Utc::now))
}

/// The folder of the table that a file belongs to: where its log is, else two levels deep.
fn table_folder(path: &Path) -> Option<Path> {
    let parts: Vec<_> = path.parts().collect();
    if parts.first()?.as_ref() == "_tidemill" {
        return None;
    }
    let end = parts
        .iter()
        .position(|part| part.as_ref() == "_delta_log")
        .unwrap_or(2.min(parts.len().saturating_sub(1)));
    (end > 0).then(|| Path::from_iter(parts.into_iter().take(end)))
}

/// The writer in the name of a data file of ours: `part-00000-<writer>-<stage>.…`.
fn writer_of(path: &Path) -> Option<&str> {
    let mut parts = path.filename()?.split(['-', '.']);
    let (part, number, writer, stage) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    (part == "part" && hex(number, 5) && hex(writer, 32) && hex(stage, 12)).then_some(writer)
}

/// Files that nothing names.
pub(crate) async fn orphans(inner: &Arc<Inner>) -> Result<Vec<Orphan>> {
    let rule = Maintenance { dry_run: true, ..Maintenance::default() };
    let vacuum = Vacuum::new(inner, &rule, Instant::now()).await?;
    let (live, _) = vacuum.writers().await?;
    let mut folders: BTreeMap<Path, Vec<ObjectMeta>> = BTreeMap::new();
    let mut orphans = Vec::new();
    for object in inner.storage.list(&Path::default()).await? {
        match table_folder(&object.location) {
            Some(folder) => folders.entry(folder).or_default().push(object),
            None if object.location.as_ref().starts_with("_tidemill") => {}
            None => orphans.push(orphan(&object, "not of this lake")),
        }
    }
    for (folder, objects) in folders {
        let (found, reason) = match vacuum.versions.get(&folder) {
            Some(versions) => {
                let doomed = vacuum.table(&folder, &objects, versions, &live).await?;
                let data = doomed.published.into_iter().chain(doomed.left_over).collect();
                (data, "in no version within retention")
            }
            None => (objects, "in a folder that no published relation names"),
        };
        orphans.extend(found.iter().map(|object| orphan(object, reason)));
    }
    Ok(orphans)
}

fn orphan(object: &ObjectMeta, reason: &'static str) -> Orphan {
    Orphan { path: object.location.to_string(), bytes: object.size, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_tables_and_writers() {
        let writer = "0123456789abcdef0123456789abcdef";
        let name = format!("s/t/part-00003-{writer}-0123456789ab.zstd.parquet");
        assert_eq!(writer_of(&Path::from(name.as_str())), Some(writer));
        assert_eq!(writer_of(&Path::from("s/t/part-00000-c8c1b0a8-1.snappy.parquet")), None);
        for (file, folder) in [
            (name.as_str(), Some("s/t")),
            ("s/t/_delta_log/00000000000000000000.json", Some("s/t")),
            ("s/t/p=1/q=2/x.parquet", Some("s/t")),
            ("_tidemill/catalog/1.json", None),
        ] {
            assert_eq!(table_folder(&Path::from(file)), folder.map(Path::from), "{file}");
        }
    }

    #[test]
    fn one_write_is_not_compacted() {
        let megabyte = 1 << 20;
        assert_eq!(files_of_one_write(8 * megabyte, 16 * megabyte), 0);
        // As the writer does it: up to 128 MiB.
        let (mut written, mut files) = (0u64, 0);
        loop {
            let file = (written / 8).max(16 * megabyte);
            if file >= 128 * megabyte {
                break;
            }
            written += file;
            files += 1;
        }
        assert!(files <= files_of_one_write(128 * megabyte, 16 * megabyte), "{files}");
    }
}

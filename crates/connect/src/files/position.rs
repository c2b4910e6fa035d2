//! What was loaded, and what follows from it for the next load.
//!
//! A file is known by its path and its content. A pure function compares what is there with what
//! was loaded; it is told the content's hash only where size and time leave a question.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill_core::{Error, ErrorKind, Notice, Position, ReadScope, Result};

use super::archive::ArchiveRecord;
use super::delta::DeltaPosition;
use super::iceberg::IcebergPosition;
use super::infer::Seen;
use super::listing::{FileEntry, Listing};
use super::settings::{Deduplicate, OnChange};
use super::types::{Shape, Types};

/// The position of a table that is filled from files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FilesPosition {
    format: u32,
    /// Every file that was loaded, by name; also those that are gone.
    pub(crate) files: BTreeMap<String, LoadedFile>,
    /// The archives that were looked into, so that one that has not changed is not read again for
    /// what it holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) archives: BTreeMap<String, ArchiveRecord>,
    /// Up to where a Delta table was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delta: Option<DeltaPosition>,
    /// Up to where an Iceberg table was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iceberg: Option<IcebergPosition>,
    /// What was seen in each column, so that the next load widens as if it had read all files.
    #[serde(default)]
    columns: Vec<(String, ShapeRecord)>,
}

/// A file that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoadedFile {
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    /// XXH3 (128 bits) of the file as it is on disk.
    pub(crate) hash: String,
    /// The object store's name of the version that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    pub(crate) rows: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ShapeRecord {
    seen: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<(String, ShapeRecord)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<Box<ShapeRecord>>,
}

fn record_of(shape: &Shape) -> ShapeRecord {
    ShapeRecord {
        seen: shape.seen.names().into_iter().map(str::to_owned).collect(),
        original: shape.original.clone(),
        fields: records_of(&shape.fields),
        item: shape.item.as_deref().map(|item| Box::new(record_of(item))),
    }
}

fn records_of(types: &Types) -> Vec<(String, ShapeRecord)> {
    types.iter().map(|(name, shape)| (name.to_owned(), record_of(shape))).collect()
}

fn shape_of(record: &ShapeRecord) -> Shape {
    Shape {
        seen: Seen::from_names(record.seen.iter().map(String::as_str)),
        original: record.original.clone(),
        fields: types_of(&record.fields),
        item: record.item.as_deref().map(|item| Box::new(shape_of(item))),
        arrow: None,
    }
}

fn types_of(records: &[(String, ShapeRecord)]) -> Types {
    let mut types = Types::default();
    for (name, record) in records {
        *types.entry(name) = shape_of(record);
    }
    types
}

impl FilesPosition {
    /// Reads a stored position.
    pub(crate) fn parse(position: Option<&Position>) -> Result<FilesPosition> {
        let Some(position) = position else {
            return Ok(FilesPosition { format: 1, ..Default::default() });
        };
        let read: FilesPosition = serde_json::from_value(position.0.clone()).map_err(|error| {
            Error::new(ErrorKind::Config, "the stored position is not one of a source of files")
                .because(error)
        })?;
        if read.format != 1 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the stored position was written by a newer version",
            ));
        }
        Ok(read)
    }

    /// For storing.
    pub(crate) fn to_position(&self) -> Result<Position> {
        serde_json::to_value(self).map(Position).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot write the position").because(error)
        })
    }

    pub(crate) fn types(&self) -> Types {
        types_of(&self.columns)
    }

    pub(crate) fn set_types(&mut self, types: &Types) {
        self.columns = records_of(types);
    }
}

/// The rules of a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) scope: ReadScope,
    pub(crate) on_change: Option<OnChange>,
    pub(crate) deduplicate: Option<Deduplicate>,
    pub(crate) settle: Option<Duration>,
    /// Nanoseconds since 1970.
    pub(crate) now: i64,
}

/// What a load has to do.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// The files to read, by name.
    pub(crate) read: Vec<FileEntry>,
    /// Those of them whose earlier rows go.
    pub(crate) replaced: Vec<String>,
    /// Files whose time changed but not their content.
    pub(crate) touched: Vec<FileEntry>,
    /// Files that are loaded and are as they were, the touched ones among them.
    pub(crate) same: Vec<FileEntry>,
    /// Files that are left out because their content is loaded under another name.
    pub(crate) duplicates: Vec<(FileEntry, String)>,
    pub(crate) notices: Vec<Notice>,
}

/// A notice about a file: the sentence is its name and what follows.
pub(crate) fn notice(code: &str, file: &str, predicate: impl std::fmt::Display) -> Notice {
    let message = format!("`{file}` {predicate}");
    Notice { code: code.to_owned(), message, object: Some(file.to_owned()) }
}

/// Decides what to read. `hash` reads a file's content where that is needed.
pub(crate) fn decide(
    listing: &Listing,
    position: &FilesPosition,
    rules: Rules,
    hash: &mut dyn FnMut(&FileEntry) -> Result<String>,
) -> Result<Decision> {
    let mut decision = Decision::default();
    let mut by_hash: HashMap<&str, &str> = HashMap::new();
    let mut sizes = std::collections::HashSet::new();
    for (name, file) in &position.files {
        by_hash.insert(&file.hash, name);
        sizes.insert(file.size);
    }
    let mut changed = Vec::new();
    let mut waiting = 0;
    let mut new = Vec::new();
    for file in &listing.files {
        let known = position.files.get(&file.name);
        if known.is_some_and(|known| {
            let version = known.version.as_deref();
            known.size == file.stamp.size
                && known.modified == file.stamp.modified
                && (version.is_none() || version == file.place.version())
        }) {
            decision.same.push(file.clone());
            continue;
        }
        if let Some(settle) = rules.settle {
            let age = rules.now.saturating_sub(file.stamp.modified);
            let nanos = u64::try_from(settle.as_nanos()).unwrap_or(u64::MAX);
            if i128::from(age) < i128::from(nanos) {
                waiting += 1;
                let until = file.stamp.modified.saturating_add_unsigned(nanos);
                let message = format!(
                    "was changed within the time of `settle`; it waits until {}",
                    chrono::DateTime::from_timestamp_nanos(until).format("%Y-%m-%d %H:%M:%S UTC")
                );
                decision.notices.push(notice("waiting-file", &file.name, message));
                continue;
            }
        }
        match known {
            None => {
                if rules.deduplicate == Some(Deduplicate::Content)
                    && sizes.contains(&file.stamp.size)
                    && let Some(first) = by_hash.get(hash(file)?.as_str())
                {
                    decision.notices.push(notice(
                        "duplicate-content",
                        &file.name,
                        format!("is left out: `{first}` with the same content is loaded"),
                    ));
                    decision.duplicates.push((file.clone(), (*first).to_owned()));
                    continue;
                }
                new.push(file.clone());
            }
            Some(known)
                if known.size == file.stamp.size
                    && (known.version.is_some()
                        && known.version.as_deref() == file.place.version()
                        || hash(file)? == known.hash) =>
            {
                decision.same.push(file.clone());
                decision.touched.push(file.clone());
            }
            Some(_) => changed.push(file.clone()),
        }
    }
    let present: std::collections::HashSet<&str> =
        listing.files.iter().map(|file| file.name.as_str()).collect();
    let mut vanished = 0;
    for name in position.files.keys().filter(|name| !present.contains(name.as_str())) {
        vanished += 1;
        let message = match rules.scope {
            ReadScope::Whole => "is gone; its rows go as well",
            _ => "is gone; its rows stay",
        };
        decision.notices.push(notice("vanished-file", name, message));
    }
    if listing.files.is_empty() && (position.files.is_empty() || rules.scope == ReadScope::Whole) {
        let locations = listing.missing.join("`, `");
        return Err(Error::new(ErrorKind::NotFound, format!("no file matches `{locations}`")));
    }
    if rules.scope == ReadScope::Whole {
        let differs = !new.is_empty() || !changed.is_empty() || vanished > 0;
        // Half of the set must not take the place of the whole.
        if differs && waiting == 0 {
            decision.read = listing.files.clone();
            decision.touched.clear();
            let left_out: std::collections::HashSet<&str> =
                decision.duplicates.iter().map(|(file, _)| file.name.as_str()).collect();
            decision.read.retain(|file| !left_out.contains(file.name.as_str()));
        }
        return Ok(decision);
    }
    let on_change = rules.on_change.unwrap_or(match rules.scope {
        ReadScope::Changed => OnChange::Reload,
        _ => OnChange::Error,
    });
    if on_change == OnChange::Error && !changed.is_empty() {
        let names: Vec<String> = changed.iter().map(|file| format!("`{}`", file.name)).collect();
        let (subject, verb) = if names.len() == 1 { ("file", "has") } else { ("files", "have") };
        return Err(Error::new(
            ErrorKind::Data,
            format!(
                "{subject} {} {verb} been loaded and {verb} other content now; set \
                 `on_change: reload` to replace its rows, or put the old content back",
                names.join(", ")
            ),
        ));
    }
    for file in &changed {
        let message = "has other content than when it was loaded; its rows are replaced";
        decision.notices.push(notice("changed-file", &file.name, message));
        decision.replaced.push(file.name.clone());
    }
    decision.read = new;
    decision.read.extend(changed);
    decision.read.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(decision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::listing::Stamp;

    fn file(name: &str, size: u64, modified: i64) -> FileEntry {
        FileEntry {
            name: name.into(),
            place: crate::files::place::Place::disk(name),
            stamp: Stamp { size, modified, inode: 1 },
        }
    }

    fn loaded(files: &[(&str, u64, i64, &str)]) -> FilesPosition {
        let mut position = FilesPosition { format: 1, ..Default::default() };
        for (name, size, modified, hash) in files {
            position.files.insert(
                (*name).into(),
                LoadedFile {
                    size: *size,
                    modified: *modified,
                    hash: (*hash).into(),
                    version: None,
                    rows: 1,
                },
            );
        }
        position
    }

    fn rules(scope: ReadScope) -> Rules {
        Rules { scope, on_change: None, deduplicate: None, settle: None, now: 1000 }
    }

    fn run(files: Vec<FileEntry>, position: &FilesPosition, rules: Rules) -> Result<Decision> {
        let listing = Listing { files, missing: vec!["x".into()] };
        decide(&listing, position, rules, &mut |file| Ok(format!("hash-{}", file.stamp.size)))
    }

    fn names(decision: &Decision) -> Vec<&str> {
        decision.read.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn a_file_is_read_once() {
        let position = loaded(&[("a", 10, 1, "h")]);
        let decision = run(vec![file("a", 10, 1)], &position, rules(ReadScope::New)).unwrap();
        assert!(decision.read.is_empty() && decision.notices.is_empty());
        let both = vec![file("a", 10, 1), file("b", 5, 2)];
        assert_eq!(names(&run(both.clone(), &position, rules(ReadScope::New)).unwrap()), ["b"]);
        assert_eq!(names(&run(both, &position, rules(ReadScope::Whole)).unwrap()), ["a", "b"]);
    }

    #[test]
    fn touched_changed_vanished() {
        let position = loaded(&[("a", 10, 1, "hash-10"), ("b", 20, 1, "old"), ("c", 30, 1, "h")]);
        let files = vec![file("a", 10, 2), file("b", 20, 2)];
        let error = run(files.clone(), &position, rules(ReadScope::New)).unwrap_err();
        assert!(error.message().contains("`b`") && error.message().contains("on_change"));
        let reload = Rules { on_change: Some(OnChange::Reload), ..rules(ReadScope::New) };
        let decision = run(files.clone(), &position, reload).unwrap();
        assert_eq!(names(&decision), ["b"]);
        assert_eq!(decision.replaced, ["b"]);
        assert_eq!(decision.touched.len(), 1);
        let codes: Vec<&str> = decision.notices.iter().map(|notice| notice.code.as_str()).collect();
        assert_eq!(codes, ["vanished-file", "changed-file"]);
        assert_eq!(names(&run(files, &position, rules(ReadScope::Changed)).unwrap()), ["b"]);
    }

    #[test]
    fn young_files_wait() {
        let position = loaded(&[("a", 10, 1, "h")]);
        let settle = |scope| Rules { settle: Some(Duration::from_nanos(100)), ..rules(scope) };
        let files = vec![file("a", 10, 1), file("b", 1, 950), file("c", 1, 900)];
        let decision = run(files.clone(), &position, settle(ReadScope::New)).unwrap();
        assert_eq!(names(&decision), ["c"]);
        assert_eq!(decision.notices[0].code, "waiting-file");
        assert!(run(files, &position, settle(ReadScope::Whole)).unwrap().read.is_empty());
    }

    #[test]
    fn copies() {
        let position = loaded(&[("a", 10, 1, "hash-10")]);
        let files = vec![file("a", 10, 1), file("copy", 10, 5)];
        assert_eq!(names(&run(files.clone(), &position, rules(ReadScope::New)).unwrap()), ["copy"]);
        let content = Rules { deduplicate: Some(Deduplicate::Content), ..rules(ReadScope::New) };
        let decision = run(files, &position, content).unwrap();
        assert!(decision.read.is_empty());
        assert_eq!(decision.duplicates[0].1, "a");
    }

    #[test]
    fn nothing_there() {
        let empty = loaded(&[]);
        assert_eq!(
            run(Vec::new(), &empty, rules(ReadScope::New)).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        let position = loaded(&[("a", 10, 1, "h")]);
        let decision = run(Vec::new(), &position, rules(ReadScope::New)).unwrap();
        assert_eq!(decision.notices[0].code, "vanished-file");
    }

    #[test]
    fn positions_come_back() {
        let mut position = loaded(&[("a", 10, 1, "h")]);
        let mut types = Types::default();
        types.entry("x").seen.add(Seen::INTEGER);
        types.entry("y").fields.entry("z").seen.add(Seen::TEXT);
        position.set_types(&types);
        let stored = position.to_position().unwrap();
        let back = FilesPosition::parse(Some(&stored)).unwrap();
        assert_eq!(back, position);
        assert_eq!(back.types(), types);
    }
}

//! Manifests: which files a snapshot has, and with which of them rows were deleted.
//!
//! Source: "Iceberg Table Spec", sections "Manifests" and "Manifest Lists".

use tidemill_core::{Error, ErrorKind, Result};

use super::metadata::{PartitionField, Snapshot, Table};
use super::place::Files;
use crate::files::avro::values::{Datum, Header, Record};

/// A manifest of a snapshot.
#[derive(Debug)]
pub(super) struct Manifest {
    path: String,
    /// Whether its files say which rows were deleted.
    pub(super) deletes: bool,
    /// When it was added, for entries that do not say it themselves.
    sequence: i64,
    /// The snapshot that added it.
    pub(super) snapshot: Option<i64>,
    spec: Option<i32>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Rows,
    /// The places of rows that were deleted.
    Positions,
    /// The values of rows that were deleted, in the fields with these numbers.
    Equality(Vec<i32>),
}

/// A file of a table.
#[derive(Debug, Clone)]
pub(super) struct DataFile {
    pub(super) content: Content,
    /// Its whole address.
    pub(super) path: String,
    /// `PARQUET`, `AVRO`, `ORC`, `PUFFIN`.
    pub(super) format: String,
    pub(super) records: u64,
    pub(super) spec: i32,
    /// In the order of the partition spec.
    pub(super) partition: Vec<Datum>,
    /// Of deleted places: the one file that they are in.
    pub(super) referenced: Option<String>,
    /// Of deleted places: the smallest and the largest path of files.
    pub(super) paths: Option<(Vec<u8>, Vec<u8>)>,
    /// Of a deletion vector: where it is in its file, and how many bytes it has.
    pub(super) blob: Option<(u64, u64)>,
}

/// A file in a manifest that is part of its snapshot.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Whether the manifest's snapshot added it.
    pub(super) added: bool,
    /// The snapshot that added it.
    pub(super) snapshot: Option<i64>,
    /// When its rows were written, by the count of commits.
    pub(super) sequence: i64,
    pub(super) file: DataFile,
}

/// The field of paths in files of deleted places.
pub(super) const PATH_FIELD: i32 = 2_147_483_546;

/// The manifests of a snapshot.
///
/// # Errors
/// Kind `Data` for a list that is damaged.
pub(super) fn manifests(files: &Files, snapshot: &Snapshot) -> Result<Vec<Manifest>> {
    let Some(list) = &snapshot.manifest_list else {
        // Version 1 may name them in the metadata.
        let plain = |path: &String| Manifest {
            path: path.clone(),
            deletes: false,
            sequence: 0,
            snapshot: None,
            spec: None,
        };
        return match &snapshot.manifests {
            Some(manifests) => Ok(manifests.iter().map(plain).collect()),
            None => Err(files.damaged("a snapshot of the table does not say what it has")),
        };
    };
    let mut manifests = Vec::new();
    files.each_record(list, &mut |_, record| {
        let damaged = || files.damaged("a list of manifests is damaged");
        refuse_encrypted(files, record)?;
        let spec = record.long("partition_spec_id").map(i32::try_from);
        manifests.push(Manifest {
            path: record.text("manifest_path").ok_or_else(damaged)?.to_owned(),
            deletes: match record.long("content") {
                None | Some(0) => false,
                Some(1) => true,
                Some(_) => return Err(damaged()),
            },
            sequence: record.long("sequence_number").unwrap_or(0),
            snapshot: record.long("added_snapshot_id"),
            spec: spec.transpose().map_err(|_| damaged())?,
        });
        Ok(())
    })?;
    Ok(manifests)
}

/// Hands the files of a manifest to `each`, without those that were removed.
///
/// # Errors
/// Kind `Data` for a manifest that is damaged, and what `each` gives.
pub(super) fn each_entry(
    files: &Files,
    table: &Table,
    manifest: &Manifest,
    each: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<()> {
    files.each_record(&manifest.path, &mut |header, record| {
        let damaged = || files.damaged("a manifest of the table is damaged");
        let added = match record.long("status").ok_or_else(damaged)? {
            0 => false,
            1 => true,
            2 => return Ok(()),
            _ => return Err(damaged()),
        };
        let file = record.record("data_file").ok_or_else(damaged)?;
        refuse_encrypted(files, file)?;
        let spec = match manifest.spec {
            Some(spec) => spec,
            None => spec_of(header).ok_or_else(damaged)?,
        };
        let partition = partition(file, table.spec(spec)?).ok_or_else(damaged)?;
        let file = data_file(file, spec, partition, manifest.deletes).ok_or_else(damaged)?;
        // One that was added takes from its manifest what was not known when it was written.
        let inherited = if added { manifest.sequence } else { 0 };
        each(Entry {
            added,
            snapshot: record.long("snapshot_id").or(manifest.snapshot),
            sequence: record.long("sequence_number").unwrap_or(inherited),
            file,
        })
    })
}

fn refuse_encrypted(files: &Files, record: &Record) -> Result<()> {
    match record.get("key_metadata") {
        None => Ok(()),
        Some(_) => Err(Error::new(
            ErrorKind::Unsupported,
            "the table has encrypted files, which are not read",
        )
        .with("table", &files.name)),
    }
}

/// The partition spec that a manifest says in its header.
fn spec_of(header: &Header) -> Option<i32> {
    match header.get("partition-spec-id") {
        None => Some(0),
        Some(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
    }
}

/// The values of a partition, in the order of its spec.
fn partition(file: &Record, spec: &[PartitionField]) -> Option<Vec<Datum>> {
    let Some(written) = file.record("partition") else {
        return spec.is_empty().then(Vec::new);
    };
    let value = |(at, field): (usize, &PartitionField)| {
        let by_id = field.field_id.and_then(|id| written.by_id(id));
        by_id.or_else(|| written.values().get(at)).cloned()
    };
    spec.iter().enumerate().map(value).collect()
}

fn data_file(file: &Record, spec: i32, partition: Vec<Datum>, deletes: bool) -> Option<DataFile> {
    let content = match (file.long("content").unwrap_or(0), deletes) {
        (0, false) => Content::Rows,
        (1, true) => Content::Positions,
        (2, true) => {
            let ids = file.list("equality_ids").iter().map(|id| match id {
                Datum::Long(id) => i32::try_from(*id).ok(),
                _ => None,
            });
            Content::Equality(ids.collect::<Option<Vec<i32>>>().filter(|ids| !ids.is_empty())?)
        }
        _ => return None,
    };
    let size = |name: &str| file.long(name).and_then(|size| u64::try_from(size).ok());
    let bound = |name: &str| file.list(name).iter().find_map(path_bound);
    Some(DataFile {
        path: file.text("file_path")?.to_owned(),
        format: file.text("file_format")?.to_ascii_uppercase(),
        records: size("record_count")?,
        spec,
        partition,
        referenced: file.text("referenced_data_file").map(str::to_owned),
        blob: size("content_offset").zip(size("content_size_in_bytes")),
        paths: match content {
            Content::Positions => bound("lower_bounds").zip(bound("upper_bounds")),
            _ => None,
        },
        content,
    })
}

/// The bound of the field of paths.
fn path_bound(pair: &Datum) -> Option<Vec<u8>> {
    let Datum::Record(pair) = pair else { return None };
    match (pair.long("key")?, pair.get("value")?) {
        (key, Datum::Bytes(bytes)) if key == i64::from(PATH_FIELD) => Some(bytes.clone()),
        _ => None,
    }
}

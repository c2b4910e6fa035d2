//! Checkpoints of a Delta log: the state of a table in one (or several) Parquet files, so that a
//! reader need not replay every commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::log::{TableState, log_folder, parse_version};
use super::{Action, Transaction, parse_commit, write_commit};
use crate::reader::ObjectReader;
use crate::storage::Storage;

/// `_last_checkpoint`.
#[derive(Serialize, Deserialize)]
struct Hint {
    version: u64,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<u64>,
}

fn hint_path(table: &Path) -> Path {
    log_folder(table).join("_last_checkpoint")
}

fn single(table: &Path, version: u64) -> Path {
    log_folder(table).join(format!("{version:020}.checkpoint.parquet"))
}

/// The newest checkpoint at or below a version: its version and its files.
pub(crate) async fn find(
    storage: &Storage,
    table: &Path,
    version: u64,
) -> Result<Option<(u64, Vec<Path>)>> {
    if let Some(content) = storage.get(&hint_path(table)).await?
        && let Ok(hint) = serde_json::from_slice::<Hint>(&content)
        && hint.version <= version
    {
        let paths = match hint.parts {
            None => vec![single(table, hint.version)],
            Some(parts) => (1..=parts)
                .map(|part| {
                    log_folder(table).join(format!(
                        "{:020}.checkpoint.{part:010}.{parts:010}.parquet",
                        hint.version
                    ))
                })
                .collect(),
        };
        // The hint may point at one that is gone.
        if storage.head(&paths[0]).await?.is_some() {
            return Ok(Some((hint.version, paths)));
        }
    } else if storage.head(&super::commit_path(table, 0)).await?.is_some() && version < 64 {
        return Ok(None);
    }
    Ok(all(storage, table).await?.into_iter().rfind(|(at, _)| *at <= version))
}

/// Every complete checkpoint of a table, by version.
pub(crate) async fn all(storage: &Storage, table: &Path) -> Result<BTreeMap<u64, Vec<Path>>> {
    let mut found: BTreeMap<u64, Vec<Path>> = BTreeMap::new();
    let mut parts: BTreeMap<(u64, u64), Vec<Path>> = BTreeMap::new();
    for object in storage.list(&log_folder(table)).await? {
        let Some((version, kind)) = parse_version(&object.location) else { continue };
        if kind == "checkpoint.parquet" {
            found.insert(version, vec![object.location]);
        } else if let Some(rest) =
            kind.strip_prefix("checkpoint.").and_then(|rest| rest.strip_suffix(".parquet"))
            && let Some((_, of)) = rest.split_once('.')
            && let Ok(of) = of.parse::<u64>()
        {
            let files = parts.entry((version, of)).or_default();
            files.push(object.location);
            if files.len() as u64 == of {
                found.entry(version).or_insert_with(|| files.clone());
            }
        }
    }
    Ok(found)
}

/// The actions of a checkpoint. Removed files are left out: nobody here asks for them.
pub(crate) async fn read(storage: &Storage, paths: &[Path]) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    for path in paths {
        let broken = || {
            Error::new(ErrorKind::Data, "a checkpoint of a Delta log cannot be read")
                .with("path", path)
        };
        let meta = storage.head(path).await?.ok_or_else(broken)?;
        let reader = ObjectReader::new(storage, path, meta.size);
        let builder = ParquetRecordBatchStreamBuilder::new(reader)
            .await
            .map_err(|error| broken().because(error))?;
        let wanted = |path: &str| {
            let top = path.split('.').next().unwrap_or_default();
            matches!(top, "protocol" | "metaData" | "add" | "txn")
                && !path.starts_with("add.stats_parsed")
                && !path.starts_with("add.partitionValues_parsed")
        };
        let leaves: Vec<usize> = builder
            .parquet_schema()
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, column)| wanted(&column.path().string()))
            .map(|(index, _)| index)
            .collect();
        let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves);
        let mut batches =
            builder.with_projection(mask).build().map_err(|error| broken().because(error))?;
        while let Some(batch) = batches.try_next().await.map_err(|error| broken().because(error))? {
            let mut lines = Vec::new();
            let mut writer = LineDelimitedWriter::new(&mut lines);
            writer
                .write(&batch)
                .and_then(|()| writer.finish())
                .map_err(|error| broken().because(error))?;
            actions.extend(parse_commit(&lines, path)?);
        }
    }
    Ok(actions)
}

/// Writes the checkpoint of a state, and the hint that names it.
pub(crate) async fn write_checkpoint(storage: &Storage, state: &TableState) -> Result<()> {
    let mut actions =
        vec![Action::Protocol(state.protocol.clone()), Action::MetaData(state.metadata.clone())];
    for (app_id, version) in &state.transactions {
        actions.push(Action::Txn(Transaction {
            app_id: app_id.clone(),
            version: *version,
            last_updated: None,
        }));
    }
    for file in state.files.values() {
        let mut add = file.add.clone();
        add.data_change = false;
        actions.push(Action::Add(add));
    }
    let size = actions.len() as u64;
    let content = tokio::task::spawn_blocking(move || encode(&actions))
        .await
        .or_error(ErrorKind::Internal, "a background task failed")??;
    storage.put(&single(&state.table, state.version), content).await?;
    // The hint must not name a checkpoint that a power cut takes away.
    storage.sync().await?;
    let hint = serde_json::to_vec(&Hint { version: state.version, size, parts: None })
        .or_error(ErrorKind::Internal, "a checkpoint hint cannot be written")?;
    storage.put(&hint_path(&state.table), hint.into()).await
}

fn encode(actions: &[Action]) -> Result<Bytes> {
    let failed = || Error::new(ErrorKind::Internal, "a checkpoint cannot be written");
    let schema = Arc::new(checkpoint_schema());
    let lines = write_commit(actions)?;
    let reader = ReaderBuilder::new(schema.clone())
        .build(lines.as_ref())
        .map_err(|error| failed().because(error))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut content, schema, options)
        .map_err(|error| failed().because(error))?;
    for batch in reader {
        let batch: RecordBatch = batch.map_err(|error| failed().because(error))?;
        writer.write(&batch).map_err(|error| failed().because(error))?;
    }
    writer.close().map_err(|error| failed().because(error))?;
    Ok(content.into())
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn map(name: &str) -> Field {
    let pair = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
    let entries = Field::new("key_value", DataType::Struct(pair), false);
    Field::new(name, DataType::Map(Arc::new(entries), false), true)
}

fn list(name: &str) -> Field {
    Field::new(name, DataType::List(Arc::new(text("element"))), true)
}

fn group(name: &str, fields: Vec<Field>) -> Field {
    Field::new(name, DataType::Struct(fields.into()), true)
}

/// The schema that the protocol lays down ("Checkpoint Schema").
fn checkpoint_schema() -> Schema {
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let integer = |name: &str| Field::new(name, DataType::Int32, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    Schema::new(vec![
        group("txn", vec![text("appId"), long("version"), long("lastUpdated")]),
        group(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                flag("dataChange"),
                text("stats"),
                map("tags"),
            ],
        ),
        group(
            "remove",
            vec![
                text("path"),
                long("deletionTimestamp"),
                flag("dataChange"),
                flag("extendedFileMetadata"),
                map("partitionValues"),
                long("size"),
            ],
        ),
        group(
            "metaData",
            vec![
                text("id"),
                text("name"),
                text("description"),
                group("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                list("partitionColumns"),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        group(
            "protocol",
            vec![
                integer("minReaderVersion"),
                integer("minWriterVersion"),
                list("readerFeatures"),
                list("writerFeatures"),
            ],
        ),
    ])
}

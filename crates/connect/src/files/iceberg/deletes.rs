//! Which rows of a file were deleted, by their places or by their values.
//!
//! Source: "Iceberg Table Spec", sections "Position Delete Files", "Equality Delete Files" and "Scan
//! Planning".

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::file::metadata::RowGroupMetaData;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::manifest::{Content, DataFile, Entry};
use super::metadata::Table;
use super::place::Files;
use super::vector::each_place;
use crate::files::avro::values::Datum;
use crate::files::place::ObjectReader;

/// A file that says which rows were deleted.
#[derive(Debug)]
pub(super) struct DeleteFile {
    pub(super) file: DataFile,
    pub(super) sequence: i64,
}

/// The deletes of a snapshot, by what they concern.
#[derive(Debug, Default)]
pub(super) struct Deletes {
    by_partition: HashMap<(i32, Vec<Datum>), Vec<Arc<DeleteFile>>>,
    /// Places in one file, which is named.
    by_path: HashMap<String, Vec<Arc<DeleteFile>>>,
    /// By values, whatever the partition.
    everywhere: Vec<Arc<DeleteFile>>,
    /// All places of one file, which make files of places needless.
    vectors: HashMap<String, Arc<DeleteFile>>,
}

/// The deletes that concern a file.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) positions: Vec<Arc<DeleteFile>>,
    pub(super) equalities: Vec<Arc<DeleteFile>>,
}

impl Deletes {
    /// Takes a file of deletes.
    ///
    /// # Errors
    /// Kind `Unsupported` for deletes in a format that is not read.
    pub(super) fn take(&mut self, entry: Entry, table: &Table, files: &Files) -> Result<()> {
        let Entry { file, sequence, .. } = entry;
        match file.format.as_str() {
            "PARQUET" => {}
            "PUFFIN" if file.content == Content::Positions => {
                let delete = DeleteFile { file, sequence };
                let (Some(path), Some(_)) = (&delete.file.referenced, delete.file.blob) else {
                    return Err(files.damaged("a deletion vector does not say what it is of"));
                };
                let path = path.clone();
                if self.vectors.insert(path.clone(), Arc::new(delete)).is_some() {
                    return Err(files
                        .damaged("a file has several deletion vectors")
                        .with("file", path));
                }
                return Ok(());
            }
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the table has deletes in files of the format {other}, which are not read"
                    ),
                )
                .with("table", &files.name)
                .with("file", &file.path));
            }
        }
        let spec = table.spec(file.spec)?;
        let unpartitioned = spec.iter().all(|field| field.transform == "void");
        let one = one_path(&file);
        let delete = Arc::new(DeleteFile { file, sequence });
        let file = &delete.file;
        match (&file.content, one) {
            (Content::Equality(_), _) if unpartitioned => self.everywhere.push(delete),
            (Content::Positions, Some(path)) => {
                self.by_path.entry(path).or_default().push(delete);
            }
            _ => {
                let key = (file.spec, file.partition.clone());
                self.by_partition.entry(key).or_default().push(delete);
            }
        }
        Ok(())
    }

    /// The deletes that concern a file: those of its partition that came later. Places may be of rows of
    /// the same commit, values never are.
    pub(super) fn of(&self, file: &DataFile, sequence: i64) -> Applied {
        let mut applied = Applied::default();
        let partition = self.by_partition.get(&(file.spec, file.partition.clone()));
        let path = self.by_path.get(&file.path);
        let all = partition.into_iter().chain(path).chain([&self.everywhere]).flatten();
        for delete in all {
            match delete.file.content {
                Content::Positions
                    if delete.sequence >= sequence && may_name(&delete.file, file) =>
                {
                    applied.positions.push(Arc::clone(delete));
                }
                Content::Equality(_) if delete.sequence > sequence => {
                    applied.equalities.push(Arc::clone(delete));
                }
                _ => {}
            }
        }
        if let Some(vector) = self.vectors.get(&file.path).filter(|it| it.sequence >= sequence) {
            applied.positions = vec![Arc::clone(vector)];
        }
        applied
    }
}

/// The one file that places are in, where that is known.
fn one_path(deletes: &DataFile) -> Option<String> {
    let same = || {
        let (smallest, largest) = deletes.paths.as_ref()?;
        // A bound may be cut; both are then not the same.
        (smallest == largest).then(|| String::from_utf8(smallest.clone()).ok()).flatten()
    };
    deletes.referenced.clone().or_else(same)
}

/// Whether places of this file can be among these.
fn may_name(deletes: &DataFile, file: &DataFile) -> bool {
    let path = file.path.as_bytes();
    match &deletes.paths {
        Some((smallest, largest)) => smallest.as_slice() <= path && path <= largest.as_slice(),
        None => true,
    }
}

/// Places of a file, as bits.
#[derive(Debug, Default)]
pub(super) struct Places {
    words: Vec<u64>,
    any: bool,
}

impl Places {
    /// Of a file with so many rows.
    fn new(rows: u64) -> Places {
        let words = usize::try_from(rows.div_ceil(64)).unwrap_or(usize::MAX);
        Places { words: vec![0; words], any: false }
    }

    fn set(&mut self, place: u64) {
        // A place behind the end is of no row.
        let word = usize::try_from(place / 64).ok().and_then(|at| self.words.get_mut(at));
        if let Some(word) = word {
            *word |= 1 << (place % 64);
            self.any = true;
        }
    }

    /// Whether the row at this place is among them.
    pub(super) fn has(&self, place: u64) -> bool {
        let word = usize::try_from(place / 64).ok().and_then(|at| self.words.get(at));
        word.is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        !self.any
    }
}

/// The deleted places of a file with so many rows.
///
/// # Errors
/// Kind `Data` for a file of deletes that is damaged.
pub(super) fn places(
    files: &Files,
    deletes: &[Arc<DeleteFile>],
    path: &str,
    rows: u64,
) -> Result<Places> {
    let mut places = Places::new(if deletes.is_empty() { 0 } else { rows });
    for delete in deletes {
        let file = &delete.file;
        let read = async {
            match file.blob.filter(|_| file.format == "PUFFIN") {
                Some(blob) => unpack(files, file, blob, &mut places).await,
                None => collect(files, file, path, &mut places).await,
            }
        };
        files.handle.block_on(read).map_err(|error| error.with("file", &delete.file.path))?;
    }
    Ok(places)
}

const DAMAGED: &str = "a file of deleted rows is damaged";

/// The largest deletion vector: that of a file of four billion rows.
const LARGEST_VECTOR: u64 = 1 << 30;

/// The places of a deletion vector.
async fn unpack(
    files: &Files,
    delete: &DataFile,
    (offset, size): (u64, u64),
    places: &mut Places,
) -> Result<()> {
    let damaged = || Error::new(ErrorKind::Data, DAMAGED);
    if size > LARGEST_VECTOR {
        return Err(damaged());
    }
    let object = files.object(&delete.path).await?;
    let blob = object.part(offset, size).await.or_error(ErrorKind::Io, DAMAGED)?;
    let count = each_place(&blob, &mut |place| places.set(place)).ok_or_else(damaged)?;
    match count == delete.records {
        true => Ok(()),
        false => Err(damaged()),
    }
}

async fn collect(files: &Files, delete: &DataFile, path: &str, places: &mut Places) -> Result<()> {
    let damaged = || Error::new(ErrorKind::Data, DAMAGED);
    let object = files.object(&delete.path).await?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ObjectReader(Arc::new(object));
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options)
        .await
        .or_error(ErrorKind::Data, DAMAGED)?;
    let schema = builder.schema();
    let paths = schema.index_of("file_path").map_err(|error| damaged().because(error))?;
    let positions = schema.index_of("pos").map_err(|error| damaged().because(error))?;
    // Rows are in the order of their paths, so most groups are of other files.
    let groups = builder.metadata().row_groups().iter().enumerate();
    let groups: Vec<usize> =
        groups.filter(|(_, group)| may_have(group, path)).map(|(at, _)| at).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), [paths, positions]);
    let mut stream = builder
        .with_projection(mask)
        .with_row_groups(groups)
        .build()
        .or_error(ErrorKind::Data, DAMAGED)?;
    while let Some(batch) = stream.next().await {
        let batch = batch.or_error(ErrorKind::Data, DAMAGED)?;
        let column = |name: &str, data_type: &DataType| {
            let column = batch.column_by_name(name).ok_or_else(damaged)?;
            cast(column, data_type).or_error(ErrorKind::Data, DAMAGED)
        };
        let named = column("file_path", &DataType::Utf8)?;
        let named = named.as_string::<i32>();
        let numbers = column("pos", &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            if named.is_valid(row) && named.value(row) == path {
                let place = numbers.is_valid(row).then(|| u64::try_from(numbers.value(row)).ok());
                places.set(place.flatten().ok_or_else(damaged)?);
            }
        }
    }
    Ok(())
}

/// Whether a row group of a file of places can have this path.
fn may_have(group: &RowGroupMetaData, path: &str) -> bool {
    let column = group.columns().iter().find(|column| column.column_path().string() == "file_path");
    let bounds = column
        .and_then(|column| column.statistics())
        .and_then(|statistics| Some((statistics.min_bytes_opt()?, statistics.max_bytes_opt()?)));
    match bounds {
        Some((smallest, largest)) => smallest <= path.as_bytes() && path.as_bytes() <= largest,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: Content, path: &str, partition: Vec<Datum>) -> DataFile {
        DataFile {
            content,
            path: path.to_owned(),
            format: "PARQUET".to_owned(),
            records: 100,
            spec: 0,
            partition,
            referenced: None,
            paths: None,
            blob: None,
        }
    }

    fn deletes(all: Vec<(DataFile, i64)>) -> Deletes {
        let mut deletes = Deletes::default();
        for (file, sequence) in all {
            let key = (file.spec, file.partition.clone());
            let delete = Arc::new(DeleteFile { file, sequence });
            deletes.by_partition.entry(key).or_default().push(delete);
        }
        deletes
    }

    #[test]
    fn places_count_from_their_own_commit_on_and_values_from_the_next() {
        let day = |day: i64| vec![Datum::Long(day)];
        let deletes = deletes(vec![
            (file(Content::Positions, "p", day(1)), 5),
            (file(Content::Equality(vec![1]), "e", day(1)), 5),
        ]);
        let of = |sequence: i64, partition: Vec<Datum>| {
            let applied = deletes.of(&file(Content::Rows, "x", partition), sequence);
            (applied.positions.len(), applied.equalities.len())
        };
        assert_eq!(of(4, day(1)), (1, 1));
        assert_eq!(of(5, day(1)), (1, 0));
        assert_eq!(of(6, day(1)), (0, 0));
        assert_eq!(of(4, day(2)), (0, 0));
    }

    #[test]
    fn places_of_other_files_are_left_out() {
        let mut between = file(Content::Positions, "p", vec![]);
        between.paths = Some((b"b".to_vec(), b"d".to_vec()));
        assert_eq!(one_path(&between), None);
        let deletes = deletes(vec![(between.clone(), 1)]);
        let of = |path: &str| deletes.of(&file(Content::Rows, path, vec![]), 1).positions.len();
        assert_eq!((of("a"), of("b"), of("c"), of("e")), (0, 1, 1, 0));
        between.paths = Some((b"b".to_vec(), b"b".to_vec()));
        assert_eq!(one_path(&between).as_deref(), Some("b"));
    }

    #[test]
    fn places_are_bits() {
        let mut places = Places::new(100);
        assert!(places.is_empty());
        for place in [0, 63, 64, 99, 5000] {
            places.set(place);
        }
        let found: Vec<u64> = (0..200).filter(|place| places.has(*place)).collect();
        assert_eq!(found, [0, 63, 64, 99]);
    }
}

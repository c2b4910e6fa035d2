//! Measures the lake on TPC-H's lineitem: `lineitem <lineitem.parquet> <folder>` writes the table,
//! then upserts 100,000 rows spread over it and as many within its newest tenth, and prints CPU
//! seconds, memory and sizes.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tidemill_core::{
    At, BatchStream, Duplicates, NullKeys, PublishChange, PublishMeta, RelationName, StageRequest,
    TableStore, WriteMode,
};
use tidemill_lake::{Compression, Lake, LakeOptions};

type Failure = Box<dyn std::error::Error>;

/// User and system seconds of this process, and its greatest size in MB.
fn usage() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or_default();
    ((ticks(12) + ticks(13)) / 100.0, peak / 1024)
}

#[allow(clippy::print_stdout, reason = "it is a program")]
fn report(what: &str, start: (f64, u64), wall: Instant) {
    let now = usage();
    println!(
        "{what:32} cpu {:6.2} s   wall {:6.2} s   peak {} MB",
        now.0 - start.0,
        wall.elapsed().as_secs_f64(),
        now.1
    );
}

async fn write(
    lake: &Lake,
    name: &RelationName,
    mode: WriteMode,
    rows: BatchStream,
) -> Result<(), Failure> {
    let staged = lake
        .stage(StageRequest {
            relation: name.clone(),
            mode,
            partition_by: None,
            rows,
            base: lake.snapshot(At::Now).await?,
            comments: vec![],
            observers: vec![],
            run: "bench".into(),
        })
        .await?;
    let change = PublishChange::Table(Arc::new(staged), PublishMeta::default());
    lake.publish(vec![change], &"bench".into()).await?;
    Ok(())
}

fn rows_of(path: &str, unique: bool) -> Result<BatchStream, Failure> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path)?)?;
    let reader = builder.with_batch_size(65_536).build()?;
    let mut next = 0i64;
    // A key of its own: the row's number.
    let mut batches = reader.map(move |batch| {
        let batch = batch.map_err(|error| {
            tidemill_core::Error::new(tidemill_core::ErrorKind::Io, "no batch").because(error)
        })?;
        if !unique {
            return Ok(batch);
        }
        let ids: ArrayRef =
            Arc::new(Int64Array::from_iter_values(next..next + batch.num_rows() as i64));
        next += batch.num_rows() as i64;
        let columns = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(f, c)| (f.name().clone(), c.clone(), true))
            .collect::<Vec<_>>();
        let all = std::iter::once(("id".to_owned(), ids, true)).chain(columns);
        RecordBatch::try_from_iter_with_nullable(all).map_err(|error| {
            tidemill_core::Error::new(tidemill_core::ErrorKind::Internal, "no batch").because(error)
        })
    });
    let first = batches.next().ok_or("no rows")??;
    let schema = first.schema();
    let all = std::iter::once(Ok(first)).chain(batches);
    Ok(BatchStream::new(schema, futures::stream::iter(all).boxed()))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "it is a program")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let (source, folder) = (&arguments[1], &arguments[2]);
    let mut options = LakeOptions { parallelism: 2, ..LakeOptions::new(Default::default()) };
    match arguments.get(3).map(String::as_str) {
        Some("snappy") => options.compression = Compression::Snappy,
        Some("none") => options.compression = Compression::None,
        _ => {}
    }
    let lake = Lake::open(folder, options).await?;

    let (start, wall) = (usage(), Instant::now());
    let mut stream = rows_of(source, true)?;
    while let Some(batch) = stream.batches.next().await {
        batch?;
    }
    report("decode the source", start, wall);

    let plain = RelationName::new("bench", "lineitem");
    let (start, wall) = (usage(), Instant::now());
    write(&lake, &plain, WriteMode::Replace, rows_of(source, true)?).await?;
    report("decode and write the table", start, wall);
    let snapshot = lake.snapshot(At::Now).await?;
    println!("bytes {:?}", snapshot.get(&plain).and_then(|table| table.bytes));

    let upsert = || WriteMode::Upsert {
        key: vec!["id".into()],
        update: None,
        duplicates: Duplicates::Fail,
        null_keys: NullKeys::Fail,
    };
    let rows = snapshot.get(&plain).and_then(|table| table.rows).unwrap_or_default() as i64;
    let changes = |from: i64, step: i64| {
        let ids: Vec<i64> = (0..100_000).map(|index| from + index * step).collect();
        let texts: ArrayRef =
            Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("changed {id}"))));
        let ids: ArrayRef = Arc::new(Int64Array::from(ids));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("id", ids, true),
            ("l_comment", texts, true),
        ]);
        batch.map(|batch| BatchStream::from_batches(batch.schema(), vec![batch]))
    };
    let (start, wall) = (usage(), Instant::now());
    write(&lake, &plain, upsert(), changes(rows - rows / 10, rows / 10 / 100_000)?).await?;
    report("upsert the newest tenth", start, wall);
    let (start, wall) = (usage(), Instant::now());
    write(&lake, &plain, upsert(), changes(0, rows / 100_000)?).await?;
    report("upsert all over the table", start, wall);
    let snapshot = lake.snapshot(At::Now).await?;
    println!("rows {:?}", snapshot.get(&plain).and_then(|table| table.rows));

    let (start, wall) = (usage(), Instant::now());
    for _ in 0..1 {
        let mut changes = Vec::new();
        for index in 0..500 {
            let batch = RecordBatch::try_from_iter([(
                "a",
                Arc::new(Int64Array::from(vec![index])) as ArrayRef,
            )])?;
            let relation = RelationName::new("many", format!("t{index}"));
            let staged = lake
                .stage(StageRequest {
                    relation,
                    mode: WriteMode::Replace,
                    partition_by: None,
                    rows: BatchStream::from_batches(batch.schema(), vec![batch]),
                    base: snapshot.clone(),
                    comments: vec![],
                    observers: vec![],
                    run: "bench".into(),
                })
                .await?;
            changes.push(PublishChange::Table(Arc::new(staged), PublishMeta::default()));
        }
        lake.publish(changes, &"bench".into()).await?;
    }
    report("500 small tables as one", start, wall);
    println!("{:?}", lake.sync_counts());
    let (start, wall) = (usage(), Instant::now());
    let other = Lake::open(folder, LakeOptions::new(Default::default())).await?;
    let snapshot = other.snapshot(At::Now).await?;
    report("open and resolve", start, wall);
    println!("relations {}", snapshot.relations.len());
    Ok(())
}

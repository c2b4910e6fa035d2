//! Times the engine on TPC-H: the 22 queries, and twenty checks of `lineitem`.
//!
//! ```text
//! race load <folder of parquet files> <lake>
//! race tpch <lake> <folder of queries> [rounds] [query number]
//! race checks <lake> [rounds]
//! race sql <lake> <statement>
//! ```
#![allow(clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use arrow::util::pretty::pretty_format_batches;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::TryStreamExt;
use tidemill_core::{
    At, BatchStream, Cancellation, Engine, Error, ErrorKind, Measure, Overlay, Principal,
    PublishChange, PublishMeta, QueryContext, Reference, RelationName, RunId, StageRequest,
    TableStore, WriteMode,
};
use tidemill_engine::{EmbeddedEngine, EngineOptions};
use tidemill_lake::{Lake, LakeOptions};

// As the binary has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["load", from, lake] => load(from, lake).await,
        ["tpch", lake, queries, rest @ ..] => tpch(lake, queries, rest).await,
        ["checks", lake, rest @ ..] => checks(lake, rest).await,
        ["sql", lake, sql] => {
            let (engine, context) = open(lake).await?;
            let rows: Vec<_> = engine.query(sql, &context).await?.batches.try_collect().await?;
            println!("{}", pretty_format_batches(&rows)?);
            Ok(())
        }
        _ => bail!("load, tpch, checks or sql"),
    }
}

fn run() -> RunId {
    RunId::new("race")
}

async fn open(lake: &str) -> Result<(EmbeddedEngine, QueryContext)> {
    let engine = EmbeddedEngine::new(EngineOptions::default())?;
    let lake = Lake::open(lake, LakeOptions::new(engine.runtime())).await?;
    let context = QueryContext {
        snapshot: lake.snapshot(At::Now).await?,
        overlay: Overlay::none(),
        principal: Principal::Owner,
        run: run(),
        cancel: Cancellation::new(),
        default_schema: "main".into(),
        timezone: "UTC".into(),
        now: 0,
    };
    Ok((engine.with_tables(Arc::new(lake)), context))
}

async fn load(from: &str, lake: &str) -> Result<()> {
    let engine = EmbeddedEngine::new(EngineOptions::default())?;
    let lake = Lake::open(lake, LakeOptions::new(engine.runtime())).await?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path)?)?
            .with_batch_size(64 * 1024)
            .build()?;
        let schema = arrow::array::RecordBatchReader::schema(&reader);
        let rows = futures::stream::iter(reader)
            .map_err(|error| Error::new(ErrorKind::Io, "the file cannot be read").because(error));
        let staged = lake
            .stage(StageRequest {
                relation: RelationName::new("main", name),
                mode: WriteMode::Replace,
                partition_by: None,
                rows: BatchStream::new(schema, rows),
                base: lake.snapshot(At::Now).await?,
                comments: Vec::new(),
                observers: Vec::new(),
                run: run(),
            })
            .await?;
        println!("{name}: {:?} rows", staged.rows);
        let change = PublishChange::Table(Arc::new(staged), PublishMeta::default());
        lake.publish(vec![change], &run()).await?;
    }
    Ok(())
}

/// CPU seconds of this process so far.
fn cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').context("the process has no name")?.1.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).context("no peak")?;
    Ok(line.split_whitespace().nth(1).context("no peak")?.parse::<u64>()? / 1024)
}

async fn tpch(lake: &str, queries: &str, rest: &[&str]) -> Result<()> {
    let (engine, context) = open(lake).await?;
    let rounds: usize = rest.first().map_or(Ok(2), |text| text.parse())?;
    let only: Option<usize> = rest.get(1).map(|text| text.parse()).transpose()?;
    for round in 0..rounds {
        let mut line = Vec::new();
        let (start, started) = (cpu()?, Instant::now());
        for number in 1..=22 {
            if only.is_some_and(|only| only != number) {
                continue;
            }
            let sql = std::fs::read_to_string(Path::new(queries).join(format!("q{number}.sql")))?;
            let before = cpu()?;
            let mut rows = 0;
            let mut batches = engine
                .query(&sql, &context)
                .await
                .with_context(|| format!("query {number}"))?
                .batches;
            while let Some(batch) =
                batches.try_next().await.with_context(|| format!("query {number}"))?
            {
                rows += batch.num_rows();
            }
            line.push(format!("q{number} {:.2} ({rows})", cpu()? - before));
        }
        println!(
            "round {round}: cpu {:.2} wall {:.2}",
            cpu()? - start,
            started.elapsed().as_secs_f64()
        );
        println!("  {}", line.join("  "));
    }
    println!("peak {} MB", peak()?);
    Ok(())
}

async fn checks(lake: &str, rest: &[&str]) -> Result<()> {
    let (engine, context) = open(lake).await?;
    let rounds: usize = rest.first().map_or(Ok(2), |text| text.parse())?;
    let lineitem = RelationName::new("main", "lineitem");
    let count_if = |text: &str| Measure::CountIf { predicate: text.into(), filter: None };
    let mut measures: Vec<Measure> =
        ["l_orderkey", "l_partkey", "l_suppkey", "l_linenumber", "l_quantity", "l_shipdate"]
            .map(|column| Measure::Nulls { expression: column.into(), filter: None })
            .into();
    measures.extend([
        count_if("not (l_quantity >= 1) or not (l_quantity <= 50)"),
        count_if("not (l_extendedprice > 0)"),
        count_if("not (l_discount >= 0) or not (l_discount <= 0.1)"),
        count_if("not (l_tax >= 0) or not (l_tax <= 0.08)"),
        count_if("not (l_shipdate >= date '1992-01-01') or not (l_shipdate <= date '1998-12-31')"),
    ]);
    let unaccepted = |expression: &str, accepted: &[&str]| Measure::Unaccepted {
        expression: expression.into(),
        accepted: accepted.iter().map(|text| (*text).to_owned()).collect(),
        filter: None,
    };
    measures.extend([
        unaccepted("l_linenumber", &["1", "2", "3", "4", "5", "6", "7"]),
        unaccepted("l_returnflag", &["'A'", "'N'", "'R'"]),
        unaccepted("l_linestatus", &["'F'", "'O'"]),
        unaccepted(
            "l_shipinstruct",
            &["'COLLECT COD'", "'DELIVER IN PERSON'", "'NONE'", "'TAKE BACK RETURN'"],
        ),
    ]);
    for (column, pattern) in [("l_shipmode", "^[A-Z]+( [A-Z]+)?$"), ("l_comment", "^.{1,44}$")] {
        measures.push(Measure::Mismatches {
            expression: column.into(),
            pattern: pattern.into(),
            ignore_case: false,
            filter: None,
        });
    }
    measures.push(Measure::Duplicates {
        expressions: vec!["l_orderkey".into(), "l_linenumber".into()],
        ignore_nulls: false,
        filter: None,
    });
    for (column, table, key) in
        [("l_orderkey", "orders", "o_orderkey"), ("l_partkey", "part", "p_partkey")]
    {
        measures.push(Measure::Orphans {
            expression: column.into(),
            reference: Reference {
                relation: RelationName::new("main", table),
                expression: key.into(),
                filter: None,
            },
            filter: None,
        });
    }
    for round in 0..rounds {
        let (start, started) = (cpu()?, Instant::now());
        let taken = engine.measure(&lineitem, &measures, &context).await?;
        let values: Vec<String> = taken
            .into_iter()
            .map(|taken| match taken {
                Ok(value) => value.as_f64().to_string(),
                Err(error) => error.to_string(),
            })
            .collect();
        println!(
            "round {round}: {} checks, cpu {:.2} wall {:.2}: {}",
            values.len(),
            cpu()? - start,
            started.elapsed().as_secs_f64(),
            values.join(" ")
        );
    }
    if rounds == 1 {
        for measure in &measures {
            let before = cpu()?;
            engine.measure(&lineitem, std::slice::from_ref(measure), &context).await?;
            println!("  {:.2} {measure:?}", cpu()? - before);
        }
    }
    println!("cpu in all {:.2}, peak {} MB", cpu()?, peak()?);
    Ok(())
}

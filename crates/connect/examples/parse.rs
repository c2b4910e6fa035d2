//! Parses files and says how many rows they have and how much processor time that took:
//! `parse [--threads N] <path or pattern>`, or the settings of a table as JSON in place of the path.

use std::process::ExitCode;
use std::time::Instant;

use futures::StreamExt;
use tidemill_connect::files::{FilesConfig, FilesConnector};
use tidemill_core::{
    Cancellation, Change, ConnectContext, Connector, ReadRequest, ReadScope, Until,
};

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut threads = 2;
    let mut location = None;
    while let Some(argument) = arguments.next() {
        if argument == "--threads" {
            threads = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(2);
        } else {
            location = Some(argument);
        }
    }
    let Some(location) = location else {
        eprintln!("usage: parse [--threads N] <path or pattern>");
        return ExitCode::from(2);
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
        return ExitCode::from(2);
    };
    match runtime.block_on(parse(&location, threads)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.report());
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)]
async fn parse(location: &str, threads: usize) -> tidemill_core::Result<()> {
    let project = std::env::current_dir().unwrap_or_default();
    let source = FilesConnector::connect(
        FilesConfig::default(),
        ConnectContext { project, name: String::new() },
    )?;
    let started = Instant::now();
    let mut changes = source
        .read(ReadRequest {
            settings: serde_json::from_str(location)
                .unwrap_or_else(|_| serde_json::json!({ "location": location })),
            name: String::new(),
            cursor: None,
            primary_key: Vec::new(),
            declared: Vec::new(),
            known: None,
            position: None,
            superseded: None,
            siblings: Vec::new(),
            every_change: false,
            scope: ReadScope::New,
            until: Until::CaughtUp,
            parallelism: threads,
            cancel: Cancellation::new(),
        })
        .await?;
    let (mut rows, mut rejected, mut batches) = (0, 0, 0);
    while let Some(change) = changes.next().await {
        match change? {
            Change::Rows(batch) => {
                rows += batch.num_rows();
                batches += 1;
            }
            Change::Rejected(batch) => rejected += batch.num_rows(),
            Change::Schema(schema) | Change::Restart(schema) => {
                (rows, rejected, batches) = (0, 0, 0);
                for field in schema.fields() {
                    println!("{:30} {}", field.name(), field.data_type());
                }
            }
            Change::Notice(notice) => println!("{}: {}", notice.code, notice.message),
            Change::Replaces { .. } | Change::Truncated | Change::Position(_) => {}
        }
    }
    println!("{rows} rows in {batches} batches, {rejected} rejected");
    println!("wall {:.2} s, {}", started.elapsed().as_secs_f64(), usage());
    Ok(())
}

/// Processor time and peak memory, as Linux counts them.
fn usage() -> String {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> =
        behind_name.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("").trim();
    format!("user+system {:.2} s, {peak}", ticks.iter().sum::<f64>() / 100.0)
}

//! Processes that die or stand still at every step, and what the next one makes of it.
//!
//! A child process (this test binary again) carries out one scenario with a failpoint armed. It is
//! killed there twice over, then it runs once more undisturbed. At every moment a reader sees the
//! state before or the state after, and in the end there are the rows of one clean run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::json;
use tidemill_core::{
    At, BatchStream, ErrorKind, FILE, Maintenance, Position, PublishChange, PublishMeta, Result,
    StageRequest, TableStore, WriteMode,
};
use tidemill_lake::{FAILPOINTS, Lake, LakeOptions};

use crate::support::*;
use crate::tables::walk;

const SCENARIOS: &[&str] =
    &["replace", "append", "upsert", "replace_where", "replace_files", "run", "maintain"];

/// Options under which every failpoint is passed.
fn options() -> LakeOptions {
    LakeOptions {
        parallelism: 1,
        inline_position: 0,
        keep_logs: Duration::ZERO,
        writer_lifetime: Duration::ZERO,
        ..LakeOptions::new(Default::default())
    }
}

async fn open_child(folder: &Path) -> Lake {
    Lake::open(folder.to_str().unwrap(), options()).await.unwrap()
}

fn rows(values: impl Iterator<Item = (i64, &'static str)> + Clone) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(values.clone().map(|row| row.0)));
    let parts: ArrayRef = Arc::new(StringArray::from_iter_values(values.map(|row| row.1)));
    batch(vec![("id", ids), ("part", parts)])
}

/// A lake whose next entry has number 64 and whose tables' next version is 10, so that checkpoints
/// of both kinds are due.
async fn template(folder: &Path) {
    let lake = open_child(folder).await;
    for step in 0..10i64 {
        let mut changes = Vec::new();
        for name in ["s.t", "s.u"] {
            let new = rows([(step * 2, "even"), (step * 2 + 1, "odd")].into_iter());
            let staged =
                stage(&lake, name, WriteMode::Append, vec!["part".into()], new).await.unwrap();
            changes.push(PublishChange::Table(Arc::new(staged), PublishMeta::default()));
        }
        lake.publish(changes, &run()).await.unwrap();
    }
    // Left behind by somebody who died.
    let _ = stage(&lake, "s.t", WriteMode::Append, vec![], rows([(1, "even")].into_iter())).await;
    for _ in 10..63 {
        let change = PublishChange::Record {
            relation: relation("s.u"),
            meta: PublishMeta { record: Some(json!({"x": 1})), ..PublishMeta::default() },
        };
        lake.publish(vec![change], &run()).await.unwrap();
    }
    assert_eq!(lake.snapshot(At::Now).await.unwrap().entry.0, 63);
}

/// One step of work. When somebody else published first, it starts again from there.
async fn scenario(lake: &Lake, name: &str) -> Result<()> {
    loop {
        match attempt(lake, name).await {
            Err(error)
                if error.kind() == ErrorKind::Conflict && !error.message().contains("engine") => {}
            outcome => return outcome,
        }
    }
}

/// The position says whether it was done, as an ingest's does.
async fn attempt(lake: &Lake, name: &str) -> Result<()> {
    if name == "maintain" {
        let rule =
            Maintenance { keep_for: Duration::ZERO, keep_versions: 1, ..Maintenance::default() };
        lake.maintain(&rule).await?;
        return Ok(());
    }
    let base = lake.snapshot(At::Now).await?;
    let done = Position(json!({"step": 1}));
    if base.get(&relation("s.t")).and_then(|table| table.position.clone()) == Some(done.clone()) {
        return Ok(());
    }
    let (mut mode, new) = change(name);
    if let WriteMode::ReplaceFiles { files } = &mut mode {
        let all = lake.by_file(&relation("s.t"), &base, None).await?.expect("a table");
        let provider = lake.provider_staged(&all)?;
        let sql = format!("select distinct {FILE} from t where id < 3");
        *files = lines_of(lake, provider, &sql).await;
    }
    let mut names = vec!["s.t"];
    if name == "run" {
        names.extend(["s.u", "s.new"]);
    }
    let mut changes = Vec::new();
    let mut all = Vec::new();
    for table in names {
        let staged = lake
            .stage(StageRequest {
                relation: relation(table),
                mode: mode.clone(),
                partition_by: Some(vec!["part".into()]),
                rows: BatchStream::from_batches(new.schema(), vec![new.clone()]),
                base: base.clone(),
                comments: vec![],
                observers: vec![],
                run: run(),
            })
            .await?;
        let meta = PublishMeta { position: Some(done.clone()), ..PublishMeta::default() };
        let staged = Arc::new(staged);
        all.push(staged.clone());
        changes.push(PublishChange::Table(staged, meta));
    }
    let published = lake.publish(changes, &run()).await;
    if published.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict) {
        for staged in all {
            lake.discard(&staged).await?;
        }
    }
    published.map(drop)
}

fn change(name: &str) -> (WriteMode, RecordBatch) {
    match name {
        "append" => (WriteMode::Append, rows([(100, "even"), (101, "new")].into_iter())),
        "upsert" => (upsert(&["id"]), rows([(3, "moved"), (100, "even")].into_iter())),
        "replace_where" => (
            WriteMode::ReplaceWhere { columns: vec!["part".into()] },
            rows([(100, "odd"), (101, "odd")].into_iter()),
        ),
        "replace_files" => {
            let files = WriteMode::ReplaceFiles { files: Vec::new() };
            (files, rows([(0, "other"), (1, "odd"), (2, "even")].into_iter()))
        }
        _ => (WriteMode::Replace, rows([(1, "only"), (2, "two")].into_iter())),
    }
}

async fn rows_of(lake: &Lake, name: &str) -> Option<Vec<String>> {
    let snapshot = lake.snapshot(At::Now).await.unwrap();
    let provider = lake.provider(snapshot.get(&relation(name))?).await.unwrap();
    Some(lines_of(lake, provider, "select * from t").await)
}

async fn lines_of(
    lake: &Lake,
    provider: Arc<dyn datafusion::catalog::TableProvider>,
    sql: &str,
) -> Vec<String> {
    let context = datafusion::prelude::SessionContext::new_with_config_rt(
        datafusion::prelude::SessionConfig::new().with_target_partitions(1),
        {
            let runtime = Arc::new(datafusion::execution::runtime_env::RuntimeEnv::default());
            // The lake registers its store with the runtime that it was opened with.
            lake.register(&runtime);
            runtime
        },
    );
    context.register_table("t", provider).unwrap();
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    lines(&batches)
}

async fn all_rows(lake: &Lake) -> Vec<Option<Vec<String>>> {
    let mut all = Vec::new();
    for name in ["s.t", "s.u", "s.new"] {
        all.push(rows_of(lake, name).await);
    }
    all
}

/// The child's part: does nothing when it is run as a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(scenario_name) = std::env::var("TIDEMILL_TEST_SCENARIO") else { return };
    let folder = PathBuf::from(std::env::var("TIDEMILL_TEST_LAKE").unwrap());
    let lake = open_child(&folder).await;
    if let Err(error) = scenario(&lake, &scenario_name).await {
        eprintln!("{}", error.report());
        std::panic!("the scenario failed");
    }
}

pub fn spawn(folder: &Path, scenario: &str, failpoint: Option<&str>) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["kill::child", "--exact", "--nocapture", "--test-threads=1"])
        .env("TIDEMILL_TEST_SCENARIO", scenario)
        .env("TIDEMILL_TEST_LAKE", folder)
        .env("RUST_BACKTRACE", "0")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    match failpoint {
        Some(failpoint) => command.env("TIDEMILL_FAILPOINT", failpoint),
        None => command.env_remove("TIDEMILL_FAILPOINT"),
    };
    command.spawn().unwrap()
}

fn run_child(folder: &Path, scenario: &str, failpoint: Option<&str>) -> ExitStatus {
    spawn(folder, scenario, failpoint).wait().unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal().is_some()
}

#[test]
fn killed_at_every_step_twice_over_and_run_again() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("template");
    runtime.block_on(template(&original));

    // What each scenario comes to when nothing disturbs it.
    let mut expected = Vec::new();
    for scenario_name in SCENARIOS {
        let clean = folder.path().join(format!("clean-{scenario_name}"));
        copy(&original, &clean);
        let (before, after) = runtime.block_on(async {
            let lake = open_child(&clean).await;
            let before = all_rows(&lake).await;
            scenario(&lake, scenario_name).await.unwrap();
            (before, all_rows(&lake).await)
        });
        assert_eq!(before == after, *scenario_name == "maintain");
        expected.push((before, after));
    }

    let rounds: usize = if std::env::var("TIDEMILL_SOAK").is_ok() { 10 } else { 1 };
    let mut work: Vec<(usize, &str, usize)> = Vec::new();
    for round in 0..rounds {
        for failpoint in FAILPOINTS {
            for index in 0..SCENARIOS.len() {
                work.push((index, failpoint, round));
            }
        }
    }
    let work = Mutex::new(work);
    let fired: Mutex<BTreeSet<&str>> = Mutex::default();
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (work, fired, expected, original) = (&work, &fired, &expected, &original);
            let (folder, runtime) = (folder.path(), &runtime);
            scope.spawn(move || {
                loop {
                    let Some((index, failpoint, round)) = work.lock().unwrap().pop() else {
                        return;
                    };
                    let name = SCENARIOS[index];
                    let what = format!("{name} killed at {failpoint}");
                    let lake = folder.join(format!("{worker}-{name}-{failpoint}-{round}"));
                    copy(original, &lake);
                    let (before, after) = &expected[index];
                    // Later rounds die at a later passing.
                    let armed = format!("{failpoint}=abort@{}", round % 3 + 1);
                    for _ in 0..2 {
                        let status = run_child(&lake, name, Some(&armed));
                        if !was_killed(status) {
                            // This scenario does not pass there.
                            assert!(status.success(), "{what}: {status}");
                            break;
                        }
                        fired.lock().unwrap().insert(failpoint);
                        let seen =
                            runtime.block_on(async { all_rows(&open_child(&lake).await).await });
                        assert!(
                            seen == *before || seen == *after,
                            "{what}: a reader sees {seen:?}"
                        );
                    }
                    let status = run_child(&lake, name, None);
                    assert!(status.success(), "{what}, then run again: {status}");
                    runtime.block_on(async {
                        let reader = open_child(&lake).await;
                        assert_eq!(all_rows(&reader).await, *after, "{what}, then run again");
                        // Nothing is left over, and nothing that is needed is gone.
                        let rule = Maintenance {
                            keep_for: Duration::ZERO,
                            keep_versions: 1,
                            compact: false,
                            ..Maintenance::default()
                        };
                        let report = reader.maintain(&rule).await.unwrap();
                        assert_eq!(report.warnings, Vec::<String>::new(), "{what}");
                        assert_eq!(all_rows(&reader).await, *after, "{what}, vacuumed");
                        assert_eq!(reader.orphans().await.unwrap(), [], "{what}");
                        assert_eq!(reader.repair().await.unwrap().problems, [], "{what}");
                    });
                    let empty: Vec<String> = walk(&lake)
                        .filter(|file| std::fs::metadata(file).is_ok_and(|meta| meta.len() == 0))
                        .collect();
                    assert_eq!(empty, Vec::<String>::new(), "{what}: empty files");
                    std::fs::remove_dir_all(&lake).unwrap();
                }
            });
        }
    });
    if rounds == 1 {
        let fired = fired.into_inner().unwrap();
        let all: BTreeSet<&str> = FAILPOINTS.iter().copied().collect();
        assert_eq!(fired, all, "every failpoint must have killed somebody");
    }
}

/// Waits for a file without sleeping.
fn wait_for(file: &Path, child: &mut std::process::Child) {
    while !file.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended before it stood still");
        std::thread::yield_now();
    }
}

#[test]
fn a_writer_that_stands_still_finds_its_own_work_done() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("template");
    runtime.block_on(template(&original));
    for failpoint in [
        "publish.before-intent",
        "publish.after-intent",
        "publish.before-commit",
        "publish.after-commit",
        "publish.before-entry",
        "publish.after-entry",
    ] {
        for name in ["append", "upsert", "run"] {
            let lake = folder.path().join(format!("{name}-{failpoint}"));
            copy(&original, &lake);
            let go = folder.path().join(format!("{name}-{failpoint}.go"));
            let mut child =
                spawn(&lake, name, Some(&format!("{failpoint}=pause:{}", go.display())));
            wait_for(&go.with_extension("reached"), &mut child);

            // Somebody else publishes meanwhile, and finishes what is decided.
            let own = runtime.block_on(async {
                let other = open_child(&lake).await;
                let staged =
                    stage(&other, "s.other", WriteMode::Append, vec![], people(&[(1, "x")]))
                        .await
                        .unwrap();
                publish(&other, staged).await.unwrap();
                all_rows(&other).await
            });
            std::fs::write(&go, "").unwrap();
            assert!(child.wait().unwrap().success(), "{name} at {failpoint}");
            runtime.block_on(async {
                let reader = open_child(&lake).await;
                let seen = all_rows(&reader).await;
                if failpoint != "publish.before-intent" {
                    assert_eq!(seen, own, "{name} at {failpoint}: done by the other");
                }
                let table = seen[0].clone().unwrap();
                let (_, new) = change(name);
                for line in lines(&[new]) {
                    let times = table.iter().filter(|row| **row == line).count();
                    assert_eq!(times, 1, "{name} at {failpoint}: {line} in {table:?}");
                }
                assert_eq!(rows_of(&reader, "s.other").await.unwrap(), ["1,x"]);
            });
        }
    }
}

#[test]
fn another_engine_comes_between_intent_and_commit() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("template");
    runtime.block_on(template(&original));
    for (name, goes_on) in [("append", true), ("replace", true), ("upsert", false)] {
        let lake = folder.path().join(name);
        copy(&original, &lake);
        let go = folder.path().join(format!("{name}.go"));
        let mut child =
            spawn(&lake, name, Some(&format!("publish.after-intent=pause:{}", go.display())));
        wait_for(&go.with_extension("reached"), &mut child);
        let commit = lake.join("s/t/_delta_log/00000000000000000010.json");
        std::fs::write(&commit, "{\"commitInfo\":{\"operation\":\"NOTHING\"}}\n").unwrap();
        std::fs::write(&go, "").unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.success(), goes_on, "{name}");
        runtime.block_on(async {
            let reader = open_child(&lake).await;
            let snapshot = reader.snapshot(At::Now).await.unwrap();
            let table = snapshot.get(&relation("s.t")).unwrap();
            let version = match &table.kind {
                tidemill_core::RelationKind::Table { version, .. } => version.0,
                _ => unreachable!("it is a table"),
            };
            assert_eq!(version, if goes_on { 11 } else { 9 }, "{name}");
            let foreign = reader.foreign_heads(&snapshot).await.unwrap();
            assert_eq!(foreign.is_empty(), goes_on, "{name}");
            if !goes_on {
                // The next build adopts it, and goes on.
                let adopted = reader.adopt(&relation("s.t"), &snapshot, &run()).await.unwrap();
                publish(&reader, adopted).await.unwrap();
                scenario(&reader, name).await.unwrap();
            }
            let (_, new) = change(name);
            let table = rows_of(&reader, "s.t").await.unwrap();
            for line in lines(&[new]) {
                assert!(table.contains(&line), "{name}: {line} in {table:?}");
            }
        });
    }
}

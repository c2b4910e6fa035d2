//! Time travel, restore, maintenance, and what other engines leave in the log.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidemill_core::{
    At, EntryNumber, ErrorKind, Maintenance, Position, PublishChange, PublishMeta, RelationKind,
    RunId, TableStore, WriteMode,
};

use crate::support::*;
use crate::tables::walk;

fn at(entry: u64) -> At {
    At::Entry(EntryNumber(entry))
}

async fn load(lake: &TestLake, name: &str, id: i64, position: i64, run: &str) {
    let staged = lake.stage(name, WriteMode::Append, people(&[(id, "x")])).await.unwrap();
    let meta = PublishMeta {
        position: Some(Position(json!(position))),
        record: Some(json!({"fingerprint": position})),
        ..PublishMeta::default()
    };
    let change = PublishChange::Table(Arc::new(staged), meta);
    lake.lake.publish(vec![change], &RunId::new(run)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_takes_the_position_back_with_the_data() {
    let lake = TestLake::with(|options| options.inline_position = 0).await;
    load(&lake, "s.t", 1, 1, "one").await;
    load(&lake, "s.t", 2, 2, "two").await;
    load(&lake, "s.u", 3, 3, "two").await;
    load(&lake, "s.t", 4, 4, "three").await;

    let published = lake.lake.restore(&relation("s.t"), &at(1), false, &run()).await.unwrap();
    let table = published.snapshot.get(&relation("s.t")).unwrap();
    assert_eq!(table.position, Some(Position(json!(1))));
    assert_eq!(table.record.as_deref(), Some(&json!({"fingerprint": 1})));
    assert_eq!(lake.rows("s.t").await, ["1,x"]);

    let published = lake.lake.restore_run(&RunId::new("two"), true, &run()).await.unwrap();
    let table = published.snapshot.get(&relation("s.t")).unwrap();
    assert_eq!(table.position, Some(Position(json!(1))), "it was to be kept");
    assert_eq!(lake.rows("s.t").await, ["1,x", "2,x"]);

    // Before it existed; and after a drop its old folder is taken up again.
    lake.lake.restore(&relation("s.u"), &at(2), false, &run()).await.unwrap();
    assert!(lake.lake.snapshot(At::Now).await.unwrap().get(&relation("s.u")).is_none());
    let published = lake.lake.restore(&relation("s.u"), &at(3), false, &run()).await.unwrap();
    assert_eq!(
        published.snapshot.get(&relation("s.u")).unwrap().position,
        Some(Position(json!(3)))
    );
    assert_eq!(lake.rows("s.u").await, ["3,x"]);
    load(&lake, "s.u", 5, 5, "four").await;
    assert_eq!(lake.rows("s.u").await, ["3,x", "5,x"]);

    let history = lake.lake.history(&relation("s.t")).await.unwrap();
    let operations: Vec<&str> =
        history.iter().map(|entry| entry.operation.as_deref().unwrap()).collect();
    assert_eq!(operations, ["restore", "restore", "append", "append", "append"]);
    let difference =
        lake.lake.diff(&relation("s.t"), EntryNumber(1), EntryNumber(4)).await.unwrap();
    assert_eq!(difference.rows, (Some(1), Some(3)));
    assert_eq!((difference.added_files.len(), difference.removed_files.len()), (2, 0));
    let entries = lake.lake.entries(3).await.unwrap();
    assert_eq!(entries.len(), 3);
    assert!(entries[0].entry > entries[2].entry);
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_states_are_found_by_time_and_run() {
    let lake = TestLake::new().await;
    for step in 1..=70i64 {
        load(&lake, "s.t", step, step, &format!("run {step}")).await;
    }
    let entries = lake.lake.entries(100).await.unwrap();
    assert_eq!(entries.len(), 70);
    assert!(entries.windows(2).all(|pair| pair[0].time > pair[1].time));
    for step in [1u64, 40, 63, 64, 65, 70] {
        let time = entries[70 - step as usize].time;
        for state in [at(step), At::Time(time), At::Run(RunId::new(format!("run {step}")))] {
            let snapshot = lake.lake.snapshot(state.clone()).await.unwrap();
            assert_eq!(snapshot.entry.0, step, "{state:?}");
            assert_eq!(snapshot.get(&relation("s.t")).unwrap().rows, Some(step));
        }
    }
    assert_eq!(lake.lake.snapshot(At::Time(1)).await.unwrap().entry.0, 0);
    let missing = lake.lake.snapshot(at(71)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    // A new process starts from the checkpoint.
    let other = open(lake.folder.path()).await;
    assert_eq!(other.snapshot(At::Now).await.unwrap().entry.0, 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_joins_and_deletes_and_keeps_what_is_needed() {
    let lake = TestLake::with(|options| options.keep_logs = Duration::ZERO).await;
    for step in 0..70i64 {
        load(&lake, "s.t", step, step, "r").await;
    }
    load(&lake, "s.gone", 1, 1, "r").await;
    lake.lake
        .publish(vec![PublishChange::Drop { relation: relation("s.gone") }], &run())
        .await
        .unwrap();
    let expected = lake.rows("s.t").await;
    let before = lake.lake.snapshot(At::Now).await.unwrap();

    // Within retention nothing goes.
    let report = lake
        .lake
        .maintain(&Maintenance { compact: false, ..Maintenance::default() })
        .await
        .unwrap();
    assert_eq!((report.deleted_files, report.warnings.len()), (0, 0), "{report:?}");

    let report = lake.lake.maintain(&Maintenance::default()).await.unwrap();
    assert_eq!(report.compacted, [(relation("s.t"), 70, 1)]);
    assert_eq!(lake.rows("s.t").await, expected);
    let after = lake.lake.snapshot(At::Now).await.unwrap();
    let (old, new) = (before.get(&relation("s.t")).unwrap(), after.get(&relation("s.t")).unwrap());
    assert_eq!(old.data_entry, new.data_entry, "joining files changes no data");
    assert_eq!((&old.hash, &old.position), (&new.hash, &new.position));

    let strict =
        Maintenance { keep_for: Duration::ZERO, keep_versions: 2, ..Maintenance::default() };
    let planned =
        lake.lake.maintain(&Maintenance { dry_run: true, ..strict.clone() }).await.unwrap();
    let report = lake.lake.maintain(&strict).await.unwrap();
    assert_eq!(planned.deleted_files, report.deleted_files);
    assert!(report.expired_entries > 50, "{report:?}");
    assert!(report.warnings.is_empty(), "{report:?}");
    assert_eq!(lake.rows("s.t").await, expected);
    assert_eq!(lake.rows_at("s.t", at(72)).await.len(), 70);
    assert!(!lake.folder.path().join("s/gone").exists());
    // 70 that were joined are kept for the version before; the rest is one file.
    let other = open(lake.folder.path()).await;
    assert_eq!(other.snapshot(At::Now).await.unwrap().entry, after.entry);
    assert_eq!(other.repair().await.unwrap().problems, []);
    let gone = lake.lake.snapshot(at(3)).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);

    // The lake goes on.
    load(&lake, "s.t", 1000, 1000, "r").await;
    assert_eq!(lake.rows("s.t").await.len(), 71);
    let logs = walk(&lake.folder.path().join("s/t/_delta_log")).count();
    assert!(logs < 30, "{logs} files in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_writer_cannot_publish_what_was_given_up() {
    let lake = TestLake::new().await;
    lake.write("s.t", WriteMode::Append, people(&[(1, "a")])).await.unwrap();
    let staged = lake.stage("s.t", WriteMode::Append, people(&[(2, "b")])).await.unwrap();
    // Somebody else thinks that this process is dead.
    let runtime = Arc::new(datafusion::execution::runtime_env::RuntimeEnv::default());
    let strict = tidemill_lake::LakeOptions {
        writer_lifetime: Duration::ZERO,
        keep_logs: Duration::ZERO,
        ..options(&runtime)
    };
    let other =
        tidemill_lake::Lake::open(lake.folder.path().to_str().unwrap(), strict).await.unwrap();
    let report = other.maintain(&Maintenance::default()).await.unwrap();
    assert_eq!(report.deleted_files, 1, "{report:?}");
    let error = publish(&lake.lake, staged).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(lake.rows("s.t").await, ["1,a"]);
    // It builds again and goes on.
    lake.write("s.t", WriteMode::Append, people(&[(2, "b")])).await.unwrap();
    assert_eq!(lake.rows("s.t").await, ["1,a", "2,b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn features_that_are_not_read_are_named() {
    let lake = TestLake::new().await;
    lake.write("s.t", WriteMode::Append, people(&[(1, "a")])).await.unwrap();
    let commit = lake.folder.path().join("s/t/_delta_log/00000000000000000001.json");
    std::fs::write(
        commit,
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#,
    )
    .unwrap();
    let snapshot = lake.lake.snapshot(At::Now).await.unwrap();
    assert_eq!(lake.lake.foreign_heads(&snapshot).await.unwrap(), [relation("s.t")]);
    let error = lake.lake.adopt(&relation("s.t"), &snapshot, &run()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("deletionVectors"), "{error}");
    // Readers keep the published version.
    assert_eq!(lake.rows("s.t").await, ["1,a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_lake_is_refused() {
    let lake = TestLake::new().await;
    lake.write("s.t", WriteMode::Append, people(&[(1, "a")])).await.unwrap();
    let next = lake.folder.path().join("_tidemill/catalog/00000000000000000002.json");
    std::fs::write(next, r#"{"format":2,"something":"else"}"#).unwrap();
    let other = open(lake.folder.path()).await;
    let error = other.snapshot(At::Now).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("upgrade"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_skipped_by_their_statistics() {
    let lake = TestLake::new().await;
    for step in 0..10i64 {
        lake.write("s.t", WriteMode::Append, people(&[(step, "x")])).await.unwrap();
    }
    let plan = lake.query("s.t", "explain select * from t where id = 7").await.join(" ");
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    // Counts and bounds come from the log alone.
    let plan =
        lake.query("s.t", "explain select count(*), min(id), max(id) from t").await.join(" ");
    assert!(!plan.contains(".parquet"), "{plan}");
    let snapshot = lake.lake.snapshot(At::Now).await.unwrap();
    assert!(matches!(snapshot.get(&relation("s.t")).unwrap().kind, RelationKind::Table { .. }));
}

//! Delta tables of another writer (`tests/data/make_delta.py`).

use std::path::Path;

use serde_json::{Value, json};
use tidemill_core::{ReadScope, Result};

use crate::reading::{Options, Outcome, Project, copy};

/// The table up to a version: 0 and 1 add rows, 2 compacts, 3 adds a column, 4 deletes a row.
struct Table {
    project: Project,
}

impl Table {
    fn at(version: u64) -> Table {
        let table = Table { project: Project::new() };
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/delta/orders");
        copy(&data, &table.project.path().join("orders"));
        table.set(version);
        table
    }

    fn set(&self, version: u64) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/delta/orders/_delta_log");
        let to = self.project.path().join("orders/_delta_log");
        std::fs::remove_dir_all(&to).unwrap();
        copy(&from, &to);
        for number in version + 1..5 {
            std::fs::remove_file(to.join(format!("{number:020}.json"))).unwrap();
        }
        if version < 2 {
            std::fs::remove_file(to.join(format!("{:020}.checkpoint.parquet", 2))).unwrap();
        }
    }

    fn read(&self, options: Options) -> Result<Outcome> {
        self.project.try_read(settings(), options)
    }
}

fn settings() -> Value {
    json!({"location": "orders", "format": "delta"})
}

fn ids(outcome: &Outcome) -> Vec<i64> {
    let mut ids: Vec<i64> =
        outcome.columns(&["order_id"]).into_iter().map(|row| row[0].parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn after(outcome: &Outcome, scope: ReadScope) -> Options {
    Options { scope, ..Options::after(outcome) }
}

#[test]
fn a_table_is_read_with_its_types_and_partitions() {
    let outcome = Table::at(0).read(Options::default()).unwrap();
    assert_eq!(
        outcome.types(),
        [
            "order_id Int64",
            "amount Decimal128(9, 2)",
            "at Timestamp(µs, \"UTC\")",
            "tags List(Utf8)",
            "day Date32",
            "region Utf8",
        ]
    );
    let mut rows = outcome.table();
    rows.sort();
    assert_eq!(
        rows,
        [
            ["1", "0.25", "2024-01-01T00:00:00Z", "[a]", "2024-01-02", "∅"],
            ["2", "0.50", "2024-01-02T00:00:00Z", "[a, a]", "2024-01-01", "ö/x"],
            ["3", "0.75", "2024-01-03T00:00:00Z", "[]", "2024-01-02", "no rth"],
        ]
    );
    let files = outcome.columns(&["_source_file"]);
    assert!(files.iter().all(|row| row[0].starts_with("orders/day=2024-01-0")), "{files:?}");
    // A folder of a table needs no format.
    let plain = Table::at(0).project.read(json!("orders"));
    assert_eq!(ids(&plain), [1, 2, 3]);
}

#[test]
fn an_append_takes_what_was_added() {
    let table = Table::at(0);
    let first = table.read(Options::default()).unwrap();
    let none = table.read(after(&first, ReadScope::New)).unwrap();
    assert_eq!((none.row_count(), none.position.is_none()), (0, true));
    table.set(1);
    let second = table.read(after(&first, ReadScope::New)).unwrap();
    assert_eq!(ids(&second), [4, 5, 6, 7]);
    // Only rewritten.
    table.set(2);
    let known = Options { known: second.schema.clone(), ..after(&second, ReadScope::New) };
    let same = table.read(known).unwrap();
    assert_eq!(same.row_count(), 0);
    assert_ne!(same.position, second.position);
    // Through the checkpoint, and past what was rewritten.
    table.set(3);
    for position in [&second, &same] {
        let mut options = after(&second, ReadScope::New);
        options.position.clone_from(&position.position);
        let third = table.read(options).unwrap();
        assert_eq!(third.columns(&["order_id", "note", "day"]), [["8", "new", "2024-01-01"]]);
    }
    table.set(4);
    let mut options = after(&second, ReadScope::New);
    options.position.clone_from(&same.position);
    let error = table.read(options.clone()).unwrap_err().report();
    assert!(error.contains("DELETE, version 4") && error.contains("`mode: full`"), "{error}");
    // An upsert takes the new rows.
    let merged = table.read(Options { scope: ReadScope::Changed, ..options }).unwrap();
    assert!(ids(&merged).contains(&8));
}

#[test]
fn the_whole_table_is_what_the_version_has() {
    let table = Table::at(4);
    let whole = Options { scope: ReadScope::Whole, ..Options::default() };
    let outcome = table.read(whole).unwrap();
    assert_eq!(ids(&outcome), [1, 2, 3, 5, 6, 7, 8]);
    let again = table.read(after(&outcome, ReadScope::Whole)).unwrap();
    assert!(again.schema.is_none() && again.position.is_none());
}

#[test]
fn what_cannot_be_read_is_said() {
    let table = Table::at(1);
    let log = table.project.path().join("orders/_delta_log");
    let commit = |text: &str| std::fs::write(log.join(format!("{:020}.json", 2)), text).unwrap();
    let report = |settings: Value| {
        table.project.try_read(settings, Options::default()).unwrap_err().report()
    };
    let protocol = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["columnMapping"]}}"#;
    commit(protocol);
    assert!(report(settings()).contains("the feature `columnMapping`"));
    commit(
        r#"{"add":{"path":"x.parquet","partitionValues":{},"size":1,"modificationTime":1,"dataChange":true,"deletionVector":{"storageType":"u"}}}"#,
    );
    assert!(report(settings()).contains("deletion vector"));
    commit(
        r#"{"add":{"path":"gone.parquet","partitionValues":{},"size":1,"modificationTime":1,"dataChange":true}}"#,
    );
    assert!(report(settings()).contains("gone.parquet"));
    std::fs::remove_file(log.join(format!("{:020}.json", 1))).unwrap();
    assert!(report(settings()).contains("version 1 of its log is missing"));
    assert!(report(json!({"location": "nowhere", "format": "delta"})).contains("no Delta table"));
    assert!(report(json!({"location": ["a", "b"], "format": "delta"})).contains("one `location`"));
}

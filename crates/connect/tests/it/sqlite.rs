//! What a read of a SQLite file delivers, besides what all databases have in common.

use std::sync::Arc;

use rusqlite::Connection;
use serde_json::json;
use tidemill_core::{ConnectContext, ErrorKind, ReadScope, Source};

use crate::behaviour::{Fixture, behaviour, next};
use crate::reading::Request;

/// A file with tables.
struct Database {
    folder: tempfile::TempDir,
    connection: Connection,
}

impl Database {
    fn new(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("shop.db")).unwrap();
        connection.execute_batch(sql).unwrap();
        Database { folder, connection }
    }
}

impl Fixture for Database {
    fn execute(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    fn source(&self) -> Arc<dyn Source> {
        let settings = json!({"path": "shop.db"}).as_object().cloned().unwrap();
        let context =
            ConnectContext { project: self.folder.path().into(), name: "shop".to_owned() };
        tidemill_connect::kind("sqlite").unwrap().connect(settings, context).unwrap()
    }
}

// A reader and a writer at once need the log.
behaviour!(Some(Database::new("pragma journal_mode = wal")));

#[test]
fn types_are_those_of_declarations_and_values() {
    let database = Database::new(
        "create table t (i integer, r real, n numeric, d decimal(10,2), s varchar(9), b blob, f \
         boolean, day date, at datetime, loose);
         insert into t values (1, 1.5, 2, 3.25, 'x', x'00ff', 1, '2024-02-29', '2024-02-29 \
         12:30:00.5', 7), (null, null, null, null, null, null, null, null, null, null)",
    );
    let read = database.whole(json!({"table": "t"}));
    assert_eq!(
        read.types(),
        [
            "i Int64",
            "r Float64",
            "n Int64",
            "d Decimal128(10, 2)",
            "s Utf8",
            "b Binary",
            "f Boolean",
            "day Date32",
            "at Timestamp(µs)",
            "loose Int64"
        ]
    );
    assert_eq!(
        read.table()[0],
        [
            "1",
            "1.5",
            "2",
            "3.25",
            "x",
            "00ff",
            "true",
            "2024-02-29",
            "2024-02-29T12:30:00.500",
            "7"
        ]
    );
    assert_eq!(read.table()[1], ["∅"; 10]);
}

#[test]
fn a_value_of_another_kind_widens_its_column() {
    let database = Database::new(
        "create table t (i integer, at datetime, f boolean, d decimal(6,2), s text);
         insert into t values (1, '2024-01-01', 1, 1.25, 'a'), ('two', 1700000000, 2, 1.234, 5)",
    );
    let read = database.whole(json!({"table": "t", "batch_rows": 1}));
    // One look at all values decides, but for digits of decimals, which only reading shows.
    assert_eq!(read.restarts, 2);
    assert_eq!(read.types(), ["i Utf8", "at Utf8", "f Int64", "d Float64", "s Utf8"]);
    assert_eq!(
        read.table(),
        [["1", "2024-01-01", "1", "1.25", "a"], ["two", "1700000000", "2", "1.234", "5"]]
    );
}

#[test]
fn a_read_writes_nothing_and_a_text_needs_no_lookback() {
    let database =
        Database::new("create table t (id integer, at text); insert into t values (1, 'a')");
    let before = std::fs::read(database.folder.path().join("shop.db")).unwrap();
    let read = database.read(next(ReadScope::Changed, "at", None)).unwrap();
    assert_eq!(std::fs::read(database.folder.path().join("shop.db")).unwrap(), before);
    let settings = json!({"table": "t", "lookback": "1 hour"});
    let text = Request { settings, ..next(ReadScope::Changed, "at", read.position) };
    let error = database.read(text).unwrap_err().report();
    assert!(error.contains("`lookback` needs a cursor of numbers, dates or times"), "{error}");
}

#[test]
fn tables_are_listed_with_columns_and_keys() {
    let database = Database::new(
        "create table \"B c\" (y int, x text, primary key (x, y)); insert into \"B c\" values (1, 'a');
         create view a as select 1 as one;",
    );
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tables = runtime.block_on(database.source().tables()).unwrap();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["B c", "a"]);
    assert_eq!(
        (tables[0].rows, tables[0].primary_key.as_slice()),
        (Some(1), ["x".to_owned(), "y".to_owned()].as_slice())
    );
    let missing = tidemill_connect::kind("sqlite").unwrap();
    let settings = json!({"path": "no.db"}).as_object().cloned().unwrap();
    let missing = missing.connect(settings, ConnectContext::default()).unwrap();
    let error = runtime.block_on(missing.ping()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!std::path::Path::new("no.db").exists());
}

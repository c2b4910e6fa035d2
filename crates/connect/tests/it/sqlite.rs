//! What a read of a SQLite file delivers. The rules of cursors are the same for every database.

use rusqlite::Connection;
use serde_json::{Value, json};
use tidemill_core::{ConnectContext, ErrorKind, Position, ReadScope, Result, Source};

use crate::reading::{Outcome, Request, drain};

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

    fn execute(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    fn source(&self) -> std::sync::Arc<dyn Source> {
        let settings = json!({"path": "shop.db"}).as_object().cloned().unwrap();
        let context =
            ConnectContext { project: self.folder.path().into(), name: "shop".to_owned() };
        tidemill_connect::kind("sqlite").unwrap().connect(settings, context).unwrap()
    }

    fn read(&self, request: Request) -> Result<Outcome> {
        drain(self.source().as_ref(), request)
    }

    fn whole(&self, settings: Value) -> Outcome {
        self.read(Request::of(settings, ReadScope::Whole)).unwrap()
    }
}

fn next(scope: ReadScope, cursor: &str, position: Option<Position>) -> Request {
    Request {
        cursor: Some(cursor.to_owned()),
        primary_key: vec!["id".to_owned()],
        position,
        ..Request::of(json!({"table": "t"}), scope)
    }
}

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
fn columns_rows_and_queries_are_chosen() {
    let database = Database::new(
        "create table \"Order Items\" (\"Order ID\" int, \"unitPrice\" real, secret text);
         insert into \"Order Items\" values (1, 2.5, 's'), (2, 3.5, 't')",
    );
    let all = database.whole(json!({"table": "Order Items", "exclude": ["secret"]}));
    assert_eq!(all.types(), ["order_id Int64", "unit_price Float64"]);
    let some = database.whole(json!({
        "table": "Order Items", "columns": ["unit_price"], "where": "\"Order ID\" > 1 -- the second"
    }));
    assert_eq!(some.table(), [["3.5"]]);
    let query = "select count(*) as n, max(secret) as last from \"Order Items\";";
    assert_eq!(database.whole(json!({ "query": query })).table(), [["2", "t"]]);
    for (settings, says) in [
        (json!({"table": "Order Items", "columns": ["price"]}), "`columns` names `price`"),
        (json!({"table": "nowhere"}), "no such table: nowhere"),
        (json!({"query": "selec 1"}), "syntax error"),
    ] {
        let error = database.read(Request::of(settings, ReadScope::Whole)).unwrap_err().report();
        assert!(error.contains(says) && error.contains("connection: shop"), "{error}");
    }
}

#[test]
fn an_append_takes_each_row_once_also_those_that_share_the_last_value() {
    let database = Database::new(
        "create table t (id integer primary key, at datetime);
         insert into t values (1, '2024-01-01 10:00:00'), (2, '2024-01-01 10:00:00')",
    );
    for cursor in ["at", "id"] {
        let ids = |read: &Outcome| -> Vec<String> {
            read.columns(&["id"]).into_iter().flatten().collect()
        };
        let first = database.read(next(ReadScope::New, cursor, None)).unwrap();
        assert_eq!(ids(&first), ["1", "2"]);
        let again = database.read(next(ReadScope::New, cursor, first.position.clone())).unwrap();
        assert_eq!(ids(&again), [""; 0]);
        assert_eq!(again.position, first.position);
        // Committed later, with the value that was the largest before; and one that is newer.
        database
            .execute("insert into t values (3, '2024-01-01 10:00:00'), (4, '2024-01-01 10:00:01')");
        let more = database.read(next(ReadScope::New, cursor, again.position)).unwrap();
        assert_eq!(ids(&more), ["3", "4"]);
        let none = database.read(next(ReadScope::New, cursor, more.position)).unwrap();
        assert_eq!(ids(&none), [""; 0]);
        database.execute("delete from t where id > 2");
    }
}

#[test]
fn a_merge_reads_what_changed_and_nothing_when_nothing_did() {
    let database = Database::new(
        "create table t (id integer primary key, name text, updated integer);
         insert into t values (1, 'a', 10), (2, 'b', 20), (3, 'c', null)",
    );
    let first = database.read(next(ReadScope::Changed, "updated", None)).unwrap();
    assert_eq!(first.row_count(), 3);
    assert_eq!(first.codes(), ["null-cursor"]);
    database.execute("delete from t where id = 3");
    let none = database.read(next(ReadScope::Changed, "updated", first.position)).unwrap();
    assert_eq!(none.row_count(), 0);
    // Changed, with the value that was the largest.
    database
        .execute("update t set name = 'B' where id = 2; update t set updated = 30 where id = 1");
    let changed = database.read(next(ReadScope::Changed, "updated", none.position)).unwrap();
    assert_eq!(changed.table(), [["1", "a", "30"], ["2", "B", "20"]]);
    // Late: committed now, with a value from before.
    database.execute("insert into t values (4, 'late', 25)");
    let request = next(ReadScope::Changed, "updated", changed.position);
    assert_eq!(database.read(request.clone()).unwrap().row_count(), 0);
    let settings = json!({"table": "t", "lookback": 10});
    let late = database.read(Request { settings, ..request }).unwrap();
    assert_eq!(late.columns(&["name"]), [["a"], ["B"], ["late"]]);
}

#[test]
fn what_a_cursor_cannot_do_is_said() {
    let database = Database::new(
        "create table t (id integer primary key, price real, at datetime);
         insert into t values (1, 1.5, '2024-01-01'), (2, 2.5, null)",
    );
    let error = |request: Request| {
        let error = database.read(request).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Data), "{error}");
        error.report()
    };
    let without = Request::of(json!({"table": "t"}), ReadScope::New);
    assert!(error(without).contains("`mode: append` of a table needs a `cursor`"));
    assert!(error(next(ReadScope::New, "price", None)).contains("`cursor: price` is Float64"));
    assert!(error(next(ReadScope::New, "nothing", None)).contains("`cursor` names `nothing`"));
    let lookback = json!({"table": "t", "lookback": "1 hour"});
    let append = Request { settings: lookback.clone(), ..next(ReadScope::New, "at", None) };
    assert!(error(append).contains("`lookback` reads rows again"));
    let read = database.read(next(ReadScope::New, "at", None)).unwrap();
    assert_eq!(read.row_count(), 1);
    assert_eq!(read.rejected[0].2, "the cursor `at` is NULL");
    let other = Request {
        settings: json!({"table": "t2"}),
        ..next(ReadScope::New, "at", read.position.clone())
    };
    assert!(error(other).contains("the last load read another table"));
    assert!(
        error(next(ReadScope::New, "id", read.position.clone())).contains("had another `cursor`")
    );
    let text = Request { settings: lookback, ..next(ReadScope::Changed, "at", read.position) };
    assert!(error(text).contains("`lookback` needs a cursor of numbers, dates or times"));
}

#[test]
fn declared_types_hold_and_what_does_not_fit_is_a_rejected_row() {
    use arrow::datatypes::{DataType, Field};
    let database = Database::new(
        "create table t (id integer, code text); insert into t values (1, '7'), (2, 'x'), (3, null)",
    );
    let declared = vec![Field::new("code", DataType::Int64, true)];
    let read = database
        .read(Request { declared, ..Request::of(json!({"table": "t"}), ReadScope::Whole) })
        .unwrap();
    assert_eq!(read.types(), ["id Int64", "code Int64"]);
    assert_eq!(read.table(), [["1", "7"], ["3", "∅"]]);
    let (table, row, reason, raw) = &read.rejected[0];
    assert_eq!((table.as_str(), *row, reason.as_str()), ("t", 2, "`code` is not a Int64: x"));
    assert_eq!(raw, r#"{"id":"2","code":"x"}"#);
}

#[test]
fn a_read_sees_one_state_and_writes_nothing() {
    let database = Database::new(
        "pragma journal_mode = wal; create table t (id integer primary key);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 100)
         insert into t select i from n",
    );
    let before = std::fs::read(database.folder.path().join("shop.db")).unwrap();
    let mut others = 0;
    let request = Request::of(json!({"table": "t", "batch_rows": 10}), ReadScope::Whole);
    let source = database.source();
    let read = crate::reading::drain_and(source.as_ref(), request, |_| {
        others += 1;
        database.execute(&format!("insert into t values ({})", 1000 + others));
    })
    .unwrap();
    assert_eq!(read.row_count(), 100);
    assert!(others > 5);
    assert_eq!(std::fs::read(database.folder.path().join("shop.db")).unwrap(), before);
    assert_eq!(database.whole(json!({"table": "t"})).row_count(), 100 + others);
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

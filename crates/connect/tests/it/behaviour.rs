//! What reads of a database's tables deliver, whichever database it is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde_json::{Value, json};
use tidemill_core::{ErrorKind, Position, ReadScope, Result, Source};

use crate::reading::{Outcome, Request, drain, drain_and};

/// A database for a test.
pub(crate) trait Fixture {
    /// Runs statements that all of them understand.
    fn execute(&self, sql: &str);

    fn source(&self) -> Arc<dyn Source>;

    fn read(&self, request: Request) -> Result<Outcome> {
        drain(self.source().as_ref(), request)
    }

    fn whole(&self, settings: Value) -> Outcome {
        self.read(Request::of(settings, ReadScope::Whole)).unwrap()
    }
}

pub(crate) fn next(scope: ReadScope, cursor: &str, position: Option<Position>) -> Request {
    Request {
        cursor: Some(cursor.to_owned()),
        primary_key: vec!["id".to_owned()],
        position,
        ..Request::of(json!({"table": "t"}), scope)
    }
}

/// The tests of all databases; the expression makes a fixture in an `Option`.
macro_rules! behaviour {
    ($fixture:expr; $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                if let Some(database) = $fixture {
                    crate::behaviour::$test(&database);
                }
            }
        )*
    };
    // Each query sees what is there at its time.
    ($fixture:expr, without one state) => {
        behaviour!($fixture;
            columns_rows_and_queries_are_chosen,
            an_append_takes_each_row_once_also_those_that_share_the_last_value,
            a_merge_reads_what_changed_and_nothing_when_nothing_did,
            what_a_cursor_cannot_do_is_said,
            declared_types_hold_and_what_does_not_fit_is_a_rejected_row,
            ties_come_exactly_once_whatever_the_order_of_commits,
            rows_within_the_lookback_are_read_whenever_they_are_committed,
            keys_alone_are_read_of_all_rows,
            a_range_of_the_cursor_is_read_in_parts,
            texts_are_cursors_by_the_order_of_the_database,
        );
    };
    ($fixture:expr) => {
        behaviour!($fixture, without one state);
        behaviour!($fixture; a_read_sees_one_state,);
    };
}
pub(crate) use behaviour;

pub(crate) fn columns_rows_and_queries_are_chosen(database: &dyn Fixture) {
    database.execute(
        "create table \"Order Items\" (\"Order ID\" int, \"unitPrice\" double precision, secret text);
         insert into \"Order Items\" values (1, 2.5, 's'), (2, 3.5, 't')",
    );
    let all = database.whole(json!({"table": "Order Items", "exclude": ["secret"]}));
    let names: Vec<String> =
        all.types().iter().map(|column| column.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["order_id", "unit_price"]);
    let some = database.whole(json!({
        "table": "Order Items", "columns": ["unit_price"], "where": "\"Order ID\" > 1 -- the second"
    }));
    assert_eq!(some.table(), [["3.5"]]);
    let query = "select count(*) as n, max(secret) as last from \"Order Items\";";
    assert_eq!(database.whole(json!({ "query": query })).table(), [["2", "t"]]);
    for (settings, says) in [
        (json!({"table": "Order Items", "columns": ["price"]}), "`columns` names `price`"),
        (json!({"table": "nowhere"}), "nowhere"),
        (json!({"query": "selec 1"}), "syntax error"),
    ] {
        let error = database.read(Request::of(settings, ReadScope::Whole)).unwrap_err().report();
        assert!(error.contains(says) && error.contains("connection: shop"), "{error}");
    }
}

pub(crate) fn an_append_takes_each_row_once_also_those_that_share_the_last_value(
    database: &dyn Fixture,
) {
    database.execute(
        "create table t (id integer primary key, at timestamp);
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

pub(crate) fn a_merge_reads_what_changed_and_nothing_when_nothing_did(database: &dyn Fixture) {
    database.execute(
        "create table t (id integer primary key, name text, updated integer);
         insert into t values (1, 'a', 10), (2, 'b', 20), (3, 'c', null)",
    );
    let sorted = |read: &Outcome| {
        let mut rows = read.table();
        rows.sort();
        rows
    };
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
    assert_eq!(sorted(&changed), [["1", "a", "30"], ["2", "B", "20"]]);
    // Late: committed now, with a value from before.
    database.execute("insert into t values (4, 'late', 25)");
    let request = next(ReadScope::Changed, "updated", changed.position);
    assert_eq!(database.read(request.clone()).unwrap().row_count(), 0);
    let settings = json!({"table": "t", "lookback": 10});
    let late = database.read(Request { settings, ..request }).unwrap();
    assert_eq!(sorted(&late), [["1", "a", "30"], ["2", "B", "20"], ["4", "late", "25"]]);
}

pub(crate) fn what_a_cursor_cannot_do_is_said(database: &dyn Fixture) {
    database.execute(
        "create table t (id integer primary key, price double precision, at timestamp);
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
    let append = Request { settings: lookback, ..next(ReadScope::New, "at", None) };
    assert!(error(append).contains("`lookback` reads rows again"));
    let read = database.read(next(ReadScope::New, "at", None)).unwrap();
    assert_eq!(read.row_count(), 1);
    assert_eq!(read.rejected[0].2, "the cursor `at` is NULL");
    let other = Request {
        settings: json!({"table": "t2"}),
        ..next(ReadScope::New, "at", read.position.clone())
    };
    assert!(error(other).contains("the last load read another table"));
    let moved = error(next(ReadScope::New, "id", read.position.clone()));
    assert!(moved.contains("had another `cursor`"));
    let number = json!({"table": "t", "lookback": "1 hour"});
    let number = Request { settings: number, ..next(ReadScope::Changed, "id", None) };
    let first = database.read(number.clone()).unwrap();
    let again = Request { position: first.position, ..number };
    assert!(error(again).contains("`lookback` must be a number"));
}

pub(crate) fn declared_types_hold_and_what_does_not_fit_is_a_rejected_row(database: &dyn Fixture) {
    database.execute(
        "create table t (id bigint, code text); insert into t values (1, '7'), (2, 'x'), (3, null)",
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

/// Numbers that look like chance, and are the same each time.
struct Dice(u32);

impl Dice {
    fn throw(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) % sides
    }
}

pub(crate) fn ties_come_exactly_once_whatever_the_order_of_commits(database: &dyn Fixture) {
    let mut dice = Dice(3);
    for (table, moment) in [("t", false), ("u", true)] {
        let kind = if moment { "timestamp" } else { "integer" };
        database.execute(&format!(
            "create table {table} (id integer primary key, at {kind}, name text)"
        ));
        let (mut id, mut clock, mut position) = (0, 10, None);
        let mut read: Vec<String> = Vec::new();
        for _ in 0..10 {
            // Several rows share a value, also with those that were read before.
            for _ in 0..dice.throw(5) {
                clock += dice.throw(2);
                id += 1;
                let at = match moment {
                    true => format!("'2024-01-01 10:00:{clock}'"),
                    false => clock.to_string(),
                };
                database.execute(&format!("insert into {table} values ({id}, {at}, 'same')"));
            }
            let settings = json!({"table": table, "batch_rows": 1 + dice.throw(3)});
            let request = Request { settings, ..next(ReadScope::New, "at", position) };
            let outcome = database.read(request).unwrap();
            read.extend(outcome.columns(&["id"]).into_iter().flatten());
            position = outcome.position;
        }
        let mut ids: Vec<u32> = read.iter().map(|id| id.parse().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (1..=id).collect::<Vec<_>>(), "{table}");
    }
}

pub(crate) fn rows_within_the_lookback_are_read_whenever_they_are_committed(
    database: &dyn Fixture,
) {
    database.execute("create table t (id integer primary key, at integer, name text)");
    let settings = json!({"table": "t", "lookback": 5});
    let mut dice = Dice(9);
    let (mut id, mut clock, mut position) = (0, 100, None);
    let mut merged = std::collections::BTreeMap::new();
    for round in 0..12 {
        for _ in 0..dice.throw(6) {
            clock += dice.throw(2);
            // Now, or by a transaction that began earlier.
            let at = clock - dice.throw(6);
            match dice.throw(3) {
                0 if id > 0 => {
                    let changed = 1 + dice.throw(id);
                    database.execute(&format!(
                        "update t set name = 'r{round}', at = {at} where id = {changed}"
                    ));
                }
                _ => {
                    id += 1;
                    database.execute(&format!("insert into t values ({id}, {at}, 'r{round}')"));
                }
            }
        }
        let request = next(ReadScope::Changed, "at", position);
        let read = database.read(Request { settings: settings.clone(), ..request }).unwrap();
        merged.extend(read.table().into_iter().map(|row| (row[0].clone(), row)));
        position = read.position;
        let mut source = database.whole(json!({"table": "t"})).table();
        source.sort();
        assert_eq!(merged.values().cloned().collect::<Vec<_>>(), source, "round {round}");
    }
}

pub(crate) fn keys_alone_are_read_of_all_rows(database: &dyn Fixture) {
    database.execute(
        "create table t (id integer primary key, at integer, \"Name\" text);
         insert into t values (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')",
    );
    let written = json!({"table": "t", "exclude": ["at"], "where": "id > 1", "lookback": 5});
    let key = ["id".to_owned(), "name".to_owned()];
    let settings = database.source().only_columns(&written, &key).unwrap();
    assert_eq!(database.whole(settings).table(), [["2", "b"], ["3", "c"]]);
}

pub(crate) fn a_range_of_the_cursor_is_read_in_parts(database: &dyn Fixture) {
    database.execute(
        "create table t (id integer primary key, at integer);
         insert into t values (1, 10), (2, 19), (3, 20), (4, 29), (5, 30), (6, 35), (7, 40)",
    );
    let first = database.read(next(ReadScope::New, "at", None)).unwrap();
    let range = tidemill_core::ReadRange {
        from: "10".to_owned(),
        to: "99".to_owned(),
        step: Some("10".to_owned()),
    };
    let written = json!({"table": "t", "where": "id <> 6 -- not that"});
    let parts = database.source().parts(&written, &first.position.unwrap(), &range).unwrap();
    let read: Vec<Vec<Vec<String>>> =
        parts.into_iter().map(|part| database.whole(part.settings).columns(&["id"])).collect();
    // The largest value comes with the loads.
    assert_eq!(read, [vec![["1"], ["2"]], vec![["3"], ["4"]], vec![["5"]]]);
}

pub(crate) fn a_read_sees_one_state(database: &dyn Fixture) {
    database.execute(
        "create table t (id integer primary key);
         insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 100)
         select i from n",
    );
    let mut others = 0;
    let request = Request::of(json!({"table": "t", "batch_rows": 10}), ReadScope::Whole);
    let source = database.source();
    let read = drain_and(source.as_ref(), request, |_| {
        others += 1;
        database.execute(&format!("insert into t values ({})", 1000 + others));
    })
    .unwrap();
    assert_eq!(read.row_count(), 100);
    assert!(others > 5);
    assert_eq!(database.whole(json!({"table": "t"})).row_count(), 100 + others);
}

pub(crate) fn texts_are_cursors_by_the_order_of_the_database(database: &dyn Fixture) {
    database.execute(
        "create table t (id integer, code text); insert into t values (1, 'a'), (2, 'b''\\'), (3, 'b''\\')",
    );
    let first = database.read(next(ReadScope::New, "code", None)).unwrap();
    assert_eq!(first.row_count(), 3);
    database.execute("insert into t values (4, 'b''\\'), (5, 'aa'), (6, 'c')");
    let more = database.read(next(ReadScope::New, "code", first.position)).unwrap();
    let mut rows = more.table();
    rows.sort();
    assert_eq!(rows, [["4", "b'\\"], ["6", "c"]]);
    let none = database.read(next(ReadScope::New, "code", more.position)).unwrap();
    assert_eq!(none.row_count(), 0);
}

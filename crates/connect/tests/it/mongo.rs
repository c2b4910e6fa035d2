//! Collections of a server that speaks MongoDB's protocol.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, doc, oid::ObjectId, spec::BinarySubtype,
};
use serde_json::{Value, json};
use tidemill_core::{ConnectContext, Position, ReadScope, Result, Source};
use tidemill_testkit::MongoServer;

use crate::reading::{Outcome, Request, drain};

pub(crate) fn source(server: &MongoServer) -> Arc<dyn Source> {
    let url = format!("mongodb://127.0.0.1:{}/?directConnection=true", server.port);
    let settings = json!({"url": url, "database": "shop", "connect_timeout": 5});
    let settings = settings.as_object().unwrap().clone();
    let kind = tidemill_connect::kind("mongodb").unwrap();
    kind.connect(settings, ConnectContext::default()).unwrap()
}

pub(crate) fn read(server: &MongoServer, request: Request) -> Result<Outcome> {
    drain(source(server).as_ref(), request)
}

fn whole(server: &MongoServer, settings: Value) -> Outcome {
    read(server, Request::of(settings, ReadScope::Whole)).unwrap()
}

fn next(scope: ReadScope, cursor: &str, position: Option<Position>) -> Request {
    Request {
        cursor: Some(cursor.to_owned()),
        primary_key: vec!["_id".to_owned()],
        position,
        ..Request::of(json!({"collection": "o"}), scope)
    }
}

fn ids(outcome: &Outcome) -> Vec<String> {
    let mut ids: Vec<String> =
        outcome.columns(&["_id"]).into_iter().map(|mut row| row.remove(0)).collect();
    ids.sort();
    ids
}

fn day(day: i64) -> DateTime {
    DateTime::from_millis(1_704_067_200_000 + day * 86_400_000)
}

#[test]
fn values_of_all_kinds_are_read_without_a_loss() {
    let server = MongoServer::start();
    let id = ObjectId::parse_str("6566fa1d2f1e4b0001a1b2c3").unwrap();
    let decimal: Decimal128 = "12345678901234567890.1230".parse().unwrap();
    server.insert(
        "o",
        vec![
            doc! {"_id": id, "small": 1i32, "big": i64::MAX, "mixed": 1i32, "huge": 1i64 << 60, "price": decimal,
                  "at": DateTime::from_millis(1_704_067_200_123), "ok": true, "name": "ö", "none": null,
                  "raw": Binary { subtype: BinarySubtype::Generic, bytes: vec![255, 0] },
                  "place": {"city": "x", "zip": 1}, "tags": ["a", "b"]},
            doc! {"_id": ObjectId::parse_str("6566fa1d2f1e4b0001a1b2c4").unwrap(), "small": 2i64, "big": -1i64,
                  "mixed": 2.5, "huge": 0.5, "place": {"city": "y", "country": "de"}, "tags": []},
        ],
    );
    let outcome = whole(&server, json!({"collection": "o"}));
    assert_eq!(
        outcome.types(),
        [
            "_id Utf8",
            "small Int64",
            "big Int64",
            "mixed Float64",
            "huge Utf8",
            "price Utf8",
            "at Timestamp(µs, \"UTC\")",
            "ok Boolean",
            "name Utf8",
            "none Utf8",
            "raw Utf8",
            "place Struct(\"city\": Utf8, \"zip\": Int64, \"country\": Utf8)",
            "tags List(Utf8)",
        ]
    );
    let mut rows = outcome.table();
    rows.sort();
    assert_eq!(
        rows[0],
        [
            "6566fa1d2f1e4b0001a1b2c3",
            "1",
            "9223372036854775807",
            "1.0",
            "1152921504606846976",
            "12345678901234567890.1230",
            "2024-01-01T00:00:00.123Z",
            "true",
            "ö",
            "∅",
            "/wA=",
            "{city: x, zip: 1, country: ∅}",
            "[a, b]",
        ]
    );
    // A number that does not fit into a double beside ones with a fraction is text, and not rounded.
    assert_eq!(rows[1][4], "0.5");
    let declared = vec![
        Field::new("price", DataType::Decimal128(30, 4), true),
        Field::new("place", DataType::Utf8, true),
    ];
    let request = Request { declared, ..Request::of(json!({"collection": "o"}), ReadScope::Whole) };
    let outcome = read(&server, request).unwrap();
    let mut rows = outcome.columns(&["price", "place"]);
    rows.sort();
    assert_eq!(rows[0], ["12345678901234567890.1230", r#"{"city":"x","zip":1}"#]);
}

#[test]
fn filters_projections_and_lists_are_chosen() {
    let server = MongoServer::start();
    server.insert(
        "o",
        vec![
            doc! {"_id": 1, "a": 1, "lines": [{"sku": "x", "n": 2}, {"sku": "y", "n": 1}], "by": {"name": "me"}},
            doc! {"_id": 2, "a": 2, "lines": []},
        ],
    );
    let some =
        whole(&server, json!({"collection": "o", "filter": {"a": 2}, "projection": {"a": 1}}));
    assert_eq!(some.table(), [["2", "2"]]);
    let lines = whole(
        &server,
        json!({"collection": "o", "expand": "lines",
               "include": {"order_id": "record._id", "buyer": "record.by.name"}}),
    );
    assert_eq!(
        lines.columns(&["buyer", "order_id", "sku", "n"]),
        [["me", "1", "x", "2"], ["me", "1", "y", "1"]]
    );
    let error = read(&server, Request::of(json!({"collection": "nowhere"}), ReadScope::Whole));
    assert!(error.unwrap_err().report().contains("no such collection"));
    // A collection without documents.
    server.insert("empty", vec![]);
    let empty = whole(&server, json!({"collection": "empty"}));
    assert_eq!((empty.row_count(), empty.position.is_some()), (0, true));
}

#[test]
fn an_append_takes_each_document_once_also_those_that_share_the_last_value() {
    for values in [
        |n: i64| Bson::DateTime(day(n)),
        |n: i64| Bson::Int64(n),
        |n: i64| Bson::String(format!("2024-01-{n:02}")),
    ] {
        let server = MongoServer::start();
        let add = |id: i32, at: i64| server.insert("o", vec![doc! {"_id": id, "at": values(at)}]);
        add(1, 1);
        add(2, 2);
        add(3, 2);
        let first = read(&server, next(ReadScope::New, "at", None)).unwrap();
        assert_eq!(ids(&first), ["1", "2", "3"]);
        let same = read(&server, next(ReadScope::New, "at", first.position.clone())).unwrap();
        assert_eq!(same.row_count(), 0);
        // It shares the largest value, and was not there.
        add(4, 2);
        add(5, 1);
        add(6, 3);
        let second =
            Request { known: first.schema.clone(), ..next(ReadScope::New, "at", same.position) };
        let second = read(&server, second).unwrap();
        assert_eq!(ids(&second), ["4", "6"], "{}", values(1));
        let third = read(&server, next(ReadScope::New, "at", second.position)).unwrap();
        assert_eq!(third.row_count(), 0);
    }
}

#[test]
fn ids_of_mongodb_are_cursors() {
    let server = MongoServer::start();
    let id = |n: u8| ObjectId::from_bytes([n; 12]);
    server.insert("o", vec![doc! {"_id": id(1)}, doc! {"_id": id(200)}]);
    let first = read(&server, next(ReadScope::New, "_id", None)).unwrap();
    assert_eq!(first.row_count(), 2);
    server.insert("o", vec![doc! {"_id": id(100)}, doc! {"_id": id(201)}]);
    let second = read(&server, next(ReadScope::New, "_id", first.position)).unwrap();
    assert_eq!(ids(&second), [id(201).to_hex()]);
    let asked = server.state.lock().unwrap().finds.last().unwrap().clone();
    let or = asked.get_document("filter").unwrap().get_array("$or").unwrap();
    assert_eq!(or[0], Bson::from(doc! {"_id": {"$gte": id(200)}}));
}

#[test]
fn a_merge_reads_what_changed_with_its_lookback() {
    let server = MongoServer::start();
    server.insert("o", (1..=5).map(|n| doc! {"_id": n, "at": day(i64::from(n))}).collect());
    let with = |position| {
        let settings = json!({"collection": "o", "lookback": "1 day"});
        Request { settings, ..next(ReadScope::Changed, "at", position) }
    };
    let first = read(&server, with(None)).unwrap();
    assert_eq!(ids(&first), ["1", "2", "3", "4", "5"]);
    server.insert("o", vec![doc! {"_id": 6, "at": day(4)}, doc! {"_id": 7, "at": day(3)}]);
    let second = read(&server, with(first.position)).unwrap();
    assert_eq!(ids(&second), ["4", "5", "6"]);
}

#[test]
fn what_a_cursor_cannot_do_is_said() {
    let server = MongoServer::start();
    let report = |request: Request| read(&server, request).unwrap_err().report();
    server.insert("o", vec![doc! {"_id": 1, "at": day(1), "x": 1.5}]);
    let first = read(&server, next(ReadScope::New, "at", None)).unwrap();
    assert!(report(next(ReadScope::New, "x", None)).contains("doubles"));
    assert!(report(next(ReadScope::New, "y", None)).contains("no document has"));
    let other = next(ReadScope::New, "_id", first.position.clone());
    assert!(report(other).contains("--full-refresh"));
    let settings = json!({"collection": "o", "expand": "lines"});
    let expanded = Request { settings, ..next(ReadScope::New, "at", None) };
    assert!(report(expanded).contains("record.at"));
    // A document whose cursor is missing cannot be appended, and is not lost silently.
    server.insert("o", vec![doc! {"_id": 2}]);
    let second = read(&server, next(ReadScope::New, "at", first.position.clone())).unwrap();
    assert_eq!((second.row_count(), second.rejected.len()), (0, 1));
    assert!(second.rejected[0].2.contains("is NULL"), "{:?}", second.rejected);
    // MongoDB would not find a text by a time.
    server.insert("o", vec![doc! {"_id": 3, "at": "2024-02-01"}]);
    let error = report(next(ReadScope::New, "at", first.position));
    assert!(error.contains("several kinds (time, text)"), "{error}");
}

#[test]
fn all_documents_are_of_one_state_where_the_server_has_it() {
    let server = MongoServer::start();
    server.insert("o", (0..500).map(|n| doc! {"_id": n}).collect());
    let concern = || {
        let finds = server.state.lock().unwrap();
        let concern = |it: &Document| {
            Some(it.get_document("readConcern").ok()?.get_str("level").ok()?.to_owned())
        };
        finds.finds.iter().map(concern).collect::<Vec<_>>()
    };
    assert_eq!(whole(&server, json!({"collection": "o", "batch_rows": 7})).row_count(), 500);
    assert_eq!(concern(), [None]);
    server.set(|state| state.replica = true);
    assert_eq!(whole(&server, json!({"collection": "o"})).row_count(), 500);
    assert_eq!(concern()[1].as_deref(), Some("snapshot"));
    // The server does not keep the state for so long.
    server.set(|state| state.too_old = Some(239));
    let outcome = whole(&server, json!({"collection": "o"}));
    assert_eq!((outcome.row_count(), outcome.codes()), (500, vec!["read-again"]));
    assert_eq!(concern()[3], None);
    let settings = json!({"collection": "o", "snapshot": true});
    let error = read(&server, Request::of(settings, ReadScope::Whole)).unwrap_err().report();
    assert!(error.contains("too old"), "{error}");
}

#[test]
fn a_server_that_is_lost_is_read_from_the_beginning_again() {
    let server = MongoServer::start();
    server.insert("o", (0..500).map(|n| doc! {"_id": n}).collect());
    server.set(|state| state.cuts = 1);
    let outcome = whole(&server, json!({"collection": "o", "batch_rows": 100}));
    assert_eq!(outcome.row_count(), 500);
    let finds = server.state.lock().unwrap().finds.len();
    assert_eq!(finds, 2);
}

#[test]
fn collections_are_listed() {
    let server = MongoServer::start();
    server.insert("b", vec![doc! {"_id": 1}]);
    server.insert("a", vec![]);
    server.insert("system.views", vec![]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let source = source(&server);
    runtime.block_on(source.ping()).unwrap();
    let tables = runtime.block_on(source.tables()).unwrap();
    let tables: Vec<(&str, Option<u64>)> =
        tables.iter().map(|table| (table.name.as_str(), table.rows)).collect();
    assert_eq!(tables, [("a", Some(0)), ("b", Some(1))]);
}

//! What a read of a MariaDB delivers, besides what all databases have in common.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_core::{ConnectContext, ErrorKind, ReadScope, Source};
use tidemill_testkit::MariaDbServer;

use crate::behaviour::{Fixture, behaviour};
use crate::reading::{Request, drain};

/// A database of its own.
pub(crate) struct Database {
    server: &'static MariaDbServer,
    name: String,
}

impl Database {
    pub(crate) fn new(sql: &str) -> Option<Self> {
        let database = Database::of(MariaDbServer::shared()?);
        database.execute(sql);
        Some(database)
    }

    /// On this server.
    pub(crate) fn of(server: &'static MariaDbServer) -> Self {
        Database { server, name: server.database() }
    }

    fn source_with(&self, more: Value) -> Arc<dyn Source> {
        let mut settings = json!({
            "port": self.server.port(), "user": "root", "database": self.name,
        });
        settings.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let context = ConnectContext { project: std::env::temp_dir(), name: "shop".to_owned() };
        let settings = settings.as_object().cloned().unwrap();
        tidemill_connect::kind("mysql").unwrap().connect(settings, context).unwrap()
    }
}

impl Fixture for Database {
    fn execute(&self, sql: &str) {
        self.server.sql(&self.name, sql);
    }

    fn source(&self) -> Arc<dyn Source> {
        self.source_with(json!({}))
    }
}

behaviour!(Database::new(""));

/// A type, a value of it, what it is in Arrow, and how it is shown.
const TYPES: &[(&str, &str, &str, &str)] = &[
    ("tinyint", "-128", "Int16", "-128"),
    ("tinyint unsigned", "255", "Int16", "255"),
    ("boolean", "true", "Int16", "1"),
    ("smallint", "-32768", "Int16", "-32768"),
    ("smallint unsigned", "65535", "Int32", "65535"),
    ("mediumint", "-8388608", "Int32", "-8388608"),
    ("int", "-2147483648", "Int32", "-2147483648"),
    ("int unsigned", "4294967295", "Int64", "4294967295"),
    ("bigint", "-9223372036854775808", "Int64", "-9223372036854775808"),
    ("bigint unsigned", "18446744073709551615", "Decimal128(20, 0)", "18446744073709551615"),
    ("year", "2024", "Int16", "2024"),
    ("float", "1.5", "Float32", "1.5"),
    ("double", "0.1", "Float64", "0.1"),
    ("decimal(10,2)", "-12.3", "Decimal128(10, 2)", "-12.30"),
    ("decimal(6,0)", "123456", "Decimal128(6, 0)", "123456"),
    ("decimal(9,2) unsigned", "1234567.89", "Decimal128(9, 2)", "1234567.89"),
    (
        "decimal(38,10)",
        "-1234567890123456789012345678.0123456789",
        "Decimal128(38, 10)",
        "-1234567890123456789012345678.0123456789",
    ),
    (
        "decimal(40,2)",
        "12345678901234567890123456789012345678.25",
        "Utf8",
        "12345678901234567890123456789012345678.25",
    ),
    ("date", "'2024-02-29'", "Date32", "2024-02-29"),
    ("datetime", "'1969-12-31 23:59:59'", "Timestamp(µs)", "1969-12-31T23:59:59"),
    ("datetime(6)", "'2024-02-29 10:20:30.123456'", "Timestamp(µs)", "2024-02-29T10:20:30.123456"),
    ("timestamp", "'2024-02-29 10:20:30'", "Timestamp(µs, \"UTC\")", "2024-02-29T10:20:30Z"),
    ("time(1)", "'-49:02:03.5'", "Utf8", "-49:02:03.500000"),
    ("char(4)", "'ab'", "Utf8", "ab"),
    ("varchar(9)", "'größe☃'", "Utf8", "größe☃"),
    ("text", "'a\tb'", "Utf8", "a\tb"),
    ("varchar(9) character set latin1", "'größe'", "Utf8", "größe"),
    ("enum('a','so so')", "'so so'", "Utf8", "so so"),
    ("set('a','b','c')", "'a,c'", "Utf8", "a,c"),
    ("json", "'{\"a\": [1, null]}'", "Utf8", "{\"a\": [1, null]}"),
    (
        "uuid",
        "'00010203-0405-0607-0809-0a0b0c0d0e0f'",
        "Utf8",
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
    ),
    ("inet6", "'::1'", "Utf8", "::1"),
    ("binary(2)", "x'00ff'", "Binary", "00ff"),
    ("varbinary(9)", "x'0102'", "Binary", "0102"),
    ("blob", "x''", "Binary", ""),
    ("bit(1)", "b'1'", "Boolean", "true"),
    ("bit(9)", "b'100000001'", "Int64", "257"),
    // Bytes that would be digits as text.
    ("bit(64)", "0x3132333435363738", "Decimal128(20, 0)", "3544952156018063160"),
];

#[test]
fn every_type_is_read_as_it_is() {
    let columns: Vec<String> =
        TYPES.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind} null")).collect();
    let values: Vec<&str> = TYPES.iter().map(|(_, value, ..)| *value).collect();
    let nulls = vec!["null"; TYPES.len()];
    let Some(database) = Database::new(&format!(
        "set time_zone = '+00:00'; create table t ({}); insert into t values ({}), ({})",
        columns.join(", "),
        values.join(", "),
        nulls.join(", ")
    )) else {
        return;
    };
    let read = database.whole(json!({"table": "t"}));
    assert_eq!(read.rejected, []);
    let (types, rows) = (read.types(), read.table());
    for (at, (kind, value, data_type, shown)) in TYPES.iter().enumerate() {
        assert_eq!(types[at], format!("c{at} {data_type}"), "{kind}");
        assert_eq!(rows[0][at], *shown, "{kind} {value}");
        assert_eq!(rows[1][at], "∅", "{kind}");
    }
    // A view and a query give the same, and so does the list of tables.
    database.execute("create view v as select * from t");
    for settings in [json!({"table": "v"}), json!({"query": "select * from t"})] {
        let again = database.whole(settings);
        assert_eq!((again.types(), again.table()), (types.clone(), rows.clone()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tables = runtime.block_on(database.source().tables()).unwrap();
    let table = tables.iter().find(|table| table.name == "t").unwrap();
    let fields = table.schema.iter().flat_map(|schema| schema.fields());
    let listed: Vec<String> =
        fields.map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(listed, types);
}

#[test]
fn days_that_there_are_not_are_null_and_words_are_read_as_declared() {
    let Some(database) = Database::new(
        "set sql_mode = 'ALLOW_INVALID_DATES'; create table t (id int primary key, day date, at datetime, n decimal(6,2));
         insert into t values (1, '0000-00-00', '0000-00-00 00:00:00', 1.5), (2, '2024-02-00', null, 2)",
    ) else {
        return;
    };
    let read = database.whole(json!({"table": "t"}));
    assert_eq!(read.columns(&["day", "at", "n"]), [["∅", "∅", "1.50"], ["∅", "∅", "2.00"]]);
    let text =
        |name: &str| arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Utf8, true);
    let declared = vec![text("day"), text("at"), text("n")];
    let request = Request { declared, ..Request::of(json!({"table": "t"}), ReadScope::Whole) };
    let read = database.read(request).unwrap();
    assert_eq!(read.columns(&["day", "n"]), [["0000-00-00", "1.50"], ["2024-02-00", "2.00"]]);
}

#[test]
fn what_is_wrong_with_a_connection_is_said() {
    let Some(database) = Database::new("create table t (id int)") else { return };
    let settings = || Request::of(json!({"table": "t"}), ReadScope::Whole);
    for (more, kind, says) in [
        (
            json!({"user": "nobody", "password": {"command": "echo wrong-1"}}),
            ErrorKind::Denied,
            "nobody",
        ),
        (json!({"database": "nowhere"}), ErrorKind::NotFound, "nowhere"),
        (json!({"port": 1}), ErrorKind::Unavailable, "refused"),
        (json!({"ssl_mode": "required"}), ErrorKind::Config, "SSL"),
    ] {
        let error = drain(database.source_with(more).as_ref(), settings()).unwrap_err();
        let report = error.report();
        assert_eq!(error.kind(), kind, "{report}");
        assert!(report.contains(says) && !report.contains("wrong-1"), "{report}");
    }
}

#[test]
fn a_read_that_is_given_up_ends_on_the_server() {
    let Some(database) = Database::new(
        "create table t as with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000)
         select a.i as id, repeat('x', 200) as text from n a, n b",
    ) else {
        return;
    };
    let query = json!({"query": "select * from t"});
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use futures::StreamExt;
        let request = Request::of(query, ReadScope::Whole).request();
        let mut changes = database.source().read(request).await.unwrap();
        for _ in 0..3 {
            changes.next().await.unwrap().unwrap();
        }
        drop(changes);
        let running = "select count(*) from information_schema.processlist where id <> connection_id() and info like 'select%from (select%'";
        let began = std::time::Instant::now();
        while database.server.sql(&database.name, running) != ["0"] {
            assert!(began.elapsed().as_secs() < 30, "it still runs");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn several_connections_read_one_state_of_a_table() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let Some(database) = Database::new(
        "create table t (id bigint primary key, n bigint, text varchar(9));
         insert into t select cast(seq as signed) * 7 - 100000, 1000, 'é' from seq_1_to_100000; analyze table t;
         create table small (id int primary key); insert into small values (1), (2)",
    ) else {
        return;
    };
    let several = database.source_with(json!({"read_connections": 4}));
    let done = AtomicBool::new(false);
    // What goes from one row to another is in both or in neither.
    let sums: Vec<(usize, i64)> = std::thread::scope(|scope| {
        for writer in 0..2 {
            let (database, done) = (&database, &done);
            scope.spawn(move || {
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    round += 1;
                    let moves: Vec<String> = (0..50)
                        .map(|step| {
                            let [one, other] = [1, 2].map(|side| {
                                (round * 7919 + step * 104_729 * side + writer) % 100_000 * 7
                                    - 99_993
                            });
                            format!(
                                "begin; update t set n = n - 5 where id = {one}; \
                                 update t set n = n + 5 where id = {other}; commit;"
                            )
                        })
                        .collect();
                    database.execute(&moves.join(" "));
                }
            });
        }
        let reads = (0..5).map(|_| {
            let request = Request::of(json!({"table": "t"}), ReadScope::Whole);
            let read = drain(several.as_ref(), request).unwrap();
            assert_eq!(read.notices, []);
            let rows = read.columns(&["id", "n"]);
            let ids: std::collections::HashSet<&String> = rows.iter().map(|row| &row[0]).collect();
            (ids.len(), rows.iter().map(|row| row[1].parse::<i64>().unwrap()).sum())
        });
        let sums = reads.collect();
        done.store(true, Ordering::Relaxed);
        sums
    });
    assert_eq!(sums, [(100_000, 100_000_000); 5]);
    for (settings, rows) in [
        (json!({"table": "small"}), 2),
        (json!({"query": "select * from t"}), 100_000),
        (json!({"table": "t", "where": "id > 0"}), 85_715),
    ] {
        let request = Request::of(settings, ReadScope::Whole);
        assert_eq!(drain(several.as_ref(), request).unwrap().row_count(), rows);
    }
    // What the user needs for it is said.
    let user = format!("r_{}", database.name);
    database.execute(&format!("create user {user}; grant select on {}.* to {user}", database.name));
    let source = database.source_with(json!({"read_connections": 4, "user": user}));
    let request = || Request::of(json!({"table": "t"}), ReadScope::Whole);
    let error = drain(source.as_ref(), request()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.report().contains("grant lock tables"), "{}", error.report());
    database.execute(&format!("grant lock tables on {}.* to {user}", database.name));
    assert_eq!(drain(source.as_ref(), request()).unwrap().row_count(), 100_000);
}

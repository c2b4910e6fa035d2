//! What a read of a PostgreSQL delivers, besides what all databases have in common.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde_json::{Value, json};
use tidemill_core::{ConnectContext, ErrorKind, ReadScope, Source};
use tidemill_testkit::PostgresServer;

use crate::behaviour::{Fixture, behaviour, next};
use crate::reading::{Outcome, Request, drain, drain_and, drained};

/// A database of its own.
struct Database {
    server: &'static PostgresServer,
    name: String,
}

impl Database {
    fn new(sql: &str) -> Option<Self> {
        let server = PostgresServer::shared()?;
        let database = Database { server, name: server.database() };
        database.execute(sql);
        Some(database)
    }

    fn sql(&self, sql: &str) -> Vec<String> {
        self.server.sql(&self.name, sql)
    }

    fn source_with(&self, more: Value) -> Arc<dyn Source> {
        let mut settings = json!({
            "host": "127.0.0.1", "port": self.server.port(), "user": "postgres",
            "dbname": self.name,
        });
        settings.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let context = ConnectContext { name: "shop".to_owned(), ..ConnectContext::default() };
        let settings = settings.as_object().cloned().unwrap();
        tidemill_connect::kind("postgres").unwrap().connect(settings, context).unwrap()
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

/// A type, a value of it, what it is in Arrow, and how it is shown where PostgreSQL's cast to text is otherwise.
const TYPES: &[(&str, &str, &str, Option<&str>)] = &[
    ("boolean", "true", "Boolean", None),
    ("smallint", "-32768", "Int16", None),
    ("integer", "2147483647", "Int32", None),
    ("bigint", "-9223372036854775808", "Int64", None),
    ("oid", "4294967295", "Int64", None),
    ("real", "1.5", "Float32", None),
    ("double precision", "NaN", "Float64", None),
    ("double precision", "-infinity", "Float64", Some("-inf")),
    ("numeric(10,2)", "-12.30", "Decimal128(10, 2)", None),
    ("numeric(38,10)", "1234567890123456789012345678.0123456789", "Decimal128(38, 10)", None),
    ("numeric(6)", "123456", "Decimal128(6, 0)", None),
    ("numeric(40,2)", "12345678901234567890123456789012345678.25", "Utf8", None),
    ("numeric(5,-2)", "12345", "Utf8", None),
    ("numeric", "1.500", "Utf8", None),
    ("numeric", "NaN", "Utf8", None),
    ("numeric", "-Infinity", "Utf8", None),
    ("numeric", "0.00000000000000000001234", "Utf8", None),
    ("money", "1234.5", "Decimal128(19, 2)", Some("1234.50")),
    ("text", "größe\t\\N\n☃", "Utf8", None),
    ("varchar(3)", "abc", "Utf8", None),
    ("char(4)", "ab", "Utf8", Some("ab  ")),
    ("name", "a_name", "Utf8", None),
    ("\"char\"", "x", "Utf8", None),
    ("citext", "CaSe", "Utf8", None),
    ("bytea", "\\x00ff10", "Binary", Some("00ff10")),
    ("date", "2024-02-29", "Date32", None),
    ("date", "infinity", "Date32", Some("9999-12-31")),
    ("date", "-infinity", "Date32", Some("0001-01-01")),
    ("date", "0044-03-15 BC", "Date32", Some("-0043-03-15")),
    ("time", "24:00", "Utf8", None),
    ("time(2)", "12:30:00.50", "Utf8", None),
    ("timetz", "10:00:00.5+02", "Utf8", None),
    ("timestamp", "2024-02-29 12:30:00.5", "Timestamp(µs)", Some("2024-02-29T12:30:00.500")),
    ("timestamp", "-infinity", "Timestamp(µs)", Some("0001-01-01T00:00:00")),
    ("timestamp", "infinity", "Timestamp(µs)", Some("9999-12-31T23:59:59.999999")),
    ("timestamptz", "2024-01-01 10:00+02", "Timestamp(µs, \"UTC\")", Some("2024-01-01T08:00:00Z")),
    ("interval", "-1 year 2 mons 3 days 04:05:06.7", "Utf8", None),
    ("uuid", "0f8fad5b-d9cb-469f-a165-70867728950e", "Utf8", None),
    ("json", "{\"a\":  [1, null]}", "Utf8", None),
    ("jsonb", "{\"b\": 1, \"a\": \"☃\"}", "Utf8", None),
    ("jsonpath", "$.\"a\"[*]", "Utf8", None),
    ("xml", "<a>b</a>", "Utf8", None),
    ("bit(3)", "101", "Utf8", None),
    ("varbit", "10", "Utf8", None),
    ("inet", "10.0.0.1/8", "Utf8", None),
    ("cidr", "10.0.0.0/8", "Utf8", None),
    ("macaddr", "08:00:2b:01:02:03", "Utf8", None),
    ("macaddr8", "08:00:2b:01:02:03:04:05", "Utf8", None),
    ("point", "(1,2.5)", "Utf8", None),
    ("circle", "<(1,2),3>", "Utf8", None),
    ("polygon", "((0,0),(1,1))", "Utf8", None),
    ("int4range", "[1,5)", "Utf8", None),
    ("numrange", "(,1.5]", "Utf8", None),
    ("tstzrange", "[2024-01-01 00:00+00,)", "Utf8", None),
    ("int4multirange", "{[1,3),[5,8)}", "Utf8", None),
    ("tsvector", "'a':1 'b':2", "Utf8", None),
    ("tsquery", "'a' & 'b'", "Utf8", None),
    ("pg_lsn", "16/B374D848", "Utf8", None),
    ("xid8", "123", "Utf8", None),
    ("regclass", "pg_class", "Utf8", None),
    ("mood", "so so", "Utf8", None),
    ("positive", "7", "Int32", None),
    ("price", "12.50", "Decimal128(6, 2)", None),
    ("pair", "(1,\"a b\")", "Utf8", None),
    ("hstore", "\"a\"=>\"1\", \"b\"=>NULL", "Utf8", None),
    ("ltree", "a.b.c", "Utf8", None),
    ("integer[]", "{1,NULL,3}", "List(Int32)", Some("[1, ∅, 3]")),
    ("integer[]", "{}", "List(Int32)", Some("[]")),
    ("text[]", "{\"a b\",\"\"}", "List(Utf8)", Some("[a b, ]")),
    ("numeric(6,2)[]", "{1.5,2}", "List(Decimal128(6, 2))", Some("[1.50, 2.00]")),
    ("numeric[]", "{1.50,NaN}", "List(Utf8)", Some("[1.50, NaN]")),
    ("timestamp[]", "{2024-01-01}", "List(Timestamp(µs))", Some("[2024-01-01T00:00:00]")),
    ("inet[]", "{10.0.0.1,NULL}", "List(Utf8)", Some("[10.0.0.1/32, ∅]")),
    ("mood[]", "{good}", "List(Utf8)", Some("[good]")),
    ("pair[]", "{\"(1,x)\"}", "List(Utf8)", Some("[(1,x)]")),
    ("money[]", "{1.5}", "List(Utf8)", Some("[$1.50]")),
];

const DEFINITIONS: &str = "create extension citext; create extension hstore; create extension ltree; \
     create type mood as enum ('good', 'so so'); create domain positive as integer check (value > 0); \
     create domain price as numeric(6,2); create type pair as (number int, name text);";

#[test]
fn every_type_is_read_as_postgresql_writes_it() {
    let Some(database) = Database::new(DEFINITIONS) else { return };
    let columns: Vec<String> =
        TYPES.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind}")).collect();
    let values: Vec<String> =
        TYPES.iter().map(|(_, value, ..)| format!("E'{}'", escaped(value))).collect();
    let nulls = vec!["null"; TYPES.len()];
    database.execute(&format!(
        "create table t ({}); insert into t values ({}), ({})",
        columns.join(", "),
        values.join(", "),
        nulls.join(", ")
    ));
    let read = database.whole(json!({"table": "t"}));
    assert_eq!(read.rejected, []);
    let (types, rows) = (read.types(), read.table());
    for (at, (kind, value, data_type, shown)) in TYPES.iter().enumerate() {
        assert_eq!(types[at], format!("c{at} {data_type}"), "{kind}");
        let expected = match shown {
            Some(shown) => (*shown).to_owned(),
            None => database
                .sql(&format!(
                    "set timezone = 'UTC'; select c{at}::text from t where c{at} is not null"
                ))
                .join("\n"),
        };
        assert_eq!(rows[0][at], expected, "{kind} {value}");
        assert_eq!(rows[1][at], "∅", "{kind}");
    }
    // A view, and a query, give the same.
    database.execute("create view v as select * from t");
    for settings in [json!({"table": "public.v"}), json!({"query": "table t"})] {
        let again = database.whole(settings);
        assert_eq!((again.types(), again.table()), (types.clone(), rows.clone()));
    }
    // And so does the list of tables.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tables = runtime.block_on(database.source().tables()).unwrap();
    let table = tables.iter().find(|table| table.name == "public.t").unwrap();
    let listed: Vec<String> = table
        .schema
        .iter()
        .flat_map(|schema| schema.fields())
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    assert_eq!(listed, types);
}

#[test]
fn every_type_is_the_same_in_the_log_of_changes() {
    let Some(database) = Database::new(DEFINITIONS) else { return };
    let columns: Vec<String> =
        TYPES.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind}")).collect();
    let values: Vec<String> =
        TYPES.iter().map(|(_, value, ..)| format!("E'{}'", escaped(value))).collect();
    let nulls = vec!["null"; TYPES.len()];
    database.execute(&format!("create table t (id int primary key, {})", columns.join(", ")));
    let source = database.source();
    let log = |position| Request {
        primary_key: vec!["id".to_owned()],
        position,
        ..Request::of(json!({"table": "t"}), ReadScope::Log)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let first = runtime.block_on(drained(&*source, log(None), |_| {})).unwrap();
    let position = first.position.clone().unwrap();
    runtime.block_on(source.acknowledge(&position)).unwrap();
    database.execute(&format!(
        "insert into t values (1, {}), (2, {})",
        values.join(", "),
        nulls.join(", ")
    ));
    let changes = drain(&*source, log(Some(position))).unwrap();
    assert_eq!(changes.rejected, []);
    let whole = database.whole(json!({"table": "t"}));
    assert_eq!((changes.types(), first.types()), (whole.types(), whole.types()));
    for (changed, read) in changes.table().iter().zip(&whole.table()) {
        for (at, (changed, read)) in changed.iter().zip(read).enumerate() {
            let kind = at.checked_sub(1).map(|at| TYPES[at].0);
            assert_eq!(changed, read, "{kind:?}");
        }
    }
    assert_eq!(changes.table().len(), 2);
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n").replace('\t', "\\t")
}

fn declared(database: &Database, declared: Vec<Field>) -> Outcome {
    database
        .read(Request { declared, ..Request::of(json!({"table": "t"}), ReadScope::Whole) })
        .unwrap()
}

#[test]
fn a_value_without_a_place_in_its_column_is_a_rejected_row_or_read_as_declared() {
    let Some(database) = Database::new(
        "create table t (id int, d numeric(6,2), n numeric, a int[], b numeric(4,1)[], at timestamp);
         insert into t values (1, 1.5, 1.25, '{1}', '{1}', '2024-01-01'), (2, 'NaN', 1, null, null, null),
         (3, 1, 1, '{{1,2},{3,4}}', null, null), (4, 1, 1, null, '{1,NaN,2}', null),
         (5, 1, 1, null, '{2,3}', '294276-12-31 23:59:59'), (6, 9999.99, 1.23456, null, '{4}', null)",
    ) else {
        return;
    };
    let read = database.whole(json!({"table": "t"}));
    assert_eq!(read.columns(&["id", "b"]), [["1", "[1.0]"], ["6", "[4.0]"]]);
    let reasons: Vec<(i64, &str)> =
        read.rejected.iter().map(|row| (row.1, row.2.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (
                2,
                "`d` is a Decimal128(6, 2), and the number NaN has no place in a decimal; declared as text (`data_type: text`) it has room"
            ),
            (
                3,
                "`a` is a List(Int32), and an array has 2 dimensions; lists have one; declared as text (`data_type: text`) it has room"
            ),
            (
                4,
                "`b` is a List(Decimal128(4, 1)), and the number NaN has no place in a decimal; declared as text (`data_type: text`) it has room"
            ),
            (
                5,
                "`at` is a Timestamp(µs), and a date or time is too far away; declared as text (`data_type: text`) it has room"
            ),
        ]
    );
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let read = declared(&database, vec![text("d"), text("a"), text("b"), text("at")]);
    assert_eq!(
        read.columns(&["d", "a", "b", "at"]),
        [
            ["1.50", "{1}", "{1.0}", "2024-01-01 00:00:00"],
            ["NaN", "∅", "∅", "∅"],
            ["1.00", "{{1,2},{3,4}}", "∅", "∅"],
            ["1.00", "∅", "{1.0,NaN,2.0}", "∅"],
            ["1.00", "∅", "{2.0,3.0}", "294276-12-31 23:59:59"],
            ["9999.99", "∅", "{4.0}", "∅"],
        ]
    );
    // A number is not rounded, and one without a size takes the declared one.
    database.execute("delete from t where id between 3 and 5");
    let n = Field::new("n", DataType::Decimal128(10, 4), true);
    let d = Field::new("d", DataType::Float64, true);
    let read = declared(&database, vec![n, d]);
    assert_eq!(read.columns(&["n", "d"]), [["1.2500", "1.5"], ["1.0000", "NaN"]]);
    assert!(read.rejected[0].2.contains("1.23456"), "{:?}", read.rejected);
    let n = Field::new("n", DataType::Decimal128(3, 2), true);
    database.execute("update t set n = 100 where id = 6");
    let read = declared(&database, vec![n, text("d")]);
    assert_eq!((read.row_count(), read.rejected.len()), (2, 1));
}

/// A table of more pages than one connection reads.
const LARGE: &str = "create table t as select n as id, n % 7 as part, repeat(md5(n::text), 6) as text \
     from generate_series(1, 240000) n";

fn sums(read: &Outcome) -> (usize, i64) {
    let ids = read.columns(&["id"]);
    let mut ids: Vec<i64> = ids.iter().map(|row| row[0].parse().unwrap()).collect();
    ids.sort_unstable();
    let sum = ids.iter().sum();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "rows came twice");
    (count, sum)
}

fn parallel(settings: Value) -> Request {
    Request { parallelism: 4, ..Request::of(settings, ReadScope::Whole) }
}

#[test]
fn a_large_table_is_read_in_pieces_of_one_state() {
    let Some(database) = Database::new(LARGE) else { return };
    let all = (240_000, 240_000 * 240_001 / 2);
    let mut changes = 0;
    let mut connections = 0;
    let request = parallel(json!({"table": "t", "columns": ["id", "text"], "batch_rows": 5000}));
    let read = drain_and(database.source().as_ref(), request, |_| {
        changes += 1;
        if changes == 5 {
            // Rows move to other pages, go, and come.
            database.execute(
                "update t set text = '' where part = 1; delete from t where part = 2; \
                 insert into t select id + 1000000, 0, text from t where part = 3",
            );
            let open = database.sql(
                "select count(*) from pg_stat_activity where application_name = 'tidemill' and \
                 datname = current_database() and xact_start is not null",
            );
            connections = open[0].parse().unwrap();
        }
    })
    .unwrap();
    assert_eq!(sums(&read), all);
    assert!(changes > 20);
    assert!((2..=4).contains(&connections), "{connections}");
    // No more than allowed.
    let open = "select count(*) from pg_stat_activity where application_name = 'tidemill' and \
                datname = current_database()";
    while database.sql(open) != ["0"] {}
    let mut connections = 0;
    drain_and(
        database.source_with(json!({"max_connections": 2})).as_ref(),
        parallel(json!({"table": "t", "columns": ["id"]})),
        |_| connections = connections.max(database.sql(open)[0].parse().unwrap()),
    )
    .unwrap();
    assert!((1..=2).contains(&connections), "{connections}");
    // A condition, a query and a view are read at once.
    let part =
        drain(database.source().as_ref(), parallel(json!({"table": "t", "where": "id = 7"})));
    assert_eq!(part.unwrap().row_count(), 1);
}

#[test]
fn tables_of_many_parts_are_read_whole() {
    let Some(database) = Database::new(&format!(
        "{LARGE}; create table p (like t) partition by list (part);
         create table p0 partition of p for values in (0, 1, 2, 3, 4);
         create table p1 (text text, id int, part int, dropped int);
         alter table p1 drop column dropped;
         alter table p attach partition p1 for values in (5, 6);
         insert into p select * from t;
         create table child (more int) inherits (t);
         insert into child select id + 1000000, part, text, 1 from t where id <= 10;
         create materialized view m as select * from t"
    )) else {
        return;
    };
    for (table, rows) in [("p", 240_000), ("t", 240_010), ("m", 240_010), ("public.p1", 68_571)] {
        let request = parallel(json!({"table": table, "columns": ["id"]}));
        let read = drain(database.source().as_ref(), request).unwrap();
        assert_eq!(sums(&read).0, rows, "{table}");
    }
}

#[test]
fn a_read_that_loses_its_connection_begins_again() {
    let Some(database) = Database::new(LARGE) else { return };
    let mut changes = 0;
    // More than the buffers between here and there hold.
    let request = parallel(json!({"table": "t", "columns": ["id", "text"], "batch_rows": 5000}));
    let read = drain_and(database.source().as_ref(), request, |_| {
        changes += 1;
        if changes == 3 {
            database.sql(
                "select pg_terminate_backend(pid) from pg_stat_activity \
                 where application_name = 'tidemill' and datname = current_database()",
            );
            database.execute("delete from t where id > 200000");
        }
    })
    .unwrap();
    assert_eq!(read.restarts, 1);
    assert_eq!(read.codes(), ["read-again"]);
    assert_eq!(sums(&read).0, 200_000);
}

#[test]
fn cursors_of_every_order_take_each_row_once() {
    for (kind, first, late, newer) in [
        ("numeric", "1.0", "1.00", "1.5"),
        ("numeric(6,2)", "1.0", "1.00", "1.5"),
        ("citext", "b", "B", "c"),
        (
            "uuid",
            "018c0000-0000-7000-8000-000000000001",
            "018c0000-0000-7000-8000-000000000001",
            "018c0000-0000-7000-8000-000000000002",
        ),
        (
            "timestamptz",
            "2024-01-01 10:00+02",
            "2024-01-01 08:00+00",
            "2024-01-01 08:00:00.000001+00",
        ),
        ("timestamp", "0044-03-15 10:00 BC", "0044-03-15 10:00 BC", "0001-01-01"),
        ("date", "2024-01-01", "2024-01-01", "2024-01-02"),
        ("char(3)", "a", "a", "b"),
        ("time", "10:00", "10:00", "10:00:01"),
        ("positive", "1", "1", "2"),
    ] {
        let definition = format!("{DEFINITIONS} create table t (id int, c {kind})");
        let Some(database) = Database::new(&definition) else { return };
        let add = |id: i32, value: &str| {
            database.execute(&format!("insert into t values ({id}, '{value}')"));
        };
        let read = |position| database.read(next(ReadScope::New, "c", position)).unwrap();
        add(1, first);
        let one = read(None);
        assert_eq!(one.columns(&["id"]), [["1"]], "{kind}");
        assert_eq!(read(one.position.clone()).row_count(), 0, "{kind}");
        add(2, late);
        let two = read(one.position);
        assert_eq!(two.columns(&["id"]), [["2"]], "{kind}");
        add(3, newer);
        let three = read(two.position);
        assert_eq!(three.columns(&["id"]), [["3"]], "{kind}");
        assert_eq!(read(three.position).row_count(), 0, "{kind}");
    }
}

#[test]
fn a_cursor_does_not_end_with_time() {
    let Some(database) = Database::new(
        "create table t (id int, at timestamptz); insert into t values (1, '2024-01-01'), (2, 'infinity')",
    ) else {
        return;
    };
    let error = database.read(next(ReadScope::New, "at", None)).unwrap_err().report();
    assert!(error.contains("`at` is the end of time"), "{error}");
    let settings = json!({"table": "t", "where": "isfinite(at)"});
    let finite = Request { settings, ..next(ReadScope::New, "at", None) };
    assert_eq!(database.read(finite).unwrap().row_count(), 1);
}

#[test]
fn errors_name_what_helps() {
    let Some(database) = Database::new(
        "create schema sales; create table sales.\"Orders\" (id int); create table locked (id int);
         create role reader login; create schema hidden; create table hidden.t (id int);",
    ) else {
        return;
    };
    let error = |user: &str, settings: Value| {
        let source = database.source_with(json!({ "user": user }));
        drain(source.as_ref(), Request::of(settings, ReadScope::Whole)).unwrap_err()
    };
    let denied = error("reader", json!({"table": "locked"}));
    assert_eq!(denied.kind(), ErrorKind::Denied);
    assert!(denied.report().contains("permission denied for table locked"), "{denied}");
    assert!(denied.report().contains("grant select on"), "{denied}");
    let denied = error("reader", json!({"table": "hidden.t"})).report();
    assert!(
        denied.contains("permission denied for schema hidden") && denied.contains("grant usage"),
        "{denied}"
    );
    let missing = error("postgres", json!({"table": "orders"})).report();
    assert!(missing.contains("\"orders\" does not exist"), "{missing}");
    assert!(missing.contains("did you mean sales.Orders?"), "{missing}");
    assert!(database.whole(json!({"table": "sales.Orders"})).row_count() == 0);
    let missing = error("postgres", json!({"table": "nothing.like.it"})).report();
    assert!(missing.contains("nothing.like.it"), "{missing}");
    let wrong = error("postgres", json!({"table": "locked", "where": "amount > 1"})).report();
    assert!(wrong.contains("column \"amount\" does not exist"), "{wrong}");
    let slow = database.source_with(json!({"statement_timeout": "50ms"}));
    let query = Request::of(json!({"query": "select pg_sleep(5)"}), ReadScope::Whole);
    let slow = drain(slow.as_ref(), query).unwrap_err().report();
    assert!(slow.contains("statement_timeout: 0"), "{slow}");
    let nobody = error("nobody_of_this_name", json!({"table": "locked"})).report();
    assert!(nobody.contains("nobody_of_this_name"), "{nobody}");
    // Closed at once, and not waited for: it was never there.
    let gone = database.source_with(json!({"port": 1, "retries": 0}));
    let gone = drain(gone.as_ref(), parallel(json!({"table": "t"}))).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Unavailable);
}

#[test]
fn tables_are_listed_as_they_can_be_read() {
    let Some(database) = Database::new(
        "create table \"odd.name\" (b int, \"A\" text, primary key (\"A\", b));
         create table p (id int primary key) partition by range (id);
         create table p_0 partition of p for values from (0) to (10);
         insert into p values (1), (2); analyze p; create view v as select 1 as one;
         create schema other; create table other.t ();",
    ) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tables = runtime.block_on(database.source().tables()).unwrap();
    let listed: Vec<(&str, Option<u64>, &[String])> = tables
        .iter()
        .map(|table| (table.name.as_str(), table.rows, table.primary_key.as_slice()))
        .collect();
    let key = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        listed,
        [
            ("other.t", None, key(&[]).as_slice()),
            ("public.\"odd.name\"", None, &key(&["A", "b"])),
            ("public.p", Some(2), &key(&["id"])),
            ("public.v", None, &[]),
        ]
    );
    let read = database.whole(json!({"table": "public.\"odd.name\""}));
    assert_eq!(read.types(), ["b Int32", "a Utf8"]);
}

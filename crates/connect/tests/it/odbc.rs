//! What reads through drivers of ODBC deliver, besides what all databases have in common.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_core::{ConnectContext, ErrorKind, ReadScope, Source};
use tidemill_drivers::odbc::Manager;
use tidemill_testkit::odbc_driver;

use crate::behaviour::{Fixture, behaviour};
use crate::reading::{Request, drain};

fn source(settings: Value) -> Arc<dyn Source> {
    let context = ConnectContext { name: "shop".to_owned(), ..ConnectContext::default() };
    let settings = settings.as_object().cloned().unwrap();
    tidemill_connect::kind("odbc").unwrap().connect(settings, context).unwrap()
}

/// A type, a value of it in SQL, what it is in Arrow, and how it is shown.
pub(crate) type Typed = (&'static str, &'static str, &'static str, &'static str);

/// One table with a column of each type, and a row of NULLs.
#[track_caller]
pub(crate) fn types_are_read(database: &dyn Fixture, types: &[Typed]) {
    let columns: Vec<String> =
        types.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind} null")).collect();
    let values: Vec<&str> = types.iter().map(|(_, value, ..)| *value).collect();
    database.execute(&format!("create table t ({})", columns.join(", ")));
    database.execute(&format!("insert into t values ({})", values.join(", ")));
    database.execute(&format!("insert into t values ({})", vec!["null"; types.len()].join(", ")));
    let read = database.whole(json!({"table": "t"}));
    let found: Vec<String> = read.types();
    let table = read.table();
    let mut wrong = Vec::new();
    for (at, (kind, _, expected, shown)) in types.iter().enumerate() {
        let found = found[at].split_once(' ').unwrap().1;
        if found != *expected || table[0][at] != *shown {
            wrong.push(format!("{kind}: {found} {:?}, not {expected} {shown:?}", table[0][at]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(table[1], vec!["∅"; types.len()]);
}

/// Values of all lengths, around the sizes of buffers, are read as they are.
fn long_values_are_whole(database: &dyn Fixture, text: &str, bytes: &str, repeated: &str) {
    database.execute(&format!("create table t (id integer, s {text}, b {bytes})"));
    // Pieces have 64 KiB: 32,767 units of a text, 65,536 bytes.
    let lengths = [0, 1, 4000, 4001, 32_766, 32_767, 32_768, 65_535, 65_536, 65_537, 300_000];
    for length in lengths {
        let hex = "00ff".repeat(length / 2) + &"7f".repeat(length % 2);
        database.execute(&format!(
            "insert into t values ({length}, {}, {})",
            repeated.replace("N", &length.to_string()),
            match bytes {
                "bytea" => format!("'\\x{hex}'"),
                _ => format!("x'{hex}'"),
            }
        ));
    }
    database.execute("insert into t values (-1, null, null)");
    let read = database.whole(json!({"table": "t"}));
    let table = read.table();
    assert_eq!(table.len(), lengths.len() + 1);
    for row in table {
        let length: i64 = row[0].parse().unwrap();
        let Ok(length) = usize::try_from(length) else {
            assert_eq!(row[1..], ["∅", "∅"]);
            continue;
        };
        // One letter of two units in UTF-16, and others of one.
        let expected: String = "é".repeat(length / 2) + &"😀".repeat(length.div_ceil(2));
        assert!(row[1] == expected, "a text of {length}: {}", row[1].chars().count());
        let hex = "00ff".repeat(length / 2) + &"7f".repeat(length % 2);
        assert!(row[2] == hex, "bytes of {length}: {}", row[2].len() / 2);
    }
}

mod postgres {
    use tidemill_testkit::PostgresServer;

    use super::*;

    struct Database {
        server: &'static PostgresServer,
        name: String,
    }

    impl Database {
        fn new() -> Option<Self> {
            odbc_driver("PostgreSQL Unicode", "odbc-postgresql")?;
            let server = PostgresServer::shared()?;
            Some(Database { server, name: server.database() })
        }

        fn settings(&self) -> Value {
            json!({
                "driver": "PostgreSQL Unicode", "user": "postgres",
                "options": {"Server": "127.0.0.1", "Port": self.server.port(), "Database": self.name},
            })
        }
    }

    impl Fixture for Database {
        fn execute(&self, sql: &str) {
            self.server.sql(&self.name, sql);
        }

        fn source(&self) -> Arc<dyn Source> {
            source(self.settings())
        }
    }

    behaviour!(Database::new());

    const TYPES: &[Typed] = &[
        ("boolean", "true", "Boolean", "true"),
        ("smallint", "-32768", "Int16", "-32768"),
        ("integer", "2147483647", "Int32", "2147483647"),
        ("bigint", "-9223372036854775808", "Int64", "-9223372036854775808"),
        ("real", "1.5", "Float32", "1.5"),
        ("double precision", "0.1", "Float64", "0.1"),
        ("numeric(10,2)", "-0.30", "Decimal128(10, 2)", "-0.30"),
        (
            "numeric(38,10)",
            "-1234567890123456789012345678.0123456789",
            "Decimal128(38, 10)",
            "-1234567890123456789012345678.0123456789",
        ),
        (
            "numeric(40,2)",
            "12345678901234567890123456789012345678.25",
            "Utf8",
            "12345678901234567890123456789012345678.25",
        ),
        ("numeric", "0.00000000000000000001234", "Utf8", "0.00000000000000000001234"),
        ("text", "'größe☃😀'", "Utf8", "größe☃😀"),
        ("varchar(3)", "'abc'", "Utf8", "abc"),
        ("char(4)", "'ab'", "Utf8", "ab  "),
        ("bytea", "'\\x00ff10'", "Binary", "00ff10"),
        ("date", "'2024-02-29'", "Date32", "2024-02-29"),
        ("time(6)", "'12:30:00.123456'", "Utf8", "12:30:00.123456"),
        (
            "timestamp",
            "'2024-02-29 12:30:00.123456'",
            "Timestamp(µs)",
            "2024-02-29T12:30:00.123456",
        ),
        ("timestamptz", "'2024-01-01 10:00+02'", "Timestamp(µs, \"UTC\")", "2024-01-01T08:00:00Z"),
        ("interval", "'1 day 02:03:04'", "Utf8", "1 day 02:03:04"),
        (
            "uuid",
            "'0f8fad5b-d9cb-469f-a165-70867728950e'",
            "Utf8",
            "0f8fad5b-d9cb-469f-a165-70867728950e",
        ),
        ("jsonb", "'{\"a\": [1, null]}'", "Utf8", "{\"a\": [1, null]}"),
        ("inet", "'10.0.0.1/8'", "Utf8", "10.0.0.1/8"),
        ("integer[]", "'{1,NULL,3}'", "Utf8", "{1,NULL,3}"),
    ];

    #[test]
    fn every_type_is_read_as_it_is() {
        let Some(database) = Database::new() else { return };
        types_are_read(&database, TYPES);
    }

    #[test]
    fn long_values() {
        let Some(database) = Database::new() else { return };
        let repeated = "repeat('é', N / 2) || repeat('😀', (N + 1) / 2)";
        long_values_are_whole(&database, "text", "bytea", repeated);
    }

    #[test]
    fn a_text_that_is_longer_than_was_said_is_read_again_and_whole() {
        let Some(database) = Database::new() else { return };
        // The driver says 255 characters of what has no size, when it is told so.
        let mut settings = database.settings();
        settings["options"]["TextAsLongVarchar"] = json!(0);
        settings["options"]["MaxVarcharSize"] = json!(100);
        database.execute(
            "create table t as select i as id, repeat('x', i) as s from generate_series(1, 1000) as g(i)",
        );
        let request = Request::of(json!({"table": "t"}), ReadScope::Whole);
        let read = drain(source(settings).as_ref(), request).unwrap();
        assert_eq!(read.row_count(), 1000);
        assert!(read.table().iter().all(|row| row[1].len().to_string() == row[0]));
    }

    #[test]
    fn tables_are_listed_with_columns_and_keys() {
        let Some(database) = Database::new() else { return };
        database.execute(
            "create table b (y int, x numeric(9,2), primary key (x, y));
             create schema s; create view s.a as select true as one",
        );
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tables = runtime.block_on(database.source().tables()).unwrap();
        let shown: Vec<String> = tables
            .iter()
            .map(|table| {
                let fields = table.schema.as_ref().unwrap().fields();
                let fields: Vec<String> =
                    fields.iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
                format!("{} ({}) {:?}", table.name, fields.join(", "), table.primary_key)
            })
            .collect();
        assert_eq!(
            shown,
            ["b (y Int32, x Decimal128(9, 2)) [\"x\", \"y\"]", "s.a (one Boolean) []"]
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        let Some(database) = Database::new() else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = |more: &[(&str, Value)]| {
            let mut settings = database.settings();
            for (key, value) in more {
                settings[key] = value.clone();
            }
            runtime.block_on(source(settings).ping()).unwrap_err()
        };
        let manager = error(&[("manager", json!("/nowhere/libodbc.so"))]);
        assert_eq!(manager.kind(), ErrorKind::Config);
        let said = manager.report();
        assert!(
            said.contains("/nowhere/libodbc.so") && said.contains("apt-get install unixodbc"),
            "{said}"
        );
        let unknown = error(&[("driver", json!("No Such Driver"))]).report();
        assert!(unknown.contains("PostgreSQL Unicode"), "{unknown}");
        let gone = error(&[("options", json!({"Server": "127.0.0.1", "Port": 1}))]);
        assert_eq!(gone.kind(), ErrorKind::Unavailable, "{}", gone.report());
        assert!(gone.report().contains("connection: shop"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let Some(database) = Database::new() else { return };
        let mut settings = database.settings();
        settings["options"]["Database"] = json!("no_such_database");
        settings["password"] = json!("correct horse battery");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(source(settings).ping()).unwrap_err().report();
        let shown = tidemill_core::scrub(&error);
        assert!(!shown.contains("correct horse") && shown.contains("no_such_database"), "{shown}");
    }
}

mod mariadb {
    use tidemill_testkit::MariaDbServer;

    use super::*;

    struct Database {
        server: &'static MariaDbServer,
        name: String,
    }

    impl Database {
        fn new() -> Option<Self> {
            odbc_driver("MariaDB Unicode", "odbc-mariadb")?;
            let server = MariaDbServer::shared()?;
            Some(Database { server, name: server.database() })
        }
    }

    impl Fixture for Database {
        fn execute(&self, sql: &str) {
            self.server.sql(&self.name, sql);
        }

        fn source(&self) -> Arc<dyn Source> {
            source(json!({
                "driver": "MariaDB Unicode", "user": "root",
                "options": {"Server": "127.0.0.1", "Port": self.server.port(), "Database": self.name},
            }))
        }
    }

    behaviour!(Database::new());

    const TYPES: &[Typed] = &[
        ("tinyint", "-128", "Int16", "-128"),
        ("tinyint unsigned", "255", "Int16", "255"),
        ("smallint", "-32768", "Int16", "-32768"),
        ("smallint unsigned", "65535", "Int32", "65535"),
        ("mediumint", "-8388608", "Int32", "-8388608"),
        ("int", "-2147483648", "Int32", "-2147483648"),
        ("int unsigned", "4294967295", "Int64", "4294967295"),
        ("bigint", "-9223372036854775808", "Int64", "-9223372036854775808"),
        ("bigint unsigned", "18446744073709551615", "Decimal128(20, 0)", "18446744073709551615"),
        ("float", "1.5", "Float32", "1.5"),
        ("double", "0.1", "Float64", "0.1"),
        ("decimal(10,2)", "-12.3", "Decimal128(10, 2)", "-12.30"),
        (
            "decimal(38,10)",
            "-1234567890123456789012345678.0123456789",
            "Decimal128(38, 10)",
            "-1234567890123456789012345678.0123456789",
        ),
        ("date", "'2024-02-29'", "Date32", "2024-02-29"),
        (
            "datetime(6)",
            "'2024-02-29 10:20:30.123456'",
            "Timestamp(µs)",
            "2024-02-29T10:20:30.123456",
        ),
        ("char(4)", "'ab'", "Utf8", "ab"),
        ("varchar(9)", "'größe☃😀'", "Utf8", "größe☃😀"),
        ("text", "'a\tb'", "Utf8", "a\tb"),
        ("enum('a','so so')", "'so so'", "Utf8", "so so"),
        ("binary(2)", "x'00ff'", "Binary", "00ff"),
        ("varbinary(9)", "x'0102'", "Binary", "0102"),
        ("blob", "x''", "Binary", ""),
        ("bit(1)", "b'1'", "Boolean", "true"),
    ];

    #[test]
    fn every_type_is_read_as_it_is() {
        let Some(database) = Database::new() else { return };
        types_are_read(&database, TYPES);
    }

    #[test]
    fn long_values() {
        let Some(database) = Database::new() else { return };
        let repeated = "concat(repeat('é', N div 2), repeat('😀', (N + 1) div 2))";
        long_values_are_whole(&database, "longtext", "longblob", repeated);
    }
}

mod sqlite {
    use tidemill_drivers::odbc::Connection;

    use super::*;

    /// Written to through the driver, too: two libraries of SQLite in one process do not see each other's locks.
    struct Database {
        folder: tempfile::TempDir,
        connection: Connection,
    }

    impl Database {
        fn new() -> Option<Self> {
            odbc_driver("SQLite3", "libsqliteodbc")?;
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("shop.db");
            let string = format!("Driver=SQLite3;Database={}", file.display());
            let connection = Manager::load(None).unwrap().connect(&string, 10).unwrap();
            // A reader and a writer at once need the log.
            connection.texts("pragma journal_mode = wal").unwrap();
            Some(Database { folder, connection })
        }
    }

    impl Fixture for Database {
        fn execute(&self, sql: &str) {
            for sql in sql.split(';').filter(|sql| !sql.trim().is_empty()) {
                self.connection.execute(sql).unwrap();
            }
        }

        fn source(&self) -> Arc<dyn Source> {
            let file = self.folder.path().join("shop.db").display().to_string();
            source(json!({"driver": "SQLite3", "options": {"Database": file}}))
        }
    }

    behaviour!(Database::new());

    #[test]
    fn every_type_is_read_as_it_is() {
        let Some(database) = Database::new() else { return };
        types_are_read(
            &database,
            &[
                ("integer", "-9223372036854775808", "Int64", "-9223372036854775808"),
                ("double precision", "0.1", "Float64", "0.1"),
                // The driver does not take such letters within statements, but gives them.
                ("varchar(9)", "'größe☃' || char(128512)", "Utf8", "größe☃😀"),
                ("text", "'a\tb'", "Utf8", "a\tb"),
                ("blob", "x'00ff'", "Binary", "00ff"),
                ("date", "'2024-02-29'", "Date32", "2024-02-29"),
                (
                    "timestamp",
                    "'2024-02-29 12:30:00.123456'",
                    "Timestamp(µs)",
                    "2024-02-29T12:30:00.123456",
                ),
            ],
        );
    }

    #[test]
    fn long_values() {
        let Some(database) = Database::new() else { return };
        let repeated = "replace(hex(zeroblob(N / 2)), '00', 'é') || replace(hex(zeroblob((N + 1) / 2)), '00', char(128512))";
        long_values_are_whole(&database, "text", "blob", repeated);
    }
}

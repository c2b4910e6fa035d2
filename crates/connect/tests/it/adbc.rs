//! What reads through drivers of ADBC deliver, besides what all databases have in common.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_core::{ConnectContext, ErrorKind, Source};
use tidemill_drivers::adbc::{Connection, Driver};
use tidemill_testkit::adbc_driver;

use crate::behaviour::{Fixture, behaviour};
use crate::odbc::{Typed, types_are_read};

fn source(settings: Value) -> Arc<dyn Source> {
    let context = ConnectContext { name: "shop".to_owned(), ..ConnectContext::default() };
    let settings = settings.as_object().cloned().unwrap();
    tidemill_connect::kind("adbc").unwrap().connect(settings, context).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// `name (column type, …) [key]` of each table.
fn listed(source: &dyn Source) -> Vec<String> {
    let tables = runtime().block_on(source.tables()).unwrap();
    let shown = tables.iter().map(|table| {
        let fields = table.schema.as_ref().unwrap().fields();
        let fields: Vec<String> =
            fields.iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        format!("{} ({}) {:?}", table.name, fields.join(", "), table.primary_key)
    });
    shown.collect()
}

mod postgres {
    use tidemill_testkit::PostgresServer;

    use super::*;

    struct Database {
        server: &'static PostgresServer,
        name: String,
        driver: String,
    }

    impl Database {
        fn new() -> Option<Self> {
            let driver = adbc_driver("postgresql")?;
            let server = PostgresServer::shared()?;
            Some(Database { server, name: server.database(), driver })
        }

        fn settings(&self) -> Value {
            let uri =
                format!("postgresql://postgres@127.0.0.1:{}/{}", self.server.port(), self.name);
            json!({"driver": self.driver, "uri": uri})
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
        ("numeric(10,2)", "-0.30", "Utf8", "-0.30"),
        (
            "numeric",
            "12345678901234567890123456789012345678.0000000000000001234",
            "Utf8",
            "12345678901234567890123456789012345678.0000000000000001234",
        ),
        ("text", "'größe☃😀'", "Utf8", "größe☃😀"),
        ("varchar(3)", "'abc'", "Utf8", "abc"),
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
        ("jsonb", "'{\"a\": [1, null]}'", "Utf8", "{\"a\": [1, null]}"),
        ("integer[]", "'{1,NULL,3}'", "List(Int32)", "[1, ∅, 3]"),
        ("text[]", "'{\"a b\",\"\"}'", "List(Utf8)", "[a b, ]"),
    ];

    #[test]
    fn every_type_is_read_as_it_is() {
        let Some(database) = Database::new() else { return };
        types_are_read(&database, TYPES);
    }

    #[test]
    fn tables_are_listed_with_columns_and_keys() {
        let Some(database) = Database::new() else { return };
        database.execute(
            "create table b (y int, x float8, primary key (x, y));
             create schema s; create view s.a as select true as one",
        );
        let mut tables = listed(database.source().as_ref());
        tables.sort();
        assert_eq!(tables, ["b (y Int32, x Float64) [\"x\", \"y\"]", "s.a (one Boolean) []"]);
    }

    #[test]
    fn what_is_missing_is_said_and_secrets_are_not_shown() {
        let Some(database) = Database::new() else { return };
        let error = |more: &[(&str, Value)]| {
            let mut settings = database.settings();
            for (key, value) in more {
                settings[key] = value.clone();
            }
            runtime().block_on(source(settings).ping()).unwrap_err()
        };
        let missing = error(&[("driver", json!("no_such_driver"))]);
        assert_eq!(missing.kind(), ErrorKind::Config);
        let said = missing.report();
        assert!(
            said.contains("libadbc_driver_no_such_driver")
                && said.contains("/etc/adbc/drivers/no_such_driver.toml"),
            "{said}"
        );
        let gone = error(&[("uri", json!("postgresql://me:correct-horse@127.0.0.1:1/x"))]);
        assert_eq!(gone.kind(), ErrorKind::Unavailable, "{}", gone.report());
        assert!(!tidemill_core::scrub(&gone.report()).contains("correct-horse"));
        let option = error(&[("options", json!({"no.such.option": true}))]).report();
        assert!(option.contains("no.such.option"), "{option}");
    }
}

mod sqlite {
    use super::*;

    /// Written to through the driver, too: two libraries of SQLite in one process do not see each other's locks.
    struct Database {
        folder: tempfile::TempDir,
        driver: String,
        connection: Connection,
    }

    impl Database {
        fn new() -> Option<Self> {
            let driver = adbc_driver("sqlite")?;
            let folder = tempfile::tempdir().unwrap();
            let uri = folder.path().join("shop.db").display().to_string();
            let loaded = Driver::load(&driver, None, folder.path()).unwrap();
            let connection = loaded.connect(&[("uri".to_owned(), uri)]).unwrap();
            // A reader and a writer at once need the log.
            let mut rows = connection.query("pragma journal_mode = wal").unwrap();
            while rows.next_batch().unwrap().is_some() {}
            drop(rows);
            Some(Database { folder, driver, connection })
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
            source(json!({"driver": self.driver, "uri": file}))
        }
    }

    behaviour!(Database::new());

    #[test]
    fn values_of_all_kinds_are_read_as_they_are() {
        let Some(database) = Database::new() else { return };
        database.execute(
            "create table t (id integer, r real, s text, b blob);
             insert into t values (1, 1.5, 'größe☃😀', x'00ff'), (-9223372036854775808, null, null, null)",
        );
        let read = database.whole(json!({"table": "t"}));
        assert_eq!(read.types(), ["id Int64", "r Float64", "s Utf8", "b Binary"]);
        assert_eq!(
            read.table(),
            [["1", "1.5", "größe☃😀", "00ff"], ["-9223372036854775808", "∅", "∅", "∅"]]
        );
        let tables = listed(database.source().as_ref());
        assert_eq!(tables.len(), 1, "{tables:?}");
        assert!(tables[0].starts_with("t (id Int64"), "{tables:?}");
    }
}

/// A server of Flight SQL that says a name nobody knows, and is not in UTC.
mod flight {
    use tidemill_core::ReadScope;
    use tidemill_testkit::FlightServer;

    use super::*;
    use crate::behaviour::next;

    struct Database {
        server: FlightServer,
        driver: String,
        connection: Connection,
        folder: tempfile::TempDir,
    }

    impl Database {
        fn new() -> Option<Self> {
            let driver = adbc_driver("flightsql")?;
            let server = FlightServer::duckdb()?;
            let loaded = Driver::load(&driver, None, std::path::Path::new("/")).unwrap();
            let options = [
                ("uri", server.uri()),
                ("username", "shop".to_owned()),
                ("password", server.password().to_owned()),
            ];
            let options = options.map(|(key, value)| (key.to_owned(), value));
            let connection = loaded.connect(&options).unwrap();
            let folder = tempfile::tempdir().unwrap();
            Some(Database { server, driver, connection, folder })
        }

        fn source_of(&self, password: &str) -> Arc<dyn Source> {
            let file = self.folder.path().join("password");
            std::fs::write(&file, password).unwrap();
            source(json!({
                "driver": self.driver, "uri": self.server.uri(), "user": "shop",
                "password": {"file": file}
            }))
        }
    }

    impl Fixture for Database {
        fn execute(&self, sql: &str) {
            self.connection.execute(sql).unwrap();
        }

        fn source(&self) -> Arc<dyn Source> {
            self.source_of(self.server.password())
        }
    }

    // There is no transaction.
    behaviour!(Database::new(), without one state);

    const TYPES: &[Typed] = &[
        ("boolean", "true", "Boolean", "true"),
        ("tinyint", "-128", "Int16", "-128"),
        ("ubigint", "18446744073709551615", "Decimal128(20, 0)", "18446744073709551615"),
        ("double", "0.1", "Float64", "0.1"),
        ("decimal(38,4)", "-0.3000", "Decimal128(38, 4)", "-0.3000"),
        ("text", "'größe☃😀'", "Utf8", "größe☃😀"),
        ("blob", "'\\x00\\xFF'::blob", "Binary", "00ff"),
        ("date", "'2024-02-29'", "Date32", "2024-02-29"),
        ("time", "'12:30:00.123456'", "Utf8", "12:30:00.123456"),
        (
            "timestamp",
            "'2024-02-29 12:30:00.123456'",
            "Timestamp(µs)",
            "2024-02-29T12:30:00.123456",
        ),
        (
            "timestamptz",
            "'2024-01-01 10:00:00+02'",
            "Timestamp(µs, \"UTC\")",
            "2024-01-01T08:00:00Z",
        ),
        ("integer[]", "[1, null, 3]", "List(Int32, field: 'l')", "[1, ∅, 3]"),
        ("struct(a integer)", "{'a': 1}", "Struct(\"a\": Int32)", "{a: 1}"),
    ];

    #[test]
    fn every_type_is_read_as_it_is() {
        let Some(database) = Database::new() else { return };
        types_are_read(&database, TYPES);
    }

    #[test]
    fn instants_are_cursors_whatever_the_zone_of_the_server() {
        let Some(database) = Database::new() else { return };
        database.execute(
            "create table t (id integer, at timestamptz);
             insert into t values (1, '2024-01-01 10:00:00+00'), (2, '2024-01-01 12:00:00+00')",
        );
        let first = database.read(next(ReadScope::New, "at", None)).unwrap();
        assert_eq!(first.row_count(), 2);
        database.execute(
            "insert into t values (3, '2024-01-01 11:59:59+00'), (4, '2024-01-01 12:00:01+00'), (5, '2024-01-01 12:00:00+00')",
        );
        let more = database.read(next(ReadScope::New, "at", first.position)).unwrap();
        let mut ids = more.columns(&["id"]);
        ids.sort();
        assert_eq!(ids, [["4"], ["5"]]);
    }

    #[test]
    fn tables_are_listed_by_the_protocol() {
        let Some(database) = Database::new() else { return };
        assert!(listed(database.source().as_ref()).is_empty());
        database.execute(
            "create table b (y integer, x double);
             create schema s; create view s.a as select true as one",
        );
        let mut tables = listed(database.source().as_ref());
        tables.sort();
        assert_eq!(tables, ["main.b (y Int32, x Float64) []", "s.a (one Boolean) []"]);
    }

    #[test]
    fn a_user_logs_in() {
        let Some(database) = Database::new() else { return };
        runtime().block_on(database.source().ping()).unwrap();
        let wrong = database.source_of("another-password");
        let wrong = runtime().block_on(wrong.ping()).unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Denied, "{}", wrong.report());
        assert!(wrong.report().contains("the user or the password is wrong"));
    }

    #[test]
    fn a_server_that_is_away_is_said_by_the_test_of_its_connection() {
        let Some(driver) = adbc_driver("flightsql") else { return };
        let away = source(json!({"driver": driver, "uri": "grpc://127.0.0.1:1"}));
        let away = runtime().block_on(away.ping()).unwrap_err();
        assert_eq!(away.kind(), ErrorKind::Unavailable, "{}", away.report());
    }
}

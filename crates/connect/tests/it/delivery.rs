//! What a delivery leaves behind, whichever system it goes to.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use futures::StreamExt;
use rusqlite::Connection;
use serde_json::{Value, json};
use tidemill_core::{
    BatchStream, Cancellation, ConnectContext, Delivered, Delivery, DeliveryMode, Error, ErrorKind,
    NewColumns, RelationName, Result, RunId, Sink,
};
use tidemill_testkit::{MariaDbServer, PostgresServer};

/// A system for a test.
trait Target {
    fn sink(&self) -> Arc<dyn Sink>;

    /// `to` of a delivery in this mode.
    fn to(&self, mode: &DeliveryMode) -> Value;

    /// What is there, in the order of its lines: `id,name,amount`.
    fn rows(&self) -> Vec<String>;
}

/// Tables, which have keys.
trait Tables: Target {
    fn execute(&self, sql: &str);
}

type Row<'a> = (i64, Option<&'a str>, f64);

const FIRST: &[Row<'static>] = &[(1, Some("Ada"), 1.5), (2, None, 2.5), (3, Some(""), 3.5)];
const SECOND: &[Row<'static>] =
    &[(1, Some("Ada"), 1.5), (3, Some("Cy"), 3.5), (4, Some("D,\"\\\t"), 4.5)];

fn batch(rows: &[Row<'_>]) -> RecordBatch {
    let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
    let names: StringArray = rows.iter().map(|row| row.1).collect();
    let amounts = Float64Array::from_iter_values(rows.iter().map(|row| row.2));
    RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("name", Arc::new(names) as ArrayRef),
        ("amount", Arc::new(amounts) as ArrayRef),
    ])
    .unwrap()
}

fn stream(batches: Vec<Result<RecordBatch>>) -> BatchStream {
    let schema = batch(&[]).schema();
    BatchStream { schema, batches: futures::stream::iter(batches).boxed() }
}

/// One delivery of a state.
struct Sent<'a> {
    mode: DeliveryMode,
    state: &'a str,
    again: bool,
    new_columns: NewColumns,
}

impl<'a> Sent<'a> {
    fn new(mode: DeliveryMode, state: &'a str) -> Self {
        Sent { mode, state, again: false, new_columns: NewColumns::Refuse }
    }

    fn delivery(&self, target: &dyn Target) -> Delivery {
        Delivery {
            export: "crm.customers".to_owned(),
            to: target.to(&self.mode).as_object().cloned().unwrap(),
            mode: self.mode.clone(),
            new_columns: self.new_columns,
            relation: RelationName::new("main", "customers"),
            state: self.state.to_owned(),
            again: self.again,
            run: RunId::new(format!("run-{}", self.state)),
            cancel: Cancellation::new(),
        }
    }

    fn of(self, target: &dyn Target, batches: Vec<Result<RecordBatch>>) -> Result<Delivered> {
        let delivery = self.delivery(target);
        runtime().block_on(target.sink().deliver(&delivery, stream(batches)))
    }

    fn rows(self, target: &dyn Target, rows: &[Row<'_>]) -> Delivered {
        self.of(target, vec![Ok(batch(rows))]).unwrap()
    }

    fn is_there(&self, target: &dyn Target) -> bool {
        let delivery = self.delivery(target);
        runtime().block_on(target.sink().is_delivered(&delivery)).unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn merge(deletes: bool) -> DeliveryMode {
    DeliveryMode::Merge { key: vec!["id".to_owned()], deletes }
}

fn append() -> DeliveryMode {
    DeliveryMode::Append { key: Vec::new() }
}

/// The tests; the expression makes a target in an `Option`.
macro_rules! deliveries {
    ($target:expr; $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                if let Some(target) = $target {
                    crate::delivery::$test(&target);
                }
            }
        )*
    };
    (files $target:expr) => {
        deliveries!($target;
            a_state_takes_the_place_of_what_is_there,
            each_state_is_added_once,
            what_breaks_off_leaves_what_was_there,
            no_rows_are_a_state,
        );
    };
    (tables $target:expr) => {
        deliveries!(files $target);
        deliveries!($target;
            rows_are_merged_by_their_key,
            rows_without_a_key_are_refused,
            a_table_of_others_keeps_what_is_theirs,
            new_columns_are_added_where_that_is_wanted,
            a_column_that_went_away_is_said_where_it_is_needed,
        );
    };
}

fn a_state_takes_the_place_of_what_is_there(target: &dyn Target) {
    let full = |state| Sent::new(DeliveryMode::Full, state);
    assert!(!full("a").is_there(target));
    assert_eq!(full("a").rows(target, FIRST).rows, 3);
    assert!(full("a").is_there(target));
    assert!(!full("b").is_there(target));
    assert!(!Sent::new(append(), "a").is_there(target), "another mode is another delivery");
    assert_eq!(target.rows(), ["1,Ada,1.5", "2,∅,2.5", "3,,3.5"]);
    assert_eq!(full("b").rows(target, SECOND).rows, 3);
    assert_eq!(target.rows(), ["1,Ada,1.5", "3,Cy,3.5", "4,D,\"\\\t,4.5"]);
    // The same again, because it is asked for.
    let again = Sent { again: true, ..full("b") };
    assert!(!Sent { again: true, ..full("b") }.is_there(target));
    assert_eq!(again.rows(target, FIRST).rows, 3);
    assert_eq!(target.rows().len(), 3);
}

fn each_state_is_added_once(target: &dyn Target) {
    let sent = |state| Sent::new(append(), state);
    sent("a").rows(target, FIRST);
    assert!(sent("a").is_there(target));
    sent("b").rows(target, SECOND);
    assert!(sent("b").is_there(target));
    let rows = target.rows();
    assert_eq!(rows.len(), 6, "{rows:?}");
    assert_eq!(rows.iter().filter(|row| *row == "1,Ada,1.5").count(), 2);
}

fn what_breaks_off_leaves_what_was_there(target: &dyn Target) {
    Sent::new(DeliveryMode::Full, "a").rows(target, FIRST);
    let broken = || vec![Ok(batch(SECOND)), Err(Error::new(ErrorKind::Io, "it broke"))];
    let error = Sent::new(DeliveryMode::Full, "b").of(target, broken()).unwrap_err();
    assert!(error.report().contains("it broke"), "{}", error.report());
    assert!(!Sent::new(DeliveryMode::Full, "b").is_there(target));
    assert!(Sent::new(DeliveryMode::Full, "a").is_there(target));
    assert_eq!(target.rows(), ["1,Ada,1.5", "2,∅,2.5", "3,,3.5"]);
    Sent::new(DeliveryMode::Full, "b").rows(target, SECOND);
    assert_eq!(target.rows().len(), 3);
}

fn no_rows_are_a_state(target: &dyn Target) {
    Sent::new(DeliveryMode::Full, "a").rows(target, FIRST);
    assert_eq!(Sent::new(DeliveryMode::Full, "none").rows(target, &[]).rows, 0);
    assert!(Sent::new(DeliveryMode::Full, "none").is_there(target));
    assert_eq!(target.rows(), [""; 0]);
}

fn rows_are_merged_by_their_key(target: &dyn Tables) {
    let first = Sent::new(merge(false), "a").rows(target, FIRST);
    assert_eq!((first.rows, first.inserted, first.updated, first.deleted), (3, 3, 0, 0));
    let second = Sent::new(merge(false), "b").rows(target, SECOND);
    assert_eq!((second.rows, second.inserted, second.updated, second.deleted), (3, 1, 1, 0));
    assert_eq!(target.rows(), ["1,Ada,1.5", "2,∅,2.5", "3,Cy,3.5", "4,D,\"\\\t,4.5"]);
    let exact = Sent::new(merge(true), "c").rows(target, FIRST);
    assert_eq!((exact.inserted, exact.updated, exact.deleted), (0, 1, 1));
    assert_eq!(target.rows(), ["1,Ada,1.5", "2,∅,2.5", "3,,3.5"]);
    // NULL and a value are not the same; what is the same is not written.
    let value = Sent::new(merge(true), "d").rows(target, &[(2, Some("Bo"), 2.5)]);
    assert_eq!((value.inserted, value.updated, value.deleted), (0, 1, 2));
    let same = Sent::new(merge(true), "e").rows(target, &[(2, Some("Bo"), 2.5)]);
    assert_eq!((same.inserted, same.updated, same.deleted), (0, 0, 0));
    assert_eq!(target.rows(), ["2,Bo,2.5"]);
    // A key that is there stays as it is.
    let by_key = DeliveryMode::Append { key: vec!["id".to_owned()] };
    let added = Sent::new(by_key, "f").rows(target, &[(2, Some("new"), 0.5), (5, None, 5.5)]);
    assert_eq!((added.rows, added.inserted), (2, 1));
    assert_eq!(target.rows(), ["2,Bo,2.5", "5,∅,5.5"]);
}

fn rows_without_a_key_are_refused(target: &dyn Tables) {
    Sent::new(merge(true), "a").rows(target, FIRST);
    for (rows, says) in [
        (vec![(1, None, 1.0), (1, None, 2.0)], "comes more than once"),
        (vec![(7, None, 1.0)], "`primary_key` names `other`"),
    ] {
        let mode = match says.contains("other") {
            true => DeliveryMode::Merge { key: vec!["other".to_owned()], deletes: true },
            false => merge(true),
        };
        let error = Sent::new(mode, "b").of(target, vec![Ok(batch(&rows))]).unwrap_err();
        assert!(error.report().contains(says), "{}", error.report());
    }
    let nulls = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef),
        ("name", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
        ("amount", Arc::new(Float64Array::from(vec![1.0, 2.0])) as ArrayRef),
    ]);
    let error = Sent::new(merge(true), "b").of(target, vec![Ok(nulls.unwrap())]).unwrap_err();
    assert!(error.report().contains("1 row has NULL in its key"), "{}", error.report());
    assert_eq!(target.rows(), ["1,Ada,1.5", "2,∅,2.5", "3,,3.5"]);
}

fn a_table_of_others_keeps_what_is_theirs(target: &dyn Tables) {
    target.execute(
        "create table t (id bigint not null, name varchar(20), amount double precision, note text default 'new');
         insert into t values (1, 'theirs', 9, 'kept'), (9, 'nine', 9, 'kept')",
    );
    let error = Sent::new(merge(false), "a").of(target, vec![Ok(batch(FIRST))]).unwrap_err();
    assert!(error.report().contains("has no unique index of (id)"), "{}", error.report());
    target.execute("create unique index t_key on t (id)");
    Sent::new(merge(false), "a").rows(target, FIRST);
    target.execute("update t set name = note where note is not null");
    assert_eq!(target.rows(), ["1,kept,1.5", "2,new,2.5", "3,new,3.5", "9,kept,9"]);
    target.execute("create view v as select id from t");
    Sent::new(DeliveryMode::Full, "b").rows(target, SECOND);
    target.execute("update t set name = (select count(*) from v)");
    assert_eq!(target.rows(), ["1,3,1.5", "3,3,3.5", "4,3,4.5"]);
    // What does not fit is said before anything is changed.
    target.execute("drop view v; drop table t; create table t (id bigint, name integer)");
    let error = Sent::new(DeliveryMode::Full, "c").of(target, vec![Ok(batch(FIRST))]).unwrap_err();
    assert!(error.report().contains("has no column for: amount"), "{}", error.report());
    target.execute("alter table t add column amount double precision");
    let error = Sent::new(DeliveryMode::Full, "c").of(target, vec![Ok(batch(FIRST))]).unwrap_err();
    assert!(
        error.report().contains("`name` is text in the model and integer there"),
        "{}",
        error.report()
    );
}

fn new_columns_are_added_where_that_is_wanted(target: &dyn Tables) {
    fn sent(mode: DeliveryMode, state: &str) -> Sent<'_> {
        Sent { new_columns: NewColumns::Add, ..Sent::new(mode, state) }
    }
    let rows = || vec![Ok(batch(FIRST))];
    for (number, mode) in
        [merge(true), DeliveryMode::Full, append(), DeliveryMode::Full].into_iter().enumerate()
    {
        target.execute(
            "create table t (id bigint not null, note varchar(9) default 'new'); create unique index t_key on t (id)",
        );
        // Another table cannot take the place of one that views read.
        if number == 3 {
            target.execute("create view v as select id from t");
        }
        let state = format!("{number}");
        let refused = Sent::new(mode.clone(), &state).of(target, rows()).unwrap_err().report();
        assert!(refused.contains("has no column for: name text, amount"), "{refused}");
        assert!(refused.contains("schema_contract: {columns: evolve}"), "{refused}");
        sent(mode.clone(), &state).of(target, rows()).unwrap();
        assert_eq!(target.rows(), ["1,Ada,1.5", "2,∅,2.5", "3,,3.5"], "{mode:?}");
        // What was there keeps its place, and takes its values.
        target.execute("update t set name = note");
        assert_eq!(target.rows(), ["1,new,1.5", "2,new,2.5", "3,new,3.5"], "{mode:?}");
        if mode != append() {
            Sent::new(mode, "more").rows(target, SECOND);
            assert_eq!(target.rows().len(), 3);
        }
        if number == 3 {
            target.execute("drop view v");
        }
        target.execute("drop table t");
    }
    // The types of what is there stay, also then.
    target.execute("create table t (id bigint, name integer)");
    let error = sent(DeliveryMode::Full, "c").of(target, rows()).unwrap_err().report();
    assert!(error.contains("`name` is text in the model and integer there"), "{error}");
    // It was not added.
    target.execute("alter table t add column amount double precision");
}

fn a_column_that_went_away_is_said_where_it_is_needed(target: &dyn Tables) {
    Sent::new(DeliveryMode::Full, "a").rows(target, FIRST);
    // It keeps its place, and gets its default, or NULL.
    target.execute("alter table t add column gone varchar(9)");
    Sent::new(DeliveryMode::Full, "b").rows(target, SECOND);
    assert_eq!(target.rows().len(), 3);
    target.execute("drop table t");
    target.execute(
        "create table t (id bigint not null, name varchar(20), amount double precision, needed varchar(9) not null)",
    );
    let mode = DeliveryMode::Full;
    let error = Sent::new(mode, "c").of(target, vec![Ok(batch(FIRST))]).unwrap_err().report();
    assert!(error.contains("the model does not have the column `needed`"), "{error}");
    assert_eq!(target.rows(), [""; 0]);
}

fn shown(id: i64, name: Option<&str>, amount: f64) -> String {
    format!("{id},{},{amount}", name.unwrap_or("∅"))
}

mod postgres {
    use super::*;

    pub(super) fn rows(server: &PostgresServer, name: &str) -> Vec<String> {
        let sql =
            "select id || ',' || coalesce(name::text, '∅') || ',' || amount from t order by 1";
        server.sql(name, sql)
    }

    struct Database {
        server: &'static PostgresServer,
        name: String,
    }

    impl Database {
        fn new() -> Option<Self> {
            let server = PostgresServer::shared()?;
            Some(Database { server, name: server.database() })
        }
    }

    impl Target for Database {
        fn sink(&self) -> Arc<dyn Sink> {
            let settings = json!({
                "host": "127.0.0.1", "port": self.server.port(), "user": "postgres", "dbname": self.name,
            });
            let context = ConnectContext { name: "crm".to_owned(), ..ConnectContext::default() };
            let kind = tidemill_connect::kind("postgres").unwrap();
            kind.sink(settings.as_object().cloned().unwrap(), context).unwrap()
        }

        fn to(&self, _: &DeliveryMode) -> Value {
            json!({"table": "t"})
        }

        fn rows(&self) -> Vec<String> {
            rows(self.server, &self.name)
        }
    }

    impl Tables for Database {
        fn execute(&self, sql: &str) {
            self.server.sql(&self.name, sql);
        }
    }

    deliveries!(tables Database::new());
}

mod mysql {
    use super::*;

    pub(super) fn rows(server: &MariaDbServer, name: &str) -> Vec<String> {
        // The client of MariaDB shows tabs and backslashes by two characters.
        let sql =
            "select concat(id, ',', coalesce(name, '∅'), ',', amount) from t order by id, amount";
        let rows = server.sql(name, sql);
        let shown =
            |row: &String| row.replace("\\\\", "\0").replace("\\t", "\t").replace('\0', "\\");
        rows.iter().map(shown).collect()
    }

    struct Database {
        server: &'static MariaDbServer,
        name: String,
    }

    impl Database {
        fn new() -> Option<Self> {
            let server = MariaDbServer::shared()?;
            Some(Database { server, name: server.database() })
        }
    }

    impl Target for Database {
        fn sink(&self) -> Arc<dyn Sink> {
            let settings = json!({
                "port": self.server.port(), "user": "root", "database": self.name,
            });
            let context = ConnectContext { name: "crm".to_owned(), ..ConnectContext::default() };
            let kind = tidemill_connect::kind("mysql").unwrap();
            kind.sink(settings.as_object().cloned().unwrap(), context).unwrap()
        }

        fn to(&self, _: &DeliveryMode) -> Value {
            json!({"table": "t"})
        }

        fn rows(&self) -> Vec<String> {
            rows(self.server, &self.name)
        }
    }

    impl Tables for Database {
        fn execute(&self, sql: &str) {
            self.server.sql(&self.name, sql);
        }
    }

    deliveries!(tables Database::new());
}

mod sqlite {
    use super::*;

    struct Database {
        folder: tempfile::TempDir,
    }

    impl Database {
        fn new() -> Option<Self> {
            Some(Database { folder: tempfile::tempdir().unwrap() })
        }

        fn open(&self) -> Connection {
            Connection::open(self.folder.path().join("crm.db")).unwrap()
        }
    }

    impl Target for Database {
        fn sink(&self) -> Arc<dyn Sink> {
            let settings = json!({"path": "crm.db"}).as_object().cloned().unwrap();
            let context =
                ConnectContext { project: self.folder.path().into(), name: "crm".to_owned() };
            tidemill_connect::kind("sqlite").unwrap().sink(settings, context).unwrap()
        }

        fn to(&self, _: &DeliveryMode) -> Value {
            json!({"table": "t"})
        }

        fn rows(&self) -> Vec<String> {
            let connection = self.open();
            let mut query = connection
                .prepare("select id, cast(name as text), amount from t order by 1")
                .unwrap();
            let rows = query.query_map([], |row| {
                let name: Option<String> = row.get(1)?;
                Ok(shown(row.get(0)?, name.as_deref(), row.get(2)?))
            });
            rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
        }
    }

    impl Tables for Database {
        fn execute(&self, sql: &str) {
            self.open().execute_batch(sql).unwrap();
        }
    }

    deliveries!(tables Database::new());
}

/// Databases through drivers of others.
mod drivers {
    use arrow::array::AsArray;
    use tidemill_drivers::{adbc, odbc};
    use tidemill_testkit::{adbc_driver, odbc_driver};

    use super::*;

    /// Who says what is there: a client of the server, or the driver itself, as two libraries of SQLite in one
    /// process do not see each other's locks.
    enum Witness {
        Postgres(&'static PostgresServer, String),
        MariaDb(&'static MariaDbServer, String),
        Odbc(odbc::Connection),
        Adbc(adbc::Connection),
    }

    struct Database {
        kind: &'static str,
        settings: Value,
        witness: Witness,
        /// Of a file.
        _folder: Option<tempfile::TempDir>,
    }

    fn odbc_postgres() -> Option<Database> {
        let driver = odbc_driver("PostgreSQL Unicode", "odbc-postgresql")?;
        let server = PostgresServer::shared()?;
        let name = server.database();
        let options = json!({"Server": "127.0.0.1", "Port": server.port(), "Database": name});
        let settings = json!({"driver": driver, "user": "postgres", "options": options});
        Some(Database {
            kind: "odbc",
            settings,
            witness: Witness::Postgres(server, name),
            _folder: None,
        })
    }

    fn odbc_mariadb() -> Option<Database> {
        let driver = odbc_driver("MariaDB Unicode", "odbc-mariadb")?;
        let server = MariaDbServer::shared()?;
        let name = server.database();
        let options = json!({"Server": "127.0.0.1", "Port": server.port(), "Database": name});
        let settings = json!({"driver": driver, "user": "root", "options": options});
        Some(Database {
            kind: "odbc",
            settings,
            witness: Witness::MariaDb(server, name),
            _folder: None,
        })
    }

    fn odbc_sqlite() -> Option<Database> {
        let driver = odbc_driver("SQLite3", "libsqliteodbc")?;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("crm.db").display().to_string();
        let manager = odbc::Manager::load(None).unwrap();
        let connection = manager.connect(&format!("Driver={driver};Database={file}"), 10).unwrap();
        let settings = json!({"driver": driver, "options": {"Database": file}});
        Some(Database {
            kind: "odbc",
            settings,
            witness: Witness::Odbc(connection),
            _folder: Some(folder),
        })
    }

    fn adbc_postgres() -> Option<Database> {
        let driver = adbc_driver("postgresql")?;
        let server = PostgresServer::shared()?;
        let name = server.database();
        let uri = format!("postgresql://postgres@127.0.0.1:{}/{name}", server.port());
        let settings = json!({"driver": driver, "uri": uri});
        Some(Database {
            kind: "adbc",
            settings,
            witness: Witness::Postgres(server, name),
            _folder: None,
        })
    }

    fn adbc_sqlite() -> Option<Database> {
        let driver = adbc_driver("sqlite")?;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("crm.db").display().to_string();
        let loaded = adbc::Driver::load(&driver, None, folder.path()).unwrap();
        let connection = loaded.connect(&[("uri".to_owned(), file.clone())]).unwrap();
        let settings = json!({"driver": driver, "uri": file});
        Some(Database {
            kind: "adbc",
            settings,
            witness: Witness::Adbc(connection),
            _folder: Some(folder),
        })
    }

    impl Target for Database {
        fn sink(&self) -> Arc<dyn Sink> {
            let context = ConnectContext { name: "crm".to_owned(), ..ConnectContext::default() };
            let settings = self.settings.as_object().cloned().unwrap();
            tidemill_connect::kind(self.kind).unwrap().sink(settings, context).unwrap()
        }

        fn to(&self, _: &DeliveryMode) -> Value {
            json!({"table": "t"})
        }

        fn rows(&self) -> Vec<String> {
            let sqlite = "select id || ',' || coalesce(cast(name as text), '∅') || ',' || printf('%g', amount) from t order by 1";
            match &self.witness {
                Witness::Postgres(server, name) => super::postgres::rows(server, name),
                Witness::MariaDb(server, name) => super::mysql::rows(server, name),
                Witness::Odbc(connection) => {
                    connection.texts(sqlite).unwrap().into_iter().flatten().flatten().collect()
                }
                Witness::Adbc(connection) => {
                    let mut rows = connection.query(sqlite).unwrap();
                    let mut all = Vec::new();
                    while let Some(batch) = rows.next_batch().unwrap() {
                        let texts = batch.column(0).as_string_opt::<i32>();
                        all.extend(texts.into_iter().flatten().flatten().map(str::to_owned));
                    }
                    all
                }
            }
        }
    }

    impl Tables for Database {
        fn execute(&self, sql: &str) {
            let each = || sql.split(';').filter(|sql| !sql.trim().is_empty());
            match &self.witness {
                Witness::Postgres(server, name) => drop(server.sql(name, sql)),
                Witness::MariaDb(server, name) => drop(server.sql(name, sql)),
                Witness::Odbc(connection) => {
                    for sql in each() {
                        connection.execute(sql).unwrap();
                    }
                }
                Witness::Adbc(connection) => {
                    for sql in each() {
                        connection.execute(sql).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn first_deliveries_to_two_tables_at_once_make_the_records_once() {
        let Some(database) = odbc_postgres() else { return };
        let started = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (database, started) = (&database, &started);
                scope.spawn(move || {
                    let mut delivery = Sent::new(append(), "a").delivery(database);
                    delivery.export = format!("crm.{number}");
                    delivery.to.insert("table".to_owned(), json!(format!("t{number}")));
                    started.wait();
                    let rows = stream(vec![Ok(batch(FIRST))]);
                    runtime().block_on(database.sink().deliver(&delivery, rows)).unwrap();
                });
            }
        });
        let Witness::Postgres(server, name) = &database.witness else { return };
        assert_eq!(server.sql(name, "select count(*) from tidemill_driver_deliveries"), ["4"]);
    }

    mod to_postgres_by_odbc {
        deliveries!(tables super::odbc_postgres());
    }

    mod to_mariadb_by_odbc {
        deliveries!(tables super::odbc_mariadb());
    }

    mod to_sqlite_by_odbc {
        deliveries!(tables super::odbc_sqlite());
    }

    mod to_postgres_by_adbc {
        deliveries!(tables super::adbc_postgres());
    }

    mod to_sqlite_by_adbc {
        deliveries!(tables super::adbc_sqlite());
    }
}

mod files {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};

    use super::*;

    struct Folder {
        folder: tempfile::TempDir,
        format: &'static str,
    }

    impl Folder {
        fn new(format: &'static str) -> Option<Self> {
            Some(Folder { folder: tempfile::tempdir().unwrap(), format })
        }
    }

    impl Target for Folder {
        fn sink(&self) -> Arc<dyn Sink> {
            let context =
                ConnectContext { project: self.folder.path().into(), name: String::new() };
            tidemill_connect::kind("files").unwrap().sink(serde_json::Map::new(), context).unwrap()
        }

        fn to(&self, mode: &DeliveryMode) -> Value {
            let format = self.format.split('.').next().unwrap();
            match mode {
                DeliveryMode::Full if !self.format.ends_with('/') => {
                    json!({"path": format!("out/t.{}", self.format)})
                }
                _ => {
                    json!({"path": "out/t/", "format": format.trim_end_matches('/'), "max_rows": 2})
                }
            }
        }

        /// As our own reader of files has them.
        fn rows(&self) -> Vec<String> {
            let mut rows = Vec::new();
            let mut open = vec![self.folder.path().join("out")];
            while let Some(folder) = open.pop() {
                for entry in std::fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    let name = path.file_name().unwrap().to_string_lossy().into_owned();
                    assert!(!name.ends_with(".tidemill-part"), "{name} was left");
                    if path.is_dir() {
                        if name != "_tidemill_deliveries" {
                            open.push(path);
                        }
                        continue;
                    }
                    rows.extend(read(self.folder.path(), &path));
                }
            }
            rows.sort();
            rows
        }
    }

    fn read(root: &std::path::Path, path: &std::path::Path) -> Vec<String> {
        let location = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let context = ConnectContext { project: root.into(), name: String::new() };
        let kind = tidemill_connect::kind("files").unwrap();
        let source = kind.connect(serde_json::Map::new(), context).unwrap();
        let mut request = crate::reading::Request::of(
            json!({"location": location}),
            tidemill_core::ReadScope::Whole,
        );
        request.declared = vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
            Field::new("amount", DataType::Float64, true),
        ];
        let outcome = crate::reading::drain(source.as_ref(), request).unwrap();
        assert_eq!(outcome.rejected.len(), 0, "{:?}", outcome.rejected);
        let Some(batch) = outcome.rows else { return Vec::new() };
        let column = |name: &str, kind| {
            arrow::compute::cast(batch.column_by_name(name).unwrap(), &kind).unwrap()
        };
        let ids = column("id", DataType::Int64);
        let names = column("name", DataType::Utf8);
        let amounts = column("amount", DataType::Float64);
        let row = |row| {
            let name = names.is_valid(row).then(|| names.as_string::<i32>().value(row));
            let amount = amounts.as_primitive::<Float64Type>().value(row);
            shown(ids.as_primitive::<Int64Type>().value(row), name, amount)
        };
        (0..batch.num_rows()).map(row).collect()
    }

    macro_rules! formats {
        ($($name:ident $format:literal),* $(,)?) => {
            $(
                mod $name {
                    use super::Folder;
                    use super::super::{
                        a_state_takes_the_place_of_what_is_there, each_state_is_added_once,
                        no_rows_are_a_state, what_breaks_off_leaves_what_was_there,
                    };

                    #[test]
                    fn replaced() {
                        a_state_takes_the_place_of_what_is_there(&Folder::new($format).unwrap());
                    }

                    #[test]
                    fn added() {
                        each_state_is_added_once(&Folder::new($format).unwrap());
                    }

                    #[test]
                    fn broken_off() {
                        what_breaks_off_leaves_what_was_there(&Folder::new($format).unwrap());
                    }

                    #[test]
                    fn empty() {
                        no_rows_are_a_state(&Folder::new($format).unwrap());
                    }
                }
            )*
        };
    }

    formats!(
        parquet "parquet", parquets "parquet/", csv "csv", packed "csv.gz", lines "ndjson",
        lines_packed "ndjson.zst", document "json", folders "csv/",
    );
}

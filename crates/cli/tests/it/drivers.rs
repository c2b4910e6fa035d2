//! Loads and exports through drivers of ODBC and ADBC, as a user runs them.

use tidemill_connect::EXPORT_FAILPOINTS;
use tidemill_testkit::{FlightServer, MariaDbServer, PostgresServer, adbc_driver, odbc_driver};

use crate::databases::{SECOND, exports_cut_off, exports_unheard};
use crate::sandbox::Sandbox;

const FIRST: &str =
    "id,name,amount,day\n1,Ada,10.5,2024-01-01\n2,\"Bo'\\?{\",,2024-01-02\n3,,30,\n";

/// A server for a test, and a client of its own to look at it.
#[derive(Clone, Copy)]
enum Server {
    Postgres(&'static PostgresServer),
    MariaDb(&'static MariaDbServer),
}

/// A project with a connection `shop` through a driver.
struct Shop {
    sandbox: Sandbox,
    server: Server,
    database: String,
}

impl Shop {
    fn new(server: Server, database: String, connection: &str) -> Shop {
        let sandbox = Sandbox::new(&[]);
        sandbox.write("connections.yml", format!("connections:\n  shop: {connection}\n"));
        Shop { sandbox, server, database }
    }

    fn odbc_postgres() -> Option<Shop> {
        let driver = odbc_driver("PostgreSQL Unicode", "odbc-postgresql")?;
        let server = PostgresServer::shared()?;
        let (database, port) = (server.database(), server.port());
        let connection = format!(
            "{{type: odbc, driver: {driver}, user: postgres, options: {{Server: 127.0.0.1, Port: {port}, Database: {database}}}}}"
        );
        Some(Shop::new(Server::Postgres(server), database, &connection))
    }

    fn odbc_mariadb() -> Option<Shop> {
        let driver = odbc_driver("MariaDB Unicode", "odbc-mariadb")?;
        let server = MariaDbServer::shared()?;
        let (database, port) = (server.database(), server.port());
        let connection = format!(
            "{{type: odbc, driver: {driver}, user: root, options: {{Server: 127.0.0.1, Port: {port}, Database: {database}}}}}"
        );
        Some(Shop::new(Server::MariaDb(server), database, &connection))
    }

    fn adbc_postgres() -> Option<Shop> {
        let driver = adbc_driver("postgresql")?;
        let server = PostgresServer::shared()?;
        let (database, port) = (server.database(), server.port());
        let connection = format!(
            "{{type: adbc, driver: {driver}, uri: 'postgresql://postgres@127.0.0.1:{port}/{database}'}}"
        );
        Some(Shop::new(Server::Postgres(server), database, &connection))
    }

    #[track_caller]
    fn sql(&self, sql: &str) -> Vec<String> {
        match self.server {
            Server::Postgres(server) => server.sql(&self.database, sql),
            Server::MariaDb(server) => server.sql(&self.database, sql),
        }
    }

    fn exports(&self, mode: &str) {
        self.sandbox.has_customers(FIRST);
        self.sandbox.write(
            "exports.yml",
            format!("exports:\n  - {{from: ref('customers'), to: {{connection: shop, table: customer}}, {mode}}}\n"),
        );
    }

    fn rows(&self) -> Vec<String> {
        let text = match self.server {
            Server::Postgres(_) => "text",
            Server::MariaDb(_) => "char",
        };
        self.sql(&format!(
            "select concat_ws(',', id, coalesce(name, ''), coalesce(cast(amount as {text}), ''), coalesce(cast(day as {text}), '')) from customer order by id, amount"
        ))
    }

    /// Ends what a process that was killed left behind in the server.
    fn waits_for_sessions(&self) {
        let open = match self.server {
            Server::Postgres(_) => {
                "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            }
            Server::MariaDb(_) => {
                "select count(*) from information_schema.processlist where db = database() and id <> connection_id()"
            }
        };
        while self.sql(open) != ["0"] {}
    }
}

const SECOND_ROWS: [&str; 3] = ["1,Ada,11.00,2024-01-01", "3,,30.00,", "4,Di,40.00,2024-01-04"];

fn a_killed_delivery_is_made_whole(shop: &Shop, mode: &str) {
    shop.exports(mode);
    for step in EXPORT_FAILPOINTS {
        shop.sql("drop table if exists customer; drop table if exists tidemill_driver_deliveries");
        shop.sandbox.publishes(FIRST);
        shop.sandbox.run(&["export"]).ok().says("3 rows");
        shop.sandbox.publishes(SECOND);
        let before = shop.rows();
        assert!(shop.sandbox.dies_at(step, &["export"]), "{step} never fired");
        shop.waits_for_sessions();
        let done = *step == "export.after-commit";
        assert_eq!(shop.rows() == before, !done, "{mode}: {step}");
        let again = shop.sandbox.run(&["export"]).ok();
        match done {
            true => again.says("nothing to do"),
            false => again.says("3 rows"),
        };
        match mode {
            "mode: append" => assert_eq!(shop.rows().len(), 6, "{step}"),
            _ => assert_eq!(shop.rows(), SECOND_ROWS, "{mode}: {step}"),
        }
    }
}

#[test]
fn a_delivery_by_odbc_that_is_killed_at_any_step_is_made_whole_by_the_next() {
    if let Some(shop) = Shop::odbc_postgres() {
        a_killed_delivery_is_made_whole(&shop, "mode: merge, primary_key: id, deletes: true");
    }
    if let Some(shop) = Shop::odbc_mariadb() {
        a_killed_delivery_is_made_whole(&shop, "mode: full");
    }
}

#[test]
fn a_delivery_by_adbc_that_is_killed_at_any_step_is_made_whole_by_the_next() {
    let Some(shop) = Shop::adbc_postgres() else { return };
    a_killed_delivery_is_made_whole(&shop, "mode: append");
}

#[test]
fn a_lost_answer_to_a_commit_is_settled_by_the_record() {
    for shop in [Shop::odbc_postgres(), Shop::odbc_mariadb(), Shop::adbc_postgres()] {
        let Some(shop) = shop else { continue };
        shop.exports("mode: append");
        // It was committed and nobody heard of it: not a second time.
        shop.sandbox.publishes(FIRST);
        exports_unheard(&shop.sandbox);
        assert_eq!(shop.rows().len(), 3);
        // The server ended the session before the commit: a second time.
        shop.sandbox.publishes(SECOND);
        exports_cut_off(&shop.sandbox, || {
            match shop.server {
            Server::Postgres(_) => drop(shop.sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
            )),
            Server::MariaDb(_) => {
                let sessions = shop.sql("select id from information_schema.processlist where db = database() and id <> connection_id()");
                for id in sessions {
                    shop.sql(&format!("kill {id}"));
                }
            }
        }
        });
        assert_eq!(shop.rows().len(), 6);
        shop.sandbox.run(&["export"]).ok().says("nothing to do");
    }
}

#[test]
fn a_connection_is_tried_looked_at_and_loaded_from() {
    for shop in [Shop::odbc_postgres(), Shop::adbc_postgres()] {
        let Some(shop) = shop else { continue };
        shop.sql(
            "create table orders (id int primary key, amount numeric(9,2), at timestamptz); \
             insert into orders values (1, 10.50, '2024-01-01 10:00+02'), (2, null, null)",
        );
        shop.sandbox.run(&["connection", "test"]).ok().says("shop");
        shop.sandbox.run(&["connection", "discover", "shop"]).ok().says("orders").says("amount");
        shop.sandbox.run(&["connection", "preview", "shop", "orders"]).ok().says("10.50");
        shop.sandbox.write(
            "models/s.yml",
            "sources:\n  - name: raw\n    tables:\n      - name: orders\n        columns: [{name: amount, data_type: 'numeric(9,2)'}]\n        ingest: {connection: shop, table: orders, mode: merge, primary_key: [id], cursor: id}\n",
        );
        shop.sandbox.run(&["ingest"]).ok().says("2 rows");
        shop.sql("insert into orders values (3, 7, '2024-01-02 00:00+00')");
        shop.sandbox.run(&["ingest"]).ok().says("1 row");
        assert_eq!(
            shop.sandbox.rows("select id, amount, at from raw.orders order by id"),
            ["1,10.50,2024-01-01 08:00:00+00:00", "2,,", "3,7.00,2024-01-02 00:00:00+00:00"]
        );
    }
}

/// Behind Flight SQL there is any database: this one speaks the SQL of Spark, where a name in quotes is a text,
/// and does not say what it is or what tables it has.
#[test]
fn a_server_of_flight_sql_is_looked_at_and_loaded_from() {
    let (Some(driver), Some(server)) = (adbc_driver("flightsql"), FlightServer::sail()) else {
        return;
    };
    let uri = server.uri();
    server.execute(&[
        "create table orders (id bigint, name string, amount decimal(9,2), at timestamp)",
        r#"insert into orders values (1, 'it\'s \\ "so"', 10.50, timestamp '2024-01-01 08:00:00 +00:00'),
           (2, null, null, timestamp '2024-01-02 08:00:00 +00:00')"#,
    ]);
    let sandbox = Sandbox::new(&[("models/orders.sql", "select 1 as id")]);
    sandbox.write(
        "connections.yml",
        format!("connections:\n  shop: {{type: adbc, driver: {driver}, uri: '{uri}'}}\n"),
    );
    sandbox.run(&["connection", "test"]).ok().says("OK");
    sandbox.run(&["connection", "discover", "shop"]).ok().says("orders").says("amount");
    sandbox.run(&["connection", "preview", "shop", "orders"]).ok().says("10.50");
    sandbox.write(
        "models/raw.yml",
        "sources:\n  - name: raw\n    ingest: {connection: shop}\n    tables:\n\
         \x20     - {name: whole, ingest: {table: orders}}\n\
         \x20     - {name: added, ingest: {table: orders, mode: append, cursor: at}}\n\
         \x20     - {name: by_name, ingest: {table: orders, mode: merge, primary_key: [id], cursor: name}}\n\
         \x20     - {name: merged, ingest: {table: orders, mode: merge, primary_key: [id], cursor: at, lookback: 1 day}}\n\
         \x20     - {name: asked, ingest: {query: 'select max(`id`) as n from orders'}}\n",
    );
    let ids = |table: &str| sandbox.rows(&format!("select id from raw.{table} order by id"));
    sandbox.run(&["ingest"]).ok();
    assert_eq!(
        sandbox.rows("select name, amount, at from raw.whole order by id"),
        ["\"it's \\ \"\"so\"\"\",10.50,2024-01-01 08:00:00+00:00", ",,2024-01-02 08:00:00+00:00"]
    );
    assert_eq!(sandbox.rows("select * from raw.asked"), ["2"]);
    server.execute(&[
        r#"insert into orders values (3, 'it\'s \\ "so"', 7, timestamp '2024-01-02 08:00:00 +00:00')"#,
    ]);
    sandbox.run(&["ingest"]).ok();
    for table in ["whole", "added", "by_name", "merged"] {
        assert_eq!(ids(table), ["1", "2", "3"], "{table}");
    }
    sandbox.run(&["ingest", "--select", "source:raw.added"]).ok();
    assert_eq!(ids("added"), ["1", "2", "3"]);
    sandbox.write(
        "exports.yml",
        "exports:\n  - {from: ref('orders'), to: {connection: shop, table: orders_back}}\n",
    );
    sandbox
        .run(&["build"])
        .fails_with(1)
        .says("rows are written to PostgreSQL, MySQL, MariaDB and SQLite")
        .says("deliver files");
}

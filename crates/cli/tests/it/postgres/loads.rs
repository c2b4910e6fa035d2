//! Loads from a PostgreSQL into a lake: the rows of the source, each once, whatever breaks.

use std::process::Stdio;

use tidemill_testkit::PostgresServer;

use crate::sandbox::Sandbox;

/// A project with a lake, and a database that it has a connection to.
pub(super) struct Shop<'a> {
    pub(super) sandbox: Sandbox,
    server: &'a PostgresServer,
    database: String,
}

impl<'a> Shop<'a> {
    pub(super) fn new(server: &'a PostgresServer, sql: &str) -> Self {
        let database = server.database();
        server.sql(&database, sql);
        let sandbox = Sandbox::new(&[]);
        sandbox.write("connections.yml", connection(server, &database, ""));
        Shop { sandbox, server, database }
    }

    pub(super) fn sql(&self, sql: &str) -> Vec<String> {
        self.server.sql(&self.database, sql)
    }

    /// Performs a transaction, or says that it failed.
    pub(super) fn writes(&self, sql: &str) -> bool {
        self.server.psql(&self.database, sql).1
    }

    /// Every row of the target is one of the source, and the other way round.
    #[track_caller]
    fn is_loaded(&self) {
        let query = "select id, part, text, amount from {} order by 1, 2, 3, 4";
        let source = self.sql(&query.replace("{}", "t"));
        let target = self.sandbox.rows(&query.replace("{}", "raw.t"));
        assert_eq!(source.len(), target.len());
        for (source, target) in source.iter().zip(&target) {
            assert_eq!(source, target);
        }
    }

    /// Waits until a load reads.
    fn reading(&self) {
        let query = "select count(*) from pg_stat_activity where query like 'copy (%' and \
                     datname = current_database() and state = 'active'";
        while self.sql(query) == ["0"] {}
    }
}

fn connection(server: &PostgresServer, database: &str, more: &str) -> String {
    format!(
        "connections:\n  shop:\n    type: postgres\n    host: 127.0.0.1\n    port: {}\n    user: postgres\n    dbname: {database}\n{more}",
        server.port()
    )
}

/// Many pages, so that several connections read them.
const ROWS: &str = "create table t (id bigint primary key, part int, text text, amount numeric(9,2)); \
     insert into t select n, n % 7, repeat(md5(n::text), 6), n / 100.0 from generate_series(1, 160000) n;";

#[test]
fn a_database_is_added_discovered_and_loaded_in_increments() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(
        server,
        "create table orders (id int primary key, amount numeric(9,2), updated_at timestamptz);
         insert into orders values (1, 10.5, '2024-01-01 10:00+00'), (2, 20, '2024-01-02 10:00+00');
         create schema other; create table other.orders (\"Order ID\" int, tags text[]);
         insert into other.orders values (1, '{a,b}'); create table notes (note text);
         insert into notes values ('first'); analyze;",
    );
    let Shop { sandbox, .. } = &shop;
    sandbox.remove("connections.yml");
    let port = format!("port={}", server.port());
    let dbname = format!("dbname={}", shop.database);
    sandbox
        .run_with(
            &[("SHOP_PASSWORD", "not needed")],
            &[
                "connection",
                "add",
                "shop",
                "--type",
                "postgres",
                "host=127.0.0.1",
                &port,
                "user=postgres",
                &dbname,
                "password=env:SHOP_PASSWORD",
                "sslmode=disable",
            ],
        )
        .ok()
        .says("added `shop` to connections.yml")
        .says("OK     shop (postgres)");
    sandbox.write("connections.yml", connection(server, &shop.database, ""));
    sandbox
        .run(&["connection", "discover", "shop"])
        .ok()
        .says("public.orders  about 2 rows")
        .says("  id  integer  primary key")
        .says("  tags  text[]");
    sandbox
        .run(&["connection", "preview", "shop", "public.orders", "--limit", "1", "-o", "csv"])
        .ok()
        .says("id,amount,updated_at\n1,10.50,2024-01-01 10:00:00");
    sandbox
        .run(&["ingest", "init", "shop"])
        .ok()
        .says("wrote models/shop_sources.yml with 3 tables");
    sandbox.run(&["ingest"]).ok().says("done");
    assert_eq!(
        sandbox.rows(
            "select id, amount, cast(updated_at as date) from raw_shop.public_orders order by id"
        ),
        ["1,10.50,2024-01-01", "2,20.00,2024-01-02"]
    );
    assert_eq!(sandbox.rows("select order_id, tags[2] from raw_shop.other_orders"), ["1,b"]);
    assert_eq!(sandbox.rows("select note from raw_shop.notes"), ["first"]);
    // Nothing new: the versions stay.
    sandbox.run(&["ingest"]).ok().does_not_say("v1");
    shop.sql(
        "update orders set amount = 11, updated_at = '2024-01-03 10:00+00' where id = 1;
         insert into orders values (3, 30, '2024-01-02 10:00+00')",
    );
    sandbox
        .run(&["ingest", "--dry-run"])
        .ok()
        .says("would  shop.public_orders  merge   public.orders of shop, updated_at from 2024-01-02 10:00:00 on: rows to read")
        .says("public.notes of shop");
    sandbox.run(&["ingest"]).ok().says("1 row inserted, 1 updated");
    assert_eq!(
        sandbox.rows("select id, amount from raw_shop.public_orders order by id"),
        ["1,11.00", "2,20.00", "3,30.00"]
    );
    // What is wrong is said with what helps.
    shop.sql("drop table notes");
    sandbox.run(&["ingest"]).fails_with(1).says("relation \"public.notes\" does not exist");
}

#[test]
fn a_load_killed_at_any_step_is_made_whole_by_the_next() {
    let Some(server) = PostgresServer::shared() else { return };
    for ingest in
        ["mode: full", "mode: append, cursor: id", "mode: merge, primary_key: id, cursor: id"]
    {
        for step in ["stage.before-file", "publish.after-intent", "publish.before-entry"] {
            let shop = Shop::new(
                server,
                "create table t (id bigint primary key, part int, text text, amount numeric(9,2)); \
                 insert into t select n, n % 7, 'text', n from generate_series(1, 50) n",
            );
            shop.sandbox.loads(ingest);
            shop.sandbox.run(&["ingest"]).ok();
            shop.sql("insert into t select n, n % 7, 'more', n from generate_series(51, 60) n");
            assert!(shop.sandbox.dies_at(step, &["ingest"]), "{step} never fired");
            // Committed meanwhile.
            shop.sql("insert into t values (61, 1, 'late', 1)");
            shop.sandbox.run(&["ingest"]).ok();
            shop.is_loaded();
        }
    }
}

#[test]
fn a_load_killed_while_it_reads_leaves_nothing_and_is_done_by_the_next() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, ROWS);
    shop.sandbox.loads("mode: append, cursor: id");
    let mut load = shop.sandbox.command(&["ingest"]).stderr(Stdio::null()).spawn().unwrap();
    shop.reading();
    load.kill().unwrap();
    load.wait().unwrap();
    shop.sandbox.run(&["ingest"]).ok();
    shop.is_loaded();
    // Nothing stays in the database.
    let left = "select count(*) from pg_stat_activity where application_name = 'tidemill' and \
                datname = current_database()";
    while shop.sql(left) != ["0"] {}
    assert_eq!(shop.sql("select count(*) from pg_prepared_xacts"), ["0"]);
}

#[test]
fn a_server_that_is_restarted_while_it_is_read_is_read_again() {
    let Some(server) = PostgresServer::start() else { return };
    let shop = Shop::new(&server, ROWS);
    shop.sandbox.loads("mode: merge, primary_key: id, cursor: id");
    let mut load = shop.sandbox.command(&["ingest"]);
    let load = load.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    shop.reading();
    server.restart();
    let output = load.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("it was read again from the beginning"), "{said}");
    shop.is_loaded();
}

/// Every file below a folder that has a text in it.
fn with_text(folder: &std::path::Path, text: &[u8], found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            with_text(&path, text, found);
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|window| window == text) {
            found.push(path);
        }
    }
}

#[test]
fn passwords_are_never_shown() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, "create table t (id int); insert into t values (1)");
    let place = format!("127.0.0.1:{}/{}", server.port(), shop.database);
    shop.sandbox.write(
        "connections.yml",
        format!(
            "connections:\n  shop:\n    type: postgres\n    url: \"{{{{ env_var('SHOP_URL') }}}}\"\n  named:\n    type: postgres\n    url: {{env: SHOP_URL}}\n  single:\n    type: postgres\n    host: 127.0.0.1\n    port: {}\n    user: postgres\n    dbname: {}\n    password: {{env: SHOP_PASSWORD}}\n  broken:\n    type: postgres\n    host: 127.0.0.1\n    port: 1\n    user: postgres\n    dbname: nothing\n    password: {{env: SHOP_PASSWORD}}\n",
            server.port(),
            shop.database
        ),
    );
    shop.sandbox.loads("mode: full");
    let url = format!("postgres://postgres:planted-secret-1@{place}");
    let variables = [("SHOP_URL", url.as_str()), ("SHOP_PASSWORD", "planted-secret-2")];
    let commands: [&[&str]; 7] = [
        &["connection", "list"],
        &["connection", "test", "shop", "named", "single"],
        &["connection", "discover", "shop"],
        &["connection", "preview", "named", "t"],
        &["ingest", "--log-level", "debug"],
        &["ingest", "--full-refresh", "--format", "json"],
        &["docs", "generate"],
    ];
    for command in commands {
        shop.sandbox.run_with(&variables, command).ok().does_not_say("planted-secret");
    }
    shop.sandbox
        .run_with(&variables, &["connection", "test", "broken"])
        .fails_with(1)
        .does_not_say("planted-secret");
    // The process that reads shows none, either.
    let asked = shop.sql("select count(*) from pg_stat_activity where query like '%planted-secret-%' and pid <> pg_backend_pid()");
    assert_eq!(asked, ["0"]);
    let mut found = Vec::new();
    with_text(shop.sandbox.root(), b"planted-secret", &mut found);
    assert_eq!(found, [] as [std::path::PathBuf; 0]);
}

#[test]
fn days_are_read_again_and_deleted_rows_are_found() {
    let Some(server) = PostgresServer::shared() else { return };
    let table = "create table t (id int primary key, part int, text text, amount numeric(9,2), at timestamptz); \
         insert into t select n, n, 'text', 1, timestamptz '2024-01-01 00:00Z' + n * interval '6 hours' \
         from generate_series(0, 40) n;";
    for mode in ["append", "merge, primary_key: id, deletes: compare"] {
        let shop = Shop::new(server, table);
        shop.sandbox.loads(&format!("mode: {mode}, cursor: at"));
        shop.sandbox.run(&["ingest"]).ok();
        shop.sql("update t set text = 'fixed' where id between 4 and 13");
        shop.sandbox
            .run(&[
                "ingest",
                "backfill",
                "t",
                "--from",
                "2024-01-02",
                "--to",
                "2024-01-04T12:00:00",
                "--step",
                "1d",
            ])
            .ok()
            .says("from 2024-01-04 00:00:00 up to 2024-01-04 12:00:00");
        shop.is_loaded();
        assert_eq!(
            shop.sandbox.rows("select \"rows\" from raw.t__backfills order by range_from"),
            ["4", "4", "2"]
        );
        shop.sql("insert into t values (50, 1, 'new', 1, '2024-06-01')");
        if mode != "append" {
            shop.sql("delete from t where id in (1, 39)");
        }
        shop.sandbox.run(&["ingest"]).ok();
        shop.is_loaded();
    }
}

#[test]
fn json_stays_json() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(
        server,
        r#"create table t (id int primary key, a jsonb, b jsonb, plain json, text text);
         insert into t values (1, '[1, {"y": [1]}]', '{"x": 2}', '{"k":  1}', '{"x": 1}');"#,
    );
    // Without the characters that only one of the two puts in quotes.
    let documents = ["a || b", "a - 0", r#"b || a || '{"z": true}'"#, "text || text"]
        .map(|one| format!(r#"translate(({one})::text, '",', '!;')"#));
    let documents = format!("select {} from {{}} order by id", documents.join(", "));
    let read = |table: &str| documents.replace("{}", table);
    shop.sandbox.loads("mode: merge, primary_key: id, cursor: id");
    shop.sandbox.run(&["ingest"]).ok();
    assert_eq!(shop.sandbox.rows(&read("raw.t")), shop.sql(&read("t")));
    // What is built from it, and what comes later, too.
    shop.sandbox.write("models/m.sql", "select * from {{ source('shop', 't') }}");
    shop.sql(
        r#"insert into t values (2, '[1]', '[2]', null, 'x'), (4, '[]', '[]', '{"k": 2}', null)"#,
    );
    shop.sandbox.run(&["ingest"]).ok();
    shop.sandbox.run(&["build"]).ok();
    assert_eq!(shop.sandbox.rows(&read("m")), shop.sql(&read("t")));
    let plain = "select count(distinct plain ->> 'k') from {}";
    assert_eq!(shop.sandbox.rows(&plain.replace("{}", "m")), ["2"]);
}

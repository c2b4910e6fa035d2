//! What tests of loads from databases, and of exports to them, have in common, whatever the database.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::crashes::{random, soak};
use crate::sandbox::{Outcome, Sandbox};

/// The steps of a load at which it is killed.
pub(crate) const LOAD_STEPS: [&str; 7] = [
    "stage.before-file",
    "stage.after-file",
    "publish.after-intent",
    "publish.after-commit",
    "publish.before-entry",
    "publish.after-entry",
    "publish.before-acknowledge",
];

/// A table `t` of a database whose log of changes is followed into a lake.
pub(crate) trait Followed: Sync {
    fn sandbox(&self) -> &Sandbox;

    /// Performs statements in the database.
    fn sql(&self, sql: &str) -> Vec<String>;

    /// Every row and value of the source is in the target, and nothing else.
    fn is_followed(&self);

    #[track_caller]
    fn ingests(&self) -> Outcome {
        self.sandbox().run(&["ingest"]).ok()
    }

    /// Loads while others write: `pause` is the database's function that waits, and a key that is there is
    /// left alone by `insert`, its text up to the table and from behind the values.
    fn is_written_beside(&self, pause: &str, insert: [&str; 2]) {
        let done = AtomicBool::new(false);
        let [insert, or_not] = insert;
        std::thread::scope(|scope| {
            for writer in 0..3 {
                let done = &done;
                scope.spawn(move || {
                    let mut round = 0;
                    while !done.load(Ordering::Relaxed) {
                        round += 1;
                        let id = 1 + (round * 37 + writer * 11) % 400;
                        let (text, new) = (format!("{writer}.{round}"), 1000 + round * 3 + writer);
                        self.sql(&format!(
                            "begin; update t set text = '{text}' where id = {id}; select {pause}(0.0{}); \
                             {insert} t values ({new}, {writer}, '{text}', 1, null) {or_not}; \
                             delete from t where id = {new} - 300; commit",
                            round % 5
                        ));
                    }
                });
            }
            for _ in 0..6 {
                self.ingests();
            }
            done.store(true, Ordering::Relaxed);
        });
        self.ingests();
        self.is_followed();
    }

    /// `ingest --follow` is killed at any time, again and again, while rows change by `writes`, which performs
    /// a transaction or says that it failed; `disturbs` is done in the middle. In the end the target is the source,
    /// and each change was kept once.
    fn outlives_kills(&self, writes: impl Fn(&str) -> bool + Sync, disturbs: impl FnOnce()) {
        let (soak, mut seed) = soak();
        let rounds = if soak { 200 } else { 5 };
        self.sandbox().loads("mode: cdc, primary_key: id, changes: true, lag: 1s");
        self.sql("create table inserted (id int primary key)");
        self.ingests();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (done, writes) = (&done, &writes);
            scope.spawn(move || {
                let mut id = 100_000;
                while !done.load(Ordering::Relaxed) {
                    id += 1;
                    writes(&format!(
                        "begin; update t set part = coalesce(part, 0) + 1 where id % 7 = {}; \
                         insert into t values ({id}, 1, 'new', 1, null); insert into inserted values ({id}); \
                         delete from t where id = {id} - 20; commit",
                        id % 7
                    ));
                }
            });
            let mut disturbs = Some(disturbs);
            for round in 0..rounds {
                let following = Following::start(self.sandbox());
                if round == rounds / 2
                    && let Some(disturbs) = disturbs.take()
                {
                    disturbs();
                }
                std::thread::park_timeout(Duration::from_millis(random(&mut seed, 3_000)));
                drop(following);
            }
            done.store(true, Ordering::Relaxed);
        });
        self.ingests();
        self.is_followed();
        let inserted = self.sql("select count(*) from inserted").remove(0);
        let kept = "select count(*), count(distinct id) from raw.t__changes where _change = 'insert' and id > 100000";
        assert_eq!(self.sandbox().rows(kept), [format!("{inserted},{inserted}")], "seed {seed}");
        assert_ne!(inserted, "0");
    }
}

/// A load of changes that is killed at any step, of tables with the rows 1 to 30; `more` adds 31 to 40.
pub(crate) fn is_whole_after_kills<F: Followed>(
    table: impl Fn() -> F,
    more: &str,
    then: impl Fn(F),
) {
    for step in LOAD_STEPS {
        // Of the first read.
        let shop = table();
        assert!(shop.sandbox().dies_at(step, &["ingest"]), "{step} never fired");
        shop.sql("update t set part = 1 where id = 1; delete from t where id = 2");
        shop.ingests();
        shop.is_followed();
        // Of changes.
        shop.sql(&format!("{more} update t set part = 2 where id < 10; delete from t where id = 11; update t set id = 99 where id = 12"));
        assert!(shop.sandbox().dies_at(step, &["ingest"]), "{step} never fired");
        shop.sql("update t set part = 3 where id < 5; delete from t where id = 31; insert into t values (11, 1, 'late', 1, null)");
        shop.ingests();
        shop.is_followed();
        then(shop);
    }
}

/// `ingest --follow`, as long as it lives.
pub(crate) struct Following {
    process: Child,
    log: std::path::PathBuf,
}

impl Following {
    pub(crate) fn start(sandbox: &Sandbox) -> Following {
        let log = sandbox.path("follow.log");
        let mut command = sandbox.command(&["ingest", "--follow", "--every", "100ms"]);
        let said = File::create(&log).unwrap();
        let process = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
        Following { process, log }
    }

    /// Everything that it said.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it says this.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        let began = Instant::now();
        while !self.said().contains(text) {
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(90), "`{text}` is not in:\n{}", self.said());
        }
    }

    /// Ctrl-C.
    #[track_caller]
    pub(crate) fn stop(mut self, code: i32) {
        let sent = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let status = self.process.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{status}\n{}", self.said());
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Sandbox {
    /// A project with a connection `shop` to a SQLite file, and the file after these statements.
    pub(crate) fn over_sqlite(sql: &str) -> (Sandbox, rusqlite::Connection) {
        let sandbox = Sandbox::new(&[(
            "connections.yml",
            "connections:\n  shop: {type: sqlite, path: shop.db}\n",
        )]);
        let database = rusqlite::Connection::open(sandbox.path("shop.db")).unwrap();
        database.execute_batch(sql).unwrap();
        (sandbox, database)
    }

    /// A source `shop` with one table `t`, loaded so.
    pub(crate) fn loads(&self, ingest: &str) {
        self.write(
            "models/s.yml",
            format!(
                "sources:\n  - name: shop\n    schema: raw\n    tables:\n      - name: t\n        ingest: {{connection: shop, {ingest}}}\n"
            ),
        );
    }

    /// A model `customers` of the seed `rows`, with tests.
    pub(crate) fn has_customers(&self, rows: &str) {
        self.write("seeds/rows.csv", rows);
        self.write(
            "models/customers.sql",
            "{{ config(materialized='table') }}select id, name, cast(amount as decimal(9,2)) as amount, cast(day as date) as day, array[id, null] as ids, cast(day as timestamp with time zone) as at, name = 'Ada' as ada from {{ ref('rows') }}",
        );
        self.write(
            "models/m.yml",
            "models:\n  - name: customers\n    columns:\n      - {name: id, data_tests: [unique, not_null]}\n",
        );
    }

    /// The seed, and what follows from it, without a delivery.
    pub(crate) fn publishes(&self, rows: &str) {
        self.write("seeds/rows.csv", rows);
        let [exports, kept] = ["exports.yml", "kept.yml"].map(|name| self.path(name));
        std::fs::rename(&exports, &kept).unwrap();
        self.build().ok();
        std::fs::rename(&kept, &exports).unwrap();
    }

    /// Two exports at once: one delivers, the other sees that it did.
    pub(crate) fn exports_twice_at_once(&self, rows: &str) {
        let start = || {
            let mut command = self.command(&["export"]);
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        };
        let running = [start(), start()];
        let said: Vec<String> = running
            .into_iter()
            .map(|running| {
                let output = running.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success(), "{said}");
                said
            })
            .collect();
        assert_eq!(said.iter().filter(|said| said.contains(rows)).count(), 1, "{said:?}");
        assert_eq!(
            said.iter().filter(|said| said.contains("nothing to do")).count(),
            1,
            "{said:?}"
        );
    }
}

/// A seed of customers: three rows.
pub(crate) const SECOND: &str =
    "id,name,amount,day\n1,Ada,11,2024-01-01\n3,,30,\n4,Di,40,2024-01-04\n";

/// Exports three rows; their commit is done and nobody hears of it.
#[track_caller]
pub(crate) fn exports_unheard(sandbox: &Sandbox) {
    let mut export = sandbox.command(&["export"]);
    let output = export.env("TIDEMILL_FAILPOINT", "export.after-commit=error").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("3 rows"), "{said}");
}

/// Exports; right before the commit the database ends the sessions.
#[track_caller]
pub(crate) fn exports_cut_off(sandbox: &Sandbox, end_sessions: impl FnOnce()) {
    let file = sandbox.root().join("go");
    let mut running = sandbox
        .command(&["export"])
        .env("TIDEMILL_FAILPOINT", format!("export.before-commit=pause:{}", file.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !file.with_extension("reached").exists() {
        assert!(running.try_wait().unwrap().is_none(), "it ended before its commit");
    }
    end_sessions();
    std::fs::write(&file, "").unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

//! Several tables of one source whose changes are followed, whatever the database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::crashes::{random, soak};
use crate::databases::Following;
use crate::sandbox::{Outcome, Sandbox};

/// The columns of each table.
pub(crate) const COLUMNS: &str = "(id int primary key, part int, text varchar(40))";

const KEPT: &str = "mode: cdc, changes: true, lag: 1s";
const PLAIN: &str = "mode: cdc, lag: 1s";

/// A database, and a project with a connection `shop` to it.
pub(crate) trait Tables: Sync {
    fn sandbox(&self) -> &Sandbox;

    /// Performs statements in the database.
    fn sql(&self, sql: &str) -> Vec<String>;

    /// Performs a transaction, or says that it failed.
    fn writes(&self, sql: &str) -> bool;

    /// The source has these tables, loaded so. Texts are words.
    fn has(&self, tables: &[(&str, &str)]) {
        let mut text = "sources:\n  - name: shop\n    schema: raw\n    tables:\n".to_owned();
        for (name, ingest) in tables {
            text.push_str(&format!(
                "      - name: {name}\n        ingest: {{connection: shop, primary_key: id, {ingest}}}\n        columns:\n          - {{name: text, data_tests: [{{accepted_values: {{values: [good, new]}}}}]}}\n"
            ));
        }
        self.sandbox().write("models/s.yml", text);
    }

    /// Makes a table with so many rows.
    fn makes(&self, name: &str, rows: u32) {
        let values: Vec<String> = (1..=rows).map(|n| format!("({n}, 0, 'good')")).collect();
        self.sql(&format!(
            "create table {name} {COLUMNS}; insert into {name} values {}",
            values.join(", ")
        ));
    }

    #[track_caller]
    fn ingests(&self) -> Outcome {
        self.sandbox().run(&["ingest"]).ok()
    }

    /// Every row of the source is in the target, and nothing else.
    #[track_caller]
    fn is_whole(&self, table: &str) {
        let source =
            self.sql(&format!("select concat(id, ',', part, ',', text) from {table} order by id"));
        let target =
            self.sandbox().rows(&format!("select id, part, text from raw.{table} order by id"));
        assert_eq!(source, target, "{table}");
    }

    /// Tables of one source change, while `ingest --follow` is killed at any time: rows come, change and go, some
    /// in one transaction of several tables, a table is emptied, another gets a column, one fails its checks for a
    /// while, and one comes later. In the end each is what the source has, and every row came once.
    fn tables_outlive_kills(&self, disturbs: impl FnOnce()) {
        let (soak, mut seed) = soak();
        let rounds = if soak { 100 } else { 6 };
        for table in ["one", "two", "three", "bad", "late"] {
            self.makes(table, 50);
        }
        self.sql("create table inserted (id int primary key)");
        let mut tables = vec![("one", KEPT), ("two", KEPT), ("three", PLAIN), ("bad", PLAIN)];
        self.has(&tables);
        self.ingests();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let done = &done;
            scope.spawn(move || {
                let mut id = 1_000;
                while !done.load(Ordering::Relaxed) {
                    id += 1;
                    self.writes(&format!(
                        "begin; insert into one values ({id}, 1, 'new'); insert into two (id, part, text) values ({id}, 1, 'new'); \
                         insert into inserted values ({id}); update one set part = part + 1 where id % 7 = {}; \
                         update three set part = part + 1 where id % 5 = {}; delete from one where id = {id} - 20; \
                         update late set part = part + 1 where id % 3 = 1; update late set id = id + 1000 where id = {}; commit",
                        id % 7,
                        id % 5,
                        id % 50
                    ));
                    match id % 40 {
                        5 => self.writes("truncate table three"),
                        6 => self.writes("insert into three values (1, 0, 'good'), (2, 0, 'new')"),
                        9 => self.writes("update bad set text = 'bad', part = part + 1 where id < 5"),
                        20 if id < 1_040 => self.writes("alter table two add extra int"),
                        21 => self.writes("update two set extra = 5 where id < 10"),
                        _ => true,
                    };
                }
            });
            let mut disturbs = Some(disturbs);
            for round in 0..rounds {
                if round == rounds / 3 {
                    tables.push(("late", KEPT));
                    self.has(&tables);
                }
                let following = Following::start(self.sandbox());
                if round == rounds / 2
                    && let Some(disturbs) = disturbs.take()
                {
                    disturbs();
                }
                std::thread::park_timeout(Duration::from_millis(random(&mut seed, 4_000)));
                drop(following);
            }
            done.store(true, Ordering::Relaxed);
        });
        // The others go on while one fails.
        self.sql("update bad set text = 'bad' where id = 1");
        self.sandbox().run(&["ingest"]).fails_with(1);
        for table in ["one", "two", "three", "late"] {
            self.is_whole(table);
        }
        self.sql("update bad set text = 'good'");
        self.ingests();
        self.is_whole("bad");
        let inserted = self.sql("select count(*) from inserted").remove(0);
        assert_ne!(inserted, "0");
        for table in ["one", "two"] {
            let kept = format!(
                "select count(*), count(distinct id) from raw.{table}__changes where _change = 'insert' and id > 1000"
            );
            let kept = self.sandbox().rows(&kept);
            assert_eq!(kept, [format!("{inserted},{inserted}")], "{table}, seed {seed}");
        }
    }

    /// A load of several tables that is killed at any step is made whole by the next.
    fn tables_are_whole_after_kills(&self, steps: &[&str]) {
        for table in ["one", "two", "three"] {
            self.makes(table, 5);
        }
        self.has(&[("one", KEPT), ("two", PLAIN), ("three", PLAIN)]);
        for step in steps {
            for nth in 1..=3 {
                // The first time of all, and later.
                let step = format!("{step}@{nth}");
                self.sandbox().dies_at(&step, &["ingest"]);
                self.sql(
                    "begin; update one set part = part + 1; update two set part = part + 1 where id < 3; \
                     update three set part = part + 1 where id = 1; commit",
                );
                self.sandbox().dies_at(&step, &["ingest"]);
                self.sql(
                    "update two set part = part + 1; update three set part = 100 where id = 2",
                );
                // Some of them alone, and then all.
                self.sandbox().run(&["ingest", "--select", "source:shop.two"]).ok();
                self.is_whole("two");
                self.ingests();
                for table in ["one", "two", "three"] {
                    self.is_whole(table);
                }
            }
        }
    }

    /// What runs do with some of the tables does not harm the others, nor do two of them at once.
    fn parts_of_tables_are_loaded(&self) {
        for table in ["one", "two", "three"] {
            self.makes(table, 20);
        }
        self.has(&[("one", KEPT), ("two", PLAIN), ("three", PLAIN)]);
        self.sandbox().run(&["ingest", "--select", "source:shop.one"]).ok();
        self.sql(
            "update one set part = 1; update two set part = 1; delete from three where id = 1",
        );
        self.sandbox().run(&["ingest", "--select", "source:shop.two"]).ok();
        self.ingests();
        for round in 2..5 {
            self.sql(&format!(
                "begin; update one set part = {round}; update two set part = {round} where id < 9; \
                 update three set part = {round} where id > 9; commit"
            ));
            for table in ["one", "three"] {
                let selected = format!("source:shop.{table}");
                self.sandbox().run(&["ingest", "--select", &selected]).ok();
                self.is_whole(table);
            }
        }
        self.ingests();
        self.is_whole("two");
        // One begins again; the others go on.
        self.sql("update one set part = 50; update two set part = 50; update three set part = 50");
        self.sandbox().run(&["ingest", "--select", "source:shop.two", "--full-refresh"]).ok();
        self.sql("update one set part = 51 where id = 3; update two set part = 51 where id = 3");
        let run = || {
            let sandbox = self.sandbox();
            std::thread::scope(|scope| {
                let other = scope.spawn(|| sandbox.run(&["ingest"]));
                let own = sandbox.run(&["ingest"]);
                [own, other.join().unwrap()]
            })
        };
        // One of them may find that the other was there before it; the next one makes it good.
        run();
        self.ingests();
        for table in ["one", "two", "three"] {
            self.is_whole(table);
        }
    }
}

//! Tables of changes: every change of a table of a PostgreSQL, durable before the table has it.

use std::time::{Duration, Instant};

use tidemill_testkit::PostgresServer;

use super::changes::{TABLE, changes, rows};
use super::loads::Shop;
use crate::databases::{Followed, Following};

const KEPT: &str = "mode: cdc, primary_key: id, changes: true";

const QUERY: &str = "select id, part, text, amount, md5(notes) from {} order by 1";

impl Shop<'_> {
    /// The view becomes what the table of the source is.
    #[track_caller]
    fn becomes_fresh(&self) {
        let source = self.sql(&QUERY.replace("{}", "t"));
        let began = Instant::now();
        loop {
            let fresh = self.sandbox.rows(&QUERY.replace("{}", "raw.t__fresh"));
            if fresh == source {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{fresh:#?}\n{source:#?}");
        }
    }
}

#[test]
fn every_change_is_kept_and_applied() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, &format!("{TABLE} {}", rows(1, 200)));
    shop.sandbox.loads(KEPT);
    shop.ingests().says("200 rows");
    // The table of changes and the view are there at once.
    assert_eq!(shop.sandbox.value("select count(*) from raw.t__changes"), "0");
    shop.becomes_fresh();
    for change in changes() {
        shop.sql(&change);
        shop.ingests();
        shop.is_followed();
        shop.becomes_fresh();
    }
    shop.sql(
        "truncate t; insert into t values (1, 1, 'a', 1, null); update t set id = 2; delete from t",
    );
    shop.ingests();
    assert_eq!(
        shop.sandbox.rows(
            "select _change, id, text, _committed_at is not null from raw.t__changes order by \
             _change_number desc limit 5"
        ),
        [
            "delete,2,,true",
            "insert,2,a,true",
            "delete,1,,true",
            "insert,1,a,true",
            "truncate,,,false"
        ]
    );
    shop.ingests().does_not_say("built");
    // Numbers grow, and none comes twice.
    assert_eq!(
        shop.sandbox.rows("select count(*) - count(distinct _change_number) from raw.t__changes"),
        ["0"]
    );
    assert_eq!(shop.slots().len(), 1);
    // From the beginning: what was kept is kept, and says where the table begins anew.
    shop.sql(&rows(1, 3));
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.is_followed();
    shop.becomes_fresh();
    assert_eq!(shop.slots().len(), 1);
    shop.sql("update t set part = 77 where id = 2");
    shop.ingests();
    shop.is_followed();
    shop.becomes_fresh();
    // Not without what is kept.
    shop.sandbox.loads("mode: cdc, primary_key: id");
    shop.sandbox.run(&["ingest"]).fails_with(1).says("`changes: true`").says("--full-refresh");
    shop.sandbox.loads("mode: full, changes: true");
    shop.sandbox.run(&["ingest"]).fails_with(2).says("goes with `mode: cdc`");
    shop.sandbox.loads("mode: cdc, primary_key: id, lag: soon");
    shop.sandbox.run(&["ingest"]).fails_with(2).says("`lag` must be a time");
    shop.sandbox.loads("mode: cdc, primary_key: id");
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.is_followed();
}

#[test]
fn changes_are_kept_from_now_on_where_the_table_is_there() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 20)));
    shop.ingests();
    shop.sql("update t set part = 5 where id = 1");
    shop.ingests();
    shop.sandbox.loads(KEPT);
    shop.sql("update t set part = 6 where id = 1");
    shop.ingests();
    shop.is_followed();
    assert_eq!(
        shop.sandbox.rows("select _change, part from raw.t__changes order by _change_number"),
        ["snapshot,", "update,6"]
    );
    // Columns that come are kept as well.
    shop.sql("alter table t add extra int; update t set extra = 4 where id = 2");
    shop.ingests().says("new column");
    shop.is_followed();
    assert_eq!(shop.sandbox.rows("select extra from raw.t__fresh where id = 2"), ["4"]);
    // A value without a place is a rejected row, once.
    shop.sql("create table u (a int); alter table t add day date; update t set day = '4713-01-01 BC' where id = 3");
    shop.sandbox.loads(&format!("{KEPT}, max_rejects: 1"));
    shop.ingests();
    shop.ingests().does_not_say("rejected");
}

#[test]
fn a_followed_table_is_fresh_before_it_is_written() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, &format!("{TABLE} {}", rows(1, 200)));
    shop.sandbox.loads(&format!("{KEPT}, lag: 1h"));
    shop.ingests();
    let before = shop.sandbox.rows(&QUERY.replace("{}", "raw.t"));
    let following = Following::start(&shop.sandbox);
    for change in changes() {
        shop.sql(&change);
        shop.becomes_fresh();
    }
    assert_eq!(shop.sandbox.rows(&QUERY.replace("{}", "raw.t")), before);
    following.stop(0);
    shop.ingests();
    shop.is_followed();
    shop.becomes_fresh();
    // With a short lag the table follows by itself.
    shop.sandbox.loads(&format!("{KEPT}, lag: 1s"));
    let following = Following::start(&shop.sandbox);
    shop.sql(&format!("{} delete from t where id = 2", rows(50, 60)));
    let source = shop.sql(&QUERY.replace("{}", "t"));
    let began = Instant::now();
    while shop.sandbox.rows(&QUERY.replace("{}", "raw.t")) != source {
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    following.stop(0);
}

#[test]
fn a_load_that_keeps_changes_killed_at_any_step_is_made_whole_by_the_next() {
    let Some(server) = PostgresServer::shared() else { return };
    for step in [
        "stage.after-file",
        "publish.after-intent",
        "publish.after-commit",
        "publish.before-entry",
        "publish.after-entry",
    ] {
        let shop = Shop::new(server, &format!("{TABLE} {}", rows(1, 30)));
        shop.sandbox.loads(KEPT);
        shop.ingests();
        // The first time changes are kept, and later; the table of changes is published first, the table
        // second.
        for nth in [1, 2, 1, 2] {
            shop.sql(&format!(
                "{} update t set part = {nth} where id < 10; delete from t where id = 11; update t set \
                 id = id + 1000 where id = 12",
                "insert into t values (11, 1, 'again', 1, null) on conflict do nothing;"
            ));
            let step = format!("{step}@{nth}");
            assert!(shop.sandbox.dies_at(&step, &["ingest"]), "{step} never fired");
            shop.sql("update t set part = 3 where id < 5; insert into t values (11, 1, 'late', 1) on conflict do nothing");
            shop.ingests();
            shop.is_followed();
            shop.becomes_fresh();
        }
        assert_eq!(
            shop.sandbox
                .rows("select count(*) - count(distinct _change_number) from raw.t__changes"),
            ["0"]
        );
        assert_eq!(shop.slots().len(), 1, "{step}");
    }
}

/// The source `shop` with one table for each of these, with tests of its columns.
fn sources(tables: &[(&str, &str)]) -> String {
    let mut text = "sources:\n  - name: shop\n    schema: raw\n    tables:\n".to_owned();
    for (name, ingest) in tables {
        text.push_str(&format!(
            "      - name: {name}\n        ingest: {{connection: shop, primary_key: id, {ingest}}}\n        columns:\n          - {{name: text, data_tests: [{{accepted_values: {{values: [good, fine]}}}}]}}\n"
        ));
    }
    text
}

#[test]
fn changes_that_fail_checks_are_set_aside() {
    let Some(server) = PostgresServer::shared() else { return };
    let table = "(id int primary key, text text)";
    for changes in [false, true] {
        let shop = Shop::new(
            server,
            &format!("create table t {table}; insert into t values (1, 'good'), (2, 'good')"),
        );
        let ingest = format!("mode: cdc, changes: {changes}");
        shop.sandbox.write("models/s.yml", sources(&[("t", &ingest)]));
        let begun = shop.sandbox.run(&["ingest", "reject", "shop.t"]);
        begun.fails_with(2).says("reads the whole table");
        shop.ingests();
        for step in ["", "publish.after-intent", "publish.after-commit", "publish.after-entry"] {
            shop.sql(
                "update t set text = 'bad' where id = 1; delete from t where id = 2; \
                 insert into t values (3, 'worse') on conflict (id) do update set text = 'worse'",
            );
            let before = shop.sandbox.rows("select id, text from raw.t order by id");
            shop.sandbox.run(&["ingest"]).fails_with(1);
            let aside = "select count(*) from raw.t__rejected";
            let count = || -> usize {
                let listed = shop.sandbox.run(&["lake", "list", "--format", "json"]).ok();
                match listed.stdout.contains("t__rejected") {
                    true => shop.sandbox.value(aside).parse().unwrap(),
                    false => 0,
                }
            };
            let there = count();
            shop.sandbox.run(&["ingest", "reject", "t", "--dry-run"]).ok().says("would move");
            assert_eq!(count(), there);
            if !step.is_empty() {
                assert!(shop.sandbox.dies_at(step, &["ingest", "reject", "t"]), "{step}");
            }
            shop.sandbox.run(&["ingest", "reject", "t"]).ok();
            let all = count();
            assert!(all > there, "{step}");
            shop.sandbox.run(&["ingest", "reject", "t"]).ok().does_not_say("moved");
            assert_eq!(count(), all);
            assert_eq!(shop.sandbox.rows("select id, text from raw.t order by id"), before);
            if changes {
                // The view leaves them out as well, and the table of changes has them.
                assert_eq!(
                    shop.sandbox.rows("select id, text from raw.t__fresh order by id"),
                    before
                );
            }
            shop.ingests();
            shop.sql("delete from t; insert into t values (1, 'good'), (2, 'good')");
            shop.ingests();
            shop.is_followed_by(&["id", "text"]);
            // Each change once, with what it was.
            if step.is_empty() {
                assert_eq!(
                    shop.sandbox.value(
                        "select count(*) from raw.t__rejected where reason like '%accepted_values%' and \
                         raw like '%\"text\":\"bad\"%'"
                    ),
                    "1"
                );
                assert_eq!(
                    shop.sandbox.value(
                        "select count(*) from raw.t__rejected where raw like '%\"delete\"%'"
                    ),
                    "1"
                );
            }
        }
    }
}

#[test]
fn a_log_that_fails_for_good_stops_alone() {
    let Some(server) = PostgresServer::shared() else { return };
    let table = "(id int primary key, text text)";
    let shop = Shop::new(
        server,
        &format!(
            "create table t {table}; create table gone {table}; insert into t values (1, 'good')"
        ),
    );
    let kept = "mode: cdc, changes: true, lag: 200ms";
    shop.sandbox.write("models/s.yml", sources(&[("t", kept), ("gone", kept)]));
    shop.ingests();
    let following = Following::start(&shop.sandbox);
    shop.sql("drop table gone");
    following.says("source.shop.shop.gone: its log is not read any more, after 5 attempts");
    following.says("tidemill ingest reject shop.gone --batch ");
    shop.sql("insert into t values (2, 'fine')");
    let began = Instant::now();
    while shop.sandbox.rows("select id, text from raw.t order by 1") != ["1,good", "2,fine"] {
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    following.stop(1);
}

#[test]
fn what_is_followed_is_told_to_the_server() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, &format!("{TABLE} {}", rows(1, 10)));
    shop.sandbox.loads(&format!("{KEPT}, lag: 1h"));
    shop.ingests();
    let confirmed = "select confirmed_flush_lsn from pg_replication_slots where database = current_database() and not temporary";
    let before = shop.sql(confirmed);
    let following = Following::start(&shop.sandbox);
    shop.sql("update t set part = 1");
    shop.becomes_fresh();
    let began = Instant::now();
    while shop.sql(confirmed) == before {
        assert!(began.elapsed() < Duration::from_secs(60), "the log is held for ever");
    }
    following.stop(0);
}

#[test]
fn models_that_read_what_is_fresh_are_built_behind_the_load() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, &format!("{TABLE} {}", rows(1, 10)));
    shop.sandbox.loads(KEPT);
    shop.sandbox
        .write("models/fresh.sql", "select count(*) as n from {{ source('shop', 't__fresh') }}");
    shop.sandbox.write(
        "models/seen.sql",
        "{{ config(materialized='table') }} select count(*) as n from {{ source('shop', 't__changes') }}",
    );
    shop.sandbox.write(
        "models/named.sql",
        "{{ config(materialized='table') }} select count(*) as n from raw.t__changes",
    );
    // In one build, from nothing; and each time in this order.
    shop.sandbox.build().ok();
    assert_eq!(shop.sandbox.value("select n from fresh"), "10");
    shop.sql("insert into t values (11, 1, 'new', 1, null)");
    shop.sandbox.build().ok();
    for model in ["seen", "named"] {
        assert_eq!(shop.sandbox.value(&format!("select n from {model}")), "2", "{model}");
    }
    let listed = shop.sandbox.run(&["ls", "--resource-type", "source"]).ok().stdout;
    let all = ["source:shop.shop.t", "source:shop.shop.t__changes", "source:shop.shop.t__fresh"];
    assert_eq!(listed.lines().collect::<Vec<_>>(), all);
    for selected in ["source:shop.t__fresh", "source:shop.t", "source:shop.t__changes"] {
        shop.sql("update t set part = part + 1 where id = 1");
        shop.sandbox.run(&["ingest", "--select", selected]).ok().says("1 built");
    }
    let selected = shop.sandbox.run(&["ls", "--select", "+fresh"]).ok().stdout;
    assert!(selected.contains("source:shop.shop.t\n"), "{selected}");
    shop.sandbox.run(&["parse"]).ok();
    let manifest = std::fs::read_to_string(shop.sandbox.path("target/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let changes = &manifest["sources"]["source.shop.shop.t__changes"];
    assert_eq!(changes["columns"]["_change_number"]["data_type"], "bigint", "{changes}");
}

#[test]
fn old_changes_go_when_they_are_applied() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::new(server, &format!("{TABLE} {}", rows(1, 10)));
    shop.sandbox.loads(&format!("{KEPT}, keep: 1ms"));
    shop.ingests();
    for part in 1..4 {
        shop.sql(&format!("update t set part = {part}"));
        shop.ingests();
        shop.is_followed();
        shop.becomes_fresh();
        // Those of this load may be too young by a moment, those of the last one are not.
        let left: u32 = shop.sandbox.value("select count(*) from raw.t__changes").parse().unwrap();
        assert!(left <= 11, "{left}");
    }
    shop.sql("truncate t; insert into t values (1, 1, 'a', 1, null)");
    shop.ingests();
    shop.ingests();
    shop.is_followed();
    shop.becomes_fresh();
    // What the table does not have yet stays.
    let yaml = std::fs::read_to_string(shop.sandbox.path("models/s.yml")).unwrap();
    let checked = format!(
        "{yaml}        columns:\n          - {{name: id, data_tests: [{{accepted_values: {{values: [1], quote: false}}}}]}}\n"
    );
    shop.sandbox.write("models/s.yml", checked);
    shop.sql("insert into t values (2, 1, 'b', 1, null)");
    for _ in 0..2 {
        shop.sandbox.run(&["ingest"]).fails_with(1);
        shop.becomes_fresh();
    }
    shop.sandbox.write("models/s.yml", yaml);
    shop.ingests();
    shop.is_followed();
    shop.sandbox.loads(&format!("{KEPT}, keep: soon"));
    shop.sandbox.run(&["ingest"]).fails_with(2).says("`keep` must be a time");
}

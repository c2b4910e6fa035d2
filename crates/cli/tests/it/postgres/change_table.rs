//! Tables of changes: every change of a table of a PostgreSQL, durable before the table has it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tidemill_testkit::PostgresServer;

use super::changes::{TABLE, changes, rows};
use super::loads::Shop;
use crate::databases::Followed;

const KEPT: &str = "mode: cdc, primary_key: id, changes: true";

/// `ingest --follow`, as long as it lives.
struct Following(Child);

impl Following {
    fn start(shop: &Shop<'_>) -> Following {
        let mut command = shop.sandbox.command(&["ingest", "--follow", "--every", "100ms"]);
        Following(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Ctrl-C.
    fn stop(mut self) {
        let sent = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let status = self.0.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    // The view comes with the second load.
    shop.ingests();
    let before = shop.sandbox.rows(&QUERY.replace("{}", "raw.t"));
    let following = Following::start(&shop);
    for change in changes() {
        shop.sql(&change);
        shop.becomes_fresh();
    }
    assert_eq!(shop.sandbox.rows(&QUERY.replace("{}", "raw.t")), before);
    following.stop();
    shop.ingests();
    shop.is_followed();
    shop.becomes_fresh();
    // With a short lag the table follows by itself.
    shop.sandbox.loads(&format!("{KEPT}, lag: 1s"));
    let following = Following::start(&shop);
    shop.sql(&format!("{} delete from t where id = 2", rows(50, 60)));
    let source = shop.sql(&QUERY.replace("{}", "t"));
    let began = Instant::now();
    while shop.sandbox.rows(&QUERY.replace("{}", "raw.t")) != source {
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    following.stop();
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

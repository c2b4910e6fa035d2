//! The log of changes of a PostgreSQL, followed into a lake: the table of the source, row by row,
//! whatever happens to either side.

use tidemill_testkit::PostgresServer;

use super::loads::Shop;
use crate::databases::{Followed, is_whole_after_kills};
use crate::sandbox::Sandbox;

/// Texts of `notes` are long and do not compress, so that they are stored apart.
pub(super) const TABLE: &str = "create table t (id bigint primary key, part int, text text, amount numeric(9,2), notes text); \
     alter table t alter notes set storage external;";

/// Rows from one number to the other.
pub(super) fn rows(from: i32, to: i32) -> String {
    format!(
        "insert into t select n, n % 7, 'text ' || n, n / 100.0, \
         (select string_agg(md5(n::text || k::text), '') from generate_series(1, 80) k) \
         from generate_series({from}, {to}) n;"
    )
}

/// Changes of every kind, one group after the other.
pub(super) fn changes() -> Vec<String> {
    vec![
        "insert into t values (1001, null, 'a\tb', -1.5, null)".to_owned(),
        // The long texts are not in the log.
        "update t set part = 100 where id % 3 = 0".to_owned(),
        "update t set text = 'again' where id = 3; update t set notes = 'short' where id = 3; \
         update t set part = 3 where id = 3".to_owned(),
        // New and changed at once, and the same in one transaction.
        format!("{} update t set part = 4 where id >= 300", rows(300, 310)),
        format!("begin; {} update t set amount = 0 where id >= 400; commit", rows(400, 405)),
        // Another key, with the text of before: once, twice, and one that is new.
        "update t set id = 2000 where id = 10".to_owned(),
        "update t set id = id + 5000 where id in (20, 21); update t set id = id + 5000, part = 1 where id > 5000".to_owned(),
        format!(
            "{} update t set id = 7000 where id = 500; update t set part = 9 where id = 7000",
            rows(500, 500)
        ),
        "delete from t where id % 5 = 0".to_owned(),
        "delete from t where id = 7; insert into t values (7, 1, 'new', 1, 'new'); update t set part = 2 where id = 7".to_owned(),
        "begin; delete from t; rollback; begin; update t set part = 0 where id = 8; commit".to_owned(),
        "insert into t values (9001, 1, 'x', 1, 'x'); delete from t where id = 9001".to_owned(),
        // Keys that change places.
        "update t set id = -1 where id = 1; update t set id = 1 where id = 2; update t set id = 2 where id = -1".to_owned(),
        "begin; update t set part = 50 where id = 8; savepoint s; delete from t; rollback to s; commit".to_owned(),
        format!("truncate t; {}", rows(1, 20)),
        format!("{} truncate t", rows(21, 40)),
        rows(1, 3),
    ]
}

impl Shop<'_> {
    pub(super) fn follows<'s>(server: &'s PostgresServer, sql: &str) -> Shop<'s> {
        let shop = Shop::new(server, sql);
        shop.sandbox.loads("mode: cdc, primary_key: id");
        shop
    }

    /// These columns are the same on both sides.
    #[track_caller]
    pub(super) fn is_followed_by(&self, columns: &[&str]) {
        let query = format!("select {} from {{}} order by 1", columns.join(", "));
        let source = self.sql(&query.replace("{}", "t"));
        assert_eq!(source, self.sandbox.rows(&query.replace("{}", "raw.t")));
    }

    pub(super) fn slots(&self) -> Vec<String> {
        self.sql(
            "select slot_name from pg_replication_slots where database = current_database() and not temporary order by 1",
        )
    }
}

impl Followed for Shop<'_> {
    fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    fn sql(&self, sql: &str) -> Vec<String> {
        Shop::sql(self, sql)
    }

    #[track_caller]
    fn is_followed(&self) {
        let query = "select id, part, text, amount, md5(notes) from {} order by 1";
        let source = self.sql(&query.replace("{}", "t"));
        let target = self.sandbox.rows(&query.replace("{}", "raw.t"));
        assert_eq!(source, target);
    }
}

#[test]
fn a_table_is_followed_through_every_kind_of_change() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 200)));
    // A look changes nothing.
    shop.sandbox.run(&["ingest", "--dry-run"]).ok();
    assert_eq!(shop.slots(), [] as [&str; 0]);
    shop.ingests().says("200 rows").says("is followed from");
    shop.is_followed();
    assert_eq!(shop.slots().len(), 1);
    shop.ingests().does_not_say("v1");
    for change in changes() {
        shop.sql(&change);
        shop.ingests();
        shop.is_followed();
    }
    // Nothing is doubled, and nothing is left on the server.
    shop.ingests();
    shop.is_followed();
    assert_eq!(shop.slots().len(), 1);
    // From the beginning: the slot of before goes.
    let before = shop.slots();
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.is_followed();
    assert_eq!(shop.slots().len(), 1);
    assert_ne!(shop.slots(), before);
    // Loaded otherwise from now on: what stays on the server is said.
    shop.sandbox.loads("mode: full");
    shop.ingests().says("is not followed any more").says(&shop.slots()[0]);
    shop.ingests().does_not_say("followed");
}

#[test]
fn columns_that_come_go_and_grow_are_followed() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 10)));
    shop.sql("alter table t add doubled bigint generated always as (id * 2) stored");
    shop.ingests().says("leaves out").says("doubled");
    shop.sql("update t set part = 1 where id = 1; alter table t add extra int; update t set extra = 5 where id = 1; insert into t (id, extra) values (50, 7)");
    shop.ingests().says("new column");
    shop.is_followed();
    assert_eq!(
        shop.sandbox.rows("select id, extra from raw.t where extra is not null order by id"),
        ["1,5", "50,7"]
    );
    shop.sql("update t set extra = 6 where id = 1; alter table t drop extra; update t set part = 2 where id = 2");
    shop.ingests();
    shop.is_followed();
    shop.sql("alter table t add other int; update t set other = 1 where id = 3");
    shop.ingests();
    shop.sql("alter table t rename other to another; update t set another = 2 where id = 4");
    shop.sandbox.run(&["ingest"]).fails_with(1).says("`other` is called `another` now");
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    assert_eq!(
        shop.sandbox.rows("select id, another from raw.t where another is not null order by id"),
        ["3,1", "4,2"]
    );
    shop.sql(
        "alter table t alter part type bigint; insert into t (id, part) values (51, 3000000000)",
    );
    shop.ingests();
    shop.is_followed();
}

#[test]
fn lost_changes_are_said_and_read_again_where_that_is_declared() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 20)));
    shop.ingests();
    shop.sql("update t set part = 1");
    shop.ingests();
    let drop = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database() and not temporary";
    shop.sql(&format!("{drop}; delete from t where id = 1"));
    shop.sandbox
        .run(&["ingest"])
        .fails_with(1)
        .says("changes of")
        .says("is gone")
        .says("--full-refresh")
        .says("on_slot_loss: snapshot");
    assert_eq!(shop.sandbox.value("select count(*) from raw.t"), "20");
    shop.sandbox.loads("mode: cdc, primary_key: id, on_slot_loss: snapshot");
    shop.ingests().says("is read again as a whole");
    shop.is_followed();
    shop.sql("delete from t where id = 2; update t set part = 5 where id = 3");
    shop.ingests().does_not_say("as a whole");
    shop.is_followed();
    // Somebody else has taken changes off the slot.
    shop.sandbox.loads("mode: cdc, primary_key: id");
    shop.sql("delete from t where id = 4; select count(*) from pg_replication_slots s, pg_logical_slot_get_binary_changes(s.slot_name, null, null, 'proto_version', '1', 'publication_names', 'tidemill_shop') where s.database = current_database() and not s.temporary");
    shop.sandbox.run(&["ingest"]).fails_with(1).says("somebody else has read");
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.is_followed();
    assert_eq!(shop.slots().len(), 1);
    // Another table of this name, with or without its publication.
    shop.sql(&format!("drop table t; {TABLE} {}", rows(1, 5)));
    shop.sandbox.run(&["ingest"]).fails_with(1).says("was dropped and made again");
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.sql("update t set part = 77 where id = 1");
    shop.ingests().says("1 row");
    shop.is_followed();
    shop.sql("alter publication tidemill_shop drop table t; delete from t where id = 1");
    shop.sandbox.run(&["ingest"]).fails_with(1).says("does not have the table any more");
}

#[test]
fn rows_that_have_no_place_are_rejected_once() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 5)));
    shop.sandbox.loads("mode: cdc, primary_key: id, max_rejects: 10");
    shop.ingests();
    shop.sql("insert into t select 9, 1, 'x', 'NaN', notes from t where id = 1");
    shop.ingests().says("1 row could not be read");
    // A change of it leaves its long text out, which the table does not have.
    shop.sql("update t set amount = 1 where id = 9; update t set part = 2 where id = 1");
    shop.ingests().says("1 row could not be read");
    assert_eq!(shop.sandbox.rows("select id, part from raw.t where id in (1, 9)"), ["1,2"]);
    let reasons = shop.sandbox.rows("select reason from raw.t__rejected order by reason");
    assert!(reasons.iter().any(|reason| reason.contains("stays as it was")), "{reasons:?}");
    assert_eq!(reasons.len(), 2);
    // What is rejected of a table that begins anew takes the place of what was.
    shop.sql("truncate t; insert into t values (1, 1, 'x', 'NaN', null), (2, 1, 'y', 1, null)");
    shop.ingests();
    assert_eq!(shop.sandbox.rows("select id from raw.t"), ["2"]);
    assert_eq!(shop.sandbox.value("select count(*) from raw.t__rejected"), "1");
    shop.ingests().does_not_say("could not be read");
}

#[test]
fn what_cannot_be_followed_is_said_with_what_helps() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::follows(
        server,
        &format!(
            "{TABLE} create table other (a int, b int); create view v as table t; create publication half for table t with (publish = 'insert')"
        ),
    );
    for (ingest, says) in [
        ("table: other, mode: cdc, primary_key: a", "replica identity full"),
        ("table: v, mode: cdc, primary_key: id", "no lasting table"),
        ("table: nowhere, mode: cdc, primary_key: id", "nowhere"),
        ("mode: cdc, primary_key: part", "says of a changed row of \"t\" its id"),
        ("mode: cdc, primary_key: id, where: id > 1", "without `query` and `where`"),
        ("query: table t, mode: cdc, primary_key: id", "without `query` and `where`"),
        ("mode: cdc, primary_key: id, publication: half", "does not publish all of insert"),
        ("mode: cdc", "needs a `primary_key`"),
        ("mode: cdc, primary_key: id, cursor: id", "needs no `cursor`"),
        ("mode: cdc, primary_key: id, on_slot_loss: cry", "on_slot_loss"),
    ] {
        shop.sandbox.loads(ingest);
        let outcome = shop.sandbox.run(&["ingest"]);
        assert_ne!(outcome.code, Some(0), "{ingest}");
        outcome.says(says);
    }
    assert_eq!(shop.slots(), [] as [&str; 0]);
    // With the whole old row in the log any key will do.
    shop.sql("insert into other values (1, 1), (2, 2); alter table other replica identity full");
    shop.sandbox.loads("table: other, mode: cdc, primary_key: a");
    shop.ingests();
    shop.sql("update other set a = 3, b = 4 where a = 1; delete from other where b = 2");
    shop.ingests();
    assert_eq!(shop.sandbox.rows("select a, b from raw.t"), ["3,4"]);
}

#[test]
fn a_load_of_changes_killed_at_any_step_is_made_whole_by_the_next() {
    let Some(server) = PostgresServer::shared() else { return };
    let table = || Shop::follows(server, &format!("{TABLE} {}", rows(1, 30)));
    is_whole_after_kills(table, &rows(31, 40), |shop| assert_eq!(shop.slots().len(), 1));
}

#[test]
fn changes_made_during_the_first_read_and_by_long_transactions_come_once() {
    let Some(server) = PostgresServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 400)));
    shop.is_written_beside("pg_sleep", ["insert into", "on conflict do nothing"]);
}

#[test]
fn a_follower_that_is_killed_at_any_time_misses_and_doubles_nothing() {
    let Some(server) = PostgresServer::start() else { return };
    let shop = Shop::follows(&server, &format!("{TABLE} {}", rows(1, 200)));
    shop.outlives_kills(|sql| shop.writes(sql), || server.restart());
    assert_eq!(shop.slots().len(), 1);
}

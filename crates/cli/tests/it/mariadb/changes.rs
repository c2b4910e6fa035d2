//! The log of changes of a MariaDB, followed into a lake: the table of the source, row by row,
//! whatever happens to either side.

use tidemill_testkit::MariaDbServer;

use super::Shop;
use crate::databases::{Followed, is_whole_after_kills};
use crate::sandbox::Sandbox;

const TABLE: &str = "create table t (id bigint primary key, part int, text varchar(200), amount decimal(9,2), notes text);";

/// Rows from one number to the other.
fn rows(from: i32, to: i32) -> String {
    format!(
        "insert into t select seq, seq % 7, concat('text ', seq), seq / 100.0, repeat(md5(seq), 20) \
         from seq_{from}_to_{to};"
    )
}

impl Shop<'_> {
    fn follows<'s>(server: &'s MariaDbServer, sql: &str) -> Shop<'s> {
        let shop = Shop::new(server, sql);
        shop.sandbox.loads("mode: cdc, primary_key: id");
        shop
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
        let source = self.sql(
            "select concat_ws(',', id, coalesce(part, ''), coalesce(text, ''), coalesce(amount, ''), \
             coalesce(md5(notes), '')) from t order by id",
        );
        let target =
            self.sandbox.rows("select id, part, text, amount, md5(notes) from raw.t order by 1");
        assert_eq!(source, target);
    }
}

#[test]
fn a_table_is_followed_through_every_kind_of_change() {
    let Some(server) = MariaDbServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 200)));
    shop.sandbox.run(&["ingest", "--dry-run"]).ok();
    shop.ingests().says("200 rows").says("is followed from");
    shop.is_followed();
    shop.ingests().does_not_say("v1");
    for change in [
        "insert into t values (1001, null, 'a b', -1.5, null)",
        "update t set part = 100 where id % 3 = 0",
        "update t set text = 'again' where id = 3; update t set notes = 'short' where id = 3; \
         update t set part = 3 where id = 3",
        &format!("{} update t set part = 4 where id >= 300", rows(300, 310)),
        &format!("begin; {} update t set amount = 0 where id >= 400; commit", rows(400, 405)),
        "update t set id = 2000 where id = 10",
        "update t set id = id + 5000 where id in (20, 21); update t set id = id + 5000, part = 1 where id > 5000",
        "delete from t where id % 5 = 0",
        "delete from t where id = 7; insert into t values (7, 1, 'new', 1, 'new'); update t set part = 2 where id = 7",
        "replace into t values (7, 2, 'newer', 1, 'newer'); insert into t values (8, 1, 'x', 1, '') on duplicate key update part = 77",
        "begin; delete from t; rollback; begin; update t set part = 0 where id = 8; commit",
        "insert into t values (9001, 1, 'x', 1, 'x'); delete from t where id = 9001",
        "update t set id = -1 where id = 1; update t set id = 1 where id = 2; update t set id = 2 where id = -1",
        "begin; update t set part = 50 where id = 8; savepoint s; delete from t; rollback to s; commit",
        &format!("truncate t; {}", rows(1, 20)),
        &format!("{} truncate table t", rows(21, 40)),
        &rows(1, 30000),
        "update t set part = part + 1 where id % 2 = 0; delete from t where id % 10 = 1",
        // Another table, and a transaction of both.
        "create table other (id int); begin; insert into other values (1); update t set part = 0 where id = 4; commit",
        // The log goes on in another file.
        "flush binary logs; update t set part = 5 where id = 4; flush binary logs",
        "optimize table t; create index i on t (part); update t set part = 6 where id = 4",
        "alter table t engine = aria; insert into t values (-5, 1, 'aria', 1, ''); update t set part = 2 where id = -5; alter table t engine = innodb",
    ] {
        shop.sql(change);
        shop.ingests();
        shop.is_followed();
    }
    shop.ingests();
    shop.is_followed();
    // Nothing of us is left on the server.
    assert_eq!(shop.sql("show slave hosts"), [] as [&str; 0]);
    assert_eq!(shop.sql("show tables"), ["other", "t"]);
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.is_followed();
    shop.sql("delete from t where id < 10");
    shop.ingests();
    shop.is_followed();
    shop.sandbox.loads("mode: full");
    shop.ingests();
    shop.is_followed();
}

#[test]
fn columns_that_come_go_and_grow_are_followed_or_said() {
    let Some(server) = MariaDbServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 10)));
    shop.sql("alter table t add doubled bigint as (id * 2) stored, add tripled bigint as (id * 3) virtual after id");
    shop.ingests().says("left out").says("tripled, doubled");
    shop.is_followed();
    // One that comes in the middle, with rows before and behind.
    shop.sql(
        "update t set part = 1 where id = 1; alter table t add extra int after id; \
         update t set extra = 5 where id = 1; insert into t (id, extra) values (50, 7)",
    );
    shop.ingests().says("new column");
    shop.is_followed();
    let extra = "select id, extra from raw.t where extra is not null order by id";
    assert_eq!(shop.sandbox.rows(extra), ["1,5", "50,7"]);
    shop.sql("update t set extra = 6 where id = 1; alter table t drop extra; update t set part = 2 where id = 2");
    shop.ingests();
    shop.is_followed();
    // The same columns in another order.
    shop.sql("update t set part = 3 where id = 3; alter table t modify amount decimal(9,2) first; update t set part = 4 where id = 4");
    shop.ingests();
    shop.is_followed();
    shop.sql("alter table t modify part bigint; insert into t (id, part) values (51, 3000000000)");
    shop.ingests();
    shop.is_followed();
    let refuses = |change: &str, says: &str| {
        shop.sql(change);
        let before = shop.sandbox.rows("select * from raw.t order by id");
        shop.sandbox
            .run(&["ingest"])
            .fails_with(1)
            .says("changes of")
            .says(says)
            .says("--full-refresh");
        assert_eq!(shop.sandbox.rows("select * from raw.t order by id"), before);
        shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
        shop.is_followed();
        shop.ingests();
        shop.is_followed();
    };
    refuses(
        "alter table t add other int; update t set other = 1 where id = 3; alter table t drop other, add another int; update t set another = 1",
        "binlog_row_metadata = FULL",
    );
    refuses(
        "alter table t rename column another to more; update t set more = 2 where id = 4",
        "another name",
    );
    refuses("alter table t modify amount decimal(9,1)", "`amount` was a decimal(9,2)");
    refuses(
        "alter table t modify amount decimal(9,2); update t set part = 1",
        "`amount` was a decimal(9,1)",
    );
    refuses(
        "create table u like t; insert into u select * from t where id < 5; drop table t; rename table u to t",
        "it was dropped",
    );
    refuses(
        "alter table t drop more; update t set part = 2; alter table t add more int",
        "dropped and made again",
    );
    shop.sql("alter table t drop more");
    shop.ingests();
    refuses(
        "alter table t add more int; update t set more = 1 where id = 3",
        "dropped and made again",
    );
    shop.sql("drop table t");
    shop.sandbox.run(&["ingest"]).fails_with(1).says("doesn't exist");
}

#[test]
fn with_names_in_the_log_columns_are_followed_through_any_number_of_changes() {
    let Some(server) = MariaDbServer::own("--binlog-row-metadata=FULL") else { return };
    let shop = Shop::follows(&server, &format!("{TABLE} {}", rows(1, 10)));
    shop.ingests();
    shop.sql(
        "alter table t add one int after id; update t set one = 1 where id = 1; \
         alter table t add two int first, drop part; update t set two = 2, one = 3 where id < 3; \
         alter table t modify one bigint after notes; insert into t (id, one, two) values (20, 4, 5)",
    );
    shop.ingests();
    let source = "select concat_ws(',', id, coalesce(one, ''), coalesce(two, ''), coalesce(text, '')) from t order by id";
    let target = "select id, one, two, text from raw.t order by id";
    assert_eq!(shop.sql(source), shop.sandbox.rows(target));
}

#[test]
fn lost_changes_are_said_and_read_again_where_that_is_declared() {
    let Some(server) = MariaDbServer::own("--gtid-strict-mode=1") else { return };
    let shop = Shop::follows(&server, &format!("{TABLE} {}", rows(1, 20)));
    shop.ingests();
    shop.sql("update t set part = 1");
    shop.ingests();
    let purge = || {
        shop.sql("flush binary logs; flush binary logs");
        shop.purges_up_to(&shop.log_file());
    };
    shop.sql("delete from t where id = 1");
    purge();
    shop.sandbox
        .run(&["ingest"])
        .fails_with(1)
        .says("changes of")
        .says("has removed the file")
        .says("on_slot_loss: snapshot");
    assert_eq!(shop.sandbox.value("select count(*) from raw.t"), "20");
    shop.sandbox.loads("mode: cdc, primary_key: id, on_slot_loss: snapshot");
    shop.ingests().says("is read again as a whole");
    shop.is_followed();
    shop.sql("delete from t where id = 2; update t set part = 5 where id = 3");
    shop.ingests().does_not_say("as a whole");
    shop.is_followed();
    shop.sandbox.loads("mode: cdc, primary_key: id");
    // The log begun anew.
    shop.sql("reset master; delete from t where id = 4; update t set part = 6; insert into t values (4, 1, 'x', 1, 'x'); delete from t where id = 5; update t set part = 7");
    shop.sandbox.run(&["ingest"]).fails_with(1).says("changes of");
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.is_followed();
    // Somebody who writes no rows to the log, or parts of them.
    shop.sql("set binlog_format = statement; update t set part = 8");
    shop.sandbox.run(&["ingest"]).fails_with(1).says("not ROW");
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.sql("set binlog_row_image = minimal; update t set part = 9 where id = 8");
    shop.sandbox.run(&["ingest"]).fails_with(1).says("not FULL");
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.is_followed();
    for (setting, value, back) in
        [("binlog_format", "MIXED", "ROW"), ("binlog_row_image", "MINIMAL", "FULL")]
    {
        shop.sql(&format!("set global {setting} = {value}"));
        shop.sandbox.run(&["ingest"]).fails_with(1).says(setting).says(value).says(back);
        shop.sql(&format!("set global {setting} = {back}"));
    }
    shop.ingests();
    shop.is_followed();
}

#[test]
fn what_cannot_be_followed_is_said_with_what_helps() {
    let Some(server) = MariaDbServer::shared() else { return };
    let shop = Shop::follows(
        server,
        &format!(
            "{TABLE} create table bare (a int, b int); create view v as select * from t; \
             create table child (id int primary key, t_id bigint, foreign key (t_id) references t (id) on delete cascade); \
             create table uniq (a int not null unique, b int null unique, c int)"
        ),
    );
    for (ingest, says) in [
        ("table: bare, mode: cdc, primary_key: a", "has no primary key"),
        ("table: v, mode: cdc, primary_key: id", "is a view"),
        ("table: nowhere, mode: cdc, primary_key: id", "nowhere"),
        ("table: child, mode: cdc, primary_key: id", "go or change with those of another table"),
        ("table: uniq, mode: cdc, primary_key: b", "is not a key of uniq"),
        ("mode: cdc, primary_key: part", "its primary key is `[id]`"),
        ("mode: cdc, primary_key: id, where: id > 1", "without `query` and `where`"),
        ("query: select * from t, mode: cdc, primary_key: id", "without `query` and `where`"),
        ("mode: cdc", "needs a `primary_key`"),
        ("mode: cdc, primary_key: id, cursor: id", "needs no `cursor`"),
        ("mode: cdc, primary_key: id, on_slot_loss: cry", "on_slot_loss"),
    ] {
        shop.sandbox.loads(ingest);
        let outcome = shop.sandbox.run(&["ingest"]);
        assert_ne!(outcome.code, Some(0), "{ingest}");
        outcome.says(says);
    }
    // Another key than the primary one will do.
    shop.sql("insert into uniq values (1, 1, 1), (2, 2, 2)");
    shop.sandbox.loads("table: uniq, mode: cdc, primary_key: a");
    shop.ingests();
    shop.sql("update uniq set a = 3, c = 4 where a = 1; delete from uniq where c = 2");
    shop.ingests();
    assert_eq!(shop.sandbox.rows("select a, c from raw.t"), ["3,4"]);
    // What the user needs, one after the other.
    let user = format!("u_{}", shop.database);
    shop.sql(&format!("create user {user}; grant select on {}.* to {user}", shop.database));
    shop.connects(&user);
    shop.sandbox.loads("mode: cdc, primary_key: id");
    for grant in ["binlog monitor", "replication slave"] {
        let outcome = shop.sandbox.run(&["ingest", "--full-refresh"]);
        assert_eq!(outcome.code, Some(1), "{grant}: {}", outcome.all());
        outcome.says("grant replication slave, replication client");
        shop.sql(&format!("grant {grant} on *.* to {user}"));
    }
    shop.sandbox.run(&["ingest", "--full-refresh"]).ok();
    shop.sql("insert into t values (1, 1, 'x', 1, 'x')");
    shop.ingests();
    shop.is_followed();
}

#[test]
fn a_load_of_changes_killed_at_any_step_is_made_whole_by_the_next() {
    let Some(server) = MariaDbServer::shared() else { return };
    let table = || Shop::follows(server, &format!("{TABLE} {}", rows(1, 30)));
    is_whole_after_kills(table, &rows(31, 40), |_| {});
}

#[test]
fn changes_made_during_reads_and_by_long_transactions_come_once() {
    let Some(server) = MariaDbServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 400)));
    written_beside(&shop);
}

#[test]
fn changes_made_while_several_connections_read_the_table_come_once() {
    let Some(server) = MariaDbServer::shared() else { return };
    let many = "insert into t select seq, 1, 'x', 1, null from seq_1_to_90000; analyze table t;";
    let shop = Shop::follows(server, &format!("{TABLE} {many}"));
    shop.connects("root\n    read_connections: 3");
    written_beside(&shop);
}

/// Loads while others write.
fn written_beside(shop: &Shop<'_>) {
    shop.is_written_beside("sleep", ["insert ignore into", ""]);
}

#[test]
fn a_replica_that_takes_over_is_followed_by_the_numbers_of_transactions() {
    let Some(primary) = MariaDbServer::own("--gtid-strict-mode=1") else { return };
    let replica = |options: &str| MariaDbServer::own(&format!("{options} --gtid-strict-mode=1"));
    let (Some(replica), Some(silent)) =
        (replica("--server-id=2 --log-slave-updates"), replica("--server-id=3"))
    else {
        return;
    };
    let shop = Shop::follows(&primary, &format!("{TABLE} {}", rows(1, 20)));
    for server in [&replica, &silent] {
        server.sql(
            "",
            &format!(
                "change master to master_host = '127.0.0.1', master_port = {}, master_user = 'root', \
                 master_use_gtid = slave_pos; start slave",
                primary.port()
            ),
        );
    }
    shop.ingests();
    shop.sql("update t set part = 1 where id < 5");
    shop.ingests();
    shop.sql("update t set part = 2 where id = 6; delete from t where id = 7");
    let last = primary.sql("", "select @@gtid_binlog_pos")[0].clone();
    replica.sql("", &format!("select master_gtid_wait('{last}', 30); stop slave"));
    let database = shop.database.clone();
    replica
        .sql(&database, "insert into t values (100, 1, 'new', 1, 'x'); delete from t where id = 1");
    let shop = Shop { server: &replica, ..shop };
    shop.connects("root");
    shop.ingests().does_not_say("as a whole");
    shop.is_followed();
}

#[test]
fn every_change_is_kept_and_applied() {
    let Some(server) = MariaDbServer::shared() else { return };
    let shop = Shop::new(server, &format!("{TABLE} {}", rows(1, 50)));
    shop.sandbox.loads("mode: cdc, primary_key: id, changes: true");
    shop.ingests().says("50 rows");
    for change in [
        "update t set part = 100 where id % 3 = 0; delete from t where id = 5",
        "update t set id = id + 5000 where id in (20, 21); update t set part = 1 where id > 5000",
        &format!("{} truncate table t; {}", rows(61, 70), rows(1, 9)),
        "insert into t values (1001, null, 'a', -1.5, null); update t set id = 1002 where id = 1001; delete from t where id = 1002",
    ] {
        shop.sql(change);
        shop.ingests();
        shop.is_followed();
        let of = |relation: &str| {
            shop.sandbox.rows(&format!("select * from raw.{relation} order by id"))
        };
        assert_eq!(of("t"), of("t__fresh"));
    }
    assert_eq!(
        shop.sandbox.rows(
            "select _change, id, text from raw.t__changes order by _change_number desc limit 4"
        ),
        ["delete,1002,", "insert,1002,a", "delete,1001,", "insert,1001,a"]
    );
    assert_eq!(
        shop.sandbox.rows("select count(*) from raw.t__changes where _change = 'truncate'"),
        ["1"]
    );
}

#[test]
fn a_follower_that_is_killed_at_any_time_misses_and_doubles_nothing() {
    let Some(server) = MariaDbServer::shared() else { return };
    let shop = Shop::follows(server, &format!("{TABLE} {}", rows(1, 200)));
    let writes = |sql: &str| {
        shop.sql(sql);
        true
    };
    shop.outlives_kills(writes, || {});
}

//! Ranges of a cursor are read again, beside the loads.

use rusqlite::Connection;

use crate::sandbox::Sandbox;

/// A project over a SQLite file with a table `t`, loaded once.
fn shop(ingest: &str) -> (Sandbox, Connection) {
    let (sandbox, database) = Sandbox::over_sqlite(
        "create table t (id integer primary key, at integer, v text);
             with recursive n(i) as (select 1 union all select i + 1 from n where i < 100)
             insert into t select i, i, 'v' || i from n",
    );
    sandbox.loads(&format!("cursor: at, {ingest}"));
    sandbox.run(&["ingest"]).ok();
    (sandbox, database)
}

/// The rows of the source, and those of the table.
fn rows(sandbox: &Sandbox, database: &Connection) -> (Vec<String>, Vec<String>) {
    let mut rows = database.prepare("select id, at, v from t order by id").unwrap();
    let source = rows
        .query_map([], |row| {
            let (id, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(format!("{id},{at},{}", row.get::<_, String>(2)?))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    (source, sandbox.rows("select id, at, v from raw.t order by id"))
}

const BACKFILL: [&str; 9] =
    ["ingest", "backfill", "shop.t", "--from", "10", "--to", "41", "--step", "10"];

/// Changes that no load sees: the cursor of their rows is an old one.
const LATE: &str = "update t set v = 'fixed' where id between 10 and 40; \
     insert into t values (500, 15, 'late'), (501, 40, 'late')";

#[test]
fn a_range_is_read_again_in_steps() {
    for ingest in ["mode: append", "mode: merge, primary_key: id"] {
        let (sandbox, database) = shop(ingest);
        database.execute_batch(LATE).unwrap();
        sandbox.run(&["ingest"]).ok().does_not_say("v1");
        let listed = sandbox.run(&[&BACKFILL[..], &["--dry-run"]].concat()).ok().stdout;
        assert_eq!(
            listed,
            "  would  from 10 up to 20\n  would  from 20 up to 30\n  would  from 30 up to 40\n  would  from 40 up to 41\n"
        );
        sandbox.run(&BACKFILL).ok();
        let (source, target) = rows(&sandbox, &database);
        assert_eq!(source, target);
        assert_eq!(
            sandbox.rows(
                "select range_from, range_to, \"rows\" from raw.t__backfills order by read_at"
            ),
            ["10,20,11", "20,30,10", "30,40,10", "40,41,2"]
        );
        sandbox.run(&BACKFILL).ok().says("4 of 4 steps were published before; --again");
        // Loads go on where they were.
        sandbox.run(&["ingest"]).ok().does_not_say("1 built");
        database.execute_batch("insert into t values (600, 600, 'new')").unwrap();
        sandbox.run(&["ingest"]).ok();
        let (source, target) = rows(&sandbox, &database);
        assert_eq!(source, target);
        sandbox.run(&[&BACKFILL[..], &["--again"]].concat()).ok();
        assert_eq!(rows(&sandbox, &database).1, target);
    }
}

#[test]
fn a_backfill_that_is_killed_goes_on_and_doubles_nothing() {
    for ingest in ["mode: append", "mode: merge, primary_key: id"] {
        for step in [
            "stage.after-file",
            "publish.after-intent",
            "publish.after-commit",
            "publish.after-entry",
        ] {
            let (sandbox, database) = shop(ingest);
            database.execute_batch(LATE).unwrap();
            assert!(sandbox.dies_at(&format!("{step}@2"), &BACKFILL), "{step}");
            // Meanwhile a load.
            database.execute_batch("insert into t values (600, 600, 'new')").unwrap();
            sandbox.run(&["ingest"]).ok();
            sandbox.run(&BACKFILL).ok();
            let (source, target) = rows(&sandbox, &database);
            assert_eq!(source, target, "{ingest} {step}");
            assert_eq!(
                sandbox.value("select count(*) - count(distinct range_from) from raw.t__backfills"),
                "0"
            );
        }
    }
}

#[test]
fn a_step_that_fails_its_checks_ends_the_backfill_there() {
    let (sandbox, database) = shop("mode: append");
    let yaml = std::fs::read_to_string(sandbox.path("models/s.yml")).unwrap();
    sandbox.write(
        "models/s.yml",
        format!("{yaml}        columns: [{{name: v, data_tests: [not_null]}}]\n"),
    );
    database.execute_batch(LATE).unwrap();
    database.execute_batch("update t set v = null where id = 25").unwrap();
    sandbox.run(&BACKFILL).fails_with(1).says("the backfill ends at 20").says("not_null");
    assert_eq!(sandbox.value("select count(*) from raw.t where v = 'fixed'"), "10");
    assert_eq!(sandbox.value("select count(*) from raw.t"), "101");
    database.execute_batch("update t set v = 'mended' where id = 25").unwrap();
    sandbox.run(&BACKFILL).ok().says("1 of 4 steps were published before");
    let (source, target) = rows(&sandbox, &database);
    assert_eq!(source, target);
}

#[test]
fn what_cannot_be_read_again_is_said() {
    let (sandbox, _database) = shop("mode: append");
    let backfill = |arguments: &[&str]| {
        sandbox.run(&[&["ingest", "backfill", "shop.t", "--dry-run"], arguments].concat())
    };
    // Rows of the largest value come with the loads.
    backfill(&["--from", "90", "--to", "1000"]).ok().says("from 90 up to 100");
    backfill(&["--from", "100", "--to", "1000"]).fails_with(2).says("come with the loads");
    backfill(&["--from", "a", "--to", "1000"])
        .fails_with(2)
        .says("`--from a` is not a whole number");
    backfill(&["--from", "1", "--to", "9", "--step", "1d"])
        .fails_with(2)
        .says("must be a whole number");
    sandbox.loads("mode: full");
    backfill(&["--from", "1", "--to", "9"]).fails_with(2).says("a range of the `cursor`");
    let files = Sandbox::new(&[
        (
            "models/s.yml",
            "sources:\n  - name: raw\n    tables:\n      - name: t\n        ingest: {location: 'data/*', mode: merge, primary_key: id, cursor: id}\n",
        ),
        ("data/a.csv", "id\n1\n"),
    ]);
    let arguments = ["ingest", "backfill", "t", "--from", "1", "--to", "2"];
    files.run(&arguments).fails_with(2).says("was not loaded yet");
    files.run(&["ingest"]).ok();
    files.run(&arguments).fails_with(1).says("ranges of a cursor are read of tables of databases");
}

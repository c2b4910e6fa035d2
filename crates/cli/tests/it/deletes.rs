//! Rows that were deleted at the source are found by their keys.

use rusqlite::Connection;

use crate::sandbox::Sandbox;

/// A project over a SQLite file with a table `t` of a hundred rows.
fn shop(ingest: &str) -> (Sandbox, Connection) {
    let (sandbox, database) = Sandbox::over_sqlite(
        "create table t (part text, id integer, at integer, v text, primary key (part, id));
             with recursive n(i) as (select 1 union all select i + 1 from n where i < 100)
             insert into t select 'p' || (i % 3), i, i, 'v' || i from n",
    );
    sandbox.loads(&format!("mode: merge, primary_key: [part, id], cursor: at, {ingest}"));
    (sandbox, database)
}

/// Both sides have the same rows.
#[track_caller]
fn is_same(sandbox: &Sandbox, database: &Connection) {
    let mut rows = database.prepare("select part, id, at, v from t order by id").unwrap();
    let source: Vec<String> = rows
        .query_map([], |row| {
            let (part, id, at): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(format!("{part},{id},{at},{}", row.get::<_, String>(3)?))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(sandbox.rows("select part, id, at, v from raw.t order by id"), source);
}

#[test]
fn deleted_rows_go_with_the_load() {
    let (sandbox, database) = shop("deletes: compare");
    sandbox.run(&["ingest"]).ok();
    is_same(&sandbox, &database);
    sandbox.run(&["ingest"]).ok().does_not_say("v1");
    database
        .execute_batch(
            "delete from t where id in (7, 14, 21, 28, 100);
             update t set v = 'new', at = 200 where id in (1, 2, 3);
             insert into t values ('p9', 300, 300, 'x'), ('p9', 301, 301, 'y')",
        )
        .unwrap();
    sandbox.run(&["ingest"]).ok().says("2 rows inserted, 3 updated, 5 deleted");
    is_same(&sandbox, &database);
    // Nothing but deletes, a key that moved, and a row that went and is there again.
    database
        .execute_batch(
            "delete from t where id = 8; update t set part = 'moved', at = 400 where id = 9;
             delete from t where id = 10; insert into t values ('p1', 10, 401, 'again')",
        )
        .unwrap();
    sandbox.run(&["ingest"]).ok().says("2 deleted");
    is_same(&sandbox, &database);
}

#[test]
fn too_many_deletes_are_refused() {
    let (sandbox, database) = shop("deletes: compare");
    sandbox.run(&["ingest"]).ok();
    database
        .execute_batch("delete from t where id <= 30; insert into t values ('a', 200, 200, '')")
        .unwrap();
    sandbox
        .run(&["ingest"])
        .fails_with(1)
        .says("30 of the 100 rows of `raw.t` are not at the source any more")
        .says("20%")
        .says("--allow-deletes");
    assert_eq!(sandbox.value("select count(*) from raw.t"), "100");
    sandbox.run(&["ingest", "--allow-deletes"]).ok();
    is_same(&sandbox, &database);
    sandbox.loads("mode: merge, primary_key: [part, id], cursor: at, deletes: {limit: 100%}");
    database.execute_batch("delete from t where id < 60").unwrap();
    sandbox.run(&["ingest"]).ok();
    is_same(&sandbox, &database);
    // No keys at all are a mistake, whatever may go.
    database.execute_batch("delete from t").unwrap();
    sandbox.run(&["ingest"]).fails_with(1).says("no keys at all");
    sandbox.run(&["ingest", "--allow-deletes"]).ok();
    is_same(&sandbox, &database);
    let files = Sandbox::new(&[
        (
            "models/s.yml",
            "sources:\n  - name: raw\n    tables:\n      - name: t\n        ingest: {location: 'data/*', mode: merge, primary_key: id, deletes: compare}\n",
        ),
        ("data/a.csv", "id\n1\n"),
    ]);
    files
        .run(&["ingest"])
        .fails_with(1)
        .says("`deletes` compares the keys of a table of a database");
}

#[test]
fn keys_are_compared_as_often_as_declared() {
    let (sandbox, database) = shop("deletes: {every: 1h}");
    sandbox.run(&["ingest"]).ok();
    database
        .execute_batch("delete from t where id = 5; insert into t values ('a', 200, 200, '')")
        .unwrap();
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.value("select count(*) from raw.t"), "101");
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.value("select count(*) from raw.t where id = 5"), "1");
    sandbox.loads("mode: merge, primary_key: [part, id], cursor: at, deletes: {every: 1ms}");
    sandbox.run(&["ingest"]).ok();
    is_same(&sandbox, &database);
    sandbox.loads("mode: append, cursor: at, deletes: compare");
    sandbox.run(&["ingest"]).fails_with(2).says("goes with `mode: merge`");
}

#[test]
fn deleted_rows_can_be_flagged() {
    for contract in ["evolve", "freeze"] {
        let (sandbox, database) = shop(&format!("schema_contract: {contract}"));
        sandbox.run(&["ingest"]).ok();
        sandbox.loads(&format!(
            "mode: merge, primary_key: [part, id], cursor: at, schema_contract: {contract}, deletes: {{flag: _deleted}}"
        ));
        let flagged = "select id, v from raw.t where _deleted order by id";
        database
            .execute_batch(
                "delete from t where id in (5, 6); update t set v = 'new', at = 200 where id = 7",
            )
            .unwrap();
        sandbox.run(&["ingest"]).ok().says("2 deleted");
        assert_eq!(sandbox.rows(flagged), ["5,v5", "6,v6"]);
        assert_eq!(sandbox.rows("select v, _deleted from raw.t where id = 7"), ["new,false"]);
        assert_eq!(sandbox.value("select count(*) from raw.t"), "100");
        // Known by now; one is there again as it was, another one with other values.
        database
            .execute_batch("insert into t values ('p2', 5, 5, 'v5'), ('p0', 6, 300, 'other')")
            .unwrap();
        sandbox.run(&["ingest"]).ok().does_not_say("deleted");
        assert_eq!(sandbox.rows(flagged), [""; 0]);
        is_same(&sandbox, &database);
        database.execute_batch("delete from t where id = 50").unwrap();
        sandbox.run(&["ingest"]).ok();
        sandbox.run(&["ingest"]).ok();
        assert_eq!(sandbox.rows(flagged), ["50,v50"]);
    }
    let (sandbox, _database) = shop("deletes: {flag: v}");
    sandbox.run(&["ingest"]).fails_with(1).says("`deletes` keeps its flag in `v`");
}

#[test]
fn a_load_with_deletes_killed_at_any_step_is_made_whole_by_the_next() {
    for step in [
        "stage.before-file",
        "stage.after-file",
        "publish.after-intent",
        "publish.after-commit",
        "publish.before-entry",
        "publish.after-entry",
    ] {
        let (sandbox, database) = shop("deletes: compare");
        sandbox.run(&["ingest"]).ok();
        database
            .execute_batch(
                "delete from t where id % 10 = 0; insert into t values ('a', 200, 200, '')",
            )
            .unwrap();
        assert!(sandbox.dies_at(step, &["ingest"]), "{step}");
        database.execute_batch("insert into t values ('p1', 10, 300, 'late')").unwrap();
        sandbox.run(&["ingest"]).ok();
        is_same(&sandbox, &database);
    }
}

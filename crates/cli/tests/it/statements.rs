//! SQL statements that write: through `tidemill sql`, on the lake as everybody sees it.

use crate::sandbox::Sandbox;

/// Runs statements one after another, each in a process of its own.
fn after(statements: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    for statement in statements {
        sandbox.run(&["sql", statement]).ok();
    }
    sandbox
}

#[test]
fn tables_are_made_filled_changed_and_dropped() {
    let sandbox = after(&[
        "create schema if not exists shop",
        "create table shop.items (id bigint not null, name varchar(20), price numeric(10,2), \
         sold date, primary key (id))",
        "insert into shop.items values (1, 'pen', 1.5, '2026-01-01'), (2, 'cup', 4, null)",
        "insert into shop.items (name, id) select 'hat', 3",
        "update shop.items set price = price * 2, name = upper(name) where id = 1",
        "delete from shop.items where id = 2",
    ]);
    assert_eq!(
        sandbox.rows("select * from shop.items order by id"),
        ["1,PEN,3.00,2026-01-01", "3,hat,,"]
    );
    sandbox
        .run(&["sql", "insert into shop.items (id, name) values ((select max(id) + 1 from shop.items), 'x'), (9, 'y')"])
        .ok();
    sandbox
        .run(&["sql", "delete from shop.items where id in (4, 9) and name in ('x', 'y')"])
        .ok()
        .says("2 rows");
    sandbox.run(&["sql", "insert into shop.items (nam) values ('x')"]).fails_with(1).says("nam");
    sandbox.run(&["sql", "insert into shop.items values ('x')"]).fails_with(1).says("x");
    sandbox.run(&["sql", "create table shop.items (id int)"]).fails_with(1).says("already");
    sandbox.run(&["sql", "create table if not exists shop.items (id int)"]).ok();
    sandbox.run(&["sql", "truncate table shop.items"]).ok();
    assert_eq!(sandbox.value("select count(*) from shop.items"), "0");
    sandbox.run(&["sql", "drop view shop.items"]).fails_with(1).says("drop table");
    sandbox.run(&["sql", "drop table shop.items"]).ok();
    sandbox.run(&["sql", "drop table shop.items"]).fails_with(1).says("does not exist");
    sandbox.run(&["sql", "drop table if exists shop.items"]).ok();
}

#[test]
fn a_condition_that_is_unknown_changes_nothing() {
    let sandbox = after(&["create table t as select * from (values (1), (2), (null)) as v (id)"]);
    sandbox.run(&["sql", "delete from t where id > 1"]).ok().says("1 row");
    assert_eq!(sandbox.value("select count(*) from t"), "2");
    sandbox.run(&["sql", "update t set id = 5 where id <> 7"]).ok().says("1 row");
    assert_eq!(sandbox.rows("select id from t order by id nulls last"), ["5", "\"\""]);
    // Nothing is meant: no version is written.
    let before = sandbox.run(&["lake", "history", "main.t"]).ok().stdout;
    sandbox.run(&["sql", "delete from t where id = 99"]).ok().says("0 rows");
    assert_eq!(sandbox.run(&["lake", "history", "main.t"]).ok().stdout, before);
}

#[test]
fn subqueries_using_and_from_say_which_rows() {
    let sandbox = after(&[
        "create table t as select * from (values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')) as v (id, s)",
        "create table k as select * from (values (2, 'B'), (3, 'C')) as v (id, s)",
        "delete from t where id in (select id from k) and s = 'b'",
        "update t set s = k.s || '!' from k where t.id = k.id",
    ]);
    assert_eq!(sandbox.rows("select * from t order by id"), ["1,a", "3,C!", "4,d"]);
    sandbox.run(&["sql", "delete from t using k where t.id = k.id"]).ok();
    assert_eq!(sandbox.rows("select id from t order by id"), ["1", "4"]);
    sandbox.run(&["sql", "insert into k values (1, 'x'), (1, 'y')"]).ok();
    sandbox
        .run(&["sql", "update t set s = k.s from k where t.id = k.id"])
        .fails_with(1)
        .says("several rows");
    assert_eq!(sandbox.rows("select * from t order by id"), ["1,a", "4,d"]);
}

#[test]
fn merge_updates_deletes_and_inserts_in_one_version() {
    let sandbox = after(&[
        "create table t as select * from (values (1, 10), (2, 20), (3, 30), (4, 40)) as v (id, n)",
        "create table s as select * from (values (2, 21), (3, null), (5, 50), (6, null)) as v (id, n)",
    ]);
    let versions =
        |sandbox: &Sandbox| sandbox.run(&["lake", "history", "main.t"]).ok().stdout.lines().count();
    let before = versions(&sandbox);
    sandbox
        .run(&[
            "sql",
            "merge into t as target using s as source on target.id = source.id \
             when matched and source.n is null then delete \
             when matched then update set n = source.n \
             when not matched and source.n is not null then insert (id, n) values (source.id, source.n)",
        ])
        .ok()
        .says("3 rows");
    assert_eq!(sandbox.rows("select * from t order by id"), ["1,10", "2,21", "4,40", "5,50"]);
    assert_eq!(versions(&sandbox), before + 1);
    sandbox
        .run(&[
            "sql",
            "merge into t using s on t.id = s.id \
             when not matched by source and t.n > 30 then delete \
             when not matched by source then update set n = 0",
        ])
        .ok();
    assert_eq!(sandbox.rows("select * from t order by id"), ["1,0", "2,21", "5,50"]);
    sandbox.run(&["sql", "insert into s values (1, 1), (1, 2)"]).ok();
    sandbox
        .run(&["sql", "merge into t using s on t.id = s.id when matched then update set n = s.n"])
        .fails_with(1)
        .says("several rows");
}

#[test]
fn columns_and_names_are_altered() {
    let sandbox = after(&[
        "create table t as select 1 as id, 'x' as s",
        "comment on column t.id is 'the key'",
        "comment on table t is 'a table'",
        "alter table t add column a int, drop column s",
        "alter table t add column b text default 'new'",
        "alter table t alter column id type varchar",
        "alter table t rename column a to c",
        "alter table t rename to u",
        "create view v as select id, b from u",
        "alter view v rename to w",
    ]);
    assert_eq!(sandbox.rows("select id, c, b from u"), ["1,,new"]);
    assert_eq!(sandbox.rows("select * from w"), ["1,new"]);
    assert_eq!(
        sandbox.value(
            "select data_type from information_schema.columns where table_name = 'u' and column_name = 'id'"
        ),
        "text"
    );
    sandbox.run(&["sql", "alter table u add constraint k primary key (id)"]).ok();
    sandbox.run(&["sql", "alter table u add constraint k primary key (c)"]).fails_with(1);
    // What Delta readers are told.
    let log = std::fs::read_dir(sandbox.path("lake/main/t/_delta_log")).unwrap();
    let text: String =
        log.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok()).collect();
    assert!(text.contains("the key"), "{text}");
    assert!(text.contains("\"description\":\"a table\""), "{text}");
}

#[test]
fn temporary_tables_last_as_long_as_their_session() {
    let sandbox = after(&["create table t as select 1 as id"]);
    sandbox
        .run(&[
            "sql",
            "begin; create temporary table n as select 2 as id; insert into n values (3); \
             insert into t select id from n; drop table n; commit",
        ])
        .ok();
    assert_eq!(sandbox.rows("select id from t order by id"), ["1", "2", "3"]);
    sandbox
        .run(&["sql", "create temp table x as select 1 as a; select a + 1 as b from x"])
        .ok()
        .says("2");
    sandbox.run(&["sql", "select * from x"]).fails_with(1);
    sandbox.run(&["lake", "ls"]).ok().does_not_say("main.x");
}

#[test]
fn grants_are_recorded_and_an_earlier_state_is_never_written_to() {
    let sandbox = after(&[
        "create table t as select 1 as id",
        "grant select on table t to bi, \"Ops Team\"",
        "revoke select on t from bi",
    ]);
    let entries = std::fs::read_dir(sandbox.path("lake/_tidemill/catalog")).unwrap();
    let newest = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_string_lossy().contains("intent"))
        .max()
        .unwrap();
    let text = std::fs::read_to_string(newest).unwrap();
    assert!(text.contains("\"grants\":{\"select\":[\"Ops Team\"]}"), "{text}");
    sandbox.run(&["sql", "delete from t", "--as-of", "1"]).fails_with(2).says("only queries");
    assert_eq!(sandbox.value("select count(*) from t"), "1");
}

#[test]
fn many_writers_to_one_table_lose_nothing() {
    let sandbox = after(&["create table t (writer int, n int)"]);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for n in 0..3 {
                    let insert = format!("insert into t values ({writer}, {n})");
                    sandbox.run(&["sql", &insert]).ok();
                    let update =
                        format!("update t set n = n + 10 where writer = {writer} and n = {n}");
                    sandbox.run(&["sql", &update]).ok();
                }
            });
        }
    });
    assert_eq!(sandbox.value("select count(*) from t where n >= 10"), "12");
}

#[test]
fn errors_of_statements_name_the_place_in_their_text() {
    let sandbox = Sandbox::new(&[(
        "models/t.sql",
        "{{ config(materialized='table') }} select 1 as id, 'x' as name",
    )]);
    sandbox.build().ok();
    for (sql, place) in [
        ("insert into main.t\nselect id,\n       nosuch from main.t", "line: 3, column: 8"),
        ("insert into main.t (id, name)\nselect 1, nosuch from main.t", "line: 2, column: 11"),
        ("update main.t\nset name = upper(nosuch)\nwhere id = 1", "line: 2,"),
        ("delete from main.t\nwhere\n  nosuch = 1", "line: 3,"),
        ("create table main.u as\nselect id, nosuch\nfrom main.t", "line: 2, column: 12"),
    ] {
        sandbox.run(&["sql", sql]).fails_with(1).says("nosuch").says(place);
    }
}

/// `s.id` is the source's, whatever columns the target has.
#[test]
fn the_name_of_a_source_goes_before_a_column_of_that_name() {
    let shop = Sandbox::new(&[]);
    shop.run(&["sql", "create table t as select 1 as id, 'old' as s"]).ok();
    shop.run(&["sql", "create table s as select * from (values (1, 'a'), (2, 'b')) v (id, v)"])
        .ok();
    let statement = "merge into t using s on t.id = s.id \
                     when matched then update set s = s.v \
                     when not matched then insert (id, s) values (s.id, s.v)";
    shop.run(&["sql", statement]).ok();
    assert_eq!(shop.rows("select id, s from t order by id"), ["1,a", "2,b"]);
    shop.run(&[
        "sql",
        &statement.replace("using s on", "using (select 3 as id, 'c' as v) as s on"),
    ])
    .ok();
    assert_eq!(shop.rows("select id, s from t order by id"), ["1,a", "2,b", "3,c"]);
}

#[test]
fn quotes_within_texts_stay_what_they_are() {
    let sandbox = after(&[
        "create table t (id int, name text)",
        r"insert into t values (1, 'a '''' b''c'), (2, 'd\''e')",
        "create table u as select id, name || '''''' as name from t",
        "create view v as select 'x''''y' as name",
        "update t set name = 'z''''' where name = 'a '''' b''c'",
    ]);
    assert_eq!(sandbox.rows("select name from t order by id"), ["z''", r"d\'e"]);
    assert_eq!(sandbox.rows("select name from u order by id"), ["a '' b'c''", r"d\'e''"]);
    assert_eq!(sandbox.value("select name from v"), "x''y");
}

//! Models that go out to a MariaDB: whole, once, whatever breaks.

use std::process::Stdio;

use tidemill_connect::{COLUMNS_ADDED_FAILPOINT, EXPORT_FAILPOINTS};
use tidemill_testkit::MariaDbServer;

use super::Shop;
use crate::databases::{SECOND, exports_cut_off, exports_unheard};

const FIRST: &str = "id,name,amount,day\n1,Ada,10.5,2024-01-01\n2,\"Bo'\\\",,2024-01-02\n3,,30,\n";

impl Shop<'_> {
    fn exports(export: &str) -> Option<Shop<'static>> {
        let shop = Shop::new(MariaDbServer::shared()?, "select 1");
        shop.sandbox.has_customers(FIRST);
        shop.sandbox.write("exports.yml", format!("exports:\n  - {export}\n"));
        Some(shop)
    }

    fn rows(&self) -> Vec<String> {
        self.sql(
            "select concat_ws(',', id, coalesce(name, ''), coalesce(amount, ''), coalesce(day, '')) from customer order by id",
        )
    }

    /// Tables that are of a delivery under way.
    fn left(&self) -> Vec<String> {
        self.sql("show tables like '%tidemill\\_\\__%'")
    }
}

const FULL: &str = "{from: ref('customers'), to: {connection: shop, table: customer}}";
const SECOND_ROWS: [&str; 3] = ["1,Ada,11.00,2024-01-01", "3,,30.00,", "4,Di,40.00,2024-01-04"];

#[test]
fn a_model_takes_the_place_of_a_table_once() {
    let Some(shop) = Shop::exports(FULL) else { return };
    shop.sandbox.publishes(FIRST);
    shop.sandbox.run(&["export"]).ok().says("shop.customer  export").says("3 rows");
    assert_eq!(shop.rows(), ["1,Ada,10.50,2024-01-01", "2,Bo'\\\\,,2024-01-02", "3,,30.00,"]);
    assert_eq!(
        shop.sql("select column_name, column_type from information_schema.columns where table_schema = database() and table_name = 'customer'"),
        ["id\tbigint(20)", "name\tlongtext", "amount\tdecimal(9,2)", "day\tdate", "ids\tlongtext", "at\tdatetime(6)", "ada\ttinyint(1)"]
    );
    shop.sandbox.run(&["export"]).ok().says("nothing to do");
    // What others made of the table stays.
    shop.sql(
        "alter table customer add primary key (id), add check (amount > 0), comment 'all of them', add note text default 'new'; \
         create index by_day on customer (day desc); create view names as select name from customer",
    );
    shop.sandbox.write("seeds/rows.csv", SECOND);
    shop.sandbox.build().ok().says("shop.customer").says("3 rows");
    assert_eq!(shop.rows(), SECOND_ROWS);
    let made = shop.sql("show create table customer").join("\n");
    for part in ["PRIMARY KEY", "by_day", "all of them", "CHECK", "DEFAULT 'new'"] {
        assert!(made.contains(part), "{part}: {made}");
    }
    assert_eq!(shop.sql("select count(*) from names where name = 'Di'"), ["1"]);
    // A trigger would go with the table, so that the table stays.
    shop.sql("create table log (id int); create trigger t after insert on customer for each row insert into log values (new.id)");
    shop.sandbox.write("seeds/rows.csv", FIRST);
    shop.sandbox.build().ok();
    assert_eq!(shop.sql("select count(*) from log"), ["3"]);
    assert_eq!(shop.rows().len(), 3);
    assert_eq!(
        shop.sql(
            "select export, step, relation, mode, `rows` from tidemill_deliveries"
                .replace('`', "\"")
                .as_str()
        ),
        ["shop.customer\tdelivered\tmain.customers\tfull\t3"]
    );
    shop.sql("delete from customer");
    shop.sandbox.run(&["export"]).ok().says("nothing to do");
    shop.sandbox.run(&["export", "--again"]).ok().says("3 rows");
    assert_eq!(shop.left(), [""; 0]);
}

#[test]
fn a_delivery_that_is_killed_at_any_step_is_made_whole_by_the_next() {
    for (mode, prepare) in [
        ("mode: full", "select 1"),
        ("mode: full", "create trigger t after insert on customer for each row set @x = 1"),
        ("mode: merge, primary_key: id, deletes: true", "select 1"),
        ("mode: append", "delete from customer"),
    ] {
        let Some(shop) = Shop::exports(&format!(
            "{{from: ref('customers'), to: {{connection: shop, table: customer}}, {mode}}}"
        )) else {
            return;
        };
        for step in EXPORT_FAILPOINTS {
            shop.sql("drop table if exists customer; drop table if exists tidemill_deliveries");
            shop.sandbox.publishes(FIRST);
            shop.sandbox.run(&["export"]).ok().says("3 rows");
            shop.sandbox.publishes(SECOND);
            shop.sql(prepare);
            let before = shop.rows();
            assert!(shop.sandbox.dies_at(step, &["export"]), "{mode}: {step} never fired");
            let open = "select count(*) from information_schema.processlist where db = database() and id <> connection_id()";
            while shop.sql(open) != ["0"] {}
            let done = *step == "export.after-commit";
            assert_eq!(shop.rows() == before, !done, "{mode}: {step}");
            let again = shop.sandbox.run(&["export"]).ok();
            match done {
                true => again.says("nothing to do"),
                false => again.says("3 rows"),
            };
            assert_eq!(shop.rows(), SECOND_ROWS, "{mode}: {step}");
            shop.sandbox.run(&["export"]).ok().says("nothing to do");
            // And what comes after it finds its way.
            shop.sandbox.publishes(FIRST);
            shop.sandbox.run(&["export"]).ok().says("3 rows");
            assert_eq!(shop.left(), [""; 0], "{mode}: {step}");
            shop.sql("drop trigger if exists t");
        }
    }
}

#[test]
fn a_lost_answer_to_a_commit_is_settled_by_the_record() {
    for mode in ["append", "full"] {
        let Some(shop) = Shop::exports(&format!(
            "{{from: ref('customers'), to: {{connection: shop, table: customer}}, mode: {mode}}}"
        )) else {
            return;
        };
        // It was committed and nobody heard of it: not a second time.
        shop.sandbox.publishes(FIRST);
        exports_unheard(&shop.sandbox);
        assert_eq!(shop.sql("select count(*), count(distinct id) from customer"), ["3\t3"]);
        // The server ended the session before the commit: a second time.
        shop.sandbox.publishes(SECOND);
        exports_cut_off(&shop.sandbox, || {
            let sessions = shop.sql("select id from information_schema.processlist where db = database() and id <> connection_id()");
            for id in sessions {
                shop.sql(&format!("kill {id}"));
            }
        });
        let expected = if mode == "append" { "6\t4" } else { "3\t3" };
        assert_eq!(shop.sql("select count(*), count(distinct id) from customer"), [expected]);
    }
}

#[test]
fn every_type_goes_out_and_comes_back() {
    let Some(shop) = Shop::exports("{from: ref('types'), to: {connection: shop, table: types}}")
    else {
        return;
    };
    shop.sandbox.write(
        "models/types.sql",
        "{{ config(materialized='table') }}
select 1 as id, true as b, cast(-7 as smallint) as i2, cast(2147483647 as int) as i4, cast(9223372036854775807 as bigint) as i8,
  cast(1.1 as real) as f4, cast(0.1 as double) as f8, cast('99999999999999999999999999999999999.99' as decimal(37,2)) as d,
  'a''\"\\{},é😀' || chr(9) || chr(10) || chr(0) as t, cast('00ff' as bytea) as raw, date '2024-02-29' as day, timestamp '2024-02-29 12:34:56.789012' as ts,
  cast('2024-02-29 12:34:56.789012+02' as timestamp with time zone) as tz, array['a\"b', null, ''] as list,
  named_struct('x', 1, 'y', array[1.5], 'z', cast(null as int)) as s
union all
select 2, null, null, null, null, cast(-1e30 as real), cast(5e-324 as double), null, '', null, date '1000-01-01', timestamp '9999-12-31 23:59:59.999999', null, null, null",
    );
    shop.sandbox.write(
        "models/shown.sql",
        "select id, interval '1 month 2 days 3.5 seconds' as gap, cast('10:11:12.5' as time) as at from {{ ref('types') }}",
    );
    shop.sandbox.write(
        "exports.yml",
        "exports:\n  - {from: ref('types'), to: {connection: shop, table: types}}\n  - {from: ref('shown'), to: {connection: shop, table: shown}}\n",
    );
    shop.sandbox.build().ok();
    assert_eq!(
        shop.sql("select gap, at from shown where id = 1"),
        ["1 mons 2 days 3.500000000 secs\t10:11:12.500000"]
    );
    assert_eq!(
        shop.sql("select column_type from information_schema.columns where table_schema = database() and table_name = 'types' order by ordinal_position"),
        [
            "bigint(20)", "tinyint(1)", "smallint(6)", "int(11)", "bigint(20)", "float", "double", "decimal(37,2)", "longtext",
            "longblob", "date", "datetime(6)", "datetime(6)", "longtext", "longtext"
        ]
    );
    assert_eq!(
        shop.sql("select b, i2, i4, i8, f4, f8, d, hex(t), hex(raw), day, ts, tz, list, s from types order by id"),
        [
            "1\t-7\t2147483647\t9223372036854775807\t1.1\t0.1\t99999999999999999999999999999999999.99\t6127225C7B7D2CC3A9F09F9880090A00\t30306666\t2024-02-29\t2024-02-29 12:34:56.789012\t2024-02-29 10:34:56.789012\t[\"a\\\\\"b\",null,\"\"]\t{\"x\":1,\"y\":[1.5],\"z\":null}",
            "NULL\tNULL\tNULL\tNULL\t-1e30\t5e-324\tNULL\t\tNULL\t1000-01-01\t9999-12-31 23:59:59.999999\tNULL\tNULL\tNULL",
        ]
    );
    shop.sandbox.write(
        "models/s.yml",
        "sources:\n  - name: back\n    tables:\n      - {name: types, ingest: {connection: shop, table: types}}\n",
    );
    shop.sandbox.run(&["ingest"]).ok();
    let columns = "id, i2, i4, i8, f4, f8, d, t, raw, day, ts";
    assert_eq!(
        shop.sandbox.rows(&format!("select {columns} from back.types order by 1")),
        shop.sandbox.rows(&format!("select {columns} from types order by 1"))
    );
    // What has no room there is said with its place.
    shop.sandbox.write("models/types.sql", "select 7 as id, cast('NaN' as double) as t");
    shop.sandbox.write(
        "exports.yml",
        "exports:\n  - {from: ref('types'), to: {connection: shop, table: zero}, mode: merge, primary_key: id}\n",
    );
    shop.sandbox.build().fails_with(1).says("NaN").says("id = 7").says("column: t");
    assert_eq!(shop.sql("show tables like 'zero'"), [""; 0]);
}

#[test]
fn many_rows_go_out_and_two_at_once_are_one() {
    let Some(shop) = Shop::exports(FULL) else { return };
    shop.sandbox.write(
        "models/customers.sql",
        "{{ config(materialized='table') }}select i as id, repeat('x', 50) || i as name, cast(i / 100.0 as decimal(9,2)) as amount, cast(null as date) as day from generate_series(1, 300000) as g(i)",
    );
    shop.sql("create table customer (id bigint primary key, name text, amount decimal(9,2), day date); insert into customer values (0, 'old', null, null)");
    shop.sandbox.publishes(FIRST);
    let mut killed = shop.sandbox.command(&["export"]).stderr(Stdio::null()).spawn().unwrap();
    let writing = "select count(*) from information_schema.processlist where db = database() and info like 'insert into%'";
    while shop.sql(writing) == ["0"] {}
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(shop.rows(), ["0,old,,"]);
    shop.sandbox.exports_twice_at_once("300,000 rows");
    assert_eq!(
        shop.sql("select count(*), count(distinct id), min(id), sum(amount), sum(length(name)) from customer"),
        ["300000\t300000\t1\t450001500.00\t16688895"]
    );
}

#[test]
fn what_does_not_fit_is_said_and_changes_nothing() {
    let Some(shop) = Shop::exports(FULL) else { return };
    shop.sandbox.publishes(FIRST);
    for (more, says) in [
        ("table: t}, mode: merge, primary_key: nothing", "`primary_key` names `nothing`"),
        ("table: t}, mode: merge, primary_key: name", "1 row has NULL in its key"),
        ("table: narrow}", "has no column for: name text"),
        (
            "table: other}",
            "`amount` is decimal(9,2) in the model and decimal(9,1) there; `day` is date in the model and integer there",
        ),
        ("table: t, format: csv}", "unknown field `format`"),
        ("table: a_view}", "is not a table"),
        ("table: nowhere.t}", "nowhere"),
        ("table: isam}, mode: merge, primary_key: id", "has no transactions"),
        ("table: short}, mode: merge, primary_key: id", "Data too long"),
    ] {
        shop.sql(
            "drop table if exists narrow, other, isam, short; create table narrow (id int); create or replace view a_view as select 1 as id; \
             create table other (id int, name varchar(9), amount decimal(9,1), day int, ids json, at timestamp(6), ada bool); \
             create table isam (id int primary key, name text, amount decimal(9,2), day date, ids json, at datetime(6), ada bool) engine = myisam; \
             create table short (id int primary key, name varchar(2), amount decimal(9,2), day date, ids json, at datetime(6), ada bool)",
        );
        shop.sandbox.write(
            "exports.yml",
            format!("exports:\n  - {{from: ref('customers'), to: {{connection: shop, {more}}}\n"),
        );
        shop.sandbox.run(&["export"]).fails_with(1).says(says);
    }
    assert_eq!(
        shop.sql("select (select count(*) from isam), (select count(*) from short)"),
        ["0\t0"]
    );
    assert_eq!(shop.sql("show tables like 't'"), [""; 0]);
}

#[test]
fn columns_are_added_whatever_is_killed() {
    for (mode, prepare) in [
        ("mode: full", "select 1"),
        ("mode: full", "create trigger t after insert on customer for each row set @x = 1"),
        ("mode: merge, primary_key: id, deletes: true", "select 1"),
        ("mode: append", "delete from customer"),
    ] {
        let Some(shop) = Shop::exports(&format!(
            "{{from: ref('customers'), to: {{connection: shop, table: customer}}, schema_contract: {{columns: evolve}}, {mode}}}"
        )) else {
            return;
        };
        for step in EXPORT_FAILPOINTS.iter().chain([&COLUMNS_ADDED_FAILPOINT]) {
            shop.sql("drop table if exists customer; drop table if exists tidemill_deliveries");
            shop.sandbox.publishes(FIRST);
            shop.sandbox.run(&["export"]).ok().says("3 rows");
            shop.sql("alter table customer drop column name, drop column day, drop column amount, convert to character set latin1");
            shop.sandbox.publishes(SECOND);
            shop.sql(prepare);
            let before = shop.sql("select id from customer order by 1");
            assert!(shop.sandbox.dies_at(step, &["export"]), "{mode}: {step} never fired");
            let open = "select count(*) from information_schema.processlist where db = database() and id <> connection_id()";
            while shop.sql(open) != ["0"] {}
            if *step != "export.after-commit" {
                assert_eq!(
                    shop.sql("select id from customer order by 1"),
                    before,
                    "{mode}: {step}"
                );
            }
            shop.sandbox.run(&["export"]).ok();
            assert_eq!(shop.rows(), SECOND_ROWS, "{mode}: {step}");
            assert_eq!(
                shop.sql("select column_type, character_set_name from information_schema.columns where table_schema = database() and table_name = 'customer' and column_name in ('name', 'amount') order by column_name"),
                ["decimal(9,2)\tNULL", "longtext\tutf8mb4"]
            );
            shop.sandbox.run(&["export"]).ok().says("nothing to do");
            assert_eq!(shop.left(), [""; 0], "{mode}: {step}");
            shop.sql("drop trigger if exists t");
        }
    }
}

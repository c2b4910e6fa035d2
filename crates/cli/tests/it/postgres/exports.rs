//! Models that go out to a PostgreSQL: whole, once, and only when their tests passed.

use std::process::Stdio;

use tidemill_connect::{COLUMNS_ADDED_FAILPOINT, EXPORT_FAILPOINTS};
use tidemill_testkit::PostgresServer;

use crate::databases::{SECOND, exports_cut_off, exports_unheard};
use crate::sandbox::Sandbox;

/// A project with a lake, and a database that its models go to.
struct Shop {
    sandbox: Sandbox,
    server: &'static PostgresServer,
    database: String,
}

const FIRST: &str =
    "id,name,amount,day\n1,Ada,10.5,2024-01-01\n2,\"Bo\tb\\\",,2024-01-02\n3,,30,\n";

impl Shop {
    fn new(exports: &str) -> Option<Shop> {
        let server = PostgresServer::shared()?;
        let database = server.database();
        let sandbox = Sandbox::new(&[("exports.yml", exports)]);
        sandbox.has_customers(FIRST);
        sandbox.write(
            "connections.yml",
            format!(
                "connections:\n  crm:\n    type: postgres\n    host: 127.0.0.1\n    port: {}\n    user: postgres\n    dbname: {database}\n  tap:\n    type: singer\n    command: nothing\n",
                server.port()
            ),
        );
        Some(Shop { sandbox, server, database })
    }

    fn sql(&self, sql: &str) -> Vec<String> {
        self.server.sql(&self.database, sql)
    }

    fn rows(&self) -> Vec<String> {
        self.sql("select id, name, amount, day from customer order by id")
    }
}

const FULL: &str =
    "exports:\n  - from: ref('customers')\n    to: {connection: crm, table: customer}\n";

#[test]
fn a_model_takes_the_place_of_a_table_once() {
    let Some(shop) = Shop::new(FULL) else { return };
    let export = || shop.sandbox.run(&["export"]);
    export().fails_with(1).says("`customers` is not published; build it first");
    shop.sandbox.run(&["plan"]).ok().says("full to customer of crm, once customers is published");
    shop.sandbox.publishes(FIRST);
    shop.sandbox
        .run(&["export", "--dry-run"])
        .ok()
        .says("customers would go out to customer of crm");
    shop.sandbox
        .run(&["export", "--list"])
        .ok()
        .says("crm.customer  full  from customers to customer");
    assert_eq!(shop.sql("select to_regclass('customer') is null"), ["t"]);
    export().ok().says("crm.customer  export").says("3 rows");
    assert_eq!(shop.rows(), ["1,Ada,10.50,2024-01-01", "2,Bo\tb\\,,2024-01-02", "3,,30.00,"]);
    assert_eq!(
        shop.sql(
            "select ids, at, ada, pg_typeof(id), pg_typeof(amount) from customer where id = 1"
        ),
        ["{1,NULL},2024-01-01 00:00:00+00,t,bigint,numeric"]
    );
    export().ok().says("nothing to do");
    shop.sandbox.run(&["plan"]).ok().does_not_say("full to");
    // What others made of the table stays: rights, indexes by their names, the description.
    shop.sql(
        "create role sales_reporting; create role everybody; grant select on customer to sales_reporting with grant option;
         alter default privileges grant select on tables to everybody;
         alter table customer add constraint \"odd Name\" primary key (id), add check (amount > 0);
         create index by_day on customer (day desc) where name <> ' USING '; comment on index by_day is 'days';
         comment on table customer is 'all of them'; alter table customer add column note text default 'new'",
    );
    shop.sandbox.write("seeds/rows.csv", SECOND);
    // A build delivers what it published.
    shop.sandbox.build().ok().says("crm.customer").says("export").says("3 rows");
    let second = ["1,Ada,11.00,2024-01-01", "3,,30.00,", "4,Di,40.00,2024-01-04"];
    assert_eq!(shop.rows(), second);
    assert_eq!(
        shop.sql("select has_table_privilege('sales_reporting', 'customer', 'select with grant option'), has_table_privilege('everybody', 'customer', 'select'), obj_description('customer'::regclass), obj_description('by_day'::regclass), (select count(*) from customer where note = 'new')"),
        ["t,f,all of them,days,3"]
    );
    assert_eq!(
        shop.sql("select indexdef from pg_indexes where tablename = 'customer' order by 1"),
        [
            "CREATE INDEX by_day ON public.customer USING btree (day DESC) WHERE (name <> ' USING '::text)",
            "CREATE UNIQUE INDEX \"odd Name\" ON public.customer USING btree (id)",
        ]
    );
    assert_eq!(
        shop.sql("select contype, count(*) from pg_constraint where conrelid = 'customer'::regclass and contype in ('c', 'p') group by 1 order by 1"),
        ["c,1", "p,1"]
    );
    shop.sql(
        "alter default privileges revoke select on tables from everybody; drop role everybody",
    );
    // And so does a view, whose table cannot be swapped.
    shop.sql("create view names as select name from customer");
    shop.sandbox.write("seeds/rows.csv", FIRST);
    shop.sandbox.build().ok();
    assert_eq!(shop.sql("select count(*) from names where name like 'Bo%'"), ["1"]);
    assert_eq!(
        shop.sql("select export, relation, mode, rows from tidemill_deliveries"),
        ["crm.customer,main.customers,full,3"]
    );
    // Somebody changed it there.
    shop.sql("delete from customer");
    export().ok().says("nothing to do");
    shop.sandbox.run(&["export", "crm.customer", "--again"]).ok().says("3 rows");
    assert_eq!(shop.rows().len(), 3);
    assert_eq!(
        shop.sql("select relname from pg_class where relname like '%tidemill_next%'"),
        [""; 0]
    );
    let results = shop.sandbox.path("target/run_results.json");
    let results = std::fs::read_to_string(results).unwrap();
    assert!(results.contains("\"export.shop.crm.customer\""), "{results}");
    shop.sql("drop table customer cascade; drop role sales_reporting");
}

#[test]
fn rows_are_merged_and_appended_by_their_key() {
    let Some(shop) = Shop::new(
        "exports:
  - {name: merged, from: ref('customers'), to: {connection: crm, table: customer}, mode: merge, primary_key: id}
  - {name: exact, from: ref('customers'), to: {connection: crm, table: out.exact}, mode: merge, primary_key: [id], deletes: true}
  - {name: added, from: ref('customers'), to: {connection: crm, table: out.added}, mode: append, primary_key: [id]}
  - {name: states, from: ref('customers'), to: {connection: crm, table: out.states}, mode: append}
",
    ) else {
        return;
    };
    shop.sql("create schema out; create table customer (id int, name text, amount numeric, day date, ids json, at text, ada bool)");
    shop.sandbox
        .build()
        .fails_with(1)
        .says("has no unique index of (id)")
        .says("create unique index on")
        .says("added");
    shop.sql("create unique index on customer (id); insert into customer values (2, 'old', 1), (9, 'theirs', 9)");
    // What failed is done again, the others are there.
    shop.sandbox.run(&["retry"]).ok().says("2 inserted, 1 updated").does_not_say("exact");
    assert_eq!(
        shop.rows(),
        ["1,Ada,10.50,2024-01-01", "2,Bo\tb\\,,2024-01-02", "3,,30.00,", "9,theirs,9,"]
    );
    shop.sandbox.write("seeds/rows.csv", SECOND);
    shop.sandbox
        .build()
        .ok()
        .says("1 inserted, 1 updated\n")
        .says("1 inserted, 1 updated, 1 deleted")
        .says("3 inserted");
    assert_eq!(
        shop.rows(),
        [
            "1,Ada,11.00,2024-01-01",
            "2,Bo\tb\\,,2024-01-02",
            "3,,30.00,",
            "4,Di,40.00,2024-01-04",
            "9,theirs,9,"
        ]
    );
    assert_eq!(
        shop.sql("select at, ids->>0 from customer where id = 1"),
        ["2024-01-01 00:00:00+00,1"]
    );
    assert_eq!(
        shop.sql("select id, amount from out.exact order by id"),
        ["1,11.00", "3,30.00", "4,40.00"]
    );
    assert_eq!(
        shop.sql("select id, amount from out.added order by id"),
        ["1,10.50", "2,", "3,30.00", "4,40.00"]
    );
    assert_eq!(shop.sql("select count(*), count(distinct id) from out.states"), ["6,4"]);
}

#[test]
fn what_failed_its_tests_or_was_not_tested_does_not_go_out() {
    let Some(shop) = Shop::new(FULL) else { return };
    shop.sandbox.run(&["seed"]).ok();
    shop.sandbox.run(&["run"]).ok();
    shop.sandbox
        .run(&["export"])
        .fails_with(1)
        .says("was not run on what is published of `customers`");
    shop.sandbox.build().ok();
    assert_eq!(shop.rows().len(), 3);
    // The new state fails, is not published, and so does not go out; the old one is there.
    shop.sandbox.write("seeds/rows.csv", "id,name,amount,day\n1,a,1,\n1,b,2,\n");
    shop.sandbox
        .build()
        .fails_with(1)
        .says("crm.customer  export")
        .says("customers was not published by this run");
    shop.sandbox.run(&["export"]).ok().says("nothing to do");
    assert_eq!(shop.rows().len(), 3);
    // Some of the rows are not the model.
    shop.sandbox.write("seeds/rows.csv", SECOND);
    shop.sandbox.run(&["build", "--empty"]).ok().says("nothing is exported");
    assert_eq!(shop.rows().len(), 3);
}

#[test]
fn every_type_goes_out_and_comes_back() {
    let Some(shop) = Shop::new(
        "exports:\n  - {from: ref('types'), to: {connection: crm, table: types}}\n  - {from: ref('shown'), to: {connection: crm, table: shown}}\n",
    ) else {
        return;
    };
    shop.sandbox.write(
        "models/types.sql",
        "{{ config(materialized='table') }}
select 1 as id, true as b, cast(-7 as smallint) as i2, cast(2147483647 as int) as i4, cast(9223372036854775807 as bigint) as i8,
  cast(1.5 as real) as f4, cast(0.1 as double) as f8, cast('99999999999999999999999999999999999.99' as decimal(37,2)) as d,
  'a''\"\\{},é' || chr(9) || chr(10) as t, cast('00ff' as bytea) as raw, date '2024-02-29' as day, timestamp '2024-02-29 12:34:56.789012' as ts,
  cast('2024-02-29 12:34:56.789012+02' as timestamp with time zone) as tz, array['a\"b', null, ''] as list,
  named_struct('x', 1, 'y', array[1.5], 'z', cast(null as int)) as s, array[named_struct('k', 'v')] as ls
union all
select 2, null, null, null, null, cast('NaN' as real), cast('-Infinity' as double), null, '', null, date '0001-01-01', timestamp '9999-12-31 23:59:59.999999', null, null, null, null",
    );
    shop.sandbox.write(
        "models/shown.sql",
        "select id, interval '1 month 2 days 3.5 seconds' as gap, cast('10:11:12.5' as time) as at from {{ ref('types') }}",
    );
    shop.sandbox.build().ok();
    let types = shop.sql("select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'types'::regclass and attnum > 0 order by attnum");
    assert_eq!(
        types,
        [
            "id,bigint",
            "b,boolean",
            "i2,smallint",
            "i4,integer",
            "i8,bigint",
            "f4,real",
            "f8,double precision",
            "d,numeric(37,2)",
            "t,text",
            "raw,bytea",
            "day,date",
            "ts,timestamp without time zone",
            "tz,timestamp with time zone",
            "list,text[]",
            "s,jsonb",
            "ls,jsonb",
        ]
    );
    let rows = shop.sql("set timezone = 'UTC'; select b, i2, i4, i8, f4, f8, d, t = E'a''\"\\\\{},é\\t\\n', raw = '00ff'::bytea, day, ts, tz, list = array['a\"b', null, ''], s->>'x', s->'y'->>0, s ? 'z', ls->0->>'k' from types order by id");
    assert_eq!(
        rows,
        [
            "t,-7,2147483647,9223372036854775807,1.5,0.1,99999999999999999999999999999999999.99,t,t,2024-02-29,2024-02-29 12:34:56.789012,2024-02-29 10:34:56.789012+00,t,1,1.5,t,v",
            ",,,,NaN,-Infinity,,f,,0001-01-01,9999-12-31 23:59:59.999999,,,,,,",
        ]
    );
    assert_eq!(
        shop.sql("select gap, at from shown where id = 1"),
        ["1 mon 2 days 00:00:03.5,10:11:12.5"]
    );
    // And back: a load of the table has the same values.
    shop.sandbox.write(
        "models/s.yml",
        "sources:\n  - name: back\n    tables:\n      - {name: types, ingest: {connection: crm, table: public.types}}\n",
    );
    shop.sandbox.run(&["ingest"]).ok();
    let columns = "id, b, i2, i4, i8, f4, f8, d, t, raw, day, ts, tz, list";
    assert_eq!(
        shop.sandbox.rows(&format!("select {columns} from back.types order by 1")),
        shop.sandbox.rows(&format!("select {columns} from types order by 1"))
    );
    // What has no room there is said with its place.
    shop.sandbox.write("models/types.sql", "select 7 as id, 'a' || chr(0) || 'b' as t");
    shop.sandbox.write("models/shown.sql", "select 1 as id");
    shop.sandbox.write(
        "exports.yml",
        "exports:\n  - {from: ref('types'), to: {connection: crm, table: zero}, mode: merge, primary_key: id}\n",
    );
    shop.sandbox.build().fails_with(1).says("NUL").says("id = 7").says("column: t");
}

#[test]
fn a_delivery_that_is_killed_at_any_step_is_made_whole_by_the_next() {
    let expected = ["1,Ada,11.00,2024-01-01", "3,,30.00,", "4,Di,40.00,2024-01-04"];
    for (mode, prepare) in [
        ("mode: full", ""),
        ("mode: full", "create view seen as select id from customer"),
        ("mode: merge, primary_key: id, deletes: true", ""),
        ("mode: append", "delete from customer"),
    ] {
        let Some(shop) = Shop::new(&format!(
            "exports:\n  - {{from: ref('customers'), to: {{connection: crm, table: customer}}, {mode}}}\n"
        )) else {
            return;
        };
        for step in EXPORT_FAILPOINTS {
            shop.sql(
                "drop table if exists customer cascade; drop table if exists tidemill_deliveries",
            );
            shop.sandbox.publishes(FIRST);
            shop.sandbox.run(&["export"]).ok().says("3 rows");
            shop.sandbox.publishes(SECOND);
            shop.sql(prepare);
            let before = shop.rows();
            assert!(shop.sandbox.dies_at(step, &["export"]), "{mode}: {step} never fired");
            let open = "select count(*) from pg_stat_activity where application_name = 'tidemill' and datname = current_database()";
            while shop.sql(open) != ["0"] {}
            let done = *step == "export.after-commit";
            assert_eq!(shop.rows() == before, !done, "{mode}: {step}");
            let again = shop.sandbox.run(&["export"]).ok();
            match done {
                true => again.says("nothing to do"),
                false => again.says("3 rows"),
            };
            assert_eq!(shop.rows(), expected, "{mode}: {step}");
            shop.sandbox.run(&["export"]).ok().says("nothing to do");
            assert_eq!(shop.rows(), expected, "{mode}: {step}");
        }
    }
}

#[test]
fn a_lost_answer_to_a_commit_is_settled_by_the_record() {
    let Some(shop) = Shop::new(
        "exports:\n  - {from: ref('customers'), to: {connection: crm, table: customer}, mode: append}\n",
    ) else {
        return;
    };
    // It was committed and nobody heard of it: not a second time.
    shop.sandbox.publishes(FIRST);
    exports_unheard(&shop.sandbox);
    assert_eq!(shop.sql("select count(*), count(distinct id) from customer"), ["3,3"]);
    // The server ended the session before the commit: a second time.
    shop.sandbox.publishes(SECOND);
    exports_cut_off(&shop.sandbox, || {
        shop.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidemill' and datname = current_database()");
    });
    assert_eq!(shop.sql("select count(*), count(distinct id) from customer"), ["6,4"]);
}

#[test]
fn a_delivery_that_is_killed_leaves_what_was_there() {
    let Some(shop) = Shop::new(FULL) else { return };
    shop.sandbox.write(
        "models/customers.sql",
        "{{ config(materialized='table') }}select i as id, repeat('x', 100) as name, cast(1.5 as decimal(9,2)) as amount, cast(null as date) as day from generate_series(1, 300000) as g(i)",
    );
    shop.sql("create table customer (id bigint primary key, name text, amount numeric, day date); insert into customer values (0, 'old')");
    shop.sandbox.publishes(FIRST);
    let mut killed = shop.sandbox.command(&["export"]).stderr(Stdio::null()).spawn().unwrap();
    let copying = "select count(*) from pg_stat_activity where query like 'copy %' and datname = current_database() and state = 'active'";
    while shop.sql(copying) == ["0"] {}
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(shop.rows(), ["0,old,,"]);
    shop.sandbox.exports_twice_at_once("300,000 rows");
    assert_eq!(
        shop.sql("select count(*), count(distinct id), min(id) from customer"),
        ["300000,300000,1"]
    );
}

#[test]
fn mistakes_in_exports_are_shown_where_they_are() {
    let Some(shop) = Shop::new(FULL) else { return };
    for (export, says) in [
        ("{from: ref('customer'), to: {connection: crm, table: t}}", "did you mean `customers`?"),
        ("{from: ref('customers'), to: {connection: cmr, table: t}}", "did you mean `crm`?"),
        (
            "{from: ref('customers'), to: {connection: crm, table: t}, mode: merge}",
            "needs a `primary_key`",
        ),
        (
            "{from: ref('customers'), to: {connection: crm, table: t}, mode: upsert}",
            "is called `merge` here",
        ),
        (
            "{from: ref('customers'), to: {connection: crm, table: t}, mode: replace}",
            "use full, append or merge",
        ),
        ("{from: ref('customers'), to: {connection: crm, tabel: t}}", "did you mean `table`?"),
        ("{to: {connection: crm, table: t}}", "an export needs `from` and `to`"),
        (
            "{from: ref('rows'), to: {connection: crm, table: t}}\n  - {name: b, from: ref('customers'), to: {connection: crm, table: t}}",
            "go to the same place",
        ),
    ] {
        shop.sandbox.write("exports.yml", format!("exports:\n  - {export}\n"));
        shop.sandbox.run(&["export"]).fails_with(2).says(says).says("exports.yml:");
    }
    shop.sandbox.remove("exports.yml");
    shop.sandbox.build().ok();
    for (export, says) in [
        (
            "{from: ref('customers'), to: {connection: tap, table: t}}",
            "are read, and not written to",
        ),
        (
            "{from: ref('customers'), to: {connection: crm, table: t}, mode: merge, primary_key: nothing}",
            "`primary_key` names `nothing`",
        ),
        (
            "{from: ref('customers'), to: {connection: crm, table: t}, mode: merge, primary_key: name}",
            "1 row has NULL in its key",
        ),
        (
            "{from: ref('customers'), to: {connection: crm, table: narrow}}",
            "has no column for: name text",
        ),
        (
            "{from: ref('customers'), to: {connection: crm, table: other}}",
            "`amount` is numeric(9,2) in the model and numeric(9,1) there; `day` is date in the model and integer there",
        ),
        (
            "{from: ref('customers'), to: {connection: crm, table: t, format: csv}}",
            "unknown field `format`",
        ),
        ("{from: ref('customers'), to: {connection: crm, table: a_view}}", "is not a table"),
        ("{from: ref('customers'), to: {connection: crm, table: nowhere.t}}", "nowhere"),
    ] {
        shop.sql("drop table if exists narrow, other; create table narrow (id int); create or replace view a_view as select 1 as id;
            create table other (id int, name varchar(9), amount numeric(9,1), day int, ids int[], at timestamptz, ada bool)");
        shop.sandbox.write("exports.yml", format!("exports:\n  - {export}\n"));
        shop.sandbox.run(&["export"]).fails_with(1).says(says);
    }
    shop.sandbox.run(&["export", "nothing"]).says("there is no export `nothing`");
}

#[test]
fn columns_are_added_whatever_is_killed() {
    for (mode, prepare) in [
        ("mode: full", "select 1"),
        ("mode: full", "create view names as select id from customer"),
        ("mode: merge, primary_key: id, deletes: true", "select 1"),
        ("mode: append", "delete from customer"),
    ] {
        let Some(shop) = Shop::new(&format!(
            "exports:\n  - {{from: ref('customers'), to: {{connection: crm, table: customer}}, schema_contract: {{columns: evolve}}, {mode}}}\n"
        )) else {
            return;
        };
        let columns = "select string_agg(column_name || ' ' || udt_name, ',' order by column_name) \
            from information_schema.columns where table_name = 'customer'";
        for step in EXPORT_FAILPOINTS.iter().chain([&COLUMNS_ADDED_FAILPOINT]) {
            shop.sql(
                "drop table if exists customer cascade; drop table if exists tidemill_deliveries",
            );
            shop.sandbox.publishes(FIRST);
            shop.sandbox.run(&["export"]).ok().says("3 rows");
            shop.sql("alter table customer drop column ids, drop column day, drop column amount");
            shop.sandbox.publishes(SECOND);
            shop.sql(prepare);
            let before = shop.sql(columns);
            assert!(shop.sandbox.dies_at(step, &["export"]), "{mode}: {step} never fired");
            let done = *step == "export.after-commit";
            assert_eq!(shop.sql(columns) == before, !done, "{mode}: {step}");
            shop.sandbox.run(&["export"]).ok();
            assert_eq!(
                shop.sql(columns),
                ["ada bool,amount numeric,at timestamptz,day date,id int8,ids _int8,name text"]
            );
            assert_eq!(
                shop.rows(),
                ["1,Ada,11.00,2024-01-01", "3,,30.00,", "4,Di,40.00,2024-01-04"],
                "{mode}: {step}"
            );
            assert_eq!(
                shop.sql("select numeric_precision, numeric_scale from information_schema.columns where table_name = 'customer' and column_name = 'amount'"),
                ["9,2"]
            );
            shop.sandbox.run(&["export"]).ok().says("nothing to do");
        }
    }
}

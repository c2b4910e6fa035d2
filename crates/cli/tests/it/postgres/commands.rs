//! Commands besides `build`, and what profiles may say.

use super::server::project;
use crate::sandbox::Sandbox;

#[test]
fn templates_ask_the_database_and_see_its_objects() {
    let project = project!(&[(
        "macros/ask.sql",
        "{% macro ask() %}\n\
             {% set relation = adapter.get_relation(database=target.database, schema='main', identifier='t') %}\n\
             {{ print(relation ~ ' ' ~ relation.type ~ ' ' ~ relation.include(database=false)) }}\n\
             {{ print(adapter.type() ~ ' ' ~ target.type ~ ' ' ~ target.host ~ ' ' ~ (target.password is defined)) }}\n\
             {% for c in adapter.get_columns_in_relation(relation) %}{{ print(c.name ~ ' ' ~ c.data_type ~ ' ' ~ c.is_number()) }}{% endfor %}\n\
             {% set rows = run_query('select id, amount, at, tags, kind, span, nothing from main.t') %}\n\
             {{ print(rows.columns[0].values() ~ ' ' ~ rows.rows[0]['amount'] ~ ' ' ~ rows.rows[0]['at'].year ~ ' ' ~ rows.rows[0]['tags'] ~ ' ' ~ rows.rows[0]['kind'] ~ ' ' ~ rows.rows[0]['span'] ~ ' ' ~ rows.rows[0]['nothing']) }}\n\
             {% do run_query('create table main.made as select 1 as a; insert into main.made values (2)') %}\n\
             {{ print(run_query('begin; insert into main.made values (3); commit; select count(*) as n from main.made').rows[0].n) }}\n\
             {{ print(dbt.safe_cast(\"'1'\", api.Column.translate_type('integer'))) }}\n\
             {% call statement('lost', auto_begin=true) %}insert into main.made values (4){% endcall %}\n\
             {% endmacro %}",
    ),]);
    project.sql("create schema main; create type main.mood as enum ('sad', 'glad'); create table main.t (id int, amount numeric(10,2), at timestamptz, tags text[], kind main.mood, span int4range, nothing text); insert into main.t values (1, 2.50, '2024-01-01', '{a,b}', 'glad', '[1,5)', null)");
    let database = project.database.clone();
    project
        .sandbox
        .run(&["run-operation", "ask"])
        .ok()
        .says(&format!("\"{database}\".\"main\".\"t\" table \"main\".\"t\""))
        .says("postgres postgres 127.0.0.1 False")
        .says("amount numeric(10,2) True")
        .says("tags text[] False")
        .says("{a,b} glad [1,5) None")
        .says("3\n")
        .says("cast('1' as integer)");
}

#[test]
fn show_sql_compile_and_docs_read_the_database() {
    let project = project!(&[
        ("seeds/s.csv", "id,name\n1,a\n2,b\n"),
        (
            "models/m.sql",
            "select id, 1.10::numeric as n, array[1,2] as list, 'infinity'::date as d from {{ ref('s') }}"
        ),
        (
            "models/sources.yml",
            "sources: [{name: raw, schema: main, tables: [{name: s, loaded_at_field: 'now()', freshness: {warn_after: {count: 1, period: day}}}]}]\n"
        ),
    ]);
    project.sandbox.build().ok();
    project.sandbox.run(&["show", "-s", "m", "--limit", "1"]).ok().says("1.10").says("{1,2}");
    project
        .sandbox
        .run(&["show", "--inline", "select count(*) as n from {{ ref('s') }}"])
        .ok()
        .says("2");
    project
        .sandbox
        .run(&["sql", "select name from main.s order by id desc", "--format", "csv"])
        .ok()
        .says("name\nb\na");
    project.sandbox.run(&["sql", "insert into main.s values (3, 'c')"]).ok().says("INSERT (1 row)");
    let database = project.database.clone();
    project
        .sandbox
        .run(&["compile", "-s", "m"])
        .ok()
        .says(&format!("from \"{database}\".\"main\".\"s\""));
    project.sandbox.run(&["docs", "generate"]).ok();
    let catalog = std::fs::read_to_string(project.sandbox.path("target/catalog.json")).unwrap();
    let catalog: serde_json::Value = serde_json::from_str(&catalog).unwrap();
    let seed = &catalog["nodes"]["seed.shop.s"];
    assert_eq!(
        (seed["columns"]["id"]["type"].as_str(), seed["metadata"]["type"].as_str()),
        (Some("integer"), Some("BASE TABLE"))
    );
    assert_eq!(seed["metadata"]["owner"].as_str(), Some("postgres"));
    project.sandbox.run(&["source", "freshness"]).ok().says("pass");
    project.sandbox.run(&["debug"]).ok().says("PostgreSQL").says("all checks passed");
    project.sandbox.run(&["test"]).ok();
}

#[test]
fn unit_tests_and_stored_failures() {
    let project = project!(&[
        ("seeds/s.csv", "id,amount\n1,1.5\n2,\n"),
        ("models/src.yml", "sources: [{name: raw, schema: main, tables: [{name: s}]}]\n"),
        (
            "models/m.sql",
            "{{ config(materialized='incremental') }}select s.id, coalesce(s.amount, 0)::numeric as amount from {{ ref('s') }} s join {{ source('raw', 's') }} r using (id){% if is_incremental() %} where s.id > (select max(id) from {{ this }}){% endif %}"
        ),
        (
            "models/m.yml",
            "models: [{name: m, columns: [{name: amount, data_tests: [{accepted_values: {arguments: {values: [7], quote: false}, config: {store_failures: true, severity: warn}}}]}]}]\n\
             unit_tests:\n  - name: fills\n    model: m\n    overrides: {macros: {is_incremental: false}}\n    given:\n      - {input: ref('s'), rows: [{id: 1}, {id: 2, amount: 2.50}]}\n      - {input: \"source('raw', 's')\", format: csv, rows: \"id\\n1\\n2\\n\"}\n    expect: {rows: [{id: 1, amount: 0}, {id: 2, amount: 2.5}]}\n\
             \x20 - name: goes_on\n    model: m\n    overrides: {macros: {is_incremental: true}}\n    given:\n      - {input: ref('s'), rows: [{id: 1}, {id: 2}]}\n      - {input: \"source('raw', 's')\", rows: [{id: 1}, {id: 2}]}\n      - {input: this, rows: [{id: 1}]}\n    expect: {rows: [{id: 2}]}\n",
        ),
    ]);
    project.sandbox.run(&["run", "-s", "m"]).fails_with(1);
    project.sandbox.run(&["seed"]).ok();
    project.sandbox.run(&["run", "-s", "m"]).ok();
    project.sandbox.build().ok().says("checks: 2 passed, 1 warned");
    assert_eq!(project.sql("select value_field, n_records from main_dbt_test__audit.\"accepted_values_m_amount__False__7\" order by 1"), ["0,1", "1.5,1"]);
    project.sandbox.write(
        "models/m.sql",
        "select s.id, s.amount from {{ ref('s') }} s join {{ source('raw', 's') }} r using (id)",
    );
    project.sandbox.build().fails_with(1).says("actual differs from expected");
}

#[test]
fn other_environments_are_read_and_cloned() {
    let project = project!(&[
        ("models/a.sql", "{{ config(materialized='table') }}select 1 as id"),
        ("models/b.sql", "select * from {{ ref('a') }}"),
    ]);
    project.sandbox.build().ok();
    std::fs::rename(project.sandbox.path("target"), project.sandbox.path("prod")).unwrap();
    project
        .sandbox
        .write("profiles.yml", project.profile("").replace("schema: main", "schema: dev"));
    project.sandbox.run(&["build", "-s", "b"]).fails_with(1).says("does not exist");
    project.sandbox.run(&["build", "-s", "b", "--defer", "--state", "prod"]).ok();
    assert_eq!(project.value("select pg_get_viewdef('dev.b'::regclass) like '%main.a%'"), "t");
    project.sandbox.run(&["clone", "--state", "prod"]).ok().says("here already");
    assert_eq!(project.value("select id from dev.a"), "1");
    project.sandbox.run(&["compile", "-s", "b"]).ok().says("\"dev\".\"a\"");
    project.sandbox.run(&["run", "--empty", "--full-refresh"]).ok();
    assert_eq!(project.value("select count(*) from dev.b"), "0");
}

#[test]
fn statements_carry_a_comment() {
    let project = project!(&[
        (
            "dbt_project.yml",
            "name: shop\nprofile: shop\non-run-end: \"create table public.seen as select query from pg_stat_activity where pid = pg_backend_pid()\"\n"
        ),
        (
            "models/m.sql",
            "{{ config(materialized='table', post_hook='create table public.own as select query from pg_stat_activity where pid = pg_backend_pid()') }}select 1 as id"
        ),
    ]);
    project.sandbox.build().ok();
    let own = project.sql("select query from public.own")[0].clone();
    assert!(own.starts_with("/* {\"app\": \"dbt\", \"dbt_version\": \"1."), "{own}");
    assert!(own.contains("\"node_id\": \"model.shop.m\"} */"), "{own}");
    for (setting, expected) in [
        (
            "query-comment: \"run by {{ target.name }} for {{ node.name }}\"",
            "/* run by dev for m */",
        ),
        (
            "query-comment: {comment: behind, append: true}",
            "create table public.own as select query",
        ),
        ("query-comment: ''", "create table public.own"),
    ] {
        project.sql("drop table public.own");
        project.sandbox.write("dbt_project.yml", format!("name: shop\nprofile: shop\n{setting}\n"));
        project.sandbox.build().ok();
        let own = project.sql("select query from public.own")[0].clone();
        assert!(own.starts_with(expected), "{own}");
    }
}

#[test]
fn a_profile_says_where_and_what_is_wrong_is_named() {
    let project = project!(&[("models/m.sql", "select 1 as id")]);
    for (more, code, text) in [
        ("      nothing: 1\n", 2, "`nothing` is not a field of a profile of type `postgres`"),
        ("      sslmode: sometimes\n", 2, "`sslmode: sometimes` is not known"),
        ("      sslmode: require\n", 1, "TLS"),
        ("      role: nobody_here\n", 1, "nobody_here"),
        ("      role: pg_monitor\n", 2, "permission denied"),
    ] {
        project.sandbox.write("profiles.yml", project.profile(more));
        project.sandbox.build().fails_with(code).says(text).does_not_say("secret");
    }
    let profile = project
        .profile("")
        .replace("host: 127.0.0.1", "host: 127.0.0.1\n      connect_timeout: 1\n      retries: 0")
        .replace("port: ", "port: 1 # ");
    project.sandbox.write("profiles.yml", profile);
    project.sandbox.run(&["debug"]).fails_with(1).says("connection").says("failed");
    project.sandbox.write("profiles.yml", project.profile(""));
    project.sandbox.run(&["lake", "history"]).fails_with(2).says("--target-lake");
    project.sandbox.run(&["build", "--publish", "run"]).fails_with(2).says("--publish run");
    // The lake, when it is asked for.
    project.sandbox.run(&["build", "--target-lake=./lake"]).ok();
    assert!(project.sandbox.path("lake").is_dir());
    assert!(project.relations().is_empty());
}

#[test]
fn profiles_of_other_types_need_a_lake() {
    let sandbox = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nprofile: shop\n"),
        (
            "profiles.yml",
            "shop: {target: dev, outputs: {dev: {type: snowflake, account: x, schema: main}}}\n",
        ),
        ("models/m.sql", "select 1 as id"),
    ]);
    sandbox.build().fails_with(2).says("snowflake").says("--target-lake");
    sandbox.run(&["build", "--target-lake=./lake"]).ok();
}

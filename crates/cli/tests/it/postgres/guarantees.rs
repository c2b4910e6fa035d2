//! What holds when something fails, is killed or cancelled; who waits for whom.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::server::project;

#[test]
fn a_failing_check_keeps_the_old_table_and_what_depends_on_it_is_skipped() {
    let project = project!(&[
        ("models/a.sql", "{{ config(materialized='table') }}select 1 as id"),
        ("models/v.sql", "select 1 as id"),
        (
            "models/i.sql",
            "{{ config(materialized='incremental') }}select {{ var('next', 1) }} as id"
        ),
        ("models/b.sql", "{{ config(materialized='table') }}select * from {{ ref('a') }}"),
        (
            "models/s.yml",
            "models:\n  - {name: a, columns: [{name: id, data_tests: [not_null]}]}\n  - {name: v, columns: [{name: id, data_tests: [not_null]}]}\n  - {name: i, columns: [{name: id, data_tests: [unique]}]}\n",
        ),
    ]);
    project.sandbox.build().ok();
    project
        .sandbox
        .write("models/a.sql", "{{ config(materialized='table') }}select null::int as id");
    project.sandbox.write("models/v.sql", "select null::int as id");
    project.sandbox.build().fails_with(1).says("not_null_a_id").says("model.shop.a has failed");
    assert_eq!(project.relations(), ["r a", "r b", "r i", "v v"]);
    for relation in ["a", "v", "i", "b"] {
        assert_eq!(project.sql(&format!("select id from main.{relation}")), ["1"], "{relation}");
    }
    // A warning does not stop anything.
    project.sandbox.write("models/s.yml", "models: [{name: a, columns: [{name: id, data_tests: [{not_null: {config: {severity: warn}}}]}]}]\n");
    project.sandbox.run(&["build", "-s", "a"]).ok().says("warn");
    assert_eq!(project.value("select count(*) from main.a where id is null"), "1");
}

#[test]
fn a_check_over_several_models_stands_before_what_reads_them_all() {
    let project = project!(&[
        ("models/a.sql", "{{ config(materialized='table') }}select 1 as id"),
        ("models/b.sql", "{{ config(materialized='table') }}select 2 as id"),
        ("models/c.sql", "select a.id from {{ ref('a') }} a join {{ ref('b') }} b using (id)"),
        ("models/d.sql", "select * from {{ ref('a') }}"),
        ("tests/same.sql", "select id from {{ ref('a') }} except select id from {{ ref('b') }}"),
    ]);
    project.sandbox.build().fails_with(1).says("test.shop.same has failed");
    assert_eq!(project.relations(), ["r a", "r b", "v d"]);
}

#[test]
fn readers_are_not_kept_out_while_a_table_is_built_and_checked() {
    let project = project!(&[
        ("models/a.sql", "{{ config(materialized='table') }}select 1 as id"),
        ("tests/slow.sql", "select id from {{ ref('a') }} where pg_sleep(1) is null"),
    ]);
    project.sandbox.build().ok();
    let mut running = project.sandbox.command(&["build"]).stderr(Stdio::null()).spawn().unwrap();
    let (mut longest, mut seen) = (Duration::ZERO, false);
    while running.try_wait().unwrap().is_none() {
        let began = Instant::now();
        assert_eq!(project.value("select id from main.a"), "1");
        longest = longest.max(began.elapsed());
        seen |= project.value("select count(*) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid() and datname = current_database() and state = 'active'") != "0";
    }
    assert!(seen, "the check was not seen running");
    assert!(longest < Duration::from_millis(700), "{longest:?}");
}

#[test]
fn hooks_are_in_the_transaction_or_outside_of_it() {
    let project = project!(&[
        (
            "dbt_project.yml",
            "name: shop\nprofile: shop\non-run-start: [\"create table if not exists public.log (what text)\", \"insert into public.log values ('start')\"]\non-run-end: \"insert into public.log values ('end {{ results | length }}')\"\n"
        ),
        (
            "models/a.sql",
            "{{ config(materialized='table', pre_hook=[\"insert into public.log values ('inside')\", {'sql': \"insert into public.log values ('before')\", 'transaction': false}], \
             post_hook=[\"insert into {{ this }} values (2)\", {'sql': 'vacuum {{ this }}', 'transaction': false}]) }}\n\
             select {{ var('value', 1) }} as id",
        ),
        ("models/s.yml", "models: [{name: a, columns: [{name: id, data_tests: [not_null]}]}]\n"),
    ]);
    project.sandbox.build().ok();
    assert_eq!(project.sql("select what from public.log"), ["start", "before", "inside", "end 2"]);
    assert_eq!(project.sql("select id from main.a order by 1"), ["1", "2"]);
    project.sandbox.run(&["build", "--vars", "value: 'null::int'"]).fails_with(1);
    // What was inside is gone with the model, what was outside stays.
    assert_eq!(project.sql("select what from public.log offset 4"), ["start", "before", "end 2"]);
    assert_eq!(project.sql("select id from main.a order by 1"), ["1", "2"]);
}

#[test]
fn contracts_are_ddl_that_postgresql_enforces() {
    let model = |columns: &str| format!("{{{{ config(materialized='table') }}}}select {columns}");
    let project = project!(&[
        ("models/parent.sql", &model("1 as id")),
        ("models/m.sql", &model("'x' as name, 1 as id")),
        (
            "models/s.yml",
            "models:\n  - name: parent\n    config: {contract: {enforced: true}}\n    columns: [{name: id, data_type: integer, constraints: [{type: primary_key}]}]\n  - name: m\n    config: {contract: {enforced: true}}\n    constraints: [{type: check, expression: 'id < 100', name: small}]\n    columns:\n      - {name: id, data_type: integer, constraints: [{type: not_null}, {type: foreign_key, to: ref('parent'), to_columns: [id]}]}\n      - {name: name, data_type: varchar(5)}\n",
        ),
    ]);
    project.sandbox.run(&["run"]).ok();
    assert_eq!(
        project.sql("select column_name, data_type, is_nullable from information_schema.columns where table_name = 'm' order by ordinal_position"),
        ["id,integer,NO", "name,character varying,YES"]
    );
    assert_eq!(
        project.value("select count(*) from pg_constraint where conrelid = 'main.m'::regclass"),
        "2"
    );
    project.sandbox.write("models/m.sql", model("'x' as name, null::int as id"));
    project
        .sandbox
        .run(&["run", "-s", "m"])
        .fails_with(1)
        .says("null value in column \"id\"")
        .says("23502");
    assert_eq!(project.sql("select id from main.m"), ["1"]);
    project.sandbox.write("models/m.sql", model("1.5 as id, 'x' as name, 2 as more"));
    project
        .sandbox
        .run(&["run", "-s", "m"])
        .fails_with(1)
        .says("data type mismatch")
        .says("missing in contract");
}

#[test]
fn grants_and_descriptions_are_as_configured() {
    let project = project!(&[
        ("models/m.sql", "{{ config(materialized='incremental') }}select 1 as id"),
        (
            "models/s.yml",
            "models: [{name: m, description: \"It's all\", config: {persist_docs: {relation: true, columns: true}, grants: {select: [pg_monitor, public]}}, columns: [{name: id, description: key}]}]\n"
        ),
    ]);
    project.sandbox.run(&["run"]).ok();
    let grants = "select grantee from information_schema.role_table_grants where table_name = 'm' and grantee <> 'postgres' order by 1";
    assert_eq!(project.sql(grants), ["PUBLIC", "pg_monitor"]);
    assert_eq!(project.value("select obj_description('main.m'::regclass) || '/' || col_description('main.m'::regclass, 1)"), "It's all/key");
    project.sandbox.write(
        "models/s.yml",
        "models: [{name: m, config: {grants: {select: [pg_read_all_data]}}}]\n",
    );
    project.sandbox.run(&["run"]).ok();
    assert_eq!(project.sql(grants), ["pg_read_all_data"]);
}

#[test]
fn an_error_shows_the_models_line_and_what_a_killed_run_left_is_cleared() {
    let project = project!(&[(
        "models/m.sql",
        "{{ config(materialized='table') }}\nselect 1 as id,\n  missing_column as b\n"
    )]);
    project
        .sandbox
        .build()
        .fails_with(1)
        .says("column \"missing_column\" does not exist")
        .says("--> models/m.sql:3:3")
        .says("3 |   missing_column as b")
        .says("42703");
    assert!(project.relations().is_empty());
    // Killed in the middle: the table stays what it was, and the next run is one clean run.
    project.sandbox.write("models/m.sql", "{{ config(materialized='table') }}select 1 as id");
    project.sandbox.build().ok();
    project.sandbox.write("models/m.sql", "{{ config(materialized='table') }}select 2 as id, pg_sleep({{ var('wait', 0) }})::text as w");
    let mut running = project
        .sandbox
        .command(&["build", "--vars", "wait: 30"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let busy = "select count(*) from pg_stat_activity where query like '%create%pg_sleep%' and pid <> pg_backend_pid() and datname = current_database() and state = 'active'";
    let began = Instant::now();
    while project.value(busy) == "0" {
        assert!(began.elapsed() < Duration::from_secs(20), "the model was not seen running");
    }
    running.kill().unwrap();
    running.wait().unwrap();
    project.sql("select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid() and datname = current_database()");
    assert_eq!(project.sql("select id from main.m"), ["1"]);
    // Leftovers under the names that a build uses.
    project.sql(
        "create table main.m__dbt_tmp (x int); create view main.m__dbt_backup as select 1 as x",
    );
    project.sandbox.build().ok();
    assert_eq!(project.relations(), ["r m"]);
    assert_eq!(project.sql("select id from main.m"), ["2"]);
}

#[test]
fn an_interrupt_cancels_what_runs_in_the_database() {
    let project = project!(&[(
        "models/m.sql",
        "{{ config(materialized='table') }}select pg_sleep(60)::text as w"
    )]);
    let mut running = project.sandbox.command(&["build"]).stderr(Stdio::null()).spawn().unwrap();
    let busy = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid() and datname = current_database() and state = 'active'";
    let began = Instant::now();
    while project.value(busy) == "0" {
        assert!(began.elapsed() < Duration::from_secs(20), "the model was not seen running");
    }
    let interrupted = Instant::now();
    let pid = running.id().to_string();
    std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(1));
    assert!(interrupted.elapsed() < Duration::from_secs(10));
    assert_eq!(project.value(busy), "0");
    assert!(project.relations().is_empty());
}

#[test]
fn a_lock_that_is_held_is_waited_for_no_longer_than_configured() {
    let project = project!(&[("models/m.sql", "{{ config(materialized='table') }}select 1 as id")]);
    project.sandbox.write(
        "profiles.yml",
        project.profile("      lock_timeout: 200ms\n      search_path: main, public\n"),
    );
    project.sandbox.build().ok();
    let holder = std::thread::scope(|scope| {
        let held = scope.spawn(|| {
            project.sql("begin; lock table main.m in access share mode; select pg_sleep(3); commit")
        });
        let began = Instant::now();
        while project.value("select count(*) from pg_stat_activity where query like '%pg_sleep(3)%' and state = 'active' and pid <> pg_backend_pid() and datname = current_database()") == "0" {
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        project.sandbox.build().fails_with(1).says("lock timeout");
        held.join()
    });
    assert!(holder.is_ok());
    assert_eq!(project.relations(), ["r m"]);
}

#[test]
fn two_runs_build_one_model_one_after_the_other() {
    let project = project!(&[
        ("seeds/s.csv", "id\n1\n2\n"),
        (
            "models/m.sql",
            "{{ config(materialized='incremental', unique_key='id') }}select 1 as id, pg_sleep({{ var('wait', 0) }})::text as w",
        ),
    ]);
    project.sandbox.build().ok();
    let start = || {
        let arguments = ["build", "--vars", "wait: 1", "--no-write-json"];
        project.sandbox.command(&arguments).stderr(Stdio::null()).spawn().unwrap()
    };
    for mut running in [start(), start()] {
        assert!(running.wait().unwrap().success());
    }
    assert_eq!(project.sql("select id from main.m"), ["1"]);
    assert_eq!(project.sql("select id from main.s order by 1"), ["1", "2"]);
    assert_eq!(project.value("select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())"), "0");
}

/// As in dbt's `build`: tests of a source run first, and one that fails holds back what reads it.
#[test]
fn tests_of_sources_hold_back_what_reads_them() {
    let project = project!(&[
        (
            "models/src.yml",
            "sources: [{name: raw, schema: main, tables: [{name: r, columns: [{name: id, data_tests: [not_null, unique]}]}]}]\n",
        ),
        ("models/m.sql", "select id from {{ source('raw', 'r') }}"),
        ("models/other.sql", "select 1 as one"),
    ]);
    project.sql("create schema if not exists main; create table main.r (id int); insert into main.r values (1), (2)");
    project.sandbox.build().ok().says("2 passed");
    assert_eq!(project.value("select count(*) from main.m"), "2");
    project.sql("drop view main.m; insert into main.r values (null)");
    project.sandbox.build().fails_with(1).says("source_not_null_raw_r_id").says("skip");
    assert_eq!(project.relations(), ["v other", "r r"]);
    project.sandbox.run(&["test", "--select", "source:raw"]).fails_with(1).says("1 passed");
}

#[test]
fn a_model_in_python_fails_and_the_others_are_built() {
    let project = project!(&[
        ("models/a.sql", "select 1 as id"),
        ("models/p.py", "def model(dbt, session):\n    return dbt.ref('a')\n"),
        ("models/b.sql", "select * from {{ ref('p') }}"),
        ("models/c.sql", "select * from {{ ref('a') }}"),
    ]);
    let outcome = project.sandbox.build().fails_with(1);
    let outcome = outcome.says("PostgreSQL runs no model in Python");
    outcome.says("model.shop.p has failed");
    assert_eq!(project.relations(), ["v a", "v c"]);
}

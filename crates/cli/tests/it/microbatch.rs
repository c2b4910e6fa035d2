//! Microbatch models: batches of time, their failures, and their retry.

use serde_json::Value;

use crate::sandbox::Sandbox;

const MODEL: &str = "{{ config(materialized='incremental', incremental_strategy='microbatch',
  event_time='at', begin='2024-01-01', batch_size='day', lookback=1) }}
select id, at, 10 / v as ratio, '{{ model.batch.id }}' as batch from {{ ref('e') }}";

const SEED: &str =
    "seeds:\n  - name: e\n    config: {event_time: at, column_types: {at: timestamp}}\n";

fn project() -> Sandbox {
    let sandbox = Sandbox::new(&[("models/m.sql", MODEL), ("seeds/e.yml", SEED)]);
    sandbox.write(
        "seeds/e.csv",
        "id,at,v\n1,2024-01-01 08:00:00,1\n2,2024-01-01 23:59:59,2\n3,2024-01-02 00:00:00,5\n4,2024-01-03 12:00:00,10\n",
    );
    sandbox
}

const DAYS: [&str; 5] =
    ["build", "--event-time-start", "2024-01-01", "--event-time-end", "2024-01-04"];

fn rows(sandbox: &Sandbox) -> Vec<String> {
    sandbox.rows("select id, ratio, batch from m order by id, batch")
}

fn results(sandbox: &Sandbox, id: &str) -> Value {
    let text = std::fs::read_to_string(sandbox.path("target/run_results.json")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let found = value["results"].as_array().unwrap().iter().find(|found| found["unique_id"] == id);
    found.unwrap().clone()
}

#[test]
fn each_batch_reads_and_replaces_its_own_time() {
    let sandbox = project();
    sandbox.run(&DAYS).ok();
    let first = ["1,10,20240101", "2,5,20240101", "3,2,20240102", "4,1,20240103"];
    assert_eq!(rows(&sandbox), first);
    // What the batches were kept in until then is gone.
    let folders = std::fs::read_dir(sandbox.path("lake/main")).unwrap().flatten();
    let mut folders: Vec<_> = folders.map(|folder| folder.file_name()).collect();
    folders.sort();
    assert_eq!(folders, ["e", "m"]);
    let batches = &results(&sandbox, "model.shop.m")["batch_results"];
    assert_eq!(batches["successful"].as_array().unwrap().len(), 3);
    assert_eq!(batches["successful"][0][0], "2024-01-01T00:00:00+00:00");
    // Only the second day is done again: what is new in another day is not seen.
    sandbox.write(
        "seeds/e.csv",
        "id,at,v\n1,2024-01-01 08:00:00,5\n5,2024-01-02 01:00:00,1\n6,2024-01-02 02:00:00,2\n",
    );
    let second = ["build", "--event-time-start", "2024-01-02", "--event-time-end", "2024-01-03"];
    sandbox.run(&second).ok();
    assert_eq!(
        rows(&sandbox),
        ["1,10,20240101", "2,5,20240101", "4,1,20240103", "5,10,20240102", "6,5,20240102"]
    );
    // A full refresh begins at `begin`; the newest batch is that of today.
    sandbox.write("models/m.sql", MODEL.replace("'day'", "'year'"));
    sandbox.run(&["build", "--full-refresh"]).ok();
    assert_eq!(rows(&sandbox), ["1,2,2024", "5,10,2024", "6,5,2024"]);
    sandbox.build().ok().says("nothing to do");
}

#[test]
fn a_batch_that_fails_leaves_the_others_and_can_be_retried() {
    let sandbox = project();
    sandbox.write("models/after.sql", "select count(*) as n from {{ ref('m') }}");
    let seed = std::fs::read_to_string(sandbox.path("seeds/e.csv")).unwrap();
    sandbox
        .write("seeds/e.csv", seed.replace("3,2024-01-02 00:00:00,5", "3,2024-01-02 00:00:00,0"));
    sandbox
        .run(&DAYS)
        .fails_with(1)
        .says("1 of 3 batches failed, the first of them 20240102")
        .says("after");
    assert_eq!(rows(&sandbox), ["1,10,20240101", "2,5,20240101", "4,1,20240103"]);
    let result = results(&sandbox, "model.shop.m");
    assert_eq!(result["status"], "partial success");
    assert_eq!(result["batch_results"]["failed"][0][0], "2024-01-02T00:00:00+00:00");
    // Only what failed is done again: the other batches keep the old logic.
    sandbox.write("models/m.sql", MODEL.replace("10 / v", "20 / nullif(v, 0)"));
    sandbox.run(&["retry"]).ok();
    assert_eq!(rows(&sandbox), ["1,10,20240101", "2,5,20240101", "3,,20240102", "4,1,20240103"]);
    assert_eq!(sandbox.value("select n from after"), "4");
}

/// As in dbt: where the first fails, no other is tried.
#[test]
fn the_first_batch_stands_before_the_others() {
    let sandbox = project();
    sandbox.write("seeds/e.csv", "id,at,v\n1,2024-01-01 08:00:00,0\n3,2024-01-02 00:00:00,5\n");
    sandbox.run(&DAYS).fails_with(1).says("20240101");
    assert_eq!(results(&sandbox, "model.shop.m")["status"], "error");
    let there = "select count(*) from information_schema.tables where table_name = 'm'";
    assert_eq!(sandbox.value(there), "0");
}

#[test]
fn all_batches_failing_is_a_failed_model() {
    let sandbox = project();
    sandbox.write("models/m.sql", MODEL.replace("10 / v", "10 / (v - v)"));
    sandbox.run(&DAYS).fails_with(1).says("20240101");
    assert_eq!(
        sandbox.value("select count(*) from information_schema.tables where table_name = 'm'"),
        "0"
    );
    sandbox.write("models/m.sql", MODEL.replace("begin='2024-01-01', ", ""));
    sandbox.build().fails_with(2).says("a microbatch model needs `begin`");
}

/// As dbt does in PostgreSQL: each batch is merged by the key, the later ones last.
#[test]
fn batches_with_a_key_are_merged_by_it() {
    let sandbox = project();
    sandbox.write("models/m.sql", MODEL.replace("lookback=1", "lookback=1, unique_key='id'"));
    sandbox.write(
        "seeds/e.csv",
        "id,at,v\n1,2024-01-01 08:00:00,1\n2,2024-01-01 09:00:00,2\n2,2024-01-02 01:00:00,5\n4,2024-01-03 12:00:00,10\n",
    );
    sandbox.run(&DAYS).ok();
    // The row of the later batch has taken the place of that of the earlier one.
    assert_eq!(rows(&sandbox), ["1,10,20240101", "2,2,20240102", "4,1,20240103"]);
    // A row comes again on another day, one is gone from its day, and two are new.
    sandbox.write(
        "seeds/e.csv",
        "id,at,v\n1,2024-01-02 08:00:00,5\n4,2024-01-03 12:00:00,2\n5,2024-01-02 10:00:00,1\n5,2024-01-03 10:00:00,10\n",
    );
    let again = ["build", "--event-time-start", "2024-01-02", "--event-time-end", "2024-01-04"];
    sandbox.run(&again).ok();
    let merged = ["1,2,20240102", "2,2,20240102", "4,5,20240103", "5,1,20240103"];
    assert_eq!(rows(&sandbox), merged);
    // Two rows of one batch with one key are an error, as in every merge; nothing changes.
    sandbox.write("seeds/e.csv", "id,at,v\n7,2024-01-02 08:00:00,5\n7,2024-01-02 09:00:00,5\n");
    let second = ["build", "--event-time-start", "2024-01-02", "--event-time-end", "2024-01-03"];
    sandbox.run(&second).fails_with(1).says("same key");
    assert_eq!(rows(&sandbox), merged);
    sandbox.write(
        "models/m.sql",
        MODEL.replace("lookback=1", "lookback=1, unique_key='id', merge_update_columns=['ratio']"),
    );
    sandbox.run(&second).fails_with(1).says("replaces whole rows");
}

#[test]
fn hooks_run_once_around_all_batches() {
    let sandbox = project();
    sandbox.write(
        "models/m.sql",
        MODEL.replace(
            "lookback=1",
            "lookback=1, pre_hook=\"insert into main.audit values ('pre', 0)\", \
             post_hook=\"insert into main.audit select 'post', count(*) from {{ this }}\"",
        ),
    );
    sandbox.run(&["sql", "create table main.audit (what varchar, n bigint)"]).ok();
    sandbox.run(&DAYS).ok();
    assert_eq!(sandbox.rows("select * from audit order by what"), ["post,4", "pre,0"]);
    sandbox.run(&DAYS).ok();
    let expected = ["post,4", "post,4", "pre,0", "pre,0"];
    assert_eq!(sandbox.rows("select * from audit order by what"), expected);
}

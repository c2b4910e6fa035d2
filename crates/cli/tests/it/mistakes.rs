//! One clear error for each mistake, and nothing written.

use crate::sandbox::Sandbox;

#[test]
fn several_mistakes_are_shown_at_once_where_they_are() {
    let sandbox = Sandbox::new(&[
        ("models/a.sql", "select *\nfrom {{ ref('stg_order') }}"),
        ("models/stg_orders.sql", "select 1 as id"),
        ("models/b.sql", "select * from {{ source('shop', 'orders') }}"),
    ]);
    sandbox
        .build()
        .fails_with(2)
        .says("models/a.sql:2:")
        .says("^")
        .says("did you mean `stg_orders`?")
        .says("models/b.sql:1:");
    assert!(!sandbox.path("lake").exists(), "nothing was to be written");
}

/// As in dbt, what a model calls and nobody has fails that model, and no other.
#[test]
fn a_macro_that_is_not_there_fails_its_model_alone() {
    let sandbox = Sandbox::new(&[
        ("macros/m.sql", "{% macro own() %}1{% endmacro %}"),
        ("models/a.sql", "select 1 as id"),
        ("models/b.sql", "select {{ missing.key(['id']) }} as k\nfrom {{ ref('a') }}"),
        ("models/c.sql", "{{ config(materialized='table') }}\nselect {{ nobody(2) }} as n"),
        ("models/d.sql", "select * from {{ ref('b') }}"),
    ]);
    let outcome = sandbox.run(&["build"]).fails_with(1);
    outcome
        .says("warning[jinja-undefined]: model `b`: 'missing' is undefined")
        .says("models/b.sql:1:11")
        .says("tidemill deps");
    assert_eq!(sandbox.rows("select id from a"), ["1"]);
    let results = std::fs::read_to_string(sandbox.path("target/run_results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let mut found: Vec<(&str, &str)> = results["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["unique_id"].as_str().unwrap(), one["status"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    let status: Vec<&str> = found.iter().map(|(_, status)| *status).collect();
    assert_eq!(status, ["success", "error", "error", "skipped"], "{found:?}");
}

#[test]
fn a_cycle_is_named() {
    let sandbox = Sandbox::new(&[
        ("models/a.sql", "select * from {{ ref('b') }}"),
        ("models/b.sql", "select * from {{ ref('a') }}"),
    ]);
    sandbox.build().fails_with(2).says("cycle").says("a").says("b");
}

#[test]
fn a_missing_project_says_what_to_do() {
    let sandbox = Sandbox::new(&[]);
    sandbox.remove("dbt_project.yml");
    sandbox.build().fails_with(2).says("dbt_project.yml").says("tidemill init");
}

#[test]
fn wrong_yaml_and_wrong_jinja_are_shown_where_they_are() {
    let sandbox = Sandbox::new(&[("models/m.yml", "models:\n  - name: a\n   columns: []\n")]);
    sandbox.build().fails_with(2).says("models/m.yml:3");
    let sandbox = Sandbox::new(&[("models/a.sql", "select 1\n{% if true %}\n")]);
    sandbox.build().fails_with(2).says("models/a.sql:");
}

#[test]
fn wrong_sql_fails_its_model_only() {
    let sandbox = Sandbox::new(&[
        ("models/good.sql", "{{ config(materialized='table') }} select 1 as id"),
        ("models/bad.sql", "{{ config(materialized='table') }} select idd from {{ ref('good') }}"),
        ("models/after.sql", "select * from {{ ref('bad') }}"),
    ]);
    sandbox.build().fails_with(1).says("idd").says("skip");
    assert_eq!(sandbox.rows("select id from good"), ["1"]);
}

#[test]
fn a_cast_that_fails_names_the_value() {
    let sandbox = Sandbox::new(&[(
        "models/a.sql",
        "{{ config(materialized='table') }} select cast(x as integer) as n from (values ('1'), ('one')) as t (x)",
    )]);
    sandbox.build().fails_with(1).says("one");
    sandbox.run(&["sql", "select * from a"]).fails_with(1);
}

#[test]
fn an_unknown_setting_of_a_load_names_the_nearest() {
    let sandbox = Sandbox::new(&[
        (
            "models/s.yml",
            "sources:\n  - name: raw\n    tables:\n      - name: t\n        ingest: {locaton: 'data/*.csv'}\n",
        ),
        ("data/a.csv", "id\n1\n"),
    ]);
    let outcome = sandbox.build();
    assert_ne!(outcome.code, Some(0));
    outcome.says("locaton").says("location");
}

#[test]
fn a_statement_that_writes_is_refused() {
    let sandbox =
        Sandbox::new(&[("models/a.sql", "{{ config(materialized='table') }} select 1 as id")]);
    sandbox.build().ok();
    for statement in [
        "copy (select 1) to '/tmp/x.csv'",
        "create external table e stored as csv location '/etc/passwd'",
    ] {
        assert_ne!(sandbox.run(&["sql", statement]).code, Some(0), "{statement}");
    }
    assert_eq!(sandbox.value("select id from a"), "1");
}

#[test]
fn a_query_that_is_too_deep_ends_with_an_error() {
    let sandbox = Sandbox::new(&[]);
    let query = format!("select {}1", "1 + ".repeat(20_000));
    let outcome = sandbox.run(&["sql", &query]);
    assert!(outcome.code.is_some(), "killed: {}", outcome.all());
}

/// As in dbt, a materialization that nobody has fails its model, and no other.
#[test]
fn a_materialization_that_is_not_there_fails_its_model_alone() {
    let sandbox = Sandbox::new(&[
        ("models/a.sql", "select 1 as id"),
        ("models/b.sql", "{{ config(materialized='tabel') }} select * from {{ ref('a') }}"),
        ("models/c.sql", "{{ config(materialized='dynamic_cube') }} select 1 as id"),
        ("models/d.sql", "select * from {{ ref('b') }}"),
    ]);
    sandbox.run(&["parse"]).ok();
    sandbox
        .run(&["build"])
        .fails_with(1)
        .says("there is no materialization `tabel`")
        .says("did you mean `table`?")
        .says("there is no materialization `dynamic_cube`")
        .says("{% materialization dynamic_cube, default %}")
        .says("1 built, 2 failed, 1 skipped");
    assert_eq!(sandbox.rows("select id from a"), ["1"]);
    sandbox.run(&["doctor"]).fails_with(1).says("there is no materialization `tabel`");
}

#[test]
fn what_is_wrong_with_a_seed_is_told_with_what_a_seed_has() {
    let sandbox = Sandbox::new(&[
        ("seeds/wide.csv", "a,b\n1,2\n4,5,6\n"),
        ("seeds/typed.csv", "a\n1\nx\n"),
        ("seeds/s.yml", "seeds: [{name: typed, config: {column_types: {a: integer}}}]"),
    ]);
    sandbox
        .run(&["seed"])
        .fails_with(1)
        .says("seeds/wide.csv:3: 3 fields where the header has 2")
        .says("`x` is not an integer")
        .says("`column_types` in the seed's config")
        .does_not_say("max_rejects")
        .does_not_say("__rejected");
}

#[test]
fn a_reference_between_quotes_is_told_as_that() {
    let sandbox = Sandbox::new(&[
        ("models/a.sql", "select 1 as id"),
        ("models/b.sql", "-- {{ ref('a') }}\nselect * from '{{ ref('a') }}'"),
    ]);
    sandbox.run(&["build"]).fails_with(1).says("in quotes is a text: write `{{ ref('x') }}`");
}

#[test]
fn only_a_variable_that_is_alike_is_named_for_one_that_is_missing() {
    let sandbox = Sandbox::new(&[("models/a.sql", "select '{{ env_var(\"SHOP_HOST\") }}' as h")]);
    let variables = [("SHOP_PORT", "1"), ("SHIP_COST", "2")];
    sandbox
        .run_with(&variables, &["build"])
        .fails_with(2)
        .says("`SHOP_HOST` is required")
        .says("give a default")
        .does_not_say("did you mean");
    sandbox.run_with(&[("SHOP_HOSTS", "1")], &["build"]).says("did you mean `SHOP_HOSTS`?");
}

//! The report on a dbt project: what it says has to be what a build does.

use serde_json::Value;

use crate::sandbox::Sandbox;

fn findings(sandbox: &Sandbox) -> Value {
    let outcome = sandbox.run(&["doctor", "--output", "json"]);
    serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", outcome.all()))
}

/// `level code: message` of each finding, and its places.
fn lines(report: &Value) -> Vec<String> {
    let shown = |place: &Value| match place["line"].as_u64() {
        Some(line) => format!("{}:{line}", place["file"].as_str().unwrap()),
        None => place["file"].as_str().unwrap().to_owned(),
    };
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| {
            let places = finding["places"].as_array().unwrap();
            let places: Vec<String> = places.iter().map(shown).collect();
            let text = |key: &str| finding[key].as_str().unwrap().to_owned();
            format!(
                "{} {}: {} @ {}",
                text("level"),
                text("code"),
                text("message"),
                places.join(" ")
            )
        })
        .collect()
}

#[test]
fn a_project_that_builds_has_no_blockers_and_is_not_touched() {
    let sandbox = Sandbox::new(&[
        ("seeds/s.csv", "id,day\n1,2024-01-01\n"),
        (
            "models/a.sql",
            "select id + 1 as id, date_trunc('month', day) as month from {{ ref('s') }}",
        ),
        (
            "models/b.sql",
            "{{ config(materialized='incremental', unique_key='id', cluster_by=['id']) }} select * from {{ ref('a') }}",
        ),
        (
            "models/b.yml",
            "models:\n  - name: b\n    columns: [{name: id, data_tests: [unique, not_null]}]\n",
        ),
        ("tests/t.sql", "select * from {{ ref('b') }} where id < 0"),
    ]);
    let outcome = sandbox.run(&["doctor"]).ok();
    outcome
        .says("shop: 2 models, 3 tests")
        .says("`cluster_by` is left out")
        .says("models/b.sql")
        .says("nothing blocks a build");
    for made in ["lake", "target", "logs"] {
        assert!(!sandbox.path(made).exists(), "{made}");
    }
    sandbox.build().ok();
    // With a lake of its own, that is what is looked at.
    sandbox.run(&["doctor"]).ok().says("nothing blocks a build: `tidemill build`");
}

#[test]
fn what_it_calls_a_blocker_fails_and_nothing_else_does() {
    let sandbox = Sandbox::new(&[
        (
            "dbt_project.yml",
            "name: shop\nversion: '1.0'\nprofile: shop\nquery-comment: none\ndbt-cloud: {project-id: 1}\non-run-start: \"alter warehouse big set size = small\"\n",
        ),
        (
            "profiles.yml",
            "shop:\n  target: prod\n  outputs:\n    prod: {type: snowflake, schema: main}\n",
        ),
        (
            "models/src.yml",
            "sources:\n  - name: raw\n    tables: [{name: events}, {name: users}]\n",
        ),
        ("models/fine.sql", "{{ config(sql_header='set x = 1') }} select 1 as id, 'a' as name"),
        ("models/column.sql", "select nam from {{ ref('fine') }}"),
        ("models/function.sql", "select parse_saml(name) as x from {{ ref('fine') }}"),
        (
            "models/far.sql",
            "select user_id, count(*) as n from {{ source('raw', 'events') }} group by 1",
        ),
        ("models/further.sql", "select *, no_such_function(n) as m from {{ ref('far') }}"),
        (
            "models/asks.sql",
            "{% set found = run_query('select max(id) from ' ~ source('raw', 'users')) %} select {% if execute %}{{ found.columns[0][0] }}{% endif %} as id",
        ),
        ("models/syntax.sql", "select from where"),
        (
            "models/strategy.sql",
            "{{ config(materialized='incremental', incremental_strategy='insert_overwrite') }} select 1 as id",
        ),
        ("models/template.sql", "{% if execute %}\n{{ 1 / 0 }}{% endif %} select 1 as id"),
        (
            "models/clauses.sql",
            "{{ config(materialized='incremental', merge_returning_columns=['id']) }} select 1 as id",
        ),
    ]);
    let report = findings(&sandbox);
    let found = lines(&report);
    let has = |text: &str| {
        assert!(found.iter().any(|line| line.contains(text)), "`{text}` is not in {found:#?}");
    };
    has("difference foreign-target: the target `prod` of profile `shop` is of type `snowflake`");
    has("note dialect: the profile is of type snowflake");
    has("note project-key: `dbt-cloud`");
    has("note project-key: `query-comment`");
    has("difference other-adapters: `sql_header` does nothing here @ models/fine.sql");
    has("blocker function: the function `parse_saml` is not there @ models/function.sql");
    has("blocker function: the function `no_such_function` is not there @ models/further.sql");
    has("models/column.sql");
    has("models/syntax.sql");
    has("models/template.sql:2");
    has("needs `partition_by` @ models/strategy.sql");
    has("not supported: merge_returning_columns @ models/clauses.sql");
    has("blocker hook: a hook:");
    assert_eq!(report["project"]["sources_missing"], 2);
    assert_eq!(report["project"]["not_judged"], 1);
    for innocent in ["models/far.sql", "models/asks.sql"] {
        assert!(!found.iter().any(|line| line.contains(innocent)), "{innocent}: {found:#?}");
    }
    sandbox.run(&["doctor"]).fails_with(1).says("blockers: a build fails on these");

    // What it says is what happens.
    sandbox.write("dbt_project.yml", "name: shop\nversion: '1.0'\n");
    sandbox.remove("models/clauses.sql");
    for (select, code) in [
        ("fine", 0),
        ("column", 1),
        ("function", 1),
        ("syntax", 1),
        // A strategy is needed from the second build on, as in dbt.
        ("strategy", 0),
        ("strategy", 1),
        ("template", 1),
    ] {
        let arguments = ["build", "--no-reuse", "--target-lake=lake", "--select", select];
        let outcome = sandbox.run(&arguments);
        assert_eq!(outcome.code, Some(code), "{select}: {}", outcome.all());
    }
}

#[test]
fn a_project_that_cannot_be_read_says_why_with_all_mistakes() {
    let sandbox = Sandbox::new(&[
        ("models/a.sql", "select * from {{ ref('b') }}"),
        ("models/c.sql", "{{ config(enabled='maybe') }} select 1 as id"),
    ]);
    let report = findings(&sandbox);
    let found = lines(&report);
    assert_eq!(report["project"]["parsed"], false);
    assert!(
        found
            .iter()
            .any(|line| line.contains("blocker unknown-ref") && line.contains("models/a.sql:1")),
        "{found:?}"
    );
    assert!(found.iter().any(|line| line.contains("`enabled` needs true or false")), "{found:?}");
    sandbox
        .run(&["doctor"])
        .fails_with(1)
        .says("the project cannot be read, so its models were not looked at");
}

#[test]
fn python_models_without_a_python_are_told() {
    let sandbox = Sandbox::new(&[("models/m.py", "def model(dbt, session):\n    return 1\n")]);
    sandbox
        .run_with(&[("TIDEMILL_PYTHON", "/nowhere/python")], &["doctor"])
        .fails_with(1)
        .says("`/nowhere/python`, which TIDEMILL_PYTHON names, cannot be started");
}

//! Unit tests: a model's query over made-up rows.

use crate::sandbox::Sandbox;

/// A model over a seed, a source and an ephemeral model.
fn project(unit_tests: &str) -> Sandbox {
    Sandbox::new(&[
        ("seeds/people.csv", "id,name,born\n1,Ann,2000-01-31\n2,Bob,\n"),
        (
            "models/short.sql",
            "{{ config(materialized='ephemeral') }} select id, name from {{ ref('people') }} where id < 100",
        ),
        (
            "models/mail.sql",
            "{{ config(materialized='table') }}
select s.id, lower(s.name) || '@' || d.domain as email, p.born + {{ var('days', 1) }} as day,
  '{{ env_var('WHERE', 'here') }}' as place, {{ twice('s.id') }} as double
from {{ ref('short') }} as s
join {{ ref('people') }} as p using (id)
cross join {{ source('raw', 'domains') }} as d",
        ),
        ("macros/twice.sql", "{% macro twice(x) %}2 * {{ x }}{% endmacro %}"),
        (
            "models/s.yml",
            "sources:\n  - name: raw\n    tables:\n      - name: domains\n        ingest: {location: 'data/*.csv'}\n        columns: [{name: domain, data_type: text}]\n",
        ),
        ("data/d.csv", "domain\nexample.com\n"),
        ("models/t.yml", unit_tests),
        ("tests/fixtures/two_people.csv", "id,name,born\n7,Zoe,2020-02-28\n8,,\n"),
        ("tests/fixtures/short_rows.sql", "select 7 as id, 'Zoe' as name"),
    ])
}

const ALL_FORMS: &str = "
unit_tests:
  - name: forms
    model: mail
    given:
      - input: ref('short')
        format: sql
        fixture: short_rows
      - input: ref('people')
        format: csv
        fixture: two_people
      - input: source('raw', 'domains')
        rows: [{domain: x.org}]
    expect:
      rows:
        - {ID: 7, email: zoe@x.org, day: 2020-02-29, place: here, double: 14}
  - name: overridden
    model: mail
    overrides:
      vars: {days: 2}
      env_vars: {WHERE: there}
      macros: {twice: '0'}
    given:
      - input: ref('short')
        rows:
          - {id: 1, name: A}
          - {id: 2, name: null}
      - input: ref('people')
        format: csv
        rows: |
          id,born
          1,2024-02-28
          2,2024-01-01
      - input: source('raw', 'domains')
        format: sql
        rows: select 'y' as domain
    expect:
      format: csv
      rows: |
        id,email,place,day,double
        2,,there,2024-01-03,0
        1,a@y,there,2024-03-01,0
";

#[test]
fn every_form_of_rows_and_override_works() {
    let sandbox = project(ALL_FORMS);
    sandbox.build().ok().says("2 passed");
    assert_eq!(sandbox.rows("select id from mail order by id"), ["1", "2"]);
    // What has passed is known.
    sandbox.build().ok().says("known from unchanged data");
    sandbox.run(&["test", "--select", "test_type:unit"]).ok().says("2 passed");
    sandbox.run(&["test", "--select", "overridden"]).ok().says("1 passed");
    sandbox.run(&["test", "--select", "unit_test:forms"]).ok().says("1 passed");
    let listed = sandbox.run(&["ls", "--resource-type", "unit_test"]).ok();
    assert_eq!(listed.stdout, "unit_test:shop.forms\nunit_test:shop.overridden\n");
    let manifest = std::fs::read_to_string(sandbox.path("target/manifest.json")).unwrap();
    assert!(manifest.contains(r#""unit_test.shop.mail.forms":{"model":"mail""#));
}

#[test]
fn a_test_that_fails_stops_its_model_and_shows_the_difference() {
    let sandbox = project(&ALL_FORMS.replace("double: 14}", "double: 15}"));
    sandbox.write("models/after.sql", "select * from {{ ref('mail') }}");
    let outcome = sandbox.build().fails_with(1);
    let outcome = outcome
        .says("mail::forms: actual differs from expected:")
        .says("@@,id,email    ,day       ,place,double")
        .says("→ ,7 ,zoe@x.org,2020-02-29,here ,15→14");
    assert!(outcome.all().contains("its unit test mail::forms did not pass"), "{}", outcome.all());
    assert!(outcome.all().contains("after"));
    assert_eq!(
        sandbox.rows(
            "select count(*) from information_schema.tables where table_name in ('mail', 'after')"
        ),
        ["0"]
    );
    // The other test of the model has run, and what does not depend on it is there.
    assert_eq!(sandbox.rows("select id from people order by id"), ["1", "2"]);
    let results = std::fs::read_to_string(sandbox.path("target/run_results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let status = |id: &str| {
        let results = results["results"].as_array().unwrap();
        let found = results.iter().find(|result| result["unique_id"] == id).unwrap();
        found["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status("unit_test.shop.mail.forms"), "fail");
    assert_eq!(status("unit_test.shop.mail.overridden"), "pass");
    assert_eq!(status("model.shop.mail"), "skipped");
    sandbox.write("models/t.yml", ALL_FORMS);
    sandbox.run(&["retry"]).ok();
    assert_eq!(sandbox.rows("select id from mail order by id"), ["1", "2"]);
}

#[test]
fn an_increment_is_tested_against_rows_of_its_own_table() {
    let model = "{{ config(materialized='incremental') }}
select id from {{ ref('s') }} {% if is_incremental() %}where id > (select max(id) from {{ this }}){% endif %}";
    let test = |incremental: bool, rows: &str| {
        format!(
            "
unit_tests:
  - name: later
    model: m
    overrides: {{macros: {{is_incremental: {incremental}}}}}
    given:
      - {{input: ref('s'), rows: [{{id: 1}}, {{id: 5}}, {{id: 9}}]}}
      - {{input: this, rows: [{{id: 5}}]}}
    expect: {{rows: {rows}}}
"
        )
    };
    let sandbox = Sandbox::new(&[
        ("seeds/s.csv", "id\n1\n2\n"),
        ("models/m.sql", model),
        ("models/t.yml", &test(true, "[{id: 9}]")),
    ]);
    // The table is not there yet: its columns are those that it would have.
    sandbox.run(&["seed"]).ok();
    sandbox.run(&["test"]).ok().says("1 passed");
    sandbox.build().ok();
    sandbox.write("models/t.yml", test(false, "[{id: 9}, {id: 5}, {id: 1}]"));
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select id from m order by id"), ["1", "2"]);
}

#[test]
fn what_is_wrong_with_a_test_is_told() {
    let base = |given: &str, expect: &str| {
        format!(
            "unit_tests:\n  - name: u\n    model: m\n    given: [{given}]\n    expect: {expect}\n"
        )
    };
    let sandbox = Sandbox::new(&[
        ("seeds/s.csv", "id,at\n1,2024-01-01\n"),
        ("models/m.sql", "select id, at from {{ ref('s') }}"),
    ]);
    sandbox.run(&["seed"]).ok();
    let told = |given: &str, expect: &str, code: i32, text: &str| {
        sandbox.write("models/t.yml", base(given, expect));
        sandbox.run(&["test"]).fails_with(code).says(text);
    };
    told("{input: ref('z')}", "{rows: []}", 2, "`z` does not exist");
    told("{input: nonsense(}", "{rows: []}", 2, "write `ref('x')`, `source('a', 'b')` or `this`");
    told(
        "{input: ref('s'), format: csv, fixture: none}",
        "{rows: []}",
        2,
        "there is no fixture `none`",
    );
    told("{input: ref('s'), rows: [{idd: 1}]}", "{rows: []}", 1, "did you mean `id`?");
    told("{input: ref('s'), rows: [{id: x}]}", "{rows: []}", 1, "x");
    told("", "{rows: []}", 1, "gives no rows for `ref('s')`");
    told(
        "{input: ref('s'), rows: []}",
        "{rows: [{no: 1}]}",
        1,
        "the column `no` of the expected rows",
    );
    // No rows at all are an expectation like others.
    sandbox.write("models/t.yml", base("{input: ref('s'), rows: []}", "{rows: []}"));
    sandbox.run(&["test"]).ok().says("1 passed");
    sandbox.write("models/t.yml", base("{input: ref('s'), rows: [{id: 1}]}", "{rows: []}"));
    sandbox.run(&["test"]).fails_with(1).says("+++,1 ,NULL");
}

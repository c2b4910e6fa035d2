//! Checks stand before publication.

use crate::sandbox::{ORDERS_SOURCE, Sandbox};

fn table(name: &str, sql: &str) -> (String, String) {
    (format!("models/{name}.sql"), format!("{{{{ config(materialized='table') }}}}\n{sql}"))
}

fn project(models: &[(&str, &str)], yaml: &str) -> Sandbox {
    let sandbox = Sandbox::new(&[("models/properties.yml", yaml)]);
    for (name, sql) in models {
        let (path, text) = table(name, sql);
        sandbox.write(&path, text);
    }
    sandbox
}

const NOT_NULL: &str = "models:\n  - name: a\n    columns: [{name: id, tests: [not_null]}]\n";

#[test]
fn data_that_fails_is_not_published_and_the_last_version_stays() {
    let shop =
        project(&[("a", "select 1 as id"), ("b", "select id from {{ ref('a') }}")], NOT_NULL);
    shop.build().ok();
    shop.write(
        "models/a.sql",
        "{{ config(materialized='table') }}\nselect cast(null as bigint) as id, 'x' as why",
    );
    shop.build()
        .fails_with(1)
        .says("not_null_a_id")
        .says("why=x")
        .says("skip")
        .does_not_say("nothing to do");
    assert_eq!(shop.rows("select id from a"), ["1"]);
    // Failing again is no surprise, and fixing it publishes.
    shop.build().fails_with(1);
    shop.write("models/a.sql", "{{ config(materialized='table') }}\nselect 3 as id");
    shop.build().ok();
    assert_eq!(shop.rows("select id from b"), ["3"]);
}

#[test]
fn a_warning_publishes() {
    let shop = project(
        &[("a", "select cast(null as bigint) as id")],
        "models:\n  - name: a\n    columns: [{name: id, tests: [{not_null: {severity: warn}}]}]\n",
    );
    shop.build().ok().says("warn").says("1 warned");
    assert_eq!(shop.value("select count(*) from a"), "1");
    // Known from unchanged data, and told again.
    shop.build().ok().says("1 warned");
}

#[test]
fn thresholds_and_filters_are_dbts() {
    let yaml = |config: &str| {
        format!(
            "models:\n  - name: a\n    columns: [{{name: id, tests: [{{not_null: {{config: {config}}}}}]}}]\n"
        )
    };
    let sql = "select * from (values (1, 'x'), (null, 'x'), (null, 'y')) as t (id, kind)";
    let shop = project(&[("a", sql)], &yaml("{error_if: '> 2', warn_if: '> 1'}"));
    shop.build().ok().says("1 warned");
    shop.write("models/properties.yml", yaml("{where: \"kind = 'y'\", error_if: '> 1'}"));
    shop.build().ok().says("1 warned");
    shop.write("models/properties.yml", yaml("{where: \"kind = 'x'\"}"));
    shop.build().fails_with(1).says("Got 1 result");
}

const RELATED: &str = "models:
  - name: child
    columns: [{name: parent_id, tests: [{relationships: {to: \"ref('parent')\", field: id}}]}]
";

/// As in dbt: a test of two tables of which neither reads the other runs when both are there, and
/// holds back what reads both.
#[test]
fn a_check_over_two_tables_stands_before_what_reads_both() {
    let shop = project(
        &[
            ("child", "select 7 as parent_id"),
            ("parent", "select 7 as id"),
            ("of_child", "select parent_id from {{ ref('child') }}"),
            (
                "of_both",
                "select c.parent_id from {{ ref('child') }} c left join {{ ref('parent') }} p \
                 on p.id = c.parent_id",
            ),
        ],
        RELATED,
    );
    shop.build().ok();
    shop.build().ok().says("nothing to do");
    shop.write("models/child.sql", "{{ config(materialized='table') }}\nselect 8 as parent_id");
    shop.build().fails_with(1).says("relationships_child_parent_id__id__ref_parent_").says("skip");
    assert_eq!(shop.rows("select parent_id from child"), ["8"]);
    assert_eq!(shop.rows("select parent_id from of_child"), ["8"]);
    assert_eq!(shop.rows("select parent_id from of_both"), ["7"]);
    assert_eq!(status(&shop, "model.shop.of_both"), "skipped");
    // It fails again on unchanged data, and what both are is fixed together.
    shop.build().fails_with(1);
    assert_eq!(shop.rows("select parent_id from of_both"), ["7"]);
    shop.write("models/parent.sql", "{{ config(materialized='table') }}\nselect 8 as id");
    shop.build().ok();
    assert_eq!(shop.rows("select parent_id from of_both"), ["8"]);
}

#[test]
fn a_check_without_one_of_its_tables_is_skipped() {
    let shop =
        project(&[("child", "select 7 as parent_id"), ("parent", "select 1/0 as id")], RELATED);
    shop.build().fails_with(1);
    let test = "test.shop.relationships_child_parent_id__id__ref_parent_.";
    assert_eq!(status(&shop, test), "skipped");
    assert_eq!(status(&shop, "model.shop.child"), "success");
}

/// As in dbt: the rows of a source are there, whatever its own checks say.
#[test]
fn a_check_over_sources_runs_though_their_own_checks_fail() {
    let shop = project(
        &[],
        "sources:
  - name: raw
    schema: main
    tables:
      - name: child
        columns: [{name: parent_id, tests: [unique, {relationships: {to: \"source('raw', 'parent')\", field: id}}]}]
      - name: parent
        columns: [{name: id, tests: [unique]}]
",
    );
    shop.run(&[
        "sql",
        "create table main.child as select * from (values (8), (8), (9)) t (parent_id)",
    ])
    .ok();
    shop.run(&["sql", "create table main.parent as select * from (values (9), (9)) t (id)"]).ok();
    shop.build().fails_with(1);
    assert_eq!(status(&shop, "test.shop.source_unique_raw_child"), "fail");
    assert_eq!(status(&shop, "test.shop.source_unique_raw_parent"), "fail");
    assert_eq!(status(&shop, "test.shop.source_relationships_raw_child"), "fail");
}

#[test]
fn a_check_can_be_told_what_it_holds_back() {
    let related = |holds: &str| {
        format!(
            "models:
  - name: child
    columns: [{{name: parent_id, tests: [{{relationships: {{to: \"ref('parent')\", field: id,
      config: {{meta: {{holds_back: {holds}}}}}}}}}]}}]
"
        )
    };
    let models = [("child", "select 7 as parent_id"), ("parent", "select 7 as id")];
    let shop = project(&models, &related("true"));
    shop.build().ok();
    // Both change together: checked against the new parent, not the published one.
    shop.write("models/child.sql", "{{ config(materialized='table') }}\nselect 8 as parent_id");
    shop.build().fails_with(1);
    assert_eq!(shop.rows("select parent_id from child"), ["7"]);
    shop.write("models/parent.sql", "{{ config(materialized='table') }}\nselect 8 as id");
    shop.build().ok();
    assert_eq!(shop.rows("select parent_id from child"), ["8"]);
    // A test of one table that is only to be told of, and stands before what reads the table.
    shop.write(
        "models/properties.yml",
        NOT_NULL.replace("[not_null]", "[{not_null: {config: {meta: {holds_back: false}}}}]"),
    );
    shop.write(
        "models/a.sql",
        "{{ config(materialized='table') }}\nselect cast(null as int) as id",
    );
    shop.write("models/b.sql", "select id from {{ ref('a') }}");
    shop.build().fails_with(1);
    assert_eq!(shop.value("select count(*) from a"), "1");
    assert_eq!(status(&shop, "model.shop.b"), "skipped");
}

#[test]
fn tables_that_check_each_other_can_be_published_together_or_not_at_all() {
    let yaml = "models:
  - name: a
    columns: [{name: id, tests: [{relationships: {to: \"ref('b')\", field: id, config: {meta: {holds_back: true}}}}]}]
  - name: b
    columns: [{name: id, tests: [{relationships: {to: \"ref('a')\", field: id, config: {meta: {holds_back: true}}}}]}]
";
    let shop = project(&[("a", "select 1 as id"), ("b", "select 1 as id")], yaml);
    shop.build().ok();
    shop.write("models/a.sql", "{{ config(materialized='table') }}\nselect 2 as id");
    shop.build().fails_with(1);
    assert_eq!(shop.rows("select id from a"), ["1"]);
    shop.write("models/b.sql", "{{ config(materialized='table') }}\nselect 2 as id");
    shop.build().ok();
    assert_eq!(shop.rows("select a.id from a join b using (id)"), ["2"]);
}

#[test]
fn what_reads_a_model_that_failed_goes_on_where_the_project_says_so() {
    let shop = project(
        &[("a", "select 1 as id"), ("b", "select id, 1 as more from {{ ref('a') }}")],
        "models: []\n",
    );
    shop.build().ok();
    shop.write(
        "models/a.sql",
        "{{ config(materialized='table', on_error='continue') }}\nselect 1/0 as id",
    );
    shop.write(
        "models/b.sql",
        "{{ config(materialized='table') }}\nselect id, 2 as more from {{ ref('a') }}",
    );
    shop.build().fails_with(1);
    assert_eq!(shop.rows("select id, more from b"), ["1,2"]);
}

/// The status of the node whose id begins so.
fn status(shop: &Sandbox, id: &str) -> String {
    let text = std::fs::read_to_string(shop.path("target/run_results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&text).unwrap();
    let found = results["results"]
        .as_array()
        .unwrap()
        .iter()
        .find(|result| result["unique_id"].as_str().is_some_and(|found| found.starts_with(id)));
    found.unwrap()["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_view_is_checked_before_its_definition_is_replaced() {
    let shop = project(
        &[("below", "select 1 as id")],
        "models:\n  - name: v\n    columns: [{name: id, tests: [not_null]}]\n",
    );
    shop.write("models/v.sql", "select id from {{ ref('below') }}");
    shop.build().ok();
    shop.write("models/v.sql", "select nullif(id, 1) as id from {{ ref('below') }}");
    shop.build().fails_with(1);
    assert_eq!(shop.rows("select id from v"), ["1"]);
}

#[test]
fn a_check_of_an_ephemeral_model_gates_what_inlines_it() {
    let shop = project(
        &[("out", "select id from {{ ref('eph') }}")],
        "models:\n  - name: eph\n    columns: [{name: id, tests: [not_null]}]\n",
    );
    shop.write(
        "models/eph.sql",
        "{{ config(materialized='ephemeral') }}\nselect cast(null as bigint) as id",
    );
    shop.build().fails_with(1);
    shop.run(&["sql", "select * from out"]).fails_with(1);
    shop.write("models/eph.sql", "{{ config(materialized='ephemeral') }}\nselect 1 as id");
    shop.build().ok();
    assert_eq!(shop.rows("select id from out"), ["1"]);
}

#[test]
fn a_load_whose_rows_fail_is_not_published_and_is_loaded_again() {
    let yaml =
        format!("{}        columns: [{{name: id, tests: [unique]}}]\n", ORDERS_SOURCE.trim_start());
    let shop = Sandbox::new(&[("data/orders1.csv", "id\n1\n"), ("models/s.yml", &yaml)]);
    shop.build().ok();
    shop.write("data/orders2.csv", "id\n1\n2\n");
    shop.build().fails_with(1).says("unique_");
    assert_eq!(shop.value("select count(*) from raw.orders"), "1");
    // The file was not published, so it may change.
    shop.write("data/orders2.csv", "id\n2\n3\n");
    shop.build().ok();
    assert_eq!(shop.value("select count(*) from raw.orders"), "3");
}

#[test]
fn a_singular_test_gates_the_last_of_what_it_reads() {
    let shop =
        project(&[("a", "select 1 as id"), ("b", "select id from {{ ref('a') }}")], "models: []\n");
    shop.write("tests/sums_agree.sql", "select 1 as wrong from (select sum(id) as s from {{ ref('a') }}) x, (select sum(id) as s from {{ ref('b') }}) y where x.s <> y.s");
    shop.build().ok();
    shop.write(
        "models/b.sql",
        "{{ config(materialized='table') }}\nselect id + 1 as id from {{ ref('a') }}",
    );
    shop.build().fails_with(1).says("sums_agree");
    assert_eq!(shop.rows("select id from b"), ["1"]);
}

#[test]
fn failing_rows_can_be_kept() {
    let shop = project(&[("a", "select cast(null as bigint) as id, 'bad' as what")], NOT_NULL);
    shop.run(&["build", "--store-failures"]).fails_with(1);
    let list = shop.run(&["lake", "list"]).ok().stdout;
    assert!(list.contains("_dbt_test__audit.not_null_a_id"), "{list}");
    assert!(!list.contains("main.a "), "{list}");
}

#[test]
fn test_alone_reads_what_is_published_and_gates_nothing() {
    let shop = project(&[("a", "select cast(null as bigint) as id")], NOT_NULL);
    shop.run(&["run"]).ok();
    shop.run(&["test"]).fails_with(1).says("not_null_a_id");
    assert_eq!(shop.value("select count(*) from a"), "1");
}

#[test]
fn native_tests_count_as_dbt_does() {
    let yaml = "models:
  - name: a
    tests:
      - dbt_utils.unique_combination_of_columns: {arguments: {combination_of_columns: [x, y]}, name: combo}
      - dbt_utils.expression_is_true: {arguments: {expression: 'x < 3'}, name: expression}
    columns:
      - name: x
        tests:
          - unique: {name: uniq}
          - accepted_values: {arguments: {values: [1, 2]}, name: accepted}
          - dbt_utils.accepted_range: {arguments: {min_value: 2}, name: range}
      - name: y
        tests:
          - dbt_expectations.expect_column_values_to_match_regex: {arguments: {regex: '^[ab]$'}, name: regex}
";
    // 1,1 twice; 3 and 4 are not accepted and not below 3.
    let sql = "select * from (values (1, 'a'), (1, 'a'), (2, 'b'), (3, 'c'), (4, 'dd'), (null, null)) as t (x, y)";
    let shop = project(&[("a", sql)], yaml);
    let said = shop.build().fails_with(1).all();
    for (name, count) in
        [("combo", 1), ("expression", 2), ("uniq", 1), ("accepted", 2), ("range", 2), ("regex", 2)]
    {
        let results = if count == 1 { "result" } else { "results" };
        let line = format!("{name}: Got {count} {results}");
        assert!(said.contains(&line), "`{line}` is not in\n{said}");
    }
}

#[test]
fn a_check_of_what_has_failed_is_skipped_and_holds_nothing_back() {
    let to_b = "[{relationships: {arguments: {to: ref('b'), field: id}}}]";
    let shop = project(
        &[
            ("a", "select 1 as id"),
            ("b", "select id from nowhere"),
            ("c", "select id from {{ ref('a') }}"),
        ],
        &format!("models:\n  - name: a\n    columns: [{{name: id, tests: {to_b}}}]\n"),
    );
    shop.build().fails_with(1).says("1 failed");
    assert_eq!(shop.rows("select id from c"), ["1"]);
    let results: serde_json::Value =
        serde_json::from_slice(&std::fs::read(shop.path("target/run_results.json")).unwrap())
            .unwrap();
    let check = results["results"]
        .as_array()
        .unwrap()
        .iter()
        .find(|result| result["unique_id"].as_str().unwrap().starts_with("test."))
        .unwrap();
    assert_eq!(check["status"], "skipped");
    // With a last version there is something to look at.
    shop.write("models/b.sql", "select 2 as id");
    shop.build().fails_with(1).says("relationships_a_id__id__ref_b_");
}

#[test]
fn relationships_with_an_ephemeral_model_are_checked() {
    let sandbox = Sandbox::new(&[
        ("models/part.sql", "{{ config(materialized='ephemeral') }} select 1 as id"),
        (
            "models/known.sql",
            "{{ config(materialized='ephemeral') }} select id from {{ ref('part') }}",
        ),
        (
            "models/orders.sql",
            "{{ config(materialized='table') }} select * from (values (1, 1), (2, 7)) v(id, part)",
        ),
        (
            "models/m.yml",
            "models:\n  - name: orders\n    columns:\n      - name: part\n        data_tests:\n          - relationships: {arguments: {to: ref('known'), field: id}}\n",
        ),
    ]);
    sandbox.build().fails_with(1).says("Got 1 result").does_not_say("does not exist");
    sandbox.write(
        "models/part.sql",
        "{{ config(materialized='ephemeral') }} select unnest(array[1, 7]) as id",
    );
    sandbox.build().ok();
}

//! What the artifacts say of a run, in dbt's words.

use serde_json::Value;

use crate::sandbox::Sandbox;

fn artifact(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(sandbox.path(name)).unwrap()).unwrap()
}

fn result(sandbox: &Sandbox, id: &str) -> Value {
    let all = artifact(sandbox, "target/run_results.json");
    let found = all["results"].as_array().unwrap().iter().find(|found| found["unique_id"] == id);
    found.unwrap_or_else(|| panic!("{id} is not in {all}")).clone()
}

const INCREMENT: &str = "{{ config(materialized='incremental', incremental_strategy='merge', unique_key='id') }}\n\
     select id from {{ ref('t') }} {% if is_incremental() %}where id > 1{% endif %}";

fn shop() -> Sandbox {
    Sandbox::new(&[
        ("seeds/s.csv", "id\n1\n2\n3\n"),
        (
            "macros/a.sql",
            "{% macro inner() %}id{% endmacro %}\n{% macro outer() %}{{ inner() }}{% endmacro %}\n{% macro called() %}{{ adapter.dispatch('called')() }}{% endmacro %}\n{% macro default__called() %}coalesce({{ inner() }}, 0) as id {# outer() #}{% endmacro %}",
        ),
        ("models/v.sql", "select {{ outer() }} from {{ ref('s') }}"),
        (
            "models/t.sql",
            "{{ config(materialized='table') }}\nselect {{ called() }} from {{ ref('v') }}",
        ),
        ("models/i.sql", INCREMENT),
        (
            "models/p.yml",
            "models:\n  - name: t\n    columns: [{name: id, data_tests: [not_null]}]\n\
             exposures:\n  - {name: board, type: dashboard, owner: {name: Ann}, depends_on: [ref('t')]}\n",
        ),
    ])
}

#[test]
fn results_have_dbts_messages() {
    let shop = shop();
    shop.build().ok();
    let message = |id: &str| result(&shop, id)["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(message("seed.shop.s"), "INSERT 3");
    assert_eq!(message("model.shop.v"), "CREATE VIEW");
    assert_eq!(message("model.shop.t"), "SELECT 3");
    assert_eq!(message("model.shop.i"), "SELECT 3");
    assert_eq!(result(&shop, "model.shop.t")["adapter_response"]["code"], "SELECT");
    assert_eq!(result(&shop, "exposure.shop.board")["status"], "no-op");
    shop.run(&["build", "--no-reuse", "--select", "i"]).ok();
    assert_eq!(message("model.shop.i"), "MERGE 2");
    // An exposure of something that failed has nothing to stand on.
    shop.write(
        "models/t.sql",
        "{{ config(materialized='table') }}\nselect nothing from {{ ref('v') }}",
    );
    shop.build().fails_with(1);
    assert_eq!(result(&shop, "exposure.shop.board")["status"], "skipped");
    assert_eq!(result(&shop, "model.shop.i")["status"], "skipped");
    let tests = artifact(&shop, "target/run_results.json");
    let tests = tests["results"].as_array().unwrap();
    let is_test = |found: &&Value| found["unique_id"].as_str().unwrap().starts_with("test.");
    assert_eq!(tests.iter().find(is_test).unwrap()["status"], "skipped");
}

#[test]
fn the_executed_sql_is_written() {
    let shop = shop();
    shop.build().ok();
    let text = |name: &str| std::fs::read_to_string(shop.path("target/run/shop/models").join(name));
    assert!(text("v.sql").unwrap().starts_with("create view \""));
    assert!(text("t.sql").unwrap().starts_with("create table \""));
    assert!(text("p.yml/not_null_t_id.sql").unwrap().contains("is null"));
    let manifest = artifact(&shop, "target/manifest.json");
    let path = manifest["nodes"]["model.shop.t"]["build_path"].as_str().unwrap();
    assert!(shop.path(path).is_file(), "{path}");
    shop.run(&["parse"]).ok();
    let manifest = artifact(&shop, "target/manifest.json");
    assert_eq!(manifest["nodes"]["model.shop.t"]["build_path"], Value::Null);
}

#[test]
fn macros_are_named_by_those_who_call_them() {
    let shop = shop();
    shop.write(
        "dbt_project.yml",
        "name: shop\nversion: '1.0'\non-run-end: \"select {{ outer() }} from {{ ref('t') }}\"\n",
    );
    shop.run(&["parse"]).ok();
    let manifest = artifact(&shop, "target/manifest.json");
    let macros = |kind: &str, id: &str| -> Vec<String> {
        let found = manifest[kind][id]["depends_on"]["macros"].as_array().unwrap();
        found.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(macros("nodes", "model.shop.v"), ["macro.shop.outer"]);
    assert_eq!(macros("nodes", "model.shop.t"), ["macro.shop.called"]);
    assert_eq!(macros("nodes", "model.shop.i"), ["macro.dbt.is_incremental"]);
    assert_eq!(macros("macros", "macro.shop.outer"), ["macro.shop.inner"]);
    assert_eq!(macros("macros", "macro.shop.called"), ["macro.shop.default__called"]);
    // What stands in a comment, or in the SQL around, is no call.
    assert_eq!(macros("macros", "macro.shop.default__called"), ["macro.shop.inner"]);
    let hook = "operation.shop.shop-on-run-end-0";
    assert_eq!(macros("nodes", hook), ["macro.shop.outer"]);
    assert_eq!(manifest["parent_map"][hook][0], "model.shop.t");
    let children = manifest["child_map"]["model.shop.t"].as_array().unwrap();
    let mut sorted = children.clone();
    sorted.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    assert!(children.contains(&hook.into()) && *children == sorted, "{children:?}");
    // A change of a macro that is called through another one changes the node.
    std::fs::rename(shop.path("target"), shop.path("before")).unwrap();
    shop.write("macros/a.sql", "{% macro inner() %}2 * id as id{% endmacro %}\n{% macro outer() %}{{ inner() }}{% endmacro %}\n{% macro called() %}{{ adapter.dispatch('called')() }}{% endmacro %}\n{% macro default__called() %}0 as id{% endmacro %}");
    let changed =
        shop.run(&["ls", "--select", "state:modified.macros", "--state", "before", "-q"]).ok();
    assert_eq!(changed.stdout, "shop.t\nshop.v\nshop.not_null_t_id\n");
}

#[test]
fn a_unit_test_is_compared_by_what_it_says() {
    let shop = shop();
    shop.write(
        "models/u.yml",
        "unit_tests:\n  - name: same\n    model: v\n    given: [{input: ref('s'), rows: [{id: 1}]}]\n    \
         expect: {rows: [{id: 1}]}\n",
    );
    shop.run(&["parse"]).ok();
    std::fs::rename(shop.path("target"), shop.path("before")).unwrap();
    // dbt's checksum of the same test is another one.
    let mut manifest = artifact(&shop, "before/manifest.json");
    manifest["unit_tests"]["unit_test.shop.v.same"]["checksum"] = "dbts".into();
    shop.write("before/manifest.json", manifest.to_string());
    let modified = || {
        let all = ["ls", "--select", "state:modified", "--state", "before", "-q"];
        shop.run(&all).ok().stdout
    };
    assert_eq!(modified(), "");
    let text = std::fs::read_to_string(shop.path("models/u.yml")).unwrap();
    shop.write(
        "models/u.yml",
        text.replace("expect: {rows: [{id: 1}]}", "expect: {rows: [{id: 2}]}"),
    );
    assert!(modified().contains("same"), "{}", modified());
}

#[test]
fn descriptions_name_the_blocks_that_they_are_made_of() {
    let shop = shop();
    shop.write("models/d.md", "{% docs what %}It is so.{% enddocs %}");
    shop.write(
        "models/d.yml",
        "models:\n  - name: v\n    description: \"{{ doc('what') }} Really.\"\n    \
         columns: [{name: id, description: \"{{ doc('what') }}\"}, {name: plain, description: x}]\n",
    );
    shop.run(&["parse"]).ok();
    let manifest = artifact(&shop, "target/manifest.json");
    let node = &manifest["nodes"]["model.shop.v"];
    assert_eq!(node["description"], "It is so. Really.");
    assert_eq!(node["doc_blocks"], serde_json::json!(["doc.shop.what"]));
    assert_eq!(node["columns"]["id"]["doc_blocks"], serde_json::json!(["doc.shop.what"]));
    assert_eq!(node["columns"]["plain"]["doc_blocks"], serde_json::json!([]));
}

#[test]
fn results_say_when_nodes_were_compiled_and_executed() {
    let shop = shop();
    shop.build().ok();
    for id in ["model.shop.t", "seed.shop.s"] {
        let timing = result(&shop, id)["timing"].clone();
        let names: Vec<&str> =
            timing.as_array().unwrap().iter().filter_map(|part| part["name"].as_str()).collect();
        assert_eq!(names, ["compile", "execute"]);
        let time = |part: usize, key: &str| {
            chrono::DateTime::parse_from_rfc3339(timing[part][key].as_str().unwrap()).unwrap()
        };
        assert!(time(1, "started_at") <= time(1, "completed_at"), "{timing}");
        assert!(time(0, "completed_at") <= time(1, "completed_at"), "{timing}");
        // A template takes time, a file of rows has none.
        let took = time(0, "started_at") < time(0, "completed_at");
        assert_eq!(took, id == "model.shop.t", "{timing}");
    }
    shop.write("models/v.sql", "select nothing from {{ ref('s') }}");
    shop.build().fails_with(1);
    assert_eq!(result(&shop, "model.shop.t")["timing"], serde_json::json!([]));
}

/// The checksum that dbt 1.12.6 writes for this `dbt_project.yml`.
#[test]
fn an_operation_has_the_checksum_of_its_file() {
    let project = "name: shop\nversion: '1.0'\non-run-start: \"select 1\"\n";
    let shop = Sandbox::new(&[("models/a.sql", "select 1 as id")]);
    shop.write("dbt_project.yml", project);
    shop.run(&["parse"]).ok();
    let manifest = artifact(&shop, "target/manifest.json");
    assert_eq!(
        manifest["nodes"]["operation.shop.shop-on-run-start-0"]["checksum"],
        serde_json::json!({"name": "sha256", "checksum": "51aae66977519378c55060e07fba531622d4e6b6475fb6cb3a274c6a056dc9e5"})
    );
}

/// As dbt has them: what ends a file has no line break, and tests among macros keep their arguments.
#[test]
fn ends_of_texts_and_arguments_of_tests_are_dbts() {
    let shop = Sandbox::new(&[
        ("models/a.sql", "select 1 as id"),
        (
            "models/p.yml",
            "models:\n  - name: a\n    config:\n      meta:\n        first: |\n          x\n        last: |\n          y\n\n",
        ),
        (
            "macros/t.sql",
            "{% test in_macros(model, column_name, least=0) %}select 1 where false{% endtest %}",
        ),
        (
            "tests/generic/t.sql",
            "{% test in_tests(model, column_name) %}select 1 where false{% endtest %}",
        ),
    ]);
    shop.run(&["parse"]).ok();
    let manifest = artifact(&shop, "target/manifest.json");
    let meta = &manifest["nodes"]["model.shop.a"]["config"]["meta"];
    assert_eq!(meta, &serde_json::json!({"first": "x", "last": "y"}));
    let arguments = |name: &str| manifest["macros"][name]["arguments"].as_array().unwrap().len();
    assert_eq!(arguments("macro.shop.test_in_macros"), 3);
    assert_eq!(arguments("macro.shop.test_in_tests"), 0);
}

/// As dbt does: what a node calls only while it runs stands in `graph` from then on, and in the manifest
/// that is written in the end.
#[test]
fn macros_that_are_called_only_in_a_run_are_added() {
    let shop = Sandbox::new(&[
        (
            "macros/m.sql",
            "{% macro late() %}{{ inner() }}{% endmacro %}\n{% macro inner() %}1{% endmacro %}",
        ),
        (
            "models/a.sql",
            "select {% if execute %}{{ late() }}{% do run_query('select 1') %}{% endif %} as x",
        ),
        (
            "models/b.sql",
            "-- depends_on: {{ ref('a') }}\n{% if execute %}select \
             '{{ graph.nodes['model.shop.a'].depends_on.macros | join(' ') }}' as macros{% endif %}",
        ),
        (
            "models/p.yml",
            "models:\n  - name: a\n    columns: [{name: x, data_tests: [not_null]}]\n",
        ),
        ("tests/one.sql", "select * from {{ ref('a') }} where x <> 1"),
    ]);
    let macros = |prefix: &str| -> Vec<String> {
        let manifest = artifact(&shop, "target/manifest.json");
        let nodes = manifest["nodes"].as_object().unwrap().iter();
        let (_, node) = nodes.into_iter().find(|(id, _)| id.starts_with(prefix)).unwrap();
        let macros = node["depends_on"]["macros"].as_array().unwrap().iter();
        macros.map(|id| id.as_str().unwrap().replace("macro.", "")).collect()
    };
    shop.run(&["parse"]).ok();
    assert_eq!(macros("model.shop.a"), [""; 0]);
    assert_eq!(macros("test.shop.not_null"), ["dbt.test_not_null"]);
    shop.build().ok();
    assert_eq!(macros("model.shop.a"), ["shop.late", "dbt.run_query"]);
    let running = ["dbt.get_limit_subquery_sql", "dbt.should_store_failures", "dbt.statement"];
    assert_eq!(macros("test.shop.one"), running);
    assert_eq!(
        macros("test.shop.not_null"),
        [&["dbt.test_not_null", "dbt.get_where_subquery"][..], &running].concat()
    );
    assert_eq!(shop.value("select macros from b"), "macro.shop.late macro.dbt.run_query");
    // What is only compiled runs no test.
    shop.run(&["compile"]).ok();
    assert_eq!(macros("test.shop.one"), [""; 0]);
}

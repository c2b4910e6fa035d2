//! `manifest.json` of a small project: every value that is expected here is what dbt-core 1.12.6 writes.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const MACROS: &str = "{% macro outer(x) %}{{ x }}{% endmacro %}

{%- macro inner() -%}id{%- endmacro -%}

{% macro get_columns_in_relation(r) %}{% endmacro %}

{% macro third() %}{% do adapter.get_columns_in_relation(none) %}{% endmacro %}

{% test odd(model, column_name, of) %}{{ config(fail_calc='count(*) + 0') }}select 1 as x from {{ model }} where false{% endtest %}";

const PROPERTIES: &str = r#"
seeds:
  - name: s
    config: {column_types: {id: "{{ 'bigint' if target.name == 'x' else 'integer' }}"}}
models:
  - name: n
    columns: [{name: id, data_tests: [{odd: {arguments: {of: "{{ inner() }}"}}}]}]
    data_tests: [{odd: {arguments: {column_name: id, of: "ref('n')"}}}]
exposures:
  - {name: board, type: dashboard, owner: {name: Ann}}
sources:
  - name: raw
    tables: [{name: t, config: {freshness: {warn_after: {count: 1, period: day}}}}]
unit_tests:
  - name: u
    model: n
    given: [{input: ref('s'), rows: [{id: null}, {id: 1}]}]
    expect: {rows: [{id: 1}]}
snapshots:
  - {name: h, relation: "ref('n')", config: {unique_key: id, strategy: check, check_cols: all}}
"#;

fn manifest() -> Value {
    let shop = Sandbox::new(&[
        ("seeds/s.csv", "id\n1\n"),
        ("macros/a.sql", MACROS),
        ("models/d.md", "{% docs d %}Text.{% enddocs %}"),
        ("models/p.yml", PROPERTIES),
        (
            "models/m.sql",
            "{{ config(tags=['a', 'b']) }}\nselect {{ outer(inner()) }} from {{ ref('s') }} a join {{ ref('s') }} b on true",
        ),
        (
            "models/n.sql",
            "{{ config(tags=['x'], docs={'node_color': 'gold'}) }}\nselect a.id from {{ ref('s') }} a join {{ ref('s') }} b on true",
        ),
    ]);
    shop.run(&["parse"]).ok();
    let text = std::fs::read_to_string(shop.path("target/manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn nodes_are_told_as_dbt_tells_them() {
    let manifest = manifest();
    let node = |id: &str| manifest["nodes"][id].clone();
    let reference = |name: &str| json!({"name": name, "package": null, "version": null});
    let (rendered, read_off) = (node("model.shop.m"), node("model.shop.n"));
    // A macro in the arguments of another is called first.
    assert_eq!(rendered["depends_on"]["macros"], json!(["macro.shop.inner", "macro.shop.outer"]));
    assert_eq!(rendered["depends_on"]["nodes"], json!(["seed.shop.s"]));
    assert_eq!(rendered["refs"], json!([reference("s"), reference("s")]));
    assert_eq!(rendered["unrendered_config"], json!({"tags": "['a', 'b']"}));
    assert_eq!(rendered["docs"], json!({"show": true, "node_color": null}));
    assert_eq!(rendered.get("compiled"), None);
    // What dbt reads off the text keeps its values.
    assert_eq!(
        read_off["unrendered_config"],
        json!({"tags": ["x"], "docs": {"node_color": "gold"}})
    );
    assert_eq!(read_off["docs"], json!({"show": true, "node_color": "gold"}));
    assert_eq!(read_off["refs"], json!([reference("s"), reference("s")]));
    assert_eq!(
        node("seed.shop.s")["unrendered_config"]["column_types"]["id"],
        "{{ 'bigint' if target.name == 'x' else 'integer' }}"
    );
    assert_eq!(node("snapshot.shop.h")["path"], "h.sql");
    let of_column = node("test.shop.odd_n_id___inner_.b93337b27c");
    let of_model = node("test.shop.odd_n_id__ref_n_.0d029e2fd1");
    for (test, refs) in [(&of_column, 1), (&of_model, 2)] {
        assert_eq!(
            test["depends_on"]["macros"],
            json!(["macro.shop.test_odd", "macro.dbt.get_where_subquery"])
        );
        assert_eq!(test["refs"], json!(vec![reference("n"); refs]));
        assert_eq!(test["unrendered_config"], json!({"fail_calc": "count(*) + 0"}));
    }
    assert_eq!(of_column["column_name"], "id");
    assert_eq!(of_model["column_name"], Value::Null);
}

#[test]
fn other_resources_are_told_as_dbt_tells_them() {
    let manifest = manifest();
    let text = |name: &str| manifest["macros"][format!("macro.shop.{name}")]["macro_sql"].clone();
    assert_eq!(text("outer"), "{% macro outer(x) %}{{ x }}{% endmacro %}");
    assert_eq!(text("inner"), "\n\n{%- macro inner() -%}id{%- endmacro -%}\n\n");
    // A method of the adapter is no macro of its name.
    assert_eq!(manifest["macros"]["macro.shop.third"]["depends_on"]["macros"], json!([]));
    assert_eq!(
        manifest["exposures"]["exposure.shop.board"]["owner"],
        json!({"email": null, "name": "Ann"})
    );
    assert_eq!(manifest["docs"]["doc.shop.d"]["path"], "d.md");
    assert_eq!(
        manifest["sources"]["source.shop.raw.t"]["unrendered_config"],
        json!({
            "freshness": {
                "warn_after": {"count": 1, "period": "day"},
                "error_after": {"count": null, "period": null},
                "filter": null,
            },
            "loaded_at_field": null, "loaded_at_query": null, "meta": {}, "tags": [],
        })
    );
    // A row without NULL comes first.
    assert_eq!(
        manifest["unit_tests"]["unit_test.shop.n.u"]["given"][0]["rows"],
        json!([{"id": 1}, {"id": null}])
    );
}

/// Names of relations as dbt-core 1.12.6 writes them with this `quoting:`.
#[test]
fn names_of_relations_are_quoted_as_the_project_says() {
    let shop = Sandbox::new(&[
        (
            "dbt_project.yml",
            "name: shop\nversion: '1.0'\nquoting: {database: false, identifier: false}\n",
        ),
        ("seeds/raw.csv", "id\n1\n"),
        ("models/a.sql", "select * from {{ ref('raw') }}, {{ source('s', 'other') }}"),
        (
            "models/m.yml",
            "sources: [{name: s, tables: [{name: other}]}]\nmodels:\n  - name: a\n    columns:\n      \
             - {name: id, data_tests: [unique, {not_null: {name: kept, config: {store_failures: true}}}]}\n",
        ),
    ]);
    shop.run(&["parse"]).ok();
    let text = std::fs::read_to_string(shop.path("target/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let name = |kind: &str, start: &str| {
        let all = manifest[kind].as_object().unwrap();
        all.iter().find(|(id, _)| id.starts_with(start)).unwrap().1["relation_name"].clone()
    };
    let database = manifest["nodes"]["model.shop.a"]["database"].as_str().unwrap();
    assert_eq!(name("nodes", "model.shop.a"), format!("{database}.\"main\".a"));
    assert_eq!(name("nodes", "seed.shop.raw"), format!("{database}.\"main\".raw"));
    assert_eq!(name("sources", "source.shop.s.other"), format!("{database}.\"s\".other"));
    assert_eq!(
        name("nodes", "test.shop.kept"),
        format!("{database}.\"main_dbt_test__audit\".kept")
    );
    assert_eq!(name("nodes", "test.shop.unique"), serde_json::Value::Null);
    assert_eq!(
        manifest["metadata"]["quoting"],
        json!({"database": false, "schema": true, "identifier": false, "column": null})
    );
}

/// Tests of what is disabled or not there stand among the nodes, not enabled, as dbt-core 1.12.6 has them.
#[test]
fn tests_of_what_is_disabled_stand_among_the_nodes() {
    let shop = Sandbox::new(&[
        ("models/a.sql", "select 1 as id"),
        ("models/gone.sql", "{{ config(enabled=false) }} select 1 as id"),
        (
            "models/m.yml",
            "models:
  - name: gone
    columns: [{name: id, data_tests: [unique, {relationships: {name: related, arguments: {to: \"ref('a')\", field: id}}}]}]
  - name: a
    columns: [{name: id, data_tests: [not_null]}]
",
        ),
    ]);
    shop.run(&["parse"]).ok();
    let text = std::fs::read_to_string(shop.path("target/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let nodes = manifest["nodes"].as_object().unwrap();
    let related = nodes.keys().find(|id| id.starts_with("test.shop.related")).unwrap();
    assert_eq!(nodes[related]["config"]["enabled"], json!(false));
    assert_eq!(nodes[related]["depends_on"]["nodes"], json!(["model.shop.a"]));
    assert_eq!(manifest["parent_map"][related], json!(["model.shop.a"]));
    assert_eq!(manifest["child_map"][related], json!([]));
    assert!(manifest["child_map"]["model.shop.a"].as_array().unwrap().contains(&json!(related)));
    assert!(nodes.keys().any(|id| id.starts_with("test.shop.unique_gone_id")));
    assert_eq!(manifest["disabled"].as_object().unwrap().len(), 1);
    // Nothing runs them.
    let listed = shop.run(&["ls", "--resource-type", "test"]).ok();
    listed.says("not_null_a_id").does_not_say("related").does_not_say("unique_gone_id");
    shop.build().ok();
}

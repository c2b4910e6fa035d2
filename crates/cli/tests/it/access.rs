//! Groups, access and versions of models.

use crate::sandbox::Sandbox;

const GROUPS: &str =
    "groups:\n  - {name: finance, owner: {name: F}}\n  - {name: sales, owner: {name: S}}\n";

#[test]
fn a_private_model_is_for_its_group_alone() {
    let yaml = |reader: &str| {
        format!(
            "{GROUPS}models:\n  - name: inner\n    config: {{group: finance, access: private}}\n    columns:\n      - name: id\n        data_tests: [not_null]\n  - name: outer\n    config: {{{reader}}}\n"
        )
    };
    let sandbox = Sandbox::new(&[
        ("models/inner.sql", "select 1 as id"),
        ("models/outer.sql", "select * from {{ ref('inner') }}"),
        ("models/m.yml", &yaml("group: sales")),
    ]);
    sandbox
        .build()
        .fails_with(2)
        .says("model `outer` refers to `inner`, which is private to the group `finance`")
        .says("models/outer.sql:1:");
    sandbox.write("models/m.yml", yaml("enabled: true"));
    sandbox.build().fails_with(2).says("private to the group `finance`");
    sandbox.write("models/m.yml", yaml("group: finance"));
    sandbox.build().ok();
    sandbox.write("models/m.yml", yaml("group: finanec"));
    sandbox.build().fails_with(2).says("did you mean `finance`?");
    sandbox.write("models/m.yml", yaml("access: secret"));
    sandbox.build().fails_with(2).says("there is no access `secret`");
}

#[test]
fn versions_have_their_own_files_columns_and_tests() {
    let sandbox = Sandbox::new(&[
        ("models/m_v1.sql", "select 1 as id, 'x' as old"),
        ("models/second.sql", "select 1 as id, null as name"),
        ("models/m_v3.sql", "select 1 as id"),
        ("models/latest.sql", "select * from {{ ref('m') }}"),
        ("models/first.sql", "select * from {{ ref('m', v=1) }}"),
        ("models/newest.sql", "select * from {{ ref('m', version=3) }}"),
        (
            "models/m.yml",
            "
models:
  - name: m
    latest_version: 2
    config: {materialized: table}
    columns:
      - {name: id, data_type: int, data_tests: [unique]}
      - {name: old, data_type: text, data_tests: [not_null]}
    versions:
      - v: 1
        deprecation_date: 2020-01-01
        config: {alias: the_first}
      - v: 2
        defined_in: second
        description: the second
        columns:
          - include: all
            exclude: [old]
          - {name: name, data_type: text, data_tests: [not_null: {config: {severity: warn}}]}
      - v: 3
        config: {materialized: view}
        columns: [{include: [id]}]
        data_tests: []
",
        ),
    ]);
    sandbox
        .build()
        .ok()
        .says("model `m.v1` has passed its deprecation date of 2020-01-01")
        .says("model `first` refers to `m.v1`, which was deprecated on 2020-01-01")
        .says("its newest version is `ref('m', v=2)`")
        .says("not_null_m_v2_name");
    assert_eq!(sandbox.rows("select * from the_first"), ["1,x"]);
    assert_eq!(sandbox.rows("select * from latest"), ["1,"]);
    assert_eq!(sandbox.rows("select * from first"), ["1,x"]);
    assert_eq!(sandbox.rows("select * from newest"), ["1"]);
    assert_eq!(sandbox.rows("select * from m_v3"), ["1"]);
    let tests = sandbox.run(&["ls", "--resource-type", "test", "--output", "name"]).ok();
    assert_eq!(
        tests.stdout.lines().collect::<Vec<_>>(),
        [
            "not_null_m_v1_old",
            "not_null_m_v2_name",
            "unique_m_v1_id",
            "unique_m_v2_id",
            "unique_m_v3_id"
        ]
    );
    sandbox.write("models/first.sql", "select * from {{ ref('m', v=4) }}");
    sandbox.build().fails_with(2).says("it has the versions 1, 2, 3");
}

#[test]
fn the_latest_version_has_a_view_of_the_models_name_where_that_is_wanted() {
    let yaml = |config: &str| {
        format!(
            "models:\n  - name: m\n    latest_version: 2\n    {config}\n    versions: [{{v: 1}}, {{v: 2}}]\n"
        )
    };
    let sandbox = Sandbox::new(&[
        ("models/m_v1.sql", "select 1 as v"),
        ("models/m_v2.sql", "{{ config(materialized='table') }}\nselect 2 as v"),
        ("models/m.yml", &yaml("config: {latest_version_pointer: {enabled: true}}")),
    ]);
    sandbox.build().ok();
    assert_eq!(sandbox.value("select v from main.m"), "2");
    // It does not keep the model from being reused.
    sandbox.build().ok().says("nothing to do");
    sandbox.write(
        "models/m.yml",
        yaml("config: {latest_version_pointer: {enabled: true, alias: newest}}"),
    );
    sandbox.run(&["build", "--no-reuse"]).ok();
    assert_eq!(sandbox.value("select v from main.newest"), "2");
    sandbox.write(
        "models/m.yml",
        yaml("config: {latest_version_pointer: {enabled: true, alias: m_v2}}"),
    );
    sandbox.run(&["build", "--no-reuse"]).fails_with(1).says("has the name of its pointer");
    // Without a word about it the project's flag decides, which is off.
    let other = Sandbox::new(&[
        ("models/m_v1.sql", "select 1 as v"),
        ("models/m_v2.sql", "select 2 as v"),
        ("models/m.yml", &yaml("description: x")),
    ]);
    other.build().ok();
    other.run(&["sql", "select v from main.m"]).fails_with(1);
    other.write(
        "dbt_project.yml",
        "name: shop\nversion: '1.0'\nflags: {latest_version_pointer_enabled_by_default: true}\n",
    );
    other.run(&["build", "--no-reuse"]).ok();
    assert_eq!(other.value("select v from main.m"), "2");
}

//! Materialized views: tables that are made anew when what they read changes.

use serde_json::Value;

use crate::sandbox::Sandbox;

fn json(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(sandbox.path(name)).unwrap()).unwrap()
}

#[test]
fn a_build_refreshes_what_reads_other_rows() {
    let sandbox = Sandbox::new(&[
        ("seeds/s.csv", "id,day\n1,2024-01-01\n"),
        (
            "models/m.sql",
            "{{ config(materialized='materialized_view') }} select * from {{ ref('s') }}",
        ),
        (
            "models/kind.sql",
            "{{ config(materialized='table') }} {% set found = adapter.get_relation(this.database, this.schema, 'm') %}\n\
             -- depends_on: {{ ref('m') }}\n\
             select '{{ found.type }}' as type, {{ found.is_materialized_view | lower }} as is_one, {{ found.is_table | lower }} as is_table",
        ),
    ]);
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select * from kind"), ["materialized_view,true,false"]);
    sandbox.build().ok().says("nothing to do");
    sandbox.write("seeds/s.csv", "id,day\n1,2024-01-01\n2,2024-01-02\n");
    sandbox.build().ok();
    assert_eq!(sandbox.value("select count(*) from m"), "2");
    // A new query is taken, too.
    sandbox.write(
        "models/m.sql",
        "{{ config(materialized='materialized_view') }} select id * 2 as id, day from {{ ref('s') }}",
    );
    sandbox.build().ok();
    assert_eq!(sandbox.value("select sum(id) from m"), "6");

    sandbox.run(&["ls", "--select", "config.materialized:materialized_view"]).ok().says("shop.m");
    let node = &json(&sandbox, "target/manifest.json")["nodes"]["model.shop.m"];
    assert_eq!(node["config"]["materialized"], "materialized_view");
    assert_eq!(node["config"]["on_configuration_change"], "apply");
    sandbox.run(&["docs", "generate"]).ok();
    let catalog = json(&sandbox, "target/catalog.json");
    assert_eq!(catalog["nodes"]["model.shop.m"]["metadata"]["type"], "MATERIALIZED VIEW");
    assert_eq!(catalog["nodes"]["model.shop.kind"]["metadata"]["type"], "BASE TABLE");
    // A failing test keeps the rows that were there, and what it is.
    sandbox.write(
        "models/m.yml",
        "models:\n  - name: m\n    columns: [{name: id, data_tests: [unique]}]\n",
    );
    sandbox.write("seeds/s.csv", "id,day\n1,2024-01-01\n1,2024-01-02\n");
    sandbox.build().fails_with(1).says("unique");
    assert_eq!(sandbox.value("select sum(id) from m"), "6");
    sandbox.run(&["docs", "generate"]).ok();
    let catalog = json(&sandbox, "target/catalog.json");
    assert_eq!(catalog["nodes"]["model.shop.m"]["metadata"]["type"], "MATERIALIZED VIEW");
    // As a table it is one.
    sandbox.write("models/m.sql", "{{ config(materialized='table') }} select 7 as id");
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select * from kind"), ["table,false,true"]);
}

#[test]
fn another_configuration_does_what_the_model_says() {
    let model = |config: &str| {
        format!(
            "{{{{ config(materialized='materialized_view', {config}) }}}} select id, day from {{{{ ref('s') }}}}"
        )
    };
    let sandbox = Sandbox::new(&[
        ("seeds/s.csv", "id,day\n1,2024-01-01\n"),
        ("models/m.sql", &model("partition_by=['day']")),
    ]);
    sandbox.build().ok();
    sandbox.write("models/m.sql", model("partition_by=['id'], on_configuration_change='fail'"));
    sandbox.build().fails_with(1).says("configuration changes were identified").says("fail");
    sandbox.write("seeds/s.csv", "id,day\n2,2024-01-01\n");
    sandbox.write("models/m.sql", model("partition_by=['id'], on_configuration_change='continue'"));
    sandbox.build().ok().says("configuration changes were identified").says("continue");
    assert_eq!(sandbox.value("select id from m"), "1");
    sandbox.write("models/m.sql", model("partition_by=['id']"));
    sandbox.build().ok().does_not_say("configuration changes");
    assert_eq!(sandbox.value("select id from m"), "2");
    let log = std::fs::read_dir(sandbox.path("lake/main/m/_delta_log")).unwrap().flatten();
    let mut commits: Vec<_> = log.map(|file| file.path()).collect();
    commits.sort();
    let last = std::fs::read_to_string(commits.last().unwrap()).unwrap();
    assert!(last.contains(r#""partitionColumns":["id"]"#), "{last}");
}

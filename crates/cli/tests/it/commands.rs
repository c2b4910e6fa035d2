//! The other commands.

use crate::sandbox::Sandbox;

fn shop() -> Sandbox {
    Sandbox::new(&[
        ("seeds/codes.csv", "id,name\n1,one\n2,two\n"),
        (
            "models/staging/stg.sql",
            "{{ config(tags=['nightly']) }}\nselect * from {{ ref('codes') }}",
        ),
        (
            "models/out.sql",
            "{{ config(materialized='table') }}\nselect count(*) as n from {{ ref('stg') }}",
        ),
        ("models/p.yml", "models:\n  - name: out\n    columns: [{name: n, tests: [not_null]}]\n"),
    ])
}

#[test]
fn init_makes_a_project_that_builds_and_has_then_nothing_to_do() {
    let sandbox = Sandbox::new(&[]);
    sandbox.remove("dbt_project.yml");
    let folder = sandbox.path("my-shop");
    let folder = folder.to_str().unwrap();
    sandbox.run(&["init", folder]).ok().says("tidemill build");
    let build = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
        crate::sandbox::outcome(command.args(arguments).args(["--project-dir", folder]))
    };
    build(&["build"]).ok().says("3 built");
    build(&["build"]).ok().says("nothing to do");
    build(&["sql", "select customer, orders, revenue from customers order by 1"])
        .ok()
        .says("Ada")
        .says("32.25");
    sandbox.run(&["init", folder]).fails_with(2).says("already");
}

#[test]
fn ls_selects_as_dbt_does() {
    let shop = shop();
    let ls = |arguments: &[&str]| -> Vec<String> {
        let mut all = vec!["ls", "--output", "name"];
        all.extend_from_slice(arguments);
        shop.run(&all).ok().stdout.lines().map(str::to_owned).collect()
    };
    // In the order of their ids, as dbt lists them.
    assert_eq!(ls(&[]), ["out", "stg", "codes", "not_null_out_n"]);
    assert_eq!(ls(&["--resource-type", "model"]), ["out", "stg"]);
    assert_eq!(ls(&["--select", "tag:nightly"]), ["stg"]);
    assert_eq!(
        ls(&["--select", "+out", "--exclude", "stg", "--resource-type", "model", "seed"]),
        ["out", "codes"]
    );
    assert_eq!(ls(&["--select", "models/staging"]), ["stg"]);
    assert_eq!(ls(&["--select", "codes+,config.materialized:view"]), ["stg"]);
    let json = shop
        .run(&["ls", "--select", "out", "--resource-type", "model", "--output", "json"])
        .ok()
        .stdout;
    assert!(json.contains("\"unique_id\": \"model.shop.out\", "), "{json}");
}

#[test]
fn compile_show_plan_and_debug() {
    let shop = shop();
    shop.run(&["compile", "--select", "stg"]).ok().says("\"main\".\"codes\"");
    assert!(shop.path("target/compiled/shop/models/staging/stg.sql").is_file());
    assert!(shop.path("target/manifest.json").is_file());
    let plan = shop.run(&["plan"]).ok();
    assert!(
        plan.stdout.contains("build") && plan.stdout.contains("not built yet"),
        "{}",
        plan.all()
    );
    shop.build().ok();
    let plan = shop.run(&["plan"]).ok().stdout;
    assert!(plan.lines().all(|line| line.trim_start().starts_with("reuse")), "{plan}");
    shop.write("models/staging/stg.sql", "select id from {{ ref('codes') }}");
    let plan = shop.run(&["plan"]).ok().stdout;
    assert!(plan.contains("changed: SQL") && plan.contains("maybe"), "{plan}");
    shop.run(&["show", "--select", "out", "--limit", "1"]).ok().says("2");
    shop.run(&["show", "--inline", "select 40 + 2 as x from {{ ref('codes') }} limit 1"])
        .ok()
        .says("42");
    shop.run(&["debug"]).ok().says("2 models");
}

#[test]
fn artifacts_are_dbts() {
    let shop = shop();
    shop.build().ok();
    let results = std::fs::read_to_string(shop.path("target/run_results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    assert_eq!(
        results["metadata"]["dbt_schema_version"],
        "https://schemas.getdbt.com/dbt/run-results/v6.json"
    );
    let mut statuses: Vec<(String, String)> = results["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            let text = |key: &str| result[key].as_str().unwrap().to_owned();
            (text("unique_id"), text("status"))
        })
        .collect();
    statuses.sort();
    let ids: Vec<&str> = statuses.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids[..3], ["model.shop.out", "model.shop.stg", "seed.shop.codes"]);
    assert!(ids[3].starts_with("test.shop.not_null_out_n."));
    assert!(statuses[..3].iter().all(|(_, status)| status == "success"));
    assert_eq!(statuses[3].1, "pass");
    let manifest = std::fs::read_to_string(shop.path("target/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    for key in [
        "metadata",
        "nodes",
        "sources",
        "macros",
        "docs",
        "exposures",
        "metrics",
        "groups",
        "selectors",
        "disabled",
        "parent_map",
        "child_map",
        "group_map",
        "saved_queries",
        "semantic_models",
        "unit_tests",
    ] {
        assert!(manifest.get(key).is_some(), "{key} is missing");
    }
    let name = manifest["nodes"]["model.shop.out"]["relation_name"].as_str().unwrap();
    assert_eq!(name, "\"tidemill\".\"main\".\"out\"");
}

#[test]
fn retry_does_again_what_failed() {
    let shop = shop();
    shop.write("models/out.sql", "{{ config(materialized='table') }}\nselect cast('x' as integer) as n from {{ ref('stg') }}");
    shop.build().fails_with(1);
    shop.write("models/out.sql", "{{ config(materialized='table') }}\nselect 7 as n");
    shop.run(&["retry"]).ok().says("1 built");
    shop.run(&["retry"]).ok().says("nothing failed");
}

#[test]
fn results_come_in_every_format() {
    let shop = shop();
    shop.build().ok();
    let query = "select id, name from codes order by id";
    assert_eq!(
        shop.run(&["sql", query, "-q"]).ok().stdout,
        " id | name\n----+------\n  1 | one\n  2 | two\n"
    );
    assert_eq!(shop.run(&["sql", query, "--format", "csv"]).ok().stdout, "id,name\n1,one\n2,two\n");
    let json = shop.run(&["sql", query, "--format", "json"]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, serde_json::json!([{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]));
    for format in ["arrow", "parquet"] {
        let path = shop.path(format);
        shop.run(&["sql", query, "--format", format, "-o", path.to_str().unwrap()]).ok();
        assert!(std::fs::metadata(path).unwrap().len() > 100);
    }
    let twice = shop.run(&["sql", "select 1 as a; select 2 as b", "--format", "csv"]).ok().stdout;
    assert_eq!(twice, "a\n1\nb\n2\n");
}

#[test]
fn time_travel_diff_and_restore() {
    let shop =
        Sandbox::new(&[("models/a.sql", "{{ config(materialized='table') }}\nselect 1 as id")]);
    shop.build().ok();
    shop.write(
        "models/a.sql",
        "{{ config(materialized='table') }}\nselect 2 as id union all select 3",
    );
    shop.build().ok();
    let as_of =
        shop.run(&["sql", "select id from a", "--as-of", "1", "--format", "csv"]).ok().stdout;
    assert_eq!(as_of, "id\n1\n");
    shop.run(&["lake", "history"]).ok().says("main.a");
    shop.run(&["lake", "diff", "main.a", "1", "2"]).ok().says("2");
    shop.run(&["lake", "restore", "main.a", "--to", "1"]).ok();
    assert_eq!(shop.rows("select id from a"), ["1"]);
    shop.run(&["lake", "list", "--orphans"]).ok();
    shop.run(&["lake", "maintain", "--dry-run"]).ok();
    shop.run(&["lake", "repair"]).ok();
}

#[test]
fn clean_takes_generated_folders_and_refuses_others() {
    let shop = shop();
    shop.run(&["compile"]).ok();
    shop.run(&["clean"]).ok();
    assert!(!shop.path("target").exists());
    shop.write(
        "dbt_project.yml",
        "name: shop\nversion: '1.0'\nclean-targets: ['../other', models]\n",
    );
    shop.run(&["clean"]).fails_with(2).says("nothing was deleted");
    assert!(shop.path("models/out.sql").exists());
}

#[test]
fn deps_installs_and_locks_what_is_named() {
    let sandbox = Sandbox::new(&[
        ("packages.yml", "# What we build on.\npackages:\n  - local: tools\n"),
        ("models/a.sql", "{{ config(materialized='table') }}select {{ tools.one() }} as n"),
    ]);
    let tools = sandbox.path("tools");
    std::fs::create_dir_all(tools.join("macros")).unwrap();
    std::fs::write(tools.join("dbt_project.yml"), "name: tools\nversion: 1.0.0\n").unwrap();
    std::fs::write(tools.join("macros/m.sql"), "{% macro one() %}1{% endmacro %}").unwrap();
    sandbox.run(&["deps"]).ok().says("tools").says("from tools").says("1 package");
    assert!(sandbox.path("dbt_packages/tools/dbt_project.yml").is_file());
    let lock = std::fs::read_to_string(sandbox.path("package-lock.yml")).unwrap();
    assert!(lock.contains("local: tools") && lock.contains("sha1_hash: "), "{lock}");
    sandbox.run(&["deps"]).ok().does_not_say("locked");
    sandbox.run(&["deps", "--upgrade", "--lock"]).ok().says("locked").does_not_say("installed");
    sandbox.build().ok();
    assert_eq!(sandbox.value("select n from a"), "1");

    sandbox
        .run(&["deps", "--add-package", "gone", "--source", "local"])
        .fails_with(2)
        .says("there is no package in `gone`");
    let named = std::fs::read_to_string(sandbox.path("packages.yml")).unwrap();
    assert_eq!(named, "# What we build on.\npackages:\n  - local: tools\n  - local: gone\n");
    assert!(sandbox.path("dbt_packages/tools/dbt_project.yml").is_file());
    sandbox.write("packages.yml", "packages:\n  - package: acme/facts\n");
    sandbox.run(&["deps"]).fails_with(2).says("has no `version`").says("packages.yml:2:");
    sandbox.write("packages.yml", "packages: []\n");
    sandbox.run(&["deps"]).ok().says("no packages are named");
}

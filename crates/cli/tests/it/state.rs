//! Selecting by state, reading from another environment, cloning, retrying.

use crate::sandbox::Sandbox;

/// Two targets in one lake; `prod` is built and its artifacts are in `prod_state`.
fn shop() -> Sandbox {
    let shop = Sandbox::new(&[
        (
            "profiles.yml",
            "shop:\n  target: dev\n  outputs:\n    dev: {type: tidemill, lake: lake, schema: dev}\n    \
             prod: {type: tidemill, lake: lake, schema: prod}\n",
        ),
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n"),
        ("seeds/codes.csv", "id,name\n1,one\n2,two\n"),
        (
            "models/stg.sql",
            "{{ config(materialized='table') }}\nselect id, name from {{ ref('codes') }}",
        ),
        ("models/view.sql", "select {{ shout('name') }} as name from {{ ref('stg') }}"),
        (
            "models/out.sql",
            "{{ config(materialized='table') }}\nselect count(*) as n from {{ ref('view') }}",
        ),
        ("macros/shout.sql", "{% macro shout(x) %}upper({{ x }}){% endmacro %}"),
        (
            "models/p.yml",
            "models:\n  - name: out\n    columns: [{name: n, data_tests: [not_null]}]\n",
        ),
    ]);
    shop.run(&["build", "--target", "prod"]).ok();
    std::fs::rename(shop.path("target"), shop.path("prod_state")).unwrap();
    shop
}

fn ls(shop: &Sandbox, arguments: &[&str]) -> Vec<String> {
    let mut all = vec!["ls", "--output", "name", "--state", "prod_state", "--select"];
    all.extend_from_slice(arguments);
    shop.run(&all).ok().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn what_changed_is_selected_by_what_changed() {
    let shop = shop();
    assert_eq!(ls(&shop, &["state:modified"]), [""; 0]);
    assert_eq!(ls(&shop, &["state:new"]), [""; 0]);
    assert_eq!(ls(&shop, &["state:old", "--resource-type", "model"]), ["out", "stg", "view"]);
    // Another target is no change of what was written.
    assert_eq!(
        ls(&shop, &["state:modified", "--target", "prod"]),
        [""; 0],
        "names in the lake do not count"
    );

    shop.write("models/new.sql", "select 1 as x");
    shop.write("seeds/codes.csv", "id,name\n1,one\n");
    assert_eq!(ls(&shop, &["state:new"]), ["new"]);
    assert_eq!(ls(&shop, &["state:modified"]), ["new", "codes"]);
    assert_eq!(ls(&shop, &["state:modified.body"]), ["new", "codes"]);
    assert_eq!(
        ls(&shop, &["state:modified+", "--resource-type", "model"]),
        ["new", "out", "stg", "view"]
    );
    assert_eq!(
        ls(&shop, &["state:unmodified", "--resource-type", "model"]),
        ["out", "stg", "view"]
    );

    shop.write("macros/shout.sql", "{% macro shout(x) %}lower({{ x }}){% endmacro %}");
    assert_eq!(ls(&shop, &["state:modified.macros"]), ["view"]);
    assert_eq!(ls(&shop, &["state:modified", "--resource-type", "model"]), ["new", "view"]);

    shop.write(
        "models/out.sql",
        "{{ config(materialized='view', alias='other') }}\nselect count(*) as n from {{ ref('view') }}",
    );
    assert_eq!(ls(&shop, &["state:modified.configs", "--resource-type", "model"]), ["new", "out"]);
    assert_eq!(ls(&shop, &["state:modified.relation", "--resource-type", "model"]), ["new", "out"]);
    assert_eq!(
        ls(&shop, &["state:modified.persisted_descriptions", "--resource-type", "model"]),
        ["new"]
    );
    shop.run(&["ls", "--select", "state:modifyed", "--state", "prod_state"])
        .fails_with(2)
        .says("did you mean `state:modified`?");
    shop.run(&["ls", "--select", "state:modified"]).fails_with(2).says("--state DIR");
    shop.run(&["ls", "--select", "state:modified", "--state", "nowhere"])
        .fails_with(2)
        .says("there is no folder");
}

#[test]
fn results_of_the_last_command_are_selected_by_status() {
    let shop = shop();
    shop.write(
        "models/out.sql",
        "{{ config(materialized='table') }}\nselect cast('x' as int) as n",
    );
    shop.run(&["build"]).fails_with(1);
    let ls = |criterion: &str| -> Vec<String> {
        let arguments = ["ls", "--output", "name", "--state", "target", "--select", criterion];
        shop.run(&arguments).ok().stdout.lines().map(str::to_owned).collect()
    };
    assert_eq!(ls("result:error"), ["out", "not_null_out_n"]);
    assert_eq!(ls("result:skipped"), ["not_null_out_n"]);
    assert_eq!(ls("result:success,resource_type:seed"), ["codes"]);
    assert_eq!(ls("result:error+"), ["out", "not_null_out_n"]);
}

#[test]
fn what_is_not_built_here_is_read_from_the_other_environment() {
    let shop = shop();
    // Without it, there is nothing to read.
    shop.run(&["run", "--select", "view"]).fails_with(1);
    shop.run(&["run", "--select", "view", "--defer"]).fails_with(2).says("--state DIR");
    shop.run(&["run", "--select", "view", "--defer", "--state", "prod_state"]).ok();
    assert_eq!(shop.rows("select name from dev.view order by 1"), ["ONE", "TWO"]);
    // Its own relation is read once it is there, unless the other is favoured.
    shop.write("seeds/codes.csv", "id,name\n1,own\n");
    shop.run(&["build", "--select", "codes", "stg"]).ok();
    let defer = ["run", "--select", "view", "--defer", "--state", "prod_state"];
    shop.run(&defer).ok();
    assert_eq!(shop.rows("select name from dev.view"), ["OWN"]);
    let mut favor = defer.to_vec();
    favor.push("--favor-state");
    shop.run(&favor).ok();
    assert_eq!(shop.rows("select name from dev.view order by 1"), ["ONE", "TWO"]);
    // In `compile`, tests and `show` too.
    let compile = ["compile", "--select", "out", "--indirect-selection", "empty"];
    shop.run(&[&compile[..], &["--defer", "--defer-state", "prod_state"]].concat())
        .ok()
        .says("\"dev\".\"view\"");
    shop.run(&["test", "--select", "out", "--defer", "--state", "prod_state"])
        .ok()
        .says("1 passed");
    shop.run(&["show", "--select", "out", "--defer", "--state", "prod_state"]).ok();
    // Another database is refused, not looked for in this lake.
    let manifest = std::fs::read_to_string(shop.path("prod_state/manifest.json")).unwrap();
    let manifest = manifest.replace("\"database\":\"tidemill\"", "\"database\":\"elsewhere\"");
    shop.write("prod_state/manifest.json", &manifest);
    shop.run(&["run", "--select", "out", "--defer", "--favor-state", "--state", "prod_state"])
        .fails_with(2)
        .says("the database `elsewhere`");
}

#[test]
fn a_clone_copies_tables_and_refers_to_views() {
    let shop = shop();
    shop.run(&["clone"]).fails_with(2).says("--state DIR");
    shop.run(&["clone", "--state", "prod_state"]).ok().says("4 built");
    assert_eq!(shop.rows("select n from dev.out"), ["2"]);
    assert_eq!(shop.rows("select name from dev.view order by 1"), ["ONE", "TWO"]);
    // No row was written again: the files of both have one content.
    let files = |table: &str| -> Vec<u64> {
        use std::os::unix::fs::MetadataExt;
        let entries = std::fs::read_dir(shop.path("lake").join(table)).unwrap();
        let files = entries.map(|entry| entry.unwrap().metadata().unwrap());
        files.filter(std::fs::Metadata::is_file).map(|file| file.ino()).collect()
    };
    assert_eq!(files("dev/stg").len(), 1);
    assert_eq!(files("dev/stg"), files("prod/stg"));
    shop.run(&["clone", "--state", "prod_state"]).ok().says("nothing to clone");
    shop.run(&["clone", "--state", "prod_state", "--full-refresh", "--select", "out"])
        .ok()
        .says("came out the same");
    // What was cloned is built like anything else.
    shop.write("models/out.sql", "{{ config(materialized='table') }}\nselect 7 as n");
    shop.run(&["build"]).ok();
    assert_eq!(shop.rows("select n from dev.out"), ["7"]);
    assert_eq!(shop.rows("select n from prod.out"), ["2"]);
}

#[test]
fn selectors_have_names_and_one_may_be_the_default() {
    let shop = shop();
    let ls = |arguments: &[&str]| -> Vec<String> {
        let mut all = vec!["ls", "--output", "name"];
        all.extend_from_slice(arguments);
        shop.run(&all).ok().stdout.lines().map(str::to_owned).collect()
    };
    shop.write(
        "selectors.yml",
        "selectors:\n  - name: marts\n    default: true\n    definition: {union: [out, {exclude: [resource_type:test]}]}\n  \
         - name: up\n    definition: {method: fqn, value: out, parents: true, parents_depth: 1, indirect_selection: empty}\n",
    );
    assert_eq!(ls(&[]), ["out"]);
    assert_eq!(ls(&["--selector", "up"]), ["out", "view"]);
    assert_eq!(ls(&["--select", "stg"]), ["stg"]);
    assert_eq!(ls(&["--select", "selector:up,view"]), ["view"]);
    assert_eq!(ls(&["--exclude", "resource_type:test", "--resource-type", "seed"]), ["codes"]);
    shop.run(&["ls", "--selector", "upp"]).fails_with(2).says("did you mean `up`?");
    shop.run(&["build", "--selector", "up"]).fails_with(1);
    for (text, said) in [
        ("selectors: [{name: a, definition: [x]}]", "is a list"),
        ("selectors: [{name: a, definition: {tags: x}}]", "did you mean `tag`?"),
        (
            "selectors: [{name: a, default: true, definition: x}, {name: b, default: true, definition: x}]",
            "both the default",
        ),
        ("selectors: [{name: a, definition: {method: selector, value: a}}]", "refers to itself"),
    ] {
        shop.write("selectors.yml", text);
        shop.run(&["ls", "--selector", "a"]).fails_with(2).says(said);
    }
}

#[test]
fn compile_and_clone_are_retried_too() {
    let shop = shop();
    shop.write(
        "models/out.sql",
        "{% if execute %}{{ exceptions.raise_compiler_error('no') }}{% endif %}",
    );
    shop.run(&["compile"]).fails_with(2);
    shop.write("models/out.sql", "{{ config(materialized='table') }}\nselect 7 as n");
    shop.run(&["retry"]).ok().says("compiled");
    shop.run(&["retry"]).ok().says("nothing failed");
}

#[test]
fn retry_repeats_the_command_as_it_was() {
    let sandbox = Sandbox::new(&[
        ("models/a.sql", "{{ config(materialized='table') }} select {{ var('n') }} as n"),
        (
            "models/b.sql",
            "{{ config(materialized='table') }} select cast('x' as int) as n from {{ ref('a') }}",
        ),
        (
            "macros/op.sql",
            "{% macro count_rows(name) %}{{ print('rows: ' ~ run_query('select count(*) from ' ~ name).columns[0].values()[0]) }}{% endmacro %}",
        ),
    ]);
    sandbox.run(&["build", "--vars", "n: 7", "--empty"]).fails_with(1);
    sandbox.write(
        "models/b.sql",
        "{{ config(materialized='table') }} select {{ var('n') }} as n, count(*) as rows from {{ ref('a') }}",
    );
    sandbox.run(&["retry"]).ok().says("1 built");
    assert_eq!(sandbox.rows("select * from b"), ["7,0"]);
    sandbox.run(&["retry"]).ok().says("nothing failed");
    // What is said now about vars counts.
    sandbox
        .write("models/b.sql", "{{ config(materialized='table') }} select cast('x' as int) as n");
    sandbox.run(&["run", "--select", "b", "--vars", "n: 8"]).fails_with(1);
    sandbox.write("models/b.sql", "{{ config(materialized='table') }} select {{ var('n') }} as n");
    sandbox.run(&["retry", "--vars", "n: 9"]).ok();
    assert_eq!(sandbox.value("select n from b"), "9");
    // An operation is called again with its arguments.
    sandbox.run(&["run-operation", "count_rows", "--args", "{name: later}"]).fails_with(1);
    sandbox.run(&["sql", "create table later as select 1 as x union all select 2"]).ok();
    sandbox.run(&["retry"]).ok().says("rows: 2");
}

#[test]
fn no_write_json_writes_no_artifact() {
    let sandbox = Sandbox::new(&[
        ("models/a.sql", "select 1 as n"),
        ("macros/op.sql", "{% macro op() %}{% endmacro %}"),
    ]);
    for command in [&["parse"][..], &["build"], &["compile"], &["run-operation", "op"]] {
        let arguments: Vec<&str> = command.iter().copied().chain(["--no-write-json"]).collect();
        sandbox.run(&arguments).ok();
        for name in ["manifest.json", "run_results.json"] {
            assert!(!sandbox.path("target").join(name).exists(), "{command:?} wrote {name}");
        }
    }
}

/// What dbt-core 1.12 writes into the manifest of the same project.
#[test]
fn the_manifest_has_what_dbt_infers() {
    let sandbox = Sandbox::new(&[
        ("models/by_tests.sql", "select 1 as id, 2 as other"),
        ("models/by_constraint.sql", "{{ config(materialized='table') }} select 1::bigint as id"),
        ("models/by_combination.sql", "select 1 as a, 2 as b"),
        (
            "macros/own.sql",
            "{% macro own(x, y=1) %}{{ dbt.type_string() }}{{ run_query('select 1') }}{% endmacro %}",
        ),
        (
            "models/m.yml",
            "models:\n\
             \x20 - name: by_tests\n\
             \x20   columns:\n\
             \x20     - {name: id, tests: [unique, not_null]}\n\
             \x20     - {name: other, tests: [unique]}\n\
             \x20 - name: by_constraint\n\
             \x20   config: {contract: {enforced: true}}\n\
             \x20   columns: [{name: id, data_type: bigint, constraints: [{type: primary_key}]}]\n\
             \x20 - name: by_combination\n\
             \x20   tests: [{dbt_utils.unique_combination_of_columns: {combination_of_columns: [b, a]}}]\n\
             sources: [{name: s, meta: {a: 1}, tags: [x], tables: [{name: t, tags: [z]}]}]\n",
        ),
    ]);
    sandbox.run(&["parse"]).ok();
    let text = std::fs::read(sandbox.path("target/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let model = |name: &str| &manifest["nodes"][format!("model.shop.{name}")];
    assert_eq!(model("by_tests")["primary_key"], serde_json::json!(["id"]));
    assert_eq!(model("by_constraint")["primary_key"], serde_json::json!(["id"]));
    assert_eq!(model("by_combination")["primary_key"], serde_json::json!(["a", "b"]));
    let pointer = serde_json::json!({"enabled": null, "alias": null});
    assert_eq!(model("by_tests")["config"]["latest_version_pointer"], pointer);
    let macros = &manifest["macros"];
    assert_eq!(macros["macro.shop.own"]["arguments"][1]["name"], "y");
    let called = macros["macro.shop.own"]["depends_on"]["macros"].as_array().unwrap();
    assert_eq!(called, &["macro.dbt.type_string", "macro.dbt.run_query"]);
    // Every macro that something depends on is there.
    for part in ["nodes", "macros"] {
        for (id, node) in manifest[part].as_object().unwrap() {
            for called in node["depends_on"]["macros"].as_array().into_iter().flatten() {
                let called = called.as_str().unwrap();
                assert!(macros.get(called).is_some(), "{id} depends on {called}");
            }
        }
    }
    let test = manifest["nodes"].as_object().unwrap().iter();
    let (_, test) = test.into_iter().find(|(id, _)| id.contains("unique_by_tests_id")).unwrap();
    assert_eq!(test["depends_on"]["macros"], serde_json::json!(["macro.dbt.test_unique"]));
    let source = &manifest["sources"]["source.shop.s.t"];
    assert_eq!(source["config"]["tags"], serde_json::json!(["x", "z"]));
    assert_eq!(source["config"]["freshness"]["warn_after"]["count"], serde_json::Value::Null);
    assert_eq!(source["source_meta"], serde_json::json!({"a": 1}));
}

/// What dbt-core 1.12 makes of the same YAML.
#[test]
fn the_semantic_layer_is_read_where_1_12_has_it() {
    let sandbox = Sandbox::new(&[
        (
            "models/orders.sql",
            "select 1 as order_id, timestamp '2024-01-01' as ordered_at, 3.5 as amount",
        ),
        (
            "models/m.yml",
            "models:\n\
             \x20 - name: orders\n\
             \x20   semantic_model: {name: order_facts, config: {meta: {a: 1}}}\n\
             \x20   agg_time_dimension: ordered_at\n\
             \x20   columns:\n\
             \x20     - {name: order_id, entity: {name: the_order, type: primary}}\n\
             \x20     - {name: ordered_at, granularity: day, dimension: {type: time}}\n\
             \x20   metrics:\n\
             \x20     - {name: revenue, type: simple, agg: sum, expr: amount, filter: \"{{ Dimension('the_order__ordered_at') }} is not null\"}\n\
             \x20     - {name: running, type: cumulative, input_metric: revenue, window: 7 days}\n\
             metrics: [{name: twice, type: derived, expr: revenue * 2, input_metrics: [revenue]}]\n\
             semantic_models:\n\
             \x20 - name: old_facts\n\
             \x20   model: ref('orders')\n\
             \x20   entities: [{name: order_id, type: primary}]\n\
             \x20   measures: [{name: total, agg: sum, expr: amount, create_metric: true}]\n",
        ),
    ]);
    sandbox.run(&["parse"]).ok();
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(sandbox.path("target").join(name)).unwrap()).unwrap()
    };
    let manifest = read("manifest.json");
    let model = &manifest["semantic_models"]["semantic_model.shop.order_facts"];
    assert_eq!(model["defaults"]["agg_time_dimension"], "ordered_at");
    assert_eq!(model["depends_on"]["nodes"], serde_json::json!(["model.shop.orders"]));
    assert_eq!(model["entities"][0]["name"], "the_order");
    assert_eq!(model["entities"][0]["expr"], "order_id");
    assert_eq!(model["dimensions"][0]["type_params"]["time_granularity"], "day");
    assert_eq!(model["dimensions"][0]["config"]["meta"], serde_json::json!({"a": 1}));
    let metric = |name: &str| &manifest["metrics"][format!("metric.shop.{name}")];
    let revenue = &metric("revenue")["type_params"];
    assert_eq!(revenue["metric_aggregation_params"]["semantic_model"], "order_facts");
    assert_eq!(revenue["metric_aggregation_params"]["agg"], "sum");
    let depends = |name: &str| metric(name)["depends_on"]["nodes"].clone();
    assert_eq!(depends("revenue"), serde_json::json!(["semantic_model.shop.order_facts"]));
    assert_eq!(depends("running"), serde_json::json!(["metric.shop.revenue"]));
    assert_eq!(depends("twice"), serde_json::json!(["metric.shop.revenue"]));
    assert_eq!(depends("total"), serde_json::json!(["semantic_model.shop.old_facts"]));
    assert_eq!(metric("total")["type_params"]["measure"]["name"], "total");
    assert_eq!(read("semantic_manifest.json")["metrics"].as_array().unwrap().len(), 4);
    let listed = sandbox.run(&["ls", "--select", "+metric:twice", "--resource-type", "model"]).ok();
    assert!(listed.stdout.contains("shop.orders"), "{}", listed.stdout);
}

const OTHER_LAKE: &str =
    "shop:\n  target: dev\n  outputs:\n    dev: {type: tidemill, lake: mine, schema: dev}\n";

/// An environment may have a lake of its own: the manifest says where it is.
#[test]
fn what_lies_in_another_lake_is_read_from_there() {
    let shop = shop();
    shop.write("profiles.yml", OTHER_LAKE);
    shop.write("models/over.sql", "select name as n from {{ ref('view') }}");
    let defer = ["--defer", "--state", "prod_state"];
    let run = |arguments: &[&str]| shop.run(&[arguments, &defer].concat());
    // A table of a view of the other lake, which reads further relations there.
    run(&["run", "--select", "out"]).ok();
    assert_eq!(shop.rows("select n from dev.out"), ["2"]);
    // A view could not be read without the other lake.
    run(&["run", "--select", "over"]).ok().says("built as a table");
    assert_eq!(shop.rows("select n from dev.over order by n"), ["ONE", "TWO"]);
    let tables = "select table_schema from information_schema.tables group by 1";
    assert_eq!(shop.rows(tables), ["dev"]);
    // What is there as it was is not built again; what is new over there is seen.
    run(&["build", "--select", "out"]).ok().says("nothing to do");
    // In `compile`, tests, `show` and macros that ask for columns.
    run(&["compile", "--select", "out", "--indirect-selection", "empty"])
        .ok()
        .says("\"lake.prod\".\"view\"");
    run(&["test", "--select", "out"]).ok().says("1 passed");
    run(&["show", "--select", "over"]).ok().says("ONE");
    shop.write(
        "models/columns.sql",
        "{{ config(materialized='table') }} select '{% for c in adapter.get_columns_in_relation(ref('view')) %}{{ c.name }}{% endfor %}' as c",
    );
    run(&["run", "--select", "columns"]).ok();
    assert_eq!(shop.rows("select c from dev.columns"), ["name"]);
    // Its own relation is read once it is there, unless the other is favoured.
    shop.write("seeds/codes.csv", "id,name\n1,own\n");
    shop.run(&["build", "--select", "+view"]).ok();
    run(&["run", "--select", "over"]).ok();
    assert_eq!(shop.rows("select n from dev.over"), ["OWN"]);
    run(&["run", "--select", "over", "--favor-state"]).ok();
    assert_eq!(shop.rows("select n from dev.over order by n"), ["ONE", "TWO"]);
    // Without it, all is as usual again.
    shop.run(&["run", "--select", "over"]).ok();
    assert_eq!(shop.rows("select n from dev.over"), ["OWN"]);
}

#[test]
fn a_clone_of_another_lake_brings_rows() {
    let shop = shop();
    shop.write("profiles.yml", OTHER_LAKE);
    shop.run(&["clone", "--state", "prod_state"]).ok().says("are copied from");
    assert_eq!(shop.rows("select name from dev.view order by 1"), ["ONE", "TWO"]);
    assert_eq!(shop.rows("select n from dev.out"), ["2"]);
    // They stay without the other lake.
    std::fs::rename(shop.path("lake"), shop.path("away")).unwrap();
    assert_eq!(shop.rows("select name from dev.view order by 1"), ["ONE", "TWO"]);
}

/// A lake that is not where the manifest has it is named by a flag, or told.
#[test]
fn another_lake_that_has_moved_is_told_and_named() {
    let shop = shop();
    shop.write("profiles.yml", OTHER_LAKE);
    std::fs::rename(shop.path("lake"), shop.path("moved")).unwrap();
    let arguments = ["run", "--select", "out", "--defer", "--state", "prod_state"];
    shop.run(&arguments).fails_with(1).says("say with --defer-lake where it is");
    let nowhere = [&arguments[..], &["--defer-lake", "nowhere"]].concat();
    shop.run(&nowhere).fails_with(2).says("there is no lake here");
    assert!(!shop.path("nowhere").exists());
    shop.run(&[&arguments[..], &["--defer-lake", "moved"]].concat()).ok();
    assert_eq!(shop.rows("select n from dev.out"), ["2"]);
}

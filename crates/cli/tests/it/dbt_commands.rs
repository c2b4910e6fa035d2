//! Flags of dbt's commands that do something here, and those that are refused.

use crate::sandbox::Sandbox;

fn shop() -> Sandbox {
    Sandbox::new(&[
        ("seeds/codes.csv", "id,name\n1,one\n2,two\n"),
        (
            "models/inc.sql",
            "{{ config(materialized='incremental') }}\nselect id from {{ ref('codes') }}\n\
             {% if is_incremental() %}where id > (select max(id) from {{ this }}){% endif %}",
        ),
    ])
}

#[test]
fn show_prints_the_rows_of_seeds() {
    let shop = shop();
    let shown = shop.run(&["seed", "--show"]).ok();
    assert!(shown.stdout.contains("two"), "{shown:?}");
    // What was not loaded again is there all the same.
    let again = shop.run(&["build", "--show", "--format", "csv"]).ok();
    assert!(again.stdout.contains("id,name\n1,one\n2,two"), "{again:?}");
    shop.run(&["seed"]).ok().does_not_say("two");
    shop.run(&["run", "--show"]).fails_with(2).says("unexpected argument '--show'");
}

#[test]
fn what_dbts_hosted_service_does_is_refused() {
    let shop = shop();
    shop.run(&["build", "--export-saved-queries"]).fails_with(2).says("there is nothing to export");
    shop.run_with(&[("DBT_EXPORT_SAVED_QUERIES", "1")], &["build"]).fails_with(2);
    shop.run(&["build", "--export-saved-queries", "--no-export-saved-queries"]).ok();
    shop.run(&["compile", "--no-inject-ephemeral-ctes"]).fails_with(2).says("leave the flag out");
}

#[test]
fn show_gives_what_an_increment_would_add_or_all() {
    let shop = shop();
    shop.build().ok();
    let rows = |arguments: &[&str]| -> Vec<String> {
        let mut all = vec!["show", "--select", "inc", "--format", "csv", "-q"];
        all.extend_from_slice(arguments);
        shop.run(&all).ok().stdout.lines().skip(1).map(str::to_owned).collect()
    };
    assert_eq!(rows(&[]), [""; 0]);
    assert_eq!(rows(&["--full-refresh"]), ["1", "2"]);
    shop.run(&["show", "--inline-direct", "select '{{ x }}' as y"]).ok().says("{{ x }}");
}

#[test]
fn templates_can_be_kept_from_asking() {
    let shop = shop();
    shop.write(
        "models/asks.sql",
        "select {% if execute %}{{ run_query('select 40 + 2 as x').columns[0][0] }}{% endif %} as n",
    );
    shop.run(&["compile", "--select", "asks"]).ok().says("42");
    shop.run(&["compile", "--select", "asks", "--no-introspect"])
        .fails_with(2)
        .says("--no-introspect forbids it");
    shop.run(&["compile", "--select", "codes", "--no-introspect"]).ok();
    shop.run(&["show", "--select", "asks", "--no-introspect"]).fails_with(2);
}

#[test]
fn an_operation_can_be_sql() {
    let shop = shop();
    shop.build().ok();
    shop.run(&["run-operation", "--sql", "delete from {{ ref('codes') }} where id = 1; select 1"])
        .ok();
    assert_eq!(shop.value("select id from codes"), "2");
    let results = std::fs::read_to_string(shop.path("target/run_results.json")).unwrap();
    assert!(results.contains("sql_operation.shop.inline_query"), "{results}");
    shop.run(&["run-operation", "--sql", "delete from nowhere"]).fails_with(1).says("nowhere");
    shop.run(&["run-operation"]).fails_with(2);
    shop.run(&["run-operation", "m", "--sql", "select 1"]).fails_with(2);
}

#[test]
fn debug_says_where_profiles_are_and_whether_the_lake_is_reached() {
    let shop = shop();
    let home = shop.path(".dbt");
    let said = shop.run(&["debug", "--config-dir"]).ok().stdout;
    assert_eq!(said.trim(), home.to_str().unwrap());
    shop.write("profiles/profiles.yml", "other: {outputs: {}}\n");
    let folder = shop.path("profiles");
    let folder = folder.to_str().unwrap();
    let said = shop.run(&["debug", "--config-dir", "--profiles-dir", folder]).ok().stdout;
    assert_eq!(said.trim(), folder);
    // A mistake in a model does not keep anybody from the lake.
    shop.write("models/wrong.sql", "select {{ nothing( }}");
    shop.run(&["debug"]).fails_with(1);
    shop.run(&["debug", "--connection"]).ok().says("all checks passed").does_not_say("models");
}

#[test]
fn clean_deletes_outside_of_the_project_only_when_asked() {
    let shop = shop();
    shop.build().ok();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("x"), "x").unwrap();
    let targets = |names: &str| {
        shop.write(
            "dbt_project.yml",
            format!("name: shop\nversion: '1.0'\nclean-targets: {names}\n"),
        );
    };
    targets(&format!("['{}']", outside.path().display()));
    shop.run(&["clean"]).fails_with(2).says("--no-clean-project-files-only");
    assert!(outside.path().join("x").exists());
    shop.run(&["clean", "--no-clean-project-files-only"]).ok();
    assert!(!outside.path().exists());
    targets("[target, lake]");
    shop.run(&["clean", "--no-clean-project-files-only"]).fails_with(2).says("holds the lake");
    targets("['..']");
    shop.run(&["clean", "--no-clean-project-files-only"]).fails_with(2);
    assert!(shop.path("target").exists());
}

#[test]
fn a_failed_start_keeps_everything_from_running_unless_the_project_says_otherwise() {
    let shop = shop();
    let project = |flags: &str| {
        shop.write(
            "dbt_project.yml",
            format!("name: shop\nversion: '1.0'\non-run-start: select * from nowhere\n{flags}"),
        );
    };
    project("");
    shop.build().fails_with(1);
    shop.run(&["sql", "select * from codes"]).fails_with(1);
    project("flags: {skip_nodes_if_on_run_start_fails: false}\n");
    shop.build().fails_with(1);
    assert_eq!(shop.value("select count(*) from codes"), "2");
}

#[test]
fn what_a_template_says_before_it_fails_is_shown() {
    let shop = shop();
    shop.write(
        "models/fails.sql",
        "{% do log('so far so good', info=true) %}\n\
         {% if execute %}{% do exceptions.raise_compiler_error('not here') %}{% endif %}select 1 as x",
    );
    shop.run(&["build", "--select", "fails"]).fails_with(1).says("so far so good").says("not here");
}

/// Names in property files may be templates, as in dbt: of a source that is in the target's schema, say.
#[test]
fn names_in_property_files_are_rendered() {
    let sandbox = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nvars: {of: orders}\n"),
        ("models/orders.sql", "select 1 as id"),
        ("models/read.sql", "select * from {{ source(target.schema ~ '_raw', 'items') }}"),
        (
            "models/m.yml",
            "sources:\n  - name: '{{ target.schema + \"_raw\" }}'\n    tables:\n      - name: items\n        columns: [{name: id, data_tests: [unique]}]\nmodels:\n  - name: \"{{ var('of') }}\"\n    description: All of them.\n",
        ),
    ]);
    let all = sandbox.run(&["ls"]).ok().does_not_say("warning").stdout;
    let mut all: Vec<&str> = all.lines().collect();
    all.sort_unstable();
    assert_eq!(
        all,
        [
            "shop.orders",
            "shop.read",
            "shop.source_unique_main_raw_items_id",
            "source:shop.main_raw.items"
        ]
    );
}

/// What only looks leaves its results as dbt does; `retry` goes on from the last command that did work.
#[test]
fn commands_that_look_leave_their_results_and_keep_those_of_the_last_run() {
    let shop = shop();
    shop.write("models/bad.sql", "select nothing_like_this from {{ ref('codes') }}");
    shop.build().fails_with(1);
    let results = || -> serde_json::Value {
        let text = std::fs::read(shop.path("target/run_results.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let ids = |results: &serde_json::Value| -> Vec<String> {
        let results = results["results"].as_array().unwrap().iter();
        results.map(|result| result["unique_id"].as_str().unwrap().to_owned()).collect()
    };
    shop.run(&["docs", "generate", "--exclude", "bad"]).ok();
    let generated = results();
    assert_eq!(generated["args"]["which"], "generate");
    assert_eq!(ids(&generated), ["seed.shop.codes", "model.shop.inc"]);
    assert_eq!(generated["results"][1]["status"], "success");
    assert_eq!(generated["results"][1]["compiled"], true);
    shop.run(&["show", "-s", "inc"]).ok();
    assert_eq!(
        (&results()["args"]["which"], ids(&results())),
        (&"show".into(), vec!["model.shop.inc".to_owned()])
    );
    shop.run(&["show", "--inline", "select 1 as a"]).ok();
    assert_eq!(ids(&results()), ["sql_operation.shop.inline_query"]);
    shop.run(&["compile", "--inline", "select {{ 40 + 2 }}"]).ok();
    assert_eq!(results()["results"][0]["compiled_code"], "select 42");
    // The site shows the run, and it can be done again.
    shop.run(&["docs", "generate", "--no-compile"]).ok();
    shop.run(&["retry"]).fails_with(1).says("nothing_like_this");
    shop.write("models/bad.sql", "select id from {{ ref('codes') }}");
    shop.run(&["retry"]).ok().says("1 built");
}

/// `show` and `compile` print what is named, in dbt's forms.
#[test]
fn what_is_named_is_printed() {
    let shop = shop();
    shop.write(
        "models/p.yml",
        "models:\n  - name: inc\n    columns: [{name: id, data_tests: [not_null, unique]}]\n",
    );
    shop.build().ok();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let said = shop.run(arguments).ok().stdout;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    };
    let all = json(&["show", "-s", "+inc", "-f", "--output", "json", "-q"]);
    assert_eq!(all, serde_json::json!({"node": "inc", "show": [{"id": 1}, {"id": 2}]}));
    assert_eq!(
        json(&["show", "--inline", "select 1 as a, null as b", "--output", "json"]),
        serde_json::json!({"show": [{"a": 1, "b": null}]})
    );
    let compiled = json(&["compile", "-s", "inc", "-f", "--output", "json", "-q"]);
    assert_eq!(compiled["node"], "inc");
    assert!(compiled["compiled"].as_str().unwrap().trim().starts_with("select id from"));
    assert_eq!(
        json(&["compile", "--inline", "select 1", "--output", "json"]),
        serde_json::json!({"compiled": "select 1"})
    );
    shop.run(&["compile", "-s", "inc", "-q"]).ok().says("select id from").does_not_say("is null");
}

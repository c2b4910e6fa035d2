//! Flags from everywhere, warnings as errors, and the log.

use crate::sandbox::Sandbox;

fn shop() -> Sandbox {
    Sandbox::new(&[
        ("models/a.sql", "{{ config(materialized='table') }}\nselect 1 as x"),
        ("models/b.sql", "select * from {{ ref('a') }}"),
        (
            "models/p.yml",
            "models:\n  - name: a\n    columns: [{name: x, data_tests: [{accepted_values: \
             {arguments: {values: [2], quote: false}, config: {severity: warn}}}]}]\n",
        ),
    ])
}

#[test]
fn warnings_can_be_errors() {
    let shop = shop();
    shop.build().ok().says("warn");
    // A verdict that is known already counts too.
    shop.run(&["build", "--warn-error"]).fails_with(1);
    shop.run(&["ls", "--select", "nothing"]).ok().says("does not match");
    shop.run(&["ls", "--select", "nothing", "--warn-error"])
        .fails_with(2)
        .says("error[selects-nothing]");
    let options =
        |text: &str| shop.run(&["ls", "--select", "nothing", "--warn-error-options", text]);
    options("{error: all}").fails_with(2);
    options("{error: [NoNodesForSelectionCriteria]}").fails_with(2);
    options("{error: all, warn: [selects-nothing]}").ok().says("warning[selects-nothing]");
    options("{silence: [NoNodesForSelectionCriteria]}").ok().does_not_say("selects-nothing");
    options("{errors: all}").ok().says("use error, warn and silence");
    shop.write(
        "dbt_project.yml",
        "name: shop\nversion: '1.0'\nflags: {warn_error_options: {error: [selects-nothing]}}\n",
    );
    shop.run(&["ls", "--select", "nothing"]).fails_with(2);
    shop.run(&["ls", "--select", "a"]).ok();
}

#[test]
fn a_flag_comes_from_the_command_line_the_environment_or_the_project() {
    let shop = shop();
    let compiled = |variables: &[(&str, &str)], arguments: &[&str]| -> String {
        shop.write(
            "models/b.sql",
            "select {{ flags.FULL_REFRESH }} as f, '{{ flags.STATE }}' as s",
        );
        let mut all = vec!["compile", "--select", "b", "-q"];
        all.extend_from_slice(arguments);
        shop.run_with(variables, &all).ok().stdout.trim().to_owned()
    };
    assert_eq!(compiled(&[], &[]), "select False as f, 'None' as s");
    assert_eq!(compiled(&[("DBT_FULL_REFRESH", "1")], &[]), "select True as f, 'None' as s");
    assert_eq!(
        compiled(&[("DBT_ENGINE_FULL_REFRESH", "yes")], &[]),
        "select True as f, 'None' as s"
    );
    std::fs::create_dir(shop.path("here")).unwrap();
    std::fs::create_dir(shop.path("there")).unwrap();
    let state = [("DBT_STATE", "here")];
    assert_eq!(compiled(&state, &[]), "select False as f, 'here' as s");
    assert_eq!(compiled(&state, &["--state", "there"]), "select False as f, 'there' as s");
    shop.run(&["ls", "--fail-fst"]).fails_with(2).says("--fail-fast");
    // Flags that change nothing are taken, in either place.
    shop.run(&["--no-partial-parse", "ls", "--static-parser", "--cache-selected-only"]).ok();
    shop.run(&["ls", "--printer-width", "120", "--no-version-check"]).ok();
}

#[test]
fn empty_reads_no_rows_and_no_artifacts_are_written_when_asked() {
    let shop = shop();
    shop.write("models/b.sql", "{{ config(materialized='table') }}\nselect * from {{ ref('a') }}");
    shop.run(&["build", "--no-write-json"]).ok();
    assert!(!shop.path("target/run_results.json").exists());
    assert_eq!(shop.rows("select count(*) as n from b"), ["1"]);
    shop.run(&["run", "--select", "b", "--empty"]).ok();
    assert_eq!(shop.rows("select count(*) as n from b"), ["0"]);
    shop.run(&["run", "--select", "b", "--empty", "--no-empty"]).ok();
    assert_eq!(shop.rows("select count(*) as n from b"), ["1"]);
    shop.run(&["parse"]).ok();
    assert!(shop.path("target/manifest.json").is_file());
}

#[test]
fn what_is_said_is_logged_too() {
    let shop = shop();
    shop.build().ok().says("built");
    shop.run(&["ls", "--select", "nothing", "-q"]).ok().does_not_say("does not match");
    let log = std::fs::read_to_string(shop.path("logs/dbt.log")).unwrap();
    assert!(log.contains("[info ]") && log.contains("built"), "{log}");
    assert!(log.contains("does not match"), "{log}");
    shop.run(&["ls", "--log-path", "elsewhere", "--log-format-file", "json"]).ok();
    let log = std::fs::read_to_string(shop.path("elsewhere/dbt.log")).unwrap();
    assert!(log.contains("====="), "{log}");
    shop.run(&["build", "--log-path", "none", "--log-level-file", "none"]).ok();
    assert!(!shop.path("none").exists());
}

/// What the project's `flags:` say of names, as in dbt, and a flag that nobody knows.
#[test]
fn behaviour_flags_count_where_they_change_something() {
    let shop = Sandbox::new(&[("models/my model.sql", "select 1 as id")]);
    shop.run(&["parse"]).fails_with(2).says("has a blank");
    let project = |flags: &str| format!("name: shop\nversion: '1.0'\nflags: {flags}\n");
    shop.write("dbt_project.yml", project("{require_resource_names_without_spaces: false}"));
    shop.run(&["parse"]).ok().says("has a blank");
    shop.remove("models/my model.sql");
    shop.write("models/twice.sql", "select 1 as id");
    shop.write("seeds/twice.csv", "id\n1\n");
    shop.write("seeds/seeds.yml", "seeds:\n  - {name: twice, config: {alias: other}}\n");
    shop.write("dbt_project.yml", project("{}"));
    shop.run(&["parse"]).ok().says("both called `twice`");
    shop.write("dbt_project.yml", project("{require_unique_project_resource_names: true}"));
    shop.run(&["parse"]).fails_with(2).says("both called `twice`");
    shop.remove("seeds/twice.csv");
    shop.remove("seeds/seeds.yml");
    shop.write("dbt_project.yml", project("{require_sql_header_in_test_configs: true}"));
    shop.run(&["parse"]).ok().does_not_say("`flags`");
    shop.write("dbt_project.yml", project("{own: 1}"));
    shop.run(&["parse"]).ok().says("`flags` has no key `own`");
}

/// dbt looks for the project's own model of a name first, also for a package that has one.
#[test]
fn a_package_reads_the_projects_model_of_a_name_unless_a_flag_says_otherwise() {
    let shop = Sandbox::new(&[
        ("packages.yml", "packages:\n  - local: inner\n"),
        ("inner/dbt_project.yml", "name: inner\nversion: '1.0'\nmodels: {+schema: inner}\n"),
        ("inner/models/base.sql", "select 'inner' as of"),
        ("inner/models/reader.sql", "select * from {{ ref('base') }}"),
        ("models/base.sql", "select 'root' as of"),
    ]);
    shop.run(&["deps"]).ok();
    shop.build().ok();
    assert_eq!(shop.rows("select * from main_inner.reader"), ["root"]);
    shop.write(
        "dbt_project.yml",
        "name: shop\nversion: '1.0'\nflags: {require_ref_searches_node_package_before_root: true}\n",
    );
    shop.build().ok();
    assert_eq!(shop.rows("select * from main_inner.reader"), ["inner"]);
}

/// What programs read that follow dbt's log: names, codes and fields of dbt-core 1.12.6.
#[test]
fn dbts_events_are_written_for_those_who_follow_them() {
    let shop = shop();
    shop.write("models/c.sql", "select * from {{ ref('a') }} where nothing_like_this");
    let outcome = shop.run(&["--log-format", "json", "build"]).fails_with(1);
    assert_eq!(outcome.stderr, "");
    let events: Vec<serde_json::Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named = |name: &str| -> Vec<&serde_json::Value> {
        events.iter().filter(|event| event["info"]["name"] == name).collect()
    };
    let first = &events[0];
    assert_eq!(first["info"]["name"], "MainReportVersion");
    assert_eq!(first["info"]["code"], "A001");
    assert_eq!(first["data"], serde_json::json!({"log_version": 3, "version": "=1.12.6"}));
    let invocation = &first["info"]["invocation_id"];
    assert!(events.iter().all(|event| event["info"]["invocation_id"] == *invocation));
    let results = std::fs::read_to_string(shop.path("target/run_results.json")).unwrap();
    assert!(results.contains(invocation.as_str().unwrap()), "{results}");

    let of = |name: &str, id: &str| {
        let found =
            named(name).into_iter().find(|event| event["data"]["node_info"]["unique_id"] == id);
        found.unwrap_or_else(|| panic!("no {name} of {id} in {}", outcome.stdout)).clone()
    };
    let built = of("LogModelResult", "model.shop.a");
    assert_eq!(built["info"]["code"], "Q012");
    assert_eq!(built["info"]["level"], "info");
    let message = built["info"]["msg"].as_str().unwrap();
    assert!(message.contains("OK created sql table model main.a ....."), "{message}");
    let info = &built["data"]["node_info"];
    assert_eq!(info["node_status"], "success");
    assert_eq!(info["materialized"], "table");
    assert_eq!(info["resource_type"], "model");
    assert_eq!(info["node_path"], "a.sql");
    assert!(
        info["node_finished_at"].as_str().unwrap() >= info["node_started_at"].as_str().unwrap()
    );
    assert_eq!(built["data"]["total"], 4);
    let failed = of("LogModelResult", "model.shop.c");
    assert_eq!(failed["info"]["level"], "error");
    assert_eq!(failed["data"]["node_info"]["node_status"], "error");
    let warned = named("LogTestResult");
    assert_eq!(warned.len(), 1, "{}", outcome.stdout);
    assert_eq!(warned[0]["data"]["status"], "warn");
    assert_eq!(warned[0]["data"]["num_failures"], 1);
    assert_eq!(named("RunResultError").len(), 1);
    let stats = &named("StatsLine")[0]["data"]["stats"];
    assert_eq!(
        *stats,
        serde_json::json!({"error": 1, "noop": 0, "pass": 2, "reused": 0, "skip": 0, "total": 4, "warn": 1})
    );
    let listed = shop.run(&["ls", "--log-format", "json", "-s", "a", "b"]).ok().stdout;
    let printed: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["info"]["name"] == "PrintEvent")
        .map(|event| event["data"]["msg"].as_str().unwrap().to_owned())
        .collect();
    assert!(printed.contains(&"shop.a".to_owned()), "{printed:?}");
    // Our own form is another.
    let ours = shop.run(&["build", "--format", "json"]).fails_with(1).stdout;
    assert!(ours.contains("\"event\":\"run_started\""), "{ours}");
}

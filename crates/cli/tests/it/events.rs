//! dbt's events (`--log-format json`): names, levels, order and fields are those that dbt-core 1.12.6
//! writes for the same project, as far as orchestrators read them.

use serde_json::Value;

use crate::sandbox::Sandbox;

/// A table with a test that fails, what depends on it, an ephemeral model, an exposure, a unit test,
/// hooks of the run, and templates that say something.
fn shop() -> Sandbox {
    Sandbox::new(&[
        (
            "dbt_project.yml",
            "name: shop\nversion: '1.0'\non-run-start: select 1 as x\non-run-end: \"{{ log('the end', \
             info=true) }}\"\nmodels: {shop: {+meta: {owner: me}}}\n",
        ),
        ("seeds/raw.csv", "id,name\n1,one\n2,\n"),
        (
            "models/stg.sql",
            "{{ config(materialized='table') }}{{ log('building stg', info=true) }}\
             select * from {{ ref('raw') }}",
        ),
        ("models/out.sql", "{{ print('printed') }}select * from {{ ref('stg') }}"),
        ("models/bad.sql", "select nothing_like_this from {{ ref('raw') }}"),
        (
            "models/p.yml",
            "models:\n  - name: stg\n    columns:\n      - {name: id, data_tests: [unique]}\n      \
             - {name: name, data_tests: [{not_null: {config: {severity: warn}}}]}\n  - name: bad\n    \
             columns: [{name: id, data_tests: [not_null]}]\n\
             exposures:\n  - {name: board, type: dashboard, owner: {name: Ann}, depends_on: [ref('stg')]}\n\
             unit_tests:\n  - name: same\n    model: out\n    given: [{input: ref('stg'), rows: [{id: 1}]}]\n    \
             expect: {rows: [{id: 1}]}\n",
        ),
    ])
}

fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn name(event: &Value) -> &str {
    event["info"]["name"].as_str().unwrap()
}

/// The names and levels of the events of a node, in their order.
fn of_node<'a>(events: &'a [Value], id: &str) -> Vec<(&'a str, &'a str)> {
    let own = events.iter().filter(|event| event["data"]["node_info"]["unique_id"] == id);
    own.map(|event| (name(event), event["info"]["level"].as_str().unwrap())).collect()
}

fn find<'a>(events: &'a [Value], named: &str, id: &str) -> &'a Value {
    let of = |event: &Value| event["data"]["node_info"]["unique_id"].as_str().map(str::to_owned);
    let is_it = |event: &&Value| {
        name(event) == named && of(event).is_some_and(|found| found.starts_with(id))
    };
    events.iter().find(is_it).unwrap_or_else(|| panic!("no {named} of {id} in {events:#?}"))
}

#[test]
fn a_build_is_told_in_dbts_order() {
    let shop = shop();
    let told = shop.run(&["build", "--log-format", "json", "--threads", "1"]).fails_with(1);
    assert_eq!(told.stderr, "");
    let all = events(&told.stdout);
    let names: Vec<&str> = all.iter().map(name).collect();
    assert_eq!(
        names[..5],
        [
            "MainReportVersion",
            "AdapterRegistered",
            "FoundStats",
            "ConcurrencyLine",
            "LogHookStartLine"
        ]
    );
    let line = all[2]["data"]["stat_line"].as_str().unwrap();
    assert!(
        line.starts_with("3 models, 1 seed, 2 operations, 3 data tests, 1 exposure, ")
            && line.ends_with(" macros, 1 unit test"),
        "{line}"
    );
    // Nothing of level debug.
    assert!(all.iter().all(|event| event["info"]["level"] != "debug"));
    assert_eq!(
        of_node(&all, "model.shop.stg"),
        [("LogStartLine", "info"), ("JinjaLogInfo", "info"), ("LogModelResult", "info")]
    );
    assert_eq!(
        of_node(&all, "model.shop.bad"),
        [
            ("LogStartLine", "info"),
            ("LogModelResult", "error"),
            ("RunResultFailure", "error"),
            ("RunResultError", "error"),
            ("SQLCompiledPath", "info"),
        ]
    );
    let skipped = find(&all, "SkippingDetails", "test.shop.not_null_bad_id.");
    assert_eq!(skipped["data"]["resource_type"], "test");
    assert_eq!(skipped["data"]["node_info"]["node_status"], "skipped");
    let idle = find(&all, "LogNodeNoOpResult", "exposure.shop.board");
    assert_eq!(idle["data"]["description"], "exposure board");
    let unit = find(&all, "LogTestResult", "unit_test.shop.out.same");
    assert_eq!(unit["data"]["name"], "out::same");
    let warned =
        all.iter().find(|event| name(event) == "LogTestResult" && event["info"]["level"] == "warn");
    assert_eq!(warned.unwrap()["data"]["attached_node"], "model.shop.stg");
    assert_eq!(warned.unwrap()["data"]["num_failures"], 1);

    // What comes after the nodes, in its order.
    let last: Vec<&str> =
        names.iter().copied().skip_while(|name| *name != "LogNodeNoOpResult").collect();
    let ends: Vec<&str> = last
        .into_iter()
        .filter(|name| !matches!(*name, "LogNodeNoOpResult" | "SkippingDetails"))
        .collect();
    assert_eq!(
        ends,
        [
            "LogHookStartLine",
            "JinjaLogInfo",
            "LogHookEndLine",
            "FinishedRunningStats",
            "EndOfRunSummary",
            "RunResultFailure",
            "RunResultError",
            "SQLCompiledPath",
            "RunResultWarning",
            "RunResultWarningMessage",
            "SQLCompiledPath",
            "StatsLine",
        ]
    );
    let summary = all.iter().find(|event| name(event) == "EndOfRunSummary").unwrap();
    assert_eq!(
        summary["info"]["msg"],
        "Completed with 1 error, 0 partial successes, and 1 warning:"
    );
    let finished = all.iter().find(|event| name(event) == "FinishedRunningStats").unwrap();
    assert_eq!(
        finished["data"]["stat_line"],
        "1 exposure, 2 project hooks, 1 seed, 1 table model, 3 data tests, 1 unit test, 2 view models"
    );
    let stats = &all.last().unwrap()["data"]["stats"];
    assert_eq!(
        *stats,
        serde_json::json!({
            "error": 1, "noop": 1, "pass": 7, "reused": 0, "skip": 1, "total": 11, "warn": 1
        })
    );
    let hook = find(&all, "LogHookEndLine", "operation.shop.shop-on-run-end-0");
    assert_eq!(hook["data"]["node_info"]["node_path"], "hooks/shop-on-run-end-0.sql");
    assert_eq!((&hook["data"]["index"], &hook["data"]["total"]), (&1.into(), &1.into()));
    let printed: Vec<&Value> = all.iter().filter(|event| name(event) == "PrintEvent").collect();
    assert!(printed.iter().all(|event| event["data"] == serde_json::json!({"msg": "printed"})));
    assert!(!printed.is_empty());
}

#[test]
fn steps_of_nodes_are_told_to_those_who_ask_for_debug() {
    let shop = shop();
    shop.remove("models/bad.sql");
    for arguments in [&["--log-level", "debug"][..], &["--debug"]] {
        let arguments = [&["build", "--log-format", "json", "--no-reuse"], arguments].concat();
        let all = events(&shop.run(&arguments).ok().stdout);
        assert_eq!(
            of_node(&all, "model.shop.stg"),
            [
                ("NodeStart", "debug"),
                ("LogStartLine", "info"),
                ("NodeCompiling", "debug"),
                ("JinjaLogInfo", "info"),
                ("NodeExecuting", "debug"),
                ("LogModelResult", "info"),
                ("NodeFinished", "debug"),
            ]
        );
        let finished = find(&all, "NodeFinished", "model.shop.stg");
        assert_eq!(finished["data"]["node_info"]["node_status"], "success");
        assert_eq!(finished["data"]["node_info"]["meta"], serde_json::json!({"owner": "me"}));
        let result = &finished["data"]["run_result"];
        assert_eq!(result["status"], "success");
        assert_eq!(result["message"], "SELECT 2");
        assert_eq!(result["adapter_response"]["rows_affected"], 2);
        assert_eq!(result["thread"], finished["info"]["thread"]);
        let completed = all.last().unwrap();
        assert_eq!(name(completed), "CommandCompleted");
        assert_eq!(completed["data"]["success"], true);
    }
    // What is reused has ended well for all who wait for it.
    let again = events(&shop.run(&["build", "--log-format", "json"]).ok().stdout);
    let reused = find(&again, "LogModelResult", "model.shop.stg");
    assert_eq!(reused["data"]["status"], "reused");
    assert_eq!(reused["data"]["node_info"]["node_status"], "success");
    // Less than info.
    let quiet = |arguments: &[&str]| -> Vec<String> {
        let arguments = [&["build", "--log-format", "json", "--no-reuse"], arguments].concat();
        let all = events(&shop.run(&arguments).ok().stdout);
        all.iter().map(|event| name(event).to_owned()).filter(|name| name != "PrintEvent").collect()
    };
    assert_eq!(
        quiet(&["--log-level", "warn"]),
        ["NoNodeForYamlKey", "LogTestResult", "RunResultWarning", "RunResultWarningMessage"]
    );
    assert_eq!(quiet(&["--log-level", "error"]), [""; 0]);
    assert_eq!(quiet(&["--quiet"]), [""; 0]);
}

#[test]
fn other_commands_tell_what_they_found() {
    let shop = shop();
    shop.remove("models/bad.sql");
    shop.run(&["build"]).ok();
    let all = |arguments: &[&str]| {
        let arguments = [arguments, &["--log-format", "json"]].concat();
        events(&shop.run(&arguments).ok().stdout)
    };
    let of = |events: &[Value], named: &str| -> Value {
        let found = events.iter().find(|event| name(event) == named);
        found.unwrap_or_else(|| panic!("no {named} in {events:#?}"))["data"].clone()
    };
    let compiled = of(&all(&["compile", "-s", "out"]), "CompiledNode");
    assert_eq!(compiled["node_name"], "out");
    assert!(compiled["compiled"].as_str().unwrap().contains("select * from"));
    let inline = of(&all(&["compile", "--inline", "select 1"]), "CompiledNode");
    assert_eq!((&inline["is_inline"], &inline["compiled"]), (&true.into(), &"select 1".into()));
    let shown = of(&all(&["show", "-s", "stg", "--output", "json"]), "ShowNode");
    let preview: Value = serde_json::from_str(shown["preview"].as_str().unwrap()).unwrap();
    assert_eq!(preview["node"], "stg");
    assert_eq!(preview["show"][0]["id"], 1);
    of(&all(&["docs", "generate"]), "CatalogWritten");
    let parsed = all(&["parse"]);
    assert!(parsed.iter().all(|event| name(event) != "FoundStats"));
}

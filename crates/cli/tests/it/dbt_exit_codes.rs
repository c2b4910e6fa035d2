//! How commands end on mistakes and odd requests. Every expected code is what dbt-core 1.12.6 (with
//! dbt-duckdb 1.11.1) ends with on the same project, but where a line says otherwise.

use crate::sandbox::{Outcome, Sandbox};

const SETTINGS: &str = "name: shop\nversion: '1.0'\n";

const MACROS: &str =
    "{% macro fails() %}{% do exceptions.raise_compiler_error('not this') %}{% endmacro %}
{% macro bad_sql() %}{% do run_query('select * from nowhere_at_all') %}{% endmacro %}
{% macro hello(name='you') %}{% do log('hello ' ~ name, info=true) %}{% endmacro %}
{% macro reads() %}select * from {{ ref('orders') }}{% endmacro %}";

/// One seed, a model over it with a test that warns, a singular test, an analysis.
fn new_shop() -> Sandbox {
    Sandbox::new(&[
        ("seeds/raw.csv", "id,customer\n1,ann\n2,bob\n"),
        ("models/orders.sql", "{{ config(materialized='table') }}\nselect * from {{ ref('raw') }}"),
        (
            "models/m.yml",
            "models:\n  - name: orders\n    columns:\n      - name: customer\n        data_tests:\n          \
             - accepted_values: {arguments: {values: [ann]}, config: {severity: warn}}\n",
        ),
        ("tests/none.sql", "select * from {{ ref('orders') }} where id < 0"),
        ("analyses/count.sql", "select count(*) as n from {{ ref('orders') }}"),
        ("macros/m.sql", MACROS),
    ])
}

/// The shop with more lines in its `dbt_project.yml`.
fn shop_with(lines: &str) -> Sandbox {
    let shop = new_shop();
    shop.write("dbt_project.yml", format!("{SETTINGS}{lines}\n"));
    shop
}

/// Runs a line of words.
fn run(shop: &Sandbox, line: &str) -> Outcome {
    shop.run(&line.split_whitespace().collect::<Vec<_>>())
}

fn is_there(shop: &Sandbox, artifact: &str) -> bool {
    shop.path("target").join(artifact).is_file()
}

fn results(shop: &Sandbox) -> serde_json::Value {
    let text = std::fs::read(shop.path("target/run_results.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&text).unwrap()["results"].clone()
}

#[test]
fn a_mistake_in_the_project_file_is_shown_at_its_line() {
    let shop = shop_with("model-paths: models");
    run(&shop, "ls")
        .fails_with(2)
        .says("`model-paths` must be a list")
        .says("dbt_project.yml:3:14");
    let shop = shop_with("quoting: {database: maybe}\nvars: abc");
    run(&shop, "parse").fails_with(2).says("dbt_project.yml:3").says("dbt_project.yml:4");
    run(&shop_with("config-version: 3"), "parse").ok();
    run(&shop_with("flags: {indirect_selection: nope}"), "parse").fails_with(2).says("use eager");
}

#[test]
fn the_version_of_dbt_that_a_project_asks_for_is_looked_at() {
    for (asked, code) in [
        ("'>=1.0.0'", 0),
        ("'>=2.0.0'", 2),
        ("['>=1.0.0', '<2.0.0']", 0),
        ("'>=1.0.0,<2.0.0'", 0),
        ("'>=1.0.0,<1.5.0'", 2),
        ("'1.12.6'", 0),
        ("'=1.12.6'", 0),
        ("'>1.12.6'", 2),
        ("'<=1.12.6'", 0),
        ("'<1.12.6'", 2),
        ("'>=1.12.0rc1'", 0),
        ("'>=1.13.0-b1'", 2),
        ("['<1.0.0', '>2.0.0']", 2),
        ("'1.12'", 2),
        ("'~=1.12'", 2),
        ("'!=1.12.6'", 2),
        ("abc", 2),
        ("''", 2),
        ("1.12", 2),
        ("{a: 1}", 2),
        ("[]", 0),
        ("", 0),
        ("\"{{ env_var('ASKED', '>=2.0.0') }}\"", 2),
    ] {
        let shop = shop_with(&format!("require-dbt-version: {asked}"));
        assert_eq!(run(&shop, "parse").code, Some(code), "{asked}");
    }
    let shop = shop_with("require-dbt-version: '>=2.0.0'");
    run(&shop, "ls").fails_with(2).says("asks for dbt >=2.0.0").says("dbt_project.yml:3:22");
    run(&shop, "clean").fails_with(2);
    run(&shop, "deps").fails_with(2);
    run(&shop, "debug").fails_with(1);
    run(&shop, "parse --no-version-check").ok();
    shop.run_with(&[("DBT_VERSION_CHECK", "0")], &["parse"]).ok();
    let shop = shop_with("require-dbt-version: '>=2.0.0'\nflags: {version_check: false}");
    run(&shop, "parse").ok();
    // What is no version is a mistake in any case.
    run(&shop_with("require-dbt-version: abc"), "parse --no-version-check").fails_with(2);

    let shop = new_shop();
    shop.write("packages.yml", "packages:\n  - local: inner\n");
    shop.write("inner/dbt_project.yml", "name: inner\nrequire-dbt-version: '>=2.0.0'\n");
    run(&shop, "deps").ok();
    run(&shop, "parse").fails_with(2).says("`inner` asks for dbt >=2.0.0");
    run(&shop, "parse --no-version-check").ok();
    shop.remove("inner/dbt_project.yml");
    std::fs::remove_dir_all(shop.path("dbt_packages")).unwrap();
    run(&shop, "parse").fails_with(2);
    run(&shop, "clean").ok();
    shop.write("packages.yml", "packages: x\n");
    run(&shop, "deps").fails_with(2).says("`packages` must be a list");
}

#[test]
fn a_hook_of_the_run_that_cannot_be_rendered_ends_the_command() {
    let at_run = "\"{% if execute %}{{ fails() }}{% endif %}\"";
    // At once, whatever the command is.
    for (hook, said) in
        [("\"{{ fails() }}\"", "not this"), ("\"{{ not_there( }}\"", "dbt_project.yml:3")]
    {
        for when in ["on-run-start", "on-run-end"] {
            let shop = shop_with(&format!("{when}: {hook}"));
            run(&shop, "ls").fails_with(2).says(said);
            run(&shop, "run").fails_with(2);
            assert!(!is_there(&shop, "run_results.json"));
        }
    }
    for (hook, code) in [
        (at_run, 2),
        ("\"{{ bad_sql() }}\"", 2),
        ("\"{{ nothing_here.x.y }}\"", 2),
        ("\"{{ not_there() }}\"", 2),
        ("select * from nowhere_at_all", 1),
    ] {
        let shop = shop_with(&format!("on-run-start: {hook}"));
        run(&shop, "seed").fails_with(code).says("shop.on-run-start.0");
        // A statement that fails is a result, a template is none.
        assert_eq!(is_there(&shop, "run_results.json"), code == 1, "{hook}");
        let shop = shop_with(&format!("on-run-end: {hook}"));
        run(&shop, "seed").fails_with(code).says("shop.on-run-end.0");
        let results = results(&shop);
        assert_eq!(results[0]["status"], "success", "{results}");
        assert_eq!(shop.value("select count(*) from raw"), "2");
    }
    // An operation runs no hooks.
    run(&shop_with(&format!("on-run-start: {at_run}")), "run-operation hello").ok();
}

#[test]
fn a_hook_of_a_seed_cannot_refer_to_anything() {
    for (hook, code) in [
        ("select * from {{ ref('orders') }}", 2),
        ("select * from {{ ref('raw') }}", 2),
        ("select * from {{ source('a', 'b') }}", 2),
        ("{{ reads() }}", 2),
        ("select * from {{ this }}", 0),
    ] {
        let shop = new_shop();
        shop.write(
            "seeds/s.yml",
            format!("seeds:\n  - name: raw\n    config: {{post_hook: \"{hook}\"}}\n"),
        );
        for command in ["parse", "ls", "seed"] {
            let outcome = run(&shop, command);
            assert_eq!(outcome.code, Some(code), "{command}: {hook}\n{}", outcome.all());
            if code == 2 {
                outcome.says("seeds are there before all else");
            }
        }
    }
}

#[test]
fn options_of_warnings_are_judged() {
    let shop = new_shop();
    shop.build().ok();
    for (options, code) in [
        ("{error: all}", 1),
        ("{error: '*'}", 1),
        ("{error: [LogTestResult]}", 1),
        ("{error: [NoNodesForSelectionCriteria]}", 0),
        ("{error: [Deprecations]}", 0),
        ("{silence: [LogTestResult]}", 0),
        ("{error: all, warn: [Deprecations]}", 1),
        ("{error: all, warn: [LogTestResult, RunResultWarning, RunResultWarningMessage]}", 0),
        // The older names are a warning themselves.
        ("{include: all}", 2),
        ("{include: all, exclude: [WEOIncludeExcludeDeprecation]}", 1),
        ("{include: [LogTestResult]}", 1),
        ("{include: all, error: all}", 2),
        // What a test warns of is told once more in the end.
        ("{error: all, warn: [LogTestResult]}", 2),
        ("{error: all, warn: [LogTestResult, RunResultWarning]}", 2),
        ("{error: [RunResultWarning]}", 2),
        ("{error: all, silence: [LogTestResult]}", 2),
        ("{error: 3}", 2),
        ("{error: all, warn: all}", 2),
        ("{silence: all}", 2),
        ("{silence: LogTestResult}", 2),
        ("{errors: all}", 0),
        ("abc", 2),
        ("[1]", 2),
        ("{", 2),
        ("", 2),
        // Here dbt ends with a Python traceback, and 1.
        ("{error: [all]}", 2),
        ("{error: [Nonsense]}", 2),
        ("{error: LogTestResult}", 2),
        ("{silence: [Nonsense]}", 2),
        ("{warn: [LogTestResult]}", 2),
        ("{warn: all}", 2),
        ("{error: [LogTestResult], warn: [LogTestResult]}", 2),
        ("{exclude: [LogTestResult], warn: [LogTestResult]}", 2),
    ] {
        let outcome = shop.run(&["test", "--warn-error-options", options]);
        assert_eq!(outcome.code, Some(code), "{options}\n{}", outcome.all());
    }
    shop.run(&["test", "--warn-error-options", "{error: [LogTestResults]}"])
        .fails_with(2)
        .says("did you mean `LogTestResult`?");
    shop.run(&["test", "--warn-error", "--warn-error-options", "{error: all}"]).fails_with(2);
    shop.run_with(&[("DBT_WARN_ERROR_OPTIONS", "{error: all}")], &["test"]).fails_with(1);
    shop.run_with(&[("DBT_WARN_ERROR", "1")], &["test"]).fails_with(1);
    shop.write(
        "dbt_project.yml",
        format!("{SETTINGS}flags: {{warn_error_options: {{include: all}}}}\n"),
    );
    run(&shop, "test").fails_with(2);
    shop.write("dbt_project.yml", format!("{SETTINGS}flags: {{warn_error_options: all}}\n"));
    run(&shop, "test").fails_with(2);
}

#[test]
fn a_selection_of_nothing_is_a_result_without_results() {
    let shop = new_shop();
    shop.build().ok();
    for command in ["run", "build", "test", "seed", "snapshot", "compile"] {
        run(&shop, &format!("{command} -s nothing")).ok().says("nothing is selected");
        assert_eq!(results(&shop), serde_json::json!([]), "{command}");
    }
    // It is no run that could be done again.
    run(&shop, "retry").fails_with(2);
    run(&shop, "show -s nothing").ok();
    shop.run(&["run", "-s", "nothing", "--warn-error-options", "{error: [NothingToDo]}"])
        .fails_with(2);
    let silent = "{error: all, silence: [NoNodesForSelectionCriteria]}";
    shop.run(&["run", "-s", "nothing", "--warn-error-options", silent]).fails_with(2);
    run(&shop, "run -s nothing --warn-error").fails_with(2);
}

#[test]
fn commands_end_as_dbt_does() {
    let shop = new_shop();
    run(&shop, "retry").fails_with(2);
    shop.build().ok();
    for (line, code) in [
        ("run --threads 0", 2),
        ("compile --threads 0", 2),
        ("source freshness --threads 0", 2),
        ("parse --threads 0", 0),
        ("run --threads x", 2),
        ("run-operation hello", 0),
        ("run-operation shop.hello", 0),
        ("run-operation nothing", 2),
        ("run-operation other.hello", 2),
        ("run-operation fails", 1),
        ("run-operation bad_sql", 1),
        ("run-operation hello --args {name:", 2),
        ("run-operation hello --args [1]", 2),
        ("run-operation hello --args abc", 2),
        ("run-operation hello --args {other:me}", 1),
        ("run-operation", 2),
        ("ls --resource-type thing", 2),
        ("ls -s colour:red", 2),
        ("ls -s state:modified", 2),
        ("ls -s state:modified --state nodir", 2),
        ("run --state nodir", 0),
        ("run --defer", 2),
        ("clone", 2),
        ("clone --state nodir", 2),
        ("run --target nope", 2),
        ("run --profile nope", 2),
        ("debug --target nope", 1),
        ("debug --profile nope", 1),
        ("show -s none", 0),
        ("show -s count", 0),
        ("show -s orders raw --limit 1", 0),
        ("show -s orders --limit x", 2),
        ("compile --output json -s orders", 0),
        ("run --event-time-start 2024-01-01", 2),
        ("run --event-time-start 2024-02-01 --event-time-end 2024-01-01", 2),
        ("run --sample soon", 2),
        ("frobnicate", 2),
        ("run --nonsense", 2),
        ("test --indirect-selection nope", 2),
        ("run --log-format nice", 2),
        // Flags that other commands have.
        ("run --resource-type model", 2),
        ("run --store-failures", 2),
        ("seed --exclude-resource-type seed", 2),
        ("seed --sample 3", 2),
        ("snapshot --full-refresh", 2),
        ("compile --resource-type model", 2),
        ("show -s orders --resource-type model", 2),
        ("show -s orders --no-inject-ephemeral-ctes", 2),
        ("source freshness --resource-type source", 2),
        ("docs generate --resource-type model", 2),
    ] {
        let outcome = run(&shop, line);
        assert_eq!(outcome.code, Some(code), "{line}\n{}", outcome.all());
    }
    for (query, code) in [
        ("select nope", 2),
        ("select * from {{ ref('nope') }}", 2),
        ("select {{ nope(", 2),
        ("select 1 as a", 0),
    ] {
        assert_eq!(shop.run(&["show", "--inline", query]).code, Some(code), "{query}");
    }
    for vars in ["", "{a: ", "abc", "[1]"] {
        shop.run(&["run", "--vars", vars]).fails_with(2);
    }
    // dbt reads no vars and no threads from the environment.
    shop.run_with(&[("DBT_VARS", "{a: "), ("DBT_THREADS", "0")], &["run"]).ok();
    shop.run_with(&[("DBT_FULL_REFRESH", "maybe")], &["run"]).fails_with(2);
    // Nor flags that the command does not have.
    let types = &[("DBT_RESOURCE_TYPES", "test")];
    assert!(
        shop.run_with(types, &["ls"]).ok().stdout.lines().all(|line| !line.ends_with(".orders"))
    );
    assert_eq!(
        shop.run_with(types, &["compile", "-s", "orders", "-q"]).ok().stdout.lines().count(),
        1
    );
    shop.run_with(&[("DBT_SAMPLE", "soon")], &["run"]).fails_with(2);
    shop.run_with(&[("DBT_SAMPLE", "soon")], &["seed"]).ok();
    // The last one counts.
    run(&shop, "ls --output name --output nope --output selector").fails_with(2);
    assert_eq!(
        run(&shop, "ls -s orders --resource-type model --output path --output name")
            .ok()
            .stdout
            .trim(),
        "orders"
    );
    run(&shop, "ls -s orders").ok();
    assert!(is_there(&shop, "manifest.json"));
}

#[test]
fn what_cannot_be_compiled_ends_the_command() {
    let shop = new_shop();
    for text in ["{{ fails() }}", "{{ bad_sql() }}"] {
        let text =
            format!("{{% if execute %}}{text}{{% endif %}}select 1 as id, 'ann' as customer");
        shop.write("models/orders.sql", text);
        run(&shop, "compile").fails_with(2);
        run(&shop, "show -s orders").fails_with(2);
        run(&shop, "docs generate").fails_with(2);
        run(&shop, "run").fails_with(1);
    }
    shop.write("models/orders.sql", "select * from nowhere_at_all");
    run(&shop, "show -s orders").fails_with(2);
    run(&shop, "run").fails_with(1);
    shop.write(
        "models/more.yml",
        "models:\n  - {name: orders, description: \"{{ doc('nope') }}\"}\n",
    );
    shop.remove("models/m.yml");
    run(&shop, "parse").fails_with(2).says("there is no docs block `nope`");
}

/// A lake is one database; dbt has two tables here.
#[test]
fn two_models_of_one_name_in_two_databases_are_refused_with_what_to_do() {
    let shop = new_shop();
    shop.write(
        "models/second.sql",
        "{{ config(alias='orders', database='other') }}\nselect 1 as id",
    );
    run(&shop, "parse").fails_with(2).says("a lake is one database").says("generate_schema_name");
    shop.write("models/second.sql", "{{ config(alias='orders', schema='other') }}\nselect 1 as id");
    run(&shop, "build").ok();
    shop.write(
        "macros/generate_schema_name.sql",
        "{% macro generate_schema_name(custom, node) %}{{ node.config.database ~ '_' if \
         node.config.database }}{{ custom or target.schema }}{% endmacro %}",
    );
    shop.write(
        "models/second.sql",
        "{{ config(alias='orders', database='other') }}\nselect 1 as id",
    );
    run(&shop, "build").ok();
    assert_eq!(shop.value("select id from other_main.orders"), "1");
}

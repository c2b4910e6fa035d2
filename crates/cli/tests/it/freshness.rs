//! How fresh sources are, and the artifacts about it.

use serde_json::Value;

use crate::sandbox::Sandbox;

fn shop(freshness: &str) -> Sandbox {
    let shop = Sandbox::new(&[
        (
            "models/raw.sql",
            "{{ config(materialized='table', schema='raw') }}\nselect 1 as id, now() - interval '3 hours' as at, \
             current_date as day, 'old' as kind union all select 2, now() - interval '50 hours', \
             current_date - 3, 'old' union all select 3, now(), current_date, 'new'",
        ),
        ("models/empty.sql", "{{ config(materialized='table') }}\nselect now() as at where false"),
    ]);
    shop.build().ok();
    shop.write(
        "models/sources.yml",
        format!(
            "sources:\n  - name: web\n    schema: main_raw\n    loaded_at_field: at\n    \
             freshness: {{warn_after: {{count: 1, period: hour}}, error_after: {{count: 1, period: day}}}}\n    \
             tables:\n{freshness}"
        ),
    );
    shop
}

fn results(shop: &Sandbox) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(shop.path("target/sources.json")).unwrap();
    let artifact: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        artifact["metadata"]["dbt_schema_version"],
        "https://schemas.getdbt.com/dbt/sources/v3.json"
    );
    let mut all: Vec<(String, String)> = artifact["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            let text = |key: &str| result[key].as_str().unwrap().to_owned();
            (text("unique_id"), text("status"))
        })
        .collect();
    all.sort();
    all
}

#[test]
fn ages_are_judged_by_the_limits_that_hold_for_each_table() {
    let shop = shop(concat!(
        "      - {name: raw}\n",
        "      - {name: old, identifier: raw, freshness: {filter: \"kind = 'old'\"}}\n",
        "      - {name: very_old, identifier: raw, freshness: {filter: \"id = 2\"}}\n",
        "      - {name: patient, identifier: raw, freshness: {filter: \"id = 2\", error_after: null, warn_after: {count: 3, period: day}}}\n",
        "      - {name: unlimited, identifier: raw, freshness: null}\n",
        "      - {name: queried, identifier: raw, loaded_at_query: \"select min(at) from {{ this }}\"}\n",
        "      - {name: by_day, identifier: raw, loaded_at_field: day, freshness: {warn_after: {count: 2, period: day}}}\n",
    ));
    shop.run(&["source", "freshness"]).fails_with(1).says("web.very_old").says("2 days old");
    let expected = [
        ("by_day", "pass"),
        ("old", "warn"),
        ("patient", "pass"),
        ("queried", "error"),
        ("raw", "pass"),
        ("very_old", "error"),
    ];
    // The day of `by_day` may be up to a day old.
    let found = results(&shop);
    for (index, (name, status)) in expected.iter().enumerate() {
        assert_eq!(found[index].0, format!("source.shop.web.{name}"));
        assert_eq!(found[index].1, *status, "{name}");
    }
    assert_eq!(found.len(), expected.len());
    // Warnings are no failure, unless they are to be.
    shop.run(&["source", "freshness", "--select", "source:web.old"]).ok();
    shop.run(&["source", "freshness", "--select", "source:web.old", "--warn-error"]).fails_with(1);
    shop.run(&["snapshot-freshness", "-s", "source:web.raw", "-o", "fresh/a.json"]).ok();
    assert!(shop.path("fresh/a.json").is_file());
}

#[test]
fn what_cannot_be_told_is_a_runtime_error() {
    let shop = shop(concat!(
        "      - {name: nothing}\n",
        "      - {name: number, identifier: raw, loaded_at_field: id}\n",
        "      - {name: wrong, identifier: raw, loaded_at_field: nowhere}\n",
    ));
    shop.run(&["source", "freshness"]).fails_with(1).says("a timestamp is needed");
    let found = results(&shop);
    assert!(found.iter().all(|(_, status)| status == "runtime error"), "{found:?}");
    let none = Sandbox::new(&[("models/a.sql", "select 1 as x")]);
    none.run(&["source", "freshness"]).ok().says("no selected source");
}

#[test]
fn without_a_column_the_time_of_the_publish_counts() {
    let shop = shop("      - {name: empty, loaded_at_field: null}\n");
    shop.write(
        "models/sources.yml",
        "sources:\n  - name: web\n    schema: main\n    freshness: {warn_after: {count: 1, period: hour}}\n    \
         tables:\n      - {name: empty}\n      - {name: rows, identifier: empty, loaded_at_field: at}\n",
    );
    // An empty table was published just now, and has no rows at all.
    shop.run(&["source", "freshness"]).ok().says("no rows");
    assert_eq!(
        results(&shop).iter().map(|(_, status)| status.as_str()).collect::<Vec<_>>(),
        ["pass", "warn"]
    );
}

#[test]
fn sources_that_became_fresher_are_selected() {
    let shop = shop(
        "      - {name: raw}\n      - {name: old, identifier: raw, freshness: {filter: \"id = 2\"}}\n",
    );
    let ls = |shop: &Sandbox| -> Vec<String> {
        let arguments =
            ["ls", "--select", "source_status:fresher", "--state", "before", "--output", "name"];
        shop.run(&arguments).ok().stdout.lines().map(str::to_owned).collect()
    };
    shop.run(&["source", "freshness"]).fails_with(1);
    shop.run(&["ls", "-s", "source_status:fresher", "--state", "target"]).ok();
    std::fs::create_dir(shop.path("before")).unwrap();
    std::fs::copy(shop.path("target/sources.json"), shop.path("before/sources.json")).unwrap();
    assert_eq!(ls(&shop), [""; 0]);
    // The newest row of `raw` is built with the current time; the other's would be too, but its
    // filter looks at a row whose time is set here.
    shop.write(
        "models/raw.sql",
        "{{ config(materialized='table', schema='raw') }}\nselect 2 as id, timestamp '2020-01-01' as at",
    );
    shop.build().ok();
    shop.run(&["source", "freshness"]).fails_with(1);
    assert_eq!(ls(&shop), [""; 0], "older is not fresher");
    shop.write(
        "models/raw.sql",
        "{{ config(materialized='table', schema='raw') }}\nselect 3 as id, now() as at union all \
         select 2, timestamp '2019-01-01'",
    );
    shop.build().ok();
    shop.run(&["source", "freshness"]).fails_with(1);
    assert_eq!(ls(&shop), ["web.raw"]);
}

#[test]
fn hooks_of_the_run_are_around_it_unless_the_project_says_otherwise() {
    let project = |flag: &str| {
        format!(
            "name: shop\nversion: '1.0'\non-run-start: insert into main.audit values ('start')\n\
             on-run-end: insert into main.audit values ('end')\n{flag}"
        )
    };
    let sandbox = Sandbox::new(&[("dbt_project.yml", &project(""))]);
    sandbox.run(&["sql", "create table main.audit (what varchar)"]).ok();
    sandbox.run(&["source", "freshness"]).ok();
    assert_eq!(sandbox.rows("select what from audit order by what"), ["end", "start"]);
    sandbox
        .write("dbt_project.yml", project("flags: {source_freshness_run_project_hooks: false}\n"));
    sandbox.run(&["source", "freshness"]).ok();
    assert_eq!(sandbox.value("select count(*) from audit"), "2");
    sandbox.write(
        "dbt_project.yml",
        "name: shop\nversion: '1.0'\non-run-start: select * from nowhere\n",
    );
    sandbox.run(&["source", "freshness"]).fails_with(1);
}

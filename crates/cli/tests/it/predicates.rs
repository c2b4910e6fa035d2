//! `incremental_predicates` and what a merge knows besides: the rows that dbt gives on DuckDB.

use crate::sandbox::{Outcome, Sandbox};

/// A table of three days, and an increment over two of them that has rows of a fourth.
fn project(config: &str) -> Sandbox {
    let sandbox = Sandbox::new(&[(
        "models/m.sql",
        &format!(
            "{{{{ config(materialized='incremental', unique_key='id', {config}) }}}}\n\
             {{% if is_incremental() %}}\n\
             select * from (values (1, date '2024-01-01', 'new', 10), (2, date '2024-01-05', 'new', 20), (4, date '2024-01-06', 'new', 40)) as t(id, day, v, n)\n\
             {{% else %}}\n\
             select * from (values (1, date '2024-01-01', 'old', 1), (2, date '2024-01-05', 'old', 2), (3, date '2024-01-05', 'old', 3)) as t(id, day, v, n)\n\
             {{% endif %}}"
        ),
    )]);
    sandbox.build().ok();
    sandbox
}

/// The query is the same each time: that alone would be no reason to run it again.
fn increment(sandbox: &Sandbox) -> Outcome {
    sandbox.run(&["build", "--no-reuse"])
}

fn rows(sandbox: &Sandbox) -> Vec<String> {
    sandbox.rows("select id, v, n from m order by id, v, n")
}

#[test]
fn only_rows_within_the_conditions_are_touched() {
    for (config, expected) in [
        // What is outside stays, and its new row is added beside it.
        (
            "incremental_strategy='delete+insert', incremental_predicates=[\"day >= '2024-01-03'\"]",
            vec!["1,new,10", "1,old,1", "2,new,20", "3,old,3", "4,new,40"],
        ),
        (
            "incremental_strategy='delete+insert', predicates=\"DBT_INTERNAL_DEST.v <> 'old'\"",
            vec!["1,new,10", "1,old,1", "2,new,20", "2,old,2", "3,old,3", "4,new,40"],
        ),
        (
            "incremental_strategy='merge', incremental_predicates=[\"DBT_INTERNAL_DEST.day > date '2024-01-03'\"]",
            vec!["1,new,10", "1,old,1", "2,new,20", "3,old,3", "4,new,40"],
        ),
        (
            "incremental_strategy='merge', incremental_predicates=['DBT_INTERNAL_SOURCE.n < 15'], merge_exclude_columns=['n']",
            vec!["1,new,1", "2,new,20", "2,old,2", "3,old,3", "4,new,40"],
        ),
        (
            "incremental_strategy='merge', merge_update_condition='DBT_INTERNAL_SOURCE.n > 15', merge_insert_condition='DBT_INTERNAL_SOURCE.n > 100'",
            vec!["1,old,1", "2,new,20", "3,old,3"],
        ),
        (
            "incremental_strategy='merge', merge_update_set_expressions={'n': 'DBT_INTERNAL_DEST.n + DBT_INTERNAL_SOURCE.n'}",
            vec!["1,new,11", "2,new,22", "3,old,3", "4,new,40"],
        ),
    ] {
        let sandbox = project(config);
        increment(&sandbox).ok();
        assert_eq!(rows(&sandbox), expected, "{config}");
        assert!(!sandbox.path("lake/main/m__dbt_tmp").exists());
    }
}

#[test]
fn files_outside_of_a_bound_stay_as_they_are() {
    let sandbox = project(
        "incremental_strategy='merge', incremental_predicates=[\"DBT_INTERNAL_DEST.day >= date '2024-01-04'\"]",
    );
    // A file of its own for the days before.
    sandbox.write(
        "models/m.sql",
        "{{ config(materialized='incremental', unique_key='id', incremental_strategy='merge', partition_by=['day'],
            incremental_predicates=[\"DBT_INTERNAL_DEST.day >= date '2024-01-04'\"]) }}
         select n as id, date '2024-01-01' + cast(n % 10 as int) as day, {{ 1 if is_incremental() else 0 }} as run
         from unnest(generate_series(0, 99)) as t(n) {% if is_incremental() %} where n % 10 > 5 {% endif %}",
    );
    sandbox.run(&["build", "--full-refresh"]).ok();
    increment(&sandbox).ok();
    let log = std::fs::read_dir(sandbox.path("lake/main/m/_delta_log")).unwrap().flatten();
    let mut commits: Vec<_> = log.map(|file| file.path()).collect();
    commits.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    commits.sort();
    let last = std::fs::read_to_string(commits.last().unwrap()).unwrap();
    let days: Vec<String> = last
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|action| {
            let file = ["add", "remove"].into_iter().find_map(|kind| action.get(kind))?;
            Some(file["partitionValues"]["day"].as_str().unwrap().to_owned())
        })
        .collect();
    assert!(!days.is_empty());
    // Of the days within the bound, those that have a row of the increment.
    assert!(days.iter().all(|day| day.as_str() >= "2024-01-07"), "{days:?}");
    assert_eq!(
        sandbox.rows("select run, count(*) from m group by run order by run"),
        ["0,60", "1,40"]
    );
}

#[test]
fn what_cannot_be_done_is_said() {
    let sandbox = project("incremental_strategy='merge', incremental_predicates=['nothing > 1']");
    increment(&sandbox).fails_with(1).says("nothing");
    let twice = project("incremental_strategy='merge', incremental_predicates=['true']");
    let model = std::fs::read_to_string(twice.path("models/m.sql")).unwrap();
    twice.write("models/m.sql", model.replace("(4, date '2024-01-06'", "(2, date '2024-01-06'"));
    increment(&twice).fails_with(1).says("several new rows have the same key (id)").says("2");
    assert_eq!(rows(&twice), ["1,old,1", "2,old,2", "3,old,3"]);
    Sandbox::new(&[(
        "models/m.sql",
        "{{ config(materialized='incremental', unique_key='id', incremental_strategy='merge', merge_returning_columns=['id']) }} select 1 as id",
    )])
    .build()
    .fails_with(1)
    .says("merge_returning_columns");
}

#[test]
fn a_new_column_comes_with_the_increment() {
    let sandbox = project("incremental_strategy='merge', incremental_predicates=['true']");
    let model = std::fs::read_to_string(sandbox.path("models/m.sql")).unwrap();
    let model = model
        .replace(
            "incremental_strategy",
            "on_schema_change='append_new_columns', incremental_strategy",
        )
        .replace(
            "select * from (values (1, date '2024-01-01', 'new'",
            "select *, 'x' as more from (values (1, date '2024-01-01', 'new'",
        );
    sandbox.write("models/m.sql", model);
    sandbox.build().ok();
    assert_eq!(
        sandbox.rows("select id, v, n, more from m order by id"),
        ["1,new,10,x", "2,new,20,x", "3,old,3,", "4,new,40,x"]
    );
}

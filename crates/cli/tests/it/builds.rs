//! Building, building again, and building after a change.

use crate::sandbox::{ORDERS_SOURCE, Sandbox};

fn shop() -> Sandbox {
    Sandbox::new(&[
        ("data/orders-1.csv", "id,customer,amount\n1,ada,10\n2,bob,20\n"),
        ("models/sources.yml", ORDERS_SOURCE),
        ("models/stg_orders.sql", "select id, customer, amount from {{ source('raw', 'orders') }}"),
        (
            "models/revenue.sql",
            "{{ config(materialized='table') }}\nselect customer, sum(amount) as revenue from {{ ref('stg_orders') }} group by customer",
        ),
        (
            "models/top.sql",
            "{{ config(materialized='table') }}\nselect max(revenue) as best from {{ ref('revenue') }}",
        ),
    ])
}

#[test]
fn a_second_build_has_nothing_to_do() {
    let shop = shop();
    shop.build().ok().says("4 built");
    assert_eq!(shop.rows("select * from revenue order by customer"), ["ada,10", "bob,20"]);
    shop.build().ok().says("nothing to do: 4 nodes are up to date");
}

#[test]
fn a_new_file_costs_that_file_and_what_depends_on_it() {
    let shop = shop();
    shop.build().ok();
    shop.write("data/orders-2.csv", "id,customer,amount\n3,ada,5\n");
    shop.build().ok().says("1 row ").says("revenue").says("1 reused");
    assert_eq!(shop.rows("select * from revenue order by customer"), ["ada,15", "bob,20"]);
    assert_eq!(shop.value("select count(*) from raw.orders"), "3");
}

#[test]
fn a_change_rebuilds_the_model_and_stops_where_rows_stay_the_same() {
    let shop = shop();
    shop.build().ok();
    // A comment is no change.
    shop.write(
        "models/revenue.sql",
        "{{ config(materialized='table') }}\n-- a comment\nselect customer, sum(amount) as revenue from {{ ref('stg_orders') }} group by customer",
    );
    shop.build().ok().says("nothing to do");
    // Another way to the same rows: built, and what depends on it is not.
    shop.write(
        "models/revenue.sql",
        "{{ config(materialized='table') }}\nselect customer, sum(amount + 0) as revenue from {{ ref('stg_orders') }} group by 1",
    );
    shop.build().ok().says("1 came out the same, 3 reused");
    shop.write(
        "models/revenue.sql",
        "{{ config(materialized='table') }}\nselect customer, sum(amount) * 2 as revenue from {{ ref('stg_orders') }} group by 1",
    );
    shop.build().ok().says("2 built, 2 reused");
    assert_eq!(shop.value("select best from top"), "40");
}

#[test]
fn volatile_models_are_built_each_time_unless_told_otherwise() {
    let shop = Sandbox::new(&[(
        "models/stamp.sql",
        "{{ config(materialized='table') }}\nselect now() as at",
    )]);
    shop.build().ok();
    shop.build().ok().says("1 built");
    shop.write(
        "models/stamp.sql",
        "{{ config(materialized='table', meta={'reuse': true}) }}\nselect now() as at",
    );
    shop.build().ok();
    shop.build().ok().says("nothing to do");
}

#[test]
fn no_reuse_and_select_do_as_in_dbt() {
    let shop = shop();
    shop.build().ok();
    shop.run(&["build", "--no-reuse", "--select", "revenue"]).ok().says("1 came out the same");
    shop.run(&["run", "--select", "revenue+", "--no-reuse"]).ok().says("2 came out the same");
    shop.run(&["build", "--select", "nothing_like_this"]).ok().says("nothing is selected");
}

#[test]
fn a_var_that_is_read_counts_and_one_that_is_not_does_not() {
    let shop = Sandbox::new(&[(
        "models/one.sql",
        "{{ config(materialized='table') }}\nselect {{ var('x', 1) }} as x",
    )]);
    shop.build().ok();
    shop.run(&["build", "--vars", "{y: 2}"]).ok().says("nothing to do");
    shop.run(&["build", "--vars", "{x: 2}"]).ok().says("1 built");
    assert_eq!(shop.value("select x from one"), "2");
}

#[test]
fn a_run_can_become_visible_at_once_or_not_at_all() {
    let shop = Sandbox::new(&[
        ("models/a.sql", "{{ config(materialized='table') }}\nselect 1 as id"),
        ("models/b.sql", "{{ config(materialized='table') }}\nselect id from {{ ref('a') }}"),
        (
            "models/m.yml",
            "models:\n  - name: b\n    columns: [{name: id, tests: [{accepted_values: {values: [2]}}]}]\n",
        ),
    ]);
    shop.run(&["build", "--publish", "run"]).fails_with(1);
    assert_eq!(shop.run(&["lake", "list", "--format", "json"]).ok().stdout, "");
    shop.write("models/a.sql", "{{ config(materialized='table') }}\nselect 2 as id");
    shop.run(&["build", "--publish", "run"]).ok();
    // One entry for all of it.
    let history = shop.run(&["lake", "history", "--format", "json"]).ok().stdout;
    assert_eq!(history.lines().count(), 1, "{history}");
    shop.build().ok().says("nothing to do");
}

#[test]
fn seeds_are_typed_and_rebuilt_when_they_change() {
    let shop = Sandbox::new(&[
        ("seeds/codes.csv", "code,name,since\n1,one,2024-01-01\n2,,2024-01-02\n"),
        (
            "models/named.sql",
            "{{ config(materialized='table') }}\nselect count(name) as n from {{ ref('codes') }}",
        ),
    ]);
    shop.build().ok();
    assert_eq!(shop.value("select n from named"), "1");
    shop.run(&["seed"]).ok().says("nothing to do");
    shop.write("seeds/codes.csv", "code,name,since\n1,one,2024-01-01\n2,two,2024-01-02\n");
    shop.build().ok();
    assert_eq!(shop.value("select n from named"), "2");
}

#[test]
fn seeds_have_the_types_and_values_of_dbt() {
    let shop = Sandbox::new(&[(
        "seeds/s.csv",
        "zip,price,share,day,at,clock,flag,note,nothing,big\n\
         02108,\"1,000\",5%,2024-1-31,2024-01-31T10:00:00+02:00,2016-09-01 07:01:00.000,TRUE, x , ,99999999999999999999\n\
         10001,$2.50,10%,2024-02-01,2024-01-31T10:00:00Z,2016-09-01 07:01:00.000,false,  ,Null,1\n",
    )]);
    shop.build().ok();
    assert_eq!(
        shop.rows("select zip, price, share, day, at, flag from s order by zip"),
        [
            "2108,1000.0,5,2024-01-31,2024-01-31 08:00:00,true",
            "10001,2.5,10,2024-02-01,2024-01-31 10:00:00,false"
        ],
    );
    assert_eq!(
        shop.rows("select note is null, nothing is null, clock, big from s order by zip"),
        [
            "false,true,2016-09-01 07:01:00.000,99999999999999999999",
            "true,true,2016-09-01 07:01:00.000,1"
        ],
    );
    // Types that the project gives hold; blanks alone are NULL in a text, too, and digits beyond a decimal's are rounded.
    shop.write("seeds/s.csv", "zip,note,price\n02108, ,2.345\n10001,x,-1.00500\n10002,NULL,NULL\n");
    let mut settings = std::fs::read_to_string(shop.path("dbt_project.yml")).unwrap();
    // A name in another case is none of the file's columns.
    settings.push_str("seeds:\n  +column_types: {zip: varchar(5), note: text, ZIP: int, price: 'decimal(9, 2)'}\n");
    shop.write("dbt_project.yml", settings);
    shop.build().ok();
    assert_eq!(
        shop.rows("select zip, note is null, price from s order by zip"),
        ["02108,true,2.35", "10001,false,-1.01", "10002,true,"]
    );
}

/// The partition columns in the table's metadata, and how many folders or files its data is in.
fn layout(sandbox: &Sandbox) -> Vec<String> {
    let log = std::fs::read_dir(sandbox.path("lake/main/t/_delta_log")).unwrap().flatten();
    let mut commits: Vec<_> = log.map(|file| file.path()).collect();
    commits.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    commits.sort();
    let text: String =
        commits.iter().map(|commit| std::fs::read_to_string(commit).unwrap()).collect();
    let metadata = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|action| action.get("metaData").cloned())
        .next_back()
        .unwrap();
    let columns = metadata["partitionColumns"].as_array().unwrap();
    columns.iter().map(|column| column.as_str().unwrap().to_owned()).collect()
}

#[test]
fn other_partitions_of_the_same_rows_are_made() {
    let model = |config: &str| {
        format!(
            "{{{{ config(materialized='table' {config}) }}}} select n as id, n % 3 as k from generate_series(1, 9) as g(n)"
        )
    };
    let sandbox = Sandbox::new(&[("models/t.sql", &model(""))]);
    sandbox.build().ok();
    assert!(layout(&sandbox).is_empty());
    sandbox.write("models/t.sql", model(", partition_by=['k']"));
    sandbox.build().ok().says("1 built");
    assert_eq!(layout(&sandbox), ["k"]);
    sandbox.write("models/t.sql", model(""));
    sandbox.build().ok().says("1 built");
    assert!(layout(&sandbox).is_empty());
    assert_eq!(sandbox.rows("select count(*), sum(id), sum(k) from t"), ["9,45,9"]);
    // A statement leaves the layout as it is.
    sandbox.write("models/t.sql", model(", partition_by=['k']"));
    sandbox.build().ok();
    sandbox.run(&["sql", "update t set id = id + 1"]).ok();
    assert_eq!(layout(&sandbox), ["k"]);
}

#[test]
fn a_model_that_fails_leaves_no_folder() {
    let sandbox = Sandbox::new(&[(
        "models/t.sql",
        "{{ config(materialized='table') }} select 10 / (5 - n) as x from generate_series(1, 9) as g(n)",
    )]);
    sandbox.build().fails_with(1).says("division by zero");
    assert!(!sandbox.path("lake/main/t").exists());
}

/// As in PostgreSQL: a column may occur twice within, and not in what is stored.
#[test]
fn a_column_that_occurs_twice_within_is_not_stored_twice() {
    let shop = Sandbox::new(&[(
        "models/m.sql",
        "{{ config(materialized='table') }}
         with both as (select a.id, b.id, b.v from (select 1 as id) a join (select 1 as id, 'x' as v) b
         on a.id = b.id) select v from both",
    )]);
    shop.build().ok();
    assert_eq!(shop.rows("select * from m"), ["x"]);
    for inner in ["a.id, b.id, b.v", "*"] {
        shop.write(
            "models/m.sql",
            format!(
                "{{{{ config(materialized='table') }}}}
                 with both as (select {inner} from (select 1 as id) a join (select 1 as id, 'x' as v) b
                 on a.id = b.id) select * from both"
            ),
        );
        shop.build().fails_with(1).says("column \"id\" specified more than once");
    }
}

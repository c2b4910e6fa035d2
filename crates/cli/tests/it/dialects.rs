//! Models in other systems' SQL.

use crate::sandbox::Sandbox;

#[test]
fn models_of_several_dialects_build_upon_each_other() {
    let sandbox = Sandbox::new(&[
        (
            "dbt_project.yml",
            "name: shop\nversion: '1.0'\nmodels:\n  shop:\n    bq:\n      +dialect: bigquery\n",
        ),
        ("seeds/orders.csv", "id,amount,day,tags\n1,10,2024-01-31,a-b\n2,,2024-02-29,c\n"),
        // In the file.
        (
            "models/flake.sql",
            "{{ config(materialized='table', dialect='snowflake') }}
select id, zeroifnull(amount) as amount, dateadd(month, 1, day) as next, iff(amount is null, 'n', 'y') as has
from {{ ref('orders') }}
qualify row_number() over (partition by id order by day desc) = 1",
        ),
        // In a folder; double quotes are text there, and the relation's are not.
        (
            "models/bq/mid.sql",
            "{{ config(materialized='ephemeral') }}
select f.id, safe_divide(f.amount, 4) as quarter, date_diff(f.next, o.day, day) as days, \"x\" as word, t as tag
from {{ ref('flake') }} f
join {{ ref('orders') }} o using (id)
cross join unnest(split(o.tags, '-')) as t",
        ),
        // In a property file, for dbt's sake in `meta`; reads an ephemeral model of another dialect.
        (
            "models/spark.sql",
            "{{ config(materialized='view') }}
select id, collect_list(tag) as tags, cast(max(quarter) as int) as q, max(days) as days, concat(max(word), '\\'') as w
from {{ ref('mid') }} group by id",
        ),
        ("models/plain.sql", "select id, days from {{ ref('mid') }} where tag = 'a'"),
        (
            "models/m.yml",
            "models:\n  - name: spark\n    config: {meta: {dialect: databricks}}\n    columns:\n      - name: id\n        data_tests: [unique]\n",
        ),
        (
            "models/u.yml",
            "unit_tests:\n  - name: nothing_is_zero\n    model: flake\n    given:\n      - input: ref('orders')\n        rows: [{id: 1, amount: null, day: 2024-01-31}]\n    expect:\n      rows: [{id: 1, amount: 0, has: n}]\n",
        ),
    ]);
    sandbox.build().ok();
    assert_eq!(
        sandbox.rows("select id, amount, next, has from flake order by id"),
        ["1,10,2024-02-29,y", "2,0,2024-03-29,n"]
    );
    assert_eq!(
        sandbox
            .rows("select id, array_to_string(tags, '-') as t, q, days, w from spark order by id"),
        ["1,a-b,2,29,x'", "2,c,0,29,x'"]
    );
    assert_eq!(sandbox.rows("select id, days from plain"), ["1,29"]);
    // What was written is what dbt would compile; what runs is beside it.
    let compiled = read(&sandbox, "target/compiled/shop/models/flake.sql");
    assert!(compiled.contains("zeroifnull(amount)"), "{compiled}");
    let translated = read(&sandbox, "target/translated/shop/models/flake.sql");
    assert!(translated.contains("coalesce(amount, 0)"), "{translated}");
    assert_eq!(line_of(&compiled, "qualify"), line_of(&translated, "QUALIFY"));
    // The dialect belongs to what a node is.
    sandbox.build().ok().says("nothing to do");
    sandbox.write(
        "models/flake.sql",
        read(&sandbox, "models/flake.sql").replace("'snowflake'", "'databricks'"),
    );
    sandbox.build().ok().says("flake");
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(sandbox.path(name)).unwrap()
}

fn line_of(text: &str, word: &str) -> Option<usize> {
    text.lines().position(|line| line.contains(word))
}

#[test]
fn an_unknown_dialect_is_shown_where_it_is() {
    let sandbox =
        Sandbox::new(&[("models/a.sql", "{{ config(dialect='oracle') }}\nselect 1 as id")]);
    sandbox
        .build()
        .fails_with(2)
        .says("the dialect `oracle` is not known")
        .says("models/a.sql:1:")
        .says("`snowflake`, `bigquery`, `duckdb`");
}

#[test]
fn what_is_not_translated_is_shown_in_the_models_file() {
    let sandbox = Sandbox::new(&[
        (
            "models/a.sql",
            "{{ config(materialized='table', dialect='snowflake') }}\n{% set x = 1 %}\nselect\n    {{ x }} as id,\n    hash(id) as h\nfrom {{ ref('b') }}",
        ),
        ("models/b.sql", "select 1 as id"),
    ]);
    sandbox
        .build()
        .fails_with(1)
        .says("`hash` of snowflake is not translated")
        .says("models/a.sql:5:5")
        .says("use `md5`");
}

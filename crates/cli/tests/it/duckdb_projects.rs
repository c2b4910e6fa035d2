//! Projects that were made for DuckDB and run on the lake, without a word of it in their models.

use crate::sandbox::Sandbox;

const PROFILE: &str =
    "shop:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n      path: shop.duckdb\n";

#[test]
fn what_postgresql_lacks_or_takes_otherwise_means_what_duckdb_means_by_it() {
    let sandbox = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n"),
        ("profiles.yml", PROFILE),
        ("seeds/orders.csv", "id,amount,day\n1,5,2024-03-05\n2,,2024-01-31\n3,8,2024-03-01\n"),
        (
            "models/halves.sql",
            "{{ config(materialized='table') }}\n\
             select id, amount / 2 as half, strftime(day, '%Y-%m') as month,\n\
             row_number() over (order by amount desc) as place\n\
             from {{ ref('orders') }}",
        ),
        // A view keeps its meaning for whoever reads it; an ephemeral model is part of another.
        ("models/part.sql", "{{ config(materialized='ephemeral') }}\nselect 1 / 4 as quarter"),
        (
            "models/seen.sql",
            "{{ config(materialized='view') }}\nselect quarter, 3 / 2 as q from {{ ref('part') }}",
        ),
        // What a model says itself is what it is written in.
        ("models/own.sql", "{{ config(dialect='postgres') }}\nselect 3 / 2 as q"),
        // Templates ask in the project's SQL.
        (
            "models/asked.sql",
            "{% set answer = run_query(\"select strftime(date '2024-05-06', '%d') as d, 1 / 2 as h\") %}\n\
             {% if execute %}select '{{ answer.rows[0][0] }}' as d, {{ answer.rows[0][1] }} as h, '{{ my_kind() }}' as kind{% endif %}",
        ),
        (
            "macros/kind.sql",
            "{% macro my_kind() %}{{ return(adapter.dispatch('my_kind')()) }}{% endmacro %}\n\
             {% macro default__my_kind() %}default{% endmacro %}\n\
             {% macro postgres__my_kind() %}postgres{% endmacro %}\n\
             {% macro duckdb__my_kind() %}duckdb{% endmacro %}",
        ),
        (
            "tests/halves_are_halves.sql",
            "select * from {{ ref('halves') }} where id = 1 and half <> 5 / 2",
        ),
    ]);
    sandbox.run(&["build", "--profiles-dir", ".", "--target-lake=lake"]).ok();
    let rows = |sql: &str| {
        let shown = sandbox.run(&[
            "sql",
            sql,
            "--format",
            "csv",
            "--profiles-dir",
            ".",
            "--target-lake=lake",
        ]);
        shown.ok().stdout.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        rows("select id, half, month, place from halves order by id"),
        ["1,2.5,2024-03,2", "2,,2024-01,3", "3,4.0,2024-03,1"]
    );
    assert_eq!(rows("select quarter, q from seen"), ["0.25,1.5"]);
    assert_eq!(rows("select q from own"), ["1"]);
    assert_eq!(rows("select d, h, kind from asked"), ["06,0.5,duckdb"]);
    // The text that dbt would compile stays what it is.
    let compiled =
        std::fs::read_to_string(sandbox.path("target/compiled/shop/models/seen.sql")).unwrap();
    assert!(compiled.contains("3 / 2 as q"), "{compiled}");
    // Nothing is built again for it.
    sandbox.run(&["build", "--profiles-dir", ".", "--target-lake=lake"]).ok().says("nothing to do");
}

#[test]
fn packages_and_seeds_mean_what_they_mean_with_dbt_duckdb() {
    let sandbox = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n"),
        ("profiles.yml", PROFILE),
        ("dbt_packages/tools/dbt_project.yml", "name: tools\nversion: '1.0'\n"),
        (
            "dbt_packages/tools/macros/m.sql",
            "{% macro one() %}{{ return(adapter.dispatch('one', 'tools')()) }}{% endmacro %}\
             {% macro default__one() %}default{% endmacro %}{% macro postgres__one() %}pg{% endmacro %}{% macro duckdb__one() %}duck{% endmacro %}\
             {% macro two() %}{{ return(adapter.dispatch('two', 'tools')()) }}{% endmacro %}\
             {% macro default__two() %}default{% endmacro %}{% macro postgres__two() %}pg{% endmacro %}\
             {% macro three() %}{{ return(adapter.dispatch('three', 'tools')()) }}{% endmacro %}\
             {% macro postgres__three() %}pg{% endmacro %}",
        ),
        // The project's own word on dbt's macros is heard.
        ("macros/m.sql", "{% macro duckdb__type_string() %}varchar{% endmacro %}"),
        (
            "models/a.sql",
            "select '{{ tools.one() }} {{ tools.two() }} {{ tools.three() }} {{ dbt.type_string() }} {{ dbt.type_float() }}' as found",
        ),
        ("seeds/s.csv", "id,word,part\n1,null,0.1\n2,,\n3,x,null\n"),
        ("seeds/s.yml", "seeds: [{name: s, config: {column_types: {part: float}}}]"),
        (
            "models/b.sql",
            "select id, word is null as no_word, word, part is null as no_part, typeof(part) as kind from {{ ref('s') }}",
        ),
        // Columns that a template knows nothing of.
        (
            "models/c.sql",
            "select max(columns(* exclude (word))), current_database() as db from {{ ref('s') }}",
        ),
    ]);
    sandbox.run(&["build", "--profiles-dir", ".", "--target-lake=lake"]).ok();
    let rows = |sql: &str| {
        let lake = ["--format", "csv", "--profiles-dir", ".", "--target-lake=lake"];
        let shown = sandbox.run(&[&["sql", sql][..], &lake].concat());
        shown.ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rows("select found from a")[1], "duck default pg varchar float");
    assert_eq!(
        rows("select * from b order by id")[1..],
        ["1,false,null,false,FLOAT", "2,true,,true,FLOAT", "3,false,x,true,FLOAT"]
    );
    assert_eq!(rows("select * from c"), ["id,part,db", "3,0.1,shop"]);
}

#[test]
fn what_only_duckdb_writes_runs() {
    let sandbox = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n"),
        ("profiles.yml", PROFILE),
        ("data/sales.csv", "id,PTS,,PTS\n1,7,a,8\n2,9,,1\n"),
        ("seeds/ticks.csv", "kind,at,price\na,2024-01-01,10\na,2024-01-05,12\nb,2024-01-03,7\n"),
        (
            "models/trades.sql",
            "{{ config(materialized='table') }}\n\
             select * from (values (1, 'a', date '2024-01-04'), (2, 'b', date '2024-01-01')) t(id, kind, day)",
        ),
        // The nearest row before, all columns of both sides but nothing else.
        (
            "models/priced.sql",
            "{{ config(materialized='table') }}\n\
             select * from {{ ref('trades') }} t asof left join {{ ref('ticks') }} p\n\
             on t.kind = p.kind and t.day >= p.at",
        ),
        // Columns of the data.
        (
            "models/turned.sql",
            "{{ config(materialized='table') }}\n\
             with some as (select * from {{ ref('ticks') }} where price > 5)\n\
             select * from (pivot some on kind using sum(price) group by at)",
        ),
        (
            "models/words.sql",
            "select 'hello'[2:3] as part, 'hello'[-1] as last, s.*, id is null or id = '' as skipped\n\
             from (select {'a': 1, 'b': 'x'} as s, null::int as id)",
        ),
        ("models/file.sql", "select id, pts_1, column2 from read_csv('data/sales.csv')"),
        (
            "models/all_text.sql",
            "select typeof(id) as kind from read_csv('data/sales.csv', all_varchar=true) limit 1",
        ),
        // A scalar subquery of its own CTE over columns of the outer query.
        (
            "models/quarters.sql",
            "select t.id, (with part as (select month(t.day) as m) select 'q' || cast(ceil(m / 3.0) as integer) from part) as quarter\n\
             from {{ ref('trades') }} t",
        ),
    ]);
    sandbox.run(&["build", "--profiles-dir", ".", "--target-lake=lake"]).ok();
    let rows = |sql: &str| {
        let lake = ["--format", "csv", "--profiles-dir", ".", "--target-lake=lake"];
        let shown = sandbox.run(&[&["sql", sql][..], &lake].concat());
        shown.ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        rows("select * from priced order by id"),
        ["id,kind,day,kind_1,at,price", "1,a,2024-01-04,a,2024-01-01,10", "2,b,2024-01-01,,,"]
    );
    assert_eq!(
        rows("select * from turned order by at"),
        ["at,a,b", "2024-01-01,10,", "2024-01-03,,7", "2024-01-05,12,"]
    );
    assert_eq!(rows("select * from words"), ["part,last,a,b,skipped", "el,o,1,x,true"]);
    assert_eq!(rows("select * from file order by id"), ["id,PTS_1,column2", "1,8,a", "2,1,"]);
    assert_eq!(rows("select * from all_text"), ["kind", "VARCHAR"]);
    assert_eq!(rows("select * from quarters order by id"), ["id,quarter", "1,q1", "2,q1"]);
}

#[test]
fn external_models_write_their_files_before_what_reads_them() {
    let sandbox = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n"),
        (
            "profiles.yml",
            "shop:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n      path: shop.duckdb\n      external_root: out\n",
        ),
        (
            "models/days.sql",
            "{{ config(materialized='external', location='out/days.csv', delimiter=';') }}\n\
             select 1 as id, date '2024-01-02' as day",
        ),
        (
            "models/parts.sql",
            "{{ config(materialized='external', options={'partition_by': 'kind'}) }}\n\
             select 1 as id, 'a' as kind union all select 2, 'b'",
        ),
        ("models/whole.sql", "{{ config(materialized='external') }}\nselect 5 as five"),
        (
            "models/net.sql",
            "{{ config(materialized='external', location='s3://b/x.parquet') }}\nselect 1 as one",
        ),
        (
            "models/again.sql",
            "-- depends_on: {{ ref('whole') }}\nselect five + 1 as six from read_parquet('out/whole.parquet')",
        ),
    ]);
    sandbox
        .run(&["build", "--profiles-dir", ".", "--target-lake=lake"])
        .ok()
        .says("files of the network are not written");
    let text = std::fs::read_to_string(sandbox.path("out/days.csv")).unwrap();
    assert_eq!(text, "id;day\n1;2024-01-02\n");
    assert!(sandbox.path("out/parts/kind=a").is_dir());
    let lake = ["--format", "csv", "--profiles-dir", ".", "--target-lake=lake"];
    let shown = sandbox.run(&[&["sql", "select six from again"][..], &lake].concat());
    shown.ok().says("6");
}

#[test]
fn the_file_of_an_external_model_is_written_again_when_it_is_lost() {
    let sandbox = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n"),
        ("profiles.yml", PROFILE),
        ("seeds/s.csv", "id,kind\n1,a\n2,b\n"),
        (
            "models/days.sql",
            "{{ config(materialized='external', location='out/days.csv') }}\nselect id from {{ ref('s') }} order by id",
        ),
        (
            "models/parts.sql",
            "{{ config(materialized='external', location='out/parts', options={'partition_by': 'kind'}) }}\n\
             select * from {{ ref('s') }}",
        ),
    ]);
    let build = ["build", "--profiles-dir", ".", "--target-lake=lake"];
    let read = || std::fs::read_to_string(sandbox.path("out/days.csv")).unwrap_or_default();
    let parts = || crate::sandbox::files(&sandbox.path("out/parts")).len();
    sandbox.run(&build).ok();
    sandbox.run(&build).ok().says("nothing to do");
    let whole = parts();
    // Somebody takes a file away.
    sandbox.remove("out/days.csv");
    let part = crate::sandbox::files(&sandbox.path("out/parts/kind=a"));
    std::fs::remove_file(&part[0].0).unwrap();
    let plan = ["plan", "--profiles-dir", ".", "--target-lake=lake"];
    sandbox.run(&plan).ok().says("`out/days.csv` is not there, or not as it was published");
    sandbox.run(&build).ok();
    assert_eq!(read(), "id\n1\n2\n");
    assert_eq!(parts(), whole);
    sandbox.run(&build).ok().says("nothing to do");
    // Killed once the rows are published, before the file is there: the old file is not taken for it.
    sandbox.write("seeds/s.csv", "id,kind\n1,a\n2,b\n3,b\n");
    let only = [&build[..], &["--select", "s", "days"]].concat();
    assert!(sandbox.dies_at("export.begun", &only));
    assert_eq!(read(), "id\n1\n2\n");
    sandbox.run(&build).ok();
    assert_eq!(read(), "id\n1\n2\n3\n");
    sandbox.run(&build).ok().says("nothing to do");
}

#[test]
fn hooks_and_operations_write_in_the_sql_of_duckdb() {
    let sandbox = Sandbox::new(&[
        (
            "dbt_project.yml",
            "name: shop\nversion: '1.0'\nprofile: shop\n\
             on-run-start: [\"create or replace table log as select 3 / 2 as half; insert into log select 7 // 2\"]\n",
        ),
        ("profiles.yml", PROFILE),
        (
            "models/a.sql",
            "{{ config(materialized='table', post_hook=\"update {{ this }} set x = x / 4\") }}\nselect 1.0::double as x",
        ),
    ]);
    sandbox.run(&["build", "--profiles-dir", ".", "--target-lake=lake"]).ok();
    let rows = |sql: &str| {
        let lake = ["--format", "csv", "--profiles-dir", ".", "--target-lake=lake"];
        let shown = sandbox.run(&[&["sql", sql][..], &lake].concat());
        shown.ok().stdout.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rows("select half from log order by half"), ["1.5", "3.0"]);
    assert_eq!(rows("select x from a"), ["0.25"]);
}

#[test]
fn columns_without_a_name_are_called_as_there() {
    let sandbox = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n"),
        ("profiles.yml", PROFILE),
        ("seeds/orders.csv", "id,kind,amount\n1,a,5\n2,a,7\n3,b,8\n"),
        (
            "models/totals.sql",
            "{{ config(materialized='table') }}\n\
             select kind, count(*), sum(amount), case when kind = 'a' then 1 end, max(id)::varchar\n\
             from {{ ref('orders') }} group by kind",
        ),
        (
            "models/named.sql",
            "select kind, \"count_star()\" as orders, t.\"sum(amount)\" + 1 as more from {{ ref('totals') }} t",
        ),
        ("tests/t.sql", "select count(*) from {{ ref('named') }} having count(*) <> 2"),
    ]);
    sandbox.run(&["build", "--profiles-dir", ".", "--target-lake=lake"]).ok();
    let rows = |sql: &str| {
        let lake = ["--format", "csv", "--profiles-dir", ".", "--target-lake=lake"];
        let shown = sandbox.run(&[&["sql", sql][..], &lake].concat());
        shown.ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        rows("select * from totals order by kind"),
        [
            "kind,count_star(),sum(amount),\
             CASE  WHEN ((kind = 'a')) THEN (1) ELSE NULL END,CAST(max(id) AS VARCHAR)",
            "a,2,12,1,2",
            "b,1,8,,3"
        ]
    );
    assert_eq!(rows("select * from named order by kind"), ["kind,orders,more", "a,2,13", "b,1,9"]);
}

/// A materialization for DuckDB is one of a project for DuckDB.
#[test]
fn materializations_for_duckdb_are_found() {
    let sandbox = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n"),
        ("profiles.yml", PROFILE),
        (
            "macros/m.sql",
            "{% materialization doubled, adapter='duckdb' %}\n\
             {%- set target_relation = this.incorporate(type='table') -%}\n\
             {% call statement('main') %}create or replace table {{ target_relation }} as \
             select * from ({{ sql }}) a union all select * from ({{ sql }}) b{% endcall %}\n\
             {{ return({'relations': [target_relation]}) }}\n\
             {% endmaterialization %}",
        ),
        ("models/two.sql", "{{ config(materialized='doubled') }} select 1 as id"),
    ]);
    sandbox.run(&["build", "--profiles-dir", ".", "--target-lake=lake"]).ok();
    let shown = sandbox.run(&[
        "sql",
        "select count(*) as n from two",
        "--format",
        "csv",
        "--profiles-dir",
        ".",
        "--target-lake=lake",
    ]);
    assert_eq!(shown.ok().stdout.trim(), "n\n2");
}

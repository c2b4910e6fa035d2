//! What public projects and packages rely on: names as they are written, files in queries, what
//! `graph` says.

use crate::sandbox::Sandbox;

#[test]
fn columns_of_seeds_keep_their_names_and_are_found_however_they_are_written() {
    let shop = Sandbox::new(&[
        (
            "seeds/orders.csv",
            "OrderID,Customer Name,\"Amount, EUR\",isActive\n1,Anna,10.5,true\n2,Bob,20,false\n",
        ),
        (
            "models/wide.sql",
            "select ORDERID, \"Customer Name\" as name, \"amount, eur\" * 2 as \"Double Amount\" \
             from {{ ref('orders') }} where orderid > 0",
        ),
        (
            "models/joined.sql",
            "{{ config(materialized='table') }}\n\
             select o.orderid, w.\"Double Amount\" as doubled, sum(o.OrderID) as s \
             from {{ ref('orders') }} o join {{ ref('wide') }} w using (orderid) \
             group by o.orderid, w.\"double amount\" having sum(o.orderid) > 1",
        ),
        (
            "models/kept.sql",
            "{{ config(materialized='incremental', unique_key='orderid') }}\n\
             select * exclude (isactive) from {{ ref('orders') }}",
        ),
        (
            "models/schema.yml",
            "models:\n  - name: wide\n    columns:\n      - name: orderid\n        data_tests: [unique, not_null]\n",
        ),
    ]);
    shop.build().ok();
    let columns = "select column_name from information_schema.columns where table_name = 'orders' order by ordinal_position";
    assert_eq!(shop.rows(columns), ["OrderID", "Customer Name", "\"Amount, EUR\"", "isActive"]);
    assert_eq!(shop.rows("select * from joined"), ["2,40.0,2"]);
    shop.run(&["build", "--no-reuse"]).ok();
    assert_eq!(shop.value("select count(*) from kept"), "2");
}

#[test]
fn queries_and_sources_read_files() {
    let shop = Sandbox::new(&[
        ("data/orders.csv", "OrderID;amount\n1;10\n2;20\n"),
        (
            "data/items.json",
            "[{\"id\": 1, \"itemName\": \"pen\"}, {\"id\": 2, \"itemName\": \"cup\"}]",
        ),
        (
            "models/orders.sql",
            "select * from read_csv('data/orders.csv', delim=';', columns={'amount': 'double'}, filename=true)",
        ),
        (
            "models/items.sql",
            "{{ config(materialized='table') }}\nselect * from 'data/items.json' i where i.id > 1",
        ),
        ("models/raw.sql", "select * from {{ source('shop', 'orders') }}"),
        (
            "models/sources.yml",
            "sources:\n  - name: shop\n    meta: {external_location: \"data/{name}.csv\"}\n    tables:\n      \
             - name: orders\n        columns:\n          - name: orderid\n            data_tests: [not_null]\n",
        ),
    ]);
    shop.build().ok().says("1 passed");
    assert_eq!(
        shop.rows("select orderid, amount, filename from orders order by 1"),
        ["1,10.0,data/orders.csv", "2,20.0,data/orders.csv"]
    );
    assert_eq!(shop.rows("select \"itemName\" from items"), ["cup"]);
    assert_eq!(shop.value("select count(*) from raw"), "2");
    // A file has no version, so what reads it is built each time.
    shop.write("data/items.json", "[{\"id\": 3, \"itemName\": \"box\"}]");
    shop.build().ok();
    assert_eq!(shop.rows("select \"itemName\" from items"), ["box"]);
    let failed = shop.run(&["sql", "select * from read_csv('s3://bucket/x.csv')"]);
    failed.fails_with(1).says("files of the network cannot be read in a query");
}

#[test]
fn a_test_of_what_is_not_there_is_left_out() {
    let shop = Sandbox::new(&[
        ("models/a.sql", "select 1 as id"),
        (
            "models/schema.yml",
            "models:\n  - name: a\n    columns:\n      - name: id\n        data_tests:\n          \
             - relationships: {to: ref('gone'), field: id}\n",
        ),
    ]);
    shop.build().ok().says("refers to `gone`, which does not exist; it is left out");
}

#[test]
fn the_latest_version_may_stand_in_the_file_without_a_suffix() {
    let shop = Sandbox::new(&[
        ("models/a.sql", "select 2 as id"),
        ("models/a_v1.sql", "select 1 as id"),
        ("models/b.sql", "select * from {{ ref('a') }}"),
        ("models/schema.yml", "models:\n  - name: a\n    versions:\n      - v: 1\n      - v: 2\n"),
    ]);
    shop.build().ok();
    assert_eq!(shop.value("select id from b"), "2");
    assert_eq!(shop.value("select id from a_v2"), "2");
}

#[test]
fn a_seed_may_be_dropped_by_its_own_hook_and_temporary_relations_have_no_schema() {
    let shop = Sandbox::new(&[
        ("seeds/gone.csv", "id\n1\n"),
        (
            "dbt_project.yml",
            "name: shop\nversion: '1.0'\nseeds:\n  shop:\n    +post-hook: \"{% do adapter.drop_relation(this) %}\"\n\
             models:\n  shop:\n    +schema: other\n",
        ),
        ("models/a.sql", "{{ config(post_hook=\"{{ by_temp(this) }}\") }}\nselect 1 as id"),
        (
            "macros/by_temp.sql",
            "{% macro by_temp(relation) %}{% set temp = make_temp_relation(relation) %}\
             {% do run_query('create temporary table ' ~ temp.include(database=false, schema=false) ~ ' as select 5 as x') %}\
             {% set found = run_query('select x from ' ~ temp) %}\
             create table {{ target.schema }}.seen as select {{ found.rows[0][0] }} as x{% endmacro %}",
        ),
    ]);
    shop.build().ok();
    assert_eq!(shop.value("select x from seen"), "5");
    shop.run(&["sql", "select * from gone"]).fails_with(1).says("does not exist");
}

#[test]
fn a_source_that_stands_for_a_seed_waits_for_it() {
    let shop = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nseeds: {shop: {+schema: raw}}\n"),
        ("seeds/orders.csv", "id\n1\n"),
        (
            "models/a.sql",
            "{{ config(materialized='table') }}\nselect * from {{ source('raw', 'orders') }}",
        ),
        (
            "models/sources.yml",
            "sources:\n  - name: raw\n    schema: main_raw\n    tables:\n      - name: orders\n        columns:\n          \
             - name: id\n            data_tests: [unique]\n",
        ),
    ]);
    shop.build().ok().says("2 built");
    assert_eq!(shop.value("select id from a"), "1");
}

#[test]
fn a_template_keeps_things_in_its_context() {
    let shop = Sandbox::new(&[
        (
            "models/a.sql",
            "{{ keep('x', 5) }}select {{ context.get('kept', {}).get('x', 0) }} as id",
        ),
        (
            "macros/keep.sql",
            "{% macro keep(key, value) %}{% set kept = context.get('kept', {}) %}{% do kept.update({key: value}) %}\
             {% do context.update({'kept': kept}) %}{% endmacro %}",
        ),
    ]);
    shop.build().ok();
    assert_eq!(shop.value("select id from a"), "5");
}

#[test]
fn a_package_keeps_in_graph_what_it_wants_to_find_again() {
    let shop = Sandbox::new(&[
        (
            "dbt_project.yml",
            "name: shop\nversion: '1.0'\non-run-start: \"{{ tools.begin() }}\"\non-run-end: \"{{ tools.end() }}\"\n",
        ),
        ("dbt_packages/tools/dbt_project.yml", "name: tools\nversion: 1.0.0\n"),
        (
            "dbt_packages/tools/macros/m.sql",
            "{% https://example.org/why %}\n\
             {% macro begin() %}{% do graph.setdefault('tools', {}).update({'seen': []}) %}{% endmacro %}\n\
             {% macro end() %}create table main.seen as select '{{ graph['tools']['seen'] | sort | join(' ') }}' as names{% endmacro %}\n\
             {% macro model(x) %}wrong{% endmacro %}\n\
             {% macro mine() %}{% if execute %}{% do graph['tools']['seen'].append(model.name) %}{% endif %}{{ return(model.name) }}{% endmacro %}",
        ),
        ("models/a.sql", "select '{{ tools.mine() }}' as name"),
        ("models/b.sql", "select '{{ tools.mine() }}' as name from {{ ref('a') }}"),
    ]);
    shop.build().ok();
    // The name of the context goes before the package's macro of the same name.
    assert_eq!(shop.rows("select a.name, b.name from a, b"), ["a,b"]);
    assert_eq!(shop.rows("select names from seen"), ["a b"]);
}

#[test]
fn a_project_for_duckdb_takes_the_branches_for_duckdb() {
    let shop = Sandbox::new(&[
        ("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n"),
        (
            "profiles.yml",
            "shop: {target: dev, outputs: {dev: {type: duckdb, path: x.duckdb, schema: main}}}\n",
        ),
        (
            "macros/m.sql",
            "{% macro one() %}{{ return(adapter.dispatch('one')()) }}{% endmacro %}\
             {% macro postgres__one() %}pg{% endmacro %}{% macro duckdb__one() %}duck{% endmacro %}{% macro default__one() %}default{% endmacro %}\
             {% macro two() %}{{ return(adapter.dispatch('two')()) }}{% endmacro %}\
             {% macro postgres__two() %}pg{% endmacro %}{% macro default__two() %}default{% endmacro %}\
             {% macro three() %}{{ return(adapter.dispatch('three')()) }}{% endmacro %}{% macro postgres__three() %}pg{% endmacro %}",
        ),
        ("models/a.sql", "select '{{ one() }} {{ two() }} {{ three() }}' as branches"),
        // Nothing but NULL is an integer, and a time with an offset is its UTC time.
        (
            "seeds/s.csv",
            "id,nothing,at\n1,,2024-03-05T10:00:00.500+02:00\n2,,2024-03-05T10:00:00Z\n",
        ),
        ("seeds/s.yml", "seeds: [{name: s, config: {column_types: {at: timestamp}}}]"),
        ("models/b.sql", "select sum(nothing) as total, min(at) as first from {{ ref('s') }}"),
    ]);
    shop.run(&["build", "--target-lake=lake"]).ok();
    let lake = ["--target-lake=lake", "--format", "csv", "--quiet"];
    let rows = |query| {
        let outcome = shop.run(&[&["sql", query][..], &lake].concat()).ok();
        outcome.stdout.lines().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(rows("select branches from a"), "duck default pg");
    assert_eq!(rows("select total, first from b"), ",2024-03-05 08:00:00.500");
}

#[test]
fn one_model_has_a_file_for_each_warehouse() {
    let shop = Sandbox::new(&[
        (
            "dbt_project.yml",
            "name: shop\nversion: '1.0'\nmodels:\n  shop:\n    \
             a_big: {+enabled: \"{{ target.type == 'bigquery' | as_bool() }}\"}\n    \
             z_snow: {+enabled: \"{{ (target.type in ['snowflake']) | as_bool() }}\"}\n",
        ),
        ("models/a_big/m.sql", "select * from {{ ref('not_there') }}"),
        ("models/here/m.sql", "select 1 as id"),
        ("models/z_snow/m.sql", "select * from {{ source('not', 'there') }}"),
        ("models/n.sql", "select id from {{ ref('m') }}"),
    ]);
    shop.build().ok().says("2 built");
    assert_eq!(shop.value("select id from n"), "1");
    shop.write("models/there/m.sql", "select 2 as id");
    shop.build().fails_with(2).says("two models are called `m`");
}

#[test]
fn the_macros_of_a_package_are_a_dict() {
    let shop = Sandbox::new(&[
        ("macros/m.sql", "{% macro mine() %}{{ return(4) }}{% endmacro %}"),
        (
            "models/a.sql",
            "{% set package = context.get(project_name, {}) %}select \
             {{ package.get('mine')() }} as id, \
             {{ 1 if package.get('not_mine') else 0 }} as no, \
             {{ 1 if context.get('nobody', {}).get('x') else 0 }} as nobody, \
             {{ 1 if 'mine' in package.keys() else 0 }} as known",
        ),
    ]);
    shop.build().ok();
    assert_eq!(shop.rows("select id, no, nobody, known from a"), ["4,0,0,1"]);
}

#[test]
fn relations_and_columns_have_names_in_any_script() {
    let long = "Очень_длинное_название_таблицы_о_заказах_покупателей_и_поставщиков";
    let shop = Sandbox::new(&[
        ("seeds/Заказы.csv", "Номер,Größe\n1,2.5\n2,3.5\n"),
        (
            "models/größen.sql",
            "{{ config(materialized='table') }}\nselect \"Номер\", \"Größe\" from {{ ref('Заказы') }}",
        ),
        (
            &format!("models/{long}.sql"),
            "{{ config(materialized='incremental', unique_key='Номер') }}\nselect * from {{ ref('größen') }}",
        ),
        (
            "models/s.yml",
            "models: [{name: größen, columns: [{name: Номер, quote: true, tests: [not_null, unique]}]}]",
        ),
    ]);
    shop.build().ok();
    shop.write("seeds/Заказы.csv", "Номер,Größe\n2,4.5\n3,5.5\n");
    shop.build().ok();
    assert_eq!(
        shop.rows(&format!("select \"Номер\", \"Größe\" from \"{long}\" order by 1")),
        ["1,2.5", "2,4.5", "3,5.5"]
    );
}

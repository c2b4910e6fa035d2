//! What each materialization leaves in the database.

use super::server::project;

const ORDERS: &str =
    "id,customer,amount,placed,\"Big Name\"\n1,a,10,2024-01-01,x\n2,b,20.5,2024-01-02 ,\n3,,7,,z\n";

#[test]
fn seeds_views_tables_and_ephemeral_models_are_built_and_tested() {
    let project = project!(&[
        ("seeds/orders.csv", ORDERS),
        (
            "seeds/times.csv",
            "at,day,big,flag\n2020-02-13 8:10:51,2020-2-3,3000000000,true\n2020-02-13 14:07:05,,1,\n"
        ),
        (
            "models/clean.sql",
            "{{ config(materialized='ephemeral') }}\nselect id, customer from {{ ref('orders') }} where customer is not null"
        ),
        ("models/v.sql", "select * from {{ ref('clean') }}"),
        (
            "models/t.sql",
            "{{ config(materialized='table', indexes=[{'columns': ['id'], 'unique': true}, {'columns': ['customer', 'id']}], unlogged=true) }}\n\
             select id, customer, {{ dbt.datediff(\"'2024-01-01'\", \"'2024-03-01'\", 'month') }} as months from {{ ref('v') }}",
        ),
        (
            "models/s.yml",
            "models:\n  - name: t\n    columns:\n      - name: id\n        data_tests: [unique, not_null]\n      - name: customer\n        data_tests:\n          - accepted_values: {arguments: {values: [a, b]}}\n          - relationships: {arguments: {to: ref('orders'), field: customer}}\n",
        ),
    ]);
    project.sandbox.build().ok().says("checks: 4 passed");
    assert_eq!(project.relations(), ["r orders", "r t", "r times", "v v"]);
    assert_eq!(
        project.sql("select column_name, data_type from information_schema.columns where table_name in ('orders', 'times') order by table_name, ordinal_position"),
        [
            "id,integer", "customer,text", "amount,double precision", "placed,date", "Big Name,text",
            "at,timestamp without time zone", "day,date", "big,bigint", "flag,boolean",
        ]
    );
    assert_eq!(project.sql("select * from main.t order by id"), ["1,a,2", "2,b,2"]);
    assert_eq!(
        project.sql("select at from main.times order by 1"),
        ["2020-02-13 08:10:51", "2020-02-13 14:07:05"]
    );
    assert_eq!(project.value("select count(*) from pg_indexes where tablename = 't'"), "2");
    assert_eq!(project.value("select relpersistence from pg_class where relname = 't'"), "u");
    // Again, on top of what is there: indexes come again, views that read a table go with it and come again.
    project.sandbox.build().ok().says("checks: 4 passed");
    assert_eq!(project.relations(), ["r orders", "r t", "r times", "v v"]);
    assert_eq!(project.value("select count(*) from pg_indexes where tablename = 't'"), "2");
    // A view becomes a table, and a table a view.
    project.sandbox.write(
        "models/v.sql",
        "{{ config(materialized='table') }}select * from {{ ref('clean') }}",
    );
    project.sandbox.write("models/t.sql", "select id, customer from {{ ref('v') }}");
    project.sandbox.build().ok();
    assert_eq!(project.relations(), ["r orders", "v t", "r times", "r v"]);
}

#[test]
fn a_seed_keeps_its_table_and_what_reads_it_while_its_columns_are_the_same() {
    let project = project!(&[("seeds/s.csv", "id,name\n1,a\n2,b\n")]);
    project.sandbox.run(&["seed"]).ok();
    project.sql("create view main.reader as select * from main.s");
    project.sandbox.write("seeds/s.csv", "id,name\n1,a\n3,\"c\tx\\\"\n");
    project.sandbox.run(&["seed"]).ok();
    assert_eq!(project.sql("select * from main.reader order by id"), ["1,a", "3,c\tx\\"]);
    // Other columns: another table, and what reads the old one goes with it, as with --full-refresh.
    project.sandbox.write("seeds/s.csv", "id,name,more\n1,a,x\n");
    project.sandbox.run(&["seed"]).ok();
    assert_eq!(project.sql("select * from main.s"), ["1,a,x"]);
    project.sandbox.write(
        "dbt_project.yml",
        "name: shop\nprofile: shop\nseeds: {shop: {s: {+column_types: {id: varchar(10), more: jsonb}}}}\n",
    );
    project.sandbox.write("seeds/s.csv", "id,name,more\n007,a,\"{\"\"k\"\": 1}\"\n");
    project.sandbox.run(&["seed", "--full-refresh"]).ok();
    assert_eq!(project.sql("select id, more->>'k' from main.s"), ["007,1"]);
}

#[test]
fn incremental_models_append_replace_and_merge() {
    let model = |config: &str| {
        format!(
            "{{{{ config(materialized='incremental', {config}) }}}}\nselect id, value from {{{{ ref('source') }}}}"
        )
    };
    let (append, replace, merge) = (
        model("incremental_strategy='append'"),
        model("unique_key='id'"),
        model("unique_key='id', incremental_strategy='merge', merge_update_columns=['value']"),
    );
    let project = project!(&[
        ("seeds/source.csv", "id,value\n1,a\n2,b\n"),
        ("models/appended.sql", &append),
        ("models/replaced.sql", &replace),
        ("models/merged.sql", &merge),
    ]);
    project.sandbox.build().ok();
    project.sandbox.write("seeds/source.csv", "id,value\n2,new\n3,c\n");
    project.sandbox.build().ok();
    let rows = |table: &str| project.sql(&format!("select * from main.{table} order by id, value"));
    assert_eq!(rows("appended"), ["1,a", "2,b", "2,new", "3,c"]);
    assert_eq!(rows("replaced"), ["1,a", "2,new", "3,c"]);
    assert_eq!(rows("merged"), ["1,a", "2,new", "3,c"]);
    project.sandbox.run(&["run", "--full-refresh", "-s", "appended"]).ok();
    assert_eq!(rows("appended"), ["2,new", "3,c"]);
    // Strategies of other systems are refused by name.
    project.sandbox.write("models/merged.sql", model("incremental_strategy='insert_overwrite'"));
    project
        .sandbox
        .run(&["run", "-s", "merged"])
        .fails_with(1)
        .says("`insert_overwrite` is not one of PostgreSQL's");
    assert_eq!(rows("merged").len(), 3);
}

#[test]
fn columns_of_incremental_models_change_as_configured() {
    let model = |columns: &str, change: &str| {
        format!(
            "{{{{ config(materialized='incremental', unique_key='id', on_schema_change='{change}') }}}}\nselect {columns}"
        )
    };
    let project = project!(&[(
        "models/m.sql",
        &model("1 as id, 'a'::varchar(3) as name", "append_new_columns")
    )]);
    project.sandbox.run(&["run"]).ok();
    project.sandbox.write(
        "models/m.sql",
        model("2 as id, 'longer'::varchar(9) as name, 5 as more", "append_new_columns"),
    );
    project.sandbox.run(&["run"]).ok();
    assert_eq!(project.sql("select * from main.m order by id"), ["1,a,", "2,longer,5"]);
    project.sandbox.write("models/m.sql", model("3 as id, 6 as more", "fail"));
    project.sandbox.run(&["run"]).fails_with(1).says("on_schema_change");
    project.sandbox.write("models/m.sql", model("3 as id, 6::bigint as more", "sync_all_columns"));
    project.sandbox.run(&["run"]).ok();
    assert_eq!(project.sql("select * from main.m order by id"), ["1,", "2,5", "3,6"]);
    assert_eq!(project.value("select data_type from information_schema.columns where table_name = 'm' and column_name = 'more'"), "bigint");
}

#[test]
fn snapshots_keep_what_was() {
    let snapshot = |name: &str, config: &str| {
        format!(
            "{{% snapshot {name} %}}\n{{{{ config(target_schema='main', unique_key='id', {config}) }}}}\nselect * from main.src\n{{% endsnapshot %}}\n"
        )
    };
    let text = [
        snapshot("by_time", "strategy='timestamp', updated_at='at'"),
        snapshot("by_value", "strategy='check', check_cols=['name'], hard_deletes='invalidate'"),
        snapshot(
            "by_all",
            "strategy='check', check_cols='all', hard_deletes='new_record', dbt_valid_to_current=\"'9999-12-31'::timestamp\"",
        ),
    ];
    let project = project!(&[("snapshots/s.sql", &text.concat())]);
    project.sql("create schema main; create table main.src (id int, name text, at timestamp); insert into main.src values (1, 'a', '2024-01-01'), (2, 'b', '2024-01-01'), (3, null, '2024-01-01')");
    project.sandbox.run(&["snapshot"]).ok();
    project.sql("update main.src set name = 'A', at = '2024-02-01' where id = 1; delete from main.src where id = 2; insert into main.src values (4, 'd', '2024-02-01'); alter table main.src add column extra int; update main.src set extra = 9 where id = 4");
    project.sandbox.run(&["snapshot"]).ok();
    project.sandbox.run(&["snapshot"]).ok();
    assert_eq!(
        project.sql("select id, name, dbt_valid_from::date, dbt_valid_to::date, extra from main.by_time order by id, dbt_valid_from"),
        ["1,a,2024-01-01,2024-02-01,", "1,A,2024-02-01,,", "2,b,2024-01-01,,", "3,,2024-01-01,,", "4,d,2024-02-01,,9"]
    );
    assert_eq!(
        project.value(
            "select md5('1|2024-01-01 00:00:00') = dbt_scd_id from main.by_time where name = 'a'"
        ),
        "t"
    );
    assert_eq!(
        project.sql(
            "select id, name, dbt_valid_to is null from main.by_value order by id, dbt_valid_from"
        ),
        ["1,a,f", "1,A,t", "2,b,f", "3,,t", "4,d,t"]
    );
    assert_eq!(
        project.sql("select id, name, dbt_valid_to = '9999-12-31', dbt_is_deleted from main.by_all order by id, dbt_valid_from"),
        ["1,a,f,False", "1,A,t,False", "2,b,f,False", "2,b,t,True", "3,,f,False", "3,,t,False", "4,d,t,False"]
    );
    // It comes back.
    project.sql("insert into main.src values (2, 'b', '2024-03-01')");
    project.sandbox.run(&["snapshot", "-s", "by_all"]).ok();
    assert_eq!(
        project.sql("select name, dbt_valid_to = '9999-12-31', dbt_is_deleted from main.by_all where id = 2 order by dbt_valid_from"),
        ["b,f,False", "b,f,True", "b,t,False"]
    );
}

#[test]
fn materialized_views_are_refreshed_and_get_their_indexes() {
    let view = |indexes: &str| {
        format!(
            "{{{{ config(materialized='materialized_view', indexes={indexes}) }}}}\nselect id from {{{{ ref('s') }}}}"
        )
    };
    let project =
        project!(&[("seeds/s.csv", "id\n1\n"), ("models/m.sql", &view("[{'columns': ['id']}]"))]);
    project.sandbox.build().ok();
    assert_eq!(project.relations(), ["m m", "r s"]);
    project.sandbox.write("seeds/s.csv", "id\n1\n2\n");
    project.sandbox.build().ok();
    assert_eq!(project.value("select count(*) from main.m"), "2");
    project.sandbox.write("models/m.sql", view("[{'columns': ['id'], 'unique': true}]"));
    project.sandbox.run(&["run"]).ok();
    assert!(
        project.value("select indexdef from pg_indexes where tablename = 'm'").contains("UNIQUE")
    );
    project.sandbox.write("models/m.sql", view("[], on_configuration_change='fail'"));
    project.sandbox.run(&["run"]).fails_with(1).says("on_configuration_change");
}

#[test]
fn microbatch_models_replace_their_batches() {
    let project = project!(&[
        (
            "seeds/events.csv",
            "id,at\n1,2024-01-01 10:00:00\n2,2024-01-02 10:00:00\n3,2024-01-03 10:00:00\n"
        ),
        ("seeds/s.yml", "seeds: [{name: events, config: {event_time: at}}]\n"),
        (
            "models/m.sql",
            "{{ config(materialized='incremental', incremental_strategy='microbatch', unique_key='id', event_time='at', begin='2024-01-01', batch_size='day') }}\n\
             select id, at, 1/(id - (select bad from public.knob)) as x from {{ ref('events') }}",
        ),
    ]);
    project.sql("create table public.knob as select 0 as bad");
    project
        .sandbox
        .run(&["build", "--event-time-start", "2024-01-01", "--event-time-end", "2024-01-04"])
        .ok();
    assert_eq!(project.sql("select id from main.m order by 1"), ["1", "2", "3"]);
    // One batch that fails leaves the others.
    project.sql("delete from main.m; update public.knob set bad = 2");
    project
        .sandbox
        .run(&["run", "--event-time-start", "2024-01-01", "--event-time-end", "2024-01-04"])
        .fails_with(1)
        .says("1 of 3 batches failed");
    assert_eq!(project.sql("select id from main.m order by 1"), ["1", "3"]);
    project.sql("update public.knob set bad = 0");
    project.sandbox.run(&["retry"]).ok();
    assert_eq!(project.sql("select id from main.m order by 1"), ["1", "2", "3"]);
}

#[test]
fn a_materialization_and_macros_of_the_project_take_their_place() {
    let project = project!(&[
        (
            "macros/m.sql",
            "{% materialization stamped, adapter='postgres' %}\n\
             {% set target = this.incorporate(type='table') %}\n\
             {{ run_hooks(pre_hooks) }}\n\
             {% call statement('main') %}create table if not exists {{ target }} (n int){% endcall %}\n\
             {% call statement('more') %}insert into {{ target }} {{ sql }}{% endcall %}\n\
             {{ run_hooks(post_hooks) }}\n\
             {{ adapter.commit() }}\n\
             {{ return({'relations': [target]}) }}\n\
             {% endmaterialization %}\n\
             {% macro postgres__create_view_as(relation, sql) %}create view {{ relation }} as select 'mine' as whose, * from ({{ sql }}) as q{% endmacro %}\n\
             {% macro get_incremental_mine_sql(arg_dict) %}insert into {{ arg_dict['target_relation'] }} select id * 100 from {{ arg_dict['temp_relation'] }}{% endmacro %}\n\
             {% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}",
        ),
        (
            "models/a.sql",
            "{{ config(materialized='stamped', post_hook='insert into {{ this }} values (9)') }}select 1"
        ),
        ("models/v.sql", "{{ config(schema='other') }}select 1 as id"),
        (
            "models/i.sql",
            "{{ config(materialized='incremental', incremental_strategy='mine') }}select 1 as id"
        ),
        (
            "models/s.yml",
            "models: [{name: a, columns: [{name: n, data_tests: [{accepted_values: {arguments: {values: [1, 9], quote: false}}}]}]}]\n"
        ),
    ]);
    project.sandbox.build().ok();
    project.sandbox.build().ok();
    assert_eq!(project.sql("select n from main.a order by n"), ["1", "1", "9", "9"]);
    assert_eq!(project.sql("select * from other.v"), ["mine,1"]);
    assert_eq!(project.sql("select * from main.i order by 1"), ["1", "100"]);
    // Its check stands before its commit, too.
    project.sandbox.write("models/a.sql", "{{ config(materialized='stamped') }}select 2");
    project.sandbox.build().fails_with(1);
    assert_eq!(project.sql("select n from main.a order by n"), ["1", "1", "9", "9"]);
}

//! What macros ask the adapter for: types, constraints, indexes, privileges, and the strategies and
//! contracts of what they write themselves. Expected values are dbt's.

use crate::sandbox::Sandbox;

#[test]
fn methods_answer_as_those_of_dbts_adapters() {
    let sandbox = Sandbox::new(&[(
        "macros/ask.sql",
        "{% macro ask() %}\n\
         {% set t = run_query(\"select 1 as a, 1.5 as b, 2.0::double as c, 'x' as d, true as e, date '2024-01-01' as f, timestamp '2024-01-01 10:00' as g, null::text as h\") %}\n\
         {% set types = [] %}\n\
         {% for i in range(8) %}{% do types.append(adapter.convert_type(t, i)) %}{% endfor %}\n\
         {{ print(types | join(', ')) }}\n\
         {{ print(adapter.get_hard_deletes_behavior({'hard_deletes': 'new_record'}) ~ ' ' ~ adapter.get_hard_deletes_behavior({'invalidate_hard_deletes': true}) ~ ' ' ~ adapter.get_hard_deletes_behavior({})) }}\n\
         {{ print(adapter.render_raw_columns_constraints(raw_columns={'id': {'name': 'id', 'data_type': 'bigint', 'constraints': [{'type': 'not_null'}, {'type': 'primary_key'}]}, 'b': {'name': 'B', 'data_type': 'text', 'quote': true, 'constraints': []}}) | join('; ')) }}\n\
         {{ print(adapter.render_raw_model_constraints(raw_constraints=[{'type': 'unique', 'name': 'u', 'columns': ['id', 'b']}, {'type': 'check', 'expression': 'id > 0'}]) | join('; ')) }}\n\
         {% set index = adapter.parse_index({'columns': ['a', 'b'], 'unique': true}) %}\n\
         {{ print(index.columns | join(',') ~ ' ' ~ index.unique ~ ' ' ~ index.type) }}\n\
         {{ print(adapter.quote_seed_column('a', false) ~ adapter.quote_seed_column('a', none)) }}\n\
         {{ print(adapter.quote_as_configured('a', 'identifier') ~ adapter.quote_as_configured('a', 'else')) }}\n\
         {% endmacro %}\n\
         {% macro both() %}{% do adapter.get_hard_deletes_behavior({'hard_deletes': 'ignore', 'invalidate_hard_deletes': true}) %}{% endmacro %}\n\
         {% macro bad_index() %}{% do adapter.parse_index({'column': 'a'}) %}{% endmacro %}",
    )]);
    sandbox
        .run(&["run-operation", "ask"])
        .ok()
        .says("integer, float8, integer, text, boolean, date, timestamp without time zone, integer")
        .says("new_record invalidate ignore")
        .says("id bigint not null primary key; \"B\" text")
        .says("constraint u unique (id, b); check (id > 0)")
        .says("a,b True None")
        .says("a\"a\"")
        .says("\"a\"a");
    sandbox.run(&["run-operation", "both"]).fails_with(1).says("cannot be set together");
    sandbox.run(&["run-operation", "bad_index"]).fails_with(1).says("`column`");
}

/// The project and its rows are those that dbt-core 1.12 with dbt-duckdb made of it.
#[test]
fn snapshot_strategies_are_written_in_jinja() {
    let sandbox = Sandbox::new(&[
        (
            "macros/strategies.sql",
            "{% macro snapshot_status_strategy(node, snapshotted_rel, current_rel, model_config, target_exists) %}\n\
             {% set key, updated_at = config.get('unique_key'), config.get('updated_at') or snapshot_get_time() %}\n\
             {% set row_changed %}({{ snapshotted_rel }}.status is distinct from {{ current_rel }}.status and {{ snapshotted_rel }}.dbt_valid_from < {{ current_rel }}.dbt_valid_from){% endset %}\n\
             {% do return({'unique_key': key, 'updated_at': updated_at, 'row_changed': row_changed,\n\
             'scd_id': snapshot_hash_arguments([key, updated_at]), 'hard_deletes': adapter.get_hard_deletes_behavior(config)}) %}\n\
             {% endmacro %}\n\
             {% macro snapshot_hash_arguments(args) -%}\n\
             'h' || md5({% for arg in args %}coalesce(cast({{ arg }} as varchar), 'none'){% if not loop.last %} || '/' || {% endif %}{% endfor %})\n\
             {%- endmacro %}",
        ),
        (
            "snapshots/s.yml",
            "snapshots:\n\
             \x20 - name: by_status\n\
             \x20   relation: ref('items')\n\
             \x20   config: {unique_key: id, strategy: status, updated_at: moment, hard_deletes: new_record}\n\
             \x20 - name: by_time\n\
             \x20   relation: ref('items')\n\
             \x20   config: {unique_key: id, strategy: timestamp, updated_at: moment, hard_deletes: invalidate}\n\
             \x20 - name: by_columns\n\
             \x20   relation: ref('items')\n\
             \x20   config: {unique_key: [id, kind], strategy: check, check_cols: [status], updated_at: moment}\n",
        ),
        (
            "models/items.sql",
            "{{ config(materialized='table') }}\n\
             {% if var('round') == 1 %}\n\
             select 1 as id, 'a' as kind, 'new' as status, timestamp '2024-01-01' as moment union all\n\
             select 2, 'a', 'new', timestamp '2024-01-01' union all\n\
             select 3, 'b', 'new', timestamp '2024-01-01'\n\
             {% elif var('round') == 2 %}\n\
             select 1 as id, 'a' as kind, 'done' as status, timestamp '2024-01-02' as moment union all\n\
             select 2, 'x', 'new', timestamp '2024-01-02' union all\n\
             select 3, 'b', 'done', timestamp '2024-01-01'\n\
             {% else %}\n\
             select 1 as id, 'a' as kind, 'done' as status, timestamp '2024-01-03' as moment union all\n\
             select 3, 'b', 'new', timestamp '2024-01-03'\n\
             {% endif %}",
        ),
    ]);
    for round in 1..=3 {
        sandbox.run(&["build", "--vars", &format!("round: {round}")]).ok();
    }
    let rows = |name: &str, more: &str| {
        sandbox.rows(&format!(
            "select id, kind, status, case when dbt_valid_from < date '2025-01-01' then dbt_scd_id end as hash, cast(dbt_valid_from as date) as since, case when dbt_valid_to > date '2025-01-01' then 'run' else cast(cast(dbt_valid_to as date) as text) end as until{more} from {name} order by id, dbt_valid_from, status, until"
        ))
    };
    let by_status = rows("by_status", ", dbt_is_deleted");
    assert_eq!(by_status.len(), 5);
    assert_eq!(
        by_status[..3],
        [
            "1,a,new,hefb0b6e97ed635932c793934dc96a37b,2024-01-01,2024-01-02,False",
            "1,a,done,hc5e0e3715be8d1a4c34cd1e2f979ec86,2024-01-02,,False",
            "2,a,new,he05d16848dfdd28714de1f869bc7f9c5,2024-01-01,run,False",
        ]
    );
    assert!(by_status[3].starts_with("2,a,new,,20") && by_status[3].ends_with(",,True"));
    assert_eq!(by_status[4], "3,b,new,hf8f0344a919cfe5615a7c08958fc06a1,2024-01-01,,False");
    assert_eq!(
        rows("by_time", ""),
        [
            "1,a,new,hefb0b6e97ed635932c793934dc96a37b,2024-01-01,2024-01-02",
            "1,a,done,hc5e0e3715be8d1a4c34cd1e2f979ec86,2024-01-02,2024-01-03",
            "1,a,done,h9ab2d90dec6c4be99957bcc011de57db,2024-01-03,",
            "2,a,new,he05d16848dfdd28714de1f869bc7f9c5,2024-01-01,2024-01-02",
            "2,x,new,ha41ac5c75c3c533c0176b7b7c3e8216f,2024-01-02,run",
            "3,b,new,hf8f0344a919cfe5615a7c08958fc06a1,2024-01-01,2024-01-03",
            "3,b,new,hfa53bddf75a940fc4101c1104916908b,2024-01-03,",
        ]
    );
    assert_eq!(
        rows("by_columns", ""),
        [
            "1,a,new,hec2188a41b1fb0f6f5efbad27b794ac6,2024-01-01,2024-01-02",
            "1,a,done,h83524812c24dea71cdd381f29d86f4f6,2024-01-02,",
            "2,a,new,hee2371e389bf6cbd92c98416bc09a348,2024-01-01,",
            "2,x,new,h7d0fe4b991fbb8b89ad410f63ed54c50,2024-01-02,",
            "3,b,done,h18048a9f74756cbea91a3801d4e1a690,2024-01-01,2024-01-03",
            "3,b,new,h18048a9f74756cbea91a3801d4e1a690,2024-01-01,2024-01-01",
            "3,b,new,ha1080bbaa6aef17db21c3b961945984b,2024-01-03,",
        ]
    );
    // One that is nowhere is named, with what to write.
    sandbox.write(
        "snapshots/s.yml",
        "snapshots:\n  - name: lost\n    relation: ref('items')\n    config: {unique_key: id, strategy: mine}\n",
    );
    sandbox
        .run(&["build", "--vars", "round: 3"])
        .fails_with(1)
        .says("the snapshot strategy `mine` is not known")
        .says("snapshot_mine_strategy");
}

#[test]
fn contracts_hold_for_what_macros_and_hooks_make() {
    let sandbox = Sandbox::new(&[
        (
            "macros/plain.sql",
            "{% materialization plain, default %}\n\
             {% set target_relation = this.incorporate(type='table') %}\n\
             {% call statement('main') %}{{ create_table_as(false, target_relation, sql) }}{% endcall %}\n\
             {{ run_hooks(post_hooks) }}\n\
             {{ return({'relations': [target_relation]}) }}\n\
             {% endmaterialization %}\n\
             {% macro get_incremental_all_sql(arg_dict) %}insert into {{ arg_dict['target_relation'] }} select * from {{ arg_dict['temp_relation'] }}{% endmacro %}",
        ),
        (
            "models/m.sql",
            "{{ config(materialized='plain') }} select 'a' as b, {{ var('id') }} as id",
        ),
        (
            "models/i.sql",
            "{{ config(materialized='incremental', incremental_strategy='all') }} select {{ var('id') }} as id",
        ),
        (
            "models/h.sql",
            "{{ config(materialized='table', post_hook=\"update {{ this }} set id = \" ~ var('hook')) }} select 1 as id",
        ),
        (
            "models/m.yml",
            "models:\n\
             \x20 - &m\n\
             \x20   name: m\n\
             \x20   config: {contract: {enforced: true}}\n\
             \x20   columns:\n\
             \x20     - {name: id, data_type: bigint, constraints: [{type: check, name: positive, expression: id > 0}]}\n\
             \x20     - {name: b, data_type: text}\n\
             \x20 - name: i\n\
             \x20   config: {contract: {enforced: true}, on_schema_change: fail}\n\
             \x20   columns:\n\
             \x20     - {name: id, data_type: bigint, constraints: [{type: unique}]}\n\
             \x20 - name: h\n\
             \x20   config: {contract: {enforced: true}}\n\
             \x20   columns:\n\
             \x20     - {name: id, data_type: bigint, constraints: [{type: check, expression: id < 10}]}\n",
        ),
    ]);
    let build = |select: &str, vars: &str| {
        sandbox.run(&["build", "--no-reuse", "--select", select, "--vars", &format!("{{{vars}}}")])
    };
    build("m i h", "id: 1, hook: 2").ok();
    // The order of the columns is that of the contract.
    assert_eq!(sandbox.rows("select * from m"), ["1,a"]);
    build("m", "id: -1, hook: 2").fails_with(1).says("check positive").says("id=-1");
    build("m", "id: \"'x'\", hook: 2").fails_with(1).says("contract");
    assert_eq!(sandbox.rows("select * from m"), ["1,a"]);
    build("i", "id: 1, hook: 3").fails_with(1).says("unique");
    assert_eq!(sandbox.value("select count(*) from i"), "1");
    // A hook cannot break what the model had to keep to, either.
    build("h", "id: 1, hook: 20").fails_with(1).says("check");
    assert_eq!(sandbox.value("select id from h"), "2");
}

#[test]
fn privileges_can_be_asked_for() {
    let sandbox = Sandbox::new(&[
        (
            "models/a.sql",
            "{{ config(materialized='table', grants={'select': ['bi', 'ops']}) }} select 1 as id",
        ),
        (
            "macros/g.sql",
            "{% macro regrant() %}\n\
             {% set rel = api.Relation.create(schema='main', identifier='a', type='table') %}\n\
             {{ print(adapter.standardize_grants_dict(run_query(get_show_grant_sql(rel)))) }}\n\
             {% do apply_grants(rel, {'select': ['bi'], 'insert': ['etl']}, should_revoke=true) %}\n\
             {% endmacro %}",
        ),
    ]);
    sandbox.build().ok();
    sandbox.run(&["run-operation", "regrant"]).ok().says("{'SELECT': ['bi', 'ops']}");
    assert_eq!(
        sandbox.rows(
            "select table_schema, table_name, grantee, privilege_type from information_schema.role_table_grants order by grantee"
        ),
        ["main,a,bi,SELECT", "main,a,etl,INSERT"]
    );
}

//! From nodes to SQL.

use serde_json::json;
use tidemill_core::UniqueId;
use tidemill_project::{
    LoadOptions, Message, Project, RelationType, RenderState, normalize_sql, parse_vars,
};

use crate::harness::{Folder, Lake, options};

fn sql(folder: &Folder, id: &str, state: &RenderState) -> String {
    match folder.project().render_node(&UniqueId::new(id), state) {
        Ok(rendered) => rendered.sql,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

fn offline() -> RenderState {
    RenderState::offline("compile")
}

#[test]
fn names_become_relations() {
    let folder = Folder::new(&[
        ("models/a.sql", "{{ config(schema='core', alias='aa') }}select 1"),
        (
            "models/s.yml",
            "sources: [{name: raw, schema: raw_shop, tables: [{name: t, identifier: t_1}]}]",
        ),
        (
            "models/b.sql",
            "{% set r = ref('a') %}{{ r }} {{ r.schema }} {{ r.identifier }} {{ r.include(schema=false) }} {{ this }} {{ source('raw', 't') }} {{ ref('shop', 'a').name }} {{ r.include(database=true) }}",
        ),
    ]);
    assert_eq!(
        sql(&folder, "model.shop.b", &offline()),
        "\"main_core\".\"aa\" main_core aa \"aa\" \"main\".\"b\" \"raw_shop\".\"t_1\" aa \"tidemill\".\"main_core\".\"aa\""
    );
}

#[test]
fn the_projects_own_macros_decide_about_names() {
    let folder = Folder::new(&[
        (
            "macros/names.sql",
            "{% macro generate_schema_name(custom, node) %}  {{ custom or target.schema ~ '_' ~ node.resource_type }} {% endmacro %}{% macro generate_alias_name(custom=none, node=none) %}{{ node.fqn[1:] | join('__') }}{% endmacro %}",
        ),
        ("models/x/a.sql", "select 1"),
        ("models/x/b.sql", "{{ config(schema='core') }} select 1"),
    ]);
    let project = folder.project();
    let relation =
        |id: &str| project.manifest().relation_of(&UniqueId::new(id)).unwrap().to_string();
    assert_eq!(relation("model.shop.a"), "main_model.x__a");
    assert_eq!(relation("model.shop.b"), "core.x__b");
}

#[test]
fn vars_are_found_where_dbt_finds_them() {
    let folder = Folder::new(&[
        (
            "dbt_project.yml",
            "name: shop\nvars:\n  a: 1\n  b: global\n  text: \"{{ 'x' ~ var('a') }}\"\n  shop: {b: scoped}\n",
        ),
        (
            "models/m.sql",
            "{{ var('a') }} {{ var('b') }} {{ var('c', 'default') }} {{ var('text') }} {{ var.has_var('z') }}",
        ),
    ]);
    let project = folder.project();
    let id = UniqueId::new("model.shop.m");
    let rendered = project.render_node(&id, &offline()).unwrap();
    assert_eq!(rendered.sql, "1 scoped default x1 False");
    assert_eq!(
        json!(rendered.reads.vars),
        json!({"a": 1, "b": "scoped", "c": null, "text": "{{ 'x' ~ var('a') }}", "z": null})
    );
    let mut options = options();
    options.vars = parse_vars("{b: cli, c: 2}").unwrap();
    let (project, _) = tidemill_project::Project::load(folder.path(), &options).unwrap();
    assert_eq!(project.render_node(&id, &offline()).unwrap().sql, "1 cli 2 x1 False");
    assert!(parse_vars("[1]").unwrap_err().to_string().contains("must be a mapping"));
}

#[test]
fn is_incremental_asks_for_a_table_of_that_name() {
    let folder = Folder::new(&[
        (
            "models/a.sql",
            "{{ config(materialized='incremental') }}{% if is_incremental() %}more{% else %}all{% endif %}",
        ),
        (
            "models/b.sql",
            "{{ config(materialized='incremental', full_refresh=false) }}{{ is_incremental() }}",
        ),
        ("models/c.sql", "{{ is_incremental() }}"),
    ]);
    let table = || {
        Lake::default()
            .with("main.a", RelationType::Table, &[])
            .with("main.b", RelationType::Table, &[])
            .with("main.c", RelationType::Table, &[])
    };
    let cases = [
        ("model.shop.a", Lake::default(), false, "all", Some(false)),
        ("model.shop.a", table(), false, "more", Some(true)),
        ("model.shop.a", table(), true, "all", Some(false)),
        (
            "model.shop.a",
            Lake::default().with("main.a", RelationType::View, &[]),
            false,
            "all",
            Some(false),
        ),
        ("model.shop.b", table(), true, "True", Some(true)),
        ("model.shop.c", table(), false, "False", Some(false)),
    ];
    for (id, lake, full_refresh, expected, read) in cases {
        let mut state = lake.state();
        state.full_refresh = full_refresh;
        let rendered = folder.project().render_node(&UniqueId::new(id), &state).unwrap();
        assert_eq!(
            (rendered.sql.as_str(), rendered.reads.is_incremental),
            (expected, read),
            "{id}"
        );
    }
}

#[test]
fn ephemeral_models_are_inlined_once_and_in_order() {
    let folder = Folder::new(&[
        ("models/table.sql", "select 1 as x"),
        (
            "models/base.sql",
            "{{ config(materialized='ephemeral') }}select * from {{ ref('table') }} where '{{ var('v', 'w') }}' = 'w'",
        ),
        (
            "models/left.sql",
            "{{ config(materialized='ephemeral') }}select * from {{ ref('base') }}",
        ),
        (
            "models/right.sql",
            "{{ config(materialized='ephemeral') }}with y as (select 1) select * from {{ ref('base') }}",
        ),
        (
            "models/all.sql",
            "with own as (select 1)\nselect * from {{ ref('right') }} join {{ ref('left') }} using (x)",
        ),
    ]);
    let rendered = folder.project().render_node(&"model.shop.all".into(), &offline()).unwrap();
    assert_eq!(
        rendered.sql,
        "with __dbt__cte__base as (\nselect * from \"main\".\"table\" where 'w' = 'w'\n),  __dbt__cte__right as (\nwith y as (select 1) select * from __dbt__cte__base\n),  __dbt__cte__left as (\nselect * from __dbt__cte__base\n), own as (select 1)\nselect * from __dbt__cte__right join __dbt__cte__left using (x)"
    );
    assert_eq!(
        rendered.inlined,
        ["model.shop.base", "model.shop.right", "model.shop.left"].map(UniqueId::from)
    );
    assert!(rendered.reads.vars.contains_key("v"));
    assert!(rendered.late.is_empty());
}

#[test]
fn queries_of_templates_run_and_are_noted() {
    let folder = Folder::new(&[
        ("models/a.sql", "{% set q %} select   distinct x from {{ this }} {% endset %}
{%- set t = run_query(q) -%}
{%- if execute -%}
{{ t.columns[0].values() | join(',') }} {{ t.rows[1]['y'] }} {{ t.rows | length }} {{ t.column_names | join('+') }} {{ t.columns['y'].values()[0] }}
{%- for row in t %} {{ row[0] }}/{{ row.y }}{% endfor -%}
{%- endif -%}"),
        ("models/b.sql", "{%- call statement('s', fetch_result=True) -%} select 1 {%- endcall -%}{{ load_result('s').table.columns[0][0] if execute }} {{ load_result('s')['data'][0][0] if execute }}"),
    ]);
    let lake = || {
        Lake::default()
            .answering(
                "select distinct x from \"main\".\"a\"",
                &[("x", "bigint"), ("y", "numeric(10,2)")],
                json!([[1, "2.50"], [3, "4"]]),
            )
            .answering("select 1", &[("one", "bigint")], json!([[1]]))
    };
    let rendered = folder.project().render_node(&"model.shop.a".into(), &lake().state()).unwrap();
    assert_eq!(rendered.sql, "1,3 4 2 x+y 2.5 1/2.5 3/4");
    assert_eq!(rendered.reads.queries.len(), 1);
    assert_eq!(rendered.reads.queries[0].sql, "select   distinct x from \"main\".\"a\"");
    assert_eq!(sql(&folder, "model.shop.b", &lake().state()), "1 1");
    let error =
        folder.project().render_node(&"model.shop.b".into(), &Lake::default().state()).unwrap_err();
    assert!(error.to_string().contains("no answer to `select 1`"), "{error}");
    assert!(error.to_string().contains("--> models/b.sql:1:"), "{error}");
}

#[test]
fn the_catalog_answers_the_adapter() {
    let folder = Folder::new(&[
        ("models/a.sql", "select 1"),
        ("models/b.sql", "{{ dbt_utils.star(ref('a'), except=['Y'], relation_alias='t') }}
{%- set r = adapter.get_relation(database=none, schema='main', identifier='a') %}
{{ r is not none and r.is_view }} {{ adapter.get_relation(none, 'main', 'zz') is none }} {{ load_relation(ref('a')).type }} {{ adapter.type() }} {{ adapter.quote('q\"') }}"),
    ]);
    let lake = Lake::default().with(
        "main.a",
        RelationType::View,
        &[("x", "bigint"), ("y", "text"), ("Z", "text")],
    );
    let rendered = folder.project().render_node(&"model.shop.b".into(), &lake.state()).unwrap();
    assert_eq!(rendered.sql, "t.\"x\",\n  t.\"Z\"\nTrue True view tidemill \"q\"\"\"");
    assert_eq!(json!(rendered.reads.relations), json!({"main.a": "view", "main.zz": null}));
    assert_eq!(rendered.reads.columns.keys().collect::<Vec<_>>(), ["main.a"]);
}

#[test]
fn macros_of_dbt_and_dbt_utils_work_without_packages() {
    let cases = [
        (
            "{{ dbt.type_string() }} {{ type_int() }} {{ dbt.type_timestamp() }}",
            "text integer timestamp",
        ),
        ("{{ dbt.dateadd('day', 1, 'x') }}", "dateadd('day', 1, cast(x as timestamp))"),
        ("{{ dbt.datediff('a', 'b', 'DAY') }}", "datediff('day', a, b)"),
        ("{{ dbt.date_trunc('month', 'x') }}", "date_trunc('month', x)"),
        ("{{ dbt.concat(['a', \"'-'\", 'b']) }}", "a || '-' || b"),
        ("{{ dbt.safe_cast('x', api.Column.translate_type('string')) }}", "try_cast(x as TEXT)"),
        ("{{ dbt.split_part('x', \"'/'\", 1) }}", "split_part(x, '/', 1)"),
        ("{{ dbt_utils.safe_divide('a', 'b') }}", "( a ) / nullif( ( b ), 0)"),
        ("{{ dbt_utils.group_by(3) }}", "group by 1, 2, 3"),
        (
            "{{ dbt_utils.generate_surrogate_key(['a', 'b']) }}",
            "md5(cast(coalesce(cast(a as text), '_dbt_utils_surrogate_key_null_') || '-' || coalesce(cast(b as text), '_dbt_utils_surrogate_key_null_') as text))",
        ),
        ("{{ dbt_utils.slugify('A b-c!1') }}", "a_b_c1"),
    ];
    for (template, expected) in cases {
        let folder = Folder::new(&[("models/m.sql", template)]);
        assert_eq!(sql(&folder, "model.shop.m", &offline()), expected, "{template}");
    }
}

#[test]
fn a_projects_own_package_takes_the_place_of_the_built_in_one() {
    let folder = Folder::new(&[
        ("dbt_packages/dbt_utils/dbt_project.yml", "name: dbt_utils\nvars: {own: theirs}\n"),
        (
            "dbt_packages/dbt_utils/macros/x.sql",
            "{% macro star(from) %}{{ return(adapter.dispatch('star', 'dbt_utils')(from)) }}{% endmacro %}{% macro default__star(from) %}theirs {{ inner() }} {{ var('own') }}{% endmacro %}{% macro postgres__star(from) %}postgres {{ dbt_utils.inner() }}{% endmacro %}{% macro inner() %}inner{% endmacro %}",
        ),
        ("dbt_packages/dbt_utils/models/u.sql", "select '{{ var('own') }}' {{ inner() }}"),
        ("models/m.sql", "{{ dbt_utils.star('x') }}"),
        ("models/n.sql", "select * from {{ ref('u') }} {{ ref('dbt_utils', 'u') }}"),
    ]);
    assert_eq!(sql(&folder, "model.shop.m", &offline()), "postgres inner");
    assert_eq!(sql(&folder, "model.dbt_utils.u", &offline()), "select 'theirs' inner");
    assert_eq!(
        sql(&folder, "model.shop.n", &offline()),
        "select * from \"main\".\"u\" \"main\".\"u\""
    );
}

#[test]
fn tests_render_to_the_query_of_their_failing_rows() {
    let folder = Folder::new(&[
        ("models/a.sql", "select 1 as x"),
        ("models/b.sql", "select 1 as x"),
        ("tests/t.sql", "select * from {{ ref('a') }} where x < 0"),
        (
            "macros/tests.sql",
            "{% test is_even(model, column_name, other=none) %}select * from {{ model }} where {{ column_name }} % 2 = 1 and {{ other }} {% endtest %}",
        ),
        (
            "models/a.yml",
            "models:
  - name: a
    columns:
      - name: x
        data_tests:
          - not_null: {where: x > 0}
          - is_even: {name: even, other: \"{{ var('limit', 5) }}\"}
          - relationships: {name: in_b, to: ref('b'), field: x}
",
        ),
    ]);
    let project = folder.project();
    let state = offline();
    let query = |name: &str| {
        let node = project.manifest().tests().find(|node| node.name == name).unwrap();
        normalize_sql(&project.render_node(&node.unique_id, &state).unwrap().sql)
    };
    assert_eq!(
        query("not_null_a_x"),
        "select x\nfrom (select * from \"main\".\"a\" where x > 0) dbt_subquery\nwhere x is null"
    );
    assert_eq!(query("even"), "select * from \"main\".\"a\" where x % 2 = 1 and 5");
    assert_eq!(query("t"), "select * from \"main\".\"a\" where x < 0");
    let in_b = project.manifest().tests().find(|node| node.name == "in_b").unwrap();
    let arguments = project.test_arguments(&in_b.unique_id, &state).unwrap();
    assert_eq!(json!(arguments.values), json!({"to": "\"main\".\"b\"", "field": "x"}));
    assert_eq!(arguments.relations["to"].to_string(), "main.b");
}

#[test]
fn what_a_template_says_and_reads_is_kept() {
    let folder = Folder::new(&[(
        "models/m.sql",
        "{% do log('a', info=true) %}{% do log('b') %}{{ print('c') }}{% do exceptions.warn('careful') %}
{{ target.schema }} {{ flags.WHICH }} {{ env_var('REGION') }} {{ env_var('NONE', 'x') }} {{ invocation_id }} {{ model.unique_id }} {{ project_name }} {{ fromyaml('a: [1]').a[0] }} {{ tojson({'a': 1}) }}",
    )]);
    let rendered =
        folder.project().render_node(&"model.shop.m".into(), &Lake::default().state()).unwrap();
    assert_eq!(rendered.sql, "\nmain build eu x run-1 model.shop.m shop 1 {\"a\": 1}");
    assert_eq!(
        rendered.messages,
        [Message::Info("a".into()), Message::Debug("b".into()), Message::Print("c".into())]
    );
    assert!(
        rendered
            .warnings
            .to_string()
            .starts_with("warning[template]: careful\n  --> models/m.sql:1:")
    );
    assert_eq!(
        rendered.reads.canonical_json(),
        r#"{"env":{"NONE":null,"REGION":"eu"},"flags":{"WHICH":"build"},"invocation_id":true,"target":{"schema":"main"}}"#
    );
    assert!(rendered.reads.is_volatile());
}

#[test]
fn refs_that_the_parse_pass_did_not_see_are_told() {
    let folder = Folder::new(&[
        ("models/a.sql", "select 1"),
        ("models/b.sql", "{% if execute %}select * from {{ ref('a') }}{% endif %}"),
    ]);
    let project = folder.project();
    assert!(project.manifest().parents_of(&"model.shop.b".into()).is_empty());
    let rendered = project.render_node(&"model.shop.b".into(), &offline()).unwrap();
    assert_eq!(rendered.late, [UniqueId::from("model.shop.a")]);
}

#[test]
fn hooks_inline_queries_and_operations_render() {
    let folder = Folder::new(&[
        ("dbt_project.yml", "name: shop\non-run-end: [\"{{ note(schemas[0]) }}\"]\n"),
        (
            "macros/m.sql",
            "{% macro note(x) %}select '{{ x }}'{% endmacro %}{% macro add(a, b=1) %}{{ return(a + b) }}{% endmacro %}",
        ),
        (
            "models/a.sql",
            "{{ config(post_hook=\"grant on {{ this }} to {{ note(model.name) }}\", materialized='ephemeral') }}select 1",
        ),
    ]);
    let project = folder.project();
    let node = &project.manifest().nodes[&UniqueId::from("model.shop.a")];
    let hook =
        project.render_hook(&node.unique_id, &node.config.post_hooks[0], &offline()).unwrap();
    assert_eq!(hook.sql, "grant on \"main\".\"a\" to select 'a'");
    let mut state = offline();
    state.names = std::sync::Arc::new(json!({"schemas": ["main"]}).as_object().unwrap().clone());
    let end = project.render_run_hook(&project.manifest().on_run_end[0], &state).unwrap();
    assert_eq!(end.sql, "select 'main'");
    let inline = project.render_inline("select * from {{ ref('a') }}", &offline()).unwrap();
    assert_eq!(inline.sql, "with  __dbt__cte__a as (\nselect 1\n)\nselect * from __dbt__cte__a");
    let arguments = json!({"a": 2}).as_object().unwrap().clone();
    assert_eq!(project.run_macro("add", &arguments, &offline()).unwrap().sql, "3");
    let error = project.run_macro("ad", &arguments, &offline()).unwrap_err();
    assert!(error.to_string().contains("did you mean `add`?"), "{error}");
}

#[test]
fn every_built_in_test_renders() {
    let tests = [
        "dbt_utils.accepted_range: {min_value: 1, max_value: 2, inclusive: false}",
        "dbt_utils.not_empty_string",
        "dbt_utils.not_null_proportion: {at_least: 0.5}",
        "dbt_utils.not_constant",
        "dbt_utils.at_least_one",
        "dbt_utils.cardinality_equality: {to: ref('b'), field: x}",
        "dbt_utils.relationships_where: {to: ref('b'), field: x, from_condition: x > 1}",
        "dbt_utils.sequential_values: {interval: 2}",
        "dbt_utils.expression_is_true: {expression: '> 1'}",
        "dbt_utils.recency: {field: x, datepart: day, interval: 1}",
        "dbt_utils.mutually_exclusive_ranges: {lower_bound_column: x, upper_bound_column: y}",
        "dbt_utils.equality: {compare_model: ref('b')}",
        "dbt_utils.equal_rowcount: {compare_model: ref('b')}",
        "dbt_utils.fewer_rows_than: {compare_model: ref('b')}",
        "dbt_expectations.expect_column_values_to_match_regex: {regex: \"^a'\"}",
        "dbt_expectations.expect_column_to_exist",
        "dbt_expectations.expect_column_values_to_be_in_type_list: {column_type_list: [bigint]}",
        "dbt_expectations.expect_column_value_lengths_to_be_between: {min_value: 1}",
        "dbt_expectations.expect_column_values_to_be_in_set: {value_set: [a, b]}",
        "dbt_expectations.expect_table_row_count_to_be_between: {min_value: 1}",
    ];
    let mut yaml =
        "models:\n  - name: a\n    columns:\n      - name: x\n        data_tests:\n".to_owned();
    for test in tests {
        yaml.push_str(&format!("          - {test}\n"));
    }
    let folder = Folder::new(&[
        ("models/a.sql", "select 1 as x"),
        ("models/b.sql", "select 1 as x"),
        ("models/a.yml", &yaml),
    ]);
    let project = folder.project();
    let lake = || Lake::default().with("main.a", RelationType::Table, &[("x", "bigint")]).state();
    let mut seen = 0;
    for node in project.manifest().tests() {
        // Of those on a column, some take none: dbt tells so too.
        let result = project.render_node(&node.unique_id, &lake());
        match result {
            Ok(rendered) => {
                assert!(rendered.sql.contains("select"), "{}: {}", node.name, rendered.sql)
            }
            Err(error) => {
                assert!(error.to_string().contains("column_name"), "{}: {error}", node.name)
            }
        }
        seen += 1;
    }
    assert_eq!(seen, tests.len());
}

#[test]
fn times_are_times() {
    let folder = Folder::new(&[(
        "models/m.sql",
        "{{ run_started_at.strftime('%Y-%m-%d %H:%M') }} {{ run_started_at }} {{ (run_started_at - modules.datetime.timedelta(days=1)).date() }}
{%- if execute %}{% set t = run_query('select now') %} {{ t.columns[0][0].year }} {{ t.columns[1][0].isoformat() }}{% endif %}",
    )]);
    let lake = Lake::default().answering(
        "select now",
        &[("d", "date"), ("t", "timestamp without time zone")],
        json!([["2026-02-03", "2026-02-03 04:05:06"]]),
    );
    let rendered = folder.project().render_node(&"model.shop.m".into(), &lake.state()).unwrap();
    assert_eq!(
        rendered.sql,
        "2026-01-02 03:04 2026-01-02 03:04:05+00:00 2026-01-01 2026 2026-02-03T04:05:06"
    );
    assert!(rendered.reads.run_started_at && !rendered.reads.clock);
}

#[test]
fn a_relation_is_a_mapping_too() {
    let folder = Folder::new(&[
        ("models/a.sql", "select 1"),
        (
            "models/b.sql",
            "{% set r = ref('a') %}{{ r is mapping }} {{ r is string }} {{ r.get('metadata', {}).get('type', '').endswith('Relation') }} {{ r.get('nothing', 5) }} {{ r['path']['schema'] }} {{ r.keys() | list | length > 3 }}",
        ),
    ]);
    assert_eq!(sql(&folder, "model.shop.b", &offline()), "True False True 5 main True");
}

#[test]
fn packages_know_their_versions() {
    let folder = Folder::new(&[
        ("dbt_project.yml", "name: shop\nversion: '2.0'\n"),
        ("dbt_packages/tools/dbt_project.yml", "name: tools\nversion: 1.4.2\n"),
        ("dbt_packages/tools/macros/m.sql", "{% macro duckdb__only() %}found{% endmacro %}"),
        (
            "models/a.sql",
            "{% set conf = builtins.ref.config %}{{ conf.dependencies['tools'].version }} {{ conf.version }} {{ builtins.ref('b') }}",
        ),
        ("models/b.sql", "select 1"),
    ]);
    // What is installed is used, also where a folder of another name is said.
    folder.write("packages.yml", "packages:\n  - local: copy\n");
    folder.write("copy/dbt_project.yml", "name: tools\nversion: 9.9.9\n");
    assert_eq!(sql(&folder, "model.shop.a", &offline()), "1.4.2 2.0 \"main\".\"b\"");
}

#[test]
fn a_var_is_missing_only_when_it_is_needed() {
    let folder = Folder::new(&[
        ("models/a.sql", "{{ config(enabled=var('later', false)) }}select {{ var('nowhere') }}"),
        ("models/b.sql", "select {{ var('nowhere') }}"),
    ]);
    let project = folder.project();
    let failed = project.render_node(&UniqueId::new("model.shop.b"), &offline()).unwrap_err();
    assert!(failed.to_string().contains("the var `nowhere` is required by `b`"), "{failed}");
}

#[test]
fn a_stand_in_is_called_what_it_stands_for() {
    let profile = |kind: &str| {
        format!("shop:\n  target: dev\n  outputs:\n    dev: {{type: {kind}, schema: s}}\n")
    };
    for (kind, shown) in [("duckdb", "duckdb duckdb duck"), ("snowflake", "postgres postgres pg")] {
        let folder = Folder::new(&[
            ("dbt_project.yml", "name: shop\nprofile: shop\n"),
            ("profiles.yml", &profile(kind)),
            (
                "macros/m.sql",
                "{% macro one() %}{{ return(adapter.dispatch('one', 'shop')()) }}{% endmacro %}{% macro duckdb__one() %}duck{% endmacro %}{% macro snowflake__one() %}pg{% endmacro %}",
            ),
            ("models/a.sql", "{{ target.type }} {{ adapter.type() }} {{ one() }}"),
        ]);
        let lake = LoadOptions { target_lake: Some("lake".into()), ..options() };
        let (project, _) = Project::load(folder.path(), &lake).unwrap();
        let rendered = project.render_node(&UniqueId::new("model.shop.a"), &offline()).unwrap();
        assert_eq!(rendered.sql, shown);
    }
}

#[test]
fn tests_of_a_seed_may_stand_under_models() {
    let folder = Folder::new(&[
        ("seeds/s.csv", "id\n1\n"),
        ("models/s.yml", "models: [{name: s, columns: [{name: id, data_tests: [unique]}]}]"),
    ]);
    assert!(folder.said().contains("which is a seed: its tests"), "{}", folder.said());
    let project = folder.project();
    let tests: Vec<&str> = project
        .manifest()
        .nodes
        .values()
        .filter(|node| node.resource_type == tidemill_project::ResourceType::Test)
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(tests, ["unique_s_id"]);
}

#[test]
fn a_package_may_test_what_another_has() {
    let folder = Folder::new(&[
        ("dbt_packages/tools/dbt_project.yml", "name: tools\n"),
        ("dbt_packages/tools/models/t.sql", "select 1 as id"),
        ("models/m.yml", "models: [{name: t, columns: [{name: id, data_tests: [unique]}]}]"),
    ]);
    let project = folder.project();
    let found = project.manifest().nodes.values().find(|node| node.name == "unique_t_id").unwrap();
    assert_eq!(found.package_name, "shop");
    assert!(
        found.depends_on.iter().any(|id| id.as_str() == "model.tools.t"),
        "{:?}",
        found.depends_on
    );
}

#[test]
fn a_list_of_tests_beside_the_models_is_nothing() {
    let folder = Folder::new(&[
        ("models/a.sql", "select 1 as id"),
        ("models/a.yml", "models: [{name: a}]\ntests:\n  - unique: {column_name: id}\n"),
    ]);
    let said = folder.said();
    assert!(said.contains("has no key `tests`"), "{said}");
    assert_eq!(folder.project().manifest().nodes.len(), 1);
}

#[test]
fn arguments_of_a_test_stand_where_dbt_has_them() {
    let folder = Folder::new(&[
        ("models/a.sql", "select 1 as id"),
        (
            "models/a.yml",
            "models:\n  - name: a\n    columns:\n      - name: id\n        data_tests:\n\
             \x20         - accepted_values: {arguments: {values: [1]}}\n\
             \x20         - relationships: {arguments: null, to: ref('a'), field: id}\n",
        ),
    ]);
    let project = folder.project();
    let keys = |name: &str| {
        let node = project.manifest().nodes.values().find(|node| node.name.starts_with(name));
        let json = tidemill_project::node_json(node.unwrap());
        let kwargs = json["test_metadata"]["kwargs"].as_object().unwrap();
        kwargs.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys("accepted_values"), "column_name values model");
    assert_eq!(keys("relationships"), "to field column_name model");
}

//! What is known without rendering.

use tidemill_jinja::{DefinitionKind, Source, Template, Value, docs_blocks};

fn parse(text: &str) -> Template {
    Template::from_text("a.sql", text).expect("it parses")
}

#[test]
fn simple_templates_are_told_from_others() {
    let cases = [
        ("select 1", true),
        ("{{ config(materialized='table', tags=['a', 'b'], meta={'x': 1}) }} select 1", true),
        (
            "select * from {{ ref('a') }} join {{ source('s', 't') }} where x = {{ var('y', -1) }}",
            true,
        ),
        ("{# {{ ref(x) }} #}{{ ref('pkg', 'a', v=2) }}", true),
        ("{{ ref(name) }}", false),
        ("{{ ref('a').identifier }}", false),
        ("{{ ref(*['a']) }}", false),
        ("{% if x %}{{ ref('a') }}{% endif %}", false),
        ("{{ this }}", false),
        ("{{ config(x=var('y')) }}", false),
        ("{{ other('a') }}", false),
        ("{% set x = 1 %}", false),
        ("{{ 1 }}", false),
    ];
    for (text, simple) in cases {
        assert_eq!(parse(text).static_calls().simple, simple, "{text}");
    }
}

#[test]
fn calls_are_found_with_their_places() {
    let text =
        "{% if execute %}\n  {{ ref('a', version=2) }}\n{% endif %}{{ source('s', 't') ~ var(x) }}";
    let found = parse(text).static_calls();
    let seen: Vec<_> = found
        .calls
        .iter()
        .map(|call| (&*call.function, call.literal, call.conditional, call.span.text()))
        .collect();
    assert_eq!(
        seen,
        [
            ("ref", true, true, "ref('a', version=2)"),
            ("source", true, false, "source('s', 't')"),
            ("var", false, false, "var(x)"),
        ]
    );
    let call = &found.calls[0];
    assert_eq!(call.strings(), Some(vec!["a"]));
    assert_eq!(call.keyword("version"), Some(&Value::from(2)));
    assert_eq!(call.args[0].span.text(), "'a'");
    let position = call.args[0].span.position();
    assert_eq!((position.line, position.column), (2, 10));
}

#[test]
fn calls_within_macros_loops_and_filters_are_found() {
    let text = "{% macro m(x=ref('d')) %}{{ ref('a') | upper }}{% endmacro %}\
                {% for i in [ref('b')] %}{{ ref('c') }}{% endfor %}\
                {% call m() %}{{ ref('e') }}{% endcall %}{{ 'x' if ref('f') else ref('g') }}";
    let found = parse(text).static_calls();
    let names: Vec<_> = found
        .calls
        .iter()
        .filter_map(|call| Some((call.strings()?[0].to_string(), call.conditional)))
        .collect();
    let expected = [
        ("d", true),
        ("a", true),
        ("b", false),
        ("c", true),
        ("e", true),
        ("f", false),
        ("g", true),
    ];
    assert_eq!(names, expected.map(|(name, flag)| (name.to_string(), flag)));
}

#[test]
fn macro_calls_are_found() {
    let text = "{{ own() }}{{ dbt_utils.star(x) }}{{ adapter.dispatch('m', 'pkg')(1) }}{{ adapter.dispatch(n) }}";
    let seen: Vec<_> = parse(text)
        .macro_calls()
        .into_iter()
        .map(|call| (call.package.map(|p| p.to_string()), call.name.to_string(), call.dispatched))
        .collect();
    assert_eq!(
        seen,
        [
            (None, "own".to_string(), false),
            (Some("dbt_utils".to_string()), "star".to_string(), false),
            (Some("pkg".to_string()), "m".to_string(), true),
        ]
    );
}

#[test]
fn definitions_have_names_arguments_and_text() {
    let text = "{% macro a(x, y = [1, 2]) -%} body {%- endmacro %}\n\
                {% test positive(model, column_name) %}select{% endtest %}\n\
                {% data_test other(model) %}q{% enddata_test %}\n\
                {% materialization mine, adapter='tidemill', supported_languages=['sql', 'python'] %}m{% endmaterialization %}\n\
                {% materialization plain, default %}{% endmaterialization %}\n\
                {% snapshot snap %} {{ config(unique_key='id') }} select {{ n }} {% endsnapshot %}\n\
                {% docs page %}# {{ not a template }} {% enddocs %}";
    let found = parse(text).definitions();
    let names: Vec<_> =
        found.iter().map(|d| (d.kind, d.name.to_string(), d.full_name.to_string())).collect();
    let expect = |kind, name: &str, full: &str| (kind, name.to_string(), full.to_string());
    assert_eq!(
        names,
        [
            expect(DefinitionKind::Macro, "a", "a"),
            expect(DefinitionKind::Test, "positive", "test_positive"),
            expect(DefinitionKind::Test, "other", "test_other"),
            expect(DefinitionKind::Materialization, "mine", "materialization_mine_tidemill"),
            expect(DefinitionKind::Materialization, "plain", "materialization_plain_default"),
            expect(DefinitionKind::Snapshot, "snap", "snap"),
            expect(DefinitionKind::Docs, "page", "page"),
        ]
    );
    assert_eq!(found[0].parameters[1].default.as_deref(), Some("[1, 2]"));
    assert_eq!(found[0].body(), " body ");
    assert_eq!(found[0].text(), "{% macro a(x, y = [1, 2]) -%} body {%- endmacro %}");
    assert_eq!(found[0].name_span.text(), "a");
    assert_eq!(found[3].languages.iter().map(|l| &**l).collect::<Vec<_>>(), ["sql", "python"]);
    assert_eq!(found[4].languages.len(), 1);
    assert_eq!(found[5].body(), " {{ config(unique_key='id') }} select {{ n }} ");
    let body = found[5].body_template().expect("the body parses");
    assert_eq!(body.static_calls().calls[0].span.position().line, 6);
    assert_eq!(found[6].body(), "# {{ not a template }} ");
}

#[test]
fn docs_blocks_of_markdown_ignore_everything_else() {
    let text = "# {{ broken {% if %}\n{% docs one %}\nText {{ x\n{% enddocs %}\n{# {% docs no %}x{% enddocs %} #}\
                {% raw %}{% docs no %}{% enddocs %}{% endraw %}{%- docs two -%}b{%- enddocs -%}";
    let found = docs_blocks(&Source::new("a.md", text)).expect("it reads");
    let seen: Vec<_> =
        found.iter().map(|d| (d.name.to_string(), d.body().trim().to_string())).collect();
    assert_eq!(seen, [("one".into(), "Text {{ x".into()), ("two".to_string(), "b".to_string())]);
    assert_eq!(found[1].body_span.text(), "b");
    let error = docs_blocks(&Source::new("a.md", "x\n{% docs open %}")).expect_err("not closed");
    assert_eq!(error.span().map(|span| span.position().line), Some(2));
}

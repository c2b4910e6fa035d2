//! Whatever the files hold, loading ends with a project or with diagnostics.

use proptest::prelude::*;
use tidemill_project::{SourceFile, normalize_sql, parse_vars, yaml};

use crate::harness::Folder;

fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("models:".to_owned()),
        Just("- name: a".to_owned()),
        Just("  columns:".to_owned()),
        Just("data_tests: [not_null, {unique: {}}]".to_owned()),
        Just("&x {a: *x}".to_owned()),
        Just("<<: *x".to_owned()),
        Just("{{ ref('a') }}".to_owned()),
        Just("\"{{ var('x') }}\"".to_owned()),
        Just("? [a]\n: b".to_owned()),
        Just("!!int x".to_owned()),
        Just("|\n  text".to_owned()),
        Just("\t- x: [".to_owned()),
        "[ -~é\n]{0,12}",
    ];
    (proptest::collection::vec((0usize..6, piece), 0..14)).prop_map(|pieces| {
        pieces
            .into_iter()
            .map(|(indent, piece)| format!("{}{piece}\n", " ".repeat(indent)))
            .collect()
    })
}

fn template_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{{ ref('a') }}".to_owned()),
        Just("{{ ref('b', v=1) }}".to_owned()),
        Just("{{ config(materialized='table', tags=[1]) }}".to_owned()),
        Just("{{ config({'x': {}}) }}".to_owned()),
        Just("{% if x %}".to_owned()),
        Just("{% endif %}".to_owned()),
        Just("{{ source('a') }}".to_owned()),
        Just("{% macro m() %}{{ m() }}{% endmacro %}".to_owned()),
        Just("{{ dbt_utils.star(ref('a')) }}".to_owned()),
        Just("{{ adapter.dispatch('x')() }}".to_owned()),
        "[ -~é\n]{0,12}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn yaml_never_panics_and_places_lie_within_the_text(text in yaml_like()) {
        let file = SourceFile::new("x.yml", text.as_str());
        let parsed = yaml::parse(&file);
        let _ = parsed.diagnostics.to_string();
        let mut waiting = vec![&parsed.root];
        while let Some(yaml) = waiting.pop() {
            prop_assert!(yaml.start <= yaml.end && yaml.end <= text.len());
            prop_assert!(text.is_char_boundary(yaml.start) && text.is_char_boundary(yaml.end));
            waiting.extend(yaml.items());
            waiting.extend(yaml.entries().iter().map(|entry| &entry.value));
        }
        let _ = parse_vars(&text);
    }

    #[test]
    fn projects_never_panic(project in yaml_like(), properties in yaml_like(), model in template_like(), r#macro in template_like()) {
        let project = format!("name: shop\n{project}");
        let folder = Folder::new(&[
            ("dbt_project.yml", &project),
            ("models/a.sql", &model),
            ("models/b.yml", &properties),
            ("macros/m.sql", &r#macro),
        ]);
        let _ = folder.said();
    }

    #[test]
    fn normalising_twice_is_normalising_once(text in "[-a'\"/*$e \n;éx]{0,40}") {
        let once = normalize_sql(&text);
        prop_assert_eq!(normalize_sql(&once), once);
    }
}

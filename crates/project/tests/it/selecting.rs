//! The selection language.

use tidemill_project::{IndirectSelection, Project, ResourceType, Selection, select};

use crate::harness::{Folder, committed, options};

fn names(project: &Project, selection: &Selection) -> (Vec<String>, String) {
    match select(project.manifest(), selection) {
        Ok((ids, warnings)) => {
            let names = ids
                .iter()
                .map(|id| match project.manifest().nodes.get(id) {
                    Some(node) => node.name.clone(),
                    None => id.to_string(),
                })
                .collect();
            (names, warnings.to_string())
        }
        Err(diagnostics) => (Vec::new(), diagnostics.to_string()),
    }
}

fn folder() -> Folder {
    Folder::new(&[
        ("models/staging/s1.sql", "{{ config(tags=['nightly', 'raw']) }} select * from {{ source('raw', 't') }}"),
        ("models/staging/s2.sql", "{{ config(meta={'owner': 'me'}) }} select 1 as x"),
        ("models/marts/m1.sql", "{{ config(materialized='table', tags='nightly') }} select * from {{ ref('s1') }} join {{ ref('s2') }}"),
        ("models/marts/m2.sql", "select * from {{ ref('m1') }}"),
        ("models/marts/off.sql", "{{ config(enabled=false) }} select 1"),
        ("seeds/seed.csv", "x\n1\n"),
        ("tests/joined.sql", "select * from {{ ref('s2') }} join {{ ref('m2') }}"),
        (
            "models/all.yml",
            "sources: [{name: raw, tables: [{name: t, columns: [{name: x, data_tests: [not_null]}]}]}]
models:
  - {name: s1, columns: [{name: x, data_tests: [unique: {name: s1_unique, tags: [slow], severity: warn}]}]}
  - {name: m1, columns: [{name: x, data_tests: [relationships: {name: m1_in_s2, to: ref('s2'), field: x}]}]}
exposures: [{name: board, type: dashboard, owner: {name: x, email: x@y.z}, depends_on: [ref('m2')]}]
",
        ),
    ])
}

#[test]
fn criteria_select_what_dbt_selects() {
    let folder = folder();
    let project = folder.project();
    let source_test = "source_not_null_raw_t_x";
    let cases: &[(&[&str], &[&str])] = &[
        (&["s1"], &["s1", "s1_unique"]),
        (&["s1.sql"], &["s1", "s1_unique"]),
        (&["models/staging"], &["joined", "m1_in_s2", "s1", "s1_unique", "s2"]),
        (&["path:models/marts/m1.sql"], &["m1", "m1_in_s2"]),
        (&["staging"], &["joined", "m1_in_s2", "s1", "s1_unique", "s2"]),
        (&["shop.marts"], &["joined", "m1", "m1_in_s2", "m2"]),
        (&["m*"], &["joined", "m1", "m1_in_s2", "m2"]),
        (
            &["+m2"],
            &[
                "joined",
                "m1",
                "m1_in_s2",
                "m2",
                "s1",
                "s1_unique",
                "s2",
                "source.shop.raw.t",
                source_test,
            ],
        ),
        (&["1+m2"], &["joined", "m1", "m1_in_s2", "m2"]),
        (&["s1+1"], &["m1", "m1_in_s2", "s1", "s1_unique"]),
        (&["m1+"], &["exposure.shop.board", "joined", "m1", "m1_in_s2", "m2"]),
        (&["tag:nightly"], &["m1", "m1_in_s2", "s1", "s1_unique"]),
        (&["tag:nightly,staging"], &["m1_in_s2", "s1", "s1_unique"]),
        (&["tag:slow"], &["s1_unique"]),
        (&["s1 m2"], &["joined", "m2", "s1", "s1_unique"]),
        (&["s1", "m2"], &["joined", "m2", "s1", "s1_unique"]),
        (&["source:raw"], &["source.shop.raw.t", source_test]),
        (&["source:raw.t+1"], &["s1", "s1_unique", "source.shop.raw.t", source_test]),
        (&["config.materialized:table"], &["m1", "m1_in_s2"]),
        (&["config.meta.owner:me"], &["joined", "m1_in_s2", "s2"]),
        (&["config.severity:WARN"], &["s1_unique"]),
        (&["resource_type:seed"], &["seed"]),
        (&["resource_type:exposure"], &["exposure.shop.board"]),
        (&["test_type:singular"], &["joined"]),
        (&["test_type:generic"], &["m1_in_s2", "s1_unique", source_test]),
        (&["test_name:unique"], &["s1_unique"]),
        (&["package:shop,resource_type:seed"], &["seed"]),
        (&["package:this,resource_type:seed"], &["seed"]),
        (
            &["+exposure:board,resource_type:model"],
            &["joined", "m1", "m1_in_s2", "m2", "s1", "s1_unique", "s2"],
        ),
        (
            &["@s2"],
            &[
                "exposure.shop.board",
                "joined",
                "m1",
                "m1_in_s2",
                "m2",
                "s1",
                "s1_unique",
                "s2",
                "source.shop.raw.t",
                source_test,
            ],
        ),
    ];
    for (given, expected) in cases {
        let (mut found, said) = names(&project, &Selection::of(given.iter().copied()));
        found.sort();
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{given:?} {said}");
        assert_eq!(said, "", "{given:?}");
    }
}

#[test]
fn everything_is_selected_when_nothing_is_said_and_exclusions_win() {
    let folder = folder();
    let project = folder.project();
    let (all, _) = names(&project, &Selection::all());
    assert_eq!(all.len(), 4 + 1 + 4 + 1 + 1);
    let selection = Selection { exclude: vec!["staging".into()], ..Selection::of(["+m2"]) };
    assert_eq!(
        names(&project, &selection).0,
        ["m1", "m2", "source.shop.raw.t", "source_not_null_raw_t_x"]
    );
    let selection = Selection { resource_types: vec![ResourceType::Model], ..Selection::all() };
    assert_eq!(names(&project, &selection).0, ["m1", "m2", "s1", "s2"]);
    let selection = Selection {
        exclude_resource_types: vec![
            ResourceType::Test,
            ResourceType::Source,
            ResourceType::Exposure,
        ],
        ..Selection::all()
    };
    assert_eq!(names(&project, &selection).0, ["m1", "m2", "s1", "s2", "seed"]);
}

#[test]
fn tests_come_along_as_asked() {
    let folder = folder();
    let project = folder.project();
    let pick = |given: &[&str], indirect| {
        let selection = Selection { indirect, ..Selection::of(given.iter().copied()) };
        names(&project, &selection).0
    };
    assert_eq!(pick(&["m1"], IndirectSelection::Eager), ["m1", "m1_in_s2"]);
    assert_eq!(pick(&["m1"], IndirectSelection::Cautious), ["m1"]);
    assert_eq!(pick(&["m1"], IndirectSelection::Buildable), ["m1", "m1_in_s2"]);
    assert_eq!(pick(&["m1", "s2"], IndirectSelection::Cautious), ["m1", "s2", "m1_in_s2"]);
    assert_eq!(pick(&["s2"], IndirectSelection::Buildable), ["s2"]);
    assert_eq!(
        pick(&["+m2"], IndirectSelection::Empty),
        ["m1", "m2", "s1", "s2", "source.shop.raw.t"]
    );
}

#[test]
fn criteria_that_match_nothing_warn_and_unknown_methods_are_errors() {
    let folder = folder();
    let project = folder.project();
    let cases = [
        (
            "s11",
            "warning[selects-nothing]: the selection criterion `s11` does not match any enabled nodes\nhint: did you mean `s1`?",
        ),
        (
            "off",
            "warning[selects-nothing]: the selection criterion `off` does not match any enabled nodes\nhint: `off` is disabled",
        ),
        (
            "tag:nightli",
            "warning[selects-nothing]: the selection criterion `tag:nightli` does not match any enabled nodes\nhint: did you mean `nightly`?",
        ),
        (
            "tags:x",
            "error[selector]: `--select tags:x`: `tags` is not a method; did you mean `tag`?",
        ),
        (
            "@s1+",
            "error[selector]: `--select @s1+`: `@` in front and `+` behind do not go together",
        ),
        (
            "resource_type:modle",
            "error[selector]: `resource_type:modle`: there is no resource type `modle`\nhint: use model, seed, snapshot, test, unit_test, analysis, source, exposure, metric, semantic_model or saved_query",
        ),
        (
            "source:a.b.c.d",
            "error[selector]: `source:a.b.c.d` has too many parts\nhint: write `source:name`, `source:name.table` or `source:package.name.table`",
        ),
    ];
    for (given, expected) in cases {
        let (found, said) = names(&project, &Selection::of([given]));
        assert_eq!((found.len(), said.as_str()), (0, expected), "{given}");
    }
}

#[test]
fn versions_are_selected_by_name_or_one_by_one() {
    let (project, _) = Project::load(&committed("shop"), &options()).unwrap();
    let pick = |given: &str| {
        let selection = Selection { indirect: IndirectSelection::Empty, ..Selection::of([given]) };
        let (ids, _) = select(project.manifest(), &selection).unwrap();
        ids.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(pick("customers"), ["model.shop.customers.v1", "model.shop.customers.v2"]);
    assert_eq!(pick("customers.v1"), ["model.shop.customers.v1"]);
    assert_eq!(pick("customers_v2"), ["model.shop.customers.v2"]);
    assert_eq!(pick("version:latest"), ["model.shop.customers.v2"]);
    assert_eq!(pick("version:old"), ["model.shop.customers.v1"]);
    assert_eq!(pick("group:finance"), ["model.shop.orders"]);
    assert_eq!(pick("access:public"), ["model.shop.orders"]);
}

#[test]
fn snapshots_are_selected_like_models() {
    let (project, _) = Project::load(&committed("shop"), &options()).unwrap();
    let (ids, said) = names(&project, &Selection::of(["orders_history"]));
    assert_eq!((ids, said.as_str()), (vec!["orders_history".to_owned()], ""));
}

/// `selection.expected.json` is what dbt-core 1.12 selects (`scripts/selection-oracle.py`).
#[test]
fn every_selection_is_dbts() {
    let (project, _) = Project::load(&committed("selection"), &options()).unwrap();
    let text = std::fs::read_to_string(committed("selection.expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut different = Vec::new();
    let cases = expected["cases"].as_array().unwrap();
    assert!(cases.len() > 200, "{}", cases.len());
    for case in cases {
        let texts = |key: &str| -> Vec<String> {
            let items = case[key].as_array().into_iter().flatten();
            items.map(|item| item.as_str().unwrap().to_owned()).collect()
        };
        let types = |key: &str| -> Vec<ResourceType> {
            texts(key).iter().filter_map(|word| ResourceType::parse(word)).collect()
        };
        let mut selection = Selection {
            select: texts("select"),
            exclude: texts("exclude"),
            selector: case["selector"].as_str().map(str::to_owned),
            resource_types: types("resource_types"),
            exclude_resource_types: types("exclude_resource_types"),
            indirect: IndirectSelection::parse(case["indirect"].as_str().unwrap_or("eager"))
                .unwrap(),
            with_empty: true,
            ..Selection::all()
        };
        // What `ls` lists by itself.
        if selection.resource_types.is_empty() && !texts("resource_types").contains(&"all".into()) {
            selection.exclude_resource_types.push(ResourceType::Analysis);
        }
        let (found, _) = select(project.manifest(), &selection).unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let wanted = texts("selected");
        if found != wanted {
            let more: Vec<_> = found.iter().filter(|id| !wanted.contains(id)).collect();
            let less: Vec<_> = wanted.iter().filter(|id| !found.contains(id)).collect();
            let mut case = case.clone();
            case.as_object_mut().unwrap().remove("selected");
            different.push(format!("{case}\n  too many: {more:?}\n  missing: {less:?}"));
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

#[test]
fn selectors_are_written_out_as_dbt_writes_them() {
    let (project, _) = Project::load(&committed("selection"), &options()).unwrap();
    let text = std::fs::read_to_string(committed("selection.expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (name, wanted) in expected["selectors"].as_object().unwrap() {
        assert_eq!(&project.manifest().selectors[name].written, wanted, "{name}");
    }
}

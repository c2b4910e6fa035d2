//! What a user reads who made a mistake.

use tidemill_project::{LoadOptions, Project};

use crate::harness::{Folder, options};

/// Files and all that is said about them.
fn check(files: &[(&str, &str)], expected: &str) {
    let said = Folder::new(files).said();
    assert_eq!(said.trim(), expected.trim(), "\n--- said:\n{said}\n");
}

#[test]
fn an_unknown_ref_is_shown_with_the_nearest_name() {
    check(
        &[
            ("models/stg_orders.sql", "select 1"),
            (
                "models/marts/orders.sql",
                "with a as (\n  select 1\n)\nselect *\nfrom {{ ref('stg_order') }}\n",
            ),
        ],
        "
error[unknown-ref]: model `orders` refers to `stg_order`, which does not exist
  --> models/marts/orders.sql:5:14
   |
 5 | from {{ ref('stg_order') }}
   |              ^^^^^^^^^ no model, seed or snapshot has this name
hint: did you mean `stg_orders`?",
    );
}

#[test]
fn several_mistakes_are_reported_at_once() {
    let said = Folder::new(&[
        ("models/a.sql", "{% if true %}{{ ref('nowhere') }}{% endif %}"),
        ("models/b.sql", "select * from {{ source('raw', 'order') }}"),
        ("models/c.sql", "{{ config(materialized='tabel') }} select {{ 1 "),
        ("models/d.sql", "{{ config(materialized='table', enabled='no') }} select 1"),
        ("models/s.yml", "sources:\n  - name: raw\n    tables: [{name: orders}]\n"),
    ])
    .said();
    for expected in [
        "model `a` refers to `nowhere`, which does not exist\n  --> models/a.sql:1:22",
        "model `b` refers to the source `raw.order`, which does not exist\n  --> models/b.sql:1:33",
        "did you mean `raw.orders`?",
        "error[jinja-syntax]: `models/c.sql`: ",
        "the config key `enabled` needs true or false, not `\"no\"`\n  --> models/d.sql:1:41",
    ] {
        assert!(said.contains(expected), "{expected}\n--- not in:\n{said}");
    }
}

#[test]
fn a_cycle_is_told_as_a_path() {
    check(
        &[
            ("models/a.sql", "select * from {{ ref('c') }}"),
            ("models/b.sql", "select * from {{ ref('a') }}"),
            ("models/c.sql", "select * from {{ ref('b') }}"),
        ],
        "
error[cycle]: models refer to each other in a circle: `a` reads `c` reads `b` reads `a`
  --> models/a.sql:1:23
   |
 1 | select * from {{ ref('c') }}
   |                       ^
hint: take one of these references out",
    );
    check(
        &[("models/a.sql", "select * from {{ ref('a') }}")],
        "
error[cycle]: `a` refers to itself
  --> models/a.sql:1:23
   |
 1 | select * from {{ ref('a') }}
   |                       ^
hint: use `{{ this }}` for the table that the model builds",
    );
}

#[test]
fn two_nodes_of_one_name_or_place_are_refused() {
    check(
        &[("models/x/a.sql", "select 1"), ("models/y/a.sql", "select 2")],
        "
error[duplicate-name]: two models are called `a`
  --> models/y/a.sql:1:1
   |
 1 | select 2
   | ^ the other is models/x/a.sql
hint: rename one of the two files",
    );
    let said = Folder::new(&[("models/a.sql", "select 1"), ("seeds/a.csv", "x\n1\n")]).said();
    assert!(said.contains("a model and a seed are both called `a`"), "{said}");
    let said = Folder::new(&[
        ("models/a.sql", "select 1"),
        ("models/b.sql", "{{ config(alias='A') }} select 1"),
    ])
    .said();
    assert!(
        said.contains("the model `a` and the model `b` would both be built as `main.A`"),
        "{said}"
    );
}

#[test]
fn unknown_keys_of_dbts_files_are_warnings_with_the_nearest_key() {
    let folder = Folder::new(&[
        ("models/a.sql", "select 1"),
        (
            "models/a.yml",
            "models:\n  - name: a\n    descriptoin: x\n    columns:\n      - name: x\n        tset: [not_null]\n",
        ),
    ]);
    let (_, warnings) = folder.load().unwrap();
    assert_eq!(
        warnings.to_string(),
        "warning[unknown-key]: model `a` has no key `descriptoin`
  --> models/a.yml:3:5
   |
 3 |     descriptoin: x
   |     ^^^^^^^^^^^ nobody reads this
hint: did you mean `description`?

warning[unknown-key]: column `x` of model `a` has no key `tset`
  --> models/a.yml:6:9
   |
 6 |         tset: [not_null]
   |         ^^^^ nobody reads this
hint: did you mean `tests`?"
    );
}

#[test]
fn unknown_keys_that_dbt_refuses_are_errors() {
    check(
        &[(
            "models/s.yml",
            "sources:
  - name: raw
    freshness: {warn_afer: {count: 1, period: day}}
    tables: [{name: t, freshness: {warn_after: {count: 1, periods: day}}}]
exposures:
  - {name: board, type: dashboard, owner: {name: Ann}, link: x}
",
        )],
        "
error[unknown-key]: `freshness` of source `raw` has no key `warn_afer`
  --> models/s.yml:3:17
   |
 3 |     freshness: {warn_afer: {count: 1, period: day}}
   |                 ^^^^^^^^^
hint: did you mean `warn_after`?

error[unknown-key]: `warn_after` of `freshness` of table `raw.t` has no key `periods`
  --> models/s.yml:4:59
   |
 4 |     tables: [{name: t, freshness: {warn_after: {count: 1, periods: day}}}]
   |                                                           ^^^^^^^
hint: did you mean `period`?

error[unknown-key]: exposure `board` has no key `link`
  --> models/s.yml:6:56
   |
 6 |   - {name: board, type: dashboard, owner: {name: Ann}, link: x}
   |                                                        ^^^^
hint: known keys: name, type, owner, description, label, maturity, meta, tags, url, depends_on, config, enabled",
    );
}

#[test]
fn unknown_keys_of_the_project_file_are_errors_as_in_dbt() {
    check(
        &[("dbt_project.yml", "name: shop\nmodel-path: [models]\n"), ("models/a.sql", "select 1")],
        "
error[unknown-key]: dbt_project.yml has no key `model-path`
  --> dbt_project.yml:2:1
   |
 2 | model-path: [models]
   | ^^^^^^^^^^
hint: did you mean `model-paths`?",
    );
}

#[test]
fn unknown_keys_of_our_own_files_are_errors() {
    check(
        &[("connections.yml", "connection:\n  shop: {type: postgres}\n")],
        "
error[unknown-key]: connections.yml has no key `connection`
  --> connections.yml:1:1
   |
 1 | connection:
   | ^^^^^^^^^^
hint: did you mean `connections`?",
    );
}

#[test]
fn a_folder_without_a_project_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let said = Project::load(folder.path(), &options()).unwrap_err().to_string();
    assert_eq!(
        said,
        format!(
            "error[no-project]: there is no `dbt_project.yml` in `{}`\nhint: go to a project's folder, name one with `--project-dir`, or make one with `tidemill init`",
            folder.path().display()
        )
    );
    let missing = folder.path().join("nowhere");
    let said = Project::load(&missing, &options()).unwrap_err().to_string();
    assert!(said.contains("there is no folder"), "{said}");
}

#[test]
fn yaml_that_is_none_is_shown_where_it_breaks() {
    let said = Folder::new(&[
        ("models/a.sql", "select 1"),
        ("models/a.yml", "models:\n  - name: a\n    description: {{ doc('x') }} y\n"),
    ])
    .said();
    assert!(
        said.contains(
            "error[yaml-syntax]: `models/a.yml` is not valid YAML\n  --> models/a.yml:3:"
        ),
        "{said}"
    );
    assert!(said.contains("put quotes around a value that holds `{{ ... }}`"), "{said}");
}

#[test]
fn tests_that_nobody_defines_are_errors() {
    let said = Folder::new(&[
        ("models/a.sql", "select 1 as x"),
        (
            "models/a.yml",
            "models:
  - name: a
    columns:
      - name: x
        data_tests: [not_nul, accepted_range, {unique: {severity: fatal}}, other.thing, {a: 1, b: 2}]
  - name: aa
",
        ),
    ])
    .said();
    for expected in [
        "warning[unknown-test]: there is no test `not_nul`: it fails when it is run\n  --> models/a.yml:5:22",
        "did you mean `not_null`?",
        "did you mean `dbt_utils.accepted_range`?",
        "a severity is `error` or `warn`, not `fatal`",
        "the package `other` is not installed",
        "error[test-shape]: a test has one key: its name",
        "warning[unknown-name]: property YAML describes the model `aa`, which does not exist\n  --> models/a.yml:6:11",
    ] {
        assert!(said.contains(expected), "{expected}\n--- not in:\n{said}");
    }
}

#[test]
fn errors_of_macros_show_the_macro_and_who_called_it() {
    let folder = Folder::new(&[
        (
            "macros/money.sql",
            "{% macro cents(x) %}\n{{ exceptions.raise_compiler_error('no cents in ' ~ x) }}\n{% endmacro %}\n{% macro outer(x) %}{{ cents(x) }}{% endmacro %}",
        ),
        ("models/a.sql", "select\n  {{ outer('amount') }}\n"),
    ]);
    assert_eq!(
        folder.said(),
        "error[compilation]: model `a`: no cents in amount
  in macro `shop.cents`, called at macros/money.sql:4:24
  in macro `shop.outer`, called at models/a.sql:2:6
  --> macros/money.sql:2:4
   |
 2 | {{ exceptions.raise_compiler_error('no cents in ' ~ x) }}
   |    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"
    );
}

#[test]
fn missing_vars_and_environment_variables_are_errors_with_hints() {
    let folder = Folder::new(&[
        ("dbt_project.yml", "name: shop\nvars: {start: 1}\n"),
        ("models/a.sql", "select {{ var('strat') }} {{ this }}"),
    ]);
    let id = tidemill_core::UniqueId::new("model.shop.a");
    let state = tidemill_project::RenderState::offline("compile");
    let said = folder.project().render_node(&id, &state).unwrap_err().to_string();
    for expected in [
        "model `a`: the var `strat` is required by `a`, but not defined\n  --> models/a.sql:1:11",
        "did you mean `start`?",
    ] {
        assert!(said.contains(expected), "{expected}\n--- not in:\n{said}");
    }
    let said = Folder::new(&[
        ("models/b.sql", "select '{{ env_var('REGIO') }}'"),
        ("models/c.sql", "select '{{ env_var('DBT_ENV_SECRET_X') }}'"),
    ])
    .said();
    for expected in [
        "model `b`: the environment variable `REGIO` is required, but not set",
        "did you mean `REGION`?",
        "`DBT_ENV_SECRET_X` cannot be read here",
    ] {
        assert!(said.contains(expected), "{expected}\n--- not in:\n{said}");
    }
}

#[test]
fn profiles_are_chosen_or_refused() {
    let profiles = "shop:\n  target: dev\n  outputs:\n    dev: {type: snowflake, host: x, schema: dev, threads: 3}\n    prod: {type: tidemill, lake: /data/lake, schema: prod, memory: 2GiB, password: \"{{ env_var('DBT_ENV_SECRET_P', 'x') }}\"}\n";
    let folder = Folder::new(&[
        ("dbt_project.yml", "name: shop\nprofile: shop\n"),
        ("profiles.yml", profiles),
        ("models/a.sql", "select '{{ target.name }}'"),
    ]);
    let load = |change: &dyn Fn(&mut LoadOptions)| {
        let mut options = options();
        change(&mut options);
        Project::load(folder.path(), &options)
    };
    let said = load(&|_| {}).unwrap_err().to_string();
    assert_eq!(
        said,
        "error[foreign-target]: the target `dev` of profile `shop` is of type `snowflake`
  --> profiles.yml:4:17
   |
 4 |     dev: {type: snowflake, host: x, schema: dev, threads: 3}
   |                 ^^^^^^^^^ models do not run inside of snowflake yet
hint: name a lake with `--target-lake=./lake` to run this project on the embedded engine, or add an output of `type: tidemill`"
    );
    let (project, _) = load(&|options| options.target_lake = Some("there".into())).unwrap();
    let target = &project.manifest().target;
    assert_eq!((target.schema.as_str(), target.threads), ("dev", 3));
    assert!(target.lake.ends_with("/there"), "{}", target.lake);
    let (project, _) = load(&|options| options.target = Some("prod".into())).unwrap();
    let target = &project.manifest().target;
    assert_eq!((target.lake.as_str(), target.memory), ("/data/lake", Some(2 << 30)));
    assert!(!target.extra.contains_key("password"));
    let said = load(&|options| options.target = Some("prd".into())).unwrap_err().to_string();
    assert!(
        said.contains("has no target `prd`") && said.contains("did you mean `prod`?"),
        "{said}"
    );
    let said = load(&|options| options.profile = Some("shp".into())).unwrap_err().to_string();
    assert!(
        said.contains("there is no profile `shp`") && said.contains("did you mean `shop`?"),
        "{said}"
    );
}

#[test]
fn settings_that_apply_to_nothing_are_told() {
    let folder = Folder::new(&[
        (
            "dbt_project.yml",
            "name: shop\nmodels:\n  shop:\n    stagign:\n      +materialized: table\n",
        ),
        ("models/staging/a.sql", "select 1"),
    ]);
    let (_, warnings) = folder.load().unwrap();
    assert_eq!(
        warnings.to_string(),
        "warning[unused-config]: the settings under `models.shop.stagign` apply to nothing
  --> dbt_project.yml:4:5
   |
 4 |     stagign:
   |     ^^^^^^^ no package or folder has this name
hint: a setting itself begins with `+`"
    );
}

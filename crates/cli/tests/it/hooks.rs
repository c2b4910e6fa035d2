//! Hooks, operations and templates that write.

use crate::sandbox::Sandbox;

const AUDIT: &str =
    "create table if not exists main.audit (event varchar, model varchar, n bigint)";

fn project(on_run: &str, files: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::new(files);
    sandbox.write("dbt_project.yml", format!("name: shop\nversion: '1.0'\n{on_run}"));
    sandbox
}

#[test]
fn hooks_run_around_a_model_and_around_the_run() {
    let sandbox = project(
        &format!(
            "on-run-start: [\"{AUDIT}\", \"insert into audit values ('start', null, null)\"]\n\
             on-run-end: \"{{% for r in results %}}insert into audit values ('end', '{{{{ r.node.name }}}} {{{{ r.status }}}}', {{{{ schemas | length }}}});{{% endfor %}}\"\n"
        ),
        &[(
            "models/a.sql",
            "{{ config(materialized='table', pre_hook=\"insert into audit values ('pre', '{{ this.name }}', null)\", \
             post_hook=[\"insert into audit select 'post', '{{ model.name }}', count(*) from {{ this }}\", \
             {'sql': \"insert into audit values ('committed', 'a', null)\", 'transaction': false}]) }}\n\
             select * from (values (1), (2)) as v (id)",
        )],
    );
    sandbox.build().ok().says("shop.on-run-start.0").says("1 built");
    let expected = ["start,,", "pre,a,", "post,a,2", "committed,a,", "end,a success,1"];
    let mut found = sandbox.rows("select * from audit");
    found.sort();
    let mut wanted = expected.map(str::to_owned).to_vec();
    wanted.sort();
    assert_eq!(found, wanted);
    // A node with hooks is never reused.
    sandbox.build().ok();
    assert_eq!(sandbox.value("select count(*) from audit where event = 'post'"), "2");
    let manifest = std::fs::read_to_string(sandbox.path("target/manifest.json")).unwrap();
    assert!(manifest.contains("operation.shop.shop-on-run-end-0"), "no operation");
    let results = std::fs::read_to_string(sandbox.path("target/run_results.json")).unwrap();
    assert!(results.contains("operation.shop.shop-on-run-start-1"), "{results}");
}

#[test]
fn hooks_at_the_end_know_exposures_operations_and_vars() {
    let say = "insert into audit select '{{ r.node.resource_type }}', '{{ r.node.name }} {{ r.status }}', null";
    let rest = "insert into audit values ('operation', '{{ graph.nodes.keys() | join(' ') }}', null), \
                ('vars', '{{ tojson(builtins.ref.config.vars.to_dict()) }}', null)";
    let sandbox = project(
        &format!(
            "vars: {{a: 1, other: {{b: x}}}}\non-run-start: [\"{AUDIT}\"]\n\
             on-run-end: [\"{{% for r in results %}}{say};{{% endfor %}}\", \"{rest}\"]\n"
        ),
        &[
            ("models/a.sql", "select 1 as id"),
            (
                "models/a.yml",
                "exposures: [{name: e, type: dashboard, owner: {name: x}, depends_on: [ref('a')]}]",
            ),
        ],
    );
    sandbox.build().ok();
    assert_eq!(
        sandbox.rows("select event || ': ' || model from audit where event <> 'vars' order by 1"),
        [
            "exposure: e no-op",
            "model: a success",
            "operation: model.shop.a operation.shop.shop-on-run-start-0 \
             operation.shop.shop-on-run-end-0 operation.shop.shop-on-run-end-1",
        ]
    );
    let vars = r#"select count(*) from audit where model = '{"a": 1, "other": {"b": "x"}}'"#;
    assert_eq!(sandbox.value(vars), "1");
}

#[test]
fn checks_see_what_a_post_hook_made_of_the_model() {
    let model = |hook: &str| {
        format!(
            "{{{{ config(materialized='table', post_hook=\"{hook}\") }}}}\n\
             select * from (values (1), (2), (2)) as v (id)"
        )
    };
    let tests = "models:\n  - name: a\n    columns: [{name: id, tests: [unique]}]\n";
    let sandbox = Sandbox::new(&[
        ("models/a.sql", &model("delete from {{ this }} where id = 2")),
        ("models/a.yml", tests),
    ]);
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select id from a"), ["1"]);
    // A hook that spoils the model: what was published stays.
    sandbox.write("models/a.sql", model("insert into {{ this }} values (1)"));
    sandbox.build().fails_with(1).says("unique_a_id");
    assert_eq!(sandbox.rows("select id from a"), ["1"]);
}

#[test]
fn what_hooks_refer_to_is_built_before() {
    let sandbox = project(
        "models: {+post-hook: \"{{ noted(this) }}\", +pre-hook: \"select count(*) from {{ source('raw', 't') }}\"}\n",
        &[
            ("macros/m.sql", "{% macro noted(rel) %}select count(*) from {{ rel }}{% endmacro %}"),
            ("models/s.yml", "sources: [{name: raw, schema: main, tables: [{name: t}]}]"),
            (
                "models/a.sql",
                "{{ config(materialized='table', post_hook=\"create or replace table main.copied as select * \
                 from {{ ref('z') }}\") }} select 1 as n",
            ),
            ("models/z.sql", "select 2 as n"),
        ],
    );
    sandbox.run(&["sql", "create table main.t as select 1 as id"]).ok();
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select n from main.copied"), ["2"]);
    assert_eq!(
        sandbox.run(&["ls", "--select", "+a", "--quiet"]).ok().stdout,
        "shop.a\nshop.z\nsource:shop.raw.t\n"
    );
    let manifest = std::fs::read_to_string(sandbox.path("target/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let of = |id: &str| manifest["nodes"][id]["depends_on"].to_string();
    let expected =
        r#"{"macros":["macro.shop.noted"],"nodes":["source.shop.raw.t","model.shop.z"]}"#;
    assert_eq!(of("model.shop.a"), expected);
}

#[test]
fn models_that_all_update_one_table_wait_for_each_other() {
    let sandbox = project(
        "on-run-start: create table if not exists main.jobs (model varchar, state varchar)\n\
         models: {shop: {+materialized: table, \
         +pre-hook: \"insert into main.jobs values ('{{ this.name }}', 'running')\", \
         +post-hook: \"update main.jobs set state = 'done' where model = '{{ this.name }}'\"}}\n",
        &[],
    );
    for model in 0..16 {
        sandbox.write(&format!("models/m{model}.sql"), format!("select {model} as id"));
    }
    sandbox.run(&["build", "--threads", "8"]).ok().says("16 built");
    assert_eq!(sandbox.rows("select state, count(*) from jobs group by 1"), ["done,16"]);
}

#[test]
fn a_hook_that_fails_keeps_its_model_from_being_published() {
    let sandbox = Sandbox::new(&[
        (
            "models/a.sql",
            "{{ config(materialized='table', pre_hook='select nothing from nowhere') }} select 1 as id",
        ),
        (
            "models/b.sql",
            "{{ config(materialized='table', post_hook='update {{ this }} set nothing = 1') }} select 1 as id",
        ),
        ("models/c.sql", "select * from {{ ref('a') }}"),
    ]);
    sandbox.build().fails_with(1).says("pre-hook failed").says("nowhere").says("post-hook failed");
    for model in ["a", "b", "c"] {
        sandbox.run(&["sql", &format!("select * from {model}")]).fails_with(1);
    }
}

#[test]
fn grants_alone_do_not_keep_a_model_from_being_reused() {
    let sandbox = Sandbox::new(&[(
        "models/a.sql",
        "{{ config(materialized='table', post_hook='grant select on {{ this }} to bi') }} select 1 as id",
    )]);
    sandbox.build().ok().says("1 built");
    sandbox.build().ok().says("nothing to do");
}

#[test]
fn only_a_build_lets_templates_write() {
    let sandbox = Sandbox::new(&[(
        "models/a.sql",
        "{% do run_query('create table if not exists main.log (n int)') %}\n\
         {% do run_query('insert into main.log values (1)') %}\n\
         {% set n = run_query('select count(*) as n from main.log').columns[0].values()[0] if execute else 0 %}\n\
         select {{ n }} as n",
    )]);
    for command in ["compile", "plan", "show", "ls"] {
        let mut arguments = vec![command];
        if command == "show" {
            arguments.extend(["--select", "a"]);
        }
        sandbox.run(&arguments);
        sandbox.run(&["sql", "select * from log"]).fails_with(1);
    }
    sandbox.build().ok();
    assert_eq!(sandbox.value("select n from a"), "1");
    sandbox.build().ok();
    assert_eq!(sandbox.value("select n from a"), "2");
}

#[test]
fn operations_call_macros_with_arguments() {
    let sandbox = Sandbox::new(&[(
        "macros/ops.sql",
        "{% macro make(name, rows=1) %}\n\
         {% set relation = api.Relation.create(schema=target.schema, identifier=name) %}\n\
         {% do adapter.create_schema(relation) %}\n\
         {% call statement('made', fetch_result=false) %}create or replace table {{ relation }} as select * from generate_series(1, {{ rows }}) as g (n){% endcall %}\n\
         {% do log(load_result('made').response, info=true) %}\n\
         {% set found = adapter.get_relation(database=target.database, schema=target.schema, identifier=name) %}\n\
         {% do log('made ' ~ found.identifier ~ ' ' ~ (adapter.get_columns_in_relation(found) | map(attribute='name') | join(',')), info=true) %}\n\
         {% endmacro %}\n\
         {% macro remove(name) %}\n\
         {% set relation = adapter.get_relation(target.database, target.schema, name) %}\n\
         {% do adapter.rename_relation(relation, api.Relation.create(schema=target.schema, identifier='old')) %}\n\
         {% do adapter.truncate_relation(api.Relation.create(schema=target.schema, identifier='old')) %}\n\
         {% do log('rows: ' ~ run_query('select count(*) from old').columns[0].values()[0], info=true) %}\n\
         {% do adapter.drop_relation(api.Relation.create(schema=target.schema, identifier='old', type='table')) %}\n\
         {% endmacro %}",
    )]);
    sandbox
        .run(&["run-operation", "make", "--args", "{name: things, rows: 3}"])
        .ok()
        .says("CREATE TABLE 3")
        .says("made things n");
    assert_eq!(sandbox.value("select count(*) from things"), "3");
    sandbox.run(&["run-operation", "remove", "--args", "{name: things}"]).ok().says("rows: 0");
    sandbox.run(&["sql", "select * from old"]).fails_with(1);
    sandbox.run(&["run-operation", "mak"]).says("did you mean");
}

#[test]
fn materializations_and_strategies_are_written_in_jinja() {
    let sandbox = Sandbox::new(&[
        (
            "macros/materializations.sql",
            "{% materialization doubled, default %}\n\
             {% set target_relation = this.incorporate(type='table') %}\n\
             {{ run_hooks(pre_hooks) }}\n\
             {% call statement('main') %}\n\
             {{ create_table_as(false, target_relation, sql) }}\n\
             {% endcall %}\n\
             {% do run_query('insert into ' ~ target_relation ~ ' select * from ' ~ target_relation) %}\n\
             {{ run_hooks(post_hooks) }}\n\
             {{ return({'relations': [target_relation]}) }}\n\
             {% endmaterialization %}\n\
             {% materialization swapped, adapter='tidemill' %}\n\
             {% set existing = load_cached_relation(this) %}\n\
             {% set intermediate = make_intermediate_relation(this) %}\n\
             {% set backup = make_backup_relation(this, 'table', '__dbt_backup') %}\n\
             {% do drop_relation_if_exists(intermediate) %}\n\
             {% call statement('main') %}create table {{ intermediate }} as {{ sql }}{% endcall %}\n\
             {% if existing is not none %}{% do adapter.rename_relation(existing, backup) %}{% endif %}\n\
             {% do adapter.rename_relation(intermediate, this) %}\n\
             {% do drop_relation_if_exists(backup) %}\n\
             {{ return({'relations': [this]}) }}\n\
             {% endmaterialization %}\n\
             {% macro get_incremental_insert_new_sql(arg_dict) %}\n\
             insert into {{ arg_dict['target_relation'] }} ({{ get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) }})\n\
             select * from {{ arg_dict['temp_relation'] }} as n\n\
             where n.{{ arg_dict['unique_key'] }} not in (select {{ arg_dict['unique_key'] }} from {{ arg_dict['target_relation'] }})\n\
             {% endmacro %}",
        ),
        (
            "models/two.sql",
            "{{ config(materialized='doubled', post_hook='delete from {{ this }} where id > 2') }}\n\
             select * from (values (1), (2), (3)) as v (id)",
        ),
        (
            "models/two.yml",
            "models:\n  - name: two\n    columns: [{name: id, tests: [not_null]}]\n",
        ),
        (
            "models/swap.sql",
            "{{ config(materialized='swapped') }} select count(*) as n from {{ ref('two') }}",
        ),
        (
            "models/inc.sql",
            "{{ config(materialized='incremental', incremental_strategy='insert_new', unique_key='id') }}\n\
             select {{ 'id' }}, '{{ var('label', 'first') }}' as label from {{ ref('two') }} group by 1\n\
             {% if is_incremental() %} union all select 9, 'new' {% endif %}",
        ),
    ]);
    sandbox.build().ok().says("3 built");
    assert_eq!(sandbox.rows("select id from two order by id"), ["1", "1", "2", "2"]);
    assert_eq!(sandbox.value("select n from swap"), "4");
    sandbox.run(&["build", "--vars", "label: second"]).ok();
    assert_eq!(sandbox.rows("select * from inc order by id"), ["1,first", "2,first", "9,new"]);
    assert_eq!(sandbox.value("select n from swap"), "4");
    sandbox.run(&["lake", "ls"]).ok().does_not_say("__dbt_");
    // Checks gate what a macro made, too.
    sandbox.write(
        "models/two.yml",
        "models:\n  - name: two\n    columns: [{name: id, tests: [unique]}]\n",
    );
    let before = sandbox.run(&["lake", "history", "main.two"]).ok().stdout;
    sandbox.build().fails_with(1).says("unique_two_id");
    assert_eq!(sandbox.run(&["lake", "history", "main.two"]).ok().stdout, before);
}

#[test]
fn the_root_project_can_take_the_place_of_a_materialization() {
    let sandbox = Sandbox::new(&[
        (
            "macros/table.sql",
            "{% materialization table, default %}\n\
             {% call statement('main') %}create or replace table {{ this }} as select *, 'ours' as made_by from ({{ sql }}) as q{% endcall %}\n\
             {{ return({'relations': [this]}) }}\n\
             {% endmaterialization %}",
        ),
        ("models/a.sql", "{{ config(materialized='table') }} select 1 as id"),
        ("models/b.sql", "select * from {{ ref('a') }}"),
    ]);
    sandbox.build().ok().says("2 built");
    assert_eq!(sandbox.value("select made_by from b"), "ours");
}

#[test]
fn grants_stay_when_a_test_of_unchanged_rows_fails() {
    let sandbox =
        Sandbox::new(&[("models/a.sql", "{{ config(materialized='table') }} select 1 as id")]);
    sandbox.build().ok();
    sandbox.run(&["sql", "grant select on a to bi"]).ok();
    let granted = "select grantee from information_schema.role_table_grants where table_name = 'a'";
    assert_eq!(sandbox.rows(granted), ["bi"]);
    sandbox.write(
        "models/a.yml",
        "models:\n  - name: a\n    columns: [{name: id, data_tests: [{accepted_values: {values: [2]}}]}]\n",
    );
    sandbox.build().fails_with(1).says("accepted_values");
    assert_eq!(sandbox.rows(granted), ["bi"]);
}

#[test]
fn grants_and_descriptions_are_kept_with_the_table() {
    let sandbox = Sandbox::new(&[
        (
            "models/a.sql",
            "{{ config(materialized='table', grants={'select': ['bi', 'ops']}, persist_docs={'relation': true, 'columns': true}) }} select 1 as id",
        ),
        (
            "models/a.yml",
            "models:\n  - name: a\n    description: all of it\n    columns: [{name: id, description: the key}]\n",
        ),
    ]);
    sandbox.build().ok();
    let read = |folder: &str| -> String {
        std::fs::read_dir(sandbox.path(folder))
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
            .collect()
    };
    assert!(read("lake/_tidemill/catalog").contains("\"grants\":{\"select\":[\"bi\",\"ops\"]}"));
    let log = read("lake/main/a/_delta_log");
    assert!(log.contains("\"description\":\"all of it\"") && log.contains("the key"), "{log}");
    sandbox.build().ok().says("nothing to do");
}

#[test]
fn descriptions_of_views_and_tables_are_seen_in_sql() {
    let model = |kind: &str, from: &str| {
        format!(
            "{{{{ config(materialized='{kind}', persist_docs={{'relation': true, 'columns': true}}) }}}} select id from {from}"
        )
    };
    let described = |key: &str| {
        let one = |name: &str| {
            format!(
                "  - name: {name}\n    description: all of {name}\n    columns: [{{name: id, description: {key}}}]\n"
            )
        };
        format!("models:\n{}{}", one("t"), one("v"))
    };
    let sandbox = Sandbox::new(&[
        ("seeds/s.csv", "id\n1\n"),
        ("models/t.sql", &model("table", "{{ ref('s') }}")),
        ("models/v.sql", &model("view", "{{ ref('s') }}")),
        ("models/reads.sql", "{{ config(materialized='table') }} select id from {{ ref('v') }}"),
        ("models/a.yml", &described("the key")),
    ]);
    let of_tables = "select table_name, table_comment from information_schema.tables order by 1";
    let of_columns = "select table_name, column_comment from information_schema.columns order by 1";
    sandbox.build().ok();
    assert_eq!(sandbox.rows(of_tables), ["reads,", "s,", "t,all of t", "v,all of v"]);
    assert_eq!(sandbox.rows(of_columns), ["reads,", "s,", "t,the key", "v,the key"]);
    sandbox.build().ok().says("nothing to do");
    // Another description is another description, and no other rows.
    sandbox.write("models/a.yml", described("its number"));
    let outcome = sandbox.build().ok();
    assert!(!outcome.stderr.contains("reads"), "{}", outcome.stderr);
    assert_eq!(sandbox.rows(of_columns), ["reads,", "s,", "t,its number", "v,its number"]);
    sandbox.run(&["sql", "comment on view v is 'seen'"]).ok();
    assert_eq!(sandbox.rows(of_tables), ["reads,", "s,", "t,all of t", "v,seen"]);
    let log: String = crate::sandbox::files(&sandbox.path("lake/main/t/_delta_log"))
        .into_iter()
        .map(|(_, content)| String::from_utf8_lossy(&content).into_owned())
        .collect();
    assert!(log.contains("its number"), "{log}");
}

#[test]
fn a_post_hook_alters_the_columns_of_its_own_model_and_seed() {
    let alters = "[\"alter table {{ this }} add column extra jsonb default null\", \
                  \"update {{ this }} set extra = cast(text_of as jsonb) where id = 1\", \
                  \"alter table {{ this }} drop column text_of\"]";
    let sandbox = project(
        &format!("seeds:\n  +post-hook: {alters}\n"),
        &[
            ("seeds/s.csv", "id,text_of\n1,\"{\"\"a\"\": 5}\"\n2,x\n"),
            (
                "models/m.sql",
                "{{ config(materialized='table', post_hook=[\
                 'alter table {{ this }} add column twice bigint', \
                 'alter table {{ this }} rename column twice to doubled', \
                 'update {{ this }} set doubled = id * 2']) }}\nselect id from {{ ref('s') }}",
            ),
        ],
    );
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select id, extra ->> 'a' as a from s order by id"), ["1,5", "2,"]);
    assert_eq!(sandbox.rows("select * from m order by id"), ["1,2", "2,4"]);
}

#[test]
fn constraints_of_hooks_are_held_against_the_rows() {
    let holds = [
        "alter table {{ this }} add primary key (id)",
        "alter table {{ this }} add constraint u unique (id, parent)",
        "alter table {{ this }} add constraint f foreign key (parent) references {{ this }} (id)",
        "alter table {{ this }} add constraint c check (id > 0)",
        "alter table {{ this }} alter column id set not null",
        "create unique index i on {{ this }} (lower(name)) where name is not null",
        "vacuum analyze {{ this }}",
        "set local statement_timeout = '10s'",
        "create extension if not exists pgcrypto",
    ];
    let breaks = [
        ("alter table {{ this }} add primary key (name)", "contains null values"),
        ("alter table {{ this }} add unique (kind)", "is not unique"),
        ("create unique index i on {{ this }} (kind)", "is not unique"),
        (
            "alter table {{ this }} add constraint f foreign key (id) references {{ this }} (parent)",
            "has not",
        ),
        ("alter table {{ this }} add check (id > 1)", "break the constraint"),
        ("alter table {{ this }} alter column parent set not null", "contains null values"),
    ];
    let sandbox = project("", &[]);
    let model = |hooks: &str| {
        format!(
            "{{{{ config(materialized='table', post_hook=[{hooks}]) }}}}\n\
             select * from (values (1, null, 'a', 'x'), (2, 1, null, 'x')) v (id, parent, name, kind)"
        )
    };
    let quoted: Vec<String> = holds.iter().map(|hook| format!("\"{hook}\"")).collect();
    sandbox.write("models/m.sql", model(&quoted.join(", ")));
    sandbox.build().ok();
    for (hook, says) in breaks {
        sandbox.write("models/m.sql", model(&format!("\"{hook}\"")));
        sandbox.build().fails_with(1).says(says);
    }
}

/// The first failure stops the nodes; what the project does at the end is done all the same, as in dbt.
#[test]
fn hooks_at_the_end_run_after_fail_fast() {
    let shop = Sandbox::new(&[
        (
            "dbt_project.yml",
            "name: shop\nversion: '1.0'\non-run-end: create or replace table ended as select 1 as x\n",
        ),
        ("models/bad.sql", "select nothing_like_this from nowhere"),
    ]);
    shop.run(&["run", "--fail-fast"]).fails_with(1).does_not_say("cancelled");
    assert_eq!(shop.value("select x from ended"), "1");
}

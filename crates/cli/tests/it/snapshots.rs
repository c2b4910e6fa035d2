//! Snapshots: the rows that dbt keeps, over several rounds, in every strategy and with every way to
//! take deletions.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::sandbox::Sandbox;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/snapshots");

fn data(name: &str) -> String {
    std::fs::read_to_string(format!("{DATA}/{name}")).unwrap()
}

/// A time of a run, not one of the data.
fn is_now(value: &str) -> bool {
    let year = value.get(..5).and_then(|start| start.strip_suffix('-'));
    year.and_then(|year| year.parse::<u32>().ok()).is_some_and(|year| (2025..2100).contains(&year))
}

fn is_hash(value: &str) -> bool {
    value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The table in the form of `expected.txt`, see `dbt.py` beside it.
fn shown(sandbox: &Sandbox, name: &str) -> Vec<String> {
    let outcome =
        sandbox.run(&["sql", &format!("select * from {name}"), "--format", "csv", "--quiet"]).ok();
    let mut lines = outcome.stdout.lines();
    let header = lines.next().unwrap_or_default().to_owned();
    let names: Vec<&str> = header.split(',').collect();
    let mut rows: Vec<Vec<String>> = lines
        .map(|line| {
            line.split(',')
                .map(|value| match value.as_bytes() {
                    [b'0'..=b'9', _, _, _, b'-', _, _, b'-', ..] => value.replace('T', " "),
                    _ => value.to_owned(),
                })
                .collect()
        })
        .collect();
    let times: BTreeSet<String> =
        rows.iter().flatten().filter(|value| is_now(value)).cloned().collect();
    let rank: BTreeMap<&String, String> =
        times.iter().enumerate().map(|(at, time)| (time, format!("now{}", at + 1))).collect();
    for row in &mut rows {
        for value in row.iter_mut() {
            if let Some(name) = rank.get(value) {
                value.clone_from(name);
            }
        }
        let of_run = names.iter().zip(row.iter()).any(|(name, value)| {
            matches!(*name, "dbt_valid_from" | "start_at") && value.starts_with("now")
        });
        for value in row.iter_mut().filter(|value| of_run && is_hash(value)) {
            "hash".clone_into(value);
        }
    }
    let mut rows: Vec<String> = rows.iter().map(|row| row.join(",")).collect();
    rows.sort();
    rows.insert(0, header);
    rows
}

fn expected() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in data("expected.txt").lines() {
        match line.strip_prefix("# ") {
            Some(heading) => heading.clone_into(&mut name),
            None => found.entry(name.clone()).or_default().push(line.to_owned()),
        }
    }
    found
}

#[test]
fn rows_are_those_of_dbt_in_every_round() {
    let expected = expected();
    let names: Vec<String> = data("snapshots.yml")
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("- name: ")?.to_owned()))
        .collect();
    assert_eq!(expected.len(), 6 * names.len());
    let sandbox = Sandbox::new(&[("snapshots/snapshots.yml", &data("snapshots.yml"))]);
    for round in 1..=6 {
        sandbox.write("seeds/s.csv", data(&format!("round{round}.csv")));
        sandbox.build().ok();
        for name in &names {
            let wanted = &expected[&format!("{name} after round {round}")];
            assert_eq!(&shown(&sandbox, name), wanted, "{name} after round {round}");
        }
    }
    sandbox.build().ok().says("nothing to do");
}

const TIMED: &str = "
snapshots:
  - name: h
    relation: ref('s')
    config: {strategy: timestamp, unique_key: id, updated_at: at, hard_deletes: invalidate}
    columns:
      - name: dbt_scd_id
        data_tests: [unique, not_null]
";

fn timed() -> Sandbox {
    let sandbox = Sandbox::new(&[
        ("snapshots/h.yml", TIMED),
        ("models/now.sql", "select id, v from {{ ref('h') }} where dbt_valid_to is null"),
    ]);
    sandbox.write("seeds/s.csv", "id,v,at\n1,a,2024-01-01\n2,b,2024-01-01\n");
    sandbox
}

#[test]
fn a_snapshot_keeps_what_a_full_refresh_would_lose() {
    let sandbox = timed();
    sandbox.build().ok();
    sandbox.write("seeds/s.csv", "id,v,at\n1,c,2024-02-01\n");
    // `run` takes models alone, `snapshot` snapshots alone.
    sandbox.run(&["seed"]).ok();
    sandbox.run(&["run"]).ok();
    assert_eq!(sandbox.rows("select * from now order by id"), ["1,a", "2,b"]);
    sandbox.run(&["snapshot"]).ok().says("h");
    assert_eq!(sandbox.rows("select * from now order by id"), ["1,c"]);
    sandbox.run(&["build", "--full-refresh"]).ok();
    sandbox.run(&["build", "--no-reuse"]).ok().says("same");
    assert_eq!(
        sandbox.rows("select id, v, dbt_valid_to is null from h order by id, v"),
        ["1,a,false", "1,c,true", "2,b,false"]
    );
}

#[test]
fn a_failing_test_keeps_the_snapshot_as_it_was() {
    let sandbox = timed();
    sandbox.build().ok();
    // Two rows of one key and one time have one id.
    sandbox.write(
        "seeds/s.csv",
        "id,v,at\n1,a,2024-01-01\n2,b,2024-01-01\n3,x,2024-01-01\n3,y,2024-01-01\n",
    );
    sandbox.build().fails_with(1).says("unique_h_dbt_scd_id");
    assert_eq!(sandbox.rows("select * from now order by id"), ["1,a", "2,b"]);
    sandbox.write("seeds/s.csv", "id,v,at\n1,a,2024-01-01\n2,b,2024-01-01\n3,x,2024-01-01\n");
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select * from now order by id"), ["1,a", "2,b", "3,x"]);
}

#[test]
fn a_row_in_another_line_of_its_file_has_not_changed() {
    let sandbox = Sandbox::new(&[
        (
            "models/s.yml",
            "sources:\n  - name: raw\n    tables: [{name: t, ingest: {location: data/t.csv, mode: full}}]\n",
        ),
        (
            "snapshots/h.yml",
            "snapshots:\n  - name: h\n    relation: source('raw', 't')\n    config: {strategy: check, check_cols: all, unique_key: id}\n",
        ),
        ("data/t.csv", "id,v\n1,a\n2,b\n"),
    ]);
    sandbox.build().ok();
    sandbox.write("data/t.csv", "id,v\n0,z\n1,a\n2,c\n");
    sandbox.build().ok();
    assert_eq!(
        sandbox.rows("select id, v, dbt_valid_to is null from h order by id, v"),
        ["0,z,true", "1,a,true", "2,b,false", "2,c,true"]
    );
}

#[test]
fn a_block_is_a_snapshot_too() {
    let sandbox = Sandbox::new(&[
        (
            "snapshots/two.sql",
            "{% snapshot first %}
{{ config(target_schema='history', strategy='check', unique_key='id', check_cols=['v']) }}
select id, v from {{ ref('s') }}
{% endsnapshot %}
{% snapshot second %}
{{ config(schema='kept', alias='other', strategy='timestamp', unique_key='id', updated_at='at') }}
select * from {{ ref('s') }} where id > {{ var('least', 0) }}
{% endsnapshot %}",
        ),
        ("seeds/s.csv", "id,v,at\n1,a,2024-01-01\n2,b,2024-01-01\n"),
    ]);
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select id, v from history.first order by id"), ["1,a", "2,b"]);
    assert_eq!(sandbox.rows("select id from main_kept.other order by id"), ["1", "2"]);
    sandbox.run(&["ls", "--resource-type", "snapshot"]).ok().says("shop.two.first");
    sandbox.write("seeds/s.csv", "id,v,at\n1,A,2024-01-01\n2,b,2024-01-01\n");
    sandbox.run(&["build", "--select", "s+"]).ok();
    assert_eq!(
        sandbox.rows("select id, v from history.first order by id, v"),
        ["1,A", "1,a", "2,b"]
    );
    assert_eq!(sandbox.rows("select id from main_kept.other order by id"), ["1", "2"]);
}

#[test]
fn what_a_snapshot_lacks_is_told_where_it_stands() {
    let sandbox = Sandbox::new(&[
        (
            "snapshots/h.yml",
            "snapshots:\n  - name: h\n    relation: ref('s')\n    config: {strategy: timestamp, unique_key: id}\n",
        ),
        ("seeds/s.csv", "id,v\n1,a\n"),
    ]);
    sandbox.build().fails_with(2).says("needs `updated_at`").says("snapshots/h.yml");
    sandbox.write(
        "snapshots/h.yml",
        "snapshots:\n  - name: h\n    relation: ref('s')\n    config: {strategy: check, unique_key: id, check_cols: [w]}\n",
    );
    // The first state needs no comparison; the next does, and changes nothing.
    sandbox.build().ok();
    sandbox.write("seeds/s.csv", "id,v\n1,b\n");
    sandbox.build().fails_with(1).says("`check_cols` names `w`");
    assert_eq!(sandbox.rows("select id, v from h"), ["1,a"]);
}

const OF_SEED: &str = "snapshots:\n  - name: h\n    relation: ref('s')\n    \
     config: {strategy: check, unique_key: id, check_cols: [v]}\n";

#[test]
fn a_macro_of_dbts_own_materialization_is_refused_and_a_whole_one_is_called() {
    let sandbox = Sandbox::new(&[
        ("snapshots/h.yml", OF_SEED),
        ("seeds/s.csv", "id,v\n1,a\n"),
        (
            "macros/own.sql",
            "{% macro postgres__snapshot_merge_sql(target, source, insert_cols) %}select 1{% endmacro %}",
        ),
    ]);
    sandbox
        .build()
        .fails_with(1)
        .says("snapshots/h.yml")
        .says("`postgres__snapshot_merge_sql` (macros/own.sql)");
    sandbox.run(&["snapshot"]).fails_with(1).says("postgres__snapshot_merge_sql");
    sandbox.run(&["seed"]).ok();
    sandbox.write(
        "macros/own.sql",
        "{% materialization snapshot, default %}\n\
         {% set target = this.incorporate(type='table') %}\n\
         {% call statement('main') %}create table {{ target }} as (select 'mine' as who, q.* from ({{ sql }}) as q){% endcall %}\n\
         {% do return({'relations': [target]}) %}\n{% endmaterialization %}",
    );
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select * from h"), ["mine,1,a"]);
}

#[test]
fn hooks_run_around_a_snapshot_each_time() {
    let sandbox = Sandbox::new(&[
        (
            "snapshots/h.yml",
            "snapshots:\n  - name: h\n    relation: ref('s')\n    config:\n      strategy: check\n      \
             unique_key: id\n      check_cols: [v]\n      \
             pre_hook: \"insert into main.audit values ('pre', 0)\"\n      \
             post_hook: \"insert into main.audit select 'post', count(*) from {{ this }}\"\n",
        ),
        ("seeds/s.csv", "id,v\n1,a\n"),
    ]);
    sandbox.run(&["sql", "create table main.audit (what varchar, n bigint)"]).ok();
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select * from audit order by what, n"), ["post,1", "pre,0"]);
    sandbox.write("seeds/s.csv", "id,v\n1,b\n");
    sandbox.build().ok();
    let expected = ["post,1", "post,2", "pre,0", "pre,0"];
    assert_eq!(sandbox.rows("select * from audit order by what, n"), expected);
}

//! Incremental models: four strategies, changed columns.

use crate::sandbox::{Sandbox, outcome};

/// A model over a seed-like source that the test rewrites.
fn incremental(config: &str) -> Sandbox {
    let sandbox = Sandbox::new(&[(
        "models/m.sql",
        &format!(
            "{{{{ config(materialized='incremental', {config}) }}}}\nselect * from {{{{ ref('s') }}}}"
        ),
    )]);
    sandbox.write("seeds/s.csv", "id,day,v\n1,a,10\n2,a,20\n3,b,30\n");
    sandbox
}

const SECOND: &str = "id,day,v\n2,a,21\n4,c,40\n";

fn rows(sandbox: &Sandbox) -> Vec<String> {
    sandbox.rows("select * from m order by id, v")
}

#[test]
fn each_strategy_does_as_in_dbt() {
    let cases: [(&str, &[&str]); 5] = [
        ("incremental_strategy='append'", &["1,a,10", "2,a,20", "2,a,21", "3,b,30", "4,c,40"]),
        (
            "incremental_strategy='merge', unique_key='id'",
            &["1,a,10", "2,a,21", "3,b,30", "4,c,40"],
        ),
        ("unique_key='id'", &["1,a,10", "2,a,21", "3,b,30", "4,c,40"]),
        (
            "incremental_strategy='insert_overwrite', partition_by=['day']",
            &["2,a,21", "3,b,30", "4,c,40"],
        ),
        (
            "incremental_strategy='merge', unique_key=['id'], merge_update_columns=['day']",
            &["1,a,10", "2,a,20", "3,b,30", "4,c,40"],
        ),
    ];
    for (config, expected) in cases {
        let sandbox = incremental(config);
        sandbox.build().ok();
        assert_eq!(rows(&sandbox), ["1,a,10", "2,a,20", "3,b,30"], "{config}");
        sandbox.build().ok().says("nothing to do");
        sandbox.write("seeds/s.csv", SECOND);
        sandbox.build().ok();
        assert_eq!(rows(&sandbox), expected, "{config}");
        sandbox.build().ok().says("nothing to do");
        sandbox.run(&["build", "--full-refresh"]).ok();
        assert_eq!(rows(&sandbox), ["2,a,21", "4,c,40"], "{config}");
    }
}

#[test]
fn a_merge_with_one_key_twice_names_it_and_changes_nothing() {
    let sandbox = incremental("incremental_strategy='merge', unique_key='id'");
    sandbox.build().ok();
    sandbox.write("seeds/s.csv", "id,day,v\n9,a,1\n9,b,2\n");
    sandbox.build().fails_with(1).says("9");
    assert_eq!(rows(&sandbox), ["1,a,10", "2,a,20", "3,b,30"]);
    // delete+insert keeps both, as in dbt.
    let sandbox = incremental("incremental_strategy='delete+insert', unique_key='id'");
    sandbox.build().ok();
    sandbox.write("seeds/s.csv", "id,day,v\n1,a,1\n1,b,2\n");
    sandbox.build().ok();
    assert_eq!(rows(&sandbox), ["1,a,1", "1,b,2", "2,a,20", "3,b,30"]);
}

#[test]
fn changed_columns_follow_the_setting() {
    let model = |setting: &str, columns: &str| {
        format!(
            "{{{{ config(materialized='incremental', on_schema_change='{setting}') }}}}\nselect {columns} from {{{{ ref('s') }}}}"
        )
    };
    let start = |setting: &str| {
        let sandbox = Sandbox::new(&[
            ("seeds/s.csv", "id,a,b\n1,x,y\n"),
            ("models/m.sql", &model(setting, "id, a")),
        ]);
        sandbox.build().ok();
        sandbox
    };
    let sandbox = start("fail");
    sandbox.write("models/m.sql", model("fail", "id, a, b"));
    sandbox.build().fails_with(1).says("on_schema_change");

    let sandbox = start("ignore");
    sandbox.write("models/m.sql", model("ignore", "id, a, b"));
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select * from m"), ["1,x", "1,x"]);

    let sandbox = start("append_new_columns");
    sandbox.write("models/m.sql", model("append_new_columns", "id, b"));
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select id, a, b from m order by b nulls first"), ["1,x,", "1,,y"]);

    let sandbox = start("sync_all_columns");
    sandbox.write("models/m.sql", model("sync_all_columns", "id, b"));
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select * from m order by b nulls first"), ["1,", "1,y"]);
}

#[test]
fn is_incremental_reads_its_own_table() {
    let sandbox = Sandbox::new(&[
        ("data/e1.csv", "id\n1\n2\n"),
        (
            "models/s.yml",
            "sources:\n  - name: raw\n    tables: [{name: e, ingest: {location: 'data/e*.csv', mode: append}}]\n",
        ),
        (
            "models/m.sql",
            "{{ config(materialized='incremental') }}\nselect id from {{ source('raw', 'e') }}\n{% if is_incremental() %}where id > (select max(id) from {{ this }}){% endif %}",
        ),
    ]);
    sandbox.build().ok();
    sandbox.build().ok().says("nothing to do");
    sandbox.write("data/e2.csv", "id\n3\n");
    sandbox.build().ok().says("1 row");
    assert_eq!(sandbox.rows("select id from m order by id"), ["1", "2", "3"]);
}

#[test]
fn a_column_keeps_the_type_of_its_table() {
    let sandbox = Sandbox::new(&[
        ("seeds/s.csv", "id,v\n1,10\n"),
        (
            "models/m.sql",
            "{{ config(materialized='incremental') }}\nselect id, v from {{ ref('s') }}",
        ),
    ]);
    sandbox.build().ok();
    sandbox.write("seeds/s.csv", "id,v\n2,many\n");
    sandbox.build().fails_with(1).says("many");
    assert_eq!(sandbox.rows("select id, v + 1 from m"), ["1,11"]);
    // A fraction is rounded, as PostgreSQL and DuckDB do it, not cut.
    sandbox.write("seeds/s.csv", "id,v\n2,10.5\n3,-0.75\n");
    sandbox.build().ok();
    assert_eq!(sandbox.rows("select id, v from m order by id"), ["1,10", "2,10", "3,-1"]);
    sandbox.write(
        "models/m.sql",
        "{{ config(materialized='incremental', on_schema_change='append_new_columns') }}\n\
         select id + 10 as id, cast(v as decimal(9, 2)) as v, 'x' as fresh from {{ ref('s') }}",
    );
    sandbox.build().ok();
    let expected = ["1,10,", "2,10,", "3,-1,", "12,11,x", "13,-1,x"];
    assert_eq!(sandbox.rows("select id, v, fresh from m order by id"), expected);
}

#[test]
fn what_another_engine_wrote_is_taken_over_and_built_upon() {
    let sandbox = Sandbox::new(&[
        ("models/t.sql", "{{ config(materialized='table') }}\nselect 1 as id"),
        (
            "models/below.sql",
            "{{ config(materialized='table') }}\nselect count(*) as n from {{ ref('t') }}",
        ),
    ]);
    sandbox.build().ok();
    // Another engine's commit: the first version's files once more, as an append.
    let log = sandbox.path("lake/main/t/_delta_log");
    let first = std::fs::read_to_string(log.join("00000000000000000000.json")).unwrap();
    let add = first.lines().find(|line| line.starts_with("{\"add\"")).unwrap();
    let file: serde_json::Value = serde_json::from_str(add).unwrap();
    let path = file["add"]["path"].as_str().unwrap();
    std::fs::copy(
        sandbox.path("lake/main/t").join(path),
        sandbox.path("lake/main/t/foreign.parquet"),
    )
    .unwrap();
    let foreign = add.replace(path, "foreign.parquet");
    std::fs::write(
        log.join("00000000000000000001.json"),
        format!(
            "{foreign}\n{{\"commitInfo\":{{\"operation\":\"WRITE\",\"engineInfo\":\"other\"}}}}\n"
        ),
    )
    .unwrap();
    assert_eq!(sandbox.value("select count(*) from t"), "1");
    sandbox.run(&["plan"]).ok().says("another engine");
    // A table is what its query says: taken over, and built again.
    sandbox.build().ok().says("took over").says("t");
    assert_eq!(sandbox.value("select count(*) from t"), "1");
    sandbox.build().ok().says("nothing to do");
}

#[test]
fn many_partitions_need_few_open_files() {
    let sandbox = Sandbox::new(&[(
        "models/p.sql",
        "{{ config(materialized='incremental', incremental_strategy='insert_overwrite', partition_by=['day']) }}\nselect x as id, x % 1000 as day from generate_series(1, 3000) as g (x)",
    )]);
    let limited = |arguments: &[&str]| {
        let inner = sandbox.command(arguments);
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""])
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(sandbox.root());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        outcome(&mut command)
    };
    limited(&["build"]).ok();
    let query = "select count(*), count(distinct day), sum(id) from p";
    assert_eq!(sandbox.rows(query), ["3000,1000,4501500"]);
    // And every one of them is replaced.
    limited(&["build", "--no-reuse"]).ok();
    assert_eq!(sandbox.rows(query), ["3000,1000,4501500"]);
}

#[test]
fn null_keys_of_an_increment_are_told_or_refused() {
    let model = |meta: &str| {
        format!(
            "{{{{ config(materialized='incremental', unique_key='id'{meta}) }}}}\nselect id, v from {{{{ ref('s') }}}}"
        )
    };
    let strict = model(", meta={'null_keys': 'fail'}");
    let sandbox = Sandbox::new(&[("seeds/s.csv", "id,v\n1,a\n,b\n"), ("models/m.sql", &strict)]);
    sandbox.build().ok();
    sandbox.write("seeds/s.csv", "id,v\n1,c\n,b\n,d\n");
    let stopped = sandbox.build().fails_with(1);
    stopped.says("2 new rows have a NULL in the key").says("id").says("null_keys: fail");
    assert_eq!(sandbox.rows("select v from m order by v"), ["a", "b"], "the last version stays");
    sandbox.write("models/m.sql", model(""));
    sandbox.build().ok().says("2 new rows have a NULL in the key (id)");
    assert_eq!(sandbox.rows("select v from m order by v"), ["b", "b", "c", "d"]);
}

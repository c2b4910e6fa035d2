//! A batch that fails its checks: it stops its own stream alone, and can be set aside.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::databases::Following;
use crate::sandbox::{Sandbox, outcome};

/// Sources of files, whose column `v` must not be NULL.
fn sources(tables: &[(&str, &str)]) -> Sandbox {
    let mut text = "sources:\n  - name: raw\n    tables:\n".to_owned();
    for (name, ingest) in tables {
        text.push_str(&format!(
            "      - name: {name}\n        ingest: {{{ingest}}}\n        columns: [{{name: v, data_tests: [not_null]}}]\n"
        ));
    }
    Sandbox::new(&[("models/s.yml", &text)])
}

const STEPS: [&str; 5] = [
    "stage.after-file",
    "publish.after-intent",
    "publish.after-commit",
    "publish.before-entry",
    "publish.after-entry",
];

#[test]
fn a_batch_that_fails_its_checks_is_set_aside_exactly_once() {
    for mode in ["append", "merge, primary_key: id"] {
        for step in STEPS {
            let sandbox = sources(&[("t", &format!("location: 'data/*', mode: {mode}"))]);
            sandbox.write("data/a.csv", "id,v\n1,x\n");
            sandbox.run(&["ingest"]).ok();
            sandbox.write("data/b.csv", "id,v\n1,\n2,y\n");
            sandbox.run(&["ingest"]).fails_with(1).says("not_null");
            let look = sandbox.run(&["ingest", "reject", "raw.t", "--dry-run"]).ok();
            look.says("raw.t: would move 2 rows to raw.t__rejected");
            // Not another batch than the one that is meant.
            let other = ["ingest", "reject", "raw.t", "--batch", "01234567"];
            sandbox.run(&other).ok().says("is past the batch `01234567`: nothing is set aside");
            assert_eq!(
                sandbox.run(&["lake", "list", "--format", "json"]).ok().stdout.lines().count(),
                1
            );
            assert!(sandbox.dies_at(step, &["ingest", "reject", "raw.t"]), "{step}");
            // What is half-way is finished, what is not begun is done now; not both.
            sandbox.run(&["ingest", "reject", "raw.t"]).ok();
            sandbox.run(&["ingest", "reject", "raw.t"]).ok().says("nothing is new");
            assert_eq!(
                sandbox
                    .rows("select _source_file, _source_row, raw from raw.t__rejected order by 2"),
                [
                    "data/b.csv,2,\"{\"\"id\"\":\"\"1\"\",\"\"v\"\":null,\"\"_source_file\"\":\"\"data/b.csv\"\",\"\"_source_row\"\":\"\"2\"\"}\"",
                    "data/b.csv,3,\"{\"\"id\"\":\"\"2\"\",\"\"v\"\":\"\"y\"\",\"\"_source_file\"\":\"\"data/b.csv\"\",\"\"_source_row\"\":\"\"3\"\"}\"",
                ],
                "{step}"
            );
            assert_eq!(
                sandbox
                    .value("select count(*) from raw.t__rejected where reason like '%not_null%'"),
                "2"
            );
            assert_eq!(sandbox.rows("select id, v from raw.t"), ["1,x"]);
            sandbox.run(&["ingest"]).ok().says("nothing to do");
            sandbox.write("data/c.csv", "id,v\n3,z\n");
            sandbox.run(&["ingest"]).ok();
            assert_eq!(sandbox.rows("select id, v from raw.t order by id"), ["1,x", "3,z"]);
        }
    }
}

#[test]
fn what_cannot_be_applied_is_set_aside_too() {
    let sandbox = sources(&[
        ("t", "location: 'data/*', schema_contract: freeze"),
        ("u", "location: 'data/*', mode: full"),
    ]);
    sandbox.write("data/a.csv", "id,v\n1,x\n");
    sandbox.run(&["ingest", "--select", "source:raw.t"]).ok();
    sandbox.write("data/b.csv", "id,v,more\n2,y,z\n");
    sandbox.run(&["ingest", "--select", "source:raw.t"]).fails_with(1).says("`more`");
    sandbox
        .run(&["ingest", "reject", "t"])
        .ok()
        .says("moved 1 row to raw.t__rejected; it goes on behind 2 files loaded");
    assert_eq!(sandbox.rows("select id, v from raw.t"), ["1,x"]);
    assert_eq!(sandbox.value("select count(*) from raw.t__rejected where raw like '%\"more\":\"z\"%' and reason like '%new column%'"), "1");
    sandbox.run(&["ingest", "--select", "source:raw.t"]).ok().says("nothing to do");
    // A first batch: the table begins empty.
    let first = sources(&[("t", "location: 'data/*'")]);
    first.write("data/a.csv", "id,v\n1,\n");
    first.run(&["ingest"]).fails_with(1);
    first.run(&["ingest", "reject", "t", "--reason", "not ours"]).ok();
    assert_eq!(first.value("select count(*) from raw.t"), "0");
    assert_eq!(first.value("select reason from raw.t__rejected"), "not ours");
    first.run(&["ingest"]).ok();
    sandbox.run(&["ingest", "reject", "u"]).fails_with(2).says("reads the whole table");
    sandbox.run(&["ingest", "reject", "w"]).fails_with(2).says("there are raw.t, raw.u");
}

#[test]
fn a_table_that_fails_for_good_stops_alone_and_says_how_it_goes_on() {
    let sandbox =
        sources(&[("a", "location: 'a/*', lag: 100ms"), ("b", "location: 'b/*', lag: 100ms")]);
    sandbox.write("a/1.csv", "id,v\n1,x\n");
    sandbox.write("b/1.csv", "id,v\n1,x\n");
    sandbox.run(&["ingest"]).ok();
    sandbox.write("a/2.csv", "id,v\n2,\n");
    let following = Following::start(&sandbox);
    following.says("source.shop.raw.a: it is not loaded any more, after 5 attempts");
    following.says("what is new behind 1 file loaded");
    sandbox.write("b/2.csv", "id,v\n2,y\n");
    let began = Instant::now();
    while sandbox.value("select count(*) from raw.b") != "2" {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", following.said());
    }
    let said = following.said();
    // Five times, and not once more.
    assert!(said.matches("fail ").count() >= 5, "{said}");
    following.stop(1);
    let command = said.lines().find(|line| line.contains("tidemill ingest reject raw.a")).unwrap();
    let program = env!("CARGO_BIN_EXE_tidemill");
    let command = command.trim().replacen("tidemill", program, 1);
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).current_dir(sandbox.root()).env("HOME", sandbox.root());
    outcome(&mut shell).ok().says("raw.a: moved 1 row to raw.a__rejected");
    outcome(&mut shell).ok().says("is past the batch");
    assert_eq!(
        sandbox.value("select count(*) from raw.a__rejected where reason like '%not_null%'"),
        "1"
    );
    sandbox.write("a/3.csv", "id,v\n3,z\n");
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select id, v from raw.a order by id"), ["1,x", "3,z"]);
}

#[test]
fn a_table_that_was_dropped_stops_alone() {
    let (sandbox, database) = Sandbox::over_sqlite(
        "create table gone (id integer primary key); insert into gone values (1);
         create table kept (id integer primary key); insert into kept values (1)",
    );
    sandbox.write(
        "models/s.yml",
        "sources:\n  - name: raw\n    ingest: {connection: shop, mode: merge, primary_key: id, cursor: id, lag: 100ms}\n    tables: [{name: gone}, {name: kept}]\n",
    );
    sandbox.run(&["ingest"]).ok();
    database.execute_batch("drop table gone").unwrap();
    let following = Following::start(&sandbox);
    following.says("source.shop.raw.gone: it is not loaded any more, after 5 attempts");
    following.says("id from 1 on");
    database.execute_batch("insert into kept values (2)").unwrap();
    let began = Instant::now();
    while sandbox.value("select count(*) from raw.kept") != "2" {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", following.said());
    }
    following.stop(1);
    assert_eq!(sandbox.value("select count(*) from raw.gone"), "1");
}

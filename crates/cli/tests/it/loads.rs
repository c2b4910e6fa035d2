//! Loading files: exactly once, typed by all values, with rejects within what is tolerated.

use std::io::Write;

use crate::sandbox::Sandbox;

fn source(settings: &str) -> Sandbox {
    Sandbox::new(&[(
        "models/s.yml",
        &format!(
            "sources:\n  - name: raw\n    tables:\n      - name: t\n        ingest: {{location: 'data/*', {settings}}}\n"
        ),
    )])
}

#[test]
fn files_of_every_kind_are_read() {
    let sandbox = source("mode: append");
    sandbox.write("data/a.csv", "\u{feff}id,text\n1,\"one, two\"\n2,\"line\nbreak\"\n");
    sandbox.write("data/b.ndjson", "{\"id\": 3, \"text\": \"three\"}\n");
    sandbox.write("data/c.json", "[{\"id\": 4, \"text\": \"four\"}]");
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(b"id,text\n5,five\n").unwrap();
    sandbox.write("data/d.csv.gz", gzip.wait_with_output().unwrap().stdout);
    let utf16: Vec<u8> =
        "\u{feff}id,text\n6,sechs \u{e4}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    sandbox.write("data/e.csv", utf16);
    sandbox.run(&["ingest"]).ok();
    assert_eq!(
        sandbox.rows("select id, replace(text, chr(10), '/') from raw.t order by id"),
        ["1,\"one, two\"", "2,line/break", "3,three", "4,four", "5,five", "6,sechs \u{e4}"]
    );
    assert_eq!(
        sandbox.rows("select distinct _source_file from raw.t order by 1"),
        ["data/a.csv", "data/b.ndjson", "data/c.json", "data/d.csv.gz", "data/e.csv"]
    );
    sandbox.run(&["ingest"]).ok().says("nothing to do");
}

use std::process::{Command, Stdio};

#[test]
fn a_later_value_that_does_not_fit_widens_without_loss() {
    let sandbox = source("mode: append, sample_bytes: 1KiB");
    let mut text = String::from("code,n\n");
    for number in 0..5_000 {
        text.push_str(&format!("{number},{number}\n"));
    }
    // As numbers these would lose their zeros; the second column needs a fraction.
    text.push_str("007,1.5\n");
    sandbox.write("data/a.csv", &text);
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select code, n from raw.t where code = '007'"), ["007,1.5"]);
    assert_eq!(sandbox.value("select count(*) from raw.t where code = '42'"), "1");
    // In a later load as well.
    sandbox.write("data/b.csv", "code,n\n8,many\n");
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.value("select count(*) from raw.t where n = 'many'"), "1");
    assert_eq!(sandbox.value("select count(*) from raw.t"), "5002");
    // The values of the first load are what stood in the file, not `0.0` and `1.0`.
    assert_eq!(sandbox.value("select n from raw.t where code = '1'"), "1");
    sandbox.run(&["ingest"]).ok().says("nothing to do");
}

#[test]
fn rows_that_cannot_be_read_stop_the_load_or_go_aside() {
    let sandbox = source("mode: append");
    sandbox.write("data/a.csv", "id,v\n1,x\n2,y,extra\n3,z\n");
    sandbox.run(&["ingest"]).fails_with(1).says("data/a.csv:3").says("max_rejects");
    assert_eq!(sandbox.run(&["lake", "list", "--format", "json"]).ok().stdout, "");
    let tolerant = source("mode: append, max_rejects: 1");
    tolerant.write("data/a.csv", "id,v\n1,x\n2,y,extra\n3,z\n");
    tolerant.run(&["ingest"]).ok().says("raw.t__rejected");
    assert_eq!(tolerant.rows("select id from raw.t order by id"), ["1", "3"]);
    assert_eq!(
        tolerant.rows("select _source_file, _source_row, raw from raw.t__rejected"),
        ["data/a.csv,3,\"2,y,extra\""]
    );
}

#[test]
fn declared_types_hold() {
    let sandbox = Sandbox::new(&[
        (
            "models/s.yml",
            "sources:
  - name: raw
    tables:
      - name: t
        ingest: {location: data/a.csv, mode: full, max_rejects: 1}
        columns:
          - {name: id, data_type: text}
          - {name: amount, data_type: 'numeric(12,2)'}
",
        ),
        ("data/a.csv", "id,amount\n1,10.10\n2,much\n"),
    ]);
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select id || '!', amount * 3 from raw.t"), ["1!,30.30"]);
}

#[test]
fn a_changed_file_is_an_error_or_is_loaded_again() {
    let sandbox = source("mode: append");
    sandbox.write("data/a.csv", "id\n1\n2\n");
    sandbox.write("data/b.csv", "id\n10\n");
    sandbox.run(&["ingest"]).ok();
    sandbox.write("data/a.csv", "id\n1\n3\n4\n");
    sandbox.run(&["ingest"]).fails_with(1).says("data/a.csv").says("on_change");
    let yaml = std::fs::read_to_string(sandbox.path("models/s.yml")).unwrap();
    sandbox.write("models/s.yml", yaml.replace("mode: append", "mode: append, on_change: reload"));
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select id from raw.t order by id"), ["1", "3", "4", "10"]);
    // A file that vanishes is reported; its rows stay.
    sandbox.remove("data/b.csv");
    sandbox.run(&["ingest"]).ok().says("data/b.csv");
    assert_eq!(sandbox.value("select count(*) from raw.t"), "4");
}

#[test]
fn merge_keeps_the_last_row_of_a_key() {
    let sandbox = source("mode: merge, primary_key: [id], cursor: at");
    sandbox.write("data/a.csv", "id,at,v\n1,2024-01-02,new\n1,2024-01-01,old\n2,2024-01-01,x\n");
    sandbox.run(&["ingest"]).ok();
    sandbox.write("data/b.csv", "id,at,v\n2,2024-02-01,y\n3,2024-01-01,z\n");
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select id, v from raw.t order by id"), ["1,new", "2,y", "3,z"]);
    // As well when everything is read again, also in other columns.
    sandbox.run(&["ingest", "--full-refresh"]).ok();
    assert_eq!(sandbox.rows("select id, v from raw.t order by id"), ["1,new", "2,y", "3,z"]);
    sandbox.remove("data/b.csv");
    sandbox.write("data/a.csv", "id,at,v\nx,2024-01-02,5\nx,2024-01-03,6\ny,2024-01-01,7\n");
    sandbox.run(&["ingest", "--full-refresh"]).ok();
    assert_eq!(sandbox.rows("select id, v + 1 from raw.t order by id"), ["x,7", "y,8"]);
}

#[test]
fn new_columns_follow_the_contract() {
    let sandbox = source("mode: append");
    sandbox.write("data/a.csv", "id\n1\n");
    sandbox.run(&["ingest"]).ok();
    sandbox.write("data/b.csv", "id,more\n2,x\n");
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select id, more from raw.t order by id"), ["1,", "2,x"]);
    let yaml = std::fs::read_to_string(sandbox.path("models/s.yml")).unwrap();
    sandbox.write(
        "models/s.yml",
        yaml.replace("mode: append", "mode: append, schema_contract: freeze"),
    );
    sandbox.write("data/c.csv", "id,more,most\n3,x,y\n");
    sandbox.run(&["ingest"]).fails_with(1).says("most");
    sandbox.write(
        "models/s.yml",
        yaml.replace("mode: append", "mode: append, schema_contract: discard"),
    );
    sandbox.run(&["ingest"]).ok();
    assert_eq!(
        sandbox.rows("select * exclude (_source_file, _source_row) from raw.t where id = 3"),
        ["3,x"]
    );
}

#[test]
fn what_waits_and_what_a_merge_did_is_said() {
    let sandbox = source("mode: merge, primary_key: id, settle: 1h");
    sandbox.write("data/a.csv", "id,v\n1,x\n2,y\n");
    sandbox
        .run(&["ingest"])
        .ok()
        .says("1 file waits for a later load")
        .says("it waits until 2")
        .says("there is no table `raw.t` yet");
    let old = |name: &str| {
        let file = std::fs::File::options().append(true).open(sandbox.path(name)).unwrap();
        let hours = std::time::Duration::from_secs(7200);
        file.set_modified(std::time::SystemTime::now() - hours).unwrap();
    };
    old("data/a.csv");
    sandbox.run(&["ingest"]).ok().does_not_say("wait");
    sandbox.write("data/b.csv", "id,v\n2,z\n3,q\n3,r\n");
    old("data/b.csv");
    sandbox.run(&["ingest"]).ok().says("1 row inserted, 1 updated");
    assert_eq!(sandbox.rows("select id, v from raw.t order by id"), ["1,x", "2,z", "3,r"]);
}

#[test]
fn a_declared_type_does_not_narrow_a_published_column() {
    let project = |data_type: &str| {
        format!(
            "sources:\n  - name: raw\n    tables:\n      - name: t\n        ingest: {{location: 'data/*'}}\n        columns: [{{name: n, data_type: {data_type}}}]\n"
        )
    };
    let sandbox = Sandbox::new(&[("models/s.yml", &project("bigint")), ("data/a.csv", "n\n1\n")]);
    sandbox.run(&["ingest"]).ok();
    sandbox.write("models/s.yml", project("integer"));
    sandbox.write("data/b.csv", "n\n2\n");
    sandbox.run(&["ingest"]).ok().says("stays bigint").does_not_say("from now on");
    assert_eq!(sandbox.rows("describe raw.t")[0], "n,bigint,YES");
}

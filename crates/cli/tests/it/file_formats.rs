//! Files of every format as sources: from the settings of a project to rows in its lake.

use std::process::Command;

use crate::sandbox::Sandbox;

/// A file that was made by a tool that is not ours.
fn data(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../connect/tests/data");
    std::fs::read(std::path::Path::new(folder).join(name)).unwrap()
}

fn project(tables: &str) -> Sandbox {
    let tables: String = tables.lines().map(|line| format!("      {line}\n")).collect();
    Sandbox::new(&[("models/s.yml", &format!("sources:\n  - name: raw\n    tables:\n{tables}"))])
}

#[test]
fn types_come_from_the_files() {
    let sandbox = project(
        "- {name: orders, ingest: {location: data/orders.avro}}
- {name: report, ingest: {location: data/book.xlsx, sheet: '2024-*', merged_cells: repeat}}
- {name: feed, ingest: {location: data/feed.xml, records: order}}
- name: lines
  ingest:
    location: data/lines.txt
    format: fixed
    max_rejects: 1
    fields:
      - {name: id, start: 1, length: 3, type: int}
      - {name: day, start: 4, length: 10}
- {name: everything, ingest: {location: 'data/*', format: file}}",
    );
    sandbox.write("data/orders.avro", data("orders-snappy.avro"));
    sandbox.write("data/book.xlsx", data("book.xlsx"));
    sandbox.write(
        "data/feed.xml",
        "<feed><order id='1'><tag>a</tag><tag>b</tag></order><order id='2'><tag>c</tag></order></feed>",
    );
    sandbox.write("data/lines.txt", "0012024-01-31\nx022024-02-01\n0032024-02-02\n");
    sandbox.run(&["ingest"]).ok();
    assert_eq!(
        sandbox.rows(
            "select order_id, amount * 2, day + 1, t_ms, address['city'], mixed from raw.orders
             where order_id > 1 order by 1"
        ),
        [
            "2,-1.96,2024-03-02,01:02:03.002,Köln,2",
            "3,-1.94,2024-03-03,01:02:03.003,Köln,\"{\"\"city\"\":\"\"Bonn\"\",\"\"zip\"\":1}\""
        ]
    );
    assert_eq!(
        sandbox.rows(
            "select _source_sheet, region, sum(total) from raw.report group by 1, 2 order by 1, 2"
        ),
        ["2024-01,north,21", "2024-02,north,42", "2024-02,south,1"]
    );
    assert_eq!(
        sandbox.rows("select id, cardinality(tag) from raw.feed order by 1"),
        ["1,2", "2,1"]
    );
    assert_eq!(
        sandbox.rows("select id, day from raw.lines order by 1"),
        ["1,2024-01-31", "3,2024-02-02"]
    );
    assert_eq!(
        sandbox.rows("select _source_file, _source_row, reason, raw from raw.lines__rejected"),
        ["data/lines.txt,2,column `id`: `x02` is not an integer,x022024-02-01"]
    );
    assert_eq!(
        sandbox.rows("select path, media_type from raw.everything where size > 100 order by 1"),
        [
            "data/book.xlsx,application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "data/orders.avro,application/vnd.apache.avro"
        ]
    );
    sandbox.run(&["ingest"]).ok().says("nothing to do");
    // A file that is a row is replaced when it changes, and the others stay.
    sandbox.write("data/lines.txt", "0012024-01-31\n");
    sandbox.run(&["ingest", "--select", "source:raw.everything"]).ok();
    assert_eq!(
        sandbox.rows(
            "select path, size from raw.everything where path like '%.txt' or path like '%.xml' order by 1"
        ),
        ["data/feed.xml,93", "data/lines.txt,14"]
    );
}

#[test]
fn members_of_an_archive_are_loaded_once() {
    let sandbox = project("- {name: t, ingest: {location: 'drops/*.tar.gz', members: '**/*.csv'}}");
    let pack = || {
        std::fs::create_dir_all(sandbox.path("drops")).unwrap();
        let packed = Command::new("tar")
            .args(["-czf", "../drops/all.tar.gz", "."])
            .current_dir(sandbox.path("in"))
            .status()
            .unwrap();
        assert!(packed.success());
    };
    sandbox.write("in/a/1.csv", "id\n1\n2\n");
    sandbox.write("in/readme.md", "words");
    pack();
    sandbox.run(&["ingest", "--dry-run"]).ok().says("drops/all.tar.gz/a/1.csv");
    sandbox.run(&["ingest"]).ok();
    sandbox.write("in/b.csv", "id\n3\n");
    pack();
    sandbox.run(&["ingest"]).ok();
    assert_eq!(
        sandbox.rows("select _source_file, count(*) from raw.t group by 1 order by 1"),
        ["drops/all.tar.gz/a/1.csv,2", "drops/all.tar.gz/b.csv,1"]
    );
    sandbox.run(&["ingest"]).ok().says("nothing to do");
}

#[test]
fn wrong_settings_are_told_before_anything_is_read() {
    for (settings, says) in [
        ("location: a.xlsx, range: '3'", "`range` must be cells"),
        ("location: a.txt, format: fixed", "needs `fields`"),
        ("location: a.zip, members: '['", "`members: [` is not a pattern"),
        ("location: a.xml, namespaces: some", "`namespaces`"),
        ("location: a.avro, sheets: 1", "did you mean `sheet`?"),
    ] {
        let sandbox = project(&format!("- {{name: t, ingest: {{{settings}}}}}"));
        sandbox.run(&["ingest"]).fails_with(2).says(says).says("models/s.yml");
    }
}

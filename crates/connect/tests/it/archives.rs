//! Archives.

use std::io::Write;

use serde_json::json;

use crate::reading::{Options, Outcome, Project};

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (path, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Where a path leads does not matter.
        let name = header.as_gnu_mut().unwrap();
        name.name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        out.append(&header, *content).unwrap();
    }
    out.into_inner().unwrap()
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, content) in members {
        out.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
        out.write_all(content).unwrap();
    }
    out.finish().unwrap().into_inner()
}

const MEMBERS: [(&str, &[u8]); 5] = [
    ("data/1.csv", b"id,name\n1,a\n2,b\n"),
    ("../2.csv", b"id,name\n3,c\nbad\n"),
    ("readme.md", b"about"),
    (".hidden.csv", b"id\n9\n"),
    ("__MACOSX/._1.csv", b"\0\0"),
];

fn files(outcome: &Outcome) -> Vec<Vec<String>> {
    outcome.columns(&["id", "_source_file", "_source_row"])
}

#[test]
fn members_are_files() {
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let bzip2 = |bytes: &[u8]| {
        let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let plain = tar(&MEMBERS);
    for (name, content) in [
        ("a.zip", zip(&MEMBERS)),
        ("a.tar", plain.clone()),
        ("a.tar.gz", gzip(&plain)),
        ("a.tgz", gzip(&plain)),
        ("a.tar.zst", zstd::encode_all(plain.as_slice(), 1).unwrap()),
        ("a.tbz2", bzip2(&plain)),
    ] {
        let project = Project::with(&[(name, &content)]);
        let settings = json!({"location": name, "members": "**/*.csv"});
        let outcome = project.read(settings.clone());
        assert_eq!(
            files(&outcome),
            [
                ["3", &format!("{name}/../2.csv"), "2"],
                ["1", &format!("{name}/data/1.csv"), "2"],
                ["2", &format!("{name}/data/1.csv"), "3"],
            ],
            "{name}"
        );
        let (file, line, reason, raw) = &outcome.rejected[0];
        assert_eq!((file.as_str(), *line), (format!("{name}/../2.csv").as_str(), 3));
        assert!(reason.contains("1 field") && raw == "bad", "{reason} {raw}");
        let again = project.try_read(settings, Options::after(&outcome)).unwrap();
        assert_eq!((again.row_count(), again.rejected.len()), (0, 0));
    }
}

#[test]
fn an_archive_that_grows_gives_its_new_members() {
    for (name, make) in [("a.zip", zip as fn(&[(&str, &[u8])]) -> Vec<u8>), ("a.tar", tar)] {
        let one: (&str, &[u8]) = ("1.csv", b"id\n1\n");
        let project = Project::with(&[(name, &make(&[one]))]);
        let first = project.read(json!(name));
        assert_eq!(files(&first), [["1", &format!("{name}/1.csv"), "2"]]);
        project.write(name, make(&[one, ("2.csv", b"id\n2\n")]));
        let more = project.try_read(json!(name), Options::after(&first)).unwrap();
        assert_eq!(files(&more), [["2", &format!("{name}/2.csv"), "2"]]);
        // Another content under a known name.
        project.write(name, make(&[("1.csv", b"id\n7\n"), ("2.csv", b"id\n2\n")]));
        let error = project.try_read(json!(name), Options::after(&more)).unwrap_err().report();
        assert!(error.contains(&format!("`{name}/1.csv` has been loaded")), "{error}");
        let reload = json!({"location": name, "on_change": "reload"});
        let changed = project.try_read(reload, Options::after(&more)).unwrap();
        assert_eq!(files(&changed), [["7", &format!("{name}/1.csv"), "2"]]);
        let replaced = vec![format!("{name}/1.csv")];
        assert_eq!(changed.replaces, Some(("_source_file".to_owned(), replaced)));
    }
}

#[test]
fn what_an_archive_holds_may_be_any_format() {
    let inner = zip(&[("rows.ndjson", b"{\"id\": 1}\n"), ("more.ndjson.gz", b"")]);
    let book = crate::reading::data("book.xlsx");
    let project = Project::with(&[
        ("a.zip", &inner),
        ("b.zip", &zip(&[("book.xlsx", &book), ("x.avro", b"")])),
        ("c.zip", &zip(&[("deep/n.avro", &crate::reading::data("numbers.avro"))])),
    ]);
    assert_eq!(files(&project.read(json!("a.zip"))), [["1", "a.zip/rows.ndjson", "1"]]);
    let sheet = json!({"location": "b.zip", "members": "*.xlsx", "sheet": "2024-01"});
    assert_eq!(project.read(sheet).columns(&["total"]), [["10"], ["11"]]);
    assert_eq!(project.read(json!("c.zip")).table(), [["1"], ["-2"], ["3"]]);
}

#[test]
fn what_an_archive_says_of_itself_is_not_believed() {
    let project = Project::new();
    let rows = "id\n".to_owned() + &"1\n".repeat(100_000);
    let good = zip(&[("1.csv", rows.as_bytes())]);
    project.write("bomb.zip", &good);
    project.write("bomb.tar.gz", {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        out.write_all(&tar(&[("1.csv", &vec![b'0'; 8 << 20])])).unwrap();
        out.finish().unwrap()
    });
    for name in ["bomb.zip", "bomb.tar.gz"] {
        let settings = json!({"location": name, "max_unpacked_bytes": "100KiB"});
        let error = project.try_read(settings, Options::default()).unwrap_err().report();
        assert!(error.contains("`max_unpacked_bytes`") && error.contains(name), "{error}");
    }
    // A directory that says less than there is, and a wrong checksum.
    let directory = good.windows(4).rposition(|at| at == b"PK\x01\x02").unwrap();
    for (at, says) in [(24, "longer than"), (16, "checksum")] {
        let mut lying = good.clone();
        lying[directory + at] ^= 0x40;
        project.write("lying.zip", &lying);
        let error = project.try_read(json!("lying.zip"), Options::default()).unwrap_err().report();
        assert!(error.contains(says) && error.contains("lying.zip/1.csv"), "{error}");
    }
    project.write("cut.zip", &good[..good.len() / 2]);
    project.write("cut.tar", &tar(&[("1.csv", rows.as_bytes())])[..50_000]);
    for name in ["cut.zip", "cut.tar"] {
        let error = project.try_read(json!(name), Options::default()).unwrap_err().report();
        assert!(error.contains("archive cannot be read") && error.contains(name), "{error}");
    }
}

#[test]
fn settings_are_looked_at() {
    let project = Project::with(&[("a.csv", b"id\n1\n"), ("a.zip", &zip(&MEMBERS))]);
    let error = |settings| project.try_read(settings, Options::default()).unwrap_err().report();
    let none = error(json!({"location": "a.csv", "members": "*.csv"}));
    assert!(none.contains("`members` is for archives"), "{none}");
    let unknown = error(json!("a.zip"));
    assert!(unknown.contains("a.zip/readme.md") && unknown.contains("`members`"), "{unknown}");
}

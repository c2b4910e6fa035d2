//! Avro files, written by another library (`tests/data/make.py`).

use serde_json::json;

use crate::reading::{Options, Outcome, Project, data};

fn orders(codec: &str) -> Outcome {
    let name = format!("orders-{codec}.avro");
    Project::with(&[("a.avro", &data(&name))]).read(json!("a.avro"))
}

#[test]
fn types_are_those_of_the_schema() {
    let outcome = orders("null");
    assert_eq!(
        outcome.types(),
        [
            "order_id Int64",
            "small Int32",
            "ok Boolean",
            "f Float32",
            "d Float64",
            "s Utf8",
            "b Binary",
            "fix Binary",
            "kind Utf8",
            "amount Decimal128(12, 2)",
            "day Date32",
            "t_ms Utf8",
            "at_ms Timestamp(µs, \"UTC\")",
            "at_us Timestamp(µs, \"UTC\")",
            "local_us Timestamp(µs)",
            "uid Utf8",
            "address Struct(\"city\": Utf8, \"zip\": Int32)",
            "tags List(Utf8)",
            "counts Map(\"entries\": non-null Struct(\"key\": non-null Utf8, \"value\": Int64), unsorted)",
            "number Float64",
            "mixed Utf8",
        ]
    );
    assert_eq!(
        outcome.table()[1],
        [
            "1",
            "∅",
            "false",
            "1.5",
            "0.25",
            "∅",
            "01ff",
            "61626331",
            "PAID",
            "-0.99",
            "2024-02-29",
            "01:02:03.001",
            "2024-01-01T12:00:01.005Z",
            "1969-12-31T23:59:59.000001Z",
            "2024-01-01T12:00:01.000007",
            "00000000-0000-0000-0000-000000000001",
            "{city: Köln, zip: ∅}",
            "[a]",
            "{x: 1}",
            "1.0",
            "text",
        ]
    );
    let mixed = outcome.columns(&["number", "mixed", "_source_row"]);
    assert_eq!(
        mixed,
        [
            ["∅", "∅", "1"],
            ["1.0", "text", "2"],
            ["0.25", "2", "3"],
            ["∅", r#"{"city":"Bonn","zip":1}"#, "4"]
        ]
    );
}

#[test]
fn every_codec_gives_the_same_rows() {
    let plain = orders("null").table();
    for codec in ["deflate", "snappy", "zstandard", "bzip2", "xz"] {
        assert_eq!(orders(codec).table(), plain, "{codec}");
    }
}

#[test]
fn a_schema_that_is_no_record_is_one_column() {
    let project = Project::with(&[("n.avro", &data("numbers.avro"))]);
    let outcome = project.read(json!("n.avro"));
    assert_eq!(outcome.types(), ["value Int64"]);
    assert_eq!(outcome.table(), [["1"], ["-2"], ["3"]]);
}

#[test]
fn what_is_damaged_is_no_table() {
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let whole = data(&format!("orders-{codec}.avro"));
        let project = Project::new();
        // Cut off, and a byte changed in a block.
        for (cut, flip) in [(whole.len() - 10, None), (whole.len(), Some(whole.len() - 40))] {
            let mut content = whole[..cut].to_vec();
            if let Some(at) = flip {
                content[at] ^= 0xFF;
            }
            project.write("a.avro", &content);
            match project.try_read(json!("a.avro"), Options::default()) {
                Err(error) => assert!(error.report().contains("a.avro"), "{}", error.report()),
                // Without compression there is no checksum: another value, but all of them.
                Ok(outcome) => assert_eq!((codec, outcome.row_count()), ("null", 4)),
            }
        }
    }
    let project = Project::with(&[("a.avro", b"Obj\x02"), ("b.csv", b"id\n1\n")]);
    let error = project.try_read(json!("a.avro"), Options::default()).unwrap_err().report();
    assert!(error.contains("not an Avro file") && error.contains("a.avro"), "{error}");
    project.write("a.avro", data("numbers.avro"));
    let both = json!({"location": ["a.avro", "b.csv"]});
    let error = project.try_read(both, Options::default()).unwrap_err().report();
    assert!(error.contains("bring their types"), "{error}");
}

#[test]
fn a_later_file_may_widen_and_adds_alone() {
    let project = Project::with(&[("1.avro", &data("numbers.avro"))]);
    let first = project.read(json!("*.avro"));
    project.write("2.avro", data("orders-snappy.avro"));
    let more = project.try_read(json!("*.avro"), Options::after(&first)).unwrap();
    assert_eq!(more.row_count(), 4);
    assert_eq!(more.columns(&["value", "order_id", "_source_file"])[3], ["∅", "3", "2.avro"]);
    assert_eq!(more.codes(), ["missing-column"]);
}

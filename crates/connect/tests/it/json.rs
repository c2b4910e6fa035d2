//! NDJSON and JSON documents.

use arrow::datatypes::{DataType, Field};
use serde_json::json;

use crate::reading::{Options, Outcome, Project};

fn ndjson(text: &str) -> Outcome {
    Project::with(&[("a.ndjson", text.as_bytes())]).read(json!("a.ndjson"))
}

fn document(text: &str, records: Option<&str>) -> Outcome {
    let mut settings = json!({"location": "a.json"});
    if let Some(records) = records {
        settings["records"] = json!(records);
    }
    Project::with(&[("a.json", text.as_bytes())]).read(settings)
}

#[test]
fn objects_become_rows() {
    let outcome = ndjson(
        "{\"id\":1,\"name\":\"a \\\"b\\\" \\u00fc\\n\",\"ok\":true,\"at\":\"2024-03-01T07:43:59.854Z\",\"day\":\"2024-03-01\"}\n\
         \n\
         {\"name\":null,\"x\":1.5,\"id\":2}\r\n\
         {}",
    );
    assert_eq!(
        outcome.types(),
        [
            "id Int64",
            "name Utf8",
            "ok Boolean",
            "at Timestamp(µs, \"UTC\")",
            "day Date32",
            "x Float64"
        ]
    );
    assert_eq!(
        outcome.table(),
        [
            ["1", "a \"b\" ü\n", "true", "2024-03-01T07:43:59.854Z", "2024-03-01", "∅"],
            ["2", "∅", "∅", "∅", "∅", "1.5"],
            ["∅", "∅", "∅", "∅", "∅", "∅"]
        ]
    );
    assert_eq!(outcome.columns(&["_source_row"]), [["1"], ["3"], ["4"]]);
}

#[test]
fn nested_values() {
    let outcome = ndjson(
        "{\"user\":{\"id\":1,\"geo\":{\"lat\":1.5}},\"tags\":[\"a\",null],\"items\":[{\"sku\":\"x\",\"qty\":1}]}\n\
         {\"user\":{\"geo\":null,\"firstName\":\"b\"},\"tags\":[],\"items\":null}\n\
         {\"items\":[{\"qty\":2.5},{}]}\n",
    );
    assert_eq!(
        outcome.types(),
        [
            "user Struct(\"id\": Int64, \"geo\": Struct(\"lat\": Float64), \"first_name\": Utf8, metadata: {\"original_name\": \"firstName\"})",
            "tags List(Utf8)",
            "items List(Struct(\"sku\": Utf8, \"qty\": Float64))",
        ]
        .map(str::to_owned)
        .to_vec(),
    );
    let table = outcome.table();
    assert_eq!(table[0][0], "{id: 1, geo: {lat: 1.5}, first_name: ∅}");
    assert_eq!(table[1][0], "{id: ∅, geo: ∅, first_name: b}");
    assert_eq!(table[2][0], "∅");
    assert_eq!(table[0][1], "[a, ∅]");
    assert_eq!(table[1][1], "[]");
    assert_eq!(table[2][2], "[{sku: ∅, qty: 2.5}, {sku: ∅, qty: ∅}]");
}

#[test]
fn mixed_values_keep_their_text() {
    let outcome = ndjson(
        "{\"a\":1.10,\"b\":12345678901234567890,\"c\":{\"k\": [1, 2]},\"d\":true}\n\
         {\"a\":\"x\",\"b\":1,\"c\":\"plain\",\"d\":1}\n",
    );
    assert_eq!(outcome.types(), ["a Utf8", "b Utf8", "c Utf8", "d Utf8"]);
    assert_eq!(
        outcome.table(),
        [["1.10", "12345678901234567890", "{\"k\": [1, 2]}", "true"], ["x", "1", "plain", "1"]]
    );
}

#[test]
fn rejected_records() {
    let deep = "[".repeat(5000);
    let text = format!(
        "{{\"a\":1}}\n{{\"a\":}}\n[1]\n{{\"a\":1}} x\n{{\"a\":1\n{{\"a\":{deep}}}\n{{\"userId\":1,\"user_id\":2}}\n{{\"a\":3,\"a\":4}}\n"
    );
    let outcome = ndjson(&text);
    let lines: Vec<i64> = outcome.rejected.iter().map(|(_, line, ..)| *line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7]);
    assert_eq!(outcome.columns(&["a"]), [["1"], ["4"]]);
    assert_eq!(outcome.rejected[0].2, "not a JSON value");
    assert_eq!(outcome.rejected[1].2, "not a JSON object");
    assert!(outcome.rejected[4].2.contains("deeper"));
    assert!(outcome.rejected[5].2.contains("`userId` and `user_id`"));
}

#[test]
fn declared_types() {
    let project = Project::with(&[(
        "a.ndjson",
        b"{\"id\":\"007\",\"amount\":12.30}\n{\"id\":8,\"amount\":\"1.5\"}\n{\"id\":[1],\"amount\":1}\n{\"id\":1,\"amount\":1.234}\n",
    )]);
    let declared = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("amount", DataType::Decimal128(9, 2), true),
    ];
    let options = Options { declared, ..Options::default() };
    let outcome = project.try_read(json!("a.ndjson"), options).unwrap();
    assert_eq!(outcome.table(), [["7", "12.30"], ["8", "1.50"]]);
    assert_eq!(outcome.rejected.len(), 2);
    assert_eq!(outcome.rejected[1].2, "column `amount`: `1.234` is not a decimal(9,2)");
}

#[test]
fn a_late_surprise_widens_everything() {
    let mut text = String::new();
    for id in 0..300 {
        text.push_str(&format!("{{\"id\":{id},\"user\":{{\"n\":1}},\"tags\":[1]}}\n"));
    }
    text.push_str(
        "{\"id\":1.5,\"user\":{\"n\":1,\"email\":\"x\"},\"tags\":[\"a\"],\"later\":null}\n",
    );
    let project = Project::with(&[("a.ndjson", text.as_bytes())]);
    let outcome = project.read(json!({"location": "a.ndjson", "sample_bytes": 80}));
    assert_eq!(outcome.restarts, 1);
    assert_eq!(
        outcome.types(),
        [
            "id Float64",
            "user Struct(\"n\": Int64, \"email\": Utf8)",
            "tags List(Utf8)",
            "later Utf8"
        ]
    );
    assert_eq!(outcome.row_count(), 301);
    assert_eq!(outcome.table()[0], ["0.0", "{n: 1, email: ∅}", "[1]", "∅"]);
}

#[test]
fn documents() {
    let rows = vec![vec!["1".to_owned(), "x".to_owned()], vec!["2".to_owned(), "∅".to_owned()]];
    let pretty = "[\n  {\n    \"a\": 1,\n    \"b\": \"x\"\n  },\n  { \"a\": 2 }\n]\n";
    assert_eq!(document(pretty, None).table(), rows);
    assert_eq!(document(pretty, None).columns(&["_source_row"]), [["1"], ["2"]]);
    let within =
        format!("{{\"meta\": {{\"n\": [1, \"]\"]}}, \"data\": {{\"rows\": {pretty}}}, \"z\": 1}}");
    assert_eq!(document(&within, Some("data.rows")).table(), rows);
    assert_eq!(document("{\"a\": 1, \"b\": \"x\"}", None).table(), rows[..1]);
    assert_eq!(document("{\"a\":1,\"b\":\"x\"} {\"a\":2}", None).table(), rows);
    assert_eq!(document("[]", None).row_count(), 0);
    let outcome = document("[{\"a\": 1, \"b\": \"x\"}, 5, {\"a\": 2}]", None);
    assert_eq!(outcome.table(), rows);
    assert_eq!((outcome.rejected[0].1, outcome.rejected[0].3.as_str()), (2, "5"));
    let outcome = document("[{\"a\": 1, \"b\": \"x\"}, {\"a\": ", None);
    assert_eq!(outcome.table(), rows[..1]);
    assert_eq!(outcome.rejected[0].2, "the document ends within a record");
}

#[test]
fn broken_documents() {
    for (text, records, part) in [
        ("5", None, "neither an object nor an array"),
        ("{\"a\": 1}", Some("data"), "`data`"),
        ("[{\"a\": 1} {\"a\": 2}]", None, "missing between records"),
        ("[{\"a\": 1}", None, "ends within its list"),
    ] {
        let mut settings = json!({"location": "a.json"});
        if let Some(records) = records {
            settings["records"] = json!(records);
        }
        let project = Project::with(&[("a.json", text.as_bytes())]);
        let error = project.try_read(settings, Options::default()).unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert!(error.to_string().contains("a.json"), "{text}: {error}");
    }
}

#[test]
fn objects_without_keys_make_no_table() {
    let project = Project::with(&[("1.json", b"[{}, {}]"), ("2.ndjson", b"{}\n")]);
    let outcome = project.read(json!({"location": ["1.json", "2.ndjson"]}));
    assert!(outcome.schema.is_none() && outcome.rows.is_none());
    assert_eq!(outcome.codes(), ["empty-file", "empty-file"]);
    project.write("3.ndjson", "{\"a\": 1}\n{}\n");
    let outcome = project.read(json!({"location": ["1.json", "2.ndjson", "3.ndjson"]}));
    assert_eq!(outcome.table(), [["∅"], ["∅"], ["∅"], ["1"], ["∅"]]);
}

//! Lines whose columns have places.

use arrow::datatypes::{DataType, Field};
use serde_json::{Value, json};

use crate::reading::{Options, Project};

const FILE: &str = "H 2024-01-31 report\n\
0001Müller    2024-01-31   12.50\n\
0002           2024-02-01   -3.00 and more\n\
\n\
0003Ng        2024-02-0x    1.00\n\
0004\n";

fn settings() -> Value {
    json!({
        "location": "a.txt",
        "format": "fixed",
        "skip_rows": 1,
        "fields": [
            {"name": "id", "start": 1, "length": 4, "type": "int"},
            {"name": "code", "start": 1, "length": 4},
            {"name": "Name", "start": 5, "length": 10},
            {"name": "day", "start": 15, "length": 10},
            {"name": "amount", "start": 26, "length": 7, "type": "decimal(9,2)"},
        ],
    })
}

#[test]
fn columns_are_where_they_are_declared() {
    let file = FILE.replace("0002           ", "0002          ");
    let project = Project::with(&[("a.txt", file.as_bytes())]);
    let outcome = project.read(settings());
    assert_eq!(
        outcome.types(),
        ["id Int32", "code Utf8", "Name Utf8", "day Utf8", "amount Decimal128(9, 2)"]
    );
    assert_eq!(
        outcome.table(),
        [
            ["1", "0001", "Müller", "2024-01-31", "12.50"],
            ["2", "0002", "∅", "2024-02-01", "-3.00"],
            ["3", "0003", "Ng", "2024-02-0x", "1.00"],
        ]
    );
    assert_eq!(outcome.columns(&["_source_row"]), [["2"], ["3"], ["5"]]);
    let (_, line, reason, raw) = &outcome.rejected[0];
    assert_eq!((*line, raw.as_str()), (6, "0004"));
    assert!(reason.contains("the last column begins with character 26"), "{reason}");
    // By what the project declares, and with short lines.
    let mut settings = settings();
    settings["short_rows"] = "null".into();
    let declared = vec![Field::new("day", DataType::Date32, true)];
    let options = Options { declared, ..Options::default() };
    let outcome = project.try_read(settings, options).unwrap();
    assert_eq!(
        outcome.columns(&["id", "day"]),
        [["1", "2024-01-31"], ["2", "2024-02-01"], ["4", "∅"]]
    );
    let (_, line, reason, raw) = &outcome.rejected[0];
    assert_eq!(*line, 5);
    assert_eq!(reason, "column `day`: `2024-02-0x` is not a date");
    assert!(raw.starts_with("0003Ng"), "{raw}");
}

#[test]
fn a_later_value_widens_the_column() {
    let mut file = "1\n".repeat(20_000);
    file.push_str("x\n");
    let project = Project::with(&[("a.txt", file.as_bytes())]);
    let settings = json!({
        "location": "a.txt", "format": "fixed", "sample_bytes": "1KiB",
        "fields": [{"name": "n", "start": 1, "length": 3}],
    });
    let outcome = project.read(settings);
    assert_eq!((outcome.types(), outcome.restarts), (vec!["n Utf8".to_owned()], 1));
    assert_eq!(outcome.row_count(), 20_001);
}

#[test]
fn other_encodings_are_read() {
    let (bytes, _, _) = encoding_rs::WINDOWS_1252.encode("äöü1\nabc2\n");
    let project = Project::with(&[("a.txt", &bytes)]);
    let mut settings = json!({
        "location": "a.txt", "format": "fixed",
        "fields": [{"name": "a", "start": 1, "length": 3}, {"name": "n", "start": 4, "length": 1}],
    });
    assert_eq!(project.read(settings.clone()).rejected.len(), 1);
    settings["encoding"] = "windows-1252".into();
    assert_eq!(project.read(settings).table(), [["äöü", "1"], ["abc", "2"]]);
}

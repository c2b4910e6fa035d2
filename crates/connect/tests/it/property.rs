//! Properties: a table that is written and read comes back, and types do not depend on how the
//! values are spread over samples, blocks and files.

use proptest::prelude::*;
use serde_json::json;

use crate::reading::{Options, Project};

/// A field and whether it is written in quotes.
type Cell = (String, bool);

fn needs_quotes(text: &str) -> bool {
    text.contains([',', '"', '\n', '\r'])
        || matches!(text, "" | "NA" | "N/A" | "NULL" | "null" | "\\N")
}

fn to_csv(columns: usize, rows: &[Vec<Cell>], line_end: &str) -> String {
    let mut text = (0..columns).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    text.push_str(line_end);
    for row in rows {
        let fields: Vec<String> = row
            .iter()
            .map(|(value, quoted)| match *quoted || needs_quotes(value) {
                true => format!("\"{}\"", value.replace('"', "\"\"")),
                false => value.clone(),
            })
            .collect();
        text.push_str(&fields.join(","));
        text.push_str(line_end);
    }
    text
}

fn tables(cell: &'static str) -> impl Strategy<Value = (usize, Vec<Vec<Cell>>)> {
    (1usize..5).prop_flat_map(move |columns| {
        let row = proptest::collection::vec((cell, any::<bool>()), columns);
        (Just(columns), proptest::collection::vec(row, 1..30))
    })
}

fn read(files: &[String], sample: usize, parallelism: usize) -> crate::reading::Outcome {
    let project = Project::new();
    for (index, file) in files.iter().enumerate() {
        project.write(&format!("{index:03}.csv"), file);
    }
    let settings = json!({"location": "*.csv", "sample_bytes": sample});
    project.try_read(settings, Options { parallelism, ..Options::default() }).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn text_comes_back(
        (columns, rows) in tables("z[a-zäö,\"\n\r .;]{0,12}"),
        crlf: bool,
        sample in 1usize..400,
    ) {
        let text = to_csv(columns, &rows, if crlf { "\r\n" } else { "\n" });
        let outcome = read(&[text], sample, 1);
        let expected: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|(value, _)| value.clone()).collect()).collect();
        prop_assert_eq!(&outcome.rejected, &Vec::new());
        prop_assert_eq!(outcome.table(), expected);
    }

    #[test]
    fn types_do_not_depend_on_the_order_or_the_files(
        (columns, rows) in tables(
            "1|2|-7|0|007|9007199254740993|1\\.5|2e3|x|true|false|2013-01-01|2013-01-01 05:00|2013-01-01T05:00:00Z||NA|99999999999999999999|-0|NaN| 5"
        ),
        sample in 1usize..200,
        cut in 0usize..30,
    ) {
        let whole = read(&[to_csv(columns, &rows, "\n")], 1 << 20, 1);
        let sampled = read(&[to_csv(columns, &rows, "\n")], sample, 1);
        prop_assert_eq!(whole.types(), sampled.types());
        prop_assert_eq!(whole.table(), sampled.table());
        let (left, right) = rows.split_at(cut.min(rows.len()));
        let split = read(&[to_csv(columns, left, "\n"), to_csv(columns, right, "\n")], sample, 1);
        prop_assert_eq!(whole.types(), split.types());
        prop_assert_eq!(whole.table(), split.table());
        let backwards: Vec<Vec<Cell>> = rows.iter().rev().cloned().collect();
        let backwards = read(&[to_csv(columns, &backwards, "\n")], sample, 1);
        prop_assert_eq!(whole.types(), backwards.types());
        let mut table = backwards.table();
        table.reverse();
        prop_assert_eq!(whole.table(), table);
        prop_assert!(sampled.restarts <= 1 && split.restarts <= 1 && backwards.restarts <= 1);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(
            prop_oneof![
                4 => proptest::sample::select(b",\"\n\r;x1".to_vec()),
                1 => any::<u8>(),
            ],
            0..300,
        ),
        format in proptest::sample::select(vec!["csv", "ndjson", "json", "tsv", "parquet"]),
        sample in 1usize..100,
    ) {
        let project = Project::new();
        project.write("a", &bytes);
        let settings = json!({"location": "a", "format": format, "sample_bytes": sample});
        // Errors are fine, of kind Internal they are not.
        if let Err(error) = project.try_read(settings, Options::default()) {
            prop_assert!(error.kind() != tidemill_core::ErrorKind::Internal, "{:?}", error);
        }
    }

    #[test]
    fn any_json_like_text_is_read_without_a_panic(
        text in "([{}\\[\\]\",:0-9a-e\\\\\n ]|null|true|\"k\":|\\{\"a\":1\\}){0,60}",
        document: bool,
    ) {
        let project = Project::new();
        project.write("a", &text);
        let format = if document { "json" } else { "ndjson" };
        let settings = json!({"location": "a", "format": format, "sample_bytes": 20});
        if let Err(error) = project.try_read(settings, Options::default()) {
            prop_assert!(error.kind() != tidemill_core::ErrorKind::Internal, "{:?}", error);
        }
    }
}

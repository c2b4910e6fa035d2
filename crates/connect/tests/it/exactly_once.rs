//! Which files a read delivers, and what the position says.

use std::io::Write;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::json;
use tidemill_core::{Change, ErrorKind, ReadScope};

use crate::reading::{Options, Outcome, Project};

fn ids(outcome: &Outcome) -> Vec<String> {
    outcome.columns(&["id"]).into_iter().map(|mut row| row.remove(0)).collect()
}

#[test]
fn each_file_once() {
    let project = Project::with(&[("d/1.csv", b"id\n1\n"), ("d/2.csv", b"id\n2\n")]);
    let first = project.read(json!("d/*.csv"));
    assert_eq!(ids(&first), ["1", "2"]);
    let again = project.try_read(json!("d/*.csv"), Options::after(&first)).unwrap();
    assert!(again.schema.is_none() && again.position.is_none() && again.notices.is_empty());
    project.write("d/3.csv", "id\n3\n");
    let third = project.try_read(json!("d/*.csv"), Options::after(&first)).unwrap();
    assert_eq!(ids(&third), ["3"]);
    let last = project.try_read(json!("d/*.csv"), Options::after(&third)).unwrap();
    assert!(last.schema.is_none());
}

#[test]
fn a_touched_file_is_not_read_again() {
    let project = Project::with(&[("1.csv", b"id\n1\n")]);
    let first = project.read(json!("1.csv"));
    project.touch("1.csv", 1_000_000_000);
    let second = project.try_read(json!("1.csv"), Options::after(&first)).unwrap();
    assert!(second.schema.is_none());
    let position = second.position.clone().unwrap();
    assert_ne!(Some(&position), first.position.as_ref());
    let mut options = Options::after(&first);
    options.position = Some(position);
    let third = project.try_read(json!("1.csv"), options).unwrap();
    assert!(third.schema.is_none() && third.position.is_none());
}

#[test]
fn a_changed_file() {
    let project = Project::with(&[("1.csv", b"id\n1\n"), ("2.csv", b"id\n2\n")]);
    let first = project.read(json!("*.csv"));
    project.write("1.csv", "id\n1\n11\n");
    let error = project.try_read(json!("*.csv"), Options::after(&first)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("`1.csv`") && error.message().contains("on_change"));
    let settings = json!({"location": "*.csv", "on_change": "reload"});
    let second = project.try_read(settings, Options::after(&first)).unwrap();
    assert_eq!(ids(&second), ["1", "11"]);
    assert_eq!(second.replaces, Some(("_source_file".into(), vec!["1.csv".into()])));
    assert_eq!(second.codes(), ["changed-file"]);
    // A merge reads it again by itself.
    let options = Options { scope: ReadScope::Changed, ..Options::after(&first) };
    assert_eq!(ids(&project.try_read(json!("*.csv"), options).unwrap()), ["1", "11"]);
}

#[test]
fn same_size_other_content() {
    let project = Project::with(&[("1.csv", b"id\n1\n")]);
    let first = project.read(json!("1.csv"));
    project.write("1.csv", "id\n2\n");
    project.touch("1.csv", 1_000_000_000);
    assert!(project.try_read(json!("1.csv"), Options::after(&first)).is_err());
}

#[test]
fn a_vanished_file_stays_loaded() {
    let project = Project::with(&[("1.csv", b"id\n1\n"), ("2.csv", b"id\n2\n")]);
    let first = project.read(json!("*.csv"));
    std::fs::remove_file(project.path().join("1.csv")).unwrap();
    let second = project.try_read(json!("*.csv"), Options::after(&first)).unwrap();
    assert_eq!(second.codes(), ["vanished-file"]);
    assert!(second.schema.is_none());
    project.write("3.csv", "id\n3\n");
    let third = project.try_read(json!("*.csv"), Options::after(&first)).unwrap();
    assert_eq!(ids(&third), ["3"]);
    // When it comes back it is still known.
    project.write("1.csv", "id\n1\n");
    let fourth = project.try_read(json!("*.csv"), Options::after(&third)).unwrap();
    assert!(fourth.schema.is_none());
}

#[test]
fn the_whole_set() {
    let whole = |outcome: &Outcome| Options {
        scope: ReadScope::Whole,
        known: None,
        ..Options::after(outcome)
    };
    let project = Project::with(&[("1.csv", b"id\n1\n"), ("2.csv", b"id\nx\n")]);
    let first = project.try_read(json!("*.csv"), whole(&Outcome::default())).unwrap();
    assert_eq!(first.types(), ["id Utf8"]);
    assert!(project.try_read(json!("*.csv"), whole(&first)).unwrap().schema.is_none());
    std::fs::remove_file(project.path().join("2.csv")).unwrap();
    let second = project.try_read(json!("*.csv"), whole(&first)).unwrap();
    assert_eq!(second.types(), ["id Int64"], "types are those of the set that is there");
    assert_eq!(ids(&second), ["1"]);
    std::fs::remove_file(project.path().join("1.csv")).unwrap();
    let error = project.try_read(json!("*.csv"), whole(&second)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "an empty folder does not empty the table");
}

#[test]
fn copies() {
    let project = Project::with(&[("1.csv", b"id\n1\n"), ("2.csv", b"id\n1\n")]);
    let first = project.read(json!("*.csv"));
    assert_eq!(ids(&first), ["1", "1"]);
    assert_eq!(first.codes(), ["duplicate-content"]);
    project.write("3.csv", "id\n1\n");
    let settings = json!({"location": "*.csv", "deduplicate": "content"});
    let second = project.try_read(settings, Options::after(&first)).unwrap();
    assert!(second.schema.is_none());
    assert_eq!(second.codes(), ["duplicate-content"]);
}

#[test]
fn young_files_wait() {
    let project = Project::with(&[("1.csv", b"id\n1\n"), ("2.csv", b"id\n2\n")]);
    project.touch("1.csv", 1_000_000_000);
    let settings = json!({"location": "*.csv", "settle": "1h"});
    let outcome = project.read(settings);
    assert_eq!(ids(&outcome), ["1"]);
    assert_eq!(outcome.codes(), ["waiting-file"]);
}

/// Rows that make several blocks, so that whoever takes changes knows how far the reader can be: it
/// is at most two changes ahead.
fn large(first: usize, value: &str) -> String {
    let mut text = String::from("id,v\n");
    for id in first..first + 500_000 {
        text.push_str(&format!("{id},{value}xxxxxxxxxx\n"));
    }
    text
}

#[test]
fn a_file_that_grows_before_it_is_read_waits() {
    let text = large(0, "a");
    let project = Project::with(&[("1.csv", text.as_bytes()), ("2.csv", b"id,v\nx,b\n")]);
    let path = project.path().join("2.csv");
    let mut grown = 0;
    let outcome = project
        .read_and(json!("*.csv"), Options::default(), |change| {
            // The reader is still in the first file, and has seen a sample of the second.
            if matches!(change, Change::Schema(_)) {
                grown += 1;
                std::fs::write(&path, "id,v\nx,b\ny,b\n").unwrap();
            }
        })
        .unwrap();
    assert_eq!((grown, outcome.restarts), (1, 1));
    assert_eq!(outcome.row_count(), 500_000);
    assert_eq!(outcome.types(), ["id Int64", "v Utf8"], "what was seen in it does not count");
    assert_eq!(outcome.codes(), ["waiting-file"]);
    let next = project.try_read(json!("*.csv"), Options::after(&outcome)).unwrap();
    assert_eq!(next.row_count(), 500_002, "the first file comes again, as `id` becomes text");
}

#[test]
fn a_file_that_grows_while_it_is_read_waits() {
    let (one, two) = (large(0, "a"), large(1_000_000, "b"));
    let project = Project::with(&[("1.csv", one.as_bytes()), ("2.csv", two.as_bytes())]);
    let path = project.path().join("2.csv");
    let mut grown = 0;
    let outcome = project
        .read_and(json!("*.csv"), Options::default(), |change| {
            let Change::Rows(batch) = change else { return };
            let ids = batch.column(0).as_primitive::<Int64Type>();
            // A block of the second file is here, and there are more to come.
            if grown == 0 && ids.value(0) >= 1_000_000 {
                grown += 1;
                let mut file = std::fs::File::options().append(true).open(&path).unwrap();
                file.write_all(b"7,c\n").unwrap();
            }
        })
        .unwrap();
    assert_eq!((grown, outcome.restarts), (1, 1));
    assert_eq!(outcome.row_count(), 500_000, "nothing of it is delivered");
    assert_eq!(outcome.codes(), ["waiting-file"]);
    let next = project.try_read(json!("*.csv"), Options::after(&outcome)).unwrap();
    assert_eq!(next.row_count(), 500_001);
}

#[test]
fn later_loads_widen_as_one() {
    let project = Project::with(&[("1.csv", b"id,n\n1,\n")]);
    let first = project.read(json!("*.csv"));
    assert_eq!(first.types(), ["id Int64", "n Utf8"]);
    project.write("2.csv", "id,n\n1.5,x\n");
    let second = project.try_read(json!("*.csv"), Options::after(&first)).unwrap();
    assert_eq!(second.types(), ["id Float64", "n Utf8"]);
    project.write("3.csv", "id\n9007199254740993\n");
    let third = project.try_read(json!("*.csv"), Options::after(&second)).unwrap();
    assert_eq!(third.types(), ["id Utf8", "n Utf8"]);
    assert_eq!(third.codes(), ["missing-column", "read-again"]);
    assert_eq!(ids(&third), ["1", "1.5", "9007199254740993"], "as they stand in the files");
    let replaced = vec!["1.csv".to_owned(), "2.csv".to_owned()];
    assert_eq!(third.replaces, Some(("_source_file".to_owned(), replaced)));
    let last = project.try_read(json!("*.csv"), Options::after(&third)).unwrap();
    assert!(last.schema.is_none() && last.position.is_none());
}

#[test]
fn a_column_without_values_takes_the_type_of_the_first() {
    let project = Project::with(&[("1.csv", b"id,n\n1,\n")]);
    let first = project.read(json!("*.csv"));
    assert_eq!(first.types(), ["id Int64", "n Utf8"]);
    project.write("2.csv", "id,n\n2,7\n");
    let second = project.try_read(json!("*.csv"), Options::after(&first)).unwrap();
    assert_eq!(second.types(), ["id Int64", "n Int64"]);
    // Quoted NULL tokens are text once they are published as such.
    let project = Project::with(&[("1.csv", b"id,n\n1,\"NA\"\n")]);
    let first = project.read(json!("*.csv"));
    assert_eq!(first.table(), [["1", "NA"]]);
    project.write("2.csv", "id,n\n2,1.50\n");
    let second = project.try_read(json!("*.csv"), Options::after(&first)).unwrap();
    assert_eq!(second.table(), [["2", "1.50"]]);
}

#[test]
fn text_that_is_gone_is_said_to_be_converted() {
    let project = Project::with(&[("1.csv", b"id\n1.50\n"), ("2.csv", b"id\n2.50\n")]);
    let first = project.read(json!("*.csv"));
    assert_eq!(first.types(), ["id Float64"]);
    std::fs::remove_file(project.path().join("1.csv")).unwrap();
    project.write("3.csv", "id\nx\n");
    let second = project.try_read(json!("*.csv"), Options::after(&first)).unwrap();
    assert_eq!(ids(&second), ["2.50", "x"]);
    assert_eq!(second.codes(), ["vanished-file", "read-again", "converted-column"]);
    let message = &second.notices[2].message;
    assert!(message.contains("`id`") && message.contains("`1.csv`"), "{message}");
    assert!(!message.contains("`2.csv`"), "{message}");
    // A merge does not read files again: which row of a key came last would not be known.
    let merge = Options { scope: ReadScope::Changed, ..Options::after(&first) };
    let second = project.try_read(json!("*.csv"), merge).unwrap();
    assert_eq!(ids(&second), ["x"]);
    assert_eq!(second.codes(), ["vanished-file", "converted-column"]);
    assert!(second.notices[1].message.contains("`1.csv` and `2.csv`"));
    // Nor can rows be replaced that do not say where they came from.
    let settings = json!({"location": "*.csv", "source_file_column": false});
    let project = Project::with(&[("1.csv", b"id\n1.50\n")]);
    let first = project.read(settings.clone());
    project.write("2.csv", "id\nx\n");
    let second = project.try_read(settings, Options::after(&first)).unwrap();
    assert_eq!(ids(&second), ["x"]);
    assert_eq!(second.codes(), ["converted-column"]);
    // Numbers that stay numbers lose nothing.
    let project = Project::with(&[("1.csv", b"id\n1\n")]);
    let first = project.read(json!("*.csv"));
    project.write("2.csv", "id\n1.5\n");
    let second = project.try_read(json!("*.csv"), Options::after(&first)).unwrap();
    assert_eq!(ids(&second), ["1.5"]);
    assert!(second.codes().is_empty());
}

#[test]
fn a_later_value_than_the_sample_reads_files_again_as_well() {
    let project = Project::with(&[("1.csv", b"id\n1.50\n")]);
    let first = project.read(json!("*.csv"));
    let mut text = String::from("id\n");
    for id in 0..1000 {
        text.push_str(&format!("{id}\n"));
    }
    project.write("2.csv", text + "x\n");
    let settings = json!({"location": "*.csv", "sample_bytes": 10});
    let second = project.try_read(settings, Options::after(&first)).unwrap();
    assert_eq!(second.restarts, 1);
    assert_eq!((ids(&second)[0].as_str(), second.row_count()), ("1.50", 1002));
    assert_eq!(second.codes(), ["read-again"]);
}

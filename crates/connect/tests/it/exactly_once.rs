//! Which files a read delivers, and what the position says.

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

#[test]
fn a_file_that_grows_waits() {
    let project = Project::with(&[("1.csv", b"id\n1\n"), ("2.csv", b"id\nx\n")]);
    let path = project.path().join("2.csv");
    let mut grown = false;
    let outcome = project
        .read_and(json!("*.csv"), Options::default(), |change| {
            // When the first rows arrive, the second file was sampled but not delivered in full.
            if matches!(change, Change::Schema(_)) && !grown {
                grown = true;
                std::fs::write(&path, "id\nx\ny\n").unwrap();
            }
        })
        .unwrap();
    if outcome.restarts == 0 {
        // It was read before it grew; then it is a changed file next time.
        assert_eq!(ids(&outcome), ["1", "x"]);
        return;
    }
    assert_eq!(ids(&outcome), ["1"]);
    assert_eq!(outcome.types(), ["id Int64"], "what was seen in it does not count");
    assert_eq!(outcome.codes(), ["waiting-file"]);
    let next = project.try_read(json!("*.csv"), Options::after(&outcome)).unwrap();
    assert_eq!(ids(&next), ["x", "y"]);
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
    assert_eq!(third.codes(), ["missing-column"]);
}

//! Workbooks, made by other libraries (`tests/data/make.py`).

use arrow::datatypes::{DataType, Field};
use serde_json::{Value, json};
use tidemill_core::Result;

use crate::reading::{Options, Outcome, Project, data};

fn read(book: &str, settings: Value) -> Result<Outcome> {
    let mut settings = settings;
    settings["location"] = book.into();
    Project::with(&[(book, &data(book))]).try_read(settings, Options::default())
}

#[test]
fn cells_bring_their_types() {
    let outcome = read("book.xlsx", json!({"skip_rows": 2})).unwrap();
    assert_eq!(
        outcome.types(),
        [
            "order_id Int64",
            "placed Date32",
            "amount Float64",
            "customer Utf8",
            "paid Boolean",
            "at Timestamp(µs)",
            "code Utf8",
            "open_hours Utf8",
        ]
    );
    assert_eq!(
        outcome.table(),
        [
            ["1", "2024-01-31", "10.5", "Müller", "true", "2024-01-31T08:30:00", "7", "09:30:00"],
            ["2", "2024-02-01", "20.0", "∅", "false", "2024-02-01T00:00:00", "007", "00:00:01"],
            ["3", "∅", "-0.25", "said \"no\"\nand left", "∅", "1901-01-01T23:59:59", "∅", "∅"],
        ]
    );
    // Row 6 is empty.
    let rows: Vec<Vec<String>> = outcome.columns(&["_source_row", "_source_file"]);
    assert_eq!(rows, [["4", "book.xlsx"], ["5", "book.xlsx"], ["7", "book.xlsx"]]);
    assert_eq!(outcome.codes(), ["cell-errors"]);
    assert!(outcome.notices[0].message.contains("1 cells with an error"), "{:?}", outcome.notices);
}

#[test]
fn errors_in_cells_are_what_is_declared() {
    let text = read("book.xlsx", json!({"skip_rows": 2, "cell_errors": "text"})).unwrap();
    assert_eq!(text.columns(&["column_12"]), [["∅"], ["∅"], ["#N/A"]]);
    let reject = read("book.xlsx", json!({"skip_rows": 2, "cell_errors": "reject"})).unwrap();
    assert_eq!(reject.row_count(), 2);
    let (file, row, reason, raw) = &reject.rejected[0];
    assert_eq!((file.as_str(), *row), ("book.xlsx", 7));
    assert_eq!(reason, "cell L7 of the sheet is #N/A");
    assert!(raw.contains("-0.25"), "{raw}");
}

#[test]
fn a_range_is_read() {
    let outcome = read("book.xlsx", json!({"range": "D3:E5"})).unwrap();
    assert_eq!(outcome.table(), [["10.5", "Müller"], ["20.0", "∅"]]);
    assert_eq!(outcome.types(), ["amount Float64", "customer Utf8"]);
    let bare = read("book.xlsx", json!({"range": "B4:C5", "header": false})).unwrap();
    assert_eq!(bare.types(), ["column_1 Int64", "column_2 Date32"]);
    let settings = json!({"location": "book.xlsx", "range": "B4:C5", "header": false});
    let declared = ["id", "The Day"].map(|name| Field::new(name, DataType::Utf8, true)).to_vec();
    let project = Project::with(&[("book.xlsx", &data("book.xlsx"))]);
    let named = project.try_read(settings, Options { declared, ..Options::default() }).unwrap();
    assert_eq!(named.types(), ["id Utf8", "The Day Utf8"]);
    assert_eq!(named.table()[0], ["1", "2024-01-31"]);
}

#[test]
fn sheets_are_chosen_by_name_number_or_pattern() {
    let by_name = read("book.xlsx", json!({"sheet": "2024-01"})).unwrap();
    assert_eq!(by_name.types(), ["region Utf8", "total Int64"]);
    assert_eq!(by_name.table(), [["north", "10"], ["∅", "11"]]);
    // The first one is hidden.
    let by_number = read("book.xlsx", json!({"sheet": 3})).unwrap();
    assert_eq!(by_number.table(), by_name.table());
    let several = read("book.xlsx", json!({"sheet": "2024-*", "merged_cells": "repeat"})).unwrap();
    assert_eq!(
        several.columns(&["_source_sheet", "region", "total", "column_3", "_source_row"]),
        [
            ["2024-01", "north", "10", "∅", "2"],
            ["2024-01", "north", "11", "∅", "3"],
            ["2024-02", "north", "20", "∅", "2"],
            ["2024-02", "north", "22", "∅", "3"],
            ["2024-02", "south", "1", "stray", "4"],
        ]
    );
    let error = read("book.xlsx", json!({"sheet": "March"})).unwrap_err().report();
    assert!(error.contains("no sheet `March`") && error.contains("Orders"), "{error}");
    let error = read("book.xlsx", json!({"range": "3:4"})).unwrap_err().report();
    assert!(error.contains("`range` must be cells"), "{error}");
}

#[test]
fn the_other_formats() {
    // With a table of texts.
    let texts = read("texts.xlsx", json!({})).unwrap();
    assert_eq!(texts.types(), ["id Int64", "note Utf8"]);
    assert_eq!(texts.table(), [["1", "a"], ["2", "b & <c>"], ["3", "a"]]);
    let old = read("old.xls", json!({})).unwrap();
    assert_eq!(old.types(), ["id Int64", "day Date32", "price Float64"]);
    assert_eq!(old.table(), [["1", "2024-01-31", "2.5"], ["2", "∅", "3.0"]]);
    let open = read("open.ods", json!({})).unwrap();
    assert_eq!(open.types(), ["id Float64", "day Date32", "ok Boolean"]);
    assert_eq!(open.table(), [["1.0", "2024-01-31", "true"], ["2.5", "2024-02-29", "false"]]);
}

#[test]
fn what_is_no_workbook() {
    let project = Project::with(&[("a.xlsx", b"id,name\n1,a\n"), ("b.xlsx", b"PK\x03\x04 no")]);
    for (name, says) in [("a.xlsx", "not a workbook"), ("b.xlsx", "cannot be read")] {
        let error = project.try_read(json!(name), Options::default()).unwrap_err().report();
        assert!(error.contains(says) && error.contains(name), "{error}");
    }
}

#[test]
fn a_damaged_workbook_is_an_error_that_names_it() {
    let whole = data("old.xls");
    let cut = (512..whole.len()).step_by(331).map(|end| whole[..end].to_vec());
    let turned = (0..whole.len()).step_by(41).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xFF;
        bytes
    });
    let (mut stopped, mut read) = (0, 0);
    for bytes in cut.chain(turned) {
        let project = Project::with(&[("a.xls", &bytes)]);
        match project.try_read(json!("a.xls"), Options::default()) {
            Ok(_) => read += 1,
            Err(error) => {
                let report = error.report();
                assert!(report.contains("a.xls"), "{report}");
                stopped += u32::from(report.contains("the reader stopped"));
            }
        }
    }
    assert!(stopped > 0 && read > 0, "{stopped} {read}");
}

#[test]
fn a_column_that_becomes_text_in_a_later_book_is_read_again() {
    let project = Project::with(&[("1.xls", &data("old.xls"))]);
    let settings = json!({"location": "*", "range": "A:A"});
    let first = project.try_read(settings.clone(), Options::default()).unwrap();
    assert_eq!(first.types(), ["id Int64"]);
    project.write("2.ods", data("open.ods"));
    let wider = project.try_read(settings, Options::after(&first)).unwrap();
    assert_eq!(wider.types(), ["id Float64"]);
    assert_eq!(wider.columns(&["id", "_source_file"]), [["1.0", "2.ods"], ["2.5", "2.ods"]]);
}

#[test]
fn a_workbook_is_not_believed_what_it_says_of_itself() {
    use std::io::{Cursor, Read, Write};
    let mut book = zip::ZipArchive::new(Cursor::new(data("texts.xlsx"))).unwrap();
    let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..book.len() {
        let mut part = book.by_index(index).unwrap();
        let name = part.name().unwrap().into_owned();
        let mut text = Vec::new();
        part.read_to_end(&mut text).unwrap();
        if name.ends_with("sharedStrings.xml") {
            let known = String::from_utf8(text).unwrap();
            assert!(known.contains("uniqueCount=\""), "{known}");
            text = known.replace("uniqueCount=\"", "uniqueCount=\"9999999999").into_bytes();
        }
        out.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        out.write_all(&text).unwrap();
    }
    let project = Project::with(&[("a.xlsx", &out.finish().unwrap().into_inner())]);
    let error = project.try_read(json!("a.xlsx"), Options::default()).unwrap_err().report();
    assert!(error.contains("more texts than it can have"), "{error}");
}

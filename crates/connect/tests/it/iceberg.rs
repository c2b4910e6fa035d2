//! Iceberg tables of another writer (`tests/data/make_iceberg.py`), as pyiceberg reads them.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value, json};
use tidemill_core::{ReadScope, Result};

use crate::reading::{Options, Outcome, Project, copy};

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/iceberg")
}

fn expected() -> Map<String, Value> {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A project with one of the tables.
fn project(table: &str) -> Project {
    let project = Project::new();
    copy(&fixtures().join(table), &project.path().join(table));
    project
}

/// The table as it was when its metadata was kept.
fn at(table: &str, state: &str) -> Value {
    json!({"location": format!("{table}/metadata/{state}.metadata.json")})
}

/// A value as Python writes it.
fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().value(row).iter();
            bytes.map(|byte| format!("{byte:02x}")).collect::<String>().into()
        }
        DataType::Timestamp(unit, Some(_)) => {
            let local = arrow::compute::cast(array, &DataType::Timestamp(*unit, None)).unwrap();
            format!("{}+00:00", value(&local, row).as_str().unwrap()).into()
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|at| value(&items, at)).collect()
        }
        DataType::Map(..) => {
            let pairs = array.as_map().value(row);
            let [keys, values] = [pairs.column(0), pairs.column(1)];
            (0..pairs.len()).map(|at| json!([value(keys, at), value(values, at)])).collect()
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            columns.map(|(field, column)| (field.name().clone(), value(column, row))).collect()
        }
        _ => {
            let formatter = ArrayFormatter::try_new(array, &FormatOptions::default()).unwrap();
            formatter.value(row).to_string().into()
        }
    }
}

/// All rows by their `id`, without the columns of ours.
fn rows(outcome: &Outcome) -> Vec<Value> {
    let Some(batch) = &outcome.rows else { return Vec::new() };
    let schema = batch.schema();
    let mut rows: Vec<Value> = (0..batch.num_rows())
        .map(|row| {
            let columns = schema.fields().iter().zip(batch.columns());
            columns
                .filter(|(field, _)| !field.name().starts_with("_source_"))
                .map(|(field, column)| (field.name().clone(), value(column, row)))
                .collect()
        })
        .collect();
    rows.sort_by_key(|row: &Value| row["id"].as_i64());
    rows
}

fn ids(outcome: &Outcome) -> Vec<i64> {
    rows(outcome).iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

fn read(project: &Project, settings: Value, options: Options) -> Result<Outcome> {
    project.try_read(settings, options)
}

fn after(outcome: &Outcome, scope: ReadScope) -> Options {
    Options { scope, ..Options::after(outcome) }
}

#[test]
fn tables_are_read_as_pyiceberg_reads_them() {
    let expected = expected();
    for table in ["orders", "deletes", "mapped", "old"] {
        let project = project(table);
        let states = expected.iter().filter_map(|(key, rows)| {
            let state = key.strip_prefix(&format!("{table}/"))?;
            (!["side", "v1", "snapshots"].contains(&state)).then_some((state, rows))
        });
        let mut seen = 0;
        for (state, expected) in states {
            let outcome = read(&project, at(table, state), Options::default()).unwrap();
            assert_eq!(Value::from(rows(&outcome)), *expected, "{table}/{state}");
            assert!(outcome.rejected.is_empty(), "{table}/{state}");
            seen += 1;
        }
        assert!(seen > 0, "{table}");
    }
}

#[test]
fn types_are_those_of_the_table() {
    let project = project("orders");
    let types = read(&project, at("orders", "first"), Options::default()).unwrap().types();
    assert_eq!(
        types,
        [
            "id Int64",
            "amount Decimal128(9, 2)",
            "at Timestamp(µs, \"UTC\")",
            "tags List(Utf8)",
            "day Date32",
            "region Utf8",
            "key Utf8",
            "code Binary",
            "hour Utf8",
            "place Struct(\"city\": Utf8, \"zip\": Int32)",
            "counts Map(\"entries\": non-null Struct(\"key\": non-null Utf8, \"value\": Int32), unsorted)",
            "n Int32",
            "ratio Float32",
            "local Timestamp(µs)",
            "raw Binary",
            "ok Boolean",
            "places List(Struct(\"zip\": Int32))",
        ]
    );
    // A table without rows has columns, too.
    let empty = read(&project, at("orders", "empty"), Options::default()).unwrap();
    assert_eq!((empty.types(), empty.row_count()), (types, 0));
}

#[test]
fn the_newest_metadata_is_found_in_the_folder() {
    let project = project("orders");
    let folder = json!({"location": "orders/", "format": "iceberg"});
    let outcome = read(&project, folder.clone(), Options::default()).unwrap();
    assert_eq!(ids(&outcome), [1, 2, 3, 5, 6, 7, 8]);
    let files = outcome.columns(&["_source_file"]);
    assert!(files.iter().all(|row| row[0].contains("/orders/data/")), "{files:?}");
    // A folder of a table needs no format.
    let plain = read(&project, json!("orders"), Options::default()).unwrap();
    assert_eq!(ids(&plain), [1, 2, 3, 5, 6, 7, 8]);
    // By the hint, and compressed.
    let metadata = project.path().join("orders/metadata");
    let text = std::fs::read(metadata.join("second.metadata.json")).unwrap();
    let file = std::fs::File::create(metadata.join("v7.gz.metadata.json")).unwrap();
    let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    std::io::Write::write_all(&mut writer, &text).unwrap();
    writer.finish().unwrap();
    std::fs::write(metadata.join("version-hint.text"), "7\n").unwrap();
    // Numbers of a catalog's files are no versions beside a hint.
    let hinted = read(&project, folder.clone(), Options::default()).unwrap();
    assert_eq!(ids(&hinted), [1, 2, 3, 4, 5, 6, 7]);
    std::fs::remove_file(metadata.join("version-hint.text")).unwrap();
    let newest = std::fs::read_dir(&metadata).unwrap();
    let newest = newest.map(|it| it.unwrap().file_name().into_string().unwrap());
    let newest = newest.filter(|it| it.starts_with('0') && it.ends_with(".metadata.json"));
    let newest = newest.max().unwrap();
    let twin = format!("{}-twin.metadata.json", &newest[..5]);
    std::fs::copy(metadata.join(&newest), metadata.join(twin)).unwrap();
    let error = read(&project, folder, Options::default()).unwrap_err().report();
    assert!(error.contains("cannot be told") && error.contains("twin"), "{error}");
}

#[test]
fn earlier_states_and_branches_are_read() {
    let project = project("orders");
    let expected = expected();
    let settings = |key: &str, value: Value| {
        let mut settings = at("orders", "deleted");
        settings[key] = value;
        settings
    };
    let read = |settings: Value| rows(&read(&project, settings, Options::default()).unwrap());
    assert_eq!(Value::from(read(settings("ref", json!("v1")))), expected["orders/v1"]);
    assert_eq!(Value::from(read(settings("ref", json!("side")))), expected["orders/side"]);
    let snapshots = expected["orders/snapshots"].as_array().unwrap();
    let second = &snapshots[1];
    // With the columns that the table had then.
    assert_eq!(
        Value::from(read(settings("snapshot", second["id"].clone()))),
        expected["orders/second"]
    );
    let moment = second["at"].as_i64().unwrap();
    let moment = chrono::DateTime::from_timestamp_millis(moment).unwrap();
    let text = moment.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string();
    assert_eq!(Value::from(read(settings("as_of", json!(text)))), expected["orders/second"]);
    let error = project.try_read(settings("ref", json!("x")), Options::default()).unwrap_err();
    assert!(error.report().contains("`main`, `side`, `v1`"), "{}", error.report());
    let error = project.try_read(json!({"location": "a.csv", "ref": "x"}), Options::default());
    assert!(error.unwrap_err().report().contains("`format: iceberg` alone"));
}

#[test]
fn an_append_takes_what_was_added() {
    let project = project("orders");
    let read = |state: &str, options: Options| read(&project, at("orders", state), options);
    let empty = read("empty", Options::default()).unwrap();
    let first = read("first", after(&empty, ReadScope::New)).unwrap();
    assert_eq!(ids(&first), [1, 2, 3]);
    let none = read("first", after(&first, ReadScope::New)).unwrap();
    assert_eq!((none.row_count(), none.position.is_none()), (0, true));
    let second = read("second", after(&first, ReadScope::New)).unwrap();
    assert_eq!(ids(&second), [4, 5, 6, 7]);
    // Over two snapshots, and with the columns of now.
    let both = read("third", after(&first, ReadScope::New)).unwrap();
    assert_eq!(ids(&both), [4, 5, 6, 7, 8]);
    assert_eq!(rows(&both)[4]["postcode"], Value::Null);
    assert_eq!(rows(&both)[4]["place"]["postcode"], json!(8));
    let error = read("deleted", after(&second, ReadScope::New)).unwrap_err().report();
    assert!(error.contains("changed or deleted") && error.contains("`mode: full`"), "{error}");
    // An upsert takes the new rows, and those that were written anew with the deleted one.
    let merged = read("deleted", after(&second, ReadScope::Changed)).unwrap();
    let found = ids(&merged);
    assert!(found.contains(&8) && !found.contains(&4), "{found:?}");
    // Back to where the table was.
    let third = read("third", after(&second, ReadScope::New)).unwrap();
    let error = read("second", after(&third, ReadScope::New)).unwrap_err().report();
    assert!(error.contains("rolled back") && error.contains("--full-refresh"), "{error}");
    let whole = read("deleted", after(&third, ReadScope::Whole)).unwrap();
    assert_eq!(ids(&whole), [1, 2, 3, 5, 6, 7, 8]);
    let again = read("deleted", after(&whole, ReadScope::Whole)).unwrap();
    assert!(again.schema.is_none() && again.position.is_none());
}

#[test]
fn another_table_at_the_same_place_is_noticed() {
    let project = project("orders");
    copy(&fixtures().join("old"), &project.path().join("old"));
    let first = read(&project, at("orders", "first"), Options::default()).unwrap();
    let options = Options { known: None, ..after(&first, ReadScope::New) };
    let error = read(&project, at("old", "two"), options).unwrap_err().report();
    assert!(error.contains("another table"), "{error}");
}

#[test]
fn an_upsert_does_not_see_rows_that_were_deleted_since() {
    let project = project("deletes");
    let read = |state: &str, options: Options| read(&project, at("deletes", state), options);
    let all = read("all", Options::default()).unwrap();
    for scope in [ReadScope::New, ReadScope::Changed] {
        let outcome = read("mixed", after(&all, scope));
        match scope {
            ReadScope::New => assert!(outcome.unwrap_err().report().contains("delete, snapshot")),
            // 21 came and was deleted by its place.
            _ => assert_eq!(ids(&outcome.unwrap()), [1, 20]),
        }
    }
    let later = read("later", after(&all, ReadScope::Changed)).unwrap();
    // 20 has a value that was deleted.
    assert_eq!(ids(&later), [1, 5, 8]);
}

#[test]
fn deletion_vectors_leave_their_rows_out() {
    let project = project("vectors");
    let outcome = read(&project, at("vectors", "vectors"), Options::default()).unwrap();
    let left = ids(&outcome);
    let expected = expected()["vectors/sums"].clone();
    assert_eq!(json!([left.len(), left.iter().sum::<i64>()]), expected);
    // A vector that is damaged.
    let file = project.path().join("vectors/data/dv.puffin");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = read(&project, at("vectors", "vectors"), Options::default()).unwrap_err().report();
    assert!(error.contains("deleted rows is damaged") && error.contains("dv.puffin"), "{error}");
}

#[test]
fn rows_keep_their_numbers_when_others_are_deleted() {
    let project = project("deletes");
    let outcome = read(&project, at("deletes", "places"), Options::default()).unwrap();
    let mut numbers: Vec<Vec<String>> = outcome.columns(&["id", "_source_row"]);
    numbers.retain(|row| row[0].parse::<i64>().unwrap() < 11);
    numbers.sort_by_key(|row| row[0].parse::<i64>().unwrap());
    let expected = [2, 3, 5, 6, 7, 8, 9].map(|n: i64| [n.to_string(), n.to_string()]);
    assert_eq!(numbers, expected);
}

#[test]
fn the_memory_of_deleted_values_has_a_limit() {
    let project = project("deletes");
    let mut settings = at("deletes", "gone");
    settings["max_delete_bytes"] = json!(100);
    let error = read(&project, settings.clone(), Options::default()).unwrap_err().report();
    assert!(
        error.contains("`max_delete_bytes`") && error.contains("rewrite_data_files"),
        "{error}"
    );
    // Enough for all that one file needs.
    settings["max_delete_bytes"] = json!("4KiB");
    let outcome = read(&project, settings, Options::default()).unwrap();
    assert_eq!(Value::from(rows(&outcome)), expected()["deletes/gone"]);
}

#[test]
fn a_column_has_its_default_in_rows_from_before_it() {
    let project = project("orders");
    let outcome = read(&project, at("orders", "defaults"), Options::default()).unwrap();
    let notes: Vec<Value> = rows(&outcome).iter().map(|row| row["note"].clone()).collect();
    assert_eq!(notes[..7], vec![json!("none yet"); 7]);
    assert_eq!(notes[7], json!("new"));
}

#[test]
fn declared_types_hold() {
    let project = project("orders");
    let field = arrow::datatypes::Field::new("place", DataType::Utf8, true);
    let options = Options { declared: vec![field], ..Options::default() };
    let outcome = read(&project, at("orders", "first"), options).unwrap();
    assert_eq!(rows(&outcome)[0]["place"], json!(r#"{"city":"c1","zip":1}"#));
}

#[test]
fn what_cannot_be_read_is_said() {
    let project = project("orders");
    let report =
        |settings: Value| read(&project, settings, Options::default()).unwrap_err().report();
    let nowhere = json!({"location": "nowhere", "format": "iceberg"});
    assert!(report(nowhere).contains("no Iceberg table"));
    let several = json!({"location": ["a", "b"], "format": "iceberg"});
    assert!(report(several).contains("one `location`"));
    let none = json!({"location": "orders/data", "format": "iceberg"});
    assert!(report(none).contains("no Iceberg table"));
    // A file that the table has and that is gone, or is another one.
    let outcome = read(&project, at("orders", "first"), Options::default()).unwrap();
    let file = outcome.columns(&["_source_file"])[0][0].clone();
    let name = file.rsplit_once("/orders/").unwrap().1;
    let local = project.path().join("orders").join(name);
    std::fs::write(&local, b"PAR1").unwrap();
    assert!(report(at("orders", "first")).contains(name));
    std::fs::remove_file(&local).unwrap();
    let error = report(at("orders", "first"));
    assert!(error.contains(name) && error.contains("--full-refresh"), "{error}");
    // Metadata that is changed by hand.
    let text = std::fs::read_to_string(project.path().join("orders/metadata/first.metadata.json"));
    let text = text.unwrap();
    for (from, to, part) in [
        ("\"format-version\":2", "\"format-version\":9", "version 9"),
        ("\"type\":\"float\"", "\"type\":\"variant\"", "`variant`"),
        ("\"location\"", "\"locatio\"", "location"),
    ] {
        assert!(text.contains(from), "{from}");
        project.write("orders/metadata/x.metadata.json", text.replace(from, to));
        let error = report(at("orders", "x"));
        assert!(error.contains(part), "{error}");
    }
}

//! Parquet files.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use crate::reading::{Options, Project};

fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn project() -> Project {
    let first = file(vec![
        ("Id", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
        ("name", Arc::new(StringArray::from(vec!["a", "b"]))),
    ]);
    let second = file(vec![
        ("extra", Arc::new(StringArray::from(vec!["1"])) as ArrayRef),
        ("id", Arc::new(Int64Array::from(vec![3]))),
    ]);
    Project::with(&[("1.parquet", &first), ("2.parquet", &second), ("x.csv", b"id\n1\n")])
}

#[test]
fn schemas_are_merged() {
    let project = project();
    let outcome = project.read(json!("*.parquet"));
    assert_eq!(outcome.types(), ["id Int64", "name Utf8", "extra Utf8"]);
    assert_eq!(
        outcome.columns(&["id", "name", "extra", "_source_file", "_source_row"]),
        [
            ["1", "a", "∅", "1.parquet", "1"],
            ["2", "b", "∅", "1.parquet", "2"],
            ["3", "∅", "1", "2.parquet", "1"]
        ]
    );
    let again = project.try_read(json!("*.parquet"), Options::after(&outcome)).unwrap();
    assert!(again.schema.is_none());
}

#[test]
fn bytes_of_a_later_file_are_bytes() {
    let bytes =
        |value: &[u8]| file(vec![("b", Arc::new(BinaryArray::from(vec![value])) as ArrayRef)]);
    let project = Project::with(&[("1.parquet", &bytes(&[255]))]);
    let first = project.read(json!("*.parquet"));
    project.write("2.parquet", bytes(&[254]));
    let second = project.try_read(json!("*.parquet"), Options::after(&first)).unwrap();
    assert_eq!(second.types(), ["b Binary"]);
    assert_eq!((second.columns(&["b"]), second.rejected.len()), (vec![vec!["fe".to_owned()]], 0));
}

#[test]
fn declared_types_reject_rows() {
    let project = project();
    let options =
        Options { declared: vec![Field::new("name", DataType::Int64, true)], ..Options::default() };
    let outcome = project.try_read(json!("1.parquet"), options).unwrap();
    assert_eq!(outcome.row_count(), 0);
    assert_eq!(outcome.rejected.len(), 2);
}

#[test]
fn what_is_not_parquet() {
    let project = project();
    project.write("bad.parquet", b"PAR1 nothing PAR1");
    let error = project.try_read(json!("bad.parquet"), Options::default()).unwrap_err();
    assert!(error.to_string().contains("bad.parquet"), "{error}");
    let settings = json!({"location": ["1.parquet", "x.csv"]});
    assert!(project.try_read(settings, Options::default()).is_err());
}

#[test]
fn uuids_are_text() {
    use parquet::data_type::{FixedLenByteArray, FixedLenByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    let schema = "message m { optional fixed_len_byte_array(16) uid (UUID); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::default());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let value = FixedLenByteArray::from((0..16).map(|n| n * 17).collect::<Vec<u8>>());
    column.typed::<FixedLenByteArrayType>().write_batch(&[value], Some(&[1, 0]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    let project = Project::with(&[("u.parquet", &writer.into_inner().unwrap())]);
    let outcome = project.read(json!("u.parquet"));
    assert_eq!(outcome.types(), ["uid Utf8"]);
    assert_eq!(outcome.table(), [["00112233-4455-6677-8899-aabbccddeeff"], ["∅"]]);
}

#[test]
fn rows_that_are_too_long_are_refused_before_they_are_read() {
    let long: Vec<String> = ["x", "y"].map(|letter| letter.repeat(200_000)).to_vec();
    let content = file(vec![("a", Arc::new(StringArray::from(long)) as ArrayRef)]);
    let project = Project::with(&[("1.parquet", &content)]);
    let settings = json!({"location": "1.parquet", "max_record_bytes": "64KiB"});
    let error = project.try_read(settings, Options::default()).unwrap_err();
    assert!(error.message().contains("`max_record_bytes` (65536)"), "{error}");
    assert_eq!(project.read(json!("1.parquet")).row_count(), 2);
}

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let whole = file(vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
        ("name", Arc::new(StringArray::from(vec!["a", "b"]))),
    ]);
    let mut stopped = 0;
    for at in (0..whole.len()).step_by(3) {
        // Letters become others, so that what is written in letters is still that.
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        let project = Project::with(&[("a.parquet", &bytes)]);
        if let Err(error) = project.try_read(json!("a.parquet"), Options::default()) {
            let report = error.report();
            assert!(report.contains("a.parquet"), "{report}");
            stopped += u32::from(report.contains("the reader stopped"));
        }
    }
    assert!(stopped > 0, "the library has an error for all of them");
}

//! CSV: what real files look like.

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde_json::json;

use crate::reading::{Options, Project, csv, csv_with};

fn cells(rows: &[&[&str]]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
}

#[test]
fn the_spectrum() {
    let cases: [(&str, &str, &[&[&str]]); 14] = [
        ("plain", "a,b\nx,y\nz,w\n", &[&["x", "y"], &["z", "w"]]),
        ("no line end at the end", "a,b\nx,y", &[&["x", "y"]]),
        ("crlf", "a,b\r\nx,y\r\n\"p\",\"q\"\r\n", &[&["x", "y"], &["p", "q"]]),
        ("cr", "a,b\rx,y\rz,w\r", &[&["x", "y"], &["z", "w"]]),
        ("comma in quotes", "a,b\n\"x,1\",y\n", &[&["x,1", "y"]]),
        ("newline in quotes", "a,b\n\"x\ny\",z\n", &[&["x\ny", "z"]]),
        ("crlf in quotes", "a,b\r\n\"x\r\ny\",z\r\n", &[&["x\r\ny", "z"]]),
        ("doubled quotes", "a,b\n\"say \"\"hi\"\"\",\"\"\"\"\n", &[&["say \"hi\"", "\""]]),
        ("empty and quoted empty", "a,b\n,\"\"\nx,y\n", &[&["∅", ""], &["x", "y"]]),
        ("quote within", "a,b\n5\" disk,x\n", &[&["5\" disk", "x"]]),
        ("json in a field", "a,b\nx,\"{\"\"k\"\": \"\"v,w\"\"}\"\n", &[&["x", "{\"k\": \"v,w\"}"]]),
        ("empty lines", "a,b\n\nx,y\n\r\n\nz,w\n\n", &[&["x", "y"], &["z", "w"]]),
        ("unicode", "a,b\nÄ,東京\n", &[&["Ä", "東京"]]),
        ("byte order mark", "\u{feff}a,b\nx,y\n", &[&["x", "y"]]),
    ];
    for (name, text, expected) in cases {
        let outcome = csv(text);
        assert_eq!(outcome.table(), cells(expected), "{name}");
        assert_eq!(outcome.types(), ["a Utf8", "b Utf8"], "{name}");
        assert!(outcome.rejected.is_empty(), "{name}");
    }
}

#[test]
fn types_are_inferred() {
    let outcome = csv("i,f,d,t,z,b,zip,phone,big,mixed,nothing\n\
         1,1.5,2013-01-01,2013-01-01 05:15:00,2013-01-01T10:00:00Z,true,00501,+4930,1,1,\n\
         -2,3,2013-12-31,2013-01-01T05:15:00.25,2013-01-01 12:00:00+02:00,FALSE,10115,030,\
         9223372036854775807,x,NA\n");
    assert_eq!(
        outcome.types(),
        [
            "i Int64",
            "f Float64",
            "d Date32",
            "t Timestamp(µs)",
            "z Timestamp(µs, \"UTC\")",
            "b Boolean",
            "zip Utf8",
            "phone Utf8",
            "big Int64",
            "mixed Utf8",
            "nothing Utf8",
        ]
    );
    assert_eq!(
        outcome.table()[1],
        [
            "-2",
            "3.0",
            "2013-12-31",
            "2013-01-01T05:15:00.250",
            "2013-01-01T10:00:00Z",
            "false",
            "10115",
            "030",
            "9223372036854775807",
            "x",
            "∅"
        ]
    );
}

#[test]
fn null_tokens() {
    let outcome = csv("n,t\n1,NA\n,N/A\nNULL,null\nnull,\\N\nNA,\"NA\"\n\"\",nan\n\"NA\",Na\n");
    assert_eq!(outcome.types(), ["n Int64", "t Utf8"]);
    assert_eq!(
        outcome.table(),
        cells(&[
            &["1", "∅"],
            &["∅", "∅"],
            &["∅", "∅"],
            &["∅", "∅"],
            &["∅", "NA"],
            &["∅", "nan"],
            &["∅", "Na"]
        ])
    );
    let outcome = csv_with("n,t\n-,x\n1,\n", json!({"null_values": ["-"]}));
    assert_eq!(outcome.types(), ["n Int64", "t Utf8"]);
    assert_eq!(outcome.table(), cells(&[&["∅", "x"], &["1", ""]]));
    // Quotes around everything do not make a number column text.
    let outcome = csv("\"n\",\"t\"\n\"1\",\"\"\n\"\",\"\"\n");
    assert_eq!(outcome.types(), ["n Int64", "t Utf8"]);
    assert_eq!(outcome.table(), cells(&[&["1", ""], &["∅", ""]]));
}

#[test]
fn one_column() {
    let outcome = csv("a\nx\n\n\"\"\ny\n");
    assert_eq!(outcome.table(), cells(&[&["x"], &["∅"], &[""], &["y"]]));
    assert_eq!(csv("a\n1\n\n3").table(), cells(&[&["1"], &["∅"], &["3"]]));
}

#[test]
fn headers() {
    let outcome = csv("User ID,userId,,Größe (cm),id,ID\n1,2,3,4,5,6\n");
    assert_eq!(
        outcome.types(),
        [
            "user_id Int64",
            "user_id_2 Int64",
            "column_3 Int64",
            "größe_cm Int64",
            "id Int64",
            "id_2 Int64"
        ]
    );
    let schema = outcome.schema.unwrap();
    assert_eq!(schema.field(0).metadata()["original_name"], "User ID");
    let outcome = csv_with("1,x\n2,y\n", json!({"header": false}));
    assert_eq!(outcome.types(), ["column_1 Int64", "column_2 Utf8"]);
    let outcome = csv("a,b\n");
    assert_eq!(outcome.types(), ["a Utf8", "b Utf8"]);
    assert_eq!(outcome.row_count(), 0);
    assert_eq!(outcome.codes(), ["empty-file"]);
}

#[test]
fn separators() {
    for (text, settings) in [
        ("a;b\n1;2,5\n", json!({})),
        ("a\tb\n1\t2,5\n", json!({})),
        ("a|b\n1|2,5\n", json!({})),
        ("a^b\n1^2,5\n", json!({"delimiter": "^"})),
        ("a,b\n1,'2,5'\n", json!({"quote": "'"})),
        ("a,b\n1,2\\,5\n", json!({"escape": "\\"})),
        ("# made by hand\na,b\n# \"odd\n1,\"2,5\"\n", json!({"comment": "#"})),
        ("made by hand\n\na,b\n1,\"2,5\"\n", json!({"skip_rows": 2})),
    ] {
        let outcome = csv_with(text, settings);
        assert_eq!(outcome.table(), cells(&[&["1", "2,5"]]), "{text}");
    }
    let project = Project::with(&[("a.tsv", b"a\tb\n1,5\tx\n")]);
    assert_eq!(project.read(json!("a.tsv")).table(), cells(&[&["1,5", "x"]]));
}

#[test]
fn short_rows() {
    let text = "a,b,c\n1,2\n3\n4,5,6\n";
    let outcome = csv_with(text, json!({"short_rows": "null"}));
    assert_eq!(outcome.table(), cells(&[&["1", "2", "∅"], &["3", "∅", "∅"], &["4", "5", "6"]]));
    let outcome = csv_with(text, json!({}));
    assert_eq!(outcome.table(), cells(&[&["4", "5", "6"]]));
}

#[test]
fn quoted_nulls() {
    let text = "a,b\n\"\",x\n\"null\",\"5\"\n";
    let settings = json!({"null_values": ["", "null"], "quoted_nulls": true});
    assert_eq!(csv_with(text, settings).table(), cells(&[&["∅", "x"], &["∅", "5"]]));
}

#[test]
fn escapes() {
    let outcome =
        csv_with("a,b\n\"x\\\"y\",\\N\nline\\nbreak,\"tab\\t\"\n", json!({"escape": "\\"}));
    assert_eq!(outcome.table(), cells(&[&["x\"y", "∅"], &["line\nbreak", "tab\t"]]));
}

#[test]
fn encodings() {
    let expected = cells(&[&["Zürich", "1"]]);
    let utf16 = |big: bool, mark: bool| {
        let text = if mark { "\u{feff}a,b\nZürich,1\n" } else { "a,b\nZürich,1\n" };
        text.encode_utf16()
            .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
            .collect::<Vec<u8>>()
    };
    for (big, mark) in [(false, true), (true, true), (false, false), (true, false)] {
        assert_eq!(csv(utf16(big, mark)).table(), expected, "utf-16 {big} {mark}");
    }
    assert_eq!(csv_with(utf16(false, false), json!({"encoding": "utf-16"})).table(), expected);
    let latin = b"a,b\nZ\xFCrich,1\n";
    assert_eq!(csv_with(latin, json!({"encoding": "latin-1"})).table(), expected);
    assert_eq!(csv_with(latin, json!({"encoding": "windows-1252"})).table(), expected);
    // Without the setting the row is rejected, the others are not.
    let outcome = csv(b"a,b\nZ\xFCrich,1\nBern,2\n");
    assert_eq!(outcome.table(), cells(&[&["Bern", "2"]]));
    let (file, line, reason, raw) = &outcome.rejected[0];
    assert_eq!((file.as_str(), *line), ("a.csv", 2));
    assert!(reason.contains("UTF-8") && reason.contains("encoding"), "{reason}");
    assert_eq!(raw, "Z\u{fffd}rich,1");
}

#[test]
fn compressed() {
    use std::io::Write;
    let text = b"a,b\n1,x\n2,y\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    let mut gzip = gzip.finish().unwrap();
    // Two members, as `cat a.gz b.gz` makes them.
    let mut second = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    second.write_all(b"3,z\n").unwrap();
    gzip.extend(second.finish().unwrap());
    let zstd = zstd::encode_all(&text[..], 1).unwrap();
    let project =
        Project::with(&[("a.csv.gz", &gzip), ("b.csv.zst", &zstd), ("mislabelled.csv", &gzip)]);
    for (name, rows) in [("a.csv.gz", 3), ("b.csv.zst", 2), ("mislabelled.csv", 3)] {
        let outcome = project.read(json!(name));
        assert_eq!(outcome.types(), ["a Int64", "b Utf8"], "{name}");
        assert_eq!(outcome.row_count(), rows, "{name}");
    }
    project.write("cut.csv.gz", &gzip[..gzip.len() - 20]);
    let error = project.try_read(json!("cut.csv.gz"), Options::default()).unwrap_err();
    assert!(error.to_string().contains("cut.csv.gz"), "{error}");
}

#[test]
fn rejected_rows() {
    let outcome = csv("a,b\n1,2\n1\n1,2,3\n\"x\"y,2\n3,\"4\n\n");
    let rejected: Vec<(i64, &str, &str)> = outcome
        .rejected
        .iter()
        .map(|(_, line, reason, raw)| (*line, reason.as_str(), raw.as_str()))
        .collect();
    assert_eq!(
        rejected,
        [
            (3, "1 field where the header has 2", "1"),
            (4, "3 fields where the header has 2", "1,2,3"),
            (5, "text behind a closing quote", "\"x\"y,2"),
            (6, "a quote that never closes", "3,\"4"),
        ]
    );
    assert_eq!(outcome.types(), ["a Int64", "b Int64"]);
    assert_eq!(outcome.table(), cells(&[&["1", "2"]]));
}

#[test]
fn lines_are_counted() {
    let outcome = csv("a,b\n1,x\n2,\"y\nz\"\n\n3,w\n4\n5,v\n");
    assert_eq!(
        outcome.columns(&["a", "_source_row", "_source_file"]),
        cells(&[
            &["1", "2", "a.csv"],
            &["2", "3", "a.csv"],
            &["3", "6", "a.csv"],
            &["5", "8", "a.csv"]
        ])
    );
    assert_eq!(outcome.rejected[0].1, 7);
    let outcome = csv_with(
        "x\n\"a\nc\",b\n1,x\n",
        json!({"skip_rows": 1, "source_row_column": "line", "source_file_column": false}),
    );
    assert_eq!(outcome.columns(&["line"]), cells(&[&["4"]]));
    assert_eq!(outcome.schema.unwrap().fields().len(), 3);
}

#[test]
fn declared_types() {
    let project = Project::with(&[(
        "a.csv",
        b"id,price,day,seen,flag\n007,12.30,2013-01-01,2013-01-01T00:00:00Z,1\n\
          8,12.345,2013-01-02,2013-01-01 00:00:00,no\n\
          nine,1,2013-02-30,x,maybe\n",
    )]);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let declared = vec![
        Field::new("id", DataType::Int32, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("seen", utc, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("elsewhere", DataType::Utf8, true),
    ];
    let options = Options { declared, ..Options::default() };
    let outcome = project.try_read(json!("a.csv"), options).unwrap();
    assert_eq!(
        outcome.types(),
        [
            "id Int32",
            "price Decimal128(10, 2)",
            "day Utf8",
            "seen Timestamp(µs, \"UTC\")",
            "flag Boolean"
        ]
    );
    assert_eq!(
        outcome.table(),
        cells(&[&["7", "12.30", "2013-01-01", "2013-01-01T00:00:00Z", "true"]])
    );
    let reasons: Vec<&str> =
        outcome.rejected.iter().map(|(_, _, reason, _)| reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "column `price`: `12.345` is not a decimal(10,2)",
            "column `id`: `nine` is not an integer"
        ]
    );
    assert_eq!(outcome.rejected[1].3, "nine,1,2013-02-30,x,maybe");
}

#[test]
fn dates_as_they_are_written() {
    let outcome = csv_with(
        "d,t\n31.12.2013,31.12.2013 08:05\n01.02.2013,01.02.2013 00:00\n",
        json!({"date_format": "%d.%m.%Y", "timestamp_format": "%d.%m.%Y %H:%M"}),
    );
    assert_eq!(outcome.types(), ["d Date32", "t Timestamp(µs)"]);
    assert_eq!(outcome.table()[0], ["2013-12-31", "2013-12-31T08:05:00"]);
    let outcome = csv_with("d\n2013-12-31\n", json!({"date_format": "%d.%m.%Y"}));
    assert_eq!(outcome.types(), ["d Utf8"]);
}

#[test]
fn a_late_surprise_widens_everything() {
    let mut text = String::from("id,code,n,big,when,flag,late\n");
    for row in 0..500 {
        text.push_str(&format!("{row},0{row},{row},1,2013-01-01,true,\n"));
    }
    text = text.replace(",00,", ",0,");
    // Behind the sample: every column gets another kind of value.
    text.push_str("x,1,2.5,9007199254740993,2013-01-01 10:00,maybe,2013-01-01\n");
    text.push_str("y,2,1,1.5,2013-01-02,true,\n");
    let outcome = csv_with(&text, json!({"sample_bytes": 100}));
    assert_eq!(outcome.restarts, 1, "one restart is enough for any number of columns");
    assert_eq!(
        outcome.types(),
        [
            "id Utf8",
            "code Utf8",
            "n Float64",
            "big Utf8",
            "when Timestamp(µs)",
            "flag Utf8",
            "late Date32"
        ]
    );
    let table = outcome.table();
    assert_eq!(table.len(), 502);
    assert_eq!(table[7], ["7", "07", "7.0", "1", "2013-01-01T00:00:00", "true", "∅"]);
    assert_eq!(table[500][3], "9007199254740993");
    let seen_at_once = csv(&text);
    assert_eq!(seen_at_once.restarts, 0);
    assert_eq!(seen_at_once.types(), outcome.types());
    assert_eq!(seen_at_once.table(), table);
}

#[test]
fn files_are_one_set() {
    let project = Project::with(&[
        ("data/1.csv", b"a,b\n1,x\n"),
        ("data/2.csv", b"b,c,a\ny,2.5,3.5\n"),
        ("data/3.csv", b""),
        ("data/4.csv", b"A\n7\n"),
    ]);
    let outcome = project.read(json!("data/*.csv"));
    assert_eq!(outcome.types(), ["a Float64", "b Utf8", "c Float64"]);
    assert_eq!(
        outcome.columns(&["a", "b", "c", "_source_file", "_source_row"]),
        cells(&[
            &["1.0", "x", "∅", "data/1.csv", "2"],
            &["3.5", "y", "2.5", "data/2.csv", "2"],
            &["7.0", "∅", "∅", "data/4.csv", "2"],
        ])
    );
    assert_eq!(outcome.codes(), ["empty-file"]);
}

#[test]
fn records_that_are_too_long() {
    let mut text = b"a,b\n1,2\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', 3000));
    text.extend(b",y\n3,4\n\"open,5\n");
    for _ in 0..400 {
        text.extend(b"6,7 and more\n");
    }
    text.extend(b"8,9\n");
    let outcome = csv_with(&text, json!({"max_record_bytes": "2KiB"}));
    // Blocks are larger than the limit, so the long line is read; the open quote is not closed.
    assert_eq!(outcome.rejected.len(), 1);
    assert!(outcome.rejected[0].3.starts_with("\"open"));
    assert_eq!(outcome.row_count(), 404);
}

#[test]
fn zero_bytes_are_characters() {
    assert_eq!(csv("a,b\nx\0y,z\n").table(), cells(&[&["x\0y", "z"]]));
}

#[test]
fn mistakes_in_settings() {
    let project = Project::with(&[("a.csv", b"a\n1\n"), ("odd", b"a\n1\n")]);
    for (settings, part) in [
        (json!({"location": "a.csv", "delimeter": ";"}), "did you mean `delimiter`?"),
        (json!({"location": "b.csv"}), "no file matches `b.csv`"),
        (json!({}), "`location`"),
        (json!({"location": "odd"}), "`format`"),
        (json!({"location": "a.csv", "encoding": "klingon"}), "klingon"),
        (json!({"location": "a.csv", "delimiter": "ab"}), "`delimiter`"),
        (json!({"location": "."}), "folder"),
        (json!({"location": "a.csv", "source_file_column": "a"}), "`source_file_column`"),
    ] {
        let error = project.try_read(settings.clone(), Options::default()).unwrap_err();
        assert!(error.to_string().contains(part), "{settings}: {error}");
    }
}

#[test]
fn large_files_in_parallel() {
    // Several blocks, with quotes, line breaks in them and a ragged row here and there.
    let mut text = String::from("id,text,amount\n");
    let mut lines = Vec::new();
    let mut line = 2;
    for id in 0..120_000 {
        lines.push(line);
        match id % 1000 {
            7 => text.push_str(&format!("{id},\"two\nlines, \"\"{id}\"\"\",1.5\n")),
            500 => text.push_str(&format!("{id},,2\n\n")),
            _ => text.push_str(&format!("{id},some text that takes a little room,{id}.25\n")),
        }
        line += if matches!(id % 1000, 7 | 500) { 2 } else { 1 };
        if id % 10_000 == 3 {
            text.push_str("ragged\n");
            line += 1;
        }
    }
    assert!(text.len() > 5 << 20);
    let project = Project::with(&[("a.csv", text.as_bytes())]);
    let alone = project.read(json!("a.csv"));
    let options = Options { parallelism: 3, ..Options::default() };
    let together = project.try_read(json!("a.csv"), options).unwrap();
    assert_eq!(alone.rows, together.rows);
    assert_eq!(alone.rejected, together.rejected);
    assert_eq!(alone.rejected.len(), 12);
    assert_eq!(alone.row_count(), 120_000);
    let found: Vec<String> = lines.iter().map(i64::to_string).collect();
    let rows: Vec<String> =
        together.columns(&["_source_row"]).into_iter().map(|mut row| row.remove(0)).collect();
    assert_eq!(rows, found);
    assert_eq!(together.columns(&["text"])[1007], ["two\nlines, \"1007\""]);
}

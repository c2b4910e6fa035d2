//! ORC files, made by Arrow's writer and by pyorc.

use arrow::datatypes::DataType;
use serde_json::json;

use crate::reading::{Options, Outcome, Project, data};

fn read(name: &str) -> Outcome {
    Project::with(&[("a.orc", &data(name))]).read(json!("a.orc"))
}

/// The values of a column.
fn column(outcome: &Outcome, name: &str) -> Vec<String> {
    outcome.columns(&[name]).into_iter().map(|row| row.into_iter().collect()).collect()
}

#[test]
fn every_type_in_every_compression() {
    for kind in ["uncompressed", "zlib", "snappy", "lz4", "zstd"] {
        let outcome = read(&format!("types-{kind}.orc"));
        let long = "x".repeat(300);
        for (name, expected) in [
            ("tiny_int", ["-128", "0", "127", "∅", "1"]),
            ("small", ["-32768", "0", "32767", "∅", "1"]),
            ("whole", ["-2147483648", "0", "2147483647", "∅", "1"]),
            ("large", ["-9223372036854775808", "0", "9223372036854775807", "∅", "1"]),
            ("single", ["-1.5", "0.1", "3.4e38", "∅", "1.0"]),
            ("double", ["-1.5", "0.1", "1e300", "∅", "5e-324"]),
            ("ok", ["true", "false", "true", "∅", "false"]),
            ("text", ["a", "", "é€😀", "∅", &long]),
            ("bytes", ["", "00ff", "616263", "∅", "78"]),
            ("money", ["-99999999.99", "0.00", "0.01", "∅", "12345678.90"]),
            (
                "huge",
                [
                    "-99999999999999999999999999999999999999",
                    "0",
                    "1",
                    "∅",
                    "99999999999999999999999999999999999999",
                ],
            ),
            (
                "tiny",
                [
                    "-0.99999999999999999999",
                    "0.00000000000000000001",
                    "0.50000000000000000000",
                    "∅",
                    "0.11111111111111111111",
                ],
            ),
            ("day", ["0001-01-01", "1969-12-31", "2024-02-29", "∅", "9999-12-31"]),
            (
                "at",
                [
                    "1900-01-01T00:00:00",
                    "1969-12-31T23:59:58",
                    "2024-03-31T02:30:00.123456",
                    "∅",
                    "2015-01-01T00:00:00",
                ],
            ),
            (
                "instant",
                [
                    "1900-01-01T00:00:00Z",
                    "1969-12-31T23:59:58Z",
                    "2024-03-31T02:30:00.123456Z",
                    "∅",
                    "2015-01-01T00:00:00Z",
                ],
            ),
            ("tags", ["[a, ∅, b]", "[]", "[]", "∅", "[c]"]),
            ("lists", ["[[1, 2], []]", "[∅]", "[[3]]", "∅", "[]"]),
            ("counts", ["{x: 1, y: ∅}", "{}", "{: 2}", "∅", "{z: 3}"]),
            (
                "address",
                [
                    "{city: Köln, zip: 1}",
                    "{city: ∅, zip: 2}",
                    "{city: Bonn, zip: ∅}",
                    "∅",
                    "{city: x, zip: 3}",
                ],
            ),
            (
                "people",
                [
                    "[{name: a, ages: [1, 2]}, ∅]",
                    "[]",
                    "[{name: ∅, ages: ∅}]",
                    "∅",
                    "[{name: b, ages: []}]",
                ],
            ),
            ("nothing", ["∅"; 5]),
        ] {
            // A list of one text without characters looks like one of none.
            assert_eq!(column(&outcome, name), expected, "{kind}: {name}");
        }
        let types = outcome.types();
        for of in [
            "tiny_int Int8",
            "large Int64",
            "money Decimal128(10, 2)",
            "huge Decimal128(38, 0)",
            "day Date32",
        ] {
            assert!(types.contains(&of.to_owned()), "{of}: {types:?}");
        }
        let schema = outcome.schema.unwrap();
        let field = |name: &str| schema.field_with_name(name).unwrap().data_type().clone();
        let micros = arrow::datatypes::TimeUnit::Microsecond;
        assert_eq!(field("at"), DataType::Timestamp(micros, None));
        assert_eq!(field("instant"), DataType::Timestamp(micros, Some("UTC".into())));
    }
}

#[test]
fn many_stripes_are_read_one_after_the_other() {
    let outcome = read("stripes.orc");
    let rows =
        outcome.columns(&["id", "same", "wild", "outlier", "kind", "even", "at", "_source_row"]);
    assert_eq!(rows.len(), 60_000);
    for (n, row) in rows.iter().enumerate() {
        let n = n as i64;
        let kind = ["new", "paid", "∅", "sent"][(n % 4) as usize];
        let outlier = if n % 500 == 499 { 1 << 60 } else { n % 11 };
        let wild = (n * 2_654_435_761) % 4_294_967_296 - 2_147_483_648;
        let even = if n % 3 != 0 { "∅".to_owned() } else { (n % 2 == 0).to_string() };
        let (id, place) = (n.to_string(), (n + 1).to_string());
        let expected = [
            id,
            "7".into(),
            wild.to_string(),
            outlier.to_string(),
            kind.into(),
            even,
            at(n),
            place,
        ];
        assert_eq!(*row, expected, "row {n}");
    }
}

/// The time of a row: a second for each from 2020-01-01 on, and some microseconds.
fn at(n: i64) -> String {
    let (day, second) = (n / 86_400 + 1, n % 86_400);
    let micros = match n % 7 * 10 {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("2020-01-{day:02}T{hour:02}:{minute:02}:{:02}{micros}", second % 60)
}

/// A time without a zone is what the clock of its writer showed.
#[test]
fn times_of_writers_in_other_zones() {
    let instants = [
        "2024-03-31T01:59:59Z",
        "2024-07-01T12:00:00.123Z",
        "2024-10-27T03:00:00Z",
        "1969-12-31T23:00:00.500Z",
        "1950-06-01T08:30:00Z",
    ];
    for (name, expected) in [
        (
            "zone-berlin.orc",
            [
                "2024-03-31T03:59:59",
                "2024-07-01T14:00:00.123",
                "2024-10-27T04:00:00",
                "1970-01-01T00:00:00.500",
                "1950-06-01T09:30:00",
            ],
        ),
        (
            "zone-york.orc",
            [
                "2024-03-30T21:59:59",
                "2024-07-01T08:00:00.123",
                "2024-10-26T23:00:00",
                "1969-12-31T18:00:00.500",
                "1950-06-01T04:30:00",
            ],
        ),
    ] {
        let outcome = read(name);
        assert_eq!(column(&outcome, "at"), expected, "{name}");
        assert_eq!(column(&outcome, "instant"), instants, "{name}");
    }
}

/// What the library would read as another time is refused.
#[test]
fn times_that_cannot_be_read() {
    let error = |name: &str| {
        let project = Project::with(&[("a.orc", &data(name))]);
        project.try_read(json!("a.orc"), Options::default()).unwrap_err().report()
    };
    let before = error("before-1970.orc");
    assert!(before.contains("a.orc") && before.contains("before 1970"), "{before}");
    let nanoseconds = error("nanoseconds.orc");
    assert!(nanoseconds.contains("a.orc") && nanoseconds.contains("nanoseconds"), "{nanoseconds}");
}

#[test]
fn unions_and_texts_of_a_length() {
    let outcome = read("union.orc");
    assert_eq!(column(&outcome, "u"), ["5.0", "0.5", "7.0"]);
    assert_eq!(column(&outcome, "c"), ["ab   ", "abcde", "∅"]);
    assert_eq!(column(&outcome, "v"), ["ab", "abcde", "∅"]);
    let empty = read("empty.orc");
    assert_eq!(
        (empty.row_count(), empty.types()),
        (0, vec!["id Int32".into(), "name Utf8".into()])
    );
    assert_eq!(empty.codes(), ["empty-file"]);
}

#[test]
fn other_formats_and_declared_types() {
    let project = Project::with(&[
        ("1.orc", &data("types-zstd.orc")),
        ("2.orc", &data("union.orc")),
        ("x.csv", b"id\n1\n"),
    ]);
    let outcome = project.read(json!("*.orc"));
    assert_eq!(outcome.row_count(), 8);
    let again = project.try_read(json!("*.orc"), Options::after(&outcome)).unwrap();
    assert!(again.schema.is_none());
    let error = project.try_read(json!({"location": "*"}), Options::default()).unwrap_err();
    assert!(error.to_string().contains("that bring their types"), "{error}");
    let declared = vec![arrow::datatypes::Field::new("c", DataType::Int64, true)];
    let options = Options { declared, ..Options::default() };
    let outcome = project.try_read(json!("2.orc"), options).unwrap();
    assert_eq!((outcome.row_count(), outcome.rejected.len()), (1, 2));
}

/// A file that is cut off or has other bytes is an error that names it, or the rows that it has: never a
/// stop of the program, and never other rows without a word where the file says how many it has.
#[test]
fn damaged_files() {
    let error = |content: &[u8]| {
        let project = Project::with(&[("a.orc", content)]);
        project.try_read(json!("a.orc"), Options::default())
    };
    for content in [&b"id\n1\n"[..], b"ORC", &[b'O'; 400], &[0xff; 400]] {
        let error = error(content).unwrap_err();
        assert!(error.report().contains("a.orc"), "{}", error.report());
        assert!(error.report().contains("not an ORC file"), "{}", error.report());
    }
    for name in ["types-zlib.orc", "types-uncompressed.orc", "types-lz4.orc", "stripes.orc"] {
        let whole = data(name);
        for length in (0..whole.len()).step_by(whole.len() / 40 + 1).skip(1) {
            let error = error(&whole[..length]).unwrap_err();
            assert!(error.report().contains("a.orc"), "{name} {length}: {}", error.report());
        }
        let mut random = numbers(7);
        for _ in 0..200 {
            let mut broken = whole.clone();
            for _ in 0..3 {
                let at = random() as usize % broken.len();
                broken[at] ^= (random() % 255 + 1) as u8;
            }
            if let Err(error) = error(&broken) {
                assert!(error.report().contains("a.orc"), "{name}: {}", error.report());
            }
        }
    }
}

/// Numbers that are the same in every run.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

//! Other engines read what we write, and we take over what they write. Needs a Python with
//! `deltalake`, `polars`, `pandas` and `pyarrow`: its path in `TIDEMILL_PYTHON`.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::*;
use arrow::datatypes::*;
use serde_json::Value;
use tidemill_core::{At, Maintenance, TableStore, WriteMode};

use crate::support::*;

fn python(command: &str, lake: &Path) -> Option<Value> {
    let Ok(python) = std::env::var("TIDEMILL_PYTHON") else {
        assert!(std::env::var("CI").is_err(), "CI must set TIDEMILL_PYTHON");
        eprintln!("SKIPPED: TIDEMILL_PYTHON is not set, no other engine was asked");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop.py");
    let output = Command::new(python).arg(script).arg(command).arg(lake).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn parts(rows: &[(Option<&str>, i64)]) -> RecordBatch {
    let a: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0)));
    let b: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    batch(vec![("part", a), ("n", b)])
}

fn everything() -> RecordBatch {
    let list = {
        let mut list = ListBuilder::new(StringBuilder::new());
        list.append_value([Some("x"), None]);
        list.append_null();
        list.finish()
    };
    let structs = StructArray::new(
        Fields::from(vec![Field::new("x", DataType::Int32, true)]),
        vec![Arc::new(Int32Array::from(vec![Some(7), None]))],
        None,
    );
    let map = {
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        map.keys().append_value("k");
        map.values().append_value(5);
        map.append(true).unwrap();
        map.append(false).unwrap();
        map.finish()
    };
    batch(vec![
        ("i16", Arc::new(Int16Array::from(vec![Some(1), None]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(1.5)]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("date", Arc::new(Date32Array::from(vec![Some(-1), None]))),
        (
            "naive",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_500_000_000_123_456), None])),
        ),
        (
            "utc",
            Arc::new(
                TimestampNanosecondArray::from(vec![Some(1_500_000_000_123_456_000), None])
                    .with_timezone("UTC"),
            ),
        ),
        (
            "dec",
            Arc::new(
                Decimal128Array::from(vec![Some(-12345), None])
                    .with_precision_and_scale(38, 3)
                    .unwrap(),
            ),
        ),
        ("bin", Arc::new(BinaryArray::from(vec![Some(b"\x00\xff".as_ref()), None]))),
        ("list", Arc::new(list)),
        ("struct", Arc::new(structs)),
        ("map", Arc::new(map)),
        ("text", Arc::new(StringArray::from(vec![Some("ü\n\"x\""), None]))),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn others_read_what_we_write() {
    let lake = TestLake::with(|options| options.keep_logs = Duration::ZERO).await;
    // Beyond two checkpoints.
    for step in 0..25i64 {
        lake.write("s.long", WriteMode::Append, people(&[(step, "x")])).await.unwrap();
    }
    lake.write("s.long", upsert(&["id"]), people(&[(3, "new"), (99, "y")])).await.unwrap();
    lake.write("s.types", WriteMode::Append, everything()).await.unwrap();
    lake.write("s.types", WriteMode::Append, everything()).await.unwrap();
    lake.write("s.replaced", WriteMode::Replace, people(&[(1, "a")])).await.unwrap();
    let other: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
    lake.write("s.replaced", WriteMode::Replace, batch(vec![("other", other)])).await.unwrap();
    lake.write("s.empty", WriteMode::Replace, people(&[])).await.unwrap();
    let rows = [(Some("a/b %=ü?&#"), 1), (None, 2), (Some("x"), 3), (Some("2020-01-01 00:00"), 4)];
    for _ in 0..12 {
        let staged =
            stage(&lake.lake, "s.parts", WriteMode::Append, vec!["part".into()], parts(&rows))
                .await
                .unwrap();
        publish(&lake.lake, staged).await.unwrap();
    }
    for maintained in [false, true] {
        if maintained {
            let strict = Maintenance {
                keep_for: Duration::ZERO,
                keep_versions: 1,
                ..Maintenance::default()
            };
            let report = lake.lake.maintain(&strict).await.unwrap();
            assert!(report.compacted.len() >= 2 && report.deleted_files > 0, "{report:?}");
            // Twice: what was joined goes only after the joined version is the oldest.
            lake.lake.maintain(&strict).await.unwrap();
        }
        let Some(seen) = python("read", lake.folder.path()) else { return };
        let count = |name: &str| seen[name]["rows"].as_array().unwrap().len();
        assert_eq!(count("s.long"), 26);
        assert_eq!(count("s.types"), 4);
        assert_eq!(count("s.replaced"), 1);
        assert_eq!(count("s.empty"), 0);
        assert_eq!(count("s.parts"), 48);
        let text = seen["s.parts"]["rows"].to_string();
        assert!(text.contains("a/b %=") && text.contains("null"), "{text}");
        let types = &seen["s.types"]["types"];
        assert_eq!(types["naive"], "timestamp[us]");
        assert_eq!(types["utc"], "timestamp[us, tz=UTC]");
        assert_eq!(types["dec"], "decimal128(38, 3)");
        assert!(seen["s.types"]["rows"][0].as_str().unwrap().contains("-12.345"), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn we_take_over_what_others_write() {
    let lake = TestLake::new().await;
    let names = ["append", "overwrite", "delete", "optimize", "merge", "checkpoint"];
    for name in names {
        for step in 0..4i64 {
            let table = format!("f.{name}");
            lake.write(&table, WriteMode::Append, people(&[(step, "own")])).await.unwrap();
        }
    }
    let rows = [(Some("a/b %=ü"), 1), (None, 2)];
    let staged = stage(&lake.lake, "f.parts", WriteMode::Append, vec!["part".into()], parts(&rows))
        .await
        .unwrap();
    publish(&lake.lake, staged).await.unwrap();
    if python("write", lake.folder.path()).is_none() {
        return;
    }
    let snapshot = lake.lake.snapshot(At::Now).await.unwrap();
    let foreign = lake.lake.foreign_heads(&snapshot).await.unwrap();
    assert_eq!(foreign.len(), 7, "{foreign:?}");
    // Readers keep the published version.
    let own = ["0,own", "1,own", "2,own", "3,own"];
    for name in names {
        assert_eq!(lake.rows(&format!("f.{name}")).await, own, "{name}");
    }
    for relation in foreign {
        let adopted = lake.lake.adopt(&relation, &snapshot, &run()).await.unwrap();
        publish(&lake.lake, adopted).await.unwrap();
    }
    let more = ["0,own", "1,own", "100,x", "101,", "2,own", "3,own"];
    assert_eq!(lake.rows("f.append").await, more);
    assert_eq!(lake.rows("f.overwrite").await, ["100,x", "101,"]);
    assert_eq!(lake.rows("f.delete").await, ["3,own"]);
    assert_eq!(lake.rows("f.optimize").await, own);
    assert_eq!(lake.rows("f.merge").await, more);
    assert_eq!(lake.rows("f.checkpoint").await, more);
    assert_eq!(lake.rows("f.parts").await, [",2", "a/b %=ü,1", "a/b %=ü,7", "new one,8"]);
    // And we write on.
    for name in names {
        let table = format!("f.{name}");
        lake.write(&table, upsert(&["id"]), people(&[(3, "ours")])).await.unwrap();
        assert!(lake.rows(&table).await.contains(&"3,ours".to_owned()), "{name}");
    }
    let mode = WriteMode::ReplaceWhere { columns: vec!["part".into()] };
    lake.write("f.parts", mode, parts(&[(Some("a/b %=ü"), 9)])).await.unwrap();
    assert_eq!(lake.rows("f.parts").await, [",2", "a/b %=ü,9", "new one,8"]);
    // A new process replays the log from the other engine's checkpoint.
    let other = open(lake.folder.path()).await;
    assert_eq!(other.repair().await.unwrap().problems, []);
}

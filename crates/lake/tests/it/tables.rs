//! What becomes of rows: the write modes, columns that come and go, types, partitions.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use tidemill_core::{
    At, BatchStream, ColumnChange, Duplicates, ErrorKind, NullKeys, PublishChange, PublishMeta,
    SchemaChange, StageRequest, TableStore, WriteMode,
};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn replace_append_and_history() {
    let lake = TestLake::new().await;
    lake.write("s.people", WriteMode::Replace, people(&[(1, "a"), (2, "b")])).await.unwrap();
    assert_eq!(lake.rows("s.people").await, ["1,a", "2,b"]);
    lake.write("s.people", WriteMode::Append, people(&[(3, "c")])).await.unwrap();
    assert_eq!(lake.rows("s.people").await, ["1,a", "2,b", "3,c"]);
    let published = lake.write("s.people", WriteMode::Replace, people(&[(9, "z")])).await.unwrap();
    assert_eq!(published.entry.0, 3);
    assert_eq!(lake.rows("s.people").await, ["9,z"]);
    assert_eq!(lake.rows_at("s.people", At::Entry(published.snapshot.entry)).await, ["9,z"]);
    assert_eq!(
        lake.rows_at("s.people", At::Entry(tidemill_core::EntryNumber(2))).await,
        ["1,a", "2,b", "3,c"]
    );
    // Another process sees the same.
    let other = open(lake.folder.path()).await;
    let snapshot = other.snapshot(At::Now).await.unwrap();
    assert_eq!(snapshot.get(&relation("s.people")).unwrap().rows, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_staged_is_seen_by_nobody_but_its_owner() {
    let lake = TestLake::new().await;
    lake.write("s.t", WriteMode::Replace, people(&[(1, "a")])).await.unwrap();
    let staged = lake.stage("s.t", WriteMode::Append, people(&[(2, "b")])).await.unwrap();
    assert_eq!(staged.rows, Some(2));
    assert_eq!(lake.rows("s.t").await, ["1,a"]);
    let provider = lake.lake.provider_staged(&staged).unwrap();
    assert_eq!(lake.query_of(provider, "select * from t").await, ["1,a", "2,b"]);
    lake.lake.discard(&staged).await.unwrap();
    assert!(publish(&lake.lake, staged).await.is_err());
    assert_eq!(lake.rows("s.t").await, ["1,a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_build_on_an_old_base_is_a_conflict() {
    let lake = TestLake::new().await;
    lake.write("s.t", WriteMode::Replace, people(&[(1, "a")])).await.unwrap();
    let slow = lake.stage("s.t", WriteMode::Replace, people(&[(2, "slow")])).await.unwrap();
    let append = lake.stage("s.t", WriteMode::Append, people(&[(4, "append")])).await.unwrap();
    lake.write("s.t", WriteMode::Append, people(&[(3, "quick")])).await.unwrap();
    let error = publish(&lake.lake, slow).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // Adding rows commutes, when its checks allow it.
    let meta = PublishMeta { rebase: true, ..PublishMeta::default() };
    lake.lake.publish(vec![PublishChange::Table(Arc::new(append), meta)], &run()).await.unwrap();
    assert_eq!(lake.rows("s.t").await, ["1,a", "3,quick", "4,append"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_relations_become_visible_as_one() {
    let lake = TestLake::new().await;
    let one = lake.stage("s.one", WriteMode::Replace, people(&[(1, "a")])).await.unwrap();
    let two = lake.stage("s.two", WriteMode::Replace, people(&[(2, "b")])).await.unwrap();
    let view = PublishChange::View {
        relation: relation("s.view"),
        sql: "select * from s.one".into(),
        schema: one.schema.clone(),
        meta: PublishMeta::default(),
    };
    let changes = vec![
        PublishChange::Table(Arc::new(one), PublishMeta::default()),
        PublishChange::Table(Arc::new(two), PublishMeta::default()),
        view,
    ];
    let published = lake.lake.publish(changes, &run()).await.unwrap();
    assert_eq!(published.entry.0, 1);
    assert_eq!(published.snapshot.relations.len(), 3);

    let changes = vec![
        PublishChange::Rename { relation: relation("s.one"), to: relation("s.uno") },
        PublishChange::Drop { relation: relation("s.two") },
    ];
    lake.lake.publish(changes, &run()).await.unwrap();
    assert_eq!(lake.rows("s.uno").await, ["1,a"]);
    let snapshot = lake.lake.snapshot(At::Now).await.unwrap();
    assert!(snapshot.get(&relation("s.one")).is_none());
    assert!(snapshot.get(&relation("s.two")).is_none());
    // A table that comes again gets a history of its own.
    lake.write("s.two", WriteMode::Append, people(&[(7, "new")])).await.unwrap();
    assert_eq!(lake.rows("s.two").await, ["7,new"]);
    let gone = lake
        .lake
        .publish(vec![PublishChange::Drop { relation: relation("s.nobody") }], &run())
        .await
        .unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_and_widened() {
    let lake = TestLake::new().await;
    let small: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let open: ArrayRef = Arc::new(NullArray::new(2));
    lake.write("s.t", WriteMode::Append, batch(vec![("a", small), ("n", open)])).await.unwrap();

    let wide: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
    let typed: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    let new: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let staged = lake
        .stage("s.t", WriteMode::Append, batch(vec![("a", wide), ("n", typed), ("b", new)]))
        .await
        .unwrap();
    assert_eq!(
        staged.column_changes,
        [
            ColumnChange::Widened {
                column: "a".into(),
                from: DataType::Int32,
                to: DataType::Int64
            },
            ColumnChange::Widened {
                column: "n".into(),
                from: DataType::Utf8,
                to: DataType::Float64
            },
            ColumnChange::Added("b".into()),
        ]
    );
    publish(&lake.lake, staged).await.unwrap();
    assert_eq!(lake.rows("s.t").await, ["1,,", "1099511627776,0.5,x", "2,,"]);

    // Only one column comes: the others are NULL.
    let some: ArrayRef = Arc::new(StringArray::from(vec!["y"]));
    lake.write("s.t", WriteMode::Append, batch(vec![("b", some)])).await.unwrap();
    assert_eq!(lake.rows("s.t").await, [",,y", "1,,", "1099511627776,0.5,x", "2,,"]);

    let base = lake.lake.snapshot(At::Now).await.unwrap();
    let changes = [
        SchemaChange::Remove("n".into()),
        SchemaChange::Add("c".into(), DataType::Date32),
        SchemaChange::Widen("a".into(), DataType::Utf8),
    ];
    let staged = lake.lake.stage_schema(&relation("s.t"), &changes, &base, &run()).await.unwrap();
    publish(&lake.lake, staged).await.unwrap();
    assert_eq!(lake.rows("s.t").await, [",y,", "1,,", "1099511627776,x,", "2,,"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_touch_what_they_must() {
    let lake = TestLake::new().await;
    for ids in [0..100, 100..200, 200..300] {
        let rows: Vec<(i64, String)> = ids.map(|id| (id, format!("old {id}"))).collect();
        let rows: Vec<(i64, &str)> = rows.iter().map(|(id, name)| (*id, name.as_str())).collect();
        lake.write("s.t", WriteMode::Append, people(&rows)).await.unwrap();
    }
    let published = lake
        .write("s.t", upsert(&["id"]), people(&[(150, "lost"), (150, "new"), (300, "new")]))
        .await
        .unwrap();
    let table = published.snapshot.get(&relation("s.t")).unwrap();
    assert_eq!(table.rows, Some(301));
    assert_eq!(
        lake.query("s.t", "select id, name from t where name not like 'old%'").await,
        ["150,new", "300,new"]
    );
    assert_eq!(lake.query("s.t", "select count(*), count(distinct id) from t").await, ["301,301"]);

    // The same rows in one go have the same hash.
    let rows: Vec<(i64, String)> = (0..301)
        .map(|id| (id, if id == 150 || id == 300 { "new".into() } else { format!("old {id}") }))
        .collect();
    let rows: Vec<(i64, &str)> = rows.iter().map(|(id, name)| (*id, name.as_str())).collect();
    let whole = lake.stage("s.whole", WriteMode::Replace, people(&rows)).await.unwrap();
    assert!(whole.hash.is_some());
    assert_eq!(table.hash, whole.hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_gives_one_key_twice_is_told_which() {
    let lake = TestLake::new().await;
    lake.write("s.t", WriteMode::Replace, people(&[(1, "a")])).await.unwrap();
    let mode = WriteMode::Upsert {
        key: vec!["id".into()],
        update: None,
        duplicates: Duplicates::Fail,
        null_keys: NullKeys::Fail,
    };
    let error = lake.write("s.t", mode, people(&[(7, "b"), (7, "c")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("id = 7"), "{error}");
    assert_eq!(lake.rows("s.t").await, ["1,a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_several_numbers_match_as_such() {
    let lake = TestLake::new().await;
    let rows = |rows: &[(i64, Option<i64>, &str)]| {
        let a: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
        let b: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)));
        let c: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2)));
        batch(vec![("a", a), ("b", b), ("c", c)])
    };
    let old = rows(&[(1, Some(1), "old"), (1, Some(2), "old"), (2, None, "old")]);
    lake.write("s.t", WriteMode::Replace, old).await.unwrap();
    let new = rows(&[(1, Some(2), "new"), (2, None, "new"), (2, Some(1), "new")]);
    lake.write("s.t", upsert(&["a", "b"]), new.clone()).await.unwrap();
    assert_eq!(lake.rows("s.t").await, ["1,1,old", "1,2,new", "2,,new", "2,,old", "2,1,new"]);
    let mode = WriteMode::ReplaceWhere { columns: vec!["a".into(), "b".into()] };
    lake.write("s.t", mode, rows(&[(1, Some(1), "last"), (2, None, "last")])).await.unwrap();
    assert_eq!(lake.rows("s.t").await, ["1,1,last", "1,2,new", "2,,last", "2,1,new"]);
    // A key that the table does not have yet matches nothing.
    let key: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    lake.write("s.t", upsert(&["k"]), batch(vec![("k", key)])).await.unwrap();
    assert_eq!(lake.rows("s.t").await.len(), 5);
}

struct Counter(u64);

impl tidemill_core::Observer for Counter {
    fn observe(&mut self, rows: &RecordBatch) -> tidemill_core::Result<()> {
        self.0 += rows.num_rows() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> tidemill_core::Result<Vec<tidemill_core::Measurement>> {
        Ok(vec![tidemill_core::Measurement::Count(self.0)])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_see_the_new_rows_and_comments_are_kept() {
    let lake = TestLake::new().await;
    let rows = people(&[(1, "a"), (2, "b")]);
    let staged = lake
        .lake
        .stage(tidemill_core::StageRequest {
            relation: relation("s.t"),
            mode: upsert(&["id"]),
            partition_by: None,
            rows: tidemill_core::BatchStream::from_batches(rows.schema(), vec![rows]),
            base: lake.lake.snapshot(At::Now).await.unwrap(),
            comments: vec![("id".into(), "who it is".into())],
            observers: vec![Box::new(Counter(0))],
            run: run(),
        })
        .await
        .unwrap();
    assert_eq!(staged.observed, [tidemill_core::Measurement::Count(2)]);
    publish(&lake.lake, staged).await.unwrap();
    let other = open(lake.folder.path()).await;
    let snapshot = other.snapshot(At::Now).await.unwrap();
    let schema = &snapshot.get(&relation("s.t")).unwrap().schema;
    assert_eq!(schema.field(0).metadata()["comment"], "who it is");
    // What is staged by a process that ended well can go at once.
    let left = lake.stage("s.t", WriteMode::Append, people(&[(3, "c")])).await.unwrap();
    lake.lake.close().await.unwrap();
    let report = other.maintain(&tidemill_core::Maintenance::default()).await.unwrap();
    assert_eq!(report.deleted_files, 1, "{report:?}");
    assert_eq!(publish(&lake.lake, left).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_can_update_some_columns_only() {
    let lake = TestLake::new().await;
    let rows = |rows: &[(i64, &str, i64)]| {
        let a: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
        let b: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
        let c: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
        batch(vec![("id", a), ("name", b), ("n", c)])
    };
    lake.write("s.t", WriteMode::Replace, rows(&[(1, "a", 1), (2, "b", 2), (3, "c", 3)]))
        .await
        .unwrap();
    let mode = WriteMode::Upsert {
        key: vec!["id".into()],
        update: Some(vec!["n".into()]),
        duplicates: Duplicates::KeepLast,
        null_keys: NullKeys::Fail,
    };
    let published =
        lake.write("s.t", mode, rows(&[(2, "ignored", 20), (4, "d", 40)])).await.unwrap();
    assert_eq!(lake.rows("s.t").await, ["1,a,1", "2,b,20", "3,c,3", "4,d,40"]);
    let whole = lake
        .stage(
            "s.whole",
            WriteMode::Replace,
            rows(&[(1, "a", 1), (2, "b", 20), (3, "c", 3), (4, "d", 40)]),
        )
        .await
        .unwrap();
    assert_eq!(published.snapshot.get(&relation("s.t")).unwrap().hash, whole.hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_and_insert_keeps_repeated_keys_and_nulls_match_nothing() {
    let lake = TestLake::new().await;
    let rows = |rows: &[(Option<i64>, &str)]| {
        let a: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
        let b: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
        batch(vec![("id", a), ("name", b)])
    };
    lake.write("s.t", WriteMode::Replace, rows(&[(Some(1), "a"), (Some(2), "b"), (None, "n")]))
        .await
        .unwrap();
    let mode = WriteMode::DeleteInsert { key: vec!["id".into()], null_keys: NullKeys::Insert };
    lake.write("s.t", mode, rows(&[(Some(2), "x"), (Some(2), "y"), (None, "m")])).await.unwrap();
    assert_eq!(lake.rows("s.t").await, [",m", ",n", "1,a", "2,x", "2,y"]);
    // A partition of NULLs is replaced like any other.
    let mode = WriteMode::ReplaceWhere { columns: vec!["id".into()] };
    lake.write("s.t", mode, rows(&[(None, "only")])).await.unwrap();
    assert_eq!(lake.rows("s.t").await, [",only", "1,a", "2,x", "2,y"]);
    let mode =
        WriteMode::ReplaceValues { column: "name".into(), values: vec!["x".into(), "a".into()] };
    lake.write("s.t", mode, rows(&[(Some(5), "x")])).await.unwrap();
    assert_eq!(lake.rows("s.t").await, [",only", "2,y", "5,x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_with_odd_names_are_pruned_and_replaced() {
    let lake = TestLake::new().await;
    let rows = |rows: &[(Option<&str>, i64)]| {
        let a: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0)));
        let b: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
        batch(vec![("part", a), ("n", b)])
    };
    let first = rows(&[(Some("a/b %=ü"), 1), (None, 2), (Some("x"), 3), (Some("x"), 4)]);
    let staged =
        stage(&lake.lake, "s.t", WriteMode::Replace, vec!["part".into()], first).await.unwrap();
    publish(&lake.lake, staged).await.unwrap();
    assert_eq!(lake.rows("s.t").await, [",2", "a/b %=ü,1", "x,3", "x,4"]);
    assert_eq!(lake.query("s.t", "select n, part from t where part = 'x'").await, ["3,x", "4,x"]);
    assert_eq!(lake.query("s.t", "select n from t where part is null").await, ["2"]);
    assert_eq!(
        lake.query("s.t", "select count(*), count(part), max(part), min(n) from t").await,
        ["4,3,x,1"]
    );
    let mode = WriteMode::ReplaceWhere { columns: vec!["part".into()] };
    lake.write("s.t", mode, rows(&[(Some("x"), 9), (None, 8)])).await.unwrap();
    assert_eq!(lake.rows("s.t").await, [",8", "a/b %=ü,1", "x,9"]);
    lake.write("s.t", upsert(&["n"]), rows(&[(Some("y"), 9)])).await.unwrap();
    assert_eq!(lake.rows("s.t").await, [",8", "a/b %=ü,1", "y,9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back() {
    let lake = TestLake::new().await;
    let list = {
        let mut list = ListBuilder::new(Int64Builder::new());
        list.append_value([Some(1), None]);
        list.append_null();
        list.finish()
    };
    let fields = Fields::from(vec![Field::new("x", DataType::Int32, true)]);
    let structs =
        StructArray::new(fields, vec![Arc::new(Int32Array::from(vec![Some(7), None]))], None);
    let map = {
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        map.keys().append_value("k");
        map.values().append_value(5);
        map.append(true).unwrap();
        map.append(false).unwrap();
        map.finish()
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i8", Arc::new(Int8Array::from(vec![Some(1), None]))),
        ("u64", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        ("f32", Arc::new(Float32Array::from(vec![Some(0.5), None]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("date", Arc::new(Date32Array::from(vec![Some(19000), None]))),
        (
            "ns",
            Arc::new(TimestampNanosecondArray::from(vec![Some(1_500_000_000_123_456_000), None])),
        ),
        (
            "utc",
            Arc::new(
                TimestampMillisecondArray::from(vec![Some(1_500_000_000_123), None])
                    .with_timezone("+02:00"),
            ),
        ),
        (
            "dec",
            Arc::new(
                Decimal128Array::from(vec![Some(12345), None])
                    .with_precision_and_scale(20, 3)
                    .unwrap(),
            ),
        ),
        ("bin", Arc::new(BinaryArray::from(vec![Some(b"\x00\xff".as_ref()), None]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(3_600_000_001), None]))),
        ("null", Arc::new(NullArray::new(2))),
        ("list", Arc::new(list)),
        ("struct", Arc::new(structs)),
        ("map", Arc::new(map)),
    ];
    let rows = batch(columns);
    lake.write("s.t", WriteMode::Append, rows.clone()).await.unwrap();
    lake.write("s.t", WriteMode::Append, rows).await.unwrap();
    let expected = [",,,,,,,,,,,[],{x: },", ",,,,,,,,,,,[],{x: },"];
    let got = lake.rows("s.t").await;
    assert_eq!(got.len(), 4);
    assert_eq!(got[0].matches(',').count(), expected[0].matches(',').count(), "{got:?}");
    assert_eq!(got[2], got[3]);
    assert_eq!(
        got[2],
        "1,18446744073709551615,0.5,true,2022-01-08,2017-07-14T02:40:00.123456,\
         2017-07-14T02:40:00.123Z,12.345,00ff,01:00:00.000001,,[1, ],{x: 7},{k: 5}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_relation_and_leave_nothing_behind() {
    let lake = TestLake::new().await;
    let count: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let error =
        lake.stage("s.t", WriteMode::Replace, batch(vec![("count\t", count)])).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("count\t") && text.contains("s.t") && text.contains("hint"), "{text}");
    let files: Vec<_> =
        walk(lake.folder.path()).filter(|name| name.ends_with(".parquet")).collect();
    assert!(files.is_empty(), "{files:?}");
}

pub fn walk(folder: &std::path::Path) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found.into_iter()
}

#[tokio::test(flavor = "multi_thread")]
async fn null_keys_of_a_model_are_refused_unless_wanted() {
    let lake = TestLake::new().await;
    let rows = |rows: &[(Option<i64>, Option<i64>, &str)]| {
        let a: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
        let b: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)));
        let c: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2)));
        batch(vec![("a", a), ("b", b), ("name", c)])
    };
    lake.write("s.t", WriteMode::Replace, rows(&[(Some(1), Some(1), "old")])).await.unwrap();
    let new = rows(&[(Some(1), Some(1), "new"), (None, Some(2), "x"), (Some(3), None, "y")]);
    let modes = |null_keys| {
        let key = vec!["a".to_owned(), "b".to_owned()];
        [
            WriteMode::Upsert {
                key: key.clone(),
                update: None,
                duplicates: Duplicates::Fail,
                null_keys,
            },
            WriteMode::DeleteInsert { key, null_keys },
        ]
    };
    for mode in modes(NullKeys::Fail) {
        let error = lake.write("s.t", mode, new.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        let text = error.report();
        for part in ["2 new rows have a NULL in the key", "a, b", "null_keys: fail"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(lake.rows("s.t").await, ["1,1,old"]);
    }
    assert_eq!(lake.lake.orphans().await.unwrap().len(), 0, "nothing is left behind");
    for mode in modes(NullKeys::Insert) {
        lake.write("s.t", mode, new.clone()).await.unwrap();
    }
    assert_eq!(lake.rows("s.t").await, [",2,x", ",2,x", "1,1,new", "3,,y", "3,,y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_get_a_file_each_and_no_more() {
    let lake = TestLake::new().await;
    const PARTITIONS: i64 = 700;
    // Each batch has rows of every partition.
    let rows = |from: i64, to: i64, partitions: i64| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
        let days: ArrayRef = Arc::new(Int64Array::from_iter(
            (from..to).map(|id| (id % partitions != 5).then_some(id % partitions)),
        ));
        batch(vec![("id", ids), ("day", days)])
    };
    let write = |mode, batches: Vec<RecordBatch>| async {
        let staged = lake
            .lake
            .stage(StageRequest {
                relation: relation("s.t"),
                mode,
                partition_by: Some(vec!["day".to_owned()]),
                rows: BatchStream::from_batches(batches[0].schema(), batches),
                base: lake.lake.snapshot(At::Now).await?,
                comments: vec![],
                observers: vec![],
                run: run(),
            })
            .await?;
        publish(&lake.lake, staged).await
    };
    let files = || async {
        let out = lake.query("s.t", "select count(*), count(distinct day), sum(id) from t").await;
        (lake.files("s.t"), out)
    };
    let all = (0..6).map(|part| rows(part * 2_000, (part + 1) * 2_000, PARTITIONS)).collect();
    write(WriteMode::Replace, all).await.unwrap();
    let sum: i64 = (0..12_000).sum();
    let (count, out) = files().await;
    assert_eq!(out, [format!("12000,{},{sum}", PARTITIONS - 1)]);
    assert_eq!(count, 700);
    // Half of them are written again, those of NULL among them.
    let again = rows(0, 350, 350);
    let mode = WriteMode::ReplaceWhere { columns: vec!["day".to_owned()] };
    write(mode, vec![again]).await.unwrap();
    let sum: i64 =
        (0..12_000).filter(|id| id % PARTITIONS >= 350).sum::<i64>() + (0..350).sum::<i64>();
    let (count, out) = files().await;
    assert_eq!(count, 700);
    assert_eq!(out[0].rsplit(',').next().unwrap(), sum.to_string());
    // An upsert has to know which file holds which of the new rows, also of those that waited.
    let twice: Vec<RecordBatch> = vec![rows(0, 700, PARTITIONS), rows(0, 700, PARTITIONS)];
    write(upsert(&["id", "day"]), twice).await.unwrap();
    let duplicates = "select count(*) from (select id from t where day is not null group by id having count(*) > 1) as d";
    assert_eq!(lake.query("s.t", duplicates).await, ["0"]);
}

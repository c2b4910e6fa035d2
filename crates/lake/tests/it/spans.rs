//! Histories and spans of time: rows that end, and rows that are replaced by their time.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use tidemill_core::{TableStore, WriteMode, history};

use crate::support::*;

fn times(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter(values))
}

fn ints(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(values))
}

/// Rows `id`, `text` (long, all different), `until` (NULL).
fn open_rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter_values(ids.clone().map(|id| format!("text of {id}"))));
    batch(vec![
        ("id", ints(ids.clone().map(Some))),
        ("text", texts),
        ("until", times(ids.map(|_| None))),
    ])
}

/// Ends the rows of these ids at a time, and adds as many with new texts.
fn changes(ids: &[i64], at: i64, adds: bool) -> RecordBatch {
    let count = ids.len();
    let some = || ids.iter().copied().map(Some);
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("new {id}"))));
    let flags = |flag: bool| -> ArrayRef { Arc::new(BooleanArray::from(vec![flag; count])) };
    let (first, second) = (history::key(0), history::key(1));
    batch(vec![
        ("id", ints(some())),
        ("text", texts),
        ("until", times(ids.iter().map(|_| None))),
        (history::ADDS, flags(adds)),
        (history::ENDS, flags(true)),
        (history::UNTIL, times(ids.iter().map(|_| Some(at)))),
        (first.as_str(), ints(some())),
        (second.as_str(), times(ids.iter().map(|_| None))),
    ])
}

fn mode() -> WriteMode {
    WriteMode::History { key: vec!["id".to_owned(), "until".to_owned()], until: "until".to_owned() }
}

/// With a hash of rows every value is read again; without one, columns are copied as bytes.
async fn history_of(hash_rows: u64, row_group_rows: usize) {
    let lake = TestLake::with(|options| {
        options.hash_rows = hash_rows;
        options.row_group_rows = row_group_rows;
    })
    .await;
    lake.write("s.h", WriteMode::Replace, open_rows(0..3000)).await.unwrap();
    let second: Vec<i64> = (0..3000).step_by(7).collect();
    let staged = lake.stage("s.h", mode(), changes(&second, 5, true)).await.unwrap();
    assert_eq!((staged.rows_written, staged.rows_changed), (429, 429));
    assert_eq!(staged.hash.is_some(), hash_rows > 0);
    publish(&lake.lake, staged).await.unwrap();
    // A row that has ended does not end again; one of the new ones does.
    lake.write("s.h", mode(), changes(&[7, 8], 9, false)).await.unwrap();
    let sql = "select count(*), count(until), count(distinct id), sum(case when text like 'text of %' then id else 0 end) from t";
    assert_eq!(lake.query("s.h", sql).await, [format!("3429,431,3000,{}", (0..3000).sum::<i64>())]);
    assert_eq!(
        lake.query("s.h", "select id, text, until from t where id in (7, 8, 9) order by 1, 2")
            .await,
        [
            "7,new 7,1970-01-01T00:00:00.000009",
            "7,text of 7,1970-01-01T00:00:00.000005",
            "8,text of 8,1970-01-01T00:00:00.000009",
            "9,text of 9,",
        ]
    );
    // Bounds and NULL counts of the files are those of the new values.
    assert_eq!(
        lake.query("s.h", "select count(*) from t where until > '1970-01-01T00:00:00.000006'")
            .await,
        ["2"]
    );
    // Nothing to do is nothing done.
    let staged = lake.stage("s.h", mode(), changes(&[5000], 9, false)).await.unwrap();
    assert_eq!((staged.rows_written, staged.rows_changed), (0, 0));
    lake.lake.discard(&staged).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_history_end_and_begin() {
    for row_group_rows in [1 << 20, 500] {
        history_of(1_000_000, row_group_rows).await;
        history_of(0, row_group_rows).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_comes_to_a_history() {
    let lake = TestLake::with(|options| options.hash_rows = 0).await;
    lake.write("s.h", WriteMode::Replace, open_rows(0..10)).await.unwrap();
    let rows = changes(&[3], 5, true);
    let mut columns: Vec<(String, ArrayRef)> = rows
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .zip(rows.columns().iter().cloned())
        .collect();
    columns.push(("more".to_owned(), ints([Some(1)])));
    let rows =
        batch(columns.iter().map(|(name, column)| (name.as_str(), column.clone())).collect());
    lake.write("s.h", mode(), rows).await.unwrap();
    assert_eq!(
        lake.query("s.h", "select id, text, until, more from t where id in (3, 4)").await,
        ["3,new 3,,1", "3,text of 3,1970-01-01T00:00:00.000005,", "4,text of 4,,"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_time_are_replaced() {
    for hash_rows in [0, 1_000_000] {
        let lake = TestLake::with(|options| options.hash_rows = hash_rows).await;
        let rows = |ids: &[i64], at: &[Option<i64>]| {
            batch(vec![
                ("id", ints(ids.iter().copied().map(Some))),
                ("at", times(at.iter().copied())),
            ])
        };
        lake.write("s.t", WriteMode::Replace, rows(&[1, 2, 3], &[Some(0), Some(10), None]))
            .await
            .unwrap();
        lake.write("s.t", WriteMode::Append, rows(&[4, 5], &[Some(20), Some(25)])).await.unwrap();
        lake.write("s.t", WriteMode::Append, rows(&[6], &[Some(40)])).await.unwrap();
        let mode = |ranges: &[(i64, i64)]| WriteMode::ReplaceRanges {
            column: "at".to_owned(),
            ranges: ranges.to_vec(),
        };
        // A row of a file, a file as a whole, nothing of the third.
        let staged = lake.stage("s.t", mode(&[(5, 15), (20, 30)]), rows(&[7], &[Some(12)])).await;
        let staged = staged.unwrap();
        assert_eq!((staged.rows, staged.rows_changed), (Some(4), 3));
        publish(&lake.lake, staged).await.unwrap();
        assert_eq!(lake.query("s.t", "select id from t").await, ["1", "3", "6", "7"]);
        // Of whole numbers as well.
        let numbers =
            |column: &str, ranges| WriteMode::ReplaceRanges { column: column.to_owned(), ranges };
        let staged = lake.stage("s.t", numbers("id", vec![(2, 4), (7, 8)]), rows(&[8], &[None]));
        publish(&lake.lake, staged.await.unwrap()).await.unwrap();
        assert_eq!(lake.query("s.t", "select id from t").await, ["1", "6", "8"]);
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let named = batch(vec![("name", names)]);
        lake.write("s.u", WriteMode::Replace, named.clone()).await.unwrap();
        let refused = lake.stage("s.u", numbers("name", vec![(0, 1)]), named).await;
        assert!(
            refused.unwrap_err().to_string().contains("must be a date, a timestamp or a whole")
        );
    }
}

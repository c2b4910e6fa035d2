//! Random sequences of writes against a table in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;
use tidemill_core::{Duplicates, Maintenance, NullKeys, TableStore, WriteMode};

use crate::support::*;

type Row = (Option<i64>, Option<&'static str>, i64);

#[derive(Debug, Clone)]
enum Op {
    Replace(Vec<Row>),
    /// Without NULLs in the key.
    ReplaceByKey(Vec<Row>),
    Append(Vec<Row>),
    Upsert(Vec<Row>, bool),
    DeleteInsert(Vec<Row>, bool),
    ReplaceWhere(Vec<Row>),
    ReplaceValues(Vec<Row>, Vec<&'static str>),
    Compact,
}

fn row() -> impl Strategy<Value = Row> {
    (
        prop::option::weighted(0.9, 0..12i64),
        prop::option::weighted(0.8, prop::sample::select(vec!["a", "b/c", "d"])),
        0..1000i64,
    )
}

fn op() -> impl Strategy<Value = Op> {
    let rows = || prop::collection::vec(row(), 0..10);
    prop_oneof![
        1 => rows().prop_map(Op::Replace),
        2 => rows().prop_map(|mut rows| {
            rows.retain(|row| row.0.is_some());
            Op::ReplaceByKey(rows)
        }),
        4 => rows().prop_map(Op::Append),
        4 => (rows(), any::<bool>()).prop_map(|(rows, wide)| Op::Upsert(rows, wide)),
        3 => (rows(), any::<bool>()).prop_map(|(rows, wide)| Op::DeleteInsert(rows, wide)),
        2 => rows().prop_map(Op::ReplaceWhere),
        2 => (rows(), prop::collection::vec(prop::sample::select(vec!["a", "b/c", "z"]), 0..3))
            .prop_map(|(rows, values)| Op::ReplaceValues(rows, values)),
        1 => Just(Op::Compact),
    ]
}

fn to_batch(rows: &[Row]) -> RecordBatch {
    let a: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
    let b: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1)));
    let c: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
    batch(vec![("a", a), ("b", b), ("c", c)])
}

/// The key of a row, `None` if it has a NULL.
fn key(row: &Row, wide: bool) -> Option<(i64, &'static str)> {
    Some((row.0?, if wide { row.1? } else { "" }))
}

fn apply(table: &mut Vec<Row>, op: &Op) {
    match op {
        Op::Replace(rows) => *table = rows.clone(),
        Op::ReplaceByKey(rows) => {
            table.clear();
            apply(table, &Op::Upsert(rows.clone(), false));
        }
        Op::Append(rows) => table.extend(rows),
        Op::Upsert(rows, wide) => {
            let mut new: Vec<Row> = Vec::new();
            for row in rows {
                if let Some(key_of) = key(row, *wide) {
                    new.retain(|other| key(other, *wide) != Some(key_of));
                }
                new.push(*row);
            }
            table.retain(|old| {
                key(old, *wide).is_none_or(|k| !new.iter().any(|row| key(row, *wide) == Some(k)))
            });
            table.extend(new);
        }
        Op::DeleteInsert(rows, wide) => {
            table.retain(|old| {
                key(old, *wide).is_none_or(|k| !rows.iter().any(|row| key(row, *wide) == Some(k)))
            });
            table.extend(rows);
        }
        Op::ReplaceWhere(rows) => {
            table.retain(|old| !rows.iter().any(|row| row.1 == old.1));
            table.extend(rows);
        }
        Op::ReplaceValues(rows, values) => {
            table.retain(|old| old.1.is_none_or(|b| !values.contains(&b)));
            table.extend(rows);
        }
        Op::Compact => {}
    }
}

fn mode(op: &Op) -> WriteMode {
    let key = |wide: bool| if wide { vec!["a".into(), "b".into()] } else { vec!["a".into()] };
    match op {
        Op::Replace(_) | Op::Compact => WriteMode::Replace,
        Op::ReplaceByKey(_) => WriteMode::ReplaceByKey { key: key(false) },
        Op::Append(_) => WriteMode::Append,
        Op::Upsert(_, wide) => WriteMode::Upsert {
            key: key(*wide),
            update: None,
            duplicates: Duplicates::KeepLast,
            null_keys: NullKeys::Insert,
        },
        Op::DeleteInsert(_, wide) => {
            WriteMode::DeleteInsert { key: key(*wide), null_keys: NullKeys::Insert }
        }
        Op::ReplaceWhere(_) => WriteMode::ReplaceWhere { columns: vec!["b".into()] },
        Op::ReplaceValues(_, values) => WriteMode::ReplaceValues {
            column: "b".into(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        },
    }
}

async fn check(ops: Vec<Op>, partitioned: bool, keys_in_memory: usize) {
    let lake = TestLake::with(|options| {
        options.keys_in_memory = keys_in_memory;
        options.smallest_file = 1;
        options.largest_file = 1 << 20;
    })
    .await;
    let mut table: Vec<Row> = Vec::new();
    for op in ops {
        apply(&mut table, &op);
        let rows = match &op {
            Op::Compact => {
                lake.lake.maintain(&Maintenance::default()).await.unwrap();
                continue;
            }
            Op::Replace(rows)
            | Op::ReplaceByKey(rows)
            | Op::Append(rows)
            | Op::Upsert(rows, _)
            | Op::DeleteInsert(rows, _)
            | Op::ReplaceWhere(rows)
            | Op::ReplaceValues(rows, _) => to_batch(rows),
        };
        let partition_by = if partitioned { vec!["b".to_owned()] } else { vec![] };
        let staged = stage(&lake.lake, "s.t", mode(&op), partition_by, rows).await.unwrap();
        let hash = staged.hash.clone();
        publish(&lake.lake, staged).await.unwrap();
        let mut expected = lines(&[to_batch(&table)]);
        expected.sort();
        assert_eq!(lake.rows("s.t").await, expected, "after {op:?}");
        let whole = lake.stage("s.whole", WriteMode::Replace, to_batch(&table)).await.unwrap();
        if hash.is_some() {
            assert_eq!(hash, whole.hash, "after {op:?}");
        }
        assert_eq!(lake.query("s.t", "select count(*) from t").await, [table.len().to_string()]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn writes_do_what_they_say(
        ops in prop::collection::vec(op(), 1..8),
        partitioned in any::<bool>(),
        keys_in_memory in prop::sample::select(vec![1usize, 3, 1_000_000]),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(check(ops, partitioned, keys_in_memory));
    }
}

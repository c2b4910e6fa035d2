//! Every measure, however it is taken, equals its SQL.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch,
    StringArray, StringViewArray,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tidemill_core::{
    Cancellation, Measure, Overlay, Principal, QueryContext, Reference, RelationName, RunId,
};

use super::{measure, sql};
use crate::{EmbeddedEngine, EngineOptions, MemoryTables};

#[derive(Debug, Clone)]
struct Row {
    a: Option<i64>,
    b: Option<i32>,
    s: Option<&'static str>,
    d: Option<i32>,
    n: Option<i128>,
    f: Option<bool>,
}

const WORDS: [&str; 9] =
    ["", "a", "abc", "AB12", "é", "a longer text than twelve", "o'b", "x\ny", "DELIVER IN PERSON"];

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::weighted(0.9, -3i64..12),
        prop::option::weighted(0.9, 0i32..4),
        prop::option::weighted(0.8, prop::sample::select(WORDS.to_vec())),
        prop::option::weighted(0.9, 19_000i32..19_005),
        prop::option::weighted(0.9, -200i128..200),
        prop::option::weighted(0.7, any::<bool>()),
    );
    prop::collection::vec(row.prop_map(|(a, b, s, d, n, f)| Row { a, b, s, d, n, f }), 0..60)
}

fn batch(rows: &[Row], views: bool) -> RecordBatch {
    let text: ArrayRef = match views {
        true => Arc::new(rows.iter().map(|row| row.s).collect::<StringViewArray>()),
        false => Arc::new(rows.iter().map(|row| row.s).collect::<StringArray>()),
    };
    let decimals: Decimal128Array = rows.iter().map(|row| row.n).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("a", Arc::new(rows.iter().map(|row| row.a).collect::<Int64Array>()) as ArrayRef, true),
        ("b", Arc::new(rows.iter().map(|row| row.b).collect::<Int32Array>()), true),
        ("s", text, true),
        ("d", Arc::new(rows.iter().map(|row| row.d).collect::<Date32Array>()), true),
        ("n", Arc::new(decimals.with_precision_and_scale(10, 2).unwrap()), true),
        ("f", Arc::new(rows.iter().map(|row| row.f).collect::<BooleanArray>()), true),
    ])
    .unwrap()
}

fn all_measures(filter: Option<String>) -> Vec<Measure> {
    let duplicates = |expressions: &[&str], ignore_nulls| Measure::Duplicates {
        expressions: expressions.iter().map(|text| (*text).to_owned()).collect(),
        ignore_nulls,
        filter: filter.clone(),
    };
    let matching = |pattern: &str, ignore_case| Measure::Mismatches {
        expression: "s".into(),
        pattern: pattern.into(),
        ignore_case,
        filter: filter.clone(),
    };
    let unaccepted = |expression: &str, accepted: &[&str]| Measure::Unaccepted {
        expression: expression.into(),
        accepted: accepted.iter().map(|text| (*text).to_owned()).collect(),
        filter: filter.clone(),
    };
    let orphans = |expression: &str, parent: &str, parent_filter: Option<&str>| Measure::Orphans {
        expression: expression.into(),
        reference: Reference {
            relation: RelationName::new("main", "p"),
            expression: parent.into(),
            filter: parent_filter.map(str::to_owned),
        },
        filter: filter.clone(),
    };
    let mut all = vec![
        Measure::Rows { filter: filter.clone() },
        duplicates(&["a"], true),
        duplicates(&["a"], false),
        duplicates(&["s"], true),
        duplicates(&["s"], false),
        duplicates(&["a", "b"], false),
        duplicates(&["a", "d", "b"], true),
        duplicates(&["n"], true),
        duplicates(&["f", "b"], false),
        duplicates(&["s", "a"], false),
        duplicates(&["a", "n", "d"], false),
        duplicates(&["a % 3", "lower(s)"], true),
        matching("^[a-z]+$", false),
        matching("^[a-z]+$", true),
        matching("^.{1,4}$", false),
        matching("b", false),
        matching("^(a|abc|AB12)$", false),
        matching("(a|x)y?", true),
        unaccepted("s", &["'a'", "'abc'", "'o''b'"]),
        unaccepted("b", &["1", "2"]),
        unaccepted("a", &["1", "2", "3", "4"]),
        unaccepted("upper(s)", &["'A'"]),
        unaccepted("d", &["date '2022-01-08'"]),
        unaccepted("f", &["true"]),
        unaccepted("s", &["'a'", "null"]),
        unaccepted("s", &[]),
        orphans("a", "a", None),
        orphans("b", "a", None),
        orphans("s", "s", None),
        orphans("s", "s", Some("a > 3")),
        orphans("n", "n", None),
        orphans("n", "a", None),
        orphans("d", "d", None),
        orphans("a + 1", "b", None),
    ];
    for column in ["a", "s", "f", "a + b", "coalesce(s, 'x')", "nullif(b, 1)"] {
        let expression = column.to_owned();
        all.push(Measure::Nulls { expression, filter: filter.clone() });
    }
    for predicate in ["not (a >= 0)", "f", "s = 'a' or b > 2", "null", "n < 0.5 -- a comment"] {
        let predicate = predicate.to_owned();
        all.push(Measure::CountIf { predicate, filter: filter.clone() });
    }
    all
}

fn context(tables: &MemoryTables) -> QueryContext {
    QueryContext {
        snapshot: tables.snapshot(),
        overlay: Overlay::none(),
        principal: Principal::Owner,
        run: RunId::new("test"),
        cancel: Cancellation::new(),
        default_schema: "main".into(),
        timezone: "UTC".into(),
        now: 0,
    }
}

#[test]
fn every_measure_equals_its_sql() {
    let options = EngineOptions { threads: Some(2), ..Default::default() };
    let engine = EmbeddedEngine::new(options).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let filters = prop::sample::select(vec![None, Some("a > 2"), Some("f"), Some("s is not null")]);
    let mut runner = TestRunner::new(Config { cases: 12, ..Config::default() });
    let cases = (rows(), rows(), rows(), filters, any::<bool>(), any::<bool>());
    runner
        .run(&cases, |(first, second, parent, filter, views, mixed)| {
            let tables = Arc::new(MemoryTables::new());
            let name = RelationName::new("main", "t");
            let batches = vec![batch(&first, views), batch(&second, views)];
            tables.insert(name.clone(), batches[0].schema(), batches);
            let parent = batch(&parent, !views);
            tables.insert(RelationName::new("main", "p"), parent.schema(), vec![parent]);
            let engine = engine.with_tables(tables.clone());
            let context = context(&tables);
            let filter = filter.map(str::to_owned);
            let mut measures = all_measures(filter.clone());
            if mixed {
                measures.extend(all_measures(None));
            }
            runtime.block_on(async {
                let taken = measure(&engine, &name, &measures, &context).await.unwrap();
                for (wanted, taken) in measures.iter().zip(taken) {
                    let by_sql = sql::measure_one(&engine, &name, wanted, &context).await.unwrap();
                    prop_assert_eq!(taken.unwrap(), by_sql, "{:?}", wanted);
                }
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn a_wrong_measure_does_not_spoil_the_others() {
    let engine = EmbeddedEngine::new(EngineOptions::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tables = Arc::new(MemoryTables::new());
    let name = RelationName::new("main", "t");
    let rows = [Row { a: Some(1), b: None, s: Some("a"), d: None, n: None, f: None }];
    let batch = batch(&rows, false);
    tables.insert(name.clone(), batch.schema(), vec![batch]);
    let engine = engine.with_tables(tables.clone());
    let count_if = |predicate: &str| Measure::CountIf { predicate: predicate.into(), filter: None };
    let measures = [
        count_if("a = 1"),
        count_if("amount = 1"),
        Measure::Nulls { expression: "b".into(), filter: None },
        Measure::Mismatches {
            expression: "s".into(),
            pattern: "(".into(),
            ignore_case: false,
            filter: None,
        },
        Measure::Query { sql: "select count(*) - 3 from t".into() },
        Measure::Query { sql: "select nothing from t".into() },
        Measure::Orphans {
            expression: "a".into(),
            reference: Reference {
                relation: RelationName::new("main", "missing"),
                expression: "a".into(),
                filter: None,
            },
            filter: None,
        },
        count_if("a in (select a from t where a > 5)"),
    ];
    let taken = runtime.block_on(measure(&engine, &name, &measures, &context(&tables))).unwrap();
    let texts: Vec<String> = taken
        .iter()
        .map(|taken| match taken {
            Ok(value) => value.as_f64().to_string(),
            Err(error) => error.to_string(),
        })
        .collect();
    assert_eq!(texts[0], "1");
    assert!(texts[1].starts_with("column `amount` does not exist"), "{}", texts[1]);
    assert_eq!(texts[2], "1");
    assert_eq!(texts[3], "wrong regular expression");
    assert_eq!(texts[4], "-2");
    assert!(texts[5].contains("`nothing` does not exist"), "{}", texts[5]);
    assert!(texts[6].starts_with("relation `main.missing` does not exist"), "{}", texts[6]);
    assert_eq!(texts[7], "0");
}

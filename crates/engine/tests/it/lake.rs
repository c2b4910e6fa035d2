//! The engine over a lake on disk: what statistics prove and what bits find.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use tidemill_core::{
    At, BatchStream, Cancellation, Engine, Measure, Measurement, Overlay, OverlayEntry, Principal,
    PublishChange, PublishMeta, QueryContext, Reference, RelationName, RunId, StageRequest, Staged,
    TableStore, WriteMode,
};
use tidemill_engine::{EmbeddedEngine, EngineOptions};
use tidemill_lake::{Lake, LakeOptions};

struct Project {
    engine: EmbeddedEngine,
    lake: Arc<Lake>,
    _folder: tempfile::TempDir,
}

impl Project {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = EngineOptions { threads: Some(2), ..Default::default() };
        let engine = EmbeddedEngine::new(options).unwrap();
        let lake = Lake::open(
            folder.path().join("lake").to_str().unwrap(),
            LakeOptions::new(engine.runtime()),
        )
        .await
        .unwrap();
        let lake = Arc::new(lake);
        let engine = engine.with_tables(lake.clone());
        Project { engine, lake, _folder: folder }
    }

    async fn stage(&self, name: &str, batches: Vec<RecordBatch>) -> Staged {
        let request = StageRequest {
            relation: RelationName::parse(name).unwrap(),
            mode: WriteMode::Replace,
            partition_by: None,
            rows: BatchStream::from_batches(batches[0].schema(), batches),
            base: self.lake.snapshot(At::Now).await.unwrap(),
            comments: Vec::new(),
            observers: Vec::new(),
            run: RunId::new("test"),
        };
        self.lake.stage(request).await.unwrap()
    }

    async fn publish(&self, name: &str, batches: Vec<RecordBatch>) {
        let staged = self.stage(name, batches).await;
        let change = PublishChange::Table(Arc::new(staged), PublishMeta::default());
        self.lake.publish(vec![change], &RunId::new("test")).await.unwrap();
    }

    async fn context(&self) -> QueryContext {
        QueryContext {
            snapshot: self.lake.snapshot(At::Now).await.unwrap(),
            overlay: Overlay::none(),
            principal: Principal::Owner,
            run: RunId::new("test"),
            cancel: Cancellation::new(),
            default_schema: "main".into(),
            timezone: "UTC".into(),
            now: 0,
        }
    }

    async fn counts(&self, name: &str, measures: &[Measure], context: &QueryContext) -> Vec<f64> {
        let name = RelationName::parse(name).unwrap();
        let taken = self.engine.measure(&name, measures, context).await.unwrap();
        taken.into_iter().map(|taken| taken.unwrap().as_f64()).collect()
    }
}

const ROWS: i64 = 60_000;

/// Lines of orders: `id` four to an order, in an order that is not that of the keys.
fn lines(rows: i64, twice: i64) -> RecordBatch {
    let at = |row: i64| (row * 7_919) % rows;
    let numbers = (0..rows).chain(0..twice);
    let id: Vec<i64> = numbers.clone().map(|row| at(row) / 4 + 10).collect();
    let line: Vec<i32> = numbers.clone().map(|row| (at(row) % 4) as i32).collect();
    let sparse: Vec<i64> =
        numbers.clone().map(|row| at(row).wrapping_mul(0x9E37_79B9_7F4A)).collect();
    let text: Vec<String> = numbers.clone().map(|row| format!("k{}", at(row))).collect();
    let price: Decimal128Array =
        numbers.clone().map(|row| Some(i128::from(at(row) % 500))).collect();
    let day: Date32Array = numbers.clone().map(|row| Some((at(row) % 100) as i32)).collect();
    let status: Vec<&str> =
        numbers.map(|row| ["NEW", "PAID AND SENT OUT"][(at(row) % 2) as usize]).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(id)) as ArrayRef, true),
        ("line", Arc::new(Int32Array::from(line)), true),
        ("sparse", Arc::new(Int64Array::from(sparse)), true),
        ("text", Arc::new(StringArray::from(text)), true),
        ("price", Arc::new(price.with_precision_and_scale(15, 2).unwrap()), true),
        ("day", Arc::new(day), true),
        ("status", Arc::new(StringArray::from(status)), true),
    ])
    .unwrap()
}

fn duplicates(expressions: &[&str]) -> Measure {
    Measure::Duplicates {
        expressions: expressions.iter().map(|text| (*text).to_owned()).collect(),
        ignore_nulls: false,
        filter: None,
    }
}

fn count_if(predicate: &str, filter: Option<&str>) -> Measure {
    Measure::CountIf { predicate: predicate.into(), filter: filter.map(str::to_owned) }
}

fn all() -> Vec<Measure> {
    vec![
        duplicates(&["id", "line"]),
        duplicates(&["sparse"]),
        duplicates(&["text"]),
        duplicates(&["id"]),
        count_if("not (line >= 0) or not (line <= 3)", None),
        count_if("not (price >= 0) or not (price <= 4.98)", None),
        count_if("not (price >= 0) or not (price <= 4.99)", Some("line = 1")),
        count_if("day > date '1971-01-01'", None),
        Measure::Nulls { expression: "id".into(), filter: None },
        Measure::Rows { filter: None },
        Measure::Unaccepted {
            expression: "line".into(),
            accepted: ["0", "1", "2", "3"].map(str::to_owned).to_vec(),
            filter: None,
        },
        Measure::Unaccepted {
            expression: "status".into(),
            accepted: vec!["'NEW'".into()],
            filter: None,
        },
        Measure::Mismatches {
            expression: "status".into(),
            pattern: "^[A-Z]+( [A-Z]+)*$".into(),
            ignore_case: false,
            filter: None,
        },
        Measure::Orphans {
            expression: "id".into(),
            reference: Reference {
                relation: RelationName::new("main", "orders"),
                expression: "id".into(),
                filter: None,
            },
            filter: None,
        },
    ]
}

#[tokio::test]
async fn measures_of_published_and_staged_tables() {
    let project = Project::new().await;
    let orders: Vec<i32> = (10..ROWS as i32 / 4 + 10).filter(|id| *id != 11).collect();
    let orders =
        RecordBatch::try_from_iter([("id", Arc::new(Int32Array::from(orders)) as ArrayRef)]);
    project.publish("main.orders", vec![orders.unwrap()]).await;
    project.publish("main.lines", vec![lines(ROWS, 0)]).await;
    let mut context = project.context().await;
    let rows = ROWS as f64;
    let every_500th = rows / 500.0;
    let published = project.counts("main.lines", &all(), &context).await;
    assert_eq!(
        published,
        [0., 0., 0., rows / 4., 0., every_500th, 0., 0., 0., rows, 0., 1., 0., 4.]
    );
    // The same table, staged with eight rows twice and one of them with a line of its own.
    let staged = project.stage("main.lines", vec![lines(ROWS, 8)]).await;
    let name = RelationName::new("main", "lines");
    context.overlay = context.overlay.with(name, OverlayEntry::Staged(Arc::new(staged)));
    let staged = project.counts("main.lines", &all()[..4], &context).await;
    assert_eq!(staged, [8., 8., 8., rows / 4.]);
}

#[tokio::test]
async fn a_table_is_seen_as_it_was_published() {
    let project = Project::new().await;
    project.publish("main.lines", vec![lines(100, 0)]).await;
    let before = project.context().await;
    project.publish("main.lines", vec![lines(50, 0)]).await;
    let after = project.context().await;
    let name = RelationName::new("main", "lines");
    for (context, rows) in [(before, 100), (after, 50)] {
        let taken = project
            .engine
            .measure(
                &name,
                &[Measure::Query { sql: "select count(*) from lines".into() }],
                &context,
            )
            .await
            .unwrap();
        assert_eq!(*taken[0].as_ref().unwrap(), Measurement::Count(rows));
    }
}

#[tokio::test]
async fn filters_keep_the_rows_they_are_true_for() {
    let project = Project::new().await;
    project.publish("main.lines", vec![lines(ROWS, 0)]).await;
    let context = project.context().await;
    let quarter = ROWS as f64 / 4.0;
    for (sql, expected) in [
        ("select count(*) from lines where line = 1", quarter),
        ("select count(text) from lines where line = 1", quarter),
        ("select sum(line) from lines where line >= 2 and price >= 0", 5.0 * quarter),
        // NULL is not true.
        ("select count(*) from lines where nullif(line, 1) > 0", 2.0 * quarter),
        ("select count(*) from lines where not (nullif(line, 1) > 0)", quarter),
        ("select count(*) from lines where price = 1.00 and day < date '1970-01-02'", 120.0),
        ("select count(*) from lines where price = 1.00 and day > date '1970-01-02'", 0.0),
        ("select count(*) from lines where text = 'k77'", 1.0),
        ("select line from lines where id = 10 and line = 3", 3.0),
        ("select count(*) from (select id + line from lines where line = 1 limit 10)", 10.0),
        ("select count(*) from lines a join lines b on a.id = b.id where b.text = 'k77'", 4.0),
    ] {
        let name = RelationName::new("main", "lines");
        let measure = [Measure::Query { sql: sql.into() }];
        let taken = project.engine.measure(&name, &measure, &context).await.unwrap();
        assert_eq!(taken[0].as_ref().unwrap().as_f64(), expected, "{sql}");
    }
}

/// A table remembers which of its texts are `jsonb`, and a cast to text takes that away.
#[tokio::test]
async fn tables_keep_which_texts_are_json() {
    use arrow::array::AsArray;
    use futures::TryStreamExt;
    let project = Project::new().await;
    let ask = async |sql: &str| {
        let context = project.context().await;
        let stream = project.engine.query(sql, &context).await.unwrap();
        stream.batches.try_collect::<Vec<RecordBatch>>().await.unwrap()
    };
    let rows = ask("select '{\"b\":1}'::jsonb as a, '{\"c\":2}'::jsonb as b, 'x' as c").await;
    project.publish("main.t", rows).await;
    let again = ask("select a, b from t").await;
    project.publish("main.u", again).await;
    for (sql, expected) in [
        ("select a || b from t", r#"{"b": 1, "c": 2}"#),
        ("select a || b from u", r#"{"b": 1, "c": 2}"#),
        ("select a::text || b::text from t", r#"{"b": 1}{"c": 2}"#),
        ("select x || y from (select a::text as x, b::text as y from t) s", r#"{"b": 1}{"c": 2}"#),
        ("select a || c from (select a, '[1]'::text as c from t) s", r#"[{"b": 1}, 1]"#),
        ("select c || c from t", "xx"),
        ("select jsonb_agg(a) from t", r#"[{"b": 1}]"#),
        ("select to_jsonb(c) || coalesce(a, b) from t", r#"["x", {"b": 1}]"#),
        ("select jsonb_build_object('k', a, 'c', c) from t", r#"{"c": "x", "k": {"b": 1}}"#),
        ("select jsonb_build_array(a) from t", r#"[{"b": 1}]"#),
        ("select jsonb_build_array(x) from (select c, '[1]'::jsonb as x from t) s", "[[1]]"),
        ("select jsonb_build_array(x) from (select to_jsonb(c) as x from t) s", r#"["x"]"#),
        ("select to_jsonb(a) from t", r#"{"b": 1}"#),
        ("select pg_typeof(a) from t", "jsonb"),
        ("select pg_typeof(a::text) from t", "text"),
    ] {
        let rows = ask(sql).await;
        let column = arrow::compute::cast(rows[0].column(0), &arrow::datatypes::DataType::Utf8);
        assert_eq!(column.unwrap().as_string::<i32>().value(0), expected, "{sql}");
    }
}

/// The days of a table that holds few of them: DataFusion would estimate more rows than there are, and
/// refuse the query.
#[tokio::test]
async fn days_of_timestamps_are_compared() {
    use futures::TryStreamExt;
    let project = Project::new().await;
    let ask = async |sql: &str| {
        let context = project.context().await;
        let stream = project.engine.query(sql, &context).await.unwrap();
        stream.batches.try_collect::<Vec<RecordBatch>>().await.unwrap()
    };
    let rows = "select * from (values (1, timestamp '2024-01-01 23:00:00'), \
                (2, timestamp '2024-01-02 02:00:00'), (3, null)) as v (id, ts)";
    let rows = ask(rows).await;
    project.publish("main.t", rows).await;
    for (condition, expected) in [
        ("cast(ts as date) >= date '2024-01-01' and id > 0", 2),
        ("cast(ts as date) < date '2024-01-02' and id > 0", 1),
        ("cast(ts as date) <= date '2024-01-02' and id > 0", 2),
        ("date '2024-01-01' < cast(ts as date) and id > 0", 1),
        ("cast(ts as date) = date '2024-01-02' and id > 0", 1),
        ("cast(ts as date) <> date '2024-01-02' and id > 0", 1),
        ("not (cast(ts as date) = date '2024-01-02') and id > 0", 1),
        ("cast(ts as date) between date '2024-01-01' and date '2024-01-02' and id > 0", 2),
        ("cast(ts as date) = date '2024-01-01' + (id - 1)::int and id > 0", 2),
        ("cast(ts + interval '1 hour' as date) = date '2024-01-02' and id > 0", 2),
        (
            "cast(ts as date) in ('2024-01-01', '2024-01-03', '2024-01-04', '2024-01-05') and id > 0",
            1,
        ),
    ] {
        let rows = ask(&format!("select id from t where {condition}")).await;
        let found: usize = rows.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(found, expected, "{condition}");
    }
}

//! What a query sees, and what is refused.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use tidemill_core::{Engine, ErrorKind, OverlayEntry, QueryContext, RelationName};
use tidemill_engine::MemoryTables;

use crate::support::{Setup, flat};

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn words(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn shop() -> Setup {
    let setup = Setup::new();
    setup.table(
        "main.orders",
        vec![("id", numbers(&[1, 2, 3])), ("status", words(&["new", "paid", "new"]))],
    );
    setup.view("main.new_orders", "select * from orders where status = 'new'");
    setup.view("staging.stg_orders", "select id as order_id from main.new_orders");
    setup
}

#[tokio::test]
async fn relations_are_found_under_all_their_names() {
    let setup = shop();
    for name in [
        "orders",
        "main.orders",
        "\"main\".\"orders\"",
        "lake.main.orders",
        "\"tidemill\".\"main\".\"orders\"",
        "ORDERS",
        "`orders`",
    ] {
        assert_eq!(setup.text(&format!("select count(*) from {name}")).await, "3", "{name}");
    }
}

#[tokio::test]
async fn views_read_views_and_the_description_knows_all_of_them() {
    let setup = shop();
    assert_eq!(setup.text("select order_id from staging.stg_orders order by 1").await, "1\n3");
    let description = setup
        .engine
        .describe(
            "with orders as (select * from orders) select order_id, now() as at from staging.stg_orders, orders",
            &setup.context(),
        )
        .await
        .unwrap();
    let names =
        |list: &[RelationName]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
    assert_eq!(names(&description.direct_relations), ["main.orders", "staging.stg_orders"]);
    assert_eq!(
        names(&description.relations),
        ["main.new_orders", "main.orders", "staging.stg_orders"]
    );
    assert_eq!(description.volatile_functions, ["now"]);
    assert!(!description.current_date);
}

#[tokio::test]
async fn moving_functions_are_reported_through_views() {
    let setup = shop();
    setup.view("main.today", "select current_date as d");
    setup.view("main.lucky", "select random() as r, uuid() as u");
    let context = setup.context();
    let description = setup.engine.describe("select * from today", &context).await.unwrap();
    assert!(description.current_date && description.volatile_functions.is_empty());
    let description =
        setup.engine.describe("select (select max(r) from lucky)", &context).await.unwrap();
    assert_eq!(description.volatile_functions, ["random", "uuid"]);
}

#[tokio::test]
async fn a_view_that_reads_itself_is_an_error() {
    let setup = shop();
    setup.view("main.a", "select * from b");
    setup.view("main.b", "select * from a");
    let error = setup.rows("select * from a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Query);
    assert!(error.message().contains("main.a -> main.b -> main.a"), "{error}");
}

#[tokio::test]
async fn a_view_is_planned_again_when_what_it_reads_is_another() {
    let setup = shop();
    setup.table("main.t", vec![("id", numbers(&[1, 2]))]);
    setup.view("main.inner", "select * from t");
    setup.view("main.outer", "select max(id) as m, count(*) as n from inner");
    for _ in 0..2 {
        assert_eq!(setup.text("select * from outer").await, "2|2");
    }
    // Other rows, and another type.
    setup.table("main.t", vec![("id", numbers(&[5]))]);
    assert_eq!(setup.text("select * from outer").await, "5|1");
    setup.table("main.t", vec![("id", words(&["x"]))]);
    assert_eq!(setup.text("select * from outer").await, "x|1");
    // Another text of a view within.
    setup.view("main.inner", "select 7 as id union all select 8");
    assert_eq!(setup.text("select * from outer").await, "8|2");
    let mut context = setup.context();
    let inner = RelationName::new("main", "inner");
    context.overlay = context
        .overlay
        .with(inner.clone(), OverlayEntry::View("select id from public.t".to_owned()));
    let of =
        async |sql: &str, context: &QueryContext| flat(&setup.rows_in(sql, context).await.unwrap());
    // A name that was not there.
    assert!(setup.rows_in("select * from outer", &context).await.is_err());
    setup.table("public.t", vec![("id", numbers(&[3]))]);
    context.snapshot = setup.context().snapshot;
    assert_eq!(of("select * from outer", &context).await, "3|1");
    // What is staged is not kept; what is read is said of a plan that is kept, too.
    let batch = setup.rows("select 9 as id").await.unwrap().remove(0);
    for value in [9, 10] {
        let batch = match value {
            9 => batch.clone(),
            _ => setup.rows("select 10 as id").await.unwrap().remove(0),
        };
        let staged = MemoryTables::stage(inner.clone(), batch.schema(), vec![batch]);
        let staged = OverlayEntry::Staged(Arc::new(staged));
        context.overlay = context.overlay.with(inner.clone(), staged);
        assert_eq!(of("select * from outer", &context).await, format!("{value}|1"));
    }
    let context = setup.context();
    for _ in 0..2 {
        let said = setup.engine.describe("select * from outer", &context).await.unwrap();
        let read: Vec<String> = said.relations.iter().map(ToString::to_string).collect();
        assert_eq!(read, ["main.inner", "main.outer"]);
    }
    // However views came to be deep, they are not deeper than is allowed.
    setup.view("main.v0", "select 1 as id");
    let mut deepest = Ok(String::new());
    for depth in 1..100 {
        setup.view(&format!("main.v{depth}"), &format!("select * from v{}", depth - 1));
        let rows = setup.rows(&format!("select * from v{depth}")).await;
        deepest = rows.map(|rows| flat(&rows));
    }
    assert!(deepest.unwrap_err().message().contains("levels deep"));
}

#[tokio::test]
async fn an_overlay_stands_in_front_of_the_snapshot() {
    let setup = shop();
    let orders = RelationName::new("main", "orders");
    let mut context = setup.context();
    let batch = setup.rows("select 9 as id, 'new' as status").await.unwrap().remove(0);
    let staged = MemoryTables::stage(orders.clone(), batch.schema(), vec![batch]);
    context.overlay = context
        .overlay
        .with(orders.clone(), OverlayEntry::Staged(Arc::new(staged)))
        .with(RelationName::new("main", "extra"), OverlayEntry::View("select 7 as x".into()));
    let seen = setup.rows_in("select id from new_orders union all select x from extra", &context);
    let seen = crate::support::flat(&seen.await.unwrap());
    assert!(seen == "9\n7" || seen == "7\n9", "{seen}");
    context.overlay = context.overlay.with(orders, OverlayEntry::Absent);
    let error = setup.rows_in("select * from orders", &context).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn errors_say_what_and_where() {
    let setup = shop();
    for (sql, kind, expected) in [
        (
            "select id,\n  statu from orders",
            ErrorKind::Query,
            "column `statu` does not exist; did you mean `status`? (line: 2, column: 3)",
        ),
        (
            "select * from order_s",
            ErrorKind::NotFound,
            "relation `main.order_s` does not exist; did you mean `main.orders`? (line: 1, column: 15)",
        ),
        (
            "select * from stg_orders",
            ErrorKind::NotFound,
            "relation `main.stg_orders` does not exist; did you mean `staging.stg_orders`? (line: 1, column: 15)",
        ),
        (
            "select lenth(status) from orders",
            ErrorKind::Query,
            "function `lenth` does not exist; did you mean `length`? (line: 1, column: 8)",
        ),
        ("select 1 / 0", ErrorKind::Data, "division by zero"),
        (
            "select * from shop.main.orders",
            ErrorKind::NotFound,
            "database `shop` does not exist; this lake is `tidemill` (line: 1, column: 15)",
        ),
        (
            "selec 1",
            ErrorKind::Query,
            "syntax error: expected: an SQL statement, found: selec (line: 1, column: 1)",
        ),
        (
            "drop table orders",
            ErrorKind::Denied,
            "only queries can be run here, not `DROP TABLE`; tables are changed by building models",
        ),
    ] {
        let error = setup.rows(sql).await.unwrap_err();
        assert_eq!(error.to_string(), expected, "{sql}");
        assert_eq!(error.kind(), kind, "{sql}");
    }
}

#[tokio::test]
async fn results_have_plain_types() {
    let setup = shop();
    let result = setup
        .engine
        .query(
            "select upper(status) as s, row_number() over (order by id) as n, now() as t,
                    cast('2024-01-01' as timestamp) as ts, null as nothing, 1.50 as price
             from orders",
            &setup.context(),
        )
        .await
        .unwrap();
    let types: Vec<DataType> =
        result.schema.fields().iter().map(|field| field.data_type().clone()).collect();
    let micros = arrow::datatypes::TimeUnit::Microsecond;
    assert_eq!(
        types,
        [
            DataType::Utf8,
            DataType::Int64,
            DataType::Timestamp(micros, Some("UTC".into())),
            DataType::Timestamp(micros, None),
            DataType::Utf8,
            DataType::Decimal128(3, 2)
        ]
    );
    let described = setup
        .engine
        .describe("select upper(status) as s from orders union all select null", &setup.context())
        .await
        .unwrap();
    assert_eq!(described.schema.field(0).data_type(), &DataType::Utf8);
    let batches: Vec<_> = result.batches.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
}

#[tokio::test]
async fn deep_expressions_give_an_answer_or_an_error() {
    let setup = shop();
    let short = format!("select id{} as n from orders where id = 1", " + id".repeat(200));
    assert_eq!(setup.text(&short).await, "201");
    for chain in [
        format!("select 1{} as n", " + 1".repeat(2_000)),
        format!("select id{} as n from orders", " + id".repeat(100_000)),
    ] {
        let error = setup.rows(&chain).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Query);
        assert!(error.message().contains("operators in a row"), "{error}");
    }
    let any = format!("select count(*) from orders where id = 0{}", " or id = 1".repeat(2_000));
    assert_eq!(setup.text(&any).await, "1");
    let nested = format!("select {}1{} as n", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(setup.rows(&nested).await.unwrap_err().kind(), ErrorKind::Query);
    let calls = format!("select {}1{} as n", "abs(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(setup.rows(&calls).await.unwrap_err().kind(), ErrorKind::Query);
}

/// What twice as long a time for each level would make longer than anybody waits.
const NESTED: usize = 25;

async fn in_time(setup: &Setup, sql: &str) -> String {
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, setup.text(sql)).await.expect("planned in time")
}

#[tokio::test]
async fn choices_within_choices_are_planned_in_a_time_that_grows_with_their_number() {
    let setup = Setup::new();
    setup.table(
        "main.t",
        vec![
            ("other", numbers(&[0, 0])),
            ("d", words(&["x", "y"])),
            ("c", numbers(&[1, 1])),
            ("b", numbers(&[100, 3])),
            ("a", numbers(&[2, 1])),
        ],
    );
    let mut texts = "d".to_owned();
    let mut conditions = "b".to_owned();
    let mut sums = "nullif(a, 1)".to_owned();
    let mut spared = "a".to_owned();
    let mut grouped = "a".to_owned();
    for level in 0..NESTED {
        texts = format!("case when b > {level} then {texts} else d || '{level}' end");
        conditions = format!("case when {conditions} > {level} then c else b + {level} end");
        sums = format!("coalesce({sums} + b, c / nullif(b, 0), a * {level})");
        // What stands in its place would fail.
        spared = format!("coalesce({spared} + 1, b / (a - a))");
        grouped = format!("case a when {level} then c else {grouped} + 1 end");
    }
    assert_eq!(in_time(&setup, &format!("select {texts} from t order by b")).await, "y24\nx");
    assert_eq!(in_time(&setup, &format!("select {spared} from t order by b")).await, "26\n27");
    // The first value of the row that has none is `c / b`, 0 or 0.
    assert_eq!(in_time(&setup, &format!("select {sums} from t order by b")).await, "72\n2502");
    let condition = format!("select count(*) from t where {conditions} > 0");
    assert_eq!(in_time(&setup, &condition).await, "2");
    let group = format!("select {grouped} as g, count(*) from t group by 1 order by 1");
    assert_eq!(in_time(&setup, &group).await, "23|1\n24|1");
}

#[tokio::test]
async fn a_cancelled_query_ends_with_that_error() {
    let setup = shop();
    let context = setup.context();
    let mut rows = setup
        .engine
        .query(
            "select a.a from generate_series(1, 100000000) a, generate_series(1, 1000) b",
            &context,
        )
        .await
        .unwrap();
    rows.batches.try_next().await.unwrap();
    context.cancel.cancel();
    let ended = loop {
        match rows.batches.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the query cannot have come to its end"),
            Err(error) => break error,
        }
    };
    assert_eq!(ended.kind(), ErrorKind::Cancelled);
    let again = setup.engine.query("select 1", &context).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn the_information_schema_lists_what_is_visible() {
    let setup = shop();
    assert_eq!(
        setup.text("select table_schema, table_name, table_type from information_schema.tables order by 1, 2").await,
        "main|new_orders|VIEW\nmain|orders|BASE TABLE\nstaging|stg_orders|VIEW"
    );
    assert_eq!(
        setup.text("select column_name, data_type from information_schema.columns where table_name = 'orders' order by ordinal_position").await,
        "id|bigint\nstatus|text"
    );
    assert_eq!(setup.text("describe orders").await, "id|bigint|YES\nstatus|text|YES");
}

#[tokio::test]
async fn the_time_zone_of_the_project_decides_the_date() {
    let setup = shop();
    let mut context = setup.context();
    context.timezone = "Pacific/Auckland".into();
    // 14:07 UTC is already the next day there.
    let rows = setup.rows_in("select current_date as d, localtimestamp as t", &context);
    let rows = crate::support::flat(&rows.await.unwrap());
    assert_eq!(rows, "2024-03-06|2024-03-06T03:07:09.123456");
    context.timezone = "Mars/Olympus".into();
    assert_eq!(setup.rows_in("select 1", &context).await.unwrap_err().kind(), ErrorKind::Config);
}

// Expected values are those of PostgreSQL 15 with the time zone `Europe/Paris`.
#[tokio::test]
async fn moments_have_the_local_time_of_the_session() {
    let setup = Setup::new();
    let times = TimestampMicrosecondArray::from(vec![1_704_063_600_000_000, 1_711_796_400_000_000]);
    setup.table("main.t", vec![("t", Arc::new(times.with_timezone("UTC")))]);
    let mut context = setup.context();
    context.timezone = "Europe/Paris".into();
    let sql = "select t::text as text, t::date::text as date, t::timestamp::text as local, \
               extract(hour from t) as hour, date_trunc('day', t)::text as day, \
               to_char(t, 'YYYY') as year, (t + interval '1 day')::text as next, \
               (t = '2024-01-01 00:00')::text as same from main.t order by t";
    let rows = setup.rows_in(sql, &context).await.unwrap();
    assert_eq!(
        flat(&rows),
        "2024-01-01 00:00:00+01|2024-01-01|2024-01-01 00:00:00|0|2024-01-01 00:00:00+01|2024\
         |2024-01-02 00:00:00+01|true\n\
         2024-03-30 12:00:00+01|2024-03-30|2024-03-30 12:00:00|12|2024-03-30 00:00:00+01|2024\
         |2024-03-31 12:00:00+02|false"
    );
}

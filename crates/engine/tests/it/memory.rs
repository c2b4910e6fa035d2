//! What happens when a query needs more memory than it may have.

use tidemill_core::{Engine, ErrorKind};
use tidemill_engine::EngineOptions;

use crate::support::{Setup, flat};

const MIB: u64 = 1024 * 1024;

fn small(mebibytes: u64) -> Setup {
    Setup::with(EngineOptions {
        threads: Some(2),
        memory_limit: Some(mebibytes * MIB),
        ..Default::default()
    })
}

#[tokio::test]
async fn a_sort_spills() {
    let setup = small(40);
    let sql = "select count(*) from (
        select value, lag(value) over (order by value % 1000, value) as before
        from generate_series(1, 10)
    ) union all select count(distinct k) from (
        select value * 7919 % 1000003 as k, repeat('x', 40) as pad from generate_series(1, 400000)
        order by k desc limit 400000
    )";
    let text = setup.text(sql).await;
    let mut counts: Vec<&str> = text.lines().collect();
    counts.sort_unstable();
    assert_eq!(counts, ["10", "400000"]);
}

#[tokio::test]
async fn an_error_names_the_limit_and_the_setting() {
    let setup = small(16);
    let sql = "select array_agg(value order by value) as everything, 1 as one
        from generate_series(1, 20000000)";
    let result = setup.rows(sql).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resources);
    assert!(error.message().contains("memory limit of 16 MiB"), "{error}");
    assert!(error.message().contains("`memory`"), "{error}");
    assert!(error.message().contains("`--memory`"), "{error}");
}

/// Two tables of 150,000 rows that take three times the memory there is, keys in another order.
const WIDE: &str = "with a as (
        select value * 7919 % 150000 as k, lpad(value::text, 200, 'a') as pad
        from generate_series(1, 150000)
    ), b as (
        select value * 104729 % 150000 as k, lpad(value::text, 200, 'b') as pad
        from generate_series(1, 150000)
    ) ";

/// A query in little memory gives what it gives in much.
async fn same_in_little_memory(rest: &str) {
    let sql = format!("{WIDE}{rest}");
    let expected = Setup::new().text(&sql).await;
    assert!(!expected.starts_with("error"), "{expected}");
    let rows = small(24).rows(&sql).await.unwrap_or_else(|error| panic!("{error:?}: {rest}"));
    assert_eq!(flat(&rows), expected, "{rest}");
}

#[tokio::test]
async fn a_join_that_does_not_fit_gives_the_same_rows() {
    same_in_little_memory(
        "select count(*), sum(a.k), max(a.pad || b.pad), min(b.pad) from a join b on a.k = b.k",
    )
    .await;
}

#[tokio::test]
async fn an_outer_join_that_does_not_fit_gives_the_same_rows() {
    same_in_little_memory(
        "select count(*), count(b.pad), sum(a.k), max(a.pad || b.pad), min(b.pad)
        from a left join (select * from b where k % 3 = 0) b on a.k = b.k",
    )
    .await;
}

#[tokio::test]
async fn a_semi_join_that_does_not_fit_gives_the_same_rows() {
    same_in_little_memory(
        "select count(*), sum(k), max(pad) from a
        where exists (select 1 from b where b.k = a.k and b.pad > a.pad)
            and not exists (select 1 from b where b.k = a.k + 1 and b.pad < a.pad || 'c')",
    )
    .await;
}

#[tokio::test]
async fn a_join_in_one_partition_does_not_fit_and_gives_the_same_rows() {
    let sql =
        format!("{WIDE} select count(*), sum(a.k), max(a.pad || b.pad) from a join b on a.k = b.k");
    let expected = Setup::new().text(&sql).await;
    let setup = Setup::with(EngineOptions {
        threads: Some(1),
        memory_limit: Some(24 * MIB),
        ..Default::default()
    });
    assert_eq!(setup.text(&sql).await, expected);
}

/// The first part of the union has rows long before the join of the second fails.
#[tokio::test]
async fn rows_that_were_ready_before_a_join_failed_come_once() {
    let sql = format!(
        "{WIDE} select value as k, 'first' as pad from generate_series(1, 50000)
        union all select a.k, a.pad || b.pad from a join b on a.k = b.k"
    );
    let rows = small(24).rows(&sql).await.unwrap();
    assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 200_000);
}

#[tokio::test]
async fn a_distinct_count_and_a_grouping_spill() {
    for rest in [
        "select count(distinct pad), sum(k) from (select * from a union all select * from b)",
        "select count(*), sum(n) from (select pad, count(*) as n from a group by pad)",
    ] {
        same_in_little_memory(rest).await;
    }
}

#[tokio::test]
async fn what_cannot_spill_says_what_it_was() {
    for (rest, what) in [
        (
            "select sum(whole), max(pad) from
                (select pad, sum(k) over () as whole, percent_rank() over (order by k) from a)",
            "(a window function",
        ),
        ("select count(*) from a where pad not in (select nullif(pad, '') from b)", "(a hash join"),
        ("select max(a.pad || b.pad) from a cross join b", "(a cross join"),
        (
            "select count(distinct pad), count(distinct pad || k), count(*) from a",
            "(an aggregation",
        ),
    ] {
        let error = small(24).rows(&format!("{WIDE}{rest}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Resources, "{error}");
        assert!(error.message().contains("memory limit of 24 MiB"), "{error}");
        assert!(error.message().contains(what), "{error}");
        assert!(error.message().contains("`--memory`"), "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_is_a_limit_too() {
    let setup = Setup::with(EngineOptions {
        threads: Some(2),
        memory_limit: Some(24 * MIB),
        spill_limit: Some(MIB),
        ..Default::default()
    });
    for rest in [
        "select max(place), min(pad) from (select row_number() over (order by pad) as place, pad from a)",
        "select max(a.pad || b.pad) from a join b on a.k = b.k",
    ] {
        let error = setup.rows(&format!("{WIDE}{rest}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Resources, "{error}");
        assert!(error.message().contains("temporary disk space"), "{error}");
    }
}

#[tokio::test]
async fn a_dropped_result_stops_its_query() {
    let setup = small(64);
    let context = setup.context();
    for _ in 0..20 {
        let rows = setup
            .engine
            .query("select a.a from generate_series(1, 100000000) a cross join generate_series(1, 1000) b", &context)
            .await
            .unwrap();
        drop(rows);
    }
    // The threads are free again.
    assert_eq!(setup.text("select count(*) from generate_series(1, 1000)").await, "1000");
}

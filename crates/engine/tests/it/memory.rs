//! What happens when a query needs more memory than it may have.

use tidemill_core::{Engine, ErrorKind};
use tidemill_engine::EngineOptions;

use crate::support::Setup;

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
}

#[tokio::test]
async fn a_dropped_result_stops_its_query() {
    let setup = small(64);
    let context = setup.context();
    for _ in 0..20 {
        let rows = setup
            .engine
            .query("select a.value from generate_series(1, 100000000) a cross join generate_series(1, 1000) b", &context)
            .await
            .unwrap();
        drop(rows);
    }
    // The threads are free again.
    assert_eq!(setup.text("select count(*) from generate_series(1, 1000)").await, "1000");
}

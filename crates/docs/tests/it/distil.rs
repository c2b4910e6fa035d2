//! What becomes of artifacts.

use serde_json::{Value, json};
use tidemill_docs::{Artifacts, Page, Site};

use crate::shop;

fn distilled(manifest: &Value) -> Site {
    Site::distil(&Artifacts { manifest, ..Artifacts::default() })
}

fn page<'a>(site: &'a Site, id: &str) -> &'a Page {
    site.pages.iter().find(|page| page.id == id).unwrap_or_else(|| panic!("no page {id}"))
}

fn names(site: &Site, places: &[usize]) -> Vec<String> {
    places.iter().map(|place| site.pages[*place].name.clone()).collect()
}

#[test]
fn every_node_has_a_page_except_hidden_and_disabled_ones_and_dbts_own() {
    let site = distilled(&shop());
    let mut ids: Vec<&str> = site.pages.iter().map(|page| page.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(
        ids,
        [
            "exposure.shop.board",
            "macro.shop.cents",
            "model.shop.dim_customer",
            "model.shop.dim_day",
            "model.shop.fct_orders",
            "seed.shop.people",
            "source.shop.raw.orders",
            "test.shop.customer_is_known",
            "test.shop.not_null_fct_orders_order_id",
            "test.shop.relationships_fct_orders_customer_id",
            "test.shop.relationships_fct_orders_day",
            "test.shop.sums_agree",
            "test.shop.unique_dim_customer_customer_id",
            "test.shop.unique_fct_orders_order_id",
        ]
    );
}

#[test]
fn a_page_says_what_the_manifest_says() {
    let site = distilled(&shop());
    let orders = page(&site, "model.shop.fct_orders");
    assert_eq!(orders.relation, "lake.core.fct_orders");
    assert_eq!((orders.materialized.as_str(), orders.access.as_str()), ("table", ""));
    assert_eq!(orders.folder, ["core"]);
    assert_eq!(names(&site, &orders.reads), ["dim_customer", "dim_day", "raw.orders"]);
    assert_eq!(
        names(&site, &orders.tests),
        [
            "unique_fct_orders_order_id",
            "not_null_fct_orders_order_id",
            "customer_is_known",
            "relationships_fct_orders_customer_id",
            "relationships_fct_orders_day",
            "sums_agree"
        ]
    );
    assert_eq!(
        names(&site, &orders.columns[1].tests),
        ["customer_is_known", "relationships_fct_orders_customer_id"]
    );
    let customers = page(&site, "model.shop.dim_customer");
    assert_eq!(customers.columns[0].description, "<p>The <em>key</em>.</p>\n");
    assert_eq!(names(&site, &customers.tests), ["unique_dim_customer_customer_id", "sums_agree"]);
    let board = page(&site, "exposure.shop.board");
    assert_eq!(board.owner, "Ada (ada@shop.example)");
    let url = board.fields.iter().find(|field| field.name == "url").unwrap();
    assert_eq!(url.link, "https://bi.shop.example/1");
    let cents = page(&site, "macro.shop.cents");
    assert_eq!(
        (cents.columns[0].name.as_str(), cents.columns[0].data_type.as_str()),
        ("x", "number")
    );
    let source = page(&site, "source.shop.raw.orders");
    assert_eq!(
        (source.name.as_str(), source.folder.as_slice()),
        ("raw.orders", &["raw".to_owned()][..])
    );
}

#[test]
fn tests_have_short_names() {
    let site = distilled(&shop());
    assert_eq!(
        page(&site, "test.shop.not_null_fct_orders_order_id").label,
        "order_id is never NULL"
    );
    assert_eq!(
        page(&site, "test.shop.relationships_fct_orders_customer_id").label,
        "customer_id is in dim_customer.customer_id"
    );
    // What a person named keeps its name.
    assert_eq!(page(&site, "test.shop.customer_is_known").label, "");
    assert_eq!(page(&site, "test.shop.sums_agree").label, "");
    // The call that dbt writes for a generic test tells nobody anything.
    assert_eq!(page(&site, "test.shop.not_null_fct_orders_order_id").raw, "");
    assert_eq!(page(&site, "test.shop.sums_agree").raw, "select 1 where false");
}

#[test]
fn the_star_schema_comes_from_tests_and_constraints() {
    let site = distilled(&shop());
    let key = |id: &str| page(&site, id).key.clone();
    assert_eq!(key("model.shop.fct_orders"), ["order_id"]);
    assert_eq!(key("model.shop.dim_customer"), ["customer_id"]);
    assert_eq!(key("model.shop.dim_day"), ["day"]);
    let stated: Vec<String> = site
        .relationships
        .iter()
        .map(|r| {
            format!(
                "{}({}) -> {}({}){}{}",
                site.pages[r.from].name,
                r.columns.join(","),
                site.pages[r.to].name,
                r.to_columns.join(","),
                if r.optional { " optional" } else { "" },
                if r.one { " one" } else { "" },
            )
        })
        .collect();
    assert_eq!(
        stated,
        [
            "fct_orders(customer_id) -> dim_customer(customer_id)",
            "fct_orders(day) -> dim_day(day) optional",
        ]
    );
}

#[test]
fn foreign_keys_of_several_columns_and_keys_that_are_no_test() {
    let mut manifest = shop();
    let orders = &mut manifest["nodes"]["model.shop.fct_orders"];
    orders["constraints"] = json!([
        {"type": "primary_key", "columns": ["order_id", "day"]},
        {"type": "foreign_key", "columns": ["customer_id"], "to": "ref('dim_customer')", "to_columns": ["customer_id"]},
        {"type": "foreign_key", "columns": ["order_id", "day"], "expression": "core.dim_day (id, \"day\")"},
        {"type": "foreign_key", "columns": ["x"], "to": "\"lake\".\"raw\".\"nowhere\"", "to_columns": ["x"]},
    ]);
    let site = distilled(&manifest);
    assert_eq!(page(&site, "model.shop.fct_orders").key, ["order_id", "day"]);
    // The first is the same as the test's and keeps its test; the last leads nowhere.
    assert_eq!(site.relationships.len(), 3);
    let to_customers = &site.relationships[0];
    assert!(to_customers.test.is_some() && !to_customers.optional);
    let composite = &site.relationships[1];
    assert_eq!(
        (composite.columns.join(","), composite.to_columns.join(",")),
        ("order_id,day".into(), "id,day".into())
    );
    assert!(
        composite.one && !composite.optional,
        "columns of a declared key are unique and never NULL"
    );
}

#[test]
fn a_conditional_test_makes_no_key() {
    let mut manifest = shop();
    manifest["nodes"]["test.shop.unique_dim_customer_customer_id"]["config"]["where"] =
        json!("customer_id > 0");
    assert_eq!(page(&distilled(&manifest), "model.shop.dim_customer").key, Vec::<String>::new());
}

#[test]
fn the_catalog_gives_types_order_and_numbers() {
    let manifest = shop();
    let catalog = json!({
        "nodes": {"model.shop.fct_orders": {
            "metadata": {"type": "BASE TABLE"},
            "columns": {
                "DAY": {"index": 2, "type": "date", "name": "DAY", "comment": null},
                "ORDER_ID": {"index": 1, "type": "bigint", "name": "ORDER_ID"},
                "_file": {"index": 3, "type": "text", "name": "_file", "comment": "Where <b>from</b>."},
            },
            "stats": {
                "row_count": {"id": "row_count", "label": "Row Count", "value": 12, "include": true},
                "bytes": {"id": "bytes", "label": "Bytes", "value": "3000", "include": true},
                "last_modified": {"id": "last_modified", "label": "Last Modified", "value": "today", "include": true},
                "has_stats": {"id": "has_stats", "label": "Has Stats?", "value": true, "include": false},
            },
        }},
        "sources": {},
    });
    let site = Site::distil(&Artifacts {
        manifest: &manifest,
        catalog: Some(&catalog),
        ..Artifacts::default()
    });
    let orders = page(&site, "model.shop.fct_orders");
    let columns: Vec<(&str, &str, bool)> =
        orders.columns.iter().map(|c| (c.name.as_str(), c.data_type.as_str(), c.missing)).collect();
    assert_eq!(
        columns,
        [
            ("order_id", "bigint", false),
            ("day", "date", false),
            ("_file", "text", false),
            ("customer_id", "", true)
        ]
    );
    assert_eq!(orders.columns[2].description, "<p>Where &lt;b&gt;from&lt;/b&gt;.</p>\n");
    assert_eq!((orders.statistics.rows, orders.statistics.bytes), (Some(12.0), Some(3000.0)));
    assert_eq!(orders.statistics.more.len(), 1);
    assert_eq!(orders.statistics.more[0].value, "today");
}

#[test]
fn the_last_run_gives_verdicts_and_sql() {
    let manifest = shop();
    let results = json!({
        "metadata": {"generated_at": "2026-01-31T12:00:00Z"}, "elapsed_time": 2.5, "args": {"which": "build"},
        "results": [
            {"unique_id": "model.shop.fct_orders", "status": "success", "execution_time": 1.5,
             "adapter_response": {"rows_affected": 7}},
            {"unique_id": "test.shop.not_null_fct_orders_order_id", "status": "fail", "failures": 3, "message": "Got 3 results",
             "compiled_code": "select 1 from x"},
            {"unique_id": "model.shop.gone", "status": "success"},
        ],
    });
    let site = Site::distil(&Artifacts {
        manifest: &manifest,
        run_results: Some(&results),
        ..Artifacts::default()
    });
    let run = page(&site, "model.shop.fct_orders").run.clone().unwrap();
    assert_eq!((run.status.as_str(), run.rows, run.time), ("success", Some(7), 1.5));
    let failed = page(&site, "test.shop.not_null_fct_orders_order_id");
    assert_eq!(failed.compiled, "select 1 from x");
    assert_eq!(failed.run.as_ref().unwrap().failures, Some(3.0));
    assert_eq!(site.run.unwrap().command, "build");
}

#[test]
fn the_first_page_is_the_projects_overview_or_its_readme() {
    let mut manifest = shop();
    let overview = |manifest: &Value| {
        Site::distil(&Artifacts {
            manifest,
            readme: Some("From the *readme*"),
            ..Artifacts::default()
        })
        .overview
    };
    assert_eq!(overview(&manifest), "<p>From the <em>readme</em></p>\n");
    manifest["docs"]["doc.shop.__overview__"] =
        json!({"name": "__overview__", "package_name": "shop", "block_contents": "Ours"});
    assert_eq!(overview(&manifest), "<p>Ours</p>\n");
}

#[test]
fn artifacts_of_any_form_make_some_site() {
    for manifest in [
        json!(null),
        json!([]),
        json!({"nodes": []}),
        json!({"nodes": {"a": null, "b": 1, "c": {"unique_id": "c"}, "d": {"unique_id": "d", "depends_on": {"nodes": [1, null, "d"]}, "columns": {"x": null}, "tags": "one", "config": null, "resource_type": "test", "test_metadata": {"name": "relationships"}, "attached_node": "d"}}}),
    ] {
        let site = Site::distil(&Artifacts {
            manifest: &manifest,
            catalog: Some(&json!(1)),
            run_results: Some(&json!({"results": [null, {}]})),
            readme: None,
        });
        assert!(site.pages.len() <= 2, "{manifest}");
    }
}

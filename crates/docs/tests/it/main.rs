//! Sites from artifacts, and the server.

mod distil;
mod escape;
mod serve;

use serde_json::{Value, json};

/// A small shop: a source, a seed, a star of three models, tests of all kinds, a macro, an exposure.
fn shop() -> Value {
    let model = |name: &str, schema: &str, reads: Value, columns: Value| {
        json!({
            "resource_type": "model", "name": name, "unique_id": format!("model.shop.{name}"),
            "package_name": "shop", "original_file_path": format!("models/{schema}/{name}.sql"),
            "schema": schema, "relation_name": format!("\"lake\".\"{schema}\".\"{name}\""),
            "config": {"materialized": "table"}, "depends_on": {"nodes": reads, "macros": []},
            "columns": columns, "raw_code": "select 1", "compiled_code": "select 1 as one",
            "language": "sql", "tags": [], "access": "protected",
        })
    };
    let test = |id: &str, name: &str, of: &str, column: &str, arguments: Value, reads: Value| {
        json!({
            "resource_type": "test", "name": id, "unique_id": format!("test.shop.{id}"),
            "package_name": "shop", "original_file_path": "models/shop.yml",
            "attached_node": of, "column_name": column, "depends_on": {"nodes": reads},
            "test_metadata": {"name": name, "kwargs": arguments}, "config": {"severity": "ERROR"},
            "raw_code": "{{ test_x(**_dbt_generic_test_kwargs) }}",
        })
    };
    let column = |name: &str| json!({"name": name, "description": "", "constraints": []});
    let (orders, customers, days) =
        ("model.shop.fct_orders", "model.shop.dim_customer", "model.shop.dim_day");
    let to = |name: &str, field: &str, column: &str| json!({"to": format!("ref('{name}')"), "field": field, "column_name": column});
    let on = |column: &str| json!({"column_name": column});
    let mut all = vec![
        model(
            "fct_orders",
            "core",
            json!([customers, days, "source.shop.raw.orders"]),
            json!({
                "order_id": column("order_id"), "customer_id": column("customer_id"), "day": column("day"),
            }),
        ),
        model(
            "dim_customer",
            "core",
            json!(["seed.shop.people"]),
            json!({
                "customer_id": {"name": "customer_id", "description": "The *key*.", "constraints": []},
            }),
        ),
        model(
            "dim_day",
            "core",
            json!([]),
            json!({
                "day": {"name": "day", "constraints": [{"type": "primary_key"}]},
            }),
        ),
        json!({
            "resource_type": "seed", "name": "people", "unique_id": "seed.shop.people", "package_name": "shop",
            "original_file_path": "seeds/people.csv", "schema": "core", "config": {"materialized": "seed"},
        }),
        test(
            "unique_fct_orders_order_id",
            "unique",
            orders,
            "order_id",
            on("order_id"),
            json!([orders]),
        ),
        test(
            "not_null_fct_orders_order_id",
            "not_null",
            orders,
            "order_id",
            on("order_id"),
            json!([orders]),
        ),
        test(
            "customer_is_known",
            "not_null",
            orders,
            "customer_id",
            on("customer_id"),
            json!([orders]),
        ),
        test(
            "unique_dim_customer_customer_id",
            "unique",
            customers,
            "customer_id",
            on("customer_id"),
            json!([customers]),
        ),
        test(
            "relationships_fct_orders_customer_id",
            "relationships",
            orders,
            "customer_id",
            to("dim_customer", "customer_id", "customer_id"),
            json!([customers, orders]),
        ),
        test(
            "relationships_fct_orders_day",
            "relationships",
            orders,
            "day",
            to("dim_day", "day", "day"),
            json!([days, orders]),
        ),
        json!({
            "resource_type": "test", "name": "sums_agree", "unique_id": "test.shop.sums_agree", "package_name": "shop",
            "original_file_path": "tests/sums_agree.sql", "raw_code": "select 1 where false",
            "depends_on": {"nodes": [orders, customers]}, "config": {"severity": "warn"},
        }),
    ];
    all.push(json!({
        "resource_type": "model", "name": "hidden", "unique_id": "model.shop.hidden", "package_name": "shop",
        "docs": {"show": false},
    }));
    all.push(json!({
        "resource_type": "test", "name": "of_gone", "unique_id": "test.shop.of_gone", "package_name": "shop",
        "depends_on": {"nodes": [customers]}, "config": {"enabled": false},
    }));
    let nodes: serde_json::Map<String, Value> = all
        .into_iter()
        .map(|node| (node["unique_id"].as_str().unwrap().to_owned(), node))
        .collect();
    json!({
        "metadata": {"project_name": "shop", "adapter_type": "tidemill", "generated_at": "2026-01-31T12:00:00Z"},
        "nodes": nodes,
        "sources": {"source.shop.raw.orders": {
            "resource_type": "source", "name": "orders", "source_name": "raw", "unique_id": "source.shop.raw.orders",
            "package_name": "shop", "original_file_path": "models/shop.yml", "schema": "raw",
        }},
        "macros": {
            "macro.shop.cents": {
                "resource_type": "macro", "name": "cents", "unique_id": "macro.shop.cents", "package_name": "shop",
                "macro_sql": "{% macro cents(x) %}{{ x }}*100{% endmacro %}", "original_file_path": "macros/cents.sql",
                "arguments": [{"name": "x", "type": "number", "description": "what"}],
            },
            "macro.dbt.ref": {"resource_type": "macro", "name": "ref", "unique_id": "macro.dbt.ref", "package_name": "dbt"},
        },
        "exposures": {"exposure.shop.board": {
            "resource_type": "exposure", "name": "board", "unique_id": "exposure.shop.board", "package_name": "shop",
            "type": "dashboard", "url": "https://bi.shop.example/1", "original_file_path": "models/shop.yml",
            "owner": {"name": "Ada", "email": "ada@shop.example"}, "depends_on": {"nodes": [orders]},
        }},
        "docs": {
            "doc.dbt.__overview__": {"name": "__overview__", "package_name": "dbt", "block_contents": "dbt's own"},
        },
    })
}

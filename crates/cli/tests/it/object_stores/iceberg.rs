//! Tables of a REST catalog: that of SeaweedFS, written by pyiceberg.

use std::io::Write;
use std::process::Command;

use super::server::{KEY, SECRET, server};
use crate::sandbox::Sandbox;

/// What pyiceberg does; the sum and the number of rows that it reads then are printed.
const SCRIPT: &str = r#"
import sys
import pyarrow as pa
from pyiceberg.catalog.rest import RestCatalog

key, secret, s3, rest, step = sys.argv[1:]
catalog = RestCatalog("c", **{
    "uri": rest, "warehouse": "s3://warehouse", "rest.sigv4-enabled": "true", "rest.signing-name": "s3tables",
    "rest.signing-region": "us-east-1", "client.region": "us-east-1", "client.access-key-id": key,
    "client.secret-access-key": secret, "s3.endpoint": s3, "s3.access-key-id": key, "s3.secret-access-key": secret,
    "s3.region": "us-east-1"})
rows = lambda ids, name: pa.table({"id": pa.array(ids, pa.int64()), name: pa.array([n / 4 for n in ids])})
if step == "first":
    catalog.create_namespace("sales")
    table = catalog.create_table("sales.orders", schema=rows([1], "amount").schema)
    table.append(rows(range(1000), "amount"))
    catalog.create_table("sales.empty", schema=rows([1], "amount").schema)
else:
    table = catalog.load_table("sales.orders")
    with table.update_schema() as update:
        update.rename_column("amount", "price")
    table.append(rows(range(1000, 1010), "price"))
found = table.scan().to_arrow()
print(found.num_rows, sum(found[found.column_names[1]].to_pylist()))
"#;

const SOURCES: &str = "
sources:
  - name: sales
    schema: raw
    ingest: {connection: lakehouse}
    tables:
      - name: orders
        ingest: {table: sales.orders, mode: append}
";

fn python() -> Option<String> {
    let python = std::env::var("TIDEMILL_ICEBERG").ok();
    if python.is_none() {
        assert!(std::env::var("CI").is_err(), "CI must set TIDEMILL_ICEBERG (scripts/test does)");
        let missing = "SKIPPED: TIDEMILL_ICEBERG is not set, no table of a catalog was read";
        let _ = writeln!(std::io::stderr(), "{missing}");
    }
    python
}

#[test]
fn tables_of_a_catalog_are_loaded() {
    let (Some(python), Some(server)) = (python(), server()) else { return };
    let (s3, rest) = (
        format!("http://127.0.0.1:{}", server.port),
        format!("http://127.0.0.1:{}", server.iceberg),
    );
    let write = |step: &str| {
        let mut command = Command::new(&python);
        let output = command.args(["-c", SCRIPT, KEY, SECRET, &s3, &rest, step]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    assert_eq!(write("first"), "1000 124875.0");
    let connections = format!(
        "connections:
  lakehouse:
    type: iceberg
    catalog: {rest}
    warehouse: s3://warehouse
    auth: {{type: aws_sigv4, region: us-east-1, service: s3tables, access_key_id: {KEY}, secret_access_key: {{env: STORE_SECRET}}}}
    allow_private_addresses: true
    storage: {{region: us-east-1, endpoint: {s3}, access_key_id: {KEY}, secret_access_key: {{env: STORE_SECRET}}}}
"
    );
    let sandbox =
        Sandbox::new(&[("connections.yml", &connections), ("models/sources.yml", SOURCES)]);
    let run = |arguments: &[&str]| sandbox.run_with(&[("STORE_SECRET", SECRET)], arguments);
    run(&["connection", "test", "lakehouse"]).ok();
    run(&["connection", "discover", "lakehouse"]).ok().says("sales.orders").says("sales.empty");
    run(&["connection", "preview", "lakehouse", "sales.orders", "--limit", "2"])
        .ok()
        .says("amount");
    run(&["ingest"]).ok();
    let sum = |column: &str| {
        let query = format!("select count(*), sum({column}) from raw.orders");
        let outcome = run(&["sql", &query, "--format", "csv", "--quiet"]).ok();
        let row = outcome.stdout.lines().nth(1).unwrap_or_default().to_owned();
        row.split(',').map(|number| number.parse().unwrap()).collect::<Vec<f64>>()
    };
    assert_eq!(sum("amount"), [1000.0, 124875.0]);
    assert_eq!(write("second"), "1010 127386.25");
    run(&["ingest"]).ok();
    // The new rows alone, in the column that has another name now.
    assert_eq!(sum("coalesce(amount, price)"), [1010.0, 127386.25]);
    assert_eq!(sum("price"), [1010.0, 2511.25]);
    run(&["ingest"]).ok();
    assert_eq!(sum("price"), [1010.0, 2511.25]);
    // A secret that is wrong is not shown.
    let denied = sandbox.run_with(
        &[("STORE_SECRET", "another-planted-secret")],
        &["connection", "test", "lakehouse"],
    );
    assert_eq!(denied.code, Some(1));
    assert!(!format!("{}{}", denied.stdout, denied.stderr).contains("another-planted-secret"));
}

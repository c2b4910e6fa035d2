//! Lakes and sources on object stores: one behaviour on each kind of them.

mod exports;
mod iceberg;
mod proxy;
mod server;
mod web;
mod webhdfs;

use std::process::Command;

use proxy::{FAULTS, Proxy, careless_store};
use server::{KEY, SECRET, Service, Store, on_every_store};

use crate::sandbox::{ORDERS_SOURCE, Sandbox, outcome};

const MODEL: &str = "
select id, sum(amount) as amount, count(*) as lines from {{ source('raw', 'orders') }} group by id
";

const LINES: &str = "
{{ config(materialized='incremental', unique_key='id') }}
select id, amount, _source_file as file from {{ source('raw', 'orders') }}
{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}
";

fn shop() -> Sandbox {
    Sandbox::new(&[
        ("models/raw.yml", ORDERS_SOURCE),
        ("models/totals.sql", &format!("{{{{ config(materialized='table') }}}}{MODEL}")),
        ("models/lines.sql", LINES),
        ("data/orders_1.csv", "id,amount\n1,10\n2,20\n"),
    ])
}

on_every_store!(
    a_lake_on_a_store,
    two_builds_on_one_store,
    files_of_a_store,
    every_request_fails_once,
);

fn a_lake_on_a_store(store: &Store) {
    let shop = shop();
    store.run(&shop, &["build"]).ok().says("3 built");
    store.run(&shop, &["build"]).ok().says("nothing to do");
    assert_eq!(store.rows(&shop, "select * from totals order by id"), ["1,10,1", "2,20,1"]);
    shop.write("data/orders_2.csv", "id,amount\n3,30\n1,5\n");
    store.run(&shop, &["build"]).ok();
    assert_eq!(
        store.rows(&shop, "select * from totals order by id"),
        ["1,15,2", "2,20,1", "3,30,1"]
    );
    assert_eq!(store.rows(&shop, "select sum(amount), count(*) from lines"), ["60,3"]);
    store.run(&shop, &["lake", "history", "main.totals"]).ok().says("v1");
    store.run(&shop, &["lake", "restore", "main.totals", "--to", "3"]).ok();
    assert_eq!(store.rows(&shop, "select count(*) from totals"), ["2"]);
    store.run(&shop, &["lake", "maintain", "--keep-versions", "1", "--keep-for", "1s"]).ok();
    store.run(&shop, &["lake", "repair"]).ok();
    assert_eq!(store.rows(&shop, "select count(*) from totals"), ["2"]);
    assert!(!shop.path("lake").exists());
}

#[test]
fn other_readers_read_it() {
    let (Some(store), Some(python)) = (Store::new(), std::env::var_os("TIDEMILL_PYTHON")) else {
        return;
    };
    let shop = shop();
    store.run(&shop, &["build"]).ok();
    let script = "
import sys
from deltalake import DeltaTable
options = {'AWS_ACCESS_KEY_ID': sys.argv[2], 'AWS_SECRET_ACCESS_KEY': sys.argv[3], 'AWS_REGION': 'us-east-1',
           'AWS_ENDPOINT_URL': sys.argv[4], 'AWS_ALLOW_HTTP': 'true'}
table = DeltaTable(sys.argv[1] + '/main/totals', storage_options=options).to_pyarrow_table()
print(table.num_rows, sum(table['amount'].to_pylist()))
";
    let output = Command::new(python)
        .args(["-c", script, &store.lake(), KEY, SECRET])
        .arg(format!("http://127.0.0.1:{}", store.port))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "2 30",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn options_of_a_profile() {
    let Some(store) = Store::new() else { return };
    let shop = shop();
    shop.write("dbt_project.yml", "name: shop\nversion: '1.0'\nprofile: shop\n");
    shop.write(
        "profiles.yml",
        format!(
            "shop:\n  target: dev\n  outputs:\n    dev:\n      type: tidemill\n      lake: {}\n      storage_options:\n        \
             region: us-east-1\n        endpoint: http://127.0.0.1:{}\n        access_key_id: {KEY}\n        \
             secret_access_key: \"{{{{ env_var('DBT_ENV_SECRET_KEY') }}}}\"\n",
            store.lake(),
            store.port
        ),
    );
    let secret = [("DBT_ENV_SECRET_KEY", SECRET)];
    shop.run_with(&secret, &["build"]).ok().says("3 built");
    for (file, content) in crate::sandbox::files(&shop.path("target")) {
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains(SECRET), "{} has the secret", file.display());
    }
    shop.run_with(&[("DBT_ENV_SECRET_KEY", "another secret")], &["build"])
        .fails_with(2)
        .says("cannot be reached")
        .says("the secret of the key is wrong")
        .does_not_say("another secret");
    let text = std::fs::read_to_string(shop.path("profiles.yml")).unwrap();
    shop.write("profiles.yml", text.replace("region:", "regoin:"));
    shop.run_with(&secret, &["build"]).fails_with(2).says("S3 has no option `regoin`");
}

fn two_builds_on_one_store(store: &Store) {
    let (first, second) = (shop(), shop());
    second.write("models/more.sql", "{{ config(materialized='table') }} select 1 as one");
    let mut other = store.command(&second, store.port, &["build"]).spawn().unwrap();
    store.run(&first, &["build"]).ok();
    assert!(other.wait().unwrap().success());
    assert_eq!(store.rows(&first, "select sum(amount), count(*) from lines"), ["30,2"]);
    assert_eq!(store.rows(&first, "select * from more"), ["1"]);
}

#[test]
fn a_store_without_conditional_put_is_refused() {
    let port = careless_store();
    let shop = shop();
    let store = Store { service: Service::S3, port, prefix: "x".to_owned() };
    store
        .run(&shop, &["build"])
        .fails_with(1)
        .says("the store has no conditional put")
        .says("s3://lake/x");
}

/// A server that people do have, and that takes any put.
#[test]
fn rclone_is_refused_before_anything_is_written() {
    let Some(rclone) = server::rclone(SECRET) else { return };
    let shop = shop();
    let store = Store { service: Service::S3, port: rclone.port, prefix: "x".to_owned() };
    store.run(&shop, &["build"]).fails_with(1).says("the store has no conditional put");
    let left = crate::sandbox::files(rclone.data.path());
    assert!(left.is_empty(), "{left:?}");
}

fn files_of_a_store(store: &Store) {
    let shop = Sandbox::new(&[
        (
            "models/raw.yml",
            "sources:\n  - name: raw\n    ingest: {connection: drops}\n    tables:\n      - name: orders\n        \
             ingest: {location: 'orders/**/*.csv*'}\n",
        ),
        (
            "models/totals.sql",
            "select sum(amount) as total, count(*) as n from {{ source('raw', 'orders') }}",
        ),
    ]);
    let connection = store.connection("in", &store.port.to_string());
    shop.write("connections.yml", format!("connections:\n  drops: {connection}\n"));
    let put = |name: &str, content: &str| store.put(&format!("in/{name}"), content);
    let secret = [("DROPS_SECRET", store.secret())];
    shop.run_with(&secret, &["build"]).fails_with(1).says("no file matches");
    let rows: String = (0..200_000).map(|row| format!("{row},{}\n", row % 7)).collect();
    put("orders/2026/a.csv", &format!("id,amount\n{rows}"));
    put("orders/b.csv", "id,amount\n-1,1000\n");
    put("orders/.hidden.csv", "id,amount\n-2,1\n");
    shop.run_with(&secret, &["connection", "test"]).ok().says("OK");
    shop.run_with(&secret, &["connection", "discover", "drops"]).ok().says("orders/2026/a.csv");
    shop.run_with(&secret, &["connection", "preview", "drops", "orders/b.csv"]).ok().says("1000");
    shop.run_with(&secret, &["build"]).ok();
    assert_eq!(shop.rows("select * from totals"), ["600994,200001"]);
    assert_eq!(
        shop.rows("select distinct _source_file from raw.orders order by 1"),
        ["orders/2026/a.csv", "orders/b.csv"]
    );
    shop.run_with(&secret, &["build"]).ok().says("nothing to do");
    put("orders/c.csv", "id,amount\n-3,6\n");
    shop.run_with(&secret, &["build"]).ok();
    assert_eq!(shop.rows("select * from totals"), ["601000,200002"]);
    // The same content again is the same file; other content is an error until it is allowed.
    put("orders/c.csv", "id,amount\n-3,6\n");
    shop.run_with(&secret, &["build"]).ok();
    put("orders/c.csv", "id,amount\n-3,7\n");
    shop.run_with(&secret, &["build"]).fails_with(1).says("on_change: reload");
    assert_eq!(shop.rows("select * from totals"), ["601000,200002"]);
    // Emulators of Google's ask for no login.
    if store.service != Service::Google {
        let wrong = "bm90IHRoZSBzZWNyZXQ=";
        shop.run_with(&[("DROPS_SECRET", wrong)], &["connection", "test"])
            .fails_with(1)
            .says("the secret of the key is wrong")
            .does_not_say(wrong);
    }
}

/// Each request of a load fails in each way in turn: no row is lost, none doubled, and what was said
/// to be done is done.
fn every_request_fails_once(store: &Store) {
    let soak = std::env::var_os("TIDEMILL_SOAK").is_some();
    let proxy = Proxy::start(store.port);
    let shop = shop();
    store.run(&shop, &["build"]).ok();
    let mut rows = 2u64;
    let mut load = |plan| {
        rows += 1;
        shop.write(&format!("data/orders_{rows:05}.csv"), format!("id,amount\n{rows},1\n"));
        proxy.plan(plan);
        let built = outcome(&mut store.command(&shop, proxy.port, &["build"]));
        let (requests, hit) = proxy.report();
        proxy.plan(None);
        (built, requests, hit, rows)
    };
    let (built, requests, _, _) = load(None);
    built.ok();
    assert!(requests > 20, "{requests}");
    let (mut failed, mut cases) = (0, 0);
    // The slice: every third request (of stores that speak almost the same, the ninth), each in one of the ways.
    let step = if store.service == Service::S3 { 3 } else { 9 };
    for number in 0..requests {
        for (turn, fault) in FAULTS.iter().enumerate() {
            if !soak && (number % step != 0 || number / step % FAULTS.len() != turn) {
                continue;
            }
            let (built, _, hit, rows) = load(Some((number, *fault)));
            let case = format!("{fault:?} of request {number}, {hit:?}:\n{}", built.all());
            cases += 1;
            // Counts of the whole table, in the build's own word and after the next one.
            let expected = format!("{rows},{}", 30 + rows - 2);
            if built.code != Some(0) {
                failed += 1;
                store.run(&shop, &["build"]).ok();
            }
            for table in ["raw.orders", "lines"] {
                let count = format!("select count(*), sum(amount) from {table}");
                assert_eq!(store.rows(&shop, &count).join(";"), expected, "{case}");
            }
        }
    }
    // A fault that passes is met by asking again.
    assert!(failed * 4 <= cases, "{failed} of {cases} builds failed");
    store.run(&shop, &["lake", "repair"]).ok();
}

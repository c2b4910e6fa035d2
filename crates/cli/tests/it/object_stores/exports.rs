//! Models that go out to a bucket, whose requests fail.

use super::proxy::{FAULTS, Proxy};
use super::server::{Service, Store, on_every_store};
use crate::sandbox::{Outcome, Sandbox};

/// A project that delivers the state of one model in three ways, and loads what is there.
fn shop(store: &Store) -> Sandbox {
    let shop = Sandbox::new(&[
        (
            "models/many.sql",
            "{{ config(materialized='table') }}select i as id, {{ var('state', 0) }} as state from generate_series(1, 1000) as g(i)",
        ),
        (
            "models/s.yml",
            "sources:\n  - name: back\n    ingest: {connection: drops, mode: full}\n    tables:\n      - {name: one, ingest: {location: one.csv}}\n      - {name: parts, ingest: {location: 'parts/*.parquet'}}\n      - {name: added, ingest: {location: 'added/*.ndjson'}}\n",
        ),
        (
            "exports.yml",
            "exports:\n  - {name: one, from: ref('many'), to: {connection: drops, path: one.csv}}\n  - {name: parts, from: ref('many'), to: {connection: drops, path: parts/, format: parquet, max_rows: 400}}\n  - {name: added, from: ref('many'), to: {connection: drops, path: added/, format: ndjson}, mode: append}\n",
        ),
    ]);
    shop.write(
        "connections.yml",
        format!(
            "connections:\n  drops: {}\n",
            store.connection("out", "{{ env_var('DROPS_PORT') }}")
        ),
    );
    shop
}

on_every_store!(models_go_to_a_bucket_once_whatever_request_fails);

fn models_go_to_a_bucket_once_whatever_request_fails(store: &Store) {
    let run = |shop: &Sandbox, port: u16, arguments: &[&str]| -> Outcome {
        let port = port.to_string();
        let variables = [("DROPS_PORT", port.as_str()), ("DROPS_SECRET", store.secret())];
        shop.run_with(&variables, arguments)
    };
    let soak = std::env::var_os("TIDEMILL_SOAK").is_some();
    let proxy = Proxy::start(store.port);
    let shop = shop(store);
    let mut states = 0u64;
    let mut deliver = |plan| {
        states += 1;
        let vars = format!("{{state: {states}}}");
        proxy.plan(plan);
        let built = run(&shop, proxy.port, &["build", "--select", "many", "--vars", &vars]);
        let (requests, hit) = proxy.report();
        proxy.plan(None);
        (built, requests, hit, states)
    };
    let there = |states: u64, case: &str| {
        run(&shop, store.port, &["ingest"]).ok();
        let port = store.port.to_string();
        let query = "select (select count(*) || '/' || min(state) from back.one) as one, (select count(distinct id) || '/' || count(*) || '/' || min(state) from back.parts) as parts, (select count(*) || '/' || count(distinct state) from back.added) as added";
        let variables = [("DROPS_PORT", port.as_str()), ("DROPS_SECRET", store.secret())];
        let found = shop.run_with(&variables, &["sql", query, "--format", "csv", "--quiet"]).ok();
        let expected = format!("1000/{states},1000/1000/{states},{}/{states}", 1000 * states);
        assert_eq!(found.stdout.lines().nth(1), Some(expected.as_str()), "{case}");
    };
    let (built, requests, _, states) = deliver(None);
    built.ok();
    there(states, "at first");
    assert!(requests > 8, "{requests}");
    let (built, requests, _, states) = deliver(None);
    built.ok();
    there(states, "a second time");
    let (mut failed, mut cases) = (0, 0);
    let step = if store.service == Service::S3 { 2 } else { 5 };
    for number in 0..requests {
        for (turn, fault) in FAULTS.iter().enumerate() {
            if !soak && (number % step != 0 || number / step % FAULTS.len() != turn) {
                continue;
            }
            let (built, _, hit, states) = deliver(Some((number, *fault)));
            let case = format!("{fault:?} of request {number}, {hit:?}:\n{}", built.all());
            cases += 1;
            if built.code != Some(0) {
                failed += 1;
                run(&shop, store.port, &["export"]).ok();
            }
            there(states, &case);
            run(&shop, store.port, &["export"]).ok().says("nothing to do");
        }
    }
    assert!(failed * 4 <= cases, "{failed} of {cases} deliveries failed");
}

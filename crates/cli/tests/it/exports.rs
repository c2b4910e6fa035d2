//! Models that go out to files and to SQLite: whole, once, whatever is killed.

use tidemill_connect::{COLUMNS_ADDED_FAILPOINT, EXPORT_FAILPOINTS};

use crate::sandbox::{Sandbox, files};

const FIRST: &str = "id,name,amount,day\n1,Ada,10.5,2024-01-01\n2,,20,2024-01-02\n3,Cy,30,\n";
const SECOND: &str =
    "id,name,amount,day\n1,Ada,11,2024-01-01\n3,Cy,30,\n4,\"D,\"\"\",40,2024-01-02\n";

const MODEL: &str = "{{ config(materialized='table') }}
select id, name, cast(amount as decimal(9,2)) as amount, cast(day as date) as day from {{ ref('rows') }}";

fn shop(exports: &str) -> Sandbox {
    Sandbox::new(&[
        ("seeds/rows.csv", FIRST),
        ("models/customers.sql", MODEL),
        (
            "models/m.yml",
            "models:\n  - name: customers\n    columns: [{name: id, data_tests: [unique]}]\n",
        ),
        ("exports.yml", &format!("exports:\n{exports}")),
        ("connections.yml", "connections:\n  crm: {type: sqlite, path: crm.db}\n"),
    ])
}

/// The rows of files, as our own loads read them.
fn loaded(shop: &Sandbox, location: &str) -> Vec<String> {
    shop.write(
        "models/s.yml",
        format!(
            "sources:\n  - name: back\n    tables:\n      - name: t\n        columns: [{{name: id, data_type: bigint}}, {{name: name, data_type: text}}, {{name: amount, data_type: 'decimal(9,2)'}}, {{name: day, data_type: date}}]\n        ingest: {{location: '{location}', mode: full}}\n"
        ),
    );
    shop.run(&["ingest"]).ok();
    std::fs::remove_file(shop.path("models/s.yml")).unwrap();
    shop.rows("select id, name, amount, day from back.t order by id, amount")
}

#[test]
fn models_go_to_files_of_every_format() {
    for path in ["out/c.parquet", "out/c.csv", "c.csv.gz", "out/c.ndjson.zst", "out/c.json"] {
        let shop = shop(&format!("  - {{from: ref('customers'), to: {{path: {path}}}}}\n"));
        shop.build().ok().says(path).says("3 rows");
        let expected = shop.rows("select * from customers order by id");
        assert_eq!(loaded(&shop, path), expected, "{path}");
        shop.run(&["export"]).ok().says("nothing to do");
        // What somebody took away comes again.
        shop.remove(path);
        shop.run(&["export"]).ok().says("3 rows");
        shop.write("seeds/rows.csv", SECOND);
        shop.build().ok().says("3 rows");
        let expected = shop.rows("select * from customers order by id");
        assert_eq!(loaded(&shop, path), expected, "{path}");
    }
}

#[test]
fn folders_have_partitions_parts_and_a_record() {
    let shop = shop(
        "  - {from: ref('customers'), to: {path: days/, format: csv, partition_by: day}}
  - {from: ref('customers'), to: {path: all/, format: parquet, max_rows: 2}, mode: append}
  - {from: ref('many'), to: {path: many, format: ndjson, max_rows: 40000}}
",
    );
    shop.write("models/many.sql", "select i as id from generate_series(1, 100000) as g(i)");
    shop.build().ok();
    let there = |folder: &str| -> Vec<String> {
        let names = files(&shop.path(folder)).into_iter().map(|(path, _)| {
            path.strip_prefix(shop.path(folder)).unwrap_or(&path).display().to_string()
        });
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("_tidemill")).collect();
        names.sort();
        names
    };
    let days = there("days");
    assert_eq!(days.len(), 3, "{days:?}");
    assert!(days[0].starts_with("day=2024-01-01/"), "{days:?}");
    assert!(days[2].starts_with("day=__HIVE_DEFAULT_PARTITION__/"), "{days:?}");
    let text = std::fs::read_to_string(shop.path("days").join(&days[1])).unwrap();
    assert_eq!(text, "id,name,amount\n2,,20.00\n");
    assert_eq!(there("all").len(), 2);
    assert_eq!(there("many").len(), 3);
    let record = std::fs::read_to_string(shop.path("many/_tidemill_deliveries/many.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["rows"], 100_000);
    assert_eq!(record["files"].as_array().unwrap().len(), 3);
    shop.write("seeds/rows.csv", SECOND);
    shop.build().ok();
    // The days of before are gone, the rows of before are not.
    assert_eq!(there("days").len(), 3);
    assert_eq!(there("all").len(), 4);
    assert_eq!(loaded(&shop, "all/*.parquet").len(), 6);
    for (to, says) in [
        ("{path: out, format: csv}, mode: merge, primary_key: id", "is for tables"),
        ("{path: out.csv, partition_by: day}", "several files"),
        ("{path: out/, format: csv, partition_by: month}", "`partition_by` names `month`"),
        ("{path: out/}", "how files are written"),
        ("{connection: crm, path: out.csv}", "table: name"),
        ("{path: /proc/nowhere/out.csv}", "/proc/nowhere"),
    ] {
        shop.write("exports.yml", format!("exports:\n  - {{from: ref('customers'), to: {to}}}\n"));
        shop.run(&["export"]).fails_with(1).says(says);
    }
}

#[test]
fn a_delivery_that_is_killed_at_any_step_is_made_whole_by_the_next() {
    let sqlite = |shop: &Sandbox| {
        let connection = rusqlite::Connection::open(shop.path("crm.db")).unwrap();
        let mut query =
            connection.prepare("select id || ',' || amount from customer order by id").unwrap();
        let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    for mode in ["full", "append", "merge, primary_key: id, deletes: true"] {
        let shop = shop(&format!(
            "  - {{from: ref('customers'), to: {{connection: crm, table: customer}}, mode: {mode}}}\n"
        ));
        for step in EXPORT_FAILPOINTS {
            let _ = std::fs::remove_file(shop.path("crm.db"));
            shop.write("seeds/rows.csv", FIRST);
            shop.build().ok().says("crm.customer");
            let first = sqlite(&shop);
            assert_eq!(first, ["1,10.5", "2,20", "3,30"]);
            shop.write("seeds/rows.csv", SECOND);
            killed(&shop, step);
            let done = *step == "export.after-commit";
            assert_eq!(sqlite(&shop) == first, !done, "{mode}: {step}");
            let again = shop.run(&["export"]).ok();
            match done {
                true => again.says("nothing to do"),
                false => again.says("3 rows"),
            };
            let expected: &[&str] = match mode {
                "append" => &["1,10.5", "1,11", "2,20", "3,30", "3,30", "4,40"],
                _ => &["1,11", "3,30", "4,40"],
            };
            assert_eq!(sqlite(&shop), expected, "{mode}: {step}");
        }
    }
    for (to, mode) in [
        ("{path: out/c.csv}", "full"),
        ("{path: out/, format: csv, max_rows: 1}", "full"),
        ("{path: out/, format: csv, max_rows: 1}", "append"),
    ] {
        let shop = shop(&format!("  - {{from: ref('customers'), to: {to}, mode: {mode}}}\n"));
        for step in EXPORT_FAILPOINTS {
            let _ = std::fs::remove_dir_all(shop.path("out"));
            shop.write("seeds/rows.csv", FIRST);
            shop.build().ok().says("3 rows");
            shop.write("seeds/rows.csv", SECOND);
            killed(&shop, step);
            shop.run(&["export"]).ok();
            let rows = loaded(&shop, "out/*.csv");
            let expected = if mode == "append" { 6 } else { 3 };
            assert_eq!(rows.len(), expected, "{to} {mode}: {step}: {rows:?}");
            assert!(rows[0].starts_with("1,Ada,1"), "{rows:?}");
            shop.run(&["export"]).ok().says("nothing to do");
        }
    }
}

/// A build that dies in its delivery.
fn killed(shop: &Sandbox, step: &str) {
    assert!(shop.dies_at(step, &["build"]), "{step} never fired");
}

#[test]
fn columns_come_with_their_rows_or_not_at_all() {
    for mode in ["full", "merge, primary_key: id"] {
        let shop = shop(&format!(
            "  - {{from: ref('customers'), to: {{connection: crm, table: customer}}, schema_contract: {{columns: evolve}}, mode: {mode}}}\n"
        ));
        for step in EXPORT_FAILPOINTS.iter().chain([&COLUMNS_ADDED_FAILPOINT]) {
            let _ = std::fs::remove_file(shop.path("crm.db"));
            let connection = rusqlite::Connection::open(shop.path("crm.db")).unwrap();
            connection.execute_batch("create table customer (id bigint primary key)").unwrap();
            killed(&shop, step);
            let done = *step == "export.after-commit";
            let columns = || {
                let sql = "select group_concat(name || ' ' || lower(type)) from pragma_table_info('customer')";
                connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
            };
            assert_eq!(columns() == "id bigint", !done, "{mode}: {step}");
            shop.run(&["export"]).ok();
            assert_eq!(columns(), "id bigint,name text,amount decimal(9,2),day date");
            let sum = "select count(*) || ' ' || sum(amount) || ' ' || count(day) from customer";
            let sum: String = connection.query_row(sum, [], |row| row.get(0)).unwrap();
            assert_eq!(sum, "3 60.5 2", "{mode}: {step}");
        }
    }
}

#[test]
fn a_view_goes_out_when_what_it_reads_changed() {
    let shop = shop("  - {from: ref('seen'), to: {path: seen.csv}}\n");
    shop.write("models/seen.sql", "select id from {{ ref('customers') }}");
    shop.write("models/other.sql", "{{ config(materialized='table') }}select 1 as x");
    shop.build().ok().says("seen.csv");
    shop.write("models/other.sql", "{{ config(materialized='table') }}select 2 as x");
    shop.build().ok().does_not_say("seen.csv");
    shop.write("seeds/rows.csv", SECOND);
    shop.build().ok().says("seen.csv");
    shop.run(&["export"]).ok().says("nothing to do");
    // A rebuild that changes nothing goes nowhere; another column does.
    shop.run(&["build", "--no-reuse"]).ok().does_not_say("seen.csv");
    shop.write("models/seen.sql", "select id, name from {{ ref('customers') }}");
    shop.build().ok().says("seen.csv");
    assert!(std::fs::read_to_string(shop.path("seen.csv")).unwrap().starts_with("id,name\n"));
}

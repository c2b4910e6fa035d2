//! The documentation site, from a project to a browser's request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::sandbox::Sandbox;

fn shop() -> Sandbox {
    Sandbox::new(&[
        ("README.md", "# The *shop*\n"),
        ("seeds/customers.csv", "customer_id,name\n1,Ada\n2,Bob\n"),
        (
            "models/orders.sql",
            "{{ config(materialized='table') }}\nselect 1 as order_id, customer_id from {{ ref('customers') }}",
        ),
        (
            "models/shop.yml",
            "models:
  - name: orders
    description: One row an *order*, never </script><script>alert(1)</script>.
    columns:
      - {name: order_id, data_tests: [unique]}
      - name: customer_id
        data_tests: [not_null, {relationships: {to: \"ref('customers')\", field: customer_id}}]
seeds:
  - name: customers
    columns: [{name: customer_id, data_tests: [unique, not_null]}]
",
        ),
    ])
}

fn read(shop: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(shop.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn generate_writes_a_site_and_the_artifacts() {
    let shop = shop();
    // `order_id` is 1 for both customers.
    shop.build().fails_with(1);
    let results = read(&shop, "target/run_results.json");
    shop.run(&["docs", "generate", "--static"]).ok().says("target/docs/index.html");
    let data = read(&shop, "target/docs/data.js");
    for word in [
        "One row an <em>order</em>",
        "is in customers.customer_id",
        "bigint",
        "select 1 as order_id",
    ] {
        let written = word.replace('<', "\\x3c").replace('>', "\\x3e");
        assert!(data.contains(&written), "`{word}` is not in {data}");
    }
    assert!(data.contains("\"status\":\"fail\""), "the verdict of the last run is not in {data}");
    assert!(!data.contains("<script"));
    for file in ["index.html", "site.css", "site.js"] {
        assert!(shop.path(&format!("target/docs/{file}")).is_file(), "{file}");
    }
    assert!(read(&shop, "target/index.html").contains("url=docs/index.html"));
    let whole = read(&shop, "target/static_index.html");
    assert!(whole.contains("TIDEMILL_DOCS=JSON.parse") && !whole.contains("src=\"site.js\""));
    // The seed was published; the model, whose test failed, was not.
    let catalog: serde_json::Value =
        serde_json::from_str(&read(&shop, "target/catalog.json")).unwrap();
    let seed = &catalog["nodes"]["seed.shop.customers"];
    assert_eq!(seed["columns"]["customer_id"]["type"], "bigint");
    assert_eq!(seed["stats"]["row_count"]["value"], 2);
    assert!(catalog["nodes"]["model.shop.orders"].is_null());
    assert!(read(&shop, "target/manifest.json").contains("\"compiled\":true"));
    assert_eq!(read(&shop, "target/kept_run_results.json"), results, "the last run is kept");
    assert!(read(&shop, "target/run_results.json").contains("\"which\":\"generate\""));
    // Whoever asks again sees the run again.
    shop.run(&["docs", "generate"]).ok();
    assert_eq!(read(&shop, "target/kept_run_results.json"), results);
    assert!(read(&shop, "target/docs/data.js").contains("\"status\":\"fail\""));
}

#[test]
fn generate_needs_no_build_and_can_leave_things_out() {
    let shop = shop();
    let compiled = || {
        let data = read(&shop, "target/docs/data.js");
        data.replace('\\', "").contains("from \"main\".\"customers\"")
    };
    shop.run(&["docs", "generate", "--no-compile"]).ok();
    assert!(!compiled(), "nothing was compiled yet");
    shop.run(&["docs", "generate", "--empty-catalog"]).ok();
    assert!(compiled());
    assert!(!read(&shop, "target/docs/data.js").contains("bigint"));
    assert!(!shop.path("target/static_index.html").exists());
}

#[test]
fn serve_answers_until_it_is_interrupted() {
    let shop = shop();
    shop.run(&["docs", "serve", "--no-browser"]).fails_with(1).says("tidemill docs generate");
    shop.run(&["docs", "generate"]).ok();
    let mut server = shop
        .command(&["docs", "serve", "--no-browser", "--port", "0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut talk = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    talk.read_line(&mut line).unwrap();
    let port: u16 = line
        .split("http://127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split('/').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no address in {line:?}"));
    let ask = |path: &str, host: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let page = ask("/", "localhost");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("shop documentation"), "{page}");
    assert!(ask("/../manifest.json", "localhost").starts_with("HTTP/1.1 404"));
    assert!(ask("/", "elsewhere.example").starts_with("HTTP/1.1 421"));
    // Ctrl-C.
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &server.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn the_catalog_has_descriptions_of_what_is_selected_and_assets_are_copied() {
    let sandbox = Sandbox::new(&[
        ("models/a.sql", "{{ config(materialized='table') }} select 1 as id, 2 as n"),
        ("models/b.sql", "select * from {{ source('s', 't') }}"),
        (
            "models/m.yml",
            "models: [{name: a, columns: [{name: id, description: the key}, {name: n}]}]\n\
             sources: [{name: s, schema: main, tables: [{name: t}]}]\n",
        ),
        ("pictures/deep/x.svg", "<svg/>"),
    ]);
    let project = std::fs::read_to_string(sandbox.path("dbt_project.yml")).unwrap();
    sandbox.write("dbt_project.yml", format!("{project}\nasset-paths: [pictures, nowhere]\n"));
    sandbox.run(&["sql", "create table t as select 1 as x"]).ok();
    sandbox.build().ok();
    let catalog = |arguments: &[&str]| -> serde_json::Value {
        let all: Vec<&str> =
            ["docs", "generate"].into_iter().chain(arguments.iter().copied()).collect();
        sandbox.run(&all).ok().says("no folder `nowhere`");
        serde_json::from_slice(&std::fs::read(sandbox.path("target/catalog.json")).unwrap())
            .unwrap()
    };
    let all = catalog(&[]);
    let columns = &all["nodes"]["model.shop.a"]["columns"];
    assert_eq!(columns["id"]["comment"], "the key");
    assert_eq!(columns["n"]["comment"], serde_json::Value::Null);
    assert!(all["sources"]["source.shop.s.t"].is_object());
    assert_eq!(std::fs::read(sandbox.path("target/pictures/deep/x.svg")).unwrap(), b"<svg/>");
    let one = catalog(&["--select", "a"]);
    assert_eq!(one["sources"], serde_json::json!({}));
    assert_eq!(one["nodes"].as_object().unwrap().len(), 1);
}

//! Connections through the binary: added, tried, discovered, loaded; and secrets that stay secret.

use rusqlite::Connection;

use crate::sandbox::Sandbox;

fn shop() -> (Sandbox, Connection) {
    let sandbox = Sandbox::new(&[]);
    let database = Connection::open(sandbox.path("shop.db")).unwrap();
    database
        .execute_batch(
            "create table orders (id integer primary key, amount decimal(9,2), updated_at datetime);
             insert into orders values (1, 10.5, '2024-01-01 10:00:00'), (2, 20, '2024-01-02 10:00:00');
             create table \"Order Notes\" (\"Order ID\" int, note text);
             insert into \"Order Notes\" values (1, 'first')",
        )
        .unwrap();
    (sandbox, database)
}

#[test]
fn a_database_is_added_discovered_and_loaded_in_increments() {
    let (sandbox, database) = shop();
    sandbox
        .run(&["connection", "add", "shop", "--type", "sqlite", "path=shop.db"])
        .ok()
        .says("added `shop` to connections.yml")
        .says("OK     shop (sqlite)");
    sandbox
        .run(&["connection", "discover", "shop"])
        .ok()
        .says("orders  2 rows")
        .says("  id  bigint  primary key");
    sandbox
        .run(&["connection", "preview", "shop", "orders", "--limit", "1", "--output", "csv"])
        .ok()
        .says("id,amount,updated_at\n1,10.50,2024-01-01 10:00:00\n")
        .does_not_say("20.00");
    sandbox
        .run(&["ingest", "init", "shop"])
        .ok()
        .says("wrote models/shop_sources.yml with 2 tables");
    sandbox.run(&["ingest", "init", "shop"]).fails_with(2).says("there is a source `shop` already");
    sandbox
        .run(&["connection", "list"])
        .ok()
        .says("shop        sqlite              2  path=shop.db");
    sandbox.run(&["ingest"]).ok().says("done");
    assert_eq!(
        sandbox
            .rows("select id, amount, cast(updated_at as date) from raw_shop.orders order by id"),
        ["1,10.50,2024-01-01", "2,20.00,2024-01-02"]
    );
    assert_eq!(sandbox.rows("select * from raw_shop.order_notes"), ["1,first"]);
    // Nothing new: the versions stay.
    sandbox.run(&["ingest"]).ok().does_not_say("v1");
    database
        .execute_batch(
            "update orders set amount = 11, updated_at = '2024-01-03 10:00:00' where id = 1;
             insert into orders values (3, 30, '2024-01-02 10:00:00')",
        )
        .unwrap();
    sandbox.run(&["ingest"]).ok().says("1 row inserted, 1 updated");
    assert_eq!(
        sandbox.rows("select id, amount from raw_shop.orders order by id"),
        ["1,11.00", "2,20.00", "3,30.00"]
    );
}

#[test]
fn mistakes_in_connections_are_shown_where_they_are() {
    let (sandbox, _database) = shop();
    sandbox.run(&["connection", "add", "shop", "--type", "oracle"]).says(
        "there are no connections of type `oracle`; known: files, s3, gcs, azure, http, sftp, ftp, webhdfs, postgres",
    );
    sandbox
        .run(&["connection", "add", "shop", "--type", "sqlite", "file=shop.db"])
        .says("unknown field `file`, expected `path`");
    sandbox.run(&["connection", "test", "shop"]).says("there is no connection `shop`");
    assert!(!sandbox.path("connections.yml").exists());
    sandbox.write("connections.yml", "connections:\n  shop: {type: sqlite, path: nowhere.db}\n");
    sandbox.run(&["connection", "test"]).fails_with(1).says(
        "FAILED shop (sqlite): the SQLite file does not exist (file: nowhere.db, connection: shop)",
    );
    sandbox.run(&["connection", "add", "shop", "--type", "sqlite", "path=x"]).says("already");
    // A form that cannot be added to is left as it was.
    let inline = "connections: {a: {type: files}}\n";
    sandbox.write("connections.yml", inline);
    sandbox
        .run(&["connection", "add", "b", "--type", "sqlite", "path=shop.db"])
        .says("write this below `connections:` yourself");
    assert_eq!(std::fs::read_to_string(sandbox.path("connections.yml")).unwrap(), inline);
    sandbox.write("connections.yml", "connections:\n  shop: {type: sqlite, path: shop.db}\n");
    sandbox.write(
        "models/s.yml",
        "sources:\n  - name: shop\n    ingest: {connection: shop}\n    tables:\n      - name: orders\n        ingest:\n          mode: merge\n          primary_key: id\n          lookbak: 1 hour\n",
    );
    sandbox.run(&["ingest"]).says("unknown field `lookbak`").says("models/s.yml:9:");
}

#[test]
fn secrets_are_only_referred_to_and_never_shown() {
    let (sandbox, _database) = shop();
    let secret = |number: usize| format!("planted-secret-{number:02}");
    for written in ["password: planted-secret-00", "url: 'pg://me:planted-secret-00@host/db'"] {
        sandbox.write(
            "connections.yml",
            format!("connections:\n  shop:\n    type: sqlite\n    {written}\n"),
        );
        sandbox
            .run(&["connection", "list"])
            .says("secret-in-file")
            .says("connections.yml:4:5")
            .does_not_say(&secret(0));
    }
    sandbox.remove("connections.yml");
    sandbox
        .run(&[
            "connection",
            "add",
            "x",
            "--type",
            "sqlite",
            "path=shop.db",
            "password=planted-secret-01",
        ])
        .says("password=env:NAME")
        .does_not_say(&secret(1));
    // As values of a wrong setting, of the project's environment, and of what fails.
    sandbox.write(
        "connections.yml",
        "connections:\n  shop:\n    type: sqlite\n    path: \"{{ env_var('DBT_ENV_SECRET_A') }}\"\n  other:\n    type: sqlite\n    path: shop.db\n    token: \"{{ env_var('DBT_ENV_SECRET_B') }}\"\n",
    );
    sandbox.write(
        "models/m.sql",
        "select 1 as a -- {{ log('planted ' ~ env_var('PLAIN'), info=true) }}",
    );
    let variables: Vec<(String, String)> = (2..52)
        .map(|number| {
            let name = match number {
                2 => "DBT_ENV_SECRET_A".to_owned(),
                3 => "DBT_ENV_SECRET_B".to_owned(),
                number => format!("DBT_ENV_SECRET_{number}"),
            };
            (name, secret(number))
        })
        .chain([("PLAIN".to_owned(), secret(2))])
        .collect();
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let commands: [&[&str]; 6] = [
        &["connection", "list"],
        &["connection", "test"],
        &["connection", "discover", "shop"],
        &["build", "--log-level", "debug"],
        &["debug"],
        &["docs", "generate"],
    ];
    for command in commands {
        sandbox.run_with(&variables, command).does_not_say("planted-secret");
    }
    sandbox.run_with(&variables, &["connection", "test", "shop"]).fails_with(1).says("*****");
    let files = crate::sandbox::files(sandbox.root());
    assert!(files.iter().any(|(path, _)| path.ends_with("manifest.json")));
    assert!(files.iter().any(|(path, _)| path.ends_with("dbt.log")));
    for (path, bytes) in files {
        let at = bytes.windows(14).position(|window| window == b"planted-secret");
        assert!(at.is_none(), "{} has a secret", path.display());
    }
}

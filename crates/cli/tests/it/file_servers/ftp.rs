//! FTP, by pyftpdlib (with TLS or without) and vsftpd (which lists for people alone).

use tidemill_testkit::FtpServer;

use crate::sandbox::{Outcome, Sandbox};

const SOURCE: &str = "sources:\n  - name: raw\n    ingest: {connection: drops}\n    tables:\n      - {name: orders, ingest: {location: 'orders/**/*.csv*'}}\n";

/// A project with a connection `drops` of these lines.
fn project(server: &FtpServer, lines: &str, files: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::new(files);
    let text = format!(
        "connections:\n  drops:\n    type: ftp\n    host: localhost\n    port: {}\n{lines}",
        server.port()
    );
    sandbox.write("connections.yml", text);
    sandbox
}

const LOGIN: &str = "    user: shop\n    password: {env: DROPS_SECRET}\n";

fn secure(server: &FtpServer) -> String {
    format!("{LOGIN}    tls_ca: {}\n", server.authority().display())
}

fn run(sandbox: &Sandbox, server: &FtpServer, arguments: &[&str]) -> Outcome {
    sandbox.run_with(&[("DROPS_SECRET", server.password())], arguments)
}

fn write(server: &FtpServer, name: &str, content: impl AsRef<[u8]>) {
    let path = server.files().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn numbers(rows: u32) -> String {
    let rows: String = (0..rows).map(|row| format!("{row},{}\n", row % 7)).collect();
    format!("id,amount\n{rows}")
}

#[test]
fn files_of_a_server_with_tls() {
    let Some(server) = FtpServer::start(true) else { return };
    let shop = project(&server, &secure(&server), &[("models/s.yml", SOURCE)]);
    run(&shop, &server, &["ingest"]).fails_with(1).says("no file matches");
    write(&server, "orders/2026/a b.csv", numbers(500_000));
    write(&server, "orders/b.csv", "id,amount\n-1,1000\n");
    write(&server, "orders/.hidden.csv", "id,amount\n-2,1\n");
    run(&shop, &server, &["connection", "test"]).ok().says("OK");
    run(&shop, &server, &["connection", "discover", "drops"]).ok().says("orders/b.csv");
    run(&shop, &server, &["ingest"]).ok();
    assert_eq!(
        shop.rows(
            "select _source_file, count(*), sum(amount) from raw.orders group by 1 order by 1"
        ),
        ["orders/2026/a b.csv,500000,1499994", "orders/b.csv,1,1000"]
    );
    write(&server, "orders/c.csv", "id,amount\n-3,6\n");
    run(&shop, &server, &["ingest"]).ok();
    assert_eq!(shop.value("select count(*) from raw.orders"), "500002");
    write(&server, "orders/c.csv", "id,amount\n-3,60\n");
    run(&shop, &server, &["ingest"]).fails_with(1).says("on_change: reload");
    // Who is not trusted, and who does not know the password.
    shop.run_with(&[("DROPS_SECRET", "not the password")], &["connection", "test"])
        .fails_with(1)
        .says("does not accept the password of `shop`")
        .does_not_say("not the password");
    let text = std::fs::read_to_string(shop.path("connections.yml")).unwrap();
    let line = format!("    tls_ca: {}\n", server.authority().display());
    shop.write("connections.yml", text.replace(&line, ""));
    run(&shop, &server, &["connection", "test"])
        .fails_with(1)
        .says("not the one of its certificate");
    shop.write("connections.yml", text.replace("host: localhost", "host: 127.0.0.1"));
    run(&shop, &server, &["connection", "test"])
        .fails_with(1)
        .says("not the one of its certificate");
}

#[test]
fn plain_passwords_have_to_be_allowed() {
    let Some(server) = FtpServer::start(false) else { return };
    let shop = project(&server, LOGIN, &[]);
    run(&shop, &server, &["connection", "test"]).fails_with(1).says("the server has no TLS");
    let text = std::fs::read_to_string(shop.path("connections.yml")).unwrap();
    let plain = format!("{text}    tls: none\n");
    shop.write("connections.yml", &plain);
    run(&shop, &server, &["connection", "test"]).ok();
    shop.write("connections.yml", plain.replace("host: localhost", "host: ftp.example.org"));
    run(&shop, &server, &["connection", "test"]).fails_with(1).says("allow_plain_password: true");
    shop.write("connections.yml", format!("{text}    tls: implicit\n"));
    run(&shop, &server, &["connection", "test"]).fails_with(1).says("tls: explicit");
}

/// Connections break in the middle of a large file: every row is there once. With one connection, too.
#[test]
fn a_download_that_breaks_is_taken_up_again() {
    for (tls, more) in [(true, ""), (false, "    tls: none\n    max_connections: 1\n")] {
        let Some(mut server) = FtpServer::start(tls) else { return };
        let lines = if tls { secure(&server) } else { format!("{LOGIN}{more}") };
        let shop = project(&server, &lines, &[("models/s.yml", SOURCE)]);
        let mut content = String::from("id,amount,text\n");
        for row in 0..300_000u32 {
            content.push_str(&format!(
                "{row},{},{:016x}\n",
                row % 7,
                row.wrapping_mul(2_654_435_761)
            ));
        }
        assert!(content.len() > 7 << 20);
        write(&server, "orders/big.csv", &content);
        server.cut_every(1 << 20, 6);
        run(&shop, &server, &["ingest"]).ok();
        assert!(server.cut_every(0, 0) >= 5);
        assert_eq!(
            shop.rows("select count(*), count(distinct id), sum(amount) from raw.orders"),
            ["300000,300000,899997"]
        );
    }
}

#[test]
fn formats_that_are_read_from_the_end() {
    let Some(server) = FtpServer::start(true) else { return };
    let shop = project(
        &server,
        &secure(&server),
        &[
            (
                "models/s.yml",
                "sources:\n  - name: raw\n    ingest: {connection: drops}\n    tables:\n      - {name: report, ingest: {location: book.xlsx, sheet: '2024-*'}}\n      - {name: parts, ingest: {location: 'parts/*.parquet'}}\n",
            ),
            (
                "models/many.sql",
                "{{ config(materialized='table') }}select i as id, md5(i::text) as t from generate_series(1, 500000) as g(i)",
            ),
            (
                "exports.yml",
                "exports:\n  - {name: parts, from: ref('many'), to: {connection: drops, path: parts/, format: parquet, max_rows: 200000}}\n  - {name: one, from: ref('many'), to: {connection: drops, path: deep/er/one.csv}}\n",
            ),
        ],
    );
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../connect/tests/data");
    write(
        &server,
        "book.xlsx",
        std::fs::read(std::path::Path::new(folder).join("book.xlsx")).unwrap(),
    );
    run(&shop, &server, &["build", "--select", "many"]).ok();
    run(&shop, &server, &["ingest"]).ok();
    assert_eq!(
        shop.value("select count(*) || '/' || sum(id) from raw.parts"),
        "500000/125000250000"
    );
    assert_eq!(shop.value("select count(*) > 2 from raw.report"), "true");
    let lines =
        || std::fs::read_to_string(server.files().join("deep/er/one.csv")).unwrap().lines().count();
    assert_eq!(lines(), 500_001);
    // The one file takes the place of the other, and nothing else is left.
    shop.write("models/many.sql", "{{ config(materialized='table') }}select i as id, 'x' as t from generate_series(1, 10) as g(i)");
    run(&shop, &server, &["build", "--select", "many"]).ok();
    assert_eq!(lines(), 11);
    let left: Vec<_> = std::fs::read_dir(server.files().join("deep/er"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_server_that_lists_for_people() {
    let Some(server) = FtpServer::vsftpd() else { return };
    let shop = project(&server, "    tls: none\n", &[("models/s.yml", SOURCE)]);
    write(&server, "orders/2026/a b.csv", numbers(200_000));
    write(&server, "orders/b.csv", "id,amount\n-1,1000\n");
    std::os::unix::fs::symlink("b.csv", server.files().join("orders/l.csv")).unwrap();
    run(&shop, &server, &["ingest"]).ok();
    assert_eq!(
        shop.rows(
            "select _source_file, count(*), sum(amount) from raw.orders group by 1 order by 1"
        ),
        ["orders/2026/a b.csv,200000,599994", "orders/b.csv,1,1000", "orders/l.csv,1,1000"]
    );
    run(&shop, &server, &["ingest"]).ok();
    write(&server, "orders/c.csv", "id,amount\n-3,6\n");
    run(&shop, &server, &["ingest"]).ok();
    assert_eq!(shop.value("select count(*) from raw.orders"), "200003");
}

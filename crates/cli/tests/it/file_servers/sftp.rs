//! SFTP, by OpenSSH.

use std::path::Path;

use tidemill_testkit::{Cutter, SshServer};

use crate::sandbox::Sandbox;

/// A project with a connection `drops` to the folder `drops` of the sandbox.
fn project(server: &SshServer, port: u16, more: &str, files: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::new(files);
    std::fs::create_dir_all(sandbox.path("drops")).unwrap();
    let known: String =
        server.host_keys().iter().map(|key| format!("[127.0.0.1]:{port} {key}\n")).collect();
    sandbox.write("known", known);
    connect(&sandbox, server, port, &format!("    known_hosts: known\n{more}"));
    sandbox
}

/// Writes the connection, with these lines.
fn connect(sandbox: &Sandbox, server: &SshServer, port: u16, lines: &str) {
    let key = match lines.contains("private_key") || lines.contains("agent") {
        true => String::new(),
        false => format!("    private_key_file: {}\n", server.key().display()),
    };
    sandbox.write(
        "connections.yml",
        format!(
            "connections:\n  drops:\n    type: sftp\n    host: 127.0.0.1\n    port: {port}\n    user: {}\n    \
             root: {}\n{key}{lines}",
            server.user(),
            sandbox.path("drops").display()
        ),
    );
}

const SOURCE: &str = "sources:\n  - name: raw\n    ingest: {connection: drops}\n    tables:\n      - {name: orders, ingest: {location: 'orders/**/*.csv*'}}\n";

fn touch(path: &Path, seconds: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
}

#[test]
fn files_of_a_server() {
    let Some(server) = SshServer::shared() else { return };
    let shop = project(server, server.port(), "", &[("models/s.yml", SOURCE)]);
    shop.run(&["ingest"]).fails_with(1).says("no file matches");
    let rows: String = (0..100_000).map(|row| format!("{row},{}\n", row % 7)).collect();
    shop.write("drops/orders/2026/a b#1.csv", format!("id,amount\n{rows}"));
    shop.write("drops/orders/b.csv", "id,amount\n-1,1000\n");
    shop.write("drops/orders/.hidden.csv", "id,amount\n-2,1\n");
    shop.write("drops/orders/x.csv.tidemill-part", "id,amount\n-2,1\n");
    shop.write("drops/other/c.csv", "id,amount\n-2,1\n");
    std::os::unix::fs::symlink(
        shop.path("drops/orders/b.csv"),
        shop.path("drops/orders/2026/l.csv"),
    )
    .unwrap();
    std::os::unix::fs::symlink("/nowhere", shop.path("drops/orders/gone.csv")).unwrap();
    shop.run(&["connection", "test"]).ok().says("OK");
    shop.run(&["connection", "discover", "drops"]).ok().says("orders/b.csv").says("other/c.csv");
    shop.run(&["connection", "preview", "drops", "orders/b.csv"]).ok().says("1000");
    shop.run(&["ingest"]).ok();
    assert_eq!(
        shop.rows(
            "select _source_file, count(*), sum(amount) from raw.orders group by 1 order by 1"
        ),
        ["orders/2026/a b#1.csv,100000,299995", "orders/2026/l.csv,1,1000", "orders/b.csv,1,1000"]
    );
    shop.run(&["ingest"]).ok();
    // New files alone; the same content with another time is the same file; other content is an error.
    shop.write("drops/orders/c.csv", "id,amount\n-3,6\n");
    touch(&shop.path("drops/orders/b.csv"), 1_700_000_000);
    shop.run(&["ingest"]).ok();
    assert_eq!(shop.value("select count(*) from raw.orders"), "100003");
    shop.write("drops/orders/c.csv", "id,amount\n-3,60\n");
    shop.run(&["ingest"]).fails_with(1).says("on_change: reload");
    shop.run(&["connection", "preview", "drops", "orders"]).fails_with(2).says("is a folder");
}

#[test]
fn every_format_of_a_server() {
    let Some(server) = SshServer::shared() else { return };
    let shop = project(
        server,
        server.port(),
        "    max_connections: 1\n",
        &[
            (
                "models/s.yml",
                "sources:\n  - name: raw\n    ingest: {connection: drops}\n    tables:\n      - {name: report, ingest: {location: book.xlsx, sheet: '2024-*', merged_cells: repeat}}\n      - {name: orders, ingest: {location: orders.avro}}\n      - {name: packed, ingest: {location: 'p/*.zip'}}\n      - {name: parts, ingest: {location: 'parts/*.parquet'}}\n      - {name: all_files, ingest: {location: '**/*', format: file}}\n",
            ),
            (
                "models/many.sql",
                "{{ config(materialized='table') }}select i as id from generate_series(1, 5000) as g(i)",
            ),
            (
                "exports.yml",
                "exports:\n  - {name: parts, from: ref('many'), to: {connection: drops, path: parts/, format: parquet, max_rows: 2000}}\n",
            ),
        ],
    );
    for (name, from) in [("book.xlsx", "book.xlsx"), ("orders.avro", "orders-snappy.avro")] {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../connect/tests/data");
        let content = std::fs::read(Path::new(folder).join(from)).unwrap();
        shop.write(&format!("drops/{name}"), content);
    }
    shop.write("drops/p/a.csv", "id\n1\n2\n");
    let zipped = std::process::Command::new("python3")
        .args(["-m", "zipfile", "-c", "a.zip", "a.csv"])
        .current_dir(shop.path("drops/p"))
        .status();
    assert!(zipped.unwrap().success());
    shop.run(&["build", "--select", "many"]).ok();
    shop.run(&["ingest"]).ok();
    assert_eq!(shop.value("select count(*) from raw.report"), "5");
    assert_eq!(shop.value("select count(*) > 2 from raw.orders"), "true");
    assert_eq!(
        shop.rows("select id, _source_file from raw.packed"),
        ["1,p/a.zip/a.csv", "2,p/a.zip/a.csv"]
    );
    assert_eq!(shop.value("select count(*) || '/' || sum(id) from raw.parts"), "5000/12502500");
    // A Parquet file of another time and the same content is not read again.
    let part = std::fs::read_dir(shop.path("drops/parts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "parquet"));
    touch(&part.unwrap(), 1_700_000_000);
    shop.run(&["ingest", "--select", "source:raw.parts"]).ok();
    assert_eq!(shop.value("select count(*) from raw.parts"), "5000");
    assert_eq!(shop.value("select count(*) >= 6 from raw.all_files"), "true");
}

/// Connections break in the middle of a large file: every row is there once.
#[test]
fn a_connection_that_breaks_is_taken_up_again() {
    let Some(server) = SshServer::shared() else { return };
    let cutter = Cutter::start(server.port());
    let more = "    timeout: 10s\n";
    let shop = project(server, cutter.port(), more, &[("models/s.yml", SOURCE)]);
    let mut content = String::from("id,amount,text\n");
    for row in 0..400_000u32 {
        content.push_str(&format!("{row},{},{:016x}\n", row % 7, row.wrapping_mul(2_654_435_761)));
    }
    shop.write("drops/orders/big.csv", &content);
    assert!(content.len() > 9 << 20, "{}", content.len());
    cutter.cut_every(1 << 20, 9);
    shop.run(&["ingest"]).ok();
    assert!(cutter.cuts() >= 8, "{} breaks", cutter.cuts());
    assert_eq!(
        shop.rows("select count(*), count(distinct id), sum(amount) from raw.orders"),
        ["400000,400000,1199997"]
    );
    // Connections of a server that is gone for good are an error, and nothing of the load is there.
    shop.write("drops/orders/more.csv", &content);
    cutter.cut_every(1, usize::MAX);
    shop.run(&["ingest"]).fails_with(1).says("127.0.0.1");
    assert_eq!(shop.value("select count(*) from raw.orders"), "400000");
}

#[test]
fn a_server_is_known_or_refused() {
    let Some(server) = SshServer::shared() else { return };
    let port = server.port();
    let shop = project(server, port, "", &[("models/s.yml", SOURCE)]);
    let fingerprint = server.fingerprint();
    shop.write("none", "");
    connect(&shop, server, port, "    known_hosts: none\n");
    shop.run(&["connection", "test"])
        .fails_with(1)
        .says("the key of the server is not known")
        .says(&fingerprint)
        .says("host_key:");
    connect(&shop, server, port, &format!("    host_key: \"{fingerprint}\"\n"));
    shop.run(&["connection", "test"]).ok();
    // Of several kinds of keys the server is asked for the one that is known.
    for key in server.host_keys() {
        connect(&shop, server, port, &format!("    host_key: \"{key}\"\n"));
        shop.run(&["connection", "test"]).ok();
    }
    let [ours, ecdsa] = server.host_keys();
    shop.write("one", format!("[127.0.0.1]:{port} {ecdsa}\n"));
    connect(&shop, server, port, "    known_hosts: one\n");
    shop.run(&["connection", "test"]).ok();
    let other = std::fs::read_to_string(server.unknown_key().with_extension("pub")).unwrap();
    shop.write("other", format!("[127.0.0.1]:{port} {other}\n"));
    connect(&shop, server, port, "    known_hosts: other\n");
    shop.run(&["connection", "test"])
        .fails_with(1)
        .says("another key than is known")
        .says(&fingerprint);
    connect(&shop, server, port, &format!("    host_key: \"{}\"\n", other.trim()));
    shop.run(&["connection", "test"]).fails_with(1).says("another key than `host_key` says");
    shop.write("revoked", format!("[127.0.0.1]:{port} {ours}\n@revoked * {ours}\n"));
    connect(&shop, server, port, "    known_hosts: revoked\n");
    shop.run(&["connection", "test"]).fails_with(1).says("is revoked");
}

#[test]
fn logins() {
    let Some(server) = SshServer::shared() else { return };
    let port = server.port();
    let shop = project(server, port, "", &[]);
    let trust = format!("    host_key: \"{}\"\n", server.fingerprint());
    let (file, passphrase) = server.encrypted_key();
    let file = file.display();
    connect(&shop, server, port, &format!("{trust}    private_key_file: {file}\n"));
    shop.run(&["connection", "test"]).fails_with(1).says("refer to its `passphrase`");
    connect(
        &shop,
        server,
        port,
        &format!("{trust}    private_key: {{file: {file}}}\n    passphrase: {{env: PASSPHRASE}}\n"),
    );
    shop.run_with(&[("PASSPHRASE", passphrase)], &["connection", "test"]).ok();
    shop.run_with(&[("PASSPHRASE", "not this one")], &["connection", "test"])
        .fails_with(1)
        .says("is `passphrase` right?")
        .does_not_say("not this one");
    let unknown = server.unknown_key();
    connect(&shop, server, port, &format!("{trust}    private_key_file: {}\n", unknown.display()));
    shop.run(&["connection", "test"])
        .fails_with(1)
        .says("the server does not accept the private key")
        .says("publickey");
    connect(&shop, server, port, &format!("{trust}    agent: true\n"));
    shop.run_with(&[("SSH_AUTH_SOCK", "/nowhere")], &["connection", "test"])
        .fails_with(1)
        .says("SSH_AUTH_SOCK");
    let Some(agent) = Agent::start(&shop.path("agent"), &server.key()) else { return };
    shop.run_with(&[("SSH_AUTH_SOCK", &agent.socket)], &["connection", "test"]).ok();
}

/// An SSH agent that holds a key.
struct Agent {
    socket: String,
    process: std::process::Child,
}

impl Agent {
    fn start(socket: &Path, key: &Path) -> Option<Agent> {
        let mut command = std::process::Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(socket).stdout(std::process::Stdio::null());
        let process = command.spawn().ok()?;
        let agent = Agent { socket: socket.display().to_string(), process };
        let add = || {
            let mut add = std::process::Command::new("ssh-add");
            let add = add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket);
            add.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let began = std::time::Instant::now();
        while !add() {
            assert!(began.elapsed().as_secs() < 20, "ssh-agent did not take the key");
        }
        Some(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn models_go_to_a_server() {
    let Some(server) = SshServer::shared() else { return };
    let cutter = Cutter::start(server.port());
    let shop = project(
        server,
        cutter.port(),
        "    timeout: 10s\n",
        &[
            (
                "models/many.sql",
                "{{ config(materialized='table') }}select i as id, md5(i::text) as text, {{ var('state', 0) }} as state from generate_series(1, 400000) as g(i)",
            ),
            (
                "exports.yml",
                "exports:\n  - {name: one, from: ref('many'), to: {connection: drops, path: out/one.csv}}\n  - {name: parts, from: ref('many'), to: {connection: drops, path: deep/er/parts/, format: parquet, max_rows: 150000}}\n  - {name: added, from: ref('many'), to: {connection: drops, path: added/, format: ndjson, compression: gzip}, mode: append}\n",
            ),
        ],
    );
    // What a process that was killed has left is taken away after a day, and no sooner.
    shop.write("drops/out/.one.csv.00.tidemill-part", "half");
    shop.write("drops/out/.one.csv.01.tidemill-part", "half");
    touch(&shop.path("drops/out/.one.csv.00.tidemill-part"), 1_700_000_000);
    shop.run(&["build"]).ok();
    let lines = |name: &str| std::fs::read_to_string(shop.path(name)).unwrap().lines().count();
    assert_eq!(lines("drops/out/one.csv"), 400_001);
    let names = |folder: &str| {
        let entries = std::fs::read_dir(shop.path(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names("drops/out"),
        [".one.csv.01.tidemill-part", "_tidemill_deliveries", "one.csv"]
    );
    assert_eq!(names("drops/deep/er/parts").len(), 4);
    shop.run(&["build"]).ok().says("nothing to do");
    // A new state, over connections that break: the one file is replaced, the others' names go.
    cutter.cut_every(6_000, 4);
    shop.run(&["build", "--vars", "{state: 1}"]).ok();
    assert!(cutter.cuts() > 0);
    let text = std::fs::read_to_string(shop.path("drops/out/one.csv")).unwrap();
    assert_eq!(text.lines().count(), 400_001);
    assert!(text.lines().skip(1).all(|line| line.ends_with(",1")));
    assert_eq!(names("drops/deep/er/parts").len(), 4);
    assert_eq!(names("drops/added").iter().filter(|name| name.ends_with(".ndjson.gz")).count(), 2);
    assert_eq!(
        names("drops/out"),
        [".one.csv.01.tidemill-part", "_tidemill_deliveries", "one.csv"]
    );
}

#[test]
fn a_lake_is_refused() {
    let shop = Sandbox::new(&[("models/one.sql", "select 1 as one")]);
    shop.run(&["build", "--target-lake=sftp://files.example.org/lake"])
        .fails_with(1)
        .says("it has no conditional put");
}

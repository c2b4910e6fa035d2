//! Topics of Kafka, when something goes wrong: kills, cuts, brokers that are down, messages that are gone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidemill_testkit::{QueueServer, free_port};

use super::{kafka, project, python, topic, unique};
use crate::crashes::STEPS;

#[test]
fn killed_at_any_step_every_message_is_there_once() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("killed");
    kafka(server, &format!("topic('{name}', 2)"));
    let sandbox = topic(server, &format!("topic: {name}"));
    let (mut sent, mut died) = (0, 0);
    for step in STEPS {
        kafka(
            server,
            &format!(
                "send('{name}', *[(None, {{'id': id}}, id % 2) for id in range({sent}, {sent} + 50)])"
            ),
        );
        sent += 50;
        for _ in 0..2 {
            died += u32::from(sandbox.dies_at(step, &["build"]));
        }
        sandbox.build().ok();
        assert_eq!(
            sandbox.rows("select count(*), count(distinct id), max(id) from raw.t"),
            [format!("{sent},{sent},{}", sent - 1)],
            "killed at {step}"
        );
    }
    assert!(died >= STEPS.len() as u32, "{died} builds died");
}

#[test]
fn messages_that_are_gone_stop_the_load_unless_declared() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("short");
    kafka(
        server,
        &format!(
            "topic('{name}', 2)\nsend('{name}', *[(None, {{'id': id}}, id % 2) for id in range(20)])"
        ),
    );
    let sandbox = topic(server, &format!("topic: {name}"));
    sandbox.run(&["ingest"]).ok().says("20 rows");
    // Deleted after they were read: nothing is lost.
    let delete = |before: u32| {
        kafka(
            server,
            &format!(
                "part = TopicPartition('{name}', 0, {before})\nadmin.delete_records([part])[part].result()"
            ),
        )
    };
    delete(10);
    sandbox.run(&["ingest"]).ok();
    kafka(server, &format!("send('{name}', *[(None, {{'id': id}}) for id in range(20, 30)])"));
    delete(14);
    sandbox
        .run(&["ingest"])
        .fails_with(1)
        .says("up to 4 messages were deleted at the broker before they were read")
        .says("offsets 10 to 13");
    assert_eq!(sandbox.value("select count(*) from raw.t"), "20");
    super::table(&sandbox, &format!("topic: {name}, on_lost: earliest"), "");
    sandbox.run(&["ingest"]).ok().says("up to 4 messages").says("6 rows");
    assert_eq!(sandbox.value("select count(distinct id) from raw.t"), "26");
    // Another topic of the same name.
    super::table(&sandbox, &format!("topic: {name}"), "");
    kafka(
        server,
        &format!(
            "admin.delete_topics(['{name}'])['{name}'].result()\ntime.sleep(0.5)\ntopic('{name}', 2)\nsend('{name}', (None, {{'id': 100}}))"
        ),
    );
    sandbox.run(&["ingest"]).fails_with(1).says("this is not the topic that was read");
    sandbox.run(&["ingest", "--full-refresh"]).ok().says("1 row");
    assert_eq!(sandbox.rows("select id from raw.t"), ["100"]);
}

#[test]
fn a_broker_that_is_down_is_said() {
    let port = free_port();
    let sandbox = project(
        &format!("type: kafka, bootstrap_servers: '127.0.0.1:{port}', timeout: 2s"),
        "topic: t",
        "",
    );
    sandbox.run(&["ingest"]).fails_with(1).says("no broker answers").says(&port.to_string());
    sandbox.run(&["connection", "test"]).fails_with(1).says("no broker answers");
}

/// Listens on a port and gives on what comes, both ways. `cut` says of each connection after how many bytes
/// from the server it breaks.
fn proxy(listener: TcpListener, server: u16, cut: impl Fn(usize) -> usize + Send + 'static) {
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().flatten().enumerate() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
            let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut up, &mut down);
                let _ = down.shutdown(Shutdown::Both);
            });
            let left = cut(number);
            std::thread::spawn(move || {
                let (mut server, mut client) = (server, client);
                let (mut left, mut buffer) = (left, vec![0; 16 << 10]);
                while let Ok(read @ 1..) = server.read(&mut buffer) {
                    let given = read.min(left);
                    left -= given;
                    if client.write_all(&buffer[..given]).is_err() || left == 0 {
                        break;
                    }
                }
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
}

/// Takes connections that are encrypted, and gives them on.
const DECRYPT: &str = r"
import asyncio, ssl, sys
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(sys.argv[1], sys.argv[2])
async def give(source, to):
    try:
        while data := await source.read(65536):
            to.write(data)
            await to.drain()
    finally:
        to.close()
async def take(reader, writer):
    server = await asyncio.open_connection('127.0.0.1', int(sys.argv[4]))
    await asyncio.gather(give(reader, server[1]), give(server[0], writer), return_exceptions=True)
async def main():
    async with await asyncio.start_server(take, '127.0.0.1', int(sys.argv[3]), ssl=context) as server:
        await server.serve_forever()
asyncio.run(main())
";

/// Ended with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_certificate_of_a_broker_is_checked() {
    let port = free_port();
    let Some(server) = QueueServer::kafka_behind(port) else { return };
    let folder = super::certificates();
    let mut decrypt = std::process::Command::new(tidemill_testkit::queue_python().unwrap());
    decrypt
        .args(["-c", DECRYPT])
        .args([folder.join("localhost.pem"), folder.join("localhost.key")]);
    decrypt.args([port.to_string(), server.port().to_string()]);
    let _running = Running(decrypt.spawn().unwrap());
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    let authority = folder.join("authority.pem");
    let produced = format!(
        "out = Producer({{'bootstrap.servers': 'localhost:{port}', 'security.protocol': 'SSL', 'ssl.ca.location': '{0}'}})
tls = AdminClient({{'bootstrap.servers': 'localhost:{port}', 'security.protocol': 'SSL', 'ssl.ca.location': '{0}'}})
tls.create_topics([NewTopic('t', 1, 1)])['t'].result()
out.produce('t', value='{{\"id\": 1}}')
assert out.flush(20) == 0",
        authority.display()
    );
    python(super::KAFKA, &produced, port);
    let of = |more: &str| {
        let connection =
            format!("type: kafka, bootstrap_servers: 'localhost:{port}', timeout: 5s{more}");
        project(&connection, "topic: t", "")
    };
    let trusted = of(&format!(", tls: true, ca: '{}'", authority.display()));
    trusted.run(&["ingest"]).ok();
    assert_eq!(trusted.rows("select id from raw.t"), ["1"]);
    of(", tls: true").run(&["ingest"]).fails_with(1).says("certificate");
    of("").run(&["ingest"]).fails_with(1);
}

#[test]
fn connections_that_are_cut_in_the_middle_lose_and_repeat_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let advertised = listener.local_addr().unwrap().port();
    let Some(server) = QueueServer::kafka_behind(advertised) else { return };
    let cuts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&cuts);
    let cutting = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let armed = Arc::clone(&cutting);
    proxy(listener, server.port(), move |_| {
        if !armed.load(Ordering::Relaxed) {
            return usize::MAX;
        }
        // In the middle of the first answers, and then of messages.
        let after = [20, 300, 100_000, 700_000, 2_000_000];
        after.get(counted.fetch_add(1, Ordering::Relaxed)).copied().unwrap_or(usize::MAX)
    });
    python(
        super::KAFKA,
        "topic('cut', 2)
out = producer(**{'batch.size': 20000})
for id in range(20000):
    out.produce('cut', value=json.dumps({'id': id, 'text': 'x' * 200}), partition=id % 2)
    if id % 2000 == 0:
        out.flush()
out.flush()
# This broker says that the end is behind the first message of the last batch.
for part in (0, 1):
    out.produce('cut', value=json.dumps({'id': 20000 + part}), partition=part)
    out.flush()",
        advertised,
    );
    let connection = format!("type: kafka, bootstrap_servers: '127.0.0.1:{advertised}'");
    let sandbox = project(&connection, "topic: cut", "");
    cutting.store(true, Ordering::Relaxed);
    sandbox.run(&["ingest"]).ok().says("20,002 rows");
    assert!(cuts.load(Ordering::Relaxed) > 3, "{cuts:?}");
    assert_eq!(
        sandbox.rows("select count(*), count(distinct id), max(id) from raw.t"),
        ["20002,20002,20001"]
    );
}

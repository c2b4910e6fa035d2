//! Message queues as sources, against real brokers; what is sent is sent by clients that are not ours.

mod avro;
mod exports;
mod kafka;
mod kafka_accidents;
mod nats;

use std::path::Path;
use std::process::Command;

use tidemill_testkit::{QueueServer, queue_python};

use crate::sandbox::{Sandbox, outcome};

/// What every script for Kafka begins with.
const KAFKA: &str = r"
import json, sys, time
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
SERVER = '127.0.0.1:' + sys.argv[1]
admin = AdminClient({'bootstrap.servers': SERVER})
def topic(name, partitions=1, **config):
    # Times of messages may be old; the broker must not delete them for that.
    config = {'retention.ms': '-1', **config}
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result()
def producer(**more):
    return Producer({'bootstrap.servers': SERVER, 'linger.ms': 5, **more})
def send(name, *messages, **more):
    out = producer(**more)
    for message in messages:
        key, value, partition = (*message, 0)[:3]
        value = json.dumps(value) if isinstance(value, (dict, list)) else value
        out.produce(name, key=key, value=value, partition=partition)
    assert out.flush(20) == 0
";

/// What every script for NATS begins with; `work` is a coroutine that gets JetStream.
const NATS: &str = r"
import asyncio, json, sys
import nats
from nats.js.api import StreamConfig
async def main():
    client = await nats.connect('nats://127.0.0.1:' + sys.argv[1], user='writer', password='secret')
    await work(client.jetstream())
    await client.close()
";

/// Runs a script; what it printed, line by line.
#[track_caller]
fn python(begin: &str, body: &str, port: u16) -> Vec<String> {
    let python = queue_python().unwrap();
    let script = format!("{begin}\n{body}");
    let ran = outcome(Command::new(python).args(["-c", &script, &port.to_string()])).ok();
    ran.stdout.lines().map(str::to_owned).collect()
}

/// Runs a script of clients of Kafka.
#[track_caller]
fn kafka(server: &QueueServer, body: &str) -> Vec<String> {
    python(KAFKA, body, server.port())
}

/// Runs `work(js)`, whose body this is, as a client of NATS.
#[track_caller]
fn nats(server: &QueueServer, body: &str) -> Vec<String> {
    let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
    let script = format!("async def work(js):\n{body}\nasyncio.run(main())");
    python(NATS, &script, server.port())
}

/// A project with a connection `events` of these lines and a table `raw.t` by these settings.
fn project(connection: &str, ingest: &str, columns: &str) -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    sandbox.write("connections.yml", format!("connections:\n  events: {{{connection}}}\n"));
    table(&sandbox, ingest, columns);
    sandbox
}

/// Writes the table's settings.
fn table(sandbox: &Sandbox, ingest: &str, columns: &str) {
    let text = format!(
        "sources:\n  - name: raw\n    tables:\n      - name: t\n        ingest: {{connection: events, {ingest}}}\n        \
         columns: [{columns}]\n"
    );
    sandbox.write("models/raw.yml", text);
}

/// A project that reads a topic.
fn topic(server: &QueueServer, ingest: &str) -> Sandbox {
    let connection = format!("type: kafka, bootstrap_servers: '127.0.0.1:{}'", server.port());
    project(&connection, ingest, "")
}

/// A topic's name for one test.
fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{name}{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The folder of certificates that tests share.
fn certificates() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls"))
}

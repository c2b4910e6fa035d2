//! Models that go out to RabbitMQ, MQTT and Redis, read by clients that are not ours.

use std::process::Command;

use tidemill_connect::EXPORT_FAILPOINTS;
use tidemill_testkit::{MqttServer, RabbitMqServer, RedisServer};

use crate::sandbox::{Sandbox, outcome};

/// A project whose customers go out.
fn project(connection: &str, to: &str) -> Sandbox {
    let sandbox = Sandbox::new(&[]);
    sandbox.has_customers("id,name,amount,day\n1,,,\n");
    sandbox.write("connections.yml", format!("connections:\n  mq: {{{connection}}}\n"));
    sends(&sandbox, to);
    sandbox
}

fn sends(sandbox: &Sandbox, to: &str) {
    sandbox.write(
        "exports.yml",
        format!(
            "exports:\n  - {{from: ref('customers'), to: {{connection: mq, {to}}}, mode: append}}\n"
        ),
    );
}

/// Kills a delivery of two rows at each step, and makes it again; `read` gives the numbers of the rows that came since
/// it was asked last, each behind how often.
fn outlives_kills(sandbox: &Sandbox, once: bool, read: impl Fn(usize) -> Vec<String>) {
    for (number, step) in EXPORT_FAILPOINTS.iter().enumerate() {
        let (one, two) = (number * 2 + 10, number * 2 + 11);
        sandbox.publishes(&format!("id,name,amount,day\n{one},a,,\n{two},,,\n"));
        assert!(sandbox.dies_at(step, &["export"]), "{step} never fired");
        let done = *step == "export.after-commit";
        let again = sandbox.run(&["export"]).ok();
        match done {
            true => again.says("nothing to do"),
            false => again.says("2 rows"),
        };
        sandbox.run(&["export"]).ok().says("nothing to do");
        let found = read(number);
        let mut different = found.clone();
        different.sort();
        different.dedup();
        assert_eq!(different, [one.to_string(), two.to_string()], "{step}: {found:?}");
        // What was sent before it died comes twice, where the server cannot know it.
        let at_most = if done || once || *step == "export.begun" { 2 } else { 4 };
        assert!(found.len() <= at_most, "{step}: {found:?}");
    }
}

#[test]
fn rows_become_messages_of_a_rabbitmq() {
    let Some(server) = RabbitMqServer::shared() else { return };
    let name = "exports-out";
    server.pika(
        name,
        "channel.queue_declare(name, durable=True)
channel.exchange_declare('exports', 'topic')
channel.queue_declare('exports-some')
channel.queue_bind('exports-some', 'exports', 'shop.*.new')",
    );
    let url = format!("type: rabbitmq, url: 'amqp://127.0.0.1:{}'", server.port());
    let sandbox = project(&url, &format!("queue: {name}"));
    let take = "while True:
    method, properties, body = channel.basic_get(QUEUE, auto_ack=True)
    if method is None: break
    print(json.loads(body)['id'], properties.message_id, properties.delivery_mode, properties.headers, method.routing_key)";
    let read = |queue: &str| {
        let said = server.pika(name, &take.replace("QUEUE", &format!("'{queue}'")));
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    outlives_kills(&sandbox, false, |_| {
        let found = read(name);
        let ids = found.iter().map(|line| line.split(' ').next().unwrap().to_owned());
        // What comes twice has one number.
        let mut numbers: Vec<&str> =
            found.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), 2, "{found:?}");
        ids.collect()
    });
    sends(&sandbox, "exchange: exports, routing_key: 'shop.{id}.new', headers: {who: name}");
    sandbox.run(&["export"]).ok().says("2 rows");
    let found = read("exports-some");
    assert!(found[0].ends_with("2 {'who': 'a'} shop.18.new"), "{found:?}");
    assert!(found[1].ends_with("2 {} shop.19.new"), "{found:?}");
    for (to, says) in [
        (
            "exchange: exports, routing_key: elsewhere",
            "no queue takes messages with the routing key `elsewhere`",
        ),
        ("queue: exports-none", "no queue takes"),
        ("queue: a, exchange: b", "messages go to a `queue`, or to an `exchange`"),
    ] {
        sends(&sandbox, to);
        sandbox.run(&["export"]).fails_with(1).says(says);
    }
}

#[test]
fn rows_become_messages_of_a_broker_of_mqtt() {
    let Some(server) = MqttServer::shared() else { return };
    let url = format!("type: mqtt, url: 'mqtt://127.0.0.1:{}'", server.port());
    let sandbox = project(&url, "topic: 'exports/{id}/new', qos: 2");
    // A session that the broker keeps for the reader.
    let subscriber = |more: &[&str]| {
        let mut client = Command::new("mosquitto_sub");
        client.args(["-p", &server.port().to_string(), "-i", "exports-reader", "-c", "-q", "2"]);
        client.args(["-t", "exports/+/new", "-F", "%t %p"]).args(more);
        outcome(&mut client)
    };
    subscriber(&["-E"]).ok();
    outlives_kills(&sandbox, false, |_| {
        // It ends when nothing comes any more.
        let said = subscriber(&["-W", "1"]).stdout;
        said.lines()
            .map(|line| {
                let (topic, body) = line.split_once(' ').unwrap();
                let id = topic.split('/').nth(1).unwrap();
                assert!(body.starts_with(&format!("{{\"id\":{id},")), "{line}");
                id.to_owned()
            })
            .collect()
    });
    for (to, says) in [
        ("topic: 'exports/{name}/new'", "cannot stand in `topic`"),
        ("topic: 'exports/+'", "without `+` and `#`"),
        ("topic: exports/a, qos: 0", "`qos` is 1 or 2"),
    ] {
        sends(&sandbox, to);
        sandbox.run(&["export"]).fails_with(1).says(says);
    }
}

#[test]
fn rows_become_entries_of_a_redis_once() {
    let Some(server) = RedisServer::shared() else { return };
    let database = 990;
    let url = format!("type: redis, url: 'redis://127.0.0.1:{}/{database}'", server.port());
    let sandbox = project(&url, "stream: out, headers: name");
    outlives_kills(&sandbox, true, |number| {
        let said = server.cli(database, "XRANGE out - +");
        let bodies = said.iter().filter(|line| line.starts_with("{\"id\":"));
        let id = |body: &String| body["{\"id\":".len()..].split(',').next().unwrap().to_owned();
        bodies.map(id).skip(number * 2).collect()
    });
    assert_eq!(server.cli(database, "XRANGE out - + COUNT 1")[1..].len(), 4);
    // Killed in the middle, it goes on where it was.
    sandbox.write(
        "models/customers.sql",
        "{{ config(materialized='table') }}select i as id, 'n' || i as name, array[i, null] as list from generate_series(1, 3500) as g(i)",
    );
    sends(&sandbox, "stream: many, field: row, order_by: id");
    sandbox.publishes("id,name,amount,day\n1,,,\n");
    assert!(sandbox.dies_at("export.copied@2", &["export"]));
    assert_eq!(server.cli(database, "XLEN many"), ["2000"]);
    sandbox.run(&["export"]).ok().says("3,500 rows").says("1,500 inserted");
    assert_eq!(server.cli(database, "XLEN many"), ["3500"]);
    sandbox.run(&["export"]).ok().says("nothing to do");
    // In this order, and each once: as our own reader sees it.
    sandbox.write(
        "models/s.yml",
        "sources:\n  - name: back\n    tables:\n      - {name: t, ingest: {connection: mq, stream: many, field: row}}\n",
    );
    sandbox.run(&["ingest"]).ok().says("3,500 rows");
    assert_eq!(
        sandbox.rows(
            "select count(distinct id), min(id), max(id), max(name), count(list) from back.t"
        ),
        ["3500,1,3500,n999,3500"]
    );
    // Where the rows that were sent are not those that come now, none is left out.
    sends(&sandbox, "stream: odd, order_by: id");
    assert!(sandbox.dies_at("export.copied@1", &["export"]));
    let record = server.cli(database, "HGET tidemill_deliveries mq.odd").join("");
    let other = record.replace("\"sent\":\"", "\"sent\":\"x");
    assert_ne!(record, other);
    server.cli(database, &format!("HSET tidemill_deliveries mq.odd '{other}'"));
    sandbox.run(&["export"]).ok().says("3,500 rows");
    assert_eq!(server.cli(database, "XLEN odd"), ["4500"]);
    server.cli(database, "SET plain 1");
    sends(&sandbox, "stream: plain");
    sandbox.run(&["export"]).fails_with(1).says("`plain` is a string in Redis, not a stream");
}

//! RabbitMQ: queues and streams, filled by `pika`.

use std::sync::atomic::{AtomicU32, Ordering};

use tidemill_testkit::RabbitMqServer;

use super::{Project, STEPS, has_each_once};

/// A queue that no other test has.
struct Rabbit {
    server: &'static RabbitMqServer,
    name: String,
}

impl Rabbit {
    /// A queue of this type.
    fn new(kind: &str) -> Option<Rabbit> {
        Rabbit::with(kind, "{}")
    }

    fn with(kind: &str, arguments: &str) -> Option<Rabbit> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let server = RabbitMqServer::shared()?;
        let name = format!("{kind}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let rabbit = Rabbit { server, name };
        rabbit.pika(&format!(
            "channel.queue_declare(name, durable=True, arguments=dict({{'x-queue-type': '{kind}'}}, **{arguments}))"
        ));
        Some(rabbit)
    }

    #[track_caller]
    fn pika(&self, script: &str) -> String {
        self.server.pika(&self.name, script)
    }

    /// Sends messages with these numbers, with further properties.
    #[track_caller]
    fn sends(&self, from: u32, to: u32, properties: &str) {
        self.pika(&format!(
            "for n in range({from}, {to}): send(json.dumps({{'n': n}}), {properties})"
        ));
    }

    /// How many messages wait in the queue.
    fn count(&self) -> String {
        self.pika("print(count())")
    }

    /// Waits until the messages of a process that was killed are in the queue again.
    fn gets_back(&self) {
        self.pika("while count() == 0: connection.sleep(0.05)");
    }

    fn settings(&self) -> String {
        format!("url: 'amqp://127.0.0.1:{}'", self.server.port())
    }

    fn project(&self, ingest: &str) -> Project {
        let ingest = ingest.replace("NAME", &self.name);
        Project::new("rabbitmq", &self.settings(), &ingest)
    }
}

#[test]
fn messages_are_acknowledged_once_they_are_published() {
    let Some(rabbit) = Rabbit::new("classic") else { return };
    rabbit.pika(
        "send('{\"n\": 1, \"text\": \"größe\"}'.encode(), headers={'tenant': 'a', 'try': 3}, message_id='m1', \
         correlation_id='c1', content_type='application/json', type='order', app_id='shop', timestamp=1700000000)\n\
         channel.basic_publish('amq.direct', 'nobody', b'')\n\
         channel.queue_bind(name, 'amq.direct', 'key')\n\
         channel.basic_publish('amq.direct', 'key', b'{\"n\": 2}')",
    );
    let project = rabbit.project("queue: NAME");
    project.ingests().says("2 rows");
    assert_eq!(rabbit.count(), "0");
    assert_eq!(
        project.rows(
            "n, text, cast(_timestamp as varchar), _headers, _exchange, _routing_key, _message_id, _correlation_id, \
             _content_type, _type, _app_id from raw.t order by n"
        ),
        [
            format!(
                "1,größe,2023-11-14 22:13:20+00,\"{{\"\"tenant\"\":\"\"a\"\",\"\"try\"\":\"\"3\"\"}}\",,{},m1,c1,application/json,order,shop",
                rabbit.name
            ),
            "2,,,,amq.direct,key,,,,,".to_owned(),
        ]
    );
    project.ingests().does_not_say("rows");
    rabbit.sends(3, 5, "");
    project.ingests().says("2 rows");
    has_each_once(&project, 1, 5);
}

#[test]
fn a_message_that_cannot_be_read_is_rejected_and_goes() {
    let Some(rabbit) = Rabbit::new("classic") else { return };
    rabbit.pika("send('{\"n\": 1}'); send('{\"n\":'); send('')");
    let project = rabbit.project("queue: NAME");
    // Nothing of a load that fails is acknowledged.
    project.0.run(&["ingest"]).fails_with(1).says("`max_rejects`");
    assert_eq!(rabbit.count(), "3");
    project.loads(&format!("queue: {}, max_rejects: 2", rabbit.name));
    project.ingests().says("1 row").says("2 rows could not be read");
    assert_eq!(rabbit.count(), "0");
    assert_eq!(project.value("count(*) from raw.t__rejected"), "2");
}

/// Killed at every step, with messages that have ids and messages that have none, of which some are equal.
fn is_whole_after_kills(kind: &str) {
    for (properties, what) in [("message_id=str(n)", "ids"), ("", "no ids")] {
        let Some(rabbit) = Rabbit::new(kind) else { return };
        let project = rabbit.project("queue: NAME; n");
        let mut sent = 0;
        for step in STEPS {
            rabbit.sends(sent, sent + 10, properties);
            if properties.is_empty() {
                // Two that are equal and both meant.
                rabbit.pika("send('{\"n\": -1}'); send('{\"n\": -1}')");
            }
            sent += 10;
            assert!(project.0.dies_at(step, &["ingest"]), "{step} never fired");
        }
        rabbit.gets_back();
        project.ingests();
        assert_eq!(rabbit.count(), "0");
        let twins = if properties.is_empty() { 2 * STEPS.len() } else { 0 };
        assert_eq!(
            project.value(
                "count(*) filter (where n >= 0) || ' ' || count(distinct n) filter (where n >= 0) || ' ' || \
                 count(*) filter (where n < 0) from raw.t"
            ),
            format!("{sent} {sent} {twins}"),
            "{kind}, {what}"
        );
        project.ingests().does_not_say("rows");
    }
}

#[test]
fn a_load_of_a_queue_killed_anywhere_has_every_message_once() {
    is_whole_after_kills("classic");
}

#[test]
fn a_load_of_a_quorum_queue_killed_anywhere_has_every_message_once() {
    is_whole_after_kills("quorum");
}

#[test]
fn equal_messages_that_are_both_meant_are_both_loaded() {
    let Some(rabbit) = Rabbit::new("classic") else { return };
    let project = rabbit.project("queue: NAME; n");
    rabbit.sends(1, 2, "");
    project.ingests().says("1 row");
    // The same again, in the hands of a load that fails: RabbitMQ marks it as delivered before.
    rabbit.sends(1, 2, "");
    assert!(project.0.dies_at("stage.before-file", &["ingest"]));
    rabbit.gets_back();
    project.ingests().says("1 row");
    assert_eq!(project.value("count(*) from raw.t"), "2");
    // A part of what comes as a whole: nothing says that it is the same.
    rabbit.sends(5, 8, "");
    assert!(project.0.dies_at("publish.before-acknowledge", &["ingest"]));
    rabbit.gets_back();
    rabbit.pika("channel.basic_ack(channel.basic_get(name)[0].delivery_tag)");
    project.ingests();
    assert_eq!(rabbit.count(), "0");
    // Nothing is lost, and what nobody can tell apart is there again.
    let found = project.rows("n, count(*) from raw.t where n > 1 group by 1 order by 1");
    assert_eq!(found, ["5,1", "6,2", "7,2"]);
}

#[test]
fn a_load_takes_a_part_and_the_next_one_goes_on() {
    let Some(rabbit) = Rabbit::new("classic") else { return };
    rabbit.sends(0, 25, "");
    let project = rabbit.project("queue: NAME, max_messages: 10; n");
    project.ingests().says("10 rows").says("10 messages are loaded, and about 15 are left");
    assert_eq!(rabbit.count(), "15");
    project.ingests().says("10 rows");
    project.ingests().says("5 rows").does_not_say("left");
    has_each_once(&project, 0, 25);
}

#[test]
fn a_queue_may_be_looked_at() {
    let Some(rabbit) = Rabbit::new("classic") else { return };
    rabbit.sends(1, 4, "message_id=str(n)");
    let project = rabbit.project("queue: NAME, mode: full");
    project.0.run(&["connection", "test"]).ok().says("OK");
    project
        .0
        .run(&["connection", "preview", "mq", &rabbit.name])
        .ok()
        .says(" n | _queue")
        .says(" 3 | ");
    project.ingests().says("3 rows");
    project.ingests();
    assert_eq!(rabbit.count(), "3");
    project.0.run(&["connection", "discover", "mq"]).fails_with(1).says("write a source table");
    // What was only looked at is loaded like anything else.
    let project = rabbit.project("queue: NAME; n");
    project.0.run(&["ingest", "--dry-run"]).ok().says("would");
    project.ingests().says("3 rows");
    assert_eq!(rabbit.count(), "0");
    let outcome = project.0.run(&["ingest", "--full-refresh"]);
    outcome.fails_with(1).says("could not be read again");
    has_each_once(&project, 1, 4);
}

#[test]
fn what_is_not_there_or_not_allowed_is_said() {
    let Some(rabbit) = Rabbit::new("classic") else { return };
    let project = rabbit.project("queue: no-such-queue");
    project.0.run(&["ingest"]).fails_with(1).says("no-such-queue");
    // It was not made by asking for it.
    project.0.run(&["ingest"]).fails_with(1).says("no-such-queue");
    let test = |settings: &str| {
        let project = Project::new("rabbitmq", settings, "queue: q");
        project.0.run_with(&[("MQ_WORD", "wrong-word")], &["connection", "test"]).fails_with(1)
    };
    let url = rabbit.settings();
    let denied = test(&format!("{url}, user: guest, password: {{env: MQ_WORD}}"));
    denied.says("refuses the login").does_not_say("wrong-word");
    test(&url.replace(
        &format!("{}'", rabbit.server.port()),
        &format!("{}/nowhere'", rabbit.server.port()),
    ))
    .says("nowhere");
    test("url: 'amqp://127.0.0.1:1'").says("cannot be reached");
    let stream = Rabbit::new("stream").unwrap();
    stream.sends(0, 1, "");
    stream.gets_back();
    let project = stream.project("queue: NAME");
    project.0.run(&["ingest"]).fails_with(1).says("is a stream").says("write `stream: ");
    let project = rabbit.project("stream: NAME");
    project.0.run(&["ingest"]).fails_with(1).says("is no stream").says("write `queue: ");
}

#[test]
fn a_stream_is_read_on_from_its_last_offset() {
    let Some(rabbit) = Rabbit::new("stream") else { return };
    let project = rabbit.project("stream: NAME; n");
    project.ingests();
    rabbit.sends(0, 700, "message_id=str(n), headers={'a': 1}");
    project.ingests().says("700 rows");
    project.ingests().does_not_say("rows");
    rabbit.sends(700, 705, "");
    project.ingests().says("5 rows");
    has_each_once(&project, 0, 705);
    assert_eq!(
        project.rows("_offset, _headers, _message_id from raw.t where n in (3, 704) order by n"),
        ["3,\"{\"\"a\"\":\"\"1\"\"}\",3", "704,,"]
    );
    project.0.run(&["connection", "preview", "mq", &rabbit.name]).ok().says(" 3 | ");
    project.0.run(&["ingest", "--full-refresh"]).ok().says("705 rows");
    let parts = rabbit.project("stream: NAME, max_messages: 300, start: 100; n");
    parts.ingests().says("300 rows").says("about 305 are left");
    parts.ingests().says("300 rows");
    parts.ingests().says("5 rows");
    has_each_once(&parts, 100, 705);
    let latest = rabbit.project("stream: NAME, start: latest; n");
    latest.ingests();
    rabbit.sends(705, 706, "");
    latest.ingests().says("1 row");
    has_each_once(&latest, 705, 706);
}

#[test]
fn a_load_of_a_stream_killed_anywhere_has_every_message_once() {
    let Some(rabbit) = Rabbit::new("stream") else { return };
    let project = rabbit.project("stream: NAME; n");
    let mut sent = 0;
    for step in STEPS {
        rabbit.sends(sent, sent + 10, "");
        sent += 10;
        assert!(project.0.dies_at(step, &["ingest"]), "{step} never fired");
    }
    project.ingests();
    has_each_once(&project, 0, sent);
}

#[test]
fn messages_that_a_stream_let_go_are_an_error() {
    let small = "{'x-max-length-bytes': 100000, 'x-stream-max-segment-size-bytes': 50000}";
    let Some(rabbit) = Rabbit::with("stream", small) else { return };
    let project = rabbit.project("stream: NAME; n");
    rabbit.sends(0, 5, "");
    project.ingests().says("5 rows");
    rabbit.pika("for n in range(5, 3000): send(json.dumps({'n': n, 'text': 'x' * 200}))");
    project.0.run(&["ingest"]).fails_with(1).says("by its retention").says("`on_lost: earliest`");
    project.loads(&format!("stream: {}, on_lost: earliest; n", rabbit.name));
    project.ingests().says("by its retention");
    assert_eq!(project.value("max(n) || ' ' || (count(*) < 3000) from raw.t"), "2999 true");
    project.ingests().does_not_say("retention");
    rabbit.pika(
        "channel.queue_delete(name)\nchannel.queue_declare(name, durable=True, arguments={'x-queue-type': 'stream'})\nsend('{\"n\": 1}')",
    );
    project.loads(&format!("stream: {}; n", rabbit.name));
    project.0.run(&["ingest"]).fails_with(1).says("made anew");
}

#[test]
fn many_messages_are_those_that_were_sent() {
    for kind in ["classic", "stream"] {
        let Some(rabbit) = Rabbit::new(kind) else { return };
        rabbit.server.pika_fast(
            &rabbit.name,
            "for n in range(20000): send('{\"n\": %d, \"text\": \"t%d\"}' % (n, n % 1000))\n\
             while count() < 20000: connection.sleep(0.05)",
        );
        let object = if kind == "stream" { "stream" } else { "queue" };
        let project = rabbit.project(&format!("{object}: NAME; n"));
        project.ingests().says("20,000 rows");
        has_each_once(&project, 0, 20_000);
        assert_eq!(project.value("count(*) from raw.t where text <> 't' || (n % 1000)"), "0");
        if kind == "classic" {
            assert_eq!(rabbit.count(), "0");
        }
    }
}

//! Models that go out to topics and streams, read by clients that are not ours.

use tidemill_connect::EXPORT_FAILPOINTS;
use tidemill_testkit::QueueServer;

use super::{kafka, nats, unique};
use crate::databases::{SECOND, exports_unheard};
use crate::sandbox::Sandbox;

const FIRST: &str =
    "id,name,amount,day\n1,Ada,10.5,2024-01-01\n2,\"Bo\"\"\n\",,2024-01-02\n3,,30,\n";

/// The messages of a topic, as a reader of what is committed sees them.
const READ: &str = "
def read(name):
    reader = Consumer({'bootstrap.servers': SERVER, 'group.id': 'r' + str(time.time()), 'isolation.level': 'read_committed',
                       'enable.partition.eof': True, 'enable.auto.commit': False})
    parts = set(reader.list_topics(name, 10).topics[name].partitions)
    reader.assign([TopicPartition(name, part, 0) for part in parts])
    found = []
    while parts:
        message = reader.poll(20)
        assert message is not None
        if message.error():
            parts.discard(message.partition())
        else:
            found.append(message)
    reader.close()
    return found
def text(bytes):
    return '-' if bytes is None else bytes.decode()
def ids(name):
    found = [message.value() for message in read(name)]
    print(','.join(sorted(str(json.loads(value)['id']) for value in found if value)) or 'none')
def table(name):
    last = {}
    for message in read(name):
        last[text(message.key())] = message.value()
    for key, value in sorted(last.items()):
        if value is not None:
            row = json.loads(value)
            print(key, row['name'], row['amount'])
";

struct Topic {
    sandbox: Sandbox,
    server: &'static QueueServer,
    name: String,
}

impl Topic {
    /// A topic with this configuration, to which customers go.
    fn new(config: &str, to: &str, more: &str) -> Option<Topic> {
        let server = QueueServer::kafka()?;
        let name = unique("out");
        kafka(server, &format!("topic('{name}', 2{config})"));
        let sandbox = Sandbox::new(&[]);
        sandbox.has_customers(FIRST);
        let address = format!("127.0.0.1:{}", server.port());
        sandbox.write(
            "connections.yml",
            format!("connections:\n  events: {{type: kafka, bootstrap_servers: '{address}'}}\n"),
        );
        sandbox.write(
            "exports.yml",
            format!(
                "exports:\n  - {{from: ref('customers'), to: {{connection: events, topic: {name}{to}}}{more}}}\n"
            ),
        );
        Some(Topic { sandbox, server, name })
    }

    #[track_caller]
    fn reads(&self, call: &str) -> Vec<String> {
        kafka(self.server, &format!("{READ}\n{call}").replace("NAME", &self.name))
    }

    #[track_caller]
    fn ids(&self) -> String {
        self.reads("ids('NAME')").join("")
    }

    #[track_caller]
    fn table(&self) -> Vec<String> {
        self.reads("table('NAME')")
    }
}

#[test]
fn rows_become_messages_of_a_topic_once() {
    let Some(topic) = Topic::new("", ", key: id, headers: {who: name}", "") else { return };
    let export = || topic.sandbox.run(&["export"]);
    topic.sandbox.publishes(FIRST);
    topic
        .sandbox
        .run(&["export", "--list"])
        .ok()
        .says(&format!("full  from customers to {}", topic.name));
    export().ok().says("3 rows");
    let shown = "for message in sorted(read('NAME'), key=lambda message: message.key()):
    print(text(message.key()), text(message.value()), message.headers())";
    assert_eq!(
        topic.reads(shown),
        [
            r#"1 {"id":1,"name":"Ada","amount":10.50,"day":"2024-01-01","ids":[1,null],"at":"2024-01-01T00:00:00Z","ada":true} [('who', b'Ada')]"#,
            r#"2 {"id":2,"name":"Bo\"\n","amount":null,"day":"2024-01-02","ids":[2,null],"at":"2024-01-02T00:00:00Z","ada":false} [('who', b'Bo"\n')]"#,
            r#"3 {"id":3,"name":null,"amount":30.00,"day":null,"ids":[3,null],"at":null,"ada":null} None"#,
        ]
    );
    export().ok().says("nothing to do");
    topic.sandbox.run(&["plan"]).ok().does_not_say("full to");
    // A new state comes as a whole, and a state that was delivered once more where that is asked for.
    topic.sandbox.write("seeds/rows.csv", SECOND);
    topic.sandbox.build().ok().says("3 rows");
    assert_eq!(topic.ids(), "1,1,2,3,3,4");
    topic.sandbox.run(&["export", "--again"]).ok().says("3 rows");
    assert_eq!(topic.ids(), "1,1,1,2,3,3,3,4,4");
    // And back again.
    topic.sandbox.write(
        "models/s.yml",
        format!(
            "sources:\n  - name: back\n    tables:\n      - {{name: t, ingest: {{connection: events, topic: {}}}}}\n",
            topic.name
        ),
    );
    topic.sandbox.run(&["ingest"]).ok().says("9 rows");
    assert_eq!(
        topic.sandbox.rows(
            "select distinct id, name, cast(amount as decimal(9,2)), day, _key from back.t where id = 1 order by 3"
        ),
        ["1,Ada,10.50,2024-01-01,1", "1,Ada,11.00,2024-01-01,1"]
    );
}

#[test]
fn a_delivery_to_a_topic_that_is_killed_at_any_step_comes_once() {
    for more in ["", ", mode: append"] {
        let Some(topic) = Topic::new("", "", more) else { return };
        for step in EXPORT_FAILPOINTS {
            let before = topic.ids();
            // Another state each time.
            topic.sandbox.publishes("id,name,amount,day\n5,x,,\n");
            topic.sandbox.run(&["export"]).ok().says("1 row");
            let before = match before.as_str() {
                "none" => "5".to_owned(),
                before => format!("{before},5"),
            };
            topic.sandbox.publishes("id,name,amount,day\n6,x,,\n7,y,,\n");
            assert!(topic.sandbox.dies_at(step, &["export"]), "{step} never fired");
            let done = *step == "export.after-commit";
            let sorted = |text: &str| {
                let mut ids: Vec<String> = text.split(',').map(str::to_owned).collect();
                ids.sort();
                ids.join(",")
            };
            let after = sorted(&format!("{before},6,7"));
            let expected = if done { after.clone() } else { sorted(&before) };
            assert_eq!(topic.ids(), expected, "{more}: {step}");
            let again = topic.sandbox.run(&["export"]).ok();
            match done {
                true => again.says("nothing to do"),
                false => again.says("2 rows"),
            };
            assert_eq!(topic.ids(), after, "{more}: {step}");
            topic.sandbox.run(&["export"]).ok().says("nothing to do");
        }
        topic.sandbox.publishes(FIRST);
        let before = topic.ids();
        exports_unheard(&topic.sandbox);
        assert_eq!(topic.ids().len(), before.len() + ",1,2,3".len());
    }
}

#[test]
fn a_compacted_topic_is_what_the_model_is() {
    let merge = ", mode: merge, primary_key: id, deletes: true";
    let Some(topic) = Topic::new(", **{'cleanup.policy': 'compact'}", "", merge) else { return };
    topic.sandbox.publishes(FIRST);
    topic.sandbox.run(&["export"]).ok().says("3 inserted, 0 updated, 0 deleted");
    topic.sandbox.publishes(SECOND);
    for step in &EXPORT_FAILPOINTS[..4] {
        assert!(topic.sandbox.dies_at(step, &["export"]), "{step} never fired");
        assert_eq!(topic.table(), ["1 Ada 10.5", "2 Bo\"", " None", "3 None 30.0"], "{step}");
    }
    topic.sandbox.run(&["export"]).ok().says("1 inserted, 1 updated, 1 deleted");
    let second = ["1 Ada 11.0", "3 None 30.0", "4 Di 40.0"];
    assert_eq!(topic.table(), second);
    // What somebody else wrote is put right; what is the same is not sent. A key has one partition, which
    // producers choose as Java's does: between partitions there is no order.
    let others = "out = producer(partitioner='murmur2_random')
out.produce('NAME', key='4', value=None)
out.produce('NAME', key='9', value=json.dumps({'id': 9}))
out.flush()";
    kafka(topic.server, &others.replace("NAME", &topic.name));
    topic.sandbox.run(&["export", "--again"]).ok().says("1 inserted, 0 updated, 1 deleted");
    assert_eq!(topic.table(), second);
    // Only what is new.
    topic.sandbox.write(
        "exports.yml",
        format!(
            "exports:\n  - {{from: ref('customers'), to: {{connection: events, topic: {}}}, mode: append, primary_key: id}}\n",
            topic.name
        ),
    );
    topic.sandbox.publishes(FIRST);
    topic.sandbox.run(&["export"]).ok().says("1 inserted");
    assert_eq!(topic.table(), ["1 Ada 11.0", "2 Bo\"", " None", "3 None 30.0", "4 Di 40.0"]);
}

#[test]
fn what_a_topic_cannot_take_is_said() {
    let Some(topic) = Topic::new("", "", ", mode: merge, primary_key: id") else { return };
    topic.sandbox.publishes(FIRST);
    topic
        .sandbox
        .run(&["export"])
        .fails_with(1)
        .says("drops old messages")
        .says("cleanup.policy=compact");
    let name = &topic.name;
    for (export, says) in [
        ("topic: nowhere}".to_owned(), "the topic is not there"),
        (format!("topic: {name}, key: what}}"), "`key` names the column `what`"),
        (format!("topic: {name}, order_by: what}}"), "`order_by` names the column `what`"),
        (format!("topic: {name}, qos: 1}}"), "unknown field `qos`"),
        (
            format!("topic: {name}, key: id}}, mode: merge, primary_key: id"),
            "`key` of `to` is for exports without",
        ),
        (format!("topic: {name}}}, schema_contract: freeze"), "is about columns of a `table`"),
    ] {
        topic.sandbox.write(
            "exports.yml",
            format!(
                "exports:\n  - {{from: ref('customers'), to: {{connection: events, {export}}}\n"
            ),
        );
        let said = topic.sandbox.run(&["export"]);
        assert_ne!(said.code, Some(0), "{export}");
        said.says(says);
    }
    assert_eq!(topic.ids(), "none");
}

#[test]
fn a_delivery_to_a_stream_that_is_killed_at_any_step_comes_once() {
    let Some(server) = QueueServer::nats("") else { return };
    nats(&server, "await js.add_stream(StreamConfig(name='SHOP', subjects=['shop.>']))");
    let sandbox = Sandbox::new(&[]);
    sandbox.has_customers(FIRST);
    sandbox.write(
        "connections.yml",
        format!("connections:\n  events: {{type: nats, servers: 'localhost:{}'}}\n", server.port()),
    );
    sandbox.write(
        "exports.yml",
        "exports:\n  - {from: ref('customers'), to: {connection: events, subject: 'shop.{id}.new', headers: name}, mode: append}\n",
    );
    let read = || {
        nats(
            &server,
            "info = await js.stream_info('SHOP')
for sequence in range(1, info.state.last_seq + 1):
    message = await js.get_msg('SHOP', sequence)
    headers = {name: value for name, value in (message.headers or {}).items() if not name.startswith('Nats-')}
    print(message.subject, json.loads(message.data)['id'], headers)",
        )
    };
    for (number, step) in EXPORT_FAILPOINTS.iter().enumerate() {
        let (one, two) = (number * 2 + 10, number * 2 + 11);
        sandbox.publishes(&format!("id,name,amount,day\n{one},a,,\n{two},,,\n"));
        assert!(sandbox.dies_at(step, &["export"]), "{step} never fired");
        let again = sandbox.run(&["export"]).ok();
        match *step == "export.after-commit" {
            true => again.says("nothing to do"),
            false => again.says("2 rows"),
        };
        let found = read();
        assert_eq!(found.len(), (number + 1) * 2, "{step}: {found:?}");
        let last = format!("shop.{one}.new {one} {{'name': 'a'}}");
        assert_eq!(found[number * 2], last, "{step}");
        sandbox.run(&["export"]).ok().says("nothing to do");
    }
    // Asked for, a state comes again.
    sandbox.run(&["export", "--again"]).ok().says("2 rows");
    assert_eq!(read().len(), EXPORT_FAILPOINTS.len() * 2 + 2);
    sandbox.write(
        "exports.yml",
        "exports:\n  - {from: ref('customers'), to: {connection: events, subject: nobody}}\n",
    );
    sandbox.run(&["export"]).fails_with(1).says("no stream of JetStream takes the subject");
    sandbox.write(
        "exports.yml",
        "exports:\n  - {from: ref('customers'), to: {connection: events, subject: shop.x}, mode: merge, primary_key: id}\n",
    );
    sandbox.run(&["export"]).fails_with(1).says("takes `mode: merge`");
}

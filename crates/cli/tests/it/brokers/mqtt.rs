//! MQTT, filled by `mosquitto_pub`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use tidemill_testkit::MqttServer;

use super::{Project, STEPS, has_each_once};

/// A topic that no other test has.
struct Mqtt {
    server: &'static MqttServer,
    topic: String,
}

impl Mqtt {
    fn new() -> Option<Mqtt> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let server = MqttServer::shared()?;
        let topic = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Some(Mqtt { server, topic })
    }

    fn publishes(&self, below: &str, arguments: &[&str], lines: &str) {
        self.server.publish(&format!("{}/{below}", self.topic), arguments, lines);
    }

    fn sends(&self, from: u32, to: u32) {
        // `mosquitto_pub` ends too early where there are more than it has packet identifiers for.
        for first in (from..to).step_by(40_000) {
            let mut lines = String::new();
            for n in first..to.min(first + 40_000) {
                let _ = writeln!(lines, "{{\"n\": {n}}}");
            }
            self.publishes("a", &["-q", "1"], &lines);
        }
    }

    fn settings(&self) -> String {
        format!("url: 'mqtt://127.0.0.1:{}'", self.server.port())
    }

    fn project(&self, ingest: &str) -> Project {
        let ingest = ingest.replace("TOPIC", &self.topic);
        // One broker has the sessions of all tests, and their tables have one name.
        Project::new(
            "mqtt",
            &self.settings(),
            &format!("client_id: {}, idle: 300ms, {ingest}", self.topic),
        )
    }
}

#[test]
fn the_broker_keeps_what_is_published_from_the_first_load_on() {
    let Some(mqtt) = Mqtt::new() else { return };
    mqtt.sends(0, 3);
    let project = mqtt.project("topic: ['TOPIC/+', 'TOPIC/b/#']; n");
    project.ingests();
    assert_eq!(project.value("count(*) from raw.t"), "0");
    mqtt.sends(3, 6);
    mqtt.publishes("b/c/d", &["-q", "1"], "{\"n\": 6}");
    mqtt.publishes("c/d", &["-q", "1"], "{\"n\": 99}");
    project.ingests().says("4 rows");
    has_each_once(&project, 3, 7);
    assert_eq!(
        project.rows("_topic, _qos, _retained from raw.t where n >= 5 order by n"),
        [format!("{}/a,1,false", mqtt.topic), format!("{}/b/c/d,1,false", mqtt.topic)]
    );
    project.ingests().does_not_say("rows");
    mqtt.sends(7, 8);
    project.ingests().says("1 row");
    has_each_once(&project, 3, 8);
}

#[test]
fn a_load_killed_anywhere_has_every_message_once() {
    for qos in ["1", "2"] {
        let Some(mqtt) = Mqtt::new() else { return };
        let project = mqtt.project(&format!("topic: 'TOPIC/#', qos: {qos}; n"));
        project.ingests();
        let mut sent = 0;
        for step in STEPS {
            let mut lines = String::new();
            for n in sent..sent + 10 {
                let _ = writeln!(lines, "{{\"n\": {n}}}");
            }
            // Two that are equal and both meant.
            lines.push_str("{\"n\": -1}\n{\"n\": -1}\n");
            mqtt.publishes("a", &["-q", qos], &lines);
            sent += 10;
            assert!(project.0.dies_at(step, &["ingest"]), "{step} never fired");
        }
        project.ingests();
        assert_eq!(
            project.value(
                "count(*) filter (where n >= 0) || ' ' || count(distinct n) filter (where n >= 0) || ' ' || \
                 count(*) filter (where n < 0) from raw.t"
            ),
            format!("{sent} {sent} {}", 2 * STEPS.len()),
            "QoS {qos}"
        );
        project.ingests().does_not_say("rows");
    }
}

#[test]
fn retained_messages_come_where_they_are_wanted() {
    let Some(mqtt) = Mqtt::new() else { return };
    mqtt.server.publish(&format!("{}/r", mqtt.topic), &["-q", "1", "-r"], "{\"n\": 1}");
    let without = mqtt.project("topic: 'TOPIC/#'; n");
    without.ingests();
    without.ingests();
    assert_eq!(without.value("count(*) from raw.t"), "0");
    let with = mqtt.project("client_id: other, topic: 'TOPIC/#', retained: true; n");
    with.loads(&format!(
        "client_id: {0}r, idle: 300ms, topic: '{0}/#', retained: true; n",
        mqtt.topic
    ));
    with.ingests().says("1 row");
    with.ingests().does_not_say("rows");
    assert_eq!(with.rows("n, _retained from raw.t"), ["1,true"]);
    let now = mqtt.project("topic: 'TOPIC/#', mode: full; n");
    now.ingests().says("1 row");
    now.ingests();
    assert_eq!(now.value("count(*) from raw.t"), "1");
    let seen = now.0.run(&["connection", "preview", "mq", &format!("{}/#", mqtt.topic)]).ok();
    seen.says("true");
    now.0.run(&["connection", "test"]).ok().says("OK");
    now.0.run(&["connection", "discover", "mq"]).fails_with(1).says("write a source table");
}

#[test]
fn a_session_that_the_broker_forgot_is_an_error() {
    let Some(mqtt) = Mqtt::new() else { return };
    let project = mqtt.project("topic: 'TOPIC/#'; n");
    project.ingests();
    mqtt.sends(0, 2);
    project.ingests().says("2 rows");
    let outcome = project.0.run(&["ingest", "--full-refresh"]);
    outcome.fails_with(1).says("could not be read again");
    // Another client of that name that wants no session.
    let forget = std::process::Command::new("mosquitto_sub")
        .args(["-p", &mqtt.server.port().to_string(), "-i", &mqtt.topic, "-t", "x", "-W", "1"])
        .output()
        .unwrap();
    assert_eq!(forget.status.code(), Some(27), "{forget:?}");
    mqtt.sends(2, 3);
    for _ in 0..2 {
        project
            .0
            .run(&["ingest"])
            .fails_with(1)
            .says("does not know the session")
            .says("`on_lost: earliest`");
    }
    project.loads(&format!(
        "client_id: {0}, idle: 300ms, topic: '{0}/#', on_lost: earliest; n",
        mqtt.topic
    ));
    project.ingests().says("does not know the session");
    mqtt.sends(3, 5);
    project.ingests().says("2 rows").does_not_say("session");
    assert_eq!(project.rows("n from raw.t order by 1"), ["0", "1", "3", "4"]);
}

#[test]
fn topics_may_be_added_and_taken_away() {
    let Some(mqtt) = Mqtt::new() else { return };
    let topics = |topics: &str| {
        let topics = topics.replace("TOPIC", &mqtt.topic);
        format!("client_id: {}, idle: 300ms, topic: [{topics}]; n", mqtt.topic)
    };
    let project = mqtt.project("topic: 'TOPIC/a'; n");
    project.ingests();
    project.loads(&topics("'TOPIC/b', 'TOPIC/c'"));
    project.ingests();
    for (topic, n) in [("a", 1), ("b", 2), ("c", 3)] {
        mqtt.publishes(topic, &["-q", "1"], &format!("{{\"n\": {n}}}"));
    }
    project.ingests().says("2 rows");
    assert_eq!(project.rows("n from raw.t order by 1"), ["2", "3"]);
}

#[test]
fn who_logs_in_is_checked() {
    let options = "allow_anonymous false\npassword_file $folder/words";
    let Some(server) = MqttServer::own(options) else { return };
    let test = |settings: &str, word: &str| {
        let settings = format!("url: 'mqtt://127.0.0.1:{}'{settings}", server.port());
        let project = Project::new("mqtt", &settings, "topic: x");
        project.0.run_with(&[("MQ_WORD", word)], &["connection", "test"])
    };
    let outcome = test(", user: me, password: {env: MQ_WORD}", "wrong-word");
    outcome.fails_with(1).says("does not accept the login").does_not_say("wrong-word");
    test(", user: me, password: {env: MQ_WORD}", "right-word").ok().says("OK");
    test("", "x").fails_with(1).says("does not accept the login");
    let project = Project::new("mqtt", "url: 'mqtt://127.0.0.1:1'", "topic: x");
    project.0.run(&["ingest"]).fails_with(1).says("cannot be reached");
}

#[test]
fn many_messages_are_those_that_were_published() {
    let Some(mqtt) = Mqtt::new() else { return };
    let project = mqtt.project("topic: 'TOPIC/#'; n");
    project.ingests();
    // More than a session can have in hand come in parts.
    mqtt.sends(0, 100_000);
    project.ingests().says("60,000 rows");
    project.ingests().says("40,000 rows");
    project.ingests().does_not_say("rows");
    has_each_once(&project, 0, 100_000);
}

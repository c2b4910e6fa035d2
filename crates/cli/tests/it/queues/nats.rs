//! Streams of NATS JetStream.

use tidemill_testkit::QueueServer;

use super::{certificates, nats, project, table};

/// A server with a user, a key and a password for each.
const USERS: &str = r#"
authorization { users: [
    {user: "writer", password: "secret"},
    {nkey: "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"},
] }
"#;

fn connection(server: &QueueServer) -> String {
    format!(
        "type: nats, servers: 'localhost:{}', user: writer, password: {{env: NATS_PASSWORD}}, allow_plaintext_password: true",
        server.port()
    )
}

const PASSWORD: [(&str, &str); 1] = [("NATS_PASSWORD", "secret")];

#[test]
fn messages_of_a_stream_become_rows_once() {
    let Some(server) = QueueServer::nats(USERS) else { return };
    nats(
        &server,
        "await js.add_stream(StreamConfig(name='EVENTS', subjects=['shop.>']))
for id in range(10000):
    headers = {'n': str(id)} if id % 1000 == 0 else None
    await js.publish_async(f'shop.{\"de\" if id % 2 else \"fr\"}', json.dumps({'id': id}).encode(), headers=headers)
await js.publish_async_completed()
for sequence in (5, 6, 10000):
    await js.delete_msg('EVENTS', sequence)",
    );
    let sandbox = project(&connection(&server), "stream: EVENTS", "");
    let run = |arguments: &[&str]| sandbox.run_with(&PASSWORD, arguments);
    run(&["connection", "test", "events"]).ok().says("OK     events (nats)");
    run(&["connection", "discover", "events"]).ok().says("EVENTS").says("9,997 rows");
    run(&["connection", "preview", "events", "EVENTS", "--limit", "1", "--output", "csv"])
        .ok()
        .says("id,_stream,_subject,_sequence,_timestamp,_headers\n0,EVENTS,shop.fr,1,");
    run(&["ingest"]).ok().says("9,997 rows");
    assert_eq!(
        sandbox.rows(
            "select count(*), count(distinct _sequence), sum(id), max(_sequence), count(_headers), \
             count(*) filter (where _subject = 'shop.de'), count(*) filter (where id = _sequence - 1) from raw.t"
        ),
        ["9997,9997,49984992,9999,10,4998,9997"]
    );
    run(&["ingest"]).ok().does_not_say("rows");
    nats(
        &server,
        "for id in range(3):\n    await js.publish('shop.it', b'{\"id\": %d}' % (20000 + id))",
    );
    run(&["ingest"]).ok().says("3 rows");
    assert_eq!(
        sandbox.rows("select id, _sequence from raw.t where id >= 20000 order by 1"),
        ["20000,10001", "20001,10002", "20002,10003"]
    );
    // Some subjects alone, in parts, and from some message on.
    let some = project(
        &connection(&server),
        "stream: EVENTS, subject: [shop.it, shop.de], start: 9990, max_messages: 5, format: text, metadata: [sequence]",
        "",
    );
    some.run_with(&PASSWORD, &["ingest"]).ok().says("5 rows").says("left for the next load");
    some.run_with(&PASSWORD, &["ingest"]).ok().says("3 rows");
    assert_eq!(
        some.rows("select value, _sequence from raw.t order by 2")[3..6],
        [
            "\"{\"\"id\"\": 9995}\",9996",
            "\"{\"\"id\"\": 9997}\",9998",
            "\"{\"\"id\"\": 20000}\",10001"
        ]
    );
    table(&some, "stream: EVENTS, subject: shop.it, format: text", "");
    some.run_with(&PASSWORD, &["ingest"])
        .fails_with(1)
        .says("whose position says nothing about `EVENTS (shop.it)`");
    // Messages that nobody read are gone.
    nats(
        &server,
        "for id in range(5):\n    await js.publish('shop.it', b'{\"id\": 1}')\nawait js.purge_stream('EVENTS', seq=10007)",
    );
    run(&["ingest"])
        .fails_with(1)
        .says("up to 3 messages of `EVENTS` were deleted")
        .says("10004 to 10006");
    table(&sandbox, "stream: EVENTS, on_lost: earliest", "");
    run(&["ingest"]).ok().says("up to 3 messages").says("2 rows");
    // Another stream of the same name.
    table(&sandbox, "stream: EVENTS", "");
    nats(
        &server,
        "await js.delete_stream('EVENTS')\nawait js.add_stream(StreamConfig(name='EVENTS', subjects=['shop.>']))\nawait js.publish('shop.x', b'{\"id\": 7}')",
    );
    run(&["ingest"]).fails_with(1).says("was deleted and made again");
    run(&["ingest", "--full-refresh"]).ok().says("1 row");
    table(&sandbox, "stream: NOTHING", "");
    run(&["ingest", "--full-refresh"]).fails_with(1).says("there is no stream `NOTHING`");
}

#[test]
fn a_bucket_of_keys_and_values_becomes_a_table() {
    let Some(server) = QueueServer::nats(USERS) else { return };
    nats(
        &server,
        "bucket = await js.create_key_value(bucket='people', history=5)
await bucket.put('ada', b'{\"age\": 36}')
await bucket.put('bob', b'{\"age\": 20}')
await bucket.put('ada', b'{\"age\": 37}')
await bucket.delete('bob')",
    );
    let sandbox = project(
        &connection(&server),
        "stream: KV_people, mode: merge, primary_key: _subject, tombstones: delete",
        "",
    );
    sandbox.run_with(&PASSWORD, &["ingest"]).ok();
    assert_eq!(sandbox.rows("select _subject, age from raw.t"), ["$KV.people.ada,37"]);
    // A queue that gives each message once has no position.
    nats(
        &server,
        "from nats.js.api import RetentionPolicy\nawait js.add_stream(StreamConfig(name='JOBS', subjects=['jobs'], retention=RetentionPolicy.WORK_QUEUE))",
    );
    table(&sandbox, "stream: JOBS", "");
    sandbox.run_with(&PASSWORD, &["ingest", "--full-refresh"]).fails_with(1).says("workqueue");
}

#[test]
fn killed_at_any_step_every_message_of_a_stream_is_there_once() {
    let Some(server) = QueueServer::nats(USERS) else { return };
    nats(&server, "await js.add_stream(StreamConfig(name='E', subjects=['e']))");
    let nkey = format!("type: nats, servers: '127.0.0.1:{}', nkey: {{file: seed}}", server.port());
    let sandbox = project(&nkey, "stream: E", "");
    sandbox.write("seed", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n");
    let mut sent = 0;
    for step in
        ["stage.after-file", "publish.before-commit", "publish.after-commit", "publish.after-entry"]
    {
        nats(
            &server,
            &format!(
                "for id in range({sent}, {sent} + 20):\n    await js.publish('e', json.dumps({{'id': id}}).encode())"
            ),
        );
        sent += 20;
        assert!(sandbox.dies_at(step, &["build"]), "{step} never fired");
        sandbox.build().ok();
        assert_eq!(
            sandbox.rows("select count(*), count(distinct id) from raw.t"),
            [format!("{sent},{sent}")],
            "killed at {step}"
        );
    }
}

#[test]
fn logins_and_certificates_are_checked() {
    let folder = certificates().display();
    let tls = format!(
        "tls {{ cert_file: \"{folder}/localhost.pem\", key_file: \"{folder}/localhost.key\" }}\nauthorization {{ token: \"letmein\" }}"
    );
    let Some(server) = QueueServer::nats(&tls) else { return };
    let of = |more: &str| {
        project(
            &format!("type: nats, servers: 'localhost:{}', timeout: 3s, {more}", server.port()),
            "stream: E",
            "",
        )
    };
    let token = "tls: true, token: {env: TOKEN}";
    let secrets = [("TOKEN", "letmein"), ("WRONG", "no")];
    let ca = format!("ca: '{folder}/authority.pem'");
    of(&format!("{token}, {ca}")).run_with(&secrets, &["connection", "test"]).ok();
    of(token).run_with(&secrets, &["connection", "test"]).fails_with(1);
    of(&format!("tls: true, token: {{env: WRONG}}, {ca}"))
        .run_with(&secrets, &["connection", "test"])
        .fails_with(1)
        .says("refuses the login");
    of("token: {env: TOKEN}")
        .run_with(&secrets, &["connection", "test"])
        .says("allow_plaintext_password");
    of("token: letmein").run_with(&secrets, &["connection", "test"]).does_not_say("letmein");
}

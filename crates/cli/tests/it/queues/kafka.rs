//! Topics of Kafka: what becomes of messages.

use tidemill_testkit::QueueServer;

use super::{kafka, project, table, topic, unique};

#[test]
fn messages_become_rows_once_and_what_is_new_comes_next() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("orders");
    kafka(
        server,
        &format!(
            "topic('{name}', 3)
for number, codec in enumerate(['none', 'gzip', 'snappy', 'lz4', 'zstd']):
    out = producer(**{{'compression.type': codec}})
    for id in range(10):
        out.produce('{name}', key=f'k{{id}}', value=json.dumps({{'id': number * 10 + id, 'codec': codec, 'who': {{'age': id}}}}),
                    partition=id % 3, timestamp=1714557600000 + id, headers=[('n', str(id)), ('n', b'\\xff')])
    out.flush()
send('{name}', ('gone', None))"
        ),
    );
    let sandbox = topic(server, &format!("topic: {name}"));
    sandbox.run(&["connection", "test", "events"]).ok().says("OK     events (kafka)");
    sandbox.run(&["connection", "discover", "events", &name]).ok().says(&name);
    sandbox
        .run(&["connection", "preview", "events", &name, "--limit", "2", "--output", "csv"])
        .ok()
        .says("id,codec,who,_topic,_partition,_offset,_timestamp,_key,_headers");
    sandbox.run(&["connection", "list"]).ok().says("bootstrap_servers=127.0.0.1");
    sandbox.run(&["ingest"]).ok().says("51 rows");
    assert_eq!(
        sandbox
            .rows("select codec, count(*), sum(id), sum(who.age) from raw.t group by 1 order by 1"),
        [
            "gzip,10,145,45",
            "lz4,10,345,45",
            "none,10,45,45",
            "snappy,10,245,45",
            "zstd,10,445,45",
            ",1,,"
        ]
    );
    assert_eq!(
        sandbox.rows(
            "select _topic, _partition, _offset, _key, _headers, extract(epoch from _timestamp) from raw.t where id = 4"
        ),
        [format!(
            "{name},1,1,k4,\"{{\"\"n\"\":[\"\"4\"\",\"\"base64:/w==\"\"]}}\",1714557600.004"
        )]
    );
    // A tombstone is a row without a body.
    assert_eq!(
        sandbox.rows("select id, _key, _headers from raw.t where codec is null"),
        [",gone,"]
    );
    sandbox.run(&["ingest"]).ok().does_not_say("rows");
    // New ones: a wider type, a new column, a new partition.
    kafka(
        server,
        &format!(
            "admin.create_partitions([NewPartitions('{name}', 4)])['{name}'].result()
time.sleep(0.3)
send('{name}', ('a', {{'id': 1000.5, 'codec': 'x', 'more': '2024-05-01'}}), ('b', {{'id': 7}}, 3))"
        ),
    );
    sandbox.run(&["ingest"]).ok().says("2 rows");
    assert_eq!(
        sandbox.rows(
            "select id, more, _partition from raw.t where codec = 'x' or _partition = 3 order by 1"
        ),
        ["7.0,,3", "1000.5,2024-05-01,0"]
    );
    assert_eq!(sandbox.value("select count(*) from raw.t"), "53");
    sandbox.run(&["ingest", "--full-refresh"]).ok().says("53 rows");
}

#[test]
fn two_hundred_thousand_messages_are_those_that_another_client_reads() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("many");
    let expected = kafka(
        server,
        &format!(
            "topic('{name}', 4)
out = producer(**{{'compression.type': 'zstd', 'linger.ms': 50}})
for id in range(200000):
    if id % 5000 == 0:
        out.poll(0)
    out.produce('{name}', key=str(id % 1000), value='{{\"id\":%d,\"text\":\"%s\"}}' % (id, 'x' * (id % 40)), partition=id % 4,
                headers=[('h', str(id))] if id % 100 == 0 else None)
    if id % 20000 == 0:
        out.flush()
out.flush()
reader = Consumer({{'bootstrap.servers': SERVER, 'group.id': '{name}', 'auto.offset.reset': 'earliest', 'enable.partition.eof': False}})
reader.assign([TopicPartition('{name}', part, 0) for part in range(4)])
count, total, size, last = 0, 0, 0, {{}}
while count < 200000:
    for message in reader.consume(10000, 5):
        assert not message.error(), message.error()
        value = json.loads(message.value())
        count, total, size = count + 1, total + value['id'] * (message.offset() % 7 + 1), size + len(value['text'])
        last[message.partition()] = message.offset()
print(count, total, size, ','.join(str(last[part]) for part in sorted(last)))"
        ),
    );
    let sandbox = topic(server, &format!("topic: {name}"));
    sandbox.run(&["ingest"]).ok().says("200,000 rows");
    let found = sandbox.value(
        "select count(*) || ' ' || sum(id * (_offset % 7 + 1)) || ' ' || sum(length(text)) from raw.t",
    );
    let last =
        sandbox.rows("select max(_offset) from raw.t group by _partition order by _partition");
    assert_eq!([format!("{found} {}", last.join(","))], expected.as_slice());
    assert_eq!(sandbox.value("select count(distinct (_partition, _offset)) from raw.t"), "200000");
    assert_eq!(sandbox.value("select count(*) from raw.t where _headers is not null"), "2000");
    assert_eq!(sandbox.value("select count(distinct _key) from raw.t"), "1000");
    // In parts: each load takes what its limit lets it take, and the next one goes on.
    let parts = topic(server, &format!("topic: {name}, max_messages: 150000"));
    parts.run(&["ingest"]).ok().says("150,000 rows").says("about 50000 are left for the next load");
    parts.run(&["ingest"]).ok().says("50,000 rows").does_not_say("are left");
    assert_eq!(
        parts.value("select sum(id * (_offset % 7 + 1)) || ' ' || sum(length(text)) from raw.t"),
        found[7..]
    );
}

#[test]
fn of_transactions_the_committed_ones_are_read() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("bank");
    let transactions = format!(
        "def begin(id):
    out = producer(**{{'transactional.id': '{name}' + id}})
    out.init_transactions(20)
    out.begin_transaction()
    return out
def put(out, *ids):
    for id in ids:
        out.produce('{name}', value=json.dumps({{'id': id}}), partition=id % 2)
    out.flush()
"
    );
    kafka(
        server,
        &format!(
            "{transactions}
topic('{name}', 2)
one, two = begin('one'), begin('two')
put(one, 1, 2, 3)
put(two, 100, 101)
put(one, 4)
send('{name}', (None, {{'id': 5}}, 1))
put(two, 102, 103)
two.abort_transaction()
one.commit_transaction()
two.begin_transaction()
put(two, 6, 7)
two.commit_transaction()
two.begin_transaction()
put(two, 104, 105)
two.abort_transaction()"
        ),
    );
    let committed = topic(server, &format!("topic: {name}"));
    committed.run(&["ingest"]).ok().says("7 rows");
    assert_eq!(
        committed.rows("select id from raw.t order by 1"),
        ["1", "2", "3", "4", "5", "6", "7"]
    );
    // Offsets without a message (marks, what was aborted) lie at the end: there is nothing more.
    committed.run(&["ingest"]).ok().does_not_say("rows");
    let all = topic(server, &format!("topic: {name}, isolation: read_uncommitted"));
    all.run(&["ingest"]).ok().says("13 rows");
    // What is open waits, and so does what came behind it.
    let open = kafka(
        server,
        &format!(
            "{transactions}
import subprocess
out = begin('three')
put(out, 8, 9)
send('{name}', (None, {{'id': 10}}, 0))
print('open', flush=True)
"
        ),
    );
    assert_eq!(open, ["open"]);
    committed.run(&["ingest"]).ok();
    assert_eq!(committed.value("select max(id) from raw.t"), "7");
    // Who takes the name of the producer ends its transaction.
    kafka(
        server,
        &format!("{transactions}\nout = begin('three')\nput(out, 11)\nout.commit_transaction()"),
    );
    committed.run(&["ingest"]).ok().says("2 rows");
    assert_eq!(committed.rows("select id from raw.t where id > 7 order by 1"), ["10", "11"]);
}

#[test]
fn the_last_message_of_a_key_counts_and_a_tombstone_ends_its_row() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("people");
    kafka(
        server,
        &format!(
            "topic('{name}', 2, **{{'cleanup.policy': 'compact'}})
send('{name}', ('a', {{'n': 1}}), ('b', {{'n': 1}}, 1), ('a', {{'n': 2}}), ('c', {{'n': 1}}), ('c', None), ('d', {{'n': 1}}))"
        ),
    );
    let merge = format!("topic: {name}, mode: merge, primary_key: _key, tombstones: delete");
    let sandbox = topic(server, &merge);
    sandbox.run(&["ingest"]).ok();
    let rows = || sandbox.rows("select _key, n from raw.t order by 1");
    assert_eq!(rows(), ["a,2", "b,1", "d,1"]);
    kafka(
        server,
        &format!(
            "send('{name}', ('b', None, 1), ('a', {{'n': 3}}), ('e', {{'n': 1}}), ('x', None))"
        ),
    );
    sandbox.run(&["ingest"]).ok();
    assert_eq!(rows(), ["a,3", "d,1", "e,1"]);
    sandbox.run(&["ingest"]).ok().does_not_say("rows");
    // All again: the rows are the same.
    sandbox.run(&["ingest", "--full-refresh"]).ok();
    assert_eq!(rows(), ["a,3", "d,1", "e,1"]);
    // Kept, a tombstone is a row without values; the key may be an object.
    kafka(
        server,
        &format!(
            "send('{name}', ('{{\"id\": 1}}', {{'v': 'x'}}), ('{{\"id\": 2}}', {{'id': 2, 'v': 'y'}}), ('{{\"id\": 1}}', None))"
        ),
    );
    let ends = kafka(
        server,
        &format!(
            "reader = Consumer({{'bootstrap.servers': SERVER, 'group.id': 'x'}})\nprint(reader.get_watermark_offsets(TopicPartition('{name}', 0))[1] - 3, reader.get_watermark_offsets(TopicPartition('{name}', 1))[1])"
        ),
    );
    let (first, second) = ends[0].split_once(' ').unwrap();
    let start = format!("start: {{0: {first}, 1: {second}}}");
    let keyed = topic(
        server,
        &format!(
            "topic: {name}, mode: merge, primary_key: id, key_format: json, {start}, tombstones: delete"
        ),
    );
    keyed.run(&["ingest"]).ok();
    assert_eq!(keyed.rows("select id, v from raw.t"), ["2,y"]);
    let kept = topic(server, &format!("topic: {name}, key_format: json, {start}"));
    kept.run(&["ingest"]).ok().says("3 rows");
    assert_eq!(kept.rows("select id, v from raw.t order by _offset"), ["1,x", "2,y", "1,"]);
    // It needs `mode: merge`.
    topic(server, &format!("topic: {name}, tombstones: delete"))
        .run(&["ingest"])
        .fails_with(1)
        .says("goes with `mode: merge`");
}

#[test]
fn a_load_begins_where_it_is_told_to() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("times");
    kafka(
        server,
        &format!(
            "topic('{name}', 2)
out = producer()
for id in range(10):
    out.produce('{name}', value=json.dumps({{'id': id}}), partition=0, timestamp=1714557600000 + id * 1000)
out.flush()"
        ),
    );
    let latest = topic(server, &format!("topic: {name}, start: latest"));
    latest.run(&["ingest"]).ok();
    assert_eq!(latest.value("select count(*) from raw.t"), "0");
    let count = |start: &str| {
        let sandbox = topic(server, &format!("topic: {name}, start: {start}"));
        sandbox.run(&["ingest"]).ok();
        sandbox.value("select count(*) from raw.t")
    };
    assert_eq!(count("'2024-05-01T10:00:03Z'"), "7");
    assert_eq!(count("'2024-05-01T10:00:03.5Z'"), "6");
    assert_eq!(count("'2034-05-01'"), "0");
    assert_eq!(count("{0: 4}"), "6");
    topic(server, &format!("topic: {name}, start: 11"))
        .run(&["ingest"])
        .fails_with(1)
        .says("`start` is 11");
    // The whole topic whenever there is something new.
    let full = topic(server, &format!("topic: {name}, mode: full"));
    full.run(&["ingest"]).ok().says("10 rows");
    full.run(&["ingest"]).ok().does_not_say("rows");
    kafka(server, &format!("send('{name}', (None, {{'id': 10}}, 1))"));
    full.run(&["ingest"]).ok().says("11 rows");
    assert_eq!(full.value("select count(*) from raw.t"), "11");
    latest.run(&["ingest"]).ok().says("1 row");
    assert_eq!(latest.rows("select id, _partition, _offset from raw.t"), ["10,1,0"]);
}

#[test]
fn bad_messages_are_rejected_rows_with_their_place() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("dirty");
    kafka(
        server,
        &format!(
            "topic('{name}')
send('{name}', ('a', '{{\"id\": 1}}'), ('b', '{{\"id\": '), ('c', ''), ('d', '[1]'), ('e', '{{\\n \"id\": 2\\n}}'), ('f', b'{{\"id\": \"\\xff\"}}'),
     (b'\\xff', '{{\"id\": 3}}'), ('g', '{{\"id\": \"x\"}}'), ('h', '{{}}'))"
        ),
    );
    let connection = format!("type: kafka, bootstrap_servers: '127.0.0.1:{}'", server.port());
    let columns = "{name: id, data_type: bigint}";
    let strict = project(&connection, &format!("topic: {name}"), columns);
    strict.run(&["ingest"]).fails_with(1).says(&format!("{name}[0]:1"));
    let sandbox = project(&connection, &format!("topic: {name}, max_rejects: 10"), columns);
    sandbox.run(&["ingest"]).ok();
    assert_eq!(sandbox.rows("select id, _offset from raw.t order by 2"), ["1,0", "2,4", ",8"]);
    let rejected =
        sandbox.rows("select _source_row, reason from raw.t__rejected order by _source_row");
    assert_eq!(rejected.len(), 6, "{rejected:?}");
    for (row, (offset, reason)) in rejected.iter().zip([
        (1, ""),
        (2, "empty"),
        (3, "no object"),
        (5, ""),
        (6, "key_format: bytes"),
        (7, "bigint"),
    ]) {
        assert!(row.starts_with(&format!("{offset},")) && row.contains(reason), "{row}");
    }
    assert_eq!(
        sandbox.rows("select distinct _source_file from raw.t__rejected"),
        [format!("{name}[0]")]
    );
    // A whole batch can be set aside, and nothing is lost by that.
    kafka(server, &format!("send('{name}', ('z', '{{\"id\": 9}}'))"));
    sandbox.run(&["ingest", "reject", "raw.t", "--reason", "not now"]).ok();
    assert_eq!(sandbox.value("select count(*) from raw.t__rejected where reason = 'not now'"), "1");
    sandbox.run(&["ingest"]).ok().does_not_say("rows");
}

#[test]
fn texts_bytes_and_fields_are_bodies_too() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("plain");
    kafka(
        server,
        &format!("topic('{name}')\nsend('{name}', ('1', 'a,\"b,c\"'), ('2', '7,é'), ('3', None))"),
    );
    let text = topic(server, &format!("topic: {name}, format: text, metadata: [key]"));
    text.run(&["ingest"]).ok().says("3 rows");
    assert_eq!(
        text.rows("select * from raw.t order by _key"),
        ["\"a,\"\"b,c\"\"\",1", "\"7,é\",2", ",3"]
    );
    let bytes = topic(
        server,
        &format!(
            "topic: {name}, format: bytes, key_format: bytes, value_column: body, metadata: false, key_column: k"
        ),
    );
    bytes.run(&["ingest"]).ok();
    assert_eq!(
        bytes.rows("select encode(body, 'hex'), encode(k, 'hex') from raw.t where k = '2'::bytea"),
        ["372cc3a9,32"]
    );
    let fields = topic(
        server,
        &format!(
            "topic: {name}, format: csv, columns: [left, 'Right Side'], metadata: {{offset: at}}"
        ),
    );
    fields.run(&["ingest"]).ok();
    assert_eq!(
        fields.rows("select \"left\", right_side, at from raw.t order by at"),
        ["a,\"b,c\",0", "7,é,1", ",,2"]
    );
    for (setting, said) in [
        ("format: protobuf", "Protobuf are not read"),
        ("format: avro", "`schema_registry`"),
        ("metadata: [nonsense]", "topic, partition, offset"),
        ("mode: full, max_messages: 5", "`max_messages`"),
        ("fromat: json", "fromat"),
    ] {
        let sandbox = topic(server, &format!("topic: {name}, {setting}"));
        let outcome = sandbox.run(&["ingest"]);
        assert!(outcome.code != Some(0) && outcome.all().contains(said), "{}", outcome.all());
    }
    let sandbox = topic(server, &format!("topic: {name}"));
    kafka(server, &format!("send('{name}', ('a', {{'_offset': 1}}))"));
    table(&sandbox, &format!("topic: {name}, start: {{0: 3}}"), "");
    sandbox.run(&["ingest"]).fails_with(1).says("the messages have a field `_offset` themselves");
}

#[test]
fn topics_are_named_or_fit_a_pattern() {
    let Some(server) = QueueServer::kafka() else { return };
    let base = unique("shop");
    kafka(
        server,
        &format!(
            "topic('{base}-de')\ntopic('{base}-fr')\ntopic('{base}x')\nsend('{base}-de', (None, {{'n': 1}}))\nsend('{base}-fr', (None, {{'n': 2}}))\nsend('{base}x', (None, {{'n': 3}}))"
        ),
    );
    let sandbox = topic(server, &format!("topic: '{base}-*', start: latest, group: {base}-lag"));
    sandbox.run(&["ingest"]).ok();
    // A new topic is read from its beginning.
    kafka(
        server,
        &format!(
            "topic('{base}-it')\nsend('{base}-it', (None, {{'n': 4}}))\nsend('{base}-de', (None, {{'n': 5}}))\nsend('{base}x', (None, {{'n': 6}}))"
        ),
    );
    sandbox.run(&["ingest"]).ok().says("2 rows");
    assert_eq!(
        sandbox.rows("select _topic, n from raw.t order by n"),
        [format!("{base}-it,4"), format!("{base}-de,5")]
    );
    // The group knows where the table is.
    let committed = kafka(
        server,
        &format!(
            "reader = Consumer({{'bootstrap.servers': SERVER, 'group.id': '{base}-lag'}})\nprint([part.offset for part in reader.committed([TopicPartition('{base}-de', 0), TopicPartition('{base}-it', 0)], 10)])"
        ),
    );
    assert_eq!(committed, ["[2, 1]"]);
    let both = topic(server, &format!("topic: [{base}x, {base}-fr]"));
    both.run(&["ingest"]).ok().says("3 rows");
    topic(server, &format!("topic: {base}-nothing"))
        .run(&["ingest"])
        .fails_with(1)
        .says(&format!("topic: {base}-nothing"));
}

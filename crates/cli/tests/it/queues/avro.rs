//! Messages in Avro, with a registry of schemas and with one schema from a file.

use serde_json::json;
use tidemill_testkit::QueueServer;

use super::{kafka, project, topic, unique};
use crate::rest_apis::{said, serve};

/// Python that writes values by a schema; with a number, in the registry's form.
const WRITER: &str = r"
import io, struct, decimal, datetime, uuid
import fastavro
def avro(schema, value, number=None):
    out = io.BytesIO()
    if number is not None:
        out.write(struct.pack('>bI', 0, number))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()
ADDRESS = {'type': 'record', 'name': 'Address', 'namespace': 'shop', 'fields': [{'name': 'city', 'type': 'string'}]}
ONE = {'type': 'record', 'name': 'Order', 'namespace': 'shop', 'fields': [
    {'name': 'id', 'type': 'int'},
    {'name': 'amount', 'type': {'type': 'bytes', 'logicalType': 'decimal', 'precision': 9, 'scale': 2}},
    {'name': 'at', 'type': {'type': 'long', 'logicalType': 'timestamp-micros'}},
    {'name': 'to', 'type': ['null', ADDRESS]},
]}
LARGER = {'type': 'record', 'name': 'Address', 'namespace': 'shop', 'fields': [
    {'name': 'city', 'type': 'string'}, {'name': 'zip', 'type': ['null', 'string'], 'default': None}]}
TWO = {'type': 'record', 'name': 'Order', 'namespace': 'shop', 'fields': [
    {'name': 'id', 'type': 'long'},
    {'name': 'amount', 'type': {'type': 'bytes', 'logicalType': 'decimal', 'precision': 9, 'scale': 2}},
    {'name': 'at', 'type': {'type': 'long', 'logicalType': 'timestamp-micros'}},
    {'name': 'to', 'type': ['null', LARGER]},
    {'name': 'Tags', 'type': {'type': 'array', 'items': 'string'}, 'default': []},
]}
KEY = {'type': 'record', 'name': 'Key', 'fields': [{'name': 'id', 'type': 'long'}]}
def order(id, **more):
    at = datetime.datetime(2024, 5, 1, 12, 0, id, tzinfo=datetime.timezone.utc)
    return {'id': id, 'amount': decimal.Decimal('1.25') * id, 'at': at, 'to': {'city': 'Köln'}, **more}
";

#[test]
fn schemas_change_within_a_topic() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("avro");
    let schemas = kafka(
        server,
        &format!(
            "{WRITER}
topic('{name}')
key = lambda id: avro(KEY, {{'id': id}}, 9)
send('{name}', (key(1), avro(ONE, order(1), 7)), (key(2), avro(TWO, order(2, to={{'city': 'Ulm', 'zip': '89073'}}, Tags=['a', 'b']), 8)),
     (key(3), avro(ONE, order(3, to=None), 7)), (key(4), avro(TWO, order(4), 8)), (key(1), avro(TWO, order(5), 8)[:-3]),
     (key(6), avro(ONE, order(6), 99)), (key(7), b'plain text'), (key(2), None), (avro(KEY, {{'id': 8}}), avro(ONE, order(8), 7)))
# The registry has the address by itself, and a schema that refers to it.
refers = json.loads(json.dumps(ONE))
refers['fields'][3]['type'] = ['null', 'shop.Address']
for schema in (refers, TWO, KEY, ADDRESS):
    print(json.dumps(schema))"
        ),
    );
    let [one, two, key, address] = <[String; 4]>::try_from(schemas).unwrap();
    let (port, asked) = serve(move |asked| {
        if asked.headers.get("authorization").map(String::as_str) != Some("Basic bWU6c2VjcmV0") {
            return (401, String::new(), "{}".to_owned());
        }
        match asked.path.as_str() {
            "/schemas/ids/7" => said(json!({"schema": one, "references": [
                {"name": "shop.Address", "subject": "address value", "version": 3},
            ]})),
            "/schemas/ids/8" => said(json!({"schema": two})),
            "/schemas/ids/9" => said(json!({"schema": key, "schemaType": "AVRO"})),
            "/subjects/address%20value/versions/3" => said(json!({"schema": address})),
            _ => (404, String::new(), json!({"error_code": 40403}).to_string()),
        }
    });
    let connection = |password: &str| {
        format!(
            "type: kafka, bootstrap_servers: '127.0.0.1:{}', schema_registry: {{url: 'http://localhost:{port}/', user: me, \
             password: {{env: {password}}}, allow_plaintext_password: true}}",
            server.port()
        )
    };
    let secrets = [("REGISTRY", "secret"), ("WRONG", "wrong")];
    let settings = format!("topic: {name}, format: avro, key_format: avro, max_rejects: 9");
    project(&connection("WRONG"), &settings, "")
        .run_with(&secrets, &["ingest"])
        .fails_with(1)
        .says("the schema registry refuses the login");
    let sandbox = project(&connection("REGISTRY"), &settings, "");
    sandbox.run_with(&secrets, &["ingest"]).ok().says("5 rows");
    assert_eq!(
        sandbox.rows(
            "select id, amount, cast(at as text), to.city, to.zip, tags, _key, _offset from raw.t order by _offset"
        ),
        [
            "1,1.25,2024-05-01 12:00:01+00,Köln,,,\"{\"\"id\"\":1}\",0",
            "2,2.50,2024-05-01 12:00:02+00,Ulm,89073,\"[\"\"a\"\",\"\"b\"\"]\",\"{\"\"id\"\":2}\",1",
            "3,3.75,2024-05-01 12:00:03+00,,,,\"{\"\"id\"\":3}\",2",
            "4,5.00,2024-05-01 12:00:04+00,Köln,,[],\"{\"\"id\"\":4}\",3",
            "2,,,,,,\"{\"\"id\"\":2}\",7",
        ]
    );
    let rejected =
        sandbox.rows("select _source_row, reason from raw.t__rejected order by _source_row");
    for (row, (offset, reason)) in rejected.iter().zip([
        (4, "not of its schema"),
        (5, "has no schema 99"),
        (6, "number of a schema"),
        (8, "the key"),
    ]) {
        assert!(row.starts_with(&format!("{offset},")) && row.contains(reason), "{row}");
    }
    assert_eq!(rejected.len(), 4, "{rejected:?}");
    // Each schema was asked for once.
    let asked = asked.lock().unwrap();
    let of = |path: &str| asked.iter().filter(|asked| asked.path == path).count();
    // (One of them by the project whose login is refused.)
    assert!(of("/schemas/ids/8") <= 2 && of("/schemas/ids/9") <= 2, "{asked:?}");
    drop(asked);
    // The row of a key that is gone goes.
    let merge = format!("{settings}, mode: merge, primary_key: id, tombstones: delete");
    let merged = project(&connection("REGISTRY"), &merge, "");
    merged.run_with(&secrets, &["ingest"]).ok();
    assert_eq!(merged.rows("select id from raw.t order by 1"), ["1", "3", "4"]);
}

#[test]
fn all_messages_may_have_the_schema_of_a_file() {
    let Some(server) = QueueServer::kafka() else { return };
    let name = unique("avrofile");
    let schemas = kafka(
        server,
        &format!(
            "{WRITER}
topic('{name}')
send('{name}', *[(str(id), avro(ONE, order(id))) for id in range(1, 60)], ('x', None))
print(json.dumps(ONE))"
        ),
    );
    let sandbox =
        topic(server, &format!("topic: {name}, format: avro, schema: schemas/order.avsc"));
    sandbox.run(&["ingest"]).fails_with(1).says("`schema` cannot be read");
    sandbox.write("schemas/order.avsc", &schemas[0]);
    sandbox.run(&["ingest"]).ok().says("60 rows");
    assert_eq!(
        sandbox.rows("select count(id), sum(id), sum(amount), count(distinct to.city) from raw.t"),
        ["59,1770,2212.50,1"]
    );
}

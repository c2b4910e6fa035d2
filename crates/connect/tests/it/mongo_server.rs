//! A server that speaks MongoDB's protocol (`OP_MSG`) for the commands that reads use, with documents in
//! memory. It stands in for a real one, which has to be installed by its maker's means.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use mongodb::bson::{Bson, Document, doc};

/// What a test changes.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) collections: BTreeMap<String, Vec<Document>>,
    /// The filter, options and read concern of each `find`.
    pub(crate) finds: Vec<Document>,
    /// A replica set, which has snapshots.
    pub(crate) replica: bool,
    /// The error code that a read in a snapshot ends with, at its second batch.
    pub(crate) too_old: Option<i32>,
    /// How many connections are cut off at a second batch.
    pub(crate) cuts: u32,
    cursors: BTreeMap<i64, (String, Vec<Document>, bool)>,
    next: i64,
}

pub(crate) struct MongoServer {
    pub(crate) port: u16,
    pub(crate) state: Arc<Mutex<State>>,
}

impl MongoServer {
    pub(crate) fn start() -> MongoServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { return };
                // It ends when the client goes.
                std::thread::spawn(move || drop(serve(stream, port, &shared)));
            }
        });
        MongoServer { port, state }
    }

    pub(crate) fn insert(&self, collection: &str, documents: Vec<Document>) {
        let mut state = self.state.lock().unwrap();
        state.collections.entry(collection.to_owned()).or_default().extend(documents);
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }
}

fn serve(mut stream: TcpStream, port: u16, state: &Mutex<State>) -> std::io::Result<()> {
    loop {
        let mut header = [0; 16];
        stream.read_exact(&mut header)?;
        let field = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; field(0) as usize - 16];
        stream.read_exact(&mut body)?;
        assert_eq!(field(12), 2013, "only OP_MSG is spoken here");
        // Flags, then one section of the kind 0.
        assert_eq!(body[4], 0);
        let command = Document::from_reader(&body[5..]).unwrap();
        let Some(reply) = answer(&command, port, &mut state.lock().unwrap()) else { return Ok(()) };
        let mut bytes = Vec::new();
        reply.to_writer(&mut bytes).unwrap();
        let mut out = Vec::new();
        for number in [21 + bytes.len() as i32, 1, field(4), 2013, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(0);
        out.extend_from_slice(&bytes);
        stream.write_all(&out)?;
    }
}

fn failed(code: i32, message: &str) -> Document {
    doc! {"ok": 0, "code": code, "errmsg": message, "codeName": "X"}
}

/// The reply; `None` cuts the connection off.
fn answer(command: &Document, port: u16, state: &mut State) -> Option<Document> {
    let (name, value) = command.iter().next().unwrap();
    let text = value.as_str().unwrap_or_default().to_owned();
    Some(match name.as_str() {
        "hello" | "isMaster" | "ismaster" => {
            let mut hello = doc! {
                "ok": 1, "isWritablePrimary": true, "ismaster": true, "helloOk": true, "minWireVersion": 0,
                "maxWireVersion": 21, "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
                "maxWriteBatchSize": 100_000, "logicalSessionTimeoutMinutes": 30,
            };
            if state.replica {
                let host = format!("127.0.0.1:{port}");
                hello
                    .extend(doc! {"setName": "rs", "hosts": [&host], "me": &host, "primary": host});
            }
            hello
        }
        "ping" | "endSessions" | "killCursors" => doc! {"ok": 1},
        "listCollections" => {
            let wanted = command.get_document("filter").ok().and_then(|it| it.get_str("name").ok());
            let names = state.collections.keys().filter(|name| wanted.is_none_or(|it| it == *name));
            let batch: Vec<Document> =
                names.map(|name| doc! {"name": name, "type": "collection"}).collect();
            doc! {"ok": 1, "cursor": {"id": 0i64, "ns": "shop.$cmd.listCollections", "firstBatch": batch}}
        }
        "count" => doc! {"ok": 1, "n": state.collections.get(&text).map_or(0, Vec::len) as i32},
        "find" => {
            state.finds.push(command.clone());
            let empty = Document::new();
            let filter = command.get_document("filter").unwrap_or(&empty);
            let all = state.collections.get(&text).cloned().unwrap_or_default();
            let mut found: Vec<Document> =
                all.into_iter().filter(|document| matches(document, filter)).collect();
            if let Ok(projection) = command.get_document("projection") {
                let wanted = |key: &str| key == "_id" || projection.contains_key(key);
                for document in &mut found {
                    *document = std::mem::take(document)
                        .into_iter()
                        .filter(|(key, _)| wanted(key))
                        .collect();
                }
            }
            let size = command.get("batchSize").and_then(whole).unwrap_or(101) as usize;
            let rest = found.split_off(size.min(found.len()));
            let snapshot = command
                .get_document("readConcern")
                .is_ok_and(|concern| concern.get_str("level").is_ok_and(|it| it == "snapshot"));
            if snapshot && !state.replica {
                return Some(failed(123, "no replica set"));
            }
            let id = if rest.is_empty() { 0 } else { state.next + 1 };
            if id > 0 {
                state.next = id;
                state.cursors.insert(id, (text.clone(), rest, snapshot));
            }
            let mut reply = doc! {"ok": 1, "cursor": {"id": id, "ns": format!("shop.{text}"), "firstBatch": found}};
            if snapshot {
                let time = mongodb::bson::Timestamp { time: 1, increment: 1 };
                reply.get_document_mut("cursor").unwrap().insert("atClusterTime", time);
            }
            reply
        }
        "getMore" => {
            if state.cuts > 0 {
                state.cuts -= 1;
                return None;
            }
            let id = whole(value).unwrap();
            let Some((collection, mut rest, snapshot)) = state.cursors.remove(&id) else {
                return Some(failed(43, "cursor not found"));
            };
            if let Some(code) = state.too_old.filter(|_| snapshot) {
                return Some(failed(code, "the snapshot is too old"));
            }
            let size =
                command.get("batchSize").and_then(whole).map_or(rest.len(), |it| it as usize);
            let left = rest.split_off(size.min(rest.len()));
            let next = if left.is_empty() { 0 } else { id };
            if next > 0 {
                state.cursors.insert(id, (collection.clone(), left, snapshot));
            }
            doc! {"ok": 1, "cursor": {"id": next, "ns": format!("shop.{collection}"), "nextBatch": rest}}
        }
        other => failed(59, &format!("no such command: {other}")),
    })
}

fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

/// MongoDB's rules for the operators that reads use.
fn matches(document: &Document, filter: &Document) -> bool {
    filter.iter().all(|(key, wanted)| {
        let documents = || wanted.as_array().unwrap().iter().map(|it| it.as_document().unwrap());
        match key.as_str() {
            "$and" => documents().all(|filter| matches(document, filter)),
            "$or" => documents().any(|filter| matches(document, filter)),
            key => {
                let found = key.split('.').try_fold(Bson::Document(document.clone()), |at, key| {
                    at.as_document()?.get(key).cloned()
                });
                match wanted.as_document() {
                    Some(operators) => operators.iter().all(|it| holds(found.as_ref(), it)),
                    None => found.as_ref() == Some(wanted),
                }
            }
        }
    })
}

fn holds(found: Option<&Bson>, (operator, wanted): (&String, &Bson)) -> bool {
    match operator.as_str() {
        // Values of one kind alone are compared.
        "$gte" => match (found, wanted) {
            (Some(Bson::DateTime(left)), Bson::DateTime(right)) => left >= right,
            (Some(Bson::String(left)), Bson::String(right)) => left >= right,
            (Some(Bson::ObjectId(left)), Bson::ObjectId(right)) => left >= right,
            (Some(left), right) => {
                whole(left).zip(whole(right)).is_some_and(|(left, right)| left >= right)
            }
            (None, _) => false,
        },
        "$not" => {
            let inner = wanted.as_document().unwrap();
            !inner.iter().all(|it| holds(found, it))
        }
        "$type" => {
            let name = match found {
                None => return false,
                Some(Bson::Int32(_)) => "int",
                Some(Bson::Int64(_)) => "long",
                Some(Bson::Double(_)) => "double",
                Some(Bson::DateTime(_)) => "date",
                Some(Bson::String(_)) => "string",
                Some(Bson::ObjectId(_)) => "objectId",
                Some(Bson::Array(_)) => "array",
                Some(_) => "another",
            };
            match wanted {
                Bson::Array(names) => names.iter().any(|it| it.as_str() == Some(name)),
                one => one.as_str() == Some(name),
            }
        }
        other => panic!("the operator {other} is not known here"),
    }
}

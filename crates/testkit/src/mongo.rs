//! A server that speaks MongoDB's protocol (`OP_MSG`) for the commands that reads use, with documents in
//! memory. It stands in for a real one, which has to be installed by its maker's means.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use mongodb::bson::{Bson, DateTime, Document, Timestamp, doc};

/// What a test changes.
#[derive(Default)]
pub struct MongoState {
    /// The documents.
    pub collections: BTreeMap<String, Vec<Document>>,
    /// The filter, options and read concern of each `find`.
    pub finds: Vec<Document>,
    /// A replica set, which has snapshots.
    pub replica: bool,
    /// The error code that a read in a snapshot ends with, at its second batch.
    pub too_old: Option<i32>,
    /// How many connections are cut off at a second batch.
    pub cuts: u32,
    /// The time of the first event that the log has.
    pub oldest: u32,
    /// A document that is added when the changes are asked for.
    pub meanwhile: Option<Document>,
    cursors: BTreeMap<i64, (String, Vec<Document>, bool)>,
    streams: BTreeMap<i64, Stream>,
    log: Vec<Event>,
    /// The time of the last event.
    pub clock: u32,
    next: i64,
}

/// An event of the log of changes.
#[derive(Clone)]
struct Event {
    time: u32,
    collection: String,
    what: &'static str,
    id: Bson,
    document: Option<Document>,
}

/// A change stream.
struct Stream {
    collection: String,
    at: u32,
    /// The stage behind `$changeStream`.
    project: Document,
}

impl MongoState {
    fn happens(
        &mut self,
        collection: &str,
        what: &'static str,
        id: Bson,
        document: Option<Document>,
    ) {
        self.clock += 1;
        let (time, collection) = (self.clock, collection.to_owned());
        self.log.push(Event { time, collection, what, id, document });
    }

    /// Adds a document, or puts it in place of the one with its `_id`.
    pub fn put(&mut self, collection: &str, document: Document) {
        let id = document.get("_id").unwrap().clone();
        let all = self.collections.entry(collection.to_owned()).or_default();
        let there = all.iter_mut().find(|known| known.get("_id") == Some(&id));
        let what = match there {
            Some(known) => {
                *known = document.clone();
                "update"
            }
            None => {
                all.push(document.clone());
                "insert"
            }
        };
        self.happens(collection, what, id, Some(document));
    }

    /// Removes the document with this `_id`.
    pub fn delete(&mut self, collection: &str, id: impl Into<Bson>) {
        let id = id.into();
        let all = self.collections.get_mut(collection).unwrap();
        all.retain(|known| known.get("_id") != Some(&id));
        self.happens(collection, "delete", id, None);
    }

    /// Removes a collection.
    pub fn drop(&mut self, collection: &str) {
        self.collections.remove(collection);
        self.happens(collection, "drop", Bson::Null, None);
        self.happens(collection, "invalidate", Bson::Null, None);
    }

    /// Says that a collection was renamed.
    pub fn rename(&mut self, collection: &str) {
        self.happens(collection, "rename", Bson::Null, None);
        self.happens(collection, "invalidate", Bson::Null, None);
    }

    /// An event as it is read now: of an update with the document as it is by now.
    fn shown(&self, event: &Event, project: &Document) -> Document {
        let mut shown = doc! {
            "_id": token(event.time), "operationType": event.what,
            "ns": {"db": "shop", "coll": &event.collection},
            "clusterTime": Timestamp { time: event.time, increment: 1 },
            "wallTime": DateTime::from_millis(i64::from(event.time) * 1000 + 5),
        };
        if matches!(event.what, "drop" | "invalidate" | "rename") {
            return shown;
        }
        shown.insert("documentKey", doc! {"_id": &event.id});
        let document = match event.what {
            "update" => {
                let all = self.collections.get(&event.collection);
                let all = all.map(Vec::as_slice).unwrap_or_default();
                all.iter().find(|known| known.get("_id") == Some(&event.id)).cloned()
            }
            _ => event.document.clone(),
        };
        if event.what != "delete" {
            let wanted = |name: &str| {
                let named = project.get(format!("fullDocument.{name}")).and_then(whole);
                named.unwrap_or(i64::from(!project.contains_key("operationType"))) != 0
            };
            let chosen = document.map(|document| -> Document {
                document.into_iter().filter(|(name, _)| wanted(name)).collect()
            });
            shown.insert("fullDocument", chosen);
        }
        shown
    }
}

/// A token as servers make it, which begins with its time.
fn token(time: u32) -> Document {
    doc! {"_data": format!("82{time:08X}{:08X}2B04", 1)}
}

fn time_of(token: &Document) -> u32 {
    u32::from_str_radix(&token.get_str("_data").unwrap()[2..10], 16).unwrap()
}

/// A stand-in for a MongoDB, with a database `shop`.
pub struct MongoServer {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// What it has.
    pub state: Arc<Mutex<MongoState>>,
}

impl MongoServer {
    /// Starts one, which ends with the test.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start() -> MongoServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<MongoState>> = Arc::default();
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

    /// Adds documents, without events.
    pub fn insert(&self, collection: &str, documents: Vec<Document>) {
        let mut state = self.state.lock().unwrap();
        state.collections.entry(collection.to_owned()).or_default().extend(documents);
    }

    /// Changes what it has.
    pub fn set(&self, change: impl FnOnce(&mut MongoState)) {
        change(&mut self.state.lock().unwrap());
    }
}

fn serve(mut stream: TcpStream, port: u16, state: &Mutex<MongoState>) -> std::io::Result<()> {
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
fn answer(command: &Document, port: u16, state: &mut MongoState) -> Option<Document> {
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
                hello.insert("operationTime", Timestamp { time: state.clock, increment: 1 });
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
                let left_out = |key: &str| projection.get(key).and_then(whole) == Some(0);
                let chooses = projection.keys().any(|key| !left_out(key));
                let wanted = |key: &str| match chooses {
                    true => key == "_id" || projection.contains_key(key),
                    false => !left_out(key),
                };
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
        "aggregate" => {
            let stages = command.get_array("pipeline").unwrap();
            let stage = |at: usize, name: &str| {
                let stage = stages.get(at).and_then(Bson::as_document);
                stage.and_then(|stage| stage.get_document(name).ok()).cloned()
            };
            let wanted = stage(0, "$changeStream").unwrap();
            if !state.replica {
                return Some(failed(
                    40573,
                    "The $changeStream stage is only supported on replica sets",
                ));
            }
            assert_eq!(wanted.get_str("fullDocument").unwrap(), "updateLookup");
            let at = wanted.get_document("startAfter").map_or(state.clock, time_of);
            if at < state.oldest {
                return Some(failed(286, "the resume point may no longer be in the oplog"));
            }
            if let Some(document) = state.meanwhile.take() {
                state.put(&text, document);
            }
            let project = stage(1, "$project").unwrap_or_default();
            state.next += 1;
            let id = state.next;
            state.streams.insert(id, Stream { collection: text.clone(), at, project });
            doc! {"ok": 1, "cursor": {
            "id": id, "ns": format!("shop.{text}"), "firstBatch": [], "postBatchResumeToken": token(at)}}
        }
        "getMore" => {
            if state.cuts > 0 {
                state.cuts -= 1;
                return None;
            }
            let id = whole(value).unwrap();
            if let Some(mut stream) = state.streams.remove(&id) {
                let events = state.log.iter().filter(|event| event.collection == stream.collection);
                let mut batch: Vec<&Event> =
                    events.filter(|event| event.time > stream.at).take(2).collect();
                if let Some(end) = batch.iter().position(|event| event.what == "invalidate") {
                    batch.truncate(end + 1);
                }
                let ends = batch.last().is_some_and(|event| event.what == "invalidate");
                // Of nothing for this collection the log is read in two steps.
                let half = stream.at + (state.clock - stream.at).div_ceil(2);
                stream.at = batch.last().map_or(half, |event| event.time);
                let shown: Vec<Document> =
                    batch.into_iter().map(|event| state.shown(event, &stream.project)).collect();
                let ns = format!("shop.{}", stream.collection);
                let next = if ends { 0 } else { id };
                let at = stream.at;
                if !ends {
                    state.streams.insert(id, stream);
                }
                return Some(doc! {"ok": 1, "cursor": {
                "id": next, "ns": ns, "nextBatch": shown, "postBatchResumeToken": token(at)}});
            }
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

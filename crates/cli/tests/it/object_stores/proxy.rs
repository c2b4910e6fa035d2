//! A proxy before a store that lets one request fail, in the way that it is told.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// 500, the store does not see it.
    Error,
    /// 503 SlowDown, the store does not see it.
    SlowDown,
    /// The connection ends before the store sees it.
    Lost,
    /// The store does it, and the connection ends without a word.
    LostReply,
    /// The store does it, and half of the reply's body arrives.
    TornReply,
    /// The store does it, and the reply says 500.
    DoneAndError,
    /// The store does it, and a put is told that the object was there already: what a repeated put
    /// meets when the first one's reply was lost.
    OwnWrite,
}

pub(super) const FAULTS: [Fault; 7] = [
    Fault::LostReply,
    Fault::OwnWrite,
    Fault::Error,
    Fault::TornReply,
    Fault::Lost,
    Fault::DoneAndError,
    Fault::SlowDown,
];

#[derive(Default)]
struct State {
    /// Which of the requests fails, counted from 0, and how.
    plan: Option<(usize, Fault)>,
    /// What was hit.
    hit: Option<String>,
}

pub(super) struct Proxy {
    pub(super) port: u16,
    seen: Arc<AtomicUsize>,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub(super) fn start(store: u16) -> Proxy {
        Proxy::with(store, None)
    }

    /// One that speaks the protocol of Google Cloud Storage in XML before a store of S3 that wants no key: what
    /// differs is how a condition, a copy and a login are written.
    pub(super) fn as_google(store: u16) -> Proxy {
        Proxy::with(store, Some(of_google))
    }

    fn with(store: u16, translate: Option<fn(&mut Message)>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicUsize::new(0));
        let state = Arc::new(Mutex::new(State::default()));
        let (counter, shared) = (seen.clone(), state.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (counter, shared) = (counter.clone(), shared.clone());
                std::thread::spawn(move || serve(&client, store, translate, &counter, &shared));
            }
        });
        Proxy { port, seen, state }
    }

    /// From now on: the request of this number fails, counted from here.
    pub(super) fn plan(&self, plan: Option<(usize, Fault)>) {
        let mut state = self.state.lock().unwrap();
        self.seen.store(0, Ordering::SeqCst);
        *state = State { plan, hit: None };
    }

    /// How many requests came since the plan was made, and which one was hit.
    pub(super) fn report(&self) -> (usize, Option<String>) {
        (self.seen.load(Ordering::SeqCst), self.state.lock().unwrap().hit.clone())
    }
}

/// A request or a reply.
pub(super) struct Message {
    pub(super) head: Vec<String>,
    body: Vec<u8>,
}

impl Message {
    /// `None` when the other side has no more to say. A reply to HEAD has no body, whatever it says.
    pub(super) fn read(reader: &mut impl BufRead, bodiless: bool) -> Result<Option<Message>> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let mut message = Message { head, body: Vec::new() };
        if bodiless {
            return Ok(Some(message));
        }
        if let Some(length) = message.header("content-length") {
            message.body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut message.body)?;
        } else if message.header("transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
                message.body.extend_from_slice(line.as_bytes());
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk)?;
                message.body.extend_from_slice(&chunk);
                if size == 0 {
                    break;
                }
            }
        }
        Ok(Some(message))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn write(&self, mut to: &TcpStream, body: usize) -> Result<()> {
        let mut bytes = self.head.join("\r\n").into_bytes();
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&self.body[..body]);
        to.write_all(&bytes)
    }
}

fn answer(mut client: &TcpStream, status: &str, code: &str) -> Result<()> {
    let body = format!("<Error><Code>{code}</Code><Message>planned</Message></Error>");
    let length = body.len();
    write!(client, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// A request to Google as one to S3. A header of Google's that is not known here makes it fail.
fn of_google(request: &mut Message) {
    let mut head = vec![request.head[0].clone()];
    for line in request.head.iter().skip(1) {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        match (key.to_ascii_lowercase().as_str(), value.trim()) {
            ("authorization", _) => {}
            ("x-goog-if-generation-match", "0") => head.push("if-none-match: *".to_owned()),
            ("x-goog-copy-source", source) => head.push(format!("x-amz-copy-source: {source}")),
            (key, _) if key.starts_with("x-goog-") => {
                head[0] = format!("UNKNOWN /{key} HTTP/1.1");
            }
            _ => head.push(line.clone()),
        }
    }
    request.head = head;
}

fn serve(
    client: &TcpStream,
    store: u16,
    translate: Option<fn(&mut Message)>,
    counter: &AtomicUsize,
    shared: &Mutex<State>,
) {
    // An end of the connection, planned or not, is the end of this thread.
    let _ = relay(client, store, translate, counter, shared);
    let _ = client.shutdown(Shutdown::Both);
}

fn relay(
    client: &TcpStream,
    store: u16,
    translate: Option<fn(&mut Message)>,
    counter: &AtomicUsize,
    shared: &Mutex<State>,
) -> Result<()> {
    let mut requests = BufReader::new(client);
    let upstream = TcpStream::connect(("127.0.0.1", store))?;
    let mut replies = BufReader::new(&upstream);
    while let Some(mut request) = Message::read(&mut requests, false)? {
        if let Some(translate) = translate {
            translate(&mut request);
        }
        let fault = {
            let mut state = shared.lock().unwrap();
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let fault =
                state.plan.filter(|(planned, _)| *planned == number).map(|(_, fault)| fault);
            if fault.is_some() {
                state.hit = Some(request.head[0].clone());
            }
            fault
        };
        match fault {
            Some(Fault::Error) => {
                answer(client, "500 Internal Server Error", "InternalError")?;
                continue;
            }
            Some(Fault::SlowDown) => {
                answer(client, "503 Service Unavailable", "SlowDown")?;
                continue;
            }
            Some(Fault::Lost) => return Ok(()),
            _ => {}
        }
        request.write(&upstream, request.body.len())?;
        let bodiless = request.head[0].starts_with("HEAD ");
        let Some(reply) = Message::read(&mut replies, bodiless)? else { return Ok(()) };
        let whole = reply.body.len();
        match fault {
            Some(Fault::LostReply) => return Ok(()),
            Some(Fault::TornReply) => {
                reply.write(client, whole / 2)?;
                return Ok(());
            }
            Some(Fault::DoneAndError) => {
                answer(client, "500 Internal Server Error", "InternalError")?;
            }
            Some(Fault::OwnWrite) if request.header("x-ms-version").is_some() => {
                match request.header("if-none-match") {
                    Some(_) => answer(client, "409 Conflict", "BlobAlreadyExists")?,
                    None => reply.write(client, whole)?,
                }
            }
            Some(Fault::OwnWrite)
                if request.header("if-none-match").is_some()
                    || request.header("x-goog-if-generation-match").is_some() =>
            {
                answer(client, "412 Precondition Failed", "PreconditionFailed")?;
            }
            _ => reply.write(client, whole)?,
        }
    }
    Ok(())
}

/// A store that keeps objects in memory and ignores every condition, as some do.
pub(super) fn careless_store() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let objects = Arc::new(Mutex::new(std::collections::HashMap::<String, Vec<u8>>::new()));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let objects = objects.clone();
            std::thread::spawn(move || {
                let mut requests = BufReader::new(&client);
                while let Ok(Some(request)) = Message::read(&mut requests, false) {
                    let mut words = request.head[0].split(' ');
                    let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
                    let mut objects = objects.lock().unwrap();
                    let date = "last-modified: Mon, 23 Nov 2026 00:00:00 GMT\r\netag: \"1\"";
                    let mut out = &client;
                    let _ = match (method, objects.get(&path)) {
                        ("PUT", _) => {
                            objects.insert(path, request.body);
                            write!(out, "HTTP/1.1 200 OK\r\n{date}\r\ncontent-length: 0\r\n\r\n")
                        }
                        ("GET", Some(body)) => {
                            let length = body.len();
                            write!(
                                out,
                                "HTTP/1.1 200 OK\r\n{date}\r\ncontent-length: {length}\r\n\r\n"
                            )
                            .and_then(|()| out.write_all(body))
                        }
                        ("GET" | "HEAD", _) => answer(&client, "404 Not Found", "NoSuchKey"),
                        _ => {
                            objects.clear();
                            let body = "<DeleteResult></DeleteResult>";
                            let length = body.len();
                            write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
                        }
                    };
                }
            });
        }
    });
    port
}

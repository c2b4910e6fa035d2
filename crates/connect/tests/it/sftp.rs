//! SFTP servers that are not OpenSSH: they take passwords, answer in small pieces, tell little, and cannot
//! replace files.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use russh::keys::{HashAlg, decode_secret_key};
use russh::server::{Auth, Config, Handler, Msg, Response, Session, run_stream};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Status, StatusCode, Version,
};
use serde_json::{Map, Value, json};
use tidemill_connect::kind;
use tidemill_core::{ConnectContext, ReadScope, Result, Source};

use crate::reading::{Outcome, Request, drained};

const PASSWORD: &str = "planted-password-of-tests";

/// The key of the servers, which is for nothing else.
const HOST_KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACCUbgrCY9rLyt1rLqO7RTaFQQhpD0UjYOHJZeLI0RfpjQAAAIgU7rG5FO6x
uQAAAAtzc2gtZWQyNTUxOQAAACCUbgrCY9rLyt1rLqO7RTaFQQhpD0UjYOHJZeLI0RfpjQ
AAAECG13YxTNrYRPei//KskFlCmbNGFAU60E2LQTb0P6wQ45RuCsJj2svK3Wsuo7tFNoVB
CGkPRSNg4cll4sjRF+mNAAAABXRlc3Rz
-----END OPENSSH PRIVATE KEY-----
";

/// Files by their paths: content, and the second of the last change.
type Files = Arc<Mutex<BTreeMap<String, (Vec<u8>, u32)>>>;

#[derive(Clone)]
struct Server {
    /// Whether a password is taken, or only the answer to a question.
    asks: bool,
    files: Files,
    channels: Arc<Mutex<HashMap<ChannelId, Channel<Msg>>>>,
}

impl Handler for Server {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        Ok(match !self.asks && user == "shop" && password == PASSWORD {
            true => Auth::Accept,
            false => Auth::reject(),
        })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(mut response) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        let answer = response.next();
        Ok(match answer.is_some_and(|answer| *answer == *PASSWORD.as_bytes()) {
            true => Auth::Accept,
            false => Auth::reject(),
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: russh::server::ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.lock().unwrap().insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let channel = self.channels.lock().unwrap().remove(&id).unwrap();
        session.channel_success(id)?;
        let sftp = Sftp { files: self.files.clone(), listed: false };
        russh_sftp::server::run(channel.into_stream(), sftp).await;
        Ok(())
    }
}

struct Sftp {
    files: Files,
    listed: bool,
}

fn attributes((content, modified): &(Vec<u8>, u32)) -> FileAttributes {
    FileAttributes {
        size: Some(content.len() as u64),
        atime: Some(*modified),
        mtime: Some(*modified),
        ..FileAttributes::empty()
    }
}

fn done(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: String::new(),
        language_tag: String::new(),
    }
}

impl Sftp {
    fn find(&self, id: u32, path: &str) -> Result<Attrs, StatusCode> {
        if path == "/in" {
            let attrs = FileAttributes { permissions: Some(0o040_755), ..FileAttributes::empty() };
            return Ok(Attrs { id, attrs });
        }
        let files = self.files.lock().unwrap();
        let file = files.get(path).ok_or(StatusCode::NoSuchFile)?;
        Ok(Attrs { id, attrs: attributes(file) })
    }
}

impl russh_sftp::server::Handler for Sftp {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, StatusCode> {
        Ok(Version::new())
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusCode> {
        self.find(id, &path)
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, StatusCode> {
        self.find(id, &handle)
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusCode> {
        self.listed = false;
        match path == "/in" {
            true => Ok(Handle { id, handle: path }),
            false => Err(StatusCode::Failure),
        }
    }

    async fn readdir(&mut self, id: u32, _: String) -> Result<Name, StatusCode> {
        if std::mem::replace(&mut self.listed, true) {
            return Err(StatusCode::Eof);
        }
        let files = self.files.lock().unwrap();
        let name = |path: &String| path.strip_prefix("/in/").unwrap().to_owned();
        let files = files.iter().map(|(path, file)| File {
            filename: name(path),
            longname: String::new(),
            attrs: attributes(file),
        });
        Ok(Name { id, files: files.collect() })
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        _: FileAttributes,
    ) -> Result<Handle, StatusCode> {
        let mut files = self.files.lock().unwrap();
        if flags.contains(OpenFlags::CREATE) {
            files.insert(path.clone(), (Vec::new(), 1));
        }
        match files.contains_key(&path) {
            true => Ok(Handle { id, handle: path }),
            false => Err(StatusCode::NoSuchFile),
        }
    }

    async fn close(&mut self, id: u32, _: String) -> Result<Status, StatusCode> {
        Ok(done(id))
    }

    async fn read(
        &mut self,
        id: u32,
        path: String,
        from: u64,
        length: u32,
    ) -> Result<Data, StatusCode> {
        let files = self.files.lock().unwrap();
        let content = &files.get(&path).ok_or(StatusCode::NoSuchFile)?.0;
        let from = from as usize;
        // Less than what was asked for.
        let to = content.len().min(from + (length as usize).min(1000));
        match content.get(from..to) {
            Some(data) if !data.is_empty() => Ok(Data { id, data: data.to_vec() }),
            _ => Err(StatusCode::Eof),
        }
    }

    async fn write(
        &mut self,
        id: u32,
        path: String,
        at: u64,
        data: Vec<u8>,
    ) -> Result<Status, StatusCode> {
        let mut files = self.files.lock().unwrap();
        let content = &mut files.get_mut(&path).ok_or(StatusCode::NoSuchFile)?.0;
        let end = at as usize + data.len();
        content.resize(content.len().max(end), 0);
        content[at as usize..end].copy_from_slice(&data);
        Ok(done(id))
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, StatusCode> {
        let mut files = self.files.lock().unwrap();
        if files.contains_key(&to) {
            return Err(StatusCode::Failure);
        }
        let file = files.remove(&from).ok_or(StatusCode::NoSuchFile)?;
        files.insert(to, file);
        Ok(done(id))
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, StatusCode> {
        let mut files = self.files.lock().unwrap();
        files.remove(&path).map(|_| done(id)).ok_or(StatusCode::NoSuchFile)
    }
}

/// Starts a server; where it listens, and its fingerprint.
async fn serve(asks: bool, files: Files) -> (u16, String) {
    let key = decode_secret_key(HOST_KEY, None).unwrap();
    let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
    let method = if asks { MethodKind::KeyboardInteractive } else { MethodKind::Password };
    let config = Arc::new(Config {
        keys: vec![key],
        methods: MethodSet::from(&[method][..]),
        auth_rejection_time: std::time::Duration::from_millis(1),
        ..Config::default()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = Server { asks, files: files.clone(), channels: Arc::default() };
            let config = config.clone();
            tokio::spawn(async move {
                if let Ok(session) = run_stream(config, stream, server).await {
                    let _ = session.await;
                }
            });
        }
    });
    (port, fingerprint)
}

fn settings(port: u16, fingerprint: &str, password: &str) -> Map<String, Value> {
    let settings = json!({
        "host": "127.0.0.1", "port": port, "user": "shop", "password": password, "root": "/in",
        "host_key": fingerprint, "max_connections": 2,
    });
    settings.as_object().unwrap().clone()
}

fn context() -> ConnectContext {
    ConnectContext { project: std::env::temp_dir(), name: String::new() }
}

async fn read(source: &dyn Source, location: &str) -> Result<Outcome> {
    let request = Request::of(json!({"location": location}), ReadScope::New);
    drained(source, request, |_| {}).await
}

#[test]
fn a_server_that_tells_little_and_asks_for_the_password() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        for asks in [false, true] {
            let rows: String = (0..20_000).map(|row| format!("{row},{}\n", row % 7)).collect();
            let files: Files = Arc::default();
            files.lock().unwrap().insert(
                "/in/a.csv".to_owned(),
                (format!("id,amount\n{rows}").into_bytes(), 1_700_000_000),
            );
            let (port, fingerprint) = serve(asks, files.clone()).await;
            let sftp = kind("sftp").unwrap();
            let source = sftp.connect(settings(port, &fingerprint, PASSWORD), context()).unwrap();
            source.ping().await.unwrap();
            let outcome = read(source.as_ref(), "*.csv").await.unwrap();
            assert_eq!(outcome.row_count(), 20_000);
            let wrong = sftp.connect(settings(port, &fingerprint, "not this one"), context());
            let error = wrong.unwrap().ping().await.unwrap_err().report();
            assert!(error.contains("does not accept the password of `shop`"), "{error}");
            let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
            let stranger = sftp.connect(settings(port, other, PASSWORD), context()).unwrap();
            let error = stranger.ping().await.unwrap_err().report();
            assert!(error.contains(&fingerprint), "{error}");
        }
    });
}

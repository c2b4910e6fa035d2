//! Files of a Hadoop file system, by WebHDFS: a REST API whose files come from data nodes, to which requests
//! are redirected.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use serde::Deserialize;
use tidemill_core::{
    ConnectContext, Connector, Error, ErrorKind, ReadScope, Result, Secret, SecretRef, Source,
};
use tidemill_objects::web_agent;
use tokio::sync::Semaphore;
use ureq::Body;
use ureq::http::Response;
use url::Url;

use super::{FileServer, Folder, Look, Manners, Named, Names, changed};
use crate::files::{FilesSource, Root, TableSettings};
use crate::stream::blocking;

/// The connector for WebHDFS; its kind is `webhdfs`.
#[derive(Debug)]
pub struct WebHdfsConnector;

/// The settings of a connection to a Hadoop file system.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebHdfsConfig {
    /// The address of the name node, or of a gateway (HttpFS): `http://namenode:9870`.
    pub url: String,
    /// Who asks, where nobody has to prove it (`user.name`).
    pub user: Option<String>,
    /// A delegation token.
    pub token: Option<SecretRef>,
    /// Whether a token may cross a network without encryption.
    #[serde(default)]
    pub allow_http: bool,
    /// The folder that locations are relative to. Default `/`.
    pub root: Option<String>,
    /// How many requests are under way at a time. Default 4.
    pub max_connections: Option<usize>,
    /// How long to wait for an answer. Default `60s`.
    pub timeout: Option<String>,
}

/// A name node.
struct WebHdfs {
    base: Url,
    user: Option<String>,
    token: Option<Secret>,
    timeout: Duration,
    permits: Semaphore,
}

impl std::fmt::Debug for WebHdfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebHdfs").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl WebHdfsConfig {
    fn root(self, context: &ConnectContext) -> Result<Root> {
        let wrong = |why: &str| Error::new(ErrorKind::Config, why).with("url", &self.url);
        let manners = Manners::new(self.max_connections, self.timeout.as_deref())?;
        let base = Url::parse(&self.url)
            .map_err(|error| wrong("`url` is not an address").because(error))?;
        if !matches!(base.scheme(), "http" | "https")
            || base.query().is_some()
            || !base.username().is_empty()
            || !matches!(base.path(), "" | "/")
        {
            return Err(wrong("`url` is the address of a name node: http://namenode:9870")
                .with("hint", "the folder is `root`, and the login `user` or `token`"));
        }
        let is_here = matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if self.token.is_some() && base.scheme() == "http" && !is_here && !self.allow_http {
            return Err(wrong("without TLS the token crosses the network for everybody to read")
                .with("hint", "use https://; or write `allow_http: true` if that is meant"));
        }
        let token = self.token.map(|token| token.resolve(&context.project)).transpose()?;
        let name = base.as_str().trim_end_matches('/').to_owned();
        let root = match self.root.as_deref().map(|root| root.trim_start_matches('/')) {
            None | Some("") => "/".to_owned(),
            Some(root) => format!("/{root}"),
        };
        let server = WebHdfs {
            base,
            user: self.user,
            token,
            timeout: manners.timeout,
            permits: Semaphore::new(manners.connections),
        };
        Ok(Root::Tree(super::tree(Shared(Arc::new(server)), name, Some(&root))))
    }
}

#[async_trait]
impl Connector for WebHdfsConnector {
    const KIND: &'static str = "webhdfs";
    type Config = WebHdfsConfig;

    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "location";

    fn connect(config: WebHdfsConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FilesSource { root: config.root(&context)? }))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        TableSettings::check(settings)
    }
}

/// What the file system says of a name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    path_suffix: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    length: u64,
    #[serde(default)]
    modification_time: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    file_status: Status,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Many {
    file_statuses: Statuses,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statuses {
    file_status: Vec<Status>,
}

/// Why a request was not done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    remote_exception: Exception,
}

#[derive(Debug, Deserialize)]
struct Exception {
    exception: String,
    #[serde(default)]
    message: String,
}

impl Status {
    fn look(&self) -> Look {
        Look {
            is_folder: self.kind == "DIRECTORY",
            size: self.length,
            modified: DateTime::from_timestamp_millis(self.modification_time).unwrap_or_default(),
        }
    }
}

impl WebHdfs {
    fn address(&self, path: &str, operation: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(["webhdfs", "v1"]);
            segments.extend(path.split('/').filter(|part| !part.is_empty()));
        }
        let mut query = url.query_pairs_mut();
        query.append_pair("op", operation);
        if let Some(token) = &self.token {
            query.append_pair("delegation", token.expose());
        } else if let Some(user) = &self.user {
            query.append_pair("user.name", user);
        }
        drop(query);
        url
    }

    /// One request. Data nodes are on other hosts, and the way there is in the answer.
    fn ask(&self, url: &Url, path: &str) -> Result<Response<Body>> {
        let request = web_agent()
            .get(url.as_str())
            .config()
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            .build();
        let reply = request.call().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the file system cannot be reached")
                .with("server", &self.base)
                .because(error)
        })?;
        match reply.status().as_u16() {
            200 => Ok(reply),
            status => Err(self.refused(status, reply, path)),
        }
    }

    fn refused(&self, status: u16, reply: Response<Body>, path: &str) -> Error {
        let mut text = String::new();
        let _ = reply.into_body().into_reader().take(64 << 10).read_to_string(&mut text);
        let why =
            serde_json::from_str::<Refusal>(&text).ok().map(|refusal| refusal.remote_exception);
        let exception = why.as_ref().map_or("", |why| why.exception.as_str());
        let (kind, what) = match (status, exception) {
            (_, "StandbyException") => {
                (ErrorKind::Unavailable, "this name node stands by: another one is active")
            }
            (404, _) | (_, "FileNotFoundException") => {
                (ErrorKind::NotFound, "there is no such file")
            }
            (401, _) => (ErrorKind::Denied, "the file system wants a login"),
            (403, _) => (ErrorKind::Denied, "the file system does not allow it"),
            (408 | 429 | 500..=599, _) => {
                (ErrorKind::Unavailable, "the file system does not do it now")
            }
            _ => (ErrorKind::Io, "the file system does not do it"),
        };
        let said = why.map_or_else(
            || format!("status {status}"),
            |why| format!("{}: {} (status {status})", why.exception, why.message),
        );
        Error::new(kind, what).with("file", path).because(said)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &str, operation: &str) -> Result<T> {
        let reply = self.ask(&self.address(path, operation), path)?;
        let mut text = String::new();
        reply.into_body().into_reader().read_to_string(&mut text).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the connection broke").because(error)
        })?;
        serde_json::from_str(&text).map_err(|error| {
            Error::new(ErrorKind::Io, "the answer is not one of WebHDFS")
                .with("server", &self.base)
                .because(error)
        })
    }

    fn status(&self, path: &str) -> Result<Look> {
        self.json::<One>(path, "GETFILESTATUS").map(|one| one.file_status.look())
    }

    /// Adds bytes of a file, as far as they came.
    fn bytes(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Look,
        data: &mut Vec<u8>,
    ) -> Result<()> {
        if self.status(path)? != *expected {
            return Err(changed(path));
        }
        let length = range.end - range.start;
        let mut url = self.address(path, "OPEN");
        url.query_pairs_mut()
            .append_pair("offset", &range.start.to_string())
            .append_pair("length", &length.to_string());
        let broke = |why| Error::new(ErrorKind::Unavailable, why).with("file", path);
        let mut body = self.ask(&url, path)?.into_body().into_reader().take(length);
        body.read_to_end(data).map_err(|error| broke("the connection broke").because(error))?;
        if self.status(path)? != *expected {
            return Err(changed(path));
        }
        match data.len() as u64 == length {
            true => Ok(()),
            false => Err(broke("the file ended early")),
        }
    }
}

/// A name node that threads share.
#[derive(Debug, Clone)]
struct Shared(Arc<WebHdfs>);

impl Shared {
    async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&WebHdfs) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let closed = |_| Error::new(ErrorKind::Internal, "the connections are closed");
        let _permit = self.0.permits.acquire().await.map_err(closed)?;
        let server = self.0.clone();
        blocking(move || request(&server)).await
    }
}

fn read_only<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "files of WebHDFS are read, and not written"))
}

#[async_trait]
impl FileServer for Shared {
    async fn look(&self, path: &str) -> Result<Option<Look>> {
        let path = path.to_owned();
        match self.ask(move |server| server.status(&path)).await {
            Ok(look) => Ok(Some(look)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn folder(&self, path: &str) -> Result<Box<dyn Folder>> {
        let path = path.to_owned();
        let many = self.ask(move |server| server.json::<Many>(&path, "LISTSTATUS")).await?;
        let named = many.file_statuses.file_status.into_iter().map(|status| Named {
            look: status.look(),
            // What a link leads to is not said.
            is_exact: status.kind != "SYMLINK",
            name: status.path_suffix,
        });
        Ok(Box::new(Names::of(named.collect())))
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Look,
        into: &mut BytesMut,
    ) -> Result<()> {
        let (path, expected) = (path.to_owned(), expected.clone());
        let read = self.ask(move |server| {
            let mut data = Vec::new();
            let result = server.bytes(&path, range, &expected, &mut data);
            Ok((data, result))
        });
        let (data, result) = read.await?;
        into.extend_from_slice(&data);
        result
    }

    async fn create(&self, _: &str) -> Result<()> {
        read_only()
    }

    async fn write(&self, _: &str, _: u64, _: &Bytes) -> Result<()> {
        read_only()
    }

    async fn sync(&self, _: &str) -> Result<()> {
        read_only()
    }

    async fn replace(&self, _: &str, _: &str) -> Result<()> {
        read_only()
    }

    async fn remove(&self, _: &str) -> Result<()> {
        read_only()
    }

    async fn make_folder(&self, _: &str) -> Result<()> {
        read_only()
    }
}

//! A small server for one folder of static files.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use tidemill_core::{Error, ErrorKind, Result};

/// What every reply says. The pages hold no inline script or style and ask nobody else for anything.
const SECURITY: [(&str, &str); 6] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// A folder whose files may be read, and nothing else.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    /// The names under which it may be asked for; empty for any.
    hosts: Vec<String>,
}

/// What is answered.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The content.
    pub body: Vec<u8>,
}

impl Folder {
    /// A folder with an `index.html`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(root: &Path) -> Result<Folder> {
        let found = root.canonicalize().ok().filter(|root| root.join("index.html").is_file());
        let root = found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "there is no documentation here yet: run `tidemill docs generate`",
            )
            .with("folder", root.display())
        })?;
        Ok(Folder { root, hosts: Vec::new() })
    }

    /// Answers only to these names (without ports), so that a page of somebody else that has its own name
    /// lead to this machine reads nothing.
    #[must_use]
    pub fn only_for<'a>(mut self, hosts: impl IntoIterator<Item = &'a str>) -> Folder {
        self.hosts = hosts.into_iter().map(str::to_ascii_lowercase).collect();
        self
    }

    /// The answer to a request: its method, its target as it came, and two of its header fields.
    pub fn reply(&self, method: &str, target: &str, host: &str, if_none_match: &str) -> Reply {
        if !self.hosts.is_empty() && !self.hosts.contains(&host_name(host)) {
            return Reply::text(421, "this name is not served here");
        }
        if !matches!(method, "GET" | "HEAD") {
            let mut reply = Reply::text(405, "only GET and HEAD");
            reply.headers.push(("Allow", "GET, HEAD".to_owned()));
            return reply;
        }
        let Some(content) = self.find(target).and_then(|path| {
            let content = fs::read(&path).ok()?;
            Some((content_type(&path), content))
        }) else {
            return Reply::text(404, "not found");
        };
        let (kind, body) = content;
        let tag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..32]);
        let mut headers = vec![("ETag", tag.clone()), ("Cache-Control", "no-cache".to_owned())];
        headers.extend(SECURITY.map(|(name, value)| (name, value.to_owned())));
        let known = if_none_match
            .split(',')
            .map(|other| other.trim().trim_start_matches("W/"))
            .any(|other| other == "*" || other == tag);
        if known {
            return Reply { status: 304, headers, body: Vec::new() };
        }
        headers.push(("Content-Type", kind.to_owned()));
        Reply { status: 200, headers, body }
    }

    /// The file that a target means, if it is one below the folder.
    fn find(&self, target: &str) -> Option<PathBuf> {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let mut found = self.root.clone();
        for segment in path.strip_prefix('/')?.split('/') {
            let segment = decoded(segment)?;
            // Hidden files, steps upwards, and what other systems take for a separator or a drive.
            if segment.starts_with('.') || segment.contains(['/', '\\', ':', '\0']) {
                return None;
            }
            found.push(segment);
        }
        if found.is_dir() {
            found.push("index.html");
        }
        // A link may lead out of the folder.
        let found = found.canonicalize().ok()?;
        (found.starts_with(&self.root) && found.is_file()).then_some(found)
    }
}

impl Reply {
    fn text(status: u16, text: &str) -> Reply {
        let mut headers = vec![("Content-Type", "text/plain; charset=utf-8".to_owned())];
        headers.extend(SECURITY.map(|(name, value)| (name, value.to_owned())));
        Reply { status, headers, body: format!("{text}\n").into_bytes() }
    }

    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }
}

/// `localhost` of `LOCALHOST:8080`, `[::1]` of `[::1]:8080`.
fn host_name(host: &str) -> String {
    let end = match host.rfind(']') {
        Some(end) => end + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    host[..end].to_ascii_lowercase()
}

fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "txt" | "md" | "sql" | "csv" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// A server that listens.
pub struct Server {
    http: tiny_http::Server,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("address", &self.http.server_addr()).finish()
    }
}

impl Server {
    /// Listens on an address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn bind(host: &str, port: u16) -> Result<Server> {
        let http = tiny_http::Server::http((host, port)).map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "cannot listen on {host}:{port}; another program may have the port: try --port"
                ),
            )
            .because(error)
        })?;
        Ok(Server { http })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.http.server_addr().to_ip().map_or(0, |address| address.port())
    }

    /// Answers requests, one after the other, until [`Server::stop`].
    pub fn serve(&self, folder: &Folder) {
        // A connection that breaks is the reader's affair; the end of the queue is `stop`.
        while let Ok(mut request) = self.http.recv() {
            let field = |name: &str| {
                let wanted = |field: &&tiny_http::Header| {
                    field.field.as_str().as_str().eq_ignore_ascii_case(name)
                };
                request
                    .headers()
                    .iter()
                    .find(wanted)
                    .map(|field| field.value.as_str().to_owned())
                    .unwrap_or_default()
            };
            let (host, known) = (field("Host"), field("If-None-Match"));
            let reply = folder.reply(request.method().as_str(), request.url(), &host, &known);
            let mut response =
                tiny_http::Response::from_data(reply.body).with_status_code(reply.status);
            for (name, value) in &reply.headers {
                if let Ok(header) = tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes())
                {
                    response.add_header(header);
                }
            }
            // What is sent along is not read: at most a little, to be able to answer.
            let _ = std::io::copy(&mut request.as_reader().take(4096), &mut std::io::sink());
            let _ = request.respond(response);
        }
    }

    /// Ends [`Server::serve`], from another thread.
    pub fn stop(&self) {
        self.http.unblock();
    }
}

//! Requests: who asks, how often, what is repeated, and where they may go.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use flate2::read::MultiGzDecoder;
use tidemill_core::{Cancellation, ConnectContext, Error, ErrorKind, Result, Secret, scrub};
use tidemill_objects::guarded_agent;
use tokio::runtime::Handle;
use ureq::Agent;
use ureq::http::{HeaderMap, Request as HttpRequest};
use url::Url;

use super::auth::{Auth, Grant, RefreshToken};
use super::settings::{RestConfig, Written};
use crate::records::{Document, Raw};

/// How often a request is repeated that fails.
const TRIES: u32 = 6;

/// How often it is repeated when the API says that it was asked too often.
const PATIENCE: u32 = 30;

/// The largest reply.
const LARGEST: u64 = 256 << 20;

/// How much of a reply an error shows.
const SHOWN: usize = 300;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// Its JSON; what is left of it has no body.
    pub(super) fn document(mut self) -> Result<(Document, Reply)> {
        let document = Document::parse(std::mem::take(&mut self.body)).map_err(|reason| {
            Error::new(ErrorKind::Data, format!("the reply is not JSON: {reason}"))
        })?;
        Ok((document, self))
    }

    /// Its JSON as a value.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::new(ErrorKind::Data, "the reply is not the JSON that was asked for")
                .because(error)
        })
    }

    /// The start of it, on one line and without secrets, for messages.
    fn excerpt(&self) -> String {
        let text =
            String::from_utf8_lossy(&self.body[..self.body.len().min(4 * SHOWN)]).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = scrub(&words.join(" ")).into_owned();
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

/// When the next request may be made, for all that use one connection.
#[derive(Debug, Default)]
struct Pace(Mutex<Option<Instant>>);

/// By project and connection, so that all tables of a run keep one pace.
static PACES: LazyLock<Mutex<Paces>> = LazyLock::new(Mutex::default);

type Paces = HashMap<(PathBuf, String), Arc<Pace>>;

/// The one who asks.
pub(crate) struct Client {
    agent: Agent,
    pub(super) base: Url,
    headers: Vec<(String, String)>,
    params: Vec<(String, String)>,
    auth: Auth,
    pace: Arc<Pace>,
    interval: Option<Duration>,
    max_wait: Duration,
    private: bool,
    handle: Handle,
    /// What the user should know of the logins.
    said: Mutex<Vec<String>>,
}

impl Client {
    /// With its secrets; nothing is asked yet.
    pub(crate) fn new(
        config: &RestConfig,
        context: &ConnectContext,
        handle: Handle,
    ) -> Result<Client> {
        let project = &context.project;
        let written =
            |(name, value): (&String, &Written)| Ok((name.clone(), value.resolve(project)?));
        let interval = match config.max_requests_per_second {
            None => None,
            Some(rate) if rate > 0.0 && rate.is_finite() => {
                Some(Duration::from_secs_f64(1.0 / rate))
            }
            Some(_) => {
                let message = "`max_requests_per_second` must be larger than 0";
                return Err(Error::new(ErrorKind::Config, message));
            }
        };
        let key = (project.clone(), context.name.clone());
        let pace =
            PACES.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        let timeout = config.timeout.map_or(Duration::from_secs(60), |span| span.0);
        Ok(Client {
            agent: guarded_agent(config.allow_private_addresses, timeout),
            base: base(&config.url)?,
            headers: config.headers.iter().map(written).collect::<Result<_>>()?,
            params: config.params.iter().map(written).collect::<Result<_>>()?,
            auth: Auth::new(&config.auth, project)?,
            pace,
            interval,
            max_wait: config.max_wait.map_or(Duration::from_secs(600), |span| span.0),
            private: config.allow_private_addresses,
            handle,
            said: Mutex::default(),
        })
    }

    /// What the user should know of the logins that were made.
    pub(super) fn said(self) -> Vec<String> {
        self.said.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of a path below the API's, or of an address that a reply gives.
    ///
    /// # Errors
    /// Kind `Denied` when it is on another host: what is known of this one must not go there.
    pub(crate) fn address(&self, path: &str) -> Result<Url> {
        let whole = path.contains("://");
        // `./`: a path such as `items:search` is no scheme.
        let url = if whole { Url::parse(path) } else { self.base.join(&format!("./{path}")) };
        let url = url.map_err(|error| {
            Error::new(ErrorKind::Config, "an endpoint's path makes no address")
                .with("path", path)
                .because(error)
        })?;
        if url.origin() != self.base.origin() {
            return Err(Error::new(
                ErrorKind::Denied,
                "the address is on another host than the connection's `url`; requests, and the \
                 credentials in them, go to that host alone",
            )
            .with("host", url.host_str().unwrap_or_default())
            .with("url", &self.base));
        }
        Ok(url)
    }

    /// Asks, and again where that may help. Gives replies of any status that asking again would not
    /// change.
    pub(crate) fn send(&self, request: &Request, cancel: &Cancellation) -> Result<Reply> {
        let (mut tries, mut limits, mut renewed) = (0, 0, false);
        let mut request = request.clone();
        let mut redirects = 0;
        loop {
            cancel.check()?;
            self.keep_pace(cancel)?;
            let reply = match self.once(&request, cancel) {
                Ok(reply) => reply,
                Err(error) if error.kind().is_retryable() && tries + 1 < TRIES => {
                    tries += 1;
                    self.pause(backoff(tries), cancel)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match reply.status {
                401 if !renewed && self.auth.renew() => renewed = true,
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    self.follow(&mut request, &reply, redirects)?;
                }
                403 | 429 if is_limit(&reply) && limits < PATIENCE => {
                    limits += 1;
                    let wait = asked_wait(&reply).unwrap_or_else(|| backoff(limits.min(8)));
                    if wait > self.max_wait {
                        return Err(Error::new(
                            ErrorKind::Unavailable,
                            format!(
                                "the API was asked too often and wants no request for {} s, which is \
                                 longer than `max_wait` ({} s)",
                                wait.as_secs(),
                                self.max_wait.as_secs()
                            ),
                        )
                        .with("request", shown(&request)));
                    }
                    tracing::info!(seconds = wait.as_secs(), "the API wants a pause");
                    self.pause(wait, cancel)?;
                }
                408 | 500 | 502 | 503 | 504 if tries + 1 < TRIES => {
                    tries += 1;
                    let wait = asked_wait(&reply).unwrap_or_default().max(backoff(tries));
                    self.pause(wait.min(self.max_wait), cancel)?;
                }
                _ => return Ok(reply),
            }
        }
    }

    /// What a reply means that is not one of success.
    pub(crate) fn refusal(&self, request: &Request, reply: &Reply) -> Error {
        let (kind, what) = match reply.status {
            401 => {
                (ErrorKind::Denied, "the API does not accept the login (`auth` of the connection)")
            }
            403 => (ErrorKind::Denied, "the API does not allow the request"),
            404 | 410 => (ErrorKind::NotFound, "the API has no such endpoint"),
            429 => (ErrorKind::Unavailable, "the API was asked too often, again and again"),
            300..=399 => (ErrorKind::Unavailable, "the API sends elsewhere, without an address"),
            400..=499 => (ErrorKind::Config, "the API refuses the request"),
            _ => (ErrorKind::Unavailable, "the API fails"),
        };
        let error = Error::new(kind, format!("{what} (status {})", reply.status))
            .with("request", shown(request));
        match reply.excerpt() {
            text if text.is_empty() => error,
            text => error.with("reply", text),
        }
    }

    /// Waits until the connection's pace allows a request.
    fn keep_pace(&self, cancel: &Cancellation) -> Result<()> {
        let Some(interval) = self.interval else { return Ok(()) };
        let mine = {
            let mut next = self.pace.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let mine = next.map_or(now, |next| next.max(now));
            *next = Some(mine + interval);
            mine
        };
        self.pause(mine.saturating_duration_since(Instant::now()), cancel)
    }

    fn pause(&self, wait: Duration, cancel: &Cancellation) -> Result<()> {
        if !wait.is_zero() {
            self.handle.block_on(async {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = cancel.cancelled() => {}
                }
            });
        }
        cancel.check()
    }

    fn once(&self, request: &Request, cancel: &Cancellation) -> Result<Reply> {
        let mut url = request.url.clone();
        let mut headers = Vec::new();
        match &self.auth {
            Auth::None | Auth::Signed(_) => {}
            Auth::Header(name, value) => headers.push((name.clone(), value.clone())),
            Auth::Query(name, value) => set_params(&mut url, &[(name.clone(), value.clone())]),
            Auth::Token(grant) => {
                let token = self.token(grant, cancel)?;
                headers.push(("authorization".to_owned(), format!("Bearer {}", token.expose())));
            }
        }
        // What stands in the request itself goes before what holds for all.
        let known: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        let further: Vec<(String, String)> =
            self.params.iter().filter(|(name, _)| !known.contains(name)).cloned().collect();
        for (name, value) in further {
            url.query_pairs_mut().append_pair(&name, &value);
        }
        headers.extend(self.headers.iter().cloned());
        headers.extend(request.headers.iter().cloned());
        if let Auth::Signed(signer) = &self.auth {
            headers.extend(signer.headers(request.method, &url, request.body.as_deref())?);
        }
        self.exchange(request.method, &url, &headers, request.body.as_deref())
            .map_err(|error| error.with("request", shown(request)))
    }

    /// One request, as it is.
    fn exchange(
        &self,
        method: &str,
        url: &Url,
        headers: &[(String, String)],
        body: Option<&str>,
    ) -> Result<Reply> {
        if !self.private && is_named_private(url) {
            return Err(private(url.host_str().unwrap_or_default()));
        }
        let mut request = HttpRequest::builder()
            .method(method)
            .uri(url.as_str())
            .header("accept-encoding", "gzip");
        let has = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !has("accept") {
            request = request.header("accept", "application/json");
        }
        if body.is_some() && !has("content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let malformed = |error: ureq::http::Error| {
            Error::new(ErrorKind::Config, "a request cannot be made of these settings")
                .because(error)
        };
        let reply = match body {
            Some(body) => self.agent.run(request.body(body.to_owned()).map_err(malformed)?),
            None => self.agent.run(request.body(()).map_err(malformed)?),
        };
        let reply = reply.map_err(|error| unreachable(error, url))?;
        let status = reply.status().as_u16();
        let headers = reply.headers().clone();
        let zipped = headers
            .get("content-encoding")
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.eq_ignore_ascii_case("gzip"));
        // Twice the limit is never reached by a reply that fits, zipped or not.
        let reader = reply.into_body().into_with_config().limit(2 * LARGEST).reader();
        let mut data = Vec::new();
        let read = match zipped {
            true => MultiGzDecoder::new(reader).take(LARGEST + 1).read_to_end(&mut data),
            false => reader.take(LARGEST + 1).read_to_end(&mut data),
        };
        read.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the reply of the API broke off").because(error)
        })?;
        if data.len() as u64 > LARGEST {
            return Err(Error::new(
                ErrorKind::Resources,
                format!("a reply is larger than {} MiB; ask for smaller pages", LARGEST >> 20),
            ));
        }
        Ok(Reply { status, headers, body: data })
    }

    /// Goes where the API sends, on its own host alone.
    fn follow(&self, request: &mut Request, reply: &Reply, redirects: u32) -> Result<()> {
        let Some(location) = reply.header("location") else {
            return Err(self.refusal(request, reply));
        };
        if redirects > 10 {
            let message = "the API sends from one address to another, more than ten times";
            return Err(Error::new(ErrorKind::Unavailable, message).with("request", shown(request)));
        }
        let url = request.url.join(location).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the API sends to what is no address").because(error)
        })?;
        request.url = self.address(url.as_str())?;
        if request.method == "POST" && matches!(reply.status, 301..=303) {
            request.method = "GET";
            request.body = None;
        }
        Ok(())
    }

    /// A token that holds for another minute at least.
    fn token(&self, grant: &Grant, cancel: &Cancellation) -> Result<Secret> {
        let mut kept = grant.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, until)) = &*kept
            && until.is_none_or(|until| until > Instant::now() + Duration::from_secs(60))
        {
            return Ok(token.clone());
        }
        // Held until a token that replaces it is kept.
        let refresh = grant.refresh.as_ref().map(RefreshToken::take).transpose()?;
        let form = grant.form(refresh.as_ref().map(|held| &held.token));
        let mut tries = 0;
        let reply = loop {
            tries += 1;
            let reply = self.exchange("POST", &grant.url, &grant.headers, Some(&form));
            match reply {
                Ok(reply) if reply.status < 500 && reply.status != 429 => break reply,
                Ok(reply) if tries >= TRIES => break reply,
                Err(error) if tries >= TRIES || !error.kind().is_retryable() => return Err(error),
                _ => self.pause(backoff(tries), cancel)?,
            }
        };
        let status = reply.status;
        let document = reply.document().ok().map(|(document, _)| document);
        let root = document.as_ref().map(Document::root);
        let field = |name: &str| root.and_then(|root| root.member(name)).and_then(Raw::plain);
        let Some(token) = field("access_token").map(Secret::new) else {
            // What the server says of the mistake (RFC 6749, 5.2); the rest may hold secrets.
            let why = [field("error"), field("error_description")];
            let why: Vec<String> = why.into_iter().flatten().collect();
            return Err(Error::new(
                ErrorKind::Denied,
                format!("no token was given (status {status}) {}", scrub(&why.join(": "))),
            )
            .with("token_url", &grant.url));
        };
        if let (Some(source), Some(held), Some(new)) =
            (&grant.refresh, refresh, field("refresh_token").map(Secret::new))
        {
            let said = held.replaced(source, new);
            self.said.lock().unwrap_or_else(PoisonError::into_inner).extend(said);
        }
        let seconds: Option<u64> = field("expires_in").and_then(|seconds| seconds.parse().ok());
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        *kept = Some((token.clone(), until));
        Ok(token)
    }
}

/// The address that endpoints are below.
fn base(written: &str) -> Result<Url> {
    let wrong = |why: &str| Error::new(ErrorKind::Config, why).with("url", written);
    let mut base = Url::parse(written)
        .map_err(|error| wrong("`url` of the connection is not an address").because(error))?;
    if !matches!(base.scheme(), "http" | "https") || base.query().is_some() {
        return Err(wrong(
            "`url` of the connection must begin with https:// or http:// and have no `?`",
        ));
    }
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    Ok(base)
}

/// What a message shows of a request: no parameters, which may be secret.
pub(super) fn shown(request: &Request) -> String {
    format!("{} {}", request.method, &request.url[..url::Position::AfterPath])
}

/// Sets parameters of an address, in the place of others with their names.
pub(super) fn set_params(url: &mut Url, params: &[(String, String)]) {
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !params.iter().any(|(new, _)| new == name))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(kept.iter().chain(params));
    if url.query() == Some("") {
        url.set_query(None);
    }
}

/// `localhost`, and addresses in numbers: a proxy would resolve them for itself.
fn is_named_private(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => !tidemill_objects::is_public(address.into()),
        Some(url::Host::Ipv6(address)) => !tidemill_objects::is_public(address.into()),
        Some(url::Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        None => true,
    }
}

fn private(host: &str) -> Error {
    Error::new(
        ErrorKind::Denied,
        "the address is one of this machine or of a private network; `allow_private_addresses: true` at \
         the connection allows it",
    )
    .with("host", host)
}

fn unreachable(error: ureq::Error, url: &Url) -> Error {
    match &error {
        ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied => {
            private(url.host_str().unwrap_or_default())
        }
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::HostNotFound
        | ureq::Error::Protocol(_) => {
            Error::new(ErrorKind::Unavailable, "the API cannot be reached").because(error)
        }
        _ => Error::new(ErrorKind::Config, "the request cannot be made").because(error),
    }
}

/// A pause that grows, somewhere between a half and the whole of it, so that many do not come at once.
fn backoff(tries: u32) -> Duration {
    let whole = 500u64.saturating_mul(2u64.saturating_pow(tries.saturating_sub(1))).min(60_000);
    Duration::from_millis(fastrand::u64(whole / 2..=whole))
}

/// Whether a reply says that the API was asked too often.
fn is_limit(reply: &Reply) -> bool {
    reply.status == 429
        || reply.header("retry-after").is_some()
        || ["x-ratelimit-remaining", "ratelimit-remaining"]
            .iter()
            .any(|name| reply.header(name) == Some("0"))
}

/// How long it wants to be left alone: `Retry-After` (RFC 9110), or the time at which a limit ends.
fn asked_wait(reply: &Reply) -> Option<Duration> {
    if let Some(text) = reply.header("retry-after") {
        if let Ok(seconds) = text.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds.max(0.0)).ok();
        }
        let until = DateTime::parse_from_rfc2822(text).ok()?;
        return Some((until.to_utc() - Utc::now()).to_std().unwrap_or_default());
    }
    let reset = ["x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset"]
        .iter()
        .find_map(|name| reply.header(name)?.parse::<f64>().ok())?;
    // A small number is a number of seconds, a large one a moment.
    let seconds = if reset > 1e9 { reset - Utc::now().timestamp() as f64 + 1.0 } else { reset };
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

//! The documents of a collection, to a file on disk.

use std::collections::BTreeMap;
use std::path::Path;

use mongodb::bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use mongodb::error::{Error as Failure, ErrorKind as FailureKind};
use mongodb::options::{Collation, FindOptions, ReadPreference};
use mongodb::{Client, ClientSession, Cursor, Database, SessionCursor};
use tidemill_core::{Cancellation, Error, ErrorKind, Notice, Result};

use super::filter::{self, Kind};
use super::json::{text_of, write_document};
use super::settings::{CollectionSettings, MongoConfig};
use crate::records::{Document as Record, Spool, Spooled, rows};
use crate::stream::blocking;
use crate::tables::{CursorValue, RESTART};

/// Documents go to disk when they have so many bytes.
pub(super) const BATCH_BYTES: usize = 4 << 20;

/// A failure of the server or the way to it as one of ours.
pub(super) fn failure(failed: Failure, what: &str) -> Error {
    let kind = match &*failed.kind {
        FailureKind::Authentication { .. } => ErrorKind::Denied,
        FailureKind::Command(command) => match command.code {
            // Unauthorized, AuthenticationFailed.
            13 | 18 => ErrorKind::Denied,
            26 => ErrorKind::NotFound,
            // Interrupted, lost, or no primary: errors that a driver would try again.
            6 | 7 | 43 | 89 | 91 | 175 | 189 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436 => {
                ErrorKind::Unavailable
            }
            50 => ErrorKind::Resources,
            _ => ErrorKind::Query,
        },
        FailureKind::Io(_)
        | FailureKind::ConnectionPoolCleared { .. }
        | FailureKind::ServerSelection { .. }
        | FailureKind::DnsResolve { .. } => ErrorKind::Unavailable,
        FailureKind::InvalidArgument { .. } | FailureKind::InvalidTlsConfig { .. } => {
            ErrorKind::Config
        }
        _ => ErrorKind::Query,
    };
    let said = tidemill_core::scrub(&failed.to_string()).into_owned();
    Error::new(kind, what).with("reason", said)
}

/// A server, and the database that is read.
pub(super) struct Server {
    client: Client,
    pub(super) database: Database,
}

impl Server {
    /// A client; the server is reached with the first request.
    pub(super) async fn connect(config: &MongoConfig, project: &Path) -> Result<Server> {
        let options = config.options(project).await?;
        let client = Client::with_options(options)
            .map_err(|error| failure(error, "the connection cannot be made of these settings"))?;
        let database = client.database(&config.database);
        Ok(Server { client, database })
    }

    /// Whether it can be reached, with this login.
    pub(super) async fn ping(&self) -> Result<()> {
        let answer = self.database.run_command(doc! {"ping": 1}).await;
        answer.map(drop).map_err(|error| failure(error, "the server cannot be reached"))
    }

    /// Whether all rows of a read can be of one state of the data: replica sets and sharded clusters of
    /// MongoDB 5.0 or later.
    async fn has_snapshots(&self) -> bool {
        let Ok(hello) = self.database.run_command(doc! {"hello": 1}).await else { return false };
        let version = hello.get("maxWireVersion").and_then(number).unwrap_or(0);
        let router = hello.get_str("msg").is_ok_and(|message| message == "isdbgrid");
        version >= 13 && (hello.contains_key("setName") || router)
    }

    /// The time of the cluster; `None` of a server that is alone.
    pub(super) async fn now(&self) -> Option<Timestamp> {
        let hello = self.database.run_command(doc! {"hello": 1}).await.ok()?;
        hello.get_timestamp("operationTime").ok()
    }

    /// # Errors
    /// Kind `NotFound`.
    pub(super) async fn check_collection(&self, name: &str) -> Result<()> {
        let listed = self.database.list_collection_names().filter(doc! {"name": name}).await;
        match listed {
            Ok(names) if names.iter().any(|known| known == name) => Ok(()),
            Ok(_) => Err(Error::new(ErrorKind::NotFound, "there is no such collection")
                .with("collection", format!("{}.{name}", self.database.name()))),
            // Who may read need not be allowed to list.
            Err(error) => match failure(error, "the collections cannot be listed") {
                error if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Query) => Ok(()),
                error => Err(error),
            },
        }
    }
}

fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

/// What is fetched.
pub(super) struct Fetch<'a> {
    pub(super) server: &'a Server,
    pub(super) collection: &'a str,
    pub(super) settings: &'a CollectionSettings,
    pub(super) cursor: Option<&'a str>,
    /// The value that is read from on.
    pub(super) since: Option<Bson>,
    /// What the values of the cursor were so far.
    pub(super) known: Option<Kind>,
    /// The primary alone is asked, whatever the address says.
    pub(super) primary: bool,
    pub(super) cancel: &'a Cancellation,
}

/// What was fetched.
pub(super) struct Fetched {
    pub(super) spooled: Spooled,
    /// What the values of the cursor are.
    pub(super) kind: Option<Kind>,
    /// The largest one, of a cursor of texts.
    pub(super) largest: Option<CursorValue>,
}

/// Why a read ended early.
enum Stopped {
    /// The server, and whether it had begun to answer.
    Server(Failure, bool),
    Ours(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Ours(error)
    }
}

impl Fetch<'_> {
    /// Fetches all documents, from the beginning again when the server is lost meanwhile.
    pub(super) async fn run(&self) -> Result<Fetched> {
        self.server.check_collection(self.collection).await?;
        let mut snapshot = match self.settings.snapshot {
            Some(wanted) => wanted,
            None => self.server.has_snapshots().await,
        };
        let mut notices = Vec::new();
        let mut waits = RESTART.iter();
        loop {
            let sheet = match self.once(snapshot).await {
                Ok(sheet) => sheet,
                Err(Stopped::Ours(error)) => return Err(error),
                Err(Stopped::Server(failed, begun)) => {
                    if snapshot && self.settings.snapshot.is_none() && lost_snapshot(&failed) {
                        snapshot = false;
                        notices.push(self.no_snapshot());
                        continue;
                    }
                    let error = failure(failed, "the documents cannot be read")
                        .with("collection", self.collection);
                    match waits.next() {
                        Some(wait) if begun && error.kind() == ErrorKind::Unavailable => {
                            tokio::select! {
                                () = tokio::time::sleep(*wait) => {}
                                () = self.cancel.cancelled() => {}
                            }
                            self.cancel.check()?;
                            continue;
                        }
                        _ => return Err(error),
                    }
                }
            };
            return self.finish(sheet, notices);
        }
    }

    fn no_snapshot(&self) -> Notice {
        Notice {
            code: "read-again".to_owned(),
            message: format!(
                "the server did not keep the state of `{}` for as long as it takes to read it, so it was read \
                 while it may have changed",
                self.collection
            ),
            object: Some(self.collection.to_owned()),
        }
    }

    fn finish(&self, sheet: Sheet, notices: Vec<Notice>) -> Result<Fetched> {
        if let Some(cursor) = self.cursor
            && sheet.documents > 0
            && sheet.kind.is_none()
            && self.known.is_none()
        {
            return Err(Error::new(
                ErrorKind::Config,
                format!("`cursor` names `{cursor}`, which no document has"),
            )
            .with("collection", self.collection)
            .with("help", "write the field as the documents have it; of what is nested, `include` makes a column"));
        }
        let largest = sheet.largest.map(CursorValue::Text);
        let mut spooled = sheet.spool.finish()?;
        spooled.notices = notices;
        Ok(Fetched { spooled, kind: sheet.kind.or(self.known), largest })
    }

    /// The field of documents that the cursor is.
    fn field(&self) -> Result<Option<String>> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        match (self.settings.include.get(cursor), &self.settings.expand) {
            (Some(from), _) => Ok(Some(from.trim_start_matches("record.").to_owned())),
            (None, None) => Ok(Some(cursor.to_owned())),
            (None, Some(_)) => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`cursor: {cursor}` must be a field of the document with `expand`: write `include: \
                     {{{cursor}: record.{cursor}}}`"
                ),
            )),
        }
    }

    async fn once(&self, snapshot: bool) -> Result<Sheet, Stopped> {
        let field = self.field()?;
        let mut filter = self.settings.document("filter", &self.settings.filter)?;
        let mut collation = None;
        if let (Some(field), Some(since), Some(kind)) = (&field, &self.since, self.known) {
            filter = filter::newer(filter, field, since, kind);
            // Texts are compared by their bytes, whatever the collection says.
            collation = (kind == Kind::Text).then(|| Collation::builder().locale("simple").build());
        }
        let projection = self.settings.document("projection", &self.settings.projection)?;
        let mut options = FindOptions::default();
        options.batch_size = self.settings.batch_rows;
        options.projection = (!projection.is_empty()).then_some(projection);
        options.collation = collation;
        options.selection_criteria = self.primary.then(|| ReadPreference::Primary.into());
        let collection = self.server.database.collection::<Document>(self.collection);
        let early = |failed| Stopped::Server(failed, false);
        let mut source = match snapshot {
            false => {
                let found = collection.find(filter).with_options(options).await;
                Rows::Plain(Box::new(found.map_err(early)?))
            }
            true => {
                let session = self.server.client.start_session().snapshot(true).await;
                let mut session = session.map_err(early)?;
                let cursor = collection.find(filter).with_options(options).session(&mut session);
                let cursor = cursor.await.map_err(early)?;
                Rows::InSession(Box::new((cursor, session)))
            }
        };
        let mut sheet = Sheet::new(self, field)?;
        let mut waiting = Vec::new();
        let mut bytes = 0;
        loop {
            let next = tokio::select! {
                next = source.next() => next.map_err(|failed| Stopped::Server(failed, true))?,
                () = self.cancel.cancelled() => None,
            };
            self.cancel.check()?;
            let ended = next.is_none();
            if let Some(document) = next {
                bytes += document.as_bytes().len();
                waiting.push(document);
            }
            if ended || bytes >= BATCH_BYTES {
                let documents = std::mem::take(&mut waiting);
                bytes = 0;
                sheet = blocking(move || sheet.take(&documents)).await?;
            }
            if ended {
                return Ok(sheet);
            }
        }
    }
}

/// Puts the rows of a document on disk.
pub(super) fn put(
    document: &Document,
    expand: Option<&str>,
    include: &BTreeMap<String, String>,
    spool: &mut Spool,
) -> Result<()> {
    let mut text = Vec::new();
    write_document(document, &mut text);
    let record = Record::parse(text).map_err(|reason| {
        Error::new(ErrorKind::Internal, "a document of the collection cannot be read")
            .with("reason", reason)
    })?;
    rows(record.root(), expand, include, &[], spool)
}

/// Whether the server does not have the state of the data (any more): `SnapshotTooOld`,
/// `SnapshotUnavailable`, and what servers say that have none.
fn lost_snapshot(failed: &Failure) -> bool {
    match &*failed.kind {
        FailureKind::Command(command) => matches!(command.code, 20 | 72 | 123 | 239 | 246 | 263),
        FailureKind::SessionsNotSupported => true,
        _ => false,
    }
}

/// Documents that come one after the other.
enum Rows {
    Plain(Box<Cursor<Document>>),
    InSession(Box<(SessionCursor<Document>, ClientSession)>),
}

impl Rows {
    async fn next(&mut self) -> Result<Option<RawDocumentBuf>, Failure> {
        match self {
            Rows::Plain(cursor) => Ok(cursor.advance().await?.then(|| cursor.current().to_owned())),
            Rows::InSession(both) => {
                let (cursor, session) = both.as_mut();
                let more = cursor.advance(session).await?;
                Ok(more.then(|| cursor.current().to_owned()))
            }
        }
    }
}

/// What was fetched so far.
struct Sheet {
    spool: Spool,
    expand: Option<String>,
    include: BTreeMap<String, String>,
    cursor: Option<String>,
    known: Option<Kind>,
    kind: Option<Kind>,
    /// The largest text.
    largest: Option<String>,
    documents: u64,
}

impl Sheet {
    fn new(fetch: &Fetch<'_>, cursor: Option<String>) -> Result<Sheet> {
        Ok(Sheet {
            spool: Spool::new()?,
            expand: fetch.settings.expand.clone(),
            include: fetch.settings.include.clone(),
            cursor,
            known: fetch.known,
            kind: None,
            largest: None,
            documents: 0,
        })
    }

    fn take(mut self, documents: &[RawDocumentBuf]) -> Result<Sheet> {
        for raw in documents {
            let damaged = "a document of the collection cannot be read";
            let document = Document::try_from(raw)
                .map_err(|error| Error::new(ErrorKind::Data, damaged).because(error))?;
            self.look(&document)?;
            self.documents += 1;
            put(&document, self.expand.as_deref(), &self.include, &mut self.spool)?;
        }
        Ok(self)
    }

    /// Looks at the cursor of a document.
    fn look(&mut self, document: &Document) -> Result<()> {
        let Some(cursor) = &self.cursor else { return Ok(()) };
        let Some(value) = filter::at(document, cursor) else { return Ok(()) };
        let kind = Kind::of(value).map_err(|what| {
            Error::new(
                ErrorKind::Config,
                format!(
                    "`cursor: {cursor}` has {what} in some documents; a cursor's values must be whole numbers, \
                     times, texts or ObjectIds"
                ),
            )
        })?;
        let Some(kind) = kind else { return Ok(()) };
        if let Some(before) = self.kind.or(self.known).filter(|before| *before != kind) {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "`cursor: {cursor}` has values of several kinds ({}, {}), which MongoDB does not compare; \
                     leave those of one kind out with `filter`, or use another cursor",
                    before.name(),
                    kind.name()
                ),
            ));
        }
        self.kind = Some(kind);
        if kind.is_text()
            && let Some(text) = text_of(value)
            && self.largest.as_ref().is_none_or(|largest| *largest < text)
        {
            self.largest = Some(text);
        }
        Ok(())
    }
}

//! The log of changes of a collection (a change stream): `mode: cdc`.
//!
//! A place in it is a resume token. The first load asks for the token of now, reads all documents, and ends at that
//! token; each later one takes the events behind the token of before, up to the time of the cluster when it began.
//! What happened between the token and the documents comes again with the next load, which does no harm: an event has
//! its whole document, and the last one of an `_id` counts. All reads go to the primary, as a secondary may lag behind
//! a token that another server gave.
//!
//! Of an update the server looks the document up when the event is read, so that it may be a later state than that
//! of the event; the event of that later state follows. A document that is gone by then has no state, and the event of
//! its end follows as well.
//!
//! Sources: "Change Streams" and "Change Events" of MongoDB's manual; the drivers' specification of change streams.

use std::time::{Duration, Instant};

use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType, ResumeToken};
use mongodb::error::{Error as Failure, ErrorKind as FailureKind};
use mongodb::options::{ChangeStreamOptions, FullDocumentType, ReadPreference};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidemill_core::{Cancellation, Error, ErrorKind, Notice, Result, ResultExt, changes};

use super::fetch::{BATCH_BYTES, Fetch, Server, failure, put};
use super::settings::CollectionSettings;
use crate::records::{Kind, Spool, Spooled};
use crate::stream::blocking;
use crate::tables::OnLoss;

/// How long the server waits for an event at the end of its log.
const WAIT: Duration = Duration::from_millis(200);

/// How long it may give neither events nor a later token, behind which the read ends where it is.
const SILENCE: Duration = Duration::from_secs(10);

/// The position of a collection without events moves on when it is older by so many seconds.
const IDLE: i64 = 60;

type Event = ChangeStreamEvent<RawDocumentBuf>;

/// The place in the log that a position has.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    token: ResumeToken,
}

/// What was read.
pub(super) struct Followed {
    pub(super) spooled: Spooled,
    /// The place at which the next read begins.
    pub(super) log: Value,
    /// All rows of before go.
    pub(super) truncates: bool,
}

/// Why events were not read.
enum Stopped {
    /// The server does not have all of them.
    Lost(String),
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Failed(error)
    }
}

/// A read of the log, or of all documents where there is no place in it yet.
pub(super) struct Follow<'a> {
    pub(super) server: &'a Server,
    pub(super) collection: &'a str,
    pub(super) settings: &'a CollectionSettings,
    pub(super) key: &'a [String],
    /// Where the last load ended.
    pub(super) before: Option<&'a Value>,
    pub(super) cancel: &'a Cancellation,
}

impl Follow<'_> {
    /// # Errors
    /// Kind `Config` for settings that do not go with a log, `Data` where changes are lost.
    pub(super) async fn run(&self) -> Result<Followed> {
        self.check()?;
        let Some(before) = self.before else { return self.snapshot(None).await };
        let place: Place = serde_json::from_value(before.clone())
            .or_error(ErrorKind::Data, "the position of the last load cannot be read")?;
        match self.events(place.token, before).await {
            Ok(followed) => Ok(followed),
            Err(Stopped::Failed(error)) => Err(error),
            Err(Stopped::Lost(reason)) => match self.settings.on_slot_loss {
                OnLoss::Fail => Err(Error::new(
                    ErrorKind::Data,
                    format!("changes of `{}` are lost: {reason}", self.collection),
                )
                .with(
                    "help",
                    "--full-refresh reads the collection again as a whole; `on_slot_loss: snapshot` does so by itself",
                )),
                OnLoss::Snapshot => self.snapshot(Some(reason)).await,
            },
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        if self.settings.expand.is_some() {
            return wrong(
                "`mode: cdc` follows documents; the elements of `expand` have no key of their own. Read the child \
                 table with another `mode`, or unnest the list in a model",
            );
        }
        if self.settings.filter.is_some() {
            return wrong(
                "`mode: cdc` follows the whole collection, as a document that no longer meets a `filter` gives no \
                 event; choose in a model",
            );
        }
        match self.key {
            [key] if key == "_id" => {}
            _ => {
                return wrong(
                    "`mode: cdc` of a collection needs `primary_key: [_id]`: of a document that is deleted the log \
                     has nothing else",
                );
            }
        }
        self.pipeline().map(drop)
    }

    /// Reads all documents, from a place in the log that is taken before.
    async fn snapshot(&self, lost: Option<String>) -> Result<Followed> {
        let mut stream = self.watch(None).await.map_err(|stopped| match stopped {
            Stopped::Failed(error) => error,
            Stopped::Lost(reason) => Error::new(ErrorKind::Query, reason),
        })?;
        let mut token = stream.resume_token();
        if token.is_none() {
            // Events came at once: the documents are read behind them, and have what they say.
            let said = stream.next_if_any().await;
            said.map_err(|failed| self.failed(failed))?;
            token = stream.resume_token();
        }
        let Some(token) = token else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the server gives no places in its log of changes; `mode: cdc` needs MongoDB 4.2 or later",
            ));
        };
        drop(stream);
        let fetch = Fetch {
            server: self.server,
            collection: self.collection,
            settings: self.settings,
            cursor: None,
            since: None,
            known: None,
            primary: true,
            cancel: self.cancel,
        };
        let mut spooled = fetch.run().await?.spooled;
        let truncates = lost.is_some();
        let (code, message) = match lost {
            Some(reason) => ("read-again", format!("is read again as a whole: {reason}")),
            None => ("followed-log", "is followed by its change stream from now on".to_owned()),
        };
        let object = Some(self.collection.to_owned());
        spooled.notices.push(Notice { code: code.to_owned(), message, object });
        Ok(Followed { spooled, log: log_of(&token)?, truncates })
    }

    /// Reads the events behind a place.
    async fn events(&self, token: ResumeToken, before: &Value) -> Result<Followed, Stopped> {
        let until = self.server.now().await;
        let mut taken = Taken { spool: Spool::of_changes()?, truncates: false };
        let mut at = token;
        let mut stream = self.watch(Some(&at)).await?;
        let mut waiting = Vec::new();
        let mut bytes = 0;
        let mut moved = Instant::now();
        loop {
            let next = tokio::select! {
                next = stream.next_if_any() => next.map_err(|failed| self.stopped(failed))?,
                () = self.cancel.cancelled() => None,
            };
            self.cancel.check()?;
            let token = stream.resume_token();
            let Some(event) = next else {
                let later = token.filter(|token| *token != at);
                let stays = later.is_none();
                at = later.unwrap_or(at);
                if !stays {
                    moved = Instant::now();
                }
                // An empty answer may come before the end, where the log has much of others.
                if !stream.is_alive() || is_reached(&at, until) || moved.elapsed() > SILENCE {
                    break;
                }
                continue;
            };
            if event.cluster_time.zip(until).is_some_and(|(time, until)| time > until) {
                break;
            }
            moved = Instant::now();
            at = token.unwrap_or_else(|| event.id.clone());
            match event.operation_type {
                OperationType::Rename => {
                    return Err(Stopped::Lost(
                        "the collection was renamed, or another one took its name".to_owned(),
                    ));
                }
                OperationType::Drop | OperationType::DropDatabase => {
                    waiting.clear();
                    bytes = 0;
                    taken = Taken { spool: Spool::of_changes()?, truncates: true };
                }
                // The stream ends with the collection; one that has its name by now begins behind it.
                OperationType::Invalidate => stream = self.watch(Some(&at)).await?,
                _ => {
                    bytes += event.full_document.as_ref().map_or(0, |it| it.as_bytes().len()) + 64;
                    waiting.push(event);
                }
            }
            if bytes >= BATCH_BYTES {
                bytes = 0;
                taken = self.take(taken, &mut waiting).await?;
            }
        }
        let taken = self.take(taken, &mut waiting).await?;
        if taken.truncates {
            self.server.check_collection(self.collection).await.map_err(|error| {
                error.with(
                    "help",
                    "it was dropped; the rows stay as they are until it is there again, or the table is not declared \
                     any more",
                )
            })?;
        }
        // Nothing happened to the collection: the position stays, so that nothing is to be recorded.
        let idle = taken.spool.records() == 0 && !taken.truncates;
        let log = log_of(&at)?;
        let log = match idle && !is_older(before, &log) {
            true => before.clone(),
            false => log,
        };
        Ok(Followed { spooled: taken.spool.finish()?, log, truncates: taken.truncates })
    }

    /// Puts what events say on disk.
    async fn take(&self, mut taken: Taken, waiting: &mut Vec<Event>) -> Result<Taken> {
        let events = std::mem::take(waiting);
        let include = self.settings.include.clone();
        blocking(move || {
            for event in events {
                let what = match event.operation_type {
                    OperationType::Insert => changes::INSERT,
                    OperationType::Update | OperationType::Replace => changes::UPDATE,
                    OperationType::Delete => changes::DELETE,
                    // Of indexes, for one.
                    _ => continue,
                };
                let at = event.wall_time.map(|time| time.timestamp_millis().saturating_mul(1000));
                let at = at.or_else(|| event.cluster_time.map(|it| i64::from(it.time) * 1_000_000));
                match (what, event.full_document, event.document_key) {
                    (changes::DELETE, _, Some(key)) => {
                        let id = key.get("_id").cloned().unwrap_or(Bson::Null);
                        put(&doc! {"_id": id}, None, &Default::default(), &mut taken.spool)?;
                    }
                    (changes::DELETE, _, None) => {
                        let message = "the log does not say which document was deleted";
                        return Err(Error::new(ErrorKind::Data, message));
                    }
                    (_, Some(document), _) => {
                        let document = Document::try_from(&document).or_error(
                            ErrorKind::Data,
                            "a document of the log of changes cannot be read",
                        )?;
                        put(&document, None, &include, &mut taken.spool)?;
                    }
                    // It is gone by now, and that follows.
                    (_, None, _) => continue,
                }
                taken.spool.is(Kind { what, at })?;
            }
            Ok(taken)
        })
        .await
    }

    async fn watch(&self, after: Option<&ResumeToken>) -> Result<ChangeStream<Event>, Stopped> {
        let collection: Collection<RawDocumentBuf> =
            self.server.database.collection(self.collection);
        let mut options = ChangeStreamOptions::default();
        options.full_document = Some(FullDocumentType::UpdateLookup);
        // Also behind the end of a collection, which other places are not.
        options.start_after = after.cloned();
        options.max_await_time = Some(WAIT);
        options.batch_size = self.settings.batch_rows;
        options.selection_criteria = Some(ReadPreference::Primary.into());
        let stream = collection.watch().pipeline(self.pipeline()?).with_options(options);
        stream.await.map_err(|failed| self.stopped(failed))
    }

    /// The stages by which events have the chosen fields alone.
    fn pipeline(&self) -> Result<Vec<Document>> {
        let projection = self.settings.document("projection", &self.settings.projection)?;
        if projection.is_empty() {
            return Ok(Vec::new());
        }
        let leaves_out = |value: &Bson| match value {
            Bson::Boolean(value) => !value,
            Bson::Int32(number) => *number == 0,
            Bson::Int64(number) => *number == 0,
            Bson::Double(number) => *number == 0.0,
            _ => false,
        };
        if projection.get("_id").is_some_and(leaves_out) {
            return Err(Error::new(
                ErrorKind::Config,
                "`projection` leaves `_id` out, which `mode: cdc` needs as the key",
            ));
        }
        let chooses = projection.iter().any(|(_, value)| !leaves_out(value));
        let mut stage = match chooses {
            false => Document::new(),
            true => doc! {
                "operationType": 1, "ns": 1, "to": 1, "documentKey": 1, "clusterTime": 1, "wallTime": 1,
                "fullDocument._id": 1,
            },
        };
        for (field, value) in projection {
            stage.insert(format!("fullDocument.{field}"), value);
        }
        Ok(vec![doc! {"$project": stage}])
    }

    fn stopped(&self, failed: Failure) -> Stopped {
        match lost(&failed) {
            Some(reason) => Stopped::Lost(reason),
            None => Stopped::Failed(self.failed(failed)),
        }
    }

    fn failed(&self, failed: Failure) -> Error {
        let code = match &*failed.kind {
            FailureKind::Command(command) => command.code,
            _ => 0,
        };
        let error =
            failure(failed, "the change stream cannot be read").with("collection", self.collection);
        match code {
            // Location40573: The $changeStream stage is only supported on replica sets.
            40573 => error.with(
                "help",
                "change streams need a replica set (one of a single server is enough) or a sharded cluster; `mode: \
                 merge` with a `cursor` needs none",
            ),
            // CommandNotSupportedOnView, BSONObjectTooLarge.
            166 => error.with("help", "a view has no changes; follow its collection"),
            10334 => error.with(
                "help",
                "the event of a document is larger than 16 MB; leave large fields out with `projection`",
            ),
            _ => error,
        }
    }
}

/// Events on disk.
struct Taken {
    spool: Spool,
    truncates: bool,
}

/// Why the server does not have the events behind a place, if that is what it says:
/// `CappedPositionLost`, `InvalidResumeToken`, `ChangeStreamFatalError`, `ChangeStreamHistoryLost`.
fn lost(failed: &Failure) -> Option<String> {
    match &*failed.kind {
        FailureKind::Command(command) if matches!(command.code, 136 | 260 | 280 | 286) => {
            Some(format!("the server says: {}", tidemill_core::scrub(&command.message)))
        }
        _ => None,
    }
}

fn log_of(token: &ResumeToken) -> Result<Value> {
    let place = Place { token: token.clone() };
    serde_json::to_value(place).or_error(ErrorKind::Internal, "a position could not be written")
}

/// The time that a token has: it begins with the type of a timestamp, and its bytes, in hex.
fn time_of(log: &Value) -> Option<Timestamp> {
    let text = log.pointer("/token/_data")?.as_str()?;
    let number = |from: usize| u32::from_str_radix(text.get(from..from + 8)?, 16).ok();
    match text.get(..2)? {
        "82" => Some(Timestamp { time: number(2)?, increment: number(10)? }),
        _ => None,
    }
}

/// Whether everything up to that time was read. Of a token that does not say its time it is.
fn is_reached(token: &ResumeToken, until: Option<Timestamp>) -> bool {
    let time = json!({"token": token});
    time_of(&time).zip(until).is_none_or(|(time, until)| time >= until)
}

/// Whether the first place is older than one may stay that others moved on from.
fn is_older(before: &Value, now: &Value) -> bool {
    let times = time_of(before).zip(time_of(now));
    times.is_none_or(|(before, now)| i64::from(now.time) - i64::from(before.time) >= IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(data: &str) -> Value {
        json!({"token": {"_data": data}})
    }

    #[test]
    fn tokens_say_their_time() {
        let of = token("8265D1A2B3000000022B0429296E1404");
        let time = Timestamp { time: 0x65D1_A2B3, increment: 2 };
        assert_eq!(time_of(&of), Some(time));
        let place: Place = serde_json::from_value(of.clone()).unwrap();
        assert_eq!(log_of(&place.token).unwrap(), of);
        assert!(is_reached(&place.token, Some(time)));
        assert!(!is_reached(&place.token, Some(Timestamp { increment: 3, ..time })));
        assert!(is_reached(&place.token, None));
        assert_eq!(time_of(&token("zz")), None);
        assert!(is_older(&of, &token("8265D1A2F3000000022B")));
        assert!(!is_older(&of, &token("8265D1A2C3000000022B")));
    }
}

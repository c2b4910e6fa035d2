//! Messages that are published and whose acknowledgement is not certain, so that they are known when they
//! come again.
//!
//! A queue that forgets a message once it is acknowledged is told so after the message is published. If
//! that is not heard, or the process ends between, the message comes again, marked as one that was delivered
//! before. The position holds a digest of each message of the loads of which this may happen.
//!
//! A message that has a name of its own (an id of its sender) is known by it. One without is known by
//! everything it consists of; two such messages that are equal may both be meant. So they are taken for those
//! of a load only if *all* of that load without names come again, as they do together: they were
//! acknowledged together, or not at all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};
use xxhash_rust::xxh3::xxh3_64;

/// The name in a position.
const BATCHES: &str = "unsettled";

/// How long a message may take to come again, in seconds: a server notices that a client is gone after
/// minutes, and takes from one that holds messages too long after half an hour.
const REMEMBERED: i64 = 3600;

/// How many batches are noted as acknowledged.
const NOTED: usize = 16;

/// What a message is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    digest: u64,
    named: bool,
}

impl Mark {
    /// Of everything that a message consists of; `named` if no other has the same.
    pub(crate) fn of<'a>(named: bool, parts: impl IntoIterator<Item = &'a [u8]>) -> Mark {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Mark { digest: xxh3_64(&bytes), named }
    }

    /// The digest.
    pub(crate) fn number(self) -> u64 {
        self.digest
    }
}

/// The messages that a load has in hand.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// No other batch has the same.
    pub(crate) id: String,
    named: Vec<u64>,
    plain: Vec<u64>,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        let id = format!("{:016x}", fastrand::u64(..));
        Batch { id, named: Vec::new(), plain: Vec::new() }
    }

    pub(crate) fn add(&mut self, mark: Mark) {
        match mark.named {
            true => self.named.push(mark.digest),
            false => self.plain.push(mark.digest),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.named.len() + self.plain.len()
    }
}

/// A batch as a position has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Written {
    id: String,
    /// When it was published, in seconds since 1970.
    at: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    named: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    plain: String,
}

/// The batches of earlier loads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unsettled(Vec<Old>);

#[derive(Debug, Clone)]
struct Old {
    id: String,
    at: i64,
    named: HashMap<u64, u32>,
    plain: HashMap<u64, u32>,
    /// How many without a name there were, and how many of them came again.
    all: usize,
    came: usize,
}

impl Unsettled {
    /// Those of a position, without those that are acknowledged for certain.
    ///
    /// # Errors
    /// Kind `Data`.
    pub(crate) fn read(
        last: Option<&Map<String, Value>>,
        acknowledged: &Acknowledged,
        now: i64,
    ) -> Result<Unsettled> {
        let malformed = "the position of the last load is not one of this queue";
        let Some(written) = last.and_then(|last| last.get(BATCHES)) else {
            return Ok(Unsettled::default());
        };
        let written: Vec<Written> =
            serde_json::from_value(written.clone()).or_error(ErrorKind::Data, malformed)?;
        let done = acknowledged.ids();
        let mut batches = Vec::new();
        for batch in written {
            if done.contains(&batch.id) || now - batch.at > REMEMBERED {
                continue;
            }
            let plain = unpacked(&batch.plain).or_error(ErrorKind::Data, malformed)?;
            let named = unpacked(&batch.named).or_error(ErrorKind::Data, malformed)?;
            batches.push(Old {
                id: batch.id,
                at: batch.at,
                all: plain.len(),
                came: 0,
                named: counted(named),
                plain: counted(plain),
            });
        }
        Ok(Unsettled(batches))
    }

    /// The id of the batch that a position was published with.
    pub(crate) fn last_id(position: &Value) -> Option<&str> {
        position.get(BATCHES)?.as_array()?.last()?.get("id")?.as_str()
    }

    /// Whether a message that was delivered before is one of these. It is then one less.
    pub(crate) fn recognise(&mut self, mark: Mark) -> bool {
        for old in &mut self.0 {
            let marks = if mark.named { &mut old.named } else { &mut old.plain };
            let Some(count) = marks.get_mut(&mark.digest) else { continue };
            *count -= 1;
            if *count == 0 {
                marks.remove(&mark.digest);
            }
            old.came += usize::from(!mark.named);
            return true;
        }
        false
    }

    /// Whether a part of a batch came that only comes as a whole.
    pub(crate) fn is_torn(&self) -> bool {
        self.0.iter().any(|old| old.came > 0 && old.came < old.all)
    }

    /// Messages without names are new ones, whatever they are equal to.
    pub(crate) fn forget_plain(&mut self) {
        for old in &mut self.0 {
            old.plain.clear();
            (old.all, old.came) = (0, 0);
        }
    }

    /// What may still come again, and the batch of this load, into a position.
    ///
    /// # Errors
    /// Kind `Internal`.
    pub(crate) fn write(
        self,
        batch: &Batch,
        now: i64,
        position: &mut Map<String, Value>,
    ) -> Result<()> {
        let rest = |marks: HashMap<u64, u32>| {
            let each = marks.into_iter();
            let mut all: Vec<u64> = each
                .flat_map(|(digest, count)| std::iter::repeat_n(digest, count as usize))
                .collect();
            all.sort_unstable();
            packed(&all)
        };
        let left = self.0.into_iter().filter(|old| !old.named.is_empty() || !old.plain.is_empty());
        let mut written: Vec<Written> = left
            .map(|old| Written {
                id: old.id,
                at: old.at,
                named: rest(old.named),
                plain: rest(old.plain),
            })
            .collect();
        if batch.len() > 0 {
            written.push(Written {
                id: batch.id.clone(),
                at: now,
                named: packed(&batch.named),
                plain: packed(&batch.plain),
            });
        }
        if !written.is_empty() {
            let value = serde_json::to_value(written)
                .or_error(ErrorKind::Internal, "a position could not be written")?;
            position.insert(BATCHES.to_owned(), value);
        }
        Ok(())
    }
}

fn packed(digests: &[u64]) -> String {
    let bytes: Vec<u8> = digests.iter().flat_map(|digest| digest.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

fn unpacked(text: &str) -> Result<Vec<u64>, base64::DecodeError> {
    let bytes = STANDARD.decode(text)?;
    let digest = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
    Ok(bytes.chunks(8).map(digest).collect())
}

fn counted(digests: Vec<u64>) -> HashMap<u64, u32> {
    let mut counts = HashMap::with_capacity(digests.len());
    for digest in digests {
        *counts.entry(digest).or_default() += 1;
    }
    counts
}

/// A note on this machine of which batches are acknowledged for certain. Without it nothing is wrong:
/// messages are then taken for those of a batch somewhat longer.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged(PathBuf);

impl Acknowledged {
    /// The note of a table, by what tells it from others.
    pub(crate) fn new(project: &Path, connection: &str, object: &str) -> Acknowledged {
        let name = Mark::of(true, [connection.as_bytes(), object.as_bytes()]).digest;
        Acknowledged(project.join("target/acknowledged").join(format!("{name:016x}.json")))
    }

    fn list(&self) -> VecDeque<String> {
        let read = std::fs::read(&self.0).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn ids(&self) -> HashSet<String> {
        self.list().into_iter().collect()
    }

    /// Notes one more.
    pub(crate) fn add(&self, id: &str) {
        let mut list = self.list();
        list.push_back(id.to_owned());
        while list.len() > NOTED {
            list.pop_front();
        }
        let write = || {
            if let Some(folder) = self.0.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let beside = self.0.with_extension(format!("{:x}", fastrand::u64(..)));
            std::fs::write(&beside, serde_json::to_vec(&list)?)?;
            std::fs::rename(&beside, &self.0)
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "that messages are acknowledged could not be noted");
        }
    }
}

/// Now, in seconds since 1970.
pub(crate) fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

/// A load that would remove rows that cannot be read again.
///
/// # Errors
/// Kind `Config`.
pub(crate) fn refuse_refresh(request: &tidemill_core::ReadRequest, what: &str) -> Result<()> {
    match &request.superseded {
        None => Ok(()),
        Some(_) => Err(Error::new(
            ErrorKind::Config,
            format!(
                "--full-refresh would remove the rows of the table, and {what} gives a message once: they could \
                 not be read again"
            ),
        )
        .with("help", "load into a table of another name, or drop this one first")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(named: bool, text: &str) -> Mark {
        Mark::of(named, [text.as_bytes()])
    }

    fn batch(named: bool, texts: &[&str]) -> Batch {
        let mut batch = Batch::new();
        texts.iter().for_each(|text| batch.add(mark(named, text)));
        batch
    }

    fn nowhere() -> Acknowledged {
        Acknowledged(PathBuf::from("/nowhere/at/all"))
    }

    fn written(unsettled: Unsettled, batch: &Batch, now: i64) -> Map<String, Value> {
        let mut position = Map::new();
        unsettled.write(batch, now, &mut position).unwrap();
        position
    }

    fn read(position: &Map<String, Value>, now: i64) -> Unsettled {
        Unsettled::read(Some(position), &nowhere(), now).unwrap()
    }

    #[test]
    fn messages_with_a_name_are_known_one_by_one() {
        let position = written(Unsettled::default(), &batch(true, &["a", "b", "b"]), 100);
        let mut old = read(&position, 101);
        assert!(old.recognise(mark(true, "b")) && old.recognise(mark(true, "b")));
        assert!(!old.recognise(mark(true, "b")), "there were two");
        assert!(!old.recognise(mark(false, "a")), "it has no name");
        assert!(!old.is_torn());
        // What did not come may come later.
        let mut later = read(&written(old, &batch(true, &["c"]), 102), 103);
        assert!(later.recognise(mark(true, "a")) && later.recognise(mark(true, "c")));
    }

    #[test]
    fn messages_without_a_name_are_known_all_together() {
        let position = written(Unsettled::default(), &batch(false, &["a", "a", "b"]), 100);
        let mut old = read(&position, 101);
        for (text, torn) in [("a", true), ("b", true), ("a", false)] {
            assert!(old.recognise(mark(false, text)));
            assert_eq!(old.is_torn(), torn, "{text}");
        }
        assert!(!old.recognise(mark(false, "a")));
        assert!(written(old, &batch(false, &[]), 102).is_empty());
        let mut old = read(&position, 101);
        assert!(old.recognise(mark(false, "a")) && old.is_torn());
        old.forget_plain();
        assert!(!old.recognise(mark(false, "b")) && !old.is_torn());
        assert!(written(old, &Batch::new(), 102).is_empty());
    }

    #[test]
    fn what_is_acknowledged_or_old_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let note = Acknowledged::new(folder.path(), "mq", "orders");
        let first = batch(true, &["a"]);
        let position = written(Unsettled::default(), &first, 100);
        assert_eq!(Unsettled::last_id(&Value::Object(position.clone())), Some(first.id.as_str()));
        let known = |note: &Acknowledged, now| {
            Unsettled::read(Some(&position), note, now).unwrap().recognise(mark(true, "a"))
        };
        assert!(known(&note, 100) && !known(&note, 101 + REMEMBERED));
        for other in 0..NOTED {
            note.add(&other.to_string());
        }
        assert!(known(&note, 100));
        note.add(&first.id);
        assert!(!known(&note, 100));
        assert!(known(&Acknowledged::new(folder.path(), "mq", "others"), 100));
    }

    #[test]
    fn parts_of_a_message_do_not_run_into_each_other() {
        let of = |parts: &[&str]| Mark::of(false, parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(unpacked(&packed(&[0, 7, u64::MAX])).unwrap(), [0, 7, u64::MAX]);
    }
}

//! Changes of a log as batches: rows with their new values, and keys of rows that go.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Read};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Int8Array, Int32Builder, ListBuilder, RecordBatch,
    RecordBatchOptions, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field as Column, Schema};
use tempfile::SpooledTempFile;
use tidemill_core::{Error, ErrorKind, Result, ResultExt, changes};
use tokio_postgres::types::Type;
use xxhash_rust::xxh3::xxh3_128;

use super::super::columns::Described;
use super::message::{Field, Lsn, Message, Old, Relation, Tuple, parse};
use crate::postgres::{Decoder, Encoding};
use crate::tables::{Misfit, Part};

/// A batch ends with this many rows, or bytes of the log.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 2 << 20;

/// The changes of a table after a position, as the log has them, in a file where they are many.
///
/// Of a row whose values are stored apart and did not change the log has nothing of these. What was
/// said of it earlier in the same part of the log has them, and which rows that concerns is known only at
/// the end; so what the log gives is kept, and gone through a second time.
pub(super) struct Spool {
    file: SpooledTempFile,
    /// How many changes of rows.
    pub(super) changes: u64,
    /// Rows of which values are left out, by their key, and the last change (by its number, from 1 on) that
    /// asks for them: only until then they are kept.
    pub(super) unchanged: HashMap<u128, u64>,
}

/// Which transactions are new.
pub(super) struct New {
    /// Those that were committed before it are applied.
    pub(super) after: Lsn,
    /// Those that the first read saw are.
    pub(super) seen: Option<Seen>,
}

/// The transactions that a snapshot sees: `xmin:xmax:xip,…`.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    next: u64,
    running: HashSet<u64>,
}

impl Seen {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let read = || {
            let mut parts = text.splitn(3, ':');
            let (_, next, running) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
            let running = running.split(',').filter(|one| !one.is_empty());
            Some(Seen { next, running: running.map(str::parse).collect::<Result<_, _>>().ok()? })
        };
        read().ok_or_else(|| Error::new(ErrorKind::Data, format!("`{text}` is no snapshot")))
    }

    /// Whether it sees the transaction, of whose number the log has the lower half: the number is the
    /// one that is nearest to those of the snapshot.
    fn sees(&self, transaction: u32) -> bool {
        let base = self.next & !0xffff_ffff;
        let low = u64::from(transaction);
        let candidates = [base.checked_sub(1 << 32), Some(base), base.checked_add(1 << 32)];
        let number = candidates
            .into_iter()
            .flatten()
            .map(|base| base | low)
            .min_by_key(|number| number.abs_diff(self.next))
            .unwrap_or(low);
        number < self.next && !self.running.contains(&number)
    }
}

impl New {
    fn is_new(&self, commit: Lsn, transaction: u32) -> bool {
        commit >= self.after && !self.seen.as_ref().is_some_and(|seen| seen.sees(transaction))
    }
}

/// The table that is followed, and how its values are read.
pub(super) struct Target {
    /// Its number in the catalog.
    pub(super) number: Option<String>,
    /// What the log calls it.
    pub(super) schema: String,
    pub(super) name: String,
    /// Its columns that are wanted.
    pub(super) columns: Vec<Wanted>,
    /// Which of these are the key.
    pub(super) key: Vec<usize>,
    /// Each change is given, with what it is and when it was committed.
    pub(super) every_change: bool,
}

/// A column that is wanted.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) encoding: Encoding,
    kind: Type,
}

impl Wanted {
    pub(super) fn new(described: &Described, encoding: Encoding) -> Self {
        Wanted { name: described.name.clone(), encoding, kind: described.kind().clone() }
    }

    /// The text as a cast of the column writes it, where that is not what the log has.
    fn text(&self, text: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(text).ok()?;
        let address = |text: &str| match text {
            whole if whole.contains('/') || whole.eq_ignore_ascii_case("null") => whole.to_owned(),
            six if six.contains(':') => format!("{six}/128"),
            four => format!("{four}/32"),
        };
        match self.kind {
            Type::INET => Some(address(text).into_bytes()),
            Type::INET_ARRAY if !text.starts_with("{{") && text.len() > 2 => {
                let items = text.strip_prefix('{')?.strip_suffix('}')?.split(',').map(address);
                Some(format!("{{{}}}", items.collect::<Vec<_>>().join(",")).into_bytes())
            }
            // `-$1,234.50`: the digits are those of the declared scale.
            Type::MONEY if matches!(self.encoding, Encoding::Decimal { .. }) => {
                let Encoding::Decimal { scale, .. } = self.encoding else { return None };
                let mut digits: String = text.chars().filter(char::is_ascii_digit).collect();
                let behind = usize::try_from(scale).ok()?;
                while digits.len() <= behind {
                    digits.insert(0, '0');
                }
                if behind > 0 {
                    digits.insert(digits.len() - behind, '.');
                }
                if text.contains(['-', '(']) {
                    digits.insert(0, '-');
                }
                Some(digits.into_bytes())
            }
            _ => None,
        }
    }
}

/// Where the wanted columns stand in what the log calls a row.
#[derive(Default)]
struct Layouts(HashMap<u32, Vec<Option<usize>>>);

impl Layouts {
    fn note(&mut self, target: &Target, relation: &Relation) {
        if relation.schema != target.schema || relation.name != target.name {
            return;
        }
        let place = |wanted: &Wanted| relation.columns.iter().position(|name| *name == wanted.name);
        self.0.insert(relation.id, target.columns.iter().map(place).collect());
    }

    /// The wanted values of a row; a column that it did not have yet is NULL.
    fn values<'a>(&self, relation: u32, tuple: &Tuple<'a>) -> Option<Vec<Field<'a>>> {
        let places = self.0.get(&relation)?;
        let value = |place: &Option<usize>| {
            place.and_then(|at| tuple.get(at)).copied().unwrap_or(Field::Null)
        };
        Some(places.iter().map(value).collect())
    }
}

impl Target {
    /// The key of a row, as a hash.
    fn key(&self, values: &[Field<'_>]) -> u128 {
        let mut bytes = Vec::with_capacity(32);
        for at in &self.key {
            if let Field::Text(text) = values[*at] {
                bytes.extend(text.len().to_le_bytes());
                bytes.extend(text);
            } else {
                bytes.extend(usize::MAX.to_le_bytes());
            }
        }
        xxh3_128(&bytes)
    }
}

/// Takes what the log gives, message by message.
pub(super) struct Spooling<'a> {
    target: &'a Target,
    new: New,
    layouts: Layouts,
    wanted: bool,
    spool: Spool,
}

impl<'a> Spooling<'a> {
    /// From `memory` bytes on it goes to a file.
    pub(super) fn new(target: &'a Target, new: New, memory: usize) -> Self {
        let spool = Spool {
            file: tempfile::spooled_tempfile(memory),
            changes: 0,
            unchanged: HashMap::new(),
        };
        Spooling { target, new, layouts: Layouts::default(), wanted: false, spool }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let (target, layouts) = (self.target, &mut self.layouts);
        let keep = match parse(bytes)? {
            Message::Begin { commit, transaction, .. } => {
                self.wanted = self.new.is_new(commit, transaction);
                self.wanted && target.every_change
            }
            Message::Relation(relation) => {
                layouts.note(target, &relation);
                true
            }
            Message::Update { relation, old, new } if self.wanted => {
                let values = layouts.values(relation, &new);
                if let Some(values) = &values
                    && values.contains(&Field::Unchanged)
                {
                    let number = self.spool.changes + 1;
                    self.spool.unchanged.insert(target.key(values), number);
                    let before = old.and_then(|old| layouts.values(relation, old.fields()));
                    let before = before.map(|before| (target.key(&before), number));
                    self.spool.unchanged.extend(before);
                }
                values.is_some()
            }
            Message::Insert { relation, .. } | Message::Delete { relation, .. } => {
                self.wanted && layouts.0.contains_key(&relation)
            }
            Message::Truncate { relations } => {
                self.wanted && relations.iter().any(|relation| layouts.0.contains_key(relation))
            }
            Message::Update { .. } | Message::Commit { .. } | Message::Other => false,
        };
        if !keep {
            return Ok(());
        }
        if !matches!(bytes.first(), Some(b'R' | b'B')) {
            self.spool.changes += 1;
        }
        let length = u32::try_from(bytes.len())
            .or_error(ErrorKind::Resources, "a row has more than four gigabytes")?;
        use std::io::Write;
        let file = &mut self.spool.file;
        file.write_all(&length.to_le_bytes())
            .and_then(|()| file.write_all(bytes))
            .or_error(ErrorKind::Io, "the changes cannot be kept in a temporary file")
    }

    pub(super) fn finish(mut self) -> Result<Spool> {
        use std::io::Seek;
        self.spool.file.rewind().or_error(ErrorKind::Io, "a temporary file cannot be read")?;
        Ok(self.spool)
    }
}

/// What is known of a value of a row at some place of the log.
#[derive(Debug, Clone)]
enum Known {
    Value(Option<Vec<u8>>),
    /// It is that of the row with the key of before.
    Before,
}

/// A row of which values are left out somewhere, as it stands at some place of the log.
#[derive(Debug, Clone)]
struct Row {
    values: Vec<Known>,
    /// The key that it has in the table that is published.
    before: Vec<Option<Vec<u8>>>,
}

/// Gives the changes as batches.
pub(super) struct Batches<'a> {
    target: &'a Target,
    reader: BufReader<SpooledTempFile>,
    unchanged: HashMap<u128, u64>,
    /// The number of the change that is looked at.
    at: u64,
    layouts: Layouts,
    rows: HashMap<u128, Row>,
    build: Build<'a>,
    /// The table was emptied, which is to be said before the next batch.
    truncated: bool,
    message: Vec<u8>,
    ended: bool,
}

impl<'a> Batches<'a> {
    pub(super) fn new(target: &'a Target, spool: Spool) -> Self {
        Batches {
            target,
            reader: BufReader::with_capacity(1 << 18, spool.file),
            unchanged: spool.unchanged,
            at: 0,
            layouts: Layouts::default(),
            rows: HashMap::new(),
            build: Build::new(target),
            truncated: false,
            message: Vec::new(),
            ended: false,
        }
    }

    /// The next part; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Part>> {
        loop {
            if self.truncated {
                if let Some(before) = self.build.finish()? {
                    return Ok(Some(before));
                }
                self.truncated = false;
                return Ok(Some(Part::Truncated));
            }
            if self.ended || self.build.is_full() {
                return self.build.finish();
            }
            self.ended = !self.read()?;
            if !self.ended {
                let message = std::mem::take(&mut self.message);
                self.take(&message)?;
                self.message = message;
            }
        }
    }

    /// Reads a message; whether there was one.
    fn read(&mut self) -> Result<bool> {
        let failed = "a temporary file cannot be read";
        let mut length = [0; 4];
        match self.reader.read_exact(&mut length) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            done => done.or_error(ErrorKind::Io, failed)?,
        }
        self.message.resize(u32::from_le_bytes(length) as usize, 0);
        self.reader.read_exact(&mut self.message).or_error(ErrorKind::Io, failed)?;
        Ok(true)
    }

    fn take(&mut self, message: &[u8]) -> Result<()> {
        let parsed = parse(message)?;
        if !matches!(parsed, Message::Relation(_) | Message::Begin { .. }) {
            self.at += 1;
        }
        match parsed {
            Message::Relation(relation) => self.layouts.note(self.target, &relation),
            Message::Insert { relation, new } => {
                if let Some(values) = self.layouts.values(relation, &new) {
                    self.build.kind = changes::INSERT;
                    self.put(None, &values, None, message.len())?;
                }
            }
            Message::Update { relation, old, new } => {
                if let Some(values) = self.layouts.values(relation, &new) {
                    self.build.kind = changes::UPDATE;
                    let before =
                        old.as_ref().and_then(|old| self.layouts.values(relation, old.fields()));
                    let whole = before.as_deref().filter(|_| matches!(old, Some(Old::Row(_))));
                    self.put(before.as_deref(), &values, whole, message.len())?;
                }
            }
            Message::Delete { relation, old } => {
                if let Some(values) = self.layouts.values(relation, old.fields()) {
                    self.rows.remove(&self.target.key(&values));
                    self.build.remove(&values, message.len())?;
                }
            }
            Message::Truncate { .. } => {
                self.rows.clear();
                if !self.target.every_change {
                    self.build.clear();
                }
                self.truncated = true;
            }
            Message::Begin { at, .. } => self.build.committed = at,
            Message::Commit { .. } | Message::Other => {}
        }
        Ok(())
    }

    /// A row with new values. `before` has its key, when that may be another one; `whole` all its values
    /// of before, when the log has them.
    fn put(
        &mut self,
        before: Option<&[Field<'_>]>,
        values: &[Field<'_>],
        whole: Option<&[Field<'_>]>,
        bytes: usize,
    ) -> Result<()> {
        let key = self.target.key(values);
        let old_key = before.map_or(key, |before| self.target.key(before));
        if old_key != key
            && let Some(before) = before
        {
            self.build.remove(before, 0)?;
            // A row with another key is another row.
            self.build.kind = changes::INSERT;
        }
        let known = self.rows.remove(&old_key);
        // What is asked for no more is not kept.
        let asked = self.unchanged.get(&key).is_some_and(|last| *last > self.at);
        if !asked && !values.contains(&Field::Unchanged) {
            return self.build.add(values, None, bytes);
        }
        let owned = |field: &Field<'_>| match field {
            Field::Text(text) => Some(text.to_vec()),
            Field::Null | Field::Unchanged => None,
        };
        let keyed = before.unwrap_or(values);
        let mut row = Row {
            values: Vec::with_capacity(values.len()),
            before: match &known {
                Some(known) => known.before.clone(),
                None => self.target.key.iter().map(|at| owned(&keyed[*at])).collect(),
            },
        };
        for (at, value) in values.iter().enumerate() {
            let of_log = whole.map(|whole| &whole[at]).filter(|value| **value != Field::Unchanged);
            row.values.push(match (value, &known, of_log) {
                (Field::Unchanged, _, Some(value)) => Known::Value(owned(value)),
                (Field::Unchanged, Some(known), None) => known.values[at].clone(),
                (Field::Unchanged, None, None) => Known::Before,
                (value, _, _) => Known::Value(owned(value)),
            });
        }
        let filled: Vec<Field<'_>> = row
            .values
            .iter()
            .map(|value| match value {
                Known::Value(Some(text)) => Field::Text(text),
                Known::Value(None) => Field::Null,
                Known::Before => Field::Unchanged,
            })
            .collect();
        self.build.add(&filled, Some(&row.before), bytes)?;
        if asked {
            self.rows.insert(key, row);
        }
        Ok(())
    }
}

/// A batch under construction.
struct Build<'a> {
    target: &'a Target,
    decoders: Vec<Decoder>,
    gone: BooleanBuilder,
    kept: ListBuilder<Int32Builder>,
    before: Vec<Decoder>,
    has_kept: bool,
    /// What the rows that are added are, and what they and those that go were committed at.
    kind: i8,
    committed: i64,
    kinds: Vec<i8>,
    times: Vec<i64>,
    misfits: Vec<Misfit>,
    rows: usize,
    bytes: usize,
}

impl<'a> Build<'a> {
    fn new(target: &'a Target) -> Self {
        let decoder = |wanted: &Wanted| Decoder::new(&wanted.encoding);
        Build {
            target,
            decoders: target.columns.iter().map(decoder).collect(),
            gone: BooleanBuilder::new(),
            kept: ListBuilder::new(Int32Builder::new()),
            before: target.key.iter().map(|at| decoder(&target.columns[*at])).collect(),
            has_kept: false,
            kind: changes::UPDATE,
            committed: 0,
            kinds: Vec::new(),
            times: Vec::new(),
            misfits: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    fn clear(&mut self) {
        *self = Build::new(self.target);
    }

    fn push(&mut self, at: usize, value: Option<&[u8]>) -> Result<()> {
        let wanted = &self.target.columns[at];
        let changed = value.and_then(|text| wanted.text(text));
        let value = changed.as_deref().or(value);
        let Err(error) = self.decoders[at].push_text(value) else { return Ok(()) };
        if error.kind() != ErrorKind::Data {
            return Err(error.with("column", &wanted.name));
        }
        self.decoders[at].refuse();
        let kind = wanted.encoding.arrow();
        let reason = format!(
            "`{}` is a {kind}, and {}; declared as text (`data_type: text`) it has room",
            wanted.name,
            error.message()
        );
        self.misfits.push(Misfit { row: self.rows, reason });
        Ok(())
    }

    /// A row with its new values; of those that the log leaves out the row with the key `before` has them.
    fn add(
        &mut self,
        values: &[Field<'_>],
        before: Option<&[Option<Vec<u8>>]>,
        bytes: usize,
    ) -> Result<()> {
        for (at, value) in values.iter().enumerate() {
            let text = match value {
                Field::Text(text) => Some(*text),
                Field::Null => None,
                Field::Unchanged => {
                    self.kept.values().append_value(i32::try_from(at).unwrap_or(i32::MAX));
                    self.has_kept = true;
                    None
                }
            };
            self.push(at, text)?;
        }
        self.kept.append(true);
        for (number, at) in self.target.key.iter().enumerate() {
            let own = match values[*at] {
                Field::Text(text) => Some(text),
                Field::Null | Field::Unchanged => None,
            };
            let key = match before {
                Some(before) => before[number].as_deref(),
                None => own,
            };
            if self.before[number].push_text(key).is_err() {
                self.before[number].refuse();
            }
        }
        self.gone.append_value(false);
        self.note(self.kind);
        self.rows += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// A row that goes, by its key.
    fn remove(&mut self, values: &[Field<'_>], bytes: usize) -> Result<()> {
        for (at, value) in values.iter().enumerate() {
            let text = match value {
                Field::Text(text) if self.target.key.contains(&at) => Some(*text),
                _ => None,
            };
            self.push(at, text)?;
        }
        self.kept.append(true);
        for decoder in &mut self.before {
            decoder.refuse();
        }
        self.gone.append_value(true);
        self.note(changes::DELETE);
        self.rows += 1;
        self.bytes += bytes;
        Ok(())
    }

    fn note(&mut self, kind: i8) {
        if self.target.every_change {
            self.kinds.push(kind);
            self.times.push(self.committed);
        }
    }

    fn finish(&mut self) -> Result<Option<Part>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let mut fields = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (wanted, decoder) in self.target.columns.iter().zip(&mut self.decoders) {
            fields.push(Column::new(&wanted.name, wanted.encoding.arrow(), true));
            columns.push(decoder.finish());
        }
        fields.push(Column::new(changes::GONE, DataType::Boolean, false));
        columns.push(Arc::new(self.gone.finish()));
        if self.target.every_change {
            let kinds: ArrayRef = Arc::new(Int8Array::from(std::mem::take(&mut self.kinds)));
            let times = TimestampMicrosecondArray::from(std::mem::take(&mut self.times));
            let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
            fields.push(Column::new(changes::KIND, kinds.data_type().clone(), false));
            columns.push(kinds);
            fields.push(Column::new(changes::AT, times.data_type().clone(), false));
            columns.push(times);
        }
        let kept = self.kept.finish();
        let before: Vec<ArrayRef> = self.before.iter_mut().map(Decoder::finish).collect();
        if std::mem::take(&mut self.has_kept) {
            let kept: ArrayRef = Arc::new(kept);
            fields.push(Column::new(changes::KEPT, kept.data_type().clone(), true));
            columns.push(kept);
            for (number, column) in before.into_iter().enumerate() {
                fields.push(Column::new(changes::key(number), column.data_type().clone(), true));
                columns.push(column);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        let batch =
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
                .or_error(ErrorKind::Internal, "changes do not make a batch")?;
        Ok(Some(Part::Rows(batch, std::mem::take(&mut self.misfits))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sees_what_was_committed_before_it() {
        let seen = Seen::parse("100:110:103,107").unwrap();
        for (transaction, expected) in [
            (99, true),
            (103, false),
            (104, true),
            (107, false),
            (109, true),
            (110, false),
            (200, false),
        ] {
            assert_eq!(seen.sees(transaction), expected, "{transaction}");
        }
        // The numbers of the log begin again after four billions.
        let next = (5u64 << 32) + 10;
        let seen = Seen::parse(&format!("{next}:{next}:")).unwrap();
        assert!(seen.sees(9) && !seen.sees(10) && seen.sees(u32::MAX) && !seen.sees(1 << 20));
        assert!(Seen::parse("1:2").is_err());
    }
}

//! One read: files → changes.
//!
//! A reader thread opens the files in order and cuts them into blocks of whole records; workers
//! parse blocks; the coordinator puts them back in order, numbers the lines and hands batches on.
//! The number of blocks under way is limited, so memory does not grow with a file.
//!
//! When a value does not fit the type that was inferred from the samples, the pass goes on without
//! delivering: every further block is only surveyed. Then everything is known, the types are final,
//! and one restart delivers all rows under them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_core::{Cancellation, Change, Error, ErrorKind, Notice, Result, ResultExt};

use super::SampleContext;
use super::column::NullTokens;
use super::format::{Format, Scratch};
use super::infer::Formats;
use super::listing::FileEntry;
use super::position::{FilesPosition, LoadedFile, notice};
use super::settings::Resolved;
use super::target::Target;
use super::types::{Types, forgets_text};

/// How much of a rejected record is kept.
const RAW: usize = 64 << 10;

/// A record that could not be read.
#[derive(Debug)]
pub(crate) struct Reject {
    /// Counted from the start of the block.
    pub(crate) line: u32,
    pub(crate) reason: String,
    pub(crate) raw: String,
}

/// The start of a record as text.
pub(crate) fn raw_text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..RAW).unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a cutter gives.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Whole records.
    Block(Vec<u8>),
    /// A record that cannot even be cut out.
    Reject { reject: Reject, lines: usize },
    /// Lines without rows.
    Skipped { lines: usize },
    /// What comes next is on this line, counted from 1.
    At { line: u64 },
}

/// On which lines rows start, as runs of (first line, how many).
#[derive(Debug, Default)]
pub(crate) struct Lines {
    runs: Vec<(u32, u32)>,
}

impl Lines {
    pub(crate) fn push_run(&mut self, line: u32, rows: usize) {
        match self.runs.last_mut() {
            Some((first, count)) if *first + *count == line => *count += rows as u32,
            _ => self.runs.push((line, rows as u32)),
        }
    }

    fn numbers(&self, base: i64, rows: usize) -> Vec<i64> {
        let mut numbers = Vec::with_capacity(rows);
        for (first, count) in &self.runs {
            let first = base + i64::from(*first);
            numbers.extend(first..first + i64::from(*count));
        }
        numbers
    }
}

/// A block that was parsed.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) rows: usize,
    /// One for each column of the target.
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) lines: Lines,
    pub(crate) lines_read: u32,
    pub(crate) rejects: Vec<Reject>,
    /// Rows among `rows` that were rejected.
    pub(crate) bad_rows: BTreeSet<u32>,
    /// What the values showed beyond their types.
    pub(crate) seen: Types,
}

/// Buffers of blocks, used again and again. Taking one may wait.
pub(crate) struct Memory<'a> {
    stash: Vec<Vec<u8>>,
    source: &'a mut dyn FnMut() -> Vec<u8>,
}

impl<'a> Memory<'a> {
    pub(crate) fn new(source: &'a mut dyn FnMut() -> Vec<u8>) -> Self {
        Memory { stash: Vec::new(), source }
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.stash.pop().unwrap_or_else(|| (self.source)())
    }

    /// Gives back what was taken and not sent.
    pub(crate) fn put(&mut self, buffer: Vec<u8>) {
        self.stash.push(buffer);
    }
}

/// What happens in a pass, in the order of the files.
pub(crate) enum Event {
    Start(usize),
    Parsed(Parsed),
    Surveyed { types: Types, lines: u32 },
    Reject { reject: Reject, lines: usize },
    Skipped { lines: usize },
    At { line: u64 },
    Notice(Notice),
    End { hash: String, changed: bool },
    Failed(Error),
}

/// What the reader gives out.
pub(crate) enum Item {
    Event(Event),
    Block(usize, Vec<u8>),
}

/// A file of a read.
pub(crate) struct FileTask {
    pub(crate) entry: FileEntry,
    pub(crate) format: Format,
    /// What its sample showed.
    pub(crate) types: Types,
}

/// Everything that a read needs.
pub(crate) struct Load {
    pub(crate) settings: Resolved,
    pub(crate) formats: Arc<Formats>,
    pub(crate) nulls: NullTokens,
    pub(crate) context: SampleContext,
    pub(crate) files: Vec<FileTask>,
    /// Loaded files that can be read again, should a column become text: the table does not have
    /// what stood in them.
    pub(crate) again: Vec<FileEntry>,
    pub(crate) declared: Vec<Field>,
    /// The columns of the table that is there.
    pub(crate) known: Option<SchemaRef>,
    /// What earlier loads saw.
    pub(crate) base: Types,
    pub(crate) replaced: Vec<String>,
    pub(crate) position: FilesPosition,
    pub(crate) notices: Vec<Notice>,
    /// A file that changes while it is read fails the load rather than being left out.
    pub(crate) whole: bool,
    pub(crate) parallelism: usize,
    pub(crate) cancel: Cancellation,
}

/// Takes the changes. An error means that nobody listens any more.
pub(crate) type Emit<'a> = dyn FnMut(Change) -> Result<()> + 'a;

enum Pass {
    Done(Vec<FileResult>, Vec<Notice>),
    Widen(Types),
    Changed(usize),
}

#[derive(Clone)]
struct FileResult {
    hash: String,
    rows: u64,
    bare: u64,
}

impl Load {
    /// Reads everything and ends with a position.
    pub(crate) fn run(mut self, emit: &mut Emit<'_>) -> Result<()> {
        let mut types = self.sampled();
        let mut restart = false;
        loop {
            let mut target = Target::build(&types, &self)?;
            if self.read_again(&target, &mut types) {
                target = Target::build(&types, &self)?;
            }
            if types.is_empty() {
                // Empty files alone make no table.
            } else if restart {
                emit(Change::Restart(target.schema.clone()))?;
                self.emit_replaces(emit)?;
            } else {
                self.emit_replaces(emit)?;
                emit(Change::Schema(target.schema.clone()))?;
            }
            restart = true;
            match self.pass(&target, emit)? {
                Pass::Done(results, notices) => {
                    self.notices.extend(notices);
                    self.note_conversions(&target);
                    return self.finish(&types, results, emit);
                }
                Pass::Widen(seen) => {
                    let before = types.clone();
                    types.merge(&seen);
                    self.settle(&mut types);
                    if types == before {
                        return Err(Error::new(
                            ErrorKind::Internal,
                            "a value does not fit its column, and no type fits better",
                        ));
                    }
                }
                Pass::Changed(index) => {
                    let entry = self.files.remove(index).entry;
                    let message = "changed while it was read; it waits for the next load";
                    if self.whole {
                        return Err(Error::new(
                            ErrorKind::Unavailable,
                            format!("`{}` {message}, and nothing is loaded", entry.name),
                        ));
                    }
                    self.notices.push(notice("waiting-file", &entry.name, message));
                    self.replaced.retain(|name| *name != entry.name);
                    // What was seen in it must not count.
                    types = self.sampled();
                }
            }
        }
    }

    /// What earlier loads and the samples of all files showed.
    fn sampled(&self) -> Types {
        let mut types = self.base.clone();
        for file in &self.files {
            types.merge(&file.types);
        }
        self.settle(&mut types);
        types
    }

    fn settle(&self, types: &mut Types) {
        if self.files.iter().any(|file| matches!(file.format, Format::Xml(_))) {
            super::xml::settle(types, &self.base);
        }
    }

    /// The columns of the table that become text, though their values do not tell how they stood in
    /// the files: `1` was read from `1` or from `1.0`.
    fn becoming_text(&self, target: &Target) -> Vec<String> {
        let Some(known) = &self.known else { return Vec::new() };
        if !self.files.iter().any(|file| file.format.is_text()) {
            return Vec::new();
        }
        let fields = known.fields().iter();
        let forgets = fields.filter(|field| {
            let new = target.schema.field_with_name(field.name());
            new.is_ok_and(|new| forgets_text(field.data_type(), new.data_type()))
        });
        forgets.map(|field| field.name().clone()).collect()
    }

    /// When a column becomes text, the loaded files that are still there are read again, and their
    /// rows replaced, so that it has what stands in them. Says whether there are any.
    fn read_again(&mut self, target: &Target, types: &mut Types) -> bool {
        // Without the name of its file no row can be replaced.
        if self.again.is_empty() || self.settings.file_column.is_none() {
            return false;
        }
        let columns = self.becoming_text(target);
        if columns.is_empty() {
            return false;
        }
        let mut names = Vec::new();
        for entry in std::mem::take(&mut self.again) {
            // One that cannot be read any more is as good as gone.
            let sample = Format::sample(&entry, &self.settings, &self.declared, &self.context);
            let Ok((format, sampled)) = sample else { continue };
            if !format.is_text() {
                continue;
            }
            types.merge(&sampled);
            names.push(entry.name.clone());
            self.files.push(FileTask { entry, format, types: sampled });
        }
        self.files.sort_by(|left, right| left.entry.name.cmp(&right.entry.name));
        if names.is_empty() {
            return false;
        }
        self.notices.push(Notice {
            code: "read-again".to_owned(),
            message: format!(
                "{} text, so {} {} read again for what stands there",
                columns_become(&columns),
                some(&names),
                if names.len() == 1 { "is" } else { "are" }
            ),
            object: Some(columns.join(", ")),
        });
        self.replaced.extend(names);
        true
    }

    /// Says which rows are converted to text from what they became when they were loaded.
    fn note_conversions(&mut self, target: &Target) {
        let columns = self.becoming_text(target);
        if columns.is_empty() {
            return;
        }
        let kept: Vec<String> = self
            .position
            .files
            .iter()
            .filter(|(name, file)| {
                file.rows > 0 && !self.files.iter().any(|read| read.entry.name == **name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        let rows = match kept.as_slice() {
            [] if self.position.files.is_empty() => "the table".to_owned(),
            [] => return,
            names => some(names),
        };
        self.notices.push(Notice {
            code: "converted-column".to_owned(),
            message: format!(
                "{} text; values that came from {rows} are converted and may not look as they did \
                 there (`1` may be `1.0`); --full-refresh reads every file again",
                columns_become(&columns)
            ),
            object: Some(columns.join(", ")),
        });
    }

    fn emit_replaces(&self, emit: &mut Emit<'_>) -> Result<()> {
        match &self.settings.file_column {
            Some(column) if !self.replaced.is_empty() => {
                emit(Change::Replaces { column: column.clone(), values: self.replaced.clone() })
            }
            _ => Ok(()),
        }
    }

    fn finish(
        mut self,
        types: &Types,
        results: Vec<FileResult>,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let mut by_hash: BTreeMap<String, String> = self
            .position
            .files
            .iter()
            .map(|(name, file)| (file.hash.clone(), name.clone()))
            .collect();
        // Of a table of others its version says what was read.
        if self.position.delta.is_some() || self.position.iceberg.is_some() {
            self.files.clear();
        }
        for (file, result) in self.files.iter().zip(results) {
            let entry = &file.entry;
            if entry.stamp.size == 0 && !matches!(file.format, Format::File) {
                self.notices.push(notice("empty-file", &entry.name, "is empty"));
            } else {
                if result.bare > 0 {
                    let message = format!("has {} rows without a single column", result.bare);
                    self.notices.push(notice("empty-file", &entry.name, message));
                } else if result.rows == 0 {
                    self.notices.push(notice("empty-file", &entry.name, "has no rows"));
                }
                let known = self.position.files.get(&entry.name);
                let again = known.is_some_and(|known| known.hash == result.hash);
                let first = by_hash.get(&result.hash).filter(|first| **first != entry.name);
                if let Some(first) = first.filter(|_| !again) {
                    let message = format!("has the content of `{first}` and was loaded as well");
                    self.notices.push(notice("duplicate-content", &entry.name, message));
                }
                by_hash.entry(result.hash.clone()).or_insert_with(|| entry.name.clone());
            }
            self.position.files.insert(
                entry.name.clone(),
                LoadedFile {
                    size: entry.stamp.size,
                    modified: entry.stamp.modified,
                    hash: result.hash,
                    version: entry.place.version().map(str::to_owned),
                    rows: result.rows,
                },
            );
        }
        self.position.set_types(types);
        for notice in self.notices {
            emit(Change::Notice(notice))?;
        }
        emit(Change::Position(self.position.to_position()?))
    }

    /// Reads all files once under these columns.
    fn pass(&self, target: &Target, emit: &mut Emit<'_>) -> Result<Pass> {
        let bytes: u64 = self.files.iter().map(|file| file.entry.stamp.size).sum();
        let surveying = AtomicBool::new(false);
        let mut coordinator = Coordinator {
            load: self,
            target,
            surveying: &surveying,
            file: 0,
            line: 1,
            rows: 0,
            bare: 0,
            file_column: None,
            results: Vec::new(),
            notices: Vec::new(),
            seen: Types::default(),
        };
        // Threads cost more than they give on a small set.
        let outcome = if self.parallelism <= 1 || bytes < 1 << 20 {
            self.pass_alone(target, &mut coordinator, emit)?
        } else {
            self.pass_threaded(target, &mut coordinator, emit)?
        };
        if let Some(changed) = outcome {
            return Ok(Pass::Changed(changed));
        }
        if surveying.load(Ordering::Relaxed) {
            return Ok(Pass::Widen(coordinator.seen));
        }
        Ok(Pass::Done(coordinator.results, coordinator.notices))
    }

    fn scratch(&self) -> Scratch {
        Scratch::new(self.settings.written.names)
    }

    fn pass_alone(
        &self,
        target: &Target,
        coordinator: &mut Coordinator<'_>,
        emit: &mut Emit<'_>,
    ) -> Result<Option<usize>> {
        let mut scratch = self.scratch();
        let spare = std::cell::RefCell::new(Vec::new());
        let mut outcome = Ok(None);
        self.read_files(target, &mut || spare.take(), &mut |item| {
            let event = match item {
                Item::Event(event) => event,
                Item::Block(file, mut data) => {
                    let event =
                        self.work(file, &mut data, target, &mut scratch, coordinator.surveying);
                    spare.replace(data);
                    event
                }
            };
            outcome = coordinator.handle(event, emit);
            matches!(outcome, Ok(None))
        });
        outcome
    }

    fn pass_threaded(
        &self,
        target: &Target,
        coordinator: &mut Coordinator<'_>,
        emit: &mut Emit<'_>,
    ) -> Result<Option<usize>> {
        let workers = self.parallelism;
        let under_way = workers * 2 + 1;
        let surveying = coordinator.surveying;
        std::thread::scope(|scope| {
            // A token, with memory to use again, for each block under way.
            let (give_token, take_token) = sync_channel::<Vec<u8>>(under_way);
            for _ in 0..under_way {
                let _ = give_token.send(Vec::new());
            }
            let (give_work, take_work) = sync_channel::<(u64, usize, Vec<u8>)>(under_way);
            let take_work = Arc::new(Mutex::new(take_work));
            let (give_event, take_event) = sync_channel::<(u64, Event, Option<Vec<u8>>)>(64);
            for _ in 0..workers {
                let take_work = Arc::clone(&take_work);
                let give_event = give_event.clone();
                scope.spawn(move || {
                    let mut scratch = self.scratch();
                    while let Some((number, file, mut data)) = receive(&take_work) {
                        let event = self.work(file, &mut data, target, &mut scratch, surveying);
                        if give_event.send((number, event, Some(data))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(take_work);
            scope.spawn(move || self.number_items(target, &take_token, &give_work, &give_event));
            let mut waiting = BTreeMap::new();
            let mut next = 0u64;
            while let Ok((number, event, memory)) = take_event.recv() {
                waiting.insert(number, (event, memory));
                while let Some((event, memory)) = waiting.remove(&next) {
                    next += 1;
                    let outcome = coordinator.handle(event, emit)?;
                    if let Some(memory) = memory {
                        let _ = give_token.send(memory);
                    }
                    if outcome.is_some() {
                        return Ok(outcome);
                    }
                }
            }
            Ok(None)
            // Leaving drops both ends here; every thread then fails to send or receive, and ends.
        })
    }

    /// The reader's thread: gives each item its number and sends it where it belongs.
    fn number_items(
        &self,
        target: &Target,
        take_token: &Receiver<Vec<u8>>,
        give_work: &SyncSender<(u64, usize, Vec<u8>)>,
        give_event: &SyncSender<(u64, Event, Option<Vec<u8>>)>,
    ) {
        let mut number = 0;
        let gone = std::cell::Cell::new(false);
        let mut spare = || {
            take_token.recv().unwrap_or_else(|_| {
                gone.set(true);
                Vec::new()
            })
        };
        let mut send = |item| {
            let sent = match item {
                Item::Event(event) => give_event.send((number, event, None)).is_ok(),
                Item::Block(file, data) => give_work.send((number, file, data)).is_ok(),
            };
            number += 1;
            sent && !gone.get()
        };
        self.read_files(target, &mut spare, &mut send);
    }

    /// Opens the files one after the other and cuts them up. `send` says whether to go on.
    fn read_files(
        &self,
        target: &Target,
        spare: &mut dyn FnMut() -> Vec<u8>,
        send: &mut dyn FnMut(Item) -> bool,
    ) {
        let mut memory = Memory::new(spare);
        for (index, file) in self.files.iter().enumerate() {
            if !send(Item::Event(Event::Start(index))) {
                return;
            }
            let end = match self.read_file(index, file, target, &mut memory, send) {
                Ok(Some(end)) => end,
                Ok(None) => return,
                Err(error) => Event::Failed(error),
            };
            if !send(Item::Event(end)) {
                return;
            }
        }
    }

    /// `None` when nobody listens any more.
    fn read_file(
        &self,
        index: usize,
        file: &FileTask,
        target: &Target,
        memory: &mut Memory<'_>,
        send: &mut dyn FnMut(Item) -> bool,
    ) -> Result<Option<Event>> {
        let place = &file.entry.place;
        let changed = || place.stamp().map_or(true, |stamp| stamp != file.entry.stamp);
        if !place.is_steady() && changed() {
            return Ok(Some(Event::End { hash: String::new(), changed: true }));
        }
        let read = file.format.read(file, self, target, memory, &mut |item| {
            send(match item {
                super::format::Cut::Piece(Piece::Block(data)) => Item::Block(index, data),
                super::format::Cut::Piece(Piece::Reject { reject, lines }) => {
                    Item::Event(Event::Reject { reject, lines })
                }
                super::format::Cut::Piece(Piece::Skipped { lines }) => {
                    Item::Event(Event::Skipped { lines })
                }
                super::format::Cut::Piece(Piece::At { line }) => Item::Event(Event::At { line }),
                super::format::Cut::Notice(notice) => Item::Event(Event::Notice(notice)),
                super::format::Cut::Parsed(parsed) => Item::Event(Event::Parsed(parsed)),
            })
        });
        match read {
            // A file that is being written may look broken; that it changed is the better reason.
            Err(_) if changed() => Ok(Some(Event::End { hash: String::new(), changed: true })),
            Err(error) => Err(error),
            Ok(None) => Ok(None),
            Ok(Some(hash)) => {
                Ok(Some(Event::End { hash, changed: !place.is_steady() && changed() }))
            }
        }
    }

    /// Parses or surveys one block.
    fn work(
        &self,
        file: usize,
        data: &mut Vec<u8>,
        target: &Target,
        scratch: &mut Scratch,
        surveying: &AtomicBool,
    ) -> Event {
        let format = &self.files[file].format;
        if !surveying.load(Ordering::Relaxed) {
            match format.parse(data, self, target, scratch) {
                Ok(Some(parsed)) => return Event::Parsed(parsed),
                Ok(None) => surveying.store(true, Ordering::Relaxed),
                Err(error) => return Event::Failed(error),
            }
        }
        let (types, lines) = format.survey(data, self, target, scratch);
        Event::Surveyed { types, lines }
    }
}

/// `column `a` becomes`, `columns `a` and `b` become`.
fn columns_become(names: &[String]) -> String {
    match names {
        [one] => format!("column `{one}` becomes"),
        names => format!("columns {} become", some(names)),
    }
}

/// The first of these names, and how many there are beyond.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match (names.len() - shown.len(), shown.split_last()) {
        (0, Some((last, []))) => last.clone(),
        (0, Some((last, first))) => format!("{} and {last}", first.join(", ")),
        (more, _) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn receive<T>(queue: &Mutex<Receiver<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Puts the pieces together.
struct Coordinator<'a> {
    load: &'a Load,
    target: &'a Target,
    surveying: &'a AtomicBool,
    file: usize,
    /// The line that comes next in the file.
    line: i64,
    rows: u64,
    /// Rows of the file without any column.
    bare: u64,
    /// The file's name in many rows.
    file_column: Option<ArrayRef>,
    results: Vec<FileResult>,
    notices: Vec<Notice>,
    seen: Types,
}

impl Coordinator<'_> {
    /// Gives the file that changed while it was read, if one did.
    fn handle(&mut self, event: Event, emit: &mut Emit<'_>) -> Result<Option<usize>> {
        self.load.cancel.check()?;
        match event {
            Event::Start(file) => {
                self.file = file;
                self.line = 1;
                self.rows = 0;
                self.bare = 0;
                self.file_column = None;
            }
            Event::Skipped { lines } => self.line += lines as i64,
            Event::At { line } => self.line = i64::try_from(line).unwrap_or(i64::MAX),
            Event::Notice(notice) => self.notices.push(notice),
            Event::Reject { reject, lines } => {
                if !self.is_surveying() {
                    self.emit_rejects(vec![reject], emit)?;
                }
                self.line += lines as i64;
            }
            Event::Surveyed { types, lines } => {
                self.surveying.store(true, Ordering::Relaxed);
                self.seen.merge(&types);
                self.line += i64::from(lines);
            }
            Event::Parsed(mut parsed) => {
                self.seen.merge(&parsed.seen);
                let lines = parsed.lines_read;
                if !self.is_surveying() {
                    let mut rejects = std::mem::take(&mut parsed.rejects);
                    if !rejects.is_empty() {
                        rejects.sort_by_key(|reject| reject.line);
                        self.emit_rejects(rejects, emit)?;
                    }
                    self.emit_rows(parsed, emit)?;
                }
                self.line += i64::from(lines);
            }
            Event::End { changed: true, .. } => return Ok(Some(self.file)),
            Event::End { hash, .. } => {
                self.results.push(FileResult { hash, rows: self.rows, bare: self.bare });
            }
            Event::Failed(error) => return Err(error),
        }
        Ok(None)
    }

    fn is_surveying(&self) -> bool {
        self.surveying.load(Ordering::Relaxed)
    }

    fn emit_rows(&mut self, parsed: Parsed, emit: &mut Emit<'_>) -> Result<()> {
        if parsed.rows == 0 {
            return Ok(());
        }
        if self.target.names.is_empty() {
            // Objects without a single key make no table.
            self.bare += parsed.rows as u64;
            return Ok(());
        }
        let mut columns = parsed.columns;
        if self.load.settings.file_column.is_some() {
            columns.push(self.file_values(parsed.rows));
        }
        if self.load.settings.row_column.is_some() {
            columns.push(Arc::new(Int64Array::from(parsed.lines.numbers(self.line, parsed.rows))));
        }
        let invalid =
            |error| Error::new(ErrorKind::Internal, "a batch is malformed").because(error);
        let mut batch =
            RecordBatch::try_new(Arc::clone(&self.target.schema), columns).map_err(invalid)?;
        if !parsed.bad_rows.is_empty() {
            let keep: BooleanArray =
                (0..parsed.rows as u32).map(|row| Some(!parsed.bad_rows.contains(&row))).collect();
            batch = arrow::compute::filter_record_batch(&batch, &keep)
                .or_error(ErrorKind::Internal, "cannot leave out rejected rows")?;
        }
        self.rows += batch.num_rows() as u64;
        emit(Change::Rows(batch))
    }

    /// The file's name, as often as there are rows; made once and sliced.
    fn file_values(&mut self, rows: usize) -> ArrayRef {
        match &self.file_column {
            Some(column) if column.len() >= rows => column.slice(0, rows),
            _ => {
                let name = self.load.files[self.file].entry.name.as_str();
                let column: ArrayRef =
                    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, rows)));
                self.file_column = Some(Arc::clone(&column));
                column
            }
        }
    }

    fn emit_rejects(&mut self, rejects: Vec<Reject>, emit: &mut Emit<'_>) -> Result<()> {
        let name = self.load.files[self.file].entry.name.as_str();
        let lines = rejects.iter().map(|reject| self.line + i64::from(reject.line));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, rejects.len()))),
            Arc::new(Int64Array::from_iter_values(lines)),
            Arc::new(StringArray::from_iter_values(rejects.iter().map(|reject| &reject.reason))),
            Arc::new(StringArray::from_iter_values(rejects.iter().map(|reject| &reject.raw))),
        ];
        let batch = RecordBatch::try_new(rejected_schema(), columns)
            .or_error(ErrorKind::Internal, "a batch of rejected rows is malformed")?;
        emit(Change::Rejected(batch))
    }
}

/// The columns of rejected rows.
pub fn rejected_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("_source_file", DataType::Utf8, true),
        Field::new("_source_row", DataType::Int64, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("raw", DataType::Utf8, true),
    ]))
}

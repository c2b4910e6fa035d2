//! Finds the records of a JSON document while it streams by.

use tidemill_core::{Error, ErrorKind, Result};

use crate::files::input::Input;
use crate::files::read::{Memory, Piece, Reject, raw_text};

/// The cutter of one document. Each record becomes one line.
pub(crate) struct DocumentSplitter {
    input: Input,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    max_record: usize,
    /// How many bytes of records a block has.
    block: usize,
    /// Keys that lead to the records.
    path: Vec<String>,
    state: State,
    /// A reject that comes after the block before it.
    pending: Option<Reject>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Within the array of records; whether one was read.
    Array {
        any: bool,
    },
    /// Records stand one behind the other.
    Bare {
        any: bool,
    },
    Done,
}

/// How a record was cut.
enum Cut {
    Whole,
    TooLong,
    Unfinished,
}

impl DocumentSplitter {
    pub(crate) fn new(input: Input, path: Option<&str>, max_record: usize, block: usize) -> Self {
        let path = path.map(|path| path.split('.').map(str::to_owned).collect());
        DocumentSplitter {
            input,
            buffer: Vec::new(),
            at: 0,
            ended: false,
            max_record,
            block,
            path: path.unwrap_or_default(),
            state: State::Start,
            pending: None,
        }
    }

    pub(crate) fn into_input(self) -> Input {
        self.input
    }

    /// The next block of about that size; `None` at the end.
    pub(crate) fn next(&mut self, memory: &mut Memory<'_>) -> Result<Option<Piece>> {
        let mut out = memory.take();
        out.clear();
        while out.len() < self.block && self.pending.is_none() {
            if !self.before_record()? {
                break;
            }
            let start = out.len();
            let cut = self.copy_value(&mut out, start + self.max_record)?;
            let reason = match cut {
                Cut::Whole => {
                    out.push(b'\n');
                    self.state = match self.state {
                        State::Array { .. } => State::Array { any: true },
                        _ => State::Bare { any: true },
                    };
                    continue;
                }
                Cut::TooLong => {
                    format!("a record longer than {} bytes (`max_record_bytes`)", self.max_record)
                }
                Cut::Unfinished => "the document ends within a record".to_owned(),
            };
            // Nothing behind it can be told apart any more.
            self.state = State::Done;
            self.pending = Some(Reject { line: 0, reason, raw: raw_text(&out[start..]) });
            out.truncate(start);
        }
        if out.is_empty()
            && let Some(reject) = self.pending.take()
        {
            memory.put(out);
            return Ok(Some(Piece::Reject { reject, lines: 1 }));
        }
        if out.is_empty() {
            memory.put(out);
            return Ok(None);
        }
        Ok(Some(Piece::Block(out)))
    }

    /// Goes to the start of the next record; `false` when there is none.
    fn before_record(&mut self) -> Result<bool> {
        loop {
            match self.state {
                State::Done => return Ok(false),
                State::Start => {
                    for key in std::mem::take(&mut self.path) {
                        self.find_key(&key)?;
                    }
                    self.state = match self.peek()? {
                        None => State::Done,
                        Some(b'[') => {
                            self.at += 1;
                            State::Array { any: false }
                        }
                        Some(_) => State::Bare { any: false },
                    };
                }
                State::Array { any } => {
                    match self.peek()? {
                        Some(b']') => {
                            self.state = State::Done;
                            return Ok(false);
                        }
                        Some(b',') if any => {
                            self.at += 1;
                            self.peek()?;
                        }
                        Some(_) if !any => {}
                        None => return Err(broken("the document ends within its list of records")),
                        _ => return Err(broken("`,` or `]` is missing between records")),
                    }
                    return Ok(true);
                }
                State::Bare { .. } => match self.peek()? {
                    Some(b'{') => return Ok(true),
                    None | Some(b'}' | b',') => {
                        self.state = State::Done;
                        return Ok(false);
                    }
                    Some(_) => {
                        return Err(broken("the document is neither an object nor an array"));
                    }
                },
            }
        }
    }

    /// Goes to the value of a key of the object that comes next.
    fn find_key(&mut self, wanted: &str) -> Result<()> {
        let missing = || broken(&format!("the document has no key `{wanted}` (`records`)"));
        if self.peek()? != Some(b'{') {
            return Err(missing());
        }
        self.at += 1;
        let mut skipped = Vec::new();
        loop {
            match self.peek()? {
                Some(b'"') => {}
                Some(b',') => {
                    self.at += 1;
                    continue;
                }
                _ => return Err(missing()),
            }
            skipped.clear();
            self.copy_value(&mut skipped, self.max_record)?;
            let found = serde_json::from_slice::<String>(&skipped).is_ok_and(|key| key == wanted);
            if self.peek()? != Some(b':') {
                return Err(broken("`:` is missing behind a key"));
            }
            self.at += 1;
            if found {
                self.peek()?;
                return Ok(());
            }
            self.peek()?;
            self.skip_value()?;
        }
    }

    /// The next byte that is not blank, which stays.
    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            while let Some(byte) = self.buffer.get(self.at) {
                if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                    return Ok(Some(*byte));
                }
                self.at += 1;
            }
            if !self.refill()? {
                return Ok(None);
            }
        }
    }

    /// Drops what was used and reads more; `false` at the end.
    fn refill(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        self.ended = self.input.fill(&mut self.buffer, 256 << 10)? == 0;
        Ok(!self.ended)
    }

    /// Copies the value that comes next. Line ends between tokens become blanks; a control
    /// character within a string stays one, but is never a line end.
    fn copy_value(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<Cut> {
        let mut scan = Scan::default();
        loop {
            let from = self.at;
            let mut done = false;
            while let Some(byte) = self.buffer.get_mut(self.at) {
                match scan.step(*byte) {
                    Step::Before => {
                        done = true;
                        break;
                    }
                    Step::Last => {
                        self.at += 1;
                        done = true;
                        break;
                    }
                    Step::More => {
                        if *byte == b'\n' {
                            *byte = if scan.in_string { 1 } else { b' ' };
                        }
                        self.at += 1;
                    }
                }
            }
            out.extend_from_slice(&self.buffer[from..self.at]);
            if done {
                return Ok(Cut::Whole);
            }
            if out.len() > limit {
                return Ok(Cut::TooLong);
            }
            if !self.refill()? {
                // A bare number or word may end with the document.
                let bare = scan.depth == 0 && !scan.in_string && !out.is_empty();
                return Ok(if bare { Cut::Whole } else { Cut::Unfinished });
            }
        }
    }

    /// Goes over a value of any size.
    fn skip_value(&mut self) -> Result<()> {
        let mut scan = Scan::default();
        loop {
            while let Some(byte) = self.buffer.get(self.at) {
                match scan.step(*byte) {
                    Step::Before => return Ok(()),
                    Step::Last => {
                        self.at += 1;
                        return Ok(());
                    }
                    Step::More => self.at += 1,
                }
            }
            if !self.refill()? {
                return Err(broken("the document ends within a value"));
            }
        }
    }
}

/// Finds the end of a value by brackets and quotes alone.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

enum Step {
    More,
    /// This byte is the last of the value.
    Last,
    /// The value ended before this byte.
    Before,
}

impl Scan {
    #[inline(always)]
    fn step(&mut self, byte: u8) -> Step {
        if self.in_string {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_string = false;
                if self.depth == 0 {
                    return Step::Last;
                }
            }
            return Step::More;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth == 0 => return Step::Before,
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Step::Last;
                }
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' if self.depth == 0 => return Step::Before,
            _ => {}
        }
        Step::More
    }
}

fn broken(message: &str) -> Error {
    Error::new(ErrorKind::Data, message)
}

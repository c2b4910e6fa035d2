//! Records of formats that have no reader of columns, as JSON objects, one a line: what reads them on
//! is the reader of NDJSON.

use super::read::{Memory, Piece, Reject, raw_text};

/// How many bytes of records a block has.
pub(crate) const BLOCK: usize = 1 << 20;

/// Blocks under construction. Lines stand for rows of the file, so that they are counted.
pub(crate) struct Lines<'a, 'm> {
    block: Vec<u8>,
    /// Where the record at hand begins.
    start: usize,
    limit: usize,
    written: usize,
    memory: &'a mut Memory<'m>,
    send: &'a mut dyn FnMut(Piece) -> bool,
}

impl<'a, 'm> Lines<'a, 'm> {
    /// `limit`: the longest record.
    pub(crate) fn new(
        limit: usize,
        memory: &'a mut Memory<'m>,
        send: &'a mut dyn FnMut(Piece) -> bool,
    ) -> Self {
        let mut block = memory.take();
        block.clear();
        Lines { block, start: 0, limit, written: 0, memory, send }
    }

    /// The text of the record at hand, to be written.
    pub(crate) fn record(&mut self) -> &mut Vec<u8> {
        &mut self.block
    }

    /// How long the record at hand is.
    pub(crate) fn len(&self) -> usize {
        self.block.len() - self.start
    }

    /// How many bytes of records were written.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Ends the record. False when nobody listens any more.
    pub(crate) fn end(&mut self) -> bool {
        if self.len() > self.limit {
            let reason = format!("a record longer than {} bytes (`max_record_bytes`)", self.limit);
            return self.reject(reason);
        }
        self.block.push(b'\n');
        self.written += self.len();
        self.start = self.block.len();
        self.start < BLOCK || self.flush()
    }

    /// Ends the record as a rejected one.
    pub(crate) fn reject(&mut self, reason: String) -> bool {
        let raw = raw_text(&self.block[self.start..]);
        self.written += raw.len();
        self.block.truncate(self.start);
        let reject = Reject { line: 0, reason, raw };
        self.flush() && (self.send)(Piece::Reject { reject, lines: 1 })
    }

    /// What comes next is on this line of the file, counted from 1.
    pub(crate) fn at(&mut self, line: u64) -> bool {
        self.block.truncate(self.start);
        self.flush() && (self.send)(Piece::At { line })
    }

    /// Sends the records that were ended.
    pub(crate) fn flush(&mut self) -> bool {
        if self.start == 0 {
            return true;
        }
        let mut next = self.memory.take();
        next.clear();
        next.extend_from_slice(&self.block[self.start..]);
        self.block.truncate(self.start);
        self.start = 0;
        (self.send)(Piece::Block(std::mem::replace(&mut self.block, next)))
    }

    /// Gives the memory back, without what is left.
    pub(crate) fn give_back(self) {
        self.memory.put(self.block);
    }
}

/// A text as JSON has it.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut from = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let escape = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..=0x1F => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let digits = [b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(&digits);
        }
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// The key of a member that follows; a comma before it unless it is the first of its object.
pub(crate) fn write_key(out: &mut Vec<u8>, key: &str) {
    if !matches!(out.last(), None | Some(b'{')) {
        out.push(b',');
    }
    write_text(out, key);
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_json() {
        for text in ["", "a", "a\"b\\c", "line\nend\r\t", "\u{1}\u{1f}", "größe 🦀"] {
            let mut out = Vec::new();
            write_text(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}

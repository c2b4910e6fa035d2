//! CSV and its relatives.
//!
//! What a record is: RFC 4180, and for what real files add, these rules. A field that starts with
//! the quote ends at the next quote that is not doubled; anything but a separator behind it makes
//! the row a rejected one. A quote inside a field that does not start with one is a character.
//! A quote that never closes (or not within `max_record_bytes`) rejects the line that it is on, and
//! reading goes on with the next line. Lines may end in LF, CRLF or CR. Empty lines are skipped; in
//! a file of one column they are NULL.

mod block;
mod index;
mod split;

pub(crate) use block::{Layout, Scratch, parse, survey};
pub(crate) use split::{Splitter, first_record, last_record_end};

/// How a file separates its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    /// A character that takes the meaning from the next one, other than a doubled quote.
    pub(crate) escape: Option<u8>,
    /// The last byte of a line end.
    pub(crate) newline: u8,
    pub(crate) comment: Option<u8>,
    /// Whether a record may have fewer fields than the header: the others are empty.
    pub(crate) short_rows: bool,
    /// Whether a text that is NULL is so in quotes, too.
    pub(crate) quoted_nulls: bool,
}

impl Dialect {
    /// Whether records need the careful loop.
    fn is_unusual(&self) -> bool {
        self.escape.is_some() || self.comment.is_some()
    }
}

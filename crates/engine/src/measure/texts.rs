//! Tests of every text of a column, each different text looked at once where that is cheap to know.
//!
//! A column that was stored with a dictionary arrives as views into the dictionary's page: equal
//! texts have equal views (and a text of at most twelve bytes *is* its view). So a small table from
//! view to result answers most rows of a column of few values without looking at the text.

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use tidemill_core::{Error, ErrorKind, Result};

/// Entries of the table: a power of two.
const REMEMBERED: usize = 512;
/// A text of at most this length is held by its view alone.
const INLINE: u32 = 12;

#[derive(Clone, Copy)]
struct Entry {
    view: u128,
    /// The batch that the view is valid in; [`ALWAYS`] for an inlined text.
    batch: u32,
    result: bool,
}

const NEVER: u32 = 0;
const ALWAYS: u32 = u32::MAX;

/// Results by view.
pub(crate) struct Remembered {
    entries: Box<[Entry]>,
    batch: u32,
    hits: u64,
    asked: u64,
}

impl Remembered {
    pub(crate) fn new() -> Self {
        let empty = Entry { view: 0, batch: NEVER, result: false };
        Remembered {
            entries: vec![empty; REMEMBERED].into_boxed_slice(),
            batch: NEVER,
            hits: 0,
            asked: 0,
        }
    }

    /// Whether it helped so far.
    fn helps(&self) -> bool {
        self.asked < 65_536 || self.hits * 2 > self.asked
    }

    #[inline]
    fn get(&mut self, view: u128, test: impl FnOnce() -> bool) -> bool {
        let mixed = ((view as u64) ^ ((view >> 64) as u64)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let entry = &mut self.entries[(mixed >> 55) as usize & (REMEMBERED - 1)];
        if entry.view == view && (entry.batch == self.batch || entry.batch == ALWAYS) {
            self.hits += 1;
            return entry.result;
        }
        let result = test();
        let batch = if view as u32 <= INLINE { ALWAYS } else { self.batch };
        *entry = Entry { view, batch, result };
        result
    }
}

/// Calls `found` for each row whose text fails the test. NULLs are left out.
pub(crate) fn for_each_failing(
    column: &ArrayRef,
    mask: Option<&BooleanBuffer>,
    remembered: Option<&mut Remembered>,
    passes: impl Fn(&str) -> bool,
    mut found: impl FnMut(&str),
) -> Result<()> {
    let chosen = chosen_rows(column, mask);
    match column.data_type() {
        DataType::Utf8View => {
            let texts = column.as_string_view();
            match remembered {
                Some(remembered) if remembered.helps() => {
                    with_memory(texts, chosen.as_ref(), remembered, passes, found);
                }
                _ => for_rows(texts.len(), chosen.as_ref(), |row| {
                    let text = texts.value(row);
                    if !passes(text) {
                        found(text);
                    }
                }),
            }
        }
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            for_rows(texts.len(), chosen.as_ref(), |row| {
                let text = texts.value(row);
                if !passes(text) {
                    found(text);
                }
            });
        }
        DataType::LargeUtf8 => {
            let texts = column.as_string::<i64>();
            for_rows(texts.len(), chosen.as_ref(), |row| {
                let text = texts.value(row);
                if !passes(text) {
                    found(text);
                }
            });
        }
        other => {
            return Err(Error::new(ErrorKind::Internal, "text was planned and did not come")
                .with("type", other));
        }
    }
    Ok(())
}

fn with_memory(
    texts: &StringViewArray,
    chosen: Option<&BooleanBuffer>,
    remembered: &mut Remembered,
    passes: impl Fn(&str) -> bool,
    mut found: impl FnMut(&str),
) {
    remembered.batch = match remembered.batch + 1 {
        ALWAYS => NEVER + 1,
        next => next,
    };
    remembered.asked += texts.len() as u64;
    let views = texts.views();
    for_rows(texts.len(), chosen, |row| {
        if !remembered.get(views[row], || passes(texts.value(row))) {
            found(texts.value(row));
        }
    });
}

/// The rows that are not NULL and pass the filter; `None` when those are all.
pub(crate) fn chosen_rows(
    column: &ArrayRef,
    mask: Option<&BooleanBuffer>,
) -> Option<BooleanBuffer> {
    let valid = column.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.inner());
    match (valid, mask) {
        (Some(valid), Some(mask)) => Some(valid & mask),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    }
}

/// Calls for each chosen row.
#[inline]
pub(crate) fn for_rows(rows: usize, chosen: Option<&BooleanBuffer>, mut call: impl FnMut(usize)) {
    match chosen {
        None => (0..rows).for_each(call),
        Some(chosen) => chosen.set_indices().for_each(&mut call),
    }
}

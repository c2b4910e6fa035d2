//! Where the separators are: the first of the two passes over a block.
//!
//! 64 bytes at a time become bit masks of delimiters and line ends, and the bits become positions.
//! Inside quotes (by the parity of the quotes before) nothing counts; whether the quoting was
//! regular enough for that to be true is checked afterwards by whoever uses the positions.

/// The bytes that have a meaning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    pub(crate) delimiter: u8,
    pub(crate) newline: u8,
    /// `None` when there is no quoting, or no quote in the block.
    pub(crate) quote: Option<u8>,
}

/// What the pass counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Separators outside quotes.
    pub(crate) separators: usize,
    /// Line ends outside quotes.
    pub(crate) records: usize,
    /// Line ends inside quotes.
    pub(crate) inner_newlines: usize,
    /// Quotes.
    pub(crate) quotes: usize,
    /// The first quote that stands neither at the start of a field nor at its end, or the length of
    /// the data: up to there every field in quotes is what stands between them.
    pub(crate) odd_quote: usize,
}

/// Writes to `positions[1..]` the place of every delimiter and line end within `data[from..to]`
/// that stands outside quotes, and to `positions[0]` the place before `from` (wrapping), so that a
/// field starts behind the position before its own. `from` must be the start of a record. What is
/// behind the counted positions is rubbish.
pub(crate) fn separators(
    data: &[u8],
    from: usize,
    to: usize,
    marks: Marks,
    positions: &mut Vec<u32>,
) -> Counted {
    let mut counted = Counted::default();
    // Room for the positions, and for those that are written ahead.
    if positions.len() < to - from + 80 {
        positions.resize(to - from + 80, 0);
    }
    positions[0] = (from as u32).wrapping_sub(1);
    let mut count = 1;
    counted.odd_quote = usize::MAX;
    let mut inside = 0u64;
    // Whether the byte before is a separator, and what of the chunk before is not decided yet.
    let mut behind_separator = 1u64;
    let mut undecided = (0u64, 0u64, from);
    let mut at = from;
    while at < to {
        let mut padded = [0u8; 64];
        let (chunk, live): (&[u8; 64], u64) = match data[at..to].first_chunk::<64>() {
            Some(chunk) => (chunk, u64::MAX),
            None => {
                padded[..to - at].copy_from_slice(&data[at..to]);
                (&padded, (1u64 << (to - at)) - 1)
            }
        };
        let masks = masks(chunk, marks);
        let (mut delimiters, mut newlines) = (masks.delimiters & live, masks.newlines & live);
        if marks.quote.is_some() {
            let quotes = masks.quotes & live;
            counted.quotes += quotes.count_ones() as usize;
            let quoted = prefix_xor(quotes) ^ inside;
            inside = ((quoted as i64) >> 63) as u64;
            counted.inner_newlines += (newlines & quoted).count_ones() as usize;
            delimiters &= !quoted;
            newlines &= !quoted;
            let separators = delimiters | newlines;
            let starts = separators << 1 | behind_separator;
            behind_separator = separators >> 63;
            // Whether a quote ends a field shows with the byte behind it.
            let (quotes_before, separators_before, place) = undecided;
            let odd = quotes_before & !(separators_before >> 1 | separators << 63);
            if odd != 0 && counted.odd_quote == usize::MAX {
                counted.odd_quote = place + odd.trailing_zeros() as usize;
            }
            undecided = (quotes & !starts, separators, at);
        }
        counted.records += newlines.count_ones() as usize;
        let bits = delimiters | newlines;
        flatten(bits, at as u32, &mut positions[count..]);
        count += bits.count_ones() as usize;
        at += 64;
    }
    let (quotes, separators, place) = undecided;
    let odd = quotes & !(separators >> 1);
    if odd != 0 && counted.odd_quote == usize::MAX {
        counted.odd_quote = place + odd.trailing_zeros() as usize;
    }
    counted.separators = count - 1;
    counted
}

/// Writes the positions of the set bits, eight at a time and maybe more than there are.
#[inline(always)]
fn flatten(mut bits: u64, base: u32, out: &mut [u32]) {
    let count = bits.count_ones();
    let mut written = 0;
    let mut out = out;
    while written < count {
        let Some((eight, rest)) = out.split_first_chunk_mut::<8>() else { return };
        for slot in eight.iter_mut() {
            *slot = base.wrapping_add(bits.trailing_zeros());
            bits &= bits.wrapping_sub(1);
        }
        out = rest;
        written += 8;
    }
}

/// Bit n of the result is the parity of bits 0..=n.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^ (bits << 32)
}

struct Masks {
    delimiters: u64,
    newlines: u64,
    quotes: u64,
}

/// Calls `visit` with the place of every such byte, in order, until it says no.
#[inline(always)]
pub(crate) fn each_place(data: &[u8], byte: u8, mut visit: impl FnMut(usize) -> bool) {
    let marks = Marks { delimiter: byte, newline: byte, quote: None };
    let (chunks, rest) = data.as_chunks::<64>();
    for (index, chunk) in chunks.iter().enumerate() {
        let mut bits = masks(chunk, marks).delimiters;
        while bits != 0 {
            if !visit(index * 64 + bits.trailing_zeros() as usize) {
                return;
            }
            bits &= bits - 1;
        }
    }
    let from = data.len() - rest.len();
    for (index, found) in rest.iter().enumerate() {
        if *found == byte && !visit(from + index) {
            return;
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
#[inline(always)]
fn masks(chunk: &[u8; 64], marks: Marks) -> Masks {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8,
    };
    // SAFETY: AVX2 is switched on for the whole build (the `cfg` above), and both unaligned loads
    // read 32 bytes within the 64 of `chunk`.
    #[allow(unsafe_code)]
    unsafe {
        let low = _mm256_loadu_si256(chunk.as_ptr().cast::<__m256i>());
        let high = _mm256_loadu_si256(chunk.as_ptr().add(32).cast::<__m256i>());
        let find = |byte: u8| {
            let wanted = _mm256_set1_epi8(byte as i8);
            let low = _mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted)) as u32;
            let high = _mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted)) as u32;
            u64::from(low) | u64::from(high) << 32
        };
        Masks {
            delimiters: find(marks.delimiter),
            newlines: find(marks.newline),
            quotes: marks.quote.map_or(0, find),
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
#[inline(always)]
fn masks(chunk: &[u8; 64], marks: Marks) -> Masks {
    let find = |byte: u8| {
        chunk
            .iter()
            .enumerate()
            .fold(0u64, |mask, (index, found)| mask | u64::from(*found == byte) << index)
    };
    Masks {
        delimiters: find(marks.delimiter),
        newlines: find(marks.newline),
        quotes: marks.quote.map_or(0, find),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(data: &[u8], marks: Marks) -> (Vec<u32>, Counted) {
        let mut counted = Counted::default();
        let mut inside = false;
        let mut positions = Vec::new();
        for (index, byte) in data.iter().enumerate() {
            if Some(*byte) == marks.quote {
                inside = !inside;
                counted.quotes += 1;
            } else if *byte == marks.newline && inside {
                counted.inner_newlines += 1;
            } else if !inside && (*byte == marks.newline || *byte == marks.delimiter) {
                counted.records += usize::from(*byte == marks.newline);
                positions.push(index as u32);
            }
        }
        counted.separators = positions.len();
        (positions, counted)
    }

    proptest! {
        #[test]
        fn positions_are_those_of_a_plain_loop(text in "[a,\n\"]{0,300}", quoted: bool) {
            let marks = Marks {
                delimiter: b',',
                newline: b'\n',
                quote: quoted.then_some(b'"'),
            };
            let mut positions = Vec::new();
            let counted = separators(text.as_bytes(), 0, text.len(), marks, &mut positions);
            let found = positions[1..=counted.separators].to_vec();
            let odd = counted.odd_quote;
            let counted = Counted { odd_quote: 0, ..counted };
            let separator = |at: Option<usize>| at.is_none_or(|at| found.contains(&(at as u32)));
            let first_odd = text.bytes().enumerate().find(|(at, byte)| {
                quoted && *byte == b'"'
                    && !separator(at.checked_sub(1))
                    && !found.contains(&(*at as u32 + 1))
            });
            prop_assert_eq!(odd, first_odd.map_or(usize::MAX, |(at, _)| at));
            prop_assert_eq!((found, counted), naive(text.as_bytes(), marks));
        }
    }
}

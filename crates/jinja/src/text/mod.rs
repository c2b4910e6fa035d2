//! Text as Python formats it.

pub(crate) mod float;
pub(crate) mod percent;
pub(crate) mod spec;
pub(crate) mod template;

/// What Python's `str.isspace`, `split` and `\s` take for white space.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

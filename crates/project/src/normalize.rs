//! SQL without what does not change its meaning to the engine: comments and outer white space.

/// Strips SQL comments outside of strings and quoted names, and white space at the ends of lines
/// and of the whole; lines that become empty go. Two texts with equal results mean the same.
pub fn normalize_sql(sql: &str) -> String {
    let stripped = strip_comments(sql);
    let mut out = String::with_capacity(stripped.text.len());
    let mut blank = String::new();
    for (index, c) in stripped.text.char_indices() {
        let inside = stripped.is_inside(index);
        if !inside && c.is_whitespace() {
            blank.push(c);
            continue;
        }
        if !blank.is_empty() {
            if !out.is_empty() {
                // A line break with what is around it is one line break.
                if blank.contains('\n') {
                    out.push('\n');
                } else {
                    out.push_str(&blank);
                }
            }
            blank.clear();
        }
        out.push(c);
    }
    out
}

struct Stripped {
    text: String,
    /// Byte ranges of strings and quoted names, in order.
    inside: Vec<(usize, usize)>,
}

impl Stripped {
    fn is_inside(&self, at: usize) -> bool {
        let index = self.inside.partition_point(|(_, end)| *end <= at);
        self.inside.get(index).is_some_and(|(start, _)| *start <= at)
    }
}

fn strip_comments(sql: &str) -> Stripped {
    let mut text = String::with_capacity(sql.len());
    let mut inside = Vec::new();
    let mut at = 0;
    while at < sql.len() {
        let rest = &sql[at..];
        if rest.starts_with("--") {
            // The line break stays.
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with("/*") {
            at += block_comment_end(rest);
            text.push(' ');
            continue;
        }
        let length = match rest.as_bytes()[0] {
            b'\'' => {
                let escapes = text.ends_with(['e', 'E'])
                    && !text[..text.len() - 1].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                quoted_end(rest, '\'', escapes)
            }
            b'"' => quoted_end(rest, '"', false),
            b'`' => quoted_end(rest, '`', false),
            b'$' => dollar_end(rest).unwrap_or(0),
            _ => 0,
        };
        if length > 0 {
            inside.push((text.len(), text.len() + length));
            text.push_str(&rest[..length]);
            at += length;
            continue;
        }
        let Some(c) = rest.chars().next() else { break };
        text.push(c);
        at += c.len_utf8();
    }
    Stripped { text, inside }
}

/// The length of the block comment that a text begins with; comments nest, as in PostgreSQL.
pub(crate) fn block_comment_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0;
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

/// The length of a quoted text; the quote itself is doubled inside.
fn quoted_end(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((index, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return index + 1,
            }
        }
    }
    text.len()
}

/// The length of `$tag$ ... $tag$`.
fn dollar_end(text: &str) -> Option<usize> {
    let close = text[1..].find('$')? + 1;
    let tag = &text[..=close];
    let name = &tag[1..tag.len() - 1];
    let is_tag = name.is_empty()
        || (name.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit()));
    if !is_tag {
        return None;
    }
    Some(text[tag.len()..].find(tag).map_or(text.len(), |end| tag.len() + end + tag.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_white_space_do_not_count() {
        for (sql, expected) in [
            ("select 1", "select 1"),
            ("\n\n  select 1  -- one\n\n", "select 1"),
            ("select 1 /* a /* b */ c */, 2", "select 1  , 2"),
            ("select '--no', \"/*no*/\"  ,   1", "select '--no', \"/*no*/\"  ,   1"),
            ("select 'it''s -- fine' -- gone\n from x", "select 'it''s -- fine'\nfrom x"),
            ("select e'\\'-- in' -- out", "select e'\\'-- in'"),
            ("select $$ -- in $$ -- out", "select $$ -- in $$"),
            ("select $t$ a  \n\n b $t$", "select $t$ a  \n\n b $t$"),
            ("select 'a\n\n  b'", "select 'a\n\n  b'"),
            ("a\n\n\n   b", "a\nb"),
            ("/* open", ""),
            ("'open", "'open"),
        ] {
            assert_eq!(normalize_sql(sql), expected, "{sql}");
        }
    }
}

//! A text to its statements.

/// The statements of a text, split at semicolons outside of quotes and comments.
pub fn split_statements(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut start, mut at) = (0, 0);
    let mut found = Vec::new();
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'\'' | b'"') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += 1;
                }
            }
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at += 2;
                while at < bytes.len() && !(bytes[at] == b'*' && bytes.get(at + 1) == Some(&b'/')) {
                    at += 1;
                }
                at += 1;
            }
            b';' => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    found.push(&text[start.min(text.len())..]);
    found.retain(|statement| !is_blank(statement));
    found.into_iter().map(str::trim).collect()
}

/// Whether there is nothing but comments.
fn is_blank(statement: &str) -> bool {
    let mut rest = statement.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            return rest.is_empty();
        };
        rest = rest.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_split_outside_of_quotes_and_comments() {
        let text = "select ';' as a; -- one; two\nselect /* ; */ \"b;\" from t;\n\n-- end\n/* ; */";
        assert_eq!(
            split_statements(text),
            ["select ';' as a", "-- one; two\nselect /* ; */ \"b;\" from t"]
        );
    }
}

//! Texts of arrays: `{1,2,NULL}` as PostgreSQL writes them, `[1, 2, NULL]` as DuckDB does and JSON.

/// The elements that a text of an array names, NULL as `None`; those that are arrays as their texts.
/// `None` if the text is no array.
pub(crate) fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let text = text.trim();
    let (inside, curly) = match text.strip_prefix('{') {
        Some(rest) => (rest.strip_suffix('}')?, true),
        None => (text.strip_prefix('[')?.strip_suffix(']')?, false),
    };
    let mut found = Vec::new();
    let mut rest = inside.trim_start();
    if rest.is_empty() {
        return Some(found);
    }
    loop {
        let (element, after) = element(rest, curly)?;
        found.push(element);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return rest.is_empty().then_some(found),
        }
    }
}

/// The first element of a text, and what comes behind it.
fn element(text: &str, curly: bool) -> Option<(Option<String>, &str)> {
    let first = text.chars().next()?;
    if first == '"' || (first == '\'' && !curly) {
        let mut out = String::new();
        let mut chars = text.char_indices().skip(1);
        while let Some((at, char)) = chars.next() {
            match char {
                '\\' => out.push(chars.next()?.1),
                char if char == first => return Some((Some(out), &text[at + 1..])),
                char => out.push(char),
            }
        }
        return None;
    }
    if matches!(first, '{' | '[') {
        let end = nested(text)?;
        return Some((Some(text[..end].to_owned()), &text[end..]));
    }
    let end = text.find(',').unwrap_or(text.len());
    let plain = text[..end].trim_end();
    if plain.is_empty() || plain.contains(['{', '}', '"']) {
        return None;
    }
    let element = (!plain.eq_ignore_ascii_case("null")).then(|| plain.to_owned());
    Some((element, &text[end..]))
}

/// Where the array ends that a text begins with.
fn nested(text: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0, None);
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match (quoted, char) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(quote), char) if char == quote => quoted = None,
            (Some(_), _) => {}
            (None, '"') => quoted = Some('"'),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

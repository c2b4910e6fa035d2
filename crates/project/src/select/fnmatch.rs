//! Patterns of names, as Python's `fnmatch` reads them.

/// Python's `fnmatch`: `*`, `?`, `[abc]`, `[!abc]`.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '[']) {
        return pattern == text;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some('?') => Some(p + 1),
            Some('[') => class(&pattern, p, text[t]),
            Some(c) if *c == text[t] => Some(p + 1),
            _ => None,
        };
        match (step, star) {
            (Some(next), _) => {
                p = next;
                t += 1;
            }
            (None, Some((at, from))) => {
                p = at + 1;
                t = from + 1;
                star = Some((at, from + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether a class matches; the place behind it.
fn class(pattern: &[char], start: usize, c: char) -> Option<usize> {
    let mut at = start + 1;
    let negated = pattern.get(at) == Some(&'!');
    if negated {
        at += 1;
    }
    let first = at;
    let mut matched = false;
    loop {
        match pattern.get(at) {
            // Without an end, it is a bracket.
            None => return (c == '[').then_some(start + 1),
            Some(']') if at > first => break,
            Some(low) => {
                if pattern.get(at + 1) == Some(&'-')
                    && let Some(high) = pattern.get(at + 2).filter(|high| **high != ']')
                {
                    matched |= (*low..=*high).contains(&c);
                    at += 3;
                } else {
                    matched |= *low == c;
                    at += 1;
                }
            }
        }
    }
    (matched != negated).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_python() {
        for (pattern, text, expected) in [
            ("stg_*", "stg_orders", true),
            ("*_orders", "stg_orders", true),
            ("st?_orders", "stg_orders", true),
            ("[a-s]tg*", "stg_orders", true),
            ("[!s]tg*", "stg_orders", false),
            ("stg_", "stg_orders", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("[", "[", true),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}

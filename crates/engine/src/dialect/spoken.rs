//! What DuckDB's grammar takes and the parser's does not, in words that it does: `filter (x > 1)`,
//! `[x + 1 for x in l if x > 0]`, `x in [1, 2]`, `exists (from t)` and `asof join`.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::turned::{begins, end_of, is_space, keyword, text};

/// Puts the parser's words into the text.
pub(super) fn written(tokens: &mut Vec<TokenWithSpan>) {
    filters(tokens);
    exists_from(tokens);
    among(tokens);
    super::asof::marked(tokens);
    super::positional::marked(tokens);
    described(tokens);
    named_like(tokens);
    let mut from = 0;
    while let Some(open) =
        (from..tokens.len()).find(|place| tokens[*place].token == Token::LBracket)
    {
        if let Some((end, list)) = comprehension(tokens, open) {
            tokens.splice(open..end, list);
        }
        from = open + 1;
    }
}

/// `describe q` and `summarize q`, where a query may stand, are `select *` from functions of `q`.
fn described(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place < tokens.len() {
        if let Token::Word(word) = &tokens[place].token
            && word.quote_style.is_none()
            && begins(tokens, place)
            && let Some(first) = said(tokens, place + 1)
            // A call of a function of that name.
            && (first > place + 1 || tokens[first].token != Token::LParen)
        {
            let function = match word.value.to_ascii_lowercase().as_str() {
                "describe" => crate::summaries::DESCRIBE,
                "summarize" => crate::summaries::SUMMARIZE,
                _ => {
                    place += 1;
                    continue;
                }
            };
            let is_query = matches!(
                keyword(&tokens[first]),
                Some(Keyword::SELECT | Keyword::FROM | Keyword::WITH | Keyword::VALUES)
            ) || tokens[first].token == Token::LParen;
            // `describe` may be the name of something, as in `(describe)`.
            if is_query || matches!(tokens[first].token, Token::Word(_)) {
                let end = end_of(tokens, place);
                let close = text("))", &tokens[place]);
                tokens.splice(end..end, close);
                let all = match keyword(&tokens[first]) {
                    Some(Keyword::FROM) => "select * ",
                    _ if is_query => "",
                    _ => "select * from ",
                };
                let words = text(&format!("select * from {function}(({all}"), &tokens[place]);
                tokens.splice(place..first, words);
            }
        }
        place += 1;
    }
}

/// `select * like 'a%'` is `select columns(lambda name: name like 'a%')`.
fn named_like(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place < tokens.len() {
        if tokens[place].token == Token::Mul
            && let Some(pattern) = pattern_behind(tokens, place)
        {
            let end = text(")", &tokens[place]);
            tokens.splice(pattern + 1..pattern + 1, end);
            let words = text("columns(lambda tidemill_name: tidemill_name", &tokens[place]);
            tokens.splice(place..=place, words);
        }
        place += 1;
    }
}

/// The pattern of names that stands behind `*`.
fn pattern_behind(tokens: &[TokenWithSpan], star: usize) -> Option<usize> {
    let mut at = said(tokens, star + 1)?;
    if keyword(&tokens[at]) == Some(Keyword::NOT) {
        at = said(tokens, at + 1)?;
    }
    match keyword(&tokens[at])? {
        Keyword::LIKE | Keyword::ILIKE => {}
        Keyword::SIMILAR => {
            at = said(tokens, at + 1).filter(|to| keyword(&tokens[*to]) == Some(Keyword::TO))?;
        }
        _ => return None,
    }
    let pattern = said(tokens, at + 1)?;
    matches!(tokens[pattern].token, Token::SingleQuotedString(_)).then_some(pattern)
}

/// `count(*) filter (x > 1)` is `count(*) filter (where x > 1)`.
fn filters(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place < tokens.len() {
        if keyword(&tokens[place]) == Some(Keyword::FILTER) {
            let said = |from: usize| (from..tokens.len()).find(|at| !is_space(&tokens[*at]));
            let after_call = (0..place)
                .rev()
                .find(|at| !is_space(&tokens[*at]))
                .is_some_and(|at| tokens[at].token == Token::RParen);
            if after_call
                && let Some(open) = said(place + 1)
                && tokens[open].token == Token::LParen
                && let Some(first) = said(open + 1)
                && keyword(&tokens[first]) != Some(Keyword::WHERE)
            {
                let words = text("where ", &tokens[first]);
                tokens.splice(first..first, words);
            }
        }
        place += 1;
    }
}

/// The next place that says something.
pub(super) fn said(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|place| !is_space(&tokens[*place]))
}

/// `exists (from t)` is `exists (select * from t)`.
fn exists_from(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place < tokens.len() {
        if keyword(&tokens[place]) == Some(Keyword::EXISTS)
            && let Some(open) = said(tokens, place + 1)
            && tokens[open].token == Token::LParen
            && let Some(first) = said(tokens, open + 1)
            && keyword(&tokens[first]) == Some(Keyword::FROM)
        {
            let words = text("select * ", &tokens[first]);
            tokens.splice(first..first, words);
        }
        place += 1;
    }
}

/// `x in [1, 2]` is `x = any([1, 2])`.
fn among(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place < tokens.len() {
        if keyword(&tokens[place]) == Some(Keyword::IN)
            && let Some(open) = said(tokens, place + 1)
            && tokens[open].token == Token::LBracket
            && let Some(close) = closing(tokens, open)
        {
            let before = (0..place).rev().find(|at| !is_space(&tokens[*at]));
            let negated = before.filter(|at| keyword(&tokens[*at]) == Some(Keyword::NOT));
            // `[x for x in [1, 2]]` is another thing.
            let turned = before.is_some_and(|name| {
                (0..name)
                    .rev()
                    .find(|at| !is_space(&tokens[*at]))
                    .is_some_and(|at| keyword(&tokens[at]) == Some(Keyword::FOR))
            });
            if !turned {
                let end = text(")", &tokens[close]);
                tokens.splice(close + 1..close + 1, end);
                let words = if negated.is_some() { "<> all(" } else { "= any(" };
                let words = text(words, &tokens[place]);
                tokens.splice(negated.unwrap_or(place)..=place, words);
            }
        }
        place += 1;
    }
}

/// Where a bracket is closed.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(place);
                }
            }
            _ => {}
        }
    }
    None
}

/// The end of a list that is written with `for`, and the calls that it is.
fn comprehension(tokens: &[TokenWithSpan], open: usize) -> Option<(usize, Vec<TokenWithSpan>)> {
    let (mut depth, mut cases) = (0_usize, 0_usize);
    let (mut turn, mut within, mut condition) = (None, None, None);
    let mut end = None;
    for (place, token) in tokens.iter().enumerate().skip(open + 1) {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RBracket if depth == 0 => {
                end = Some(place);
                break;
            }
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth > 0 {
            continue;
        }
        match keyword(token) {
            Some(Keyword::CASE) => cases += 1,
            Some(Keyword::END) => cases = cases.saturating_sub(1),
            Some(Keyword::FOR) if turn.is_none() => turn = Some(place),
            Some(Keyword::IN) if turn.is_some() && within.is_none() => within = Some(place),
            Some(Keyword::IF) if cases == 0 && within.is_some() && condition.is_none() => {
                condition = Some(place);
            }
            _ => {}
        }
    }
    let (end, turn, within) = (end?, turn?, within?);
    let name: Vec<TokenWithSpan> =
        tokens[turn + 1..within].iter().filter(|token| !is_space(token)).cloned().collect();
    let [name] = name.as_slice() else { return None };
    let list = &tokens[within + 1..condition.unwrap_or(end)];
    let words = |words: &str| text(words, &tokens[open]);
    let function = |value: &[TokenWithSpan]| {
        let mut function = words(", lambda ");
        function.push(name.clone());
        function.extend(words(": "));
        function.extend_from_slice(value);
        function.extend(words(")"));
        function
    };
    let mut written = words("list_transform(");
    match condition {
        Some(condition) => {
            written.extend(words("list_filter("));
            written.extend_from_slice(list);
            written.extend(function(&tokens[condition + 1..end]));
        }
        None => written.extend_from_slice(list),
    }
    written.extend(function(&tokens[open + 1..turn]));
    Some((end + 1, written))
}

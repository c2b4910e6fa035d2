//! `pivot … on … using …` and `unpivot … on …` of DuckDB, which stand where a query stands, in the words
//! of `pivot (…)` and `unpivot (…)` behind a relation.
//!
//! ```sql
//! pivot t on c in ('x', 'y') using sum(v) group by k
//! select * from (select k, c, v from t) pivot (sum(v) for c in ('x', 'y'))
//!
//! unpivot t on a, b into name k value v
//! select * from t unpivot (v for k in (a, b))
//! ```

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use tidemill_core::{Error, Result};

use super::refused;

/// Puts the other words into the text, as often as it needs.
///
/// # Errors
/// An `unpivot` whose names cannot be read.
pub(super) fn written(tokens: &mut Vec<TokenWithSpan>) -> Result<()> {
    let mut from = 0;
    while let Some(start) = next(tokens, from) {
        let end = end_of(tokens, start);
        let turned = match keyword(&tokens[start]) {
            Some(Keyword::PIVOT) => pivot(&tokens[start..end]),
            _ => unpivot(&tokens[start..end]),
        };
        if let Some(turned) = turned.map_err(|error| at(error, &tokens[start]))? {
            tokens.splice(start..end, turned);
        }
        from = start + 1;
    }
    Ok(())
}

fn at(error: Error, token: &TokenWithSpan) -> Error {
    error.with("line", token.span.start.line).with("column", token.span.start.column)
}

pub(super) fn keyword(token: &TokenWithSpan) -> Option<Keyword> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

pub(super) fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// The next of these words where a query may begin.
fn next(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|place| {
        matches!(keyword(&tokens[*place]), Some(Keyword::PIVOT | Keyword::UNPIVOT))
            && begins(tokens, *place)
    })
}

/// Whether a query may begin here.
pub(super) fn begins(tokens: &[TokenWithSpan], place: usize) -> bool {
    let before = |place: usize| (0..place).rev().find(|place| !is_space(&tokens[*place]));
    let Some(last) = before(place) else { return true };
    match tokens[last].token {
        Token::LParen | Token::SemiColon => true,
        // The end of what `with` names.
        Token::RParen => {
            let mut depth = 0;
            for open in (0..=last).rev() {
                match tokens[open].token {
                    Token::RParen => depth += 1,
                    Token::LParen => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    let word = before(open).and_then(|place| keyword(&tokens[place]));
                    return matches!(word, Some(Keyword::AS | Keyword::MATERIALIZED));
                }
            }
            false
        }
        _ => false,
    }
}

/// Where the query ends that begins here.
pub(super) fn end_of(tokens: &[TokenWithSpan], start: usize) -> usize {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(start) {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace if depth == 0 => return place,
            Token::RParen | Token::RBracket | Token::RBrace => depth -= 1,
            Token::SemiColon | Token::EOF if depth == 0 => return place,
            _ => {}
        }
        let ends = matches!(
            keyword(token),
            Some(
                Keyword::ORDER
                    | Keyword::LIMIT
                    | Keyword::UNION
                    | Keyword::EXCEPT
                    | Keyword::INTERSECT
            )
        );
        if depth == 0 && ends {
            return place;
        }
    }
    tokens.len()
}

/// The parts of a statement behind these words, which stand outside of all parentheses.
fn parts<'t>(tokens: &'t [TokenWithSpan], words: &[Keyword]) -> Vec<Option<&'t [TokenWithSpan]>> {
    let mut starts: Vec<(usize, usize)> = Vec::new();
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0
            && let Some(word) = keyword(token)
            && let Some(which) = words.iter().position(|known| *known == word)
            && !starts.iter().any(|(known, _)| *known == which)
        {
            starts.push((which, place));
        }
    }
    (0..words.len())
        .map(|which| {
            let place = starts.iter().position(|(known, _)| *known == which)?;
            let from = starts[place].1 + 1;
            let to = starts.get(place + 1).map_or(tokens.len(), |(_, start)| *start);
            tokens.get(from..to)
        })
        .collect()
}

fn pivot(tokens: &[TokenWithSpan]) -> Result<Option<Vec<TokenWithSpan>>> {
    let words = [Keyword::PIVOT, Keyword::ON, Keyword::USING, Keyword::GROUP];
    let parts = parts(tokens, &words);
    let [Some(source), Some(on), using, group] = parts.as_slice() else { return Ok(None) };
    let among = on.iter().position(|token| keyword(token) == Some(Keyword::IN));
    let any = text(" in (any)", &tokens[0]);
    // Without `in` the columns are those of the data, which the planner asks for.
    let (column, values) = match among {
        Some(among) => on.split_at(among),
        None => (*on, any.as_slice()),
    };
    let count = text("count(*)", &tokens[0]);
    let aggregates = using.unwrap_or(&count);
    let relation = match group {
        None => source.to_vec(),
        Some(group) => {
            // `group by k` leaves out all other columns.
            let mut names: Vec<&[TokenWithSpan]> = vec![&group[..], column];
            let arguments: Vec<TokenWithSpan> = columns_of(aggregates);
            names.extend(arguments.iter().map(std::slice::from_ref));
            let mut all = text("(select ", &tokens[0]);
            for (place, name) in names.iter().enumerate() {
                if place > 0 {
                    all.extend(text(", ", &tokens[0]));
                }
                all.extend(
                    name.iter().filter(|token| keyword(token) != Some(Keyword::BY)).cloned(),
                );
            }
            all.extend(text(" from ", &tokens[0]));
            all.extend_from_slice(source);
            all.extend(text(") as pivoted_rows", &tokens[0]));
            all
        }
    };
    let mut turned = text("select * from ", &tokens[0]);
    turned.extend(relation);
    turned.extend(text(" pivot (", &tokens[0]));
    turned.extend_from_slice(aggregates);
    turned.extend(text(" for ", &tokens[0]));
    turned.extend_from_slice(column);
    turned.extend_from_slice(values);
    turned.extend(text(") ", &tokens[0]));
    Ok(Some(turned))
}

/// The names in aggregates that are no functions and no aliases.
fn columns_of(aggregates: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let said: Vec<&TokenWithSpan> = aggregates.iter().filter(|token| !is_space(token)).collect();
    let mut found: Vec<TokenWithSpan> = Vec::new();
    for (place, token) in said.iter().enumerate() {
        let Token::Word(word) = &token.token else { continue };
        let called = said.get(place + 1).is_some_and(|next| next.token == Token::LParen);
        let alias = place > 0
            && (keyword(said[place - 1]) == Some(Keyword::AS)
                || said[place - 1].token == Token::RParen);
        let plain = word.keyword == Keyword::NoKeyword || word.quote_style.is_some();
        if plain && !called && !alias && !found.iter().any(|known| known.token == token.token) {
            found.push((*token).clone());
        }
    }
    found
}

fn unpivot(tokens: &[TokenWithSpan]) -> Result<Option<Vec<TokenWithSpan>>> {
    let words = [Keyword::UNPIVOT, Keyword::ON, Keyword::INTO];
    let parts = parts(tokens, &words);
    let [Some(source), Some(columns), into] = parts.as_slice() else { return Ok(None) };
    let mut names = (text("name", &tokens[0]), text("value", &tokens[0]));
    if let Some(into) = into {
        let said: Vec<&TokenWithSpan> = into.iter().filter(|token| !is_space(token)).collect();
        let [_, name, _, value] = said.as_slice() else {
            return Err(refused("this `unpivot … into`", "write `into name kind value amount`"));
        };
        names = (vec![(*name).clone()], vec![(*value).clone()]);
    }
    let mut turned = text("select * from ", &tokens[0]);
    turned.extend_from_slice(source);
    turned.extend(text(" unpivot (", &tokens[0]));
    turned.extend(names.1);
    turned.extend(text(" for ", &tokens[0]));
    turned.extend(names.0);
    turned.extend(text(" in (", &tokens[0]));
    turned.extend_from_slice(columns);
    turned.extend(text(")) ", &tokens[0]));
    Ok(Some(turned))
}

/// Words of our own, in the place of one that was written.
pub(super) fn text(words: &str, place: &TokenWithSpan) -> Vec<TokenWithSpan> {
    let tokens = Tokenizer::new(&GenericDialect {}, words).tokenize().unwrap_or_default();
    tokens.into_iter().map(|token| TokenWithSpan { token, span: place.span }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(sql: &str) -> Result<String> {
        let mut tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap();
        written(&mut tokens)?;
        let words: String = tokens.iter().map(ToString::to_string).collect();
        Ok(without_spaces(&words))
    }

    fn without_spaces(text: &str) -> String {
        text.split_whitespace().collect()
    }

    #[test]
    fn statements_become_what_stands_behind_a_relation() {
        assert_eq!(
            turned("pivot t on c in ('x', 'y') using sum(v)").unwrap(),
            without_spaces("select * from t pivot (sum(v) for c in ('x', 'y'))")
        );
        assert_eq!(
            turned("with t as (select 1) unpivot t on a, b into name k value v").unwrap(),
            without_spaces("with t as (select 1) select * from t unpivot (v for k in (a, b))")
        );
        assert_eq!(
            turned("pivot t on c using sum(v)").unwrap(),
            without_spaces("select * from t pivot (sum(v) for c in (any))")
        );
        let plain = "select * from (select 1) pivot (sum(v) for c in ('x'))";
        assert_eq!(turned(plain).unwrap(), without_spaces(plain));
    }
}

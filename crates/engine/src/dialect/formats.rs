//! Patterns of dates in PostgreSQL's letters.

use tidemill_core::{Result, SqlDialect};

use super::refused;

/// The pattern of a system in PostgreSQL's letters.
pub(super) fn pattern(written: &str, dialect: SqlDialect) -> Result<String> {
    match dialect {
        SqlDialect::BigQuery | SqlDialect::DuckDb => percent(written, dialect),
        SqlDialect::Databricks => letters(written),
        SqlDialect::Snowflake => snowflake(written),
        SqlDialect::Redshift | SqlDialect::Postgres => Ok(written.to_owned()),
    }
}

fn unknown(piece: &str, dialect: SqlDialect) -> tidemill_core::Error {
    refused(&format!("`{piece}` in a date pattern of {dialect}"), "")
}

/// Text that stands for itself.
fn push_literal(out: &mut String, text: &str) {
    if text.chars().any(char::is_alphanumeric) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(text);
    }
}

/// `%Y-%m-%d`
fn percent(written: &str, dialect: SqlDialect) -> Result<String> {
    let mut out = String::new();
    let mut plain = String::new();
    let mut rest = written.chars().peekable();
    while let Some(letter) = rest.next() {
        if letter != '%' {
            plain.push(letter);
            continue;
        }
        let Some(mut code) = rest.next() else { return Err(unknown("%", dialect)) };
        let bare = code == '-';
        if bare {
            code = rest.next().unwrap_or('-');
        }
        if code == '%' {
            plain.push('%');
            continue;
        }
        push_literal(&mut out, &plain);
        plain.clear();
        // `%E4Y`, `%E3S`: so many digits.
        if code == 'E' && dialect == SqlDialect::BigQuery {
            let (digits, unit) = (rest.next().unwrap_or('E'), rest.next().unwrap_or('E'));
            out.push_str(match (digits, unit) {
                ('4', 'Y') => "YYYY",
                ('3', 'S') => "SS.MS",
                ('6', 'S') => "SS.US",
                _ => return Err(unknown(&format!("%E{digits}{unit}"), dialect)),
            });
            continue;
        }
        let field = match code {
            'Y' => "YYYY",
            'y' => "YY",
            'm' => "MM",
            'd' => "DD",
            'e' => "FMDD",
            'H' => "HH24",
            'I' => "HH12",
            'M' => "MI",
            'S' => "SS",
            'f' if dialect == SqlDialect::DuckDb => "US",
            'p' => "AM",
            'b' | 'h' => "Mon",
            'B' => "FMMonth",
            'a' => "Dy",
            'A' => "FMDay",
            'j' => "DDD",
            'F' => "YYYY-MM-DD",
            'T' => "HH24:MI:SS",
            'R' => "HH24:MI",
            'D' => "MM/DD/YY",
            'Q' if dialect == SqlDialect::BigQuery => "Q",
            'G' => "IYYY",
            'V' => "IW",
            'u' => "ID",
            'g' if dialect == SqlDialect::DuckDb => "MS",
            other => return Err(unknown(&format!("%{other}"), dialect)),
        };
        if bare && !field.starts_with("FM") {
            out.push_str("FM");
        }
        out.push_str(field);
    }
    push_literal(&mut out, &plain);
    Ok(out)
}

/// `yyyy-MM-dd`
fn letters(written: &str) -> Result<String> {
    let mut out = String::new();
    let letters: Vec<char> = written.chars().collect();
    let mut at = 0;
    while at < letters.len() {
        let letter = letters[at];
        if letter == '\'' {
            let end = letters[at + 1..].iter().position(|other| *other == '\'');
            let end = at + 1 + end.unwrap_or(letters.len() - at - 1);
            let text: String = letters[at + 1..end].iter().collect();
            push_literal(&mut out, if text.is_empty() { "'" } else { &text });
            at = end + 1;
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            out.push(letter);
            at += 1;
            continue;
        }
        let run = letters[at..].iter().take_while(|other| **other == letter).count();
        out.push_str(match (letter, run) {
            ('y' | 'u', 1 | 4) => "YYYY",
            ('y' | 'u', 2) => "YY",
            ('M' | 'L', 1) => "FMMM",
            ('M' | 'L', 2) => "MM",
            ('M' | 'L', 3) => "Mon",
            ('M' | 'L', 4) => "FMMonth",
            ('d', 1) => "FMDD",
            ('d', 2) => "DD",
            ('H', 1) => "FMHH24",
            ('H', 2) => "HH24",
            ('h', 1) => "FMHH12",
            ('h', 2) => "HH12",
            ('m', 1) => "FMMI",
            ('m', 2) => "MI",
            ('s', 1) => "FMSS",
            ('s', 2) => "SS",
            ('S', 3) => "MS",
            ('S', 6) => "US",
            ('a', 1) => "AM",
            ('E', 1..=3) => "Dy",
            ('E', 4) => "FMDay",
            ('D', 1) => "FMDDD",
            ('D', 3) => "DDD",
            ('Q' | 'q', 1) => "Q",
            _ => {
                let piece: String = letters[at..at + run].iter().collect();
                return Err(unknown(&piece, SqlDialect::Databricks));
            }
        });
        at += run;
    }
    Ok(out)
}

/// `YYYY-MM-DD HH24:MI:SS`, in any case of letters.
fn snowflake(written: &str) -> Result<String> {
    // Longer ones first.
    const PIECES: [(&str, &str); 24] = [
        ("YYYY", "YYYY"),
        ("MMMM", "FMMonth"),
        ("HH24", "HH24"),
        ("HH12", "HH12"),
        ("MON", "Mon"),
        ("FF0", ""),
        ("FF3", "MS"),
        ("FF6", "US"),
        ("FF9", "US000"),
        ("FF", "US000"),
        ("YY", "YY"),
        ("MM", "MM"),
        ("DD", "DD"),
        ("DY", "Dy"),
        ("MI", "MI"),
        ("SS", "SS"),
        ("AM", "AM"),
        ("PM", "AM"),
        ("-", "-"),
        ("/", "/"),
        (":", ":"),
        (".", "."),
        (" ", " "),
        (",", ","),
    ];
    let mut out = String::new();
    let mut rest = written;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            push_literal(&mut out, text);
            rest = after;
            continue;
        }
        let found = PIECES.iter().find(|(piece, _)| {
            rest.get(..piece.len()).is_some_and(|start| start.eq_ignore_ascii_case(piece))
        });
        match found {
            Some((piece, field)) => {
                out.push_str(field);
                rest = &rest[piece.len()..];
            }
            None => {
                let mut letters = rest.chars();
                let Some(letter) = letters.next() else { break };
                // `T` between a date and a time.
                if letter.is_alphanumeric() && !matches!(letter, 'T' | 'Z') {
                    return Err(unknown(rest, SqlDialect::Snowflake));
                }
                push_literal(&mut out, &letter.to_string());
                rest = letters.as_str();
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_dates() {
        for (dialect, written, expected) in [
            (SqlDialect::BigQuery, "%Y-%m-%dT%H:%M:%S", "YYYY-MM-DD\"T\"HH24:MI:SS"),
            (SqlDialect::BigQuery, "Q%Q %B", "\"Q\"Q FMMonth"),
            (SqlDialect::DuckDb, "%-d/%-m/%y", "FMDD/FMMM/YY"),
            (SqlDialect::Databricks, "yyyy-MM-dd'T'HH:mm", "YYYY-MM-DD\"T\"HH24:MI"),
            (SqlDialect::Snowflake, "yyyy-mm-dd hh24:mi:ss.ff3", "YYYY-MM-DD HH24:MI:SS.MS"),
            (SqlDialect::Snowflake, "DD MON YYYY", "DD Mon YYYY"),
            (SqlDialect::Redshift, "YYYY-MM-DD", "YYYY-MM-DD"),
        ] {
            assert_eq!(pattern(written, dialect).unwrap(), expected, "{written}");
        }
        assert!(pattern("%Z", SqlDialect::BigQuery).is_err());
        assert!(pattern("WW", SqlDialect::Snowflake).is_err());
        assert!(pattern("zzz", SqlDialect::Databricks).is_err());
    }
}

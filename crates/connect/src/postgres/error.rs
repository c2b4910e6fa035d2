//! PostgreSQL's errors as ours.

use tidemill_core::{Error, ErrorKind};
use tokio_postgres::error::{DbError, ErrorPosition};

/// Which kind an SQLSTATE is.
pub(super) fn kind_of(state: &str) -> ErrorKind {
    match state {
        "42501" => ErrorKind::Denied,
        "42P04" | "42P06" | "42P07" | "42710" => ErrorKind::AlreadyExists,
        "3D000" | "3F000" => ErrorKind::NotFound,
        "55P03" | "55006" => ErrorKind::Conflict,
        "57014" => ErrorKind::Resources,
        "57P01" | "57P02" | "57P03" => ErrorKind::Unavailable,
        _ => match state.get(..2).unwrap_or_default() {
            "08" => ErrorKind::Unavailable,
            "0A" => ErrorKind::Unsupported,
            "22" | "23" | "44" | "P0" => ErrorKind::Data,
            "28" => ErrorKind::Denied,
            "40" => ErrorKind::Conflict,
            "53" | "54" => ErrorKind::Resources,
            "58" | "F0" => ErrorKind::Io,
            _ => ErrorKind::Query,
        },
    }
}

/// The error of a statement. Its context names the SQLSTATE and, where PostgreSQL tells it, the
/// `position`: how many characters into the statement. The message shows the line with a caret.
pub(super) fn of_statement(error: tokio_postgres::Error, sql: &str, shift: usize) -> Error {
    match error.as_db_error() {
        Some(found) => of_database(found, Some((sql, shift))),
        None => of_connection(error),
    }
}

fn of_database(found: &DbError, statement: Option<(&str, usize)>) -> Error {
    let mut message = found.message().to_owned();
    let position = match (found.position(), statement) {
        (Some(ErrorPosition::Original(position)), Some((sql, shift))) => {
            let at = (*position as usize).saturating_sub(1 + shift);
            message.push_str(&excerpt(sql, at));
            Some(at)
        }
        (Some(ErrorPosition::Internal { query, position }), _) => {
            message.push_str(&excerpt(query, (*position as usize).saturating_sub(1)));
            None
        }
        _ => None,
    };
    for (word, text) in [("detail", found.detail()), ("context", found.where_())] {
        if let Some(text) = text {
            message.push_str(&format!("\n{word}: {text}"));
        }
    }
    let mut error = Error::new(kind_of(found.code().code()), message);
    if let Some(hint) = found.hint() {
        error = error.with("hint", hint);
    }
    if let Some(position) = position {
        error = error.with("position", position);
    }
    error.with("sqlstate", found.code().code())
}

/// The error of a connection that could not be made, or broke.
pub(super) fn of_connection(error: tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(found) => of_database(found, None),
        None if error.is_closed() => {
            Error::new(ErrorKind::Unavailable, "the connection to PostgreSQL is closed")
        }
        None => {
            Error::new(ErrorKind::Unavailable, "the connection to PostgreSQL failed").because(error)
        }
    }
}

/// The line of a text that a place is in, with a caret below the place.
fn excerpt(sql: &str, at: usize) -> String {
    let Some((line, column, text)) = place(sql, at) else { return String::new() };
    let label = format!("LINE {line}: ");
    let blanks = label.chars().count() + column - 1;
    format!("\n{label}{text}\n{}^", " ".repeat(blanks))
}

/// Line and column (from 1) of a place, and the text of its line.
fn place(sql: &str, at: usize) -> Option<(usize, usize, &str)> {
    let offset = sql.char_indices().map(|(offset, _)| offset).nth(at).or(
        // Just behind the end: "syntax error at end of input".
        (at > 0 && sql.chars().count() == at).then_some(sql.len()),
    )?;
    let before = &sql[..offset];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let text = sql[start..].split('\n').next().unwrap_or_default();
    Some((line, sql[start..offset].chars().count() + 1, text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_with_its_line() {
        let sql = "select 1,\n  wröng\nfrom t";
        assert_eq!(excerpt(sql, 12), "\nLINE 2:   wröng\n          ^");
        assert_eq!(place(sql, 12), Some((2, 3, "  wröng")));
        assert_eq!(place("select", 6), Some((1, 7, "select")));
        assert_eq!(place("select", 9), None);
    }

    #[test]
    fn states_have_kinds() {
        for (state, kind) in [
            ("42601", ErrorKind::Query),
            ("42501", ErrorKind::Denied),
            ("23505", ErrorKind::Data),
            ("40P01", ErrorKind::Conflict),
            ("55P03", ErrorKind::Conflict),
            ("08006", ErrorKind::Unavailable),
            ("28P01", ErrorKind::Denied),
            ("P0001", ErrorKind::Data),
        ] {
            assert_eq!(kind_of(state), kind, "{state}");
        }
    }
}

//! Handles of the manager, and what it says of a failure.
#![allow(unsafe_code, reason = "functions in C are called here")]

use std::sync::Arc;

use tidemill_core::{Error, ErrorKind, Result};

use super::functions::{
    CONNECTION, ENVIRONMENT, Functions, NO_DATA, Raw, SUCCESS, SUCCESS_WITH_INFO, Wide,
};

/// How many records of a failure are shown.
const RECORDS: i16 = 4;

/// A handle, freed in the end, and after those that are below it.
pub(super) struct Handle {
    pub(super) functions: Arc<Functions>,
    kind: i16,
    pub(super) raw: Raw,
    /// What it is of, which is freed after it.
    _parent: Option<Arc<Handle>>,
    /// A connection that is made.
    pub(super) connected: std::sync::atomic::AtomicBool,
}

// SAFETY: handles of ODBC 3 may be used by any thread; the manager takes one after the other.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        let functions = &self.functions;
        // SAFETY: the handle is ours, and nothing below it is left, as that holds it. What fails in the end
        // has nobody who could do something about it.
        unsafe {
            if self.kind == CONNECTION && self.connected.load(std::sync::atomic::Ordering::Relaxed)
            {
                // A transaction that is open is undone; some drivers do not end otherwise.
                let _ = (functions.SQLEndTran)(CONNECTION, self.raw, super::functions::ROLLBACK);
                let _ = (functions.SQLDisconnect)(self.raw);
            }
            let _ = (functions.SQLFreeHandle)(self.kind, self.raw);
        }
    }
}

impl Handle {
    pub(super) fn environment(functions: Arc<Functions>) -> Result<Handle> {
        Handle::new(functions, ENVIRONMENT, None)
    }

    /// One below another.
    pub(super) fn below(parent: &Arc<Handle>, kind: i16) -> Result<Handle> {
        Handle::new(parent.functions.clone(), kind, Some(parent.clone()))
    }

    fn new(functions: Arc<Functions>, kind: i16, parent: Option<Arc<Handle>>) -> Result<Handle> {
        let above = parent.as_ref().map_or(std::ptr::null_mut(), |parent| parent.raw);
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is written to, and `above` is a handle of the right kind or none.
        let code = unsafe { (functions.SQLAllocHandle)(kind, above, &mut raw) };
        if !matches!(code, SUCCESS | SUCCESS_WITH_INFO) || raw.is_null() {
            let error = parent.as_ref().map(|parent| parent.failure(""));
            return Err(error.unwrap_or_else(|| {
                Error::new(ErrorKind::Resources, "the manager of ODBC gives no handle")
            }));
        }
        Ok(Handle { functions, kind, raw, _parent: parent, connected: false.into() })
    }

    /// The failure as an error, if the code is one.
    pub(super) fn check(&self, code: i16, sql: &str) -> Result<()> {
        match code {
            SUCCESS | SUCCESS_WITH_INFO | NO_DATA => Ok(()),
            _ => Err(self.failure(sql)),
        }
    }

    /// What the last call on this handle failed of.
    pub(super) fn failure(&self, sql: &str) -> Error {
        let mut messages: Vec<String> = Vec::new();
        let mut first: Option<(String, i32)> = None;
        for record in 1..=RECORDS {
            let Some((state, native, message)) = self.record(record) else { break };
            // A warning that comes before what it is about.
            let is_better = first.as_ref().is_none_or(|(first, _)| first.starts_with("01"));
            if is_better {
                first = Some((state, native));
            }
            let message = plain(&message);
            if !messages.contains(&message) {
                messages.push(message);
            }
        }
        let (state, native) = first.unwrap_or_default();
        let mut message = messages.join("; ");
        if message.is_empty() {
            message = "the driver failed and does not say why".to_owned();
        }
        let kind = kind_of(&state, native, &message);
        let is_syntax = matches!(state.as_str(), "42601") || native == 1064 && state == "42000";
        if is_syntax && !message.contains("syntax error") {
            message = format!("syntax error: {message}");
        }
        let mut error = Error::new(kind, message).with("code", format!("{state} ({native})"));
        if !sql.is_empty() && kind == ErrorKind::Query {
            error = error.with("sql", sql);
        }
        error
    }

    fn record(&self, number: i16) -> Option<(String, i32, String)> {
        let mut state = [0 as Wide; 6];
        let mut native = 0;
        let mut text = vec![0 as Wide; 2048];
        let mut length = 0;
        let room = i16::try_from(text.len()).unwrap_or(i16::MAX);
        // SAFETY: the state has six characters with its end, and the text as many as is said.
        let code = unsafe {
            (self.functions.SQLGetDiagRecW)(
                self.kind,
                self.raw,
                number,
                state.as_mut_ptr(),
                &mut native,
                text.as_mut_ptr(),
                room,
                &mut length,
            )
        };
        if !matches!(code, SUCCESS | SUCCESS_WITH_INFO) {
            return None;
        }
        let length = usize::try_from(length).unwrap_or(0).min(text.len() - 1);
        let state = String::from_utf16_lossy(&state[..5]).trim_end_matches('\0').to_owned();
        let text = String::from_utf16_lossy(&text[..length]).trim_end_matches('\0').to_owned();
        Some((state, native, text))
    }
}

/// A message without the names of manager and driver before it: `[unixODBC][Driver]…`.
fn plain(message: &str) -> String {
    let mut rest = message.trim();
    while let Some(inside) = rest.strip_prefix('[') {
        let Some((_, behind)) = inside.split_once(']') else { break };
        rest = behind.trim_start();
    }
    let text = rest.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_start_matches("ERROR: ");
    text.split("; Error while").next().unwrap_or(text).trim_end_matches(';').to_owned()
}

/// What the state (`SQLSTATE`) says, or where it says nothing the driver's own number.
fn kind_of(state: &str, native: i32, message: &str) -> ErrorKind {
    match state {
        "IM002" | "IM003" | "IM004" | "IM005" => ErrorKind::Config,
        _ if message.contains("Can't open lib") => ErrorKind::Config,
        "28000" | "28P01" | "42501" => ErrorKind::Denied,
        "42S02" | "42P01" | "3D000" | "3F000" => ErrorKind::NotFound,
        "HY008" => ErrorKind::Cancelled,
        "57014" | "HY001" | "HY013" | "53100" | "53200" => ErrorKind::Resources,
        "HYT00" | "HYT01" | "40001" | "40P01" | "57P01" | "57P02" | "57P03" => {
            ErrorKind::Unavailable
        }
        _ if state.starts_with("08") => ErrorKind::Unavailable,
        _ if state.starts_with("22") || state.starts_with("23") => ErrorKind::Data,
        // Of MySQL and MariaDB.
        "HY000" if matches!(native, 2002 | 2003 | 2006 | 2013 | 1205 | 1213) => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Query,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_without_the_names_before_them() {
        for (message, expected) in [
            ("[unixODBC][Driver Manager]Can't open lib 'x'", "Can't open lib 'x'"),
            ("[SQLite]no such table: t (1)", "no such table: t (1)"),
            (
                "ERROR: relation \"t\" does not exist;\nError while executing the query",
                "relation \"t\" does not exist",
            ),
        ] {
            assert_eq!(plain(message), expected);
        }
    }

    #[test]
    fn states_are_kinds() {
        for (state, native, kind) in [
            ("08001", 0, ErrorKind::Unavailable),
            ("28000", 1045, ErrorKind::Denied),
            ("42S02", 1146, ErrorKind::NotFound),
            ("23505", 0, ErrorKind::Data),
            ("42601", 7, ErrorKind::Query),
            ("HY000", 2013, ErrorKind::Unavailable),
            ("HY000", 1, ErrorKind::Query),
        ] {
            assert_eq!(kind_of(state, native, ""), kind, "{state}");
        }
    }
}

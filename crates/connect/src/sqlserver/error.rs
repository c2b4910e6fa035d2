//! Errors of the server and the way to it as ours.

use tiberius::error::Error as Failure;
use tidemill_core::{Error, ErrorKind};

/// The failure, with the statement that failed where there is one.
pub(super) fn failure(failed: Failure, sql: &str) -> Error {
    let (kind, message) = match &failed {
        Failure::Server(token) => (kind_of(token.code()), token.message().to_owned()),
        Failure::Io { message, .. } => {
            (ErrorKind::Unavailable, format!("the connection is lost: {message}"))
        }
        Failure::Tls(message) => (ErrorKind::Config, format!("no encrypted connection: {message}")),
        other => (ErrorKind::Query, other.to_string()),
    };
    let mut error = Error::new(kind, tidemill_core::scrub(&message).into_owned());
    if let Failure::Server(token) = &failed {
        error = error.with("code", token.code());
    }
    if matches!(failed, Failure::Tls(_)) {
        error = error.with(
            "help",
            "the server's certificate must be of this host and of a known authority: write it as `ca`, or \
             `trust_server_certificate: true` where the network is trusted",
        );
    }
    if !sql.is_empty() && kind == ErrorKind::Query {
        error = error.with("sql", sql);
    }
    error
}

/// What a number of an error stands for.
fn kind_of(code: u32) -> ErrorKind {
    match code {
        // Login failed, cannot open the database, no permission.
        18452 | 18456 | 18470 | 18487 | 18488 | 4060 | 229 | 230 | 262 | 300 => ErrorKind::Denied,
        // Invalid object, no such database.
        208 | 911 | 2812 => ErrorKind::NotFound,
        // Deadlock victim, lock timeout, going down, not available, busy, lost (also of Azure).
        1205 | 1222 | 6005 | 233 | 10053 | 10054 | 10060 | 10928 | 10929 | 40143 | 40197
        | 40501 | 40540 | 40613 | 42108 | 42109 | 49918 | 49919 | 49920 | 3906 | 3960 => {
            ErrorKind::Unavailable
        }
        // No memory, no room in tempdb.
        701 | 802 | 1101 | 1105 | 8645 | 8651 => ErrorKind::Resources,
        _ => ErrorKind::Query,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_errors() {
        for (code, kind) in [
            (18456, ErrorKind::Denied),
            (208, ErrorKind::NotFound),
            (1205, ErrorKind::Unavailable),
            (102, ErrorKind::Query),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
        let tls = failure(Failure::Tls("unknown issuer".to_owned()), "");
        assert!(tls.report().contains("trust_server_certificate"), "{}", tls.report());
    }
}

//! Errors of the server and the way to it as ours.

use mysql_async::Error as Failure;
use tidemill_core::{Error, ErrorKind};

/// The failure, with the statement that failed where there is one.
pub(super) fn failure(failed: Failure, sql: &str) -> Error {
    let (kind, message) = match &failed {
        Failure::Server(error) => {
            let kind = match error.code {
                // Refused: user, password, grants.
                1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 => ErrorKind::Denied,
                // No such database or table.
                1049 | 1146 => ErrorKind::NotFound,
                // Too many connections, shutting down, locked, altered since the transaction began, lost.
                1040 | 1053 | 1077 | 1079 | 1205 | 1213 | 1412 | 1927 | 2006 | 2013 => {
                    ErrorKind::Unavailable
                }
                // Ended by somebody, or by a limit of time.
                1317 | 1969 | 3024 => ErrorKind::Resources,
                _ => ErrorKind::Query,
            };
            let message = match error.code {
                1064 => format!("syntax error: {}", error.message),
                _ => error.message.clone(),
            };
            (kind, message)
        }
        Failure::Io(error) => (ErrorKind::Unavailable, format!("the connection is lost: {error}")),
        Failure::Driver(error) => {
            let kind = match error {
                mysql_async::DriverError::ConnectionClosed => ErrorKind::Unavailable,
                mysql_async::DriverError::NoClientSslFlagFromServer => ErrorKind::Config,
                _ => ErrorKind::Query,
            };
            (kind, error.to_string())
        }
        other => (ErrorKind::Config, other.to_string()),
    };
    let mut error = Error::new(kind, message);
    if let Failure::Server(server) = &failed {
        error = error.with("code", format!("{} ({})", server.code, server.state));
    }
    if !sql.is_empty() && kind == ErrorKind::Query {
        error = error.with("sql", sql);
    }
    error
}

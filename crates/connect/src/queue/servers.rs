//! What connections to servers of queues have in common.

use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result};

/// Servers as people write them: a text with commas, or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Servers {
    /// By commas.
    Text(String),
    /// One by one.
    List(Vec<String>),
}

impl Servers {
    /// One by one, without blanks.
    pub(crate) fn list(&self) -> Vec<&str> {
        let written: Vec<&str> = match self {
            Servers::Text(text) => text.split(',').collect(),
            Servers::List(list) => list.iter().map(String::as_str).collect(),
        };
        written.into_iter().map(str::trim).filter(|server| !server.is_empty()).collect()
    }
}

/// Whether the settings `tls`, `ca`, `client_cert` and `client_key` go together.
///
/// # Errors
/// Kind `Config`.
pub(crate) fn check_encryption(
    tls: bool,
    ca: bool,
    client_cert: bool,
    client_key: bool,
) -> Result<()> {
    let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
    if !tls && (ca || client_cert || client_key) {
        return wrong("`ca`, `client_cert` and `client_key` go with `tls: true`");
    }
    match client_cert == client_key {
        true => Ok(()),
        false => wrong("`client_cert` and `client_key` have to be given together"),
    }
}

//! The one place that speaks HTTP.

use std::io::Read;

use tidemill_core::{Error, ErrorKind, Result};

/// The longest answer that is read: no package is near it.
const LIMIT: u64 = 512 << 20;

/// Chooses the process's TLS implementation. To be called once, before the first request.
pub fn install_tls() {
    // A second call finds the first one's choice, which is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An answer with its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Fetches an address. Redirects are followed; a status is no error here.
pub(crate) fn get(url: &str) -> Result<Answer> {
    let failed = |error: ureq::Error| {
        Error::new(ErrorKind::Unavailable, format!("`{}` cannot be fetched", shown(url)))
            .because(error)
    };
    let mut response = tidemill_objects::web_agent().get(url).call().map_err(failed)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    response
        .body_mut()
        .with_config()
        .limit(LIMIT)
        .reader()
        .read_to_end(&mut body)
        .map_err(|error| failed(ureq::Error::Io(error)))?;
    tracing::debug!(status, bytes = body.len(), "fetched");
    Ok(Answer { status, body })
}

/// An address without the name and password in it.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = rest.find('/').unwrap_or(rest.len());
    match rest[..host].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("https://me:secret@x.org/a@b"), "https://***@x.org/a@b");
        assert_eq!(shown("https://x.org/a@b"), "https://x.org/a@b");
        assert_eq!(shown("git@x.org:a/b.git"), "git@x.org:a/b.git");
    }
}

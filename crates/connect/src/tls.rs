//! Which servers are trusted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidemill_core::{Error, ErrorKind, Result};

/// The certificates of authorities that this machine trusts, in PEM. `setting` names others in their place.
///
/// # Errors
/// Kind `Config` where there are none.
pub(crate) fn system_roots(setting: &str) -> Result<Vec<u8>> {
    let mut pem = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let digits = STANDARD.encode(certificate.as_ref());
        for line in digits.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    if pem.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            format!("there is no root certificate to verify the server with; set `{setting}`"),
        ));
    }
    Ok(pem.into_bytes())
}

//! Which servers are trusted, and who the client is.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

/// What encrypts, checks the server by these authorities (the machine's, if none are given), and shows this
/// certificate with its key, if one is given. Messages name the settings `ca`, `client_cert` and `client_key`.
///
/// # Errors
/// Kind `Config` for files that cannot be read.
pub(crate) fn client_config(
    ca: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> Result<ClientConfig> {
    let unreadable = |setting: &str, file: &Path| {
        Error::new(ErrorKind::Config, format!("`{setting}` cannot be read"))
            .with("file", file.display())
    };
    let chain = |setting: &str, file: &Path| {
        CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .map_err(|error| unreadable(setting, file).because(error))
    };
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            for certificate in chain("ca", file)? {
                roots.add(certificate).map_err(|error| unreadable("ca", file).because(error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(no_roots("ca"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .or_error(ErrorKind::Internal, "TLS cannot be set up")?
        .with_root_certificates(roots);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| unreadable("client_key", key).because(error))?;
            builder.with_client_auth_cert(chain("client_cert", certificate)?, private).or_error(
                ErrorKind::Config,
                "`client_cert` and `client_key` do not belong together",
            )
        }
    }
}

fn no_roots(setting: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("there is no root certificate to verify the server with; set `{setting}`"),
    )
}

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
        return Err(no_roots(setting));
    }
    Ok(pem.into_bytes())
}

//! Options of a store, by name.

use std::collections::BTreeMap;
use std::fmt;

use tidemill_core::{Error, ErrorKind, Secret};

/// Options of a store. They may hold secrets, so they show their names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreOptions(BTreeMap<String, String>);

impl StoreOptions {
    /// None: everything comes from the environment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option. The value of one that holds a secret is covered in all output from now on.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        if tidemill_core::is_secret_key(key) || key.ends_with("service_account_key") {
            Secret::new(value.as_str());
        }
        self.0.insert(key.to_ascii_lowercase(), value);
    }

    /// Whether there is an option of this name.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for StoreOptions {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(options: I) -> Self {
        let mut all = Self::new();
        for (key, value) in options {
            all.set(key.as_ref(), value);
        }
        all
    }
}

/// An option that the service does not have.
pub(crate) fn unknown(key: &str, service: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{service} has no option `{key}`")).with(
        "hint",
        match service {
            "S3" => {
                "some there are: region, endpoint, access_key_id, secret_access_key, \
                 session_token, profile, virtual_hosted_style_request, skip_signature, allow_http"
            }
            "GCS" => {
                "some there are: service_account (a file), service_account_key, \
                 application_credentials, base_url, skip_signature"
            }
            _ => {
                "some there are: account_name, account_key, sas_token, client_id, client_secret, \
                 tenant_id, endpoint, use_emulator, use_azure_cli, skip_signature"
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_shown() {
        let options: StoreOptions =
            [("Region", "eu"), ("secret_access_key", "very secret indeed")].into_iter().collect();
        assert_eq!(format!("{options:?}"), r#"{"region", "secret_access_key"}"#);
        assert_eq!(tidemill_core::scrub("a very secret indeed key"), "a ***** key");
    }
}

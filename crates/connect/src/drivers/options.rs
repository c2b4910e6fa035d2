//! Options of a driver: each is written as it is, or refers to a secret.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tidemill_core::{Result, Secret, SecretRef};

/// A value of an option.
#[derive(Clone)]
pub(crate) enum OptionValue {
    Plain(String),
    Secret(SecretRef),
}

/// Options by their names.
pub(crate) type Options = BTreeMap<String, OptionValue>;

impl OptionValue {
    /// The value; fetches a secret.
    pub(crate) fn resolve(&self, project: &Path) -> Result<String> {
        let text = match self {
            OptionValue::Plain(text) => text.clone(),
            OptionValue::Secret(secret) => secret.resolve(project)?.expose().to_owned(),
        };
        // Messages of drivers repeat parts of an address.
        if let Ok(address) = url::Url::parse(&text)
            && let Some(password) = address.password()
        {
            drop(Secret::new(password));
        }
        Ok(text)
    }
}

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |error: serde_json::Error| serde::de::Error::custom(error.to_string());
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(OptionValue::Plain(text)),
            Value::Number(number) => Ok(OptionValue::Plain(number.to_string())),
            Value::Bool(value) => Ok(OptionValue::Plain(value.to_string())),
            other => serde_json::from_value(other).map(OptionValue::Secret).map_err(wrong),
        }
    }
}

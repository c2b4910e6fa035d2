//! Secrets: values that are never shown, and where they come from.
//!
//! A secret is never part of a project: its settings *refer* to it, by the environment, a file or a
//! command's output. Whatever value was once a [`Secret`] in this process is taken out of every text
//! that goes through [`scrub`], and all output and logs do, so that a text of somebody else's (an error of
//! a driver that repeats its connection string) does not give it away either.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::{Error, ErrorKind, Result, ResultExt};

/// What stands where a secret stood.
const COVER: &str = "*****";

/// Shorter values are not looked for in texts: they would be found everywhere.
const LEAST_LENGTH: usize = 4;

/// How long a command may take to print a secret.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// All secrets of this process, the longest first, so that one that contains another is covered whole.
static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// A value that must never be shown: it has no `Debug`, no `Display` and no `Serialize`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps the value as early as it is known to be secret. From now on [`scrub`] covers it.
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        remember(&value);
        Secret(value)
    }

    /// The value, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

fn remember(value: &str) {
    let lines = value.lines().map(str::trim);
    for text in std::iter::once(value.trim()).chain(lines) {
        know(text);
        if let Some(encoded) = in_address(text) {
            know(&encoded);
        }
    }
}

fn know(text: &str) {
    if text.len() < LEAST_LENGTH {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if !known.iter().any(|other| other == text) {
        let at = known.partition_point(|other| other.len() > text.len());
        known.insert(at, text.to_owned());
    }
}

/// The text as it is written in addresses, where that is another one.
fn in_address(text: &str) -> Option<String> {
    let is_plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if text.as_bytes().iter().all(is_plain) {
        return None;
    }
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match is_plain(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Some(encoded)
}

/// The text with every secret of this process covered.
pub fn scrub(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut text = Cow::Borrowed(text);
    for secret in known.iter() {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), COVER));
        }
    }
    text
}

/// Where a secret is to be had: what stands in a setting such as `password`.
///
/// ```yaml
/// password: "{{ env_var('SHOP_PASSWORD') }}"       # rendered: the value itself
/// password: {env: SHOP_PASSWORD}
/// password: {file: /run/secrets/shop}
/// password: {command: "pass show shop"}
/// ```
#[derive(Clone)]
pub enum SecretRef {
    /// The value itself, from a template.
    Value(Secret),
    /// The environment variable of this name.
    Environment(String),
    /// The content of this file, without the line break at its end.
    File(PathBuf),
    /// What this command of the shell prints, without the line break at its end.
    Command(String),
}

impl SecretRef {
    /// Gets the secret now. Files are relative to `project`, where commands run too.
    ///
    /// # Errors
    /// Kind `Config` when it is not to be had; the message names the reference, never a value, and
    /// nothing that the command printed.
    pub fn resolve(&self, project: &Path) -> Result<Secret> {
        match self {
            SecretRef::Value(secret) => Ok(secret.clone()),
            SecretRef::Environment(name) => std::env::var(name).map(Secret::new).map_err(|_| {
                Error::new(
                    ErrorKind::Config,
                    format!("the environment variable `{name}`, which holds a secret, is not set"),
                )
            }),
            SecretRef::File(path) => {
                let text = std::fs::read_to_string(project.join(path)).map_err(|error| {
                    Error::new(ErrorKind::Config, "the file of a secret cannot be read")
                        .with("file", path.display())
                        .because(error)
                })?;
                Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
            }
            SecretRef::Command(command) => from_command(command, project),
        }
    }
}

fn from_command(command: &str, project: &Path) -> Result<Secret> {
    let failed = |why: String| {
        Error::new(ErrorKind::Config, format!("the command that gives a secret {why}"))
            .with("command", command)
    };
    let mut child = Command::new("sh")
        .args(["-c", command])
        .current_dir(project)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .or_error(ErrorKind::Config, "the command that gives a secret could not be started")?;
    let output = child.stdout.take();
    // Read beside the wait, so that a long output cannot block the command.
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut output) = output {
            std::io::Read::read_to_string(&mut output, &mut text)?;
        }
        std::io::Result::Ok(text)
    });
    let end = Instant::now() + COMMAND_TIME;
    let status = loop {
        if let Some(status) = child.try_wait().or_error(ErrorKind::Io, "a command was lost")? {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(format!("took longer than {} s", COMMAND_TIME.as_secs())));
        }
        nap();
    };
    if !status.success() {
        return Err(failed(format!("failed ({status})")));
    }
    let text = match reader.join() {
        Ok(Ok(text)) => text,
        _ => return Err(failed("printed no text".to_owned())),
    };
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(failed("printed nothing".to_owned()));
    }
    Ok(Secret::new(text))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the end of a process is not notified without signals"
)]
fn nap() {
    std::thread::sleep(Duration::from_millis(5));
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = SecretRef;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a reference to a secret: \"{{ env_var('NAME') }}\", {env: NAME}, {file: PATH} \
                     or {command: TEXT}",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SecretRef, E> {
                Ok(SecretRef::Value(Secret::new(text)))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<SecretRef, E> {
                Ok(SecretRef::Value(Secret::new(number.to_string())))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<SecretRef, E> {
                Ok(SecretRef::Value(Secret::new(number.to_string())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
                let expected = || A::Error::custom("expected one of `env`, `file`, `command`");
                let (key, value) = map.next_entry::<String, String>()?.ok_or_else(expected)?;
                let reference = match key.as_str() {
                    "env" => SecretRef::Environment(value),
                    "file" => SecretRef::File(value.into()),
                    "command" => SecretRef::Command(value),
                    _ => return Err(expected()),
                };
                match map.next_key::<String>()? {
                    None => Ok(reference),
                    Some(_) => Err(expected()),
                }
            }
        }

        deserializer.deserialize_any(Reading)
    }
}

/// Shows the kind of reference, never the value.
impl std::fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretRef::Value(_) => f.write_str(COVER),
            SecretRef::Environment(name) => write!(f, "env {name}"),
            SecretRef::File(path) => write!(f, "file {}", path.display()),
            SecretRef::Command(_) => f.write_str("command"),
        }
    }
}

/// The names of settings that hold secrets, whatever the connector. What stands there must be a
/// reference.
pub fn is_secret_key(key: &str) -> bool {
    const PARTS: [&str; 14] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "api_key",
        "apikey",
        "private_key",
        "access_key",
        "account_key",
        "credential",
        "connection_string",
        "nkey",
        "sas",
    ];
    // These say where something is, or whose it is.
    const NOT: [&str; 6] = ["_file", "_path", "_url", "_id", "_name", "_endpoint"];
    let key = key.to_ascii_lowercase();
    let named = PARTS.iter().any(|part| match *part {
        "sas" => matches!(key.as_str(), "sas" | "pwd"),
        part => key.contains(part),
    });
    named && !NOT.iter().any(|end| key.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_secret_once_is_covered() {
        let _long = Secret::new("correct horse battery");
        let _short = Secret::new("horse battery");
        let _tiny = Secret::new("abc");
        assert_eq!(
            scrub("login with correct horse battery (horse battery) abc"),
            "login with ***** (*****) abc"
        );
        assert!(matches!(scrub("nothing here"), Cow::Borrowed(_)));
        let _odd = Secret::new("p@ss/wörd");
        assert_eq!(scrub("pg://me:p%40ss%2Fw%C3%B6rd@host"), "pg://me:*****@host");
    }

    #[test]
    fn secrets_come_from_references() {
        let folder = std::env::temp_dir();
        let file = folder.join(format!("tidemill-secret-{}", std::process::id()));
        std::fs::write(&file, "in a file\n").unwrap();
        let parse = |text: &str| serde_json::from_str::<SecretRef>(text);
        for (text, value) in [
            (r#""rendered value""#.to_owned(), "rendered value"),
            (format!(r#"{{"file": {file:?}}}"#), "in a file"),
            (r#"{"command": "printf 'of a command\n'"}"#.to_owned(), "of a command"),
        ] {
            assert_eq!(parse(&text).unwrap().resolve(&folder).unwrap().expose(), value);
        }
        std::fs::remove_file(&file).unwrap();
        for text in [r#"{"keyring": "x"}"#, r#"{"env": "A", "file": "b"}"#, "{}", "true"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for (text, message) in [
            (r#"{"env": "TIDEMILL_NO_SUCH"}"#, "`TIDEMILL_NO_SUCH`"),
            (r#"{"file": "no/such"}"#, "cannot be read"),
            (r#"{"command": "echo leaked >&2; echo leaked; exit 3"}"#, "failed"),
            (r#"{"command": "true"}"#, "printed nothing"),
        ] {
            let Err(error) = parse(text).unwrap().resolve(&folder) else { panic!("{text}") };
            let report = error.report();
            assert!(report.contains(message) && !report.starts_with("leaked"), "{report}");
        }
    }

    #[test]
    fn keys_of_secrets_are_known() {
        for key in [
            "password",
            "sslpassword",
            "client_secret",
            "api_key",
            "AWS_SECRET_ACCESS_KEY",
            "sas",
            "Pwd",
            "connection_string",
            "token",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in [
            "host",
            "sas_url",
            "token_url",
            "private_key_path",
            "access_key_id",
            "secret_name",
            "user",
        ] {
            assert!(!is_secret_key(key), "{key}");
        }
    }
}

//! Whether the server is the one that is meant.

use std::path::{Path, PathBuf};

use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Fingerprint, HashAlg};
use russh::keys::{Algorithm, PublicKey, known_hosts, parse_public_key_base64};
use tidemill_core::{Error, ErrorKind, Result};

use super::OneOrMany;

/// The keys that a server may have.
#[derive(Debug, Clone)]
pub(super) enum HostKeys {
    /// Those that the connection names.
    Given { fingerprints: Vec<Fingerprint>, keys: Vec<KeyData> },
    /// Those of the files of known servers.
    Known(KnownHosts),
}

/// Files of known servers, as `ssh` has them.
#[derive(Debug, Clone)]
pub(super) struct KnownHosts {
    files: Vec<PathBuf>,
}

/// What the files say of a server.
#[derive(Debug, Default)]
struct Entries {
    keys: Vec<KeyData>,
    revoked: Vec<KeyData>,
}

impl KnownHosts {
    /// The file that a connection names, or those of `ssh`.
    pub(super) fn of(file: &Option<PathBuf>, project: &Path) -> KnownHosts {
        let files = match file {
            Some(file) => vec![project.join(file)],
            None => {
                let own = std::env::home_dir().map(|home| home.join(".ssh/known_hosts"));
                own.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect()
            }
        };
        KnownHosts { files }
    }

    fn entries(&self, host: &str, port: u16) -> Result<Entries> {
        let mut entries = Entries::default();
        for file in &self.files {
            let failed = |what: &str| {
                Error::new(ErrorKind::Config, what.to_owned()).with("file", file.display())
            };
            let text = match std::fs::read_to_string(file) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(failed("the file of known servers cannot be read").because(error));
                }
            };
            read_lines(&text, host, port, &mut entries);
            // Names that are hashed. Of keys that nobody uses any more it gives none.
            if let Ok(hashed) = known_hosts::known_host_keys_path(host, port, file) {
                entries.keys.extend(hashed.into_iter().map(|(_, key)| key.key_data().clone()));
            }
        }
        Ok(entries)
    }
}

/// Takes the lines whose names are written as they are, or as patterns.
fn read_lines(text: &str, host: &str, port: u16, entries: &mut Entries) {
    let name = match port {
        22 => host.to_ascii_lowercase(),
        port => format!("[{}]:{port}", host.to_ascii_lowercase()),
    };
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        let (marker, names) = match first.starts_with('@') {
            true => (first, words.next().unwrap_or_default()),
            false => ("", first),
        };
        let Some(key) = words.nth(1).and_then(|key| parse_public_key_base64(key).ok()) else {
            continue;
        };
        match marker {
            // Whose it is does not matter: somebody has it who should not.
            "@revoked" => entries.revoked.push(key.key_data().clone()),
            "" if is_named(names, &name) => entries.keys.push(key.key_data().clone()),
            _ => {}
        }
    }
}

/// Whether a list of patterns means this name: `*.example.org,!old.example.org`.
fn is_named(patterns: &str, name: &str) -> bool {
    let mut named = false;
    for pattern in patterns.split(',') {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix('!') {
            Some(pattern) if is_like(pattern.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => named |= is_like(pattern.as_bytes(), name.as_bytes()),
        }
    }
    named
}

fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|from| is_like(rest, &name[from..])),
        ([b'?', rest @ ..], [_, name @ ..]) => is_like(rest, name),
        ([letter, rest @ ..], [same, name @ ..]) if letter == same => is_like(rest, name),
        _ => false,
    }
}

/// The name that a key of this kind is asked for by, whatever it signs with.
fn family(algorithm: &Algorithm) -> Algorithm {
    match algorithm {
        Algorithm::Rsa { .. } => Algorithm::Rsa { hash: None },
        other => other.clone(),
    }
}

impl HostKeys {
    /// Those that are written in the settings.
    pub(super) fn given(written: &OneOrMany) -> Result<HostKeys> {
        let texts = match written {
            OneOrMany::One(text) => std::slice::from_ref(text),
            OneOrMany::Many(texts) => texts.as_slice(),
        };
        let (mut fingerprints, mut keys) = (Vec::new(), Vec::new());
        for text in texts {
            let text = text.trim();
            if let Ok(fingerprint) = text.parse::<Fingerprint>() {
                fingerprints.push(fingerprint);
            } else if let Ok(key) = PublicKey::from_openssh(text) {
                keys.push(key.key_data().clone());
            } else {
                let why = "`host_key` is a fingerprint or a public key";
                return Err(Error::new(ErrorKind::Config, why).with("host_key", text).with(
                    "hint",
                    "write `host_key: \"SHA256:...\"`, or the line of the server's .pub file",
                ));
            }
        }
        if fingerprints.is_empty() && keys.is_empty() {
            return Err(Error::new(ErrorKind::Config, "`host_key` has no key"));
        }
        Ok(HostKeys::Given { fingerprints, keys })
    }

    pub(super) fn known(hosts: KnownHosts) -> HostKeys {
        HostKeys::Known(hosts)
    }

    /// The kinds of keys to ask the server for, those that are known first.
    pub(super) fn order(&self, host: &str, port: u16, usual: &[Algorithm]) -> Vec<Algorithm> {
        let known: Vec<Algorithm> = match self {
            HostKeys::Given { keys, .. } => keys.iter().map(KeyData::algorithm).collect(),
            HostKeys::Known(hosts) => match hosts.entries(host, port) {
                Ok(entries) => entries.keys.iter().map(KeyData::algorithm).collect(),
                // It is said when the key is looked at.
                Err(_) => Vec::new(),
            },
        };
        let is_known =
            |algorithm: &&Algorithm| known.iter().any(|known| family(known) == family(algorithm));
        let mut order: Vec<Algorithm> = usual.iter().filter(is_known).cloned().collect();
        order.extend(usual.iter().filter(|algorithm| !is_known(algorithm)).cloned());
        order
    }

    /// Whether this is the key of the server.
    ///
    /// # Errors
    /// Kind `Denied`, with the fingerprint and what to write.
    pub(super) fn check(&self, host: &str, port: u16, key: &PublicKey) -> Result<()> {
        let found = key.key_data();
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let refused = |what: &str, hint: String| {
            let error = Error::new(ErrorKind::Denied, what.to_owned())
                .with("server", format!("{host}:{port}"))
                .with("its key", format!("{} {fingerprint}", key.algorithm()));
            Err(error.with("hint", hint))
        };
        let ask = "ask who runs the server before you trust it";
        match self {
            HostKeys::Given { fingerprints, keys } => {
                let same = |wanted: &Fingerprint| found.fingerprint(wanted.algorithm()) == *wanted;
                if keys.contains(found) || fingerprints.iter().any(same) {
                    return Ok(());
                }
                refused(
                    "the server has another key than `host_key` says: it may be another server",
                    format!("if its key was changed, write `host_key: \"{fingerprint}\"`; {ask}"),
                )
            }
            HostKeys::Known(hosts) => {
                let entries = hosts.entries(host, port)?;
                let files: Vec<String> =
                    hosts.files.iter().map(|file| file.display().to_string()).collect();
                let files = files.join(", ");
                if entries.revoked.contains(found) {
                    return refused("the key of the server is revoked", format!("see {files}"));
                }
                if entries.keys.contains(found) {
                    return Ok(());
                }
                let same_kind = entries
                    .keys
                    .iter()
                    .any(|known| family(&known.algorithm()) == family(&found.algorithm()));
                match same_kind {
                    true => refused(
                        "the server has another key than is known of it: it may be another server",
                        format!(
                            "if its key was changed, replace its line in {files}, or write \
                             `host_key: \"{fingerprint}\"` in the connection; {ask}"
                        ),
                    ),
                    false => refused(
                        "the key of the server is not known",
                        format!(
                            "if it is the right one, write `host_key: \"{fingerprint}\"` in the \
                             connection, or add its line to {files}; {ask}"
                        ),
                    ),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF";

    fn said(keys: &HostKeys, host: &str, port: u16) -> String {
        let key = PublicKey::from_openssh(ONE).unwrap();
        keys.check(host, port, &key).map_or_else(|error| error.to_string(), |()| "known".to_owned())
    }

    #[test]
    fn a_key_is_known_or_refused_with_its_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let known = |lines: &str| {
            std::fs::write(&file, lines).unwrap();
            HostKeys::known(KnownHosts::of(&Some(file.clone()), folder.path()))
        };
        let fingerprint = PublicKey::from_openssh(ONE).unwrap().fingerprint(HashAlg::Sha256);
        for (lines, host, port, says) in [
            (format!("one.org {ONE}"), "one.org", 22, "known"),
            (format!("# c\n\n*.org,!old.org\t{ONE} me"), "One.org", 22, "known"),
            (format!("*.org,!old.org {ONE}"), "old.org", 22, "is not known"),
            (format!("one.org {ONE}"), "one.org", 2222, "is not known"),
            (format!("[one.org]:2222 {ONE}"), "one.org", 2222, "known"),
            (format!("one.org {OTHER}"), "one.org", 22, "another key than is known"),
            (format!("one.org {OTHER}\none.org {ONE}"), "one.org", 22, "known"),
            (format!("one.org {ONE}\n@revoked * {ONE}"), "one.org", 22, "is revoked"),
            (format!("@cert-authority * {ONE}"), "one.org", 22, "is not known"),
            (String::new(), "one.org", 22, "is not known"),
        ] {
            let text = said(&known(&lines), host, port);
            assert!(text.contains(says), "{lines}: {text}");
            assert!(says == "known" || text.contains(&fingerprint.to_string()), "{text}");
        }
        let missing = HostKeys::known(KnownHosts::of(&Some("none".into()), folder.path()));
        assert!(said(&missing, "one.org", 22).contains("is not known"));
    }

    #[test]
    fn keys_of_the_settings() {
        let fingerprint = PublicKey::from_openssh(ONE).unwrap().fingerprint(HashAlg::Sha256);
        let given = |text: &str| HostKeys::given(&OneOrMany::One(text.to_owned()));
        assert_eq!(said(&given(ONE).unwrap(), "h", 22), "known");
        assert_eq!(said(&given(&fingerprint.to_string()).unwrap(), "h", 22), "known");
        let both = OneOrMany::Many(vec![OTHER.to_owned(), fingerprint.to_string()]);
        assert_eq!(said(&HostKeys::given(&both).unwrap(), "h", 22), "known");
        assert!(said(&given(OTHER).unwrap(), "h", 22).contains("another key than `host_key`"));
        assert!(given("AAAA").unwrap_err().to_string().contains("a fingerprint or a public key"));
    }
}

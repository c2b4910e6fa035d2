//! The profile files of the AWS command line: `~/.aws/credentials` and `~/.aws/config`.
//!
//! A profile with keys, or with a `credential_process`, gives credentials; of any profile the region
//! and the endpoint are taken. Roles and single sign-on need a login that this program does not do:
//! the error names the `credential_process` that does it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use object_store::CredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result, Secret};
use tokio::sync::Mutex;

/// What a profile says.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) credentials: Option<AwsCredentialProvider>,
}

type Section = HashMap<String, String>;

/// The profile of this name, or of `AWS_PROFILE`, or `default`. `None` when there are no files, and
/// nobody asked for a profile. With keys from elsewhere (`has_keys`) it gives no credentials.
pub(crate) fn find(name: Option<&str>, has_keys: bool) -> Result<Option<Profile>> {
    let variable = std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
    let asked = name.map(str::to_owned).or(variable);
    let file = |variable: &str, name: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".aws").join(name)))
            .and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default()
    };
    let config = file("AWS_CONFIG_FILE", "config");
    let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    // An explicit profile goes before keys of the environment, as with AWS's own tools.
    let gives_keys = !has_keys || name.is_some();
    profile(asked.as_deref(), &config, &credentials, gives_keys)
}

fn profile(
    asked: Option<&str>,
    config: &str,
    credentials: &str,
    gives_keys: bool,
) -> Result<Option<Profile>> {
    let name = asked.unwrap_or("default");
    let mut config = sections(config);
    let mut section = config.remove(&format!("profile {name}")).unwrap_or_default();
    if name == "default" {
        section.extend(config.remove("default").unwrap_or_default());
    }
    // Keys of the credentials file go before those of the configuration.
    section.extend(sections(credentials).remove(name).unwrap_or_default());
    if section.is_empty() {
        return match asked {
            None => Ok(None),
            Some(name) => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the profile `{name}` stands neither in ~/.aws/config nor in \
                         ~/.aws/credentials"
                ),
            )),
        };
    }
    let take = |key: &str| section.get(key).filter(|value| !value.is_empty()).cloned();
    let mut found =
        Profile { region: take("region"), endpoint: take("endpoint_url"), credentials: None };
    if !gives_keys {
        return Ok(Some(found));
    }
    if let (Some(key), Some(secret)) = (take("aws_access_key_id"), take("aws_secret_access_key")) {
        found.credentials = Some(Arc::new(object_store::StaticCredentialProvider::new(
            credential(key, secret, take("aws_session_token")),
        )));
    } else if let Some(command) = take("credential_process") {
        found.credentials =
            Some(Arc::new(Process { command, profile: name.to_owned(), last: Mutex::new(None) }));
    } else if asked.is_some()
        && let Some(key) = ["sso_session", "sso_start_url", "role_arn"]
            .into_iter()
            .find(|key| section.contains_key(*key))
    {
        return Err(Error::new(
            ErrorKind::Config,
            format!("the profile `{name}` has `{key}`, which needs a login of its own"),
        )
        .with(
            "hint",
            format!(
                "add a profile with `credential_process = aws configure export-credentials \
                 --profile {name} --format process`, and name that one"
            ),
        ));
    }
    Ok(Some(found))
}

fn credential(key_id: String, secret_key: String, token: Option<String>) -> AwsCredential {
    Secret::new(secret_key.as_str());
    if let Some(token) = &token {
        Secret::new(token.as_str());
    }
    AwsCredential { key_id, secret_key, token }
}

/// `[name]`, then `key = value`; lines that are indented belong to the key above and are left out.
fn sections(text: &str) -> HashMap<String, Section> {
    let mut all: HashMap<String, Section> = HashMap::new();
    let mut current = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            all.entry(name.clone()).or_default();
            current = Some(name);
        } else if let (Some(section), Some((key, value)), false) = (
            current.as_ref().and_then(|name| all.get_mut(name)),
            trimmed.split_once('='),
            line.starts_with([' ', '\t']),
        ) {
            let value = value.split(" #").next().unwrap_or(value).trim();
            section.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    all
}

/// Credentials that a command prints, asked for again when they are about to end.
#[derive(Debug)]
struct Process {
    command: String,
    profile: String,
    last: Mutex<Option<Printout>>,
}

/// Credentials, and when they end.
type Printout = (Arc<AwsCredential>, Option<DateTime<Utc>>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<DateTime<Utc>>,
}

#[async_trait]
impl CredentialProvider for Process {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut last = self.last.lock().await;
        if let Some((credential, end)) = last.as_ref()
            && end.is_none_or(|end| end - Utc::now() > chrono::Duration::minutes(5))
        {
            return Ok(credential.clone());
        }
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            object_store::Error::Generic { store: "S3", source }
        };
        let (command, profile) = (self.command.clone(), self.profile.clone());
        let printed = tokio::task::spawn_blocking(move || run(&command, &profile))
            .await
            .map_err(|error| failed(Box::new(error)))?
            .map_err(|text| failed(text.into()))?;
        let fresh = Arc::new(credential(
            printed.access_key_id,
            printed.secret_access_key,
            printed.session_token,
        ));
        *last = Some((fresh.clone(), printed.expiration));
        Ok(fresh)
    }
}

/// The message names the profile; what was printed may be a secret.
fn run(command: &str, profile: &str) -> std::result::Result<Printed, String> {
    let failed = |why: String| format!("the `credential_process` of the profile `{profile}` {why}");
    let output = std::process::Command::new("sh")
        .args(["-c", command])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .map_err(|error| failed(format!("could not be started: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed ({})", output.status)));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("did not print credentials in AWS's form".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
[default]
region = eu-west-1

[profile tools]
region=us-east-2
endpoint_url = http://127.0.0.1:9000
s3 =
  addressing_style = path
credential_process = printf '{\"Version\":1,\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"sk-of-process\"}'

[profile people]
sso_session = acme
";
    const CREDENTIALS: &str =
        "[default]\naws_access_key_id = AKID\naws_secret_access_key = 8/se=cret\n";

    fn get(found: &Profile) -> Arc<AwsCredential> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(found.credentials.as_ref().unwrap().get_credential()).unwrap()
    }

    #[test]
    fn keys_and_regions() {
        let found = profile(None, CONFIG, CREDENTIALS, true).unwrap().unwrap();
        assert_eq!(found.region.as_deref(), Some("eu-west-1"));
        assert_eq!(get(&found).secret_key, "8/se=cret");
        // Keys from elsewhere win; the region counts.
        let found = profile(None, CONFIG, CREDENTIALS, false).unwrap().unwrap();
        assert!(found.credentials.is_none() && found.region.is_some());
        assert!(profile(None, "", "", true).unwrap().is_none());
    }

    #[test]
    fn a_process_gives_keys() {
        let found = profile(Some("tools"), CONFIG, CREDENTIALS, true).unwrap().unwrap();
        assert_eq!(found.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(get(&found).key_id, "AK");
        assert_eq!(tidemill_core::scrub("sk-of-process"), "*****");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let error = profile(Some("people"), CONFIG, CREDENTIALS, true).unwrap_err().report();
        assert!(error.contains("sso_session") && error.contains("export-credentials"), "{error}");
        let error = profile(Some("nobody"), CONFIG, CREDENTIALS, true).unwrap_err().report();
        assert!(error.contains("`nobody`"), "{error}");
    }
}

//! Requests that are signed for AWS.

use std::path::Path;

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use tidemill_core::{Error, ErrorKind, Result, Secret, SecretRef};
use ureq::http::Request;
use url::Url;

use super::settings::AwsSigv4;

/// Signs requests (AWS Signature Version 4).
pub(super) struct Signer {
    credential: AwsCredential,
    region: String,
    service: String,
}

impl Signer {
    /// With the keys of the settings, or those of the environment.
    ///
    /// # Errors
    /// Kind `Config` where there are none.
    pub(super) fn new(settings: &AwsSigv4, project: &Path) -> Result<Signer> {
        let resolved = |secret: &Option<SecretRef>| {
            secret.as_ref().map(|secret| secret.resolve(project)).transpose()
        };
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let credential = match (&settings.access_key_id, resolved(&settings.secret_access_key)?) {
            (Some(id), Some(secret)) => AwsCredential {
                key_id: id.clone(),
                secret_key: secret.expose().to_owned(),
                token: resolved(&settings.session_token)?.map(|token| token.expose().to_owned()),
            },
            (None, None) => {
                let missing = || {
                    Error::new(
                        ErrorKind::Config,
                        "requests cannot be signed: `auth` has no `access_key_id`, and the environment no \
                         `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`",
                    )
                };
                let secret = environment("AWS_SECRET_ACCESS_KEY").map(Secret::new);
                AwsCredential {
                    key_id: environment("AWS_ACCESS_KEY_ID").ok_or_else(missing)?,
                    secret_key: secret.ok_or_else(missing)?.expose().to_owned(),
                    token: environment("AWS_SESSION_TOKEN")
                        .map(|token| Secret::new(token).expose().to_owned()),
                }
            }
            _ => {
                let message = "`access_key_id` and `secret_access_key` go together";
                return Err(Error::new(ErrorKind::Config, message));
            }
        };
        let (region, service) = (settings.region.clone(), settings.service.clone());
        Ok(Signer { credential, region, service })
    }

    /// The headers that sign a request.
    pub(super) fn headers(
        &self,
        method: &str,
        url: &Url,
        body: Option<&str>,
    ) -> Result<Vec<(String, String)>> {
        let malformed = |error: ureq::http::Error| {
            Error::new(ErrorKind::Config, "a request cannot be made of these settings")
                .because(error)
        };
        let body = body.map_or_else(HttpRequestBody::empty, |body| body.to_owned().into());
        let mut request: HttpRequest =
            Request::builder().method(method).uri(url.as_str()).body(body).map_err(malformed)?;
        AwsAuthorizer::new(&self.credential, &self.service, &self.region)
            .authorize(&mut request, None);
        let headers = request.headers().iter().filter(|(name, _)| name.as_str() != "host");
        let headers = headers.filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        Ok(headers.collect())
    }
}

//! What is written of a REST API: at its connection, and under `ingest:` of a table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Result, SecretRef};

use crate::tables::Lookback;

/// The settings of a connection to a REST API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestConfig {
    /// What the addresses of endpoints begin with.
    pub url: String,
    /// Headers of every request; values that hold secrets are references.
    #[serde(default)]
    pub headers: BTreeMap<String, Written>,
    /// Parameters of every request.
    #[serde(default)]
    pub params: BTreeMap<String, Written>,
    /// Who asks.
    #[serde(default)]
    pub auth: AuthSettings,
    /// How replies are continued, where an endpoint does not say it.
    pub paging: Option<Paging>,
    /// No more requests than this in a second, over all tables of a run.
    pub max_requests_per_second: Option<f64>,
    /// How long one request may take: `60s`.
    pub timeout: Option<Span>,
    /// The longest pause that the API may ask for: `10m`.
    pub max_wait: Option<Span>,
    /// Whether requests may go to this machine and to private networks.
    #[serde(default)]
    pub allow_private_addresses: bool,
    /// What a test of the connection asks for; default: the `url` itself.
    pub test: Option<String>,
}

/// A value that stands there, or a reference to a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Written {
    /// A text.
    Text(String),
    /// A number.
    Number(serde_json::Number),
    /// `true` or `false`.
    Flag(bool),
    /// A reference.
    Secret(SecretRef),
}

impl Written {
    /// The value itself, with a secret fetched.
    ///
    /// # Errors
    /// Those of the reference.
    pub(crate) fn resolve(&self, project: &std::path::Path) -> Result<String> {
        Ok(match self {
            Written::Text(text) => text.clone(),
            Written::Number(number) => number.to_string(),
            Written::Flag(flag) => flag.to_string(),
            Written::Secret(secret) => secret.resolve(project)?.expose().to_owned(),
        })
    }
}

/// Who asks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuthSettings {
    /// Nobody.
    #[default]
    None,
    /// A token, sent as `Authorization: Bearer`.
    Bearer {
        /// The token.
        token: SecretRef,
    },
    /// A name and a password.
    Basic {
        /// The name.
        user: String,
        /// The password. Some systems take a key as the name, and none.
        password: Option<SecretRef>,
    },
    /// A key in a header or parameter.
    ApiKey {
        /// The header or parameter.
        name: String,
        /// The key.
        api_key: SecretRef,
        /// Where it is sent.
        #[serde(default, rename = "in")]
        place: KeyPlace,
    },
    /// A token that is asked for, by the client's own credentials or by a refresh token.
    Oauth2(Box<Oauth2>),
    /// A signature of each request, as services of AWS want it.
    AwsSigv4(Box<AwsSigv4>),
}

/// Signatures of AWS, version 4.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsSigv4 {
    /// The region of the service.
    pub region: String,
    /// What the service is called in signatures: `execute-api`, `glue`, `s3tables`.
    pub service: String,
    /// The id of the key. Default: the environment's (`AWS_ACCESS_KEY_ID` and what goes with it).
    pub access_key_id: Option<String>,
    /// The secret of the key.
    pub secret_access_key: Option<SecretRef>,
    /// The token of a session.
    pub session_token: Option<SecretRef>,
}

/// Where a key is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// In a header.
    #[default]
    Header,
    /// As a parameter of the address.
    Query,
}

/// OAuth 2.0 (RFC 6749): the grants `client_credentials` (4.4) and `refresh_token` (6).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oauth2 {
    /// Where tokens are asked for.
    pub token_url: String,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Option<SecretRef>,
    /// The refresh token; without one the client asks for itself.
    pub refresh_token: Option<SecretRef>,
    /// What is asked for.
    pub scope: Option<String>,
    /// More fields of the request for a token: `audience`, `resource`.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// How the client says who it is: in the `body` of the request, or by `basic`.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

/// How a client says who it is (RFC 6749, 2.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// By fields of the request.
    #[default]
    Body,
    /// By the header `Authorization: Basic`.
    Basic,
}

/// A time such as `30s` or `10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::files::duration(&text).map(Span).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "expected a time such as `30s` or `10m`, not `{text}`"
            ))
        })
    }
}

/// How a reply is continued.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Paging {
    /// By what the reply itself says: the header `Link`, or an address in a usual place of the body.
    #[default]
    Auto,
    /// It is not.
    None,
    /// By the header `Link` (RFC 8288) with `rel="next"`.
    Link,
    /// By an address in the reply.
    NextUrl {
        /// Where it stands.
        next: String,
    },
    /// By a number of the page.
    Page(Numbered),
    /// By how many records there were before.
    Offset(Numbered),
    /// By a mark that the reply gives.
    Cursor(Marked),
}

/// Pages that are counted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbered {
    /// The parameter; default `page` or `offset`.
    pub param: Option<String>,
    /// The first page; default 1 (of offsets 0).
    pub start: Option<u64>,
    /// The parameter for the size of a page; default `limit` for offsets, else none.
    pub size_param: Option<String>,
    /// The size that is asked for; default 100.
    pub size: Option<u64>,
    /// Where the reply says how many pages (of offsets: records) there are in all.
    pub total: Option<String>,
    /// Where the reply says whether there is more.
    pub more: Option<String>,
    /// Where the parameters go.
    #[serde(default, rename = "in")]
    pub place: Place,
}

/// Pages that are continued by a mark.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marked {
    /// The parameter that takes it.
    pub param: String,
    /// Where the reply has it.
    pub next: Option<String>,
    /// Or: the header of the reply.
    pub header: Option<String>,
    /// Or: the field of the last record.
    pub record: Option<String>,
    /// Where the reply says whether there is more.
    pub more: Option<String>,
    /// Where the parameter goes.
    #[serde(default, rename = "in")]
    pub place: Place,
}

/// Where a parameter goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Into the address.
    #[default]
    Query,
    /// Into the JSON body; the parameter's name is then a path of keys joined by dots.
    Body,
}

impl<'de> Deserialize<'de> for Paging {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Next {
            next: String,
        }

        let (kind, mut more) = match Value::deserialize(deserializer)? {
            Value::String(kind) => (kind, Map::new()),
            Value::Object(mut map) => match map.shift_remove("type") {
                Some(Value::String(kind)) => (kind, map),
                _ => return Err(D::Error::custom("`paging` needs a `type`")),
            },
            _ => return Err(D::Error::custom("`paging` is a word or `{type: …}`")),
        };
        let rest = Value::Object(std::mem::take(&mut more));
        let numbered = |rest| serde_json::from_value::<Numbered>(rest).map_err(D::Error::custom);
        let plain = |paging: Paging| match rest.as_object().and_then(|map| map.keys().next()) {
            Some(key) => Err(D::Error::custom(format!("`paging: {kind}` has no setting `{key}`"))),
            None => Ok(paging),
        };
        match kind.as_str() {
            "auto" => plain(Paging::Auto),
            "none" => plain(Paging::None),
            "link" => plain(Paging::Link),
            "next_url" => serde_json::from_value::<Next>(rest)
                .map(|settings| Paging::NextUrl { next: settings.next })
                .map_err(D::Error::custom),
            "page" => numbered(rest).map(Paging::Page),
            "offset" => numbered(rest).map(Paging::Offset),
            "cursor" => {
                let marked: Marked = serde_json::from_value(rest).map_err(D::Error::custom)?;
                let from = [&marked.next, &marked.header, &marked.record];
                if from.iter().filter(|one| one.is_some()).count() != 1 {
                    return Err(D::Error::custom(
                        "`paging: {type: cursor}` needs one of `next` (where the reply has the mark), \
                         `header` and `record` (the field of the last record)",
                    ));
                }
                if marked.record.is_some() && marked.more.is_none() {
                    return Err(D::Error::custom(
                        "`paging: {type: cursor}` by a `record` needs `more`: where the reply says \
                         whether there is more",
                    ));
                }
                Ok(Paging::Cursor(marked))
            }
            other => Err(D::Error::custom(format!(
                "there is no `paging` of type `{other}`; known: auto, none, link, next_url, page, \
                 offset, cursor"
            ))),
        }
    }
}

/// What stands under `ingest:` of a table that comes from an endpoint.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointSettings {
    /// The path below the connection's `url`; `{parent.id}` stands for a field of the parent's record.
    /// Default: the source table's name.
    pub path: Option<String>,
    /// `get` or `post`.
    pub method: Method,
    /// Parameters of the address; a list is sent as one parameter for each value.
    pub params: Map<String, Value>,
    /// More headers.
    pub headers: BTreeMap<String, String>,
    /// What is sent as JSON.
    pub body: Option<Value>,
    /// Where the reply has its records, as keys joined by dots; lists on the way are gone through.
    pub records: Option<String>,
    /// A list within each record: its elements are the rows.
    pub expand: Option<String>,
    /// More columns: `parent.FIELD` of the parent's record, `record.FIELD` of the record that was
    /// expanded (without `expand`: of the record itself, for what is nested).
    pub include: BTreeMap<String, String>,
    /// How replies are continued.
    pub paging: Option<Paging>,
    /// Statuses that mean that there are no records.
    pub ignore_status: Vec<u16>,
    /// The endpoint whose records this one is asked for, one by one.
    pub parent: Option<Box<EndpointSettings>>,
    /// How the API is asked for what is new.
    pub incremental: Option<Incremental>,
    /// How far behind the largest value of the cursor is asked for again. With `mode: merge`.
    pub lookback: Option<Lookback>,
    /// How dates are written (`strftime`), in place of `YYYY-MM-DD`.
    pub date_format: Option<String>,
    /// How times are written (`strftime`), in place of ISO 8601.
    pub timestamp_format: Option<String>,
    /// The longest record that is read: `16MiB`.
    pub max_record_bytes: Option<Value>,
}

/// The verb of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// GET.
    #[default]
    Get,
    /// POST, of searches and GraphQL. It must change nothing: a request may be repeated.
    Post,
}

/// How the API is asked for what is new.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// The parameter that takes the largest value of the cursor so far.
    pub param: String,
    /// `iso8601` (default), `date`, `unix`, `unix_ms`, or a pattern (`strftime`).
    pub format: Option<String>,
    /// What it is in the first load; default: left out.
    pub start: Option<Value>,
    /// Whether the API gives only what is larger: then it is asked from one step earlier.
    #[serde(default)]
    pub exclusive: bool,
    /// Where the parameter goes.
    #[serde(default, rename = "in")]
    pub place: Place,
}

impl EndpointSettings {
    /// Reads and checks what is written.
    ///
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    pub fn parse(written: &Value) -> Result<EndpointSettings> {
        let settings: EndpointSettings = serde_json::from_value(written.clone())
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
        settings.check(true)?;
        Ok(settings)
    }

    fn check(&self, is_table: bool) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Config, message));
        if !is_table {
            if self.path.is_none() {
                return wrong("`parent` needs a `path`".to_owned());
            }
            if self.incremental.is_some() || self.lookback.is_some() || !self.include.is_empty() {
                return wrong(
                    "`parent` has no `incremental`, `lookback` and `include`: it is read whole each time"
                        .to_owned(),
                );
            }
        }
        if self.body.is_some() && self.method == Method::Get {
            return wrong("`body` needs `method: post`".to_owned());
        }
        let in_body = match &self.paging {
            Some(Paging::Page(numbered) | Paging::Offset(numbered)) => numbered.place,
            Some(Paging::Cursor(marked)) => marked.place,
            _ => Place::Query,
        };
        let incremental_in_body =
            self.incremental.as_ref().is_some_and(|incremental| incremental.place == Place::Body);
        if (in_body == Place::Body || incremental_in_body) && self.method == Method::Get {
            return wrong("`in: body` needs `method: post`".to_owned());
        }
        for (name, value) in &self.params {
            let plain = |value: &Value| !value.is_object() && !value.is_array();
            if !plain(value) && !value.as_array().is_some_and(|list| list.iter().all(plain)) {
                return wrong(format!(
                    "`params`: `{name}` must be a plain value or a list of them"
                ));
            }
        }
        for (column, from) in &self.include {
            match from.split_once('.') {
                Some(("parent", _)) if self.parent.is_some() => {}
                Some(("parent", _)) => {
                    return wrong(format!(
                        "`include`: `{column}` needs a `parent`, and there is none"
                    ));
                }
                Some(("record", _)) => {}
                _ => {
                    return wrong(format!(
                        "`include`: `{column}` must be `parent.FIELD` or `record.FIELD`, not `{from}`"
                    ));
                }
            }
        }
        match &self.parent {
            Some(parent) => parent.check(false),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paging_is_a_word_or_a_map() {
        let parse = |paging: Value| {
            EndpointSettings::parse(&json!({ "paging": paging })).map(|settings| settings.paging)
        };
        assert_eq!(parse(json!("link")).unwrap(), Some(Paging::Link));
        assert!(matches!(
            parse(json!({"type": "page", "size_param": "per_page", "size": 50})).unwrap(),
            Some(Paging::Page(Numbered { size: Some(50), .. }))
        ));
        for (written, message) in [
            (json!("pages"), "known: auto"),
            (json!({"param": "page"}), "needs a `type`"),
            (json!({"type": "cursor", "param": "after"}), "needs one of"),
            (json!({"type": "cursor", "param": "after", "record": "id"}), "needs `more`"),
            (json!({"type": "link", "param": "x"}), "has no setting `param`"),
            (json!({"type": "page", "sise": 3}), "`sise`"),
        ] {
            let error = parse(written.clone()).unwrap_err();
            assert!(error.message().contains(message), "{written}: {error}");
        }
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (written, message) in [
            (json!({"body": {}}), "`body` needs"),
            (json!({"include": {"a": "parent.id"}}), "needs a `parent`"),
            (json!({"include": {"a": "id"}}), "`record.FIELD`"),
            (json!({"parent": {"records": "x"}}), "needs a `path`"),
            (json!({"params": {"a": {"b": 1}}}), "`a` must be"),
            (json!({"incremental": {"param": "q.since", "in": "body"}}), "`method: post`"),
            (json!({"pth": "x"}), "`pth`"),
        ] {
            let error = EndpointSettings::parse(&written).unwrap_err();
            assert!(error.message().contains(message), "{written}: {error}");
        }
    }
}

//! All records of an endpoint, page by page and parent by parent, to a file on disk.

use serde_json::{Map, Value};
use tidemill_core::{Cancellation, Error, ErrorKind, Result};

use super::client::{Client, Request, set_params};
use super::paging::{Next, Pager};
use super::settings::{EndpointSettings, Method, Paging, Place};
use crate::records::{Raw, Spool, Spooled, of_parents, records, rows};

/// Fetches all records of an endpoint.
pub(super) fn fetch(
    client: &Client,
    endpoint: &EndpointSettings,
    name: &str,
    paging: Option<&Paging>,
    since: Option<(String, Value, Place)>,
    cancel: &Cancellation,
) -> Result<Spooled> {
    let mut spool = Spool::new()?;
    let walk = Walk { client, paging, cancel };
    let since: Vec<(String, Value, Place)> = since.into_iter().collect();
    walk.endpoint(endpoint, name, &since, &mut |record, parents| {
        cancel.check()?;
        rows(record, endpoint.expand.as_deref(), &endpoint.include, parents, &mut spool)
    })?;
    spool.finish()
}

/// What is done with a record; behind it the records above, the nearest last.
type Each<'e> = &'e mut dyn FnMut(Raw<'_>, &[Raw<'_>]) -> Result<()>;

struct Walk<'a> {
    client: &'a Client,
    /// What holds where an endpoint does not say it.
    paging: Option<&'a Paging>,
    cancel: &'a Cancellation,
}

impl Walk<'_> {
    fn endpoint(
        &self,
        endpoint: &EndpointSettings,
        name: &str,
        since: &[(String, Value, Place)],
        each: Each<'_>,
    ) -> Result<()> {
        let Some(parent) = &endpoint.parent else {
            return self.pages(endpoint, name, since, &[], each);
        };
        self.endpoint(parent, "", &[], &mut |record, above| {
            let expanded = match parent.expand.as_deref().map(|path| record.get(path)) {
                None => vec![record],
                Some(list) => list.map(Raw::elements).unwrap_or_default(),
            };
            for record in expanded {
                let parents: Vec<Raw<'_>> = above.iter().copied().chain([record]).collect();
                self.pages(endpoint, name, since, &parents, each)?;
            }
            Ok(())
        })
    }

    fn pages(
        &self,
        endpoint: &EndpointSettings,
        name: &str,
        since: &[(String, Value, Place)],
        parents: &[Raw<'_>],
        each: Each<'_>,
    ) -> Result<()> {
        let usual = Paging::default();
        let paging = endpoint.paging.as_ref().or(self.paging).unwrap_or(&usual);
        let mut pager = Pager::new(paging);
        let path = endpoint.path.as_deref().unwrap_or(name);
        let mut request = Prepared::new(self.client, endpoint, path, parents)?;
        request.set(since);
        request.set(&pager.first());
        loop {
            let made = request.request();
            let reply = self.client.send(&made, self.cancel)?;
            if endpoint.ignore_status.contains(&reply.status) || reply.status == 204 {
                return Ok(());
            }
            if !(200..300).contains(&reply.status) {
                return Err(self.client.refusal(&made, &reply));
            }
            let at = |error: Error| error.with("request", super::client::shown(&made));
            let (document, reply) = reply.document().map_err(at)?;
            let body = document.root();
            let found = records(body, endpoint.records.as_deref(), path)
                .map_err(|reason| at(Error::new(ErrorKind::Data, reason)))?;
            for record in &found {
                each(*record, parents)?;
            }
            let next = pager.next(&reply, body, found.len(), found.last().copied());
            match next.map_err(at)? {
                Next::Done => return Ok(()),
                Next::Values(values) => request.set(&values),
                // It has all parameters that it needs, but for a key (which the client adds).
                Next::Address(address) => {
                    let url = made.url.join(&address).map_err(|error| {
                        let message = "the address of the next page is no address";
                        at(Error::new(ErrorKind::Data, message).because(error))
                    })?;
                    request.url = self.client.address(url.as_str()).map_err(at)?;
                }
            }
        }
    }
}

/// A request whose parameters change from page to page.
struct Prepared {
    method: &'static str,
    url: url::Url,
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

impl Prepared {
    fn new(
        client: &Client,
        endpoint: &EndpointSettings,
        path: &str,
        parents: &[Raw<'_>],
    ) -> Result<Prepared> {
        let path = fill(path, parents, true)?;
        let mut url = client.address(path.trim_start_matches('/'))?;
        let mut pairs = Vec::new();
        for (name, value) in &endpoint.params {
            let values = match value {
                Value::Array(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            for value in values.iter().filter(|value| !value.is_null()) {
                pairs.push((name.clone(), fill(&plain(value), parents, false)?));
            }
        }
        if !pairs.is_empty() {
            set_params(&mut url, &pairs);
        }
        let body = match &endpoint.body {
            Some(body) => Some(filled(body, parents)?),
            None => (endpoint.method == Method::Post).then(|| Value::Object(Map::new())),
        };
        let mut headers = Vec::new();
        for (name, value) in &endpoint.headers {
            headers.push((name.clone(), fill(value, parents, false)?));
        }
        let method = match endpoint.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        Ok(Prepared { method, url, headers, body })
    }

    fn set(&mut self, values: &[(String, Value, Place)]) {
        let mut pairs = Vec::new();
        for (name, value, place) in values {
            match (place, &mut self.body) {
                (Place::Body, Some(body)) => set_in(body, name, value.clone()),
                _ => pairs.push((name.clone(), plain(value))),
            }
        }
        if !pairs.is_empty() {
            set_params(&mut self.url, &pairs);
        }
    }

    fn request(&self) -> Request {
        Request {
            method: self.method,
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: self.body.as_ref().map(Value::to_string),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Sets what stands at a path of keys; objects on the way are made.
fn set_in(body: &mut Value, path: &str, value: Value) {
    let mut at = body;
    for key in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry(key).or_insert(Value::Null);
    }
    *at = value;
}

/// The body with the fields of parents in its texts.
fn filled(value: &Value, parents: &[Raw<'_>]) -> Result<Value> {
    Ok(match value {
        Value::String(text) => Value::String(fill(text, parents, false)?),
        Value::Array(values) => {
            Value::Array(values.iter().map(|value| filled(value, parents)).collect::<Result<_>>()?)
        }
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| Ok((key.clone(), filled(value, parents)?)))
                .collect::<Result<_>>()?,
        ),
        other => other.clone(),
    })
}

/// The text with fields of parents for `{parent.FIELD}`; in a path they are one segment of it, whatever
/// they hold.
fn fill(text: &str, parents: &[Raw<'_>], in_path: bool) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{parent.") {
        let Some(length) = rest[start..].find('}') else { break };
        let field = &rest[start + "{parent.".len()..start + length];
        let value = of_parents(parents, field).and_then(Raw::plain).ok_or_else(|| {
            Error::new(
                ErrorKind::Data,
                match parents.is_empty() {
                    true => format!("`{{parent.{field}}}` needs a `parent`, and there is none"),
                    false => format!("a record of the parent has no plain value `{field}`"),
                },
            )
            .with("in", text)
        })?;
        filled.push_str(&rest[..start]);
        match in_path {
            true => segment(&value, &mut filled),
            false => filled.push_str(&value),
        }
        rest = &rest[start + length + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// One segment of a path (RFC 3986): what has a meaning in addresses is escaped.
fn segment(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(byte.into()),
            // `.` and `..` are folders.
            b'.' if !text.trim_matches('.').is_empty() => out.push('.'),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::records::Document;

    #[test]
    fn fields_of_parents_are_filled_in() {
        let above = Document::parse(br#"{"id": "a/b c"}"#.to_vec()).unwrap();
        let near = Document::parse(br#"{"n": 1.50, "o": {"x": ".."}}"#.to_vec()).unwrap();
        let parents = [above.root(), near.root()];
        assert_eq!(
            fill("x/{parent.parent.id}/{parent.n}/{parent.o.x}", &parents, true).unwrap(),
            "x/a%2Fb%20c/1.50/%2E%2E"
        );
        assert_eq!(
            filled(&json!({"q": ["{parent.parent.id}", 1]}), &parents).unwrap(),
            json!({"q": ["a/b c", 1]})
        );
        let error = fill("{parent.o}", &parents, true).unwrap_err();
        assert!(error.message().contains("no plain value `o`"), "{error}");
        assert!(fill("{parent.id}", &[], true).unwrap_err().message().contains("needs a `parent`"));
        assert_eq!(fill("{id}", &[], true).unwrap(), "{id}");
    }

    #[test]
    fn bodies_take_values_at_paths() {
        let mut body = json!({"query": {"filter": 1}});
        set_in(&mut body, "query.page.after", json!("x"));
        assert_eq!(body, json!({"query": {"filter": 1, "page": {"after": "x"}}}));
    }
}

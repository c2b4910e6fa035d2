//! All records of an endpoint, page by page and parent by parent, to a file on disk.

use std::fs::File;
use std::io::Write;

use serde_json::{Map, Value};
use tempfile::TempDir;
use tidemill_core::{Cancellation, Error, ErrorKind, Result, ResultExt};

use super::client::{Client, Request, set_params};
use super::paging::{Next, Pager};
use super::raw::{self, Raw};
use super::settings::{EndpointSettings, Method, Paging, Place};

/// The name of the file in its folder.
pub(super) const FILE: &str = "records.ndjson.zst";

/// Records on disk, one a line, compressed. They go with this.
pub(super) struct Spool {
    folder: TempDir,
    writer: zstd::Encoder<'static, File>,
    line: Vec<u8>,
    records: u64,
}

/// A spool that is complete.
pub(super) struct Spooled {
    pub(super) folder: TempDir,
    pub(super) records: u64,
}

impl Spool {
    pub(super) fn new() -> Result<Spool> {
        let failed = "a file for the records of the API could not be made";
        let folder = TempDir::with_prefix("tidemill-rest-").or_error(ErrorKind::Io, failed)?;
        let file = File::create(folder.path().join(FILE)).or_error(ErrorKind::Io, failed)?;
        let writer = zstd::Encoder::new(file, 1).or_error(ErrorKind::Io, failed)?;
        Ok(Spool { folder, writer, line: Vec::new(), records: 0 })
    }

    /// Adds a record with further columns before its own.
    fn push(&mut self, record: Raw<'_>, further: &[(String, String)]) -> Result<()> {
        self.line.clear();
        self.line.push(b'{');
        for (column, value) in further {
            let name = Value::String(column.clone()).to_string();
            self.line.extend_from_slice(name.as_bytes());
            self.line.push(b':');
            self.line.extend_from_slice(value.as_bytes());
            self.line.push(b',');
        }
        if record.is_object() {
            self.line.extend_from_slice(record.text()[1..].trim_ascii_start());
        } else {
            self.line.extend_from_slice(b"\"value\":");
            self.line.extend_from_slice(record.text());
            self.line.push(b'}');
        }
        // `{"a":1,}` of an object without members.
        if self.line.ends_with(b",}") && record.keys().is_empty() {
            self.line.truncate(self.line.len() - 2);
            self.line.push(b'}');
        }
        // Line breaks stand between values alone.
        for byte in &mut self.line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        self.line.push(b'\n');
        self.records += 1;
        self.writer
            .write_all(&self.line)
            .or_error(ErrorKind::Io, "the records of the API could not be written to disk")
    }

    fn finish(self) -> Result<Spooled> {
        let failed = "the records of the API could not be written to disk";
        self.writer.finish().or_error(ErrorKind::Io, failed)?;
        Ok(Spooled { folder: self.folder, records: self.records })
    }
}

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
        let rows = match &endpoint.expand {
            None => vec![record],
            Some(path) => match record.get(path) {
                None => Vec::new(),
                Some(list) if list.text() == b"null" => Vec::new(),
                Some(list) if list.is_array() => list.elements(),
                Some(one) => vec![one],
            },
        };
        let mut further = Vec::with_capacity(endpoint.include.len());
        for (column, from) in &endpoint.include {
            let (of, field) = from.split_once('.').unwrap_or(("record", from));
            let found = match of {
                "parent" => of_parents(parents, field),
                _ => record.get(field),
            };
            let text = found.map_or("null".to_owned(), |found| {
                String::from_utf8_lossy(found.text()).into_owned()
            });
            further.push((column.clone(), text));
        }
        for row in rows {
            if let Some((column, _)) =
                further.iter().find(|(column, _)| row.is_object() && row.member(column).is_some())
            {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("`include` names `{column}`, which the records have themselves; name it otherwise"),
                ));
            }
            spool.push(row, &further)?;
        }
        Ok(())
    })?;
    spool.finish()
}

/// A field of the nearest record above; `parent.` goes one further up.
fn of_parents<'a>(parents: &[Raw<'a>], field: &str) -> Option<Raw<'a>> {
    let (nearest, above) = parents.split_last()?;
    match field.strip_prefix("parent.") {
        Some(field) if !above.is_empty() => of_parents(above, field),
        _ => nearest.get(field),
    }
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
            let records = raw::records(body, endpoint.records.as_deref(), path)
                .map_err(|reason| at(Error::new(ErrorKind::Data, reason)))?;
            for record in &records {
                each(*record, parents)?;
            }
            let next = pager.next(&reply, body, records.len(), records.last().copied());
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

    use super::super::raw::Document;
    use super::*;

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
    fn records_become_lines() {
        let mut spool = Spool::new().unwrap();
        let further = [("p".to_owned(), "1.50".to_owned())];
        for text in ["{}", "{\n \"a\": 1\n}", "\"x\""] {
            let record = Document::parse(text.into()).unwrap();
            spool.push(record.root(), &further).unwrap();
        }
        let spooled = spool.finish().unwrap();
        let file = File::open(spooled.folder.path().join(FILE)).unwrap();
        let text = std::io::read_to_string(zstd::Decoder::new(file).unwrap()).unwrap();
        assert_eq!(text, "{\"p\":1.50}\n{\"p\":1.50,\"a\": 1 }\n{\"p\":1.50,\"value\":\"x\"}\n");
        assert_eq!(spooled.records, 3);
    }

    #[test]
    fn bodies_take_values_at_paths() {
        let mut body = json!({"query": {"filter": 1}});
        set_in(&mut body, "query.page.after", json!("x"));
        assert_eq!(body, json!({"query": {"filter": 1, "page": {"after": "x"}}}));
    }
}

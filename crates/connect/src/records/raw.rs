//! JSON text, looked into without a tree, so that records keep every digit that was sent.

use serde_json::Value;

use crate::files::json::{Cursor, Kind, Problem};

/// How many bytes the reader may look at behind a text.
const PADDING: usize = 32;

/// A JSON text that was looked at once: it is one value and nothing else.
#[derive(Debug)]
pub(crate) struct Document {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Document {
    /// # Errors
    /// Why it is none.
    pub(crate) fn parse(mut data: Vec<u8>) -> Result<Document, String> {
        if std::str::from_utf8(&data).is_err() {
            return Err("it is not UTF-8".to_owned());
        }
        let start = if data.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        let blanks = |bytes: &[u8]| bytes.len() - bytes.trim_ascii_start().len();
        let start = start + blanks(&data[start..]);
        let end = start + data[start..].trim_ascii_end().len();
        data.truncate(end);
        data.extend_from_slice(&[0; PADDING]);
        let mut buffer = Vec::new();
        let mut cursor = Cursor::new(&data, start, end, &mut buffer);
        match cursor.skip_value(0).and_then(|()| cursor.expect_end()) {
            Ok(()) => Ok(Document { data, start, end }),
            Err(Problem::Rejected(reason)) => Err(reason),
            Err(Problem::Surprise) => Err("not JSON".to_owned()),
        }
    }

    /// Its value.
    pub(crate) fn root(&self) -> Raw<'_> {
        Raw { data: &self.data, start: self.start, end: self.end }
    }
}

/// The text of one JSON value, without blanks around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    /// The whole document: it can be looked at behind the value.
    data: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Raw<'a> {
    /// The text.
    pub(crate) fn text(self) -> &'a [u8] {
        &self.data[self.start..self.end]
    }

    pub(crate) fn is_object(self) -> bool {
        self.text().first() == Some(&b'{')
    }

    pub(crate) fn is_array(self) -> bool {
        self.text().first() == Some(&b'[')
    }

    /// Goes through the members of an object (with their keys) or the elements of an array, as long
    /// as `each` says so. Of anything else there are none.
    fn walk(self, mut each: impl FnMut(Option<&[u8]>, Raw<'a>) -> bool) {
        let mut buffer = Vec::new();
        let mut cursor = Cursor::new(self.data, self.start, self.end, &mut buffer);
        let Ok(kind) = cursor.value() else { return };
        let mut first = true;
        loop {
            // The text was read once: what cannot be read does not occur.
            let more = match kind {
                Kind::Object => cursor.next_key(&mut first),
                Kind::Array => cursor.next_element(&mut first),
                _ => return,
            };
            let Ok(true) = more else { return };
            let key = (kind == Kind::Object).then(|| cursor.key().into_owned());
            let start = cursor.peek_start();
            if cursor.skip_value(0).is_err() {
                return;
            }
            let value = Raw { data: self.data, start, end: cursor.position() };
            if !each(key.as_deref(), value) {
                return;
            }
        }
    }

    /// The elements of an array.
    pub(crate) fn elements(self) -> Vec<Raw<'a>> {
        let mut found = Vec::new();
        if self.is_array() {
            self.walk(|_, value| {
                found.push(value);
                true
            });
        }
        found
    }

    /// The keys of an object.
    pub(crate) fn keys(self) -> Vec<String> {
        let mut found = Vec::new();
        self.walk(|key, _| {
            found.extend(key.map(|key| String::from_utf8_lossy(key).into_owned()));
            true
        });
        found
    }

    /// The member of an object, or the element of an array by its number.
    pub(crate) fn member(self, name: &str) -> Option<Raw<'a>> {
        let mut found = None;
        if self.is_array() {
            return self.elements().get(name.parse::<usize>().ok()?).copied();
        }
        // Of a key that occurs twice the last one counts.
        self.walk(|key, value| {
            if key == Some(name.as_bytes()) {
                found = Some(value);
            }
            true
        });
        found
    }

    /// What stands at a path of keys joined by dots; a key with dots of its own goes before.
    pub(crate) fn get(self, path: &str) -> Option<Raw<'a>> {
        if let Some(found) = self.member(path) {
            return Some(found);
        }
        path.split('.').try_fold(self, Raw::member)
    }

    /// The value, unless it is `null`.
    pub(crate) fn value(self) -> Option<Value> {
        serde_json::from_slice(self.text()).ok().filter(|value: &Value| !value.is_null())
    }

    /// A plain value as text: strings without quotes, numbers with all their digits.
    pub(crate) fn plain(self) -> Option<String> {
        match self.text().first()? {
            b'"' => match self.value()? {
                Value::String(text) => Some(text),
                _ => None,
            },
            b'{' | b'[' => None,
            _ if self.text() == b"null" => None,
            _ => Some(String::from_utf8_lossy(self.text()).into_owned()),
        }
    }

    /// Whether it says that there is more: `true`, a number other than 0, a text other than `false`.
    pub(crate) fn is_true(self) -> bool {
        self.plain().is_some_and(|text| !matches!(text.as_str(), "false" | "0" | ""))
    }
}

/// The records of a reply.
///
/// # Errors
/// A sentence that says what is missing.
pub(crate) fn records<'a>(
    reply: Raw<'a>,
    path: Option<&str>,
    endpoint: &str,
) -> Result<Vec<Raw<'a>>, String> {
    match path {
        Some(".") => return Ok(if reply.is_array() { reply.elements() } else { vec![reply] }),
        Some(path) => return at(reply, path),
        None if reply.is_array() => return Ok(reply.elements()),
        None => {}
    }
    if !reply.is_object() {
        return Err("the reply is neither an object nor a list".to_owned());
    }
    const USUAL: [&str; 14] = [
        "data", "items", "results", "records", "value", "values", "entries", "rows", "objects",
        "content", "list", "elements", "nodes", "hits",
    ];
    let own = endpoint.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let named = std::iter::once(own).chain(USUAL);
    match named.filter_map(|key| reply.member(key)).find(|value| value.is_array()) {
        Some(found) => Ok(found.elements()),
        None => Err(format!(
            "it is not clear where the records are; the reply has: {}. Say it by `records`, as keys \
             joined by dots (`records: data.items`), or `records: .` if the reply is one record",
            reply.keys().join(", ")
        )),
    }
}

/// The records at a path; lists on the way are gone through.
fn at<'a>(reply: Raw<'a>, path: &str) -> Result<Vec<Raw<'a>>, String> {
    let mut level = vec![reply];
    let mut within = false;
    for key in path.split('.') {
        let mut next = Vec::new();
        for value in level {
            within |= value.is_array();
            let each = if value.is_array() { value.elements() } else { vec![value] };
            for value in each {
                match value.member(key) {
                    Some(found) => next.push(found),
                    // Elements of a list may lack it; the reply itself may not.
                    None if within || value.text() == b"null" => {}
                    None => {
                        return Err(format!(
                            "the reply has no `{key}` (`records: {path}`); it has: {}",
                            value.keys().join(", ")
                        ));
                    }
                }
            }
        }
        level = next;
    }
    let mut found = Vec::new();
    for value in level {
        match value.text() {
            b"null" => {}
            _ if value.is_array() => found.extend(value.elements()),
            _ => found.push(value),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(found: &[Raw<'_>]) -> Vec<String> {
        found.iter().map(|raw| String::from_utf8_lossy(raw.text()).into_owned()).collect()
    }

    fn document(text: &str) -> Document {
        Document::parse(text.into()).unwrap()
    }

    #[test]
    fn records_are_found_and_keep_their_digits() {
        let text =
            r#" {"meta": {"next": null, "a.b": 1}, "data": [{"n": 1.10, "x": "\u00e9"}, 2 ]} "#;
        let reply = document(text);
        let reply = reply.root();
        let found = records(reply, None, "things").unwrap();
        assert_eq!(texts(&found), [r#"{"n": 1.10, "x": "\u00e9"}"#, "2"]);
        assert_eq!(found[0].get("x").unwrap().plain().unwrap(), "é");
        assert_eq!(found[0].get("n").unwrap().plain().unwrap(), "1.10");
        assert!(reply.get("meta.a.b").is_none());
        assert_eq!(reply.get("meta").unwrap().get("a.b").unwrap().plain().unwrap(), "1");
        assert_eq!(reply.get("meta.next").unwrap().plain(), None);
        assert_eq!(reply.get("data.1").unwrap().plain().unwrap(), "2");
        assert_eq!(texts(&records(reply, Some("data"), "").unwrap()).len(), 2);
        assert_eq!(texts(&records(reply, Some("."), "").unwrap()).len(), 1);
    }

    #[test]
    fn lists_on_the_way_are_gone_through() {
        let reply =
            document(r#"{"orders": [{"lines": [1, 2]}, {}, {"lines": [3]}, {"lines": null}]}"#);
        let reply = reply.root();
        assert_eq!(texts(&records(reply, Some("orders.lines"), "").unwrap()), ["1", "2", "3"]);
        // What is called as the endpoint is.
        assert_eq!(records(reply, None, "v1/orders").unwrap().len(), 4);
    }

    #[test]
    fn what_is_missing_is_said() {
        let reply = document(r#"{"error": "no", "code": 3}"#);
        let reply = reply.root();
        let error = records(reply, None, "orders").unwrap_err();
        assert!(error.contains("error, code") && error.contains("`records`"), "{error}");
        let error = records(reply, Some("data.items"), "orders").unwrap_err();
        assert!(error.contains("has no `data`"), "{error}");
        for text in ["", "{", "{} {}", "<html>", "[1,]"] {
            assert!(Document::parse(text.into()).is_err(), "{text}");
        }
    }
}

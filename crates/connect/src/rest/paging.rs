//! How a reply is continued.
//!
//! A page that comes twice, a mark that does not move and a reply that says that there is more where
//! nothing leads on are errors: rows would be missing, or come again for ever.

use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_128;

use super::client::Reply;
use super::settings::{Marked, Numbered, Paging, Place};
use crate::records::Raw;

/// What is asked for next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Nothing: that was all.
    Done,
    /// An address.
    Address(String),
    /// The same again, with these values.
    Values(Vec<(String, Value, Place)>),
}

/// Follows the pages of one request.
pub(super) struct Pager<'a> {
    paging: &'a Paging,
    page: u64,
    records: u64,
    mark: Option<String>,
    last: u128,
}

/// Where APIs without a `Link` header have the address of what follows.
const ADDRESSES: [&str; 12] = [
    "next",
    "links.next",
    "links.next.href",
    "_links.next",
    "_links.next.href",
    "paging.next",
    "pagination.next",
    "pagination.next_url",
    "meta.next",
    "next_url",
    "nextLink",
    "@odata.nextLink",
];

/// What says that there is more, or gives a mark, in APIs that have to be told apart by their users.
const SIGNS: [&str; 14] = [
    "next",
    "has_more",
    "hasMore",
    "has_next_page",
    "next_cursor",
    "nextCursor",
    "next_page_token",
    "nextPageToken",
    "next_page",
    "nextPage",
    "meta.next_cursor",
    "pagination.next_cursor",
    "paging.cursors.after",
    "response_metadata.next_cursor",
];

impl<'a> Pager<'a> {
    pub(super) fn new(paging: &'a Paging) -> Self {
        Pager { paging, page: 0, records: 0, mark: None, last: 0 }
    }

    /// What the first request is told.
    pub(super) fn first(&self) -> Vec<(String, Value, Place)> {
        match self.paging {
            Paging::Page(numbered) => {
                self.numbers(numbered, "page", numbered.start.unwrap_or(1), None)
            }
            Paging::Offset(numbered) => {
                self.numbers(numbered, "offset", numbered.start.unwrap_or(0), Some("limit"))
            }
            _ => Vec::new(),
        }
    }

    fn numbers(
        &self,
        numbered: &Numbered,
        usual: &str,
        number: u64,
        usual_size: Option<&str>,
    ) -> Vec<(String, Value, Place)> {
        let param = numbered.param.as_deref().unwrap_or(usual);
        let mut values = vec![(param.to_owned(), number.into(), numbered.place)];
        if let Some(size) = numbered.size_param.as_deref().or(usual_size) {
            let wanted = numbered.size.unwrap_or(100);
            values.push((size.to_owned(), wanted.into(), numbered.place));
        }
        values
    }

    /// What follows this reply, which had so many records.
    ///
    /// # Errors
    /// Kind `Data` when nothing leads on to what there is, or what leads on does not move.
    pub(super) fn next(
        &mut self,
        reply: &Reply,
        body: Raw<'_>,
        records: usize,
        last: Option<Raw<'_>>,
    ) -> Result<Next> {
        self.page += 1;
        self.records += records as u64;
        let more = |path: &Option<String>| {
            path.as_deref().map(|path| body.get(path).is_some_and(Raw::is_true))
        };
        match self.paging {
            Paging::None => Ok(Next::Done),
            Paging::Link => self.address(linked(reply)),
            Paging::NextUrl { next } => self.address(body.get(next).and_then(Raw::plain)),
            Paging::Auto => {
                let address = linked(reply).or_else(|| {
                    let texts = ADDRESSES.iter().filter_map(|path| body.get(path)?.plain());
                    texts.into_iter().find(|text| text.contains("://") || text.starts_with('/'))
                });
                let sign = SIGNS.iter().find(|path| body.get(path).is_some_and(Raw::is_true));
                match (&address, sign) {
                    (None, Some(sign)) if records > 0 => Err(Error::new(
                        ErrorKind::Config,
                        format!(
                            "the reply says by `{sign}` that there is more, and it is not clear how it is \
                             asked for: say it by `paging` (`paging: none` if this is all)"
                        ),
                    )),
                    _ => self.address(address),
                }
            }
            Paging::Page(numbered) => {
                let page = numbered.start.unwrap_or(1) + self.page;
                let total = numbered.total.as_deref().and_then(|path| number(body, path));
                let more = more(&numbered.more).or_else(|| total.map(|total| self.page < total));
                if records == 0 || more == Some(false) {
                    return Ok(Next::Done);
                }
                self.moves(body, numbered.param.as_deref().unwrap_or("page"))?;
                Ok(Next::Values(self.numbers(numbered, "page", page, None)))
            }
            Paging::Offset(numbered) => {
                let total = numbered.total.as_deref().and_then(|path| number(body, path));
                let more = more(&numbered.more).or_else(|| total.map(|total| self.records < total));
                if records == 0 || more == Some(false) {
                    return Ok(Next::Done);
                }
                self.moves(body, numbered.param.as_deref().unwrap_or("offset"))?;
                let offset = numbered.start.unwrap_or(0) + self.records;
                Ok(Next::Values(self.numbers(numbered, "offset", offset, Some("limit"))))
            }
            Paging::Cursor(marked) => {
                if more(&marked.more) == Some(false) {
                    return Ok(Next::Done);
                }
                self.marked(marked, reply, body, last)
            }
        }
    }

    fn marked(
        &mut self,
        marked: &Marked,
        reply: &Reply,
        body: Raw<'_>,
        last: Option<Raw<'_>>,
    ) -> Result<Next> {
        let mark = match (&marked.next, &marked.header, &marked.record) {
            (Some(path), ..) => body.get(path).and_then(Raw::plain),
            (_, Some(header), _) => reply.header(header).map(str::to_owned),
            (_, _, Some(field)) => match last {
                None => None,
                Some(last) => Some(last.get(field).and_then(Raw::plain).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Data,
                        format!(
                            "the last record of a page has no `{field}`, by which it is continued"
                        ),
                    )
                })?),
            },
            _ => None,
        };
        match mark.filter(|mark| !mark.is_empty()) {
            None => Ok(Next::Done),
            Some(mark) if self.mark.as_ref() == Some(&mark) => Err(Error::new(
                ErrorKind::Data,
                format!(
                    "the API gives the same mark again and again; does it take it by `{}`?",
                    marked.param
                ),
            )),
            Some(mark) => {
                self.mark = Some(mark.clone());
                Ok(Next::Values(vec![(marked.param.clone(), mark.into(), marked.place)]))
            }
        }
    }

    fn address(&mut self, address: Option<String>) -> Result<Next> {
        match address.filter(|address| !address.is_empty()) {
            None => Ok(Next::Done),
            Some(address) if self.mark.as_ref() == Some(&address) => Err(Error::new(
                ErrorKind::Data,
                "the address of the next page is that of this one; the API would be asked for ever",
            )),
            Some(address) => {
                self.mark = Some(address.clone());
                Ok(Next::Address(address))
            }
        }
    }

    /// Whether this page is another one than the last.
    fn moves(&mut self, body: Raw<'_>, param: &str) -> Result<()> {
        let hash = xxh3_128(body.text());
        if std::mem::replace(&mut self.last, hash) != hash {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Data,
            format!(
                "the API gives the same page again and again; it does not seem to know the parameter \
                 `{param}` (`param` of `paging`)"
            ),
        ))
    }
}

fn number(body: Raw<'_>, path: &str) -> Option<u64> {
    body.get(path)?.plain()?.parse().ok()
}

/// The address with `rel="next"` in the header `Link` (RFC 8288).
fn linked(reply: &Reply) -> Option<String> {
    let links = reply.headers.get_all("link");
    links.iter().filter_map(|link| link.to_str().ok()).find_map(next_link)
}

fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (address, after) = after.split_once('>')?;
        // Up to the next link; a quoted value may have a comma.
        let mut quoted = false;
        let end = after.find(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        let params = &after[..end.unwrap_or(after.len())];
        let is_next = params.split(';').any(|param| {
            let Some((name, value)) = param.split_once('=') else { return false };
            let mut relations = value.trim().trim_matches('"').split_whitespace();
            name.trim().eq_ignore_ascii_case("rel")
                && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(address.trim().to_owned());
        }
        rest = &after[end?..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read() {
        for (header, next) in [
            (
                r#"<https://a/x?page=2>; rel="next", <https://a/x?page=9>; rel="last""#,
                Some("https://a/x?page=2"),
            ),
            (
                r#"<https://a/1>; rel="prev"; title="a, b", <https://a/3>; rel=next"#,
                Some("https://a/3"),
            ),
            (r#"<https://a/1>; rel="first prev""#, None),
            (r#"<https://a/2>; rel="last next""#, Some("https://a/2")),
            ("", None),
        ] {
            assert_eq!(next_link(header).as_deref(), next, "{header}");
        }
    }
}

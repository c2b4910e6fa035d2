//! A catalog that is asked over HTTP.
//!
//! Source: "Iceberg REST Catalog API" (`rest-catalog-open-api.yaml`).

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;
use tidemill_core::{Cancellation, Error, ErrorKind, Result, Secret};
use tidemill_objects::StoreOptions;
use url::Url;

use crate::rest::client::{Client, Reply, Request};

/// The most pages of a list.
const PAGES: usize = 10_000;

/// A catalog.
pub(super) struct Catalog {
    client: Client,
    warehouse: Option<String>,
    cancel: Cancellation,
    prefix: Option<String>,
}

/// What a catalog says of itself.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    overrides: BTreeMap<String, String>,
}

/// A table of a catalog.
#[derive(Deserialize)]
pub(super) struct Loaded {
    /// Its metadata.
    pub(super) metadata: Value,
    #[serde(default)]
    config: HashMap<String, Value>,
    #[serde(rename = "storage-credentials", default)]
    credentials: Option<Vec<Credential>>,
}

/// What opens the addresses that begin so.
#[derive(Deserialize)]
struct Credential {
    prefix: String,
    #[serde(default)]
    config: HashMap<String, Value>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    namespaces: Vec<Vec<String>>,
    #[serde(default)]
    identifiers: Vec<Identifier>,
    #[serde(rename = "next-page-token")]
    next: Option<String>,
}

/// The name of a table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Identifier {
    pub(super) namespace: Vec<String>,
    pub(super) name: String,
}

impl Identifier {
    /// `namespace.table`, or a name alone where there is a namespace for such.
    pub(super) fn parse(written: &str, usual: Option<&str>) -> Result<Identifier> {
        let split = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let mut namespace = split(written);
        let name = namespace.pop().unwrap_or_default();
        if namespace.is_empty() {
            namespace = usual.map(split).unwrap_or_default();
        }
        if namespace.is_empty() || name.is_empty() || namespace.iter().any(String::is_empty) {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`table` must name a namespace and a table (`sales.orders`), not `{written}`"
                ),
            )
            .with("help", "or give the connection a `namespace`"));
        }
        Ok(Identifier { namespace, name })
    }

    /// As people write it.
    pub(super) fn text(&self) -> String {
        format!("{}.{}", self.namespace.join("."), self.name)
    }
}

impl Catalog {
    /// Asks the catalog for its settings.
    pub(super) fn open(
        client: Client,
        warehouse: Option<&str>,
        cancel: Cancellation,
    ) -> Result<Catalog> {
        let warehouse = warehouse.map(str::to_owned);
        let mut catalog = Catalog { client, warehouse, cancel, prefix: None };
        let query = catalog.warehouse.clone().map(|name| ("warehouse", name));
        let config: Config = catalog.get("v1/config", query.as_slice(), &[])?.json()?;
        let said = |key: &str| config.overrides.get(key).or_else(|| config.defaults.get(key));
        if let Some(elsewhere) = said("uri") {
            // Refuses another host: what is known of this one must not go there.
            catalog.client.address(elsewhere)?;
        }
        catalog.prefix = said("prefix").filter(|prefix| !prefix.is_empty()).cloned();
        Ok(catalog)
    }

    fn get(&self, path: &str, query: &[(&str, String)], headers: &[(&str, &str)]) -> Result<Reply> {
        let mut url = self.client.address(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = Request {
            method: "GET",
            url,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            body: None,
        };
        let reply = self.client.send(&request, &self.cancel)?;
        match reply.status {
            200..=299 => Ok(reply),
            _ => Err(self.client.refusal(&request, &reply)),
        }
    }

    /// A path behind the prefix of the catalog.
    fn path(&self, parts: &[&str]) -> String {
        let mut path = vec!["v1".to_owned()];
        path.extend(self.prefix.clone());
        path.extend(parts.iter().map(|part| (*part).to_owned()));
        path.join("/")
    }

    /// The table with its metadata, and what opens its files.
    ///
    /// # Errors
    /// Kind `NotFound` where there is no such table.
    pub(super) fn table(&self, table: &Identifier) -> Result<Loaded> {
        let namespace = encoded(&table.namespace);
        let name = encoded(std::slice::from_ref(&table.name));
        let path = self.path(&["namespaces", &namespace, "tables", &name]);
        let delegation = [("X-Iceberg-Access-Delegation", "vended-credentials")];
        let reply = self.get(&path, &[], &delegation).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("the catalog has no table `{}`", table.text()),
            )
            .because(error),
            _ => error,
        })?;
        reply.json()
    }

    /// All pages of a list.
    fn pages(
        &self,
        path: &str,
        query: &[(&str, String)],
        each: &mut dyn FnMut(Listed),
    ) -> Result<()> {
        let mut token = None;
        for _ in 0..PAGES {
            let mut query = query.to_vec();
            query.extend(token.take().map(|token| ("pageToken", token)));
            let mut listed: Listed = self.get(path, &query, &[])?.json()?;
            let next = listed.next.take().filter(|next| !next.is_empty());
            each(listed);
            match next {
                Some(next) => token = Some(next),
                None => return Ok(()),
            }
        }
        Err(Error::new(ErrorKind::Data, "the catalog's list does not end").with("path", path))
    }

    /// Whether the login may look at what there is: some catalogs tell their settings to everybody.
    pub(super) fn check(&self) -> Result<()> {
        let page = [("pageSize", "1".to_owned())];
        self.get(&self.path(&["namespaces"]), &page, &[]).map(drop)
    }

    /// The names of all tables.
    pub(super) fn tables(&self) -> Result<Vec<Identifier>> {
        let mut waiting: Vec<Option<Vec<String>>> = vec![None];
        let mut seen = std::collections::BTreeSet::new();
        let mut tables = Vec::new();
        while let Some(parent) = waiting.pop() {
            let query = parent.as_ref().map(|parent| ("parent", parent.join("\u{1F}")));
            let within = self.pages(&self.path(&["namespaces"]), query.as_slice(), &mut |listed| {
                // Some servers do not know `parent`, and list all again.
                for namespace in listed.namespaces {
                    if seen.insert(namespace.clone()) {
                        waiting.push(Some(namespace));
                    }
                }
            });
            match (within, &parent) {
                (Err(error), Some(_))
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Config) => {}
                (result, _) => result?,
            }
            let Some(namespace) = parent else { continue };
            let path = self.path(&["namespaces", &encoded(&namespace), "tables"]);
            self.pages(&path, &[], &mut |listed| tables.extend(listed.identifiers))?;
        }
        tables.sort_by_key(Identifier::text);
        Ok(tables)
    }
}

/// A name as a part of an address; its levels are joined by the unit separator.
fn encoded(levels: &[String]) -> String {
    let mut out = String::new();
    for byte in levels.join("\u{1F}").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Loaded {
    /// What opens the files of the table, by what their addresses begin with. What the connection says
    /// goes before what the catalog gives, whose keys are not taken when the connection has its own.
    pub(super) fn options(&self, own: &[(String, String)]) -> Vec<(String, StoreOptions)> {
        let of = |config: &HashMap<String, Value>| {
            let mut options = StoreOptions::new();
            for (key, value) in given(config, own) {
                options.set(&key, value);
            }
            options
        };
        let mut all = vec![(String::new(), of(&self.config))];
        for credential in self.credentials.iter().flatten() {
            // What holds for the table holds for each of its prefixes.
            let mut config = self.config.clone();
            config.extend(credential.config.clone());
            all.push((credential.prefix.clone(), of(&config)));
        }
        all
    }
}

/// Options of a store, as a catalog calls them.
fn given(config: &HashMap<String, Value>, own: &[(String, String)]) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let has_keys = own.iter().any(|(key, _)| tidemill_core::is_secret_key(key));
    for (key, value) in config {
        let Some(value) = value.as_str().filter(|value| !value.is_empty()) else { continue };
        let (option, secret) = match key.as_str() {
            "s3.access-key-id" => ("access_key_id", true),
            "s3.secret-access-key" => ("secret_access_key", true),
            "s3.session-token" => ("session_token", true),
            "s3.endpoint" => ("endpoint", false),
            "s3.region" | "client.region" => ("region", false),
            _ if key.starts_with("adls.sas-token.") => ("sas_token", true),
            _ => continue,
        };
        if secret {
            if has_keys {
                continue;
            }
            drop(Secret::new(value));
        }
        options.push((option.to_owned(), value.to_owned()));
    }
    // `s3.region` goes before `client.region`.
    if let Some(region) = config.get("s3.region").and_then(Value::as_str) {
        options.push(("region".to_owned(), region.to_owned()));
    }
    options.extend(own.iter().cloned());
    options
}

/// Whether an address is one of a catalog.
pub(super) fn check_address(written: &str) -> Result<()> {
    let url = Url::parse(written).map_err(|error| {
        Error::new(ErrorKind::Config, "`catalog` is not an address").because(error)
    })?;
    match url.scheme() {
        "https" | "http" => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Config,
            "`catalog` must be the address of a REST catalog (https://…)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_tables() {
        let parse = |text: &str, usual| Identifier::parse(text, usual).map(|it| it.text());
        assert_eq!(parse("a.b.c", None).unwrap(), "a.b.c");
        assert_eq!(parse("c", Some("a.b")).unwrap(), "a.b.c");
        assert_eq!(parse("x.c", Some("a")).unwrap(), "x.c");
        assert!(parse("c", None).unwrap_err().report().contains("sales.orders"));
        assert!(parse("a..c", None).is_err());
        assert_eq!(encoded(&["a b".to_owned(), "ö".to_owned()]), "a%20b%1F%C3%B6");
    }

    #[test]
    fn credentials_of_the_catalog_and_of_the_connection() {
        let loaded: Loaded = serde_json::from_value(json!({
            "metadata": {},
            "config": {"s3.access-key-id": "theirs", "s3.secret-access-key": "their very secret",
                       "s3.endpoint": "https://store", "client.region": "one", "s3.region": "two"},
            "storage-credentials": [{"prefix": "s3://b/t", "config": {"s3.access-key-id": "narrow"}}],
        }))
        .unwrap();
        let text = |own: &[(&str, &str)], at: usize| {
            let own: Vec<(String, String)> =
                own.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            let config = match at {
                0 => loaded.config.clone(),
                _ => {
                    let mut config = loaded.config.clone();
                    config.extend(loaded.credentials.as_ref().unwrap()[0].config.clone());
                    config
                }
            };
            given(&config, &own).into_iter().collect::<BTreeMap<String, String>>()
        };
        let theirs = text(&[], 0);
        assert_eq!(theirs["access_key_id"], "theirs");
        assert_eq!(
            (theirs["endpoint"].as_str(), theirs["region"].as_str()),
            ("https://store", "two")
        );
        assert_eq!(text(&[("region", "three")], 1)["region"], "three");
        assert_eq!(text(&[], 1)["access_key_id"], "narrow");
        let ours = text(&[("access_key_id", "ours"), ("secret_access_key", "our very secret")], 0);
        assert_eq!(ours["access_key_id"], "ours");
        assert_eq!(ours["secret_access_key"], "our very secret");
        let starts: Vec<String> = loaded.options(&[]).into_iter().map(|(start, _)| start).collect();
        assert_eq!(starts, ["", "s3://b/t"]);
    }
}

//! The connector for tables of a REST catalog; its kind is `iceberg`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidemill_core::{
    Cancellation, ChangeStream, ConnectContext, Connector, Error, ErrorKind, Position, ReadRequest,
    ReadScope, Result, Source, TableDescription,
};
use tokio::runtime::Handle;

use super::catalog::{Catalog, Identifier, check_address};
use super::metadata::{Table, Which};
use super::place::Files;
use crate::files::{FilesSource, Root, TableSettings};
use crate::rest::client::Client;
use crate::rest::{AuthSettings, RestConfig, Span, Written};
use crate::stream::{blocking, of_blocking};

/// The connector for tables of a REST catalog of Iceberg; its kind is `iceberg`.
#[derive(Debug)]
pub struct IcebergConnector;

/// The settings of a connection to a catalog.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IcebergConfig {
    /// The address of the catalog.
    pub catalog: String,
    /// The warehouse, where the catalog has several.
    pub warehouse: Option<String>,
    /// What names of tables mean that have no namespace.
    pub namespace: Option<String>,
    /// Who asks.
    #[serde(default)]
    pub auth: AuthSettings,
    /// Headers of every request; values that hold secrets are references.
    #[serde(default)]
    pub headers: BTreeMap<String, Written>,
    /// How long one request may take: `60s`.
    pub timeout: Option<Span>,
    /// Whether the catalog may be on this machine or in a private network.
    #[serde(default)]
    pub allow_private_addresses: bool,
    /// Options of the object store that has the files, as `object_store` calls them. Default: what the
    /// catalog gives, else the environment's.
    #[serde(default)]
    pub storage: BTreeMap<String, Written>,
}

/// The settings of a table, beside those of what reads it.
const KEYS: [&str; 9] = [
    "table",
    "snapshot",
    "as_of",
    "ref",
    "names",
    "source_file_column",
    "source_row_column",
    "max_record_bytes",
    "max_delete_bytes",
];

/// The settings of a table as those of files, and the name of the table.
fn settings(written: &Value, name: &str) -> Result<(TableSettings, String)> {
    let mut settings: Map<String, Value> = match written {
        Value::Object(settings) => settings.clone(),
        Value::Null => Map::new(),
        _ => return Err(Error::new(ErrorKind::Config, "`ingest` must be a mapping")),
    };
    if let Some(key) = settings.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let known: Vec<String> = KEYS.iter().map(|key| format!("`{key}`")).collect();
        return Err(Error::new(
            ErrorKind::Config,
            format!("unknown setting `{key}` under `ingest`; known are {}", known.join(", ")),
        ));
    }
    let table = match settings.remove("table") {
        None => name.to_owned(),
        Some(Value::String(table)) => table,
        Some(_) => return Err(Error::new(ErrorKind::Config, "`table` under `ingest` is wrong")),
    };
    settings.insert("format".to_owned(), "iceberg".into());
    settings.insert("location".to_owned(), table.clone().into());
    Ok((TableSettings::parse(&Value::Object(settings))?, table))
}

#[async_trait]
impl Connector for IcebergConnector {
    const KIND: &'static str = "iceberg";
    type Config = IcebergConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "table";

    fn connect(config: IcebergConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        check_address(&config.catalog)?;
        Ok(Arc::new(IcebergSource { config: Arc::new(config), context }))
    }

    fn check_table(written: &Value) -> Result<()> {
        settings(written, "a.b").and_then(|(settings, _)| settings.resolve()).map(drop)
    }
}

#[derive(Debug, Clone)]
struct IcebergSource {
    config: Arc<IcebergConfig>,
    context: ConnectContext,
}

impl IcebergSource {
    fn named(&self, error: Error) -> Error {
        error.with("connection", &self.context.name)
    }

    fn catalog(&self, handle: &Handle, cancel: Cancellation) -> Result<Catalog> {
        let config = &self.config;
        let rest = RestConfig {
            url: config.catalog.clone(),
            headers: config.headers.clone(),
            params: BTreeMap::new(),
            auth: config.auth.clone(),
            paging: None,
            max_requests_per_second: None,
            timeout: config.timeout,
            max_wait: None,
            allow_private_addresses: config.allow_private_addresses,
            test: None,
        };
        let client = Client::new(&rest, &self.context, handle.clone())?;
        Catalog::open(client, config.warehouse.as_deref(), cancel)
    }

    /// What the connection says of the store.
    fn storage(&self) -> Result<Vec<(String, String)>> {
        let resolved = |(key, value): (&String, &Written)| {
            Ok((key.clone(), value.resolve(&self.context.project)?))
        };
        self.config.storage.iter().map(resolved).collect()
    }

    fn run(
        &self,
        request: ReadRequest,
        handle: &Handle,
        emit: &mut crate::files::read::Emit<'_>,
    ) -> Result<()> {
        let (settings, written) = settings(&request.settings, &request.name)?;
        let settings = settings.resolve()?;
        let name = Identifier::parse(&written, self.config.namespace.as_deref())?;
        let catalog = self.catalog(handle, request.cancel.clone())?;
        let loaded = catalog.table(&name)?;
        let files = Files::of_catalog(name.text(), handle, loaded.options(&self.storage()?));
        let table = Table::of(loaded.metadata).map_err(|error| error.with("table", name.text()))?;
        let source = FilesSource { root: Root::Folder(self.context.project.clone()) };
        super::read::read(&source, files, table, settings, request, emit)
    }

    fn described(&self, catalog: &Catalog, name: &Identifier) -> Result<TableDescription> {
        let table = Table::of(catalog.table(name)?.metadata)?;
        let state = table.state(&Which::Current)?;
        let fields = state.schema.columns().into_iter();
        let fields: Vec<ArrowField> =
            fields.map(|(name, data_type)| ArrowField::new(name, data_type, true)).collect();
        let keys = state.schema.keys.iter().filter_map(|id| state.schema.find(*id));
        let summed = |key: &str| match state.snapshot {
            None => Some(0),
            Some(snapshot) => snapshot.summary.get(key)?.parse::<u64>().ok(),
        };
        let deleted = ["total-position-deletes", "total-equality-deletes"]
            .iter()
            .any(|key| summed(key).is_some_and(|rows| rows > 0));
        Ok(TableDescription {
            name: name.text(),
            schema: Some(Arc::new(ArrowSchema::new(fields))),
            rows: summed("total-records"),
            estimated: deleted,
            primary_key: keys.map(|field| field.name.clone()).collect(),
        })
    }
}

#[async_trait]
impl Source for IcebergSource {
    async fn ping(&self) -> Result<()> {
        let (source, handle) = (self.clone(), Handle::current());
        let work = move || source.catalog(&handle, Cancellation::new())?.check();
        blocking(work).await.map_err(|error| self.named(error))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let (source, handle) = (self.clone(), Handle::current());
        let work = move || {
            let catalog = source.catalog(&handle, Cancellation::new())?;
            let described = |name: Identifier| match source.described(&catalog, &name) {
                // One that is not read, or gone by now, has a name all the same.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotFound) =>
                {
                    tracing::warn!(table = name.text(), error = %error, "a table cannot be described");
                    Ok(TableDescription {
                        name: name.text(),
                        schema: None,
                        rows: None,
                        estimated: false,
                        primary_key: Vec::new(),
                    })
                }
                described => described,
            };
            catalog.tables()?.into_iter().map(described).collect()
        };
        blocking(work).await.map_err(|error| self.named(error))
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let (source, handle) = (self.clone(), Handle::current());
        Ok(of_blocking(move |emit| {
            let read = source.run(request, &handle, emit);
            read.map_err(|error| source.named(error))
        }))
    }

    async fn acknowledge(&self, _position: &Position) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_a_table() {
        let check = |written: Value| IcebergConnector::check_table(&written);
        check(json!({"table": "a.b", "as_of": "2024-01-31 12:00:00Z"})).unwrap();
        check(json!({})).unwrap();
        for (written, part) in [
            (json!({"location": "x"}), "`location`"),
            (json!({"table": 1}), "`table`"),
            (json!({"table": "a.b", "as_of": "soon"}), "`as_of`"),
            (json!({"table": "a.b", "snapshot": 1, "ref": "main"}), "do not go together"),
        ] {
            let error = check(written).unwrap_err().report();
            assert!(error.contains(part), "{error}");
        }
    }
}

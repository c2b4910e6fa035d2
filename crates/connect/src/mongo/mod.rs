//! MongoDB: collections as tables.
//!
//! Documents are fetched to disk as JSON first and read from there as NDJSON files are, as those of REST
//! APIs: by the same rules for types, nested values and documents that do not fit. What JSON has no word
//! for is text (`json.rs`). What was read is published with the position of its cursor, in one commit.

mod changes;
mod fetch;
mod filter;
mod json;
mod settings;

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_core::{
    ChangeStream, ConnectContext, Connector, Error, Position, ReadRequest, ReadScope, Result,
    Source, TableDescription,
};

pub use settings::{CollectionSettings, MongoConfig};

use crate::records::{Found, Plan};
use crate::stream::of_work;
use changes::Follow;
use fetch::{Server, failure};
use filter::Kind;

/// The connector for MongoDB; its kind is `mongodb`.
#[derive(Debug)]
pub struct MongoConnector;

#[async_trait]
impl Connector for MongoConnector {
    const KIND: &'static str = "mongodb";
    type Config = MongoConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "collection";

    fn connect(config: MongoConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        config.check()?;
        Ok(Arc::new(MongoSource { config: Arc::new(config), context }))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        CollectionSettings::parse(settings).map(drop)
    }
}

#[derive(Debug, Clone)]
struct MongoSource {
    config: Arc<MongoConfig>,
    context: ConnectContext,
}

impl MongoSource {
    fn named(&self, error: Error) -> Error {
        error.with("connection", &self.context.name)
    }

    async fn server(&self) -> Result<Server> {
        Server::connect(&self.config, &self.context.project).await
    }

    async fn described(&self) -> Result<Vec<TableDescription>> {
        let server = self.server().await?;
        let what = "the collections cannot be listed";
        let names = server.database.list_collection_names().await;
        let mut names = names.map_err(|error| failure(error, what))?;
        names.retain(|name| !name.starts_with("system."));
        names.sort();
        let mut described = Vec::with_capacity(names.len());
        for name in names {
            let counted = server.database.collection::<mongodb::bson::Document>(&name);
            // A view has no count that is cheap.
            let rows = counted.estimated_document_count().await.ok();
            described.push(TableDescription {
                name,
                schema: None,
                rows,
                estimated: true,
                primary_key: vec!["_id".to_owned()],
            });
        }
        Ok(described)
    }
}

#[async_trait]
impl Source for MongoSource {
    async fn ping(&self) -> Result<()> {
        let server = self.server().await.map_err(|error| self.named(error))?;
        server.ping().await.map_err(|error| self.named(error))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        self.described().await.map_err(|error| self.named(error))
    }

    async fn read(&self, mut request: ReadRequest) -> Result<ChangeStream> {
        let settings = CollectionSettings::parse(&request.settings)?;
        let name = settings.collection.clone().unwrap_or_else(|| request.name.clone());
        let from = format!("{}.{name}", self.config.database);
        let scope = request.scope;
        let cursor = request.cursor.clone().filter(|_| scope != ReadScope::Whole);
        let plan = Plan::new(from, settings.lookback, settings.reader(), &request)?;
        let source = self.clone();
        Ok(of_work(move |sink| async move {
            let read = async {
                let server = source.server().await?;
                if scope == ReadScope::Log {
                    let follow = Follow {
                        server: &server,
                        collection: &name,
                        settings: &settings,
                        key: &request.primary_key,
                        before: plan.log(),
                        cancel: &request.cancel,
                    };
                    let followed = follow.run().await?;
                    let truncates = followed.truncates;
                    let found = Found { log: Some(followed.log), truncates, ..Found::default() };
                    return plan.run(followed.spooled, request, found, &sink).await;
                }
                let known = plan.kind().map(Kind::parse).transpose()?;
                let since = match plan.since()? {
                    Some(value) => Some(filter::since(&value, known)?),
                    None => None,
                };
                let fetch = fetch::Fetch {
                    server: &server,
                    collection: &name,
                    settings: &settings,
                    cursor: cursor.as_deref(),
                    since,
                    known,
                    primary: false,
                    cancel: &request.cancel,
                };
                let fetched = fetch.run().await?;
                if let (Some(cursor), Some(kind)) = (&cursor, fetched.kind) {
                    kind.declare(cursor, &mut request)?;
                }
                let kind = fetched.kind.map(Kind::name);
                let found = Found { largest: fetched.largest, kind, ..Found::default() };
                plan.run(fetched.spooled, request, found, &sink).await
            };
            read.await.map_err(|error| source.named(error))
        }))
    }

    fn has_log(&self) -> bool {
        true
    }

    async fn acknowledge(&self, _position: &Position) -> Result<()> {
        Ok(())
    }
}

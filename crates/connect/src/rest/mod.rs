//! REST APIs, by declaration: endpoints, parameters, pages, logins, what is new.
//!
//! A source table is an endpoint. Its records are fetched page by page to a file on disk, as the text
//! that the API sent, and read from there as NDJSON files are: by the same rules for types, nested
//! values and records that do not fit. What was read is published with the position of its cursor, in
//! one commit; a load that ends early publishes nothing and is made again from the same position.

mod auth;
pub(crate) mod client;
mod fetch;
mod paging;
mod read;
mod settings;
mod sign;

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_core::{
    Cancellation, ChangeStream, ConnectContext, Connector, Error, ErrorKind, Position, ReadRequest,
    ReadScope, Result, Source, TableDescription,
};
use tokio::runtime::Handle;

pub use settings::{
    AuthSettings, AwsSigv4, ClientAuth, EndpointSettings, Incremental, KeyPlace, Marked, Method,
    Numbered, Oauth2, Paging, Place, RestConfig, Span, Written,
};

use client::{Client, Request};

use crate::stream::{blocking, of_work};

/// The connector for REST APIs; its kind is `rest`.
#[derive(Debug)]
pub struct RestConnector;

#[async_trait]
impl Connector for RestConnector {
    const KIND: &'static str = "rest";
    type Config = RestConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "path";

    fn connect(config: RestConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(RestSource { config: Arc::new(config), context }))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        EndpointSettings::parse(settings).map(drop)
    }
}

#[derive(Debug, Clone)]
struct RestSource {
    config: Arc<RestConfig>,
    context: ConnectContext,
}

impl RestSource {
    fn named(&self, error: Error) -> Error {
        error.with("connection", &self.context.name)
    }
}

#[async_trait]
impl Source for RestSource {
    async fn ping(&self) -> Result<()> {
        let (source, handle) = (self.clone(), Handle::current());
        let work = move || {
            let client = Client::new(&source.config, &source.context, handle)?;
            let url = match &source.config.test {
                Some(path) => client.address(path.trim_start_matches('/'))?,
                None => client.base.clone(),
            };
            let request = Request { method: "GET", url, headers: Vec::new(), body: None };
            let reply = client.send(&request, &Cancellation::new())?;
            // The API's root may be nothing; what was written as a test must be there.
            let refused = match source.config.test {
                Some(_) => reply.status >= 300,
                None => matches!(reply.status, 401 | 403 | 429 | 500..),
            };
            if refused { Err(client.refusal(&request, &reply)) } else { Ok(()) }
        };
        blocking(work).await.map_err(|error| self.named(error))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let message = "a REST API does not say what it has: write a source table for each endpoint (`path` under \
                       `ingest:`, see docs/connections.md)";
        Err(self.named(Error::new(ErrorKind::Unsupported, message)))
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let plan = read::Plan::new(&self.config, request)?;
        let source = self.clone();
        let handle = Handle::current();
        Ok(of_work(move |sink| async move {
            let read = plan.run(&source.config, &source.context, handle, sink);
            read.await.map_err(|error| source.named(error))
        }))
    }

    async fn acknowledge(&self, _position: &Position) -> Result<()> {
        Ok(())
    }
}

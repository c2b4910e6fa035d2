//! Redis: streams, which are read on from the last entry, and keys, which are read whole.
//!
//! A read writes nothing there, and makes no consumer group: an entry of a stream has an id that grows, so
//! that the id of the last one that is published says what is new.

mod client;
mod keys;
mod seen;
mod settings;
mod sink;
mod stream;
mod tables;

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_core::{
    Cancellation, ChangeStream, ConnectContext, Connector, Error, ErrorKind, Position, ReadRequest,
    ReadScope, Result, Sink, Source, TableDescription,
};

pub use crate::server::ServerConfig as RedisConfig;

use crate::queue::{QueueContext, Reading};
use crate::server::{Scheme, Server};
use crate::stream::of_work;
use settings::{Object, RedisTable};
use sink::RedisSink;

const SCHEMES: &[Scheme] = &[
    Scheme { name: "redis", port: 6379, tls: false },
    Scheme { name: "rediss", port: 6379, tls: true },
];

/// The connector for Redis; its kind is `redis`.
#[derive(Debug)]
pub struct RedisConnector;

#[async_trait]
impl Connector for RedisConnector {
    const KIND: &'static str = "redis";
    type Config = RedisConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "stream";

    fn connect(config: RedisConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        let (server, database) = server_of(config, &context)?;
        Ok(Arc::new(RedisSource { server, database, context }))
    }

    fn sink(config: RedisConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        let (server, database) = server_of(config, &context)?;
        Ok(Arc::new(RedisSink { server, database, context }))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        RedisTable::parse(settings).map(drop)
    }
}

/// The server, and the number of the database.
fn server_of(config: RedisConfig, context: &ConnectContext) -> Result<(Arc<Server>, i64)> {
    let server = Server::new(config, context, SCHEMES)?;
    let database = match server.path.as_deref() {
        None | Some("") => 0,
        Some(number) => number.parse().map_err(|_| {
            Error::new(
                ErrorKind::Config,
                format!("`url` ends with the number of the database, and `{number}` is none"),
            )
        })?,
    };
    Ok((Arc::new(server), database))
}

#[derive(Debug, Clone)]
struct RedisSource {
    server: Arc<Server>,
    database: i64,
    context: ConnectContext,
}

impl RedisSource {
    async fn connect(&self, cancel: &Cancellation) -> Result<client::Client> {
        client::connect(&self.server, self.database, cancel).await
    }

    fn named(&self, error: Error) -> Error {
        self.server.named(error).with("connection", &self.context.name)
    }
}

#[async_trait]
impl Source for RedisSource {
    async fn ping(&self) -> Result<()> {
        let ping = async { self.connect(&Cancellation::new()).await?.ping().await };
        ping.await.map_err(|error| self.named(error))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let tables = async {
            let mut client = self.connect(&Cancellation::new()).await?;
            tables::tables(&mut client).await
        };
        tables.await.map_err(|error| self.named(error))
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let (common, table) = RedisTable::parse(&request.settings)?;
        let object = table.object(&request.name);
        let source = self.clone();
        Ok(of_work(move |sink| async move {
            let read = async {
                let mut client = source.connect(&request.cancel).await?;
                let object = client.resolve(object, &request).await?;
                let project = source.context.project.clone();
                let context = QueueContext { project, object: object.name().to_owned() };
                let layout = object.layout();
                let reading = Reading::new(layout, common, request, context)?;
                match &object {
                    Object::Stream(stream) => {
                        stream::read(&mut client, &table, stream, reading, &sink).await
                    }
                    Object::Keys(pattern) => {
                        keys::read(&mut client, &table, pattern, reading, &sink).await
                    }
                }
            };
            read.await.map_err(|error| source.named(error))
        }))
    }

    async fn acknowledge(&self, _position: &Position) -> Result<()> {
        Ok(())
    }
}

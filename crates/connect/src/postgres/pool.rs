//! Sessions of one PostgreSQL, kept for the next who asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidemill_core::{Cancellation, Database, DatabaseSession, Error, ErrorKind, Result};
use tokio_postgres::NoTls;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::session::{CANCEL_WAIT, Connected, Session};
use super::{PostgresConfig, SslMode, error, tls};

/// A PostgreSQL.
pub struct Postgres {
    shared: Arc<Shared>,
}

/// What sessions share with their pool.
pub(super) struct Shared {
    pub(super) config: PostgresConfig,
    pub(super) tls: MakeRustlsConnect,
    idle: Mutex<Vec<Connected>>,
}

impl Shared {
    pub(super) fn give_back(&self, connected: Connected) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connected);
    }

    fn take(&self) -> Option<Connected> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn connect(&self) -> Result<Connected> {
        let mut attempt = 0;
        let connected = loop {
            let outcome = self.connect_once().await;
            match outcome {
                Ok(connected) => break connected,
                Err(error) if error.kind().is_retryable() && attempt < self.config.retries => {
                    attempt += 1;
                    tracing::debug!(error = %error, attempt, "connecting again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => return Err(error.with("database", self.config.place())),
            }
        };
        connected.prepare(&self.config).await?;
        Ok(connected)
    }

    async fn connect_once(&self) -> Result<Connected> {
        let config = self.config.client();
        let local = self.config.host.starts_with('/');
        if local || matches!(self.config.ssl_mode, SslMode::Disable | SslMode::Allow) {
            let refused = match config.connect(NoTls).await {
                Ok((client, connection)) => return Ok(Connected::new(client, connection)),
                Err(refused) => refused,
            };
            // The server may insist on TLS.
            if local || self.config.ssl_mode == SslMode::Disable || refused.as_db_error().is_none()
            {
                return Err(error::of_connection(refused));
            }
            let mut config = config;
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            return match config.connect(self.tls.clone()).await {
                Ok((client, connection)) => Ok(Connected::new(client, connection)),
                Err(_) => Err(error::of_connection(refused)),
            };
        }
        let (client, connection) =
            config.connect(self.tls.clone()).await.map_err(error::of_connection)?;
        Ok(Connected::new(client, connection))
    }
}

impl Postgres {
    /// With these settings. Nothing is connected yet.
    ///
    /// # Errors
    /// `Config` when a file of the TLS settings cannot be read.
    pub fn new(config: PostgresConfig) -> Result<Self> {
        let tls = tls::connector(&config)?;
        Ok(Postgres { shared: Arc::new(Shared { config, tls, idle: Mutex::default() }) })
    }

    /// A connection of its own, which is not given back.
    pub(super) async fn connection(&self) -> Result<Connected> {
        self.shared.connect().await
    }

    /// Tells the server to stop what a connection does.
    pub(super) async fn stop(&self, connected: &Connected) {
        let token = connected.client.cancel_token();
        let told = token.cancel_query(self.shared.tls.clone());
        let _ = tokio::time::timeout(CANCEL_WAIT, told).await;
    }

    /// Its settings.
    pub fn config(&self) -> &PostgresConfig {
        &self.shared.config
    }
}

#[async_trait]
impl Database for Postgres {
    async fn session(&self, cancel: &Cancellation) -> Result<Arc<dyn DatabaseSession>> {
        while let Some(connected) = self.shared.take() {
            if connected.is_closed() {
                continue;
            }
            connected.clean(&self.shared.config).await?;
            return Ok(Arc::new(Session::new(connected, self.shared.clone(), cancel.clone())));
        }
        let connected = tokio::select! {
            connected = self.shared.connect() => connected?,
            () = cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        };
        Ok(Arc::new(Session::new(connected, self.shared.clone(), cancel.clone())))
    }

    async fn version(&self) -> Result<String> {
        let session = self.session(&Cancellation::new()).await?;
        let answer = session.run("show server_version").await?;
        let version = answer
            .batches
            .first()
            .map(|batch| tidemill_core::display_value(batch.column(0), 0))
            .unwrap_or_default();
        Ok(format!("PostgreSQL {version}"))
    }
}

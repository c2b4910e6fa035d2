//! What is kept of a database between two reads of its log. A table that is followed asks every second where its slot
//! stands; to make a connection for each of these questions costs a server more than the answers do.
//!
//! All tables of a connection share one connection for their questions, one after the other, and another one for
//! what is told about slots. Each is made again when it broke. Whole reads, and what waits for others, have
//! connections of their own.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidemill_core::Result;
use tokio::sync::MutexGuard;
use tokio_postgres::Client;

use crate::postgres::pool::Postgres;
use crate::postgres::session::Connected;

/// How long secrets and certificates hold for new connections before they are fetched again.
const FETCHED: Duration = Duration::from_secs(60);

/// What nobody asked for so long is closed.
const IDLE: Duration = Duration::from_secs(300);

/// How long a connection that was kept may take to show that it is alive.
const ALIVE: Duration = Duration::from_secs(10);

/// By the settings of the connection, and the project that their files are in.
type All = HashMap<(u128, PathBuf), Arc<Kept>>;

static ALL: LazyLock<Mutex<All>> = LazyLock::new(Mutex::default);

/// What is kept of one database.
pub(super) struct Kept {
    opened: tokio::sync::Mutex<Option<(Arc<Postgres>, Instant)>>,
    asks: tokio::sync::Mutex<Option<Connected>>,
    tells: tokio::sync::Mutex<Option<Connected>>,
    used: Mutex<Instant>,
}

impl Kept {
    /// What is kept for these settings of a project.
    pub(super) fn of(settings: u128, project: PathBuf) -> Arc<Kept> {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, kept| {
            let used = *kept.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.elapsed() < IDLE || Arc::strong_count(kept) > 1
        });
        let kept = all.entry((settings, project)).or_insert_with(|| {
            Arc::new(Kept {
                opened: tokio::sync::Mutex::default(),
                asks: tokio::sync::Mutex::default(),
                tells: tokio::sync::Mutex::default(),
                used: Mutex::new(Instant::now()),
            })
        });
        *kept.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        kept.clone()
    }

    /// The database, as `open` gives it; its secrets are fetched now and then, and after [`Kept::forget`].
    pub(super) async fn database<F>(&self, open: impl FnOnce() -> F) -> Result<Arc<Postgres>>
    where
        F: Future<Output = Result<Postgres>>,
    {
        let mut opened = self.opened.lock().await;
        if let Some((postgres, since)) = &*opened
            && since.elapsed() < FETCHED
        {
            return Ok(postgres.clone());
        }
        let postgres = Arc::new(open().await?);
        *opened = Some((postgres.clone(), Instant::now()));
        Ok(postgres)
    }

    /// Something failed: secrets and certificates are fetched again before the next connection is made.
    pub(super) fn forget(&self) {
        if let Ok(mut opened) = self.opened.try_lock() {
            *opened = None;
        }
    }

    /// The connection for questions.
    pub(super) async fn asks(&self, postgres: &Postgres) -> Result<Line<'_>> {
        Line::of(&self.asks, postgres).await
    }

    /// The connection by which slots are moved on.
    pub(super) async fn tells(&self, postgres: &Postgres) -> Result<Line<'_>> {
        Line::of(&self.tells, postgres).await
    }
}

/// A connection that is kept, in the hands of one. It is closed where [`Line::done`] is not reached, as nobody knows
/// what state it is in then.
pub(super) struct Line<'k> {
    connected: Connected,
    place: Option<MutexGuard<'k, Option<Connected>>>,
}

impl<'k> Line<'k> {
    async fn of(
        place: &'k tokio::sync::Mutex<Option<Connected>>,
        postgres: &Postgres,
    ) -> Result<Line<'k>> {
        let mut place = place.lock().await;
        if let Some(connected) = place.take().filter(|connected| !connected.is_closed()) {
            let alive = tokio::time::timeout(ALIVE, connected.client.batch_execute("")).await;
            if let Ok(Ok(())) = alive {
                return Ok(Line { connected, place: Some(place) });
            }
        }
        let Line { connected, .. } = Line::own(postgres).await?;
        Ok(Line { connected, place: Some(place) })
    }

    /// One that is not kept.
    pub(super) async fn own(postgres: &Postgres) -> Result<Line<'k>> {
        let connected = postgres.connection().await?;
        super::log::set_up(&connected.client).await?;
        Ok(Line { connected, place: None })
    }

    /// Everything was answered.
    pub(super) fn done(self) {
        if let Some(mut place) = self.place {
            *place = Some(self.connected);
        }
    }
}

impl Deref for Line<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connected.client
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidemill_testkit::PostgresServer;

    use super::*;
    use crate::postgres::PostgresConfig;

    async fn number(line: &Line<'_>) -> i32 {
        line.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
    }

    #[test]
    fn one_connection_answers_until_it_breaks() {
        let Some(server) = PostgresServer::shared() else { return };
        let settings = json!({
            "host": "127.0.0.1", "port": server.port(), "user": "postgres", "dbname": server.database(),
        });
        let config = PostgresConfig::from_settings(settings.as_object().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let kept = Kept::of(1, PathBuf::from("kept"));
            assert!(Arc::ptr_eq(&kept, &Kept::of(1, PathBuf::from("kept"))));
            let open = || async { Postgres::new(config.clone()) };
            let postgres = kept.database(open).await.unwrap();
            assert!(Arc::ptr_eq(&postgres, &kept.database(open).await.unwrap()));
            let line = kept.asks(&postgres).await.unwrap();
            let first = number(&line).await;
            line.done();
            let line = kept.asks(&postgres).await.unwrap();
            assert_eq!(number(&line).await, first);
            // What is told goes beside it.
            let other = kept.tells(&postgres).await.unwrap();
            assert_ne!(number(&other).await, first);
            other.done();
            // Given up in the middle, it is not kept.
            line.batch_execute("begin").await.unwrap();
            drop(line);
            let line = kept.asks(&postgres).await.unwrap();
            let second = number(&line).await;
            assert_ne!(second, first);
            line.done();
            // The server ended it.
            let end = format!("select pg_terminate_backend({second}, 10000)");
            let other = kept.tells(&postgres).await.unwrap();
            other.batch_execute(&end).await.unwrap();
            let line = kept.asks(&postgres).await.unwrap();
            assert_ne!(number(&line).await, second);
            // And the secrets are fetched again when something failed.
            kept.forget();
            assert!(!Arc::ptr_eq(&postgres, &kept.database(open).await.unwrap()));
        });
    }
}

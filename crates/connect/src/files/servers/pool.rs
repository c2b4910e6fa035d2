//! A few connections that are kept.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// At most so many connections, which are used again.
pub(super) struct Pool<C> {
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<C>>>,
}

impl<C> std::fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// A connection for one request. Dropped, it is closed; [`Lease::keep`] gives it back.
pub(super) struct Lease<C> {
    connection: C,
    idle: Arc<Mutex<Vec<C>>>,
    _permit: OwnedSemaphorePermit,
}

impl<C> Pool<C> {
    pub(super) fn new(connections: usize) -> Self {
        Pool { permits: Arc::new(Semaphore::new(connections)), idle: Arc::default() }
    }

    /// A connection: one that is kept and lives, or a new one. Waits while all are in use.
    pub(super) async fn lease<F: Future<Output = Result<C>>>(
        &self,
        lives: impl Fn(&C) -> bool,
        connect: impl FnOnce() -> F,
    ) -> Result<Lease<C>> {
        let closed = |_| Error::new(ErrorKind::Internal, "the connections are closed");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(lives);
            idle.pop()
        };
        let connection = match kept {
            Some(connection) => connection,
            None => connect().await?,
        };
        Ok(Lease { connection, idle: Arc::clone(&self.idle), _permit: permit })
    }

    /// Closes what is kept: one connection that broke says that the others may have.
    pub(super) fn forget(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<C> Lease<C> {
    /// The connection is as it should be, and may be used again.
    pub(super) fn keep(self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection);
    }
}

impl<C> Deref for Lease<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C> DerefMut for Lease<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.connection
    }
}

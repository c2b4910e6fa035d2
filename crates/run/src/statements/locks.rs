//! Writers of one process, one after another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_core::RelationName;
use tokio::sync::OwnedMutexGuard;

/// Keeps statements of one process that change the same relation from meeting each other: with an
/// audit table that every model of a run updates, hardly any of them would come through otherwise.
#[derive(Debug, Default)]
pub struct WriteLocks(Mutex<BTreeMap<RelationName, Arc<tokio::sync::Mutex<()>>>>);

impl WriteLocks {
    /// Waits until nobody else changes these.
    pub(super) async fn lock(&self, mut relations: Vec<RelationName>) -> Vec<OwnedMutexGuard<()>> {
        // In one order, so that two who want several never wait for each other.
        relations.sort();
        relations.dedup();
        let locks: Vec<Arc<tokio::sync::Mutex<()>>> = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let locks = relations.into_iter().map(|name| known.entry(name).or_default().clone());
            locks.collect()
        };
        let mut guards = Vec::with_capacity(locks.len());
        for lock in locks {
            guards.push(lock.lock_owned().await);
        }
        guards
    }
}

//! Nodes that publish together, and how far each node is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tidemill_core::{
    Overlay, OverlayEntry, Position, PublishChange, RelationName, Staged, TableStore, UniqueId,
};
use tidemill_plan::Record;

/// How far a node is. Others wait for a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Not built.
    Pending,
    /// Its data is staged; its checks have not passed yet.
    Staged,
    /// Its checks have passed.
    Passed,
    /// It is published (or was, and is reused).
    Done,
    /// It will not be published in this run.
    Failed,
}

/// What a node wants to publish.
#[derive(Debug)]
pub(crate) enum Product {
    /// Nothing: what is published stays. The record and the position are written again when they
    /// are given.
    Same { record: Option<Record>, unchanged: bool, position: Option<Position> },
    /// A table, and what belongs to it.
    Table {
        staged: Arc<Staged>,
        extra: Vec<Arc<Staged>>,
        /// Views that belong to it.
        views: Vec<PublishChange>,
        position: Option<Position>,
        record: Record,
    },
    /// A view.
    View { sql: String, schema: tidemill_core::arrow_schema::SchemaRef, record: Record },
}

impl Product {
    /// Removes the staged files; a failure to do so leaves orphans for maintenance.
    pub(crate) async fn discard(&self, store: &dyn TableStore) {
        if let Product::Table { staged, extra, .. } = self {
            for staged in std::iter::once(staged).chain(extra) {
                if let Err(error) = store.discard(staged).await {
                    tracing::warn!(relation = %staged.relation, error = %error, "discard failed");
                }
            }
        }
    }

    /// The record that will be published, to be completed with verdicts.
    pub(crate) fn record_mut(&mut self) -> Option<&mut Record> {
        match self {
            Product::Same { record, .. } => record.as_mut(),
            Product::Table { record, .. } | Product::View { record, .. } => Some(record),
        }
    }
}

/// A set of nodes that publish in one entry or not at all. Most have one member.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Its nodes.
    pub(crate) members: BTreeSet<UniqueId>,
    state: Mutex<UnitState>,
}

#[derive(Debug, Default)]
struct UnitState {
    overlay: BTreeMap<RelationName, OverlayEntry>,
    arrived: BTreeMap<UniqueId, Option<Product>>,
}

impl Unit {
    /// A unit of these nodes.
    pub(crate) fn new(members: BTreeSet<UniqueId>) -> Self {
        Unit { members, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, UnitState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What its members that are staged would look like.
    pub(crate) fn overlay(&self) -> Overlay {
        Overlay(Arc::new(self.state().overlay.clone()))
    }

    /// Shows a member's staged data to the other members.
    pub(crate) fn show(&self, relation: &RelationName, product: &Product) {
        let mut state = self.state();
        match product {
            Product::Same { .. } => {}
            Product::Table { staged, extra, views, .. } => {
                for view in views {
                    if let PublishChange::View { relation, sql, .. } = view {
                        let view = OverlayEntry::View(sql.clone());
                        state.overlay.insert(relation.clone(), view);
                    }
                }
                state.overlay.insert(relation.clone(), OverlayEntry::Staged(staged.clone()));
                for staged in extra {
                    state
                        .overlay
                        .insert(staged.relation.clone(), OverlayEntry::Staged(staged.clone()));
                }
            }
            Product::View { sql, .. } => {
                state.overlay.insert(relation.clone(), OverlayEntry::View(sql.clone()));
            }
        }
    }

    /// Takes a member's product back out of what others see.
    pub(crate) fn hide(&self, relation: &RelationName) {
        self.state().overlay.remove(relation);
    }

    /// A member is ready (`Some`) or has failed (`None`). When it was the last one, gives all of
    /// them to publish, and whether all are ready.
    pub(crate) fn arrive(
        &self,
        node: &UniqueId,
        product: Option<Product>,
    ) -> Option<(Vec<(UniqueId, Product)>, bool)> {
        let mut state = self.state();
        state.arrived.insert(node.clone(), product);
        if state.arrived.len() < self.members.len() {
            return None;
        }
        let all = state.arrived.values().all(Option::is_some);
        let products = std::mem::take(&mut state.arrived)
            .into_iter()
            .filter_map(|(node, product)| Some((node, product?)))
            .collect();
        Some((products, all))
    }
}

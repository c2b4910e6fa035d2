//! `--defer` in a database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use tidemill_core::{DatabaseSession, UniqueId};

use crate::defer::{Deferred, other_relation, state};
use crate::session::Session;

/// Where nodes of this project are read from instead of their own relations, as
/// [`crate::defer::deferred`] decides it for a lake.
pub(super) async fn deferred(
    session: &Session,
    database: &Arc<dyn DatabaseSession>,
    selected: &BTreeSet<UniqueId>,
    building: &BTreeSet<UniqueId>,
) -> Result<Deferred> {
    let flags = &session.global.flags;
    if !flags.on("defer") {
        return Ok(Deferred::default());
    }
    let state = state(session)?;
    let manifest = session.manifest();
    let favor = flags.on("favor_state");
    let mut found = BTreeMap::new();
    for node in manifest.nodes.values().filter(|node| node.is_relational()) {
        let (own, id) = (node.relation(), &node.unique_id);
        if building.contains(id) {
            continue;
        }
        let elsewhere =
            (favor && !selected.contains(id)) || database.relation(&own).await?.is_none();
        if elsewhere
            && let Some(other) = other_relation(manifest, &state, id)?
            && other != own
        {
            found.insert(id.clone(), other);
        }
    }
    Ok(Arc::new(found))
}

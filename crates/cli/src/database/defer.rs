//! `--defer` in a database.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use tidemill_core::{DatabaseSession, UniqueId};

use crate::defer::{self, Deferred};
use crate::session::Session;

/// Where nodes of this project are read from instead of their own relations, as
/// [`crate::defer::deferred`] decides it once the database has said what is there.
pub(super) async fn deferred(
    session: &Session,
    database: &Arc<dyn DatabaseSession>,
    selected: &BTreeSet<UniqueId>,
    building: &BTreeSet<UniqueId>,
) -> Result<Deferred> {
    let mut here = BTreeSet::new();
    if session.global.flags.on("defer") {
        let nodes = session.manifest().nodes.values().filter(|node| node.is_relational());
        for node in nodes.filter(|node| !building.contains(&node.unique_id)) {
            let own = node.relation();
            if database.relation(&own).await?.is_some() {
                here.insert(own);
            }
        }
    }
    defer::deferred(session, selected, building, |own| here.contains(own))
}

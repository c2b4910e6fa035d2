//! `--defer`: models that are not built here are read from another environment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use tidemill_core::{RelationName, UniqueId};
use tidemill_project::{Manifest, PreviousState};

use crate::session::Session;

/// Where nodes of this project are read from instead of their own relations.
pub(crate) type Deferred = Arc<BTreeMap<UniqueId, RelationName>>;

/// What `--defer` changes for a command. `selected` is what it was asked for, `building` what it
/// will have built before others read it, `is_here` whether a relation is there. Empty without the
/// flag.
///
/// # Errors
/// When no state is named, when it has no manifest, and when a model would have to be read from a
/// lake that is not this one.
pub(crate) fn deferred(
    session: &Session,
    selected: &BTreeSet<UniqueId>,
    building: &BTreeSet<UniqueId>,
    is_here: impl Fn(&RelationName) -> bool,
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
        let elsewhere =
            !building.contains(id) && ((favor && !selected.contains(id)) || !is_here(&own));
        if elsewhere
            && let Some(other) = other_relation(manifest, &state, id)?
            && other != own
        {
            found.insert(id.clone(), other);
        }
    }
    Ok(Arc::new(found))
}

/// With `--defer`, says which relations are read and are in neither environment as this lake has them:
/// the other one may have a lake of its own, whose tables are not seen from here.
pub(crate) fn tell_missing(
    session: &Session,
    deferred: &Deferred,
    building: &BTreeSet<UniqueId>,
    is_here: impl Fn(&RelationName) -> bool,
) {
    if !session.global.flags.on("defer") {
        return;
    }
    let manifest = session.manifest();
    let read: BTreeSet<&UniqueId> = building
        .iter()
        .flat_map(|node| manifest.parents_of(node))
        .filter(|read| !building.contains(*read))
        .collect();
    for id in read {
        let Some(node) = manifest.node(id).filter(|node| node.is_relational()) else { continue };
        let place = deferred.get(id).cloned().unwrap_or_else(|| node.relation());
        if !is_here(&place) {
            session.output.err(format!(
                "warning: `{id}` would be read from `{place}`, which this lake does not have. If the \
                 environment of --state has a lake of its own, it cannot be read from here: build the \
                 node here, or run on that lake with --target-lake"
            ));
        }
    }
}

/// The state that relations are taken from: `--defer-state`, else `--state`.
pub(crate) fn state(session: &Session) -> Result<Arc<PreviousState>> {
    let state = match session.previous("defer_state")? {
        Some(state) => Some(state),
        None => session.previous("state")?,
    };
    let Some(state) = state else {
        bail!("name the other environment's artifacts with --state DIR or --defer-state DIR");
    };
    if !state.has_manifest() {
        bail!("there is no manifest.json in `{}`", state.folder().display());
    }
    Ok(state)
}

/// Where the other environment has a node, in this lake.
pub(crate) fn other_relation(
    manifest: &Manifest,
    state: &PreviousState,
    id: &UniqueId,
) -> Result<Option<RelationName>> {
    let Some(other) = state.relation(id) else { return Ok(None) };
    let own = &manifest.target.database;
    match &other.database {
        Some(database) if !database.eq_ignore_ascii_case(own) => Err(anyhow!(
            "`{id}` is in the database `{database}` in `{}`, and this project is in `{own}`: only schemas \
             of the same lake can be read from here",
            state.folder().display()
        )),
        _ => Ok(Some(RelationName::new(&other.schema, &other.alias))),
    }
}

//! `--defer`: models that are not built here are read from another environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value};
use tidemill_core::{RelationName, UniqueId};
use tidemill_project::{LAKE_OF_MANIFEST, Manifest, PreviousState};

use crate::lakes::OtherLake;
use crate::session::Session;

/// Where nodes of this project are read from instead of their own relations.
pub(crate) type Deferred = Arc<BTreeMap<UniqueId, RelationName>>;

/// What `--defer` changes for a command. `selected` is what it was asked for, `building` what it
/// will have built before others read it, `is_here` whether a relation is there. Empty without the
/// flag.
///
/// # Errors
/// When no state is named, when it has no manifest, and when a model would have to be read from a
/// lake of which nothing says where it is.
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
    let lake = other_lake(session);
    let favor = flags.on("favor_state");
    let mut found = BTreeMap::new();
    for node in manifest.nodes.values().filter(|node| node.is_relational()) {
        let (own, id) = (node.relation(), &node.unique_id);
        let elsewhere =
            !building.contains(id) && ((favor && !selected.contains(id)) || !is_here(&own));
        if elsewhere
            && let Some(other) = other_relation(manifest, &state, lake.as_ref(), id)?
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
                "warning: `{id}` would be read from `{place}`, which is not there. If the environment \
                 of --state has a lake of its own, say with --defer-lake where it is"
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

/// The lake of the environment that `--defer` or `clone` reads, where that is not the project's own:
/// `--defer-lake`, else what the manifest of the state says. Nothing when that is not there.
pub(crate) fn other_lake(session: &Session) -> Option<OtherLake> {
    let flags = &session.global.flags;
    let in_database = session.manifest().target.runs_in.is_some();
    if in_database || !(flags.on("defer") || session.command == "clone") {
        return None;
    }
    let own = lake_of(session);
    let at = |location: &str| (location != own).then(|| OtherLake::at(location));
    if let Some(given) = flags.text("defer_lake") {
        return at(&place(&session.root, given));
    }
    // Without a state, a command that needs one says so itself; others have no use for it.
    let Ok(state) = state(session) else { return None };
    let is_there = |lake: &&str| lake.contains("://") || Path::new(lake).is_dir();
    state.lake().filter(is_there).and_then(at)
}

/// Where the project's lake is, in the same words from wherever it is asked.
fn lake_of(session: &Session) -> String {
    place(&session.root, &session.manifest().target.lake)
}

fn place(root: &Path, lake: &str) -> String {
    if lake.contains("://") {
        return lake.trim_end_matches('/').to_owned();
    }
    let path = root.join(lake);
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

/// What a manifest says of its environment: where its lake is, too.
pub(crate) fn with_lake(session: &Session, mut env: Map<String, Value>) -> Map<String, Value> {
    if session.manifest().target.runs_in.is_none() {
        env.insert(LAKE_OF_MANIFEST.to_owned(), Value::String(lake_of(session)));
    }
    env
}

/// Where the other environment has a node: in this lake, or in one of its own.
pub(crate) fn other_relation(
    manifest: &Manifest,
    state: &PreviousState,
    lake: Option<&OtherLake>,
    id: &UniqueId,
) -> Result<Option<RelationName>> {
    let Some(other) = state.relation(id) else { return Ok(None) };
    let name = RelationName::new(&other.schema, &other.alias);
    if let Some(lake) = lake {
        return Ok(Some(name.of_lake(&lake.name)));
    }
    let own = &manifest.target.database;
    match &other.database {
        Some(database) if !database.eq_ignore_ascii_case(own) => Err(anyhow!(
            "`{id}` is in the database `{database}` in `{}`, and this project is in `{own}`: if that is \
             another lake, say with --defer-lake where it is",
            state.folder().display()
        )),
        _ => Ok(Some(name)),
    }
}

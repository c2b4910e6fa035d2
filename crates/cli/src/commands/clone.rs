//! `tidemill clone`: the relations of another environment, copied into this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use tidemill_core::arrow_schema::Schema;
use tidemill_core::{At, Check, CheckId, Error, ErrorKind, RelationKind, RelationName, UniqueId};
use tidemill_plan::{Fingerprint, MaterializationConfig, Scope, Work, WorkKind, work};
use tidemill_project::ResourceType;
use tidemill_run::{Contracted, RenderRequest, Rendered, Renderer, UnitTestCase};

use crate::args::CloneArgs as Args;
use crate::commands::build::{self, Invocation};
use crate::defer;
use crate::output::plural;
use crate::session::Session;

/// Says which nodes a clone leaves out: those that are here, and those that the state does not know.
pub(crate) fn tell_left_out(session: &Session, there: u64, unknown: u64) {
    if there > 0 {
        session.output.say(format!(
            "{} here already; --full-refresh replaces them",
            plural(there, "relation is", "relations are")
        ));
    }
    if unknown > 0 {
        session.output.say(format!(
            "{} not in that state and left out",
            plural(unknown, "node is", "nodes are")
        ));
    }
}

/// Tables become tables with the same rows, views become views of the others. What is there
/// already stays, unless `--full-refresh` says otherwise.
pub(crate) async fn run(
    session: &Session,
    args: &Args,
    only: Option<std::collections::BTreeSet<UniqueId>>,
) -> Result<i32> {
    let state = defer::state(session)?;
    let manifest = session.manifest();
    let mut selection = session.selection(&args.selection)?;
    if selection.resource_types.is_empty() {
        selection.resource_types =
            vec![ResourceType::Model, ResourceType::Seed, ResourceType::Snapshot];
    }
    let mut selected = session.select_with(selection)?;
    if let Some(only) = &only {
        selected.retain(|id| only.contains(id));
    }
    if let Some(database) = crate::database::of(session)? {
        return crate::database::clone(session, database, &selected, args.full_refresh).await;
    }
    let stores = session.stores().await?;
    let snapshot = stores.snapshot(At::Now).await?;
    let everything = work(manifest, &selected, Scope::BUILD.without_checks(), false);
    let mut work = Work { owners: everything.owners, ..Work::default() };
    let mut sources = BTreeMap::new();
    let lake = defer::other_lake(session);
    let (mut there, mut unknown) = (0, 0);
    for (id, mut node) in everything.nodes {
        if !manifest.nodes.contains_key(&id) {
            continue;
        }
        let Some(other) = defer::other_relation(manifest, &state, lake.as_ref(), &id)? else {
            unknown += 1;
            continue;
        };
        if other == node.relation || (snapshot.get(&node.relation).is_some() && !args.full_refresh)
        {
            there += 1;
            continue;
        }
        // A view of another lake could not be read without that.
        let is_view = lake.is_none()
            && snapshot
                .get(&other)
                .is_some_and(|published| matches!(published.kind, RelationKind::View { .. }));
        let partition_by = match &node.kind {
            WorkKind::Model(config) if !is_view => config.partition_by.clone(),
            _ => Vec::new(),
        };
        node.kind = WorkKind::Model(Box::new(MaterializationConfig {
            materialized: if is_view { "view" } else { "table" }.to_owned(),
            partition_by,
            ..MaterializationConfig::default()
        }));
        node.never_reuse = Some("it is cloned".to_owned());
        sources.insert(id.clone(), other);
        work.graph.add_node(&id);
        work.nodes.insert(id, node);
    }
    tell_left_out(session, there, unknown);
    if work.nodes.is_empty() {
        session.output.say("nothing to clone");
        return Ok(0);
    }
    // A shallow copy, which names the files of the other table, would lose its rows to the first
    // vacuum of that one: each table has its own names for its files.
    session.output.say(match &lake {
        None => "tables share the content of their files; views refer to the other environment"
            .to_owned(),
        Some(lake) => format!("tables and the rows of views are copied from {}", lake.location),
    });
    let invocation = Invocation {
        full_refresh: args.full_refresh,
        sources: Some(Arc::new(sources)),
        only,
        ..Invocation::plain("clone", Scope::RUN, &args.selection)
    };
    let summary = build::run_work(session, &stores, &invocation, work).await?;
    Ok(i32::from(summary.failed()))
}

/// Gives the query that copies each node.
pub(crate) struct CopyRenderer {
    /// Where each node is copied from.
    pub(crate) sources: Arc<BTreeMap<UniqueId, RelationName>>,
}

impl Renderer for CopyRenderer {
    fn copied(&self, node: &UniqueId) -> Option<RelationName> {
        self.sources.get(node).filter(|source| source.elsewhere().is_none()).cloned()
    }

    fn render(&self, node: &UniqueId, _: &RenderRequest) -> tidemill_core::Result<Rendered> {
        let Some(source) = self.sources.get(node) else {
            return Err(
                Error::new(ErrorKind::Internal, "the node is not cloned").with("node", node)
            );
        };
        let sql = format!("select * from {}", source.quoted());
        Ok(Rendered {
            fingerprint: Fingerprint::new().with("clone", &sql),
            sql,
            volatile: Vec::new(),
            asked_lake: false,
            again: None,
        })
    }

    fn check(&self, test: &CheckId, _: &RenderRequest) -> tidemill_core::Result<Box<dyn Check>> {
        Err(Error::new(ErrorKind::Internal, "a clone runs no checks").with("test", test))
    }

    fn contract(
        &self,
        _: &UniqueId,
        _: &str,
        _: &Schema,
        _: &RenderRequest,
    ) -> tidemill_core::Result<Option<Contracted>> {
        // What is copied has kept its contract where it was built.
        Ok(None)
    }

    fn unit_test(&self, test: &CheckId, _: &RenderRequest) -> tidemill_core::Result<UnitTestCase> {
        Err(Error::new(ErrorKind::Internal, "a clone runs no unit tests").with("test", test))
    }
}

//! What a command works on: the selected nodes and checks of a project, as plain values.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_core::{CheckId, RelationName, UniqueId};

use crate::gates::{Assignment, CheckReads, Holds, assign};
use crate::{Graph, MaterializationConfig};

/// Everything that one command does.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// The nodes that are worked on, by id.
    pub nodes: BTreeMap<UniqueId, WorkNode>,
    /// The checks that are run.
    pub checks: BTreeMap<CheckId, WorkCheck>,
    /// The unit tests that are run.
    pub unit_tests: BTreeMap<CheckId, WorkUnitTest>,
    /// The whole project's graph, without tests.
    pub graph: Graph,
    /// Which node owns which relation, in the whole project.
    pub owners: BTreeMap<RelationName, UniqueId>,
    /// Everything that was selected, worked on or not.
    pub selected: BTreeSet<UniqueId>,
}

/// One node that is worked on.
#[derive(Debug, Clone)]
pub struct WorkNode {
    /// dbt's id.
    pub id: UniqueId,
    /// A short name to show.
    pub name: String,
    /// What is done for it.
    pub kind: WorkKind,
    /// Where its result is published.
    pub relation: RelationName,
    /// Descriptions of columns, kept as comments of the table; that of the table itself has the
    /// empty name.
    pub comments: Vec<(String, String)>,
    /// Who may do what with it: privilege to names.
    pub grants: BTreeMap<String, BTreeSet<String>>,
    /// Why it may never be reused, if so.
    pub never_reuse: Option<String>,
    /// `meta.reuse: true`: volatile functions do not stop its reuse.
    pub ignore_volatile: bool,
    /// The node's own `full_refresh` setting, which wins over the flag.
    pub full_refresh: Option<bool>,
    /// Which hooks it has.
    pub hooks: NodeHooks,
    /// `on_error: continue`: what reads it is built even where it has failed, from what it was
    /// before.
    pub goes_on: bool,
}

/// Which hooks a node has; what they say is known when they are rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeHooks {
    /// Before it is built.
    pub before: bool,
    /// When it is built, before it is published.
    pub after: bool,
    /// When it is published.
    pub after_publish: bool,
}

impl NodeHooks {
    /// Whether it has any.
    pub fn any(self) -> bool {
        self.before || self.after || self.after_publish
    }
}

/// What is done for a node.
#[derive(Debug, Clone)]
pub enum WorkKind {
    /// Rows are loaded from outside.
    Source,
    /// A CSV file of the project is loaded.
    Seed,
    /// A query is run.
    Model(Box<MaterializationConfig>),
    /// Nothing is done: others fill it, and only its checks stand before what reads it.
    External,
}

impl WorkNode {
    /// dbt's word, or ours: `ingest`, `seed`, `view`, `table`, `incremental`.
    pub fn kind_name(&self) -> &str {
        match &self.kind {
            WorkKind::Source => "ingest",
            WorkKind::Seed => "seed",
            WorkKind::Model(config) => &config.materialized,
            WorkKind::External => "source",
        }
    }
}

/// One check that is run.
#[derive(Debug, Clone)]
pub struct WorkCheck {
    /// The test node.
    pub id: CheckId,
    /// A short name to show.
    pub name: String,
    /// The nodes that declare it; ephemeral models are replaced by what inlines them.
    pub declared_by: BTreeSet<UniqueId>,
    /// The nodes that it reads, declaring ones included.
    pub reads: BTreeSet<UniqueId>,
    /// The relation that it measures; `None` when it is a query of its own.
    pub relation: Option<RelationName>,
    /// Where its failing rows are stored, if they are.
    pub store_failures: Option<RelationName>,
    /// What it holds back when it fails.
    pub holds: Holds,
}

/// One unit test that is run.
#[derive(Debug, Clone)]
pub struct WorkUnitTest {
    /// The unit test.
    pub id: CheckId,
    /// A short name to show: `model::test`.
    pub name: String,
    /// The model that is tested.
    pub model: UniqueId,
}

impl Work {
    /// Which check gates which node, and which nodes publish together. In a run that is published
    /// `as_one`, every check gates.
    pub fn assignment(&self, as_one: bool) -> Assignment {
        let building: BTreeSet<UniqueId> = self.nodes.keys().cloned().collect();
        let checks: Vec<CheckReads> = self
            .checks
            .values()
            .map(|check| CheckReads {
                check: check.id.clone(),
                declared_by: check.declared_by.clone(),
                reads: check.reads.clone(),
                holds: if as_one { Holds::Always } else { check.holds },
            })
            .collect();
        assign(&checks, &building, &self.graph)
    }
}

//! From a project and a selection to work.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidemill_core::{RelationName, UniqueId};
use tidemill_project::{
    Hook, Manifest, Node, NodeConfig, OnSchemaChange, ResourceType, SourceTable, TestKind,
};

use crate::gates::Holds;
use crate::{
    Graph, MaterializationConfig, MergeExtras, NodeHooks, OnConfigurationChange, Work, WorkCheck,
    WorkKind, WorkNode, WorkUnitTest,
};

/// What kinds of nodes a command works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Sources that we load.
    pub sources: bool,
    /// Seeds.
    pub seeds: bool,
    /// Models.
    pub models: bool,
    /// Snapshots.
    pub snapshots: bool,
    /// Checks.
    pub checks: bool,
}

impl Scope {
    /// `build`
    pub const BUILD: Scope =
        Scope { sources: true, seeds: true, models: true, snapshots: true, checks: true };
    /// Nothing: what the others begin with.
    const NOTHING: Scope =
        Scope { sources: false, seeds: false, models: false, snapshots: false, checks: false };
    /// `run`
    pub const RUN: Scope = Scope { models: true, ..Scope::NOTHING };
    /// `test`
    pub const TEST: Scope = Scope { checks: true, ..Scope::NOTHING };
    /// `seed`
    pub const SEED: Scope = Scope { seeds: true, ..Scope::NOTHING };
    /// `snapshot`
    pub const SNAPSHOT: Scope = Scope { snapshots: true, ..Scope::NOTHING };
    /// `ingest`: a load is gated by the checks of its source, as in `build`.
    pub const INGEST: Scope = Scope { sources: true, checks: true, ..Scope::NOTHING };

    /// The same without checks.
    #[must_use]
    pub const fn without_checks(self) -> Scope {
        Scope { checks: false, ..self }
    }
}

/// The work of a command on the selected nodes. `store_failures` is the flag; a test's own setting
/// wins over it.
pub fn work(
    manifest: &Manifest,
    selected: &BTreeSet<UniqueId>,
    scope: Scope,
    store_failures: bool,
) -> Work {
    let mut work = Work {
        graph: graph(manifest),
        owners: owners(manifest),
        selected: selected.clone(),
        ..Work::default()
    };
    for id in selected {
        if let Some(node) = manifest.node(id) {
            let wanted = match node.resource_type {
                ResourceType::Model => scope.models && !node.is_ephemeral(),
                ResourceType::Seed => scope.seeds,
                ResourceType::Snapshot => scope.snapshots,
                _ => false,
            };
            if wanted {
                work.nodes.insert(id.clone(), work_node(manifest, node));
            }
        } else if let Some(source) = manifest.source(id)
            && scope.sources
            && source.ingest.is_some()
        {
            work.nodes.insert(id.clone(), work_source(source, WorkKind::Source));
        }
    }
    if scope.checks {
        add_checks(&mut work, manifest, selected, scope, store_failures);
        if scope != Scope::INGEST {
            add_unit_tests(&mut work, manifest, selected);
        }
    }
    work
}

fn add_checks(
    work: &mut Work,
    manifest: &Manifest,
    selected: &BTreeSet<UniqueId>,
    scope: Scope,
    store_failures: bool,
) {
    let building: BTreeSet<UniqueId> = work.nodes.keys().cloned().collect();
    for node in manifest.tests().filter(|node| selected.contains(&node.unique_id)) {
        let check = work_check(manifest, node, store_failures);
        if scope == Scope::INGEST && !check.reads.iter().all(|read| building.contains(read)) {
            continue;
        }
        // A source that others fill is checked before what reads it is built.
        if scope == Scope::BUILD
            && check.holds != Holds::Never
            && check.reads.len() == 1
            && check.reads.iter().all(|read| !building.contains(read))
            && let Some(source) = check.declared_by.iter().find_map(|id| manifest.source(id))
            && source.ingest.is_none()
        {
            work.nodes.insert(source.unique_id.clone(), work_source(source, WorkKind::External));
        }
        work.checks.insert(check.id.clone(), check);
    }
}

fn add_unit_tests(work: &mut Work, manifest: &Manifest, selected: &BTreeSet<UniqueId>) {
    for (node, spec) in manifest.unit_tests() {
        if selected.contains(&node.unique_id) {
            let model = manifest.node(&spec.model).map_or("", |model| model.name.as_str());
            let test = WorkUnitTest {
                id: node.unique_id.clone(),
                name: match &node.version {
                    Some(version) => format!("{model}::{}_v{version}", node.name),
                    None => format!("{model}::{}", node.name),
                },
                model: spec.model.clone(),
            };
            work.unit_tests.insert(test.id.clone(), test);
        }
    }
}

/// The project's graph without tests and analyses.
pub(crate) fn graph(manifest: &Manifest) -> Graph {
    let mut graph = Graph::new();
    for id in manifest.sources.keys() {
        graph.add_node(id);
    }
    // What comes with a table that is loaded waits for it.
    for id in manifest.sources.keys() {
        for parent in manifest.parents_of(id) {
            graph.add_edge(parent, id);
        }
    }
    for node in manifest.nodes.values().filter(|node| is_data(node)) {
        graph.add_node(&node.unique_id);
        for parent in manifest.parents_of(&node.unique_id) {
            graph.add_edge(parent, &node.unique_id);
        }
    }
    // A source that stands for a seed of the project waits for it.
    let seeds: BTreeMap<RelationName, &UniqueId> = manifest
        .nodes
        .values()
        .filter(|node| node.resource_type == ResourceType::Seed)
        .map(|node| (node.relation(), &node.unique_id))
        .collect();
    for source in manifest.sources.values().filter(|source| source.ingest.is_none()) {
        if let Some(seed) = seeds.get(&source.relation()) {
            graph.add_edge(seed, &source.unique_id);
        }
    }
    graph
}

fn is_data(node: &Node) -> bool {
    matches!(node.resource_type, ResourceType::Model | ResourceType::Seed | ResourceType::Snapshot)
}

fn owners(manifest: &Manifest) -> BTreeMap<RelationName, UniqueId> {
    let companions = manifest.sources.values().flat_map(|source| {
        source.companions().into_iter().map(|relation| (relation, source.unique_id.clone()))
    });
    let sources = manifest
        .sources
        .values()
        .filter(|source| manifest.parents_of(&source.unique_id).is_empty())
        .map(|source| (source.relation(), source.unique_id.clone()));
    companions
        .chain(sources)
        .chain(
            manifest
                .nodes
                .values()
                .filter(|node| node.is_relational())
                .map(|node| (node.relation(), node.unique_id.clone())),
        )
        .collect()
}

fn work_node(manifest: &Manifest, node: &Node) -> WorkNode {
    let config = &node.config;
    let custom = manifest.materialization_macro(node).is_some();
    let kind = match node.resource_type {
        ResourceType::Seed => WorkKind::Seed,
        _ => WorkKind::Model(Box::new(MaterializationConfig {
            materialized: config.materialized.as_str().to_owned(),
            strategy: config.incremental_strategy.clone(),
            unique_key: config.unique_key.clone(),
            partition_by: config.partition_by.clone(),
            merge_update_columns: config.merge_update_columns.clone().unwrap_or_default(),
            merge_exclude_columns: config.merge_exclude_columns.clone().unwrap_or_default(),
            predicates: config.incremental_predicates.clone(),
            merge: merge_extras(config),
            on_configuration_change: match config.get("on_configuration_change") {
                Some(word) if word == "continue" => OnConfigurationChange::Continue,
                Some(word) if word == "fail" => OnConfigurationChange::Fail,
                _ => OnConfigurationChange::Apply,
            },
            null_keys: config.null_keys(),
            microbatch: config.microbatch.clone().map(Box::new),
            snapshot: config.snapshot.clone().map(Box::new),
            snapshot_macro: manifest.snapshot_macro(node),
            custom,
            program: node.language != "sql",
            strategy_macro: manifest.strategy_macro(node).map(str::to_owned),
            on_schema_change: Some(
                match config.on_schema_change {
                    OnSchemaChange::Ignore => "ignore",
                    OnSchemaChange::Fail => "fail",
                    OnSchemaChange::AppendNewColumns => "append_new_columns",
                    OnSchemaChange::SyncAllColumns => "sync_all_columns",
                }
                .to_owned(),
            ),
        })),
    };
    let persisted = config
        .get("persist_docs")
        .and_then(|docs| docs.get("relation"))
        .and_then(serde_json::Value::as_bool)
        .unwrap_or(false);
    let comments = node
        .columns
        .values()
        .map(|column| (column.name.clone(), column.description.clone()))
        .chain(persisted.then(|| (String::new(), node.description.clone())))
        .filter(|(_, description)| !description.is_empty())
        .collect();
    WorkNode {
        id: node.unique_id.clone(),
        name: node.name.clone(),
        kind,
        relation: node.relation(),
        comments,
        grants: grants(&config.grants),
        never_reuse: if config.reuse_override() == Some(false) {
            Some("`meta.reuse` is false".to_owned())
        } else if custom && config.reuse_override() != Some(true) {
            Some("its materialization is a macro".to_owned())
        } else if manifest.snapshot_macro(node).is_some() {
            Some("its strategy is a macro".to_owned())
        } else if node.language != "sql" && config.reuse_override() != Some(true) {
            Some("it is a Python model, which may read anything".to_owned())
        } else {
            config
                .pre_hooks
                .iter()
                .chain(&config.post_hooks)
                .filter(|hook| !hook.is_pointer())
                .any(|hook| !hook.sql.trim().is_empty() && !only_grants_or_describes(&hook.sql))
                .then(|| "it has hooks".to_owned())
        },
        ignore_volatile: config.reuse_override() == Some(true),
        // What a snapshot has seen cannot be seen again.
        full_refresh: match node.resource_type {
            ResourceType::Snapshot => Some(false),
            _ => config.full_refresh,
        },
        goes_on: config.get("on_error").and_then(Value::as_str) == Some("continue"),
        // A materialization that is a macro runs them itself.
        hooks: match custom {
            true => NodeHooks::default(),
            false => NodeHooks {
                before: has_text(config.pre_hooks.iter()),
                after: has_text(config.post_hooks.iter().filter(|hook| hook.transaction)),
                after_publish: has_text(config.post_hooks.iter().filter(|hook| !hook.transaction))
                    || manifest.external_files.contains_key(&node.unique_id),
            },
        },
    }
}

/// What the DuckDB adapter's merge knows besides. Several conditions all have to hold.
fn merge_extras(config: &NodeConfig) -> MergeExtras {
    let condition = |key: &str| {
        let texts: Vec<String> = match config.get(key)? {
            Value::String(text) => vec![text.clone()],
            Value::Array(items) => {
                items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        (!texts.is_empty()).then(|| texts.join(") and ("))
    };
    let set = config.get("merge_update_set_expressions").and_then(Value::as_object);
    let set = set
        .into_iter()
        .flatten()
        .filter_map(|(column, expression)| Some((column.clone(), expression.as_str()?.to_owned())));
    MergeExtras {
        update_condition: condition("merge_update_condition"),
        insert_condition: condition("merge_insert_condition"),
        update_set: set.collect(),
    }
}

/// `grants: {select: [bi], insert: etl}`
fn grants(
    config: &serde_json::Map<String, serde_json::Value>,
) -> BTreeMap<String, BTreeSet<String>> {
    config
        .iter()
        .map(|(privilege, names)| {
            let one = std::slice::from_ref(names);
            let names = names.as_array().map_or(one, Vec::as_slice);
            let names = names.iter().filter_map(|name| name.as_str().map(str::to_owned));
            (privilege.to_lowercase(), names.collect())
        })
        .filter(|(_, names): &(String, BTreeSet<String>)| !names.is_empty())
        .collect()
}

fn has_text<'a>(mut hooks: impl Iterator<Item = &'a Hook>) -> bool {
    hooks.any(|hook| !hook.sql.trim().is_empty())
}

/// Whether a hook only says who may read its node, or what it is: then it need not run again when
/// the node is as it was. Seen by the words of its template alone; a macro may do anything.
fn only_grants_or_describes(sql: &str) -> bool {
    sql.split(';').map(str::trim).filter(|statement| !statement.is_empty()).all(|statement| {
        let first = statement.split_whitespace().next().unwrap_or_default();
        ["grant", "revoke", "comment"].iter().any(|word| first.eq_ignore_ascii_case(word))
    })
}

fn work_source(source: &SourceTable, kind: WorkKind) -> WorkNode {
    WorkNode {
        id: source.unique_id.clone(),
        name: format!("{}.{}", source.source_name, source.name),
        kind,
        relation: source.relation(),
        comments: source
            .columns
            .values()
            .filter(|column| !column.description.is_empty())
            .map(|column| (column.name.clone(), column.description.clone()))
            .collect(),
        grants: BTreeMap::new(),
        never_reuse: None,
        ignore_volatile: false,
        full_refresh: None,
        hooks: NodeHooks::default(),
        goes_on: false,
    }
}

fn work_check(manifest: &Manifest, node: &Node, store_failures: bool) -> WorkCheck {
    let parents = manifest.parents_of(&node.unique_id);
    let attached = match node.test.as_ref().map(|test| &test.kind) {
        Some(TestKind::Generic(generic)) => generic.attached.clone(),
        _ => None,
    };
    let declaring: Vec<&UniqueId> = match &attached {
        Some(attached) => vec![attached],
        None => parents.iter().collect(),
    };
    let mut declared_by = BTreeSet::new();
    for id in declaring {
        if manifest.node(id).is_some_and(Node::is_ephemeral) {
            declared_by.extend(inlined_in(manifest, id));
        } else {
            declared_by.insert(id.clone());
        }
    }
    // What is said of one relation alone is said of every node that contains it.
    let single = parents.len() == 1;
    let mut reads = if single { declared_by.clone() } else { BTreeSet::new() };
    for id in parents {
        reads.extend(through_ephemeral(manifest, id));
    }
    let holds = match node.config.holds_back() {
        Some(true) => Holds::Always,
        Some(false) => Holds::Never,
        None if single => Holds::Always,
        None => Holds::Last,
    };
    let store = node.test.as_ref().and_then(|test| test.store_failures).unwrap_or(store_failures);
    WorkCheck {
        id: node.unique_id.clone(),
        name: node.name.clone(),
        relation: attached
            .as_ref()
            .filter(|id| !manifest.node(id).is_some_and(Node::is_ephemeral))
            .and_then(|id| manifest.relation_of(id)),
        declared_by,
        reads,
        store_failures: store.then(|| node.relation()),
        holds,
    }
}

/// The nodes whose SQL contains an ephemeral model.
fn inlined_in(manifest: &Manifest, id: &UniqueId) -> BTreeSet<UniqueId> {
    let mut found = BTreeSet::new();
    for child in manifest.children_of(id) {
        match manifest.node(child) {
            Some(node) if node.is_ephemeral() => found.extend(inlined_in(manifest, child)),
            Some(node) if is_data(node) => {
                found.insert(child.clone());
            }
            _ => {}
        }
    }
    found
}

/// The node itself, or what an ephemeral model reads.
fn through_ephemeral(manifest: &Manifest, id: &UniqueId) -> BTreeSet<UniqueId> {
    if manifest.node(id).is_some_and(Node::is_ephemeral) {
        manifest
            .parents_of(id)
            .iter()
            .flat_map(|parent| through_ephemeral(manifest, parent))
            .collect()
    } else {
        BTreeSet::from([id.clone()])
    }
}

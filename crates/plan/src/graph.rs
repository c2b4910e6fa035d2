//! Which node reads which.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_core::UniqueId;

/// A directed graph without cycles: nodes and what each of them reads.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    parents: BTreeMap<UniqueId, BTreeSet<UniqueId>>,
    children: BTreeMap<UniqueId, BTreeSet<UniqueId>>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node, if it is not there.
    pub fn add_node(&mut self, node: &UniqueId) {
        self.parents.entry(node.clone()).or_default();
        self.children.entry(node.clone()).or_default();
    }

    /// Says that `node` reads `parent`.
    pub fn add_edge(&mut self, parent: &UniqueId, node: &UniqueId) {
        self.add_node(parent);
        self.add_node(node);
        self.parents.entry(node.clone()).or_default().insert(parent.clone());
        self.children.entry(parent.clone()).or_default().insert(node.clone());
    }

    /// What the node reads directly.
    pub fn parents(&self, node: &UniqueId) -> impl Iterator<Item = &UniqueId> {
        self.parents.get(node).into_iter().flatten()
    }

    /// What reads the node directly.
    pub fn children(&self, node: &UniqueId) -> impl Iterator<Item = &UniqueId> {
        self.children.get(node).into_iter().flatten()
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &UniqueId> {
        self.parents.keys()
    }

    /// Everything that reads the node, directly or through others. The node itself is not among it.
    pub fn descendants(&self, node: &UniqueId) -> BTreeSet<UniqueId> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&UniqueId> = self.children(node).collect();
        while let Some(next) = open.pop() {
            if found.insert(next.clone()) {
                open.extend(self.children(next));
            }
        }
        found
    }

    /// The graph of these nodes alone, where a path through left-out nodes is an edge: what has to
    /// wait for what when only some nodes are worked on.
    #[must_use]
    pub fn contracted(&self, keep: &BTreeSet<UniqueId>) -> Graph {
        let mut graph = Graph::new();
        for node in keep {
            graph.add_node(node);
            let mut seen = BTreeSet::new();
            let mut open: Vec<&UniqueId> = self.parents(node).collect();
            while let Some(parent) = open.pop() {
                if !seen.insert(parent) {
                    continue;
                }
                if keep.contains(parent) {
                    graph.add_edge(parent, node);
                } else {
                    open.extend(self.parents(parent));
                }
            }
        }
        graph
    }
}

//! Which check gates which node, and which nodes must therefore publish together.
//!
//! A check gates the node that is built last of what it reads: everything else that it reads and
//! that this run builds is upstream of that one. Where there is no such node (two tables of which
//! neither reads the other) the check stands alone, as in dbt: it runs when all of them are
//! published, and holds back what reads all of them.
//!
//! A check that is to hold back ([`Holds::Always`], and every check of a run that is published as
//! one) gates the node that declares it and waits for every other relation that it reads and that
//! this run builds. If one of these is downstream of the declaring node, waiting would never end, so
//! the check gates that one instead. Nodes that would wait for each other publish in one entry or
//! not at all (ARCHITECTURE, "Checks").

use std::collections::{BTreeMap, BTreeSet};

use tidemill_core::{CheckId, UniqueId};

use crate::Graph;

/// A check and what it reads. Ephemeral models are already replaced by what inlines them.
#[derive(Debug, Clone)]
pub struct CheckReads {
    /// The check.
    pub check: CheckId,
    /// The nodes that declare it: one for a generic test, every node that it reads for a singular
    /// one.
    pub declared_by: BTreeSet<UniqueId>,
    /// Every node that it reads, the declaring ones included.
    pub reads: BTreeSet<UniqueId>,
    /// What it holds back.
    pub holds: Holds,
}

/// What a failing check holds back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Holds {
    /// The node that is built last of what it reads, if there is such; else what reads all of it.
    #[default]
    Last,
    /// The node that declares it, in any case.
    Always,
    /// No node that it reads, only what reads all of them: dbt's rule.
    Never,
}

/// Where the checks of a run take place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The checks of each group, in order of their ids.
    pub checks: BTreeMap<CheckId, Gate>,
    /// Nodes that publish together. A node that is in no group publishes alone.
    pub groups: Vec<BTreeSet<UniqueId>>,
}

/// What one check does in this run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// The nodes that it gates; none when nothing it reads is built in this run.
    pub gates: BTreeSet<UniqueId>,
    /// Nodes of this run that it must wait for.
    pub waits_for: BTreeSet<UniqueId>,
    /// Of a check that gates no node: those that are not built before it has passed.
    pub stands_before: BTreeSet<UniqueId>,
}

impl Assignment {
    /// The group that a node publishes with: itself alone, or all of its group.
    pub fn group_of(&self, node: &UniqueId) -> BTreeSet<UniqueId> {
        self.groups
            .iter()
            .find(|group| group.contains(node))
            .cloned()
            .unwrap_or_else(|| BTreeSet::from([node.clone()]))
    }
}

/// Assigns every check to the nodes it gates. `building` are the nodes that this run works on;
/// `graph` is the whole project's.
pub fn assign(checks: &[CheckReads], building: &BTreeSet<UniqueId>, graph: &Graph) -> Assignment {
    let mut descendants: BTreeMap<UniqueId, BTreeSet<UniqueId>> = BTreeMap::new();
    let mut result = Assignment::default();
    let mut waits: BTreeMap<UniqueId, BTreeSet<UniqueId>> = BTreeMap::new();
    for check in checks {
        let reads: BTreeSet<UniqueId> = check.reads.intersection(building).cloned().collect();
        for node in &reads {
            if !descendants.contains_key(node) {
                descendants.insert(node.clone(), graph.descendants(node));
            }
        }
        let gates = match check.holds {
            Holds::Always => declared_gates(check, &reads, &descendants),
            Holds::Last => reads
                .iter()
                .find(|last| {
                    reads.iter().all(|other| other == *last || descendants[other].contains(*last))
                })
                .cloned()
                .into_iter()
                .collect(),
            Holds::Never => BTreeSet::new(),
        };
        if gates.is_empty() {
            let stands_before = below_all(&check.reads, building, graph);
            let gate = Gate { gates, waits_for: reads, stands_before };
            result.checks.insert(check.check.clone(), gate);
            continue;
        }
        let waits_for: BTreeSet<UniqueId> = reads.difference(&gates).cloned().collect();
        for node in &gates {
            let entry = waits.entry(node.clone()).or_default();
            entry.extend(reads.iter().filter(|other| *other != node).cloned());
        }
        let gate = Gate { gates, waits_for, stands_before: BTreeSet::new() };
        result.checks.insert(check.check.clone(), gate);
    }
    result.groups = cycles(&waits, building, graph);
    result
}

/// The declaring nodes of a check, or what it reads downstream of them.
fn declared_gates(
    check: &CheckReads,
    reads: &BTreeSet<UniqueId>,
    descendants: &BTreeMap<UniqueId, BTreeSet<UniqueId>>,
) -> BTreeSet<UniqueId> {
    let declared: BTreeSet<UniqueId> = check.declared_by.intersection(reads).cloned().collect();
    let from = if declared.is_empty() { reads.clone() } else { declared };
    let mut gates = BTreeSet::new();
    for node in &from {
        let below: BTreeSet<&UniqueId> =
            reads.iter().filter(|other| descendants[node].contains(*other)).collect();
        if below.is_empty() {
            gates.insert(node.clone());
            continue;
        }
        // Of those downstream, only the last ones: the others would wait for these.
        for candidate in &below {
            if !below.iter().any(|other| descendants[*candidate].contains(*other)) {
                gates.insert((*candidate).clone());
            }
        }
    }
    gates
}

/// The nodes of this run that read all of these, directly or not.
fn below_all(
    reads: &BTreeSet<UniqueId>,
    building: &BTreeSet<UniqueId>,
    graph: &Graph,
) -> BTreeSet<UniqueId> {
    let mut left = if reads.is_empty() { BTreeSet::new() } else { building.clone() };
    for read in reads {
        let below = graph.descendants(read);
        left.retain(|node| below.contains(node));
    }
    left
}

/// The strongly connected components of "waits for" (by checks or by reading) with more than one
/// node.
fn cycles(
    waits: &BTreeMap<UniqueId, BTreeSet<UniqueId>>,
    building: &BTreeSet<UniqueId>,
    graph: &Graph,
) -> Vec<BTreeSet<UniqueId>> {
    if waits.values().all(BTreeSet::is_empty) {
        return Vec::new();
    }
    let contracted = graph.contracted(building);
    let edges = |node: &UniqueId| -> BTreeSet<UniqueId> {
        let mut to: BTreeSet<UniqueId> = contracted.parents(node).cloned().collect();
        to.extend(waits.get(node).into_iter().flatten().cloned());
        to
    };
    // Tarjan's algorithm with its stack kept by hand, so that a long chain cannot overflow ours.
    let mut index: BTreeMap<UniqueId, (usize, usize)> = BTreeMap::new();
    let mut on_stack: BTreeSet<UniqueId> = BTreeSet::new();
    let mut stack: Vec<UniqueId> = Vec::new();
    let mut components = Vec::new();
    for root in building {
        if index.contains_key(root) {
            continue;
        }
        let mut work: Vec<(UniqueId, Vec<UniqueId>)> = Vec::new();
        let enter = |node: &UniqueId,
                     index: &mut BTreeMap<UniqueId, (usize, usize)>,
                     stack: &mut Vec<UniqueId>,
                     on_stack: &mut BTreeSet<UniqueId>| {
            let number = index.len();
            index.insert(node.clone(), (number, number));
            stack.push(node.clone());
            on_stack.insert(node.clone());
            (node.clone(), edges(node).into_iter().collect::<Vec<_>>())
        };
        work.push(enter(root, &mut index, &mut stack, &mut on_stack));
        while let Some((node, open)) = work.last_mut() {
            if let Some(next) = open.pop() {
                if let Some(&(number, _)) = index.get(&next) {
                    if on_stack.contains(&next) {
                        let node = node.clone();
                        if let Some(entry) = index.get_mut(&node) {
                            entry.1 = entry.1.min(number);
                        }
                    }
                } else {
                    work.push(enter(&next, &mut index, &mut stack, &mut on_stack));
                }
                continue;
            }
            let node = node.clone();
            work.pop();
            let (number, low) = index[&node];
            if let Some((parent, _)) = work.last()
                && let Some(entry) = index.get_mut(parent)
            {
                entry.1 = entry.1.min(low);
            }
            if number == low {
                let mut component = BTreeSet::new();
                while let Some(member) = stack.pop() {
                    on_stack.remove(&member);
                    let last = member == node;
                    component.insert(member);
                    if last {
                        break;
                    }
                }
                if component.len() > 1 {
                    components.push(component);
                }
            }
        }
    }
    components
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> BTreeSet<UniqueId> {
        names.iter().map(|name| UniqueId::new(*name)).collect()
    }

    /// raw → a → b, raw → c; all built unless said otherwise.
    fn graph() -> Graph {
        let mut graph = Graph::new();
        for (parent, node) in [("raw", "a"), ("a", "b"), ("raw", "c")] {
            graph.add_edge(&parent.into(), &node.into());
        }
        graph
    }

    fn one(
        declared: &[&str],
        reads: &[&str],
        building: &[&str],
        holds: Holds,
    ) -> (Gate, Vec<BTreeSet<UniqueId>>) {
        let check =
            CheckReads { check: "t".into(), declared_by: ids(declared), reads: ids(reads), holds };
        let assignment = assign(&[check], &ids(building), &graph());
        (assignment.checks[&CheckId::new("t")].clone(), assignment.groups)
    }

    #[test]
    fn the_last_of_what_is_read_is_gated() {
        let (gate, groups) = one(&["a"], &["a", "b"], &["a", "b", "c"], Holds::Last);
        assert_eq!((gate.gates, gate.waits_for), (ids(&["b"]), ids(&["a"])));
        assert!(groups.is_empty());
        let (gate, _) = one(&["b"], &["b"], &["a", "b", "c"], Holds::Last);
        assert_eq!(gate.gates, ids(&["b"]));
    }

    #[test]
    fn a_check_of_two_that_do_not_read_each_other_stands_before_what_reads_both() {
        let mut graph = graph();
        for parent in ["b", "c"] {
            graph.add_edge(&parent.into(), &"d".into());
        }
        graph.add_edge(&"b".into(), &"only_b".into());
        let check = |holds| CheckReads {
            check: "t".into(),
            declared_by: ids(&["b"]),
            reads: ids(&["b", "c"]),
            holds,
        };
        let building = ids(&["raw", "a", "b", "c", "d", "only_b"]);
        let assignment = assign(&[check(Holds::Last)], &building, &graph);
        let gate = &assignment.checks[&CheckId::new("t")];
        assert_eq!((&gate.gates, &gate.waits_for), (&ids(&[]), &ids(&["b", "c"])));
        assert_eq!(gate.stands_before, ids(&["d"]));
        assert!(assignment.groups.is_empty());
        // Also where only one of them is built: the other counts as what it is.
        let assignment = assign(&[check(Holds::Never)], &ids(&["b", "d", "only_b"]), &graph);
        assert_eq!(assignment.checks[&CheckId::new("t")].stands_before, ids(&["d"]));
    }

    #[test]
    fn the_declaring_node_is_gated_and_others_are_waited_for() {
        let (gate, groups) = one(&["b"], &["b", "c"], &["a", "b", "c"], Holds::Always);
        assert_eq!((gate.gates, gate.waits_for), (ids(&["b"]), ids(&["c"])));
        assert!(groups.is_empty());
    }

    #[test]
    fn what_is_downstream_of_the_declaring_node_is_gated_instead() {
        let (gate, groups) = one(&["a"], &["a", "b"], &["a", "b", "c"], Holds::Always);
        assert_eq!((gate.gates, gate.waits_for), (ids(&["b"]), ids(&["a"])));
        assert!(groups.is_empty());
    }

    #[test]
    fn a_node_that_is_not_built_hands_its_check_to_one_that_is() {
        for holds in [Holds::Always, Holds::Last] {
            let (gate, _) = one(&["b"], &["b", "c"], &["c"], holds);
            assert_eq!(gate.gates, ids(&["c"]));
            let (gate, _) = one(&["b"], &["b"], &["c"], holds);
            assert_eq!(gate, Gate::default());
        }
    }

    #[test]
    fn a_singular_test_over_unrelated_nodes_can_make_them_publish_together() {
        let (gate, groups) = one(&["b", "c"], &["b", "c"], &["a", "b", "c"], Holds::Always);
        assert_eq!(gate.gates, ids(&["b", "c"]));
        assert_eq!(groups, [ids(&["b", "c"])]);
    }

    #[test]
    fn two_checks_that_wait_for_each_other_make_a_group() {
        let one = |check: &str, declared: &str| CheckReads {
            check: check.into(),
            declared_by: ids(&[declared]),
            reads: ids(&["b", "c"]),
            holds: Holds::Always,
        };
        let checks = [one("t1", "b"), one("t2", "c")];
        let assignment = assign(&checks, &ids(&["a", "b", "c"]), &graph());
        assert_eq!(assignment.groups, [ids(&["b", "c"])]);
        assert_eq!(assignment.group_of(&"a".into()), ids(&["a"]));
    }
}

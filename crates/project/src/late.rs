//! What is known of nodes only once they were rendered to run: the macros that their text calls then.
//! As in dbt, `graph` and the manifest that is written in the end name these, too.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidemill_core::UniqueId;
use tidemill_jinja::Value;

use crate::manifest::{Manifest, Node, TestKind};

/// See the module.
#[derive(Default)]
pub(crate) struct Late(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Macros that the parse pass did not see, in the order in which they were called.
    macros: BTreeMap<UniqueId, Vec<String>>,
    /// `graph` and the hash of how it was made, once a template has asked for it. One value for all
    /// templates of the run, as in dbt: packages keep in it what they want to find again.
    graph: Option<(Value, String)>,
}

impl Late {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the macros that a node's text has called.
    pub(crate) fn note(&self, node: &Node, called: &[String]) {
        if called.iter().all(|id| node.macros.contains(id)) {
            return;
        }
        let mut known = self.known();
        let Known { macros, graph } = &mut *known;
        let noted = macros.entry(node.unique_id.clone()).or_default();
        for id in called {
            if node.macros.contains(id) || noted.contains(id) {
                continue;
            }
            noted.push(id.clone());
            if let Some((graph, _)) = graph {
                name_in(graph, &node.unique_id, id);
            }
        }
    }

    /// The macros that were noted, of each node.
    pub(crate) fn macros(&self) -> BTreeMap<UniqueId, Vec<String>> {
        self.known().macros.clone()
    }

    /// `graph`, with the hash of what it was before anything was rendered.
    pub(crate) fn graph(&self, manifest: &Manifest) -> (Value, String) {
        let mut known = self.known();
        let Known { macros, graph } = &mut *known;
        let made = graph.get_or_insert_with(|| {
            let json = crate::artifact::graph_json(manifest);
            let hash = blake3::hash(json.to_string().as_bytes()).to_hex().to_string();
            let value = Value::from(&json);
            for (node, ids) in macros {
                for id in ids {
                    name_in(&value, node, id);
                }
            }
            (value, hash)
        });
        made.clone()
    }
}

/// Adds a macro to what a node of `graph` depends on.
fn name_in(graph: &Value, node: &UniqueId, id: &str) {
    let part = |value: &Value, key: &str| value.as_dict()?.get_str(key);
    let macros = part(graph, "nodes")
        .and_then(|nodes| part(&nodes, node.as_str()))
        .and_then(|node| part(&node, "depends_on"))
        .and_then(|depends_on| part(&depends_on, "macros"));
    if let Some(macros) = macros.as_ref().and_then(Value::as_list) {
        macros.push(Value::from(id));
    }
}

/// The macros of dbt that the query of a data test calls, and with `is_run` those that run it: here
/// the check does what they do.
pub(crate) fn of_test(node: &Node, is_run: bool) -> Vec<String> {
    let is_generic =
        node.test.as_ref().is_some_and(|test| matches!(test.kind, TestKind::Generic(_)));
    let query = is_generic.then_some("get_where_subquery");
    let running = ["get_limit_subquery_sql", "should_store_failures", "statement"];
    let names = query.into_iter().chain(running.into_iter().filter(|_| is_run));
    names.map(|name| format!("macro.{}.{name}", crate::macros::INTERNAL)).collect()
}

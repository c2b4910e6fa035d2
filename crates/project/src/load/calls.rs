//! Which macros a macro names.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use tidemill_jinja::MacroCall;

use crate::macros::INTERNAL;
use crate::manifest::MacroNode;

/// The calls that stand in each macro's text, by its unique id.
pub(crate) type Calls = HashMap<String, Vec<MacroCall>>;

/// Finds what `adapter.dispatch(name, namespace)` leads to in a macro of a package: a unique id.
pub(crate) type Dispatch<'a> = dyn Fn(&str, Option<&str>, &str) -> Option<String> + 'a;

/// Fills in the macros that each macro names, as far as its text tells and in the order of the text:
/// calls by name, calls with a package, and what `adapter.dispatch` leads to. As in dbt, a dispatch
/// names the macro of that very name too, where there is one.
pub(crate) fn note(
    nodes: &mut IndexMap<String, MacroNode>,
    calls: &Calls,
    dispatch: &Dispatch<'_>,
    built_in: &[MacroNode],
    root: &str,
) {
    let known: HashSet<String> =
        nodes.keys().cloned().chain(built_in.iter().map(|node| node.unique_id.clone())).collect();
    let place = |package: &str, name: &str| {
        [package, root, INTERNAL]
            .into_iter()
            .map(|package| format!("macro.{package}.{name}"))
            .find(|id| known.contains(id))
    };
    for (id, node) in nodes.iter_mut() {
        let mut found: Vec<String> = Vec::new();
        for call in calls.get(id).into_iter().flatten() {
            let own = node.package_name.as_str();
            // As in dbt: a method of the adapter is no macro, though there may be one of its name.
            if !call.dispatched && call.package.as_deref() == Some("adapter") {
                continue;
            }
            let package = call.package.as_deref().filter(|_| !call.dispatched).unwrap_or(own);
            let is_itself = call.dispatched || call.package.is_none();
            let named = match is_itself && *call.name == *node.name {
                true => None,
                false => place(package, &call.name),
            };
            let led = match call.dispatched {
                true => dispatch(&call.name, call.package.as_deref(), own),
                false => None,
            };
            for id in named.into_iter().chain(led) {
                if id != node.unique_id && !found.contains(&id) {
                    found.push(id);
                }
            }
        }
        node.depends_on = found;
    }
}

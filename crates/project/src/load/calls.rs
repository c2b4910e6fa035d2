//! Which macros a macro names.

use std::collections::{BTreeSet, HashMap};

use indexmap::IndexMap;

use crate::macros::INTERNAL;
use crate::manifest::MacroNode;

/// Fills in the macros that each macro names, as far as their text tells: calls by name, calls with
/// a package, and what `adapter.dispatch('name')` may lead to.
pub(crate) fn note(nodes: &mut IndexMap<String, MacroNode>, built_in: &[MacroNode], root: &str) {
    let mut by_name: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for node in nodes.values().chain(built_in) {
        let place = (node.package_name.clone(), node.unique_id.clone());
        by_name.entry(node.name.clone()).or_default().push(place.clone());
        // `default__name` and `postgres__name` are what a dispatch of `name` leads to.
        if let Some((_, name)) = node.name.split_once("__") {
            by_name.entry(format!("dispatch {name}")).or_default().push(place);
        }
    }
    for node in nodes.values_mut() {
        let mut found = BTreeSet::new();
        for word in words(&node.macro_sql) {
            let Some(places) = by_name.get(&word.name) else { continue };
            match word.package {
                Some(package) => found.extend(
                    places.iter().filter(|(owner, _)| owner == package).map(|(_, id)| id.clone()),
                ),
                // What a dispatch leads to here; macros for other systems alone are all named.
                None if word.name.starts_with("dispatch ") => {
                    let of = |prefix: &str| -> Vec<String> {
                        let is = |id: &str| {
                            id.rsplit('.').next().is_some_and(|name| name.starts_with(prefix))
                        };
                        places.iter().filter(|(_, id)| is(id)).map(|(_, id)| id.clone()).collect()
                    };
                    let first = ["tidemill__", "postgres__", "default__"].map(of);
                    match first.into_iter().find(|ids| !ids.is_empty()) {
                        Some(ids) => found.extend(ids),
                        None => found.extend(places.iter().map(|(_, id)| id.clone())),
                    }
                }
                None => {
                    let of = |package: &str| places.iter().find(|(owner, _)| owner == package);
                    let place = of(&node.package_name).or_else(|| of(root));
                    let place = place.or_else(|| of(INTERNAL));
                    found.extend(place.map(|(_, id)| id.clone()));
                }
            }
        }
        found.remove(&node.unique_id);
        node.depends_on = found.into_iter().collect();
    }
}

struct Word<'a> {
    package: Option<&'a str>,
    name: String,
}

/// Names that are called, and the names in `dispatch('name')`.
fn words(text: &str) -> Vec<Word<'_>> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    let mut before: Option<&str> = None;
    while let Some(start) = rest.find(is_part) {
        let dotted = &rest[..start] == ".";
        let end = rest[start..].find(|c| !is_part(c)).map_or(rest.len(), |length| start + length);
        let word = &rest[start..end];
        let after = rest[end..].trim_start();
        if let Some(arguments) = after.strip_prefix('(') {
            if word == "dispatch" {
                let name: String = arguments
                    .trim_start_matches(|c: char| !is_part(c))
                    .chars()
                    .take_while(|c| is_part(*c))
                    .collect();
                found.push(Word { package: None, name: format!("dispatch {name}") });
            } else {
                found.push(Word { package: before.filter(|_| dotted), name: word.to_owned() });
            }
        }
        before = Some(word);
        rest = &rest[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_by_name_package_and_dispatch() {
        let found: Vec<(Option<&str>, String)> =
            words("{{ a(1) }} {{ p.b (2) }} {{ return(adapter.dispatch('c', 'p')()) }} d")
                .into_iter()
                .map(|word| (word.package, word.name))
                .collect();
        let expected = [(None, "a"), (Some("p"), "b"), (None, "return"), (None, "dispatch c")];
        assert_eq!(found, expected.map(|(package, name)| (package, name.to_owned())));
    }
}

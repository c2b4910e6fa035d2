//! The star schema: keys and references, from tests and constraints.

use std::collections::HashMap;

use serde_json::Value;

use super::page::{same, unquoted};
use super::read::{entries, items, text, texts};
use crate::site::{Page, Relationship};

/// Generic tests that state a reference: dbt's and those of well-known packages.
const REFERRING: [&str; 3] = ["relationships", "relationships_where", "foreign_key"];

/// What tests and constraints say about sets of columns of one page.
#[derive(Debug, Default, Clone)]
struct Columns {
    declared: Option<Vec<String>>,
    unique: Vec<Vec<String>>,
    not_null: Vec<String>,
}

impl Columns {
    fn is_unique(&self, columns: &[String]) -> bool {
        // Columns that are unique in part are unique together.
        self.declared
            .iter()
            .chain(&self.unique)
            .any(|unique| unique.iter().all(|name| columns.iter().any(|column| same(column, name))))
    }

    fn is_filled(&self, column: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| same(name, column));
        named(&self.not_null) || self.declared.as_deref().is_some_and(named)
    }

    /// The key: the declared one; else unique columns, better those that others refer to, better
    /// those without NULLs, better few.
    fn key(&self, referred: &[Vec<String>]) -> Vec<String> {
        if let Some(declared) = &self.declared {
            return declared.clone();
        }
        let rank = |columns: &Vec<String>| {
            let is_referred = referred.iter().any(|other| same_set(other, columns));
            let filled = columns.iter().all(|column| self.is_filled(column));
            (!is_referred, columns.len() == 1 && !filled, columns.len())
        };
        self.unique.iter().min_by_key(|columns| rank(columns)).cloned().unwrap_or_default()
    }
}

fn same_set(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().all(|name| b.iter().any(|other| same(name, other)))
}

/// All references that the project states, each once; keys are written into the pages.
pub(super) fn relationships(
    shown: &[&Value],
    pages: &mut [Page],
    places: &HashMap<&str, usize>,
) -> Vec<Relationship> {
    let mut columns: Vec<Columns> = vec![Columns::default(); pages.len()];
    let mut relationships: Vec<Relationship> = Vec::new();
    let mut add = |found: Relationship| {
        let again = relationships.iter_mut().find(|other| {
            other.from == found.from
                && other.to == found.to
                && same_set(&other.columns, &found.columns)
                && same_set(&other.to_columns, &found.to_columns)
        });
        match again {
            // A test has a verdict, so it is the better witness.
            Some(other) => other.test = other.test.or(found.test),
            None => relationships.push(found),
        }
    };
    for (place, value) in shown.iter().enumerate() {
        for constraint in items(value, "constraints") {
            let names = texts(constraint.get("columns"));
            read_constraint(constraint, place, names, &mut columns[place], pages, places, &mut add);
        }
        for (name, column) in entries(value, "columns") {
            for constraint in items(column, "constraints") {
                let names = vec![name.clone()];
                read_constraint(
                    constraint,
                    place,
                    names,
                    &mut columns[place],
                    pages,
                    places,
                    &mut add,
                );
            }
        }
        let Some(of) = pages[place].test.as_ref().and_then(|test| test.of) else { continue };
        let metadata = &value["test_metadata"];
        let arguments = &metadata["kwargs"];
        // A test with a condition says nothing about the whole column.
        let everywhere = value["config"].get("where").is_none_or(Value::is_null);
        let column: Vec<String> = Some(text(value, "column_name"))
            .filter(|name| !name.is_empty())
            .or_else(|| arguments.get("column_name")?.as_str())
            .map(|name| unquoted(name).to_owned())
            .into_iter()
            .collect();
        match text(metadata, "name") {
            "unique" if everywhere && !column.is_empty() => columns[of].unique.push(column),
            "not_null" if everywhere => columns[of].not_null.extend(column),
            "unique_combination_of_columns" if everywhere => {
                let together = texts(arguments.get("combination_of_columns"));
                if !together.is_empty() {
                    columns[of].unique.push(together);
                }
            }
            "primary_key" => {
                let named = texts(arguments.get("column_names"));
                columns[of].declared = Some(if named.is_empty() { column } else { named });
            }
            name if REFERRING.contains(&name) => {
                let one_or_many = |one: &str, many: &str| {
                    let many = texts(arguments.get(many));
                    if many.is_empty() { texts(arguments.get(one)) } else { many }
                };
                let from = one_or_many("fk_column_name", "fk_column_names");
                let mut to_columns = texts(arguments.get("field"));
                if to_columns.is_empty() {
                    to_columns = one_or_many("pk_column_name", "pk_column_names");
                }
                add(Relationship {
                    from: of,
                    columns: if column.is_empty() { from } else { column },
                    // What it reads beside the page itself; a table may refer to itself.
                    to: pages[place].reads.iter().copied().find(|read| *read != of).unwrap_or(of),
                    to_columns: to_columns.iter().map(|name| unquoted(name).to_owned()).collect(),
                    test: Some(place),
                    ..Relationship::default()
                });
            }
            _ => {}
        }
    }
    let mut referred: HashMap<usize, Vec<Vec<String>>> = HashMap::new();
    for relationship in &mut relationships {
        let from = &columns[relationship.from];
        relationship.one = from.is_unique(&relationship.columns);
        relationship.optional = !relationship.columns.iter().all(|column| from.is_filled(column));
        referred.entry(relationship.to).or_default().push(relationship.to_columns.clone());
    }
    for (place, page) in pages.iter_mut().enumerate() {
        page.key = columns[place].key(referred.get(&place).map(Vec::as_slice).unwrap_or_default());
    }
    // A constraint may leave out what it refers to: the key.
    for relationship in &mut relationships {
        if relationship.to_columns.is_empty() {
            relationship.to_columns.clone_from(&pages[relationship.to].key);
        }
    }
    relationships
}

fn read_constraint(
    constraint: &Value,
    place: usize,
    names: Vec<String>,
    columns: &mut Columns,
    pages: &[Page],
    places: &HashMap<&str, usize>,
    add: &mut impl FnMut(Relationship),
) {
    match text(constraint, "type") {
        "primary_key" => columns.declared = Some(names),
        "unique" if !names.is_empty() => columns.unique.push(names),
        "not_null" => columns.not_null.extend(names),
        "foreign_key" => {
            let expression = text(constraint, "expression");
            let target = match text(constraint, "to") {
                "" => expression.split('(').next().unwrap_or_default(),
                to => to,
            };
            let Some(to) = find(target, pages, places) else { return };
            let mut to_columns = texts(constraint.get("to_columns"));
            if to_columns.is_empty()
                && let Some((_, inside)) = expression.split_once('(')
            {
                let inside = inside.split(')').next().unwrap_or_default();
                to_columns = inside.split(',').map(|name| unquoted(name).to_owned()).collect();
            }
            add(Relationship {
                from: place,
                columns: names,
                to,
                to_columns,
                ..Relationship::default()
            });
        }
        _ => {}
    }
}

/// The page that a constraint refers to: `ref('x')`, `source('a', 'b')` or a relation's name.
fn find(target: &str, pages: &[Page], places: &HashMap<&str, usize>) -> Option<usize> {
    let target = target.trim();
    let quoted: Vec<&str> = target.split('\'').skip(1).step_by(2).collect();
    let is_table = |page: &Page| matches!(page.kind.as_str(), "model" | "seed" | "snapshot");
    if target.starts_with("ref") {
        let name = quoted.last()?;
        return pages.iter().position(|page| is_table(page) && page.name == **name);
    }
    if target.starts_with("source") {
        let name = quoted.join(".");
        return pages.iter().position(|page| page.kind == "source" && page.name == name);
    }
    if let Some(place) = places.get(target) {
        return Some(*place);
    }
    let name = target.replace(['"', '`'], "").to_ascii_lowercase();
    if name.is_empty() {
        return None;
    }
    pages.iter().position(|page| {
        let relation = page.relation.to_ascii_lowercase();
        relation == name || relation.ends_with(&format!(".{name}"))
    })
}

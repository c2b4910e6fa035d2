//! The schema of a file as one that the reader of records takes.
//!
//! What is written in the blocks stays the same: a record is nothing but its fields, one behind the other,
//! so a schema that is no record becomes one of a single field. Names of types are resolved here, by the
//! rules of namespaces, and each use of a named type has its definition.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// How many types a schema may have when every use of a name has its definition.
const MOST: usize = 100_000;

const PRIMITIVES: [&str; 8] =
    ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// The schema with every name resolved, as a record. `referred` are schemas whose types it may name.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn readable(schema: &Value, referred: &[Value]) -> Result<Value, String> {
    let mut names = Names { known: HashMap::new(), open: Vec::new(), types: 0 };
    for schema in referred {
        names.resolve(schema, "")?;
    }
    let schema = names.resolve(schema, "")?;
    Ok(match schema.get("type") {
        Some(Value::String(kind)) if kind == "record" => schema,
        _ => json!({
            "type": "record", "name": "tidemill_value",
            "fields": [{"name": "value", "type": schema}],
        }),
    })
}

struct Names<'a> {
    /// Definitions by their full names, with the namespace that they stand in.
    known: HashMap<String, (&'a Value, String)>,
    /// The named types that are being resolved.
    open: Vec<String>,
    types: usize,
}

impl<'a> Names<'a> {
    fn resolve(&mut self, schema: &'a Value, namespace: &str) -> Result<Value, String> {
        self.types += 1;
        if self.types > MOST {
            return Err(format!("its schema has more than {MOST} types"));
        }
        match schema {
            Value::String(name) if PRIMITIVES.contains(&name.as_str()) => Ok(schema.clone()),
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.resolve(branch, namespace));
                Ok(Value::Array(branches.collect::<Result<_, _>>()?))
            }
            Value::Object(members) => self.object(schema, members, namespace),
            _ => Err("its schema has a type that is neither a name nor an object".to_owned()),
        }
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<Value, String> {
        let full = full_name(name, namespace);
        let found = self.known.get(&full).or_else(|| self.known.get(name)).cloned();
        let Some((definition, namespace)) = found else {
            return Err(format!("its schema refers to the type `{full}`, which it does not have"));
        };
        if self.open.contains(&full) {
            return Err(format!(
                "its type `{full}` contains itself, and a table has no column of such a type"
            ));
        }
        self.resolve(definition, &namespace)
    }

    fn object(
        &mut self,
        schema: &'a Value,
        members: &'a Map<String, Value>,
        namespace: &str,
    ) -> Result<Value, String> {
        let kind = match members.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(inner) => return self.resolve(inner, namespace),
            None => return Err("its schema has an object without `type`".to_owned()),
        };
        let mut out = members.clone();
        for unused in ["aliases", "doc", "default", "namespace"] {
            out.remove(unused);
        }
        match kind {
            "array" | "map" => {
                let key = if kind == "array" { "items" } else { "values" };
                let inner = members.get(key);
                let inner =
                    inner.ok_or_else(|| format!("its schema has a {kind} without `{key}`"))?;
                out.insert(key.to_owned(), self.resolve(inner, namespace)?);
            }
            "record" | "error" | "enum" | "fixed" => {
                let text = |key: &str| members.get(key).and_then(Value::as_str);
                let name = text("name").unwrap_or_default();
                let full = full_name(name, text("namespace").unwrap_or(namespace));
                let within = full.rsplit_once('.').map_or("", |(before, _)| before).to_owned();
                self.known.insert(full.clone(), (schema, namespace.to_owned()));
                out.insert("name".to_owned(), full.replace('.', "_").into());
                if kind == "record" || kind == "error" {
                    out.insert("type".to_owned(), "record".into());
                    self.open.push(full);
                    let fields = members.get("fields").and_then(Value::as_array);
                    let mut resolved = Vec::new();
                    for field in fields.into_iter().flatten() {
                        let name = field.get("name").cloned().unwrap_or_default();
                        let inner =
                            field.get("type").ok_or("its schema has a field without type")?;
                        let inner = self.resolve(inner, &within)?;
                        let mut kept = json!({"name": name, "type": inner});
                        // What tells fields of Iceberg's files apart.
                        if let Some(id) = field.get("field-id") {
                            kept["field-id"] = id.clone();
                        }
                        resolved.push(kept);
                    }
                    self.open.pop();
                    out.insert("fields".to_owned(), Value::Array(resolved));
                }
            }
            // A text that is said to be a UUID is read as the text that it is, whether it is one or not.
            "string" => return Ok("string".into()),
            name if !PRIMITIVES.contains(&name) => return self.named(name, namespace),
            _ => {}
        }
        Ok(Value::Object(out))
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_by_namespace() {
        let schema = json!({
            "type": "record", "name": "shop.Order", "fields": [
                {"name": "a", "type": {"type": "fixed", "name": "Id", "size": 4}},
                {"name": "b", "type": ["null", "Id"]},
                {"name": "c", "type": {"type": "array", "items": "shop.Id"}, "default": []},
                {"name": "d", "type": {"type": "string", "logicalType": "uuid"}},
            ],
        });
        let id = json!({"type": "fixed", "name": "shop_Id", "size": 4});
        let expected = json!({
            "type": "record", "name": "shop_Order", "fields": [
                {"name": "a", "type": id},
                {"name": "b", "type": ["null", id]},
                {"name": "c", "type": {"type": "array", "items": id}},
                {"name": "d", "type": "string"},
            ],
        });
        assert_eq!(readable(&schema, &[]).unwrap(), expected);
        assert_eq!(
            readable(&json!({"type": "int", "logicalType": "date"}), &[]).unwrap()["fields"][0]["type"],
            json!({"type": "int", "logicalType": "date"})
        );
    }

    #[test]
    fn types_of_other_schemas_are_known() {
        let id = json!({"type": "fixed", "name": "shop.Id", "size": 4});
        let order = json!({
            "type": "record", "name": "shop.Order", "fields": [{"name": "id", "type": "Id"}],
        });
        assert!(readable(&order, &[]).is_err());
        let found = readable(&order, &[id]).unwrap();
        assert_eq!(found["fields"][0]["type"]["size"], json!(4));
    }

    #[test]
    fn what_cannot_be_resolved_is_said() {
        let node = json!({
            "type": "record", "name": "Node",
            "fields": [{"name": "next", "type": ["null", "Node"]}],
        });
        assert!(readable(&node, &[]).unwrap_err().contains("contains itself"));
        assert!(readable(&json!("Nothing"), &[]).unwrap_err().contains("`Nothing`"));
        // Each type has the one before twice.
        let mut fields =
            vec![json!({"name": "f", "type": {"type": "record", "name": "R0", "fields": []}})];
        for n in 1..40 {
            let before = format!("R{}", n - 1);
            let twice = json!([{"name": "x", "type": before}, {"name": "y", "type": before}]);
            let name = format!("R{n}");
            fields.push(
                json!({"name": name, "type": {"type": "record", "name": name, "fields": twice}}),
            );
        }
        let bomb = json!({"type": "record", "name": "bomb", "fields": fields});
        assert!(readable(&bomb, &[]).unwrap_err().contains("more than"));
    }
}

//! `adapter.parse_index`: an entry of the config `indexes`, as PostgreSQL's adapter reads it.

use serde_json::Value as Json;
use tidemill_jinja::{Args, Error, Object, State, Value};

use super::relation::Relation;

/// An index that a model asks for. Nothing here makes one; macros of the project may.
#[derive(Debug)]
struct Index {
    columns: Vec<String>,
    unique: bool,
    kind: Option<String>,
}

/// Reads an entry; nothing for none.
pub(super) fn parse(args: &Args) -> Result<Value, Error> {
    let [raw] = args.bind("parse_index", ["raw_index"], 1)?;
    let raw = raw.unwrap_or(Value::None);
    if raw.is_none() {
        return Ok(Value::None);
    }
    let Ok(Json::Object(fields)) = raw.to_json() else {
        return Err(Error::user(format!("not an index: {}", raw.repr()))
            .with_hint("write `{columns: [a, b], unique: true}`"));
    };
    let wrong = |what: &str| {
        Error::user(format!("an entry of `indexes` {what}: {}", raw.repr()))
            .with_hint("write `{columns: [a, b], unique: true, type: btree}`")
    };
    let mut index = Index { columns: Vec::new(), unique: false, kind: None };
    for (key, value) in &fields {
        match (key.as_str(), value) {
            ("columns", Json::Array(names)) => {
                index.columns =
                    names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
            }
            ("unique", Json::Bool(unique)) => index.unique = *unique,
            ("type", Json::String(kind)) => index.kind = Some(kind.clone()),
            ("type" | "unique", Json::Null) => {}
            (other, _) => return Err(wrong(&format!("has `{other}`, which it cannot have so"))),
        }
    }
    if index.columns.is_empty() {
        return Err(wrong("has no columns"));
    }
    Ok(Value::object(index))
}

impl Object for Index {
    fn type_name(&self) -> &str {
        "PostgresIndexConfig"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        Some(match name {
            "columns" => Value::list(self.columns.iter().map(|name| Value::from(name.as_str()))),
            "unique" => Value::from(self.unique),
            "type" => self.kind.clone().into(),
            _ => return None,
        })
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        (name == "render").then(|| {
            let relation = match args.get(0, "relation") {
                Some(value) if value.downcast::<Relation>().is_some() => {
                    value.call_method("render", &Args::new(Vec::new(), []), state)?.to_string()
                }
                Some(value) => value.to_string(),
                None => String::new(),
            };
            // Unlike PostgreSQL's, which has the time in it: the same index has the same name.
            let kind = self.kind.as_deref().unwrap_or("None");
            let text = format!("{}_{relation}_{}_{kind}", self.columns.join("_"), self.unique);
            Ok(Value::from(blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()))
        })
    }

    fn methods(&self) -> &'static [&'static str] {
        &["render"]
    }
}

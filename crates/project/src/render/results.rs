//! Results of nodes as hooks at the end of a run see them.

use tidemill_jinja::{Args, Error, Object, State, Value};

/// A value with fields, which can also be had as a dict: dbt's `RunResult`, its node and the node's
/// configuration, which has `none` for what it does not know.
#[derive(Debug)]
pub(crate) struct Fields(Value, Kind);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Result,
    Node,
    Config,
    Plain,
}

/// `results`: each with its fields, its node among them.
pub(crate) fn results(value: &Value) -> Value {
    Value::list(
        value.items().unwrap_or_default().into_iter().map(|value| fields(value, Kind::Result)),
    )
}

/// A value with fields, as templates have it of Python's objects.
pub(crate) fn object(value: Value) -> Value {
    fields(value, Kind::Plain)
}

fn fields(value: Value, kind: Kind) -> Value {
    Value::object(Fields(value, kind))
}

impl Fields {
    fn field(&self, name: &str) -> Option<Value> {
        let value = self.0.as_dict()?.get_str(name);
        Some(match (self.1, name) {
            (Kind::Result, "node") => fields(value?, Kind::Node),
            (Kind::Result, "timing") => {
                let parts = value?.items().unwrap_or_default().into_iter();
                Value::list(parts.map(|part| fields(part, Kind::Plain)))
            }
            (Kind::Node, "config") => fields(value?, Kind::Config),
            (Kind::Config, _) => value.unwrap_or(Value::None),
            _ => value?,
        })
    }
}

impl Object for Fields {
    fn type_name(&self) -> &str {
        "RunResult"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self.field(name)
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        self.field(key.as_str()?)
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        match name {
            "to_dict" => Some(Ok(self.0.clone())),
            "get" | "items" | "keys" | "values" => self.0.call_method(name, args, state).into(),
            _ => None,
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        &["to_dict", "get", "items", "keys", "values"]
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        self.0.as_dict().map(|dict| dict.keys())
    }

    fn is_mapping(&self) -> bool {
        true
    }

    fn repr(&self) -> String {
        self.0.repr()
    }

    fn to_json(&self) -> Option<Value> {
        Some(self.0.clone())
    }
}

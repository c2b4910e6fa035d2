//! Filters: Jinja2's and dbt's.

mod mapping;
mod numbers;
mod sequences;
mod strings;
mod wrap;

use crate::error::{Error, ErrorKind};
use crate::function::Args;
use crate::nearest::nearest;
use crate::render;
use crate::state::State;
use crate::value::{Marker, Str, Value};

/// A filter: value, arguments, render.
pub(crate) type Filter = fn(&Value, &Args, &mut State<'_>) -> Result<Value, Error>;

const TABLE: &[(&str, Filter)] = &[
    ("abs", numbers::abs),
    ("as_bool", |v, a, s| marked("as_bool", v, a, s, Marker::Bool)),
    ("as_native", |v, a, s| marked("as_native", v, a, s, Marker::Native)),
    ("as_number", |v, a, s| marked("as_number", v, a, s, Marker::Number)),
    ("as_text", |v, a, s| marked("as_text", v, a, s, Marker::Text)),
    ("attr", attr),
    ("batch", sequences::batch),
    ("capitalize", strings::capitalize),
    ("center", strings::center),
    ("count", sequences::length),
    ("d", default),
    ("default", default),
    ("dictsort", mapping::dictsort),
    ("e", strings::escape),
    ("escape", strings::escape),
    ("filesizeformat", numbers::file_size),
    ("first", sequences::first),
    ("float", numbers::float),
    ("forceescape", strings::escape),
    ("format", strings::format),
    ("groupby", mapping::groupby),
    ("indent", strings::indent),
    ("int", numbers::int),
    ("is_list", |v, _, _| Ok(Value::Bool(matches!(v, Value::List(_))))),
    ("items", mapping::items),
    ("join", sequences::join),
    ("last", sequences::last),
    ("length", sequences::length),
    ("list", sequences::list),
    ("lower", strings::lower),
    ("map", mapping::map),
    ("max", sequences::max),
    ("min", sequences::min),
    ("pprint", strings::pprint),
    ("random", sequences::random),
    ("reject", |v, a, s| mapping::select(v, a, s, false, false)),
    ("rejectattr", |v, a, s| mapping::select(v, a, s, false, true)),
    ("replace", strings::replace),
    ("reverse", sequences::reverse),
    ("round", numbers::round),
    ("safe", strings::string),
    ("select", |v, a, s| mapping::select(v, a, s, true, false)),
    ("selectattr", |v, a, s| mapping::select(v, a, s, true, true)),
    ("slice", sequences::slice),
    ("sort", sequences::sort),
    ("string", strings::string),
    ("striptags", strings::striptags),
    ("sum", sequences::sum),
    ("title", strings::title),
    ("tojson", strings::tojson),
    ("trim", strings::trim),
    ("truncate", strings::truncate),
    ("unique", sequences::unique),
    ("upper", strings::upper),
    ("urlencode", strings::urlencode),
    ("urlize", strings::urlize),
    ("wordcount", strings::wordcount),
    ("wordwrap", wrap::wordwrap),
    ("xmlattr", mapping::xmlattr),
];

/// The filter of this name.
pub(crate) fn find(name: &str) -> Option<Filter> {
    TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|index| TABLE[index].1)
}

/// The error for a name that is no filter.
pub(crate) fn unknown(name: &str) -> Error {
    let error = Error::new(ErrorKind::Syntax, format!("No filter named '{name}'."));
    let names: Vec<&str> = TABLE.iter().map(|(known, _)| *known).collect();
    match nearest(name, &names) {
        Some(known) => error.with_hint(format!("did you mean `{known}`?")),
        None => error,
    }
}

/// dbt's `as_bool` and its like: a mark in the native environment, nothing elsewhere.
fn marked(
    name: &str,
    value: &Value,
    args: &Args,
    state: &mut State<'_>,
    marker: Marker,
) -> Result<Value, Error> {
    let [] = args.bind(name, [], 0)?;
    if state.is_native() {
        return Ok(Value::Str(Str::marked(value.to_string(), marker)));
    }
    Ok(value.clone())
}

fn default(value: &Value, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [default, boolean] = args.bind("do_default", ["default_value", "boolean"], 0)?;
    let boolean = boolean.is_some_and(|flag| flag.is_true());
    if value.is_undefined() || (boolean && !value.is_true()) {
        return Ok(default.unwrap_or_else(|| Value::str("")));
    }
    Ok(value.clone())
}

fn attr(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [name] = args.bind("do_attr", ["name"], 1)?;
    let name = name.unwrap_or(Value::None).to_string();
    if let Value::Undefined(undefined) = value {
        return Err(undefined.error());
    }
    Ok(value.own_attr(&name, state).unwrap_or_else(|| {
        Value::Undefined(crate::Undefined::with_message(format!(
            "'{}' has no attribute '{name}'",
            value.described_type()
        )))
    }))
}

/// What filters take as `attribute`: nothing, a name, an index, a path with dots.
pub(crate) struct Getter {
    parts: Vec<Value>,
    default: Option<Value>,
    ignore_case: bool,
}

impl Getter {
    pub(crate) fn new(
        attribute: Option<&Value>,
        default: Option<Value>,
        ignore_case: bool,
    ) -> Self {
        let parts = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(path)) => path_parts(path),
            Some(other) => vec![other.clone()],
        };
        Self { parts, default: default.filter(|value| !value.is_none()), ignore_case }
    }

    pub(crate) fn get(&self, item: &Value, state: &mut State<'_>) -> Result<Value, Error> {
        state.charge(1)?;
        let mut value = item.clone();
        for part in &self.parts {
            value = render::path(&value, std::slice::from_ref(part), state)?;
            if let (Value::Undefined(_), Some(default)) = (&value, &self.default) {
                value = default.clone();
            }
        }
        Ok(if self.ignore_case { fold(value) } else { value })
    }
}

fn path_parts(path: &str) -> Vec<Value> {
    path.split('.')
        .map(|part| {
            let is_index = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            match part.parse::<i128>() {
                Ok(index) if is_index => Value::Int(index),
                _ => Value::str(part),
            }
        })
        .collect()
}

/// Strings in lower case, for comparing without case.
pub(crate) fn fold(value: Value) -> Value {
    match &value {
        Value::Str(text) => Value::from(text.to_lowercase()),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::TABLE;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

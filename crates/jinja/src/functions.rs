//! Functions that every template has: Jinja2's globals and those of dbt's that need no host.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use indexmap::IndexMap;

use crate::error::Error;
use crate::function::{Args, expect_int, expect_str};
use crate::modules;
use crate::object::Object;
use crate::state::State;
use crate::types::dict;
use crate::types::generator::Generator;
use crate::types::set::Set;
use crate::value::{Dict, Value, discard};
use crate::{from_json_text, to_json_text};

/// Most items that `range` gives: the sandbox's limit in Jinja2.
const MAX_RANGE: i128 = 100_000;

/// A function of this crate by name; the host is asked first.
pub(crate) fn builtin(name: &str) -> Option<Value> {
    static ALL: OnceLock<IndexMap<&'static str, Value>> = OnceLock::new();
    ALL.get_or_init(all).get(name).cloned()
}

fn all() -> IndexMap<&'static str, Value> {
    let mut names = IndexMap::new();
    let mut add = |name: &'static str, body: fn(&Args, &mut State<'_>) -> Result<Value, Error>| {
        names.insert(name, Value::function(name, body));
    };
    add("range", range);
    add("dict", make_dict);
    add("namespace", namespace);
    add("cycler", cycler);
    add("joiner", joiner);
    add("return", |args, _| {
        let [data] = args.bind("return", ["data"], 0)?;
        Err(Error::returning(data.unwrap_or(Value::None)))
    });
    add("fromjson", |args, _| {
        let [text, default] = args.bind("fromjson", ["string", "default"], 1)?;
        let text = text.unwrap_or(Value::None);
        match from_json_text(expect_str(&text, "fromjson")?) {
            Ok(value) => Ok(value),
            Err(_) => Ok(default.unwrap_or(Value::None)),
        }
    });
    add("tojson", |args, _| {
        let [value, default, sort_keys] =
            args.bind("tojson", ["value", "default", "sort_keys"], 1)?;
        let sort_keys = sort_keys.is_some_and(|flag| flag.is_true());
        match to_json_text(&value.unwrap_or(Value::None), sort_keys, None) {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => Ok(default.unwrap_or(Value::None)),
        }
    });
    add("set", |args, _| {
        let [values, default] = args.bind("set", ["value", "default"], 1)?;
        match make_set(&values.unwrap_or(Value::None)) {
            Ok(set) => Ok(set),
            Err(_) => Ok(default.unwrap_or(Value::None)),
        }
    });
    add("set_strict", |args, _| {
        let [values] = args.bind("set_strict", ["value"], 1)?;
        make_set(&values.unwrap_or(Value::None))
    });
    add("zip", |args, state| {
        let default = args.get_keyword("default").cloned();
        match zip(args.positional(), state) {
            Ok(pairs) => Ok(pairs),
            Err(error) if error.kind() == crate::ErrorKind::Budget => Err(error),
            Err(_) => Ok(default.unwrap_or(Value::None)),
        }
    });
    add("zip_strict", |args, state| zip(args.positional(), state));
    add("local_md5", |args, _| {
        let [value] = args.bind("local_md5", ["value"], 1)?;
        let value = value.unwrap_or(Value::None);
        Ok(Value::from(md5_hex(expect_str(&value, "local_md5")?)))
    });
    add("diff_of_two_dicts", diff_of_two_dicts);
    names.insert("modules", modules::value());
    names
}

/// The MD5 of a text in hexadecimal, as dbt's `local_md5`.
fn md5_hex(text: &str) -> String {
    use md5::Digest;
    let digest = md5::Md5::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn range(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [first, second, step] = args.bind("range", ["start", "stop", "step"], 1)?;
    let first = expect_int(&first.unwrap_or(Value::None))?;
    let (start, stop) = match second {
        Some(stop) => (first, expect_int(&stop)?),
        None => (0, first),
    };
    let step = step.as_ref().map_or(Ok(1), expect_int)?;
    if step == 0 {
        return Err(Error::runtime("range() arg 3 must not be zero"));
    }
    let length = if step > 0 {
        (stop.saturating_sub(start).max(0).saturating_add(step - 1)) / step
    } else {
        (start.saturating_sub(stop).max(0).saturating_add(-step - 1)) / -step
    };
    if length > MAX_RANGE {
        return Err(Error::new(
            crate::ErrorKind::Budget,
            format!("Range too big. The sandbox blocks ranges larger than {MAX_RANGE}."),
        ));
    }
    state.charge_items(length as usize / 4)?;
    Ok(Value::object(Range { start, stop, step, length }))
}

/// `range(...)`: computed, not stored.
#[derive(Debug)]
struct Range {
    start: i128,
    stop: i128,
    step: i128,
    length: i128,
}

impl Object for Range {
    fn type_name(&self) -> &str {
        "range"
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        let at = key.as_int()?;
        let at = if at < 0 { at + self.length } else { at };
        (0..self.length).contains(&at).then(|| Value::Int(self.start + at * self.step))
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some((0..self.length).map(|at| Value::Int(self.start + at * self.step)).collect())
    }

    fn is_iterable(&self) -> bool {
        true
    }

    fn len(&self) -> Option<usize> {
        Some(self.length as usize)
    }

    fn is_sequence(&self) -> bool {
        true
    }

    fn contains(&self, value: &Value) -> Option<bool> {
        let number = value.as_int()?;
        let offset = number.checked_sub(self.start)?;
        Some(offset % self.step == 0 && (0..self.length).contains(&(offset / self.step)))
    }

    fn equals(&self, other: &Value) -> bool {
        other.downcast::<Range>().is_some_and(|other| {
            self.length == other.length
                && (self.length == 0 || self.start == other.start)
                && (self.length < 2 || self.step == other.step)
        })
    }

    fn repr(&self) -> String {
        if self.step == 1 {
            format!("range({}, {})", self.start, self.stop)
        } else {
            format!("range({}, {}, {})", self.start, self.stop, self.step)
        }
    }
}

fn make_dict(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let made = Dict::new();
    if args.positional().len() > 1 {
        return Err(Error::type_error(format!(
            "dict expected at most 1 argument, got {}",
            args.positional().len()
        )));
    }
    if let Some(other) = args.positional().first() {
        if let Value::Undefined(undefined) = other {
            return Err(undefined.error());
        }
        dict::update(&made, other, state)?;
    }
    for (key, value) in args.keyword() {
        made.insert_str(key, value.clone());
    }
    Ok(Value::Dict(made))
}

fn make_set(values: &Value) -> Result<Value, Error> {
    Ok(Value::object(Set::from_values(values.items()?)?))
}

fn zip(values: &[Value], state: &mut State<'_>) -> Result<Value, Error> {
    let mut columns = Vec::with_capacity(values.len());
    for value in values {
        columns.push(value.items()?);
    }
    let length = columns.iter().map(Vec::len).min().unwrap_or(0);
    state.charge_items(length.saturating_mul(columns.len()))?;
    let rows = (0..length)
        .map(|row| Value::tuple(columns.iter().map(|column| column[row].clone())))
        .collect();
    Ok(Generator::value("zip", rows))
}

/// dbt's `diff_of_two_dicts`: what `dict_a` has and `dict_b` has not, in lower case.
fn diff_of_two_dicts(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [first, second] = args.bind("diff_of_two_dicts", ["dict_a", "dict_b"], 2)?;
    let mut lower = |value: Option<Value>| -> Result<Vec<(String, Vec<Value>)>, Error> {
        let value = value.unwrap_or(Value::None);
        let dict = dict::from_mapping(&value, state)
            .ok_or_else(|| Error::type_error("diff_of_two_dicts() takes two dicts"))?;
        let mut entries = Vec::new();
        for (key, values) in dict.entries() {
            let values = values
                .items()?
                .into_iter()
                .map(|value| Value::from(value.to_string().to_lowercase()))
                .collect();
            entries.push((key.to_string().to_lowercase(), values));
        }
        Ok(entries)
    };
    let (first, second) = (lower(first)?, lower(second)?);
    let difference = Dict::new();
    for (key, values) in first {
        match second.iter().find(|(known, _)| *known == key) {
            None => difference.insert_str(&key, Value::list(values)),
            Some((_, others)) => {
                let mut rest: Vec<Value> = Vec::new();
                for value in values {
                    if !others.contains(&value) && !rest.contains(&value) {
                        rest.push(value);
                    }
                }
                if !rest.is_empty() {
                    difference.insert_str(&key, Value::list(rest));
                }
            }
        }
    }
    Ok(Value::Dict(difference))
}

/// `namespace(...)`: attributes that `{% set ns.name = value %}` changes, from any scope.
struct Namespace(Dict);

fn namespace(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let Value::Dict(dict) = make_dict(args, state)? else { return Ok(Value::None) };
    Ok(Value::object(Namespace(dict)))
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Namespace")
    }
}

impl Object for Namespace {
    fn type_name(&self) -> &str {
        "Namespace"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self.0.get_str(name)
    }

    fn set_attr(&self, name: &str, value: Value) -> Result<(), Error> {
        self.0.insert_str(name, value);
        Ok(())
    }

    fn repr(&self) -> String {
        format!("<Namespace {}>", Value::Dict(self.0.clone()).repr())
    }
}

/// `cycler('odd', 'even')`.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: Mutex<usize>,
}

fn cycler(args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    if args.positional().is_empty() {
        return Err(Error::runtime("at least one item has to be provided"));
    }
    Ok(Value::object(Cycler { items: args.positional().to_vec(), at: Mutex::new(0) }))
}

impl Cycler {
    fn at(&self) -> MutexGuard<'_, usize> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cycler {
    fn drop(&mut self) {
        discard(self.items.drain(..));
    }
}

impl Object for Cycler {
    fn type_name(&self) -> &str {
        "Cycler"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        match name {
            "current" => Some(self.items[*self.at()].clone()),
            "items" => Some(Value::tuple(self.items.iter().cloned())),
            "pos" => Some(Value::from(*self.at())),
            _ => None,
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        &["next", "reset"]
    }

    fn call_method(
        &self,
        name: &str,
        _args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        let mut at = self.at();
        match name {
            "next" => {
                let current = self.items[*at].clone();
                *at = (*at + 1) % self.items.len();
                Some(Ok(current))
            }
            "reset" => {
                *at = 0;
                Some(Ok(Value::None))
            }
            _ => None,
        }
    }
}

/// `joiner(', ')`: empty the first time it is called, its text from then on.
#[derive(Debug)]
struct Joiner {
    separator: Value,
    used: Mutex<bool>,
}

fn joiner(args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [separator] = args.bind("joiner", ["sep"], 0)?;
    let separator = separator.unwrap_or_else(|| Value::str(", "));
    Ok(Value::object(Joiner { separator, used: Mutex::new(false) }))
}

impl Drop for Joiner {
    fn drop(&mut self) {
        discard([std::mem::replace(&mut self.separator, Value::None)]);
    }
}

impl Object for Joiner {
    fn type_name(&self) -> &str {
        "Joiner"
    }

    fn is_callable(&self) -> bool {
        true
    }

    fn call(&self, _args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *used, true) {
            return Ok(self.separator.clone());
        }
        Ok(Value::str(""))
    }
}

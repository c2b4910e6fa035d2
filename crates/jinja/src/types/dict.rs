//! Methods of dicts, and their views.

use crate::error::Error;
use crate::function::Args;
use crate::object::Object;
use crate::state::State;
use crate::value::{Dict, Value};

pub(crate) const METHODS: &[&str] = &[
    "get",
    "items",
    "keys",
    "values",
    "update",
    "setdefault",
    "pop",
    "popitem",
    "copy",
    "clear",
    "fromkeys",
];

pub(crate) fn call(
    dict: &Dict,
    name: &str,
    args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    Ok(match name {
        "get" => {
            let [key, default] = args.bind("get", ["key", "default"], 1)?;
            dict.get(&key.unwrap_or(Value::None))?.or(default).unwrap_or(Value::None)
        }
        "items" => view(dict, Part::Items, args)?,
        "keys" => view(dict, Part::Keys, args)?,
        "values" => view(dict, Part::Values, args)?,
        "update" => {
            if args.positional().len() > 1 {
                return Err(Error::type_error(format!(
                    "update expected at most 1 argument, got {}",
                    args.positional().len()
                )));
            }
            if let Some(other) = args.positional().first() {
                update(dict, other, state)?;
            }
            for (key, value) in args.keyword() {
                dict.insert_str(key, value.clone());
            }
            Value::None
        }
        "setdefault" => {
            let [key, default] = args.bind("setdefault", ["key", "default"], 1)?;
            let key = key.unwrap_or(Value::None);
            match dict.get(&key)? {
                Some(value) => value,
                None => {
                    let value = default.unwrap_or(Value::None);
                    dict.insert(key, value.clone())?;
                    value
                }
            }
        }
        "pop" => {
            let [key, default] = args.bind("pop", ["key", "default"], 1)?;
            let key = key.unwrap_or(Value::None);
            match dict.remove(&key)?.or(default) {
                Some(value) => value,
                None => return Err(Error::runtime(format!("KeyError: {}", key.repr()))),
            }
        }
        "popitem" => match dict.lock().pop() {
            Some((key, value)) => Value::tuple([key.0, value]),
            None => return Err(Error::runtime("KeyError: 'popitem(): dictionary is empty'")),
        },
        "copy" => Value::Dict(dict.copy()),
        "clear" => {
            let entries = std::mem::take(&mut *dict.lock());
            drop(entries);
            Value::None
        }
        "fromkeys" => {
            let [keys, value] = args.bind("fromkeys", ["iterable", "value"], 1)?;
            let made = Dict::new();
            for key in keys.unwrap_or(Value::None).items()? {
                made.insert(key, value.clone().unwrap_or(Value::None))?;
            }
            Value::Dict(made)
        }
        _ => return Err(Error::undefined(format!("'dict object' has no attribute '{name}'"))),
    })
}

/// `dict.update(other)`: a mapping, or pairs.
pub(crate) fn update(dict: &Dict, other: &Value, state: &mut State<'_>) -> Result<(), Error> {
    if let Some(mapping) = from_mapping(other, state) {
        let entries = mapping.entries();
        state.charge_items(entries.len())?;
        for (key, value) in entries {
            dict.insert(key, value)?;
        }
        return Ok(());
    }
    for (index, pair) in other.items()?.into_iter().enumerate() {
        let Ok(parts) = pair.items() else {
            return Err(Error::type_error(format!(
                "cannot convert dictionary update sequence element #{index} to a sequence"
            )));
        };
        let [key, value] = <[Value; 2]>::try_from(parts).map_err(|parts| {
            Error::runtime(format!(
                "dictionary update sequence element #{index} has length {}; 2 is required",
                parts.len()
            ))
        })?;
        state.charge_items(1)?;
        dict.insert(key, value)?;
    }
    Ok(())
}

/// A mapping as a dict: the dict itself, or the keys and items of an object that says it is one.
pub(crate) fn from_mapping(value: &Value, state: &mut State<'_>) -> Option<Dict> {
    match value {
        Value::Dict(dict) => Some(dict.clone()),
        Value::Object(object) if object.is_mapping() => {
            let dict = Dict::new();
            for key in object.iterate()? {
                let item = object.get_item(&key, state).unwrap_or(Value::None);
                dict.insert(key, item).ok()?;
            }
            Some(dict)
        }
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Items,
    Keys,
    Values,
}

/// `dict.items()` and its like: shows the dict as it is when it is gone through.
#[derive(Debug)]
struct View {
    dict: Dict,
    part: Part,
}

fn view(dict: &Dict, part: Part, args: &Args) -> Result<Value, Error> {
    if !args.positional().is_empty() || !args.keyword().is_empty() {
        let name = match part {
            Part::Items => "items",
            Part::Keys => "keys",
            Part::Values => "values",
        };
        return Err(Error::type_error(format!(
            "dict.{name}() takes no arguments ({} given)",
            args.positional().len() + args.keyword().len()
        )));
    }
    Ok(Value::object(View { dict: dict.clone(), part }))
}

impl View {
    fn collect(&self) -> Vec<Value> {
        match self.part {
            Part::Keys => self.dict.keys(),
            Part::Values => self.dict.values(),
            Part::Items => self
                .dict
                .entries()
                .into_iter()
                .map(|(key, value)| Value::tuple([key, value]))
                .collect(),
        }
    }
}

impl Object for View {
    fn type_name(&self) -> &str {
        match self.part {
            Part::Items => "dict_items",
            Part::Keys => "dict_keys",
            Part::Values => "dict_values",
        }
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some(self.collect())
    }

    fn is_iterable(&self) -> bool {
        true
    }

    fn len(&self) -> Option<usize> {
        Some(self.dict.len())
    }

    fn contains(&self, value: &Value) -> Option<bool> {
        match self.part {
            Part::Keys => Some(self.dict.contains(value).unwrap_or(false)),
            _ => None,
        }
    }

    fn equals(&self, other: &Value) -> bool {
        let same = |mut left: Vec<Value>, right: Vec<Value>| {
            left.len() == right.len()
                && right.iter().all(|item| {
                    left.iter()
                        .position(|known| known == item)
                        .map(|at| left.swap_remove(at))
                        .is_some()
                })
        };
        match other.downcast::<View>() {
            Some(other) if other.part == self.part && self.part != Part::Values => {
                same(self.collect(), other.collect())
            }
            _ => match other.downcast::<super::set::Set>() {
                Some(set) if self.part != Part::Values => same(self.collect(), set.values()),
                _ => false,
            },
        }
    }

    fn operate(
        &self,
        symbol: &str,
        other: &Value,
        reflected: bool,
    ) -> Option<Result<Value, Error>> {
        if symbol != "-" || self.part == Part::Values || reflected {
            return None;
        }
        let set = super::set::Set::from_values(self.collect());
        Some(set.and_then(|set| set.difference(other)))
    }

    fn is_hashable(&self) -> bool {
        false
    }

    fn repr(&self) -> String {
        format!("{}({})", self.type_name(), Value::list(self.collect()).repr())
    }
}

impl std::fmt::Debug for Dict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Value::Dict(self.clone()).repr())
    }
}

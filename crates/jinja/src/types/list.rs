//! Methods of lists and tuples.

use crate::error::Error;
use crate::function::{Args, expect_int};
use crate::state::State;
use crate::value::{List, Value, sort_with_keys};

pub(crate) const METHODS: &[&str] = &[
    "append", "extend", "insert", "remove", "pop", "clear", "index", "count", "sort", "reverse",
    "copy",
];

pub(crate) const TUPLE_METHODS: &[&str] = &["index", "count"];

pub(crate) fn call(
    list: &List,
    name: &str,
    args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    match name {
        "append" => {
            let [value] = args.bind("list.append", ["object"], 1)?;
            list.push(value.unwrap_or(Value::None));
        }
        "extend" => {
            let [values] = args.bind("list.extend", ["iterable"], 1)?;
            let items = values.unwrap_or(Value::None).items()?;
            state.charge_items(items.len())?;
            list.lock().extend(items);
        }
        "insert" => {
            let [index, value] = args.bind("insert", ["index", "object"], 2)?;
            let index = expect_int(&index.unwrap_or(Value::None))?;
            let mut items = list.lock();
            let length = items.len() as i128;
            let at = if index < 0 { (index + length).max(0) } else { index.min(length) };
            items.insert(at as usize, value.unwrap_or(Value::None));
        }
        "remove" => {
            let [value] = args.bind("list.remove", ["value"], 1)?;
            let value = value.unwrap_or(Value::None);
            let Some(at) = list.to_vec().iter().position(|item| *item == value) else {
                return Err(Error::runtime("list.remove(x): x not in list"));
            };
            let mut items = list.lock();
            // The lock was released while comparing: another thread may have shortened the list.
            if at < items.len() {
                let removed = items.remove(at);
                drop(items);
                drop(removed);
            }
        }
        "pop" => {
            let [index] = args.bind("pop", ["index"], 0)?;
            let mut items = list.lock();
            if items.is_empty() {
                return Err(Error::runtime("pop from empty list"));
            }
            let length = items.len() as i128;
            let index = index.as_ref().map_or(Ok(-1), expect_int)?;
            let at = if index < 0 { index + length } else { index };
            if at < 0 || at >= length {
                return Err(Error::runtime("pop index out of range"));
            }
            return Ok(items.remove(at as usize));
        }
        "clear" => {
            let items = std::mem::take(&mut *list.lock());
            drop(items);
        }
        "sort" => {
            let [key, reverse] = args.bind("sort", ["key", "reverse"], 0)?;
            let items = list.to_vec();
            state.charge_items(items.len().saturating_mul(4))?;
            let mut keyed = Vec::with_capacity(items.len());
            for item in items {
                let by = match &key {
                    Some(key) if !key.is_none() => {
                        key.call(&Args::positional_only([item.clone()]), state)?
                    }
                    _ => item.clone(),
                };
                keyed.push((by, item));
            }
            sort_with_keys(&mut keyed, reverse.is_some_and(|flag| flag.is_true()))?;
            let sorted = keyed.into_iter().map(|(_, item)| item).collect();
            let before = std::mem::replace(&mut *list.lock(), sorted);
            drop(before);
        }
        "reverse" => list.lock().reverse(),
        "copy" => return Ok(Value::List(List::new(list.to_vec()))),
        _ => return search(&list.to_vec(), name, args, "list"),
    }
    Ok(Value::None)
}

pub(crate) fn call_tuple(items: &[Value], name: &str, args: &Args) -> Result<Value, Error> {
    search(items, name, args, "tuple")
}

/// `index` and `count`.
fn search(items: &[Value], name: &str, args: &Args, kind: &str) -> Result<Value, Error> {
    let [value, start, stop] = args.bind(name, ["value", "start", "stop"], 1)?;
    let value = value.unwrap_or(Value::None);
    if name == "count" {
        return Ok(Value::from(items.iter().filter(|item| **item == value).count()));
    }
    let bound = |at: Option<Value>, default: usize| -> Result<usize, Error> {
        let Some(at) = at else { return Ok(default) };
        let at = expect_int(&at)?;
        let at = if at < 0 { (at + items.len() as i128).max(0) } else { at };
        Ok((at as usize).min(items.len()))
    };
    let (start, stop) = (bound(start, 0)?, bound(stop, items.len())?);
    items
        .iter()
        .enumerate()
        .take(stop)
        .skip(start)
        .find(|(_, item)| **item == value)
        .map(|(at, _)| Value::from(at))
        .ok_or_else(|| match kind {
            "list" => Error::runtime(format!("{} is not in list", value.repr())),
            _ => Error::runtime("tuple.index(x): x not in tuple"),
        })
}

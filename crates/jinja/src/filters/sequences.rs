//! Filters on sequences.

use std::cmp::Ordering;

use super::Getter;
use crate::error::Error;
use crate::function::{Args, expect_int};
use crate::state::State;
use crate::types::generator::Generator;
use crate::value::{
    BinaryOp, Items, Key, Undefined, Value, binary, compare, push_str, sort_with_keys,
};

fn counted(value: &Value, state: &mut State<'_>) -> Result<Vec<Value>, Error> {
    let items = value.items()?;
    state.charge_items(items.len())?;
    Ok(items)
}

pub(super) fn length(value: &Value, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [] = args.bind("len", [], 0)?;
    value.len().map(Value::from).ok_or_else(|| {
        Error::type_error(format!("object of type '{}' has no len()", value.type_name()))
    })
}

pub(super) fn list(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [] = args.bind("list", [], 0)?;
    Ok(Value::list(counted(value, state)?))
}

pub(super) fn first(value: &Value, _args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    Ok(value.iter()?.next().unwrap_or_else(|| missing("No first item, sequence was empty.")))
}

pub(super) fn last(value: &Value, _args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    if value.downcast::<Generator>().is_some() {
        return Err(Error::type_error(format!("'{}' object is not reversible", value.type_name()))
            .with_hint("make it a list first: `| list | last`"));
    }
    Ok(counted(value, state)?.pop().unwrap_or_else(|| missing("No last item, sequence was empty.")))
}

fn missing(message: &str) -> Value {
    Value::Undefined(Undefined::with_message(message))
}

pub(super) fn random(value: &Value, _args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let items = counted(value, state)?;
    if items.is_empty() {
        return Ok(missing("No random item, sequence was empty."));
    }
    let at = state.host().random(items.len());
    Ok(items[at.min(items.len() - 1)].clone())
}

pub(super) fn join(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [separator, attribute] = args.bind("do_join", ["d", "attribute"], 0)?;
    let separator = separator.map_or_else(String::new, |separator| separator.to_string());
    let getter = Getter::new(attribute.as_ref(), None, false);
    let limit = state.budget().output_bytes;
    let mut out = String::new();
    for (index, item) in value.iter()?.enumerate() {
        if index > 0 {
            out.push_str(&separator);
        }
        let item = getter.get(&item, state)?;
        push_str(&mut out, &item);
        if out.len() > limit {
            break;
        }
    }
    state.charge_text(out.len())?;
    Ok(Value::from(out))
}

pub(super) fn reverse(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [] = args.bind("do_reverse", [], 0)?;
    if let Value::Str(text) = value {
        return Ok(Value::from(text.chars().rev().collect::<String>()));
    }
    let mut items =
        counted(value, state).map_err(|_| Error::type_error("argument must be iterable"))?;
    items.reverse();
    Ok(Generator::value(
        match value {
            Value::List(_) => "list_reverseiterator",
            _ => "reversed",
        },
        items,
    ))
}

pub(super) fn sort(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [reverse, case_sensitive, attribute] =
        args.bind("do_sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let ignore_case = !case_sensitive.is_some_and(|flag| flag.is_true());
    let getters: Vec<Getter> = match &attribute {
        Some(Value::Str(paths)) => paths
            .split(',')
            .map(|path| Getter::new(Some(&Value::str(path)), None, ignore_case))
            .collect(),
        other => vec![Getter::new(other.as_ref(), None, ignore_case)],
    };
    let items = counted(value, state)?;
    state.charge_items(items.len().saturating_mul(4))?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        let key = if let [getter] = getters.as_slice() {
            getter.get(&item, state)?
        } else {
            let mut parts = Vec::with_capacity(getters.len());
            for getter in &getters {
                parts.push(getter.get(&item, state)?);
            }
            Value::list(parts)
        };
        keyed.push((key, item));
    }
    sort_with_keys(&mut keyed, reverse.is_some_and(|flag| flag.is_true()))?;
    Ok(Value::list(keyed.into_iter().map(|(_, item)| item)))
}

pub(super) fn unique(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [case_sensitive, attribute] = args.bind("do_unique", ["case_sensitive", "attribute"], 0)?;
    let ignore_case = !case_sensitive.is_some_and(|flag| flag.is_true());
    let getter = Getter::new(attribute.as_ref(), None, ignore_case);
    let mut seen = Items::new();
    let mut kept = Vec::new();
    for item in counted(value, state)? {
        let key = Key::new(getter.get(&item, state)?)?;
        if seen.insert(key) {
            kept.push(item);
        }
    }
    Ok(Generator::value("generator", kept))
}

pub(super) fn min(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    extreme(value, args, state, "do_min", Ordering::Less)
}

pub(super) fn max(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    extreme(value, args, state, "do_max", Ordering::Greater)
}

fn extreme(
    value: &Value,
    args: &Args,
    state: &mut State<'_>,
    name: &str,
    wanted: Ordering,
) -> Result<Value, Error> {
    let [case_sensitive, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
    let ignore_case = !case_sensitive.is_some_and(|flag| flag.is_true());
    let getter = Getter::new(attribute.as_ref(), None, ignore_case);
    let symbol = if wanted == Ordering::Less { "<" } else { ">" };
    let mut best: Option<(Value, Value)> = None;
    for item in counted(value, state)? {
        let key = getter.get(&item, state)?;
        let better = match &best {
            None => true,
            Some((known, _)) => compare(&key, known, symbol)? == Some(wanted),
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| missing("No aggregated item, sequence was empty."), |(_, item)| item))
}

pub(super) fn sum(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [attribute, start] = args.bind("do_sum", ["attribute", "start"], 0)?;
    let getter = Getter::new(attribute.as_ref(), None, false);
    let mut total = start.unwrap_or(Value::Int(0));
    if let Value::Str(_) = total {
        return Err(Error::type_error("sum() can't sum strings [use ''.join(seq) instead]"));
    }
    for item in counted(value, state)? {
        let item = getter.get(&item, state)?;
        total = binary(BinaryOp::Add, &total, &item, state)?;
    }
    Ok(total)
}

pub(super) fn batch(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [size, fill] = args.bind("do_batch", ["linecount", "fill_with"], 1)?;
    let size = expect_int(&size.unwrap_or(Value::None))?;
    let size = usize::try_from(size).unwrap_or(0);
    let mut batches = Vec::new();
    let mut current: Vec<Value> = Vec::new();
    for item in counted(value, state)? {
        if current.len() == size && (size > 0 || !batches.is_empty()) {
            batches.push(std::mem::take(&mut current));
        }
        current.push(item);
    }
    if !current.is_empty() {
        if let Some(fill) = fill.filter(|fill| !fill.is_none()) {
            state.charge_items(size.saturating_sub(current.len()))?;
            while current.len() < size {
                current.push(fill.clone());
            }
        }
        batches.push(current);
    }
    Ok(Generator::value("generator", batches.into_iter().map(Value::list).collect()))
}

pub(super) fn slice(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [slices, fill] = args.bind("do_slice", ["slices", "fill_with"], 1)?;
    let slices = expect_int(&slices.unwrap_or(Value::None))?;
    let Some(slices) = usize::try_from(slices).ok().filter(|slices| *slices > 0) else {
        return if slices == 0 {
            Err(Error::runtime("integer division or modulo by zero"))
        } else {
            Ok(Generator::value("generator", Vec::new()))
        };
    };
    let items = counted(value, state)?;
    state.charge_items(slices)?;
    let (each, extra) = (items.len() / slices, items.len() % slices);
    let fill = fill.filter(|fill| !fill.is_none());
    let mut at = 0;
    let mut parts = Vec::new();
    for number in 0..slices {
        let length = each + usize::from(number < extra);
        let mut part = items[at..at + length].to_vec();
        at += length;
        if let (Some(fill), true) = (&fill, number >= extra) {
            part.push(fill.clone());
        }
        parts.push(Value::list(part));
    }
    Ok(Generator::value("generator", parts))
}

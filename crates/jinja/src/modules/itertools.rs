//! `modules.itertools`.

use super::{Class, Module};
use crate::error::Error;
use crate::function::{Args, expect_int};
use crate::object::Object;
use crate::state::State;
use crate::types::generator::Generator;
use crate::value::{BinaryOp, Value, binary, discard};

/// `modules.itertools`.
pub(super) fn module() -> Value {
    Module::new("itertools")
        .value(
            "chain",
            Class::new("itertools.chain", |args, state| chain(args.positional(), state))
                .function("from_iterable", |args, state| {
                    let [lists] = args.bind("from_iterable", ["iterable"], 1)?;
                    chain(&lists.unwrap_or(Value::None).items()?, state)
                })
                .done(),
        )
        .function("product", product)
        .function("zip_longest", zip_longest)
        .function("combinations", |a, s| choose("combinations", a, s, Order::Ascending, false))
        .function("combinations_with_replacement", |a, s| {
            choose("combinations_with_replacement", a, s, Order::Ascending, true)
        })
        .function("permutations", |a, s| choose("permutations", a, s, Order::Any, false))
        .function("islice", islice)
        .function("groupby", groupby)
        .function("accumulate", accumulate)
        .function("repeat", repeat)
        .function("count", |args, _| {
            let [start, step] = args.bind("count", ["start", "step"], 0)?;
            Ok(Value::object(Endless::Count(
                start.unwrap_or(Value::Int(0)),
                step.unwrap_or(Value::Int(1)),
            )))
        })
        .function("cycle", |args, _| {
            let [items] = args.bind("cycle", ["iterable"], 1)?;
            Ok(Value::object(Endless::Cycle(items.unwrap_or(Value::None).items()?)))
        })
        .function("starmap", |args, state| {
            let [function, items] = args.bind("starmap", ["function", "iterable"], 2)?;
            let function = function.unwrap_or(Value::None);
            let mut out = Vec::new();
            for item in items.unwrap_or(Value::None).items()? {
                out.push(function.call(&Args::positional_only(item.items()?), state)?);
            }
            Ok(Generator::value("itertools.starmap", out))
        })
        .function("compress", |args, _| {
            let [data, selectors] = args.bind("compress", ["data", "selectors"], 2)?;
            let selectors = selectors.unwrap_or(Value::None).items()?;
            let data = data.unwrap_or(Value::None).items()?;
            let kept = data.into_iter().zip(selectors).filter(|(_, keep)| keep.is_true());
            Ok(Generator::value("itertools.compress", kept.map(|(item, _)| item).collect()))
        })
        .function("pairwise", |args, _| {
            let [items] = args.bind("pairwise", ["iterable"], 1)?;
            let items = items.unwrap_or(Value::None).items()?;
            let pairs = items.windows(2).map(|pair| Value::tuple(pair.iter().cloned()));
            Ok(Generator::value("itertools.pairwise", pairs.collect()))
        })
        .function("filterfalse", |a, s| by_predicate("filterfalse", a, s))
        .function("takewhile", |a, s| by_predicate("takewhile", a, s))
        .function("dropwhile", |a, s| by_predicate("dropwhile", a, s))
        .function("tee", |args, _| {
            let [items, times] = args.bind("tee", ["iterable", "n"], 1)?;
            let items = items.unwrap_or(Value::None).items()?;
            let times = times.as_ref().map_or(Ok(2), expect_int)?.clamp(0, 1000);
            Ok(Value::tuple((0..times).map(|_| Generator::value("itertools._tee", items.clone()))))
        })
        .done()
}

fn chain(lists: &[Value], state: &mut State<'_>) -> Result<Value, Error> {
    let mut out = Vec::new();
    for list in lists {
        let items = list.items()?;
        state.charge_items(items.len())?;
        out.extend(items);
    }
    Ok(Generator::value("itertools.chain", out))
}

fn product(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let repeat = args.get_keyword("repeat").map_or(Ok(1), expect_int)?;
    if repeat < 0 {
        return Err(Error::runtime("repeat argument cannot be negative"));
    }
    let mut pools = Vec::new();
    for list in args.positional() {
        pools.push(list.items()?);
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for _ in 0..repeat {
        for pool in &pools {
            let size = rows.len().saturating_mul(pool.len());
            state.charge_items(size.saturating_mul(rows.first().map_or(1, Vec::len) + 1))?;
            let mut longer = Vec::with_capacity(size);
            for row in &rows {
                for item in pool {
                    let mut row = row.clone();
                    row.push(item.clone());
                    longer.push(row);
                }
            }
            rows = longer;
        }
    }
    Ok(Generator::value("itertools.product", rows.into_iter().map(Value::tuple).collect()))
}

fn zip_longest(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let fill = args.get_keyword("fillvalue").cloned().unwrap_or(Value::None);
    let mut columns = Vec::new();
    for list in args.positional() {
        columns.push(list.items()?);
    }
    let length = columns.iter().map(Vec::len).max().unwrap_or(0);
    state.charge_items(length.saturating_mul(columns.len()))?;
    let rows = (0..length).map(|row| {
        Value::tuple(columns.iter().map(|column| column.get(row).unwrap_or(&fill).clone()))
    });
    Ok(Generator::value("itertools.zip_longest", rows.collect()))
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Ascending,
    Any,
}

/// Picks of `r` positions in lexicographic order.
fn choose(
    name: &'static str,
    args: &Args,
    state: &mut State<'_>,
    order: Order,
    again: bool,
) -> Result<Value, Error> {
    let required = if order == Order::Any { 1 } else { 2 };
    let [items, size] = args.bind(name, ["iterable", "r"], required)?;
    let items = items.unwrap_or(Value::None).items()?;
    let size = match size {
        None | Some(Value::None) => items.len() as i128,
        Some(size) => expect_int(&size)?,
    };
    let size = usize::try_from(size).map_err(|_| Error::runtime("r must be non-negative"))?;
    let mut rows = Vec::new();
    if size <= items.len() || again {
        state.charge_items(size)?;
        let mut picked = Vec::with_capacity(size);
        pick(&items, size, order, again, &mut picked, &mut rows, state)?;
    }
    Ok(Generator::value("itertools", rows))
}

/// Walks all picks without recursion: `picked` holds positions.
fn pick(
    items: &[Value],
    size: usize,
    order: Order,
    again: bool,
    picked: &mut Vec<usize>,
    rows: &mut Vec<Value>,
    state: &mut State<'_>,
) -> Result<(), Error> {
    let mut next = 0;
    loop {
        if picked.len() == size {
            state.charge_items(size + 1)?;
            rows.push(Value::tuple(picked.iter().map(|at| items[*at].clone())));
        } else if let Some(at) =
            (next..items.len()).find(|at| order == Order::Ascending || !picked.contains(at))
        {
            state.charge(1)?;
            picked.push(at);
            next = match order {
                Order::Ascending => at + usize::from(!again),
                Order::Any => 0,
            };
            continue;
        }
        match picked.pop() {
            Some(at) => next = at + 1,
            None => return Ok(()),
        }
    }
}

/// `count` and `cycle`: only `islice` takes a part of them.
#[derive(Debug)]
enum Endless {
    Count(Value, Value),
    Cycle(Vec<Value>),
}

impl Drop for Endless {
    fn drop(&mut self) {
        let take = |value: &mut Value| std::mem::replace(value, Value::None);
        match self {
            Endless::Count(start, step) => discard([take(start), take(step)]),
            Endless::Cycle(items) => discard(items.drain(..)),
        }
    }
}

impl Object for Endless {
    fn type_name(&self) -> &str {
        match self {
            Endless::Count(..) => "itertools.count (endless; take a part with islice)",
            Endless::Cycle(_) => "itertools.cycle (endless; take a part with islice)",
        }
    }

    fn is_true(&self) -> bool {
        true
    }
}

fn islice(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [items, first, second, step] =
        args.bind("islice", ["iterable", "start", "stop", "step"], 2)?;
    let bound = |value: Option<Value>| -> Result<Option<usize>, Error> {
        match value {
            None | Some(Value::None) => Ok(None),
            Some(value) => usize::try_from(expect_int(&value)?).map(Some).map_err(|_| {
                Error::runtime(
                    "Indices for islice() must be None or an integer: 0 <= x <= sys.maxsize.",
                )
            }),
        }
    };
    let has_start = second.is_some();
    let (first, second) = (bound(first)?, bound(second)?);
    let (start, stop) = if has_start { (first.unwrap_or(0), second) } else { (0, first) };
    let step = bound(step)?.unwrap_or(1);
    if step == 0 {
        return Err(Error::runtime("Step for islice() must be a positive integer or None."));
    }
    let items = items.unwrap_or(Value::None);
    let endless = items.downcast::<Endless>();
    let all = match endless {
        Some(_) => Vec::new(),
        None => items.items()?,
    };
    let stop = match (stop, endless) {
        (Some(stop), Some(_)) => stop,
        (None, Some(_)) => {
            return Err(Error::runtime("islice() of an endless iterator needs a stop"));
        }
        (stop, None) => stop.unwrap_or(all.len()).min(all.len()),
    };
    let mut out = Vec::new();
    let mut at = start;
    while at < stop {
        state.charge(1)?;
        out.push(match endless {
            None => all[at].clone(),
            Some(Endless::Cycle(cycle)) if cycle.is_empty() => break,
            Some(Endless::Cycle(cycle)) => cycle[at % cycle.len()].clone(),
            Some(Endless::Count(first, step)) => {
                let offset = binary(BinaryOp::Mul, &Value::from(at), step, state)?;
                binary(BinaryOp::Add, first, &offset, state)?
            }
        });
        at += step;
    }
    Ok(Generator::value("itertools.islice", out))
}

fn groupby(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [items, key] = args.bind("groupby", ["iterable", "key"], 1)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in items.unwrap_or(Value::None).items()? {
        state.charge(1)?;
        let by = match &key {
            Some(key) if !key.is_none() => {
                key.call(&Args::positional_only([item.clone()]), state)?
            }
            _ => item.clone(),
        };
        match groups.last_mut() {
            Some((known, members)) if *known == by => members.push(item),
            _ => groups.push((by, vec![item])),
        }
    }
    let pairs = groups
        .into_iter()
        .map(|(key, members)| Value::tuple([key, Generator::value("itertools._grouper", members)]));
    Ok(Generator::value("itertools.groupby", pairs.collect()))
}

fn accumulate(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [items, function, initial] = args.bind("accumulate", ["iterable", "func", "initial"], 1)?;
    let function = function.filter(|function| !function.is_none());
    let mut total = initial.filter(|initial| !initial.is_none());
    let mut out: Vec<Value> = total.iter().cloned().collect();
    for item in items.unwrap_or(Value::None).items()? {
        let next = match (&total, &function) {
            (None, _) => item,
            (Some(total), None) => binary(BinaryOp::Add, total, &item, state)?,
            (Some(total), Some(function)) => {
                function.call(&Args::positional_only([total.clone(), item]), state)?
            }
        };
        out.push(next.clone());
        total = Some(next);
    }
    Ok(Generator::value("itertools.accumulate", out))
}

fn repeat(args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [item, times] = args.bind("repeat", ["object", "times"], 1)?;
    let item = item.unwrap_or(Value::None);
    let Some(times) = times else { return Ok(Value::object(Endless::Cycle(vec![item]))) };
    let times = usize::try_from(expect_int(&times)?).unwrap_or(0);
    state.charge_items(times)?;
    Ok(Generator::value("itertools.repeat", vec![item; times]))
}

fn by_predicate(name: &'static str, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [predicate, items] = args.bind(name, ["predicate", "iterable"], 2)?;
    let predicate = predicate.unwrap_or(Value::None);
    let mut kept = Vec::new();
    let mut open = true;
    for item in items.unwrap_or(Value::None).items()? {
        let holds = if predicate.is_none() {
            item.is_true()
        } else {
            predicate.call(&Args::positional_only([item.clone()]), state)?.is_true()
        };
        match name {
            "filterfalse" if !holds => kept.push(item),
            "takewhile" if !holds => break,
            "takewhile" => kept.push(item),
            "dropwhile" => {
                open &= holds;
                if !open {
                    kept.push(item);
                }
            }
            _ => {}
        }
    }
    Ok(Generator::value("itertools", kept))
}

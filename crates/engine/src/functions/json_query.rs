//! `jsonb_path_query` and its like: values that a path of the SQL standard's language reaches
//! (`$.items[*] ? (@.price > 10).name`).
//!
//! A path is read by [`path`] and walked here. In `lax` mode (the usual one) a list is taken apart where an
//! object is wanted, a scalar is a list of one item where a list is, and what is not there gives nothing; in
//! `strict` mode each of these is an error.

mod path;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListBuilder, StringViewBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use self::path::{Comparison, Condition, Path, Place, Step, Sum, Value};
use super::document::{Document, Part, Shape, quoted};
use super::json::texts;
use super::simple::{Kind, Simple, arity, bad_value, text, text_at};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function(
            "tidemill_json_found",
            takes,
            |_, _| Ok(texts()),
            |args, _| {
                let mut out = ListBuilder::new(StringViewBuilder::new())
                    .with_field(Field::new_list_field(DataType::Utf8View, true));
                each(args, |found| {
                    match found {
                        None => out.append_null(),
                        Some(found) => {
                            found?
                                .iter()
                                .for_each(|item| out.values().append_value(item.written()));
                            out.append(true);
                        }
                    }
                    Ok(())
                })?;
                Ok(Arc::new(out.finish()))
            },
        ),
        Simple::json("jsonb_path_query_array", takes, Kind::Jsonb, |args, _| {
            in_text(args, |found| {
                let items: Vec<String> = found.iter().map(Item::written).collect();
                Ok(Some(format!("[{}]", items.join(", "))))
            })
        }),
        Simple::json("jsonb_path_query_first", takes, Kind::Jsonb, |args, _| {
            in_text(args, |found| Ok(found.first().map(Item::written)))
        }),
        Simple::function("jsonb_path_exists", takes, gives_boolean, |args, _| {
            in_booleans(args, |found| Ok(Some(!found.is_empty())))
        }),
        Simple::function("jsonb_path_match", takes, gives_boolean, |args, _| {
            in_booleans(args, |found| match found {
                [Item::Boolean(is)] => Ok(Some(*is)),
                [Item::Part(part)] if part.shape() == Shape::Boolean => {
                    Ok(Some(part.raw() == "true"))
                }
                [Item::Null] => Ok(None),
                [Item::Part(part)] if part.shape() == Shape::Null => Ok(None),
                _ => Err(bad_value("`jsonb_path_match` wants a path that gives one boolean")),
            })
        }),
    ]
}

fn gives_boolean(
    _: &[DataType],
    _: &[Option<&datafusion::common::ScalarValue>],
) -> Result<DataType> {
    Ok(DataType::Boolean)
}

/// A document, a path, the values of its variables, and whether errors give nothing.
fn takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this function of JSON paths", types, 2, 4)?;
    let mut taken = vec![DataType::Utf8View; types.len()];
    if let Some(silent) = taken.get_mut(3) {
        *silent = DataType::Boolean;
    }
    Ok(taken)
}

/// Calls `with` with what is found in each row: `None` where something is NULL.
fn each(
    args: &[ArrayRef],
    mut with: impl FnMut(Option<Result<Vec<Item<'_>>>>) -> Result<()>,
) -> Result<()> {
    let (documents, paths) = (text(&args[0]), text(&args[1]));
    let mut known: Option<(String, Path)> = None;
    for row in 0..documents.len() {
        let variables = match args.get(2) {
            Some(variables) => text_at(text(variables), row),
            None => Some("{}"),
        };
        let (Some(document), Some(written), Some(variables)) =
            (text_at(documents, row), text_at(paths, row), variables)
        else {
            with(None)?;
            continue;
        };
        let silent =
            args.get(3).is_some_and(|flags| flags.is_valid(row) && flags.as_boolean().value(row));
        let path = match &mut known {
            Some((text, path)) if text == written => &*path,
            known => &known.insert((written.to_owned(), path::read(written)?)).1,
        };
        let (document, variables) = (Document::read(document)?, Document::read(variables)?);
        let walk = Walk { root: document.root(), variables: variables.root(), strict: path.strict };
        match walk.values(&path.value, None) {
            Err(_) if silent => with(Some(Ok(Vec::new())))?,
            found => with(Some(found))?,
        }
    }
    Ok(())
}

fn in_text(args: &[ArrayRef], of: fn(&[Item<'_>]) -> Result<Option<String>>) -> Result<ArrayRef> {
    let mut out = StringViewBuilder::with_capacity(args[0].len());
    each(args, |found| {
        out.append_option(match found {
            Some(found) => of(&found?)?,
            None => None,
        });
        Ok(())
    })?;
    Ok(Arc::new(out.finish()))
}

fn in_booleans(args: &[ArrayRef], of: fn(&[Item<'_>]) -> Result<Option<bool>>) -> Result<ArrayRef> {
    let mut all = Vec::with_capacity(args[0].len());
    each(args, |found| {
        all.push(match found {
            Some(found) => of(&found?)?,
            None => None,
        });
        Ok(())
    })?;
    Ok(Arc::new(BooleanArray::from(all)))
}

/// What a path reaches, or computes.
#[derive(Clone)]
enum Item<'d> {
    Part(Part<'d>),
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
}

impl Item<'_> {
    fn shape(&self) -> Shape {
        match self {
            Item::Part(part) => part.shape(),
            Item::Null => Shape::Null,
            Item::Boolean(_) => Shape::Boolean,
            Item::Number(_) => Shape::Number,
            Item::Text(_) => Shape::Text,
        }
    }

    fn written(&self) -> String {
        match self {
            Item::Part(part) => part.normal(),
            Item::Null => "null".to_owned(),
            Item::Boolean(is) => is.to_string(),
            Item::Number(number) => number.to_string(),
            Item::Text(text) => quoted(text),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Item::Part(part) if part.shape() == Shape::Number => part.raw().parse().ok(),
            Item::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Item::Part(part) if part.shape() == Shape::Text => part.text(),
            Item::Text(text) => Some(text),
            _ => None,
        }
    }

    fn boolean(&self) -> Option<bool> {
        match self {
            Item::Part(part) if part.shape() == Shape::Boolean => Some(part.raw() == "true"),
            Item::Boolean(is) => Some(*is),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self.shape() {
            Shape::Null => "null",
            Shape::Boolean => "boolean",
            Shape::Number => "number",
            Shape::Text => "string",
            Shape::List => "array",
            Shape::Object => "object",
        }
    }
}

/// Where a path is walked.
struct Walk<'d> {
    root: Part<'d>,
    variables: Part<'d>,
    strict: bool,
}

/// What a condition is: `None` is unknown.
type Truth = Option<bool>;

impl<'d> Walk<'d> {
    /// `current` is what `@` stands for.
    fn values(&self, value: &Value, current: Option<&Item<'d>>) -> Result<Vec<Item<'d>>> {
        Ok(match value {
            Value::Root => vec![Item::Part(self.root)],
            Value::Current => match current {
                Some(current) => vec![current.clone()],
                None => return Err(bad_value("`@` stands for something in conditions alone")),
            },
            Value::Variable(name) => match self.variables.at(name) {
                Some(part) if self.variables.shape() == Shape::Object => vec![Item::Part(part)],
                _ => {
                    return Err(bad_value(format!(
                        "the variable `{name}` of the path is not given"
                    )));
                }
            },
            Value::Null => vec![Item::Null],
            Value::Boolean(is) => vec![Item::Boolean(*is)],
            Value::Number(number) => vec![Item::Number(*number)],
            Value::Text(text) => vec![Item::Text(text.clone())],
            Value::Condition(condition) => vec![match self.holds(condition, current)? {
                Some(is) => Item::Boolean(is),
                None => Item::Null,
            }],
            Value::Sum(left, sum, right) => {
                let (left, right) = (self.values(left, current)?, self.values(right, current)?);
                vec![Item::Number(computed(&self.apart(left), *sum, &self.apart(right))?)]
            }
            Value::Negated(value) => {
                let values = self.values(value, current)?;
                let negated = self.apart(values).into_iter().map(|item| {
                    let number = item.number().ok_or_else(|| {
                        bad_value("the operand of `-` in a JSON path is no number")
                    })?;
                    Ok(Item::Number(-number))
                });
                negated.collect::<Result<_>>()?
            }
            Value::Walked(start, steps) => {
                let mut found = self.values(start, current)?;
                for step in steps {
                    let mut next = Vec::new();
                    for item in found {
                        self.step(step, &item, current, &mut next)?;
                    }
                    found = next;
                }
                found
            }
        })
    }

    /// Items of lists in the place of the lists, in lax mode.
    fn apart(&self, items: Vec<Item<'d>>) -> Vec<Item<'d>> {
        if self.strict {
            return items;
        }
        items.into_iter().flat_map(|item| listed(&item).unwrap_or_else(|| vec![item])).collect()
    }

    fn lacks<T>(&self, message: impl FnOnce() -> String) -> Result<Option<T>> {
        match self.strict {
            true => Err(bad_value(message())),
            false => Ok(None),
        }
    }

    fn step(
        &self,
        step: &Step,
        item: &Item<'d>,
        current: Option<&Item<'d>>,
        out: &mut Vec<Item<'d>>,
    ) -> Result<()> {
        match step {
            Step::Key(_) | Step::Keys if item.shape() == Shape::List && !self.strict => {
                for inner in listed(item).unwrap_or_default() {
                    if inner.shape() == Shape::Object {
                        self.step(step, &inner, current, out)?;
                    }
                }
            }
            Step::Key(key) => {
                let found = match item {
                    Item::Part(part) if part.shape() == Shape::Object => part.at(key),
                    _ => None,
                };
                let found = match found {
                    Some(found) => Some(found),
                    None => {
                        self.lacks(|| format!("the JSON object does not have the key `{key}`"))?
                    }
                };
                out.extend(found.map(Item::Part));
            }
            Step::Keys => match item {
                Item::Part(part) if part.shape() == Shape::Object => {
                    // In the order of `jsonb`.
                    let mut pairs = part.items().unwrap_or_default();
                    pairs.sort_by_key(|(key, _)| key.map(|key| (key.len(), key.to_owned())));
                    out.extend(pairs.into_iter().map(|(_, value)| Item::Part(value)));
                }
                _ => {
                    self.lacks::<()>(|| "`.*` can be applied to an object alone".to_owned())?;
                }
            },
            Step::Within(least, most) => within(item, 0, (*least, *most), out),
            Step::Places(places) => {
                let items = match listed(item) {
                    Some(items) => items,
                    None if self.strict => {
                        return Err(bad_value("`[…]` can be applied to an array alone"));
                    }
                    None => vec![item.clone()],
                };
                for place in places {
                    self.place(place, &items, current, out)?;
                }
            }
            Step::Filter(condition) => {
                for item in self.apart(vec![item.clone()]) {
                    if self.holds(condition, Some(&item))? == Some(true) {
                        out.push(item);
                    }
                }
            }
            Step::Method(name) => self.method(name, item, out)?,
        }
        Ok(())
    }

    fn place(
        &self,
        place: &Place,
        items: &[Item<'d>],
        current: Option<&Item<'d>>,
        out: &mut Vec<Item<'d>>,
    ) -> Result<()> {
        let last = items.len() as f64 - 1.0;
        let one = |value: &Value| -> Result<f64> {
            let found = self.values(&value.with_last(last), current)?;
            match self.apart(found).as_slice() {
                [item] => item.number().map(f64::trunc),
                _ => None,
            }
            .ok_or_else(|| bad_value("a place in an array is not a single number"))
        };
        let (from, to) = match place {
            Place::All => (0.0, last),
            Place::One(value) => {
                let place = one(value)?;
                (place, place)
            }
            Place::Range(from, to) => (one(from)?, one(to)?),
        };
        if self.strict && (from < 0.0 || from > to || to > last) && !matches!(place, Place::All) {
            return Err(bad_value("a place in an array of a JSON path is out of bounds"));
        }
        let inside = |(place, _): &(usize, &Item<'d>)| {
            let place = *place as f64;
            from <= place && place <= to
        };
        out.extend(items.iter().enumerate().filter(inside).map(|(_, item)| item.clone()));
        Ok(())
    }

    fn method(&self, name: &str, item: &Item<'d>, out: &mut Vec<Item<'d>>) -> Result<()> {
        match name {
            "type" => out.push(Item::Text(item.kind().to_owned())),
            "size" => match listed(item) {
                Some(items) => out.push(Item::Number(items.len() as f64)),
                None if self.strict => {
                    return Err(bad_value("`.size()` can be applied to an array alone"));
                }
                None => out.push(Item::Number(1.0)),
            },
            _ => {
                for item in self.apart(vec![item.clone()]) {
                    let number = match name {
                        "double" => item
                            .number()
                            .or_else(|| item.text().and_then(|text| text.trim().parse().ok())),
                        _ => item.number(),
                    };
                    let Some(number) = number else {
                        return Err(bad_value(format!(
                            "`.{name}()` can be applied to a number alone"
                        )));
                    };
                    out.push(Item::Number(match name {
                        "abs" => number.abs(),
                        "ceiling" => number.ceil(),
                        "floor" => number.floor(),
                        _ => number,
                    }));
                }
            }
        }
        Ok(())
    }

    fn holds(&self, condition: &Condition, current: Option<&Item<'d>>) -> Result<Truth> {
        Ok(match condition {
            Condition::And(left, right) => {
                match (self.holds(left, current)?, self.holds(right, current)?) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                }
            }
            Condition::Or(left, right) => {
                match (self.holds(left, current)?, self.holds(right, current)?) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                }
            }
            Condition::Not(inner) => self.holds(inner, current)?.map(|is| !is),
            Condition::Unknown(inner) => Some(self.holds(inner, current)?.is_none()),
            Condition::Exists(value) => match self.values(value, current) {
                Ok(found) => Some(!found.is_empty()),
                Err(_) => None,
            },
            Condition::Compared(left, comparison, right) => {
                let (Ok(left), Ok(right)) =
                    (self.values(left, current), self.values(right, current))
                else {
                    return Ok(None);
                };
                let (left, right) = (self.apart(left), self.apart(right));
                self.any(
                    left.iter()
                        .flat_map(|a| right.iter().map(move |b| compared(a, *comparison, b))),
                )
            }
            Condition::Starts(value, start) => {
                let (Ok(values), Ok(starts)) =
                    (self.values(value, current), self.values(start, current))
                else {
                    return Ok(None);
                };
                let start = starts.first().and_then(Item::text).map(str::to_owned);
                self.any(self.apart(values).iter().map(|item| {
                    item.text().zip(start.as_deref()).map(|(text, start)| text.starts_with(start))
                }))
            }
            Condition::Like(value, pattern) => {
                let Ok(values) = self.values(value, current) else { return Ok(None) };
                self.any(
                    self.apart(values)
                        .iter()
                        .map(|item| item.text().map(|text| pattern.is_match(text))),
                )
            }
        })
    }

    /// Whether it holds for any: one that cannot be told makes all unknown in strict mode, and is passed
    /// by once one holds in lax mode.
    fn any(&self, answers: impl Iterator<Item = Truth>) -> Truth {
        let (mut found, mut unknown) = (false, false);
        for answer in answers {
            found |= answer == Some(true);
            unknown |= answer.is_none();
            if found && !self.strict {
                break;
            }
        }
        match (found, unknown) {
            (_, true) if self.strict => None,
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        }
    }
}

/// The items of a list; nothing of anything else.
fn listed<'d>(item: &Item<'d>) -> Option<Vec<Item<'d>>> {
    match item {
        Item::Part(part) if part.shape() == Shape::List => {
            Some(part.items()?.into_iter().map(|(_, item)| Item::Part(item)).collect())
        }
        _ => None,
    }
}

/// `.**{least to most}`: values at these depths, outermost first.
fn within<'d>(item: &Item<'d>, depth: u32, bounds: (u32, u32), out: &mut Vec<Item<'d>>) {
    if depth >= bounds.0 {
        out.push(item.clone());
    }
    if depth < bounds.1
        && let Item::Part(part) = item
    {
        for (_, inner) in part.items().unwrap_or_default() {
            within(&Item::Part(inner), depth + 1, bounds, out);
        }
    }
}

fn computed(left: &[Item<'_>], sum: Sum, right: &[Item<'_>]) -> Result<f64> {
    let one = |items: &[Item<'_>], side: &str| {
        match items {
            [item] => item.number(),
            _ => None,
        }
        .ok_or_else(|| {
            bad_value(format!(
                "the {side} operand of `{}` in a JSON path is not a single number",
                sum.sign()
            ))
        })
    };
    let (left, right) = (one(left, "left")?, one(right, "right")?);
    if right == 0.0 && matches!(sum, Sum::Quotient | Sum::Rest) {
        return Err(bad_value("division by zero in a JSON path"));
    }
    Ok(match sum {
        Sum::Plus => left + right,
        Sum::Minus => left - right,
        Sum::Product => left * right,
        Sum::Quotient => left / right,
        Sum::Rest => left % right,
    })
}

/// Values of different kinds cannot be compared, except with `null`.
fn compared(left: &Item<'_>, comparison: Comparison, right: &Item<'_>) -> Truth {
    let is_null = |item: &Item<'_>| item.shape() == Shape::Null;
    let order = match (is_null(left), is_null(right)) {
        (true, true) => Ordering::Equal,
        (true, false) | (false, true) => {
            return Some(comparison == Comparison::Unequal);
        }
        (false, false) => {
            if let (Some(left), Some(right)) = (left.number(), right.number()) {
                left.partial_cmp(&right)?
            } else if let (Some(left), Some(right)) = (left.text(), right.text()) {
                left.cmp(right)
            } else if let (Some(left), Some(right)) = (left.boolean(), right.boolean()) {
                left.cmp(&right)
            } else {
                return None;
            }
        }
    };
    Some(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::Unequal => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

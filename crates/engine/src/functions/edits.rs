//! `jsonb` with something changed in it: `jsonb_set`, `jsonb_insert`, `#-`, `-`; whether keys are there; and
//! `jsonb_pretty`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringViewBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::document::{Document, Part, Shape, quoted};
use super::json::texts;
use super::simple::{
    Call, Kind, Simple, arity, bad_value, each, gives_text, one_text, text, text_at, usage,
};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::json("jsonb_set", set_takes, Kind::Jsonb, |args, _| {
            edited(args, |tree, path, new, flag| tree.set(path, new, flag.unwrap_or(true)))
        }),
        Simple::json("jsonb_insert", set_takes, Kind::Jsonb, |args, _| {
            edited(args, |tree, path, new, flag| tree.insert(path, new, flag.unwrap_or(false)))
        }),
        Simple::json("jsonb_set_lax", lax_takes, Kind::Jsonb, lax),
        Simple::json("tidemill_jsonb_without_path", keys_take, Kind::Jsonb, |args, _| {
            with_keys(args, |tree, path| tree.remove(path))
        }),
        Simple::json("tidemill_jsonb_without_keys", keys_take, Kind::Jsonb, |args, _| {
            with_keys(args, |mut tree, keys| {
                keys.iter().try_for_each(|key| tree.leave_out(key))?;
                Ok(tree)
            })
        }),
        Simple::json("tidemill_jsonb_without_place", place_takes, Kind::Jsonb, without_place),
        Simple::function(
            "jsonb_exists_any",
            keys_take,
            |_, _| Ok(DataType::Boolean),
            |args, _| has_keys(args, |mut keys, is| keys.any(is)),
        ),
        Simple::function(
            "jsonb_exists_all",
            keys_take,
            |_, _| Ok(DataType::Boolean),
            |args, _| has_keys(args, |mut keys, is| keys.all(is)),
        ),
        Simple::function("jsonb_pretty", one_text, gives_text, |args, _| {
            each(args, |value| {
                let document = Document::read(value)?;
                let mut out = String::new();
                pretty(&Tree::of(document.root()), 0, &mut out);
                Ok(out)
            })
        }),
    ]
}

/// Keys and places as `text[]`, or as the text of one (`'{a,1}'`).
fn path_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => texts(),
        _ => DataType::Utf8View,
    }
}

fn set_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this function of jsonb", types, 3, 4)?;
    let mut taken = vec![DataType::Utf8View, path_type(&types[1]), DataType::Utf8View];
    taken.extend(types.get(3).map(|_| DataType::Boolean));
    Ok(taken)
}

fn lax_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("jsonb_set_lax", types, 3, 5)?;
    let mut taken = set_takes(&types[..types.len().min(4)])?;
    taken.extend(types.get(4).map(|_| DataType::Utf8View));
    Ok(taken)
}

fn keys_take(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this operator of jsonb", types, 2, 2)?;
    Ok(vec![DataType::Utf8View, path_type(&types[1])])
}

fn place_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("-", types, 2, 2)?;
    Ok(vec![DataType::Utf8View, DataType::Int64])
}

/// The keys in one row; a NULL among them is left out.
fn keys_at(array: &ArrayRef, row: usize) -> Result<Option<Vec<String>>> {
    if array.is_null(row) {
        return Ok(None);
    }
    if let Some(lists) = array.as_list_opt::<i32>() {
        let items = lists.value(row);
        let items = items.as_string_view();
        return Ok(Some(items.iter().flatten().map(str::to_owned).collect()));
    }
    let written = text(array).value(row);
    match super::array_text::elements(written) {
        Some(items) => Ok(Some(items.into_iter().flatten().collect())),
        None => Err(bad_value(format!("malformed array literal: `{written}`"))),
    }
}

/// A document that can be changed; what is not looked into is text.
enum Tree {
    Plain(String),
    Text(String),
    List(Vec<Tree>),
    Object(BTreeMap<(usize, String), Tree>),
}

fn key_of(key: &str) -> (usize, String) {
    (key.len(), key.to_owned())
}

impl Tree {
    fn of(part: Part<'_>) -> Tree {
        let items = || part.items().unwrap_or_default().into_iter();
        match part.shape() {
            Shape::List => Tree::List(items().map(|(_, item)| Tree::of(item)).collect()),
            Shape::Object => Tree::Object(
                items()
                    .map(|(key, item)| (key_of(key.unwrap_or_default()), Tree::of(item)))
                    .collect(),
            ),
            Shape::Text => Tree::Text(part.text().unwrap_or_default().to_owned()),
            _ => Tree::Plain(part.normal()),
        }
    }

    fn read(text: &str) -> Result<Tree> {
        Ok(Tree::of(Document::read(text)?.root()))
    }

    fn written(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Tree::Plain(plain) => out.push_str(plain),
            Tree::Text(text) => out.push_str(&quoted(text)),
            Tree::List(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    out.push_str(if place > 0 { ", " } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Tree::Object(pairs) => {
                out.push('{');
                for (place, ((_, key), value)) in pairs.iter().enumerate() {
                    out.push_str(if place > 0 { ", " } else { "" });
                    out.push_str(&quoted(key));
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// The value that holds what the last step of a path names, with that step.
    fn holder<'t>(&'t mut self, path: &[String]) -> Result<Option<(&'t mut Tree, String)>> {
        let Some((last, steps)) = path.split_last() else { return Ok(None) };
        let mut here = self;
        for step in steps {
            let next = match here {
                Tree::Object(pairs) => pairs.get_mut(&key_of(step)),
                Tree::List(items) => {
                    let place = place_of(step)?;
                    inside(place, items.len()).and_then(|place| items.get_mut(place))
                }
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => return Ok(None),
            }
        }
        Ok(Some((here, last.clone())))
    }

    /// In the place of what is there; where nothing is, it is added if `create` says so.
    fn set(mut self, path: &[String], new: Tree, create: bool) -> Result<Tree> {
        self.refuse_scalar()?;
        match self.holder(path)? {
            Some((Tree::Object(pairs), key)) => {
                let key = key_of(&key);
                if create || pairs.contains_key(&key) {
                    pairs.insert(key, new);
                }
            }
            Some((Tree::List(items), step)) => {
                let place = place_of(&step)?;
                match inside(place, items.len()) {
                    Some(place) => items[place] = new,
                    None if !create => {}
                    None if place < 0 => items.insert(0, new),
                    None => items.push(new),
                }
            }
            _ => {}
        }
        Ok(self)
    }

    /// Before (or behind) an item of a list, or under a key that is not there yet.
    fn insert(mut self, path: &[String], new: Tree, behind: bool) -> Result<Tree> {
        self.refuse_scalar()?;
        match self.holder(path)? {
            Some((Tree::Object(pairs), key)) => {
                let before = pairs.insert(key_of(&key), new);
                if before.is_some() {
                    return Err(bad_value(format!(
                        "cannot replace existing key `{key}`; use `jsonb_set`"
                    )));
                }
            }
            Some((Tree::List(items), step)) => {
                let place = place_of(&step)?;
                match inside(place, items.len()) {
                    Some(place) => items.insert(place + usize::from(behind), new),
                    None if place < 0 => items.insert(0, new),
                    None => items.push(new),
                }
            }
            _ => {}
        }
        Ok(self)
    }

    fn remove(mut self, path: &[String]) -> Result<Tree> {
        self.refuse_scalar()?;
        match self.holder(path)? {
            Some((Tree::Object(pairs), key)) => drop(pairs.remove(&key_of(&key))),
            Some((Tree::List(items), step)) => {
                if let Some(place) = inside(place_of(&step)?, items.len()) {
                    items.remove(place);
                }
            }
            _ => {}
        }
        Ok(self)
    }

    /// Without a key, or without the items that are this text.
    fn leave_out(&mut self, key: &str) -> Result<()> {
        match self {
            Tree::Object(pairs) => drop(pairs.remove(&key_of(key))),
            Tree::List(items) => {
                items.retain(|item| !matches!(item, Tree::Text(text) if text == key));
            }
            _ => return Err(bad_value("nothing can be taken from a scalar of `jsonb`")),
        }
        Ok(())
    }

    fn refuse_scalar(&self) -> Result<()> {
        match self {
            Tree::List(_) | Tree::Object(_) => Ok(()),
            _ => Err(bad_value("a scalar of `jsonb` has no paths")),
        }
    }

    /// Whether a text is a key of it, one of its items, or itself.
    fn has(&self, key: &str) -> bool {
        match self {
            Tree::Object(pairs) => pairs.contains_key(&key_of(key)),
            Tree::List(items) => {
                items.iter().any(|item| matches!(item, Tree::Text(text) if text == key))
            }
            Tree::Text(text) => text == key,
            Tree::Plain(_) => false,
        }
    }
}

fn place_of(step: &str) -> Result<i64> {
    step.trim()
        .parse()
        .map_err(|_| bad_value(format!("the step `{step}` of a path into a list is no number")))
}

/// The place in a list that is counted from 0, from the end below it.
fn inside(place: i64, count: usize) -> Option<usize> {
    let count = i64::try_from(count).ok()?;
    let place = if place < 0 { place + count } else { place };
    (0..count).contains(&place).then(|| usize::try_from(place).ok()).flatten()
}

/// Changes each document; anything that is NULL makes it NULL.
fn edited(
    args: &[ArrayRef],
    edit: impl Fn(Tree, &[String], Tree, Option<bool>) -> Result<Tree>,
) -> Result<ArrayRef> {
    let (documents, values) = (text(&args[0]), text(&args[2]));
    let mut out = StringViewBuilder::with_capacity(documents.len());
    for row in 0..documents.len() {
        let known = (text_at(documents, row), keys_at(&args[1], row)?, text_at(values, row));
        let flag = args.get(3).map(|flags| flags.as_boolean());
        let (Some(document), Some(path), Some(value)) = known else {
            out.append_null();
            continue;
        };
        if flag.is_some_and(|flags| flags.is_null(row)) {
            out.append_null();
            continue;
        }
        let flag = flag.map(|flags| flags.value(row));
        let tree = edit(Tree::read(document)?, &path, Tree::read(value)?, flag)?;
        out.append_value(tree.written());
    }
    Ok(Arc::new(out.finish()))
}

/// `jsonb_set` that says what a NULL means.
fn lax(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (documents, values) = (text(&args[0]), text(&args[2]));
    let mut out = StringViewBuilder::with_capacity(documents.len());
    for row in 0..documents.len() {
        let (Some(document), Some(path)) = (text_at(documents, row), keys_at(&args[1], row)?)
        else {
            out.append_null();
            continue;
        };
        let create =
            args.get(3).is_none_or(|flags| flags.is_null(row) || flags.as_boolean().value(row));
        let treatment = match args.get(4) {
            Some(words) => text_at(text(words), row).unwrap_or("use_json_null"),
            None => "use_json_null",
        };
        let tree = Tree::read(document)?;
        let tree = match (text_at(values, row), treatment) {
            (Some(value), _) => tree.set(&path, Tree::read(value)?, create)?,
            (None, "use_json_null") => tree.set(&path, Tree::Plain("null".to_owned()), create)?,
            (None, "delete_key") => tree.remove(&path)?,
            (None, "return_target") => tree,
            (None, "raise_exception") => {
                return Err(bad_value("the value for `jsonb_set_lax` is NULL"));
            }
            (None, other) => {
                return usage(format!("`{other}` is no treatment of NULL in `jsonb_set_lax`"));
            }
        };
        out.append_value(tree.written());
    }
    Ok(Arc::new(out.finish()))
}

fn with_keys(
    args: &[ArrayRef],
    edit: impl Fn(Tree, &[String]) -> Result<Tree>,
) -> Result<ArrayRef> {
    let documents = text(&args[0]);
    let mut out = StringViewBuilder::with_capacity(documents.len());
    for row in 0..documents.len() {
        match (text_at(documents, row), keys_at(&args[1], row)?) {
            (Some(document), Some(keys)) => {
                out.append_value(edit(Tree::read(document)?, &keys)?.written());
            }
            _ => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// `x - 1`: a list without an item.
fn without_place(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (documents, places) = (text(&args[0]), args[1].as_primitive::<Int64Type>());
    let mut out = StringViewBuilder::with_capacity(documents.len());
    for row in 0..documents.len() {
        let Some(document) = text_at(documents, row).filter(|_| places.is_valid(row)) else {
            out.append_null();
            continue;
        };
        let mut tree = Tree::read(document)?;
        let Tree::List(items) = &mut tree else {
            return Err(bad_value("only a list of `jsonb` has items that a number names"));
        };
        if let Some(place) = inside(places.value(row), items.len()) {
            items.remove(place);
        }
        out.append_value(tree.written());
    }
    Ok(Arc::new(out.finish()))
}

type Holds = fn(std::slice::Iter<'_, String>, &mut dyn FnMut(&String) -> bool) -> bool;

fn has_keys(args: &[ArrayRef], holds: Holds) -> Result<ArrayRef> {
    let documents = text(&args[0]);
    let answers: BooleanArray = (0..documents.len())
        .map(|row| {
            let (Some(document), Some(keys)) = (text_at(documents, row), keys_at(&args[1], row)?)
            else {
                return Ok(None);
            };
            let tree = Tree::read(document)?;
            Ok(Some(holds(keys.iter(), &mut |key: &String| tree.has(key))))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(answers))
}

/// One value a line, four blanks for each level.
fn pretty(tree: &Tree, level: usize, out: &mut String) {
    let line = |level: usize, out: &mut String| {
        // Writing into a text cannot fail.
        let _ = write!(out, "\n{:width$}", "", width = level * 4);
    };
    match tree {
        Tree::List(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                line(level + 1, out);
                pretty(item, level + 1, out);
            }
            line(level, out);
            out.push(']');
        }
        Tree::Object(pairs) => {
            out.push('{');
            for (place, ((_, key), value)) in pairs.iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                line(level + 1, out);
                out.push_str(&quoted(key));
                out.push_str(": ");
                pretty(value, level + 1, out);
            }
            line(level, out);
            out.push('}');
        }
        scalar => scalar.write(out),
    }
}

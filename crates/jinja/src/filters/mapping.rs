//! Filters that apply other filters and tests, and those on mappings.

use super::{Getter, find, fold, strings, unknown};
use crate::error::Error;
use crate::function::Args;
use crate::object::Object;
use crate::predicates;
use crate::state::State;
use crate::types::dict;
use crate::types::generator::Generator;
use crate::value::{Value, discard, sort_with_keys};

/// These filters look at nothing where Python's see something false: `none | map('lower')` is
/// empty.
fn items_of(value: &Value) -> Result<Vec<Value>, Error> {
    if value.is_true() { value.items() } else { Ok(Vec::new()) }
}

pub(super) fn map(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let items = items_of(value)?;
    state.charge_items(items.len())?;
    let mut mapped = Vec::with_capacity(items.len());
    if args.positional().is_empty() && args.get_keyword("attribute").is_some() {
        let known = ["attribute", "default"];
        if let Some((name, _)) = args.keyword().iter().find(|(name, _)| !known.contains(&&**name)) {
            return Err(Error::type_error(format!("Unexpected keyword argument '{name}'")));
        }
        let getter =
            Getter::new(args.get_keyword("attribute"), args.get_keyword("default").cloned(), false);
        for item in &items {
            mapped.push(getter.get(item, state)?);
        }
    } else {
        let Some(name) = args.positional().first() else {
            return Err(Error::type_error("map requires a filter argument"));
        };
        let name = name.to_string();
        let filter = find(&name).ok_or_else(|| unknown(&name))?;
        let rest = args.skip(1);
        for item in &items {
            mapped.push(filter(item, &rest, state)?);
        }
    }
    Ok(Generator::value("generator", mapped))
}

/// `select`, `reject` and, with `by_attribute`, `selectattr` and `rejectattr`.
pub(super) fn select(
    value: &Value,
    args: &Args,
    state: &mut State<'_>,
    wanted: bool,
    by_attribute: bool,
) -> Result<Value, Error> {
    let items = items_of(value)?;
    state.charge_items(items.len())?;
    let (getter, rest) = if by_attribute {
        let Some(attribute) = args.positional().first() else {
            return Err(Error::type_error("Missing parameter for attribute name"));
        };
        (Getter::new(Some(attribute), None, false), args.skip(1))
    } else {
        (Getter::new(None, None, false), args.clone())
    };
    let test = match rest.positional().first() {
        Some(name) => {
            let name = name.to_string();
            Some(predicates::find(&name).ok_or_else(|| predicates::unknown(&name))?)
        }
        None => None,
    };
    let rest = rest.skip(1);
    let mut kept = Vec::new();
    for item in items {
        let subject = getter.get(&item, state)?;
        let holds = match test {
            Some(test) => test(&subject, &rest, state)?,
            None => subject.is_true(),
        };
        if holds == wanted {
            kept.push(item);
        }
    }
    Ok(Generator::value("generator", kept))
}

pub(super) fn items(value: &Value, _args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let pairs = match value {
        Value::Undefined(_) => Vec::new(),
        other => pairs(other, state)
            .ok_or_else(|| Error::type_error("Can only get item pairs from a mapping."))?,
    };
    Ok(Generator::value(
        "generator",
        pairs.into_iter().map(|(key, value)| Value::tuple([key, value])).collect(),
    ))
}

fn pairs(value: &Value, state: &mut State<'_>) -> Option<Vec<(Value, Value)>> {
    dict::from_mapping(value, state).map(|dict| dict.entries())
}

pub(super) fn dictsort(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [case_sensitive, by, reverse] =
        args.bind("do_dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let case_sensitive = case_sensitive.is_some_and(|flag| flag.is_true());
    let by_value = match by.as_ref().map(|by| by.to_string()).as_deref() {
        None | Some("key") => false,
        Some("value") => true,
        Some(_) => {
            return Err(Error::runtime("You can only sort by either \"key\" or \"value\""));
        }
    };
    if let Value::Undefined(undefined) = value {
        return Err(undefined.error());
    }
    let entries = pairs(value, state).ok_or_else(|| {
        Error::undefined(format!("'{}' has no attribute 'items'", value.described_type()))
    })?;
    state.charge_items(entries.len().saturating_mul(4))?;
    let mut keyed: Vec<(Value, Value)> = entries
        .into_iter()
        .map(|(key, value)| {
            let sorted_by = if by_value { value.clone() } else { key.clone() };
            let sorted_by = if case_sensitive { sorted_by } else { fold(sorted_by) };
            (sorted_by, Value::tuple([key, value]))
        })
        .collect();
    sort_with_keys(&mut keyed, reverse.is_some_and(|flag| flag.is_true()))?;
    Ok(Value::list(keyed.into_iter().map(|(_, pair)| pair)))
}

/// One group of `groupby`: a pair that also has names for its parts.
#[derive(Debug)]
struct Group {
    grouper: Value,
    list: Value,
}

impl Group {
    fn pair(&self) -> Value {
        Value::tuple([self.grouper.clone(), self.list.clone()])
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let take = |value: &mut Value| std::mem::replace(value, Value::None);
        discard([take(&mut self.grouper), take(&mut self.list)]);
    }
}

impl Object for Group {
    fn type_name(&self) -> &str {
        "_GroupTuple"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        match name {
            "grouper" => Some(self.grouper.clone()),
            "list" => Some(self.list.clone()),
            _ => None,
        }
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        self.pair().subscript(key).unwrap_or(None)
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some(vec![self.grouper.clone(), self.list.clone()])
    }

    fn len(&self) -> Option<usize> {
        Some(2)
    }

    fn is_sequence(&self) -> bool {
        true
    }

    fn equals(&self, other: &Value) -> bool {
        self.pair() == *other
            || other.downcast::<Group>().is_some_and(|other| self.pair() == other.pair())
    }

    fn repr(&self) -> String {
        self.pair().repr()
    }

    fn to_json(&self) -> Option<Value> {
        Some(self.pair())
    }
}

pub(super) fn groupby(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [attribute, default, case_sensitive] =
        args.bind("do_groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let ignore_case = !case_sensitive.is_some_and(|flag| flag.is_true());
    let sorter = Getter::new(attribute.as_ref(), default.clone(), ignore_case);
    let shown = Getter::new(attribute.as_ref(), default, false);
    let items = value.items()?;
    state.charge_items(items.len().saturating_mul(4))?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        keyed.push((sorter.get(&item, state)?, item));
    }
    sort_with_keys(&mut keyed, false)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in keyed {
        match groups.last_mut() {
            Some((known, members)) if *known == key => members.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut out = Vec::with_capacity(groups.len());
    for (key, members) in groups {
        let grouper = match members.first() {
            Some(first) if ignore_case => shown.get(first, state)?,
            _ => key,
        };
        out.push(Value::object(Group { grouper, list: Value::list(members) }));
    }
    Ok(Value::list(out))
}

pub(super) fn xmlattr(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [space] = args.bind("do_xmlattr", ["autospace"], 0)?;
    let entries = pairs(value, state)
        .ok_or_else(|| Error::type_error("xmlattr needs a mapping of attributes"))?;
    let mut parts = Vec::new();
    for (key, value) in entries {
        if value.is_none() || value.is_undefined() {
            continue;
        }
        let key = key.to_string();
        if key.contains([' ', '\t', '\n', '\r', '/', '>', '=']) {
            return Err(Error::runtime(format!("Invalid character in attribute name: '{key}'")));
        }
        parts.push(format!(
            "{}=\"{}\"",
            strings::escaped(&key),
            strings::escaped(&value.to_string())
        ));
    }
    let mut out = parts.join(" ");
    if !out.is_empty() && space.is_none_or(|flag| flag.is_true()) {
        out.insert(0, ' ');
    }
    Ok(Value::from(out))
}

//! Columns under construction that follow the shape of the JSON.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use tidemill_core::{Error, ErrorKind, Result};

use super::NameCache;
use super::cursor::{Cursor, DEEPEST, KeyProbe, Problem, Value};
use crate::files::column::{Column, Kind, Reading, null_buffer};
use crate::files::header::ORIGINAL_NAME;
use crate::files::infer::Seen;
use crate::files::target::Target;
use crate::files::types::{Shape, Types};

/// How many columns from the expected one on are compared with a key before it is looked up.
const AHEAD: usize = 4;

/// The columns of the table.
pub(super) struct Root {
    object: Object,
    rows: usize,
    /// The first declared type that the record at hand does not fit.
    problem: Option<String>,
}

/// The fields of an object.
struct Object {
    children: Vec<Child>,
    /// Which child a key belongs to, for keys that were met.
    by_key: HashMap<Vec<u8>, usize>,
    by_name: HashMap<String, usize>,
    /// The child that the next key probably is.
    next: usize,
}

struct Child {
    name: String,
    /// How the key was spelled last.
    spelled: Vec<u8>,
    probe: Option<KeyProbe>,
    node: Node,
}

impl Child {
    fn new(field: &Field, node: Node) -> Child {
        let spelled = field.metadata().get(ORIGINAL_NAME).unwrap_or(field.name()).as_bytes();
        Child {
            name: field.name().clone(),
            spelled: spelled.to_vec(),
            probe: KeyProbe::new(spelled),
            node,
        }
    }

    /// Remembers another spelling of the key.
    fn respell(&mut self, key: &[u8]) {
        self.spelled = key.to_vec();
        self.probe = KeyProbe::new(key);
    }
}

enum Node {
    /// `hollow`: only objects without keys were seen, which are text as long as that is so.
    Leaf {
        column: Column,
        kind: Kind,
        declared: bool,
        hollow: bool,
    },
    Object {
        object: Object,
        nulls: Vec<u32>,
        len: usize,
        fields: Fields,
    },
    List {
        item: Box<Node>,
        ends: Vec<i32>,
        nulls: Vec<u32>,
        field: arrow::datatypes::FieldRef,
    },
}

impl Root {
    pub(super) fn new(target: &Target) -> Root {
        let children = target
            .names
            .iter()
            .zip(target.schema.fields())
            .zip(&target.readings)
            .map(|((name, field), reading)| {
                let shape = target.types.get(name);
                Child::new(field, Node::new(field.data_type(), shape, reading))
            })
            .collect();
        Root { object: Object::new(children), rows: 0, problem: None }
    }

    /// Appends one record. After a problem what was appended has to be truncated.
    pub(super) fn push(
        &mut self,
        cursor: &mut Cursor<'_>,
        names: &mut NameCache,
    ) -> Result<(), Problem> {
        cursor.expect_object()?;
        self.problem = None;
        self.object.push(cursor, names, self.rows, &mut self.problem, 0)?;
        cursor.expect_end()?;
        match self.problem.take() {
            Some(reason) => Err(Problem::Rejected(reason)),
            None => {
                self.rows += 1;
                Ok(())
            }
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = rows;
        self.object.truncate(rows);
    }

    /// Adds what the values showed beyond their types.
    pub(super) fn seen(&self, types: &mut Types) {
        self.object.seen(types);
    }

    pub(super) fn finish(self) -> Result<Vec<ArrayRef>> {
        self.object.children.into_iter().map(|child| child.node.finish()).collect()
    }
}

impl Object {
    fn new(children: Vec<Child>) -> Object {
        let by_name =
            children.iter().enumerate().map(|(at, child)| (child.name.clone(), at)).collect();
        Object { children, by_key: HashMap::new(), by_name, next: 0 }
    }

    /// Appends the fields of an object whose bracket was read, as row `row` of each child.
    fn push(
        &mut self,
        cursor: &mut Cursor<'_>,
        names: &mut NameCache,
        row: usize,
        problem: &mut Option<String>,
        depth: usize,
    ) -> Result<(), Problem> {
        if depth > DEEPEST {
            return Err(Problem::Rejected("nested deeper than 128 levels".into()));
        }
        let mut first = true;
        let mut filled = 0;
        self.next = 0;
        loop {
            // Most often the next key is the next column, or one of the few behind it.
            let expected = self.children.iter().skip(self.next).take(AHEAD);
            let ahead = expected
                .enumerate()
                .find(|(_, child)| {
                    child.probe.as_ref().is_some_and(|probe| cursor.next_is(probe, first))
                })
                .map(|(ahead, _)| ahead);
            let at = match ahead {
                Some(ahead) => {
                    first = false;
                    self.next + ahead
                }
                None => {
                    if !cursor.next_key(&mut first)? {
                        break;
                    }
                    let key = cursor.key();
                    let at = match self.children.get(self.next) {
                        Some(child) if child.spelled == *key => self.next,
                        _ => self.find(&key, names)?,
                    };
                    let child = &mut self.children[at];
                    if child.spelled != *key {
                        if child.node.len() > row {
                            return Err(Problem::Rejected(format!(
                                "the keys `{}` and `{}` are one column",
                                String::from_utf8_lossy(&child.spelled),
                                String::from_utf8_lossy(&key)
                            )));
                        }
                        child.respell(&key);
                    }
                    at
                }
            };
            self.next = at + 1;
            let child = &mut self.children[at];
            if child.node.len() > row {
                // The last of equal keys counts.
                child.node.truncate(row);
            } else {
                filled += 1;
            }
            child.node.push(cursor, names, problem, &child.name, depth + 1)?;
        }
        if filled < self.children.len() {
            for child in &mut self.children {
                if child.node.len() == row {
                    child.node.push_null();
                }
            }
        }
        Ok(())
    }

    /// The child of a key that is not where it was expected.
    fn find(&mut self, key: &[u8], names: &mut NameCache) -> Result<usize, Problem> {
        if let Some(at) = self.by_key.get(key) {
            return Ok(*at);
        }
        let Some(at) = self.by_name.get(names.name(key)).copied() else {
            return Err(Problem::Surprise);
        };
        self.by_key.insert(key.to_vec(), at);
        Ok(at)
    }

    fn truncate(&mut self, len: usize) {
        for child in &mut self.children {
            if child.node.len() > len {
                child.node.truncate(len);
            }
        }
    }

    fn seen(&self, types: &mut Types) {
        for child in &self.children {
            match &child.node {
                Node::Leaf { column, .. } => {
                    let seen = column.seen();
                    if seen != Seen::NOTHING {
                        types.entry(&child.name).seen.add(seen);
                    }
                }
                Node::Object { object, .. } => {
                    let mut inner = Types::default();
                    object.seen(&mut inner);
                    if !inner.is_empty() {
                        types.entry(&child.name).fields.merge(&inner);
                    }
                }
                Node::List { item, .. } => {
                    let mut inner = Types::default();
                    item.seen_as_item(&mut inner);
                    if let Some(shape) = inner.get("item") {
                        types.entry(&child.name).item = Some(Box::new(shape.clone()));
                    }
                }
            }
        }
    }
}

impl Node {
    fn new(data_type: &DataType, shape: Option<&Shape>, reading: &Reading) -> Node {
        match data_type {
            DataType::Struct(fields) => {
                let children = fields
                    .iter()
                    .map(|field| {
                        let shape = shape.and_then(|shape| shape.fields.get(field.name()));
                        Child::new(field, Node::new(field.data_type(), shape, reading))
                    })
                    .collect();
                let object = Object::new(children);
                Node::Object { object, nulls: Vec::new(), len: 0, fields: fields.clone() }
            }
            DataType::List(field) => Node::List {
                item: Box::new(Node::new(
                    field.data_type(),
                    shape.and_then(|shape| shape.item.as_deref()),
                    reading,
                )),
                ends: vec![0],
                nulls: Vec::new(),
                field: Arc::clone(field),
            },
            scalar => {
                // Of a list without elements, say, the type is text only until one is seen.
                let unknown = !reading.declared
                    && *scalar == DataType::Utf8
                    && shape.is_none_or(|shape| shape.data_type() == DataType::Null);
                let hollow = !reading.declared
                    && shape
                        .is_some_and(|shape| shape.seen == Seen::STRUCT && shape.fields.is_empty());
                let kind = match unknown {
                    true => Kind::Unknown,
                    false => Kind::of(scalar).unwrap_or(Kind::Text),
                };
                let reading = Reading { kind, ..reading.clone() };
                let declared = reading.declared;
                Node::Leaf { column: Column::new(&reading), kind, declared, hollow }
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf { column, .. } => column.len(),
            Node::Object { len, .. } => *len,
            Node::List { ends, .. } => ends.len() - 1,
        }
    }

    fn push_null(&mut self) {
        match self {
            Node::Leaf { column, .. } => column.append_nulls(1),
            Node::Object { object, nulls, len, .. } => {
                nulls.push(*len as u32);
                *len += 1;
                for child in &mut object.children {
                    child.node.push_null();
                }
            }
            Node::List { ends, nulls, .. } => {
                nulls.push((ends.len() - 1) as u32);
                ends.push(ends.last().copied().unwrap_or(0));
            }
        }
    }

    fn truncate(&mut self, rows: usize) {
        let drop_nulls = |nulls: &mut Vec<u32>| {
            while nulls.last().is_some_and(|row| *row as usize >= rows) {
                nulls.pop();
            }
        };
        match self {
            Node::Leaf { column, .. } => column.truncate(rows),
            Node::Object { object, nulls, len, .. } => {
                drop_nulls(nulls);
                *len = rows;
                object.truncate(rows);
            }
            Node::List { item, ends, nulls, .. } => {
                drop_nulls(nulls);
                ends.truncate(rows + 1);
                item.truncate(ends.last().copied().unwrap_or(0) as usize);
            }
        }
    }

    /// Appends the next value.
    fn push(
        &mut self,
        cursor: &mut Cursor<'_>,
        names: &mut NameCache,
        problem: &mut Option<String>,
        name: &str,
        depth: usize,
    ) -> Result<(), Problem> {
        let start = cursor.peek_start();
        let value = cursor.value()?;
        if value == Value::Null {
            self.push_null();
            return Ok(());
        }
        match self {
            Node::Leaf { column, kind, declared, hollow } => {
                if *hollow && (value != Value::Object || cursor.next_key(&mut true)?) {
                    return Err(Problem::Surprise);
                }
                if let Value::Object | Value::Array = value {
                    cursor.rewind(start);
                    cursor.skip_value(depth)?;
                    // In a text column the JSON stays as it stands.
                    if *kind == Kind::Text {
                        column.push(cursor.data, start, cursor.position(), true);
                        return Ok(());
                    }
                    if *declared {
                        problem.get_or_insert_with(|| {
                            format!("column `{name}`: an object or array is not {}", kind.name())
                        });
                        column.append_nulls(1);
                        return Ok(());
                    }
                    return Err(Problem::Surprise);
                }
                let quoted = value == Value::String;
                let fits = if quoted && cursor.is_unescaped() {
                    if *kind == Kind::Text {
                        column.push_text(cursor.text());
                        return Ok(());
                    }
                    // Numbers and dates are seldom written with escapes.
                    let mut text = cursor.text().to_vec();
                    let end = text.len();
                    text.extend_from_slice(&[0; 16]);
                    column.push(&text, 0, end, true)
                } else {
                    let (start, end) = cursor.token();
                    column.push(cursor.data, start, end, quoted)
                };
                if fits {
                    return Ok(());
                }
                if !*declared {
                    return Err(Problem::Surprise);
                }
                let text = if quoted { cursor.text() } else { cursor.number() };
                let shown = String::from_utf8_lossy(text.get(..80).unwrap_or(text)).into_owned();
                problem.get_or_insert_with(|| {
                    format!("column `{name}`: `{shown}` is not {}", kind.name())
                });
                column.append_nulls(1);
                Ok(())
            }
            Node::Object { object, len, .. } => {
                if value != Value::Object {
                    return Err(Problem::Surprise);
                }
                object.push(cursor, names, *len, problem, depth)?;
                *len += 1;
                Ok(())
            }
            Node::List { item, ends, .. } => {
                if value != Value::Array {
                    return Err(Problem::Surprise);
                }
                if depth > DEEPEST {
                    return Err(Problem::Rejected("nested deeper than 128 levels".into()));
                }
                let mut first = true;
                while cursor.next_element(&mut first)? {
                    item.push(cursor, names, problem, name, depth + 1)?;
                }
                ends.push(item.len() as i32);
                Ok(())
            }
        }
    }

    /// What the elements of a list showed, under the name `item`.
    fn seen_as_item(&self, types: &mut Types) {
        match self {
            Node::Leaf { column, .. } => {
                let seen = column.seen();
                if seen != Seen::NOTHING {
                    types.entry("item").seen.add(seen);
                }
            }
            Node::Object { object, .. } => {
                let mut inner = Types::default();
                object.seen(&mut inner);
                if !inner.is_empty() {
                    types.entry("item").fields.merge(&inner);
                }
            }
            Node::List { item, .. } => {
                let mut inner = Types::default();
                item.seen_as_item(&mut inner);
                if let Some(shape) = inner.get("item") {
                    types.entry("item").item = Some(Box::new(shape.clone()));
                }
            }
        }
    }

    fn finish(self) -> Result<ArrayRef> {
        let invalid =
            |error| Error::new(ErrorKind::Internal, "a nested column is malformed").because(error);
        Ok(match self {
            Node::Leaf { column, .. } => column.finish()?,
            Node::Object { object, nulls, len, fields } => {
                let arrays = object
                    .children
                    .into_iter()
                    .map(|child| child.node.finish())
                    .collect::<Result<Vec<_>>>()?;
                Arc::new(
                    StructArray::try_new(fields, arrays, null_buffer(&nulls, len))
                        .map_err(&invalid)?,
                )
            }
            Node::List { item, ends, nulls, field } => {
                let nulls = null_buffer(&nulls, ends.len() - 1);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(
                    ListArray::try_new(field, offsets, item.finish()?, nulls).map_err(&invalid)?,
                )
            }
        })
    }
}

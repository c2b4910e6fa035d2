//! The records of a file as plain values, for files that are no tables: the manifests of Iceberg.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, BufRead};
use std::sync::Arc;

use serde_json::Value;

use super::container::{Container, damaged};

/// A value. Equal values of `float` and `double` are equal here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Datum {
    /// None.
    Null,
    Boolean(bool),
    /// `int` and `long`.
    Long(i64),
    /// The bits of a `double`, or of a `float` as one.
    Double(u64),
    /// `bytes` and `fixed`.
    Bytes(Vec<u8>),
    /// `string` and `enum`.
    Text(String),
    List(Vec<Datum>),
    Map(Vec<(String, Datum)>),
    Record(Record),
}

/// The values of a record, in the order of its schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    layout: Arc<Layout>,
    values: Vec<Datum>,
}

/// The names of fields, and the numbers that Iceberg gives them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Layout {
    names: Vec<String>,
    ids: Vec<Option<i64>>,
}

impl Record {
    /// The value of a field; none where it is not there or NULL.
    pub(crate) fn get(&self, name: &str) -> Option<&Datum> {
        let at = self.layout.names.iter().position(|known| known == name)?;
        self.values.get(at).filter(|value| **value != Datum::Null)
    }

    /// The value of the field with this number; none where there is no such field.
    pub(crate) fn by_id(&self, id: i32) -> Option<&Datum> {
        let at = self.layout.ids.iter().position(|known| *known == Some(i64::from(id)))?;
        self.values.get(at)
    }

    /// All values, in their order.
    pub(crate) fn values(&self) -> &[Datum] {
        &self.values
    }

    /// A whole number.
    pub(crate) fn long(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Datum::Long(number) => Some(*number),
            _ => None,
        }
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Datum::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A record within it.
    pub(crate) fn record(&self, name: &str) -> Option<&Record> {
        match self.get(name)? {
            Datum::Record(record) => Some(record),
            _ => None,
        }
    }

    /// A list.
    pub(crate) fn list(&self, name: &str) -> &[Datum] {
        match self.get(name) {
            Some(Datum::List(items)) => items,
            _ => &[],
        }
    }
}

/// What a header says, by its keys.
pub(crate) type Header = HashMap<String, Vec<u8>>;

/// Hands each record of a file to `each`, with the header of the file.
///
/// # Errors
/// Kind `InvalidData` for a file that is none or damaged, and what `each` gives.
pub(crate) fn each_record(
    source: impl BufRead,
    each: &mut dyn FnMut(&Header, &Record) -> io::Result<()>,
) -> io::Result<()> {
    let promised = Cell::new(0);
    let mut container = Container::start(source, &promised)?;
    let schema = container.schema()?;
    let node = node(&schema).ok_or_else(|| damaged("its schema is not one of Avro"))?;
    let header = container.metadata().clone();
    while let Some((count, body)) = container.body()? {
        let mut rest: &[u8] = &body;
        for _ in 0..count {
            let Datum::Record(record) = read(&node, &mut rest)? else {
                return Err(damaged("its schema is no record"));
            };
            each(&header, &record)?;
        }
        if !rest.is_empty() {
            return Err(damaged("a block has more bytes than its records"));
        }
    }
    Ok(())
}

/// A schema, as values are read by it.
enum Node {
    Null,
    Boolean,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    List(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    Record(Arc<Layout>, Vec<Node>),
}

fn node(schema: &Value) -> Option<Node> {
    match schema {
        Value::String(name) => primitive(name),
        Value::Array(branches) => {
            Some(Node::Union(branches.iter().map(node).collect::<Option<_>>()?))
        }
        Value::Object(members) => match members.get("type")?.as_str()? {
            "array" => Some(Node::List(Box::new(node(members.get("items")?)?))),
            "map" => Some(Node::Map(Box::new(node(members.get("values")?)?))),
            "fixed" => Some(Node::Fixed(usize::try_from(members.get("size")?.as_u64()?).ok()?)),
            "enum" => {
                let symbols = members.get("symbols")?.as_array()?.iter();
                let symbols = symbols.map(|symbol| symbol.as_str().map(str::to_owned));
                Some(Node::Enum(symbols.collect::<Option<_>>()?))
            }
            "record" => {
                let fields = members.get("fields")?.as_array()?;
                let name = |field: &Value| field.get("name")?.as_str().map(str::to_owned);
                let layout = Layout {
                    names: fields.iter().map(name).collect::<Option<_>>()?,
                    ids: fields.iter().map(|field| field.get("field-id")?.as_i64()).collect(),
                };
                let nodes = fields.iter().map(|field| node(field.get("type")?));
                Some(Node::Record(Arc::new(layout), nodes.collect::<Option<_>>()?))
            }
            name => primitive(name),
        },
        _ => None,
    }
}

fn primitive(name: &str) -> Option<Node> {
    Some(match name {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" | "long" => Node::Long,
        "float" => Node::Float,
        "double" => Node::Double,
        "bytes" => Node::Bytes,
        "string" => Node::Text,
        _ => return None,
    })
}

/// Some bytes of a block.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> io::Result<&'a [u8]> {
    let (taken, left) =
        rest.split_at_checked(length).ok_or_else(|| damaged("a block ends within a record"))?;
    *rest = left;
    Ok(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let mut out = [0; N];
    out.copy_from_slice(take(rest, N)?);
    Ok(out)
}

fn sized(rest: &mut &[u8]) -> io::Result<Vec<u8>> {
    let length = super::container::long(rest)?;
    let length =
        usize::try_from(length).map_err(|_| damaged("a value says that its size is negative"))?;
    Ok(take(rest, length)?.to_vec())
}

fn text(rest: &mut &[u8]) -> io::Result<String> {
    String::from_utf8(sized(rest)?).map_err(|_| damaged("a text is not UTF-8"))
}

fn read(node: &Node, rest: &mut &[u8]) -> io::Result<Datum> {
    Ok(match node {
        Node::Null => Datum::Null,
        Node::Boolean => Datum::Boolean(take(rest, 1)? != [0]),
        Node::Long => Datum::Long(super::container::long(rest)?),
        Node::Float => Datum::Double(f64::from(f32::from_le_bytes(array::<4>(rest)?)).to_bits()),
        Node::Double => Datum::Double(u64::from_le_bytes(array::<8>(rest)?)),
        Node::Bytes => Datum::Bytes(sized(rest)?),
        Node::Text => Datum::Text(text(rest)?),
        Node::Fixed(size) => Datum::Bytes(take(rest, *size)?.to_vec()),
        Node::Enum(symbols) => {
            let at = usize::try_from(super::container::long(rest)?).ok();
            let symbol = at.and_then(|at| symbols.get(at));
            Datum::Text(symbol.ok_or_else(|| damaged("an enum has no such symbol"))?.clone())
        }
        Node::List(item) => {
            let mut items = Vec::new();
            blocks(rest, &mut |rest| {
                items.push(read(item, rest)?);
                Ok(())
            })?;
            Datum::List(items)
        }
        Node::Map(value) => {
            let mut entries = Vec::new();
            blocks(rest, &mut |rest| {
                entries.push((text(rest)?, read(value, rest)?));
                Ok(())
            })?;
            Datum::Map(entries)
        }
        Node::Union(branches) => {
            let at = usize::try_from(super::container::long(rest)?).ok();
            let branch = at.and_then(|at| branches.get(at));
            read(branch.ok_or_else(|| damaged("a union has no such branch"))?, rest)?
        }
        Node::Record(layout, nodes) => {
            let values = nodes.iter().map(|node| read(node, rest));
            Datum::Record(Record {
                layout: Arc::clone(layout),
                values: values.collect::<io::Result<_>>()?,
            })
        }
    })
}

/// The items of a list or a map, which come in blocks.
fn blocks<'a>(
    rest: &mut &'a [u8],
    each: &mut dyn FnMut(&mut &'a [u8]) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let mut count = super::container::long(rest)?;
        if count == 0 {
            return Ok(());
        }
        if count < 0 {
            super::container::long(rest)?;
            count = count.checked_neg().ok_or_else(|| damaged("a list is damaged"))?;
        }
        // An item that takes no byte is nothing that anybody writes.
        if count as u64 > rest.len() as u64 {
            return Err(damaged("a list says that it has more items than bytes"));
        }
        for _ in 0..count {
            each(rest)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: &Value, mut bytes: &[u8]) -> io::Result<Datum> {
        read(&node(schema).unwrap(), &mut bytes)
    }

    #[test]
    fn values_are_read_by_their_schema() {
        let schema = json!({"type": "record", "name": "r", "fields": [
            {"name": "a", "type": ["null", "long"], "field-id": 1},
            {"name": "b", "type": {"type": "array", "items": {"type": "record", "name": "p", "fields": [
                {"name": "key", "type": "int"}, {"name": "value", "type": "bytes"}]}}, "field-id": 7},
            {"name": "c", "type": {"type": "map", "values": "string"}},
            {"name": "d", "type": {"type": "fixed", "name": "f", "size": 2}},
            {"name": "e", "type": "float"},
        ]});
        let bytes = [
            2, 3, // a: -2
            3, 6, 4, 2, 1, 6, 0, 0, // b: two items in a block that has its size
            2, 2, b'k', 4, b'x', b'y', 0, // c
            8, 9, // d
            0, 0, 0, 63, // e: 0.5
        ];
        let Datum::Record(record) = of(&schema, &bytes).unwrap() else { panic!() };
        assert_eq!(record.long("a"), Some(-2));
        assert_eq!(record.list("b").len(), 2);
        let Datum::Record(pair) = &record.list("b")[0] else { panic!() };
        assert_eq!((pair.long("key"), pair.get("value")), (Some(2), Some(&Datum::Bytes(vec![1]))));
        assert_eq!(record.by_id(7), record.get("b"));
        assert_eq!(
            record.get("c"),
            Some(&Datum::Map(vec![("k".into(), Datum::Text("xy".into()))]))
        );
        assert_eq!(record.get("d"), Some(&Datum::Bytes(vec![8, 9])));
        assert_eq!(record.get("e"), Some(&Datum::Double(0.5f64.to_bits())));
        assert_eq!(record.get("z"), None);
    }

    #[test]
    fn what_is_damaged_is_said() {
        let why = |schema: Value, bytes: &[u8]| of(&schema, bytes).unwrap_err().to_string();
        assert!(why(json!("bytes"), &[8, 1]).contains("ends within"));
        assert!(why(json!("string"), &[1]).contains("negative"));
        assert!(why(json!(["null", "int"]), &[4]).contains("no such branch"));
        let list = json!({"type": "array", "items": "null"});
        assert!(why(list, &[0xFE, 0xFF, 0xFF, 0x7F]).contains("more items than bytes"));
    }
}

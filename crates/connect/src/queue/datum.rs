//! Values in Avro, walked over: whether a message is one of its schema, before it is among others.

use serde_json::Value;

/// How many values a message may have. What has no bytes may be counted without end.
const MOST: usize = 16 << 20;

/// How deep they may stand in each other.
const DEEPEST: usize = 128;

/// A type whose names are resolved.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(usize),
    Array(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    Record(Vec<Node>),
}

impl Node {
    /// Of a schema as [`crate::files::avro::readable`] gives it.
    ///
    /// # Errors
    /// What cannot be understood.
    pub(super) fn of(schema: &Value) -> Result<Node, String> {
        let unknown = || format!("the schema has a type that is not known: {schema}");
        let inner = |key: &str| Node::of(schema.get(key).ok_or_else(unknown)?).map(Box::new);
        if let Value::Array(branches) = schema {
            return branches.iter().map(Node::of).collect::<Result<_, _>>().map(Node::Union);
        }
        let kind = match schema {
            Value::String(kind) => kind.as_str(),
            _ => schema.get("type").and_then(Value::as_str).ok_or_else(unknown)?,
        };
        Ok(match kind {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::Text,
            "fixed" => {
                let size = schema.get("size").and_then(Value::as_u64).ok_or_else(unknown)?;
                Node::Fixed(usize::try_from(size).map_err(|_| unknown())?)
            }
            "enum" => {
                let symbols = schema.get("symbols").and_then(Value::as_array);
                Node::Enum(symbols.ok_or_else(unknown)?.len())
            }
            "array" => Node::Array(inner("items")?),
            "map" => Node::Map(inner("values")?),
            "record" => {
                let fields = schema.get("fields").and_then(Value::as_array).ok_or_else(unknown)?;
                let fields =
                    fields.iter().map(|field| Node::of(field.get("type").ok_or_else(unknown)?));
                Node::Record(fields.collect::<Result<_, _>>()?)
            }
            _ => return Err(unknown()),
        })
    }

    /// Whether these bytes are one value of the type, and nothing else.
    ///
    /// # Errors
    /// Why they are not.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), String> {
        let mut walk = Walk { rest: bytes, values: 0 };
        walk.over(self, 0)?;
        match walk.rest.len() {
            0 => Ok(()),
            left => Err(format!("{left} bytes are left behind its last field")),
        }
    }
}

struct Walk<'a> {
    rest: &'a [u8],
    values: usize,
}

impl Walk<'_> {
    fn over(&mut self, node: &Node, depth: usize) -> Result<(), String> {
        self.values += 1;
        if self.values > MOST || depth > DEEPEST {
            return Err("it has too many values, or too deep ones".to_owned());
        }
        match node {
            Node::Null => Ok(()),
            Node::Boolean => match self.take(1)? {
                [0 | 1] => Ok(()),
                _ => Err("a truth value is neither 0 nor 1".to_owned()),
            },
            Node::Int => match i32::try_from(self.long()?) {
                Ok(_) => Ok(()),
                Err(_) => Err("an int has more than 32 bits".to_owned()),
            },
            Node::Long => self.long().map(drop),
            Node::Float => self.take(4).map(drop),
            Node::Double => self.take(8).map(drop),
            Node::Bytes => self.sized().map(drop),
            Node::Text => self.text(),
            Node::Fixed(size) => self.take(*size).map(drop),
            Node::Enum(symbols) => match usize::try_from(self.long()?) {
                Ok(symbol) if symbol < *symbols => Ok(()),
                _ => Err("an enum has a symbol that its schema does not have".to_owned()),
            },
            Node::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|at| branches.get(at));
                let branch = branch.ok_or("a union has a branch that its schema does not have")?;
                self.over(branch, depth + 1)
            }
            Node::Record(fields) => fields.iter().try_for_each(|field| self.over(field, depth + 1)),
            Node::Array(item) => self.blocks(|walk| walk.over(item, depth + 1)),
            Node::Map(value) => self.blocks(|walk| {
                walk.text()?;
                walk.over(value, depth + 1)
            }),
        }
    }

    fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.long()?;
                count = count.checked_neg().ok_or("a block has no size")?;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    fn text(&mut self) -> Result<(), String> {
        match simdutf8::basic::from_utf8(self.sized()?) {
            Ok(_) => Ok(()),
            Err(_) => Err("a text is not UTF-8".to_owned()),
        }
    }

    fn sized(&mut self) -> Result<&[u8], String> {
        let size = usize::try_from(self.long()?).map_err(|_| "a size is negative".to_owned())?;
        self.take(size)
    }

    fn take(&mut self, size: usize) -> Result<&[u8], String> {
        let (taken, rest) = self
            .rest
            .split_at_checked(size)
            .ok_or("it ends within a field: it is not of its schema, or was cut")?;
        self.rest = rest;
        Ok(taken)
    }

    fn long(&mut self) -> Result<i64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = match self.take(1)? {
                [byte] => *byte,
                _ => 0,
            };
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err("a number is too long".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Value, bytes: &[u8]) -> Result<(), String> {
        Node::of(&schema).unwrap().check(bytes)
    }

    #[test]
    fn values_are_walked_over() {
        let record = json!({"type": "record", "name": "r", "fields": [
            {"name": "a", "type": "long"},
            {"name": "b", "type": ["null", "string"]},
            {"name": "c", "type": {"type": "array", "items": "int"}},
            {"name": "d", "type": {"type": "map", "values": "boolean"}},
            {"name": "e", "type": {"type": "enum", "name": "e", "symbols": ["x", "y"]}},
            {"name": "f", "type": {"type": "fixed", "name": "f", "size": 2}},
        ]});
        let whole = [2, 2, 4, b'h', b'i', 4, 2, 4, 0, 2, 2, b'k', 1, 0, 2, 7, 7];
        assert_eq!(check(record.clone(), &whole), Ok(()));
        for cut in 0..whole.len() {
            assert!(check(record.clone(), &whole[..cut]).is_err(), "{cut}");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert!(check(record, &longer).unwrap_err().contains("1 bytes are left"));
    }

    #[test]
    fn what_is_not_of_the_schema_is_said() {
        for (schema, bytes, reason) in [
            (json!("boolean"), vec![2], "truth value"),
            (json!("string"), vec![2, 0xFF], "UTF-8"),
            (json!("int"), vec![0xFF, 0xFF, 0xFF, 0xFF, 0x7F], "32 bits"),
            (json!(["null", "int"]), vec![4], "branch"),
            (json!({"type": "enum", "name": "e", "symbols": ["x"]}), vec![2], "symbol"),
            (json!("bytes"), vec![1], "negative"),
            (json!("long"), vec![0x80; 11], "too long"),
            // So many values without a byte.
            (
                json!({"type": "array", "items": "null"}),
                vec![0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
                "too many",
            ),
        ] {
            let error = check(schema.clone(), &bytes).unwrap_err();
            assert!(error.contains(reason), "{schema}: {error}");
        }
        assert!(Node::of(&json!("decimal")).is_err());
    }
}

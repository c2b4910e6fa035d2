//! YAML text of a value, as `toyaml` writes it.

use serde_json::Value;

use super::Kind;
use super::scalar::resolve;

/// Block style with two spaces; keys sorted when asked for.
pub fn write(value: &Value, sort_keys: bool) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0, sort_keys, &mut out),
        Value::Array(items) if !items.is_empty() => block(value, 0, sort_keys, &mut out),
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
    out
}

fn block(value: &Value, indent: usize, sort_keys: bool, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            if sort_keys {
                entries.sort_by_key(|(key, _)| *key);
            }
            for (key, value) in entries {
                out.push_str(&pad);
                out.push_str(&scalar(&Value::from(key.as_str())));
                out.push(':');
                nested(value, indent, sort_keys, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                out.push_str(&pad);
                out.push('-');
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        let mut inner = String::new();
                        block(item, indent + 2, sort_keys, &mut inner);
                        out.push(' ');
                        out.push_str(inner.trim_start());
                    }
                    Value::Array(items) if !items.is_empty() => {
                        let mut inner = String::new();
                        block(item, indent + 2, sort_keys, &mut inner);
                        out.push(' ');
                        out.push_str(inner.trim_start());
                    }
                    other => {
                        out.push(' ');
                        out.push_str(&scalar(other));
                        out.push('\n');
                    }
                }
            }
        }
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn nested(value: &Value, indent: usize, sort_keys: bool, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, indent + 2, sort_keys, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            // PyYAML does not indent lists within mappings.
            block(value, indent, sort_keys, out);
        }
        other => {
            out.push(' ');
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text_scalar(text),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

fn text_scalar(text: &str) -> String {
    let plain = matches!(resolve(text), Kind::Text(_))
        && !text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@` ".contains(c))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains(['\n', '\t']);
    if plain {
        return text.to_owned();
    }
    if text.contains(['\n', '\t']) {
        return Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let value = json!({
            "b": [1, {"x": "yes", "y": []}, [1, 2]], "a": {"k": "a: b", "n": null, "f": 1.5, "t": "it's\nlong"}
        });
        let text = write(&value, false);
        let file = crate::file::SourceFile::new("x.yml", text.as_str());
        let parsed = crate::yaml::parse(&file);
        assert_eq!(parsed.root.to_json(), value, "{text}");
        assert!(write(&value, true).starts_with("a:"));
    }
}

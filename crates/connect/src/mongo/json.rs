//! Documents as JSON: numbers keep their kind and their digits, and what JSON has no word for is text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Bson, Document};

/// Appends a document.
pub(super) fn write_document(document: &Document, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (key, value)) in document.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(key, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

fn write(value: &Bson, out: &mut Vec<u8>) {
    match value {
        Bson::Null | Bson::Undefined => out.extend_from_slice(b"null"),
        Bson::Boolean(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Bson::Int32(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Bson::Int64(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Bson::Double(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
            None if number.is_nan() => write_text("NaN", out),
            None => write_text(if *number > 0.0 { "Infinity" } else { "-Infinity" }, out),
        },
        Bson::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Bson::Document(document) => write_document(document, out),
        Bson::RegularExpression(regex) => {
            out.extend_from_slice(b"{\"pattern\":");
            write_text(&regex.pattern.to_string(), out);
            out.extend_from_slice(b",\"options\":");
            write_text(&regex.options.to_string(), out);
            out.push(b'}');
        }
        Bson::Timestamp(stamp) => {
            let text = format!("{{\"t\":{},\"i\":{}}}", stamp.time, stamp.increment);
            out.extend_from_slice(text.as_bytes());
        }
        Bson::JavaScriptCodeWithScope(code) => {
            out.extend_from_slice(b"{\"code\":");
            write_text(&code.code, out);
            out.extend_from_slice(b",\"scope\":");
            write_document(&code.scope, out);
            out.push(b'}');
        }
        other => write_text(&text_of(other).unwrap_or_default(), out),
    }
}

/// The text that stands for a value that JSON has no word for, and the text of a text.
pub(super) fn text_of(value: &Bson) -> Option<String> {
    Some(match value {
        Bson::String(text) | Bson::Symbol(text) | Bson::JavaScriptCode(text) => text.clone(),
        Bson::ObjectId(id) => id.to_hex(),
        Bson::Decimal128(number) => number.to_string(),
        // A year of five digits has no such form.
        Bson::DateTime(time) => time
            .try_to_rfc3339_string()
            .unwrap_or_else(|_| format!("{} ms", time.timestamp_millis())),
        Bson::Binary(binary) => match (binary.subtype, <[u8; 16]>::try_from(&binary.bytes[..])) {
            (BinarySubtype::Uuid, Ok(bytes)) => mongodb::bson::Uuid::from_bytes(bytes).to_string(),
            _ => STANDARD.encode(&binary.bytes),
        },
        Bson::MinKey => "MinKey".to_owned(),
        Bson::MaxKey => "MaxKey".to_owned(),
        Bson::DbPointer(pointer) => format!("{pointer:?}"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Binary, DateTime, Decimal128, Regex, Timestamp, doc, oid::ObjectId};

    use super::*;

    #[test]
    fn every_kind_of_value_has_a_form() {
        let id = ObjectId::parse_str("6566fa1d2f1e4b0001a1b2c3").unwrap();
        let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: vec![1; 16] };
        let bytes = Binary { subtype: BinarySubtype::Generic, bytes: vec![255, 0] };
        let decimal: Decimal128 = "12345678901234567890.1230".parse().unwrap();
        for (value, text) in [
            (Bson::Int32(1), "1"),
            (Bson::Int64(i64::MAX), "9223372036854775807"),
            (Bson::Double(1.0), "1.0"),
            (Bson::Double(0.1), "0.1"),
            (Bson::Double(1e300), "1e+300"),
            (Bson::Double(f64::NAN), "\"NaN\""),
            (Bson::Double(f64::NEG_INFINITY), "\"-Infinity\""),
            (Bson::Decimal128(decimal), "\"12345678901234567890.1230\""),
            (Bson::String("a\"b\n".into()), "\"a\\\"b\\n\""),
            (Bson::ObjectId(id), "\"6566fa1d2f1e4b0001a1b2c3\""),
            (
                Bson::DateTime(DateTime::from_millis(1_704_067_200_123)),
                "\"2024-01-01T00:00:00.123Z\"",
            ),
            (Bson::DateTime(DateTime::from_millis(-1)), "\"1969-12-31T23:59:59.999Z\""),
            (Bson::Binary(uuid), "\"01010101-0101-0101-0101-010101010101\""),
            (Bson::Binary(bytes), "\"/wA=\""),
            (Bson::Timestamp(Timestamp { time: 5, increment: 2 }), "{\"t\":5,\"i\":2}"),
            (Bson::MinKey, "\"MinKey\""),
            (Bson::Null, "null"),
            (
                Bson::Array(vec![Bson::Boolean(true), Bson::Document(doc! {"x": 1})]),
                "[true,{\"x\":1}]",
            ),
        ] {
            let mut out = Vec::new();
            write(&value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text, "{value:?}");
        }
        let mut out = Vec::new();
        let regex = Regex { pattern: "a.b".try_into().unwrap(), options: "i".try_into().unwrap() };
        write_document(&doc! {"r": regex, "e": {}}, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"r":{"pattern":"a.b","options":"i"},"e":{}}"#
        );
    }
}

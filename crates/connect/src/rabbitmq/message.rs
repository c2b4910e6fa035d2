//! Messages of RabbitMQ as those of any queue.

use std::sync::Arc;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Map, Value, json};

use super::client::OFFSET;
use crate::queue::{Mark, Message, Offset};

/// Headers that the server adds itself, and changes when a message comes again.
const OF_DELIVERY: [&str; 3] = [OFFSET, "x-delivery-count", "x-acquired-count"];

/// The offset of a message of a stream.
pub(super) fn offset(delivery: &Delivery) -> Option<i64> {
    let headers = delivery.properties.headers().as_ref()?;
    match headers.inner().get(OFFSET)? {
        AMQPValue::LongLongInt(offset) => Some(*offset),
        AMQPValue::LongInt(offset) => Some(i64::from(*offset)),
        _ => None,
    }
}

/// How many bytes it has.
pub(super) fn size(delivery: &Delivery) -> usize {
    delivery.data.len() + 256
}

/// A delivery as a message.
pub(super) fn message(topic: &Arc<str>, delivery: Delivery, offset: Option<i64>) -> Message {
    let Delivery { exchange, routing_key, properties, data, .. } = delivery;
    let text = |text: &Option<ShortString>| match text {
        Some(text) => json!(text.as_str()),
        None => Value::Null,
    };
    let seconds = properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok());
    Message {
        topic: Arc::clone(topic),
        offset: offset.map_or(Offset::None, Offset::Number),
        timestamp: seconds.and_then(|seconds| seconds.checked_mul(1_000_000)),
        headers: headers(properties.headers()),
        further: vec![
            json!(exchange.as_str()),
            json!(routing_key.as_str()),
            text(properties.message_id()),
            text(properties.correlation_id()),
            text(properties.content_type()),
            text(properties.kind()),
            text(properties.app_id()),
        ],
        value: Some(Bytes::from(data)),
        ..Message::default()
    }
}

/// What a message is known by when it comes again.
pub(super) fn mark(delivery: &Delivery) -> Mark {
    let properties = &delivery.properties;
    let id = properties.message_id().as_ref().map(ShortString::as_str);
    let described = described(properties);
    Mark::of(
        id.is_some(),
        [
            id.unwrap_or_default().as_bytes(),
            delivery.exchange.as_str().as_bytes(),
            delivery.routing_key.as_str().as_bytes(),
            described.as_bytes(),
            delivery.data.as_slice(),
        ],
    )
}

/// All properties of a message, but for those of its delivery.
fn described(properties: &BasicProperties) -> String {
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
    let headers = properties.headers().iter().flat_map(|headers| headers.inner());
    let own = headers.filter(|(name, _)| !OF_DELIVERY.contains(&name.as_str()));
    // A message without headers comes again with some of its delivery.
    let headers: Map<String, Value> =
        own.map(|(name, value)| (name.as_str().to_owned(), json(value))).collect();
    json!([
        text(properties.content_type()),
        text(properties.content_encoding()),
        headers,
        properties.priority(),
        text(properties.correlation_id()),
        text(properties.reply_to()),
        text(properties.expiration()),
        properties.timestamp(),
        text(properties.kind()),
        text(properties.user_id()),
        text(properties.app_id()),
    ])
    .to_string()
}

/// Headers, in the order of their names. What is not text is written as JSON.
fn headers(table: &Option<FieldTable>) -> Vec<(String, Option<Bytes>)> {
    let table = table.iter().flat_map(|table| table.inner());
    let own = table.filter(|(name, _)| !OF_DELIVERY.contains(&name.as_str()));
    own.map(|(name, value)| {
        let value = match value {
            AMQPValue::Void => None,
            AMQPValue::LongString(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
            AMQPValue::ShortString(text) => Some(Bytes::copy_from_slice(text.as_str().as_bytes())),
            AMQPValue::ByteArray(bytes) => Some(Bytes::copy_from_slice(bytes.as_slice())),
            other => match json(other) {
                Value::String(text) => Some(Bytes::from(text)),
                value => Some(Bytes::from(value.to_string())),
            },
        };
        (name.as_str().to_owned(), value)
    })
    .collect()
}

fn json(value: &AMQPValue) -> Value {
    let bytes = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!(bytes),
    };
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::DecimalValue(value) => json!(decimal(value.value, value.scale)),
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::LongString(text) => bytes(text.as_bytes()),
        AMQPValue::ByteArray(value) => bytes(value.as_slice()),
        AMQPValue::Timestamp(seconds) => {
            let seconds = i64::try_from(*seconds).ok();
            let time = seconds.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
            time.map_or(Value::Null, |time| json!(time.to_rfc3339()))
        }
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(table) => {
            let each = table.inner().iter();
            let map: Map<String, Value> =
                each.map(|(name, value)| (name.as_str().to_owned(), json(value))).collect();
            Value::Object(map)
        }
        AMQPValue::Void => Value::Null,
    }
}

/// A decimal with all its digits.
fn decimal(value: u32, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{value:0>width$}", width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    if scale == 0 { whole.to_owned() } else { format!("{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(properties: BasicProperties, data: &str, redelivered: bool) -> Delivery {
        let mut delivery =
            Delivery::mock(1, "x".into(), "k".into(), redelivered, data.as_bytes().to_vec());
        delivery.properties = properties;
        delivery
    }

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), value.clone());
        }
        table
    }

    #[test]
    fn a_message_that_comes_again_has_the_same_mark() {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let own = ("tenant", text("a"));
        let first = BasicProperties::default().with_headers(table(std::slice::from_ref(&own)));
        let again = BasicProperties::default()
            .with_headers(table(&[own, ("x-delivery-count", AMQPValue::LongLongInt(1))]));
        let of = |properties: &BasicProperties, data: &str| {
            mark(&delivery(properties.clone(), data, false))
        };
        assert_eq!(of(&first, "1"), of(&again, "1"));
        let counted = table(&[("x-delivery-count", AMQPValue::LongLongInt(1))]);
        let counted = BasicProperties::default().with_headers(counted);
        assert_eq!(of(&BasicProperties::default(), "1"), of(&counted, "1"));
        assert_ne!(of(&first, "1"), of(&first, "2"));
        let other = BasicProperties::default().with_headers(table(&[("tenant", text("b"))]));
        assert_ne!(of(&first, "1"), of(&other, "1"));
        assert_ne!(of(&first, "1"), of(&first.clone().with_timestamp(3), "1"));
        let named = first.with_message_id("m".into());
        assert_ne!(of(&named, "1"), of(&named.clone().with_message_id("n".into()), "1"));
    }

    #[test]
    fn what_is_known_of_a_message_is_kept() {
        let headers = table(&[
            ("count", AMQPValue::LongInt(7)),
            ("nested", AMQPValue::FieldTable(table(&[("a", AMQPValue::Boolean(true))]))),
            ("nothing", AMQPValue::Void),
            (OFFSET, AMQPValue::LongLongInt(9)),
        ]);
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id("m1".into())
            .with_timestamp(1_700_000_000);
        let delivery = delivery(properties, "{}", true);
        let offset = offset(&delivery);
        assert_eq!(offset, Some(9));
        let message = message(&"q".into(), delivery, offset);
        let header = |name: &str, value: &'static str| {
            (name.to_owned(), Some(Bytes::from_static(value.as_bytes())))
        };
        assert_eq!(
            message.headers,
            [header("count", "7"), header("nested", "{\"a\":true}"), ("nothing".to_owned(), None)]
        );
        assert_eq!(message.timestamp, Some(1_700_000_000_000_000));
        assert_eq!(message.further[..3], [json!("x"), json!("k"), json!("m1")]);
        assert_eq!(decimal(5, 2), "0.05");
    }
}

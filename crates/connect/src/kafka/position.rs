//! How far topics were read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Position, Result, ResultExt};

/// How far the topics of a table were read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct KafkaPosition {
    pub(super) topics: BTreeMap<String, TopicPosition>,
    /// The consumer group that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
}

/// How far a topic was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TopicPosition {
    /// What the broker calls it: a topic that is made again has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// The offset of the next message, by partition.
    pub(super) offsets: BTreeMap<i32, i64>,
    /// Where a table of all messages began, by partition.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) starts: BTreeMap<i32, i64>,
}

impl KafkaPosition {
    /// # Errors
    /// Kind `Data` for what is no position of Kafka.
    pub(super) fn parse(map: &Map<String, Value>) -> Result<KafkaPosition> {
        serde_json::from_value(Value::Object(map.clone()))
            .or_error(ErrorKind::Data, "the position of the last load is not one of Kafka")
    }

    pub(super) fn to_map(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => Ok(map),
            _ => Err(Error::new(ErrorKind::Internal, "a position could not be written")),
        }
    }

    /// Sets how far a partition was read.
    pub(super) fn set(&mut self, topic: &str, partition: i32, offset: i64) {
        let topic = self.topics.entry(topic.to_owned()).or_default();
        topic.offsets.insert(partition, offset);
    }
}

/// A consumer group and the offsets that it is told.
pub(super) struct Groups {
    pub(super) group: String,
    pub(super) offsets: Vec<(String, i32, i64)>,
}

/// What a group is told of a position that is published, if one is.
pub(super) fn groups(position: &Position) -> Option<Groups> {
    let position = KafkaPosition::parse(position.0.as_object()?).ok()?;
    let group = position.group?;
    let topics = position.topics.into_iter();
    let offsets = topics.flat_map(|(topic, read)| {
        read.offsets.into_iter().map(move |(partition, offset)| (topic.clone(), partition, offset))
    });
    Some(Groups { group, offsets: offsets.collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_position_comes_back_whatever_else_stands_in_it() {
        let mut position = KafkaPosition::default();
        position.set("orders", 3, 12);
        position.set("orders", 10, 0);
        position.topics.get_mut("orders").unwrap().id = Some("ab".to_owned());
        let mut map = position.to_map().unwrap();
        let offsets = json!({"3": 12, "10": 0});
        assert_eq!(Value::Object(map.clone())["topics"]["orders"]["offsets"], offsets);
        map.insert("types".to_owned(), json!({}));
        assert_eq!(KafkaPosition::parse(&map).unwrap(), position);
        assert!(groups(&Position(Value::Object(map))).is_none());
        position.group = Some("g".to_owned());
        let told = groups(&Position(Value::Object(position.to_map().unwrap()))).unwrap();
        assert_eq!((told.group.as_str(), told.offsets.len()), ("g", 2));
        assert!(KafkaPosition::parse(json!({"files": {}}).as_object().unwrap()).is_err());
    }
}

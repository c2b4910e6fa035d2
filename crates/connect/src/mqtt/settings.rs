//! What is written under `ingest:` of a table that comes from MQTT.

use std::time::Duration;

use rumqttc::QoS;
use serde::Deserialize;
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

use crate::queue::{Mark, Meta, MetaKind, OnLost, QueueSettings, own_settings};
use crate::rest::Span;

/// The settings of such a table that other queues do not have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MqttTable {
    /// A topic filter, or several: `sensors/+/temperature`, `plant/#`. Default: the name of the source table.
    topic: Option<Topics>,
    /// 1 (the default) or 2.
    qos: Option<u8>,
    /// The name of the session. Default: made of the connection and the table.
    client_id: Option<String>,
    /// How long no message comes at the end of a load.
    idle: Option<Span>,
    /// Whether the messages that the broker retains are loaded when a topic is subscribed.
    pub(super) retained: bool,
    /// What happens when the broker does not have the session any more.
    pub(super) on_lost: OnLost,
}

/// One filter or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Topics {
    One(String),
    Many(Vec<String>),
}

/// What is known of a message.
pub(super) const LAYOUT: &[Meta] = &[
    Meta { name: "topic", kind: MetaKind::Topic },
    Meta { name: "received_at", kind: MetaKind::Timestamp },
    Meta { name: "qos", kind: MetaKind::FurtherInteger(0) },
    Meta { name: "retained", kind: MetaKind::FurtherBoolean(1) },
];

impl MqttTable {
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    pub(super) fn parse(written: &Value) -> Result<(QueueSettings, MqttTable)> {
        let (common, own) = QueueSettings::take(written)?;
        let table: MqttTable = own_settings(own)?;
        let wrong = |message: String| Err(Error::new(ErrorKind::Config, message));
        if written.get("start").is_some_and(|start| !start.is_null()) {
            return wrong("`start` does not go with MQTT, which has no older messages".to_owned());
        }
        if !matches!(table.qos, None | Some(1 | 2)) {
            return wrong(
                "`qos` is 1 or 2: what is sent with 0 is not kept for a client that is away"
                    .to_owned(),
            );
        }
        if let Some(id) = &table.client_id
            && (id.is_empty() || id.len() > 65_535)
        {
            return wrong(
                "`client_id` is the name of the session, and must not be empty".to_owned(),
            );
        }
        if let Some(topics) = &table.topic {
            topics.check()?;
        }
        Ok((common, table))
    }

    /// The filters.
    ///
    /// # Errors
    /// Kind `Config` for a name that is none.
    pub(super) fn topics(&self, name: &str) -> Result<Vec<String>> {
        let topics = self.topic.clone().unwrap_or_else(|| Topics::One(name.to_owned()));
        topics.check()?;
        let mut topics = match topics {
            Topics::One(topic) => vec![topic],
            Topics::Many(topics) => topics,
        };
        topics.sort();
        topics.dedup();
        Ok(topics)
    }

    pub(super) fn qos(&self) -> QoS {
        match self.qos {
            Some(2) => QoS::ExactlyOnce,
            _ => QoS::AtLeastOnce,
        }
    }

    pub(super) fn idle(&self) -> Duration {
        self.idle.map_or(Duration::from_secs(2), |span| span.0)
    }

    /// The name of the session: the same with every load, of letters and digits that every broker takes.
    pub(super) fn client_id(&self, connection: &str, server: &str, table: &str) -> String {
        match &self.client_id {
            Some(id) => id.clone(),
            None => {
                let parts = [connection, server, table];
                let mark = Mark::of(true, parts.iter().map(|part| part.as_bytes()));
                format!("tidemill{:015x}", mark.number() >> 4)
            }
        }
    }
}

impl Topics {
    fn check(&self) -> Result<()> {
        let all = match self {
            Topics::One(topic) => std::slice::from_ref(topic),
            Topics::Many(topics) => topics,
        };
        if all.is_empty() {
            return Err(Error::new(ErrorKind::Config, "`topic` names no topic"));
        }
        match all.iter().find(|topic| !rumqttc::valid_filter(topic)) {
            None => Ok(()),
            Some(wrong) => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`topic: {wrong}` is no filter: `+` stands for one level, and `#` for all that follow, at the end"
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_topics() {
        let table = |written| MqttTable::parse(&written).unwrap().1;
        assert_eq!(table(json!({})).topics("a/b").unwrap(), ["a/b"]);
        assert_eq!(
            table(json!({"topic": ["b", "a/+/c", "b"]})).topics("x").unwrap(),
            ["a/+/c", "b"]
        );
        assert_eq!(table(json!({"qos": 2})).qos(), QoS::ExactlyOnce);
        for (written, named) in [
            (json!({"topic": "a/#/b"}), "`topic: a/#/b`"),
            (json!({"topic": []}), "`topic`"),
            (json!({"qos": 0}), "`qos`"),
            (json!({"start": "latest"}), "`start`"),
            (json!({"client_id": ""}), "`client_id`"),
            (json!({"topics": "a"}), "`topics`"),
        ] {
            let error = MqttTable::parse(&written).unwrap_err();
            assert!(error.message().contains(named), "{written}: {error}");
        }
        assert!(table(json!({})).topics("a/#/b").is_err());
    }

    #[test]
    fn every_table_has_a_session_of_its_own() {
        let table = MqttTable::parse(&json!({})).unwrap().1;
        let id = table.client_id("plant", "mqtt://h:1883", "readings");
        assert_eq!(id, table.client_id("plant", "mqtt://h:1883", "readings"));
        assert_ne!(id, table.client_id("plant", "mqtt://h:1883", "alarms"));
        assert!(id.len() == 23 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }
}

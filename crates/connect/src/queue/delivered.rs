//! The record of what an export brought to a queue, which is kept over there as the rows are.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemill_core::Delivery;

/// Where records are kept: the topic, stream, key, or the beginning of the names of queues.
pub(crate) const RECORDS: &str = "tidemill_deliveries";

/// What was delivered last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveryRecord {
    relation: String,
    state: String,
    mode: String,
    target: String,
    /// How many messages there were of it.
    pub(crate) rows: u64,
    run: String,
    delivered_at: String,
    /// As long as some of them are missing: what tells the messages that are there from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<String>,
}

impl DeliveryRecord {
    /// That of a delivery.
    pub(crate) fn of(delivery: &Delivery, target: &str, rows: u64) -> DeliveryRecord {
        DeliveryRecord {
            relation: delivery.relation.to_string(),
            state: delivery.state.clone(),
            mode: delivery.mode.record(),
            target: target.to_owned(),
            rows,
            run: delivery.run.to_string(),
            delivered_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            sent: None,
        }
    }

    /// One that was read; none of what is not ours.
    pub(crate) fn parse(bytes: &[u8]) -> Option<DeliveryRecord> {
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether it is about this state, sent in this way to this place.
    pub(crate) fn is_about(&self, delivery: &Delivery, target: &str) -> bool {
        self.relation == delivery.relation.to_string()
            && self.state == delivery.state
            && self.mode == delivery.mode.record()
            && self.target == target
    }

    /// Whether nothing is left to be done of the delivery.
    pub(crate) fn holds(&self, delivery: &Delivery, target: &str) -> bool {
        !delivery.again && self.sent.is_none() && self.is_about(delivery, target)
    }

    /// Whether it is of this very run.
    pub(crate) fn is_of_run(&self, delivery: &Delivery) -> bool {
        self.run == delivery.run.to_string() && self.state == delivery.state && self.sent.is_none()
    }
}

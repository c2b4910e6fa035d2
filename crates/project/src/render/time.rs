//! Times as templates see them.

use chrono::{DateTime, Utc};
use tidemill_jinja::Value;

/// A moment in UTC.
pub(super) fn datetime(time: &DateTime<Utc>) -> Value {
    Value::from(time.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string())
}

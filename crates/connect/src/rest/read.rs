//! The read of an endpoint: what the API is asked for.

use std::sync::Arc;

use chrono::DateTime;
use serde_json::{Map, Value, json};
use tidemill_core::{
    Change, ConnectContext, Error, ErrorKind, Notice, ReadRequest, ReadScope, Result,
};
use tokio::runtime::Handle;

use super::client::Client;
use super::fetch;
use super::settings::{EndpointSettings, Incremental, Place, RestConfig};
use crate::records;
use crate::stream::{Sink, blocking};
use crate::tables::{CursorValue, Lookback, decimal_text};

/// What is read.
pub(super) struct Plan {
    settings: EndpointSettings,
    request: ReadRequest,
    records: records::Plan,
}

impl Plan {
    pub(super) fn new(config: &RestConfig, request: ReadRequest) -> Result<Plan> {
        let settings = EndpointSettings::parse(&request.settings)?;
        let path = settings.path.clone().unwrap_or_else(|| request.name.clone());
        let mut reader = Map::new();
        for (name, value) in [
            ("date_format", settings.date_format.as_ref().map(|text| json!(text))),
            ("timestamp_format", settings.timestamp_format.as_ref().map(|text| json!(text))),
            ("max_record_bytes", settings.max_record_bytes.clone()),
        ] {
            reader.extend(value.map(|value| (name.to_owned(), value)));
        }
        let from = format!("{}{path}", config.url);
        let records = records::Plan::new(from, settings.lookback, reader, &request)?;
        if settings.incremental.is_some()
            && request.scope == ReadScope::Changed
            && records.cursor().is_none()
        {
            return Err(Error::new(
                ErrorKind::Config,
                "`incremental` needs a `cursor`: the column whose largest value is asked from",
            ));
        }
        Ok(Plan { settings, request, records })
    }

    /// What the API is asked for, by its parameter.
    fn since(&self) -> Result<Option<(String, Value, Place)>> {
        let Some(incremental) = &self.settings.incremental else { return Ok(None) };
        let value = match self.records.since()? {
            None => incremental.start.clone(),
            Some(value) => {
                let value = if incremental.exclusive { step_back(&value)? } else { value };
                Some(written(&value, incremental)?)
            }
        };
        Ok(value.map(|value| (incremental.param.clone(), value, incremental.place)))
    }

    /// Fetches, then reads what was fetched.
    pub(super) async fn run(
        self,
        config: &Arc<RestConfig>,
        context: &ConnectContext,
        handle: Handle,
        sink: Sink,
    ) -> Result<()> {
        let since = self.since()?;
        let (config, context) = (config.clone(), context.clone());
        let (settings, name) = (self.settings, self.request.name.clone());
        let cancel = self.request.cancel.clone();
        let (spooled, said) = blocking(move || {
            let client = Client::new(&config, &context, handle)?;
            let paging = config.paging.as_ref();
            let spooled = fetch::fetch(&client, &settings, &name, paging, since, &cancel)?;
            Ok((spooled, client.said()))
        })
        .await?;
        for message in said {
            let (code, object) = ("refresh-token".to_owned(), None);
            sink.send(Change::Notice(Notice { code, message, object })).await?;
        }
        self.records.run(spooled, self.request, records::Found::default(), &sink).await
    }
}

/// A value that is smaller by what the format of a parameter can show.
fn step_back(value: &CursorValue) -> Result<CursorValue> {
    match value {
        CursorValue::Integer(_) | CursorValue::Decimal(..) | CursorValue::Date(_) => {
            value.behind(Lookback::Number(1))
        }
        _ => value.behind(Lookback::Time(1_000_000)),
    }
}

/// The value as the API wants it.
fn written(value: &CursorValue, incremental: &Incremental) -> Result<Value> {
    let format = incremental.format.as_deref();
    let micros = match value {
        CursorValue::Integer(number) => return Ok(json!(number)),
        CursorValue::Text(text) => return Ok(json!(text)),
        CursorValue::Decimal(number, scale) => return Ok(json!(decimal_text(*number, *scale))),
        CursorValue::Date(days) => i64::from(*days) * 86_400_000_000,
        CursorValue::Timestamp(micros) | CursorValue::Instant(micros) => *micros,
    };
    let time = DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::new(ErrorKind::Data, "the largest value of the cursor is no time"))?;
    let is_date = matches!(value, CursorValue::Date(_));
    Ok(match format {
        Some("date") => json!(time.format("%Y-%m-%d").to_string()),
        Some("unix") => json!(time.timestamp()),
        Some("unix_ms") => json!(time.timestamp_millis()),
        None | Some("iso8601") if is_date => json!(time.format("%Y-%m-%d").to_string()),
        None | Some("iso8601") => {
            let zone = if matches!(value, CursorValue::Instant(_)) { "Z" } else { "" };
            let part = match micros.rem_euclid(1_000_000) {
                0 => "",
                part if part % 1000 == 0 => "%.3f",
                _ => "%.6f",
            };
            json!(format!("{}{zone}", time.format(&format!("%Y-%m-%dT%H:%M:%S{part}"))))
        }
        Some(pattern) => {
            use std::fmt::Write as _;
            let mut text = String::new();
            if !pattern.contains('%') || write!(text, "{}", time.format(pattern)).is_err() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "`format: {pattern}` of `incremental` is none of iso8601, date, unix, unix_ms and no \
                         pattern such as `%Y-%m-%d`"
                    ),
                ));
            }
            json!(text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_api_wants_them() {
        let of = |format: &str| Incremental {
            param: "since".to_owned(),
            format: Some(format.to_owned()),
            start: None,
            exclusive: false,
            place: Place::Query,
        };
        let instant = CursorValue::Instant(1_704_067_200_123_000);
        for (value, format, expected) in [
            (instant.clone(), "iso8601", json!("2024-01-01T00:00:00.123Z")),
            (
                CursorValue::Timestamp(1_704_067_200_000_000),
                "iso8601",
                json!("2024-01-01T00:00:00"),
            ),
            (CursorValue::Date(19_723), "iso8601", json!("2024-01-01")),
            (CursorValue::Date(19_723), "unix", json!(1_704_067_200)),
            (instant.clone(), "date", json!("2024-01-01")),
            (instant.clone(), "unix_ms", json!(1_704_067_200_123_i64)),
            (instant.clone(), "%d.%m.%Y", json!("01.01.2024")),
            (CursorValue::Integer(-3), "iso8601", json!(-3)),
            (CursorValue::Decimal(-5, 2), "iso8601", json!("-0.05")),
        ] {
            assert_eq!(written(&value, &of(format)).unwrap(), expected, "{format}");
        }
        assert!(written(&instant, &of("rfc")).is_err());
        assert!(written(&instant, &of("%Q")).is_err());
        assert_eq!(
            step_back(&CursorValue::Instant(5_000_000)).unwrap(),
            CursorValue::Instant(4_000_000)
        );
    }
}

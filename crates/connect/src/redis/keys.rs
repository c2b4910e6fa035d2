//! Keys as a table: the values of all keys that match a pattern.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use redis::Value;
use serde_json::{Map, json};
use tidemill_core::{Cancellation, Error, ErrorKind, Result};

use super::client::{Client, bytes, elements, json_text, number, object, pairs, text};
use super::seen::Seen;
use super::settings::{RedisTable, ValueType};
use crate::queue::{Message, Reading, Spool};
use crate::stream::Sink;

/// How many keys are looked at in one step of the server, at most about.
const SCANNED: usize = 1000;

/// How many values are fetched at a time.
const FETCHED: usize = 100;

/// What has no more elements is fetched in one answer, which is one state of it.
const AT_ONCE: i64 = 10_000;

/// How many elements of what has more are fetched at a time.
const ELEMENTS: i64 = 1000;

/// Reads all keys that match.
pub(super) async fn read(
    client: &mut Client,
    table: &RedisTable,
    pattern: &str,
    reading: Reading,
    sink: &Sink,
) -> Result<()> {
    let mut keys = Keys {
        client,
        table,
        topic: pattern.into(),
        spool: reading.spool()?,
        cancel: reading.request().cancel.clone(),
        left_out: BTreeMap::new(),
    };
    keys.scan(pattern).await?;
    let Keys { spool, left_out, .. } = keys;
    for (kind, count) in left_out {
        let keys = if count == 1 { "1 key holds".to_owned() } else { format!("{count} keys hold") };
        let hint = match kind.as_str() {
            "stream" => "; a stream is read by `stream: NAME`",
            _ => "",
        };
        let message = format!("{keys} values of type {kind}, which make no rows{hint}");
        reading.notice(sink, "left-out-keys", message).await?;
    }
    let position = Map::from_iter([("keys".to_owned(), json!(pattern))]);
    reading.deliver(spool.finish()?, position, sink).await
}

struct Keys<'a> {
    client: &'a mut Client,
    table: &'a RedisTable,
    topic: Arc<str>,
    spool: Spool,
    cancel: Cancellation,
    /// How many keys have values of types that make no rows.
    left_out: BTreeMap<String, u64>,
}

impl Keys<'_> {
    async fn scan(&mut self, pattern: &str) -> Result<()> {
        let mut seen = Seen::new();
        let mut cursor = "0".to_owned();
        loop {
            self.cancel.check()?;
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED);
            if let Some(kind) = self.table.kind {
                scan.arg("TYPE").arg(kind.name());
            }
            let mut answer = elements(self.client.ask(&scan).await?)?.into_iter();
            let (Some(next), Some(found)) = (answer.next(), answer.next()) else {
                return Err(Error::new(
                    ErrorKind::Data,
                    "Redis gave no keys where they are expected",
                ));
            };
            cursor = text(&next).unwrap_or_default();
            let mut keys = Vec::new();
            for key in elements(found)? {
                let key = bytes(key)?;
                if seen.insert(&key)? {
                    keys.push(key);
                }
            }
            for keys in keys.chunks(FETCHED) {
                self.fetch(keys).await?;
            }
            if cursor == "0" {
                return Ok(());
            }
        }
    }

    /// Fetches the values of these keys. One that is gone by now is left out.
    async fn fetch(&mut self, keys: &[Vec<u8>]) -> Result<()> {
        let ask = |name: &str, key: &Vec<u8>| {
            let mut command = redis::cmd(name);
            command.arg(key.as_slice());
            command
        };
        let kinds = match self.table.kind {
            Some(kind) => vec![Some(kind.name().to_owned()); keys.len()],
            None => {
                let commands = keys.iter().map(|key| ask("TYPE", key)).collect();
                let kinds = self.client.ask_all(commands).await?;
                kinds.into_iter().map(|kind| text(&kind?)).collect()
            }
        };
        let mut known = Vec::with_capacity(keys.len());
        for (key, kind) in keys.iter().zip(kinds) {
            let kind = kind.unwrap_or_else(|| "none".to_owned());
            match ValueType::of(&kind) {
                Some(kind) => known.push((key, kind)),
                None if kind == "none" => {}
                None => *self.left_out.entry(kind).or_default() += 1,
            }
        }
        let first = |(key, kind): &(&Vec<u8>, ValueType)| match kind {
            ValueType::Hash => ask("HGETALL", key),
            ValueType::String => ask("GET", key),
            ValueType::List => ask("LLEN", key),
            ValueType::Set => ask("SCARD", key),
            ValueType::Zset => ask("ZCARD", key),
        };
        let answers = self.client.ask_all(known.iter().map(first).collect()).await?;
        for ((key, kind), answer) in known.into_iter().zip(answers) {
            let Some(answer) = answer else { continue };
            self.take(key, kind, answer).await?;
        }
        Ok(())
    }

    async fn take(&mut self, key: &[u8], kind: ValueType, answer: Value) -> Result<()> {
        let format = self.table.format.as_deref();
        if kind != ValueType::String && format.is_some_and(|format| format != "json") {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`format: {}` is for keys that hold a text; `{}` is a {}",
                    format.unwrap_or_default(),
                    String::from_utf8_lossy(key),
                    kind.name()
                ),
            )
            .with("help", "leave `format` out, or write `type: string`"));
        }
        match kind {
            ValueType::Hash => {
                let mut fields = Vec::new();
                for (name, value) in pairs(answer)? {
                    fields.push((name, bytes(value)?));
                }
                // A hash without fields is not there.
                match fields.is_empty() {
                    true => Ok(()),
                    false => self.push(key, kind, object(&fields)),
                }
            }
            ValueType::String => {
                if answer == Value::Nil {
                    return Ok(());
                }
                let value = bytes(answer)?;
                match format {
                    Some(_) => self.push(key, kind, value),
                    None => self.push(key, kind, format!("{{\"value\":{}}}", json_text(&value))),
                }
            }
            ValueType::List => self.list(key, number(&answer).unwrap_or(0)).await,
            ValueType::Set => self.set(key, number(&answer).unwrap_or(0)).await,
            ValueType::Zset => self.sorted_set(key, number(&answer).unwrap_or(0)).await,
        }
    }

    fn push(&mut self, key: &[u8], kind: ValueType, value: impl Into<Bytes>) -> Result<()> {
        self.spool.push(Message {
            topic: Arc::clone(&self.topic),
            key: Some(Bytes::copy_from_slice(key)),
            value: Some(value.into()),
            further: vec![json!(kind.name())],
            ..Message::default()
        })
    }

    async fn list(&mut self, key: &[u8], length: i64) -> Result<()> {
        let page = if length <= AT_ONCE { AT_ONCE } else { ELEMENTS };
        let mut from = 0;
        loop {
            self.cancel.check()?;
            let mut command = redis::cmd("LRANGE");
            command.arg(key).arg(from).arg(from + page - 1);
            let Some(answer) = self.of_type(command).await? else { return Ok(()) };
            let values = elements(answer)?;
            let came = values.len() as i64;
            for (at, value) in values.into_iter().enumerate() {
                let value = json_text(&bytes(value)?);
                let index = from + at as i64;
                self.push(
                    key,
                    ValueType::List,
                    format!("{{\"index\":{index},\"value\":{value}}}"),
                )?;
            }
            from += came;
            if came < page {
                return Ok(());
            }
        }
    }

    async fn set(&mut self, key: &[u8], members: i64) -> Result<()> {
        if members <= AT_ONCE {
            let mut command = redis::cmd("SMEMBERS");
            command.arg(key);
            let Some(answer) = self.of_type(command).await? else { return Ok(()) };
            return self.members(key, elements(answer)?, &mut None);
        }
        let mut seen = Some(Seen::new());
        let mut cursor = "0".to_owned();
        while let Some((next, found)) = self.page("SSCAN", key, &cursor).await? {
            self.members(key, found, &mut seen)?;
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        Ok(())
    }

    fn members(&mut self, key: &[u8], members: Vec<Value>, seen: &mut Option<Seen>) -> Result<()> {
        for member in members {
            let member = bytes(member)?;
            if let Some(seen) = seen
                && !seen.insert(&member)?
            {
                continue;
            }
            self.push(key, ValueType::Set, format!("{{\"value\":{}}}", json_text(&member)))?;
        }
        Ok(())
    }

    async fn sorted_set(&mut self, key: &[u8], members: i64) -> Result<()> {
        if members <= AT_ONCE {
            let mut command = redis::cmd("ZRANGE");
            command.arg(key).arg(0).arg(-1).arg("WITHSCORES");
            let Some(answer) = self.of_type(command).await? else { return Ok(()) };
            return self.scored(key, answer, &mut None);
        }
        let mut seen = Some(Seen::new());
        let mut cursor = "0".to_owned();
        while let Some((next, found)) = self.page("ZSCAN", key, &cursor).await? {
            self.scored(key, Value::Array(found), &mut seen)?;
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        Ok(())
    }

    fn scored(&mut self, key: &[u8], answer: Value, seen: &mut Option<Seen>) -> Result<()> {
        for (member, score) in pairs(answer)? {
            if let Some(seen) = seen
                && !seen.insert(&member)?
            {
                continue;
            }
            let score = score_in_json(&bytes(score)?);
            let member = json_text(&member);
            self.push(key, ValueType::Zset, format!("{{\"value\":{member},\"score\":{score}}}"))?;
        }
        Ok(())
    }

    /// A page of the elements of a value, and where the next one begins.
    async fn page(
        &mut self,
        command: &str,
        key: &[u8],
        cursor: &str,
    ) -> Result<Option<(String, Vec<Value>)>> {
        self.cancel.check()?;
        let mut scan = redis::cmd(command);
        scan.arg(key).arg(cursor).arg("COUNT").arg(ELEMENTS);
        let Some(answer) = self.of_type(scan).await? else { return Ok(None) };
        let mut answer = elements(answer)?.into_iter();
        match (answer.next(), answer.next()) {
            (Some(next), Some(found)) => {
                Ok(Some((text(&next).unwrap_or_default(), elements(found)?)))
            }
            _ => Ok(None),
        }
    }

    /// The answer, unless the key has another type by now.
    async fn of_type(&mut self, command: redis::Cmd) -> Result<Option<Value>> {
        Ok(self.client.ask_all(vec![command]).await?.pop().flatten())
    }
}

/// A score as a number in JSON. The infinite have none, and stand as text.
fn score_in_json(score: &[u8]) -> String {
    let written = String::from_utf8_lossy(score);
    match written.parse::<f64>() {
        // Redis writes as many digits as it takes to tell a number from all others.
        Ok(number) if number.is_finite() => written.into_owned(),
        _ => json_text(score),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_keep_their_digits() {
        assert_eq!(score_in_json(b"1.10"), "1.10");
        assert_eq!(score_in_json(b"3.0000000000000004e+20"), "3.0000000000000004e+20");
        assert_eq!(score_in_json(b"inf"), "\"inf\"");
        assert_eq!(score_in_json(b"-inf"), "\"-inf\"");
    }
}

//! What there is in a database: its streams, and its keys by what their names begin with.

use std::collections::BTreeMap;

use tidemill_core::{Result, TableDescription};

use super::client::{Client, bytes, elements, number, text};

/// How many keys are looked at. In a larger database the rest is not named.
const LOOKED_AT: usize = 100_000;

/// How many keys are looked at in one step of the server.
const SCANNED: usize = 1000;

/// The streams, and for other keys the patterns that match them (`user:*`), as names of keys are made of parts
/// by convention.
pub(super) async fn tables(client: &mut Client) -> Result<Vec<TableDescription>> {
    let mut streams = BTreeMap::new();
    let mut patterns: BTreeMap<String, u64> = BTreeMap::new();
    let (mut cursor, mut looked_at) = ("0".to_owned(), 0);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor).arg("COUNT").arg(SCANNED);
        let mut answer = elements(client.ask(&scan).await?)?.into_iter();
        let (Some(next), Some(found)) = (answer.next(), answer.next()) else { break };
        cursor = text(&next).unwrap_or_default();
        let mut keys = Vec::new();
        for key in elements(found)? {
            keys.push(bytes(key)?);
        }
        let ask = |key: &Vec<u8>| {
            let mut command = redis::cmd("TYPE");
            command.arg(key.as_slice());
            command
        };
        let kinds = client.ask_all(keys.iter().map(ask).collect()).await?;
        for (key, kind) in keys.iter().zip(kinds) {
            let Ok(name) = std::str::from_utf8(key) else { continue };
            match kind.as_ref().and_then(text).as_deref() {
                Some("stream") => {
                    streams.insert(name.to_owned(), 0);
                }
                Some("none") | None => {}
                Some(_) => *patterns.entry(pattern(name)).or_default() += 1,
            }
        }
        looked_at += keys.len();
        if cursor == "0" || looked_at >= LOOKED_AT {
            break;
        }
    }
    for (name, length) in &mut streams {
        let answer = client.ask(redis::cmd("XLEN").arg(name)).await?;
        *length = number(&answer).and_then(|length| u64::try_from(length).ok()).unwrap_or_default();
    }
    let whole = cursor == "0";
    let describe = |(name, rows): (String, u64), estimated: bool| TableDescription {
        name,
        schema: None,
        rows: Some(rows),
        estimated,
        primary_key: Vec::new(),
    };
    let streams = streams.into_iter().map(|found| describe(found, false));
    Ok(streams.chain(patterns.into_iter().map(|found| describe(found, !whole))).collect())
}

/// The pattern that matches keys that are called so, by the last `:` in it.
fn pattern(name: &str) -> String {
    match name.rfind(':') {
        None => name.to_owned(),
        Some(at) => {
            let mut pattern = String::new();
            for letter in name[..=at].chars() {
                // What has a meaning in patterns stands for itself here.
                if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
                    pattern.push('\\');
                }
                pattern.push(letter);
            }
            pattern + "*"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn keys_are_named_by_their_beginning() {
        assert_eq!(pattern("user:17"), "user:*");
        assert_eq!(pattern("shop:user:17"), "shop:user:*");
        assert_eq!(pattern("counter"), "counter");
        assert_eq!(pattern("a*b:1"), "a\\*b:*");
    }
}

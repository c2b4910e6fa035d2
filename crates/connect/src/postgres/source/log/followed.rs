//! Whether the changes of a table can be followed.

use std::collections::BTreeMap;

use tidemill_core::{Error, ErrorKind, Result};
use tokio_postgres::Client;

use super::slot::ask;

/// The table: what the log calls it, and whether its changes can be followed.
pub(super) struct Followed {
    /// Its number in the catalog.
    pub(super) number: Option<String>,
    /// Its columns by their numbers.
    pub(super) columns: BTreeMap<String, String>,
    pub(super) schema: String,
    pub(super) name: String,
    /// Columns that the database computes, which the log leaves out.
    pub(super) generated: Vec<String>,
}

/// Looks at the server and the table.
///
/// # Errors
/// Kind `Config`, with what to change, where the log of changes does not have what is needed.
pub(super) async fn followed(client: &Client, table: &str, key: &[String]) -> Result<Followed> {
    let refused = |message: String, help: String| {
        Err(Error::new(ErrorKind::Config, message).with("help", help))
    };
    let server = "select current_setting('wal_level'), current_setting('server_version_num'), \
                  pg_is_in_recovery()::text";
    let server = ask(client, server, &[]).await?.into_iter().next().unwrap_or_default();
    let value = |at: usize| server.get(at).cloned().flatten().unwrap_or_default();
    if value(0) != "logical" {
        return refused(
            format!(
                "the server's `wal_level` is `{}`, and its log has no changes of rows",
                value(0)
            ),
            "`alter system set wal_level = logical`, and restart the server".to_owned(),
        );
    }
    if value(1).parse::<u32>().unwrap_or(0) < 130_000 {
        return refused(
            "changes can be followed from PostgreSQL 13 on".to_owned(),
            "use `mode: merge` with a `cursor`".to_owned(),
        );
    }
    if value(2) == "true" {
        return refused(
            "the server is a standby, where no replication slot can be made".to_owned(),
            "connect to the primary".to_owned(),
        );
    }
    let sql = "select n.nspname::text, c.relname::text, c.relkind::text, c.relreplident::text, \
         (select string_agg(a.attname::text, e'\\x1f') from pg_catalog.pg_attribute a \
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated <> ''), \
         (select string_agg(a.attname::text, e'\\x1f') from pg_catalog.pg_index i \
            join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey) \
            where i.indrelid = c.oid and case c.relreplident when 'i' then i.indisreplident else i.indisprimary end), \
         c.relpersistence::text, c.oid::text, \
         (select string_agg(a.attnum || '=' || a.attname, e'\\x1f') from pg_catalog.pg_attribute a \
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) \
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where c.oid = pg_catalog.to_regclass($1)";
    let Some(row) = ask(client, sql, &[table]).await?.into_iter().next() else {
        return refused(
            format!("there is no table {table}"),
            "`tidemill connection discover` lists the tables".to_owned(),
        );
    };
    let value = |at: usize| row.get(at).cloned().flatten();
    let list = |at: usize| -> Vec<String> {
        value(at).map(|text| text.split('\x1f').map(str::to_owned).collect()).unwrap_or_default()
    };
    let kind = value(2).unwrap_or_default();
    if !matches!(kind.as_str(), "r" | "p") || value(6).as_deref() != Some("p") {
        return refused(
            format!("{table} is no lasting table of this server, and has no log of changes"),
            "follow the tables that it shows, or use `mode: merge` or `full`".to_owned(),
        );
    }
    let identity = value(3).unwrap_or_default();
    let known = list(5);
    let missing: Vec<&String> = key.iter().filter(|column| !known.contains(column)).collect();
    if identity != "f" && (identity == "n" || !missing.is_empty()) {
        return refused(
            format!(
                "the log says of a changed row of {table} {}, which is not the `primary_key` {}",
                match known.is_empty() || identity == "n" {
                    true => "nothing".to_owned(),
                    false => format!("its {}", known.join(", ")),
                },
                key.join(", ")
            ),
            format!(
                "declare the table's own key, or let the log have it: `alter table {table} replica \
                 identity full` (or `using index` of a unique index of these columns)"
            ),
        );
    }
    Ok(Followed {
        number: value(7),
        columns: list(8)
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(number, name)| (number.to_owned(), name.to_owned()))
            .collect(),
        schema: value(0).unwrap_or_default(),
        name: value(1).unwrap_or_default(),
        generated: list(4),
    })
}

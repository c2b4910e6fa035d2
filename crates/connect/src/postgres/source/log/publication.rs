//! The publication that has the changes of all tables of a connection.

use std::collections::HashSet;

use tidemill_core::{Error, ErrorKind, Result};
use tokio_postgres::Client;
use xxhash_rust::xxh3::xxh3_64;

use super::followed::Followed;
use super::slot::{ask, one};
use crate::postgres::catalog;
use crate::postgres::error;

/// The name of ours.
pub(super) fn name_of(connection: &str) -> String {
    match connection {
        "" => "tidemill".to_owned(),
        connection => format!("tidemill_{}", plain(connection, 40)),
    }
}

/// Makes sure that a publication is there and has all changes of the table; `ours` is made, and takes the table in.
pub(super) async fn publishes(
    client: &Client,
    table: &str,
    of: &Followed,
    name: &str,
    ours: bool,
) -> Result<()> {
    let sql = "select (pubinsert and pubupdate and pubdelete and pubtruncate)::text, pubviaroot::text, \
         (select count(*) from pg_catalog.pg_publication_tables t where t.pubname = p.pubname \
            and t.schemaname = $2 and t.tablename = $3)::text, \
         (select count(*) from pg_catalog.pg_publication_rel r, pg_catalog.pg_class c \
            where r.prpubid = p.oid and r.prrelid = c.oid and c.oid = pg_catalog.to_regclass($4) \
            and (to_jsonb(r) ->> 'prqual' is not null or to_jsonb(r) ->> 'prattrs' is not null))::text \
         from pg_catalog.pg_publication p where pubname = $1";
    let given = [name, &of.schema, &of.name, table];
    let Some(row) = ask(client, sql, &given).await?.into_iter().next() else {
        let create = format!(
            "create publication {} for table only {table} with (publish_via_partition_root = true)",
            catalog::quoted(name)
        );
        return run(client, &create).await;
    };
    let is = |at: usize, text: &str| row.get(at).and_then(Option::as_deref) == Some(text);
    if is(2, "0") && ours {
        let add = format!("alter publication {} add table only {table}", catalog::quoted(name));
        return run(client, &add).await;
    }
    let wrong = if is(2, "0") {
        format!("does not have the table {table}")
    } else if !is(0, "true") {
        "does not publish all of insert, update, delete and truncate".to_owned()
    } else if !is(3, "0") {
        format!("leaves rows or columns of {table} out; leave columns out with `exclude` here")
    } else if !is(1, "true") && partitioned(client, table).await? {
        "has the changes of a partitioned table by its partitions; set \
         `publish_via_partition_root = true`"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Config, format!("the publication `{name}` {wrong}")))
}

async fn run(client: &Client, sql: &str) -> Result<()> {
    let done = client.batch_execute(sql).await;
    done.map_err(|failed| error::of_statement(failed, sql, 0)).map_err(|error| {
        let help =
            format!("let the owner of the table run `{sql}`, or name one with `publication`");
        error.with("help", help)
    })
}

/// Takes these tables in where they are not; one that cannot be is left out, which is said when it is read.
pub(super) async fn take_in(client: &Client, name: &str, tables: &[&str]) -> Result<()> {
    for &table in tables {
        let sql = "select 1::text from pg_catalog.pg_publication_rel r \
                   join pg_catalog.pg_publication p on p.oid = r.prpubid \
                   where p.pubname = $1 and r.prrelid = pg_catalog.to_regclass($2)";
        // In a publication a table whose rows cannot be told apart could not be changed any more by anybody.
        let can = "select 1::text from pg_catalog.pg_class c where c.oid = pg_catalog.to_regclass($1) \
                   and c.relkind in ('r', 'p') and c.relpersistence = 'p' and (c.relreplident = 'f' \
                   or exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisvalid and \
                      case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end))";
        if one(client, sql, &[name, table]).await?.is_some()
            || one(client, can, &[table]).await?.is_none()
        {
            continue;
        }
        let add = format!("alter publication {} add table only {table}", catalog::quoted(name));
        if let Err(error) = run(client, &add).await {
            tracing::debug!(%error, table, "a table is not followed together with the others");
        }
    }
    Ok(())
}

/// The numbers of the tables that it has.
pub(super) async fn members(client: &Client, name: &str) -> Result<HashSet<String>> {
    let sql = "select c.oid::text from pg_catalog.pg_publication_tables t \
               join pg_catalog.pg_namespace n on n.nspname = t.schemaname \
               join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.tablename \
               where t.pubname = $1";
    Ok(ask(client, sql, &[name]).await?.into_iter().flatten().flatten().collect())
}

async fn partitioned(client: &Client, table: &str) -> Result<bool> {
    let sql =
        "select relkind::text from pg_catalog.pg_class where oid = pg_catalog.to_regclass($1)";
    Ok(one(client, sql, &[table]).await?.as_deref() == Some("p"))
}

/// A text as part of the name of a slot: lower case letters, digits and underscores.
pub(super) fn plain(text: &str, most: usize) -> String {
    let plain: String = text
        .chars()
        .map(|one| match one.to_ascii_lowercase() {
            one if one.is_ascii_lowercase() || one.is_ascii_digit() => one,
            _ => '_',
        })
        .take(most)
        .collect();
    match plain == text {
        true => plain,
        // Names that are cut or changed stay apart.
        false => format!("{plain}_{:08x}", xxh3_64(text.as_bytes()) as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_slots_are_plain_and_differ() {
        assert_eq!(plain("public_orders", 40), "public_orders");
        let (one, other) = (plain("Größe", 30), plain("Grüße", 30));
        assert!(one.starts_with("gr__e_") && one != other, "{one} {other}");
        assert!(plain(&"x".repeat(90), 30).len() == 39);
    }
}

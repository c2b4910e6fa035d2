//! What PostgreSQL's catalog says of relations.

use tidemill_core::{DatabaseColumn, DatabaseRelation, RelationName, Result};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::error;

/// The kinds of relation that can be read: tables (partitioned and foreign ones, too), views and
/// materialized views.
const KINDS: &str = "('r', 'p', 'f', 'v', 'm')";

/// A name in double quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The rows of a query with texts as parameters.
pub(super) async fn ask(client: &Client, sql: &str, given: &[&str]) -> Result<Vec<Row>> {
    let typed: Vec<(&(dyn tokio_postgres::types::ToSql + Sync), Type)> = given
        .iter()
        .map(|text| (text as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT))
        .collect();
    client.query_typed(sql, &typed).await.map_err(|failed| error::of_statement(failed, sql, 0))
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(error::of_connection)
}

fn kind(letter: &str) -> DatabaseRelation {
    match letter {
        "v" => DatabaseRelation::View,
        "m" => DatabaseRelation::MaterializedView,
        _ => DatabaseRelation::Table,
    }
}

pub(super) async fn relation(
    client: &Client,
    relation: &RelationName,
) -> Result<Option<DatabaseRelation>> {
    let sql = format!(
        "select c.relkind::text from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $1 and c.relname = $2 and c.relkind in {KINDS}"
    );
    let rows = ask(client, &sql, &[relation.schema(), relation.name()]).await?;
    rows.first().map(|row| Ok(kind(get(row, 0)?))).transpose()
}

pub(super) async fn relations(
    client: &Client,
    schema: &str,
) -> Result<Vec<(RelationName, DatabaseRelation)>> {
    let sql = format!(
        "select n.nspname::text, c.relname::text, c.relkind::text from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where lower(n.nspname) = lower($1) and c.relkind in {KINDS} order by 1, 2"
    );
    let rows = ask(client, &sql, &[schema]).await?;
    rows.iter()
        .map(|row| {
            let name = RelationName::new(get::<&str>(row, 0)?, get::<&str>(row, 1)?);
            Ok((name, kind(get(row, 2)?)))
        })
        .collect()
}

pub(super) async fn schemas(client: &Client) -> Result<Vec<String>> {
    let sql = "select nspname::text from pg_catalog.pg_namespace \
               where nspname not like 'pg\\_%' and nspname <> 'information_schema' order by 1";
    ask(client, sql, &[]).await?.iter().map(|row| get(row, 0)).collect()
}

pub(super) async fn columns(
    client: &Client,
    relation: &RelationName,
) -> Result<Option<Vec<DatabaseColumn>>> {
    // One row without a column for a relation that has none.
    let sql = format!(
        "select a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
         pg_catalog.col_description(c.oid, a.attnum) from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         left join pg_catalog.pg_attribute a \
         on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
         where (n.nspname = $1 or ($1 = '' and n.oid = pg_catalog.pg_my_temp_schema())) \
         and c.relname = $2 and c.relkind in {KINDS} order by a.attnum"
    );
    let rows = ask(client, &sql, &[relation.schema(), relation.name()]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut columns = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(name) = get::<Option<String>>(row, 0)? else { continue };
        columns.push(DatabaseColumn { name, data_type: get(row, 1)?, comment: get(row, 2)? });
    }
    Ok(Some(columns))
}

//! dbt's `catalog.json` of a database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Map, Value, json};
use tidemill_core::{DatabaseSession, RelationName, UniqueId, display_value};

use crate::artifacts;
use crate::session::Session;

/// Every column of every relation of some schemas, with what is said of both.
const COLUMNS: &str = "select n.nspname::text, c.relname::text, \
    case c.relkind when 'v' then 'VIEW' when 'm' then 'MATERIALIZED VIEW' else 'BASE TABLE' end, \
    pg_catalog.pg_get_userbyid(c.relowner)::text, pg_catalog.obj_description(c.oid, 'pg_class'), \
    a.attname::text, a.attnum::int, pg_catalog.format_type(a.atttypid, a.atttypmod), \
    pg_catalog.col_description(c.oid, a.attnum) \
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
    where c.relkind in ('r', 'p', 'f', 'v', 'm') and n.nspname in";

/// A relation as the catalog has it.
struct Entry {
    kind: String,
    owner: String,
    comment: Option<String>,
    columns: Map<String, Value>,
}

/// A catalog without relations.
pub(super) fn empty(session: &Session) -> Value {
    artifacts::catalog(session, Map::new(), Map::new())
}

/// The catalog of the project's relations.
pub(super) async fn of(
    session: &Session,
    database: &Arc<dyn DatabaseSession>,
    selected: &BTreeSet<UniqueId>,
) -> Result<Value> {
    let manifest = session.manifest();
    let schemas: BTreeSet<&str> = manifest
        .nodes
        .values()
        .filter(|node| node.is_relational())
        .map(|node| node.schema.as_str())
        .chain(manifest.sources.values().map(|source| source.schema.as_str()))
        .collect();
    let found = read(database, &schemas).await?;
    let name = &manifest.target.database;
    let node = |relation: &RelationName, id: &UniqueId| {
        let entry = found.get(relation)?;
        Some((id.to_string(), describe(relation, entry, name, id)))
    };
    let nodes = manifest
        .nodes
        .values()
        .filter(|found| found.is_relational() && selected.contains(&found.unique_id))
        .filter_map(|found| node(&found.relation(), &found.unique_id))
        .collect();
    let sources = manifest
        .sources
        .values()
        .filter_map(|source| node(&source.relation(), &source.unique_id))
        .collect();
    Ok(artifacts::catalog(session, nodes, sources))
}

async fn read(
    database: &Arc<dyn DatabaseSession>,
    schemas: &BTreeSet<&str>,
) -> Result<BTreeMap<RelationName, Entry>> {
    let mut found: BTreeMap<RelationName, Entry> = BTreeMap::new();
    if schemas.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> =
        schemas.iter().map(|schema| format!("'{}'", schema.replace('\'', "''"))).collect();
    let sql = format!("{COLUMNS} ({}) order by 1, 2, 7", names.join(", "));
    for batch in database.run(&sql).await?.batches {
        for row in 0..batch.num_rows() {
            let text = |index: usize| {
                let column = batch.column(index);
                (!column.is_null(row)).then(|| display_value(column, row))
            };
            let plain = |index: usize| text(index).unwrap_or_default();
            let entry = found.entry(RelationName::new(plain(0), plain(1))).or_insert_with(|| {
                Entry { kind: plain(2), owner: plain(3), comment: text(4), columns: Map::new() }
            });
            let index: u64 = plain(6).parse().unwrap_or(0);
            let column = json!({
                "type": plain(7), "index": index, "name": plain(5), "comment": text(8),
            });
            entry.columns.insert(plain(5), column);
        }
    }
    Ok(found)
}

fn describe(relation: &RelationName, entry: &Entry, database: &str, id: &UniqueId) -> Value {
    json!({
        "metadata": {
            "type": entry.kind, "schema": relation.schema(), "name": relation.name(),
            "database": database, "comment": entry.comment, "owner": entry.owner,
        },
        "columns": entry.columns,
        "stats": {"has_stats": {
            "id": "has_stats", "label": "Has Stats?", "value": false, "include": false,
            "description": "Indicates whether there are statistics for this table",
        }},
        "unique_id": id,
    })
}

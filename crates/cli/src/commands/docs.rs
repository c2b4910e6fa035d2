//! `tidemill docs generate`: the manifest, the catalog of what is in the lake, and the site made of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Map, Value, json};
use tidemill_core::{At, PublishedRelation, RelationKind, Snapshot, UniqueId};
use tidemill_project::Manifest;

use crate::args::DocsGenerate;
use crate::artifacts;
use crate::commands::{compile, site};
use crate::renderer::ProjectRenderer;
use crate::session::Session;

pub(crate) async fn generate(session: &Session, args: &DocsGenerate) -> Result<i32> {
    if let Some(database) = crate::database::of(session)? {
        let failed = crate::database::docs(session, database, args).await?;
        site::write(session, args)?;
        return Ok(i32::from(failed > 0));
    }
    let folder = session.target_path();
    let stores = session.stores().await?;
    let snapshot = stores.snapshot(At::Now).await?;
    let selected = session.select(&args.selection)?;
    let renderer = Arc::new(ProjectRenderer::new(session, stores.engine.clone(), folder.clone()));
    let mut failed = 0;
    if !args.no_compile {
        let context = session.context(snapshot.clone());
        failed = compile::all(session, &renderer, &context, &selected, false).await?.failed;
    }
    session.write_manifest(&folder, renderer.compiled())?;
    let described = if args.empty_catalog { &Snapshot::empty() } else { &snapshot };
    artifacts::write(&folder, "catalog.json", &catalog(session, described, &selected))?;
    site::write(session, args)?;
    Ok(i32::from(failed > 0))
}

/// dbt's `catalog.json` of what is published.
fn catalog(session: &Session, snapshot: &Snapshot, selected: &BTreeSet<UniqueId>) -> Value {
    let manifest: &Manifest = session.manifest();
    let database = &manifest.target.database;
    let nodes: Map<String, Value> = manifest
        .nodes
        .values()
        .filter(|node| node.is_relational() && selected.contains(&node.unique_id))
        .filter_map(|node| {
            let relation = snapshot.get(&node.relation())?;
            let entry = entry(relation, database, &node.unique_id, &node.description);
            Some((node.unique_id.to_string(), entry))
        })
        .collect();
    let sources: Map<String, Value> = manifest
        .sources
        .values()
        .filter_map(|source| {
            let relation = snapshot.get(&source.relation())?;
            let entry = entry(relation, database, &source.unique_id, &source.description);
            Some((source.unique_id.to_string(), entry))
        })
        .collect();
    json!({
        "metadata": artifacts::metadata(
            "catalog/v1",
            &session.run.to_string(),
            &artifacts::timestamp(session.started),
        ),
        "nodes": nodes,
        "sources": sources,
        "errors": Value::Null,
    })
}

fn entry(relation: &PublishedRelation, database: &str, id: &UniqueId, comment: &str) -> Value {
    let kind = match relation.kind {
        RelationKind::Table { .. } => "BASE TABLE",
        RelationKind::View { .. } => "VIEW",
    };
    let columns: Map<String, Value> = relation
        .schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let column = json!({
                "type": crate::types::name(field.data_type()),
                "index": index + 1,
                "name": field.name(),
                "comment": Value::Null,
            });
            (field.name().clone(), column)
        })
        .collect();
    let mut stats = Map::new();
    let mut stat = |id: &str, label: &str, value: Value, description: &str| {
        let stat = json!({
            "id": id, "label": label, "value": value, "include": true, "description": description,
        });
        stats.insert(id.to_owned(), stat);
    };
    if let Some(rows) = relation.rows {
        stat("row_count", "Row Count", json!(rows), "Rows of the published version");
    }
    if let Some(bytes) = relation.bytes {
        stat("bytes", "Approximate Size", json!(bytes), "Bytes of its data files");
    }
    let known = !stats.is_empty();
    stats.insert(
        "has_stats".to_owned(),
        json!({
            "id": "has_stats", "label": "Has Stats?", "value": known, "include": false,
            "description": "Indicates whether there are statistics for this table",
        }),
    );
    json!({
        "metadata": {
            "type": kind, "schema": relation.name.schema(), "name": relation.name.name(),
            "database": database, "comment": if comment.is_empty() { None } else { Some(comment) },
            "owner": Value::Null,
        },
        "columns": columns,
        "stats": stats,
        "unique_id": id,
    })
}

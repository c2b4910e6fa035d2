//! `tidemill docs generate`: the manifest, the catalog of what is in the lake, and the site made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tidemill_core::{At, NodeOutcome, PublishedRelation, RelationKind, Snapshot, UniqueId};
use tidemill_project::yaml::Yaml;
use tidemill_project::{Column, Manifest, SourceFile};

use crate::args::DocsGenerate;
use crate::artifacts;
use crate::commands::{compile, preview, site};
use crate::dbt_events;
use crate::renderer::{ProjectRenderer, is_materialized_view};
use crate::session::Session;

pub(crate) async fn generate(session: &Session, args: &DocsGenerate) -> Result<i32> {
    if let Some(database) = crate::database::of(session)? {
        let failed = crate::database::docs(session, database, args).await?;
        site::write(session, args)?;
        return Ok(if failed > 0 { 2 } else { 0 });
    }
    let folder = session.target_path();
    let stores = session.stores().await?;
    let snapshot = stores.snapshot(At::Now).await?;
    let selected = session.select(&args.selection)?;
    let renderer = Arc::new(ProjectRenderer::new(session, stores.engine.clone(), folder.clone()));
    let (mut failed, began) = (0, Instant::now());
    if args.no_compile {
        session.write_manifest(&folder, renderer.compiled())?;
    } else {
        let context = session.context(snapshot.clone());
        let done = compile::all(session, &renderer, &context, &selected, false).await?;
        failed = done.failed;
        write_results(session, args, done.outcomes, began, renderer.compiled())?;
    }
    let described = if args.empty_catalog { &Snapshot::empty() } else { &snapshot };
    artifacts::write(&folder, "catalog.json", &catalog(session, described, &selected))?;
    session.output.event(|| dbt_events::catalog_written(&folder.join("catalog.json")));
    site::write(session, args)?;
    copy_assets(session, &folder)?;
    // As in dbt: what cannot be compiled is no result, it ends the command.
    Ok(if failed > 0 { 2 } else { 0 })
}

/// Leaves what came of compiling, and the manifest.
pub(crate) fn write_results(
    session: &Session,
    args: &DocsGenerate,
    outcomes: Vec<NodeOutcome>,
    began: Instant,
    compiled: BTreeMap<UniqueId, String>,
) -> Result<()> {
    if !session.global.flags.on("write_json") {
        // The site is made of it.
        return session.write_manifest(&session.target_path(), compiled);
    }
    let arguments = json!({
        "which": "generate",
        "select": args.selection.all(),
        "exclude": args.selection.exclude,
        "selector": args.selection.selector,
        "compile": true,
        "empty_catalog": args.empty_catalog,
        "static": args.single_file,
    });
    preview::write_results(session, outcomes, began.elapsed(), compiled, &arguments)
}

/// Copies the folders of `asset-paths` beside the site, for descriptions that show pictures.
fn copy_assets(session: &Session, folder: &Path) -> Result<()> {
    let file = session.root.join("dbt_project.yml");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let project = SourceFile::new("dbt_project.yml", text);
    let parsed = tidemill_project::yaml::parse(&project);
    let Some(Value::Array(paths)) = parsed.root.get("asset-paths").map(Yaml::to_json) else {
        return Ok(());
    };
    for path in paths.iter().filter_map(Value::as_str) {
        // A path that leads out of the project would write beside the target folder.
        let stays = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        let (from, to) = (session.root.join(path), folder.join(path));
        if !stays || !from.is_dir() {
            session.output.say(format!("note: asset-paths: there is no folder `{path}`"));
            continue;
        }
        if to.exists() {
            std::fs::remove_dir_all(&to)
                .with_context(|| format!("cannot replace {}", to.display()))?;
        }
        copy_folder(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
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
            let entry =
                entry(relation, database, &node.unique_id, &node.description, &node.columns);
            Some((node.unique_id.to_string(), entry))
        })
        .collect();
    let sources: Map<String, Value> = manifest
        .sources
        .values()
        .filter(|source| selected.contains(&source.unique_id))
        .filter_map(|source| {
            let relation = snapshot.get(&source.relation())?;
            let entry =
                entry(relation, database, &source.unique_id, &source.description, &source.columns);
            Some((source.unique_id.to_string(), entry))
        })
        .collect();
    artifacts::catalog(session, nodes, sources)
}

fn entry(
    relation: &PublishedRelation,
    database: &str,
    id: &UniqueId,
    comment: &str,
    described: &indexmap::IndexMap<String, Column>,
) -> Value {
    let of_column = |name: &str| {
        let column = described.values().find(|column| column.name.eq_ignore_ascii_case(name));
        column.map(|column| column.description.as_str()).filter(|text| !text.is_empty())
    };
    let kind = match relation.kind {
        RelationKind::Table { .. } if is_materialized_view(relation) => "MATERIALIZED VIEW",
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
                "comment": of_column(field.name()),
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

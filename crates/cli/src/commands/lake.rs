//! `tidemill lake`: what is in the lake, and looking after it.

use anyhow::{Result, anyhow};
use tidemill_core::{
    EntryNumber, Maintenance, RelationKind, RelationName, RunId, Snapshot, TableStore,
};

use crate::args::{Format, Lake, LakeCommand};
use crate::output::{count, plural, size, time};
use crate::session::{Session, Stores, parse_at};
use crate::table::aligned;

pub(crate) async fn run(session: &Session, args: &Lake) -> Result<i32> {
    let stores = session.stores().await?;
    match &args.command {
        LakeCommand::List { orphans: true, .. } => orphans(session, &stores).await,
        LakeCommand::List { as_of, .. } => list(session, &stores, as_of.as_deref()).await,
        LakeCommand::History { table, limit } => {
            history(session, &stores, table.as_deref(), *limit).await
        }
        LakeCommand::Diff { table, from, to } => {
            diff(session, &stores, table, from, to.as_deref()).await
        }
        LakeCommand::Restore { table, to, run, keep_position } => {
            restore(
                session,
                &stores,
                table.as_deref(),
                to.as_deref(),
                run.as_deref(),
                *keep_position,
            )
            .await
        }
        LakeCommand::Maintain { keep_for, keep_versions, dry_run } => {
            let keep_for =
                crate::units::duration(keep_for).map_err(|error| anyhow!("--keep-for: {error}"))?;
            maintain(session, &stores, keep_for, *keep_versions, *dry_run).await
        }
        LakeCommand::Repair => repair(session, &stores).await,
    }
}

fn is_json(session: &Session) -> bool {
    session.global.format == Some(Format::Json)
}

/// The relations of a state as aligned lines.
pub(crate) fn listing(snapshot: &Snapshot) -> Vec<String> {
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), count);
    let rows: Vec<Vec<String>> = snapshot
        .relations
        .values()
        .map(|relation| {
            let (kind, version) = match &relation.kind {
                RelationKind::Table { version, .. } => ("table", version.to_string()),
                RelationKind::View { .. } => ("view", "-".to_owned()),
            };
            vec![
                relation.name.to_string(),
                kind.to_owned(),
                number(relation.rows),
                relation.bytes.map_or_else(|| "-".to_owned(), size),
                version,
                time(relation.time),
            ]
        })
        .collect();
    aligned(&["relation", "kind", "rows", "size", "version", "published"], &rows, &[2, 3])
}

async fn list(session: &Session, stores: &Stores, as_of: Option<&str>) -> Result<i32> {
    let at = as_of.map(parse_at).transpose()?.unwrap_or_default();
    let snapshot = stores.snapshot(at).await?;
    if is_json(session) {
        for relation in snapshot.relations.values() {
            let columns: Vec<_> = relation
                .schema
                .fields()
                .iter()
                .map(|field| {
                    serde_json::json!({"name": field.name(), "type": crate::types::name(field.data_type())})
                })
                .collect();
            session.output.data(serde_json::json!({
                "relation": relation.name, "definition": relation.kind, "rows": relation.rows,
                "bytes": relation.bytes, "entry": relation.entry, "published": time(relation.time),
                "run": relation.run, "node": relation.unique_id, "columns": columns,
            }));
        }
        return Ok(0);
    }
    for line in listing(&snapshot) {
        session.output.data(line);
    }
    session.output.say(format!(
        "({}, after entry {})",
        plural(snapshot.relations.len() as u64, "relation", "relations"),
        snapshot.entry
    ));
    Ok(0)
}

fn relation(session: &Session, name: &str) -> RelationName {
    RelationName::parse(name)
        .unwrap_or_else(|| RelationName::new(&session.manifest().target.schema, name))
}

async fn maintain(
    session: &Session,
    stores: &Stores,
    keep_for: std::time::Duration,
    keep_versions: u64,
    dry_run: bool,
) -> Result<i32> {
    let rule = Maintenance {
        keep_for,
        keep_versions,
        dry_run,
        budget: std::time::Duration::from_secs(24 * 3600),
        ..Maintenance::default()
    };
    let report = stores.lake.maintain(&rule).await?;
    let would = if dry_run { "would be " } else { "" };
    for (relation, before, after) in &report.compacted {
        session.output.data(format!(
            "{would}compacted  {relation}  {} → {}",
            plural(*before, "file", "files"),
            after
        ));
    }
    session.output.data(format!(
        "{would}deleted  {}, {}",
        plural(report.deleted_files, "file", "files"),
        size(report.deleted_bytes)
    ));
    if report.expired_entries > 0 {
        session.output.data(format!(
            "{would}expired  {}",
            plural(report.expired_entries, "entry", "entries")
        ));
    }
    for warning in &report.warnings {
        session.output.err(format!("note: {warning}"));
    }
    Ok(0)
}

async fn orphans(session: &Session, stores: &Stores) -> Result<i32> {
    let orphans = stores.lake.orphans().await?;
    if is_json(session) {
        for orphan in &orphans {
            session.output.data(serde_json::json!({
                "path": orphan.path, "bytes": orphan.bytes, "reason": orphan.reason,
            }));
        }
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = orphans
        .iter()
        .map(|orphan| vec![orphan.path.clone(), size(orphan.bytes), orphan.reason.to_owned()])
        .collect();
    if !rows.is_empty() {
        for line in aligned(&["file", "size", "why it is there"], &rows, &[1]) {
            session.output.data(line);
        }
    }
    session.output.say(format!(
        "({}; `tidemill lake maintain` deletes those that no running build needs)",
        plural(rows.len() as u64, "orphan", "orphans")
    ));
    Ok(0)
}

async fn history(
    session: &Session,
    stores: &Stores,
    table: Option<&str>,
    limit: usize,
) -> Result<i32> {
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), count);
    let Some(table) = table else {
        let entries = stores.lake.entries(limit).await?;
        if is_json(session) {
            for entry in &entries {
                let relations: Vec<_> = entry
                    .relations
                    .iter()
                    .map(|(name, operation, rows)| {
                        serde_json::json!({"relation": name, "operation": operation, "rows": rows})
                    })
                    .collect();
                session.output.data(serde_json::json!({
                    "entry": entry.entry, "time": time(entry.time), "run": entry.run,
                    "relations": relations, "removed": entry.removed, "failed": entry.failed,
                }));
            }
            return Ok(0);
        }
        let rows: Vec<Vec<String>> = entries
            .iter()
            .map(|entry| {
                let names: Vec<String> =
                    entry.relations.iter().map(|(name, _, _)| name.to_string()).collect();
                let shown = names.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
                let more = names.len().saturating_sub(4);
                let relations = if more > 0 { format!("{shown} and {more} more") } else { shown };
                vec![entry.entry.to_string(), time(entry.time), entry.run.to_string(), relations]
            })
            .collect();
        for line in aligned(&["entry", "time", "run", "relations"], &rows, &[0]) {
            session.output.data(line);
        }
        return Ok(0);
    };
    let relation = relation(session, table);
    let history = stores.lake.history(&relation).await?;
    let mut rows = Vec::new();
    for entry in history.iter().take(limit) {
        if is_json(session) {
            session.output.data(serde_json::json!({
                "entry": entry.entry, "time": time(entry.time), "run": entry.run,
                "operation": entry.operation, "version": entry.version, "rows": entry.rows,
            }));
        }
        rows.push(vec![
            entry.entry.to_string(),
            time(entry.time),
            entry.operation.clone().unwrap_or_else(|| "-".to_owned()),
            number(entry.rows),
            entry.version.map_or_else(|| "-".to_owned(), |version| version.to_string()),
            entry.run.to_string(),
        ]);
    }
    if !is_json(session) {
        let header = ["entry", "time", "operation", "rows", "version", "run"];
        for line in aligned(&header, &rows, &[0, 3]) {
            session.output.data(line);
        }
    }
    Ok(0)
}

async fn diff(
    session: &Session,
    stores: &Stores,
    table: &str,
    from: &str,
    to: Option<&str>,
) -> Result<i32> {
    let relation = relation(session, table);
    let to = to.map(parse_at).transpose()?.unwrap_or_default();
    let from = stores.snapshot(parse_at(from)?).await?.entry;
    let to = stores.snapshot(to).await?.entry;
    let diff = stores.lake.diff(&relation, from, to).await?;
    if is_json(session) {
        session.output.data(serde_json::json!({
            "relation": relation, "from": from, "to": to, "rows": diff.rows, "bytes": diff.bytes,
            "added_files": diff.added_files, "removed_files": diff.removed_files,
            "common_files": diff.common_files, "added_columns": diff.added_columns,
            "removed_columns": diff.removed_columns,
        }));
        return Ok(0);
    }
    let number = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), count);
    session.output.data(format!("{relation}: entry {from} → entry {to}"));
    session.output.data(format!("  rows     {} → {}", number(diff.rows.0), number(diff.rows.1)));
    session.output.data(format!("  size     {} → {}", size(diff.bytes.0), size(diff.bytes.1)));
    for column in &diff.added_columns {
        session.output.data(format!("  column   + {column}"));
    }
    for column in &diff.removed_columns {
        session.output.data(format!("  column   - {column}"));
    }
    session.output.data(format!(
        "  files    {} new, {} gone, {} the same",
        diff.added_files.len(),
        diff.removed_files.len(),
        diff.common_files
    ));
    for (sign, files) in [("+", &diff.added_files), ("-", &diff.removed_files)] {
        for (file, rows) in files {
            session.output.data(format!("    {sign} {file}  {} rows", number(*rows)));
        }
    }
    Ok(0)
}

async fn restore(
    session: &Session,
    stores: &Stores,
    table: Option<&str>,
    to: Option<&str>,
    run: Option<&str>,
    keep_position: bool,
) -> Result<i32> {
    let published = match (table, to, run) {
        (_, _, Some(run)) => {
            stores.lake.restore_run(&RunId::new(run), keep_position, &session.run).await?
        }
        (Some(table), Some(to), None) => {
            let relation = relation(session, table);
            let at = parse_at(to)?;
            let then = stores.snapshot(at.clone()).await?;
            if then.get(&relation).is_none() {
                return Err(not_there_yet(stores, &relation, then.entry).await?);
            }
            stores.lake.restore(&relation, &at, keep_position, &session.run).await?
        }
        _ => return Err(anyhow!("name a table and --to, or a --run")),
    };
    session.output.say(format!("restored, as entry {}", published.entry));
    for (relation, version) in &published.versions {
        let rows = published.snapshot.get(relation).and_then(|relation| relation.rows);
        let rows = rows.map(|rows| plural(rows, "row", "rows")).unwrap_or_default();
        session.output.say(format!("  {relation}  {version}  {rows}"));
    }
    for warning in &published.warnings {
        session.output.err(format!("note: {warning}"));
    }
    Ok(0)
}

/// Restoring a relation to a time before it existed would drop it: that is never meant.
async fn not_there_yet(
    stores: &Stores,
    relation: &RelationName,
    entry: EntryNumber,
) -> Result<anyhow::Error> {
    let history = stores.lake.history(relation).await?;
    let first = history.iter().map(|entry| entry.entry).min();
    Ok(match first {
        Some(first) => anyhow!(
            "{relation} did not exist after entry {entry}; its first entry is {first} \
             (`tidemill lake history {relation}` lists entries and versions)"
        ),
        None => anyhow!("there is no relation {relation}; `tidemill lake list` lists them"),
    })
}

async fn repair(session: &Session, stores: &Stores) -> Result<i32> {
    let repair = stores.lake.repair().await?;
    if let Some(entry) = repair.finished {
        session.output.say(format!("finished entry {entry}, which had been left half-way"));
    }
    for relation in &repair.foreign {
        session.output.say(format!(
            "{relation} has versions of another engine; the next build checks and adopts them"
        ));
    }
    for (relation, problem) in &repair.problems {
        session.output.err(format!("{relation}: {problem}"));
    }
    if repair.problems.is_empty() {
        session.output.say("every published table can be read");
    }
    Ok(i32::from(!repair.problems.is_empty()))
}

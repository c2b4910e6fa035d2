//! `tidemill source freshness`: how old the newest rows of sources are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use arrow::array::AsArray;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tidemill_core::{
    At, DatabaseSession, Diagnostics, Engine, Error, ErrorKind, NodeOutcome, NodeStatus,
    RelationKind, Snapshot, UniqueId,
};
use tidemill_project::{ResourceType, SourceTable};
use tidemill_run::{DatabaseRequest, RenderRequest, RunSummary};

use crate::args::Freshness;
use crate::artifacts;
use crate::database::InDatabase;
use crate::dbt_events;
use crate::output::{Mood, plural, seconds};
use crate::renderer::ProjectRenderer;
use crate::run_hooks::{self, When};
use crate::session::{Session, Stores};

/// The age of one source, and what it means.
struct Outcome {
    id: UniqueId,
    name: String,
    elapsed: Duration,
    found: Result<Found, String>,
}

struct Found {
    /// Microseconds since 1970.
    loaded_at: i64,
    asked_at: i64,
    status: Status,
    criteria: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Pass,
    Warn,
    Error,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::Warn => "warn",
            Status::Error => "error",
        }
    }
}

/// Where sources are.
enum Place {
    Lake(Box<Stores>, Snapshot, Box<ProjectRenderer>),
    Database(Arc<dyn DatabaseSession>, Arc<InDatabase>),
}

/// Without a row there is nothing fresh: dbt takes the first day of its calendar.
const NEVER: i64 = -62_135_596_800_000_000;

pub(crate) async fn run(session: &Session, args: &Freshness) -> Result<i32> {
    let started = Instant::now();
    let manifest = session.manifest();
    let mut selection = session.selection(&args.selection)?;
    selection.resource_types = vec![ResourceType::Source];
    let selected = session.select_with(selection)?;
    let sources: Vec<&SourceTable> = manifest
        .sources
        .values()
        .filter(|source| selected.contains(&source.unique_id) && source.has_freshness())
        .collect();
    let place = match crate::database::of(session)? {
        Some(database) => {
            let (connection, renderer) = crate::database::asking(session, &database).await?;
            Place::Database(connection, renderer)
        }
        None => {
            let stores = session.stores().await?;
            let snapshot = stores.snapshot(At::Now).await?;
            let (engine, folder) = (stores.engine.clone(), session.target_path());
            let renderer = ProjectRenderer::new(session, engine, folder).read_only();
            Place::Lake(Box::new(stores), snapshot, Box::new(renderer))
        }
    };
    let mut hooks = project_hooks(session, &place, When::Start).await?;
    // As around a run: what a failed start was to prepare is not there.
    let start_failed = hooks.iter().any(|hook| hook.status == NodeStatus::Error);
    let sources = if start_failed { Vec::new() } else { sources };
    let mut outcomes = Vec::with_capacity(sources.len());
    let total = sources.len();
    for (index, source) in sources.into_iter().enumerate() {
        let begun = Instant::now();
        let name = format!("{}.{}", source.source_name, source.name);
        let number = (index + 1, total);
        session
            .output
            .event(|| dbt_events::freshness_started(manifest, &source.unique_id, &name, number));
        let found = look(session, &place, source).await;
        let outcome = Outcome {
            id: source.unique_id.clone(),
            name,
            elapsed: begun.elapsed(),
            found: found.map_err(|error| crate::failure::text(&error)),
        };
        tell(session, &outcome, number);
        outcomes.push(outcome);
    }
    if !start_failed {
        hooks.extend(project_hooks(session, &place, When::End).await?);
    }
    let strict = session.rules.is_error("freshness-warning");
    let hook_failed = hooks.iter().any(|hook| hook.status == NodeStatus::Error);
    let failed = hook_failed
        || outcomes.iter().any(|outcome| match &outcome.found {
            Ok(found) => found.status == Status::Error || (strict && found.status == Status::Warn),
            Err(_) => true,
        });
    if session.global.flags.on("write_json") {
        let file = match &args.output {
            Some(path) => std::path::absolute(path)?,
            None => session.target_path().join("sources.json"),
        };
        write(session, &file, &outcomes, started.elapsed())?;
        session.write_manifest(&session.target_path(), std::collections::BTreeMap::new())?;
    }
    if session.output.events.is_some() {
        session.output.event(dbt_events::freshness_completed);
        return Ok(i32::from(failed));
    }
    session.output.say(if outcomes.is_empty() {
        "no selected source says how fresh it has to be".to_owned()
    } else {
        let number = plural(outcomes.len() as u64, "source", "sources");
        format!("done in {}: {number}", seconds(started.elapsed()))
    });
    Ok(i32::from(failed))
}

/// `on-run-start` or `on-run-end`, unless the project's flag keeps them from freshness.
async fn project_hooks(session: &Session, place: &Place, when: When) -> Result<Vec<NodeOutcome>> {
    let flags = &session.manifest().settings.flags;
    let flag = flags.get("source_freshness_run_project_hooks").and_then(Value::as_bool);
    if !flag.unwrap_or(true) {
        return Ok(Vec::new());
    }
    let names = match when {
        When::Start => Map::new(),
        When::End => run_hooks::end_names(session, &RunSummary::default(), &json!({})),
    };
    match place {
        Place::Database(connection, renderer) => {
            crate::database::hooks(session, connection, renderer, when, names).await
        }
        Place::Lake(stores, ..) => {
            let engine = stores.engine.clone();
            let renderer = ProjectRenderer::new(session, engine, session.target_path()).read_only();
            run_hooks::run(session, stores, &Arc::new(renderer), when, names).await
        }
    }
}

/// When the newest row was loaded, and whether that is long ago.
async fn look(session: &Session, place: &Place, source: &SourceTable) -> Result<Found> {
    let freshness = source.freshness.clone().unwrap_or_default();
    let criteria = json!({
        "warn_after": limit(&freshness, "warn_after"),
        "error_after": limit(&freshness, "error_after"),
        "filter": freshness.get("filter"),
    });
    let filter = freshness.get("filter").and_then(Value::as_str);
    let relation = source.relation();
    let asked_at = chrono::Utc::now().timestamp_micros();
    let query = match (&source.loaded_at_query, &source.loaded_at_field) {
        (Some(text), _) => {
            let state = match place {
                Place::Lake(_, snapshot, renderer) => renderer.state(&RenderRequest {
                    incremental: false,
                    full_refresh: false,
                    context: session.context(snapshot.clone()),
                    batch: None,
                    statements: None,
                }),
                Place::Database(connection, renderer) => {
                    renderer.state(&DatabaseRequest::new(connection.clone()))
                }
            };
            let (project, id, text) =
                (session.project.clone(), source.unique_id.clone(), text.clone());
            let rendered = tokio::task::spawn_blocking(move || {
                project.render_source_query(&id, &text, &state)
            })
            .await?
            .map_err(|diagnostics: Diagnostics| anyhow::anyhow!("{diagnostics}"))?;
            Some(rendered.sql)
        }
        (None, Some(field)) => {
            let filter = filter.map(|filter| format!(" where {filter}")).unwrap_or_default();
            Some(format!("select max({field}) from {}{filter}", relation.quoted()))
        }
        (None, None) => None,
    };
    let loaded_at = match query {
        Some(sql) => newest(session, place, &sql).await?.unwrap_or(NEVER),
        None => {
            let Place::Lake(_, snapshot, _) = place else {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "PostgreSQL does not know when rows of {relation} came; say `loaded_at_field` or \
                         `loaded_at_query`"
                    ),
                )
                .into());
            };
            if filter.is_some() {
                session.output.say(format!(
                    "note: `filter` of {relation} has no effect: when the table was published is the \
                     same for all its rows"
                ));
            }
            published_at(snapshot, source)?
        }
    };
    let age = (asked_at - loaded_at) as f64 / 1e6;
    let exceeded = |key: &str| {
        limit_seconds(&freshness, key).map(|limit| limit.is_some_and(|limit| age > limit))
    };
    let status = if exceeded("error_after")? {
        Status::Error
    } else if exceeded("warn_after")? {
        Status::Warn
    } else {
        Status::Pass
    };
    Ok(Found { loaded_at, asked_at, status, criteria })
}

/// When a table of the lake was last published.
fn published_at(snapshot: &Snapshot, source: &SourceTable) -> Result<i64> {
    let relation = source.relation();
    let config = |message: String| Error::new(ErrorKind::Config, message);
    match snapshot.get(&relation) {
        Some(published) if matches!(published.kind, RelationKind::Table { .. }) => {
            Ok(published.time)
        }
        Some(_) => Err(config(format!(
            "{relation} is a view, so nobody knows when its rows came; say `loaded_at_field` or \
             `loaded_at_query`"
        ))
        .into()),
        None => Err(config(format!("{relation} is not in the lake")).into()),
    }
}

/// The one time that a query gives.
async fn newest(session: &Session, place: &Place, sql: &str) -> Result<Option<i64>> {
    let mut stream = match place {
        Place::Lake(stores, snapshot, _) => {
            stores.engine.query(sql, &session.context(snapshot.clone())).await?
        }
        Place::Database(connection, _) => connection.query(sql).await?,
    };
    while let Some(batch) = stream.batches.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 || batch.num_columns() == 0 {
            continue;
        }
        let column = batch.column(0);
        if column.is_null(0) {
            return Ok(None);
        }
        let kind = column.data_type();
        if !matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64) {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "a timestamp is needed to tell how fresh a source is, not {}; cast it: \
                     `loaded_at_field: \"column::timestamp\"`",
                    crate::types::name(kind)
                ),
            )
            .into());
        }
        // Times without a zone are in UTC, as in dbt.
        let to = DataType::Timestamp(TimeUnit::Microsecond, None);
        let cast = arrow::compute::cast(&column.slice(0, 1), &to)?;
        return Ok(Some(cast.as_primitive::<TimestampMicrosecondType>().value(0)));
    }
    Ok(None)
}

fn limit(freshness: &Value, key: &str) -> Value {
    match freshness.get(key) {
        Some(Value::Object(map)) => json!({"count": map.get("count"), "period": map.get("period")}),
        _ => json!({"count": null, "period": null}),
    }
}

/// `{count: 12, period: hour}` in seconds; `None` without a limit.
fn limit_seconds(freshness: &Value, key: &str) -> Result<Option<f64>> {
    let Some(Value::Object(limit)) = freshness.get(key) else { return Ok(None) };
    let count = match limit.get("count") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(other) => other.as_f64(),
    };
    let unit = match limit.get("period").and_then(Value::as_str) {
        Some("minute") => Some(60.0),
        Some("hour") => Some(3600.0),
        Some("day") => Some(86_400.0),
        _ => None,
    };
    match (count, unit) {
        (Some(count), Some(unit)) => Ok(Some(count * unit)),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("`{key}` of freshness needs a `count` and a `period` of minute, hour or day"),
        )
        .into()),
    }
}

/// Tells of one, with its number of how many.
fn tell(session: &Session, outcome: &Outcome, number: (usize, usize)) {
    if session.output.events.is_some() {
        let status = outcome.found.as_ref().map_or("runtime error", |found| found.status.as_str());
        session.output.event(|| {
            let (manifest, elapsed) = (session.manifest(), outcome.elapsed);
            dbt_events::freshness(manifest, &outcome.id, &outcome.name, status, number, elapsed)
        });
        if let Err(message) = &outcome.found {
            session.output.err(message);
        }
        return;
    }
    let (word, mood, text) = match &outcome.found {
        Ok(found) => {
            let mood = match found.status {
                Status::Pass => Mood::Good,
                Status::Warn => Mood::Warning,
                Status::Error => Mood::Bad,
            };
            let age = if found.loaded_at == NEVER {
                "no rows".to_owned()
            } else {
                format!("{} old", age((found.asked_at - found.loaded_at) / 1_000_000))
            };
            (found.status.as_str(), mood, age)
        }
        Err(message) => ("error", Mood::Bad, message.clone()),
    };
    let line = format!(
        "  {}  {}  {}  {text}",
        session.output.paint(mood, &format!("{word:<5}")),
        outcome.name,
        seconds(outcome.elapsed)
    );
    if word == "error" {
        session.output.err(line);
    } else {
        session.output.say(line);
    }
}

/// `5 minutes`, `3 hours`, `2 days`
fn age(whole: i64) -> String {
    let whole = u64::try_from(whole).unwrap_or(0);
    match whole {
        0..120 => plural(whole, "second", "seconds"),
        120..7200 => plural(whole / 60, "minute", "minutes"),
        7200..172_800 => plural(whole / 3600, "hour", "hours"),
        _ => plural(whole / 86_400, "day", "days"),
    }
}

fn write(session: &Session, file: &Path, outcomes: &[Outcome], elapsed: Duration) -> Result<()> {
    let time =
        |micros: i64| chrono::DateTime::from_timestamp_micros(micros).map(artifacts::timestamp);
    let results: Vec<Value> = outcomes
        .iter()
        .map(|outcome| match &outcome.found {
            Ok(found) => json!({
                "unique_id": outcome.id,
                "max_loaded_at": time(found.loaded_at),
                "snapshotted_at": time(found.asked_at),
                "max_loaded_at_time_ago_in_s": (found.asked_at - found.loaded_at) as f64 / 1e6,
                "status": found.status.as_str(),
                "criteria": found.criteria,
                "adapter_response": {},
                "timing": [],
                "thread_id": "Thread-1",
                "execution_time": outcome.elapsed.as_secs_f64(),
            }),
            Err(message) => json!({
                "unique_id": outcome.id,
                "error": message,
                "status": "runtime error",
            }),
        })
        .collect();
    let started = artifacts::timestamp(session.started);
    let artifact = json!({
        "metadata": artifacts::metadata("sources/v3", &session.run.to_string(), &started),
        "results": results,
        "elapsed_time": elapsed.as_secs_f64(),
    });
    let folder = file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let name = file.file_name().context("--output names no file")?.to_string_lossy().into_owned();
    artifacts::write(&folder, &name, &artifact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_seconds_and_ages_are_read() {
        let freshness = json!({
            "warn_after": {"count": 2, "period": "hour"}, "error_after": {"count": 1, "period": "year"}
        });
        assert_eq!(limit_seconds(&freshness, "warn_after").unwrap(), Some(7200.0));
        assert!(limit_seconds(&freshness, "error_after").is_err());
        assert_eq!(limit_seconds(&json!({}), "warn_after").unwrap(), None);
        assert_eq!(
            [age(1), age(150), age(7300), age(200_000)].map(|text| text.to_owned()),
            ["1 second", "2 minutes", "2 hours", "2 days"]
        );
    }
}

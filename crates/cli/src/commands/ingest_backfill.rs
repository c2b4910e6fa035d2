//! `tidemill ingest backfill`: a range of the cursor of a table is read again, part by part.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use tidemill_core::{At, ReadPart, ReadRange, RunId, TableStore, UniqueId};
use tidemill_ingest::{Backfill, LoadMode, backfill_id, backfilled};
use tidemill_plan::Scope;

use crate::args::{Format, SelectionArgs};
use crate::commands::build::{self, Invocation, is_failure};
use crate::commands::ingest_reject;
use crate::loader::ProjectLoader;
use crate::output::{Mood, plural};
use crate::session::Session;

#[derive(Debug, Clone, Args)]
pub(crate) struct IngestBackfill {
    /// The table, as the project has it
    #[arg(value_name = "SOURCE.TABLE")]
    pub(crate) table: String,
    /// The first value of the cursor: 2024-01-01, 2024-01-01T06:00:00, 1000
    #[arg(long, value_name = "VALUE")]
    pub(crate) from: String,
    /// The first value that is not read any more
    #[arg(long, value_name = "VALUE")]
    pub(crate) to: String,
    /// How much is read and published at a time: 1d, 6h, 10000 [default: all of it]
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Also the steps that were published by an earlier run of this backfill
    #[arg(long)]
    pub(crate) again: bool,
    /// List the steps; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What is to be done.
struct Plan {
    id: String,
    parts: Vec<(ReadPart, bool)>,
}

pub(crate) async fn run(session: &Session, args: &IngestBackfill) -> Result<i32> {
    let id = ingest_reject::table(session, &args.table)?;
    let plan = plan(session, &id, args).await?;
    if args.dry_run {
        list(session, &plan);
        return Ok(0);
    }
    let waiting: Vec<&ReadPart> =
        plan.parts.iter().filter(|(_, done)| !done).map(|(part, _)| part).collect();
    let count = plan.parts.len();
    if waiting.len() < count {
        session.output.say(format!(
            "{} of {count} steps were published before{}",
            count - waiting.len(),
            if waiting.is_empty() { "; --again reads them again" } else { "" }
        ));
    }
    let selection = SelectionArgs {
        select: vec![
            id.as_str().split_once('.').map_or(String::new(), |(_, name)| format!("source:{name}")),
        ],
        ..SelectionArgs::default()
    };
    for part in waiting {
        if session.cancel.is_cancelled() {
            return Ok(130);
        }
        session.output.say(format!("from {} up to {}:", part.from, part.to));
        let mut session = session.clone();
        session.run = RunId::new(uuid::Uuid::now_v7().to_string());
        session.backfill = Some(Arc::new(Backfill { id: plan.id.clone(), part: part.clone() }));
        let invocation = Invocation::plain("ingest", Scope::INGEST, &selection);
        let outcomes = build::loads(&session, invocation, [id.clone()].into()).await?;
        if outcomes.is_empty() || outcomes.iter().any(is_failure) {
            session.output.err(format!(
                "the backfill ends at {}; the steps before are published, and the same command goes on there",
                part.from
            ));
            return Ok(1);
        }
    }
    Ok(0)
}

/// The steps, and which of them are published.
async fn plan(session: &Session, id: &UniqueId, args: &IngestBackfill) -> Result<Plan> {
    let stores = session.stores().await?;
    let base = stores.lake.snapshot(At::Now).await?;
    let loader = ProjectLoader::new(session, stores.lake.clone());
    let (source, spec) = loader.log_of(id, base.clone(), session.run.clone(), &session.cancel)?;
    let settings = &spec.settings;
    if !matches!(settings.mode, LoadMode::Append | LoadMode::Merge) || settings.cursor.is_none() {
        bail!("a backfill reads a range of the `cursor`, of tables with `mode: append` or `merge`");
    }
    let Some(position) = base.get(&spec.relation).and_then(|table| table.position.as_ref()) else {
        bail!(
            "{} was not loaded yet; run `tidemill ingest` first, which reads everything",
            args.table
        );
    };
    let range = ReadRange { from: args.from.clone(), to: args.to.clone(), step: args.step.clone() };
    let parts = source.parts(&spec.source_settings, position, &range)?;
    if settings.mode == LoadMode::Append && parts.iter().any(|part| part.numbers.is_none()) {
        bail!(
            "rows of `mode: append` are replaced by ranges of dates, times or whole numbers, and the cursor \
             has other values; use `merge` with a `primary_key`"
        );
    }
    let backfill = backfill_id(&spec.source_settings, &range);
    let done = match args.again {
        true => Default::default(),
        false => backfilled(&*stores.lake, &base, &spec.relation, &backfill).await?,
    };
    stores.files.close().await;
    let parts = parts.into_iter().map(|part| {
        let is_done = done.contains(&part.from);
        (part, is_done)
    });
    Ok(Plan { id: backfill, parts: parts.collect() })
}

fn list(session: &Session, plan: &Plan) {
    for (part, done) in &plan.parts {
        if session.global.format == Some(Format::Json) {
            session.output.data(serde_json::json!({
                "backfill": plan.id, "from": part.from, "to": part.to, "done": done,
            }));
            continue;
        }
        let (word, mood) = if *done { ("same", Mood::Quiet) } else { ("would", Mood::Good) };
        let word = session.output.paint(mood, &format!("{word:<5}"));
        session.output.data(format!("  {word}  from {} up to {}", part.from, part.to));
    }
    session.output.say(plural(plan.parts.len() as u64, "step", "steps"));
}

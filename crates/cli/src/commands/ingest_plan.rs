//! `tidemill ingest --dry-run`: what loads would read, and from where on. Nothing is written.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;
use tidemill_core::{At, TableStore};
use tidemill_plan::WorkKind;
use tidemill_run::LoadRequest;

use crate::args::Format;
use crate::commands::build::{Invocation, selected_work};
use crate::loader::{Planned, ProjectLoader};
use crate::output::{Mood, plural};
use crate::session::Session;

/// Nobody listens.
struct Silent;

impl tidemill_core::EventSink for Silent {
    fn emit(&self, _: tidemill_core::Event) {}
}

pub(crate) async fn run(session: &Session, invocation: &Invocation<'_>) -> Result<i32> {
    let work = selected_work(session, invocation)?;
    let stores = session.stores().await?;
    let snapshot = stores.lake.snapshot(At::Now).await?;
    let loader = ProjectLoader::new(session, stores.lake.clone());
    let mut code = 0;
    let mut any = false;
    for id in session.manifest().topological() {
        let loads = |kind: &WorkKind| matches!(kind, WorkKind::Source);
        let Some(node) = work.nodes.get(&id).filter(|node| loads(&node.kind)) else { continue };
        any = true;
        let request = LoadRequest {
            context: session.context(snapshot.clone()),
            full: invocation.full_refresh,
            events: Arc::new(Silent),
        };
        let planned = loader.planned(&id, &request).await;
        code |= i32::from(planned.is_err());
        if session.global.format == Some(Format::Json) {
            let mut value = match &planned {
                Ok(planned) => json!({
                    "mode": planned.mode, "connection": planned.connection, "from": planned.from,
                    "since": planned.since, "new": planned.new.is_some(),
                    "files": planned.new, "rows": planned.rows, "estimated": planned.estimated,
                }),
                Err(error) => json!({"error": error.report()}),
            };
            value["unique_id"] = json!(id);
            session.output.data(value);
            continue;
        }
        let (word, mood, mode, what) = match &planned {
            Ok(planned) if planned.new.is_some() => {
                ("would", Mood::Good, planned.mode, told(planned))
            }
            Ok(planned) => ("same", Mood::Quiet, planned.mode, told(planned)),
            Err(error) => ("error", Mood::Bad, "", error.report()),
        };
        let word = session.output.paint(mood, &format!("{word:<5}"));
        session.output.data(format!("  {word}  {}  {mode:<6}  {what}", node.name).trim_end());
    }
    if !any {
        session.output.say("no source of the selection is loaded by us");
    }
    stores.files.close().await;
    Ok(code)
}

/// What a load would read.
fn told(planned: &Planned) -> String {
    let mut text = planned.from.clone();
    if let Some(connection) = &planned.connection {
        text.push_str(&format!(" of {connection}"));
    }
    if let Some(since) = &planned.since {
        text.push_str(&format!(", {since}"));
    }
    match planned.new.as_deref() {
        None => text.push_str(": nothing new"),
        Some([first, ..]) => text.push_str(&format!(": new rows, the first of them from {first}")),
        Some([]) => text.push_str(": rows to read"),
    }
    if let Some(rows) = planned.rows {
        let about = if planned.estimated { "about " } else { "" };
        text.push_str(&format!("; {about}{} there", plural(rows, "row", "rows")));
    }
    text
}

//! `tidemill export`: what is published goes out to other systems.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde_json::json;
use tidemill_core::NodeStatus;
use tidemill_project::Export;

use crate::args::Format;
use crate::exports;
use crate::output::Mood;
use crate::progress::Progress;
use crate::session::{Session, Stores};

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ExportArgs {
    /// The exports [default: all of exports.yml]
    pub(crate) names: Vec<String>,
    /// Deliver again what was delivered
    #[arg(long, conflicts_with_all = ["dry_run", "list"])]
    pub(crate) again: bool,
    /// Say what would go out, deliver nothing
    #[arg(long, conflicts_with = "list")]
    pub(crate) dry_run: bool,
    /// Print the exports, ask nobody
    #[arg(long)]
    pub(crate) list: bool,
}

pub(crate) async fn run(session: &Session, args: &ExportArgs) -> Result<i32> {
    let manifest = session.manifest();
    let exports: Vec<&Export> = match args.names.is_empty() {
        true => manifest.exports.values().collect(),
        false => args.names.iter().map(|name| named(session, name)).collect::<Result<_>>()?,
    };
    if exports.is_empty() {
        bail!("there are no exports in exports.yml");
    }
    if args.list {
        list(session, &exports);
        return Ok(0);
    }
    let stores = session.stores().await?;
    let code = match args.dry_run {
        true => would(session, &stores, &exports).await,
        false => {
            let began = Instant::now();
            let names = exports
                .iter()
                .map(|export| (export.unique_id.clone(), export.name.clone()))
                .collect();
            let progress = Progress::new(session.output, names, BTreeMap::new(), BTreeMap::new());
            let outcomes =
                exports::deliver(session, &stores, &exports, args.again, &progress).await;
            progress.finish(began.elapsed(), session.cancel.is_cancelled());
            let bad =
                |status: &NodeStatus| matches!(status, NodeStatus::Error | NodeStatus::Cancelled);
            i32::from(outcomes.iter().any(|outcome| bad(&outcome.status)))
        }
    };
    stores.files.close().await;
    Ok(code)
}

fn named<'a>(session: &'a Session, name: &str) -> Result<&'a Export> {
    let exports = &session.manifest().exports;
    exports.get(name).ok_or_else(|| {
        let near = tidemill_project::nearest(name, exports.keys().map(String::as_str))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        anyhow!("there is no export `{name}` in exports.yml{near}")
    })
}

fn from<'a>(session: &'a Session, export: &'a Export) -> &'a str {
    session.manifest().node(&export.node).map_or("", |node| node.name.as_str())
}

fn list(session: &Session, exports: &[&Export]) {
    for export in exports {
        let from = from(session, export);
        if session.global.format == Some(Format::Json) {
            session.output.data(json!({
                "unique_id": export.unique_id, "name": export.name, "from": export.node,
                "connection": export.connection, "to": export.to, "mode": export.mode,
                "primary_key": export.primary_key, "deletes": export.deletes,
            }));
        } else {
            let to = exports::place(export);
            session.output.data(format!("{}  {}  from {from} to {to}", export.name, export.mode));
        }
    }
}

/// Says what would go out.
async fn would(session: &Session, stores: &Stores, exports: &[&Export]) -> i32 {
    let mut code = 0;
    for export in exports {
        let pending = exports::is_pending(session, stores, export).await;
        code |= i32::from(pending.is_err());
        if session.global.format == Some(Format::Json) {
            session.output.data(json!({
                "export": export.name, "would_deliver": pending.as_ref().ok(),
                "error": pending.as_ref().err().map(tidemill_core::Error::report),
            }));
            continue;
        }
        let (word, mood, what) = match pending {
            Ok(true) => {
                let (from, to) = (from(session, export), exports::place(export));
                ("would", Mood::Good, format!("{from} would go out to {to}"))
            }
            Ok(false) => ("same", Mood::Quiet, "nothing new".to_owned()),
            Err(error) => ("error", Mood::Bad, error.report()),
        };
        let word = session.output.paint(mood, &format!("{word:<5}"));
        session.output.data(format!("  {word}  {}  {}  {what}", export.name, export.mode));
    }
    code
}

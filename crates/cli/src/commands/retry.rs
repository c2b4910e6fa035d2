//! `tidemill retry`: does again what failed in the last command, and what depended on it.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde_json::Value;
use tidemill_core::UniqueId;
use tidemill_plan::Scope;

use crate::args::{Publish, Retry, SelectionArgs};
use crate::artifacts::LastRun;
use crate::commands::build::{self, Invocation};
use crate::session::Session;

pub(crate) async fn run(session: &Session, args: &Retry) -> Result<i32> {
    let folder = session.target_path();
    let Some(last) = LastRun::read(&folder) else {
        bail!(
            "there is no {}, so there is nothing to retry",
            folder.join("run_results.json").display()
        );
    };
    let mut only: BTreeSet<UniqueId> = last.unfinished().cloned().collect();
    if only.is_empty() {
        session.output.say("nothing failed in the last command");
        return Ok(0);
    }
    // A check that failed kept what declares it from being published: that has to be built again.
    let manifest = session.manifest();
    let failed_checks: Vec<UniqueId> = only
        .iter()
        .filter(|id| ["test.", "unit_test."].iter().any(|kind| id.as_str().starts_with(kind)))
        .cloned()
        .collect();
    for check in &failed_checks {
        only.extend(manifest.parents_of(check).iter().cloned());
    }
    for id in only.clone() {
        only.extend(manifest.tests_of(&id).map(|test| test.unique_id.clone()));
    }
    let text = |key: &str| -> Vec<String> {
        last.arguments
            .get(key)
            .and_then(Value::as_array)
            .map(|items| items.iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect())
            .unwrap_or_default()
    };
    let flag = |key: &str| last.arguments.get(key).and_then(Value::as_bool).unwrap_or(false);
    let which = last.arguments.get("which").and_then(Value::as_str).unwrap_or("build");
    let scope = match which {
        "build" => Scope::BUILD,
        "run" => Scope::RUN,
        "test" => Scope::TEST,
        "seed" => Scope::SEED,
        "snapshot" => Scope::SNAPSHOT,
        "ingest" => Scope::INGEST,
        other => bail!("`{other}` cannot be retried"),
    };
    let selection = SelectionArgs {
        select: text("select"),
        exclude: text("exclude"),
        resource_type: text("resource_types"),
        ..SelectionArgs::default()
    };
    let invocation = Invocation {
        command: which,
        scope,
        selection: &selection,
        only: Some(only),
        full_refresh: args.full_refresh || flag("full_refresh"),
        fail_fast: args.fail_fast || flag("fail_fast"),
        no_reuse: flag("no_reuse"),
        publish: if last.arguments.get("publish").and_then(Value::as_str) == Some("run") {
            Publish::Run
        } else {
            Publish::Model
        },
        store_failures: flag("store_failures"),
        adopt: flag("adopt"),
        event_times: ["event_time_start", "event_time_end"]
            .map(|key| last.arguments.get(key).and_then(Value::as_i64)),
        batches: last.failed_batches.clone(),
    };
    build::run(session, &invocation).await
}

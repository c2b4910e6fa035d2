//! `tidemill retry`: does again what failed in the last command, and what depended on it.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde_json::Value;
use tidemill_core::UniqueId;
use tidemill_plan::Scope;

use crate::args::{CloneArgs, Compile, Publish, Retry, RunOperation, SelectionArgs};
use crate::artifacts::LastRun;
use crate::commands::build::{self, Invocation};
use crate::commands::{clone, compile, run_operation};
use crate::session::Session;

pub(crate) async fn run(session: &Session, args: &Retry) -> Result<i32> {
    let folder = match session.global.flags.text("state") {
        Some(state) => session.root.join(state),
        None => session.target_path(),
    };
    let file = folder.join("run_results.json");
    let Some(last) = LastRun::read(&folder) else {
        bail!("there is no {}, so there is nothing to retry", file.display());
    };
    // As in dbt: a command that did nothing is none that can be done again.
    if last.statuses.is_empty() {
        bail!(
            "the last command did nothing, as {} says: there is nothing to retry",
            file.display()
        );
    }
    let Some(again) = as_before(session, &last)? else {
        return repeat(session, args, &last).await;
    };
    let code = repeat(&again, args, &last).await;
    // The process ends: to give the parts of a large project back one by one is lost time.
    std::mem::forget(again);
    code
}

/// The project as the last command saw it, with its vars, target and flags; none when this command
/// sees it so, too. What is said here about vars, target and threads counts.
fn as_before(session: &Session, last: &LastRun) -> Result<Option<Session>> {
    let Value::Object(earlier) = &last.arguments else { return Ok(None) };
    let text = |key: &str| earlier.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut global = session.global.clone();
    global.flags = std::sync::Arc::new(session.global.flags.with_earlier(earlier));
    if global.vars.is_none() {
        global.vars = match earlier.get("vars") {
            Some(Value::Object(vars)) if !vars.is_empty() => {
                Some(Value::Object(vars.clone()).to_string())
            }
            _ => None,
        };
    }
    global.target = global.target.or_else(|| text("target"));
    global.profile = global.profile.or_else(|| text("profile"));
    global.target_lake = global.target_lake.or_else(|| text("target_lake"));
    if global.threads.is_none() {
        let threads = earlier.get("threads").and_then(Value::as_u64);
        global.threads = threads.and_then(|threads| usize::try_from(threads).ok());
    }
    let which = text("which").unwrap_or_else(|| "build".to_owned());
    Session::open(&global, &which, session.output, session.cancel.clone()).map(Some)
}

async fn repeat(session: &Session, args: &Retry, last: &LastRun) -> Result<i32> {
    let warnings = session.global.flags.on("warn_error");
    let mut only: BTreeSet<UniqueId> = last.unfinished(warnings).cloned().collect();
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
    let earlier = Earlier(&last.arguments);
    if earlier.text("which") == Some("run-operation") {
        let again = RunOperation {
            macro_name: earlier.text("macro").map(str::to_owned),
            args: match earlier.text("sql") {
                Some(_) => None,
                None => last.arguments.get("args").map(Value::to_string),
            },
            sql: earlier.text("sql").map(str::to_owned),
        };
        return run_operation::run(session, &again).await;
    }
    let which = earlier.text("which").unwrap_or("build");
    // What to do is known by name: selections are not asked again, as other states may be gone.
    let everything = SelectionArgs {
        select: ["fqn:*", "source:*"].map(str::to_owned).to_vec(),
        ..SelectionArgs::default()
    };
    let full_refresh = args.full_refresh || earlier.flag("full_refresh");
    let scope = match which {
        "build" => Scope::BUILD,
        "run" => Scope::RUN,
        "test" => Scope::TEST,
        "seed" => Scope::SEED,
        "snapshot" => Scope::SNAPSHOT,
        "ingest" => Scope::INGEST,
        "compile" => {
            let again = Compile { selection: everything, full_refresh, ..Compile::default() };
            return compile::run_only(session, &again, Some(only)).await;
        }
        "clone" => {
            let again = CloneArgs { selection: everything, full_refresh };
            return clone::run(session, &again, Some(only)).await;
        }
        other => bail!(
            "the last command was `{other}`, which cannot be done again: run it once more yourself"
        ),
    };
    let invocation = Invocation {
        only: Some(only),
        full_refresh,
        fail_fast: earlier.flag("fail_fast"),
        no_reuse: earlier.flag("no_reuse"),
        publish: if earlier.text("publish") == Some("run") { Publish::Run } else { Publish::Model },
        store_failures: earlier.flag("store_failures"),
        adopt: earlier.flag("adopt"),
        event_times: ["event_time_start", "event_time_end"]
            .map(|key| last.arguments.get(key).and_then(Value::as_i64)),
        batches: last.failed_batches.clone(),
        empty: earlier.flag("empty"),
        sample: earlier.text("sample"),
        ..Invocation::plain(which, scope, &everything)
    };
    build::run(session, &invocation).await
}

/// The arguments of the last command.
struct Earlier<'a>(&'a Value);

impl<'a> Earlier<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).and_then(Value::as_str)
    }

    fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(false)
    }
}

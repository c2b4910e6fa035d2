//! `tidemill build --watch`: builds again whenever a file of the project is saved.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{EventKind, RecursiveMode, Watcher};
use tidemill_core::Cancellation;
use tidemill_plan::Scope;

use crate::args::{Build, Global};
use crate::commands::build::{self, Invocation};
use crate::output::Output;
use crate::session::Session;

/// Saves that come this close together are one.
const SETTLE: Duration = Duration::from_millis(40);

/// Builds, waits for a save, builds again, until Ctrl-C.
pub(crate) fn run(
    runtime: &tokio::runtime::Runtime,
    global: &Global,
    args: &Build,
    output: Output,
    cancel: &Cancellation,
) -> Result<i32> {
    // Full means that a save is known already: what is lost is only that it happened twice.
    let (sender, receiver) = mpsc::sync_channel(1024);
    let mut watcher = notify::recommended_watcher(move |event| {
        let _ = sender.try_send(event);
    })
    .context("files cannot be watched")?;
    let mut watched: Option<PathBuf> = None;
    loop {
        let mut ignored = BTreeSet::new();
        match Session::open(global, "build", output.anew(), cancel.clone()) {
            Ok(session) => {
                ignored = generated_folders(&session);
                if watched.is_none() {
                    watcher
                        .watch(&session.root, RecursiveMode::Recursive)
                        .with_context(|| format!("cannot watch {}", session.root.display()))?;
                    watched = Some(session.root.clone());
                }
                let invocation = Invocation::of_build("build", Scope::BUILD, args);
                if let Err(error) = runtime.block_on(build::run(&session, &invocation)) {
                    output.err(crate::failure::text(&error));
                }
            }
            Err(error) if watched.is_none() => return Err(error),
            // A file that is being edited may be wrong for a moment.
            Err(error) => output.err(crate::failure::text(&error)),
        }
        if cancel.is_cancelled() {
            return Ok(130);
        }
        output.say("watching for changes; Ctrl-C ends");
        let Some(changed) = wait(&receiver, &ignored, cancel) else { return Ok(0) };
        let root = watched.as_deref().unwrap_or(Path::new(""));
        let name = changed.strip_prefix(root).unwrap_or(&changed);
        output.say(format!("\n{} changed", name.display()));
    }
}

fn generated_folders(session: &Session) -> BTreeSet<PathBuf> {
    let settings = &session.manifest().settings;
    let lake = session.root.join(&session.manifest().target.lake);
    ["logs", ".tidemill", ".git"]
        .iter()
        .map(|name| session.root.join(name))
        .chain([session.target_path(), lake])
        .chain(settings.clean_targets.iter().map(|name| session.root.join(name)))
        .collect()
}

/// The first file that was saved, once saves have settled; `None` after Ctrl-C.
fn wait(
    receiver: &mpsc::Receiver<notify::Result<notify::Event>>,
    ignored: &BTreeSet<PathBuf>,
    cancel: &Cancellation,
) -> Option<PathBuf> {
    let mut first: Option<PathBuf> = None;
    loop {
        if cancel.is_cancelled() {
            return None;
        }
        let patience = if first.is_some() { SETTLE } else { Duration::from_millis(200) };
        match receiver.recv_timeout(patience) {
            Ok(Ok(event)) if !matches!(event.kind, EventKind::Access(_)) => {
                let relevant = event.paths.into_iter().find(|path| is_project_file(path, ignored));
                first = first.or(relevant);
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                if first.is_some() {
                    return first;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn is_project_file(path: &Path, ignored: &BTreeSet<PathBuf>) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Editors' own files: `.orders.sql.swp`, `orders.sql~`, `#orders.sql#`, `4913`.
    let editor =
        name.starts_with('.') || name.ends_with('~') || name.starts_with('#') || name == "4913";
    !editor && !ignored.iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_and_editors_files_do_not_count() {
        let ignored = BTreeSet::from([PathBuf::from("/p/target"), PathBuf::from("/p/lake")]);
        for (path, counts) in [
            ("/p/models/a.sql", true),
            ("/p/data/new.csv", true),
            ("/p/models/.a.sql.swp", false),
            ("/p/models/a.sql~", false),
            ("/p/target/manifest.json", false),
            ("/p/lake/main/a/x.parquet", false),
        ] {
            assert_eq!(is_project_file(Path::new(path), &ignored), counts, "{path}");
        }
    }
}

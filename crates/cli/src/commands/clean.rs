//! `tidemill clean`: deletes generated folders.

use std::path::{Component, Path};

use anyhow::{Context, Result, bail};

use crate::session::Session;

/// Deletes the target folder and the project's `clean-targets`. A folder outside of the project, the
/// project itself or one of its source folders is refused, and nothing is deleted.
pub(crate) fn run(session: &Session) -> Result<i32> {
    let settings = &session.manifest().settings;
    let mut targets = settings.clean_targets.clone();
    if targets.is_empty() {
        targets.push(settings.target_path.clone());
    }
    let sources: Vec<&String> = [
        &settings.model_paths,
        &settings.seed_paths,
        &settings.test_paths,
        &settings.macro_paths,
        &settings.snapshot_paths,
        &settings.analysis_paths,
    ]
    .into_iter()
    .flatten()
    .collect();
    for target in &targets {
        let path = Path::new(target);
        let inside =
            path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || path.components().all(|part| part == Component::CurDir) {
            bail!(
                "`clean-targets: {target}` is not a folder inside of the project; nothing was deleted"
            );
        }
        if sources.iter().any(|source| Path::new(source).starts_with(path)) {
            bail!("`clean-targets: {target}` holds the project's own files; nothing was deleted");
        }
    }
    for target in &targets {
        let path = session.root.join(target);
        match std::fs::remove_dir_all(&path) {
            Ok(()) => session.output.say(format!("  deleted  {target}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot delete {}", path.display()));
            }
        }
    }
    session.output.say("the lake is not touched by clean");
    Ok(0)
}

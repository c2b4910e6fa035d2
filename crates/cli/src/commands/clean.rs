//! `tidemill clean`: deletes generated folders.

use std::path::{Component, Path};

use anyhow::{Context, Result, bail};

use crate::args::Clean;
use crate::session::Session;

/// Deletes the target folder and the project's `clean-targets`. A folder outside of the project
/// (without `--no-clean-project-files-only`), the project itself, a folder around it or one of its
/// source folders is refused, and nothing is deleted.
pub(crate) fn run(session: &Session, args: &Clean) -> Result<i32> {
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
        let holds = |place: &Path| holds(&session.root.join(path), place);
        if !inside && !args.no_clean_project_files_only {
            bail!(
                "`clean-targets: {target}` is not a folder inside of the project; nothing was deleted \
                 (--no-clean-project-files-only deletes it)"
            );
        }
        if path.components().all(|part| part == Component::CurDir) || holds(&session.root) {
            bail!(
                "`clean-targets: {target}` is not a folder inside of the project; nothing was deleted"
            );
        }
        if holds(Path::new(&session.manifest().target.lake)) {
            bail!("`clean-targets: {target}` holds the lake; nothing was deleted");
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

/// Whether a folder is a place or a folder around it, as far as the two are there.
fn holds(folder: &Path, place: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    matches!((real(folder), real(place)), (Some(folder), Some(place)) if place.starts_with(&folder))
}

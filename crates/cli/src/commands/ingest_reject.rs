//! `tidemill ingest reject`: sets aside the batch that a load cannot get past.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use tidemill_core::{
    At, Error, Position, PublishChange, PublishMeta, Snapshot, Source, Staged, TableStore, UniqueId,
};
use tidemill_ingest::{LoadSpec, MaxRejects, batch_id, changes, rejected_relation};
use tidemill_project::Manifest;

use crate::args::Global;
use crate::artifacts::LastRun;
use crate::loader::{ProjectLoader, since, validate};
use crate::output::plural;
use crate::published::OfLake;
use crate::session::Session;

#[derive(Debug, Clone, Args)]
pub(crate) struct IngestReject {
    /// The table, as the project has it
    #[arg(value_name = "SOURCE.TABLE")]
    pub(crate) table: String,
    /// Only this batch, by the name that the load that failed gave it; if the table is past it, nothing is done
    #[arg(long, value_name = "BATCH")]
    pub(crate) batch: Option<String>,
    /// What stands as the reason with the rows [default: why the last load failed]
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Say what would be set aside; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The longest reason that a command is told with.
const REASON: usize = 160;

/// The command that sets the batch aside that begins at this position.
pub(crate) fn command(
    global: &Global,
    manifest: &Manifest,
    id: &UniqueId,
    position: Option<&Position>,
    reason: &str,
) -> String {
    let mut words = vec!["tidemill ingest reject".to_owned(), called(manifest, id)];
    words.push(format!("--batch {}", batch_id(position)));
    let line = reason.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if !line.is_empty() {
        words.push(format!("--reason {}", quoted(&line.chars().take(REASON).collect::<String>())));
    }
    let folders =
        [("--project-dir", &global.project_dir), ("--profiles-dir", &global.profiles_dir)];
    for (flag, folder) in folders {
        words.extend(
            folder.as_ref().map(|folder| format!("{flag} {}", quoted(&folder.to_string_lossy()))),
        );
    }
    for (flag, value) in [("--profile", &global.profile), ("--target", &global.target)] {
        words.extend(value.as_ref().map(|value| format!("{flag} {}", quoted(value))));
    }
    words.extend(global.target_lake.as_ref().map(|lake| quoted(&format!("--target-lake={lake}"))));
    words.join(" ")
}

/// A word of the shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// How people call a source table.
fn called(manifest: &Manifest, id: &UniqueId) -> String {
    match manifest.source(id) {
        Some(source) => format!("{}.{}", source.source_name, source.name),
        None => id.to_string(),
    }
}

/// Where a batch begins, in words.
pub(crate) fn begins(position: Option<&Position>) -> String {
    match position {
        None => "from the beginning on".to_owned(),
        Some(position) => match since(position) {
            Some(files) if position.0.get("files").is_some() => format!("behind {files}"),
            Some(since) => since,
            None => format!("behind {position}"),
        },
    }
}

/// The source table of this name, which is loaded.
pub(crate) fn table(session: &Session, name: &str) -> Result<UniqueId> {
    let manifest = session.manifest();
    let loaded = || manifest.sources.values().filter(|source| source.ingest.is_some());
    let names = |id: &UniqueId| called(manifest, id);
    let found: Vec<&UniqueId> = loaded()
        .filter(|source| names(&source.unique_id) == name || source.name == name)
        .map(|source| &source.unique_id)
        .collect();
    match found.as_slice() {
        [one] => {
            let id = (*one).clone();
            validate(manifest, &[id.clone()].into())?;
            Ok(id)
        }
        [] => {
            let all: Vec<String> = loaded().map(|source| names(&source.unique_id)).collect();
            bail!("no source table `{name}` is loaded; there are {}", all.join(", "))
        }
        several => {
            let all: Vec<String> = several.iter().map(|id| names(id)).collect();
            bail!("`{name}` is one of {}; say which", all.join(", "))
        }
    }
}

/// What is to be published.
struct Aside {
    staged: Vec<Arc<Staged>>,
    position: Option<Position>,
    view: Option<PublishChange>,
    rows: u64,
}

pub(crate) async fn run(session: &Session, args: &IngestReject) -> Result<i32> {
    let id = table(session, &args.table)?;
    let stores = session.stores().await?;
    let code = set_aside(session, &stores.lake, &id, args).await;
    stores.files.close().await;
    code
}

async fn set_aside(
    session: &Session,
    lake: &Arc<tidemill_lake::Lake>,
    id: &UniqueId,
    args: &IngestReject,
) -> Result<i32> {
    // What a process before us left half-way is finished first.
    let base = lake.publish(Vec::new(), &session.run).await?.snapshot;
    let loader = ProjectLoader::new(session, lake.clone());
    let (source, spec) = loader.log_of(id, base.clone(), session.run.clone(), &session.cancel)?;
    let reason = reason(session, id, args);
    let position = base.get(&spec.relation).and_then(|table| table.position.clone());
    let follows = spec.settings.changes && changes::is_begun(&base, &spec.relation);
    let behind = follows && changes::is_behind(&base, &spec.relation);
    let is = |position: Option<&Position>| {
        args.batch.as_ref().is_none_or(|batch| *batch == batch_id(position))
    };
    let name = called(session.manifest(), id);
    if follows && !(behind && is(position.as_ref())) {
        let log = changes::source_position(&base, &spec.relation);
        if is(log.as_ref()) {
            return set_log_aside(session, lake, id, &name, (source, spec), args).await;
        }
    } else if is(position.as_ref()) {
        let aside = if behind {
            pending_changes(&spec, id, &reason, &**lake).await?
        } else {
            let loaded = tidemill_ingest::reject(&*source, &spec, &reason, &**lake).await?;
            let (staged, position) = (loaded.staged, loaded.position);
            Aside { staged, position, view: None, rows: loaded.rejected }
        };
        return publish(session, lake, id, &spec, &name, aside, args.dry_run, &*source).await;
    }
    session.output.say(format!(
        "{name} is past the batch `{}`: nothing is set aside; it goes on {}",
        args.batch.as_deref().unwrap_or_default(),
        begins(position.as_ref())
    ));
    Ok(0)
}

/// What stands with the rows.
fn reason(session: &Session, id: &UniqueId, args: &IngestReject) -> String {
    if let Some(reason) = &args.reason {
        return reason.clone();
    }
    let last = LastRun::read(&session.target_path());
    let message = last.and_then(|last| last.messages.get(id).cloned());
    message.unwrap_or_else(|| "set aside by `tidemill ingest reject`".to_owned())
}

/// The changes that are kept and cannot be applied.
async fn pending_changes(
    spec: &LoadSpec,
    id: &UniqueId,
    reason: &str,
    store: &dyn TableStore,
) -> Result<Aside, Error> {
    let meta = PublishMeta { unique_id: Some(id.clone()), ..PublishMeta::default() };
    let refused = changes::reject(spec, reason, meta, store).await?;
    Ok(match refused {
        Some(refused) => Aside {
            staged: vec![Arc::new(refused.staged)],
            position: Some(refused.position),
            view: refused.view,
            rows: refused.rows,
        },
        None => Aside { staged: Vec::new(), position: None, view: None, rows: 0 },
    })
}

/// Of a log those changes go aside that cannot be read; the others are kept.
async fn set_log_aside(
    session: &Session,
    lake: &Arc<tidemill_lake::Lake>,
    id: &UniqueId,
    name: &str,
    (source, mut spec): (Arc<dyn Source>, LoadSpec),
    args: &IngestReject,
) -> Result<i32> {
    if args.dry_run {
        session.output.say(format!(
            "{name}: would read its log {}, and move the changes that cannot be read to {}",
            begins(changes::source_position(&spec.base, &spec.relation).as_ref()),
            rejected_relation(&spec.relation)
        ));
        return Ok(0);
    }
    spec.settings.max_rejects = MaxRejects::Percent(100.0);
    let appended = changes::append(&*source, &spec, Some(id), &**lake).await?;
    tell(session, lake, &*source, name, appended.position.as_ref()).await;
    if appended.changes == 0 && appended.rejected == 0 {
        session.output.say(nothing(name));
        return Ok(0);
    }
    session.output.say(format!(
        "{name}: {} kept, {} moved to {}",
        plural(appended.changes, "change", "changes"),
        appended.rejected,
        rejected_relation(&spec.relation)
    ));
    Ok(0)
}

/// Tells the source how far it was read. It is published, and told again by the next load.
async fn tell(
    session: &Session,
    lake: &Arc<tidemill_lake::Lake>,
    source: &dyn Source,
    name: &str,
    position: Option<&Position>,
) {
    let Some(position) = position else { return };
    let said = match source.acknowledge_beside(position, &OfLake(lake.clone())).await {
        Ok(notices) => notices.into_iter().map(|notice| notice.message).collect(),
        Err(error) => vec![error.report()],
    };
    for message in said {
        session.output.say(format!("note: {name}: {message}"));
    }
}

fn nothing(name: &str) -> String {
    format!("{name}: nothing is new, so that there is nothing to set aside")
}

/// Publishes rejected rows and position in one entry.
#[expect(clippy::too_many_arguments, reason = "what is published, and who is told")]
async fn publish(
    session: &Session,
    lake: &Arc<tidemill_lake::Lake>,
    id: &UniqueId,
    spec: &LoadSpec,
    name: &str,
    aside: Aside,
    dry_run: bool,
    source: &dyn Source,
) -> Result<i32> {
    let to = rejected_relation(&spec.relation);
    if dry_run || aside.rows == 0 {
        for staged in &aside.staged {
            lake.discard(staged).await?;
        }
        session.output.say(match aside.rows {
            0 => nothing(name),
            rows => format!("{name}: would move {} to {to}", plural(rows, "row", "rows")),
        });
        return Ok(0);
    }
    let changes = changes_of(&spec.base, id, spec, &aside);
    if let Err(error) = lake.publish(changes, &session.run).await {
        if error.kind() != tidemill_core::ErrorKind::Unknown {
            for staged in &aside.staged {
                lake.discard(staged).await?;
            }
        }
        return Err(error.into());
    }
    let position = aside.position.as_ref().filter(|position| !changes::is_applied(position));
    tell(session, lake, source, name, position).await;
    let now = lake.snapshot(At::Now).await?;
    let position = now.get(&spec.relation).and_then(|table| table.position.as_ref());
    session.output.say(format!(
        "{name}: moved {} to {to}; it goes on {}",
        plural(aside.rows, "row", "rows"),
        begins(position)
    ));
    Ok(0)
}

/// The entry: the rejected rows, and the table with its new position, otherwise as it is.
fn changes_of(
    base: &Snapshot,
    id: &UniqueId,
    spec: &LoadSpec,
    aside: &Aside,
) -> Vec<PublishChange> {
    let unique_id = Some(id.clone());
    let record = base.get(&spec.relation).and_then(|table| table.record.as_deref().cloned());
    let main = PublishMeta {
        unique_id: unique_id.clone(),
        position: aside.position.clone(),
        record,
        ..PublishMeta::default()
    };
    let mut changes = Vec::new();
    if !aside.staged.iter().any(|staged| staged.relation == spec.relation) {
        let relation = spec.relation.clone();
        changes.push(PublishChange::Record { relation, meta: main.clone() });
    }
    for staged in &aside.staged {
        let meta = match staged.relation == spec.relation {
            true => main.clone(),
            false => PublishMeta { unique_id: unique_id.clone(), ..PublishMeta::default() },
        };
        changes.push(PublishChange::Table(staged.clone(), meta));
    }
    changes.extend(aside.view.clone());
    changes
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_of_the_shell() {
        assert_eq!(quoted("prod"), "prod");
        assert_eq!(quoted("it's 1"), r"'it'\''s 1'");
        assert_eq!(quoted(""), "''");
    }
}

//! `tidemill debug`: what this project, profile and lake are, and whether they work.

use anyhow::Result;
use tidemill_core::{At, TableStore};
use tidemill_project::ResourceType;

use crate::output::{Mood, plural, time};
use crate::session::Session;

pub(crate) async fn run(session: &Session) -> Result<i32> {
    let manifest = session.manifest();
    let target = &manifest.target;
    let say = |name: &str, value: String| session.output.data(format!("  {name:<12} {value}"));
    say(
        "tidemill",
        format!("{} (dbt language {})", env!("CARGO_PKG_VERSION"), tidemill_project::DBT_VERSION),
    );
    say("project", format!("{} in {}", manifest.settings.name, session.root.display()));
    say(
        "target",
        format!(
            "{} of profile {}",
            target.name,
            if target.profile_name.is_empty() { "(none)" } else { &target.profile_name }
        ),
    );
    match &target.runs_in {
        Some(database) => {
            say(
                "database",
                format!("{} {}, schema {}", database.kind, target.database, target.schema),
            );
        }
        None => say("lake", format!("{}, schema {}", target.lake, target.schema)),
    }
    say("threads", target.threads.to_string());
    say("time zone", manifest.settings.timezone.clone());
    let number = |kind: ResourceType| {
        manifest.nodes.values().filter(|node| node.resource_type == kind).count() as u64
    };
    say(
        "nodes",
        [
            plural(manifest.sources.len() as u64, "source table", "source tables"),
            plural(number(ResourceType::Seed), "seed", "seeds"),
            plural(number(ResourceType::Model), "model", "models"),
            plural(number(ResourceType::Test), "test", "tests"),
        ]
        .join(", "),
    );
    let unsupported = session.unsupported_nodes();
    for line in &unsupported {
        say("not yet", line.clone());
    }
    reach(session).await
}

/// `--connection`: the target, and whether it can be reached.
pub(crate) async fn connection(session: &Session) -> Result<i32> {
    let target = &session.manifest().target;
    let place = match &target.runs_in {
        Some(database) => {
            format!("{} {}, schema {}", database.kind, target.database, target.schema)
        }
        None => format!("{}, schema {}", target.lake, target.schema),
    };
    let name = if target.runs_in.is_some() { "database" } else { "lake" };
    session.output.data(format!("  {name:<12} {place}"));
    reach(session).await
}

/// `--config-dir`: the folder in which `profiles.yml` is looked for.
pub(crate) fn config_dir(session: &Session) -> Result<i32> {
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
    let folder = match (&session.global.profiles_dir, home) {
        (Some(folder), _) => std::path::absolute(folder)?,
        (None, Some(home)) if !session.root.join("profiles.yml").is_file() => {
            std::path::PathBuf::from(home).join(".dbt")
        }
        _ => session.root.clone(),
    };
    session.output.data(folder.display().to_string());
    Ok(0)
}

/// Whether the lake or the database answers.
async fn reach(session: &Session) -> Result<i32> {
    let say = |name: &str, value: String| session.output.data(format!("  {name:<12} {value}"));
    match crate::database::of(session) {
        Ok(Some(database)) => return crate::database::debug(session, database).await,
        Ok(None) => {}
        Err(error) => {
            session.output.err(crate::failure::text(&error));
            return Ok(1);
        }
    }
    let opened = async {
        let stores = session.stores().await?;
        anyhow::Ok(stores.lake.snapshot(At::Now).await?)
    };
    match opened.await {
        Ok(snapshot) => {
            say(
                "published",
                format!(
                    "{} after entry {} of {}",
                    plural(snapshot.relations.len() as u64, "relation", "relations"),
                    snapshot.entry,
                    time(snapshot.time)
                ),
            );
            session
                .output
                .data(format!("  {}", session.output.paint(Mood::Good, "all checks passed")));
            Ok(0)
        }
        Err(error) => {
            session.output.err(crate::failure::text(&error));
            Ok(1)
        }
    }
}

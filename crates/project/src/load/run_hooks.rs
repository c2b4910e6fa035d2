//! Hooks of the whole run, as far as they can be judged before they run.

use std::sync::Arc;

use serde_json::json;
use tidemill_core::{Diagnostics, UniqueId};
use tidemill_jinja::{ErrorKind, Options, Source, Template, Value};

use crate::manifest::Manifest;
use crate::render::context::{Context, ContextHost, Model, Phase, Subject};
use crate::render::errors;
use crate::settings::Hook;
use crate::world::World;

/// What only a hook after the run has: lists that are empty until then.
const OF_THE_END: [&str; 3] = ["results", "schemas", "database_schemas"];

/// Renders each hook with `execute` false, as dbt does for every command. What is no template, or says
/// itself that it cannot go on, is a mistake of the project; all else shows when the hook runs.
pub(super) fn check(manifest: &Manifest, world: &Arc<World>, diagnostics: &mut Diagnostics) {
    let start = manifest.on_run_start.iter().map(|hook| (hook, "on-run-start"));
    let end = manifest.on_run_end.iter().map(|hook| (hook, "on-run-end"));
    for (hook, when) in start.chain(end) {
        let Err(error) = render(hook, when, world) else { continue };
        if !matches!(error.kind(), ErrorKind::Syntax | ErrorKind::User) {
            continue;
        }
        let diagnostic = errors::diagnostic(&error, &format!("a hook of `{when}`"));
        diagnostics.push(match (&diagnostic.position, &hook.position) {
            (None, Some(position)) => diagnostic.at(position.clone()),
            _ => diagnostic,
        });
    }
}

fn render(hook: &Hook, when: &str, world: &Arc<World>) -> Result<(), tidemill_jinja::Error> {
    let template = Template::parse(&Source::new(when, hook.sql.as_str()))?;
    let package = &hook.package;
    let subject = Subject {
        unique_id: UniqueId::new(format!("operation.{package}.{package}-{when}")),
        name: when.to_owned(),
        package: Arc::from(package.as_str()),
        relation: None,
        config: Arc::default(),
        model: Model::Empty,
        depends_on: Arc::from([]),
    };
    let mut context = Context::new(world, subject, Phase::Parse);
    for name in OF_THE_END {
        context.locals.insert(name.to_owned(), Value::from(&json!([])));
    }
    let host = ContextHost { context: Arc::new(context) };
    template.render(&host, &Options::for_package(package.as_str())).map(|_| ())
}

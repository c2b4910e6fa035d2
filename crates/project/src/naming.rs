//! Where a node is built: `generate_database_name`, `generate_schema_name` and
//! `generate_alias_name`, dbt's defaults or the project's macros.

use std::sync::Arc;

use serde_json::Value as Json;
use tidemill_core::Diagnostics;
use tidemill_jinja::{Args, State, Value};

use crate::manifest::{Node, ResourceType};
use crate::render::context::{Context, ContextHost, Model, Phase, Subject};
use crate::render::relation::Relation;
use crate::render::{described, errors};
use crate::world::World;

/// Names of the three macros, in the order of [`World::names_overridden`].
pub(crate) const MACROS: [&str; 3] =
    ["generate_database_name", "generate_schema_name", "generate_alias_name"];

/// Sets database, schema and alias of a node from its configuration.
pub(crate) fn apply(node: &mut Node, world: &Arc<World>, diagnostics: &mut Diagnostics) {
    let custom =
        [node.config.database.clone(), node.config.schema.clone(), node.config.alias.clone()];
    for (index, custom) in custom.into_iter().enumerate() {
        let name = if world.names_overridden[index] {
            match from_macro(index, custom.as_deref(), node, world) {
                Ok(name) => name,
                Err(error) => {
                    diagnostics.push(errors::diagnostic(&error, &described(node)));
                    continue;
                }
            }
        } else {
            default_name(index, custom.as_deref(), node, world)
        };
        match index {
            0 => node.database = name,
            1 => node.schema = name,
            _ => node.alias = name,
        }
    }
    // Snapshots may name their place outright.
    if node.resource_type == ResourceType::Snapshot {
        let place = |key: &str| node.config.get(key).and_then(Json::as_str).map(str::to_owned);
        if let (database, Some(schema)) = (place("target_database"), place("target_schema")) {
            node.schema = schema;
            node.database = database.unwrap_or_else(|| node.database.clone());
        }
    }
}

fn default_name(index: usize, custom: Option<&str>, node: &Node, world: &World) -> String {
    let target = &world.target;
    match (index, custom) {
        (0, None) => target.database.clone(),
        (1, None) => target.schema.clone(),
        (1, Some(custom)) => format!("{}_{}", target.schema, custom.trim()),
        (2, None | Some("")) => match &node.version {
            Some(version) => format!("{}_v{}", node.name, version.replace('.', "_")),
            None => node.name.clone(),
        },
        (_, Some(custom)) => custom.trim().to_owned(),
        (_, None) => node.name.clone(),
    }
}

fn from_macro(
    index: usize,
    custom: Option<&str>,
    node: &Node,
    world: &Arc<World>,
) -> Result<String, tidemill_jinja::Error> {
    let name = MACROS[index];
    // A package's own macro decides for its nodes, else that of the root project.
    let own = world.macros.in_package(&node.package_name, name);
    let found = own.or_else(|| world.macros.by_name(name, &world.settings.name, ""));
    let Some(found) = found else {
        return Ok(default_name(index, custom, node, world));
    };
    let model: Json = crate::artifact::node_json(node);
    let value = Value::from(&model);
    let subject = Subject {
        unique_id: node.unique_id.clone(),
        name: node.name.clone(),
        package: Arc::from(world.settings.name.as_str()),
        relation: Some(Relation::new(world.style(), &node.database, &node.schema, &node.alias)),
        config: Arc::new(node.config.all.clone()),
        model: Model::Draft(model),
        depends_on: Arc::from([]),
    };
    let context = Arc::new(Context::new(world, subject, Phase::Parse));
    let host = ContextHost { context };
    let mut state = State::new(&host, found.package().clone(), Default::default());
    let args = Args::positional_only([Value::from(custom.map(str::to_owned)), value]);
    Ok(found.call(&args, &mut state)?.to_string().trim().to_owned())
}

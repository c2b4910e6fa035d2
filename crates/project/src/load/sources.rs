//! Source tables.

use serde_json::Value as Json;
use tidemill_core::{Diagnostic, UniqueId};

use super::nodes::{Builder, Said, columns};
use crate::config;
use crate::manifest::{Ingest, ResourceType, SourceTable};
use crate::read::properties::{SourceDef, merge_freshness};
use crate::read::walk::folders;
use crate::suggest::nearest;

impl Builder<'_> {
    /// Source tables with their tests still to be made: ids by place in what was said.
    pub(super) fn sources(&mut self, said: &[Said]) {
        for said in said {
            for def in &said.properties.sources {
                self.source(said, def);
            }
        }
    }

    fn source(&mut self, said: &Said, def: &SourceDef) {
        let package = &said.package;
        let unique_id =
            UniqueId::new(format!("source.{}.{}.{}", package.name, def.source, def.name));
        let mut fqn = vec![package.name.clone()];
        fqn.extend(folders(&said.relative).map(str::to_owned));
        fqn.push(def.source.clone());
        fqn.push(def.name.clone());
        let tree = self.tree_layer("sources", package, &fqn);
        let text = |key: &str| tree.values.get(key).and_then(Json::as_str).map(str::to_owned);
        let mut merged = tree.clone();
        merged.apply(&def.config);
        merged.apply(&self.root_layer("sources", package, &fqn));
        let (config, problems) = config::typed(ResourceType::Source, &merged);
        let what = format!("source table `{}.{}`", def.source, def.name);
        self.config_problems(&what, &problems, &merged, &def.position);
        let mut tags: Vec<String> = def.tags.iter().chain(&config.tags).cloned().collect();
        tags.sort();
        tags.dedup();
        let mut meta = def.meta.clone();
        meta.extend(config.meta.clone());
        let ingest = def.ingest.as_ref().map(|ingest| {
            let mut settings = ingest.settings.clone();
            let connection = match settings.shift_remove("connection") {
                Some(Json::String(name)) => Some(name),
                _ => None,
            };
            let position = ingest.position.clone().unwrap_or_else(|| def.position.clone());
            if let Some(name) = &connection
                && !self.manifest.connections.contains_key(name)
            {
                let place = ingest.positions.get("connection").unwrap_or(&position);
                let diagnostic = Diagnostic::error(
                    "unknown-connection",
                    format!("{what} is filled from the connection `{name}`, which does not exist"),
                )
                .at(place.clone());
                let names = self.manifest.connections.keys().map(String::as_str);
                self.diagnostics.push(match nearest(name, names) {
                    Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                    None => diagnostic.hint("declare it in connections.yml"),
                });
            }
            Ingest {
                connection,
                settings,
                positions: ingest
                    .positions
                    .iter()
                    .map(|(key, at)| (key.clone(), at.clone()))
                    .collect(),
                position,
            }
        });
        let table = SourceTable {
            unique_id: unique_id.clone(),
            source_name: def.source.clone(),
            name: def.name.clone(),
            package_name: package.name.clone(),
            database: def.database.clone().unwrap_or_else(|| self.world.target.database.clone()),
            schema: def.schema.clone().unwrap_or_else(|| def.source.clone()),
            unrendered_database: def.unrendered_database.clone(),
            unrendered_schema: def.unrendered_schema.clone(),
            identifier: def.identifier.clone().unwrap_or_else(|| def.name.clone()),
            original_file_path: said.original.clone(),
            fqn: fqn.clone(),
            description: def.description.clone(),
            source_description: def.source_description.clone(),
            loader: def.loader.clone(),
            tags,
            meta,
            source_meta: def.source_meta.clone(),
            columns: columns(&def.columns),
            config: config.all.clone(),
            unrendered_config: {
                let own = self.unrendered("sources", package, &fqn, [&def.config.values]);
                let said = [
                    ("freshness", def.said_freshness.clone()),
                    ("loaded_at_field", def.loaded_at_field.clone().map(Json::from)),
                    ("loaded_at_query", def.loaded_at_query.clone().map(Json::from)),
                ];
                let said =
                    said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
                own.into_iter().chain(said).collect()
            },
            freshness: match tree.values.get("freshness") {
                Some(lower) => merge_freshness(Some(lower.clone()), def.said_freshness.clone()),
                None => def.freshness.clone(),
            },
            loaded_at_query: def
                .loaded_at_query
                .clone()
                .or_else(|| text("loaded_at_query").filter(|_| def.loaded_at_field.is_none())),
            loaded_at_field: def
                .loaded_at_field
                .clone()
                .or_else(|| text("loaded_at_field").filter(|_| def.loaded_at_query.is_none())),
            ingest,
            enabled: config.enabled,
            position: def.position.clone(),
        };
        if !table.enabled {
            self.manifest.disabled_sources.push(table);
            return;
        }
        if let Some(first) = self.manifest.sources.get(&unique_id) {
            self.diagnostics.push(
                Diagnostic::error("duplicate-name", format!("{what} is declared twice"))
                    .at(def.position.clone())
                    .label(format!(
                        "it is declared in {} as well",
                        crate::file::shown(&first.position.file)
                    )),
            );
            return;
        }
        self.manifest.sources.insert(unique_id, table);
    }
}

//! Source tables.

use serde_json::{Value as Json, json};
use tidemill_core::{Diagnostic, UniqueId};

use super::nodes::{Builder, Said, columns};
use crate::config;
use crate::manifest::{CHANGES_AND_FRESH, Column, Ingest, ResourceType, SourceTable};
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
        self.companions();
    }

    /// What comes with tables whose changes are kept can be read as sources, declared or not.
    fn companions(&mut self) {
        let mut new: Vec<SourceTable> = Vec::new();
        for source in self.manifest.sources.values() {
            for (relation, end) in source.companions().iter().zip(CHANGES_AND_FRESH) {
                let there = |other: &SourceTable| {
                    other.package_name == source.package_name && other.relation() == *relation
                };
                let disabled = &self.manifest.disabled_sources;
                if !self.manifest.sources.values().chain(disabled).any(there) {
                    new.push(companion(source, end));
                }
            }
        }
        self.manifest.sources.extend(new.into_iter().map(|table| (table.unique_id.clone(), table)));
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
            quoted_parts: self.world.settings.quoted_parts(),
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
                let mut own = self.unrendered("sources", package, &fqn, [&def.config.values]);
                if let Some(said) = def.said_freshness.clone() {
                    own.insert("freshness".to_owned(), with_all_fields(said));
                }
                // dbt fills these in, said or not.
                let filled = [
                    ("loaded_at_field", json!(def.loaded_at_field)),
                    ("loaded_at_query", json!(def.loaded_at_query)),
                    ("meta", json!(def.meta)),
                    ("tags", json!(def.tags)),
                ];
                own.extend(filled.map(|(key, value)| (key.to_owned(), value)));
                own
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

/// The source table of a table of changes, or of the view of a table with its changes.
fn companion(of: &SourceTable, end: &str) -> SourceTable {
    let name = format!("{}{end}", of.name);
    let mut fqn = of.fqn.clone();
    if let Some(last) = fqn.last_mut() {
        last.clone_from(&name);
    }
    let is_changes = end == CHANGES_AND_FRESH[0];
    let description = match is_changes {
        true => format!("Each change of `{}`, in its order.", of.name),
        false => format!("`{}` with the changes that it does not have yet.", of.name),
    };
    let own = [
        ("_change_number", "Grows with each change; no number comes twice.", "bigint"),
        ("_change", "`insert`, `update`, `delete`, `truncate` or `snapshot`.", "text"),
        (
            "_committed_at",
            "When the transaction was committed, where the log says so.",
            "timestamp with time zone",
        ),
    ];
    let own = own.into_iter().filter(|_| is_changes).map(|(name, description, data_type)| {
        let column = Column {
            name: name.to_owned(),
            description: description.to_owned(),
            data_type: Some(data_type.to_owned()),
            ..Column::default()
        };
        (name.to_owned(), column)
    });
    SourceTable {
        unique_id: UniqueId::new(format!("source.{}.{}.{name}", of.package_name, of.source_name)),
        identifier: format!("{}{end}", of.identifier),
        name,
        fqn,
        description,
        columns: own.chain(of.columns.clone()).collect(),
        freshness: None,
        loaded_at_field: None,
        loaded_at_query: None,
        ingest: None,
        ..of.clone()
    }
}

/// A freshness with every field that dbt fills in.
fn with_all_fields(said: Json) -> Json {
    let Json::Object(mut said) = said else { return said };
    let mut part = |key: &str, default: Json| said.remove(key).unwrap_or(default);
    let never = json!({"count": null, "period": null});
    json!({
        "warn_after": part("warn_after", never.clone()),
        "error_after": part("error_after", never),
        "filter": part("filter", Json::Null),
    })
}

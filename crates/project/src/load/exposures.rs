//! Exposures, and what property YAML says about macros and groups.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tidemill_core::{Diagnostic, UniqueId};
use tidemill_jinja::{Options, Template};

use super::nodes::{Builder, Places, Said};
use crate::config;
use crate::manifest::{Exposure, RefCall, ResourceType, SourceCall};
use crate::read::walk::folders;
use crate::render::context::{Context, ContextHost, Model, Phase, Subject};
use crate::suggest::nearest;

impl Builder<'_> {
    /// Exposures, and what is said about macros and groups.
    pub(super) fn others(&mut self, said: &[Said]) {
        for said in said {
            for def in &said.properties.exposures {
                self.exposure(said, def);
            }
            for def in &said.properties.semantics {
                self.semantic(said, def);
            }
            for patch in &said.properties.patches {
                for def in super::semantic_yaml::of_model(patch) {
                    self.semantic(said, &def);
                }
            }
            for (name, group) in &said.properties.groups {
                let mut group = group.clone();
                if let Json::Object(map) = &mut group {
                    map.insert("original_file_path".to_owned(), said.original.as_str().into());
                    map.insert("path".to_owned(), said.relative.as_str().into());
                    map.insert("package_name".to_owned(), said.package.name.as_str().into());
                }
                self.manifest.groups.insert(name.clone(), group);
            }
            for patch in &said.properties.macros {
                let package = &said.package.name;
                let own = format!("macro.{package}.{}", patch.name);
                let test = format!("macro.{package}.test_{}", patch.name);
                let key = if self.manifest.macros.contains_key(&own) { own } else { test };
                let found = self.manifest.macros.get_mut(&key);
                match found {
                    Some(node) => {
                        node.description = patch.description.clone();
                        if !patch.arguments.is_empty() {
                            node.arguments = patch.arguments.clone();
                        }
                        node.meta = patch.meta.clone();
                        node.patch_path = Some(said.patch_path());
                    }
                    None => {
                        let diagnostic = Diagnostic::warning(
                            "unknown-name",
                            format!(
                                "property YAML describes the macro `{}`, which does not exist",
                                patch.name
                            ),
                        )
                        .at(patch.position.clone());
                        let names = self
                            .manifest
                            .macros
                            .values()
                            .filter(|node| node.package_name == *package)
                            .map(|node| node.name.as_str());
                        self.diagnostics.push(match nearest(&patch.name, names) {
                            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                            None => diagnostic,
                        });
                    }
                }
            }
        }
    }

    fn exposure(&mut self, said: &Said, def: &crate::read::properties::ExposureDef) {
        let package = &said.package;
        let mut fqn = vec![package.name.clone()];
        fqn.extend(folders(&said.relative).map(str::to_owned));
        fqn.push(def.name.clone());
        let mut merged = self.tree_layer("exposures", package, &fqn);
        merged.apply(&def.config);
        let (config, problems) = config::typed(ResourceType::Exposure, &merged);
        self.config_problems(
            &format!("exposure `{}`", def.name),
            &problems,
            &merged,
            &def.position,
        );
        if !config.enabled {
            return;
        }
        let unique_id = UniqueId::new(format!("exposure.{}.{}", package.name, def.name));
        let mut places = Places::default();
        let mut refs = Vec::new();
        let mut sources = Vec::new();
        for (text, place) in &def.depends_on {
            match self.noted(&package.name, &unique_id, &def.name, text) {
                Ok((found_refs, found_sources)) => {
                    places.refs.extend(found_refs.iter().map(|_| Some(place.clone())));
                    refs.extend(found_refs);
                    places.sources.extend(found_sources.iter().map(|_| Some(place.clone())));
                    sources.extend(found_sources);
                }
                Err(error) => self.diagnostics.push(
                    Diagnostic::error("jinja", error.message().to_owned())
                        .at(place.clone())
                        .hint("write `ref('model')` or `source('source', 'table')`"),
                ),
            }
        }
        self.places.insert(unique_id.clone(), places);
        let text = |key: &str| def.values.get(key).and_then(Json::as_str).map(str::to_owned);
        let exposure = Exposure {
            unique_id: unique_id.clone(),
            name: def.name.clone(),
            package_name: package.name.clone(),
            original_file_path: said.original.clone(),
            fqn: fqn.clone(),
            kind: text("type").unwrap_or_default(),
            description: text("description").unwrap_or_default(),
            label: text("label"),
            maturity: text("maturity"),
            url: text("url"),
            owner: match def.values.get("owner") {
                Some(Json::Object(owner)) => owner.clone(),
                _ => Map::new(),
            },
            tags: config.tags.clone(),
            meta: config.meta.clone(),
            config: config.all.clone(),
            unrendered_config: self.unrendered("exposures", package, &fqn, [&def.config.values]),
            refs,
            sources,
            depends_on: Vec::new(),
            position: def.position.clone(),
        };
        self.manifest.exposures.insert(unique_id, exposure);
    }

    /// The calls that an expression makes.
    pub(super) fn noted(
        &self,
        package: &str,
        id: &UniqueId,
        name: &str,
        text: &str,
    ) -> Result<(Vec<RefCall>, Vec<SourceCall>), tidemill_jinja::Error> {
        let subject = Subject {
            unique_id: id.clone(),
            name: name.to_owned(),
            package: Arc::from(package),
            relation: None,
            config: Arc::default(),
            model: Model::Empty,
            depends_on: Arc::from([]),
        };
        let context = Arc::new(Context::new(self.world, subject, Phase::Parse));
        let host = ContextHost { context: context.clone() };
        let template = Template::from_text("depends_on", &format!("{{{{ {text} }}}}"))?;
        template.eval_native(&host, &Options::for_package(package))?;
        let record = context.take_record();
        Ok((
            record.refs.into_iter().map(|noted| noted.call).collect(),
            record.sources.into_iter().map(|noted| noted.call).collect(),
        ))
    }
}

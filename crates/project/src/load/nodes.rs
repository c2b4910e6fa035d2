//! Nodes from files and from what property YAML says about them.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};
use tidemill_core::{Diagnostic, Diagnostics, SourcePosition, UniqueId};
use tidemill_jinja::{DefinitionKind, Options, Span, StaticCall, StaticCalls, Template, Value};

use super::files::{FileKind, ParsedFile};
use super::tree::{self, Used};
use crate::base::YamlHost;
use crate::config::{self, ConfigProblem, Layer, Materialization};
use crate::file::SourceFile;
use crate::manifest::{
    Column, Exposure, Ingest, Manifest, Node, RefCall, ResourceType, SourceCall, SourceTable,
    TestKind,
};
use crate::naming;
use crate::parallel;
use crate::read::project_file::Package;
use crate::read::properties::{ColumnDef, Patch, Properties, SourceDef};
use crate::read::walk::{folders, stem};
use crate::render::context::{Context, ContextHost, Model, Noted, Phase, Subject};
use crate::render::errors;
use crate::render::relation::Relation;
use crate::suggest::nearest;
use crate::world::World;

/// What one property file says.
pub(super) struct Said {
    pub(super) package: Arc<Package>,
    pub(super) file: Arc<SourceFile>,
    pub(super) original: String,
    pub(super) relative: String,
    pub(super) properties: Properties,
}

/// Where the calls of a node stand, in the order of its `refs` and `sources`.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    pub(super) refs: Vec<Option<SourcePosition>>,
    pub(super) sources: Vec<Option<SourcePosition>>,
}

/// A node before its configuration is known.
#[derive(Clone)]
struct Draft {
    kind: ResourceType,
    name: String,
    package: Arc<Package>,
    original: String,
    relative: String,
    fqn: Vec<String>,
    raw_code: Arc<str>,
    language: &'static str,
    checksum: String,
    refs: Vec<(RefCall, Option<SourcePosition>)>,
    sources: Vec<(SourceCall, Option<SourcePosition>)>,
    config: Layer,
    macros: Vec<String>,
    simple: bool,
    template: Option<Template>,
    position: SourcePosition,
    version: Option<String>,
    latest_version: Option<String>,
}

/// Puts a manifest together.
pub(super) struct Builder<'a> {
    pub(super) manifest: Manifest,
    pub(super) world: &'a Arc<World>,
    pub(super) hosts: &'a IndexMap<String, YamlHost>,
    pub(super) packages: &'a [Arc<Package>],
    pub(super) threads: usize,
    pub(super) places: HashMap<UniqueId, Places>,
    pub(super) templates: HashMap<UniqueId, Template>,
    pub(super) used: HashMap<&'static str, Used>,
    pub(super) diagnostics: &'a mut Diagnostics,
}

impl Builder<'_> {
    /// Models, seeds, snapshots, analyses and singular tests.
    pub(super) fn nodes(&mut self, parsed: &[ParsedFile], said: &[Said]) {
        let files: Vec<&ParsedFile> = parsed.iter().filter(|file| is_node_file(file)).collect();
        let world = self.world;
        let drafted = parallel::map(&files, self.threads, |file| {
            let mut diagnostics = Diagnostics::new();
            let drafts = drafts(file, world, &mut diagnostics);
            (drafts, diagnostics)
        });
        let mut drafts = Vec::with_capacity(drafted.len());
        for (found, said) in drafted {
            drafts.extend(found);
            self.diagnostics.append(said);
        }
        let mut patches = self.patches(said);
        self.snapshots_in_yaml(said, &mut drafts);
        let mut seen: HashMap<UniqueId, SourcePosition> = HashMap::new();
        for mut draft in drafts {
            let found = take_patch(&mut patches, &mut draft);
            let node = self.node(draft, found.as_ref());
            if let Some(first) = seen.get(&node.unique_id) {
                self.diagnostics.push(
                    Diagnostic::error(
                        "duplicate-name",
                        format!("two {}s are called `{}`", node.resource_type, node.name),
                    )
                    .at(node.position.clone())
                    .label(format!("the other is {}", crate::file::shown(&first.file)))
                    .hint("rename one of the two files"),
                );
                continue;
            }
            seen.insert(node.unique_id.clone(), node.position.clone());
            self.add(node);
        }
        self.unmatched(&patches);
        self.same_names();
    }

    /// Snapshots that have no file: `snapshots: [{name, relation}]`.
    fn snapshots_in_yaml(&mut self, said: &[Said], drafts: &mut Vec<Draft>) {
        for said in said {
            for patch in &said.properties.patches {
                let Some(relation) = &patch.relation else { continue };
                if patch.kind != ResourceType::Snapshot {
                    continue;
                }
                let package = &said.package.name;
                let id = UniqueId::new(format!("snapshot.{package}.{}", patch.name));
                let (refs, sources) = match self.noted(package, &id, &patch.name, relation) {
                    Ok(found) => found,
                    Err(error) => {
                        let what = format!("snapshot `{}`", patch.name);
                        let diagnostic = errors::diagnostic(&error, &what);
                        self.diagnostics.push(diagnostic.at(patch.position.clone()));
                        continue;
                    }
                };
                let place = || Some(patch.position.clone());
                let mut fqn = vec![package.clone()];
                fqn.extend(folders(&said.relative).map(str::to_owned));
                fqn.push(patch.name.clone());
                let raw_code = format!("select * from {{{{ {relation} }}}}");
                drafts.push(Draft {
                    kind: ResourceType::Snapshot,
                    name: patch.name.clone(),
                    package: said.package.clone(),
                    original: said.original.clone(),
                    relative: said.relative.clone(),
                    fqn,
                    checksum: super::files::sha256(raw_code.as_bytes()),
                    raw_code: Arc::from(raw_code),
                    language: "sql",
                    refs: refs.into_iter().map(|call| (call, place())).collect(),
                    sources: sources.into_iter().map(|call| (call, place())).collect(),
                    config: Layer::default(),
                    macros: Vec::new(),
                    simple: false,
                    template: None,
                    position: patch.position.clone(),
                    version: None,
                    latest_version: None,
                });
            }
        }
    }

    fn add(&mut self, node: Node) {
        if node.config.enabled {
            self.manifest.nodes.insert(node.unique_id.clone(), node);
        } else {
            self.manifest.disabled.push(node);
        }
    }

    /// Patches by package, kind and name; a name that is described twice is reported.
    fn patches<'s>(&mut self, said: &'s [Said]) -> Patches<'s> {
        let mut patches = Patches::default();
        for said in said {
            for patch in &said.properties.patches {
                let key = (said.package.name.clone(), patch.kind, patch.name.clone());
                if let Some(first) = patches.by_name.get(&key) {
                    self.diagnostics.push(
                        Diagnostic::error(
                            "duplicate-properties",
                            format!("the {} `{}` is described twice", patch.kind, patch.name),
                        )
                        .at(patch.position.clone())
                        .label(format!("it is described in {} as well", first.said.file.shown()))
                        .hint("keep one of the two"),
                    );
                    continue;
                }
                for version in &patch.versions {
                    let file = version
                        .defined_in
                        .clone()
                        .unwrap_or_else(|| format!("{}_v{}", patch.name, version.version));
                    patches.versions.insert(
                        (said.package.name.clone(), file),
                        (key.clone(), version.version.clone()),
                    );
                }
                patches.by_name.insert(key, Found { said, patch, used: false });
            }
        }
        patches
    }

    /// Names in property YAML that no file has.
    fn unmatched(&mut self, patches: &Patches<'_>) {
        for ((package, kind, name), found) in &patches.by_name {
            if found.used || *kind == ResourceType::Test {
                continue;
            }
            let names: Vec<&str> = self
                .manifest
                .nodes
                .values()
                .chain(&self.manifest.disabled)
                .filter(|node| node.resource_type == *kind && node.package_name == *package)
                .map(|node| node.name.as_str())
                .collect();
            let diagnostic = Diagnostic::warning(
                "unknown-name",
                format!("property YAML describes the {kind} `{name}`, which does not exist"),
            )
            .at(found.patch.position.clone())
            .label(format!("no {kind} has this name"));
            self.diagnostics.push(match nearest(name, names.iter().copied()) {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic,
            });
        }
    }

    /// A model and a seed (or snapshot) of one name cannot be told apart by `ref`.
    fn same_names(&mut self) {
        let mut first: HashMap<(&str, &str), &Node> = HashMap::new();
        let mut found = Vec::new();
        for node in self.manifest.nodes.values() {
            if !matches!(
                node.resource_type,
                ResourceType::Model | ResourceType::Seed | ResourceType::Snapshot
            ) {
                continue;
            }
            let key = (node.package_name.as_str(), node.name.as_str());
            match first.get(&key) {
                Some(other) if other.resource_type != node.resource_type => {
                    found.push(
                        Diagnostic::error(
                            "duplicate-name",
                            format!(
                                "a {} and a {} are both called `{}`",
                                other.resource_type, node.resource_type, node.name
                            ),
                        )
                        .at(node.position.clone())
                        .label(format!("the other is {}", crate::file::shown(&other.position.file)))
                        .hint("rename one of the two files"),
                    );
                }
                Some(_) => {}
                None => {
                    first.insert(key, node);
                }
            }
        }
        for diagnostic in found {
            self.diagnostics.push(diagnostic);
        }
    }

    /// The settings of the config trees for a resource of a package.
    pub(super) fn tree_layer(
        &mut self,
        key: &'static str,
        package: &Package,
        fqn: &[String],
    ) -> Layer {
        let used = self.used.entry(key).or_default();
        let root = &self.packages[0];
        if package.name == root.name {
            return tree::layer(root.trees.get(key), fqn, &root.file, used);
        }
        tree::layer(package.trees.get(key), fqn, &package.file, &mut Used::new())
    }

    /// The settings that the root project has for another package's node; they win over all.
    pub(super) fn root_layer(
        &mut self,
        key: &'static str,
        package: &Package,
        fqn: &[String],
    ) -> Layer {
        let root = &self.packages[0];
        if package.name == root.name {
            return Layer::default();
        }
        let used = self.used.entry(key).or_default();
        tree::layer(root.trees.get(key), fqn, &root.file, used)
    }

    fn node(&mut self, draft: Draft, found: Option<&Found<'_>>) -> Node {
        let key = tree_key(draft.kind);
        let mut merged = self.tree_layer(key, &draft.package, &draft.fqn);
        if let Some(found) = found {
            merged.apply(&found.patch.config);
            let version = found
                .patch
                .versions
                .iter()
                .find(|version| Some(&version.version) == draft.version.as_ref());
            if let Some(version) = version {
                merged.apply(&version.config);
            }
        }
        merged.apply(&draft.config);
        merged.apply(&self.root_layer(key, &draft.package, &draft.fqn));
        if draft.language == "python" && !merged.values.contains_key("materialized") {
            merged.set("materialized", "table".into(), None);
        }
        let (config, problems) = config::typed(draft.kind, &merged);
        let what = format!("{} `{}`", draft.kind, draft.name);
        self.config_problems(&what, &problems, &merged, &draft.position);
        if draft.kind == ResourceType::Model
            && let Materialization::Other(name) = &config.materialized
            && config.enabled
        {
            self.unknown_materialization(&what, name, &merged, &draft);
        }
        let unique_id = match &draft.version {
            Some(version) => {
                format!("{}.{}.{}.v{version}", draft.kind, draft.package.name, draft.name)
            }
            None => format!("{}.{}.{}", draft.kind, draft.package.name, draft.name),
        };
        let unique_id = UniqueId::new(unique_id);
        let test = (draft.kind == ResourceType::Test).then(|| {
            let (spec, problems) = crate::data_test::spec(TestKind::Singular, &config);
            (spec, problems)
        });
        let test = test.map(|(spec, problems)| {
            self.config_problems(&what, &problems, &merged, &draft.position);
            spec
        });
        if let Some(template) = draft.template {
            self.templates.insert(unique_id.clone(), template);
        }
        let refs = draft.refs.iter().map(|(call, _)| call.clone()).collect();
        let sources = draft.sources.iter().map(|(call, _)| call.clone()).collect();
        self.places.insert(
            unique_id.clone(),
            Places {
                refs: draft.refs.into_iter().map(|(_, place)| place).collect(),
                sources: draft.sources.into_iter().map(|(_, place)| place).collect(),
            },
        );
        let mut tags = Vec::new();
        for tag in &config.tags {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        Node {
            unique_id,
            resource_type: draft.kind,
            package_name: draft.package.name.clone(),
            path: draft.relative,
            original_file_path: draft.original,
            fqn: draft.fqn,
            database: self.world.target.database.clone(),
            schema: self.world.target.schema.clone(),
            alias: draft.name.clone(),
            name: draft.name,
            raw_code: draft.raw_code,
            language: draft.language,
            checksum: draft.checksum,
            tags,
            meta: config.meta.clone(),
            description: found.map(|found| found.patch.description.clone()).unwrap_or_default(),
            columns: found.map(|found| columns(&found.patch.columns)).unwrap_or_default(),
            refs,
            sources,
            depends_on: Vec::new(),
            macros: draft.macros,
            patch_path: found.map(|found| found.said.patch_path()),
            test,
            access: (draft.kind == ResourceType::Model).then(|| {
                config.get("access").and_then(Json::as_str).unwrap_or("protected").to_owned()
            }),
            group: config.group.clone(),
            config,
            version: draft.version,
            latest_version: draft.latest_version,
            simple: draft.simple,
            root_path: draft.package.root.clone(),
            position: draft.position,
        }
    }

    /// Reports what is wrong with a configuration, where it was written.
    pub(super) fn config_problems(
        &mut self,
        what: &str,
        problems: &[ConfigProblem],
        merged: &Layer,
        fallback: &SourcePosition,
    ) {
        for problem in problems {
            let message = format!("{what}: {}", problem.message);
            let diagnostic = if problem.is_error {
                Diagnostic::error("config-value", message)
            } else {
                Diagnostic::warning("unknown-config", message)
            };
            let place = merged.positions.get(&problem.key).unwrap_or(fallback);
            let diagnostic = diagnostic.at(place.clone());
            let diagnostic = match &problem.hint {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            };
            // A setting of dbt_project.yml may reach many nodes: it is reported once.
            let same = |other: &Diagnostic| {
                other.position == diagnostic.position
                    && other.code == diagnostic.code
                    && other.hint == diagnostic.hint
            };
            if !self.diagnostics.iter().any(same) {
                self.diagnostics.push(diagnostic);
            }
        }
    }

    fn unknown_materialization(&mut self, what: &str, name: &str, merged: &Layer, draft: &Draft) {
        let custom = ["default", "tidemill", "postgres"].iter().any(|adapter| {
            let full = format!("materialization_{name}_{adapter}");
            self.world.macros.of_projects(&full, &draft.package.name, "").is_some()
        });
        let known = ["view", "table", "incremental", "ephemeral"];
        let place = merged.positions.get("materialized").unwrap_or(&draft.position);
        let diagnostic = if custom || name == "materialized_view" {
            Diagnostic::error(
                "unsupported-materialization",
                format!("{what}: the materialization `{name}` is not supported yet"),
            )
        } else {
            Diagnostic::error(
                "unknown-materialization",
                format!("{what}: there is no materialization `{name}`"),
            )
        };
        self.diagnostics.push(diagnostic.at(place.clone()).hint(match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", known.join(", ")),
        }));
    }

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
        let mut merged = self.tree_layer("sources", package, &fqn);
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
            identifier: def.identifier.clone().unwrap_or_else(|| def.name.clone()),
            original_file_path: said.original.clone(),
            fqn,
            description: def.description.clone(),
            source_description: def.source_description.clone(),
            loader: def.loader.clone(),
            tags,
            meta,
            source_meta: def.source_meta.clone(),
            columns: columns(&def.columns),
            config: config.all.clone(),
            freshness: def.freshness.clone(),
            loaded_at_field: def.loaded_at_field.clone(),
            ingest,
            enabled: config.enabled,
            position: def.position.clone(),
        };
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
        if table.enabled {
            self.manifest.sources.insert(unique_id, table);
        } else {
            self.manifest.disabled_sources.push(table);
        }
    }

    /// Exposures, and what is said about macros and groups.
    pub(super) fn others(&mut self, said: &[Said]) {
        for said in said {
            for def in &said.properties.exposures {
                self.exposure(said, def);
            }
            for (name, group) in &said.properties.groups {
                self.manifest.groups.insert(name.clone(), group.clone());
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
                        node.arguments = patch.arguments.clone();
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
            if let Some(first) = said.properties.unit_tests.first() {
                self.diagnostics.push(
                    Diagnostic::warning("unsupported", "unit tests are not carried out yet")
                        .at(first.clone()),
                );
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
            fqn,
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
            refs,
            sources,
            depends_on: Vec::new(),
            position: def.position.clone(),
        };
        self.manifest.exposures.insert(unique_id, exposure);
    }

    /// The calls that an expression makes.
    fn noted(
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

    /// Paths of the root project's config trees that reach nothing.
    pub(super) fn unused_settings(&mut self) {
        let root = &self.packages[0];
        for (key, tree) in &root.trees {
            let none = Used::new();
            let used = self.used.get(key).unwrap_or(&none);
            for (path, start, end) in tree::unused(tree, used) {
                self.diagnostics.push(
                    Diagnostic::warning(
                        "unused-config",
                        format!("the settings under `{key}.{path}` apply to nothing"),
                    )
                    .at(root.file.position(start, end))
                    .label("no package or folder has this name")
                    .hint("a setting itself begins with `+`"),
                );
            }
        }
    }

    /// Names in the lake; two nodes of one name are refused.
    pub(super) fn finish_names(&mut self) {
        let world = self.world;
        for node in self.manifest.nodes.values_mut().chain(&mut self.manifest.disabled) {
            naming::apply(node, world, self.diagnostics);
        }
        let mut owners: HashMap<(String, String), &Node> = HashMap::new();
        let mut found = Vec::new();
        for node in self.manifest.nodes.values().filter(|node| node.is_relational()) {
            // Names are compared as the lake compares them.
            let key = (node.schema.to_lowercase(), node.alias.to_lowercase());
            match owners.get(&key) {
                Some(other) => found.push(
                    Diagnostic::error(
                        "duplicate-relation",
                        format!(
                            "the {} `{}` and the {} `{}` would both be built as `{}`",
                            other.resource_type,
                            other.name,
                            node.resource_type,
                            node.name,
                            node.relation()
                        ),
                    )
                    .at(node.position.clone())
                    .label(format!("the other is {}", crate::file::shown(&other.position.file)))
                    .hint("give one of them another `alias` or `schema`"),
                ),
                None => {
                    owners.insert(key, node);
                }
            }
        }
        for source in self.manifest.sources.values().filter(|source| source.ingest.is_some()) {
            let key = (source.schema.to_lowercase(), source.identifier.to_lowercase());
            if let Some(node) = owners.get(&key) {
                found.push(
                    Diagnostic::error(
                        "duplicate-relation",
                        format!(
                            "the source table `{}.{}` would be loaded into `{}`, which the {} `{}` builds",
                            source.source_name,
                            source.name,
                            source.relation(),
                            node.resource_type,
                            node.name
                        ),
                    )
                    .at(source.position.clone())
                    .hint("give the source another `schema`"),
                );
            }
        }
        for diagnostic in found {
            self.diagnostics.push(diagnostic);
        }
    }
}

impl Said {
    pub(super) fn patch_path(&self) -> String {
        format!("{}://{}", self.package.name, self.original)
    }
}

/// What property YAML says about a node.
struct Found<'s> {
    said: &'s Said,
    patch: &'s Patch,
    used: bool,
}

type PatchKey = (String, ResourceType, String);

#[derive(Default)]
struct Patches<'s> {
    by_name: IndexMap<PatchKey, Found<'s>>,
    /// Files of versioned models: package and file → patch and version.
    versions: HashMap<(String, String), (PatchKey, String)>,
}

/// The patch of a draft; a versioned model takes its name and version from it.
fn take_patch<'s>(patches: &mut Patches<'s>, draft: &mut Draft) -> Option<Found<'s>> {
    let package = draft.package.name.clone();
    let mut key = (package.clone(), draft.kind, draft.name.clone());
    let mut version = None;
    if draft.kind == ResourceType::Model
        && let Some((patch_key, found)) = patches.versions.get(&(package, draft.name.clone()))
    {
        key = patch_key.clone();
        version = Some(found.clone());
    }
    let found = patches.by_name.get_mut(&key)?;
    found.used = true;
    if let Some(version) = &version {
        draft.name = found.patch.name.clone();
        draft.latest_version = found.patch.latest_version.clone();
        draft.fqn.pop();
        draft.fqn.push(draft.name.clone());
        draft.fqn.push(format!("v{version}"));
        draft.version = Some(version.clone());
    }
    Some(Found { said: found.said, patch: found.patch, used: true })
}

fn is_node_file(file: &ParsedFile) -> bool {
    !matches!(file.job.kind, FileKind::Macro | FileKind::Properties | FileKind::Docs)
}

fn tree_key(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Seed => "seeds",
        ResourceType::Snapshot => "snapshots",
        ResourceType::Test => "data_tests",
        ResourceType::Source => "sources",
        ResourceType::Exposure => "exposures",
        _ => "models",
    }
}

pub(super) fn columns(defs: &[ColumnDef]) -> IndexMap<String, Column> {
    defs.iter().map(|def| (def.column.name.clone(), def.column.clone())).collect()
}

/// The nodes of a file.
fn drafts(file: &ParsedFile, world: &Arc<World>, diagnostics: &mut Diagnostics) -> Vec<Draft> {
    let kind = match file.job.kind {
        FileKind::Model | FileKind::PythonModel => ResourceType::Model,
        FileKind::Seed => ResourceType::Seed,
        FileKind::SingularTest => ResourceType::Test,
        FileKind::Analysis => ResourceType::Analysis,
        _ => ResourceType::Snapshot,
    };
    let found = &file.job.found;
    let package = &file.job.package;
    let name = stem(&found.relative).to_owned();
    let mut fqn = vec![package.name.clone()];
    if kind == ResourceType::Analysis {
        fqn.push("analysis".to_owned());
    }
    fqn.extend(folders(&found.relative).map(str::to_owned));
    let draft = Draft {
        kind,
        name: name.clone(),
        package: package.clone(),
        original: found.original.clone(),
        relative: match kind {
            ResourceType::Analysis => format!("analysis/{}", found.relative),
            _ => found.relative.clone(),
        },
        fqn: fqn.clone(),
        raw_code: file.file.text.clone(),
        language: if file.job.kind == FileKind::PythonModel { "python" } else { "sql" },
        checksum: file.checksum.clone(),
        refs: Vec::new(),
        sources: Vec::new(),
        config: Layer::default(),
        macros: Vec::new(),
        simple: false,
        template: file.template.clone(),
        position: file.file.position(0, 0),
        version: None,
        latest_version: None,
    };
    match file.job.kind {
        FileKind::Snapshot => {
            fqn.push(name);
            let mut drafts = Vec::new();
            for definition in &file.definitions {
                if definition.kind != DefinitionKind::Snapshot {
                    continue;
                }
                let mut draft = Draft {
                    name: definition.name.to_string(),
                    raw_code: Arc::from(definition.body()),
                    position: errors::position(&definition.name_span),
                    ..draft.clone()
                };
                draft.fqn = fqn.clone();
                draft.fqn.push(draft.name.clone());
                if let Ok(template) = definition.body_template() {
                    let calls = template.static_calls();
                    note_calls(&mut draft, &template, &calls, world, diagnostics);
                }
                drafts.push(draft);
            }
            drafts
        }
        FileKind::Model | FileKind::SingularTest | FileKind::Analysis => {
            let mut draft = draft;
            draft.fqn.push(name);
            let (Some(template), Some(calls)) = (&file.template, &file.calls) else {
                return Vec::new();
            };
            note_calls(&mut draft, template, calls, world, diagnostics);
            vec![draft]
        }
        FileKind::PythonModel => {
            diagnostics.push(
                Diagnostic::warning(
                    "unsupported",
                    format!("the Python model `{name}` is not carried out yet"),
                )
                .in_file(&file.file.path),
            );
            Vec::new()
        }
        _ => {
            let mut draft = draft;
            draft.fqn.push(name);
            draft.raw_code = Arc::from("");
            draft.simple = true;
            vec![draft]
        }
    }
}

/// What a template refers to and how it configures itself: read off when that is all it does,
/// else by rendering it with `execute` false.
fn note_calls(
    draft: &mut Draft,
    template: &Template,
    calls: &StaticCalls,
    world: &Arc<World>,
    diagnostics: &mut Diagnostics,
) {
    if calls.simple && read_off(draft, calls) {
        draft.simple = true;
        return;
    }
    draft.refs.clear();
    draft.sources.clear();
    draft.config = Layer::default();
    let target = &world.target;
    let unique_id = UniqueId::new(format!("{}.{}.{}", draft.kind, draft.package.name, draft.name));
    let model = json!({
        "name": draft.name, "alias": draft.name, "database": target.database,
        "schema": target.schema, "unique_id": unique_id, "package_name": draft.package.name,
        "resource_type": draft.kind.as_str(), "path": draft.relative,
        "original_file_path": draft.original, "fqn": draft.fqn, "raw_code": &*draft.raw_code,
        "config": {}, "tags": [], "meta": {}, "description": "", "columns": {},
        "refs": [], "sources": [], "depends_on": {"nodes": [], "macros": []},
        "language": draft.language, "version": null,
    });
    let subject = Subject {
        unique_id,
        name: draft.name.clone(),
        package: Arc::from(draft.package.name.as_str()),
        relation: Some(Relation::new(&target.database, &target.schema, &draft.name)),
        config: Arc::default(),
        model: Model::Draft(model),
        depends_on: Arc::from([]),
    };
    let context = Arc::new(Context::new(world, subject, Phase::Parse));
    let host = ContextHost { context: context.clone() };
    let rendered = template.render(&host, &Options::for_package(draft.package.name.as_str()));
    if let Err(error) = rendered {
        let what = format!("{} `{}`", draft.kind, draft.name);
        diagnostics.push(errors::diagnostic(&error, &what));
    }
    let record = context.take_record();
    for noted in record.refs {
        let place = literal_place(&noted, &noted.call.name);
        let mut call = noted.call;
        call.span = own_span(&noted.span, template);
        if !draft.refs.iter().any(|(known, _)| same_ref(known, &call)) {
            draft.refs.push((call, place));
        }
    }
    for noted in record.sources {
        let place = literal_place(&noted, &noted.call.table);
        let mut call = noted.call;
        call.span = own_span(&noted.span, template);
        let known = |known: &SourceCall| known.source == call.source && known.table == call.table;
        if !draft.sources.iter().any(|(other, _)| known(other)) {
            draft.sources.push((call, place));
        }
    }
    let written = config_places(calls);
    for noted in record.configs {
        let mut layer = Layer::default();
        for (key, value) in noted.call {
            let place = written.get(key.as_str()).cloned().or_else(|| {
                noted.span.as_ref().filter(|span| is_users(span)).map(errors::position)
            });
            layer.set(&key, value, place);
        }
        draft.config.apply(&layer);
    }
    draft.macros = record.macros.into_iter().collect();
}

fn same_ref(a: &RefCall, b: &RefCall) -> bool {
    a.name == b.name && a.package == b.package && a.version == b.version
}

/// Takes everything from the literal calls; false when one of them is not understood.
fn read_off(draft: &mut Draft, calls: &StaticCalls) -> bool {
    for call in &calls.calls {
        match &*call.function {
            "ref" => {
                let Some((call, place)) = static_ref(call) else { return false };
                if !draft.refs.iter().any(|(known, _)| same_ref(known, &call)) {
                    draft.refs.push((call, Some(place)));
                }
            }
            "source" => {
                let Some([source, table]) =
                    call.strings().and_then(|strings| <[&str; 2]>::try_from(strings).ok())
                else {
                    return false;
                };
                if call.args.len() != 2 {
                    return false;
                }
                let found = SourceCall {
                    source: source.to_owned(),
                    table: table.to_owned(),
                    span: Some((call.span.start(), call.span.end())),
                };
                let known =
                    |known: &SourceCall| known.source == found.source && known.table == found.table;
                if !draft.sources.iter().any(|(other, _)| known(other)) {
                    let place = unquoted_place(&call.args[1].span);
                    draft.sources.push((found, Some(place)));
                }
            }
            "config" => {
                let Some(layer) = static_config(call) else { return false };
                draft.config.apply(&layer);
            }
            _ => {}
        }
    }
    true
}

fn static_ref(call: &StaticCall) -> Option<(RefCall, SourcePosition)> {
    let strings = call.strings()?;
    let (package, name) = match strings.as_slice() {
        [name] => (None, *name),
        [package, name] => (Some((*package).to_owned()), *name),
        _ => return None,
    };
    let mut version = None;
    for arg in call.args.iter().filter(|arg| arg.name.is_some()) {
        match (arg.name.as_deref(), &arg.value) {
            (Some("v" | "version"), Some(Value::None)) => {}
            (Some("v" | "version"), Some(value)) => version = Some(value.to_string()),
            _ => return None,
        }
    }
    let at = call.args.iter().rfind(|arg| arg.name.is_none())?;
    let place = unquoted_place(&at.span);
    let span = Some((call.span.start(), call.span.end()));
    Some((RefCall { package, name: name.to_owned(), version, span }, place))
}

fn static_config(call: &StaticCall) -> Option<Layer> {
    let mut layer = Layer::default();
    for arg in &call.args {
        let value = arg.value.as_ref()?.to_json().ok()?;
        match (&arg.name, value) {
            (Some(name), value) => layer.set(name, value, Some(errors::position(&arg.span))),
            (None, Json::Object(map)) if call.args.len() == 1 => {
                for (key, value) in map {
                    layer.set(&key, value, Some(errors::position(&arg.span)));
                }
            }
            _ => return None,
        }
    }
    Some(layer)
}

/// Where the values of literal `config` arguments stand.
fn config_places(calls: &StaticCalls) -> HashMap<String, SourcePosition> {
    let mut places = HashMap::new();
    for call in calls.calls.iter().filter(|call| &*call.function == "config") {
        for arg in &call.args {
            if let Some(name) = &arg.name {
                places.insert(name.to_string(), errors::position(&arg.span));
            }
        }
    }
    places
}

/// The place of a text without its quotes.
fn unquoted_place(span: &Span) -> SourcePosition {
    let mut place = errors::position(span);
    if span.text().len() >= 2 && span.text().starts_with(['\'', '"']) {
        place.start += 1;
        place.end -= 1;
    }
    place
}

/// The place of a name within the call that was noted, where it is written there; else the call.
fn literal_place<T>(noted: &Noted<T>, name: &str) -> Option<SourcePosition> {
    let span = noted.span.as_ref().filter(|span| is_users(span))?;
    let (start, end) = call_range(span);
    let text = &span.source().text()[start..end];
    let mut place = errors::position(span);
    (place.start, place.end) = (start, end);
    for quote in ['\'', '"'] {
        if let Some(at) = text.find(&format!("{quote}{name}{quote}")) {
            place.start = start + at + 1;
            place.end = place.start + name.len();
        }
    }
    Some(place)
}

/// The bytes of a call with its arguments, of which the callee's place is known.
fn call_range(span: &Span) -> (usize, usize) {
    let text = span.source().text();
    let rest = &text[span.start()..];
    let end = match rest.find(')') {
        Some(at) => span.start() + at + 1,
        None => span.end(),
    };
    (span.start(), end.max(span.end()))
}

fn is_users(span: &Span) -> bool {
    !crate::macros::is_builtin_file(span.source().name())
}

fn own_span(span: &Option<Span>, template: &Template) -> Option<(usize, usize)> {
    let span = span.as_ref()?;
    Arc::ptr_eq(span.source(), template.source()).then(|| call_range(span))
}

/// Resolves `doc()` in descriptions.
pub(super) fn describe(manifest: &mut Manifest, world: &Arc<World>, diagnostics: &mut Diagnostics) {
    let docs: HashMap<(String, String), String> = manifest
        .docs
        .values()
        .map(|doc| ((doc.package_name.clone(), doc.name.clone()), doc.block_contents.clone()))
        .collect();
    let mut describer = Describer { docs: Arc::new(docs), world, diagnostics };
    for node in manifest.nodes.values_mut() {
        let (package, place) = (node.package_name.clone(), node.position.clone());
        describer.text(&mut node.description, &package, &place);
        for column in node.columns.values_mut() {
            describer.text(&mut column.description, &package, &place);
        }
    }
    for source in manifest.sources.values_mut() {
        let (package, place) = (source.package_name.clone(), source.position.clone());
        describer.text(&mut source.description, &package, &place);
        describer.text(&mut source.source_description, &package, &place);
        for column in source.columns.values_mut() {
            describer.text(&mut column.description, &package, &place);
        }
    }
    for exposure in manifest.exposures.values_mut() {
        let (package, place) = (exposure.package_name.clone(), exposure.position.clone());
        describer.text(&mut exposure.description, &package, &place);
    }
}

struct Describer<'a> {
    docs: Arc<HashMap<(String, String), String>>,
    world: &'a Arc<World>,
    diagnostics: &'a mut Diagnostics,
}

impl Describer<'_> {
    fn text(&mut self, text: &mut String, package: &str, place: &SourcePosition) {
        if !crate::yaml::render::has_jinja(text) {
            return;
        }
        let docs = self.docs.clone();
        let own = package.to_owned();
        let root = self.world.settings.name.clone();
        let doc = Value::function("doc", move |args, _| {
            let names: Vec<String> = args.positional().iter().map(Value::to_string).collect();
            let found = match names.as_slice() {
                [name] => docs
                    .get(&(own.clone(), name.clone()))
                    .or_else(|| docs.get(&(root.clone(), name.clone())))
                    .or_else(|| {
                        docs.iter().find(|((_, other), _)| other == name).map(|(_, text)| text)
                    }),
                [package, name] => docs.get(&(package.clone(), name.clone())),
                _ => {
                    return Err(tidemill_jinja::Error::user("doc() takes one or two names"));
                }
            };
            match found {
                Some(text) => Ok(Value::from(text.as_str())),
                None => {
                    let wanted = names.last().cloned().unwrap_or_default();
                    let error =
                        tidemill_jinja::Error::user(format!("there is no docs block `{wanted}`"));
                    Err(match nearest(&wanted, docs.keys().map(|(_, name)| name.as_str())) {
                        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                        None => error,
                    })
                }
            }
        });
        let host = |name: &str| (name == "doc").then(|| doc.clone());
        let rendered = Template::from_text("description", text)
            .and_then(|template| template.render(&host, &Options::for_package(package)));
        match rendered {
            Ok(rendered) => *text = rendered,
            Err(error) => {
                let diagnostic = Diagnostic::warning("description", error.message().to_owned())
                    .at(place.clone());
                self.diagnostics.push(match error.hint() {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic,
                });
            }
        }
    }
}

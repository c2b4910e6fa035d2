//! Nodes from files and from what property YAML says about them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};
use tidemill_core::{Diagnostic, Diagnostics, SourcePosition, UniqueId};
use tidemill_jinja::Template;

use super::draft::{Draft, drafts};
use super::files::{FileKind, ParsedFile};
use super::tree::{self, Used};
use crate::base::YamlHost;
use crate::config::{self, ConfigProblem, Layer, Materialization};
use crate::file::SourceFile;
use crate::manifest::{Column, Manifest, Node, ResourceType, TestKind};
use crate::naming;
use crate::parallel;
use crate::read::project_file::Package;
use crate::read::properties::{ColumnDef, Patch, Properties};
use crate::read::walk::folders;
use crate::render::context::NotedMacros;
use crate::render::errors;
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
        patches.files =
            drafts.iter().map(|draft| (draft.package.name.clone(), draft.name.clone())).collect();
        let mut seen: HashMap<UniqueId, SourcePosition> = HashMap::new();
        for mut draft in drafts {
            let found = take_patch(&mut patches, &mut draft);
            let mut node = self.node(draft, found.as_ref());
            self.contract(&mut node);
            // Several files may give one model, one for each warehouse: all but one are disabled.
            if !node.config.enabled {
                self.add(node);
                continue;
            }
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
                    // As in dbt, which takes the file that it would have, and the checksum of its YAML.
                    relative: format!("{}.sql", patch.name),
                    fqn,
                    checksum: super::files::text_checksum(&said.file.text),
                    raw_code: Arc::from(raw_code),
                    language: "sql",
                    refs: refs.into_iter().map(|call| (call, place())).collect(),
                    sources: sources.into_iter().map(|call| (call, place())).collect(),
                    config: Layer::default(),
                    said: Map::new(),
                    macros: NotedMacros::default(),
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
            let other = self
                .manifest
                .nodes
                .values()
                .find(|node| node.package_name == *package && node.name == *name)
                .map(|node| node.resource_type);
            let diagnostic = Diagnostic::warning(
                "unknown-name",
                match other {
                    Some(other) => format!(
                        "property YAML describes the {kind} `{name}`, which is a {other}: its tests \
                         are run, all else is left out"
                    ),
                    None => format!(
                        "property YAML describes the {kind} `{name}`, which does not exist"
                    ),
                },
            )
            .at(found.patch.position.clone())
            .label(match other {
                Some(other) => format!("describe it under `{other}s:`"),
                None => format!("no {kind} has this name"),
            });
            self.diagnostics.push(match nearest(name, names.iter().copied()) {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic,
            });
        }
    }

    /// A model and a seed (or snapshot) of one name cannot be told apart by `ref`.
    fn same_names(&mut self) {
        let flag = self.world.settings.flags.get("require_unique_project_resource_names");
        let strict = flag.and_then(serde_json::Value::as_bool).unwrap_or(false);
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
                    let message = format!(
                        "a {} and a {} are both called `{}`",
                        other.resource_type, node.resource_type, node.name
                    );
                    let told = match strict {
                        true => Diagnostic::error("duplicate-name", message),
                        false => Diagnostic::warning("duplicate-name", message),
                    };
                    found.push(
                        told.at(node.position.clone())
                            .label(format!(
                                "the other is {}",
                                crate::file::shown(&other.position.file)
                            ))
                            .hint("a `ref` of this name may mean either: rename one of the files"),
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

    /// The configuration as it was written: each level replaces what stands below it.
    pub(super) fn unrendered<'m>(
        &self,
        key: &'static str,
        package: &Package,
        fqn: &[String],
        said: impl IntoIterator<Item = &'m Map<String, Json>>,
    ) -> Map<String, Json> {
        let mut all = tree::unrendered(package.raw_trees.get(key), fqn);
        for level in said {
            all.extend(level.clone());
        }
        let root = &self.packages[0];
        if package.name != root.name {
            all.extend(tree::unrendered(root.raw_trees.get(key), fqn));
        }
        all
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

    fn node(&mut self, mut draft: Draft, found: Option<&Found<'_>>) -> Node {
        let key = tree_key(draft.kind);
        let mut merged = self.tree_layer(key, &draft.package, &draft.fqn);
        let of_version = found.and_then(|found| {
            let wanted = draft.version.as_ref();
            found.patch.versions.iter().find(|version| Some(&version.version) == wanted)
        });
        if let Some(found) = found {
            merged.apply(&found.patch.config);
            if let Some(version) = of_version {
                merged.apply(&version.config);
            }
        }
        // As in dbt, the settings of dbt_project.yml do not reach past this.
        if draft.language == "python"
            && !found.is_some_and(|found| found.patch.config.values.contains_key("materialized"))
        {
            merged.set("materialized", "table".into(), None);
        }
        merged.apply(&draft.config);
        merged.apply(&self.root_layer(key, &draft.package, &draft.fqn));
        let said = found.map(|found| &found.patch.written);
        let written = draft.written_config();
        let said = said.into_iter().chain([&written]);
        let unrendered_config = self.unrendered(key, &draft.package, &draft.fqn, said);
        let (mut config, problems) = config::typed(draft.kind, &merged);
        let what = format!("{} `{}`", draft.kind, draft.name);
        let mut external = None;
        self.config_problems(&what, &problems, &merged, &draft.position);
        // Another one that nobody wrote fails when its model is built, as in dbt.
        if draft.kind == ResourceType::Model
            && matches!(&config.materialized, Materialization::Other(name) if name == "external")
            && config.enabled
            && !self.has_materialization("external")
        {
            external = self.external(&what, &merged, &draft);
            config.materialized = Materialization::Table;
        }
        if draft.language == "python" && config.enabled {
            self.python_materialization(&what, &config, &merged, &draft.position);
        }
        let unique_id = match &draft.version {
            Some(version) => {
                format!("{}.{}.{}.v{version}", draft.kind, draft.package.name, draft.name)
            }
            None => format!("{}.{}.{}", draft.kind, draft.package.name, draft.name),
        };
        let unique_id = UniqueId::new(unique_id);
        if let Some(to) = external {
            self.manifest.external_files.insert(unique_id.clone(), to);
        }
        let test = (draft.kind == ResourceType::Test).then(|| {
            let (spec, problems) = crate::data_test::spec(TestKind::Singular, &config);
            (spec, problems)
        });
        let test = test.map(|(spec, problems)| {
            self.config_problems(&what, &problems, &merged, &draft.position);
            spec
        });
        if config.enabled && draft.kind != ResourceType::Test {
            super::draft::note_hooks(&mut draft, &config, self.world, self.diagnostics);
        }
        // What is disabled does not take the place of an enabled node of its name.
        let counts = config.enabled || !self.manifest.nodes.contains_key(&unique_id);
        if let Some(template) = draft.template.filter(|_| counts) {
            self.templates.insert(unique_id.clone(), template);
        }
        let refs = draft.refs.iter().map(|(call, _)| call.clone()).collect();
        let sources = draft.sources.iter().map(|(call, _)| call.clone()).collect();
        let places = Places {
            refs: draft.refs.into_iter().map(|(_, place)| place).collect(),
            sources: draft.sources.into_iter().map(|(_, place)| place).collect(),
        };
        if counts {
            self.places.insert(unique_id.clone(), places);
        }
        let mut tags = Vec::new();
        for tag in &config.tags {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        let mut node = Node {
            unique_id,
            resource_type: draft.kind,
            package_name: draft.package.name.clone(),
            path: draft.relative,
            original_file_path: draft.original,
            fqn: draft.fqn,
            database: self.world.target.database.clone(),
            schema: self.world.target.schema.clone(),
            quoted_parts: self.world.settings.quoted_parts(),
            alias: draft.name.clone(),
            name: draft.name,
            raw_code: draft.raw_code,
            language: draft.language,
            checksum: draft.checksum,
            tags,
            meta: config.meta.clone(),
            description: of_version
                .and_then(|version| version.description.clone())
                .or_else(|| found.map(|found| found.patch.description.clone()))
                .unwrap_or_default(),
            columns: match (of_version, found) {
                (Some(version), _) => columns(&version.columns),
                (None, Some(found)) => columns(&found.patch.columns),
                (None, None) => IndexMap::new(),
            },
            refs,
            sources,
            depends_on: Vec::new(),
            macros: draft.macros.direct,
            reached_macros: draft.macros.reached,
            properties: found.map(|found| found.patch.properties.clone()).unwrap_or_default(),
            patch_path: found.map(|found| found.said.patch_path()),
            test,
            unit_test: None,
            contract: None,
            constraints: of_version
                .and_then(|version| version.constraints.clone())
                .or_else(|| found.map(|found| found.patch.constraints.clone()))
                .unwrap_or_default(),
            deprecation_date: of_version
                .and_then(|version| version.deprecation_date.clone())
                .or_else(|| found.and_then(|found| found.patch.deprecation_date.clone())),
            access: (draft.kind == ResourceType::Model).then(|| {
                config.get("access").and_then(Json::as_str).unwrap_or("protected").to_owned()
            }),
            group: config.group.clone(),
            config,
            unrendered_config,
            version: draft.version,
            latest_version: draft.latest_version,
            simple: draft.simple,
            root_path: draft.package.root.clone(),
            position: draft.position,
        };
        if crate::pointer::is_wanted(&node, &self.world.settings.flags) {
            let in_a_database = self.world.target.runs_in.is_some();
            node.config.post_hooks.push(crate::pointer::hook(in_a_database));
        }
        node
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

    /// The rows of a Python model are there once it has run: it is no part of another query.
    fn python_materialization(
        &mut self,
        what: &str,
        config: &config::NodeConfig,
        merged: &Layer,
        fallback: &SourcePosition,
    ) {
        if config.materialized != Materialization::Ephemeral {
            return;
        }
        let refused = "a Python model cannot be materialized as `ephemeral`";
        let place = merged.positions.get("materialized").unwrap_or(fallback);
        self.diagnostics.push(
            Diagnostic::error("python-materialization", format!("{what}: {refused}"))
                .at(place.clone())
                .hint("use table or incremental"),
        );
    }

    /// Whether a macro of the project carries out a materialization.
    fn has_materialization(&self, name: &str) -> bool {
        self.manifest.materialization_adapters(name).iter().any(|adapter| {
            let full = format!("materialization_{name}_{adapter}");
            self.world.macros.all().any(|(_, found)| **found.name() == *full)
        })
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
        let manifest = &mut self.manifest;
        let aside = manifest.disabled.iter_mut().chain(&mut manifest.idle);
        for node in manifest.nodes.values_mut().chain(aside) {
            naming::apply(node, world, self.diagnostics);
        }
        let mut owners: HashMap<(String, String), &Node> = HashMap::new();
        let mut found = Vec::new();
        for node in self.manifest.nodes.values().filter(|node| node.is_relational()) {
            // Names are compared as the lake compares them.
            let key = (node.schema.to_lowercase(), node.alias.to_lowercase());
            match owners.get(&key) {
                Some(other) => found.push(built_as_one(other, node)),
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

/// Two nodes whose rows would be one table.
fn built_as_one(first: &Node, second: &Node) -> Diagnostic {
    let relation = second.relation();
    let mut message = format!(
        "the {} `{}` and the {} `{}` would both be built as `{relation}`",
        first.resource_type, first.name, second.resource_type, second.name,
    );
    let mut hint = "give one of them another `alias` or `schema`".to_owned();
    if !first.database.eq_ignore_ascii_case(&second.database) {
        message.push_str(&format!(
            ": a lake is one database, so `{}` and `{}` do not keep them apart",
            first.database, second.database
        ));
        hint = format!(
            "give one of them another `schema`, or all that say `database` at once: a macro \
             `generate_schema_name` that puts `node.config.database` before the schema \
             (`{}_{}`)",
            second.database,
            relation.schema(),
        );
    }
    Diagnostic::error("duplicate-relation", message)
        .at(second.position.clone())
        .label(format!("the other is {}", crate::file::shown(&first.position.file)))
        .hint(hint)
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
    /// What there is a file of: package and name.
    files: HashSet<(String, String)>,
}

/// The patch of a draft; a versioned model takes its name and version from it.
fn take_patch<'s>(patches: &mut Patches<'s>, draft: &mut Draft) -> Option<Found<'s>> {
    let package = draft.package.name.clone();
    let mut key = (package.clone(), draft.kind, draft.name.clone());
    let mut version = None;
    if draft.kind == ResourceType::Model
        && let Some((patch_key, found)) =
            patches.versions.get(&(package.clone(), draft.name.clone()))
    {
        key = patch_key.clone();
        version = Some(found.clone());
    }
    // The latest version may stand in the file without a suffix.
    if version.is_none()
        && draft.kind == ResourceType::Model
        && let Some(found) = patches.by_name.get(&key)
        && let Some(latest) = latest_without_file(&package, found.patch, &patches.files)
    {
        version = Some(latest);
    }
    // A package may describe what another has; of two nodes of a name, one is disabled.
    if !patches.by_name.contains_key(&key) {
        let (kind, name) = (draft.kind, &draft.name);
        let mut all = patches.by_name.keys();
        key = all.find(|(_, of_kind, of_name)| *of_kind == kind && of_name == name)?.clone();
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

/// The latest version of a model that has no file with a suffix.
fn latest_without_file(
    package: &str,
    patch: &Patch,
    files: &HashSet<(String, String)>,
) -> Option<String> {
    let number = |text: &str| text.parse::<f64>().ok();
    let latest = match &patch.latest_version {
        Some(latest) => patch.versions.iter().find(|version| version.version == *latest)?,
        None => patch.versions.iter().max_by(|a, b| {
            let numbers = number(&a.version).zip(number(&b.version));
            match numbers {
                Some((a, b)) => a.total_cmp(&b),
                None => a.version.cmp(&b.version),
            }
        })?,
    };
    let file = match &latest.defined_in {
        Some(file) => file.clone(),
        None => format!("{}_v{}", patch.name, latest.version),
    };
    (!files.contains(&(package.to_owned(), file))).then(|| latest.version.clone())
}

fn is_node_file(file: &ParsedFile) -> bool {
    !matches!(file.job.kind, FileKind::Macro | FileKind::Properties | FileKind::Docs)
}

pub(super) fn tree_key(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Seed => "seeds",
        ResourceType::Snapshot => "snapshots",
        ResourceType::Test => "data_tests",
        ResourceType::Source => "sources",
        ResourceType::Exposure => "exposures",
        ResourceType::Metric => "metrics",
        ResourceType::SemanticModel => "semantic-models",
        ResourceType::SavedQuery => "saved-queries",
        _ => "models",
    }
}

pub(super) fn columns(defs: &[ColumnDef]) -> IndexMap<String, Column> {
    defs.iter().map(|def| (def.column.name.clone(), def.column.clone())).collect()
}

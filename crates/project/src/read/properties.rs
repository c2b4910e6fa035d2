//! Property YAML: sources, and what is said about models, seeds, tests and macros.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, Diagnostics, SourcePosition};
use tidemill_jinja::{Host, Options};

use super::keys::{
    ARGUMENT, COLUMN, DOCS, EXPOSURE, FRESHNESS, GROUP, NODE, PERIOD, QUOTING, SOURCE, TABLE, TOP,
    VERSION,
};
use super::unit_tests::{self, UnitTestDef};
use super::{Unknown, check_keys, read_mapping, text_of, texts_of, wrong_shape};
use crate::config::Layer;
use crate::file::SourceFile;
use crate::manifest::{Column, ResourceType};
use crate::yaml::render::render_tree;
use crate::yaml::{Kind, Yaml};

/// A test as it is declared: nothing of it is rendered yet.
#[derive(Debug, Clone)]
pub(crate) struct TestDef {
    pub(crate) yaml: Yaml,
}

/// A described column with its tests.
#[derive(Debug, Clone)]
pub(crate) struct ColumnDef {
    /// The description is not rendered yet.
    pub(crate) column: Column,
    /// Labels that its tests inherit.
    pub(crate) tests: Vec<TestDef>,
}

/// A version of a model.
#[derive(Debug, Clone)]
pub(crate) struct VersionDef {
    pub(crate) version: String,
    pub(crate) defined_in: Option<String>,
    pub(crate) config: Layer,
    /// Instead of the model's.
    pub(crate) description: Option<String>,
    /// Those of the model that it includes, then its own.
    pub(crate) columns: Vec<ColumnDef>,
    /// Instead of the model's.
    pub(crate) tests: Option<Vec<TestDef>>,
    /// Instead of the model's.
    pub(crate) constraints: Option<Vec<Value>>,
    pub(crate) deprecation_date: Option<String>,
}

/// What a file says about one model, seed, snapshot, analysis or singular test.
#[derive(Debug, Clone)]
pub(crate) struct Patch {
    pub(crate) kind: ResourceType,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) tests: Vec<TestDef>,
    pub(crate) config: Layer,
    /// The configuration with its templates as they are written.
    pub(crate) written: Map<String, Value>,
    pub(crate) versions: Vec<VersionDef>,
    pub(crate) latest_version: Option<String>,
    /// The day from which nothing should read the model any more.
    pub(crate) deprecation_date: Option<String>,
    /// What the model's rows must keep to, as written.
    pub(crate) constraints: Vec<Value>,
    /// `time_spine`
    pub(crate) properties: Map<String, Value>,
    /// The query of a snapshot that is declared in YAML.
    pub(crate) relation: Option<String>,
    /// What a model says of the semantic layer, with all else it says, as written.
    pub(crate) semantic: Option<Map<String, Value>>,
    pub(crate) position: SourcePosition,
}

/// One table of a source, with what it inherits.
#[derive(Debug, Clone)]
pub(crate) struct SourceDef {
    pub(crate) source: String,
    pub(crate) name: String,
    pub(crate) schema: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) unrendered_schema: Option<String>,
    pub(crate) unrendered_database: Option<String>,
    pub(crate) identifier: Option<String>,
    pub(crate) description: String,
    pub(crate) source_description: String,
    pub(crate) loader: String,
    pub(crate) tags: Vec<String>,
    pub(crate) meta: Map<String, Value>,
    pub(crate) source_meta: Map<String, Value>,
    pub(crate) config: Layer,
    pub(crate) freshness: Option<Value>,
    /// What was said about freshness, where `null` still stands for none.
    pub(crate) said_freshness: Option<Value>,
    pub(crate) loaded_at_field: Option<String>,
    pub(crate) loaded_at_query: Option<String>,
    pub(crate) ingest: Option<IngestDef>,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) tests: Vec<TestDef>,
    pub(crate) position: SourcePosition,
}

/// `ingest:` of a table, laid over that of its source.
#[derive(Debug, Clone, Default)]
pub(crate) struct IngestDef {
    pub(crate) settings: Map<String, Value>,
    pub(crate) positions: IndexMap<String, SourcePosition>,
    pub(crate) position: Option<SourcePosition>,
}

/// What a file says about a macro.
#[derive(Debug, Clone)]
pub(crate) struct MacroPatch {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) arguments: Vec<Value>,
    pub(crate) meta: Map<String, Value>,
    pub(crate) position: SourcePosition,
}

/// An exposure as declared.
#[derive(Debug, Clone)]
pub(crate) struct ExposureDef {
    pub(crate) name: String,
    pub(crate) values: Map<String, Value>,
    pub(crate) depends_on: Vec<(String, SourcePosition)>,
    pub(crate) config: Layer,
    pub(crate) position: SourcePosition,
}

/// A metric, semantic model or saved query as declared.
#[derive(Debug, Clone)]
pub(crate) struct SemanticDef {
    pub(crate) kind: ResourceType,
    pub(crate) name: String,
    pub(crate) values: Map<String, Value>,
    /// The `ref(...)` of a semantic model.
    pub(crate) model: Option<(String, SourcePosition)>,
    pub(crate) config: Layer,
    pub(crate) position: SourcePosition,
}

/// Everything that one file says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Properties {
    pub(crate) sources: Vec<SourceDef>,
    pub(crate) patches: Vec<Patch>,
    pub(crate) macros: Vec<MacroPatch>,
    pub(crate) exposures: Vec<ExposureDef>,
    pub(crate) semantics: Vec<SemanticDef>,
    pub(crate) groups: Vec<(String, Value)>,
    pub(crate) unit_tests: Vec<UnitTestDef>,
}

/// Reads a file.
pub(crate) fn read(
    file: &Arc<SourceFile>,
    host: &dyn Host,
    package: &str,
    diagnostics: &mut Diagnostics,
) -> Properties {
    let mut properties = Properties::default();
    let Some(root) = read_mapping(file, diagnostics) else { return properties };
    check_keys(&root, "a property file", TOP, Unknown::Warn, file, diagnostics);
    let options = Options::for_package(package);
    let mut reader = Reader { file, host, options, diagnostics };
    for (key, kind) in [
        ("models", ResourceType::Model),
        ("seeds", ResourceType::Seed),
        ("snapshots", ResourceType::Snapshot),
        ("analyses", ResourceType::Analysis),
        ("data_tests", ResourceType::Test),
    ] {
        for item in reader.list(&root, key) {
            if let Some(patch) = reader.patch(item, kind) {
                properties.patches.push(patch);
            }
        }
    }
    for item in reader.list(&root, "sources") {
        reader.source(item, &mut properties.sources);
    }
    for item in reader.list(&root, "macros") {
        if let Some(patch) = reader.macro_patch(item) {
            properties.macros.push(patch);
        }
    }
    for item in reader.list(&root, "exposures") {
        if let Some(exposure) = reader.exposure(item) {
            properties.exposures.push(exposure);
        }
    }
    for (key, kind) in [
        ("semantic_models", ResourceType::SemanticModel),
        ("metrics", ResourceType::Metric),
        ("saved_queries", ResourceType::SavedQuery),
    ] {
        for item in reader.list(&root, key) {
            properties.semantics.extend(reader.semantic(item, kind));
        }
    }
    for item in reader.list(&root, "groups") {
        if let Some((name, _)) = reader.name(item, "a group") {
            reader.known(item, &format!("group `{name}`"), GROUP);
            properties.groups.push((name, item.to_json()));
        }
    }
    for item in reader.list(&root, "unit_tests") {
        // What stands in `given` and `expect` is rendered when the test runs.
        let late = |path: &[&str]| matches!(path.first(), Some(&("given" | "expect")));
        let item = reader.render(item, &late);
        if let Some(test) = unit_tests::read(&item, file, reader.diagnostics) {
            properties.unit_tests.push(test);
        }
    }
    properties
}

/// The items of a list as values.
fn listed(item: &Yaml, key: &str) -> Vec<Value> {
    item.get(key).map(|list| list.items().iter().map(Yaml::to_json).collect()).unwrap_or_default()
}

struct Reader<'a> {
    file: &'a Arc<SourceFile>,
    host: &'a dyn Host,
    options: Options,
    diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    fn list<'y>(&mut self, root: &'y Yaml, key: &str) -> &'y [Yaml] {
        let Some(value) = root.get(key) else { return &[] };
        if !value.is_list() && !value.is_null() {
            wrong_shape(value, &format!("`{key}` must be a list"), self.file, self.diagnostics);
        }
        value.items()
    }

    fn name(&mut self, item: &Yaml, what: &str) -> Option<(String, SourcePosition)> {
        if !item.is_map() {
            wrong_shape(item, &format!("{what} must be a mapping"), self.file, self.diagnostics);
            return None;
        }
        match item.get("name").and_then(|name| Some((name.scalar_text()?, name))) {
            Some((name, at)) => {
                // A name in quotes is marked without them.
                let position = unquoted(at, self.file);
                Some((name, position))
            }
            None => {
                let first = item.entries().first();
                let (start, end) =
                    first.map_or((item.start, item.end), |entry| (entry.key_start, entry.key_end));
                self.diagnostics.push(
                    Diagnostic::error("yaml-shape", format!("{what} has no `name`"))
                        .at(self.file.position(start, end)),
                );
                None
            }
        }
    }

    fn render(&mut self, item: &Yaml, skip: &dyn Fn(&[&str]) -> bool) -> Yaml {
        render_tree(item, self.file, self.host, &self.options, skip, self.diagnostics)
    }

    /// What dbt refuses to have another key, as it would mean nothing.
    fn known(&mut self, item: &Yaml, what: &str, keys: &[&str]) {
        check_keys(item, what, keys, Unknown::Refuse, self.file, self.diagnostics);
    }

    /// The keys within `key` of an item.
    fn known_within(&mut self, item: &Yaml, what: &str, key: &str, keys: &[&str]) {
        if let Some(value) = item.get(key) {
            self.known(value, &format!("`{key}` of {what}"), keys);
        }
    }

    fn patch(&mut self, item: &Yaml, kind: ResourceType) -> Option<Patch> {
        let what = format!("a {kind}");
        let (name, position) = self.name(item, &what)?;
        let mut as_written = Layer::default();
        for entry in item.get("config").map(Yaml::entries).unwrap_or_default() {
            as_written.set(&entry.key, entry.value.to_json(), None);
        }
        let item = self.render(item, &is_late);
        let name = item.get("name").and_then(Yaml::scalar_text).unwrap_or(name);
        let what = format!("{kind} `{name}`");
        check_keys(&item, &what, NODE, Unknown::Warn, self.file, self.diagnostics);
        self.known_within(&item, &what, "docs", DOCS);
        let mut config = Layer::default();
        for key in ["tags", "enabled"] {
            if let Some(entry) = item.entry(key) {
                self.diagnostics.push(
                    Diagnostic::warning(
                        "misplaced-key",
                        format!("`{key}` of {what} stands outside of `config`"),
                    )
                    .at(entry.position(self.file))
                    .label("neither dbt nor Tidemill reads it here")
                    .hint(format!("write `config: {{{key}: ...}}`")),
                );
            }
        }
        for key in ["meta", "docs", "group", "contract", "access"] {
            if let Some(entry) = item.entry(key).filter(|entry| !entry.value.is_null()) {
                config.set(key, entry.value.to_json(), Some(entry.value.position(self.file)));
            }
        }
        self.config(&item, &mut config, &what);
        let mut written = config.values.clone();
        written.extend(as_written.values);
        let columns = self.columns(&item, &what);
        let versions = self.versions(&item, &what, &columns);
        let newest = versions
            .iter()
            .map(|version| version.version.clone())
            .max_by(|a, b| compare_versions(a, b));
        Some(Patch {
            kind,
            description: self.description(&item, &what),
            columns,
            tests: self.tests(&item, &what),
            config,
            written,
            latest_version: text_of(&item, "latest_version", &what, self.file, self.diagnostics)
                .or(newest),
            versions,
            properties: ["time_spine"]
                .into_iter()
                .filter_map(|key| Some((key.to_owned(), item.get(key)?.to_json())))
                .collect(),
            relation: text_of(&item, "relation", &what, self.file, self.diagnostics),
            semantic: ["semantic_model", "metrics"]
                .into_iter()
                .any(|key| item.get(key).is_some_and(|value| !value.is_null()))
                .then(|| item.to_map()),
            constraints: listed(&item, "constraints"),
            deprecation_date: text_of(
                &item,
                "deprecation_date",
                &what,
                self.file,
                self.diagnostics,
            ),
            name,
            position,
        })
    }

    /// Which columns of the model a version has, and its own.
    fn version_columns(&mut self, item: &Yaml, what: &str, base: &[ColumnDef]) -> Vec<ColumnDef> {
        let choice = self.list(item, "columns").iter().find(|entry| {
            entry.is_map() && (entry.get("include").is_some() || entry.get("exclude").is_some())
        });
        let names = |key: &str| -> Option<Vec<String>> {
            let value = choice?.get(key)?;
            match value.scalar_text() {
                Some(text) if text == "all" || text == "*" => None,
                Some(text) => Some(vec![text]),
                None => Some(value.items().iter().filter_map(Yaml::scalar_text).collect()),
            }
        };
        let (include, exclude) = (names("include"), names("exclude").unwrap_or_default());
        let own = self.columns(item, what);
        let mut columns: Vec<ColumnDef> = base
            .iter()
            .filter(|def| {
                let name = &def.column.name;
                include.as_ref().is_none_or(|include| include.contains(name))
                    && !exclude.contains(name)
                    && !own.iter().any(|own| own.column.name == *name)
            })
            .cloned()
            .collect();
        columns.extend(own);
        columns
    }

    fn versions(&mut self, item: &Yaml, what: &str, base: &[ColumnDef]) -> Vec<VersionDef> {
        let mut versions = Vec::new();
        for item in self.list(item, "versions") {
            let Some(version) = text_of(item, "v", what, self.file, self.diagnostics) else {
                wrong_shape(
                    item,
                    &format!("a version of {what} has no `v`"),
                    self.file,
                    self.diagnostics,
                );
                continue;
            };
            self.known(item, &format!("version {version} of {what}"), VERSION);
            let mut config = Layer::default();
            if let Some(access) = item.entry("access") {
                let place = access.value.position(self.file);
                config.set("access", access.value.to_json(), Some(place));
            }
            self.config(item, &mut config, what);
            let tests = ["tests", "data_tests"].iter().any(|key| item.get(key).is_some());
            let mut text = |key: &str| text_of(item, key, what, self.file, self.diagnostics);
            versions.push(VersionDef {
                version,
                defined_in: text("defined_in"),
                description: text("description"),
                deprecation_date: text("deprecation_date"),
                config,
                columns: self.version_columns(item, what, base),
                tests: tests.then(|| self.tests(item, what)),
                constraints: item.get("constraints").map(|_| listed(item, "constraints")),
            });
        }
        versions
    }

    fn config(&mut self, item: &Yaml, config: &mut Layer, what: &str) {
        let Some(values) = item.get("config") else { return };
        if !values.is_map() && !values.is_null() {
            wrong_shape(
                values,
                &format!("`config` of {what} must be a mapping"),
                self.file,
                self.diagnostics,
            );
        }
        let mut upper = Layer::default();
        for entry in values.entries() {
            upper.set(&entry.key, entry.value.to_json(), Some(entry.value.position(self.file)));
        }
        config.apply(&upper);
    }

    fn description(&mut self, item: &Yaml, what: &str) -> String {
        text_of(item, "description", what, self.file, self.diagnostics).unwrap_or_default()
    }

    /// `data_tests` and `tests` mean the same.
    fn tests(&mut self, item: &Yaml, what: &str) -> Vec<TestDef> {
        let mut tests = Vec::new();
        for key in ["data_tests", "tests"] {
            let Some(value) = item.get(key) else { continue };
            match &value.kind {
                Kind::List(items) => {
                    tests.extend(items.iter().map(|item| TestDef { yaml: item.clone() }));
                }
                Kind::Null => {}
                _ => wrong_shape(
                    value,
                    &format!("`{key}` of {what} must be a list"),
                    self.file,
                    self.diagnostics,
                ),
            }
        }
        tests
    }

    fn columns(&mut self, item: &Yaml, what: &str) -> Vec<ColumnDef> {
        let mut columns: Vec<ColumnDef> = Vec::new();
        for item in self.list(item, "columns") {
            let chooses = item.get("include").is_some() || item.get("exclude").is_some();
            if item.is_map() && chooses && item.get("name").is_none() {
                continue;
            }
            let of = format!("a column of {what}");
            let Some((name, position)) = self.name(item, &of) else { continue };
            let of = format!("column `{name}` of {what}");
            check_keys(item, &of, COLUMN, Unknown::Warn, self.file, self.diagnostics);
            if columns.iter().any(|known| known.column.name == name) {
                self.diagnostics.push(
                    Diagnostic::warning("duplicate-column", format!("{of} is described twice"))
                        .at(position),
                );
            }
            let mut tags =
                texts_of(item, "tags", &of, self.file, self.diagnostics).unwrap_or_default();
            let mut meta = item.get("meta").map(Yaml::to_map).unwrap_or_default();
            if let Some(config) = item.get("config") {
                tags.extend(
                    texts_of(config, "tags", &of, self.file, self.diagnostics).unwrap_or_default(),
                );
                meta.extend(config.get("meta").map(Yaml::to_map).unwrap_or_default());
            }
            let mut seen = std::collections::HashSet::new();
            tags.retain(|tag| seen.insert(tag.clone()));
            let quote = match item.get("quote").map(|value| &value.kind) {
                Some(Kind::Bool(flag)) => Some(*flag),
                _ => None,
            };
            let description = self.description(item, &of);
            let tests = self.tests(item, &of);
            columns.push(ColumnDef {
                column: Column {
                    name,
                    description,
                    data_type: text_of(item, "data_type", &of, self.file, self.diagnostics),
                    tags,
                    meta,
                    quote,
                    granularity: text_of(item, "granularity", &of, self.file, self.diagnostics),
                    constraints: listed(item, "constraints"),
                    dimension: item.get("dimension").map(Yaml::to_json),
                    entity: item.get("entity").map(Yaml::to_json),
                },
                tests,
            });
        }
        columns
    }

    fn source(&mut self, item: &Yaml, found: &mut Vec<SourceDef>) {
        let Some((source, source_position)) = self.name(item, "a source") else { return };
        let unrendered = |key: &str| item.get(key).and_then(Yaml::scalar_text);
        let (unrendered_schema, unrendered_database) =
            (unrendered("schema"), unrendered("database"));
        let item = self.render(item, &is_late_source);
        // It may be a template: the schema of the target, say.
        let source = item.get("name").and_then(Yaml::scalar_text).unwrap_or(source);
        let what = format!("source `{source}`");
        self.known(&item, &what, SOURCE);
        self.known_within(&item, &what, "quoting", QUOTING);
        let schema = text_of(&item, "schema", &what, self.file, self.diagnostics);
        let database = text_of(&item, "database", &what, self.file, self.diagnostics);
        let loader = text_of(&item, "loader", &what, self.file, self.diagnostics);
        let source_tags =
            texts_of(&item, "tags", &what, self.file, self.diagnostics).unwrap_or_default();
        let mut source_meta = item.get("meta").map(Yaml::to_map).unwrap_or_default();
        let configured = item.get("config").and_then(|config| config.get("meta"));
        source_meta.extend(configured.map(Yaml::to_map).unwrap_or_default());
        let source_description = self.description(&item, &what);
        let mut source_config = Layer::default();
        self.config(&item, &mut source_config, &what);
        let source_freshness = self.freshness(&item, &what);
        let source_loaded_at = self.loaded_at(&item, &what, None);
        let source_ingest = self.ingest(&item, &what);
        let Some(tables) = item.get("tables").filter(|tables| tables.is_list()) else {
            self.diagnostics.push(
                Diagnostic::warning("empty-source", format!("{what} has no tables"))
                    .at(source_position)
                    .hint("list them under `tables:`"),
            );
            return;
        };
        for table in tables.items() {
            let Some((name, position)) = self.name(table, &format!("a table of {what}")) else {
                continue;
            };
            let of = format!("table `{source}.{name}`");
            check_keys(table, &of, TABLE, Unknown::Warn, self.file, self.diagnostics);
            self.known_within(table, &of, "quoting", QUOTING);
            let mut config = source_config.clone();
            let mut own = Layer::default();
            self.config(table, &mut own, &of);
            config.apply(&own);
            let mut tags = source_tags.clone();
            tags.extend(
                texts_of(table, "tags", &of, self.file, self.diagnostics).unwrap_or_default(),
            );
            let mut meta = source_meta.clone();
            meta.extend(table.get("meta").map(Yaml::to_map).unwrap_or_default());
            let ingest = match (source_ingest.clone(), self.ingest(table, &of)) {
                // `ingest: false` takes a table out.
                (_, IngestSays::Not) => None,
                (IngestSays::Not | IngestSays::Nothing, IngestSays::Nothing) => None,
                (IngestSays::So(lower), IngestSays::Nothing) => Some(lower),
                (IngestSays::So(lower), IngestSays::So(upper)) => Some(lower.under(upper)),
                (_, IngestSays::So(upper)) => Some(upper),
            };
            let loaded_at = self.loaded_at(table, &of, Some(&source_loaded_at));
            let freshness = self.freshness(table, &of);
            found.push(SourceDef {
                source: source.clone(),
                schema: schema.clone(),
                database: database.clone(),
                unrendered_schema: unrendered_schema.clone(),
                unrendered_database: unrendered_database.clone(),
                identifier: text_of(table, "identifier", &of, self.file, self.diagnostics),
                description: self.description(table, &of),
                source_description: source_description.clone(),
                loader: text_of(table, "loader", &of, self.file, self.diagnostics)
                    .or_else(|| loader.clone())
                    .unwrap_or_default(),
                tags,
                meta,
                source_meta: source_meta.clone(),
                config,
                freshness: merge_freshness(source_freshness.clone(), freshness.clone()),
                said_freshness: freshness.or_else(|| source_freshness.clone()),
                loaded_at_field: loaded_at.0,
                loaded_at_query: loaded_at.1,
                ingest,
                columns: self.columns(table, &of),
                tests: self.tests(table, &of),
                name,
                position,
            });
        }
    }

    fn freshness(&mut self, item: &Yaml, what: &str) -> Option<Value> {
        let said = item.get("freshness").or_else(|| item.get("config")?.get("freshness"))?;
        let of = format!("`freshness` of {what}");
        self.known(said, &of, FRESHNESS);
        for limit in ["warn_after", "error_after"] {
            self.known_within(said, &of, limit, PERIOD);
        }
        Some(said.to_json())
    }

    /// The column and the query that freshness looks at: of a table, or what its source says when
    /// it says nothing itself. Both at once contradict each other.
    fn loaded_at(&mut self, item: &Yaml, what: &str, lower: Option<&LoadedAt>) -> LoadedAt {
        let mut read = |key: &str| {
            text_of(item, key, what, self.file, self.diagnostics)
                .or_else(|| text_of(item.get("config")?, key, what, self.file, self.diagnostics))
        };
        let own = (read("loaded_at_field"), read("loaded_at_query"));
        match (own, lower) {
            ((Some(_), Some(_)), _) => {
                self.diagnostics.push(
                    Diagnostic::error(
                        "loaded-at",
                        format!("{what} has both `loaded_at_field` and `loaded_at_query`"),
                    )
                    .at(item.position(self.file))
                    .hint("keep one of the two"),
                );
                (None, None)
            }
            ((None, None), Some(lower)) => lower.clone(),
            (own, _) => own,
        }
    }

    /// `ingest:`, `config.meta.ingest` or `meta.ingest`; the first of them counts.
    fn ingest(&mut self, item: &Yaml, what: &str) -> IngestSays {
        let found = item
            .get("ingest")
            .or_else(|| item.get("config")?.get("ingest"))
            .or_else(|| item.get("config")?.get("meta")?.get("ingest"))
            .or_else(|| item.get("meta")?.get("ingest"));
        let Some(value) = found else { return IngestSays::Nothing };
        match &value.kind {
            Kind::Null => IngestSays::Nothing,
            Kind::Bool(false) => IngestSays::Not,
            Kind::Map(entries) => {
                let mut def =
                    IngestDef { position: Some(value.position(self.file)), ..IngestDef::default() };
                for entry in entries {
                    def.settings.insert(entry.key.clone(), entry.value.to_json());
                    def.positions.insert(entry.key.clone(), entry.position(self.file));
                }
                IngestSays::So(def)
            }
            _ => {
                wrong_shape(
                    value,
                    &format!("`ingest` of {what} must be a mapping, or `false`"),
                    self.file,
                    self.diagnostics,
                );
                IngestSays::Not
            }
        }
    }

    fn macro_patch(&mut self, item: &Yaml) -> Option<MacroPatch> {
        let (name, position) = self.name(item, "a macro")?;
        let what = format!("macro `{name}`");
        for argument in item.get("arguments").map(Yaml::items).unwrap_or_default() {
            self.known(argument, &format!("an argument of {what}"), ARGUMENT);
        }
        Some(MacroPatch {
            description: self.description(item, &what),
            arguments: item
                .get("arguments")
                .map(|list| list.items().iter().map(Yaml::to_json).collect())
                .unwrap_or_default(),
            meta: item.get("meta").map(Yaml::to_map).unwrap_or_default(),
            name,
            position,
        })
    }

    fn exposure(&mut self, item: &Yaml) -> Option<ExposureDef> {
        let (name, position) = self.name(item, "an exposure")?;
        let what = format!("exposure `{name}`");
        self.known(item, &what, EXPOSURE);
        let mut depends_on = Vec::new();
        for item in self.list(item, "depends_on") {
            match item.as_text() {
                Some(text) => depends_on.push((text.to_owned(), item.position(self.file))),
                None => wrong_shape(
                    item,
                    &format!("`depends_on` of {what} holds `ref(...)` and `source(...)`"),
                    self.file,
                    self.diagnostics,
                ),
            }
        }
        let rendered = self
            .render(item, &|path| matches!(path.first(), Some(&("depends_on" | "description"))));
        let mut config = Layer::default();
        for key in ["tags", "meta", "enabled"] {
            if let Some(value) = rendered.get(key) {
                config.set(key, value.to_json(), None);
            }
        }
        self.config(&rendered, &mut config, &what);
        Some(ExposureDef { name, values: rendered.to_map(), depends_on, config, position })
    }
}

impl Reader<'_> {
    fn semantic(&mut self, item: &Yaml, kind: ResourceType) -> Option<SemanticDef> {
        let article = format!("a {}", kind.as_str().replace('_', " "));
        let (name, position) = self.name(item, &article)?;
        let what = format!("{} `{name}`", kind.as_str().replace('_', " "));
        // Filters are templates of the semantic layer's own language.
        let rendered =
            self.render(item, &|path| path.iter().any(|key| matches!(*key, "filter" | "where")));
        let mut config = Layer::default();
        for key in ["tags", "meta", "enabled", "group"] {
            if let Some(value) = rendered.get(key).filter(|value| !value.is_null()) {
                config.set(key, value.to_json(), Some(value.position(self.file)));
            }
        }
        self.config(&rendered, &mut config, &what);
        let model = rendered
            .get("model")
            .and_then(|model| Some((model.as_text()?.to_owned(), model.position(self.file))));
        Some(SemanticDef { kind, name, values: rendered.to_map(), model, config, position })
    }
}

/// `loaded_at_field` and `loaded_at_query`.
type LoadedAt = (Option<String>, Option<String>);

#[derive(Debug, Clone)]
enum IngestSays {
    Nothing,
    Not,
    So(IngestDef),
}

impl IngestDef {
    fn under(mut self, upper: IngestDef) -> IngestDef {
        self.settings.extend(upper.settings);
        self.positions.extend(upper.positions);
        self.position = upper.position.or(self.position);
        self
    }
}

/// A table's freshness is laid over its source's, each limit with its count and period; `null` takes
/// a limit, or all of it, away.
pub(crate) fn merge_freshness(lower: Option<Value>, upper: Option<Value>) -> Option<Value> {
    match (lower, upper) {
        (_, Some(Value::Null)) => Some(Value::Null),
        (Some(Value::Object(mut lower)), Some(Value::Object(upper))) => {
            for (key, value) in upper {
                match (lower.get_mut(&key), value) {
                    (Some(Value::Object(below)), Value::Object(above)) => below.extend(above),
                    (_, value) => {
                        lower.insert(key, value);
                    }
                }
            }
            Some(Value::Object(lower))
        }
        (lower, None) => lower.filter(|value| !value.is_null()),
        (_, upper) => upper,
    }
}

/// Versions that are numbers are ordered as numbers.
pub(crate) fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

/// The place of a scalar without its quotes.
pub(crate) fn unquoted(yaml: &Yaml, file: &SourceFile) -> SourcePosition {
    let text = file.text.get(yaml.start..yaml.end).unwrap_or("");
    let quoted = text.len() >= 2 && (text.starts_with('"') || text.starts_with('\''));
    if quoted { file.position(yaml.start + 1, yaml.end - 1) } else { yaml.position(file) }
}

/// Tests, descriptions and hooks are rendered later.
fn is_late(path: &[&str]) -> bool {
    path.iter().any(|key| matches!(*key, "tests" | "data_tests" | "description"))
        || (path.first() == Some(&"config")
            && matches!(path.get(1), Some(&("pre_hook" | "post_hook" | "pre-hook" | "post-hook"))))
        // Filters of metrics are templates of the semantic layer's own language.
        || matches!(path.first(), Some(&("relation" | "metrics")))
}

fn is_late_source(path: &[&str]) -> bool {
    path.iter()
        .any(|key| matches!(*key, "tests" | "data_tests" | "description" | "loaded_at_query"))
}

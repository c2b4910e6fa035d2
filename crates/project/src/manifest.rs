//! The resolved graph of a project, as plain data.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidemill_core::{RelationName, Severity, SourcePosition, UniqueId};
use tidemill_jinja::{Definition, DefinitionKind};

use crate::config::NodeConfig;
use crate::contract::ContractSpec;
use crate::select::NamedSelector;
use crate::settings::{Hook, ProjectSettings};
use crate::target::Target;
use crate::unit_test::UnitTestSpec;

/// What a node is. `as_str` is dbt's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceType {
    /// A query that becomes a view or a table, or is inlined.
    Model,
    /// A CSV file of the project that becomes a table.
    Seed,
    /// The history of a table.
    Snapshot,
    /// A data test, generic or singular.
    Test,
    /// A query that is compiled and never run.
    Analysis,
    /// A table that something outside of the models fills.
    Source,
    /// A use of the data outside of the project.
    Exposure,
    /// A hook of the whole run.
    Operation,
    /// A test of a model's logic.
    UnitTest,
    /// A measure of the semantic layer.
    Metric,
    /// The entities, dimensions and measures of a model.
    SemanticModel,
    /// A query of metrics.
    SavedQuery,
}

impl ResourceType {
    /// dbt's word, which unique ids begin with.
    pub fn as_str(self) -> &'static str {
        match self {
            ResourceType::Model => "model",
            ResourceType::Seed => "seed",
            ResourceType::Snapshot => "snapshot",
            ResourceType::Test => "test",
            ResourceType::Analysis => "analysis",
            ResourceType::Source => "source",
            ResourceType::Exposure => "exposure",
            ResourceType::Operation => "operation",
            ResourceType::UnitTest => "unit_test",
            ResourceType::Metric => "metric",
            ResourceType::SemanticModel => "semantic_model",
            ResourceType::SavedQuery => "saved_query",
        }
    }

    /// Reads dbt's word.
    pub fn parse(text: &str) -> Option<Self> {
        [
            ResourceType::Model,
            ResourceType::Seed,
            ResourceType::Snapshot,
            ResourceType::Test,
            ResourceType::Analysis,
            ResourceType::Source,
            ResourceType::Exposure,
            ResourceType::Operation,
            ResourceType::UnitTest,
            ResourceType::Metric,
            ResourceType::SemanticModel,
            ResourceType::SavedQuery,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

impl std::fmt::Display for ResourceType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A column as property YAML describes it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it means, `doc()` resolved.
    pub description: String,
    /// The declared SQL type.
    pub data_type: Option<String>,
    /// Its labels.
    pub tags: Vec<String>,
    /// Free data about it.
    pub meta: Map<String, Value>,
    /// Whether its name is quoted in SQL.
    pub quote: Option<bool>,
    /// Declared constraints, as written.
    pub constraints: Vec<Value>,
    /// The granularity of a time column.
    pub granularity: Option<String>,
    /// What it is as a dimension of the semantic layer, as written.
    pub dimension: Option<Value>,
    /// What it is as an entity of the semantic layer, as written.
    pub entity: Option<Value>,
}

/// A call of `ref()` that the parse pass found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefCall {
    /// The package, when two arguments were given.
    pub package: Option<String>,
    /// The name.
    pub name: String,
    /// The version, when one was given.
    pub version: Option<String>,
    /// Where the call stands: byte offsets in the node's file, when it stands there.
    #[serde(skip)]
    pub span: Option<(usize, usize)>,
}

impl RefCall {
    /// Whether both mean the same, wherever they stand.
    pub(crate) fn is_same(&self, other: &RefCall) -> bool {
        self.name == other.name && self.package == other.package && self.version == other.version
    }
}

/// A call of `source()` that the parse pass found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCall {
    /// The source's name.
    pub source: String,
    /// The table's name.
    pub table: String,
    /// Where the call stands: byte offsets in the node's file, when it stands there.
    #[serde(skip)]
    pub span: Option<(usize, usize)>,
}

/// A model, seed, snapshot, analysis, test or operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// dbt's id.
    pub unique_id: UniqueId,
    /// What it is.
    pub resource_type: ResourceType,
    /// Its name, which `ref()` uses.
    pub name: String,
    /// The package that it belongs to.
    pub package_name: String,
    /// Its file, relative to the resource folder (`core/dim_date.sql`); for generic tests the
    /// name of the compiled file.
    pub path: String,
    /// Its file, relative to the project: the YAML file for a generic test.
    pub original_file_path: String,
    /// Package, folders and name: what config trees and selectors go by.
    pub fqn: Vec<String>,
    /// The name of the lake in `database.schema.name`.
    pub database: String,
    /// The schema that it is built in.
    pub schema: String,
    /// The name that it is built under.
    pub alias: String,
    /// Which parts of the name of its relation are quoted in artifacts: database, schema, identifier.
    pub quoted_parts: [bool; 3],
    /// The file's text: template or CSV (seeds: empty; their text is read when they are loaded).
    pub raw_code: Arc<str>,
    /// `sql` or `python`.
    pub language: &'static str,
    /// SHA-256 of the file, in hex, as dbt writes it. Empty for generic tests.
    pub checksum: String,
    /// The effective configuration.
    pub config: NodeConfig,
    /// The configuration as it was written, levels laid over each other, `dbt_project.yml` with its
    /// Jinja: what `state:modified` compares.
    pub unrendered_config: Map<String, Value>,
    /// Its labels: of the config, then of property YAML.
    pub tags: Vec<String>,
    /// Free data about it.
    pub meta: Map<String, Value>,
    /// What it is for, `doc()` resolved.
    pub description: String,
    /// Its described columns.
    pub columns: IndexMap<String, Column>,
    /// Calls of `ref()` in the order of the text.
    pub refs: Vec<RefCall>,
    /// Calls of `source()` in the order of the text.
    pub sources: Vec<SourceCall>,
    /// The nodes and sources that it reads, each once, in the order of the text.
    pub depends_on: Vec<UniqueId>,
    /// The macros that its text calls (unique ids), in their order, as far as the parse pass knows
    /// them.
    pub macros: Vec<String>,
    /// Those, and all that they call.
    pub reached_macros: BTreeSet<String>,
    /// What property YAML says about it beside all that: `time_spine`.
    pub properties: Map<String, Value>,
    /// The YAML file that describes it: `PACKAGE://models/schema.yml`.
    pub patch_path: Option<String>,
    /// What the test is, when it is one.
    pub test: Option<TestSpec>,
    /// The day from which nothing should read a model any more, as written.
    pub deprecation_date: Option<String>,
    /// What a model promises, when its contract is enforced.
    pub contract: Option<Arc<ContractSpec>>,
    /// Constraints of the model as a whole, as written.
    pub constraints: Vec<Value>,
    /// What the unit test is, when it is one.
    pub unit_test: Option<Arc<UnitTestSpec>>,
    /// `public`, `protected` or `private`.
    pub access: Option<String>,
    /// The group that owns it.
    pub group: Option<String>,
    /// The version of a versioned model.
    pub version: Option<String>,
    /// The newest version of a versioned model.
    pub latest_version: Option<String>,
    /// Whether the template uses only plain text, `ref`, `source`, `var` and `config`, so that
    /// a render can read nothing but vars.
    pub simple: bool,
    /// The folder of the package it belongs to.
    pub root_path: Arc<std::path::Path>,
    /// Where it is declared, for messages: the start of the file, or the line in YAML.
    pub position: SourcePosition,
}

impl Node {
    /// The relation that it builds (also for views; ephemeral models and tests have none, but
    /// a name all the same).
    pub fn relation(&self) -> RelationName {
        RelationName::new(&self.schema, &self.alias)
    }

    /// Whether it becomes a relation of the lake.
    pub fn is_relational(&self) -> bool {
        match self.resource_type {
            ResourceType::Model => !self.config.materialized.is_ephemeral(),
            ResourceType::Seed | ResourceType::Snapshot => true,
            _ => false,
        }
    }

    /// The name of its relation as artifacts have it: `"lake"."main"."orders"`. A test has one when it
    /// keeps its failing rows.
    pub fn relation_name(&self) -> Option<String> {
        let keeps = |test: &TestSpec| {
            test.store_failures == Some(true)
                && test.store_failures_as.as_deref() != Some("ephemeral")
        };
        let has_one = self.is_relational() || self.test.as_ref().is_some_and(keeps);
        has_one.then(|| quoted_name(self.quoted_parts, [&self.database, &self.schema, &self.alias]))
    }

    /// Whether it is a model that is inlined.
    pub fn is_ephemeral(&self) -> bool {
        self.resource_type == ResourceType::Model && self.config.materialized.is_ephemeral()
    }

    /// The selector that names this node alone.
    pub fn search_name(&self) -> String {
        match &self.version {
            Some(version) => format!("{}.v{version}", self.name),
            None => self.name.clone(),
        }
    }
}

/// What a data test checks and how it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct TestSpec {
    /// Generic or singular.
    pub kind: TestKind,
    /// Whether a failure stops the publication.
    pub severity: Severity,
    /// The comparison that makes a warning: `!= 0`.
    pub warn_if: String,
    /// The comparison that makes an error: `!= 0`.
    pub error_if: String,
    /// The SQL aggregate over the failing rows: `count(*)`.
    pub fail_calc: String,
    /// Only rows for which this holds are tested.
    pub where_: Option<String>,
    /// At most this many failing rows are counted.
    pub limit: Option<u64>,
    /// Whether failing rows are stored, when the project says.
    pub store_failures: Option<bool>,
    /// `table`, `view` or `ephemeral`.
    pub store_failures_as: Option<String>,
}

/// The two kinds of data test.
#[expect(clippy::large_enum_variant, reason = "nearly all tests are generic")]
#[derive(Debug, Clone, PartialEq)]
pub enum TestKind {
    /// A query of its own, in a file under `tests/`.
    Singular,
    /// A named test with arguments, declared in property YAML.
    Generic(GenericTest),
}

/// A named test with arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct GenericTest {
    /// The package before the dot: `dbt_utils`.
    pub namespace: Option<String>,
    /// The name: `accepted_range`.
    pub name: String,
    /// The arguments as written, without `model` and `column_name`. Text may hold Jinja
    /// (`ref('x')`): [`Project::test_arguments`](crate::Project::test_arguments) renders it.
    pub arguments: Map<String, Value>,
    /// The column: of a test under `columns:`, or the argument `column_name` of another.
    pub column: Option<String>,
    /// How many arguments stand before the column, when it has a place among them.
    pub column_at: Option<usize>,
    /// Whether it is the latter.
    pub column_is_argument: bool,
    /// The node or source that declares it.
    pub attached: Option<UniqueId>,
    /// How its query refers to that.
    pub target: TestTarget,
    /// Whether its meaning is the well-known one of that name, so that it may be measured
    /// without rendering SQL: not when the project defines a test of that name itself.
    pub well_known: bool,
}

/// What a generic test is declared on, as its query refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestTarget {
    /// `ref(name)`
    Ref {
        /// The node's name.
        name: String,
        /// The version of a versioned model.
        version: Option<String>,
    },
    /// `source(source, table)`
    Source {
        /// The source's name.
        source: String,
        /// The table's name.
        table: String,
    },
}

impl GenericTest {
    /// `dbt_utils.accepted_range`, `not_null`.
    pub fn full_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// One table of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceTable {
    /// dbt's id.
    pub unique_id: UniqueId,
    /// The source's name.
    pub source_name: String,
    /// The table's name, which `source()` uses.
    pub name: String,
    /// The package that declares it.
    pub package_name: String,
    /// The name of the lake or database.
    pub database: String,
    /// The schema that it stands in.
    pub schema: String,
    /// Which parts of its name are quoted in artifacts: database, schema, identifier.
    pub quoted_parts: [bool; 3],
    /// The database as it was written, with its Jinja.
    pub unrendered_database: Option<String>,
    /// The schema as it was written, with its Jinja.
    pub unrendered_schema: Option<String>,
    /// The name that it stands under.
    pub identifier: String,
    /// The YAML file, relative to the project.
    pub original_file_path: String,
    /// Package, folders, source and table.
    pub fqn: Vec<String>,
    /// What it holds, `doc()` resolved.
    pub description: String,
    /// What the source as a whole is.
    pub source_description: String,
    /// Who loads it.
    pub loader: String,
    /// Its labels: of the source, then of the table.
    pub tags: Vec<String>,
    /// Free data about it.
    pub meta: Map<String, Value>,
    /// Free data about the source.
    pub source_meta: Map<String, Value>,
    /// Its described columns.
    pub columns: IndexMap<String, Column>,
    /// Effective configuration, as merged.
    pub config: Map<String, Value>,
    /// The configuration as it was written.
    pub unrendered_config: Map<String, Value>,
    /// Declared freshness, as merged.
    pub freshness: Option<Value>,
    /// The column or expression that freshness looks at.
    pub loaded_at_field: Option<String>,
    /// A query for the time that freshness looks at instead, a template.
    pub loaded_at_query: Option<String>,
    /// How Tidemill fills it: source-level `ingest:` overridden by the table's, Jinja rendered.
    /// `None`: others fill it.
    pub ingest: Option<Ingest>,
    /// Whether it takes part.
    pub enabled: bool,
    /// Where it is declared.
    pub position: SourcePosition,
}

/// The parts of a name in quotes, or not.
fn quoted_name(quoted: [bool; 3], parts: [&str; 3]) -> String {
    let part = |(quoted, part): (bool, &str)| match quoted {
        true => format!("\"{part}\""),
        false => part.to_owned(),
    };
    let [database, schema, name] = parts;
    let [first, second, third] = quoted;
    [(first, database), (second, schema), (third, name)].map(part).join(".")
}

impl SourceTable {
    /// Its name as artifacts have it: `"lake"."main"."orders"`.
    pub fn relation_name(&self) -> String {
        quoted_name(self.quoted_parts, [&self.database, &self.schema, &self.identifier])
    }

    /// The files that stand for it, as SQL: dbt-duckdb's `external_location`, of the table or of its
    /// source, with the table's names filled in. A table that is loaded has none.
    pub fn external_location(&self) -> Option<String> {
        if self.ingest.is_some() {
            return None;
        }
        let of_config = self.config.get("meta").and_then(Value::as_object);
        let metas = of_config.into_iter().chain([&self.meta, &self.source_meta]);
        let text = |key: &str| metas.clone().find_map(|meta| meta.get(key)).and_then(Value::as_str);
        let mut location = text("external_location")?.to_owned();
        for (name, value) in
            [("name", &self.name), ("identifier", &self.identifier), ("schema", &self.schema)]
        {
            // `{name}`, and `${name}` of the formatter `template`.
            location = location.replace(&format!("${{{name}}}"), value);
            location = location.replace(&format!("{{{name}}}"), value);
        }
        Some(match location.contains('(') || location.starts_with('\'') {
            true => location,
            false => format!("'{}'", location.replace('\'', "''")),
        })
    }

    /// The relation that it is.
    pub fn relation(&self) -> RelationName {
        RelationName::new(&self.schema, &self.identifier)
    }

    /// The relations that come with it when it is loaded: the table of its changes, and the view of both.
    pub fn companions(&self) -> Vec<RelationName> {
        if !self.ingest.as_ref().is_some_and(Ingest::keeps_changes) {
            return Vec::new();
        }
        let relation = |end| RelationName::new(&self.schema, format!("{}{end}", self.identifier));
        CHANGES_AND_FRESH.into_iter().map(relation).collect()
    }

    /// Whether it says how fresh it has to be.
    pub fn has_freshness(&self) -> bool {
        let Some(freshness) = &self.freshness else { return false };
        ["warn_after", "error_after"].into_iter().any(|key| {
            freshness.get(key).is_some_and(|after| {
                ["count", "period"].iter().all(|key| after.get(key).is_some_and(|x| !x.is_null()))
            })
        })
    }

    /// Declared types of columns that have one, for the ingest.
    pub fn declared_types(&self) -> IndexMap<String, String> {
        self.columns
            .values()
            .filter_map(|column| Some((column.name.clone(), column.data_type.clone()?)))
            .collect()
    }
}

/// How a source table is filled.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingest {
    /// The named connection; `None`: files of the project.
    pub connection: Option<String>,
    /// The settings, without `connection`; the connector and the ingest read them.
    pub settings: Map<String, Value>,
    /// Where each setting stands, for messages of those who read them.
    pub positions: BTreeMap<String, SourcePosition>,
    /// Where the whole stands.
    pub position: SourcePosition,
}

impl Ingest {
    /// Whether each change of the table is kept in a table of changes.
    pub fn keeps_changes(&self) -> bool {
        self.settings.get("changes") == Some(&Value::Bool(true))
    }
}

/// What the name of a table of changes, and of the view of a table with its changes, ends in.
pub const CHANGES_AND_FRESH: [&str; 2] = ["__changes", "__fresh"];

/// A macro of the project, of a package or of Tidemill.
#[derive(Debug, Clone, PartialEq)]
pub struct MacroNode {
    /// `macro.PACKAGE.NAME` (tests: `macro.PACKAGE.test_NAME`).
    pub unique_id: String,
    /// Its name.
    pub name: String,
    /// Its package.
    pub package_name: String,
    /// Its file, relative to its package.
    pub original_file_path: String,
    /// Its text.
    pub macro_sql: String,
    /// The macros that it names (unique ids).
    pub depends_on: Vec<String>,
    /// What it does, from property YAML.
    pub description: String,
    /// Its arguments: as described, else as its tag names them.
    pub arguments: Vec<Value>,
    /// Free data about it.
    pub meta: Map<String, Value>,
    /// The YAML file that describes it.
    pub patch_path: Option<String>,
}

impl MacroNode {
    /// A macro as its file defines it. What it calls is found later.
    pub(crate) fn of(definition: &Definition, package: &str, file: &str) -> Self {
        let argument = |name: &str| json!({"name": name, "type": null, "description": ""});
        // As in dbt, those of a test in a folder of tests are not kept.
        let is_test = definition.kind == DefinitionKind::Test
            && file.split('/').any(|folder| folder == "generic");
        let parameters = definition.parameters.iter().filter(|_| !is_test);
        MacroNode {
            unique_id: format!("macro.{package}.{}", definition.full_name),
            name: definition.full_name.to_string(),
            package_name: package.to_owned(),
            original_file_path: file.to_owned(),
            macro_sql: whole_block(definition),
            depends_on: Vec::new(),
            description: String::new(),
            arguments: parameters.map(|parameter| argument(&parameter.name)).collect(),
            meta: Map::default(),
            patch_path: None,
        }
    }
}

/// The text of a block as dbt cuts it out: `{%-` and `-%}` take the white space around it with them,
/// unless what stands before has taken it. The text of a file begins and ends without.
fn whole_block(definition: &Definition) -> String {
    let span = &definition.span;
    let all = span.source().text();
    let (before, text, after) = (&all[..span.start()], definition.text(), &all[span.end()..]);
    let kept = before.trim_end();
    let taken = ["-%}", "-}}", "-#}"].iter().any(|end| kept.ends_with(end));
    let taken = taken || kept.is_empty();
    let front = if text.starts_with("{%-") && !taken { &before[kept.len()..] } else { "" };
    let rest = after.trim_start();
    let follows = text.ends_with("-%}") && !rest.is_empty();
    let back = if follows { &after[..after.len() - rest.len()] } else { "" };
    format!("{front}{text}{back}")
}

/// A `{% docs %}` block.
#[derive(Debug, Clone, PartialEq)]
pub struct DocBlock {
    /// `doc.PACKAGE.NAME`.
    pub unique_id: String,
    /// Its name.
    pub name: String,
    /// Its package.
    pub package_name: String,
    /// Its file, relative to its package.
    pub original_file_path: String,
    /// Its text.
    pub block_contents: String,
}

/// The blocks that descriptions are made of (`doc()` in them): of nodes and sources, and of their
/// columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DocBlocks(HashMap<UniqueId, Vec<DescribedBy>>);

/// The column that is described, or the whole, and the blocks of its description.
type DescribedBy = (Option<String>, Vec<String>);

impl DocBlocks {
    pub(crate) fn note(&mut self, id: &UniqueId, column: Option<&str>, blocks: Vec<String>) {
        if !blocks.is_empty() {
            self.0.entry(id.clone()).or_default().push((column.map(str::to_owned), blocks));
        }
    }

    /// Of a node or source: the blocks (unique ids) of its description, and of each column's.
    pub fn of(&self, id: &UniqueId) -> impl Iterator<Item = (Option<&str>, &[String])> {
        let noted = self.0.get(id).map_or(&[][..], Vec::as_slice);
        noted.iter().map(|(column, blocks)| (column.as_deref(), blocks.as_slice()))
    }
}

/// A use of the data outside of the project.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposure {
    /// dbt's id.
    pub unique_id: UniqueId,
    /// Its name.
    pub name: String,
    /// The package that declares it.
    pub package_name: String,
    /// The YAML file, relative to the project.
    pub original_file_path: String,
    /// Package, folders and name.
    pub fqn: Vec<String>,
    /// `dashboard`, `notebook`, `analysis`, `ml` or `application`.
    pub kind: String,
    /// What it shows.
    pub description: String,
    /// The name that people read.
    pub label: Option<String>,
    /// `high`, `medium` or `low`.
    pub maturity: Option<String>,
    /// Where it is.
    pub url: Option<String>,
    /// Who owns it: `name`, `email`.
    pub owner: Map<String, Value>,
    /// Its labels.
    pub tags: Vec<String>,
    /// Free data about it.
    pub meta: Map<String, Value>,
    /// Effective configuration.
    pub config: Map<String, Value>,
    /// The configuration as it was written.
    pub unrendered_config: Map<String, Value>,
    /// Calls of `ref()`.
    pub refs: Vec<RefCall>,
    /// Calls of `source()`.
    pub sources: Vec<SourceCall>,
    /// What it reads.
    pub depends_on: Vec<UniqueId>,
    /// Where it is declared.
    pub position: SourcePosition,
}

/// A metric, semantic model or saved query: read, shown and selected; the engine runs none of
/// them.
#[derive(Debug, Clone, PartialEq)]
pub struct SemanticNode {
    /// dbt's id.
    pub unique_id: UniqueId,
    /// Which of the three it is.
    pub resource_type: ResourceType,
    /// Its name.
    pub name: String,
    /// The package that declares it.
    pub package_name: String,
    /// The YAML file, relative to the project.
    pub original_file_path: String,
    /// Package, folders and name.
    pub fqn: Vec<String>,
    /// Its labels.
    pub tags: Vec<String>,
    /// Free data about it.
    pub meta: Map<String, Value>,
    /// The group that owns it.
    pub group: Option<String>,
    /// Effective configuration.
    pub config: Map<String, Value>,
    /// The configuration as it was written.
    pub unrendered_config: Map<String, Value>,
    /// The model that a semantic model describes.
    pub refs: Vec<RefCall>,
    /// The node, semantic models or metrics that it is made of.
    pub depends_on: Vec<UniqueId>,
    /// Everything that was written about it.
    pub values: Map<String, Value>,
    /// Where it is declared.
    pub position: SourcePosition,
}

/// A named external system of `connections.yml`. The settings may hold secrets: there is no
/// `Debug` of their values.
#[derive(Clone, PartialEq)]
pub struct Connection {
    /// Its name.
    pub name: String,
    /// Its connector: `postgres`, `s3`.
    pub kind: String,
    /// Its settings without `type`, Jinja rendered.
    pub settings: Map<String, Value>,
    /// Where it is declared.
    pub position: SourcePosition,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// A node that goes out to another system: an entry of `exports.yml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// `export.<package>.<name>`
    pub unique_id: UniqueId,
    /// Its name.
    pub name: String,
    /// What goes out.
    pub node: UniqueId,
    /// Where to: a name of `connections.yml`; none for files of this machine.
    pub connection: Option<String>,
    /// The place over there ([`Export::place`]), and settings of the kind of system.
    pub to: serde_json::Map<String, Value>,
    /// `full`, `append` or `merge`.
    pub mode: String,
    /// The columns that tell rows apart, for `append` and `merge`.
    pub primary_key: Vec<String>,
    /// Whether rows that are no longer there go, for `merge`.
    pub deletes: bool,
    /// Whether a column that the table over there does not have is added to it.
    pub adds_columns: bool,
    /// Where it is declared.
    pub position: SourcePosition,
}

impl Export {
    /// The keys of `to` that name a place: a table, files, or what a queue calls it.
    pub const PLACES: [&str; 7] =
        ["table", "path", "topic", "subject", "exchange", "queue", "stream"];

    /// The place over there, in words.
    pub fn place(to: &serde_json::Map<String, Value>) -> Option<&str> {
        Export::PLACES.iter().find_map(|key| to.get(*key)?.as_str())
    }

    /// Whether the rows become messages.
    pub fn sends_messages(&self) -> bool {
        Export::PLACES[2..].iter().any(|key| self.to.contains_key(*key))
    }
}

/// The graph of a project: every node with what it reads and who reads it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    /// Name, settings and paths of the root project.
    pub settings: ProjectSettings,
    /// Where the project is built.
    pub target: Target,
    /// Enabled models, seeds, snapshots, analyses, tests and hooks of the run.
    pub nodes: IndexMap<UniqueId, Node>,
    /// Enabled source tables.
    pub sources: IndexMap<UniqueId, SourceTable>,
    /// Exposures.
    pub exposures: IndexMap<UniqueId, Exposure>,
    /// Metrics, semantic models and saved queries.
    pub semantics: IndexMap<UniqueId, SemanticNode>,
    /// Selections by name, from `selectors.yml`.
    pub selectors: IndexMap<String, NamedSelector>,
    /// Macros, by unique id.
    pub macros: IndexMap<String, MacroNode>,
    /// Docs blocks, by unique id.
    pub docs: IndexMap<String, DocBlock>,
    /// Where they are used.
    pub doc_blocks: DocBlocks,
    /// Nodes that `enabled: false` takes out.
    pub disabled: Vec<Node>,
    /// Tests of what is disabled or not there: nothing runs them. As in dbt, they stand among the
    /// `nodes` of `manifest.json` and of `graph`, not enabled.
    pub idle: Vec<Node>,
    /// Source tables that `enabled: false` takes out.
    pub disabled_sources: Vec<SourceTable>,
    /// What each node, source and exposure reads.
    pub parents: IndexMap<UniqueId, Vec<UniqueId>>,
    /// Who reads each node, source and exposure.
    pub children: IndexMap<UniqueId, Vec<UniqueId>>,
    /// Groups and their owners, as written.
    pub groups: IndexMap<String, Value>,
    /// Named external systems.
    pub connections: IndexMap<String, Connection>,
    /// What goes out to other systems, by name.
    pub exports: IndexMap<String, Export>,
    /// Models that are `external` (dbt-duckdb), with the file or folder that their rows are written to:
    /// settings of an export to files.
    pub external_files: IndexMap<UniqueId, serde_json::Map<String, Value>>,
    /// Statements before a run, those of packages first.
    pub on_run_start: Vec<Hook>,
    /// Statements after a run, those of packages first.
    pub on_run_end: Vec<Hook>,
    /// The checksums of the `dbt_project.yml` of packages that have such statements.
    pub project_checksums: IndexMap<String, String>,
}

impl Manifest {
    /// How many macros there are, with the built-in ones: as many as a written manifest has.
    pub fn all_macros(&self) -> usize {
        self.macros.len() + crate::macros::built_in_nodes(self).len()
    }

    /// A node by its id.
    pub fn node(&self, id: &UniqueId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// A source table by its id.
    pub fn source(&self, id: &UniqueId) -> Option<&SourceTable> {
        self.sources.get(id)
    }

    /// The relation of a node or source table.
    pub fn relation_of(&self, id: &UniqueId) -> Option<RelationName> {
        match self.nodes.get(id) {
            Some(node) => Some(node.relation()),
            None => self.sources.get(id).map(SourceTable::relation),
        }
    }

    /// The macro that materializes a model, when the project or a package has one: of the root
    /// project, of the model's package, of any other, in this order. The built-in ones can only be
    /// replaced by the root project.
    pub fn materialization_macro(&self, node: &Node) -> Option<&str> {
        if !matches!(node.resource_type, ResourceType::Model | ResourceType::Snapshot) {
            return None;
        }
        let name = node.config.materialized.as_str();
        let built_in = is_built_in(name);
        let root = self.settings.name.as_str();
        for adapter in self.materialization_adapters(name) {
            let full = format!("materialization_{name}_{adapter}");
            let of = |package: &str| self.macros.get_key_value(&format!("macro.{package}.{full}"));
            let found = of(root).or_else(|| if built_in { None } else { of(&node.package_name) });
            let found = found.or_else(|| {
                let end = format!(".{full}");
                (!built_in).then(|| self.macros.iter().find(|(id, _)| id.ends_with(&end))).flatten()
            });
            if let Some((id, _)) = found {
                return Some(id);
            }
        }
        None
    }

    /// The adapters for which a materialization may be written, in the order in which they are looked
    /// for. One that takes the place of a built-in one and was written for a system that the lake
    /// stands in for is not looked for, except DuckDB's: its statements are that system's.
    pub(crate) fn materialization_adapters(&self, name: &str) -> Vec<&str> {
        if self.target.runs_in.is_some() {
            return vec!["postgres", "default"];
        }
        if self.target.is_for_duckdb() {
            return vec!["tidemill", "duckdb", "default", "postgres"];
        }
        let mut adapters = vec!["tidemill", "postgres", "default"];
        let of_profile = self.target.extra.get("type").and_then(Value::as_str);
        adapters.extend(of_profile.filter(|kind| !is_built_in(name) && !adapters.contains(kind)));
        adapters
    }

    /// The macro of an incremental model's strategy, when the project has one of its own
    /// (`get_incremental_NAME_sql`): its name.
    pub fn strategy_macro(&self, node: &Node) -> Option<&str> {
        let strategy = node.config.incremental_strategy.as_deref()?;
        let name = format!("get_incremental_{}_sql", strategy.replace('+', "_"));
        let packages = [self.settings.name.as_str(), node.package_name.as_str()];
        packages.iter().find_map(|package| {
            let id = format!("macro.{package}.{name}");
            self.macros.get(&id).map(|found| found.name.as_str())
        })
    }

    /// The macro of a snapshot's strategy (`snapshot_NAME_strategy`), by its id: one that the project
    /// has, or dbt's own where the project has its own hash or time for it.
    pub fn snapshot_macro(&self, node: &Node) -> Option<String> {
        let strategy = node.config.all.get("strategy").and_then(Value::as_str)?;
        if node.resource_type != ResourceType::Snapshot {
            return None;
        }
        let of = |package: &str, name: &str| {
            let id = format!("macro.{package}.{name}");
            self.macros.contains_key(&id).then_some(id)
        };
        if let Some((package, name)) = strategy.split_once('.') {
            return of(package, &format!("snapshot_{name}_strategy"));
        }
        let packages = [node.package_name.as_str(), self.settings.name.as_str()];
        let own = |name: &str| packages.iter().find_map(|package| of(package, name));
        if let Some(id) = own(&format!("snapshot_{strategy}_strategy")) {
            return Some(id);
        }
        let parts = ["snapshot_hash_arguments", "snapshot_get_time"];
        let replaced = parts.iter().any(|part| {
            let prefixes = ["", "tidemill__", "postgres__", "default__"];
            prefixes.iter().any(|prefix| own(&format!("{prefix}{part}")).is_some())
        });
        let known = matches!(strategy, "timestamp" | "check");
        (replaced && known).then(|| format!("macro.dbt.snapshot_{strategy}_strategy"))
    }

    /// A macro of the project that dbt would call for a snapshot and that is not called here: one of
    /// those that dbt's own materialization is made of.
    pub fn unheeded_snapshot_macro(&self, node: &Node) -> Option<&MacroNode> {
        const PARTS: [&str; 7] = [
            "snapshot_staging_table",
            "build_snapshot_staging_table",
            "build_snapshot_table",
            "snapshot_merge_sql",
            "post_snapshot",
            "get_snapshot_table_column_names",
            "get_dbt_valid_to_current",
        ];
        if node.resource_type != ResourceType::Snapshot
            || self.materialization_macro(node).is_some()
        {
            return None;
        }
        let packages = [node.package_name.as_str(), self.settings.name.as_str()];
        PARTS.iter().find_map(|part| {
            let prefixes = ["", "tidemill__", "postgres__", "default__"];
            let ids = prefixes.iter().flat_map(|prefix| {
                packages.iter().map(move |package| format!("macro.{package}.{prefix}{part}"))
            });
            ids.into_iter().find_map(|id| self.macros.get(&id))
        })
    }

    /// What this reads; empty for an id that does not exist.
    pub fn parents_of(&self, id: &UniqueId) -> &[UniqueId] {
        self.parents.get(id).map_or(&[], Vec::as_slice)
    }

    /// Who reads this; empty for an id that does not exist.
    pub fn children_of(&self, id: &UniqueId) -> &[UniqueId] {
        self.children.get(id).map_or(&[], Vec::as_slice)
    }

    /// The data tests, in order.
    pub fn tests(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.resource_type == ResourceType::Test)
    }

    /// The data tests that read this node or source.
    pub fn tests_of<'a>(&'a self, id: &UniqueId) -> impl Iterator<Item = &'a Node> {
        self.children_of(id)
            .iter()
            .filter_map(|child| self.nodes.get(child))
            .filter(|node| node.resource_type == ResourceType::Test)
    }

    /// The unit tests, in order.
    pub fn unit_tests(&self) -> impl Iterator<Item = (&Node, &Arc<UnitTestSpec>)> {
        self.nodes.values().filter_map(|node| Some((node, node.unit_test.as_ref()?)))
    }

    /// The node or source that owns a relation, by its name in the lake. Ephemeral models and
    /// tests own none. Linear: make a map for many.
    pub fn owner_of(&self, relation: &RelationName) -> Option<&UniqueId> {
        self.nodes
            .values()
            .filter(|node| node.is_relational())
            .find(|node| node.schema == relation.schema() && node.alias == relation.name())
            .map(|node| &node.unique_id)
            .or_else(|| {
                self.sources
                    .values()
                    .find(|source| {
                        source.schema == relation.schema() && source.identifier == relation.name()
                    })
                    .map(|source| &source.unique_id)
            })
    }

    /// All ids so that each stands after what it reads. The graph has no cycles: a project with
    /// one does not load.
    pub fn topological(&self) -> Vec<UniqueId> {
        let mut waiting: IndexMap<&UniqueId, usize> =
            self.parents.iter().map(|(id, parents)| (id, parents.len())).collect();
        let mut ready: std::collections::VecDeque<&UniqueId> =
            waiting.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(id) = ready.pop_front() {
            order.push(id.clone());
            for child in self.children_of(id) {
                if let Some(count) = waiting.get_mut(child) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push_back(child);
                    }
                }
            }
        }
        order
    }
}

/// Whether a materialization is there without the project writing one.
fn is_built_in(name: &str) -> bool {
    matches!(name, "view" | "table" | "incremental" | "ephemeral" | "snapshot")
}

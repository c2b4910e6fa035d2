//! A node, its columns and a macro as the manifest and templates have them, written field by field:
//! a project of thousands of nodes never stands in memory as JSON values.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use tidemill_core::UniqueId;

use super::{checksum, constraint, of_semantics, version_json, with_time};
use crate::manifest::{
    Column, GenericTest, MacroNode, Node, RefCall, ResourceType, SourceCall, TestKind, TestTarget,
};

/// A node; see the module.
pub(super) struct NodeView<'a> {
    pub(super) node: &'a Node,
    /// What tests and constraints say of a model's key. `None`: not looked for.
    pub(super) primary_key: Option<Vec<String>>,
    /// The blocks that its descriptions are made of.
    pub(super) blocks: Vec<Blocks<'a>>,
    /// What only the written manifest has.
    pub(super) written: Option<Written<'a>>,
}

/// The docs blocks of a description: of the node's, or of a column's.
pub(super) type Blocks<'a> = (Option<&'a str>, &'a [String]);

/// Those of one description.
fn blocks_of<'a>(blocks: &[Blocks<'a>], column: Option<&str>) -> &'a [String] {
    blocks.iter().find(|(of, _)| *of == column).map_or(&[], |(_, blocks)| blocks)
}

/// See [`NodeView::written`].
pub(super) struct Written<'a> {
    pub(super) created_at: f64,
    /// The compiled SQL, where the node was compiled.
    pub(super) compiled: Option<&'a str>,
    /// Whether the SQL that was executed is written.
    pub(super) executed: bool,
    /// The macros that it has called only when it was rendered to run.
    pub(super) late_macros: &'a [String],
    pub(super) target_path: &'a str,
}

impl<'a> NodeView<'a> {
    /// The node alone.
    pub(super) fn new(node: &'a Node) -> Self {
        NodeView { node, primary_key: None, blocks: Vec::new(), written: None }
    }

    /// As a value. A node always is one.
    pub(super) fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Checksum<'a> {
    name: &'static str,
    checksum: &'a str,
}

#[derive(Serialize)]
pub(super) struct Docs {
    show: bool,
    node_color: Option<&'static str>,
}

/// What dbt writes where nothing is said.
pub(super) const DOCS: Docs = Docs { show: true, node_color: None };

/// What the node's configuration says of its documentation.
fn docs_of(node: &Node) -> Value {
    let said = node.config.get("docs").and_then(Value::as_object);
    let part = |key: &str| said.and_then(|said| said.get(key)).cloned();
    json!({
        "show": part("show").unwrap_or(Value::Bool(DOCS.show)),
        "node_color": part("node_color").unwrap_or_default(),
    })
}

#[derive(Serialize)]
struct DependsOn<'a> {
    macros: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<&'a [UniqueId]>,
}

#[derive(Serialize)]
struct Contract {
    enforced: bool,
    alias_types: bool,
    checksum: Option<String>,
}

struct List<'a, T>(&'a [T]);

#[derive(Serialize)]
struct Ref<'a> {
    name: &'a str,
    package: &'a Option<String>,
    version: Value,
}

impl Serialize for List<'_, RefCall> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|call| Ref {
            name: &call.name,
            package: &call.package,
            version: version_json(call.version.as_deref()),
        }))
    }
}

impl Serialize for List<'_, SourceCall> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|call| [&call.source, &call.table]))
    }
}

const NOTHING: [&str; 0] = [];

impl Serialize for NodeView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node = self.node;
        let mut map = serializer.serialize_map(None)?;
        macro_rules! put {
            ($($key:literal: $value:expr,)*) => { $(map.serialize_entry($key, &$value)?;)* };
        }
        let build_path = self
            .written
            .as_ref()
            .filter(|written| written.executed)
            .map(|written| written_path(written, "run", node));
        put! {
            "database": node.database,
            "schema": node.schema,
            "name": node.name,
            "resource_type": node.resource_type.as_str(),
            "package_name": node.package_name,
            "path": node.path,
            "original_file_path": node.original_file_path,
            "unique_id": node.unique_id,
            "fqn": node.fqn,
            "alias": node.alias,
            "checksum": Checksum {
                name: checksum_name(&node.checksum),
                checksum: &node.checksum,
            },
            "config": node.config.all,
            "tags": node.tags,
            "description": node.description,
            "columns": Columns(node.columns.values(), &self.blocks),
            "meta": node.meta,
            "group": node.group,
            "docs": docs_of(node),
            "patch_path": node.patch_path,
            "build_path": build_path,
            "unrendered_config": node.unrendered_config,
            "relation_name": node.relation_name(),
            // dbt keeps what stands between the tags of a block, and files without white space around.
            "raw_code": match node.resource_type {
                ResourceType::Snapshot => &*node.raw_code,
                _ => node.raw_code.trim(),
            },
            "doc_blocks": blocks_of(&self.blocks, None),
        }
        let late = self.written.as_ref().map_or(&[][..], |written| written.late_macros);
        let macros: Cow<'_, [String]> = match late {
            [] => Cow::Borrowed(&node.macros),
            late => Cow::Owned([node.macros.as_slice(), late].concat()),
        };
        if node.resource_type == ResourceType::Seed {
            put! {
                "root_path": node.root_path.to_string_lossy(),
                "depends_on": DependsOn { macros: &macros, nodes: None },
            }
            if let Some(written) = &self.written {
                put! { "created_at": written.created_at, }
            }
            return map.end();
        }
        let compiled = self.written.as_ref().and_then(|written| written.compiled);
        let compiled_path = self
            .written
            .as_ref()
            .filter(|_| compiled.is_some())
            .map(|written| written_path(written, "compiled", node));
        put! {
            "language": node.language,
            "refs": List(&node.refs),
            "sources": List(&node.sources),
            "metrics": NOTHING,
            "functions": NOTHING,
            "depends_on": DependsOn { macros: &macros, nodes: Some(&node.depends_on) },
            "compiled_path": compiled_path,
            "contract": Contract {
                enforced: node.config.contract_enforced,
                alias_types: true,
                checksum: checksum::of_contract(node),
            },
        }
        match &node.test {
            Some(test) => {
                if let TestKind::Generic(generic) = &test.kind {
                    // dbt names models only here.
                    let attached = match &generic.target {
                        TestTarget::Ref { .. } => generic.attached.as_ref(),
                        TestTarget::Source { .. } => None,
                    };
                    put! {
                        "column_name": generic.column.as_ref().filter(|_| !generic.column_is_argument),
                        "file_key_name": file_key(generic),
                        "attached_node": attached,
                        "test_metadata": TestMetadata(generic),
                    }
                }
            }
            None if node.resource_type == ResourceType::Model => {
                let constraints: Vec<Value> =
                    node.constraints.iter().map(|one| constraint(one, true)).collect();
                let mut time_spine = node.properties.get("time_spine").cloned().unwrap_or_default();
                if let Value::Object(spine) = &mut time_spine {
                    spine.entry("custom_granularities").or_insert_with(|| json!([]));
                }
                put! {
                    "access": node.access,
                    "constraints": constraints,
                    "version": version_json(node.version.as_deref()),
                    "latest_version": version_json(node.latest_version.as_deref()),
                    "deprecation_date": node.deprecation_date.as_deref().map(with_time),
                    "primary_key": self.primary_key.as_deref().unwrap_or_default(),
                    "time_spine": time_spine,
                }
            }
            None => {}
        }
        if let Some(written) = &self.written {
            put! {
                "created_at": written.created_at,
            }
            if let Some(sql) = compiled {
                put! {
                    "compiled": true,
                    "compiled_code": sql,
                    "extra_ctes_injected": true,
                    "extra_ctes": NOTHING,
                }
            }
        }
        map.end()
    }
}

/// Where a node's SQL is written.
fn written_path(written: &Written<'_>, folder: &str, node: &Node) -> String {
    let path = format!(
        "{}/{folder}/{}/{}",
        written.target_path, node.package_name, node.original_file_path
    );
    match node.test.as_ref().map(|test| &test.kind) {
        Some(TestKind::Generic(_)) => format!("{path}/{}", node.path),
        _ if node.resource_type == ResourceType::Snapshot => format!("{path}/{}.sql", node.name),
        _ => path,
    }
}

/// What a checksum is of: a large seed has its path for one.
fn checksum_name(checksum: &str) -> &'static str {
    let is_hex = checksum.len() == 64 && checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (checksum.is_empty(), is_hex) {
        (true, _) => "none",
        (false, true) => "sha256",
        (false, false) => "path",
    }
}

fn file_key(generic: &GenericTest) -> String {
    match &generic.target {
        TestTarget::Ref { name, .. } => {
            let folder = generic
                .attached
                .as_ref()
                .and_then(|id| id.as_str().split('.').next())
                .unwrap_or("model");
            format!("{folder}s.{name}")
        }
        TestTarget::Source { source, .. } => format!("sources.{source}"),
    }
}

struct TestMetadata<'a>(&'a GenericTest);

impl Serialize for TestMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("name", &self.0.name)?;
        map.serialize_entry("kwargs", &Arguments(self.0))?;
        map.serialize_entry("namespace", &self.0.namespace)?;
        map.end()
    }
}

/// The arguments of a test with its column and its model.
struct Arguments<'a>(&'a GenericTest);

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let generic = self.0;
        let mut map = serializer.serialize_map(None)?;
        let own =
            |name: &str| name == "model" || (generic.column.is_some() && name == "column_name");
        let mut column = generic.column.as_ref();
        for (index, (name, value)) in generic.arguments.iter().enumerate() {
            if generic.column_at == Some(index)
                && let Some(column) = column.take()
            {
                map.serialize_entry("column_name", column)?;
            }
            if !own(name) {
                map.serialize_entry(name, value)?;
            }
        }
        if let Some(column) = column {
            map.serialize_entry("column_name", column)?;
        }
        map.serialize_entry("model", &crate::data_test::model_argument(&generic.target))?;
        map.end()
    }
}

/// Columns by name.
pub(super) struct Columns<'b, I>(pub(super) I, pub(super) &'b [Blocks<'b>]);

impl<'a, I: Iterator<Item = &'a Column> + Clone> Serialize for Columns<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.clone().map(|column| {
            (&column.name, ColumnView(column, blocks_of(self.1, Some(&column.name))))
        }))
    }
}

struct ColumnView<'a>(&'a Column, &'a [String]);

#[derive(Serialize)]
struct ColumnConfig<'a> {
    meta: &'a Map<String, Value>,
    tags: &'a [String],
}

impl Serialize for ColumnView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let column = self.0;
        let constraints: Vec<Value> =
            column.constraints.iter().map(|one| constraint(one, false)).collect();
        let mut map = serializer.serialize_map(Some(12))?;
        map.serialize_entry("name", &column.name)?;
        map.serialize_entry("description", &column.description)?;
        map.serialize_entry("meta", &column.meta)?;
        map.serialize_entry("data_type", &column.data_type)?;
        map.serialize_entry("constraints", &constraints)?;
        map.serialize_entry("quote", &column.quote)?;
        map.serialize_entry("config", &ColumnConfig { meta: &column.meta, tags: &column.tags })?;
        map.serialize_entry("tags", &column.tags)?;
        map.serialize_entry("granularity", &column.granularity)?;
        let dimension = of_semantics(column, column.dimension.as_ref(), true);
        map.serialize_entry("dimension", &dimension)?;
        map.serialize_entry("entity", &of_semantics(column, column.entity.as_ref(), false))?;
        map.serialize_entry("doc_blocks", self.1)?;
        map.end()
    }
}

/// A macro.
pub(super) struct MacroView<'a> {
    pub(super) node: &'a MacroNode,
    pub(super) created_at: f64,
}

#[derive(Serialize)]
struct MacroConfig<'a> {
    meta: &'a Map<String, Value>,
    docs: Docs,
}

impl Serialize for MacroView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node = self.node;
        let mut map = serializer.serialize_map(Some(16))?;
        map.serialize_entry("name", &node.name)?;
        map.serialize_entry("resource_type", "macro")?;
        map.serialize_entry("package_name", &node.package_name)?;
        map.serialize_entry("path", &node.original_file_path)?;
        map.serialize_entry("original_file_path", &node.original_file_path)?;
        map.serialize_entry("unique_id", &node.unique_id)?;
        map.serialize_entry("macro_sql", &node.macro_sql)?;
        map.serialize_entry("depends_on", &DependsOn { macros: &node.depends_on, nodes: None })?;
        map.serialize_entry("description", &node.description)?;
        map.serialize_entry("meta", &node.meta)?;
        map.serialize_entry("docs", &DOCS)?;
        map.serialize_entry("config", &MacroConfig { meta: &node.meta, docs: DOCS })?;
        map.serialize_entry("patch_path", &node.patch_path)?;
        map.serialize_entry("arguments", &node.arguments)?;
        map.serialize_entry("created_at", &self.created_at)?;
        map.serialize_entry("supported_languages", &None::<&str>)?;
        map.end()
    }
}

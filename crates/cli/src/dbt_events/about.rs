//! What a node is, for its events.

use serde_json::{Value, json};
use tidemill_core::UniqueId;
use tidemill_project::{Manifest, Node, ResourceType, TestKind, TestTarget};

/// A node, a check, a source, an export or a hook, as dbt's events describe it.
pub(super) struct About {
    info: Value,
    pub(super) resource: &'static str,
    /// `table`, `view`, …
    materialized: String,
    /// As lines of results name it.
    pub(super) name: String,
    pub(super) alias: String,
    pub(super) schema: String,
    /// The file that it stands in.
    pub(super) file: String,
    /// The model that a generic test is of.
    pub(super) attached: String,
    /// The configuration of a snapshot, each value as text.
    pub(super) config: Value,
}

impl About {
    pub(super) fn of(node: &Node) -> Self {
        let relation = node.relation_name();
        let materialized = match node.resource_type {
            ResourceType::Test => "test",
            ResourceType::UnitTest => "unit",
            _ => node.config.materialized.as_str(),
        };
        let name = match node.resource_type {
            // Its model's name first: `orders::counts_rows`
            ResourceType::UnitTest => {
                let model = node.unit_test.as_ref().map(|test| test.model.as_str());
                let model = model.and_then(|id| id.splitn(3, '.').nth(2)).unwrap_or_default();
                format!("{model}::{}", node.name)
            }
            _ => node.name.clone(),
        };
        About {
            info: json!({
                "materialized": materialized,
                "meta": node.meta,
                "node_checksum": node.checksum,
                "node_name": node.name,
                "node_path": node.path,
                "node_relation": {
                    "alias": node.alias,
                    "database": node.database,
                    "relation_name": relation.unwrap_or_default(),
                    "schema": node.schema,
                },
                "resource_type": node.resource_type.as_str(),
                "unique_id": node.unique_id,
            }),
            resource: node.resource_type.as_str(),
            materialized: materialized.to_owned(),
            name,
            alias: node.alias.clone(),
            schema: node.schema.clone(),
            file: node.original_file_path.clone(),
            attached: attached(node),
            config: match node.resource_type {
                ResourceType::Snapshot => texts(&node.config.all),
                _ => json!({}),
            },
        }
    }

    /// A node of the project.
    pub(super) fn find(manifest: &Manifest, id: &UniqueId) -> Option<Self> {
        match manifest.node(id) {
            Some(node) => Some(About::of(node)),
            None => {
                let name = id.as_str().strip_prefix("operation.")?;
                Some(About::operation(manifest, id, name))
            }
        }
    }

    /// A hook of the run.
    pub(super) fn operation(manifest: &Manifest, id: &UniqueId, name: &str) -> Self {
        let found = tidemill_project::operation_json(manifest, id).unwrap_or_default();
        let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default();
        About {
            info: json!({
                "materialized": "view",
                "meta": found.get("meta").cloned().unwrap_or_else(|| json!({})),
                "node_checksum": found.pointer("/checksum/checksum").cloned().unwrap_or_default(),
                "node_name": text("name"),
                "node_path": text("path"),
                "node_relation": {
                    "alias": text("alias"), "database": text("database"), "relation_name": "",
                    "schema": text("schema"),
                },
                "resource_type": "operation",
                "unique_id": id,
            }),
            resource: "operation",
            materialized: "view".to_owned(),
            name: name.to_owned(),
            alias: text("alias").to_owned(),
            schema: text("schema").to_owned(),
            file: text("original_file_path").to_owned(),
            attached: String::new(),
            config: json!({}),
        }
    }

    /// Something that is no node: a source, an exposure, a saved query, an export.
    pub(super) fn other(manifest: &Manifest, id: &UniqueId, name: &str) -> Self {
        let source = manifest.source(id);
        let resource = match id.as_str().split('.').next() {
            Some("source") => "source",
            Some("exposure") => "exposure",
            Some("saved_query") => "saved_query",
            _ => "operation",
        };
        let found = match source {
            Some(_) => None,
            None => tidemill_project::resource_json(manifest, id),
        };
        let text = |key: &str| {
            let found = found.as_ref().and_then(|found| found.get(key)?.as_str());
            found.unwrap_or_default().to_owned()
        };
        let file = match source {
            Some(source) => source.original_file_path.clone(),
            None => text("original_file_path"),
        };
        let (schema, database, relation) = match source {
            None => Default::default(),
            Some(source) => {
                (source.schema.clone(), source.database.clone(), source.relation_name())
            }
        };
        let own = match source {
            Some(source) => source.name.clone(),
            None => name.to_owned(),
        };
        About {
            info: json!({
                "materialized": "", "meta": {}, "node_checksum": "", "node_name": own,
                "node_path": match source {
                    Some(source) => source.original_file_path.clone(),
                    None => text("path"),
                },
                "node_relation": {
                    "alias": "", "database": database, "relation_name": relation, "schema": schema,
                },
                "resource_type": resource,
                "unique_id": id,
            }),
            resource,
            materialized: String::new(),
            name: name.to_owned(),
            alias: name.to_owned(),
            schema,
            file,
            attached: String::new(),
            config: json!({}),
        }
    }

    /// `sql table model main.orders`, as dbt describes it.
    pub(super) fn described(&self) -> String {
        let relation = self.relation();
        match self.resource {
            "model" => format!("sql {} model {relation}", self.materialized),
            "seed" => format!("seed file {relation}"),
            "snapshot" => format!("snapshot {relation}"),
            "saved_query" => format!("saved query {}", self.name),
            resource => format!("{resource} {}", self.name),
        }
    }

    /// What is skipped, as dbt describes it.
    pub(super) fn skipped(&self) -> String {
        match self.resource {
            "model" | "seed" | "snapshot" => format!("relation {}", self.relation()),
            resource => format!("{} {}", resource.replace('_', " "), self.name),
        }
    }

    pub(super) fn relation(&self) -> String {
        format!("{}.{}", self.schema, self.alias)
    }

    /// What it counts as in the end: how it is sorted, and its word for one and for many.
    pub(super) fn counted(&self) -> (String, String, String) {
        let one = match self.resource {
            "model" => format!("{} model", self.materialized),
            "test" => "data test".to_owned(),
            "operation" => "project hook".to_owned(),
            resource => resource.replace('_', " "),
        };
        let sorted = if self.resource == "test" { "test".to_owned() } else { one.clone() };
        let many = match one.strip_suffix('y') {
            Some(stem) if self.resource == "saved_query" => format!("{stem}ies"),
            _ => format!("{one}s"),
        };
        (sorted, one, many)
    }

    /// `node_info` of its events.
    pub(super) fn info(&self, status: &str, began: &str, ended: &str) -> Value {
        let mut info = self.info.clone();
        info["node_status"] = status.into();
        info["node_started_at"] = began.into();
        info["node_finished_at"] = ended.into();
        info
    }
}

/// The model that a generic test is of, as dbt says it.
fn attached(node: &Node) -> String {
    let test = node.test.as_ref();
    let found = test.and_then(|test| match &test.kind {
        TestKind::Generic(generic) if matches!(generic.target, TestTarget::Ref { .. }) => {
            generic.attached.as_ref()
        }
        _ => None,
    });
    found.map(|id| id.as_str().to_owned()).unwrap_or_default()
}

/// A configuration with every value as Python writes it; what is not set is left out.
fn texts(config: &serde_json::Map<String, Value>) -> Value {
    config
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.clone(), Value::String(tidemill_project::python_text(value))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

//! Materializations and incremental strategies that a project writes in Jinja.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;
use tidemill_core::{Diagnostic, Diagnostics, RelationName, UniqueId};
use tidemill_jinja::{Args, Budget, State, Value};

use super::context::{Context, ContextHost};
use super::relation::{ColumnObject, Relation};
use super::{described, errors, finish};
use crate::config::{Materialization, unknown_materialization};
use crate::manifest::{Node, ResourceType};
use crate::project::Project;
use crate::snapshot_config::{HardDeletes, SnapshotConfig, SnapshotExpressions, SnapshotStrategy};
use crate::{RelationType, RenderState, Rendered};

impl Project {
    /// Calls the macro that materializes a model with the model's query; its statements go to the
    /// warehouse of the state. Gives what it said, and the relations that it says it made.
    pub fn materialize(
        &self,
        id: &UniqueId,
        sql: &str,
        state: &RenderState,
    ) -> Result<(Rendered, Vec<RelationName>), Diagnostics> {
        let node = self.find(id)?;
        let found = self.manifest().materialization_macro(node).unwrap_or_default();
        let (value, rendered) = self.call_for(node, found, sql, Vec::new(), state)?;
        let relations = value
            .as_dict()
            .and_then(|dict| dict.get_str("relations"))
            .and_then(|relations| relations.to_items())
            .unwrap_or_default();
        let relations = relations
            .iter()
            .filter_map(|relation| relation.downcast::<Relation>()?.name())
            .collect();
        Ok((rendered, relations))
    }

    /// The statements of an incremental strategy that is a macro, for new rows that are in a
    /// relation of their own.
    pub fn increment(
        &self,
        id: &UniqueId,
        strategy: &str,
        rows: &RelationName,
        state: &RenderState,
    ) -> Result<Rendered, Diagnostics> {
        let node = self.find(id)?;
        let database = &self.world().target.database;
        let target = Relation {
            kind: Some(RelationType::Table),
            ..Relation::new(self.world().style(), &node.database, &node.schema, &node.alias)
        };
        let columns = state
            .warehouse
            .columns(&node.relation())
            .map_err(|error| Diagnostics::from_iter([Diagnostic::error("lake", error.report())]))?;
        let columns = columns.unwrap_or_default();
        let config = |key: &str| node.config.all.get(key).map(Value::from).unwrap_or(Value::None);
        let arguments = Value::dict([
            ("target_relation", target.value()),
            (
                "temp_relation",
                Relation::of_name(self.world().style(), database, rows, RelationType::Table)
                    .value(),
            ),
            ("unique_key", config("unique_key")),
            (
                "dest_columns",
                Value::list(columns.iter().map(|column| ColumnObject::of(column).value())),
            ),
            ("incremental_predicates", config("incremental_predicates")),
        ]);
        let packages = [&self.manifest().settings.name, &node.package_name];
        let found = packages
            .iter()
            .map(|package| format!("macro.{package}.{strategy}"))
            .find(|id| self.manifest().macros.contains_key(id))
            .unwrap_or_default();
        let (value, rendered) = self.call_for(node, &found, "", vec![arguments], state)?;
        Ok(Rendered { sql: value.to_string(), ..rendered })
    }

    /// What a snapshot's strategy says, which is a macro (by its id): the snapshot's settings with
    /// its expressions in them.
    pub fn snapshot_strategy(
        &self,
        id: &UniqueId,
        found: &str,
        sql: &str,
        exists: bool,
        state: &RenderState,
    ) -> Result<(SnapshotConfig, Rendered), Diagnostics> {
        let node = self.find(id)?;
        let wrong = |message: String| {
            Diagnostics::from_iter([Diagnostic::error("snapshot-strategy", message)])
        };
        let Some(config) = &node.config.snapshot else {
            return Err(wrong(format!("{} is not a snapshot", described(node))));
        };
        let arguments = vec![
            locals(node, sql).remove("model").unwrap_or(Value::None),
            Value::from("snapshotted_data"),
            Value::from("source_data"),
            Value::from(&Json::Object(node.config.all.clone())),
            Value::from(exists),
        ];
        let (value, rendered) = self.call_for(node, found, sql, arguments, state)?;
        let Some(strategy) = value.as_dict() else {
            return Err(wrong(format!(
                "the macro of the strategy must return a mapping, not {}",
                value.type_name()
            ))
            .into_iter()
            .map(|diagnostic| {
                diagnostic.hint(
                    "`{% do return({'unique_key': …, 'updated_at': …, 'row_changed': …, 'scd_id': …}) %}`",
                )
            })
            .collect());
        };
        let given = |key: &str| strategy.get_str(key).filter(|value| !value.is_none());
        let expression = |key: &str| {
            let text = given(key).map(|value| value.to_string().trim().to_owned());
            text.filter(|text| !text.is_empty())
                .ok_or_else(|| wrong(format!("the macro of the strategy gives no `{key}`")))
        };
        let unique_key = match given("unique_key") {
            Some(key) => match key.to_items() {
                Some(keys) => keys.iter().map(ToString::to_string).collect(),
                None => vec![key.to_string()],
            },
            None => config.unique_key.clone(),
        };
        if unique_key.is_empty() {
            return Err(wrong("the macro of the strategy gives no `unique_key`".to_owned()));
        }
        let hard_deletes = match given("hard_deletes").as_ref().and_then(Value::as_str) {
            Some("new_record") => HardDeletes::NewRecord,
            Some("invalidate") => HardDeletes::Invalidate,
            Some(_) => HardDeletes::Ignore,
            None => match given("invalidate_hard_deletes").is_some_and(|value| value.is_true()) {
                true => HardDeletes::Invalidate,
                false => HardDeletes::Ignore,
            },
        };
        let text = |name: &str, arguments: Vec<Value>| {
            let macros = &self.world().macros;
            let found = macros.by_name(name, &node.package_name, &node.package_name);
            let found = found.ok_or_else(|| wrong(format!("there is no macro `{name}`")))?;
            let id = format!("macro.{}.{}", found.package(), found.name());
            let (value, _) = self.call_for(node, &id, sql, arguments, state)?;
            Ok(value.to_string().trim().to_owned())
        };
        let now = text("snapshot_get_time", Vec::new())?;
        let kept = format!("snapshotted_data.{}", super::relation::quoted(&config.columns.scd_id));
        let parts = Value::list([Value::from(kept), Value::from(now.as_str())]);
        let expressions = SnapshotExpressions {
            updated_at: expression("updated_at")?,
            row_changed: expression("row_changed")?,
            scd_id: expression("scd_id")?,
            deletion_id: text("snapshot_hash_arguments", vec![parts])?,
            now,
        };
        let strategy = SnapshotStrategy::Expressions(expressions);
        Ok((SnapshotConfig { strategy, unique_key, hard_deletes, ..config.clone() }, rendered))
    }

    /// Calls a macro, by its id, in the context of a node.
    fn call_for(
        &self,
        node: &Node,
        id: &str,
        sql: &str,
        arguments: Vec<Value>,
        state: &RenderState,
    ) -> Result<(Value, Rendered), Diagnostics> {
        let (value, rendered, _) = self.call(node, id, sql, arguments, state)?;
        Ok((value, rendered))
    }

    /// Calls a macro; gives also what its statements have stored.
    fn call(
        &self,
        node: &Node,
        id: &str,
        sql: &str,
        arguments: Vec<Value>,
        state: &RenderState,
    ) -> Result<(Value, Rendered, HashMap<String, Value>), Diagnostics> {
        let missing = || {
            let message = format!("{}: its macro is not there", described(node));
            Diagnostics::from_iter([Diagnostic::error("unknown-macro", message)])
        };
        let (package, name) =
            id.strip_prefix("macro.").and_then(|id| id.split_once('.')).ok_or_else(missing)?;
        let found = self.world().macros.in_package(package, name).ok_or_else(missing)?;
        let mut context = self.context_of(node, state);
        context.locals = locals(node, sql);
        let context = Arc::new(context);
        let host = ContextHost { context: context.clone() };
        let mut running = State::new(&host, found.package().clone(), Budget::of_runs());
        let value = found
            .call(&Args::new(arguments, []), &mut running)
            .map_err(|error| errors::diagnostics(&error, &described(node)))?;
        let mut record = Context::take_record(&context);
        let results = std::mem::take(&mut record.results);
        Ok((value, finish(record, String::new()), results))
    }
}

/// What a materialization in a database came to.
#[derive(Debug, Clone, Default)]
pub struct Materialized {
    /// What it said.
    pub rendered: Rendered,
    /// The relations that it says it made.
    pub relations: Vec<RelationName>,
    /// What its main statement was: `SELECT 100`.
    pub message: Option<String>,
    /// Rows that its main statement concerned.
    pub rows: Option<u64>,
}

impl Project {
    /// Calls the macro that materializes a model, a seed or a snapshot in a database: the project's,
    /// or the built-in one.
    pub fn materialize_in_database(
        &self,
        id: &UniqueId,
        sql: &str,
        state: &RenderState,
    ) -> Result<Materialized, Diagnostics> {
        let node = self.find(id)?;
        let built_in = match node.resource_type {
            ResourceType::Seed => "seed",
            ResourceType::Snapshot => "snapshot",
            _ => node.config.materialized.as_str(),
        };
        let found = match self.manifest().materialization_macro(node) {
            Some(found) => found.to_owned(),
            None if matches!(node.config.materialized, Materialization::Other(_)) => {
                let (message, hint) = unknown_materialization(built_in);
                let diagnostic = Diagnostic::error("unknown-materialization", message);
                let diagnostic = diagnostic.at(node.position.clone()).hint(hint);
                return Err(Diagnostics::from_iter([diagnostic]));
            }
            None => format!("macro.dbt.materialization_{built_in}_default"),
        };
        let (value, rendered, results) = self.call(node, &found, sql, Vec::new(), state)?;
        let relations = value
            .as_dict()
            .and_then(|dict| dict.get_str("relations"))
            .and_then(|relations| relations.to_items())
            .unwrap_or_default();
        let main = results.get("main").and_then(|main| main.as_dict()?.get_str("response"));
        let part =
            |key: &str| main.as_ref().and_then(|main| main.to_json().ok()?.get(key).cloned());
        Ok(Materialized {
            rendered,
            relations: relations
                .iter()
                .filter_map(|relation| relation.downcast::<Relation>()?.name())
                .collect(),
            message: part("_message").and_then(|text| text.as_str().map(str::to_owned)),
            rows: part("rows_affected").and_then(|rows| rows.as_u64()),
        })
    }
}

/// The query, in the places where macros look for it.
fn locals(node: &Node, sql: &str) -> HashMap<String, Value> {
    let mut model = crate::artifact::node_json(node);
    if let Json::Object(fields) = &mut model {
        fields.insert("compiled".to_owned(), true.into());
        fields.insert("compiled_code".to_owned(), sql.into());
        fields.insert("compiled_sql".to_owned(), sql.into());
    }
    HashMap::from([
        ("sql".to_owned(), Value::from(sql)),
        ("compiled_code".to_owned(), Value::from(sql)),
        ("model".to_owned(), Value::from(&model)),
    ])
}

//! What a unit test runs: the model's query over rows that the test makes up, in the types that
//! these columns have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use serde_json::{Map, Value};
use tidemill_core::{
    Error, ErrorKind, Overlay, OverlayEntry, QueryContext, RelationName, Result, UniqueId,
};
use tidemill_project::{
    FixtureRows, Node, RenderState, ResourceType, SourceTable, UnitTestSpec, UnitTestState,
};
use tidemill_run::{RenderRequest, UnitTestCase};

use crate::renderer::{ProjectRenderer, template_error};
use crate::types;

impl ProjectRenderer {
    /// The queries of a unit test. Asks the lake for the types of columns, and changes nothing.
    pub(crate) fn unit_test_case(
        &self,
        node: &Node,
        spec: &UnitTestSpec,
        request: &RenderRequest,
    ) -> Result<UnitTestCase> {
        let manifest = self.project.manifest();
        let model = self.node(&spec.model)?;
        if model.language != "sql" {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a unit test cannot test a Python model, whose code would read the lake itself",
            )
            .with("model", &model.name));
        }
        let state = RenderState {
            unit_test: Some(Arc::new(UnitTestState {
                name: node.name.clone(),
                inputs: spec.inputs(),
                overrides: spec.overrides.clone(),
            })),
            ..self.state(request)
        };
        let mut planned = request.context.overlay.0.as_ref().clone();
        let mut overlay = planned.clone();
        for input in &spec.given {
            let Some(relation) = manifest.relation_of(&input.node) else {
                return Err(Error::new(ErrorKind::Internal, "an input is not in the project"));
            };
            let sql = match &input.rows {
                FixtureRows::Sql(text) => self
                    .project
                    .render_for(&model.unique_id, text, &state)
                    .map_err(template_error)?
                    .running()
                    .to_owned(),
                FixtureRows::Rows(rows) => {
                    let schema = self
                        .columns_of(&input.node, &mut planned, request)
                        .map_err(|error| error.with("input", &input.input))?;
                    let what = format!("the input `{}`", input.input);
                    query_of_rows(rows, &schema, &columns(&schema), &what)?
                }
            };
            overlay.insert(relation, OverlayEntry::View(sql));
        }
        let context =
            QueryContext { overlay: Overlay(Arc::new(overlay.clone())), ..request.context.clone() };
        let request = RenderRequest { context: context.clone(), ..request.clone() };
        let state = RenderState { unit_test: state.unit_test, ..self.state(&request) };
        let rendered =
            self.project.render_node(&model.unique_id, &state).map_err(template_error)?;
        self.keep(node, &rendered.sql)?;
        let rendered = self.running(node, rendered)?;
        let schema = self.describe(&rendered.sql, &context)?;
        let (names, expected) = match &spec.expect {
            FixtureRows::Sql(text) => {
                let sql = self
                    .project
                    .render_for(&model.unique_id, text, &state)
                    .map_err(template_error)?
                    .running()
                    .to_owned();
                let found = self.describe(&sql, &context)?;
                let names = columns(&found)
                    .iter()
                    .map(|name| known(name, &schema, "the expected rows"))
                    .collect::<Result<Vec<String>>>()?;
                let selected: Vec<String> = columns(&found)
                    .iter()
                    .zip(&names)
                    .map(|(name, own)| cast(&quoted(name), own, &schema))
                    .collect();
                (names, format!("select {} from (\n{sql}\n) as expected", selected.join(", ")))
            }
            FixtureRows::Rows(rows) if rows.is_empty() => {
                let names = columns(&schema);
                let sql = query_of_rows(rows, &schema, &names, "the expected rows")?;
                (names, sql)
            }
            FixtureRows::Rows(rows) => {
                let mut names: Vec<String> = Vec::new();
                for key in rows.iter().flat_map(Map::keys) {
                    let name = known(key, &schema, "the expected rows")?;
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                let sql = query_of_rows(rows, &schema, &names, "the expected rows")?;
                (names, sql)
            }
        };
        let selected: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        let actual =
            format!("select {} from (\n{}\n) as actual", selected.join(", "), rendered.sql);
        Ok(UnitTestCase { actual, expected, overlay: context.overlay })
    }

    fn describe(&self, sql: &str, context: &QueryContext) -> Result<SchemaRef> {
        // Templates and their like may run on the runtime's own threads.
        let answer = self.engine.describe(sql, context);
        Ok(tokio::task::block_in_place(|| self.runtime.block_on(answer))?.schema)
    }

    /// The columns of a node or source: of what is published, or of what would be built.
    fn columns_of(
        &self,
        id: &UniqueId,
        planned: &mut BTreeMap<RelationName, OverlayEntry>,
        request: &RenderRequest,
    ) -> Result<SchemaRef> {
        let manifest = self.project.manifest();
        let context = |planned: &BTreeMap<RelationName, OverlayEntry>| QueryContext {
            overlay: Overlay(Arc::new(planned.clone())),
            ..request.context.clone()
        };
        let relation = manifest
            .relation_of(id)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "an input is not in the project"))?;
        match planned.get(&relation) {
            Some(OverlayEntry::Staged(staged)) => return Ok(staged.schema.clone()),
            Some(OverlayEntry::View(sql)) => return self.describe(sql, &context(planned)),
            _ => {}
        }
        if let Some(published) = request.context.snapshot.get(&relation) {
            return Ok(published.schema.clone());
        }
        if let Some(source) = manifest.source(id) {
            let sql = declared(source)?;
            planned.insert(relation, OverlayEntry::View(sql.clone()));
            return self.describe(&sql, &context(planned));
        }
        let node = self.node(id)?;
        if node.resource_type == ResourceType::Seed {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "the seed `{}` is not loaded, so the types of its columns are not known",
                    node.name
                ),
            )
            .with("hint", "run `tidemill seed` first"));
        }
        // What it reads may not be there either.
        let mut waiting: Vec<UniqueId> = manifest.parents_of(id).to_vec();
        let mut seen: BTreeSet<UniqueId> = BTreeSet::new();
        while let Some(parent) = waiting.pop() {
            if !seen.insert(parent.clone()) {
                continue;
            }
            if manifest.node(&parent).is_some_and(Node::is_ephemeral) {
                waiting.extend(manifest.parents_of(&parent).iter().cloned());
                continue;
            }
            self.columns_of(&parent, planned, request)?;
        }
        let context = context(planned);
        let state = self.state(&RenderRequest { context: context.clone(), ..request.clone() });
        let rendered = self.project.render_node(id, &state).map_err(template_error)?;
        let sql = rendered.running().to_owned();
        let schema = self.describe(&sql, &context)?;
        planned.insert(relation, OverlayEntry::View(sql));
        Ok(schema)
    }
}

fn columns(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The column that a fixture means: names are compared without case, as dbt does.
fn known(name: &str, schema: &Schema, what: &str) -> Result<String> {
    let exact = schema.fields().iter().find(|field| field.name() == name);
    let field = exact
        .or_else(|| schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(name)));
    field.map(|field| field.name().clone()).ok_or_else(|| {
        let error =
            Error::new(ErrorKind::Config, format!("the column `{name}` of {what} does not exist"));
        let names = columns(schema);
        match tidemill_project::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => error.with("hint", format!("did you mean `{near}`?")),
            None => error.with("columns", names.join(", ")),
        }
    })
}

/// An expression in the type of a column.
fn cast(expression: &str, column: &str, schema: &Schema) -> String {
    let Ok(field) = schema.field_with_name(column) else { return expression.to_owned() };
    let name = quoted(column);
    match field.data_type() {
        DataType::Struct(_) | DataType::Map(_, _) => {
            format!("arrow_cast({expression}, '{}') as {name}", field.data_type())
        }
        data_type => format!("cast({expression} as {}) as {name}", types::name(data_type)),
    }
}

/// The query of made-up rows: every value is written as text and read in its column's type.
fn query_of_rows(
    rows: &[Map<String, Value>],
    schema: &Schema,
    names: &[String],
    what: &str,
) -> Result<String> {
    if rows.is_empty() {
        let columns: Vec<String> = names.iter().map(|name| cast("null", name, schema)).collect();
        return Ok(format!("select {} limit 0", columns.join(", ")));
    }
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let mut values: BTreeMap<String, &Value> = BTreeMap::new();
        for (key, value) in row {
            values.insert(known(key, schema, what)?, value);
        }
        let texts: Vec<String> =
            names.iter().map(|name| literal(values.get(name).copied())).collect();
        lines.push(format!("({})", texts.join(", ")));
    }
    let columns: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(number, name)| cast(&format!("column{}", number + 1), name, schema))
        .collect();
    Ok(format!(
        "select {} from (values\n  {}\n) as fixture",
        columns.join(", "),
        lines.join(",\n  ")
    ))
}

/// A value of a fixture as text of SQL.
pub(crate) fn literal(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return "null".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    format!("'{}'", text.replace('\'', "''"))
}

/// A source that is not there, as its columns are declared.
fn declared(source: &SourceTable) -> Result<String> {
    let types = source.declared_types();
    if types.is_empty() || types.len() < source.columns.len() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "the source table `{}.{}` is not there, so the types of its columns are not known",
                source.source_name, source.name
            ),
        )
        .with("hint", "load it first, or declare its columns with `data_type`"));
    }
    let columns: Vec<String> = types
        .iter()
        .map(|(name, data_type)| format!("cast(null as {data_type}) as {}", quoted(name)))
        .collect();
    Ok(format!("select {} limit 0", columns.join(", ")))
}

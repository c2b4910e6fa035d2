//! Unit tests in a database: the rows of a test are common table expressions in place of what its
//! model reads, in the types that these columns have there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tidemill_core::{
    CheckId, DatabaseColumn, DatabaseSession, Error, ErrorKind, RelationName, Result, UniqueId,
};
use tidemill_project::{FixtureRows, RenderState, UnitTestState};
use tidemill_run::{DatabaseRequest, DatabaseUnitTest};

use super::InDatabase;
use crate::renderer::template_error;
use crate::unit_tests::literal;

impl InDatabase {
    /// The queries of a unit test.
    pub(super) fn unit_test_queries(
        &self,
        id: &CheckId,
        request: &DatabaseRequest,
    ) -> Result<DatabaseUnitTest> {
        let node = self.renderer.node(id)?;
        let Some(spec) = &node.unit_test else {
            return Err(
                Error::new(ErrorKind::Internal, "the node is not a unit test").with("node", id)
            );
        };
        let model = self.renderer.node(&spec.model)?;
        let project = &self.renderer.project;
        let state = RenderState {
            unit_test: Some(Arc::new(UnitTestState {
                name: node.name.clone(),
                inputs: spec.inputs(),
                overrides: spec.overrides.clone(),
            })),
            ..self.state(request)
        };
        let mut expressions: Vec<(String, String)> = Vec::new();
        for input in &spec.given {
            let name = project.unit_test_name(&input.node);
            let sql = match &input.rows {
                FixtureRows::Sql(text) => {
                    project.render_for(&model.unique_id, text, &state).map_err(template_error)?.sql
                }
                FixtureRows::Rows(rows) => {
                    let columns = self
                        .columns_of(&input.node, request)
                        .map_err(|error| error.with("input", &input.input))?;
                    let names: Vec<String> =
                        columns.iter().map(|column| column.name.clone()).collect();
                    query_of_rows(rows, &columns, &names, &format!("the input `{}`", input.input))?
                }
            };
            expressions.push((name, sql));
        }
        let rendered = project.render_node(&model.unique_id, &state).map_err(template_error)?;
        let sql = tidemill_project::with_expressions(&rendered.sql, &expressions);
        self.renderer.keep(node, &sql)?;
        let columns = self.wait(request.session.describe(&sql))?;
        let (names, expected) = match &spec.expect {
            FixtureRows::Sql(text) => {
                let sql =
                    project.render_for(&model.unique_id, text, &state).map_err(template_error)?.sql;
                let found = self.wait(request.session.describe(&sql))?;
                let names = found
                    .iter()
                    .map(|column| known(&column.name, &columns, "the expected rows"))
                    .collect::<Result<Vec<String>>>()?;
                let selected: Vec<String> = found
                    .iter()
                    .zip(&names)
                    .map(|(column, own)| cast(&quoted(&column.name), own, &columns))
                    .collect();
                (names, format!("select {} from (\n{sql}\n) as expected", selected.join(", ")))
            }
            FixtureRows::Rows(rows) => {
                let mut names: Vec<String> = Vec::new();
                for key in rows.iter().flat_map(Map::keys) {
                    let name = known(key, &columns, "the expected rows")?;
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                if rows.is_empty() {
                    names = columns.iter().map(|column| column.name.clone()).collect();
                }
                let sql = query_of_rows(rows, &columns, &names, "the expected rows")?;
                (names, sql)
            }
        };
        let compared: Vec<String> = names.iter().map(|name| compared(name, &columns)).collect();
        let over =
            |sql: &str| format!("select {} from (\n{sql}\n) as compared", compared.join(", "));
        Ok(DatabaseUnitTest { actual: over(&sql), expected: over(&expected) })
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::task::block_in_place(|| self.renderer.runtime.block_on(answer))
    }

    /// The columns of a node or source: of its relation, or of what an ephemeral model gives.
    fn columns_of(&self, id: &UniqueId, request: &DatabaseRequest) -> Result<Vec<DatabaseColumn>> {
        let manifest = self.renderer.project.manifest();
        let session: &Arc<dyn DatabaseSession> = &request.session;
        if let Some(node) = manifest.node(id).filter(|node| node.is_ephemeral()) {
            let state = self.state(request);
            let rendered = self
                .renderer
                .project
                .render_node(&node.unique_id, &state)
                .map_err(template_error)?;
            return self.wait(session.describe(&rendered.sql));
        }
        let relation: RelationName = manifest
            .relation_of(id)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "an input is not in the project"))?;
        if let Some(found) = self.wait(session.columns(&relation))? {
            return Ok(found);
        }
        let declared: Vec<DatabaseColumn> = manifest
            .source(id)
            .map(|source| {
                source
                    .declared_types()
                    .iter()
                    .map(|(name, data_type)| DatabaseColumn {
                        name: name.clone(),
                        data_type: data_type.clone(),
                        comment: None,
                    })
                    .collect()
            })
            .unwrap_or_default();
        if !declared.is_empty() {
            return Ok(declared);
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!("{relation} is not there, so the types of its columns are not known"),
        )
        .with("hint", "build it first, perhaps with --empty"))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The column that a fixture means: names are compared without case, as dbt does.
fn known(name: &str, columns: &[DatabaseColumn], what: &str) -> Result<String> {
    let exact = columns.iter().find(|column| column.name == name);
    let found =
        exact.or_else(|| columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)));
    found.map(|column| column.name.clone()).ok_or_else(|| {
        let error =
            Error::new(ErrorKind::Config, format!("the column `{name}` of {what} does not exist"));
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        match tidemill_project::nearest(name, names.iter().copied()) {
            Some(near) => error.with("hint", format!("did you mean `{near}`?")),
            None => error.with("columns", names.join(", ")),
        }
    })
}

fn type_of<'a>(column: &str, columns: &'a [DatabaseColumn]) -> Option<&'a str> {
    columns.iter().find(|known| known.name == column).map(|known| known.data_type.as_str())
}

/// An expression in the type of a column.
fn cast(expression: &str, column: &str, columns: &[DatabaseColumn]) -> String {
    match type_of(column, columns) {
        Some(data_type) => format!("cast({expression} as {data_type}) as {}", quoted(column)),
        None => expression.to_owned(),
    }
}

/// A column as it is compared: 1.0 and 1.00 are one number.
fn compared(column: &str, columns: &[DatabaseColumn]) -> String {
    let name = quoted(column);
    match type_of(column, columns) {
        Some(data_type) if data_type.starts_with("numeric") && !data_type.ends_with("[]") => {
            format!("trim_scale({name}) as {name}")
        }
        _ => name,
    }
}

/// The query of made-up rows: every value is written as text and read in its column's type.
fn query_of_rows(
    rows: &[Map<String, Value>],
    columns: &[DatabaseColumn],
    names: &[String],
    what: &str,
) -> Result<String> {
    if rows.is_empty() {
        let selected: Vec<String> = names.iter().map(|name| cast("null", name, columns)).collect();
        return Ok(format!("select {} where false", selected.join(", ")));
    }
    let mut parts = Vec::with_capacity(rows.len());
    for row in rows {
        let mut values: BTreeMap<String, &Value> = BTreeMap::new();
        for (key, value) in row {
            values.insert(known(key, columns, what)?, value);
        }
        let selected: Vec<String> = names
            .iter()
            .map(|name| cast(&literal(values.get(name).copied()), name, columns))
            .collect();
        parts.push(format!("select {}", selected.join(", ")));
    }
    Ok(parts.join("\nunion all\n"))
}

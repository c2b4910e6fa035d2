//! What templates may ask of a database, and do in it.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tidemill_connect::postgres::split;
use tidemill_core::{
    Answer, DatabaseColumn, DatabaseRelation, DatabaseSession, Error, ErrorKind, RelationName,
    Result, display_value,
};
use tidemill_project::{CatalogColumn, Executed, QueryTable, RelationType, Sink, Warehouse};
use tidemill_run::Gate;

use super::seeds::Seed;
use crate::renderer::scalar;

/// The text that a node's statements are made from, to tell where an error is.
#[derive(Debug, Clone)]
pub(super) struct NodeText {
    /// The compiled query.
    pub(super) compiled: String,
    /// Where it was written to.
    pub(super) compiled_file: String,
    /// The model's file and its text.
    pub(super) file: String,
    pub(super) raw: String,
}

/// A session as templates see it.
pub(super) struct DatabaseForTemplates {
    pub(super) session: Arc<dyn DatabaseSession>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) text: Option<NodeText>,
    /// Whom a materialization asks before it commits.
    pub(super) gate: Option<Arc<dyn Gate>>,
    /// A materialization runs: its statements are in a transaction.
    pub(super) materializes: bool,
    pub(super) seed: Option<Arc<Seed>>,
    /// The last error of the database, before a template wraps it.
    pub(super) failure: Mutex<Option<Error>>,
}

impl DatabaseForTemplates {
    pub(super) fn new(session: Arc<dyn DatabaseSession>, runtime: tokio::runtime::Handle) -> Self {
        DatabaseForTemplates {
            session,
            runtime,
            text: None,
            gate: None,
            materializes: false,
            seed: None,
            failure: Mutex::default(),
        }
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = tokio::task::block_in_place(|| self.runtime.block_on(answer));
        answer.map_err(|error| self.note(error))
    }

    fn note(&self, error: Error) -> Error {
        let copy = again(&error, error.message().to_owned());
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        error
    }

    /// The last error of the database.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn run(&self, sql: &str) -> Result<Answer> {
        self.wait(async {
            self.session.run(sql).await.map_err(|error| match &self.text {
                Some(text) => located(error, sql, text),
                None => error,
            })
        })
    }
}

/// The same error with another sentence.
fn again(error: &Error, message: String) -> Error {
    error
        .context()
        .iter()
        .fold(Error::new(error.kind(), message), |again, (name, value)| again.with(name, value))
}

/// The error where the user can open it: in the model's file where its line stands there once, else
/// in the compiled one.
fn located(error: Error, sql: &str, text: &NodeText) -> Error {
    let position = error
        .context()
        .iter()
        .find(|(name, _)| *name == "position")
        .and_then(|(_, value)| value.parse::<usize>().ok());
    let compiled = text.compiled.trim();
    let start = sql.find(compiled).filter(|_| !compiled.is_empty());
    let (Some(position), Some(start)) = (position, start) else { return error };
    let before = sql[..start].chars().count();
    let Some(at) = position.checked_sub(before) else { return error };
    let Some((line, column, shown)) = place(compiled, at) else { return error };
    let skipped = text.compiled.len() - text.compiled.trim_start().len();
    let line = line + text.compiled[..skipped].matches('\n').count();
    let mut same = text.raw.lines().enumerate().filter(|(_, own)| own.trim_end() == shown);
    let (file, line) = match (same.next(), same.next()) {
        (Some((number, _)), None) => (&text.file, number + 1),
        _ => (&text.compiled_file, line),
    };
    // PostgreSQL's own line counts from the start of what was sent.
    let sentence: Vec<&str> = error
        .message()
        .lines()
        .scan(false, |caret, line| {
            let own = line.starts_with("LINE ");
            let keep = !own && !*caret;
            *caret = own;
            Some(keep.then_some(line))
        })
        .flatten()
        .collect();
    let margin = " ".repeat(line.to_string().len());
    let message = format!(
        "{}\n{margin}--> {file}:{line}:{column}\n{margin} |\n{line} | {shown}\n{margin} | {}^",
        sentence.join("\n"),
        " ".repeat(column - 1)
    );
    error
        .context()
        .iter()
        .filter(|(name, _)| *name != "position")
        .fold(Error::new(error.kind(), message), |again, (name, value)| again.with(name, value))
}

/// Line and column (from 1) of a place, counted in characters, and the text of its line.
fn place(text: &str, at: usize) -> Option<(usize, usize, &str)> {
    let offset = text.char_indices().map(|(offset, _)| offset).nth(at)?;
    let before = &text[..offset];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let shown = text[start..].split('\n').next().unwrap_or_default();
    let column = text[start..offset].chars().count() + 1;
    Some((before.matches('\n').count() + 1, column, shown.trim_end()))
}

fn kind(kind: DatabaseRelation) -> RelationType {
    match kind {
        DatabaseRelation::Table => RelationType::Table,
        DatabaseRelation::View => RelationType::View,
        DatabaseRelation::MaterializedView => RelationType::MaterializedView,
    }
}

fn columns(columns: &[DatabaseColumn]) -> Vec<CatalogColumn> {
    columns
        .iter()
        .map(|column| CatalogColumn {
            name: column.name.clone(),
            data_type: column.data_type.clone(),
        })
        .collect()
}

/// More rows than this do not belong into a template.
const MOST_ROWS: usize = 1_000_000;

/// The rows of an answer as templates read them.
pub(super) fn table(answer: &Answer) -> Result<QueryTable> {
    let count: usize = answer.batches.iter().map(|batch| batch.num_rows()).sum();
    if count > MOST_ROWS {
        return Err(Error::new(
            ErrorKind::Resources,
            format!("a query of a template gives more than {MOST_ROWS} rows"),
        ));
    }
    let rows = answer
        .batches
        .iter()
        .flat_map(|batch| {
            (0..batch.num_rows()).map(|row| {
                batch.columns().iter().map(|column| scalar(column, row)).collect::<Vec<Value>>()
            })
        })
        .collect();
    Ok(QueryTable { columns: columns(&answer.columns), rows })
}

/// The first value of an answer as text.
pub(super) fn first(answer: &Answer) -> Option<String> {
    let batch = answer.batches.first().filter(|batch| batch.num_rows() > 0)?;
    let column = batch.columns().first()?;
    (!column.is_null(0)).then(|| display_value(column, 0))
}

impl Warehouse for DatabaseForTemplates {
    fn relation(&self, name: &RelationName) -> Result<Option<RelationType>> {
        Ok(self.wait(self.session.relation(name))?.map(kind))
    }

    fn columns(&self, name: &RelationName) -> Result<Option<Vec<CatalogColumn>>> {
        Ok(self.wait(self.session.columns(name))?.map(|found| columns(&found)))
    }

    fn relations(&self, schema: &str) -> Result<Vec<(RelationName, RelationType)>> {
        let found = self.wait(self.session.relations(schema))?;
        Ok(found.into_iter().map(|(name, found)| (name, kind(found))).collect())
    }

    fn schemas(&self) -> Result<Vec<String>> {
        self.wait(self.session.schemas())
    }

    fn query(&self, sql: &str) -> Result<QueryTable> {
        table(&self.run(sql)?)
    }

    fn execute(&self, sql: &str) -> Result<Executed> {
        // A commit inside of a text is one of the materialization's, too.
        if self.materializes
            && self.session.in_transaction()
            && split(sql).iter().any(|statement| statement.ends())
        {
            self.commit()?;
        }
        let answer = self.run(sql)?;
        Ok(Executed { table: table(&answer)?, code: answer.tag, rows_affected: answer.rows })
    }

    fn sink(&self) -> Option<&dyn Sink> {
        if self.materializes { Some(self) } else { None }
    }
}

impl Sink for DatabaseForTemplates {
    fn begin(&self) -> Result<()> {
        self.wait(self.session.begin())
    }

    fn commit(&self) -> Result<()> {
        match &self.gate {
            Some(gate) => gate.commit().map_err(|error| self.note(error)),
            None => self.wait(self.session.commit()),
        }
    }

    fn candidate(&self, name: &RelationName) -> Result<()> {
        match &self.gate {
            Some(gate) => gate.candidate(name).map_err(|error| self.note(error)),
            None => Ok(()),
        }
    }

    fn seed_columns(&self) -> Result<Vec<CatalogColumn>> {
        let seed = self.seed()?;
        self.wait(seed.columns())
    }

    fn load_seed(&self, name: &RelationName) -> Result<u64> {
        let seed = self.seed()?;
        self.wait(async {
            let (columns, rows) = seed.rows().await?;
            self.session.load(name, &columns, rows).await
        })
    }
}

impl DatabaseForTemplates {
    fn seed(&self) -> Result<Arc<Seed>> {
        self.seed.clone().ok_or_else(|| Error::new(ErrorKind::Config, "the node is not a seed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_in_the_models_file_where_its_line_stands_there() {
        let text = NodeText {
            compiled: "\nselect id,\n  wrong\nfrom \"db\".\"s\".\"t\"".to_owned(),
            compiled_file: "target/compiled/p/models/m.sql".to_owned(),
            file: "models/m.sql".to_owned(),
            raw: "{{ config(x=1) }}\nselect id,\n  wrong\nfrom {{ ref('t') }}".to_owned(),
        };
        let sql = "create table m as (\nselect id,\n  wrong\nfrom \"db\".\"s\".\"t\"\n)";
        let error = |at: &str| {
            let position = sql.find(at).unwrap();
            let found =
                Error::new(ErrorKind::Query, "no such column\nLINE 3:   wrong\n          ^");
            located(found.with("position", position).with("sqlstate", "42703"), sql, &text)
        };
        let shown = error("wrong").to_string();
        assert!(
            shown.contains("no such column\n --> models/m.sql:3:3\n  |\n3 |   wrong\n  |   ^"),
            "{shown}"
        );
        assert!(!shown.contains("LINE") && !shown.contains("position"), "{shown}");
        let shown = error("\"db\"").to_string();
        assert!(shown.contains("target/compiled/p/models/m.sql:4:6"), "{shown}");
    }
}

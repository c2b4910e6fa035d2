//! The state of the run that a render belongs to, and what a render gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tidemill_core::{Diagnostics, RelationName, UniqueId};

use super::reads::Reads;
use super::warehouse::{NoWarehouse, Warehouse};
use crate::microbatch::{Batch, BatchSize};
use crate::unit_test::UnitTestOverrides;

/// The span of time whose rows `--sample` reads: from its start, up to but without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleWindow {
    /// The first moment.
    pub start: DateTime<Utc>,
    /// The moment after the last.
    pub end: DateTime<Utc>,
}

impl SampleWindow {
    /// The condition on a column that says when a row happened.
    pub(crate) fn condition(&self, column: &str) -> String {
        let text = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S%.f+00:00");
        format!("{column} >= '{}' and {column} < '{}'", text(self.start), text(self.end))
    }
}

/// The state of the run that a render belongs to. Cheap to clone.
#[derive(Clone)]
pub struct RenderState {
    /// The lake, as this run sees it.
    pub warehouse: Arc<dyn Warehouse>,
    /// `--full-refresh`
    pub full_refresh: bool,
    /// `--store-failures`
    pub store_failures: bool,
    /// `--empty`
    pub empty: bool,
    /// `--sample`
    pub sample: Option<SampleWindow>,
    /// The command: `build`, `run`, `test`, `compile`, …
    pub command: String,
    /// The id of the run.
    pub invocation_id: String,
    /// When the run started.
    pub run_started_at: DateTime<Utc>,
    /// What the clock of a template says.
    pub now: DateTime<Utc>,
    /// Nodes that are read from another environment: where they are there.
    pub deferred: Arc<BTreeMap<UniqueId, RelationName>>,
    /// The selected nodes (`selected_resources`).
    pub selected: Arc<[UniqueId]>,
    /// The batch of a microbatch model: what it reads is cut to it.
    pub batch: Option<(Batch, BatchSize)>,
    /// What a unit test puts in place of what its model reads.
    pub unit_test: Option<Arc<UnitTestState>>,
    /// Further names, for hooks of the whole run: `results`, `schemas`, `database_schemas`.
    pub names: Arc<Map<String, Value>>,
    /// What templates said that then failed.
    pub unsaid: Arc<Unsaid>,
}

/// What templates said whose render gave nothing, because it failed.
#[derive(Debug, Default)]
pub struct Unsaid(Mutex<Vec<Message>>);

impl Unsaid {
    /// All of it, once.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add(&self, messages: Vec<Message>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
    }
}

impl RenderState {
    /// Without a lake: nothing exists, no query runs.
    pub fn offline(command: &str) -> Self {
        Self::new(
            Arc::new(NoWarehouse),
            command,
            "00000000-0000-0000-0000-000000000000",
            Utc::now(),
        )
    }

    /// A run of a command that started at a time.
    pub fn new(
        warehouse: Arc<dyn Warehouse>,
        command: &str,
        invocation_id: &str,
        run_started_at: DateTime<Utc>,
    ) -> Self {
        RenderState {
            warehouse,
            full_refresh: false,
            store_failures: false,
            empty: false,
            sample: None,
            command: command.to_owned(),
            invocation_id: invocation_id.to_owned(),
            run_started_at,
            now: run_started_at,
            deferred: Arc::default(),
            selected: Arc::from([]),
            batch: None,
            unit_test: None,
            names: Arc::default(),
            unsaid: Arc::default(),
        }
    }
}

/// The part of a unit test that its model's template meets.
#[derive(Debug, Clone, Default)]
pub struct UnitTestState {
    /// The test's name, for messages.
    pub name: String,
    /// The nodes and sources that the test gives rows for; nothing else may be read.
    pub inputs: BTreeSet<UniqueId>,
    /// What macros, vars and environment variables are.
    pub overrides: UnitTestOverrides,
}

/// Something that a template said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `log(text)`: for the log file.
    Debug(String),
    /// `log(text, info=true)`: for the terminal.
    Info(String),
    /// `print(text)`: for standard output.
    Print(String),
}

/// A rendered template.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    /// Its SQL, inlined models included.
    pub sql: String,
    /// The same in the SQL that runs here, where some of it is written in another dialect.
    pub translated: Option<String>,
    /// Everything but templates that the text depends on.
    pub reads: Reads,
    /// Nodes that are referred to although the parse pass saw no such `ref` (one in a condition
    /// that was false then). Their order is not ensured by the graph.
    pub late: Vec<UniqueId>,
    /// Models that were inlined, nested ones included.
    pub inlined: Vec<UniqueId>,
    /// The macros that the text itself has called (unique ids), in their order.
    pub macros: Vec<String>,
    /// What it said.
    pub messages: Vec<Message>,
    /// `exceptions.warn(...)`
    pub warnings: Diagnostics,
    /// The statement that a materialization calls its main one.
    pub main: Option<String>,
    /// `config(...)` values that are only known now: of a test macro that sets its `fail_calc`.
    pub config: Map<String, Value>,
}

impl Rendered {
    /// The SQL that runs.
    pub fn running(&self) -> &str {
        self.translated.as_deref().unwrap_or(&self.sql)
    }
}

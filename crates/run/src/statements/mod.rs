//! Performing SQL statements: each is one stage and one publish.
//!
//! The engine says what a statement asks for ([`Statement`], plain values); here its queries are run
//! and their rows handed to the store. A statement that meets another writer is decided and tried
//! again from the new state. What is temporary is staged and never published: it is an overlay of
//! its session and goes with it.

mod locks;
mod record;
mod rewrite;
mod split;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use tidemill_core::arrow_array::{AsArray, types::Int64Type};
use tidemill_core::arrow_schema::{DataType, SchemaRef};
use tidemill_core::{
    At, BatchStream, Cancellation, Engine, Error, ErrorKind, Overlay, OverlayEntry, PublishChange,
    PublishMeta, QueryContext, RelationKind, RelationName, Result, SchemaChange, Snapshot,
    StageRequest, Staged, Statement, StatementOutcome, TableStore, WriteMode,
};

use record::{described, described_whole, granted, only_comments};

pub(crate) use record::commented;
use rewrite::Rewrite;

pub use locks::WriteLocks;
pub use split::split_statements;

/// How often a statement is tried when other writers come first.
const ATTEMPTS: usize = 20;

/// Hears of every state that a session publishes.
pub type PublishListener = Arc<dyn Fn(&Snapshot) + Send + Sync>;

/// Runs statements one after another, each seeing what those before it did.
pub struct StatementSession {
    engine: Arc<dyn Engine>,
    store: Arc<dyn TableStore>,
    listener: Option<PublishListener>,
    locks: Arc<WriteLocks>,
    state: Mutex<State>,
    /// One statement at a time.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    context: QueryContext,
    /// Staged or named for this session alone.
    temporary: BTreeSet<RelationName>,
    /// The relation whose staged state is changed and not published (the model of a hook).
    own: Option<RelationName>,
    /// Statements about the own relation that can be performed only once it is published.
    later: Vec<Statement>,
    /// Whether anything was written.
    wrote: bool,
}

impl std::fmt::Debug for StatementSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatementSession").finish_non_exhaustive()
    }
}

impl StatementSession {
    /// A session that reads this state, and writes to this store.
    pub fn new(
        engine: Arc<dyn Engine>,
        store: Arc<dyn TableStore>,
        context: QueryContext,
    ) -> StatementSession {
        StatementSession {
            engine,
            store,
            listener: None,
            locks: Arc::default(),
            state: Mutex::new(State {
                context,
                temporary: BTreeSet::new(),
                own: None,
                later: Vec::new(),
                wrote: false,
            }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Tells somebody of every state that is published.
    #[must_use]
    pub fn listening(mut self, listener: PublishListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Shares its locks with other sessions of the process.
    #[must_use]
    pub fn sharing(mut self, locks: Arc<WriteLocks>) -> Self {
        self.locks = locks;
        self
    }

    /// From now on this relation is what is staged for it, is changed there, and is published by
    /// somebody else ([`StatementSession::release`]).
    pub(crate) fn hold(&self, relation: &RelationName, entry: OverlayEntry) {
        let mut state = self.state();
        state.own = Some(relation.clone());
        state.context.overlay = state.context.overlay.with(relation.clone(), entry);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next statement sees.
    pub fn context(&self) -> QueryContext {
        self.state().context.clone()
    }

    /// Goes on with a newer state, and another way to be stopped.
    pub fn renew(&self, snapshot: Snapshot, cancel: Cancellation) {
        let mut state = self.state();
        state.context.cancel = cancel;
        if snapshot.entry > state.context.snapshot.entry {
            state.context.snapshot = snapshot;
        }
    }

    /// Whether a statement of this session has written something.
    pub fn wrote(&self) -> bool {
        self.state().wrote
    }

    /// From now on what is written to this relation is kept back, and published by somebody else
    /// ([`StatementSession::release`]).
    pub(crate) fn keep_back(&self, relation: &RelationName) {
        self.state().own = Some(relation.clone());
    }

    /// The own relation as the statements have left it. From now on it is what is published.
    pub(crate) fn release(&self) -> Option<OverlayEntry> {
        let mut state = self.state();
        let own = state.own.take()?;
        let entry = state.context.overlay.0.get(&own).cloned();
        state.context.overlay = without(&state.context.overlay, &own);
        entry
    }

    fn overlay(&self, change: impl FnOnce(&Overlay) -> Overlay) {
        let mut state = self.state();
        state.context.overlay = change(&state.context.overlay);
    }

    /// Performs what had to wait until the own relation was published.
    ///
    /// # Errors
    /// That of the first statement that fails.
    pub(crate) async fn perform_later(&self) -> Result<()> {
        let later = std::mem::take(&mut self.state().later);
        if later.is_empty() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        self.see(self.store.snapshot(At::Now).await?);
        for statement in later {
            self.perform(statement).await?;
        }
        Ok(())
    }

    /// Performs one statement.
    ///
    /// # Errors
    /// Those of the engine and the store. The statement has then changed nothing, except for kind
    /// [`ErrorKind::Unknown`].
    pub async fn execute(&self, sql: &str) -> Result<StatementOutcome> {
        let _turn = self.turn.lock().await;
        let mut attempt = 1;
        loop {
            let context = self.context();
            context.cancel.check()?;
            let mut statement = self.engine.statement(sql, &context).await?;
            if statement == Statement::Query {
                return Ok(StatementOutcome::Rows(self.engine.query(sql, &context).await?));
            }
            // A write is decided on the newest state.
            let _locks = self.locks.lock(statement.targets()).await;
            if !matches!(statement, Statement::Query) {
                let newest = self.store.snapshot(At::Now).await?;
                if newest.entry > context.snapshot.entry {
                    self.see(newest);
                    statement = self.engine.statement(sql, &self.context()).await?;
                }
            }
            match self.perform(statement).await {
                Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS => {
                    tracing::debug!(attempt, error = %error, "another writer came first");
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Performs every statement of a text and forgets what rows it gives.
    ///
    /// # Errors
    /// That of the first statement that fails; those before it stay done.
    pub async fn run(&self, text: &str) -> Result<()> {
        match self.execute_all(text).await? {
            Some(StatementOutcome::Rows(rows)) => drain(rows).await,
            _ => Ok(()),
        }
    }

    /// Performs every statement of a text; gives the outcome of the last one.
    ///
    /// # Errors
    /// That of the first statement that fails; those before it stay done.
    pub async fn execute_all(&self, text: &str) -> Result<Option<StatementOutcome>> {
        let mut last = None;
        for statement in split_statements(text) {
            if let Some(StatementOutcome::Rows(rows)) = last.take() {
                drain(rows).await?;
            }
            last = Some(self.execute(statement).await?);
        }
        Ok(last)
    }

    /// Ends the session: what is temporary goes.
    pub async fn close(&self) {
        let staged: Vec<Arc<Staged>> = {
            let state = self.state();
            let overlay = &state.context.overlay.0;
            state
                .temporary
                .iter()
                .filter_map(|relation| match overlay.get(relation) {
                    Some(OverlayEntry::Staged(staged)) => Some(staged.clone()),
                    _ => None,
                })
                .collect()
        };
        for staged in staged {
            self.discard(&staged).await;
        }
    }

    async fn discard(&self, staged: &Staged) {
        if let Err(error) = self.store.discard(staged).await {
            tracing::warn!(relation = %staged.relation, error = %error, "discard failed");
        }
    }

    async fn perform(&self, statement: Statement) -> Result<StatementOutcome> {
        if statement.writes() {
            self.state().wrote = true;
        }
        match statement {
            Statement::Query => Err(Error::new(ErrorKind::Internal, "a query is not performed")),
            Statement::Nothing { tag } => Ok(done(tag, None)),
            Statement::Verify { tag, relation, conditions } => {
                let context = self.context();
                for (wrong, message) in conditions {
                    if self.number(&wrong, &context).await? > 0 {
                        return Err(Error::new(ErrorKind::Data, message).with("relation", relation));
                    }
                }
                Ok(done(tag, None))
            }
            Statement::CreateTable { relation, rows, temporary, comments } => {
                let staged = self.stage(&relation, WriteMode::Replace, &rows, comments).await?;
                let count = staged.rows_written;
                if temporary {
                    self.state().temporary.insert(relation);
                }
                self.settle(staged, false).await?;
                Ok(done("CREATE TABLE", Some(count)))
            }
            Statement::CreateView { relation, sql, temporary } => {
                self.create_view(relation, sql, temporary).await
            }
            Statement::Drop { tag, relations } => self.drop_relations(tag, relations).await,
            Statement::Insert { relation, rows } => {
                let staged = match self.held(&relation) {
                    // What is staged cannot be added to: it is staged again with the new rows.
                    Some(_) => {
                        let all = format!("select * from {} union all ({rows})", quoted(&relation));
                        self.stage_again(&relation, &all).await?
                    }
                    None => self.stage(&relation, WriteMode::Append, &rows, Vec::new()).await?,
                };
                let count = staged.rows_written;
                let count = match self.held(&relation).and_then(|held| held.rows) {
                    Some(before) => count.saturating_sub(before),
                    None => count,
                };
                self.settle(staged, true).await?;
                Ok(done("INSERT", Some(count)))
            }
            Statement::Rewrite { tag, relation, rows, concerned, once, by_file } => {
                self.rewrite(Rewrite { tag, relation, rows, concerned, once, by_file }).await
            }
            Statement::Truncate { relations } => {
                for relation in relations {
                    let rows = format!("select * from {} where false", quoted(&relation));
                    let staged = self.stage_again(&relation, &rows).await?;
                    self.settle(staged, false).await?;
                }
                Ok(done("TRUNCATE", None))
            }
            Statement::Rename { tag, relation, to } => {
                self.refuse_held(&relation, "renamed")?;
                self.publish(vec![PublishChange::Rename { relation, to }]).await?;
                Ok(done(tag, None))
            }
            Statement::Change { tag, relation, changes } => {
                let outcome = done(tag.clone(), None);
                if self.is_own(&relation) && only_comments(&changes) {
                    self.state().later.push(Statement::Change { tag, relation, changes });
                    return Ok(outcome);
                }
                self.refuse_held(&relation, "altered")?;
                self.change(&relation, &changes).await?;
                Ok(outcome)
            }
            Statement::Grant { revoke, relations, privileges, grantees } => {
                let tag = if revoke { "REVOKE" } else { "GRANT" };
                let (own, relations): (Vec<_>, Vec<_>) =
                    relations.into_iter().partition(|relation| self.is_own(relation));
                if !own.is_empty() {
                    self.state().later.push(Statement::Grant {
                        revoke,
                        relations: own,
                        privileges: privileges.clone(),
                        grantees: grantees.clone(),
                    });
                }
                let snapshot = self.context().snapshot;
                let changes = relations
                    .into_iter()
                    .filter_map(|relation| {
                        let published = snapshot.get(&relation)?;
                        let record = published.record.as_deref().cloned();
                        let record = granted(record, revoke, &privileges, &grantees);
                        let meta = PublishMeta { record: Some(record), ..PublishMeta::default() };
                        Some(PublishChange::Record { relation, meta })
                    })
                    .collect::<Vec<_>>();
                if !changes.is_empty() {
                    self.publish(changes).await?;
                }
                Ok(done(tag, None))
            }
        }
    }

    fn is_own(&self, relation: &RelationName) -> bool {
        self.state().own.as_ref() == Some(relation)
    }

    /// What this session holds of a relation instead of its published form.
    fn held(&self, relation: &RelationName) -> Option<Arc<Staged>> {
        match self.state().context.overlay.0.get(relation) {
            Some(OverlayEntry::Staged(staged)) => Some(staged.clone()),
            _ => None,
        }
    }

    fn is_held(&self, relation: &RelationName) -> bool {
        let state = self.state();
        state.context.overlay.0.contains_key(relation)
    }

    fn refuse_held(&self, relation: &RelationName, what: &str) -> Result<()> {
        if !self.is_held(relation) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            if self.is_own(relation) {
                format!("a model cannot be {what} by its own hooks, before it is published")
            } else {
                format!("what is temporary or not published yet cannot be {what}")
            },
        )
        .with("relation", relation))
    }

    async fn stage(
        &self,
        relation: &RelationName,
        mode: WriteMode,
        rows: &str,
        comments: Vec<(String, String)>,
    ) -> Result<Staged> {
        self.stage_in(relation, mode, rows, comments, self.context()).await
    }

    /// The same with a query that sees more.
    async fn stage_in(
        &self,
        relation: &RelationName,
        mode: WriteMode,
        rows: &str,
        comments: Vec<(String, String)>,
        context: QueryContext,
    ) -> Result<Staged> {
        let rows: BatchStream = self.engine.query(rows, &context).await?;
        self.store
            .stage(StageRequest {
                relation: relation.clone(),
                mode,
                partition_by: None,
                rows,
                base: context.snapshot,
                comments,
                observers: Vec::new(),
                run: context.run,
            })
            .await
    }

    /// Stages all rows of a table that is there; its descriptions stay.
    async fn stage_again(&self, relation: &RelationName, rows: &str) -> Result<Staged> {
        let schema: Option<SchemaRef> = match self.held(relation) {
            Some(held) => Some(held.schema.clone()),
            None => self.context().snapshot.get(relation).map(|found| found.schema.clone()),
        };
        let comments = schema
            .iter()
            .flat_map(|schema| schema.fields())
            .filter_map(|field| {
                Some((field.name().clone(), field.metadata().get("comment")?.clone()))
            })
            .collect();
        self.stage(relation, WriteMode::Replace, rows, comments).await
    }

    /// Publishes what was staged, or keeps it in the overlay where it is held back.
    async fn settle(&self, staged: Staged, rebase: bool) -> Result<()> {
        let relation = staged.relation.clone();
        let staged = Arc::new(staged);
        let held_back = {
            let state = self.state();
            state.temporary.contains(&relation) || state.own.as_ref() == Some(&relation)
        };
        if held_back {
            let before = self.held(&relation);
            self.overlay(|overlay| overlay.with(relation, OverlayEntry::Staged(staged)));
            if let Some(before) = before {
                self.discard(&before).await;
            }
            return Ok(());
        }
        if let Err(error) = self.refuse_held(&relation, "written to") {
            self.discard(&staged).await;
            return Err(error);
        }
        let meta = PublishMeta {
            record: Some(self.record_after_write(&relation)),
            rebase,
            ..PublishMeta::default()
        };
        let changes = vec![PublishChange::Table(staged.clone(), meta)];
        if let Err(error) = self.publish(changes).await {
            if error.kind() != ErrorKind::Unknown {
                self.discard(&staged).await;
            }
            return Err(error);
        }
        Ok(())
    }

    /// What a model's record says of its last build does not hold any more; who may read the table
    /// stays.
    fn record_after_write(&self, relation: &RelationName) -> serde_json::Value {
        let snapshot = self.context().snapshot;
        let record = snapshot.get(relation).and_then(|found| found.record.clone());
        match record.as_deref().and_then(|record| record.get("grants")) {
            Some(grants) => serde_json::json!({ "grants": grants }),
            None => serde_json::Value::Null,
        }
    }

    async fn create_view(
        &self,
        relation: RelationName,
        sql: String,
        temporary: bool,
    ) -> Result<StatementOutcome> {
        if temporary || self.is_own(&relation) {
            if temporary {
                self.state().temporary.insert(relation.clone());
            }
            self.overlay(|overlay| overlay.with(relation, OverlayEntry::View(sql)));
            return Ok(done("CREATE VIEW", None));
        }
        self.refuse_held(&relation, "replaced")?;
        let schema = self.engine.describe(&sql, &self.context()).await?.schema;
        let record = self.record_after_write(&relation);
        let meta = PublishMeta { record: Some(record), ..PublishMeta::default() };
        self.publish(vec![PublishChange::View { relation, sql, schema, meta }]).await?;
        Ok(done("CREATE VIEW", None))
    }

    async fn drop_relations(
        &self,
        tag: String,
        relations: Vec<RelationName>,
    ) -> Result<StatementOutcome> {
        let mut changes = Vec::new();
        for relation in relations {
            if self.is_own(&relation) {
                // It is published first, and its checks see it.
                let tag = tag.clone();
                self.state().later.push(Statement::Drop { tag, relations: vec![relation] });
                continue;
            }
            let temporary = self.state().temporary.remove(&relation);
            if !temporary {
                self.refuse_held(&relation, "dropped")?;
                changes.push(PublishChange::Drop { relation });
                continue;
            }
            let held = self.held(&relation);
            self.overlay(|overlay| without(overlay, &relation));
            if let Some(held) = held {
                self.discard(&held).await;
            }
        }
        if !changes.is_empty() {
            self.publish(changes).await?;
        }
        Ok(done(tag, None))
    }

    async fn change(&self, relation: &RelationName, changes: &[SchemaChange]) -> Result<()> {
        let context = self.context();
        let Some(published) = context.snapshot.get(relation) else {
            return Err(Error::new(ErrorKind::NotFound, "the lake has no such relation")
                .with("relation", relation));
        };
        if let RelationKind::View { sql } = &published.kind {
            let schema = described(&published.schema, changes);
            let record = described_whole(published.record.as_deref(), changes);
            let meta = PublishMeta { record, ..PublishMeta::default() };
            let (relation, sql) = (relation.clone(), sql.clone());
            return self.publish(vec![PublishChange::View { relation, sql, schema, meta }]).await;
        }
        let described = described_whole(published.record.as_deref(), changes);
        let staged =
            self.store.stage_schema(relation, changes, &context.snapshot, &context.run).await?;
        let staged = Arc::new(staged);
        let record = match only_comments(changes) {
            true => described,
            false => Some(self.record_after_write(relation)),
        };
        let meta = PublishMeta { record, ..PublishMeta::default() };
        if let Err(error) = self.publish(vec![PublishChange::Table(staged.clone(), meta)]).await {
            if error.kind() != ErrorKind::Unknown {
                self.discard(&staged).await;
            }
            return Err(error);
        }
        Ok(())
    }

    async fn publish(&self, changes: Vec<PublishChange>) -> Result<()> {
        let run = self.context().run;
        match self.store.publish(changes, &run).await {
            Ok(published) => {
                if let Some((relation, reason)) = published.split.first() {
                    return Err(
                        Error::new(ErrorKind::Conflict, reason.clone()).with("relation", relation)
                    );
                }
                for warning in &published.warnings {
                    tracing::warn!(warning, "after a publish");
                }
                self.see(published.snapshot);
                Ok(())
            }
            Err(error) => {
                if error.kind() == ErrorKind::Conflict {
                    self.see(self.store.snapshot(At::Now).await?);
                }
                Err(error)
            }
        }
    }

    /// From now on this state is read.
    fn see(&self, snapshot: Snapshot) {
        if let Some(listener) = &self.listener {
            listener(&snapshot);
        }
        let mut state = self.state();
        if snapshot.entry > state.context.snapshot.entry {
            state.context.snapshot = snapshot;
        }
    }

    /// The one number that a query gives.
    async fn number(&self, sql: &str, context: &QueryContext) -> Result<u64> {
        let mut rows = self.engine.query(sql, context).await?;
        let mut number = 0;
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let column = batch.column(0);
            if *column.data_type() == DataType::Int64 {
                number = column.as_primitive::<Int64Type>().value(0);
            }
        }
        Ok(u64::try_from(number).unwrap_or(0))
    }
}

/// Runs a query whose rows nobody wants.
pub(crate) async fn drain(mut rows: BatchStream) -> Result<()> {
    while let Some(batch) = rows.batches.next().await {
        batch?;
    }
    Ok(())
}

fn without(overlay: &Overlay, relation: &RelationName) -> Overlay {
    let mut entries = (*overlay.0).clone();
    entries.remove(relation);
    Overlay(Arc::new(entries))
}

fn done(tag: impl Into<String>, rows: Option<u64>) -> StatementOutcome {
    StatementOutcome::Done { tag: tag.into(), rows }
}

fn quoted(relation: &RelationName) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    format!("{}.{}", quoted(relation.schema()), quoted(relation.name()))
}

//! Building one model.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_core::arrow_schema::{Field, Schema};
use tidemill_core::{
    BatchResults, BatchStream, Description, Error, ErrorKind, Event, OverlayEntry,
    PublishedRelation, QueryContext, RelationKind, RelationName, Result, SchemaChange, Snapshot,
    StageRequest, Staged, WriteMode,
};
use tidemill_plan::{
    Decision, Fingerprint, Increment, InputVersion, Inputs, MaterializationConfig, NodeState,
    OnSchemaChange, Record, ReuseOptions, WorkNode, WritePlan, cast, decide,
};

use crate::executor::{Shared, in_place};
use crate::statements::commented;
use crate::unit::{Product, Unit};
use crate::{HookTime, RenderRequest, Rendered, Rule, StatementSession};
use crate::{by_macro, materialized_view, predicates, program};

/// What building a model came to.
pub(crate) struct Built {
    pub(crate) product: Product,
    pub(crate) decision: Decision,
    pub(crate) rows: Option<u64>,
    /// Every relation that the model reads, through views too.
    pub(crate) reads: Vec<RelationName>,
    /// How the batches of a microbatch model ended.
    pub(crate) batches: Option<BatchResults>,
    /// What its rows must keep to, also after its hooks.
    pub(crate) rules: Vec<Rule>,
}

/// Decides about a model and, if it has to be, builds it up to staged data.
pub(crate) async fn build(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    unit: &Unit,
    snapshot: &Snapshot,
    statements: &Arc<StatementSession>,
) -> Result<Built> {
    if let Some(micro) = &config.microbatch {
        shared.run_hooks(node, HookTime::Before, statements)?;
        let snapshot = &statements.context().snapshot;
        return crate::microbatch::build(shared, node, config, micro, unit, snapshot).await;
    }
    let published = snapshot.get(&node.relation);
    let table_exists =
        published.is_some_and(|published| matches!(published.kind, RelationKind::Table { .. }));
    let full_refresh = node.full_refresh.unwrap_or(shared.options.full_refresh);
    let incremental = config.keeps_history();
    let plan = config.write_plan(table_exists, full_refresh)?;
    let context = shared.context(snapshot.clone(), unit.overlay());

    let request = RenderRequest {
        incremental: config.materialized == "incremental" && table_exists && !full_refresh,
        full_refresh,
        context: context.clone(),
        batch: None,
        statements: Some(statements.clone()),
    };
    let rendered = shared.render(&node.id, &request)?;
    shared.wait_for_named(node, &rendered.sql).await;
    statements.renew(shared.snapshot(), shared.cancel.clone());
    let context = statements.context();
    let wrote = statements.wrote();
    let decision = decide_model(shared, node, incremental, &rendered, &context, wrote);
    let kept = materialized_view::keeps(shared, node, config, &context, full_refresh)?;
    if decision == Decision::Reuse || kept {
        let reads = Record::of(&context.snapshot, &node.relation)
            .map(|record| record.inputs.into_keys().collect())
            .unwrap_or_default();
        let product = Product::Same { record: None, unchanged: false, position: None };
        return Ok(Built {
            product,
            decision,
            rows: None,
            reads,
            batches: None,
            rules: Vec::new(),
        });
    }

    shared.run_hooks(node, HookTime::Before, statements)?;
    let context = statements.context();
    if plan == WritePlan::Macro {
        return by_macro::materialize(shared, node, full_refresh, &rendered, decision, statements)
            .await;
    }
    if config.program {
        return program::build(shared, node, config, plan, rendered, decision, statements).await;
    }
    let description = shared.doers.engine.describe(&rendered.sql, &context).await?;
    shared.refuse_unbuilt(node, &description)?;
    let (rendered, description, rules) =
        under_contract(shared, node, rendered, description, &context).await?;
    let plan = match plan {
        // The view could not be read without the other lake.
        WritePlan::View if reads_elsewhere(&description) => {
            shared.doers.events.emit(Event::Notice {
                node: Some(node.id.clone()),
                code: "view-of-another-lake".to_owned(),
                message: "it reads another lake, so it is built as a table with the rows of now"
                    .to_owned(),
            });
            WritePlan::Replace
        }
        plan => plan,
    };
    let query = Query { rendered, description, rules, context };
    write(shared, node, config, plan, query, decision, statements).await
}

/// Whether a query reads relations of another lake.
fn reads_elsewhere(description: &Description) -> bool {
    description.relations.iter().any(|relation| relation.elsewhere().is_some())
}

/// A query of which everything is known that writing its rows asks for.
pub(crate) struct Query {
    pub(crate) rendered: Rendered,
    pub(crate) description: Description,
    /// What its contract asks of the rows.
    pub(crate) rules: Vec<Rule>,
    /// What it reads.
    pub(crate) context: QueryContext,
}

/// Runs a model's query and stages its rows as the plan says.
pub(crate) async fn write(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    plan: WritePlan,
    query: Query,
    decision: Decision,
    statements: &Arc<StatementSession>,
) -> Result<Built> {
    let Query { rendered, description, rules, context } = query;
    let snapshot = &context.snapshot;
    let published = snapshot.get(&node.relation);
    let incremental = config.keeps_history();
    let is_view = plan == WritePlan::View;
    let reads: Vec<RelationName> =
        description.relations.iter().filter(|name| **name != node.relation).cloned().collect();
    let inputs = input_versions(&reads, &context, is_view);
    let record = |fingerprint: Fingerprint| Record {
        format: Record::FORMAT,
        fingerprint,
        inputs: inputs.clone(),
        volatile: description
            .volatile_functions
            .iter()
            .chain(&rendered.volatile)
            .cloned()
            .collect(),
        current_date: description.current_date.then(|| shared.options.current_date.clone()),
        ..Record::default()
    };

    if is_view {
        let record = record(rendered.fingerprint.clone());
        let schema = commented(&description.schema, &node.comments);
        let same = published.is_some_and(|published| {
            matches!(&published.kind, RelationKind::View { sql } if *sql == rendered.sql)
                && same_columns(&published.schema, &schema)
                && same_comments(&published.schema, &schema)
        });
        let product = if same {
            Product::Same { record: Some(record), unchanged: true, position: None }
        } else {
            Product::View { sql: rendered.sql.clone(), schema, record }
        };
        return Ok(Built {
            product,
            decision,
            rows: None,
            reads,
            batches: None,
            rules: Vec::new(),
        });
    }

    if let WritePlan::Increment(Increment::Macro { name }) = &plan {
        let product =
            by_macro::increment(shared, node, name, &rendered, record, &rules, statements).await?;
        return Ok(Built { product, decision, rows: None, reads, batches: None, rules });
    }
    let staged = match &plan {
        WritePlan::Increment(increment) => {
            let published = published.ok_or_else(|| {
                Error::new(ErrorKind::Internal, "an increment needs a published table")
            })?;
            stage_increment(
                shared,
                node,
                config,
                increment,
                &rendered,
                &description,
                published,
                &context,
            )
            .await?
        }
        WritePlan::Snapshot(kept) => {
            let published = published.map(|published| &**published);
            crate::snapshot::stage(
                shared,
                node,
                kept,
                config.snapshot_macro.as_deref(),
                &rendered,
                &description,
                published,
                &context,
            )
            .await?
        }
        _ => match shared.stage_copy(node, &config.partition_by, snapshot).await? {
            Some(staged) => staged,
            None => {
                let rows = shared.doers.engine.query(&rendered.sql, &context).await?;
                shared.stage(node, WriteMode::Replace, &config.partition_by, rows, snapshot).await?
            }
        },
    };

    let staged = Arc::new(staged);
    if let Err(error) = shared.keep_to(node, &rules, Some(&staged), &context).await {
        if let Err(error) = shared.doers.store.discard(&staged).await {
            tracing::warn!(relation = %node.relation, error = %error, "discard failed");
        }
        return Err(error);
    }

    let fingerprint = if incremental {
        next_fingerprint(shared, node, config, &context, &staged)
    } else {
        rendered.fingerprint.clone()
    };
    let built = finish(shared, staged, published, record(fingerprint), decision, reads).await;
    Ok(Built { rules, ..built })
}

/// An incremental template reads its own table: what it will render to next time is known only when
/// the new state of that table is.
pub(crate) fn next_fingerprint(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    context: &QueryContext,
    staged: &Arc<Staged>,
) -> Fingerprint {
    let overlay = context.overlay.with(node.relation.clone(), OverlayEntry::Staged(staged.clone()));
    let request = RenderRequest {
        incremental: config.materialized == "incremental",
        full_refresh: false,
        context: QueryContext { overlay, ..context.clone() },
        batch: None,
        statements: None,
    };
    shared.render(&node.id, &request).map(|next| next.fingerprint).unwrap_or_default()
}

/// Brings a query to the columns and types of its node's contract.
pub(crate) async fn under_contract(
    shared: &Shared,
    node: &WorkNode,
    rendered: Rendered,
    description: Description,
    context: &QueryContext,
) -> Result<(Rendered, Description, Vec<Rule>)> {
    let request = RenderRequest {
        incremental: false,
        full_refresh: false,
        context: context.clone(),
        batch: None,
        statements: None,
    };
    let contract = in_place(|| {
        let renderer = &shared.doers.renderer;
        renderer.contract(&node.id, &rendered.sql, &description.schema, &request)
    })?;
    let Some(contract) = contract else { return Ok((rendered, description, Vec::new())) };
    if contract.sql == rendered.sql {
        return Ok((rendered, description, contract.constraints));
    }
    // What it reads is what the query reads; only its columns are others now.
    let schema = shared.doers.engine.describe(&contract.sql, context).await?.schema;
    let rendered = Rendered { sql: contract.sql, ..rendered };
    Ok((rendered, Description { schema, ..description }, contract.constraints))
}

/// Discards staged data that came out as what is published.
pub(crate) async fn finish(
    shared: &Shared,
    staged: Arc<Staged>,
    published: Option<&Arc<PublishedRelation>>,
    record: Record,
    decision: Decision,
    reads: Vec<RelationName>,
) -> Built {
    // A stage of a history that neither ends nor adds a row changes nothing.
    let history = matches!(decision, Decision::Increment { .. });
    let unchanged = published.is_some_and(|published| is_same(&staged, published, history));
    let rows = Some(staged.rows_written + staged.rows_changed);
    let product =
        Product::Table { staged, extra: Vec::new(), views: Vec::new(), position: None, record };
    let product = if unchanged {
        product.discard(&*shared.doers.store).await;
        match product {
            Product::Table { staged, extra, views, position, record } => {
                let record = Record { unchanged: true, ..record };
                match described_again(shared, &staged, published).await {
                    Some(staged) => Product::Table { staged, extra, views, position, record },
                    None => Product::Same { record: Some(record), unchanged: true, position: None },
                }
            }
            other => other,
        }
    } else {
        product
    };
    Built { product, decision, rows, reads, batches: None, rules: Vec::new() }
}

/// The published table with the descriptions of columns that were staged with the same rows, where
/// these are others. One that cannot be staged comes with the next rows.
async fn described_again(
    shared: &Shared,
    staged: &Staged,
    published: Option<&Arc<PublishedRelation>>,
) -> Option<Arc<Staged>> {
    let published = published.filter(|it| !same_comments(&it.schema, &staged.schema))?;
    let changes: Vec<SchemaChange> = staged
        .schema
        .fields()
        .iter()
        .map(|field| SchemaChange::Comment {
            column: Some(field.name().clone()),
            text: comment(field),
        })
        .collect();
    let (snapshot, run) = (shared.snapshot(), &shared.options.run);
    let described =
        shared.doers.store.stage_schema(&published.name, &changes, &snapshot, run).await;
    described.map(Arc::new).ok()
}

/// Whether staged data is what is published.
pub(crate) fn is_same(staged: &Staged, published: &PublishedRelation, history: bool) -> bool {
    let same_rows = staged.hash.is_some() && staged.hash == published.hash;
    staged.column_changes.is_empty()
        && !staged.repartitioned
        && same_columns(&published.schema, &staged.schema)
        && (same_rows || (history && staged.rows_written == 0 && staged.rows_changed == 0))
        && staged.rows == published.rows
}

pub(crate) fn decide_model(
    shared: &Shared,
    node: &WorkNode,
    incremental: bool,
    rendered: &Rendered,
    context: &QueryContext,
    wrote: bool,
) -> Decision {
    let record = Record::of(&context.snapshot, &node.relation);
    let reads_unpublished = record.is_some_and(|record| {
        record.inputs.keys().any(|relation| context.overlay.0.contains_key(relation))
    });
    let never = if reads_unpublished {
        Some("reads what this run builds".to_owned())
    } else if shared.options.failed_before.contains(&node.id) {
        Some("its last run failed".to_owned())
    } else if wrote {
        Some("its template writes to the lake".to_owned())
    } else {
        node.never_reuse.clone().or_else(|| rendered.again.clone())
    };
    let state = NodeState {
        relation: &node.relation,
        fingerprint: &rendered.fingerprint,
        snapshot: &context.snapshot,
        incremental,
        never,
        pending_inputs: &[],
    };
    let options = ReuseOptions {
        no_reuse: shared.options.no_reuse,
        full_refresh: node.full_refresh.unwrap_or(shared.options.full_refresh),
        current_date: shared.options.current_date.clone(),
        ignore_volatile: node.ignore_volatile,
        foreign: false,
    };
    decide(&state, &options)
}

/// The state of every relation that is read, as the context shows it.
pub(crate) fn input_versions(
    relations: &[RelationName],
    context: &QueryContext,
    columns_only: bool,
) -> Inputs {
    relations
        .iter()
        .map(|relation| {
            let version = if context.overlay.0.contains_key(relation) {
                InputVersion::Together
            } else {
                InputVersion::of(&context.snapshot, relation, columns_only)
            };
            (relation.clone(), version)
        })
        .collect()
}

fn same_columns(left: &Schema, right: &Schema) -> bool {
    left.fields().len() == right.fields().len()
        && left.fields().iter().zip(right.fields()).all(|(left, right)| {
            left.name() == right.name() && left.data_type() == right.data_type()
        })
}

/// Whether the same columns have the same descriptions.
fn same_comments(left: &Schema, right: &Schema) -> bool {
    left.fields().iter().map(|field| comment(field)).eq(right.fields().iter().map(|it| comment(it)))
}

fn comment(field: &Field) -> Option<String> {
    field.metadata().get("comment").cloned()
}

#[expect(clippy::too_many_arguments, reason = "everything that one increment is made of")]
pub(crate) async fn stage_increment(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    increment: &Increment,
    rendered: &Rendered,
    description: &Description,
    published: &PublishedRelation,
    context: &QueryContext,
) -> Result<Staged> {
    let names = |schema: &Schema| -> Vec<String> {
        schema.fields().iter().map(|field| field.name().clone()).collect()
    };
    let target = names(&published.schema);
    let found = names(&description.schema);
    let found_set: BTreeSet<&String> = found.iter().collect();
    let target_set: BTreeSet<&String> = target.iter().collect();
    let added: Vec<&String> = found.iter().filter(|name| !target_set.contains(name)).collect();
    let missing: Vec<&String> = target.iter().filter(|name| !found_set.contains(name)).collect();
    let list = |names: &[&String]| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));

    // A column keeps the type that its table has; a value that does not fit is an error, as in dbt.
    let as_published = |name: &String| -> String {
        let types = |schema: &Schema| {
            schema.field_with_name(name).ok().map(|field| field.data_type().clone())
        };
        match (types(&published.schema), types(&description.schema)) {
            (Some(target), Some(found)) if target != found => {
                format!(
                    "{} as {name}",
                    cast(&quoted(name), Some(&found), &target),
                    name = quoted(name)
                )
            }
            _ => quoted(name),
        }
    };

    let mut base = context.snapshot.clone();
    let columns: Vec<String> = match config.on_schema_change()? {
        OnSchemaChange::Fail if !added.is_empty() || !missing.is_empty() => {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the columns have changed (new: {}; gone: {}) and `on_schema_change` is fail; \
                     run with --full-refresh or choose another on_schema_change",
                    if added.is_empty() { "none".to_owned() } else { list(&added) },
                    if missing.is_empty() { "none".to_owned() } else { list(&missing) },
                ),
            ));
        }
        OnSchemaChange::Ignore | OnSchemaChange::Fail => {
            if !missing.is_empty() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "the query no longer has {} of its table; bring it back, run with \
                         --full-refresh, or set `on_schema_change` to append_new_columns or \
                         sync_all_columns",
                        list(&missing)
                    ),
                ));
            }
            target.iter().map(as_published).collect()
        }
        OnSchemaChange::AppendNewColumns => target
            .iter()
            .map(|name| {
                if found_set.contains(name) {
                    as_published(name)
                } else {
                    format!("null as {}", quoted(name))
                }
            })
            .chain(added.iter().map(|name| quoted(name)))
            .collect(),
        OnSchemaChange::SyncAllColumns => {
            if !missing.is_empty() {
                let changes: Vec<SchemaChange> =
                    missing.iter().map(|name| SchemaChange::Remove((*name).clone())).collect();
                base = shared.change_columns(node, &changes, &base).await?;
            }
            target
                .iter()
                .filter(|name| found_set.contains(name))
                .map(quoted)
                .chain(added.iter().map(|name| quoted(name)))
                .collect()
        }
    };
    let sql = if columns.len() == found.len()
        && columns.iter().zip(&found).all(|(column, name)| *column == quoted(name))
    {
        rendered.sql.clone()
    } else {
        format!("select {} from (\n{}\n) as increment", columns.join(", "), rendered.sql)
    };

    // As the columns are spelled, whatever the case in the configuration.
    let spelled = |names: &[String]| -> Vec<String> {
        names.iter().map(|name| spelling(name, &found)).collect()
    };
    if predicates::applies(config, increment) {
        let names: Vec<String> = match config.on_schema_change()? {
            OnSchemaChange::Ignore | OnSchemaChange::Fail => target.clone(),
            OnSchemaChange::AppendNewColumns => {
                target.iter().chain(added.iter().copied()).cloned().collect()
            }
            OnSchemaChange::SyncAllColumns => target
                .iter()
                .filter(|name| found_set.contains(name))
                .chain(added.iter().copied())
                .cloned()
                .collect(),
        };
        let context = QueryContext { snapshot: base, ..context.clone() };
        return predicates::stage(
            shared, node, config, increment, &sql, &names, published, &context,
        )
        .await;
    }
    let mode = match increment {
        Increment::Append => WriteMode::Append,
        Increment::Merge { key, update, exclude, null_keys } => {
            let key = spelled(key);
            let update = match (update, exclude.is_empty()) {
                (Some(update), _) => Some(spelled(update)),
                (None, true) => None,
                (None, false) => Some(
                    found
                        .iter()
                        .filter(|name| {
                            !exclude
                                .iter()
                                .chain(&key)
                                .any(|other| other.eq_ignore_ascii_case(name))
                        })
                        .cloned()
                        .collect(),
                ),
            };
            WriteMode::Upsert {
                key,
                update,
                duplicates: tidemill_core::Duplicates::Fail,
                null_keys: *null_keys,
            }
        }
        Increment::DeleteInsert { key, null_keys } => {
            WriteMode::DeleteInsert { key: spelled(key), null_keys: *null_keys }
        }
        Increment::ReplaceRanges { column, ranges } => {
            WriteMode::ReplaceRanges { column: column.clone(), ranges: ranges.clone() }
        }
        Increment::Macro { name } => {
            return Err(Error::new(ErrorKind::Internal, "the macro of a strategy stages nothing")
                .with("macro", name));
        }
        Increment::ReplacePartitions { columns } => {
            WriteMode::ReplaceWhere { columns: spelled(columns) }
        }
    };
    let context = QueryContext { snapshot: base.clone(), ..context.clone() };
    let rows = shared.doers.engine.query(&sql, &context).await?;
    let staged = shared.stage(node, mode, &config.partition_by, rows, &base).await?;
    if staged.null_keys > 0 {
        shared.doers.events.emit(Event::Notice {
            node: Some(node.id.clone()),
            code: "null-keys".to_owned(),
            message: format!(
                "{} new rows have a NULL in the key ({}), which equals no other: each run adds such \
                 rows again (`meta: {{null_keys: fail}}` refuses them)",
                staged.null_keys,
                config.unique_key.join(", ")
            ),
        });
    }
    Ok(staged)
}

/// The column that a name of the configuration means, in quotes or not: the one that is spelled so,
/// else one that differs by case alone.
pub(crate) fn spelling(name: &str, columns: &[String]) -> String {
    let bare = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    let same = columns.iter().find(|column| column.as_str() == bare);
    let alike = || columns.iter().find(|column| column.eq_ignore_ascii_case(bare));
    same.or_else(alike).cloned().unwrap_or_else(|| name.to_owned())
}

impl Shared {
    /// Stages a node that is a copy of a table; `None`: it is none, or its rows have to be copied.
    async fn stage_copy(
        &self,
        node: &WorkNode,
        partition_by: &[String],
        base: &Snapshot,
    ) -> Result<Option<Staged>> {
        let Some(source) = self.doers.renderer.copied(&node.id) else { return Ok(None) };
        let store = &self.doers.store;
        store.stage_copy(&node.relation, &source, partition_by, base, &node.comments).await
    }

    /// Stages rows for a node.
    pub(crate) async fn stage(
        &self,
        node: &WorkNode,
        mode: WriteMode,
        partition_by: &[String],
        rows: BatchStream,
        base: &Snapshot,
    ) -> Result<Staged> {
        // A table format keeps the columns of partitions outside its files, which need one. Engines
        // without partitions build such a model, so that it is built here as well.
        let schema = rows.schema.clone();
        let every_column = !partition_by.is_empty()
            && schema.fields().iter().all(|field| partition_by.contains(field.name()));
        if every_column {
            self.doers.events.emit(Event::Notice {
                node: Some(node.id.clone()),
                code: "not-partitioned".to_owned(),
                message: "`partition_by` names every column of the model: the table is written \
                          without partitions"
                    .to_owned(),
            });
        }
        let partition_by = if every_column { &[] } else { partition_by };
        self.doers
            .store
            .stage(StageRequest {
                relation: node.relation.clone(),
                mode,
                partition_by: Some(partition_by.to_vec()),
                rows,
                base: base.clone(),
                comments: node.comments.clone(),
                observers: Vec::new(),
                run: self.options.run.clone(),
            })
            .await
    }
}

//! One scan for all measures of a relation.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::SessionState;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::physical_plan::{ExecutionPlan, execute_stream, execute_stream_partitioned};
use futures::StreamExt;
use tidemill_core::{
    Error, ErrorKind, Measure, Measurement, QueryContext, Reference, RelationName, Result,
};

use super::accumulate::{Accumulator, Kind, Unaccepted};
use super::duplicates::{Dense, Encoding, Keys, Outcome};
use super::facts::Facts;
use super::keys::RowHasher;
use super::reference::{Orphans, ReferenceBuilder, ReferenceSet};
use super::shape::Shape;
use super::texts::Remembered;
use crate::EmbeddedEngine;
use crate::engine::{AbortOnDrop, FEW_ROWS, is_small};
use crate::error::again;

/// Rows of a batch: accumulators do little for each, so larger ones than usual pay.
const BATCH: usize = 16 * 1024;

/// A measure's value; `None` means that its SQL has to tell.
type Taken = Option<Result<Measurement>>;

/// Takes measures together. An error concerns all of them.
pub(crate) async fn take(
    engine: &EmbeddedEngine,
    relation: &RelationName,
    measures: &[&Measure],
    context: &QueryContext,
) -> Result<Vec<Taken>> {
    let mut state = engine.session(context)?;
    *state.config_mut() = state.config().clone().with_batch_size(BATCH);
    let mut taken: Vec<Taken> = measures.iter().map(|_| None).collect();
    let facts = Facts::of(engine, relation, &state, context).await?;
    if facts.as_ref().and_then(Facts::rows).is_some_and(|rows| rows <= FEW_ROWS as u64) {
        state.config_mut().options_mut().execution.target_partitions = 1;
    }
    let mut open: Vec<usize> = (0..measures.len()).collect();
    if let Some(facts) = &facts {
        for index in std::mem::take(&mut open) {
            match facts.prove(engine, relation, measures[index], &state, context).await {
                Some(count) => taken[index] = Some(Ok(Measurement::Count(count))),
                None => open.push(index),
            }
        }
    }
    let scanning = Scanning { engine, relation, measures, context, state: &state, facts };
    // A second time for what the order of the rows did not tell.
    for all_keys in [false, true] {
        if open.is_empty() {
            break;
        }
        let results = scanning.scan(&open, all_keys).await?;
        open.clear();
        for (index, result) in results {
            match result {
                Scanned::Done(outcome) => taken[index] = Some(outcome.map(Measurement::Count)),
                Scanned::Again => open.push(index),
                Scanned::BySql => {}
            }
        }
    }
    Ok(taken)
}

enum Scanned {
    Done(Result<u64>),
    Again,
    BySql,
}

struct Scanning<'a> {
    engine: &'a EmbeddedEngine,
    relation: &'a RelationName,
    measures: &'a [&'a Measure],
    context: &'a QueryContext,
    state: &'a SessionState,
    facts: Option<Facts>,
}

/// Expressions over the relation that planned, as columns of one plan.
struct Bound {
    plan: LogicalPlan,
    schema: SchemaRef,
    /// Where each expression's text is.
    columns: BTreeMap<String, usize>,
    /// Why others did not plan.
    wrong: BTreeMap<String, Error>,
    /// Those with a subquery, which cannot stand among a scan's columns.
    with_subquery: HashSet<String>,
}

impl Bound {
    fn column(&self, text: &str) -> Result<usize> {
        match (self.columns.get(text), self.wrong.get(text)) {
            (Some(column), _) => Ok(*column),
            (None, Some(error)) => Err(again(error)),
            (None, None) => Err(Error::new(ErrorKind::Internal, "an expression was not planned")),
        }
    }
}

/// The columns of the scan, in their final types.
#[derive(Default)]
struct Columns {
    all: Vec<(usize, Option<DataType>)>,
}

impl Columns {
    fn place(&mut self, column: usize, data_type: Option<DataType>) -> usize {
        let wanted = (column, data_type);
        match self.all.iter().position(|known| *known == wanted) {
            Some(place) => place,
            None => {
                self.all.push(wanted);
                self.all.len() - 1
            }
        }
    }
}

/// A measure that is ready to be accumulated: makes the state of one thread.
type Make = Box<dyn Fn() -> Result<Kind> + Send + Sync>;

struct Ready {
    measure: usize,
    filter: Option<usize>,
    make: Make,
}

impl Scanning<'_> {
    async fn scan(&self, open: &[usize], all_keys: bool) -> Result<Vec<(usize, Scanned)>> {
        let common = self.common_filter(open);
        let bound = self.bind(open, common).await?;
        let mut columns = Columns::default();
        let mut results = Vec::new();
        let mut ready = Vec::new();
        for index in open {
            match self.prepare(*index, &bound, &mut columns, common, all_keys).await {
                Ok(Some(made)) => ready.push(made),
                Ok(None) => results.push((*index, Scanned::BySql)),
                // A set of values that does not fit into memory: its query may use the disk.
                Err(error) if error.kind() == ErrorKind::Resources => {
                    results.push((*index, Scanned::BySql));
                }
                Err(error) => results.push((*index, Scanned::Done(Err(error)))),
            }
        }
        if ready.is_empty() {
            return Ok(results);
        }
        let plan = self.final_plan(&bound, &columns).await?;
        for (ready, outcome) in self.run(plan, ready).await? {
            results.push((
                ready,
                match outcome {
                    Ok(Outcome::Count(count)) => Scanned::Done(Ok(count)),
                    Ok(Outcome::Again) if all_keys => Scanned::BySql,
                    Ok(Outcome::Again) => Scanned::Again,
                    Err(error) if error.kind() == ErrorKind::Resources => Scanned::BySql,
                    Err(error) => Scanned::Done(Err(error)),
                },
            ));
        }
        Ok(results)
    }

    /// The filter that all measures share: it becomes the scan's, which may skip files by it.
    fn common_filter(&self, open: &[usize]) -> Option<&str> {
        let first = filter_of(self.measures[*open.first()?])?;
        open.iter().all(|index| filter_of(self.measures[*index]) == Some(first)).then_some(first)
    }

    /// Plans every expression of the measures as a column.
    async fn bind(&self, open: &[usize], common: Option<&str>) -> Result<Bound> {
        let mut texts: Vec<String> = Vec::new();
        for index in open {
            let measure = self.measures[*index];
            let filter = filter_of(measure).filter(|_| common.is_none());
            for text in expressions_of(measure).into_iter().chain(filter.map(str::to_owned)) {
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
        }
        let mut wrong = BTreeMap::new();
        let mut with_subquery = HashSet::new();
        let mut plan = match self.plan_columns(&texts, common).await {
            Ok(plan) => plan,
            Err(_) => {
                let mut right = Vec::new();
                for text in texts {
                    match self.plan_columns(std::slice::from_ref(&text), common).await {
                        Ok(_) => right.push(text),
                        Err(error) => {
                            wrong.insert(text, error);
                        }
                    }
                }
                texts = right;
                // A scan of nothing when all are wrong.
                self.plan_columns(&texts, common.filter(|_| !texts.is_empty())).await?
            }
        };
        if let LogicalPlan::Projection(projection) = &plan {
            let nested = projection.expr.iter().map(has_subquery).collect::<Vec<bool>>();
            if nested.contains(&true) {
                let (complicated, plain): (Vec<_>, Vec<_>) =
                    texts.into_iter().zip(nested).partition(|(_, nested)| *nested);
                with_subquery.extend(complicated.into_iter().map(|(text, _)| text));
                texts = plain.into_iter().map(|(text, _)| text).collect();
                plan = self.plan_columns(&texts, common.filter(|_| !texts.is_empty())).await?;
            }
        }
        let plan = self
            .state
            .analyzer()
            .execute_and_check(plan, &self.state.config_options().clone(), |_, _| {})
            .map_err(|error| self.engine.fail(error))?;
        let schema = plan.schema().inner().clone();
        let columns = texts.into_iter().enumerate().map(|(place, text)| (text, place)).collect();
        Ok(Bound { plan, schema, columns, wrong, with_subquery })
    }

    async fn plan_columns(&self, texts: &[String], common: Option<&str>) -> Result<LogicalPlan> {
        let mut list: Vec<String> = texts
            .iter()
            .enumerate()
            // A comment at the end of an expression must not swallow what follows.
            .map(|(place, text)| format!("({text}\n) as c{place}"))
            .collect();
        if list.is_empty() {
            list.push("1 as c0".to_owned());
        }
        let filter = common.map_or_else(String::new, |filter| format!(" where ({filter}\n)"));
        let sql = format!("select {} from {}{filter}", list.join(", "), self.relation.quoted());
        let planned = self.engine.plan(&sql, self.state, self.context).await;
        planned.map(|planned| planned.plan).map_err(without_place)
    }

    async fn prepare(
        &self,
        index: usize,
        bound: &Bound,
        columns: &mut Columns,
        common: Option<&str>,
        all_keys: bool,
    ) -> Result<Option<Ready>> {
        let measure = self.measures[index];
        let filter = filter_of(measure).filter(|_| common.is_none());
        let mut texts = expressions_of(measure);
        texts.extend(filter.map(str::to_owned));
        if texts.iter().any(|text| bound.with_subquery.contains(text)) {
            return Ok(None);
        }
        let find = |text: &str| bound.column(text);
        let type_of = |column: usize| bound.schema.field(column).data_type().clone();
        let filter = match filter {
            Some(text) => Some(columns.place(find(text)?, Some(DataType::Boolean))),
            None => None,
        };
        let make: Make = match measure {
            Measure::Query { .. } => return Ok(None),
            Measure::Rows { .. } => Box::new(|| Ok(Kind::Rows(0))),
            Measure::Nulls { expression, .. } => {
                let column = columns.place(find(expression)?, None);
                Box::new(move || Ok(Kind::Nulls { column, count: 0 }))
            }
            Measure::CountIf { predicate, .. } => {
                let column = columns.place(find(predicate)?, Some(DataType::Boolean));
                Box::new(move || Ok(Kind::CountIf { column, count: 0 }))
            }
            Measure::Mismatches { expression, pattern, ignore_case, .. } => {
                let shape = Arc::new(Shape::of(pattern, *ignore_case)?);
                let column = find(expression)?;
                let text = (!is_text(&type_of(column))).then_some(DataType::Utf8View);
                let column = columns.place(column, text);
                Box::new(move || {
                    Ok(Kind::Mismatches {
                        column,
                        remembered: (!shape.is_cheap()).then(Remembered::new),
                        shape: shape.clone(),
                        count: 0,
                    })
                })
            }
            Measure::Unaccepted { expression, accepted, .. } => {
                let column = find(expression)?;
                let data_type = type_of(column);
                let texts: Option<HashSet<Box<str>>> =
                    accepted.iter().map(|literal| text_literal(literal)).collect();
                match texts.filter(|_| is_text(&data_type)) {
                    Some(texts) => {
                        let accepted = Arc::new(texts);
                        let column = columns.place(column, None);
                        Box::new(move || {
                            Ok(Kind::Unaccepted(Unaccepted::Texts {
                                column,
                                accepted: accepted.clone(),
                                remembered: Remembered::new(),
                                found: HashSet::new(),
                            }))
                        })
                    }
                    None => {
                        let bad = find(&unaccepted_text(expression, accepted))?;
                        let bad = columns.place(bad, Some(DataType::Boolean));
                        let column = columns.place(column, None);
                        Box::new(move || {
                            Ok(Kind::Unaccepted(Unaccepted::Values {
                                column,
                                bad,
                                hasher: RowHasher::new(std::slice::from_ref(&data_type))?,
                                found: HashSet::new(),
                                hashes: Vec::new(),
                            }))
                        })
                    }
                }
            }
            Measure::Duplicates { expressions, ignore_nulls, .. } => {
                let found =
                    expressions.iter().map(|text| find(text)).collect::<Result<Vec<usize>>>()?;
                let types: Vec<DataType> = found.iter().map(|column| type_of(*column)).collect();
                let places = found.iter().map(|column| columns.place(*column, None)).collect();
                self.duplicates(expressions, types, places, *ignore_nulls, all_keys)?
            }
            Measure::Orphans { expression, reference, .. } => {
                let column = find(expression)?;
                let Some((set, data_type)) = self.reference(reference, type_of(column)).await?
                else {
                    return Ok(None);
                };
                let casted = (data_type != type_of(column)).then(|| data_type.clone());
                let column = columns.place(column, casted);
                Box::new(move || {
                    let orphans = Orphans::new(set.clone(), &data_type)?;
                    Ok(Kind::Orphans { column, orphans })
                })
            }
        };
        Ok(Some(Ready { measure: index, filter, make }))
    }

    fn duplicates(
        &self,
        expressions: &[String],
        types: Vec<DataType>,
        columns: Vec<usize>,
        ignore_nulls: bool,
        all_keys: bool,
    ) -> Result<Make> {
        let environment = self.engine.runtime();
        if !all_keys && let Some(facts) = &self.facts {
            let bounds: Option<Vec<_>> =
                expressions.iter().map(|expression| facts.dense(expression)).collect();
            let memory = self.engine.core.memory_limit as u64 / self.engine.threads() as u64;
            if let Some(bounds) = bounds
                && let Some(bits) = Dense::bits(&bounds, facts.about_rows(), memory)
            {
                return Ok(Box::new(move || {
                    let dense = Dense::new(bounds.clone(), bits, ignore_nulls, &environment)?;
                    Ok(Kind::Dense { columns: columns.clone(), dense })
                }));
            }
        }
        let (_, narrow) = Encoding::of(&types, ignore_nulls)?;
        Ok(Box::new(move || {
            let (encoding, _) = Encoding::of(&types, ignore_nulls)?;
            let (columns, environment) = (columns.clone(), environment.clone());
            Ok(match narrow {
                true => Kind::Narrow {
                    columns,
                    keys: Keys::new(encoding, ignore_nulls, all_keys, environment, |key| {
                        key as u64
                    }),
                },
                false => Kind::Wide {
                    columns,
                    keys: Keys::new(encoding, ignore_nulls, all_keys, environment, |key| key),
                },
            })
        }))
    }

    /// Collects the values that rows must refer to, in the type that both sides are compared in.
    async fn reference(
        &self,
        reference: &Reference,
        child: DataType,
    ) -> Result<Option<(Arc<ReferenceSet>, DataType)>> {
        let filter = reference
            .filter
            .as_ref()
            .map_or_else(String::new, |filter| format!(" where ({filter}\n)"));
        let sql = format!(
            "select ({}\n) as c0 from {}{filter}",
            reference.expression,
            reference.relation.quoted()
        );
        let planned = self.engine.plan(&sql, self.state, self.context).await;
        let planned =
            planned.map_err(|error| without_place(error).with("reference", &reference.relation))?;
        let plan = self
            .state
            .analyzer()
            .execute_and_check(planned.plan, &self.state.config_options().clone(), |_, _| {})
            .map_err(|error| self.engine.fail(error))?;
        let parent = plan.schema().field(0).data_type().clone();
        let Some(common) = comparison_coercion(&child, &parent) else { return Ok(None) };
        if matches!(common, DataType::Float32 | DataType::Float64 | DataType::Null)
            || common.is_nested()
        {
            // Equality of these has its own rules.
            return Ok(None);
        }
        let physical = self.engine.physical(&plan, self.state).await?;
        let facts = Facts::of_plan(&physical);
        // A cast between whole numbers keeps them.
        let whole = |data_type: &DataType| data_type.is_integer();
        let same = parent == common || (whole(&parent) && whole(&common));
        let bounds = facts.as_ref().filter(|_| same).and_then(|facts| facts.dense_at(0));
        let rows = facts.as_ref().map_or(0, Facts::about_rows);
        let physical = match parent == common {
            true => physical,
            false => {
                let columns = Columns { all: vec![(0, Some(common.clone()))] };
                let plan = self.with_columns(plan, &columns)?;
                self.engine.physical(&plan, self.state).await?
            }
        };
        let environment = self.engine.runtime();
        let mut builder = ReferenceBuilder::new(&common, bounds, rows, &environment)?;
        let mut batches = execute_stream(physical, self.state.task_ctx())
            .map_err(|error| self.engine.fail(error))?;
        while let Some(batch) = batches.next().await {
            self.context.cancel.check()?;
            builder.add(batch.map_err(|error| self.engine.fail(error))?.column(0))?;
        }
        Ok(Some((Arc::new(builder.finish()), common)))
    }

    fn with_columns(&self, plan: LogicalPlan, columns: &Columns) -> Result<LogicalPlan> {
        let fields = plan.schema().clone();
        let expressions = columns.all.iter().enumerate().map(|(place, (column, data_type))| {
            let (qualifier, field) = fields.qualified_field(*column);
            let value = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            match data_type {
                Some(data_type) if data_type != field.data_type() => cast(value, data_type.clone()),
                _ => value,
            }
            .alias(format!("m{place}"))
        });
        let expressions: Vec<Expr> = expressions.collect();
        LogicalPlanBuilder::from(plan)
            .project(expressions)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| self.engine.fail(error))
    }

    async fn final_plan(&self, bound: &Bound, columns: &Columns) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.with_columns(bound.plan.clone(), columns)?;
        if self.facts.is_none() && is_small(&plan) {
            let mut state = self.state.clone();
            state.config_mut().options_mut().execution.target_partitions = 1;
            return self.engine.physical(&plan, &state).await;
        }
        self.engine.physical(&plan, self.state).await
    }

    /// Runs the scan; each partition on its own thread.
    async fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        ready: Vec<Ready>,
    ) -> Result<Vec<(usize, Result<Outcome>)>> {
        let streams = execute_stream_partitioned(plan, self.state.task_ctx())
            .map_err(|error| self.engine.fail(error))?;
        let ready = Arc::new(ready);
        let handle = self.engine.core.handle()?;
        let mut tasks = Vec::new();
        for mut stream in streams {
            let ready = ready.clone();
            let engine = self.engine.clone();
            let cancel = self.context.cancel.clone();
            tasks.push(AbortOnDrop(handle.spawn(async move {
                let mut kept: Vec<Result<Accumulator>> = ready
                    .iter()
                    .map(|ready| Ok(Accumulator { filter: ready.filter, kind: (ready.make)()? }))
                    .collect();
                while let Some(batch) = stream.next().await {
                    cancel.check()?;
                    let batch = batch.map_err(|error| engine.fail(error))?;
                    for kept in &mut kept {
                        if let Ok(accumulator) = kept
                            && let Err(error) = accumulator.update(&batch)
                        {
                            *kept = Err(error);
                        }
                    }
                }
                Ok::<_, Error>(kept)
            })));
        }
        let mut by_measure: Vec<Vec<Result<Accumulator>>> =
            ready.iter().map(|_| Vec::new()).collect();
        for task in tasks {
            for (place, kept) in task.wait().await??.into_iter().enumerate() {
                by_measure[place].push(kept);
            }
        }
        Ok(ready
            .iter()
            .zip(by_measure)
            .map(|(ready, threads)| {
                let threads: Result<Vec<Accumulator>> = threads.into_iter().collect();
                (ready.measure, threads.and_then(Accumulator::finish))
            })
            .collect())
    }
}

fn has_subquery(expression: &Expr) -> bool {
    let is = |expression: &Expr| {
        Ok(matches!(
            expression,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
        ))
    };
    expression.exists(is).unwrap_or(true)
}

fn filter_of(measure: &Measure) -> Option<&str> {
    match measure {
        Measure::Rows { filter }
        | Measure::Nulls { filter, .. }
        | Measure::CountIf { filter, .. }
        | Measure::Duplicates { filter, .. }
        | Measure::Unaccepted { filter, .. }
        | Measure::Orphans { filter, .. }
        | Measure::Mismatches { filter, .. } => filter.as_deref(),
        Measure::Query { .. } => None,
    }
}

/// The texts of everything that a measure needs as a column.
fn expressions_of(measure: &Measure) -> Vec<String> {
    match measure {
        Measure::Rows { .. } | Measure::Query { .. } => Vec::new(),
        Measure::Nulls { expression, .. }
        | Measure::Mismatches { expression, .. }
        | Measure::Orphans { expression, .. } => vec![expression.clone()],
        Measure::CountIf { predicate, .. } => vec![predicate.clone()],
        Measure::Duplicates { expressions, .. } => expressions.clone(),
        Measure::Unaccepted { expression, accepted, .. } => {
            vec![expression.clone(), unaccepted_text(expression, accepted)]
        }
    }
}

/// The predicate of a bad value.
fn unaccepted_text(expression: &str, accepted: &[String]) -> String {
    match accepted.is_empty() {
        true => format!("({expression}\n) is not null"),
        false => format!("({expression}\n) not in ({}\n)", accepted.join(", ")),
    }
}

/// The text of a plain text literal.
fn text_literal(literal: &str) -> Option<Box<str>> {
    let inner = literal.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    let plain = inner.replace("''", "");
    (!plain.contains('\'')).then(|| inner.replace("''", "'").into_boxed_str())
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The place in a text that the user did not write says nothing.
fn without_place(error: Error) -> Error {
    let mut clean = Error::new(error.kind(), error.message());
    for (name, value) in error.context() {
        if *name != "line" && *name != "column" {
            clean = clean.with(name, value);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read() {
        assert_eq!(text_literal("'a''b'").as_deref(), Some("a'b"));
        assert_eq!(text_literal("'a' || 'b'"), None);
        assert_eq!(text_literal("5"), None);
        assert_eq!(text_literal("''").as_deref(), Some(""));
    }
}

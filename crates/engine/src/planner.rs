//! SQL text to a logical plan, over the state that one query sees.
//!
//! Relations are looked up when the text names them and not before. A view is planned from its own
//! SQL, in which a name without a schema means the view's schema first, then the session's.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::catalog::TableProvider;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DataFusionError, ScalarValue, TableReference};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, TypePlanner,
};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource,
    TableType, WindowUDF,
};
use datafusion::physical_plan::collect;
use datafusion::sql::parser::Statement as PlannedStatement;
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{self, Statement};
use futures::future::BoxFuture;
use tidemill_core::{
    Error, ErrorKind, OverlayEntry, QueryContext, RelationKind, RelationName, Result,
};

use crate::EngineOptions;
use crate::aliases::{Missing, use_result};
use crate::catalog::{INFORMATION_SCHEMA, information_table};
use crate::columns;
use crate::error::{again, from_datafusion, nearest};
use crate::files::{FileRequest, Taken, take_files};
use crate::functions::read_interval;
use crate::json_values;
use crate::lateral::settle_laterals;
use crate::parse::parse_query;
use crate::repeated::numbered_names;
use crate::rewrite::rewrite;
use crate::spelling::{respell, stands_at};
use crate::syntax::{simple_name, text};
use crate::types::Types;
use crate::unlisted::{self, Answer, Question};
use crate::view_plans::{PlannedView, Reads, Seen, ViewPlans};
use crate::whole_rows::{keep_name, use_row};

/// How deeply views may read views.
const VIEW_DEPTH: usize = 64;
/// How many names of one text may be settled by a turn each: columns of the result of their own
/// select, and columns that are spelled in another case.
const LATERAL_NAMES: usize = 1_000;
/// How many `pivot`s of one text may have columns that are not listed, and how many columns one has.
const UNLISTED: usize = 64;
const PIVOTED: usize = 10_000;

/// Opens tables; the engine puts a cache in front of the lake.
#[async_trait::async_trait]
pub(crate) trait OpenTable: Send + Sync {
    async fn open(&self, table: Table<'_>) -> Result<Arc<dyn TableProvider>>;
}

/// What is opened.
pub(crate) enum Table<'a> {
    Published(&'a tidemill_core::PublishedRelation),
    Staged(&'a tidemill_core::Staged),
    Files(&'a FileRequest, &'a QueryContext),
}

/// The planning of one query.
pub(crate) struct Planner<'a> {
    state: &'a SessionState,
    context: &'a QueryContext,
    tables: &'a dyn OpenTable,
    databases: &'a [String],
    user: &'a str,
    /// What was planned for earlier queries.
    views: &'a ViewPlans,
    /// Columns are named as in DuckDB.
    for_duckdb: bool,
    types: Arc<Types>,
    /// What was looked up so far; a view that is named twice is planned once.
    sources: HashMap<RelationName, PlannedView>,
    /// The views that are being planned, outermost first.
    within: Vec<RelationName>,
    /// What their plans rest on.
    reads: Vec<Reads>,
    /// Every relation that was read, views included.
    pub(crate) relations: BTreeSet<RelationName>,
    /// Those that the outermost text names.
    pub(crate) direct: BTreeSet<RelationName>,
    /// Files that are read, as the texts name them.
    pub(crate) files: BTreeSet<String>,
}

enum Target {
    Relation(RelationName),
    Information(String),
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        state: &'a SessionState,
        context: &'a QueryContext,
        tables: &'a dyn OpenTable,
        options: &'a EngineOptions,
        views: &'a ViewPlans,
    ) -> Self {
        let timezone = state.config_options().execution.time_zone.as_deref().unwrap_or("UTC");
        Planner {
            state,
            context,
            tables,
            databases: &options.databases,
            user: &options.user,
            views,
            for_duckdb: options.for_duckdb,
            types: Arc::new(Types { timezone: timezone.into() }),
            sources: HashMap::new(),
            within: Vec::new(),
            reads: Vec::new(),
            relations: BTreeSet::new(),
            direct: BTreeSet::new(),
            files: BTreeSet::new(),
        }
    }

    /// Plans one query. The plan reads and does nothing else.
    pub(crate) async fn plan(&mut self, sql: &str) -> Result<LogicalPlan> {
        let schemas = search_path([self.context.default_schema.as_str()]);
        let plan = self.plan_text(sql, &schemas).await?;
        refuse_writes(&plan)?;
        Ok(plan)
    }

    fn plan_text<'s>(
        &'s mut self,
        sql: &'s str,
        schemas: &'s [String],
    ) -> BoxFuture<'s, Result<LogicalPlan>> {
        Box::pin(async move {
            let mut statement = parse_query(sql)?;
            if let Statement::ExplainTable { table_name, .. } = &statement {
                self.rests_on_more();
                statement = parse_query(&self.describe_table(table_name, schemas)?)?;
            }
            self.settle_unlisted(&mut statement, schemas).await?;
            rewrite(&mut statement)?;
            let database = self.databases.first().map_or("lake", String::as_str);
            let schema = schemas.first().map_or("", String::as_str);
            let session = Session { database, schema, user: self.user };
            name_session(&mut statement, session);
            let mut files = HashMap::new();
            for Taken { key, request, names } in take_files(&mut statement)? {
                self.rests_on_more();
                let table = self.tables.open(Table::Files(&request, self.context)).await?;
                let source = provider_as_source(table);
                if let Some(names) = names {
                    let paths = self.texts_of(source.clone(), &names.column).await?;
                    names.put(&mut statement, &key, &paths, &source.schema());
                }
                self.files.insert(request.text);
                files.insert(key, source);
            }
            let planned = PlannedStatement::Statement(Box::new(statement.clone()));
            let fail = |error| from_datafusion(error, None);
            let (references, _) = resolve_table_references(&planned, true).map_err(fail)?;
            let mut found = HashMap::with_capacity(references.len());
            for reference in references {
                if let Some(file) = files.get(reference.table()) {
                    found.insert(reference, Ok(file.clone()));
                    continue;
                }
                // A name that is not found may be that of a subquery elsewhere in the text: the
                // error is raised only if the planner asks for it.
                let source = self.source(&reference, schemas).await;
                if let Err(error) = &source
                    && error.kind() != ErrorKind::NotFound
                {
                    return source.map(|_| unreachable_plan());
                }
                found.insert(reference, source);
            }
            let names = Names { state: self.state, types: self.types.clone(), found };
            let planner = SqlToRel::new_with_options(&names, parser_options());
            columns::settle(&mut statement, &|query| {
                let mut statement = Statement::Query(Box::new(query));
                let plan = settled_plan(&planner, &mut statement, session).map_err(fail)?;
                Ok(plan.schema().fields().iter().cloned().collect())
            })?;
            let result = settled_plan(&planner, &mut statement, session);
            result.and_then(settle_laterals).map_err(fail)
        })
    }

    /// Asks for the columns of `pivot` and `unpivot` that are not listed.
    async fn settle_unlisted(
        &mut self,
        statement: &mut Statement,
        schemas: &[String],
    ) -> Result<()> {
        for _ in 0..UNLISTED {
            let question = unlisted::question(statement);
            if question.is_some() {
                self.rests_on_more();
            }
            let answer = match question {
                None => return Ok(()),
                Some(Question::Columns(query)) => {
                    let plan = self.plan_text(&query.to_string(), schemas).await?;
                    let fields = plan.schema().fields();
                    Answer::Columns(fields.iter().map(|field| field.name().clone()).collect())
                }
                Some(Question::Types(query)) => {
                    let mut asked = Statement::Query(query);
                    crate::syntax::keep_quotes(&mut asked);
                    let plan = self.plan_text(&asked.to_string(), schemas).await?;
                    Answer::Types(plan.schema().fields().iter().cloned().collect())
                }
                Some(Question::Values(query)) => {
                    let plan = self.plan_text(&query.to_string(), schemas).await?;
                    Answer::Values(self.values(plan).await?)
                }
            };
            unlisted::answer(statement, answer)?;
        }
        Err(Error::new(
            ErrorKind::Query,
            format!("more than {UNLISTED} `pivot`s of one query have columns that are not listed"),
        ))
    }

    /// The different texts of a column.
    async fn texts_of(&self, source: Arc<dyn TableSource>, column: &str) -> Result<Vec<String>> {
        let fail = |error| from_datafusion(error, None);
        let column = Expr::Column(Column::from_name(column));
        let plan = LogicalPlanBuilder::scan("files", source, None)
            .and_then(|plan| plan.project(vec![column]))
            .and_then(LogicalPlanBuilder::distinct)
            .and_then(LogicalPlanBuilder::build)
            .map_err(fail)?;
        let mut texts = Vec::new();
        for batch in self.run(plan).await? {
            let found = arrow::compute::cast(batch.column(0), &DataType::Utf8)
                .map_err(|error| fail(error.into()))?;
            texts.extend(found.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        texts.sort();
        Ok(texts)
    }

    /// All rows of a small query.
    async fn run(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>> {
        let fail = |error| from_datafusion(error, None);
        refuse_writes(&plan)?;
        let state = self.state;
        let plan = state
            .analyzer()
            .execute_and_check(plan, state.config_options(), |_, _| {})
            .and_then(|plan| state.optimizer().optimize(plan, state, |_, _| {}))
            .map_err(fail)?;
        let plan = state.query_planner().create_physical_plan(&plan, state).await.map_err(fail)?;
        collect(plan, state.task_ctx()).await.map_err(fail)
    }

    /// The rows of a small query: a value, as a literal, and its text, by which they are sorted.
    async fn values(&self, plan: LogicalPlan) -> Result<Vec<(ast::Expr, String)>> {
        let fail = |error| from_datafusion(error, None);
        let batches = self.run(plan).await?;
        let mut values = Vec::new();
        for batch in &batches {
            let names = arrow::compute::cast(batch.column(1), &DataType::Utf8)
                .map_err(|error| fail(error.into()))?;
            let names = names.as_string::<i32>();
            for row in 0..batch.num_rows() {
                let value = ScalarValue::try_from_array(batch.column(0), row).map_err(fail)?;
                values.push((literal(&value, names.value(row)), names.value(row).to_owned()));
            }
            if values.len() > PIVOTED {
                return Err(Error::new(
                    ErrorKind::Query,
                    format!("a `pivot` would have more than {PIVOTED} columns"),
                )
                .with("hint", "name the values: `on kind in ('a', 'b')`"));
            }
        }
        values.sort_by(|left, right| left.1.cmp(&right.1));
        Ok(values)
    }

    /// `describe t` as a query.
    fn describe_table(
        &self,
        name: &datafusion::sql::sqlparser::ast::ObjectName,
        schemas: &[String],
    ) -> Result<String> {
        let reference =
            datafusion::sql::planner::object_name_to_table_reference(name.clone(), true)
                .map_err(|error| from_datafusion(error, None))?;
        let Some((relation, _)) = self.look_up(&reference, schemas) else {
            return Err(self.not_found(&reference, schemas));
        };
        let quote = |text: &str| text.replace('\'', "''");
        Ok(format!(
            "select column_name, data_type, is_nullable from information_schema.columns \
             where table_schema = '{}' and table_name = '{}' order by ordinal_position",
            quote(relation.schema()),
            quote(relation.name())
        ))
    }

    async fn source(
        &mut self,
        reference: &TableReference,
        schemas: &[String],
    ) -> Result<Arc<dyn TableSource>> {
        let targets = self.targets(reference, schemas);
        if let Some(Target::Information(table)) = targets.first() {
            self.rests_on_more();
            let catalog = self.databases.first().map_or("lake", String::as_str);
            let found = information_table(table, catalog, self.context)?;
            return found.map(provider_as_source).ok_or_else(|| self.not_found(reference, schemas));
        }
        let mut first = None;
        for target in targets {
            let Target::Relation(name) = target else { continue };
            let found = self.find(&name);
            if let Some(reads) = self.reads.last_mut() {
                reads.saw(&name, seen(found.as_ref()));
            }
            if let Some(found) = found {
                first = Some((name, found));
                break;
            }
        }
        let Some((name, found)) = first else {
            return Err(self.not_found(reference, schemas));
        };
        self.relations.insert(name.clone());
        if let Some(reads) = self.reads.last_mut() {
            reads.relations.insert(name.clone());
        }
        if self.within.is_empty() {
            self.direct.insert(name.clone());
        }
        let planned = match self.sources.get(&name) {
            Some(planned) => planned.clone(),
            None => {
                let planned = self.open(&name, found).await?;
                self.sources.insert(name, planned.clone());
                planned
            }
        };
        if let Some(reads) = self.reads.last_mut() {
            reads.include(&planned.reads);
        }
        Ok(planned.source)
    }

    async fn open(&mut self, name: &RelationName, found: Found) -> Result<PlannedView> {
        let table = match &found {
            Found::Published(relation) => Table::Published(relation),
            Found::Staged(staged) => Table::Staged(staged),
            Found::View(sql) => return self.view(name, sql).await,
        };
        let source = provider_as_source(self.tables.open(table).await?);
        Ok(PlannedView { source, reads: Arc::default() })
    }

    /// What is planned now rests on more than what names stand for.
    fn rests_on_more(&mut self) {
        if let Some(reads) = self.reads.last_mut() {
            reads.rests_on_more();
        }
    }

    async fn view(&mut self, name: &RelationName, sql: &str) -> Result<PlannedView> {
        if self.within.contains(name) {
            let path: Vec<String> = self.within.iter().map(ToString::to_string).collect();
            return Err(Error::new(
                ErrorKind::Query,
                format!("the view `{name}` reads itself: {} -> {name}", path.join(" -> ")),
            ));
        }
        let now = |name: &RelationName| seen(self.find(name).as_ref());
        let known = self.views.find(name, sql, self.context, now);
        let depth = known.as_ref().map_or(1, |known| known.reads.depth);
        if self.within.len() + depth > VIEW_DEPTH {
            return Err(Error::new(
                ErrorKind::Query,
                format!("views read views more than {VIEW_DEPTH} levels deep"),
            )
            .with("view", name));
        }
        if let Some(known) = known {
            self.relations.extend(known.reads.relations.iter().cloned());
            return Ok(known);
        }
        self.within.push(name.clone());
        self.reads.push(Reads::default());
        let schemas = search_path([name.schema(), self.context.default_schema.as_str()]);
        let plan = self.plan_text(sql, &schemas).await;
        self.within.pop();
        let mut reads = self.reads.pop().unwrap_or_default();
        reads.depth += 1;
        // Line and column are those of the view's text: say whose they are.
        let plan =
            plan.map_err(|error| match error.context().iter().any(|(n, _)| *n == "view") {
                true => error,
                false => error.with("view", name),
            })?;
        let plan = match self.for_duckdb {
            true => numbered(plan).map_err(|error| from_datafusion(error, None))?,
            false => plan,
        };
        let source = Arc::new(View { schema: plan.schema().inner().clone(), plan });
        let planned = PlannedView { source, reads: Arc::new(reads) };
        self.views.keep(name, sql, self.context, &planned);
        Ok(planned)
    }

    fn targets(&self, reference: &TableReference, schemas: &[String]) -> Vec<Target> {
        // A view of another lake names relations of that one.
        let lake = self.within.last().and_then(RelationName::elsewhere).map(|(lake, _)| lake);
        let target = |schema: &str, table: &str| match schema {
            INFORMATION_SCHEMA => Target::Information(table.to_owned()),
            schema => {
                let name = RelationName::new(schema, table);
                Target::Relation(match lake {
                    Some(lake) if name.elsewhere().is_none() => name.of_lake(lake),
                    _ => name,
                })
            }
        };
        match reference {
            TableReference::Bare { table } => {
                schemas.iter().map(|schema| target(schema, table)).collect()
            }
            TableReference::Partial { schema, table } => vec![target(schema, table)],
            TableReference::Full { catalog, schema, table } => {
                // A view may come from a project whose target called the lake otherwise.
                let known = !self.within.is_empty()
                    || self.databases.iter().any(|name| name.eq_ignore_ascii_case(catalog));
                if known { vec![target(schema, table)] } else { Vec::new() }
            }
        }
    }

    fn look_up(
        &self,
        reference: &TableReference,
        schemas: &[String],
    ) -> Option<(RelationName, Found)> {
        self.targets(reference, schemas).into_iter().find_map(|target| {
            let Target::Relation(name) = target else { return None };
            let found = self.find(&name)?;
            Some((name, found))
        })
    }

    fn find(&self, name: &RelationName) -> Option<Found> {
        Some(match self.context.overlay.0.get(name) {
            Some(OverlayEntry::Absent) => return None,
            Some(OverlayEntry::View(sql)) => Found::View(sql.clone()),
            Some(OverlayEntry::Staged(staged)) => Found::Staged(staged.clone()),
            None => {
                let relation = self.context.snapshot.get(name)?;
                match &relation.kind {
                    RelationKind::View { sql } => Found::View(sql.clone()),
                    RelationKind::Table { .. } => Found::Published(relation.clone()),
                }
            }
        })
    }

    fn not_found(&self, reference: &TableReference, schemas: &[String]) -> Error {
        if let TableReference::Full { catalog, .. } = reference
            && !self.databases.iter().any(|name| name.eq_ignore_ascii_case(catalog))
        {
            return Error::new(
                ErrorKind::NotFound,
                format!(
                    "database `{catalog}` does not exist; this lake is `{}`",
                    self.databases.first().map_or("lake", String::as_str)
                ),
            );
        }
        let wanted = match self.targets(reference, schemas).into_iter().next() {
            Some(Target::Relation(name)) => name.to_string(),
            _ => reference.to_string(),
        };
        if reference.table().contains('"') {
            return Error::new(ErrorKind::NotFound, format!("relation `{wanted}` does not exist"))
                .with(
                    "hint",
                    "a relation that stands in quotes is a text: write `{{ ref('x') }}`, not \
                     `'{{ ref('x') }}'`",
                );
        }
        let known: Vec<String> = self.known();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        // The same name in another schema is the likeliest mistake.
        let elsewhere = names
            .iter()
            .copied()
            .find(|name| name.split_once('.').is_some_and(|(_, table)| table == reference.table()));
        let mut message = format!("relation `{wanted}` does not exist");
        if let Some(near) = elsewhere.or_else(|| nearest(&wanted, &names)) {
            message.push_str(&format!("; did you mean `{near}`?"));
        }
        Error::new(ErrorKind::NotFound, message)
    }

    fn known(&self) -> Vec<String> {
        let published = self.context.snapshot.relations.keys();
        published.chain(self.context.overlay.0.keys()).map(ToString::to_string).collect()
    }
}

/// The schemas in which a bare name is looked for: these, and at last PostgreSQL's `public`, where tables
/// of others usually stand.
fn search_path<'s>(schemas: impl IntoIterator<Item = &'s str>) -> Vec<String> {
    schemas.into_iter().chain(["public"]).map(str::to_owned).collect()
}

/// What a plan of a view remembers of a name; `None` of what is not published yet.
fn seen(found: Option<&Found>) -> Option<Seen> {
    match found {
        None => Some(Seen::Absent),
        Some(Found::View(sql)) => Some(Seen::View(sql.clone())),
        Some(Found::Published(relation)) => Some(Seen::Published(relation.clone())),
        Some(Found::Staged(_)) => None,
    }
}

enum Found {
    Published(Arc<tidemill_core::PublishedRelation>),
    Staged(Arc<tidemill_core::Staged>),
    View(String),
}

/// What a query can ask about the session that it runs in.
#[derive(Clone, Copy)]
struct Session<'a> {
    /// The lake's name.
    database: &'a str,
    /// The first schema in which names are looked for.
    schema: &'a str,
    user: &'a str,
}

impl<'a> Session<'a> {
    fn named(self, word: &str) -> Option<&'a str> {
        Some(match word {
            "current_database" | "current_catalog" => self.database,
            "current_schema" => self.schema,
            "current_user" | "session_user" | "current_role" => self.user,
            _ => return None,
        })
    }

    /// `current_user` without parentheses, where the error says that no column is called so.
    fn put(self, statement: &mut Statement, error: &DataFusionError) -> bool {
        let Some(missing) = crate::spelling::Missing::of(error) else { return false };
        let (Some(value), Some(place), None) = (
            self.named(&missing.field.name).filter(|_| missing.field.name != "current_database"),
            missing.place,
            &missing.field.relation,
        ) else {
            return false;
        };
        keep_name(statement, &missing.field.name, place);
        let mut changed = false;
        let _ = ast::visit_expressions_mut(statement, |expr| {
            if matches!(expr, ast::Expr::Identifier(_)) && stands_at(expr, place) {
                *expr = text(value);
                changed = true;
            }
            std::ops::ControlFlow::<()>::Continue(())
        });
        changed
    }
}

/// The calls of a statement that ask about its session.
fn name_session(statement: &mut Statement, session: Session<'_>) {
    use datafusion::sql::sqlparser::ast::Expr;
    let _ = datafusion::sql::sqlparser::ast::visit_expressions_mut(statement, |expr| {
        if let Expr::Function(function) = expr
            && let Some(value) = simple_name(function).and_then(|word| session.named(&word))
        {
            *expr = text(value);
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}

/// The plan of a statement in which names are settled that only the planner finds missing.
fn settled_plan(
    planner: &SqlToRel<'_, Names<'_>>,
    statement: &mut Statement,
    session: Session<'_>,
) -> datafusion::common::Result<LogicalPlan> {
    let plan = |statement: &Statement| {
        planner.statement_to_plan(PlannedStatement::Statement(Box::new(statement.clone())))
    };
    let mut result = plan(statement);
    // Each turn settles one name of one select.
    for _ in 0..LATERAL_NAMES {
        let Err(error) = &result else { break };
        let used = respell(statement, error)
            || Missing::of(error).is_some_and(|name| use_result(statement, &name))
            || use_row(statement, error)
            || crate::outer_fields::reach(statement, error)
            || session.put(statement, error)
            || json_values::unmark(statement, error);
        if !used {
            break;
        }
        result = plan(statement);
    }
    result
}

/// The types that a series is made of: nanoseconds, and an interval where one is written as text.
fn as_series(arg: Expr) -> Expr {
    let Expr::Literal(value, metadata) = arg else { return arg };
    let value = match value {
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => match micros.checked_mul(1_000) {
            Some(nanos) => ScalarValue::TimestampNanosecond(Some(nanos), zone),
            None => ScalarValue::TimestampMicrosecond(Some(micros), zone),
        },
        ScalarValue::Utf8(Some(text)) => match read_interval(&text) {
            Some(interval) => ScalarValue::IntervalMonthDayNano(Some(interval)),
            None => ScalarValue::Utf8(Some(text)),
        },
        other => other,
    };
    Expr::Literal(value, metadata)
}

/// The plan of a view whose columns have the names that DuckDB gives them.
fn numbered(plan: LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
    let schema = plan.schema().clone();
    let names = numbered_names(schema.as_arrow());
    let same = schema.fields().iter().zip(&names).all(|(field, name)| field.name() == name);
    if same {
        return Ok(plan);
    }
    let columns = schema.columns().into_iter().zip(names);
    let columns: Vec<Expr> =
        columns.map(|(column, name)| Expr::Column(column).alias(name)).collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// A value as it is written.
fn literal(value: &ScalarValue, written: &str) -> ast::Expr {
    let number =
        || ast::Expr::Value(ast::Value::Number(written.to_owned(), false).with_empty_span());
    let typed = |data_type| crate::syntax::cast(text(written), data_type);
    match value.data_type() {
        DataType::Boolean => {
            ast::Expr::Value(ast::Value::Boolean(written == "true").with_empty_span())
        }
        data_type if data_type.is_integer() || data_type.is_decimal() => number(),
        DataType::Float32 | DataType::Float64 => typed(ast::DataType::DoublePrecision),
        DataType::Date32 => typed(ast::DataType::Date),
        DataType::Timestamp(_, None) => {
            typed(ast::DataType::Timestamp(None, ast::TimezoneInfo::None))
        }
        DataType::Timestamp(_, Some(_)) => {
            typed(ast::DataType::Timestamp(None, ast::TimezoneInfo::WithTimeZone))
        }
        _ => text(written),
    }
}

/// Only reached through an error: gives `Result::map` its type.
fn unreachable_plan() -> LogicalPlan {
    LogicalPlan::default()
}

pub(crate) fn parser_options() -> ParserOptions {
    ParserOptions::new().with_parse_float_as_decimal(true).with_collect_spans(true)
}

/// Deny by default: nodes that only read are listed, everything else is refused.
fn refuse_writes(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        let reads = matches!(
            node,
            LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Aggregate(_)
                | LogicalPlan::Sort(_)
                | LogicalPlan::Join(_)
                | LogicalPlan::Repartition(_)
                | LogicalPlan::Union(_)
                | LogicalPlan::TableScan(_)
                | LogicalPlan::EmptyRelation(_)
                | LogicalPlan::Subquery(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Limit(_)
                | LogicalPlan::Values(_)
                | LogicalPlan::Explain(_)
                | LogicalPlan::Analyze(_)
                | LogicalPlan::Distinct(_)
                | LogicalPlan::Unnest(_)
                | LogicalPlan::RecursiveQuery(_)
        );
        if reads {
            return Ok(TreeNodeRecursion::Continue);
        }
        refused = Some(node.display().to_string());
        Ok(TreeNodeRecursion::Stop)
    })
    .map_err(|error| from_datafusion(error, None))?;
    match refused {
        Some(node) => {
            Err(Error::new(ErrorKind::Denied, "only queries can be run here").with("refused", node))
        }
        None => Ok(()),
    }
}

/// A view: its plan stands where its name stood.
struct View {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl TableSource for View {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// What DataFusion's SQL planner asks while it plans one text.
struct Names<'a> {
    state: &'a SessionState,
    types: Arc<Types>,
    found: HashMap<TableReference, Result<Arc<dyn TableSource>>>,
}

impl ContextProvider for Names<'_> {
    fn get_table_source(
        &self,
        name: TableReference,
    ) -> datafusion::common::Result<Arc<dyn TableSource>> {
        match self.found.get(&name) {
            Some(Ok(source)) => Ok(source.clone()),
            Some(Err(error)) => Err(DataFusionError::External(Box::new(again(error)))),
            None => Err(DataFusionError::Plan(format!("relation `{name}` does not exist"))),
        }
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> datafusion::common::Result<Arc<dyn TableSource>> {
        let function = self.state.table_functions().get(name).ok_or_else(|| {
            DataFusionError::Plan(format!("table function `{name}` does not exist"))
        })?;
        let schema = datafusion::common::DFSchema::empty();
        let simplify = datafusion::logical_expr::simplify::SimplifyContext::builder()
            .with_config_options(self.state.config_options().clone())
            .with_query_execution_start_time(
                self.state.execution_props().query_execution_start_time,
            )
            .build();
        let simplifier = datafusion::optimizer::simplify_expressions::ExprSimplifier::new(simplify);
        let args = args
            .into_iter()
            .map(|arg| simplifier.coerce(arg, &schema).and_then(|arg| simplifier.simplify(arg)))
            .map(|arg| arg.map(as_series))
            .collect::<datafusion::common::Result<Vec<_>>>()?;
        let provider =
            function.create_table_provider_with_args(TableFunctionArgs::new(&args, self.state))?;
        Ok(provider_as_source(provider))
    }

    fn create_cte_work_table(
        &self,
        name: &str,
        schema: SchemaRef,
    ) -> datafusion::common::Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(self.types.clone())
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

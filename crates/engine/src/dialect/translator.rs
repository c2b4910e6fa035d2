//! The tree of a query of another system, changed to one of the engine's.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, DateTimeField, Expr, Function,
    FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, Interval, JoinConstraint,
    JoinOperator, NamedWindowDefinition, NamedWindowExpr, OrderBy, OrderByExpr, OrderByKind,
    OrderByOptions, PivotValueSource, Query, Select, SelectFlavor, SelectItem, SetExpr,
    SetOperator, SetQuantifier, Statement, StructField, Subscript, TableFactor, TypedString,
    UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut, WildcardAdditionalOptions,
    WindowType,
};
use tidemill_core::{Error, Result, SqlDialect};

use super::rules::{Rules, closed, rules, template};
use super::{duckdb, refused, relations, types};
use crate::names::folded;
use crate::syntax::{
    call, cast, interval_of, nested, number, plain_arguments, signed_power, simple_name, text,
};

/// Changes a whole statement in place.
pub(super) fn translate(statement: &mut Statement, dialect: SqlDialect) -> Result<()> {
    walk(statement, Translator::new(dialect, false))
}

/// Changes what is known in place, and leaves the rest as it is.
pub(super) fn adapt(statement: &mut Statement, dialect: SqlDialect) -> Result<()> {
    walk(statement, Translator::new(dialect, true))
}

fn walk(statement: &mut Statement, mut translator: Translator) -> Result<()> {
    if translator.dialect == SqlDialect::DuckDb {
        super::unnamed::name(statement);
    }
    if translator.dialect == SqlDialect::Redshift {
        translator.relations = super::redshift::Relations::of(statement);
    }
    match VisitMut::visit(statement, &mut translator) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Translator {
    dialect: SqlDialect,
    rules: &'static Rules,
    /// What has no translation stays as it is.
    loose: bool,
    /// Functions in `from` and the names that they have there, by which their column is called.
    renamed: HashSet<(String, String)>,
    /// What relations are called, in Redshift.
    relations: super::redshift::Relations,
}

impl VisitorMut for Translator {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        flow(self.query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if self.dialect == SqlDialect::DuckDb {
            let tables = select.from.iter().flat_map(|table| {
                let joined = table.joins.iter().map(|join| &join.relation);
                std::iter::once(&table.relation).chain(joined)
            });
            self.renamed.extend(tables.filter_map(relations::renamed));
        }
        if self.dialect == SqlDialect::Redshift {
            self.relations.arrays(select);
        }
        flow(self.select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match relations::settle(factor, self.dialect) {
            // The engine may know it, or says that nobody does.
            Err(_) if self.loose => ControlFlow::Continue(()),
            done => flow(done),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if self.dialect == SqlDialect::DuckDb
            && let Some(called) = duckdb::chained(expr, |name| self.rules.knows(name))
        {
            *expr = called;
        }
        if self.dialect == SqlDialect::DuckDb
            && let Some(power) = signed_power(expr)
        {
            *expr = power;
        }
        if self.dialect == SqlDialect::BigQuery
            && let Expr::Subquery(query)
            | Expr::InSubquery { subquery: query, .. }
            | Expr::Function(Function { args: FunctionArguments::Subquery(query), .. }) = expr
            && let Err(error) = super::bigquery::value_within(query)
        {
            return ControlFlow::Break(error);
        }
        // The part of a date is no function: `date_trunc(d, week(monday))`.
        if self.dialect == SqlDialect::BigQuery
            && let Expr::Function(function) = expr
            && let FunctionArguments::List(list) = &mut function.args
        {
            use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr};
            for argument in &mut list.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument
                    && let Expr::Function(week) = &*argument
                    && simple_name(week).as_deref() == Some("week")
                    && let Some([Expr::Identifier(day)]) = plain_arguments(week).as_deref()
                {
                    *argument =
                        Expr::Identifier(Ident::new(format!("week_{}", day.value.to_lowercase())));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.expr(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(replaced)) => {
                *expr = replaced;
                ControlFlow::Continue(())
            }
            // What nobody knows there may be of a macro for this engine.
            Err(_) if self.loose && !self.refuses(expr) => ControlFlow::Continue(()),
            Err(error) => {
                use datafusion::sql::sqlparser::ast::Spanned;
                let start = expr.span().start;
                let known = error.context().iter().any(|(name, _)| *name == "line");
                ControlFlow::Break(match start.line > 0 && !known {
                    true => error.with("line", start.line).with("column", start.column),
                    false => error,
                })
            }
        }
    }
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Err(error) => ControlFlow::Break(error),
        Ok(()) => ControlFlow::Continue(()),
    }
}

impl Translator {
    fn new(dialect: SqlDialect, loose: bool) -> Translator {
        Translator {
            dialect,
            rules: rules(dialect),
            loose,
            renamed: HashSet::new(),
            relations: super::redshift::Relations::default(),
        }
    }

    /// Whether an expression that has no translation is known to mean another thing there.
    fn refuses(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::Function(function) if self.rules.refuses(function))
    }

    fn query(&self, query: &mut Query) -> Result<()> {
        if !query.pipe_operators.is_empty() {
            return Err(refused("`|>` (pipe syntax)", "write the query with `select … from`"));
        }
        set_operations(&mut query.body);
        if self.dialect == SqlDialect::Snowflake
            && let Some(with) = &mut query.with
        {
            with.recursive |= with.cte_tables.iter().any(super::warehouse::reads_itself);
        }
        if let Some(OrderBy { kind, .. }) = &mut query.order_by {
            // `order by all`, where the parser sees a name.
            if matches!(self.dialect, SqlDialect::Snowflake | SqlDialect::Databricks)
                && let OrderByKind::Expressions(columns) = &*kind
                && let [OrderByExpr { expr: Expr::Identifier(name), options, .. }] =
                    columns.as_slice()
                && name.quote_style.is_none()
                && name.value.eq_ignore_ascii_case("all")
            {
                *kind = OrderByKind::All(*options);
            }
            if let OrderByKind::All(options) = kind {
                *kind = OrderByKind::Expressions(all_columns(&query.body, options)?);
            }
            if let OrderByKind::Expressions(columns) = kind {
                self.orders(columns);
            }
        }
        Ok(())
    }

    /// Where NULLs stand when nothing is said.
    fn orders(&self, columns: &mut [OrderByExpr]) {
        for column in columns {
            self.order(&mut column.options);
        }
    }

    fn order(&self, options: &mut OrderByOptions) {
        let descending = options.asc == Some(false);
        let first = match self.dialect {
            SqlDialect::BigQuery | SqlDialect::Databricks => !descending,
            SqlDialect::DuckDb => false,
            _ => return,
        };
        options.nulls_first.get_or_insert(first);
    }

    fn select(&self, select: &mut Select) -> Result<()> {
        match select.flavor {
            SelectFlavor::Standard => {}
            SelectFlavor::FromFirst => select.flavor = SelectFlavor::Standard,
            SelectFlavor::FromFirstNoSelect => {
                select.flavor = SelectFlavor::Standard;
                if select.projection.is_empty() {
                    select.projection =
                        vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
                }
            }
        }
        // They say where rows are kept, not which there are.
        if self.dialect == SqlDialect::Databricks {
            select.cluster_by.clear();
            select.distribute_by.clear();
            select.sort_by.clear();
        }
        for NamedWindowDefinition(_, definition) in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = definition {
                self.orders(&mut spec.order_by);
            }
        }
        // `group by ()`: one group, which there must be an aggregate of.
        if let GroupByExpr::Expressions(columns, _) = &mut select.group_by
            && matches!(columns.as_slice(), [Expr::Tuple(nothing)] if nothing.is_empty())
        {
            columns.clear();
        }
        if let GroupByExpr::Expressions(columns, _) = &mut select.group_by {
            columns.iter_mut().for_each(super::warehouse::grouping);
        }
        if let GroupByExpr::Expressions(_, modifiers) = &select.group_by
            && modifiers.len() > 1
        {
            return Err(refused("this form of `group by`", "use `group by grouping sets (…)`"));
        }
        if self.dialect == SqlDialect::BigQuery {
            super::bigquery::value_table(select)?;
            super::bigquery::arrays(select);
        }
        relations::lateral_views(select)?;
        relations::outer_joins(select, self.dialect)?;
        for table in &mut select.from {
            for join in &mut table.joins {
                // A join with the items of an array needs no condition there.
                if let JoinOperator::Left(constraint @ JoinConstraint::None)
                | JoinOperator::LeftOuter(constraint @ JoinConstraint::None) =
                    &mut join.join_operator
                {
                    *constraint =
                        JoinConstraint::On(Expr::Value(Value::Boolean(true).with_empty_span()));
                }
            }
        }
        if self.dialect == SqlDialect::Redshift {
            super::redshift::name_averages(&mut select.projection);
        }
        for item in &mut select.projection {
            self.item(item)?;
        }
        if self.dialect == SqlDialect::Snowflake {
            super::asof::matched(select)?;
            super::asof::settle(select)?;
        }
        if self.dialect == SqlDialect::DuckDb {
            super::asof::settle(select)?;
            super::positional::settle(select)?;
            duckdb::conditions(select);
            duckdb::number_names(&mut select.projection);
        }
        Ok(())
    }

    fn item(&self, item: &mut SelectItem) -> Result<()> {
        // A field is called by its name.
        if self.dialect == SqlDialect::Redshift
            && let SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(words)) = &*item
            && self.relations.navigated(words).is_some()
            && let Some(alias) = words.last().cloned()
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            return Ok(());
        }
        if matches!(self.dialect, SqlDialect::DuckDb | SqlDialect::Snowflake)
            && let SelectItem::Wildcard(options) = item
            && options.opt_rename.is_some()
        {
            *item = SelectItem::UnnamedExpr(duckdb::columns(options.clone()));
            return Ok(());
        }
        if let SelectItem::Wildcard(options) = item
            && let Some(ilike) = &options.opt_ilike
        {
            let name = Expr::Identifier(Ident::new("tidemill_name"));
            let like = Expr::ILike {
                negated: false,
                any: false,
                expr: Box::new(name.clone()),
                pattern: Box::new(text(&ilike.pattern)),
                escape_char: None,
            };
            let named = call(crate::syntax::LAMBDA, vec![name, like]);
            *item = SelectItem::UnnamedExpr(call("columns", vec![named]));
            return Ok(());
        }
        if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item
            && options.opt_rename.is_some()
        {
            return Err(refused(
                "`* rename`",
                "name the columns, or write `* exclude (a), a as b`, which puts `b` last",
            ));
        }
        Ok(())
    }

    fn expr(&self, expr: &mut Expr) -> Result<Option<Expr>> {
        let dialect = self.dialect;
        if dialect == SqlDialect::DuckDb {
            duckdb::conditions_within(expr);
        }
        if let Some(all) = super::warehouse::like_all(expr, dialect) {
            return Ok(Some(all));
        }
        Ok(match expr {
            Expr::Function(function) => {
                self.clauses(function);
                if dialect == SqlDialect::BigQuery {
                    let rules = |function: &Function| self.rules.apply(function, dialect);
                    let replaced = match super::bigquery::bounded(function)? {
                        None => super::bigquery::safe(function, rules)?,
                        bounded => bounded,
                    };
                    if replaced.is_some() {
                        return Ok(replaced);
                    }
                }
                super::warehouse::frames(function, dialect);
                if matches!(dialect, SqlDialect::Snowflake | SqlDialect::Databricks)
                    && simple_name(function).as_deref() == Some("count")
                {
                    super::warehouse::count_of_several(function);
                }
                if dialect != SqlDialect::DuckDb {
                    let replaced = match super::listed::aggregate(function)? {
                        None => super::warehouse::percentile_over(function),
                        listed => listed,
                    };
                    if replaced.is_some() {
                        return Ok(replaced);
                    }
                }
                if let Some(replaced) = self.ordered_aggregate(function)? {
                    return Ok(Some(replaced));
                }
                if dialect == SqlDialect::DuckDb {
                    duckdb::texts(function);
                }
                // Its values are DuckDB's own; here they are others, without a sign as there.
                if self.loose
                    && simple_name(function).as_deref() == Some("hash")
                    && let Some([_, ..]) = plain_arguments(function).as_deref()
                {
                    let hash = Expr::Function(function.clone());
                    let written =
                        "cast(h as numeric(20, 0)) + cast('9223372036854775808' as numeric(20, 0))";
                    return template(written, &[("h", hash)], dialect).map(Some);
                }
                if let Some(packed) = duckdb::packed(function) {
                    return Ok(Some(packed));
                }
                self.rules.apply(function, dialect)?
            }
            Expr::Cast { kind, expr: value, data_type, format, .. } => {
                let unsigned = match dialect {
                    SqlDialect::DuckDb => duckdb::unsigned(data_type),
                    _ => None,
                };
                let replaced = self.cast(kind, value, data_type, format.is_some())?;
                let Some(unsigned) = unsigned else { return Ok(replaced) };
                let name = match kind {
                    CastKind::TryCast => "tidemill_try_unsigned",
                    _ => "tidemill_unsigned",
                };
                let value = replaced.unwrap_or_else(|| expr.clone());
                Some(call(name, vec![value, text(unsigned)]))
            }
            Expr::TypedString(TypedString { data_type, value, .. }) => {
                types::settle(data_type, dialect)?;
                let value = plain_string(&value.value).unwrap_or_else(|| value.value.clone());
                match data_type {
                    DataType::Timestamp(..) | DataType::Datetime(_) => {
                        Some(cast(Expr::Value(value.with_empty_span()), data_type.clone()))
                    }
                    DataType::JSON => Some(Expr::Value(value.with_empty_span())),
                    _ => None,
                }
            }
            Expr::Value(value) => self.value(value)?,
            Expr::JsonAccess { value, path } => Some(self.json(value, path)?),
            Expr::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain)?,
            Expr::BinaryOp { left, op, right } => self.operator(left, op, right)?,
            Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr: value } => {
                Some(template("(-1 - x)", &[("x", value.as_ref().clone())], dialect)?)
            }
            Expr::UnaryOp { op: op @ UnaryOperator::BangNot, .. } => {
                *op = UnaryOperator::Not;
                None
            }
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                if matches!(dialect, SqlDialect::Snowflake | SqlDialect::DuckDb)
                    && escape_char.is_none()
                {
                    without_escape(pattern);
                }
                None
            }
            // A regular expression, and the whole text.
            Expr::SimilarTo { negated, expr: value, pattern, escape_char: None }
                if dialect == SqlDialect::DuckDb =>
            {
                let parameters = [("x", value.as_ref().clone()), ("p", pattern.as_ref().clone())];
                let written = match negated {
                    true => "(not regexp_full_match(x, p))",
                    false => "regexp_full_match(x, p)",
                };
                Some(template(written, &parameters, dialect)?)
            }
            Expr::RLike { negated, expr: value, pattern, .. } => {
                let parameters = [("x", value.as_ref().clone()), ("p", pattern.as_ref().clone())];
                let found = match dialect {
                    SqlDialect::Snowflake => {
                        template("regexp_like(x, '^(?:' || p || ')$')", &parameters, dialect)?
                    }
                    _ => template("regexp_like(x, p)", &parameters, dialect)?,
                };
                Some(match negated {
                    true => nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(found) }),
                    false => found,
                })
            }
            Expr::Interval(interval) => interval_literal(interval)?,
            Expr::Extract { field, expr: value, .. } => Some(self.extract(field, value)?),
            Expr::Struct { values, fields } => Some(structure(values, fields, dialect)?),
            // The engine reads it, and the arguments of `read_csv` are no values.
            Expr::Dictionary(_) if self.loose => None,
            Expr::Dictionary(fields) => {
                let mut arguments = Vec::new();
                for field in fields {
                    arguments.push(text(&field.key.value));
                    arguments.push(field.value.as_ref().clone());
                }
                Some(call("named_struct", arguments))
            }
            Expr::Array(array) => {
                array.named = true;
                if dialect == SqlDialect::BigQuery {
                    super::bigquery::name_alike(&mut array.elem);
                }
                None
            }
            // A word of the engine's grammar.
            Expr::Identifier(name)
                if dialect == SqlDialect::BigQuery
                    && name.quote_style.is_none()
                    && name.value.eq_ignore_ascii_case("offset") =>
            {
                *name = Ident::with_quote_and_span('"', name.span, "offset");
                None
            }
            Expr::InUnnest { expr: value, array_expr, negated } => {
                let parameters =
                    [("x", value.as_ref().clone()), ("a", array_expr.as_ref().clone())];
                let written = if *negated { "not (x = any(a))" } else { "x = any(a)" };
                Some(template(written, &parameters, dialect)?)
            }
            Expr::Substring { expr: value, substring_from, substring_for, .. }
                if dialect != SqlDialect::Redshift =>
            {
                let Some(from) = substring_from else { return Ok(None) };
                let mut arguments = vec![value.as_ref().clone(), from.as_ref().clone()];
                arguments.extend(substring_for.as_deref().cloned());
                Some(super::functions::done("substr", &arguments, dialect, "substring")?)
            }
            Expr::Trim { expr: value, .. }
                if dialect == SqlDialect::DuckDb && !duckdb::is_text(value) =>
            {
                **value = call("tidemill_as_text", vec![value.as_ref().clone()]);
                None
            }
            Expr::Position { .. } | Expr::Trim { .. } => None,
            Expr::Map(_) if dialect == SqlDialect::DuckDb => None,
            Expr::Map(_) => return Err(refused("a map", "use a struct, or JSON in text")),
            Expr::Lambda(function) => Some(duckdb::lambda(function)),
            Expr::CompoundIdentifier(parts) if dialect == SqlDialect::Redshift => {
                self.relations.navigated(parts)
            }
            // The moment of the query, in Redshift.
            Expr::Identifier(name)
                if dialect == SqlDialect::Redshift
                    && name.quote_style.is_none()
                    && name.value.eq_ignore_ascii_case("sysdate") =>
            {
                Some(template("cast(now() as timestamp)", &[], dialect)?)
            }
            Expr::CompoundIdentifier(parts) => {
                if let [relation, column] = parts.as_mut_slice()
                    && self.renamed.contains(&(folded(relation), folded(column)))
                {
                    *column = relation.clone();
                }
                None
            }
            _ => None,
        })
    }

    /// Orders within calls, and clauses that are no part of the engine's.
    fn clauses(&self, function: &mut Function) {
        if let Some(WindowType::WindowSpec(spec)) = &mut function.over {
            self.orders(&mut spec.order_by);
        }
        if let FunctionArguments::List(list) = &mut function.args {
            for clause in &mut list.clauses {
                if let FunctionArgumentClause::OrderBy(order) = clause {
                    self.orders(order);
                }
            }
        }
        let name = simple_name(function).unwrap_or_default();
        if !name.starts_with("percentile") && name != "mode" {
            self.orders(&mut function.within_group);
        }
    }

    /// `array_agg(x ignore nulls order by y limit 3)` and `array_agg(x) within group (order by y)`.
    fn ordered_aggregate(&self, function: &mut Function) -> Result<Option<Expr>> {
        use datafusion::sql::sqlparser::ast::NullTreatment;
        let name = simple_name(function).unwrap_or_default();
        if !matches!(name.as_str(), "array_agg" | "arrayagg" | "collect_list" | "list") {
            return Ok(None);
        }
        let Some(arguments) = plain_arguments(function) else { return Ok(None) };
        let [value] = arguments.as_slice() else { return Ok(None) };
        let order = std::mem::take(&mut function.within_group);
        let mut ignores = matches!(self.dialect, SqlDialect::Snowflake | SqlDialect::Databricks);
        let mut limit = None;
        if let FunctionArguments::List(list) = &mut function.args {
            if !order.is_empty() {
                list.clauses.push(FunctionArgumentClause::OrderBy(order));
            }
            list.clauses.retain(|clause| match clause {
                FunctionArgumentClause::Limit(count) => {
                    limit = Some(count.clone());
                    false
                }
                FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => {
                    ignores |= *treatment == NullTreatment::IgnoreNulls;
                    false
                }
                _ => true,
            });
        }
        if function.null_treatment.take() == Some(NullTreatment::IgnoreNulls) {
            ignores = true;
        }
        if ignores && function.over.is_none() {
            let mut filter = Expr::IsNotNull(Box::new(closed(value.clone())));
            if let Some(given) = function.filter.take() {
                filter = crate::syntax::binary(*given, BinaryOperator::And, filter);
            }
            function.filter = Some(Box::new(filter));
        }
        function.name = crate::syntax::object_name("array_agg");
        let collected = Expr::Function(function.clone());
        Ok(Some(match limit {
            Some(limit) => call("array_slice", vec![collected, number(1), limit]),
            None => collected,
        }))
    }

    fn cast(
        &self,
        kind: &mut CastKind,
        value: &mut Expr,
        data_type: &mut DataType,
        with_format: bool,
    ) -> Result<Option<Expr>> {
        if with_format {
            return Err(refused(
                "`cast … format`",
                "use `parse_date`, `format_date` or their like",
            ));
        }
        if *kind == CastKind::SafeCast {
            *kind = CastKind::TryCast;
        }
        let whole = matches!(
            data_type,
            DataType::Int(_)
                | DataType::Integer(_)
                | DataType::BigInt(_)
                | DataType::SmallInt(_)
                | DataType::TinyInt(_)
        );
        types::settle(data_type, self.dialect)?;
        if self.dialect == SqlDialect::DuckDb {
            duckdb::cast(value, data_type, whole && !is_number(value));
        }
        // Numbers are seconds since 1970 there.
        if matches!(data_type, DataType::Timestamp(..) | DataType::Datetime(_))
            && !matches!(&*value, Expr::Value(literal)
                if matches!(&literal.value, Value::SingleQuotedString(text) if text.contains('-')))
        {
            match self.dialect {
                SqlDialect::Snowflake => {
                    *value = call("tidemill_seconds", vec![value.clone()]);
                }
                SqlDialect::Databricks => {
                    *value = call("tidemill_epoch", vec![value.clone()]);
                }
                _ => {}
            }
        }
        // Spark cuts fractions off.
        let exact = matches!(&*value, Expr::Value(literal) if match &literal.value {
            Value::Number(digits, _) => !digits.contains(['.', 'e', 'E']),
            _ => true,
        });
        if whole && self.dialect == SqlDialect::Databricks && !exact {
            *value = call("tidemill_truncated", vec![value.clone()]);
        }
        Ok(None)
    }

    fn value(&self, value: &mut ValueWithSpan) -> Result<Option<Expr>> {
        if let Some(plain) = plain_string(&value.value) {
            value.value = plain;
            return Ok(None);
        }
        match &value.value {
            Value::Number(digits, long) if *long || digits.contains('_') => {
                value.value = Value::Number(digits.replace('_', ""), false);
                Ok(None)
            }
            Value::Placeholder(name) => {
                Err(refused(&format!("`{name}`"), "write the value or the column's name"))
            }
            Value::SingleQuotedByteStringLiteral(_) | Value::DoubleQuotedByteStringLiteral(_)
                if self.dialect == SqlDialect::BigQuery =>
            {
                Err(refused("a literal of bytes", "cast a text to `bytes`"))
            }
            _ => Ok(None),
        }
    }

    /// `column:a.b[0]`: the value in the JSON text, a scalar without its quotes.
    fn json(&self, value: &Expr, path: &datafusion::sql::sqlparser::ast::JsonPath) -> Result<Expr> {
        use datafusion::sql::sqlparser::ast::JsonPathElem;
        let mut reached = value.clone();
        let mut keys: Vec<Expr> = Vec::new();
        for step in &path.path {
            match step {
                JsonPathElem::Dot { key, .. } => keys.push(text(key)),
                // An array may be a list as well.
                JsonPathElem::Bracket { key } | JsonPathElem::ColonBracket { key } => {
                    reached = walked(reached, std::mem::take(&mut keys));
                    reached = call("tidemill_item", vec![reached, key.clone()]);
                }
            }
        }
        Ok(walked(reached, keys))
    }

    /// Arrays count from 0 in Snowflake and Databricks, and JSON may be reached in the same way.
    fn access(&self, root: &Expr, chain: &[AccessExpr]) -> Result<Option<Expr>> {
        if self.dialect == SqlDialect::DuckDb {
            let whole = crate::literals::whole_slices(chain);
            let chain = whole.as_deref().unwrap_or(chain);
            let slices = || Expr::CompoundFieldAccess {
                root: Box::new(root.clone()),
                access_chain: chain.to_vec(),
            };
            return Ok(fields(root, chain).or_else(|| whole.is_some().then(slices)));
        }
        if self.dialect == SqlDialect::BigQuery {
            let from_zero = from_zero(chain);
            let chain = from_zero.as_deref().unwrap_or(chain);
            let items = || Expr::CompoundFieldAccess {
                root: Box::new(root.clone()),
                access_chain: chain.to_vec(),
            };
            return Ok(fields(root, chain).or_else(|| from_zero.is_some().then(items)));
        }
        let mut reached = root.clone();
        for step in chain {
            reached = match step {
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    call("tidemill_item", vec![reached, index.clone()])
                }
                AccessExpr::Subscript(Subscript::Slice { .. }) => {
                    return Err(refused("a slice of an array", "use `array_slice`"));
                }
                // Only structs have fields there: JSON is reached with `:`.
                AccessExpr::Dot(Expr::Identifier(name))
                    if self.dialect == SqlDialect::Databricks =>
                {
                    call("get_field", vec![reached, text(&name.value)])
                }
                AccessExpr::Dot(Expr::Identifier(name)) => {
                    call("tidemill_item", vec![reached, text(&name.value)])
                }
                AccessExpr::Dot(_) => return Ok(None),
            };
        }
        Ok(Some(reached))
    }

    fn operator(
        &self,
        left: &mut Box<Expr>,
        op: &mut BinaryOperator,
        right: &mut Box<Expr>,
    ) -> Result<Option<Expr>> {
        let dialect = self.dialect;
        let own = |symbol: &str| {
            BinaryOperator::PGCustomBinaryOperator(vec![
                dialect.as_str().to_owned(),
                symbol.to_owned(),
            ])
        };
        let settled = match op {
            // Values of every type are joined to a text there; lists stay lists.
            BinaryOperator::StringConcat if dialect == SqlDialect::DuckDb => {
                for side in [left, right] {
                    if !duckdb::is_text(side) && !matches!(side.as_ref(), Expr::BinaryOp { .. }) {
                        **side = call("tidemill_as_text", vec![side.as_ref().clone()]);
                    }
                }
                return Ok(None);
            }
            BinaryOperator::Divide if dialect != SqlDialect::Redshift => own("/"),
            BinaryOperator::Minus
                if matches!(dialect, SqlDialect::BigQuery | SqlDialect::Databricks)
                    && !is_number(left)
                    && !is_number(right)
                    && !is_interval(right) =>
            {
                own("-")
            }
            BinaryOperator::Plus | BinaryOperator::Minus
                if matches!(dialect, SqlDialect::Snowflake | SqlDialect::Databricks)
                    && is_interval(right) =>
            {
                own(if *op == BinaryOperator::Plus { "+" } else { "-" })
            }
            BinaryOperator::Spaceship => {
                let (left, right) = (closed(left.as_ref().clone()), closed(right.as_ref().clone()));
                return Ok(Some(nested(Expr::IsNotDistinctFrom(Box::new(left), Box::new(right)))));
            }
            BinaryOperator::DuckIntegerDivide if dialect == SqlDialect::DuckDb => own("//"),
            BinaryOperator::DuckIntegerDivide | BinaryOperator::MyIntegerDivide => {
                let written = "cast(trunc(cast(a as double precision) / b) as bigint)";
                let parameters = [("a", left.as_ref().clone()), ("b", right.as_ref().clone())];
                return template(written, &parameters, dialect).map(Some);
            }
            BinaryOperator::PGExp => {
                return Ok(Some(call(
                    "power",
                    vec![left.as_ref().clone(), right.as_ref().clone()],
                )));
            }
            BinaryOperator::BitwiseXor if dialect == SqlDialect::DuckDb => {
                return Ok(Some(call(
                    "power",
                    vec![left.as_ref().clone(), right.as_ref().clone()],
                )));
            }
            // An exclusive or, which is `#` here.
            BinaryOperator::BitwiseXor
                if matches!(dialect, SqlDialect::BigQuery | SqlDialect::Databricks) =>
            {
                *op = BinaryOperator::PGBitwiseXor;
                return Ok(None);
            }
            BinaryOperator::PGStartsWith => {
                return Ok(Some(call(
                    "starts_with",
                    vec![left.as_ref().clone(), right.as_ref().clone()],
                )));
            }
            BinaryOperator::PGRegexMatch | BinaryOperator::PGRegexNotMatch
                if dialect == SqlDialect::DuckDb =>
            {
                return Err(refused(
                    "`~` of duckdb, which its versions take in two ways,",
                    "use `regexp_matches` or `regexp_full_match`",
                ));
            }
            // A path and not a key.
            BinaryOperator::Arrow | BinaryOperator::LongArrow
                if matches!(right.as_ref(), Expr::Value(value)
                    if matches!(&value.value, Value::SingleQuotedString(path) if path.starts_with('$'))) =>
            {
                // A path with a star may find several.
                let several = dialect == SqlDialect::DuckDb
                    && matches!(right.as_ref(), Expr::Value(value)
                        if matches!(&value.value, Value::SingleQuotedString(path) if path.contains('*')));
                let name = match (op, several) {
                    (BinaryOperator::Arrow, true) => "tidemill_json_all",
                    (BinaryOperator::Arrow, false) => "tidemill_json_at",
                    (_, true) => "tidemill_json_all_texts",
                    (_, false) => "json_path",
                };
                return Ok(Some(call(name, vec![left.as_ref().clone(), right.as_ref().clone()])));
            }
            // Without the blanks of the text, which PostgreSQL's keeps.
            BinaryOperator::Arrow | BinaryOperator::LongArrow if dialect == SqlDialect::DuckDb => {
                let name = match op {
                    BinaryOperator::Arrow => "tidemill_json_part",
                    _ => "tidemill_walked_text",
                };
                return Ok(Some(call(name, vec![left.as_ref().clone(), right.as_ref().clone()])));
            }
            _ => return Ok(None),
        };
        let (left, right) = (closed(left.as_ref().clone()), closed(right.as_ref().clone()));
        Ok(Some(nested(Expr::BinaryOp {
            left: Box::new(left),
            op: settled,
            right: Box::new(right),
        })))
    }

    fn extract(&self, field: &DateTimeField, value: &Expr) -> Result<Expr> {
        let dialect = self.dialect;
        let word = match field {
            DateTimeField::Week(Some(day)) => format!("week_{}", day.value.to_lowercase()),
            DateTimeField::Custom(word) => word.value.to_lowercase(),
            other => other.to_string().to_lowercase(),
        };
        let written = match (dialect, word.as_str()) {
            (SqlDialect::BigQuery | SqlDialect::Databricks, "dayofweek")
            | (SqlDialect::Databricks, "dow") => "cast(date_part('dow', x) as bigint) + 1",
            (SqlDialect::Databricks, "dow_iso" | "dayofweek_iso") => {
                "cast(date_part('isodow', x) as bigint)"
            }
            (SqlDialect::BigQuery, week)
                if let Some(number) = super::weeks::number_of(value, week, dialect) =>
            {
                return number;
            }
            (SqlDialect::BigQuery, "isoweek") => "cast(date_part('week', x) as bigint)",
            (SqlDialect::BigQuery, "date") => "cast(x as date)",
            (_, "epoch") if dialect != SqlDialect::Snowflake => "date_part('epoch', x)",
            (SqlDialect::Databricks, "second" | "seconds") => "date_part('second', x)",
            (SqlDialect::Snowflake | SqlDialect::BigQuery | SqlDialect::DuckDb, "second") => {
                "cast(floor(date_part('second', x)) as bigint)"
            }
            (_, other) => {
                let Some(unit) = crate::functions::date_unit(other) else {
                    return Err(refused(&format!("`extract({other} from …)` of {dialect}"), ""));
                };
                let parameters = [("x", value.clone()), ("u", text(unit))];
                return template("cast(date_part(u, x) as bigint)", &parameters, dialect);
            }
        };
        template(written, &[("x", value.clone())], dialect)
    }
}

/// What stands under these keys of a JSON text.
fn walked(value: Expr, keys: Vec<Expr>) -> Expr {
    if keys.is_empty() {
        return value;
    }
    call("tidemill_walked_text", std::iter::once(value).chain(keys).collect())
}

/// `a[0]` of BigQuery is `a[offset(0)]`; nothing where no place is written so.
fn from_zero(chain: &[AccessExpr]) -> Option<Vec<AccessExpr>> {
    let mut changed = false;
    let chain = chain.iter().map(|step| match step {
        AccessExpr::Subscript(Subscript::Index { index }) if is_number(index) => {
            changed = true;
            let index = call("offset", vec![index.clone()]);
            AccessExpr::Subscript(Subscript::Index { index })
        }
        other => other.clone(),
    });
    let chain: Vec<AccessExpr> = chain.collect();
    changed.then_some(chain)
}

/// `struct(…).a`: the fields of what is no column.
fn fields(root: &Expr, chain: &[AccessExpr]) -> Option<Expr> {
    let by_place = matches!(chain.first(), Some(AccessExpr::Subscript(_)))
        && chain.iter().any(|step| matches!(step, AccessExpr::Dot(_)));
    if matches!(root, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) && !by_place {
        return None;
    }
    let mut reached = root.clone();
    for step in chain {
        reached = match step {
            AccessExpr::Dot(Expr::Identifier(name)) => {
                call("get_field", vec![reached, text(&name.value)])
            }
            AccessExpr::Dot(_) => return None,
            AccessExpr::Subscript(_) => Expr::CompoundFieldAccess {
                root: Box::new(closed(reached)),
                access_chain: vec![step.clone()],
            },
        };
    }
    Some(reached)
}

/// Weeks that begin on Sunday.
pub(super) fn sunday_weeks(what: &str) -> Error {
    refused(&format!("`{what}` with weeks that begin on Sunday"), "use `isoweek` or `week(monday)`")
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Interval(_) => true,
        Expr::Nested(inner) => is_interval(inner),
        Expr::BinaryOp { left, op: BinaryOperator::Multiply, right } => {
            is_interval(left) || is_interval(right)
        }
        _ => false,
    }
}

/// All strings are written in one way.
fn plain_string(value: &Value) -> Option<Value> {
    Some(Value::SingleQuotedString(match value {
        Value::DoubleQuotedString(text)
        | Value::TripleSingleQuotedString(text)
        | Value::TripleDoubleQuotedString(text)
        | Value::SingleQuotedRawStringLiteral(text)
        | Value::DoubleQuotedRawStringLiteral(text)
        | Value::TripleSingleQuotedRawStringLiteral(text)
        | Value::TripleDoubleQuotedRawStringLiteral(text)
        | Value::EscapedStringLiteral(text)
        | Value::NationalStringLiteral(text) => text.clone(),
        Value::DollarQuotedString(quoted) => quoted.value.clone(),
        _ => return None,
    }))
}

/// A pattern of `like` in which a backslash is a letter.
pub(super) fn without_escape(pattern: &mut Expr) {
    match pattern {
        Expr::Value(value) => {
            if let Value::SingleQuotedString(text) = &mut value.value {
                *text = text.replace('\\', "\\\\");
            }
        }
        Expr::Tuple(patterns) => patterns.iter_mut().for_each(without_escape),
        Expr::Nested(inner) => without_escape(inner),
        other => {
            *other = call("replace", vec![other.clone(), text("\\"), text("\\\\")]);
        }
    }
}

/// `interval 1 day`, and `interval n day` as a multiple.
fn interval_literal(interval: &mut Interval) -> Result<Option<Expr>> {
    let Some(field) = &interval.leading_field else { return Ok(None) };
    if interval.last_field.is_some() {
        return Err(refused("an interval of several fields", "write `interval '1 day 02:00:00'`"));
    }
    let (count, unit) = match field.to_string().to_lowercase().as_str() {
        "quarter" | "quarters" => (3, "month".to_owned()),
        "week" | "weeks" => (7, "day".to_owned()),
        other => (1, other.to_owned()),
    };
    if let Expr::Value(value) = interval.value.as_ref()
        && let Value::Number(digits, _) | Value::SingleQuotedString(digits) = &value.value
        && let Ok(number) = digits.trim().parse::<i64>()
    {
        let number = number.saturating_mul(count);
        return Ok(Some(interval_of(text(&format!("{number} {unit}")))));
    }
    if matches!(interval.value.as_ref(), Expr::Value(_)) {
        return Ok(None);
    }
    let one = interval_of(text(&format!("{count} {unit}")));
    let value = closed(interval.value.as_ref().clone());
    Ok(Some(nested(Expr::BinaryOp {
        left: Box::new(value),
        op: BinaryOperator::Multiply,
        right: Box::new(one),
    })))
}

/// `struct(a, b as c)`.
fn structure(values: &[Expr], fields: &[StructField], dialect: SqlDialect) -> Result<Expr> {
    let unnamed = if dialect == SqlDialect::Databricks { "col" } else { "_field_" };
    let mut arguments = Vec::new();
    for (place, value) in values.iter().enumerate() {
        let declared = fields.get(place).and_then(|field| field.field_name.as_ref());
        let (name, value) = match value {
            Expr::Named { expr, name } => (name.value.clone(), expr.as_ref().clone()),
            other => {
                let own = match other {
                    Expr::Identifier(name) => Some(name.value.clone()),
                    Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()),
                    _ => None,
                };
                let name = declared.map(|name| name.value.clone()).or(own);
                (name.unwrap_or_else(|| format!("{unnamed}{}", place + 1)), other.clone())
            }
        };
        arguments.push(text(&name));
        arguments.push(value);
    }
    Ok(call("named_struct", arguments))
}

/// `union distinct` is `union`, `minus` is `except`.
fn set_operations(body: &mut SetExpr) {
    let mut node = body;
    while let SetExpr::SetOperation { left, op, set_quantifier, right } = node {
        if *op == SetOperator::Minus {
            *op = SetOperator::Except;
        }
        if *set_quantifier == SetQuantifier::Distinct {
            *set_quantifier = SetQuantifier::None;
        }
        set_operations(right);
        node = left;
    }
}

/// `order by all`.
fn all_columns(body: &SetExpr, options: &OrderByOptions) -> Result<Vec<OrderByExpr>> {
    let mut first = body;
    while let SetExpr::SetOperation { left, set_quantifier, .. } = first {
        let by_name = matches!(
            set_quantifier,
            SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName
        );
        if by_name {
            return Err(refused("`order by all` of a union by name", "name the columns"));
        }
        first = left;
    }
    let SetExpr::Select(select) = first else {
        return Err(refused("`order by all` of this query", "name the columns"));
    };
    let wild = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    if wild {
        return Err(refused("`order by all` with `*`", "name the columns"));
    }
    Ok((1..=select.projection.len() as u64)
        .map(|place| OrderByExpr { expr: number(place), options: *options, with_fill: None })
        .collect())
}

/// Kept with the names that a system gives to the columns of a pivot.
pub(super) fn name_pivot(source: &mut PivotValueSource, dialect: SqlDialect) {
    if dialect != SqlDialect::Snowflake {
        return;
    }
    if let PivotValueSource::List(values) = source {
        for value in values {
            if value.alias.is_none()
                && let Expr::Value(literal) = &value.expr
            {
                value.alias = Some(Ident::with_quote('"', literal.value.to_string()));
            }
        }
    }
}

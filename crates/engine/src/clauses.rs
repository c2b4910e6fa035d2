//! Clauses that the parser takes and the planner would leave out of account, or knows by another
//! name: each is put into words that are planned, or refused by name. A query never runs without a
//! part of its text.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Fetch, Function, FunctionArguments, GroupByExpr, GroupByWithModifier, JoinOperator,
    LimitClause, Query, Select, SetExpr, Statement, TableAliasColumnDef, TableFactor, Top,
    TopQuantity, Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::ast::{SelectItem, SelectModifiers};
use tidemill_core::{Error, ErrorKind, Result};

use crate::rewrite::balance;
use crate::set_operations::count_copies;

/// Looks through a whole statement.
pub(crate) fn settle_clauses(statement: &mut Statement) -> Result<()> {
    match VisitMut::visit(statement, &mut Clauses) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn refused(clause: &str, instead: &str) -> Error {
    let instead = if instead.is_empty() { String::new() } else { format!("; {instead}") };
    Error::new(ErrorKind::Unsupported, format!("`{clause}` is not supported{instead}"))
}

struct Clauses;

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for Clauses {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        flow(settle_query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        flow(settle_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        flow(settle_relation(factor))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        // Here first, so that no later step walks down a deep tree.
        balance(expr);
        flow(settle_expr(expr))
    }
}

fn settle_query(query: &mut Query) -> Result<()> {
    if !query.locks.is_empty() {
        return Err(refused("for update", "queries here only read, and nothing need be locked"));
    }
    if query.for_clause.is_some() {
        return Err(refused("for xml / for json", "use `to_json`"));
    }
    if query.settings.is_some() {
        return Err(refused("settings", ""));
    }
    if query.format_clause.is_some() {
        return Err(refused("format", ""));
    }
    settle_set_operations(&mut query.body);
    if let Some(fetch) = query.fetch.take() {
        settle_fetch(fetch, query)?;
    }
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(top) = select.top.take()
    {
        settle_top(top, query)?;
    }
    if let Some(LimitClause::LimitOffset { limit_by, .. }) = &query.limit_clause
        && !limit_by.is_empty()
    {
        return Err(refused("limit … by", "use `qualify row_number() over (partition by …) <= n`"));
    }
    Ok(())
}

/// Walks down the left side, which may be long.
fn settle_set_operations(body: &mut SetExpr) {
    let mut node = body;
    loop {
        count_copies(node);
        let SetExpr::SetOperation { left, right, .. } = node else { return };
        settle_set_operations(right);
        node = left;
    }
}

/// `fetch first 5 rows only` is `limit 5`.
fn settle_fetch(fetch: Fetch, query: &mut Query) -> Result<()> {
    let Fetch { with_ties, percent, quantity } = fetch;
    if with_ties {
        return Err(refused("fetch … with ties", "use `qualify rank() over (order by …) <= n`"));
    }
    if percent {
        return Err(refused("fetch … percent", ""));
    }
    let one = || Expr::Value(Value::Number("1".to_owned(), false).with_empty_span());
    add_limit(query, quantity.unwrap_or_else(one), "fetch")
}

/// `top 5` is `limit 5`.
fn settle_top(top: Top, query: &mut Query) -> Result<()> {
    if top.with_ties {
        return Err(refused("top … with ties", "use `qualify rank() over (order by …) <= n`"));
    }
    if top.percent {
        return Err(refused("top … percent", ""));
    }
    let count = match top.quantity {
        Some(TopQuantity::Expr(expr)) => expr,
        Some(TopQuantity::Constant(count)) => {
            Expr::Value(Value::Number(count.to_string(), false).with_empty_span())
        }
        None => return Err(refused("top", "")),
    };
    add_limit(query, count, "top")
}

fn add_limit(query: &mut Query, count: Expr, clause: &str) -> Result<()> {
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(count),
                offset: None,
                limit_by: Vec::new(),
            });
            Ok(())
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => {
            *limit = Some(count);
            Ok(())
        }
        Some(_) => Err(Error::new(
            ErrorKind::Query,
            format!("`limit` and `{clause}` cannot both say how many rows are wanted"),
        )),
    }
}

fn settle_select(select: &mut Select) -> Result<()> {
    if select.prewhere.is_some() {
        return Err(refused("prewhere", "write `where`"));
    }
    if !select.connect_by.is_empty() {
        return Err(refused("connect by", "use `with recursive`"));
    }
    if !select.distribute_by.is_empty() {
        return Err(refused("distribute by", ""));
    }
    if !select.cluster_by.is_empty() {
        return Err(refused("cluster by", ""));
    }
    if !select.sort_by.is_empty() {
        return Err(refused("sort by", "write `order by`"));
    }
    if !select.lateral_views.is_empty() {
        return Err(refused("lateral view", "use `cross join unnest(…)`"));
    }
    if select.value_table_mode.is_some() {
        return Err(refused("select as struct / as value", ""));
    }
    if select.exclude.is_some() {
        return Err(refused("exclude behind the columns", "write `* exclude (…)`"));
    }
    if select.select_modifiers.as_ref().is_some_and(SelectModifiers::is_any_set) {
        return Err(refused("a modifier of `select`", ""));
    }
    if select.top.is_some() {
        return Err(refused("top", "write `limit` behind the whole query"));
    }
    for item in &select.projection {
        if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item {
            settle_wildcard(options)?;
        }
    }
    settle_grouping(&mut select.group_by)?;
    for table in &mut select.from {
        for join in &mut table.joins {
            let operator = std::mem::replace(&mut join.join_operator, JoinOperator::CrossApply);
            join.join_operator = match operator {
                JoinOperator::Semi(constraint) => JoinOperator::LeftSemi(constraint),
                JoinOperator::Anti(constraint) => JoinOperator::LeftAnti(constraint),
                JoinOperator::StraightJoin(constraint) => JoinOperator::Inner(constraint),
                JoinOperator::CrossApply | JoinOperator::OuterApply => {
                    return Err(refused(
                        "apply",
                        "use `cross join lateral` or `left join lateral`",
                    ));
                }
                JoinOperator::AsOf { .. } => {
                    return Err(refused("asof join", "use `qualify row_number()` over a join"));
                }
                JoinOperator::ArrayJoin
                | JoinOperator::LeftArrayJoin
                | JoinOperator::InnerArrayJoin => {
                    return Err(refused("array join", "use `cross join unnest(…)`"));
                }
                other => other,
            };
        }
    }
    Ok(())
}

fn settle_wildcard(options: &WildcardAdditionalOptions) -> Result<()> {
    if options.opt_ilike.is_some() {
        return Err(refused("* ilike", "name the columns"));
    }
    if options.opt_rename.is_some() {
        return Err(refused("* rename", "use `* exclude (a), a as b`"));
    }
    if options.opt_alias.is_some() {
        return Err(refused("* as", ""));
    }
    Ok(())
}

/// `group by a with rollup` is `group by rollup (a)`.
fn settle_grouping(group_by: &mut GroupByExpr) -> Result<()> {
    let (columns, modifiers) = match group_by {
        GroupByExpr::All(modifiers) if modifiers.is_empty() => return Ok(()),
        GroupByExpr::All(_) => return Err(refused("group by all with …", "name the columns")),
        GroupByExpr::Expressions(columns, modifiers) => (columns, modifiers),
    };
    match modifiers.as_slice() {
        // One group, which there must be an aggregate of.
        [] if matches!(columns.as_slice(), [Expr::Tuple(nothing)] if nothing.is_empty()) => {
            columns.clear();
            Ok(())
        }
        [] => Ok(()),
        [modifier @ (GroupByWithModifier::Rollup | GroupByWithModifier::Cube)] => {
            let sets = std::mem::take(columns).into_iter().map(|column| vec![column]).collect();
            *columns = vec![match modifier {
                GroupByWithModifier::Rollup => Expr::Rollup(sets),
                _ => Expr::Cube(sets),
            }];
            modifiers.clear();
            Ok(())
        }
        [GroupByWithModifier::Totals] => {
            Err(refused("with totals", "use `group by grouping sets (…)`"))
        }
        _ => Err(refused("this form of `group by`", "use `group by grouping sets (…)`")),
    }
}

fn settle_relation(factor: &mut TableFactor) -> Result<()> {
    match factor {
        TableFactor::Table {
            sample,
            version,
            with_ordinality,
            partitions,
            json_path,
            with_hints,
            args,
            ..
        } => {
            if sample.is_some() {
                return Err(sampling());
            }
            if version.is_some() {
                return Err(refused(
                    "the version of a table in a query",
                    "run the whole query with `--as-of`",
                ));
            }
            // Functions that give rows are settled later.
            if *with_ordinality && args.is_none() {
                return Err(refused("with ordinality", "use `row_number() over ()`"));
            }
            if !partitions.is_empty() || json_path.is_some() {
                return Err(refused("a part of a table in `from`", "write `where`"));
            }
            // Hints about locks and indexes change no result.
            with_hints.clear();
        }
        TableFactor::Derived { sample: Some(_), .. } => return Err(sampling()),
        // `unnest(x) u` is a table `u` with a column `u`.
        TableFactor::UNNEST {
            alias: Some(alias),
            array_exprs,
            with_offset,
            with_ordinality,
            ..
        } if alias.columns.is_empty()
            && array_exprs.len() == 1
            && !*with_offset
            && !*with_ordinality =>
        {
            alias.columns = vec![TableAliasColumnDef { name: alias.name.clone(), data_type: None }];
        }
        TableFactor::MatchRecognize { .. } => return Err(refused("match_recognize", "")),
        TableFactor::JsonTable { .. } | TableFactor::OpenJsonTable { .. } => {
            return Err(refused("json_table", "use `->` and `->>`"));
        }
        _ => {}
    }
    Ok(())
}

fn sampling() -> Error {
    refused("tablesample", "use `where random() < 0.01`, or `order by random() limit n`")
}

fn settle_expr(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Function(function) => settle_function(function),
        Expr::Collate { expr: inner, collation } => {
            let name = collation.to_string();
            let plain = ["c", "posix", "ucs_basic", "default", "binary"];
            if !plain.contains(&name.trim_matches('"').to_lowercase().as_str()) {
                return Err(refused(
                    &format!("collate {name}"),
                    "texts are compared by their code points, as with `collate \"C\"`",
                ));
            }
            let inner =
                std::mem::replace(inner.as_mut(), Expr::Value(Value::Null.with_empty_span()));
            *expr = inner;
            Ok(())
        }
        Expr::Value(value) => match &value.value {
            Value::HexStringLiteral(_) => Err(refused(
                "a hexadecimal literal",
                "write the number in decimal, or `decode('1f', 'hex')`",
            )),
            Value::SingleQuotedByteStringLiteral(_) => {
                Err(refused("a literal of bits", "write the number in decimal"))
            }
            Value::UnicodeStringLiteral(text) => {
                let text = Value::SingleQuotedString(text.clone());
                *expr = Expr::Value(text.with_empty_span());
                Ok(())
            }
            _ => Ok(()),
        },
        Expr::MatchAgainst { .. } => Err(refused("match … against", "use `like` or `~`")),
        Expr::OuterJoin(_) => Err(refused("(+)", "write `left join`")),
        Expr::Prior(_) => Err(refused("prior", "use `with recursive`")),
        _ => Ok(()),
    }
}

fn settle_function(function: &Function) -> Result<()> {
    if !matches!(function.parameters, FunctionArguments::None) {
        return Err(refused("two lists of arguments behind a function's name", ""));
    }
    Ok(())
}

//! `pivot` and `unpivot` whose columns are not listed: they are those of the data, or of what they
//! read.
//!
//! ```sql
//! t pivot (sum(v) for k in (any))
//! t unpivot (v for k in (columns(* exclude (id))))
//! ```
//!
//! So are those of `describe` and `summarize` (see `summaries`).
//!
//! The planner asks for them before it plans the query: which values there are is read from the same
//! state as the rows.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Distinct, Expr, ExprWithAlias, Ident, PivotValueSource, Query, SelectItem, SetExpr,
    Statement, TableFactor, TableWithJoins, Visit, Visitor, WildcardAdditionalOptions, With,
};

use arrow::datatypes::FieldRef;
use tidemill_core::Result;

use crate::cte::name_above;
use crate::summaries;
use crate::syntax::{cast, select_from, simple_name};

/// What has to be known.
#[derive(Debug)]
pub(crate) enum Question {
    /// The values of this query's one column, in the order of their texts.
    Values(Box<Query>),
    /// The names of this query's columns.
    Columns(Box<Query>),
    /// The names and types of this query's columns.
    Types(Box<Query>),
}

/// What was found out.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Values, as literals, with the names of the columns that they give.
    Values(Vec<(Expr, String)>),
    /// Names of columns.
    Columns(Vec<String>),
    /// Names and types of columns.
    Types(Vec<FieldRef>),
}

/// The first question of a statement.
pub(crate) fn question(statement: &mut Statement) -> Option<Question> {
    if !asks(statement) {
        return None;
    }
    let mut question = None;
    walk(statement, &mut |asked, _| {
        question = Some(asked);
        ControlFlow::Break(())
    });
    question
}

/// Answers the first question of a statement.
///
/// # Errors
/// None that a person can cause.
pub(crate) fn answer(statement: &mut Statement, answer: Answer) -> Result<()> {
    let mut answer = Some(answer);
    let mut done = Ok(());
    walk(statement, &mut |_, factor| {
        match (factor, answer.take()) {
            (TableFactor::Pivot { value_source, .. }, Some(Answer::Values(values))) => {
                let value = |(expr, name): (Expr, String)| ExprWithAlias {
                    expr,
                    alias: Some(Ident::with_quote('"', name)),
                };
                *value_source = PivotValueSource::List(values.into_iter().map(value).collect());
            }
            (TableFactor::Unpivot { columns, .. }, Some(Answer::Columns(names))) => {
                *columns = names
                    .into_iter()
                    .map(|name| ExprWithAlias {
                        expr: Expr::Identifier(Ident::with_quote('"', name)),
                        alias: None,
                    })
                    .collect();
            }
            (factor, Some(Answer::Types(columns))) => {
                done = summaries::answer(factor, &columns);
            }
            _ => {}
        }
        ControlFlow::Break(())
    });
    done
}

/// Whether there is a question at all: the names that a query can read are only collected where one is.
fn asks(statement: &Statement) -> bool {
    struct Asks;
    impl Visitor for Asks {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            match factor {
                TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => ControlFlow::Break(()),
                factor if summaries::asked(factor).is_some() => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    Visit::visit(statement, &mut Asks).is_break()
}

type Found<'a> = dyn FnMut(Question, &mut TableFactor) -> ControlFlow<()> + 'a;

fn walk(statement: &mut Statement, found: &mut Found<'_>) {
    if let Statement::Query(query) = statement {
        let _ = in_query(query, None, found);
    }
}

/// `outer` holds the relations that are named above.
fn in_query(query: &mut Query, outer: Option<&With>, found: &mut Found<'_>) -> ControlFlow<()> {
    let mut known = outer.cloned();
    if let Some(with) = &mut query.with {
        for table in &mut with.cte_tables {
            in_query(&mut table.query, known.as_ref(), found)?;
            name_above(&mut known, &with.with_token, with.recursive, table);
        }
    }
    in_body(&mut query.body, known.as_ref(), found)
}

fn in_body(body: &mut SetExpr, known: Option<&With>, found: &mut Found<'_>) -> ControlFlow<()> {
    match body {
        SetExpr::Select(select) => {
            for table in &mut select.from {
                in_table(table, known, found)?;
            }
            ControlFlow::Continue(())
        }
        SetExpr::Query(query) => in_query(query, known, found),
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left, known, found)?;
            in_body(right, known, found)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn in_table(
    table: &mut TableWithJoins,
    known: Option<&With>,
    found: &mut Found<'_>,
) -> ControlFlow<()> {
    in_factor(&mut table.relation, known, found)?;
    for join in &mut table.joins {
        in_factor(&mut join.relation, known, found)?;
    }
    ControlFlow::Continue(())
}

fn in_factor(
    factor: &mut TableFactor,
    known: Option<&With>,
    found: &mut Found<'_>,
) -> ControlFlow<()> {
    let asked = match factor {
        TableFactor::Derived { subquery, .. } => return in_query(subquery, known, found),
        TableFactor::NestedJoin { table_with_joins, .. } => {
            return in_table(table_with_joins, known, found);
        }
        TableFactor::Pivot { table, value_column, value_source, .. } => {
            in_factor(table, known, found)?;
            match (value_source, value_column.as_slice()) {
                (PivotValueSource::Any(_), [column]) => {
                    Some(Question::Values(Box::new(values_of(table, column, known))))
                }
                _ => None,
            }
        }
        TableFactor::Unpivot { table, columns, .. } => {
            in_factor(table, known, found)?;
            match columns.as_slice() {
                [ExprWithAlias { expr: columns @ Expr::Function(function), .. }]
                    if simple_name(function).as_deref() == Some("columns") =>
                {
                    let items = vec![SelectItem::UnnamedExpr(columns.clone())];
                    Some(Question::Columns(Box::new(from(table, items, None, known))))
                }
                _ => None,
            }
        }
        _ => summaries::asked(factor).map(|(query, _)| {
            let rows = TableFactor::Derived {
                lateral: false,
                subquery: Box::new(query.clone()),
                alias: None,
                sample: None,
            };
            let all = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
            Question::Types(Box::new(from(&rows, all, None, known)))
        }),
    };
    match asked {
        Some(asked) => found(asked, factor),
        None => ControlFlow::Continue(()),
    }
}

/// The different values of a column, and their texts.
fn values_of(table: &TableFactor, column: &Expr, known: Option<&With>) -> Query {
    let items = vec![
        SelectItem::ExprWithAlias { expr: column.clone(), alias: Ident::new("value") },
        SelectItem::ExprWithAlias {
            expr: cast(column.clone(), DataType::Varchar(None)),
            alias: Ident::new("name"),
        },
    ];
    let mut query = from(table, items, Some(Expr::IsNotNull(Box::new(column.clone()))), known);
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.distinct = Some(Distinct::Distinct);
    }
    query
}

fn from(
    table: &TableFactor,
    items: Vec<SelectItem>,
    condition: Option<Expr>,
    known: Option<&With>,
) -> Query {
    let table = TableWithJoins { relation: table.clone(), joins: Vec::new() };
    let mut query = select_from(items, vec![table], condition);
    query.with = known.cloned();
    query
}

//! `pivot` and `unpivot` as the queries that they stand for.
//!
//! ```sql
//! t pivot (sum(x) for k in ('a', 'b'))
//! (select * exclude (x, k), sum(x) filter (where k = 'a') as a, … from t group by all)
//!
//! t unpivot (v for k in (a, b))
//! (select * exclude (a, b), 'a' as k, a as v from t where a is not null union all …)
//! ```

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, ExprWithAlias, Function, GroupByExpr, Ident,
    NullInclusion, ObjectName, PivotValueSource, Query, SelectItem, SetExpr, SetOperator,
    SetQuantifier, Statement, TableAlias, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
    WildcardAdditionalOptions, visit_expressions,
};
use tidemill_core::{Error, ErrorKind, Result};

use crate::names::folded;
use crate::syntax::{binary, equals, select_from, text};

/// Looks through a whole statement.
pub(crate) fn turn_tables(statement: &mut Statement) -> Result<()> {
    struct Tables;
    impl VisitorMut for Tables {
        type Break = Error;

        fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            let turned = match factor {
                TableFactor::Pivot {
                    table,
                    aggregate_functions,
                    value_column,
                    value_source,
                    default_on_null,
                    alias,
                } => match default_on_null {
                    Some(_) => Err(unsupported("`pivot … default on null` is not supported")),
                    None => pivot(table, aggregate_functions, value_column, value_source)
                        .map(|query| (query, alias.clone())),
                },
                TableFactor::Unpivot { table, value, name, columns, null_inclusion, alias } => {
                    let keep = matches!(null_inclusion, Some(NullInclusion::IncludeNulls));
                    unpivot(table, value, name, columns, keep).map(|query| (query, alias.clone()))
                }
                _ => return ControlFlow::Continue(()),
            };
            match turned {
                Ok((query, alias)) => {
                    *factor = TableFactor::Derived {
                        lateral: false,
                        subquery: Box::new(query),
                        alias: Some(alias.unwrap_or_else(|| named("pivoted"))),
                        sample: None,
                    };
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    match VisitMut::visit(statement, &mut Tables) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn unsupported(message: &str) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

fn named(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: Ident::new(name), columns: Vec::new(), at: None }
}

fn from(table: &TableFactor) -> Vec<TableWithJoins> {
    vec![TableWithJoins { relation: table.clone(), joins: Vec::new() }]
}

/// `* exclude (…)`.
fn all_but(columns: &[Ident]) -> SelectItem {
    let names = columns.iter().map(|name| ObjectName::from(vec![name.clone()])).collect();
    SelectItem::Wildcard(WildcardAdditionalOptions {
        opt_exclude: Some(ExcludeSelectItem::Multiple(names)),
        ..WildcardAdditionalOptions::default()
    })
}

/// The columns that an expression reads.
fn columns_of(expr: &Expr, found: &mut Vec<Ident>) {
    let _ = visit_expressions(expr, |expr| {
        let name = match expr {
            Expr::Identifier(name) => Some(name),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        if let Some(name) = name
            && !found.iter().any(|known| folded(known) == folded(name))
        {
            found.push(name.clone());
        }
        ControlFlow::<()>::Continue(())
    });
}

fn pivot(
    table: &TableFactor,
    aggregates: &[ExprWithAlias],
    keys: &[Expr],
    values: &PivotValueSource,
) -> Result<Query> {
    let PivotValueSource::List(values) = values else {
        return Err(unsupported(
            "`pivot` needs the list of its values: the columns of a result are known before it runs",
        ));
    };
    let [key] = keys else {
        return Err(unsupported("`pivot … for` takes one column"));
    };
    let mut used = Vec::new();
    columns_of(key, &mut used);
    for aggregate in aggregates {
        columns_of(&aggregate.expr, &mut used);
    }
    let mut items = vec![all_but(&used)];
    for value in values {
        let name = match (&value.alias, &value.expr) {
            (Some(alias), _) => alias.clone(),
            (None, Expr::Value(literal)) => match &literal.value {
                Value::SingleQuotedString(text) => Ident::with_quote('"', text),
                other => Ident::with_quote('"', other.to_string()),
            },
            (None, other) => Ident::with_quote('"', other.to_string()),
        };
        for aggregate in aggregates {
            let Expr::Function(function) = &aggregate.expr else {
                return Err(unsupported("`pivot` takes aggregate functions, such as `sum(x)`"));
            };
            let matches = equals(key.clone(), value.expr.clone());
            let filter = match &function.filter {
                Some(filter) => binary(filter.as_ref().clone(), BinaryOperator::And, matches),
                None => matches,
            };
            let expr =
                Expr::Function(Function { filter: Some(Box::new(filter)), ..function.clone() });
            let alias = match (&aggregate.alias, aggregates.len()) {
                (None, 1) => name.clone(),
                (Some(alias), _) => {
                    Ident::with_quote('"', format!("{}_{}", name.value, folded(alias)))
                }
                (None, _) => Ident::with_quote('"', format!("{}_{}", name.value, aggregate.expr)),
            };
            items.push(SelectItem::ExprWithAlias { expr, alias });
        }
    }
    let mut query = select_from(items, from(table), None);
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.group_by = GroupByExpr::All(Vec::new());
    }
    Ok(query)
}

fn unpivot(
    table: &TableFactor,
    value: &Expr,
    name: &Ident,
    columns: &[ExprWithAlias],
    keep_nulls: bool,
) -> Result<Query> {
    let Expr::Identifier(value) = value else {
        return Err(unsupported("`unpivot` takes one column for the values"));
    };
    let mut used = Vec::new();
    for column in columns {
        if !matches!(column.expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            return Err(unsupported("`unpivot … in` takes columns"));
        }
        columns_of(&column.expr, &mut used);
    }
    let mut all: Option<SetExpr> = None;
    for (column, source) in columns.iter().zip(&used) {
        let label = column
            .alias
            .as_ref()
            .map_or_else(|| folded(source), |alias| alias.value.trim_matches('\'').to_owned());
        let items = vec![
            all_but(&used),
            SelectItem::ExprWithAlias { expr: text(&label), alias: name.clone() },
            SelectItem::ExprWithAlias { expr: column.expr.clone(), alias: value.clone() },
        ];
        let condition = (!keep_nulls).then(|| Expr::IsNotNull(Box::new(column.expr.clone())));
        let part = *select_from(items, from(table), condition).body;
        all = Some(match all {
            None => part,
            Some(left) => SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All,
                left: Box::new(left),
                right: Box::new(part),
            },
        });
    }
    let Some(body) = all else { return Err(unsupported("`unpivot … in` takes columns")) };
    let mut query = select_from(Vec::new(), Vec::new(), None);
    query.body = Box::new(body);
    Ok(query)
}

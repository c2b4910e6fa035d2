//! `columns(…)` of DuckDB: an expression is written once and stands for every column of `from` that it
//! names.
//!
//! ```sql
//! select id, round(columns('amount_.*'), 2) from t
//! select id, round(amount_net, 2) as amount_net, round(amount_gross, 2) as amount_gross from t
//! ```
//!
//! It takes `*` (with `exclude`, `replace` and `rename`), a regular expression, a list of names, or a
//! condition on the name; in `where` it holds for all of them. `* rename (a as b)` is written with it.
//!
//! `s.*` is every field of a struct `s` (without those that `except` names), and so is `unnest(s)`. Here is also where a window is put over
//! all columns (see `set_operations`).

mod chosen;

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectNamePart, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
    TableFactor, Visit, Visitor, WildcardAdditionalOptions, WindowType, With, visit_expressions,
    visit_expressions_mut,
};
use tidemill_core::{Error, ErrorKind, Result};

use self::chosen::{Chosen, chosen, left_out, listed};
use crate::cte::name_above;
use crate::names::{folded, last};
use crate::syntax::{nested, select_from, simple_name};

/// The function by which columns are named.
const COLUMNS: &str = "columns";

/// The function that stands for all columns in `partition by`.
pub(crate) const ALL_COLUMNS: &str = "tidemill_all_columns";

/// The columns that a query gives, in their order.
pub(crate) type ColumnsOf<'a> = dyn Fn(Query) -> Result<Vec<FieldRef>> + 'a;

/// Whether an expression stands for several columns.
pub(crate) fn stands_for_many(expr: &Expr) -> bool {
    visit_expressions(expr, |part| match named(part) {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    })
    .is_break()
}

/// Puts the columns in their place, with what `from` has.
///
/// # Errors
/// What `columns` cannot be asked in this way, or names no column.
pub(crate) fn settle(statement: &mut Statement, columns_of: &ColumnsOf<'_>) -> Result<()> {
    let wanted = visit_expressions(&*statement, |part| match named(part) {
        None if !is_over_all(part) => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    let wanted = wanted.is_break() || has_fields(statement);
    let Statement::Query(query) = statement else { return Ok(()) };
    match wanted {
        true => in_query(query, None, columns_of),
        false => Ok(()),
    }
}

/// Whether there is a `s.*` of what is no relation of its select, as far as can be seen.
fn has_fields(statement: &Statement) -> bool {
    struct Stars;
    impl Visitor for Stars {
        type Break = ();

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            match select.projection.iter().any(|item| of_fields(item, select).is_some()) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    Visit::visit(statement, &mut Stars).is_break()
}

/// The column whose fields `s.*` or `t.s.*` asks for: no relation of the select has its name.
fn of_fields<'a>(
    item: &'a SelectItem,
    select: &Select,
) -> Option<(&'a Ident, &'a WildcardAdditionalOptions)> {
    let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) =
        item
    else {
        return None;
    };
    let related = |wanted: &str| {
        let is = |factor: &TableFactor| match factor {
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. } => folded(&alias.name) == wanted,
            TableFactor::Table { name, .. } => last(name).is_none_or(|name| name == wanted),
            TableFactor::Derived { alias: None, .. } => false,
            // What gives rows in another way may have any name.
            _ => true,
        };
        let mut tables = select.from.iter();
        tables.any(|table| is(&table.relation) || table.joins.iter().any(|join| is(&join.relation)))
    };
    // Names are left out, and nothing else.
    let plain =
        WildcardAdditionalOptions { opt_exclude: None, opt_except: None, ..options.clone() };
    if !plain.to_string().is_empty() {
        return None;
    }
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] if !related(&folded(name)) => Some((name, options)),
        [ObjectNamePart::Identifier(relation), ObjectNamePart::Identifier(name)]
            if related(&folded(relation)) =>
        {
            let only = matches!(select.from.as_slice(), [table] if table.joins.is_empty());
            // A schema and its table have two names as well.
            let aliased =
                !matches!(&select.from[0].relation, TableFactor::Table { alias: None, .. });
            (only && aliased).then_some((name, options))
        }
        _ => None,
    }
}

/// The fields of a struct, each as a column.
fn fields_of(name: &Ident, columns: &[FieldRef]) -> Option<Vec<(Expr, String)>> {
    let wanted = folded(name);
    let column = columns
        .iter()
        .find(|column| *column.name() == wanted)
        .or_else(|| columns.iter().find(|column| column.name().eq_ignore_ascii_case(&wanted)))?;
    let DataType::Struct(fields) = column.data_type() else { return None };
    let field = |field: &FieldRef| {
        let whole = Expr::Identifier(Ident::with_quote('"', column.name()));
        let value =
            crate::syntax::call("get_field", vec![whole, crate::syntax::text(field.name())]);
        (value, field.name().clone())
    };
    Some(fields.iter().map(field).collect())
}

/// The argument of a call of `columns`.
fn named(expr: &Expr) -> Option<&FunctionArgExpr> {
    let Expr::Function(function) = expr else { return None };
    argument_of(function)
}

fn argument_of(function: &Function) -> Option<&FunctionArgExpr> {
    if simple_name(function)? != COLUMNS {
        return None;
    }
    match &function.args {
        FunctionArguments::List(list) => match list.args.as_slice() {
            [FunctionArg::Unnamed(argument)] => Some(argument),
            _ => None,
        },
        _ => None,
    }
}

/// `outer` holds the relations that are named above.
fn in_query(query: &mut Query, outer: Option<&With>, columns_of: &ColumnsOf<'_>) -> Result<()> {
    let mut known = outer.cloned();
    if let Some(with) = &mut query.with {
        for table in &mut with.cte_tables {
            in_query(&mut table.query, known.as_ref(), columns_of)?;
            name_above(&mut known, &with.with_token, with.recursive, table);
        }
    }
    in_body(&mut query.body, known.as_ref(), columns_of)
}

fn in_body(body: &mut SetExpr, known: Option<&With>, columns_of: &ColumnsOf<'_>) -> Result<()> {
    match body {
        SetExpr::Select(select) => in_select(select, known, columns_of),
        SetExpr::Query(query) => in_query(query, known, columns_of),
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left, known, columns_of)?;
            in_body(right, known, columns_of)
        }
        _ => Ok(()),
    }
}

fn in_select(select: &mut Select, known: Option<&With>, columns_of: &ColumnsOf<'_>) -> Result<()> {
    for table in &mut select.from {
        in_factor(&mut table.relation, known, columns_of)?;
        for join in &mut table.joins {
            in_factor(&mut join.relation, known, columns_of)?;
        }
    }
    let asked = select.selection.as_ref().is_some_and(stands_for_many)
        || select.projection.iter().any(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                stands_for_many(expr) || is_over_all(expr)
            }
            item => of_fields(item, select).is_some(),
        });
    if !asked {
        return Ok(());
    }
    let everything = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    let mut all = select_from(everything, select.from.clone(), None);
    all.with = known.cloned();
    let found = columns_of(all)?;
    let columns: Vec<String> = found.iter().map(|column| column.name().clone()).collect();
    let mut taken: Vec<String> = Vec::new();
    let mut items = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        let fields = of_fields(&item, select)
            .and_then(|(name, options)| Some((fields_of(name, &found)?, left_out(options))));
        if let Some((fields, left_out)) = fields {
            if let Some(unknown) = left_out
                .iter()
                .find(|name| !fields.iter().any(|(_, field)| field.eq_ignore_ascii_case(name)))
            {
                return Err(Error::new(
                    ErrorKind::Query,
                    format!("`{item}` leaves out `{unknown}`, which is no field of it"),
                ));
            }
            for (expr, name) in fields {
                if left_out.iter().any(|left_out| left_out.eq_ignore_ascii_case(&name)) {
                    continue;
                }
                let name = unused(&name, &mut taken);
                let alias = Ident::with_quote('"', name);
                items.push(SelectItem::ExprWithAlias { expr, alias });
            }
            continue;
        }
        let (expr, alias) = match &item {
            SelectItem::UnnamedExpr(expr) if stands_for_many(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } if stands_for_many(expr) => {
                (expr, Some(alias))
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                taken.push(folded(alias));
                let mut item = item;
                if let SelectItem::ExprWithAlias { expr, .. } = &mut item {
                    over_all(expr, &columns);
                }
                items.push(item);
                continue;
            }
            _ => {
                items.push(item);
                continue;
            }
        };
        for one in each(expr, &columns)? {
            let name = match alias {
                Some(alias) => one.named(alias),
                None => one.name.clone(),
            };
            let name = unused(&name, &mut taken);
            items.push(SelectItem::ExprWithAlias {
                expr: one.expr,
                alias: Ident::with_quote('"', name),
            });
        }
    }
    select.projection = items;
    if let Some(condition) = &select.selection
        && stands_for_many(condition)
    {
        let all = each(condition, &columns)?.into_iter().map(|one| nested(one.expr));
        select.selection =
            all.reduce(|left, right| crate::syntax::binary(left, BinaryOperator::And, right));
    }
    Ok(())
}

fn in_factor(
    factor: &mut TableFactor,
    known: Option<&With>,
    columns_of: &ColumnsOf<'_>,
) -> Result<()> {
    match factor {
        TableFactor::Derived { subquery, .. } => in_query(subquery, known, columns_of),
        TableFactor::NestedJoin { table_with_joins, .. } => {
            in_factor(&mut table_with_joins.relation, known, columns_of)?;
            for join in &mut table_with_joins.joins {
                in_factor(&mut join.relation, known, columns_of)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What a window is partitioned by.
fn partition(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Function(Function { over: Some(WindowType::WindowSpec(window)), .. }) => {
            Some(&window.partition_by)
        }
        _ => None,
    }
}

/// Whether a window is over rows that are equal in all columns.
fn is_over_all(expr: &Expr) -> bool {
    matches!(partition(expr), Some([Expr::Function(function)])
        if simple_name(function).as_deref() == Some(ALL_COLUMNS))
}

fn over_all(expr: &mut Expr, columns: &[String]) {
    if is_over_all(expr)
        && let Expr::Function(Function { over: Some(WindowType::WindowSpec(window)), .. }) = expr
    {
        let all = columns.iter().map(|column| Expr::Identifier(Ident::with_quote('"', column)));
        window.partition_by = all.collect();
    }
}

/// A name as it is written in a table that has it already: `a_1`.
fn unused(name: &str, taken: &mut Vec<String>) -> String {
    let mut free = name.to_owned();
    let mut number = 0;
    while taken.contains(&free) {
        number += 1;
        free = format!("{name}_{number}");
    }
    taken.push(free.clone());
    free
}

/// What an expression is for one of its columns.
struct One {
    expr: Expr,
    /// What the column is called that it gives.
    name: String,
    /// The groups of a regular expression in the column's name, the whole of it first.
    groups: Vec<String>,
}

impl One {
    /// `as 'x_\1'`: the groups of the expression are part of the name.
    fn named(&self, alias: &Ident) -> String {
        let mut name = folded(alias);
        for (place, group) in self.groups.iter().enumerate() {
            name = name.replace(&format!("\\{place}"), group);
        }
        name
    }
}

/// The expression for each of its columns.
fn each(expr: &Expr, columns: &[String]) -> Result<Vec<One>> {
    let mut asked: Option<FunctionArgExpr> = None;
    let mut several = false;
    let _ = visit_expressions(expr, |part| {
        if let Some(argument) = named(part) {
            several |= asked.as_ref().is_some_and(|known| known != argument);
            asked.get_or_insert_with(|| argument.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    if several {
        return Err(refused("an expression with two different `columns(…)`", "write two of them"));
    }
    let Some(asked) = asked else { return Ok(Vec::new()) };
    let chosen = chosen(&asked, columns)?;
    if chosen.is_empty() {
        return Err(Error::new(
            ErrorKind::Query,
            format!("`columns({asked})` names no column; there are {}", listed(columns)),
        ));
    }
    Ok(chosen
        .into_iter()
        .map(|Chosen { value, name, groups }| {
            let mut written = expr.clone();
            let _ = visit_expressions_mut(&mut written, |part| {
                if named(part).is_some() {
                    *part = value.clone();
                }
                ControlFlow::<()>::Continue(())
            });
            One { expr: written, name, groups }
        })
        .collect())
}

fn refused(what: &str, instead: &str) -> Error {
    let instead = if instead.is_empty() { String::new() } else { format!("; {instead}") };
    Error::new(ErrorKind::Unsupported, format!("{what} is not supported{instead}"))
}

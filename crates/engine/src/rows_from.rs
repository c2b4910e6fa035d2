//! Functions that give rows, in `from`: `jsonb_array_elements(x) as e`, `unnest(a, b) with
//! ordinality as t(v, n)`, `generate_series(a, b, '1 day'::interval) as day`.
//!
//! The planner knows few of them, and none that reads a column of what stands before it. Each
//! becomes a lateral query that unnests arrays: `lateral (select unnest(items(x)) as e) as e`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType, Expr, Function, FunctionArg, FunctionArgExpr, Ident, ObjectName,
    SelectItem, SetExpr, Statement, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins,
    UnaryOperator, Value, VisitMut, VisitorMut,
};

use crate::syntax::{call, cast, is_interval_text, select_from, text};

/// Looks through a whole statement.
pub(crate) fn settle_row_functions(statement: &mut Statement) {
    // Nothing is refused here.
    let _ = VisitMut::visit(statement, &mut RowFunctions);
}

struct RowFunctions;

impl VisitorMut for RowFunctions {
    type Break = std::convert::Infallible;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let Some(derived) = settled(factor) {
            *factor = derived;
        }
        ControlFlow::Continue(())
    }
}

fn plain(args: &[FunctionArg]) -> Option<Vec<Expr>> {
    args.iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

fn name_of(name: &ObjectName) -> Option<String> {
    let [part] = name.0.as_slice() else { return None };
    let ident = part.as_ident()?;
    ident.quote_style.is_none().then(|| ident.value.to_lowercase())
}

fn settled(factor: &TableFactor) -> Option<TableFactor> {
    let (name, args, alias, ordinality, offset) = match factor {
        TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
            (name_of(name)?, plain(&args.args)?, alias, *with_ordinality, None)
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. } => {
            (name_of(name)?, plain(args)?, alias, *with_ordinality, None)
        }
        TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset,
            with_offset_alias,
            with_ordinality,
        } if *with_offset || *with_ordinality || array_exprs.len() > 1 => {
            let offset = with_offset
                .then(|| with_offset_alias.clone().unwrap_or_else(|| Ident::new("offset")));
            ("unnest".to_owned(), array_exprs.clone(), alias, *with_ordinality, offset)
        }
        _ => return None,
    };
    if let Some(alias) = alias
        && let [document] = args.as_slice()
        && let Some(derived) = record(&name, document, alias)
    {
        return Some(derived);
    }
    let numbers = name == "generate_series" && args.iter().all(is_number);
    let (lists, columns) = lists_of(&name, args)?;
    if numbers && !ordinality {
        // The planner's own gives the numbers one after another, without an array of them all.
        return named_series(factor);
    }
    let mut items: Vec<SelectItem> = Vec::new();
    let single = lists.len() == 1;
    for (list, column) in lists.iter().cloned().zip(&columns) {
        let alias = match alias {
            // The column of a function that names it keeps its name.
            Some(alias) if single && alias.columns.is_empty() && *column != ITEM => {
                alias.name.clone()
            }
            _ if items.is_empty() || columns[0] != *column => Ident::new(*column),
            _ => Ident::new(format!("{column}_{}", items.len() + 1)),
        };
        items.push(SelectItem::ExprWithAlias { expr: call("unnest", vec![list]), alias });
    }
    let counted = |from: &str| {
        let mut args = vec![text(from)];
        args.extend(lists.iter().cloned());
        call("unnest", vec![call("tidemill_places", args)])
    };
    if ordinality {
        let alias = Ident::new("ordinality");
        items.push(SelectItem::ExprWithAlias { expr: counted("1"), alias });
    }
    if let Some(alias) = offset {
        items.push(SelectItem::ExprWithAlias { expr: counted("0"), alias });
    }
    let alias = alias.clone().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(&name),
        columns: Vec::new(),
        at: None,
    });
    Some(TableFactor::Derived {
        lateral: true,
        subquery: Box::new(select_from(items, Vec::new(), None)),
        alias: Some(alias),
        sample: None,
    })
}

/// What the functions of PostgreSQL that give the items of a JSON array call their column.
pub(crate) const ITEM: &str = "value";

/// Whether a relation of a query is the items of a JSON array: its name stands for the item, too.
pub(crate) fn is_items(factor: &TableFactor, name: &str) -> bool {
    let TableFactor::Derived { lateral: true, subquery, alias: Some(alias), .. } = factor else {
        return false;
    };
    let SetExpr::Select(select) = subquery.body.as_ref() else { return false };
    let [SelectItem::ExprWithAlias { expr: Expr::Function(unnest), alias: column }] =
        select.projection.as_slice()
    else {
        return false;
    };
    crate::names::folded(&alias.name) == name
        && alias.columns.is_empty()
        && select.from.is_empty()
        && column.value == ITEM
        && crate::syntax::simple_name(unnest).as_deref() == Some("unnest")
}

/// `json_to_recordset(x) as t(a int, b text)`: a row for each object of an array, with the values under
/// these keys; `json_to_record(x)` is the row of one object.
fn record(name: &str, document: &Expr, alias: &TableAlias) -> Option<TableFactor> {
    let several = match name {
        "jsonb_to_recordset" | "json_to_recordset" => true,
        "jsonb_to_record" | "json_to_record" => false,
        _ => return None,
    };
    let row = Ident::with_quote('"', "tidemill record");
    let object = match several {
        true => Expr::Identifier(row.clone()),
        false => document.clone(),
    };
    let items = alias.columns.iter().map(|column| {
        let data_type = column.data_type.clone()?;
        let key = text(&crate::names::folded(&column.name));
        let value = match &data_type {
            DataType::JSON | DataType::JSONB => {
                call("json_extract_path", vec![object.clone(), key])
            }
            _ => call("json_extract_path_text", vec![object.clone(), key]),
        };
        let value = match &data_type {
            DataType::JSON => value,
            _ => cast(value, data_type),
        };
        Some(SelectItem::ExprWithAlias { expr: value, alias: column.name.clone() })
    });
    let items: Vec<SelectItem> = items.collect::<Option<_>>()?;
    if items.is_empty() {
        return None;
    }
    let from = match several {
        false => Vec::new(),
        true => {
            let objects = call("tidemill_json_items", vec![document.clone()]);
            let item = SelectItem::ExprWithAlias {
                expr: call("unnest", vec![objects]),
                alias: row.clone(),
            };
            let rows = TableFactor::Derived {
                lateral: false,
                subquery: Box::new(select_from(vec![item], Vec::new(), None)),
                alias: Some(TableAlias {
                    explicit: true,
                    name: row,
                    columns: Vec::new(),
                    at: None,
                }),
                sample: None,
            };
            vec![TableWithJoins { relation: rows, joins: Vec::new() }]
        }
    };
    Some(TableFactor::Derived {
        lateral: true,
        subquery: Box::new(select_from(items, from, None)),
        alias: Some(TableAlias { columns: Vec::new(), ..alias.clone() }),
        sample: None,
    })
}

/// The arrays that a function's rows are, and the names of its columns.
fn lists_of(name: &str, mut args: Vec<Expr>) -> Option<(Vec<Expr>, Vec<&'static str>)> {
    let one = |function: &str, args: Vec<Expr>, column: &'static str| {
        Some((vec![call(function, args)], vec![column]))
    };
    match (name, args.len()) {
        ("unnest", 1..) => {
            let columns = vec!["unnest"; args.len()];
            Some((args, columns))
        }
        ("generate_series", 2 | 3) => {
            series(&mut args);
            one("generate_series", args, "generate_series")
        }
        ("jsonb_array_elements" | "json_array_elements", 1) => {
            one("tidemill_json_items", args, ITEM)
        }
        ("jsonb_array_elements_text" | "json_array_elements_text", 1) => {
            one("tidemill_json_texts", args, ITEM)
        }
        ("jsonb_object_keys", 1) => one("tidemill_json_keys", args, "jsonb_object_keys"),
        ("json_object_keys", 1) => one("tidemill_json_keys", args, "json_object_keys"),
        ("jsonb_each" | "json_each", 1) => Some((
            vec![call("tidemill_json_keys", args.clone()), call("tidemill_json_items", args)],
            vec!["key", "value"],
        )),
        ("jsonb_each_text" | "json_each_text", 1) => Some((
            vec![call("tidemill_json_keys", args.clone()), call("tidemill_json_texts", args)],
            vec!["key", "value"],
        )),
        ("jsonb_path_query", 2..=4) => one("tidemill_json_found", args, "jsonb_path_query"),
        ("regexp_matches", 2 | 3) => one("tidemill_matches", args, "regexp_matches"),
        ("regexp_split_to_table", 2 | 3) => {
            one("regexp_split_to_array", args, "regexp_split_to_table")
        }
        ("string_to_table", 2 | 3) => one("string_to_array", args, "string_to_table"),
        _ => None,
    }
}

/// A series of moments: a date is one, and the step may be written as a text.
pub(crate) fn series(args: &mut [Expr]) {
    let [from, to, step] = args else { return };
    if is_number(step) {
        return;
    }
    let moments = is_interval_text(step);
    if let Expr::Value(value) = &*step
        && let Value::SingleQuotedString(_) = &value.value
    {
        *step = crate::syntax::interval_of(step.clone());
    } else if !moments && !matches!(step, Expr::Interval(_)) {
        return;
    }
    for end in [from, to] {
        *end = call("tidemill_moment", vec![end.clone()]);
    }
}

fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => is_number(expr),
        Expr::Nested(inner) => is_number(inner),
        _ => false,
    }
}

/// The planner's table function, with its column named as in PostgreSQL where it has an alias.
fn named_series(factor: &TableFactor) -> Option<TableFactor> {
    let mut named = factor.clone();
    let (TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. }) = &mut named
    else {
        return None;
    };
    let column = |name: &Ident| vec![TableAliasColumnDef { name: name.clone(), data_type: None }];
    match alias {
        Some(alias) if alias.columns.is_empty() => alias.columns = column(&alias.name),
        // Without an alias its column is `value`.
        Some(_) | None => return None,
    }
    Some(named)
}

/// The array that a function of a select list stands for: it gives a row for each item.
pub(crate) fn unnested(function: &Function) -> Option<Expr> {
    let name = crate::syntax::simple_name(function)?;
    if matches!(name.as_str(), "unnest" | "regexp_matches") || function.over.is_some() {
        return None;
    }
    let args = crate::syntax::plain_arguments(function)?;
    let (lists, _) = lists_of(&name, args)?;
    match <[Expr; 1]>::try_from(lists) {
        Ok([list]) => Some(call("unnest", vec![list])),
        Err(_) => None,
    }
}

/// `(jsonb_each_text(x)).value`: one column of a function that gives rows of several.
pub(crate) fn field_of_rows(expr: &Expr) -> Option<Expr> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return None };
    let [AccessExpr::Dot(Expr::Identifier(field))] = access_chain.as_slice() else { return None };
    let mut root = root.as_ref();
    while let Expr::Nested(inner) = root {
        root = inner;
    }
    let Expr::Function(function) = root else { return None };
    let name = crate::syntax::simple_name(function)?;
    let (lists, columns) = lists_of(&name, crate::syntax::plain_arguments(function)?)?;
    let field = crate::names::folded(field);
    let mut wanted = lists.into_iter().zip(columns).filter(|(_, column)| *column == field);
    let (list, _) = wanted.next()?;
    Some(call("unnest", vec![list]))
}

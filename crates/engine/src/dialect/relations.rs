//! What stands in `from`: functions that give rows, arrays, generators.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join, JoinConstraint,
    JoinOperator, ObjectName, Select, SelectItem, TableAlias, TableAliasColumnDef, TableFactor,
    TableWithJoins, Value,
};
use tidemill_core::{Result, SqlDialect};

use super::refused;
use super::rules::named;
use crate::syntax::{call, number, plain_arguments, select_from, simple_name, text};

/// The column of a generator that counts its rows.
pub(super) const SEQUENCE: &str = "tidemill sequence";

/// Puts the engine's relation in the place of a system's.
pub(super) fn settle(factor: &mut TableFactor, dialect: SqlDialect) -> Result<()> {
    if let TableFactor::Pivot { value_source, alias, .. } = factor
        && alias.as_ref().is_none_or(|alias| alias.columns.is_empty())
    {
        super::translator::name_pivot(value_source, dialect);
    }
    let (name, args, alias) = match factor {
        TableFactor::Function { name, args, alias, .. } => (called(name), args.clone(), alias),
        TableFactor::Table { name, args: Some(args), alias, .. } => {
            (called(name), args.args.clone(), alias)
        }
        TableFactor::TableFunction { expr: Expr::Function(function), alias } => {
            let FunctionArguments::List(list) = &function.args else { return Ok(()) };
            (called(&function.name), list.args.clone(), alias)
        }
        TableFactor::Derived { alias, subquery, .. }
            if matches!(dialect, SqlDialect::Databricks | SqlDialect::DuckDb)
                && alias.as_ref().is_none_or(|alias| alias.columns.is_empty())
                && let datafusion::sql::sqlparser::ast::SetExpr::Values(values) =
                    subquery.body.as_ref() =>
        {
            // `values (1, 2)` has the columns `col1`, `col2` there.
            let count = values.rows.first().map_or(0, |row| row.content.len());
            let alias = alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: Ident::new("inline_values"),
                columns: Vec::new(),
                at: None,
            });
            // … and `col0`, `col1` in DuckDB.
            let first = usize::from(dialect == SqlDialect::Databricks);
            alias.columns =
                (first..first + count).map(|place| column(&format!("col{place}"))).collect();
            return Ok(());
        }
        _ => return Ok(()),
    };
    let own = [crate::elements::ELEMENTS, crate::summaries::DESCRIBE, crate::summaries::SUMMARIZE];
    if own.contains(&name.as_str()) {
        return Ok(());
    }
    // Files are read by the engine's own functions of these names.
    if dialect == SqlDialect::DuckDb && name.starts_with("read_") {
        return Ok(());
    }
    let items = items_of(&name, &args, dialect)?;
    let mut alias = alias.take().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(&name),
        columns: Vec::new(),
        at: None,
    });
    // `unnest(x) as y`: one column takes the name of the relation there.
    let mut items = items;
    if alias.columns.is_empty()
        && items.len() == 1
        && matches!(dialect, SqlDialect::DuckDb)
        && let Some(SelectItem::ExprWithAlias { alias: column, .. }) = items.first_mut()
    {
        *column = alias.name.clone();
    }
    if dialect == SqlDialect::Databricks && name == "explode" && alias.columns.len() > 1 {
        return Err(map());
    }
    if name == "generator" {
        alias.columns =
            vec![TableAliasColumnDef { name: Ident::with_quote('"', SEQUENCE), data_type: None }];
    }
    *factor = derived(items, alias);
    Ok(())
}

/// `unnest(x) as y`, by which its column can be called in two ways: the relation and the function.
pub(super) fn renamed(factor: &TableFactor) -> Option<(String, String)> {
    let (name, alias) = match factor {
        TableFactor::Function { name, alias: Some(alias), .. }
        | TableFactor::Table { name, args: Some(_), alias: Some(alias), .. } => {
            (called(name), alias)
        }
        TableFactor::UNNEST { alias: Some(alias), .. } => ("unnest".to_owned(), alias),
        _ => return None,
    };
    let known = matches!(name.as_str(), "unnest" | "range" | "generate_series");
    (known && alias.columns.is_empty()).then(|| (crate::names::folded(&alias.name), name))
}

fn called(name: &ObjectName) -> String {
    name.to_string().to_lowercase()
}

fn column(name: &str) -> TableAliasColumnDef {
    TableAliasColumnDef { name: Ident::new(name), data_type: None }
}

fn derived(items: Vec<SelectItem>, alias: TableAlias) -> TableFactor {
    TableFactor::Derived {
        lateral: true,
        subquery: Box::new(select_from(items, Vec::new(), None)),
        alias: Some(alias),
        sample: None,
    }
}

fn item(expr: Expr, name: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr: call("unnest", vec![expr]), alias: Ident::new(name) }
}

/// The items of an array, or of a JSON array in text, as a relation of one column of that name.
pub(super) fn items_called(list: Expr, name: Ident) -> TableFactor {
    let items = call("tidemill_items", vec![list]);
    let items =
        SelectItem::ExprWithAlias { expr: call("unnest", vec![items]), alias: name.clone() };
    derived(vec![items], TableAlias { explicit: true, name, columns: Vec::new(), at: None })
}

fn places(first: &str, list: Expr) -> Expr {
    call("tidemill_places", vec![text(first), list])
}

fn map() -> tidemill_core::Error {
    refused("`explode` of a map", "maps are not there; use arrays of structs, or JSON")
}

/// The columns of a function that gives rows.
fn items_of(name: &str, args: &[FunctionArg], dialect: SqlDialect) -> Result<Vec<SelectItem>> {
    let plain: Vec<Expr> = args
        .iter()
        .filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect();
    Ok(match (dialect, name, plain.as_slice()) {
        (SqlDialect::Snowflake, "flatten", _) => {
            for unknown in ["recursive", "mode"] {
                if named(args, unknown).is_some() {
                    return Err(refused(&format!("`{unknown} =>` of `flatten`"), ""));
                }
            }
            let Some(mut input) = named(args, "input").or_else(|| plain.first().cloned()) else {
                return Err(refused("`flatten` without `input =>`", ""));
            };
            if let Some(path) = named(args, "path") {
                input = call("json_path", vec![input, path]);
            }
            let items = call("tidemill_items", vec![input.clone()]);
            let mut columns = vec![
                item(items.clone(), "value"),
                item(places("0", items), "index"),
                item(call("tidemill_keys", vec![input.clone()]), "key"),
            ];
            // What these are of a row without items is not known for sure.
            if !named(args, "outer").is_some_and(|outer| is_true(&outer)) {
                if named(args, "path").is_none() {
                    columns.push(item(call("tidemill_paths", vec![input.clone()]), "path"));
                }
                columns.push(SelectItem::ExprWithAlias { expr: input, alias: Ident::new("this") });
            }
            columns
        }
        (SqlDialect::Snowflake, "split_to_table" | "strtok_split_to_table", [value, separator]) => {
            let list = call("string_to_array", vec![value.clone(), separator.clone()]);
            vec![item(list.clone(), "value"), item(places("1", list), "index")]
        }
        (SqlDialect::Snowflake, "generator", _) => {
            let Some(count) = named(args, "rowcount") else {
                return Err(refused("`generator` without `rowcount =>`", ""));
            };
            let last = crate::syntax::binary(
                count,
                datafusion::sql::sqlparser::ast::BinaryOperator::Minus,
                number(1),
            );
            vec![item(call("generate_series", vec![number(0), last]), "sequence")]
        }
        (SqlDialect::Databricks, "explode" | "explode_outer", [list]) => {
            vec![item(call("tidemill_items", vec![list.clone()]), "col")]
        }
        (SqlDialect::Databricks, "posexplode" | "posexplode_outer", [list]) => {
            let list = call("tidemill_items", vec![list.clone()]);
            vec![item(places("0", list.clone()), "pos"), item(list, "col")]
        }
        (SqlDialect::Databricks, "range", bounds @ ([_] | [_, _])) => {
            vec![item(call("range", bounds.to_vec()), "id")]
        }
        (SqlDialect::DuckDb, "range" | "generate_series", [_] | [_, _] | [_, _, _]) => {
            let mut bounds = plain.clone();
            if name == "generate_series" && bounds.len() == 1 {
                bounds.insert(0, number(0));
            }
            crate::rows_from::series(&mut bounds);
            vec![item(call(name, bounds), name)]
        }
        (_, "unnest", [list]) => vec![item(list.clone(), "unnest")],
        (_, "generate_series", [_, _] | [_, _, _]) if dialect == SqlDialect::Redshift => {
            let mut bounds = plain.clone();
            crate::rows_from::series(&mut bounds);
            vec![item(call("generate_series", bounds), "generate_series")]
        }
        _ => {
            return Err(refused(
                &format!("the table function `{name}` of {dialect}"),
                "load the data as a source or a seed, or write the query without it",
            ));
        }
    })
}

fn is_true(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Value::Boolean(true))
}

fn on_true() -> JoinConstraint {
    JoinConstraint::On(Expr::Value(Value::Boolean(true).with_empty_span()))
}

/// `from t, lateral flatten(…, outer => true)`: rows stay that have no items.
pub(super) fn outer_joins(select: &mut Select, dialect: SqlDialect) -> Result<()> {
    let keeps = |factor: &TableFactor| -> bool {
        let (name, args) = match factor {
            TableFactor::Function { name, args, .. } => (called(name), args.as_slice()),
            TableFactor::Table { name, args: Some(args), .. } => {
                (called(name), args.args.as_slice())
            }
            TableFactor::TableFunction {
                expr: Expr::Function(Function { name, args: FunctionArguments::List(list), .. }),
                ..
            } => (called(name), list.args.as_slice()),
            _ => return false,
        };
        name.ends_with("explode_outer")
            || (dialect == SqlDialect::Snowflake
                && named(args, "outer").is_some_and(|outer| is_true(&outer)))
    };
    let mut from: Vec<TableWithJoins> = Vec::new();
    for mut table in std::mem::take(&mut select.from) {
        for join in &mut table.joins {
            if keeps(&join.relation) {
                join.join_operator = JoinOperator::LeftOuter(on_true());
            }
        }
        match from.last_mut() {
            Some(before) if keeps(&table.relation) => {
                before.joins.push(Join {
                    relation: table.relation,
                    global: false,
                    join_operator: JoinOperator::LeftOuter(on_true()),
                });
                before.joins.extend(table.joins);
            }
            _ => from.push(table),
        }
    }
    select.from = from;
    Ok(())
}

/// `lateral view explode(x) t as c`.
pub(super) fn lateral_views(select: &mut Select) -> Result<()> {
    for view in std::mem::take(&mut select.lateral_views) {
        let Expr::Function(function) = &view.lateral_view else {
            return Err(refused("this `lateral view`", ""));
        };
        let name = simple_name(function).unwrap_or_default();
        let arguments = plain_arguments(function).unwrap_or_default();
        let args: Vec<FunctionArg> = arguments.into_iter().map(crate::syntax::argument).collect();
        let outer = view.outer || name.ends_with("_outer");
        let items = match name.as_str() {
            // A map has two columns.
            "explode" | "explode_outer" if view.lateral_col_alias.len() == 2 => {
                let Some(map) = plain_arguments(function).and_then(|all| all.into_iter().next())
                else {
                    return Err(refused("this `lateral view`", ""));
                };
                ["map_keys", "map_values"]
                    .map(|part| item(call(part, vec![map.clone()]), part))
                    .to_vec()
            }
            "explode" | "explode_outer" | "posexplode" | "posexplode_outer" => {
                items_of(&name, &args, SqlDialect::Databricks)?
            }
            "json_tuple" => {
                let mut arguments = plain_arguments(function).unwrap_or_default().into_iter();
                let Some(document) = arguments.next() else {
                    return Err(refused("this `lateral view`", ""));
                };
                let value = |(place, key)| SelectItem::ExprWithAlias {
                    expr: call("tidemill_walked_text", vec![document.clone(), key]),
                    alias: Ident::new(format!("c{place}")),
                };
                (0..).zip(arguments).map(value).collect()
            }
            // The fields of structs.
            "inline" | "inline_outer" => Vec::new(),
            other => {
                return Err(refused(
                    &format!("`lateral view {other}`"),
                    "use `explode`, `posexplode`, `inline` or `json_tuple`",
                ));
            }
        };
        let structs = name.starts_with("inline");
        if view.lateral_col_alias.len() > items.len() && !structs {
            return Err(map());
        }
        let relation = match view.lateral_view_name.0.last().and_then(|part| part.as_ident()) {
            Some(name) => name.clone(),
            None => Ident::new(&name),
        };
        let alias = TableAlias {
            explicit: true,
            name: relation,
            columns: view
                .lateral_col_alias
                .iter()
                .map(|name| TableAliasColumnDef { name: name.clone(), data_type: None })
                .collect(),
            at: None,
        };
        let relation = match plain_arguments(function) {
            Some(list) if structs && list.len() == 1 => TableFactor::Function {
                lateral: true,
                name: crate::syntax::object_name(crate::elements::ELEMENTS),
                args: list
                    .into_iter()
                    .chain([text(""), text(""), text("")])
                    .map(crate::syntax::argument)
                    .collect(),
                with_ordinality: false,
                alias: Some(alias),
            },
            _ => derived(items, alias),
        };
        let join = Join {
            relation,
            global: false,
            join_operator: match outer {
                true => JoinOperator::LeftOuter(on_true()),
                false => JoinOperator::CrossJoin(JoinConstraint::None),
            },
        };
        let Some(table) = select.from.last_mut() else {
            return Err(refused("`lateral view` without `from`", ""));
        };
        table.joins.push(join);
    }
    Ok(())
}

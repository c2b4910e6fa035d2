//! The names that PostgreSQL gives to columns, and those by which relations are called.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, ObjectName, ObjectNamePart, Select, SelectItem, TableFactor,
    TrimWhereField, VisitorMut,
};

/// Gives columns that have no name the one that PostgreSQL gives them: `count(*)` is `count`,
/// `x::date` is `x`. (DataFusion's own, such as `count(Int64(1))`, could not even be stored.) A name
/// that would occur twice gets a number.
pub(crate) fn name_columns(select: &mut Select) {
    let mut taken: HashSet<String> = select.projection.iter().filter_map(given_name).collect();
    let relations: HashSet<String> = select
        .from
        .iter()
        .flat_map(|table| {
            std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation))
        })
        .filter_map(relation_name)
        .map(|name| folded(&name))
        .collect();
    let fields: Vec<Option<String>> =
        select.projection.iter().map(|item| field_of_column(item, &relations)).collect();
    for (item, field) in select.projection.iter_mut().zip(fields) {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if let Some(field) = field {
            let alias = Ident::with_quote('"', field);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            continue;
        }
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
            || crate::columns::stands_for_many(expr)
        {
            continue;
        }
        // `unnest` gives several columns from a struct.
        let Some(name) = postgres_name(expr).filter(|name| name != "unnest") else { continue };
        let mut unique = name.clone();
        let mut number = 1;
        while !taken.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        let alias = Ident::with_quote('"', unique);
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// `s.a.b` is `b` where `s` is no relation but a column.
fn field_of_column(item: &SelectItem, relations: &HashSet<String>) -> Option<String> {
    let SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) = item else { return None };
    let known = |part: &Ident| relations.contains(&folded(part));
    let [first, middle @ .., last] = parts.as_slice() else { return None };
    let of_relation = known(first) && middle.is_empty() || middle.last().is_some_and(known);
    (!of_relation).then(|| folded(last))
}

pub(crate) fn given_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(expr @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))) => {
            postgres_name(expr)
        }
        _ => None,
    }
}

pub(crate) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The last part of a name, as the engine compares names.
pub(crate) fn last(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}

pub(crate) fn postgres_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) => postgres_name(inner),
        Expr::Function(function) => match function.name.0.last()? {
            ObjectNamePart::Identifier(ident) => Some(folded(ident)),
            ObjectNamePart::Function(_) => None,
        },
        Expr::Cast { expr, data_type, .. } => Some(match is_called(expr) {
            true => postgres_name(expr).unwrap_or_else(|| type_word(data_type)),
            false => type_word(data_type),
        }),
        Expr::TypedString(typed) => Some(type_word(&typed.data_type)),
        Expr::Case { else_result, .. } => else_result
            .as_deref()
            .filter(|value| matches!(value, Expr::Identifier(_) | Expr::CompoundIdentifier(_)))
            .and_then(postgres_name)
            .or_else(|| Some("case".to_owned())),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { trim_where, .. } => Some(
            match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            }
            .to_owned(),
        ),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        Expr::Subquery(_) => None,
        _ => Some("column".to_owned()),
    }
}

/// Whether an expression has a name of its own, which a cast leaves to it.
fn is_called(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => is_called(inner),
        Expr::Case { else_result, .. } => else_result.as_deref().is_some_and(is_called),
        Expr::Value(_) | Expr::TypedString(_) | Expr::UnaryOp { .. } | Expr::BinaryOp { .. } => {
            false
        }
        _ => true,
    }
}

/// The name that PostgreSQL itself has for a type, by which it calls a literal of it.
fn type_word(data_type: &DataType) -> String {
    let word = plain_word(&data_type.to_string());
    let known = match word.as_str() {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "double" | "float" => "float8",
        "real" => "float4",
        "decimal" => "numeric",
        "boolean" => "bool",
        "char" | "character" => "bpchar",
        _ => return word,
    };
    match known {
        "bpchar" if data_type.to_string().to_lowercase().contains("varying") => {
            "varchar".to_owned()
        }
        known => known.to_owned(),
    }
}

/// The leading word of a type's name.
pub(crate) fn plain_word(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_lowercase()
}

/// Names columns while they still say what the user wrote.
pub(crate) struct Names;

impl VisitorMut for Names {
    type Break = std::convert::Infallible;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        name_columns(select);
        ControlFlow::Continue(())
    }
}

/// The name by which the columns of a relation are called.
pub(crate) fn relation_name(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, alias: None, .. } => match name.0.last()? {
            ObjectNamePart::Identifier(name) => Some(name.clone()),
            ObjectNamePart::Function(_) => None,
        },
        _ => None,
    }
}

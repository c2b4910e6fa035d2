//! What only BigQuery writes: `unnest` in `from` and arrays that stand there by their path, `select as struct`,
//! typed arrays, calls that give NULL in the place of an error, and bounds within aggregates.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, Distinct, Expr, Function, FunctionArgumentClause, FunctionArguments, HavingBound,
    HavingBoundKind, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor,
    TableWithJoins, ValueTableMode, WildcardAdditionalOptions, visit_expressions,
    visit_expressions_mut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use tidemill_core::Result;

use super::refused;
use super::spoken::said;
use super::turned::{keyword, text as words};
use crate::elements::ELEMENTS;
use crate::names::{folded, relation_name};
use crate::syntax::{
    any_constraint_mut, argument, call, object_name, plain_arguments, select_from, simple_name,
    text,
};

/// What a call begins with that is written `safe.f(x)`.
pub(super) const SAFE: &str = "tidemill_safe_";

/// Puts the parser's words into the text: `safe.f(x)` and `array<int64>[1, 2]`.
pub(super) fn written(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place < tokens.len() {
        safe_call(tokens, place);
        typed_array(tokens, place);
        place += 1;
    }
}

fn is_word(token: &TokenWithSpan, wanted: &str) -> bool {
    matches!(&token.token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

fn safe_call(tokens: &mut Vec<TokenWithSpan>, place: usize) {
    let [first, point, name, ..] = &tokens[place..] else { return };
    let Token::Word(called) = &name.token else { return };
    let opens = said(tokens, place + 3).is_some_and(|at| tokens[at].token == Token::LParen);
    if is_word(first, "safe") && point.token == Token::Period && opens {
        let value = format!("{SAFE}{}", called.value.to_lowercase());
        let word = Word { value, quote_style: None, keyword: Keyword::NoKeyword };
        tokens[place].token = Token::Word(word);
        tokens.drain(place + 1..place + 3);
    }
}

/// `array<int64>[1, 2]` is a cast of the list; a list of structs has the type before each of them.
fn typed_array(tokens: &mut Vec<TokenWithSpan>, place: usize) {
    if keyword(&tokens[place]) != Some(Keyword::ARRAY) {
        return;
    }
    let Some(open) = said(tokens, place + 1).filter(|at| tokens[*at].token == Token::Lt) else {
        return;
    };
    let mut depth = 0_usize;
    let mut end = None;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::Lt => depth += 1,
            Token::Gt => depth = depth.saturating_sub(1),
            Token::ShiftRight => depth = depth.saturating_sub(2),
            Token::Word(_)
            | Token::Comma
            | Token::Whitespace(_)
            | Token::LParen
            | Token::RParen
            | Token::Number(..) => {}
            _ => return,
        }
        if depth == 0 {
            end = Some(at);
            break;
        }
    }
    let Some(end) = end else { return };
    let Some(list) = said(tokens, end + 1).filter(|at| tokens[*at].token == Token::LBracket) else {
        return;
    };
    let mut items = Vec::new();
    let mut depth = 0_usize;
    let mut close = None;
    for (at, token) in tokens.iter().enumerate().skip(list) {
        match token.token {
            Token::LParen if depth == 1 => {
                let before = (0..at).rev().find(|at| !super::turned::is_space(&tokens[*at]));
                let starts = before.is_some_and(|before| {
                    matches!(tokens[before].token, Token::Comma | Token::LBracket)
                });
                if starts {
                    items.push(at);
                }
                depth += 1;
            }
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            close = Some(at);
            break;
        }
    }
    let Some(close) = close else { return };
    // The type, without its brackets.
    let mut kind: Vec<TokenWithSpan> = tokens[open + 1..end].to_vec();
    if tokens[end].token == Token::ShiftRight {
        kind.push(TokenWithSpan { token: Token::Gt, span: tokens[end].span });
    }
    let of_structs = kind.iter().find(|token| !super::turned::is_space(token));
    if of_structs.is_some_and(|token| keyword(token) == Some(Keyword::STRUCT)) {
        for at in items.into_iter().rev() {
            tokens.splice(at..at, kind.iter().cloned());
        }
        tokens.drain(place..list);
        return;
    }
    let mut behind = words(" as array<", &tokens[place]);
    behind.extend(kind);
    behind.extend(words(">)", &tokens[place]));
    tokens.splice(close + 1..close + 1, behind);
    let before = words("cast(", &tokens[place]);
    tokens.splice(place..list, before);
}

/// Arrays in `from` become what the planner knows of them (see [`crate::elements`]).
pub(super) fn arrays(select: &mut Select) {
    let mut named: Vec<String> = Vec::new();
    let mut from = std::mem::take(&mut select.from);
    for table in &mut from {
        in_from(&mut table.relation, &mut named, select, &[]);
        let conditions: Vec<Expr> = table.joins.iter().filter_map(condition).collect();
        for join in &mut table.joins {
            let was_array = in_from(&mut join.relation, &mut named, select, &conditions);
            // Its condition is that it stands beside its row.
            if was_array
                && let JoinOperator::Inner(constraint) | JoinOperator::Join(constraint) =
                    &join.join_operator
                && *constraint == JoinConstraint::None
            {
                join.join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
            }
        }
    }
    select.from = from;
}

fn condition(join: &datafusion::sql::sqlparser::ast::Join) -> Option<Expr> {
    let mut operator = join.join_operator.clone();
    match any_constraint_mut(&mut operator)? {
        JoinConstraint::On(on) => Some(on.clone()),
        _ => None,
    }
}

fn in_from(
    factor: &mut TableFactor,
    named: &mut Vec<String>,
    select: &Select,
    conditions: &[Expr],
) -> bool {
    let array = match factor {
        TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias, .. } => {
            let [array] = array_exprs.as_slice() else { return false };
            let place = with_offset
                .then(|| with_offset_alias.clone().unwrap_or_else(|| Ident::new("offset")));
            Some((array.clone(), alias.clone(), place))
        }
        // `from t, t.items as item`
        TableFactor::Table { name, alias, args: None, .. } => path_of(name, named).map(|path| {
            let last = name.0.last().and_then(ObjectNamePart::as_ident).cloned();
            let own =
                last.map(|name| TableAlias { explicit: true, name, columns: Vec::new(), at: None });
            (path, alias.clone().or(own), None)
        }),
        _ => None,
    };
    let Some((array, alias, place)) = array else {
        named.extend(relation_name(factor).map(|name| folded(&name)));
        return false;
    };
    let name = alias.as_ref().map(|alias| folded(&alias.name)).unwrap_or_default();
    let whole = match !name.is_empty() && is_read(&name, select, conditions) {
        false => "",
        true if is_spread(&name, select) => "star",
        true => "whole",
    };
    let place = place.as_ref().map(folded).unwrap_or_default();
    named.extend(Some(name.clone()).filter(|name| !name.is_empty()));
    *factor = TableFactor::Function {
        lateral: true,
        name: object_name(ELEMENTS),
        args: [array, text(&name), text(&place), text(whole)].map(argument).to_vec(),
        with_ordinality: false,
        alias: alias.map(|alias| TableAlias { columns: Vec::new(), ..alias }),
    };
    true
}

/// An array by its path from a relation that stands before it.
fn path_of(name: &ObjectName, named: &[String]) -> Option<Expr> {
    let parts: Vec<Ident> =
        name.0.iter().map(|part| part.as_ident().cloned()).collect::<Option<_>>()?;
    let [first, _, ..] = parts.as_slice() else { return None };
    named.contains(&folded(first)).then_some(Expr::CompoundIdentifier(parts))
}

/// Whether the items are read as a whole, and not by their fields alone.
fn is_read(name: &str, select: &Select, conditions: &[Expr]) -> bool {
    let one = |part: &Expr| match part {
        Expr::Identifier(ident) if folded(ident) == *name => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    // All of it but the relations, which are not there now.
    visit_expressions(select, one).is_break()
        || conditions.iter().any(|condition| visit_expressions(condition, one).is_break())
}

/// Whether all columns of the select, or of these items, are asked for.
fn is_spread(name: &str, select: &Select) -> bool {
    select.projection.iter().any(|item| match item {
        SelectItem::Wildcard(_) => true,
        SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(ObjectName(parts)),
            _,
        ) => matches!(parts.as_slice(), [ObjectNamePart::Identifier(one)] if folded(one) == name),
        _ => false,
    })
}

/// `(select as struct a, b from t)` and `array(select as struct …)`: one value for each row.
pub(super) fn value_within(query: &mut Query) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(()) };
    let Some(mode) = select.value_table_mode.take() else { return Ok(()) };
    if matches!(mode, ValueTableMode::DistinctAsStruct | ValueTableMode::DistinctAsValue) {
        select.distinct = Some(Distinct::Distinct);
    }
    if matches!(mode, ValueTableMode::AsValue | ValueTableMode::DistinctAsValue) {
        return Ok(());
    }
    let mut fields = Vec::new();
    for (place, item) in select.projection.iter().enumerate() {
        let (name, value) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (alias.value.clone(), expr),
            SelectItem::UnnamedExpr(expr @ Expr::Identifier(name)) => (name.value.clone(), expr),
            SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(parts)) => {
                (parts.last().map(|name| name.value.clone()).unwrap_or_default(), expr)
            }
            SelectItem::UnnamedExpr(expr) => (format!("_field_{}", place + 1), expr),
            _ => {
                return Err(refused("`select as struct` with `*` as a value", "name the columns"));
            }
        };
        fields.push(text(&name));
        fields.push(value.clone());
    }
    select.projection = vec![SelectItem::UnnamedExpr(call("named_struct", fields))];
    Ok(())
}

/// A query in `from`, or of a model: the fields of its value are its columns.
pub(super) fn value_table(select: &mut Select) -> Result<()> {
    match select.value_table_mode.take() {
        None | Some(ValueTableMode::AsStruct) => return Ok(()),
        Some(ValueTableMode::DistinctAsStruct) => {
            select.distinct = Some(Distinct::Distinct);
            return Ok(());
        }
        Some(ValueTableMode::AsValue) => {}
        Some(ValueTableMode::DistinctAsValue) => select.distinct = Some(Distinct::Distinct),
    }
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        select.projection.as_slice()
    else {
        return Err(refused("`select as value` of several columns", "name the columns"));
    };
    let row = Ident::with_quote('"', "tidemill value");
    let mut within = select.clone();
    within.projection = vec![SelectItem::ExprWithAlias { expr: value.clone(), alias: row.clone() }];
    let rows = TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery: Box::new(crate::syntax::query_of(SetExpr::Select(Box::new(within)))),
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', "tidemill values"),
                columns: Vec::new(),
                at: None,
            }),
            sample: None,
        },
        joins: Vec::new(),
    };
    let all = SelectItem::QualifiedWildcard(
        SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![row])),
        WildcardAdditionalOptions::default(),
    );
    let query = select_from(vec![all], vec![rows], None);
    if let SetExpr::Select(outer) = *query.body {
        *select = *outer;
    }
    Ok(())
}

/// The items of an array of structs have the names that the first one gives.
pub(super) fn name_alike(elements: &mut [Expr]) {
    for element in elements.iter_mut() {
        if let Expr::Tuple(values) = element {
            let fields = values
                .iter()
                .enumerate()
                .flat_map(|(place, value)| [text(&format!("_field_{}", place + 1)), value.clone()]);
            *element = call("named_struct", fields.collect());
        }
    }
    let Some((first, others)) = elements.split_first_mut() else { return };
    others.iter_mut().for_each(|other| name_as(first, other));
}

fn name_as(first: &Expr, other: &mut Expr) {
    let Some(known) = structure(first) else { return };
    let Some(mut own) = structure(other) else { return };
    if known.len() != own.len() {
        return;
    }
    for (place, part) in own.iter_mut().enumerate() {
        match place % 2 {
            0 => *part = known[place].clone(),
            _ => name_as(&known[place], part),
        }
    }
    *other = call("named_struct", own);
}

fn structure(expr: &Expr) -> Option<Vec<Expr>> {
    let Expr::Function(function) = expr else { return None };
    (simple_name(function)? == "named_struct").then(|| plain_arguments(function)).flatten()
}

/// `any_value(x having max y)`: the value of the row that has the most.
pub(super) fn bounded(function: &Function) -> Result<Option<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return Ok(None) };
    let bound = list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::Having(bound) => Some(bound),
        _ => None,
    });
    let Some(HavingBound(kind, by)) = bound else { return Ok(None) };
    let name = simple_name(function).unwrap_or_default();
    let arguments = plain_arguments(function).unwrap_or_default();
    let [value] = arguments.as_slice() else { return Ok(None) };
    if name != "any_value" || list.clauses.len() > 1 {
        return Err(refused(
            &format!("`{name}(… having …)`"),
            "use `any_value(x having max y)`, or aggregate the rows that `qualify` keeps",
        ));
    }
    let extreme = match kind {
        HavingBoundKind::Max => "max_by",
        HavingBoundKind::Min => "min_by",
    };
    let mut extreme = call(extreme, vec![value.clone(), by.clone()]);
    if let Expr::Function(written) = &mut extreme {
        written.filter.clone_from(&function.filter);
        written.over.clone_from(&function.over);
    }
    Ok(Some(extreme))
}

/// Functions that fail for no value, so that `safe.` says nothing.
const SURE: [&str; 40] = [
    "abs",
    "array_length",
    "byte_length",
    "ceil",
    "char_length",
    "coalesce",
    "concat",
    "contains_substr",
    "date_diff",
    "date_trunc",
    "ends_with",
    "floor",
    "format_date",
    "format_datetime",
    "format_timestamp",
    "if",
    "ifnull",
    "initcap",
    "json_extract",
    "json_extract_array",
    "json_extract_scalar",
    "json_query",
    "json_query_array",
    "json_value",
    "left",
    "length",
    "lower",
    "ltrim",
    "regexp_contains",
    "regexp_extract",
    "regexp_extract_all",
    "regexp_replace",
    "replace",
    "reverse",
    "right",
    "rtrim",
    "split",
    "strpos",
    "trim",
    "upper",
];

/// The functions that become a cast, or have a form that gives NULL.
const TRIED: [&str; 9] = [
    "bool",
    "date",
    "datetime",
    "float64",
    "int64",
    "parse_date",
    "parse_datetime",
    "parse_timestamp",
    "timestamp",
];

/// `safe.f(x)`: what `f(x)` is, and NULL where that fails. `None` where the function is no such call.
pub(super) fn safe(
    function: &Function,
    apply: impl Fn(&Function) -> Result<Option<Expr>>,
) -> Result<Option<Expr>> {
    let Some(name) =
        simple_name(function).and_then(|name| name.strip_prefix(SAFE).map(str::to_owned))
    else {
        return Ok(None);
    };
    let mut plain = function.clone();
    plain.name = object_name(&name);
    let sure = SURE.contains(&name.as_str()) || matches!(name.as_str(), "substr" | "substring");
    if sure {
        let written = apply(&plain)?;
        return Ok(Some(written.unwrap_or(Expr::Function(plain))));
    }
    let known = plain_arguments(&plain).filter(|_| {
        TRIED.contains(&name.as_str())
            || matches!(name.as_str(), "parse_json" | "timestamp_seconds")
    });
    let Some(arguments) = known else {
        return Err(refused(
            &format!("`safe.{name}`"),
            "use `safe_cast`, `safe_divide`, or a `case` that leaves out what would fail",
        ));
    };
    if name == "parse_json" {
        return Ok(Some(call("tidemill_try_variant", arguments)));
    }
    // What stands in the call may fail as before.
    let held = |place: usize| format!("tidemill_argument_{place}");
    let given: Vec<Expr> = arguments
        .iter()
        .enumerate()
        .map(|(place, value)| match value {
            Expr::Value(_) => value.clone(),
            _ => Expr::Identifier(Ident::new(held(place))),
        })
        .collect();
    let Expr::Function(stand_in) = call(&name, given) else { return Ok(None) };
    let mut written = apply(&stand_in)?.unwrap_or_else(|| Expr::Function(stand_in.clone()));
    let _ = visit_expressions_mut(&mut written, |expr| {
        match expr {
            Expr::Cast { kind, .. } => *kind = CastKind::TryCast,
            Expr::Function(function) => match simple_name(function).as_deref() {
                Some("to_date") => function.name = object_name("tidemill_try_date"),
                Some("to_timestamp") if name.starts_with("parse_") => {
                    function.name = object_name("tidemill_try_moment");
                }
                _ => {}
            },
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    let _ = visit_expressions_mut(&mut written, |expr| {
        let place = match expr {
            Expr::Identifier(name) => (0..arguments.len()).find(|place| name.value == held(*place)),
            _ => None,
        };
        if let Some(place) = place {
            *expr = super::rules::closed(arguments[place].clone());
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(Some(written))
}

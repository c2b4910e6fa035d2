//! `asof join` of DuckDB: of the rows on the right side that stand before (or behind) one on the left,
//! the nearest.
//!
//! ```sql
//! t asof join p on t.k = p.k and t.at >= p.at
//! t join (select *, lead(p.at) over (partition by p.k order by p.at) as "next" from p) as p
//!     on t.k = p.k and t.at >= p.at and ("next" is null or t.at < "next")
//! ```

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, Select, SelectItem, SelectItemQualifiedWildcardKind, TableAlias, TableFactor,
    TableWithJoins, WildcardAdditionalOptions, visit_expressions,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use tidemill_core::{Result, SqlDialect};

use super::refused;
use super::rules::template;
use super::spoken::said;
use super::turned::{keyword, text};
use crate::names::{folded, relation_name};
use crate::syntax::{
    binary, conjuncts, constraint, equals, nested, plain_arguments, select_from, simple_name,
};

/// A condition that says of a join that it is one of these.
const MARK: &str = "tidemill_asof";
/// The columns that such a join adds, and takes away again.
const ADDED: &str = "tidemill asof";

/// Takes the word out of the text, and marks the join's condition.
pub(super) fn marked(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place < tokens.len() {
        if let Some((condition, words)) = condition_of(tokens, place) {
            tokens.splice(condition..condition, text(words, &tokens[place]));
            tokens.remove(place);
        }
        place += 1;
    }
}

/// Where the condition of the join begins whose word stands here, and what marks it.
fn condition_of(tokens: &[TokenWithSpan], place: usize) -> Option<(usize, &'static str)> {
    let Token::Word(word) = &tokens[place].token else { return None };
    if word.quote_style.is_some() || !word.value.eq_ignore_ascii_case("asof") {
        return None;
    }
    let mut at = said(tokens, place + 1)?;
    while matches!(
        keyword(&tokens[at]),
        Some(Keyword::LEFT | Keyword::INNER | Keyword::OUTER | Keyword::RIGHT | Keyword::FULL)
    ) {
        at = said(tokens, at + 1)?;
    }
    if keyword(&tokens[at]) != Some(Keyword::JOIN) {
        return None;
    }
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(at + 1) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.checked_sub(1)?,
            _ => {}
        }
        match keyword(token) {
            Some(Keyword::ON) if depth == 0 => {
                return Some((place + 1, " tidemill_asof() and "));
            }
            Some(Keyword::USING) if depth == 0 => {
                let open = said(tokens, place + 1)?;
                return Some((open + 1, "tidemill_asof, "));
            }
            _ => {}
        }
    }
    None
}

/// Puts joins with a bound on each side in the place of those that are marked.
///
/// # Errors
/// One without one comparison, and one that keeps rows of the right side.
pub(super) fn settle(select: &mut Select) -> Result<()> {
    let Select { from, projection, .. } = select;
    let mut number = 0;
    from.iter_mut().try_for_each(|table| in_table(table, projection, &mut number))
}

/// `asof join p match_condition (t.at >= p.at) on t.k = p.k` of Snowflake, which keeps all rows of the left
/// side, with the mark of such a join.
///
/// # Errors
/// One whose keys are written with `using`.
pub(super) fn matched(select: &mut Select) -> Result<()> {
    for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
        let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator else {
            continue;
        };
        let mut condition = binary(
            super::rules::closed(crate::syntax::call(MARK, Vec::new())),
            BinaryOperator::And,
            match_condition.clone(),
        );
        match constraint {
            JoinConstraint::On(on) => {
                condition = binary(condition, BinaryOperator::And, on.clone());
            }
            JoinConstraint::None => {}
            _ => {
                return Err(refused(
                    "`asof join … using`",
                    "write `on a.key = b.key` behind `match_condition`",
                ));
            }
        }
        join.join_operator = JoinOperator::LeftOuter(JoinConstraint::On(condition));
    }
    Ok(())
}

fn in_table(
    table: &mut TableWithJoins,
    projection: &mut [SelectItem],
    number: &mut usize,
) -> Result<()> {
    in_nested(&mut table.relation, projection, number)?;
    let mut left = relation_name(&table.relation);
    for join in &mut table.joins {
        in_nested(&mut join.relation, projection, number)?;
        if is_marked(join) {
            let added = one(join, left.as_ref(), *number)?;
            *number += 1;
            let right = relation_name(&join.relation);
            for item in &mut *projection {
                leave_out(item, right.as_ref(), &added);
            }
        } else if let Some(JoinConstraint::On(on)) = constraint(&join.join_operator)
            && has_mark(on)
        {
            return Err(refused(
                "`asof join` on conditions that `or` joins",
                "write `on a.key = b.key and a.time >= b.time`",
            ));
        }
        left = None;
    }
    Ok(())
}

fn in_nested(
    factor: &mut TableFactor,
    projection: &mut [SelectItem],
    number: &mut usize,
) -> Result<()> {
    match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => {
            in_table(table_with_joins, projection, number)
        }
        _ => Ok(()),
    }
}

fn is_marked(join: &Join) -> bool {
    match constraint(&join.join_operator) {
        Some(JoinConstraint::On(on)) => {
            let mut terms = Vec::new();
            conjuncts(on, &mut terms);
            terms.first().is_some_and(|first| is_mark(first))
        }
        Some(JoinConstraint::Using(columns)) => {
            columns.first().is_some_and(|name| name.to_string() == MARK)
        }
        _ => false,
    }
}

fn is_mark(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function)
        if simple_name(function).as_deref() == Some(MARK) && plain_arguments(function).is_some_and(|all| all.is_empty()))
}

fn has_mark(expr: &Expr) -> bool {
    visit_expressions(expr, |part| match is_mark(part) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
    .is_break()
}

/// Whether an expression names a column of this relation.
fn reads(expr: &Expr, relation: &Ident) -> bool {
    visit_expressions(expr, |part| match part {
        Expr::CompoundIdentifier(parts)
            if parts.len() > 1 && folded(&parts[parts.len() - 2]) == folded(relation) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// Two expressions and how the left one stands to the right one, which is of the right side.
struct Compared {
    left: Expr,
    op: BinaryOperator,
    right: Expr,
}

fn compared(expr: &Expr, relation: &Ident) -> Option<Compared> {
    let Expr::BinaryOp { left, op, right } = expr else { return None };
    let turned = match op {
        BinaryOperator::Gt => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::LtEq,
        BinaryOperator::Lt => BinaryOperator::Gt,
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        BinaryOperator::Eq => BinaryOperator::Eq,
        _ => return None,
    };
    let (left, right) = (left.as_ref().clone(), right.as_ref().clone());
    Some(match reads(&left, relation) && !reads(&right, relation) {
        true => Compared { left: right, op: turned, right: left },
        false => Compared { left, op: op.clone(), right },
    })
}

/// Rewrites one join; gives the columns that it adds.
fn one(join: &mut Join, left: Option<&Ident>, number: usize) -> Result<Vec<Ident>> {
    let constraint = match &mut join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) => constraint,
        _ => {
            return Err(refused(
                "`asof right join` and `asof full join`",
                "let the other side be the left one",
            ));
        }
    };
    let relation = relation_name(&join.relation).ok_or_else(|| {
        refused("`asof join` with this relation", "give it a name: `asof join (…) as p`")
    })?;
    let quoted = |name: String| Ident::with_quote('"', name);
    let of = |relation: &Ident, column: &Ident| {
        Expr::CompoundIdentifier(vec![relation.clone(), column.clone()])
    };
    let mut added: Vec<Ident> = Vec::new();
    let mut items = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    let mut all: Vec<Compared> = Vec::new();
    let mut others: Vec<Expr> = Vec::new();
    match &*constraint {
        JoinConstraint::On(on) => {
            let mut conditions = Vec::new();
            conjuncts(on, &mut conditions);
            for condition in conditions.into_iter().filter(|condition| !is_mark(condition)) {
                match compared(condition, &relation) {
                    Some(compared) => all.push(compared),
                    None => others.push(condition.clone()),
                }
            }
        }
        JoinConstraint::Using(columns) => {
            let names: Vec<Ident> = columns
                .iter()
                .skip(1)
                .filter_map(|name| match name.0.last() {
                    Some(ObjectNamePart::Identifier(name)) => Some(name.clone()),
                    _ => None,
                })
                .collect();
            // The columns of both sides are there once, with the values of the left side.
            let exclude = names.iter().map(|name| ObjectName::from(vec![name.clone()])).collect();
            items = vec![SelectItem::Wildcard(WildcardAdditionalOptions {
                opt_exclude: Some(ExcludeSelectItem::Multiple(exclude)),
                ..WildcardAdditionalOptions::default()
            })];
            let last = names.len().saturating_sub(1);
            for (place, name) in names.iter().enumerate() {
                let own = quoted(format!("{ADDED} {number} {}", name.value));
                items.push(SelectItem::ExprWithAlias {
                    expr: of(&relation, name),
                    alias: own.clone(),
                });
                let left = match left {
                    Some(left) => of(left, name),
                    None => Expr::Identifier(name.clone()),
                };
                let op = if place == last { BinaryOperator::GtEq } else { BinaryOperator::Eq };
                all.push(Compared { left, op, right: of(&relation, &own) });
                added.push(own);
            }
        }
        _ => return Ok(added),
    }
    let (keys, bounds): (Vec<Compared>, Vec<Compared>) =
        all.into_iter().partition(|compared| compared.op == BinaryOperator::Eq);
    let [bound] = bounds.as_slice() else {
        return Err(refused(
            "`asof join` without one comparison by `>=`, `>`, `<=` or `<`",
            "write `on a.key = b.key and a.time >= b.time`",
        ));
    };
    if !others.is_empty() {
        return Err(refused(
            &format!("`asof join` on `{}`", others[0]),
            "put that condition into a subquery on the right side",
        ));
    }
    // Within the subquery a column that stands for one of `using` has its own name.
    let within = |expr: &Expr| match expr {
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [_, own] if added.contains(own) => {
                let prefix = format!("{ADDED} {number} ");
                let name = own.value.strip_prefix(&prefix).unwrap_or(&own.value);
                of(&relation, &Ident { value: name.to_owned(), ..own.clone() })
            }
            _ => expr.clone(),
        },
        other => other.clone(),
    };
    let forward = matches!(bound.op, BinaryOperator::Gt | BinaryOperator::GtEq);
    let partition: Vec<String> = keys.iter().map(|key| within(&key.right).to_string()).collect();
    let by = match partition.is_empty() {
        true => String::new(),
        false => format!("partition by {} ", partition.join(", ")),
    };
    let neighbour =
        format!("{}(b) over ({by}order by b nulls last)", if forward { "lead" } else { "lag" });
    let neighbour = template(&neighbour, &[("b", within(&bound.right))], SqlDialect::DuckDb)?;
    let next = quoted(format!("{ADDED} {number}"));
    items.push(SelectItem::ExprWithAlias { expr: neighbour, alias: next.clone() });
    added.push(next.clone());
    let next = of(&relation, &next);
    let beyond = match bound.op {
        BinaryOperator::GtEq => BinaryOperator::Lt,
        BinaryOperator::Gt => BinaryOperator::LtEq,
        BinaryOperator::LtEq => BinaryOperator::Gt,
        _ => BinaryOperator::GtEq,
    };
    let nearest = nested(binary(
        Expr::IsNull(Box::new(next.clone())),
        BinaryOperator::Or,
        binary(bound.left.clone(), beyond, next),
    ));
    let mut condition = binary(
        binary(bound.left.clone(), bound.op.clone(), bound.right.clone()),
        BinaryOperator::And,
        nearest,
    );
    for key in keys {
        condition = binary(equals(key.left, key.right), BinaryOperator::And, condition);
    }
    *constraint = JoinConstraint::On(condition);
    let from = TableWithJoins { relation: join.relation.clone(), joins: Vec::new() };
    join.relation = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(select_from(items, vec![from], None)),
        alias: Some(TableAlias { explicit: true, name: relation, columns: Vec::new(), at: None }),
        sample: None,
    };
    Ok(added)
}

/// `*` is what it would be without the columns that were added.
pub(super) fn leave_out(item: &mut SelectItem, right: Option<&Ident>, added: &[Ident]) {
    let options = match item {
        SelectItem::Wildcard(options) => options,
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
            if right.is_some_and(|right| {
                matches!(name.0.last(), Some(ObjectNamePart::Identifier(name)) if folded(name) == folded(right))
            }) =>
        {
            options
        }
        _ => return,
    };
    let names = added.iter().map(|name| ObjectName::from(vec![name.clone()]));
    let mut all: Vec<ObjectName> = match options.opt_exclude.take() {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
    };
    all.extend(names);
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(all));
}

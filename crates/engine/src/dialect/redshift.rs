//! What only Redshift writes: `approximate count(distinct x)`, `sysdate`, and the fields and items of a SUPER,
//! which is JSON in text here: `t.document.a.b`, `from t, t.items as i`.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Ident, Query, Select, SelectItem, Statement, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::spoken::said;
use crate::names::{folded, relation_name};
use crate::syntax::{call, simple_name, text};

/// Takes the word out of the text that asks for an estimate: everything is counted here.
pub(super) fn written(tokens: &mut Vec<TokenWithSpan>) {
    let is = |token: &TokenWithSpan, words: &[&str]| {
        matches!(&token.token, Token::Word(word) if word.quote_style.is_none()
            && words.iter().any(|wanted| word.value.eq_ignore_ascii_case(wanted)))
    };
    let mut place = 0;
    while place < tokens.len() {
        if is(&tokens[place], &["approximate"])
            && let Some(next) = said(tokens, place + 1)
            && is(&tokens[next], &["count", "percentile_disc"])
            && said(tokens, next + 1).is_some_and(|open| tokens[open].token == Token::LParen)
        {
            tokens.drain(place..next);
        }
        place += 1;
    }
}

/// By which words relations are called anywhere in a statement, and those that are items of an array.
#[derive(Default)]
pub(super) struct Relations {
    named: HashSet<String>,
    items: HashSet<String>,
}

impl Relations {
    pub(super) fn of(statement: &Statement) -> Relations {
        let mut relations = Relations::default();
        // It never breaks off.
        let _ = Visit::visit(statement, &mut relations);
        relations
    }

    /// A name that reaches into a SUPER.
    pub(super) fn navigated(&self, words: &[Ident]) -> Option<Expr> {
        let known = |word: &Ident| self.named.contains(&folded(word));
        let [first, second, ..] = words else { return None };
        let (column, keys) = match known(first) {
            true if self.items.contains(&folded(first)) => {
                (Expr::CompoundIdentifier(vec![first.clone(), first.clone()]), &words[1..])
            }
            true if words.len() > 2 => {
                (Expr::CompoundIdentifier(vec![first.clone(), second.clone()]), &words[2..])
            }
            // A schema and its relation.
            false if words.iter().skip(1).any(known) => return None,
            false => (Expr::Identifier(first.clone()), &words[1..]),
            true => return None,
        };
        let keys = keys.iter().map(|key| text(&folded(key)));
        Some(call("tidemill_walked_text", std::iter::once(column).chain(keys).collect()))
    }

    /// Arrays in `from`, by their path from a relation that stands before them.
    pub(super) fn arrays(&mut self, select: &mut Select) {
        let mut before: Vec<String> = Vec::new();
        for table in &mut select.from {
            let joined = table.joins.iter_mut().map(|join| &mut join.relation);
            for factor in std::iter::once(&mut table.relation).chain(joined) {
                if let Some((path, alias)) = path_of(factor, &before) {
                    self.items.insert(folded(&alias));
                    self.named.insert(folded(&alias));
                    *factor = super::relations::items_called(path, alias);
                }
                before.extend(relation_name(factor).map(|name| folded(&name)));
            }
        }
    }
}

/// `avg(x)` is written in another way, and its column is called as before.
pub(super) fn name_averages(items: &mut [SelectItem]) {
    let mut number = 0;
    for item in items {
        if let SelectItem::UnnamedExpr(expr @ Expr::Function(function)) = &*item
            && simple_name(function).as_deref() == Some("avg")
        {
            number += 1;
            let name = if number == 1 { "avg".to_owned() } else { format!("avg_{number}") };
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::new(name) };
        }
    }
}

fn path_of(factor: &TableFactor, before: &[String]) -> Option<(Expr, Ident)> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
    let words: Vec<Ident> =
        name.0.iter().map(|part| part.as_ident().cloned()).collect::<Option<_>>()?;
    let [first, _, ..] = words.as_slice() else { return None };
    if !before.contains(&folded(first)) {
        return None;
    }
    let alias = match alias {
        Some(alias) => alias.name.clone(),
        None => words.last()?.clone(),
    };
    Some((Expr::CompoundIdentifier(words), alias))
}

impl Visitor for Relations {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.named.extend(tables.map(|Cte { alias, .. }| folded(&alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        let alias = match factor {
            TableFactor::Function { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::NestedJoin { alias, .. }
            | TableFactor::Pivot { alias, .. }
            | TableFactor::Unpivot { alias, .. } => alias.as_ref().map(|alias| alias.name.clone()),
            _ => relation_name(factor),
        };
        self.named.extend(alias.map(|name| folded(&name)));
        ControlFlow::Continue(())
    }
}

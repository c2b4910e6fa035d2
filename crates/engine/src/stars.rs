//! `t.*` of a relation that `from` names with its schema: `select t.* from main.t`.
//!
//! A column of it is found by the last part of its name alone (`t.a`). DataFusion wants the whole
//! name for all of them, so `t.*` becomes `main.t.*`, in lists of columns and in arguments.
//! <https://www.postgresql.org/docs/current/queries-table-expressions.html#QUERIES-TABLE-ALIASES>

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, ObjectNamePart,
    Select, SelectItem, SelectItemQualifiedWildcardKind, Statement, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};

use crate::names::{folded, last};

/// Gives the stars of a statement the whole names of their relations.
pub(crate) fn name_stars(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Stars);
}

struct Stars;

impl VisitorMut for Stars {
    type Break = Infallible;

    /// The inner ones first: what they name themselves is not of a select around them.
    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Infallible> {
        let mut relations = Relations::default();
        select.from.iter().for_each(|table| relations.add(table));
        if relations.longer.is_empty() {
            return ControlFlow::Continue(());
        }
        for item in &mut select.projection {
            if let SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                _,
            ) = item
            {
                relations.complete(name);
            }
        }
        let mut arguments = Arguments(&relations);
        let _ = VisitMut::visit(&mut select.projection, &mut arguments);
        let _ = VisitMut::visit(&mut select.having, &mut arguments);
        VisitMut::visit(&mut select.qualify, &mut arguments)
    }
}

/// The stars in the arguments of functions: `count(distinct t.*)`.
struct Arguments<'a>(&'a Relations);

impl VisitorMut for Arguments<'_> {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = expr {
            for argument in &mut list.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) = argument {
                    self.0.complete(name);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// The relations of a select.
#[derive(Default)]
struct Relations {
    /// Those that are named by more than one part and have no alias.
    longer: Vec<ObjectName>,
    /// What the others are called.
    others: Vec<String>,
}

impl Relations {
    fn add(&mut self, table: &TableWithJoins) {
        self.relation(&table.relation);
        table.joins.iter().for_each(|join| self.relation(&join.relation));
    }

    fn relation(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { alias: None, name, args: None, .. } if name.0.len() > 1 => {
                self.longer.push(name.clone());
            }
            TableFactor::Table { alias: None, name, .. } => {
                self.others.extend(last(name));
            }
            TableFactor::NestedJoin { alias: None, table_with_joins } => self.add(table_with_joins),
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. } => {
                self.others.push(folded(&alias.name));
            }
            _ => {}
        }
    }

    /// The whole name of the only relation that a single name is the last part of.
    fn complete(&self, name: &mut ObjectName) {
        let [ObjectNamePart::Identifier(single)] = name.0.as_slice() else { return };
        let wanted = folded(single);
        if self.others.contains(&wanted) {
            return;
        }
        let mut meant =
            self.longer.iter().filter(|longer| last(longer).is_some_and(|last| last == wanted));
        if let (Some(longer), None) = (meant.next(), meant.next()) {
            *name = longer.clone();
        }
    }
}

//! Columns that the text spells in another case than their relation.
//!
//! A column's name keeps its letters (`CustomerID` of a seed's header), and PostgreSQL would find it
//! in quotes only. DuckDB and others find it however it is written; so do we, where nothing of the
//! written spelling is there. The planner decides: a name that it does not find, and that one column
//! has in another case, is put into that column's spelling.

use std::ops::ControlFlow;

use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::ast::{
    Distinct, ExcludeSelectItem, Expr, GroupByExpr, Ident, JoinConstraint, ObjectName,
    ObjectNamePart, Select, SelectItem, Statement, VisitMut, VisitorMut, visit_expressions_mut,
};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::names::folded;
use crate::syntax::{any_constraint_mut, change_outside_queries};

/// Puts the name that the error says is missing, and its neighbours, into the spelling that their
/// columns have. `false` where that would not help.
pub(crate) fn respell(statement: &mut Statement, error: &DataFusionError) -> bool {
    let Some(missing) = Missing::of(error) else { return false };
    let relation = missing.field.relation.as_ref().map(|relation| relation.table());
    let Some(spelled) = missing.spelling(relation, &missing.field.name) else { return false };
    let Some(place) = missing.place else {
        return respell_keys(statement, &missing.field.name, &spelled);
    };
    if VisitMut::visit(statement, &mut Respeller { missing: &missing, place }).is_break() {
        return true;
    }
    // Of no select: `order by`.
    let mut changed = false;
    let _ = visit_expressions_mut(statement, |expr| {
        if stands_at(expr, place) {
            changed |= missing.change(expr);
        }
        ControlFlow::<()>::Continue(())
    });
    changed
}

/// A column that was not found, and those that are there.
pub(crate) struct Missing<'a> {
    pub(crate) field: &'a Column,
    pub(crate) valid: &'a [Column],
    pub(crate) place: Option<Location>,
}

impl<'a> Missing<'a> {
    pub(crate) fn of(error: &'a DataFusionError) -> Option<Self> {
        let mut error = error;
        let mut place = None;
        loop {
            match error {
                DataFusionError::Context(_, inner) => error = inner,
                DataFusionError::Diagnostic(diagnostic, inner) => {
                    place = diagnostic.span.map(|span| span.start).or(place);
                    error = inner;
                }
                DataFusionError::Collection(all) => error = all.first()?,
                DataFusionError::SchemaError(found, _) => {
                    let SchemaError::FieldNotFound { field, valid_fields } = found.as_ref() else {
                        return None;
                    };
                    let start = field.spans().first().map(|span| span.start).or(place);
                    let place = start.map(|start| Location::new(start.line, start.column));
                    return Some(Missing { field, valid: valid_fields, place });
                }
                _ => return None,
            }
        }
    }

    /// How the one column that differs from the name by case alone is spelled.
    fn spelling(&self, relation: Option<&str>, name: &str) -> Option<String> {
        let mut alike = self.valid.iter().filter(|column| {
            let owner = column.relation.as_ref().map(|relation| relation.table());
            let same_owner = match (relation, owner) {
                (Some(wanted), Some(owner)) => wanted.eq_ignore_ascii_case(owner),
                _ => true,
            };
            same_owner && column.name.to_lowercase() == name.to_lowercase()
        });
        let first = alike.next()?;
        let only = alike.all(|other| other.name == first.name);
        (only && first.name != name).then(|| first.name.clone())
    }

    /// Puts the name that an expression is into its column's spelling.
    fn change(&self, expr: &mut Expr) -> bool {
        let (relation, ident) = match expr {
            Expr::Identifier(ident) => (None, ident),
            Expr::CompoundIdentifier(parts) => match parts.as_mut_slice() {
                [.., relation, ident] => (Some(folded(relation)), ident),
                _ => return false,
            },
            _ => return false,
        };
        let Some(spelled) = self.spelling(relation.as_deref(), &folded(ident)) else {
            return false;
        };
        *ident = Ident { value: spelled, quote_style: Some('"'), span: ident.span };
        true
    }
}

pub(crate) fn stands_at(expr: &Expr, place: Location) -> bool {
    match expr {
        Expr::Identifier(ident) => ident.span.start == place,
        Expr::CompoundIdentifier(parts) => parts.iter().any(|part| part.span.start == place),
        _ => false,
    }
}

/// Changes all names of the select in which the missing one stands: they see the same columns.
struct Respeller<'a> {
    missing: &'a Missing<'a>,
    place: Location,
}

impl VisitorMut for Respeller<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let (mut here, mut changed) = (false, false);
        each(select, &mut |expr| here |= stands_at(expr, self.place));
        if here {
            each(select, &mut |expr| changed |= self.missing.change(expr));
        }
        match changed {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// All parts of the expressions of a select, without those of its inner queries.
fn each(select: &mut Select, change: &mut dyn FnMut(&mut Expr)) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            change_outside_queries(expr, &mut *change);
        }
    }
    if let Some(Distinct::On(columns)) = &mut select.distinct {
        columns.iter_mut().for_each(|column| change_outside_queries(column, &mut *change));
    }
    let conditions = [&mut select.selection, &mut select.having, &mut select.qualify];
    for condition in conditions.into_iter().flatten() {
        change_outside_queries(condition, &mut *change);
    }
    if let GroupByExpr::Expressions(columns, _) = &mut select.group_by {
        columns.iter_mut().for_each(|column| change_outside_queries(column, &mut *change));
    }
    for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
        if let Some(JoinConstraint::On(condition)) = any_constraint_mut(&mut join.join_operator) {
            change_outside_queries(condition, &mut *change);
        }
    }
}

/// `join … using (k)` and `* exclude (k)` say no place. Each name is changed once: it is in quotes
/// afterwards.
fn respell_keys(statement: &mut Statement, name: &str, spelled: &str) -> bool {
    struct Keys<'a> {
        name: &'a str,
        spelled: &'a str,
        changed: bool,
    }
    impl Keys<'_> {
        fn change(&mut self, ident: &mut Ident) {
            if ident.quote_style.is_none() && folded(ident) == self.name {
                *ident = Ident::with_quote_and_span('"', ident.span, self.spelled);
                self.changed = true;
            }
        }

        fn change_all<'a>(&mut self, names: impl Iterator<Item = &'a mut ObjectName>) {
            for ObjectName(parts) in names {
                if let [ObjectNamePart::Identifier(ident)] = parts.as_mut_slice() {
                    self.change(ident);
                }
            }
        }
    }
    impl VisitorMut for Keys<'_> {
        type Break = std::convert::Infallible;

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
            for item in &mut select.projection {
                let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) =
                    item
                else {
                    continue;
                };
                match &mut options.opt_exclude {
                    Some(ExcludeSelectItem::Single(name)) => self.change_all([name].into_iter()),
                    Some(ExcludeSelectItem::Multiple(names)) => self.change_all(names.iter_mut()),
                    None => {}
                }
                if let Some(except) = &mut options.opt_except {
                    self.change(&mut except.first_element);
                    except.additional_elements.iter_mut().for_each(|name| self.change(name));
                }
            }
            for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
                let Some(JoinConstraint::Using(keys)) = any_constraint_mut(&mut join.join_operator)
                else {
                    continue;
                };
                self.change_all(keys.iter_mut());
            }
            ControlFlow::Continue(())
        }
    }
    let mut keys = Keys { name, spelled, changed: false };
    // It never breaks off.
    let _ = VisitMut::visit(statement, &mut keys);
    keys.changed
}

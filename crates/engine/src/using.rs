//! `join … using (k)`: the columns that both sides share are one column of the result.
//!
//! The planner takes the left side's for it, which is NULL where only the right side has a row. Here
//! a right or full join is written out with `on`, and an unqualified `k` becomes the side that is
//! there. So is a chain of three joins and more by one column, whose left side the planner finds
//! ambiguous, and a join below a condition that names the column, or has a query in it. A `*` gives the shared columns first,
//! once (PostgreSQL).

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, GroupByExpr, Ident, Join, JoinConstraint,
    JoinOperator, ObjectName, ObjectNamePart, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions, visit_expressions,
};
use tidemill_core::{Error, ErrorKind, Result};

use crate::names::{folded, last, relation_name};
use crate::syntax::{binary, call, change_outside_queries, constraint, constraint_mut};

/// Looks through a whole statement.
pub(crate) fn merge_columns(statement: &mut Statement) -> Result<()> {
    match VisitMut::visit(statement, &mut Joins) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Joins;

impl VisitorMut for Joins {
    type Break = Error;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let Query { body, order_by, .. } = query;
        let SetExpr::Select(select) = body.as_mut() else { return ControlFlow::Continue(()) };
        let shared = match shared_columns(select) {
            Ok(Some(shared)) => shared,
            Ok(None) => return ControlFlow::Continue(()),
            Err(error) => return ControlFlow::Break(error),
        };
        let outputs: Vec<String> = select.projection.iter().filter_map(output_name).collect();
        shared.spell_out(select);
        if let Some(order_by) = order_by
            && let OrderByKind::Expressions(columns) = &mut order_by.kind
        {
            for column in columns {
                // A bare name means the column of the result where there is one.
                let is_output = matches!(
                    &column.expr,
                    Expr::Identifier(name) if outputs.contains(&folded(name))
                );
                if !is_output {
                    shared.replace(&mut column.expr);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn output_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(folded(name)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(folded),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    }
}

/// The columns that the joins of one `from` share.
struct Shared {
    /// In the order in which they are named.
    columns: Vec<(Ident, Expr)>,
    /// The places of the relations that have each of them.
    owners: Vec<Vec<usize>>,
    /// The joined relations, in order.
    relations: Vec<Ident>,
    /// Whether the joins are written out, as the planner's own meaning is wrong.
    spelled: bool,
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

/// `None` where no join has `using`.
fn shared_columns(select: &mut Select) -> Result<Option<Shared>> {
    let uses = |operator: &JoinOperator| {
        matches!(constraint(operator), Some(JoinConstraint::Using(_) | JoinConstraint::Natural))
    };
    if !select.from.iter().any(|table| table.joins.iter().any(|join| uses(&join.join_operator))) {
        return Ok(None);
    }
    let is_outer = |operator: &JoinOperator| {
        matches!(
            operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        )
    };
    let any_outer = select.from.iter().any(|table| {
        table.joins.iter().any(|join| is_outer(&join.join_operator) && uses(&join.join_operator))
    });
    let inner_queries = has_query(&select.selection) || has_query(&select.having);
    let keys = shared_keys(&select.from);
    let in_condition = [&select.selection, &select.having, &select.qualify]
        .into_iter()
        .any(|condition| names_one_of(condition, &keys));
    let [table] = select.from.as_mut_slice() else {
        return match any_outer {
            true => Err(wrong(
                "write a right or full join with `using` without a comma behind it: use `cross join`",
            )),
            false => Ok(None),
        };
    };
    let outer =
        table.joins.iter().any(|join| is_outer(&join.join_operator) && uses(&join.join_operator));
    let natural = table
        .joins
        .iter()
        .any(|join| matches!(constraint(&join.join_operator), Some(JoinConstraint::Natural)));
    if natural {
        return match outer {
            true => Err(wrong("name the columns of a right or full join with `using (…)`")),
            false => Ok(None),
        };
    }
    let names: Option<Vec<Ident>> = std::iter::once(&table.relation)
        .chain(table.joins.iter().map(|join| &join.relation))
        .map(relation_name)
        .collect();
    let Some(relations) = names else {
        return match outer {
            true => Err(wrong(
                "the relations of a right or full join with `using` need names: write `as a`",
            )),
            false => Ok(None),
        };
    };
    let spelled = outer || inner_queries || in_condition || is_chain(&table.joins);
    let mut columns: Vec<(Ident, Expr)> = Vec::new();
    let mut owners: Vec<Vec<usize>> = Vec::new();
    let mut written: Vec<Option<Expr>> = Vec::new();
    for (index, join) in table.joins.iter().enumerate() {
        written.push(None);
        let right = &relations[index + 1];
        let (left_counts, right_counts) = match &join.join_operator {
            JoinOperator::FullOuter(_) => (true, true),
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => (false, true),
            _ => (true, false),
        };
        let Some(JoinConstraint::Using(keys)) = constraint(&join.join_operator) else { continue };
        let mut conditions: Option<Expr> = None;
        for key in keys {
            let [ObjectNamePart::Identifier(name)] = key.0.as_slice() else { return Ok(None) };
            let theirs = Expr::CompoundIdentifier(vec![right.clone(), name.clone()]);
            let known = columns.iter().position(|(known, _)| folded(known) == folded(name));
            let ours = match known {
                Some(known) => columns[known].1.clone(),
                None if index == 0 => {
                    Expr::CompoundIdentifier(vec![relations[0].clone(), name.clone()])
                }
                // Which of several relations has it is known to the planner alone.
                None if outer => {
                    return Err(wrong(&format!(
                        "write the join of `{right}` with `on`: several relations stand to its \
                         left, and which of them has `{name}` is not said"
                    )));
                }
                None => return Ok(None),
            };
            let equal = binary(ours.clone(), BinaryOperator::Eq, theirs.clone());
            conditions = Some(match conditions {
                Some(all) => binary(all, BinaryOperator::And, equal),
                None => equal,
            });
            let merged = match (left_counts, right_counts) {
                (true, true) => call("coalesce", vec![ours, theirs]),
                (false, _) => theirs,
                _ => ours,
            };
            match known {
                Some(known) => {
                    columns[known].1 = merged;
                    owners[known].push(index + 1);
                }
                None => {
                    columns.push((name.clone(), merged));
                    owners.push(vec![index, index + 1]);
                }
            }
        }
        written[index] = conditions;
    }
    if spelled {
        for (join, conditions) in table.joins.iter_mut().zip(written) {
            if let Some(conditions) = conditions
                && let Some(constraint) = constraint_mut(&mut join.join_operator)
            {
                *constraint = JoinConstraint::On(conditions);
            }
        }
    }
    Ok(Some(Shared { columns, owners, relations, spelled }))
}

/// Whether a condition has a query in it: the planner then finds the shared columns beside it ambiguous.
fn has_query(condition: &Option<Expr>) -> bool {
    visit_expressions(condition, |expr| match expr {
        Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// Whether a condition names one of these columns alone: the planner finds it ambiguous there.
fn names_one_of(condition: &Option<Expr>, columns: &[String]) -> bool {
    visit_expressions(condition, |expr| match expr {
        Expr::Identifier(name) if columns.contains(&folded(name)) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// The columns that joins are by.
fn shared_keys(from: &[TableWithJoins]) -> Vec<String> {
    let joins = from.iter().flat_map(|table| &table.joins);
    let keys = joins.filter_map(|join| match constraint(&join.join_operator)? {
        JoinConstraint::Using(keys) => Some(keys),
        _ => None,
    });
    keys.flatten().filter_map(last).collect()
}

/// Whether three joins or more are by one column.
fn is_chain(joins: &[Join]) -> bool {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for join in joins {
        let Some(JoinConstraint::Using(keys)) = constraint(&join.join_operator) else { continue };
        for key in keys {
            if let [ObjectNamePart::Identifier(name)] = key.0.as_slice() {
                *uses.entry(folded(name)).or_default() += 1;
            }
        }
    }
    uses.values().any(|uses| *uses > 2)
}

impl Shared {
    fn spell_out(&self, select: &mut Select) {
        let items = std::mem::take(&mut select.projection);
        for item in items {
            match item {
                SelectItem::Wildcard(options) if is_plain(&options) => {
                    select.projection.extend(self.all());
                }
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
                    let item = match self.merged(&name).filter(|_| self.spelled) {
                        Some(expr) => SelectItem::ExprWithAlias { expr, alias: name },
                        None => SelectItem::UnnamedExpr(Expr::Identifier(name)),
                    };
                    select.projection.push(item);
                }
                mut other => {
                    if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } =
                        &mut other
                    {
                        self.replace(expr);
                    }
                    select.projection.push(other);
                }
            }
        }
        let conditions = [&mut select.selection, &mut select.having, &mut select.qualify];
        for condition in conditions.into_iter().flatten() {
            self.replace(condition);
        }
        if let GroupByExpr::Expressions(columns, _) = &mut select.group_by {
            columns.iter_mut().for_each(|column| self.replace(column));
        }
        if let Some(table) = select.from.first_mut() {
            for join in &mut table.joins {
                if let Some(JoinConstraint::On(condition)) = constraint_mut(&mut join.join_operator)
                {
                    self.replace(condition);
                }
            }
        }
    }

    /// The columns of `*`.
    fn all(&self) -> Vec<SelectItem> {
        let mut items: Vec<SelectItem> = self
            .columns
            .iter()
            .map(|(name, expr)| SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: name.clone(),
            })
            .collect();
        for (place, relation) in self.relations.iter().enumerate() {
            let columns = self.columns.iter().zip(&self.owners);
            let shared: Vec<ObjectName> = columns
                .filter(|(_, owners)| owners.contains(&place))
                .map(|((name, _), _)| ObjectName::from(vec![name.clone()]))
                .collect();
            let options = WildcardAdditionalOptions {
                opt_exclude: (!shared.is_empty()).then_some(ExcludeSelectItem::Multiple(shared)),
                ..WildcardAdditionalOptions::default()
            };
            let relation = ObjectName::from(vec![relation.clone()]);
            items.push(SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(relation),
                options,
            ));
        }
        items
    }

    fn merged(&self, name: &Ident) -> Option<Expr> {
        let found = self.columns.iter().find(|(known, _)| folded(known) == folded(name));
        found.map(|(_, expr)| expr.clone())
    }

    /// Unqualified names of shared columns, outside of inner queries.
    fn replace(&self, expr: &mut Expr) {
        if !self.spelled {
            return;
        }
        let merged: HashMap<String, &Expr> =
            self.columns.iter().map(|(name, expr)| (folded(name), expr)).collect();
        change_outside_queries(expr, |expr| {
            if let Expr::Identifier(name) = expr
                && let Some(merged) = merged.get(&folded(name))
            {
                *expr = (*merged).clone();
            }
        });
    }
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.opt_exclude.is_none() && options.opt_except.is_none() && options.opt_replace.is_none()
}

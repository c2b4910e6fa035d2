//! Subqueries in the condition of a join that read its rows:
//! `left join prices p on p.item = o.item and p.since = (select max(since) from prices q where q.since <= o.at)`.
//!
//! A join knows no subqueries. Of an inner one, such conditions are a filter of its rows. Of an outer one, a
//! subquery that reads one side becomes a column of that side. One that reads both sides is asked for the pairs
//! that the other conditions let through: the different values of such pairs for which it holds are joined to
//! the side whose rows may be missing, so that a pair is found as often as before.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder};

use crate::correlated::{Rewriter, stands_apart};
use crate::lateral::{all_of, lateral, projection};
use crate::spread::{moves, outer_columns, same};

/// Which rows of a join a subquery reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Left,
    Right,
    Both,
}

/// A side of a join with the columns of subqueries beside its own.
struct Side {
    rows: LogicalPlan,
    beside: Vec<Expr>,
}

impl Side {
    fn new(rows: &Arc<LogicalPlan>) -> Self {
        Side { rows: rows.as_ref().clone(), beside: Vec::new() }
    }

    /// The rows with these columns, computed.
    fn computed(self, rewriter: &mut Rewriter) -> Result<LogicalPlan> {
        if self.beside.is_empty() {
            return Ok(self.rows);
        }
        let mut columns = all_of(self.rows.schema());
        columns.extend(self.beside);
        Ok(rewriter.node(projection(self.rows, columns)?)?.data)
    }
}

impl Rewriter {
    /// A join whose inputs and subqueries are done. `None` where its condition has no such subquery, and where
    /// it cannot be done.
    pub(crate) fn conditioned(&mut self, join: &Join) -> Result<Option<LogicalPlan>> {
        let Some(filter) = &join.filter else { return Ok(None) };
        if lateral(join).is_some() {
            return Ok(None);
        }
        let conditions = split_conjunction_owned(filter.clone());
        let (asking, plain): (Vec<Expr>, Vec<Expr>) =
            conditions.into_iter().partition(|condition| asks(condition, join));
        if asking.is_empty() {
            return Ok(None);
        }
        if join.join_type == JoinType::Inner {
            let joined = with_filter(join, JoinType::Inner, plain)?;
            let Some(asking) = conjunction(asking) else { return Ok(None) };
            let filter = Filter::try_new(asking, Arc::new(joined))?;
            return Ok(Some(self.node(LogicalPlan::Filter(filter))?.data));
        }
        self.outer(join, asking, plain)
    }

    fn outer(
        &mut self,
        join: &Join,
        asking: Vec<Expr>,
        mut plain: Vec<Expr>,
    ) -> Result<Option<LogicalPlan>> {
        let (mut left, mut right) = (Side::new(&join.left), Side::new(&join.right));
        let mut of_pairs = Vec::new();
        for condition in asking {
            if reads_pairs(&condition, join) {
                of_pairs.push(condition);
                continue;
            }
            let apart = condition.transform_down(|part| {
                if !stands_apart(&part) {
                    return Ok(Transformed::no(part));
                }
                let name = format!("__tidemill_condition_{}", self.next());
                let side = match reads(&part, join) {
                    Some(Reads::Right) => &mut right,
                    _ => &mut left,
                };
                side.beside.push(part.alias(&name));
                Ok(Transformed::yes(Expr::Column(Column::from_name(name))))
            })?;
            plain.push(apart.data);
        }
        let join = Join {
            left: Arc::new(left.computed(self)?),
            right: Arc::new(right.computed(self)?),
            ..join.clone()
        };
        let joined = match conjunction(of_pairs) {
            None => with_filter(&join, join.join_type, plain)?,
            Some(condition) => match self.paired(&join, condition, plain)? {
                Some(joined) => joined,
                None => return Ok(None),
            },
        };
        projection(joined, all_of(&join.schema)).map(Some)
    }

    /// The join with a condition that looks at both sides.
    fn paired(
        &mut self,
        join: &Join,
        condition: Expr,
        mut plain: Vec<Expr>,
    ) -> Result<Option<LogicalPlan>> {
        // The rows of both sides are read twice.
        if !matches!(join.join_type, JoinType::Left | JoinType::Right)
            || condition.is_volatile()
            || moves(&join.left)
            || moves(&join.right)
        {
            return Ok(None);
        }
        let number = self.next();
        let read = columns_of(&condition);
        let of = |schema: &DFSchema, side: &str| -> Vec<(Column, String)> {
            let columns = read.iter().filter(|column| schema.has_column(column));
            let named = columns.enumerate().map(|(place, column)| {
                (column.clone(), format!("__tidemill_pair_{number}_{side}_{place}"))
            });
            named.collect()
        };
        let (lefts, rights) = (of(join.left.schema(), "left"), of(join.right.schema(), "right"));
        let pairs = with_filter(join, JoinType::Inner, plain.clone())?;
        let pairs = self.node(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(pairs))?))?;
        let named = lefts.iter().chain(&rights);
        let named = named.map(|(column, name)| Expr::Column(column.clone()).alias(name));
        let pairs = LogicalPlanBuilder::from(pairs.data).project(named)?.distinct()?.build()?;
        let (kept, missing, missing_columns) = match join.join_type {
            JoinType::Left => (&lefts, &join.right, rights),
            _ => (&rights, &join.left, lefts.clone()),
        };
        let keys: (Vec<Column>, Vec<Column>) = missing_columns
            .into_iter()
            .map(|(column, name)| (column, Column::from_name(name)))
            .unzip();
        let missing = LogicalPlanBuilder::from(missing.as_ref().clone())
            .join_detailed(pairs, JoinType::Inner, keys, None, NullEquality::NullEqualsNull)?
            .build()?;
        plain.extend(kept.iter().map(|(column, name)| {
            same(Expr::Column(column.clone()), Expr::Column(Column::from_name(name)))
        }));
        let join = match join.join_type {
            JoinType::Left => Join { right: Arc::new(missing), ..join.clone() },
            _ => Join { left: Arc::new(missing), ..join.clone() },
        };
        with_filter(&join, join.join_type, plain).map(Some)
    }
}

/// The join with another kind and filter, over the sides that it has.
fn with_filter(join: &Join, join_type: JoinType, filter: Vec<Expr>) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Join(Join::try_new(
        join.left.clone(),
        join.right.clone(),
        join.on.clone(),
        conjunction(filter),
        join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?))
}

/// Whether a condition has a subquery that the join cannot have. One that looks at nothing outside may stay where
/// it chooses among the rows that may be missing: the optimizer makes a filter of that side of it.
fn asks(condition: &Expr, join: &Join) -> bool {
    let alone = match condition {
        Expr::Exists(exists) => outer_columns(&exists.subquery.subquery).is_empty(),
        Expr::InSubquery(within) => outer_columns(&within.subquery.subquery).is_empty(),
        _ => false,
    };
    let stays = alone
        && match join.join_type {
            JoinType::Left => reads(condition, join) == Some(Reads::Right),
            JoinType::Right => reads(condition, join) == Some(Reads::Left),
            _ => false,
        };
    // The closure gives no error.
    !stays && condition.exists(|part| Ok(stands_apart(part))).unwrap_or(false)
}

/// Whether one of its subqueries reads both sides.
fn reads_pairs(condition: &Expr, join: &Join) -> bool {
    let pairs = |part: &Expr| stands_apart(part) && reads(part, join) == Some(Reads::Both);
    // The closure gives no error.
    condition.exists(|part| Ok(pairs(part))).unwrap_or(true)
}

/// Which rows an expression reads; `None` where it reads none of them.
fn reads(expr: &Expr, join: &Join) -> Option<Reads> {
    let columns = columns_of(expr);
    let any = |side: &LogicalPlan| columns.iter().any(|column| side.schema().has_column(column));
    match (any(&join.left), any(&join.right)) {
        (true, true) => Some(Reads::Both),
        (true, false) => Some(Reads::Left),
        (false, true) => Some(Reads::Right),
        (false, false) => None,
    }
}

/// The columns that an expression and the subqueries in it read of the rows around them.
fn columns_of(expr: &Expr) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    // The closure gives no error.
    let _ = expr.apply(|part| {
        let read = match part {
            Expr::Column(column) => vec![column.clone()],
            Expr::ScalarSubquery(subquery) => outer_columns(&subquery.subquery),
            Expr::Exists(exists) => outer_columns(&exists.subquery.subquery),
            Expr::InSubquery(within) => outer_columns(&within.subquery.subquery),
            _ => Vec::new(),
        };
        columns.extend(read);
        Ok(TreeNodeRecursion::Continue)
    });
    let mut different: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        if !different.contains(&column) {
            different.push(column);
        }
    }
    different
}

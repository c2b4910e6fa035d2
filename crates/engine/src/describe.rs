//! What a plan calls whose value changes from run to run.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Volatility};
use tidemill_core::Result;

use crate::error::from_datafusion;
use crate::functions::{CLOCK_FUNCTIONS, DATE_FUNCTIONS};

/// The moving parts of a query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Moving {
    pub(crate) volatile: BTreeSet<String>,
    pub(crate) current_date: bool,
    /// See [`tidemill_core::Description::repeatable`].
    pub(crate) repeatable: bool,
}

/// Looks through the plan, the views it reads and its subqueries.
pub(crate) fn moving(plan: &LogicalPlan) -> Result<Moving> {
    let mut moving = Moving { volatile: BTreeSet::new(), current_date: false, repeatable: true };
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Limit(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Distinct(Distinct::On(_)) => moving.repeatable = false,
            LogicalPlan::Sort(sort) => moving.repeatable &= sort.fetch.is_none(),
            _ => {}
        }
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::ScalarFunction(call) = part {
                    moving.note(call.name(), call.func.signature().volatility);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(|error| from_datafusion(error, None))?;
    Ok(moving)
}

impl Moving {
    fn note(&mut self, name: &str, volatility: Volatility) {
        if DATE_FUNCTIONS.contains(&name) {
            self.current_date = true;
        } else if volatility == Volatility::Volatile || CLOCK_FUNCTIONS.contains(&name) {
            // The clock stands still while a statement runs.
            self.repeatable &= CLOCK_FUNCTIONS.contains(&name);
            self.volatile.insert(name.to_owned());
        }
    }
}

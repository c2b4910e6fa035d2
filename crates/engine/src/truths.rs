//! Texts that stand where a boolean has to: `is_open = 'true'`, `is_open in ('yes', 'no')`,
//! `coalesce(is_open, 'f')`.
//!
//! DataFusion knows no type in common; PostgreSQL reads such a literal as a boolean. What a boolean is
//! compared with may be any text (as in DuckDB), elsewhere only literals are taken so. In a project for
//! DuckDB a boolean beside a number is 1 or 0.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, Case, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::optimizer::AnalyzerRule;

use crate::meaning::{compares, rewrite_expressions, seen_by};

/// Runs before the types of operands are made to agree.
#[derive(Debug)]
pub(crate) struct Truths {
    /// The project was made for DuckDB.
    pub(crate) for_duckdb: bool,
}

impl AnalyzerRule for Truths {
    fn name(&self) -> &str {
        "truths"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| rewrite_node(node, self.for_duckdb))
            .map(|done| done.data)
    }
}

fn rewrite_node(node: LogicalPlan, for_duckdb: bool) -> Result<Transformed<LogicalPlan>> {
    let schema = seen_by(&node)?;
    let done = rewrite_expressions(node, |expr| Ok(rewrite(expr, &schema, for_duckdb)))?;
    match done.transformed {
        true => done.map_data(LogicalPlan::recompute_schema),
        false => Ok(done),
    }
}

fn rewrite(mut expr: Expr, schema: &DFSchema, for_duckdb: bool) -> Transformed<Expr> {
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
            side_by_side(vec![left, right], schema, for_duckdb)
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            side_by_side(vec![expr, low, high], schema, for_duckdb)
        }
        Expr::InList(InList { expr, list, .. }) => {
            side_by_side(std::iter::once(&mut **expr).chain(list).collect(), schema, for_duckdb)
        }
        Expr::Case(Case { expr, when_then_expr, else_expr }) => {
            let compared = match expr {
                Some(value) => {
                    let values = when_then_expr.iter_mut().map(|(when, _)| &mut **when);
                    let all = std::iter::once(&mut **value).chain(values).collect();
                    side_by_side(all, schema, for_duckdb)
                }
                None => false,
            };
            let branches = when_then_expr.iter_mut().map(|(_, then)| &mut **then);
            let mut results: Vec<&mut Expr> = branches.chain(else_expr.as_deref_mut()).collect();
            let counted = for_duckdb && numbered(&mut results, schema);
            counted || agreed(results, schema, is_literal) || compared
        }
        _ => false,
    };
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// The sides of a comparison, as soon as it is planned: its own type is asked for before a rule runs.
pub(crate) fn compared(left: &mut Expr, right: &mut Expr, schema: &DFSchema, for_duckdb: bool) {
    side_by_side(vec![left, right], schema, for_duckdb);
}

/// What is compared with each other.
fn side_by_side(mut all: Vec<&mut Expr>, schema: &DFSchema, for_duckdb: bool) -> bool {
    if for_duckdb && numbered(&mut all, schema) {
        return true;
    }
    agreed(all, schema, is_text)
}

/// Makes booleans numbers where the others are numbers.
fn numbered(all: &mut [&mut Expr], schema: &DFSchema) -> bool {
    let types: Option<Vec<DataType>> = all.iter().map(|expr| expr.get_type(schema).ok()).collect();
    let Some(types) = types else { return false };
    let fits = |data_type: &DataType| {
        *data_type == DataType::Boolean || data_type.is_numeric() || data_type.is_null()
    };
    if !types.contains(&DataType::Boolean)
        || !types.iter().any(DataType::is_numeric)
        || !types.iter().all(fits)
    {
        return false;
    }
    for (expr, data_type) in all.iter_mut().zip(types) {
        if data_type == DataType::Boolean {
            **expr = cast(std::mem::take(&mut **expr), DataType::Int64);
        }
    }
    true
}

/// A literal in the place of a condition.
pub(crate) fn condition(expr: &mut Expr) {
    if is_literal(expr, &DataType::Utf8) {
        *expr = cast(std::mem::take(expr), DataType::Boolean);
    }
}

/// Makes texts booleans where one of these is a boolean and all others are booleans, NULL or such texts.
fn agreed(all: Vec<&mut Expr>, schema: &DFSchema, reads: fn(&Expr, &DataType) -> bool) -> bool {
    let types: Option<Vec<DataType>> = all.iter().map(|expr| expr.get_type(schema).ok()).collect();
    // Types that are not known yet (a subquery's outer column) are left to DataFusion.
    let Some(types) = types else { return false };
    let fits = |(expr, data_type): (&&mut Expr, &DataType)| {
        *data_type == DataType::Boolean || data_type.is_null() || reads(expr, data_type)
    };
    if !types.contains(&DataType::Boolean)
        || !types.iter().any(DataType::is_string)
        || !all.iter().zip(&types).all(fits)
    {
        return false;
    }
    for (expr, data_type) in all.into_iter().zip(types) {
        if data_type.is_string() {
            *expr = cast(std::mem::take(expr), DataType::Boolean);
        }
    }
    true
}

fn is_text(_: &Expr, data_type: &DataType) -> bool {
    data_type.is_string()
}

fn is_literal(expr: &Expr, _: &DataType) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_), _) => true,
        Expr::Alias(alias) => is_literal(&alias.expr, &DataType::Utf8),
        _ => false,
    }
}

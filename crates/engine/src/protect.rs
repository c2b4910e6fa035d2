//! Conditions that protect others: `b <> 0 and a / b > 1`, `x ~ '^\d+$' and x::int > 5`.
//!
//! A batch of rows goes through both sides of an `and`, so that the second would fail for rows that
//! the first leaves out. Where it can fail at all, it is computed for the others alone.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast, lit, when};

use arrow::datatypes::DataType;

/// The predicate of a filter, with what can fail behind what stands before it; `None` when there is
/// nothing to protect.
pub(crate) fn guarded(predicate: &Expr, schema: &DFSchema) -> Option<Expr> {
    let is_and = matches!(predicate, Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }));
    if !is_and || !can_fail(predicate, schema) {
        return None;
    }
    let mut before: Vec<Expr> = Vec::new();
    let mut all: Vec<Expr> = Vec::new();
    let mut changed = false;
    for condition in split_conjunction_owned(predicate.clone()) {
        let subquery = has_subquery(&condition);
        // A condition of several relations may become the key of a join.
        let relations: std::collections::HashSet<_> =
            condition.column_refs().into_iter().map(|column| column.relation.clone()).collect();
        if subquery || relations.len() > 1 || !can_fail(&condition, schema) {
            if !subquery {
                before.push(condition.clone());
            }
            all.push(condition);
            continue;
        }
        let Some(guard) = conjunction(before.iter().cloned()) else {
            before.push(condition.clone());
            all.push(condition);
            continue;
        };
        // A number and not a truth value: the optimizer would make an `and` of it again.
        let yes = cast(condition.clone(), DataType::Int8);
        let Ok(computed) = when(guard, yes).otherwise(lit(ScalarValue::Int8(Some(0)))) else {
            return None;
        };
        all.push(computed.eq(lit(ScalarValue::Int8(Some(1)))));
        changed = true;
    }
    conjunction(all).filter(|_| changed)
}

fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|part| {
        Ok(matches!(
            part,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    })
    .unwrap_or(true)
}

/// Whether some value of a column would end the query.
fn can_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let mut found = false;
    // The closure gives no error.
    let _ = expr.apply(|part| {
        found |= match part {
            Expr::BinaryExpr(BinaryExpr {
                op: Operator::Divide | Operator::Modulo, right, ..
            }) => !matches!(right.as_ref(), Expr::Literal(..)),
            Expr::Cast(cast) => {
                reads_columns(&cast.expr)
                    && cast.field.data_type().is_numeric()
                    && cast.expr.get_type(schema).is_ok_and(|from| from.is_string())
            }
            Expr::ScalarFunction(call) => match call.name() {
                "tidemill_divide" | "tidemill_divide_double" | "tidemill_modulo_double" => {
                    call.args.get(1).is_some_and(reads_columns)
                }
                "tidemill_date"
                | "tidemill_timestamp"
                | "tidemill_timestamptz"
                | "tidemill_interval"
                | "to_date"
                | "to_timestamp"
                | "to_number"
                | "ln"
                | "log"
                | "log2"
                | "log10"
                | "sqrt"
                | "json_get"
                | "json_extract_path_text"
                | "tidemill_json_part"
                | "tidemill_walked_text" => call.args.iter().any(reads_columns),
                _ => false,
            },
            _ => false,
        };
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    found
}

fn reads_columns(expr: &Expr) -> bool {
    !expr.column_refs().is_empty()
}

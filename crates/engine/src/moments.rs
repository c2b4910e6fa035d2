//! Dates, times and texts that stand beside each other, made timestamps of microseconds; and decimals
//! beside doubles, made doubles.
//!
//! DataFusion brings the first to nanoseconds, which end in the year 2262: `timestamp '9999-12-31' >
//! current_date` would be an error. The others it brings to decimals of fifteen digits before the point and
//! behind it: `coalesce(x, 0.0)` of a large double would be an error. This runs before it looks for types
//! in common.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{Between, Case, InList, ScalarFunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, Projection, Union, cast,
};
use datafusion::optimizer::AnalyzerRule;

use crate::meaning::{compares, rewrite_expressions, seen_by};

/// Functions whose arguments have one type.
const OF_ONE_TYPE: [&str; 5] = ["coalesce", "greatest", "least", "nullif", "nvl"];

/// Runs before the types of operands are made to agree.
#[derive(Debug)]
pub(crate) struct Moments;

impl AnalyzerRule for Moments {
    fn name(&self) -> &str {
        "moments"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(rewrite_node).map(|done| done.data)
    }
}

fn rewrite_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Union(union) = node {
        return rewrite_union(union);
    }
    let schema = seen_by(&node)?;
    let done = rewrite_expressions(node, |expr| Ok(rewrite(expr, &schema)))?;
    match done.transformed {
        true => done.map_data(LogicalPlan::recompute_schema),
        false => Ok(done),
    }
}

/// The type that all of these are to have: a timestamp, where one is and the others may become one.
fn moment(types: &[Option<DataType>]) -> Option<DataType> {
    let zone = types.iter().flatten().find_map(|data_type| match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Some(zone.clone()),
        _ => None,
    })?;
    let fits = |data_type: &DataType| match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, other) => *other == zone,
        other => becomes(other) || other.is_null(),
    };
    let one_becomes = types.iter().flatten().any(becomes);
    (one_becomes && types.iter().flatten().all(fits))
        .then_some(DataType::Timestamp(TimeUnit::Microsecond, zone))
}

fn becomes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32) || data_type.is_string()
}

/// The floating type that all of these are to have: where one has it, and others are decimals. What is only
/// compared is as exact as it can be.
fn floating(types: &[Option<DataType>], compared: bool) -> Option<DataType> {
    let mut decimals = false;
    let mut widest = None;
    for data_type in types.iter().flatten() {
        match data_type {
            DataType::Float64 => widest = Some(DataType::Float64),
            DataType::Float16 | DataType::Float32 => {
                widest.get_or_insert(if compared { DataType::Float64 } else { DataType::Float32 });
            }
            other if other.is_decimal() => decimals = true,
            other if other.is_integer() || other.is_null() => {}
            _ => return None,
        }
    }
    widest.filter(|_| decimals)
}

/// The expressions with those that are dates or texts made timestamps, or decimals made doubles; nothing
/// where none has to be.
fn agreed(all: Vec<&mut Expr>, schema: &DFSchema, compared: bool) -> bool {
    // Types that are not known yet (a subquery's outer column) are left to DataFusion.
    let types: Vec<Option<DataType>> = all.iter().map(|expr| expr.get_type(schema).ok()).collect();
    if types.iter().any(Option::is_none) {
        return false;
    }
    let (wanted, becomes): (_, fn(&DataType) -> bool) = match moment(&types) {
        Some(wanted) => (wanted, becomes),
        None => match floating(&types, compared) {
            Some(wanted) => (wanted, DataType::is_numeric),
            None => return false,
        },
    };
    for (expr, data_type) in all.into_iter().zip(types) {
        if data_type.as_ref().is_some_and(|found| becomes(found) && *found != wanted) {
            let old = std::mem::take(expr);
            *expr = cast(old, wanted.clone());
        }
    }
    true
}

fn rewrite(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
            agreed(vec![left, right], schema, true)
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            agreed(vec![expr, low, high], schema, true)
        }
        Expr::InList(InList { expr, list, .. }) => {
            agreed(std::iter::once(&mut **expr).chain(list).collect(), schema, true)
        }
        Expr::Case(Case { when_then_expr, else_expr, .. }) => {
            let branches = when_then_expr.iter_mut().map(|(_, then)| &mut **then);
            agreed(branches.chain(else_expr.as_deref_mut()).collect(), schema, false)
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if OF_ONE_TYPE.contains(&func.name()) =>
        {
            agreed(args.iter_mut().collect(), schema, false)
        }
        _ => false,
    };
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// The columns of a union's inputs, where one is a timestamp and another a date, or one a double and
/// another a decimal.
fn rewrite_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let Union { inputs, schema } = union;
    let width = schema.fields().len();
    let wanted: Vec<Option<DataType>> = (0..width)
        .map(|index| {
            let types: Vec<Option<DataType>> = inputs
                .iter()
                .map(|input| Some(input.schema().fields().get(index)?.data_type().clone()))
                .collect();
            // Texts beside timestamps are texts, or an error; only dates become timestamps here.
            let dates = types.iter().flatten().any(|data_type| *data_type == DataType::Date32);
            let texts = types.iter().flatten().any(DataType::is_string);
            moment(&types).filter(|_| dates && !texts).or_else(|| floating(&types, false))
        })
        .collect();
    if wanted.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Union(Union { inputs, schema })));
    }
    let inputs = inputs
        .into_iter()
        .map(|input| {
            let columns = wanted.iter().enumerate().map(|(index, wanted)| {
                let (qualifier, field) = input.schema().qualified_field(index);
                let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                match wanted {
                    Some(wanted)
                        if field.data_type() == &DataType::Date32
                            || field.data_type().is_numeric() && field.data_type() != wanted =>
                    {
                        cast(column, wanted.clone())
                            .alias_qualified(qualifier.cloned(), field.name())
                    }
                    _ => column,
                }
            });
            let columns: Vec<Expr> = columns.collect();
            Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(columns, input)?)))
        })
        .collect::<Result<Vec<_>>>()?;
    let fields = schema.iter().zip(&wanted).map(|((qualifier, field), wanted)| {
        let field = match wanted {
            Some(wanted) => Arc::new(field.as_ref().clone().with_data_type(wanted.clone())),
            None => field.clone(),
        };
        (qualifier.cloned(), field)
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: Arc::new(schema) })))
}

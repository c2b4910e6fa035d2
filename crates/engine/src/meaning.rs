//! The meaning that PostgreSQL gives to operators and casts, put in once types are known.
//!
//! DataFusion's own differ silently: integers wrap around, a double divided by zero is infinite, a
//! timestamp becomes text with a `T` in it, a text with an offset moves a timestamp that has no
//! zone, intervals are compared part by part, and a moment's local time is that of its column's
//! zone and not of the session's.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, Union,
};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::{
    checked, joined, known_json, nullable, placed, read, reads, refused_cast, rendered, renders,
    timezone, type_of_checked,
};
use crate::json_type::{JsonType, chooses, json_type, json_type_of, lists_json, says_json};
use crate::protect::guarded;

/// Runs after the types of all operands agree.
#[derive(Debug)]
pub(crate) struct Meaning {
    /// A text that is no number fails where it is computed, not the query that it stands in (DuckDB).
    pub(crate) late: bool,
}

impl AnalyzerRule for Meaning {
    fn name(&self) -> &str {
        "meaning"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let zone: Arc<str> = config.execution.time_zone.as_deref().unwrap_or("UTC").into();
        let done =
            plan.transform_up_with_subqueries(|node| rewrite_node(node, &zone, self.late))?;
        let mut has_union = false;
        if done.transformed {
            done.data.apply_with_subqueries(|node| {
                has_union |= matches!(node, LogicalPlan::Union(_));
                Ok(if has_union { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })?;
        }
        match has_union {
            true => done.data.transform_up_with_subqueries(nullable_again).map(|done| done.data),
            false => Ok(done.data),
        }
    }
}

/// A column that a rewritten expression made nullable is so all the way up. A union keeps the schema
/// that it was made with, and its plan would not fit to it.
fn nullable_again(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Union(union) = node else {
        return Ok(Transformed::yes(node.recompute_schema()?));
    };
    let fields = union.schema.iter().enumerate().map(|(index, (qualifier, field))| {
        let inputs = &union.inputs;
        let nullable = inputs.iter().any(|input| input.schema().field(index).is_nullable());
        let field = field.as_ref().clone().with_nullable(nullable || field.is_nullable());
        (qualifier.cloned(), Arc::new(field))
    });
    let schema =
        DFSchema::new_with_metadata(fields.collect(), union.schema.as_arrow().metadata().clone())?;
    let union = Union { inputs: union.inputs, schema: Arc::new(schema) };
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

/// The columns that the expressions of a node see.
pub(crate) fn seen_by(node: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = merge_schema(&node.inputs());
    if let LogicalPlan::TableScan(scan) = node {
        schema.merge(&DFSchema::try_from_qualified_schema(
            scan.table_name.clone(),
            &scan.source.schema(),
        )?);
    }
    Ok(schema)
}

/// Rewrites the expressions of a node, from within; the columns that they make keep their names. The
/// schema of the node stays what it was: that is its caller's.
pub(crate) fn rewrite_expressions(
    node: LogicalPlan,
    rewrite: impl Fn(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let done = expr.transform_up(&rewrite)?;
        Ok(match done.transformed {
            true => done.update_data(|expr| name.restore(expr)),
            false => done,
        })
    })
}

fn rewrite_node(
    node: LogicalPlan,
    zone: &Arc<str>,
    late: bool,
) -> Result<Transformed<LogicalPlan>> {
    let schema = seen_by(&node)?;
    let rewriter = Rewriter { schema: &schema, zone, late };
    let done = rewrite_expressions(node, |expr| rewriter.rewrite(expr))?;
    let Transformed { data, transformed, tnr } = done;
    let done = match data {
        LogicalPlan::Filter(mut filter) => match guarded(&filter.predicate, &schema) {
            Some(predicate) => {
                filter.predicate = predicate;
                Transformed::yes(LogicalPlan::Filter(filter))
            }
            None => Transformed::new(LogicalPlan::Filter(filter), transformed, tnr),
        },
        other => Transformed::new(other, transformed, tnr),
    };
    match done.transformed {
        true => done.map_data(LogicalPlan::recompute_schema),
        false => Ok(done),
    }
}

struct Rewriter<'a> {
    schema: &'a DFSchema,
    /// The session's.
    zone: &'a Arc<str>,
    /// See [`Meaning`].
    late: bool,
}

impl Rewriter<'_> {
    fn type_of(&self, expr: &Expr) -> Result<DataType> {
        match type_of_checked(expr) {
            Some(known) => Ok(known.clone()),
            None => expr.get_type(self.schema),
        }
    }

    fn rewrite(&self, expr: Expr) -> Result<Transformed<Expr>> {
        match expr {
            Expr::ScalarSubquery(subquery) => maybe_null(subquery),
            Expr::BinaryExpr(binary) => self.binary(binary),
            Expr::Between(between) => self.between(between),
            Expr::Cast(Cast { expr, field }) => {
                let from = self.type_of(&expr)?;
                Ok(match self.cast(*expr, from, field.data_type(), false) {
                    Ok(new) => Transformed::yes(new),
                    Err(old) => {
                        Transformed::no(Expr::Cast(Cast::new_from_field(Box::new(old), field)))
                    }
                })
            }
            Expr::TryCast(TryCast { expr, field }) => {
                let from = self.type_of(&expr)?;
                Ok(match self.cast(*expr, from, field.data_type(), true) {
                    Ok(new) => Transformed::yes(new),
                    Err(old) => {
                        let again = TryCast::new_from_field(Box::new(old), field);
                        Transformed::no(Expr::TryCast(again))
                    }
                })
            }
            Expr::ScalarFunction(mut call) => {
                let mut moved = false;
                for arg in &mut call.args {
                    let old = std::mem::take(arg);
                    *arg = match self.in_session_zone(old)? {
                        Ok(new) => {
                            moved = true;
                            new
                        }
                        Err(old) => old,
                    };
                }
                let said = self.say_json(&mut call);
                let call = Expr::ScalarFunction(call);
                match moved {
                    true => Ok(Transformed::yes(self.out_of_session_zone(call)?)),
                    false if said => Ok(Transformed::yes(call)),
                    false if chooses(&call) => self.json(call),
                    false => Ok(Transformed::no(call)),
                }
            }
            Expr::Case(_) => self.json(expr),
            Expr::Negative(value) => {
                let data_type = self.type_of(&value)?;
                let zero = ScalarValue::new_zero(&data_type)
                    .ok()
                    .filter(|_| data_type.is_signed_integer())
                    .filter(|_| !matches!(*value, Expr::Literal(..)));
                let Some(zero) = zero else { return Ok(Transformed::no(Expr::Negative(value))) };
                let kept = value.clone();
                let zero = Expr::Literal(zero, None);
                Ok(match checked(zero, Operator::Minus, *value, &data_type) {
                    Some(new) => Transformed::yes(new),
                    None => Transformed::no(Expr::Negative(kept)),
                })
            }
            other => Ok(Transformed::no(other)),
        }
    }

    /// Says to a function that wants to know it which of its arguments are JSON.
    fn say_json(&self, call: &mut ScalarFunction) -> bool {
        let known = |arg: &Expr| json_type_of(arg, self.schema);
        if says_json(call.name()) {
            let [only] = &call.args[..] else { return false };
            let Some(json) = known(only) else { return false };
            call.args.push(Expr::Literal(ScalarValue::from(json.name()), None));
            return true;
        }
        if !lists_json(call.name()) {
            return false;
        }
        let Some((first, values)) = call.args.split_first_mut() else { return false };
        // A literal, which the types of the function may have put into a cast.
        let written = match &*first {
            Expr::Cast(cast) => &*cast.expr,
            other => other,
        };
        let Expr::Literal(written, _) = written else { return false };
        let Some(kinds) = written.try_as_str().flatten() else { return false };
        let kind = |(kind, value): (char, &Expr)| match known(value) {
            Some(_) => 'j',
            None => kind,
        };
        let said: String = kinds.chars().zip(values.iter()).map(kind).collect();
        let is_new = said != kinds;
        *first = Expr::Literal(ScalarValue::Utf8View(Some(said)), None);
        is_new
    }

    /// Says of what chooses among JSON texts that it gives one.
    fn json(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let Some(known) = json_type_of(&expr, self.schema) else {
            return Ok(Transformed::no(expr));
        };
        let field = expr.to_field(self.schema)?.1;
        Ok(match json_type(&field).is_none() && *field.data_type() == DataType::Utf8View {
            true => Transformed::yes(known_json(expr, known)),
            false => Transformed::no(expr),
        })
    }

    fn binary(&self, binary: BinaryExpr) -> Result<Transformed<Expr>> {
        let BinaryExpr { left, op, right } = binary;
        let again = |left: Box<Expr>, right: Box<Expr>| {
            Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        };
        match op {
            // `||` of texts one of which is `jsonb`.
            Operator::StringConcat
                if [&left, &right]
                    .iter()
                    .any(|side| json_type_of(side, self.schema) == Some(JsonType::Jsonb)) =>
            {
                let data_type = self.type_of(&left)?;
                let view = |side: Box<Expr>| match data_type {
                    DataType::Utf8View => *side,
                    _ => Expr::Cast(Cast::new(side, DataType::Utf8View)),
                };
                let documents = joined(view(left), view(right));
                return Ok(Transformed::yes(match data_type {
                    DataType::Utf8View => documents,
                    other => Expr::Cast(Cast::new(Box::new(documents), other)),
                }));
            }
            Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulo => {}
            _ if compares(op) => {
                let (l, r) = (self.type_of(&left)?, self.type_of(&right)?);
                if is_span(&l) && is_span(&r) {
                    return Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                        left: Box::new(placed(*left)),
                        op,
                        right: Box::new(placed(*right)),
                    })));
                }
                return Ok(again(left, right));
            }
            _ => return Ok(again(left, right)),
        }
        let data_type = self.type_of(&left)?;
        if let DataType::Timestamp(_, Some(_)) = &data_type {
            if op == Operator::Minus && matches!(self.type_of(&right)?, DataType::Timestamp(..)) {
                return Ok(again(left, right));
            }
            return Ok(match self.in_session_zone(*left)? {
                Ok(left) => {
                    let sum = BinaryExpr { left: Box::new(left), op, right };
                    Transformed::yes(self.out_of_session_zone(Expr::BinaryExpr(sum))?)
                }
                Err(left) => again(Box::new(left), right),
            });
        }
        if !(data_type.is_signed_integer() || data_type.is_floating())
            || self.type_of(&right)? != data_type
            || fits(&left, op, &right, &data_type, self.schema)
        {
            return Ok(again(left, right));
        }
        let (kept_left, kept_right) = (left.clone(), right.clone());
        Ok(match checked(*left, op, *right, &data_type) {
            Some(new) => Transformed::yes(new),
            None => again(kept_left, kept_right),
        })
    }

    fn between(&self, between: Between) -> Result<Transformed<Expr>> {
        if !is_span(&self.type_of(&between.expr)?) {
            return Ok(Transformed::no(Expr::Between(between)));
        }
        let Between { expr, negated, low, high } = between;
        Ok(Transformed::yes(Expr::Between(Between {
            expr: Box::new(placed(*expr)),
            negated,
            low: Box::new(placed(*low)),
            high: Box::new(placed(*high)),
        })))
    }

    /// The value in another type, or the value back when DataFusion's cast is right.
    fn cast(
        &self,
        value: Expr,
        from: DataType,
        to: &DataType,
        lenient: bool,
    ) -> std::result::Result<Expr, Expr> {
        let again = |value: Expr, to: &DataType| match lenient {
            true => Expr::TryCast(TryCast::new(Box::new(value), to.clone())),
            false => Expr::Cast(Cast::new(Box::new(value), to.clone())),
        };
        match (&from, to) {
            (from, to) if is_text(to) && renders(from) => Ok(rendered(value, to.clone())),
            (from, to) if is_text(from) && reads(to) => Ok(read(value, to.clone(), lenient)),
            // The optimizer would refuse the whole query for it.
            (from, to)
                if !lenient
                    && self.late
                    && is_text(from)
                    && (to.is_numeric() || *to == DataType::Boolean)
                    && matches!(&value, Expr::Literal(text, _) if text.cast_to(to).is_err()) =>
            {
                Ok(refused_cast(value, to.clone()))
            }
            // A local time is one of the session's zone, whatever the column is marked with, and
            // is not what UTC shows (as Arrow has it).
            (DataType::Timestamp(_, Some(zone)), DataType::Timestamp(_, None))
                if !is_utc(self.zone) =>
            {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.clone()));
                let moment = Expr::Cast(Cast::new(Box::new(value), micros));
                Ok(again(timezone(self.zone, moment), to))
            }
            (
                DataType::Timestamp(unit, Some(zone)),
                DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_),
            ) if zone != self.zone => {
                let here = DataType::Timestamp(*unit, Some(self.zone.clone()));
                Ok(again(Expr::Cast(Cast::new(Box::new(value), here)), to))
            }
            (
                DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64,
                DataType::Timestamp(_, Some(_)),
            ) if !is_utc(self.zone) => {
                let local = DataType::Timestamp(TimeUnit::Microsecond, None);
                let local = Expr::Cast(Cast::new(Box::new(value), local));
                Ok(again(timezone(self.zone, local), to))
            }
            _ => Err(value),
        }
    }

    /// A moment that is marked with another zone than the session's, marked with the session's.
    fn in_session_zone(&self, value: Expr) -> Result<std::result::Result<Expr, Expr>> {
        // Most expressions are told apart without looking for their type.
        if matches!(value, Expr::Literal(ref literal, _) if !literal.data_type().is_temporal()) {
            return Ok(Err(value));
        }
        Ok(match self.type_of(&value)? {
            DataType::Timestamp(unit, Some(zone)) if zone != *self.zone => {
                let here = DataType::Timestamp(unit, Some(self.zone.clone()));
                Ok(Expr::Cast(Cast::new(Box::new(value), here)))
            }
            _ => Err(value),
        })
    }

    /// Moments leave with the mark that the plan was promised.
    fn out_of_session_zone(&self, value: Expr) -> Result<Expr> {
        Ok(match self.type_of(&value)? {
            DataType::Timestamp(unit, Some(zone)) if zone == *self.zone => {
                let utc = DataType::Timestamp(unit, Some("UTC".into()));
                Expr::Cast(Cast::new(Box::new(value), utc))
            }
            _ => value,
        })
    }
}

/// A subquery of no rows is NULL, whatever its column is said to hold.
fn maybe_null(mut subquery: Subquery) -> Result<Transformed<Expr>> {
    let field = subquery.subquery.schema().field(0);
    if field.is_nullable()
        || !subquery.outer_ref_columns.is_empty()
        || has_one_row(&subquery.subquery)
    {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let name = field.name().clone();
    let column = Expr::Column(subquery.subquery.schema().columns().swap_remove(0));
    let plan = LogicalPlanBuilder::from(subquery.subquery.clone())
        .project([nullable(column).alias(name)])?
        .build()?;
    subquery.subquery = Arc::new(plan);
    Ok(Transformed::yes(Expr::ScalarSubquery(subquery)))
}

/// Whether a query gives one row for all that it reads.
fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row(&alias.input),
        LogicalPlan::Sort(sort) => has_one_row(&sort.input),
        LogicalPlan::EmptyRelation(relation) => relation.produce_one_row,
        _ => false,
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "+00:00" | "Z")
}

/// Whether an operator compares two values of one type.
pub(crate) fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

fn is_span(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether the result of an integer operator fits its type whatever the values are: the plain
/// operator is then as good, and the optimizer knows more about it.
fn fits(left: &Expr, op: Operator, right: &Expr, data_type: &DataType, schema: &DFSchema) -> bool {
    let (Some(l), Some(r)) = (bits(left, schema, 0), bits(right, schema, 0)) else { return false };
    let wanted = match op {
        Operator::Plus | Operator::Minus => l.max(r) + 1,
        Operator::Multiply => l + r,
        _ => return false,
    };
    // |x| <= 2^wanted must lie below 2^(width - 1).
    width(data_type).is_some_and(|width| wanted + 1 < width)
}

/// Bits of a signed integer, its sign included.
fn width(data_type: &DataType) -> Option<u32> {
    Some(match data_type {
        DataType::Int8 => 8,
        DataType::Int16 => 16,
        DataType::Int32 => 32,
        DataType::Int64 => 64,
        _ => return None,
    })
}

/// How many bits the magnitude of an integer has at most: `|x| <= 2^bits`.
fn bits(expr: &Expr, schema: &DFSchema, depth: usize) -> Option<u32> {
    const DEEPEST: usize = 4;
    if depth > DEEPEST {
        return None;
    }
    match expr {
        Expr::Literal(value, _) => {
            let value = value.cast_to(&DataType::Int64).ok()?;
            match value {
                ScalarValue::Int64(Some(value)) => {
                    Some(u64::BITS - value.unsigned_abs().leading_zeros())
                }
                _ => None,
            }
        }
        Expr::Cast(Cast { expr, .. }) => bits(expr, schema, depth + 1),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (l, r) = (bits(left, schema, depth + 1)?, bits(right, schema, depth + 1)?);
            match op {
                Operator::Plus | Operator::Minus => Some(l.max(r) + 1),
                Operator::Multiply => Some(l + r),
                _ => None,
            }
        }
        Expr::Column(_) | Expr::ScalarFunction(_) | Expr::Alias(_) => {
            let data_type = expr.get_type(schema).ok()?;
            width(&data_type).filter(|width| *width < 64).map(|width| width - 1)
        }
        _ => None,
    }
}

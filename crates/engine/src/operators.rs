//! Operators with PostgreSQL's meaning where DataFusion has another: a date plus an interval is a
//! timestamp, quotients and products of decimals keep their digits, an interval can be multiplied,
//! and row numbers are integers with a sign. Also `->` and `->>` on JSON in text.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{
    Column, DFSchema, Result, ScalarValue, TableReference, internal_err, plan_err,
};
use datafusion::logical_expr::expr::{ScalarFunction, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr, RawWindowExpr,
};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, GetFieldAccess, Operator, cast, lit,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::functions::{date_part, divide, divided, letters, multiplied, multiply};
use crate::json_type::{JsonType, json_type, json_type_of};
use crate::truths;

/// Plans our operators and leaves the others.
pub(crate) fn planner(for_duckdb: bool) -> Arc<dyn ExprPlanner> {
    Arc::new(Operators { for_duckdb })
}

#[derive(Debug)]
struct Operators {
    /// The project was made for DuckDB.
    for_duckdb: bool,
}

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if let BinaryOperator::PGCustomBinaryOperator(name) = &expr.op {
            let name = name.clone();
            expr = match foreign(&name, expr, schema)? {
                PlannerResult::Planned(planned) => return Ok(PlannerResult::Planned(planned)),
                PlannerResult::Original(settled) => settled,
            };
        }
        if is_arithmetic(&expr.op) {
            signed(&mut expr, schema);
            written_numbers(&mut expr, schema);
        }
        match expr.op {
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => {
                truths::compared(&mut expr.left, &mut expr.right, schema, self.for_duckdb);
            }
            BinaryOperator::And | BinaryOperator::Or => {
                truths::condition(&mut expr.left);
                truths::condition(&mut expr.right);
            }
            _ => {}
        }
        if matches!(expr.op, BinaryOperator::Multiply | BinaryOperator::Divide) {
            expr = match spans(expr, schema) {
                Ok(product) => return Ok(PlannerResult::Planned(product)),
                Err(kept) => *kept,
            };
        }
        if matches!(expr.op, BinaryOperator::Plus | BinaryOperator::Minus) {
            // The right side first: in a long chain it is short, and the left side is the chain. An
            // operand whose type is not known yet (a subquery's outer column) is left alone.
            let is_date = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Date32));
            let is_interval =
                |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Interval(_)));
            // A literal in the place of a moment is one.
            let is_moment = |expr: &Expr| is_text_literal(expr) || is_date(expr);
            if is_interval(&expr.right) {
                if is_moment(&expr.left) {
                    expr.left = to_timestamp(expr.left);
                }
            } else if expr.op == BinaryOperator::Plus
                && is_moment(&expr.right)
                && is_interval(&expr.left)
            {
                expr.right = to_timestamp(expr.right);
            }
        }
        if matches!(expr.op, BinaryOperator::Divide | BinaryOperator::Multiply) {
            let decimal = |data_type: &DataType| {
                matches!(
                    data_type,
                    DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..)
                )
            };
            if let Ok(right) = expr.right.get_type(schema)
                && (decimal(&right) || right.is_integer())
                && let Ok(left) = expr.left.get_type(schema)
                && (decimal(&left) || left.is_integer())
                && (decimal(&left) || decimal(&right))
            {
                if expr.op == BinaryOperator::Divide {
                    return Ok(PlannerResult::Planned(divide(expr.left, expr.right)));
                }
                let product = multiply(expr.left.clone(), expr.right.clone(), (&left, &right));
                if let Some(product) = product {
                    return Ok(PlannerResult::Planned(product));
                }
            }
        }
        // `x #>> '{a,0,b}'`: a path in one text.
        if let (BinaryOperator::HashArrow | BinaryOperator::HashLongArrow, Some(keys)) =
            (&expr.op, path_keys(&expr.right))
        {
            let name = match expr.op {
                BinaryOperator::HashArrow => "json_extract_path",
                _ => "json_extract_path_text",
            };
            let keys = keys.into_iter().map(lit).collect();
            return Ok(PlannerResult::Planned(json_call(name, expr.left, keys)?));
        }
        // `array[1, 2] && array[2]`: they share an item.
        if expr.op == BinaryOperator::PGOverlap {
            return Ok(PlannerResult::Planned(
                datafusion::functions_nested::expr_fn::array_has_any(expr.left, expr.right),
            ));
        }
        // `x @> '{"a": 1}'` of JSON: lists have an operator of the planner's.
        if matches!(expr.op, BinaryOperator::AtArrow | BinaryOperator::ArrowAt)
            && is_text(&expr.left, schema)
            && is_text(&expr.right, schema)
        {
            let (whole, part) = match expr.op {
                BinaryOperator::AtArrow => (expr.left, expr.right),
                _ => (expr.right, expr.left),
            };
            return Ok(PlannerResult::Planned(json_call(
                "tidemill_json_contains",
                whole,
                vec![part],
            )?));
        }
        if let Some(planned) = of_jsonb(&expr, schema)? {
            return Ok(PlannerResult::Planned(planned));
        }
        let json = match expr.op {
            BinaryOperator::Arrow => Some("json_get"),
            BinaryOperator::LongArrow => Some("json_extract_path_text"),
            _ => None,
        };
        if let Some(name) = json {
            let key = cast(expr.right, DataType::Utf8View);
            return Ok(PlannerResult::Planned(json_call(name, expr.left, vec![key])?));
        }
        Ok(PlannerResult::Original(expr))
    }

    /// `j.a.b` of a JSON column.
    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        if json_type(field).is_none() {
            return Ok(PlannerResult::Original(Vec::new()));
        }
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let value = nested_names.iter().try_fold(column, |value, name| {
            json_call("json_get", value, vec![lit(name.as_str())])
        })?;
        Ok(PlannerResult::Planned(value))
    }

    /// `s[2]` and `s[2:4]` of a text.
    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        if !is_text(&expr.expr, schema) {
            return Ok(PlannerResult::Original(expr));
        }
        let RawFieldAccessExpr { field_access, expr } = expr;
        Ok(match field_access {
            GetFieldAccess::ListIndex { key } => {
                PlannerResult::Planned(letters(expr, key.as_ref().clone(), *key))
            }
            GetFieldAccess::ListRange { start, stop, stride } if matches!(&*stride, Expr::Literal(step, _) if step.to_string() == "1") => {
                PlannerResult::Planned(letters(expr, *start, *stop))
            }
            field_access => PlannerResult::Original(RawFieldAccessExpr { field_access, expr }),
        })
    }

    /// Row numbers and ranks are bigints: without a sign, the difference of two could not be
    /// negative.
    fn plan_window(&self, expr: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let counts = matches!(expr.func_def.name(), "row_number" | "rank" | "dense_rank" | "ntile");
        if !counts {
            return Ok(PlannerResult::Original(expr));
        }
        let window = WindowFunction {
            fun: expr.func_def,
            params: WindowFunctionParams {
                args: expr.args,
                partition_by: expr.partition_by,
                order_by: expr.order_by,
                window_frame: expr.window_frame,
                filter: expr.filter,
                null_treatment: expr.null_treatment,
                distinct: expr.distinct,
            },
        };
        let window = Expr::WindowFunction(Box::new(window));
        Ok(PlannerResult::Planned(cast(window, DataType::Int64)))
    }

    /// `substring(x from 'pattern')` is what a regular expression finds.
    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let by_pattern = matches!(
            args.as_slice(),
            [_, Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_), _)]
        );
        if !by_pattern {
            return Ok(PlannerResult::Original(args));
        }
        let Some(function) =
            crate::functions::scalars().into_iter().find(|f| f.name() == "regexp_extract")
        else {
            return internal_err!("regexp_extract is not a function");
        };
        let call = ScalarFunction::new_udf(Arc::new(function), args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let function = Arc::new(date_part());
        let call = ScalarFunction::new_udf(function, args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

/// An operator of another system (see `dialect`), whose meaning hangs on the types of its sides.
fn foreign(
    name: &[String],
    mut expr: RawBinaryExpr,
    schema: &DFSchema,
) -> Result<PlannerResult<RawBinaryExpr>> {
    let (system, symbol) = match name {
        [system, symbol] => (system.as_str(), symbol.as_str()),
        _ => return plan_err!("the operator `{}` does not exist", name.join(".")),
    };
    let (left, right) = match (expr.left.get_type(schema), expr.right.get_type(schema)) {
        (Ok(left), Ok(right)) => (left, right),
        // Nothing is known: the usual ones.
        _ if (system, symbol) == ("duckdb", "contains") => {
            return Ok(PlannerResult::Planned(json_call("contains", expr.left, vec![expr.right])?));
        }
        _ if (system, symbol) == ("tidemill", "dated") => {
            return Ok(PlannerResult::Planned(expr.right));
        }
        _ if system == "duckdb" && matches!(symbol, "/" | "//") => {
            let double = |side: Expr| cast(side, DataType::Float64);
            return Ok(PlannerResult::Planned(divided(double(expr.left), double(expr.right))));
        }
        _ => {
            return plan_err!(
                "the types of the sides of `{symbol}` are not known here: cast them, as in \
                 `x::double precision {symbol} y::double precision`"
            );
        }
    };
    let is_float = |data_type: &DataType| data_type.is_floating();
    let both_whole = left.is_integer() && right.is_integer();
    match (system, symbol) {
        ("snowflake", "/") => {
            expr.op = BinaryOperator::Divide;
            let exact = |data_type: &DataType| data_type.is_integer() || data_type.is_decimal();
            if !exact(&left) || !exact(&right) {
                return Ok(PlannerResult::Original(expr));
            }
            // Six digits more than the dividend has, up to twelve.
            let scale = match &left {
                DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
                _ => 0,
            };
            let digits = scale.max((scale + 6).min(12));
            let quotient = divide(expr.left, expr.right);
            Ok(PlannerResult::Planned(cast(quotient, DataType::Decimal128(38, digits))))
        }
        ("bigquery" | "databricks", "/") => {
            expr.op = BinaryOperator::Divide;
            if both_whole {
                expr.left = cast(expr.left, DataType::Float64);
                expr.right = cast(expr.right, DataType::Float64);
            }
            Ok(PlannerResult::Original(expr))
        }
        // Of whole numbers a whole one, cut off; of others it is `/`.
        ("duckdb", "//") if both_whole => {
            expr.op = BinaryOperator::Divide;
            Ok(PlannerResult::Original(expr))
        }
        ("duckdb", "/" | "//") => {
            expr.op = BinaryOperator::Divide;
            if matches!(left, DataType::Interval(_)) {
                return Ok(PlannerResult::Original(expr));
            }
            // A division by zero is an infinity there.
            let double = |side: Expr, data_type: &DataType| match is_float(data_type) {
                true => side,
                false => cast(side, DataType::Float64),
            };
            let quotient = divided(double(expr.left, &left), double(expr.right, &right));
            Ok(PlannerResult::Planned(quotient))
        }
        ("duckdb", "contains") => Ok(PlannerResult::Planned(match left {
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
                datafusion::functions_nested::expr_fn::array_has(expr.left, expr.right)
            }
            _ => datafusion::functions::expr_fn::contains(expr.left, expr.right),
        })),
        // What was computed of a date, as one.
        ("tidemill", "dated") => Ok(PlannerResult::Planned(match left {
            DataType::Date32 => cast(expr.right, DataType::Date32),
            _ => expr.right,
        })),
        ("bigquery" | "databricks", "-") => {
            expr.op = BinaryOperator::Minus;
            let dates = left == DataType::Date32 && right == DataType::Date32;
            if !dates {
                return Ok(PlannerResult::Original(expr));
            }
            let days = Expr::BinaryExpr(BinaryExpr::new(
                Box::new(expr.left),
                Operator::Minus,
                Box::new(expr.right),
            ));
            let day = ScalarValue::IntervalMonthDayNano(Some(
                arrow::datatypes::IntervalMonthDayNano::new(0, 1, 0),
            ));
            Ok(PlannerResult::Planned(multiplied(
                Expr::Literal(day, None),
                cast(cast(days, DataType::Int64), DataType::Float64),
            )))
        }
        ("snowflake" | "databricks", "+" | "-") => {
            let whole_days = matches!(
                &expr.right,
                Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(span)), _)
                    if span.nanoseconds == 0
            );
            expr.op = match symbol {
                "+" => BinaryOperator::Plus,
                _ => BinaryOperator::Minus,
            };
            if left != DataType::Date32 || !whole_days {
                return Ok(PlannerResult::Original(expr));
            }
            // A date stays one when whole days are added.
            let op = if symbol == "+" { Operator::Plus } else { Operator::Minus };
            let moved =
                BinaryExpr::new(Box::new(to_timestamp(expr.left)), op, Box::new(expr.right));
            Ok(PlannerResult::Planned(cast(Expr::BinaryExpr(moved), DataType::Date32)))
        }
        // A part of a date and what is cut to it: a date stays one.
        ("tidemill", "trunc") => {
            let cut = json_call("date_trunc", expr.left, vec![expr.right])?;
            Ok(PlannerResult::Planned(match right {
                DataType::Date32 => cast(cut, DataType::Date32),
                _ => cut,
            }))
        }
        // Redshift's `trunc`: a moment without its time, a number without its fraction.
        ("tidemill", "cut") => Ok(PlannerResult::Planned(match right {
            DataType::Timestamp(..) | DataType::Date32 => cast(expr.right, DataType::Date32),
            _ => datafusion::functions::expr_fn::trunc(vec![expr.right]),
        })),
        _ => plan_err!("the operator `{}` does not exist", name.join(".")),
    }
}

fn is_arithmetic(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
    )
}

/// Numbers without a sign (lengths of arrays, say) get one.
fn signed(expr: &mut RawBinaryExpr, schema: &DFSchema) {
    for side in [&mut expr.right, &mut expr.left] {
        if matches!(side.get_type(schema), Ok(data_type) if data_type.is_unsigned_integer()) {
            *side = cast(std::mem::take(side), DataType::Int64);
        }
    }
}

/// A text that is written out beside a number is one of the number's type: `1 + '2'`.
fn written_numbers(expr: &mut RawBinaryExpr, schema: &DFSchema) {
    written_number(&mut expr.right, &expr.left, schema);
    written_number(&mut expr.left, &expr.right, schema);
}

fn written_number(side: &mut Expr, other: &Expr, schema: &DFSchema) {
    let Expr::Literal(value, _) = &*side else { return };
    let Some(written) = value.try_as_str().flatten() else { return };
    let Some(data_type) = other.get_type(schema).ok().filter(DataType::is_numeric) else { return };
    *side = match (written.trim().parse::<i64>(), data_type.is_decimal()) {
        (Ok(whole), true) => lit(whole),
        // Its own digits, not those that the other's type has.
        (_, true) => cast(std::mem::take(side), DataType::Decimal128(38, 10)),
        _ => cast(std::mem::take(side), data_type),
    };
}

/// An interval times or by a number, or the expression back.
fn spans(expr: RawBinaryExpr, schema: &DFSchema) -> std::result::Result<Expr, Box<RawBinaryExpr>> {
    let (Ok(right), Ok(left)) = (expr.right.get_type(schema), expr.left.get_type(schema)) else {
        return Err(Box::new(expr));
    };
    let span =
        |data_type: &DataType| matches!(data_type, DataType::Interval(_) | DataType::Duration(_));
    if span(&left) && right.is_numeric() {
        let factor = cast(expr.right, DataType::Float64);
        return Ok(match expr.op {
            BinaryOperator::Multiply => multiplied(expr.left, factor),
            _ => {
                let inverse =
                    BinaryExpr::new(Box::new(lit(1.0)), Operator::Divide, Box::new(factor));
                multiplied(expr.left, Expr::BinaryExpr(inverse))
            }
        });
    }
    if span(&right) && left.is_numeric() && expr.op == BinaryOperator::Multiply {
        return Ok(multiplied(expr.right, cast(expr.left, DataType::Float64)));
    }
    Err(Box::new(expr))
}

/// Operators that `jsonb` alone has: `?`, `?|`, `?&`, `@?`, `@@`, `#-`, and `-` of a text that is no literal.
fn of_jsonb(expr: &RawBinaryExpr, schema: &DFSchema) -> Result<Option<Expr>> {
    let name = match &expr.op {
        BinaryOperator::Question => "jsonb_exists",
        BinaryOperator::QuestionPipe => "jsonb_exists_any",
        BinaryOperator::QuestionAnd => "jsonb_exists_all",
        BinaryOperator::AtQuestion => "jsonb_path_exists",
        BinaryOperator::AtAt => "jsonb_path_match",
        BinaryOperator::HashMinus => "tidemill_jsonb_without_path",
        BinaryOperator::Minus if is_text(&expr.left, schema) && !is_text_literal(&expr.left) => {
            match expr.right.get_type(schema) {
                Ok(DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)) => {
                    "tidemill_jsonb_without_keys"
                }
                Ok(place) if place.is_integer() && is_jsonb(&expr.left, schema) => {
                    "tidemill_jsonb_without_place"
                }
                Ok(DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
                    if is_jsonb(&expr.left, schema) || is_text_literal(&expr.right) =>
                {
                    "tidemill_jsonb_without"
                }
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    json_call(name, expr.left.clone(), vec![expr.right.clone()]).map(Some)
}

fn is_jsonb(expr: &Expr, schema: &DFSchema) -> bool {
    json_type_of(expr, schema) == Some(JsonType::Jsonb)
}

/// A call of one of our functions.
fn json_call(name: &str, value: Expr, keys: Vec<Expr>) -> Result<Expr> {
    let function = crate::functions::scalars().into_iter().find(|function| function.name() == name);
    let Some(function) = function else { return internal_err!("{name} is not a function") };
    let arguments = std::iter::once(value).chain(keys).collect();
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), arguments)))
}

/// The keys of a path that is written out: `'{a,0,"b c"}'` or `array['a', '0']`.
fn path_keys(path: &Expr) -> Option<Vec<String>> {
    match path {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
            crate::functions::array_elements(text)?.into_iter().collect()
        }
        Expr::Cast(inner) => path_keys(&inner.expr),
        Expr::ScalarFunction(call) if call.name() == "make_array" => call
            .args
            .iter()
            .map(|key| match key {
                Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

fn is_text(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8))
}

fn is_text_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)) | ScalarValue::Utf8View(Some(_)), _))
}

fn to_timestamp(date: Expr) -> Expr {
    cast(date, DataType::Timestamp(TimeUnit::Microsecond, None))
}

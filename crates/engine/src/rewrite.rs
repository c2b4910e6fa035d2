//! Other systems' spellings, put into words that the planner knows, in the syntax tree.
//!
//! Only what is a matter of form is done here; a function that computes something is a function
//! (see `functions`). Each rule says whose spelling it is.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, CastKind, CharacterLength, DataType, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArguments, LambdaFunction,
    LambdaFunctionParameter, LambdaSyntax, OneOrManyWithParens, Query, Select, Statement,
    TimezoneInfo, UnaryOperator, Value, VisitMut, VisitorMut,
};
use tidemill_core::{Error, Result};

use crate::aggregates::{
    at_extreme, count_if, is_jsonb, json_built, json_list, json_pairs, jsonb, rewrite_string_agg,
    share, shares, with_fields, would_be,
};
use crate::clauses::settle_clauses;
use crate::cte::separate_names;
use crate::duckdb::settle_matches;
use crate::functions::array_elements;
use crate::literals::{
    count_from_one, known_to_regex, known_to_replacement, rewrite_interval, rewrite_like,
    rewrite_number, similar_to, whole_slices,
};
use crate::names::Names;
use crate::offsets::with_default;
use crate::orders::settle_orders;
use crate::periods::overlap;
use crate::pivot::turn_tables;
use crate::precedence::settle_precedence;
use crate::ranges::{self, refuse_alone};
use crate::repeated::name_repeated;
use crate::rows_from::settle_row_functions;
use crate::scopes::{order_by_inputs, tell_casts_apart, unnest_series};
use crate::single::settle_single_values;
use crate::stars::name_stars;
use crate::subqueries::{settle_subqueries, value_of};
use crate::syntax::{
    LAMBDA, argument, array_of, at_zone, binary, call, case, case_of_null, cast, cast_as, divide,
    equals, is_text, nested, number, object_name, plain_arguments, signed_power, simple_name, text,
};
use crate::using::merge_columns;
use crate::windows::settle_windows;

/// Rewrites a whole statement in place.
pub(crate) fn rewrite(statement: &mut Statement) -> Result<()> {
    settle_precedence(statement);
    settle_matches(statement);
    settle_clauses(statement)?;
    turn_tables(statement)?;
    // Nothing is refused by giving names.
    let _ = VisitMut::visit(statement, &mut Names);
    name_repeated(statement);
    settle_windows(statement)?;
    settle_row_functions(statement);
    separate_names(statement);
    merge_columns(statement)?;
    settle_single_values(statement)?;
    settle_subqueries(statement);
    match VisitMut::visit(statement, &mut Rewriter) {
        ControlFlow::Continue(()) => {}
        ControlFlow::Break(error) => return Err(error),
    }
    refuse_alone(statement)?;
    name_stars(statement);
    settle_orders(statement);
    Ok(())
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        order_by_inputs(query);
        crate::value_lists::settle(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        crate::json_values::settle(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        tell_casts_apart(select);
        unnest_series(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Some(power) = signed_power(expr) {
            *expr = power;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let replaced = match expr {
            Expr::Function(function) => match lambda_of(function) {
                Some(lambda) => Ok(Some(lambda)),
                None => match with_default(function) {
                    Some(offset) => Ok(Some(offset)),
                    None => match ranges::of_call(function) {
                        Ok(None) => rewrite_function(function),
                        settled => settled,
                    },
                },
            },
            Expr::Cast { kind, expr, data_type, .. } => match ranges::of_cast(expr, data_type) {
                None => rewrite_cast(kind, expr, data_type),
                settled => Ok(settled),
            },
            Expr::AtTimeZone { timestamp, time_zone } => Ok(Some(at_zone(timestamp, time_zone))),
            Expr::Interval(interval) => rewrite_interval(interval),
            // The planner would put the minus before the first word of the interval alone.
            Expr::UnaryOp { expr, .. } if matches!(**expr, Expr::Interval(_)) => {
                let interval = expr.as_ref().clone();
                **expr = nested(interval);
                Ok(None)
            }
            Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => overlap(left, right),
            Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right }
                if is_jsonb(left) || is_jsonb(right) =>
            {
                let sides = vec![left.as_ref().clone(), right.as_ref().clone()];
                Ok(Some(call("tidemill_jsonb_joined", sides)))
            }
            Expr::BinaryOp { left, op, right } if ranged(op) => {
                ranges::of_operator(left, op, right)
            }
            Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => {
                let less = binary(number(0), BinaryOperator::Minus, number(1));
                Ok(Some(nested(binary(less, BinaryOperator::Minus, expr.as_ref().clone()))))
            }
            Expr::BinaryOp { left: _, op, right } if regular(op) => {
                known_to_regex(right);
                Ok(None)
            }
            // A power, as in PostgreSQL and DuckDB; an exclusive or is `#`.
            Expr::BinaryOp { left, op: BinaryOperator::BitwiseXor, right } => {
                Ok(Some(call("power", vec![left.as_ref().clone(), right.as_ref().clone()])))
            }
            Expr::Value(value) => rewrite_number(&value.value),
            Expr::Subquery(query) => Ok(value_of(query).map(nested)),
            Expr::CompoundFieldAccess { access_chain, .. } => {
                if let Some(whole) = whole_slices(access_chain) {
                    *access_chain = whole;
                }
                access_chain.iter_mut().for_each(named_field);
                access_chain.iter_mut().for_each(count_from_one);
                Ok(None)
            }
            Expr::SimilarTo { negated, expr, pattern, escape_char } => {
                Ok(Some(similar_to(*negated, expr, pattern, escape_char.as_ref())))
            }
            Expr::Like { negated, any, expr, pattern, escape_char } => {
                rewrite_like(*negated, *any, expr, pattern, escape_char.as_ref(), false)
            }
            Expr::ILike { negated, any, expr, pattern, escape_char } => {
                rewrite_like(*negated, *any, expr, pattern, escape_char.as_ref(), true)
            }
            _ => Ok(None),
        };
        match replaced {
            Ok(Some(new)) => {
                *expr = new;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The function that a translation wrote as a call (see `syntax::LAMBDA`).
fn lambda_of(function: &Function) -> Option<Expr> {
    if simple_name(function)? != LAMBDA {
        return None;
    }
    let mut arguments = plain_arguments(function)?;
    let body = Box::new(arguments.pop()?);
    let parameters = arguments.into_iter().map(|argument| match argument {
        Expr::Identifier(name) => Some(LambdaFunctionParameter { name, data_type: None }),
        _ => None,
    });
    let params = OneOrManyWithParens::Many(parameters.collect::<Option<Vec<_>>>()?);
    Some(Expr::Lambda(LambdaFunction { params, body, syntax: LambdaSyntax::Arrow }))
}

/// More terms than this are put into a balanced tree.
const LONG: usize = 16;

/// `a or b or c or …` is a tree as deep as it has terms; both operators may be grouped at will, so
/// a long one becomes a tree of the logarithm's depth.
pub(crate) fn balance(expr: &mut Expr) {
    let wanted = match expr {
        Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } => op.clone(),
        _ => return,
    };
    let mut length = 1;
    let mut node = &*expr;
    while let Expr::BinaryOp { left, op, .. } = node
        && *op == wanted
    {
        length += 1;
        node = left;
    }
    if length <= LONG {
        return;
    }
    let nothing = || Expr::Value(Value::Null.with_empty_span());
    let mut terms = Vec::with_capacity(length);
    let mut rest = std::mem::replace(expr, nothing());
    loop {
        match rest {
            Expr::BinaryOp { left, op, right } if op == wanted => {
                terms.push(*right);
                rest = *left;
            }
            last => {
                terms.push(last);
                break;
            }
        }
    }
    terms.reverse();
    while terms.len() > 1 {
        let mut pairs = Vec::with_capacity(terms.len().div_ceil(2));
        let mut terms_left = terms.into_iter();
        while let Some(left) = terms_left.next() {
            pairs.push(match terms_left.next() {
                Some(right) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: wanted.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        terms = pairs;
    }
    if let Some(tree) = terms.pop() {
        *expr = tree;
    }
}

/// `cast(1.7 as integer)` is 2, as in PostgreSQL and DuckDB: the value is rounded first. The
/// function leaves anything that is not a fraction alone.
fn rewrite_whole(kind: &CastKind, value: &Expr, data_type: &DataType) -> Option<Expr> {
    let is_whole = matches!(
        data_type,
        DataType::TinyInt(_)
            | DataType::SmallInt(_)
            | DataType::Int2(_)
            | DataType::Int(_)
            | DataType::Int4(_)
            | DataType::Integer(_)
            | DataType::BigInt(_)
            | DataType::Int8(_)
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
    ) || matches!(
        data_type,
        DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("int64")
    );
    let known = match value {
        // A literal that is a whole number, and what was rounded already.
        Expr::Value(literal) => match &literal.value {
            Value::Number(digits, _) => !digits.contains(['.', 'e', 'E']),
            _ => true,
        },
        Expr::Function(function) => simple_name(function).as_deref() == Some(WHOLE),
        _ => false,
    };
    (is_whole && !known)
        .then(|| cast_as(kind.clone(), call(WHOLE, vec![value.clone()]), data_type.clone()))
}

/// The function that rounds fractions.
const WHOLE: &str = crate::functions::WHOLE;

/// `cast(x as varchar(3))` cuts, as in PostgreSQL. `char(n)` is cut and not padded.
fn rewrite_cast(kind: &CastKind, value: &Expr, data_type: &DataType) -> Result<Option<Expr>> {
    let length = match data_type {
        DataType::Varchar(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Nvarchar(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Char(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Character(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharVarying(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharacterVarying(Some(CharacterLength::IntegerLength { length, .. })) => {
            *length
        }
        DataType::JSONB | DataType::JSON | DataType::Uuid if *kind != CastKind::TryCast => {
            let text = cast(value.clone(), DataType::Varchar(None));
            return Ok(Some(match data_type {
                DataType::JSONB => jsonb(text),
                DataType::JSON => call("tidemill_json", vec![text]),
                _ => call("tidemill_uuid", vec![text]),
            }));
        }
        // One letter; without a length `varchar` is not cut.
        DataType::Char(None) | DataType::Character(None) => 1,
        DataType::Bytea => return Ok(bytes_literal(value)),
        DataType::Array(_) => return Ok(array_literal(kind, value, data_type)),
        _ => return Ok(rewrite_whole(kind, value, data_type)),
    };
    let whole = cast_as(kind.clone(), value.clone(), DataType::Varchar(None));
    // Longer than any text that is cut on purpose: the limit only documents.
    if length >= 10_000 {
        return Ok(Some(whole));
    }
    Ok(Some(call("left", vec![whole, number(length)])))
}

/// `'\xDEADBEEF'::bytea`: a text that is written out as the bytes that it is in PostgreSQL.
fn bytes_literal(value: &Expr) -> Option<Expr> {
    let Expr::Value(literal) = value else { return None };
    let Value::SingleQuotedString(written) = &literal.value else { return None };
    let digits = written.strip_prefix("\\x")?;
    let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    all.then(|| call("decode", vec![text(&digits.to_lowercase()), text("hex")]))
}

/// `(row).field`, where the planner wants the field's name as a text.
fn named_field(step: &mut AccessExpr) {
    if let AccessExpr::Dot(Expr::Identifier(field)) = step {
        *step = AccessExpr::Dot(text(&crate::names::folded(field)));
    }
}

/// An operator that ranges have.
fn ranged(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::PGOverlap
            | BinaryOperator::AtArrow
            | BinaryOperator::ArrowAt
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
    )
}

/// An operator whose right side is a regular expression.
fn regular(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
    )
}

/// How many of these are NULL, or are not.
fn nulls_among(values: &[Expr], nulls: bool) -> Expr {
    let one = |value: &Expr| {
        let is_null = Expr::IsNull(Box::new(value.clone()));
        let (null, other) = if nulls { (1, 0) } else { (0, 1) };
        case(vec![(is_null, number(null))], Some(number(other)))
    };
    values
        .iter()
        .map(one)
        .reduce(|sum, value| binary(sum, BinaryOperator::Plus, value))
        .unwrap_or_else(|| number(0))
}

fn time_type() -> DataType {
    DataType::Time(None, TimezoneInfo::None)
}

fn with_zone() -> DataType {
    DataType::Timestamp(None, TimezoneInfo::WithTimeZone)
}

fn rewrite_function(function: &mut Function) -> Result<Option<Expr>> {
    let Some(name) = simple_name(function) else { return Ok(None) };
    let given = name.clone();
    // Same meaning under another name.
    let renamed = match name.as_str() {
        "ceiling" => "ceil",
        "sign" => "signum",
        "variance" => "var_samp",
        "variance_pop" => "var_pop",
        "getdate" | "sysdate" | "systimestamp" | "current_datetime" => "now",
        "gen_random_uuid" | "generate_uuid" | "uuid_string" | "newid" => "uuid",
        "logical_or" | "boolor_agg" => "bool_or",
        "logical_and" | "booland_agg" | "every" => "bool_and",
        "first" => "first_value",
        "last" => "last_value",
        "list" => "array_agg",
        "arbitrary" => "any_value",
        "list_value" => "make_array",
        "prefix" => "starts_with",
        "suffix" => "ends_with",
        "lcase" => "lower",
        "ucase" => "upper",
        "strlen" => "octet_length",
        "unicode" | "ord" => "ascii",
        "string_split_regex" | "str_split_regex" => "regexp_split_to_array",
        "regexp_extract_all" => "tidemill_all_matches",
        "get_current_timestamp" => "now",
        "current_localtimestamp" => "localtimestamp",
        "struct_extract" => "get_field",
        "approx_count_distinct" => "approx_distinct",
        "group_concat" => "string_agg",
        "statement_timestamp" | "transaction_timestamp" | "clock_timestamp" => "now",
        "jsonb_extract_path_text" => "json_extract_path_text",
        "jsonb_extract_path" => "json_extract_path",
        "uuid_generate_v4" => "uuid",
        "regexp_matches" => "regexp_match",
        "regexp_contains" | "rlike" => "regexp_like",
        "array_size" => "array_length",
        // All that are equal, as in PostgreSQL.
        "array_remove" => "array_remove_all",
        "array_replace" => "array_replace_all",
        // The array, and not a row for each of its items.
        "tidemill_series" => "generate_series",
        "timestampadd" | "datetime_add" | "timestamp_add" => "dateadd",
        "timestampdiff" => "datediff",
        "to_json_string" | "array_to_json" => "to_json",
        "json_extract_scalar"
        | "json_value"
        | "get_json_object"
        | "json_extract"
        | "json_extract_string" => "json_path",
        _ => name.as_str(),
    };
    if renamed != name {
        function.name = object_name(renamed);
    }
    let name = renamed;
    match name {
        "string_agg" | "listagg" => {
            rewrite_string_agg(function)?;
            return Ok(None);
        }
        "count_if" | "countif" => return count_if(function),
        "max_by" | "min_by" | "arg_max" | "arg_min" | "argmax" | "argmin" => {
            return at_extreme(name, function);
        }
        "percentile_disc" => return Ok(shares(function).or_else(|| share(function))),
        "percentile_cont" => return Ok(shares(function)),
        "rank" | "dense_rank" | "percent_rank" | "cume_dist"
            if !function.within_group.is_empty() =>
        {
            return Ok(would_be(name, function));
        }
        "make_interval" => return Ok(made_interval(function)),
        "struct_pack" => return Ok(crate::duckdb::packed(function)),
        "json_agg" => return Ok(json_list(function)),
        "jsonb_agg" => return Ok(json_list(function).map(jsonb)),
        "json_object_agg" => return Ok(json_pairs(function)),
        "jsonb_object_agg" => return Ok(json_pairs(function).map(jsonb)),
        "json_build_object" | "json_build_array" => return Ok(json_built(name, function)),
        "jsonb_build_object" | "jsonb_build_array" => {
            return Ok(json_built(name, function).map(jsonb));
        }
        "mode" => {
            let mut order = std::mem::take(&mut function.within_group);
            if let (Some(column), FunctionArguments::List(list)) = (order.pop(), &mut function.args)
            {
                list.args = vec![argument(column.expr)];
            }
            return Ok(None);
        }
        _ => {}
    }
    let Some(arguments) = plain_arguments(function) else { return Ok(None) };
    units(name, function, &arguments);
    if name.starts_with("regexp_")
        && let FunctionArguments::List(list) = &mut function.args
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(pattern))) = list.args.get_mut(1)
    {
        known_to_regex(pattern);
        if name == "regexp_replace"
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(to)))) =
                list.args.get_mut(2)
            && let Value::SingleQuotedString(to) = &mut to.value
        {
            *to = known_to_replacement(to);
        }
    }
    let arguments = plain_arguments(function).unwrap_or(arguments);
    if let Some(written) = crate::duckdb::written(name, &arguments) {
        return Ok(Some(written));
    }
    Ok(match (name, arguments.as_slice()) {
        // Snowflake, SQL Server, BigQuery.
        ("iff" | "if", [condition, yes]) => {
            Some(case(vec![(condition.clone(), yes.clone())], None))
        }
        ("iff" | "if", [condition, yes, no]) => {
            Some(case(vec![(condition.clone(), yes.clone())], Some(no.clone())))
        }
        ("num_nulls", [_, ..]) => Some(nulls_among(&arguments, true)),
        ("num_nonnulls", [_, ..]) => Some(nulls_among(&arguments, false)),
        // PostgreSQL's; the one with braces is DuckDB's, and has another name by here.
        ("format", [pattern, values @ ..]) => {
            let as_text =
                |value: &Expr| cast_as(CastKind::Cast, value.clone(), DataType::Varchar(None));
            let all = std::iter::once(pattern.clone()).chain(values.iter().map(as_text));
            Some(call(crate::functions::FORMAT, all.collect()))
        }
        ("to_jsonb", [value]) => Some(jsonb(call("to_json", vec![with_fields(value.clone())]))),
        ("to_json" | "row_to_json", [value]) => {
            let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
            list.args = vec![argument(with_fields(value.clone()))];
            None
        }
        // A text that is written out is `jsonb` to a function of it.
        ("json_extract_path", [Expr::Value(document), keys @ ..])
            if given == "jsonb_extract_path" =>
        {
            let document = jsonb(Expr::Value(document.clone()));
            let all = std::iter::once(document).chain(keys.iter().cloned());
            Some(call(name, all.collect()))
        }
        // The length of an empty array is NULL where a dimension is asked for.
        ("array_length", [_, _]) => {
            Some(call("nullif", vec![call("array_length", arguments), number(0)]))
        }
        ("array_lower", [list, _]) => Some(case(
            vec![(
                binary(call("cardinality", vec![list.clone()]), BinaryOperator::Gt, number(0)),
                number(1),
            )],
            None,
        )),
        ("make_time", [hours, minutes, seconds]) => {
            let midnight = cast(text("00:00:00"), time_type());
            let times = |count: &Expr, unit: &str| {
                let one = crate::syntax::interval_of(text(unit));
                nested(binary(count.clone(), BinaryOperator::Multiply, one))
            };
            let parts = [(hours, "1 hour"), (minutes, "1 minute"), (seconds, "1 second")];
            Some(parts.into_iter().fold(midnight, |sum, (count, unit)| {
                nested(binary(sum, BinaryOperator::Plus, times(count, unit)))
            }))
        }
        ("make_timestamptz", [parts @ .., last]) if parts.len() == 5 => {
            let local = parts.iter().chain(std::iter::once(last)).cloned().collect();
            Some(cast(call("make_timestamp", local), with_zone()))
        }
        ("make_timestamptz", [parts @ .., zone]) if parts.len() == 6 => {
            Some(at_zone(&call("make_timestamp", parts.to_vec()), zone))
        }
        ("convert_from", [bytes, _]) => Some(call("tidemill_utf8", vec![bytes.clone()])),
        ("convert_to", [value, _]) => Some(cast(value.clone(), DataType::Bytea)),
        ("zeroifnull", [value]) => Some(call("coalesce", vec![value.clone(), number(0)])),
        ("nullifzero", [value]) => Some(call("nullif", vec![value.clone(), number(0)])),
        // Snowflake: 0 when the divisor is 0, NULL when either is NULL.
        ("div0", [a, b]) => Some(case(
            vec![(equals(b.clone(), number(0)), case_of_null(a))],
            Some(divide(a.clone(), b.clone())),
        )),
        ("div0null", [a, b]) => Some(case(
            vec![(
                equals(call("coalesce", vec![b.clone(), number(0)]), number(0)),
                case_of_null(a),
            )],
            Some(divide(a.clone(), b.clone())),
        )),
        // Snowflake, Redshift: `decode(x, 1, 'one', 2, 'two', 'more')`.
        ("decode", [value, rest @ ..]) if rest.len() >= 2 => {
            let pairs = rest.chunks_exact(2);
            let otherwise = pairs.remainder().first().cloned();
            let branches = pairs
                .map(|pair| {
                    let (value, wanted) = (nested(value.clone()), nested(pair[0].clone()));
                    let same = Expr::IsNotDistinctFrom(Box::new(value), Box::new(wanted));
                    (same, pair[1].clone())
                })
                .collect();
            Some(case(branches, otherwise))
        }
        ("year" | "quarter" | "month" | "day" | "hour" | "minute", [value]) => {
            Some(cast(call("date_part", vec![text(name), value.clone()]), DataType::BigInt(None)))
        }
        ("dayofmonth", [value]) => {
            Some(cast(call("date_part", vec![text("day"), value.clone()]), DataType::BigInt(None)))
        }
        ("weekofyear", [value]) => {
            Some(cast(call("date_part", vec![text("week"), value.clone()]), DataType::BigInt(None)))
        }
        ("dayofyear", [value]) => {
            Some(cast(call("date_part", vec![text("doy"), value.clone()]), DataType::BigInt(None)))
        }
        // BigQuery: the pattern comes first.
        ("parse_date", [pattern, value]) => {
            Some(call("to_date", vec![value.clone(), pattern.clone()]))
        }
        // Flags that say what holds anyway: none, or letters that count as they are. All matches
        // (`g`) are not asked for where one is given.
        ("regexp_match" | "regexp_like", [value, pattern, Expr::Value(flags)]) => {
            let Value::SingleQuotedString(flags) = &flags.value else { return Ok(None) };
            let kept: String = flags.chars().filter(|flag| !"cg".contains(*flag)).collect();
            let mut arguments = vec![value.clone(), pattern.clone()];
            if !kept.is_empty() {
                arguments.push(text(&kept));
            }
            Some(call(name, arguments))
        }
        ("array_upper", [_, _]) => {
            Some(call("nullif", vec![call("array_length", arguments), number(0)]))
        }
        ("trim_array", [list, count]) => Some(call(
            "array_slice",
            vec![
                list.clone(),
                number(1),
                binary(
                    call("cardinality", vec![list.clone()]),
                    BinaryOperator::Minus,
                    count.clone(),
                ),
            ],
        )),
        ("generate_series", [_, _, _]) => {
            let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
            let mut series = arguments.clone();
            crate::rows_from::series(&mut series);
            list.args = series.into_iter().map(argument).collect();
            None
        }
        ("div", [a, b]) => Some(call("trunc", vec![divide(a.clone(), b.clone())])),
        ("age", [later, earlier]) => {
            Some(call("tidemill_age", vec![later.clone(), earlier.clone()]))
        }
        ("age", [earlier]) => {
            let today = call("current_date", Vec::new());
            Some(call("tidemill_age", vec![today, earlier.clone()]))
        }
        ("date_trunc", [part, value, zone]) => {
            Some(at_zone(&call("date_trunc", vec![part.clone(), at_zone(value, zone)]), zone))
        }
        ("encode", [value, format]) if is_text(format, "base64") => {
            Some(call("encode", vec![value.clone(), text("base64pad")]))
        }
        // BigQuery: always a double, NULL when the divisor is 0.
        ("safe_divide", [a, b]) => Some(divide(
            cast(a.clone(), DataType::DoublePrecision),
            call("nullif", vec![b.clone(), number(0)]),
        )),
        ("mod", [a, b]) => Some(nested(binary(a.clone(), BinaryOperator::Modulo, b.clone()))),
        ("date", [value]) => Some(cast(value.clone(), DataType::Date)),
        ("try_to_date", [value]) => Some(cast_as(CastKind::TryCast, value.clone(), DataType::Date)),
        ("try_to_timestamp" | "try_to_timestamp_ntz", [value]) => Some(cast_as(
            CastKind::TryCast,
            value.clone(),
            DataType::Timestamp(None, TimezoneInfo::None),
        )),
        ("try_to_number" | "try_to_decimal" | "try_to_numeric", [value]) => Some(cast_as(
            CastKind::TryCast,
            value.clone(),
            DataType::Numeric(datafusion::sql::sqlparser::ast::ExactNumberInfo::None),
        )),
        ("to_timestamp_ntz" | "timestamp" | "datetime", [value]) => {
            Some(cast(value.clone(), DataType::Timestamp(None, TimezoneInfo::None)))
        }
        ("to_varchar" | "to_char" | "string", [value]) if name != "to_char" => {
            Some(cast(value.clone(), DataType::Varchar(None)))
        }
        ("to_varchar", [_, _]) => {
            function.name = object_name("to_char");
            None
        }
        // JSON is text here.
        ("parse_json", [value]) => Some(cast(value.clone(), DataType::Varchar(None))),
        // SQL Server and Redshift: the needle comes first.
        ("charindex", [needle, text]) => Some(call("strpos", vec![text.clone(), needle.clone()])),
        ("contains_substr", [text, needle]) => Some(call(
            "contains",
            vec![call("lower", vec![text.clone()]), call("lower", vec![needle.clone()])],
        )),
        // Snowflake and Redshift.
        ("convert_timezone", [from, to, value]) => Some(at_zone(&nested(at_zone(value, from)), to)),
        ("split", [text, delimiter]) => {
            Some(call("string_to_array", vec![text.clone(), delimiter.clone()]))
        }
        // BigQuery: the value comes first, the part last.
        ("date_trunc" | "timestamp_trunc" | "datetime_trunc", [value, part])
            if unit_of(part).is_some() && unit_of(value).is_none() =>
        {
            Some(call("date_trunc", vec![part.clone(), value.clone()]))
        }
        // BigQuery: date_diff(later, earlier, part); DuckDB: date_diff(part, earlier, later).
        ("date_diff" | "timestamp_diff" | "datetime_diff", [later, earlier, part])
            if unit_of(part).is_some() =>
        {
            Some(call("datediff", vec![part.clone(), earlier.clone(), later.clone()]))
        }
        ("date_diff", [part, earlier, later]) => {
            Some(call("datediff", vec![part.clone(), earlier.clone(), later.clone()]))
        }
        // BigQuery: date_add(x, interval 1 day).
        ("date_add" | "dateadd", [value, amount]) => {
            Some(nested(binary(value.clone(), BinaryOperator::Plus, amount.clone())))
        }
        ("date_sub" | "timestamp_sub" | "datetime_sub", [value, amount]) => {
            Some(nested(binary(value.clone(), BinaryOperator::Minus, amount.clone())))
        }
        _ => None,
    })
}

/// Functions whose date part may be written as a bare word: `dateadd(day, 1, x)`.
fn units(name: &str, function: &mut Function, arguments: &[Expr]) {
    let places: &[usize] = match name {
        "dateadd" | "datediff" => &[0],
        "date_part" | "datepart" | "datetrunc" if arguments.len() == 2 => &[0],
        "date_trunc" | "timestamp_trunc" | "datetime_trunc" if arguments.len() == 2 => {
            match unit_of(&arguments[0]) {
                Some(_) => &[0],
                None => &[1],
            }
        }
        "last_day" if arguments.len() == 2 => &[1],
        "date_diff" | "timestamp_diff" | "datetime_diff" if arguments.len() == 3 => {
            match unit_of(&arguments[2]) {
                Some(_) => &[2],
                None => &[0],
            }
        }
        _ => &[],
    };
    let FunctionArguments::List(list) = &mut function.args else { return };
    for place in places {
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) = list.args.get_mut(*place)
        else {
            continue;
        };
        // `date_part('dayofyear', x)`: DuckDB's and Snowflake's word for PostgreSQL's `doy`.
        let named = matches!(name, "date_part" | "datepart") && matches!(argument, Expr::Value(_));
        if let (true, Some(unit)) = (
            named || matches!(argument, Expr::Identifier(_) | Expr::Function(_)),
            unit_of(argument),
        ) {
            *argument = text(unit);
        }
    }
}

/// The date part that a bare word or a literal names, in its plain spelling.
fn unit_of(expr: &Expr) -> Option<&'static str> {
    let word = match expr {
        Expr::Identifier(ident) if ident.quote_style.is_none() => ident.value.as_str(),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(word) => word.as_str(),
            _ => return None,
        },
        // BigQuery's `week(monday)`: our weeks begin on Monday.
        Expr::Function(function) if simple_name(function).as_deref() == Some("week") => "week",
        _ => return None,
    };
    crate::functions::date_unit(word)
}

/// `make_interval(days => 3)` and `make_interval(0, 0, 0, 3)` as a sum of multiples.
fn made_interval(function: &Function) -> Option<Expr> {
    const UNITS: [(&str, &str); 7] = [
        ("years", "1 year"),
        ("months", "1 month"),
        ("weeks", "7 days"),
        ("days", "1 day"),
        ("hours", "1 hour"),
        ("mins", "1 minute"),
        ("secs", "1 second"),
    ];
    let FunctionArguments::List(list) = &function.args else { return None };
    let parts = list.args.iter().enumerate().map(|(place, argument)| {
        let (unit, count) = match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(count)) => (UNITS.get(place)?, count),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(count), .. } => {
                let name = name.value.to_lowercase();
                (UNITS.iter().find(|(unit, _)| *unit == name)?, count)
            }
            _ => return None,
        };
        let one = crate::syntax::interval_of(text(unit.1));
        Some(nested(binary(count.clone(), BinaryOperator::Multiply, one)))
    });
    let parts: Vec<Expr> = parts.collect::<Option<_>>()?;
    parts.into_iter().reduce(|all, next| nested(binary(all, BinaryOperator::Plus, next)))
}

/// `'{a,"b c"}'::text[]`: a text that is written out as the array that it is in PostgreSQL.
fn array_literal(kind: &CastKind, value: &Expr, data_type: &DataType) -> Option<Expr> {
    let DataType::Array(
        ArrayElemTypeDef::SquareBracket(item, _) | ArrayElemTypeDef::AngleBracket(item),
    ) = data_type
    else {
        return None;
    };
    let Expr::Value(literal) = value else { return None };
    let Value::SingleQuotedString(written) = &literal.value else { return None };
    // Arrays of arrays are read when the query runs.
    if written.matches(['{', '[']).count() != 1 {
        return None;
    }
    let items = array_elements(written)?.into_iter().map(|item_text| {
        let value = match item_text {
            Some(item_text) => text(&item_text),
            None => Expr::Value(Value::Null.with_empty_span()),
        };
        cast_as(kind.clone(), value, item.as_ref().clone())
    });
    Some(array_of(items.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_query;

    fn rewritten(sql: &str) -> String {
        let mut statement = parse_query(sql).unwrap();
        rewrite(&mut statement).unwrap();
        statement.to_string()
    }

    #[test]
    fn columns_get_the_names_that_postgresql_gives() {
        for (sql, expected) in [
            ("select count(*), a from t", "SELECT count(*) AS \"count\", a FROM t"),
            (
                "select sum(a), sum(b), 1 + 1, (x)::date",
                "SELECT sum(a) AS \"sum\", sum(b) AS \"sum_2\", 1 + 1 AS \"column\", (x)::DATE AS \"x\"",
            ),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
    }

    #[test]
    fn columns_that_occur_twice_inside_get_names_of_their_own() {
        for (sql, expected) in [
            (
                "select x from (select a.id, b.id, x from a, b) s",
                "SELECT x FROM (SELECT a.id AS \"id:1\", b.id AS \"id:2\", x FROM a, b) s",
            ),
            (
                "with c as (select 1 as n, 2 as N union all select 3, 4) select count(*) from c",
                "WITH c AS (SELECT 1 AS \"n:1\", 2 AS \"n:2\" UNION ALL SELECT 3 AS \"column\", 4 AS \"column_2\") \
                 SELECT count(*) AS \"count\" FROM c",
            ),
            ("select a.id, b.id from a, b", "SELECT a.id, b.id FROM a, b"),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
    }

    #[test]
    fn long_conditions_become_shallow() {
        let sql = format!("select 1 where a = 0{}", " or a = 1".repeat(20));
        let text = rewritten(&sql);
        assert_eq!(text.matches(" OR ").count(), 20, "{text}");
        let deep = format!("select 1 where a{}", " or a".repeat(15_000));
        assert!(rewritten(&deep).len() > 15_000);
    }

    /// The alias that the test statement's column gets hides what is tested.
    fn without_alias(text: &str) -> &str {
        text.rsplit_once(" AS \"").map_or(text, |(text, _)| text)
    }

    #[test]
    fn spellings() {
        for (sql, expected) in [
            ("select dateadd(day, 1, x)", "SELECT dateadd('day', 1, x)"),
            ("select dateadd('Month', 1, x)", "SELECT dateadd('Month', 1, x)"),
            ("select datediff(mm, a, b)", "SELECT datediff('month', a, b)"),
            ("select date_trunc(x, month)", "SELECT date_trunc('month', x)"),
            ("select date_trunc('month', month)", "SELECT date_trunc('month', month)"),
            ("select date_diff(b, a, day)", "SELECT datediff('day', a, b)"),
            ("select date_diff('day', a, b)", "SELECT datediff('day', a, b)"),
            ("select iff(a, 1, 2)", "SELECT CASE WHEN a THEN 1 ELSE 2 END"),
            ("select date(x)", "SELECT CAST(x AS DATE)"),
            (
                "select listagg(x, ',') within group (order by y)",
                "SELECT string_agg(x, ',' ORDER BY y)",
            ),
            (
                "select listagg(distinct x)",
                "SELECT string_agg(DISTINCT x, '' ORDER BY x NULLS LAST)",
            ),
            ("select count_if(a > 1)", "SELECT count(CASE WHEN a > 1 THEN 1 END)"),
            ("select x::varchar(3)", "SELECT left(x::VARCHAR, 3)"),
            ("select mod(a + 1, 2)", "SELECT ((a + 1) % (2))"),
            ("select x::int", "SELECT tidemill_whole(x)::INT"),
            ("select '5'::int", "SELECT '5'::INT"),
            ("select charindex('b', x)", "SELECT strpos(x, 'b')"),
        ] {
            assert_eq!(without_alias(&rewritten(sql)), expected);
        }
    }
}

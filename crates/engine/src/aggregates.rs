//! Aggregates that are written in other words, in the syntax tree (see `rewrite`).

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, DuplicateTreatment, Expr, Function, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, OrderByExpr, OrderByOptions, Value,
};
use tidemill_core::{Error, ErrorKind, Result};

use crate::syntax::{
    argument, array_of, binary, call, case, cast, divide, nested, number, object_name,
    plain_arguments, simple_name, text,
};

/// `listagg(x, ',') within group (order by y)` and `listagg(x)` are `string_agg`.
pub(crate) fn rewrite_string_agg(function: &mut Function) -> Result<()> {
    function.name = object_name("string_agg");
    let order = std::mem::take(&mut function.within_group);
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    if list.args.len() == 1 {
        list.args.push(argument(text("")));
    }
    if !order.is_empty() {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    Ok(())
}

/// `count_if(x)` is `count(case when x then 1 end)`.
pub(crate) fn count_if(function: &mut Function) -> Result<Option<Expr>> {
    let Some(arguments) = plain_arguments(function) else { return Ok(None) };
    let [condition] = arguments.as_slice() else {
        return Err(Error::new(ErrorKind::Query, "`count_if` takes one condition"));
    };
    function.name = object_name("count");
    function.args = FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None::<DuplicateTreatment>,
        args: vec![argument(case(vec![(condition.clone(), number(1))], None))],
        clauses: Vec::new(),
    });
    Ok(None)
}

/// `percentile_disc(p) within group (order by x)`: the first value that at least the share `p` of
/// them reaches.
pub(crate) fn share(function: &mut Function) -> Option<Expr> {
    let share = plain_arguments(function)?.into_iter().next()?;
    let [order] = function.within_group.as_slice() else { return None };
    let order = order.clone();
    let value = order.expr.clone();
    let mut filter = Expr::IsNotNull(Box::new(nested(value.clone())));
    if let Some(given) = function.filter.take() {
        filter = binary(*given, BinaryOperator::And, filter);
    }
    let mut sorted = function.clone();
    sorted.name = object_name("array_agg");
    sorted.within_group = Vec::new();
    sorted.filter = Some(Box::new(filter));
    sorted.args = FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: vec![argument(value)],
        clauses: vec![FunctionArgumentClause::OrderBy(vec![order])],
    });
    Some(call("tidemill_share", vec![Expr::Function(sorted), share]))
}

/// `percentile_cont(array[0.25, 0.75])` as an array of single ones.
pub(crate) fn shares(function: &mut Function) -> Option<Expr> {
    let shares = match plain_arguments(function)?.into_iter().next()? {
        Expr::Array(array) => array.elem,
        _ => return None,
    };
    let each = shares.into_iter().map(|share| {
        let mut one = function.clone();
        if let FunctionArguments::List(list) = &mut one.args {
            list.args = vec![argument(share)];
        }
        match simple_name(&one).as_deref() {
            Some("percentile_disc") => self::share(&mut one),
            _ => Some(Expr::Function(one)),
        }
    });
    Some(array_of(each.collect::<Option<_>>()?))
}

/// `rank(3) within group (order by x)`: which place a value would have among the others, by how many come before
/// it. Nothing where the value is not written out, or where there are several.
pub(crate) fn would_be(name: &str, function: &Function) -> Option<Expr> {
    let [value] = <[Expr; 1]>::try_from(plain_arguments(function)?).ok()?;
    let [order] = function.within_group.as_slice() else { return None };
    let mut written = &value;
    while let Expr::Nested(inner)
    | Expr::Cast { expr: inner, .. }
    | Expr::UnaryOp { expr: inner, .. } = written
    {
        written = inner;
    }
    let is_known = match written {
        Expr::Value(literal) => literal.value != Value::Null,
        other => matches!(other, Expr::TypedString(_)),
    };
    if !is_known || function.over.is_some() {
        return None;
    }
    let falls = order.options.asc == Some(false);
    let nulls_first = order.options.nulls_first.unwrap_or(falls);
    let (before, or_same) = match falls {
        false => (BinaryOperator::Lt, BinaryOperator::LtEq),
        true => (BinaryOperator::Gt, BinaryOperator::GtEq),
    };
    let counted = |op: Option<BinaryOperator>, distinct: bool| {
        let mut one = function.clone();
        one.name = object_name("count");
        one.within_group = Vec::new();
        let condition = op.map(|op| {
            let comes = binary(order.expr.clone(), op, value.clone());
            match nulls_first {
                true => {
                    let is_null = Expr::IsNull(Box::new(nested(order.expr.clone())));
                    binary(comes, BinaryOperator::Or, is_null)
                }
                false => comes,
            }
        });
        one.filter = match (one.filter.take(), condition) {
            (Some(given), Some(own)) => Some(Box::new(binary(*given, BinaryOperator::And, own))),
            (given, own) => given.or(own.map(Box::new)),
        };
        one.args = FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: distinct.then_some(DuplicateTreatment::Distinct),
            args: vec![argument(if distinct { order.expr.clone() } else { number(1) })],
            clauses: Vec::new(),
        });
        Expr::Function(one)
    };
    let next = |count: Expr| nested(binary(count, BinaryOperator::Plus, number(1)));
    let double = |count: Expr| cast(count, DataType::DoublePrecision);
    Some(match name {
        "rank" => next(counted(Some(before), false)),
        // NULLs that come before are one place.
        "dense_rank" if !nulls_first => next(counted(Some(before), true)),
        "percent_rank" => {
            let all = call("nullif", vec![counted(None, false), number(0)]);
            let share = divide(double(counted(Some(before), false)), double(all));
            call("coalesce", vec![share, cast(number(0), DataType::DoublePrecision)])
        }
        "cume_dist" => {
            let within = double(next(counted(Some(or_same), false)));
            divide(within, double(next(counted(None, false))))
        }
        _ => return None,
    })
}

/// `json_agg(x)`: the JSON text of the array of its values.
pub(crate) fn json_list(function: &mut Function) -> Option<Expr> {
    let values = plain_arguments(function)?;
    let [value] = values.as_slice() else { return None };
    let mut collected = function.clone();
    collected.name = object_name("array_agg");
    let FunctionArguments::List(list) = &mut collected.args else { return None };
    let kind = match list.duplicate_treatment {
        // By these they may be sorted, as they are.
        Some(DuplicateTreatment::Distinct) if is_json(value) => "json",
        Some(DuplicateTreatment::Distinct) => "value",
        // What is JSON already is known when the types are.
        _ => {
            list.args = vec![argument(as_json(value.clone()))];
            "json"
        }
    };
    Some(call("tidemill_json_list", vec![Expr::Function(collected), text(kind)]))
}

/// `json_object_agg(k, v)`.
pub(crate) fn json_pairs(function: &mut Function) -> Option<Expr> {
    let [key, value] = <[Expr; 2]>::try_from(plain_arguments(function)?).ok()?;
    let collected = |value: Expr| {
        let mut collected = function.clone();
        collected.name = object_name("array_agg");
        if let FunctionArguments::List(list) = &mut collected.args {
            list.args = vec![argument(value)];
        }
        Expr::Function(collected)
    };
    let keys = collected(cast(key, DataType::Varchar(None)));
    let values = collected(as_json(value));
    Some(call("tidemill_json_pairs", vec![keys, values, text("json")]))
}

/// A value as JSON text, whether it is JSON already or not.
fn as_json(value: Expr) -> Expr {
    match is_json(&value) {
        true => call("tidemill_as_json", vec![call("tidemill_json", vec![value])]),
        false => call("tidemill_as_json", vec![with_fields(value)]),
    }
}

/// `row(a, b)` has the fields `f1` and `f2` in JSON.
pub(crate) fn with_fields(value: Expr) -> Expr {
    let values = match &value {
        Expr::Function(function) if simple_name(function).as_deref() == Some("row") => {
            plain_arguments(function)
        }
        Expr::Tuple(values) => Some(values.clone()),
        _ => None,
    };
    let Some(values) = values.filter(|values| !values.is_empty()) else { return value };
    let fields = values
        .into_iter()
        .enumerate()
        .flat_map(|(place, value)| [text(&format!("f{}", place + 1)), with_fields(value)]);
    call("named_struct", fields.collect())
}

/// `json_build_object('a', x)` and `json_build_array(x)`: which arguments are JSON themselves can only
/// be seen here, as JSON is text to the engine.
pub(crate) fn json_built(name: &str, function: &Function) -> Option<Expr> {
    let arguments = plain_arguments(function)?;
    let kinds: String =
        arguments.iter().map(|value| if is_json(value) { 'j' } else { 'v' }).collect();
    let name = match name {
        "json_build_object" | "jsonb_build_object" => "tidemill_json_object",
        _ => "tidemill_json_array",
    };
    let mut all = vec![text(&kinds)];
    all.extend(arguments.into_iter().map(with_fields));
    Some(call(name, all))
}

/// The value as `jsonb`.
pub(crate) fn jsonb(value: Expr) -> Expr {
    call(crate::functions::JSONB, vec![value])
}

/// Whether it can be seen that an expression gives `jsonb`.
pub(crate) fn is_jsonb(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_jsonb(inner),
        Expr::BinaryOp { left, op: BinaryOperator::Arrow | BinaryOperator::HashArrow, .. } => {
            is_jsonb(left)
        }
        Expr::Function(function) => {
            let name = simple_name(function).unwrap_or_default();
            name.starts_with(crate::functions::JSONB)
                || matches!(
                    name.as_str(),
                    "jsonb_strip_nulls"
                        | "jsonb_set"
                        | "jsonb_insert"
                        | "jsonb_set_lax"
                        | "jsonb_path_query_first"
                        | "jsonb_path_query_array"
                )
                || name == "coalesce"
                    && plain_arguments(function).is_some_and(|all| all.iter().any(is_jsonb))
        }
        _ => false,
    }
}

/// Whether an expression gives JSON and not just text.
fn is_json(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_json(inner),
        Expr::Cast { data_type: DataType::JSON | DataType::JSONB, .. } => true,
        Expr::BinaryOp { op: BinaryOperator::Arrow | BinaryOperator::HashArrow, .. } => true,
        Expr::Function(function) => simple_name(function).is_some_and(|name| {
            name.starts_with("tidemill_json")
                || matches!(
                    name.as_str(),
                    "to_json"
                        | "row_to_json"
                        | "json_get"
                        | "json_extract_path"
                        | "json_strip_nulls"
                        | "jsonb_strip_nulls"
                        | "jsonb_set"
                        | "jsonb_insert"
                        | "jsonb_set_lax"
                        | "jsonb_path_query_first"
                        | "jsonb_path_query_array"
                )
        }),
        _ => false,
    }
}

/// `max_by(x, y)` is the first `x` by `y`, downwards.
pub(crate) fn at_extreme(name: &str, function: &mut Function) -> Result<Option<Expr>> {
    let Some(arguments) = plain_arguments(function) else { return Ok(None) };
    let [value, key] = arguments.as_slice() else {
        return Err(Error::new(ErrorKind::Query, format!("`{name}` takes two arguments")));
    };
    let mut filter = Expr::IsNotNull(Box::new(nested(key.clone())));
    // DuckDB's leave out rows without a value, Snowflake's and Spark's do not.
    if name.starts_with("arg") {
        let has_value = Expr::IsNotNull(Box::new(nested(value.clone())));
        filter = binary(filter, BinaryOperator::And, has_value);
    }
    if let Some(given) = function.filter.take() {
        filter = binary(*given, BinaryOperator::And, filter);
    }
    function.name = object_name("first_value");
    function.filter = Some(Box::new(filter));
    let options = OrderByOptions { asc: Some(name.contains("min")), nulls_first: Some(false) };
    function.args = FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: vec![argument(value.clone())],
        clauses: vec![FunctionArgumentClause::OrderBy(vec![OrderByExpr {
            expr: key.clone(),
            options,
            with_fill: None,
        }])],
    });
    Ok(None)
}

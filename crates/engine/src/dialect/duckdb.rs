//! What DuckDB's functions and casts take that PostgreSQL's do not.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, JoinConstraint, LambdaFunction, ObjectName, OneOrManyWithParens,
    Select, SelectItem, UnaryOperator, Value, WildcardAdditionalOptions,
};

use super::rules::closed;
use crate::syntax::{any_constraint_mut, binary, call, nested, number, simple_name, text};

/// Functions of texts take values of every type there.
pub(super) fn texts(function: &mut Function) {
    const FUNCTIONS: [&str; 21] = [
        "trim",
        "btrim",
        "ltrim",
        "rtrim",
        "lower",
        "upper",
        "lcase",
        "ucase",
        "left",
        "right",
        "replace",
        "substr",
        "substring",
        "split_part",
        "lpad",
        "rpad",
        "md5",
        "string_split",
        "regexp_replace",
        "regexp_extract",
        "regexp_matches",
    ];
    let known = simple_name(function).is_some_and(|name| FUNCTIONS.contains(&name.as_str()));
    let FunctionArguments::List(list) = &mut function.args else { return };
    if known
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
        && !is_text(first)
    {
        *first = call("tidemill_as_text", vec![first.clone()]);
    }
}

/// Whether it can be seen that an expression is text.
pub(super) fn is_text(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::SingleQuotedString(_)),
        Expr::Cast { data_type, .. } => {
            matches!(data_type, DataType::Varchar(_) | DataType::Text | DataType::String(_))
        }
        Expr::Trim { .. } | Expr::Substring { .. } => true,
        Expr::Nested(inner) => is_text(inner),
        Expr::Function(function) => simple_name(function).is_some_and(|name| {
            matches!(
                name.as_str(),
                "lower" | "upper" | "concat" | "replace" | "regexp_replace" | "tidemill_as_text"
            )
        }),
        _ => false,
    }
}

/// A text of a fraction is cast to an integer there; a double in text is `1.0`, a list `[1, 2]`.
pub(super) fn cast(value: &mut Expr, to: &DataType, to_whole: bool) {
    let to_text = matches!(
        to,
        DataType::Varchar(None)
            | DataType::Text
            | DataType::String(None)
            | DataType::CharacterVarying(None)
    );
    if to_whole {
        *value = call("tidemill_whole_text", vec![value.clone()]);
    } else if to_text && !matches!(value, Expr::Value(_)) {
        *value = call("tidemill_plain", vec![value.clone()]);
    }
}

/// The name of a type of integers without a sign.
pub(super) fn unsigned(data_type: &DataType) -> Option<&'static str> {
    let name = match data_type {
        DataType::UTinyInt => "utinyint",
        DataType::USmallInt => "usmallint",
        DataType::UBigInt => "ubigint",
        DataType::Custom(name, _) => {
            let name = name.to_string();
            let known = ["utinyint", "usmallint", "uinteger", "ubigint"];
            return known.into_iter().find(|known| name.eq_ignore_ascii_case(known));
        }
        _ => return None,
    };
    Some(name)
}

/// A number where a condition stands is true unless it is zero.
pub(super) fn condition(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => condition(inner),
        _ if is_numeric(expr) => {
            let compared = binary(closed(expr.clone()), BinaryOperator::NotEq, number(0));
            *expr = nested(compared);
        }
        _ => {}
    }
}

/// The conditions of a query.
pub(super) fn conditions(select: &mut Select) {
    let Select { selection, having, qualify, from, .. } = select;
    [selection, having, qualify].into_iter().flatten().for_each(condition);
    for join in from.iter_mut().flat_map(|table| &mut table.joins) {
        if let Some(JoinConstraint::On(on)) = any_constraint_mut(&mut join.join_operator) {
            condition(on);
        }
    }
}

/// The conditions that an expression is made of.
pub(super) fn conditions_within(expr: &mut Expr) {
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => condition(expr),
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            condition(left);
            condition(right);
        }
        Expr::Case { operand: None, conditions, .. } => {
            conditions.iter_mut().for_each(|when| condition(&mut when.condition));
        }
        Expr::Function(function) => {
            if let Some(filter) = &mut function.filter {
                condition(filter);
            }
        }
        _ => {}
    }
}

/// Whether it can be seen that an expression is a number.
fn is_numeric(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::Nested(inner) => is_numeric(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => is_numeric(expr),
        Expr::BinaryOp {
            op: BinaryOperator::Multiply | BinaryOperator::Divide | BinaryOperator::Modulo,
            ..
        } => true,
        Expr::BinaryOp { left, op: BinaryOperator::Plus | BinaryOperator::Minus, right } => {
            is_numeric(left) || is_numeric(right)
        }
        Expr::Function(function) => simple_name(function).is_some_and(|name| {
            matches!(
                name.as_str(),
                "count"
                    | "count_star"
                    | "sum"
                    | "length"
                    | "len"
                    | "strlen"
                    | "abs"
                    | "mod"
                    | "instr"
                    | "strpos"
                    | "position"
                    | "date_part"
                    | "date_diff"
                    | "datediff"
            )
        }),
        _ => false,
    }
}

/// `lambda x: x + 1`, in a form that the engine's grammar reads.
pub(super) fn lambda(function: &LambdaFunction) -> Expr {
    let parameters = match &function.params {
        OneOrManyWithParens::One(one) => std::slice::from_ref(one),
        OneOrManyWithParens::Many(many) => many.as_slice(),
    };
    let mut arguments: Vec<Expr> =
        parameters.iter().map(|parameter| Expr::Identifier(parameter.name.clone())).collect();
    arguments.push(function.body.as_ref().clone());
    call(crate::syntax::LAMBDA, arguments)
}

/// `select a, a` has the columns `a` and `a_1`.
pub(super) fn number_names(items: &mut [SelectItem]) {
    let mut taken: Vec<String> = Vec::new();
    for item in items {
        let name = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => name.clone(),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => match parts.last() {
                Some(name) => name.clone(),
                None => continue,
            },
            SelectItem::ExprWithAlias { alias, .. } => alias.clone(),
            _ => continue,
        };
        let mut free = name.clone();
        let mut number = 0;
        while taken.contains(&free.value.to_lowercase()) {
            number += 1;
            free.value = format!("{}_{number}", name.value);
        }
        taken.push(free.value.to_lowercase());
        if number > 0
            && let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = &*item
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: free };
        }
    }
}

/// `x.upper()` is `upper(x)`, where the name is that of a function.
pub(super) fn chained(expr: &Expr, known: impl Fn(&str) -> bool) -> Option<Expr> {
    match expr {
        Expr::Function(function) => {
            let parts: Vec<Ident> = function
                .name
                .0
                .iter()
                .map(|part| part.as_ident().cloned())
                .collect::<Option<_>>()?;
            let (name, value) = parts.split_last()?;
            let schema = ["main", "system", "pg_catalog", "information_schema"];
            if value.is_empty()
                || schema.contains(&value[0].value.to_lowercase().as_str())
                || !known(&name.value.to_lowercase())
            {
                return None;
            }
            let value = match value {
                [column] => Expr::Identifier(column.clone()),
                column => Expr::CompoundIdentifier(column.to_vec()),
            };
            Some(called(function, name.clone(), value))
        }
        Expr::CompoundFieldAccess { root, access_chain }
            if access_chain
                .iter()
                .any(|step| matches!(step, AccessExpr::Dot(Expr::Function(_)))) =>
        {
            let mut reached = root.as_ref().clone();
            for step in access_chain {
                reached = match (step, reached) {
                    (AccessExpr::Dot(Expr::Function(function)), value) => {
                        let name = function.name.0.last()?.as_ident()?.clone();
                        called(function, name, value)
                    }
                    (step, Expr::CompoundFieldAccess { root, mut access_chain }) => {
                        access_chain.push(step.clone());
                        Expr::CompoundFieldAccess { root, access_chain }
                    }
                    (step, value) => Expr::CompoundFieldAccess {
                        root: Box::new(value),
                        access_chain: vec![step.clone()],
                    },
                };
            }
            Some(reached)
        }
        _ => None,
    }
}

/// A call with one more argument, the first.
fn called(function: &Function, name: Ident, first: Expr) -> Expr {
    let mut function = function.clone();
    function.name = ObjectName::from(vec![name]);
    if let FunctionArguments::List(list) = &mut function.args {
        list.args.insert(0, FunctionArg::Unnamed(FunctionArgExpr::Expr(first)));
    }
    Expr::Function(function)
}

/// `columns(* rename (a as b))`, which the planner puts in place when it knows the columns.
pub(super) fn columns(options: WildcardAdditionalOptions) -> Expr {
    let mut columns = call("columns", Vec::new());
    if let Expr::Function(function) = &mut columns
        && let FunctionArguments::List(list) = &mut function.args
    {
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::WildcardWithOptions(options)));
    }
    columns
}

/// `struct_pack(a := 1)`.
pub(super) fn packed(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if simple_name(function)? != "struct_pack" {
        return None;
    }
    let mut arguments = Vec::new();
    for argument in &list.args {
        let (name, value) = match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                (name.value.clone(), value)
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value @ Expr::Identifier(name))) => {
                (name.value.clone(), value)
            }
            _ => return None,
        };
        arguments.push(text(&name));
        arguments.push(value.clone());
    }
    Some(call("named_struct", arguments))
}

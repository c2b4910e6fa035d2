//! Ranges of PostgreSQL in the syntax tree: `daterange(a, b) @> c`, `a && b`, `lower(int4range(1, 5))`.
//!
//! A range is a text to the engine, which other functions would take for any text. So it may stand where an
//! operator or a function of ranges takes it, and where it becomes a text; elsewhere it is refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, Statement, TimezoneInfo, visit_expressions,
};
use tidemill_core::{Error, ErrorKind, Result};

use crate::syntax::{call, cast, object_name, plain_arguments, simple_name, text};

/// A range that nothing has taken yet.
const ALONE: &str = "tidemill_range_alone";
const READ_ALONE: &str = "tidemill_range_read_alone";

/// What the values of a type of ranges are.
fn kind_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "int4range" => "int4",
        "int8range" => "int8",
        "numrange" => "num",
        "daterange" => "date",
        "tsrange" => "ts",
        "tstzrange" => "tstz",
        _ => return None,
    })
}

fn type_of(kind: &str) -> DataType {
    match kind {
        "int4" => DataType::Int(None),
        "int8" => DataType::BigInt(None),
        "num" => DataType::Numeric(datafusion::sql::sqlparser::ast::ExactNumberInfo::None),
        "date" => DataType::Date,
        "ts" => DataType::Timestamp(None, TimezoneInfo::None),
        _ => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
    }
}

/// A bound or a value as the text that ranges compare.
fn bound(value: &Expr, kind: &str) -> Expr {
    cast(cast(value.clone(), type_of(kind)), DataType::Varchar(None))
}

/// `daterange(a, b, '[]')`, and what is asked of a range.
pub(crate) fn of_call(function: &Function) -> Result<Option<Expr>> {
    let (Some(name), Some(arguments)) = (simple_name(function), plain_arguments(function)) else {
        return Ok(None);
    };
    if let Some(kind) = kind_of(&name) {
        let (lower, upper, form) = match arguments.as_slice() {
            [lower, upper] => (lower, upper, text("[)")),
            [lower, upper, form] => (lower, upper, form.clone()),
            _ => {
                return Err(Error::new(
                    ErrorKind::Query,
                    format!("`{name}` takes two bounds, and which of them are within"),
                ));
            }
        };
        let made = vec![text(kind), bound(lower, kind), bound(upper, kind), form];
        return Ok(Some(call(ALONE, made)));
    }
    let [range] = arguments.as_slice() else { return Ok(None) };
    let Some((range, kind)) = taken(range) else { return Ok(None) };
    Ok(match name.as_str() {
        "lower" | "upper" => {
            let found = call("tidemill_range_bound", vec![range, text(&name)]);
            Some(cast(found, type_of(&kind)))
        }
        "isempty" | "lower_inc" | "upper_inc" | "lower_inf" | "upper_inf" => {
            Some(call("tidemill_range_is", vec![range, text(&name)]))
        }
        _ => None,
    })
}

/// `'[1,5)'::int4range`, and a range as a text.
pub(crate) fn of_cast(value: &Expr, data_type: &DataType) -> Option<Expr> {
    if let DataType::Custom(name, arguments) = data_type
        && arguments.is_empty()
        && let Some(kind) = kind_of(&name.to_string().to_lowercase())
    {
        return Some(match taken(value) {
            Some(_) => value.clone(),
            None => call(READ_ALONE, vec![text(kind), value.clone()]),
        });
    }
    let is_text = matches!(data_type, DataType::Text | DataType::Varchar(None));
    let (range, _) = taken(value).filter(|_| is_text)?;
    Some(range)
}

/// Operators one side of which is a range.
pub(crate) fn of_operator(left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Option<Expr>> {
    let (one, two) = (taken(left), taken(right));
    if one.is_none() && two.is_none() {
        return Ok(None);
    }
    let asked = |name: &str, one: Expr, two: Expr| Ok(Some(call(name, vec![one, two])));
    match (op, one, two) {
        (BinaryOperator::PGOverlap, Some((one, _)), Some((two, _))) => {
            asked("tidemill_range_overlaps", one, two)
        }
        (BinaryOperator::AtArrow, Some((one, _)), Some((two, _))) => {
            asked("tidemill_range_covers", one, two)
        }
        (BinaryOperator::ArrowAt, Some((one, _)), Some((two, _))) => {
            asked("tidemill_range_covers", two, one)
        }
        (BinaryOperator::AtArrow, Some((range, kind)), None) => {
            asked("tidemill_range_has", range, bound(right, &kind))
        }
        (BinaryOperator::ArrowAt, None, Some((range, kind))) => {
            asked("tidemill_range_has", range, bound(left, &kind))
        }
        (BinaryOperator::Eq, Some((one, _)), Some((two, _))) => {
            Ok(Some(crate::syntax::equals(one, two)))
        }
        (BinaryOperator::NotEq, Some((one, _)), Some((two, _))) => {
            Ok(Some(crate::syntax::binary(one, BinaryOperator::NotEq, two)))
        }
        (op, ..) => Err(refused(&format!("`{op}` of a range"))),
    }
}

/// A range for what takes it, and what its values are.
fn taken(expr: &Expr) -> Option<(Expr, String)> {
    match expr {
        Expr::Nested(inner) => taken(inner),
        Expr::Function(function) => {
            let name = match simple_name(function)?.as_str() {
                ALONE => "tidemill_range",
                READ_ALONE => "tidemill_range_read",
                _ => return None,
            };
            let Expr::Value(kind) = plain_arguments(function)?.swap_remove(0) else { return None };
            let kind = kind.value.into_string()?;
            let mut function = function.clone();
            function.name = object_name(name);
            Some((Expr::Function(function), kind))
        }
        _ => None,
    }
}

fn refused(what: &str) -> Error {
    let message = format!("{what} is not supported here; keep its bounds in two columns");
    Error::new(ErrorKind::Unsupported, message)
}

/// An error where a range stands that nothing has taken.
pub(crate) fn refuse_alone(statement: &Statement) -> Result<()> {
    let alone = visit_expressions(statement, |expr| match expr {
        Expr::Function(function)
            if simple_name(function).is_some_and(|name| name == ALONE || name == READ_ALONE) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    match alone.is_break() {
        true => Err(refused("a range as a value")),
        false => Ok(()),
    }
}

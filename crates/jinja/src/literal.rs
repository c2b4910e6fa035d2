//! Python's `ast.literal_eval`: the value of a text that is a literal.

use crate::source::Source;
use crate::syntax::ast::{Expr, ExprKind};
use crate::syntax::parser;
use crate::types::set::Set;
use crate::value::{Dict, Value, negate, positive};

/// The value of a Python literal (`True`, `None`, numbers, strings, tuples, lists, dicts of
/// them), or `None` when the text is anything else.
pub fn literal_eval(text: &str) -> Option<Value> {
    let trimmed = text.trim_start_matches([' ', '\t']);
    // Jinja's own spellings are no Python: `true`, `none`.
    if matches!(trimmed.trim_end(), "true" | "false" | "none") {
        return None;
    }
    let source = Source::new("<literal>", trimmed);
    let expr = parser::parse_expression(&source).ok()?;
    value(&expr, &source)
}

fn value(expr: &Expr, source: &Source) -> Option<Value> {
    let items =
        |items: &[Expr]| items.iter().map(|item| value(item, source)).collect::<Option<Vec<_>>>();
    Some(match &expr.kind {
        ExprKind::Const(constant) => {
            let written = source.text().get(expr.loc.start as usize..expr.loc.end as usize)?;
            let stripped = written.trim_matches(['(', ')', ' ']);
            if matches!(stripped, "true" | "false" | "none") {
                return None;
            }
            constant.clone()
        }
        ExprKind::Tuple(parts) => Value::tuple(items(parts)?),
        ExprKind::List(parts) => Value::list(items(parts)?),
        ExprKind::Dict(entries) => {
            let dict = Dict::new();
            for (key, item) in entries {
                dict.insert(value(key, source)?, value(item, source)?).ok()?;
            }
            Value::Dict(dict)
        }
        ExprKind::Negative(inner) => number(negate(&value(inner, source)?).ok()?)?,
        ExprKind::Positive(inner) => number(positive(&value(inner, source)?).ok()?)?,
        ExprKind::Call(call) => match &call.callee.kind {
            ExprKind::Name(name) if &**name == "set" && call.args.exprs().next().is_none() => {
                Value::object(Set::default())
            }
            _ => return None,
        },
        _ => return None,
    })
}

fn number(value: Value) -> Option<Value> {
    matches!(value, Value::Int(_) | Value::Float(_)).then_some(value)
}

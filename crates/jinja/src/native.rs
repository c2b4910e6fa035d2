//! dbt's native environment: values of `{{ }}` in YAML keep their type.

use std::sync::Arc;

use crate::error::Error;
use crate::literal::literal_eval;
use crate::render::{self, Output};
use crate::source::Source;
use crate::state::State;
use crate::syntax::ast::Body;
use crate::value::{Marker, Value};

pub(crate) fn evaluate(
    body: &Body,
    source: &Arc<Source>,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let mut out = Output::native();
    render::run(body, source, state, &mut out)?;
    let mut pieces = out.into_pieces();
    if pieces.len() > 1 {
        let mut text = String::new();
        for piece in &pieces {
            text.push_str(&piece.to_string());
        }
        return Ok(Value::from(text));
    }
    let Some(raw) = pieces.pop() else { return Ok(Value::str("")) };
    let Value::Str(text) = &raw else { return Ok(raw) };
    let (wanted, is_right): (&str, fn(&Value) -> bool) = match text.marker {
        Marker::None => return Ok(raw),
        Marker::Text => return Ok(Value::str(text.as_str())),
        Marker::Native => ("", |_| true),
        Marker::Bool => ("bool", |value| matches!(value, Value::Bool(_))),
        Marker::Number => ("number", |value| matches!(value, Value::Int(_) | Value::Float(_))),
    };
    let value = literal_eval(text).unwrap_or_else(|| Value::str(text.as_str()));
    if is_right(&value) {
        return Ok(value);
    }
    Err(Error::runtime(format!("Could not convert value '{}' into type '{wanted}'", &**text)))
}

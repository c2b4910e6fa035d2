//! Where rendered text goes.

use crate::error::Error;
use crate::state::State;
use crate::value::{Value, push_str};

/// Text that grows in place, or (native) the separate values.
pub(crate) struct Output {
    text: String,
    pieces: Option<Vec<Value>>,
}

impl Output {
    pub(crate) fn text() -> Self {
        Self { text: String::new(), pieces: None }
    }

    pub(crate) fn native() -> Self {
        Self { text: String::new(), pieces: Some(Vec::new()) }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn into_pieces(self) -> Vec<Value> {
        self.pieces.unwrap_or_default()
    }

    pub(crate) fn write(&mut self, text: &str, state: &mut State<'_>) -> Result<(), Error> {
        match &mut self.pieces {
            Some(pieces) => {
                state.charge_text(text.len())?;
                pieces.push(Value::str(text));
                Ok(())
            }
            None => state.write(&mut self.text, text),
        }
    }

    pub(crate) fn emit(&mut self, value: &Value, state: &mut State<'_>) -> Result<(), Error> {
        if let Some(pieces) = &mut self.pieces {
            pieces.push(value.clone());
            return Ok(());
        }
        match value {
            Value::Str(text) => state.write(&mut self.text, text),
            Value::Undefined(_) => Ok(()),
            other => {
                let before = self.text.len();
                push_str(&mut self.text, other);
                let written = self.text.len() - before;
                state.wrote(written)
            }
        }
    }
}

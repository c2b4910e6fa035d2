//! Freeing values that are nested to any depth without recursion.

use std::cell::RefCell;

use super::Value;

#[derive(Default)]
struct Trash {
    pending: Vec<Value>,
    emptying: bool,
}

thread_local! {
    static TRASH: RefCell<Trash> = RefCell::default();
}

/// Whether freeing a value may free further ones.
pub(crate) fn holds_values(value: &Value) -> bool {
    !matches!(
        value,
        Value::Undefined(_)
            | Value::None
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Str(_)
    )
}

/// Frees the content of a container that is being dropped.
///
/// While one container is emptied, those within it only hand over their content, so a million
/// lists within one another take no more of the stack than one.
pub(crate) fn discard(values: impl IntoIterator<Item = Value>) {
    let mut values = values.into_iter().filter(holds_values).peekable();
    if values.peek().is_none() {
        return;
    }
    let mut own = Some(values);
    let first = TRASH.try_with(|trash| {
        let Ok(mut trash) = trash.try_borrow_mut() else { return false };
        trash.pending.extend(own.take().into_iter().flatten());
        !std::mem::replace(&mut trash.emptying, true)
    });
    // `Err`: the thread ends; what is left in `own` is freed as usual.
    if first != Ok(true) {
        return;
    }
    loop {
        // The value is dropped when nothing is borrowed.
        let next = TRASH.try_with(|trash| {
            let mut trash = trash.borrow_mut();
            let next = trash.pending.pop();
            trash.emptying = next.is_some();
            next
        });
        match next {
            Ok(Some(value)) => drop(value),
            _ => return,
        }
    }
}

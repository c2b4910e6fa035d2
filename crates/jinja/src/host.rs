//! What the caller of a render supplies.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::macros::Macro;
use crate::state::State;
use crate::value::Value;

/// The world of a render: names that are not local, the clock, randomness.
///
/// Names are looked up late and in this order: local variables and macros of the template,
/// [`Host::lookup`], this crate's own functions (`range`, `dict`, `namespace`, `modules`, ...).
pub trait Host {
    /// The value of a free name, or `None` when the host does not have it.
    ///
    /// [`State::package`] is the package of the macro (or template) in which the name stands.
    fn lookup(&self, name: &str, state: &State<'_>) -> Option<Value>;

    /// A macro is about to be called: its arguments are there, and [`State::frames`] are those of
    /// the caller. For a host that records what a render calls, and in which order.
    fn called(&self, _called: &Arc<Macro>, _state: &State<'_>) {}

    /// The clock of `modules.datetime.datetime.now()` and its like. A host that records what
    /// a render depends on overrides this.
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    /// The offset in seconds east of UTC that stands for "local time" in `datetime.now()`.
    fn local_offset_seconds(&self) -> i32 {
        0
    }

    /// A number below `below` for the filter `random`. A host that records what a render
    /// depends on overrides this.
    fn random(&self, below: usize) -> usize {
        let nanos = u64::try_from(self.now().timestamp_nanos_opt().unwrap_or(0)).unwrap_or(0);
        let mixed = nanos.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        if below == 0 { 0 } else { (mixed % below as u64) as usize }
    }
}

/// A host without names: only this crate's own functions exist.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl Host for NoHost {
    fn lookup(&self, _name: &str, _state: &State<'_>) -> Option<Value> {
        None
    }
}

impl<F: Fn(&str) -> Option<Value>> Host for F {
    fn lookup(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self(name)
    }
}

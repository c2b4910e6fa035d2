//! What the crate promises, seen from outside.

mod analysis;
mod budget;
mod differential;
mod errors;
mod host;
mod native;
mod properties;
mod support;
mod values;

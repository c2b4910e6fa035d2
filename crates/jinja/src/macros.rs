//! Macros as values.

use std::sync::Arc;

use crate::render::Scope;
use crate::source::Span;
use crate::syntax::ast::{MacroDef, MacroKind};

/// A macro that can be called from any render.
///
/// It holds its tree and the name of its package; free names in it are looked up through the
/// host of the render that calls it, with [`State::package`](crate::State::package) set to this
/// package.
pub struct Macro {
    pub(crate) def: Arc<MacroDef>,
    pub(crate) package: Arc<str>,
    /// The variables around the place where the macro was defined while rendering.
    pub(crate) around: Option<Arc<Scope>>,
}

impl Macro {
    pub(crate) fn new(def: Arc<MacroDef>, package: Arc<str>, around: Option<Arc<Scope>>) -> Self {
        Self { def, package, around }
    }

    /// The name it is found by (`test_x` for a test, `materialization_x_default`).
    pub fn name(&self) -> &Arc<str> {
        &self.def.name
    }

    /// The package it belongs to.
    pub fn package(&self) -> &Arc<str> {
        &self.package
    }

    /// Names of the parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.def.parameters.iter().map(|parameter| &parameter.name)
    }

    /// Whether it uses `caller`, `varargs` or `kwargs`, in this order.
    pub fn catches(&self) -> (bool, bool, bool) {
        (self.def.uses_caller, self.def.uses_varargs, self.def.uses_kwargs)
    }

    /// The whole block.
    pub fn span(&self) -> Span {
        Span::at(&self.def.source, self.def.loc)
    }

    pub(crate) fn is_caller(&self) -> bool {
        self.def.kind == MacroKind::Caller
    }

    pub(crate) fn same_as(&self, other: &Macro) -> bool {
        Arc::ptr_eq(&self.def, &other.def)
    }
}

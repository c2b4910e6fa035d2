//! The running render, as macros, objects and native functions see it.

use std::sync::Arc;

use crate::budget::Budget;
use crate::error::{Error, ErrorKind, Frame};
use crate::host::Host;
use crate::source::{Loc, Source, Span};
use crate::value::Value;

/// A render in progress: its host, its package, its macro stack and what is left of its budget.
pub struct State<'h> {
    host: &'h dyn Host,
    budget: Budget,
    steps_left: u64,
    bytes_written: usize,
    pub(crate) package: Arc<str>,
    pub(crate) source: Arc<Source>,
    /// The expression that is being called, for the frames of an error.
    pub(crate) call_site: Option<(Arc<Source>, Loc)>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) native: bool,
}

impl<'h> State<'h> {
    /// A state that belongs to no template: for calling macros and methods from outside.
    pub fn new(host: &'h dyn Host, package: impl Into<Arc<str>>, budget: Budget) -> Self {
        Self::with_source(host, package.into(), budget, Source::new("<host>", ""))
    }

    pub(crate) fn with_source(
        host: &'h dyn Host,
        package: Arc<str>,
        budget: Budget,
        source: Arc<Source>,
    ) -> Self {
        Self {
            host,
            budget,
            steps_left: budget.steps,
            bytes_written: 0,
            package,
            source,
            call_site: None,
            frames: Vec::new(),
            native: false,
        }
    }

    /// The host.
    pub fn host(&self) -> &'h dyn Host {
        self.host
    }

    /// The package of the running macro, or of the template outside of macros.
    pub fn package(&self) -> &Arc<str> {
        &self.package
    }

    /// The name of the running macro; `None` outside of macros.
    pub fn macro_name(&self) -> Option<&Arc<str>> {
        self.frames.last().map(|frame| &frame.name)
    }

    /// The running macros, outermost first.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Where the call that is being carried out stands.
    pub fn call_span(&self) -> Option<Span> {
        self.call_site.as_ref().map(|(source, loc)| Span::at(source, *loc))
    }

    /// Whether values keep their type (see [`Template::eval_native`](crate::Template::eval_native)).
    pub fn is_native(&self) -> bool {
        self.native
    }

    /// The budget of this render.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Takes `count` steps from the budget.
    pub fn charge(&mut self, count: u64) -> Result<(), Error> {
        match self.steps_left.checked_sub(count) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => {
                self.steps_left = 0;
                Err(self.out_of_steps())
            }
        }
    }

    #[cold]
    fn out_of_steps(&self) -> Error {
        Error::new(
            ErrorKind::Budget,
            format!("the template was stopped after {} steps", self.budget.steps),
        )
        .with_hint("does a loop or a macro repeat without end?")
    }

    #[inline]
    pub(crate) fn tick(&mut self) -> Result<(), Error> {
        if self.steps_left == 0 {
            return Err(self.out_of_steps());
        }
        self.steps_left -= 1;
        Ok(())
    }

    /// To be called before a string of `length` bytes is made: refuses one that is too long
    /// and takes its share of the budget.
    pub fn charge_text(&mut self, length: usize) -> Result<(), Error> {
        if length > self.budget.output_bytes {
            return Err(self.too_much_text());
        }
        self.charge(length as u64 / 64)
    }

    /// To be called before `count` values are put in a collection.
    pub fn charge_items(&mut self, count: usize) -> Result<(), Error> {
        self.charge(count as u64)
    }

    #[cold]
    fn too_much_text(&self) -> Error {
        Error::new(
            ErrorKind::Budget,
            format!("the template makes more than {} bytes of text", self.budget.output_bytes),
        )
        .with_hint("does a loop write without end?")
    }

    pub(crate) fn write(&mut self, out: &mut String, text: &str) -> Result<(), Error> {
        self.wrote(text.len())?;
        out.push_str(text);
        Ok(())
    }

    pub(crate) fn wrote(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes_written = self.bytes_written.saturating_add(bytes);
        if self.bytes_written > self.budget.output_bytes {
            return Err(self.too_much_text());
        }
        Ok(())
    }

    /// Asks the host for a name.
    pub fn lookup(&self, name: &str) -> Option<Value> {
        self.host.lookup(name, self)
    }
}

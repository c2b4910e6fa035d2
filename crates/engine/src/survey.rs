//! What can be said of a query without knowing any table.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, ObjectNamePart, Visit, Visitor};
use tidemill_core::Result;

use crate::engine::EmbeddedEngine;
use crate::parse::parse_query;
use crate::rewrite::rewrite;

/// Words that are called like functions and are none of the registry's.
const PLANNED: &[&str] = &["unnest", "grouping", "any", "all", "some", "exists", "row", "struct"];

impl EmbeddedEngine {
    /// The functions that a query calls and that are not there, by name. Columns and types are not
    /// looked at.
    ///
    /// # Errors
    /// What the query has that is refused whatever its tables are: its syntax, and clauses that would
    /// not be carried out.
    pub fn missing_functions(&self, sql: &str) -> Result<BTreeSet<String>> {
        let mut statement = parse_query(sql)?;
        rewrite(&mut statement)?;
        let state = self.template();
        let known = |name: &str| {
            PLANNED.contains(&name)
                || state.scalar_functions().contains_key(name)
                || state.aggregate_functions().contains_key(name)
                || state.window_functions().contains_key(name)
        };
        let mut finder = Finder { missing: BTreeSet::new(), known: &known };
        let _ = statement.visit(&mut finder);
        Ok(finder.missing)
    }
}

struct Finder<'k> {
    missing: BTreeSet<String>,
    known: &'k dyn Fn(&str) -> bool,
}

impl Visitor for Finder<'_> {
    type Break = Infallible;

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Infallible> {
        if let Expr::Function(function) = expr
            && let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice()
        {
            let folded = match name.quote_style {
                Some(_) => name.value.clone(),
                None => name.value.to_lowercase(),
            };
            if !(self.known)(&folded) {
                self.missing.insert(folded);
            }
        }
        ControlFlow::Continue(())
    }
}

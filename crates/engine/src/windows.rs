//! Named windows: `over (w rows between …)` is the window `w` with a frame of its own. The planner
//! would leave the name out of account.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, Query, Select, SetExpr, Statement,
    VisitMut, VisitorMut, WindowSpec, WindowType, visit_expressions_mut,
};
use tidemill_core::{Error, ErrorKind, Result};

use crate::names::folded;

/// Puts the definitions in the place of the names, in a whole statement.
pub(crate) fn settle_windows(statement: &mut Statement) -> Result<()> {
    match VisitMut::visit(statement, &mut Windows) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Windows;

impl VisitorMut for Windows {
    type Break = Error;

    /// Innermost first: a name of an inner query is gone when the outer one is looked at.
    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if select.named_window.is_empty() {
            return ControlFlow::Continue(());
        }
        match definitions(&select.named_window) {
            Ok(known) => settle(select, &known),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let SetExpr::Select(select) = query.body.as_ref() else {
            return ControlFlow::Continue(());
        };
        let (Some(order_by), false) = (&mut query.order_by, select.named_window.is_empty()) else {
            return ControlFlow::Continue(());
        };
        match definitions(&select.named_window) {
            Ok(known) => settle(order_by, &known),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn definitions(named: &[NamedWindowDefinition]) -> Result<HashMap<String, WindowSpec>> {
    let mut known: HashMap<String, WindowSpec> = HashMap::new();
    for NamedWindowDefinition(name, definition) in named {
        let spec = match definition {
            NamedWindowExpr::NamedWindow(other) => of(&known, other)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => {
                let mut spec = spec.clone();
                complete(&mut spec, &known)?;
                spec
            }
        };
        known.insert(folded(name), spec);
    }
    Ok(known)
}

fn settle<V: VisitMut>(part: &mut V, known: &HashMap<String, WindowSpec>) -> ControlFlow<Error> {
    visit_expressions_mut(part, |expr| {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let settled = match &mut function.over {
            Some(WindowType::NamedWindow(name)) => of(known, name).cloned().map(|spec| {
                function.over = Some(WindowType::WindowSpec(spec));
            }),
            Some(WindowType::WindowSpec(spec)) => complete(spec, known),
            None => Ok(()),
        };
        match settled {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    })
}

fn of<'a>(known: &'a HashMap<String, WindowSpec>, name: &Ident) -> Result<&'a WindowSpec> {
    known.get(&folded(name)).ok_or_else(|| {
        Error::new(ErrorKind::Query, format!("window `{}` does not exist", name.value))
            .with("line", name.span.start.line)
            .with("column", name.span.start.column)
    })
}

/// What a window takes over from the one that it names.
fn complete(spec: &mut WindowSpec, known: &HashMap<String, WindowSpec>) -> Result<()> {
    let Some(name) = spec.window_name.take() else { return Ok(()) };
    let base = of(known, &name)?;
    if !spec.partition_by.is_empty() {
        return Err(Error::new(
            ErrorKind::Query,
            format!("`partition by` of the window `{}` cannot be changed", name.value),
        ));
    }
    spec.partition_by = base.partition_by.clone();
    if !base.order_by.is_empty() {
        if !spec.order_by.is_empty() {
            return Err(Error::new(
                ErrorKind::Query,
                format!("`order by` of the window `{}` cannot be changed", name.value),
            ));
        }
        spec.order_by = base.order_by.clone();
    }
    if base.window_frame.is_some() && spec.window_frame.is_none() {
        spec.window_frame = base.window_frame.clone();
    }
    Ok(())
}

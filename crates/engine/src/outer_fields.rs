//! `(select max(x) from unnest(t.device.values) x)`: a field of a struct of the outer row, which the planner
//! knows in queries of their own rows alone. It says so, and the field becomes a call.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, Statement, VisitMut, VisitorMut,
};

use crate::names::folded;
use crate::syntax::{call, text};

/// How the planner says it; the column stands behind it.
const SAYS: &str = "Nested identifiers are not yet supported for OuterReferenceColumn ";

/// Writes the fields of the column that the error names as calls. `false` where it says another thing.
pub(crate) fn reach(statement: &mut Statement, error: &DataFusionError) -> bool {
    let Some(column) = column_of(error) else { return false };
    let mut fields = Fields { column, changed: false };
    // It never breaks off.
    let _ = VisitMut::visit(statement, &mut fields);
    fields.changed
}

/// The column's name, and that of its relation behind it.
fn column_of(error: &DataFusionError) -> Option<Vec<String>> {
    let mut error = error;
    loop {
        match error {
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
                error = inner;
            }
            DataFusionError::Collection(all) => error = all.first()?,
            DataFusionError::NotImplemented(message) => {
                let (_, name) = message.split_once(SAYS)?;
                return parts(name.lines().next().unwrap_or(name));
            }
            _ => return None,
        }
    }
}

/// The parts of a name that is written with points and quotes, the last one first.
fn parts(name: &str) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    let mut letters = name.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => all.last_mut()?.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => all.push(String::new()),
            letter => all.last_mut()?.push(letter),
        }
    }
    all.reverse();
    Some(all)
}

struct Fields {
    column: Vec<String>,
    changed: bool,
}

impl Fields {
    /// How many words name the column, before the first of its fields.
    fn reaches(&self, words: &[Ident]) -> Option<usize> {
        (1..words.len()).find(|count| {
            let own = words[..*count].iter().rev().map(folded);
            own.zip(&self.column).filter(|(word, part)| word == *part).count() == *count
        })
    }

    fn written(&self, expr: &Expr) -> Option<(Expr, Ident)> {
        let Expr::CompoundIdentifier(words) = expr else { return None };
        let count = self.reaches(words)?;
        let (column, fields) = words.split_at(count);
        let whole = match column {
            [one] => Expr::Identifier(one.clone()),
            several => Expr::CompoundIdentifier(several.to_vec()),
        };
        let reached = fields
            .iter()
            .fold(whole, |reached, field| call("get_field", vec![reached, text(&folded(field))]));
        Some((reached, fields.last()?.clone()))
    }
}

impl VisitorMut for Fields {
    type Break = std::convert::Infallible;

    /// The column of a result keeps its name.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some((expr, alias)) = self.written(expr)
            {
                *item = SelectItem::ExprWithAlias { expr, alias };
                self.changed = true;
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Some((written, _)) = self.written(expr) {
            *expr = written;
            self.changed = true;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart() {
        assert_eq!(parts("t.device").unwrap(), ["device", "t"]);
        assert_eq!(parts("\"a.b\".\"C\"\"d\"").unwrap(), ["C\"d", "a.b"]);
    }
}

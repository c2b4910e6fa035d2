//! Nodes that are written in another system's SQL.

use tidemill_core::{Diagnostic, Diagnostics, Error, SourcePosition, SqlDialect};

use super::state::RenderState;
use crate::manifest::Node;
use crate::world::World;

/// A node with a `dialect`, or one of a project that was made for another system.
pub(super) struct Written<'a> {
    node: &'a Node,
    dialect: SqlDialect,
    /// Nobody said what it is written in.
    presumed: bool,
}

impl<'a> Written<'a> {
    /// `None` for a node in the engine's own SQL.
    pub(super) fn of(node: &'a Node, world: &World) -> Option<Self> {
        match node.config.dialect {
            Some(SqlDialect::Postgres) => None,
            Some(dialect) => Some(Written { node, dialect, presumed: false }),
            None => Some(Written { node, dialect: world.presumed_dialect()?, presumed: true }),
        }
    }

    /// Its rendered SQL in the SQL that runs; `None` where that is the same text.
    pub(super) fn translated(
        &self,
        sql: &str,
        state: &RenderState,
    ) -> Result<Option<String>, Diagnostics> {
        let fail = |error| [self.diagnostic(sql, &error)].into_iter().collect();
        if self.presumed {
            let adapted = state.warehouse.adapt(sql, self.dialect).map_err(fail)?;
            return Ok((adapted != sql).then_some(adapted));
        }
        if sql.trim().is_empty() {
            return Ok(Some(sql.to_owned()));
        }
        state.warehouse.translate(sql, self.dialect).map(Some).map_err(fail)
    }

    fn diagnostic(&self, sql: &str, error: &Error) -> Diagnostic {
        let number = |wanted: &str| -> Option<usize> {
            let found = error.context().iter().find(|(name, _)| *name == wanted)?;
            found.1.to_string().parse().ok()
        };
        let what = format!(
            "{} `{}` ({}): {}",
            self.node.resource_type,
            self.node.name,
            self.dialect,
            error.message()
        );
        let diagnostic = Diagnostic::error("dialect", what);
        let Some(line) = number("line") else {
            return diagnostic.in_file(&self.node.original_file_path);
        };
        match self.place(sql, line, number("column").unwrap_or(1)) {
            Some(position) => diagnostic.at(position),
            None => diagnostic.in_file(&self.node.original_file_path).label(format!(
                "line {line} of the compiled SQL, which a template made: {}",
                sql.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim()
            )),
        }
    }

    /// Where a line of the rendered text stands in the file: at the same place, or where the only line
    /// is that says the same. A line that a template made stands nowhere.
    fn place(&self, sql: &str, line: usize, column: usize) -> Option<SourcePosition> {
        let wanted = sql.lines().nth(line.checked_sub(1)?)?;
        let position = &self.node.position;
        let lines: Vec<&str> = position.text.split_inclusive('\n').collect();
        let same =
            |index: &usize| lines.get(*index).is_some_and(|found| found.trim() == wanted.trim());
        let index = Some(line - 1).filter(same).or_else(|| {
            let mut all = (0..lines.len()).filter(same);
            all.next().filter(|_| all.next().is_none())
        })?;
        let begin: usize = lines[..index].iter().map(|line| line.len()).sum();
        let indent = |line: &str| line.chars().take_while(|letter| letter.is_whitespace()).count();
        let shift = indent(lines[index]) as isize - indent(wanted) as isize;
        let letters = column.saturating_sub(1).checked_add_signed(shift).unwrap_or_default();
        let bytes: usize = lines[index].chars().take(letters).map(char::len_utf8).sum();
        let word: usize = lines[index][bytes..]
            .chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .map(char::len_utf8)
            .sum();
        let start = begin + bytes;
        Some(SourcePosition { start, end: start + word.max(1), ..position.clone() })
    }
}

//! `with` inside `with`: an inner name may hide an outer one in PostgreSQL, but the planner refuses
//! a name that is there already. Inner names that occur more than once in a statement are made
//! unique; what refers to them keeps its old name as an alias, so that columns resolve as before.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, Ident, ObjectName, ObjectNamePart, Query, Statement, TableAlias, TableFactor, Visit,
    VisitMut, Visitor, VisitorMut, With,
};

use crate::names::folded;

/// Makes hidden names unique.
pub(crate) fn separate_names(statement: &mut Statement) {
    let mut counted = Count::default();
    // The visitor never breaks off.
    let _ = Visit::visit(statement, &mut counted);
    if counted.0.values().all(|count| *count < 2) {
        return;
    }
    let _ = VisitMut::visit(statement, &mut Separate { counts: counted.0, depth: 0, made: 0 });
}

/// How often each name is given.
#[derive(Default)]
struct Count(HashMap<String, usize>);

impl Visitor for Count {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            *self.0.entry(folded(&cte.alias.name)).or_default() += 1;
        }
        ControlFlow::Continue(())
    }
}

/// Renames, innermost queries first: what is inside has unique names when its turn comes, so that
/// nothing is captured.
struct Separate {
    counts: HashMap<String, usize>,
    depth: usize,
    made: usize,
}

impl VisitorMut for Separate {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        if self.depth == 0 {
            return ControlFlow::Continue(());
        }
        let Query { with: Some(with), body, order_by, .. } = query else {
            return ControlFlow::Continue(());
        };
        for index in 0..with.cte_tables.len() {
            let name = folded(&with.cte_tables[index].alias.name);
            if self.counts.get(&name).is_none_or(|count| *count < 2) {
                continue;
            }
            self.made += 1;
            let new = Ident::with_quote('"', format!("{name} ({})", self.made));
            let mut rename = Rename { from: name, to: new.clone() };
            with.cte_tables[index].alias.name = new;
            // A plain `with` is not visible in its own query.
            let first = if with.recursive { index } else { index + 1 };
            for later in &mut with.cte_tables[first..] {
                let _ = VisitMut::visit(&mut later.query, &mut rename);
            }
            let _ = VisitMut::visit(body, &mut rename);
            let _ = VisitMut::visit(order_by, &mut rename);
        }
        ControlFlow::Continue(())
    }
}

struct Rename {
    from: String,
    to: Ident,
}

impl VisitorMut for Rename {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, args: None, .. } = table
            && let [ObjectNamePart::Identifier(ident)] = name.0.as_slice()
            && folded(ident) == self.from
        {
            if alias.is_none() {
                *alias = Some(TableAlias {
                    explicit: true,
                    name: ident.clone(),
                    columns: Vec::new(),
                    at: None,
                });
            }
            *name = ObjectName::from(vec![self.to.clone()]);
        }
        ControlFlow::Continue(())
    }
}

/// Adds a relation that `with` names to those that are named above.
pub(crate) fn name_above(
    known: &mut Option<With>,
    with: &AttachedToken,
    recursive: bool,
    table: &Cte,
) {
    let known = known.get_or_insert_with(|| With {
        with_token: with.clone(),
        recursive,
        cte_tables: Vec::new(),
    });
    known.cte_tables.push(table.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_query;

    #[test]
    fn inner_names_hide_outer_ones() {
        for (sql, expected) in [
            ("WITH a AS (SELECT 1) SELECT * FROM a", "WITH a AS (SELECT 1) SELECT * FROM a"),
            (
                "WITH a AS (SELECT 1), b AS (WITH a AS (SELECT * FROM a) SELECT a.x FROM a) SELECT * FROM a, b",
                "WITH a AS (SELECT 1), b AS (WITH \"a (1)\" AS (SELECT * FROM a) SELECT a.x FROM \"a (1)\" AS a) SELECT * FROM a, b",
            ),
        ] {
            let mut statement = parse_query(sql).unwrap();
            separate_names(&mut statement);
            assert_eq!(statement.to_string(), expected);
        }
    }
}

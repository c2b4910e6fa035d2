//! `except all` and `intersect all`: a row that is there several times counts as often as it is.
//!
//! ```sql
//! a except all b
//! select * exclude (copy) from (
//!     select *, row_number() over (partition by *) as copy from (a)
//!     except
//!     select *, row_number() over (partition by *) as copy from (b))
//! ```
//!
//! The first, second, … of equal rows are told apart by a number, so that no two rows are equal. Which
//! columns there are is known when the window is planned (`columns`).

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, ObjectName, Query, SelectItem, SetExpr, SetOperator,
    SetQuantifier, TableAlias, TableFactor, TableWithJoins, WildcardAdditionalOptions, WindowSpec,
    WindowType,
};

use crate::columns::ALL_COLUMNS;
use crate::syntax::{call, query_of, select_from};

/// The number of a row among those that are equal.
const COPY: &str = "tidemill copy";

/// Writes the operation with rows that are told apart, where it counts them.
pub(crate) fn count_copies(node: &mut SetExpr) {
    let SetExpr::SetOperation { left, op, set_quantifier, right } = node else { return };
    let counts = *set_quantifier == SetQuantifier::All
        && matches!(op, SetOperator::Except | SetOperator::Intersect | SetOperator::Minus);
    if !counts {
        return;
    }
    let operation = SetExpr::SetOperation {
        op: *op,
        set_quantifier: SetQuantifier::None,
        left: Box::new(numbered(left.as_ref().clone())),
        right: Box::new(numbered(right.as_ref().clone())),
    };
    let copy = ObjectName::from(vec![Ident::with_quote('"', COPY)]);
    let without = WildcardAdditionalOptions {
        opt_exclude: Some(ExcludeSelectItem::Multiple(vec![copy])),
        ..WildcardAdditionalOptions::default()
    };
    *node = *from(operation, vec![SelectItem::Wildcard(without)]).body;
}

fn numbered(body: SetExpr) -> SetExpr {
    let mut number = call("row_number", Vec::new());
    if let Expr::Function(function) = &mut number {
        function.over = Some(WindowType::WindowSpec(WindowSpec {
            window_name: None,
            partition_by: vec![call(ALL_COLUMNS, Vec::new())],
            order_by: Vec::new(),
            window_frame: None,
        }));
    }
    let copy = SelectItem::ExprWithAlias { expr: number, alias: Ident::with_quote('"', COPY) };
    *from(body, vec![SelectItem::Wildcard(WildcardAdditionalOptions::default()), copy]).body
}

fn from(body: SetExpr, items: Vec<SelectItem>) -> Query {
    let relation = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query_of(body)),
        alias: Some(TableAlias {
            explicit: true,
            name: Ident::with_quote('"', "tidemill rows"),
            columns: Vec::new(),
            at: None,
        }),
        sample: None,
    };
    select_from(items, vec![TableWithJoins { relation, joins: Vec::new() }], None)
}

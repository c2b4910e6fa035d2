//! Where the planner takes a name for another thing than PostgreSQL does, or two for one.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, TableWithJoins,
    Value, VisitMut, VisitorMut, visit_expressions, visit_expressions_mut,
};

use crate::names::{folded, relation_name};
use crate::rows_from::{field_of_rows, unnested};
use crate::syntax::{call, change_outside_queries, simple_name, text};

/// In an expression of `order by`, a name is a column that is read and not one of the result: only a
/// bare name can be that. The planner looks at the result first.
pub(crate) fn order_by_inputs(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let [TableWithJoins { relation, joins }] = select.from.as_slice() else { return };
    let Some(relation) = relation_name(relation).filter(|_| joins.is_empty()) else { return };
    // Results that hide a column of their own name.
    let hiding: Vec<String> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if !matches!(expr, Expr::Identifier(_)) => {
                mentions(expr, &folded(alias)).then(|| folded(alias))
            }
            _ => None,
        })
        .collect();
    let Some(OrderBy { kind: OrderByKind::Expressions(columns), .. }) = &mut query.order_by else {
        return;
    };
    if hiding.is_empty() {
        return;
    }
    for column in columns {
        if matches!(column.expr, Expr::Identifier(_)) {
            continue;
        }
        let _ = visit_expressions_mut(&mut column.expr, |expr| {
            if let Expr::Identifier(name) = expr
                && hiding.contains(&folded(name))
            {
                *expr = Expr::CompoundIdentifier(vec![relation.clone(), name.clone()]);
            }
            ControlFlow::<()>::Continue(())
        });
    }
}

pub(crate) fn mentions(expr: &Expr, wanted: &str) -> bool {
    visit_expressions(expr, |expr| match expr {
        Expr::Identifier(name) if folded(name) == wanted => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// The planner names `sum(x)` and `sum(x::numeric)` alike. Where one `select` has both, the casts
/// are named.
pub(crate) fn tell_casts_apart(select: &mut Select) {
    let mut forms: HashMap<String, HashSet<String>> = HashMap::new();
    let mut note = |expr: &Expr| {
        let mut bare = expr.clone();
        let _ = visit_expressions_mut(&mut bare, |expr| {
            while let Expr::Cast { expr: inner, .. } | Expr::Nested(inner) = expr {
                let null = Expr::Value(Value::Null.with_empty_span());
                let inner = std::mem::replace(inner.as_mut(), null);
                *expr = inner;
            }
            ControlFlow::<()>::Continue(())
        });
        forms.entry(bare.to_string()).or_default().insert(expr.to_string());
    };
    let mut casts = 0;
    let mut calls = 0;
    let _ = visit_expressions(&*select, |expr| {
        match expr {
            Expr::Cast { .. } => casts += 1,
            Expr::Function(_) => calls += 1,
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    if casts == 0 || calls + casts < 2 {
        return;
    }
    let _ = visit_expressions(&*select, |expr| {
        if matches!(expr, Expr::Function(_)) {
            note(expr);
        }
        ControlFlow::<()>::Continue(())
    });
    if let GroupByExpr::Expressions(columns, _) = &select.group_by {
        columns.iter().for_each(&mut note);
    }
    let clashing: HashSet<String> =
        forms.into_values().filter(|forms| forms.len() > 1).flatten().collect();
    if clashing.is_empty() {
        return;
    }
    let _ = visit_expressions_mut(select, |expr| {
        if clashing.contains(&expr.to_string()) {
            let _ = visit_expressions_mut(expr, |expr| {
                if let Expr::Cast { data_type, .. } = expr {
                    let name = text(&data_type.to_string());
                    let named = call(crate::functions::TYPED, vec![expr.clone(), name]);
                    *expr = named;
                }
                ControlFlow::<()>::Continue(())
            });
        }
        ControlFlow::<()>::Continue(())
    });
}

/// `select date_trunc('day', generate_series(a, b, c))` gives a row for each day, where the function gives an
/// array.
pub(crate) fn unnest_series(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            change_outside_queries(expr, |expr| {
                if let Some(rows) = field_of_rows(expr) {
                    *expr = rows;
                }
            });
            // Nothing is refused here.
            let _ = VisitMut::visit(expr, &mut Rows { closed: 0 });
        }
    }
}

/// Puts rows in the place of functions that give them, outside of inner queries and of what takes an
/// array.
struct Rows {
    closed: usize,
}

fn takes_arrays(expr: &Expr) -> bool {
    const PREFIXES: [&str; 4] = ["array_", "list_", "tidemill_", "unnest"];
    const NAMES: [&str; 5] = ["arrow_cast", "cardinality", "flatten", "len", "to_json"];
    match expr {
        Expr::Function(function) => {
            let name = simple_name(function).unwrap_or_default();
            PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name.as_str())
        }
        Expr::CompoundFieldAccess { .. } | Expr::AnyOp { .. } | Expr::AllOp { .. } => true,
        _ => false,
    }
}

impl VisitorMut for Rows {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.closed += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.closed -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        self.closed += usize::from(takes_arrays(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        self.closed -= usize::from(takes_arrays(expr));
        if self.closed == 0
            && let Expr::Function(function) = &*expr
            && let Some(rows) = unnested(function)
        {
            *expr = rows;
        }
        ControlFlow::Continue(())
    }
}

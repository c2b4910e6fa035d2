//! Where the planner takes a name for another thing than PostgreSQL does, or two for one.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, TableWithJoins,
    Value, visit_expressions, visit_expressions_mut,
};

use crate::names::{folded, relation_name};
use crate::rows_from::unnested;
use crate::syntax::{call, text};

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
            while let Expr::Cast { expr: inner, .. } = expr {
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

/// `select generate_series(1, 3)` gives rows, where the function gives an array.
pub(crate) fn unnest_series(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let place = match expr {
                Expr::Cast { expr: inner, .. } => inner.as_mut(),
                other => other,
            };
            if let Expr::Function(function) = &*place
                && let Some(rows) = unnested(function)
            {
                *place = rows;
            }
        }
    }
}

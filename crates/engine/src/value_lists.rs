//! `values (date '2024-01-01'), ('2024-01-02')`: a literal in a list of values has the type that another row
//! says, as in PostgreSQL and DuckDB. The planner wants one type in each row.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Query, SetExpr, TypedString, Value, Values,
};

use crate::syntax::cast_as;

/// Casts the texts of a list of values to the type that their column has in another row.
pub(crate) fn settle(query: &mut Query) {
    let SetExpr::Values(Values { rows, .. }) = &mut *query.body else { return };
    let width = rows.iter().map(|row| row.content.len()).max().unwrap_or(0);
    for column in 0..width {
        let cells = || rows.iter().filter_map(|row| row.content.get(column));
        if !cells().any(is_text) {
            continue;
        }
        let Some(wanted) = cells().find_map(said_type).cloned() else { continue };
        for cell in rows.iter_mut().filter_map(|row| row.content.get_mut(column)) {
            if is_text(cell) {
                *cell = cast_as(CastKind::Cast, cell.clone(), wanted.clone());
            }
        }
    }
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

/// The type that stands in the expression.
fn said_type(expr: &Expr) -> Option<&DataType> {
    match expr {
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, data_type, .. }
        | Expr::TypedString(TypedString { data_type, .. }) => Some(data_type),
        Expr::Nested(inner) => said_type(inner),
        _ => None,
    }
}

//! Pieces of syntax trees, made and looked at.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, JoinConstraint, JoinOperator,
    ObjectName, ObjectNamePart, Query, Select, SelectFlavor, SelectItem, SetExpr, Statement,
    TableWithJoins, UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut,
    visit_expressions_mut,
};

/// Changes the parts of an expression, innermost first, and leaves those of inner queries alone.
pub(crate) fn change_outside_queries(expr: &mut Expr, change: impl FnMut(&mut Expr)) {
    struct Outside<F> {
        depth: usize,
        change: F,
    }
    impl<F: FnMut(&mut Expr)> VisitorMut for Outside<F> {
        type Break = Infallible;

        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Infallible> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Infallible> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
            if self.depth == 0 {
                (self.change)(expr);
            }
            ControlFlow::Continue(())
        }
    }
    // It never breaks off.
    let _ = VisitMut::visit(expr, &mut Outside { depth: 0, change });
}

pub(crate) fn object_name(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::new(name)])
}

pub(crate) fn argument(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

/// A call of this name is a function of its first arguments; the last is what it gives.
pub(crate) const LAMBDA: &str = "tidemill_lambda";

pub(crate) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: object_name(name),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(argument).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

pub(crate) fn number(value: u64) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).with_empty_span())
}

pub(crate) fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).with_empty_span())
}

/// Before a tree becomes text: the parser's library writes `''` and `\'` within a text as they are,
/// as if they had been escaped already, so every quote is put down twice.
pub(crate) fn keep_quotes(statement: &mut Statement) {
    let double = |value: &mut Value| {
        if let Value::SingleQuotedString(text) = value
            && text.contains('\'')
        {
            *text = text.replace('\'', "''");
        }
    };
    let _ = visit_expressions_mut(statement, |expr| {
        match expr {
            Expr::Value(value) => double(&mut value.value),
            Expr::TypedString(typed) => double(&mut typed.value.value),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
}

pub(crate) fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

pub(crate) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(nested(left)), op, right: Box::new(nested(right)) }
}

pub(crate) fn equals(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::Eq, right)
}

pub(crate) fn divide(left: Expr, right: Expr) -> Expr {
    nested(binary(left, BinaryOperator::Divide, right))
}

/// 0, or NULL when the value is NULL, in the value's type.
pub(crate) fn case_of_null(value: &Expr) -> Expr {
    nested(binary(value.clone(), BinaryOperator::Multiply, number(0)))
}

pub(crate) fn at_zone(value: &Expr, zone: &Expr) -> Expr {
    call("timezone", vec![zone.clone(), value.clone()])
}

pub(crate) fn cast(expr: Expr, data_type: DataType) -> Expr {
    cast_as(CastKind::Cast, expr, data_type)
}

pub(crate) fn cast_as(kind: CastKind, expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None }
}

pub(crate) fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: branches
            .into_iter()
            .map(|(condition, result)| CaseWhen { condition, result })
            .collect(),
        else_result: otherwise.map(Box::new),
    }
}

/// `select items from … where condition`.
pub(crate) fn select_from(
    items: Vec<SelectItem>,
    from: Vec<TableWithJoins>,
    condition: Option<Expr>,
) -> Query {
    let select = Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: items,
        exclude: None,
        into: None,
        from,
        lateral_views: Vec::new(),
        prewhere: None,
        selection: condition,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    };
    query_of(SetExpr::Select(Box::new(select)))
}

/// A query that is nothing but this.
pub(crate) fn query_of(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// The function's arguments when they are plain expressions, else `None`.
pub(crate) fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

/// The folded name of an unqualified, unquoted function.
pub(crate) fn simple_name(function: &Function) -> Option<String> {
    let [ObjectNamePart::Identifier(ident)] = function.name.0.as_slice() else { return None };
    ident.quote_style.is_none().then(|| ident.value.to_lowercase())
}

pub(crate) fn is_text(expr: &Expr, wanted: &str) -> bool {
    matches!(
        expr,
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) if text == wanted
    )
}

/// Whether it is an interval, as far as can be seen.
pub(crate) fn is_interval_text(expr: &Expr) -> bool {
    match expr {
        Expr::Interval(_) => true,
        Expr::Cast { data_type, .. } => matches!(data_type, DataType::Interval { .. }),
        Expr::Nested(inner) => is_interval_text(inner),
        Expr::Function(function) => simple_name(function).as_deref() == Some("make_interval"),
        _ => false,
    }
}

/// `interval 'text'`.
pub(crate) fn interval_of(value: Expr) -> Expr {
    Expr::Interval(datafusion::sql::sqlparser::ast::Interval {
        value: Box::new(value),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

/// `array[…]`.
pub(crate) fn array_of(elem: Vec<Expr>) -> Expr {
    Expr::Array(datafusion::sql::sqlparser::ast::Array { elem, named: true })
}

/// `-2 ^ 2` is `(-2) ^ 2`; nothing where it is another expression.
pub(crate) fn signed_power(expr: &Expr) -> Option<Expr> {
    let Expr::UnaryOp { op: sign @ UnaryOperator::Minus, expr: power } = expr else { return None };
    let Expr::BinaryOp { left, op: op @ BinaryOperator::BitwiseXor, right } = power.as_ref() else {
        return None;
    };
    let base = Expr::UnaryOp { op: *sign, expr: left.clone() };
    let base = signed_power(&base).unwrap_or(base);
    Some(Expr::BinaryOp { left: Box::new(nested(base)), op: op.clone(), right: right.clone() })
}

/// A join that gives the columns of both sides, with what it is made by.
macro_rules! joined_by {
    ($constraint:ident) => {
        JoinOperator::Join($constraint)
            | JoinOperator::Inner($constraint)
            | JoinOperator::Left($constraint)
            | JoinOperator::LeftOuter($constraint)
            | JoinOperator::Right($constraint)
            | JoinOperator::RightOuter($constraint)
            | JoinOperator::FullOuter($constraint)
    };
}

/// What a join of both sides' columns is made by, where it may have a condition.
pub(crate) fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        joined_by!(constraint) => Some(constraint),
        _ => None,
    }
}

/// The same, to be changed.
pub(crate) fn constraint_mut(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        joined_by!(constraint) => Some(constraint),
        _ => None,
    }
}

/// The same of any join, of one side's columns as well.
pub(crate) fn any_constraint_mut(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        joined_by!(constraint)
        | JoinOperator::Semi(constraint)
        | JoinOperator::LeftSemi(constraint)
        | JoinOperator::RightSemi(constraint)
        | JoinOperator::Anti(constraint)
        | JoinOperator::LeftAnti(constraint)
        | JoinOperator::RightAnti(constraint) => Some(constraint),
        _ => None,
    }
}

/// The terms of a condition that `and` joins.
pub(crate) fn conjuncts<'a>(expr: &'a Expr, terms: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Nested(inner) => conjuncts(inner, terms),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, terms);
            conjuncts(right, terms);
        }
        other => terms.push(other),
    }
}

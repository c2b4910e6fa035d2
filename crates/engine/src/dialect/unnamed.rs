//! The names that DuckDB gives to columns without one: the expression, as it writes it.
//!
//! `count(*)` is called `count_star()` there, `a + 1` is `(a + 1)`. An expression with a part whose text
//! is not known for sure keeps the name that it has without this.

use std::collections::HashSet;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, CeilFloorKind, DataType, DuplicateTreatment, ExactNumberInfo, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident,
    OrderByExpr, Query, SelectItem, SetExpr, Statement, TableFactor, UnaryOperator, Value,
    WindowFrameBound, WindowSpec, WindowType,
};

use crate::syntax::simple_name;

/// Words that are written between quotes where they are names.
static WORDS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("rules/duckdb_words.txt").split_whitespace().collect());

/// Names the columns of the queries whose columns can be seen: the statement's own, those of CTEs and of
/// subqueries in `from`.
pub(super) fn name(statement: &mut Statement) {
    if let Statement::Query(query) = statement {
        of_query(query);
    }
}

fn of_query(query: &mut Query) {
    if let Some(with) = &mut query.with {
        for table in &mut with.cte_tables {
            of_query(&mut table.query);
        }
    }
    of_body(&mut query.body);
}

fn of_body(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for table in &mut select.from {
                of_relation(&mut table.relation);
                for join in &mut table.joins {
                    of_relation(&mut join.relation);
                }
            }
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) = item
                    && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
                    && let Some(name) = written(expr)
                {
                    let alias = Ident::with_quote('"', name);
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            of_body(left);
            of_body(right);
        }
        SetExpr::Query(query) => of_query(query),
        _ => {}
    }
}

fn of_relation(relation: &mut TableFactor) {
    match relation {
        TableFactor::Derived { subquery, .. } => of_query(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => {
            of_relation(&mut table_with_joins.relation);
            for join in &mut table_with_joins.joins {
                of_relation(&mut join.relation);
            }
        }
        _ => {}
    }
}

/// The expression as DuckDB writes it, where that is known.
fn written(expr: &Expr) -> Option<String> {
    let text = match expr {
        Expr::Identifier(part) => named(part),
        Expr::CompoundIdentifier(parts) => parts.iter().map(named).collect::<Vec<_>>().join("."),
        Expr::Nested(inner) => written(inner)?,
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.clone(),
            Value::SingleQuotedString(text) => format!("'{}'", text.replace('\'', "''")),
            Value::Boolean(value) => value.to_string(),
            Value::Null => "NULL".to_owned(),
            _ => return None,
        },
        Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
            let mut terms = Vec::new();
            chain(left, op, &mut terms)?;
            chain(right, op, &mut terms)?;
            format!("({})", terms.join(&format!(" {op} ")))
        }
        Expr::BinaryOp { left, op, right } => {
            let op = operator(op)?;
            format!("({} {op} {})", written(left)?, written(right)?)
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => format!("(NOT {})", written(expr)?),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } if !matches!(**expr, Expr::Value(_)) => {
            format!("(-({}))", written(expr)?)
        }
        Expr::IsNull(value) => format!("({} IS NULL)", written(value)?),
        Expr::IsNotNull(value) => format!("({} IS NOT NULL)", written(value)?),
        Expr::InList { expr, list, negated } => {
            not(*negated, format!("({} IN ({}))", written(expr)?, all(list)?))
        }
        Expr::Between { expr, negated, low, high } => {
            let (value, low, high) = (written(expr)?, written(low)?, written(high)?);
            not(*negated, format!("({value} BETWEEN {low} AND {high})"))
        }
        Expr::Like { negated, any: false, expr, pattern, escape_char: None } => {
            let sign = if *negated { "!~~" } else { "~~" };
            format!("({} {sign} {})", written(expr)?, written(pattern)?)
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char: None } => {
            let sign = if *negated { "!~~*" } else { "~~*" };
            format!("({} {sign} {})", written(expr)?, written(pattern)?)
        }
        Expr::Cast { kind, expr, data_type, array: false, format: None } => {
            let word = match kind {
                CastKind::Cast | CastKind::DoubleColon => "CAST",
                CastKind::TryCast => "TRY_CAST",
                CastKind::SafeCast => return None,
            };
            format!("{word}({} AS {})", written(expr)?, type_name(data_type))
        }
        Expr::Case { operand, conditions, else_result, .. } => {
            let mut text = "CASE ".to_owned();
            for branch in conditions {
                let condition = match operand {
                    Some(operand) => {
                        format!("({} = {})", written(operand)?, written(&branch.condition)?)
                    }
                    None => written(&branch.condition)?,
                };
                text.push_str(&format!(" WHEN ({condition}) THEN ({})", written(&branch.result)?));
            }
            let other = match else_result {
                Some(other) => written(other)?,
                None => "NULL".to_owned(),
            };
            format!("{text} ELSE {other} END")
        }
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(_) } => {
            format!("ceil({})", written(expr)?)
        }
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(_) } => {
            format!("floor({})", written(expr)?)
        }
        Expr::Trim { trim_where: None, trim_what: None, expr, trim_characters: None } => {
            format!("\"trim\"({})", written(expr)?)
        }
        Expr::Substring { expr, substring_from: Some(from), substring_for, shorthand, .. } => {
            let name = if *shorthand { "substr" } else { "\"substring\"" };
            let count = match substring_for {
                Some(count) => format!(", {}", written(count)?),
                None => String::new(),
            };
            format!("{name}({}, {}{count})", written(expr)?, written(from)?)
        }
        Expr::Position { expr, r#in } => {
            format!("\"position\"({}, {})", written(r#in)?, written(expr)?)
        }
        Expr::Function(function) => called(function)?,
        _ => return None,
    };
    Some(text)
}

/// A function as it is called.
fn called(function: &Function) -> Option<String> {
    let name = simple_name(function)?.to_lowercase();
    // The columns of these are several, or have other names.
    if matches!(name.as_str(), "columns" | "unnest")
        || !function.within_group.is_empty()
        || function.null_treatment.is_some()
        || !matches!(function.parameters, FunctionArguments::None)
    {
        return None;
    }
    let mut text = match &function.args {
        FunctionArguments::None => name,
        FunctionArguments::Subquery(_) => return None,
        FunctionArguments::List(list) => {
            let distinct = match list.duplicate_treatment {
                Some(DuplicateTreatment::Distinct) => "DISTINCT ",
                _ => "",
            };
            let orders = match list.clauses.as_slice() {
                [] => String::new(),
                [FunctionArgumentClause::OrderBy(orders)] => {
                    format!(" ORDER BY {}", ordered(orders)?)
                }
                _ => return None,
            };
            let of_all = matches!(
                list.args.as_slice(),
                [] | [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]
            );
            match name.as_str() {
                "count" if of_all => "count_star()".to_owned(),
                "coalesce" | "ifnull" => format!("COALESCE({})", arguments(&list.args)?),
                _ => {
                    let name = named(&Ident::new(name));
                    format!("{name}({distinct}{}{orders})", arguments(&list.args)?)
                }
            }
        }
    };
    if let Some(condition) = &function.filter {
        text.push_str(&format!(" FILTER (WHERE {})", written(condition)?));
    }
    match &function.over {
        None => {}
        Some(WindowType::WindowSpec(spec)) => text.push_str(&format!(" OVER ({})", window(spec)?)),
        Some(WindowType::NamedWindow(_)) => return None,
    }
    Some(text)
}

fn arguments(list: &[FunctionArg]) -> Option<String> {
    let texts: Option<Vec<String>> = list
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => written(expr),
            _ => None,
        })
        .collect();
    Some(texts?.join(", "))
}

fn window(spec: &WindowSpec) -> Option<String> {
    if spec.window_name.is_some() {
        return None;
    }
    let mut parts = Vec::new();
    if !spec.partition_by.is_empty() {
        parts.push(format!("PARTITION BY {}", all(&spec.partition_by)?));
    }
    if !spec.order_by.is_empty() {
        parts.push(format!("ORDER BY {}", ordered(&spec.order_by)?));
    }
    if let Some(frame) = &spec.window_frame {
        let bound = |bound: &WindowFrameBound| match bound {
            WindowFrameBound::CurrentRow => Some("CURRENT ROW".to_owned()),
            WindowFrameBound::Preceding(None) => Some("UNBOUNDED PRECEDING".to_owned()),
            WindowFrameBound::Following(None) => Some("UNBOUNDED FOLLOWING".to_owned()),
            WindowFrameBound::Preceding(Some(count)) => {
                Some(format!("{} PRECEDING", written(count)?))
            }
            WindowFrameBound::Following(Some(count)) => {
                Some(format!("{} FOLLOWING", written(count)?))
            }
        };
        let start = bound(&frame.start_bound)?;
        let end = match &frame.end_bound {
            Some(end) => bound(end)?,
            None => "CURRENT ROW".to_owned(),
        };
        let text = format!("{} BETWEEN {start} AND {end}", frame.units);
        // What holds without a word is not written.
        if text != "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW" {
            parts.push(text);
        }
    }
    Some(parts.join(" "))
}

fn ordered(orders: &[OrderByExpr]) -> Option<String> {
    let texts: Option<Vec<String>> = orders
        .iter()
        .map(|order| {
            let mut text = written(&order.expr)?;
            match order.options.asc {
                Some(true) => text.push_str(" ASC"),
                Some(false) => text.push_str(" DESC"),
                None => {}
            }
            match order.options.nulls_first {
                Some(true) => text.push_str(" NULLS FIRST"),
                Some(false) => text.push_str(" NULLS LAST"),
                None => {}
            }
            Some(text)
        })
        .collect();
    Some(texts?.join(", "))
}

fn all(list: &[Expr]) -> Option<String> {
    let texts: Option<Vec<String>> = list.iter().map(written).collect();
    Some(texts?.join(", "))
}

/// The terms that are joined by one operator.
fn chain(expr: &Expr, op: &BinaryOperator, terms: &mut Vec<String>) -> Option<()> {
    match expr {
        Expr::BinaryOp { left, op: found, right } if found == op => {
            chain(left, op, terms)?;
            chain(right, op, terms)
        }
        other => {
            terms.push(written(other)?);
            Some(())
        }
    }
}

fn not(negated: bool, text: String) -> String {
    if negated { format!("(NOT {text})") } else { text }
}

fn operator(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::DuckIntegerDivide => "//",
        BinaryOperator::StringConcat => "||",
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "!=",
        BinaryOperator::Gt => ">",
        BinaryOperator::GtEq => ">=",
        BinaryOperator::Lt => "<",
        BinaryOperator::LtEq => "<=",
        _ => return None,
    })
}

/// A name, between quotes where it needs them.
fn named(ident: &Ident) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = ident.value.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let is_word = WORDS.contains(ident.value.to_lowercase().as_str());
    if begins && ident.value.chars().all(plain) && !is_word {
        return ident.value.clone();
    }
    format!("\"{}\"", ident.value.replace('"', "\"\""))
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Int(None) | DataType::Integer(None) => "INTEGER".to_owned(),
        DataType::BigInt(None) => "BIGINT".to_owned(),
        DataType::SmallInt(None) => "SMALLINT".to_owned(),
        DataType::Varchar(None) => "VARCHAR".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Decimal(info) | DataType::Numeric(info) => match info {
            ExactNumberInfo::None => "DECIMAL".to_owned(),
            ExactNumberInfo::Precision(precision) => format!("DECIMAL({precision})"),
            ExactNumberInfo::PrecisionAndScale(precision, scale) => {
                format!("DECIMAL({precision}, {scale})")
            }
        },
        DataType::Timestamp(None, _) if !data_type.to_string().contains("ZONE") => {
            match data_type.to_string().eq_ignore_ascii_case("timestamptz") {
                true => "timestamptz".to_owned(),
                false => "TIMESTAMP".to_owned(),
            }
        }
        // Names that are no words of the grammar stay in small letters, as they are mostly written.
        DataType::Date | DataType::Text | DataType::Double(_) => {
            data_type.to_string().to_lowercase()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::SqlDialect;

    use crate::dialect::adapt;

    #[test]
    fn columns_are_called_as_duckdb_writes_them() {
        for (expr, name) in [
            ("COUNT(*)", "count_star()"),
            ("Sum(Order_Id)", "sum(Order_Id)"),
            ("count(distinct a) filter (where b > 1)", "count(DISTINCT a) FILTER (WHERE (b > 1))"),
            ("round(sum(t.amount) / count(*), 2)", "round((sum(t.amount) / count_star()), 2)"),
            ("x::int", "CAST(x AS INTEGER)"),
            ("x::decimal(18,3)", "CAST(x AS DECIMAL(18, 3))"),
            ("try_cast(x as date)", "TRY_CAST(x AS date)"),
            ("x::timestamptz", "CAST(x AS timestamptz)"),
            ("case a when 1 then 2 end", "CASE  WHEN ((a = 1)) THEN (2) ELSE NULL END"),
            ("a > 1 and b < 2 and a = b", "((a > 1) AND (b < 2) AND (a = b))"),
            ("x not in ('a', 'it''s')", "(NOT (x IN ('a', 'it''s')))"),
            ("x not like 'a%'", "(x !~~ 'a%')"),
            ("-a", "(-(a))"),
            ("upper(trim(name))", "upper(\"trim\"(\"name\"))"),
            ("substr(x, 1, 2)", "substr(x, 1, 2)"),
            ("year(d) || '-' || month(d)", "((\"year\"(d) || '-') || \"month\"(d))"),
            (
                "lag(a) over (partition by x order by d desc nulls last)",
                "lag(a) OVER (PARTITION BY x ORDER BY d DESC NULLS LAST)",
            ),
            (
                "sum(a) over (order by d rows between 1 preceding and current row)",
                "sum(a) OVER (ORDER BY d ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
            ),
            ("string_agg(distinct x, ', ' order by x)", "string_agg(DISTINCT x, ', ' ORDER BY x)"),
            ("coalesce(a, 0)", "COALESCE(a, 0)"),
            ("max(\"Na me\")", "max(\"Na me\")"),
            ("1.50", "1.50"),
        ] {
            let sql = adapt(&format!("select {expr} from t"), SqlDialect::DuckDb).unwrap();
            let wanted = format!(" AS \"{}\" FROM t", name.replace('"', "\"\""));
            assert!(sql.ends_with(&wanted), "{expr}: {sql}, not {wanted}");
        }
    }

    #[test]
    fn names_that_nobody_sees_or_that_are_there_stay() {
        for sql in [
            "select a, t.b, sum(c) as c from t",
            "select a from t where exists (select 1 from u) and b in (select max(b) from u)",
            "select (select max(b) from u) as m, unnest(l) from t",
        ] {
            assert!(!adapt(sql, SqlDialect::DuckDb).unwrap().contains("AS \""), "{sql}");
        }
        let sql = "with c as (select count(*) from t) select * from (select max(a) from c) s";
        let adapted = adapt(sql, SqlDialect::DuckDb).unwrap();
        assert!(
            adapted.contains("AS \"count_star()\"") && adapted.contains("AS \"max(a)\""),
            "{adapted}"
        );
    }
}

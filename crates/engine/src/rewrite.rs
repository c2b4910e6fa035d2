//! Other systems' spellings, put into words that the planner knows, in the syntax tree.
//!
//! Only what is a matter of form is done here; a function that computes something is a function
//! (see `functions`). Each rule says whose spelling it is.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CharacterLength, DataType, DuplicateTreatment, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, Select, SelectItem, Statement, Value,
    VisitMut, VisitorMut,
};
use tidemill_core::{Error, ErrorKind, Result};

use crate::cte::separate_names;

/// Rewrites a whole statement in place.
pub(crate) fn rewrite(statement: &mut Statement) -> Result<()> {
    separate_names(statement);
    match VisitMut::visit(statement, &mut Rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Gives columns that have no name the one that PostgreSQL gives them: `count(*)` is `count`,
/// `x::date` is `x`. (DataFusion's own, such as `count(Int64(1))`, could not even be stored.) A name
/// that would occur twice gets a number.
fn name_columns(select: &mut Select) {
    let mut taken: HashSet<String> = select.projection.iter().filter_map(given_name).collect();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            continue;
        }
        // `unnest` gives several columns from a struct.
        let Some(name) = postgres_name(expr).filter(|name| name != "unnest") else { continue };
        let mut unique = name.clone();
        let mut number = 1;
        while !taken.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        let alias = Ident::with_quote('"', unique);
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

fn given_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(expr @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))) => {
            postgres_name(expr)
        }
        _ => None,
    }
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

fn postgres_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) => postgres_name(inner),
        Expr::Function(function) => match function.name.0.last()? {
            ObjectNamePart::Identifier(ident) => Some(folded(ident)),
            ObjectNamePart::Function(_) => None,
        },
        Expr::Cast { expr, data_type, .. } => {
            postgres_name(expr).or_else(|| Some(plain_word(&data_type.to_string())))
        }
        Expr::Case { else_result, .. } => else_result
            .as_deref()
            .filter(|value| matches!(value, Expr::Identifier(_) | Expr::CompoundIdentifier(_)))
            .and_then(postgres_name)
            .or_else(|| Some("case".to_owned())),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        Expr::Subquery(_) => None,
        _ => Some("column".to_owned()),
    }
}

/// The leading word of a type's name.
fn plain_word(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_lowercase()
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        name_columns(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        balance(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let replaced = match expr {
            Expr::Function(function) => rewrite_function(function),
            Expr::Cast { kind, expr, data_type, .. } => rewrite_cast(kind, expr, data_type),
            _ => Ok(None),
        };
        match replaced {
            Ok(Some(new)) => {
                *expr = new;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// More terms than this are put into a balanced tree.
const LONG: usize = 16;

/// `a or b or c or …` is a tree as deep as it has terms; both operators may be grouped at will, so
/// a long one becomes a tree of the logarithm's depth.
fn balance(expr: &mut Expr) {
    let wanted = match expr {
        Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } => op.clone(),
        _ => return,
    };
    let mut length = 1;
    let mut node = &*expr;
    while let Expr::BinaryOp { left, op, .. } = node
        && *op == wanted
    {
        length += 1;
        node = left;
    }
    if length <= LONG {
        return;
    }
    let nothing = || Expr::Value(Value::Null.with_empty_span());
    let mut terms = Vec::with_capacity(length);
    let mut rest = std::mem::replace(expr, nothing());
    loop {
        match rest {
            Expr::BinaryOp { left, op, right } if op == wanted => {
                terms.push(*right);
                rest = *left;
            }
            last => {
                terms.push(last);
                break;
            }
        }
    }
    terms.reverse();
    while terms.len() > 1 {
        let mut pairs = Vec::with_capacity(terms.len().div_ceil(2));
        let mut terms_left = terms.into_iter();
        while let Some(left) = terms_left.next() {
            pairs.push(match terms_left.next() {
                Some(right) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: wanted.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        terms = pairs;
    }
    if let Some(tree) = terms.pop() {
        *expr = tree;
    }
}

/// `cast(1.7 as integer)` is 2, as in PostgreSQL and DuckDB: the value is rounded first. The
/// function leaves anything that is not a fraction alone.
fn rewrite_whole(kind: &CastKind, value: &Expr, data_type: &DataType) -> Option<Expr> {
    let is_whole = matches!(
        data_type,
        DataType::TinyInt(_)
            | DataType::SmallInt(_)
            | DataType::Int2(_)
            | DataType::Int(_)
            | DataType::Int4(_)
            | DataType::Integer(_)
            | DataType::BigInt(_)
            | DataType::Int8(_)
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
    ) || matches!(
        data_type,
        DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("int64")
    );
    let known = match value {
        // A literal that is a whole number, and what was rounded already.
        Expr::Value(literal) => match &literal.value {
            Value::Number(digits, _) => !digits.contains(['.', 'e', 'E']),
            _ => true,
        },
        Expr::Function(function) => simple_name(function).as_deref() == Some(WHOLE),
        _ => false,
    };
    (is_whole && !known)
        .then(|| cast_as(kind.clone(), call(WHOLE, vec![value.clone()]), data_type.clone()))
}

/// The function that rounds fractions.
const WHOLE: &str = crate::functions::WHOLE;

/// `cast(x as varchar(3))` cuts, as in PostgreSQL. `char(n)` is cut and not padded.
fn rewrite_cast(kind: &CastKind, value: &Expr, data_type: &DataType) -> Result<Option<Expr>> {
    let length = match data_type {
        DataType::Varchar(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Nvarchar(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Char(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Character(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharVarying(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharacterVarying(Some(CharacterLength::IntegerLength { length, .. })) => {
            *length
        }
        _ => return Ok(rewrite_whole(kind, value, data_type)),
    };
    let whole = cast_as(kind.clone(), value.clone(), DataType::Varchar(None));
    // Longer than any text that is cut on purpose: the limit only documents.
    if length >= 10_000 {
        return Ok(Some(whole));
    }
    Ok(Some(call("left", vec![whole, number(length)])))
}

/// The function's arguments when they are plain expressions, else `None`.
fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
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
fn simple_name(function: &Function) -> Option<String> {
    let [ObjectNamePart::Identifier(ident)] = function.name.0.as_slice() else { return None };
    ident.quote_style.is_none().then(|| ident.value.to_lowercase())
}

fn rewrite_function(function: &mut Function) -> Result<Option<Expr>> {
    let Some(name) = simple_name(function) else { return Ok(None) };
    // Same meaning under another name.
    let renamed = match name.as_str() {
        "len" => "length",
        "ceiling" => "ceil",
        "sign" => "signum",
        "variance" => "var_samp",
        "variance_pop" => "var_pop",
        "getdate" | "sysdate" | "systimestamp" | "current_datetime" => "now",
        "gen_random_uuid" | "generate_uuid" | "uuid_string" | "newid" => "uuid",
        "logical_or" | "boolor_agg" => "bool_or",
        "logical_and" | "booland_agg" => "bool_and",
        "regexp_matches" => "regexp_match",
        "regexp_contains" | "rlike" => "regexp_like",
        "array_size" => "array_length",
        "timestampadd" | "datetime_add" | "timestamp_add" => "dateadd",
        "timestampdiff" => "datediff",
        "to_json_string" => "to_json",
        "json_extract_scalar" | "json_value" | "get_json_object" | "json_extract" => "json_path",
        _ => name.as_str(),
    };
    if renamed != name {
        function.name = object_name(renamed);
    }
    let name = renamed;
    match name {
        "string_agg" | "listagg" => {
            rewrite_string_agg(function)?;
            return Ok(None);
        }
        "count_if" | "countif" => return count_if(function),
        _ => {}
    }
    let Some(arguments) = plain_arguments(function) else { return Ok(None) };
    units(name, function, &arguments);
    let arguments = plain_arguments(function).unwrap_or(arguments);
    Ok(match (name, arguments.as_slice()) {
        // Snowflake, SQL Server, BigQuery.
        ("iff" | "if", [condition, yes]) => {
            Some(case(vec![(condition.clone(), yes.clone())], None))
        }
        ("iff" | "if", [condition, yes, no]) => {
            Some(case(vec![(condition.clone(), yes.clone())], Some(no.clone())))
        }
        ("zeroifnull", [value]) => Some(call("coalesce", vec![value.clone(), number(0)])),
        ("nullifzero", [value]) => Some(call("nullif", vec![value.clone(), number(0)])),
        // Snowflake: 0 when the divisor is 0, NULL when either is NULL.
        ("div0", [a, b]) => Some(case(
            vec![(equals(b.clone(), number(0)), case_of_null(a))],
            Some(divide(a.clone(), b.clone())),
        )),
        ("div0null", [a, b]) => Some(case(
            vec![(
                equals(call("coalesce", vec![b.clone(), number(0)]), number(0)),
                case_of_null(a),
            )],
            Some(divide(a.clone(), b.clone())),
        )),
        // BigQuery: always a double, NULL when the divisor is 0.
        ("safe_divide", [a, b]) => Some(divide(
            cast(a.clone(), DataType::DoublePrecision),
            call("nullif", vec![b.clone(), number(0)]),
        )),
        ("mod", [a, b]) => Some(nested(binary(a.clone(), BinaryOperator::Modulo, b.clone()))),
        ("date", [value]) => Some(cast(value.clone(), DataType::Date)),
        ("try_to_date", [value]) => Some(cast_as(CastKind::TryCast, value.clone(), DataType::Date)),
        ("try_to_timestamp" | "try_to_timestamp_ntz", [value]) => Some(cast_as(
            CastKind::TryCast,
            value.clone(),
            DataType::Timestamp(None, datafusion::sql::sqlparser::ast::TimezoneInfo::None),
        )),
        ("try_to_number" | "try_to_decimal" | "try_to_numeric", [value]) => Some(cast_as(
            CastKind::TryCast,
            value.clone(),
            DataType::Numeric(datafusion::sql::sqlparser::ast::ExactNumberInfo::None),
        )),
        ("to_timestamp_ntz" | "timestamp" | "datetime", [value]) => Some(cast(
            value.clone(),
            DataType::Timestamp(None, datafusion::sql::sqlparser::ast::TimezoneInfo::None),
        )),
        ("to_varchar" | "to_char" | "string", [value]) if name != "to_char" => {
            Some(cast(value.clone(), DataType::Varchar(None)))
        }
        ("to_varchar", [_, _]) => {
            function.name = object_name("to_char");
            None
        }
        // JSON is text here.
        ("parse_json", [value]) => Some(cast(value.clone(), DataType::Varchar(None))),
        // SQL Server and Redshift: the needle comes first.
        ("charindex", [needle, text]) => Some(call("strpos", vec![text.clone(), needle.clone()])),
        ("contains_substr", [text, needle]) => Some(call(
            "contains",
            vec![call("lower", vec![text.clone()]), call("lower", vec![needle.clone()])],
        )),
        // Snowflake and Redshift.
        ("convert_timezone", [zone, value]) => Some(at_zone(value, zone)),
        ("convert_timezone", [from, to, value]) => Some(at_zone(&nested(at_zone(value, from)), to)),
        ("split", [text, delimiter]) => {
            Some(call("string_to_array", vec![text.clone(), delimiter.clone()]))
        }
        // BigQuery: the value comes first, the part last.
        ("date_trunc" | "timestamp_trunc" | "datetime_trunc", [value, part])
            if unit_of(part).is_some() && unit_of(value).is_none() =>
        {
            Some(call("date_trunc", vec![part.clone(), value.clone()]))
        }
        // BigQuery: date_diff(later, earlier, part); DuckDB: date_diff(part, earlier, later).
        ("date_diff" | "timestamp_diff" | "datetime_diff", [later, earlier, part])
            if unit_of(part).is_some() =>
        {
            Some(call("datediff", vec![part.clone(), earlier.clone(), later.clone()]))
        }
        ("date_diff", [part, earlier, later]) => {
            Some(call("datediff", vec![part.clone(), earlier.clone(), later.clone()]))
        }
        // BigQuery: date_add(x, interval 1 day).
        ("date_add" | "dateadd", [value, amount]) => {
            Some(nested(binary(value.clone(), BinaryOperator::Plus, amount.clone())))
        }
        ("date_sub" | "timestamp_sub" | "datetime_sub", [value, amount]) => {
            Some(nested(binary(value.clone(), BinaryOperator::Minus, amount.clone())))
        }
        _ => None,
    })
}

/// Functions whose date part may be written as a bare word: `dateadd(day, 1, x)`.
fn units(name: &str, function: &mut Function, arguments: &[Expr]) {
    let places: &[usize] = match name {
        "dateadd" | "datediff" => &[0],
        "date_part" | "datepart" | "datetrunc" if arguments.len() == 2 => &[0],
        "date_trunc" | "timestamp_trunc" | "datetime_trunc" if arguments.len() == 2 => {
            match unit_of(&arguments[0]) {
                Some(_) => &[0],
                None => &[1],
            }
        }
        "last_day" if arguments.len() == 2 => &[1],
        "date_diff" | "timestamp_diff" | "datetime_diff" if arguments.len() == 3 => {
            match unit_of(&arguments[2]) {
                Some(_) => &[2],
                None => &[0],
            }
        }
        _ => &[],
    };
    let FunctionArguments::List(list) = &mut function.args else { return };
    for place in places {
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) = list.args.get_mut(*place)
        else {
            continue;
        };
        if let (Expr::Identifier(_) | Expr::Function(_), Some(unit)) =
            (&*argument, unit_of(argument))
        {
            *argument = text(unit);
        }
    }
}

/// The date part that a bare word or a literal names, in its plain spelling.
fn unit_of(expr: &Expr) -> Option<&'static str> {
    let word = match expr {
        Expr::Identifier(ident) if ident.quote_style.is_none() => ident.value.as_str(),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(word) => word.as_str(),
            _ => return None,
        },
        // BigQuery's `week(monday)`: our weeks begin on Monday.
        Expr::Function(function) if simple_name(function).as_deref() == Some("week") => "week",
        _ => return None,
    };
    crate::functions::date_unit(word)
}

/// `listagg(x, ',') within group (order by y)` and `listagg(x)` are `string_agg`.
fn rewrite_string_agg(function: &mut Function) -> Result<()> {
    function.name = object_name("string_agg");
    let order = std::mem::take(&mut function.within_group);
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    if list.args.len() == 1 {
        list.args.push(argument(text("")));
    }
    if !order.is_empty() {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    Ok(())
}

/// `count_if(x)` is `count(case when x then 1 end)`.
fn count_if(function: &mut Function) -> Result<Option<Expr>> {
    let Some(arguments) = plain_arguments(function) else { return Ok(None) };
    let [condition] = arguments.as_slice() else {
        return Err(Error::new(ErrorKind::Query, "`count_if` takes one condition"));
    };
    function.name = object_name("count");
    function.args = FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None::<DuplicateTreatment>,
        args: vec![argument(case(vec![(condition.clone(), number(1))], None))],
        clauses: Vec::new(),
    });
    Ok(None)
}

fn object_name(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::new(name)])
}

fn argument(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
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

fn number(value: u64) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).with_empty_span())
}

fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).with_empty_span())
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(nested(left)), op, right: Box::new(nested(right)) }
}

fn equals(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::Eq, right)
}

fn divide(left: Expr, right: Expr) -> Expr {
    nested(binary(left, BinaryOperator::Divide, right))
}

/// 0, or NULL when the value is NULL, in the value's type.
fn case_of_null(value: &Expr) -> Expr {
    nested(binary(value.clone(), BinaryOperator::Multiply, number(0)))
}

fn at_zone(value: &Expr, zone: &Expr) -> Expr {
    Expr::AtTimeZone {
        timestamp: Box::new(nested(value.clone())),
        time_zone: Box::new(zone.clone()),
    }
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    cast_as(CastKind::Cast, expr, data_type)
}

fn cast_as(kind: CastKind, expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None }
}

fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Expr {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_query;

    fn rewritten(sql: &str) -> String {
        let mut statement = parse_query(sql).unwrap();
        rewrite(&mut statement).unwrap();
        statement.to_string()
    }

    #[test]
    fn columns_get_the_names_that_postgresql_gives() {
        for (sql, expected) in [
            ("select count(*), a from t", "SELECT count(*) AS \"count\", a FROM t"),
            (
                "select sum(a), sum(b), 1 + 1, (x)::date",
                "SELECT sum(a) AS \"sum\", sum(b) AS \"sum_2\", 1 + 1 AS \"column\", (x)::DATE AS \"x\"",
            ),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
    }

    #[test]
    fn long_conditions_become_shallow() {
        let sql = format!("select 1 where a = 0{}", " or a = 1".repeat(20));
        let text = rewritten(&sql);
        assert_eq!(text.matches(" OR ").count(), 20, "{text}");
        let deep = format!("select 1 where a{}", " or a".repeat(15_000));
        assert!(rewritten(&deep).len() > 15_000);
    }

    /// The alias that the test statement's column gets hides what is tested.
    fn without_alias(text: &str) -> &str {
        text.rsplit_once(" AS \"").map_or(text, |(text, _)| text)
    }

    #[test]
    fn spellings() {
        for (sql, expected) in [
            ("select dateadd(day, 1, x)", "SELECT dateadd('day', 1, x)"),
            ("select dateadd('Month', 1, x)", "SELECT dateadd('Month', 1, x)"),
            ("select datediff(mm, a, b)", "SELECT datediff('month', a, b)"),
            ("select date_trunc(x, month)", "SELECT date_trunc('month', x)"),
            ("select date_trunc('month', month)", "SELECT date_trunc('month', month)"),
            ("select date_diff(b, a, day)", "SELECT datediff('day', a, b)"),
            ("select date_diff('day', a, b)", "SELECT datediff('day', a, b)"),
            ("select iff(a, 1, 2)", "SELECT CASE WHEN a THEN 1 ELSE 2 END"),
            ("select date(x)", "SELECT CAST(x AS DATE)"),
            ("select len(x)", "SELECT length(x)"),
            (
                "select listagg(x, ',') within group (order by y)",
                "SELECT string_agg(x, ',' ORDER BY y)",
            ),
            ("select listagg(distinct x)", "SELECT string_agg(DISTINCT x, '')"),
            ("select count_if(a > 1)", "SELECT count(CASE WHEN a > 1 THEN 1 END)"),
            ("select x::varchar(3)", "SELECT left(x::VARCHAR, 3)"),
            ("select mod(a + 1, 2)", "SELECT ((a + 1) % (2))"),
            ("select x::int", "SELECT tidemill_whole(x)::INT"),
            ("select '5'::int", "SELECT '5'::INT"),
            ("select charindex('b', x)", "SELECT strpos(x, 'b')"),
        ] {
            assert_eq!(without_alias(&rewritten(sql)), expected);
        }
    }
}

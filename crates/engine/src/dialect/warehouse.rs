//! Calls of Snowflake, BigQuery and Databricks whose meaning hangs on how an argument is written: a number of digits, the name
//! of a day, the letters that part a text, a pattern of values.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, Cte, DataType, DuplicateTreatment, ExactNumberInfo, Expr, Function,
    FunctionArguments, NullTreatment, SetExpr, SetOperator, Value, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowType, visit_relations,
};
use tidemill_core::{Result, SqlDialect};

use super::refused;
use super::rules::{literal_of, template};
use crate::names::folded;
use crate::syntax::{
    argument, binary, call, case, cast_as, nested, number, object_name, plain_arguments,
    simple_name, text,
};

/// What the rule `@by` makes of a call; `None`: there is no such rule here.
pub(super) fn done(
    by: &str,
    args: &[Expr],
    dialect: SqlDialect,
    name: &str,
) -> Option<Result<Expr>> {
    Some(match (by, args) {
        ("tokens", [value]) => tokens(value, " "),
        ("tokens", [value, letters]) => {
            literal_of(letters, name).and_then(|letters| tokens(value, letters))
        }
        ("token", [value]) => tokens(value, " ").map(|list| nth(list, number(1))),
        ("token", [value, letters]) => literal_of(letters, name)
            .and_then(|letters| tokens(value, letters))
            .map(|list| nth(list, number(1))),
        ("token", [value, letters, place]) => literal_of(letters, name)
            .and_then(|letters| tokens(value, letters))
            .map(|list| nth(list, place.clone())),
        ("cut", [value, how]) => cut(value, how, dialect),
        ("next_day", [value, day]) => weekday(day, name).and_then(|day| {
            let written =
                "(cast(x as date) + cast((d - date_part('isodow', x) + 6) % 7 + 1 as int))";
            template(written, &[("x", value.clone()), ("d", number(day))], dialect)
        }),
        ("previous_day", [value, day]) => weekday(day, name).and_then(|day| {
            let written =
                "(cast(x as date) - cast((date_part('isodow', x) - d + 6) % 7 + 1 as int))";
            template(written, &[("x", value.clone()), ("d", number(day))], dialect)
        }),
        ("moment", [value, form]) => moment(value, form, dialect, name),
        ("shown", [value, form]) => shown(value, form, dialect, name),
        ("numeric", [value, digits @ ..]) => numeric(value, digits, name),
        ("printf", [pattern, values @ ..]) => printf(pattern, values, dialect, name),
        _ => return None,
    })
}

/// Windows whose rows are others there where none are named: `first_value` of Snowflake reads all of them. And
/// `first(x, true)` of Spark, which leaves NULLs out.
pub(super) fn frames(function: &mut Function, dialect: SqlDialect) {
    let name = simple_name(function).unwrap_or_default();
    if dialect == SqlDialect::Snowflake
        && matches!(name.as_str(), "first_value" | "last_value" | "nth_value")
        && let Some(WindowType::WindowSpec(spec)) = &mut function.over
        && spec.window_frame.is_none()
        && !spec.order_by.is_empty()
    {
        spec.window_frame = Some(WindowFrame {
            units: WindowFrameUnits::Rows,
            start_bound: WindowFrameBound::Preceding(None),
            end_bound: Some(WindowFrameBound::Following(None)),
        });
    }
    // How often it was true until this row.
    if name == "conditional_true_event"
        && let Some([condition]) = plain_arguments(function).as_deref()
        && let Some(WindowType::WindowSpec(spec)) = &mut function.over
    {
        spec.window_frame = Some(WindowFrame {
            units: WindowFrameUnits::Rows,
            start_bound: WindowFrameBound::Preceding(None),
            end_bound: Some(WindowFrameBound::CurrentRow),
        });
        function.name = object_name("count");
        if let FunctionArguments::List(list) = &mut function.args {
            list.args = vec![argument(case(vec![(condition.clone(), number(1))], None))];
        }
    }
    if dialect == SqlDialect::Databricks
        && matches!(name.as_str(), "first" | "last" | "first_value" | "last_value")
        && function.over.is_some()
    {
        function.name = object_name(match name.as_str() {
            "first" | "first_value" => "first_value",
            _ => "last_value",
        });
        let truth = match plain_arguments(function).as_deref() {
            Some([_, Expr::Value(value)]) => match value.value {
                Value::Boolean(truth) => Some(truth),
                _ => None,
            },
            _ => None,
        };
        if let Some(truth) = truth
            && let FunctionArguments::List(list) = &mut function.args
        {
            list.args.pop();
            if truth {
                function.null_treatment = Some(NullTreatment::IgnoreNulls);
            }
        }
    }
}

/// `count(distinct a, b)`: rows in which one is NULL do not count.
pub(super) fn count_of_several(function: &mut Function) {
    let Some(arguments) = plain_arguments(function) else { return };
    let FunctionArguments::List(list) = &mut function.args else { return };
    if arguments.len() < 2 || list.duplicate_treatment != Some(DuplicateTreatment::Distinct) {
        return;
    }
    let present = arguments
        .iter()
        .map(|value| Expr::IsNotNull(Box::new(nested(value.clone()))))
        .reduce(|all, next| binary(all, BinaryOperator::And, next));
    let fields = (0..)
        .zip(&arguments)
        .flat_map(|(place, value): (usize, &Expr)| [text(&format!("c{place}")), value.clone()]);
    let row = call("named_struct", fields.collect());
    if let Some(present) = present {
        list.args = vec![argument(case(vec![(present, row)], None))];
    }
}

/// `percentile_cont(p) within group (order by x) over (…)`, which the engine writes with two arguments.
pub(super) fn percentile_over(function: &Function) -> Option<Expr> {
    function.over.as_ref()?;
    let [order] = function.within_group.as_slice() else { return None };
    let rises = order.options.asc != Some(false);
    let arguments = plain_arguments(function)?;
    let ([share], true, Some("percentile_cont")) =
        (arguments.as_slice(), rises, simple_name(function).as_deref())
    else {
        return None;
    };
    let mut written = call("percentile_cont", vec![order.expr.clone(), share.clone()]);
    if let Expr::Function(written) = &mut written {
        written.over.clone_from(&function.over);
        written.filter.clone_from(&function.filter);
    }
    Some(written)
}

/// The patterns of `like all (a, b)`.
fn patterns(pattern: &Expr) -> Option<Vec<Expr>> {
    let Expr::Function(function) = pattern else { return None };
    let mut patterns = (simple_name(function)? == "all").then(|| plain_arguments(function))??;
    if let [Expr::Tuple(listed)] = patterns.as_slice() {
        patterns = listed.clone();
    }
    (!patterns.is_empty()).then_some(patterns)
}

/// `x like all (a, b)`: like each of them.
pub(super) fn like_all(expr: &Expr, dialect: SqlDialect) -> Option<Expr> {
    let (Expr::Like { pattern, escape_char: None, .. }
    | Expr::ILike { pattern, escape_char: None, .. }) = expr
    else {
        return None;
    };
    let each = patterns(pattern)?.into_iter().map(|mut one| {
        if dialect == SqlDialect::Snowflake {
            super::translator::without_escape(&mut one);
        }
        let mut like = expr.clone();
        if let Expr::Like { pattern, .. } | Expr::ILike { pattern, .. } = &mut like {
            **pattern = one;
        }
        like
    });
    each.reduce(|all, next| binary(all, BinaryOperator::And, next)).map(nested)
}

/// `rollup(a, b)` and `cube(a, b)`, where the parser sees calls.
pub(super) fn grouping(column: &mut Expr) {
    let Expr::Function(function) = &*column else { return };
    let Some(arguments) = plain_arguments(function) else { return };
    let sets: Vec<Vec<Expr>> = arguments
        .into_iter()
        .map(|argument| match argument {
            Expr::Tuple(columns) => columns,
            one => vec![one],
        })
        .collect();
    match simple_name(function).as_deref() {
        Some("rollup") => *column = Expr::Rollup(sets),
        Some("cube") => *column = Expr::Cube(sets),
        _ => {}
    }
}

/// Whether the second branch of a relation of `with` reads the relation: no word says so in Snowflake.
pub(super) fn reads_itself(table: &Cte) -> bool {
    let SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } =
        table.query.body.as_ref()
    else {
        return false;
    };
    let name = folded(&table.alias.name);
    let reads = |body: &SetExpr| {
        visit_relations(body, |relation| match relation.0.as_slice() {
            [part] if part.as_ident().is_some_and(|ident| folded(ident) == name) => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })
        .is_break()
    };
    reads(right) && !reads(left)
}

/// A pattern of a number or of a date.
fn shown(value: &Expr, form: &Expr, dialect: SqlDialect, name: &str) -> Result<Expr> {
    let written = literal_of(form, name)?;
    let upper = written.to_uppercase();
    let digits = upper.trim_start_matches("FM").trim_start_matches("MI").trim_start_matches('S');
    let is_number = digits.contains(['9', '0'])
        && digits.trim_end_matches("MI").bytes().all(|letter| b"90.,".contains(&letter));
    if is_number {
        return Ok(call("to_char", vec![value.clone(), text(&upper)]));
    }
    let pattern = super::formats::pattern(written, dialect)?;
    Ok(call("to_char", vec![value.clone(), text(&pattern)]))
}

/// The parts of a text between these letters, without empty ones.
fn tokens(value: &Expr, letters: &str) -> Result<Expr> {
    let parts = match letters.chars().count() {
        1 => call("string_to_array", vec![value.clone(), text(letters)]),
        _ => {
            let mut pattern = "[".to_owned();
            for letter in letters.chars() {
                if !letter.is_alphanumeric() && letter.is_ascii_graphic() {
                    pattern.push('\\');
                }
                pattern.push(letter);
            }
            pattern.push(']');
            call("regexp_split_to_array", vec![value.clone(), text(&pattern)])
        }
    };
    Ok(call("array_remove_all", vec![parts, text("")]))
}

fn nth(list: Expr, place: Expr) -> Expr {
    call("array_element", vec![list, place])
}

/// `trunc(x, 2)` of a number, `trunc(x, 'month')` of a date.
fn cut(value: &Expr, how: &Expr, dialect: SqlDialect) -> Result<Expr> {
    let is_text = matches!(how, Expr::Value(literal)
        if matches!(literal.value, Value::SingleQuotedString(_)));
    if !is_text {
        return Ok(call("trunc", vec![value.clone(), how.clone()]));
    }
    let word = literal_of(how, "trunc")?;
    let Some(unit) = crate::functions::date_unit(word) else {
        return Err(refused(&format!("`trunc` to `{word}`"), "use `date_trunc`"));
    };
    let parameters = [("x", value.clone()), ("u", text(unit))];
    template("(u operator(tidemill.trunc) x)", &parameters, dialect)
}

/// The number of a day of the week, Monday being 1.
fn weekday(day: &Expr, name: &str) -> Result<u64> {
    let word = literal_of(day, name)?.to_lowercase();
    let days = ["mo", "tu", "we", "th", "fr", "sa", "su"];
    match (1..).zip(days).find(|(_, start)| word.starts_with(start)) {
        Some((number, _)) => Ok(number),
        None => Err(refused(&format!("the day `{word}` in `{name}`"), "use `mo`, `tu`, …, `su`")),
    }
}

/// A moment in a text of this form, or in so many parts of a second since 1970.
fn moment(value: &Expr, form: &Expr, dialect: SqlDialect, name: &str) -> Result<Expr> {
    let parameters = |form: Expr| [("x", value.clone()), ("f", form)];
    if let Expr::Value(literal) = form
        && let Value::Number(..) = literal.value
    {
        let written = "cast(tidemill_seconds(x, f) as timestamp)";
        return template(written, &parameters(form.clone()), dialect);
    }
    let pattern = super::formats::pattern(literal_of(form, name)?, dialect)?;
    let written = "cast(to_timestamp(x, f) as timestamp)";
    template(written, &parameters(text(&pattern)), dialect)
}

/// `to_number(x, 10, 2)`
fn numeric(value: &Expr, digits: &[Expr], name: &str) -> Result<Expr> {
    let written = |expr: &Expr| match expr {
        Expr::Value(literal) => match &literal.value {
            Value::Number(digits, _) => digits.parse::<u64>().ok(),
            _ => None,
        },
        _ => None,
    };
    let numbers: Option<Vec<u64>> = digits.iter().map(written).collect();
    let info = match numbers.as_deref() {
        Some([precision]) => ExactNumberInfo::PrecisionAndScale(*precision, 0),
        Some([precision, scale]) => match i64::try_from(*scale) {
            Ok(scale) => ExactNumberInfo::PrecisionAndScale(*precision, scale),
            Err(_) => return Err(refused(&format!("`{name}` with so many digits"), "")),
        },
        _ => {
            return Err(refused(
                &format!("`{name}` with a pattern"),
                "give the digits: `to_number(x, 10, 2)`",
            ));
        }
    };
    let data_type = DataType::Numeric(info);
    let kind = if name.starts_with("try_") { CastKind::TryCast } else { CastKind::Cast };
    Ok(cast_as(kind, value.clone(), data_type))
}

/// `format('%s is %d', a, b)`
fn printf(pattern: &Expr, values: &[Expr], dialect: SqlDialect, name: &str) -> Result<Expr> {
    let written = literal_of(pattern, name)?;
    let unknown = |what: &str| {
        Err(refused(&format!("`{what}` in a pattern of `format`"), "use `concat` and casts"))
    };
    let mut plain = String::with_capacity(written.len());
    let mut arguments = Vec::with_capacity(values.len() + 1);
    let mut given = values.iter();
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        plain.push(letter);
        if letter != '%' {
            continue;
        }
        let mut form = String::new();
        let kind = loop {
            match letters.next() {
                Some(digit) if digit.is_ascii_digit() || matches!(digit, '.' | '-' | '+') => {
                    form.push(digit);
                }
                Some(kind) => break kind,
                None => return unknown("%"),
            }
        };
        plain.push_str(&form);
        if kind == '%' {
            plain.push('%');
            continue;
        }
        let Some(value) = given.next() else {
            return Err(refused(&format!("`{name}` with fewer values than its pattern has"), ""));
        };
        match kind {
            'd' | 's' | 'f' | 'x' => {
                plain.push(kind);
                arguments.push(value.clone());
            }
            'i' => {
                plain.push('d');
                arguments.push(value.clone());
            }
            't' => {
                plain.push('s');
                let shown = "coalesce(cast(v as varchar), 'NULL')";
                arguments.push(template(shown, &[("v", value.clone())], dialect)?);
            }
            other => return unknown(&format!("%{form}{other}")),
        }
    }
    arguments.insert(0, text(&plain));
    Ok(call("printf", arguments))
}

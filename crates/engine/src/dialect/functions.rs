//! Calls that one line of a table cannot say.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};
use tidemill_core::{Error, ErrorKind, Result, SqlDialect};

use super::refused;
use super::rules::{closed, literal_of, template, unit_of};
use super::translator::sunday_weeks;
use crate::syntax::{binary, call, number, text};

/// What the rule `@by` makes of a call.
pub(super) fn done(by: &str, args: &[Expr], dialect: SqlDialect, name: &str) -> Result<Expr> {
    let fill = |written: &str, values: &[(&str, &Expr)]| {
        let values: Vec<(&str, Expr)> =
            values.iter().map(|(name, value)| (*name, (*value).clone())).collect();
        template(written, &values, dialect)
    };
    if let Some(done) = super::called::done(by, args, dialect)
        .or_else(|| super::warehouse::done(by, args, dialect, name))
        .or_else(|| super::weeks::done(by, args, dialect, name))
        .or_else(|| super::lambdas::done(by, args, dialect, name))
    {
        return done;
    }
    match (by, args) {
        ("substr", [value, from, length @ ..]) => substr(value, from, length.first(), dialect),
        // NULL when one argument is.
        ("strict_extreme", [_, ..]) => {
            let nulls = args
                .iter()
                .map(|value| Expr::IsNull(Box::new(closed(value.clone()))))
                .reduce(|all, next| binary(all, BinaryOperator::Or, next));
            let extreme = call(name, args.to_vec());
            let Some(nulls) = nulls else { return Ok(extreme) };
            fill("case when n then null else e end", &[("n", &nulls), ("e", &extreme)])
        }
        ("strict_concat", [first, rest @ ..]) => {
            let start = fill("'' || x", &[("x", first)])?;
            rest.iter().try_fold(start, |all, next| fill("a || b", &[("a", &all), ("b", next)]))
        }
        ("strict_concat_ws", [separator, first, rest @ ..]) => {
            let start = fill("'' || x", &[("x", first)])?;
            rest.iter().try_fold(start, |all, next| {
                fill("a || s || b", &[("a", &all), ("s", separator), ("b", next)])
            })
        }
        // The whole text has to match.
        ("anchored", [value, pattern]) => {
            fill("regexp_like(x, '^(?:' || p || ')$')", &[("x", value), ("p", pattern)])
        }
        ("anchored", [value, pattern, flags]) => fill(
            "regexp_like(x, '^(?:' || p || ')$', f)",
            &[("x", value), ("p", pattern), ("f", flags)],
        ),
        ("replace_first", [value, pattern, replacement]) => fill(
            "regexp_replace(x, p, r)",
            &[("x", value), ("p", pattern), ("r", &with_whole_match(replacement))],
        ),
        ("replace_first", [value, pattern, replacement, flags]) => fill(
            "regexp_replace(x, p, r, f)",
            &[("x", value), ("p", pattern), ("r", &with_whole_match(replacement)), ("f", flags)],
        ),
        ("replace_all", [value, pattern, replacement]) => fill(
            "regexp_replace(x, p, r, 'g')",
            &[("x", value), ("p", pattern), ("r", &with_whole_match(replacement))],
        ),
        // `$1` is `\1`.
        ("replace_dollar", [value, pattern, replacement]) => {
            let written = literal_of(replacement, name)?;
            let mut groups = String::new();
            let mut letters = written.chars().peekable();
            while let Some(letter) = letters.next() {
                match letter {
                    '$' if letters.next_if_eq(&'0').is_some() => groups.push_str("\\&"),
                    '$' if letters.peek().is_some_and(char::is_ascii_digit) => groups.push('\\'),
                    '\\' => groups.push_str("\\\\"),
                    letter => groups.push(letter),
                }
            }
            let groups = text(&groups);
            fill("regexp_replace(x, p, r, 'g')", &[("x", value), ("p", pattern), ("r", &groups)])
        }
        ("bigquery_trunc_in", [value, unit, zone]) => {
            let local = fill("(x at time zone z)", &[("x", value), ("z", zone)])?;
            let cut = done("bigquery_trunc", &[local, unit.clone()], dialect, "datetime_trunc")?;
            fill("(x at time zone z)", &[("x", &cut), ("z", zone)])
        }
        ("bigquery_trunc", [value, unit]) => match bigquery_unit(unit, name)? {
            "date" => fill("cast(x as date)", &[("x", value)]),
            // It begins with the week of the fourth of January.
            "isoyear" => fill(
                "(x operator(tidemill.dated) date_trunc('week', \
                 cast(make_date(cast(date_part('isoyear', x) as int), 1, 4) as timestamp)))",
                &[("x", value)],
            ),
            unit => {
                let unit = text(unit);
                let truncated = match name {
                    // A date stays one.
                    "date_trunc" => "(u operator(tidemill.trunc) x)",
                    _ => "date_trunc(u, x)",
                };
                fill(truncated, &[("u", &unit), ("x", value)])
            }
        },
        ("bigquery_diff", [later, earlier, unit]) => {
            let unit = text(bigquery_unit(unit, name)?);
            fill("datediff(u, b, a)", &[("u", &unit), ("a", later), ("b", earlier)])
        }
        ("bigquery_last_day", [value, unit]) => {
            let unit = text(bigquery_unit(unit, name)?);
            fill("last_day(x, u)", &[("x", value), ("u", &unit)])
        }
        // Days and less are counted from a Monday, months from January.
        ("bucket", [span, value]) => {
            let months = ["month", "quarter", "year", "decade", "century"];
            let written = span.to_string().to_lowercase();
            let from = match months.iter().any(|unit| written.contains(unit)) {
                true => "date_bin(i, cast(x as timestamp), timestamp '2000-01-01')",
                false => "date_bin(i, cast(x as timestamp), timestamp '2000-01-03')",
            };
            let bucket = fill(from, &[("i", span), ("x", value)])?;
            match names_time(&written) {
                true => Ok(bucket),
                // A date stays one in days and longer ones.
                false => fill("(x operator(tidemill.dated) b)", &[("x", value), ("b", &bucket)]),
            }
        }
        // Dates are moments in a series.
        ("series", bounds) => {
            let mut bounds = bounds.to_vec();
            crate::rows_from::series(&mut bounds);
            Ok(call(name, bounds))
        }
        // Whole spans, not borders between them.
        ("elapsed", [unit, from, to]) => elapsed(unit, from, to, dialect, name),
        ("bigquery_elapsed", [later, earlier, unit]) => {
            elapsed(unit, earlier, later, dialect, name)
        }
        ("redshift_diff", [unit, from, to]) => {
            let word = unit_of(unit, dialect).ok_or_else(|| unknown_unit(unit, name))?;
            if word == "week" && dialect == SqlDialect::DuckDb {
                // Whole weeks of days, as DuckDB 2 counts them; earlier ones counted Mondays.
                return fill(
                    "cast((cast(b as date) - cast(a as date)) / 7 as bigint)",
                    &[("a", from), ("b", to)],
                );
            }
            if word == "week" {
                return Err(refused(
                    &format!("`{name}` of {dialect} in weeks"),
                    "write the days between `date_trunc('week', a)` and `date_trunc('week', b)`, \
                     divided by 7",
                ));
            }
            let unit = text(word);
            fill("datediff(u, a, b)", &[("u", &unit), ("a", from), ("b", to)])
        }
        // The pattern comes second and may be left out.
        ("spark_trunc", [value, unit]) => {
            let unit = text(spark_unit(literal_of(unit, name)?, name)?);
            fill("(u operator(tidemill.trunc) cast(x as date))", &[("u", &unit), ("x", value)])
        }
        ("approximate_quantiles", [value, count]) => {
            let Expr::Value(literal) = count else { return Err(refused(name, "")) };
            let Value::Number(digits, _) = &literal.value else { return Err(refused(name, "")) };
            let most: u32 = digits.parse().unwrap_or(0);
            if !(1..=100).contains(&most) {
                return Err(refused(
                    "`approx_quantiles` with more than 100 parts",
                    "use `percentile_cont`",
                ));
            }
            let parts: Result<Vec<Expr>> = (0..=most)
                .map(|part| {
                    let share = Expr::Value(
                        Value::Number((f64::from(part) / f64::from(most)).to_string(), false)
                            .with_empty_span(),
                    );
                    fill(
                        "percentile_disc(p) within group (order by x)",
                        &[("p", &share), ("x", value)],
                    )
                })
                .collect();
            Ok(crate::syntax::array_of(parts?))
        }
        ("object", _) if args.len().is_multiple_of(2) => {
            let object = call("json_build_object", args.to_vec());
            // Without blanks between keys and values.
            Ok(match dialect {
                // A key without a value is left out there.
                SqlDialect::Snowflake if name == "object_construct" => {
                    call("tidemill_json_present", vec![object])
                }
                SqlDialect::DuckDb | SqlDialect::Snowflake | SqlDialect::BigQuery => {
                    call("tidemill_json_short", vec![object])
                }
                _ => object,
            })
        }
        ("list_in_json", _) => {
            Ok(call("tidemill_json_short", vec![call("json_build_array", args.to_vec())]))
        }
        ("sequence_number", []) => Ok(Expr::Identifier(
            datafusion::sql::sqlparser::ast::Ident::with_quote('"', super::relations::SEQUENCE),
        )),
        // Only seconds since 1970 have a fraction there.
        ("part", [Expr::Array(units), value]) => {
            let mut fields = Vec::new();
            for unit in &units.elem {
                fields.push(text(literal_of(unit, name)?));
                fields.push(done(by, &[unit.clone(), value.clone()], dialect, name)?);
            }
            Ok(call("named_struct", fields))
        }
        ("part", [unit, value]) => {
            let word = unit_of(unit, dialect).ok_or_else(|| unknown_unit(unit, name))?;
            let unit = text(word);
            let written = match word {
                "epoch" => "date_part(u, x)",
                "second" => "cast(floor(date_part(u, x)) as bigint)",
                _ => "cast(date_part(u, x) as bigint)",
            };
            fill(written, &[("u", &unit), ("x", value)])
        }
        ("stop", _) => Err(refused(&format!("`{name}` of {dialect}"), "")),
        _ => Err(match by {
            "object" | "substr" | "strict_concat" | "strict_extreme" | "strict_concat_ws" => {
                refused(&format!("`{name}` with these arguments"), "")
            }
            _ => Error::new(ErrorKind::Internal, format!("there is no rule `{by}`")),
        }),
    }
}

/// Whether a span as it is written has a part that is less than a day.
fn names_time(written: &str) -> bool {
    [":", "hour", "minute", "second"].iter().any(|word| written.contains(word))
}

fn unknown_unit(unit: &Expr, name: &str) -> Error {
    refused(
        &format!("the part of a date `{unit}` in `{name}`"),
        "use `year`, `quarter`, `month`, `week`, `day`, `hour`, `minute` or `second`",
    )
}

/// A start before the text counts from its end, and 0 is 1 (in DuckDB the place before the text).
fn substr(value: &Expr, from: &Expr, length: Option<&Expr>, dialect: SqlDialect) -> Result<Expr> {
    let mut arguments = vec![value.clone()];
    let zero_stays = dialect == SqlDialect::DuckDb;
    arguments.push(match from {
        Expr::Value(literal) => match &literal.value {
            Value::Number(digits, _) if digits == "0" && !zero_stays => number(1),
            _ => from.clone(),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, .. } => template(
            "greatest(length(x) + s + 1, 1)",
            &[("x", value.clone()), ("s", from.clone())],
            dialect,
        )?,
        other => template(
            match zero_stays {
                true => "case when s < 0 then greatest(length(x) + s + 1, 1) else s end",
                false => {
                    "case when s < 0 then greatest(length(x) + s + 1, 1) when s = 0 then 1 else s end"
                }
            },
            &[("x", value.clone()), ("s", other.clone())],
            dialect,
        )?,
    });
    arguments.extend(length.cloned());
    Ok(call("substr", arguments))
}

/// BigQuery's names for parts of dates.
fn bigquery_unit(unit: &Expr, name: &str) -> Result<&'static str> {
    let Expr::Identifier(word) = unit else { return Err(unknown_unit(unit, name)) };
    Ok(match word.value.to_lowercase().as_str() {
        // Those are done where they are known (see `weeks`).
        "week" | "week_sunday" => return Err(sunday_weeks(name)),
        "isoweek" | "week_monday" => "week",
        "date" => "date",
        other => match crate::functions::date_unit(other) {
            Some(unit) if !other.starts_with("week_") => unit,
            _ => return Err(unknown_unit(unit, name)),
        },
    })
}

fn spark_unit(word: &str, name: &str) -> Result<&'static str> {
    Ok(match word.to_lowercase().as_str() {
        "year" | "yyyy" | "yy" => "year",
        "quarter" => "quarter",
        "month" | "mm" | "mon" => "month",
        "week" => "week",
        other => {
            return Err(refused(
                &format!("the part of a date `{other}` in `{name}`"),
                "use `year`, `quarter`, `month` or `week`",
            ));
        }
    })
}

/// How many whole parts lie between two moments.
fn elapsed(unit: &Expr, from: &Expr, to: &Expr, dialect: SqlDialect, name: &str) -> Result<Expr> {
    let word = match dialect {
        SqlDialect::BigQuery => bigquery_unit(unit, name)?,
        _ => unit_of(unit, dialect).ok_or_else(|| unknown_unit(unit, name))?,
    };
    let months = match word {
        "month" => Some(1),
        "quarter" => Some(3),
        "year" => Some(12),
        _ => None,
    };
    let values = |size: u64| vec![("a", from.clone()), ("b", to.clone()), ("n", number(size))];
    if let Some(months) = months {
        return template(
            "cast(trunc((date_part('year', age(b, a)) * 12 + date_part('month', age(b, a))) / n) \
             as bigint)",
            &values(months),
            dialect,
        );
    }
    let micros: u64 = match word {
        "week" => 7 * 86_400_000_000,
        "day" => 86_400_000_000,
        "hour" => 3_600_000_000,
        "minute" => 60_000_000,
        "second" => 1_000_000,
        "millisecond" => 1_000,
        "microsecond" => 1,
        _ => return Err(unknown_unit(unit, name)),
    };
    template("datediff('microsecond', a, b) / n", &values(micros), dialect)
}

/// A replacement in which `\0` is all that was found, which PostgreSQL writes `\&`; as it is where it is not
/// written out.
fn with_whole_match(replacement: &Expr) -> Expr {
    let Ok(written) = literal_of(replacement, "regexp_replace") else { return replacement.clone() };
    let mut out = String::with_capacity(written.len());
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        out.push(letter);
        if letter == '\\' {
            out.extend(letters.next().map(|next| if next == '0' { '&' } else { next }));
        }
    }
    text(&out)
}

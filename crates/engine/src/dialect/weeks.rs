//! Weeks of BigQuery, which begin on Sunday, or on the day that is named: `date_trunc(d, week)`,
//! `date_diff(a, b, week(thursday))`.
//!
//! The engine's begin on Monday. A moment that is some days later falls into such a week as it fell into the other.

use datafusion::sql::sqlparser::ast::Expr;
use tidemill_core::{Result, SqlDialect};

use super::rules::template;
use crate::syntax::{interval_of, number, text};

/// How many days a week begins before a Monday; `None` where it begins on one, or it is no week.
pub(super) fn days_before_monday(word: &str) -> Option<u64> {
    Some(match word.to_lowercase().as_str() {
        "week" | "week_sunday" => 1,
        "week_saturday" => 2,
        "week_friday" => 3,
        "week_thursday" => 4,
        "week_wednesday" => 5,
        "week_tuesday" => 6,
        _ => return None,
    })
}

/// What the rule `@by` makes of a call with such a week; `None`: it has none.
pub(super) fn done(
    by: &str,
    args: &[Expr],
    dialect: SqlDialect,
    name: &str,
) -> Option<Result<Expr>> {
    let Some(Expr::Identifier(unit)) = args.last() else { return None };
    let days = days_before_monday(&unit.value)?;
    let shift = ("i", interval_of(text(&format!("{days} days"))));
    Some(match (by, args) {
        ("bigquery_trunc", [value, _]) => {
            let written = match name {
                // A date stays one.
                "date_trunc" => "(x operator(tidemill.dated) (date_trunc('week', x + i) - i))",
                _ => "(date_trunc('week', x + i) - i)",
            };
            template(written, &[("x", value.clone()), shift], dialect)
        }
        ("bigquery_diff", [later, earlier, _]) => {
            let written = "datediff('week', cast(b as timestamp) + i, cast(a as timestamp) + i)";
            let parameters = [("a", later.clone()), ("b", earlier.clone()), shift];
            template(written, &parameters, dialect)
        }
        ("bigquery_last_day", [value, _]) => {
            let written = "(cast(date_trunc('week', x + i) - i as date) + 6)";
            template(written, &[("x", value.clone()), shift], dialect)
        }
        _ => return None,
    })
}

/// The number of a week in its year: days before the first one are in week 0.
pub(super) fn number_of(value: &Expr, word: &str, dialect: SqlDialect) -> Option<Result<Expr>> {
    let days = match word {
        "week_monday" => 0,
        other => days_before_monday(other)?,
    };
    // The days since the week began, of which Sunday is the first in `dow`.
    let written =
        "cast(floor((date_part('doy', x) + 6 - (date_part('dow', x) + n) % 7) / 7) as bigint)";
    let parameters = [("x", value.clone()), ("n", number((days + 6) % 7))];
    Some(template(written, &parameters, dialect))
}

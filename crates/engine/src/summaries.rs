//! `describe q` and `summarize q` of DuckDB as relations: what a query's columns are, and figures of each.
//!
//! A translation writes them as `tidemill_describe((q))` and `tidemill_summarize((q))`; once the columns of
//! `q` are known they become a list of values, or one query that reads `q` once.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, Query, Statement, TableAlias, TableFactor, VisitMut,
    VisitorMut,
};
use tidemill_core::Result;

use crate::functions::duckdb_name;
use crate::json_type::json_type;
use crate::parse::parse_query;
use crate::syntax::text;

/// What stands for `describe` and `summarize` as a function of rows.
pub(crate) const DESCRIBE: &str = "tidemill_describe";
pub(crate) const SUMMARIZE: &str = "tidemill_summarize";

/// The query that is asked about, and whether figures are wanted.
pub(crate) fn asked(factor: &TableFactor) -> Option<(&Query, bool)> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return None };
    let name = name.to_string();
    let figures = match name.as_str() {
        DESCRIBE => false,
        SUMMARIZE => true,
        _ => return None,
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] = args.args.as_slice() else {
        return None;
    };
    let mut argument = argument;
    while let Expr::Nested(inner) = argument {
        argument = inner;
    }
    match argument {
        Expr::Subquery(query) => Some((query, figures)),
        _ => None,
    }
}

/// Puts the answer in the place of the question.
///
/// # Errors
/// None that a person can cause: the text that is read is made here.
pub(crate) fn answer(factor: &mut TableFactor, columns: &[FieldRef]) -> Result<()> {
    let Some((query, figures)) = asked(factor) else { return Ok(()) };
    let query = query.clone();
    let alias = match factor {
        TableFactor::Table { alias, .. } => alias.take(),
        _ => None,
    };
    let written = match figures {
        true => summary(columns),
        false => description(columns),
    };
    let mut statement = parse_query(&written)?;
    if figures {
        // Nothing is refused by it.
        let _ = VisitMut::visit(&mut statement, &mut Rows(Some(Box::new(query))));
    }
    let Statement::Query(subquery) = statement else { return Ok(()) };
    *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
    Ok(())
}

/// Puts the query where its rows are read.
struct Rows(Option<Box<Query>>);

impl VisitorMut for Rows {
    type Break = std::convert::Infallible;

    fn pre_visit_table_factor(
        &mut self,
        factor: &mut TableFactor,
    ) -> std::ops::ControlFlow<Self::Break> {
        let wanted = matches!(factor, TableFactor::Table { name, args: None, .. }
            if name.to_string() == "tidemill_rows");
        if wanted && let Some(subquery) = self.0.take() {
            let alias = TableAlias {
                explicit: true,
                name: Ident::new("tidemill_rows"),
                columns: Vec::new(),
                at: None,
            };
            *factor =
                TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
        }
        std::ops::ControlFlow::Continue(())
    }
}

fn quoted(value: &str) -> String {
    text(&value.replace('\'', "''")).to_string()
}

fn type_of(column: &FieldRef) -> String {
    match json_type(column) {
        Some(_) => "JSON".to_owned(),
        None => duckdb_name(column.data_type()),
    }
}

fn description(columns: &[FieldRef]) -> String {
    let nothing = "null::varchar, null::varchar, null::varchar";
    let rows: Vec<String> = columns
        .iter()
        .map(|column| {
            let (name, kind) = (quoted(column.name()), quoted(&type_of(column)));
            format!("({name}, {kind}, 'YES', {nothing})")
        })
        .collect();
    format!(
        "select * from (values {}) as described(column_name, column_type, \"null\", \"key\", \
         \"default\", extra)",
        rows.join(", ")
    )
}

/// The figures of one column, in their order; all are texts but the counts.
fn figures(column: &FieldRef) -> [String; 10] {
    let name = format!("\"{}\"", column.name().replace('"', "\"\""));
    let nothing = || "null::varchar".to_owned();
    let number = |value: String| format!("tidemill_plain({value})::varchar");
    let data_type = column.data_type();
    let numeric = data_type.is_numeric();
    let fraction = data_type.is_floating();
    let moment = matches!(
        data_type,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) | DataType::Time64(_)
    );
    let ordered = numeric || moment || *data_type == DataType::Boolean || data_type.is_string();
    let edge = |function: &str| match ordered {
        true => number(format!("{function}({name})")),
        false => nothing(),
    };
    let quartile = |share: &str| {
        let middle =
            format!("percentile_cont({share}) within group (order by {name}::double precision)");
        match data_type {
            _ if fraction => number(middle),
            DataType::Decimal128(precision, scale) => {
                format!("({middle})::numeric({precision}, {scale})::varchar")
            }
            _ if numeric => format!("({middle})::bigint::varchar"),
            _ if moment => {
                format!("(percentile_disc({share}) within group (order by {name}))::varchar")
            }
            _ => nothing(),
        }
    };
    let mean = match (numeric, moment) {
        (true, _) => number(format!("avg({name}::double precision)")),
        (_, true) => format!("avg({name})::varchar"),
        _ => nothing(),
    };
    let spread = match numeric {
        true => number(format!("stddev_samp({name}::double precision)")),
        false => nothing(),
    };
    let missing =
        format!("(100.0 * (count(*) - count({name})) / nullif(count(*), 0))::numeric(9, 2)");
    [
        edge("min"),
        edge("max"),
        format!("count(distinct {name})"),
        mean,
        spread,
        quartile("0.25"),
        quartile("0.5"),
        quartile("0.75"),
        "count(*)".to_owned(),
        missing,
    ]
}

fn summary(columns: &[FieldRef]) -> String {
    const NAMES: [&str; 10] = [
        "min",
        "max",
        "approx_unique",
        "avg",
        "std",
        "q25",
        "q50",
        "q75",
        "count",
        "null_percentage",
    ];
    let all: Vec<[String; 10]> = columns.iter().map(figures).collect();
    let list = |items: Vec<String>| format!("array[{}]", items.join(", "));
    let names = list(columns.iter().map(|column| quoted(column.name())).collect());
    let types = list(columns.iter().map(|column| quoted(&type_of(column))).collect());
    let mut lists = vec![format!("{names} as f0"), format!("{types} as f1")];
    let mut items =
        vec!["unnest(f0) as column_name".to_owned(), "unnest(f1) as column_type".to_owned()];
    for (place, name) in NAMES.iter().enumerate() {
        let figures = list(all.iter().map(|figures| figures[place].clone()).collect());
        lists.push(format!("{figures} as f{}", place + 2));
        items.push(format!("unnest(f{}) as \"{name}\"", place + 2));
    }
    format!(
        "select {} from (select {} from tidemill_rows) as summarized",
        items.join(", "),
        lists.join(", ")
    )
}

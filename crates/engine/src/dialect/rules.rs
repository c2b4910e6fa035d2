//! Functions by tables: what a call in another system is in the engine's SQL.
//!
//! A line of a table is one of
//!
//! ```text
//! same: abs, ceil, …                       the same name with the same meaning
//! nvl(a, b) = coalesce(a, b)               written in another way
//! ifnull(...) = coalesce(...)              another name for all numbers of arguments
//! datediff(unit, a, b) = datediff(unit, a, b)
//! regexp_like(x, p, flags) = @anchored     done by a function of `functions`
//! typeof ! JSON is text here; …            refused, with what to do
//! uuid ~! its values are others            the same, where the dialect is declared
//! ```
//!
//! The names of some parameters say what they take: `unit` a part of a date (a bare word or a text),
//! `fmt` a pattern of dates that is written out, `lit` any text that is written out.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use tidemill_core::{Error, ErrorKind, Result, SqlDialect};

use super::{formats, functions, refused};
use crate::error::nearest;
use crate::syntax::{nested, object_name, plain_arguments, simple_name, text};

/// What one function becomes.
#[derive(Debug, Clone)]
enum Rule {
    Same,
    Renamed(String),
    Written {
        parameters: Vec<String>,
        template: Box<Expr>,
    },
    Done {
        parameters: usize,
        by: String,
    },
    Refused(String),
    /// Refused where the dialect is declared; where it is presumed alone, the engine's own holds.
    Undeclared(String),
}

/// A rule that takes any number of arguments.
const ANY: usize = usize::MAX;

/// The functions of one system.
pub(super) struct Rules(HashMap<String, Vec<Rule>>);

macro_rules! rules {
    ($name:ident, $file:literal) => {
        static $name: LazyLock<Rules> = LazyLock::new(|| {
            Rules::read(&[include_str!("rules/common.rules"), include_str!($file)])
        });
    };
}
rules!(SNOWFLAKE, "rules/snowflake.rules");
rules!(BIGQUERY, "rules/bigquery.rules");
rules!(DUCKDB, "rules/duckdb.rules");
rules!(DATABRICKS, "rules/databricks.rules");
rules!(REDSHIFT, "rules/redshift.rules");

/// The rules of a system.
pub(super) fn rules(dialect: SqlDialect) -> &'static Rules {
    match dialect {
        SqlDialect::Snowflake => &SNOWFLAKE,
        SqlDialect::BigQuery => &BIGQUERY,
        SqlDialect::DuckDb => &DUCKDB,
        SqlDialect::Databricks => &DATABRICKS,
        SqlDialect::Redshift | SqlDialect::Postgres => &REDSHIFT,
    }
}

impl Rules {
    /// Later tables replace what earlier ones say of a function. A line that cannot be read is left
    /// out; a test finds those.
    fn read(tables: &[&str]) -> Rules {
        let mut all: HashMap<String, Vec<Rule>> = HashMap::new();
        for table in tables {
            let mut mine: HashMap<String, Vec<Rule>> = HashMap::new();
            for (name, rule) in table.lines().filter_map(read_line).flatten() {
                mine.entry(name).or_default().push(rule);
            }
            all.extend(mine);
        }
        Rules(all)
    }

    /// Whether there is a rule for a function.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The expression that a call becomes; `None`: it stays.
    pub(super) fn apply(&self, function: &Function, dialect: SqlDialect) -> Result<Option<Expr>> {
        let Some(name) = simple_name(function) else {
            return self.qualified(function, dialect);
        };
        // What the rules themselves write.
        if name.starts_with("tidemill_") {
            return Ok(None);
        }
        let Some(rules) = self.0.get(&name) else { return Err(self.unknown(&name, dialect)) };
        // `current_date` has no parentheses.
        let arguments = match &function.args {
            FunctionArguments::None => Some(Vec::new()),
            _ => plain_arguments(function),
        };
        let count = arguments.as_ref().map(Vec::len);
        for rule in rules {
            match rule {
                Rule::Same => return Ok(None),
                Rule::Renamed(to) => {
                    let mut renamed = function.clone();
                    renamed.name = object_name(to);
                    return Ok(Some(Expr::Function(renamed)));
                }
                Rule::Refused(instead) | Rule::Undeclared(instead) => {
                    return Err(refused(&format!("`{name}` of {dialect}"), instead));
                }
                Rule::Written { parameters, template } if count == Some(parameters.len()) => {
                    let Some(arguments) = arguments else { break };
                    let written = fill(template, parameters, &arguments, dialect, &name)?;
                    return with_clauses(written, function, dialect).map(Some);
                }
                Rule::Done { parameters, by }
                    if *parameters == ANY || count == Some(*parameters) =>
                {
                    let Some(arguments) = arguments else { break };
                    let written = functions::done(by, &arguments, dialect, &name)?;
                    return with_clauses(written, function, dialect).map(Some);
                }
                Rule::Written { .. } | Rule::Done { .. } => {}
            }
        }
        let form = match count {
            Some(1) => "with one argument".to_owned(),
            Some(count) => format!("with {count} arguments"),
            None => "in this form".to_owned(),
        };
        Err(refused(
            &format!("`{name}` of {dialect} {form}"),
            "write it in PostgreSQL's SQL in a model without `dialect`, or in another way",
        ))
    }

    /// Whether a call that could not be written means something that is known to be another thing here, so
    /// that it must not stay as it is written: it is refused by its name, or its clauses have no place in
    /// what is written for it.
    pub(super) fn refuses(&self, function: &Function) -> bool {
        let Some(rules) = simple_name(function).and_then(|name| self.0.get(&name)) else {
            return false;
        };
        let count = plain_arguments(function).map(|arguments| arguments.len());
        let clauses = function.over.is_some()
            || function.filter.is_some()
            || !function.within_group.is_empty();
        rules.iter().any(|rule| match rule {
            Rule::Refused(_) => true,
            Rule::Written { parameters, .. } => clauses && count == Some(parameters.len()),
            _ => false,
        })
    }

    /// `safe.f(x)` of BigQuery and functions of users.
    fn qualified(&self, function: &Function, dialect: SqlDialect) -> Result<Option<Expr>> {
        Err(refused(
            &format!("the function `{}` of {dialect}", function.name),
            "functions of a schema are not known here",
        ))
    }

    fn unknown(&self, name: &str, dialect: SqlDialect) -> Error {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let near = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`? If not, write"),
            None => "write".to_owned(),
        };
        refused(
            &format!("the function `{name}` of {dialect}"),
            &format!("{near} it with others, or in a model without `dialect`"),
        )
    }
}

fn read_line(line: &str) -> Option<Vec<(String, Rule)>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    if let Some(names) = line.strip_prefix("same:") {
        return Some(names.split(',').map(|name| (name.trim().to_owned(), Rule::Same)).collect());
    }
    if let Some((name, why)) = line.split_once(" ~! ") {
        let rule = Rule::Undeclared(why.trim().to_owned());
        return Some(name.split(',').map(|name| (name.trim().to_owned(), rule.clone())).collect());
    }
    if let Some((name, why)) = line.split_once(" ! ") {
        let rule = Rule::Refused(why.trim().to_owned());
        return Some(name.split(',').map(|name| (name.trim().to_owned(), rule.clone())).collect());
    }
    let (call, written) = line.split_once(" = ")?;
    let (name, parameters) = call.trim().strip_suffix(')')?.split_once('(')?;
    let name = name.trim().to_owned();
    let written = written.trim();
    if parameters == "..."
        && let Some(by) = written.strip_prefix('@')
    {
        return Some(vec![(name, Rule::Done { parameters: ANY, by: by.to_owned() })]);
    }
    if parameters == "..." {
        let to = written.strip_suffix("(...)")?;
        return Some(vec![(name, Rule::Renamed(to.to_owned()))]);
    }
    let parameters: Vec<String> = parameters
        .split(',')
        .map(|parameter| parameter.trim().to_owned())
        .filter(|parameter| !parameter.is_empty())
        .collect();
    if let Some(by) = written.strip_prefix('@') {
        let rule = Rule::Done { parameters: parameters.len(), by: by.to_owned() };
        return Some(vec![(name, rule)]);
    }
    let template = Box::new(parsed(written)?);
    Some(vec![(name, Rule::Written { parameters, template })])
}

fn parsed(template: &str) -> Option<Expr> {
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(template).ok()?;
    let expr = parser.parse_expr().ok()?;
    matches!(parser.peek_token().token, datafusion::sql::sqlparser::tokenizer::Token::EOF)
        .then_some(expr)
}

/// A template that a function of `functions` writes, with its parameters filled in.
pub(crate) fn template(
    written: &str,
    parameters: &[(&str, Expr)],
    dialect: SqlDialect,
) -> Result<Expr> {
    let Some(template) = parsed(written) else {
        return Err(Error::new(
            ErrorKind::Internal,
            format!("the template `{written}` cannot be read"),
        ));
    };
    let names: Vec<String> = parameters.iter().map(|(name, _)| (*name).to_owned()).collect();
    let values: Vec<Expr> = parameters.iter().map(|(_, value)| value.clone()).collect();
    fill(&template, &names, &values, dialect, written)
}

fn fill(
    template: &Expr,
    parameters: &[String],
    arguments: &[Expr],
    dialect: SqlDialect,
    function: &str,
) -> Result<Expr> {
    let mut values: HashMap<&str, Expr> = HashMap::new();
    for (parameter, argument) in parameters.iter().zip(arguments) {
        let value = match parameter.as_str() {
            "unit" => text(unit_of(argument, dialect).ok_or_else(|| {
                refused(
                    &format!("the part of a date `{argument}` in `{function}`"),
                    "use `year`, `quarter`, `month`, `week`, `day`, `hour`, `minute` or `second`",
                )
            })?),
            "fmt" => text(&formats::pattern(literal_of(argument, function)?, dialect)?),
            "lit" => {
                literal_of(argument, function)?;
                argument.clone()
            }
            _ => closed(argument.clone()),
        };
        values.insert(parameter, value);
    }
    let mut filled = template.clone();
    let _ = visit_expressions_mut(&mut filled, |expr| {
        if let Expr::Identifier(name) = expr
            && let Some(value) = values.get(name.value.as_str())
        {
            *expr = Expr::Nested(Box::new(value.clone()));
        }
        ControlFlow::<()>::Continue(())
    });
    // What needs no parentheses has none.
    let _ = visit_expressions_mut(&mut filled, |expr| {
        while let Expr::Nested(inner) = expr
            && is_closed(inner)
        {
            let inner = inner.as_ref().clone();
            *expr = inner;
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(closed(filled))
}

fn is_closed(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Value(_)
            | Expr::Function(_)
            | Expr::Nested(_)
            | Expr::Subquery(_)
            | Expr::Case { .. }
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Cast {
                kind: datafusion::sql::sqlparser::ast::CastKind::Cast
                    | datafusion::sql::sqlparser::ast::CastKind::TryCast
                    | datafusion::sql::sqlparser::ast::CastKind::SafeCast,
                ..
            }
    )
}

/// The expression in parentheses, where it needs them beside an operator.
pub(super) fn closed(expr: Expr) -> Expr {
    if is_closed(&expr) { expr } else { nested(expr) }
}

/// A text that is written out.
pub(super) fn literal_of<'a>(expr: &'a Expr, function: &str) -> Result<&'a str> {
    if let Expr::Value(value) = expr
        && let Value::SingleQuotedString(text) = &value.value
    {
        return Ok(text);
    }
    Err(refused(
        &format!("`{function}` with a pattern that is not written out"),
        "write the pattern as a text",
    ))
}

/// The part of a date that a bare word or a text names.
pub(super) fn unit_of(expr: &Expr, dialect: SqlDialect) -> Option<&'static str> {
    let word = match expr {
        Expr::Identifier(ident) => ident.value.as_str(),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(word) => word.as_str(),
            _ => return None,
        },
        _ => return None,
    };
    // Weeks of BigQuery begin on Sunday.
    if dialect == SqlDialect::BigQuery && word.eq_ignore_ascii_case("week") {
        return None;
    }
    crate::functions::date_unit(word)
}

/// The clauses of the call (`distinct`, `over`, `filter`, …) at what was written for it.
fn with_clauses(written: Expr, call: &Function, dialect: SqlDialect) -> Result<Expr> {
    let FunctionArguments::List(list) = &call.args else { return Ok(written) };
    let bare = list.duplicate_treatment.is_none()
        && list.clauses.is_empty()
        && call.filter.is_none()
        && call.over.is_none()
        && call.null_treatment.is_none()
        && call.within_group.is_empty();
    if bare {
        return Ok(written);
    }
    let at = |function: &mut Function| {
        if let FunctionArguments::List(arguments) = &mut function.args {
            arguments.duplicate_treatment =
                list.duplicate_treatment.or(arguments.duplicate_treatment);
            arguments.clauses.extend(list.clauses.iter().cloned());
        }
        if let Some(given) = &call.filter {
            let filter = match function.filter.take() {
                Some(own) => crate::syntax::binary(
                    *own,
                    datafusion::sql::sqlparser::ast::BinaryOperator::And,
                    closed(given.as_ref().clone()),
                ),
                None => given.as_ref().clone(),
            };
            function.filter = Some(Box::new(filter));
        }
        function.over.clone_from(&call.over);
        function.null_treatment = call.null_treatment;
        if !call.within_group.is_empty() {
            function.within_group.clone_from(&call.within_group);
        }
    };
    let aggregates = |function: &Function| {
        AGGREGATES.contains(&simple_name(function).unwrap_or_default().as_str())
    };
    let mut written = written;
    let mut found = false;
    // What is written with aggregates has the clauses at each of them.
    if !matches!(&written, Expr::Function(function) if aggregates(function)) {
        let _ = visit_expressions_mut(&mut written, |expr| {
            if let Expr::Function(function) = expr
                && aggregates(function)
            {
                at(function);
                found = true;
            }
            ControlFlow::<()>::Continue(())
        });
    }
    match written {
        written if found => Ok(written),
        Expr::Function(mut function) => {
            at(&mut function);
            Ok(Expr::Function(function))
        }
        _ => Err(refused(
            &format!("`{}` of {dialect} with `over`, `filter`, `distinct` or an order", call.name),
            "",
        )),
    }
}

/// Aggregates of which the tables write others.
const AGGREGATES: [&str; 8] =
    ["array_agg", "avg", "count", "json_agg", "json_object_agg", "string_agg", "stddev_pop", "sum"];

/// A named argument (`input => x`) of a call.
pub(super) fn named(args: &[FunctionArg], wanted: &str) -> Option<Expr> {
    args.iter().find_map(|argument| match argument {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
            if name.value.eq_ignore_ascii_case(wanted) =>
        {
            Some(value.clone())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_can_be_read() {
        for (file, table) in [
            ("common", include_str!("rules/common.rules")),
            ("snowflake", include_str!("rules/snowflake.rules")),
            ("bigquery", include_str!("rules/bigquery.rules")),
            ("duckdb", include_str!("rules/duckdb.rules")),
            ("databricks", include_str!("rules/databricks.rules")),
            ("redshift", include_str!("rules/redshift.rules")),
        ] {
            for (number, line) in table.lines().enumerate() {
                let nothing = line.trim().is_empty() || line.starts_with('#');
                assert!(nothing || read_line(line).is_some(), "{file}:{}: {line}", number + 1);
            }
        }
    }
}

//! The tests that are known by name, and the query for all others.
//!
//! Each is described by what dbt's SQL of the same name selects (dbt-core 1.11, dbt-utils 1.3,
//! dbt-expectations 0.10): the failing rows. A measure counts the same rows without listing them.

use tidemill_core::{
    Check, CheckId, Error, ErrorKind, Measure, Measurement, Reference, Result, Verdict,
};

use crate::TestDefinition;
use crate::arguments::literal;
use crate::judge::Judge;

/// A test with what it measures and the rows that it finds.
struct Test {
    judge: Judge,
    measure: Measure,
    /// The query for the failing rows.
    rows: String,
    limit: Option<u64>,
}

impl Check for Test {
    fn id(&self) -> &CheckId {
        self.judge.id()
    }

    fn measures(&self) -> Vec<Measure> {
        vec![self.measure.clone()]
    }

    fn judge(&self, measurements: &[Measurement]) -> Verdict {
        let count = measurements.first().map_or(0.0, Measurement::as_f64);
        let limit = self.limit.map_or(f64::INFINITY, |limit| limit as f64);
        self.judge.verdict(count.min(limit))
    }

    fn failing_rows(&self) -> String {
        self.rows.clone()
    }
}

/// How a test finds its failing rows.
struct Rule {
    measure: Measure,
    rows: String,
    /// The `fail_calc` that the test sets where the user sets none.
    calc: Option<&'static str>,
}

impl Rule {
    fn new(measure: Measure, rows: String) -> Self {
        Rule { measure, rows, calc: None }
    }

    /// A rule that only SQL can express: its failing rows are counted by a query.
    fn query(rows: String) -> Self {
        let sql = count_of("count(*)", &rows);
        Rule::new(Measure::Query { sql }, rows)
    }
}

fn count_of(calc: &str, rows: &str) -> String {
    format!("select {calc} as failures from (\n{rows}\n) as dbt_internal_test")
}

type Make = fn(&TestDefinition) -> Result<Option<Rule>>;

/// Every native test: namespace, name, rule. A rule gives `None` when these arguments need the
/// test's SQL.
const NATIVE: &[(&str, &str, Make)] = &[
    ("", "not_null", not_null),
    ("", "unique", unique),
    ("", "accepted_values", accepted_values),
    ("", "relationships", relationships),
    ("dbt_utils", "unique_combination_of_columns", unique_combination),
    ("dbt_utils", "accepted_range", accepted_range),
    ("dbt_utils", "expression_is_true", expression_is_true),
    ("dbt_utils", "not_empty_string", not_empty_string),
    ("dbt_utils", "not_accepted_values", not_accepted_values),
    ("dbt_utils", "not_null_proportion", not_null_proportion),
    ("dbt_utils", "not_constant", not_constant),
    ("dbt_utils", "at_least_one", at_least_one),
    ("dbt_utils", "equal_rowcount", equal_rowcount),
    ("dbt_utils", "cardinality_equality", cardinality_equality),
    ("dbt_utils", "relationships_where", relationships_where),
    ("dbt_expectations", "expect_column_values_to_match_regex", match_regex),
    ("dbt_expectations", "expect_column_values_to_not_match_regex", not_match_regex),
    ("dbt_expectations", "expect_column_values_to_be_between", be_between),
    ("dbt_expectations", "expect_column_values_to_not_be_null", expect_not_null),
    ("dbt_expectations", "expect_column_values_to_be_unique", expect_unique),
    ("dbt_expectations", "expect_column_values_to_be_in_set", be_in_set),
    ("dbt_expectations", "expect_column_value_lengths_to_be_between", length_between),
];

/// Whether a test of this name is known without its SQL.
pub fn is_native(namespace: Option<&str>, name: &str) -> bool {
    rule_of(namespace, name).is_some()
}

/// Whether a test that is known by its name has arguments for which its SQL is needed.
pub fn needs_sql(test: &TestDefinition) -> bool {
    test.sql.is_none() && matches!(native(test), Ok(None))
}

fn rule_of(namespace: Option<&str>, name: &str) -> Option<Make> {
    // `dbt.not_null` is dbt's own.
    let namespace = namespace.filter(|namespace| *namespace != "dbt").unwrap_or("");
    NATIVE.iter().find(|rule| rule.0 == namespace && rule.1 == name).map(|rule| rule.2)
}

/// Makes the check of a test.
///
/// A test with [`TestDefinition::sql`] is counted by that query; any other must be native with
/// these arguments. An error (kind `Config`) names the test and the argument that is wrong, or says
/// that the test's SQL is needed.
pub fn check(test: &TestDefinition) -> Result<Box<dyn Check>> {
    let judge = Judge::of(test)?;
    let rule = match &test.sql {
        Some(sql) => Rule::query(sql.trim().trim_end_matches(';').to_owned()),
        None => native(test)?.ok_or_else(|| {
            let known: Vec<&str> = NATIVE.iter().map(|rule| rule.1).collect();
            let near = known
                .iter()
                .find(|name| name.contains(&test.name) || test.name.contains(*name))
                .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            Error::new(
                ErrorKind::Config,
                format!("the test `{}` is not known{near}", test.full_name()),
            )
            .with("test", &test.id)
        })?,
    };
    let custom = !test.counts_rows();
    let calc = match (custom, rule.calc) {
        (true, _) => Some(test.fail_calc.as_str()),
        (false, calc) => calc,
    };
    let counted = match test.limit {
        Some(limit) => format!("select * from (\n{}\n) as limited limit {limit}", rule.rows),
        None => rule.rows.clone(),
    };
    // The count of rows is measured; any other sum over the failing rows needs the rows.
    let measure = match calc {
        Some(calc) => Measure::Query { sql: count_of(calc, &counted) },
        None => rule.measure,
    };
    let limit = test.limit.filter(|_| calc.is_none());
    Ok(Box::new(Test { judge, measure, rows: rule.rows, limit }))
}

/// Makes the checks of many tests, each in its place.
pub fn checks_for(tests: &[TestDefinition]) -> Vec<Result<Box<dyn Check>>> {
    tests.iter().map(check).collect()
}

fn native(test: &TestDefinition) -> Result<Option<Rule>> {
    match rule_of(test.namespace.as_deref(), &test.name) {
        Some(make) => make(test),
        None => Ok(None),
    }
}

/// All rows of the tested relation for which the predicate is true.
fn rows_where(test: &TestDefinition, predicate: &str) -> String {
    format!("select *\nfrom {}\nwhere {predicate}", test.tested())
}

fn count_if(test: &TestDefinition, predicate: String) -> Rule {
    let rows = rows_where(test, &predicate);
    Rule::new(Measure::CountIf { predicate, filter: test.filter.clone() }, rows)
}

fn and(a: Option<&str>, b: Option<&str>) -> Option<String> {
    match (a, b) {
        (Some(a), Some(b)) => Some(format!("({a}) and ({b})")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

/// The test with the `row_condition` of dbt_expectations as a further filter.
fn with_row_condition(test: &TestDefinition) -> Result<TestDefinition> {
    let condition = test.text("row_condition")?;
    let mut test = test.clone();
    test.filter = and(test.filter.as_deref(), condition.as_deref());
    Ok(test)
}

fn not_null(test: &TestDefinition) -> Result<Option<Rule>> {
    let column = test.column()?;
    let rows = rows_where(test, &format!("{column} is null"));
    let measure = Measure::Nulls { expression: column, filter: test.filter.clone() };
    Ok(Some(Rule::new(measure, rows)))
}

fn expect_not_null(test: &TestDefinition) -> Result<Option<Rule>> {
    not_null(&with_row_condition(test)?)
}

fn unique(test: &TestDefinition) -> Result<Option<Rule>> {
    let column = test.column()?;
    let rows = format!(
        "select\n    {column} as unique_field,\n    count(*) as n_records\nfrom {}\nwhere {column} is not null\ngroup by {column}\nhaving count(*) > 1",
        test.tested()
    );
    let measure = Measure::Duplicates {
        expressions: vec![column],
        ignore_nulls: true,
        filter: test.filter.clone(),
    };
    Ok(Some(Rule::new(measure, rows)))
}

/// dbt_expectations counts the duplicated rows, not the values.
fn expect_unique(test: &TestDefinition) -> Result<Option<Rule>> {
    let test = with_row_condition(test)?;
    let column = test.column()?;
    Ok(Some(Rule::query(format!(
        "select *\nfrom (\n    select *, count(*) over (partition by {column}) as n_records\n    from {}\n    where {column} is not null\n) as counted\nwhere n_records > 1",
        test.tested()
    ))))
}

fn accepted_values(test: &TestDefinition) -> Result<Option<Rule>> {
    let accepted = literals(test, "values", "quote")?;
    Ok(Some(value_rule(test, accepted)?))
}

fn literals(test: &TestDefinition, list: &str, quote: &str) -> Result<Vec<String>> {
    let quoted = test.flag(quote, true)?;
    let values = test.list(list)?;
    Ok(values.into_iter().map(|value| if quoted { literal(&value) } else { value }).collect())
}

fn value_rule(test: &TestDefinition, accepted: Vec<String>) -> Result<Rule> {
    let column = test.column()?;
    // An empty list accepts nothing; `not in ()` would be no SQL.
    let bad = match accepted.is_empty() {
        true => "value_field is not null".to_owned(),
        false => format!("value_field not in ({})", accepted.join(", ")),
    };
    let rows = format!(
        "select *\nfrom (\n    select {column} as value_field, count(*) as n_records\n    from {}\n    group by {column}\n) as all_values\nwhere {bad}",
        test.tested()
    );
    let measure = Measure::Unaccepted { expression: column, accepted, filter: test.filter.clone() };
    Ok(Rule::new(measure, rows))
}

/// dbt_expectations counts rows.
fn be_in_set(test: &TestDefinition) -> Result<Option<Rule>> {
    let test = with_row_condition(test)?;
    let column = test.column()?;
    let accepted = literals(&test, "value_set", "quote_values")?;
    let bad = match accepted.is_empty() {
        true => format!("{column} is not null"),
        false => format!("{column} not in ({})", accepted.join(", ")),
    };
    Ok(Some(count_if(&test, bad)))
}

fn not_accepted_values(test: &TestDefinition) -> Result<Option<Rule>> {
    let column = test.column()?;
    let refused = literals(test, "values", "quote")?;
    Ok(Some(Rule::query(format!(
        "select *\nfrom (\n    select distinct {column} as value_field\n    from {}\n) as all_values\nwhere value_field in ({})",
        test.tested(),
        refused.join(", ")
    ))))
}

fn relationships(test: &TestDefinition) -> Result<Option<Rule>> {
    related(test, test.filter.clone(), None)
}

fn relationships_where(test: &TestDefinition) -> Result<Option<Rule>> {
    let from = test.text("from_condition")?;
    let to = test.text("to_condition")?;
    let filter = and(test.filter.as_deref(), from.as_deref());
    related(test, filter, to)
}

fn related(
    test: &TestDefinition,
    filter: Option<String>,
    parent_filter: Option<String>,
) -> Result<Option<Rule>> {
    let column = test.column()?;
    let field = test.required("field")?;
    let to = test.required("to")?;
    let where_child = filter.iter().map(|filter| format!(" and ({filter})")).collect::<String>();
    let where_parent =
        parent_filter.iter().map(|filter| format!("\n    where {filter}")).collect::<String>();
    let rows = format!(
        "with child as (\n    select {column} as from_field\n    from {}\n    where {column} is not null{where_child}\n),\nparent as (\n    select {field} as to_field\n    from {to}{where_parent}\n)\nselect from_field\nfrom child\nleft join parent on child.from_field = parent.to_field\nwhere parent.to_field is null",
        test.relation.quoted()
    );
    let Some(relation) = test.relation_argument("to")? else {
        return Ok(Some(Rule::query(rows)));
    };
    let measure = Measure::Orphans {
        expression: column,
        reference: Reference { relation, expression: field, filter: parent_filter },
        filter,
    };
    Ok(Some(Rule::new(measure, rows)))
}

fn unique_combination(test: &TestDefinition) -> Result<Option<Rule>> {
    let mut columns = test.list("combination_of_columns")?;
    if test.flag("quote_columns", false)? {
        for column in &mut columns {
            *column = format!("\"{}\"", column.replace('"', "\"\""));
        }
    }
    if columns.is_empty() {
        return Err(Error::new(ErrorKind::Config, "`combination_of_columns` is empty")
            .with("test", &test.id));
    }
    let list = columns.join(", ");
    let rows =
        format!("select {list}\nfrom {}\ngroup by {list}\nhaving count(*) > 1", test.tested());
    let measure = Measure::Duplicates {
        expressions: columns,
        ignore_nulls: false,
        filter: test.filter.clone(),
    };
    Ok(Some(Rule::new(measure, rows)))
}

fn accepted_range(test: &TestDefinition) -> Result<Option<Rule>> {
    let (low, high) = (test.text("min_value")?, test.text("max_value")?);
    let inclusive = test.flag("inclusive", true)?;
    range_rule(test, &test.column()?, low, high, inclusive)
}

fn range_rule(
    test: &TestDefinition,
    value: &str,
    low: Option<String>,
    high: Option<String>,
    inclusive: bool,
) -> Result<Option<Rule>> {
    let equal = if inclusive { "=" } else { "" };
    let mut outside = Vec::new();
    outside.extend(low.map(|low| format!("not ({value} >{equal} {low})")));
    outside.extend(high.map(|high| format!("not ({value} <{equal} {high})")));
    if outside.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            format!("`{}` needs `min_value`, `max_value` or both", test.full_name()),
        )
        .with("test", &test.id));
    }
    Ok(Some(count_if(test, outside.join(" or "))))
}

fn be_between(test: &TestDefinition) -> Result<Option<Rule>> {
    let test = with_row_condition(test)?;
    let (low, high) = (test.text("min_value")?, test.text("max_value")?);
    let strictly = test.flag("strictly", false)?;
    range_rule(&test, &test.column()?, low, high, !strictly)
}

fn length_between(test: &TestDefinition) -> Result<Option<Rule>> {
    let test = with_row_condition(test)?;
    let (low, high) = (test.text("min_value")?, test.text("max_value")?);
    let strictly = test.flag("strictly", false)?;
    range_rule(&test, &format!("length({})", test.column()?), low, high, !strictly)
}

fn expression_is_true(test: &TestDefinition) -> Result<Option<Rule>> {
    let expression = test.required("expression")?;
    let whole = match &test.column {
        Some(column) => format!("{column} {expression}"),
        None => expression,
    };
    Ok(Some(count_if(test, format!("not ({whole})"))))
}

fn not_empty_string(test: &TestDefinition) -> Result<Option<Rule>> {
    let column = test.column()?;
    let value = match test.flag("trim_whitespace", true)? {
        true => format!("trim({column})"),
        false => column,
    };
    Ok(Some(count_if(test, format!("{value} = ''"))))
}

fn match_regex(test: &TestDefinition) -> Result<Option<Rule>> {
    let test = with_row_condition(test)?;
    let column = test.column()?;
    let pattern = test.required("regex")?;
    let flags = test.text("flags")?.unwrap_or_default();
    if flags.chars().any(|flag| flag != 'i' && flag != 'c') {
        return Err(Error::new(
            ErrorKind::Config,
            format!("`flags: {flags}` is not supported; write `(?{flags})` into the expression"),
        )
        .with("test", &test.id));
    }
    let ignore_case = flags.contains('i');
    let option = if ignore_case { ", 'i'" } else { "" };
    let rows =
        rows_where(&test, &format!("not regexp_like({column}, {}{option})", literal(&pattern)));
    let measure = Measure::Mismatches {
        expression: column,
        pattern,
        ignore_case,
        filter: test.filter.clone(),
    };
    Ok(Some(Rule::new(measure, rows)))
}

fn not_match_regex(test: &TestDefinition) -> Result<Option<Rule>> {
    let test = with_row_condition(test)?;
    let column = test.column()?;
    let pattern = literal(&test.required("regex")?);
    let flags = test.text("flags")?.unwrap_or_default();
    let option = if flags.is_empty() { String::new() } else { format!(", {}", literal(&flags)) };
    Ok(Some(count_if(&test, format!("regexp_like({column}, {pattern}{option})"))))
}

/// One row when the share of present values is outside of the bounds.
fn not_null_proportion(test: &TestDefinition) -> Result<Option<Rule>> {
    let column = test.column()?;
    let at_least = test.number("at_least")?.unwrap_or(0.0);
    let at_most = test.number("at_most")?.unwrap_or(1.0);
    let groups = test.optional_list("group_by_columns")?;
    let (select, group) = match groups.is_empty() {
        true => (String::new(), String::new()),
        false => {
            (format!("{}, ", groups.join(", ")), format!("\n    group by {}", groups.join(", ")))
        }
    };
    Ok(Some(Rule::query(format!(
        "select *\nfrom (\n    select {select}count({column}) * cast(1 as double) / nullif(count(*), 0) as not_null_proportion\n    from {}{group}\n) as validation\nwhere not_null_proportion < {at_least} or not_null_proportion > {at_most}",
        test.tested()
    ))))
}

fn grouped(test: &TestDefinition) -> Result<(String, String)> {
    let groups = test.optional_list("group_by_columns")?;
    Ok(match groups.is_empty() {
        true => (String::new(), String::new()),
        false => (format!("{}, ", groups.join(", ")), format!("\ngroup by {}", groups.join(", "))),
    })
}

fn not_constant(test: &TestDefinition) -> Result<Option<Rule>> {
    let column = test.column()?;
    let (select, group) = grouped(test)?;
    Ok(Some(Rule::query(format!(
        "select {select}count(distinct {column}) as filler_column\nfrom {}{group}\nhaving count(distinct {column}) = 1",
        test.tested()
    ))))
}

fn at_least_one(test: &TestDefinition) -> Result<Option<Rule>> {
    let column = test.column()?;
    let (select, group) = grouped(test)?;
    Ok(Some(Rule::query(format!(
        "select {select}count({column}) as filler_column\nfrom {}{group}\nhaving count({column}) = 0",
        test.tested()
    ))))
}

/// The failures are the difference, not the row that tells it. As in dbt_utils, whose counts come from
/// groups, a relation without rows has no count, and with it there is no difference.
fn equal_rowcount(test: &TestDefinition) -> Result<Option<Rule>> {
    if !test.optional_list("group_by_columns")?.is_empty() {
        return Ok(None);
    }
    let other = test.required("compare_model")?;
    let mut rule = Rule::query(format!(
        "select\n    count_a,\n    count_b,\n    abs(count_a - count_b) as diff_count\nfrom (select nullif(count(*), 0) as count_a from {}) as a\ncross join (select nullif(count(*), 0) as count_b from {other}) as b",
        test.tested()
    ));
    rule.calc = Some("sum(coalesce(diff_count, 0))");
    Ok(Some(rule))
}

fn cardinality_equality(test: &TestDefinition) -> Result<Option<Rule>> {
    let column = test.column()?;
    let (field, to) = (test.required("field")?, test.required("to")?);
    let table_a = format!(
        "select {column} as value_field, count(*) as num_rows from {} group by {column}",
        test.tested()
    );
    let table_b =
        format!("select {field} as value_field, count(*) as num_rows from {to} group by {field}");
    Ok(Some(Rule::query(format!(
        "with table_a as ({table_a}),\ntable_b as ({table_b})\n(select * from table_a except select * from table_b)\nunion all\n(select * from table_b except select * from table_a)"
    ))))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidemill_core::{RelationName, VerdictStatus};

    use super::*;

    fn test(name: &str, column: Option<&str>, arguments: Value) -> TestDefinition {
        let (namespace, name) = match name.split_once('.') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, name),
        };
        let mut test = TestDefinition::new("test.shop.t", name);
        test.namespace = namespace;
        test.relation = RelationName::new("main", "orders");
        test.column = column.map(str::to_owned);
        test.arguments = arguments.as_object().cloned().unwrap_or_default();
        test
    }

    fn measure(test: &TestDefinition) -> Measure {
        check(test).unwrap().measures().remove(0)
    }

    #[test]
    fn native_tests_become_measures() {
        let filter = None;
        assert_eq!(
            measure(&test("unique", Some("id"), json!({}))),
            Measure::Duplicates {
                expressions: vec!["id".into()],
                ignore_nulls: true,
                filter: filter.clone()
            }
        );
        assert_eq!(
            measure(&test("accepted_values", Some("s"), json!({"values": ["a", "o'b", 1]}))),
            Measure::Unaccepted {
                expression: "s".into(),
                accepted: vec!["'a'".into(), "'o''b'".into(), "'1'".into()],
                filter: filter.clone()
            }
        );
        assert_eq!(
            measure(&test("accepted_values", Some("s"), json!({"values": [1, 2], "quote": false}))),
            Measure::Unaccepted {
                expression: "s".into(),
                accepted: vec!["1".into(), "2".into()],
                filter: filter.clone()
            }
        );
        assert_eq!(
            measure(&test(
                "relationships",
                Some("customer_id"),
                json!({"to": "\"lake\".\"main\".\"customers\"", "field": "id"})
            )),
            Measure::Orphans {
                expression: "customer_id".into(),
                reference: Reference {
                    relation: RelationName::new("main", "customers"),
                    expression: "id".into(),
                    filter: None
                },
                filter: filter.clone()
            }
        );
        assert_eq!(
            measure(&test(
                "dbt_utils.accepted_range",
                Some("n"),
                json!({"min_value": 0, "max_value": "'9'", "inclusive": false})
            )),
            Measure::CountIf { predicate: "not (n > 0) or not (n < '9')".into(), filter: None }
        );
        assert_eq!(
            measure(&test(
                "dbt_utils.expression_is_true",
                Some("n"),
                json!({"expression": ">= 1"})
            )),
            Measure::CountIf { predicate: "not (n >= 1)".into(), filter: None }
        );
        assert_eq!(
            measure(&test("dbt_utils.expression_is_true", None, json!({"expression": "a = b"}))),
            Measure::CountIf { predicate: "not (a = b)".into(), filter: None }
        );
        assert_eq!(
            measure(&test(
                "dbt_expectations.expect_column_values_to_match_regex",
                Some("tail"),
                json!({"regex": "^N", "row_condition": "a > 1"})
            )),
            Measure::Mismatches {
                expression: "tail".into(),
                pattern: "^N".into(),
                ignore_case: false,
                filter: Some("a > 1".into())
            }
        );
    }

    #[test]
    fn a_custom_calculation_is_a_query_over_the_failing_rows() {
        let mut unique = test("unique", Some("id"), json!({}));
        unique.fail_calc = "sum(n_records)".into();
        unique.limit = Some(10);
        let Measure::Query { sql } = measure(&unique) else { panic!("a query is wanted") };
        assert!(sql.starts_with("select sum(n_records) as failures from ("), "{sql}");
        assert!(sql.contains("limit 10"), "{sql}");
    }

    #[test]
    fn a_limit_bounds_the_count() {
        let mut limited = test("not_null", Some("id"), json!({}));
        limited.limit = Some(5);
        let check = check(&limited).unwrap();
        assert_eq!(check.judge(&[Measurement::Count(100)]).failures, 5.0);
    }

    #[test]
    fn sql_decides_where_it_is_given() {
        let mut singular = test("not_null", None, json!({}));
        singular.sql = Some("select * from orders where amount < 0;\n".into());
        let check = check(&singular).unwrap();
        assert_eq!(check.failing_rows(), "select * from orders where amount < 0");
        let verdict = check.judge(&[Measurement::Nothing]);
        assert_eq!(verdict.status, VerdictStatus::Pass);
    }

    #[test]
    fn a_filter_is_applied_to_measure_and_rows() {
        let mut filtered = test("not_null", Some("id"), json!({}));
        filtered.filter = Some("a > 1".into());
        let check = check(&filtered).unwrap();
        assert_eq!(
            check.failing_rows(),
            "select *\nfrom (select * from \"main\".\"orders\" where a > 1) as dbt_subquery\nwhere id is null"
        );
        assert_eq!(
            check.measures(),
            [Measure::Nulls { expression: "id".into(), filter: Some("a > 1".into()) }]
        );
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (test, wanted) in [
            (test("not_null", None, json!({})), "needs a column"),
            (test("accepted_values", Some("a"), json!({})), "`values`"),
            (test("accepted_values", Some("a"), json!({"values": "x"})), "`values`"),
            (test("relationships", Some("a"), json!({"to": "x.y"})), "`field`"),
            (test("dbt_utils.accepted_range", Some("a"), json!({})), "`min_value`"),
            (
                test("dbt_utils.not_there", Some("a"), json!({})),
                "`dbt_utils.not_there` is not known",
            ),
        ] {
            let Err(error) = check(&test) else { panic!("{}: an error is wanted", test.name) };
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(wanted), "{error}");
            assert!(error.to_string().contains("test.shop.t"), "{error}");
        }
    }

    #[test]
    fn dbt_itself_may_be_named() {
        assert!(is_native(Some("dbt"), "unique"));
        assert!(is_native(None, "unique"));
        assert!(!is_native(Some("dbt_utils"), "unique"));
    }
}

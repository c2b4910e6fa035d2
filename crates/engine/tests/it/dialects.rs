//! SQL of other systems: `tests/dialects/<dialect>.txt` holds expressions and queries with what they
//! give there.
//!
//! A line is `sql  ==>  result`: rows apart by `; `, values by ` | `. An expression stands for
//! `select expression`. `sql  ==>  ! words` must be refused with these words in the message.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StringArray, StructArray};
use arrow::datatypes::{DataType, Fields};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use tidemill_core::{Engine, Error, SqlDialect};
use tidemill_engine::{EngineOptions, adapt, translate};

use crate::support::Setup;

async fn rows(setup: &Setup, sql: &str) -> Result<String, Error> {
    shown(setup, sql, |column| column.clone()).await
}

async fn shown(
    setup: &Setup,
    sql: &str,
    written: fn(&ArrayRef) -> ArrayRef,
) -> Result<String, Error> {
    let stream = setup.engine.query(sql, &setup.context()).await?;
    let batches: Vec<_> = stream.batches.try_collect().await?;
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &batches {
        let shown: Vec<ArrayRef> = batch.columns().iter().map(written).collect();
        let columns: Vec<ArrayFormatter> =
            shown.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns
                .iter()
                .zip(batch.columns())
                .map(|(format, column)| match column.is_null(row) {
                    true => "NULL".to_owned(),
                    false => format.value(row).to_string(),
                })
                .collect();
            rows.push(values.join(" | "));
        }
    }
    Ok(rows.join("; "))
}

async fn check(name: &str, table: &str) -> (usize, Vec<String>) {
    let dialect = SqlDialect::parse(name).unwrap();
    let setup = Setup::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (number, line) in table.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (sql, expected) =
            line.split_once("  ==>  ").unwrap_or_else(|| panic!("{name}: {line}"));
        count += 1;
        let start = sql.split_whitespace().next().unwrap_or_default().to_lowercase();
        let query = match start.as_str() {
            "select" | "with" | "from" | "values" => sql.to_owned(),
            _ => format!("select {sql}"),
        };
        let translated = translate(&query, dialect);
        let shown = translated.as_ref().map_or_else(ToString::to_string, Clone::clone);
        let given = match translated {
            Ok(translated) => rows(&setup, &translated).await,
            Err(error) => Err(error),
        };
        let right = match (&given, expected.strip_prefix("! ")) {
            (Ok(given), None) => given == expected,
            (Err(error), Some(words)) => error.message().contains(words),
            _ => false,
        };
        if !right {
            let given = given.unwrap_or_else(|error| format!("! {error}"));
            wrong.push(format!(
                "{name}:{}: {sql}\n   wanted {expected}\n   given  {given}\n   as     {shown}",
                number + 1
            ));
        }
    }
    (count, wrong)
}

#[tokio::test]
async fn each_construct_gives_what_its_system_gives() {
    let mut wrong = Vec::new();
    for (name, table) in [
        ("snowflake", include_str!("../dialects/snowflake.txt")),
        ("bigquery", include_str!("../dialects/bigquery.txt")),
        ("duckdb", include_str!("../dialects/duckdb.txt")),
        ("databricks", include_str!("../dialects/databricks.txt")),
        ("redshift", include_str!("../dialects/redshift.txt")),
    ] {
        let (count, mine) = check(name, table).await;
        assert!(count >= 60, "{name} has {count} constructs");
        wrong.extend(mine);
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// Numbers without zeros at the end of their fraction: how many there are follows from a number's type,
/// which may be another. Texts are as they are.
fn without_zeros(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Decimal128(..) | DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let options = FormatOptions::default();
            let format = ArrayFormatter::try_new(column, &options).unwrap();
            let text = |row: usize| {
                column.is_valid(row).then(|| {
                    let text = format.value(row).to_string();
                    match text.contains('.') && !text.contains('e') {
                        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                        false => text,
                    }
                })
            };
            Arc::new((0..column.len()).map(text).collect::<StringArray>())
        }
        DataType::List(field) => {
            let list = column.as_list::<i32>();
            let items = without_zeros(list.values());
            let field = Arc::new(field.as_ref().clone().with_data_type(items.data_type().clone()));
            Arc::new(ListArray::new(field, list.offsets().clone(), items, list.nulls().cloned()))
        }
        DataType::Struct(fields) => {
            let row = column.as_struct();
            let columns: Vec<ArrayRef> = row.columns().iter().map(without_zeros).collect();
            let fields: Fields = fields
                .iter()
                .zip(&columns)
                .map(|(field, column)| {
                    field.as_ref().clone().with_data_type(column.data_type().clone())
                })
                .collect();
            Arc::new(StructArray::new(fields, columns, row.nulls().cloned()))
        }
        DataType::Map(entry, sorted) => {
            let map = column.as_map();
            let entries = without_zeros(&(Arc::new(map.entries().clone()) as ArrayRef));
            let entry =
                Arc::new(entry.as_ref().clone().with_data_type(entries.data_type().clone()));
            let entries = entries.as_struct().clone();
            let nulls = map.nulls().cloned();
            Arc::new(MapArray::new(entry, map.offsets().clone(), entries, nulls, *sorted))
        }
        _ => column.clone(),
    }
}

/// `tests/dialects/duckdb-projects.txt` holds what models of projects for DuckDB write, with what
/// DuckDB gives (`expect.py` asks it). `sql  =/=  result` is not given here, which is known.
#[tokio::test]
async fn projects_for_duckdb_get_what_duckdb_gives() {
    let setup = Setup::with(EngineOptions {
        threads: Some(2),
        for_duckdb: true,
        ..EngineOptions::default()
    });
    let table = include_str!("../dialects/duckdb-projects.txt");
    let given = async |query: String| {
        let adapted = adapt(&query, SqlDialect::DuckDb);
        let given = match &adapted {
            Ok(adapted) => shown(&setup, adapted, without_zeros).await,
            Err(error) => Err(Error::new(error.kind(), error.message())),
        };
        let shown = given.map_or_else(|error| format!("! {error}"), |given| escaped(&given));
        (shown, adapted.unwrap_or_default())
    };
    compare("duckdb-projects", table, true, given).await;
}

/// `tests/dialects/postgres-projects.txt` holds expressions and queries of PostgreSQL with the texts that
/// `psql` shows of them (`expect_postgres.py` asks it). `!` is an error there, and must be one here.
#[tokio::test]
async fn projects_for_postgres_get_what_postgres_gives() {
    let setup = Setup::new();
    let table = include_str!("../dialects/postgres-projects.txt");
    let given = async |query: String| {
        let given = match as_psql(&setup, &query).await {
            Ok(given) => escaped(&given),
            Err(error) => format!("! {error}"),
        };
        (given, query)
    };
    compare("postgres-projects", table, false, given).await;
}

/// The rows of a query, each value as the text that a cast makes of it.
async fn as_psql(setup: &Setup, query: &str) -> Result<String, Error> {
    let columns = setup.engine.describe(query, &setup.context()).await?.schema.fields().len();
    let names: Vec<String> = (1..=columns).map(|place| format!("v{place}")).collect();
    // As `psql` shows them.
    let text = |name: &String| {
        format!(
            "coalesce(case pg_typeof({name}) when 'boolean' then left({name}::text, 1) \
             else {name}::text end, 'NULL')"
        )
    };
    let texts: Vec<String> = names.iter().map(text).collect();
    let wrapped = format!("select {} from ({query}) as q({})", texts.join(", "), names.join(", "));
    rows(setup, &wrapped).await
}

/// A result in one line.
fn escaped(given: &str) -> String {
    given.replace('\n', "\\n")
}

/// Whether two results are the same, apart from the order of rows. Fractions are compared by fourteen digits:
/// how many there are follows from a type of which the engine has another.
fn same(given: &str, expected: &str) -> bool {
    let value = |given: &str, expected: &str| {
        let number = |text: &str| text.contains('.').then(|| text.parse::<f64>().ok()).flatten();
        let either = [given, expected].iter().any(|text| number(text).is_some());
        match (given.parse::<f64>(), expected.parse::<f64>()) {
            (Ok(a), Ok(b)) if either => (a - b).abs() <= 1e-14 * a.abs().max(b.abs()),
            _ => given == expected,
        }
    };
    let sorted = |rows: &str| {
        let mut rows: Vec<Vec<String>> =
            rows.split("; ").map(|row| row.split(" | ").map(str::to_owned).collect()).collect();
        rows.sort_unstable();
        rows
    };
    let (given, expected) = (sorted(given), sorted(expected));
    given.len() == expected.len()
        && given
            .iter()
            .zip(&expected)
            .all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| value(a, b)))
}

/// Every line of a table of queries against what the engine gives, with the query as it was run.
/// `keeps_order` says that rows of a stated order come in it.
async fn compare(
    name: &str,
    table: &str,
    keeps_order: bool,
    given: impl AsyncFn(String) -> (String, String),
) {
    let (mut wrong, mut count, mut missing) = (Vec::new(), 0, 0);
    for (number, line) in table.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let given_there = line.split_once("  ==>  ");
        let (sql, expected) = given_there
            .or_else(|| line.split_once("  =/=  "))
            .unwrap_or_else(|| panic!("{name}:{}: {line}", number + 1));
        let start = sql.split([' ', '(']).next().unwrap_or_default().to_lowercase();
        let query = match start.as_str() {
            "select" | "with" | "from" | "values" | "pivot" | "unpivot" | "summarize"
            | "describe" => sql.to_owned(),
            _ => format!("select {sql}"),
        };
        let (shown, run) = given(query).await;
        let right = match expected {
            "!" => shown.starts_with("! "),
            _ if keeps_order && sql.contains("order by") => shown == expected,
            _ => same(&shown, expected),
        };
        count += 1;
        missing += usize::from(given_there.is_none());
        if right != given_there.is_some() {
            wrong.push(format!(
                "{name}:{}: {sql}\n   wanted {expected}\n   given  {shown}\n   as     {run}",
                number + 1
            ));
        }
    }
    let same = count - missing;
    assert!(
        wrong.is_empty(),
        "{} wrong of {count}, {same} listed as the same\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What was read and cannot be put into the engine's SQL is told, and is not run with another meaning.
#[test]
fn what_cannot_be_adapted_is_an_error() {
    let adapt = |sql: &str| adapt(sql, SqlDialect::DuckDb);
    for (sql, words) in [
        ("select * from t asof join p on t.k = p.k", "without one comparison"),
        ("select * from t asof join p on t.at >= p.at or t.k = p.k", "`or` joins"),
        ("select * from (t asof join p on t.k = p.k) join u on true", "without one comparison"),
        ("select * from t asof right join p on t.at >= p.at", "`asof right join`"),
        ("insert into x select * from t asof join p on t.k = p.k", "without one comparison"),
        ("select * from t order by all", "`order by all` with `*`"),
        ("select json_structure(j) from t", "`json_structure` of duckdb"),
        ("select setseed(0.5)", "`setseed` of duckdb"),
        ("select * from t positional join u join v on true", "beside a join of another kind"),
    ] {
        let error = adapt(sql).unwrap_or_else(|error| error.message().to_owned());
        assert!(error.contains(words), "{sql}: {error}");
    }
    // What means the same here, and what may be a macro's for this engine, stays.
    for sql in
        ["select random() as r", "select to_char(d, 'YYYY') as y from t", "select uuid() as u"]
    {
        assert_eq!(adapt(sql).unwrap(), sql);
    }
    // The engine says what is wrong with what nobody reads, and what it alone reads is adapted.
    assert_eq!(adapt("select from where").unwrap(), "select from where");
    let own = adapt("with x as materialized (select 1 as a) select a / 2 from x").unwrap();
    assert!(own.contains("duckdb./"), "{own}");
}

#[test]
fn bad_and_deep_text_is_an_error() {
    for dialect in [
        SqlDialect::Snowflake,
        SqlDialect::BigQuery,
        SqlDialect::DuckDb,
        SqlDialect::Databricks,
        SqlDialect::Redshift,
    ] {
        let deep = |open: &str, close: &str| {
            format!("select {}1{}", open.repeat(2_000), close.repeat(2_000))
        };
        for sql in [
            String::new(),
            "select".to_owned(),
            "select 1; select 2".to_owned(),
            "select 'open".to_owned(),
            "select `open".to_owned(),
            "drop table t".to_owned(),
            "select 1 from".to_owned(),
            deep("(", ")"),
            deep("abs(", ")"),
            deep("case when ", " then 1 end"),
            deep("(select ", ")"),
            deep("[", "]"),
            format!("select {}", "1 + ".repeat(50_000)),
            "\u{0}\u{1}select \u{fffd} é ’".to_owned(),
        ] {
            assert!(translate(&sql, dialect).is_err(), "{dialect}: {:.60}", sql);
        }
    }
}

#[test]
fn lines_stay() {
    let sql = "-- a comment\nselect\n    iff(a, 1, 2) as b, -- one\n    nosuch(c)\nfrom t";
    let error = translate(sql, SqlDialect::Snowflake).unwrap_err();
    let line = error.context().iter().find(|(name, _)| *name == "line").unwrap();
    assert_eq!(line.1.to_string(), "4");
    let sql = sql.replace("nosuch(c)", "nvl(c, 'x')");
    let translated = translate(&sql, SqlDialect::Snowflake).unwrap();
    assert_eq!(translated.lines().nth(3).unwrap().trim(), "coalesce(c, 'x')");
    assert_eq!(translated.lines().nth(4).unwrap().trim(), "FROM t");
}

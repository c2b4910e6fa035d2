//! Each measure as SQL. The plain meaning of every measure: what the faster ways must agree with,
//! and the way that is taken when a measure does not fit them.

use futures::{StreamExt, TryStreamExt};
use tidemill_core::{Error, ErrorKind, Measure, Measurement, QueryContext, RelationName, Result};

use crate::EmbeddedEngine;

/// Takes one measure by a query of its own.
pub(crate) async fn measure_one(
    engine: &EmbeddedEngine,
    relation: &RelationName,
    measure: &Measure,
    context: &QueryContext,
) -> Result<Measurement> {
    first_value(engine, &query_for(relation, measure), context).await
}

/// The query whose first value is the measurement.
pub(crate) fn query_for(relation: &RelationName, measure: &Measure) -> String {
    let table = relation.quoted();
    match measure {
        Measure::Query { sql } => sql.clone(),
        Measure::Rows { filter } => {
            format!("select count(*) as value from {table}{}", conditions(&[], filter))
        }
        Measure::Nulls { expression, filter } => {
            let null = format!("({expression}\n) is null");
            format!("select count(*) as value from {table}{}", conditions(&[null], filter))
        }
        Measure::CountIf { predicate, filter } => {
            let holds = format!("({predicate}\n)");
            format!("select count(*) as value from {table}{}", conditions(&[holds], filter))
        }
        Measure::Mismatches { expression, pattern, ignore_case, filter } => {
            let flags = if *ignore_case { ", 'i'" } else { "" };
            let differs =
                format!("not regexp_like(({expression}\n), {}{flags})", quoted_text(pattern));
            format!("select count(*) as value from {table}{}", conditions(&[differs], filter))
        }
        Measure::Duplicates { expressions, ignore_nulls, filter } => {
            let keys: Vec<String> = expressions
                .iter()
                .enumerate()
                .map(|(index, expression)| format!("({expression}\n) as k{index}"))
                .collect();
            let groups: Vec<String> = (1..=expressions.len()).map(|n| n.to_string()).collect();
            let mut present = Vec::new();
            if *ignore_nulls {
                present.extend(expressions.iter().map(|e| format!("({e}\n) is not null")));
            }
            format!(
                "select count(*) as value from (select {} from {table}{} group by {} having count(*) > 1) as duplicated",
                keys.join(", "),
                conditions(&present, filter),
                groups.join(", ")
            )
        }
        Measure::Unaccepted { expression, accepted, filter } => {
            let mut bad = vec![format!("({expression}\n) is not null")];
            if !accepted.is_empty() {
                bad.push(format!("({expression}\n) not in ({}\n)", accepted.join(", ")));
            }
            format!(
                "select count(*) as value from (select distinct ({expression}\n) as v from {table}{}) as bad",
                conditions(&bad, filter)
            )
        }
        Measure::Orphans { expression, reference, filter } => {
            let present = format!("({expression}\n) is not null");
            format!(
                "select count(*) as value from (select ({expression}\n) as v from {table}{}) as child \
                 where not exists (select 1 from (select ({}\n) as v from {}{}) as parent where parent.v = child.v)",
                conditions(&[present], filter),
                reference.expression,
                reference.relation.quoted(),
                conditions(&[], &reference.filter),
            )
        }
    }
}

fn conditions(all: &[String], filter: &Option<String>) -> String {
    let filter = filter.iter().map(|filter| format!("({filter}\n)"));
    let parts: Vec<String> = filter.chain(all.iter().cloned()).collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" where {}", parts.join(" and ")),
    }
}

/// A text as an SQL literal.
pub(crate) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The first column of the first row of a query.
pub(crate) async fn first_value(
    engine: &EmbeddedEngine,
    sql: &str,
    context: &QueryContext,
) -> Result<Measurement> {
    let mut rows = tidemill_core::Engine::query(engine, sql, context).await?;
    let first = rows.batches.try_next().await?;
    let value = match &first {
        Some(batch) if batch.num_columns() > 0 && batch.num_rows() > 0 => {
            number(&batch.column(0).slice(0, 1))?
        }
        _ => Measurement::Nothing,
    };
    // Read to the end: an error in a later row is still an error of the query.
    while let Some(batch) = rows.batches.next().await {
        batch?;
    }
    Ok(value)
}

/// One value as a measurement.
fn number(array: &arrow::array::ArrayRef) -> Result<Measurement> {
    use arrow::array::{Array, AsArray};
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Float64Type, Int64Type};
    if array.is_null(0) {
        return Ok(Measurement::Nothing);
    }
    let wrong = |error: arrow::error::ArrowError| {
        Error::new(ErrorKind::Query, "a measurement must be a number").because(error)
    };
    if array.data_type().is_integer() || array.data_type() == &DataType::Boolean {
        let value = cast(array, &DataType::Int64).map_err(wrong)?;
        let value = value.as_primitive::<Int64Type>().value(0);
        return Ok(match u64::try_from(value) {
            Ok(count) => Measurement::Count(count),
            Err(_) => Measurement::Number(value as f64),
        });
    }
    let value = cast(array, &DataType::Float64).map_err(wrong)?;
    if value.is_null(0) {
        return Err(Error::new(ErrorKind::Query, "a measurement must be a number")
            .with("type", crate::types::sql_name(array.data_type())));
    }
    Ok(Measurement::Number(value.as_primitive::<Float64Type>().value(0)))
}

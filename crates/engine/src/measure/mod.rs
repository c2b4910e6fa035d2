//! Measures: numbers that checks need of one relation, taken in as few scans as possible.
//!
//! What statistics prove is not read at all ([`facts`]). Everything else that looks at the rows of
//! the relation shares one scan of the columns it needs, in as many threads as the engine has: each
//! thread keeps an [`accumulate::Accumulator`] for each measure. Predicates are evaluated by
//! DataFusion as columns of the scan; NULLs, regular expressions, accepted values, uniqueness and
//! references are ours. A measure that does not fit (memory, types) is taken by its SQL, which is
//! also what defines it ([`sql`]).

mod accumulate;
#[cfg(test)]
mod agreement;
mod duplicates;
mod facts;
mod keys;
mod reference;
mod scan;
mod shape;
mod sql;
mod texts;

use tidemill_core::{ErrorKind, Measure, Measurement, QueryContext, RelationName, Result};

use crate::EmbeddedEngine;

/// Takes all measures, each in its place.
pub(crate) async fn measure(
    engine: &EmbeddedEngine,
    relation: &RelationName,
    measures: &[Measure],
    context: &QueryContext,
) -> Result<Vec<Result<Measurement>>> {
    let mut taken: Vec<Option<Result<Measurement>>> = measures.iter().map(|_| None).collect();
    let fused: Vec<usize> = measures
        .iter()
        .enumerate()
        .filter(|(_, measure)| !matches!(measure, Measure::Query { .. }))
        .map(|(index, _)| index)
        .collect();
    if !fused.is_empty() {
        let wanted: Vec<&Measure> = fused.iter().map(|index| &measures[*index]).collect();
        match scan::take(engine, relation, &wanted, context).await {
            Ok(results) => {
                for (index, result) in fused.iter().zip(results) {
                    taken[*index] = result;
                }
            }
            // Each by its own query, which can spill or says what is wrong.
            Err(error) => {
                context.cancel.check()?;
                tracing::debug!(kind = ?error.kind(), "measures are taken one by one");
            }
        }
    }
    let mut results = Vec::with_capacity(measures.len());
    for (measure, taken) in measures.iter().zip(taken) {
        context.cancel.check()?;
        results.push(match taken {
            Some(taken) => taken,
            None => sql::measure_one(engine, relation, measure, context).await,
        });
    }
    if results
        .iter()
        .any(|result| result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled))
    {
        context.cancel.check()?;
    }
    Ok(results)
}

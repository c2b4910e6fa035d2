//! Measures: numbers that checks need of one relation, taken in as few scans as possible.

mod sql;

use tidemill_core::{Measure, Measurement, QueryContext, RelationName, Result};

use crate::EmbeddedEngine;

/// Takes all measures, each in its place.
pub(crate) async fn measure(
    engine: &EmbeddedEngine,
    relation: &RelationName,
    measures: &[Measure],
    context: &QueryContext,
) -> Result<Vec<Result<Measurement>>> {
    let mut taken = Vec::with_capacity(measures.len());
    for measure in measures {
        let measurement = sql::measure_one(engine, relation, measure, context).await;
        context.cancel.check()?;
        taken.push(measurement);
    }
    Ok(taken)
}

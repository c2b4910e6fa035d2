//! The files of models that are `external` (dbt-duckdb): written once the model is published, before
//! what depends on it is built.

use serde_json::{Map, Value};
use tidemill_core::{Delivery, DeliveryMode, QueryContext, Result, RunId};
use tidemill_project::Node;

use crate::loader;
use crate::renderer::ProjectRenderer;

/// Writes the rows of a model, as the context has them, where it says. Readers see the old file or the
/// new one.
///
/// # Errors
/// Of the place, and kind `Config` where the model says what cannot be written.
pub(crate) async fn write(
    renderer: &ProjectRenderer,
    node: &Node,
    to: &Map<String, Value>,
    context: &QueryContext,
    run: RunId,
) -> Result<()> {
    let sink = loader::sink(renderer.project.manifest(), None, renderer.root())?;
    let relation = node.relation();
    let mut sql = format!("select * from {}", relation.quoted());
    // Rows of one partition come together.
    if let Some(Value::Array(names)) = to.get("partition_by") {
        let names: Vec<String> = names
            .iter()
            .filter_map(Value::as_str)
            .map(|name| format!("\"{}\"", name.replace('"', "\"\"")))
            .collect();
        sql.push_str(&format!(" order by {}", names.join(", ")));
    }
    let delivery = Delivery {
        export: format!("external {}", node.name),
        to: to.clone(),
        mode: DeliveryMode::Full,
        state: run.to_string(),
        relation,
        again: true,
        run,
        cancel: context.cancel.child(),
    };
    let rows = renderer.engine.query(&sql, context).await?;
    sink.deliver(&delivery, rows).await.map_err(|error| error.with("model", &node.name))?;
    Ok(())
}

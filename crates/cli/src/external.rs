//! The files of models that are `external` (dbt-duckdb): written once the model is published, before
//! what depends on it is built, and again when what is there is not what is published.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidemill_core::{
    Delivery, DeliveryMode, Error, ErrorKind, NewColumns, QueryContext, Result, RunId, Sink,
};
use tidemill_project::Node;

use crate::contracts::quoted;
use crate::exports;
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
) -> Result<()> {
    let Some((sink, delivery)) = prepared(renderer, node, to, context, true)? else {
        return Err(Error::new(ErrorKind::Internal, "the model of a file is not published")
            .with("model", &node.name));
    };
    let mut sql = format!("select * from {}", delivery.relation.quoted());
    // Rows of one partition come together.
    if let Some(Value::Array(names)) = to.get("partition_by") {
        let names: Vec<String> = names.iter().filter_map(Value::as_str).map(quoted).collect();
        sql.push_str(&format!(" order by {}", names.join(", ")));
    }
    let rows = renderer.engine.query(&sql, context).await?;
    sink.deliver(&delivery, rows).await.map_err(|error| error.with("model", &node.name))?;
    Ok(())
}

/// Why the file of a model has to be written although nothing has changed: somebody took it away, or
/// the command that published the rows ended before it was there. `None` for models without a file and
/// for those that are not published.
pub(crate) async fn lost(
    renderer: &ProjectRenderer,
    node: &Node,
    context: &QueryContext,
) -> Option<String> {
    let to = renderer.project.manifest().external_files.get(&node.unique_id)?;
    let place = to.get("path").and_then(Value::as_str).unwrap_or_default();
    match prepared(renderer, node, to, context, false) {
        Ok(None) => None,
        Ok(Some((sink, delivery))) => match sink.is_delivered(&delivery).await {
            Ok(true) => None,
            Ok(false) => Some(format!("`{place}` is not there, or not as it was published")),
            // What stands in the way is told when the file is written.
            Err(_) => Some(format!("`{place}` cannot be looked at")),
        },
        Err(_) => Some(format!("`{place}` cannot be looked at")),
    }
}

/// The delivery of what the context has published; `None` when that is nothing.
fn prepared(
    renderer: &ProjectRenderer,
    node: &Node,
    to: &Map<String, Value>,
    context: &QueryContext,
    again: bool,
) -> Result<Option<(Arc<dyn Sink>, Delivery)>> {
    let manifest = renderer.project.manifest();
    let relation = node.relation();
    let Some(published) = context.snapshot.get(&relation) else { return Ok(None) };
    let sink = loader::sink(manifest, None, renderer.root())?;
    let delivery = Delivery {
        export: format!("external {}", node.name),
        to: to.clone(),
        mode: DeliveryMode::Full,
        new_columns: NewColumns::default(),
        state: exports::state(published, &context.snapshot, &manifest.target.lake),
        relation,
        again,
        run: RunId::new(renderer.invocation()),
        cancel: context.cancel.child(),
    };
    Ok(Some((sink, delivery)))
}

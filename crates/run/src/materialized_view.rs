//! Materialized views: tables that a build makes anew when what they read, or their query, is
//! another.
//!
//! Their configuration is how the table is laid out; a change of that does what
//! `on_configuration_change` says.

use serde_json::{Value, json};
use tidemill_core::{Error, ErrorKind, Event, QueryContext, Result};
use tidemill_plan::{MaterializationConfig, OnConfigurationChange, WorkKind, WorkNode};

use crate::executor::Shared;

/// The field of a published record that a materialized view has.
pub(crate) const FIELD: &str = "materialized_view";

/// What is recorded of a node that is one.
pub(crate) fn recorded(node: &WorkNode) -> Option<Value> {
    match &node.kind {
        WorkKind::Model(config) if config.materialized == FIELD => Some(configuration(config)),
        _ => None,
    }
}

fn configuration(config: &MaterializationConfig) -> Value {
    json!({ "partition_by": config.partition_by })
}

/// Whether the view stays as it is because its configuration has changed.
///
/// # Errors
/// `Config` when it has and the model says `fail`.
pub(crate) fn keeps(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    context: &QueryContext,
    full_refresh: bool,
) -> Result<bool> {
    let published = context.snapshot.get(&node.relation);
    let before = published.and_then(|found| found.record.as_deref()?.get(FIELD));
    let (Some(before), Some(now)) = (before, recorded(node)) else { return Ok(false) };
    if full_refresh || *before == now {
        return Ok(false);
    }
    let message = |word: &str| {
        format!(
            "configuration changes were identified and `on_configuration_change` was set to \
             `{word}` for `{}`",
            node.relation
        )
    };
    match config.on_configuration_change {
        OnConfigurationChange::Apply => Ok(false),
        OnConfigurationChange::Continue => {
            shared.doers.events.emit(Event::Notice {
                node: Some(node.id.clone()),
                code: "configuration-change".to_owned(),
                message: message("continue"),
            });
            Ok(true)
        }
        OnConfigurationChange::Fail => Err(Error::new(ErrorKind::Config, message("fail"))
            .with("before", before)
            .with("now", now)
            .with("hint", "run with --full-refresh, or set it to `apply`")),
    }
}

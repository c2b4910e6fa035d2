//! Contracts of models: read, and what their foreign keys refer to.

use std::sync::Arc;

use tidemill_core::Diagnostic;

use super::nodes::Builder;
use crate::config::OnSchemaChange;
use crate::contract::{self, ConstraintKind};
use crate::manifest::{Node, ResourceType};

impl Builder<'_> {
    /// Reads the contract of a model that enforces it.
    pub(super) fn contract(&mut self, node: &mut Node) {
        if node.resource_type != ResourceType::Model
            || !node.config.contract_enforced
            || !node.config.enabled
        {
            return;
        }
        let found = match contract::read(&node.columns, &node.constraints) {
            Ok(found) => found,
            Err(problems) => {
                for (message, hint) in problems {
                    let diagnostic =
                        Diagnostic::error("contract", format!("model `{}`: {message}", node.name))
                            .at(node.position.clone());
                    self.diagnostics.push(match hint {
                        Some(hint) => diagnostic.hint(hint),
                        None => diagnostic,
                    });
                }
                return;
            }
        };
        let config = &node.config;
        if config.materialized.as_str() == "incremental"
            && !matches!(
                config.on_schema_change,
                OnSchemaChange::AppendNewColumns | OnSchemaChange::Fail
            )
        {
            self.diagnostics.push(
                Diagnostic::error(
                    "contract",
                    format!(
                        "model `{}`: an incremental model with a contract needs `on_schema_change`",
                        node.name
                    ),
                )
                .at(node.position.clone())
                .hint("set it to append_new_columns or fail, which dbt asks for too"),
            );
        }
        let is_view = node.config.materialized.as_str() == "view";
        for constraint in &found.constraints {
            let kind = constraint.kind.as_str();
            let custom = constraint.kind == ConstraintKind::Custom && !self.world.in_database();
            if constraint.warns && (is_view || custom) {
                let why = if is_view {
                    "a view has no rows of its own, so its constraints are not enforced"
                } else {
                    "nothing enforces a custom constraint here"
                };
                self.diagnostics.push(
                    Diagnostic::warning(
                        "constraint-not-enforced",
                        format!("model `{}`: constraint {kind}: {why}", node.name),
                    )
                    .at(node.position.clone())
                    .hint("`warn_unsupported: false` at the constraint accepts that"),
                );
            }
            // What a foreign key refers to is built first.
            if let Some(to) = constraint.to.as_ref().filter(|to| to.contains('(')) {
                match self.noted(&node.package_name, &node.unique_id, &node.name, to) {
                    Ok((refs, sources)) => {
                        let places = self.places.entry(node.unique_id.clone()).or_default();
                        for call in refs {
                            if !node.refs.contains(&call) {
                                places.refs.push(Some(node.position.clone()));
                                node.refs.push(call);
                            }
                        }
                        for call in sources {
                            if !node.sources.contains(&call) {
                                places.sources.push(Some(node.position.clone()));
                                node.sources.push(call);
                            }
                        }
                    }
                    Err(error) => self.diagnostics.push(
                        Diagnostic::error(
                            "contract",
                            format!("model `{}`: `to: {to}`: {}", node.name, error.message()),
                        )
                        .at(node.position.clone())
                        .hint("write `ref('x')` or `source('a', 'b')`"),
                    ),
                }
            }
        }
        node.contract = Some(Arc::new(found));
    }
}

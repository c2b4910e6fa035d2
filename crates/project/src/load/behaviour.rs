//! What `flags:` of the project make an error that is a warning without them, or the other way.

use serde_json::Value;
use tidemill_core::{Diagnostic, Diagnostics};

use crate::manifest::Manifest;

/// Checks names as the project's flags ask for.
pub(super) fn check(manifest: &Manifest, diagnostics: &mut Diagnostics) {
    let flag = |name: &str, default: bool| {
        manifest.settings.flags.get(name).and_then(Value::as_bool).unwrap_or(default)
    };
    let told = |is_error: bool, code: &'static str, message: String| match is_error {
        true => Diagnostic::error(code, message),
        false => Diagnostic::warning(code, message),
    };
    let strict = flag("require_resource_names_without_spaces", true);
    for node in manifest.nodes.values().filter(|node| node.name.contains(' ')) {
        let message = format!("the name of the {} `{}` has a blank", node.resource_type, node.name);
        diagnostics.push(
            told(strict, "name-with-blank", message)
                .at(node.position.clone())
                .hint("use `_` in its place, and `alias` for the name of its table"),
        );
    }
    let strict = flag("require_source_and_semantic_model_names_without_spaces", false);
    let mut sources: Vec<&str> = Vec::new();
    for source in manifest.sources.values().filter(|source| source.source_name.contains(' ')) {
        if sources.contains(&source.source_name.as_str()) {
            continue;
        }
        sources.push(&source.source_name);
        let message = format!("the name of the source `{}` has a blank", source.source_name);
        diagnostics.push(
            told(strict, "name-with-blank", message)
                .at(source.position.clone())
                .hint("use `_` in its place, and `schema` for the name of its schema"),
        );
    }
}

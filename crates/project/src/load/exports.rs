//! What exports lead to: a node of the project, and a connection.

use tidemill_core::{Diagnostic, Diagnostics, UniqueId};

use super::nodes::Builder;
use crate::manifest::{Export, Manifest, RefCall};
use crate::read::exports::ExportDef;
use crate::resolve::{RefIndex, Resolved, describe_missing_ref};
use crate::suggest::nearest;

impl Builder<'_> {
    /// The `ref` of each export.
    pub(super) fn exports(&mut self, written: Vec<ExportDef>) -> Vec<(ExportDef, RefCall)> {
        let package = self.manifest.settings.name.clone();
        let mut exports = Vec::with_capacity(written.len());
        for def in written {
            let id = UniqueId::new(format!("export.{package}.{}", def.name));
            let text = def.from.trim();
            let text = text.strip_prefix("{{").unwrap_or(text);
            let text = text.strip_suffix("}}").unwrap_or(text);
            let noted = self.noted(&package, &id, &def.name, text);
            let wrong = match noted {
                Ok((mut refs, sources)) if refs.len() == 1 && sources.is_empty() => {
                    exports.push((def, refs.remove(0)));
                    continue;
                }
                Ok(_) => "`from` of an export is one `ref`".to_owned(),
                Err(error) => error.message().to_owned(),
            };
            self.diagnostics.push(
                Diagnostic::error("export", wrong)
                    .at(def.position.clone())
                    .hint("write `from: ref('model')`"),
            );
        }
        exports
    }
}

/// Puts the exports into the manifest.
pub(super) fn resolve(
    manifest: &mut Manifest,
    index: &RefIndex,
    exports: Vec<(ExportDef, RefCall)>,
    diagnostics: &mut Diagnostics,
) {
    let package = manifest.settings.name.clone();
    for (def, call) in exports {
        let resolved = index.reference(&call, &package);
        let Resolved::Found(node) = resolved else {
            let (why, hint) = describe_missing_ref(manifest, index, &call, &resolved);
            let message = format!("the export `{}` refers to {why}", def.name);
            let diagnostic = Diagnostic::error("unknown-ref", message).at(def.position.clone());
            diagnostics.push(match hint {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            });
            continue;
        };
        if let Some(connection) =
            def.connection.as_ref().filter(|name| !manifest.connections.contains_key(*name))
        {
            let names = manifest.connections.keys().map(String::as_str);
            let hint = match nearest(connection, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it in connections.yml".to_owned(),
            };
            let message = format!(
                "the export `{}` goes to the connection `{connection}`, which does not exist",
                def.name
            );
            diagnostics.push(
                Diagnostic::error("unknown-connection", message)
                    .at(def.position.clone())
                    .hint(hint),
            );
            continue;
        }
        manifest.exports.insert(
            def.name.clone(),
            Export {
                unique_id: UniqueId::new(format!("export.{package}.{}", def.name)),
                name: def.name,
                node,
                connection: def.connection,
                to: def.to,
                mode: def.mode,
                primary_key: def.primary_key,
                deletes: def.deletes,
                adds_columns: def.adds_columns,
                position: def.position,
            },
        );
    }
}

//! `connections.yml`: named external systems. Our own file: unknown keys are refused.

use std::path::Path;

use indexmap::IndexMap;
use tidemill_core::{Diagnostic, Diagnostics};
use tidemill_jinja::{Host, Options};

use super::{Unknown, check_keys, read_file, read_mapping, wrong_shape};
use crate::manifest::Connection;
use crate::yaml::render::render_tree;

const FILE_NAME: &str = "connections.yml";

/// Reads the file of a project, if there is one. What the settings mean is for each connector to
/// say.
pub(crate) fn read(
    project_dir: &Path,
    host: &dyn Host,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, Connection> {
    let mut connections = IndexMap::new();
    let path = project_dir.join(FILE_NAME);
    if !path.is_file() {
        return connections;
    }
    let file = match read_file(&path, Path::new(FILE_NAME)) {
        Ok(file) => file,
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            return connections;
        }
    };
    let Some(root) = read_mapping(&file, diagnostics) else { return connections };
    check_keys(&root, FILE_NAME, &["version", "connections"], Unknown::Refuse, &file, diagnostics);
    let Some(list) = root.get("connections") else { return connections };
    if !list.is_map() && !list.is_null() {
        wrong_shape(list, "`connections` must be a mapping of names", &file, diagnostics);
    }
    for entry in list.entries() {
        let rendered =
            render_tree(&entry.value, &file, host, &Options::default(), &|_| false, diagnostics);
        if !rendered.is_map() {
            wrong_shape(
                &rendered,
                &format!("the connection `{}` must be a mapping", entry.key),
                &file,
                diagnostics,
            );
            continue;
        }
        let mut settings = rendered.to_map();
        match settings.shift_remove("type").as_ref().and_then(|kind| kind.as_str()) {
            Some(kind) => {
                connections.insert(
                    entry.key.clone(),
                    Connection {
                        name: entry.key.clone(),
                        kind: kind.to_owned(),
                        settings,
                        position: entry.position(&file),
                    },
                );
            }
            None => diagnostics.push(
                Diagnostic::error(
                    "yaml-shape",
                    format!("the connection `{}` has no `type`", entry.key),
                )
                .at(entry.position(&file))
                .hint("say what it is: `type: postgres`"),
            ),
        }
    }
    connections
}

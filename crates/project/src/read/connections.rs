//! `connections.yml`: named external systems. Our own file: unknown keys are refused.

use std::path::Path;

use indexmap::IndexMap;
use tidemill_core::{Diagnostic, Diagnostics, Secret, is_secret_key};
use tidemill_jinja::{Host, Options};

use super::{Unknown, check_keys, read_file, read_mapping, wrong_shape};
use crate::file::SourceFile;
use crate::manifest::Connection;
use crate::yaml::render::{has_jinja, render_tree};
use crate::yaml::{Kind, Yaml};

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
        refuse_secrets(&entry.key, &entry.value, &file, diagnostics);
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

/// A secret is not part of a project: what is written in the file itself is refused.
fn refuse_secrets(
    connection: &str,
    settings: &Yaml,
    file: &SourceFile,
    diagnostics: &mut Diagnostics,
) {
    for entry in settings.entries() {
        let secret = match &entry.value.kind {
            Kind::Text(text) if has_jinja(text) || text.is_empty() => None,
            Kind::Text(text) if !is_secret_key(&entry.key) => password(text).map(str::to_owned),
            Kind::Text(_) | Kind::Int(_) | Kind::Float(_) if is_secret_key(&entry.key) => {
                entry.value.scalar_text()
            }
            _ => None,
        };
        if let Some(secret) = secret {
            // The message shows the line, and not the secret.
            drop(Secret::new(secret));
            let variable: String = format!("{connection}_{}", entry.key)
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
                .collect();
            diagnostics.push(
                Diagnostic::error(
                    "secret-in-file",
                    format!(
                        "`{}` of the connection `{connection}` has its secret written in the file",
                        entry.key
                    ),
                )
                .at(entry.position(file))
                .hint(format!(
                    "refer to it: `{}: {{env: {variable}}}`, `{{file: PATH}}`, `{{command: \"...\"}}` or \
                     \"{{{{ env_var('{variable}') }}}}\"",
                    entry.key
                )),
            );
        } else if !is_secret_key(&entry.key) {
            refuse_secrets(connection, &entry.value, file, diagnostics);
        }
    }
}

/// The password of an address such as `postgres://user:password@host`.
fn password(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let (user, _) = host.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password).filter(|password| !password.is_empty())
}

//! Packages of a project: those installed, and local ones named in `packages.yml`.

use std::path::{Path, PathBuf};

use tidemill_core::{Diagnostic, Diagnostics};
use tidemill_jinja::{Host, Options};

use crate::read::project_file::{FILE_NAME, Package};
use crate::read::{read_file, read_mapping};
use crate::yaml::render::render_tree;

/// Folders of packages with the paths that messages show, sorted.
pub(super) fn find(
    root: &Package,
    host: &dyn Host,
    diagnostics: &mut Diagnostics,
) -> Vec<(PathBuf, PathBuf)> {
    let install = root.root.join(&root.packages_install_path);
    let mut found = Vec::new();
    if let Ok(entries) = std::fs::read_dir(&install) {
        for entry in entries.flatten() {
            let path = entry.path();
            if path.join(FILE_NAME).is_file() {
                let shown = Path::new(&root.packages_install_path).join(entry.file_name());
                found.push((path, shown));
            }
        }
    }
    found.sort();
    let mut wanted = 0;
    for name in ["packages.yml", "dependencies.yml"] {
        let path = root.root.join(name);
        if !path.is_file() {
            continue;
        }
        let file = match read_file(&path, Path::new(name)) {
            Ok(file) => file,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                continue;
            }
        };
        let Some(yaml) = read_mapping(&file, diagnostics) else { continue };
        let rendered =
            render_tree(&yaml, &file, host, &Options::default(), &|_| false, diagnostics);
        let Some(list) = rendered.get("packages") else { continue };
        for item in list.items() {
            let Some(local) = item.get("local").and_then(|local| local.as_text()) else {
                wanted += 1;
                continue;
            };
            let folder = root.root.join(local);
            let installed =
                found.iter().any(|(known, _)| same(known, &folder) || same_name(known, &folder));
            if installed {
                continue;
            }
            if folder.join(FILE_NAME).is_file() {
                found.push((folder, PathBuf::from(local)));
            } else {
                diagnostics.push(
                    Diagnostic::error("no-package", format!("there is no package in `{local}`"))
                        .at(item.position(&file)),
                );
            }
        }
    }
    if wanted > 0 && found.is_empty() {
        diagnostics.push(
            Diagnostic::warning(
                "packages-not-installed",
                format!("{wanted} of the project's packages are not installed"),
            )
            .in_file("packages.yml")
            .hint("run `dbt deps`; the most used macros of dbt_utils work without"),
        );
    }
    found
}

fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn same_name(a: &Path, b: &Path) -> bool {
    a.file_name().is_some()
        && a.file_name() == b.canonicalize().ok().as_deref().and_then(Path::file_name)
}

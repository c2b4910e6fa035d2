//! Packages of a project: those installed, and local ones named in `packages.yml`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_core::{Diagnostic, Diagnostics};
use tidemill_jinja::{Host, Options};

use crate::base::{Vars, YamlHost};
use crate::environment::Environment;
use crate::file::SourceFile;
use crate::read::project_file::{self, FILE_NAME, Package};
use crate::read::project_shape::{self, VersionCheck};
use crate::read::{read_file, read_mapping, wrong_shape};
use crate::yaml::Yaml;
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
    for PackageFile { file, rendered, .. } in package_files(&root.root, host, diagnostics) {
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
            .hint("run `tidemill deps`; the most used macros of dbt_utils work without"),
        );
    }
    found
}

/// The packages that a project names.
#[derive(Debug, Clone)]
pub struct NamedPackages {
    /// The project's name.
    pub project: String,
    /// Where it installs packages, relative to its folder.
    pub install_path: String,
    /// The file that names them, if there is one.
    pub file: Option<String>,
    /// Its entries, in their order.
    pub entries: Vec<NamedPackage>,
}

/// An entry of `packages.yml`.
#[derive(Debug, Clone)]
pub struct NamedPackage {
    /// With its templates rendered; secrets of the environment are in it.
    pub rendered: serde_json::Value,
    /// As it was written.
    pub written: serde_json::Value,
    /// Where it stands.
    pub position: tidemill_core::SourcePosition,
}

/// Reads what a project's `packages.yml` or `dependencies.yml` names, and nothing else of it but, where
/// somebody judges it, its `require-dbt-version`.
pub fn named_packages(
    folder: &Path,
    vars: &serde_json::Map<String, serde_json::Value>,
    version_check: Option<VersionCheck>,
) -> Result<NamedPackages, Diagnostics> {
    let mut diagnostics = Diagnostics::new();
    let found = read_named(folder, vars, version_check, &mut diagnostics);
    match found {
        Some(found) if !diagnostics.has_errors() => Ok(found),
        _ => Err(diagnostics),
    }
}

fn read_named(
    folder: &Path,
    vars: &serde_json::Map<String, serde_json::Value>,
    version_check: Option<VersionCheck>,
    diagnostics: &mut Diagnostics,
) -> Option<NamedPackages> {
    let environment = Environment::of_process();
    let raw = project_file::read(folder, Path::new(""), diagnostics)?;
    let own = Arc::new(project_file::vars(&raw));
    let vars = Vars::for_package(&raw.name, &Arc::new(vars.clone()), &own, None);
    let host = YamlHost::new(&environment, vars).with_project_name(&raw.name).with_secrets();
    let rendered = |key: &str, diagnostics: &mut Diagnostics| {
        let value = raw.root.get(key)?;
        let options = Options::default();
        Some(render_tree(value, &raw.file, &host, &options, &|_| false, diagnostics))
    };
    let install = rendered("packages-install-path", diagnostics).map(|path| path.scalar_text());
    if let (Some(check), Some(value)) =
        (version_check, rendered(project_shape::REQUIRED, diagnostics))
    {
        project_shape::required_version(&value, &raw.name, check, &raw.file, diagnostics);
    }
    let mut named = NamedPackages {
        project: raw.name.clone(),
        install_path: install.flatten().unwrap_or_else(|| "dbt_packages".to_owned()),
        file: None,
        entries: Vec::new(),
    };
    for PackageFile { name, file, yaml, rendered } in package_files(folder, &host, diagnostics) {
        let lists = (rendered.get("packages"), yaml.get("packages"));
        let (Some(rendered), Some(written)) = lists else { continue };
        if named.file.is_some() && !rendered.items().is_empty() {
            diagnostics.push(
                Diagnostic::error(
                    "two-package-files",
                    "packages are named in `packages.yml` and in `dependencies.yml`",
                )
                .in_file(name)
                .hint("name all of them in one of the two"),
            );
        }
        named.file = Some(name.to_owned());
        for (rendered, written) in rendered.items().iter().zip(written.items()) {
            named.entries.push(NamedPackage {
                rendered: rendered.to_json(),
                written: written.to_json(),
                position: written.position(&file),
            });
        }
    }
    Some(named)
}

/// A file that may name packages.
struct PackageFile {
    name: &'static str,
    file: SourceFile,
    /// As it is written,
    yaml: Yaml,
    /// and with its templates rendered.
    rendered: Yaml,
}

/// Those of a folder that can be read.
fn package_files(
    folder: &Path,
    host: &dyn Host,
    diagnostics: &mut Diagnostics,
) -> Vec<PackageFile> {
    let mut found = Vec::new();
    for name in ["packages.yml", "dependencies.yml"] {
        let path = folder.join(name);
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
        if let Some(list) = rendered.get("packages").filter(|list| !list.is_list()) {
            wrong_shape(list, "`packages` must be a list", &file, diagnostics);
        }
        found.push(PackageFile { name, file, yaml, rendered });
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

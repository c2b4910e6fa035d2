//! `profiles.yml`: optional. Without one, the target is a lake in `./lake`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, Diagnostics};
use tidemill_jinja::{Host, Options};

use super::{read_file, read_mapping, text_of, wrong_shape};
use crate::environment::Environment;
use crate::file::SourceFile;
use crate::suggest::nearest;
use crate::target::{StorageOptions, Target, TargetDatabase};
use crate::yaml::Yaml;
use crate::yaml::render::render_tree;

const FILE_NAME: &str = "profiles.yml";

/// The types of profile whose database runs the models itself.
const DATABASES: &[&str] = &["postgres"];

/// What the command line says about the target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) profiles_dir: Option<&'a Path>,
    pub(crate) profile: Option<&'a str>,
    pub(crate) target: Option<&'a str>,
    pub(crate) threads: Option<usize>,
    pub(crate) lake: Option<&'a str>,
}

/// Finds and reads the target of a project. `None` after an error was reported.
pub(crate) fn target(
    project_dir: &Path,
    project_name: &str,
    project_profile: Option<&str>,
    wanted: &Wanted<'_>,
    environment: &Environment,
    host: &dyn Host,
    diagnostics: &mut Diagnostics,
) -> Option<Target> {
    let target = || Target {
        profile_name: project_profile.unwrap_or(project_name).to_owned(),
        name: wanted.target.unwrap_or("default").to_owned(),
        lake: lake_path(project_dir, wanted.lake.unwrap_or("lake")),
        storage_options: StorageOptions::default(),
        database: "tidemill".to_owned(),
        schema: "main".to_owned(),
        threads: wanted.threads.unwrap_or_else(cores),
        memory: None,
        runs_in: None,
        extra: Map::new(),
    };
    // Without a profile there is one target; a wish for another must not end in the wrong lake.
    let embedded = |diagnostics: &mut Diagnostics| {
        let asked = [("profile", wanted.profile), ("target", wanted.target)];
        for (flag, name) in asked {
            let Some(name) = name.filter(|name| flag == "profile" || *name != "default") else {
                continue;
            };
            diagnostics.push(
                Diagnostic::error(
                    "unknown-profile",
                    format!("`--{flag} {name}` is asked for, and no `{FILE_NAME}` describes it"),
                )
                .hint(format!(
                    "write a `{FILE_NAME}` beside dbt_project.yml (or name its folder with \
                     --profiles-dir), and `profile:` in dbt_project.yml"
                )),
            );
            return None;
        }
        Some(target())
    };
    let (path, at_home) = match find(project_dir, wanted.profiles_dir, environment) {
        Some(found) => found,
        None => {
            if let Some(folder) = wanted.profiles_dir {
                diagnostics.push(
                    Diagnostic::error(
                        "no-profiles",
                        format!("there is no `{FILE_NAME}` in `{}`", folder.display()),
                    )
                    .hint("leave `--profiles-dir` out to use the lake in the project's folder"),
                );
                return None;
            }
            if let Some(profile) = project_profile.filter(|_| wanted.profile.is_none()) {
                diagnostics.push(
                    Diagnostic::warning(
                        "no-profiles",
                        format!(
                            "there is no `{FILE_NAME}` with the profile `{profile}` that \
                             dbt_project.yml names; the lake is the folder `lake` of the project"
                        ),
                    )
                    .hint("take `profile:` out of dbt_project.yml if that is what you want"),
                );
            }
            return embedded(diagnostics);
        }
    };
    let Some(profile_name) = wanted.profile.or(project_profile) else {
        return embedded(diagnostics);
    };
    let shown = path.strip_prefix(project_dir).unwrap_or(&path).to_owned();
    let file = match read_file(&path, &shown) {
        Ok(file) => file,
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            return None;
        }
    };
    let root = read_mapping(&file, diagnostics)?;
    let Some(profile) = root.entry(profile_name) else {
        if at_home && wanted.profile.is_none() {
            return embedded(diagnostics);
        }
        let names: Vec<&str> = root
            .entries()
            .iter()
            .map(|entry| entry.key.as_str())
            .filter(|key| *key != "config")
            .collect();
        let diagnostic = Diagnostic::error(
            "unknown-profile",
            format!("there is no profile `{profile_name}` in `{}`", file.shown()),
        )
        .in_file(&file.path);
        diagnostics.push(match nearest(profile_name, names.iter().copied()) {
            Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
            None if names.is_empty() => diagnostic,
            None => diagnostic.hint(format!("it has: {}", names.join(", "))),
        });
        return None;
    };
    output(&file, profile_name, &profile.value, project_dir, wanted, host, diagnostics)
}

/// `--profiles-dir`, `DBT_PROFILES_DIR`, the project's folder, `~/.dbt`; and whether it is the
/// last.
fn find(
    project_dir: &Path,
    profiles_dir: Option<&Path>,
    environment: &Environment,
) -> Option<(PathBuf, bool)> {
    let there = |folder: &Path| {
        let path = folder.join(FILE_NAME);
        path.is_file().then_some(path)
    };
    if let Some(folder) = profiles_dir {
        return there(folder).map(|path| (path, false));
    }
    if let Some(folder) = environment.get("DBT_PROFILES_DIR").filter(|text| !text.is_empty()) {
        return there(Path::new(folder)).map(|path| (path, false));
    }
    if let Some(path) = there(project_dir) {
        return Some((path, false));
    }
    let home = environment.get("HOME").or_else(|| environment.get("USERPROFILE"))?;
    there(&Path::new(home).join(".dbt")).map(|path| (path, true))
}

fn output(
    file: &SourceFile,
    profile_name: &str,
    profile: &Yaml,
    project_dir: &Path,
    wanted: &Wanted<'_>,
    host: &dyn Host,
    diagnostics: &mut Diagnostics,
) -> Option<Target> {
    let options = Options::default();
    let render = |yaml: &Yaml, diagnostics: &mut Diagnostics| {
        render_tree(yaml, file, host, &options, &|_| false, diagnostics)
    };
    let name = match wanted.target {
        Some(name) => name.to_owned(),
        None => match profile.get("target") {
            Some(value) => render(value, diagnostics).scalar_text().unwrap_or_default(),
            None => "default".to_owned(),
        },
    };
    let outputs = match profile.get("outputs") {
        Some(outputs) if outputs.is_map() => outputs,
        _ => {
            wrong_shape(
                profile,
                &format!("the profile `{profile_name}` needs `outputs:` with a mapping"),
                file,
                diagnostics,
            );
            return None;
        }
    };
    let Some(output) = outputs.entry(&name) else {
        let names: Vec<&str> = outputs.entries().iter().map(|entry| entry.key.as_str()).collect();
        let diagnostic = Diagnostic::error(
            "unknown-target",
            format!("the profile `{profile_name}` has no target `{name}`"),
        )
        .at(outputs.position(file))
        .label(format!("it has: {}", names.join(", ")));
        diagnostics.push(match nearest(&name, names.iter().copied()) {
            Some(known) => diagnostic.hint(format!("did you mean `{known}`?")),
            None => diagnostic,
        });
        return None;
    };
    let before = diagnostics.iter().count();
    let rendered = render(&output.value, diagnostics);
    if diagnostics.iter().count() > before {
        return None;
    }
    let what = format!("the target `{name}`");
    let kind = text_of(&rendered, "type", &what, file, diagnostics);
    let runs_in = kind
        .as_deref()
        .filter(|kind| DATABASES.contains(kind) && wanted.lake.is_none())
        .map(|kind| TargetDatabase { kind: kind.to_owned(), settings: rendered.to_map() });
    match kind.as_deref() {
        Some("tidemill") => {}
        Some(_) if runs_in.is_some() => {
            if text_of(&rendered, "schema", &what, file, diagnostics).is_none() {
                diagnostics.push(
                    Diagnostic::error("yaml-shape", format!("{what} has no `schema`"))
                        .at(output.position(file))
                        .hint("add the schema in which models are built, for example `schema: analytics`"),
                );
                return None;
            }
        }
        Some(other) if wanted.lake.is_none() => {
            let at = rendered.get("type").unwrap_or(&rendered);
            diagnostics.push(
                Diagnostic::error(
                    "foreign-target",
                    format!("the target `{name}` of profile `{profile_name}` is of type `{other}`"),
                )
                .at(at.position(file))
                .label(format!("models do not run inside of {other} yet"))
                .hint(
                    "name a lake with `--target-lake=./lake` to run this project on the embedded \
                     engine, or add an output of `type: tidemill`",
                ),
            );
            return None;
        }
        Some(_) => {}
        None => {
            diagnostics.push(
                Diagnostic::error("yaml-shape", format!("{what} has no `type`"))
                    .at(output.position(file))
                    .hint("add `type: tidemill`"),
            );
            return None;
        }
    }
    let lake = match wanted.lake {
        Some(lake) => lake.to_owned(),
        None => text_of(&rendered, "lake", &what, file, diagnostics)
            .or_else(|| text_of(&rendered, "path", &what, file, diagnostics))
            .unwrap_or_else(|| "lake".to_owned()),
    };
    let threads = match (wanted.threads, rendered.get("threads")) {
        (Some(threads), _) => threads,
        (None, Some(value)) => match value.scalar_text().and_then(|text| text.parse().ok()) {
            Some(threads) if threads > 0 => threads,
            _ => {
                wrong_shape(value, "`threads` must be a number above 0", file, diagnostics);
                return None;
            }
        },
        (None, None) => cores(),
    };
    let memory = match rendered.get("memory") {
        None => None,
        Some(value) => match value.scalar_text().as_deref().and_then(parse_size) {
            Some(size) => Some(size),
            None => {
                wrong_shape(value, "`memory` must be a size such as `4GiB`", file, diagnostics);
                return None;
            }
        },
    };
    let mut storage_options = StorageOptions::default();
    if let Some(options) = rendered.get("storage_options") {
        let entries = options.entries().iter();
        let texts = entries.map(|entry| Some((entry.key.clone(), entry.value.scalar_text()?)));
        match texts.collect::<Option<Vec<_>>>() {
            Some(texts) if options.is_map() => storage_options.0 = texts,
            _ => {
                let text = "`storage_options` must be a mapping of names to texts";
                wrong_shape(options, text, file, diagnostics);
                return None;
            }
        }
    }
    Some(Target {
        profile_name: profile_name.to_owned(),
        lake: lake_path(project_dir, &lake),
        storage_options,
        database: text_of(&rendered, "database", &what, file, diagnostics)
            .or_else(|| text_of(&rendered, "dbname", &what, file, diagnostics))
            .or_else(|| database_of(kind.as_deref(), &rendered))
            .unwrap_or_else(|| "tidemill".to_owned()),
        schema: text_of(&rendered, "schema", &what, file, diagnostics)
            .unwrap_or_else(|| "main".to_owned()),
        name,
        threads,
        memory,
        runs_in,
        extra: without_secrets(rendered.to_map()),
    })
}

/// The database of systems that name it otherwise: DuckDB's is its file without the ending, and
/// `memory` without a file; BigQuery's is the project.
fn database_of(kind: Option<&str>, output: &Yaml) -> Option<String> {
    let text = |key: &str| output.get(key).and_then(Yaml::scalar_text);
    match kind? {
        "duckdb" => {
            let path = text("path").unwrap_or_else(|| ":memory:".to_owned());
            let file = path.rsplit(['/', '\\']).next().unwrap_or(&path);
            let stem = file.split(['.', '?']).next().unwrap_or(file);
            let stem = stem.strip_prefix("md:").unwrap_or(stem);
            Some(if path == ":memory:" { "memory" } else { stem }.to_owned())
                .filter(|name| !name.is_empty())
        }
        "bigquery" => text("project"),
        _ => None,
    }
}

/// What templates may see of an output.
fn without_secrets(map: Map<String, Value>) -> Map<String, Value> {
    const SECRET: &[&str] =
        &["pass", "token", "secret", "private_key", "key_passphrase", "keyfile"];
    map.into_iter()
        .filter(|(key, _)| {
            key != "storage_options" && !SECRET.iter().any(|part| key.contains(part))
        })
        .collect()
}

/// A relative path is relative to the project.
fn lake_path(project_dir: &Path, lake: &str) -> String {
    if lake.contains("://") || Path::new(lake).is_absolute() {
        return lake.to_owned();
    }
    let lake = lake.strip_prefix("./").unwrap_or(lake);
    project_dir.join(lake).to_string_lossy().into_owned()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Reads `512MiB`, `4GB`, `1.5 gib` or a number of bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let factor: f64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number * factor;
    (bytes >= 1.0 && bytes.is_finite()).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, expected) in [
            ("1024", Some(1024)),
            ("4GiB", Some(4 << 30)),
            ("1.5 gb", Some(1_500_000_000)),
            ("64 MiB", Some(64 << 20)),
            ("lots", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }
}

//! From a folder to a project: read all files, note what each template asks for, put the graph
//! together.

mod access;
mod behaviour;
pub(crate) mod calls;
mod contracts;
pub(crate) mod describe;
mod draft;
mod exports;
mod exposures;
mod external;
pub(crate) mod files;
mod graph;
mod nodes;
mod packages;
mod python;
mod run_hooks;
mod semantic_yaml;
mod semantics;
mod sources;
mod tests;
mod tree;
mod unit_tests;

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use tidemill_core::{Diagnostic, Diagnostics};
use tidemill_jinja::{DefinitionKind, Value};

use crate::base::{Vars, YamlHost};
use crate::environment::Environment;
use crate::macros::Macros;
use crate::manifest::{DocBlock, MacroNode, Manifest};
use crate::naming;
use crate::parallel;
use crate::project::{LoadOptions, Project};
use crate::read::project_file::{self, Package};
use crate::read::{connections, exports as written_exports, profiles, properties};
use crate::resolve::RefIndex;
use crate::settings::ProjectSettings;
use crate::target::Target;
use crate::world::{World, target_map};
use files::{FileKind, ParsedFile};
pub use packages::{NamedPackage, NamedPackages, named_packages};

pub(crate) fn load(
    folder: &Path,
    options: &LoadOptions,
) -> Result<(Project, Diagnostics), Diagnostics> {
    let mut diagnostics = Diagnostics::new();
    match assemble(folder, options, &mut diagnostics) {
        Some(project) if !diagnostics.has_errors() => Ok((project, diagnostics)),
        _ => Err(diagnostics),
    }
}

/// Everything that is known before the files of models are read.
struct Setting {
    packages: Vec<Arc<Package>>,
    hosts: IndexMap<String, YamlHost>,
    target: Target,
    environment: Environment,
    vars: IndexMap<String, Vars>,
    threads: usize,
}

fn assemble(
    folder: &Path,
    options: &LoadOptions,
    diagnostics: &mut Diagnostics,
) -> Option<Project> {
    let setting = prepare(folder, options, diagnostics)?;
    let root = setting.packages.first()?.clone();
    let jobs: Vec<files::Job> = if options.settings_only {
        Vec::new()
    } else {
        setting.packages.iter().flat_map(files::jobs).collect()
    };
    let largest_seed = match options.flags.get("maximum_seed_size_mib").and_then(|mib| mib.as_u64())
    {
        Some(0) => u64::MAX,
        Some(mib) => mib << 20,
        None => 1 << 20,
    };
    let parse = |job: &files::Job| files::parse(job, largest_seed);
    let mut parsed = parallel::map(&jobs, setting.threads, parse);
    for file in &mut parsed {
        diagnostics.append(std::mem::take(&mut file.diagnostics));
    }
    let connections =
        connections::read(&root.root, &setting.hosts[&root.name].with_secrets(), diagnostics);
    let written = match options.settings_only {
        true => Vec::new(),
        false => written_exports::read(&root.root, &setting.hosts[&root.name], diagnostics),
    };
    let (macros, macro_nodes) = macros(&setting, &parsed, diagnostics);
    let docs = docs(&parsed, diagnostics);
    let settings = settings(&root, options, &setting);
    let names_overridden = naming::MACROS.map(|name| {
        setting.packages.iter().any(|package| macros.in_package(&package.name, name).is_some())
    });
    let world = Arc::new(World {
        settings: settings.clone(),
        target: setting.target.clone(),
        environment: setting.environment.clone(),
        macros,
        late: crate::late::Late::default(),
        vars: setting.vars.clone(),
        versions: setting
            .packages
            .iter()
            .map(|package| (package.name.clone(), package.version.clone()))
            .collect(),
        names_overridden,
    });
    let yaml_files: Vec<&ParsedFile> =
        parsed.iter().filter(|file| file.job.kind == FileKind::Properties).collect();
    let read = parallel::map(&yaml_files, setting.threads, |file| {
        let mut diagnostics = Diagnostics::new();
        let package = &file.job.package.name;
        let properties =
            properties::read(&file.file, &setting.hosts[package], package, &mut diagnostics);
        (properties, diagnostics)
    });
    let mut said = Vec::with_capacity(read.len());
    let all_read = !read.iter().any(|(_, found)| found.has_errors());
    for (file, (properties, found)) in yaml_files.iter().zip(read) {
        diagnostics.append(found);
        said.push(nodes::Said {
            package: file.job.package.clone(),
            file: file.file.clone(),
            original: file.job.found.original.clone(),
            relative: file.job.found.relative.clone(),
            properties,
        });
    }
    let manifest = Manifest {
        settings,
        target: setting.target.clone(),
        macros: macro_nodes,
        docs,
        connections,
        selectors: crate::select::read_selectors(
            &root.root,
            &setting.hosts[&root.name],
            diagnostics,
        ),
        on_run_start: hooks(&setting, |package| &package.on_run_start),
        on_run_end: hooks(&setting, |package| &package.on_run_end),
        project_checksums: setting
            .packages
            .iter()
            .filter(|package| !package.on_run_start.is_empty() || !package.on_run_end.is_empty())
            .map(|package| (package.name.clone(), files::text_checksum(&package.file.text)))
            .collect(),
        ..Manifest::default()
    };
    let mut builder = nodes::Builder {
        manifest,
        world: &world,
        hosts: &setting.hosts,
        packages: &setting.packages,
        threads: setting.threads,
        places: Default::default(),
        templates: Default::default(),
        used: Default::default(),
        diagnostics,
    };
    builder.nodes(&parsed, &said);
    builder.sources(&said);
    builder.tests(&said);
    builder.unit_tests(&said);
    builder.others(&said);
    builder.unused_settings();
    builder.finish_names();
    let exports = builder.exports(written);
    let nodes::Builder { mut manifest, places, templates, diagnostics, .. } = builder;
    let index = RefIndex::new(&manifest);
    graph::connect(&mut manifest, &index, &places, all_read, diagnostics);
    exports::resolve(&mut manifest, &index, exports, diagnostics);
    access::check(&manifest, &index, &places, diagnostics);
    behaviour::check(&manifest, diagnostics);
    describe::describe(&mut manifest, &world, diagnostics);
    run_hooks::check(&manifest, &world, diagnostics);
    Some(Project::new(manifest, index, world, templates))
}

fn prepare(folder: &Path, options: &LoadOptions, diagnostics: &mut Diagnostics) -> Option<Setting> {
    let environment = options.env.clone().unwrap_or_else(Environment::of_process);
    let raw = project_file::read(folder, Path::new(""), diagnostics)?;
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let cli = Arc::new(options.vars.clone());
    let root_vars = Arc::new(project_file::vars(&raw));
    let vars = Vars::for_package(&raw.name, &cli, &root_vars, None);
    let early = YamlHost::new(&environment, vars.clone()).with_project_name(&raw.name);
    let profile = project_file::profile_name(&raw, &early);
    let target = profiles::target(
        &folder,
        &raw.name,
        profile.as_deref(),
        &profiles::Wanted {
            profiles_dir: options.profiles_dir.as_deref(),
            profile: options.profile.as_deref(),
            target: options.target.as_deref(),
            threads: options.threads,
            lake: options.target_lake.as_deref(),
        },
        &environment,
        &early.with_secrets(),
        diagnostics,
    )?;
    let target_value = Value::from(&serde_json::Value::Object(target_map(&target)));
    let host = early.with_target(target_value.clone());
    let root = Arc::new(project_file::resolve(
        raw,
        &folder,
        Path::new(""),
        &host,
        options.version_check,
        diagnostics,
    ));
    let root_vars = root.vars.clone();
    let mut all_vars = IndexMap::from([(root.name.clone(), vars)]);
    let mut hosts = IndexMap::from([(root.name.clone(), host)]);
    let mut packages = vec![root.clone()];
    // Without models, packages have nothing to say.
    let found = match options.settings_only {
        true => Vec::new(),
        false => packages::find(&root, &hosts[&root.name].with_secrets(), diagnostics),
    };
    let install = folder.join(&root.packages_install_path);
    for (folder, shown) in found {
        let Some(raw) = project_file::read(&folder, &shown, diagnostics) else { continue };
        if hosts.contains_key(&raw.name) {
            // What is installed is what is used, also of a package that is named by its folder.
            if !folder.starts_with(&install) && raw.name != root.name {
                continue;
            }
            diagnostics.push(
                Diagnostic::error(
                    "duplicate-package",
                    format!("the package `{}` is installed twice", raw.name),
                )
                .in_file(&raw.file.path),
            );
            continue;
        }
        let own = Arc::new(project_file::vars(&raw));
        let vars = Vars::for_package(&raw.name, &cli, &root_vars, Some(&own));
        let host = YamlHost::new(&environment, vars.clone())
            .with_target(target_value.clone())
            .with_project_name(&raw.name);
        all_vars.insert(raw.name.clone(), vars);
        let package = Arc::new(project_file::resolve(
            raw,
            &folder,
            &shown,
            &host,
            options.version_check,
            diagnostics,
        ));
        hosts.insert(package.name.clone(), host);
        packages.push(package);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    Some(Setting { packages, hosts, target, environment, vars: all_vars, threads })
}

fn macros(
    setting: &Setting,
    parsed: &[ParsedFile],
    diagnostics: &mut Diagnostics,
) -> (Macros, IndexMap<String, MacroNode>) {
    let root = &setting.packages[0];
    let profile = setting.target.extra.get("type").and_then(serde_json::Value::as_str);
    let mut macros = Macros::new(&root.name, root.dispatch.clone(), profile.map(str::to_owned))
        .in_postgres(setting.target.runs_in.is_some());
    let mut nodes = IndexMap::new();
    let mut calls = calls::Calls::new();
    for package in &setting.packages {
        macros.add_package(&package.name);
    }
    for file in parsed.iter().filter(|file| file.job.kind == FileKind::Macro) {
        let package = &file.job.package.name;
        for definition in &file.definitions {
            if let Some(before) = macros.add(package, definition) {
                let first = before.span();
                let at = first.position();
                diagnostics.push(
                    Diagnostic::error(
                        "duplicate-macro",
                        format!("the macro `{}` is defined twice in `{package}`", definition.name),
                    )
                    .at(crate::render::errors::position(&definition.name_span))
                    .label(format!(
                        "it is defined in {}:{} as well",
                        first.source().name(),
                        at.line
                    )),
                );
            }
            if matches!(definition.kind, DefinitionKind::Snapshot | DefinitionKind::Docs) {
                continue;
            }
            let node = MacroNode::of(definition, package, &file.job.found.original);
            calls.insert(node.unique_id.clone(), definition.macro_calls());
            nodes.insert(node.unique_id.clone(), node);
        }
    }
    let dispatch = |name: &str, namespace: Option<&str>, package: &str| {
        let found = macros.dispatch(name, namespace, package, package).ok()?;
        Some(format!("macro.{}.{}", found.package(), found.name()))
    };
    calls::note(&mut nodes, &calls, &dispatch, crate::macros::built_in(), &root.name);
    (macros, nodes)
}

fn docs(parsed: &[ParsedFile], diagnostics: &mut Diagnostics) -> IndexMap<String, DocBlock> {
    let mut docs: IndexMap<String, DocBlock> = IndexMap::new();
    for file in parsed.iter().filter(|file| file.job.kind == FileKind::Docs) {
        let package = &file.job.package.name;
        for definition in &file.definitions {
            if definition.kind != DefinitionKind::Docs {
                continue;
            }
            let unique_id = format!("doc.{package}.{}", definition.name);
            let block = DocBlock {
                unique_id: unique_id.clone(),
                name: definition.name.to_string(),
                package_name: package.clone(),
                original_file_path: file.job.found.original.clone(),
                block_contents: definition.body().trim().to_owned(),
            };
            if let Some(before) = docs.insert(unique_id, block) {
                diagnostics.push(
                    Diagnostic::error(
                        "duplicate-docs",
                        format!("the docs block `{}` is defined twice", definition.name),
                    )
                    .at(crate::render::errors::position(&definition.name_span))
                    .label(format!("it is defined in {} as well", before.original_file_path)),
                );
            }
        }
    }
    docs
}

fn settings(root: &Package, options: &LoadOptions, setting: &Setting) -> ProjectSettings {
    ProjectSettings {
        name: root.name.clone(),
        version: root.version.clone(),
        profile: root.profile.clone(),
        root: root.root.to_path_buf(),
        model_paths: root.model_paths.clone(),
        seed_paths: root.seed_paths.clone(),
        test_paths: root.test_paths.clone(),
        analysis_paths: root.analysis_paths.clone(),
        macro_paths: root.macro_paths.clone(),
        snapshot_paths: root.snapshot_paths.clone(),
        docs_paths: root.docs_paths.clone(),
        target_path: options
            .target_path
            .clone()
            .or_else(|| setting.environment.get("DBT_TARGET_PATH").map(str::to_owned))
            .unwrap_or_else(|| root.target_path.clone()),
        clean_targets: root.clean_targets.clone(),
        packages_install_path: root.packages_install_path.clone(),
        timezone: root.timezone.clone(),
        vars: (*root.vars).clone(),
        cli_vars: options.vars.clone(),
        quoting: root.quoting.clone(),
        query_comment: root.query_comment.clone(),
        dispatch: root.dispatch.clone(),
        flags: root
            .flags
            .iter()
            .chain(&options.flags)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        require_dbt_version: root.require_dbt_version.clone(),
    }
}

fn hooks(
    setting: &Setting,
    of: impl Fn(&Package) -> &Vec<crate::settings::Hook>,
) -> Vec<crate::settings::Hook> {
    // Those of packages come first, the root project's last.
    setting.packages[1..]
        .iter()
        .chain(&setting.packages[..1])
        .flat_map(|package| of(package).clone())
        .collect()
}

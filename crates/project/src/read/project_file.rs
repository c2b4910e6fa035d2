//! `dbt_project.yml`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, Diagnostics};
use tidemill_jinja::{Host, Options};

use super::project_shape::{self, VersionCheck};
use super::{Unknown, check_keys, read_file, read_mapping, text_of, texts_of, wrong_shape};
use crate::file::SourceFile;
use crate::settings::Hook;
use crate::yaml::Yaml;
use crate::yaml::render::render_tree;

/// The name of the file.
pub(crate) const FILE_NAME: &str = "dbt_project.yml";

const KNOWN: &[&str] = &[
    "name",
    "version",
    "config-version",
    "project-root",
    "profile",
    "model-paths",
    "source-paths",
    "seed-paths",
    "data-paths",
    "test-paths",
    "analysis-paths",
    "macro-paths",
    "snapshot-paths",
    "docs-paths",
    "asset-paths",
    "function-paths",
    "osi-paths",
    "target-path",
    "log-path",
    "clean-targets",
    "packages-install-path",
    "query-comment",
    "require-dbt-version",
    "restrict-access",
    "dbt-cloud",
    "flags",
    "vars",
    "models",
    "seeds",
    "snapshots",
    "tests",
    "data_tests",
    "sources",
    "analyses",
    "exposures",
    "metrics",
    "semantic-models",
    "saved-queries",
    "unit_tests",
    "functions",
    "on-run-start",
    "on-run-end",
    "quoting",
    "dispatch",
    "packages",
    "timezone",
];

/// What `flags:` may hold. Those that change nothing here are taken as they are in dbt.
const FLAGS: &[&str] = &[
    "allow_jinja_file_extensions",
    "cache_selected_only",
    "debug",
    "defer",
    "empty",
    "enable_grouped_warn_error_parser_logs",
    "fail_fast",
    "favor_state",
    "full_refresh",
    "hints_enabled",
    "indirect_selection",
    "introspect",
    "latest_version_pointer_enabled_by_default",
    "log_cache_events",
    "log_format",
    "log_format_file",
    "log_level",
    "log_level_file",
    "log_path",
    "macro_debugging",
    "maximum_seed_size_mib",
    "partial_parse",
    "partial_parse_file_diff",
    "populate_cache",
    "print",
    "printer_width",
    "quiet",
    "require_all_warnings_handled_by_warn_error",
    "require_batched_execution_for_custom_microbatch_strategy",
    "require_corrected_analysis_fqns",
    "require_event_names_in_deprecations",
    "require_explicit_package_overrides_for_builtin_materializations",
    "require_generic_test_arguments_property",
    "require_nested_cumulative_type_params",
    "require_ref_searches_node_package_before_root",
    "require_resource_names_without_spaces",
    "require_source_and_semantic_model_names_without_spaces",
    "require_sql_header_in_test_configs",
    "require_unique_project_resource_names",
    "require_valid_schema_from_generate_schema_name",
    "require_yaml_configuration_for_mf_time_spines",
    "send_anonymous_usage_stats",
    "show_all_deprecations",
    "skip_nodes_if_on_run_start_fails",
    "snowflake_projects_otel",
    "source_freshness_run_project_hooks",
    "state",
    "defer_state",
    "state_modified_compare_more_unrendered_values",
    "state_modified_compare_vars",
    "static_parser",
    "store_failures",
    "support_custom_ref_kwargs",
    "target_path",
    "upload_to_artifacts_ingest_api",
    "use_catalogs_v2",
    "use_colors",
    "use_colors_file",
    "use_experimental_parser",
    "use_fast_test_edges",
    "use_v2_parser",
    "v2_parser",
    "validate_macro_args",
    "version_check",
    "warn_error",
    "warn_error_options",
    "write_json",
    // Those of adapters.
    "bigquery_noop_alter_relation_add_remove_columns",
    "bigquery_reject_wildcard_metadata_source_freshness",
    "bigquery_use_batch_source_freshness",
    "enable_iceberg_materializations",
    "enable_list_inference",
    "enable_truthy_nulls_equals_macro",
    "redshift_skip_autocommit_transaction_statements",
    "restrict_direct_pg_catalog_access",
    "use_concurrent_microbatch",
    "use_info_schema_for_columns",
    "use_managed_iceberg",
    "use_materialization_v2",
    "use_replace_on_for_insert_overwrite",
    "use_user_folder_for_python",
];

/// A `dbt_project.yml` as it was written, before its values are rendered.
pub(crate) struct RawProject {
    pub(crate) file: SourceFile,
    pub(crate) root: Yaml,
    pub(crate) name: String,
}

/// A package: the root project, or one that it installs.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) root: Arc<Path>,
    /// What paths in messages begin with: empty for the root project.
    pub(crate) shown: PathBuf,
    pub(crate) file: SourceFile,
    pub(crate) version: Option<String>,
    pub(crate) profile: Option<String>,
    pub(crate) model_paths: Vec<String>,
    pub(crate) seed_paths: Vec<String>,
    pub(crate) test_paths: Vec<String>,
    pub(crate) analysis_paths: Vec<String>,
    pub(crate) macro_paths: Vec<String>,
    pub(crate) snapshot_paths: Vec<String>,
    pub(crate) docs_paths: Vec<String>,
    pub(crate) target_path: String,
    pub(crate) clean_targets: Vec<String>,
    pub(crate) packages_install_path: String,
    pub(crate) timezone: String,
    pub(crate) vars: Arc<Map<String, Value>>,
    pub(crate) quoting: Map<String, Value>,
    pub(crate) query_comment: Option<Value>,
    pub(crate) dispatch: IndexMap<String, Vec<String>>,
    pub(crate) flags: Map<String, Value>,
    pub(crate) require_dbt_version: Option<Value>,
    pub(crate) on_run_start: Vec<Hook>,
    pub(crate) on_run_end: Vec<Hook>,
    /// The config trees, rendered except hooks: resource key → tree.
    pub(crate) trees: IndexMap<&'static str, Yaml>,
    /// The same as written.
    pub(crate) raw_trees: IndexMap<&'static str, Yaml>,
}

impl Package {
    /// A path of this package for messages.
    pub(crate) fn shown_path(&self, original: &str) -> PathBuf {
        if self.shown.as_os_str().is_empty() {
            PathBuf::from(original)
        } else {
            self.shown.join(original)
        }
    }
}

/// Reads the file of a folder and its name, which everything else needs.
pub(crate) fn read(
    folder: &Path,
    shown: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<RawProject> {
    let path = folder.join(FILE_NAME);
    let shown_path = shown.join(FILE_NAME);
    if !path.is_file() {
        let diagnostic = if folder.is_dir() {
            Diagnostic::error(
                "no-project",
                format!("there is no `{FILE_NAME}` in `{}`", folder.display()),
            )
            .hint("go to a project's folder, name one with `--project-dir`, or make one with `tidemill init`")
        } else {
            Diagnostic::error("no-project", format!("there is no folder `{}`", folder.display()))
                .hint("name the project's folder with `--project-dir`, or make one with `tidemill init`")
        };
        diagnostics.push(diagnostic);
        return None;
    }
    let file = match read_file(&path, &shown_path) {
        Ok(file) => file,
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            return None;
        }
    };
    let root = read_mapping(&file, diagnostics)?;
    let name = match root.get("name") {
        Some(value) => match value.as_text() {
            Some(name) if is_name(name) => name.to_owned(),
            _ => {
                diagnostics.push(
                    Diagnostic::error("project-name", "the project's name is not a name")
                        .at(value.position(&file))
                        .label("letters, digits and `_`, beginning with a letter"),
                );
                return None;
            }
        },
        None => {
            diagnostics.push(
                Diagnostic::error("project-name", format!("`{}` has no `name`", file.shown()))
                    .in_file(&file.path)
                    .hint("add `name: my_project`"),
            );
            return None;
        }
    };
    Some(RawProject { file, root, name })
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The profile's name, which is needed before the rest is rendered.
pub(crate) fn profile_name(raw: &RawProject, host: &dyn Host) -> Option<String> {
    let value = raw.root.get("profile")?;
    let mut ignored = Diagnostics::new();
    let rendered =
        render_tree(value, &raw.file, host, &Options::default(), &|_| false, &mut ignored);
    rendered.scalar_text()
}

/// The vars as written.
pub(crate) fn vars(raw: &RawProject) -> Map<String, Value> {
    raw.root.get("vars").map(Yaml::to_map).unwrap_or_default()
}

const TREES: &[(&str, &[&str])] = &[
    ("models", &["models"]),
    ("seeds", &["seeds"]),
    ("snapshots", &["snapshots"]),
    ("data_tests", &["data_tests", "tests"]),
    ("sources", &["sources"]),
    ("exposures", &["exposures"]),
    ("unit_tests", &["unit_tests"]),
    ("metrics", &["metrics"]),
    ("semantic-models", &["semantic-models"]),
    ("saved-queries", &["saved-queries"]),
];

/// Renders and resolves the rest.
pub(crate) fn resolve(
    raw: RawProject,
    folder: &Path,
    shown: &Path,
    host: &dyn Host,
    versions: Option<VersionCheck>,
    diagnostics: &mut Diagnostics,
) -> Package {
    let RawProject { file, root, name } = raw;
    check_keys(&root, FILE_NAME, KNOWN, Unknown::Refuse, &file, diagnostics);
    // Those of packages do not count.
    if shown.as_os_str().is_empty()
        && let Some(flags) = root.get("flags").filter(|flags| flags.is_map())
    {
        check_keys(flags, "`flags`", FLAGS, Unknown::Warn, &file, diagnostics);
    }
    let options = Options::for_package(name.as_str());
    let raw_trees = raw_trees(&root);
    let root = render_tree(&root, &file, host, &options, &is_late, diagnostics);
    project_shape::check(&root, &file, diagnostics);
    if let (Some(versions), Some(value)) = (versions, root.get(project_shape::REQUIRED)) {
        project_shape::required_version(value, &name, versions, &file, diagnostics);
    }
    // Of the wrong shape they are told once, above.
    let ignored = &mut Diagnostics::new();
    let paths = |keys: &[&str], default: &[&str], ignored: &mut Diagnostics| {
        keys.iter()
            .find_map(|key| texts_of(&root, key, FILE_NAME, &file, ignored))
            .unwrap_or_else(|| default.iter().map(|&path| path.to_owned()).collect::<Vec<_>>())
    };
    let text = |key: &str, diagnostics: &mut Diagnostics| {
        text_of(&root, key, FILE_NAME, &file, diagnostics)
    };
    let target_path = text("target-path", ignored).unwrap_or_else(|| "target".to_owned());
    let timezone = timezone(&root, &file, diagnostics);
    let mut trees = IndexMap::new();
    for (key, spellings) in TREES {
        for spelling in *spellings {
            let Some(tree) = root.get(spelling) else { continue };
            if tree.is_map() {
                trees.entry(*key).or_insert_with(|| tree.clone());
            }
        }
    }
    Package {
        version: text("version", ignored),
        profile: text("profile", diagnostics),
        model_paths: paths(&["model-paths", "source-paths"], &["models"], ignored),
        seed_paths: paths(&["seed-paths", "data-paths"], &["seeds"], ignored),
        test_paths: paths(&["test-paths"], &["tests"], ignored),
        analysis_paths: paths(&["analysis-paths"], &["analyses"], ignored),
        macro_paths: paths(&["macro-paths"], &["macros"], ignored),
        snapshot_paths: paths(&["snapshot-paths"], &["snapshots"], ignored),
        docs_paths: paths(&["docs-paths"], &[], ignored),
        clean_targets: paths(&["clean-targets"], &[&target_path], ignored),
        packages_install_path: text("packages-install-path", ignored)
            .unwrap_or_else(|| "dbt_packages".to_owned()),
        target_path,
        timezone,
        vars: Arc::new(root.get("vars").map(Yaml::to_map).unwrap_or_default()),
        quoting: root.get("quoting").map(Yaml::to_map).unwrap_or_default(),
        query_comment: root.get("query-comment").map(Yaml::to_json),
        dispatch: dispatch(&root, &file, diagnostics),
        flags: root.get("flags").map(Yaml::to_map).unwrap_or_default(),
        require_dbt_version: root.get("require-dbt-version").map(Yaml::to_json),
        on_run_start: hooks(&root, "on-run-start", &name, &file, diagnostics),
        on_run_end: hooks(&root, "on-run-end", &name, &file, diagnostics),
        trees,
        raw_trees,
        name,
        root: Arc::from(folder),
        shown: shown.to_owned(),
        file,
    }
}

fn raw_trees(root: &Yaml) -> IndexMap<&'static str, Yaml> {
    TREES
        .iter()
        .filter_map(|(key, spellings)| {
            let tree = spellings.iter().find_map(|spelling| root.get(spelling))?;
            Some((*key, tree.clone()))
        })
        .collect()
}

/// What is rendered when it is used and not now.
fn is_late(path: &[&str]) -> bool {
    match path.first() {
        Some(&("on-run-start" | "on-run-end" | "query-comment" | "vars")) => true,
        Some(&("models" | "seeds" | "snapshots" | "tests" | "data_tests")) => {
            path.iter().any(|key| {
                matches!(
                    key.trim_start_matches(['+', ' ']),
                    "pre-hook" | "post-hook" | "pre_hook" | "post_hook"
                )
            })
        }
        _ => false,
    }
}

fn timezone(root: &Yaml, file: &SourceFile, diagnostics: &mut Diagnostics) -> String {
    let Some(name) = text_of(root, "timezone", FILE_NAME, file, diagnostics) else {
        return "UTC".to_owned();
    };
    if name.parse::<chrono_tz::Tz>().is_ok() {
        return name;
    }
    if let Some(value) = root.get("timezone") {
        let known =
            crate::suggest::nearest(&name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        diagnostics.push(
            Diagnostic::error("timezone", format!("`{name}` is not a time zone"))
                .at(value.position(file))
                .hint(match known {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => "use an IANA name such as `Europe/Paris` or `UTC`".to_owned(),
                }),
        );
    }
    "UTC".to_owned()
}

fn dispatch(
    root: &Yaml,
    file: &SourceFile,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, Vec<String>> {
    let mut orders = IndexMap::new();
    let Some(list) = root.get("dispatch") else { return orders };
    for item in list.items() {
        let what = "`dispatch`";
        let namespace = text_of(item, "macro_namespace", what, file, diagnostics);
        let order = texts_of(item, "search_order", what, file, diagnostics);
        match (namespace, order) {
            (Some(namespace), Some(order)) => {
                orders.insert(namespace, order);
            }
            _ => diagnostics.push(
                Diagnostic::error(
                    "yaml-shape",
                    "each `dispatch` needs `macro_namespace` and `search_order`",
                )
                .at(item.position(file)),
            ),
        }
    }
    orders
}

fn hooks(
    root: &Yaml,
    key: &str,
    package: &str,
    file: &SourceFile,
    diagnostics: &mut Diagnostics,
) -> Vec<Hook> {
    let Some(value) = root.get(key) else { return Vec::new() };
    let single = std::slice::from_ref(value);
    let items = if value.is_list() { value.items() } else { single };
    let mut hooks = Vec::new();
    for item in items {
        if item.is_null() {
            continue;
        }
        match Hook::from_value(&item.to_json()) {
            Some(hook) => hooks.push(Hook {
                package: package.to_owned(),
                index: Some(hooks.len() as i64),
                position: Some(item.position(file)),
                ..hook
            }),
            None => wrong_shape(item, &format!("`{key}` holds statements"), file, diagnostics),
        }
    }
    hooks
}

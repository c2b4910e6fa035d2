//! Artifacts to pages.

mod keys;
mod page;
mod read;

use std::collections::HashMap;

use serde_json::Value;

use self::read::{entries, items, string, text};
use crate::markdown;
use crate::site::{Page, ProjectFacts, Run, RunFacts, Site};

/// What a site is made from.
#[derive(Debug, Clone, Copy)]
pub struct Artifacts<'a> {
    /// `manifest.json`, dbt's version 12 (older ones have the same shape for what is read here).
    pub manifest: &'a Value,
    /// `catalog.json`, version 1: types, comments, rows and bytes.
    pub catalog: Option<&'a Value>,
    /// `run_results.json`, version 4 to 6: verdicts and times of the last run.
    pub run_results: Option<&'a Value>,
    /// Markdown for the first page where the project has no `__overview__` block: its README.
    pub readme: Option<&'a str>,
}

impl Default for Artifacts<'_> {
    fn default() -> Self {
        Artifacts { manifest: &Value::Null, catalog: None, run_results: None, readme: None }
    }
}

/// The parts of a manifest that become pages, in the order of the sidebar.
const PARTS: [&str; 9] = [
    "sources",
    "nodes",
    "exposures",
    "metrics",
    "semantic_models",
    "saved_queries",
    "functions",
    "unit_tests",
    "macros",
];

impl Site {
    /// Distils artifacts. Never fails: what they do not have is not shown. Nodes with
    /// `docs: {show: false}`, those that are not enabled and the macros of dbt itself are left out.
    pub fn distil(artifacts: &Artifacts<'_>) -> Site {
        let manifest = artifacts.manifest;
        let project = project(artifacts);
        let shown: Vec<&Value> = PARTS
            .iter()
            .flat_map(|part| entries(manifest, part).map(|(_, value)| value))
            .filter(|value| is_shown(value, &project))
            .collect();
        let places: HashMap<&str, usize> = shown
            .iter()
            .enumerate()
            .map(|(place, value)| (text(value, "unique_id"), place))
            .collect();
        let results = artifacts.run_results.map(results).unwrap_or_default();
        let compiled = artifacts.run_results.map(compiled).unwrap_or_default();
        let mut pages: Vec<Page> = shown
            .iter()
            .map(|value| {
                let id = text(value, "unique_id");
                let catalog = artifacts.catalog.and_then(|catalog| catalog_of(catalog, id));
                let mut page = page::page(value, manifest, catalog, &places);
                page.run = results.get(id).cloned();
                if page.compiled.is_empty()
                    && let Some(compiled) = compiled.get(id)
                {
                    page.compiled = (*compiled).to_owned();
                }
                page
            })
            .collect();
        page::attach_tests(&mut pages);
        let relationships = keys::relationships(&shown, &mut pages, &places);
        let run = artifacts.run_results.map(|results| RunFacts {
            generated_at: string(&results["metadata"], "generated_at"),
            elapsed: results.get("elapsed_time").and_then(Value::as_f64).unwrap_or_default(),
            command: string(&results["args"], "which"),
        });
        let overview = overview(manifest, &project.name)
            .or(artifacts.readme)
            .map(markdown::html)
            .unwrap_or_default();
        Site { project, overview, pages, relationships, run }
    }
}

fn project(artifacts: &Artifacts<'_>) -> ProjectFacts {
    let metadata = &artifacts.manifest["metadata"];
    ProjectFacts {
        name: string(metadata, "project_name"),
        generated_at: string(metadata, "generated_at"),
        adapter: string(metadata, "adapter_type"),
        dbt_version: string(metadata, "dbt_version"),
        tidemill_version: env!("CARGO_PKG_VERSION").to_owned(),
        has_catalog: artifacts.catalog.is_some(),
    }
}

fn is_shown(value: &Value, project: &ProjectFacts) -> bool {
    let says_no = |part: &str, key: &str| value[part][key] == Value::Bool(false);
    // Tests of what is disabled stand among the nodes of a manifest, and nothing runs them.
    if text(value, "unique_id").is_empty()
        || says_no("docs", "show")
        || says_no("config", "enabled")
    {
        return false;
    }
    let package = text(value, "package_name");
    match text(value, "resource_type") {
        "macro" => {
            let of_adapter =
                package.strip_prefix("dbt_").is_some_and(|name| name == project.adapter);
            package != "dbt" && !of_adapter && !text(value, "name").starts_with("test_")
        }
        "operation" | "rpc" | "sql_operation" => false,
        _ => true,
    }
}

/// The text of the first page: the project's own `__overview__`, or one of a package other than dbt.
fn overview<'a>(manifest: &'a Value, project: &str) -> Option<&'a str> {
    let block = |package: &str| {
        let name = format!("doc.{package}.__overview__");
        manifest.get("docs")?.get(name)?.get("block_contents")?.as_str()
    };
    block(project).or_else(|| {
        entries(manifest, "docs")
            .filter(|(_, doc)| {
                text(doc, "name") == "__overview__" && text(doc, "package_name") != "dbt"
            })
            .find_map(|(_, doc)| doc.get("block_contents")?.as_str())
    })
}

fn catalog_of<'a>(catalog: &'a Value, id: &str) -> Option<&'a Value> {
    let find = |part: &str| catalog.get(part)?.get(id);
    find("nodes").or_else(|| find("sources"))
}

fn results(run_results: &Value) -> HashMap<&str, Run> {
    items(run_results, "results")
        .iter()
        .map(|result| {
            let run = Run {
                status: string(result, "status"),
                time: result.get("execution_time").and_then(Value::as_f64).unwrap_or_default(),
                message: string(result, "message"),
                failures: result.get("failures").and_then(Value::as_f64),
                rows: result["adapter_response"].get("rows_affected").and_then(Value::as_u64),
            };
            (text(result, "unique_id"), run)
        })
        .collect()
}

fn compiled(run_results: &Value) -> HashMap<&str, &str> {
    items(run_results, "results")
        .iter()
        .map(|result| (text(result, "unique_id"), text(result, "compiled_code")))
        .filter(|(_, code)| !code.is_empty())
        .collect()
}

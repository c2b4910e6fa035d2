//! Unit tests that property YAML declares: which model each tests, and its rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use tidemill_core::{Diagnostic, UniqueId};

use super::nodes::{Builder, Places, Said};
use crate::config;
use crate::manifest::{Node, RefCall, ResourceType};
use crate::read::unit_tests::{GivenDef, RowsDef, UnitTestDef};
use crate::read::walk::folders;
use crate::resolve::{RefIndex, Resolved, describe_missing_ref, describe_missing_source};
use crate::unit_test::{FixtureRows, UnitTestInput, UnitTestOverrides, UnitTestSpec, rows_of_csv};

impl Builder<'_> {
    /// Makes the unit tests. To be called when all models, seeds, snapshots and sources are known.
    pub(super) fn unit_tests(&mut self, said: &[Said]) {
        if said.iter().all(|said| said.properties.unit_tests.is_empty()) {
            return;
        }
        let index = RefIndex::new(&self.manifest);
        for said in said {
            for def in &said.properties.unit_tests {
                self.unit_test(said, def, &index);
            }
        }
    }

    fn unit_test(&mut self, said: &Said, def: &UnitTestDef, index: &RefIndex) {
        let package = &said.package.name;
        let mut words = def.model.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let version = words.next().map(|word| word.trim_start_matches('v').to_owned());
        let call = RefCall { package: None, name, version, span: None };
        let tested = match index.reference(&call, package) {
            Resolved::Found(id) => id,
            // Tests of what does not take part do not take part.
            Resolved::Disabled(_) => return,
            missing => {
                let (message, hint) = describe_missing_ref(&self.manifest, index, &call, &missing);
                let diagnostic = Diagnostic::error(
                    "unknown-ref",
                    format!("unit test `{}` tests {message}", def.name),
                )
                .at(def.position.clone());
                self.diagnostics.push(match hint {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic,
                });
                return;
            }
        };
        let Some(model) = self.manifest.nodes.get(&tested).cloned() else { return };
        if model.resource_type != ResourceType::Model {
            self.wrong_unit_test(
                def,
                format!(
                    "a unit test tests a model, and `{}` is a {}",
                    model.name, model.resource_type
                ),
            );
            return;
        }
        if model.version.is_none() {
            if def.include.is_some() || def.exclude.is_some() {
                self.wrong_unit_test(
                    def,
                    format!("it chooses versions, and the model `{}` has none", model.name),
                );
                return;
            }
            self.unit_test_of(said, def, index, &model);
            return;
        }
        let all: Vec<Node> = self
            .manifest
            .nodes
            .values()
            .filter(|node| {
                node.resource_type == ResourceType::Model
                    && node.package_name == model.package_name
                    && node.name == model.name
            })
            .filter(|node| {
                let version = node.version.clone().unwrap_or_default();
                match (&call.version, &def.include, &def.exclude) {
                    (Some(wanted), _, _) => *wanted == version,
                    (None, Some(include), _) => include.contains(&version),
                    (None, None, Some(exclude)) => !exclude.contains(&version),
                    (None, None, None) => true,
                }
            })
            .cloned()
            .collect();
        if all.is_empty() {
            self.wrong_unit_test(def, format!("none of the versions of `{}` is meant", model.name));
        }
        for model in all {
            self.unit_test_of(said, def, index, &model);
        }
    }

    fn wrong_unit_test(&mut self, def: &UnitTestDef, message: String) {
        self.diagnostics.push(
            Diagnostic::error("unit-test", format!("unit test `{}`: {message}", def.name))
                .at(def.position.clone()),
        );
    }

    fn unit_test_of(&mut self, said: &Said, def: &UnitTestDef, index: &RefIndex, model: &Node) {
        let package = &said.package;
        let incremental = model.raw_code.contains("is_incremental(");
        let overridden = def.macros.get("is_incremental").and_then(Json::as_bool);
        if incremental && overridden.is_none() {
            self.diagnostics.push(
                Diagnostic::error(
                    "unit-test",
                    format!(
                        "unit test `{}` does not say what `is_incremental()` gives, which the model `{}` asks",
                        def.name, model.name
                    ),
                )
                .at(def.position.clone())
                .hint("add `overrides: {macros: {is_incremental: true}}`, or false"),
            );
            return;
        }
        if incremental
            && overridden == Some(true)
            && !def.given.iter().any(|given| given.input.trim() == "this")
        {
            self.diagnostics.push(
                Diagnostic::error(
                    "unit-test",
                    format!("unit test `{}` of an increment has no input `this`", def.name),
                )
                .at(def.position.clone())
                .hint("add `- input: this` with the rows that the table has"),
            );
            return;
        }
        let mut given = Vec::new();
        for input in &def.given {
            let Some(node) = self.unit_test_input(said, def, input, index, model) else { return };
            let Some(rows) = self.fixture(said, def, &input.rows, Some(&node)) else { return };
            given.push(UnitTestInput { input: input.input.clone(), node, rows });
        }
        let Some(expect) = self.fixture(said, def, &def.expect, None) else { return };
        let mut id = format!("unit_test.{}.{}.{}", package.name, model.name, def.name);
        if let Some(version) = &model.version {
            id.push_str(&format!("_v{version}"));
        }
        let unique_id = UniqueId::new(id);
        let mut fqn = vec![package.name.clone()];
        fqn.extend(folders(&said.relative).map(str::to_owned));
        fqn.push(model.name.clone());
        fqn.push(def.name.clone());
        let mut merged = self.tree_layer("unit_tests", package, &fqn);
        merged.apply(&def.config);
        let (config, problems) = config::typed(ResourceType::UnitTest, &merged);
        self.config_problems(
            &format!("unit test `{}`", def.name),
            &problems,
            &merged,
            &def.position,
        );
        let call = RefCall {
            package: Some(model.package_name.clone()),
            name: model.name.clone(),
            version: model.version.clone(),
            span: None,
        };
        self.places.insert(
            unique_id.clone(),
            Places { refs: vec![Some(def.position.clone())], sources: Vec::new() },
        );
        let written = json!({
            "given": def.given.iter().zip(&given).map(|(written, input)| {
                fixture_json(&written.rows, &input.rows, Some(&input.input))
            }).collect::<Vec<_>>(),
            "expect": fixture_json(&def.expect, &expect, None),
            "overrides": match def.macros.is_empty() && def.vars.is_empty() && def.env_vars.is_empty() {
                true => Json::Null,
                false => json!({"macros": def.macros, "vars": def.vars, "env_vars": def.env_vars}),
            },
            "versions": (def.include.is_some() || def.exclude.is_some())
                .then(|| json!({"include": def.include, "exclude": def.exclude})),
        });
        let node = Node {
            unique_id: unique_id.clone(),
            resource_type: ResourceType::UnitTest,
            name: def.name.clone(),
            package_name: package.name.clone(),
            path: said.relative.clone(),
            original_file_path: said.original.clone(),
            fqn,
            database: model.database.clone(),
            schema: model.schema.clone(),
            quoted_parts: self.world.settings.quoted_parts(),
            alias: def.name.clone(),
            raw_code: Arc::from(""),
            language: "sql",
            checksum: String::new(),
            tags: config.tags.clone(),
            meta: config.meta.clone(),
            config,
            unrendered_config: Default::default(),
            description: def.description.clone(),
            columns: Default::default(),
            refs: vec![call],
            sources: Vec::new(),
            depends_on: Vec::new(),
            macros: Vec::new(),
            reached_macros: BTreeSet::new(),
            properties: Default::default(),
            patch_path: None,
            test: None,
            contract: None,
            deprecation_date: None,
            constraints: Vec::new(),
            unit_test: Some(Arc::new(UnitTestSpec {
                model: model.unique_id.clone(),
                given,
                expect,
                overrides: UnitTestOverrides {
                    macros: def.macros.clone(),
                    vars: def.vars.clone(),
                    env_vars: def.env_vars.clone(),
                },
                written,
            })),
            access: None,
            group: None,
            version: model.version.clone(),
            latest_version: None,
            simple: false,
            root_path: package.root.clone(),
            position: def.position.clone(),
        };
        if !node.config.enabled {
            self.manifest.disabled.push(node);
            return;
        }
        if let Some(first) = self.manifest.nodes.get(&unique_id) {
            let line = first.position.line_column().0;
            self.diagnostics.push(
                Diagnostic::error(
                    "duplicate-name",
                    format!("the unit test `{}` of `{}` is declared twice", def.name, model.name),
                )
                .at(def.position.clone())
                .label(format!(
                    "it is declared in {}:{line} as well",
                    crate::file::shown(&first.position.file)
                )),
            );
            return;
        }
        self.manifest.nodes.insert(unique_id, node);
    }

    /// The node or source that an input stands in for.
    fn unit_test_input(
        &mut self,
        said: &Said,
        def: &UnitTestDef,
        given: &GivenDef,
        index: &RefIndex,
        model: &Node,
    ) -> Option<UniqueId> {
        if given.input.trim() == "this" {
            return Some(model.unique_id.clone());
        }
        let package = &said.package.name;
        let found = match self.noted(package, &model.unique_id, &def.name, &given.input) {
            Ok((refs, sources)) => match (refs.first(), sources.first()) {
                (Some(call), _) => match index.reference(call, package) {
                    Resolved::Found(id) => Ok(id),
                    missing => Err(describe_missing_ref(&self.manifest, index, call, &missing)),
                },
                (None, Some(call)) => match index.source(call, package) {
                    Resolved::Found(id) => Ok(id),
                    missing => Err(describe_missing_source(&self.manifest, call, &missing)),
                },
                (None, None) => Err((
                    format!("`{}` names nothing", given.input),
                    Some("write `ref('x')`, `source('a', 'b')` or `this`".to_owned()),
                )),
            },
            Err(error) => Err((
                error.message().to_owned(),
                Some("write `ref('x')`, `source('a', 'b')` or `this`".to_owned()),
            )),
        };
        match found {
            Ok(id) => Some(id),
            Err((message, hint)) => {
                let diagnostic = Diagnostic::error(
                    "unknown-ref",
                    format!("an input of unit test `{}`: {message}", def.name),
                )
                .at(given.position.clone());
                self.diagnostics.push(match hint {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic,
                });
                None
            }
        }
    }

    /// The rows of an input or of the expectation.
    fn fixture(
        &mut self,
        said: &Said,
        def: &UnitTestDef,
        rows: &RowsDef,
        input: Option<&UniqueId>,
    ) -> Option<FixtureRows> {
        match self.read_fixture(said, rows, input) {
            Ok(rows) => Some(rows),
            Err((message, hint)) => {
                let diagnostic =
                    Diagnostic::error("unit-test", format!("unit test `{}`: {message}", def.name))
                        .at(rows.position.clone());
                self.diagnostics.push(match hint {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic,
                });
                None
            }
        }
    }

    fn read_fixture(
        &self,
        said: &Said,
        rows: &RowsDef,
        input: Option<&UniqueId>,
    ) -> Result<FixtureRows, (String, Option<String>)> {
        let text = |key: &str| -> Result<Option<String>, (String, Option<String>)> {
            match (&rows.rows, &rows.fixture) {
                (Some(_), Some(_)) => {
                    Err(("`rows` and `fixture` cannot be given together".to_owned(), None))
                }
                (Some(Json::String(text)), None) => Ok(Some(text.clone())),
                (Some(_), None) => Err((format!("rows of format {key} must be text"), None)),
                (None, Some(name)) => fixture_file(said, name, key).map(Some),
                (None, None) => Ok(None),
            }
        };
        match rows.format.as_str() {
            "sql" => match text("sql")? {
                Some(text) => Ok(FixtureRows::Sql(text)),
                None => Err(("format sql needs `rows` or `fixture`".to_owned(), None)),
            },
            "csv" => match text("csv")? {
                Some(text) => rows_of_csv(&text)
                    .map(FixtureRows::Rows)
                    .map_err(|message| (format!("its CSV cannot be read: {message}"), None)),
                None => Err(("format csv needs `rows` or `fixture`".to_owned(), None)),
            },
            _ => match &rows.rows {
                None if rows.fixture.is_some() => {
                    Err(("a fixture file needs `format: csv` or `format: sql`".to_owned(), None))
                }
                None => match input.and_then(|id| self.manifest.nodes.get(id)) {
                    // As in dbt, an input without rows that is a seed has the seed's.
                    Some(seed) if seed.resource_type == ResourceType::Seed => {
                        let path = seed.root_path.join(&seed.original_file_path);
                        let text = std::fs::read_to_string(&path)
                            .map_err(|error| (format!("the seed cannot be read: {error}"), None))?;
                        rows_of_csv(&text).map(FixtureRows::Rows).map_err(|message| {
                            (format!("the seed cannot be read: {message}"), None)
                        })
                    }
                    _ => Ok(FixtureRows::Rows(Vec::new())),
                },
                Some(Json::Array(items)) => {
                    let rows: Option<Vec<Map<String, Json>>> =
                        items.iter().map(|item| item.as_object().cloned()).collect();
                    rows.map(FixtureRows::Rows).ok_or_else(|| {
                        (
                            "each row must be a mapping".to_owned(),
                            Some("write `- {column: value}`, or give a `format`".to_owned()),
                        )
                    })
                }
                Some(_) => Err((
                    "rows of format dict must be a list".to_owned(),
                    Some("write `- {column: value}`, or give a `format`".to_owned()),
                )),
            },
        }
    }
}

/// The text of a fixture: `tests/fixtures/<name>.<format>`, in any folder there.
fn fixture_file(said: &Said, name: &str, format: &str) -> Result<String, (String, Option<String>)> {
    let package = &said.package;
    let wanted = name.strip_suffix(&format!(".{format}")).unwrap_or(name);
    let mut known = Vec::new();
    for folder in &package.test_paths {
        for found in crate::read::walk::files(&package.root, folder, &[format]) {
            if !found.relative.starts_with("fixtures/") {
                continue;
            }
            let stem = crate::read::walk::stem(&found.relative);
            if stem == wanted {
                return std::fs::read_to_string(&found.path).map_err(|error| {
                    (format!("the fixture `{name}` cannot be read: {error}"), None)
                });
            }
            known.push(stem.to_owned());
        }
    }
    let hint = crate::suggest::nearest(wanted, known.iter().map(String::as_str))
        .map(|near| format!("did you mean `{near}`?"));
    Err((format!("there is no fixture `{name}` ({format}) under tests/fixtures"), hint))
}

/// Rows as `manifest.json` has them.
fn fixture_json(written: &RowsDef, rows: &FixtureRows, input: Option<&str>) -> Json {
    let rows = match rows {
        FixtureRows::Rows(rows) => {
            // As in dbt: a row without NULL comes first, where there is one.
            let mut rows = rows.clone();
            let whole = |row: &Map<String, Json>| row.values().all(|value| !value.is_null());
            if let Some(first) = rows.iter().position(whole) {
                rows.swap(0, first);
            }
            json!(rows)
        }
        FixtureRows::Sql(text) => json!(text),
    };
    let mut value = json!({"rows": rows, "format": written.format, "fixture": written.fixture});
    if let (Some(input), Json::Object(map)) = (input, &mut value) {
        map.insert("input".to_owned(), input.into());
    }
    value
}

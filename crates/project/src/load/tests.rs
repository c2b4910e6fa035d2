//! Data tests that property YAML declares.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tidemill_core::{Diagnostic, UniqueId};

use super::nodes::{Builder, Places, Said};
use crate::config;
use crate::data_test::{self, Declared, Place, looks_like_call};
use crate::macros::INTERNAL;
use crate::manifest::{GenericTest, Node, RefCall, ResourceType, SourceCall, TestKind, TestTarget};
use crate::read::properties::{ColumnDef, Patch, TestDef};
use crate::read::walk::folders;
use crate::render::context::{Context, ContextHost, Model, Phase, Subject};
use crate::render::{call_test, errors, test_value};
use crate::suggest::nearest;
use crate::yaml::render::has_jinja;

/// What tests are declared on.
struct Owner {
    target: TestTarget,
    attached: Option<UniqueId>,
    /// Whether it takes part.
    enabled: bool,
    group: Option<String>,
    /// Labels that its tests inherit.
    tags: Vec<String>,
}

impl Builder<'_> {
    /// Makes the tests of all models, seeds, snapshots and sources.
    pub(super) fn tests(&mut self, said: &[Said]) {
        for said in said {
            for patch in &said.properties.patches {
                if !patch.tests.is_empty()
                    || !patch.versions.is_empty()
                    || patch.columns.iter().any(|column| !column.tests.is_empty())
                {
                    self.patch_tests(said, patch);
                }
            }
            for def in &said.properties.sources {
                let id = UniqueId::new(format!(
                    "source.{}.{}.{}",
                    said.package.name, def.source, def.name
                ));
                let owner = Owner {
                    target: TestTarget::Source {
                        source: def.source.clone(),
                        table: def.name.clone(),
                    },
                    enabled: self.manifest.sources.contains_key(&id),
                    attached: Some(id),
                    group: None,
                    tags: def.tags.clone(),
                };
                self.owner_tests(said, &owner, &def.columns, &def.tests);
            }
        }
    }

    fn patch_tests(&mut self, said: &Said, patch: &Patch) {
        let versions: Vec<Option<String>> = if patch.versions.is_empty() {
            vec![None]
        } else {
            patch.versions.iter().map(|version| Some(version.version.clone())).collect()
        };
        for (number, version) in versions.into_iter().enumerate() {
            let mut id = format!("{}.{}.{}", patch.kind, said.package.name, patch.name);
            if let Some(version) = &version {
                id.push_str(&format!(".v{version}"));
            }
            let mut id = UniqueId::new(id);
            // Tests of a seed or snapshot that stand under `models:` are its tests, as in dbt.
            if !self.manifest.nodes.contains_key(&id)
                && !self.manifest.disabled.iter().any(|node| node.unique_id == id)
            {
                let others = ["model", "seed", "snapshot"].map(|kind| {
                    UniqueId::new(format!("{kind}.{}.{}", said.package.name, patch.name))
                });
                let other = others.into_iter().find(|id| self.manifest.nodes.contains_key(id));
                // A package may declare tests of what another has.
                let elsewhere = || {
                    let mut nodes = self.manifest.nodes.values();
                    let found = nodes.find(|node| {
                        node.name == patch.name
                            && node.version == version
                            && ["model", "seed", "snapshot"].contains(&node.resource_type.as_str())
                    });
                    found.map(|node| node.unique_id.clone())
                };
                id = other.or_else(elsewhere).unwrap_or(id);
            }
            let node = self.manifest.nodes.get(&id);
            let owner = Owner {
                target: TestTarget::Ref { name: patch.name.clone(), version },
                enabled: node.is_some(),
                group: node.and_then(|node| node.group.clone()),
                attached: Some(id),
                tags: Vec::new(),
            };
            let (columns, tests) = match patch.versions.get(number) {
                Some(own) => (&own.columns, own.tests.as_ref().unwrap_or(&patch.tests)),
                None => (&patch.columns, &patch.tests),
            };
            self.owner_tests(said, &owner, columns, tests);
        }
    }

    fn owner_tests(
        &mut self,
        said: &Said,
        owner: &Owner,
        columns: &[ColumnDef],
        tests: &[TestDef],
    ) {
        for column in columns {
            for def in &column.tests {
                self.test(said, owner, Some(column), def);
            }
        }
        for def in tests {
            self.test(said, owner, None, def);
        }
    }

    fn test(&mut self, said: &Said, owner: &Owner, column: Option<&ColumnDef>, def: &TestDef) {
        let package = &said.package;
        let quoted = column.map(|column| match column.column.quote {
            Some(true) => format!("\"{}\"", column.column.name),
            _ => column.column.name.clone(),
        });
        let flag = self.world.settings.flags.get("require_generic_test_arguments_property");
        let place = Place {
            target: &owner.target,
            column: quoted.as_deref(),
            file: &said.file,
            host: &self.hosts[&package.name],
            nested_arguments: flag.and_then(Json::as_bool).unwrap_or(true),
        };
        let declared = match data_test::declared(def, &place) {
            Ok(declared) => declared,
            Err(diagnostic) => {
                self.diagnostics.push(*diagnostic);
                return;
            }
        };
        let known =
            self.world.macros.test(declared.namespace.as_deref(), &declared.name, &package.name);
        let is_known = known.is_some();
        if !is_known {
            // As in dbt, the test is there and fails when it runs.
            self.unknown_test(&declared, &package.name);
        }
        let defined_by_project = known.is_some_and(|(_, by_project)| by_project);
        let well_known = is_known && (declared.namespace.is_some() || !defined_by_project);
        let mut fqn = vec![package.name.clone()];
        fqn.extend(folders(&said.relative).map(str::to_owned));
        fqn.push(declared.full_name.clone());
        let mut generic = GenericTest {
            namespace: declared.namespace.clone(),
            name: declared.name.clone(),
            arguments: declared.arguments.clone(),
            column: quoted.clone(),
            column_at: declared.arguments.keys().position(|name| name == "column_name"),
            column_is_argument: false,
            attached: owner.attached.clone(),
            target: owner.target.clone(),
            well_known,
        };
        generic.arguments.shift_remove("column_name");
        if generic.column.is_none()
            && let Some(Json::String(column)) = declared.arguments.get("column_name")
        {
            generic.column = Some(column.clone());
            generic.column_is_argument = true;
        }
        let unique_id = UniqueId::new(format!(
            "test.{}.{}.{}",
            package.name, declared.full_name, declared.hash
        ));
        let mut own = declared.config.clone();
        if declared.short_name != declared.full_name && !own.values.contains_key("alias") {
            own.set("alias", declared.short_name.as_str().into(), None);
        }
        let mut node = Node {
            unique_id: unique_id.clone(),
            resource_type: ResourceType::Test,
            name: declared.full_name.clone(),
            package_name: package.name.clone(),
            path: format!("{}.sql", declared.short_name),
            original_file_path: said.original.clone(),
            fqn,
            database: self.world.target.database.clone(),
            schema: self.world.target.schema.clone(),
            quoted_parts: self.world.settings.quoted_parts(),
            alias: declared.short_name.clone(),
            raw_code: Arc::from(raw_code(&declared)),
            language: "sql",
            checksum: String::new(),
            config: Default::default(),
            unrendered_config: Map::new(),
            tags: Vec::new(),
            meta: Map::new(),
            description: declared.description.clone(),
            columns: Default::default(),
            refs: Vec::new(),
            sources: Vec::new(),
            depends_on: Vec::new(),
            macros: Vec::new(),
            reached_macros: BTreeSet::new(),
            properties: Map::new(),
            patch_path: None,
            test: None,
            contract: None,
            deprecation_date: None,
            constraints: Vec::new(),
            unit_test: None,
            access: None,
            group: owner.group.clone(),
            version: None,
            latest_version: None,
            simple: false,
            root_path: package.root.clone(),
            position: declared.position.clone(),
        };
        let Some(said_by_macro) = self.note_test(&mut node, &generic, defined_by_project) else {
            return;
        };
        let test = if defined_by_project {
            let packages = [declared.namespace.as_ref(), Some(&package.name)];
            let root = &self.world.settings.name;
            packages
                .into_iter()
                .flatten()
                .chain([root])
                .map(|owner| format!("macro.{owner}.test_{}", declared.name))
                .find(|id| self.manifest.macros.contains_key(id))
        } else {
            let owner = declared.namespace.as_deref().unwrap_or(INTERNAL);
            is_known.then(|| format!("macro.{owner}.test_{}", declared.name))
        };
        // As in dbt, which does not render the two that need nothing.
        let is_plain =
            !defined_by_project && matches!(declared.name.as_str(), "unique" | "not_null");
        let where_ = (!is_plain).then(|| format!("macro.{INTERNAL}.get_where_subquery"));
        let called = std::mem::take(&mut node.macros);
        for id in test.into_iter().chain(called).chain(where_) {
            node.reached_macros.insert(id.clone());
            if !node.macros.contains(&id) {
                node.macros.push(id);
            }
        }
        let mut merged = self.tree_layer("data_tests", package, &node.fqn);
        let of_macro = said_by_macro.values.clone();
        let mut written = said_by_macro;
        written.apply(&own);
        merged.apply(&written);
        merged.apply(&self.root_layer("data_tests", package, &node.fqn));
        // As in dbt, what the test's macro says counts where the test has no alias of its own.
        let of_macro = (declared.short_name == declared.full_name).then_some(&of_macro);
        let said = of_macro.into_iter().chain([&own.values]);
        node.unrendered_config = self.unrendered("data_tests", package, &node.fqn, said);
        let (config, problems) = config::typed(ResourceType::Test, &merged);
        let what = format!("test `{}`", declared.full_name);
        self.config_problems(&what, &problems, &merged, &declared.position);
        let (spec, problems) = data_test::spec(TestKind::Generic(generic), &config);
        self.config_problems(&what, &problems, &merged, &declared.position);
        let mut tags: Vec<String> = column
            .map(|column| column.column.tags.clone())
            .unwrap_or_default()
            .into_iter()
            .chain(owner.tags.iter().cloned())
            .chain(config.tags.iter().cloned())
            .collect();
        tags.sort();
        tags.dedup();
        node.tags = tags;
        node.meta = config.meta.clone();
        node.config = config;
        node.test = Some(spec);
        if !node.config.enabled {
            self.manifest.disabled.push(node);
            return;
        }
        if !owner.enabled {
            // What it is declared on is not there.
            self.manifest.idle.push(node);
            return;
        }
        if let Some(first) = self.manifest.nodes.get(&unique_id) {
            let line = first.position.line_column().0;
            self.diagnostics.push(
                Diagnostic::warning(
                    "duplicate-test",
                    format!("the test `{}` is declared twice", declared.full_name),
                )
                .at(declared.position.clone())
                .label(format!(
                    "it is declared in {}:{line} as well",
                    crate::file::shown(&first.position.file)
                ))
                .hint("remove one of the two, or give one another `name`"),
            );
            return;
        }
        self.manifest.nodes.insert(unique_id, node);
    }

    fn unknown_test(&mut self, declared: &Declared, package: &str) {
        let name = match &declared.namespace {
            Some(namespace) => format!("{namespace}.{}", declared.name),
            None => declared.name.clone(),
        };
        let message = format!("there is no test `{name}`: it fails when it is run");
        let diagnostic = Diagnostic::warning("unknown-test", message)
            .at(declared.position.clone())
            .label("no macro of the project defines it");
        let names = self.world.macros.test_names(package);
        let package_known = declared
            .namespace
            .as_deref()
            .is_none_or(|namespace| self.world.macros.is_namespace(namespace));
        // A test of a package, named without it, is nearer than any other spelling.
        let end = format!(".{}", declared.name);
        let near = names
            .iter()
            .find(|known| declared.namespace.is_none() && known.ends_with(&end))
            .map(String::as_str)
            .or_else(|| nearest(&name, names.iter().map(String::as_str)))
            .map(str::to_owned);
        self.diagnostics.push(match near {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None if !package_known => diagnostic.hint(format!(
                "the package `{}` is not installed",
                declared.namespace.as_deref().unwrap_or_default()
            )),
            None => {
                diagnostic.hint(format!("define it with `{{% test {}(model) %}}`", declared.name))
            }
        });
    }

    /// Notes what a test reads. A test that the project defines is rendered: its macro may refer
    /// to more, and configure itself.
    fn note_test(
        &mut self,
        node: &mut Node,
        generic: &GenericTest,
        defined_by_project: bool,
    ) -> Option<config::Layer> {
        let mut places = Places::default();
        let mut layer = config::Layer::default();
        let asks = generic.arguments.values().any(asks_something);
        if asks || defined_by_project {
            let subject = Subject {
                unique_id: node.unique_id.clone(),
                name: node.name.clone(),
                package: Arc::from(node.package_name.as_str()),
                relation: None,
                config: Arc::default(),
                model: Model::Empty,
                depends_on: Arc::from([]),
            };
            let context = Arc::new(Context::new(self.world, subject, Phase::Parse));
            let result = if defined_by_project {
                call_test(&context, node, generic).map(|_| ())
            } else {
                let host = ContextHost { context: context.clone() };
                generic
                    .arguments
                    .values()
                    .try_for_each(|value| test_value(value, &host, &node.package_name).map(|_| ()))
            };
            if let Err(error) = result {
                let mut diagnostic = errors::diagnostic(&error, &format!("test `{}`", node.name));
                if diagnostic.position.is_none() {
                    diagnostic.position = Some(node.position.clone());
                }
                self.diagnostics.push(diagnostic);
                return None;
            }
            let record = context.take_record();
            node.refs.extend(record.refs.into_iter().map(|noted| noted.call));
            for noted in record.sources {
                let known = |call: &SourceCall| {
                    call.source == noted.call.source && call.table == noted.call.table
                };
                if !node.sources.iter().any(known) {
                    node.sources.push(noted.call);
                }
            }
            for noted in record.configs {
                let mut said = config::Layer::default();
                for (key, value) in noted.call {
                    said.set(&key, value, None);
                }
                layer.apply(&said);
            }
            // As in dbt, macros that are called in arguments are none of the test.
            node.reached_macros = record.macros.reached;
        }
        // dbt renders the arguments in their order, and the model is the last of them.
        match &generic.target {
            TestTarget::Ref { name, version } => {
                // It is read once for the model itself, and noted once.
                if defined_by_project
                    && let Some(own) = node
                        .refs
                        .iter()
                        .position(|call| call.package.is_none() && call.name == *name)
                {
                    node.refs.remove(own);
                }
                node.refs.push(RefCall {
                    package: None,
                    name: name.clone(),
                    version: version.clone(),
                    span: None,
                });
            }
            TestTarget::Source { source, table } => {
                node.sources.retain(|call| call.source != *source || call.table != *table);
                node.sources.push(SourceCall {
                    source: source.clone(),
                    table: table.clone(),
                    span: None,
                });
            }
        }
        places.refs = node.refs.iter().map(|_| Some(node.position.clone())).collect();
        places.sources = node.sources.iter().map(|_| Some(node.position.clone())).collect();
        self.places.insert(node.unique_id.clone(), places);
        Some(layer)
    }
}

/// Whether rendering an argument can refer to something.
fn asks_something(value: &Json) -> bool {
    match value {
        Json::String(text) => looks_like_call(text) || has_jinja(text),
        Json::Array(items) => items.iter().any(asks_something),
        Json::Object(map) => map.values().any(asks_something),
        _ => false,
    }
}

/// What dbt writes as the code of a generic test.
fn raw_code(declared: &Declared) -> String {
    let name = match &declared.namespace {
        Some(namespace) => format!("{namespace}.test_{}", declared.name),
        None => format!("test_{}", declared.name),
    };
    let mut code = format!("{{{{ {name}(**_dbt_generic_test_kwargs) }}}}");
    if !declared.config.values.is_empty() || declared.short_name != declared.full_name {
        let mut parts: Vec<String> = declared
            .config
            .values
            .iter()
            .map(|(key, value)| match value {
                Json::String(text) => format!("{key}=\"{}\"", text.replace('"', "\\\"")),
                other => format!("{key}={}", tidemill_jinja::Value::from(other)),
            })
            .collect();
        if declared.short_name != declared.full_name
            && !declared.config.values.contains_key("alias")
        {
            parts.push(format!("alias=\"{}\"", declared.short_name));
        }
        code.push_str(&format!("{{{{ config({}) }}}}", parts.join(",")));
    }
    code
}

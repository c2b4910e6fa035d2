//! `selectors.yml`: selections by name.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tidemill_core::{Diagnostic, Diagnostics, SourcePosition};
use tidemill_jinja::{Host, Options};

use super::IndirectSelection;
use super::grammar::{Criterion, parse, split_method};
use super::spec::{Group, How, Spec};
use crate::file::SourceFile;
use crate::read::{read_file, read_mapping, wrong_shape};
use crate::yaml::render::render_tree;
use crate::yaml::{Kind, Yaml};

/// The name of the file.
const FILE_NAME: &str = "selectors.yml";

/// The keys of a criterion that is written out.
const KEYS: &[&str] = &[
    "method",
    "value",
    "children",
    "parents",
    "children_depth",
    "parents_depth",
    "childrens_parents",
    "indirect_selection",
    "exclude",
];

/// A selection with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSelector {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it is what a command without `--select` and `--exclude` selects.
    pub default: bool,
    /// As dbt's manifest has it: every criterion written out.
    pub written: Value,
    /// What it means.
    pub(super) spec: Spec,
    /// Where it is declared.
    pub position: SourcePosition,
}

/// Reads the file of a project; nothing when there is none.
pub(crate) fn read_selectors(
    root: &Path,
    host: &dyn Host,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, NamedSelector> {
    let mut selectors = IndexMap::new();
    let path = root.join(FILE_NAME);
    if !path.is_file() {
        return selectors;
    }
    let file = match read_file(&path, Path::new(FILE_NAME)) {
        Ok(file) => file,
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            return selectors;
        }
    };
    let Some(root) = read_mapping(&file, diagnostics) else { return selectors };
    let root = render_tree(&root, &file, host, &Options::default(), &|_| false, diagnostics);
    let Some(list) = root.get("selectors") else { return selectors };
    if !list.is_list() && !list.is_null() {
        wrong_shape(list, "`selectors` must be a list", &file, diagnostics);
    }
    let mut default: Option<String> = None;
    for item in list.items() {
        let reader = Reader { file: &file };
        match reader.selector(item) {
            Ok(selector) => {
                if selector.default {
                    if let Some(first) = &default {
                        diagnostics.push(
                            Diagnostic::error(
                                "selectors",
                                format!(
                                    "the selectors `{first}` and `{}` are both the default",
                                    selector.name
                                ),
                            )
                            .at(selector.position.clone())
                            .hint("keep `default: true` on one of them"),
                        );
                    }
                    default = Some(selector.name.clone());
                }
                selectors.insert(selector.name.clone(), selector);
            }
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    selectors
}

type Read<T> = Result<T, Box<Diagnostic>>;

struct Reader<'a> {
    file: &'a SourceFile,
}

impl Reader<'_> {
    fn wrong(&self, at: &Yaml, message: impl Into<String>) -> Box<Diagnostic> {
        Box::new(Diagnostic::error("selectors", message).at(at.position(self.file)))
    }

    fn selector(&self, item: &Yaml) -> Read<NamedSelector> {
        let Some(name) = item.get("name").and_then(Yaml::scalar_text) else {
            return Err(self.wrong(item, "a selector has no `name`"));
        };
        let Some(definition) = item.get("definition") else {
            return Err(self
                .wrong(item, format!("the selector `{name}` has no `definition`"))
                .hint_boxed("say what it selects: `definition: tag:nightly`"));
        };
        if matches!(&definition.kind, Kind::List(_) | Kind::Null) {
            return Err(self
                .wrong(
                    definition,
                    format!(
                        "the definition of the selector `{name}` is {}",
                        definition.described()
                    ),
                )
                .hint_boxed("put a list under `union:` or `intersection:`"));
        }
        let joins = definition.get("union").is_some() || definition.get("intersection").is_some();
        if joins && definition.entries().len() > 1 {
            return Err(self
                .wrong(
                    definition,
                    format!(
                        "the definition of the selector `{name}` has other keys beside `union` or \
                         `intersection`"
                    ),
                )
                .hint_boxed("put `exclude` into the list, as its own item"));
        }
        let default = match item.get("default").map(|value| &value.kind) {
            None | Some(Kind::Null) => false,
            Some(Kind::Bool(flag)) => *flag,
            Some(_) => {
                return Err(self.wrong(item, "`default` of a selector must be true or false"));
            }
        };
        let (spec, written) = self.definition(definition)?;
        let mut all = item.to_map();
        all.insert("definition".to_owned(), written);
        Ok(NamedSelector {
            description: item.get("description").and_then(Yaml::scalar_text).unwrap_or_default(),
            default,
            written: Value::Object(all),
            spec,
            position: item.position(self.file),
            name,
        })
    }

    /// A definition and its form in the manifest.
    fn definition(&self, item: &Yaml) -> Read<(Spec, Value)> {
        if let Some(text) = item.scalar_text() {
            let criterion =
                parse(&text).map_err(|message| self.wrong(item, format!("`{text}`: {message}")))?;
            let written = criterion.written_out();
            return Ok((Spec::One(Box::new(criterion)), written));
        }
        if !item.is_map() {
            return Err(self.wrong(
                item,
                format!("a definition is text or a mapping; this is {}", item.described()),
            ));
        }
        for (key, how) in [("union", How::Union), ("intersection", How::Intersection)] {
            if let Some(list) = item.get(key) {
                return self.joined(list, key, how);
            }
        }
        self.criterion(item)
    }

    /// `union:` or `intersection:` with at most one `exclude:` among its items.
    fn joined(&self, list: &Yaml, key: &str, how: How) -> Read<(Spec, Value)> {
        if !list.is_list() {
            return Err(self.wrong(list, format!("`{key}` must be a list")));
        }
        let mut parts = Vec::new();
        let mut excluded: Option<Spec> = None;
        let mut written = Vec::new();
        for item in list.items() {
            if item.is_map() && item.get("exclude").is_some() && item.get("method").is_none() {
                if excluded.is_some() {
                    return Err(self.wrong(item, format!("`{key}` has more than one `exclude`")));
                }
                let (spec, text) = self.exclusions(item)?;
                excluded = spec;
                written.push(json!({"exclude": text}));
                continue;
            }
            let (spec, text) = self.definition(item)?;
            parts.push(spec);
            written.push(text);
        }
        let group = Spec::Group(Group::new(how, parts));
        let spec = match excluded {
            Some(excluded) => Spec::Group(Group::new(How::Difference, vec![group, excluded])),
            None => group,
        };
        let mut map = Map::new();
        map.insert(key.to_owned(), Value::Array(written));
        Ok((spec, Value::Object(map)))
    }

    fn exclusions(&self, item: &Yaml) -> Read<(Option<Spec>, Value)> {
        let Some(list) = item.get("exclude").filter(|list| list.is_list()) else {
            return Err(self.wrong(item, "`exclude` must be a list"));
        };
        let mut parts = Vec::new();
        let mut written = Vec::new();
        for item in list.items() {
            let (spec, text) = self.definition(item)?;
            parts.push(spec);
            written.push(text);
        }
        let spec = match parts.len() {
            0 => None,
            1 => parts.pop(),
            _ => Some(Spec::Group(Group::new(How::Union, parts))),
        };
        Ok((spec, Value::Array(written)))
    }

    /// `tag: nightly`, or `method:` and `value:` with what goes with them.
    fn criterion(&self, item: &Yaml) -> Read<(Spec, Value)> {
        let entries = item.entries();
        let (method, value) = match (item.get("method"), item.get("value")) {
            (Some(method), Some(value)) => (method.scalar_text(), value),
            _ => match entries {
                [only] => (Some(only.key.clone()), &only.value),
                _ => {
                    return Err(self.wrong(
                        item,
                        "a definition needs one key (`tag: nightly`), or `method` and `value`",
                    ));
                }
            },
        };
        if entries.len() > 1
            && let Some(unknown) = entries.iter().find(|entry| !KEYS.contains(&entry.key.as_str()))
        {
            let diagnostic = Diagnostic::error(
                "selectors",
                format!("a definition has no key `{}`", unknown.key),
            )
            .at(unknown.position(self.file));
            return Err(Box::new(
                match crate::suggest::nearest(&unknown.key, KEYS.iter().copied()) {
                    Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                    None => diagnostic.hint(format!("known keys: {}", KEYS.join(", "))),
                },
            ));
        }
        let Some(method) = method else {
            return Err(self.wrong(item, "`method` must be text"));
        };
        let Some(text) = value.scalar_text() else {
            return Err(self.wrong(value, format!("`value` is {}, not text", value.described())));
        };
        let (method, arguments) =
            split_method(&method).map_err(|message| self.wrong(item, message))?;
        let flag = |key: &str| match item.get(key).map(|value| &value.kind) {
            Some(Kind::Bool(flag)) => *flag,
            Some(Kind::Null) | None => false,
            Some(Kind::Int(number)) => *number != 0,
            Some(_) => true,
        };
        let depth = |key: &str| -> Read<Option<usize>> {
            let Some(value) = item.get(key).filter(|value| !value.is_null()) else {
                return Ok(None);
            };
            value
                .scalar_text()
                .and_then(|text| text.parse().ok())
                // As in dbt, no steps at all means all of them here.
                .map(|depth: usize| Some(depth).filter(|depth| *depth > 0))
                .ok_or_else(|| self.wrong(value, format!("`{key}` must be a number of steps")))
        };
        let indirect = match item.get("indirect_selection").and_then(Yaml::scalar_text) {
            None => None,
            Some(text) => match IndirectSelection::parse(&text) {
                Some(indirect) => Some(indirect),
                None => {
                    return Err(self
                        .wrong(item, format!("`indirect_selection: {text}` is not known"))
                        .hint_boxed("use eager, cautious, buildable or empty"));
                }
            },
        };
        let (parents_depth, children_depth) = (depth("parents_depth")?, depth("children_depth")?);
        let criterion = Criterion {
            method,
            arguments,
            value: text,
            given: value.to_json(),
            childrens_parents: flag("childrens_parents"),
            parents: flag("parents").then_some(parents_depth),
            children: flag("children").then_some(children_depth),
            indirect,
        }
        .checked()
        .map_err(|message| self.wrong(item, message))?;
        let written = match entries {
            [only] => json!({"method": only.key, "value": only.value.to_json()}),
            _ => item.to_json(),
        };
        let base = Spec::One(Box::new(criterion));
        if item.get("exclude").is_none() {
            return Ok((base, written));
        }
        let (excluded, _) = self.exclusions(item)?;
        Ok((
            match excluded {
                Some(excluded) => Spec::Group(Group::new(How::Difference, vec![base, excluded])),
                None => base,
            },
            written,
        ))
    }
}

trait HintBoxed {
    fn hint_boxed(self, hint: &str) -> Self;
}

impl HintBoxed for Box<Diagnostic> {
    fn hint_boxed(self, hint: &str) -> Self {
        Box::new((*self).hint(hint))
    }
}

//! Descriptions: `doc()` in them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_core::{Diagnostic, Diagnostics, SourcePosition};
use tidemill_jinja::{ErrorKind, Options, Template, Value};

use crate::manifest::{DocBlocks, Manifest};
use crate::suggest::nearest;
use crate::world::World;

/// Resolves `doc()` in descriptions.
pub(super) fn describe(manifest: &mut Manifest, world: &Arc<World>, diagnostics: &mut Diagnostics) {
    let docs: HashMap<(String, String), String> = manifest
        .docs
        .values()
        .map(|doc| ((doc.package_name.clone(), doc.name.clone()), doc.block_contents.clone()))
        .collect();
    let mut describer = Describer { docs: Arc::new(docs), world, diagnostics };
    let mut blocks = DocBlocks::default();
    for node in manifest.nodes.values_mut() {
        let (package, place) = (node.package_name.clone(), node.position.clone());
        let used = describer.text(&mut node.description, &package, &place);
        blocks.note(&node.unique_id, None, used);
        for column in node.columns.values_mut() {
            let used = describer.text(&mut column.description, &package, &place);
            blocks.note(&node.unique_id, Some(&column.name), used);
        }
    }
    for source in manifest.sources.values_mut() {
        let (package, place) = (source.package_name.clone(), source.position.clone());
        let used = describer.text(&mut source.description, &package, &place);
        blocks.note(&source.unique_id, None, used);
        describer.text(&mut source.source_description, &package, &place);
        for column in source.columns.values_mut() {
            let used = describer.text(&mut column.description, &package, &place);
            blocks.note(&source.unique_id, Some(&column.name), used);
        }
    }
    manifest.doc_blocks = blocks;
    for exposure in manifest.exposures.values_mut() {
        let (package, place) = (exposure.package_name.clone(), exposure.position.clone());
        describer.text(&mut exposure.description, &package, &place);
    }
}

struct Describer<'a> {
    docs: Arc<HashMap<(String, String), String>>,
    world: &'a Arc<World>,
    diagnostics: &'a mut Diagnostics,
}

impl Describer<'_> {
    /// Renders a description; gives the blocks that it is made of.
    fn text(&mut self, text: &mut String, package: &str, place: &SourcePosition) -> Vec<String> {
        if !crate::yaml::render::has_jinja(text) {
            return Vec::new();
        }
        let used = Arc::new(Mutex::new(Vec::new()));
        let noted = used.clone();
        let docs = self.docs.clone();
        let own = package.to_owned();
        let root = self.world.settings.name.clone();
        let doc = Value::function("doc", move |args, _| {
            let names: Vec<String> = args.positional().iter().map(Value::to_string).collect();
            let found = match names.as_slice() {
                [name] => docs
                    .get_key_value(&(own.clone(), name.clone()))
                    .or_else(|| docs.get_key_value(&(root.clone(), name.clone())))
                    .or_else(|| docs.iter().find(|((_, other), _)| other == name)),
                [package, name] => docs.get_key_value(&(package.clone(), name.clone())),
                _ => {
                    return Err(tidemill_jinja::Error::user("doc() takes one or two names"));
                }
            };
            match found {
                Some(((package, name), text)) => {
                    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.push(format!("doc.{package}.{name}"));
                    Ok(Value::from(text.as_str()))
                }
                None => {
                    let wanted = names.last().cloned().unwrap_or_default();
                    let error =
                        tidemill_jinja::Error::user(format!("there is no docs block `{wanted}`"));
                    Err(match nearest(&wanted, docs.keys().map(|(_, name)| name.as_str())) {
                        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                        None => error,
                    })
                }
            }
        });
        let host = |name: &str| (name == "doc").then(|| doc.clone());
        let rendered = Template::from_text("description", text)
            .and_then(|template| template.render(&host, &Options::for_package(package)));
        match rendered {
            Ok(rendered) => *text = rendered,
            Err(error) => {
                // As in dbt, a block that is not there is a mistake of the project.
                let diagnostic = match error.kind() {
                    ErrorKind::User => Diagnostic::error("description", error.message()),
                    _ => Diagnostic::warning("description", error.message()),
                };
                let diagnostic = diagnostic.at(place.clone());
                self.diagnostics.push(match error.hint() {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic,
                });
            }
        }
        std::mem::take(&mut *used.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

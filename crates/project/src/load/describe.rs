//! Descriptions: `doc()` in them.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_core::{Diagnostic, Diagnostics, SourcePosition};
use tidemill_jinja::{Options, Template, Value};

use crate::manifest::Manifest;
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
    for node in manifest.nodes.values_mut() {
        let (package, place) = (node.package_name.clone(), node.position.clone());
        describer.text(&mut node.description, &package, &place);
        for column in node.columns.values_mut() {
            describer.text(&mut column.description, &package, &place);
        }
    }
    for source in manifest.sources.values_mut() {
        let (package, place) = (source.package_name.clone(), source.position.clone());
        describer.text(&mut source.description, &package, &place);
        describer.text(&mut source.source_description, &package, &place);
        for column in source.columns.values_mut() {
            describer.text(&mut column.description, &package, &place);
        }
    }
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
    fn text(&mut self, text: &mut String, package: &str, place: &SourcePosition) {
        if !crate::yaml::render::has_jinja(text) {
            return;
        }
        let docs = self.docs.clone();
        let own = package.to_owned();
        let root = self.world.settings.name.clone();
        let doc = Value::function("doc", move |args, _| {
            let names: Vec<String> = args.positional().iter().map(Value::to_string).collect();
            let found = match names.as_slice() {
                [name] => docs
                    .get(&(own.clone(), name.clone()))
                    .or_else(|| docs.get(&(root.clone(), name.clone())))
                    .or_else(|| {
                        docs.iter().find(|((_, other), _)| other == name).map(|(_, text)| text)
                    }),
                [package, name] => docs.get(&(package.clone(), name.clone())),
                _ => {
                    return Err(tidemill_jinja::Error::user("doc() takes one or two names"));
                }
            };
            match found {
                Some(text) => Ok(Value::from(text.as_str())),
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
                let diagnostic = Diagnostic::warning("description", error.message().to_owned())
                    .at(place.clone());
                self.diagnostics.push(match error.hint() {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic,
                });
            }
        }
    }
}

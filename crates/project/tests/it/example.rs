//! The example project of this repository loads without a word.

use std::path::Path;

use tidemill_project::{Project, RenderState, ResourceType};

use crate::harness::options;

#[test]
fn the_flights_example_loads_and_renders() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flights");
    let (project, warnings) = match Project::load(&folder, &options()) {
        Ok(loaded) => loaded,
        Err(diagnostics) => panic!("{diagnostics}"),
    };
    assert!(warnings.is_empty(), "{warnings}");
    let manifest = project.manifest();
    let state = RenderState::offline("compile");
    for node in manifest.nodes.values() {
        if node.resource_type == ResourceType::Seed {
            continue;
        }
        if let Err(diagnostics) = project.render_node(&node.unique_id, &state) {
            panic!("{}: {diagnostics}", node.unique_id);
        }
    }
    let flights = &manifest.sources[&tidemill_core::UniqueId::from("source.flights.nyc.flights")];
    let ingest = flights.ingest.as_ref().unwrap();
    assert_eq!(ingest.settings["mode"], "append");
    assert_eq!(flights.relation().to_string(), "raw_nyc.flights");
}

//! A loaded project.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_core::{Diagnostics, UniqueId};
use tidemill_jinja::Template;

use crate::environment::Environment;
use crate::load;
use crate::manifest::Manifest;
use crate::read::project_shape::VersionCheck;
use crate::resolve::RefIndex;
use crate::world::World;

/// What the command line says about loading.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// `--profiles-dir`
    pub profiles_dir: Option<PathBuf>,
    /// `--profile`
    pub profile: Option<String>,
    /// `--target`
    pub target: Option<String>,
    /// `--vars`, read with [`parse_vars`](crate::parse_vars).
    pub vars: serde_json::Map<String, serde_json::Value>,
    /// `--threads`
    pub threads: Option<usize>,
    /// `--target-lake`: the lake to use, whatever the profile says.
    pub target_lake: Option<String>,
    /// `--target-path`: where artifacts go.
    pub target_path: Option<String>,
    /// Reads `dbt_project.yml` and the profile alone: a project without nodes, for commands that
    /// need no model.
    pub settings_only: bool,
    /// Flags as the command line, the environment and the project together say, under dbt's names
    /// in lower case: what templates see as `flags`.
    pub flags: serde_json::Map<String, serde_json::Value>,
    /// Who judges `require-dbt-version`, of the project and its packages; `None`: nobody.
    pub version_check: Option<VersionCheck>,
    /// The environment; `None`: the process's own.
    pub env: Option<Environment>,
}

/// A project that was read without an error. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Project {
    inner: Arc<Inner>,
}

struct Inner {
    manifest: Arc<Manifest>,
    index: Arc<RefIndex>,
    world: Arc<World>,
    /// Parsed templates of nodes that have a file.
    templates: HashMap<UniqueId, Template>,
}

impl std::fmt::Debug for Project {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Project").field(&self.inner.manifest.settings.name).finish()
    }
}

impl Project {
    /// Reads the project in a folder: the project with warnings, or the errors (with the
    /// warnings). Nothing is written and no database is asked.
    pub fn load(
        folder: &Path,
        options: &LoadOptions,
    ) -> Result<(Project, Diagnostics), Diagnostics> {
        load::load(folder, options)
    }

    pub(crate) fn new(
        manifest: Manifest,
        index: RefIndex,
        world: Arc<World>,
        templates: HashMap<UniqueId, Template>,
    ) -> Self {
        let (manifest, index) = (Arc::new(manifest), Arc::new(index));
        Project { inner: Arc::new(Inner { manifest, index, world, templates }) }
    }

    /// The graph.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// The graph, shared.
    pub fn shared_manifest(&self) -> &Arc<Manifest> {
        &self.inner.manifest
    }

    /// The macros (unique ids) that nodes have called only when they were rendered to run, as within
    /// `{% if execute %}`. As in dbt, a written manifest names them beside those that were known
    /// before, and so does `graph` from then on.
    pub fn late_macros(&self) -> BTreeMap<UniqueId, Vec<String>> {
        self.inner.world.late.macros()
    }

    /// Notes what dbt's own macros do for a data test: its query is made, and with `is_run` it runs.
    pub fn note_test(&self, id: &UniqueId, is_run: bool) {
        if let Some(node) = self.inner.manifest.nodes.get(id) {
            self.inner.world.late.note(node, &crate::late::of_test(node, is_run));
        }
    }

    pub(crate) fn index(&self) -> &Arc<RefIndex> {
        &self.inner.index
    }

    pub(crate) fn template(&self, id: &UniqueId) -> Option<&Template> {
        self.inner.templates.get(id)
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.inner.world
    }
}

//! The executor's loader: sources and seeds through the connectors and the ingest loop.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use async_trait::async_trait;
use futures::StreamExt;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tidemill_connect::Kind;
use tidemill_core::{
    Cancellation, Change, ConnectContext, Diagnostic, Diagnostics, Error, ErrorKind, Event, Notice,
    Position, ReadRequest, ReadScope, RelationName, Result, RunId, Sibling, Sink, Snapshot, Source,
    TableStore, UniqueId, Until,
};
use tidemill_ingest::{Backfill, LoadMode, LoadSettings, LoadSpec, MaxRejects, changes};
use tidemill_plan::Fingerprint;
use tidemill_project::{Connection, Ingest, Manifest, Node, Project};
use tidemill_run::{LoadRequest, Loaded, Loader};

use crate::published::OfLake;
use crate::seeds::SeedSource;
use crate::session::Session;
use crate::types;

/// Loads the sources and seeds of one project.
pub(crate) struct ProjectLoader {
    project: Arc<Project>,
    store: Arc<dyn TableStore>,
    root: PathBuf,
    /// Whether loads read the log of tables whose changes are kept; somebody else does, where not.
    keeps_log: bool,
    away: crate::session::Away,
    /// The tables that this process loads.
    loads: Arc<BTreeSet<UniqueId>>,
    /// As many rows may go as were deleted at the source.
    allows_deletes: bool,
    /// The part of a range that loads read.
    backfill: Option<Arc<Backfill>>,
}

/// One table to load, resolved.
struct Target {
    relation: tidemill_core::RelationName,
    /// What the source calls it.
    name: String,
    settings: LoadSettings,
    source_settings: Value,
    declared: Vec<Field>,
    comments: Vec<(String, String)>,
}

impl ProjectLoader {
    /// For the session's project and lake.
    pub(crate) fn new(session: &Session, store: Arc<dyn TableStore>) -> Self {
        ProjectLoader {
            project: session.project.clone(),
            store,
            root: session.root.clone(),
            keeps_log: !session.follows,
            away: session.away.clone(),
            loads: session.followed.clone(),
            allows_deletes: session.allows_deletes,
            backfill: session.backfill.clone(),
        }
    }

    /// One that also loads these, so that a log is read for all of them at once.
    pub(crate) fn beside<'i>(mut self, others: impl Iterator<Item = &'i UniqueId>) -> Self {
        let others = self.loads.iter().cloned().chain(others.cloned());
        self.loads = Arc::new(others.collect());
        self
    }

    pub(crate) fn source(&self, id: &UniqueId) -> Result<Arc<dyn Source>> {
        let manifest = self.project.manifest();
        if let Some(node) = manifest.node(id) {
            let unquoted = node.config.get("quote_columns") == Some(&Value::Bool(false));
            return Ok(Arc::new(SeedSource::new(
                open(manifest, None, &self.root)?,
                manifest.target.is_for_duckdb(),
                unquoted,
            )));
        }
        let connection = manifest
            .source(id)
            .and_then(|source| source.ingest.as_ref())
            .and_then(|ingest| ingest.connection.as_ref());
        open(manifest, connection.map(String::as_str), &self.root)
            .map_err(|error| error.with("source", id))
    }

    fn target(&self, id: &UniqueId) -> Result<Target> {
        let manifest = self.project.manifest();
        if let Some(node) = manifest.node(id) {
            return seed_target(node, &self.root, manifest.target.is_for_duckdb());
        }
        let Some(source) = manifest.source(id) else {
            return Err(
                Error::new(ErrorKind::Internal, "the node is not in the project").with("node", id)
            );
        };
        let Some(ingest) = &source.ingest else {
            return Err(
                Error::new(ErrorKind::Internal, "the source is not loaded by us").with("node", id)
            );
        };
        let (settings, source_settings) = parse(manifest, ingest)
            .map_err(|error| error.with("file", &source.original_file_path))?;
        Ok(Target {
            relation: source.relation(),
            name: source.identifier.clone(),
            settings,
            source_settings,
            declared: declared(&source.declared_types(), id, false)?,
            comments: source
                .columns
                .values()
                .filter(|column| !column.description.is_empty())
                .map(|column| (column.name.clone(), column.description.clone()))
                .collect(),
        })
    }

    /// The settings of a load.
    pub(crate) fn settings(&self, id: &UniqueId) -> Result<LoadSettings> {
        Ok(self.target(id)?.settings)
    }

    /// The table that is loaded.
    pub(crate) fn relation(&self, id: &UniqueId) -> Result<RelationName> {
        Ok(self.target(id)?.relation)
    }

    /// The source of a table, and how it goes on from a published state.
    pub(crate) fn log_of(
        &self,
        id: &UniqueId,
        base: Snapshot,
        run: RunId,
        cancel: &Cancellation,
    ) -> Result<(Arc<dyn Source>, LoadSpec)> {
        let target = self.target(id)?;
        let spec = LoadSpec {
            relation: target.relation,
            name: target.name,
            settings: target.settings,
            source_settings: target.source_settings,
            declared: target.declared,
            base,
            siblings: Vec::new(),
            full_refresh: false,
            comments: target.comments,
            observers: None,
            progress: None,
            run,
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
            cancel: cancel.clone(),
        };
        Ok((self.source(id)?, spec))
    }

    /// The tables that are followed through the connection of this one, when it is followed, and where they
    /// stand in a published state.
    pub(crate) fn siblings(&self, id: &UniqueId, spec: &LoadSpec) -> Vec<Sibling> {
        let (manifest, base) = (self.project.manifest(), &spec.base);
        let connection = |id: &UniqueId| manifest.source(id)?.ingest.as_ref()?.connection.clone();
        let own = connection(id).filter(|_| spec.settings.mode == LoadMode::Cdc);
        let Some(own) = own else { return Vec::new() };
        let others =
            manifest.sources.keys().filter(|other| connection(other).as_ref() == Some(&own));
        // What is wrong with another table is said when that is loaded.
        let followed = others.filter_map(|other| Some((other, self.target(other).ok()?)));
        followed
            .filter(|(_, target)| target.settings.mode == LoadMode::Cdc)
            .map(|(other, target)| Sibling {
                position: changes::source_position(base, &target.relation),
                settings: target.source_settings,
                name: target.name,
                is_read: other == id || self.loads.contains(other),
            })
            .collect()
    }

    /// Tells a source how far a table of it is published; `position` is of the source.
    pub(crate) async fn tell(
        &self,
        source: &dyn Source,
        position: &Position,
    ) -> Result<Vec<Notice>> {
        source.acknowledge_beside(position, &OfLake(self.store.clone())).await
    }

    /// A table is not loaded any more by this process: what its source keeps for a first load goes.
    pub(crate) async fn abandon(&self, id: &UniqueId) -> Result<()> {
        let target = self.target(id)?;
        self.source(id)?.abandon(&target.name, &target.source_settings).await
    }

    /// Whether the table goes on by a table of its changes.
    fn keeps_changes(&self, spec: &LoadSpec) -> bool {
        spec.settings.changes && !spec.full_refresh && changes::is_begun(&spec.base, &spec.relation)
    }

    /// Keeps what is new in the log, which is published at once, and stages the table with it.
    async fn load_changes(
        &self,
        id: &UniqueId,
        source: &dyn Source,
        mut spec: LoadSpec,
        parts: &mut Vec<String>,
    ) -> Result<tidemill_ingest::Loaded> {
        let (mut notices, mut rejected) = (Vec::new(), 0);
        if self.keeps_log {
            let appended = changes::append(source, &spec, Some(id), &*self.store).await?;
            if let Some(position) = &appended.position {
                notices = self.tell(source, position).await?;
            }
            notices.extend(appended.notices);
            (spec.base, rejected) = (appended.snapshot, appended.rejected);
        }
        let mut loaded = changes::apply(&spec, &*self.store).await?;
        if loaded.rows > 0 {
            parts.push(crate::output::plural(loaded.rows, "change", "changes"));
        }
        notices.append(&mut loaded.notices);
        Ok(tidemill_ingest::Loaded { notices, rejected: rejected + loaded.rejected, ..loaded })
    }

    /// What a load would do, as far as it is known from its first rows. Nothing is written.
    pub(crate) async fn planned(&self, id: &UniqueId, request: &LoadRequest) -> Result<Planned> {
        let target = self.target(id)?;
        let new = self.pending(id, request).await?;
        let published = request.context.snapshot.get(&target.relation);
        let position = published
            .filter(|_| !request.full && target.settings.mode != LoadMode::Full)
            .and_then(|published| published.position.as_ref());
        let written = |key: &str| target.source_settings.get(key).and_then(Value::as_str);
        let place = PLACES.iter().find_map(|key| written(key));
        // What else a source tells of its tables is not asked for: of files that is their content.
        let there =
            match written("table") {
                Some(table) => self.source(id)?.tables().await?.into_iter().find(|found| {
                    found.name == table || found.name.ends_with(&format!(".{table}"))
                }),
                None => None,
            };
        let connection =
            self.project.manifest().source(id).and_then(|source| {
                source.ingest.as_ref().and_then(|ingest| ingest.connection.clone())
            });
        Ok(Planned {
            mode: match target.settings.mode {
                LoadMode::Full => "full",
                LoadMode::Append => "append",
                LoadMode::Merge => "merge",
                LoadMode::Cdc => "cdc",
            },
            connection,
            from: place.unwrap_or(&target.name).to_owned(),
            since: position.and_then(since),
            new,
            estimated: there.as_ref().is_some_and(|there| there.estimated),
            rows: there.and_then(|there| there.rows),
        })
    }

    /// The files (or other objects) that a load would read, by the names of their first rows;
    /// `None` when nothing is new. Nothing is written.
    pub(crate) async fn pending(
        &self,
        id: &UniqueId,
        request: &LoadRequest,
    ) -> Result<Option<Vec<String>>> {
        let target = self.target(id)?;
        let published = request.context.snapshot.get(&target.relation);
        let whole = target.settings.mode == LoadMode::Full;
        let begins =
            published.filter(|_| !request.full).is_none_or(|table| table.position.is_none());
        if !begins && changes::is_behind(&request.context.snapshot, &target.relation) {
            return Ok(Some(Vec::new()));
        }
        if target.settings.mode == LoadMode::Cdc && begins {
            // Whatever there is is new, and to read it would leave something in the database.
            return Ok(Some(Vec::new()));
        }
        let read = ReadRequest {
            settings: target.source_settings,
            name: target.name,
            cursor: target.settings.cursor.clone(),
            primary_key: target.settings.primary_key.clone(),
            declared: target.declared,
            known: published.filter(|_| !whole).map(|published| published.schema.clone()),
            position: published.filter(|_| !request.full).and_then(|published| {
                changes::source_position(&request.context.snapshot, &published.name)
            }),
            superseded: None,
            siblings: Vec::new(),
            every_change: false,
            scope: target.settings.mode.scope(),
            until: Until::CaughtUp,
            parallelism: 1,
            cancel: request.context.cancel.child(),
        };
        let mut changes = self.source(id)?.read(read).await?;
        while let Some(change) = changes.next().await {
            match change? {
                Change::Rows(batch) => {
                    let file = batch
                        .column_by_name("_source_file")
                        .filter(|column| !column.is_empty())
                        .map(|column| tidemill_core::display_value(column, 0));
                    return Ok(Some(file.into_iter().collect()));
                }
                Change::Rejected(_) | Change::Truncated => return Ok(Some(Vec::new())),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// What a load would do.
pub(crate) struct Planned {
    /// `full`, `append`, `merge` or `cdc`.
    pub(crate) mode: &'static str,
    pub(crate) connection: Option<String>,
    /// The table, location, query or stream.
    pub(crate) from: String,
    /// From where on, in words.
    pub(crate) since: Option<String>,
    /// Something is to be read, with the file of its first row where it is one.
    pub(crate) new: Option<Vec<String>>,
    /// How many rows are there in all, where the source knows.
    pub(crate) rows: Option<u64>,
    pub(crate) estimated: bool,
}

/// The settings that say what is read.
const PLACES: [&str; 7] = ["table", "stream", "queue", "topic", "keys", "location", "query"];

/// What a position says to people: the largest value of a cursor, how many files were loaded, or where a
/// stream goes on.
pub(crate) fn since(position: &Position) -> Option<String> {
    let position = &position.0;
    if let Some(files) = position.get("files").and_then(Value::as_object) {
        return Some(format!(
            "{} loaded",
            crate::output::plural(files.len() as u64, "file", "files")
        ));
    }
    if position.get("stream").is_some() {
        let entry = position.get("id").and_then(Value::as_str);
        let entry = entry.map(|id| format!("behind entry {id}"));
        let offset = position.get("next").and_then(Value::as_i64);
        return entry.or_else(|| offset.map(|offset| format!("from offset {offset} on")));
    }
    if let Some(number) = position.get("changes_applied").and_then(Value::as_i64) {
        return Some(format!("behind change number {number}"));
    }
    let column = position.get("column")?.as_str()?;
    let value = position.get("value")?;
    let inner = value.get("value")?;
    let shown = match (value.get("type")?.as_str()?, inner.as_i64()) {
        ("date", Some(days)) => {
            chrono::DateTime::from_timestamp(days * 86_400, 0)?.date_naive().to_string()
        }
        ("timestamp" | "instant", Some(micros)) => chrono::DateTime::from_timestamp_micros(micros)?
            .format("%Y-%m-%d %H:%M:%S%.f")
            .to_string(),
        (_, Some(number)) => number.to_string(),
        _ => inner.as_str().map_or_else(|| inner.to_string(), str::to_owned),
    };
    Some(format!("{column} from {shown} on"))
}

/// Checks the load settings of all selected sources at once, each shown where it stands.
pub(crate) fn validate(
    manifest: &Manifest,
    selected: &BTreeSet<UniqueId>,
) -> std::result::Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::new();
    for source in selected.iter().filter_map(|id| manifest.source(id)) {
        let Some(ingest) = &source.ingest else { continue };
        let Err(error) = check(manifest, ingest) else { continue };
        let text = error.report();
        // The message names the key in backticks.
        let key = ingest.positions.iter().find(|(key, _)| text.contains(&format!("`{key}`")));
        let position = key.map_or(&ingest.position, |(_, position)| position).clone();
        diagnostics.push(
            Diagnostic::error(
                "ingest-settings",
                format!("source `{}.{}`: {text}", source.source_name, source.name),
            )
            .at(position)
            .hint("of the load itself there are also mode, primary_key, cursor, schema_contract, max_rejects, deletes, changes, keep and lag"),
        );
    }
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok(()) }
}

/// The kind of a connection, and its settings; files of the project where none is named.
fn connection<'a>(
    manifest: &'a Manifest,
    name: Option<&str>,
) -> Result<(&'static dyn Kind, Option<&'a Connection>)> {
    let Some(name) = name else { return Ok((tidemill_connect::kind("files")?, None)) };
    let Some(connection) = manifest.connections.get(name) else {
        return Err(Error::new(
            ErrorKind::Config,
            format!("there is no connection `{name}` in connections.yml"),
        ));
    };
    let kind =
        tidemill_connect::kind(&connection.kind).map_err(|error| error.with("connection", name))?;
    Ok((kind, Some(connection)))
}

/// The source that a connection is; files of the project where none is named.
pub(crate) fn open(
    manifest: &Manifest,
    name: Option<&str>,
    root: &Path,
) -> Result<Arc<dyn Source>> {
    let (kind, connection) = connection(manifest, name)?;
    let settings = connection.map(|connection| connection.settings.clone()).unwrap_or_default();
    let name = name.unwrap_or_default().to_owned();
    kind.connect(settings, ConnectContext { project: root.to_owned(), name })
}

/// The sink that a connection is; files of the project where none is named.
pub(crate) fn sink(manifest: &Manifest, name: Option<&str>, root: &Path) -> Result<Arc<dyn Sink>> {
    let (kind, connection) = connection(manifest, name)?;
    let settings = connection.map(|connection| connection.settings.clone()).unwrap_or_default();
    let name = name.unwrap_or_default().to_owned();
    kind.sink(settings, ConnectContext { project: root.to_owned(), name })
}

/// The settings of a load, and those of its source.
fn parse(manifest: &Manifest, ingest: &Ingest) -> Result<(LoadSettings, Value)> {
    let (kind, _) = connection(manifest, ingest.connection.as_deref())?;
    LoadSettings::parse(&Value::Object(ingest.settings.clone()), kind.default_scope())
}

/// Whether what is written of a load is right, as far as can be said without asking anybody.
fn check(manifest: &Manifest, ingest: &Ingest) -> Result<()> {
    let (kind, connection) = connection(manifest, ingest.connection.as_deref())?;
    let (_, settings) =
        LoadSettings::parse(&Value::Object(ingest.settings.clone()), kind.default_scope())?;
    if let Some(connection) = connection {
        kind.check(connection.settings.clone())
            .map_err(|error| error.with("connection", &connection.name))?;
    }
    kind.check_table(&settings)
}

/// How the file of a seed is read: CSV with dbt's rules.
pub(crate) fn seed_settings(node: &Node, root: &std::path::Path) -> Result<Value> {
    Ok(LoadSettings::parse(&Value::Object(seed_written(node, root, false)), ReadScope::New)?.1)
}

/// A seed is a CSV file with dbt's rules: only the empty text and `null` are NULL.
fn seed_written(node: &Node, root: &std::path::Path, for_duckdb: bool) -> Map<String, Value> {
    let mut written = Map::new();
    let path = node.root_path.join(&node.original_file_path);
    // Relative, so that the position holds when the project moves.
    let path = path.strip_prefix(root).unwrap_or(&path);
    written.insert("location".to_owned(), json!(glob_literal(&path.to_string_lossy())));
    written.insert("format".to_owned(), json!("csv"));
    written.insert("mode".to_owned(), json!("full"));
    // As agate, whatever the case.
    written.insert("null_values".to_owned(), json!(["", "null", "NULL", "Null"]));
    written.insert("short_rows".to_owned(), json!("null"));
    written.insert("quoted_nulls".to_owned(), json!(true));
    written.insert("null_columns".to_owned(), json!("integer"));
    written.insert("decimals".to_owned(), json!("rounded"));
    if for_duckdb {
        // dbt finds the types, and DuckDB copies the file, in which only the empty text is NULL.
        written.insert("null_texts".to_owned(), json!("empty"));
    }
    written.insert("names".to_owned(), json!("as_written"));
    written.insert("source_file_column".to_owned(), json!(false));
    written.insert("source_row_column".to_owned(), json!(false));
    if let Some(delimiter) = &node.config.delimiter {
        written.insert("delimiter".to_owned(), json!(delimiter));
    }
    written
}

fn seed_target(node: &Node, root: &std::path::Path, for_duckdb: bool) -> Result<Target> {
    let written = seed_written(node, root, for_duckdb);
    let (settings, source_settings) = LoadSettings::parse(&Value::Object(written), ReadScope::New)?;
    Ok(Target {
        relation: node.relation(),
        name: node.name.clone(),
        settings: LoadSettings { max_rejects: MaxRejects::Never, ..settings },
        source_settings,
        declared: declared(&node.config.column_types, &node.unique_id, for_duckdb)?,
        comments: node
            .columns
            .values()
            .filter(|column| !column.description.is_empty())
            .map(|column| (column.name.clone(), column.description.clone()))
            .collect(),
    })
}

/// The path as a pattern that matches it alone.
fn glob_literal(path: &str) -> String {
    path.chars().fold(String::new(), |mut text, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}') {
            text.push('[');
            text.push(c);
            text.push(']');
        } else {
            text.push(c);
        }
        text
    })
}

fn declared(
    columns: &IndexMap<String, String>,
    id: &UniqueId,
    for_duckdb: bool,
) -> Result<Vec<Field>> {
    columns
        .iter()
        .map(|(column, text)| match types::parse(text) {
            // Its doubles are called `double`.
            Some(_) if for_duckdb && text.trim().eq_ignore_ascii_case("float") => {
                Ok(Field::new(column, DataType::Float32, true))
            }
            Some(DataType::Decimal128(..)) if for_duckdb && !text.contains('(') => {
                Ok(Field::new(column, DataType::Decimal128(18, 3), true))
            }
            Some(data_type) => Ok(Field::new(column, data_type, true)),
            None => Err(Error::new(
                ErrorKind::Config,
                format!("`{text}` is not a known type; use for example bigint, double, numeric(12,2), text, boolean, date or timestamp"),
            )
            .with("node", id)
            .with("column", column)),
        })
        .collect()
}

#[async_trait]
impl Loader for ProjectLoader {
    async fn load(&self, id: &UniqueId, request: &LoadRequest) -> Result<Loaded> {
        let context = &request.context;
        let (source, mut spec) =
            self.log_of(id, context.snapshot.clone(), context.run.clone(), &context.cancel)?;
        spec.siblings = self.siblings(id, &spec);
        let (events, node) = (request.events.clone(), id.clone());
        spec.full_refresh = request.full;
        if let (true, Some(deletes)) = (self.allows_deletes, &mut spec.settings.deletes) {
            deletes.limit = None;
        }
        spec.progress = Some(Arc::new(move |rows| {
            events.emit(Event::NodeProgress { node: node.clone(), rows });
        }));
        let mut parts = Vec::new();
        let loaded = match &self.backfill {
            Some(backfill) => {
                tidemill_ingest::backfill(&*source, &spec, backfill, &*self.store).await
            }
            None if self.keeps_changes(&spec) => {
                self.load_changes(id, &*source, spec.clone(), &mut parts).await
            }
            None => tidemill_ingest::load(&*source, &spec, &*self.store).await,
        };
        self.away.note(id, loaded.as_ref().is_err_and(|error| error.kind().is_retryable()));
        let loaded = loaded?;
        if let Some(merged) = loaded.merged {
            let rows = |rows| crate::output::plural(rows, "row", "rows");
            let mut text =
                format!("{} inserted, {} updated", rows(merged.inserted), merged.updated);
            if merged.deleted > 0 {
                text.push_str(&format!(", {} deleted", merged.deleted));
            }
            parts.push(text);
        }
        if loaded.rejected > 0 {
            parts.push(format!(
                "{} rejected, see {}",
                crate::output::plural(loaded.rejected, "row", "rows"),
                tidemill_ingest::rejected_relation(&spec.relation)
            ));
        }
        let summary = (!parts.is_empty()).then(|| parts.join("; "));
        Ok(Loaded {
            staged: loaded.staged,
            views: loaded.views,
            position: loaded.position,
            rows: loaded.rows,
            rejected: loaded.rejected,
            notices: loaded.notices,
            summary,
        })
    }

    async fn acknowledge(&self, id: &UniqueId, position: &Position) -> Result<Vec<Notice>> {
        if changes::is_applied(position) {
            // It is ours, and the source heard of the log when its changes were kept.
            return Ok(Vec::new());
        }
        self.tell(&*self.source(id)?, position).await
    }

    fn fingerprint(&self, id: &UniqueId) -> Result<Fingerprint> {
        let target = self.target(id)?;
        let declared: Vec<String> = target
            .declared
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect();
        let reader = if self.project.manifest().node(id).is_some() { "dbt" } else { "" };
        Ok(Fingerprint::new()
            .with("reader", reader)
            .with("settings", &target.source_settings.to_string())
            .with("load settings", &format!("{:?}", target.settings))
            .with("declared types", &declared.join("\n")))
    }
}

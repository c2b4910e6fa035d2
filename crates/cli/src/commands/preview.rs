//! What `compile` and `show` print of nodes and of queries of the command line, and the results that
//! they leave: as dbt's, but for rows without `--output`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tidemill_core::{BatchStream, Cancellation, NodeOutcome, NodeStatus, UniqueId};
use tidemill_project::ResourceType;
use tidemill_run::RunSummary;

use crate::args::{Compile, Format, SelectionArgs, Show};
use crate::artifacts;
use crate::commands::compile::outcome;
use crate::commands::sql::write_rows;
use crate::dbt_events;
use crate::session::Session;

/// A node, or a query of the command line.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) id: UniqueId,
    pub(crate) name: String,
    is_inline: bool,
}

impl Subject {
    pub(crate) fn node(node: &tidemill_project::Node) -> Self {
        Subject { id: node.unique_id.clone(), name: node.name.clone(), is_inline: false }
    }

    /// A query of the command line, under dbt's id of it.
    pub(crate) fn inline(session: &Session) -> Self {
        let project = &session.manifest().settings.name;
        let id = UniqueId::new(format!("sql_operation.{project}.inline_query"));
        Subject { id, name: "inline_query".to_owned(), is_inline: true }
    }

    fn event_of(&self) -> Option<(&str, &UniqueId)> {
        (!self.is_inline).then_some((self.name.as_str(), &self.id))
    }

    /// A document of `--output json`: what is printed, and the node's name where there is one.
    fn document(&self, key: &str, content: Value) -> String {
        let document = match self.is_inline {
            true => json!({ key: content }),
            false => json!({"node": self.name, key: content}),
        };
        format!("{document:#}")
    }

    /// What came of it, as a result of the command.
    pub(crate) fn outcome(&self, session: &Session, elapsed: Duration) -> NodeOutcome {
        match session.manifest().node(&self.id) {
            Some(node) => outcome(node, NodeStatus::Ok, elapsed, None),
            None => NodeOutcome {
                node: self.id.clone(),
                name: self.name.clone(),
                kind: "query".to_owned(),
                status: NodeStatus::Ok,
                elapsed,
                rows: None,
                version: None,
                message: None,
                batches: None,
            },
        }
    }
}

/// Which of these nodes the selection names: those are printed, and not the tests that come along.
/// `None`, when it names none (`tag:…`).
pub(crate) fn named(
    session: &Session,
    selection: &SelectionArgs,
    nodes: &[UniqueId],
) -> Option<Vec<UniqueId>> {
    let words = selection.all();
    let name = |id: &UniqueId| session.manifest().node(id).map(|node| node.name.as_str());
    let is_named =
        |id: &&UniqueId| name(id).is_some_and(|name| words.iter().any(|word| word.contains(name)));
    let found: Vec<UniqueId> = nodes.iter().filter(is_named).cloned().collect();
    Some(found).filter(|found| !found.is_empty())
}

/// Prints compiled SQL.
pub(crate) fn sql(session: &Session, subject: &Subject, sql: &str, output: Option<Format>) {
    let is_json = output == Some(Format::Json);
    let text = match is_json {
        true => subject.document("compiled", sql.into()),
        false => sql.trim().to_owned(),
    };
    match session.output.events {
        None => session.output.data(text),
        Some(_) => session.output.data_event(|| {
            let format = if is_json { "json" } else { "text" };
            dbt_events::compiled_node(subject.event_of(), sql, format)
        }),
    }
}

/// `compile --inline`: prints the SQL, and leaves its result.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn inline(
    session: &Session,
    args: &Compile,
    text: &str,
    elapsed: Duration,
) -> Result<()> {
    let subject = Subject::inline(session);
    sql(session, &subject, text, args.output);
    let outcomes = vec![subject.outcome(session, elapsed)];
    let compiled = BTreeMap::from([(subject.id, text.to_owned())]);
    let arguments = json!({
        "which": "compile", "select": [], "exclude": [], "inline": args.inline,
        "full_refresh": args.full_refresh,
    });
    write_results(session, outcomes, elapsed, compiled, &arguments)
}

/// Prints rows: `--output json` gives one document for each subject, `--format` the plain rows.
pub(crate) async fn rows(
    session: &Session,
    args: &Show,
    subject: &Subject,
    rows: BatchStream,
    cancel: &Cancellation,
) -> Result<()> {
    let format = args.output.or(session.global.format).unwrap_or(Format::Text);
    let is_document = args.output == Some(Format::Json);
    if session.output.events.is_none() && !is_document {
        if format == Format::Text {
            session.output.say(format!("{}:", subject.name));
        }
        let mut out = std::io::BufWriter::new(std::io::stdout());
        write_rows(rows, cancel, format, &mut out).await?;
        return Ok(out.flush()?);
    }
    let mut text = Vec::new();
    write_rows(rows, cancel, format, &mut text).await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let text = match is_document {
        true => subject.document("show", serde_json::from_str(&text)?),
        false => text,
    };
    match session.output.events {
        None => session.output.data(text),
        Some(_) => session.output.data_event(|| {
            let format = if is_document { "json" } else { "text" };
            dbt_events::shown_node(subject.event_of(), &text, format)
        }),
    }
    Ok(())
}

/// Leaves the results of a command that only looks at these nodes and queries, with their SQL.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write_results(
    session: &Session,
    outcomes: Vec<NodeOutcome>,
    elapsed: Duration,
    compiled: BTreeMap<UniqueId, String>,
    arguments: &Value,
) -> Result<()> {
    if !session.global.flags.on("write_json") {
        return Ok(());
    }
    let summary = RunSummary { nodes: outcomes, elapsed, ..RunSummary::default() };
    let results = artifacts::run_results(
        session.manifest(),
        &summary,
        &[],
        &compiled,
        &session.arguments(arguments),
        &session.run.to_string(),
        &artifacts::timestamp(session.started),
    );
    artifacts::write_looking(&session.target_path(), &results)?;
    session.write_manifest(&session.target_path(), compiled)
}

/// Whether a node of this type can be shown.
pub(crate) fn can_be_shown(kind: ResourceType) -> bool {
    use ResourceType::{Analysis, Model, Seed, Snapshot, Test};
    matches!(kind, Model | Snapshot | Analysis | Seed | Test)
}

/// The arguments of `show` as its results keep them.
pub(crate) fn arguments_of_show(args: &Show) -> Value {
    json!({
        "which": "show",
        "select": args.selection.all(),
        "exclude": args.selection.exclude,
        "selector": args.selection.selector,
        "inline": args.inline.as_ref().or(args.inline_direct.as_ref()),
        "limit": args.limit,
        "full_refresh": args.full_refresh,
        "output": if args.output == Some(Format::Json) { "json" } else { "text" },
    })
}

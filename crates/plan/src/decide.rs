//! The rule of reuse.

use serde::Serialize;
use tidemill_core::{RelationKind, RelationName, Snapshot};

use crate::{Fingerprint, Record};

/// What is known of a node when its turn comes.
#[derive(Debug)]
pub struct NodeState<'a> {
    /// Where it is published.
    pub relation: &'a RelationName,
    /// Its code, configuration and the values that rendering read, now.
    pub fingerprint: &'a Fingerprint,
    /// What is published now.
    pub snapshot: &'a Snapshot,
    /// Whether a change makes it run its increment rather than build again.
    pub incremental: bool,
    /// Why it may never be reused (hooks, its last run failed, …).
    pub never: Option<String>,
    /// Inputs that will be built, or may be, before this node's turn comes. Empty when it has come.
    pub pending_inputs: &'a [RelationName],
}

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct ReuseOptions {
    /// `--no-reuse`: build everything that is selected, as dbt does.
    pub no_reuse: bool,
    /// `--full-refresh`: incremental nodes start again.
    pub full_refresh: bool,
    /// The date of `current_date` now, in the project's time zone.
    pub current_date: String,
    /// `meta.reuse: true`: volatile functions do not stop reuse.
    pub ignore_volatile: bool,
    /// The relation's newest Delta version is another engine's.
    pub foreign: bool,
}

/// What is done with a node, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// Its code and inputs are what they were: nothing is done.
    Reuse,
    /// It is built from nothing.
    Build {
        /// Why.
        reason: String,
    },
    /// It runs its increment.
    Increment {
        /// Why.
        reason: String,
    },
    /// Nothing but its inputs can make it change, and these are still to be built.
    RebuildIfInputsChange {
        /// The inputs that are waited for.
        inputs: Vec<RelationName>,
    },
}

/// Decides. The same function serves `plan`, the executor and the page.
pub fn decide(state: &NodeState<'_>, options: &ReuseOptions) -> Decision {
    let Some(published) = state.snapshot.get(state.relation) else {
        return Decision::Build { reason: "not built yet".to_owned() };
    };
    let is_table = matches!(published.kind, RelationKind::Table { .. });
    if state.incremental && options.full_refresh {
        return Decision::Build { reason: "--full-refresh".to_owned() };
    }
    let again = |reason: String| {
        if state.incremental && is_table {
            Decision::Increment { reason }
        } else {
            Decision::Build { reason }
        }
    };
    if options.no_reuse {
        return again("--no-reuse".to_owned());
    }
    if options.full_refresh {
        return again("--full-refresh".to_owned());
    }
    if let Some(reason) = &state.never {
        return again(reason.clone());
    }
    if options.foreign {
        return again("another engine wrote to the table".to_owned());
    }
    let Some(record) = Record::of(state.snapshot, state.relation) else {
        return again("nothing is recorded about its last build".to_owned());
    };
    if record.adopted {
        return again("another engine wrote to the table".to_owned());
    }
    let changed = state.fingerprint.difference(&record.fingerprint);
    if !changed.is_empty() {
        return again(format!("changed: {}", changed.join(", ")));
    }
    if !options.ignore_volatile && !record.volatile.is_empty() {
        return again(format!("calls {}", record.volatile.join(", ")));
    }
    if let Some(date) = &record.current_date
        && *date != options.current_date
    {
        return again(format!("current_date was {date}"));
    }
    if !state.pending_inputs.is_empty() {
        return Decision::RebuildIfInputsChange { inputs: state.pending_inputs.to_vec() };
    }
    let newer: Vec<String> = record
        .inputs
        .iter()
        .filter(|(relation, version)| !version.still_holds(state.snapshot, relation))
        .map(|(relation, _)| relation.to_string())
        .collect();
    if !newer.is_empty() {
        return again(format!("new data in {}", newer.join(", ")));
    }
    Decision::Reuse
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use tidemill_core::{EntryNumber, PublishedRelation, RunId, TableVersion};

    use super::*;
    use crate::InputVersion;

    fn relation(name: &str) -> RelationName {
        RelationName::new("main", name)
    }

    fn published(name: &str, data_entry: u64, record: Option<Record>) -> PublishedRelation {
        PublishedRelation {
            name: relation(name),
            kind: RelationKind::Table { location: name.to_owned(), version: TableVersion(0) },
            schema: Arc::new(arrow_schema()),
            entry: EntryNumber(data_entry),
            data_entry: EntryNumber(data_entry),
            time: 0,
            unique_id: None,
            run: RunId::new("r"),
            rows: None,
            bytes: None,
            hash: None,
            position: None,
            record: record.map(|record| Arc::new(record.to_json())),
        }
    }

    fn arrow_schema() -> tidemill_core::arrow_schema::Schema {
        tidemill_core::arrow_schema::Schema::empty()
    }

    fn snapshot(relations: Vec<PublishedRelation>) -> Snapshot {
        Snapshot {
            entry: EntryNumber(9),
            time: 0,
            relations: Arc::new(
                relations
                    .into_iter()
                    .map(|relation| (relation.name.clone(), Arc::new(relation)))
                    .collect::<BTreeMap<_, _>>(),
            ),
        }
    }

    fn record(sql: &str, input: u64) -> Record {
        Record {
            format: Record::FORMAT,
            fingerprint: Fingerprint::new().with("sql", sql),
            inputs: [(relation("raw"), InputVersion::Data(EntryNumber(input)))].into(),
            ..Record::default()
        }
    }

    #[test]
    fn a_node_is_reused_only_when_everything_is_as_recorded() {
        let same = record("select 1", 3);
        let volatile = Record { volatile: vec!["now".to_owned()], ..same.clone() };
        let dated = Record { current_date: Some("2026-01-01".to_owned()), ..same.clone() };
        let cases: Vec<(&str, Option<Record>, bool, ReuseOptions, &str)> = vec![
            ("same", Some(same.clone()), false, ReuseOptions::default(), "reuse"),
            ("no record", None, false, ReuseOptions::default(), "build"),
            (
                "changed",
                Some(record("select 2", 3)),
                false,
                ReuseOptions::default(),
                "build: changed: sql",
            ),
            (
                "changed",
                Some(record("select 2", 3)),
                true,
                ReuseOptions::default(),
                "increment: changed: sql",
            ),
            (
                "new data",
                Some(record("select 1", 2)),
                false,
                ReuseOptions::default(),
                "build: new data in main.raw",
            ),
            (
                "volatile",
                Some(volatile.clone()),
                false,
                ReuseOptions::default(),
                "build: calls now",
            ),
            (
                "volatile, told to ignore it",
                Some(volatile),
                false,
                ReuseOptions { ignore_volatile: true, ..Default::default() },
                "reuse",
            ),
            (
                "another day",
                Some(dated.clone()),
                false,
                ReuseOptions::default(),
                "build: current_date was",
            ),
            (
                "the same day",
                Some(dated),
                false,
                ReuseOptions { current_date: "2026-01-01".to_owned(), ..Default::default() },
                "reuse",
            ),
            (
                "--no-reuse",
                Some(same.clone()),
                true,
                ReuseOptions { no_reuse: true, ..Default::default() },
                "increment",
            ),
            (
                "--full-refresh",
                Some(same.clone()),
                true,
                ReuseOptions { full_refresh: true, ..Default::default() },
                "build",
            ),
            (
                "foreign",
                Some(same),
                false,
                ReuseOptions { foreign: true, ..Default::default() },
                "build: another engine",
            ),
        ];
        for (name, record, incremental, options, expected) in cases {
            let snapshot = snapshot(vec![published("raw", 3, None), published("node", 4, record)]);
            let fingerprint = Fingerprint::new().with("sql", "select 1");
            let state = NodeState {
                relation: &relation("node"),
                fingerprint: &fingerprint,
                snapshot: &snapshot,
                incremental,
                never: None,
                pending_inputs: &[],
            };
            let text = match decide(&state, &options) {
                Decision::Reuse => "reuse".to_owned(),
                Decision::Build { reason } => format!("build: {reason}"),
                Decision::Increment { reason } => format!("increment: {reason}"),
                Decision::RebuildIfInputsChange { .. } => "later".to_owned(),
            };
            assert!(text.starts_with(expected), "{name}: {text} is not {expected}");
        }
    }
}

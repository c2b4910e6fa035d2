//! The publish protocol as a model, explored to the end: three writers, any of them standing still
//! anywhere, a crash, and a commit of another engine.
//!
//! What a writer does between two steps of the model is one request to the store. Nothing is shared
//! but the store: intents, entries, and two tables' logs.

use stateright::{Checker, Model, Property};

const WRITERS: usize = 3;
const TABLES: usize = 2;

/// What a writer wants to publish: on which tables, and whether it can go on after another engine.
const WANTS: [(&[usize], bool); WRITERS] = [(&[0, 1], true), (&[0], false), (&[1], true)];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Intent {
    writer: u8,
    /// Target version for each table that it changes.
    targets: [Option<u8>; TABLES],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    writer: u8,
    /// Where each change ended up; `None`: not part of it, or another engine came between.
    versions: [Option<u8>; TABLES],
}

/// A commit of a Delta log: of a writer, or foreign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Commit {
    Writer(u8),
    Foreign,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Reads the newest entry and what may come after it.
    Start,
    /// Has checked everything against the state after this many entries.
    Checked { entries: u8, targets: [Option<u8>; TABLES] },
    /// Finishes intent number `entries + 1`: the next table, and where the changes ended up.
    Finishing { entries: u8, table: u8, versions: [Option<u8>; TABLES] },
    /// Looks for the place of one change, beginning at a version.
    Seeking { entries: u8, table: u8, version: u8, versions: [Option<u8>; TABLES] },
    /// Published, or knows that it will not be.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    intents: Vec<Intent>,
    entries: Vec<Entry>,
    logs: [Vec<Commit>; TABLES],
    writers: [At; WRITERS],
    crashes: u8,
    foreign: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Step(u8),
    Crash(u8),
    Foreign(u8),
}

struct Protocol;

/// The published version of a table (0 is the version that everybody starts from).
fn published(state: &State, entries: usize, table: usize) -> u8 {
    state.entries[..entries]
        .iter()
        .filter_map(|entry| entry.versions[table])
        .next_back()
        .unwrap_or(0)
}

fn step(state: &State, writer: u8) -> Option<State> {
    let mut next = state.clone();
    let (tables, goes_on) = WANTS[writer as usize];
    let at = match &state.writers[writer as usize] {
        At::Done => return None,
        At::Start => {
            let entries = state.entries.len();
            if state.intents.len() > entries {
                At::Finishing { entries: entries as u8, table: 0, versions: [None; TABLES] }
            } else if state.entries.iter().any(|entry| entry.writer == writer) {
                // Its position says that it was done.
                At::Done
            } else {
                let mut targets = [None; TABLES];
                let mut foreign = false;
                for table in tables {
                    let version = published(state, entries, *table);
                    foreign |= state.logs[*table].len() > version as usize + 1;
                    targets[*table] = Some(version + 1);
                }
                // A head beyond the published one has to be adopted first; not part of the model.
                if foreign { At::Done } else { At::Checked { entries: entries as u8, targets } }
            }
        }
        At::Checked { entries, targets } => {
            // Put if absent.
            if state.intents.len() == *entries as usize {
                next.intents.push(Intent { writer, targets: *targets });
                At::Finishing { entries: *entries, table: 0, versions: [None; TABLES] }
            } else {
                At::Start
            }
        }
        At::Finishing { entries, table, versions } => {
            let intent = &state.intents[*entries as usize];
            if *table as usize == TABLES {
                // Put if absent; what is there is the truth.
                if state.entries.len() == *entries as usize {
                    next.entries.push(Entry { writer: intent.writer, versions: *versions });
                }
                At::Start
            } else {
                match intent.targets[*table as usize] {
                    None => {
                        At::Finishing { entries: *entries, table: table + 1, versions: *versions }
                    }
                    Some(target) => {
                        let log = &mut next.logs[*table as usize];
                        if log.len() == target as usize {
                            log.push(Commit::Writer(intent.writer));
                            let mut versions = *versions;
                            versions[*table as usize] = Some(target);
                            At::Finishing { entries: *entries, table: table + 1, versions }
                        } else {
                            At::Seeking {
                                entries: *entries,
                                table: *table,
                                version: target,
                                versions: *versions,
                            }
                        }
                    }
                }
            }
        }
        At::Seeking { entries, table, version, versions } => {
            let intent = &state.intents[*entries as usize];
            let (_, owner_goes_on) = WANTS[intent.writer as usize];
            let log = &mut next.logs[*table as usize];
            let found = match log.get(*version as usize) {
                Some(Commit::Writer(owner)) if *owner == intent.writer => Some(Some(*version)),
                Some(_) if owner_goes_on => {
                    next.writers[writer as usize] = At::Seeking {
                        entries: *entries,
                        table: *table,
                        version: version + 1,
                        versions: *versions,
                    };
                    return Some(next);
                }
                Some(_) => Some(None),
                None => {
                    log.push(Commit::Writer(intent.writer));
                    Some(Some(*version))
                }
            };
            let mut versions = *versions;
            versions[*table as usize] = found.flatten();
            At::Finishing { entries: *entries, table: table + 1, versions }
        }
    };
    let _ = goes_on;
    next.writers[writer as usize] = at;
    Some(next)
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            intents: vec![],
            entries: vec![],
            // Version 0 of both tables is published.
            logs: [vec![Commit::Foreign], vec![Commit::Foreign]],
            writers: [At::Start, At::Start, At::Start],
            crashes: 0,
            foreign: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for writer in 0..WRITERS as u8 {
            if state.writers[writer as usize] != At::Done {
                actions.push(Action::Step(writer));
                if state.crashes == 0 {
                    actions.push(Action::Crash(writer));
                }
            }
        }
        if state.foreign == 0 {
            actions.extend((0..TABLES as u8).map(Action::Foreign));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        match action {
            Action::Step(writer) => step(state, writer),
            Action::Crash(writer) => {
                // It forgets everything and runs again.
                let mut next = state.clone();
                next.writers[writer as usize] = At::Start;
                next.crashes += 1;
                Some(next)
            }
            Action::Foreign(table) => {
                let mut next = state.clone();
                next.logs[table as usize].push(Commit::Foreign);
                next.foreign += 1;
                Some(next)
            }
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one publish is half-way", |_, state: &State| {
                state.intents.len() <= state.entries.len() + 1
            }),
            Property::always("nothing is committed twice", |_, state: &State| {
                state.logs.iter().all(|log| {
                    (0..WRITERS as u8).all(|writer| {
                        log.iter().filter(|commit| **commit == Commit::Writer(writer)).count() <= 1
                    })
                })
            }),
            Property::always("nothing is published twice", |_, state: &State| {
                (0..WRITERS as u8).all(|writer| {
                    state.entries.iter().filter(|entry| entry.writer == writer).count() <= 1
                })
            }),
            Property::always("an entry names what is in the logs", |_, state: &State| {
                state.entries.iter().all(|entry| {
                    entry.versions.iter().zip(&state.logs).all(|(version, log)| {
                        version.is_none_or(|version| {
                            log.get(version as usize) == Some(&Commit::Writer(entry.writer))
                        })
                    })
                })
            }),
            Property::always("published versions only rise", |_, state: &State| {
                (0..TABLES).all(|table| {
                    let versions: Vec<u8> =
                        state.entries.iter().filter_map(|entry| entry.versions[table]).collect();
                    versions.windows(2).all(|pair| pair[0] < pair[1])
                })
            }),
            Property::always(
                "what cannot go on was built on what it follows",
                |_, state: &State| {
                    state.entries.iter().enumerate().all(|(index, entry)| {
                        let (_, goes_on) = WANTS[entry.writer as usize];
                        goes_on
                            || (0..TABLES).all(|table| {
                                entry.versions[table].is_none_or(|version| {
                                    version == published(state, index, table) + 1
                                })
                            })
                    })
                },
            ),
            Property::always(
                "our commits that nobody published belong to the open intent",
                |_, state: &State| {
                    let open = state.intents.get(state.entries.len());
                    state.logs.iter().enumerate().all(|(table, log)| {
                        log.iter().all(|commit| match commit {
                            Commit::Foreign => true,
                            Commit::Writer(writer) => {
                                open.is_some_and(|intent| intent.writer == *writer)
                                    || state.entries.iter().any(|entry| {
                                        entry.writer == *writer && entry.versions[table].is_some()
                                    })
                            }
                        })
                    })
                },
            ),
            Property::eventually("everybody comes to an end", |_, state: &State| {
                state.writers.iter().all(|writer| *writer == At::Done)
            }),
            Property::sometimes("a publish is split", |_, state: &State| {
                state.entries.iter().any(|entry| {
                    WANTS[entry.writer as usize]
                        .0
                        .iter()
                        .any(|table| entry.versions[*table].is_none())
                })
            }),
            Property::sometimes("a commit goes on after another engine's", |_, state: &State| {
                state.entries.iter().any(|entry| entry.versions.iter().flatten().any(|v| *v > 1))
            }),
        ]
    }
}

#[test]
fn the_protocol_holds_in_every_state() {
    let checker = Protocol.checker().spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.unique_state_count() > 1_000, "{}", checker.unique_state_count());
}

//! What a dbt project at hand meets here: findings, each with its places and what to do.

mod models;
mod settings;

pub(crate) use models::survey;
pub(crate) use settings::{of_diagnostics, of_dialect, of_nodes, of_project_file};

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::output::{Mood, Output, plural};

/// Places that are shown of one finding, unless all are asked for.
const SHOWN: usize = 3;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// A build fails.
    Blocker,
    /// It is built, and is something else than with dbt.
    Difference,
    /// To know.
    Note,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Blocker => "blocker",
            Level::Difference => "difference",
            Level::Note => "note",
        }
    }
}

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: Option<usize>,
}

impl Place {
    /// A file, and a line of it.
    pub(crate) fn new(file: impl Into<String>, line: Option<usize>) -> Self {
        Place { file: file.into(), line }
    }

    fn shown(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.file),
            None => self.file.clone(),
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// A stable name in kebab case.
    pub(crate) code: String,
    pub(crate) message: String,
    /// What to do.
    pub(crate) fix: Option<String>,
}

/// All findings with their places.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: BTreeMap<Finding, Vec<Place>>,
}

impl Report {
    /// Adds one.
    pub(crate) fn add(
        &mut self,
        level: Level,
        code: &str,
        message: impl Into<String>,
        fix: Option<&str>,
        place: Option<Place>,
    ) {
        let finding = Finding {
            level,
            code: code.to_owned(),
            message: message.into(),
            fix: fix.map(str::to_owned),
        };
        let places = self.found.entry(finding).or_default();
        places.extend(place.filter(|place| !places.contains(place)));
    }

    /// How many findings of a level there are.
    pub(crate) fn count(&self, level: Level) -> usize {
        self.found.keys().filter(|finding| finding.level == level).count()
    }

    /// Whether something of these kinds keeps a build from working.
    pub(crate) fn has(&self, codes: &[&str]) -> bool {
        let blocks = |finding: &&Finding| finding.level == Level::Blocker;
        self.found.keys().filter(blocks).any(|finding| codes.contains(&&*finding.code))
    }

    /// As JSON: one object.
    pub(crate) fn json(&self, project: Value) -> Value {
        let findings: Vec<Value> = self
            .sorted()
            .into_iter()
            .map(|(finding, places)| {
                let places: Vec<Value> = places
                    .iter()
                    .map(|place| json!({"file": place.file, "line": place.line}))
                    .collect();
                json!({
                    "level": finding.level.as_str(),
                    "code": finding.code,
                    "message": finding.message,
                    "fix": finding.fix,
                    "places": places,
                })
            })
            .collect();
        json!({"version": 1, "project": project, "findings": findings})
    }

    /// Those that matter most and are met most often come first.
    fn sorted(&self) -> Vec<(&Finding, &Vec<Place>)> {
        let mut all: Vec<_> = self.found.iter().collect();
        all.sort_by(|(left, left_places), (right, right_places)| {
            (left.level, right_places.len(), left).cmp(&(right.level, left_places.len(), right))
        });
        all
    }

    /// As text.
    pub(crate) fn print(&self, output: &Output, all: bool) {
        for (level, title, mood) in [
            (Level::Blocker, "blockers: a build fails on these", Mood::Bad),
            (Level::Difference, "differences: built, but not what dbt makes of it", Mood::Warning),
            (Level::Note, "notes", Mood::Quiet),
        ] {
            let found: Vec<_> =
                self.sorted().into_iter().filter(|(finding, _)| finding.level == level).collect();
            if found.is_empty() {
                continue;
            }
            output.data("");
            output.data(output.paint(mood, title));
            let mut of_code: BTreeMap<&str, usize> = BTreeMap::new();
            for (finding, places) in found {
                let number = of_code.entry(&finding.code).or_default();
                *number += 1;
                // What a build fails on is always shown.
                if all || level == Level::Blocker || *number <= SHOWN {
                    self.print_one(output, finding, places, all);
                }
            }
            for (code, number) in of_code {
                if !all && level != Level::Blocker && number > SHOWN {
                    output.data(format!(
                        "  and {} of the kind `{code}` (--all shows them)",
                        plural((number - SHOWN) as u64, "more", "more")
                    ));
                }
            }
        }
    }

    fn print_one(&self, output: &Output, finding: &Finding, places: &[Place], all: bool) {
        let times = match places.len() {
            0 | 1 => String::new(),
            number => format!("  ({})", plural(number as u64, "place", "places")),
        };
        output.data(format!("  {}{times}", finding.message.replace('\n', "\n    ")));
        let shown = if all { places.len() } else { SHOWN };
        if !places.is_empty() {
            let mut list: Vec<String> = places.iter().take(shown).map(Place::shown).collect();
            if places.len() > shown {
                list.push("…".to_owned());
            }
            output.data(format!("    at {}", list.join(", ")));
        }
        if let Some(fix) = &finding.fix {
            output.data(format!("    -> {fix}"));
        }
    }
}

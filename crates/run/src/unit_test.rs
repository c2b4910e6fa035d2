//! Unit tests: a model's query over made-up rows, compared with the rows that it should give. They
//! run before their model is built; one that fails keeps the model from being built.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tidemill_core::arrow_schema::SchemaRef;
use tidemill_core::{
    CheckId, Error, ErrorKind, Event, Overlay, QueryContext, Result, UniqueId, Verdict,
    VerdictStatus,
};
use tidemill_plan::{CheckRecord, Inputs, WorkUnitTest, hash_text};

use crate::executor::{Shared, in_place};
use crate::unit::Phase;
use crate::{CheckOutcome, RenderRequest, UnitTestCase};

/// What the unit tests of a model came to.
#[derive(Debug, Default)]
pub(crate) struct UnitTested {
    /// The first that did not pass.
    pub(crate) failed: Option<String>,
    /// What is remembered of those that passed.
    pub(crate) records: BTreeMap<CheckId, CheckRecord>,
}

/// Rows as texts; NULL is `None`.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

impl Shared {
    /// Runs the unit tests of a model over this state. A test whose query, rows and expectation are
    /// those that passed before is not run again.
    pub(crate) async fn run_unit_tests(
        &self,
        tests: &[&WorkUnitTest],
        context: &QueryContext,
        recorded: &BTreeMap<CheckId, CheckRecord>,
    ) -> Result<UnitTested> {
        let mut tested = UnitTested::default();
        let mut outcomes = Vec::new();
        for test in tests {
            let started = Instant::now();
            let request = RenderRequest {
                incremental: false,
                full_refresh: self.options.full_refresh,
                context: context.clone(),
                batch: None,
                statements: None,
            };
            let case = in_place(|| self.doers.renderer.unit_test(&test.id, &request));
            let definition = case.as_ref().ok().map(|case| {
                hash_text(&format!("{}\n{}\n{:?}", case.actual, case.expected, case.overlay.0))
            });
            let known = recorded
                .get(&test.id)
                .filter(|record| Some(&record.definition) == definition.as_ref())
                .is_some_and(|record| record.status == VerdictStatus::Pass);
            let reused = known && self.options.reuse_verdicts;
            let verdict = match case {
                Ok(_) if reused => Ok(pass(&test.id)),
                Ok(case) => self.judge(&test.id, &case, context).await,
                Err(error) => Err(error),
            };
            let verdict = match verdict {
                Ok(verdict) => verdict,
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => Verdict {
                    check: test.id.clone(),
                    status: VerdictStatus::Error,
                    failures: 0.0,
                    message: Some(error.report()),
                },
            };
            if verdict.status == VerdictStatus::Pass {
                let record = CheckRecord {
                    definition: definition.unwrap_or_default(),
                    inputs: Inputs::new(),
                    status: verdict.status,
                    failures: 0.0,
                    message: None,
                };
                tested.records.insert(test.id.clone(), record);
            } else {
                tested.failed.get_or_insert_with(|| test.name.clone());
            }
            let elapsed = if reused { Duration::ZERO } else { started.elapsed() };
            self.doers.events.emit(Event::Checked {
                node: Some(test.model.clone()),
                verdict: verdict.clone(),
                reused,
                sample: Vec::new(),
                elapsed,
            });
            outcomes.push(CheckOutcome { verdict, reused, skipped: false, elapsed });
        }
        self.checked(outcomes);
        Ok(tested)
    }

    async fn judge(
        &self,
        id: &CheckId,
        case: &UnitTestCase,
        context: &QueryContext,
    ) -> Result<Verdict> {
        let context = QueryContext { overlay: case.overlay.clone(), ..context.clone() };
        let (schema, actual) = self.texts(&case.actual, &context).await?;
        let (_, expected) = self.texts(&case.expected, &context).await?;
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Ok(match difference(&names, actual, expected) {
            None => pass(id),
            Some(shown) => Verdict {
                check: id.clone(),
                status: VerdictStatus::Fail,
                failures: 1.0,
                message: Some(format!("actual differs from expected:\n\n{shown}")),
            },
        })
    }

    async fn texts(&self, sql: &str, context: &QueryContext) -> Result<(SchemaRef, Rows)> {
        let mut stream = self.doers.engine.query(sql, context).await?;
        let mut rows = Vec::new();
        while let Some(batch) = stream.batches.next().await {
            let batch = batch?;
            if rows.len() + batch.num_rows() > MOST_ROWS {
                return Err(Error::new(
                    ErrorKind::Resources,
                    format!("the query of a unit test gives more than {MOST_ROWS} rows"),
                ));
            }
            for row in 0..batch.num_rows() {
                rows.push(crate::rows::texts(&batch, row));
            }
        }
        Ok((stream.schema.clone(), rows))
    }
}

/// More rows than this are no test of a unit.
pub(crate) const MOST_ROWS: usize = 100_000;

fn pass(check: &CheckId) -> Verdict {
    Verdict { check: check.clone(), status: VerdictStatus::Pass, failures: 0.0, message: None }
}

/// Unit tests of models that this run does not build: over what is published, once what the model
/// reads has ended.
pub(crate) async fn run_standalone(shared: Arc<Shared>) {
    let mut by_model: BTreeMap<UniqueId, Vec<&WorkUnitTest>> = BTreeMap::new();
    for test in shared.work.unit_tests.values() {
        if !shared.work.nodes.contains_key(&test.model) {
            by_model.entry(test.model.clone()).or_default().push(test);
        }
    }
    for (model, tests) in by_model {
        let parents = shared.work.graph.parents(&model).cloned().collect();
        crate::executor::wait_all(&shared, &parents, Phase::Done).await;
        let Some(_permit) = shared.permit().await else { return };
        let context = shared.context(shared.snapshot(), Overlay::none());
        let nothing = BTreeMap::new();
        tokio::select! {
            _ = shared.run_unit_tests(&tests, &context, &nothing) => {}
            () = shared.cancel.cancelled() => return,
        }
    }
}

/// How rows differ, as dbt shows it; `None` when they are the same, whatever their order.
pub(crate) fn difference(names: &[&str], mut actual: Rows, mut expected: Rows) -> Option<String> {
    actual.sort();
    expected.sort();
    if actual == expected {
        return None;
    }
    // Both are sorted: one walk finds what they share.
    let (mut same, mut new, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut left, mut right) = (actual.into_iter().peekable(), expected.into_iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if a == b => {
                same.extend(left.next());
                right.next();
            }
            (Some(a), Some(b)) if a < b => new.extend(left.next()),
            (Some(_), None) => new.extend(left.next()),
            (_, Some(_)) => gone.extend(right.next()),
            (None, None) => break,
        }
    }
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
    let mut lines: Vec<(Vec<Option<String>>, Vec<String>)> = Vec::new();
    // A row that is there with other values in fewer than all columns is shown as changed.
    for row in gone {
        let alike = |other: &Rows| {
            let score = |candidate: &Vec<Option<String>>| {
                candidate.iter().zip(&row).filter(|(a, b)| a == b).count()
            };
            let best = (0..other.len()).max_by_key(|at| (score(&other[*at]), usize::MAX - at))?;
            (score(&other[best]) > 0).then_some(best)
        };
        match alike(&new) {
            Some(at) => {
                let now = new.remove(at);
                let mut cells = vec!["→".to_owned()];
                cells.extend(row.iter().zip(&now).map(|(old, new)| match old == new {
                    true => shown(old),
                    false => format!("{}→{}", shown(old), shown(new)),
                }));
                lines.push((now, cells));
            }
            None => {
                let mut cells = vec!["---".to_owned()];
                cells.extend(row.iter().map(shown));
                lines.push((row, cells));
            }
        }
    }
    for row in new {
        let mut cells = vec!["+++".to_owned()];
        cells.extend(row.iter().map(shown));
        lines.push((row, cells));
    }
    let changed: std::collections::BTreeSet<usize> = {
        let mut all: Vec<(Vec<Option<String>>, Vec<String>, bool)> =
            lines.into_iter().map(|(key, cells)| (key, cells, true)).collect();
        all.extend(same.into_iter().map(|row| {
            let mut cells = vec![String::new()];
            cells.extend(row.iter().map(shown));
            (row, cells, false)
        }));
        all.sort();
        lines = Vec::new();
        let mut changed = std::collections::BTreeSet::new();
        for (at, (key, cells, is_changed)) in all.into_iter().enumerate() {
            if is_changed {
                changed.insert(at);
            }
            lines.push((key, cells));
        }
        changed
    };
    let mut table = vec![
        std::iter::once("@@".to_owned())
            .chain(names.iter().map(|name| (*name).to_owned()))
            .collect::<Vec<String>>(),
    ];
    let mut left_out = false;
    for (at, (_, cells)) in lines.into_iter().enumerate() {
        let near = changed.contains(&at)
            || changed.contains(&(at + 1))
            || (at > 0 && changed.contains(&(at - 1)));
        if near {
            table.push(cells);
        } else if !left_out {
            table.push(vec!["...".to_owned(); names.len() + 1]);
        }
        left_out = !near;
    }
    Some(aligned(&table))
}

fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| {
        table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let lines: Vec<String> = table
        .iter()
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            cells.join(",").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Rows {
        let value = |cell: &str| (cell != "NULL").then(|| cell.to_owned());
        text.lines().map(|line| line.split(',').map(value).collect()).collect()
    }

    #[test]
    fn a_difference_is_shown_as_dbt_shows_it() {
        let names = ["email", "valid"];
        assert_eq!(difference(&names, rows("a,true\nb,false"), rows("b,false\na,true")), None);
        let shown = difference(
            &names,
            rows("a,true\nb,false\nc,NULL\nd,x\ne,x\nf,x\nnew,row"),
            rows("a,false\nb,false\nc,NULL\nd,x\ne,x\nf,x\nold,line"),
        );
        assert_eq!(
            shown.unwrap(),
            "@@ ,email,valid\n\
             →  ,a    ,false→true\n   ,b    ,false\n...,...  ,...\n   ,f    ,x\n+++,new  ,row\n---,old  ,line"
        );
    }

    #[test]
    fn rows_that_come_twice_count_twice() {
        let shown = difference(&["a"], rows("1\n1"), rows("1"));
        assert_eq!(shown.unwrap(), "@@ ,a\n   ,1\n+++,1");
    }
}

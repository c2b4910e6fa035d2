//! Checks and unit tests as queries of a database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::{
    Answer, BatchStream, CheckId, DatabaseSession, Error, ErrorKind, Event, Measurement,
    RelationName, Result, UniqueId, Verdict, VerdictStatus, display_value,
};
use tidemill_plan::WorkUnitTest;

use super::executor::Shared;
use super::{DatabaseCheck, DatabaseRequest};
use crate::CheckOutcome;
use crate::executor::in_place;
use crate::unit_test::{MOST_ROWS, difference};

/// What a check came to, and its failing rows where they are to be kept.
pub(super) struct Judged {
    pub(super) outcome: CheckOutcome,
    /// Where the failing rows go, their query, and the rows themselves while they may disappear.
    failures: Option<Failures>,
}

struct Failures {
    target: RelationName,
    as_view: bool,
    rows: Answer,
}

/// Outcomes of checks that were not tried.
pub(super) fn skipped(checks: &[CheckId]) -> Vec<CheckOutcome> {
    checks
        .iter()
        .map(|check| CheckOutcome {
            verdict: verdict(check, VerdictStatus::Error, None),
            reused: false,
            skipped: true,
            elapsed: Duration::ZERO,
        })
        .collect()
}

fn verdict(check: &CheckId, status: VerdictStatus, message: Option<String>) -> Verdict {
    Verdict { check: check.clone(), status, failures: 0.0, message }
}

/// Runs one check in a session and tells. `None` when it cannot be said of a candidate: its text
/// names the relation itself.
pub(super) async fn judge(
    shared: &Arc<Shared>,
    id: &CheckId,
    node: Option<&UniqueId>,
    request: &DatabaseRequest,
) -> Result<Option<Judged>> {
    let started = Instant::now();
    let session = &request.session;
    // What fails must not take the transaction with it: its error is the verdict.
    let inside = session.in_transaction();
    if inside {
        session.run("savepoint tidemill_check").await?;
    }
    let (worker, asked, given) = (shared.clone(), id.clone(), request.clone());
    let made = tokio::task::spawn_blocking(move || {
        in_place(|| worker.doers.renderer.check(&asked, &given))
    });
    let made = made.await.unwrap_or_else(|panic| {
        Err(Error::new(ErrorKind::Internal, "a test's template has panicked").because(panic))
    });
    if let (Ok(made), Some((owner, _))) = (&made, &request.stand_in)
        && let Some(own) = shared.work.nodes.get(owner)
        && names(&made.count, &own.relation)
    {
        return Ok(None);
    }
    let outcome = match &made {
        Ok(made) => count(session, made).await,
        Err(error) => Err(Error::new(error.kind(), error.report())),
    };
    let (found, failed) = match outcome {
        Ok(found) => (found, false),
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => (verdict(id, VerdictStatus::Error, Some(error.report())), true),
    };
    if inside && failed {
        session.run("rollback to savepoint tidemill_check").await?;
    }
    let mut sample = Vec::new();
    let mut failures = None;
    if let Ok(made) = &made
        && !failed
    {
        let rows = made.check.failing_rows();
        let bad = matches!(found.status, VerdictStatus::Fail | VerdictStatus::Warn);
        if bad && shared.options.sample_rows > 0 {
            let limit = shared.options.sample_rows;
            let sql = format!("select * from (\n{rows}\n) as failing_rows limit {limit}");
            let answer = guarded(session, &sql, inside).await?;
            sample = answer
                .iter()
                .flat_map(|answer| &answer.batches)
                .flat_map(crate::rows::lines)
                .collect();
        }
        let target = shared.work.checks.get(id).and_then(|check| check.store_failures.clone());
        if let Some(target) = target
            && let Some(answer) = guarded(session, &rows, inside).await?
        {
            failures = Some(Failures { target, as_view: made.as_view, rows: answer });
        }
    }
    let elapsed = started.elapsed();
    shared.doers.events.emit(Event::Checked {
        node: node.cloned(),
        verdict: found.clone(),
        reused: false,
        sample,
        elapsed,
    });
    let outcome = CheckOutcome { verdict: found, reused: false, skipped: false, elapsed };
    Ok(Some(Judged { outcome, failures }))
}

/// Runs a query that may fail without harm.
async fn guarded(
    session: &Arc<dyn DatabaseSession>,
    sql: &str,
    inside: bool,
) -> Result<Option<Answer>> {
    match session.run(sql).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
        Err(error) => {
            tracing::debug!(error = %error, "failing rows");
            if inside {
                session.run("rollback to savepoint tidemill_check").await?;
            }
            Ok(None)
        }
    }
}

/// Whether a text names a relation by itself.
fn names(sql: &str, relation: &RelationName) -> bool {
    let plain: String = sql.chars().filter(|c| *c != '"').collect();
    let wanted = format!("{}.{}", relation.schema(), relation.name());
    plain.match_indices(&wanted).any(|(at, _)| {
        let next = plain[at + wanted.len()..].chars().next();
        !next.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$')
    })
}

/// The verdict of a check's one number.
async fn count(session: &Arc<dyn DatabaseSession>, made: &DatabaseCheck) -> Result<Verdict> {
    let answer = session.run(&made.count).await?;
    let number = answer.batches.first().filter(|batch| batch.num_rows() > 0).and_then(|batch| {
        let column = batch.columns().first()?;
        (!column.is_null(0)).then(|| display_value(column, 0))
    });
    let measurement = match number {
        None => Measurement::Nothing,
        Some(text) => match (text.parse::<u64>(), text.parse::<f64>()) {
            (Ok(count), _) => Measurement::Count(count),
            (_, Ok(number)) => Measurement::Number(number),
            _ => {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!("the `fail_calc` of the test gives `{text}`, which is not a number"),
                ));
            }
        },
    };
    Ok(made.check.judge(&[measurement]))
}

/// Keeps failing rows in their table, whatever became of the node.
pub(super) async fn store(
    shared: &Arc<Shared>,
    session: &Arc<dyn DatabaseSession>,
    check: &CheckId,
    judged: &Judged,
    committed: bool,
) {
    let Some(failures) = &judged.failures else { return };
    let kept = async {
        let target = failures.target.quoted();
        if failures.as_view && committed {
            let request = DatabaseRequest::new(session.clone());
            let made = in_place(|| {
                tokio::task::block_in_place(|| shared.doers.renderer.check(check, &request))
            })?;
            let rows = made.check.failing_rows();
            remove(session, &failures.target).await?;
            return session.run(&format!("create view {target} as\n{rows}")).await.map(drop);
        }
        remove(session, &failures.target).await?;
        let columns: Vec<String> = failures
            .rows
            .columns
            .iter()
            .map(|column| format!("{} {}", quoted(&column.name), column.data_type))
            .collect();
        session.begin().await?;
        session.run(&format!("create table {target} ({})", columns.join(", "))).await?;
        if let Some(batch) = failures.rows.batches.first() {
            let names: Vec<String> =
                failures.rows.columns.iter().map(|column| column.name.clone()).collect();
            let rows = BatchStream::from_batches(batch.schema(), failures.rows.batches.clone());
            session.load(&failures.target, &names, rows).await?;
        }
        session.commit().await
    };
    if let Err(error) = kept.await {
        let _ = session.rollback().await;
        shared.doers.events.emit(Event::Notice {
            node: None,
            code: "failures-not-stored".to_owned(),
            message: format!("the failing rows of {check} were not stored: {}", error.report()),
        });
    }
}

/// Drops a relation, whatever it is.
async fn remove(session: &Arc<dyn DatabaseSession>, relation: &RelationName) -> Result<()> {
    use tidemill_core::DatabaseRelation::{MaterializedView, Table, View};
    let kind = match session.relation(relation).await? {
        None => return Ok(()),
        Some(Table) => "table",
        Some(View) => "view",
        Some(MaterializedView) => "materialized view",
    };
    session.run(&format!("drop {kind} if exists {} cascade", relation.quoted())).await.map(drop)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A check that no node of this run answers for.
pub(super) async fn alone(shared: &Arc<Shared>, id: &CheckId) -> Vec<CheckOutcome> {
    let run = async {
        let session = shared.doers.database.session(&shared.cancel).await?;
        let (comment, after) = shared.doers.renderer.comment(id);
        session.comment(comment, after);
        let request = DatabaseRequest {
            full_refresh: shared.options.full_refresh,
            ..DatabaseRequest::new(session.clone())
        };
        let judged = judge(shared, id, None, &request).await?;
        if let Some(judged) = &judged {
            store(shared, &session, id, judged, true).await;
        }
        Ok(judged)
    };
    match run.await {
        Ok(Some(judged)) => vec![judged.outcome],
        Ok(None) => skipped(std::slice::from_ref(id)),
        Err(error) => {
            let error: Error = error;
            if error.kind() == ErrorKind::Cancelled {
                return skipped(std::slice::from_ref(id));
            }
            let found = verdict(id, VerdictStatus::Error, Some(error.report()));
            shared.doers.events.emit(Event::Checked {
                node: None,
                verdict: found.clone(),
                reused: false,
                sample: Vec::new(),
                elapsed: Duration::ZERO,
            });
            vec![CheckOutcome {
                verdict: found,
                reused: false,
                skipped: false,
                elapsed: Duration::ZERO,
            }]
        }
    }
}

/// The unit tests of a model that is about to be built: the first that does not pass.
pub(super) async fn unit_tests_of(
    shared: &Arc<Shared>,
    model: &UniqueId,
) -> Result<Option<String>> {
    let tests: Vec<&WorkUnitTest> =
        shared.work.unit_tests.values().filter(|test| test.model == *model).collect();
    if tests.is_empty() {
        return Ok(None);
    }
    unit_tests(shared, &tests).await
}

/// Runs unit tests.
pub(super) async fn unit_tests(
    shared: &Arc<Shared>,
    tests: &[&WorkUnitTest],
) -> Result<Option<String>> {
    let session = shared.doers.database.session(&shared.cancel).await?;
    let mut first = None;
    let mut outcomes = Vec::new();
    for test in tests {
        let started = Instant::now();
        let (comment, after) = shared.doers.renderer.comment(&test.id);
        session.comment(comment, after);
        let found = match unit_test(shared, test, &session).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => verdict(&test.id, VerdictStatus::Error, Some(error.report())),
        };
        if found.status != VerdictStatus::Pass {
            first.get_or_insert_with(|| test.name.clone());
        }
        let elapsed = started.elapsed();
        shared.doers.events.emit(Event::Checked {
            node: Some(test.model.clone()),
            verdict: found.clone(),
            reused: false,
            sample: Vec::new(),
            elapsed,
        });
        outcomes.push(CheckOutcome { verdict: found, reused: false, skipped: false, elapsed });
    }
    shared.checked(outcomes);
    Ok(first)
}

async fn unit_test(
    shared: &Arc<Shared>,
    test: &WorkUnitTest,
    session: &Arc<dyn DatabaseSession>,
) -> Result<Verdict> {
    let (worker, id) = (shared.clone(), test.id.clone());
    let request = DatabaseRequest::new(session.clone());
    let case = tokio::task::spawn_blocking(move || {
        in_place(|| worker.doers.renderer.unit_test(&id, &request))
    });
    let case = case.await.unwrap_or_else(|panic| {
        Err(Error::new(ErrorKind::Internal, "a unit test's template has panicked").because(panic))
    })?;
    let actual = session.run(&case.actual).await?;
    let expected = session.run(&case.expected).await?;
    let names: Vec<&str> = actual.columns.iter().map(|column| column.name.as_str()).collect();
    let rows = |answer: &Answer| -> Result<Vec<Vec<Option<String>>>> {
        let rows: Vec<_> = answer
            .batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(|row| crate::rows::texts(batch, row)))
            .collect();
        match rows.len() > MOST_ROWS {
            true => Err(Error::new(
                ErrorKind::Resources,
                format!("the query of a unit test gives more than {MOST_ROWS} rows"),
            )),
            false => Ok(rows),
        }
    };
    Ok(match difference(&names, rows(&actual)?, rows(&expected)?) {
        None => verdict(&test.id, VerdictStatus::Pass, None),
        Some(shown) => Verdict {
            failures: 1.0,
            ..verdict(
                &test.id,
                VerdictStatus::Fail,
                Some(format!("actual differs from expected:\n\n{shown}")),
            )
        },
    })
}

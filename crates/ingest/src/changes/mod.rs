//! Tables of changes: each change of a table whose log is followed, in its order, before it is applied to
//! the table itself.
//!
//! `orders__changes` is only added to. A row has a number that grows, what happened (`insert`,
//! `update`, `delete`, `truncate`, or `snapshot`: the table was read as a whole, and goes on from there),
//! when it was committed, and the whole row; of one that was deleted the key. Its position is that of
//! the log; that of the table is the number of the last change that is applied to it. So what is new in
//! the log is durable without the table being touched, and the table takes many changes in one go.
//! `orders__fresh` is a view of both: the table as it will be.

mod append;
mod apply;
mod expire;
mod fill;
mod fresh;
mod reject;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};
use tidemill_core::{
    Error, ErrorKind, Position, PublishChange, RelationName, Result, ResultExt, Snapshot,
};

pub use self::append::{Appended, append};
pub use self::apply::apply;
pub use self::expire::expired;
pub(crate) use self::expire::now;
pub use self::reject::{Refused, reject};
use crate::load::LoadSpec;

/// The number of a change: later ones have larger ones.
const NUMBER: &str = "_change_number";
/// What happened.
const KIND: &str = "_change";
/// When it was committed.
const COMMITTED: &str = "_committed_at";

/// The number of the first change, which says that the table goes on from there. The one before it may be taken
/// by the row that a full refresh leaves.
const BEGINS: i64 = 2;

/// All rows went.
const TRUNCATE: &str = "truncate";
/// The table was read as a whole.
const SNAPSHOT: &str = "snapshot";
/// The row went.
const DELETE: &str = "delete";

/// The table that holds the changes of a table.
pub fn changes_relation(relation: &RelationName) -> RelationName {
    RelationName::new(relation.schema(), format!("{}__changes", relation.name()))
}

/// The view of a table with the changes that are not applied to it yet.
pub fn fresh_relation(relation: &RelationName) -> RelationName {
    RelationName::new(relation.schema(), format!("{}__fresh", relation.name()))
}

/// The position of a table of changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    /// How far the log of the source was read.
    log: Position,
    /// The position of the table when it was read as a whole: the log goes on from there.
    since: Position,
    /// The number of the change that stands for that.
    begins: i64,
    /// The number of the last change.
    last: i64,
    /// The number of the last one after which no row of before is there.
    emptied: i64,
    /// When changes were kept, where it matters for how long: by this moment (microseconds since 1970) all up to
    /// this number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kept: Vec<(i64, i64)>,
}

/// The position of a table to which changes are applied.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Applied {
    /// The number of the last change that is.
    changes_applied: i64,
}

impl Applied {
    fn of(position: &Position) -> Option<Applied> {
        serde_json::from_value(position.0.clone()).ok()
    }
}

/// How a table and its changes stand.
#[derive(Debug, Clone, PartialEq)]
enum State {
    /// The table was not read yet.
    Absent,
    /// It was read as a whole up to this position, and no change is kept since.
    Begins { since: Position, last: i64 },
    /// Changes are kept, and these are applied.
    Follows { log: Log, applied: i64 },
}

impl State {
    fn of(base: &Snapshot, relation: &RelationName) -> Result<State> {
        let position = |relation| base.get(relation).and_then(|found| found.position.clone());
        let Some(table) = position(relation) else { return Ok(State::Absent) };
        let changes = changes_relation(relation);
        let log = position(&changes)
            .map(|position| serde_json::from_value::<Log>(position.0))
            .transpose()
            .or_error(ErrorKind::Data, "the position of a table of changes cannot be read")
            .map_err(|error| error.with("table", &changes))?;
        Ok(match (Applied::of(&table), log) {
            (Some(applied), Some(log)) => State::Follows { log, applied: applied.changes_applied },
            (Some(_), None) => {
                return Err(Error::new(
                    ErrorKind::Data,
                    "the table of changes is gone, so that it is not known how far the log was read; \
                     --full-refresh reads the table again as a whole",
                )
                .with("table", &changes));
            }
            (None, Some(log)) if log.since == table => State::Follows { applied: log.begins, log },
            (None, Some(log)) => State::Begins { since: table, last: log.last },
            (None, None) => State::Begins { since: table, last: 0 },
        })
    }
}

/// Whether the position of a table says how many changes are applied to it, and not how far its source was
/// read.
pub fn is_applied(position: &Position) -> bool {
    Applied::of(position).is_some()
}

/// How far the source of a table was read, whether its changes are kept in a table of their own or not;
/// `None`: it was not, or nobody knows any more.
pub fn source_position(base: &Snapshot, relation: &RelationName) -> Option<Position> {
    match State::of(base, relation) {
        Ok(State::Follows { log, .. }) => Some(log.log),
        Ok(State::Begins { since, .. }) => Some(since),
        Ok(State::Absent) | Err(_) => {
            base.get(relation)?.position.clone().filter(|position| !is_applied(position))
        }
    }
}

/// Whether there are changes that are not applied to the table yet.
pub fn is_behind(base: &Snapshot, relation: &RelationName) -> bool {
    matches!(State::of(base, relation), Ok(State::Follows { log, applied }) if log.last > applied)
}

/// Whether the table was read as a whole, so that its changes can be kept.
pub fn is_begun(base: &Snapshot, relation: &RelationName) -> bool {
    !matches!(State::of(base, relation), Ok(State::Absent))
}

/// Whether the table may be loaded without its changes being kept.
///
/// # Errors
/// Kind `Config` when they were kept until now, and would be left out.
pub(crate) fn check(spec: &LoadSpec) -> Result<()> {
    let position = spec.base.get(&spec.relation).and_then(|table| table.position.as_ref());
    if spec.full_refresh || !position.is_some_and(is_applied) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        "the changes of the table were kept in a table of their own until now (`changes: true`), and not \
         all of them may be applied to it; put the setting back, or load the table again as a whole with \
         --full-refresh",
    )
    .with("table", &spec.relation))
}

/// The table of changes and the view as they are as long as there are no changes, of a table that is read for
/// the first time and has these columns; `None` where they are there.
pub(crate) fn begun(
    spec: &LoadSpec,
    table: &SchemaRef,
) -> Result<Option<(RelationName, SchemaRef, PublishChange)>> {
    let relation = changes_relation(&spec.relation);
    if spec.base.get(&relation).is_some() {
        return Ok(None);
    }
    let schema = with_own(table)?;
    let view = fresh::view(spec, table, &schema, BEGINS);
    Ok(Some((relation, schema, view)))
}

/// The columns of a table of changes, for a table with these.
fn with_own(schema: &SchemaRef) -> Result<SchemaRef> {
    let mut fields: Vec<Arc<Field>> = vec![
        Arc::new(Field::new(NUMBER, DataType::Int64, false)),
        Arc::new(Field::new(KIND, DataType::Utf8, false)),
        Arc::new(Field::new(
            COMMITTED,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        )),
    ];
    for field in schema.fields() {
        if is_own(field.name()) {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the table has a column `{}`, which a table of changes needs for itself; leave it out \
                     (`exclude`), or do without `changes`",
                    field.name()
                ),
            ));
        }
        fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn is_own(name: &str) -> bool {
    [NUMBER, KIND, COMMITTED].contains(&name)
}

/// The columns of the table itself.
fn without_own(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().filter(|field| !is_own(field.name())).cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A change of the whole table.
fn mark(schema: &SchemaRef, number: i64, kind: &str) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                NUMBER => Arc::new(Int64Array::from(vec![number])),
                KIND => Arc::new(StringArray::from(vec![kind])),
                COMMITTED => Arc::new(
                    TimestampMicrosecondArray::from(vec![None::<i64>]).with_timezone("UTC"),
                ),
                _ => arrow::array::new_null_array(field.data_type(), 1),
            }
        })
        .collect();
    RecordBatch::try_new(schema.clone(), columns)
        .or_error(ErrorKind::Internal, "a change of a whole table cannot be written")
}

/// A column of a table of changes.
fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<T>());
    column.ok_or_else(|| {
        Error::new(ErrorKind::Data, "a table of changes does not have one of its columns")
            .with("column", name)
    })
}

/// The row by which a table that is read again as a whole is told from its changes until then, where
/// changes were kept before.
pub(crate) fn mark_of_refresh(
    base: &Snapshot,
    relation: &RelationName,
) -> Result<Option<(RelationName, RecordBatch)>> {
    let changes = changes_relation(relation);
    let Some(found) = base.get(&changes) else { return Ok(None) };
    let Some(position) = &found.position else { return Ok(None) };
    let Ok(log) = serde_json::from_value::<Log>(position.0.clone()) else { return Ok(None) };
    Ok(Some((changes, mark(&found.schema, log.last + 1, SNAPSHOT)?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn positions_are_told_apart() {
        let applied = Position(json!({"changes_applied": 7}));
        assert_eq!(Applied::of(&applied), Some(Applied { changes_applied: 7 }));
        assert!(is_applied(&applied));
        for other in [json!({"log": {"lsn": "0/1"}}), json!({"changes_applied": 7, "more": 1})] {
            assert!(!is_applied(&Position(other)));
        }
    }
}

//! Incremental reads by a cursor: a column whose value grows with every change.
//!
//! What is new is what has a value **not smaller** than the largest one read so far: rows that share
//! the largest value and were committed later are not missed. Of the rows that share it, those that
//! were read already are known by a hash, so that an append does not double them, and a merge to which
//! nothing new came has nothing to do.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use serde::{Deserialize, Serialize};
use tidemill_core::{Error, ErrorKind, Position, Result, ResultExt, display_value};
use xxhash_rust::xxh3::Xxh3;

use super::settings::Lookback;

/// How many rows may share the largest value when they have to be known one by one.
const MOST_TIES: usize = 50_000;

/// 9999-12-31, in days since 1970-01-01.
const LAST_DAY: i32 = 2_932_896;

/// A value of a cursor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub(crate) enum CursorValue {
    /// A whole number.
    Integer(i64),
    /// A decimal: the unscaled number and its scale.
    #[serde(with = "decimal")]
    Decimal(i128, i8),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01 on a clock without a zone.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 UTC.
    Instant(i64),
    /// What the database orders as text, as it gives it.
    Text(String),
}

/// A decimal as text, as JSON numbers are too short for it.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        number: &i128,
        scale: &i8,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number}e-{scale}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<(i128, i8), D::Error> {
        let text = String::deserialize(deserializer)?;
        text.split_once("e-")
            .and_then(|(number, scale)| Some((number.parse().ok()?, scale.parse().ok()?)))
            .ok_or_else(|| serde::de::Error::custom("not a decimal"))
    }
}

/// A decimal as digits with a point; nothing else is exact everywhere.
pub(crate) fn decimal_text(value: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    match fraction {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

impl CursorValue {
    /// Whether it is what stands for `infinity`: the last day of the year 9999, or later.
    fn is_last(&self) -> bool {
        match self {
            CursorValue::Date(days) => *days >= LAST_DAY,
            CursorValue::Timestamp(micros) | CursorValue::Instant(micros) => {
                *micros >= (i64::from(LAST_DAY) + 1) * 86_400_000_000 - 1
            }
            _ => false,
        }
    }

    /// The value so far behind this one.
    pub(crate) fn behind(&self, lookback: Lookback) -> Result<CursorValue> {
        let wrong = |expected: &str| {
            Error::new(
                ErrorKind::Config,
                format!("`lookback` must be {expected}, as the cursor's values are such"),
            )
        };
        Ok(match (self, lookback) {
            (CursorValue::Integer(value), Lookback::Number(by)) => {
                CursorValue::Integer(value.saturating_sub_unsigned(by))
            }
            (CursorValue::Decimal(value, scale), Lookback::Number(by)) => {
                let unit = 10i128.saturating_pow(u32::from(scale.unsigned_abs()));
                CursorValue::Decimal(
                    value.saturating_sub(i128::from(by).saturating_mul(unit)),
                    *scale,
                )
            }
            (CursorValue::Date(value), Lookback::Number(by)) => {
                CursorValue::Date(value.saturating_sub(i32::try_from(by).unwrap_or(i32::MAX)))
            }
            (CursorValue::Date(value), Lookback::Time(by)) => {
                // A part of a day is a day.
                let days = by.div_euclid(86_400_000_000) + i64::from(by % 86_400_000_000 != 0);
                CursorValue::Date(value.saturating_sub(i32::try_from(days).unwrap_or(i32::MAX)))
            }
            (CursorValue::Timestamp(value), Lookback::Time(by)) => {
                CursorValue::Timestamp(value.saturating_sub(by))
            }
            (CursorValue::Instant(value), Lookback::Time(by)) => {
                CursorValue::Instant(value.saturating_sub(by))
            }
            (CursorValue::Integer(_) | CursorValue::Decimal(..), Lookback::Time(_)) => {
                return Err(wrong("a number"));
            }
            (CursorValue::Timestamp(_) | CursorValue::Instant(_), Lookback::Number(_)) => {
                return Err(wrong("a time such as `15 minutes`"));
            }
            (CursorValue::Text(_), _) => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "`lookback` needs a cursor of numbers, dates or times; this one is text",
                ));
            }
        })
    }
}

/// How far a table was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TablePosition {
    /// What it was read from: the position of another table says nothing.
    pub(crate) from: String,
    /// Where in the log of changes, when that is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<serde_json::Value>,
    /// The column.
    pub(crate) column: Option<String>,
    /// Its largest value; `None` before the first row.
    pub(crate) value: Option<CursorValue>,
    /// The rows that have it, by hash, and how many of each.
    pub(crate) ties: HashMap<String, u32>,
    /// The columns that the hashes were made of.
    pub(crate) hashed: Vec<String>,
}

impl TablePosition {
    pub(crate) fn parse(position: Option<&Position>) -> Result<TablePosition> {
        let Some(position) = position else { return Ok(TablePosition::default()) };
        serde_json::from_value(position.0.clone()).or_error(
            ErrorKind::Data,
            "the position of the last load is not one of a database table",
        )
    }

    pub(crate) fn to_position(&self) -> Result<Position> {
        serde_json::to_value(self)
            .map(Position)
            .or_error(ErrorKind::Internal, "a position could not be written")
    }
}

/// How the values of a cursor are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// By their value, as here.
    Value,
    /// By rules of the database alone (texts have collations): it gives the largest one.
    Database,
}

/// The cursor's values in a batch, in a form in which they can be compared.
pub(crate) enum Values {
    Integer(ArrayRef),
    Decimal(ArrayRef, i8),
    Date(ArrayRef),
    Timestamp(ArrayRef, bool),
    Text(ArrayRef),
}

impl Values {
    pub(crate) fn new(column: &ArrayRef, order: Order, name: &str) -> Result<Values> {
        let to =
            |data_type| cast(column, &data_type).or_error(ErrorKind::Internal, "a cursor's cast");
        if order == Order::Database {
            return Ok(Values::Text(to(DataType::Utf8)?));
        }
        Ok(match column.data_type() {
            kind if kind.is_integer() => Values::Integer(to(DataType::Int64)?),
            DataType::Decimal128(_, scale) => Values::Decimal(column.clone(), *scale),
            DataType::Date32 => Values::Date(to(DataType::Int64)?),
            DataType::Timestamp(_, zone) => {
                let zoned = zone.is_some();
                let micros = to(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                Values::Timestamp(micros, zoned)
            }
            other => {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "`cursor: {name}` is {other}; a cursor's values must have an exact order: \
                         whole numbers, decimals, dates, times or text"
                    ),
                ));
            }
        })
    }

    pub(crate) fn array(&self) -> &ArrayRef {
        match self {
            Values::Integer(array)
            | Values::Decimal(array, _)
            | Values::Date(array)
            | Values::Timestamp(array, _)
            | Values::Text(array) => array,
        }
    }

    /// The value of a row that is not NULL.
    pub(crate) fn get(&self, row: usize) -> CursorValue {
        match self {
            Values::Integer(array) => {
                CursorValue::Integer(array.as_primitive::<Int64Type>().value(row))
            }
            Values::Decimal(array, scale) => {
                CursorValue::Decimal(array.as_primitive::<Decimal128Type>().value(row), *scale)
            }
            Values::Date(array) => {
                let days = array.as_primitive::<Int64Type>().value(row);
                CursorValue::Date(i32::try_from(days).unwrap_or(i32::MAX))
            }
            Values::Timestamp(array, zoned) => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                if *zoned { CursorValue::Instant(micros) } else { CursorValue::Timestamp(micros) }
            }
            Values::Text(array) => {
                CursorValue::Text(array.as_string::<i32>().value(row).to_owned())
            }
        }
    }

    /// The largest value, by ours.
    fn largest(&self) -> Option<CursorValue> {
        let array = self.array();
        (0..array.len()).filter(|row| array.is_valid(*row)).map(|row| self.get(row)).max()
    }
}

/// What the rows that share the largest value are remembered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ties {
    /// One that came before must not come again.
    Exact,
    /// One that comes again does no harm; that it is the same saves work.
    Saving,
    /// They are not remembered.
    Forgotten,
}

/// Follows the largest value through a read, and leaves out what was read before.
pub(crate) struct Tracker {
    /// What was read before.
    before: TablePosition,
    /// The rows with the old largest value that have not come again yet.
    waiting: HashMap<String, u32>,
    ties: Ties,
    /// The columns that make a hash, by their place.
    hashed: Vec<usize>,
    now: TablePosition,
    /// The largest value as the database says, when it orders.
    given: Option<CursorValue>,
}

impl Tracker {
    /// `columns` are the names of the batches' columns; `key` tells rows apart, else all of them do.
    pub(crate) fn new(
        before: TablePosition,
        from: &str,
        cursor: &str,
        columns: &[String],
        key: &[String],
        ties: Ties,
        given: Option<CursorValue>,
    ) -> Self {
        let names: Vec<String> = if !before.hashed.is_empty() && !before.ties.is_empty() {
            // As before, where these columns are still there: the hashes have to agree.
            before.hashed.clone()
        } else if key.is_empty() {
            columns.to_vec()
        } else {
            key.to_vec()
        };
        let hashed: Vec<usize> = names
            .iter()
            .filter_map(|name| columns.iter().position(|column| column == name))
            .collect();
        let now = TablePosition {
            log: None,
            from: from.to_owned(),
            column: Some(cursor.to_owned()),
            value: given.clone(),
            ties: HashMap::new(),
            hashed: names,
        };
        Tracker { waiting: before.ties.clone(), before, ties, hashed, now, given }
    }

    /// Which rows of the batch are new; `None`: all.
    ///
    /// # Errors
    /// Kind `Data` when too many rows share the largest value, or nothing can be larger than it.
    pub(crate) fn take(
        &mut self,
        batch: &RecordBatch,
        values: &Values,
    ) -> Result<Option<BooleanArray>> {
        if self.given.is_none()
            && let Some(largest) = values.largest()
            && self.now.value.as_ref().is_none_or(|known| *known < largest)
        {
            if largest.is_last() {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!(
                        "the largest value of the cursor `{}` is the end of time, so that nothing \
                         could be new after it; leave such rows out with `where`",
                        self.now.column.as_deref().unwrap_or_default()
                    ),
                ));
            }
            self.now.value = Some(largest);
            self.now.ties.clear();
        }
        if self.ties == Ties::Forgotten {
            return Ok(None);
        }
        let array = values.array();
        let mut keep = vec![true; batch.num_rows()];
        let mut dropped = false;
        for (row, keep) in keep.iter_mut().enumerate() {
            if array.is_null(row) {
                continue;
            }
            let value = values.get(row);
            let (old, new) = (
                self.before.value.as_ref() == Some(&value),
                self.now.value.as_ref() == Some(&value),
            );
            if !old && !new {
                continue;
            }
            let hash = self.hash(batch, row);
            if new {
                *self.now.ties.entry(hash.clone()).or_default() += 1;
                if self.now.ties.len() > MOST_TIES {
                    if self.ties == Ties::Saving {
                        self.ties = Ties::Forgotten;
                        self.now.ties.clear();
                        return Ok(None);
                    }
                    return Err(Error::new(
                        ErrorKind::Data,
                        format!(
                            "more than {MOST_TIES} rows share the largest value of the cursor, too many \
                             to know those that were read; use `mode: merge` with a `primary_key`"
                        ),
                    ));
                }
            }
            if old
                && let Some(count) = self.waiting.get_mut(&hash)
                && *count > 0
            {
                *count -= 1;
                *keep = false;
                dropped = true;
            }
        }
        Ok(dropped.then(|| BooleanArray::from(keep)))
    }

    fn hash(&self, batch: &RecordBatch, row: usize) -> String {
        let mut hash = Xxh3::new();
        for at in &self.hashed {
            let column = batch.column(*at);
            if column.is_null(row) {
                hash.update(&[0]);
                continue;
            }
            let text = display_value(column, row);
            hash.update(&[1]);
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        format!("{:032x}", hash.digest128())
    }

    /// Where the next read begins.
    pub(crate) fn finish(mut self) -> TablePosition {
        if self.now.value.is_none() || self.now.value < self.before.value && self.given.is_none() {
            // Nothing was read, or nothing but what lies before.
            self.now.value = self.before.value;
            self.now.ties = self.before.ties;
            self.now.hashed = self.before.hashed;
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: &[(i64, &str)]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("at", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
        ]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
            ],
        )
        .unwrap()
    }

    /// One load of a table that has these rows; gives the names that were new.
    fn load(position: &mut TablePosition, rows: &[(i64, &str)], batch_rows: usize) -> Vec<String> {
        let from = position.value.clone();
        let seen: Vec<(i64, &str)> = rows
            .iter()
            .filter(|row| from.as_ref().is_none_or(|from| CursorValue::Integer(row.0) >= *from))
            .copied()
            .collect();
        let names = ["at".to_owned(), "name".to_owned()];
        let mut tracker = Tracker::new(position.clone(), "t", "at", &names, &[], Ties::Exact, None);
        let mut new = Vec::new();
        for rows in seen.chunks(batch_rows.max(1)) {
            let batch = batch(rows);
            let values = Values::new(batch.column(0), Order::Value, "at").unwrap();
            let keep = tracker.take(&batch, &values).unwrap();
            let kept = match keep {
                Some(keep) => arrow::compute::filter_record_batch(&batch, &keep).unwrap(),
                None => batch,
            };
            let names = kept.column(1).as_string::<i32>();
            new.extend(names.iter().flatten().map(str::to_owned));
        }
        let written = tracker.finish().to_position().unwrap();
        *position = TablePosition::parse(Some(&written)).unwrap();
        new
    }

    #[test]
    fn rows_that_share_the_largest_value_come_once() {
        let mut position = TablePosition::default();
        assert_eq!(load(&mut position, &[(1, "a"), (2, "b")], 8), ["a", "b"]);
        assert_eq!(load(&mut position, &[(1, "a"), (2, "b")], 8), [""; 0]);
        // Late, with the value that was the largest; and a row that equals one that was read.
        assert_eq!(load(&mut position, &[(2, "b"), (2, "c"), (2, "b")], 1), ["c", "b"]);
        assert_eq!(load(&mut position, &[(2, "c"), (2, "b"), (2, "b"), (3, "b")], 2), ["b"]);
        assert_eq!(load(&mut position, &[], 2), [""; 0]);
        assert_eq!(load(&mut position, &[(3, "b"), (4, "z")], 2), ["z"]);
    }

    proptest! {
        /// Rows only come, never with a value below the largest: every row comes exactly once.
        #[test]
        fn appended_rows_come_exactly_once(
            steps in prop::collection::vec(prop::collection::vec((0i64..3, 0u8..3), 0..6), 1..8),
            batch_rows in 1usize..4,
        ) {
            let mut position = TablePosition::default();
            let mut table: Vec<(i64, String)> = Vec::new();
            let mut base = 0;
            let mut read = Vec::new();
            for step in steps {
                for (ahead, name) in step {
                    table.push((base + ahead, name.to_string()));
                }
                let rows: Vec<(i64, &str)> =
                    table.iter().map(|row| (row.0, row.1.as_str())).collect();
                read.extend(load(&mut position, &rows, batch_rows));
                base = table.iter().map(|row| row.0).max().unwrap_or(0);
            }
            let mut all: Vec<String> = table.into_iter().map(|row| row.1).collect();
            all.sort();
            read.sort();
            prop_assert_eq!(read, all);
        }
    }

    #[test]
    fn positions_keep_their_values() {
        for value in [
            CursorValue::Integer(i64::MAX),
            CursorValue::Decimal(-12_345_678_901_234_567_890, 2),
            CursorValue::Date(-1),
            CursorValue::Timestamp(1),
            CursorValue::Instant(2),
            CursorValue::Text("'; --".to_owned()),
        ] {
            let position = TablePosition { value: Some(value), ..TablePosition::default() };
            let written = position.to_position().unwrap();
            assert_eq!(TablePosition::parse(Some(&written)).unwrap(), position);
        }
    }

    #[test]
    fn lookbacks_need_their_kind_of_cursor() {
        let hour = Lookback::Time(3_600_000_000);
        assert_eq!(CursorValue::Date(10).behind(hour).unwrap(), CursorValue::Date(9));
        assert_eq!(
            CursorValue::Decimal(1050, 2).behind(Lookback::Number(3)).unwrap(),
            CursorValue::Decimal(750, 2)
        );
        assert!(CursorValue::Integer(1).behind(hour).is_err());
        assert!(CursorValue::Timestamp(1).behind(Lookback::Number(1)).is_err());
        assert!(CursorValue::Text("a".to_owned()).behind(hour).is_err());
    }
}

//! Rows of messages: the columns of their bodies beside those of what the queue knows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result, ResultExt, changes, row_as_json};

use super::envelope::Envelope;
use super::metadata::MetaColumn;
use crate::files::rejected_schema;
use crate::tables::{declared_field, fit};

/// The columns of a table of a queue.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    metadata: Arc<Vec<MetaColumn>>,
    /// As the messages have them.
    plain: SchemaRef,
    /// As the project declares them.
    pub(super) schema: SchemaRef,
    /// A message without a body is the end of the row with its key.
    deletes: bool,
}

/// A message that cannot be read.
pub(super) struct Refused {
    pub(super) place: (String, i64),
    pub(super) reason: String,
    pub(super) raw: String,
}

/// What a batch of messages came to.
pub(super) struct Taken {
    pub(super) rows: Option<RecordBatch>,
    pub(super) refused: Vec<Refused>,
}

impl Rows {
    /// The columns of bodies, and behind them the others.
    ///
    /// # Errors
    /// Kind `Config` where two have one name, or a type is declared that a column cannot have.
    pub(super) fn new(
        body: &[Arc<Field>],
        metadata: &Arc<Vec<MetaColumn>>,
        declared: &[Field],
        deletes: bool,
    ) -> Result<Rows> {
        for column in metadata.iter() {
            if body.iter().any(|field| *field.name() == column.name) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "the messages have a field `{0}` themselves; give the column of the queue another name by \
                         `metadata` (`metadata: {{{1}: kafka_{1}, …}}`) or `key_column`, or leave it out",
                        column.name,
                        column.name.trim_start_matches('_'),
                    ),
                ));
            }
        }
        let fields = body.iter().map(|field| field.as_ref().clone());
        let fields: Vec<Field> = fields.chain(metadata.iter().map(MetaColumn::field)).collect();
        let wanted = fields.iter().map(|field| declared_field(field, declared));
        let wanted: Vec<Field> = wanted.collect::<Result<_>>()?;
        Ok(Rows {
            metadata: Arc::clone(metadata),
            plain: Arc::new(Schema::new(fields)),
            schema: Arc::new(Schema::new(wanted)),
            deletes,
        })
    }

    /// The rows of messages, whose bodies became these columns; `bad` are those that did not.
    pub(super) fn take(
        &self,
        body: Vec<ArrayRef>,
        messages: &[Envelope],
        mut bad: Vec<(usize, String)>,
    ) -> Result<Taken> {
        let mut columns = body;
        for column in self.metadata.iter() {
            let (values, refused) = column.values(messages);
            columns.push(values);
            bad.extend(refused);
        }
        let malformed = "rows of messages cannot be put together";
        let options = RecordBatchOptions::new().with_row_count(Some(messages.len()));
        let plain = RecordBatch::try_new_with_options(self.plain.clone(), columns, &options)
            .or_error(ErrorKind::Internal, malformed)?;
        let (mut rows, misfits) = fit(&plain, &self.schema)?;
        bad.extend(misfits);
        bad.sort_by_key(|(row, _)| *row);
        bad.dedup_by_key(|(row, _)| *row);
        let mut keep = vec![true; messages.len()];
        let mut refused = Vec::with_capacity(bad.len());
        for (row, reason) in bad {
            keep[row] = false;
            let raw = match &messages[row].message.value {
                Some(value) => crate::files::raw_text(value),
                None => Value::Object(row_as_json(&plain, row)).to_string(),
            };
            refused.push(Refused { place: messages[row].place(), reason, raw });
        }
        if self.deletes {
            let gone: BooleanArray =
                messages.iter().map(|envelope| Some(envelope.tombstone)).collect();
            let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
            fields.push(Arc::new(Field::new(changes::GONE, DataType::Boolean, false)));
            let mut columns = rows.columns().to_vec();
            columns.push(Arc::new(gone));
            let schema = Arc::new(Schema::new(fields));
            rows = RecordBatch::try_new_with_options(schema, columns, &options)
                .or_error(ErrorKind::Internal, malformed)?;
        }
        if !refused.is_empty() {
            rows = filter_record_batch(&rows, &BooleanArray::from(keep))
                .or_error(ErrorKind::Internal, malformed)?;
        }
        Ok(Taken { rows: Some(rows).filter(|rows| rows.num_rows() > 0), refused })
    }
}

/// Messages as rejected rows; `None` of none.
pub(super) fn rejected(refused: &[Refused]) -> Result<Option<RecordBatch>> {
    if refused.is_empty() {
        return Ok(None);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(refused.iter().map(|row| &row.place.0))),
        Arc::new(Int64Array::from_iter_values(refused.iter().map(|row| row.place.1))),
        Arc::new(StringArray::from_iter_values(refused.iter().map(|row| &row.reason))),
        Arc::new(StringArray::from_iter_values(refused.iter().map(|row| &row.raw))),
    ];
    RecordBatch::try_new(rejected_schema(), columns)
        .map(Some)
        .or_error(ErrorKind::Internal, "a batch of rejected rows is malformed")
}

//! Rows that come one by one, on their way to batches.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Schema};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::{Misfit, Part};

/// A batch ends with this many rows, or bytes.
const BATCH_ROWS: usize = 16_384;
const BATCH_BYTES: usize = 2 << 20;

/// Takes the values of one column and gives its array.
pub(crate) enum Builder {
    Boolean(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    /// With its digits, and those behind the point.
    Decimal(Decimal128Builder, u8, i8),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

/// How the values of a database go into a column.
pub(crate) trait Put<V> {
    /// Takes one value; gives its bytes, about.
    ///
    /// # Errors
    /// The reason, when it has no place in the column; then nothing was taken.
    fn put(&mut self, value: V) -> Result<usize, String>;
}

impl Builder {
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Boolean => Builder::Boolean(BooleanBuilder::new()),
            DataType::Int16 => Builder::Int16(Int16Builder::new()),
            DataType::Int32 => Builder::Int32(Int32Builder::new()),
            DataType::Int64 => Builder::Int64(Int64Builder::new()),
            DataType::Float32 => Builder::Float32(Float32Builder::new()),
            DataType::Float64 => Builder::Float64(Float64Builder::new()),
            DataType::Decimal128(precision, scale) => Builder::Decimal(
                Decimal128Builder::new().with_data_type(data_type.clone()),
                *precision,
                *scale,
            ),
            DataType::Utf8 => Builder::Text(StringBuilder::new()),
            DataType::Binary => Builder::Binary(BinaryBuilder::new()),
            DataType::Date32 => Builder::Date(Date32Builder::new()),
            DataType::Timestamp(..) => Builder::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()),
            ),
            other => {
                let message = format!("a value of a database cannot be a {other}");
                return Err(Error::new(ErrorKind::Internal, message));
            }
        })
    }

    pub(crate) fn null(&mut self) {
        match self {
            Builder::Boolean(values) => values.append_null(),
            Builder::Int16(values) => values.append_null(),
            Builder::Int32(values) => values.append_null(),
            Builder::Int64(values) => values.append_null(),
            Builder::Float32(values) => values.append_null(),
            Builder::Float64(values) => values.append_null(),
            Builder::Decimal(values, ..) => values.append_null(),
            Builder::Text(values) => values.append_null(),
            Builder::Binary(values) => values.append_null(),
            Builder::Date(values) => values.append_null(),
            Builder::Timestamp(values) => values.append_null(),
        }
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Boolean(values) => Arc::new(values.finish()),
            Builder::Int16(values) => Arc::new(values.finish()),
            Builder::Int32(values) => Arc::new(values.finish()),
            Builder::Int64(values) => Arc::new(values.finish()),
            Builder::Float32(values) => Arc::new(values.finish()),
            Builder::Float64(values) => Arc::new(values.finish()),
            Builder::Decimal(values, ..) => Arc::new(values.finish()),
            Builder::Text(values) => Arc::new(values.finish()),
            Builder::Binary(values) => Arc::new(values.finish()),
            Builder::Date(values) => Arc::new(values.finish()),
            Builder::Timestamp(values) => Arc::new(values.finish()),
        }
    }
}

/// Rows on their way to a batch.
pub(crate) struct Batch {
    schema: Arc<Schema>,
    builders: Vec<Builder>,
    misfits: Vec<Misfit>,
    limit: usize,
    rows: usize,
    bytes: usize,
}

impl Batch {
    /// `limit` is how many rows it has at most, where that is said.
    pub(crate) fn new(schema: Arc<Schema>, limit: Option<usize>) -> Result<Self> {
        let builders = schema.fields().iter().map(|field| Builder::new(field.data_type()));
        let builders = builders.collect::<Result<Vec<_>>>()?;
        let limit = limit.unwrap_or(BATCH_ROWS);
        Ok(Batch { schema, builders, misfits: Vec::new(), limit, rows: 0, bytes: 0 })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows >= self.limit || self.bytes >= BATCH_BYTES
    }

    /// Takes a row.
    pub(crate) fn take<V>(&mut self, values: impl ExactSizeIterator<Item = V>) -> Result<()>
    where
        Builder: Put<V>,
    {
        if values.len() != self.builders.len() {
            return Err(Error::new(
                ErrorKind::Internal,
                "a row does not have the columns that were described",
            ));
        }
        for (at, (builder, value)) in self.builders.iter_mut().zip(values).enumerate() {
            match builder.put(value) {
                Ok(bytes) => self.bytes += bytes,
                Err(reason) => {
                    builder.null();
                    let field = self.schema.field(at);
                    let reason =
                        format!("`{}` is a {}, and {reason}", field.name(), field.data_type());
                    self.misfits.push(Misfit { row: self.rows, reason });
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// What was taken since the last time.
    pub(crate) fn finish(&mut self) -> Result<Option<Part>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .or_error(ErrorKind::Internal, "rows do not make a batch")?;
        Ok(Some(Part::Rows(batch, std::mem::take(&mut self.misfits))))
    }
}

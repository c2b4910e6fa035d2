//! Rows of a binary `COPY … to stdout`, as batches.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use bytes::{Buf, Bytes, BytesMut};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use crate::postgres::{Decoder, Encoding};
use crate::tables::{Misfit, Part};

/// A batch ends with this many bytes of the wire.
const BATCH_BYTES: usize = 2 << 20;

/// And with this many rows.
const BATCH_ROWS: usize = 16_384;

/// What a binary `COPY` begins with, before its flags and the length of an extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The names of the columns, and how they are decoded.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) schema: SchemaRef,
    pub(super) encodings: Vec<Encoding>,
}

/// Takes the data of `COPY`s, one after the other, and gives batches. Batches go over from one
/// `COPY` to the next.
pub(super) struct Rows {
    layout: Arc<Layout>,
    decoders: Vec<Decoder>,
    /// Where the values of a row are; kept so that it is not allocated for each.
    values: Vec<Option<Range<usize>>>,
    /// What came of a row that is not whole: a server sends whole rows, and need not.
    part: BytesMut,
    /// The header of this `COPY` is still to come.
    begins: bool,
    limit: usize,
    rows: usize,
    bytes: usize,
    misfits: Vec<Misfit>,
}

impl Rows {
    pub(super) fn new(layout: Arc<Layout>, batch_rows: Option<usize>) -> Self {
        let decoders = layout.encodings.iter().map(Decoder::new).collect();
        Rows {
            values: Vec::with_capacity(layout.encodings.len()),
            layout,
            decoders,
            part: BytesMut::new(),
            begins: true,
            limit: batch_rows.unwrap_or(BATCH_ROWS),
            rows: 0,
            bytes: 0,
            misfits: Vec::new(),
        }
    }

    /// The data of another `COPY` follow.
    pub(super) fn begin(&mut self) {
        self.begins = true;
        self.part.clear();
    }

    /// Takes data of the `COPY`; gives a batch when one is full.
    pub(super) fn take(&mut self, data: &Bytes) -> Result<Option<Part>> {
        if self.part.is_empty() {
            let taken = self.take_rows(data)?;
            if taken < data.len() {
                self.part.extend_from_slice(&data[taken..]);
            }
        } else {
            let mut part = std::mem::take(&mut self.part);
            part.extend_from_slice(data);
            let taken = self.take_rows(&part)?;
            self.part = part.split_off(taken);
        }
        match self.rows >= self.limit || self.bytes >= BATCH_BYTES {
            true => self.finish(),
            false => Ok(None),
        }
    }

    /// The rows that wait for a batch to be full.
    pub(super) fn finish(&mut self) -> Result<Option<Part>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let arrays = self.decoders.iter_mut().map(Decoder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        let schema = self.layout.schema.clone();
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)
            .or_error(ErrorKind::Internal, "rows do not make a batch")?;
        Ok(Some(Part::Rows(batch, std::mem::take(&mut self.misfits))))
    }

    /// Takes all whole rows; gives how many bytes they had.
    fn take_rows(&mut self, data: &[u8]) -> Result<usize> {
        let mut at = 0;
        if self.begins {
            let Some(header) = header(data)? else { return Ok(0) };
            at = header;
            self.begins = false;
        }
        while let Some(end) = self.row(data, at)? {
            self.bytes += end - at;
            at = end;
        }
        Ok(at)
    }

    /// Takes the row that begins at `at`; gives its end, unless it is not whole.
    fn row(&mut self, data: &[u8], at: usize) -> Result<Option<usize>> {
        let Some(count) = data.get(at..at + 2) else { return Ok(None) };
        let count = i16::from_be_bytes([count[0], count[1]]);
        let mut place = at + 2;
        // The end of the data.
        if count == -1 {
            return Ok(None);
        }
        if usize::try_from(count).ok() != Some(self.decoders.len()) {
            return Err(Error::new(
                ErrorKind::Internal,
                "a row does not have the columns that were described",
            ));
        }
        self.values.clear();
        for _ in 0..self.decoders.len() {
            let Some(length) = data.get(place..place + 4) else { return Ok(None) };
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            place += 4;
            match usize::try_from(length) {
                Ok(length) => {
                    self.values.push(Some(place..place + length));
                    place += length;
                    if place > data.len() {
                        return Ok(None);
                    }
                }
                Err(_) => self.values.push(None),
            }
        }
        for (column, (decoder, value)) in self.decoders.iter_mut().zip(&self.values).enumerate() {
            let value = value.as_ref().map(|value| &data[value.clone()]);
            if let Err(error) = decoder.push(value) {
                let name = self.layout.schema.field(column).name();
                if error.kind() != ErrorKind::Data {
                    return Err(error.with("column", name));
                }
                decoder.refuse();
                let kind = self.layout.schema.field(column).data_type();
                let reason = format!(
                    "`{name}` is a {kind}, and {}; declared as text (`data_type: text`) it has room",
                    error.message()
                );
                self.misfits.push(Misfit { row: self.rows, reason });
            }
        }
        self.rows += 1;
        Ok(Some(place))
    }
}

/// Takes the data of a `COPY` of one column, and gives its values; a NULL has none.
pub(super) struct CopyFields {
    part: BytesMut,
    begins: bool,
}

impl CopyFields {
    pub(super) fn new() -> Self {
        CopyFields { part: BytesMut::new(), begins: true }
    }

    pub(super) fn take(
        &mut self,
        data: &Bytes,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.part.extend_from_slice(data);
        let mut at = 0;
        if self.begins {
            let Some(header) = header(&self.part)? else { return Ok(()) };
            at = header;
            self.begins = false;
        }
        while let Some(&[0, 1, a, b, c, d]) = self.part.get(at..at + 6) {
            let Ok(length) = usize::try_from(i32::from_be_bytes([a, b, c, d])) else {
                at += 6;
                continue;
            };
            let Some(value) = self.part.get(at + 6..at + 6 + length) else { break };
            each(value)?;
            at += 6 + length;
        }
        self.part.advance(at);
        Ok(())
    }
}

/// The length of the header, when it is there whole.
fn header(data: &[u8]) -> Result<Option<usize>> {
    let fixed = SIGNATURE.len() + 8;
    if data.len() < fixed {
        return Ok(None);
    }
    if !data.starts_with(SIGNATURE) {
        return Err(Error::new(ErrorKind::Internal, "the server does not send a binary COPY"));
    }
    let extension = &data[SIGNATURE.len() + 4..fixed];
    let extension = u32::from_be_bytes([extension[0], extension[1], extension[2], extension[3]]);
    let end = fixed + extension as usize;
    Ok((data.len() >= end).then_some(end))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Field, Int32Type, Schema};

    use super::*;

    fn layout() -> Arc<Layout> {
        let encodings = vec![Encoding::Int4, Encoding::Text];
        let fields: Vec<Field> = ["a", "b"]
            .iter()
            .zip(&encodings)
            .map(|(name, encoding)| Field::new(*name, encoding.arrow(), true))
            .collect();
        Arc::new(Layout { schema: Arc::new(Schema::new(fields)), encodings })
    }

    fn data() -> Vec<u8> {
        let mut data = SIGNATURE.to_vec();
        // Flags, and an extension of three bytes.
        data.extend([0, 0, 0, 0, 0, 0, 0, 3, 9, 9, 9]);
        for (number, text) in [(1i32, Some("one")), (2, None), (3, Some(""))] {
            data.extend(2i16.to_be_bytes());
            data.extend(4i32.to_be_bytes());
            data.extend(number.to_be_bytes());
            match text {
                Some(text) => {
                    data.extend((text.len() as i32).to_be_bytes());
                    data.extend(text.as_bytes());
                }
                None => data.extend((-1i32).to_be_bytes()),
            }
        }
        data.extend((-1i16).to_be_bytes());
        data
    }

    #[test]
    fn rows_are_taken_however_they_are_cut() {
        for size in 1..=data().len() {
            let mut rows = Rows::new(layout(), None);
            // Two COPYs, one batch.
            for _ in 0..2 {
                rows.begin();
                for piece in data().chunks(size) {
                    assert!(rows.take(&Bytes::copy_from_slice(piece)).unwrap().is_none());
                }
            }
            let Some(Part::Rows(batch, misfits)) = rows.finish().unwrap() else { panic!() };
            assert!(misfits.is_empty());
            assert_eq!(batch.column(0).as_primitive::<Int32Type>().values(), &[1, 2, 3, 1, 2, 3]);
            let texts: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
            assert_eq!(texts[..3], [Some("one"), None, Some("")]);
            assert!(rows.finish().unwrap().is_none());
        }
    }

    #[test]
    fn batches_end_with_their_rows() {
        let mut rows = Rows::new(layout(), Some(3));
        let batch = rows.take(&Bytes::from(data())).unwrap();
        assert!(matches!(batch, Some(Part::Rows(batch, _)) if batch.num_rows() == 3));
        assert!(Rows::new(layout(), None).take(&Bytes::from_static(&[7; 30])).is_err());
    }
}

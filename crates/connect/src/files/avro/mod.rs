//! Avro object container files: they bring their schema, which becomes columns.
//!
//! Logical types stay what they are (decimals, dates, times in microseconds, UUIDs as text); records,
//! arrays and maps are nested; an enum is text; a union of `null` and one type is that type, and one of
//! several types the type that holds them all, or text (what is nested in JSON). A schema that is
//! no record is a table of one column `value`.

mod container;
mod schema;
pub(super) mod values;

use std::cell::Cell;
use std::io::BufReader;

use arrow::datatypes::SchemaRef;
use arrow_avro::reader::{Reader, ReaderBuilder};
use tidemill_core::{Error, ErrorKind, Result};

use super::format::Cut;
use super::input::{Input, TextEncoding};
use super::listing::FileEntry;
use super::opened::changed;
use super::settings::{NameStyle, Resolved};
use super::target::Target;
use super::typed;
use super::types::Types;
use container::Container;
pub(crate) use container::file_of;
pub(crate) use schema::readable;

/// An Avro file whose header was read.
#[derive(Debug)]
pub(crate) struct AvroFile {
    schema: SchemaRef,
    names: Vec<String>,
}

/// How much of a file is asked for at once.
const PART: usize = 256 << 10;

impl AvroFile {
    /// Reads the header and the first block.
    pub(crate) fn open(entry: &FileEntry, settings: &Resolved) -> Result<(AvroFile, Types)> {
        let mut input = input(entry, settings, false)?;
        let promised = Cell::new(0);
        let reader = opened(entry, &mut input, &promised)?;
        let schema = reader.schema();
        let style: NameStyle = settings.written.names;
        let names = typed::names_of(&schema, style);
        let simple = schema.fields().iter().map(|field| typed::simple(field));
        let types = typed::types_of(&schema, &names, simple.collect());
        Ok((AvroFile { schema, names }, types))
    }

    /// Reads the file batch by batch; `None` when nobody listens any more, else its hash.
    pub(crate) fn read(
        &self,
        entry: &FileEntry,
        settings: &Resolved,
        target: &Target,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<Option<String>> {
        let mut input = input(entry, settings, true)?;
        let promised = Cell::new(0);
        let mut delivered = 0;
        let reader = opened(entry, &mut input, &promised)?;
        if reader.schema() != self.schema {
            return Err(changed(entry));
        }
        for batch in reader {
            let batch = batch.map_err(|error| {
                let message = format!("the Avro file is damaged behind record {delivered}");
                Error::new(ErrorKind::Data, message).with("file", &entry.name).because(error)
            })?;
            delivered += batch.num_rows() as u64;
            let parsed = typed::convert(&batch, &self.names, target, |at, column| {
                typed::simplified(self.schema.field(at), column)
            });
            if !send(Cut::Parsed(parsed.map_err(|error| error.with("file", &entry.name))?)) {
                return Ok(None);
            }
        }
        if delivered != promised.get() {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "the Avro file is damaged: {delivered} of the {} records of its blocks can be read",
                    promised.get()
                ),
            )
            .with("file", &entry.name));
        }
        input.finish().map(Some)
    }
}

fn input(entry: &FileEntry, settings: &Resolved, hash: bool) -> Result<Input> {
    Input::open(&entry.place, &entry.name, settings.compression, TextEncoding::Utf8, hash)
}

/// A reader of batches. `promised` counts the records that the blocks say they have.
fn opened<'a>(
    entry: &FileEntry,
    input: &'a mut Input,
    promised: &'a Cell<u64>,
) -> Result<Reader<Container<'a, BufReader<&'a mut Input>>>> {
    let source = BufReader::with_capacity(PART, input);
    let container = Container::open(source, promised).map_err(|error| {
        Error::new(ErrorKind::Data, "not an Avro file, or a damaged one")
            .with("file", &entry.name)
            .because(error)
    })?;
    let rows = typed::rows_of_batch(container.record_bytes());
    ReaderBuilder::new().with_batch_size(rows).build(container).map_err(|error| {
        Error::new(ErrorKind::Data, "the schema of the Avro file cannot be read")
            .with("file", &entry.name)
            .because(error)
    })
}

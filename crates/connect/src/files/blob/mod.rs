//! Files as rows: each file of a folder, with its size, time, hash and kind, and by choice with its
//! content.
//!
//! A file that is new or has changed is read; nothing else is. What is no text that can be read
//! (pictures, PDF, office documents) has no text, and `content_problem` says so.

mod html;
mod media;

use std::io::Read;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tidemill_core::{ErrorKind, Result, ResultExt};

use super::format::Cut;
use super::input::{Compression, Input, TextEncoding};
use super::listing::FileEntry;
use super::place::cannot;
use super::settings::Resolved;
use super::target::Target;
use super::typed;
use super::types::Types;

/// What of the content becomes a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentSetting {
    /// Nothing.
    #[default]
    None,
    /// All of it, as it is.
    Bytes,
    /// The text, of plain text and HTML.
    Text,
}

/// The columns.
pub(crate) fn types(content: ContentSetting) -> Types {
    let schema = schema(content);
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let types = schema.fields().iter().map(|field| field.data_type().clone()).collect();
    typed::types_of(&schema, &names, types)
}

fn schema(content: ContentSetting) -> Schema {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let mut fields = vec![
        field("path", DataType::Utf8),
        field("size", DataType::Int64),
        field("modified", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("sha256", DataType::Utf8),
        field("media_type", DataType::Utf8),
    ];
    match content {
        ContentSetting::None => {}
        ContentSetting::Bytes => fields.push(field("content", DataType::Binary)),
        ContentSetting::Text => fields.push(field("text", DataType::Utf8)),
    }
    if content != ContentSetting::None {
        fields.push(field("content_problem", DataType::Utf8));
    }
    Schema::new(fields)
}

/// Reads a file as a row; `None` when nobody listens any more, else its hash.
pub(crate) fn read(
    entry: &FileEntry,
    settings: &Resolved,
    target: &Target,
    send: &mut dyn FnMut(Cut) -> bool,
) -> Result<Option<String>> {
    let failed = |error| cannot("cannot read the file", &entry.name, error);
    let setting = settings.written.content;
    // The file as it is, unless it is said that what it holds is meant.
    let compression = settings.compression.unwrap_or(Compression::None);
    let (place, name) = (&entry.place, &entry.name);
    let mut input = Input::open(place, name, Some(compression), TextEncoding::Utf8, true)?;
    let mut hash = Sha256::new();
    let mut content = Vec::new();
    let mut size = 0u64;
    let wanted = match setting {
        ContentSetting::None => media::HEAD as u64,
        _ => settings.max_content_bytes.max(media::HEAD as u64),
    };
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = input.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        if size < wanted {
            content.extend_from_slice(&buffer[..read]);
        }
        size += read as u64;
    }
    let media_type = media::type_of(name, &content);
    let too_large = (size > settings.max_content_bytes)
        .then(|| format!("larger than {} bytes (`max_content_bytes`)", settings.max_content_bytes));
    let (bytes, text, problem) = match (setting, too_large) {
        (ContentSetting::None, _) => (None, None, None),
        (_, Some(problem)) => (None, None, Some(problem)),
        (ContentSetting::Bytes, None) => (Some(content), None, None),
        (ContentSetting::Text, None) => match text_of(&content, media_type, settings.encoding) {
            Ok(text) => (None, Some(text), None),
            Err(problem) => (None, None, Some(problem)),
        },
    };
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let modified = TimestampMicrosecondArray::from(vec![entry.stamp.modified.div_euclid(1000)]);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![name.as_str()])),
        Arc::new(Int64Array::from(vec![i64::try_from(size).unwrap_or(i64::MAX)])),
        Arc::new(modified.with_timezone("UTC")),
        Arc::new(StringArray::from(vec![digest])),
        Arc::new(StringArray::from(vec![media_type])),
    ];
    match setting {
        ContentSetting::None => {}
        ContentSetting::Bytes => columns.push(Arc::new(BinaryArray::from(vec![bytes.as_deref()]))),
        ContentSetting::Text => columns.push(Arc::new(StringArray::from(vec![text]))),
    }
    if setting != ContentSetting::None {
        columns.push(Arc::new(StringArray::from(vec![problem])));
    }
    let schema = Arc::new(schema(setting));
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let batch = RecordBatch::try_new(schema, columns)
        .or_error(ErrorKind::Internal, "the row of a file is malformed")?;
    let parsed = typed::convert(&batch, &names, target, |_, column| Ok(Arc::clone(column)))?;
    if !send(Cut::Parsed(parsed)) {
        return Ok(None);
    }
    input.finish().map(Some)
}

/// The text of a file, or why it has none.
fn text_of(
    content: &[u8],
    media_type: &str,
    encoding: TextEncoding,
) -> std::result::Result<String, String> {
    if !media::is_text(media_type) {
        return Err(format!("no text is read of {media_type}"));
    }
    let is_html = matches!(media_type, "text/html" | "application/xhtml+xml");
    let encoding = match (encoding, html::charset(content).filter(|_| is_html)) {
        (TextEncoding::Auto, Some(name)) => TextEncoding::of_name(&name).unwrap_or(encoding),
        _ => encoding,
    };
    let text = encoding.decode(content).ok_or("bytes that are not UTF-8 (set `encoding`?)")?;
    Ok(if is_html { html::text(&text) } else { text })
}

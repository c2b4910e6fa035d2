//! What a file holds, by its first bytes, else by its name.

/// How many bytes are looked at.
pub(super) const HEAD: usize = 4096;

/// First bytes of formats that begin with their own mark.
const MARKS: [(&[u8], &str); 20] = [
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"Obj\x01", "application/vnd.apache.avro"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"\x7fELF", "application/x-executable"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
];

/// What names end with.
const NAMES: [(&str, &str); 58] = [
    ("txt", "text/plain"),
    ("log", "text/plain"),
    ("md", "text/markdown"),
    ("rst", "text/x-rst"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("xhtml", "application/xhtml+xml"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("tsv", "text/tab-separated-values"),
    ("js", "text/javascript"),
    ("mjs", "text/javascript"),
    ("json", "application/json"),
    ("jsonl", "application/x-ndjson"),
    ("ndjson", "application/x-ndjson"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("toml", "application/toml"),
    ("sql", "application/sql"),
    ("py", "text/x-python"),
    ("rs", "text/x-rust"),
    ("sh", "application/x-sh"),
    ("tex", "application/x-tex"),
    ("srt", "application/x-subrip"),
    ("vtt", "text/vtt"),
    ("ics", "text/calendar"),
    ("eml", "message/rfc822"),
    ("svg", "image/svg+xml"),
    ("rtf", "application/rtf"),
    ("pdf", "application/pdf"),
    ("doc", "application/msword"),
    ("xls", "application/vnd.ms-excel"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("epub", "application/epub+zip"),
    ("zip", "application/zip"),
    ("tar", "application/x-tar"),
    ("gz", "application/gzip"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("bmp", "image/bmp"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
    ("parquet", "application/vnd.apache.parquet"),
    ("avro", "application/vnd.apache.avro"),
];

/// The media type: a mark in the content counts before the name.
pub(super) fn type_of(name: &str, content: &[u8]) -> &'static str {
    let head = content.get(..HEAD).unwrap_or(content);
    if let Some((_, found)) = MARKS.iter().find(|(mark, _)| head.starts_with(mark)) {
        return found;
    }
    let part = |from: usize, text: &[u8]| head.get(from..).is_some_and(|it| it.starts_with(text));
    if head.starts_with(b"RIFF") && part(8, b"WEBP") {
        return "image/webp";
    }
    if head.starts_with(b"RIFF") && part(8, b"WAVE") {
        return "audio/wav";
    }
    if part(4, b"ftyp") {
        return "video/mp4";
    }
    let name = name.split('?').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    let extension = last.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    let by_name = extension
        .and_then(|extension| NAMES.iter().find(|(end, _)| *end == extension))
        .map(|(_, found)| *found);
    if let Some(found) = by_name {
        return found;
    }
    if head.starts_with(b"PK\x03\x04") {
        return "application/zip";
    }
    let start: Vec<u8> =
        head.trim_ascii_start().iter().take(15).map(u8::to_ascii_lowercase).collect();
    if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") {
        return "text/html";
    }
    if start.starts_with(b"<?xml") {
        return "application/xml";
    }
    match is_readable(head) {
        true => "text/plain",
        false => "application/octet-stream",
    }
}

/// Whether bytes are text in UTF-8, as far as they go.
fn is_readable(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut.
        Err(error) if error.error_len().is_none() && head.len() >= HEAD => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.contains(|letter: char| {
        letter.is_control() && !matches!(letter, '\n' | '\r' | '\t' | '\u{c}')
    })
}

/// Whether such a file is text.
pub(super) fn is_text(media_type: &str) -> bool {
    const TEXTS: [&str; 12] = [
        "application/json",
        "application/x-ndjson",
        "application/xml",
        "application/xhtml+xml",
        "application/yaml",
        "application/toml",
        "application/sql",
        "application/x-sh",
        "application/x-tex",
        "application/x-subrip",
        "message/rfc822",
        "image/svg+xml",
    ];
    media_type.starts_with("text/") || TEXTS.contains(&media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        for (name, content, expected) in [
            ("a.txt", "hello".as_bytes(), "text/plain"),
            ("a.pdf", b"%PDF-1.7", "application/pdf"),
            ("picture.txt", b"\x89PNG\r\n\x1a\n....", "image/png"),
            ("a/b.c/readme", b"words", "text/plain"),
            ("noname", b"\x00\x01\x02", "application/octet-stream"),
            ("page", b"  <!DOCTYPE html><p>", "text/html"),
            ("x.HTML?x=1", b"", "text/html"),
            ("report.docx", b"PK\x03\x04", NAMES[34].1),
            ("bundle", b"PK\x03\x04", "application/zip"),
        ] {
            assert_eq!(type_of(name, content), expected, "{name}");
        }
    }
}

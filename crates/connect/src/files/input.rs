//! The bytes of one file: decompressed, hashed on the way, and as UTF-8.

use std::fs::File;
use std::io::{BufReader, Read, Seek};

use bzip2::read::MultiBzDecoder;
use encoding_rs::{Decoder, DecoderResult, Encoding};
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};
use xxhash_rust::xxh3::Xxh3;

use super::place::{Place, cannot, peek};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

/// How much an xz stream may ask us to remember, in KiB.
const XZ_MEMORY: u32 = 256 << 10;

impl Compression {
    /// By the first bytes of a file.
    fn of_bytes(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Compression::Xz,
            _ => Compression::None,
        }
    }
}

/// How the text of a file is encoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TextEncoding {
    /// By the byte order mark or the zero bytes of UTF-16; else UTF-8.
    Auto,
    Utf8,
    Other(&'static Encoding),
}

impl TextEncoding {
    /// The encoding with this name.
    pub(crate) fn of_name(name: &str) -> Option<TextEncoding> {
        let name = name.trim().to_ascii_lowercase();
        Some(match name.as_str() {
            "auto" => TextEncoding::Auto,
            "utf-8" | "utf8" => TextEncoding::Utf8,
            // The byte order mark decides; without one, little endian as Windows writes it.
            "utf-16" | "utf16" => TextEncoding::Other(encoding_rs::UTF_16LE),
            "latin-1" | "latin1" => TextEncoding::Other(encoding_rs::WINDOWS_1252),
            other => match Encoding::for_label(other.as_bytes())? {
                found if found == encoding_rs::UTF_8 => TextEncoding::Utf8,
                found => TextEncoding::Other(found),
            },
        })
    }

    /// A whole text; `None` if the encoding does not know one of its bytes.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<String> {
        match self.resolve(bytes) {
            TextEncoding::Auto | TextEncoding::Utf8 => {
                let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
                std::str::from_utf8(bytes).ok().map(str::to_owned)
            }
            TextEncoding::Other(encoding) => {
                let (text, damaged) = encoding.decode_with_bom_removal(bytes);
                (!damaged).then(|| text.into_owned())
            }
        }
    }

    /// What the first bytes (decompressed) say. A byte order mark is always believed.
    fn resolve(self, head: &[u8]) -> TextEncoding {
        match head {
            [0xFF, 0xFE, ..] => return TextEncoding::Other(encoding_rs::UTF_16LE),
            [0xFE, 0xFF, ..] => return TextEncoding::Other(encoding_rs::UTF_16BE),
            [0xEF, 0xBB, 0xBF, ..] => return TextEncoding::Utf8,
            _ => {}
        }
        if self != TextEncoding::Auto {
            return self;
        }
        // Text in UTF-16 without a mark: nearly every second byte is zero.
        let pairs = head.len().min(512) / 2;
        if pairs >= 4 {
            let zeros = |offset: usize| (0..pairs).filter(|at| head[at * 2 + offset] == 0).count();
            let (first, second) = (zeros(0), zeros(1));
            if second * 10 >= pairs * 8 && first * 10 < pairs {
                return TextEncoding::Other(encoding_rs::UTF_16LE);
            }
            if first * 10 >= pairs * 8 && second * 10 < pairs {
                return TextEncoding::Other(encoding_rs::UTF_16BE);
            }
        }
        TextEncoding::Utf8
    }
}

/// A file that is hashed while it is read.
struct Hashed {
    file: Box<dyn Read + Send>,
    hasher: Option<Box<Xxh3>>,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}

enum Source {
    Plain(Hashed),
    Gzip(Box<MultiGzDecoder<BufReader<Hashed>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Hashed>>>),
    Bzip2(Box<MultiBzDecoder<BufReader<Hashed>>>),
    Xz(Box<XzReader<BufReader<Hashed>>>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Source::Plain(file) => file.read(buffer),
            Source::Gzip(decoder) => decoder.read(buffer),
            Source::Zstd(decoder) => decoder.read(buffer),
            Source::Bzip2(decoder) => decoder.read(buffer),
            Source::Xz(decoder) => decoder.read(buffer),
        }
    }
}

/// The text of a file, piece by piece.
pub(crate) struct Input {
    name: String,
    source: Source,
    encoding: TextEncoding,
    /// Of an encoding other than UTF-8.
    decoder: Option<Decoder>,
    /// Bytes that were read but not handed out yet.
    head: Vec<u8>,
    started: bool,
    ended: bool,
}

impl Input {
    /// Opens a file. `compression` of `None` looks at the first bytes.
    pub(crate) fn open(
        place: &Place,
        name: &str,
        compression: Option<Compression>,
        encoding: TextEncoding,
        hash: bool,
    ) -> Result<Input> {
        let opened = || place.open().map_err(|error| cannot("cannot open the file", name, error));
        let (compression, file) = match compression {
            Some(known) => (known, opened()?),
            None => {
                let (head, whole) = peek(opened()?, 6).map_err(|error| broken(name, error))?;
                (Compression::of_bytes(&head), whole)
            }
        };
        let file = Hashed { file, hasher: hash.then(|| Box::new(Xxh3::new())) };
        let buffered = |file| BufReader::with_capacity(128 << 10, file);
        let source = match compression {
            Compression::None => Source::Plain(file),
            Compression::Gzip => Source::Gzip(Box::new(MultiGzDecoder::new(buffered(file)))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered(file))
                    .or_error(ErrorKind::Resources, "cannot start the zstd decoder")?;
                // 128 MiB is the most that a stream may ask us to remember.
                decoder
                    .window_log_max(27)
                    .or_error(ErrorKind::Internal, "cannot limit the zstd decoder")?;
                Source::Zstd(Box::new(decoder))
            }
            Compression::Bzip2 => Source::Bzip2(Box::new(MultiBzDecoder::new(buffered(file)))),
            Compression::Xz => {
                Source::Xz(Box::new(XzReader::new_mem_limit(buffered(file), true, XZ_MEMORY)))
            }
        };
        Ok(Input {
            name: name.to_owned(),
            source,
            encoding,
            decoder: None,
            head: Vec::new(),
            started: false,
            ended: false,
        })
    }

    /// Whether this file is not compressed and already UTF-8, so that places in it are places in
    /// the text.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.source, Source::Plain(_)) && self.decoder.is_none()
    }

    /// Appends about `wanted` bytes of UTF-8 text to `out`; 0 means the end. A byte that the
    /// encoding does not know becomes 0xFF, which is never UTF-8.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, wanted: usize) -> Result<usize> {
        if !self.started {
            self.start()?;
        }
        let before = out.len();
        while out.len() == before && !self.ended {
            if self.decoder.is_some() {
                self.decode(out, wanted)?;
            } else if !self.head.is_empty() {
                out.append(&mut self.head);
            } else {
                out.reserve(wanted);
                let read = Read::take(&mut self.source, wanted as u64)
                    .read_to_end(out)
                    .map_err(|error| broken(&self.name, error))?;
                self.ended = read == 0;
            }
        }
        Ok(out.len() - before)
    }

    fn start(&mut self) -> Result<()> {
        self.started = true;
        Read::take(&mut self.source, 4096)
            .read_to_end(&mut self.head)
            .map_err(|error| broken(&self.name, error))?;
        match self.encoding.resolve(&self.head) {
            TextEncoding::Auto | TextEncoding::Utf8 => {
                if self.head.starts_with(&[0xEF, 0xBB, 0xBF]) {
                    self.head.drain(..3);
                }
            }
            TextEncoding::Other(encoding) => {
                self.decoder = Some(encoding.new_decoder_with_bom_removal());
            }
        }
        Ok(())
    }

    fn decode(&mut self, out: &mut Vec<u8>, wanted: usize) -> Result<()> {
        let mut raw = std::mem::take(&mut self.head);
        let read = Read::take(&mut self.source, (wanted / 2).max(4096) as u64)
            .read_to_end(&mut raw)
            .map_err(|error| broken(&self.name, error))?;
        self.ended = read == 0;
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let mut from = 0;
        loop {
            let room = decoder
                .max_utf8_buffer_length_without_replacement(raw.len() - from)
                .unwrap_or(raw.len() * 3 + 16);
            let start = out.len();
            out.resize(start + room, 0);
            let (result, used, written) = decoder.decode_to_utf8_without_replacement(
                &raw[from..],
                &mut out[start..],
                self.ended,
            );
            out.truncate(start + written);
            from += used;
            match result {
                DecoderResult::Malformed(..) => out.push(0xFF),
                DecoderResult::InputEmpty => return Ok(()),
                DecoderResult::OutputFull => {}
            }
        }
    }

    /// The hash of the whole file as it is on disk (32 hex digits); reads what is left of it.
    pub(crate) fn finish(self) -> Result<String> {
        let name = self.name;
        let mut hashed = match self.source {
            Source::Plain(file) => file,
            Source::Gzip(decoder) => decoder.into_inner().into_inner(),
            Source::Zstd(decoder) => decoder.finish().into_inner(),
            Source::Bzip2(decoder) => decoder.into_inner().into_inner(),
            Source::Xz(decoder) => decoder.into_inner().into_inner(),
        };
        drain(&mut hashed).map_err(|error| broken(&name, error))?;
        Ok(hashed.hasher.map(|hasher| format!("{:032x}", hasher.digest128())).unwrap_or_default())
    }
}

/// The bytes without their compression, as they are: for files that are no text. Not beside
/// [`Input::fill`].
impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.source.read(buffer)
    }
}

fn drain(file: &mut Hashed) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

/// The hash of a file as it is on disk.
pub(crate) fn hash_file(place: &Place, name: &str) -> Result<String> {
    Input::open(place, name, Some(Compression::None), TextEncoding::Utf8, true)?.finish()
}

/// A file as one on disk, which goes when it is closed, and its hash.
pub(crate) fn fetched(place: &Place, name: &str) -> Result<(File, String)> {
    let mut input = Input::open(place, name, Some(Compression::None), TextEncoding::Utf8, true)?;
    let failed = |error| cannot("the file cannot be fetched to disk", name, error);
    let mut file = tempfile::tempfile().map_err(failed)?;
    std::io::copy(&mut input, &mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok((file, input.finish()?))
}

fn broken(name: &str, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::InvalidData
        | std::io::ErrorKind::InvalidInput
        | std::io::ErrorKind::UnexpectedEof
        | std::io::ErrorKind::Other => ErrorKind::Data,
        _ => ErrorKind::Io,
    };
    let message = match kind {
        ErrorKind::Data => "the file cannot be decompressed; is it complete?",
        _ => "cannot read the file",
    };
    Error::new(kind, message).with("file", name).because(error)
}

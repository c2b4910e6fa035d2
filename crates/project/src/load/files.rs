//! All files of a package, read and parsed side by side.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidemill_core::{Diagnostic, Diagnostics};
use tidemill_jinja::{Definition, Source, StaticCalls, Template, docs_blocks};

use crate::file::SourceFile;
use crate::read::project_file::Package;
use crate::read::read_file;
use crate::read::walk::{self, Found};
use crate::render::errors;

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Model,
    PythonModel,
    Seed,
    SingularTest,
    Analysis,
    Snapshot,
    Macro,
    Properties,
    Docs,
}

/// A file of a package.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) package: Arc<Package>,
    pub(crate) kind: FileKind,
    pub(crate) found: Found,
}

/// A file that was read.
pub(crate) struct ParsedFile {
    pub(crate) job: Job,
    pub(crate) file: Arc<SourceFile>,
    /// SHA-256 in hex, as dbt's checksums.
    pub(crate) checksum: String,
    pub(crate) template: Option<Template>,
    pub(crate) calls: Option<StaticCalls>,
    pub(crate) definitions: Vec<Definition>,
    pub(crate) diagnostics: Diagnostics,
}

/// The files of a package, in the order of their kinds and paths.
pub(crate) fn jobs(package: &Arc<Package>) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut add = |kind: FileKind, found: Vec<Found>| {
        jobs.extend(found.into_iter().map(|found| Job { package: package.clone(), kind, found }));
    };
    let root = &package.root;
    let all = |folders: &[String], extensions: &[&str]| -> Vec<Found> {
        folders.iter().flat_map(|folder| walk::files(root, folder, extensions)).collect()
    };
    add(FileKind::Macro, all(&package.macro_paths, &["sql"]));
    let (generic, singular): (Vec<Found>, Vec<Found>) = all(&package.test_paths, &["sql"])
        .into_iter()
        .filter(|found| !found.relative.starts_with("fixtures/"))
        .partition(|found| found.relative.starts_with("generic/"));
    add(FileKind::Macro, generic);
    add(FileKind::Model, all(&package.model_paths, &["sql"]));
    add(FileKind::PythonModel, all(&package.model_paths, &["py"]));
    add(FileKind::Seed, all(&package.seed_paths, &["csv"]));
    add(FileKind::Snapshot, all(&package.snapshot_paths, &["sql"]));
    add(FileKind::Analysis, all(&package.analysis_paths, &["sql"]));
    add(FileKind::SingularTest, singular);
    let mut everywhere: Vec<String> = Vec::new();
    for folders in [
        &package.model_paths,
        &package.seed_paths,
        &package.snapshot_paths,
        &package.analysis_paths,
        &package.macro_paths,
        &package.test_paths,
    ] {
        for folder in folders {
            if !everywhere.contains(folder) {
                everywhere.push(folder.clone());
            }
        }
    }
    let mut properties = all(&everywhere, &["yml", "yaml"]);
    dedup(&mut properties);
    add(FileKind::Properties, properties);
    let docs_folders =
        if package.docs_paths.is_empty() { &everywhere } else { &package.docs_paths };
    let mut docs = all(docs_folders, &["md"]);
    dedup(&mut docs);
    add(FileKind::Docs, docs);
    jobs
}

/// A folder may lie within another.
fn dedup(found: &mut Vec<Found>) {
    let mut seen = std::collections::HashSet::new();
    found.retain(|found| seen.insert(found.path.clone()));
}

/// Reads a file and parses it, as far as that needs no other file. Seeds above so many bytes are known
/// by their path.
pub(crate) fn parse(job: &Job, largest_seed: u64) -> ParsedFile {
    let shown = job.package.shown_path(&job.found.original);
    let mut diagnostics = Diagnostics::new();
    let mut parsed = ParsedFile {
        job: job.clone(),
        file: Arc::new(SourceFile::new(shown.clone(), "")),
        checksum: String::new(),
        template: None,
        calls: None,
        definitions: Vec::new(),
        diagnostics: Diagnostics::new(),
    };
    if job.kind == FileKind::Seed {
        match seed_checksum(job, largest_seed) {
            Ok(checksum) => parsed.checksum = checksum,
            Err(error) => diagnostics.push(
                Diagnostic::error(
                    "unreadable-file",
                    format!("`{}` cannot be read: {error}", crate::file::shown(&shown)),
                )
                .in_file(&shown),
            ),
        }
        parsed.diagnostics = diagnostics;
        return parsed;
    }
    let file = match read_file(&job.found.path, &shown) {
        Ok(file) => Arc::new(file),
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            parsed.diagnostics = diagnostics;
            return parsed;
        }
    };
    parsed.checksum = text_checksum(&file.text);
    let source = || Source::new(crate::file::shown(&file.path), file.text.clone());
    let what = format!("`{}`", file.shown());
    match job.kind {
        FileKind::Model | FileKind::SingularTest | FileKind::Analysis => {
            match Template::parse(&source()) {
                Ok(template) => {
                    parsed.calls = Some(template.static_calls());
                    parsed.template = Some(template);
                }
                Err(error) => diagnostics.push(errors::diagnostic(&error, &what)),
            }
        }
        FileKind::Macro | FileKind::Snapshot => match Template::parse_library(&source()) {
            Ok(template) => parsed.definitions = template.definitions(),
            Err(error) => diagnostics.push(errors::diagnostic(&error, &what)),
        },
        FileKind::Docs => match docs_blocks(&source()) {
            Ok(definitions) => parsed.definitions = definitions,
            Err(error) => diagnostics.push(errors::diagnostic(&error, &what)),
        },
        FileKind::Properties | FileKind::PythonModel | FileKind::Seed => {}
    }
    parsed.file = file;
    parsed.diagnostics = diagnostics;
    parsed
}

/// The checksum of a file of text: as in dbt, any white space is one blank and that at both ends is none.
pub(crate) fn text_checksum(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.push_str(word);
    }
    sha256(plain.as_bytes())
}

/// The checksum of a seed: of its content, or, as in dbt, its path alone when it is larger (the
/// content is then compared by what was loaded).
fn seed_checksum(job: &Job, largest: u64) -> std::io::Result<String> {
    let size = std::fs::metadata(&job.found.path)?.len();
    if size > largest {
        return Ok(job.found.original.clone());
    }
    let bytes = std::fs::read(&job.found.path)?;
    Ok(match std::str::from_utf8(&bytes) {
        // As in dbt, every end of a line is one character.
        Ok(text) if text.contains('\r') => {
            sha256(text.replace("\r\n", "\n").replace('\r', "\n").trim().as_bytes())
        }
        Ok(text) => sha256(text.trim().as_bytes()),
        Err(_) => sha256(&bytes),
    })
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

//! DataFusion's errors as ours: a kind, one clean sentence, and the place in the SQL text where it
//! is known (`line` and `column` in the error's context, counted from 1).

use std::sync::LazyLock;

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError, Span};
use regex::Regex;
use tidemill_core::{Error, ErrorKind};

use crate::repeated::is_repeated;
use crate::wording::in_plain_words;

/// What the message of a memory error says to do.
pub(crate) const MEMORY_HINT: &str = "raise `--memory` (or `memory` in the profile), lower \
    `--threads`, or make the query smaller";
/// What the message of a disk error says to do.
const DISK_HINT: &str = "free space where temporary files go, name another place with `TMPDIR`, or \
    raise `--memory` so that less is written";

/// Turns an error of planning or running into ours. `limit` is the memory limit, for the message
/// of an error that says that it was reached.
pub(crate) fn from_datafusion(error: DataFusionError, limit: Option<usize>) -> Error {
    let mut span = None;
    let mapped = convert(&error, limit, &mut span);
    match span {
        Some(span) if !has_line(&mapped) => {
            mapped.with("line", span.start.line).with("column", span.start.column)
        }
        _ => mapped,
    }
}

/// Whether it is a memory or disk limit that was reached.
pub(crate) fn is_memory(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::ResourcesExhausted(text) => !is_disk(text),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            is_memory(inner)
        }
        DataFusionError::Shared(inner) => is_memory(inner),
        DataFusionError::Collection(all) => all.iter().any(is_memory),
        DataFusionError::ArrowError(inner, _) => match &**inner {
            ArrowError::ExternalError(inner) => {
                inner.downcast_ref::<DataFusionError>().is_some_and(is_memory)
            }
            _ => false,
        },
        DataFusionError::External(inner) => {
            inner.downcast_ref::<DataFusionError>().is_some_and(is_memory)
        }
        _ => false,
    }
}

fn is_disk(text: &str) -> bool {
    text.contains("disk") || text.contains("temp_directory")
}

fn has_line(error: &Error) -> bool {
    error.context().iter().any(|(name, _)| *name == "line")
}

fn convert(error: &DataFusionError, limit: Option<usize>, span: &mut Option<Span>) -> Error {
    match error {
        DataFusionError::Context(_, inner) => convert(inner, limit, span),
        DataFusionError::Shared(inner) => convert(inner, limit, span),
        DataFusionError::Diagnostic(diagnostic, inner) => {
            *span = span.or(diagnostic.span);
            convert(inner, limit, span)
        }
        DataFusionError::Collection(all) => match all.first() {
            Some(first) => convert(first, limit, span),
            None => Error::new(ErrorKind::Internal, "the engine reported no reason"),
        },
        DataFusionError::External(inner) => foreign(inner.as_ref(), limit, span),
        DataFusionError::ArrowError(inner, _) => arrow(inner, limit, span),
        DataFusionError::SQL(inner, _) => syntax(&inner.to_string()),
        DataFusionError::SchemaError(inner, _) => schema(inner),
        DataFusionError::Plan(text) => plan(text),
        DataFusionError::NotImplemented(text) => Error::new(ErrorKind::Unsupported, sentence(text)),
        DataFusionError::Configuration(text) => Error::new(ErrorKind::Config, sentence(text)),
        DataFusionError::Execution(text) => Error::new(ErrorKind::Data, sentence(text)),
        DataFusionError::ResourcesExhausted(text) => resources(text, limit),
        DataFusionError::IoError(inner) => io(inner),
        DataFusionError::ParquetError(inner) => {
            let text = inner.to_string();
            match of_condition(&text) {
                Some(text) => Error::new(ErrorKind::Data, sentence(text)),
                None => Error::new(ErrorKind::Io, "a data file cannot be read").because(text),
            }
        }
        DataFusionError::ObjectStore(inner) => {
            Error::new(ErrorKind::Io, "the store failed").because(inner.to_string())
        }
        // A function that no argument fits is reported as a mistake of the engine.
        DataFusionError::Internal(text) if text.contains("failed to match any signature") => {
            Error::new(ErrorKind::Query, sentence(text))
        }
        DataFusionError::Internal(text) => {
            Error::new(ErrorKind::Internal, sentence(first_line(text)))
        }
        other => Error::new(ErrorKind::Internal, sentence(&other.to_string())),
    }
}

/// What went wrong with a condition that is looked at while a file is read: the file is as it should be.
fn of_condition(text: &str) -> Option<&str> {
    let (_, error) = text.split_once("Error evaluating filter predicate: ")?;
    if error.contains("DivideByZero") {
        return Some("division by zero");
    }
    let (_, message) = error.split_once("(\"")?;
    Some(message.split_once("\")").map_or(message, |(message, _)| message))
}

fn foreign(
    error: &(dyn std::error::Error + Send + Sync + 'static),
    limit: Option<usize>,
    span: &mut Option<Span>,
) -> Error {
    if let Some(ours) = error.downcast_ref::<Error>() {
        return again(ours);
    }
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return convert(inner, limit, span);
    }
    if let Some(inner) = error.downcast_ref::<ArrowError>() {
        return arrow(inner, limit, span);
    }
    if let Some(inner) = error.downcast_ref::<std::io::Error>() {
        return io(inner);
    }
    Error::new(ErrorKind::Internal, sentence(&error.to_string()))
}

/// A copy: what was behind a shared pointer cannot be moved out.
pub(crate) fn again(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.message());
    for (name, value) in error.context() {
        copy = copy.with(name, value);
    }
    match std::error::Error::source(error) {
        Some(cause) => copy.because(cause.to_string()),
        None => copy,
    }
}

/// The error with the line and column that another one has.
pub(crate) fn with_place_of(error: Error, other: &Error) -> Error {
    let places = other.context().iter().filter(|(name, _)| ["line", "column"].contains(name));
    places.fold(error, |error, (name, value)| error.with(name, value))
}

fn arrow(error: &ArrowError, limit: Option<usize>, span: &mut Option<Span>) -> Error {
    match error {
        ArrowError::ExternalError(inner) => foreign(inner.as_ref(), limit, span),
        ArrowError::DivideByZero => Error::new(ErrorKind::Data, "division by zero"),
        ArrowError::NotYetImplemented(text) => Error::new(ErrorKind::Unsupported, sentence(text)),
        ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::ArithmeticOverflow(text)
        | ArrowError::ComputeError(text) => Error::new(ErrorKind::Data, sentence(text)),
        ArrowError::IoError(_, inner) => io(inner),
        ArrowError::MemoryError(text) => resources(text, limit),
        other => Error::new(ErrorKind::Internal, sentence(&other.to_string())),
    }
}

fn io(error: &std::io::Error) -> Error {
    // The limit of spilled bytes is met inside of a writer, which gives such errors.
    if let Some(DataFusionError::ResourcesExhausted(text)) =
        error.get_ref().and_then(|inner| inner.downcast_ref())
    {
        return disk(first_line(text));
    }
    if error.to_string().contains("used disk space") {
        return disk(first_line(&error.to_string()));
    }
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            disk(&error.to_string())
        }
        _ => Error::new(ErrorKind::Io, format!("the operating system failed: {error}")),
    }
}

fn resources(text: &str, limit: Option<usize>) -> Error {
    if is_disk(text) {
        return disk(first_line(text));
    }
    let limit = limit.map_or_else(String::new, |bytes| format!(" of {}", size(bytes)));
    let what = running(text).map_or_else(String::new, |what| format!(" ({what})"));
    Error::new(
        ErrorKind::Resources,
        format!("the query does not fit into the memory limit{limit}{what}; {MEMORY_HINT}"),
    )
    .because(first_line(text).to_owned())
}

fn disk(cause: &str) -> Error {
    Error::new(
        ErrorKind::Resources,
        format!("the query needs more temporary disk space than there is; {DISK_HINT}"),
    )
    .because(cause.to_owned())
}

/// What asked for the memory that was not there, from the name under which it asked.
fn running(text: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 12] = [
        ("HashJoinInput", "a hash join"),
        ("SMJStream", "a sort-merge join: one key with very many rows"),
        ("NestedLoopJoin", "a join without an equality"),
        ("CrossJoin", "a cross join"),
        ("ExternalSorter", "a sort"),
        ("SortPreservingMerge", "a merge of sorted parts"),
        ("TopK", "a sort with a limit"),
        (crate::guard::WINDOW, "a window function over a large partition"),
        (crate::running::HELD_BACK, "rows that wait for a hash join"),
        ("Aggregate", "an aggregation"),
        ("RepartitionExec", "an exchange between threads"),
        ("RecursiveQuery", "a recursive query"),
    ];
    let (_, consumer) = text.split_once(" for ")?;
    NAMES.iter().find(|(name, _)| consumer.contains(name)).map(|(_, what)| *what)
}

fn size(bytes: usize) -> String {
    const MIB: usize = 1024 * 1024;
    match bytes {
        bytes if bytes >= 10 * 1024 * MIB => format!("{} GiB", bytes / (1024 * MIB)),
        bytes => format!("{} MiB", bytes / MIB),
    }
}

static PARSER_POSITION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\s*at Line: (\d+), Column: (\d+)").expect("invariant: a constant pattern")
});

/// A message of the parser: its position becomes context.
pub(crate) fn syntax(text: &str) -> Error {
    let text = text.trim_start_matches("sql parser error: ");
    let place = PARSER_POSITION.captures(text);
    let clean = PARSER_POSITION.replace_all(text, "");
    let clean = clean.trim();
    let message = match clean {
        "recursion limit exceeded" => "the SQL is nested too deeply".to_owned(),
        clean => format!("syntax error: {}", sentence(clean)),
    };
    let error = Error::new(ErrorKind::Query, message);
    match place {
        Some(place) => error.with("line", &place[1]).with("column", &place[2]),
        None => error,
    }
}

fn schema(error: &SchemaError) -> Error {
    let message = match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = valid_fields.iter().map(|column| column.name()).collect();
            let missing = field.flat_name().replace('"', "");
            if is_repeated(field.name(), &names) {
                let message = format!("column reference \"{missing}\" is ambiguous");
                return Error::new(ErrorKind::Query, message);
            }
            let mut message = format!("column `{missing}` does not exist");
            match nearest(field.name(), &names) {
                Some(name) => message.push_str(&format!("; did you mean `{name}`?")),
                None if !names.is_empty() && names.len() <= 12 => {
                    message.push_str(&format!("; there are: {}", names.join(", ")));
                }
                None => {}
            }
            message
        }
        SchemaError::AmbiguousReference { field } => format!(
            "column `{}` is ambiguous: more than one relation has it; write `relation.{}`",
            field.flat_name().replace('"', ""),
            field.name()
        ),
        SchemaError::DuplicateQualifiedField { qualifier, name } => {
            format!("column `{name}` of `{qualifier}` occurs twice; give one of them another alias")
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            format!("column `{name}` occurs twice; give one of them another alias")
        }
    };
    Error::new(ErrorKind::Query, message)
}

static UNKNOWN_FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"Invalid function '([^']*)'\.\s*(?:Did you mean '([^']*)')?")
        .expect("invariant: a constant pattern")
});
static DUPLICATE_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"require unique expression names but the expression "(.*)" at position \d+ and "#)
        .expect("invariant: a constant pattern")
});

fn plan(text: &str) -> Error {
    if let Some(found) = UNKNOWN_FUNCTION.captures(text) {
        let mut message = format!("function `{}` does not exist", &found[1]);
        if let Some(near) = found.get(2) {
            message.push_str(&format!("; did you mean `{}`?", near.as_str()));
        }
        return Error::new(ErrorKind::Query, message);
    }
    if let Some(found) = DUPLICATE_NAME.captures(text) {
        let name = found[1].trim();
        let name = name.rsplit_once(" AS ").map_or(name, |(_, name)| name);
        let name = name.rsplit('.').next().unwrap_or(name).replace('"', "");
        let message =
            format!("column \"{name}\" specified more than once; give one of them another alias");
        return Error::new(ErrorKind::Query, message);
    }
    Error::new(ErrorKind::Query, sentence(text))
}

/// The name that the user may have meant: at most a third of its letters differ.
pub(crate) fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    names
        .iter()
        .map(|name| (distance(&wanted, &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= 1 + wanted.len().max(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

/// DataFusion's texts begin with a class and a capital and end with a full stop; ours do not.
fn sentence(text: &str) -> String {
    const CLASSES: [&str; 10] = [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Execution error: ",
        "Arrow error: ",
        "Cast error: ",
        "Parser error: ",
        "Invalid argument error: ",
        "External error: ",
        "Compute error: ",
    ];
    let mut text = text.trim();
    while let Some(rest) = CLASSES.iter().find_map(|class| text.strip_prefix(class)) {
        text = rest;
    }
    let text = in_plain_words(text);
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        // An abbreviation or a name in capitals keeps them.
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(text[first.len_utf8()..].chars()).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_fails_while_a_file_is_read_is_no_broken_file() {
        let text = "External: Compute error: Error evaluating filter predicate: \
                    ArrowError(CastError(\"Cannot cast string 'a' to value of Int64 type\"), Some(\"\"))";
        assert_eq!(of_condition(text), Some("Cannot cast string 'a' to value of Int64 type"));
        let text = "Error evaluating filter predicate: ArrowError(DivideByZero, Some(\"\"))";
        assert_eq!(of_condition(text), Some("division by zero"));
        assert_eq!(of_condition("EOF: file size of 3 is less than footer"), None);
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error =
            syntax("sql parser error: Expected: expression, found: from at Line: 3, Column: 8");
        assert_eq!(error.kind(), ErrorKind::Query);
        assert_eq!(
            error.to_string(),
            "syntax error: expected: expression, found: from (line: 3, column: 8)"
        );
    }

    #[test]
    fn suggestions_are_close() {
        let names = ["customer_id", "amount", "status"];
        assert_eq!(nearest("custmer_id", &names), Some("customer_id"));
        assert_eq!(nearest("AMOUNT", &names), Some("amount"));
        assert_eq!(nearest("zzz", &names), None);
    }

    #[test]
    fn memory_errors_name_the_limit_and_the_setting() {
        let error = DataFusionError::ResourcesExhausted("Failed to allocate".into())
            .context("while sorting");
        assert!(is_memory(&error));
        let error = from_datafusion(error, Some(512 * 1024 * 1024));
        assert_eq!(error.kind(), ErrorKind::Resources);
        assert!(error.message().contains("512 MiB") && error.message().contains("`memory`"));
    }

    #[test]
    fn a_full_disk_is_a_limit_wherever_it_was_met() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        for error in [
            DataFusionError::IoError(full()),
            DataFusionError::ArrowError(
                Box::new(ArrowError::IoError("while spilling".into(), full())),
                None,
            )
            .context("in a sort"),
            DataFusionError::External(Box::new(full())),
        ] {
            let error = from_datafusion(error, None);
            assert_eq!(error.kind(), ErrorKind::Resources);
            assert!(error.message().contains("temporary disk space"), "{error}");
        }
    }

    #[test]
    fn our_own_errors_come_back_as_they_were() {
        let ours = Error::new(ErrorKind::Conflict, "changed").with("relation", "a.b");
        let wrapped = DataFusionError::External(Box::new(ours));
        let back = from_datafusion(wrapped, None);
        assert_eq!(back.kind(), ErrorKind::Conflict);
        assert_eq!(back.to_string(), "changed (relation: a.b)");
    }
}

//! What the keys of `dbt_project.yml` may hold: the same as in dbt, which refuses the whole file else.

use tidemill_core::{Diagnostic, Diagnostics};

use super::wrong_shape;
use crate::base::DBT_VERSION;
use crate::file::SourceFile;
use crate::yaml::{Kind, Yaml};

/// What a key may hold. Nothing at all is fine where dbt takes it for the default.
enum Shape {
    Text,
    /// A list of texts; one text alone is a mistake.
    Texts,
    Whole,
    Mapping,
    /// A mapping that cannot be left empty.
    FullMapping,
    /// A list that cannot be left empty.
    FullList,
    Flag,
    Version,
    Quoting,
    QueryComment,
}

const SHAPES: &[(&str, Shape)] = &[
    ("version", Shape::Version),
    ("config-version", Shape::Whole),
    ("model-paths", Shape::Texts),
    ("source-paths", Shape::Texts),
    ("seed-paths", Shape::Texts),
    ("data-paths", Shape::Texts),
    ("test-paths", Shape::Texts),
    ("analysis-paths", Shape::Texts),
    ("macro-paths", Shape::Texts),
    ("snapshot-paths", Shape::Texts),
    ("docs-paths", Shape::Texts),
    ("asset-paths", Shape::Texts),
    ("function-paths", Shape::Texts),
    ("osi-paths", Shape::Texts),
    ("clean-targets", Shape::Texts),
    ("target-path", Shape::Text),
    ("log-path", Shape::Text),
    ("packages-install-path", Shape::Text),
    ("query-comment", Shape::QueryComment),
    ("quoting", Shape::Quoting),
    ("restrict-access", Shape::Flag),
    ("dbt-cloud", Shape::Mapping),
    ("dispatch", Shape::FullList),
    ("packages", Shape::FullList),
    ("flags", Shape::FullMapping),
    ("vars", Shape::Mapping),
    ("models", Shape::Mapping),
    ("seeds", Shape::Mapping),
    ("snapshots", Shape::Mapping),
    ("tests", Shape::FullMapping),
    ("data_tests", Shape::FullMapping),
    ("sources", Shape::FullMapping),
    ("analyses", Shape::FullMapping),
    ("exposures", Shape::FullMapping),
    ("metrics", Shape::FullMapping),
    ("semantic-models", Shape::FullMapping),
    ("saved-queries", Shape::FullMapping),
    ("unit_tests", Shape::FullMapping),
    ("functions", Shape::FullMapping),
];

/// Two names of one key: the older and the one that counts.
const RENAMED: &[(&str, &str)] =
    &[("source-paths", "model-paths"), ("data-paths", "seed-paths"), ("tests", "data_tests")];

/// Reports values of the wrong shape.
pub(super) fn check(root: &Yaml, file: &SourceFile, diagnostics: &mut Diagnostics) {
    for (key, shape) in SHAPES {
        let Some(value) = root.get(key) else { continue };
        if let Some((at, message)) = mistake(key, value, shape) {
            wrong_shape(at, &message, file, diagnostics);
        }
    }
    for (older, name) in RENAMED {
        if let (Some(entry), true) = (root.entry(older), root.entry(name).is_some()) {
            diagnostics.push(
                Diagnostic::error("yaml-shape", format!("`{older}` and `{name}` are the same"))
                    .at(entry.position(file))
                    .hint(format!("put all into `{name}`")),
            );
        }
    }
}

/// What is wrong with a value, and where.
fn mistake<'y>(key: &str, value: &'y Yaml, shape: &Shape) -> Option<(&'y Yaml, String)> {
    let here = |what: &str| Some((value, format!("`{key}` must be {what}")));
    let is_null = value.is_null();
    match shape {
        Shape::Text if !is_null && value.as_text().is_none() => here("text"),
        Shape::Texts if value.is_list() => {
            let odd = value.items().iter().find(|item| item.as_text().is_none())?;
            Some((odd, format!("`{key}` must hold texts")))
        }
        Shape::Texts if !is_null => {
            let example = value.scalar_text().unwrap_or_else(|| "folder".to_owned());
            here(&format!("a list, for example `[{example}]`"))
        }
        Shape::Whole => match value.kind {
            Kind::Null | Kind::Int(_) => None,
            Kind::Float(number) if number.fract() == 0.0 => None,
            _ => here("a whole number"),
        },
        Shape::Mapping if !is_null && !value.is_map() => here("a mapping"),
        Shape::FullMapping if !value.is_map() => here("a mapping"),
        Shape::FullList if !value.is_list() => here("a list"),
        Shape::Flag if !matches!(value.kind, Kind::Bool(_)) => here("true or false"),
        Shape::Version => match &value.kind {
            Kind::Null | Kind::Float(_) => None,
            Kind::Text(text) if is_version(text) => None,
            _ => here("a version such as '1.0.0'"),
        },
        Shape::Quoting => match &value.kind {
            Kind::Null => None,
            Kind::Map(entries) => entries.iter().find_map(|entry| {
                const KEYS: [&str; 5] =
                    ["database", "schema", "identifier", "project", "snowflake_ignore_case"];
                let known = KEYS.contains(&entry.key.as_str());
                let fits = matches!(entry.value.kind, Kind::Null | Kind::Bool(_));
                let message = match (known, fits) {
                    (true, true) => return None,
                    (true, false) => format!("`{}` of `quoting` must be true or false", entry.key),
                    (false, _) => format!(
                        "`quoting` has no key `{}`; it has database, schema and identifier",
                        entry.key
                    ),
                };
                Some((&entry.value, message))
            }),
            _ => here("a mapping"),
        },
        Shape::QueryComment => match &value.kind {
            Kind::Null | Kind::Text(_) => None,
            Kind::Map(entries) => entries.iter().find_map(|entry| {
                let what = match (entry.key.as_str(), &entry.value.kind) {
                    ("comment", Kind::Text(_)) | ("append" | "job-label", Kind::Bool(_)) => {
                        return None;
                    }
                    ("comment", _) => "`comment` of `query-comment` must be text".to_owned(),
                    ("append" | "job-label", _) => {
                        format!("`{}` of `query-comment` must be true or false", entry.key)
                    }
                    (key, _) => format!("`query-comment` has no key `{key}`"),
                };
                Some((&entry.value, what))
            }),
            _ => here("text, or a mapping with `comment`"),
        },
        _ => None,
    }
}

/// Two or three numbers, and after three what semantic versions may have.
fn is_version(text: &str) -> bool {
    let number = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    let mut parts = text.splitn(3, '.');
    let (Some(major), Some(minor)) = (parts.next(), parts.next()) else { return false };
    let Some(rest) = parts.next() else { return number(major) && number(minor) };
    let end = rest.find(['-', '+']).unwrap_or(rest.len());
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
    number(major) && number(minor) && number(&rest[..end]) && rest[end..].chars().all(fits)
}

/// Who judges `require-dbt-version`.
#[derive(Debug, Clone, Copy)]
pub struct VersionCheck {
    /// Whether a version (the first) lies within all of these bounds, such as `>=1.3.0`; why not,
    /// when one of them is no bound.
    pub contains: fn(&str, &[String]) -> Result<bool, String>,
    /// `false`: bounds have to make sense, and may leave out what this program does
    /// (`--no-version-check`).
    pub enforced: bool,
}

/// The key that says which versions of dbt a project works with.
pub(crate) const REQUIRED: &str = "require-dbt-version";

/// Whether this program is one of the versions that a project asks for: the value of that key.
pub(crate) fn required_version(
    value: &Yaml,
    project: &str,
    check: VersionCheck,
    file: &SourceFile,
    diagnostics: &mut Diagnostics,
) {
    if value.is_null() {
        return;
    }
    let bounds: Option<Vec<String>> = match &value.kind {
        Kind::Text(text) => Some(text.split(',').map(str::to_owned).collect()),
        Kind::List(items) => items.iter().map(|item| item.as_text().map(str::to_owned)).collect(),
        _ => None,
    };
    let Some(bounds) = bounds else {
        let message =
            format!("`{REQUIRED}` must be text or a list of texts, for example \">=1.8.0\"");
        wrong_shape(value, &message, file, diagnostics);
        return;
    };
    if bounds.is_empty() {
        return;
    }
    let diagnostic = match (check.contains)(DBT_VERSION, &bounds) {
        Err(reason) => Diagnostic::error("dbt-version", format!("`{REQUIRED}`: {reason}")),
        Ok(false) if check.enforced => Diagnostic::error(
            "dbt-version",
            format!(
                "`{project}` asks for dbt {}, and Tidemill does what dbt {DBT_VERSION} does",
                bounds.join(", ")
            ),
        )
        .hint("take another version of the package, or go on all the same with --no-version-check"),
        Ok(_) => return,
    };
    diagnostics.push(diagnostic.at(value.position(file)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    /// What dbt-core 1.12.6 says of each line of a `dbt_project.yml`.
    #[test]
    fn values_are_refused_as_dbt_refuses_them() {
        let refused = [
            "config-version: '2'",
            "config-version: two",
            "config-version: 2.5",
            "config-version: true",
            "config-version: [2]",
            "model-paths: models",
            "model-paths: {a: 1}",
            "model-paths: [1]",
            "model-paths: 3",
            "seed-paths: seeds",
            "docs-paths: docs",
            "osi-paths: x",
            "target-path: [a]",
            "target-path: 3",
            "clean-targets: target",
            "clean-targets: [1]",
            "log-path: 3",
            "packages-install-path: [a]",
            "vars: [1]",
            "vars: abc",
            "seeds: [1]",
            "snapshots: abc",
            "tests: 3",
            "tests:",
            "data_tests:",
            "tests: {}\ndata_tests: {}",
            "sources:",
            "exposures: [1]",
            "metrics:",
            "quoting: true",
            "quoting: {database: 'yes'}",
            "quoting: {nonsense: true}",
            "quoting: {column: true}",
            "dispatch: {a: 1}",
            "dispatch:",
            "query-comment: 3",
            "query-comment: [1]",
            "query-comment: false",
            "query-comment: {comment: x, apend: true}",
            "query-comment: {comment: }",
            "query-comment: {comment: x, job_label: true}",
            "flags: [1]",
            "flags:",
            "restrict-access: maybe",
            "restrict-access:",
            "packages: {a: 1}",
            "packages:",
            "dbt-cloud: x",
            "version: abc",
            "version: 3",
            "version: true",
            "version: [1]",
            "version: 1.x",
            "model-paths: [a]\nsource-paths: [a]",
        ];
        let taken = [
            "config-version: 3",
            "config-version: 1",
            "config-version: 2.0",
            "config-version:",
            "model-paths:",
            "model-paths: []",
            "target-path: ''",
            "target-path:",
            "models:",
            "seeds:",
            "snapshots:",
            "vars:",
            "quoting:",
            "quoting: {database: }",
            "quoting: {snowflake_ignore_case: true}",
            "dispatch: []",
            "query-comment:",
            "query-comment: ''",
            "query-comment: {append: true}",
            "query-comment: {comment: x, job-label: true}",
            "dbt-cloud:",
            "dbt-cloud: {project-id: 1}",
            "restrict-access: true",
            "version: 1.0",
            "version: '1.0'",
            "version: '1.0.0-rc1+build'",
            "version:",
            "source-paths: [models]",
        ];
        let errors = |text: &str| {
            let file = SourceFile::new("dbt_project.yml", text);
            let mut diagnostics = Diagnostics::new();
            check(&yaml::parse(&file).root, &file, &mut diagnostics);
            diagnostics.iter().count()
        };
        for text in refused {
            assert_eq!(errors(text), 1, "{text}");
        }
        for text in taken {
            assert_eq!(errors(text), 0, "{text}");
        }
    }
}

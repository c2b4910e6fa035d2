//! `--warn-error` and `--warn-error-options`: which warnings are errors, and which are not told.

use anyhow::{Result, bail};
use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, DiagnosticLevel, Diagnostics};
use tidemill_project::SourceFile;

use crate::flags::Flags;
use crate::output::Output;

/// The flag, as messages name it; the project's `flags:` hold the same.
const FLAG: &str = "--warn-error-options";

/// What happens to each warning. Names are the codes of our warnings (`selects-nothing`) or those
/// of dbt's events (`NoNodesForSelectionCriteria`); `Deprecations` means all that dbt calls so. As
/// in dbt a name counts more than `Deprecations` and that more than `all`, and of the same kind
/// `silence` more than `warn` and that more than `error`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct WarningRules {
    all: bool,
    errors: Vec<String>,
    warnings: Vec<String>,
    silent: Vec<String>,
}

/// dbt's names of what our codes tell.
const EVENTS: &[(&str, &[&str])] = &[
    ("selects-nothing", &["NoNodesForSelectionCriteria", "NoNodesSelected"]),
    ("nothing-to-do", &["NothingToDo"]),
    ("unused-config", &["UnusedResourceConfigPath"]),
    ("unknown-name", &["NoNodeForYamlKey", "MacroNotFoundForPatch"]),
    ("breaking-contract", &["UnversionedBreakingChange"]),
    ("constraint-not-enforced", &["ConstraintNotEnforced", "ConstraintNotSupported"]),
    ("deprecated-model", &["DeprecatedModel"]),
    ("deprecated-reference", &["DeprecatedReference", "UpcomingReferenceDeprecation"]),
    ("selector", &["SelectExcludeIgnoredWithSelectorWarning"]),
    ("test-warning", &["LogTestResult"]),
    ("result-warning", &["RunResultWarning"]),
    ("result-warning-message", &["RunResultWarningMessage"]),
    ("freshness-warning", &["LogFreshnessResult"]),
    ("template", &["JinjaLogWarning"]),
    ("duplicate-key", &["DuplicateYAMLKeysDeprecation"]),
    ("duplicate-name", &["DuplicateNameDistinctNodeTypesDeprecation"]),
    ("misplaced-key", &["CustomKeyInObjectDeprecation", "PropertyMovedToConfigDeprecation"]),
    ("unknown-key", &["CustomTopLevelKeyDeprecation", "CustomKeyInObjectDeprecation"]),
    ("unknown-config", &["CustomKeyInConfigDeprecation"]),
    ("older-option", &["WEOIncludeExcludeDeprecation"]),
];

/// dbt's word for all warnings about what it will not take for ever.
const DEPRECATIONS: &str = "Deprecations";

/// Every name that dbt takes here: its events, and what its other engine warns of.
const DBT_NAMES: &str = include_str!("events.txt");

impl WarningRules {
    /// From the flags, and what there is to say about them.
    ///
    /// # Errors
    /// When the options are no mapping of `error`, `warn` and `silence` (or `include` and `exclude`,
    /// their older names), or name a warning that nobody knows.
    pub(crate) fn of(flags: &Flags) -> Result<(Self, Diagnostics)> {
        let mut diagnostics = Diagnostics::new();
        let mut options = match flags.value("warn_error_options") {
            Some(Value::Object(map)) => map.clone(),
            Some(Value::String(text)) => {
                let file = SourceFile::new(FLAG, text.as_str());
                let parsed = tidemill_project::yaml::parse(&file);
                if parsed.diagnostics.has_errors() || !parsed.root.is_map() {
                    bail!(
                        "{FLAG} needs a mapping, for example '{{error: all, warn: [selects-nothing]}}'"
                    );
                }
                parsed.root.to_map()
            }
            None => Map::new(),
            Some(other) => bail!(
                "`warn_error_options: {other}`: write a mapping, for example {{error: all, warn: \
                 [selects-nothing]}}"
            ),
        };
        for (name, older) in [("error", "include"), ("warn", "exclude")] {
            let Some(value) = options.remove(older) else { continue };
            let given = options.get(name).is_some_and(|given| !is_nothing(given));
            if given && !is_nothing(&value) {
                bail!("{FLAG}: `{older}` is the older name of `{name}`; write one of them");
            }
            options.insert(name.to_owned(), value);
            diagnostics.push(Diagnostic::warning(
                "older-option",
                format!("{FLAG}: `{older}` is the older name of `{name}`"),
            ));
        }
        if flags.on("warn_error") && !options.is_empty() {
            bail!("--warn-error and {FLAG} exclude each other; `{{error: all}}` is the first");
        }
        let mut rules = WarningRules { all: flags.on("warn_error"), ..Self::default() };
        for (key, value) in &options {
            match key.as_str() {
                "error" => match value.as_str() {
                    Some("all" | "*") => rules.all = true,
                    _ => rules.errors = names_of(key, value)?,
                },
                "warn" => rules.warnings = names_of(key, value)?,
                "silence" => rules.silent = names_of(key, value)?,
                other => diagnostics.push(
                    Diagnostic::warning("unknown-key", format!("{FLAG} has no key `{other}`"))
                        .hint("use error, warn and silence"),
                ),
            }
        }
        let deprecations = [&rules.errors, &rules.silent]
            .iter()
            .any(|names| names.iter().any(|name| name == DEPRECATIONS));
        if !rules.warnings.is_empty() && !rules.all && !deprecations {
            bail!(
                "{FLAG}: `warn` leaves out of what is an error, so it needs `error: all`, or \
                 `{DEPRECATIONS}` in `error` or `silence`"
            );
        }
        Ok((rules, diagnostics))
    }

    /// Whether a warning of this code is an error.
    pub(crate) fn is_error(&self, code: &str) -> bool {
        if is_named(&self.warnings, code) || is_named(&self.silent, code) {
            return false;
        }
        let elsewhere =
            of_deprecations(&self.warnings, code) || of_deprecations(&self.silent, code);
        is_named(&self.errors, code)
            || (!elsewhere && (self.all || of_deprecations(&self.errors, code)))
    }

    /// Whether a warning of this code is not told.
    pub(crate) fn is_silent(&self, code: &str) -> bool {
        let named_elsewhere = is_named(&self.errors, code) || is_named(&self.warnings, code);
        is_named(&self.silent, code) || (of_deprecations(&self.silent, code) && !named_elsewhere)
    }

    /// Tells warnings.
    ///
    /// # Errors
    /// Those that count as errors, together.
    pub(crate) fn tell(&self, warnings: &Diagnostics, output: Output) -> Result<()> {
        let mut errors = Diagnostics::new();
        for warning in warnings.iter() {
            if self.is_silent(warning.code) {
                continue;
            }
            if self.is_error(warning.code) {
                errors.push(Diagnostic { level: DiagnosticLevel::Error, ..warning.clone() });
            } else {
                output.warn(events_of(warning.code).first().copied(), warning);
            }
        }
        if errors.has_errors() { Err(errors.into()) } else { Ok(()) }
    }
}

/// The names of a list, which all have to mean something.
fn names_of(key: &str, value: &Value) -> Result<Vec<String>> {
    let names = match value {
        Value::Null => Vec::new(),
        Value::Array(names) => names
            .iter()
            .map(|name| match name {
                Value::String(name) => name.clone(),
                other => other.to_string(),
            })
            .collect(),
        other => {
            let all = if key == "error" { "`all` or " } else { "" };
            bail!("{FLAG}: `{key}: {other}` is not {all}a list of names");
        }
    };
    for name in &names {
        let known = || {
            let ours = EVENTS.iter().map(|(code, _)| *code).chain(OTHER_CODES.iter().copied());
            ours.chain(DBT_NAMES.split_whitespace()).chain([DEPRECATIONS])
        };
        if known().any(|known| known == name) {
            continue;
        }
        match tidemill_project::nearest(name, known()) {
            Some(near) => bail!("{FLAG}: there is no warning `{name}`; did you mean `{near}`?"),
            None => bail!("{FLAG}: there is no warning `{name}`"),
        }
    }
    Ok(names)
}

/// Codes of warnings that dbt has no event for.
const OTHER_CODES: &[&str] = &[
    "description",
    "duplicate-column",
    "duplicate-test",
    "empty-python-model",
    "empty-source",
    "external-model",
    "no-profiles",
    "packages-not-installed",
    "unknown-test",
];

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn events_of(code: &str) -> &'static [&'static str] {
    EVENTS.iter().find(|(known, _)| *known == code).map_or(&[], |(_, events)| events)
}

fn is_named(list: &[String], code: &str) -> bool {
    list.iter().any(|name| name == code || events_of(code).contains(&name.as_str()))
}

/// Whether the list says `Deprecations`, and this is one.
fn of_deprecations(list: &[String], code: &str) -> bool {
    list.iter().any(|name| name == DEPRECATIONS)
        && events_of(code).iter().any(|event| event.ends_with("Deprecation"))
}

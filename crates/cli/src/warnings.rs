//! `--warn-error` and `--warn-error-options`: which warnings are errors, and which are not told.

use anyhow::{Result, anyhow};
use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, DiagnosticLevel, Diagnostics};
use tidemill_project::SourceFile;

use crate::flags::Flags;
use crate::output::Output;

/// What happens to each warning. Names are the codes of our warnings (`selects-nothing`) or those
/// of dbt's events (`NoNodesForSelectionCriteria`).
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
    ("unused-config", &["UnusedResourceConfigPath", "ConfigurationPath"]),
    ("unknown-name", &["NoNodeForYamlKey", "MacroNotFoundForPatch"]),
    ("breaking-contract", &["UnversionedBreakingChange"]),
    ("selector", &["SelectExcludeIgnoredWithSelectorWarning"]),
    ("test-warning", &["LogTestResult"]),
    ("freshness-warning", &["LogFreshnessResult"]),
    ("template", &["JinjaLogWarning"]),
    ("misplaced-key", &["CustomKeyInObjectDeprecation", "Deprecations"]),
    (
        "unknown-key",
        &["CustomTopLevelKeyDeprecation", "CustomKeyInObjectDeprecation", "Deprecations"],
    ),
    ("unknown-config", &["CustomKeyInConfigDeprecation", "Deprecations"]),
];

impl WarningRules {
    /// From the flags.
    ///
    /// # Errors
    /// When the options are no mapping of `error`, `warn` and `silence`.
    pub(crate) fn of(flags: &Flags) -> Result<Self> {
        let mut rules = WarningRules { all: flags.on("warn_error"), ..Self::default() };
        let options = match flags.value("warn_error_options") {
            Some(Value::Object(map)) => map.clone(),
            Some(Value::String(text)) if !text.trim().is_empty() => {
                let file = SourceFile::new("--warn-error-options", text.as_str());
                let parsed = tidemill_project::yaml::parse(&file);
                if parsed.diagnostics.has_errors() || !parsed.root.is_map() {
                    return Err(anyhow!(
                        "--warn-error-options needs a mapping, for example '{{error: all, warn: [name]}}'"
                    ));
                }
                parsed.root.to_map()
            }
            _ => Map::new(),
        };
        for (key, value) in &options {
            let names: Vec<String> = match value {
                Value::String(name) => vec![name.clone()],
                Value::Array(names) => {
                    names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
                }
                _ => Vec::new(),
            };
            match key.as_str() {
                "error" | "include" => {
                    rules.all |= names.iter().any(|name| matches!(name.as_str(), "all" | "*"));
                    rules.errors.extend(names);
                }
                "warn" | "exclude" => rules.warnings.extend(names),
                "silence" => rules.silent.extend(names),
                other => {
                    return Err(anyhow!(
                        "--warn-error-options has no key `{other}`; use error, warn and silence"
                    ));
                }
            }
        }
        Ok(rules)
    }

    /// Whether a warning of this code is an error.
    pub(crate) fn is_error(&self, code: &str) -> bool {
        (self.all || names(&self.errors, code)) && !names(&self.warnings, code)
    }

    /// Whether a warning of this code is not told.
    pub(crate) fn is_silent(&self, code: &str) -> bool {
        names(&self.silent, code)
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
                output.say(warning);
            }
        }
        if errors.has_errors() { Err(errors.into()) } else { Ok(()) }
    }
}

fn names(list: &[String], code: &str) -> bool {
    list.iter().any(|name| {
        name == code
            || EVENTS
                .iter()
                .any(|(known, events)| *known == code && events.contains(&name.as_str()))
    })
}

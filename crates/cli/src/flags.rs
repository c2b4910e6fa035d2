//! dbt's flags that every command takes: one table, read from the command line, the environment and
//! the project's `flags:`, in this order.

use std::collections::BTreeMap;
use std::path::Path;

use clap::builder::{BoolishValueParser, PossibleValuesParser, StringValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use serde_json::{Map, Value};

use crate::args::Cli;

/// What a flag holds.
#[derive(Clone, Copy)]
enum Kind {
    /// On or off, with its `--no-` form.
    Switch(bool),
    /// One of these words.
    Choice(&'static [&'static str], &'static str),
    /// Text; nothing unless given.
    Text(&'static str),
    /// A whole number.
    Number(i64),
}

/// One flag. Without a help text it is one that changes nothing here, and is not shown.
struct Flag {
    name: &'static str,
    short: Option<char>,
    kind: Kind,
    /// The old name of its environment variable.
    old_variable: Option<&'static str>,
    help: Option<&'static str>,
}

const fn shown(name: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { name, short: None, kind, old_variable: None, help: Some(help) }
}

const fn accepted(name: &'static str, kind: Kind) -> Flag {
    Flag { name, short: None, kind, old_variable: None, help: None }
}

impl Flag {
    const fn short(self, short: char) -> Flag {
        Flag { short: Some(short), ..self }
    }

    const fn was(self, variable: &'static str) -> Flag {
        Flag { old_variable: Some(variable), ..self }
    }
}

const LEVELS: &[&str] = &["debug", "info", "warn", "error", "none"];
const FORMATS: &[&str] = &["text", "debug", "json", "default", "otel"];

const FLAGS: &[Flag] = &[
    shown("quiet", Kind::Switch(false), "Only errors and data").short('q'),
    shown("debug", Kind::Switch(false), "More detail on standard error (`-d` as in dbt)").short('d'),
    shown("use-colors", Kind::Switch(true), "Colours on a terminal; `--no-use-colors`: never"),
    shown("fail-fast", Kind::Switch(false), "Stop at the first failure").short('x'),
    shown(
        "state",
        Kind::Text("DIR"),
        "The folder with artifacts of an earlier run, for `state:`, `result:`, `source_status:` and --defer",
    )
    .was("DBT_ARTIFACT_STATE_PATH"),
    shown(
        "defer",
        Kind::Switch(false),
        "Read models that are not selected and not built here from the environment of --state",
    )
    .was("DBT_DEFER_TO_STATE"),
    shown("defer-state", Kind::Text("DIR"), "The folder whose manifest --defer reads instead"),
    shown(
        "defer-lake",
        Kind::Text("LAKE"),
        "Where the lake of that environment is, when the manifest does not say or it has moved",
    ),
    shown(
        "favor-state",
        Kind::Switch(false),
        "With --defer: read models that are not selected from there even if they are built here",
    )
    .was("DBT_FAVOR_STATE_MODE"),
    shown(
        "indirect-selection",
        Kind::Choice(&["eager", "cautious", "buildable", "empty"], "eager"),
        "Which tests come along with what is selected",
    ),
    shown("warn-error", Kind::Switch(false), "Treat every warning as an error"),
    shown(
        "warn-error-options",
        Kind::Text("YAML"),
        "Which warnings are errors, and which are not shown: '{error: all, warn: [...], silence: [...]}'",
    ),
    shown("log-path", Kind::Text("DIR"), "The folder of `dbt.log` [default: logs]"),
    shown("log-level", Kind::Choice(LEVELS, "info"), "How much is told on standard error"),
    shown("log-level-file", Kind::Choice(LEVELS, "debug"), "How much goes to the log file"),
    shown("log-format", Kind::Choice(FORMATS, "default"), "`json`: one JSON object a line"),
    shown("log-format-file", Kind::Choice(FORMATS, "debug"), "The form of the log file"),
    shown("log-file-max-bytes", Kind::Number(10 << 20), "The log file begins anew at this size"),
    shown("write-json", Kind::Switch(true), "`--no-write-json`: write no artifacts"),
    shown("print", Kind::Switch(true), "`--no-print`: `print()` of templates is silent"),
    accepted("cache-selected-only", Kind::Switch(false)),
    accepted("populate-cache", Kind::Switch(true)),
    accepted("hints-enabled", Kind::Switch(true)),
    accepted("log-cache-events", Kind::Switch(false)),
    accepted("macro-debugging", Kind::Switch(false)),
    shown(
        "maximum-seed-size-mib",
        Kind::Number(1),
        "Larger seeds are compared with --state by their path; 0: none is",
    ),
    accepted("partial-parse", Kind::Switch(true)),
    accepted("partial-parse-file-diff", Kind::Switch(true)),
    accepted("partial-parse-file-path", Kind::Text("FILE")),
    accepted("printer-width", Kind::Number(80)),
    accepted("record-timing-info", Kind::Text("FILE")).short('r'),
    accepted("send-anonymous-usage-stats", Kind::Switch(false)),
    accepted("show-all-deprecations", Kind::Switch(false)),
    accepted("show-resource-report", Kind::Switch(false)),
    shown("single-threaded", Kind::Switch(false), "Work on one node at a time"),
    accepted("snowflake-projects-otel", Kind::Switch(false)),
    accepted("sqlparse", Kind::Text("YAML")),
    accepted("static-parser", Kind::Switch(true)),
    accepted("upload-to-artifacts-ingest-api", Kind::Switch(false)),
    accepted("use-colors-file", Kind::Switch(false)),
    accepted("use-experimental-parser", Kind::Switch(false)),
    accepted("use-fast-test-edges", Kind::Switch(false)),
    accepted("use-v2-parser", Kind::Switch(false)),
    accepted("v2-parser", Kind::Text("COMMAND")),
    shown(
        "version-check",
        Kind::Switch(true),
        "`--no-version-check`: go on where `require-dbt-version` asks for another dbt",
    ),
];

/// The flags as they count: under dbt's names, with `_`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    values: BTreeMap<String, Value>,
}

impl Flags {
    /// Whether a switch is on.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.values.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The text of a flag, when it has one.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.values.get(name)?.as_i64()
    }

    /// A value that may be a mapping: `warn_error_options` of the project.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|value| !value.is_null())
    }

    /// The same flags, but for those that another command had otherwise. Those that say where
    /// something is stay.
    pub(crate) fn with_earlier(&self, earlier: &Map<String, Value>) -> Flags {
        const STAY: [&str; 11] = [
            "log_path",
            "log_level",
            "log_level_file",
            "log_format",
            "log_format_file",
            "defer_state",
            "defer_lake",
            "warn_error",
            "quiet",
            "debug",
            "use_colors",
        ];
        let mut values = self.values.clone();
        for (name, value) in &mut values {
            if let Some(before) = earlier.get(name).filter(|_| !STAY.contains(&name.as_str())) {
                *value = before.clone();
            }
        }
        Flags { values }
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.values.iter()
    }
}

/// Flags that dbt's command of that name does not have: neither on the command line nor from the
/// environment. (The commands share their arguments here.)
const REFUSED: &[(&[&str], &[&str])] = &[
    (&["run"], RESOURCE_TYPES),
    (&["run"], &["store_failures", "show"]),
    (&["run"], SAVED_QUERIES),
    (&["seed"], RESOURCE_TYPES),
    (&["seed"], &["store_failures", "sample", "event_time_start", "event_time_end"]),
    (&["seed"], SAVED_QUERIES),
    (&["snapshot"], RESOURCE_TYPES),
    (&["snapshot"], &["store_failures", "sample", "event_time_start", "event_time_end"]),
    (&["snapshot"], &["full_refresh", "show"]),
    (&["snapshot"], SAVED_QUERIES),
    (&["compile"], RESOURCE_TYPES),
    (&["show"], RESOURCE_TYPES),
    (&["show"], &["inject_ephemeral_ctes", "no_inject_ephemeral_ctes"]),
    (&["source", "freshness"], RESOURCE_TYPES),
    (&["snapshot-freshness"], RESOURCE_TYPES),
    (&["docs", "generate"], RESOURCE_TYPES),
];

const RESOURCE_TYPES: &[&str] = &["resource_type", "exclude_resource_type"];

const SAVED_QUERIES: &[&str] = &[
    "export_saved_queries",
    "no_export_saved_queries",
    "include_saved_query",
    "no_include_saved_query",
];

/// The command without the flags that dbt refuses there: they are not shown, and not read from the
/// environment. What is typed is refused by [`refused`].
fn without_refused(mut command: Command, path: &[&str], ids: &[&'static str]) -> Command {
    match path {
        [name, rest @ ..] => {
            let (rest, ids) = (rest.to_vec(), ids.to_vec());
            command.mut_subcommand(*name, move |inner| without_refused(inner, &rest, &ids))
        }
        [] => {
            for id in ids {
                command = command
                    .mut_arg(*id, |arg| arg.hide(true).env(clap::builder::Resettable::Reset));
            }
            command
        }
    }
}

/// The flag that was typed and that the command does not have.
fn refused(matches: &ArgMatches) -> Option<&'static str> {
    let mut path = Vec::new();
    let mut matches = matches;
    while let Some((name, inner)) = matches.subcommand() {
        path.push(name);
        matches = inner;
    }
    let here = REFUSED.iter().filter(|(command, _)| *command == path.as_slice());
    here.flat_map(|(_, ids)| ids.iter().copied())
        .find(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
}

/// Parses the command line. What is wrong with it, and `--help`, end the process.
pub(crate) fn parse() -> Cli {
    let mut command = command();
    let matches = command.get_matches_mut();
    if let Some(id) = refused(&matches) {
        let message = format!("unexpected argument '--{}' found", id.replace('_', "-"));
        command.error(clap::error::ErrorKind::UnknownArgument, message).exit();
    }
    let mut cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let written = project_folder(&cli).as_deref().map(project_flags).unwrap_or_default();
    cli.global.flags = std::sync::Arc::new(resolve(&matches, &written));
    cli
}

/// The whole command line as clap knows it.
fn command() -> Command {
    let version = Arg::new("version")
        .long("version")
        .short('V')
        .short_alias('v')
        .global(true)
        .help("Print version")
        .action(ArgAction::Version);
    let mut command = Cli::command().arg(version);
    for flag in FLAGS {
        let (positive, negative) = arguments(flag);
        command = command.arg(positive);
        if let Some(negative) = negative {
            command = command.arg(negative);
        }
    }
    for (path, ids) in REFUSED {
        command = without_refused(command, path, ids);
    }
    with_variables(command)
}

fn arguments(flag: &Flag) -> (Arg, Option<Arg>) {
    let mut arg = Arg::new(flag.name)
        .long(flag.name)
        .global(true)
        .help_heading("dbt")
        .action(ArgAction::Set)
        .env(variable(flag));
    if let Some(short) = flag.short {
        arg = arg.short(short);
    }
    arg = match flag.help {
        Some(help) => arg.help(help),
        None => arg.hide(true),
    };
    match flag.kind {
        Kind::Switch(_) => {
            let negative = negative_name(flag.name);
            let arg = arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .hide_possible_values(true)
                .value_name("BOOL")
                .value_parser(BoolishValueParser::new())
                .overrides_with(negative);
            let negative = Arg::new(negative)
                .long(negative)
                .global(true)
                .hide(true)
                .action(ArgAction::SetTrue)
                .overrides_with(flag.name);
            (arg, Some(negative))
        }
        Kind::Choice(words, _) => {
            (arg.value_name("WORD").value_parser(PossibleValuesParser::new(words)), None)
        }
        Kind::Text(value) => (arg.value_name(value).value_parser(StringValueParser::new()), None),
        Kind::Number(_) => (arg.value_name("N").value_parser(clap::value_parser!(i64)), None),
    }
}

/// `no-` before the name. The names live as long as the process.
fn negative_name(name: &str) -> &'static str {
    Box::leak(format!("no-{name}").into_boxed_str())
}

/// The environment variable of a flag: `DBT_ENGINE_NAME` when it is set, else `DBT_NAME`, else its
/// old name when that is set.
fn variable(flag: &Flag) -> &'static str {
    let end = flag.name.replace('-', "_").to_uppercase();
    let new = format!("DBT_{end}");
    if std::env::var_os(&new).is_none()
        && let Some(old) = flag.old_variable.filter(|old| std::env::var_os(old).is_some())
    {
        return old;
    }
    Box::leak(new.into_boxed_str())
}

/// `DBT_ENGINE_X` counts like `DBT_X`, and before it; switches take all of dbt's words for yes and
/// no; a variable that is empty is none.
fn with_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let Some(name) = arg.get_env().and_then(|name| name.to_str()) else { return arg };
        let is_empty = |name: &str| std::env::var_os(name).is_some_and(|value| value.is_empty());
        let engine = name.strip_prefix("DBT_").map(|rest| format!("DBT_ENGINE_{rest}"));
        let engine =
            engine.filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        let arg = match engine {
            Some(engine) => {
                let engine: &'static str = Box::leak(engine.into_boxed_str());
                arg.env(engine)
            }
            None if is_empty(name) => arg.env(clap::builder::Resettable::Reset),
            None => arg,
        };
        match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg,
        }
    });
    command.mut_subcommands(with_variables)
}

/// The folder of the project that the command line means, when there is one.
pub(crate) fn project_folder(cli: &Cli) -> Option<std::path::PathBuf> {
    let given = cli.global.project_dir.as_deref().map(Path::to_owned);
    let folder = given.or_else(nearest_project)?;
    folder.join("dbt_project.yml").is_file().then_some(folder)
}

/// The folder with `dbt_project.yml` at or above the working folder.
fn nearest_project() -> Option<std::path::PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors().find(|folder| folder.join("dbt_project.yml").is_file()).map(Path::to_owned)
}

/// `flags:` of a project. What is wrong with the file is told when the project is loaded.
fn project_flags(folder: &Path) -> Map<String, Value> {
    let Ok(text) = std::fs::read_to_string(folder.join("dbt_project.yml")) else {
        return Map::new();
    };
    let file = tidemill_project::SourceFile::new("dbt_project.yml", text);
    let parsed = tidemill_project::yaml::parse(&file);
    let mut flags =
        parsed.root.get("flags").map(tidemill_project::yaml::Yaml::to_map).unwrap_or_default();
    // An older place.
    if let Some(path) = parsed.root.get("log-path").and_then(|path| path.as_text()) {
        flags.entry("log_path").or_insert_with(|| path.into());
    }
    flags
}

fn resolve(matches: &ArgMatches, project: &Map<String, Value>) -> Flags {
    // What stands before the command and what stands behind it come together in the innermost.
    let mut matches = matches;
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    let mut values = BTreeMap::new();
    for flag in FLAGS {
        let key = flag.name.replace('-', "_");
        let given = |id: &str| {
            matches!(
                matches.value_source(id),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            )
        };
        let negative =
            matches!(flag.kind, Kind::Switch(_)) && matches.get_flag(negative_name(flag.name));
        let value = match flag.kind {
            Kind::Switch(_) if negative => Value::from(false),
            Kind::Switch(_) if given(flag.name) => {
                Value::from(matches.get_one::<bool>(flag.name).copied().unwrap_or(true))
            }
            Kind::Number(_) if given(flag.name) => {
                matches.get_one::<i64>(flag.name).copied().into()
            }
            Kind::Choice(..) | Kind::Text(_) if given(flag.name) => {
                matches.get_one::<String>(flag.name).cloned().into()
            }
            kind => match project.get(&key).filter(|value| !value.is_null()) {
                Some(value) => value.clone(),
                None => match kind {
                    Kind::Switch(default) => default.into(),
                    Kind::Choice(_, default) => default.into(),
                    Kind::Number(default) => default.into(),
                    Kind::Text(_) => Value::Null,
                },
            },
        };
        values.insert(key, value);
    }
    // An older name that says the opposite.
    if std::env::var("DBT_NO_PRINT").is_ok_and(|value| matches!(value.as_str(), "1" | "true")) {
        values.insert("print".to_owned(), false.into());
    }
    // Flags that only a project has.
    for (key, value) in project {
        values.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Flags { values }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str], project: Value) -> Flags {
        let all = std::iter::once("tidemill").chain(arguments.iter().copied());
        let matches = command().try_get_matches_from(all).unwrap();
        let Value::Object(project) = project else { panic!("not a mapping") };
        resolve(&matches, &project)
    }

    #[test]
    fn the_command_line_wins_over_the_project_in_either_place_and_form() {
        let project = || serde_json::json!({"fail_fast": true, "state": "old", "own": 1});
        assert!(flags(&["ls"], project()).on("fail_fast"));
        assert!(!flags(&["ls", "--no-fail-fast"], project()).on("fail_fast"));
        assert!(!flags(&["--no-fail-fast", "ls"], project()).on("fail_fast"));
        assert!(
            flags(&["ls", "--no-fail-fast", "--fail-fast"], serde_json::json!({})).on("fail_fast")
        );
        assert!(!flags(&["ls", "-x", "--no-fail-fast"], serde_json::json!({})).on("fail_fast"));
        assert_eq!(flags(&["ls"], project()).text("state"), Some("old"));
        assert_eq!(flags(&["ls", "--state", "new"], project()).text("state"), Some("new"));
        assert_eq!(flags(&["--state", "new", "ls"], project()).text("state"), Some("new"));
        assert_eq!(flags(&["ls"], project()).value("own"), Some(&1.into()));
        let plain = flags(&["ls"], serde_json::json!({}));
        assert!(plain.on("write_json") && plain.on("print") && !plain.on("defer"));
        assert_eq!(plain.text("indirect_selection"), Some("eager"));
        assert_eq!(plain.text("state"), None);
    }

    #[test]
    fn unknown_flags_and_words_are_refused_with_what_is_near() {
        let wrong = |arguments: &[&str]| {
            let all = std::iter::once("tidemill").chain(arguments.iter().copied());
            command().try_get_matches_from(all).unwrap_err().to_string()
        };
        assert!(wrong(&["ls", "--fail-fst"]).contains("--fail-fast"));
        assert!(wrong(&["ls", "--indirect-selection", "egaer"]).contains("eager"));
        command().debug_assert();
    }
}

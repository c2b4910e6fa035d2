//! What can be typed. Low-level: resolved into what it means in `session` and `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::connection::{ConnectionArgs, ConnectionCommand};
use crate::commands::export::ExportArgs;
use crate::commands::ingest_init::Ingest;

/// The data engineer's whole job in one binary: load, model, check and publish, on an open lakehouse.
#[derive(Debug, Parser)]
#[command(
    name = "tidemill",
    version,
    propagate_version = true,
    disable_version_flag = true,
    args_override_self = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Flags of every command; they may stand before or after it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Project")]
pub(crate) struct Global {
    /// The folder with `dbt_project.yml` [default: the working folder or the nearest one above it]
    #[arg(long, global = true, env = "DBT_PROJECT_DIR", value_name = "DIR")]
    pub(crate) project_dir: Option<PathBuf>,
    /// The folder with `profiles.yml`
    #[arg(long, global = true, env = "DBT_PROFILES_DIR", value_name = "DIR")]
    pub(crate) profiles_dir: Option<PathBuf>,
    /// The profile to use instead of the project's
    #[arg(long, global = true, env = "DBT_PROFILE", value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The output of the profile to use
    #[arg(long, short, global = true, env = "DBT_TARGET", value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// Use this lake (a folder) whatever type the profile has [without a value: lake]
    #[arg(long, global = true, value_name = "LAKE", num_args = 0..=1, default_missing_value = "lake", require_equals = true)]
    pub(crate) target_lake: Option<String>,
    /// Values for `var()`, as YAML or JSON: '{start: 2024-01-01}'
    #[arg(long, global = true, value_name = "YAML")]
    pub(crate) vars: Option<String>,
    /// How many nodes are worked on at once [default: the profile's, or the number of cores]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// The folder for compiled SQL and artifacts [default: target]
    #[arg(long, global = true, env = "DBT_TARGET_PATH", value_name = "DIR")]
    pub(crate) target_path: Option<PathBuf>,
    /// The most memory that queries may use together, for example 2GiB [default: 60% of the machine's]
    #[arg(long, global = true, env = "TIDEMILL_MEMORY", value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// How progress and results are written
    #[arg(long, global = true, value_name = "FORMAT", value_enum, help_heading = "Output")]
    pub(crate) format: Option<Format>,
    /// dbt's flags of every command, from everywhere they may be set.
    #[arg(skip)]
    pub(crate) flags: std::sync::Arc<crate::flags::Flags>,
}

/// The form of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    #[value(alias = "table")]
    Text,
    /// One JSON object a line (`sql`: one array).
    Json,
    /// Comma-separated values (`sql` and `show`).
    Csv,
    /// An Arrow IPC stream (`sql`).
    Arrow,
    /// A Parquet file (`sql`).
    Parquet,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a new project in a folder
    Init(Init),
    /// Load, build, check and publish everything selected
    Build(Build),
    /// Build models, without checks
    Run(Build),
    /// Run checks on what is published
    Test(Test),
    /// Load the project's CSV files
    Seed(Build),
    /// Keep the history of tables: what has changed in the source ends or begins
    Snapshot(Build),
    /// Load sources, or write the YAML of one (init)
    Ingest(Ingest),
    /// The external systems of the project: list, test, add, discover, preview
    Connection(ConnectionArgs),
    /// Deliver models to other systems, as exports.yml says
    Export(ExportArgs),
    /// Read the project and write its manifest
    Parse,
    /// Write the SQL of models to the target folder without running it
    Compile(Compile),
    /// List what is selected
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Run the query of one model, or one given inline, and show its first rows
    Show(Show),
    /// Print what a build would do, and why
    Plan(Build),
    /// Copy the relations of another environment (--state) into this one
    Clone(CloneArgs),
    /// Do again what failed in the last command, and what depended on it
    Retry(Retry),
    /// Call a macro, whose statements may change the lake
    RunOperation(RunOperation),
    /// Look at sources: how fresh they are
    Source(Source),
    /// The older name of `source freshness`
    #[command(hide = true)]
    SnapshotFreshness(Freshness),
    /// Say what this project, profile and lake are, and whether they work
    Debug(Debug),
    /// Say what of a dbt project works here, what not, where, and what to do
    Doctor(Doctor),
    /// Delete the target folder and other generated folders
    Clean(Clean),
    /// Install the packages that the project names
    Deps(Deps),
    /// Run one SQL statement on the lake, or start a prompt
    Sql(Sql),
    /// Look at the lake's tables and versions, and look after them
    Lake(Lake),
    /// Make the project's documentation site, or serve it
    Docs(Docs),
}

impl Command {
    /// Whether the project's models and YAML have to be read for it.
    pub(crate) fn needs_models(&self) -> bool {
        !matches!(
            self,
            Command::Sql(_)
                | Command::Lake(_)
                | Command::Clean(_)
                | Command::Deps(_)
                | Command::Connection(ConnectionArgs {
                    command: ConnectionCommand::Test { .. }
                        | ConnectionCommand::Add { .. }
                        | ConnectionCommand::Discover { .. }
                        | ConnectionCommand::Preview { .. },
                })
                | Command::Docs(Docs { command: DocsCommand::Serve(_) })
        )
    }

    /// Whether what it does is logged in the project.
    pub(crate) fn is_logged(&self) -> bool {
        !matches!(
            self,
            Command::Init(_)
                | Command::Sql(_)
                | Command::Lake(_)
                | Command::Clean(_)
                | Command::Debug(_)
                | Command::Connection(_)
                | Command::Doctor(_)
                | Command::Docs(Docs { command: DocsCommand::Serve(_) })
        )
    }

    /// Whether it gives nodes to threads.
    pub(crate) fn needs_threads(&self) -> bool {
        !matches!(
            self,
            Command::Init(_)
                | Command::Parse
                | Command::Ls(_)
                | Command::Clean(_)
                | Command::Deps(_)
                | Command::Debug(_)
                | Command::Docs(Docs { command: DocsCommand::Serve(_) })
        )
    }

    /// dbt's name of the command (`flags.WHICH`).
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Init(_) => "init",
            Command::Build(_) => "build",
            Command::Run(_) => "run",
            Command::Test(_) => "test",
            Command::Seed(_) => "seed",
            Command::Snapshot(_) => "snapshot",
            Command::Ingest(_) => "ingest",
            Command::Connection(_) => "connection",
            Command::Export(_) => "export",
            Command::Parse => "parse",
            Command::Compile(_) => "compile",
            Command::Ls(_) => "list",
            Command::Show(_) => "show",
            Command::Plan(_) => "plan",
            Command::Clone(_) => "clone",
            Command::Retry(_) => "retry",
            Command::RunOperation(_) => "run-operation",
            Command::Source(_) | Command::SnapshotFreshness(_) => "freshness",
            Command::Debug(_) => "debug",
            Command::Doctor(_) => "doctor",
            Command::Clean(_) => "clean",
            Command::Deps(_) => "deps",
            Command::Sql(_) => "sql",
            Command::Lake(_) => "lake",
            // dbt's words for `flags.WHICH`.
            Command::Docs(Docs { command: DocsCommand::Generate(_) }) => "generate",
            Command::Docs(Docs { command: DocsCommand::Serve(_) }) => "serve",
        }
    }
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct SelectionArgs {
    /// What to work on: names, paths, `tag:x`, `source:x`, `+upstream`, `downstream+`; a space means
    /// or, a comma means and
    #[arg(long, short, num_args = 1.., value_name = "SELECTOR")]
    pub(crate) select: Vec<String>,
    /// The older name of --select; in `ls`, models alone
    #[arg(long, short, alias = "model", num_args = 1.., value_name = "SELECTOR", hide = true)]
    pub(crate) models: Vec<String>,
    /// What to leave out
    #[arg(long, num_args = 1.., value_name = "SELECTOR")]
    pub(crate) exclude: Vec<String>,
    /// A selection of `selectors.yml`, by its name
    #[arg(long, value_name = "NAME")]
    pub(crate) selector: Option<String>,
    /// Only nodes of this type: model, seed, snapshot, source, test, unit_test, …; `all`, `default`
    #[arg(long, alias = "resource-types", env = "DBT_RESOURCE_TYPES", value_delimiter = ' ', num_args = 1.., value_name = "TYPE")]
    pub(crate) resource_type: Vec<String>,
    /// No nodes of this type
    #[arg(long, alias = "exclude-resource-types", env = "DBT_EXCLUDE_RESOURCE_TYPES", value_delimiter = ' ', num_args = 1.., value_name = "TYPE")]
    pub(crate) exclude_resource_type: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Build incremental models and load seeds and sources from nothing
    #[arg(long, short, env = "DBT_FULL_REFRESH")]
    pub(crate) full_refresh: bool,
    /// Build everything selected, even if nothing changed
    #[arg(long)]
    pub(crate) no_reuse: bool,
    /// When results become visible: each model's when its checks passed, or the whole run's at once
    #[arg(long, value_enum, default_value_t = Publish::Model)]
    pub(crate) publish: Publish,
    /// Keep failing rows in tables of the schema `<target schema>_dbt_test__audit`
    #[arg(long, env = "DBT_STORE_FAILURES")]
    pub(crate) store_failures: bool,
    /// Read no rows: build every table and view without any, to see whether the SQL works
    #[arg(long, env = "DBT_EMPTY", overrides_with = "no_empty")]
    pub(crate) empty: bool,
    #[arg(long, hide = true)]
    pub(crate) no_empty: bool,
    /// Read only rows of a span of time, of relations with `event_time`: '3 days', or
    /// '{start: 2024-01-01, end: 2024-02-01}'
    #[arg(long, env = "DBT_SAMPLE", value_name = "SPAN")]
    pub(crate) sample: Option<String>,
    /// Take over what other engines wrote to our tables even if checks fail
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Build again whenever a file of the project is saved
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print the first rows of the seeds that were loaded (`seed` and `build`)
    #[arg(long)]
    pub(crate) show: bool,
    #[command(flatten)]
    pub(crate) saved_queries: SavedQueries,
    /// Microbatch models begin with the batch of this time (UTC): 2024-09-01, 2024-09-01T12:00:00
    #[arg(long, env = "DBT_EVENT_TIME_START", value_name = "TIME", requires = "event_time_end", value_parser = event_time)]
    pub(crate) event_time_start: Option<i64>,
    /// Microbatch models end at this time (UTC)
    #[arg(long, env = "DBT_EVENT_TIME_END", value_name = "TIME", requires = "event_time_start", value_parser = event_time)]
    pub(crate) event_time_end: Option<i64>,
}

/// dbt's flags about saved queries, which its hosted service exports.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SavedQueries {
    #[arg(
        long,
        env = "DBT_EXPORT_SAVED_QUERIES",
        hide = true,
        overrides_with = "no_export_saved_queries"
    )]
    pub(crate) export_saved_queries: bool,
    #[arg(long, hide = true)]
    pub(crate) no_export_saved_queries: bool,
    #[arg(
        long,
        env = "DBT_INCLUDE_SAVED_QUERY",
        hide = true,
        overrides_with = "no_include_saved_query"
    )]
    pub(crate) include_saved_query: bool,
    #[arg(long, hide = true)]
    pub(crate) no_include_saved_query: bool,
}

/// Microseconds since 1970.
fn event_time(text: &str) -> Result<i64, String> {
    tidemill_project::parse_time(text).ok_or_else(|| {
        "write a date or a time, such as 2024-09-01 or 2024-09-01T12:00:00".to_owned()
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Publish {
    Model,
    Run,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Run every check again; `test` always does
    #[arg(long, hide = true)]
    pub(crate) no_reuse: bool,
    /// Keep failing rows in tables of the schema `<target schema>_dbt_test__audit`
    #[arg(long, env = "DBT_STORE_FAILURES")]
    pub(crate) store_failures: bool,
}

/// `clone`
#[derive(Debug, Default, Args)]
pub(crate) struct CloneArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Replace relations that are here already
    #[arg(long, short, env = "DBT_FULL_REFRESH")]
    pub(crate) full_refresh: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Doctor {
    /// Show all places of each finding
    #[arg(long)]
    pub(crate) all: bool,
    /// text or json
    #[arg(long, value_enum)]
    pub(crate) output: Option<Format>,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Compile {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Compile this text instead of files
    #[arg(long, value_name = "SQL")]
    pub(crate) inline: Option<String>,
    /// Render `is_incremental()` as false
    #[arg(long, short, env = "DBT_FULL_REFRESH")]
    pub(crate) full_refresh: bool,
    /// Render `ref` and `source` so that no rows are read
    #[arg(long, env = "DBT_EMPTY", overrides_with = "no_empty")]
    pub(crate) empty: bool,
    #[arg(long, hide = true)]
    pub(crate) no_empty: bool,
    #[command(flatten)]
    pub(crate) introspection: Introspection,
    /// `json`: what is printed, as one object
    #[arg(long, value_enum)]
    pub(crate) output: Option<Format>,
}

/// Whether templates may ask for data.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Introspection {
    /// Templates may ask the lake or database for rows and columns (the default)
    #[arg(long, hide = true, overrides_with = "no_introspect")]
    pub(crate) introspect: bool,
    /// A template that asks the lake or database for rows or columns is an error
    #[arg(long, overrides_with = "introspect")]
    pub(crate) no_introspect: bool,
    #[arg(long, hide = true, overrides_with = "no_inject_ephemeral_ctes")]
    pub(crate) inject_ephemeral_ctes: bool,
    #[arg(long, hide = true)]
    pub(crate) no_inject_ephemeral_ctes: bool,
}

impl Introspection {
    /// Whether templates may ask.
    ///
    /// # Errors
    /// When ephemeral models are not to be inlined: without them the SQL means nothing.
    pub(crate) fn resolve(&self) -> anyhow::Result<bool> {
        if self.no_inject_ephemeral_ctes && !self.inject_ephemeral_ctes {
            anyhow::bail!(
                "--no-inject-ephemeral-ctes: SQL that names an ephemeral model without its CTE does not \
                 run; leave the flag out"
            );
        }
        Ok(!self.no_introspect)
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// What is printed for each node
    #[arg(long, value_enum, default_value_t = LsOutput::Selector)]
    pub(crate) output: LsOutput,
    /// With `--output json`: only these keys
    #[arg(long, num_args = 1.., value_name = "KEY")]
    pub(crate) output_keys: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LsOutput {
    Selector,
    Name,
    Path,
    Json,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// A query with Jinja instead of a model
    #[arg(long, value_name = "SQL", conflicts_with = "select")]
    pub(crate) inline: Option<String>,
    /// A query without Jinja
    #[arg(long, value_name = "SQL", hide = true, conflicts_with_all = ["select", "inline"])]
    pub(crate) inline_direct: Option<String>,
    /// Render `is_incremental()` as false
    #[arg(long, short, env = "DBT_FULL_REFRESH")]
    pub(crate) full_refresh: bool,
    #[command(flatten)]
    pub(crate) introspection: Introspection,
    /// How many rows; -1 for all
    #[arg(long, default_value_t = 5, allow_hyphen_values = true, value_name = "N")]
    pub(crate) limit: i64,
    /// dbt's name for `--format`
    #[arg(long, value_enum, hide = true)]
    pub(crate) output: Option<Format>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Source {
    #[command(subcommand)]
    pub(crate) command: SourceCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SourceCommand {
    /// How old the newest rows of sources are, and whether that is too old
    #[command(alias = "snapshot-freshness")]
    Freshness(Freshness),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Freshness {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// The file of the results [default: sources.json in the target folder]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Retry {
    /// Build incremental models from nothing
    #[arg(long, short, env = "DBT_FULL_REFRESH")]
    pub(crate) full_refresh: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunOperation {
    /// The macro: `name` or `package.name`
    #[arg(value_name = "MACRO", required_unless_present = "sql", conflicts_with = "sql")]
    pub(crate) macro_name: Option<String>,
    /// Its arguments, as YAML or JSON: '{days: 7}'
    #[arg(long, value_name = "YAML", conflicts_with = "sql")]
    pub(crate) args: Option<String>,
    /// Statements with Jinja, performed instead of a macro
    #[arg(long, value_name = "SQL")]
    pub(crate) sql: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Init {
    /// The folder to make; its last part is the project's name
    pub(crate) folder: PathBuf,
    #[arg(long, short, hide = true)]
    pub(crate) skip_profile_setup: bool,
    #[arg(long, hide = true)]
    pub(crate) skip_debug: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Debug {
    /// Look at the lake or database alone, not at the project's models
    #[arg(long)]
    pub(crate) connection: bool,
    /// Only say where `profiles.yml` is looked for
    #[arg(long)]
    pub(crate) config_dir: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Clean {
    /// Delete nothing outside of the project's folder (the default)
    #[arg(
        long,
        hide = true,
        env = "DBT_CLEAN_PROJECT_FILES_ONLY",
        overrides_with = "no_clean_project_files_only"
    )]
    pub(crate) clean_project_files_only: bool,
    /// Delete those `clean-targets`, too, that are outside of the project's folder
    #[arg(long)]
    pub(crate) no_clean_project_files_only: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Sql {
    /// The statement; without it a prompt starts, or the statement is read from a pipe
    pub(crate) statement: Option<String>,
    /// Read the statement from a file
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "statement")]
    pub(crate) file: Option<PathBuf>,
    /// The lake as it was: an entry number, a time (2026-01-31T12:00:00Z) or a run id
    #[arg(long, value_name = "WHEN")]
    pub(crate) as_of: Option<String>,
    /// Write to a file instead of standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print how long the statement took
    #[arg(long)]
    pub(crate) timing: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Lake {
    #[command(subcommand)]
    pub(crate) command: LakeCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LakeCommand {
    /// Tables and views with rows, size and version
    #[command(visible_alias = "ls")]
    List {
        /// Files that nothing names, instead
        #[arg(long)]
        orphans: bool,
        /// The lake as it was
        #[arg(long, value_name = "WHEN")]
        as_of: Option<String>,
    },
    /// What was published when, of the lake or of one table
    History {
        /// The table: schema.name
        table: Option<String>,
        /// How many entries, newest first
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// What two published states of a table differ in: rows, columns and files
    Diff {
        /// The table: schema.name
        table: String,
        /// The older state: an entry number, a time or a run id
        from: String,
        /// The newer state [default: now]
        to: Option<String>,
    },
    /// Publish an earlier state again: of one table, or of the whole lake as a run left it
    Restore {
        /// The table: schema.name
        #[arg(required_unless_present = "run", conflicts_with = "run")]
        table: Option<String>,
        /// The state: an entry number, a time or a run id
        #[arg(long, value_name = "WHEN", required_unless_present = "run")]
        to: Option<String>,
        /// The whole lake as this run left it, as one publish
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// Keep the position of the source, so that what is taken back is not loaded again
        #[arg(long)]
        keep_position: bool,
    },
    /// Join small files, delete what nothing needs any more
    Maintain {
        /// How long published states stay readable
        #[arg(long, default_value = "7d", value_name = "DURATION")]
        keep_for: String,
        /// How many states of each table stay readable
        #[arg(long, default_value_t = 10, value_name = "N")]
        keep_versions: u64,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Finish what a dead process left half-way
    Repair,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Docs {
    #[command(subcommand)]
    pub(crate) command: DocsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DocsCommand {
    /// Write the site to `target/docs`, with `manifest.json` and `catalog.json` beside it
    Generate(DocsGenerate),
    /// Serve the site of the last `docs generate`
    Serve(DocsServe),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DocsGenerate {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Compile nothing: show the SQL that the last command compiled
    #[arg(long, overrides_with = "compile")]
    pub(crate) no_compile: bool,
    /// Compile the SQL that is shown (the default)
    #[arg(long, hide = true)]
    pub(crate) compile: bool,
    /// Leave out what the lake knows: types of columns, rows and sizes
    #[arg(long)]
    pub(crate) empty_catalog: bool,
    /// Write the whole site as one file too: `target/static_index.html`
    #[arg(long = "static")]
    pub(crate) single_file: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DocsServe {
    /// The address to listen on; 0.0.0.0 lets other machines read too
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) host: String,
    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub(crate) port: u16,
    /// Open the site in the browser (the default on a terminal)
    #[arg(long, overrides_with = "no_browser")]
    pub(crate) browser: bool,
    /// Only serve
    #[arg(long)]
    pub(crate) no_browser: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Deps {
    /// Choose versions again, whatever package-lock.yml says
    #[arg(long)]
    pub(crate) upgrade: bool,
    /// Write package-lock.yml only
    #[arg(long)]
    pub(crate) lock: bool,
    /// Name one more package in packages.yml, and install all: owner/name@1.0.0
    #[arg(long, value_name = "NAME[@VERSION]")]
    pub(crate) add_package: Option<String>,
    /// Where the added package comes from
    #[arg(long, value_enum, default_value_t = PackageSource::Hub, requires = "add_package")]
    pub(crate) source: PackageSource,
}

/// Where a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PackageSource {
    /// The hub of packages.
    Hub,
    /// A git repository.
    Git,
    /// A folder.
    Local,
}

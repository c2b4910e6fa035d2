//! The `tidemill` binary: a table of contents. What is typed is parsed (`args`), resolved
//! (`session`), done by one file for each command (`commands`), and ends in dbt's exit codes.

mod agate;
mod allocator;
mod args;
mod artifacts;
mod commands;
mod contracts;
mod database;
mod dbt_events;
mod defer;
mod doctor;
mod expire;
mod exports;
mod external;
mod failure;
mod flags;
mod introspection;
mod lakes;
mod loader;
mod log;
mod output;
mod processor;
mod programs;
mod progress;
mod published;
mod query_files;
mod renderer;
mod repl;
mod run_hooks;
mod sample;
mod seeds;
mod session;
mod table;
mod types;
mod unit_tests;
mod units;
mod warnings;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tidemill_core::Cancellation;
use tidemill_plan::Scope;

use crate::args::{Cli, Command, Docs, DocsCommand, Format};
use crate::commands::build::Invocation;
use crate::commands::ingest_init::IngestCommand;
use crate::output::Output;
use crate::session::Session;

/// Planning recurses; a stack of this size carries what the engine's own limits let through.
const STACK_SIZE: usize = 8 << 20;

fn main() -> ExitCode {
    if let Some(sentence) = processor::too_old() {
        Output::new(false, true, false).err(sentence);
        return ExitCode::from(2);
    }
    let cli = flags::parse();
    // A load streams: what it frees is small, and it shall stay small.
    allocator::keep_freed_memory(match cli.command {
        Command::Ingest(_) => allocator::SHORT,
        _ => allocator::LONG,
    });
    // These are asked for because there is much to read.
    allocator::huge_pages(matches!(cli.command, Command::Sql(_) | Command::Test(_)));
    let flags = &cli.global.flags;
    let json = cli.global.format == Some(Format::Json);
    let quiet = flags.on("quiet") || matches!(flags.text("log_level"), Some("error" | "none"));
    let mut output = Output::new(quiet, !flags.on("use_colors"), json);
    log::start(flags, log_folder(&cli).as_deref());
    if cli.global.format.is_none() && flags.text("log_format") == Some("json") {
        output = output.with_events(flags);
        dbt_events::started(output);
    }
    let began = std::time::Instant::now();
    let code = run(&cli, output).unwrap_or_else(|error| {
        output.fatal(failure::text(&error));
        failure::exit_code(&error)
    });
    dbt_events::completed(output, cli.command.name(), began.elapsed(), code == 0);
    ExitCode::from(u8::try_from(code).unwrap_or(2))
}

fn run(cli: &Cli, output: Output) -> Result<i32> {
    if let Command::Init(args) = &cli.command {
        return commands::init::run(args, &output);
    }
    if let Command::Deps(args) = &cli.command {
        return commands::deps::run(&cli.global, args, &output);
    }
    if cli.global.threads == Some(0) && cli.command.needs_threads() {
        bail!("--threads 0: without a thread nothing can be done");
    }
    let cancel = Cancellation::new();
    let open = || {
        let open = if cli.command.needs_models() { Session::open } else { Session::open_settings };
        open(&cli.global, cli.command.name(), output, cancel.clone())
    };
    let open_settings =
        || Session::open_settings(&cli.global, cli.command.name(), output, cancel.clone());
    // These need no lake and no threads.
    match &cli.command {
        Command::Ls(args) => return commands::ls::run(&open()?, args),
        Command::Parse => {
            // The process ends here: the graph need not be taken apart first.
            let session = std::mem::ManuallyDrop::new(open()?);
            if session.global.flags.on("write_json") {
                session
                    .write_manifest(&session.target_path(), std::collections::BTreeMap::new())?;
            }
            return Ok(0);
        }
        Command::Clean(args) => return commands::clean::run(&open()?, args),
        Command::Docs(Docs { command: DocsCommand::Serve(args) }) => {
            return commands::site::serve(&open()?, args);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_SIZE)
        .enable_all()
        .build()
        .context("threads could not be started")?;
    if !matches!(&cli.command, Command::Sql(args) if args.statement.is_none() && args.file.is_none())
    {
        runtime.spawn(cancel_on_interrupt(cancel.clone(), output));
    }
    if matches!(cli.command, Command::Build(_) | Command::Run(_) | Command::Retry(_)) {
        runtime.spawn(async {
            tokio::time::sleep(allocator::HUGE_PAGES_AFTER).await;
            allocator::huge_pages(true);
        });
    }
    let code = match &cli.command {
        Command::Build(args) if args.watch => {
            commands::watch::run(&runtime, &cli.global, args, output, &cancel)
        }
        Command::Doctor(args) => {
            commands::doctor::run(&runtime, &cli.global, args, output, &cancel)
        }
        Command::Debug(args) if args.config_dir => commands::debug::config_dir(&open_settings()?),
        Command::Debug(args) if args.connection => {
            runtime.block_on(commands::debug::connection(&open_settings()?))
        }
        Command::Debug(_) => match open() {
            Ok(session) => runtime.block_on(commands::debug::run(&session)),
            // What is wrong with the project is half of the answer; the lake is the other half.
            Err(error) => {
                output.err(failure::text(&error));
                if let Ok(session) = open_settings() {
                    runtime.block_on(commands::debug::run(&session))?;
                }
                Ok(1)
            }
        },
        Command::Ingest(args) if args.follow => {
            runtime.block_on(commands::follow::run(open()?, &args.build, args.every))
        }
        command => {
            let mut session = open()?;
            session.allows_deletes =
                matches!(command, Command::Ingest(ingest) if ingest.allow_deletes);
            let code = runtime.block_on(dispatch(&session, command));
            // The process ends: to give the parts of a large project back one by one is lost time.
            std::mem::forget(session);
            code
        }
    };
    // A query that was cancelled may still be winding down; nothing of it matters any more.
    runtime.shutdown_background();
    code
}

async fn dispatch(session: &Session, command: &Command) -> Result<i32> {
    use commands::{
        build, clone, compile, connection, debug, docs, export, freshness, ingest_backfill,
        ingest_init, ingest_plan, ingest_reject, lake, plan, retry, run_operation, show, sql,
    };
    let of = Invocation::of_build;
    match command {
        Command::Build(args) => build::run(session, &of("build", Scope::BUILD, args)).await,
        Command::Run(args) => build::run(session, &of("run", Scope::RUN, args)).await,
        Command::Seed(args) => build::run(session, &of("seed", Scope::SEED, args)).await,
        Command::Snapshot(args) => {
            build::run(session, &of("snapshot", Scope::SNAPSHOT, args)).await
        }
        Command::Ingest(args) => match &args.command {
            Some(IngestCommand::Init(init)) => ingest_init::run(session, init).await,
            Some(IngestCommand::Backfill(backfill)) => {
                ingest_backfill::run(session, backfill).await
            }
            Some(IngestCommand::Reject(reject)) => ingest_reject::run(session, reject).await,
            None if args.dry_run => {
                ingest_plan::run(session, &of("ingest", Scope::INGEST, &args.build)).await
            }
            None => build::run(session, &of("ingest", Scope::INGEST, &args.build)).await,
        },
        Command::Connection(args) => connection::run(session, args).await,
        Command::Export(args) => export::run(session, args).await,
        Command::Test(args) => build::run(session, &Invocation::of_test(args)).await,
        Command::Plan(args) => plan::run(session, &of("build", Scope::BUILD, args)).await,
        Command::Clone(args) => clone::run(session, args, None).await,
        Command::Retry(args) => retry::run(session, args).await,
        Command::RunOperation(args) => run_operation::run(session, args).await,
        Command::Compile(args) => compile::run(session, args).await,
        // As in dbt: a query that fails here is no result of the project.
        Command::Show(args) => match show::run(session, args).await {
            Err(error) if failure::exit_code(&error) == 1 => {
                session.output.err(failure::text(&error));
                Ok(2)
            }
            done => done,
        },
        Command::Source(args::Source { command: args::SourceCommand::Freshness(args) })
        | Command::SnapshotFreshness(args) => freshness::run(session, args).await,
        Command::Debug(_) => debug::run(session).await,
        Command::Sql(args) => sql::run(session, args).await,
        Command::Lake(args) => lake::run(session, args).await,
        Command::Docs(Docs { command: DocsCommand::Generate(args) }) => {
            docs::generate(session, args).await
        }
        Command::Init(_)
        | Command::Ls(_)
        | Command::Parse
        | Command::Clean(_)
        | Command::Doctor(_)
        | Command::Docs(_)
        | Command::Deps(_) => Ok(0),
    }
}

/// The first Ctrl-C stops cleanly, the second at once.
async fn cancel_on_interrupt(cancel: Cancellation, output: Output) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    output.say("\nstopping; nothing half-done will be visible (Ctrl-C again to stop at once)");
    cancel.cancel();
    if tokio::signal::ctrl_c().await.is_ok() {
        #[expect(clippy::disallowed_methods, reason = "asked to stop at once, the second time")]
        std::process::exit(130);
    }
}

/// Where the log of a project's command goes.
fn log_folder(cli: &Cli) -> Option<std::path::PathBuf> {
    if !cli.command.is_logged() {
        return None;
    }
    let project = flags::project_folder(cli)?;
    Some(project.join(cli.global.flags.text("log_path").unwrap_or("logs")))
}

//! `tidemill ingest init`: a source's YAML from what a system says of itself.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use tidemill_core::TableDescription;

use crate::args::Build;
use crate::commands::connection;
use crate::commands::ingest_backfill::IngestBackfill;
use crate::commands::ingest_reject::IngestReject;
use crate::session::Session;

#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Ingest {
    #[command(subcommand)]
    pub(crate) command: Option<IngestCommand>,
    /// Say what would be read, and from where on; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Load again and again, each table as often as its `lag` says, until Ctrl-C
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) follow: bool,
    /// With --follow: how often logs of tables with `changes: true` are read
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = crate::units::duration)]
    pub(crate) every: std::time::Duration,
    /// Let go as many rows as were deleted at the source, whatever the `limit` of `deletes`
    #[arg(long)]
    pub(crate) allow_deletes: bool,
    #[command(flatten)]
    pub(crate) build: Build,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum IngestCommand {
    /// Write the source of a connection, with its tables and columns, as YAML in the models folder
    Init(IngestInit),
    /// Move what a load would read next to the rejected rows, so that the load goes on behind it
    Reject(IngestReject),
    /// Read a range of the cursor of a table again, step by step, beside its loads
    Backfill(IngestBackfill),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct IngestInit {
    /// The connection
    pub(crate) connection: String,
    /// Only these tables
    #[arg(long, num_args = 1.., value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
    /// The name of the source [default: the connection's]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Print it, write nothing
    #[arg(long)]
    pub(crate) print: bool,
}

/// Columns whose value grows with every change, by the names that people give them, best first.
const CURSORS: [&str; 8] = [
    "updated_at",
    "modified_at",
    "last_modified",
    "last_updated",
    "changed_at",
    "update_time",
    "modified",
    "updated",
];

pub(crate) async fn run(session: &Session, args: &IngestInit) -> Result<i32> {
    let all = connection::tables(session, &args.connection).await?;
    let known = |name: &String| all.iter().any(|table| table.name == *name);
    if let Some(name) = args.tables.iter().find(|name| !known(name)) {
        let names: Vec<&str> = all.iter().map(|table| table.name.as_str()).collect();
        bail!("`{}` has no table `{name}`; it has: {}", args.connection, names.join(", "));
    }
    let tables: Vec<&TableDescription> = all
        .iter()
        .filter(|table| args.tables.is_empty() || args.tables.contains(&table.name))
        .collect();
    if tables.is_empty() {
        bail!("`{}` has no tables", args.connection);
    }
    let manifest = session.manifest();
    let name = args.name.clone().unwrap_or_else(|| args.connection.replace('-', "_"));
    if manifest.sources.values().any(|source| source.source_name == name) && !args.print {
        bail!("there is a source `{name}` already; choose another --name, or see it with --print");
    }
    let kind = tidemill_connect::kind(&manifest.connections[&args.connection].kind)?;
    let text = yaml(&name, &args.connection, kind.object(), &tables);
    if args.print {
        session.output.data(text.trim_end());
        return Ok(0);
    }
    let folder = manifest.settings.model_paths.first().cloned().unwrap_or_else(|| "models".into());
    let shown = std::path::Path::new(&folder).join(format!("{name}_sources.yml"));
    let path = session.root.join(&shown);
    if path.exists() {
        bail!("`{}` is there already; nothing was written", shown.display());
    }
    std::fs::create_dir_all(session.root.join(&folder))?;
    std::fs::write(&path, text)?;
    session.output.say(format!(
        "wrote {} with {}; load it with `tidemill ingest --select source:{name}`",
        shown.display(),
        crate::output::plural(tables.len() as u64, "table", "tables"),
    ));
    Ok(0)
}

/// A text as YAML, in quotes where it needs them.
fn scalar(text: &str) -> String {
    let plain = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().any(|c| c.is_ascii_alphabetic())
        && !["yes", "no", "on", "off", "true", "false", "null", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn yaml(name: &str, connection: &str, object: &str, tables: &[&TableDescription]) -> String {
    let mut text = format!(
        "version: 2\n\nsources:\n  - name: {}\n    schema: raw_{name}\n    ingest:\n      connection: {}\n    tables:\n",
        scalar(name),
        scalar(connection)
    );
    for table in tables {
        let fields: Vec<_> = table.schema.iter().flat_map(|schema| schema.fields()).collect();
        let written: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let names = tidemill_connect::column_names(&written);
        let ours = |column: &str| {
            written.iter().position(|name| *name == column).map(|at| names[at].as_str())
        };
        let short = table_name(&table.name, object);
        // Tables of two schemas may share a name.
        let shared =
            tables.iter().filter(|other| table_name(&other.name, object) == short).count() > 1;
        let short = match shared {
            true => tidemill_connect::column_names(&[table.name.as_str()]).remove(0),
            false => short,
        };
        let _ = writeln!(text, "      - name: {}", scalar(&short));
        let _ = writeln!(text, "        ingest:\n          {object}: {}", scalar(&table.name));
        let cursor = CURSORS.iter().find(|cursor| names.iter().any(|name| name == *cursor));
        let key: Vec<&str> = table.primary_key.iter().filter_map(|column| ours(column)).collect();
        if !key.is_empty() {
            let key: Vec<String> = key.into_iter().map(scalar).collect();
            match cursor {
                // What was deleted there stays here: that is for the user to decide.
                Some(cursor) if object != "stream" => {
                    let _ = writeln!(
                        text,
                        "          mode: merge\n          primary_key: [{}]\n          cursor: {cursor}  # new and changed rows; rows deleted in the source stay",
                        key.join(", ")
                    );
                }
                _ if object == "stream" => {
                    let _ = writeln!(
                        text,
                        "          mode: merge  # what is new since the tap's last state\n          primary_key: [{}]",
                        key.join(", ")
                    );
                }
                _ => {
                    let _ = writeln!(
                        text,
                        "          mode: full  # merge needs a cursor: a column that grows with every change\n          primary_key: [{}]",
                        key.join(", ")
                    );
                }
            }
        }
        if !names.is_empty() {
            text.push_str("        columns:\n");
        }
        // Without types: a declared one is never widened, and what the data are is found by loading.
        for name in &names {
            let _ = writeln!(text, "          - name: {}", scalar(name));
        }
    }
    text
}

/// The name of a table in the project: that of a file without its folder and ending, that of a table
/// without its schema.
fn table_name(name: &str, object: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let stem = match object == "location" {
        true => last.split('.').next().unwrap_or(last),
        false => last.rsplit('.').next().unwrap_or(last),
    };
    tidemill_connect::column_names(&[stem]).remove(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_project() {
        for (name, object, expected) in [
            ("orders", "table", "orders"),
            ("public.Orders", "table", "orders"),
            ("data/daily_2024.csv.gz", "location", "daily_2024"),
            ("Budget.xlsx", "location", "budget"),
            ("Order Details", "table", "order_details"),
        ] {
            assert_eq!(table_name(name, object), expected);
        }
        assert_eq!([scalar("no"), scalar("a b"), scalar("ok")], ["\"no\"", "\"a b\"", "ok"]);
    }
}

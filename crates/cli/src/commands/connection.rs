//! `tidemill connection`: the external systems of the project, tried out and looked at.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Map, Value, json};
use tidemill_core::{
    BatchStream, Cancellation, Change, ReadRequest, ReadScope, TableDescription, Until,
    is_secret_key,
};
use tidemill_project::{Connection, Manifest};

use crate::args::{Format, Global};
use crate::loader;
use crate::output::{Mood, Output, count, plural};
use crate::session::Session;
use crate::table::aligned;
use crate::types;

/// The file of connections.
const FILE_NAME: &str = "connections.yml";

#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectionArgs {
    #[command(subcommand)]
    pub(crate) command: ConnectionCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// The connections of the project, and what is loaded from each
    #[command(visible_alias = "ls")]
    List,
    /// Whether systems can be reached: all, or the named ones
    Test {
        /// Their names
        names: Vec<String>,
    },
    /// Write a new connection to connections.yml, and test it
    Add {
        /// Its name
        name: String,
        /// Its type: files, postgres, sqlite, singer
        #[arg(long = "type", value_name = "TYPE")]
        kind: String,
        /// Its settings; secrets by reference: password=env:NAME, =file:PATH, ="command:TEXT"
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// The tables that a system has, with columns, keys and rows
    Discover {
        /// The connection
        name: String,
        /// Only tables whose names have this in them
        table: Option<String>,
    },
    /// The first rows of a table
    Preview {
        /// The connection
        name: String,
        /// The table, or the file
        table: String,
        /// How many rows
        #[arg(long, default_value_t = 10)]
        limit: usize,
        /// How to print them
        #[arg(long, short, value_enum)]
        output: Option<Format>,
    },
}

pub(crate) async fn run(session: &Session, args: &ConnectionArgs) -> Result<i32> {
    match &args.command {
        ConnectionCommand::List => Ok(list(session)),
        ConnectionCommand::Test { names } => test(session, names).await,
        ConnectionCommand::Add { name, kind, settings } => add(session, name, kind, settings).await,
        ConnectionCommand::Discover { name, table } => {
            discover(session, name, table.as_deref()).await
        }
        ConnectionCommand::Preview { name, table, limit, output } => {
            preview(session, name, table, *limit, *output).await
        }
    }
}

fn is_json(session: &Session) -> bool {
    session.global.format == Some(Format::Json)
}

/// The settings on one line, secrets left out.
fn described(connection: &Connection) -> String {
    let settings = connection.settings.iter().map(|(key, value)| match value {
        _ if is_secret_key(key) => format!("{key}=***"),
        Value::String(text) => format!("{key}={}", without_password(text)),
        value => format!("{key}={value}"),
    });
    settings.collect::<Vec<_>>().join(" ")
}

/// An address without the password that it may have.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.split_once('@') {
        Some((login, host)) if !login.contains('/') => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        _ => text.to_owned(),
    }
}

/// How many source tables are loaded through a connection.
fn tables_of(manifest: &Manifest, name: &str) -> usize {
    let named = |connection: Option<&String>| connection.is_some_and(|other| other == name);
    manifest
        .sources
        .values()
        .filter_map(|source| source.ingest.as_ref())
        .filter(|ingest| named(ingest.connection.as_ref()))
        .count()
}

fn list(session: &Session) -> i32 {
    let manifest = session.manifest();
    if is_json(session) {
        for connection in manifest.connections.values() {
            session.output.data(json!({
                "name": connection.name, "type": connection.kind,
                "settings": described(connection),
                "tables": tables_of(manifest, &connection.name),
            }));
        }
        return 0;
    }
    if manifest.connections.is_empty() {
        session.output.say(format!(
            "no connections; add one with `tidemill connection add NAME --type {}`",
            known()
        ));
        return 0;
    }
    let rows: Vec<Vec<String>> = manifest
        .connections
        .values()
        .map(|connection| {
            vec![
                connection.name.clone(),
                connection.kind.clone(),
                tables_of(manifest, &connection.name).to_string(),
                described(connection),
            ]
        })
        .collect();
    for line in aligned(&["connection", "type", "tables loaded", "settings"], &rows, &[2]) {
        session.output.data(line);
    }
    0
}

fn known() -> String {
    let names: Vec<&str> = tidemill_connect::KINDS.iter().map(|kind| kind.name()).collect();
    names.join("|")
}

fn named<'a>(manifest: &'a Manifest, name: &str) -> Result<&'a Connection> {
    manifest.connections.get(name).ok_or_else(|| {
        let names = manifest.connections.keys().map(String::as_str);
        let near = tidemill_project::nearest(name, names)
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        anyhow!("there is no connection `{name}` in {FILE_NAME}{near}")
    })
}

async fn test(session: &Session, names: &[String]) -> Result<i32> {
    let manifest = session.manifest();
    let connections: Vec<&Connection> = if names.is_empty() {
        manifest.connections.values().collect()
    } else {
        names.iter().map(|name| named(manifest, name)).collect::<Result<_>>()?
    };
    if connections.is_empty() {
        session.output.say(format!("no connections in {FILE_NAME}"));
    }
    let mut failed = 0;
    for connection in connections {
        let began = Instant::now();
        let pinged = async {
            let source = loader::open(manifest, Some(&connection.name), &session.root)?;
            source.ping().await
        };
        let pinged = pinged.await;
        let took = began.elapsed().as_millis();
        let line = match &pinged {
            Ok(()) => {
                let good = session.output.paint(Mood::Good, "OK");
                format!("{good}     {} ({}) in {took} ms", connection.name, connection.kind)
            }
            Err(error) => {
                failed += 1;
                let bad = session.output.paint(Mood::Bad, "FAILED");
                format!("{bad} {} ({}): {}", connection.name, connection.kind, error.report())
            }
        };
        if is_json(session) {
            session.output.data(json!({
                "name": connection.name, "type": connection.kind, "ok": pinged.is_ok(),
                "milliseconds": u64::try_from(took).unwrap_or(u64::MAX),
                "error": pinged.err().map(|error| error.report()),
            }));
        } else {
            session.output.data(line);
        }
    }
    Ok(i32::from(failed > 0))
}

/// `key=value` as a setting.
fn setting(text: &str) -> Result<(String, Value)> {
    let Some((key, value)) = text.split_once('=') else {
        bail!("`{text}` is not a setting; write KEY=VALUE");
    };
    if is_secret_key(key) {
        let reference = ["env", "file", "command"].into_iter().find_map(|kind| {
            value.strip_prefix(kind)?.strip_prefix(':').map(|rest| json!({ kind: rest }))
        });
        let Some(reference) = reference else {
            bail!(
                "`{key}` is a secret, which is neither typed nor written in the project; refer to it: \
                 {key}=env:NAME, {key}=file:PATH or {key}=\"command:TEXT\""
            );
        };
        return Ok((key.to_owned(), reference));
    }
    let value = match value {
        "true" => json!(true),
        "false" => json!(false),
        text => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
    };
    Ok((key.to_owned(), value))
}

async fn add(session: &Session, name: &str, kind: &str, settings: &[String]) -> Result<i32> {
    let is_name =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !is_name {
        bail!("`{name}` is not a name; use letters, digits, `_` and `-`");
    }
    if session.manifest().connections.contains_key(name) {
        bail!("there is a connection `{name}` already; change it in {FILE_NAME}");
    }
    let connector = tidemill_connect::kind(kind)?;
    let settings: Map<String, Value> =
        settings.iter().map(|text| setting(text)).collect::<Result<_>>()?;
    connector.check(settings.clone()).map_err(|error| {
        anyhow!("the settings of the connection are wrong: {}", error.message())
    })?;
    let mut entry = format!("  {name}:\n    type: {kind}\n");
    for (key, value) in &settings {
        // JSON is YAML.
        let _ = writeln!(entry, "    {key}: {value}");
    }
    let path = session.root.join(FILE_NAME);
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(anyhow!("{FILE_NAME} cannot be read: {error}")),
    };
    let mut text = before.clone().unwrap_or_else(|| "connections:\n".to_owned());
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&entry);
    write_whole(&path, &text)?;
    // What was written has to be what is read.
    let again = reopen(session);
    let added = again.as_ref().is_ok_and(|session| {
        session.manifest().connections.get(name).is_some_and(|added| added.kind == kind)
    });
    if !added {
        match before {
            Some(before) => write_whole(&path, &before)?,
            None => std::fs::remove_file(&path)?,
        }
        bail!(
            "{FILE_NAME} has a form that cannot be added to; write this below `connections:` \
             yourself:\n{entry}"
        );
    }
    session.output.say(format!("added `{name}` to {FILE_NAME}"));
    match again {
        Ok(session) => test(&session, &[name.to_owned()]).await,
        Err(error) => Err(error),
    }
}

fn reopen(session: &Session) -> Result<Session> {
    let global: &Global = &session.global;
    let output = Output { quiet: true, ..session.output };
    let mut again = Session::open_settings(global, &session.command, output, Cancellation::new())?;
    again.output = session.output;
    Ok(again)
}

/// Whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_extension(format!("yml.{}", std::process::id()));
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        anyhow!("{} cannot be written: {error}", path.display())
    })
}

/// The tables of a connection, by name.
pub(crate) async fn tables(session: &Session, name: &str) -> Result<Vec<TableDescription>> {
    let manifest = session.manifest();
    named(manifest, name)?;
    let source = loader::open(manifest, Some(name), &session.root)?;
    let mut tables = source.tables().await?;
    tables.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(tables)
}

async fn discover(session: &Session, name: &str, part: Option<&str>) -> Result<i32> {
    let tables = tables(session, name).await?;
    let tables: Vec<&TableDescription> =
        tables.iter().filter(|table| part.is_none_or(|part| table.name.contains(part))).collect();
    for table in &tables {
        let columns: Vec<(String, String)> = table
            .schema
            .iter()
            .flat_map(|schema| schema.fields())
            .map(|field| (field.name().clone(), types::name(field.data_type())))
            .collect();
        if is_json(session) {
            let columns: Vec<Value> = columns
                .iter()
                .map(|(name, data_type)| json!({"name": name, "type": data_type}))
                .collect();
            session.output.data(json!({
                "table": table.name, "rows": table.rows, "rows_estimated": table.estimated,
                "primary_key": table.primary_key, "columns": columns,
            }));
            continue;
        }
        let about = if table.estimated { "about " } else { "" };
        let rows = table
            .rows
            .map_or_else(String::new, |rows| format!("  {about}{}", plural(rows, "row", "rows")));
        session.output.data(format!("{}{rows}", table.name));
        // One table is looked at closely, many are looked over.
        if part.is_some() || tables.len() <= 3 {
            for (column, data_type) in columns {
                let key = if table.primary_key.contains(&column) { "  primary key" } else { "" };
                session.output.data(format!("  {column}  {data_type}{key}"));
            }
        } else if !columns.is_empty() {
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            session.output.data(format!("  {}", names.join(", ")));
        }
    }
    if tables.is_empty() {
        session.output.say("no tables");
    } else if !is_json(session) {
        session.output.say(format!(
            "{}; `tidemill ingest init {name}` writes the source for them",
            count(tables.len() as u64) + if tables.len() == 1 { " table" } else { " tables" }
        ));
    }
    Ok(0)
}

async fn preview(
    session: &Session,
    name: &str,
    table: &str,
    limit: usize,
    output: Option<Format>,
) -> Result<i32> {
    let manifest = session.manifest();
    let connection = named(manifest, name)?;
    let kind = tidemill_connect::kind(&connection.kind)?;
    let source = loader::open(manifest, Some(name), &session.root)?;
    let request = ReadRequest {
        settings: json!({ kind.object(): table }),
        name: table.to_owned(),
        cursor: None,
        primary_key: Vec::new(),
        declared: Vec::new(),
        known: None,
        position: None,
        superseded: None,
        siblings: Vec::new(),
        every_change: false,
        scope: ReadScope::Whole,
        until: Until::CaughtUp,
        parallelism: 1,
        cancel: session.cancel.child(),
    };
    let mut changes = source.read(source.few(request, limit)).await?;
    let mut schema = None;
    let mut batches = Vec::new();
    let mut rows = 0;
    while rows < limit {
        match changes.next().await.transpose()? {
            Some(Change::Schema(columns)) => schema = Some(columns),
            Some(Change::Restart(columns)) => {
                schema = Some(columns);
                batches.clear();
                rows = 0;
            }
            Some(Change::Rows(batch)) => {
                let batch = batch.slice(0, batch.num_rows().min(limit - rows));
                rows += batch.num_rows();
                batches.push(Ok(batch));
            }
            Some(_) => {}
            None => break,
        }
    }
    drop(changes);
    let Some(schema) = schema else { bail!("`{table}` has no columns") };
    let format = output.or(session.global.format).unwrap_or(Format::Text);
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let batches = futures::stream::iter(batches).into_stream();
    crate::table::write(BatchStream::new(schema, batches), format, &mut out).await?;
    out.flush()?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_only_taken_by_reference() {
        assert_eq!(setting("port=5432").unwrap(), ("port".to_owned(), json!(5432)));
        let (_, value) = setting("password=env:SHOP").unwrap();
        assert_eq!(value, json!({"env": "SHOP"}));
        let error = setting("password=hunter2").unwrap_err().to_string();
        assert!(error.contains("password=env:NAME") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn passwords_of_addresses_are_not_shown() {
        assert_eq!(without_password("pg://me:word@host/db"), "pg://me:***@host/db");
        assert_eq!(without_password("https://host/a@b"), "https://host/a@b");
    }
}

//! The queries of a snapshot: what it begins with, and what each further run changes of it.
//!
//! The meaning is dbt's (`snapshot_staging_table` and its merge): of each key the table has one row
//! that holds still; where the source says something else, that row ends at the source's time and a
//! new one begins. One query over both sides tells what ends and what is added, so that a run is one
//! upsert of the lake ([`tidemill_core::WriteMode::History`]).

use tidemill_core::arrow_schema::Schema;
use tidemill_core::{Error, ErrorKind, Result, history};
use tidemill_project::{HardDeletes, SnapshotConfig, SnapshotExpressions, SnapshotStrategy};

use crate::cast::cast;

/// The time of a change for which the source has none, as dbt writes it.
const NOW: &str = "cast(now() as timestamp)";

/// What a load of files adds to each row. A row that stands in another line is the same row.
const PROVENANCE: [&str; 2] = ["_source_file", "_source_row"];

/// What a run changes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeQuery {
    /// The query: one row for each change, in the columns of [`tidemill_core::WriteMode::History`].
    pub sql: String,
    /// The columns by which a row that ends is found.
    pub key: Vec<String>,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// dbt's hash of some values: MD5 of their texts.
fn hash(values: &[String]) -> String {
    let texts: Vec<String> =
        values.iter().map(|value| format!("coalesce(cast({value} as varchar), '')")).collect();
    format!("md5({})", texts.join(" || '|' || "))
}

/// What stands in `dbt_valid_to` of a row that begins: nothing or the configured value, in a type
/// that has room for the time as well.
fn still(config: &SnapshotConfig, updated_at: &str) -> String {
    let current = config.valid_to_current.as_deref().unwrap_or("null");
    format!("coalesce(nullif({updated_at}, {updated_at}), {current})")
}

/// The time of a source row as an expression over the query's columns.
fn updated_at(config: &SnapshotConfig) -> &str {
    match &config.strategy {
        SnapshotStrategy::Timestamp { updated_at } => updated_at,
        SnapshotStrategy::Check { updated_at, .. } => updated_at.as_deref().unwrap_or(NOW),
        SnapshotStrategy::Expressions(said) => &said.updated_at,
        SnapshotStrategy::Macro { .. } => NOW,
    }
}

/// What a macro said of the strategy, if one did.
fn said(config: &SnapshotConfig) -> Option<&SnapshotExpressions> {
    match &config.strategy {
        SnapshotStrategy::Expressions(said) => Some(said),
        _ => None,
    }
}

/// The columns that the snapshot adds, in dbt's order.
fn added_columns(config: &SnapshotConfig) -> Vec<&str> {
    let columns = &config.columns;
    let mut names = vec![
        columns.scd_id.as_str(),
        columns.updated_at.as_str(),
        columns.valid_from.as_str(),
        columns.valid_to.as_str(),
    ];
    if config.hard_deletes == HardDeletes::NewRecord {
        names.push(&columns.is_deleted);
    }
    names
}

fn refuse_taken_names(config: &SnapshotConfig, source: &Schema) -> Result<()> {
    let added = added_columns(config);
    let taken = source.fields().iter().find(|field| added.iter().any(|name| field.name() == name));
    match taken {
        None => Ok(()),
        Some(field) => Err(Error::new(
            ErrorKind::Config,
            format!("the query has a column `{}`, which the snapshot adds itself", field.name()),
        )
        .with("hint", "rename it in the query, or set `snapshot_meta_column_names`")),
    }
}

/// What a snapshot begins with: every row of the source holds.
///
/// # Errors
/// `Config` when the query has one of the columns that the snapshot adds.
pub fn first_query(config: &SnapshotConfig, query: &str, source: &Schema) -> Result<String> {
    refuse_taken_names(config, source)?;
    let time = updated_at(config);
    let mut identity = config.unique_key.clone();
    identity.push(time.to_owned());
    let scd_id = said(config).map_or_else(|| hash(&identity), |said| said.scd_id.clone());
    let columns = &config.columns;
    let deleted = match config.hard_deletes {
        HardDeletes::NewRecord => format!(", 'False' as {}", quoted(&columns.is_deleted)),
        _ => String::new(),
    };
    Ok(format!(
        "with __tidemill_source as (\n{query}\n)\nselect *, {} as {}, {time} as {}, {time} as {}, {} as {}{deleted}\nfrom __tidemill_source",
        scd_id,
        quoted(&columns.scd_id),
        quoted(&columns.updated_at),
        quoted(&columns.valid_from),
        still(config, time),
        quoted(&columns.valid_to),
    ))
}

/// What a run changes of a snapshot that is there as the table `relation` (as SQL names it) with the
/// columns of `table`, when the query gives the columns of `source`.
///
/// # Errors
/// `Config` when the table is not a snapshot's, or the query lacks a column that is compared.
pub fn change_query(
    config: &SnapshotConfig,
    query: &str,
    source: &Schema,
    table: &Schema,
    relation: &str,
) -> Result<ChangeQuery> {
    refuse_taken_names(config, source)?;
    let columns = &config.columns;
    let added = added_columns(config);
    let in_table = |name: &str| table.field_with_name(name).is_ok();
    let missing: Vec<&str> = added
        .iter()
        .copied()
        // As in dbt, a snapshot may do without.
        .filter(|name| *name != columns.updated_at && !in_table(name))
        .collect();
    if !missing.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "the table is not a snapshot of this configuration: it lacks {}",
                missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            ),
        )
        .with(
            "hint",
            "the table was made with other settings, or by something else; give the snapshot \
             another `alias`, or set `snapshot_meta_column_names` and `hard_deletes` as they were",
        ));
    }

    let new_record = config.hard_deletes == HardDeletes::NewRecord;
    let delete = config.hard_deletes != HardDeletes::Ignore;
    let [scd_id, valid_to, is_deleted] =
        [&columns.scd_id, &columns.valid_to, &columns.is_deleted].map(|name| quoted(name));
    let (time, key_count) = (updated_at(config), config.unique_key.len());
    let now = said(config).map_or(NOW, |said| &said.now);

    // The keys of both sides under names of ours, so that an expression may be one.
    let keys: Vec<String> = config
        .unique_key
        .iter()
        .enumerate()
        .map(|(number, key)| format!("{key} as __tidemill_k{number}"))
        .collect();
    let keys = keys.join(", ");
    // The names under which a macro's expressions know the two sides, as in dbt.
    let (for_macros, kept_for_macros) = match said(config) {
        None => (String::new(), String::new()),
        Some(said) => {
            let several = key_count > 1;
            let mut keys = String::new();
            for (number, key) in (1..).zip(&config.unique_key) {
                keys.push_str(&match several {
                    true => format!(", {key} as dbt_unique_key_{number}"),
                    false => format!(", {key} as dbt_unique_key"),
                });
            }
            let mut own = format!(", {} as __tidemill_scd_id{keys}", said.scd_id);
            for name in [&columns.updated_at, &columns.valid_from, &columns.valid_to] {
                own.push_str(&format!(", {time} as {}", quoted(name)));
            }
            own.push_str(&format!(", {} as {}", said.scd_id, quoted(&columns.scd_id)));
            (own, keys)
        }
    };
    let open = match &config.valid_to_current {
        Some(current) => format!("({valid_to} = {current} or {valid_to} is null)"),
        None => format!("{valid_to} is null"),
    };
    let on: Vec<String> = (0..key_count)
        .map(|number| {
            format!("snapshotted_data.__tidemill_k{number} = source_data.__tidemill_k{number}")
        })
        .collect();
    // Rows that meet have no NULL in their keys, so a mark of the table's side alone tells them all
    // apart.
    let in_both_or_table = "snapshotted_data.__tidemill_there is not null".to_owned();
    let source_here =
        "(snapshotted_data.__tidemill_there is null or source_data.__tidemill_k0 is not null)"
            .to_owned();

    let changed = changed(config, source, table)?;
    let changed = match new_record {
        true => format!("({changed} or snapshotted_data.{is_deleted} = 'True')"),
        false => changed,
    };
    let mut wanted =
        format!("({source_here} and (snapshotted_data.__tidemill_there is null or {changed}))");
    if delete {
        let not_yet = match new_record {
            true => format!(" and not coalesce(snapshotted_data.{is_deleted} = 'True', false)"),
            false => String::new(),
        };
        wanted = format!("{wanted} or (not {source_here}{not_yet})");
    }

    let updated = "source_data.__tidemill_time";
    let either = |from_source: String, from_table: String| match new_record {
        true => format!("case when {source_here} then {from_source} else {from_table} end"),
        false => from_source,
    };
    let mut identity: Vec<String> =
        (0..key_count).map(|number| format!("source_data.__tidemill_k{number}")).collect();
    identity.push(updated.to_owned());
    let value = |name: &str| -> String {
        if name == columns.scd_id {
            match said(config) {
                Some(said) => {
                    either("source_data.__tidemill_scd_id".to_owned(), said.deletion_id.clone())
                }
                None => {
                    let kept = format!("snapshotted_data.{scd_id}");
                    either(hash(&identity), hash(&[kept, NOW.to_owned()]))
                }
            }
        } else if name == columns.updated_at || name == columns.valid_from {
            either(updated.to_owned(), now.to_owned())
        } else if name == columns.valid_to {
            either(still(config, updated), format!("snapshotted_data.{valid_to}"))
        } else if name == columns.is_deleted && new_record {
            either("'False'".to_owned(), "'True'".to_owned())
        } else if source.field_with_name(name).is_ok() {
            let name_in_table = match in_table(name) {
                true => format!("snapshotted_data.{}", quoted(name)),
                false => "null".to_owned(),
            };
            either(format!("source_data.{}", quoted(name)), name_in_table)
        } else {
            "null".to_owned()
        }
    };
    // A column keeps the type that its table has; a value that does not fit is an error.
    let typed = |expression: String, name: &str| match table.field_with_name(name) {
        Ok(field) => {
            let found = source.field_with_name(name).ok().map(|field| field.data_type());
            cast(&expression, found, field.data_type())
        }
        Err(_) => expression,
    };
    let same_type = |name: &str| match (table.field_with_name(name), source.field_with_name(name)) {
        (Ok(table), Ok(source)) => table.data_type() == source.data_type(),
        _ => false,
    };
    let mut selected: Vec<String> = table
        .fields()
        .iter()
        .map(|field| field.name())
        .chain(source.fields().iter().map(|field| field.name()).filter(|name| !in_table(name)))
        .map(|name| {
            let value = value(name);
            let value = if same_type(name) { value } else { typed(value, name) };
            format!("{value} as {}", quoted(name))
        })
        .collect();

    // Rows that end are found by the key's own columns where it has such, which is quicker than by
    // the text of their id.
    let plain: Option<Vec<String>> = config
        .unique_key
        .iter()
        .map(|key| {
            let name = plain_column(key)?;
            in_table(&name).then_some(name)
        })
        .collect();
    let mut key = match plain {
        Some(names) => {
            let mut key: Vec<String> = Vec::new();
            for name in names {
                if !key.contains(&name) {
                    key.push(name);
                }
            }
            key.push(columns.valid_from.clone());
            key
        }
        None => vec![columns.scd_id.clone()],
    };
    key.push(columns.valid_to.clone());

    let adds = match (delete, new_record) {
        (true, false) => source_here.clone(),
        _ => "true".to_owned(),
    };
    selected.push(format!("{adds} as {}", history::ADDS));
    selected.push(format!("{in_both_or_table} as {}", history::ENDS));
    let until = match delete {
        true => format!("case when {source_here} then {updated} else {now} end"),
        false => updated.to_owned(),
    };
    selected.push(format!("{} as {}", typed(until, &columns.valid_to), history::UNTIL));
    for (number, name) in key.iter().enumerate() {
        selected.push(format!("snapshotted_data.{} as {}", quoted(name), history::key(number)));
    }

    let join = if delete { "full join" } else { "right join" };
    let sql = format!(
        "with __tidemill_source as (\n{query}\n), __tidemill_now as (\nselect *, {keys}, {time} as __tidemill_time{for_macros} from __tidemill_source\n), __tidemill_open as (\nselect *, {keys}, true as __tidemill_there{kept_for_macros} from {relation} where {open}\n)\nselect\n  {}\nfrom __tidemill_open as snapshotted_data\n{join} __tidemill_now as source_data on {}\nwhere {wanted}",
        selected.join(",\n  "),
        on.join(" and "),
    );
    Ok(ChangeQuery { sql, key })
}

/// The condition under which a row of the source differs from the one of its key that holds.
fn changed(config: &SnapshotConfig, source: &Schema, table: &Schema) -> Result<String> {
    let names: Vec<String> = match &config.strategy {
        SnapshotStrategy::Timestamp { .. } => {
            let from = quoted(&config.columns.valid_from);
            return Ok(format!("snapshotted_data.{from} < source_data.__tidemill_time"));
        }
        SnapshotStrategy::Expressions(said) => return Ok(format!("({})", said.row_changed)),
        SnapshotStrategy::Macro { name } => {
            return Err(Error::new(ErrorKind::Internal, "a strategy that was not asked for")
                .with("strategy", name));
        }
        SnapshotStrategy::Check { columns: None, .. } => source
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| !PROVENANCE.contains(&name.as_str()))
            .collect(),
        SnapshotStrategy::Check { columns: Some(names), .. } => names
            .iter()
            .map(|name| {
                let wanted = plain_column(name).unwrap_or_else(|| name.clone());
                let find = |matches: &dyn Fn(&str) -> bool| {
                    source.fields().iter().find(|field| matches(field.name()))
                };
                find(&|found| found == wanted)
                    .or_else(|| find(&|found| found.eq_ignore_ascii_case(&wanted)))
                    .map(|field| field.name().clone())
                    .ok_or_else(|| {
                        let known: Vec<&str> =
                            source.fields().iter().map(|field| field.name().as_str()).collect();
                        Error::new(
                            ErrorKind::Config,
                            format!("`check_cols` names `{name}`, which the query does not have"),
                        )
                        .with("columns", known.join(", "))
                    })
            })
            .collect::<Result<_>>()?,
    };
    // As in dbt: the first run with a new column takes every row as changed.
    if names.iter().any(|name| table.field_with_name(name).is_err()) {
        return Ok("true".to_owned());
    }
    let compared: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "(snapshotted_data.{name} is distinct from source_data.{name})",
                name = quoted(name)
            )
        })
        .collect();
    Ok(format!("({})", compared.join(" or ")))
}

/// The column that an expression names, if it is nothing but that.
fn plain_column(expression: &str) -> Option<String> {
    let expression = expression.trim();
    if let Some(inner) = expression.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return (!inner.contains('"')).then(|| inner.to_owned());
    }
    let mut letters = expression.chars();
    let first = letters.next()?;
    let plain = (first.is_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_');
    plain.then(|| expression.to_lowercase())
}

//! The names and statements of a delivery.

use arrow::datatypes::{FieldRef, Schema};
use tidemill_core::Result;

use super::columns::{definitions, no_value};
use crate::postgres::catalog::quoted;

/// The tables of a delivery, in quotes.
pub(super) struct Names {
    schema: String,
    table: String,
    /// Where the rows go.
    pub(super) target: String,
    /// What was delivered.
    pub(super) records: String,
}

/// The table that rows come into before they are brought into a target that stays.
pub(super) const STAGE: &str = "pg_temp.tidemill_stage";

impl Names {
    pub(super) fn new(schema: &str, table: &str) -> Self {
        let schema_quoted = quoted(schema);
        Names {
            target: format!("{schema_quoted}.{}", quoted(table)),
            records: format!("{schema_quoted}.tidemill_deliveries"),
            schema: schema.to_owned(),
            table: table.to_owned(),
        }
    }

    /// The beginning of the table's name, as names have 63 bytes.
    fn stem(&self) -> &str {
        let mut stem = self.table.as_str();
        while stem.len() > 40 {
            stem = &stem[..stem.floor_char_boundary(stem.len() - 1)];
        }
        stem
    }

    /// The table that takes the target's place.
    pub(super) fn next(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&format!("{}__tidemill_next", self.stem())))
    }

    /// Lets the next table have the target's name.
    pub(super) fn rename(&self) -> String {
        format!("alter table {} rename to {}", self.next(), quoted(&self.table))
    }

    /// An index of the next table: its name, alone and with its schema.
    pub(super) fn index(&self, number: usize) -> (String, String) {
        let bare = quoted(&format!("{}__tidemill_{number}", self.stem()));
        let qualified = format!("{}.{bare}", quoted(&self.schema));
        (bare, qualified)
    }

    pub(super) fn make_records(&self) -> String {
        let Names { records, .. } = self;
        format!(
            "create table if not exists {records} (export text primary key, relation text not null, \
             state text not null, mode text not null, target text not null, rows bigint not null, \
             run text not null, delivered_at timestamptz not null default now())"
        )
    }

    /// Parameters: export, relation, state, mode, target, rows, run.
    pub(super) fn record(&self) -> String {
        format!(
            "insert into {} (export, relation, state, mode, target, rows, run) values \
             ($1, $2, $3, $4, $5, $6::bigint, $7) on conflict (export) do update set \
             relation = excluded.relation, state = excluded.state, mode = excluded.mode, \
             target = excluded.target, rows = excluded.rows, run = excluded.run, \
             delivered_at = now() returning export",
            self.records
        )
    }
}

/// Makes the table that the rows come into, which goes with the transaction. Where there is a target
/// it has the target's types, so that values become what they are there; `added` are columns that the target does
/// not have yet.
pub(super) fn stage(
    names: &Names,
    there: bool,
    schema: &Schema,
    added: &[FieldRef],
) -> Result<String> {
    Ok(match there {
        true => {
            let columns = schema.fields().iter().map(|field| match added.contains(field) {
                true => no_value(field),
                false => Ok(quoted(field.name())),
            });
            format!(
                "create temporary table tidemill_stage on commit drop as select {} from {} with no data",
                columns.collect::<Result<Vec<_>>>()?.join(", "),
                names.target
            )
        }
        false => {
            format!(
                "create temporary table tidemill_stage ({}) on commit drop",
                definitions(schema)?
            )
        }
    })
}

/// Makes a table.
pub(super) fn create(table: &str, key: &[String], schema: &Schema) -> Result<String> {
    let key: Vec<String> = key.iter().map(|name| quoted(name)).collect();
    let key = match key.is_empty() {
        true => String::new(),
        false => format!(", primary key ({})", key.join(", ")),
    };
    Ok(format!("create table {table} ({}{key})", definitions(schema)?))
}

pub(super) fn list(columns: &[&str]) -> String {
    columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// Brings the rows in.
pub(super) fn insert(names: &Names, columns: &[Written], conflict: &str) -> String {
    let list = list(&columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>());
    format!("insert into {} as t ({list}) select {list} from {STAGE}{conflict}", names.target)
}

/// A column that is written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) name: String,
    /// Values are compared by their texts: their type has no equality, or a looser one.
    pub(super) by_text: bool,
}

/// The columns that are not of the key.
fn others<'a>(key: &[String], columns: &'a [Written]) -> Vec<&'a Written> {
    columns.iter().filter(|column| !key.contains(&column.name)).collect()
}

/// The columns of a side, as a row of values that can be compared.
fn of(side: &str, columns: &[&Written]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| {
            let cast = if column.by_text { "::text" } else { "" };
            format!("{side}.{}{cast}", quoted(&column.name))
        })
        .collect();
    format!("row({})", columns.join(", "))
}

/// What becomes of a row whose key is there: these columns take the new values where one differs.
pub(super) fn on_conflict(key: &[String], columns: &[Written]) -> String {
    if key.is_empty() {
        return String::new();
    }
    let by = list(&key.iter().map(String::as_str).collect::<Vec<_>>());
    let others = others(key, columns);
    if others.is_empty() {
        return format!(" on conflict ({by}) do nothing");
    }
    let names = others.iter().map(|column| quoted(&column.name));
    let set: Vec<String> = names.map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        " on conflict ({by}) do update set {} where {} is distinct from {}",
        set.join(", "),
        of("t", &others),
        of("excluded", &others)
    )
}

fn same_key(key: &[String]) -> String {
    let same = key.iter().map(|name| format!("s.{0} = t.{0}", quoted(name)));
    same.collect::<Vec<_>>().join(" and ")
}

/// Takes out what does not come.
pub(super) fn delete(names: &Names, key: &[String]) -> String {
    format!(
        "delete from {} as t where not exists (select from {STAGE} as s where {})",
        names.target,
        same_key(key)
    )
}

/// Counts the rows that are there with other values.
pub(super) fn count_changed(names: &Names, key: &[String], columns: &[Written]) -> String {
    let others = others(key, columns);
    let differs = match others.is_empty() {
        true => "false".to_owned(),
        false => format!("{} is distinct from {}", of("t", &others), of("s", &others)),
    };
    format!(
        "select count(*)::text from {STAGE} as s join {} as t on {} where {differs}",
        names.target,
        same_key(key)
    )
}

//! What deliveries to tables of databases have in common, whatever the database.

use std::time::Duration;

use arrow::datatypes::{FieldRef, Schema};
use futures::future::BoxFuture;
use tidemill_core::{Delivery, Error, ErrorKind, NewColumns, Result};

/// How often, and after which pause at first, a server that is gone is asked what became of a commit.
const ASKED: u32 = 7;
const PAUSE: Duration = Duration::from_millis(250);

/// Whether the rows have the columns of the delivery's key.
///
/// # Errors
/// Kind `Config`.
pub(crate) fn check_key(delivery: &Delivery, schema: &Schema) -> Result<()> {
    match delivery.mode.key().iter().find(|name| schema.index_of(name).is_err()) {
        None => Ok(()),
        Some(missing) => Err(Error::new(
            ErrorKind::Config,
            format!("`primary_key` names `{missing}`, which `{}` does not have", delivery.relation),
        )),
    }
}

/// Columns of the rows that have no place in the table that is there.
pub(crate) struct Misplaced {
    new_columns: NewColumns,
    /// Those that are to be added.
    added: Vec<FieldRef>,
    missing: Vec<String>,
    wrong: Vec<String>,
}

impl Misplaced {
    pub(crate) fn of(delivery: &Delivery) -> Self {
        Misplaced {
            new_columns: delivery.new_columns,
            added: Vec::new(),
            missing: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// The table does not have a column for them.
    pub(crate) fn missing(&mut self, field: &FieldRef, kind: &str) {
        match self.new_columns {
            NewColumns::Add => self.added.push(field.clone()),
            NewColumns::Refuse => self.missing.push(format!("{} {kind}", field.name())),
        }
    }

    /// The database computes the column.
    pub(crate) fn generated(&mut self, name: &str) {
        self.wrong.push(format!("`{name}` is made by the database itself there"));
    }

    /// The column takes other values.
    pub(crate) fn wrong(&mut self, name: &str, kind: &str, there: &str) {
        self.wrong.push(format!("`{name}` is {kind} in the model and {there} there"));
    }

    /// The columns that are to be added to the table, where the export lets that be done.
    ///
    /// # Errors
    /// Kind `Data`, if there are others; it names all of them.
    pub(crate) fn check(self, table: &str) -> Result<Vec<FieldRef>> {
        let wrong = |what: &str, list: &[String], join: &str| {
            Error::new(ErrorKind::Data, format!("{table} {what}: {}", list.join(join)))
        };
        if !self.missing.is_empty() {
            let help = format!(
                "`schema_contract: {{columns: evolve}}` of the export adds it; or alter table {table} add column …; or \
                 leave it out of the model"
            );
            return Err(wrong("has no column for", &self.missing, ", ").with("help", help));
        }
        if !self.wrong.is_empty() {
            let help = "cast them in the model, or change the columns there";
            return Err(wrong("takes other values", &self.wrong, "; ").with("help", help));
        }
        Ok(self.added)
    }
}

/// What the rows were refused for, with what helps where it is a column that they do not have and that takes no
/// NULL; `required` are those columns of the table.
pub(crate) fn explained(error: Error, table: &str, required: &[String]) -> Error {
    let said = error.report();
    match required.iter().find(|name| said.contains(name.as_str())) {
        None => error,
        Some(name) => error.with(
            "help",
            format!(
                "the model does not have the column `{name}`, which has to have a value in {table} and has no default: \
                 give it one there, let it be NULL, or bring it back into the model"
            ),
        ),
    }
}

/// The columns that have to have a value and that the rows do not have.
pub(crate) fn required<'a>(
    columns: impl Iterator<Item = (&'a str, bool)>,
    is_brought: impl Fn(&str) -> bool,
) -> Vec<String> {
    let required = columns.filter(|(name, required)| *required && !is_brought(name));
    required.map(|(name, _)| name.to_owned()).collect()
}

/// No index of the table tells rows apart by the key; `help` is the statement that makes one.
pub(crate) fn no_unique_index(table: &str, key: &[String], help: String) -> Error {
    let message =
        format!("{table} has no unique index of ({}), which tells rows apart", key.join(", "));
    Error::new(ErrorKind::Config, message).with("help", help)
}

/// A key that is NULL in some rows or comes twice (`twice` is one that does) is an error.
///
/// # Errors
/// Kind `Data`.
pub(crate) fn wrong_keys(
    nulls: u64,
    twice: Option<String>,
    key: &[String],
    delivery: &Delivery,
) -> Result<()> {
    let wrong = match (nulls, twice) {
        (0, None) => return Ok(()),
        (0, Some(key)) => format!("the key ({key}) comes more than once"),
        (1, _) => "1 row has NULL in its key".to_owned(),
        (rows, _) => format!("{rows} rows have NULL in their key"),
    };
    Err(Error::new(ErrorKind::Data, wrong)
        .with("primary_key", key.join(", "))
        .with("relation", &delivery.relation))
}

/// The answer to a commit did not come: the record of the delivery, for which `has_record` asks over a new
/// connection, tells whether it was done.
///
/// # Errors
/// Kind `Unavailable` when it was not, and `Unknown` when that cannot be read.
pub(crate) async fn settle<'a>(
    system: &str,
    lost: Error,
    mut has_record: impl FnMut() -> BoxFuture<'a, Result<bool>>,
) -> Result<()> {
    let mut pause = PAUSE;
    for attempt in 1..=ASKED {
        match has_record().await {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let message = format!(
                    "the connection to {system} broke before the commit; nothing was changed"
                );
                return Err(Error::new(ErrorKind::Unavailable, message).because(lost));
            }
            Err(error) => {
                tracing::debug!(attempt, error = %error, "the record of a delivery was not read");
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    let message = format!(
        "the connection to {system} broke at the commit, and whether it was done cannot be read"
    );
    Err(Error::new(ErrorKind::Unknown, message)
        .with("help", "run it again: what was delivered is recorded there and not delivered twice")
        .because(lost))
}

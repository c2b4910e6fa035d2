//! What differs between the databases that are written to.

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use tidemill_core::{Delivery, Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::drivers::{Dbms, Dialect};
use crate::insert::Constants;
use crate::mysql::sink::columns as mysql;
use crate::postgres::sink::columns as postgres;
use crate::sqlite::written::declared_type;

/// A database that rows can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    Postgres,
    MySql,
    Sqlite,
}

/// The table that rows come into before they are brought in.
pub(super) const STAGE: &str = "tidemill_stage";

impl System {
    /// # Errors
    /// Kind `Unsupported` for all others.
    pub(super) fn of(dialect: &Dialect) -> Result<System> {
        match dialect.dbms {
            Dbms::Postgres => Ok(System::Postgres),
            Dbms::MySql => Ok(System::MySql),
            Dbms::Sqlite => Ok(System::Sqlite),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "through a driver, rows are written to PostgreSQL, MySQL, MariaDB and SQLite; this is {}, of \
                     which no transaction that delivers once is known here",
                    match dialect.name.as_str() {
                        "" => "a database whose name the driver does not say".to_owned(),
                        name => format!("`{name}`"),
                    }
                ),
            )
            .with("help", "deliver files (`to: {path: …}`, or a bucket), which the database can load")),
        }
    }

    pub(super) fn constants(self) -> Constants {
        match self {
            System::Postgres => Constants::Postgres,
            System::MySql => Constants::MySql,
            System::Sqlite => Constants::Sqlite,
        }
    }

    /// What begins the transaction, where statements that make tables are part of it.
    pub(super) fn before_lock(self) -> &'static [&'static str] {
        match self {
            System::Postgres => &["begin", "set local idle_in_transaction_session_timeout = 0"],
            System::MySql => &[
                "set session sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION,\
                 NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_BACKSLASH_ESCAPES'",
            ],
            // It locks the file against all writers.
            System::Sqlite => &["begin immediate"],
        }
    }

    /// What begins it where they are not.
    pub(super) fn begin_late(self) -> Option<&'static str> {
        (self == System::MySql).then_some("start transaction")
    }

    /// Asks for the lock; 1 when it is held.
    pub(super) fn lock(self, names: &Names, waits: bool) -> Option<String> {
        let number = xxh3_64(names.target.as_bytes());
        match (self, waits) {
            (System::Postgres, true) => Some(format!(
                "select count(*) from (select pg_catalog.pg_advisory_xact_lock({})) as l",
                number.cast_signed()
            )),
            (System::Postgres, false) => Some(format!(
                "select cast(pg_catalog.pg_try_advisory_xact_lock({}) as integer)",
                number.cast_signed()
            )),
            (System::MySql, waits) => {
                let seconds = if waits { 86_400 } else { 0 };
                Some(format!("select get_lock('tidemill {number:016x}', {seconds})"))
            }
            (System::Sqlite, _) => None,
        }
    }

    /// Waits until no other delivery makes the table of records, where that would be an error.
    pub(super) fn lock_records(self, names: &Names) -> Option<String> {
        let number = xxh3_64(names.records.as_bytes()).cast_signed();
        (self == System::Postgres).then(|| {
            format!("select count(*) from (select pg_catalog.pg_advisory_xact_lock({number})) as l")
        })
    }

    /// Asks what kind of object this name is.
    pub(super) fn kind(self, names: &Names, table: &str) -> String {
        let name = names.dialect.text(table);
        match self {
            System::Postgres => format!(
                "select cast(relkind as text) from pg_catalog.pg_class where oid = pg_catalog.to_regclass({})",
                names.dialect.text(&names.beside(table))
            ),
            System::MySql => format!(
                "select table_type from information_schema.tables where table_schema = {} and table_name = {name}",
                names.database()
            ),
            System::Sqlite => format!(
                "select type from sqlite_master where name = {name} collate nocase and type in ('table', 'view')"
            ),
        }
    }

    pub(super) fn create_records(self, names: &Names) -> String {
        let end = match self {
            System::MySql => " engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
            _ => "",
        };
        format!(
            "create table if not exists {} (export varchar(255) not null primary key, relation varchar(500) not null, \
             state varchar(500) not null, mode varchar(500) not null, target varchar(500) not null, \
             row_count bigint not null, run varchar(255) not null, \
             delivered_at timestamp not null default current_timestamp){end}",
            names.records
        )
    }

    /// The table for these rows.
    ///
    /// # Errors
    /// Kind `Unsupported` for a type that has no place there.
    pub(super) fn create(self, names: &Names, schema: &Schema, key: &[String]) -> Result<String> {
        let columns = match self {
            System::Postgres => postgres::definitions(schema)?,
            System::MySql => {
                let columns = schema.fields().iter().map(|field| mysql::definition(field, key));
                columns.collect::<Result<Vec<_>>>()?.join(", ")
            }
            System::Sqlite => {
                let columns = schema.fields().iter().map(|field| {
                    let kind = declared_type(field.data_type());
                    format!("{} {kind}", names.dialect.quote(field.name()))
                });
                columns.collect::<Vec<_>>().join(", ")
            }
        };
        let key = match key.is_empty() {
            true => String::new(),
            // A column that may be NULL becomes one that may not.
            false => {
                let by = names.list(key);
                match self {
                    System::MySql => format!(", unique index tidemill_key ({by})"),
                    _ => format!(", primary key ({by})"),
                }
            }
        };
        let end = match self {
            System::MySql => " engine = InnoDB character set utf8mb4",
            _ => "",
        };
        Ok(format!("create table {} ({columns}{key}){end}", names.target))
    }

    /// The statements that add columns to the table.
    ///
    /// # Errors
    /// Kind `Unsupported` for a type that has no place there.
    pub(super) fn add(self, names: &Names, fields: &[FieldRef]) -> Result<Vec<String>> {
        let target = &names.target;
        Ok(match self {
            System::Postgres => vec![postgres::add(target, fields)?],
            System::MySql => vec![mysql::add(target, fields, None)?],
            System::Sqlite => {
                let add = |field: &FieldRef| {
                    let (name, kind) =
                        (names.dialect.quote(field.name()), declared_type(field.data_type()));
                    format!("alter table {target} add column {name} {kind}")
                };
                fields.iter().map(add).collect()
            }
        })
    }

    /// What the words of an error call the type of a column of a model.
    pub(super) fn word(self, field: &Field) -> String {
        match self {
            System::Postgres => postgres::word(field),
            System::MySql => mysql::word(field),
            System::Sqlite => declared_type(field.data_type()),
        }
    }

    /// Whether two expressions differ, or one alone is NULL.
    pub(super) fn differs(self, one: &str, other: &str, is_text: bool) -> String {
        match self {
            System::Postgres => format!("{one} is distinct from {other}"),
            // What a collation takes for equal is not.
            System::MySql if is_text => {
                format!("not (cast({one} as binary) <=> cast({other} as binary))")
            }
            System::MySql => format!("not ({one} <=> {other})"),
            System::Sqlite => format!("{one} is not {other}"),
        }
    }

    /// Changes rows of the target (`t`) by those of the stage (`s`).
    pub(super) fn update(self, target: &str, set: &[String], same: &str, differs: &str) -> String {
        let set = set.iter();
        match self {
            System::MySql => {
                let set: Vec<String> = set.map(|name| format!("t.{name} = s.{name}")).collect();
                let set = set.join(", ");
                format!(
                    "update {target} as t join {STAGE} as s on {same} set {set} where {differs}"
                )
            }
            _ => {
                let set: Vec<String> = set.map(|name| format!("{name} = s.{name}")).collect();
                let set = set.join(", ");
                format!(
                    "update {target} as t set {set} from {STAGE} as s where {same} and ({differs})"
                )
            }
        }
    }
}

/// Whether the values are texts, which a collation may take for equal.
pub(super) fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) || kind.is_nested()
}

/// The tables of a delivery.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) dialect: Dialect,
    schema: Option<String>,
    pub(super) table: String,
    /// Where the rows go, in quotes as that below.
    pub(super) target: String,
    records: String,
}

impl Names {
    pub(super) const RECORDS: &'static str = "tidemill_driver_deliveries";

    /// # Errors
    /// Kind `Config`.
    pub(super) fn new(dialect: &Dialect, table: &str) -> Result<Names> {
        let parts: Vec<&str> = table.split('.').collect();
        let (schema, table) = match parts.as_slice() {
            [table] => (None, *table),
            [schema, table] if dialect.dbms != Dbms::Sqlite => (Some((*schema).to_owned()), *table),
            _ => {
                let message = format!("`{table}` is not a table; write `name` or `schema.name`");
                return Err(Error::new(ErrorKind::Config, message));
            }
        };
        let mut names = Names {
            dialect: dialect.clone(),
            schema,
            table: table.to_owned(),
            target: String::new(),
            records: String::new(),
        };
        names.target = names.beside(table);
        names.records = names.beside(Names::RECORDS);
        Ok(names)
    }

    /// A table of the same schema, in quotes.
    fn beside(&self, table: &str) -> String {
        let table = self.dialect.quote(table);
        match &self.schema {
            Some(schema) => format!("{}.{table}", self.dialect.quote(schema)),
            None => table,
        }
    }

    /// The database of a MySQL, as a constant.
    pub(super) fn database(&self) -> String {
        self.schema.as_ref().map_or("database()".to_owned(), |schema| self.dialect.text(schema))
    }

    /// Names in quotes.
    pub(super) fn list(&self, names: &[String]) -> String {
        names.iter().map(|name| self.dialect.quote(name)).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn find_record(&self, delivery: &Delivery) -> String {
        let Delivery { export, relation, state, mode, .. } = delivery;
        let text = |text: &str| self.dialect.text(text);
        format!(
            "select 1 from {} where export = {} and relation = {} and state = {} and mode = {} and target = {}",
            self.records,
            text(export),
            text(&relation.to_string()),
            text(state),
            text(&mode.record()),
            text(&self.target)
        )
    }

    pub(super) fn find_record_of_run(&self, delivery: &Delivery) -> String {
        let run = self.dialect.text(&delivery.run.to_string());
        format!("{} and run = {run}", self.find_record(delivery))
    }

    pub(super) fn write_record(&self, delivery: &Delivery, rows: u64) -> [String; 2] {
        let Delivery { export, relation, state, mode, run, .. } = delivery;
        let export = self.dialect.text(export);
        let texts = [&relation.to_string(), state, &mode.record(), &self.target];
        let texts: Vec<String> = texts.iter().map(|text| self.dialect.text(text)).collect();
        let run = self.dialect.text(&run.to_string());
        [
            format!("delete from {} where export = {export}", self.records),
            format!(
                "insert into {} (export, relation, state, mode, target, row_count, run) values ({export}, {}, {rows}, {run})",
                self.records,
                texts.join(", ")
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_that_are_not_known_are_refused_with_a_way_out() {
        let error = System::of(&Dialect::of("Microsoft SQL Server", "")).unwrap_err();
        let said = error.report();
        assert!(said.contains("Microsoft SQL Server") && said.contains("deliver files"), "{said}");
        let names = Names::new(&Dialect::of("PostgreSQL", ""), "crm.customer").unwrap();
        assert_eq!(names.target, "\"crm\".\"customer\"");
        assert!(Names::new(&Dialect::of("SQLite", ""), "a.b").is_err());
    }
}

//! How a database writes names and values, by what its driver says that it is.

use chrono::DateTime;

use crate::tables::{CursorValue, decimal_text};

/// A database by its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Dbms {
    Postgres,
    Redshift,
    /// And MariaDB.
    MySql,
    Sqlite,
    SqlServer,
    Oracle,
    Db2,
    Snowflake,
    BigQuery,
    /// Databricks, Spark, Hive and Impala.
    Hive,
    /// One that speaks standard SQL, as far as we know.
    #[default]
    Other,
}

/// A database, and how it is written to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dialect {
    pub(crate) dbms: Dbms,
    /// What its driver calls it.
    pub(crate) name: String,
    spelling: Spelling,
}

/// How a database that is not known by its name writes things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spelling {
    /// What names are put in.
    pub(crate) mark: Option<char>,
    /// A backslash in a text begins an escape.
    pub(crate) backslash: bool,
    /// It has the type `timestamp with time zone`.
    pub(crate) zoned: bool,
}

impl Dialect {
    /// Of the database that a driver names; `mark` is what that puts names in.
    pub(crate) fn of(name: &str, mark: &str) -> Dialect {
        let lower = name.to_ascii_lowercase();
        let has = |part: &str| lower.contains(part);
        let dbms = if has("redshift") {
            Dbms::Redshift
        } else if has("postgres") || has("greenplum") || has("cockroach") {
            Dbms::Postgres
        } else if has("mysql") || has("mariadb") {
            Dbms::MySql
        } else if has("sqlite") {
            Dbms::Sqlite
        } else if (has("sql server") && !has("flight sql")) || has("synapse") || has("azure sql") {
            Dbms::SqlServer
        } else if has("oracle") {
            Dbms::Oracle
        } else if has("db2") {
            Dbms::Db2
        } else if has("snowflake") {
            Dbms::Snowflake
        } else if has("bigquery") {
            Dbms::BigQuery
        } else if has("databricks") || has("spark") || has("hive") || has("impala") {
            Dbms::Hive
        } else {
            Dbms::Other
        };
        let mark = mark.trim().chars().next().filter(|mark| matches!(mark, '"' | '`' | '['));
        let spelling = Spelling { mark, ..Spelling::default() };
        Dialect { dbms, name: name.to_owned(), spelling }
    }

    /// The same database, if it is not known by its name, as it was seen to write things.
    pub(crate) fn spelled(self, spelling: Spelling) -> Dialect {
        Dialect { spelling, ..self }
    }

    /// The name in quotes.
    pub(crate) fn quote(&self, name: &str) -> String {
        let mark = match self.dbms {
            Dbms::MySql | Dbms::BigQuery | Dbms::Hive => '`',
            Dbms::SqlServer => '[',
            Dbms::Other => self.spelling.mark.unwrap_or('"'),
            _ => '"',
        };
        match mark {
            '[' => format!("[{}]", name.replace(']', "]]")),
            '`' if self.dbms == Dbms::BigQuery => format!("`{}`", name.replace('`', "\\`")),
            mark => format!("{mark}{}{mark}", name.replace(mark, &format!("{mark}{mark}"))),
        }
    }

    /// A query as a table.
    pub(crate) fn subquery(&self, query: &str) -> String {
        match self.dbms {
            // Without the word between.
            Dbms::Oracle => format!("({query}\n) {}", self.quote("t")),
            _ => format!("({query}\n) as {}", self.quote("t")),
        }
    }

    /// A text as a constant. The session of a MySQL has no escapes by backslashes.
    pub(crate) fn text(&self, text: &str) -> String {
        match self.dbms {
            _ if self.has_escapes() => {
                format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
            }
            Dbms::SqlServer => format!("N'{}'", text.replace('\'', "''")),
            _ => format!("'{}'", text.replace('\'', "''")),
        }
    }

    fn has_escapes(&self) -> bool {
        match self.dbms {
            Dbms::BigQuery | Dbms::Hive => true,
            Dbms::Other => self.spelling.backslash,
            _ => false,
        }
    }

    /// A value as an expression that compares with the column that it came from.
    pub(crate) fn literal(&self, value: &CursorValue) -> String {
        match value {
            CursorValue::Integer(value) => value.to_string(),
            CursorValue::Decimal(value, scale) => decimal_text(*value, *scale),
            CursorValue::Date(days) => {
                let date = moment(i64::from(*days) * 86_400_000_000, "%Y-%m-%d");
                match self.dbms {
                    Dbms::SqlServer => format!("cast('{date}' as date)"),
                    _ => format!("date '{date}'"),
                }
            }
            CursorValue::Timestamp(micros) => {
                let time = moment(*micros, "%Y-%m-%d %H:%M:%S%.6f");
                match self.dbms {
                    Dbms::SqlServer => format!("cast('{time}' as datetime2(6))"),
                    Dbms::BigQuery => format!("datetime '{time}'"),
                    _ => format!("timestamp '{time}'"),
                }
            }
            CursorValue::Instant(micros) => {
                let time = moment(*micros, "%Y-%m-%d %H:%M:%S%.6f");
                match self.dbms {
                    // The session's zone is UTC.
                    Dbms::MySql => format!("timestamp '{time}'"),
                    Dbms::SqlServer => format!("cast('{time} +00:00' as datetimeoffset(6))"),
                    Dbms::Postgres | Dbms::Redshift => format!("timestamptz '{time}+00'"),
                    Dbms::Snowflake => format!("'{time} +00:00'::timestamp_tz"),
                    Dbms::Other if self.spelling.zoned => {
                        format!("cast('{time}+00:00' as timestamp with time zone)")
                    }
                    _ => format!("timestamp '{time} +00:00'"),
                }
            }
            CursorValue::Text(text) => self.text(text),
        }
    }

    /// A value as the text by which it is told apart.
    pub(crate) fn as_text(&self, value: &str) -> String {
        match self.dbms {
            Dbms::Postgres | Dbms::Redshift | Dbms::Sqlite => format!("cast({value} as text)"),
            Dbms::MySql => format!("cast({value} as char)"),
            _ => value.to_owned(),
        }
    }

    /// Whether a query may end with `limit 1`, and every type has an order.
    pub(crate) fn limits(&self) -> bool {
        matches!(self.dbms, Dbms::Postgres | Dbms::MySql | Dbms::Sqlite)
    }

    /// What a connection begins with: times are in UTC, and quotes are written twice.
    pub(crate) fn settings(&self) -> &'static [&'static str] {
        match self.dbms {
            Dbms::Postgres => &["set time zone 'UTC'"],
            Dbms::MySql => &[
                "set session time_zone = '+00:00', sql_mode = concat(@@sql_mode, ',NO_BACKSLASH_ESCAPES'), \
                 net_write_timeout = 3600, net_read_timeout = 3600",
            ],
            Dbms::Sqlite => &["pragma busy_timeout = 30000"],
            Dbms::Oracle => &["alter session set time_zone = 'UTC'"],
            _ => &[],
        }
    }

    /// What begins a transaction that reads one state; whether the driver begins it itself before.
    pub(crate) fn begin_read(&self) -> (bool, &'static [&'static str]) {
        match self.dbms {
            Dbms::Postgres => {
                (true, &["set transaction isolation level repeatable read, read only"])
            }
            Dbms::MySql => (
                false,
                &[
                    "set session transaction isolation level repeatable read",
                    "start transaction with consistent snapshot, read only",
                ],
            ),
            // The state is that of the first query.
            Dbms::Sqlite => (false, &["begin"]),
            Dbms::Oracle => (true, &["set transaction read only"]),
            _ => (false, &[]),
        }
    }

    /// Schemas that are the database's own, in lower case.
    pub(crate) fn is_own(&self, schema: &str) -> bool {
        let schema = schema.to_ascii_lowercase();
        matches!(
            schema.as_str(),
            "information_schema" | "pg_catalog" | "sys" | "system" | "performance_schema" | "mysql"
        ) || schema.starts_with("pg_toast")
            || schema.starts_with("pg_temp")
            || self.dbms == Dbms::Db2 && schema.starts_with("sys")
    }

    /// The schema that names of tables mean which have none.
    pub(crate) fn default_schema(&self) -> Option<&'static str> {
        match self.dbms {
            Dbms::Postgres | Dbms::Redshift => Some("public"),
            Dbms::SqlServer => Some("dbo"),
            Dbms::Sqlite => Some("main"),
            _ => None,
        }
    }
}

fn moment(micros: i64, form: &str) -> String {
    DateTime::from_timestamp_micros(micros)
        .map_or_else(String::new, |time| time.naive_utc().format(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_known_by_what_drivers_call_them() {
        for (name, dbms) in [
            ("PostgreSQL", Dbms::Postgres),
            ("MariaDB", Dbms::MySql),
            ("SQLite", Dbms::Sqlite),
            ("Microsoft SQL Server", Dbms::SqlServer),
            ("DB2/LINUXX8664", Dbms::Db2),
            ("Amazon Redshift", Dbms::Redshift),
            ("Spark SQL", Dbms::Hive),
            ("Ingres", Dbms::Other),
            ("Acme Flight SQL Server", Dbms::Other),
        ] {
            assert_eq!(Dialect::of(name, "\"").dbms, dbms, "{name}");
        }
    }

    #[test]
    fn names_and_values_are_written_as_each_reads_them() {
        let of = |name| Dialect::of(name, "");
        assert_eq!(of("MariaDB").quote("a`b"), "`a``b`");
        assert_eq!(of("Microsoft SQL Server").quote("a]b"), "[a]]b]");
        assert_eq!(of("Oracle").quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(Dialect::of("Ingres", "`").quote("a"), "`a`");
        let seen = Spelling { mark: Some('`'), backslash: true, zoned: true };
        let seen = of("Flight SQL").spelled(seen);
        assert_eq!(
            (seen.quote("a`b"), seen.text(r"it's \")),
            ("`a``b`".into(), r"'it\'s \\'".into())
        );
        assert_eq!(
            seen.literal(&CursorValue::Instant(1)),
            "cast('1970-01-01 00:00:00.000001+00:00' as timestamp with time zone)"
        );
        let (day, time) = (CursorValue::Date(1), CursorValue::Instant(1));
        assert_eq!(of("Oracle").literal(&day), "date '1970-01-02'");
        for (name, expected) in [
            ("PostgreSQL", "timestamptz '1970-01-01 00:00:00.000001+00'"),
            ("MySQL", "timestamp '1970-01-01 00:00:00.000001'"),
            (
                "Microsoft SQL Server",
                "cast('1970-01-01 00:00:00.000001 +00:00' as datetimeoffset(6))",
            ),
            ("Oracle", "timestamp '1970-01-01 00:00:00.000001 +00:00'"),
        ] {
            assert_eq!(of(name).literal(&time), expected);
        }
        assert_eq!(of("Oracle").literal(&CursorValue::Decimal(-5, 2)), "-0.05");
        assert_eq!(of("Db2").text("it's"), "'it''s'");
    }
}

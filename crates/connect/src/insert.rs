//! Batches as statements that insert them, for databases that rows are written to by SQL.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill_core::{Error, ErrorKind, Result, ResultExt, display_value};

use crate::json_text::json_texts;
use crate::mysql::sink::columns::is_nested;
use crate::postgres::sink::{Form, array_text};
use crate::sqlite::written::declared_type;

/// The values of a column, made ready once for a batch.
enum Values<'a> {
    Text(&'a ArrayRef),
    Bytes(&'a ArrayRef),
    Json(&'a ArrayRef, Vec<String>),
    Double(&'a ArrayRef),
    /// Digits.
    Bare(&'a ArrayRef, ArrayFormatter<'a>),
    /// Dates and times, with what stands behind them.
    Moment(&'a ArrayRef, ArrayFormatter<'a>, &'static str),
    /// A list that stays one.
    List(&'a ArrayRef),
    /// What has but a text.
    Shown(&'a ArrayRef, ArrayFormatter<'a>),
}

impl Values<'_> {
    fn array(&self) -> &ArrayRef {
        match self {
            Values::Text(array)
            | Values::Bytes(array)
            | Values::Json(array, _)
            | Values::Double(array)
            | Values::Bare(array, _)
            | Values::Moment(array, ..)
            | Values::List(array)
            | Values::Shown(array, _) => array,
        }
    }
}

/// How a database reads constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constants {
    /// MySQL, with its escapes by backslashes.
    Escaped,
    /// MySQL without them.
    MySql,
    Postgres,
    Sqlite,
}

impl Constants {
    fn is_mysql(self) -> bool {
        matches!(self, Constants::Escaped | Constants::MySql)
    }

    fn system(self) -> &'static str {
        match self {
            Constants::Escaped | Constants::MySql => "MySQL",
            Constants::Postgres => "PostgreSQL",
            Constants::Sqlite => "SQLite",
        }
    }
}

/// Makes statements of so many bytes, about.
pub(crate) struct Statements {
    constants: Constants,
    head: String,
    limit: usize,
    key: Vec<String>,
    /// Rows of the batches before.
    before: usize,
}

impl Statements {
    /// Into a table with these columns, in quotes. The key is for messages.
    pub(crate) fn new(
        constants: Constants,
        table: &str,
        columns: &[String],
        key: &[String],
        limit: usize,
    ) -> Self {
        let head = format!("insert into {table} ({}) values ", columns.join(", "));
        Statements { constants, head, limit, key: key.to_vec(), before: 0 }
    }

    /// The statements for the rows of a batch.
    ///
    /// # Errors
    /// Kind `Data`, with the row and the column, for a value that the database has no room for.
    pub(crate) fn of(&mut self, batch: &RecordBatch) -> Result<Vec<String>> {
        let options = FormatOptions::default().with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
        let constants = self.constants;
        let plain = |column| plain(column, constants);
        let arrays: Vec<ArrayRef> = batch.columns().iter().map(plain).collect::<Result<_>>()?;
        let mut columns = Vec::with_capacity(arrays.len());
        for (array, was) in arrays.iter().zip(batch.columns()) {
            columns.push(ready(array, was.data_type(), &options, constants)?);
        }
        let mut statements = Vec::new();
        let mut sql = String::new();
        for row in 0..batch.num_rows() {
            match sql.is_empty() {
                true => sql.push_str(&self.head),
                false => sql.push(','),
            }
            sql.push('(');
            for (at, column) in columns.iter().enumerate() {
                if at > 0 {
                    sql.push(',');
                }
                value(column, row, constants, &mut sql).map_err(|error| {
                    let schema = batch.schema();
                    error
                        .with("row", self.place(batch, row))
                        .with("column", schema.field(at).name())
                })?;
            }
            sql.push(')');
            if sql.len() >= self.limit {
                statements.push(std::mem::take(&mut sql));
            }
        }
        statements.extend(Some(sql).filter(|sql| !sql.is_empty()));
        self.before += batch.num_rows();
        Ok(statements)
    }

    /// Which row it is: its key, or its number.
    fn place(&self, batch: &RecordBatch, row: usize) -> String {
        let key: Vec<String> = self
            .key
            .iter()
            .filter_map(|name| {
                Some(format!("{name} = {}", display_value(batch.column_by_name(name)?, row)))
            })
            .collect();
        match key.is_empty() {
            true => (self.before + row + 1).to_string(),
            false => key.join(", "),
        }
    }
}

/// Without views, dictionaries and the like.
fn plain(column: &ArrayRef, constants: Constants) -> Result<ArrayRef> {
    let to = match column.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Dictionary(_, values) => return plain(&to_type(column, values)?, constants),
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::Boolean if constants != Constants::Postgres => DataType::Int8,
        DataType::Date64 => DataType::Date32,
        // The session's zone is UTC, and databases count microseconds.
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        _ => return Ok(column.clone()),
    };
    let column = match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => to_type(column, &DataType::Timestamp(*unit, None))?,
        _ => column.clone(),
    };
    to_type(&column, &to)
}

fn to_type(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast(column, to).or_error(ErrorKind::Internal, "a column cannot be written")
}

fn ready<'a>(
    array: &'a ArrayRef,
    was: &DataType,
    options: &FormatOptions<'a>,
    constants: Constants,
) -> Result<Values<'a>> {
    let formatter = || {
        ArrayFormatter::try_new(array, options)
            .or_error(ErrorKind::Internal, "a column cannot be written as text")
    };
    Ok(match array.data_type() {
        DataType::Utf8 => Values::Text(array),
        DataType::Binary => Values::Bytes(array),
        DataType::Float64 => Values::Double(array),
        DataType::Date32 => Values::Moment(array, formatter()?, ""),
        DataType::Timestamp(..) => {
            let zone = match (was, constants) {
                (DataType::Timestamp(_, Some(_)), Constants::Postgres) => "+00",
                (DataType::Timestamp(_, Some(_)), Constants::Sqlite) => "+00:00",
                _ => "",
            };
            Values::Moment(array, formatter()?, zone)
        }
        kind if constants == Constants::Postgres && Form::of(kind, None) == Form::Array => {
            Values::List(array)
        }
        kind if is_nested(kind) || is_nested(was) => Values::Json(array, json_texts(array)?),
        // What SQLite would keep as a double is a text.
        kind if constants == Constants::Sqlite && declared_type(kind) == "text" => {
            Values::Shown(array, formatter()?)
        }
        kind if kind.is_integer() || kind.is_decimal() => Values::Bare(array, formatter()?),
        _ => Values::Shown(array, formatter()?),
    })
}

fn value(column: &Values<'_>, row: usize, constants: Constants, sql: &mut String) -> Result<()> {
    if column.array().is_null(row) {
        sql.push_str("null");
        return Ok(());
    }
    match column {
        Values::Text(array) => escaped(array.as_string::<i32>().value(row), constants, sql)?,
        Values::Json(_, texts) => escaped(&texts[row], constants, sql)?,
        Values::List(array) => {
            let text = array_text(&array.as_list::<i32>().value(row))?;
            escaped(&text, constants, sql)?;
        }
        Values::Bytes(array) => {
            sql.push_str(if constants == Constants::Postgres { "'\\x" } else { "x'" });
            for byte in array.as_binary::<i32>().value(row) {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                sql.push(char::from(DIGITS[usize::from(byte >> 4)]));
                sql.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
            sql.push('\'');
        }
        Values::Double(array) => {
            let value = array.as_primitive::<Float64Type>().value(row);
            let has_room = value.is_finite()
                || constants == Constants::Postgres
                || constants == Constants::Sqlite && value.is_infinite();
            if !has_room {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!("a number is {value}, which {} has no room for", constants.system()),
                )
                .with("help", "make it NULL in the model: nullif(x, 'NaN')"));
            }
            match (constants, value.is_finite()) {
                (_, true) => show(format_args!("{value:e}"), sql)?,
                (Constants::Sqlite, false) => {
                    sql.push_str(if value > 0.0 { "9e999" } else { "-9e999" })
                }
                (_, false) => show(format_args!("'{value}'"), sql)?,
            }
        }
        Values::Bare(_, formatter) => show(format_args!("{}", formatter.value(row)), sql)?,
        Values::Moment(_, formatter, zone) => {
            let mut text = formatter.value(row).to_string();
            if text.starts_with(['+', '-']) || text.starts_with("0000") {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!(
                        "{text} is not in the years 1 to 9999, which {} has",
                        constants.system()
                    ),
                ));
            }
            text.push_str(zone);
            escaped(&text, constants, sql)?;
        }
        Values::Shown(_, formatter) => {
            escaped(&formatter.value(row).to_string(), constants, sql)?;
        }
    }
    Ok(())
}

fn show(text: std::fmt::Arguments<'_>, sql: &mut String) -> Result<()> {
    sql.write_fmt(text).or_error(ErrorKind::Data, "a value cannot be written as text")
}

/// A text as a constant.
fn escaped(text: &str, constants: Constants, sql: &mut String) -> Result<()> {
    let is_odd = |c: char| match constants {
        Constants::Escaped => false,
        // A driver for it takes no letters of two units of UTF-16 within a statement.
        Constants::Sqlite => c == '\0' || c > '\u{ffff}',
        _ => c == '\0',
    };
    if text.contains(is_odd) {
        if constants == Constants::Postgres {
            return Err(Error::new(
                ErrorKind::Data,
                "a text has the character 0 (NUL), which PostgreSQL has no room for",
            )
            .with("help", "take it out in the model: replace(x, chr(0), '')"));
        }
        // A statement ends with the character 0.
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let kind = if constants.is_mysql() { "char character set utf8mb4" } else { "text" };
        return show(format_args!("cast(x'{hex}' as {kind})"), sql);
    }
    sql.push('\'');
    for character in text.chars() {
        match character {
            '\'' if constants == Constants::Escaped => sql.push_str("\\'"),
            '\'' => sql.push_str("''"),
            '\\' if constants == Constants::Escaped => sql.push_str("\\\\"),
            '\0' => sql.push_str("\\0"),
            other => sql.push(other),
        }
    }
    sql.push('\'');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, BooleanArray, Date32Array, Float64Array, StringViewArray};

    use super::*;

    #[test]
    fn rows_are_written_as_mysql_reads_them() {
        let batch = RecordBatch::try_from_iter([
            ("a", Arc::new(StringViewArray::from(vec![Some("x'\\\0"), None])) as ArrayRef),
            ("b", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), Some(b"")])) as ArrayRef),
            ("c", Arc::new(Float64Array::from(vec![0.1, -1e300])) as ArrayRef),
            ("d", Arc::new(Date32Array::from(vec![0, 1])) as ArrayRef),
            ("e", Arc::new(BooleanArray::from(vec![true, false])) as ArrayRef),
        ])
        .unwrap();
        let mut statements = Statements::new(Constants::Escaped, "t", &["a".to_owned()], &[], 10);
        assert_eq!(
            statements.of(&batch).unwrap(),
            [
                "insert into t (a) values ('x\\'\\\\\\0',x'00ff',1e-1,'1970-01-01',1)",
                "insert into t (a) values (null,x'',-1e300,'1970-01-02',0)"
            ]
        );
        let wrong = RecordBatch::try_from_iter([(
            "a",
            Arc::new(Float64Array::from(vec![1.0, f64::NAN])) as ArrayRef,
        )]);
        let error = statements.of(&wrong.unwrap()).unwrap_err().report();
        assert!(error.contains("NaN") && error.contains('4'), "{error}");
    }
}

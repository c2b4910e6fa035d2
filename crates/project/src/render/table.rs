//! The result of a query as templates see it: enough of an agate table.

use std::sync::Arc;

use serde_json::Value as Json;
use tidemill_jinja::{Args, Error, Object, State, Value, modules};

use super::warehouse::QueryTable;

/// Rows and columns.
#[derive(Debug)]
pub(crate) struct Table {
    names: Vec<Arc<str>>,
    kinds: Vec<Kind>,
    rows: Vec<Arc<[Value]>>,
}

impl Table {
    pub(crate) fn new(table: &QueryTable) -> Arc<Self> {
        let kinds: Vec<Kind> =
            table.columns.iter().map(|column| Kind::of(&column.data_type)).collect();
        Arc::new(Table {
            names: table.columns.iter().map(|column| Arc::from(column.name.as_str())).collect(),
            rows: table
                .rows
                .iter()
                .map(|row| {
                    row.iter()
                        .enumerate()
                        .map(|(index, cell)| kinds.get(index).unwrap_or(&Kind::Other).value(cell))
                        .collect()
                })
                .collect(),
            kinds,
        })
    }

    /// The SQL type that dbt's adapters give a column: by its kind and, for numbers and for nothing
    /// but NULL, by its values.
    fn sql_type(&self, index: usize) -> Option<&'static str> {
        let kind = *self.kinds.get(index)?;
        let mut values = self.rows.iter().map(|row| &row[index]).filter(|cell| !cell.is_none());
        let mut values = values.by_ref().peekable();
        if values.peek().is_none() {
            return Some("integer");
        }
        Some(match kind {
            Kind::Integer => "integer",
            Kind::Decimal | Kind::Double => {
                let whole = |cell: &Value| cell.as_f64().is_none_or(|number| number.fract() == 0.0);
                if values.all(whole) { "integer" } else { "float8" }
            }
            Kind::Boolean => "boolean",
            Kind::Timestamp => "timestamp without time zone",
            Kind::Date => "date",
            Kind::Time => "time",
            Kind::Other => "text",
        })
    }

    pub(crate) fn value(self: Arc<Self>) -> Value {
        Value::object(TableObject(self))
    }

    fn column_names(&self) -> Value {
        Value::tuple(self.names.iter().map(|name| Value::from(name.clone())))
    }

    fn row(self: &Arc<Self>, index: usize) -> Value {
        Value::object(Row { table: self.clone(), index })
    }

    fn column(self: &Arc<Self>, index: usize) -> Value {
        Value::object(ColumnOf { table: self.clone(), index })
    }

    fn place(&self, key: &Value, length: usize) -> Option<usize> {
        match key {
            Value::Str(name) => self.position(name.as_str()),
            other => wrap(other.as_i64()?, length),
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| &**known == name)
    }

    /// The rows as lists: `load_result().data`.
    pub(crate) fn data(&self) -> Value {
        Value::list(self.rows.iter().map(|row| Value::tuple(row.iter().cloned())))
    }
}

fn wrap(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 { index + length as i64 } else { index };
    usize::try_from(index).ok().filter(|index| *index < length)
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Integer,
    Double,
    Boolean,
    Date,
    Timestamp,
    Time,
    Decimal,
    Other,
}

impl Kind {
    fn of(data_type: &str) -> Kind {
        let lower = data_type.to_ascii_lowercase();
        if lower == "date" {
            Kind::Date
        } else if lower.starts_with("timestamp") {
            Kind::Timestamp
        } else if lower.starts_with("numeric") || lower.starts_with("decimal") {
            Kind::Decimal
        } else {
            match lower.as_str() {
                "smallint" | "integer" | "bigint" => Kind::Integer,
                "real" | "double precision" => Kind::Double,
                "boolean" => Kind::Boolean,
                "time" | "time without time zone" => Kind::Time,
                _ => Kind::Other,
            }
        }
    }

    fn value(&self, cell: &Json) -> Value {
        match (self, cell) {
            (Kind::Date, Json::String(text)) => {
                date(text).unwrap_or_else(|| Value::from(text.as_str()))
            }
            (Kind::Timestamp, Json::String(text)) => {
                timestamp(text).unwrap_or_else(|| Value::from(text.as_str()))
            }
            (Kind::Decimal, Json::String(text)) => number(text),
            _ => Value::from(cell),
        }
    }
}

fn date(text: &str) -> Option<Value> {
    let day = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(modules::date_value(day))
}

fn timestamp(text: &str) -> Option<Value> {
    let text = text.replacen('T', " ", 1);
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let naive =
        formats.iter().find_map(|format| chrono::NaiveDateTime::parse_from_str(&text, format).ok());
    if let Some(naive) = naive {
        return Some(modules::datetime_value(naive));
    }
    let text = text.replace('Z', "+00:00");
    let zoned = chrono::DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f%#z").ok()?;
    Some(modules::utc_datetime(zoned.to_utc()))
}

/// A whole number stays exact; others become floating point.
fn number(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    match text.parse::<f64>() {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(text),
    }
}

#[derive(Debug)]
struct TableObject(Arc<Table>);

impl Object for TableObject {
    fn type_name(&self) -> &str {
        "Table"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        let table = &self.0;
        Some(match name {
            "rows" => Value::object(Rows(table.clone())),
            "columns" => Value::object(Columns(table.clone())),
            "column_names" => table.column_names(),
            _ => return None,
        })
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        let table = &self.0;
        Some(Ok(match name {
            "print_table" | "print_csv" | "print_json" => Value::from(""),
            "rename" => {
                let mut names = table.names.clone();
                if let Some(dict) = args.get(0, "column_names").and_then(Value::as_dict) {
                    for name in &mut names {
                        if let Some(new) = dict.get_str(name) {
                            *name = Arc::from(new.to_string());
                        }
                    }
                }
                Arc::new(Table { names, kinds: table.kinds.clone(), rows: table.rows.clone() })
                    .value()
            }
            "select" => {
                let wanted: Vec<usize> = args
                    .get(0, "key")
                    .and_then(Value::to_items)
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|name| table.place(name, table.names.len()))
                    .collect();
                Arc::new(Table {
                    names: wanted.iter().map(|&index| table.names[index].clone()).collect(),
                    kinds: wanted.iter().map(|&index| table.kinds[index]).collect(),
                    rows: table
                        .rows
                        .iter()
                        .map(|row| wanted.iter().map(|&index| row[index].clone()).collect())
                        .collect(),
                })
                .value()
            }
            "limit" => {
                let count = args.get(0, "start_or_stop").and_then(Value::as_i64).unwrap_or(0);
                let count = usize::try_from(count).unwrap_or(0);
                Arc::new(Table {
                    names: table.names.clone(),
                    kinds: table.kinds.clone(),
                    rows: table.rows.iter().take(count).cloned().collect(),
                })
                .value()
            }
            _ => return None,
        }))
    }

    fn methods(&self) -> &'static [&'static str] {
        &["print_table", "print_csv", "print_json", "rename", "select", "limit"]
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some((0..self.0.rows.len()).map(|index| self.0.row(index)).collect())
    }

    fn len(&self) -> Option<usize> {
        Some(self.0.rows.len())
    }
}

#[derive(Debug)]
struct Rows(Arc<Table>);

impl Object for Rows {
    fn type_name(&self) -> &str {
        "MappedSequence"
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        wrap(key.as_i64()?, self.0.rows.len()).map(|index| self.0.row(index))
    }

    fn call_method(
        &self,
        name: &str,
        _args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        (name == "values").then(|| Ok(Value::tuple(self.iterate().unwrap_or_default())))
    }

    fn methods(&self) -> &'static [&'static str] {
        &["values"]
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some((0..self.0.rows.len()).map(|index| self.0.row(index)).collect())
    }

    fn len(&self) -> Option<usize> {
        Some(self.0.rows.len())
    }

    fn is_sequence(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Columns(Arc<Table>);

impl Object for Columns {
    fn type_name(&self) -> &str {
        "MappedSequence"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self.0.position(name).map(|index| self.0.column(index))
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        self.0.place(key, self.0.names.len()).map(|index| self.0.column(index))
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        Some(Ok(match name {
            "values" => Value::tuple(self.iterate().unwrap_or_default()),
            "keys" => self.0.column_names(),
            "items" => {
                let names = self.0.names.iter().map(|name| Value::from(name.clone()));
                let columns = self.iterate().unwrap_or_default();
                Value::list(names.zip(columns).map(|(name, column)| Value::tuple([name, column])))
            }
            "dict" => {
                let columns = self.iterate().unwrap_or_default();
                Value::dict(self.0.names.iter().map(|name| &**name).zip(columns))
            }
            "get" => match args.get(0, "key").and_then(|key| self.get_item(key, state)) {
                Some(found) => found,
                None => args.get(1, "default").cloned().unwrap_or(Value::None),
            },
            _ => return None,
        }))
    }

    fn methods(&self) -> &'static [&'static str] {
        &["values", "keys", "items", "dict", "get"]
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some((0..self.0.names.len()).map(|index| self.0.column(index)).collect())
    }

    fn len(&self) -> Option<usize> {
        Some(self.0.names.len())
    }

    fn is_sequence(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct ColumnOf {
    table: Arc<Table>,
    index: usize,
}

impl ColumnOf {
    fn cells(&self) -> Vec<Value> {
        self.table.rows.iter().map(|row| row[self.index].clone()).collect()
    }
}

impl Object for ColumnOf {
    fn type_name(&self) -> &str {
        "Column"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        Some(match name {
            "name" => Value::from(self.table.names[self.index].clone()),
            "index" => Value::from(self.index),
            "data_type" => Value::object(DataTypeOf),
            _ => return None,
        })
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        let index = wrap(key.as_i64()?, self.table.rows.len())?;
        Some(self.table.rows[index][self.index].clone())
    }

    fn call_method(
        &self,
        name: &str,
        _args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        Some(Ok(match name {
            "values" => Value::tuple(self.cells()),
            "values_distinct" => {
                let mut seen: Vec<Value> = Vec::new();
                for cell in self.cells() {
                    if !seen.iter().any(|known| known.repr() == cell.repr()) {
                        seen.push(cell);
                    }
                }
                Value::tuple(seen)
            }
            "values_without_nulls" => {
                Value::tuple(self.cells().into_iter().filter(|cell| !cell.is_none()))
            }
            _ => return None,
        }))
    }

    fn methods(&self) -> &'static [&'static str] {
        &["values", "values_distinct", "values_without_nulls"]
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some(self.cells())
    }

    fn len(&self) -> Option<usize> {
        Some(self.table.rows.len())
    }

    fn is_sequence(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Row {
    table: Arc<Table>,
    index: usize,
}

impl Row {
    fn cells(&self) -> &[Value] {
        &self.table.rows[self.index]
    }

    fn pairs(&self) -> impl Iterator<Item = (&Arc<str>, &Value)> {
        self.table.names.iter().zip(self.cells())
    }
}

impl Object for Row {
    fn type_name(&self) -> &str {
        "Row"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self.table.position(name).map(|index| self.cells()[index].clone())
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        self.table.place(key, self.cells().len()).map(|index| self.cells()[index].clone())
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        Some(Ok(match name {
            "values" => Value::tuple(self.cells().iter().cloned()),
            "keys" => self.table.column_names(),
            "items" => Value::list(
                self.pairs()
                    .map(|(name, value)| Value::tuple([Value::from(name.clone()), value.clone()])),
            ),
            "dict" => Value::dict(self.pairs().map(|(name, value)| (name.clone(), value.clone()))),
            "get" => {
                let found = args
                    .get(0, "key")
                    .and_then(|key| self.table.place(key, self.cells().len()))
                    .map(|index| self.cells()[index].clone());
                found.or_else(|| args.get(1, "default").cloned()).unwrap_or(Value::None)
            }
            _ => return None,
        }))
    }

    fn methods(&self) -> &'static [&'static str] {
        &["values", "keys", "items", "dict", "get"]
    }

    fn repr(&self) -> String {
        format!("<agate.Row: {}>", Value::tuple(self.cells().iter().cloned()).repr())
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some(self.cells().to_vec())
    }

    fn len(&self) -> Option<usize> {
        Some(self.cells().len())
    }

    fn is_sequence(&self) -> bool {
        true
    }
}

/// The values of two columns of a table value, row by row, as text; nothing for anything else.
pub(super) fn pairs_of(value: &Value, columns: [&str; 2]) -> Vec<[String; 2]> {
    let Some(TableObject(table)) = value.downcast::<TableObject>() else { return Vec::new() };
    let (Some(left), Some(right)) = (table.position(columns[0]), table.position(columns[1])) else {
        return Vec::new();
    };
    table.rows.iter().map(|row| [row[left].to_string(), row[right].to_string()]).collect()
}

/// The SQL type of a column of a table value, as dbt's adapters convert types of agate.
pub(super) fn sql_type(value: &Value, index: usize) -> Option<&'static str> {
    value.downcast::<TableObject>()?.0.sql_type(index)
}

/// The rows of a table value as tuples; an empty list for anything else.
pub(super) fn data_of(value: &Value) -> Value {
    match value.downcast::<TableObject>() {
        Some(table) => table.0.data(),
        None => Value::list([]),
    }
}

/// agate's type of a column: as much of it as turns values into what JSON has.
#[derive(Debug)]
struct DataTypeOf;

impl Object for DataTypeOf {
    fn type_name(&self) -> &str {
        "DataType"
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        let value = match args.get(0, "d").cloned() {
            Some(Value::Object(object)) => {
                let text = Value::Object(object).to_string();
                Value::from(text.replacen(' ', "T", 1))
            }
            Some(value) => value,
            None => Value::None,
        };
        (name == "jsonify").then_some(Ok(value))
    }

    fn methods(&self) -> &'static [&'static str] {
        &["jsonify"]
    }
}

//! A driver, its connections and their rows.
#![allow(unsafe_code, reason = "functions in C are called here")]

use std::ffi::{CStr, CString, c_int};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_core::{Error, ErrorKind, Result};

use super::abi::{
    AdbcDriver, AdbcError, ArrowArray, ArrowSchema, ArrowStream, Init, OK, Object, VERSION_1_0,
    VERSION_1_1,
};
use super::{arrow as imported, find};
use crate::library;

/// All of the objects of a catalog.
const ALL: c_int = 0;

/// The numbers of errors (`ECANCELED` of Linux, `EINTR`) that a stream ends with when it was stopped.
const CANCELED: c_int = 125;
const INTERRUPTED: c_int = 4;

/// Drivers that are loaded, by their libraries. They stay, as they run threads of their own.
static LOADED: Mutex<Vec<(Vec<PathBuf>, Driver)>> = Mutex::new(Vec::new());

/// A driver that is loaded.
#[derive(Clone)]
pub struct Driver {
    functions: &'static Functions,
}

struct Functions {
    driver: AdbcDriver,
    /// By which its own pointers hold.
    _library: libloading::Library,
}

// SAFETY: the table of functions is not changed after it was filled in, and the interface wants functions of
// different objects to be callable at once.
unsafe impl Send for Functions {}
// SAFETY: as above.
unsafe impl Sync for Functions {}

fn of_c(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        Error::new(ErrorKind::Data, "a text with the character 0 cannot go to a driver")
    })
}

impl Driver {
    /// Loads a driver: by the path of its library or of a manifest, relative to `root`, or by a name that is
    /// looked for as the driver manager of ADBC does.
    ///
    /// # Errors
    /// Kind `Config`, with all places where it was looked for.
    pub fn load(name: &str, entrypoint: Option<&str>, root: &Path) -> Result<Driver> {
        let found = find::find(name, root)?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, driver)) = loaded.iter().find(|(known, _)| *known == found.libraries) {
            return Ok(driver.clone());
        }
        let (library, path) = library::load(&found.libraries).map_err(|tried| {
            let looked = found.looked.iter().map(|file| format!("{}: no such file", file.display()));
            let looked: Vec<String> = looked.chain([tried]).collect();
            Error::new(ErrorKind::Config, format!("the ADBC driver `{name}` was not found"))
                .with("looked for", looked.join("; "))
                .with(
                    "help",
                    "name the path of its library in `driver` (of a Python wheel: \
                     …/site-packages/adbc_driver_…/libadbc_driver_….so), or install it with a manifest \
                     (`dbc install …`, conda)",
                )
        })?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let names = [
            entrypoint.or(found.entrypoint.as_deref()).map(str::to_owned),
            Some("AdbcDriverInit".to_owned()),
            stem.map(|stem| derived(&stem)),
        ];
        let init = names.iter().flatten().find_map(|name| {
            // SAFETY: a function of that name has this type in a driver of ADBC.
            let init = unsafe { library.get::<Init>(name.as_bytes()) };
            init.ok().map(|init| *init)
        });
        let init = init.ok_or_else(|| {
            Error::new(ErrorKind::Config, "this library is no ADBC driver")
                .with("library", path.display())
                .with("looked for", names.iter().flatten().cloned().collect::<Vec<_>>().join(", "))
        })?;
        // SAFETY: numbers and pointers that are null, which the driver fills in.
        let driver: AdbcDriver = unsafe { std::mem::zeroed() };
        let mut functions = Box::new(Functions { driver, _library: library });
        let table: *mut AdbcDriver = &mut functions.driver;
        let fill = |version| {
            let mut error = AdbcError::empty();
            // SAFETY: the table has room for all functions of that version.
            let code = unsafe { init(version, table.cast(), &mut error) };
            (code, error)
        };
        let (mut code, mut error) = fill(VERSION_1_1);
        if code != OK {
            (code, error) = fill(VERSION_1_0);
        }
        if code != OK {
            return Err(failure(code, &error, "").with("library", path.display()));
        }
        let driver = Driver { functions: Box::leak(functions) };
        loaded.push((found.libraries, driver.clone()));
        Ok(driver)
    }

    /// Connects with these options of the driver.
    ///
    /// # Errors
    /// Of the driver.
    pub fn connect(&self, options: &[(String, String)]) -> Result<Connection> {
        let driver = &self.functions.driver;
        let database = Owned::new(self, Which::Database);
        database.call(driver.database_new, "")?;
        for (key, value) in options {
            let (key, value) = (of_c(key)?, of_c(value)?);
            let set = driver.database_set_option.ok_or_else(missing)?;
            // SAFETY: the object was made by the driver, and the texts end with 0.
            database.done("", |object, error| unsafe {
                set(object, key.as_ptr(), value.as_ptr(), error)
            })?;
        }
        database.call(driver.database_init, "")?;
        let connection = Owned::new(self, Which::Connection);
        connection.call(driver.connection_new, "")?;
        let init = driver.connection_init.ok_or_else(missing)?;
        // SAFETY: both objects were made by the driver.
        connection.done("", |object, error| unsafe { init(object, database.raw(), error) })?;
        let connection = Held { object: connection, _above: Some(Box::new(database)) };
        Ok(Connection { connection: Arc::new(connection), canceller: Canceller::default() })
    }
}

/// `libadbc_driver_sqlite` has `AdbcDriverSqliteInit`.
fn derived(stem: &str) -> String {
    let name = stem.trim_start_matches("lib").trim_start_matches("adbc_");
    let words = name.split(['_', '-', '.']).filter(|word| !word.is_empty());
    let words = words.map(|word| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        format!("{}{rest}", first.to_uppercase())
    });
    format!("Adbc{}Init", words.collect::<String>())
}

fn missing() -> Error {
    Error::new(ErrorKind::Unsupported, "the driver does not have a function that is needed")
}

#[derive(Clone, Copy)]
enum Which {
    Database,
    Connection,
    Statement,
}

/// An object of the driver, released in the end.
struct Owned {
    driver: Driver,
    which: Which,
    object: Box<std::cell::UnsafeCell<Object>>,
}

// SAFETY: one thread after the other calls functions on an object, but for those that cancel, which any may
// call.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Owned {
    fn new(driver: &Driver, which: Which) -> Owned {
        let table: *const AdbcDriver = &driver.functions.driver;
        let object =
            Object { private_data: std::ptr::null_mut(), private_driver: table.cast_mut().cast() };
        let object = Box::new(std::cell::UnsafeCell::new(object));
        Owned { driver: driver.clone(), which, object }
    }

    fn raw(&self) -> *mut Object {
        self.object.get()
    }

    /// Calls a function on it.
    fn call(
        &self,
        function: Option<unsafe extern "C" fn(*mut Object, *mut AdbcError) -> u8>,
        sql: &str,
    ) -> Result<()> {
        let function = function.ok_or_else(missing)?;
        // SAFETY: the object is one of the driver's.
        self.done(sql, |object, error| unsafe { function(object, error) })
    }

    fn done(&self, sql: &str, call: impl FnOnce(*mut Object, *mut AdbcError) -> u8) -> Result<()> {
        let mut error = AdbcError::empty();
        match call(self.raw(), &mut error) {
            OK => Ok(()),
            code => Err(failure(code, &error, sql)),
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let driver = &self.driver.functions.driver;
        let release = match self.which {
            Which::Database => driver.database_release,
            Which::Connection => driver.connection_release,
            Which::Statement => driver.statement_release,
        };
        // What fails in the end has nobody who could do something about it.
        let _ = self.call(release, "");
    }
}

/// An object, and the one that it is of, which is released after it.
struct Held {
    object: Owned,
    _above: Option<Box<dyn Send + Sync>>,
}

/// What the driver says of a failure.
fn failure(code: u8, error: &AdbcError, sql: &str) -> Error {
    let state: String = error
        .state
        .iter()
        .map(|byte| char::from(byte.cast_unsigned()))
        .take_while(|c| c.is_ascii_alphanumeric())
        .collect();
    let message = match error.message.is_null() {
        true => "the driver failed and does not say why".to_owned(),
        // SAFETY: a text that ends with 0, which belongs to the error.
        false => unsafe { CStr::from_ptr(error.message) }.to_string_lossy().into_owned(),
    };
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let kind = kind_of(code, &state, &message);
    let mut failure = Error::new(kind, message);
    if !state.is_empty() && state != "00000" {
        failure = failure.with("code", state);
    }
    if !sql.is_empty() && kind == ErrorKind::Query {
        failure = failure.with("sql", sql);
    }
    failure
}

/// What the state (`SQLSTATE`) says, or where there is none the status.
fn kind_of(code: u8, state: &str, message: &str) -> ErrorKind {
    match state {
        "28000" | "28P01" | "42501" => return ErrorKind::Denied,
        "42S02" | "42P01" | "3D000" | "3F000" => return ErrorKind::NotFound,
        "40001" | "40P01" | "57P01" | "57P02" | "57P03" | "55P03" => {
            return ErrorKind::Unavailable;
        }
        _ if state.starts_with("08") => return ErrorKind::Unavailable,
        _ if state.starts_with("22") || state.starts_with("23") => return ErrorKind::Data,
        _ if state.starts_with("42") => return ErrorKind::Query,
        _ => {}
    }
    let lower = message.to_ascii_lowercase();
    let is_away = [
        "connection refused",
        "could not connect",
        "no connection to the server",
        "server closed the connection",
        "connection to server",
        "database is locked",
    ]
    .iter()
    .any(|part| lower.contains(part));
    match code {
        _ if is_away => ErrorKind::Unavailable,
        2 => ErrorKind::Unsupported,
        3 => ErrorKind::NotFound,
        4 => ErrorKind::AlreadyExists,
        7 | 8 => ErrorKind::Data,
        10 => ErrorKind::Unavailable,
        11 => ErrorKind::Cancelled,
        12 => ErrorKind::Unavailable,
        13 | 14 => ErrorKind::Denied,
        _ => ErrorKind::Query,
    }
}

/// Stops what runs in a connection, from another thread.
#[derive(Clone, Default)]
pub struct Canceller(Arc<Mutex<Option<Arc<Held>>>>);

impl Canceller {
    /// Asks the driver to stop the statement that runs, if one does and it can.
    pub fn cancel(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(statement) = running {
            let function = statement.object.driver.functions.driver.statement_cancel;
            // This function alone may be called while another thread uses the statement.
            let _ = statement.object.call(function, "");
        }
    }

    fn watch(&self, statement: Option<Arc<Held>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = statement;
    }
}

/// A connection to a database.
pub struct Connection {
    connection: Arc<Held>,
    canceller: Canceller,
}

impl Connection {
    fn driver(&self) -> &AdbcDriver {
        &self.connection.object.driver.functions.driver
    }

    /// What stops a statement of this connection.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Sets an option of the connection, as `adbc.connection.autocommit`.
    ///
    /// # Errors
    /// Of the driver.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let set = self.driver().connection_set_option.ok_or_else(missing)?;
        let (key, value) = (of_c(key)?, of_c(value)?);
        // SAFETY: the texts end with 0.
        self.connection
            .object
            .done("", |object, error| unsafe { set(object, key.as_ptr(), value.as_ptr(), error) })
    }

    fn statement(&self, sql: &str) -> Result<Arc<Held>> {
        let driver = self.driver();
        let statement = Owned::new(&self.connection.object.driver, Which::Statement);
        let new = driver.statement_new.ok_or_else(missing)?;
        // SAFETY: the connection is one of the driver's, and the statement is filled in.
        self.connection
            .object
            .done("", |connection, error| unsafe { new(connection, statement.raw(), error) })?;
        let set = driver.statement_set_sql_query.ok_or_else(missing)?;
        let text = of_c(sql)?;
        // SAFETY: the text ends with 0.
        statement.done(sql, |object, error| unsafe { set(object, text.as_ptr(), error) })?;
        let above: Box<dyn Send + Sync> = Box::new(self.connection.clone());
        let statement = Arc::new(Held { object: statement, _above: Some(above) });
        self.canceller.watch(Some(statement.clone()));
        Ok(statement)
    }

    /// Runs a statement without rows; gives how many it changed, where the driver says it.
    ///
    /// # Errors
    /// Of the driver.
    pub fn execute(&self, sql: &str) -> Result<Option<u64>> {
        let statement = self.statement(sql)?;
        let execute = self.driver().statement_execute_query.ok_or_else(missing)?;
        let mut count = -1;
        // SAFETY: no rows are wanted, and the number is written to.
        let done = statement.object.done(sql, |object, error| unsafe {
            execute(object, std::ptr::null_mut(), &mut count, error)
        });
        self.canceller.watch(None);
        done.map(|()| u64::try_from(count).ok())
    }

    /// Runs a query.
    ///
    /// # Errors
    /// Of the driver.
    pub fn query(&self, sql: &str) -> Result<Rows> {
        let statement = self.statement(sql)?;
        let execute = self.driver().statement_execute_query.ok_or_else(missing)?;
        let mut stream = Box::new(ArrowStream::empty());
        let mut count = -1;
        // SAFETY: the stream is filled in, and the number is written to.
        statement.object.done(sql, |object, error| unsafe {
            execute(object, &mut *stream, &mut count, error)
        })?;
        Rows::of(stream, Some(statement), self.canceller.clone(), sql)
    }

    /// What the driver calls the database; empty where it does not say it.
    pub fn vendor(&self) -> String {
        let asked = || {
            let get = self.driver().connection_get_info.ok_or_else(missing)?;
            let mut stream = Box::new(ArrowStream::empty());
            let code = 0u32;
            // SAFETY: one number is asked for, and the stream is filled in.
            self.connection
                .object
                .done("", |object, error| unsafe { get(object, &code, 1, &mut *stream, error) })?;
            let mut rows = Rows::of(stream, None, Canceller::default(), "")?;
            let mut name = String::new();
            while let Some(batch) = rows.next_batch()? {
                let values = batch.column(1).as_union_opt().map(|values| values.value(0));
                if let Some(text) = values.as_ref().and_then(|value| value.as_string_opt::<i32>()) {
                    name = text.value(0).to_owned();
                }
            }
            Ok::<_, Error>(name)
        };
        asked().unwrap_or_default()
    }

    /// All tables and their columns, as the interface nests them.
    ///
    /// # Errors
    /// Of the driver.
    pub fn objects(&self) -> Result<Vec<RecordBatch>> {
        let get = self.driver().connection_get_objects.ok_or_else(missing)?;
        let mut stream = Box::new(ArrowStream::empty());
        let any = std::ptr::null();
        // SAFETY: names that are null mean any, and the stream is filled in.
        self.connection.object.done("", |object, error| unsafe {
            get(object, ALL, any, any, any, std::ptr::null(), any, &mut *stream, error)
        })?;
        let mut rows = Rows::of(stream, None, Canceller::default(), "")?;
        let mut batches = Vec::new();
        while let Some(batch) = rows.next_batch()? {
            batches.push(batch);
        }
        Ok(batches)
    }

    /// The columns of a table.
    ///
    /// # Errors
    /// Of the driver.
    pub fn table(
        &self,
        catalog: Option<&str>,
        schema: Option<&str>,
        table: &str,
    ) -> Result<Schema> {
        let get = self.driver().connection_get_table_schema.ok_or_else(missing)?;
        let text = |text: Option<&str>| text.map(of_c).transpose();
        let (catalog, schema, table) = (text(catalog)?, text(schema)?, of_c(table)?);
        let given = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
        let mut found = ArrowSchema::empty();
        // SAFETY: the texts end with 0 or are null, and the schema is filled in.
        self.connection.object.done("", |object, error| unsafe {
            get(object, given(&catalog), given(&schema), table.as_ptr(), &mut found, error)
        })?;
        // SAFETY: the driver filled it in.
        unsafe { imported::schema(&found) }
    }
}

/// The rows of a query, batch by batch. Dropped, it ends.
pub struct Rows {
    // Released before the statement.
    stream: Box<ArrowStream>,
    schema: SchemaRef,
    canceller: Canceller,
    _statement: Option<Arc<Held>>,
}

// SAFETY: one thread after the other takes rows.
unsafe impl Send for Rows {}

impl Drop for Rows {
    fn drop(&mut self) {
        self.canceller.watch(None);
    }
}

impl Rows {
    fn of(
        mut stream: Box<ArrowStream>,
        statement: Option<Arc<Held>>,
        canceller: Canceller,
        sql: &str,
    ) -> Result<Rows> {
        let get = stream.get_schema.ok_or_else(missing)?;
        let mut found = ArrowSchema::empty();
        // SAFETY: the stream was filled in by the driver, and the schema is.
        let code = unsafe { get(&mut *stream, &mut found) };
        if code != 0 {
            return Err(of_stream(&mut stream, code, sql));
        }
        // SAFETY: the driver filled it in.
        let schema = Arc::new(unsafe { imported::schema(&found) }?);
        Ok(Rows { stream, schema, canceller, _statement: statement })
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// Of the driver.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let get = self.stream.get_next.ok_or_else(missing)?;
        let mut array = ArrowArray::empty();
        // SAFETY: the stream was filled in by the driver, and the array is.
        let code = unsafe { get(&mut *self.stream, &mut array) };
        if code != 0 {
            return Err(of_stream(&mut self.stream, code, ""));
        }
        if array.release.is_none() {
            return Ok(None);
        }
        let rows = DataType::Struct(self.schema.fields().clone());
        // SAFETY: the driver filled it in, with rows of the schema.
        let rows = unsafe { imported::array(&array, &rows) }?;
        let Some(rows) = rows.as_struct_opt() else { return Err(missing()) };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), rows.columns().to_vec(), &options)
            .map(Some)
            .map_err(|error| {
                Error::new(ErrorKind::Data, "the driver gives values that are not what it says")
                    .because(error)
            })
    }
}

/// What a stream failed of.
fn of_stream(stream: &mut ArrowStream, code: c_int, sql: &str) -> Error {
    let message = stream.get_last_error.map(|get| {
        // SAFETY: the stream was filled in by the driver.
        let text = unsafe { get(stream) };
        match text.is_null() {
            true => String::new(),
            // SAFETY: a text that ends with 0, and stays until the next call.
            false => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
        }
    });
    let message = message.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let message = match message.is_empty() {
        true => format!("the driver stopped in the middle of the rows ({code})"),
        false => message,
    };
    let kind = match code {
        CANCELED | INTERRUPTED => ErrorKind::Cancelled,
        _ => kind_of(0, "", &message),
    };
    let error = Error::new(kind, message);
    if sql.is_empty() || kind != ErrorKind::Query { error } else { error.with("sql", sql) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_functions_follow_those_of_libraries() {
        assert_eq!(derived("libadbc_driver_sqlite"), "AdbcDriverSqliteInit");
        assert_eq!(derived("adbc_driver_flightsql"), "AdbcDriverFlightsqlInit");
    }
}

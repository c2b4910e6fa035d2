//! A connection, and statements in it.
#![allow(unsafe_code, reason = "functions in C are called here")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_core::{Error, ErrorKind, Result};

use super::functions::{
    ATTR_AUTOCOMMIT, ATTR_LOGIN_TIMEOUT, COMMIT, CONNECTION, DESC_TYPE_NAME, DESC_UNSIGNED,
    DRIVER_NOPROMPT, IS_UINTEGER, NO_DATA, ROLLBACK, STATEMENT, SUCCESS, SUCCESS_WITH_INFO, Wide,
};
use super::handle::Handle;
use super::rows::{Kind, Rows};

/// What a connection tells of the database and its driver.
pub mod info {
    #![allow(missing_docs)]
    pub const DRIVER_NAME: u16 = 6;
    pub const DATABASE_NAME: u16 = 16;
    pub const DBMS_NAME: u16 = 17;
    pub const DBMS_VERSION: u16 = 18;
    pub const IDENTIFIER_QUOTE: u16 = 29;
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// The number of its type ([`super::types`]).
    pub sql_type: i16,
    /// What the database calls its type, in lower case; empty where the driver does not say it.
    pub type_name: String,
    /// Characters, digits or bytes; 0 when that is not known.
    pub size: usize,
    /// Digits behind the point.
    pub digits: i16,
    /// A number without a sign.
    pub unsigned: bool,
}

/// A list that the driver makes of the catalog.
#[derive(Debug, Clone, Copy)]
pub enum Listed<'a> {
    /// Tables and views: catalog, schema, name, kind.
    Tables,
    /// All columns: catalog, schema, table, name, type, type's name, size, …, digits.
    Columns,
    /// The key of a table, by catalog, schema and name: column in the fourth, place in the fifth.
    Key(Option<&'a str>, Option<&'a str>, &'a str),
}

/// Stops what runs in a connection, from another thread.
#[derive(Clone, Default)]
pub struct Canceller(Arc<Mutex<Option<Arc<Handle>>>>);

impl Canceller {
    /// Asks the driver to stop the statement that runs, if one does.
    pub fn cancel(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(handle) = running {
            // SAFETY: this function alone may be called while another thread uses the statement, which lives
            // as long as it is held here.
            let _ = unsafe { (handle.functions.SQLCancel)(handle.raw) };
        }
    }

    fn watch(&self, handle: Option<Arc<Handle>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = handle;
    }
}

/// A connection to a database.
pub struct Connection {
    handle: Arc<Handle>,
    canceller: Canceller,
}

pub(super) fn wide(text: &str) -> Vec<Wide> {
    text.encode_utf16().collect()
}

impl Connection {
    pub(super) fn open(environment: &Arc<Handle>, string: &str, timeout: usize) -> Result<Self> {
        let handle = Handle::below(environment, CONNECTION)?;
        let text = wide(string);
        let length = i16::try_from(text.len()).map_err(|_| {
            Error::new(ErrorKind::Config, "the connection string has more than 32,767 characters")
        })?;
        let mut out = [0 as Wide; 1024];
        let mut written = 0;
        // SAFETY: the attribute's value is the number itself; a driver that does not have it says so.
        let _ = unsafe {
            (handle.functions.SQLSetConnectAttrW)(
                handle.raw,
                ATTR_LOGIN_TIMEOUT,
                timeout as _,
                IS_UINTEGER,
            )
        };
        // SAFETY: the texts have the lengths that are said, and no window is asked with.
        let code = unsafe {
            (handle.functions.SQLDriverConnectW)(
                handle.raw,
                std::ptr::null_mut(),
                text.as_ptr(),
                length,
                out.as_mut_ptr(),
                1024,
                &mut written,
                DRIVER_NOPROMPT,
            )
        };
        handle.check(code, "")?;
        handle.connected.store(true, Ordering::Relaxed);
        Ok(Connection { handle: Arc::new(handle), canceller: Canceller::default() })
    }

    /// What stops a statement of this connection.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// A text of [`info`]; empty where the driver does not say it.
    pub fn info(&self, what: u16) -> String {
        let mut text = [0 as Wide; 256];
        let mut bytes = 0;
        // SAFETY: the text has so many bytes.
        let code = unsafe {
            (self.handle.functions.SQLGetInfoW)(
                self.handle.raw,
                what,
                text.as_mut_ptr().cast(),
                512,
                &mut bytes,
            )
        };
        match code {
            SUCCESS | SUCCESS_WITH_INFO => {
                let length = (usize::try_from(bytes).unwrap_or(0) / 2).min(255);
                String::from_utf16_lossy(&text[..length]).trim_end_matches('\0').to_owned()
            }
            _ => String::new(),
        }
    }

    /// Whether each statement is a transaction of its own, as it is at first.
    ///
    /// # Errors
    /// Of the driver.
    pub fn set_autocommit(&self, on: bool) -> Result<()> {
        // SAFETY: the attribute's value is the number itself.
        let code = unsafe {
            (self.handle.functions.SQLSetConnectAttrW)(
                self.handle.raw,
                ATTR_AUTOCOMMIT,
                usize::from(on) as _,
                IS_UINTEGER,
            )
        };
        self.handle.check(code, "")
    }

    /// Ends the transaction.
    ///
    /// # Errors
    /// Of the driver: of a commit it is not known then whether it was done.
    pub fn end(&self, commit: bool) -> Result<()> {
        let how = if commit { COMMIT } else { ROLLBACK };
        // SAFETY: the handle is that of a connection.
        let code = unsafe { (self.handle.functions.SQLEndTran)(CONNECTION, self.handle.raw, how) };
        self.handle.check(code, "")
    }

    fn statement(&self) -> Result<Statement> {
        let handle = Arc::new(Handle::below(&self.handle, STATEMENT)?);
        self.canceller.watch(Some(handle.clone()));
        Ok(Statement { handle, canceller: self.canceller.clone() })
    }

    /// Runs a statement; gives how many rows it changed, where the driver says it.
    ///
    /// # Errors
    /// Of the driver.
    pub fn execute(&self, sql: &str) -> Result<Option<u64>> {
        let statement = self.statement()?;
        statement.run(sql)?;
        let mut count = 0;
        let (functions, raw) = (&statement.handle.functions, statement.handle.raw);
        // SAFETY: the number is written to.
        let code = unsafe { (functions.SQLRowCount)(raw, &mut count) };
        let count = if code == SUCCESS { u64::try_from(count).ok() } else { None };
        // Of several statements in one text the driver tells what became of the others only when asked.
        loop {
            // SAFETY: the handle is that of a statement.
            let code = unsafe { (functions.SQLMoreResults)(raw) };
            match code {
                SUCCESS | SUCCESS_WITH_INFO => {}
                NO_DATA => return Ok(count),
                _ => return Err(statement.handle.failure(sql)),
            }
        }
    }

    /// The columns of a query, which is run for that: let it have no rows.
    ///
    /// # Errors
    /// Of the driver.
    pub fn describe(&self, sql: &str) -> Result<Vec<Description>> {
        let statement = self.statement()?;
        statement.run(sql)?;
        statement.columns()
    }

    /// All rows of a small result as texts.
    ///
    /// # Errors
    /// Of the driver.
    pub fn texts(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let statement = self.statement()?;
        statement.run(sql)?;
        statement.texts()
    }

    /// A list of the catalog (of this one, where it is named) as texts.
    ///
    /// # Errors
    /// Of the driver.
    pub fn list(
        &self,
        list: Listed<'_>,
        catalog: Option<&str>,
    ) -> Result<Vec<Vec<Option<String>>>> {
        let statement = self.statement()?;
        let (functions, raw) = (&statement.handle.functions, statement.handle.raw);
        let text = |text: Option<&str>| text.map(wide);
        // A name that is not given is a null pointer, and means any.
        let given = |text: &Option<Vec<Wide>>| match text {
            Some(text) => (text.as_ptr(), i16::try_from(text.len()).unwrap_or(i16::MAX)),
            None => (std::ptr::null(), 0),
        };
        let catalog = text(catalog);
        let (catalog, of_catalog) = given(&catalog);
        let none = std::ptr::null();
        // SAFETY: texts have the lengths that are said, or are null, which these functions take.
        let code = unsafe {
            match list {
                Listed::Tables => {
                    let kinds = wide("TABLE,VIEW");
                    (functions.SQLTablesW)(
                        raw,
                        catalog,
                        of_catalog,
                        none,
                        0,
                        none,
                        0,
                        kinds.as_ptr(),
                        10,
                    )
                }
                Listed::Columns => {
                    (functions.SQLColumnsW)(raw, catalog, of_catalog, none, 0, none, 0, none, 0)
                }
                Listed::Key(catalog, schema, table) => {
                    let (catalog, schema, table) = (text(catalog), text(schema), text(Some(table)));
                    let (catalog, of_catalog) = given(&catalog);
                    let (schema, of_schema) = given(&schema);
                    let (table, of_table) = given(&table);
                    (functions.SQLPrimaryKeysW)(
                        raw, catalog, of_catalog, schema, of_schema, table, of_table,
                    )
                }
            }
        };
        statement.handle.check(code, "")?;
        statement.texts()
    }

    /// Runs a query whose columns are read as these kinds, so many rows at once at most.
    ///
    /// # Errors
    /// Of the driver.
    pub fn query(&self, sql: &str, kinds: &[Kind], block: usize) -> Result<Rows> {
        // Some drivers fetch ahead, as many rows as is said before.
        let mut rows = Rows::new(self.statement()?, kinds, block)?;
        rows.statement().run(sql)?;
        rows.bind()?;
        Ok(rows)
    }
}

/// A statement of a connection.
pub(super) struct Statement {
    pub(super) handle: Arc<Handle>,
    canceller: Canceller,
}

impl Drop for Statement {
    fn drop(&mut self) {
        self.canceller.watch(None);
    }
}

impl Statement {
    pub(super) fn run(&self, sql: &str) -> Result<()> {
        let text = wide(sql);
        let length = i32::try_from(text.len())
            .map_err(|_| Error::new(ErrorKind::Resources, "a statement is too long for ODBC"))?;
        // SAFETY: the text has that length.
        let code = unsafe {
            (self.handle.functions.SQLExecDirectW)(self.handle.raw, text.as_ptr(), length)
        };
        self.handle.check(code, sql)
    }

    fn count(&self) -> Result<u16> {
        let mut count = 0;
        // SAFETY: the number is written to.
        let code = unsafe { (self.handle.functions.SQLNumResultCols)(self.handle.raw, &mut count) };
        self.handle.check(code, "")?;
        Ok(u16::try_from(count).unwrap_or(0))
    }

    fn columns(&self) -> Result<Vec<Description>> {
        (1..=self.count()?).map(|number| self.column(number)).collect()
    }

    fn column(&self, number: u16) -> Result<Description> {
        let mut name = vec![0 as Wide; 1024];
        let (mut length, mut sql_type, mut digits, mut nullable) = (0, 0, 0, 0);
        let mut size = 0;
        // SAFETY: the name has room for 1024 characters; the numbers are written to.
        let code = unsafe {
            (self.handle.functions.SQLDescribeColW)(
                self.handle.raw,
                number,
                name.as_mut_ptr(),
                1024,
                &mut length,
                &mut sql_type,
                &mut size,
                &mut digits,
                &mut nullable,
            )
        };
        self.handle.check(code, "")?;
        let length = usize::try_from(length).unwrap_or(0).min(name.len() - 1);
        let name = String::from_utf16_lossy(&name[..length]);
        let (type_name, _) = self.attribute(number, DESC_TYPE_NAME);
        let (_, unsigned) = self.attribute(number, DESC_UNSIGNED);
        let type_name = type_name.to_lowercase();
        Ok(Description { name, sql_type, type_name, size, digits, unsigned: unsigned == 1 })
    }

    /// What a driver says besides of a column; nothing where it does not.
    fn attribute(&self, number: u16, what: u16) -> (String, isize) {
        let mut text = [0 as Wide; 128];
        let (mut bytes, mut value) = (0, 0);
        // SAFETY: the text has 256 bytes; the numbers are written to.
        let code = unsafe {
            (self.handle.functions.SQLColAttributeW)(
                self.handle.raw,
                number,
                what,
                text.as_mut_ptr().cast(),
                256,
                &mut bytes,
                &mut value,
            )
        };
        match code {
            SUCCESS | SUCCESS_WITH_INFO => {
                let length = (usize::try_from(bytes).unwrap_or(0) / 2).min(127);
                let text = String::from_utf16_lossy(&text[..length]);
                (text.trim_end_matches('\0').to_owned(), value)
            }
            _ => (String::new(), 0),
        }
    }

    fn texts(self) -> Result<Vec<Vec<Option<String>>>> {
        let kinds = vec![Kind::LongText; usize::from(self.count()?)];
        let mut rows = Rows::new(self, &kinds, 1)?;
        rows.bind()?;
        let mut all = Vec::new();
        while rows.fetch()? > 0 {
            let mut row = Vec::with_capacity(kinds.len());
            for at in 0..kinds.len() {
                row.push(rows.long_text(at)?);
            }
            all.push(row);
        }
        Ok(all)
    }
}

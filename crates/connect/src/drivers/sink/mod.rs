//! Databases through drivers as a sink: a state of a relation becomes rows of a table, in one transaction.
//!
//! Rows come by `insert` of many at once. With a key they come into a temporary table first, and one statement
//! for each kind of change brings them in. The record of the delivery is a row of
//! `tidemill_driver_deliveries`, written in the same transaction: when the answer to the commit is lost, that
//! row tells what became of it.

mod rows;
mod statements;
mod target;

use async_trait::async_trait;
use futures::FutureExt;
use serde::Deserialize;
use tidemill_core::{BatchStream, Delivered, Delivery, Error, ErrorKind, Result, Sink};
use tokio::runtime::Handle;

use super::{Link, Opens, beside};
use crate::delivery::settle;
use crate::failpoint::failpoint;
use crate::stream::blocking;
use statements::{Names, System};

/// A database that rows are written to.
pub(crate) struct DriverSink<O> {
    opens: O,
    /// The connection's name, for messages.
    name: String,
}

/// Where to, in an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    table: String,
}

/// The connection of one delivery.
struct Writer<L> {
    link: L,
    system: System,
    names: Names,
    delivery: Delivery,
    /// The table was not there before.
    made: bool,
}

impl<O: Opens> DriverSink<O> {
    pub(crate) fn new(opens: O, name: String) -> Self {
        DriverSink { opens, name }
    }

    async fn writer(&self, delivery: &Delivery) -> Result<Writer<O::Link>> {
        let to = serde_json::Value::Object(delivery.to.clone());
        let To { table } = serde_json::from_value(to).map_err(|wrong| {
            Error::new(ErrorKind::Config, format!("`to` of the export: {wrong}"))
                .with("help", "to: {connection: …, table: schema.name}")
        })?;
        let (opens, delivery) = (self.opens.clone(), delivery.clone());
        blocking(move || {
            let link = opens.open()?;
            let system = System::of(link.dialect())?;
            let names = Names::new(link.dialect(), &table)?;
            Ok(Writer { link, system, names, delivery, made: false })
        })
        .await
    }

    /// The answer to a commit did not come: the record tells whether it was done.
    async fn settle(&self, delivery: &Delivery, lost: Error) -> Result<()> {
        let asked = || {
            let asked = async move {
                let mut writer = self.writer(delivery).await?;
                blocking(move || writer.has_record()).await
            };
            asked.boxed()
        };
        settle("the database", lost, asked).await
    }
}

#[async_trait]
impl<O: Opens> Sink for DriverSink<O> {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let asked = async {
            let mut writer = self.writer(delivery).await?;
            blocking(move || writer.is_delivered()).await
        };
        asked.await.map_err(|error: Error| error.with("connection", &self.name))
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let delivered = async {
            delivery.cancel.check()?;
            let writer = self.writer(delivery).await?;
            let (stop, handle) = (writer.link.stop(), Handle::current());
            let (mut writer, delivered) =
                beside(writer, stop, &delivery.cancel, move |writer| writer.work(rows, &handle))
                    .await?;
            let Some(delivered) = delivered? else {
                return Ok(Delivered { nothing_new: true, ..Delivered::default() });
            };
            // From here on it is not stopped: the end is soon and has to be known. The connection is gone
            // before the record is read.
            match blocking(move || writer.end()).await {
                Ok(()) => Ok(delivered),
                // The database said no: nothing was changed.
                Err(error) if error.kind() == ErrorKind::Data => Err(error),
                Err(error) => self.settle(delivery, error).await.map(|()| delivered),
            }
        };
        delivered.await.map_err(|error: Error| error.with("connection", &self.name))
    }
}

impl<L: Link> Writer<L> {
    /// The first value of a query.
    fn value(&mut self, sql: &str) -> Result<Option<String>> {
        let rows = self.link.texts(sql)?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    fn count(&mut self, sql: &str) -> Result<u64> {
        Ok(self.value(sql)?.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    fn run(&mut self, sql: &str) -> Result<()> {
        self.link.execute(sql)
    }

    /// What kind of object this is; `None` where there is none.
    fn kind(&mut self, table: &str) -> Result<Option<String>> {
        let sql = self.system.kind(&self.names, table);
        self.value(&sql)
    }

    fn is_delivered(&mut self) -> Result<bool> {
        let (table, records) = (self.names.table.clone(), Names::RECORDS);
        // What somebody dropped is delivered again.
        if self.delivery.again || self.kind(records)?.is_none() || self.kind(&table)?.is_none() {
            return Ok(false);
        }
        let sql = self.names.find_record(&self.delivery);
        Ok(self.value(&sql)?.is_some())
    }

    /// Whether the record of this very run is there; no other delivery to the table is under way.
    fn has_record(&mut self) -> Result<bool> {
        self.enter(false)?;
        if self.kind(Names::RECORDS)?.is_none() {
            return Ok(false);
        }
        let sql = self.names.find_record_of_run(&self.delivery);
        Ok(self.value(&sql)?.is_some())
    }

    /// One delivery to a table at once, until the transaction or the connection ends.
    fn enter(&mut self, waits: bool) -> Result<()> {
        for sql in self.system.before_lock() {
            self.run(sql)?;
        }
        if let Some(sql) = self.system.lock(&self.names, waits)
            && self.value(&sql)?.as_deref() != Some("1")
        {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "another delivery to the table does not end",
            ));
        }
        Ok(())
    }

    /// Does everything but the end; nothing where the state is there.
    fn work(&mut self, rows: BatchStream, handle: &Handle) -> Result<Option<Delivered>> {
        self.enter(true)?;
        if self.kind(Names::RECORDS)?.is_none() {
            if let Some(sql) = self.system.lock_records(&self.names) {
                self.count(&sql)?;
            }
            let sql = self.system.create_records(&self.names);
            self.run(&sql)?;
        }
        if self.is_delivered()? {
            return Ok(None);
        }
        failpoint!("export.begun");
        let delivered = match self.bring(rows, handle) {
            Ok(delivered) => delivered,
            Err(error) => {
                // What is not part of the transaction.
                if self.made && self.system.begin_late().is_some() {
                    let _ = self.run(&format!("drop table if exists {}", self.names.target));
                }
                return Err(error);
            }
        };
        failpoint!("export.changed");
        for sql in self.names.write_record(&self.delivery, delivered.rows) {
            self.run(&sql)?;
        }
        failpoint!("export.before-commit");
        Ok(Some(delivered))
    }

    fn end(&mut self) -> Result<()> {
        self.run("commit")?;
        failpoint!("export.after-commit");
        Ok(())
    }
}

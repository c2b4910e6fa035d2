//! One state of a database, read through a driver.

use arrow::datatypes::DataType;
use async_trait::async_trait;
use futures::stream::BoxStream;
use tidemill_core::{Cancellation, Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::{Link, Query, beside};
use crate::stream::of_parts;
use crate::tables::{Column, Part, Select, Session};

pub(super) struct DriverSession<L: Link> {
    /// Taken while it works beside the runtime.
    link: Option<L>,
    cancel: Cancellation,
}

impl<L: Link> Drop for DriverSession<L> {
    fn drop(&mut self) {
        // To end a connection may take a while.
        let (link, runtime) = (self.link.take(), tokio::runtime::Handle::try_current());
        if let (Some(link), Ok(runtime)) = (link, runtime) {
            runtime.spawn_blocking(move || drop(link));
        }
    }
}

impl<L: Link> DriverSession<L> {
    pub(super) fn new(link: L, cancel: Cancellation) -> Self {
        DriverSession { link: Some(link), cancel }
    }

    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut L) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let link = self
            .link
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a query of this session still runs"))?;
        let stop = link.stop();
        let (link, result) = beside(link, stop, &self.cancel, work).await?;
        self.link = Some(link);
        result
    }
}

#[async_trait]
impl<L: Link> Session for DriverSession<L> {
    async fn columns(&mut self, select: &Select) -> Result<Vec<Column>> {
        let select = select.clone();
        self.run(move |link| link.describe(&select)).await
    }

    fn gives(&self, _column: &Column, _declared: &DataType) -> bool {
        false
    }

    async fn value(&mut self, sql: &str) -> Result<Option<String>> {
        let sql = sql.to_owned();
        let rows = self.run(move |link| link.texts(&sql)).await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    async fn rows<'a>(
        &'a mut self,
        select: &Select,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'a, Result<Part>>> {
        let (sender, receiver) = mpsc::channel(1);
        let cancel = self.cancel.clone();
        let query = Query { select: select.clone(), columns: columns.to_vec(), batch_rows, cancel };
        let reading = self.run(move |link| {
            let gone = |_| Error::new(ErrorKind::Cancelled, "nobody reads any more");
            link.read(query, &mut |part| sender.blocking_send(part).map_err(gone))
        });
        Ok(of_parts(reading, receiver))
    }
}

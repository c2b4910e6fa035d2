//! One table read by several connections that see one state of it.
//!
//! MySQL has no snapshot that connections could share. So the table is locked against writers for the moment
//! in which they begin their transactions: whoever wrote to it has committed then, and nobody else has begun.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::BoxStream;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidemill_core::{Cancellation, Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::failure;
use super::session::MySqlSession;
use super::{Place, constant, quoted, unquoted};
use crate::tables::{Column, Part, Select};

/// Smaller tables are read by one connection.
const ROWS: u64 = 50_000;

/// Pieces for each connection, as their rows are not equally many.
const PIECES: i128 = 8;

/// How long is waited for writers; others wait behind us meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connections that read a table, and its pieces.
pub(super) struct Readers {
    sessions: Vec<MySqlSession>,
    /// The column that they are pieces of, in quotes.
    key: String,
    pieces: VecDeque<(i128, i128)>,
}

/// What came of it.
pub(super) enum Shared {
    Readers(Readers),
    /// One connection does it: the table is small, or has no key of numbers.
    Alone,
    /// One connection does it, which the user should know.
    Refused(String),
}

/// The first column of the primary key, when it is a number, and how many rows there are, about.
async fn key(connection: &mut Conn, table: &str) -> Result<Option<(String, u64)>> {
    let name = unquoted(table);
    let (database, table) = match name.as_slice() {
        [table] => ("database()".to_owned(), constant(table)),
        [database, table, ..] => (constant(database), constant(table)),
        [] => return Ok(None),
    };
    let sql = format!(
        "select c.column_name, coalesce(t.table_rows, 0) from information_schema.tables t \
         join information_schema.statistics k on k.table_schema = t.table_schema and k.table_name = t.table_name \
            and k.index_name = 'PRIMARY' and k.seq_in_index = 1 \
         join information_schema.columns c on c.table_schema = t.table_schema and c.table_name = t.table_name \
            and c.column_name = k.column_name and c.data_type in ('tinyint', 'smallint', 'mediumint', 'int', 'bigint') \
         where t.table_schema = {database} and t.table_name = {table} and t.table_type = 'BASE TABLE'"
    );
    connection.query_first(&sql).await.map_err(|error| failure(error, &sql))
}

/// Begins to read the table; the transaction of `main` begins again, and sees the same.
pub(super) async fn begin(
    place: &Place,
    cancel: &Cancellation,
    main: &mut Conn,
    table: &str,
    connections: usize,
) -> Result<Shared> {
    let key = match key(main, table).await? {
        Some((key, rows)) if rows >= ROWS => quoted(&key),
        _ => return Ok(Shared::Alone),
    };
    // Nothing of ours holds the table while we wait for its writers.
    run(main, "commit").await?;
    let mut locker = place.connect().await?;
    let connects = (0..connections).map(|_| MySqlSession::connect(place.clone(), cancel.clone()));
    let mut sessions = try_join_all(connects).await?;
    run(&mut locker, &format!("set session lock_wait_timeout = {}", PATIENCE.as_secs())).await?;
    let locked = run(&mut locker, &format!("lock tables {table} read")).await;
    let begun = match &locked {
        Ok(()) => try_join_all(sessions.iter_mut().map(MySqlSession::start)).await.map(drop),
        Err(_) => Ok(()),
    };
    let begun = match begun {
        Ok(()) => super::session::start(main).await,
        Err(error) => Err(error),
    };
    let _ = run(&mut locker, "unlock tables").await;
    let _ = locker.disconnect().await;
    begun?;
    match locked {
        Err(error) if error.kind() == ErrorKind::Denied => {
            return Err(error.with(
                "help",
                "with `read_connections` the user needs `grant lock tables` on the database, for the moment in \
                 which the connections begin",
            ));
        }
        Err(error) => {
            return Ok(Shared::Refused(format!(
                "is read by one connection, as it could not be locked for a moment: {}",
                error.message()
            )));
        }
        Ok(()) => {}
    }
    let sql = format!("select cast(min({key}) as char), cast(max({key}) as char) from {table}");
    let ends: Option<(Option<String>, Option<String>)> =
        main.query_first(&sql).await.map_err(|error| failure(error, &sql))?;
    let number = |text: Option<String>| text.and_then(|text| text.parse::<i128>().ok());
    let (Some(first), Some(last)) = ends.map_or((None, None), |(a, b)| (number(a), number(b)))
    else {
        return Ok(Shared::Alone);
    };
    let count = i128::try_from(connections).unwrap_or(1) * PIECES;
    Ok(Shared::Readers(Readers { sessions, key, pieces: pieces(first, last, count) }))
}

async fn run(connection: &mut Conn, sql: &str) -> Result<()> {
    connection.query_drop(sql).await.map_err(|error| failure(error, sql))
}

/// The numbers from the first to the last, in so many pieces.
fn pieces(first: i128, last: i128, count: i128) -> VecDeque<(i128, i128)> {
    let step = ((last - first) / count.max(1) + 1).max(1);
    let mut pieces = VecDeque::new();
    let mut from = first;
    while from <= last {
        pieces.push_back((from, (from + step - 1).min(last)));
        from += step;
    }
    pieces
}

impl Readers {
    /// The rows of all pieces, as they come.
    pub(super) fn rows(
        self,
        select: &Select,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> BoxStream<'static, Result<Part>> {
        let (sender, receiver) = mpsc::channel(self.sessions.len());
        let pieces = Arc::new(Mutex::new(self.pieces));
        let mut tasks = JoinSet::new();
        for mut session in self.sessions {
            let (pieces, sender, key) = (pieces.clone(), sender.clone(), self.key.clone());
            let (select, columns) = (select.clone(), columns.to_vec());
            tasks.spawn(async move {
                loop {
                    let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((from, to)) = piece else { return };
                    let mut of_piece = select.clone();
                    of_piece.conditions.push(format!("{key} between {from} and {to}"));
                    let mut rows = match session.rows_alone(&of_piece, &columns, batch_rows).await {
                        Ok(rows) => rows,
                        Err(error) => {
                            let _ = sender.send(Err(error)).await;
                            return;
                        }
                    };
                    while let Some(part) = rows.next().await {
                        let failed = part.is_err();
                        // Nobody listens any more, or it is over.
                        if sender.send(part).await.is_err() || failed {
                            return;
                        }
                    }
                }
            });
        }
        Box::pin(futures::stream::unfold(
            (receiver, tasks),
            |(mut receiver, mut tasks)| async move {
                if let Some(part) = receiver.recv().await {
                    return Some((part, (receiver, tasks)));
                }
                // One that broke off has not read its piece.
                while let Some(ended) = tasks.join_next().await {
                    if let Err(error) = ended {
                        let error =
                            Error::new(ErrorKind::Internal, "a part of a table was not read")
                                .because(error);
                        return Some((Err(error), (receiver, tasks)));
                    }
                }
                None
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_every_number_once() {
        let unsigned = i128::from(u64::MAX);
        for (first, last, count) in [(1, 10, 3), (5, 5, 16), (-3, 3, 100), (0, unsigned, 16)] {
            let pieces = pieces(first, last, count);
            assert_eq!((pieces[0].0, pieces[pieces.len() - 1].1), (first, last));
            assert!(pieces.iter().zip(pieces.iter().skip(1)).all(|(a, b)| a.1 + 1 == b.0));
            assert!(i128::try_from(pieces.len()).unwrap() <= count.max(last - first + 1));
        }
    }
}

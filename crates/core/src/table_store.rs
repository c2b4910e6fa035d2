//! The lake: staging, publishing, time travel, maintenance.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;

use crate::{
    At, BatchStream, CommitId, EntryNumber, Observer, Position, RelationName, Result, RunId,
    Snapshot, TableVersion, UniqueId,
};

/// How staged rows meet the rows that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteMode {
    /// The rows become the whole table.
    Replace,
    /// The rows become the whole table; of those with one key the last stays. A NULL in a key fails.
    ReplaceByKey {
        /// The key's columns.
        key: Vec<String>,
    },
    /// The rows are added.
    Append,
    /// Rows with the same key are replaced, new keys added. For a load: two new rows with one key
    /// keep the last. A NULL in a key equals nothing.
    Upsert {
        /// The key's columns.
        key: Vec<String>,
        /// `None`: replace whole rows. `Some`: update only these columns of rows that match.
        update: Option<Vec<String>>,
        /// What happens when two new rows have one key.
        duplicates: Duplicates,
        /// What happens to new rows with a NULL in their key.
        null_keys: NullKeys,
    },
    /// Rows whose key occurs among the new ones are deleted, then all new rows are added, so that
    /// several new rows may share a key (dbt's `delete+insert`). A NULL in a key equals nothing.
    DeleteInsert {
        /// The key's columns.
        key: Vec<String>,
        /// What happens to new rows with a NULL in their key.
        null_keys: NullKeys,
    },
    /// Rows whose values in these columns occur among the new ones are deleted, then all new rows
    /// are added (dbt's `insert_overwrite`).
    ReplaceWhere {
        /// The partition columns or expressions by column name.
        columns: Vec<String>,
    },
    /// Rows for which the column has one of these values are deleted, then the rows are added. Used
    /// to load a changed file again.
    ReplaceValues {
        /// The column.
        column: String,
        /// The values.
        values: Vec<String>,
    },
    /// Rows for which a column of dates, timestamps or whole numbers lies in one of these spans are deleted,
    /// then all new rows are added (dbt's `microbatch`). A NULL lies in none.
    ReplaceRanges {
        /// The column.
        column: String,
        /// From and to (not included): microseconds since 1970, or the numbers.
        ranges: Vec<(i64, i64)>,
    },
    /// The rows take the place of all rows of these files of the base ([`TableStore::by_file`]); all
    /// other rows stay. Without files the rows are added, and it is a conflict all the same when the
    /// table has changed since.
    ReplaceFiles {
        /// As the column [`FILE`] names them.
        files: Vec<String>,
    },
    /// Rows of a log of changes, in its order: the last one with a key counts. Beside columns of the
    /// table the stream has [`changes::GONE`]. A NULL in a key is an error.
    Changes {
        /// The key's columns.
        key: Vec<String>,
        /// Whether all rows that are there go first.
        truncates: bool,
    },
    /// Each row of the stream may end a row that is there, and may add one (a history of a table, as
    /// dbt's snapshots keep it). Beside columns of the table the stream has those of [`history`].
    /// NULLs in the key equal each other. The table has to be there.
    History {
        /// The columns of the table by which a row that ends is found.
        key: Vec<String>,
        /// The column of a row that ends that gets another value.
        until: String,
    },
}

/// The column that names the file of a row ([`TableStore::by_file`]): a short text, which holds for one
/// version of one table.
pub const FILE: &str = "__tidemill_file";

/// Columns of the stream of [`WriteMode::History`] that are not the table's.
pub mod history {
    /// Whether the row adds one: its values are those under the table's names (boolean, no NULLs).
    pub const ADDS: &str = "__tidemill_adds";
    /// Whether the row ends one that is there (boolean, no NULLs).
    pub const ENDS: &str = "__tidemill_ends";
    /// What the row that ends gets in the column `until`.
    pub const UNTIL: &str = "__tidemill_until";

    /// The value of the key's column with this number, counted from 0, in the row that ends.
    pub fn key(number: usize) -> String {
        format!("__tidemill_key_{number}")
    }

    /// Whether a column of the stream is one of these.
    pub fn is_control(name: &str) -> bool {
        name.starts_with("__tidemill_")
    }
}

/// Columns of rows of a log of changes that are not the table's.
pub mod changes {
    /// Whether the row with this key goes (boolean, no NULLs); other columns say nothing then.
    pub const GONE: &str = "__tidemill_gone";
    /// The numbers of the columns whose values the log leaves out, as they are those of the row as it
    /// was (list of int32). That row is found by the key of before ([`key`]).
    pub const KEPT: &str = "__tidemill_kept";

    /// What happened to the row (int8): [`INSERT`], [`UPDATE`] or [`DELETE`]. There where every change is
    /// asked for.
    pub const KIND: &str = "__tidemill_kind";
    /// When the transaction was committed (timestamp in microseconds, UTC), where the log says so.
    pub const AT: &str = "__tidemill_at";

    /// The row was added.
    pub const INSERT: i8 = 0;
    /// The row has other values.
    pub const UPDATE: i8 = 1;
    /// The row went.
    pub const DELETE: i8 = 2;

    /// The value that the key's column with this number, counted from 0, had before the change.
    pub fn key(number: usize) -> String {
        format!("__tidemill_was_{number}")
    }

    /// Whether a column is one of these.
    pub fn is_control(name: &str) -> bool {
        name.starts_with("__tidemill_")
    }
}

/// What happens to new rows with a NULL in their key. Such a row matches no row that is there, so
/// the same rows written again are there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NullKeys {
    /// They are added each time, and counted in [`Staged::null_keys`].
    #[default]
    Insert,
    /// They are an error of kind [`crate::ErrorKind::Data`] that counts them and names the columns.
    Fail,
}

/// What happens when two new rows of an upsert have one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// The later row (in stream order) stays: what a load wants.
    KeepLast,
    /// It is an error of kind [`crate::ErrorKind::Data`] that names the keys: what a model wants.
    Fail,
}

/// What a stage writes.
pub struct StageRequest {
    /// The target.
    pub relation: RelationName,
    /// How the rows meet what is there.
    pub mode: WriteMode,
    /// The columns that Delta partitions by; only looked at when the table is created or replaced.
    /// `None`: those that the table has, as far as they are there still.
    pub partition_by: Option<Vec<String>>,
    /// The rows.
    pub rows: BatchStream,
    /// The published state that the write builds on; the publish refuses (conflict) when the
    /// relation has changed since.
    pub base: Snapshot,
    /// Column descriptions, by column name, kept as Delta comments. Under the empty name: that of
    /// the table itself.
    pub comments: Vec<(String, String)>,
    /// Watch the new rows while they are written; their measurements come back in
    /// [`Staged::observed`].
    pub observers: Vec<Box<dyn Observer>>,
    /// The run.
    pub run: RunId,
}

/// Data files that no log mentions yet. Only [`TableStore::stage`] makes one, and only
/// [`TableStore::publish`] makes it visible. Dropping it without `discard` leaves orphan files that
/// the next maintenance removes. A clone stands for the same files: once one of them is published,
/// none of them can be published or discarded again.
#[derive(Clone)]
pub struct Staged {
    /// The target.
    pub relation: RelationName,
    /// The columns that the table would have.
    pub schema: SchemaRef,
    /// Rows that the table would have.
    pub rows: Option<u64>,
    /// Bytes that its files would have.
    pub bytes: Option<u64>,
    /// New rows that the table has by this stage (in [`WriteMode::Upsert`]: of several with one key
    /// one counts).
    pub rows_written: u64,
    /// Rows that were there and have other values by this stage, as far as the mode tells them apart
    /// from new ones ([`WriteMode::History`]).
    pub rows_changed: u64,
    /// New rows with a NULL in their key, which were added without replacing any.
    pub null_keys: u64,
    /// The order-free 128-bit hash of all rows that the table would have, where it was cheap to
    /// know (32 hex digits).
    pub hash: Option<String>,
    /// Columns that this write adds, widens or removes.
    pub column_changes: Vec<ColumnChange>,
    /// Whether the table is there and is partitioned by other columns: the same rows lie otherwise.
    pub repartitioned: bool,
    /// What the observers measured, in their order.
    pub observed: Vec<crate::Measurement>,
    /// The store's own part.
    pub inner: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged")
            .field("relation", &self.relation)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// A difference between the columns of the published table and of the staged one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnChange {
    /// A new column; old rows have NULL.
    Added(String),
    /// A column that is gone (only by [`WriteMode::Replace`] or an explicit [`SchemaChange`]).
    Removed(String),
    /// A column whose type became wider; the table was rewritten.
    Widened {
        /// The column.
        column: String,
        /// Its type before.
        from: DataType,
        /// Its type now.
        to: DataType,
    },
}

/// What a schema change of a table does (`on_schema_change`, `ALTER TABLE`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaChange {
    /// Adds a nullable column.
    Add(String, DataType),
    /// Removes a column (rewrites the table: there is no column mapping).
    Remove(String),
    /// Widens a column (rewrites the table).
    Widen(String, DataType),
    /// Describes a column, or the table itself; `None` takes the description away.
    Comment {
        /// The column; `None` is the table.
        column: Option<String>,
        /// The description.
        text: Option<String>,
    },
}

/// One relation of a publish.
#[derive(Debug, Clone)]
pub enum PublishChange {
    /// Makes staged data visible.
    Table(Arc<Staged>, PublishMeta),
    /// Creates or replaces a view.
    View {
        /// Its name.
        relation: RelationName,
        /// Its query.
        sql: String,
        /// Its columns.
        schema: SchemaRef,
        /// What is recorded with it.
        meta: PublishMeta,
    },
    /// Records again (fingerprint, verdicts) without a change of data.
    Record {
        /// Its name.
        relation: RelationName,
        /// What is recorded with it.
        meta: PublishMeta,
    },
    /// Removes a relation; its files go with retention.
    Drop {
        /// Its name.
        relation: RelationName,
    },
    /// Gives a relation another name; its files stay where they are.
    Rename {
        /// Its name until now.
        relation: RelationName,
        /// Its name from now on; nothing may have it.
        to: RelationName,
    },
}

/// What is recorded with a published relation.
#[derive(Debug, Clone, Default)]
pub struct PublishMeta {
    /// The node.
    pub unique_id: Option<UniqueId>,
    /// The source position that the data stands for. `None` keeps the one that is there.
    pub position: Option<Position>,
    /// The executor's record (fingerprint, reads, verdicts).
    pub record: Option<serde_json::Value>,
    /// Whether the append may take a new base when somebody else published first (its checks are
    /// all row-local).
    pub rebase: bool,
}

/// What a publish made visible.
#[derive(Debug, Clone)]
pub struct Published {
    /// The state after it.
    pub snapshot: Snapshot,
    /// Its entry in the catalog log.
    pub entry: EntryNumber,
    /// The id that every Delta commit of it carries.
    pub commit: CommitId,
    /// The Delta version of each table.
    pub versions: Vec<(RelationName, TableVersion)>,
    /// Relations of this publish that another engine wrote to in the middle of it, and why they were
    /// not published; everything else was. Empty but for that.
    pub split: Vec<(RelationName, String)>,
    /// Things that went wrong after the data was durable and visible (a checkpoint, say).
    pub warnings: Vec<String>,
}

/// What is left over after [`TableStore::maintain`] is dropped by this rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// How long an entry stays readable.
    pub keep_for: Duration,
    /// How many entries of each relation stay readable.
    pub keep_versions: u64,
    /// Whether small files are joined.
    pub compact: bool,
    /// Those of these relations only; none: of all.
    pub only: Vec<RelationName>,
    /// But not those of these.
    pub except: Vec<RelationName>,
    /// Whether files that nothing names are deleted.
    pub vacuum: bool,
    /// Stop beginning new work after this time.
    pub budget: Duration,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Default for Maintenance {
    fn default() -> Self {
        Maintenance {
            keep_for: Duration::from_secs(7 * 24 * 3600),
            keep_versions: 10,
            compact: true,
            only: Vec::new(),
            except: Vec::new(),
            vacuum: true,
            budget: Duration::from_secs(30),
            dry_run: false,
        }
    }
}

/// What maintenance did.
#[derive(Debug, Clone, Default)]
pub struct MaintenanceReport {
    /// Tables whose small files were joined, with file counts before and after.
    pub compacted: Vec<(RelationName, u64, u64)>,
    /// Files that were deleted.
    pub deleted_files: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Entries of the catalog log that went.
    pub expired_entries: u64,
    /// What could not be done, and why.
    pub warnings: Vec<String>,
}

/// A table that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its name.
    pub relation: RelationName,
}

/// The lake.
///
/// Readers never see what was not published. Every call either happens as a whole or leaves only
/// files that nothing names. A conflict is an error of kind [`crate::ErrorKind::Conflict`]; an
/// outcome that cannot be known is [`crate::ErrorKind::Unknown`], after which nothing is deleted.
#[async_trait]
pub trait TableStore: Send + Sync {
    /// A published state of the lake.
    async fn snapshot(&self, at: At) -> Result<Snapshot>;

    /// Writes data files that nobody sees yet.
    async fn stage(&self, request: StageRequest) -> Result<Staged>;

    /// Stages a table with the rows of another published one, in the same partitions, without reading
    /// or writing any of them: both have their own names for the same content, and nothing that later
    /// becomes of one of them is seen in the other. `comments` are those of [`StageRequest`].
    ///
    /// `None`: it is no table, its partitions are others than `partition_by`, or the store cannot; then
    /// nothing was written, and the rows have to be staged.
    async fn stage_copy(
        &self,
        relation: &RelationName,
        source: &RelationName,
        partition_by: &[String],
        base: &Snapshot,
        comments: &[(String, String)],
    ) -> Result<Option<Staged>> {
        let _ = (relation, source, partition_by, base, comments);
        Ok(None)
    }

    /// Stages a change of columns alone.
    async fn stage_schema(
        &self,
        relation: &RelationName,
        changes: &[SchemaChange],
        base: &Snapshot,
        run: &RunId,
    ) -> Result<Staged>;

    /// The rows of a published table by the files that they are in, to be shown to queries as an
    /// overlay. With `only` the rows of these files; without it all rows, with the further column
    /// [`FILE`]. Nothing is written, and what is given can be neither published nor discarded.
    /// `None`: it is no table, or the store cannot tell its files apart.
    async fn by_file(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        only: Option<&BTreeSet<String>>,
    ) -> Result<Option<Staged>> {
        let _ = (relation, base, only);
        Ok(None)
    }

    /// The rows of a published table that have one of these keys, which are the columns of `keys`:
    /// `columns` of them, and for each row of `keys` which of these it is, if there is one.
    ///
    /// # Errors
    /// Kind `Unsupported` where the store cannot find rows; `NotFound` for what is no table.
    async fn rows_of_keys(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        keys: &RecordBatch,
        columns: &[String],
    ) -> Result<(RecordBatch, Vec<Option<usize>>)> {
        let _ = (base, keys, columns);
        Err(crate::Error::new(
            crate::ErrorKind::Unsupported,
            format!("rows of `{relation}` cannot be found by their key here"),
        ))
    }

    /// The rows of a published table whose value in a column of type int64 is larger than this one, in any
    /// order. Files that cannot have such rows are not read.
    ///
    /// # Errors
    /// Kind `Unsupported` where the store cannot read rows so; `NotFound` for what is no table.
    async fn rows_after(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        column: &str,
        after: i64,
    ) -> Result<BatchStream> {
        let _ = (base, column, after);
        Err(crate::Error::new(
            crate::ErrorKind::Unsupported,
            format!("rows of `{relation}` cannot be read by a number here"),
        ))
    }

    /// These columns of all rows of a published table, in any order.
    ///
    /// # Errors
    /// Kind `Unsupported` where the store cannot read rows so; `NotFound` for what is no table.
    async fn rows_of_columns(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        columns: &[String],
    ) -> Result<BatchStream> {
        let _ = (base, columns);
        Err(crate::Error::new(
            crate::ErrorKind::Unsupported,
            format!("rows of `{relation}` cannot be read here"),
        ))
    }

    /// Makes all of this visible as one catalog entry, or nothing of it. With no change at all it
    /// only finishes what another writer left half-way, and gives the state after it. On error, what was staged
    /// is still there to be discarded or published again, except for kind `Unknown`.
    async fn publish(&self, changes: Vec<PublishChange>, run: &RunId) -> Result<Published>;

    /// Deletes the files of a stage. Must not be called for one that was published.
    async fn discard(&self, staged: &Staged) -> Result<()>;

    /// Tables whose newest Delta version was written by another engine: readers keep the published
    /// version until it is adopted.
    async fn foreign_heads(&self, base: &Snapshot) -> Result<Vec<RelationName>>;

    /// Stages another engine's newest version of a table as it is, so that its checks can be run
    /// and it can be published.
    async fn adopt(&self, relation: &RelationName, base: &Snapshot, run: &RunId) -> Result<Staged>;

    /// Compaction, vacuum, catalog clean-up. Never removes what a reader within retention, an open
    /// publish or a live stage needs.
    async fn maintain(&self, rule: &Maintenance) -> Result<MaintenanceReport>;
}

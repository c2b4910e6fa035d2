//! The Delta Lake log, as far as the lake needs it: actions, replay, checkpoints, schemas,
//! partition values and file statistics. Written after the
//! [protocol](https://github.com/delta-io/delta/blob/master/PROTOCOL.md).

mod action;
mod checkpoint;
mod log;
mod schema;
mod statistics;
mod value;

pub(crate) use action::{
    Action, Add, CommitInfo, FormatSpec, MetaData, Protocol, Transaction, parse_commit,
    write_commit,
};
pub(crate) use checkpoint::all as all_checkpoints;
pub(crate) use checkpoint::write_checkpoint;
pub(crate) use log::{
    LiveFile, OURS, TableState, commit_info, commit_path, load, log_folder, newest_version,
    parse_version, read_commit,
};
pub(crate) use schema::{
    arrow_from_delta, delta_from_arrow, recorded_from_arrow, recorded_to_arrow,
};
pub(crate) use statistics::FileStatistics;
pub(crate) use value::{format_partition, parse_partition};

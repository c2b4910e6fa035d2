//! The catalog log: the truth about what is published.
//!
//! `_tidemill/catalog/<N>.json` says what publish N did, `<N>.intent.json` what it is about to do,
//! `<N>.checkpoint.json` holds everything that is published after N. All but the checkpoints are put
//! only if absent.

mod entry;
mod log;

pub(crate) use entry::{
    CatalogCheckpoint, ENTRY_FORMAT, Entry, Fence, Intent, IntentChange, Rebase, RelationRecord,
    Removed,
};
pub(crate) use log::{
    CHECKPOINT_EVERY, CatalogLog, CatalogState, FileKind, bytes_of, folder, parse_name, path,
};

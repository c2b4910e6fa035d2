//! Messages that went before they were read, and messages that are left for the next load.

use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result};

use super::Reading;
use crate::stream::Sink;

/// What happens when messages that were not read are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnLost {
    /// The load fails and says what is gone.
    #[default]
    Error,
    /// It goes on with the oldest message that is there, with a note.
    Earliest,
}

impl OnLost {
    /// What is said of it where the load goes on.
    ///
    /// # Errors
    /// Kind `Data` where it does not.
    pub(crate) fn take(self, sentence: String) -> Result<String> {
        match self {
            OnLost::Earliest => Ok(format!("{sentence}; what is gone is not in the table")),
            OnLost::Error => Err(Error::new(
                ErrorKind::Data,
                format!(
                    "{sentence}; `on_lost: earliest` goes on with what is there, and says so in a note"
                ),
            )),
        }
    }
}

/// A position that is of no use.
pub(crate) fn other_stream(before: &str, now: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!(
            "the last load read the stream `{before}`, whose position says nothing about `{now}`; load it again \
             with --full-refresh"
        ),
    )
}

/// Says that a load did not take everything.
pub(crate) async fn more_messages(
    reading: &Reading,
    loaded: u64,
    left: u64,
    sink: &Sink,
) -> Result<()> {
    let message =
        format!("{loaded} messages are loaded, and about {left} are left for the next load");
    reading.notice(sink, "more-messages", message).await
}

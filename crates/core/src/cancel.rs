//! Cancellation of a run.

use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind, Result};

/// Says that the user wants to stop. Cloned freely; once cancelled it stays so.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(CancellationToken);

impl Cancellation {
    /// Not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A cancellation that follows this one and can also be cancelled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Cancellation(self.0.child_token())
    }

    /// Asks everybody who holds a clone to stop.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Ends when it is cancelled.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// An error of kind [`ErrorKind::Cancelled`] if it was cancelled.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        Ok(())
    }
}

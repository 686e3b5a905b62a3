//! The end of a store.

use super::Store;
use crate::error::{Error, Result};

impl Store {
    /// Ends the store in order: everything is durable, the region is marked clean, unmapped and free for others.
    ///
    /// # Durability
    /// As [`sync`](Self::sync).
    ///
    /// # Errors
    /// `Busy` while there are other handles, open objects, pinned pages or a latch that was forgotten; the store comes
    /// back, unharmed. Any other error is of what was tried; the store comes back too, to be closed again or dropped.
    pub fn close(self) -> Result<(), (Self, Error)> {
        match self.engine.close() {
            Ok(()) => Ok(()),
            Err(error) => Err((self, error)),
        }
    }

    /// Whether [`close`](Self::close) would be refused now, for a caller that cannot give the store away to ask.
    ///
    /// # Errors
    /// `Busy`, as by [`close`](Self::close). Whatever else speaks against it, that one tells.
    #[doc(hidden)]
    pub fn refuse_in_use(&self) -> Result {
        match self.engine.ready_to_close() {
            Err(busy @ Error::Busy { .. }) => Err(busy),
            _ => Ok(()),
        }
    }
}

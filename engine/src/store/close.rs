//! The end of a store.

use super::Store;
use crate::error::{Error, Result};
use std::{fmt, io};

/// A store that was not closed, and why not. `?` makes the [`Error`] of it, and drops the store as its last handle is.
///
/// ```
/// # use pagestone::{Store, store::CloseError};
/// # fn main() -> pagestone::Result {
/// let store = Store::options().open_memory(1 << 20)?;
/// let object = store.create("in use")?;
/// let Err(CloseError { store, error }) = store.close() else { panic!("closed beside an open object") };
/// println!("{error}");
///
/// drop(object);
/// store.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CloseError {
    /// The store, as it was: to be closed again, or dropped.
    pub store: Store,
    /// Why it is not closed.
    pub error: Error,
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for CloseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

impl From<CloseError> for Error {
    fn from(refused: CloseError) -> Self {
        refused.error
    }
}

impl From<CloseError> for io::Error {
    fn from(refused: CloseError) -> Self {
        refused.error.into()
    }
}

impl Store {
    /// Ends the store in order: everything is durable, the region is marked clean, unmapped and free for others.
    ///
    /// # Durability
    /// As [`sync`](Self::sync).
    ///
    /// # Errors
    /// `Busy` while there are other handles, open objects, pinned pages or a latch that was forgotten; the store comes
    /// back, unharmed. Any other error is of what was tried; the store comes back too, to be closed again or dropped.
    pub fn close(self) -> Result<(), CloseError> {
        match self.engine.close() {
            Ok(()) => Ok(()),
            Err(error) => Err(CloseError { store: self, error }),
        }
    }

    /// Whether [`close`](Self::close) would be refused now, for a caller that cannot give the store away to ask. It counts
    /// this handle as the one that would be closed.
    ///
    /// # Errors
    /// `Busy`, as by [`close`](Self::close). Whatever else speaks against it, that one tells.
    pub fn refuse_in_use(&self) -> Result {
        match self.engine.ready_to_close() {
            Err(busy @ Error::Busy { .. }) => Err(busy),
            _ => Ok(()),
        }
    }
}

//! Closing a store.

use super::Store;
use crate::error::{Error, Result};
use std::{fmt, io};

/// A store that was not closed, and the reason. `?` converts it into the [`Error`] and drops the store.
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
    /// The store, unchanged. Close it again or drop it.
    pub store: Store,
    /// The reason.
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
    /// Closes the store: everything is made durable, the region is marked clean and unmapped, and other processes can
    /// open it.
    ///
    /// # Durability
    /// As [`sync`](Self::sync).
    ///
    /// # Errors
    /// `Busy` while there are other handles, open objects, pinned pages or a forgotten latch. With every error the
    /// store is returned, to be closed again or dropped.
    pub fn close(self) -> Result<(), CloseError> {
        match self.engine.close() {
            Ok(()) => Ok(()),
            Err(error) => Err(CloseError { store: self, error }),
        }
    }

    /// Checks whether [`close`](Self::close) would be refused now, for a caller that cannot give up its handle to
    /// ask. This handle counts as the one that would be closed.
    ///
    /// # Errors
    /// `Busy`, as from [`close`](Self::close). Other errors are left to `close`.
    pub fn refuse_in_use(&self) -> Result {
        match self.engine.ready_to_close() {
            Err(busy @ Error::Busy { .. }) => Err(busy),
            _ => Ok(()),
        }
    }
}

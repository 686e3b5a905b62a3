//! Whether a region's bytes can be trusted: a failure of its file is permanent.

use crate::error::{Error, Result};
use std::sync::OnceLock;

/// Why a region failed, if it did. Then nothing more is written before it is opened again.
#[derive(Debug, Default)]
pub(super) struct Health {
    failure: OnceLock<String>,
}

impl Health {
    /// Marks the region as failed. Only the first failure is kept; later ones follow from it.
    pub(super) fn poison(&self, why: String) {
        let _ = self.failure.set(why);
    }

    /// Why it failed.
    pub(super) fn poisoned(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// # Errors
    /// `Poisoned`.
    #[inline]
    pub(super) fn ensure_sound(&self) -> Result {
        match self.failure.get() {
            None => Ok(()),
            Some(why) => Err(Error::Poisoned { why: why.clone() }),
        }
    }
}

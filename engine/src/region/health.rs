//! Whether a region's bytes can be trusted: a failure of its file is for good.

use crate::error::{Error, Result};
use std::sync::OnceLock;

/// Why a region failed, if it did. Nothing more is written then before it is opened again.
#[derive(Debug, Default)]
pub(super) struct Health {
    failure: OnceLock<String>,
}

impl Health {
    /// The region failed. The first failure is the one to tell; later ones follow from it.
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

//! Pinned bytes in the form that tantivy takes.

use crate::slices::Slice;
use stable_deref_trait::StableDeref;
use std::ops::Deref;

/// Bytes in the region that do not change until this is dropped.
pub(crate) struct PinnedBytes(pub(crate) Slice);

impl Deref for PinnedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

// SAFETY: `deref` returns an address in the region's mapping. The pins keep it valid as long as the value lives,
// however it is moved.
#[allow(unsafe_code, reason = "the marker that tantivy asks for; it has no code")]
unsafe impl StableDeref for PinnedBytes {}

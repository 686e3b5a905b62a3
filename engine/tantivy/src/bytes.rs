//! Pinned bytes in the form that tantivy takes.

use crate::slices::Slice;
use stable_deref_trait::StableDeref;
use std::ops::Deref;

/// Bytes in the region, which stay what they are until this is dropped.
pub(crate) struct PinnedBytes(pub(crate) Slice);

impl Deref for PinnedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

// SAFETY: `deref` gives an address in the region's mapping, which the pins keep where it is, however the value is moved;
// it keeps them for as long as it lives.
#[allow(unsafe_code, reason = "the marker that tantivy asks for; it has no code")]
unsafe impl StableDeref for PinnedBytes {}

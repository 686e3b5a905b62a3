//! What all threads see of an open object, beside its pages.

use crate::media::ObjectRecord;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::units::PageIndex;

/// The entry of an open object: its length, whether it has a name, and how often it was cut. It refers to nothing of this
/// process.
pub(super) struct Entry {
    /// The length that readers see. Changed under `layout`, after the bytes that it uncovers are in place.
    len: AtomicU64,
    /// The number of pages up to the length. Only these may be remembered.
    page_count: AtomicU64,
    /// How often the object was cut: a write that began before a cut must check whether it is still inside.
    cuts: AtomicU64,
    unlinked: AtomicBool,
}

impl Entry {
    /// Of an object with this record.
    pub(super) fn of(record: &ObjectRecord) -> Self {
        Self {
            len: AtomicU64::new(record.size),
            page_count: AtomicU64::new(PageIndex::pages_for(record.size)),
            cuts: AtomicU64::new(0),
            unlinked: AtomicBool::new(record.unlinked),
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> u64 {
        // ORDERING: Acquire: a thread that sees the length sees the bytes below it.
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn page_count(&self) -> u64 {
        // ORDERING: Acquire, as the length.
        self.page_count.load(Ordering::Acquire)
    }

    /// Publishes a length. The caller holds `layout`.
    pub(super) fn publish_len(&self, len: u64) {
        // ORDERING: Release: the bytes below are in place.
        self.len.store(len, Ordering::Release);
        // ORDERING: Release, as the length.
        self.page_count.store(PageIndex::pages_for(len), Ordering::Release);
    }

    /// How often it was cut. A cut that is counted is seen in the length, too.
    pub(super) fn cuts(&self) -> u64 {
        // ORDERING: Acquire: pairs with the Release of `was_cut`.
        self.cuts.load(Ordering::Acquire)
    }

    /// Counts a cut, after the length fell.
    pub(super) fn was_cut(&self) {
        // ORDERING: Release: the length comes before.
        self.cuts.fetch_add(1, Ordering::Release);
    }

    pub(super) fn is_unlinked(&self) -> bool {
        // ORDERING: Acquire: pairs with `mark_unlinked`; the thread that drops the last handle must see it.
        self.unlinked.load(Ordering::Acquire)
    }

    pub(super) fn mark_unlinked(&self) {
        // ORDERING: Release: as above.
        self.unlinked.store(true, Ordering::Release);
    }
}

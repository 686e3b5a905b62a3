//! Counters of reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of reads through the directories of one region and name, since the first of them was opened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Reads {
    /// Reads that returned the pages in place.
    pub pinned: u64,
    /// Their bytes.
    pub pinned_bytes: u64,
    /// Reads that returned a copy.
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
}

/// The counters.
#[derive(Default)]
pub(crate) struct Counters {
    pinned: AtomicU64,
    pinned_bytes: AtomicU64,
    copied: AtomicU64,
    copied_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn pinned(&self, bytes: usize) {
        // Relaxed, here and below: no decision depends on a counter.
        self.pinned.fetch_add(1, Ordering::Relaxed);
        self.pinned_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn copied(&self, bytes: usize) {
        self.copied.fetch_add(1, Ordering::Relaxed);
        self.copied_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Reads {
        Reads {
            pinned: self.pinned.load(Ordering::Relaxed),
            pinned_bytes: self.pinned_bytes.load(Ordering::Relaxed),
            copied: self.copied.load(Ordering::Relaxed),
            copied_bytes: self.copied_bytes.load(Ordering::Relaxed),
        }
    }
}

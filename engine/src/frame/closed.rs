//! Ranges in which no frame is populated any more, because their region is being detached.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::units::{Pfn, PfnRange};

/// HOLD keeps new pins from populated frames. This keeps other frames of the range from being populated.
#[derive(Debug, Default)]
pub(super) struct ClosedRanges {
    /// The number of ranges, so that a first touch needs no lock if there are none.
    count: AtomicUsize,
    ranges: Mutex<Vec<PfnRange>>,
}

impl ClosedRanges {
    /// Closes `range`. Populates that are under way are over once every stripe has been locked once afterwards.
    pub(super) fn close(&self, range: PfnRange) {
        let mut ranges = self.ranges.lock();
        if !ranges.contains(&range) {
            ranges.push(range);
        }
        // ORDERING: Relaxed: the stripes' locks publish it, see `close`.
        self.count.store(ranges.len(), Ordering::Relaxed);
    }

    /// Opens every closed range that starts in `range`.
    pub(super) fn open(&self, range: PfnRange) {
        let mut ranges = self.ranges.lock();
        ranges.retain(|other| !range.contains(other.start));
        // ORDERING: Relaxed: a first touch that still refuses is only a moment late.
        self.count.store(ranges.len(), Ordering::Relaxed);
    }

    /// Whether `pfn` may not be populated. Under its chunk's lock.
    pub(super) fn contains(&self, pfn: Pfn) -> bool {
        // ORDERING: Relaxed: as `close`.
        self.count.load(Ordering::Relaxed) != 0 && self.ranges.lock().iter().any(|range| range.contains(pfn))
    }
}

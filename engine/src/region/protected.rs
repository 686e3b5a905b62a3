//! A hint: which pages of a file the kernel has protected against stores.
//!
//! The kernel must learn which pages the next file sync has to write. So it protects each page that it has written, and the
//! next store to the page through the mapping is a fault. A fault costs several times as much as a `pwrite` to the page. A
//! `pwrite` does not fault, and the page stays protected.
//!
//! So the first stores to a page after a sync are made by calls. Once these calls have cost as much as a fault, the next
//! store takes the fault, and all later ones cost only a copy. The sum is at most twice the cost of the better way, whichever
//! it turns out to be.

use crate::units::FRAME_SIZE;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Calls that cost as much as a fault, about.
const CALLS: u64 = 4;
/// Pages that have a slot of their own. A page that loses its slot to another counts as protected again.
const SLOTS: usize = 4096;
/// Most calls between two syncs: a page that lost its slot may not be protected at all, and each call for it is wasted.
const CALLS_MAX: u32 = SLOTS as u32;
/// Bits of a slot that count calls; the round is above, and the page's number in the upper half.
const COUNT_BITS: u32 = 4;

/// How often each page was stored to by a call since the last sync began.
#[derive(Debug)]
pub(super) struct Protected {
    slots: Box<[AtomicU64]>,
    /// One for each sync, from 1 on: an empty slot is of no round.
    round: AtomicU32,
    calls: AtomicU32,
}

impl Protected {
    pub fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, round: AtomicU32::new(1), calls: AtomicU32::new(0) }
    }

    /// Whether to store these bytes by a call. If so, the call is counted. For more than a page one call replaces several faults.
    #[inline]
    pub fn by_call(&self, offset: u64, len: usize) -> bool {
        // ORDERING: Relaxed, here and below: a hint, and no other memory is found by it.
        if len == 0 || self.calls.load(Ordering::Relaxed) >= CALLS_MAX {
            return false;
        }
        let page = offset / FRAME_SIZE as u64;
        let round = u64::from(self.round.load(Ordering::Relaxed));
        let noted = page << 32 | (round << COUNT_BITS & u64::from(u32::MAX));
        let slot = self.slot(page);
        let found = slot.load(Ordering::Relaxed);
        // A page's calls, or none where the slot is another page's or of an earlier round.
        let before = if found >> COUNT_BITS == noted >> COUNT_BITS { found - noted } else { 0 };
        if before >= CALLS && len <= FRAME_SIZE {
            return false;
        }
        // ORDERING: Relaxed: a hint, as above.
        slot.store(noted | CALLS.min(before + 1), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A sync of the whole file begins, which will protect all that was stored to.
    pub fn begin_round(&self) {
        // ORDERING: Relaxed: a hint, as above.
        self.round.fetch_add(1, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
    }

    /// These bytes alone are being synced.
    pub fn synced(&self, offset: u64, len: usize) {
        let pages = offset / FRAME_SIZE as u64..(offset + len as u64).div_ceil(FRAME_SIZE as u64);
        // ORDERING: Relaxed: a hint, as above.
        let freed = (pages.end - pages.start).min(SLOTS as u64) * CALLS;
        for page in pages.take(SLOTS) {
            self.slot(page).store(0, Ordering::Relaxed);
        }
        let calls = self.calls.load(Ordering::Relaxed);
        self.calls.store(calls.saturating_sub(freed as u32), Ordering::Relaxed);
    }

    fn slot(&self, page: u64) -> &AtomicU64 {
        &self.slots[page as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = FRAME_SIZE as u64;

    #[test]
    fn a_page_is_stored_to_by_calls_until_they_have_cost_a_fault_and_again_after_a_sync() {
        let protected = Protected::new();
        let calls = |page: u64| (0..9).filter(|n| protected.by_call(page * PAGE + n, 8)).count() as u64;
        assert_eq!((calls(0), calls(0), calls(7), calls(7)), (CALLS, 0, CALLS, 0));
        protected.synced(7 * PAGE + 5, 8);
        assert_eq!((calls(0), calls(7)), (0, CALLS));
        protected.begin_round();
        assert_eq!((calls(0), calls(7)), (CALLS, CALLS));
        assert!(protected.by_call(0, FRAME_SIZE + 1), "many faults, one call");
        assert!(!protected.by_call(3 * PAGE, 0));
    }

    #[test]
    fn between_two_syncs_there_are_so_many_calls_and_no_more() {
        let protected = Protected::new();
        let calls = || (0..40 * SLOTS as u64).filter(|page| protected.by_call(page * PAGE, 100)).count();
        assert_eq!((calls(), calls()), (CALLS_MAX as usize, 0));
        protected.begin_round();
        assert_eq!(calls(), CALLS_MAX as usize);
    }
}

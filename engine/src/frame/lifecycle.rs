//! Hold, orphan, retire: how new pins are blocked, and what happens to a frame after its last pin.

use super::chunk::chunk_of;
use super::outcome::{HoldOutcome, OrphanOutcome};
use super::state::{HOLD, ORPHAN, Snapshot};
use super::table::FrameTable;
use crate::sync::{mutant, thread};
use crate::units::{Pfn, PfnRange};
use std::time::Duration;

impl FrameTable {
    /// Refuses new pins of a populated frame until the holder's [`unhold`](Self::unhold). A frame has one holder: with
    /// [`AlreadyHeld`](HoldOutcome::AlreadyHeld) another one has it, and the caller has nothing to let go.
    pub fn hold(&self, pfn: Pfn) -> HoldOutcome {
        let index = self.index(pfn);
        let _chunk = (!mutant("hold_without_lock")).then(|| self.chunks.lock(chunk_of(index)));
        let Some(descriptor) = self.descriptors.get(index).filter(|_| self.peek(pfn).is_some()) else {
            return HoldOutcome::Unpopulated;
        };
        let before = descriptor.set(HOLD);
        match before.pins() {
            _ if before.held() && !mutant("two_hold") => HoldOutcome::AlreadyHeld,
            0 => HoldOutcome::Idle,
            _ => HoldOutcome::Pinned,
        }
    }

    /// Admits new pins again, unless the frame's range was closed meanwhile: then the hold is the range's. It wakes the
    /// threads that wait for its end, and those that wait for the frame to be idle, which may no longer happen. Called by
    /// the holder.
    pub fn unhold(&self, pfn: Pfn) {
        let index = self.index(pfn);
        let Some(descriptor) = self.descriptors.get(index) else { return };
        let waiters = {
            // A range is closed before its frames are held, each under this lock. So either the range is seen closed here,
            // or its holder comes later.
            let _chunk = self.chunks.lock(chunk_of(index));
            if self.peek(pfn).is_none() {
                return;
            }
            let closed = self.is_closed(pfn) && !mutant("unhold_opens_what_is_closed");
            if closed { descriptor.look().waiters() } else { descriptor.clear(HOLD).waiters() }
        };
        if waiters && !mutant("unhold_without_wake") {
            self.wake(pfn, descriptor);
        }
    }

    /// Holds every populated frame of `range` until its end, and refuses to populate the others.
    pub fn hold_range(&self, range: PfnRange) {
        // The range is closed first. A thread that checked before that has entered its chunk and populated its frame
        // by the time the walk has locked its stripe.
        if !mutant("hold_range_walks_first") {
            self.closed.close(range);
        }
        for pfn in self.populated(range) {
            let _ = self.hold(pfn);
        }
        if mutant("hold_range_walks_first") {
            self.closed.close(range);
        }
    }

    /// Waits until a held frame has no pins or is no longer held; false if that took longer than `limit`.
    #[must_use]
    pub fn wait_idle(&self, pfn: Pfn, limit: Option<Duration>) -> bool {
        let Some(descriptor) = self.descriptors.get(self.index(pfn)).filter(|_| self.peek(pfn).is_some())
        else {
            return true;
        };
        // A frame that is no longer held was retired without a pin. Any pins that it has are void or belong to its
        // next life, whose puts wake no thread.
        let pinned = |state: Snapshot| state.pins() > 0 && (state.held() || mutant("wait_for_strangers"));
        self.sleep_until(pfn, descriptor, || !pinned(descriptor.look()), pinned, limit)
    }

    /// Marks a frame as detached for good. The caller first changes the map words that led to it. So a thread that
    /// pins by an old map word finds either the mark or, when it reads the word again after its pin, the change.
    pub fn orphan(&self, pfn: Pfn) -> OrphanOutcome {
        let index = self.index(pfn);
        // A concurrent first touch comes before this lock, and the frame is found live, or after it, and that thread
        // sees the changed map.
        let _chunk = (!mutant("orphan_without_lock")).then(|| self.chunks.lock(chunk_of(index)));
        let Some(descriptor) = self.descriptors.get(index).filter(|_| self.peek(pfn).is_some()) else {
            return OrphanOutcome::Idle;
        };
        let mut seen = Snapshot(descriptor.set(ORPHAN).0 | ORPHAN);
        // If a refused pin comes between, taking it back is the last put, and that caller frees the frame. The same
        // holds for a thread that has already claimed the freeing: the owner word then belongs to that thread. A
        // frame with a forgotten latch is not freed. Any other change of the word (a sync takes dirty lines without a
        // pin) leads to no put: then try again.
        while seen.pins() == 0 && !seen.latched() {
            if self.retire(index, descriptor, seen) {
                return OrphanOutcome::Idle;
            }
            if mutant("orphan_tries_once") {
                break;
            }
            seen = descriptor.look();
        }
        OrphanOutcome::Busy
    }

    /// Retires an orphan whose freeing the caller has claimed: until here, its owner word belongs to the caller. Or a frame that
    /// the caller holds, which has no pin and no latch, and to which no map leads any more.
    pub fn retire_orphan(&self, pfn: Pfn) {
        let index = self.index(pfn);
        let Some(descriptor) = self.descriptors.get(index) else { return };
        loop {
            let chunk = self.chunks.lock(chunk_of(index));
            let seen = descriptor.look();
            if !seen.live() || (seen.pins() == 0 && self.retire(index, descriptor, seen)) {
                return;
            }
            drop(chunk);
            // A refused pin is about to be taken back, and its count must not be lost.
            thread::yield_now();
        }
    }

    /// Whether `pfn` must not be populated. Under its chunk's lock.
    pub(super) fn is_closed(&self, pfn: Pfn) -> bool {
        self.closed.contains(pfn)
    }
}

#[cfg(all(test, not(pagestone_loom)))]
mod tests {
    use super::*;
    use crate::frame::{PinOutcome, UnpinOutcome};

    #[test]
    fn a_frame_with_a_forgotten_latch_is_freed_with_its_region_and_not_before() {
        for alone in [false, true] {
            let table = FrameTable::with_capacity(4096, 8).expect("address space");
            let latched = |number| {
                let pfn = Pfn::new(number);
                assert!(table.pin(pfn).is_pinned());
                assert!(if alone {
                    table.pinned(pfn).try_latch_exclusive()
                } else {
                    table.pinned(pfn).try_latch_shared(crate::frame::Manner::GivesWay)
                });
                pfn
            };
            let (before, after) = (latched(700), latched(701));
            assert_eq!(table.unpin(before), UnpinOutcome::Kept);
            assert_eq!(table.orphan(before), OrphanOutcome::Busy);
            assert_eq!(table.orphan(after), OrphanOutcome::Busy);
            assert_eq!(table.unpin(after), UnpinOutcome::Kept, "no put is to free it");
            for pfn in [before, after] {
                assert_eq!(table.pin(pfn), PinOutcome::Orphan);
                assert!(table.peek(pfn).is_some_and(|now| !now.in_use()));
            }
            assert_eq!(table.retire_range(PfnRange::new(Pfn::new(0), 4096)), Ok(()));
            assert_eq!(table.peek(before), None);
        }
    }

    #[test]
    fn a_frame_that_is_detached_again_stays_with_the_claim_of_its_freeing() {
        let table = FrameTable::with_capacity(4096, 8).expect("address space");
        let pfn = Pfn::new(700);
        assert_eq!(table.pin(pfn), PinOutcome::Populated);
        assert_eq!(table.orphan(pfn), OrphanOutcome::Busy);
        assert_eq!(table.unpin(pfn), UnpinOutcome::LastOfOrphan);
        table.set_owner(pfn, 77);
        assert_eq!(table.orphan(pfn), OrphanOutcome::Busy, "its owner word is a link of the queue now");
        assert_eq!(table.owner(pfn), 77);
        table.retire_orphan(pfn);
        assert_eq!(table.peek(pfn), None);
    }
}

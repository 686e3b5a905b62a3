//! The orphans' queue: frames whose last put came after they were detached from their object, waiting for the
//! medium to free them.
//!
//! A stack that links through the descriptors' owner words, which belong to whoever has claimed the freeing: a push
//! never allocates, blocks or fails, since dropping a guard must not. Only all of it is taken at once, so a frame
//! cannot return while somebody still holds its old link.

use super::Region;
use crate::frame::FrameTable;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::FrameNo;

/// Top of the stack: a frame number plus one, 0 for empty. The links have the same form.
#[derive(Debug, Default)]
pub(super) struct Orphans(AtomicU64);

impl Region {
    /// Queues a frame whose freeing the caller has claimed
    /// ([`LastOfOrphan`](crate::frame::UnpinOutcome::LastOfOrphan)). The region may be gone when this returns.
    pub fn queue_orphan(&self, frame: FrameNo) {
        let table = FrameTable::global();
        // ORDERING: Relaxed: the exchange decides.
        let mut top = self.orphans.0.load(Ordering::Relaxed);
        loop {
            table.set_owner(self.pfn(frame), top);
            // ORDERING: Release: who takes the stack sees the link. The exchange is the last touch of the region:
            // until it, the frame's claim keeps the region from being let go.
            let pushed = self.orphans.0.compare_exchange_weak(
                top,
                u64::from(frame.0) + 1,
                Ordering::Release,
                Ordering::Relaxed,
            );
            match pushed {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Whether frames are queued.
    #[inline]
    #[must_use]
    pub fn has_orphans(&self) -> bool {
        // ORDERING: Relaxed: who takes them acquires; a frame missed now is found at the next look.
        self.orphans.0.load(Ordering::Relaxed) != 0
    }

    /// Takes all queued frames, the last queued first. The caller frees each on the medium and ends its descriptor
    /// with [`FrameTable::retire_orphan`].
    #[must_use]
    pub fn take_orphans(&self) -> Vec<FrameNo> {
        let table = FrameTable::global();
        // ORDERING: Acquire: pairs with the Release of every push: those before the top are in its release sequence.
        let mut next = self.orphans.0.swap(0, Ordering::Acquire);
        let mut taken = Vec::new();
        while let Some(number) = next.checked_sub(1) {
            let frame = FrameNo(number as u32);
            taken.push(frame);
            next = table.owner(self.pfn(frame));
        }
        taken
    }
}

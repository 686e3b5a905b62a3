//! The queue of orphans: frames whose last put came after they were detached from their object. The medium has yet to
//! free them.
//!
//! A stack. The links are in the descriptors' owner words, each of which belongs to the thread that has claimed the
//! freeing. So a push never allocates, blocks or fails, because dropping a guard must not. The stack is only taken as
//! a whole, so a frame cannot come back while another thread still holds its old link.

use crate::frame::FrameTable;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutant;
use crate::units::{FrameNo, Pfn};

/// The top of the stack: a frame number plus one; 0 if empty. The links have the same form.
#[derive(Debug, Default)]
pub struct Orphans(AtomicU64);

impl Orphans {
    /// Queues a frame whose freeing the caller has claimed. The region may be gone when this returns.
    pub fn push(&self, table: &FrameTable, frame: FrameNo, pfn: Pfn) {
        // ORDERING: Relaxed: the exchange decides.
        let mut top = self.0.load(Ordering::Relaxed);
        let order = if mutant("relaxed_push") { Ordering::Relaxed } else { Ordering::Release };
        loop {
            table.set_owner(pfn, top);
            // ORDERING: Release: the thread that takes the stack sees the link. The exchange is the last access to
            // the region: until then the frame's claim keeps the region from being released.
            let new = u64::from(frame.0) + 1;
            match self.0.compare_exchange_weak(top, new, order, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Whether nothing is queued.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // ORDERING: Relaxed: `take` acquires; a frame missed now is found by the next check.
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Takes all, the last pushed first. `pfn` gives a frame's pfn.
    pub fn take(&self, table: &FrameTable, pfn: impl Fn(FrameNo) -> Pfn) -> Vec<FrameNo> {
        // ORDERING: Acquire: pairs with the Release of every push: those before the top are in its release sequence.
        let mut next = self.0.swap(0, Ordering::Acquire);
        let mut taken = Vec::new();
        while let Some(number) = next.checked_sub(1) {
            let frame = FrameNo(number as u32);
            taken.push(frame);
            next = table.owner(pfn(frame));
        }
        taken
    }
}

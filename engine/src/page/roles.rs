//! Changing the use of frames, while no frame is being pinned by its number.
//!
//! A pin through an object is validated against the object's map, which the manager changes *before* it detaches the
//! frame. A pin by number is validated only by the manager's answer that the frame holds a page. So it is made under
//! the shared side of a lock. The exclusive side is held from the detachment of a frame until the record that frees
//! it is appended.

use super::held::Held;
use super::pages::Pages;
use crate::frame::OrphanOutcome;
use crate::sync::{RwLockReadGuard, RwLockWriteGuard};
use crate::units::{FrameNo, PageIndex};

/// The right to take frames out of use.
#[must_use = "roles may change only while this lives"]
pub(crate) struct Roles<'p> {
    pages: &'p Pages,
    _lock: RwLockWriteGuard<'p, ()>,
}

/// The state of a frame when it was detached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Detached {
    /// It has no pin and can get none, so it is free at once.
    Idle,
    /// It is pinned, or cannot be taken from an alias, and stays out of use until [`Roles::take_released`] returns it.
    Busy,
}

impl Pages {
    /// Waits until no pin by number is being made, and blocks new ones.
    pub(crate) fn roles(&self) -> Roles<'_> {
        Roles { pages: self, _lock: self.roles.write() }
    }

    /// Keeps frames from changing their use. Briefly: those that cut pages off wait.
    pub(crate) fn steady(&self) -> RwLockReadGuard<'_, ()> {
        self.roles.read()
    }

    /// Whether detached frames wait in the queue.
    #[inline]
    pub(crate) fn has_released(&self) -> bool {
        self.region().has_orphans() || self.aliases.has_stuck()
    }
}

impl Roles<'_> {
    /// Cuts pages of an object off: their frames accept no new pin, and aliases of the object show those no more that are
    /// idle. The manager no longer maps the pages, and appends the record that says so before this value is dropped.
    pub(crate) fn cut_off(&mut self, object: u64, pages: &[(PageIndex, FrameNo)]) -> Vec<Detached> {
        let mut idle: Vec<_> = pages.iter().map(|page| self.detach(page.1) == Detached::Idle).collect();
        self.pages.aliases.cut_off(object, pages, &mut idle);
        idle.into_iter().map(|idle| if idle { Detached::Idle } else { Detached::Busy }).collect()
    }

    /// Ends the use of frames that pages of an object have left for `pages`: aliases show the pages in these, and the former
    /// frames have no descriptor any more. Returns those that an alias still shows because the kernel refused; they must not
    /// be used again. The caller has appended the record of the move.
    pub(crate) fn moved(
        &mut self,
        object: u64,
        pages: &[(PageIndex, FrameNo)],
        left: Vec<Held<'_>>,
    ) -> Vec<FrameNo> {
        let still_shown = self.pages.aliases.moved(object, pages);
        left.into_iter().for_each(Held::retire);
        still_shown
    }

    /// As [`Self::cut_off`], of a frame that no page of an object has got yet.
    pub(crate) fn detach(&mut self, frame: FrameNo) -> Detached {
        match self.pages.region().frames().orphan(frame) {
            OrphanOutcome::Idle => Detached::Idle,
            OrphanOutcome::Busy => Detached::Busy,
        }
    }

    /// Frames that were pinned when they were detached, and whose last pin has ended; and those that were shown by an alias
    /// which could not be changed. Their descriptors are retired, no alias shows them, and the caller must add them to its
    /// free space.
    pub(crate) fn take_released(&mut self) -> Vec<FrameNo> {
        let frames = self.pages.region().take_orphans();
        for &frame in &frames {
            self.pages.region().frames().retire_orphan(frame);
        }
        self.pages.aliases.release(frames)
    }
}

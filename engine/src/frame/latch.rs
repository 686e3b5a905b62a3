//! Latches: short-term exclusion on the bytes of a frame. A holder of a latch has a pin.
//!
//! A shared latch gives way to a waiting writer, for a while: see [`waiting`](super::waiting). There is one
//! exception: a thread that already holds a latch of a page for which the writer may be waiting goes first. That page
//! may be the same one, which the thread may know by two names, or another.

use super::descriptor::Descriptor;
use super::outcome::SharedOutcome;
use super::pinned::{Home, Pinned};
use super::state::{EXCLUSIVE, SHARED, SHARED_MAX, VERSION, Version, WAITERS};
use crate::sync::{hint, mutant};
use std::time::Duration;

/// Releasing latches.
impl Descriptor {
    /// Drops a shared latch; true if sleepers must be woken. If a fork has wiped the word under the latch, there is
    /// none to drop.
    #[inline]
    fn unshare(&self) -> bool {
        let before = self.drop_shared();
        if before.shared() == 0 {
            self.undo_stray_release(SHARED.one());
            return false;
        }
        let was_full = before.shared() >= SHARED_MAX && !mutant("full_readers_without_wake");
        before.waiters() && (before.shared() == 1 || was_full)
    }

    /// As [`Self::unshare`], for the exclusive latch.
    #[inline]
    fn unlatch(&self) -> bool {
        let before = self.drop_exclusive();
        if !before.exclusive() {
            self.undo_stray_release(EXCLUSIVE.wrapping_sub(VERSION.one()));
            return false;
        }
        before.waiters()
    }
}

/// Number of looks at a taken latch before a thread goes to sleep. Most latches are held for less than a microsecond.
const SPINS: u32 = if cfg!(any(pagestone_loom, pagestone_shuttle)) { 0 } else { 100 };

/// How a shared latch treats a waiting writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// It waits behind the writer, for a while.
    GivesWay,
    /// It goes before the writer.
    GoesFirst,
}

/// Tries `attempt` for about a microsecond.
pub(super) fn spin(mut attempt: impl FnMut() -> bool) -> bool {
    (0..SPINS).any(|_| {
        hint::spin_loop();
        attempt()
    })
}

impl<'t, T: Home<'t>> Pinned<'t, T> {
    /// Takes the shared latch. Waits for a writer, and for room if [`SHARED_MAX`] readers have it.
    pub fn latch_shared(self, manner: Manner) {
        let _ = self.latch_shared_waiting(manner, true);
    }

    /// Takes the shared latch. Waits for a writer; `Full` if [`SHARED_MAX`] readers have it.
    pub fn latch_shared_unless_full(self, manner: Manner) -> SharedOutcome {
        if self.latch_shared_waiting(manner, false) { SharedOutcome::Latched } else { SharedOutcome::Full }
    }

    /// Takes the shared latch, unless a writer has the latch, [`SHARED_MAX`] readers share it, or a writer waits to
    /// which it gives way.
    ///
    /// The word is read before it is added to. So the number of latches that are added in vain at a time is at most
    /// the number of threads between the read and the addition, and the field has room for another [`SHARED_MAX`].
    #[inline]
    #[must_use]
    pub fn try_latch_shared(self, manner: Manner) -> bool {
        let seen = self.descriptor.look();
        if !seen.has_room_to_share() || (seen.waiters() && self.gives_way(manner)) {
            return false;
        }
        let word = self.descriptor.add_shared();
        if word.is_shared() && !(word.waiters() && self.gives_way(manner)) {
            return true;
        }
        // A writer that saw this latch may be asleep by now.
        self.release_shared();
        false
    }

    /// As [`Self::try_latch_shared`], for a caller that may keep the latch for long. It lets every waiting writer go
    /// first, also in the pauses between the writers' turns: otherwise kept latches in a row would keep a writer out
    /// for ever.
    pub(crate) fn try_latch_shared_to_keep(self) -> bool {
        if !self.try_latch_shared(Manner::GivesWay) {
            return false;
        }
        let waited_for = self.descriptor.look().waiters() && self.table().queue(self.pfn).has_writers();
        if waited_for {
            self.release_shared();
        }
        !waited_for
    }

    /// Takes the exclusive latch, after waiting for all others.
    pub fn latch_exclusive(self) {
        let _ = self.latch_exclusive_within(None);
    }

    /// As [`Self::latch_exclusive`]; false if that took longer than `limit`.
    #[must_use]
    pub fn latch_exclusive_within(self, limit: Option<Duration>) -> bool {
        let descriptor = self.descriptor;
        self.latch_exclusive_at_once()
            || self.table().wait_in_turn(self.pfn, descriptor, || descriptor.try_exclusive(), limit)
    }

    /// Takes the exclusive latch if the frame has no latch. A reader that is being refused at this moment counts as
    /// one.
    #[must_use]
    pub fn try_latch_exclusive(self) -> bool {
        self.descriptor.try_exclusive()
    }

    /// As [`Self::try_latch_exclusive`], but not if the latch is left to a waiting thread.
    #[inline]
    pub(crate) fn latch_exclusive_at_once(self) -> bool {
        self.descriptor.try_exclusive_unless(WAITERS) || self.latch_exclusive_beside_waiters()
    }

    #[cold]
    fn latch_exclusive_beside_waiters(self) -> bool {
        // In a forked child the word is wiped, and the frame may be beyond the end of the child's table.
        let descriptor = self.descriptor;
        descriptor.look().live() && !self.table().queue(self.pfn).is_left() && descriptor.try_exclusive()
    }

    /// Drops the shared latch.
    #[inline]
    pub fn release_shared(self) {
        if self.descriptor.unshare() {
            self.wake();
        }
    }

    /// Drops the exclusive latch, which gives the frame a new version.
    pub fn release_exclusive(self) {
        if self.descriptor.unlatch() {
            self.wake();
        }
    }

    #[cold]
    fn wake(self) {
        self.table().wake(self.pfn, self.descriptor);
    }

    /// The version that an optimistic reader remembers before it copies.
    #[must_use]
    pub fn version(self) -> Version {
        self.descriptor.version()
    }

    /// Whether the frame was neither stored to nor detached nor retired since `then`.
    #[must_use]
    pub fn validate(self, then: Version) -> bool {
        self.descriptor.unchanged(then)
    }

    /// Whether a shared latch of a frame with WAITERS must wait for a waiting writer.
    #[cold]
    fn gives_way(self, manner: Manner) -> bool {
        (manner == Manner::GivesWay || mutant("guards_give_way")) && self.table().queue(self.pfn).is_closed()
    }

    fn latch_shared_waiting(self, manner: Manner, for_room: bool) -> bool {
        let attempt = |goes_first| {
            let manner = if goes_first { Manner::GoesFirst } else { manner };
            self.try_latch_shared(manner)
        };
        let goes_first = manner == Manner::GoesFirst && !mutant("guards_give_way");
        attempt(false)
            || spin(|| attempt(false))
            || self.table().wait_to_share(self.pfn, self.descriptor, goes_first, for_room, attempt)
    }
}

//! Latches: short-term exclusion on the bytes of a frame. Their holders have a pin.
//!
//! A shared latch gives way to a writer that waits, for a while: see [`waiting`](super::waiting). One goes first: a thread
//! that holds a latch of a page that the writer may be waiting for, be it the same page, which it may know by two names,
//! or another.

use super::descriptor::Descriptor;
use super::outcome::SharedOutcome;
use super::pinned::{Home, Pinned};
use super::state::{EXCLUSIVE, SHARED, SHARED_MAX, VERSION, Version, WAITERS};
use crate::sync::{hint, mutant};
use std::time::Duration;

/// The ends of latches.
impl Descriptor {
    /// Drops a shared latch; whether sleepers have to be woken. Where a fork has wiped the word under the latch there is none.
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

    /// As [`Self::unshare`], of the exclusive latch.
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

/// Looks at a taken latch before going to sleep: most are held for less than a microsecond.
const SPINS: u32 = if cfg!(any(pagestone_loom, pagestone_shuttle)) { 0 } else { 100 };

/// How a shared latch treats a writer that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// It waits behind it, for a while.
    GivesWay,
    /// It goes first.
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
    /// Takes the shared latch, waiting for a writer, and for room where [`SHARED_MAX`] readers have it.
    pub fn latch_shared(self, manner: Manner) {
        let _ = self.latch_shared_waiting(manner, true);
    }

    /// Takes the shared latch, waiting for a writer; `Full` where [`SHARED_MAX`] readers have it.
    pub fn latch_shared_unless_full(self, manner: Manner) -> SharedOutcome {
        if self.latch_shared_waiting(manner, false) { SharedOutcome::Latched } else { SharedOutcome::Full }
    }

    /// Takes the shared latch unless a writer has the latch, [`SHARED_MAX`] readers share it, or a writer waits to which
    /// it gives way.
    ///
    /// Looked at before it is added to: of the latches that are added in vain there are then no more than threads between
    /// this look and this addition, and the field has room for [`SHARED_MAX`].
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
        // A writer that saw this vain latch may be asleep by now.
        self.release_shared();
        false
    }

    /// As [`Self::try_latch_shared`], for a caller that may keep it for long. It lets each writer that waits go first,
    /// also in the pauses between the writers' turns: else latches that are kept one after another would keep a writer
    /// out for ever.
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

    /// Takes the exclusive latch, waiting for all others.
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

    /// Takes the exclusive latch if the frame has no latch. A reader that is just being refused counts as one.
    #[must_use]
    pub fn try_latch_exclusive(self) -> bool {
        self.descriptor.try_exclusive()
    }

    /// As [`Self::try_latch_exclusive`], if the latch is not left to a thread that waits.
    #[inline]
    pub(crate) fn latch_exclusive_at_once(self) -> bool {
        self.descriptor.try_exclusive_unless(WAITERS) || self.latch_exclusive_beside_waiters()
    }

    #[cold]
    fn latch_exclusive_beside_waiters(self) -> bool {
        // In a forked child the word is wiped, and the frame may lie beyond the end of its table.
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

    /// Drops the exclusive latch; the frame has a new version.
    pub fn release_exclusive(self) {
        if self.descriptor.unlatch() {
            self.wake();
        }
    }

    #[cold]
    fn wake(self) {
        self.table().wake(self.pfn, self.descriptor);
    }

    /// What an optimistic reader remembers before it copies.
    #[must_use]
    pub fn version(self) -> Version {
        self.descriptor.version()
    }

    /// Whether nothing was stored to the frame since `then`, nor was it detached or retired.
    #[must_use]
    pub fn validate(self, then: Version) -> bool {
        self.descriptor.unchanged(then)
    }

    /// Whether a shared latch of a frame that has WAITERS has to wait for a writer that waits.
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

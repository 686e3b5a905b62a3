//! Latches: short-term exclusion on the bytes of a frame. Their holders have a pin.
//!
//! A shared latch gives way to a writer that waits, for a while: see [`waiting`](super::waiting). One goes first: a thread
//! that holds a latch of a page that the writer may be waiting for, be it the same page, which it may know by two names,
//! or another.

use super::descriptor::Descriptor;
use super::outcome::SharedOutcome;
use super::state::{EXCLUSIVE, SHARED, SHARED_MAX, VERSION, Version, WAITERS};
use super::table::FrameTable;
use crate::sync::{hint, mutant};
use crate::units::Pfn;
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

impl FrameTable {
    /// Takes the shared latch, waiting for a writer, and for room where [`SHARED_MAX`] readers have it.
    pub fn latch_shared(&self, pfn: Pfn, manner: Manner) {
        let _ = self.latch_shared_waiting(pfn, manner, true);
    }

    /// Takes the shared latch, waiting for a writer; `Full` where [`SHARED_MAX`] readers have it.
    pub fn latch_shared_unless_full(&self, pfn: Pfn, manner: Manner) -> SharedOutcome {
        if self.latch_shared_waiting(pfn, manner, false) {
            SharedOutcome::Latched
        } else {
            SharedOutcome::Full
        }
    }

    /// Takes the shared latch unless a writer has the latch, [`SHARED_MAX`] readers share it, or a writer waits to which
    /// it gives way.
    #[must_use]
    pub fn try_latch_shared(&self, pfn: Pfn, manner: Manner) -> bool {
        self.share(pfn, self.pinned(pfn), manner)
    }

    /// As [`Self::try_latch_shared`], for a caller that may keep it for long. It lets each writer that waits go first,
    /// also in the pauses between the writers' turns: else latches that are kept one after another would keep a writer
    /// out for ever.
    pub(crate) fn try_latch_shared_to_keep(&self, pfn: Pfn) -> bool {
        let descriptor = self.pinned(pfn);
        if !self.share(pfn, descriptor, Manner::GivesWay) {
            return false;
        }
        let waited_for = descriptor.look().waiters() && self.queue(pfn).has_writers();
        if waited_for {
            self.unshare(pfn, descriptor);
        }
        !waited_for
    }

    /// Takes the exclusive latch, waiting for all others.
    pub fn latch_exclusive(&self, pfn: Pfn) {
        let _ = self.latch_exclusive_within(pfn, None);
    }

    /// As [`Self::latch_exclusive`]; false if that took longer than `limit`.
    #[must_use]
    pub fn latch_exclusive_within(&self, pfn: Pfn, limit: Option<Duration>) -> bool {
        let descriptor = self.pinned(pfn);
        self.exclude(pfn, descriptor)
            || self.wait_in_turn(pfn, descriptor, || descriptor.try_exclusive(), limit)
    }

    /// Takes the exclusive latch if the frame has no latch. A reader that is just being refused counts as one.
    #[must_use]
    pub fn try_latch_exclusive(&self, pfn: Pfn) -> bool {
        self.pinned(pfn).try_exclusive()
    }

    /// Drops the shared latch.
    pub fn release_shared(&self, pfn: Pfn) {
        self.unshare(pfn, self.pinned(pfn));
    }

    /// Drops the exclusive latch; the frame has a new version.
    pub fn release_exclusive(&self, pfn: Pfn) {
        let descriptor = self.pinned(pfn);
        if descriptor.unlatch() {
            self.wake(pfn, descriptor);
        }
    }

    /// What an optimistic reader remembers before it copies. The caller has a pin, or re-checks afterwards what led it
    /// to the frame.
    #[must_use]
    pub fn version(&self, pfn: Pfn) -> Version {
        self.pinned(pfn).version()
    }

    /// Whether nothing was stored to the frame since `then`, nor was it detached or retired.
    #[must_use]
    pub fn validate(&self, pfn: Pfn, then: Version) -> bool {
        self.pinned(pfn).unchanged(then)
    }

    /// Takes the shared latch if it is free. Looked at before it is added to: of the latches that are added in vain there
    /// are then no more than threads between this look and this addition, and the field has room for [`SHARED_MAX`].
    #[inline]
    pub(crate) fn share(&self, pfn: Pfn, descriptor: &Descriptor, manner: Manner) -> bool {
        let seen = descriptor.look();
        if !seen.has_room_to_share() || (seen.waiters() && self.gives_way(pfn, manner)) {
            return false;
        }
        let word = descriptor.add_shared();
        if word.is_shared() && !(word.waiters() && self.gives_way(pfn, manner)) {
            return true;
        }
        // A writer that saw this vain latch may be asleep by now.
        self.unshare(pfn, descriptor);
        false
    }

    /// Takes the exclusive latch if the frame has no latch and is not left to a thread that waits.
    #[inline]
    pub(crate) fn exclude(&self, pfn: Pfn, descriptor: &Descriptor) -> bool {
        descriptor.try_exclusive_unless(WAITERS) || self.exclude_beside_waiters(pfn, descriptor)
    }

    #[cold]
    fn exclude_beside_waiters(&self, pfn: Pfn, descriptor: &Descriptor) -> bool {
        // In a forked child the word is wiped, and the frame may lie beyond the end of its table.
        descriptor.look().live() && !self.queue(pfn).is_left() && descriptor.try_exclusive()
    }

    /// Whether a shared latch of a frame that has WAITERS has to wait for a writer that waits.
    #[cold]
    fn gives_way(&self, pfn: Pfn, manner: Manner) -> bool {
        (manner == Manner::GivesWay || mutant("guards_give_way")) && self.queue(pfn).is_closed()
    }

    #[inline]
    fn unshare(&self, pfn: Pfn, descriptor: &Descriptor) {
        if descriptor.unshare() {
            self.wake(pfn, descriptor);
        }
    }

    /// As [`Self::release_shared`], of the process's table. In a forked child the descriptor is of the parent's table, and the
    /// child's need not reach so far: it is not asked for there.
    #[inline]
    pub(crate) fn end_shared(pfn: Pfn, descriptor: &Descriptor) {
        if descriptor.unshare() {
            Self::wake_global(pfn, descriptor);
        }
    }

    /// As [`Self::release_exclusive`]; see [`Self::end_shared`].
    pub(crate) fn end_exclusive(pfn: Pfn, descriptor: &Descriptor) {
        if descriptor.unlatch() {
            Self::wake_global(pfn, descriptor);
        }
    }

    #[cold]
    fn wake_global(pfn: Pfn, descriptor: &Descriptor) {
        Self::global().wake(pfn, descriptor);
    }

    fn latch_shared_waiting(&self, pfn: Pfn, manner: Manner, for_room: bool) -> bool {
        let descriptor = self.pinned(pfn);
        let attempt = |goes_first| {
            let manner = if goes_first { Manner::GoesFirst } else { manner };
            self.share(pfn, descriptor, manner)
        };
        let goes_first = manner == Manner::GoesFirst && !mutant("guards_give_way");
        attempt(false)
            || spin(|| attempt(false))
            || self.wait_to_share(pfn, descriptor, goes_first, for_room, attempt)
    }
}

//! Latches: short-term exclusion on the bytes of a frame. Their holders have a pin.
//!
//! Shared latches do not wait for a waiting writer: a thread may share a frame with itself, which it may know by two
//! names. Sleepers sleep on the frame's wait word:
//!
//! ```text
//!   sleeper                                   releaser
//!   s = wait word                             state: release, was WAITERS set?
//!   state: set WAITERS, still blocked?        state: clear WAITERS
//!   sleep while wait word == s                wait word + 1, wake all
//! ```
//!
//! If the sleeper's RMW saw the latch taken, the release comes after it in the word's order and finds WAITERS, so the
//! wait word changes after the sleeper read it. If another releaser clears WAITERS in between, that one bumps the wait
//! word after the sleeper read it too: had the sleeper read the bumped word, its WAITERS would come after the clear.

use super::descriptor::Descriptor;
use super::state::{EXCLUSIVE, SHARED, SHARED_MAX, Snapshot, VERSION, Version, WAITERS};
use super::table::FrameTable;
use crate::sync::atomic::Ordering;
use crate::sync::{futex, hint, mutant};
use crate::units::Pfn;
use std::time::{Duration, Instant};

/// Looks at a taken latch before going to sleep: most are held for less than a microsecond.
const SPINS: u32 = if cfg!(pagestone_loom) { 0 } else { 100 };

impl FrameTable {
    /// Takes the shared latch, waiting for a writer.
    pub fn latch_shared(&self, pfn: Pfn) {
        let descriptor = self.pinned(pfn);
        if !self.share(pfn, descriptor) {
            let taken = |state: Snapshot| state.exclusive() || state.shared() >= SHARED_MAX;
            self.latch_contended(pfn, descriptor, || self.share(pfn, descriptor), taken);
        }
    }

    /// Takes the shared latch unless a writer has the latch, or [`SHARED_MAX`] readers share it.
    #[must_use]
    pub fn try_latch_shared(&self, pfn: Pfn) -> bool {
        self.share(pfn, self.pinned(pfn))
    }

    /// Takes the exclusive latch, waiting for all others.
    pub fn latch_exclusive(&self, pfn: Pfn) {
        let descriptor = self.pinned(pfn);
        if !descriptor.try_exclusive() {
            let taken = |state: Snapshot| state.exclusive() || state.shared() > 0;
            self.latch_contended(pfn, descriptor, || descriptor.try_exclusive(), taken);
        }
    }

    /// Takes the exclusive latch if nobody has the latch. A reader that is just being refused counts as somebody.
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
        let before = descriptor.drop_exclusive();
        if before.waiters() || !before.exclusive() {
            self.released(pfn, descriptor, before.exclusive(), EXCLUSIVE.wrapping_sub(VERSION.one()));
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

    fn share(&self, pfn: Pfn, descriptor: &Descriptor) -> bool {
        let word = descriptor.add_shared();
        if !word.exclusive() && word.shared() <= SHARED_MAX {
            return true;
        }
        // A writer that saw this vain latch may be asleep by now.
        self.unshare(pfn, descriptor);
        false
    }

    fn unshare(&self, pfn: Pfn, descriptor: &Descriptor) {
        let before = descriptor.drop_shared();
        let was_full = before.shared() >= SHARED_MAX && !mutant("full_readers_without_wake");
        let somebody_can_go_on = before.shared() == 1 || was_full;
        if (before.waiters() && somebody_can_go_on) || before.shared() == 0 {
            self.released(pfn, descriptor, before.shared() > 0, SHARED.one());
        }
    }

    /// The rare ends of a release: sleepers, or a page of the table that a fork wiped under the latch.
    #[cold]
    fn released(&self, pfn: Pfn, descriptor: &Descriptor, was_latched: bool, taken: u64) {
        if was_latched {
            self.wake(pfn, descriptor);
        } else {
            descriptor.undo_stray_release(taken);
        }
    }

    #[cold]
    fn latch_contended(
        &self,
        pfn: Pfn,
        descriptor: &Descriptor,
        mut attempt: impl FnMut() -> bool,
        taken: impl Fn(Snapshot) -> bool,
    ) {
        for _ in 0..SPINS {
            hint::spin_loop();
            if !taken(descriptor.look()) && attempt() {
                return;
            }
        }
        self.sleep_until(pfn, descriptor, attempt, taken, None);
    }

    /// Sleeps until `attempt` succeeds, trying whenever the state is no longer `blocked`; false if that took longer than
    /// `limit`.
    pub(super) fn sleep_until(
        &self,
        pfn: Pfn,
        descriptor: &Descriptor,
        mut attempt: impl FnMut() -> bool,
        blocked: impl Fn(Snapshot) -> bool,
        limit: Option<Duration>,
    ) -> bool {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let word = self.wait_words.get(self.index(pfn)).expect("as long as the descriptors");
        loop {
            if attempt() {
                return true;
            }
            // ORDERING: Acquire: pairs with `wake`, see the head of this file.
            let seen = word.load(Ordering::Acquire);
            if !blocked(descriptor.set(WAITERS)) && !mutant("sleep_without_second_look") {
                continue;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || !futex::wait(word, seen, left) {
                return attempt();
            }
        }
    }

    /// Wakes all who sleep on the frame.
    pub(super) fn wake(&self, pfn: Pfn, descriptor: &Descriptor) {
        let word = self.wait_words.get(self.index(pfn)).expect("as long as the descriptors");
        if mutant("put_without_wake") {
            return;
        }
        descriptor.clear(WAITERS);
        // ORDERING: Release: who reads the new number sets WAITERS after it was cleared here.
        word.fetch_add(1, Ordering::Release);
        futex::wake_all(word);
    }
}

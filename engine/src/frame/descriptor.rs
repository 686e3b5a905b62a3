//! The hot record of a frame, and the read-modify-writes that change it (table in [`state`](super::state)).

use super::outcome::PinOutcome;
use super::state::{CLAIM, EXCLUSIVE, LIVE, REFERENCED, SHARED, Snapshot, VERSION, Version};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Zeroed, mutant};

/// Sixteen bytes per frame, without pointers or other values that are local to the process.
///
/// # Fields
/// `state`: changed only by read-modify-writes. `owner`: written by a thread that has a pin or has claimed the
/// freeing; zeroed when the frame is retired.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Descriptor {
    state: AtomicU64,
    owner: AtomicU64,
}

#[cfg(not(any(pagestone_loom, pagestone_shuttle)))]
const _: () = assert!(size_of::<Descriptor>() == 16);

// SAFETY: two atomic integers; zero bytes are zero.
unsafe impl Zeroed for Descriptor {
    fn zeroed() -> Self {
        Self { state: AtomicU64::zeroed(), owner: AtomicU64::zeroed() }
    }
    fn wipe(&self) {
        self.state.wipe();
        self.owner.wipe();
    }
}

/// The hit path.
impl Descriptor {
    /// Counts a pin. `Err`: more is to be done, by [`FrameTable::settle_pin`](super::FrameTable::settle_pin).
    #[inline(always)]
    pub(crate) fn pin(&self) -> Result<(), Snapshot> {
        let word = self.add_pin();
        if word.admits_at_once() { Ok(()) } else { Err(word) }
    }

    /// Drops a pin. `Err`: more is to be done, by [`FrameTable::settle`](super::FrameTable::settle).
    #[inline(always)]
    pub(crate) fn unpin(&self) -> Result<(), Snapshot> {
        let before = self.drop_pin();
        if before.drops_at_once() { Ok(()) } else { Err(before) }
    }
}

/// Pins and lifecycle.
impl Descriptor {
    /// Another pin for a caller that has one: `Pinned` or `Saturated`; in a forked child `Forked`.
    #[inline]
    pub(super) fn pin_again(&self) -> PinOutcome {
        let word = self.add_pin_again();
        if word.saturated() || !word.live() {
            // The caller still has its own pin, or a fork has wiped it. So this put is not the last one.
            let _ = self.drop_pin();
            return if word.live() { PinOutcome::Saturated } else { PinOutcome::Forked };
        }
        PinOutcome::Pinned
    }

    #[inline(always)]
    pub(super) fn look(&self) -> Snapshot {
        // ORDERING: Acquire: a thread that sees a frame idle has its last holder's accesses behind it (`drop_pin`).
        Snapshot(self.state.load(Ordering::Acquire))
    }

    /// Adds a pin and returns the new word. The caller decides whether the pin counts.
    #[inline(always)]
    pub(super) fn add_pin(&self) -> Snapshot {
        // ORDERING: Acquire: pairs with `populate`, `set` and `drop_exclusive`, so that what was true of the frame
        // when it was populated or refused is seen, and a map word read afterwards is no older.
        Snapshot(self.state.fetch_add(1, Ordering::Acquire).wrapping_add(1))
    }

    /// Adds a pin for a caller that has one, and returns the new word.
    #[inline(always)]
    pub(super) fn add_pin_again(&self) -> Snapshot {
        // ORDERING: Relaxed: the caller's own pin ordered everything already, as with the count of an `Arc`.
        Snapshot(self.state.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// Subtracts a pin, and returns the old word.
    #[inline(always)]
    pub(super) fn drop_pin(&self) -> Snapshot {
        // ORDERING: Release: the holder's accesses end before those of a thread that sees the count at zero begin
        // (`retire_if`, `claim_freeing`, `look`).
        let order = if mutant("relaxed_put") { Ordering::Relaxed } else { Ordering::Release };
        Snapshot(self.state.fetch_sub(1, order))
    }

    /// As [`Self::drop_pin`], if there is a pin to drop; with `None` nothing has changed.
    pub(super) fn drop_pin_if_any(&self) -> Option<Snapshot> {
        let mut seen = self.look();
        if mutant("checked_put_in_two_steps") {
            return (seen.live() && seen.pins() > 0).then(|| self.drop_pin());
        }
        while seen.live() && seen.pins() > 0 {
            // ORDERING: Release: as `drop_pin`. Acquire on failure, as `look`.
            match self.state.compare_exchange_weak(seen.0, seen.0 - 1, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return Some(seen),
                Err(now) => seen = Snapshot(now),
            }
        }
        None
    }

    /// Undoes a put that had no pin to drop, because a fork wiped the page of the table.
    pub(super) fn undo_stray_put(&self) {
        // ORDERING: Relaxed: nothing depends on a word that was wiped.
        self.state.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes the frame live with one pin, and wipes the void increments. Under the chunk's lock, LIVE clear.
    pub(super) fn populate(&self, version: u64) {
        let word = LIVE | VERSION.pack(version) | 1;
        if mutant("populate_by_add") {
            self.state.fetch_add(word, Ordering::AcqRel);
            return;
        }
        // ORDERING: AcqRel: Release for pinners that will find LIVE without the lock; Acquire costs nothing on top
        // and keeps one rule for all that change LIVE.
        self.state.swap(word, Ordering::AcqRel);
    }

    /// Wipes the void increments of a populate that is refused. LIVE clear, and no other thread populates.
    pub(super) fn void(&self) {
        // ORDERING: Relaxed: a swap from nothing to nothing publishes nothing.
        self.state.swap(0, Ordering::Relaxed);
    }

    /// Changes exactly the word `seen`, which has no pins, to zero. Under the chunk's lock. False if the word has
    /// changed.
    pub(super) fn retire_if(&self, seen: Snapshot) -> bool {
        debug_assert!(seen.live() && seen.pins() == 0);
        if mutant("retire_by_store") {
            if self.state.load(Ordering::Acquire) != seen.0 {
                return false;
            }
            self.state.store(0, Ordering::Release);
        }
        // ORDERING: AcqRel: Acquire from every `drop_pin` before (the last holder is done); Release so that a pinner
        // of the frame's next life has this life behind it. Relaxed on failure: nothing was learned.
        else if self.state.compare_exchange(seen.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        // ORDERING: Relaxed: only pin holders read the owner, and the next ones come through the chunk's lock.
        self.owner.store(0, Ordering::Relaxed);
        true
    }

    /// Claims the freeing of an orphan without pins, once. Not of one with a latch, which was forgotten: that one
    /// stays as it is until its region goes.
    pub(super) fn claim_freeing(&self) -> bool {
        if mutant("last_put_without_claim") {
            return self.look().orphan();
        }
        let mut seen = self.look();
        while seen.live() && seen.orphan() && seen.pins() == 0 && !seen.latched() {
            // ORDERING: AcqRel: Acquire from every `drop_pin` before: all holders are done before the frame is freed.
            // Release only keeps the chain whole for `retire_if`. Acquire on failure, as `look`.
            match self.state.compare_exchange(seen.0, seen.0 | CLAIM, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(_) if mutant("claim_tries_once") => return false,
                Err(now) => seen = Snapshot(now),
            }
        }
        false
    }

    /// Sets flags, and returns the old word.
    pub(super) fn set(&self, flags: u64) -> Snapshot {
        // ORDERING: AcqRel: Release so that a thread that is refused by the flag, or finds it, sees what led to it (a
        // changed map word); Acquire so that the thread that sets it sees what the holders counted in the word did
        // before.
        Snapshot(self.state.fetch_or(flags, Ordering::AcqRel))
    }

    /// Sets flags if all of `those` are set. With false nothing has changed.
    pub(super) fn set_where(&self, flags: u64, those: u64) -> bool {
        let mut seen = self.look();
        while seen.0 & those == those {
            // ORDERING: AcqRel, as `set`. Acquire on failure, as `look`.
            match self.state.compare_exchange_weak(
                seen.0,
                seen.0 | flags,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => seen = Snapshot(now),
            }
        }
        false
    }

    /// Clears flags, and returns the old word.
    pub(super) fn clear(&self, flags: u64) -> Snapshot {
        // ORDERING: AcqRel, as `set`.
        Snapshot(self.state.fetch_and(!flags, Ordering::AcqRel))
    }

    /// Notes that the frame was pinned more than once. Called only if the word does not say so yet: on a hot page a
    /// blind `fetch_or` costs sixteen times as much as a read.
    pub(super) fn mark_referenced(&self) {
        // ORDERING: Relaxed: a hint.
        self.state.fetch_or(REFERENCED.mask(), Ordering::Relaxed);
    }

    /// Lowers the mark by one step, and returns what it was.
    pub(super) fn fade_referenced(&self) -> u32 {
        let seen = self.look().referenced();
        if seen > 0 {
            // Three, one, zero: the higher bit goes first.
            // ORDERING: Relaxed: a hint.
            self.state.fetch_and(!REFERENCED.pack(if seen > 1 { 2 } else { 1 }), Ordering::Relaxed);
        }
        seen
    }
}

/// Latches. The caller has a pin.
impl Descriptor {
    /// Adds a shared latch and returns the new word. The latch is void if EXCLUSIVE is set there, or too many share
    /// it.
    pub(super) fn add_shared(&self) -> Snapshot {
        // ORDERING: Acquire: pairs with `drop_exclusive`.
        Snapshot(self.state.fetch_add(SHARED.one(), Ordering::Acquire).wrapping_add(SHARED.one()))
    }

    /// Subtracts a shared latch, and returns the old word.
    pub(super) fn drop_shared(&self) -> Snapshot {
        // ORDERING: Release: the reader is done before the next writer begins (`try_exclusive`).
        Snapshot(self.state.fetch_sub(SHARED.one(), Ordering::Release))
    }

    /// Takes the exclusive latch if the frame has no latch. In a forked child the word is wiped and never gives a
    /// latch.
    pub(super) fn try_exclusive(&self) -> bool {
        self.try_exclusive_unless(0)
    }

    /// As [`Self::try_exclusive`], but only if none of these flags is set.
    #[inline]
    pub(super) fn try_exclusive_unless(&self, flags: u64) -> bool {
        let mut seen = self.look();
        while seen.0 & (EXCLUSIVE | SHARED.mask() | LIVE | flags) == LIVE {
            // ORDERING: Acquire: pairs with `drop_shared` and `drop_exclusive`. Acquire on failure, as `look`.
            match self.state.compare_exchange_weak(
                seen.0,
                seen.0 | EXCLUSIVE,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    // ORDERING: release fence: a thread that reads a byte that this thread stores from here on, and
                    // then fences (`unchanged`), finds EXCLUSIVE or a later version. Free on x86.
                    if !mutant("writer_without_fence") {
                        fence(Ordering::Release);
                    }
                    return true;
                }
                Err(now) => seen = Snapshot(now),
            }
        }
        false
    }

    /// Drops the exclusive latch and increments the version in one step, and returns the old word.
    pub(super) fn drop_exclusive(&self) -> Snapshot {
        let order = if mutant("relaxed_unlatch") { Ordering::Relaxed } else { Ordering::Release };
        // ORDERING: Release: the writer's stores are seen by the thread that latches next, and by `version`.
        Snapshot(self.state.fetch_add(VERSION.one().wrapping_sub(EXCLUSIVE), order))
    }

    /// Undoes a release that had no latch to drop, because a fork wiped the page of the table.
    pub(super) fn undo_stray_release(&self, taken: u64) {
        // ORDERING: Relaxed: nothing depends on a word that was wiped.
        self.state.fetch_add(taken, Ordering::Relaxed);
    }

    /// The version, for a later comparison.
    pub(super) fn version(&self) -> Version {
        self.look().version()
    }

    /// Whether the version is still `then`, so that everything read since is consistent.
    pub(super) fn unchanged(&self, then: Version) -> bool {
        // ORDERING: acquire fence, then Relaxed: the reads of the copy come before this load; pairs with the fence in
        // `try_exclusive`, or where another thread stores with `before_stores_under_latches_of_another`.
        fence(Ordering::Acquire);
        then.stable() && Snapshot(self.state.load(Ordering::Relaxed)).version() == then
    }
}

/// Called before the first store to pages that another thread has latched, because the fence of `try_exclusive`
/// orders only the stores of that thread. The latches were taken before this call.
pub fn before_stores_under_latches_of_another() {
    if !mutant("leader_without_fence") {
        // ORDERING: release fence: a thread that reads a byte stored from here on, and then fences (`unchanged`), finds
        // what happened before: EXCLUSIVE, or a later version. Free on x86.
        fence(Ordering::Release);
    }
}

/// The owner word.
impl Descriptor {
    pub(super) fn owner(&self) -> u64 {
        // ORDERING: Relaxed: a number, and pin holders alone act upon it.
        self.owner.load(Ordering::Relaxed)
    }
    pub(super) fn set_owner(&self, owner: u64) {
        // ORDERING: Relaxed: as `owner`. A list linked through owners is published by its head.
        self.owner.store(owner, Ordering::Relaxed);
    }
    pub(super) fn set_owner_if_unset(&self, owner: u64) -> bool {
        // ORDERING: Relaxed: as `owner`.
        self.owner.compare_exchange(0, owner, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::{DIRTY, HOLD, ORPHAN, SHARED_MAX, WAITERS};
    use super::*;

    /// A live frame with one pin.
    fn pinned() -> Descriptor {
        let descriptor = Descriptor::zeroed();
        descriptor.populate(5);
        descriptor
    }

    #[test]
    fn a_populated_frame_has_its_version_one_pin_and_nothing_of_what_came_before() {
        let descriptor = Descriptor::zeroed();
        descriptor.add_pin();
        descriptor.add_pin();
        descriptor.populate(5);
        let state = descriptor.look();
        assert_eq!(state.0, LIVE | VERSION.pack(5) | 1, "{state:?}");
    }

    #[test]
    fn a_refused_populate_leaves_no_count() {
        let descriptor = Descriptor::zeroed();
        assert!(descriptor.pin().is_err());
        descriptor.void();
        assert_eq!(descriptor.look().0, 0);
    }

    #[test]
    fn wiping_leaves_a_descriptor_that_was_never_touched() {
        let descriptor = pinned();
        descriptor.set_owner(7);
        descriptor.wipe();
        assert_eq!((descriptor.look().0, descriptor.owner()), (0, 0));
    }

    #[test]
    fn pins_are_counted_up_and_down_and_say_what_they_made_or_found() {
        let descriptor = pinned();
        assert_eq!(descriptor.add_pin().pins(), 2);
        assert_eq!(descriptor.add_pin_again().pins(), 3);
        assert_eq!(descriptor.drop_pin().pins(), 3);
        assert_eq!(descriptor.look().pins(), 2);
    }

    #[test]
    fn the_hit_path_leaves_to_others_what_is_not_plain() {
        let descriptor = pinned();
        assert!(descriptor.pin().is_err(), "not referenced yet");
        descriptor.mark_referenced();
        assert_eq!(descriptor.look().referenced(), 3);
        assert!(descriptor.pin().is_ok());
        assert!(descriptor.unpin().is_ok());
        descriptor.set(HOLD);
        assert!(descriptor.pin().is_err() && descriptor.unpin().is_err());
        assert_eq!(descriptor.look().pins(), 2);
    }

    #[test]
    fn a_checked_put_drops_a_pin_where_there_is_one() {
        let descriptor = pinned();
        descriptor.add_pin();
        assert_eq!(descriptor.drop_pin_if_any().unwrap().pins(), 2);
        assert_eq!(descriptor.drop_pin_if_any().unwrap().pins(), 1);
        let idle = descriptor.look();
        assert!(descriptor.drop_pin_if_any().is_none());
        assert_eq!(descriptor.look(), idle);
        let void = Descriptor::zeroed();
        void.add_pin();
        assert!(void.drop_pin_if_any().is_none(), "an increment of a frame that is not live is no pin");
        assert_eq!(void.look().pins(), 1);
    }

    #[test]
    fn what_a_fork_has_wiped_is_put_back_to_nothing() {
        let descriptor = Descriptor::zeroed();
        descriptor.drop_pin();
        descriptor.undo_stray_put();
        assert_eq!(descriptor.look().0, 0);
        descriptor.drop_shared();
        descriptor.undo_stray_release(SHARED.one());
        assert_eq!(descriptor.look().0, 0);
    }

    #[test]
    fn a_frame_is_retired_as_it_was_seen_or_not_at_all() {
        let descriptor = pinned();
        descriptor.set_owner(7);
        descriptor.drop_pin();
        let seen = descriptor.look();
        descriptor.set(WAITERS);
        assert!(!descriptor.retire_if(seen));
        assert_eq!((descriptor.look().live(), descriptor.owner()), (true, 7));
        assert!(descriptor.retire_if(descriptor.look()));
        assert_eq!((descriptor.look().0, descriptor.owner()), (0, 0));
    }

    #[test]
    fn only_an_idle_orphan_is_claimed_and_only_once() {
        let descriptor = pinned();
        assert!(!descriptor.claim_freeing(), "pinned, and no orphan");
        descriptor.set(ORPHAN);
        assert!(!descriptor.claim_freeing(), "pinned");
        descriptor.drop_pin();
        descriptor.clear(ORPHAN);
        assert!(!descriptor.claim_freeing(), "no orphan");
        descriptor.set(ORPHAN);
        assert!(!descriptor.look().claimed() && !descriptor.look().in_use());
        assert!(descriptor.claim_freeing());
        assert!(descriptor.look().claimed() && descriptor.look().in_use());
        assert!(!descriptor.claim_freeing(), "claimed before");
        let unpopulated = Descriptor::zeroed();
        unpopulated.set(ORPHAN);
        assert!(!unpopulated.claim_freeing(), "not live");
    }

    #[test]
    fn an_orphan_with_a_latch_that_was_forgotten_is_not_claimed_and_not_in_use() {
        for latch in [EXCLUSIVE, SHARED.one(), SHARED.pack(SHARED_MAX.into())] {
            let descriptor = pinned();
            descriptor.set(ORPHAN | latch);
            descriptor.drop_pin();
            assert!(!descriptor.claim_freeing());
            let state = descriptor.look();
            assert!(!state.claimed() && !state.in_use(), "{state:?}");
        }
    }

    #[test]
    fn a_descriptor_that_was_wiped_gives_no_latch() {
        let descriptor = Descriptor::zeroed();
        assert!(!descriptor.try_exclusive() && !descriptor.look().has_room_to_share());
        assert_eq!(descriptor.look().0, 0);
    }

    #[test]
    fn flags_are_set_and_cleared_alone_and_the_word_before_is_told() {
        let descriptor = pinned();
        let before = descriptor.look();
        assert_eq!(descriptor.set(DIRTY), before);
        assert_eq!(descriptor.look().0, before.0 | DIRTY);
        assert_eq!(descriptor.clear(DIRTY).0, before.0 | DIRTY);
        assert_eq!(descriptor.look(), before);
    }

    #[test]
    fn the_mark_of_use_fades_in_two_steps() {
        let descriptor = pinned();
        descriptor.mark_referenced();
        let strength = [(); 4].map(|()| descriptor.fade_referenced());
        assert_eq!(strength, [3, 1, 0, 0]);
        assert_eq!(descriptor.look(), pinned().look(), "nothing else has faded");
    }

    #[test]
    fn a_writer_is_alone() {
        let descriptor = pinned();
        assert_eq!(descriptor.add_shared().shared(), 1);
        assert!(!descriptor.try_exclusive());
        assert_eq!(descriptor.drop_shared().shared(), 1);
        assert!(descriptor.try_exclusive());
        assert!(!descriptor.try_exclusive());
        assert!(descriptor.add_shared().exclusive());
    }

    #[test]
    fn a_version_is_unchanged_until_a_writer_begins() {
        let descriptor = pinned();
        let then = descriptor.version();
        descriptor.add_pin();
        descriptor.add_shared();
        assert!(descriptor.unchanged(then));
        descriptor.drop_shared();
        assert!(descriptor.try_exclusive());
        let meanwhile = descriptor.version();
        assert!(!descriptor.unchanged(then) && !descriptor.unchanged(meanwhile), "a writer is at work");
        assert!(descriptor.drop_exclusive().exclusive());
        assert!(!descriptor.unchanged(then) && !descriptor.look().exclusive());
        assert_eq!(descriptor.look().version_number(), 6);
    }

    #[test]
    fn an_owner_is_noted_once() {
        let descriptor = pinned();
        assert!(descriptor.set_owner_if_unset(3));
        assert!(!descriptor.set_owner_if_unset(4));
        assert_eq!(descriptor.owner(), 3);
        descriptor.set_owner(9);
        assert_eq!(descriptor.owner(), 9);
    }
}

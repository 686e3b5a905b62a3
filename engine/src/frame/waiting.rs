//! The wait word of a frame, on which threads sleep and which orders them.
//!
//! ```text
//!  31          17   16      15     14              0
//! +--------------+-------+---------+-----------------+
//! |   sequence   | PAUSE | OVERDUE |     writers     |
//! +--------------+-------+---------+-----------------+
//!  changed by a    |         |        waiting for the latch
//!  release that    |         +-- a thread was woken in vain for long: others leave the latch to it
//!  sees WAITERS    +-- the writers have waited for a turn: readers pass for as long
//!
//!   sleeper                                   releaser
//!   s = wait word                             state: release, was WAITERS set?
//!   state: set WAITERS, still blocked?        state: clear WAITERS, unless writers wait or one is overdue
//!   sleep while wait word == s                wait word + STEP, wake
//! ```
//!
//! If the sleeper's read-modify-write saw the latch taken, the release comes after it in the order of the word and
//! finds WAITERS. So the wait word changes after the sleeper read it. If another releaser clears WAITERS in between,
//! that one also changes the wait word after the sleeper read it: if the sleeper had read the changed word, its
//! WAITERS would come after the clear.
//!
//! **The gate.** While writers wait and it is their turn, the gate is closed: a shared latch that gives way is not
//! granted. A writer counts itself in the wait word and then sets WAITERS in the state. The flag stays while a writer
//! is counted, and a shared latch that finds WAITERS reads the wait word. Every change that opens the gate changes
//! the word on which readers sleep. While the gate is closed, a release that has not cleared WAITERS wakes only the
//! others; the writer's own release finds the flag and wakes the readers.
//!
//! A turn is [`TURN`] long. After it the gate is open for the same time, so that a reader for which the writer's own
//! holders wait can come in. A reader that has waited for a whole turn, for any reason, counts as one of the others
//! from then on and ignores the gate. So no reader depends on a writer that does not run, or on the end of a stream
//! of writers.
//!
//! **Overdue threads.** A released latch goes to the first thread that comes. Usually that is a running thread, which
//! is cheaper than waiting until a sleeper has woken up. But then the sleeper is woken in vain, and beside a thread
//! that takes the latch again and again this may go on for ever. A thread that was woken in vain for [`PATIENCE`]
//! marks itself as overdue. A writer that is not overdue leaves the latch to those that are, for at most the same
//! time. An overdue thread removes the mark when it gets the latch or gives up; another overdue thread sets it again
//! before it sleeps.

use super::descriptor::Descriptor;
use super::state::{HOLD, LIVE, Snapshot, WAITERS};
use super::table::FrameTable;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::futex::{self, Sleepers};
use crate::sync::mutant;
use crate::sync::time::Instant;
use crate::units::Pfn;
use std::time::Duration;

/// How long a waiting writer keeps readers out at a time. In a loom model a turn does not end unless the model says
/// so: a thread that depends on its end hangs there.
const TURN: Option<Duration> = if cfg!(pagestone_loom) { None } else { Some(Duration::from_millis(50)) };

/// How long a thread is woken in vain before others leave the latch to it. In a loom model once is enough, and the
/// others wait without end, because the mark must not promise something that does not come.
const PATIENCE: Duration = if cfg!(pagestone_loom) { Duration::ZERO } else { Duration::from_millis(1) };
const LEAVES: Option<Duration> = if cfg!(pagestone_loom) { None } else { Some(PATIENCE) };

const WRITER: u32 = 1;
const WRITERS: u32 = 0x7fff;
const OVERDUE: u32 = 1 << 15;
const PAUSE: u32 = 1 << 16;
const STEP: u32 = 1 << 17;

/// A wait word at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Queue(u32);

impl Queue {
    /// Whether writers wait.
    pub(super) const fn has_writers(self) -> bool {
        self.0 & WRITERS != 0
    }
    /// Whether the waiting writers let readers pass at the moment.
    const fn is_paused(self) -> bool {
        self.0 & PAUSE != 0
    }
    /// Whether a shared latch that gives way must wait.
    pub(super) const fn is_closed(self) -> bool {
        self.has_writers() && !self.is_paused()
    }
    /// Whether a waiting thread is overdue.
    const fn is_overdue(self) -> bool {
        self.0 & OVERDUE != 0
    }
    /// Whether a writer that is not overdue must leave the latch to one that is.
    pub(super) fn is_left(self) -> bool {
        self.is_overdue() && !mutant("overdue_are_passed")
    }
    /// The word with one more writer. `None` at the maximum: any number of threads may wait by one pin.
    const fn joined(self) -> Option<u32> {
        if self.0 & WRITERS == WRITERS { None } else { Some(self.0 + WRITER) }
    }
    /// The word with one writer less, if there is one: without a pin the word may have been given back meanwhile and
    /// be zero. The pause ends with the last writer.
    const fn left(self) -> u32 {
        let word = if self.has_writers() { self.0 - WRITER } else { self.0 };
        if word & WRITERS == 0 { word & !PAUSE } else { word }
    }
}

/// For models: turns of writers that end, as soon as possible, and what a model may ask about waiting threads.
#[cfg(pagestone_loom)]
pub mod model {
    use super::{FrameTable, Pfn};
    use std::cell::Cell;

    /// Whether an overdue thread waits for a latch.
    pub fn one_is_overdue(table: &FrameTable, pfn: Pfn) -> bool {
        table.queue(pfn).is_overdue()
    }

    thread_local! {
        // All threads of a model run on one thread.
        static LEFT: Cell<u32> = const { Cell::new(0) };
    }

    /// From now on this many turns end.
    pub fn turns_end(turns: u32) {
        LEFT.set(turns);
    }
    pub(super) fn a_turn_ends() -> bool {
        LEFT.get() > 0
    }
    pub(super) fn a_turn_has_ended() {
        LEFT.set(LEFT.get() - 1);
    }
}

/// How long the gate has been in its present state, as one writer saw it.
struct Turn {
    paused: bool,
    since: Instant,
}

impl Turn {
    /// The rest of the turn.
    fn left(&mut self, queue: Queue) -> Option<Duration> {
        #[cfg(pagestone_loom)]
        if model::a_turn_ends() {
            return Some(Duration::ZERO);
        }
        let turn = TURN?;
        let now = Instant::now();
        if queue.is_paused() != self.paused {
            *self = Self { paused: queue.is_paused(), since: now };
        }
        Some(turn.saturating_sub(now.saturating_duration_since(self.since)))
    }
}

/// How long a thread has waited for a latch.
struct Wait {
    since: Instant,
    overdue: bool,
}

impl Wait {
    fn new() -> Self {
        Self { since: Instant::now(), overdue: false }
    }

    /// Called after the thread has slept.
    fn slept(&mut self) {
        self.overdue |= Instant::now().saturating_duration_since(self.since) >= PATIENCE;
    }
}

/// The rest of a limit.
fn left(end: Option<Instant>) -> Option<Duration> {
    end.map(|end| end.saturating_duration_since(Instant::now()))
}

/// The end of a limit that begins now.
fn end_of(limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| Instant::now().checked_add(limit))
}

impl FrameTable {
    fn wait_word(&self, pfn: Pfn) -> &AtomicU32 {
        self.wait_words.get(self.index(pfn)).unwrap_or(&self.outside.wait_word)
    }

    /// The wait word of a frame with WAITERS.
    #[cold]
    pub(super) fn queue(&self, pfn: Pfn) -> Queue {
        // ORDERING: Acquire: pairs with `wake`, see the head of this file.
        Queue(self.wait_word(pfn).load(Ordering::Acquire))
    }

    /// Sleeps until `attempt` succeeds, which is tried whenever the state is no longer `blocked`; false if that took
    /// longer than `limit`.
    pub(super) fn sleep_until(
        &self,
        pfn: Pfn,
        descriptor: &Descriptor,
        mut attempt: impl FnMut() -> bool,
        blocked: impl Fn(Snapshot) -> bool,
        limit: Option<Duration>,
    ) -> bool {
        let end = end_of(limit);
        loop {
            if attempt() {
                return true;
            }
            let seen = self.queue(pfn);
            if !blocked(descriptor.set(WAITERS)) {
                continue;
            }
            let left = left(end);
            if left == Some(Duration::ZERO) || !futex::wait(self.wait_word(pfn), seen.0, Sleepers::Rest, left)
            {
                return attempt();
            }
        }
    }

    /// As [`Self::queue`], and sets the mark if the thread is overdue.
    fn queue_of(&self, pfn: Pfn, wait: &Wait) -> Queue {
        if !wait.overdue {
            return self.queue(pfn);
        }
        // ORDERING: Acquire: as `queue`. Release: a thread that finds the mark finds WAITERS.
        Queue(self.wait_word(pfn).fetch_or(OVERDUE, Ordering::AcqRel) | OVERDUE)
    }

    /// Called when a thread that waited has the latch, or gives up.
    fn no_longer_overdue(&self, pfn: Pfn, wait: &Wait) {
        if wait.overdue && !mutant("stays_overdue") {
            // ORDERING: Relaxed: the release of the latch publishes it, or the wake by a thread that gives up.
            self.wait_word(pfn).fetch_and(!OVERDUE, Ordering::Relaxed);
        }
    }

    /// Waits in turn until `attempt` succeeds, which needs a frame without latches; false if that took longer than
    /// `limit`. The gate closes before the first look, for readers that come later.
    pub(super) fn wait_in_turn(
        &self,
        pfn: Pfn,
        descriptor: &Descriptor,
        attempt: impl Fn() -> bool,
        limit: Option<Duration>,
    ) -> bool {
        let word = self.wait_word(pfn);
        let join = |word| Queue(word).joined().filter(|_| !mutant("writer_unannounced"));
        // ORDERING: Relaxed: the flag that is set next, and releases, is what sends readers here. One that finds no room
        // waits uncounted: those that are counted keep the gate.
        let counted = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, join).is_ok();
        descriptor.set(WAITERS);
        let mut wait = Wait::new();
        let taken = self.take_turns(pfn, descriptor, attempt, limit, &mut wait);
        self.no_longer_overdue(pfn, &wait);
        if counted && !mutant("writer_stays_counted") {
            let leave = |word| Some(Queue(word).left());
            // ORDERING: Relaxed: the release of the latch, or the wake below, publishes it.
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, leave);
        }
        if !taken && !mutant("give_up_without_wake") {
            self.wake(pfn, descriptor);
        }
        taken
    }

    fn take_turns(
        &self,
        pfn: Pfn,
        descriptor: &Descriptor,
        attempt: impl Fn() -> bool,
        limit: Option<Duration>,
        wait: &mut Wait,
    ) -> bool {
        let word = self.wait_word(pfn);
        let may = || !descriptor.look().latched() && !self.queue(pfn).is_left();
        if super::latch::spin(|| may() && attempt()) {
            return true;
        }
        let mut turn = Turn { paused: false, since: Instant::now() };
        let end = end_of(limit);
        loop {
            let seen = self.queue_of(pfn, wait);
            let leaves = seen.is_left() && !wait.overdue;
            if !leaves && attempt() {
                return true;
            }
            if !descriptor.set(WAITERS).latched() && !leaves && !mutant("sleep_without_second_look") {
                continue;
            }
            let (of_turn, of_limit) = (turn.left(seen), left(end));
            let sleep = [of_turn, of_limit, LEAVES.filter(|_| leaves)].into_iter().flatten().min();
            let woken = sleep != Some(Duration::ZERO) && futex::wait(word, seen.0, Sleepers::Rest, sleep);
            wait.slept();
            if !woken && sleep == of_limit {
                return attempt();
            }
            if !woken && sleep == of_turn {
                self.pass_the_turn(word, seen);
            }
        }
    }

    /// Ends a turn: the gate opens, or closes again.
    fn pass_the_turn(&self, word: &AtomicU32, seen: Queue) {
        let next = Queue((seen.0 ^ PAUSE).wrapping_add(STEP));
        // ORDERING: Release: as `wake`. On failure others have changed something: the caller looks again.
        let passed = word.compare_exchange(seen.0, next.0, Ordering::Release, Ordering::Relaxed).is_ok();
        #[cfg(pagestone_loom)]
        if passed {
            model::a_turn_has_ended();
        }
        if passed && next.is_paused() && !mutant("turn_ends_without_wake") {
            futex::wake(word, Sleepers::All);
        }
    }

    /// Waits for a shared latch until `attempt` succeeds, which gets whether the thread goes first by now. At the
    /// beginning the state refuses the latch, or the gate is closed. False: there is no room, and `for_room` says not
    /// to wait for that.
    pub(super) fn wait_to_share(
        &self,
        pfn: Pfn,
        descriptor: &Descriptor,
        mut goes_first: bool,
        for_room: bool,
        attempt: impl Fn(bool) -> bool,
    ) -> bool {
        let word = self.wait_word(pfn);
        let (end, mut wait) = (end_of(TURN), Wait::new());
        loop {
            if attempt(goes_first) {
                self.no_longer_overdue(pfn, &wait);
                return true;
            }
            let seen = self.queue_of(pfn, &wait);
            let state = descriptor.set(WAITERS);
            let gated = seen.is_closed() && !goes_first;
            if !gated && !state.exclusive() && !state.has_room_to_share() && !for_room {
                self.no_longer_overdue(pfn, &wait);
                return false;
            }
            if state.has_room_to_share() && !gated && !mutant("sleep_without_second_look") {
                continue;
            }
            // Also if no writer waits yet, because releases beside later writers leave this thread asleep.
            let limit = if goes_first { None } else { left(end) };
            let sleepers = if goes_first { Sleepers::Rest } else { Sleepers::Polite };
            let woken = limit != Some(Duration::ZERO) && futex::wait(word, seen.0, sleepers, limit);
            goes_first |= !woken;
            if goes_first {
                wait.slept();
            }
        }
    }

    /// Sleeps while new pins of a frame are refused; the caller has no pin. False if that took longer than `limit`.
    /// The chunk may have been given back, and its wait word with it, so outside of models there must be a limit.
    #[must_use]
    pub fn wait_unheld(&self, pfn: Pfn, limit: Option<Duration>) -> bool {
        let Some(descriptor) = self.descriptors.get(self.index(pfn)) else { return true };
        let end = end_of(limit);
        loop {
            let seen = self.queue(pfn);
            // A flag in the word of a frame that is not live would never be noticed.
            if !descriptor.set_where(WAITERS, LIVE | HOLD) {
                return true;
            }
            let left = left(end);
            if left == Some(Duration::ZERO) || !futex::wait(self.wait_word(pfn), seen.0, Sleepers::Rest, left)
            {
                return false;
            }
        }
    }

    /// Wakes all threads that sleep on the frame and may go on.
    pub(super) fn wake(&self, pfn: Pfn, descriptor: &Descriptor) {
        if mutant("put_without_wake") {
            return;
        }
        // While writers wait, the flag stays, for readers that come and for those that are left asleep here. While a
        // thread is overdue, it stays for writers that come.
        let kept = |queue: Queue| queue.has_writers() || queue.is_left();
        let cleared = !kept(self.queue(pfn)) || mutant("waiters_cleared_under_writers");
        if cleared {
            descriptor.clear(WAITERS);
        }
        let before = self.bump(pfn);
        if cleared && kept(before) && !mutant("waiters_cleared_under_writers") {
            // A thread came in between, and its flag may be gone.
            descriptor.set(WAITERS);
        }
        let cleared = cleared && !mutant("cleared_and_left_asleep");
        let all = (cleared || !before.is_closed()) && !mutant("gate_opens_without_wake");
        futex::wake(self.wait_word(pfn), if all { Sleepers::All } else { Sleepers::Rest });
    }

    /// As [`Self::wake`], for a frame whose word is gone because it was retired.
    pub(super) fn wake_retired(&self, pfn: Pfn) {
        if !mutant("retire_without_wake") {
            self.bump(pfn);
            futex::wake(self.wait_word(pfn), Sleepers::All);
        }
    }

    /// Changes the wait word, and returns the old one.
    fn bump(&self, pfn: Pfn) -> Queue {
        // ORDERING: Release: a thread that reads the new number sets WAITERS after it was cleared.
        Queue(self.wait_word(pfn).fetch_add(STEP, Ordering::Release))
    }
}

#[cfg(all(test, not(pagestone_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn writers_are_counted_as_far_as_there_is_room_and_nothing_else_changes(word: u32) {
            for word in [word, word | WRITERS, word & !WRITERS] {
                let (rest, writers) = (word & !(WRITERS | PAUSE), word & WRITERS);
                let joined = Queue(word).joined();
                prop_assert_eq!(joined, (writers < WRITERS).then_some(word.wrapping_add(WRITER)));
                prop_assert!(joined.is_none_or(|joined| joined & !WRITERS == word & !WRITERS));
                let left = Queue(word).left();
                prop_assert_eq!(left & !(WRITERS | PAUSE), rest);
                prop_assert_eq!(left & WRITERS, writers.saturating_sub(1));
                prop_assert_eq!(left & PAUSE != 0, word & PAUSE != 0 && writers > 1, "the pause ends with the last");
            }
        }
    }
}

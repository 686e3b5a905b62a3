//! The latches that C holds on a store. pgs_unlatch() releases only these, because other latches of the same frame
//! may belong to Rust callers or to the engine.
//!
//! One word per frame, found by the frame's number. Words, and the lists of them, are allocated with the first latch,
//! because a store has addresses for far more frames than it may ever have.
#![forbid(unsafe_code)]

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// How a latch is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// Words, or lists of them, that are allocated together.
const FAN: usize = 1024;
type Leaf = [AtomicU32; FAN];
type Branch = [OnceLock<Box<Leaf>>; FAN];

/// In a word: the exclusive latch. The bits below count shared ones.
const EXCLUSIVE: u32 = 1 << 31;

/// The latches that C took on frames of one store and has not released.
pub(crate) struct Latches {
    frames: u64,
    branches: OnceLock<Box<[OnceLock<Box<Branch>>]>>,
}

impl Latches {
    /// No latches, for a store with so many frames.
    pub(crate) const fn new(frames: u64) -> Self {
        Self { frames, branches: OnceLock::new() }
    }

    /// The account of a frame.
    pub(crate) fn of(&self, frame: u64) -> Account<'_> {
        let (leaf, word) = (frame as usize / FAN, frame as usize % FAN);
        let branches = self.branches.get_or_init(|| {
            let count = self.frames.div_ceil((FAN * FAN) as u64);
            (0..count).map(|_| OnceLock::new()).collect()
        });
        let branch = branches[leaf / FAN].get_or_init(|| Box::new(array::from_fn(|_| OnceLock::new())));
        let leaf = branch[leaf % FAN].get_or_init(|| Box::new(array::from_fn(|_| AtomicU32::new(0))));
        Account(&leaf[word])
    }
}

/// C's latches on one frame. They are only counted here: the latch itself is the engine's, and orders the
/// accesses under it.
pub(crate) struct Account<'a>(&'a AtomicU32);

impl Account<'_> {
    /// A latch has been taken.
    pub(crate) fn take(&self, mode: Mode) {
        self.0.fetch_add(Self::one(mode), Ordering::Relaxed);
    }

    /// Whether C holds such a latch.
    pub(crate) fn has(&self, mode: Mode) -> bool {
        Self::less(mode, self.0.load(Ordering::Relaxed)).is_some()
    }

    /// A latch is about to be released. False: C holds none. If several calls release the same latch, one of
    /// them gets true.
    #[must_use]
    pub(crate) fn give_back(&self, mode: Mode) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| Self::less(mode, word)).is_ok()
    }

    const fn one(mode: Mode) -> u32 {
        match mode {
            Mode::Shared => 1,
            Mode::Exclusive => EXCLUSIVE,
        }
    }

    fn less(mode: Mode, word: u32) -> Option<u32> {
        match mode {
            Mode::Shared if word & !EXCLUSIVE == 0 => None,
            _ => word.checked_sub(Self::one(mode)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_taken_is_given_back() {
        let latches = Latches::new(3 << 20);
        for frame in [0, 1023, 1024, (1 << 20) - 1, 1 << 20, (3 << 20) - 1] {
            let account = latches.of(frame);
            assert!(!account.give_back(Mode::Shared) && !account.give_back(Mode::Exclusive));
            account.take(Mode::Shared);
            account.take(Mode::Shared);
            assert!(account.has(Mode::Shared) && !account.has(Mode::Exclusive));
            assert!(!account.give_back(Mode::Exclusive));
            assert!(account.give_back(Mode::Shared) && account.give_back(Mode::Shared));
            assert!(!account.give_back(Mode::Shared));
            account.take(Mode::Exclusive);
            assert!(account.has(Mode::Exclusive) && !account.give_back(Mode::Shared));
            assert!(account.give_back(Mode::Exclusive) && !account.give_back(Mode::Exclusive));
        }
    }
}

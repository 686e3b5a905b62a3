//! Reading several words as of one moment, without a lock.
//!
//! A change stores many words, and a reader that walks from word to word must not see a part of it. Writers increment
//! a version around the moment at which their words appear. A reader that saw the same even version before and after
//! its walk saw the words of one moment, whatever it met.

use super::atomic::{AtomicU64, Ordering};
use super::{Mutex, MutexGuard, thread};

/// Number of tries without a lock before a reader makes the writers wait.
const TRIES: u32 = 64;

/// The version, and the mutex of the threads that change it. The words that `read` loads are atomic.
#[derive(Debug, Default)]
pub struct Seqlock {
    version: AtomicU64,
    changing: Mutex<()>,
}

/// A change in progress. Readers retry until it is dropped.
#[must_use = "readers see the change as soon as this is dropped"]
#[derive(Debug)]
pub struct Change<'a> {
    version: &'a AtomicU64,
    _changing: MutexGuard<'a, ()>,
}

impl Seqlock {
    /// Begins a change, around the moment at which its words appear. It is short, and its lock is taken last.
    pub fn change(&self) -> Change<'_> {
        let changing = self.changing.lock();
        // ORDERING: Acquire so that no store of the change moves before the odd version; a reader that sees such a
        // store (it loads with Acquire) then sees the odd version too.
        self.version.fetch_add(1, Ordering::AcqRel);
        Change { version: &self.version, _changing: changing }
    }

    /// Makes writers wait, but not readers.
    pub fn pause(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// The result of `look` as of one moment. `look` may run several times, and only a run that saw one moment
    /// counts. Each of its loads is an Acquire.
    pub fn read<R>(&self, look: impl Fn() -> R) -> R {
        for _ in 0..TRIES {
            // ORDERING: Acquire: the loads of `look` come after.
            let before = self.version.load(Ordering::Acquire);
            if before & 1 == 0 {
                let found = look();
                // ORDERING: Acquire: every load inside `look` is one too, so this one cannot move before them.
                if self.version.load(Ordering::Acquire) == before {
                    return found;
                }
            }
            thread::yield_now();
        }
        let _writers_wait = self.changing.lock();
        look()
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        // ORDERING: Release: the words of the change come before the even version.
        self.version.fetch_add(1, Ordering::Release);
    }
}

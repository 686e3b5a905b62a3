//! Reading several words as of one moment, without a lock.
//!
//! A change stores many words; a reader that walks from word to word must not meet half of it. Writers bump a version
//! around the moment at which their words appear; a reader that saw the same even version before and after its walk saw
//! one moment, whatever it met.

use super::atomic::{AtomicU64, Ordering};
use super::{Mutex, MutexGuard, thread};

/// Looks without a lock before a reader asks the writers to wait.
const TRIES: u32 = 64;

/// The version, and the mutex of those that change it. What `read` loads are atomic words.
#[derive(Debug, Default)]
pub struct Seqlock {
    version: AtomicU64,
    changing: Mutex<()>,
}

/// A change in progress: readers retry until it is dropped.
#[must_use = "readers see the change as soon as this is dropped"]
#[derive(Debug)]
pub struct Change<'a> {
    version: &'a AtomicU64,
    _changing: MutexGuard<'a, ()>,
}

impl Seqlock {
    /// Begins a change, around the moment at which its words appear: a short one, and the last lock that is taken.
    pub fn change(&self) -> Change<'_> {
        let changing = self.changing.lock();
        // ORDERING: Acquire so that no store of the change moves before the odd version; a reader that sees such a
        // store (it loads with Acquire) then sees the odd version too.
        self.version.fetch_add(1, Ordering::AcqRel);
        Change { version: &self.version, _changing: changing }
    }

    /// Makes writers wait, and readers none.
    pub fn pause(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// What `look` finds in one moment. It may run several times; what it found counts only if it saw one moment. Each of its
    /// loads is an Acquire.
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

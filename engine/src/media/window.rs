//! Reading several words as of one moment, without a lock.
//!
//! A record changes many words at once; a reader that walks from word to word must not meet half of it, nor follow a
//! node that was freed and holds other data by now. Writers bump a version around the moment their words appear; a
//! reader that saw the same even version before and after its walk saw one moment, whatever it met.

use crate::error::Result;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, thread};

/// Looks without a lock before a reader asks the writers to wait.
const TRIES: u32 = 64;

/// The version, and the mutex of those that change it.
#[derive(Debug)]
pub(crate) struct Window {
    version: AtomicU64,
    changing: Mutex<()>,
}

/// A change in progress: readers retry until it is dropped.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    version: &'a AtomicU64,
    _changing: MutexGuard<'a, ()>,
}

impl Window {
    /// A window without a change so far.
    pub(crate) fn new() -> Self {
        Self { version: AtomicU64::new(0), changing: Mutex::new(()) }
    }

    /// Begins a change. Taken last of all locks, inside the append, around the moment at which its words appear.
    pub(crate) fn change(&self) -> Change<'_> {
        let changing = self.changing.lock();
        // ORDERING: Acquire so that no store of the change moves before the odd version; a reader that sees such a
        // store (shadow and homes are read with Acquire) then sees the odd version too.
        self.version.fetch_add(1, Ordering::AcqRel);
        Change { version: &self.version, _changing: changing }
    }

    /// Makes writers wait, and readers none.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// What `look` finds in one moment. It may run several times, and its errors count only if it saw one moment.
    pub(crate) fn read<R>(&self, look: impl Fn() -> Result<R>) -> Result<R> {
        for _ in 0..TRIES {
            // ORDERING: Acquire: the loads of `look` come after.
            let before = self.version.load(Ordering::Acquire);
            if before & 1 == 0 {
                let found = look();
                // ORDERING: every load inside `look` is itself an Acquire, so this one cannot move before them.
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

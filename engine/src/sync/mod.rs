//! The interface to `std`, loom or shuttle: locks, atomics and threads of the code that models run are named here, so
//! that a model runs the real code. `--cfg pagestone_loom` is for every interleaving of a few steps of the frame
//! table, `--cfg pagestone_shuttle` for very many schedules of a whole store. (`std`'s atomics are used directly for
//! words of mapped memory, for state of fork handlers, and for counters and flags of `region`, which no model
//! schedules.)
//!
//! The cfgs have their own names, because `--cfg loom` would switch every dependency, too.

pub mod fork;
pub mod futex;
mod global;
mod grace;
mod lazy;
mod lock;
mod seqlock;
mod step;
pub mod time;

pub use global::Global;
pub use grace::Grace;
pub use lazy::{LazyArray, Zeroed};
pub use lock::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use seqlock::Seqlock;
pub use step::Step;

#[cfg(pagestone_loom)]
use loom as imp;
#[cfg(pagestone_shuttle)]
use shuttle as imp;
#[cfg(not(any(pagestone_loom, pagestone_shuttle)))]
use std as imp;

/// Atomic words and fences.
pub mod atomic {
    pub use super::imp::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}

/// The current thread, and yielding to others.
pub mod thread {
    pub use super::imp::thread::{ThreadId, current, yield_now};
    use std::time::Duration;

    /// Sleeps for about this time. In a model time stands still, and it only yields.
    pub fn sleep(time: Duration) {
        if cfg!(any(pagestone_loom, pagestone_shuttle)) {
            yield_now();
        } else {
            std::thread::sleep(time);
        }
    }
}

/// Hints to the processor.
pub mod hint {
    pub use super::imp::hint::spin_loop;

    /// A place where a thread may lose the processor for long at the worst moment. Under `--cfg pagestone_hesitate`,
    /// which the run of a sanitizer sets, it usually does; otherwise this does nothing.
    #[inline(always)]
    pub fn hesitate() {
        #[cfg(pagestone_hesitate)]
        for _ in 0..std::process::id() % 4 + 1 {
            std::thread::yield_now();
        }
    }
}

/// Whether this run breaks the rule `name` on purpose (`PAGESTONE_MUTANT=name`): a model that does not fail then
/// proves nothing. Always `false` outside models.
#[inline(always)]
#[must_use]
pub fn mutant(name: &str) -> bool {
    #[cfg(any(pagestone_loom, pagestone_shuttle))]
    {
        static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        CHOSEN.get_or_init(|| std::env::var("PAGESTONE_MUTANT").ok()).as_deref() == Some(name)
    }
    #[cfg(not(any(pagestone_loom, pagestone_shuttle)))]
    {
        let _ = name;
        false
    }
}

//! The one seam to `std`, loom or shuttle: what synchronizes threads is named here and nowhere else, so that a model
//! runs the code that ships. `--cfg pagestone_loom` is for every interleaving of a few steps of the frame table,
//! `--cfg pagestone_shuttle` for very many schedules of a whole store.
//!
//! The cfgs have names of their own because `--cfg loom` would switch every dependency too.

pub mod fork;
pub mod futex;
mod global;
mod lazy;
mod lock;
mod seqlock;
pub mod time;

pub use global::Global;
pub use lazy::{LazyArray, Zeroed};
pub use lock::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use seqlock::Seqlock;

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

/// Which thread runs, and giving way to others.
pub mod thread {
    pub use super::imp::thread::{ThreadId, current, yield_now};
    use std::time::Duration;

    /// Lets others run for about so long. In a model time stands still: it only gives way.
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
    /// which a sanitizer's run sets, it mostly does; otherwise this is nothing.
    #[inline(always)]
    pub fn hesitate() {
        #[cfg(pagestone_hesitate)]
        for _ in 0..std::process::id() % 4 + 1 {
            std::thread::yield_now();
        }
    }
}

/// Whether the run breaks the rule `name` on purpose (`PAGESTONE_MUTANT=name`): a model that does not then fail
/// proves nothing. Constant `false` outside models.
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

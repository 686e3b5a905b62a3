//! The one seam to `std` or loom: what synchronizes threads is named here and nowhere else, so that a model
//! built with `--cfg pagestone_loom` runs the code that ships.
//!
//! The cfg has a name of its own because `--cfg loom` would switch every dependency too.

pub mod futex;
mod lazy;
mod lock;

pub use lazy::{LazyArray, Zeroed};
pub use lock::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Atomic words and fences.
pub mod atomic {
    #[cfg(pagestone_loom)]
    pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    #[cfg(not(pagestone_loom))]
    pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}

/// Giving way to other threads.
pub mod thread {
    #[cfg(pagestone_loom)]
    pub use loom::thread::yield_now;
    #[cfg(not(pagestone_loom))]
    pub use std::thread::yield_now;
}

/// Hints to the processor.
pub mod hint {
    #[cfg(pagestone_loom)]
    pub use loom::hint::spin_loop;
    #[cfg(not(pagestone_loom))]
    pub use std::hint::spin_loop;
}

/// Whether the run breaks the rule `name` on purpose (`PAGESTONE_MUTANT=name`): a model that does not then fail
/// proves nothing. Constant `false` outside models.
#[inline(always)]
#[must_use]
pub fn mutant(name: &str) -> bool {
    #[cfg(pagestone_loom)]
    {
        static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        CHOSEN.get_or_init(|| std::env::var("PAGESTONE_MUTANT").ok()).as_deref() == Some(name)
    }
    #[cfg(not(pagestone_loom))]
    {
        let _ = name;
        false
    }
}

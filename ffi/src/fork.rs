//! Which process this is: a number that a child made by fork() does not share with its parent.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Forks between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The number of this process. No system call: every call of C compares it.
#[inline]
pub(crate) fn process() -> u32 {
    // ORDERING: Relaxed: it changes only in a child's one thread, before that runs anything else.
    FORKS.load(Ordering::Relaxed)
}

/// From now on, forks are counted. There is no lock, because a thread that the child does not have could hold
/// it for ever. Two threads may register the handler at the same time; then a child counts twice, which does
/// no harm.
pub(crate) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    // ORDERING: Acquire and Release: the handler is in place before another thread relies on it.
    if !WATCHED.load(Ordering::Acquire) {
        // SAFETY: `in_child` only adds to an atomic, which a child may do. Without memory for it nothing is counted, and
        // the engine alone tells a child that it has no part in its parent's stores.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        WATCHED.store(true, Ordering::Release);
    }
}

/// Runs in the child before fork() returns.
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

//! Process-wide state and forks.
//!
//! The child of a threaded process has one thread. A lock that another thread of the parent held stays locked in the
//! child, and an unfinished change is never finished. So a child uses no process-wide state of its parent: each
//! [`Global`](super::Global) is made again there when it is first used, and the handlers registered here do what
//! cannot wait for that. All process-wide state with a lock in it is a `Global`; other state consists of plain
//! atomics.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// The number of forks between this process and the first one that watched them.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The functions that a child calls before `fork` returns in it.
static HANDLERS: [AtomicPtr<()>; 4] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 4];

/// A function that a child calls at once. It must be async-signal-safe: it locks and allocates nothing.
pub type Handler = fn();

/// A number that differs between this process and any child that it forks, once [`watch`] or [`on_child`] was called.
#[inline]
#[must_use]
pub fn generation() -> u32 {
    // ORDERING: Relaxed: it changes only in a child that has one thread, before that runs anything else.
    GENERATION.load(Ordering::Relaxed)
}

/// From now on, children have another [`generation`].
pub fn watch() {
    static WATCHING: AtomicBool = AtomicBool::new(false);
    // ORDERING: Acquire, and Release below: a thread that sees `true` forks only after the registration. Two threads that
    // register both make a child count twice, which is another number all the same.
    if cfg!(any(miri, pagestone_loom, pagestone_shuttle)) || WATCHING.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: `in_child` does only what a child may do. If it cannot be registered (no memory), a child finds its
    // parent's state: a wiped table, whose pages it populates for itself alone, and locks that may be held.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    WATCHING.store(true, Ordering::Release);
}

/// Makes each child call `handler`, and watches forks. Registering a handler twice has no further effect.
///
/// # Panics
/// If there are more handlers than places. Their number is fixed when the engine is compiled.
pub fn on_child(handler: Handler) {
    let new = handler as *mut ();
    let is_there = |slot: &AtomicPtr<()>| {
        // ORDERING: Relaxed: a function is code, which was there before any thread.
        let taken = slot.compare_exchange(std::ptr::null_mut(), new, Ordering::Relaxed, Ordering::Relaxed);
        taken.map_or_else(|old| old == new, |_| true)
    };
    assert!(HANDLERS.iter().any(is_there), "there is room for every handler of the engine");
    watch();
}

/// The child side of `fork`: the forking thread is the only one.
extern "C" fn in_child() {
    // ORDERING: Relaxed, all: no other thread exists.
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for slot in &HANDLERS {
        let handler = slot.load(Ordering::Relaxed);
        if !handler.is_null() {
            // SAFETY: what is not null was made from a `Handler` by `on_child`.
            let handler = unsafe { std::mem::transmute::<*mut (), Handler>(handler) };
            handler();
        }
    }
}

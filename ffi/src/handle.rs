//! Opaque handles: which pointers are alive, and how a C function gets at what they stand for.

use crate::boundary::{Answer, Failure, enter_with, null};
use crate::code;
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Addresses of all handles that C holds in one process. Only opening and closing look here: a handle closed twice is
/// an answer and not a double free, and a forked child keeps its hands off its parent's.
struct Registry {
    process: u32,
    live: Mutex<BTreeSet<usize>>,
    /// That of the process which forked this one. A thread that the child lacks may have it locked for ever.
    parent: Option<&'static Self>,
}

/// The registry of this process, or still that of its parent. Never freed: a child is left one word to find.
static REGISTRY: AtomicPtr<Registry> = AtomicPtr::new(ptr::null_mut());

impl Registry {
    fn current() -> Option<&'static Self> {
        // ORDERING: Acquire: pairs with the publication in `of_this_process`.
        // SAFETY: null, or leaked by `of_this_process` after it was built.
        unsafe { REGISTRY.load(Ordering::Acquire).as_ref() }
    }

    /// The registry of this process, which a forked child makes for itself.
    fn of_this_process() -> &'static Self {
        loop {
            let found = Self::current();
            match found {
                Some(registry) if registry.process == process::id() => return registry,
                _ => (),
            }
            let new = Self { process: process::id(), live: Mutex::default(), parent: found };
            let new = Box::into_raw(Box::new(new));
            let old = found.map_or(ptr::null_mut(), |found| ptr::from_ref(found).cast_mut());
            // ORDERING: Release publishes the registry; of a failure only the fact is used.
            if REGISTRY.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed).is_err() {
                // SAFETY: it was not published: ours alone.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }

    fn live(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the handle may be one of a process that forked this one; that is asked without waiting.
    fn is_inherited(&self, address: usize) -> bool {
        let has = |one: &Self| one.live.try_lock().map_or(true, |live| live.contains(&address));
        std::iter::successors(self.parent, |one| one.parent).any(has)
    }
}

/// What a handle stands for.
pub(crate) trait Handle: Sized {
    /// The argument's name in C.
    const NAME: &'static str;
    /// Lets nothing more happen to the store.
    fn poison(&self, why: &str);
}

/// Hands the boxed value to C.
pub(crate) fn give<T: Handle>(value: Box<T>) -> *mut T {
    let pointer = Box::into_raw(value);
    Registry::of_this_process().live().insert(pointer.addr());
    pointer
}

/// Takes back what [`give`] handed out in this process, once.
pub(crate) fn take<T: Handle>(pointer: *mut T) -> Answer<Box<T>> {
    let registry = Registry::of_this_process();
    if !registry.live().remove(&pointer.addr()) {
        return Err(match registry.is_inherited(pointer.addr()) {
            true => pagestone::Error::Forked.into(),
            false => Failure::new(code::PGS_E_CLOSED, "the handle is closed already\0"),
        });
    }
    // SAFETY: `give` made it from a box, and whoever removes its address, which is one caller, owns it again.
    Ok(unsafe { Box::from_raw(pointer) })
}

/// Runs `body` on what `pointer` stands for. A panic poisons the store.
///
/// # Safety
/// `pointer` is NULL, or came from [`give`] and is not taken back before this returns.
pub(crate) unsafe fn on<T: Handle>(pointer: *const T, body: impl FnOnce(&T) -> Answer) -> c_int {
    // SAFETY: not NULL means alive, by this function's contract.
    let answer = match unsafe { pointer.as_ref() } {
        Some(handle) => enter_with(|| body(handle), |why| handle.poison(why)),
        None => Err(null(T::NAME)),
    };
    answer.map_or_else(Failure::tell, |()| code::PGS_OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::ptr;

    /// A handle that notes why it was poisoned.
    struct Fake(RefCell<String>);

    impl Handle for Fake {
        const NAME: &'static str = "fake";
        fn poison(&self, why: &str) {
            self.0.replace(why.to_owned());
        }
    }

    #[test]
    fn a_panic_becomes_a_status_and_poisons() {
        let pointer = give(Box::new(Fake(RefCell::default())));
        // SAFETY: `give` made it, and it is taken back below.
        let status = unsafe { on(pointer, |_| panic!("planted {}", 7)) };
        assert_eq!(status, code::PGS_E_PANIC);
        let fake = take(pointer).expect("a live handle");
        assert_eq!(*fake.0.borrow(), "planted 7");
    }

    #[test]
    fn null_is_an_answer() {
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { on(ptr::null::<Fake>(), |_| Ok(())) }, code::PGS_E_INVALID);
    }

    #[test]
    fn a_handle_is_taken_back_once() {
        let pointer = give(Box::new(Fake(RefCell::default())));
        assert!(take(pointer).is_ok());
        assert!(take(pointer).is_err());
        assert!(take(ptr::null_mut::<Fake>()).is_err());
    }

    #[test]
    fn a_forked_child_does_not_wait_for_the_registry_of_a_thread_that_it_lacks() {
        let parents = give(Box::new(Fake(RefCell::default())));
        let answers = || {
            let own = give(Box::new(Fake(RefCell::default())));
            // While the parent's registry is locked, a handle that is not the child's may be the parent's.
            take(own).is_ok()
                && take(own).is_err()
                && take(parents).is_err_and(|failure| failure.tell() == code::PGS_E_FORKED)
        };
        let locked = Registry::of_this_process().live();
        // SAFETY: the child calls nothing but what is tested, `alarm` and `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: a child that waits for the lock, which nobody will ever let go, is ended by the alarm.
            unsafe { libc::alarm(20) };
            let good = answers();
            // SAFETY: ends the child, whose other threads are the parent's.
            unsafe { libc::_exit(if good { 0 } else { 1 }) };
        }
        drop(locked);
        let mut status = -1;
        // SAFETY: a child of ours, and room for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert!(take(parents).is_ok());
    }
}

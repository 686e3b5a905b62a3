//! Opaque handles: which pointers are alive, and how a C function gets at what they stand for.

use crate::boundary::{Answer, Failure, enter_with, null};
use crate::code;
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::process;
use std::sync::{Mutex, PoisonError};

/// Addresses of all handles that C holds in the process with this number. Only opening and closing look here: a
/// handle closed twice is an answer and not a double free, and a forked child keeps its hands off its parent's.
static LIVE: Mutex<(u32, BTreeSet<usize>)> = Mutex::new((0, BTreeSet::new()));

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
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    if live.0 != process::id() {
        *live = (process::id(), BTreeSet::new());
    }
    live.1.insert(pointer.addr());
    pointer
}

/// Takes back what [`give`] handed out in this process, once.
pub(crate) fn take<T: Handle>(pointer: *mut T) -> Answer<Box<T>> {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    if live.0 != process::id() && !live.1.is_empty() {
        return Err(pagestone::Error::Forked.into());
    }
    if !live.1.remove(&pointer.addr()) {
        return Err(Failure::new(code::PGS_E_CLOSED, "the handle is closed already\0"));
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
}

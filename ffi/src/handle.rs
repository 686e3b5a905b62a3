//! Handles: how a C function gets the value behind a handle, and the error if there is none.

use crate::boundary::{Answer, Failure, enter_with, null};
use crate::code;
use crate::entries::{self, Absent, Turn, Vacated};
use crate::value::{Kind, Value};
use std::ffi::c_int;
use std::ptr::NonNull;

/// A value that a handle can stand for.
pub(crate) trait Handle: Sized {
    /// The name of the argument in C.
    const NAME: &'static str;
    /// The kind that its handles contain.
    const KIND: Kind;
    /// Poisons the store.
    fn poison(&self, why: &str);
}

/// A value whose handle was ended, and its place, with which the handle can be restored.
pub(crate) struct Taken<T> {
    pub(crate) value: Box<T>,
    pub(crate) place: Vacated,
}

/// Makes a handle for the boxed value.
///
/// # Errors
/// The process has the maximum number of handles, or no memory.
pub(crate) fn give<T: Handle>(value: Box<T>) -> Answer<*mut T> {
    let pointer = NonNull::from(Box::leak(value));
    entries::enter(T::KIND, pointer.cast()).map(Value::to_c).ok_or_else(|| {
        // SAFETY: it was a box, and no handle leads to it.
        drop(unsafe { Box::from_raw(pointer.as_ptr()) });
        Failure::new(-libc::ENFILE, "the process has the maximum number of handles, or no memory\0")
    })
}

/// Restores a handle that was ended.
pub(crate) fn put_back<T: Handle>(value: Box<T>, place: Vacated) {
    place.restore(NonNull::from(Box::leak(value)).cast());
}

/// Ends a handle that [`give`] made in this process, once.
pub(crate) fn take<T: Handle>(handle: *mut T) -> Answer<Taken<T>> {
    let value = Value::from_c(handle);
    let (pointer, place) = entries::vacate(T::KIND, value).ok_or_else(|| why_not::<T>(value))?;
    // SAFETY: `give` made it from a box of the type that the kind says; of the calls that end the handle this is the one
    // that vacated its entry, and owns the box again.
    Ok(Taken { value: unsafe { Box::from_raw(pointer.cast::<T>().as_ptr()) }, place })
}

/// As [`take`], but only if `ready` succeeds on the value; else the handle stays as it is. Several such calls
/// run `ready` one after the other. While the returned turn is kept, a call that finds the handle ended
/// waits, because the handle may be restored.
pub(crate) fn take_if<T: Handle>(
    handle: *mut T,
    ready: impl FnOnce(&T) -> Answer,
) -> Answer<(Taken<T>, Turn)> {
    let value = Value::from_c(handle);
    let turn = entries::turn(T::KIND, value).ok_or_else(|| why_not::<T>(value))?;
    // SAFETY: of the calls that end a handle of this kind, this one has the turn.
    ready(unsafe { get(handle) }?)?;
    Ok((take(handle)?, turn))
}

/// The object behind the handle.
///
/// # Errors
/// NULL, an ended handle, a handle of another kind or process, a value that is no handle.
///
/// # Safety
/// No other call ends the handle before the caller is done with the reference.
#[inline]
pub(crate) unsafe fn get<'a, T: Handle>(handle: *const T) -> Answer<&'a T> {
    let value = Value::from_c(handle);
    match entries::find(T::KIND, value).or_else(|| entries::find_settled(T::KIND, value)) {
        // SAFETY: `give` made it from a box of the type that the kind says, and the box lives until the handle is ended.
        Some(pointer) => Ok(unsafe { pointer.cast::<T>().as_ref() }),
        None => Err(why_not::<T>(value)),
    }
}

/// Runs `body` on the value behind `handle`. A panic poisons the store.
///
/// # Safety
/// As [`get`], until this returns.
pub(crate) unsafe fn on<T: Handle>(handle: *const T, body: impl FnOnce(&T) -> Answer) -> c_int {
    // SAFETY: this function's contract.
    let answer =
        unsafe { get(handle) }.and_then(|handle| enter_with(|| body(handle), |why| handle.poison(why)));
    answer.map_or_else(Failure::tell, |()| code::PGS_OK)
}

/// Why there is no `T` behind this handle.
#[cold]
#[inline(never)]
fn why_not<T: Handle>(value: Value) -> Failure {
    let name = T::NAME;
    if value == Value::from_c(std::ptr::null::<T>()) {
        return null(name);
    }
    match (value.kind(), entries::why_absent(value)) {
        (Some(kind), Absent::Parents | Absent::Ended) if kind != T::KIND => {
            Failure::invalid(format!("`{name}` is the handle of {kind}, not of {}", T::KIND))
        }
        (Some(_), Absent::Parents) => pagestone::Error::Forked.into(),
        (Some(_), Absent::Ended) => Failure::new(code::PGS_E_CLOSED, "the handle has ended\0"),
        _ => Failure::invalid(format!("`{name}` is not a handle: no pgs_* function returned {:#x}", value.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::ptr;
    use std::thread;
    use std::time::Duration;

    /// A handle that notes why it was poisoned.
    struct Fake(RefCell<String>);

    impl Handle for Fake {
        const NAME: &'static str = "fake";
        const KIND: Kind = Kind::Batch;
        fn poison(&self, why: &str) {
            self.0.replace(why.to_owned());
        }
    }

    /// A handle of another kind.
    struct Other;

    impl Handle for Other {
        const NAME: &'static str = "other";
        const KIND: Kind = Kind::Store;
        fn poison(&self, _why: &str) {}
    }

    fn fake() -> *mut Fake {
        give(Box::new(Fake(RefCell::default()))).expect("a handle")
    }

    /// The status of a call on the handle.
    fn answer<T: Handle>(handle: *const T) -> c_int {
        // SAFETY: a handle that no other thread ends, or no live one.
        unsafe { on(handle, |_| Ok(())) }
    }

    /// The status of a call that ends the handle.
    fn end<T: Handle>(handle: *mut T) -> c_int {
        take(handle).map_or_else(Failure::tell, |_| code::PGS_OK)
    }

    #[test]
    fn a_panic_becomes_a_status_and_poisons() {
        let handle = fake();
        // SAFETY: `give` made it, and it is taken back below.
        let status = unsafe { on(handle, |_| panic!("planted {}", 7)) };
        assert_eq!(status, code::PGS_E_PANIC);
        let fake = take(handle).expect("a live handle").value;
        assert_eq!(*fake.0.borrow(), "planted 7");
    }

    #[test]
    fn null_and_what_no_function_gave_are_answers() {
        let words = [0_u64; 4];
        for no_handle in [ptr::null(), words.as_ptr().cast::<Fake>(), ptr::without_provenance(usize::MAX)] {
            assert_eq!(answer(no_handle), code::PGS_E_INVALID);
            assert_eq!(end(no_handle.cast_mut()), code::PGS_E_INVALID);
        }
    }

    #[test]
    fn a_handle_ends_once_and_never_stands_for_another() {
        let first = fake();
        assert_eq!(answer(first), code::PGS_OK);
        assert_eq!(end(first), code::PGS_OK);
        // The entry is used again, and the value is not.
        let second = fake();
        assert_ne!(first, second);
        assert_eq!((answer(first), end(first)), (code::PGS_E_CLOSED, code::PGS_E_CLOSED));
        assert_eq!((answer(second), end(second)), (code::PGS_OK, code::PGS_OK));
    }

    #[test]
    fn a_handle_of_another_kind_is_named() {
        let handle = fake();
        let Err(failure) = take(handle.cast::<Other>()) else { panic!("a batch was taken for a store") };
        assert!(format!("{failure:?}").contains("`other` is the handle of a batch, not of a store"));
        assert_eq!(answer(handle.cast::<Other>()), code::PGS_E_INVALID);
        assert_eq!(end(handle), code::PGS_OK);
        assert_eq!(answer(handle.cast::<Other>()), code::PGS_E_INVALID);
    }

    #[test]
    fn a_handle_that_could_not_be_ended_is_the_same_one_again() {
        let handle = fake();
        let Taken { value, place } = take(handle).expect("a live handle");
        assert_eq!(answer(handle), code::PGS_E_CLOSED);
        put_back(value, place);
        assert_eq!((answer(handle), end(handle)), (code::PGS_OK, code::PGS_OK));
    }

    #[test]
    fn a_call_that_meets_an_end_which_fails_finds_the_handle_alive() {
        let handle = fake();
        let value = Value::from_c(handle);
        for (fails, answered) in [(true, code::PGS_OK), (false, code::PGS_E_CLOSED)] {
            let (Taken { value: taken, place }, turn) = take_if(handle, |_| Ok(())).expect("a live handle");
            thread::scope(|scope| {
                let beside = scope.spawn(move || answer(value.to_c::<Fake>()));
                thread::sleep(Duration::from_millis(50));
                if fails {
                    put_back(taken, place);
                } else {
                    drop((taken, place));
                }
                drop(turn);
                assert_eq!(beside.join().expect("no panic"), answered, "the end fails: {fails}");
            });
        }
    }

    #[test]
    fn a_forked_child_has_handles_of_its_own_and_none_of_its_parents() {
        let (parents, ended) = (fake(), fake());
        assert_eq!(end(ended), code::PGS_OK);
        let answers = || {
            let own = fake();
            answer(own) == code::PGS_OK
                && end(own) == code::PGS_OK
                && end(own) == code::PGS_E_CLOSED
                && answer(ended) == code::PGS_E_CLOSED
                && answer(parents) == code::PGS_E_FORKED
                && end(parents) == code::PGS_E_FORKED
        };
        let good = || if answers() { Ok(()) } else { Err("another answer".to_owned()) };
        assert_eq!(pagestone_kit::fork::in_child(60, good), Ok(()));
        assert_eq!(end(parents), code::PGS_OK);
    }
}

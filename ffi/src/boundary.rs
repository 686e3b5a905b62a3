//! The boundary between C and Rust: no panic and no unchecked pointer crosses it.

use crate::code;
use crate::message;
use std::any::Any;
use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::{mem, ptr, slice};

/// A failure that is about to be returned: its code and its words.
#[derive(Debug)]
pub(crate) struct Failure {
    code: c_int,
    words: Cow<'static, str>,
}

/// The result of the body of a C function.
pub(crate) type Answer<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure that the engine does not have. Words that end in NUL cost no allocation.
    pub(crate) fn new(code: c_int, words: impl Into<Cow<'static, str>>) -> Self {
        Self { code, words: words.into() }
    }
    /// A bad argument.
    pub(crate) fn invalid(words: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::PGS_E_INVALID, words)
    }
    /// Keeps the words for pgs_message() and returns the code.
    pub(crate) fn tell(self) -> c_int {
        message::keep(self.words);
        self.code
    }
}

impl From<pagestone::Error> for Failure {
    fn from(error: pagestone::Error) -> Self {
        Self::new(code::of(&error), error.to_string())
    }
}

/// Runs `body`. Its failure or panic becomes a status.
pub(crate) fn enter(body: impl FnOnce() -> Answer) -> c_int {
    enter_with(body, |_| ()).map_or_else(|failure| failure.tell(), |()| code::PGS_OK)
}

/// Runs `body` and returns its result. `on_panic` gets the words of a panic.
pub(crate) fn enter_with<T>(body: impl FnOnce() -> Answer<T>, on_panic: impl FnOnce(&str)) -> Answer<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let words = panic_words(payload);
        // `on_panic` may panic, too. Only the first panic is reported.
        let _ = catch_unwind(AssertUnwindSafe(|| on_panic(&words)));
        Err(Failure::new(code::PGS_E_PANIC, format!("a defect in pagestone: {words}; please report it")))
    })
}

fn panic_words(payload: Box<dyn Any + Send>) -> String {
    let words = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (_, Some(words)) => words.clone(),
        _ => "a panic without words".to_owned(),
    };
    // Dropping it would run foreign code, which could panic where nothing catches it.
    mem::forget(payload);
    words
}

/// An output argument, which is written once, on success only.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` is NULL, or valid for a write of `T` until the C function returns.
    pub(crate) unsafe fn new(pointer: *mut T, what: &str) -> Answer<Self> {
        NonNull::new(pointer).map(Self).ok_or_else(|| null(what))
    }
    pub(crate) fn set(self, value: T) {
        // SAFETY: valid for a write, by the contract of `new`.
        unsafe { self.0.write(value) }
    }
}

/// Writes an optional output.
///
/// # Safety
/// `pointer` is NULL, or valid for a write of `T`.
pub(crate) unsafe fn put<T>(pointer: *mut T, value: T) {
    if let Some(pointer) = NonNull::new(pointer) {
        // SAFETY: valid for a write, by this function's contract.
        unsafe { pointer.write(value) }
    }
}

/// The failure of an argument that is NULL.
pub(crate) fn null(what: &str) -> Failure {
    Failure::invalid(format!("`{what}` is NULL"))
}

/// The text at `pointer`, without its NUL.
///
/// # Safety
/// `pointer` is NULL, or a NUL-terminated string that outlives the C function.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Answer<&'a [u8]> {
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: not NULL, so a string, by this function's contract.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// The `len` bytes at `pointer`, which may be NULL when there are none.
///
/// # Safety `pointer` is valid for reads of `len` bytes until the C function returns, and no thread stores to
/// them meanwhile.
pub(crate) unsafe fn bytes<'a>(pointer: *const u8, len: usize) -> Answer<&'a [u8]> {
    match checked_len(pointer, len)? {
        0 => Ok(&[]),
        // SAFETY: not NULL, not longer than an object can be, valid by this function's contract.
        len => Ok(unsafe { slice::from_raw_parts(pointer, len) }),
    }
}

/// The `len` bytes at `pointer`, for writing.
///
/// # Safety `pointer` is valid for writes of `len` bytes until the C function returns, and nothing else uses
/// them meanwhile.
pub(crate) unsafe fn bytes_mut<'a>(pointer: *mut u8, len: usize) -> Answer<&'a mut [u8]> {
    match checked_len(pointer, len)? {
        0 => Ok(&mut []),
        // SAFETY: not NULL, not longer than an object can be, valid by this function's contract; C may not
        // have set the bytes yet, and they are only written.
        len => Ok(unsafe { slice::from_raw_parts_mut(pointer, len) }),
    }
}

fn checked_len(pointer: *const u8, len: usize) -> Answer<usize> {
    match len {
        0 => Ok(0),
        _ if pointer.is_null() => Err(null("buf")),
        _ if isize::try_from(len).is_err() => Err(Failure::invalid("`len` is larger than memory\0")),
        _ => Ok(len),
    }
}

/// A struct that newer releases extend. Its first field is its size, as the caller knows it.
///
/// # Safety
/// `#[repr(C)]`, made of integers only (any bytes are a value), without padding, `size: usize` first.
pub(crate) unsafe trait Growing: Copy {
    /// Its size in the first release that had it.
    const FIRST: usize;
    /// Its name in C.
    const NAME: &'static str;
}

/// The struct that the caller passed. Fields that the caller does not know are 0.
///
/// # Safety
/// `pointer` is NULL, or valid for reads of as many bytes as its first field says.
pub(crate) unsafe fn sized_in<T: Growing>(pointer: *const T) -> Answer<T> {
    // SAFETY: this function's contract is that function's.
    let size = unsafe { caller_size(pointer) }?;
    let known = mem::size_of::<T>();
    // SAFETY: `size` bytes are readable, by this function's contract.
    let given = unsafe { slice::from_raw_parts(pointer.cast::<u8>(), size) };
    if given.iter().skip(known).any(|byte| *byte != 0) {
        return Err(Failure::invalid(format!("{} has fields that this release does not know", T::NAME)));
    }
    // SAFETY: all zero is a value, by the contract of `Growing`.
    let mut value = unsafe { mem::zeroed::<T>() };
    let n = size.min(known);
    // SAFETY: `n` bytes are readable there and writable here; the two do not overlap; any bytes are a value.
    unsafe { ptr::copy_nonoverlapping(given.as_ptr(), ptr::from_mut(&mut value).cast::<u8>(), n) };
    Ok(value)
}

/// A struct that the library fills as far as the caller knows it. Fields that this release does not know are
/// set to 0.
pub(crate) struct SizedOut<T> {
    pointer: NonNull<T>,
    size: usize,
}

impl<T: Growing> SizedOut<T> {
    /// # Safety `pointer` is NULL, or valid for reads and writes of as many bytes as its first field says,
    /// until the C function returns.
    pub(crate) unsafe fn new(pointer: *mut T) -> Answer<Self> {
        // SAFETY: this function's contract is that function's.
        let size = unsafe { caller_size(pointer) }?;
        NonNull::new(pointer).map(|pointer| Self { pointer, size }).ok_or_else(|| null(T::NAME))
    }
    /// Fills the struct. Its first field keeps the value that the caller set.
    pub(crate) fn set(self, value: T) {
        let n = self.size.min(mem::size_of::<T>());
        let to = self.pointer.cast::<u8>();
        // SAFETY: `size` bytes are writable, by the contract of `new`.
        unsafe { to.write_bytes(0, self.size) };
        // SAFETY: `n` bytes are readable here and writable there, and the two do not overlap.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(&value).cast(), n) };
        // SAFETY: every sized struct begins with its size.
        unsafe { to.cast::<usize>().write(self.size) };
    }
}

/// The size in the first field, checked.
///
/// # Safety
/// As [`sized_in`].
unsafe fn caller_size<T: Growing>(pointer: *const T) -> Answer<usize> {
    if pointer.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: every sized struct begins with its size, and the caller made it readable.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < T::FIRST || size > SIZE_MAX {
        let (name, first) = (T::NAME, T::FIRST);
        return Err(Failure::invalid(format!(
            "{name}.size is {size}: set it to sizeof({name}), at least {first}"
        )));
    }
    Ok(size)
}

/// No struct is larger. This catches a size that was not set.
const SIZE_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::pgs_message;

    fn message() -> String {
        // SAFETY: never NULL, valid until the next failure of this thread.
        unsafe { CStr::from_ptr(pgs_message()) }.to_str().expect("UTF-8").to_owned()
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct V2 {
        size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: repr(C), integers of one size.
    unsafe impl Growing for V2 {
        const FIRST: usize = 16;
        const NAME: &'static str = "v2";
    }

    #[test]
    fn an_older_caller_gives_and_gets_only_what_it_knows() {
        let mut words = [16_u64, 7, 99];
        let pointer = words.as_mut_ptr().cast::<V2>();
        // SAFETY: 16 bytes are there.
        let value = unsafe { sized_in(pointer) }.expect("a known size");
        assert_eq!((value.first, value.second), (7, 0));
        // SAFETY: as above.
        unsafe { SizedOut::new(pointer) }.expect("a known size").set(V2 { size: 24, first: 1, second: 2 });
        assert_eq!(words, [16, 1, 99]);
    }

    #[test]
    fn a_newer_caller_gets_zeros_and_may_ask_for_nothing_new() {
        let mut words = [40_u64, 7, 8, 0, 9];
        let pointer = words.as_mut_ptr().cast::<V2>();
        // SAFETY: 40 bytes are there.
        assert!(unsafe { sized_in(pointer) }.is_err());
        // SAFETY: as above.
        unsafe { SizedOut::new(pointer) }.expect("a known size").set(V2 { size: 24, first: 1, second: 2 });
        assert_eq!(words, [40, 1, 2, 0, 0]);
        // SAFETY: as above.
        assert!(unsafe { sized_in(pointer) }.is_ok());
    }

    #[test]
    fn a_size_that_was_not_set_is_refused() {
        for size in [0, 8, 15, 5000, u64::MAX] {
            let words = [size, 0, 0];
            // SAFETY: the size is there; nothing else is read when it is refused.
            assert!(unsafe { sized_in(words.as_ptr().cast::<V2>()) }.is_err());
        }
    }

    #[test]
    fn messages_are_one_line_and_stay_until_the_next_failure() {
        assert_eq!(enter(|| Err(Failure::invalid("a\0b\nc".to_owned()))), code::PGS_E_INVALID);
        assert_eq!(message(), "a b c");
        assert_eq!(enter(|| Ok(())), code::PGS_OK);
        assert_eq!(message(), "a b c");
        assert_eq!(enter(|| Err(Failure::invalid("constant\0"))), code::PGS_E_INVALID);
        assert_eq!(message(), "constant");
    }

    #[test]
    fn a_panic_in_the_poisoning_is_caught_too() {
        let answer: Answer = enter_with(|| panic!("first"), |_| panic!("second"));
        assert!(answer.expect_err("a panic").words.contains("first"));
    }
}

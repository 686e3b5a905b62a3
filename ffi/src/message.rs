//! The reason of the last failure, in words, per thread.

use crate::code;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};

thread_local! {
    static MESSAGE: RefCell<Cow<'static, CStr>> = const { RefCell::new(Cow::Borrowed(c"")) };
}

/// Keeps `words` for [`pgs_message`]. A thread that is ending keeps nothing.
pub(crate) fn keep(words: Cow<'static, str>) {
    let line = match words {
        Cow::Borrowed(words) => fixed(words),
        Cow::Owned(words) => line(words),
    };
    let _ = MESSAGE.try_with(|message| message.replace(line));
}

/// Static text that ends in NUL is used without an allocation.
fn fixed(words: &'static str) -> Cow<'static, CStr> {
    match CStr::from_bytes_with_nul(words.as_bytes()) {
        Ok(words) => Cow::Borrowed(words),
        Err(_) => line(words.to_owned()),
    }
}

/// Names and paths may contain any byte. One that would end the text or its line early is replaced.
fn line(mut words: String) -> Cow<'static, CStr> {
    words = words.replace(['\0', '\n'], " ");
    CString::new(words).map_or(Cow::Borrowed(c"the message cannot be shown"), Cow::Owned)
}

/// The reason why the calling thread's last failed call failed: one line of UTF-8, never NULL, empty if no
/// call has failed.
///
/// It is valid until the next pgs_* call of this thread fails, or the thread ends. Calls that succeed keep
/// it.
#[unsafe(no_mangle)]
pub extern "C" fn pgs_message() -> *const c_char {
    MESSAGE.try_with(|message| message.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// The name of a status code, such as "PGS_E_BUSY"; "errno" for a negated errno; "unknown" for anything else.
/// The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn pgs_code_name(code: c_int) -> *const c_char {
    code::name(code).as_ptr()
}

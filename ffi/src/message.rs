//! What failed, in words, for the calling thread.

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

/// Text that ends in its own NUL is used as it is; C callers get it without an allocation.
fn fixed(words: &'static str) -> Cow<'static, CStr> {
    match CStr::from_bytes_with_nul(words.as_bytes()) {
        Ok(words) => Cow::Borrowed(words),
        Err(_) => line(words.to_owned()),
    }
}

/// Names and paths may hold any byte: one that would end the text or its line early is replaced.
fn line(mut words: String) -> Cow<'static, CStr> {
    words = words.replace(['\0', '\n'], " ");
    CString::new(words).map_or(Cow::Borrowed(c"the message cannot be shown"), Cow::Owned)
}

/// Why the calling thread's last failed call failed: one line of UTF-8, never NULL, empty when none has
/// failed.
///
/// Valid until the next pgs_* call of this thread fails, or the thread ends. Calls that succeed keep it.
#[unsafe(no_mangle)]
pub extern "C" fn pgs_message() -> *const c_char {
    MESSAGE.try_with(|message| message.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// The name of a status code: "PGS_E_BUSY"; "errno" for a negated errno, "unknown" for anything else. Static.
#[unsafe(no_mangle)]
pub extern "C" fn pgs_code_name(code: c_int) -> *const c_char {
    code::name(code).as_ptr()
}

//! The result of a pin, in two words.
//!
//! A pin that hits costs an atomic addition, which does not wait for the cache miss of the page. But a *store* before
//! the next addition would make that one wait. `Result<Option<PageRef>>` is too large for registers, so a call that
//! returns one stores it to memory, also on the path of a hit. This type is returned in registers.

use super::pages::Pages;
use super::pin::PageRef;
use crate::error::{Error, Result};
use crate::frame::Descriptor;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

/// The contents of a `Result<Option<PageRef>>`.
///
/// # Invariants
/// With a descriptor, `rest` is the pin's `Pages`. Without, it is null for `None`, or a boxed error.
#[must_use = "it holds a pin or an error"]
pub(crate) struct PinResult {
    descriptor: Option<&'static Descriptor>,
    rest: *mut (),
}

impl From<Result<Option<PageRef>>> for PinResult {
    fn from(result: Result<Option<PageRef>>) -> Self {
        match result {
            Ok(Some(page)) => {
                let page = ManuallyDrop::new(page);
                Self { descriptor: Some(page.descriptor), rest: page.pages.as_ptr().cast() }
            }
            Ok(None) => Self { descriptor: None, rest: ptr::null_mut() },
            Err(error) => Self { descriptor: None, rest: Box::into_raw(Box::new(error)).cast() },
        }
    }
}

impl PinResult {
    /// Converts it back.
    #[inline(always)]
    pub(crate) fn into_result(self) -> Result<Option<PageRef>> {
        match (self.descriptor, NonNull::new(self.rest)) {
            (Some(descriptor), Some(pages)) => {
                // SAFETY: with a descriptor, `rest` is the `Pages` of the pin, which keeps them alive.
                Ok(Some(PageRef::new(unsafe { pages.cast::<Pages>().as_ref() }, descriptor)))
            }
            (_, None) => Ok(None),
            // SAFETY: without a descriptor, what is not null came from `Box::into_raw`, and `self` is gone.
            (None, Some(error)) => Err(*unsafe { Box::from_raw(error.cast::<Error>().as_ptr()) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_an_error_come_back_as_they_went() {
        assert!(matches!(PinResult::from(Ok(None)).into_result(), Ok(None)));
        assert!(matches!(PinResult::from(Err(Error::Closed)).into_result(), Err(Error::Closed)));
    }
}

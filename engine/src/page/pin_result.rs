//! A pin's result in two words.
//!
//! A pin that is found at once costs an atomic addition that does not wait for the page's own cache miss; a *store* in
//! front of the next addition would make it wait. `Result<Option<PageRef>>` is too large for registers, and a call that
//! returns one makes room for it in memory on the way of the found pin too. This returns in registers.

use super::pages::Pages;
use super::pin::PageRef;
use crate::error::{Error, Result};
use crate::frame::Descriptor;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

/// What `Result<Option<PageRef>>` says.
///
/// # Invariants
/// With a descriptor, `rest` is a pin's `Pages`; without, it is null for `None`, or an error's box.
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
    /// What it says.
    #[inline(always)]
    pub(crate) fn into_result(self) -> Result<Option<PageRef>> {
        match (self.descriptor, NonNull::new(self.rest)) {
            (Some(descriptor), Some(pages)) => {
                // SAFETY: with a descriptor, `rest` is the `Pages` of the pin that it stands for, which keeps them alive.
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

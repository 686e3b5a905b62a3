//! Pins identified by their address, for languages without destructors.

use super::pages::Pages;
use super::pin::PageRef;
use super::run::PinnedRange;
use crate::error::{Error, Result};
use crate::frame::FrameTable;
use crate::region::last_put;
use crate::units::FRAME_SIZE;

impl PageRef {
    /// Converts the value into its address and keeps the pin. [`Pages::adopt`] converts it back.
    #[must_use]
    pub fn into_raw(self) -> *const u8 {
        let address = self.address();
        std::mem::forget(self);
        address
    }
}

impl Pages {
    /// Drops a pin that [`PageRef::into_raw`] left on the frame at `address`.
    ///
    /// # Errors
    /// `ForeignAddress`; `Invalid` if the frame has no pin, because it was already released, possibly just now by
    /// another thread.
    ///
    /// # Safety
    /// There is such a pin, or none at all, and its holder no longer uses the page.
    pub unsafe fn release(&self, address: *const u8) -> Result {
        let frame = self.frame_at(address).ok_or(Error::ForeignAddress { address: address.addr() as u64 })?;
        let pfn = self.pfn(frame);
        match FrameTable::global().unpin_checked(pfn) {
            Some(outcome) => last_put(pfn, outcome),
            None => {
                return Err(Error::Invalid(format!(
                    "the page at {address:p} is not pinned: released twice?"
                )));
            }
        }
        Ok(())
    }

    /// Converts the pin that [`PageRef::into_raw`] left on the frame at `address` back into a value. It adds no pin.
    ///
    /// # Errors
    /// `ForeignAddress`; `Invalid` if the frame has no pin, because it was already released.
    ///
    /// # Safety
    /// There is such a pin, and it is converted back only once.
    pub unsafe fn adopt(&self, address: *const u8) -> Result<PageRef> {
        let frame = self.frame_at(address).ok_or(Error::ForeignAddress { address: address.addr() as u64 })?;
        if self.pins(frame) == 0 {
            return Err(Error::Invalid(format!("the page at {address:p} is not pinned: released twice?")));
        }
        let descriptor =
            self.descriptor(frame).ok_or(Error::ForeignAddress { address: address.addr() as u64 })?;
        Ok(PageRef::new(self, descriptor))
    }

    /// Converts the pins that [`PinnedRange::into_raw`] left on the frames of these bytes back into a value.
    ///
    /// # Errors
    /// As [`Self::adopt`].
    ///
    /// # Safety
    /// There are such pins, and they are converted back only once.
    pub unsafe fn adopt_range(&self, bytes: *const [u8]) -> Result<PinnedRange> {
        let (address, len) = (bytes.cast::<u8>(), bytes.len());
        let in_page = address.addr() % FRAME_SIZE;
        let end = in_page.saturating_add(len.max(1));
        // SAFETY: the caller's promise.
        let mut range = PinnedRange::new(unsafe { self.adopt(address) }?, in_page, len);
        for at in (FRAME_SIZE..end).step_by(FRAME_SIZE) {
            // SAFETY: the caller's promise, for the next frame of the range.
            let page = unsafe { self.adopt(address.wrapping_add(at - in_page)) };
            match page {
                Ok(page) => {
                    range.extend(page).map_err(|_| Error::internal("frames that follow each other do not"))?
                }
                Err(error) => return Err(error),
            }
        }
        Ok(range)
    }
}

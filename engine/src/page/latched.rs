//! Pages under an exclusive latch whose holder does not store to them itself: those of a batch, whose bytes the log's
//! leader stores.

use super::pin::PageRef;
use crate::error::{Error, Result};
use crate::space::PageId;
use crate::units::{FRAME_SIZE, FrameNo, Lines};

/// A pin and its exclusive latch.
#[must_use = "a latch that is dropped at once excludes no thread"]
pub(crate) struct Latched {
    page: PageRef,
}

impl Latched {
    /// Waits for the exclusive latch.
    ///
    /// # Errors
    /// `PoisonedFrame`, `ReadOnly`, `Detached`; `WaitsForItself` and `Busy`, as for a write guard.
    pub(crate) fn take(page: PageRef) -> Result<Self> {
        page.readable()?;
        page.writable()?;
        page.latch_exclusive()?;
        Self { page }.attached()
    }

    /// As [`Self::take`], but it returns the page instead of waiting for a kept range.
    ///
    /// # Errors
    /// As [`Self::take`], but for `Busy`.
    pub(crate) fn take_unless_kept(page: PageRef) -> Result<std::result::Result<Self, PageRef>> {
        page.readable()?;
        page.writable()?;
        if !page.latch_exclusive_unless_kept()? {
            return Ok(Err(page));
        }
        Self { page }.attached().map(Ok)
    }

    fn attached(self) -> Result<Self> {
        if self.page.is_detached() { Err(Error::Detached { pfn: self.page.pfn() }) } else { Ok(self) }
    }

    /// The frame.
    pub(crate) fn frame(&self) -> FrameNo {
        self.page.frame()
    }

    /// Copies the page.
    pub(crate) fn copy(&self, into: &mut [u8; FRAME_SIZE]) {
        // SAFETY: the frame is pinned and mapped, and `into` is elsewhere. The exclusive latch keeps writers out: the
        // leader stores only to pages of appended records, whose batch no longer copies.
        unsafe { std::ptr::copy_nonoverlapping(self.page.bytes().as_ptr(), into.as_mut_ptr(), FRAME_SIZE) }
    }

    /// Notes which page the frame holds from now on.
    pub(crate) fn set_owner(&self, owner: PageId) {
        // No other owner can be noted, because the frame was given to the batch.
        let _ = self.page.set_owner(owner);
    }

    /// The dirty lines that no sync has taken yet.
    pub(crate) fn dirty_lines(&self) -> Lines {
        self.page.pinned().dirty_lines()
    }
}

impl Drop for Latched {
    fn drop(&mut self) {
        self.page.pinned().release_exclusive();
    }
}

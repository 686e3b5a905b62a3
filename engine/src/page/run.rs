//! Pins on frames that follow each other in memory.

use super::pin::PageRef;
use crate::units::{FRAME_SIZE, FrameNo};

/// Pins on all frames of a byte range, contiguous in memory. At least 256 bytes behind the range are readable too.
#[must_use = "a pin that is dropped at once protects nothing"]
pub struct PinnedRange {
    first: PageRef,
    /// Frames after the first. Each has one counted pin that no `PageRef` stands for.
    more: u32,
    /// Where the range begins in the first frame.
    at: usize,
    len: usize,
}

impl PinnedRange {
    /// The range of `len` bytes from byte `at` of `first`; further frames come by [`Self::extend`].
    pub(crate) fn new(first: PageRef, at: usize, len: usize) -> Self {
        Self { first, more: 0, at, len }
    }

    /// Adds the frame right behind the last; any other is handed back.
    pub(crate) fn extend(&mut self, page: PageRef) -> Result<(), PageRef> {
        if u64::from(self.first.frame().0) + u64::from(self.more) + 1 != u64::from(page.frame().0) {
            return Err(page);
        }
        std::mem::forget(page);
        self.more += 1;
        Ok(())
    }

    /// Where the range begins.
    #[must_use]
    pub fn address(&self) -> *const u8 {
        self.first.address().wrapping_add(self.at)
    }

    /// Bytes of the range.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the range is empty: it then still pins one frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many frames it pins.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.more as usize + 1
    }

    /// The first frame.
    pub fn first(&self) -> &PageRef {
        &self.first
    }

    /// Gives up the value and keeps the pins: address and length name them now.
    /// [`Pages::adopt_range`](super::Pages::adopt_range) takes them back.
    #[must_use]
    pub fn into_raw(self) -> (*const u8, usize) {
        let name = (self.address(), self.len);
        std::mem::forget(self);
        name
    }

    /// The bytes that this range has in its `n`th frame.
    #[must_use]
    pub fn bytes_in(&self, n: usize) -> std::ops::Range<usize> {
        let start = if n == 0 { self.at } else { 0 };
        let end = (self.at + self.len).saturating_sub(n * FRAME_SIZE).min(FRAME_SIZE);
        start..end.max(start)
    }
}

impl Drop for PinnedRange {
    fn drop(&mut self) {
        let pages = self.first.pages();
        for n in 1..=self.more {
            if let Some(descriptor) = pages.descriptor(FrameNo(self.first.frame().0 + n)) {
                drop(PageRef::new(pages, descriptor));
            }
        }
    }
}

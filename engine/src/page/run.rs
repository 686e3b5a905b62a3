//! Pins on adjacent frames.

use super::pin::PageRef;
use crate::error::{Error, Result};
use crate::frame::Pinned;
use crate::units::{FRAME_SIZE, FrameNo};
use std::fmt;
use std::ops::Deref;

/// Pins on all frames of a byte range, which is contiguous in memory. At least 256 bytes after the range are
/// readable, too.
#[must_use = "a pin that is dropped at once protects nothing"]
pub struct PinnedRange {
    first: PageRef,
    /// Number of frames after the first. Each has one counted pin without a `PageRef`.
    more: u32,
    /// Where the range begins in the first frame.
    at: usize,
    len: usize,
}

impl PinnedRange {
    /// The range of `len` bytes from byte `at` of `first`; [`Self::extend`] adds further frames.
    pub(crate) fn new(first: PageRef, at: usize, len: usize) -> Self {
        Self { first, more: 0, at, len }
    }

    /// Adds the frame directly after the last one; any other is returned.
    pub(crate) fn extend(&mut self, page: PageRef) -> Result<(), PageRef> {
        if u64::from(self.first.frame().0) + u64::from(self.more) + 1 != u64::from(page.frame().0) {
            return Err(page);
        }
        std::mem::forget(page);
        self.more += 1;
        Ok(())
    }

    /// The address of the range.
    #[must_use]
    pub fn address(&self) -> *const u8 {
        self.first.address().wrapping_add(self.at)
    }

    /// Bytes of the range.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the range is empty. It then still pins one frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of frames that it pins.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.more as usize + 1
    }

    /// The first frame.
    pub fn first(&self) -> &PageRef {
        &self.first
    }

    /// Converts the value into its bytes and keeps the pins.
    #[must_use]
    pub fn into_raw(self) -> *const [u8] {
        let bytes = std::ptr::slice_from_raw_parts(self.address(), self.len);
        std::mem::forget(self);
        bytes
    }

    /// Takes shared latches on all its pages, which can be kept. `None`, and the pins are dropped, if a page has a
    /// writer, or one that waits, or the maximum number of readers: read the range instead.
    ///
    /// # Errors
    /// `PoisonedFrame`.
    pub fn try_read(self) -> Result<Option<ReadRange>> {
        self.first.pages().region().ensure_own()?;
        let mut read = ReadRange { range: self, latched: 0, place: None };
        for n in 0..read.range.frames() {
            // Each frame of the range has a pin and therefore a descriptor.
            let Some(frame) = read.range.pinned(n) else { return Ok(None) };
            if frame.is_poisoned() {
                return Err(Error::PoisonedFrame { pfn: frame.pfn() });
            }
            if !frame.try_latch_shared_to_keep() {
                return Ok(None);
            }
            read.latched += 1;
        }
        let first = &read.range.first;
        read.place = Some(first.pages().kept.add(first.frame(), read.latched as u64));
        Ok(Some(read))
    }

    /// Its `n`th frame.
    fn pinned(&self, n: usize) -> Option<Pinned<'static>> {
        self.first.pages().pinned(FrameNo(self.first.frame().0 + n as u32))
    }

    /// The bytes of its `n`th frame that belong to this range.
    #[must_use]
    pub fn bytes_in(&self, n: usize) -> std::ops::Range<usize> {
        let start = if n == 0 { self.at } else { 0 };
        let end = (self.at + self.len).saturating_sub(n * FRAME_SIZE).min(FRAME_SIZE);
        start..end.max(start)
    }
}

impl fmt::Debug for PinnedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, frames, len) = (self.first.pfn(), self.frames(), self.len);
        let mut shown = f.debug_struct("PinnedRange");
        shown.field("first", &first).field("frames", &frames).field("len", &len).finish_non_exhaustive()
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

/// A pinned range under shared latches; it dereferences to the bytes.
///
/// It is meant for content that is written once. It may be kept for long, sent to other threads and dropped there,
/// also after its object was cut or unlinked and after its store was dropped. Meanwhile a write to one of its pages,
/// or the commit of a batch, waits for it, and after two seconds returns [`Busy`](crate::Error::Busy), because the
/// range may belong to the writer itself.
///
/// ```
/// # use pagestone::Store;
/// # fn main() -> pagestone::Result {
/// let store = Store::options().open_memory(1 << 20)?;
/// let book = store.create("book")?;
/// book.append(&[7; 10_000])?;
/// let part = book.pin_range(1_000, 8_000)?.pinned().map(|range| range.try_read()).transpose()?.flatten();
/// store.unlink("book")?;
/// drop(book);
/// assert_eq!(part.as_deref(), Some(&[7; 8_000][..]));
/// # Ok(())
/// # }
/// ```
#[must_use = "a latch that is dropped at once excludes no thread"]
pub struct ReadRange {
    range: PinnedRange,
    /// Number of latched frames, from the first on: all of them, except while the range is made.
    latched: usize,
    /// Its place in the list of kept ranges, once it is complete.
    place: Option<usize>,
}

impl Deref for ReadRange {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the frames are adjacent, mapped and pinned; their shared latches keep writers out while `self`
        // lives.
        unsafe { std::slice::from_raw_parts(self.range.address(), self.range.len) }
    }
}

impl Drop for ReadRange {
    fn drop(&mut self) {
        let pages = self.range.first.pages();
        // In a forked child a thread that does not exist there may hold the list, and nothing of the parent's may be
        // changed.
        if let Some(place) = self.place.filter(|_| !pages.region().forked()) {
            pages.kept.remove(place);
        }
        (0..self.latched).filter_map(|n| self.range.pinned(n)).for_each(Pinned::release_shared);
    }
}

impl fmt::Debug for ReadRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadRange").field("len", &self.range.len).finish_non_exhaustive()
    }
}

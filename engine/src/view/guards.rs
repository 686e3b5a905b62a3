//! Guards of a view: slices over its addresses, and pins for system calls that are given them.

use super::pieces::Pieces;
use crate::page::{OwnedReadGuard, OwnedWriteGuard, PageRef};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};

/// Shared latches on all pages of a range of a view. It dereferences to the range's bytes, which no thread changes while it
/// lives. A hole reads as zeros, and stays zeros here even if the object gets a page there.
///
/// Like every guard it stays with its thread. It ends with its view:
/// ```compile_fail,E0505
/// # use pagestone::store::View;
/// # fn first(view: View) -> u8 {
/// let guard = view.read(0..1).unwrap();
/// drop(view);
/// guard[0]
/// # }
/// ```
#[must_use = "a guard that is dropped at once excludes no thread"]
pub struct ViewRead<'v> {
    bytes: *const [u8],
    pieces: &'v Pieces,
    /// Dropped before the holes are let go.
    latches: Vec<OwnedReadGuard>,
    holes: Vec<Range<u64>>,
}

/// Exclusive latches on all pages of a range of a view. It dereferences to the range's bytes.
///
/// # Durability
/// On release the range's cache lines become dirty, as by a [`WriteGuard`](crate::WriteGuard).
#[must_use = "a guard that is dropped at once writes nothing"]
pub struct ViewWrite<'v> {
    bytes: *mut [u8],
    _view: PhantomData<&'v Pieces>,
    _latches: Vec<OwnedWriteGuard>,
}

/// Pins on all pages of a range of a view, none of which is a hole: its addresses keep showing the same frames while it lives,
/// so that a system call may be given them. It excludes no other thread. A page that is cut off meanwhile stays shown while it
/// is pinned.
#[must_use = "a pin that is dropped at once protects nothing"]
pub struct ViewPin<'v> {
    bytes: *const [u8],
    _view: PhantomData<&'v Pieces>,
    pins: Vec<PageRef>,
}

// SAFETY: pins may be held and dropped by any thread; the addresses are used by raw accesses only.
unsafe impl Send for ViewPin<'_> {}
// SAFETY: as above.
unsafe impl Sync for ViewPin<'_> {}

impl<'v> ViewRead<'v> {
    /// Of these bytes of the window. Each of their pages is latched and fits, or is one of the holes that
    /// [`Pieces::fit`] has guarded.
    pub(crate) fn new(
        pieces: &'v Pieces,
        bytes: &Range<usize>,
        latches: Vec<OwnedReadGuard>,
        holes: Vec<Range<u64>>,
    ) -> Self {
        Self { bytes: slice(pieces, bytes), pieces, latches, holes }
    }
}

impl<'v> ViewWrite<'v> {
    /// Of these bytes of the window, which is writable. Each of their pages is latched and fits.
    pub(crate) fn new(pieces: &'v Pieces, bytes: &Range<usize>, latches: Vec<OwnedWriteGuard>) -> Self {
        Self { bytes: slice(pieces, bytes), _view: PhantomData, _latches: latches }
    }
}

impl<'v> ViewPin<'v> {
    /// Of these bytes of the window. Each of their pages is pinned and fits.
    pub(crate) fn new(pieces: &'v Pieces, bytes: &Range<usize>, pins: Vec<PageRef>) -> Self {
        Self { bytes: slice(pieces, bytes), _view: PhantomData, pins }
    }

    /// The address of the range.
    #[must_use]
    pub fn address(&self) -> *const u8 {
        self.bytes.cast()
    }

    /// Bytes of the range.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the range is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pins, in the order of the pages.
    pub fn pages(&self) -> &[PageRef] {
        &self.pins
    }

    /// As [`Self::pages`], by value. The addresses show their frames for as long as the pins and the view live.
    #[must_use = "a pin that is dropped at once protects nothing"]
    pub fn into_pages(self) -> Vec<PageRef> {
        self.pins
    }
}

fn slice(pieces: &Pieces, bytes: &Range<usize>) -> *mut [u8] {
    let start = pieces.address().wrapping_add(bytes.start);
    std::ptr::slice_from_raw_parts_mut(start, bytes.end - bytes.start)
}

impl Drop for ViewRead<'_> {
    fn drop(&mut self) {
        self.latches.clear();
        if !self.holes.is_empty() && !self.pieces.forked() {
            self.pieces.release_holes(&self.holes);
        }
    }
}

impl Deref for ViewRead<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes lie in the window, which lives as long as the view that is borrowed. Each page shows a frame that
        // is pinned and under a shared latch, or a guarded hole, which shows zeros: no thread changes them while `self`
        // lives. In a forked child nothing is mapped there, as for every guard.
        unsafe { &*self.bytes }
    }
}

impl Deref for ViewWrite<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes lie in the window, which lives as long as the view that is borrowed. Each page shows a frame that
        // is pinned and under this guard's exclusive latch.
        unsafe { &*self.bytes }
    }
}

impl DerefMut for ViewWrite<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `self` is borrowed exclusively, and the window is writable.
        unsafe { &mut *self.bytes }
    }
}

impl fmt::Debug for ViewRead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewRead").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ViewWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewWrite").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ViewPin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewPin").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

//! The pin.

use super::pages::Pages;
use crate::error::Result;
use crate::frame::{Descriptor, FrameTable, Pinned, Snapshot};
use crate::region::last_put;
use crate::space::PageId;
use crate::units::{FrameNo, PageIndex, Pfn};
use std::fmt;
use std::ptr::NonNull;

/// A pin on a page: its frame keeps its page and its address until this is dropped.
///
/// The frame's descriptor counts the pins, however they were made (by object and index, by pfn, by address). A pin
/// excludes no other thread. Threads access the bytes by [`read`](Self::read) and [`write`](Self::write).
///
/// If the page is cut off from its object (by a truncate, punch or unlink) while it is pinned, the pin still shows
/// the frame's bytes, [`write`](Self::write) fails with [`Detached`](crate::Error::Detached), and the frame is used
/// again only after the last pin is dropped.
#[must_use = "a pin that is dropped at once protects nothing"]
pub struct PageRef {
    /// Computed before the pin is counted, so that the first access does not wait for the count.
    address: NonNull<u8>,
    /// The descriptor of the frame, from which its number follows.
    pub(super) descriptor: &'static Descriptor,
    /// Alive as long as the pin, see [`Pages`].
    pub(super) pages: NonNull<Pages>,
}

// SAFETY: a pin is a count on an atomic word and two pointers that stay valid while it is held, on any thread.
unsafe impl Send for PageRef {}
// SAFETY: as above; access to the bytes goes through latches.
unsafe impl Sync for PageRef {}

/// The state of a frame's descriptor at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PageInfo {
    /// The frame.
    pub pfn: Pfn,
    /// Number of pins, of all holders.
    pub pins: u32,
    /// Number of shared latches.
    pub shared: u32,
    /// Whether the exclusive latch is held.
    pub exclusive: bool,
    /// Whether there are stored bytes that no sync has taken yet.
    pub dirty: bool,
    /// Whether the page was cut off from its object.
    pub detached: bool,
    /// Whether the medium failed here.
    pub poisoned: bool,
    /// Changes with every release of the exclusive latch; 0 while the frame is unused.
    pub version: u64,
    /// The page that the frame holds, if it is known.
    pub owner: Option<PageOwner>,
}

/// The page that a frame holds, as its descriptor remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PageOwner {
    /// The low bits of the object's number, at least 27; a hint.
    pub object: u32,
    /// The page.
    pub index: PageIndex,
}

impl PageRef {
    /// Wraps a pin that was just counted on `frame`.
    #[inline(always)]
    pub(super) fn new(pages: &Pages, descriptor: &'static Descriptor) -> Self {
        Self::at(pages.address_of(descriptor), pages, descriptor)
    }

    /// As [`Self::new`], for a caller that has computed the address already.
    #[inline(always)]
    pub(super) fn at(address: NonNull<u8>, pages: &Pages, descriptor: &'static Descriptor) -> Self {
        Self { descriptor, address, pages: NonNull::from(pages) }
    }

    /// The frame's number.
    #[must_use]
    #[inline(always)]
    pub fn pfn(&self) -> Pfn {
        self.pages().pfn(self.frame())
    }

    /// The address of the frame's bytes, for comparisons, I/O by address, and C. Rust code reads and writes through
    /// guards.
    #[must_use]
    #[inline(always)]
    pub fn address(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    /// Makes another pin on the same frame.
    ///
    /// # Errors
    /// `TooManyPins`.
    pub fn try_clone(&self) -> Result<Self> {
        self.pinned().pin_again().into_result(self.pfn())?;
        Ok(Self { descriptor: self.descriptor, address: self.address, pages: self.pages })
    }

    /// Whether the page was cut off from its object.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        FrameTable::global().peek(self.pfn()).is_none_or(|now| now.orphan())
    }

    /// The current state of the descriptor.
    #[must_use]
    pub fn info(&self) -> PageInfo {
        PageInfo::of(self.pfn())
    }

    /// The pages that this one belongs to.
    #[inline(always)]
    pub(crate) fn pages(&self) -> &Pages {
        // SAFETY: `Pages` outlives the pins that it made (see there), and this is one.
        unsafe { self.pages.as_ref() }
    }

    /// The frame in its region.
    #[inline(always)]
    pub(crate) fn frame(&self) -> FrameNo {
        self.pages().frame_of(self.descriptor)
    }

    /// The frame, with this pin.
    #[inline(always)]
    pub(super) fn pinned(&self) -> Pinned<'static> {
        Pinned::of_process(self.pfn(), self.descriptor)
    }

    #[inline(always)]
    pub(super) fn bytes(&self) -> NonNull<u8> {
        self.address
    }

    /// The page that the frame holds, if it is known.
    pub(super) fn owner(&self) -> Option<PageId> {
        owner(self.pfn(), FrameTable::global().peek(self.pfn()))
    }

    /// Notes which page the frame holds, if none is noted yet. False: another page is noted. The caller has validated
    /// the page after the pin.
    #[inline]
    #[must_use]
    pub(crate) fn set_owner(&self, owner: PageId) -> bool {
        let unknown = self.pinned().set_owner_if_unset(owner.word());
        unknown || FrameTable::global().owner(self.pfn()) == owner.word()
    }
}

impl PageInfo {
    /// Only loads, so an unused frame stays unused.
    pub(super) fn of(pfn: Pfn) -> Self {
        let now = FrameTable::global().peek(pfn);
        let says = |what: fn(Snapshot) -> bool| now.is_some_and(what);
        Self {
            pfn,
            pins: now.map_or(0, Snapshot::pins),
            shared: now.filter(|now| !now.claimed()).map_or(0, Snapshot::shared),
            exclusive: says(|now| now.exclusive() && !now.claimed()),
            dirty: says(Snapshot::dirty),
            detached: says(Snapshot::orphan),
            poisoned: says(Snapshot::poisoned),
            version: now.map_or(0, Snapshot::version_number),
            owner: owner(pfn, now).map(|o| PageOwner { object: o.object(), index: o.index() }),
        }
    }
}

/// The page that a frame holds, if it is known; a frame that was cut off holds none.
fn owner(pfn: Pfn, now: Option<Snapshot>) -> Option<PageId> {
    now.filter(|now| !now.orphan()).and_then(|_| PageId::of_word(FrameTable::global().owner(pfn)))
}

/// The rest of a drop that needs more than the subtraction.
#[cold]
#[inline(never)]
fn put(descriptor: &'static Descriptor, before: Snapshot) {
    if let Some((pfn, outcome)) = FrameTable::settle(descriptor, before) {
        last_put(pfn, outcome);
    }
}

impl Drop for PageRef {
    #[inline(always)]
    fn drop(&mut self) {
        // The pin ends with the subtraction, and `pages` may be freed from then on, so it is not accessed again.
        if let Err(before) = self.descriptor.unpin() {
            put(self.descriptor, before);
        }
    }
}

impl fmt::Debug for PageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info().fmt(f)
    }
}

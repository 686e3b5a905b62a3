//! The pin.

use super::pages::Pages;
use crate::error::Result;
use crate::frame::{Descriptor, FrameTable, Pinned, Snapshot};
use crate::region::last_put;
use crate::space::Owner;
use crate::units::{FrameNo, PageIndex, Pfn};
use std::fmt;
use std::ptr::NonNull;

/// A pin on a page: its frame keeps its identity and its address until this is dropped.
///
/// Pins are counted on the frame's descriptor, whichever way they were made (object and index, pfn, address). A pin
/// keeps no other thread out; bytes are reached through [`read`](Self::read) and [`write`](Self::write).
///
/// When the page is cut off from its object (truncate, punch, unlink) while it is pinned, the pin goes on showing the
/// frame as it was, [`write`](Self::write) fails with [`Detached`](crate::Error::Detached), and the frame is used again
/// only after the last pin is dropped.
#[must_use = "a pin that is dropped at once protects nothing"]
pub struct PageRef {
    /// Known before the pin is counted, so that the first access need not wait for that.
    address: NonNull<u8>,
    /// The frame's, which its number follows from.
    pub(super) descriptor: &'static Descriptor,
    /// Alive as long as the pin: see [`Pages`].
    pub(super) pages: NonNull<Pages>,
}

// SAFETY: a pin is a count on an atomic word and two pointers that stay valid while it is held, on any thread.
unsafe impl Send for PageRef {}
// SAFETY: as above; access to the bytes goes through latches.
unsafe impl Sync for PageRef {}

/// What a frame's descriptor says at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PageInfo {
    /// The frame.
    pub pfn: Pfn,
    /// Pins, all of them.
    pub pins: u32,
    /// Shared latches.
    pub shared: u32,
    /// Whether the exclusive latch is held.
    pub exclusive: bool,
    /// Whether bytes were stored that no sync has taken yet.
    pub dirty: bool,
    /// Whether the page was cut off from its object.
    pub detached: bool,
    /// Whether the medium failed here.
    pub poisoned: bool,
    /// Changes with every exclusive latch that is released; 0 while the frame is unused.
    pub version: u64,
    /// The page of an object that the frame holds, as far as it is known.
    pub owner: Option<PageOwner>,
}

/// Which page a frame holds, as its descriptor remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PageOwner {
    /// The low bits of the object's number, at least 27: a hint.
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

    /// Where the frame's bytes are. The address is good for comparing, for I/O by address, and for C; Rust reads and
    /// writes through guards.
    #[must_use]
    #[inline(always)]
    pub fn address(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    /// One more pin on the same frame.
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

    /// What the descriptor says now.
    #[must_use]
    pub fn info(&self) -> PageInfo {
        PageInfo::of(self.pfn())
    }

    /// The pages this one is of.
    #[inline(always)]
    pub(crate) fn pages(&self) -> &Pages {
        // SAFETY: `Pages` outlives the pins it gave (see there), and this is one.
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

    /// The page that the frame is known to hold.
    pub(super) fn owner(&self) -> Option<Owner> {
        owner(self.pfn(), FrameTable::global().peek(self.pfn()))
    }

    /// Notes whose page the frame holds, if that is not noted yet; false if another page is noted. The caller has
    /// validated that after the pin.
    #[inline]
    #[must_use]
    pub(crate) fn set_owner(&self, owner: Owner) -> bool {
        let unknown = self.pinned().set_owner_if_unset(owner.word());
        unknown || FrameTable::global().owner(self.pfn()) == owner.word()
    }
}

impl PageInfo {
    /// Loads only: a frame that is unused stays so.
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

/// The page that a frame is known to hold; a frame that is cut off holds none.
fn owner(pfn: Pfn, now: Option<Snapshot>) -> Option<Owner> {
    now.filter(|now| !now.orphan()).and_then(|_| Owner::of_word(FrameTable::global().owner(pfn)))
}

/// The rest of a put.
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
        // The pin is gone with the subtraction, and what it kept may be: `pages` is not touched again.
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

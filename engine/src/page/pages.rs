//! The pages of one attached region: where pins come from.

use super::dirty::Dirty;
use super::pin::PageRef;
use crate::error::{Error, Result};
use crate::frame::{FrameTable, PinOutcome, Snapshot};
use crate::region::Region;
use crate::space::SpaceManager;
use crate::sync::RwLock;
use crate::units::{Durability, FRAME_SIZE, FrameNo, Pfn, PfnRange};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock, Weak};

/// The pages of one attached region.
///
/// It outlives every pin it gave: a store that goes while there are any leaves it on a list of closing ones.
pub struct Pages {
    /// What a pin computes its address and pfn from, copied out of the region for the hit path.
    base: NonNull<u8>,
    first: Pfn,
    frames: u64,
    region: Arc<Region>,
    /// Whether writers note what they dirty: there is something to flush at all.
    pub(super) tracks_dirt: bool,
    pub(super) dirty: Dirty,
    /// Shared: a raw pin is being validated. Exclusive: frames change their role.
    pub(super) roles: RwLock<()>,
    manager: OnceLock<Weak<dyn SpaceManager>>,
}

// SAFETY: `base` is an address inside the region's mapping, which any thread may use; what is behind it is only
// touched under latches or by atomic loads. All other fields are Send and Sync by themselves.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// The pages of `region`. Nobody finds them by address before [`Self::publish`].
    pub(crate) fn new(region: Arc<Region>) -> Result<Arc<Self>> {
        let base = NonNull::new(region.address(FrameNo(0)))
            .ok_or_else(|| Error::Invalid("a region cannot be mapped at address 0".to_owned()))?;
        let tracks_dirt = region.class() != Durability::Volatile && !region.read_only();
        Ok(Arc::new(Self {
            base,
            first: region.base(),
            frames: region.window_bytes() / FRAME_SIZE as u64,
            region,
            tracks_dirt,
            dirty: Dirty::default(),
            roles: RwLock::new(()),
            manager: OnceLock::new(),
        }))
    }

    /// Names the manager that vouches for frames. Once.
    pub(crate) fn manage(&self, manager: Weak<dyn SpaceManager>) {
        // A second call would be a bug of the store; the first manager stays.
        let _ = self.manager.set(manager);
    }

    /// The manager, while it lives.
    pub(super) fn manager(&self) -> Result<Arc<dyn SpaceManager>> {
        self.manager.get().and_then(Weak::upgrade).ok_or(Error::Closed)
    }

    /// Whether writers note what they dirty: not where nothing can be made durable.
    pub(crate) fn tracks_dirt(&self) -> bool {
        self.tracks_dirt
    }

    /// How many frames have pins. A detached frame counts until it was taken from the queue: only then is nobody
    /// about to use these pages for the last time.
    pub(crate) fn pinned(&self) -> usize {
        let table = FrameTable::global();
        let in_use = |pfn: &Pfn| table.peek(*pfn).is_some_and(|now| now.pins() != 0 || now.orphan());
        table.populated(self.pfns()).filter(in_use).count()
    }

    /// Pins on a frame now.
    pub(crate) fn pins(&self, frame: FrameNo) -> u32 {
        FrameTable::global().peek(self.pfn(frame)).map_or(0, Snapshot::pins)
    }

    /// The region.
    #[must_use]
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// All pfns the region may come to use.
    #[must_use]
    pub fn pfns(&self) -> PfnRange {
        PfnRange::new(self.first, self.frames)
    }

    /// The pfn of a frame of this region.
    #[must_use]
    #[inline(always)]
    pub fn pfn(&self, frame: FrameNo) -> Pfn {
        Pfn::new(self.first.get() + u64::from(frame.0))
    }

    /// The frame of this region with this pfn.
    #[must_use]
    #[inline]
    pub fn frame(&self, pfn: Pfn) -> Option<FrameNo> {
        let number = pfn.get().checked_sub(self.first.get())?;
        (number < self.frames).then_some(FrameNo(number as u32))
    }

    /// The frame whose bytes hold `address`.
    #[must_use]
    pub fn frame_at(&self, address: *const u8) -> Option<FrameNo> {
        let offset = address.addr().checked_sub(self.base.addr().get())? as u64;
        let number = offset / FRAME_SIZE as u64;
        (number < self.frames).then_some(FrameNo(number as u32))
    }

    /// The frame that begins at an address which [`Self::address`] gave.
    #[inline(always)]
    pub(super) fn frame_of(&self, address: NonNull<u8>) -> FrameNo {
        FrameNo(((address.addr().get() - self.base.addr().get()) / FRAME_SIZE) as u32)
    }

    /// Where a frame's bytes are.
    #[inline(always)]
    pub(super) fn address(&self, frame: FrameNo) -> NonNull<u8> {
        debug_assert!(u64::from(frame.0) < self.frames);
        // SAFETY: the window is mapped whole, and the number is below its frames (checked where numbers enter).
        unsafe { self.base.add(frame.offset() as usize) }
    }

    /// A pin on `frame` if that takes no more than counting it or populating its descriptor; the flag says the latter.
    /// What the frame is for must be validated after the pin.
    #[inline(always)]
    pub(crate) fn try_pin(&self, frame: FrameNo) -> Option<(PageRef, bool)> {
        if u64::from(frame.0) >= self.frames {
            return None;
        }
        let pfn = self.pfn(frame);
        match FrameTable::global().pin(pfn) {
            PinOutcome::Pinned => Some((PageRef::new(self, frame), false)),
            PinOutcome::Populated => Some((PageRef::new(self, frame), true)),
            refused => self.refused(refused, pfn),
        }
    }

    /// A pin on `frame`, or why not.
    #[cold]
    pub(crate) fn pin(&self, frame: FrameNo) -> Result<PageRef> {
        if u64::from(frame.0) >= self.frames {
            let why = "a page lies beyond the region's window";
            return Err(Error::corrupt("object map", frame.offset(), why));
        }
        let pfn = self.pfn(frame);
        let outcome = FrameTable::global().pin(pfn);
        if !outcome.is_pinned() {
            let _: Option<()> = self.refused(outcome, pfn);
        }
        outcome.into_result(pfn)?;
        Ok(PageRef::new(self, frame))
    }

    /// A pin was not given. Even a vain one may have been the last of a detached frame.
    #[cold]
    pub(super) fn refused<T>(&self, outcome: PinOutcome, pfn: Pfn) -> Option<T> {
        if outcome == PinOutcome::OrphanClaimed {
            self.queue(pfn);
        }
        None
    }
}

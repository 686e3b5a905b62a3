//! The pages of one attached region, from which pins are made.

use super::alias::Aliases;
use super::dirty::DirtMap;
use super::drain::Draining;
use super::kept::Kept;
use super::pin::{PageInfo, PageRef};
use super::window::{Places, Window};
use crate::error::{Error, Result};
use crate::frame::{Descriptor, FrameTable, PinOutcome, Pinned, Snapshot, UnpinOutcome};
use crate::region::{Region, last_put};
use crate::space::SpaceManager;
use crate::sync::RwLock;
use crate::units::{Durability, FRAME_SIZE, FrameNo, Pfn, PfnRange};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// How often a thread that waits for a held frame checks whether the region is still open.
const HOLD_LOOK: Duration = Duration::from_millis(50);

/// The pages of one attached region.
///
/// It outlives every pin that it made: if a store ends while there are pins, its pages stay in the list of closing
/// regions.
pub struct Pages {
    /// Where bytes and descriptors of frames are.
    places: Places,
    first: Pfn,
    region: Arc<Region>,
    /// Where writers note what they dirty; none where nothing can be made durable.
    pub(super) dirty: Option<DirtMap>,
    pub(super) kept: Kept,
    pub(super) draining: Draining,
    pub(super) aliases: Aliases,
    /// Shared: a pin by number is being validated. Exclusive: frames change their use.
    pub(super) roles: RwLock<()>,
    manager: OnceLock<Weak<dyn SpaceManager>>,
}

impl Pages {
    /// The pages of `region`. No thread finds them by address before [`Self::publish`].
    pub(crate) fn new(region: Arc<Region>) -> Result<Arc<Self>> {
        let base = NonNull::new(region.address(FrameNo(0)))
            .ok_or_else(|| Error::internal("a region is mapped at address 0"))?;
        let descriptors = region
            .frames()
            .descriptors()
            .ok_or_else(|| Error::internal("the region's frames are not in the frame table"))?;
        let tracks_dirt = region.protocol() != Durability::Volatile && !region.read_only();
        let dirty = tracks_dirt.then(|| DirtMap::reserve(descriptors.len())).transpose();
        let dirty = dirty.map_err(|error| Error::NoAddresses {
            why: format!(
                "the map of what is dirty among {} frames needs addresses ({error}): raise the limit (`ulimit -v`, `ulimit -d`, \
                 `vm.overcommit_memory`), or say with `max_size` how large the region may become",
                descriptors.len()
            ),
        })?;
        Ok(Arc::new(Self {
            places: Places::new(base, descriptors),
            first: region.base(),
            region,
            dirty,
            kept: Kept::default(),
            draining: Draining::default(),
            aliases: Aliases::default(),
            roles: RwLock::new(()),
            manager: OnceLock::new(),
        }))
    }

    /// Sets the manager that vouches for frames. Called once.
    pub(crate) fn manage(&self, manager: Weak<dyn SpaceManager>) {
        // A second call would be a defect of the store; the first manager stays.
        let _ = self.manager.set(manager);
    }

    /// The manager, while it lives.
    pub(super) fn manager(&self) -> Result<Arc<dyn SpaceManager>> {
        self.manager.get().and_then(Weak::upgrade).ok_or(Error::Closed)
    }

    /// Whether writers note dirty lines: not if nothing can be made durable.
    pub(crate) fn tracks_dirt(&self) -> bool {
        self.dirty.is_some()
    }

    /// The number of frames with pins. A detached frame counts until it is taken from the queue of released frames,
    /// even if it never gets there.
    pub(crate) fn count_pinned(&self) -> usize {
        let table = FrameTable::global();
        let in_use = |pfn: &Pfn| table.peek(*pfn).is_some_and(Snapshot::in_use);
        table.populated(self.pfns()).filter(in_use).count()
    }

    /// The first frame with a latch and no pin: the holder has forgotten the latch.
    pub(crate) fn forgotten_latch(&self) -> Option<PageInfo> {
        let table = FrameTable::global();
        let latched = |now: Snapshot| !now.in_use() && (now.exclusive() || now.shared() != 0);
        let found = table.populated(self.pfns()).find(|pfn| table.peek(*pfn).is_some_and(latched));
        found.map(PageInfo::of)
    }

    /// The current number of pins on a frame.
    pub(crate) fn pins(&self, frame: FrameNo) -> u32 {
        FrameTable::global().peek(self.pfn(frame)).map_or(0, Snapshot::pins)
    }

    /// The region.
    #[must_use]
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// All pfns that the region may use when it grows.
    #[must_use]
    pub fn pfns(&self) -> PfnRange {
        PfnRange::new(self.first, self.places.len() as u64)
    }

    /// The pfn of a frame of this region.
    #[must_use]
    #[inline(always)]
    pub(crate) fn pfn(&self, frame: FrameNo) -> Pfn {
        Pfn::new(self.first.get() + u64::from(frame.0))
    }

    /// The frame of this region with this pfn.
    #[must_use]
    #[inline]
    pub(crate) fn frame(&self, pfn: Pfn) -> Option<FrameNo> {
        let number = pfn.get().checked_sub(self.first.get())?;
        (number < self.places.len() as u64).then_some(FrameNo(number as u32))
    }

    /// The frame that contains `address`.
    #[must_use]
    pub(crate) fn frame_at(&self, address: *const u8) -> Option<FrameNo> {
        let offset = address.addr().checked_sub(self.places.base().addr().get())? as u64;
        let number = offset / FRAME_SIZE as u64;
        (number < self.places.len() as u64).then_some(FrameNo(number as u32))
    }

    /// The frame with this descriptor.
    #[inline(always)]
    pub(super) fn frame_of(&self, descriptor: &'static Descriptor) -> FrameNo {
        self.places.frame_of(descriptor)
    }

    /// Where the bytes of the frame with this descriptor are.
    #[inline(always)]
    pub(super) fn address_of(&self, descriptor: &'static Descriptor) -> NonNull<u8> {
        self.places.address_of(descriptor)
    }

    /// What a handle pins through.
    pub(crate) fn window(self: &Arc<Self>) -> Window {
        Window::new(self.places, Arc::clone(self))
    }

    /// The descriptor of a frame, if the window contains the frame.
    #[inline(always)]
    pub(super) fn descriptor(&self, frame: FrameNo) -> Option<&'static Descriptor> {
        self.places.descriptor(frame)
    }

    /// A frame that the caller has pinned.
    pub(super) fn pinned(&self, frame: FrameNo) -> Option<Pinned<'static>> {
        Some(Pinned::of_process(self.pfn(frame), self.descriptor(frame)?))
    }

    /// The rest of a pin that needs more than the count: the second pin of a frame, or one that is refused. A first
    /// touch is undone: the caller looks the page up again and then knows whose frame it is.
    #[cold]
    #[inline(never)]
    pub(super) fn settle_pin(&self, descriptor: &'static Descriptor, word: Snapshot) -> Option<PageRef> {
        let pfn = self.pfn(self.frame_of(descriptor));
        let table = FrameTable::global();
        if word.live() && table.idle_owner(pfn).is_none_or(|owner| owner == 0) {
            // It is not known yet which page the frame holds; it may be none. The lookup will find out.
            drop(PageRef::new(self, descriptor));
            return None;
        }
        match table.settle_pin(pfn, descriptor, word) {
            PinOutcome::Pinned => Some(PageRef::new(self, descriptor)),
            PinOutcome::Populated => {
                drop(PageRef::new(self, descriptor));
                None
            }
            refused => Self::refused(refused, pfn),
        }
    }

    /// Pins `frame`, or returns why not: with `Held`, [`Self::past_holds`] waits.
    #[cold]
    pub(crate) fn pin(&self, frame: FrameNo) -> Result<PageRef> {
        self.pin_by(frame, FrameTable::pin)
    }

    /// As [`Self::pin`], for a call of the store that drops the pin before it returns. Such pins are allowed beyond
    /// the maximum.
    #[cold]
    pub(crate) fn pin_short(&self, frame: FrameNo) -> Result<PageRef> {
        self.pin_by(frame, FrameTable::pin_short)
    }

    fn pin_by(&self, frame: FrameNo, pin: impl Fn(&FrameTable, Pfn) -> PinOutcome) -> Result<PageRef> {
        let Some(descriptor) = self.descriptor(frame) else {
            let why = "a page lies beyond the region's window";
            return Err(Error::corrupt("object map", frame.offset(), why));
        };
        let pfn = self.pfn(frame);
        let outcome = pin(FrameTable::global(), pfn);
        if outcome.is_pinned() {
            return Ok(PageRef::new(self, descriptor));
        }
        let _: Option<()> = Self::refused(outcome, pfn);
        outcome.into_result(pfn).and_then(|()| Err(Error::internal("a pin that is refused without a reason")))
    }

    /// Runs `attempt` until no frame that it wants to pin is held: waits for the end of a hold and tries again, because the
    /// page may be in another frame then. `attempt` lets go what a holder may want: the `shape` of its object, and roles.
    pub(crate) fn past_holds<R>(&self, mut attempt: impl FnMut() -> Result<R>) -> Result<R> {
        loop {
            match attempt() {
                Err(Error::Held { pfn }) => {
                    // In a region that is being closed the frame stays held.
                    self.region.ensure_usable()?;
                    let _ = FrameTable::global().wait_unheld(pfn, Some(HOLD_LOOK));
                }
                done => return done,
            }
        }
    }

    /// Called when a pin was refused. Even a refused pin, when it is taken back, may have been the last one of a
    /// detached frame or of a closing region.
    #[cold]
    fn refused<T>(outcome: PinOutcome, pfn: Pfn) -> Option<T> {
        match outcome {
            PinOutcome::OrphanClaimed => last_put(pfn, UnpinOutcome::LastOfOrphan),
            PinOutcome::Held => last_put(pfn, UnpinOutcome::LastOfHeld),
            _ => {}
        }
        None
    }
}

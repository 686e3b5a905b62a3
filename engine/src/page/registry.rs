//! Pins for callers that have only an address, or a pfn.

use super::alias::Shown;
use super::pages::Pages;
use super::pin::{PageInfo, PageRef};
use crate::error::{Error, Result};
use crate::region::tenant_at;
use crate::space::{PageId, SpaceManager};
use crate::units::{FRAME_SIZE, FrameNo, Pfn, PfnRange};
use std::sync::Arc;

/// Pins all frames that have one of the `len` bytes at `address`, in order: an address of a region, or of a
/// [`View`](crate::store::View). The pins use the same descriptors and counts as pins by object or by pfn, and are released
/// in the same way.
///
/// # Errors
/// `ForeignAddress` if a byte is outside every open region and view; `Invalid` if a frame holds no page of an object, or a
/// view shows no frame there; `Detached` if its page was cut off. On an error no pin stays.
pub fn frames_at(address: *const u8, len: usize) -> Result<Vec<PageRef>> {
    let foreign = || Error::ForeignAddress { address: address.addr() as u64 };
    let tenant = tenant_at(address).ok_or_else(foreign)?;
    let pages = match tenant.downcast::<Pages>() {
        Ok(pages) => pages,
        Err(tenant) => {
            let shown = tenant.downcast::<Shown>().map_err(|_| foreign())?;
            return shown.pins(address.addr(), len);
        }
    };
    let first = pages.frame_at(address).ok_or_else(foreign)?;
    let in_page = address.addr() % FRAME_SIZE;
    let bytes = in_page.checked_add(len).ok_or_else(foreign)?;
    pages.frames(PfnRange::new(pages.pfn(first), (bytes as u64).div_ceil(FRAME_SIZE as u64)))
}

impl Pages {
    /// Makes these pages reachable by address.
    pub(crate) fn publish(self: &Arc<Self>) {
        let pages = Arc::downgrade(self);
        self.region().let_to(Some(pages));
    }

    /// Undoes [`Self::publish`].
    pub(crate) fn withdraw(&self) {
        // In a forked child no address leads to them, and a lock may be held by a thread that does not exist there.
        if !self.region().forked() {
            self.region().let_to(None);
        }
    }

    /// Pins all frames of a range.
    ///
    /// # Errors
    /// As [`frames_at`]; `OutOfRange` for pfns outside this region.
    pub(crate) fn frames(&self, range: PfnRange) -> Result<Vec<PageRef>> {
        self.region().ensure_usable()?;
        let last = range.start.get().saturating_add(range.frames.saturating_sub(1));
        // Frames beyond those in use have no page, however far the window reaches.
        let in_use = self.region().len_bytes() / FRAME_SIZE as u64;
        if self.frame(Pfn::new(last)).is_none_or(|frame| u64::from(frame.0) >= in_use) {
            return Err(self.no_frame(last));
        }
        let frames: Vec<_> = range
            .iter()
            .map(|pfn| self.frame(pfn).ok_or_else(|| self.no_frame(pfn.get())))
            .collect::<Result<_>>()?;
        self.pin_shown(|| Ok(frames.clone()))
    }

    /// Pins the frames that `shown` returns while no frame changes its use.
    pub(super) fn pin_shown(&self, shown: impl Fn() -> Result<Vec<FrameNo>>) -> Result<Vec<PageRef>> {
        self.region().ensure_usable()?;
        let manager = self.manager()?;
        loop {
            if let Some(pins) = self.past_holds(|| self.pin_all(&*manager, &shown))? {
                return Ok(pins);
            }
            manager.learn_owners()?;
        }
    }

    /// Pins all of these frames, if it is known which pages they hold.
    fn pin_all(
        &self,
        manager: &dyn SpaceManager,
        shown: impl Fn() -> Result<Vec<FrameNo>>,
    ) -> Result<Option<Vec<PageRef>>> {
        // Shared: until the pins are counted, no frame changes its use.
        let _steady = self.roles.read();
        let frames = &shown()?[..];
        let mut pins = Vec::with_capacity(frames.len());
        for &frame in frames {
            pins.push(self.pin_known(manager, frame)?);
        }
        let unknown: Vec<_> =
            frames.iter().zip(&pins).filter(|(_, pin)| pin.is_none()).map(|(f, _)| *f).collect();
        let owners = if unknown.is_empty() { Some(Vec::new()) } else { manager.owners(&unknown)? };
        let Some(owners) = owners else { return Ok(None) };
        let mut owners = owners.into_iter();
        let pin = |(frame, pin): (&FrameNo, Option<PageRef>)| match pin {
            Some(pin) => Ok(pin),
            None => self.pin_owned(*frame, owners.next().flatten()),
        };
        frames.iter().zip(pins).map(pin).collect::<Result<_>>().map(Some)
    }

    /// The state of the descriptor of the frame at `address`. It takes no pin and changes nothing.
    ///
    /// # Errors
    /// `ForeignAddress`.
    pub fn peek(&self, address: *const u8) -> Result<PageInfo> {
        let frame = self.frame_at(address).ok_or(Error::ForeignAddress { address: address.addr() as u64 })?;
        Ok(PageInfo::of(self.pfn(frame)))
    }

    /// Pins a frame whose descriptor knows its page, if the manager confirms the page.
    fn pin_known(&self, manager: &dyn SpaceManager, frame: FrameNo) -> Result<Option<PageRef>> {
        // A frame without a noted owner must be pinned only if the caller knows its page, and not by a guess here:
        // after several pins of a frame, further pins are admitted without a check.
        if self.region().frames().idle_owner(frame).is_none_or(|owner| owner == 0) {
            return Ok(None);
        }
        let page = self.pin(frame)?;
        match page.owner() {
            Some(owner) if manager.map(owner)? == Some(frame) => Ok(Some(page)),
            _ => Ok(None),
        }
    }

    fn pin_owned(&self, frame: FrameNo, owner: Option<PageId>) -> Result<PageRef> {
        let Some(owner) = owner else {
            let why = format!("frame {} holds no page of an object: it is free or metadata", self.pfn(frame));
            return Err(Error::Invalid(why));
        };
        let page = self.pin(frame)?;
        if page.set_owner(owner) {
            return Ok(page);
        }
        let why = format!("frame {} holds page {}, and another page", frame.0, owner.index().0);
        Err(Error::corrupt("object map", frame.offset(), why))
    }

    fn no_frame(&self, value: u64) -> Error {
        let in_use = self.region().len_bytes() / FRAME_SIZE as u64;
        Error::OutOfRange { what: "pfn", value, limit: self.pfns().start.get() + in_use.saturating_sub(1) }
    }
}

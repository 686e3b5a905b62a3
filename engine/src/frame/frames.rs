//! The frames of one region, by their numbers there.

use super::descriptor::Descriptor;
use super::outcome::{HoldOutcome, OrphanOutcome};
use super::state::Snapshot;
use super::table::FrameTable;
use crate::error::Result;
use crate::units::{FrameNo, Lines, Pfn, PfnRange};
use std::ops::Range;
use std::time::Duration;

/// The run of frames that one region has in the process's table, for callers that have no pin on a frame. (For those that
/// have one: [`Pinned`](super::Pinned).)
///
/// Everything above the table that is not on the way of a pin asks a region's frames through this. It is a copy of two
/// numbers: the table is looked up by each call, because a forked child has another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frames {
    range: PfnRange,
}

impl Frames {
    /// Takes a run of `frames` pfns for a region, until [`Self::free`].
    ///
    /// # Errors
    /// `NoAddresses`.
    pub(crate) fn take(frames: u64) -> Result<Self> {
        FrameTable::global().allocate(frames).map(|range| Self { range })
    }

    /// Gives the run back, after [`Self::retire_all`] or if no frame of it was ever touched.
    pub(crate) fn free(self) {
        FrameTable::global().free(self.range);
    }

    /// The pfns.
    #[must_use]
    pub const fn range(self) -> PfnRange {
        self.range
    }

    /// The number of frames.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.range.frames
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.range.frames == 0
    }

    /// The pfn of a frame.
    #[inline(always)]
    #[must_use]
    pub const fn pfn(self, frame: FrameNo) -> Pfn {
        Pfn::new(self.range.start.get() + frame.0 as u64)
    }

    /// The frame with this pfn, if it is one of these.
    #[must_use]
    pub const fn frame(self, pfn: Pfn) -> Option<FrameNo> {
        match self.range.contains(pfn) {
            true => Some(FrameNo((pfn.get() - self.range.start.get()) as u32)),
            false => None,
        }
    }

    /// The descriptors, by the numbers of the frames.
    #[must_use]
    pub(crate) fn descriptors(self) -> Option<&'static [Descriptor]> {
        FrameTable::global().run(self.range)
    }

    /// The state of a frame, if it is populated. It only loads.
    #[must_use]
    pub fn peek(self, frame: FrameNo) -> Option<Snapshot> {
        FrameTable::global().peek(self.pfn(frame))
    }

    /// As [`FrameTable::idle_owner`].
    #[must_use]
    pub(crate) fn idle_owner(self, frame: FrameNo) -> Option<u64> {
        FrameTable::global().idle_owner(self.pfn(frame))
    }

    /// The populated frames among these numbers, ascending.
    pub(crate) fn populated(self, within: Range<u64>) -> impl Iterator<Item = FrameNo> {
        let start = Pfn::new(self.range.start.get() + within.start);
        let part = PfnRange::new(start, within.end.min(self.len()).saturating_sub(within.start));
        FrameTable::global().populated(part).filter_map(move |pfn| self.frame(pfn))
    }

    /// As [`FrameTable::hold`].
    pub(crate) fn hold(self, frame: FrameNo) -> HoldOutcome {
        FrameTable::global().hold(self.pfn(frame))
    }

    /// As [`FrameTable::unhold`].
    pub(crate) fn unhold(self, frame: FrameNo) {
        FrameTable::global().unhold(self.pfn(frame));
    }

    /// As [`FrameTable::wait_idle`].
    #[must_use]
    pub(crate) fn wait_idle(self, frame: FrameNo, limit: Option<Duration>) -> bool {
        FrameTable::global().wait_idle(self.pfn(frame), limit)
    }

    /// As [`FrameTable::wait_unheld`].
    #[must_use]
    pub(crate) fn wait_unheld(self, frame: FrameNo, limit: Option<Duration>) -> bool {
        FrameTable::global().wait_unheld(self.pfn(frame), limit)
    }

    /// Holds every populated frame, and refuses to populate the others: the region is closing.
    pub(crate) fn hold_all(self) {
        FrameTable::global().hold_range(self.range);
    }

    /// Retires all frames, none of which is pinned. False: the freeing of one is claimed by a thread that has not come
    /// to it yet.
    #[must_use]
    pub(crate) fn retire_all(self) -> bool {
        FrameTable::global().retire_range(self.range).is_ok()
    }

    /// As [`FrameTable::orphan`].
    pub(crate) fn orphan(self, frame: FrameNo) -> OrphanOutcome {
        FrameTable::global().orphan(self.pfn(frame))
    }

    /// As [`FrameTable::retire_orphan`].
    pub(crate) fn retire_orphan(self, frame: FrameNo) {
        FrameTable::global().retire_orphan(self.pfn(frame));
    }

    /// As [`FrameTable::dirty_owner`].
    #[must_use]
    pub(crate) fn dirty_owner(self, frame: FrameNo) -> Option<u64> {
        FrameTable::global().dirty_owner(self.pfn(frame))
    }

    /// As [`FrameTable::take_dirty`].
    #[must_use]
    pub(crate) fn take_dirty(self, frame: FrameNo) -> Lines {
        FrameTable::global().take_dirty(self.pfn(frame))
    }
}

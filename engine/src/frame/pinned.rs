//! A frame that its caller has pinned: what needs a pin is a method of it.
//!
//! It counts no pin, and ends none: it is the word of a caller that has one, and is used while that lasts. What it costs is
//! what it stands for, a frame's number and its descriptor.

use super::descriptor::Descriptor;
use super::outcome::PinOutcome;
use super::state::{POISONED, WRITEBACK};
use super::table::FrameTable;
use crate::units::Pfn;

/// Whose table a pinned frame is of.
pub trait Home<'t>: Copy {
    /// The table.
    fn table(self) -> &'t FrameTable;
}

impl<'t> Home<'t> for &'t FrameTable {
    #[inline(always)]
    fn table(self) -> &'t FrameTable {
        self
    }
}

/// The process's own table, which is asked for where it is needed and not before: a forked child has another one than the
/// descriptor is of, or none, and what needs the descriptor alone works there.
#[derive(Clone, Copy, Debug)]
pub struct OfProcess;

impl Home<'static> for OfProcess {
    #[inline(always)]
    fn table(self) -> &'static FrameTable {
        FrameTable::global()
    }
}

/// A frame on which the caller has a pin, for as long as it uses this. (Latches: `latch`; dirty lines: `dirty`.)
#[derive(Clone, Copy, Debug)]
pub struct Pinned<'t, T = OfProcess> {
    home: T,
    pub(super) pfn: Pfn,
    pub(super) descriptor: &'t Descriptor,
}

impl FrameTable {
    /// A frame that the caller has pinned.
    ///
    /// # Panics
    /// When the table has no such frame: nothing was pinned.
    #[must_use]
    pub fn pinned(&self, pfn: Pfn) -> Pinned<'_, &Self> {
        Pinned { home: self, pfn, descriptor: self.at(pfn) }
    }
}

impl Pinned<'static> {
    /// A frame of the process's table, which has this descriptor.
    #[inline(always)]
    pub(crate) fn of_process(pfn: Pfn, descriptor: &'static Descriptor) -> Self {
        Self { home: OfProcess, pfn, descriptor }
    }
}

impl<'t, T: Home<'t>> Pinned<'t, T> {
    #[inline(always)]
    pub(super) fn table(self) -> &'t FrameTable {
        self.home.table()
    }

    /// Its number.
    #[inline(always)]
    #[must_use]
    pub fn pfn(self) -> Pfn {
        self.pfn
    }

    /// Another pin: `Pinned` or `Saturated`; in a child of the table's process `Forked`. Holds and orphans do not refuse it,
    /// since it keeps nothing from ending that the caller's own pin does not.
    #[inline]
    pub fn pin_again(self) -> PinOutcome {
        self.descriptor.pin_again()
    }

    /// Notes whose page the frame holds, if that is unknown; true if it was.
    pub fn set_owner_if_unset(self, owner: u64) -> bool {
        self.descriptor.set_owner_if_unset(owner)
    }

    /// Whether the frame's medium failed.
    #[inline(always)]
    #[must_use]
    pub fn is_poisoned(self) -> bool {
        self.descriptor.look().poisoned()
    }

    /// Notes that the frame's medium failed: no other pin is given any more.
    pub fn poison(self) {
        self.descriptor.set(POISONED);
    }

    /// Notes that the frame is on its way to its backing. False if it was already.
    #[must_use]
    pub fn begin_writeback(self) -> bool {
        !self.descriptor.set(WRITEBACK).writeback()
    }

    /// Undoes [`begin_writeback`](Self::begin_writeback).
    pub fn end_writeback(self) {
        self.descriptor.clear(WRITEBACK);
    }
}

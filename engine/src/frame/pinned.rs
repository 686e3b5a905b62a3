//! A frame that its caller has pinned, with all operations that need a pin.
//!
//! It neither adds nor ends a pin. It is the statement of a caller that it has one, and is used only as long as that
//! is true. It consists of the frame's number and its descriptor.

use super::descriptor::Descriptor;
use super::outcome::PinOutcome;
use super::state::{POISONED, WRITEBACK};
use super::table::FrameTable;
use crate::units::Pfn;

/// The table of a pinned frame.
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

/// The process's own table, which is looked up only where it is needed. A forked child has another table than the one
/// of the descriptor, or none, and operations that need only the descriptor still work there.
#[derive(Clone, Copy, Debug)]
pub struct OfProcess;

impl Home<'static> for OfProcess {
    #[inline(always)]
    fn table(self) -> &'static FrameTable {
        FrameTable::global()
    }
}

/// A frame on which the caller has a pin as long as it uses this. (Latches: `latch`; dirty lines: `dirty`.)
#[derive(Clone, Copy, Debug)]
pub struct Pinned<'t, T = OfProcess> {
    home: T,
    pub(super) pfn: Pfn,
    pub(super) descriptor: &'t Descriptor,
}

impl FrameTable {
    /// A frame that the caller has pinned.
    #[must_use]
    pub fn pinned(&self, pfn: Pfn) -> Pinned<'_, &Self> {
        Pinned { home: self, pfn, descriptor: self.at(pfn) }
    }
}

impl Pinned<'static> {
    /// A frame of the process's table with this descriptor.
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

    /// Makes another pin: `Pinned` or `Saturated`; in a child of the table's process `Forked`. Holds and orphans do
    /// not refuse it, because the caller's own pin already keeps everything that it would keep.
    #[inline]
    pub fn pin_again(self) -> PinOutcome {
        self.descriptor.pin_again()
    }

    /// Notes which page the frame holds, if that is unknown. True if it was.
    pub fn set_owner_if_unset(self, owner: u64) -> bool {
        self.descriptor.set_owner_if_unset(owner)
    }

    /// Whether the frame's medium failed.
    #[inline(always)]
    #[must_use]
    pub fn is_poisoned(self) -> bool {
        self.descriptor.look().poisoned()
    }

    /// Notes that the frame's medium failed. The frame accepts no new pin from then on.
    pub fn poison(self) {
        self.descriptor.set(POISONED);
    }

    /// Notes that the frame is being written to its backing. False if it was already.
    #[must_use]
    pub fn begin_writeback(self) -> bool {
        !self.descriptor.set(WRITEBACK).writeback()
    }

    /// Undoes [`begin_writeback`](Self::begin_writeback).
    pub fn end_writeback(self) {
        self.descriptor.clear(WRITEBACK);
    }
}

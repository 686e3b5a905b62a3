//! Dirty lines: what was stored to a frame since it was last flushed.

use super::descriptor::Descriptor;
use super::pinned::{Home, Pinned};
use super::state::DIRTY;
use super::table::FrameTable;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutant;
use crate::units::{Lines, Pfn};

impl<'t, T: Home<'t>> Pinned<'t, T> {
    /// Notes stores to `lines`, after they were done. True if the frame was clean.
    ///
    /// # Durability
    /// None: it is what a sync will flush.
    pub fn mark_dirty(self, lines: Lines) -> bool {
        // ORDERING: Release, and an RMW even where the bits are set already: the stores come before the thread that
        // takes the bits flushes the lines. First the lines, then the flag.
        let order = if mutant("relaxed_lines") { Ordering::Relaxed } else { Ordering::Release };
        self.lines().fetch_or(lines.get(), order);
        !self.descriptor.set(DIRTY).dirty()
    }

    /// Notes that `lines` are durable as they are; the caller holds the exclusive latch, so no other thread marks them
    /// meanwhile. The frame stays dirty, perhaps with no line.
    ///
    /// # Durability
    /// None: a sync need not flush them any more.
    pub fn mark_durable(self, lines: Lines) {
        if self.descriptor.look().dirty() {
            // ORDERING: AcqRel: as `take_lines`. A sync that takes the bits before this flushes for nothing; one that
            // takes them afterwards and finds none has the caller's fence behind it.
            let order = if mutant("relaxed_durable") { Ordering::Relaxed } else { Ordering::AcqRel };
            self.lines().fetch_and(!lines.get(), order);
        }
    }

    /// The dirty lines. Lines that a sync has taken are not among them, flushed or not.
    #[must_use]
    pub fn dirty_lines(self) -> Lines {
        if !self.descriptor.look().dirty() {
            return Lines::NONE;
        }
        // ORDERING: Acquire: pairs with `mark_dirty`.
        Lines::new(self.lines().load(Ordering::Acquire))
    }

    fn lines(self) -> &'t AtomicU64 {
        let table = self.table();
        table.lines(table.index(self.pfn))
    }
}

impl FrameTable {
    /// Takes the dirty lines of a frame: from now on they are the caller's to flush. None if it is clean.
    #[must_use]
    pub fn take_dirty(&self, pfn: Pfn) -> Lines {
        let Some(descriptor) = self.descriptors.get(self.index(pfn)).filter(|_| self.peek(pfn).is_some())
        else {
            return Lines::NONE;
        };
        // First the flag, then the lines: marked in between, the frame stays dirty, perhaps with no line.
        if mutant("lines_before_flag") && descriptor.look().dirty() {
            let lines = self.take_lines(pfn);
            descriptor.clear(DIRTY);
            return lines;
        }
        if descriptor.clear(DIRTY).dirty() { self.take_lines(pfn) } else { Lines::NONE }
    }

    /// The owner word of a frame, if the frame is dirty; it need not be pinned. Of a frame that no thread makes dirty or
    /// takes out of use meanwhile it is the word that its last writer knew.
    #[must_use]
    pub fn dirty_owner(&self, pfn: Pfn) -> Option<u64> {
        self.peek(pfn).filter(|now| now.dirty())?;
        self.descriptors.get(self.index(pfn)).map(Descriptor::owner)
    }

    fn take_lines(&self, pfn: Pfn) -> Lines {
        // ORDERING: AcqRel: Acquire from `mark_dirty`; Release keeps one rule for all that change the bits.
        Lines::new(self.lines(self.index(pfn)).swap(0, Ordering::AcqRel))
    }

    /// Forgets the lines of a frame that was retired dirty: they are of no object any more. Under its chunk's lock.
    pub(super) fn forget_lines(&self, index: usize) {
        // ORDERING: Relaxed: the next to mark them comes through the chunk's lock.
        self.lines(index).store(0, Ordering::Relaxed);
    }

    fn lines(&self, index: usize) -> &AtomicU64 {
        self.dirty_lines.get(index).expect("as long as the descriptors")
    }
}

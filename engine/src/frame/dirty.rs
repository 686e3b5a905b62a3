//! Dirty lines: the cache lines of a frame that were stored to since it was last flushed.

use super::descriptor::Descriptor;
use super::pinned::{Home, Pinned};
use super::state::DIRTY;
use super::table::FrameTable;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutant;
use crate::units::{Lines, Pfn};

impl<'t, T: Home<'t>> Pinned<'t, T> {
    /// Notes stores to `lines`, after they were made. True if the frame was clean.
    ///
    /// # Durability
    /// None: a later sync flushes the lines.
    pub fn mark_dirty(self, lines: Lines) -> bool {
        // ORDERING: Release, and an RMW even where the bits are set already: the stores come before the thread that
        // takes the bits flushes the lines. First the lines, then the flag.
        let order = if mutant("relaxed_lines") { Ordering::Relaxed } else { Ordering::Release };
        self.lines().fetch_or(lines.get(), order);
        !self.descriptor.set(DIRTY).dirty()
    }

    /// Notes that the present bytes of `lines` are durable. The caller holds the exclusive latch, so no other thread
    /// marks them meanwhile. The frame stays dirty, perhaps without a dirty line.
    ///
    /// # Durability
    /// None: a sync no longer needs to flush them.
    pub fn mark_durable(self, lines: Lines) {
        if self.descriptor.look().dirty() {
            // ORDERING: AcqRel: as `take_lines`. A sync that takes the bits before this flushes for nothing; one that
            // takes them afterwards and finds none has the caller's fence behind it.
            let order = if mutant("relaxed_durable") { Ordering::Relaxed } else { Ordering::AcqRel };
            self.lines().fetch_and(!lines.get(), order);
        }
    }

    /// The dirty lines. Lines that a sync has taken are not included, flushed or not.
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
    /// Takes the dirty lines of a frame; the caller must flush them. No lines if the frame is clean.
    #[must_use]
    pub fn take_dirty(&self, pfn: Pfn) -> Lines {
        let Some(descriptor) = self.descriptors.get(self.index(pfn)).filter(|_| self.peek(pfn).is_some())
        else {
            return Lines::NONE;
        };
        // First the flag, then the lines. If they are marked in between, the frame stays dirty, perhaps without a
        // dirty line.
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

    /// Forgets the lines of a frame that was retired dirty: they no longer belong to an object. Under its chunk's
    /// lock.
    pub(super) fn forget_lines(&self, index: usize) {
        // ORDERING: Relaxed: the next to mark them comes through the chunk's lock.
        self.lines(index).store(0, Ordering::Relaxed);
    }

    fn lines(&self, index: usize) -> &AtomicU64 {
        self.dirty_lines.get(index).unwrap_or(&self.outside.dirty_lines)
    }
}

//! Moving pages: their words of the map lead to other frames, which hold the same bytes.

use super::bitmap;
use super::content::{ENTRIES_BESIDES, map_at};
use super::ledger::Ledger;
use super::log::record::Sequence;
use super::record::{Head, ObjectSlot};
use super::rules::Rule;
use super::tree::Move;
use crate::error::Result;
use crate::units::FrameNo;

/// Most pages that one record moves: a leaf.
const MOVES_MAX: usize = 512;

impl Ledger {
    /// How many pages one record moves in a log of this size.
    pub fn moves_max(&self) -> usize {
        let room = self.log.entries_max() - ENTRIES_BESIDES;
        // A page: its word, a word of the bitmap for each of the two frames. And the tallies.
        let tallies = bitmap::tallies_max(self.shape(), room);
        ((room - tallies.min(room)) / 3).max(room / 5).min(MOVES_MAX)
    }

    /// Maps pages, ascending, at most [`Self::moves_max`], to other frames of [`Self::allocate`], which hold what the pages
    /// show. The caller keeps the frames that they leave from being used: it calls [`Self::quarantine`] with
    /// them and the sequence when nothing shows them any more.
    ///
    /// # Durability
    /// One record, appended. The bytes of the new frames become durable before the mark that covers it.
    pub fn relocate(&self, slot: ObjectSlot, moves: &[Move]) -> Result<Sequence> {
        let _object = self.object(slot);
        self.allocator.load(moves.iter().map(|page| page.from))?;
        // Before the record, since a lookup that finds a page in the map must find that its frame holds a page.
        moves.iter().try_for_each(|page| self.log.uses().link(page.to))?;
        let from = || moves.iter().map(|page| (page.page.0, page.from));
        let to = || moves.iter().map(|page| (page.page.0, page.to));
        let ((), sequence) = self.change(|t, shape| {
            let mut head = Head::live(t, slot)?;
            let mut map = map_at(&head);
            map.replace(t, shape, moves)?;
            bitmap::set(t, shape, to().map(|page| page.1))?;
            bitmap::clear(t, shape, from().map(|page| page.1))?;
            head.set_root(map.root);
            head.note_cut(from());
            head.note_linked(to());
            if !self.log.rules().broken(Rule::MoveUnpublished) {
                t.publishes();
            }
            head.write(t)
        })?;
        Ok(sequence)
    }

    /// Frames that pages left by the record `sequence` become free once that record is passed (LOG rule 2).
    pub fn quarantine(&self, sequence: Sequence, frames: Vec<FrameNo>) {
        self.allocator.quarantine(sequence, frames);
    }
}

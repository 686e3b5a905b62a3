//! Taking dirty lines, and flushing them.

use super::dirty::Dirty;
use super::pages::Pages;
use crate::error::Result;
use crate::frame::FrameTable;
use crate::space::Owner;
use crate::units::{FrameNo, Lines, PageIndex};
use std::ops::Range;

/// Dirty lines that a sync has taken and must flush. The descriptors already call their frames clean, so a later sync
/// must not return before this one has flushed them.
#[must_use = "dirt that is taken and not flushed is lost"]
#[derive(Default)]
pub(crate) struct Dirt {
    frames: Vec<(FrameNo, Lines)>,
}

impl Pages {
    pub(super) fn note_dirty(&self, owner: Option<Owner>, frame: FrameNo) {
        let object = owner.map_or(Dirty::UNKNOWN, Owner::object);
        self.dirty.note(object, frame, |frame| self.is_dirty(frame));
    }

    /// Takes the dirty lines of an object, and all of unknown owners.
    pub(crate) fn take_dirt(&self, object: u64) -> Dirt {
        let object = Owner::new(object, PageIndex(0)).object();
        let mut dirt = Dirt::default();
        self.take_lines(&mut dirt, self.dirty.take(object));
        if object != Dirty::UNKNOWN {
            self.take_lines(&mut dirt, self.dirty.take(Dirty::UNKNOWN));
        }
        dirt
    }

    /// Takes the dirty lines of some pages of an object, and all of unknown owners.
    pub(crate) fn take_dirt_in(&self, object: u64, pages: Range<u64>) -> Dirt {
        let object = Owner::new(object, PageIndex(0)).object();
        let outside = |frame: &FrameNo| {
            let owner = Owner::of_word(FrameTable::global().owner(self.pfn(*frame)));
            owner.is_some_and(|o| o.object() == object && !pages.contains(&o.index().0))
        };
        let taken = self.dirty.take_but(object, outside);
        let mut dirt = Dirt::default();
        self.take_lines(&mut dirt, taken);
        if object != Dirty::UNKNOWN {
            self.take_lines(&mut dirt, self.dirty.take(Dirty::UNKNOWN));
        }
        dirt
    }

    /// Takes all dirty lines of the region.
    pub(crate) fn take_all_dirt(&self) -> Dirt {
        let mut dirt = Dirt::default();
        self.take_lines(&mut dirt, self.dirty.take_all());
        dirt
    }

    /// Forgets the notes of an object that is gone and need not be flushed.
    pub(crate) fn forget_dirt(&self, object: u64) {
        let object = Owner::new(object, PageIndex(0)).object();
        if object != Dirty::UNKNOWN {
            drop(self.dirty.take(object));
        }
    }

    fn is_dirty(&self, frame: FrameNo) -> bool {
        FrameTable::global().peek(self.pfn(frame)).is_some_and(|now| now.dirty())
    }

    fn take_lines(&self, dirt: &mut Dirt, frames: Vec<FrameNo>) {
        let table = FrameTable::global();
        let lines = frames.into_iter().map(|frame| (frame, table.take_dirty(self.pfn(frame))));
        dirt.frames.extend(lines.filter(|(_, lines)| !lines.is_empty()));
    }
}

impl Dirt {
    /// Whether there is nothing to flush.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames.
    pub(crate) fn frames(&self) -> impl Iterator<Item = FrameNo> {
        self.frames.iter().map(|&(frame, _)| frame)
    }

    /// Starts writing the lines back, run by run. They are durable after the next fence of this thread, or the next
    /// file sync, whichever the medium needs.
    pub(crate) fn flush(&self, pages: &Pages) -> Result {
        let memory = pages.region().memory();
        for &(frame, lines) in &self.frames {
            for run in lines.runs() {
                memory.flush(frame.offset() + run.start as u64, run.len())?;
            }
        }
        Ok(())
    }
}

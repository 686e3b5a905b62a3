//! Taking dirty lines, and flushing them.

use super::dirty::DirtMap;
use super::pages::Pages;
use crate::error::Result;
use crate::space::PageId;
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
    /// Notes that `frame` has become dirty, through a writer that knows it as `owner`'s.
    pub(super) fn note_dirty(&self, owner: Option<PageId>, frame: FrameNo) {
        if let Some(map) = &self.dirty {
            map.note(number(owner), frame);
        }
    }

    /// Takes the dirty lines of some pages of an object, and all of unknown owners.
    pub(crate) fn take_dirt_in(&self, object: u64, pages: Range<u64>) -> Dirt {
        let (object, all) = (number_of(object), self.region().frames());
        self.take(|map| {
            map.take(object, |frame| {
                let owner = PageId::of_word(all.dirty_owner(frame)?);
                let wanted = owner.is_some_and(|o| o.object() == object && pages.contains(&o.index().0));
                (!wanted).then(|| number(owner))
            })
        })
    }

    /// Takes the dirt of these frames, and all dirt of unknown owners.
    pub(crate) fn take_dirt_of(&self, frames: impl Iterator<Item = FrameNo>) -> Dirt {
        let mut dirt = self.take(|map| map.take(DirtMap::UNKNOWN, |_| None));
        self.take_lines(&mut dirt, frames);
        dirt
    }

    /// Takes all dirty lines of the region.
    pub(crate) fn take_all_dirt(&self) -> Dirt {
        self.take(DirtMap::take_all)
    }

    /// Whether more frames would have to be looked at for the dirt of an object than these.
    pub(crate) fn dirt_exceeds(&self, object: u64, frames: u64) -> bool {
        self.dirty.as_ref().is_some_and(|map| map.exceeds(number_of(object), frames))
    }

    fn take(&self, take: impl FnOnce(&DirtMap) -> Vec<FrameNo>) -> Dirt {
        let mut dirt = Dirt::default();
        if let Some(map) = &self.dirty {
            self.take_lines(&mut dirt, take(map).into_iter());
        }
        dirt
    }

    fn take_lines(&self, dirt: &mut Dirt, frames: impl Iterator<Item = FrameNo>) {
        let all = self.region().frames();
        let lines = frames.map(|frame| (frame, all.take_dirty(frame)));
        dirt.frames.extend(lines.filter(|(_, lines)| !lines.is_empty()));
    }
}

/// An owner's object, as the map knows it.
fn number(owner: Option<PageId>) -> u32 {
    owner.map_or(DirtMap::UNKNOWN, PageId::object)
}

/// An object, as the map knows it.
fn number_of(object: u64) -> u32 {
    PageId::new(object, PageIndex(0)).object()
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
                match memory.flush(frame.offset() + run.start as u64, run.len()) {
                    // It was freed since, and cut off with the end of the file.
                    Err(_) if frame.offset() >= memory.len() => {}
                    flushed => flushed?,
                }
            }
        }
        Ok(())
    }
}

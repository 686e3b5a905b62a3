//! The map of an object on the medium, as the source of its pages. It has only frames and holes: all content is in
//! frames.

use crate::error::Result;
use crate::media::{ObjectSlot, Structures};
use crate::space::{PageSource, Place};
use crate::units::{FrameNo, PageIndex};

/// An object's map.
pub(super) struct Map<'e> {
    pub(super) structures: &'e Structures,
    pub(super) slot: ObjectSlot,
}

impl PageSource for Map<'_> {
    fn place(&self, page: PageIndex) -> Result<Place> {
        self.structures.map(self.slot, page).map(place)
    }

    fn places(&self, first: PageIndex, count: usize) -> Result<Vec<Place>> {
        let found = self.structures.map_range(self.slot, first, count)?;
        Ok(found.into_iter().map(place).collect())
    }

    fn meet(&self, frame: FrameNo) -> Result {
        self.structures.met_page(frame)
    }
}

fn place(frame: Option<FrameNo>) -> Place {
    frame.map_or(Place::Hole, Place::Frame)
}

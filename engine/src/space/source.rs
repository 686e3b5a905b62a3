//! The places of the pages of one object, for lookups that miss the cache.

use crate::error::Result;
use crate::units::{FrameNo, PageIndex};

/// The place of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In this frame.
    Frame(FrameNo),
    /// In no frame: it has no content and reads as zeros.
    Hole,
    /// It has content that is not in a frame at the moment.
    #[allow(dead_code, reason = "what is stored in objects is in frames; a cache will have such pages")]
    Absent,
}

/// A source of the places of one object's pages.
pub(crate) trait PageSource {
    /// The place of a page.
    fn place(&self, page: PageIndex) -> Result<Place>;

    /// The places of `count` pages from `first` on.
    fn places(&self, first: PageIndex, count: usize) -> Result<Vec<Place>>;

    /// Checks a frame that is about to be used for a page. An error says what else it is used for.
    fn meet(&self, frame: FrameNo) -> Result;
}

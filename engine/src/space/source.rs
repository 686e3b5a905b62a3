//! Where the pages of one object are: what a look-up asks that misses.

use crate::error::Result;
use crate::units::{FrameNo, PageIndex};

/// Where a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In this frame.
    Frame(FrameNo),
    /// Nowhere: it has no content, and reads as zeros.
    Hole,
    /// It has content that is in no frame now.
    #[allow(dead_code, reason = "what is stored in objects is in frames; a cache will have such pages")]
    Absent,
}

/// What says where the pages of one object are.
pub(crate) trait PageSource {
    /// Where a page is.
    fn place(&self, page: PageIndex) -> Result<Place>;

    /// Where the `count` pages from `first` on are.
    fn places(&self, first: PageIndex, count: usize) -> Result<Vec<Place>>;

    /// A frame that was named is about to be taken for a page's: an error says what else it is used for.
    fn meet(&self, frame: FrameNo) -> Result;
}

//! Space managers: they know what each frame is used for.
//!
//! Pins, latches and guards ([`page`](crate::page)) know only frames. A space manager knows what a frame holds. The
//! object [`store`](crate::store) is the built-in one. They share the work as follows:
//!
//! - The manager changes the use of frames only inside `Pages::roles`. There it asks for each frame that it wants
//!   back whether the frame is pinned (`Roles::detach`). It may free an idle frame at once. A pinned frame stays out
//!   of use until its last pin is dropped and `Roles::take_released` returns it.
//! - A pin by frame number or address is made only after the manager has vouched for the frame.
#![forbid(unsafe_code)]

mod page_id;
mod source;

pub use page_id::PageId;
pub(crate) use source::{PageSource, Place};

use crate::error::Result;
use crate::units::FrameNo;

/// What pins must ask the space manager.
pub trait SpaceManager: Send + Sync {
    /// The frame that holds this page now; `None` for a hole, and for a page of an object that is not open.
    fn map(&self, page: PageId) -> Result<Option<FrameNo>>;

    /// Before the first store of an opening: gives everything in use its own blocks, and admits stores.
    fn prepare(&self) -> Result;

    /// Whether recovery after a power loss would store older bytes over the bytes that are now stored in this frame.
    /// The caller has latched it.
    fn would_replay(&self, frame: FrameNo) -> bool;

    /// The page of each frame; `None` for free frames, metadata, and pages that were cut off. `None` for all of them if
    /// [`learn_owners`](Self::learn_owners) has to find it out first.
    fn owners(&self, frames: &[FrameNo]) -> Result<Option<Vec<Option<PageId>>>>;

    /// Finds out which pages frames hold. It may take long, so the caller keeps no role from changing meanwhile.
    fn learn_owners(&self) -> Result;
}

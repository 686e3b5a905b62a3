//! Space managers: they say what a frame is for.
//!
//! Pins, latches and guards ([`page`](crate::page)) know frames; what a frame holds is the business of a space
//! manager. The object [`store`](crate::store) is the built-in one. The split of work:
//!
//! - The manager changes the role of frames only inside `Pages::roles`. There it asks for
//!   each frame it wants back whether it is pinned (`Roles::detach`). An idle frame
//!   it may free at once; a busy one stays out of use until its last pin has dropped and
//!   `Roles::take_released` hands it over.
//! - A pin by frame number or address is only given after the manager vouched for the frame.
#![forbid(unsafe_code)]

mod owner;
mod source;

pub use owner::Owner;
pub(crate) use source::{PageSource, Place};

use crate::error::Result;
use crate::units::FrameNo;

/// What pins must know of the space they work on.
pub trait SpaceManager: Send + Sync {
    /// The frame that holds this page now; `None` for a hole, and for a page of no open object.
    fn map(&self, page: Owner) -> Result<Option<FrameNo>>;

    /// Before the first store of an opening: sees to it that all that is in use has blocks of its own, and admits stores.
    fn prepare(&self) -> Result;

    /// Whether a power loss would store former bytes over what is stored in this frame now. The caller has latched it.
    fn would_replay(&self, frame: FrameNo) -> bool;

    /// For each frame the page that it holds; `None` for free frames, metadata, and pages that were cut off.
    fn owners(&self, frames: &[FrameNo]) -> Result<Vec<Option<Owner>>>;
}

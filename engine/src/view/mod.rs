//! Views: the pages of a range of an object, in order at consecutive addresses, wherever their frames are.
//!
//! A view is a window of addresses. A *piece* of it is a run of pages that lie in a run of frames, shown by one mapping of
//! the region's file. A view pins nothing: a page that is cut off from the object goes from the view before its frame is
//! freed (`page/alias.rs`), and from then on its addresses show zeros.
//!
//! Bytes are accessed through guards. They hold the pins and latches of all their pages, so that what they show neither
//! changes nor goes.

mod budget;
mod guards;
mod pieces;
mod runs;

pub use guards::{ViewPin, ViewRead, ViewWrite};
pub(crate) use pieces::{Fit, Pieces};

//! Where the pages of an open object are, as far as they were looked up: what a pin that hits reads instead of the map.
//!
//! All of it is a hint that is looked at again behind the pin: see [`Lookaside`].
#![forbid(unsafe_code)]

mod first_run;
mod lookaside;
#[cfg(not(pagestone_loom))]
mod reverse;

pub use lookaside::Lookaside;
#[cfg(not(pagestone_loom))]
pub(crate) use reverse::{Hint, Reverse};

//! Where the pages of an open object are, as far as they were looked up. A pin that hits reads this instead of the map.
//! The way back, from frames to pages, is here too.
//!
//! All of it is hints. A hit looks at its hint again after the pin: see [`Lookaside`].
#![forbid(unsafe_code)]

mod first_run;
mod lookaside;
#[cfg(not(pagestone_loom))]
mod reverse;

pub use lookaside::Lookaside;
#[cfg(not(pagestone_loom))]
pub(crate) use reverse::{Hint, Reverse};

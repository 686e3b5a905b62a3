//! Where the pages of an open object are, as far as they were looked up: what a pin that hits reads instead of the map.
//!
//! All of it is a hint that is looked at again behind the pin: see [`Lookaside`].
#![forbid(unsafe_code)]

mod first_run;
mod lookaside;

pub use lookaside::Lookaside;

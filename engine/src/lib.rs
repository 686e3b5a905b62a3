//! Pagestone: an embeddable persistent-memory page cache engine with shared page descriptors.

pub mod error;
pub mod units;

#[doc(hidden)]
pub mod sync;
#[doc(hidden)]
pub mod persist;
#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod region;
#[doc(hidden)]
pub mod media;
pub mod space;
pub mod page;
pub mod store;
pub mod stats;

pub use error::{Error, Result};

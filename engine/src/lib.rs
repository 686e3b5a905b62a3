//! Pagestone: an embeddable persistent-memory page cache engine with shared page descriptors.

pub mod error;
pub mod units;

#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod media;
pub mod page;
#[doc(hidden)]
pub mod persist;
#[doc(hidden)]
pub mod region;
pub mod space;
pub mod stats;
pub mod store;
#[doc(hidden)]
pub mod sync;

pub use error::{Error, Result};

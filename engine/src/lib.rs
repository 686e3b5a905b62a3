//! Pagestone: an embeddable persistent-memory page cache engine with shared page descriptors.

// What stands on mapped memory is not part of the models (`pagestone_loom`).

pub mod error;
pub mod units;

#[doc(hidden)]
pub mod frame;
#[cfg(not(pagestone_loom))]
#[doc(hidden)]
pub mod media;
#[cfg(not(pagestone_loom))]
pub mod page;
#[doc(hidden)]
pub mod persist;
#[cfg(not(pagestone_loom))]
#[doc(hidden)]
pub mod region;
#[cfg(not(pagestone_loom))]
pub mod space;
pub mod stats;
#[cfg(not(pagestone_loom))]
pub mod store;
#[doc(hidden)]
pub mod sync;

pub use error::{Error, Result};

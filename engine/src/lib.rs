//! Pagestone: an embeddable persistent-memory page cache engine with shared page descriptors.

// What stands on mapped memory is not part of loom's models (`pagestone_loom`), except what a hit reads. Shuttle's
// (`pagestone_shuttle`) see all.
#![cfg_attr(
    pagestone_loom,
    allow(dead_code, unused_imports, missing_docs, reason = "a model sees parts of modules")
)]

pub mod error;
pub mod units;

#[doc(hidden)]
pub mod frame;
#[cfg(not(pagestone_loom))]
#[doc(hidden)]
pub mod media;
#[cfg(pagestone_loom)]
pub mod media {
    pub mod layout;
}
#[cfg(not(pagestone_loom))]
pub mod page;
#[doc(hidden)]
pub mod persist;
#[cfg(not(pagestone_loom))]
#[doc(hidden)]
pub mod region;
#[cfg(pagestone_loom)]
pub mod region {
    mod orphans;
    pub use orphans::Orphans;
}
#[cfg(not(pagestone_loom))]
pub mod space;
pub mod stats;
#[cfg(not(pagestone_loom))]
pub mod store;
#[cfg(pagestone_loom)]
pub mod store {
    mod extent;
    mod lookaside;
    mod syncs;
    pub use lookaside::Lookaside;
    pub use syncs::Syncs;
}
#[doc(hidden)]
pub mod sync;

pub use error::{Error, Result};

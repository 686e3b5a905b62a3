//! Pagestone: an embeddable persistent-memory page cache engine with shared page descriptors.
//!
//! A *region* (a file, persistent memory, or anonymous memory) holds named [objects](store::Object). Their pages are
//! used in place: a [pin](page::PageRef) is the address of the page itself and keeps it there, and a
//! [guard](page::ReadGuard) is the right to access its bytes. Each frame has one descriptor in the whole process,
//! however it was reached; the descriptor counts the pins.
//!
//! ```
//! use pagestone::{PageIndex, Store};
//!
//! # fn main() -> pagestone::Result {
//! # let folder = tempfile::tempdir().map_err(|e| pagestone::Error::Invalid(e.to_string()))?;
//! # let path = folder.path().join("data.pgs");
//! let store = Store::options().create(true).open(&path)?;
//! let visits = store.open_or_create("visits")?;
//! visits.append(b"somebody was here\n")?;
//!
//! // No copy: the address lies in the region.
//! let page = visits.pin(PageIndex(0))?.expect("no hole");
//! assert_eq!(&page.read()?[..8], b"somebody");
//!
//! // From here on it survives a power loss.
//! visits.sync()?;
//! # Ok(())
//! # }
//! ```
//!
//! Start at [`store`]; [`page`] describes pins and guards. Besides the reference there are these pages:
//! [`durability`]: what survives a crash, and what it costs; [`limitations`]: what is missing, and limits in numbers;
//! [`implementation`]: how it works; [`format_1`]: every byte of a region; [`log_rules`]: the rules of the redo log, each with the
//! crash that it prevents.

// Modules that need mapped memory are not part of loom's models (`pagestone_loom`), except what a hit reads. Models
// of shuttle (`pagestone_shuttle`) have all modules.
#![cfg_attr(
    pagestone_loom,
    allow(dead_code, unused_imports, missing_docs, reason = "a model sees parts of modules")
)]
// With the feature, tests call some internals that nothing else calls.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unused_imports, reason = "tests call the rest"))]

#[cfg(not(pagestone_loom))]
mod engine;
pub mod error;
pub mod units;

#[cfg(not(feature = "internals"))]
mod frame;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod frame;
#[cfg(not(pagestone_loom))]
mod lookup;
#[cfg(pagestone_loom)]
pub mod lookup;
#[cfg(not(any(feature = "internals", pagestone_loom)))]
mod media;
#[cfg(all(feature = "internals", not(pagestone_loom)))]
#[doc(hidden)]
pub mod media;
#[cfg(pagestone_loom)]
pub mod media {
    pub mod layout;
}
#[cfg(not(pagestone_loom))]
pub mod page;
#[cfg(pagestone_loom)]
pub mod page {
    mod dirty;
    pub use dirty::DirtMap;
}
#[cfg(not(feature = "internals"))]
mod persist;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod persist;
#[cfg(not(any(feature = "internals", pagestone_loom)))]
mod region;
#[cfg(all(feature = "internals", not(pagestone_loom)))]
#[doc(hidden)]
pub mod region;
#[cfg(pagestone_loom)]
pub mod region {
    mod orphans;
    pub use orphans::Orphans;
}
pub mod process;
#[cfg(not(pagestone_loom))]
mod space;
pub mod stats;
#[cfg(not(pagestone_loom))]
pub mod store;
#[cfg(not(pagestone_loom))]
mod view;
#[cfg(pagestone_loom)]
pub mod engine {
    mod syncs;
    pub use syncs::Syncs;
}
#[cfg(not(feature = "internals"))]
mod sync;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod sync;

#[doc = include_str!("../docs/durability.md")]
pub mod durability {}
#[doc = include_str!("../ARCHITECTURE.md")]
pub mod implementation {}
#[doc = include_str!("../docs/format.md")]
pub mod format_1 {}
#[doc = include_str!("../docs/log.md")]
pub mod log_rules {}
#[doc = include_str!("../docs/limitations.md")]
pub mod limitations {}

pub use error::{Error, Result};
#[cfg(not(pagestone_loom))]
pub use page::{PageRef, ReadGuard, WriteGuard};
#[cfg(not(pagestone_loom))]
pub use store::{Batch, Object, Options, Store};
pub use units::{Durability, PageIndex, Pfn};

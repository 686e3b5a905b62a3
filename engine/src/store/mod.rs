//! The object store: named, sparse, byte-addressed objects whose pages are pinned in place.
//!
//! ```
//! use pagestone::Store;
//!
//! # fn main() -> pagestone::Result {
//! # let folder = tempfile::tempdir().map_err(|e| pagestone::Error::Invalid(e.to_string()))?;
//! # let path = folder.path().join("data.pgs");
//! let store = Store::options().create(true).open(&path)?;
//! let object = store.open_or_create("inventory")?;
//! object.write_at(0, b"12 apples")?;
//! object.sync()?;
//!
//! drop(object);
//! store.close()?;
//! let store = Store::options().open(&path)?;
//! assert_eq!(store.exists("inventory")?, Some(9));
//! # Ok(())
//! # }
//! ```
//!
//! The changes of a call that returned survive the death of the process. They survive a power loss once they are
//! synced. Without a sync, a power loss may keep or lose them, operation by operation, but a page never shows bytes
//! that it held for another object.
#![forbid(unsafe_code)]

mod batch;
mod close;
mod info;
mod mapped_ranges;
mod names;
mod object;
mod options;
mod repair;
mod view;

pub use crate::engine::Moved;
pub use crate::media::check::{Counts, Finding, Report};
pub use crate::media::ending::{Ending, Recovery, Why};
pub use crate::media::repair::{Repair, Repaired};
pub use crate::page::frames_at;
pub use crate::view::{ViewPin, ViewRead, ViewWrite};
pub use batch::Batch;
pub use close::CloseError;
pub use info::{Defect, Entry, FileId, Info, defects};
pub use mapped_ranges::MappedRanges;
pub use object::{Object, PinRange};
pub use options::Options;
pub use view::View;

use crate::engine::Engine;
use crate::error::Result;
use crate::page::{PageRef, Pages};
use crate::units::PfnRange;
use std::fmt;
use std::sync::Arc;

/// An open store. Clones are handles of the same store.
///
/// Open objects keep their store open. [`close`](Self::close) ends the store and reports errors; dropping the last
/// handle does the same as far as possible. Pins that outlive the store keep its memory mapped and the region
/// claimed; the last of them to drop unmaps it and ends the claim. Bytes that were stored through them after the
/// store had gone are there at the next opening, and after a power loss they count as not synced.
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
    names: Arc<names::Names>,
}

impl Store {
    /// The options of an opening, to be set and opened.
    pub fn options() -> Options {
        Options::new()
    }

    /// Pins the frames of a range of pfns, in order. The pins use the same descriptors and counts as pins by object
    /// or by address, and are released in the same way.
    ///
    /// # Errors
    /// `OutOfRange` for pfns outside this store; `Invalid` if a frame holds no page of an object; `Detached` if its
    /// page was cut off. On an error no pin stays.
    pub fn frames(&self, range: PfnRange) -> Result<Vec<PageRef>> {
        self.engine.pages.frames(range)
    }

    /// The pages of the store's region, for callers that pass pins around by address.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.engine.pages
    }

    /// Returns free space to the file system, and returns the number of bytes. The region's file is cut
    /// behind the last used page and gets holes elsewhere; later writes take space from the disk again. The engine makes
    /// holes by itself if more than 16 MiB and 1/8 of the region is free.
    ///
    /// ```
    /// # use pagestone::Store;
    /// # fn main() -> pagestone::Result {
    /// # let store = Store::options().open_memory(1 << 20)?;
    /// store.create("draft")?.write_at(0, &[1; 4 << 20])?;
    /// store.unlink("draft")?;
    /// assert!(store.compact()? >= 4 << 20);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Each free run is one call of the file system. That takes milliseconds if the disk is told of it, so a region
    /// with very many small free runs takes minutes. Other calls go on meanwhile.
    ///
    /// # Durability
    /// The returned space had been freed durably before. Names and sizes that were changed before are durable on
    /// return.
    ///
    /// # Errors
    /// `ReadOnly`; `Io` if the file system cannot make holes. No stored byte changes.
    pub fn compact(&self) -> Result<u64> {
        self.engine.begin_store()?;
        self.engine.settle()?;
        self.engine.change()?.compact()
    }

    /// Makes everything durable that was written to any object before.
    ///
    /// # Durability
    /// On return it survives a power loss (a `Volatile` region survives none).
    ///
    /// # Errors
    /// A failed flush poisons the region: this and all later calls fail until it is opened again.
    pub fn sync(&self) -> Result {
        self.engine.sync_everything()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.info().path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

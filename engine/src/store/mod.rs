//! The object store: named, sparse, byte-addressed objects whose pages are pinned where they lie.
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
//! What a call changed survives the death of the process when it returns. A power loss survives what was synced; what
//! was not may be there or not, operation by operation, and no page ever shows what it held for another object.
#![forbid(unsafe_code)]

mod batch;
mod close;
mod info;
mod mapped_ranges;
mod names;
mod object;
mod options;

pub use crate::media::check::{Counts, Finding, Report};
pub use crate::media::ending::{Ending, Recovery, Why};
pub use crate::page::frames_at;
pub use batch::Batch;
pub use close::CloseError;
pub use info::{Defect, Entry, FileId, Info, Mapped, defects};
pub use mapped_ranges::MappedRanges;
pub use object::{Object, PinRange};
pub use options::Options;

use crate::engine::Engine;
use crate::error::Result;
use crate::page::{PageRef, Pages};
use crate::units::PfnRange;
use std::fmt;
use std::sync::Arc;

/// An open store. Clones are handles of the same one.
///
/// Open objects keep their store open. [`close`](Self::close) ends it in order and says what went wrong; dropping the
/// last handle does the same as well as it can. Pins that outlive the store keep its memory mapped and the region
/// claimed; the last of them to drop unmaps it and ends the claim. What was stored through them after the store had gone is
/// there at the next opening, and survives a power loss as what was never synced.
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
    names: Arc<names::Names>,
}

impl Store {
    /// How to open a store.
    pub fn options() -> Options {
        Options::new()
    }

    /// Pins on the frames of a range of pfns, in order: the same descriptors, counts and release as of pins made
    /// through objects or by address.
    ///
    /// # Errors
    /// `OutOfRange` for pfns that are not of this store; `Invalid` when a frame holds no page of an object; `Detached`
    /// when its page was cut off. No pin is left behind.
    pub fn frames(&self, range: PfnRange) -> Result<Vec<PageRef>> {
        self.engine.pages.frames(range)
    }

    /// The pages of the store's region, for a caller that passes pins around by address.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.engine.pages
    }

    /// Gives free space back to the file system: how many bytes. The region's file keeps its length and gets holes; what is
    /// stored later takes its space from the disk again. Some of this happens by itself, where more than 16 MiB and an
    /// eighth of the region is free.
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
    /// Each free run is one call of the file system: of milliseconds on a disk that is told of it, so that a region with very
    /// many small holes takes minutes. Other calls go on meanwhile.
    ///
    /// # Durability
    /// What went back was freed durably before. Names and sizes are durable on return, as far as they were changed before.
    ///
    /// # Errors
    /// `ReadOnly`; `Io` where the file system cannot make holes. What is stored is as before.
    pub fn compact(&self) -> Result<u64> {
        self.engine.begin_walk_and_change()?;
        self.engine.settle()?;
        self.engine.ledger.compact()
    }

    /// Makes everything durable that was written before, to any object.
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

//! What to attach, and how.

use super::addresses;
use super::identity::Identity;
use super::mapping::BLOCK;
use crate::error::{Error, Result};
use crate::persist::Recorder;
use crate::units::{Durability, FRAME_SIZE, REGION_FRAMES_MAX};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The largest size of a region in bytes (16 TiB).
pub(super) const REGION_MAX: u64 = REGION_FRAMES_MAX * FRAME_SIZE as u64;
/// Addresses for an image: tests attach images by the million. In a model, the descriptor of each frame is heap
/// memory.
const IMAGE_ROOM: u64 = if cfg!(any(pagestone_shuttle, miri)) { 4 << 20 } else { 64 << 20 };

/// A supplier of frames.
#[derive(Debug)]
pub enum Source {
    /// A file, with or without a page cache, or a devdax device: attaching finds out which.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// Anonymous memory, gone with the process.
    Memory {
        /// Its initial length.
        bytes: u64,
    },
    /// Private memory with these initial bytes: for crash states and damaged regions.
    Image(Vec<u8>),
}

/// How to attach a region.
#[derive(Clone, Debug, Default)]
pub struct RegionOptions {
    /// Create the file if it does not exist.
    pub create: bool,
    /// With `create`: fail if it exists.
    pub create_new: bool,
    /// Permissions of a file that is created, less the process's umask.
    pub mode: Option<u32>,
    /// How long to wait for the holder of the claim.
    pub wait: Duration,
    /// Neither write nor exclude other readers.
    pub read_only: bool,
    /// As `read_only`, but stores go to private memory: this is how a region that was not closed cleanly is read
    /// without changing it.
    pub private: bool,
    /// The region never grows beyond this, and its window has this size.
    pub max_bytes: Option<u64>,
    /// Fail if the medium is weaker than this.
    pub required: Option<Durability>,
    /// Treat the medium as this class, whatever it is.
    pub assume: Option<Durability>,
    /// Allow storage that copies on write. There, a store can meet a full disk, which is a `SIGBUS`, although its
    /// block was allocated.
    pub copy_on_write: bool,
    /// Treat the last owner's end as a power loss, whatever is known about it.
    pub assume_power_loss: bool,
    /// Records everything that goes through the region's [`Persist`](crate::persist::Persist).
    pub recorder: Option<Arc<Recorder>>,
    /// Overrides the identity: this file on this boot (for tests of recovery).
    pub identity: Option<Identity>,
}

impl RegionOptions {
    pub(super) fn validate(&self) -> Result {
        if self.create && (self.read_only || self.private) {
            return Err(Error::Invalid(
                "a region opened for reading cannot be created: drop one of the two options".into(),
            ));
        }
        if self.create_new && !self.create {
            return Err(Error::Invalid("`create_new` needs `create`: ask for that as well".into()));
        }
        match self.max_bytes {
            Some(max) if max > REGION_MAX => {
                Err(Error::OutOfRange { what: "max_bytes", value: max, limit: REGION_MAX })
            }
            _ => Ok(()),
        }
    }

    /// Whether stores into the mapping are possible at all.
    pub(super) fn writable(&self) -> bool {
        self.private || !self.read_only
    }

    /// Bytes of addresses that a source of `len` bytes gets at first.
    pub(super) fn window(&self, len: u64, image: bool) -> Result<u64> {
        if len > REGION_MAX {
            return Err(Error::OutOfRange { what: "file length", value: len, limit: REGION_MAX });
        }
        let room = || if image || cfg!(pagestone_shuttle) { IMAGE_ROOM } else { addresses::share() };
        // Twice its length: reopening a region that has filled its window gives it a wider one.
        let window = self.max_bytes.unwrap_or_else(|| room().max(2 * len)).max(len).clamp(1, REGION_MAX);
        Ok(window.next_multiple_of(BLOCK))
    }
}

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

/// Most bytes of a region (16 TiB).
pub(super) const REGION_MAX: u64 = REGION_FRAMES_MAX * FRAME_SIZE as u64;
/// Addresses that an image gets: tests attach them by the million. In a model a frame's descriptor is heap.
const IMAGE_ROOM: u64 = if cfg!(any(pagestone_shuttle, miri)) { 4 << 20 } else { 64 << 20 };

/// A supplier of frames.
#[derive(Debug)]
pub enum Source {
    /// A file, with or without a page cache, or a devdax device: which of them is found out.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// Anonymous memory, gone with the process.
    Memory {
        /// Its first length.
        bytes: u64,
    },
    /// Private memory that begins with these bytes: crash states, damaged regions.
    Image(Vec<u8>),
}

/// How to attach a region.
#[derive(Clone, Debug, Default)]
pub struct RegionOptions {
    /// Create the file if there is none.
    pub create: bool,
    /// With `create`: fail if there is one.
    pub create_new: bool,
    /// Rights of a file that is created, less what the process masks (umask).
    pub mode: Option<u32>,
    /// How long a holder of the claim is waited for.
    pub wait: Duration,
    /// Neither write nor exclude other readers.
    pub read_only: bool,
    /// As `read_only`, but stores go to private memory: how an unclean region is read without changing it.
    pub private: bool,
    /// The region never grows beyond this, and its window is as wide.
    pub max_bytes: Option<u64>,
    /// Fail if the medium is weaker.
    pub required: Option<Durability>,
    /// Take the medium to be of this class, whatever it is.
    pub assume: Option<Durability>,
    /// Allow storage that writes elsewhere when overwritten. There a store can meet a full disk, which is a
    /// `SIGBUS`, although its block was allocated.
    pub copy_on_write: bool,
    /// Take whatever the last owner left for what a power loss leaves, whatever can be told of its end.
    pub assume_power_loss: bool,
    /// Hears everything that goes through the region's door.
    pub recorder: Option<Arc<Recorder>>,
    /// Says it is this file on this boot (tests of recovery).
    pub identity: Option<Identity>,
}

impl RegionOptions {
    pub(super) fn validate(&self) -> Result {
        if self.create && (self.read_only || self.private) {
            return Err(Error::Invalid(
                "a region opened for reading cannot be created: drop one of both".into(),
            ));
        }
        if self.create_new && !self.create {
            return Err(Error::Invalid("`create_new` says how to create: ask for `create` as well".into()));
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
        // Twice what it has: an opening of a region that has filled its window gives it a wider one.
        let window = self.max_bytes.unwrap_or_else(|| room().max(2 * len)).max(len).clamp(1, REGION_MAX);
        Ok(window.next_multiple_of(BLOCK))
    }
}

//! The region's bytes by offset: all reads and writes of the medium's structures go through here.
//!
//! Offsets come from the medium, so every access is checked, and a bad offset is [`Error::Corrupt`].
//!
//! | file | holds |
//! |---|---|
//! | `memory` | the type, and what bounds an access |
//! | `bytes` | loads and stores |
//! | `file` | syncs, direct writes and checks of the file |
//! | `health` | why the region failed |

use super::claim::Claim;
use super::file::{FileState, Habits};
use super::health::Health;
use super::mapping::Mapping;
use super::options::RegionOptions;
use crate::error::{Error, Result};
use crate::frame::Frames;
use crate::persist::Persist;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds-checked access to a region's bytes.
///
/// Words ([`Self::load`], [`Self::store`]) are atomic and may race. For ranges, the caller keeps other threads out:
/// by the page's latch, or because no other thread knows the frame yet.
#[derive(Debug)]
pub struct Memory {
    // The order matters: the bytes are unmapped before the claim is released.
    pub(super) mapping: Mapping,
    pub(super) claim: Option<Claim>,
    len: AtomicU64,
    pub(super) frames: Frames,
    pub(super) persist: Persist,
    pub(super) writable: bool,
    pub(super) private: bool,
    /// The region's name in messages.
    pub(super) name: String,
    pub(super) file: FileState,
    health: Health,
}

impl Memory {
    #[allow(clippy::too_many_arguments, reason = "each is one field, and there is one caller")]
    pub(super) fn new(
        mapping: Mapping,
        claim: Option<Claim>,
        len: u64,
        frames: Frames,
        persist: Persist,
        options: &RegionOptions,
        habits: Habits,
        name: String,
    ) -> Self {
        Self {
            mapping,
            claim,
            len: AtomicU64::new(len),
            frames,
            persist,
            writable: options.writable(),
            private: options.private,
            name,
            file: FileState::new(habits),
            health: Health::default(),
        }
    }

    /// The region's length in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u64 {
        // ORDERING: Acquire: pairs with the Release of growth: the new bytes are there.
        self.len.load(Ordering::Acquire)
    }

    /// Whether the region is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The region's access to durability: flushes, fences and syncs.
    #[must_use]
    pub fn persist(&self) -> &Persist {
        &self.persist
    }

    /// Whether the medium has a fixed size.
    pub(super) fn fixed(&self) -> bool {
        self.mapping.fixed()
    }

    #[inline]
    pub(super) fn base(&self) -> *mut u8 {
        self.mapping.base()
    }

    /// Whether this process is a forked child, which has nothing of the region.
    pub(super) fn forked(&self) -> bool {
        self.mapping.forked()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn window(&self) -> u64 {
        self.mapping.window()
    }

    pub(super) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Publishes another length. Of a greater one the bytes are there already, of a smaller one still.
    pub(super) fn set_len(&self, len: u64) {
        // ORDERING: Release: pairs with `len`.
        self.len.store(len, Ordering::Release);
    }

    pub(super) fn poison(&self, why: String) {
        self.health.poison(why);
    }

    pub(super) fn poisoned(&self) -> Option<&str> {
        self.health.poisoned()
    }

    #[inline]
    pub(super) fn ensure_usable(&self) -> Result {
        if self.mapping.forked() { Err(Error::Forked) } else { self.health.ensure_sound() }
    }

    pub(super) fn check_writable(&self) -> Result {
        if self.writable { Ok(()) } else { Err(Error::ReadOnly) }
    }

    #[inline]
    pub(super) fn check_word(&self, offset: u64) -> Result {
        if offset % 8 != 0 {
            return Err(Error::corrupt("offset", offset, "it is not a multiple of 8"));
        }
        self.check(offset, 8)
    }

    #[inline]
    pub(super) fn check(&self, offset: u64, len: usize) -> Result {
        if self.mapping.forked() {
            return Err(Error::Forked);
        }
        let have = self.len();
        if offset > have || len as u64 > have - offset {
            return Err(outside(offset, len, have));
        }
        Ok(())
    }
}

#[cold]
fn outside(offset: u64, len: usize, have: u64) -> Error {
    Error::corrupt("offset", offset, format!("{len} bytes there lie outside the region's {have}"))
}

//! The process's table, and forks.
//!
//! A child gets none of the parent's frames. The kernel wipes the table's pages there (`MADV_WIPEONFORK`), so each
//! pin is a first touch, and a first touch returns `Forked`. The child's own table starts above all pfns that the
//! parent ever allocated, so a pfn of the parent never names a frame of the child.

use super::table::{CHUNK_BUDGET, FRAMES_MAX, FrameTable};
use crate::error::Result;
use crate::sync::fork;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Pfns below this belong to a parent.
static FLOOR: AtomicU64 = AtomicU64::new(0);
/// Null until first used. The table is never freed.
static TABLE: AtomicPtr<FrameTable> = AtomicPtr::new(std::ptr::null_mut());

/// The table of one schedule.
#[cfg(pagestone_shuttle)]
static OF_SCHEDULE: crate::sync::Global<FrameTable> =
    crate::sync::Global::new(|| FrameTable::above(FRAMES_MAX, CHUNK_BUDGET, 0).expect("the heap has room"));

/// The smallest table, for 256 MiB.
const FRAMES_MIN: u64 = 1 << 16;

/// Called in a forked child, which starts without a table.
fn leave_to_parent() {
    // ORDERING: Relaxed, all: no other thread exists.
    let table = TABLE.swap(std::ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: the pointer is null or came from `Box::leak`.
    if let Some(table) = unsafe { table.as_ref() } {
        FLOOR.fetch_max(table.space.high(), Ordering::Relaxed);
    }
}

impl FrameTable {
    /// Makes sure that this process has a table.
    ///
    /// # Errors
    /// If not even the addresses of a small table can be reserved.
    pub fn ensure_global() -> Result {
        // ORDERING: Acquire: as in `global`.
        if TABLE.load(Ordering::Acquire).is_null() {
            Self::make_global()?;
        }
        Ok(())
    }

    /// Reserves the largest table if possible, otherwise a smaller one that leaves addresses for other uses.
    fn reserve(floor: u64) -> Result<Self> {
        let mut frames = FRAMES_MAX;
        loop {
            match Self::above(frames, CHUNK_BUDGET, floor) {
                Ok(table) if frames == FRAMES_MAX => return Ok(table),
                Ok(table) => {
                    drop(table);
                    return Self::above((frames / 8).max(FRAMES_MIN), CHUNK_BUDGET, floor);
                }
                Err(error) if frames <= FRAMES_MIN => return Err(error),
                Err(_) => frames /= 2,
            }
        }
    }

    /// The table of this process.
    ///
    /// # Panics
    /// If not even a small table can be reserved. [`Self::ensure_global`] returns an error instead.
    #[inline]
    #[must_use]
    pub fn global() -> &'static Self {
        #[cfg(pagestone_shuttle)]
        let table = Some(OF_SCHEDULE.get());
        // ORDERING: Acquire: pairs with the publication in `make_global`.
        // SAFETY: null, or leaked by `make_global` after it was built.
        #[cfg(not(pagestone_shuttle))]
        let table = unsafe { TABLE.load(Ordering::Acquire).as_ref() };
        table.unwrap_or_else(Self::make_or_panic)
    }

    #[cold]
    fn make_or_panic() -> &'static Self {
        Self::make_global().expect("attaching a region makes sure of the table")
    }

    fn make_global() -> Result<&'static Self> {
        fork::on_child(leave_to_parent);
        // ORDERING: Relaxed: changed by a fork's child while it has one thread.
        let floor = FLOOR.load(Ordering::Relaxed);
        let table = Self::reserve(floor)?;
        let table = Box::into_raw(Box::new(table));
        let null = std::ptr::null_mut();
        // ORDERING: Release publishes the table; Acquire on failure as in `global`.
        match TABLE.compare_exchange(null, table, Ordering::Release, Ordering::Acquire) {
            // SAFETY: just built, and from now on shared only.
            Ok(_) => Ok(unsafe { &*table }),
            Err(first) => {
                // SAFETY: ours alone: it was not published.
                drop(unsafe { Box::from_raw(table) });
                // SAFETY: published by another thread.
                Ok(unsafe { &*first })
            }
        }
    }
}

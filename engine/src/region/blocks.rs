//! Blocks of its own for every byte that is stored to.
//!
//! A store to a byte of a full disk that has no block, or one that another file shares, is a `SIGBUS`. Growth gives
//! blocks to all of its bytes (`growth`). A file that comes from elsewhere may lack some: copied as a sparse file, or
//! sharing its extents with a copy. So the first store of an opening waits until the region's manager has asked for
//! the [gaps](Region::gaps) and filled those that are in use; the others are free space, and are filled before they are
//! used. Blocks that nothing uses [go back](Region::take_blocks) to the file system.

use super::Region;
use super::below;
use super::extents::{self, Gap};
use super::growth::{self, fallocate};
use super::mapping::BLOCK;
use crate::error::{Error, Result};
use crate::persist::FileOperation;
use crate::sync::atomic::Ordering;
use crate::units::{FRAME_SIZE, MediumKind};
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// Most bytes that get blocks in one call: others wait for the file system meanwhile.
const PORTION: u64 = 64 << 20;

impl Region {
    /// Whether stores may begin: all that is in use has blocks of its own, as far as was asked.
    #[inline]
    #[must_use]
    pub fn admits_stores(&self) -> bool {
        // ORDERING: Acquire: pairs with the Release of `admit_stores`.
        self.stores.load(Ordering::Acquire)
    }

    /// Lets stores begin.
    pub fn admit_stores(&self) {
        // ORDERING: Release: a thread that finds it true stores to blocks that are there.
        self.stores.store(true, Ordering::Release);
    }

    /// Whether the region's bytes have blocks that a file system gives and takes.
    #[must_use]
    pub fn has_blocks(&self) -> bool {
        !self.is_fixed()
    }

    /// Frames that get and lose blocks together: where 2 MiB may be one mapping, these.
    #[must_use]
    pub fn frames_together(&self) -> u32 {
        if self.kind() == MediumKind::DaxFile { (BLOCK / FRAME_SIZE as u64) as u32 } else { 1 }
    }

    /// The parts of `within` that have no blocks of their own, in whole frames.
    ///
    /// # Errors
    /// `Io`; nothing was changed.
    pub fn gaps(&self, within: Range<u64>) -> Result<Vec<Gap>> {
        let Some(file) = self.block_file()? else { return Ok(Vec::new()) };
        // Where there is no page cache, blocks that were never written are as bad as none: see `growth`.
        let written = self.kind() == MediumKind::DaxFile;
        let asked = || extents::gaps(file, within.clone(), written);
        let mut gaps = self
            .memory
            .persist()
            .attempt(FileOperation::Look, asked)
            .map_err(|error| Error::io(format!("asking for the blocks of {}", self.name()), error))?;
        let frame = FRAME_SIZE as u64;
        for gap in &mut gaps {
            gap.bytes = gap.bytes.start / frame * frame..gap.bytes.end.next_multiple_of(frame);
        }
        // What is covered cannot be stored to, whatever else has given it blocks.
        let covered = self.memory.covered(&within).into_iter();
        let apart = |bytes: &Range<u64>| {
            !gaps.iter().any(|gap| gap.bytes.start <= bytes.start && bytes.end <= gap.bytes.end)
        };
        let missed: Vec<_> = covered.filter(apart).map(|bytes| Gap { bytes, shared: false }).collect();
        if !missed.is_empty() {
            gaps = joined(gaps, missed);
        }
        Ok(gaps)
    }

    /// Gives a gap blocks of its own. What it shows stays. No thread stores to it meanwhile.
    ///
    /// # Errors
    /// `NoSpace`: a part of it may have got some.
    pub fn fill_gap(&self, gap: &Gap) -> Result {
        let Some(file) = self.block_file()? else { return Ok(()) };
        let direct = self.kind() == MediumKind::DaxFile;
        let mut start = gap.bytes.start;
        while start < gap.bytes.end {
            let end = gap.bytes.end.min(start + PORTION);
            let fill = || match (gap.shared, direct) {
                (true, _) => unshare(file, start..end),
                (false, true) => growth::fill_direct(file, start..end),
                (false, false) => growth::fill(file, start..end),
            };
            self.memory.persist().attempt(FileOperation::Allocate, fill).map_err(|error| {
                match error.raw_os_error() {
                    Some(libc::ENOSPC | libc::EFBIG | libc::EDQUOT) => {
                        Error::NoSpace { why: self.lacking(&error) }
                    }
                    _ => Error::io(format!("allocating {} bytes of {}", end - start, self.name()), error),
                }
            })?;
            start = end;
        }
        self.memory.show(gap.bytes.clone())
    }

    /// Gives blocks of their own to all of `within`, each range ascending and apart from the others. No thread stores
    /// to them meanwhile.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn fill_gaps(&self, within: impl IntoIterator<Item = Range<u64>>) -> Result {
        if self.admits_stores() {
            return Ok(());
        }
        for range in within {
            self.gaps(range)?.iter().try_for_each(|gap| self.fill_gap(gap))?;
        }
        Ok(())
    }

    /// Gives the blocks of whole frames back to the file system: they read as zeros from now on, and after a crash as
    /// before or as zeros. Nothing uses them, and none is stored to before its gap was filled.
    ///
    /// # Durability
    /// None is wanted: nothing that matters lies there.
    ///
    /// # Errors
    /// `Io`: some of them may be gone.
    pub fn take_blocks(&self, bytes: Range<u64>) -> Result {
        self.ensure_usable()?;
        let len = (bytes.end - bytes.start) as usize;
        self.memory.punch(bytes.start, len).map_err(|error| match error {
            Error::Io { source, .. } => {
                Error::io(format!("giving {len} bytes of {} back to its file system", self.name()), source)
            }
            other => other,
        })
    }

    /// The file, where blocks can be lacking and stores need them. Memory has them when it is touched.
    fn block_file(&self) -> Result<Option<BorrowedFd<'_>>> {
        if self.is_fixed() || self.path().is_none() || self.read_only() {
            return Ok(None);
        }
        self.memory.descriptor()
    }

    fn lacking(&self, error: &io::Error) -> String {
        format!(
            "{} has bytes without a block of their own (it was copied with holes, shares blocks with a copy, or gave \
             them back), and they get none: {error}",
            self.name()
        )
    }
}

/// All bytes of either, ascending and apart. None is shared: it is of a file in memory.
fn joined(gaps: Vec<Gap>, others: Vec<Gap>) -> Vec<Gap> {
    let mut all: Vec<Gap> = gaps.into_iter().chain(others).collect();
    all.sort_by_key(|gap| gap.bytes.start);
    all.dedup_by(|next, gap| {
        let touch = next.bytes.start <= gap.bytes.end;
        if touch {
            gap.bytes.end = gap.bytes.end.max(next.bytes.end);
        }
        touch
    });
    all
}

/// Gives blocks of its own to what the file shares with others.
fn unshare(file: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<()> {
    const UNSHARE: libc::c_int = 0x40; // FALLOC_FL_UNSHARE_RANGE
    match fallocate(file, UNSHARE, bytes.start, bytes.end) {
        Err(error) if growth::is_unknown(&error) || error.raw_os_error() == Some(libc::EINVAL) => {
            let writes_elsewhere = below::copies_on_write(file).map_err(io::Error::other)?.is_some();
            // One that always writes elsewhere would do so again: `copy_on_write` says what that means.
            if writes_elsewhere { Ok(()) } else { growth::rewrite(file, bytes) }
        }
        unshared => unshared,
    }
}

//! Every byte that is stored to has a block of its own.
//!
//! A store to a byte that has no block, or shares one with another file, is a `SIGBUS` if the disk is full. Growth
//! gives blocks to all new bytes (`growth`). A file that comes from elsewhere may lack some: it was copied as a
//! sparse file, or shares its extents with a copy. So the first store after an opening waits until the region's
//! manager has asked for the [gaps](Region::gaps) and filled those in use. The other gaps are free space and are
//! filled before they are used. Unused blocks [are given back](Region::take_blocks) to the file system.

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

/// The most bytes that get blocks in one call: other users of the file system wait meanwhile.
const PORTION: u64 = 64 << 20;

impl Region {
    /// Whether stores may begin: everything in use has blocks of its own, as far as the file system can be asked.
    #[inline]
    #[must_use]
    pub fn admits_stores(&self) -> bool {
        // ORDERING: Acquire: pairs with the Release of `admit_stores`.
        self.stores.load(Ordering::Acquire)
    }

    /// Lets stores begin.
    pub fn admit_stores(&self) {
        // ORDERING: Release: a thread that reads true stores only to blocks that are there.
        self.stores.store(true, Ordering::Release);
    }

    /// Whether a file system allocates and frees the blocks of the region's bytes.
    #[must_use]
    pub fn has_blocks(&self) -> bool {
        !self.is_fixed()
    }

    /// The number of frames that get and lose blocks together: 2 MiB where that can be one mapping, otherwise one
    /// frame.
    #[must_use]
    pub fn frames_together(&self) -> u32 {
        if self.kind() == MediumKind::DaxFile { (BLOCK / FRAME_SIZE as u64) as u32 } else { 1 }
    }

    /// The parts of `within` without blocks of their own, in whole frames.
    ///
    /// # Errors
    /// `Io`; nothing was changed.
    pub fn gaps(&self, within: Range<u64>) -> Result<Vec<Gap>> {
        let Some(file) = self.block_file()? else { return Ok(Vec::new()) };
        // Without a page cache, a block that was never written is as bad as no block: see `growth`.
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
        // A covered part cannot be stored to, even if another program gave it blocks.
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

    /// Gives a gap blocks of its own. Its content stays. No thread stores to it meanwhile.
    ///
    /// # Errors
    /// `NoSpace`: a part of the gap may have got blocks.
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

    /// Gives all of `within` blocks of their own. The ranges are ascending and apart. No thread stores to them
    /// meanwhile.
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

    /// Gives the blocks of whole frames back to the file system. From now on they read as zeros; after a crash they
    /// read as before or as zeros. No frame among them is in use, and none is stored to before its gap is filled.
    ///
    /// # Durability
    /// None, and none is needed: nothing that matters lies there.
    ///
    /// # Errors
    /// `Io`: some of the blocks may be given back.
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

    /// The file, if its blocks can be missing and stores need them. Memory gets its pages when it is touched.
    fn block_file(&self) -> Result<Option<BorrowedFd<'_>>> {
        if self.is_fixed() || self.path().is_none() || self.read_only() {
            return Ok(None);
        }
        self.memory.descriptor()
    }

    fn lacking(&self, error: &io::Error) -> String {
        format!(
            "{} has bytes without blocks of their own (it was copied with holes, shares blocks with a copy, or gave blocks \
             back), and it gets no blocks for them: {error}",
            self.name()
        )
    }
}

/// All bytes of both lists, ascending and apart. None is shared: they are of a file in memory.
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

/// Gives the file blocks of its own where it shares them with other files.
fn unshare(file: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<()> {
    const UNSHARE: libc::c_int = 0x40; // FALLOC_FL_UNSHARE_RANGE
    match fallocate(file, UNSHARE, bytes.start, bytes.end) {
        Err(error) if growth::is_unknown(&error) || error.raw_os_error() == Some(libc::EINVAL) => {
            let writes_elsewhere = below::copies_on_write(file).map_err(io::Error::other)?.is_some();
            // A file system that copies on write would share and copy again: the option `copy_on_write` has accepted
            // that.
            if writes_elsewhere { Ok(()) } else { growth::rewrite(file, bytes) }
        }
        unshared => unshared,
    }
}

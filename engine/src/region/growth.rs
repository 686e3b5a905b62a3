//! Growth: first disk blocks, then the length, then the frames. And its reverse.
//!
//! A store into a hole is a `SIGBUS` if the disk is full. So every byte of the region has its block before it can be
//! used, and a full disk is an error here.

use super::mapping::BLOCK;
use super::{REGION_MAX, Region, claim};
use crate::error::{Error, Result};
use crate::persist::FileOperation;
use crate::units::{FRAME_SIZE, MediumKind};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::fs::FileExt;

impl Region {
    /// Makes the region at least `bytes` long. On an error it keeps its length.
    ///
    /// # Durability
    /// The length is durable on `Ok`, where the medium is. The next opening asks for blocks that a power loss took.
    pub fn grow_to(&self, bytes: u64) -> Result {
        self.ensure_usable()?;
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        if self.is_fixed() {
            return if bytes > self.limit { Err(self.at_maximum(bytes)) } else { Ok(()) };
        }
        let _one_at_a_time = self.growing.lock();
        let old = self.len_bytes();
        if bytes <= old {
            return Ok(());
        }
        if bytes > self.limit {
            return Err(self.at_maximum(bytes));
        }
        // Otherwise a file that another program has cut would regain its length with zeros in place of the lost
        // bytes.
        self.expect_length(Self::look_at_length)?;
        if let Some(file) = self.memory.descriptor()? {
            self.extend(file, old, bytes)?;
            let frame = FRAME_SIZE as u64;
            self.memory.show(old / frame * frame..bytes.next_multiple_of(frame))?;
        }
        self.memory.set_len(bytes);
        if let Some(recorder) = self.memory.persist().recorder() {
            recorder.grow(bytes);
        }
        Ok(())
    }

    /// Cuts the region to `bytes`, whole frames; no shorter one grows. Nothing beyond is in use.
    ///
    /// # Durability
    /// The length is durable on `Ok`, where the medium is.
    ///
    /// # Errors
    /// `Io`: the file may be longer than the region, which the next growth uses.
    pub fn cut_to(&self, bytes: u64) -> Result {
        self.ensure_usable()?;
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let _one_at_a_time = self.growing.lock();
        let old = self.len_bytes();
        if bytes >= old || self.is_fixed() {
            return Ok(());
        }
        self.expect_length(Self::look_at_length)?;
        self.memory.cut(bytes..old)
    }

    fn at_maximum(&self, bytes: u64) -> Error {
        if self.limited_by_addresses && bytes <= REGION_MAX {
            let (name, window) = (self.name(), self.window_bytes());
            let next = match self.path() {
                Some(_) => {
                    "close it and open it again: then it gets more, if this process has more addresses left"
                }
                None => "create it with a `max_size` that is large enough",
            };
            return Error::NoAddresses {
                why: format!(
                    "{name} got addresses for {window} bytes when it was opened, and needs {bytes}: {next}"
                ),
            };
        }
        Error::NoSpace { why: format!("{} has its maximum of {} bytes", self.name(), self.limit) }
    }

    /// Checks that the region can be used and that its file still has its length. Other programs must not cut the
    /// file, but one may have done so, and touching a lost page ends the process with `SIGBUS`. Checked wherever one
    /// look at the file costs little; the file can still be cut between the check and the touch.
    ///
    /// # Errors
    /// `Truncated`, and `Poisoned` ever after: the lost bytes may have been reported durable.
    pub fn check_length(&self) -> Result {
        self.expect_length(Self::compare_length)
    }

    fn expect_length(&self, compare: impl FnOnce(&Self) -> Result) -> Result {
        self.ensure_usable()?;
        let cut = compare(self);
        if let Err(error @ Error::Truncated { .. }) = &cut {
            self.poison(error.to_string());
        }
        cut
    }

    /// As [`Self::check_length`], of a region that may be poisoned already.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn compare_length(&self) -> Result {
        match self.look_at_length() {
            // It may be this process that cuts it: between the two looks it became shorter.
            Err(Error::Truncated { .. }) => {
                let _steady = self.growing.lock();
                self.look_at_length()
            }
            looked => looked,
        }
    }

    /// The caller keeps the region from being cut, or looks again.
    fn look_at_length(&self) -> Result {
        let (Some(_), Some(claim)) = (self.path(), self.memory.claim()) else {
            return Ok(());
        };
        if self.is_fixed() {
            return Ok(());
        }
        // The region's length is read first: growth lengthens the file before the region.
        let expected = self.len_bytes();
        let file = claim.descriptor()?;
        let looked = self.memory.persist().attempt(FileOperation::Look, || claim::length(file));
        let found = looked.map_err(|error| Error::io(format!("looking at {}", self.name()), error))?;
        if found < expected { Err(Error::Truncated { expected, found }) } else { Ok(()) }
    }

    /// Extends the file, or restores its old length.
    fn extend(&self, file: BorrowedFd<'_>, old: u64, new: u64) -> Result {
        let direct = self.kind() == MediumKind::DaxFile;
        let allocate = if direct { allocate_direct } else { allocate };
        let more = || check_file_limit(new).and_then(|()| allocate(file, old, new));
        if let Err(error) = self.memory.persist().attempt(FileOperation::Allocate, more) {
            // Some file systems stop half-way and keep what they allocated.
            // SAFETY: an open descriptor.
            unsafe { libc::ftruncate(file.as_raw_fd(), old as libc::off_t) };
            return Err(match error.raw_os_error() {
                Some(libc::ENOSPC | libc::EFBIG | libc::EDQUOT) => {
                    Error::NoSpace { why: format!("{} cannot grow to {new} bytes: {error}", self.name()) }
                }
                _ => Error::io(format!("growing {} to {new} bytes", self.name()), error),
            });
        }
        self.memory.sync_length(old..new)
    }
}

/// Exceeding the process's file size limit raises a signal (`SIGXFSZ`) before it returns an error, so the limit is
/// checked first.
pub(super) fn check_file_limit(bytes: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for the answer.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } == 0;
    if known && limit.rlim_cur != libc::RLIM_INFINITY && bytes > limit.rlim_cur {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

/// Gives blocks to the file's bytes from `old` to `new`, which lie after its end.
fn allocate(file: BorrowedFd<'_>, old: u64, new: u64) -> io::Result<()> {
    match fallocate(file, 0, old, new) {
        Err(error) if is_unknown(&error) => write_zeros(file, old, new),
        allocated => allocated,
    }
}

/// Gives blocks to bytes of which some have none. Their content stays: some of them may be in use.
pub(super) fn fill(file: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<()> {
    match fallocate(file, 0, bytes.start, bytes.end) {
        Err(error) if is_unknown(&error) => rewrite(file, bytes),
        allocated => allocated,
    }
}

/// As [`fill`], for a file without a page cache: see `allocate_direct`.
pub(super) fn fill_direct(file: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<()> {
    let (start, end) = (bytes.start / BLOCK * BLOCK, bytes.end.next_multiple_of(BLOCK));
    let _ = fallocate(file, libc::FALLOC_FL_KEEP_SIZE, start, end);
    rewrite(file, bytes)
}

/// Whether the error means that the file system does not support the operation at all.
pub(super) fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

/// As [`allocate`], for a file without a page cache. There, a store to a block that was allocated but never written
/// makes the file system update its metadata at that moment, for which a full disk may have no room (`SIGBUS`). So
/// zeros are written. Blocks come 2 MiB at a time, so that 2 MiB can be one mapping; blocks beyond the end are kept
/// for later.
fn allocate_direct(file: BorrowedFd<'_>, old: u64, new: u64) -> io::Result<()> {
    // Best effort: the disk may have room only for what is needed.
    let _ = fallocate(file, libc::FALLOC_FL_KEEP_SIZE, old, new.next_multiple_of(BLOCK));
    write_zeros(file, old, new)
}

/// Allocates all at once; after a signal, in ever smaller portions: a file system may undo an interrupted allocation,
/// and the next signal may come as soon.
pub(super) fn fallocate(file: BorrowedFd<'_>, mode: libc::c_int, old: u64, new: u64) -> io::Result<()> {
    let (mut at, mut portion) = (old, new - old);
    while at < new {
        let len = portion.min(new - at);
        // SAFETY: an open descriptor.
        let rc = unsafe { libc::fallocate(file.as_raw_fd(), mode, at as libc::off_t, len as libc::off_t) };
        if rc == 0 {
            at += len;
            continue;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        portion = (len / 2).next_multiple_of(BLOCK).min(len);
    }
    Ok(())
}

/// Overwrites the file with its own content, which gives it blocks of its own and changes no byte.
pub(super) fn rewrite(file: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<()> {
    // SAFETY: the descriptor is open, and `ManuallyDrop` keeps it so.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(file.as_raw_fd()) });
    let mut part = vec![0; (bytes.end - bytes.start).min(1 << 16) as usize];
    let mut at = bytes.start;
    while at < bytes.end {
        let len = part.len().min((bytes.end - at) as usize);
        let mut shown = 0;
        while shown < len {
            match file.read_at(&mut part[shown..len], at + shown as u64) {
                // The last frame may be longer than the file.
                Ok(0) => break,
                Ok(n) => shown += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        part[shown..len].fill(0);
        file.write_all_at(&part[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

/// Gives a file written blocks.
fn write_zeros(file: BorrowedFd<'_>, old: u64, new: u64) -> io::Result<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    // SAFETY: the descriptor is open, and `ManuallyDrop` keeps it so.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(file.as_raw_fd()) });
    let mut at = old;
    while at < new {
        let len = ZEROS.len().min((new - at) as usize);
        file.write_all_at(&ZEROS[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

//! Parts of the window that show zero pages in place of the file: holes of a file in memory, and what a file was cut by.
//!
//! On tmpfs, a load from a hole through a mapping allocates a page, as a store does, and is a `SIGBUS` if the file
//! system is full. So before anything is read, private zero pages are mapped over the holes. An opening that writes
//! cannot store through them: a hole gets blocks first, and then the file is mapped there again.
//!
//! A load from behind the end of a file is a `SIGBUS`. A thread that looked at something there, which was freed since, may
//! still be looking when the file is cut. So the zeros are there before, until the file grows again.

use super::addresses;
use super::extents;
use super::file_system::FileSystem;
use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::units::FRAME_SIZE;
use std::cmp::Reverse;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most holes that are covered, the longest first: each is a mapping, and a process may have 65,530.
const MOST: usize = 8192;

/// What is covered, in whole frames.
#[derive(Debug)]
pub(super) struct Covered {
    runs: Mutex<Vec<Range<u64>>>,
    /// How the file is mapped.
    sharing: i32,
}

impl Covered {
    /// Nothing is covered, of a file that is mapped with these flags.
    pub(super) fn nothing(sharing: i32) -> Self {
        Self { runs: Mutex::default(), sharing }
    }

    /// How the file is mapped.
    pub(super) fn sharing(&self) -> i32 {
        self.sharing
    }

    /// Covers the holes in the first `len` bytes of a file that is mapped at `base`, where a load from one would allocate.
    ///
    /// # Safety
    /// `len` bytes at `base` are the caller's, mapped, and not used yet.
    pub(super) unsafe fn holes(
        &self,
        base: *mut u8,
        len: u64,
        file: BorrowedFd<'_>,
        writable: bool,
    ) -> Result {
        if cfg!(miri) || !FileSystem::of(file)?.is_memory() {
            return Ok(());
        }
        let asked = extents::gaps(file, 0..len, false)
            .map_err(|error| Error::io("asking for the holes of the region's file", error))?;
        let frame = FRAME_SIZE as u64;
        // If the file ends within a frame, that part counts as a whole frame.
        let end = |end: u64| if end == len { end.next_multiple_of(frame) } else { end / frame * frame };
        let whole = |bytes: Range<u64>| bytes.start.next_multiple_of(frame)..end(bytes.end);
        let mut runs: Vec<_> =
            asked.into_iter().map(|gap| whole(gap.bytes)).filter(|run| !run.is_empty()).collect();
        runs.sort_by_key(|run| Reverse(run.end - run.start));
        runs.truncate(MOST);
        runs.sort_by_key(|run| run.start);
        for run in &runs {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // Without access at first: locked memory with access is filled at once.
            // SAFETY: the run lies in the caller's bytes, which are not used yet.
            unsafe { map(base, run, libc::PROT_NONE, flags, -1) }?;
            let (start, len) = (base.wrapping_add(run.start as usize), (run.end - run.start) as usize);
            // SAFETY: as above; it is mapped now.
            unsafe { addresses::open(start, len, writable) }?;
        }
        *self.runs.lock() = runs;
        Ok(())
    }

    /// Covers the `bytes` that the file is going to be cut by.
    ///
    /// # Safety
    /// As for [`Self::show`].
    pub(super) unsafe fn end(&self, base: *mut u8, bytes: Range<u64>) -> Result {
        let mut runs = self.runs.lock();
        // Covered holes among them are a part of this now. Noted before, because a failure may come when they are covered;
        // what is noted and not covered is mapped again like the rest.
        for run in runs.iter_mut().filter(|run| run.start < bytes.end) {
            run.end = run.end.min(bytes.start.max(run.start));
        }
        runs.retain(|run| !run.is_empty());
        runs.push(bytes.clone());
        // With access from the start: other threads may be reading there.
        // SAFETY: a part of the caller's bytes, which nothing uses.
        unsafe { map(base, &bytes, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1) }
    }

    /// The parts of `within` that are covered, ascending.
    pub(super) fn parts(&self, within: &Range<u64>) -> Vec<Range<u64>> {
        let runs = self.runs.lock();
        let part = |run: &Range<u64>| run.start.max(within.start)..run.end.min(within.end);
        runs.iter().map(part).filter(|part| !part.is_empty()).collect()
    }

    /// Maps the file again where `bytes`, whole frames, are covered. They can be stored to from now on.
    ///
    /// # Safety
    /// As for [`Self::holes`], with the same `base`. The bytes may be read meanwhile, and read as zeros until then.
    pub(super) unsafe fn show(&self, base: *mut u8, bytes: Range<u64>, file: BorrowedFd<'_>) -> Result {
        let mut runs = self.runs.lock();
        let mut left = Vec::with_capacity(runs.len() + 1);
        let mut shown = Ok(());
        for run in runs.drain(..) {
            let part = run.start.max(bytes.start)..run.end.min(bytes.end);
            if part.is_empty() || shown.is_err() {
                left.push(run);
                continue;
            }
            // With access from the start: other threads may be reading there. That locked memory is filled is
            // harmless: it has blocks.
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a part of the caller's bytes; the file's are zeros there too.
            shown = unsafe { map(base, &part, access, self.sharing, file.as_raw_fd()) };
            match shown {
                Ok(()) => left.extend(
                    [run.start..part.start, part.end..run.end].into_iter().filter(|run| !run.is_empty()),
                ),
                Err(_) => left.push(run),
            }
        }
        *runs = left;
        shown
    }
}

/// Maps `bytes` of the window at `base` anew. They are never locked, dumped or inherited.
///
/// # Safety
/// The bytes are the caller's, and what is mapped there is not needed.
unsafe fn map(base: *mut u8, bytes: &Range<u64>, access: i32, flags: i32, file: i32) -> Result {
    let (start, len) = (base.wrapping_add(bytes.start as usize), (bytes.end - bytes.start) as usize);
    let offset = if file < 0 { 0 } else { bytes.start };
    // SAFETY: this function's contract.
    unsafe { addresses::map_over(start, len, access, flags, file, offset) }
        .map_err(|error| Error::io(format!("mapping {len} bytes of the region at {:#x}", bytes.start), error))
}
